//! A server that is killed at each step of a tool's run: what ran, and what happens to the call.

use std::fs;

use serde_json::{Value, json};

use crate::support::bench::{Bench, echo};
use crate::support::server::{Remote, Server, Workspace, eventually};

/// The file in which a program counts its deeds.
const DEEDS: &str = ".duragent/agents/ada/work/deeds";

/// An agent with `pay`, a program whose first run kills the server that started it.
fn workspace(effect: &str, mode: &str) -> Workspace {
    let workspace = Workspace::new();
    let script = workspace.file("pay.sh");
    workspace.write(
        "pay.sh",
        "echo paid >> deeds\nif mkdir once 2>/dev/null; then kill -9 $PPID; sleep 60; fi\necho paid\n",
    );
    let command = format!("/bin/sh '{}'", script.display());
    let pay = format!("{{type: cli, name: pay, command: \"{command}\", effect: {effect}}}");
    Bench::on(workspace)
        .agent(echo("ada").continues().tool(&pay))
        .policy(&format!("mode: {mode}"))
        .workspace()
}

fn deeds(workspace: &Workspace) -> usize {
    fs::read_to_string(workspace.file(DEEDS)).map_or(0, |text| text.lines().count())
}

/// Starts the call, and returns when the server has died of it.
fn die_in_the_call(workspace: &Workspace) -> (Server, String) {
    let mut server = Server::start(workspace, &[]);
    let session = server.create_session("ada");
    server.try_post(
        &format!("/api/v1/sessions/{session}/messages"),
        &json!({"content": "/tool pay {}"}),
    );
    server.wait_for_exit();
    // A loop of crashes is what these tests are about: it must not leave the turns waiting.
    (Server::start(workspace, &["--resume", "always"]), session)
}

fn question(server: &Remote, session: &str) -> Value {
    eventually("it asks", || {
        let shown = server.get(&format!("/api/v1/sessions/{session}")).json();
        shown.get("pending_approval").cloned()
    })
}

fn decide(server: &Remote, session: &str, question: &Value, decision: &str) -> Value {
    let answer = server.post(
        &format!("/api/v1/sessions/{session}/approve"),
        &json!({
            "call_id": question["call_id"],
            "command": question["command"],
            "decision": decision,
        }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// How many of the log's events are of that type.
fn count(workspace: &Workspace, session: &str, kind: &str) -> usize {
    let log = workspace.log_of(session);
    log.iter().filter(|event| event["type"] == kind).count()
}

fn until_answered(workspace: &Workspace, session: &str) {
    eventually("the turn ends", || {
        (count(workspace, session, "turn_ended") == 1).then_some(())
    });
    assert_eq!(count(workspace, session, "tool_result"), 1);
}

#[test]
fn what_may_have_paid_is_not_run_again_unless_somebody_says_so() {
    for (decision, paid) in [("worked", 1), ("skip", 1), ("retry", 2)] {
        let workspace = workspace("write", "dangerous");
        let (server, session) = die_in_the_call(&workspace);
        let question = question(&server, &session);
        assert_eq!(question["kind"], "uncertain");
        assert_eq!(deeds(&workspace), 1);
        decide(&server, &session, &question, decision);
        until_answered(&workspace, &session);
        assert_eq!(deeds(&workspace), paid, "{decision}");
    }
}

#[test]
fn what_may_run_twice_runs_again_by_itself() {
    for effect in ["read", "idempotent"] {
        let workspace = workspace(effect, "dangerous");
        let (_server, session) = die_in_the_call(&workspace);
        until_answered(&workspace, &session);
        assert_eq!(deeds(&workspace), 2, "{effect}");
        assert_eq!(count(&workspace, &session, "approval_required"), 0);
    }
}

#[test]
fn what_had_not_begun_runs_once_when_it_is_allowed() {
    let workspace = workspace("write", "ask");
    fs::create_dir_all(workspace.file(".duragent/agents/ada/work/once")).unwrap();
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    assert_eq!(server.say(&session, "/tool pay {}").status, 202);
    server.kill();
    let server = Server::start(&workspace, &["--resume", "always"]);
    let question = question(&server, &session);
    assert_eq!(question["kind"], "policy");
    assert_eq!(deeds(&workspace), 0);
    let answer = decide(&server, &session, &question, "allow_once");
    assert_eq!(answer["content"], "paid\n");
    until_answered(&workspace, &session);
    assert_eq!(deeds(&workspace), 1);
}
