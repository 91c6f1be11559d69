//! A provider's key goes to that provider and to whom the owner named, whatever an agent's file
//! says.

use std::process::Command;

use crate::support::bench::{Bench, echo};
use crate::support::fake_model::{FakeModel, error, text};
use crate::support::server::{Launch, Server, Workspace, write_program};

const KEY: &str = "sk-test-51HabcdefGHIJKLmnop";

/// An agent whose model is what `spec` says.
fn agent(workspace: &Workspace, name: &str, model: &str) {
    let spec = format!("  model: {model}\n  session: {{on_disconnect: continue}}\n");
    workspace.agent(name, &spec);
}

fn say(server: &Server, agent: &str) -> String {
    let session = server.create_session(agent);
    let answer = server.say(&session, "hello").json();
    let words = answer["content"].as_str().or(answer["detail"].as_str());
    words.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The key of each request that `fake` was sent, in either dialect.
fn keys(fake: &FakeModel) -> Vec<Option<String>> {
    let of = |name: &'static str| move |one: &str| one.strip_prefix(name).map(str::to_owned);
    let requests = fake.requests();
    let key = requests.iter().map(|asked| {
        let bearer = asked.header("authorization").and_then(of("Bearer "));
        bearer.or_else(|| asked.header("x-api-key").map(str::to_owned))
    });
    key.collect()
}

#[test]
fn an_agents_own_address_gets_no_key_and_its_refusal_says_how_it_would() {
    let stranger = FakeModel::start();
    stranger
        .reply(error(401, "who are you?"))
        .then(text("hello"))
        .then(error(400, "no"));
    let workspace = Workspace::new();
    let url = stranger.url();
    for (name, model) in [
        (
            "main",
            format!("{{provider: openai, name: m, base_url: \"{url}\"}}"),
        ),
        (
            "fallback",
            format!(
                "{{provider: azure, name: m, fallbacks: [{{provider: anthropic, name: m, base_url: \"{url}\"}}]}}"
            ),
        ),
        (
            "described",
            format!("{{provider: lan, name: m, base_url: \"{url}\"}}"),
        ),
    ] {
        agent(&workspace, name, &model);
    }
    workspace.config(
        "providers: {lan: {base_url: \"http://127.0.0.1:1/v1\", api_key_env: LAN_API_KEY}}\n",
    );
    let server = Launch::new(&workspace)
        .env("OPENAI_API_KEY", KEY)
        .env("ANTHROPIC_API_KEY", KEY)
        .env("LAN_API_KEY", KEY)
        .start();
    let said = say(&server, "main");
    assert!(said.contains("who are you?"), "{said}");
    assert!(
        said.contains("OPENAI_BASE_URL, or in `providers.openai.base_url`"),
        "{said}"
    );
    assert_eq!(say(&server, "fallback"), "hello");
    say(&server, "described");
    assert_eq!(keys(&stranger), [None, None, None]);
    assert!(!server.log().contains(KEY));
}

#[test]
fn whom_the_environment_or_the_file_names_gets_the_key() {
    let (named, lan) = (FakeModel::start(), FakeModel::start());
    let workspace = Workspace::new();
    agent(&workspace, "usual", "{provider: openai, name: m}");
    let url = format!("{}/v1", named.url());
    agent(
        &workspace,
        "same",
        &format!("{{provider: openai, name: m, base_url: \"{url}\"}}"),
    );
    agent(&workspace, "lan", "{provider: lan, name: m}");
    agent(&workspace, "groq", "{provider: groq, name: m}");
    workspace.write("lan.key", "the-key-of-the-lan\n");
    workspace.config(&format!(
        "providers:\n  lan: {{dialect: anthropic, base_url: \"{0}\", api_key_file: ./lan.key}}\n  \
         groq: {{base_url: \"{0}\", api_key_env: TEAM_GROQ_KEY}}\n",
        lan.url()
    ));
    let server = Launch::new(&workspace)
        .env("OPENAI_API_KEY", KEY)
        .env("OPENAI_BASE_URL", &named.url())
        .env("GROQ_API_KEY", "not-this-one")
        .env("TEAM_GROQ_KEY", "the-key-of-the-team")
        .start();
    for agent in ["usual", "same", "lan", "groq"] {
        assert_eq!(say(&server, agent), "ok", "{agent}");
    }
    let key = |text: &str| Some(text.to_owned());
    assert_eq!(keys(&named), [key(KEY), key(KEY)]);
    assert_eq!(
        keys(&lan),
        [key("the-key-of-the-lan"), key("the-key-of-the-team")]
    );
    let paths: Vec<String> = lan.requests().iter().map(|one| one.path.clone()).collect();
    assert_eq!(paths, ["/v1/messages", "/openai/v1/chat/completions"]);
}

#[test]
fn headers_and_queries_go_where_the_key_goes() {
    let (named, stranger) = (FakeModel::start(), FakeModel::start());
    let workspace = Workspace::new();
    let headers = "headers: {X-Team: red, X-Title: mine, X-Agent-Key: \"the-key-of-an-agent\"}";
    agent(
        &workspace,
        "office",
        &format!("{{provider: office, name: m, {headers}}}"),
    );
    agent(
        &workspace,
        "away",
        &format!(
            "{{provider: office, name: m, base_url: \"{}/v1\"}}",
            stranger.url()
        ),
    );
    workspace.config(&format!(
        "providers:\n  office:\n    base_url: \"{}/v1?tenant=a%20b&api-version=1\"\n    \
         headers: {{x-team: blue, X-Auth: the-word-of-the-office}}\n    \
         query: {{api-version: \"2024-10-21\", token: \"the-token-of-the-office\"}}\n",
        named.url()
    ));
    let quoted = "the-word-of-the-office the-token-of-the-office the-key-of-an-agent";
    named.reply(text("hello")).then(error(400, quoted));
    let server = Launch::new(&workspace).start();
    assert_eq!(say(&server, "office"), "hello");
    let said = say(&server, "office");
    assert!(!said.contains("the-"), "{said}");
    let requests = named.requests();
    let header = |name: &str| requests[0].header(name).map(str::to_owned);
    for (name, expected) in [
        ("x-team", "blue"),
        ("x-title", "mine"),
        ("x-auth", "the-word-of-the-office"),
        ("x-agent-key", "the-key-of-an-agent"),
    ] {
        assert_eq!(header(name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(
        requests[0].path,
        "/v1/chat/completions?tenant=a+b&api-version=2024-10-21&token=the-token-of-the-office"
    );
    // What an agent's own address is asked with is the agent's alone.
    assert_eq!(say(&server, "away"), "ok");
    let away = &stranger.requests()[0];
    assert_eq!(away.path, "/v1/chat/completions");
    assert_eq!((away.header("x-team"), away.header("x-auth")), (None, None));
}

#[test]
fn a_program_prints_a_key_when_the_server_starts() {
    let fake = FakeModel::start();
    let workspace = Workspace::new();
    for name in ["vault", "broken", "silent"] {
        agent(&workspace, name, &format!("{{provider: {name}, name: m}}"));
    }
    let script =
        "#!/bin/sh\necho started >> runs\necho '  a remark' >&2\necho \"  key-of-$1-$2\"\n";
    write_program(&workspace.file("print-key"), script);
    let broken = "#!/bin/sh\necho half-a-key\necho 'no vault is open' >&2\necho more >&2\nexit 3\n";
    write_program(&workspace.file("broken-key"), broken);
    let url = fake.url();
    workspace.config(&format!(
        "providers:\n  vault: {{base_url: \"{url}\", api_key_command: [./print-key, \"$(id)\", \";\"]}}\n  \
         broken: {{base_url: \"{url}\", api_key_command: [./broken-key]}}\n  \
         silent: {{base_url: \"{url}\", api_key_command: [\"true\"]}}\n",
    ));
    fake.reply(text("it is key-of-$(id)-; indeed"));
    let server = Launch::new(&workspace).start();
    let said = say(&server, "vault");
    assert_eq!(
        said,
        "it is [redacted:providers.vault.api_key_command] indeed"
    );
    say(&server, "vault");
    let key = Some("key-of-$(id)-;".to_owned());
    assert_eq!(keys(&fake), [key.clone(), key]);
    assert_eq!(workspace.read("runs"), "started\n");
    let log = server.log();
    assert!(
        log.contains("broken-key ended: exit status: 3: no vault is open"),
        "{log}"
    );
    assert!(log.contains("true printed nothing"), "{log}");
    assert!(
        !log.contains("half-a-key") && !log.contains("key-of-"),
        "{log}"
    );
    let refused = say(&server, "broken");
    assert!(
        refused.contains("`providers.broken.api_key_command`"),
        "{refused}"
    );
}

#[test]
fn a_key_that_leaves_unencrypted_is_told_of_once() {
    let server = Bench::new()
        .agent(echo("echo"))
        .variable("XAI_API_KEY", KEY)
        .variable("XAI_BASE_URL", "http://192.0.2.1:8000/v1")
        .variable("BRAVE_API_KEY", KEY)
        .variable("BRAVE_BASE_URL", "http://192.0.2.1:8001")
        .serve();
    for told in [
        "the key of xai goes to 192.0.2.1:8000 unencrypted, as XAI_BASE_URL says",
        "BRAVE_API_KEY goes to 192.0.2.1:8001 unencrypted, as BRAVE_BASE_URL says",
    ] {
        assert_eq!(server.log().matches(told).count(), 1, "{}", server.log());
    }
}

#[test]
fn an_agent_may_name_what_the_owner_describes_and_is_helped_with_the_rest() {
    let workspace = Workspace::new();
    workspace.config("providers: {office: {base_url: \"https://llm.example\"}}\n");
    agent(&workspace, "good", "{provider: office, name: m}");
    agent(&workspace, "bad", "{provider: ofice, name: m}");
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_duragent"))
            .args(args)
            .current_dir(workspace.path())
            .env_clear()
            .env("HOME", workspace.path())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let good = run(&["validate", ".duragent/agents/good"]);
    assert!(good.contains("is valid"), "{good}");
    let bad = run(&["validate", ".duragent/agents/bad"]);
    assert!(
        bad.contains("`vllm`, `office`, not `ofice`; did you mean `office`?"),
        "{bad}"
    );
    workspace.write(
        "other.yaml",
        "providers: {ofice: {base_url: \"https://h\"}}\n",
    );
    let other = run(&["validate", ".duragent/agents/bad", "--config", "other.yaml"]);
    assert!(other.contains("is valid"), "{other}");
    let judged = run(&["policy", "test", "bash:ls", "--agent", "good"]);
    assert!(judged.starts_with("ask"), "{judged}");
    let shown = run(&["agent", "show", "good"]);
    assert!(shown.contains("office"), "{shown}");
    let server = Server::start(&workspace, &[]);
    let list = server.get("/api/v1/agents").json();
    assert_eq!(list["agents"], serde_json::json!([{"name": "good"}]));
    assert_eq!(list["broken"][0]["name"], "bad");
}

#[test]
fn doctor_and_init_know_every_provider() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0}\n");
    agent(
        &workspace,
        "far",
        "{provider: openai, name: m, base_url: \"https://llm.example/v1\", \
         fallbacks: [{provider: azure, name: m}]}",
    );
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_duragent"))
            .args(args)
            .current_dir(workspace.path())
            .env_clear()
            .env("HOME", workspace.path())
            .env("OPENAI_API_KEY", KEY)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    };
    let found = run(&["doctor"]);
    let withheld = "warning  agent far: the key of openai is not sent to llm.example, which only";
    assert!(found.contains(withheld), "{found}");
    let nowhere = "the fallback azure/m cannot be asked: azure has no address: set AZURE_BASE_URL";
    assert!(found.contains(nowhere), "{found}");
    let init = [
        "init",
        "--no-interactive",
        "--agent-name",
        "new",
        "--provider",
        "groq",
    ];
    let unnamed = run(&init);
    assert!(
        unnamed.contains("which of the models of groq?"),
        "{unnamed}"
    );
    assert!(!workspace.file(".duragent/agents/new").exists());
    let made = run(&[&init[..], &["--model", "llama-3"]].concat());
    assert!(made.contains("new uses groq/llama-3"), "{made}");
    assert!(made.contains("export GROQ_API_KEY=…"), "{made}");
}
