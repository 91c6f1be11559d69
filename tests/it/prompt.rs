//! What a model is sent: `agent show --prompt` prints it, and it stays the same.

use crate::support::bench::{AgentFiles, Bench};
use crate::support::process::{Limited as _, duragent};
use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::fake_model::{Asked, FakeModel, text};
use crate::support::server::{Launch, Server, Workspace};

const KEY: &str = "ANTHROPIC_API_KEY";

/// An agent with something of everything.
fn workspace(model: &FakeModel, provider: &str) -> Workspace {
    const SKILL: &str = "---\nname: tidy\ndescription: Tidies up.\n---\nNot in the prompt.\n";
    let base_url = model.url();
    let model = format!("{{provider: {provider}, name: fake, base_url: \"{base_url}\"}}");
    let ada = AgentFiles::of("ada", &model)
        .builtin("session")
        .builtin("reload_tools")
        .spec("memory: {backend: filesystem}")
        .spec("system_prompt: You are {{agent.name}} in {{agent.home}}.")
        .file("SOUL.md", "\nI am kind.\n\n")
        .file("INSTRUCTIONS.md", "Be brief.\n")
        .file("directives/b.md", "Agent b: {{agent.name}}.\n")
        .file("directives/a.md", "Agent a.\n")
        .file("skills/tidy/SKILL.md", SKILL);
    Bench::new()
        .agent(ada)
        .file(".duragent/directives/z.md", "Workspace z.\n")
        .file(".duragent/directives/b.md", "Workspace b.\n")
        .file(".duragent/directives/notes.txt", "No directive.\n")
        .workspace()
}

fn serve(workspace: &Workspace) -> Server {
    Launch::new(workspace).env(KEY, "key").start()
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Output {
    duragent(workspace.path())
        .args(arguments)
        .output_in_time()
        .unwrap()
}

fn shown(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = run(workspace, arguments);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaint}");
    assert_eq!(complaint, "");
    String::from_utf8(output.stdout).unwrap()
}

fn shown_json(workspace: &Workspace) -> Value {
    let text = shown(workspace, &["agent", "show", "ada", "--prompt", "--json"]);
    serde_json::from_str(&text).unwrap()
}

fn asked(model: &FakeModel) -> Asked {
    model.requests().pop().unwrap()
}

#[test]
fn what_is_shown_is_what_a_model_is_sent_byte_for_byte() {
    for provider in ["openai", "anthropic"] {
        let model = FakeModel::start();
        model.reply(text("Hello."));
        let workspace = workspace(&model, provider);
        let server = serve(&workspace);
        let session = server.create_session("ada");
        assert_eq!(server.say(&session, "Hi.").status, 200);

        let shown = shown_json(&workspace);
        let sent = asked(&model);
        assert_eq!(shown["system"], json!(sent.system()), "{provider}");
        assert_eq!(shown["tools"], sent.body["tools"], "{provider}");
        assert_eq!(shown["model"], json!(format!("{provider}/fake")));

        let parts = shown["parts"].as_array().unwrap();
        let (tools, texts) = parts.split_last().unwrap();
        let texts: Vec<&str> = texts
            .iter()
            .map(|part| part["text"].as_str().unwrap())
            .collect();
        assert_eq!(texts.join("\n\n"), sent.system());
        assert_eq!(tools["text"], json!(sent.body["tools"].to_string()));
        let tokens = |part: &Value| part["text"].as_str().unwrap().len().div_ceil(4) as u64;
        for part in parts {
            assert_eq!(part["tokens"], json!(tokens(part)), "{part}");
        }
        assert_eq!(
            shown["tokens"],
            json!(parts.iter().map(tokens).sum::<u64>())
        );
    }
}

