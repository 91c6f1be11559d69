//! The HTTP API of the real program, as a stranger with a socket sees it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::bench::{Bench, asking, echo};
use crate::support::sessions::AskAlways;
use duragent::domain::event::OnDisconnect;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::fake_model::{FakeModel, error, pieces, text, tool_call};
use crate::support::local_api::LocalApi;
use crate::support::server::{Answer, Server, Workspace, eventually, text_of};
use crate::support::sessions::{Setup, repeats, tool};

mod page;
mod protocol;

fn echo_server() -> (Workspace, Server) {
    Bench::new().agent(echo("echo")).serve().apart()
}

fn model_server(model: &FakeModel, config: &str) -> (Workspace, Server) {
    Bench::new()
        .agent(asking("helper", model).continues())
        .config(config)
        .serve()
        .apart()
}

fn of(session: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{session}{rest}")
}

fn names(events: &[crate::support::server::Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// Whether an answer is problem details that bear its own status; returns the detail.
fn detail(answer: &Answer) -> String {
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/problem+json")
    );
    let body = answer.json();
    assert_eq!(body["status"], answer.status);
    assert!(
        body["type"]
            .as_str()
            .unwrap()
            .starts_with("urn:duragent:problem:")
    );
    body["detail"].as_str().unwrap().to_owned()
}

#[test]
fn the_open_routes_tell_how_the_server_is() {
    let (workspace, server) = echo_server();
    assert_eq!(server.get("/livez").text(), "ok");
    let ready = server.get("/readyz").json();
    assert_eq!(ready["status"], "ok");
    assert!(
        ready["workspace_hash"]
            .as_str()
            .is_some_and(|hash| !hash.is_empty())
    );
    assert!(server.get("/version").json()["version"].is_string());
    let home = server.get("/");
    assert_eq!(
        (home.status, home.header("Content-Type")),
        (200, Some("text/plain; charset=utf-8"))
    );
    let folder = workspace.path().to_str().unwrap();
    for path in ["/", "/livez", "/readyz", "/version"] {
        assert!(!server.get(path).text().contains(folder), "{path}");
    }
}

#[test]
fn head_and_options_answer_without_a_body() {
    let (_workspace, server) = echo_server();
    let head = server.request("HEAD", "/api/v1/agents", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let options = server.request("OPTIONS", "/api/v1/sessions", &[], b"");
    assert_eq!(options.status, 204);
    assert_eq!(options.header("Allow"), Some("GET, HEAD, POST, OPTIONS"));
}

#[test]
fn every_mistake_has_its_status_and_says_what_to_do() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let nobody = "session_01J0000000000000000000000A";
    let json = ("Content-Type", "application/json");
    let hi = r#"{"content":"hi"}"#;
    for (method, path, headers, body, status, says) in [
        (
            "GET",
            "/nowhere".into(),
            vec![],
            "",
            404,
            "nothing at this path",
        ),
        ("GET", of(nobody, ""), vec![], "", 404, nobody),
        ("GET", of("nope", ""), vec![], "", 404, "'nope' not found"),
        (
            "GET",
            "/api/v1/agents/x".into(),
            vec![],
            "",
            404,
            "Agent 'x' not found",
        ),
        (
            "PUT",
            "/livez".into(),
            vec![],
            "",
            405,
            "GET, HEAD, OPTIONS",
        ),
        (
            "GET",
            "/api/v1/%zz".into(),
            vec![],
            "",
            400,
            "percent escape",
        ),
        (
            "POST",
            "/api/v1/sessions".into(),
            vec![json],
            r#"{"agent":"x"}"#,
            404,
            "Agent 'x' not found",
        ),
        (
            "POST",
            "/api/v1/sessions".into(),
            vec![json],
            "{\n]",
            400,
            "line 2 column 1",
        ),
        (
            "POST",
            "/api/v1/sessions".into(),
            vec![json],
            "{}",
            400,
            "missing field `agent`",
        ),
        (
            "POST",
            "/api/v1/sessions".into(),
            vec![json],
            r#"{"agent":1}"#,
            400,
            "`agent` must be a string",
        ),
        (
            "POST",
            "/api/v1/sessions".into(),
            vec![],
            r#"{"agent":"echo"}"#,
            415,
            "application/json",
        ),
        (
            "POST",
            of(&session, "/messages"),
            vec![json],
            r#"{"content":" "}"#,
            400,
            "`content`",
        ),
        ("POST", of(nobody, "/messages"), vec![json], hi, 404, nobody),
        ("POST", of(nobody, "/stream"), vec![json], hi, 404, nobody),
        ("POST", of(nobody, "/cancel"), vec![], "", 404, nobody),
        (
            "GET",
            of(nobody, "/events"),
            vec![("Accept", "text/event-stream")],
            "",
            404,
            nobody,
        ),
        (
            "POST",
            of(&session, "/stream"),
            vec![json, ("Accept", "text/html")],
            hi,
            406,
            "text/event-stream",
        ),
        (
            "POST",
            of(&session, "/messages"),
            vec![json, ("Idempotency-Key", "a b")],
            hi,
            400,
            "Idempotency-Key",
        ),
        (
            "GET",
            of(&session, "/messages?limit=0"),
            vec![],
            "",
            400,
            "from 1 to 1000",
        ),
        (
            "GET",
            of(&session, "/events?last_event_id=x"),
            vec![("Accept", "text/event-stream")],
            "",
            400,
            "Last-Event-ID",
        ),
        (
            "PATCH",
            of(&session, ""),
            vec![json],
            "{}",
            400,
            "`title`, `model`",
        ),
        (
            "POST",
            of(&session, "/approve"),
            vec![json],
            r#"{"call_id":"c","command":"x","decision":"deny"}"#,
            404,
            "nothing waits",
        ),
        (
            "POST",
            of(&session, "/approve"),
            vec![json],
            r#"{"call_id":"c","command":"x","decision":"maybe"}"#,
            400,
            "`decision`",
        ),
    ] {
        let answer = server.request(method, &path, &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let detail = detail(&answer);
        assert!(detail.contains(says), "{method} {path}: {detail}");
        assert_eq!(answer.header("Allow").is_some(), status == 405);
    }
    assert_eq!(
        server.get(&of(&session, "/messages")).json(),
        json!({"messages": []})
    );
}

#[test]
fn a_session_is_made_shown_renamed_and_ended() {
    let (workspace, server) = echo_server();
    let made = server.post("/api/v1/sessions", &json!({"agent": "echo"}));
    let id = made.json()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("Location"), Some(of(&id, "").as_str()));
    assert_eq!(made.json()["status"], "active");

    let shown = server.patch(&of(&id, ""), &json!({"title": "Trip"})).json();
    assert_eq!(
        (&shown["title"], &shown["working"]),
        (&json!("Trip"), &json!(false))
    );
    assert_eq!(server.get(&of(&id, "")).json()["attached"], 0);

    let newer = server.create_session("echo");
    let page = server.get("/api/v1/sessions?limit=1").json();
    assert_eq!(page["sessions"][0]["session_id"], newer.as_str());
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = server
        .get(&format!("/api/v1/sessions?cursor={cursor}"))
        .json();
    assert_eq!(page["sessions"][0]["title"], "Trip");

    assert_eq!(server.delete(&of(&id, "?keep=true")).status, 204);
    let over = server.say(&id, "hi");
    assert_eq!(over.status, 410, "{}", over.text());
    assert_eq!(server.get(&of(&id, "")).json()["status"], "completed");
    assert_eq!(server.delete(&of(&newer, "")).status, 204);
    assert_eq!(server.get(&of(&newer, "")).status, 404);
    assert!(
        !workspace
            .file(&format!(".duragent/sessions/{newer}"))
            .exists()
    );
}

#[test]
fn a_blocking_message_returns_the_answer_and_history_has_both() {
    let model = FakeModel::start();
    model.reply(text("It is late.").usage(7, 3));
    let (_workspace, server) = model_server(&model, "");
    let session = server.create_session("helper");
    let answer = server.say(&session, "What time is it?");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(
        (&body["role"], &body["content"]),
        (&json!("assistant"), &json!("It is late."))
    );
    assert_eq!(body["usage"]["total_tokens"], 10);
    let messages = server.get(&of(&session, "/messages")).json();
    let said: Vec<_> = messages["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (&m["role"], &m["content"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("user"), &json!("What time is it?")),
            (&json!("assistant"), &json!("It is late."))
        ]
    );
    assert_eq!(messages["messages"][1]["message_id"], body["message_id"]);
}

