//! What people have who come from Duragent 0.5: their workspace, and its sessions.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, text};
use crate::support::server::{Server, Workspace};
use crate::support::v05::{ASKED, CHAT, OVER, TALK, copy, data, files, folder, launch, workspace};

fn original(session: &str, name: &str) -> Vec<u8> {
    let sessions = data().join("workspace/dot-duragent/sessions");
    fs::read(sessions.join(session).join(name)).unwrap()
}

fn log_of(workspace: &Workspace, session: &str) -> Vec<u8> {
    fs::read(workspace.file(&format!("{}/events.jsonl", folder(session)))).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn contents(messages: &Value) -> Vec<String> {
    let messages = messages["messages"].as_array().unwrap().iter();
    messages
        .map(|one| {
            format!(
                "{}: {}",
                one["role"].as_str().unwrap(),
                one["content"].as_str().unwrap()
            )
        })
        .collect()
}

/// The types of a log, and that its numbers have no gap.
fn types(workspace: &Workspace, session: &str) -> Vec<String> {
    let log = workspace.log_of(session);
    for (n, line) in (1..).zip(&log) {
        assert_eq!(line["seq"], json!(n));
    }
    log.iter()
        .map(|line| line["type"].as_str().unwrap().to_owned())
        .collect()
}

/// Ends a server and waits for its end.
fn stop(mut server: Server) {
    server.terminate();
    server.wait_for_exit();
}

#[test]
fn sessions_of_before_are_listed_and_read_by_server_and_commands_and_stay_as_they_are() {
    let workspace = workspace();
    let sessions = workspace.file(".duragent/sessions");
    let before = files(&sessions);
    let model = FakeModel::start();
    let server = launch(&workspace, &model).start();
    let list = server.get("/api/v1/sessions").json();
    let listed = list["sessions"].as_array().unwrap();
    let ids: Vec<&str> = listed
        .iter()
        .map(|one| one["session_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [OVER, CHAT, ASKED, TALK]);
    assert_eq!(listed[0]["status"], "completed");
    assert_eq!(listed[1]["updated_at"], "2026-01-02T03:04:10.000000Z");
    assert_eq!(listed[3]["title"], "The folder");
    let talk = server
        .get(&format!("/api/v1/sessions/{TALK}/messages"))
        .json();
    let talked = [
        "user: What is in this folder?",
        "assistant: A README and a folder src.",
        "user: Thank you.",
        "assistant: You are welcome.",
    ];
    assert_eq!(contents(&talk), talked);
    let shown = server.get(&format!("/api/v1/sessions/{ASKED}")).json();
    assert!(shown["pending_approval"].is_null(), "{shown}");
    stop(server);
    for listed in [
        workspace.run(&["session", "list"]),
        workspace.run(&["session", "list", "--json"]),
    ] {
        assert!(
            [TALK, ASKED, CHAT, OVER]
                .iter()
                .all(|id| listed.contains(id)),
            "{listed}"
        );
    }
    let shown = workspace.run(&["session", "show", TALK]);
    assert!(
        shown.contains("allow once") && shown.contains("You are welcome."),
        "{shown}"
    );
    let exported = workspace.run(&["session", "export", CHAT]);
    assert!(
        exported.contains("Ada") && exported.contains("Good morning, Ada."),
        "{exported}"
    );
    let checked = workspace.run(&["session", "check", "--all"]);
    assert!(
        checked.contains("0.5") && !checked.contains("damaged"),
        "{checked}"
    );
    assert!(files(&sessions) == before, "reading wrote something");
}

#[test]
fn a_message_takes_a_session_over_and_the_model_knows_what_was_said_before() {
    let workspace = workspace();
    let path = workspace.file(&folder(TALK));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let model = FakeModel::start();
    model.reply(text("Two files."));
    let server = launch(&workspace, &model).start();
    let read = server
        .get(&format!("/api/v1/sessions/{TALK}/messages"))
        .json();
    let answer = server.say(TALK, "How many were there?");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let asked = &model.wait_for_requests(1)[0].body["messages"];
    let roles: Vec<&str> = asked
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    let expected = [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "user",
    ];
    assert_eq!(roles, expected);
    assert_eq!(asked[3]["content"][0]["text"], "README.md\nsrc\n");
    assert_eq!(asked[7]["content"][0]["text"], "How many were there?");
    let after = server
        .get(&format!("/api/v1/sessions/{TALK}/messages"))
        .json();
    let count = read["messages"].as_array().unwrap().len();
    assert_eq!(
        after["messages"].as_array().unwrap()[..count],
        read["messages"].as_array().unwrap()[..]
    );
    assert_eq!(
        workspace
            .read(&format!("{}/events.jsonl.v05", folder(TALK)))
            .into_bytes(),
        original(TALK, "events.jsonl")
    );
    assert_eq!(mode(&path), 0o700);
    for file in files(&path).keys() {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert!(types(&workspace, TALK).contains(&"session_adopted".to_owned()));
    // The others wait for their own first use.
    assert_eq!(log_of(&workspace, CHAT), original(CHAT, "events.jsonl"));
    stop(server);
    let server = launch(&workspace, &model).start();
    let again = server
        .get(&format!("/api/v1/sessions/{TALK}/messages"))
        .json();
    assert_eq!(again, after);
    assert_eq!(
        workspace.run(&["session", "check", TALK]).lines().count(),
        1,
    );
}

#[test]
fn an_attached_client_takes_over_a_chat_whose_end_is_torn() {
    let workspace = workspace();
    let model = FakeModel::start();
    let server = launch(&workspace, &model).start();
    let mut stream = server.events(CHAT, "", None);
    let opened = stream.expect("session").data;
    assert_eq!(
        contents(&opened),
        ["user: Good morning!", "assistant: Good morning, Ada."]
    );
    let types = types(&workspace, CHAT);
    assert!(
        types.contains(&"v05_memory_recalled".to_owned()),
        "{types:?}"
    );
    let beside = |name: &str| {
        workspace
            .read(&format!("{}/{name}", folder(CHAT)))
            .into_bytes()
    };
    assert_eq!(beside("events.jsonl.v05"), original(CHAT, "events.jsonl"));
    assert_eq!(beside("state.yaml.v05"), original(CHAT, "state.yaml"));
    let shown = workspace.log_of(CHAT);
    assert_eq!(
        (&shown[0]["gateway"], &shown[0]["gateway_chat_id"]),
        (&json!("telegram"), &json!("42"))
    );
}

#[test]
fn what_0_5_left_unfinished_does_not_run_and_the_model_is_told() {
    let workspace = workspace();
    let model = FakeModel::start();
    let server = launch(&workspace, &model)
        .args(&["--resume", "always"])
        .start();
    // Attached, as to a turn that waits for a client.
    let mut stream = server.events(ASKED, "", None);
    assert!(stream.expect("session").data["pending_approval"].is_null());
    assert_eq!(types(&workspace, ASKED).last().unwrap(), "session_adopted");
    let answer = server.say(ASKED, "Well?");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let asked = model.wait_for_requests(1);
    assert_eq!(model.request_count(), 1, "none but for the message");
    let told = asked[0].body["messages"].to_string();
    assert!(told.contains("it was denied, and did not run"), "{told}");
    assert!(!workspace.file("ran").exists());
    assert!(
        !workspace
            .file(".duragent/agents/my-assistant/work/ran")
            .exists()
    );
}

/// The log says that everything was allowed, and that it was adopted.
#[test]
fn what_a_strangers_log_of_0_5_allows_does_not_run() {
    let workspace = workspace();
    let session = "session_01KC4GV8R0T9V3X5Z7A9C1E3G9";
    let lines = [
        json!({"type": "session_start", "agent": "my-assistant", "on_disconnect": "continue"}),
        json!({"type": "user_message", "content": "go on", "detached": true}),
        json!({"type": "assistant_response", "turn_id": "turn_01KAM6VJT0000000000000000T",
            "message_id": "msg_01KAM6VJT0000000000000000R", "agent": "my-assistant", "model": "x",
            "input_seq": 2, "content": "", "finish_reason": "tool_calls", "tool_calls": [
                {"call_id": "c", "tool_name": "bash", "arguments": "{\"command\":\"touch ran\"}"}]}),
        json!({"type": "session_adopted"}),
        json!({"type": "approval_required", "call_id": "c", "command": "touch ran", "kind": "policy"}),
        json!({"type": "approval_decision", "call_id": "c", "decision": "allow_always"}),
    ];
    let lines = (1..).zip(lines).map(|(seq, mut line)| {
        line["seq"] = json!(seq);
        line["timestamp"] = json!("2026-01-02T03:04:05Z");
        format!("{line}\n")
    });
    workspace.write(
        &format!("{}/events.jsonl", folder(session)),
        &lines.collect::<String>(),
    );
    let inflight = json!({"turn_id": "turn_01KAM6VJT0000000000000000T",
        "message_id": "msg_01KAM6VJT0000000000000000S", "input_seq": 2});
    workspace.write(
        &format!("{}/inflight.jsonl", folder(session)),
        &format!("{inflight}\n"),
    );
    let model = FakeModel::start();
    let server = launch(&workspace, &model)
        .args(&["--resume", "always"])
        .start();
    let mut stream = server.events(session, "", None);
    assert!(stream.expect("session").data["pending_approval"].is_null());
    assert_eq!(server.say(session, "Well?").status, 200);
    model.wait_for_requests(1);
    let types = types(&workspace, session);
    assert!(!types.contains(&"tool_started".to_owned()), "{types:?}");
    assert_eq!(
        types.iter().filter(|one| *one == "session_adopted").count(),
        1,
        "{types:?}"
    );
    assert!(!workspace.file("ran").exists());
}

/// The process dies at any moment of a take-over, as by a power button.
#[test]
fn killed_in_a_take_over_a_session_is_of_before_or_of_now() {
    const ROUNDS: u64 = 12;
    let workspace = workspace();
    let log = workspace.file(&format!("{}/events.jsonl", folder(TALK)));
    let mut text = fs::read_to_string(&log).unwrap();
    for n in 0..4_000 {
        let line = json!({"seq": 20 + n, "timestamp": "2026-01-03T00:00:00Z", "type": "user_message",
            "content": "again and again ".repeat(40)});
        text.push_str(&format!("{line}\n"));
    }
    let mut taken_over = 0;
    for round in 0..ROUNDS {
        fs::remove_dir_all(log.parent().unwrap()).unwrap();
        copy(
            &data().join("workspace/dot-duragent/sessions").join(TALK),
            log.parent().unwrap(),
        );
        fs::write(&log, &text).unwrap();
        let mut child = workspace
            .command(&["session", "end", TALK])
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(40 * round));
        drop(child.kill());
        child.wait().unwrap();
        let found = fs::read(&log).unwrap();
        if found == text.as_bytes() {
            continue;
        }
        taken_over += 1;
        assert!(workspace.run(&["session", "check", TALK]).contains("ok"));
        let kept = log.with_file_name("events.jsonl.v05");
        assert!(fs::read(kept).unwrap() == text.as_bytes());
        let types = types(&workspace, TALK);
        assert_eq!(
            types.iter().filter(|one| *one == "user_message").count(),
            4_002
        );
    }
    let told = workspace
        .command(&["session", "end", TALK])
        .output()
        .unwrap();
    assert_eq!(
        types(&workspace, TALK).last().unwrap(),
        "session_end",
        "{told:?}, {taken_over}"
    );
}

#[test]
fn a_line_that_says_nothing_is_named_and_no_repair_is_offered() {
    let workspace = workspace();
    let log = format!("{}/events.jsonl", folder(TALK));
    let text = workspace
        .read(&log)
        .replacen("{\"seq\":2,", "{\"seq\":2;", 1);
    workspace.write(&log, &text);
    for arguments in [
        ["session", "check", TALK],
        ["session", "show", TALK],
        ["session", "export", TALK],
    ] {
        let output = workspace.command(&arguments).output().unwrap();
        let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("events.jsonl:3"), "{arguments:?}: {told}");
        assert!(!told.contains("--repair"), "{arguments:?}: {told}");
    }
    let repaired = workspace
        .command(&["session", "check", "--all", "--repair"])
        .output()
        .unwrap();
    assert_eq!(repaired.status.code(), Some(1));
    assert_eq!(workspace.read(&log), text);
    // As the hint says.
    let without: String = text
        .split_inclusive('\n')
        .filter(|line| !line.contains(";"))
        .collect();
    workspace.write(&log, &without);
    workspace.run(&["session", "check", "--all"]);
}

#[test]
fn an_old_session_is_ended_and_deleted_like_any_other() {
    let workspace = workspace();
    workspace.run(&["session", "end", TALK]);
    assert_eq!(types(&workspace, TALK).last().unwrap(), "session_end");
    workspace.run(&["session", "delete", ASKED]);
    assert!(!workspace.file(&folder(ASKED)).exists());
}

#[test]
fn the_workspace_is_valid_and_the_doctor_names_what_is_of_0_5() {
    let workspace = workspace();
    let agent = workspace.run(&["validate", ".duragent/agents/my-assistant"]);
    assert!(
        agent.contains("compaction") && agent.ends_with("is valid, with 1 warning\n"),
        "{agent}"
    );
    let config = workspace.run(&["validate", "duragent.yaml"]);
    for without_effect in ["compaction", "discord"] {
        assert!(config.contains(without_effect), "{config}");
    }
    let strict = ["validate", "--strict", "duragent.yaml"];
    let strict = workspace.command(&strict).output().unwrap();
    assert_eq!(strict.status.code(), Some(2));
    let doctor = |workspace: &Workspace| {
        let output = workspace.command(&["doctor", "--json"]).output().unwrap();
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
        let logs = checks
            .as_array()
            .unwrap()
            .iter()
            .find(|check| check["subject"] == "logs");
        logs.unwrap().clone()
    };
    let misnamed = workspace.file(&folder("another-old-name"));
    copy(&workspace.file(&folder(TALK)), &misnamed);
    let told = doctor(&workspace);
    assert!(
        told["hint"].as_str().unwrap().contains("session import"),
        "{told}"
    );
    fs::remove_dir_all(misnamed).unwrap();
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .contains("former-assistant"),
        "{told}"
    );
    fs::remove_dir_all(workspace.file(&folder(OVER))).unwrap();
    let told = doctor(&workspace);
    assert_eq!(told["status"], "ok", "{told}");
    assert!(
        told["message"]
            .as_str()
            .unwrap()
            .contains("3 are of Duragent 0.5"),
        "{told}"
    );
    fs::rename(
        workspace.file(&folder(TALK)),
        workspace.file(&folder("an-old-name")),
    )
    .unwrap();
    let told = doctor(&workspace);
    assert_eq!(told["status"], "warning");
    assert!(
        told["hint"].as_str().unwrap().contains("session import"),
        "{told}"
    );
}

fn importing(workspace: &Workspace, paths: &[&Path]) -> (Option<i32>, Vec<Value>) {
    let paths = paths.iter().map(|path| path.to_str().unwrap());
    let arguments: Vec<&str> = ["session", "import", "--json"]
        .into_iter()
        .chain(paths)
        .collect();
    let output = workspace.command(&arguments).output().unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        told.unwrap_or_else(|_| panic!("{output:?}")),
    )
}