#[test]
fn the_parts_stand_in_their_order_and_an_agents_directive_replaces_the_workspaces() {
    let model = FakeModel::start();
    let workspace = workspace(&model, "openai");
    let shown = shown_json(&workspace);
    let parts = shown["parts"].as_array().unwrap();
    let names: Vec<&str> = parts
        .iter()
        .map(|part| part["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "soul",
            "system_prompt",
            "instructions",
            "directives/z.md",
            "directives/a.md",
            "directives/b.md",
            "skills",
            "memory",
            "tools"
        ]
    );
    let home = workspace.file(".duragent/agents/ada");
    let system = shown["system"].as_str().unwrap();
    let start = format!(
        "I am kind.\n\nYou are ada in {}.\n\nBe brief.\n\nWorkspace z.\n\nAgent a.\n\nAgent b: ada.\n\n# Skills\n",
        home.canonicalize().unwrap().display()
    );
    assert!(system.starts_with(&start), "{system}");
    assert!(
        system.contains("\n- tidy: Tidies up.\n\n# Memory\n"),
        "{system}"
    );
    for hidden in ["Workspace b", "No directive", "Not in the prompt"] {
        assert!(!system.contains(hidden), "{hidden}");
    }
    let tools: Vec<&str> = shown["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(tools, ["memory", "reload_tools", "session", "skill"]);
}

#[test]
fn a_directive_on_the_memory_replaces_the_built_in_one_and_the_agents_the_workspaces() {
    let model = FakeModel::start();
    let workspace = workspace(&model, "openai");
    let system = || {
        shown_json(&workspace)["system"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let built_in = "You have a memory that outlives this conversation";
    assert!(system().contains(built_in));
    workspace.write(".duragent/directives/memory.md", "Remember for all.\n");
    let told = system();
    assert!(
        told.contains("Remember for all.") && !told.contains(built_in),
        "{told}"
    );
    workspace.write(
        ".duragent/agents/ada/directives/memory.md",
        "Remember for ada.\n",
    );
    let told = system();
    assert!(
        told.contains("Remember for ada.") && !told.contains(built_in),
        "{told}"
    );
    assert!(!told.contains("Remember for all."), "{told}");
    let tools = shown_json(&workspace)["tools"].to_string();
    assert!(tools.contains("\"memory\""), "the tool stays: {tools}");
}

#[test]
fn people_see_the_same_with_its_tokens() {
    let model = FakeModel::start();
    let workspace = workspace(&model, "openai");
    let json = shown_json(&workspace);
    let text = shown(&workspace, &["agent", "show", "ada", "--prompt"]);
    for part in json["parts"].as_array().unwrap() {
        let (name, tokens) = (part["name"].as_str().unwrap(), &part["tokens"]);
        assert!(text.contains(&format!("--- {name} ---\n")), "{name}");
        if name != "tools" {
            assert!(text.contains(part["text"].as_str().unwrap()), "{name}");
        }
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        assert!(row.unwrap().ends_with(&format!(" {tokens}")), "{row:?}");
    }
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("all ") && last.ends_with(&format!(" {}", json["tokens"])));
}

/// A session that began at `time`, and whose agent is told when.
fn begun_at(workspace: &Workspace, time: &str) -> String {
    // So that it is not idle for too long.
    workspace.config("sessions: {ttl_hours: 0}\n");
    workspace.write(
        ".duragent/agents/ada/directives/now.md",
        "It began on {{date}} at {{time}}.",
    );
    let mut server = serve(workspace);
    let session = server.create_session("ada");
    server.terminate();
    assert!(server.wait_for_exit().success());
    workspace.change_start(&session, |event| event["timestamp"] = json!(time));
    session
}

#[test]
fn the_prompt_of_a_session_keeps_its_bytes_and_the_time_of_its_start() {
    let model = FakeModel::start();
    model.default_reply(text("Hello."));
    let workspace = workspace(&model, "openai");
    let session = begun_at(&workspace, "2020-02-29T12:34:56.000000Z");
    let server = serve(&workspace);
    for words in ["One.", "Two."] {
        assert_eq!(server.say(&session, words).status, 200);
    }
    let asked = model.requests();
    let system = asked[0].system();
    assert!(
        system.contains("It began on 2020-02-29 at 12:34 UTC."),
        "{system}"
    );
    let start = |asked: &Asked| (asked.system(), asked.body["tools"].to_string());
    assert_eq!(start(&asked[0]), start(&asked[1]));
}

#[test]
fn the_time_that_is_told_is_that_of_the_agents_zone() {
    let model = FakeModel::start();
    model.default_reply(text("Hello."));
    let workspace = workspace(&model, "openai");
    let agent = ".duragent/agents/ada/agent.yaml";
    let spec = fs::read_to_string(workspace.file(agent)).unwrap();
    workspace.write(agent, &format!("{spec}\n  timezone: Asia/Kathmandu\n"));
    let session = begun_at(&workspace, "2020-02-29T20:34:56.000000Z");
    let server = serve(&workspace);
    assert_eq!(server.say(&session, "When?").status, 200);
    let system = asked(&model).system();
    let told = "It began on 2020-03-01 at 02:19 Asia/Kathmandu.";
    assert!(system.contains(told), "{system}");
    let shown = server.get("/api/v1/agents/ada").json();
    assert_eq!(shown["spec"]["timezone"], "Asia/Kathmandu");
}

#[test]
fn a_reload_takes_directives_up_and_a_bad_one_is_told_and_stays_as_it_was() {
    let model = FakeModel::start();
    model.default_reply(text("Hello."));
    let workspace = workspace(&model, "openai");
    workspace.echo_agent("bob");
    let server = serve(&workspace);
    let session = server.create_session("ada");
    assert_eq!(server.say(&session, "Hi.").status, 200);
    assert!(!asked(&model).system().contains("Brand new."));
    workspace.write(".duragent/directives/new.md", "Brand new.");
    fs::write(
        workspace.file(".duragent/agents/ada/directives/a.md"),
        b"Not\n\xff text",
    )
    .unwrap();
    let report = server
        .post("/api/admin/v1/reload-agents", &json!({}))
        .json();
    assert_eq!(report["changed"], json!(["ada", "bob"]), "{report}");
    let error = &report["errors"][0];
    assert_eq!(error["message"], json!("2:1: is not UTF-8 from here on"));
    assert_eq!(error["file"], json!("agents/ada/directives/a.md"));

    // It counts for a session that has begun, too.
    assert_eq!(server.say(&session, "Hi again.").status, 200);
    let system = asked(&model).system();
    let expected = "Brand new.\n\nWorkspace z.\n\nAgent a.\n\nAgent b: ada.";
    assert!(system.contains(expected), "{system}");

    // One that is gone was meant to go.
    fs::remove_file(workspace.file(".duragent/agents/ada/directives/a.md")).unwrap();
    // A folder that is none hides none of what was in it.
    let shared = workspace.file(".duragent/directives");
    fs::remove_dir_all(&shared).unwrap();
    fs::write(&shared, "").unwrap();
    let report = server.post("/api/admin/v1/reload-agents", &json!({}));
    assert_eq!(report.json()["errors"][0]["file"], json!("directives"));
    assert_eq!(server.say(&session, "And now?").status, 200);
    let system = asked(&model).system();
    let expected = "Brand new.\n\nWorkspace z.\n\nAgent b: ada.";
    assert!(system.contains(expected), "{system}");
    assert_eq!(system.matches("Brand new.").count(), 1, "{system}");
}

#[test]
fn an_agent_is_shown_without_its_secrets_and_one_that_is_not_there_is_not() {
    let model = FakeModel::start();
    let workspace = workspace(&model, "openai");
    let yaml = shown(&workspace, &["agent", "show", "ada"]);
    assert!(yaml.contains("description: Tidies up."), "{yaml}");
    assert!(!yaml.contains(&model.url()), "{yaml}");
    let text = shown(&workspace, &["agent", "show", "ada", "--json"]);
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let models = json.as_object_mut().unwrap().remove("models").unwrap();
    let note = models[0]["note"].as_str().unwrap();
    assert!(
        note.starts_with("the key of openai is not sent to 127.0.0.1:"),
        "{note}"
    );
    let server = serve(&workspace);
    assert_eq!(json, server.get("/api/v1/agents/ada").json());

    let output = run(&workspace, &["agent", "show", "bob", "--prompt"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("there is no agent bob"), "{complaint}");
    let output = run(&workspace, &["agent", "show", ".."]);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("there is no agent .."), "{complaint}");

    workspace.agent("bob", "  model: {provider: echoo, name: x}\n");
    let output = run(&workspace, &["agent", "show", "bob"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    for part in ["did you mean `echo`?", "the agent bob in ", "has errors"] {
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[test]
fn a_small_window_gets_a_lean_prompt_and_the_model_is_sent_what_is_shown() {
    let model = FakeModel::start();
    let url = model.url();
    let ada = |more: &str| {
        let of = format!("{{provider: openai, name: fake, base_url: \"{url}\"{more}}}");
        let mut ada = AgentFiles::of("ada", &of).builtin("bash").tool(
            "{type: cli, name: tally, command: /bin/true, description: 'Counts sheep. Never dogs, e.g. never. Ever.'}",
        );
        for number in 10..25 {
            let skill =
                format!("---\nname: s{number}\ndescription: Does {number}. And more.\n---\nx\n");
            ada = ada.file(&format!("skills/s{number}/SKILL.md"), &skill);
        }
        Bench::new().agent(ada).workspace()
    };
    let full = shown(&ada(""), &["agent", "show", "ada", "--prompt"]);
    assert!(full.contains("Never dogs") && full.contains("And more.") && full.contains("s24"));
    for more in [", max_input_tokens: 16000", ", prompt: lean"] {
        let workspace = ada(more);
        let lean = shown(&workspace, &["agent", "show", "ada", "--prompt"]);
        assert!(
            lean.contains("Counts sheep.") && !lean.contains("Never dogs"),
            "{lean}"
        );
        assert!(
            lean.contains("s19: Does 19.") && !lean.contains("And more."),
            "{lean}"
        );
        assert!(!lean.contains("s20") && lean.contains("5 more"), "{lean}");
        let json = shown_json(&workspace);
        let server = serve(&workspace);
        let session = server.create_session("ada");
        server.say(&session, "hi");
        let asked = model.requests().pop().unwrap();
        assert_eq!(asked.body["messages"][0]["content"], json["system"]);
        assert_eq!(asked.body["tools"], json["tools"]);
    }
    let forced = ada(", max_input_tokens: 16000, prompt: full");
    assert_eq!(shown(&forced, &["agent", "show", "ada", "--prompt"]), full);
}