#[test]
fn a_stream_begins_with_start_shows_the_turn_and_ends_with_done() {
    let model = FakeModel::start();
    model.reply(pieces(&["It ", "is\n", "late."]));
    let (_workspace, server) = model_server(&model, "");
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hi");
    assert_eq!(stream.head.header("Cache-Control"), Some("no-store"));
    assert_eq!(stream.head.header("X-Accel-Buffering"), Some("no"));
    let events = stream.rest();
    let shown = names(&events);
    assert_eq!((shown[0], *shown.last().unwrap()), ("start", "done"));
    assert!(
        shown[1..shown.len() - 1]
            .iter()
            .all(|name| *name == "token"),
        "{shown:?}"
    );
    assert_eq!(text_of(&events), "It is\nlate.");
    assert!(events.iter().all(|event| !event.id.is_empty()));
    assert_eq!(events.last().unwrap().data["finish_reason"], "stop");
}

#[test]
fn one_who_attaches_sees_everything_and_can_come_back() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let mut watcher = server.events(&session, "", None);
    assert_eq!(watcher.expect("session").data["messages"], json!([]));
    server.say(&session, "one two three");
    let events = watcher.until("done");
    assert_eq!(events[0].name, "user_message");
    assert_eq!(events[0].data["content"], "one two three");
    assert_eq!(
        names(&events)
            .iter()
            .filter(|name| **name == "message")
            .count(),
        1
    );

    for at in 0..events.len() - 1 {
        let mut again = server.events(&session, "", Some(&events[at].id));
        let rest = again.until("done");
        assert_eq!(
            text_of(&rest),
            text_of(&events[at + 1..]),
            "after {:?}",
            events[at]
        );
        let durable = |events: &[crate::support::server::Event]| -> Vec<String> {
            let names = names(events).into_iter().filter(|name| *name != "token");
            names.map(str::to_owned).collect()
        };
        assert_eq!(
            durable(&rest),
            durable(&events[at + 1..]),
            "after {:?}",
            events[at]
        );
    }

    let mut late = server.events(&session, "history=1", None);
    let messages = late.expect("session").data["messages"].clone();
    assert_eq!(messages.as_array().unwrap().len(), 1);
    assert_eq!(messages[0]["role"], "assistant");
}

