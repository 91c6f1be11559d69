//! `spec.limits` of the real program, over the wire and over kills.

use std::panic::{catch_unwind, resume_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::bench::{Bench, asking};
use crate::support::fake_model::{FakeModel, stall, text, tool_call};
use crate::support::server::{Answer, Server, Workspace, eventually};

fn workspace(model: &FakeModel, limits: &str) -> Workspace {
    let helper = asking("helper", model).continues();
    Bench::new()
        .agent(helper.spec(&format!("limits: {limits}")))
        .workspace()
}

/// Runs a test whose counts must all fall into one hour; once more, if an hour began meanwhile.
fn in_one_hour(test: impl Fn() + std::panic::RefUnwindSafe) {
    let hour = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() / 3600
    };
    let began_in = hour();
    let outcome = catch_unwind(&test);
    if hour() != began_in {
        return test();
    }
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// Kills the server and starts another one on the same files.
fn restart(mut server: Server, workspace: &Workspace) -> Server {
    server.kill();
    Server::start(workspace, &["--resume", "always"])
}

fn assert_refused(answer: &Answer, limit: &str) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let seconds: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "{seconds}");
    let body = answer.json();
    assert_eq!(body["type"], "urn:duragent:problem:limit-reached");
    assert_eq!(body["agent"], "helper");
    assert_eq!(body["limit"], limit);
    assert!(body["opens_at"].as_str().unwrap().ends_with("Z"), "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(
        detail.contains("'helper'") && detail.contains(limit),
        "{detail}"
    );
}

#[test]
fn a_limit_on_tokens_outlives_a_kill() {
    in_one_hour(|| {
        let model = FakeModel::start();
        model.default_reply(text("yes").usage(1_000_000, 5));
        let workspace = workspace(&model, "{tokens_per_day: 1000000}");
        let server = Server::start(&workspace, &[]);
        assert!(!server.log().contains("limits"), "{}", server.log());
        let session = server.create_session("helper");
        assert_eq!(server.say(&session, "hi").status, 200);
        assert_refused(&server.say(&session, "more"), "spec.limits.tokens_per_day");
        let server = restart(server, &workspace);
        assert_refused(&server.say(&session, "more"), "spec.limits.tokens_per_day");
        let other = server.create_session("helper");
        let path = format!("/api/v1/sessions/{other}/stream");
        let refused = server.post(&path, &json!({"content": "hi"}));
        assert_refused(&refused, "spec.limits.tokens_per_day");
        assert_eq!(workspace.log_of(&other).len(), 1, "nothing was stored");
    });
}

#[test]
fn a_turn_that_a_kill_interrupts_counts_once() {
    in_one_hour(|| {
        let model = FakeModel::start();
        model.reply(stall()).then(stall()).then(text("at last"));
        let workspace = workspace(&model, "{turns_per_hour: 3}");
        let server = Server::start(&workspace, &[]);
        let session = server.create_session("helper");
        let say = |server: &Server| {
            let path = format!("/api/v1/sessions/{session}/messages");
            let headers = [("Prefer", "respond-async")];
            server.send_json("POST", &path, &headers, &json!({"content": "hi"}))
        };
        assert_eq!(say(&server).status, 202);
        model.wait_for_requests(1);
        let server = restart(server, &workspace);
        model.wait_for_requests(2);
        let server = restart(server, &workspace);
        eventually("the turn ends", || {
            let log = workspace.log_of(&session);
            log.iter()
                .any(|line| line["type"] == "turn_ended")
                .then_some(())
        });
        let log = workspace.log_of(&session);
        let begun = log.iter().filter(|line| line["type"] == "turn_started");
        assert_eq!(begun.count(), 3, "{log:#?}");
        // One of three has begun.
        assert_eq!(server.say(&session, "more").status, 200);
        assert_eq!(server.say(&session, "more").status, 200);
        assert_refused(&server.say(&session, "more"), "spec.limits.turns_per_hour");
        model.allow_violations();
    });
}

#[test]
fn a_turn_that_spends_the_last_tokens_fails_with_a_clear_error() {
    in_one_hour(|| {
        let model = FakeModel::start();
        model.reply(tool_call("anything", "{}").usage(90, 10));
        let workspace = workspace(&model, "{tokens_per_day: 100}");
        let server = Server::start(&workspace, &[]);
        let session = server.create_session("helper");
        let answer = server.say(&session, "hi");
        assert_eq!(answer.status, 429, "{}", answer.text());
        assert_eq!(answer.json()["code"], "limit_reached");
        assert_eq!(model.request_count(), 1);
        let log = workspace.log_of(&session);
        let ended = log.last().unwrap();
        assert_eq!(ended["type"], "turn_ended");
        assert_eq!(ended["error"]["code"], "limit_reached");
    });
}
