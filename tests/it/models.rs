//! `duragent models`: what providers offer, asked with their keys and of nobody else.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, error, raw, stall};
use crate::support::process::{Limited as _, duragent};
use crate::support::server::{Launch, Workspace};

const KEY: &str = "sk-test-51HabcdefGHIJKLmnop";

fn models(workspace: &Workspace, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    duragent(workspace.path())
        .arg("models")
        .args(arguments)
        .envs(variables.iter().copied())
        .output_in_time()
        .unwrap()
}

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn each_dialect_is_asked_for_its_list_with_its_key() {
    for (provider, base, key, path, header) in [
        (
            "openai",
            "/v1",
            "OPENAI_API_KEY",
            "/v1/models",
            "authorization",
        ),
        (
            "groq",
            "",
            "GROQ_API_KEY",
            "/openai/v1/models",
            "authorization",
        ),
        (
            "azure",
            "/openai/v1?a=b",
            "AZURE_API_KEY",
            "/openai/v1/models?a=b",
            "",
        ),
        (
            "anthropic",
            "",
            "ANTHROPIC_API_KEY",
            "/v1/models?limit=1000",
            "x-api-key",
        ),
        (
            "ollama",
            "/v1",
            "OLLAMA_API_KEY",
            "/api/tags",
            "authorization",
        ),
    ] {
        let model = FakeModel::start();
        model.offers(&["b-model", "a-model"]);
        let url = format!("{}{base}", model.url());
        let variable = format!("{}_BASE_URL", provider.to_uppercase());
        let workspace = Workspace::new();
        let variables = [(variable.as_str(), url.as_str()), (key, KEY)];
        let text = out(&models(&workspace, &[provider], &variables));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("PROVIDER"), "{text}");
        assert!(
            lines[1].contains(provider) && lines[1].contains("a-model"),
            "{text}"
        );
        assert!(lines[2].contains("b-model"), "{text}");
        let lists = model.lists();
        assert_eq!(lists.len(), 1, "{provider}");
        assert_eq!(lists[0].path, path, "{provider}");
        if !header.is_empty() {
            let sent = lists[0].header(header).unwrap_or_default();
            assert!(sent.ends_with(KEY), "{provider}: {:?}", lists[0].headers);
        }
        let text = out(&models(&workspace, &[provider, "--json"], &variables));
        let rows: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            rows[1],
            json!({"provider": provider, "name": "b-model"}),
            "{text}"
        );
    }
}