#[test]
fn events_are_also_pages_of_json() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    server.say(&session, "hi");
    let first = server.get(&of(&session, "/events?limit=2")).json();
    assert_eq!(first["events"][0]["type"], "session_start");
    assert_eq!(
        (first["events"].as_array().unwrap().len(), &first["next"]),
        (2, &json!(2))
    );
    let rest = server.get(&of(&session, "/events?after=2")).json();
    assert_eq!(rest["events"][0]["seq"], 3);
    assert_eq!(rest.get("next"), None);
}

#[test]
fn a_session_that_is_over_has_204_for_those_who_saw_its_end() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    server.delete(&of(&session, "?keep=true"));
    let last = watcher.expect("status");
    assert_eq!(last.data, json!({"to": "completed"}));
    assert_eq!(watcher.next(), None);
    let headers = [
        ("Accept", "text/event-stream"),
        ("Last-Event-ID", last.id.as_str()),
    ];
    assert_eq!(
        server
            .request("GET", &of(&session, "/events"), &headers, b"")
            .status,
        204
    );
}

#[test]
fn an_asynchronous_message_is_answered_at_once() {
    let model = FakeModel::start();
    model.reply(text("never").and_stall());
    let (_workspace, server) = model_server(&model, "");
    let session = server.create_session("helper");
    let headers = [("Prefer", "respond-async")];
    let path = of(&session, "/messages");
    let answer = server.send_json("POST", &path, &headers, &json!({"content": "hi"}));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("Preference-Applied"), Some("respond-async"));
    assert_eq!(answer.json()["seq"], 2);
    model.wait_for_stalls(1);
}

