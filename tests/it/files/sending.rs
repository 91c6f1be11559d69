//! The builtin `send_file`: what may be sent, and what becomes of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use super::fetch;
use crate::support::bench::{AgentFiles, Bench, Served, asking, echo};
use crate::support::desk::allow;
use crate::support::fake_model::{FakeModel, stall, text, tool_call};
use crate::support::server::{Answer, Launch, eventually};

fn sender(agent: AgentFiles) -> Served {
    Bench::new()
        .agent(
            agent
                .continues()
                .builtin("send_file")
                .file("work/out/chart.png", "a chart"),
        )
        .serve()
}

fn work(server: &Served) -> PathBuf {
    server.workspace.file(".duragent/agents/ada/work")
}

fn lines(server: &Served, session: &str, kind: &str) -> Vec<Value> {
    let log = server.workspace.log_of(session).into_iter();
    log.filter(|line| line["type"] == kind).collect()
}

/// What the tool answered to the last call.
fn last_result(server: &Served, session: &str) -> Value {
    lines(server, session, "tool_result").pop().unwrap()
}

#[test]
fn a_file_goes_with_the_reply_once_somebody_has_allowed_it() {
    let model = FakeModel::start();
    let arguments = r#"{"path":"out/chart.png","caption":" The chart "}"#;
    model
        .reply(tool_call("send_file", arguments))
        .then(text("There you are."))
        .then(text("And that is all."));
    let server = sender(asking("ada", &model));
    let session = server.create_session("ada");
    let mut attached = server.events(&session, "", None);
    let asked = server.say(&session, "the chart, please");
    assert_eq!(asked.status, 202, "{}", asked.text());
    let command = asked.json()["command"].as_str().unwrap().to_owned();
    assert!(command.starts_with("send_file {"), "{command}");
    let files = server
        .workspace
        .file(&format!(".duragent/sessions/{session}/files"));
    assert!(!files.exists(), "nothing is copied before it is allowed");

    let answer = allow(&server, &session, &asked.json());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let digest = duragent::base::digest::sha256(b"a chart");
    let key = format!("{digest}.png");
    let sent = json!([{
        "file": key, "mime": "image/png", "bytes": 7, "sha256": digest,
        "name": "chart.png", "caption": "The chart",
    }]);
    assert_eq!(answer.json()["attachments"], sent);
    let result = last_result(&server, &session);
    assert_eq!(result["attachments"], sent);
    assert_eq!(
        result["result"]["content"],
        "chart.png (image/png, 7 bytes) goes to the user with your next words."
    );
    let replies = lines(&server, &session, "assistant_response");
    assert_eq!(replies[0].get("attachments"), None);
    assert_eq!(replies[1]["attachments"], sent);
    let shown = attached.until("done");
    let data = |name: &str| -> Vec<Value> {
        let named = shown.iter().filter(|event| event.name == name);
        named
            .map(|event| event.data["attachments"].clone())
            .collect()
    };
    assert_eq!(data("tool_result"), std::slice::from_ref(&sent));
    assert_eq!(data("message"), [Value::Null, sent.clone()]);
    let messages = server.get(&format!("/api/v1/sessions/{session}/messages"));
    assert_eq!(messages.json()["messages"][1]["attachments"], sent);

    // What was sent stays as it was, and goes once.
    fs::write(work(&server).join("out/chart.png"), "another").unwrap();
    assert_eq!(fetch(&server, &session, &key).body, b"a chart");
    assert_eq!(server.say(&session, "thanks").status, 200);
    let replies = lines(&server, &session, "assistant_response");
    assert_eq!(replies[2].get("attachments"), None);

    let show = server.workspace.run(&["session", "show", &session]);
    assert!(
        show.contains("  + chart.png (image/png, 7 bytes): The chart\n"),
        "{show}"
    );
}

fn send(server: &Served, session: &str, path: &str) -> Answer {
    server.try_call(session, "send_file", &json!({"path": path}))
}