fn outcomes(told: &[Value]) -> Vec<&str> {
    told.iter()
        .map(|one| one["outcome"].as_str().unwrap())
        .collect()
}

#[test]
fn sessions_are_imported_from_whatever_holds_them_and_the_source_stays_as_it_is() {
    let old = workspace();
    let before = files(old.path());
    let sessions = old.file(".duragent/sessions");
    let one = sessions.join(TALK);
    for (source, count) in [
        (old.path().to_owned(), 4),
        (old.file(".duragent"), 4),
        (sessions.clone(), 4),
        (one.clone(), 1),
        (one.join("events.jsonl"), 1),
    ] {
        let here = Workspace::new();
        here.echo_agent("my-assistant");
        let (code, told) = importing(&here, &[&source]);
        assert_eq!(code, Some(0), "{told:?}");
        assert_eq!(outcomes(&told), vec!["imported"; count]);
        assert_eq!(told[0]["session_id"], TALK);
        assert_eq!(
            (&told[0]["agent"], &told[0]["message_count"]),
            (&json!("my-assistant"), &json!(4))
        );
        assert_eq!(told[0]["agent_missing"], Value::Null);
        if count == 4 {
            assert_eq!(told[3]["agent_missing"], true, "{told:?}");
        }
        let listed = here.run(&["session", "list"]);
        assert!(listed.contains("The folder"), "{listed}");
        let (code, told) = importing(&here, &[&source]);
        assert_eq!(
            (code, outcomes(&told)),
            (Some(0), vec!["already_there"; count])
        );
        let path = here.file(&folder(TALK));
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("events.jsonl")), 0o600);
    }
    assert!(files(old.path()) == before, "the source was changed");
}