#[test]
fn a_key_stores_its_message_once() {
    let (workspace, server) = echo_server();
    let session = server.create_session("echo");
    let path = of(&session, "/messages");
    let say = |content: &str| {
        let key = [("Idempotency-Key", "k-1")];
        server.send_json("POST", &path, &key, &json!({ "content": content }))
    };
    let first = say("hi").json();
    assert_eq!(say("hi").json(), first);
    assert_eq!(say("something else").status, 409);
    let log = workspace.log_of(&session);
    let stored = log.iter().filter(|line| line["type"] == "user_message");
    assert_eq!(stored.count(), 1);

    let create = || {
        let key = [("Idempotency-Key", "k-2")];
        server.send_json("POST", "/api/v1/sessions", &key, &json!({"agent": "echo"}))
    };
    assert_eq!(create().json()["session_id"], create().json()["session_id"]);
}

#[test]
fn a_provider_that_fails_is_502_with_its_words() {
    let model = FakeModel::start();
    model.reply(error(400, "no such model"));
    let (_workspace, server) = model_server(&model, "");
    let session = server.create_session("helper");
    let answer = server.say(&session, "hi");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(detail(&answer).contains("no such model"));
    assert!(answer.json()["message_id"].is_string());
    assert!(!answer.text().contains("test-key"));
}

#[test]
fn a_cancel_reaches_everyone_who_waits() {
    let model = FakeModel::start();
    model.reply(text("I will ").and_stall());
    let (_workspace, server) = model_server(&model, "");
    let session = server.create_session("helper");
    assert_eq!(
        server.post(&of(&session, "/cancel"), &json!({})).json(),
        json!({"cancelled": false})
    );
    let mut stream = server.stream(&session, "hi");
    stream.until("token");
    model.wait_for_stalls(1);
    let cancelled = server.request("POST", &of(&session, "/cancel"), &[], b"");
    assert_eq!(cancelled.json(), json!({"cancelled": true}));
    let rest = stream.rest();
    assert_eq!(rest.last().unwrap().name, "cancelled");
    assert_eq!(rest.last().unwrap().data, json!({}));
}

fn ends_without_complaint(server: &Server) {
    server.terminate();
    let log = server.log();
    let complaints = log
        .lines()
        .filter(|line| line.contains(" warn ") || line.contains(" error "));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_session_that_is_deleted_at_work_leaves_no_complaint_in_the_log() {
    let model = FakeModel::start();
    for _ in 0..4 {
        model.reply(text("I will ").and_stall());
    }
    let (_workspace, server) = model_server(&model, "");
    for _ in 0..4 {
        let session = server.create_session("helper");
        let mut stream = server.stream(&session, "hi");
        model.wait_for_stalls(1);
        assert_eq!(server.delete(&of(&session, "")).status, 204);
        let events = stream.rest();
        assert!(names(&events).contains(&"cancelled"), "{events:?}");
    }
    ends_without_complaint(&server);
}

#[test]
fn a_session_that_several_delete_at_once_is_gone_once_and_nobody_complains() {
    let model = FakeModel::start();
    let (_workspace, server) = model_server(&model, "");
    for _ in 0..40 {
        let session = server.create_session("helper");
        let path = of(&session, "");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let begin = || scope.spawn(|| server.delete(&path).status);
            let all = [begin(), begin(), begin()];
            all.map(|one| one.join().unwrap()).to_vec()
        });
        let deleted = statuses.iter().filter(|status| **status == 204).count();
        let missing = statuses.iter().filter(|status| **status == 404).count();
        assert_eq!((deleted, missing), (1, 2), "{statuses:?}");
    }
    ends_without_complaint(&server);
}

