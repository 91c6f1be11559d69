//! `duragent validate`: what fails, what only warns; and prompts that no model takes, wherever they are
//! told.

use std::process::Output;

use serde_json::Value;

use crate::support::bench::AgentFiles;
use crate::support::process::Limited as _;
use crate::support::server::{Launch, Server, Workspace, eventually};

fn run(workspace: &Workspace, arguments: &[&str]) -> Output {
    workspace.command(arguments).output_in_time().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn warnings_fail_only_where_they_are_to_and_errors_always() {
    let workspace = Workspace::new();
    let agent = ".duragent/agents/ada/agent.yaml";
    let spec = "  model:\n    provider: echo\n    name: echo\n";
    for (file, text, errors, warnings) in [
        ("duragent.yaml", "server: {port: 0}\n".to_owned(), 0, 0),
        (
            "duragent.yaml",
            "sessions: {compaction: x}\ncompaction: y\n".to_owned(),
            0,
            2,
        ),
        (
            "duragent.yaml",
            "compaction: y\nsesions: {}\n".to_owned(),
            1,
            1,
        ),
        ("duragent.yaml", "server: {prot: 1}\n".to_owned(), 1, 0),
        (agent, spec.to_owned(), 0, 0),
        (agent, format!("{spec}  session: {{compaction: x}}\n"), 0, 1),
        (
            agent,
            format!("{spec}  tools: [{{type: builtin, name: schedule}}]\n"),
            0,
            1,
        ),
        (agent, format!("{spec}  sesion: {{}}\n"), 1, 0),
        (
            ".duragent/policy.yaml",
            "apiVersion: duragent/v1alpha1\nkind: Policy\ndeny: ['builtin:schedule']\n".to_owned(),
            0,
            1,
        ),
        (
            ".duragent/policy.yaml",
            "apiVersion: duragent/v1alpha1\nkind: Policy\ndeny: ['builtin:wbe']\n".to_owned(),
            1,
            0,
        ),
    ] {
        if file == agent {
            workspace.agent("ada", &text)
        } else {
            workspace.write(file, &text)
        }
        for strict in [false, true] {
            let arguments = ["validate", file, "--strict"];
            let output = run(&workspace, &arguments[..2 + usize::from(strict)]);
            let fails = errors > 0 || (strict && warnings > 0);
            let code = output.status.code();
            assert_eq!(code, Some(if fails { 2 } else { 0 }), "{text}{output:?}");
            let told = out(&output);
            let is_warning = |line: &&str| line.contains(": warning: ");
            assert_eq!(told.lines().filter(is_warning).count(), warnings, "{told}");
            assert_eq!(told.contains("is valid"), !fails, "{told}");
        }
    }
}

/// An agent whose prompt is about 5,000 tokens, at a model that takes `tokens`.
fn wordy(workspace: &Workspace, tokens: u64) {
    let model = format!(
        "{{provider: openai, name: x, base_url: 'http://127.0.0.1:9/v1', max_input_tokens: {tokens}}}"
    );
    AgentFiles::of("wordy", &model)
        .spec("system_prompt: ./LONG.md")
        .file("LONG.md", &"word ".repeat(4_000))
        .write(workspace);
}

#[test]
fn a_prompt_that_no_model_takes_is_told_wherever_somebody_looks() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    for (tokens, is_told, word, code) in [
        (100_000, false, "", 0),
        (4_900, true, "warning", 0),
        (1_000, true, "error", 2),
    ] {
        wordy(&workspace, tokens);
        let said = format!("tokens, and x takes {tokens}, as `max_input_tokens` says");
        let validated = run(&workspace, &["validate", ".duragent/agents/wordy"]);
        assert_eq!(validated.status.code(), Some(code), "{validated:?}");
        let by_file = run(
            &workspace,
            &["validate", ".duragent/agents/wordy/agent.yaml"],
        );
        assert_eq!(by_file.status.code(), Some(code), "{by_file:?}");
        let listed = run(&workspace, &["agent", "list"]);
        let examined = run(&workspace, &["doctor"]);
        for told in [out(&validated), out(&listed), out(&examined)] {
            assert_eq!(told.contains(&said), is_told, "{told}");
        }
        let line = out(&examined);
        let line = line
            .lines()
            .find(|line| line.contains(&said))
            .unwrap_or_default();
        assert!(line.starts_with(word), "{line}");
    }
    let server = Server::start(&workspace, &[]);
    let remark = || {
        let agents: Value = server.get("/api/v1/agents").json();
        Some(agents["agents"][0]["remarks"][0].as_str()?.to_owned())
    };
    let remark = eventually("the remark", remark);
    assert!(remark.contains("takes 1000"), "{remark}");
    assert!(
        server.log().contains(&format!("agent wordy: {remark}")),
        "{}",
        server.log()
    );
    let ready = server.get("/readyz").json();
    let warning = ready["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("1 agent has a prompt that is more"),
        "{warning}"
    );
    let session = server.create_session("wordy");
    let answer = server.say(&session, "hi");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (502, &"context_overflow".into())
    );
    // As soon as it is mended and read again, nothing is said any more.
    wordy(&workspace, 100_000);
    server.post("/api/admin/v1/reload-agents", &Value::Null);
    assert_eq!(
        server.get("/api/v1/agents").json()["agents"][0]["remarks"],
        Value::Null
    );
    assert_eq!(server.get("/readyz").json()["warnings"], Value::Null);
}

#[test]
fn rules_that_fit_nothing_are_told_at_the_start() {
    let workspace = Workspace::new();
    workspace.echo_agent("ada");
    let head = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
    workspace.write(
        ".duragent/agents/ada/policy.yaml",
        &format!("{head}deny: ['cli:dploy', 'builtin:wbe']\nallow: ['bash:make *']\n"),
    );
    workspace.write(
        ".duragent/policy.yaml",
        &format!("{head}allow: ['bash:ls *']\n"),
    );
    workspace.trust("ada");
    for (path, expected) in [
        (".duragent/agents/ada", "`cli:dploy` fits nothing"),
        (
            ".duragent/agents/ada/policy.yaml",
            "`bash:make *` allows nothing",
        ),
    ] {
        let told = out(&run(&workspace, &["validate", path]));
        assert!(told.contains(expected), "{told}");
    }
    let server = Launch::new(&workspace).start();
    for expected in [
        "`cli:dploy` fits nothing",
        "`builtin:wbe` never fits",
        "`bash:make *` allows nothing",
    ] {
        eventually(expected, || server.log().contains(expected).then_some(()));
    }
    assert_eq!(server.log().matches("`builtin:wbe` never fits").count(), 1);
}

#[test]
fn settings_that_are_not_sent_are_told_of_by_those_who_look_at_an_agent() {
    let workspace = Workspace::new();
    let model = "{provider: openai, name: gpt-5.6, temperature: 0.2, max_output_tokens: 99}";
    workspace.agent("ada", &format!("  model: {model}\n"));
    let said = "`temperature` is not sent: openai/gpt-5.6 takes its own alone";
    for path in [".duragent/agents/ada", ".duragent/agents/ada/agent.yaml"] {
        let output = run(&workspace, &["validate", path]);
        assert!(out(&output).contains(said), "{output:?}");
        assert_eq!(out(&output).matches("is not sent").count(), 1, "{output:?}");
        assert!(output.status.success());
    }
    let shown = workspace.run(&["agent", "show", "ada", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["models"][0]["not_sent"], serde_json::json!([said]));
}