#[test]
fn nothing_leaves_the_work_folder_but_regular_files_of_a_fair_size() {
    let server = sender(echo("ada").policy("mode: dangerous"));
    let session = server.create_session("ada");
    let work = work(&server);
    let home = work.parent().unwrap();
    fs::write(home.join("secret"), "secret").unwrap();
    symlink("../secret", work.join("link")).unwrap();
    symlink(home, work.join("up")).unwrap();
    symlink("out", work.join("inner")).unwrap();
    mknodat(CWD, work.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::write(work.join("empty"), "").unwrap();
    let huge = fs::File::create(work.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::write(work.join("many"), vec![b'x'; (10 << 20) + 1]).unwrap();
    let absolute = home.join("secret").display().to_string();
    for (path, part) in [
        ("link", "links are not followed"),
        ("up/secret", "links are not followed"),
        ("inner/chart.png", "links are not followed"),
        ("../secret", "no regular file in your work folder"),
        ("out/../../secret", "no regular file in your work folder"),
        (&absolute, "no regular file in your work folder"),
        ("/etc/passwd", "no regular file in your work folder"),
        ("/proc/self/environ", "no regular file in your work folder"),
        ("", "no regular file in your work folder"),
        ("out", "no regular file in your work folder"),
        ("pipe", "no regular file in your work folder"),
        ("out/none.png", "there is no file out/none.png"),
        ("out/chart.png/x", "links are not followed"),
        ("empty", "is empty"),
        ("huge", "larger than 10 MiB"),
        ("many", "larger than 10 MiB"),
    ] {
        let answer = send(&server, &session, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let result = last_result(&server, &session);
        assert_eq!(result["result"]["success"], false, "{path}: {result}");
        let said = result["result"]["content"].as_str().unwrap();
        assert!(said.contains(part), "{path}: {said}");
        assert_eq!(result.get("attachments"), None, "{path}");
        assert_eq!(answer.json().get("attachments"), None, "{path}");
    }
    let caption = json!({"path": "out/chart.png", "caption": "x".repeat(1025)});
    server.try_call(&session, "send_file", &caption);
    assert_eq!(last_result(&server, &session)["result"]["success"], false);
    let files = server
        .workspace
        .file(&format!(".duragent/sessions/{session}/files"));
    assert!(!files.exists());

    // Its whole path is one too, and of a text without an ending the type is seen.
    fs::write(work.join("README"), "words").unwrap();
    for (path, mime) in [
        (
            work.join("out/chart.png").display().to_string(),
            "image/png",
        ),
        ("./README".to_owned(), "text/plain"),
    ] {
        send(&server, &session, &path);
        let result = last_result(&server, &session);
        assert_eq!(result["attachments"][0]["mime"], mime, "{result}");
    }
}

#[test]
fn a_session_with_a_folder_of_its_own_sends_from_there() {
    let server = sender(echo("ada").policy("mode: dangerous"));
    let project = tempfile::tempdir().unwrap();
    let folder = project.path().canonicalize().unwrap().join("project");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("here.txt"), "here").unwrap();
    let body = json!({"agent": "ada", "workdir": folder});
    let begun = server.post("/api/v1/sessions", &body).json();
    let session = begun["session_id"].as_str().unwrap();
    send(&server, session, "here.txt");
    assert_eq!(last_result(&server, session)["result"]["success"], true);
    send(&server, session, "out/chart.png");
    assert_eq!(last_result(&server, session)["result"]["success"], false);
}

#[test]
fn a_policy_decides_who_is_asked() {
    for (rules, status) in [
        ("allow: ['builtin:send_file']", 200),
        ("deny: ['builtin:send_file']", 200),
        ("allow: ['builtin:session']", 202),
    ] {
        let server = sender(echo("ada").policy(rules));
        let session = server.create_session("ada");
        let call = json!({"path": "out/chart.png"});
        let answer = server.say(&session, &format!("/tool send_file {call}"));
        assert_eq!(answer.status, status, "{rules}: {}", answer.text());
        if status == 200 {
            let result = last_result(&server, &session);
            let is_allowed = rules.starts_with("allow");
            assert_eq!(result["result"]["success"], is_allowed, "{result}");
        }
    }
}

#[test]
fn a_file_that_was_handed_out_goes_with_the_reply_that_comes_after_a_kill() {
    let model = FakeModel::start();
    model
        .reply(tool_call("send_file", r#"{"path":"out/chart.png"}"#))
        .then(text("Here ").and_stall());
    model.default_reply(text("it is."));
    let agent = asking("ada", &model).policy("mode: dangerous");
    let (workspace, mut server) = sender(agent).apart();
    let session = server.create_session("ada");
    let path = format!("/api/v1/sessions/{session}/messages");
    let prefer = [("Prefer", "respond-async")];
    server.send_json("POST", &path, &prefer, &json!({"content": "go"}));
    let mut attached = server.events(&session, "", None);
    attached.until("tool_result");
    attached.expect("token");
    server.kill();
    let server = Launch::new(&workspace).start();
    // The turn may be over before anybody looks.
    let log = eventually("the turn ends", || {
        let log = workspace.log_of(&session);
        let has_ended = log.iter().any(|line| line["type"] == "turn_ended");
        has_ended.then_some(log)
    });
    let with_files = log.iter().filter(|line| line.get("attachments").is_some());
    let kinds: Vec<(&str, &str)> = with_files
        .map(|line| {
            let reason = line["finish_reason"].as_str().unwrap_or_default();
            (line["type"].as_str().unwrap(), reason)
        })
        .collect();
    assert_eq!(kinds, [("tool_result", ""), ("assistant_response", "stop")]);
    // The log is a moment ahead of what is shown.
    let reply = eventually("the reply is shown", || {
        let messages = server.get(&path).json();
        let reply = messages["messages"].get(1)?.clone();
        (reply["content"] == "Here it is.").then_some(reply)
    });
    assert_eq!(reply["attachments"].as_array().unwrap().len(), 1);
}

#[test]
fn a_file_of_a_turn_that_was_cancelled_is_not_lost() {
    let model = FakeModel::start();
    model
        .reply(tool_call("send_file", r#"{"path":"out/chart.png"}"#))
        .then(stall());
    model.default_reply(text("Here it is."));
    let server = sender(asking("ada", &model).policy("mode: dangerous"));
    let session = server.create_session("ada");
    let path = format!("/api/v1/sessions/{session}/messages");
    let prefer = [("Prefer", "respond-async")];
    server.send_json("POST", &path, &prefer, &json!({"content": "go"}));
    model.wait_for_stalls(1);
    let cancelled = server.post(&format!("/api/v1/sessions/{session}/cancel"), &json!({}));
    assert_eq!(cancelled.status, 200);
    let answer = server.say(&session, "well?");
    assert_eq!(answer.json()["attachments"].as_array().unwrap().len(), 1);
}