#[test]
fn who_waits_in_a_session_that_is_deleted_is_told_so() {
    let model = FakeModel::start();
    model.reply(text("I will ").and_stall());
    let (_workspace, server) = model_server(&model, "");
    let session = server.create_session("helper");
    let (server, session) = (&server, &session);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.say(session, "hi"));
        model.wait_for_stalls(1);
        let second = scope.spawn(|| server.say(session, "and this"));
        while server.get(&of(session, "")).json()["message_count"] != 2 {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(server.delete(&of(session, "")).status, 204);
        for waiting in [first, second] {
            let answer = waiting.join().unwrap();
            let expected = [404, 409, 410];
            assert!(
                expected.contains(&answer.status),
                "{}: {}",
                answer.status,
                answer.text()
            );
        }
    });
}

#[test]
fn a_long_turn_answers_202_and_goes_on() {
    let model = FakeModel::start();
    model.reply(text("slow ").and_stall().and_text("but sure"));
    let (_workspace, server) = model_server(&model, "server:\n  request_timeout_seconds: 1\n");
    let session = server.create_session("helper");
    let answer = server.say(&session, "hi");
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["seq"], 2);
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    model.release();
    let events = watcher.until("done");
    assert_eq!(text_of(&events), "slow but sure");
}

#[test]
fn a_quiet_stream_shows_that_it_lives() {
    let server = Bench::new()
        .agent(echo("echo"))
        .config("server:\n  keep_alive_interval_seconds: 1")
        .serve();
    let session = server.create_session("echo");
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    watcher.expect_comment("keep-alive");
}

#[test]
fn a_stream_shows_that_it_lives_while_only_others_have_news() {
    let model = FakeModel::start();
    model.reply(pieces(&["word"]).and_stall());
    let config = "server:\n  keep_alive_interval_seconds: 1\n";
    let (_workspace, server) = model_server(&model, config);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hi");
    stream.until("token");
    let is_over = AtomicBool::new(false);
    // The turn of the first message does not show the messages that wait.
    let say_until_over = || {
        let path = of(&session, "/messages");
        let headers = [("Prefer", "respond-async")];
        (0..100).all(|number| {
            let body = json!({"content": format!("and {number}")});
            server.send_json("POST", &path, &headers, &body);
            std::thread::sleep(Duration::from_millis(200));
            !is_over.load(Ordering::SeqCst)
        })
    };
    std::thread::scope(|scope| {
        let others = scope.spawn(say_until_over);
        stream.expect_comment("keep-alive");
        is_over.store(true, Ordering::SeqCst);
        let came_after_the_news = others.join().unwrap();
        assert!(!came_after_the_news);
    });
}

#[test]
fn who_watches_only_does_not_count_and_others_can_be_sent_away() {
    let (_workspace, server) = echo_server();
    let session = server.create_session("echo");
    let mut first = server.events(&session, "", None);
    first.expect("session");
    let mut silent = server.events(&session, "readonly=true", None);
    silent.expect("session");
    assert_eq!(server.get(&of(&session, "")).json()["attached"], 1);
    let mut second = server.events(&session, "detach_others=true", None);
    second.expect("session");
    first.expect("detached");
    assert_eq!(first.next(), None);
    assert!(!first.comments.is_empty());
    assert_eq!(server.get(&of(&session, "")).json()["attached"], 1);
}

#[test]
fn a_stop_ends_streams_with_a_comment_and_no_done() {
    let model = FakeModel::start();
    model.reply(text("I will ").and_stall());
    let (_workspace, mut server) = model_server(&model, "server:\n  shutdown_grace_seconds: 1\n");
    let session = server.create_session("helper");
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    let mut stream = server.stream(&session, "hi");
    stream.until("token");
    server.terminate();
    for stream in [&mut watcher, &mut stream] {
        let rest = stream.rest();
        assert!(rest.iter().all(|event| event.name != "done"), "{rest:?}");
        let last = stream.comments.last().map(String::as_str);
        assert_eq!(last, Some("server is shutting down"));
    }
    assert!(server.wait_for_exit().success());
}

