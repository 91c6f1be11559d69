# Needs only cargo (and the C compiler that Rust links with), but for `test-clients`.

.DEFAULT_GOAL := help
.PHONY: help build run test test-slow test-clients clients check-bodies prove-shell check bench fmt clean

# The agent that `make run` talks to; needed only where there is more than one.
AGENT ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Only when there is something to build: cargo says nothing while it optimises the last crate.
build: ## Build the program: target/release/duragent
	@echo "building; the last step, duragent itself, says nothing for a minute or more"
	cargo build --release

# `chat` starts the server, which goes on after it: `duragent serve stop` ends it.
# The workspace is named: who runs what lies in this folder trusts it, whoever owns it.
run: WORKSPACE = --workspace $(or $(DURAGENT_WORKSPACE),.duragent)
run: build ## Build, set up a workspace if there is none, start the server and chat
	@cargo run --release --quiet -- $(WORKSPACE) init --no-interactive
	@cargo run --release --quiet -- $(WORKSPACE) chat $(if $(AGENT),--agent $(AGENT))

test: ## Run all tests
	cargo test

# How long `duragent torture` kills servers.
TORTURE_SECONDS ?= 60

test-slow: ## Run the tests that take minutes, and are left out of `test`
	cargo test --test it -- --ignored --skip shell_proof:: --skip foreign:: --skip official_types
	cargo run -- torture --seconds $(TORTURE_SECONDS)

# What `test-clients` drives, and the scripts that drive it: in a folder of their own.
CLIENTS = target/clients

$(CLIENTS)/installed: scripts/clients/requirements.txt scripts/clients/package-lock.json
	@rm -rf $(CLIENTS)
	@mkdir -p $(CLIENTS)
	python3 -m venv $(CLIENTS)/python
	$(CLIENTS)/python/bin/pip install --quiet --require-hashes --requirement scripts/clients/requirements.txt
	cp scripts/clients/.npmrc scripts/clients/package*.json $(CLIENTS)
	cd $(CLIENTS) && npm ci --silent
	@touch $@

clients: $(CLIENTS)/installed ## Install the clients of others that `test-clients` drives

test-clients: clients ## Try the program with clients and proxies of others: see docs/CONTRIBUTING.md
	@cp scripts/clients/*.* $(CLIENTS)
	cargo test --test it -- --ignored foreign::

# What `check-bodies` holds requests against.
BODIES = target/check-bodies

$(BODIES)/installed: scripts/check-bodies/requirements.txt
	@rm -rf $(BODIES)
	@mkdir -p $(BODIES)
	python3 -m venv $(BODIES)/python
	$(BODIES)/python/bin/pip install --quiet --require-hashes --requirement $<
	@touch $@

check-bodies: $(BODIES)/installed ## Hold requests to models against the official types of openai, anthropic and ollama
	cargo test --test it -- --ignored official_types

# How long scripts are made, judged and run.
PROOF_SECONDS ?= 3600

prove-shell: ## Hold the judge of shell scripts against bash, for an hour
	SHELL_PROOF_SECONDS=$(PROOF_SECONDS) cargo test --test it -- --ignored --nocapture shell_proof::

check: ## Everything that a change must pass: format, lints, tests, documentation
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	$(MAKE) test
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

# Some of the figures: make bench FIGURES="relay many"
bench: ## Measure speed, size and memory of the release build
	cargo bench --bench figures -- $(FIGURES)
	@if grep -q '^\[features\]' Cargo.toml && [ -z "$(filter-out size,$(FIGURES))" ]; then \
		cargo bench --no-default-features --bench figures -- size; \
	fi

fmt: ## Format the code
	cargo fmt

clean: ## Remove what was built
	cargo clean
