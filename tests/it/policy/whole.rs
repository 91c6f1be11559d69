//! The real program, from policies on disk to what runs.

use std::fs;

use serde_json::{Value, json};

use super::files::HEAD;
use crate::support::bench::{Bench, echo};
use crate::support::server::{Answer, Launch, Remote, Server, Workspace};

const POLICY: &str = ".duragent/agents/ada/policy.yaml";
const WORK: &str = ".duragent/agents/ada/work";

/// What its owner allowed to it for good.
fn own(workspace: &Workspace) -> String {
    let id = workspace.read(".duragent/id");
    format!(".local/state/duragent/trust/{}/ada.policy.yaml", id.trim())
}

/// An agent that calls what it is told to.
fn workspace(policy: Option<&str>) -> Workspace {
    let ada = echo("ada").continues().builtin("bash").builtin("session");
    let ada = match policy {
        Some(rules) => ada.policy(rules),
        None => ada,
    };
    Bench::new().agent(ada).workspace()
}

fn bash(server: &Remote, session: &str, command: &str) -> Answer {
    let arguments = json!({"command": command});
    server.say(session, &format!("/tool bash {arguments}"))
}

#[track_caller]
fn said(answer: &Answer) -> String {
    let content = answer.json()["content"].as_str().map(str::to_owned);
    content.unwrap_or_else(|| panic!("{}", answer.text()))
}

#[track_caller]
fn is_asked(answer: &Answer) -> Value {
    let asked = answer.json();
    assert!(asked["call_id"].is_string(), "{asked}");
    asked
}

fn decide(server: &Remote, session: &str, asked: &Value, decision: &str) -> Answer {
    let body =
        json!({"call_id": asked["call_id"], "command": asked["command"], "decision": decision});
    server.post(&format!("/api/v1/sessions/{session}/approve"), &body)
}

#[test]
fn what_is_allowed_runs_and_what_is_denied_is_told_to_the_model() {
    let workspace = workspace(Some("allow: ['bash:echo *']\ndeny: ['bash:touch *']\n"));
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let ran = said(&bash(&server, &session, "echo a && echo 'b;c'"));
    assert!(ran.contains("a\nb;c"), "{ran}");
    let refused = said(&bash(&server, &session, "echo $(/usr/bin/touch made)"));
    assert!(refused.contains("deny `bash:touch *`"), "{refused}");
    assert!(!workspace.file(WORK).join("made").exists());
    let log = workspace.log_of(&session);
    let events = |kind: &str| log.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((events("tool_started"), events("tool_result")), (1, 2));
    assert_eq!(events("approval_required"), 0);
}

#[test]
fn a_question_outlives_a_crash_and_its_answer_is_remembered() {
    let workspace = workspace(Some("mode: ask\n"));
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let command = "touch made && echo done";
    is_asked(&bash(&server, &session, command));
    server.kill();
    let server = Server::start(&workspace, &["--resume", "always"]);
    let made = workspace.file(WORK).join("made");
    assert!(!made.exists());
    let about = server.get(&format!("/api/v1/sessions/{session}")).json();
    let asked = about["pending_approval"].clone();
    assert_eq!(asked["command"], command, "{about}");
    let mut watcher = server.events(&session, "", None);

    let answer = decide(&server, &session, &asked, "allow_always");
    assert!(said(&answer).contains("done"), "{}", answer.text());
    assert!(made.exists());
    assert_eq!(decide(&server, &session, &asked, "deny").status, 409);
    let seen = watcher.until("done");
    assert!(seen.iter().all(|event| event.name != "notice"), "{seen:?}");
    let written = workspace.read(&own(&workspace));
    let items = "allow:\n  - 'bash:touch made'\n  - 'bash:echo done'\n";
    assert!(written.ends_with(items), "{written}");

    fs::remove_file(&made).unwrap();
    assert!(said(&bash(&server, &session, command)).contains("done"));
    assert!(made.exists());
    is_asked(&bash(&server, &session, "touch other"));
}

#[test]
fn who_allows_always_is_told_of_what_is_not_remembered() {
    let workspace = workspace(None);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let asked = is_asked(&bash(&server, &session, "echo a"));
    decide(&server, &session, &asked, "allow_always");
    // Nothing can be added behind its end.
    let file = own(&workspace);
    let local = format!("{HEAD}# mine\n...\n");
    assert_ne!(workspace.read(&file), "");
    workspace.write(&file, &local);
    for (command, expected) in [
        ("echo x > file", "cannot be added to"),
        ("touch file2", "cannot be added to"),
    ] {
        let asked = is_asked(&bash(&server, &session, command));
        let mut watcher = server.events(&session, "", None);
        let answer = decide(&server, &session, &asked, "allow_always");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let seen = watcher.until("done");
        let notice = seen.iter().find(|event| event.name == "notice");
        let notice = &notice.unwrap_or_else(|| panic!("{seen:?}")).data;
        assert_eq!(notice["code"], "not_remembered");
        let message = notice["message"].as_str().unwrap();
        assert!(message.contains(expected), "{message}");
    }
    let made = |name: &str| workspace.file(WORK).join(name).exists();
    assert!(made("file") && made("file2"));
    assert_eq!(workspace.read(&file), local);
}

#[test]
fn restrict_refuses_what_is_not_allowed_and_a_reload_changes_that() {
    let workspace = workspace(Some("mode: restrict\nallow: ['bash:echo *']\n"));
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    assert!(said(&bash(&server, &session, "echo a")).contains('a'));
    for command in ["pwd", "echo a > b", "echo 'a"] {
        let refused = said(&bash(&server, &session, command));
        assert!(refused.contains("mode `restrict`"), "{refused}");
    }
    workspace.write(POLICY, &format!("{HEAD}allow: ['bash:pwd']\n"));
    let reload = || server.post("/api/admin/v1/reload-agents", &json!({}));
    assert_eq!(reload().status, 200);
    assert!(said(&bash(&server, &session, "pwd")).contains("work"));
    let asked = is_asked(&bash(&server, &session, "echo a"));
    assert_eq!(
        decide(&server, &session, &asked, "deny").status,
        200,
        "{asked}"
    );
    // One that cannot be read refuses everything.
    workspace.write(POLICY, &format!("{HEAD}alow: []\n"));
    assert_eq!(reload().status, 200);
    let refused = said(&bash(&server, &session, "pwd"));
    assert!(refused.contains("unknown key `alow`"), "{refused}");
}

#[test]
fn without_a_policy_what_reads_runs_unasked_and_the_shell_asks() {
    let workspace = workspace(None);
    let server = Launch::new(&workspace).start();
    let session = server.create_session("ada");
    let listed = said(&server.say(&session, "/tool session {\"action\":\"list\"}"));
    assert!(listed.contains(&session), "{listed}");
    let asked = is_asked(&bash(&server, &session, "pwd"));
    let answer = decide(&server, &session, &asked, "allow_once");
    assert!(said(&answer).contains("work"), "{}", answer.text());
    assert!(!workspace.file(&own(&workspace)).exists());
}