#[test]
fn an_admin_reads_agents_again_and_stops_the_server() {
    let (workspace, mut server) = echo_server();
    workspace.echo_agent("second");
    workspace.write(".duragent/agents/bad/agent.yaml", "apiVersion: [");
    let report = server
        .request("POST", "/api/admin/v1/reload-agents", &[], b"")
        .json();
    assert_eq!(report["added"], json!(["second"]));
    assert_eq!(report["errors"].as_array().unwrap().len(), 1, "{report}");
    let agents = server.get("/api/v1/agents").json();
    let names: Vec<&Value> = agents["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["name"])
        .collect();
    assert_eq!(names, [&json!("echo"), &json!("second")]);
    let agent = server.get("/api/v1/agents/second").json();
    assert_eq!(
        (&agent["kind"], &agent["spec"]["model"]["provider"]),
        (&json!("Agent"), &json!("echo"))
    );
    let stop = server.request("POST", "/api/admin/v1/shutdown", &[], b"");
    assert_eq!(stop.status, 202, "{}", stop.text());
    assert!(server.wait_for_exit().success());
}

// --- approvals, over HTTP, of an agent that has a tool ---

/// An agent that asks before it notes anything, and the folder of its sessions.
fn asking_agent(model: &FakeModel) -> (TempDir, LocalApi) {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: tool("note", repeats),
        policy: Arc::new(AskAlways),
        ..Setup::default()
    };
    let api = LocalApi::start(folder.path(), model, &setup);
    (folder, api)
}

fn decide(api: &LocalApi, session: &str, call_id: &str, command: &str, decision: &str) -> Answer {
    let body = json!({"call_id": call_id, "command": command, "decision": decision});
    api.post(&of(session, "/approve"), &body)
}