#[test]
fn what_a_list_says_of_models_is_shown_and_pages_are_followed() {
    let model = FakeModel::start();
    let body = json!({"data": [
        {"id": "org/see\u{1b}[2Jer", "context_length": 4096,
         "architecture": {"input_modalities": ["text", "image"]}},
    ]});
    model.answers_lists_with(raw("text/plain", body.to_string()));
    let workspace = Workspace::new();
    let url = model.url();
    let variables = [("OPENAI_BASE_URL", url.as_str())];
    let text = out(&models(&workspace, &["openai"], &variables));
    assert!(
        text.contains("4096") && text.contains("text, image"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let text = out(&models(&workspace, &["openai", "--json"], &variables));
    let rows: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rows[0]["max_input_tokens"], 4096);
    assert_eq!(rows[0]["input"], json!(["text", "image"]));

    let paged = FakeModel::start();
    let names: Vec<String> = (0..5).map(|number| format!("claude-{number}")).collect();
    paged.offers(&names.iter().map(String::as_str).collect::<Vec<_>>());
    paged.page(2);
    let url = paged.url();
    let text = out(&models(
        &workspace,
        &["anthropic"],
        &[("ANTHROPIC_BASE_URL", &url)],
    ));
    for name in &names {
        assert_eq!(text.matches(name.as_str()).count(), 1, "{text}");
    }
    let paths: Vec<String> = paged.lists().into_iter().map(|asked| asked.path).collect();
    let expected = ["", "&after_id=claude-1", "&after_id=claude-3"];
    assert_eq!(
        paths,
        expected.map(|rest| format!("/v1/models?limit=1000{rest}"))
    );
}

#[test]
fn what_is_wrong_is_said_in_plain_words_and_without_the_key() {
    let quoted = format!("Incorrect API key provided: {KEY}");
    for (answer, expected) in [
        (
            Some(error(401, &quoted)),
            "refuses the key in OPENAI_API_KEY (401): Incorrect API key",
        ),
        (
            Some(error(403, "no")),
            "refuses the key in OPENAI_API_KEY (403): no",
        ),
        (
            Some(error(404, "no such page")),
            "has no list of models at /v1/models; is the base URL",
        ),
        (
            Some(error(500, "out of order")),
            "openai answered 500: out of order",
        ),
        (
            Some(raw("text/html", "<html>")),
            "sent a web page; is the base URL right?",
        ),
        (
            Some(raw("application/json", "{}")),
            "sent no list of models; is the base URL right?",
        ),
        (
            Some(raw(
                "application/json",
                r#"{"error":{"message":"not today"}}"#,
            )),
            "says: not today",
        ),
        (
            Some(raw("application/json", "{")),
            "sent something else than JSON",
        ),
        (None, "nothing listens at 127.0.0.1:1: is it running?"),
    ] {
        let model = FakeModel::start();
        let url = match answer {
            Some(answer) => {
                model.answers_lists_with(answer);
                model.url()
            }
            None => "http://127.0.0.1:1".to_owned(),
        };
        let variables = [("OPENAI_BASE_URL", url.as_str()), ("OPENAI_API_KEY", KEY)];
        let said = err(&models(&Workspace::new(), &["openai"], &variables));
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains(KEY), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_list_that_does_not_come_is_not_waited_for() {
    let model = FakeModel::start();
    model.answers_lists_with(stall());
    let url = model.url();
    let said = err(&models(
        &Workspace::new(),
        &["vllm"],
        &[("VLLM_BASE_URL", &url)],
    ));
    assert!(said.contains("no answer of 127.0.0.1:"), "{said}");
    assert!(said.contains("within 10 s"), "{said}");
}

#[test]
fn without_a_name_every_provider_is_asked_that_is_named_or_has_a_key() {
    let (one, other) = (FakeModel::start(), FakeModel::start());
    one.offers(&["of-agent"]);
    other.offers(&["of-file"]);
    let workspace = Workspace::new();
    workspace.config(&format!(
        "providers: {{lan: {{base_url: \"{}/v1\"}}}}\n",
        other.url()
    ));
    workspace.agent("ada", "  model: {provider: vllm, name: of-agent}\n");
    let url = one.url();
    let variables = [("VLLM_BASE_URL", url.as_str())];
    let text = out(&models(&workspace, &[], &variables));
    assert!(text.contains("lan       of-file"), "{text}");
    assert!(text.contains("vllm      of-agent"), "{text}");
    // One that fails hides nothing of the others.
    other.answers_lists_with(error(503, "closed"));
    let output = models(&workspace, &[], &variables);
    assert!(
        err(&output).contains("lan answered 503: closed"),
        "{output:?}"
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("of-agent"),
        "{output:?}"
    );

    let echo = Workspace::new();
    assert!(err(&models(&echo, &[], &[])).contains("no agent names a provider"));
    assert!(out(&models(&echo, &["echo"], &[])).contains("echo      echo"));
    let output = models(&echo, &["openia"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no provider openia"), "{said}");
    assert!(said.contains("did you mean `openai`?"), "{said}");
}

#[test]
fn a_key_goes_only_where_calls_would_bring_it() {
    let stranger = FakeModel::start();
    stranger.offers(&["m"]);
    let workspace = Workspace::new();
    let model = format!(
        "{{provider: openai, name: m, base_url: \"{}\"}}",
        stranger.url()
    );
    workspace.agent("ada", &format!("  model: {model}\n"));
    let variables = [
        ("OPENAI_API_KEY", KEY),
        ("OPENAI_BASE_URL", "http://127.0.0.1:1"),
    ];
    let said = err(&models(&workspace, &[], &variables));
    assert!(said.contains("nothing listens at 127.0.0.1:1"), "{said}");
    let output = duragent(workspace.path())
        .arg("doctor")
        .envs(variables)
        .output_in_time()
        .unwrap();
    drop(output);
    let keys: Vec<_> = stranger.lists();
    assert!(
        keys.iter()
            .all(|asked| asked.header("authorization").is_none()),
        "{keys:?}"
    );
}

#[test]
fn what_a_folder_of_strangers_names_is_asked_when_somebody_names_it() {
    let workspace = Workspace::new();
    // An address for documentation, which nobody has.
    workspace.config(
        "providers: {lan: {base_url: \"https://192.0.2.1/v1\", api_key_env: GITHUB_TOKEN}}\n",
    );
    workspace.agent("ada", "  model: {provider: lan, name: m}\n");
    let variables = [("GITHUB_TOKEN", KEY)];
    let said = err(&models(&workspace, &[], &variables));
    assert!(
        said.contains("lan was not asked: this folder's file says where"),
        "{said}"
    );
    let output = duragent(workspace.path())
        .arg("doctor")
        .envs(variables)
        .output_in_time()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("warning  provider lan: lan was not asked"),
        "{said}"
    );
}

#[test]
fn an_agent_is_shown_with_how_its_models_are_asked() {
    let workspace = Workspace::new();
    workspace.config(
        "providers:\n  office: {dialect: anthropic, base_url: \"https://me:secret@llm.example/v1?k=secret\", \
         api_key_file: ./office.key}\n",
    );
    workspace.agent(
        "ada",
        "  model:\n    provider: openai\n    name: gpt-4o\n    fallbacks:\n      \
         - {provider: office, name: claude-x}\n      - {provider: vllm, name: m, input: [text]}\n      \
         - {provider: azure, name: m}\n      - {provider: echo, name: echo}\n",
    );
    let output = duragent(workspace.path())
        .args(["agent", "show", "ada", "--json"])
        .env("VLLM_BASE_URL", "http://127.0.0.1:8001")
        .output_in_time()
        .unwrap();
    let text = out(&output);
    assert!(!text.contains("secret"), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    let models = shown["models"].as_array().unwrap();
    let key_file = workspace.file("office.key");
    for (index, field, expected) in [
        (0, "model", json!("openai/gpt-4o")),
        (0, "host", json!("api.openai.com")),
        (0, "dialect", json!("openai")),
        (0, "key", json!("OPENAI_API_KEY")),
        (0, "sees", json!(["text", "image", "pdf"])),
        (0, "note", json!(null)),
        (1, "host", json!("llm.example")),
        (1, "dialect", json!("anthropic")),
        (1, "key", json!(format!("the file {}", key_file.display()))),
        (2, "host", json!("127.0.0.1:8001")),
        (2, "key", json!("VLLM_API_KEY")),
        (2, "sees", json!(["text"])),
        (3, "host", json!(null)),
        (4, "dialect", json!("echo")),
        (4, "key", json!(null)),
    ] {
        assert_eq!(models[index][field], expected, "{index} {field}: {shown:#}");
    }
    let note = models[3]["note"].as_str().unwrap();
    assert!(
        note.contains("azure has no address: set AZURE_BASE_URL"),
        "{note}"
    );
}

#[test]
fn a_key_that_a_program_prints_opens_the_list_of_its_provider() {
    let model = FakeModel::start();
    model.offers(&["m"]);
    let workspace = Workspace::new();
    workspace.config(&format!(
        "providers:\n  lan: {{base_url: \"{}/v1\", api_key_command: [sh, -c, \"echo {KEY}\"]}}\n  \
         other: {{base_url: \"http://127.0.0.1:1\", api_key_command: [sh, -c, \"touch ran; echo x\"]}}\n",
        model.url()
    ));
    // The folder may be a stranger's: looking at it starts no program of it.
    models(&workspace, &["lan"], &[]);
    assert!(
        model
            .lists()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
    let before = model.lists().len();
    drop(Launch::new(&workspace).start());
    std::fs::remove_file(workspace.file("ran")).unwrap();
    out(&models(&workspace, &["lan"], &[]));
    let lists = model.lists();
    let sent = format!("Bearer {KEY}");
    assert_eq!(lists[before].header("authorization"), Some(sent.as_str()));
    // Of another provider.
    assert!(!workspace.file("ran").exists());
}