#[test]
fn a_server_that_runs_shows_what_is_imported_and_goes_on_with_it() {
    let old = workspace();
    let here = Workspace::new();
    here.echo_agent("my-assistant");
    let server = Server::start(&here, &[]);
    let (code, told) = importing(&here, &[old.path()]);
    assert_eq!((code, told.len()), (Some(0), 4), "{told:?}");
    let list = server.get("/api/v1/sessions").json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 4);
    let answer = server.say(TALK, "hello");
    assert_eq!(answer.status, 200, "{}", answer.text());
    // Used since: the same session all the same, with more in it.
    let (code, told) = importing(&here, &[&old.file(&folder(TALK))]);
    assert_eq!(
        (code, outcomes(&told)),
        (Some(0), vec!["already_there"]),
        "{told:?}"
    );
    drop(server);
    let server = Server::start(&here, &[]);
    let list = server.get("/api/v1/sessions").json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 4);
}

#[test]
fn what_cannot_be_imported_is_refused_with_its_reason_and_the_others_come() {
    let old = workspace();
    let sessions = old.file(".duragent/sessions");
    let here = Workspace::new();
    // One of the same id with other content.
    let other = here.file(&folder(ASKED));
    copy(&sessions.join(CHAT), &other);
    // A link to a log, a link to a folder, one that is no log, one that is none at all.
    let secret = old.file("secret.jsonl");
    fs::write(&secret, original(TALK, "events.jsonl")).unwrap();
    let linked = sessions.join("linked");
    fs::create_dir(&linked).unwrap();
    symlink(&secret, linked.join("events.jsonl")).unwrap();
    symlink(sessions.join(TALK), sessions.join("linked-folder")).unwrap();
    let odd = sessions.join("odd");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("events.jsonl"), "hello\nthere\n").unwrap();
    let huge = sessions.join("huge");
    fs::create_dir(&huge).unwrap();
    fs::File::create(huge.join("events.jsonl"))
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let state = sessions.join(OVER).join("state.json");
    fs::remove_file(&state).unwrap();
    symlink(&secret, &state).unwrap();
    let (code, told) = importing(&here, &[old.path()]);
    assert_eq!(code, Some(1));
    let why = |name: &str| {
        let found = told
            .iter()
            .find(|one| one["path"].as_str().unwrap().ends_with(name));
        let found = found.unwrap_or_else(|| panic!("{name}: {told:?}"));
        found["error"].as_str().unwrap_or("").to_owned()
    };
    for (name, expected) in [
        (ASKED, "here already, with other content"),
        ("linked", "is a link"),
        ("linked-folder", "is a link"),
        ("odd", "no log of a session"),
        ("huge", "1073741824 bytes"),
        (OVER, "is a link"),
        (TALK, ""),
        (CHAT, ""),
    ] {
        assert!(why(name).contains(expected), "{name}: {}", why(name));
        assert_eq!(
            why(name).is_empty(),
            expected.is_empty(),
            "{name}: {}",
            why(name)
        );
    }
    assert_eq!(
        log_of(&here, ASKED),
        original(CHAT, "events.jsonl"),
        "not overwritten"
    );
    for nothing in [old.file("nowhere"), old.file(".duragent/agents")] {
        let (code, told) = importing(&here, &[&nothing]);
        assert_eq!((code, outcomes(&told)), (Some(1), vec!["refused"]));
    }
}