#[test]
fn a_decision_must_fit_the_question_and_leads_to_the_answer() {
    let model = FakeModel::start();
    model
        .reply(tool_call("note", r#"{"a":1}"#))
        .then(text("It is noted."));
    let (_folder, api) = asking_agent(&model);
    let session = api.create_session("helper");
    let nothing = decide(&api, &session, "call_1", "note", "deny");
    assert_eq!(nothing.status, 404, "{}", nothing.text());
    let mut watcher = api.events(&session, "", None);

    let asked = api.say(&session, "Note this.");
    assert_eq!(asked.status, 202, "{}", asked.text());
    let asked = asked.json();
    assert_eq!(asked["session_id"], session.as_str());
    let call_id = asked["call_id"].as_str().unwrap();
    let command = asked["command"].as_str().unwrap();
    assert_eq!(command, r#"note {"a":1}"#);
    let shown = api.get(&of(&session, "")).json();
    let pending = json!({"call_id": call_id, "command": command, "kind": "policy", "commands": [command], "lines": 1, "exact": false});
    assert_eq!(shown["pending_approval"], pending);
    let seen = watcher.until("approval_required");
    assert_eq!(seen.last().unwrap().data, pending);

    for (call_id, command, decision, status) in [
        ("another", command, "allow_once", 400),
        (call_id, "rm -rf /", "allow_once", 409),
        (call_id, r#"note {"a": 1}"#, "allow_once", 409),
        (call_id, command, "maybe", 400),
        // Only of a call that may have run before can these be said.
        (call_id, command, "retry", 400),
        (call_id, command, "worked", 400),
    ] {
        let refused = decide(&api, &session, call_id, command, decision);
        assert_eq!(refused.status, status, "{decision}: {}", refused.text());
    }
    // A message meanwhile is stored, and asked the same.
    let again = api.say(&session, "Well?");
    assert_eq!((again.status, again.json()), (202, asked.clone()));
    assert_eq!(model.request_count(), 1);

    let decided = decide(&api, &session, call_id, command, "allow_once");
    assert_eq!(decided.status, 200, "{}", decided.text());
    let body = decided.json();
    assert_eq!(
        (&body["status"], &body["content"]),
        (&json!("complete"), &json!("It is noted."))
    );
    let late = decide(&api, &session, call_id, command, "deny");
    assert_eq!(late.status, 409, "{}", late.text());
    // The stream that showed the question goes on with the rest of the turn.
    let rest = watcher.until("done");
    let result = rest
        .iter()
        .find(|event| event.name == "tool_result")
        .unwrap();
    assert_eq!(result.data["content"], r#"got {"a":1}"#);
    assert_eq!(rest.last().unwrap().data["message_id"], body["message_id"]);
    let told = model.requests()[1].messages().last().cloned().unwrap();
    assert_eq!(told["content"], "Well?");
}

#[test]
fn a_decision_may_lead_to_the_next_question_and_a_denial_to_an_answer() {
    let model = FakeModel::start();
    let two_calls = tool_call("note", r#"{"a":1}"#).and_call("note", r#"{"b":2}"#);
    model.reply(two_calls).then(text("One of two."));
    let (_folder, api) = asking_agent(&model);
    let session = api.create_session("helper");
    let mut stream = api.stream(&session, "Note both.");
    let first = stream.until("approval_required").pop().unwrap().data;
    let call = |question: &Value| {
        let word = |key: &str| question[key].as_str().unwrap().to_owned();
        (word("call_id"), word("command"))
    };
    let (call_id, command) = call(&first);
    let next = decide(&api, &session, &call_id, &command, "allow_once");
    assert_eq!(next.status, 200, "{}", next.text());
    let next = next.json();
    assert_eq!(next["status"], "pending_approval");
    let (call_id, command) = call(&next);
    assert_eq!(command, r#"note {"b":2}"#);
    let done = decide(&api, &session, &call_id, &command, "deny").json();
    assert_eq!(
        (&done["status"], &done["content"]),
        (&json!("complete"), &json!("One of two."))
    );
    // One stream has shown all of it.
    let seen = stream.rest();
    let results = seen.iter().filter(|event| event.name == "tool_result");
    let succeeded: Vec<bool> = results
        .map(|event| event.data["success"].as_bool().unwrap())
        .collect();
    assert_eq!(succeeded, [true, false]);
    assert_eq!(seen.last().unwrap().name, "done");
}

#[test]
fn of_two_decisions_at_once_the_first_counts() {
    let model = FakeModel::start();
    model.reply(tool_call("note", "{}")).then(text("Noted."));
    let (_folder, api) = asking_agent(&model);
    let session = api.create_session("helper");
    let asked = api.say(&session, "Note this.").json();
    let call_id = asked["call_id"].as_str().unwrap();
    let command = asked["command"].as_str().unwrap();
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let decide = || decide(&api, &session, call_id, command, "allow_once").status;
        let deciders: Vec<_> = (0..6).map(|_| scope.spawn(decide)).collect();
        deciders
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
}

#[test]
fn a_call_that_may_have_run_is_decided_in_its_own_words() {
    for (decision, status) in [
        ("worked", 200),
        ("skip", 200),
        ("retry", 200),
        ("allow_always", 400),
    ] {
        let model = FakeModel::start();
        model.reply(tool_call("note", "{}")).then(text("Noted."));
        let (folder, api) = asking_agent(&model);
        let session = api.create_session("helper");
        let asked = api.say(&session, "Note this.").json();
        let call_id = asked["call_id"].as_str().unwrap();
        let command = asked["command"].as_str().unwrap();
        decide(&api, &session, call_id, command, "allow_once");
        drop(api);
        let log = folder
            .path()
            .join(format!("sessions/{session}/events.jsonl"));
        cut_after(&log, "tool_started");

        model.reply(text("Then so."));
        let setup = Setup {
            on_disconnect: OnDisconnect::Continue,
            tools: tool("note", repeats),
            ..Setup::default()
        };
        let api = LocalApi::start(folder.path(), &model, &setup);
        let pending = eventually("it asks", || {
            let shown = api.get(&of(&session, "")).json();
            shown.get("pending_approval").cloned()
        });
        assert_eq!(pending["kind"], "uncertain");
        let decided = decide(&api, &session, call_id, command, decision);
        assert_eq!(decided.status, status, "{decision}: {}", decided.text());
        if status == 200 {
            assert_eq!(decided.json()["content"], "Then so.");
        }
    }
}

/// Leaves a log as a kill right after its last event of that type would.
fn cut_after(log: &Path, kind: &str) {
    let text = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_last = |line: &&str| line.contains(&format!("\"type\":\"{kind}\""));
    let last = lines.iter().rposition(is_last).unwrap();
    std::fs::write(log, lines[..=last].concat()).unwrap();
    drop(std::fs::remove_file(log.with_file_name("state.yaml")));
}
