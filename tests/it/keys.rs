//! A provider's key goes to that provider and to whom the owner named, whatever an agent's file
//! says.

use std::process::Command;

use crate::support::bench::{Bench, echo};
use crate::support::fake_model::{FakeModel, error, text};
use crate::support::server::{Launch, Server, Workspace};

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
        .then(error(503, "busy"))
        .then(error(503, "busy"))
        .then(error(503, "busy"));
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
    assert_eq!(keys(&stranger), [None, None, None, None, None]);
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
