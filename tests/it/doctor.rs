//! `duragent doctor`, as a user runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::server::{Server, Workspace};

/// The command with these variables and PATH, and no others.
fn doctor(workspace: &Workspace, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_duragent"))
        .arg("doctor")
        .args(arguments)
        .current_dir(workspace.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The lines that are not `ok`.
fn complaints(output: &Output) -> Vec<String> {
    let is_complaint = |line: &String| !line.starts_with("ok ");
    lines(output).into_iter().filter(is_complaint).collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn a_workspace_where_all_is_well_gets_a_line_for_each_check() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0}\n");
    workspace.echo_agent("echo");
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(output.stderr, b"");
    assert_eq!(complaints(&output), Vec::<String>::new());
    let subjects: Vec<String> = lines(&output)
        .iter()
        .map(|line| line[9..].split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        subjects,
        [
            "config",
            "workspace",
            "sessions",
            "disk",
            "clock",
            "agent echo",
            "bash",
            "sandbox",
            "server"
        ]
    );
    // It has changed nothing.
    assert!(!workspace.file(".duragent/lock").exists());
}

#[test]
fn a_server_that_runs_is_asked_whether_it_is_ready() {
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    let server = Server::start(&workspace, &[]);
    let output = doctor(&workspace, &[], &[]);
    let expected = format!(
        "ok       server: http://{} is ready (pid {})",
        server.address,
        server.pid()
    );
    assert_eq!(lines(&output).last(), Some(&expected));
    assert_eq!(code(&output), 0, "{output:?}");
}

#[test]
fn a_wrong_configuration_is_told_line_by_line() {
    let workspace = Workspace::new();
    workspace.config("sesions: {}\nserver:\n  port: 70000\n");
    workspace.echo_agent("echo");
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        lines(&output),
        [
            "error    config: duragent.yaml:1:1: unknown key `sesions`; did you mean `sessions`?",
            "error    config: duragent.yaml:3:9: `server.port` must be from 0 to 65535, not 70000",
            "warning  the rest: is not looked at before the configuration is right",
        ]
    );
    assert_eq!(output.stderr, b"duragent: 2 things do not work\n");

    // What is a warning for a server is an error here; the rest is looked at all the same.
    workspace.config("sesions: {}\n");
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    assert!(
        lines(&output)
            .iter()
            .any(|line| line.starts_with("ok       agent echo: "))
    );

    let output = doctor(&workspace, &["--config", "missing.yaml"], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        lines(&output)[0],
        "error    config: missing.yaml: does not exist"
    );
}

#[test]
fn agents_are_checked_with_the_keys_that_they_need() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0}\n");
    workspace.agent(
        "ada",
        "  model:\n    provider: openai\n    name: gpt\n    fallbacks:\n      \
         - {provider: anthropic, name: claude}\n      - {provider: echo, name: echo}\n  \
         tools:\n    - {type: builtin, name: web}\n",
    );
    workspace.agent(
        "local",
        "  model: {provider: openai, name: gpt, base_url: \"http://127.0.0.1:1/v1\"}\n",
    );
    workspace.agent(
        "typo",
        "  modle: {}\n  model: {provider: echo, name: echo}\n",
    );
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    let file = workspace.file(".duragent/agents/typo/agent.yaml");
    assert_eq!(
        complaints(&output),
        [
            "error    agent ada: openai/gpt cannot be asked: openai needs a key: set OPENAI_API_KEY \
             in the server's environment"
                .to_owned(),
            "warning  agent ada: the fallback anthropic/claude cannot be asked: anthropic needs a \
             key: set ANTHROPIC_API_KEY in the server's environment"
                .to_owned(),
            format!(
                "error    agent typo: {}:6:3: unknown key `spec.modle`; did you mean `model`?",
                file.display()
            ),
            "warning  web search: BRAVE_API_KEY is not set: ada can fetch pages, not search"
                .to_owned(),
        ]
    );
    fs::remove_dir_all(workspace.file(".duragent/agents/typo")).unwrap();
    let keys = [
        ("OPENAI_API_KEY", "secret-1"),
        ("ANTHROPIC_API_KEY", "secret-2"),
        ("BRAVE_API_KEY", "secret-3"),
    ];
    let output = doctor(&workspace, &[], &keys);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(complaints(&output), Vec::<String>::new());
    assert!(!lines(&output).concat().contains("secret"));
}

#[test]
fn a_directive_for_all_agents_that_cannot_be_read_is_told() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0}\n");
    workspace.echo_agent("echo");
    workspace.write(".duragent/directives/good.md", "Be brief.\n");
    let file = workspace.file(".duragent/directives/tone.md");
    fs::write(&file, b"Be \xff.\n").unwrap();
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        complaints(&output),
        [format!(
            "error    directives: {}:1:4: is not UTF-8 from here on",
            file.display()
        )]
    );
}

#[test]
fn the_machine_is_looked_at() {
    let workspace = Workspace::new();
    // More than any disk has: 2^20 MiB are a TiB, and the most that can be asked for.
    workspace.config("server: {min_free_mb: 1048576}\nsandbox: {mode: bubblewrap}\n");
    let sessions = workspace.file(".duragent/sessions");
    fs::create_dir_all(&sessions).unwrap();
    fs::set_permissions(&sessions, fs::Permissions::from_mode(0o755)).unwrap();
    // Made in the year 10889.
    fs::create_dir(sessions.join("session_7ZZZZZZZZZ0000000000000000")).unwrap();
    let output = doctor(&workspace, &["--json"], &[("PATH", "/nowhere")]);
    assert_eq!(code(&output), 1);
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let about = |subject: &str| {
        let check = checks.iter().find(|check| check["subject"] == subject);
        check
            .unwrap_or_else(|| panic!("nothing of {subject}: {checks:#?}"))
            .clone()
    };
    let path = sessions.display();
    assert_eq!(
        about("sessions"),
        json!({
            "subject": "sessions", "status": "warning",
            "message": format!("{path} is open to other users (mode 0755)"),
            "hint": format!("chmod 700 {path}")
        })
    );
    assert_eq!(about("clock")["status"], "warning");
    assert_eq!(
        about("sandbox"),
        json!({
            "subject": "sandbox", "status": "error",
            "message": "`bubblewrap` needs bwrap, which is not in PATH",
            "hint": "install the package `bubblewrap`"
        })
    );
    assert_eq!(about("bash")["status"], "warning");
    assert_eq!(about("agents")["status"], "warning");
    // A machine with more than a TiB is well.
    assert!(
        about("disk")["message"]
            .as_str()
            .unwrap()
            .contains("MiB are free")
    );
}