#[test]
fn a_session_whose_name_is_no_id_gets_one_that_is_the_same_each_time() {
    let old = workspace();
    let sessions = old.file(".duragent/sessions");
    let name = "7f3c1c9e-3b1f-4d2a-9a53-2f6d1f0a9b11";
    let path = sessions.join(name);
    fs::rename(sessions.join(TALK), &path).unwrap();
    for file in ["events.jsonl", "state.json"] {
        let text = fs::read_to_string(path.join(file))
            .unwrap()
            .replace(TALK, name);
        // Its time is that of the first event, whatever object that lies in.
        let text = text
            .replace(r#"{"seq":0,"#, r#"{"seq":0,"event":{"#)
            .replace(r#""pause"}"#, r#""pause"}}"#)
            .replace(r#""created_at""#, r#""made_at""#);
        fs::write(path.join(file), text).unwrap();
    }
    let here = Workspace::new();
    let told = here.run(&["session", "import", path.to_str().unwrap()]);
    assert!(told.contains(&format!("it was called {name}")), "{told}");
    assert!(
        told.contains("there is no agent my-assistant here"),
        "{told}"
    );
    let (code, told) = importing(&here, &[&path]);
    assert_eq!((code, outcomes(&told)), (Some(0), vec!["already_there"]));
    let id = told[0]["session_id"].as_str().unwrap();
    assert!(id.starts_with("session_01KDYAK383"), "{id}");
    assert!(
        here.run(&["session", "show", id])
            .contains("You are welcome.")
    );
}

#[test]
fn a_session_of_this_version_is_imported_as_one_from_elsewhere() {
    let there = Workspace::new();
    there.echo_agent("echo");
    let server = Server::start(&there, &[]);
    let session = server.create_session("echo");
    server.say(&session, "hi");
    stop(server);
    let here = Workspace::new();
    here.echo_agent("echo");
    let (code, told) = importing(&here, &[there.path()]);
    assert_eq!(
        (code, outcomes(&told)),
        (Some(0), vec!["imported"]),
        "{told:?}"
    );
    assert_eq!(types(&here, &session).last().unwrap(), "session_adopted");
    assert!(
        !here
            .file(&format!("{}/state.yaml", folder(&session)))
            .exists()
    );
    let server = Server::start(&here, &[]);
    assert_eq!(server.say(&session, "again").status, 200);
    let (code, told) = importing(&here, &[there.path()]);
    assert_eq!(
        (code, outcomes(&told)),
        (Some(0), vec!["already_there"]),
        "{told:?}"
    );
}
