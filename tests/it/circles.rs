//! A model that makes the same calls again and again, through the real binary.

use serde_json::{Value, json};

use crate::support::bench::{Bench, asking};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::server::{Server, Workspace};

/// An agent of the model that may run anything, for as long as it likes.
fn served(model: &FakeModel, session: &str) -> (Workspace, Server, String) {
    let ada = asking("ada", model)
        .continues()
        .builtin("bash")
        .session("max_tool_iterations: 200")
        .policy("mode: dangerous");
    let ada = if session.is_empty() {
        ada
    } else {
        ada.session(session)
    };
    let (workspace, server) = Bench::new().agent(ada).serve().apart();
    let session = server.create_session("ada");
    (workspace, server, session)
}

fn bash(command: &str) -> String {
    json!({"command": command}).to_string()
}

fn count(log: &[Value], kind: &str) -> usize {
    log.iter().filter(|event| event["type"] == kind).count()
}

#[test]
fn who_asks_for_the_time_on_and_on_is_told_twice_and_stopped_then() {
    let model = FakeModel::start();
    model.default_reply(tool_call("bash", &bash("date +%S")));
    let (workspace, server, session) = served(&model, "");
    let answer = server.say(&session, "what time is it?");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (500, &json!("loop"))
    );
    let log = workspace.log_of(&session);
    assert_eq!(count(&log, "tool_started"), 2);
    let results: Vec<&Value> = log
        .iter()
        .filter(|event| event["type"] == "tool_result")
        .collect();
    assert_eq!(results.len(), 4);
    let said = |n: usize| results[n]["result"]["content"].as_str().unwrap();
    for n in [2, 3] {
        assert!(said(n).starts_with(said(1).trim_end()), "{}", said(n));
        assert!(said(n).contains("done twice already"), "{}", said(n));
        assert_eq!(said(n).matches("done twice already").count(), 1);
    }
    let end = log.last().unwrap();
    assert_eq!(
        (&end["outcome"], &end["error"]["code"]),
        (&json!("failed"), &json!("loop"))
    );
    assert_eq!(model.request_count(), 5);
    // The next message begins anew.
    model
        .reply(tool_call("bash", &bash("date +%S")))
        .then(text("noon"));
    assert_eq!(server.say(&session, "and now?").status, 200);
}

#[test]
fn two_calls_in_turns_are_a_circle_too_however_they_are_written() {
    let model = FakeModel::start();
    for spaces in 0..4 {
        let spaces = " ".repeat(spaces);
        model.reply(tool_call(
            "bash",
            &format!("{{{spaces}\"command\": \"true\"}}"),
        ));
        model.reply(tool_call(
            "bash",
            &format!("{{\"command\":{spaces}\"false\"}}"),
        ));
    }
    let (workspace, server, session) = served(&model, "");
    let answer = server.say(&session, "go");
    assert_eq!(answer.json()["code"], "loop", "{}", answer.text());
    assert_eq!(count(&workspace.log_of(&session), "tool_started"), 7);
}

#[test]
fn a_batch_is_no_circle_and_who_switches_the_guard_off_has_none() {
    let model = FakeModel::start();
    for n in 0..100 {
        model.reply(tool_call("bash", &bash(&format!("echo {n}"))));
    }
    model.reply(text("all done"));
    let (workspace, server, session) = served(&model, "");
    assert_eq!(server.say(&session, "import").status, 200);
    assert_eq!(count(&workspace.log_of(&session), "tool_started"), 100);

    let model = FakeModel::start();
    for _ in 0..8 {
        model.reply(tool_call("bash", &bash("true")));
    }
    model.reply(text("all done"));
    let (workspace, server, session) = served(&model, "loop_guard: off");
    assert_eq!(server.say(&session, "go").status, 200);
    assert_eq!(count(&workspace.log_of(&session), "tool_started"), 8);
}

#[test]
fn calls_of_one_reply_that_are_the_same_run_twice() {
    let model = FakeModel::start();
    let call = bash("echo once");
    let three = tool_call("bash", &call)
        .and_call("bash", &call)
        .and_call("bash", &call);
    model.reply(three).then(text("done"));
    let (workspace, server, session) = served(&model, "");
    assert_eq!(server.say(&session, "go").status, 200);
    let log = workspace.log_of(&session);
    assert_eq!(
        (count(&log, "tool_started"), count(&log, "tool_result")),
        (2, 3)
    );
}
