//! Managing sessions with the built command, with a server and without, and mending their files.

use crate::support::bench::{Bench, asking, echo};
use crate::support::process::{Limited as _, duragent, end_of, lines_of};
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::fake_model::{FakeModel, stall, text};
use crate::support::server::{Launch, PATIENCE, Server, Workspace};

fn command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = duragent(workspace.path());
    command.args(arguments);
    command
}

fn run(workspace: &Workspace, arguments: &[&str]) -> Output {
    command(workspace, arguments).output_in_time().unwrap()
}

/// Runs a command that must succeed; returns what it printed.
fn ok(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = run(workspace, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", err(&output));
    out(&output)
}

/// Runs a command that must fail with code 1; returns what it complained of.
fn fails(workspace: &Workspace, arguments: &[&str]) -> String {
    let output = run(workspace, arguments);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{arguments:?}: {} {}",
        out(&output),
        err(&output)
    );
    err(&output)
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// A workspace with one session, in which two messages were answered, and its server.
fn served() -> (Workspace, Server, String) {
    let (workspace, server) = Bench::new().agent(echo("echo")).serve().apart();
    let session = server.create_session("echo");
    for words in ["first words", "second \u{1b}[31mwords"] {
        assert_eq!(server.say(&session, words).status, 200);
    }
    (workspace, server, session)
}

/// The same after the server has stopped.
fn stopped() -> (Workspace, String) {
    let (workspace, mut server, session) = served();
    server.terminate();
    assert!(server.wait_for_exit().success());
    (workspace, session)
}

fn file_of(session: &str, name: &str) -> String {
    format!(".duragent/sessions/{session}/{name}")
}

/// What holds of all commands, whoever has the sessions.
fn manage(workspace: &Workspace, session: &str) {
    let list: Value = serde_json::from_str(&ok(workspace, &["session", "list", "--json"])).unwrap();
    assert_eq!(list[0]["session_id"], session);
    assert_eq!(list[0]["message_count"], 4);
    let none = ok(workspace, &["session", "list", "--status", "completed"]);
    assert!(!none.contains(session), "{none}");

    let short = &session[session.len() - 6..];
    let shown = ok(workspace, &["session", "show", short]);
    for line in ["you: first words\n", "echo: ", "you: second words\n"] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let verbose = ok(workspace, &["session", "show", session, "-v"]);
    assert!(verbose.contains("Z    2  you: first words"), "{verbose}");

    let events = json_lines(&ok(workspace, &["session", "show", session, "--json"]));
    let seqs: Vec<u64> = events
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let log = workspace.log_of(session);
    assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>());
    let exported = ok(
        workspace,
        &["session", "export", session, "--format", "jsonl"],
    );
    assert_eq!(json_lines(&exported), events);

    let markdown = ok(workspace, &["session", "export", session]);
    assert!(
        markdown.starts_with(&format!("# {session}\n")),
        "{markdown}"
    );
    assert!(markdown.contains("\n## You\n\nfirst words\n"), "{markdown}");
    ok(workspace, &["session", "export", session, "-o", "out.md"]);
    assert_eq!(workspace.read("out.md"), markdown);

    assert!(ok(workspace, &["session", "check", session]).contains("  ok  "));

    ok(workspace, &["session", "end", session]);
    let last = workspace.log_of(session).pop().unwrap();
    assert_eq!(
        (&last["type"], &last["reason"]),
        (&Value::from("session_end"), &Value::from("terminated"))
    );
    let again = fails(workspace, &["session", "end", session]);
    assert!(again.contains("ended"), "{again}");
    let completed = ok(workspace, &["session", "list", "--status", "completed"]);
    assert!(completed.contains(session), "{completed}");

    ok(workspace, &["session", "delete", session]);
    assert!(!workspace.file(&file_of(session, "")).exists());
    for verb in ["show", "export", "end", "delete"] {
        let missing = fails(workspace, &["session", verb, session]);
        assert!(missing.starts_with("duragent: "), "{missing}");
    }
    fails(workspace, &["session", "check", session]);
}

#[test]
fn sessions_are_managed_on_their_files_when_no_server_runs() {
    let (workspace, session) = stopped();
    manage(&workspace, &session);
}

#[test]
fn sessions_are_managed_by_the_server_that_runs() {
    let (workspace, server, session) = served();
    manage(&workspace, &session);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_session_is_followed_until_it_ends() {
    let (workspace, server, session) = served();
    let mut child = command(&workspace, &["session", "show", &session, "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = lines_of(child.stdout.take().unwrap());
    let wait_for = |wanted: &str| {
        let next = || lines.recv_timeout(PATIENCE);
        while next().unwrap_or_else(|_| panic!("no line {wanted}")) != wanted {}
    };
    wait_for("you: second words");
    assert_eq!(server.say(&session, "something new").status, 200);
    wait_for("you: something new");
    ok(&workspace, &["session", "end", &session]);
    wait_for("(ended: terminated)");
    assert!(end_of(&mut child).success());
}

#[test]
fn wrong_usage_of_session_commands_is_code_2() {
    let workspace = Workspace::new();
    for line in [
        "session check",
        "session check x --all",
        "session show",
        "session export x --format pdf",
        "serve --resume sometimes",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(&workspace, &arguments);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", err(&output));
    }
}

/// Damages a log, given as its lines.
type Damage = fn(&mut Vec<Vec<u8>>);

/// Kinds of damage: what `check` says of each, and how many events are lost.
const DAMAGES: &[(&str, Damage, &str, u64)] = &[
    (
        "a torn tail",
        |lines| lines.last_mut().unwrap().truncate(30),
        "bytes of an interrupted append at the end: 30",
        0,
    ),
    (
        "a flipped byte",
        |lines| lines[1][60] ^= 1,
        "events.jsonl:2: the checksum does not fit",
        1,
    ),
    (
        "a missing line",
        |lines| drop(lines.remove(1)),
        "events.jsonl:2: event 2 is missing before it",
        1,
    ),
    (
        "garbage in place of a line",
        |lines| lines[2] = b"\xff\x00 garbage\n".to_vec(),
        "events.jsonl:3: not an event",
        1,
    ),
    (
        "a garbage line between two",
        |lines| lines.insert(2, b"garbage\n".to_vec()),
        "events.jsonl:3: not an event",
        0,
    ),
    (
        "an empty file",
        |lines| lines.clear(),
        "events.jsonl:1: it holds no event",
        0,
    ),
];

#[test]
fn damage_is_told_with_its_place_mended_and_the_session_goes_on() {
    for (name, damage, says, lost) in DAMAGES {
        let (workspace, session) = stopped();
        let path = workspace.file(&file_of(&session, "events.jsonl"));
        let log = fs::read(&path).unwrap();
        let mut lines: Vec<Vec<u8>> = log
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        damage(&mut lines);
        let damaged = lines.concat();
        fs::write(&path, &damaged).unwrap();

        let output = run(&workspace, &["session", "check", "--all"]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(out(&output).contains(says), "{name}: {}", out(&output));
        assert!(err(&output).contains("--repair"), "{name}");
        let shown = run(&workspace, &["session", "show", &session]);
        let is_readable = *name == "a torn tail";
        assert_eq!(shown.status.success(), is_readable, "{name}");
        assert!(
            is_readable || err(&shown).contains("--repair"),
            "{name}: {}",
            err(&shown)
        );
        assert_eq!(fs::read(&path).unwrap(), damaged, "{name}");

        let repair = ["session", "check", &session, "--repair", "--json"];
        let checked: Value = serde_json::from_str(&ok(&workspace, &repair)).unwrap();
        let checked = &checked[0];
        assert_eq!(checked["ok"], true, "{name}: {checked}");
        assert_eq!(checked["repaired"]["lost"], *lost, "{name}: {checked}");
        let copy = workspace.file(&file_of(&session, "events.jsonl.damaged-1"));
        assert_eq!(fs::read(copy).unwrap(), damaged, "{name}");
        ok(&workspace, &["session", "check", "--all"]);

        let server = Server::start(&workspace, &[]);
        assert_eq!(server.say(&session, "still there?").status, 200, "{name}");
        let log = workspace.log_of(&session);
        let seqs = log.iter().map(|event| event["seq"].as_u64().unwrap());
        assert!(seqs.eq(1..=log.len() as u64), "{name}");
        let marks = log.iter().filter(|event| event["code"] == "event_lost");
        assert_eq!(marks.count() as u64, *lost, "{name}");
    }
}

#[test]
fn nothing_is_mended_while_a_server_runs() {
    let (workspace, server, session) = served();
    let path = workspace.file(&file_of(&session, "events.jsonl"));
    let before = fs::read(&path).unwrap();
    let refused = fails(&workspace, &["session", "check", "--all", "--repair"]);
    let address = server.address.to_string();
    assert!(refused.contains(&address), "{refused}");
    assert!(refused.contains("hint: stop it first"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
    // To look is allowed.
    ok(&workspace, &["session", "check", "--all"]);
}

#[test]
fn the_json_of_a_check_has_all_that_was_found() {
    let (workspace, session) = stopped();
    let check = ["session", "check", &session, "--json"];
    let checked: Value = serde_json::from_str(&ok(&workspace, &check)).unwrap();
    let log = workspace.log_of(&session);
    let path = checked[0]["log"].as_str().unwrap().to_owned();
    assert!(path.ends_with("events.jsonl"), "{path}");
    assert_eq!(
        checked,
        serde_json::json!([{
            "session_id": session,
            "ok": true,
            "log": path,
            "records": log.len(),
            "unchecked": 0,
            "torn_bytes": 0,
            "damaged_places": 0,
            "damage": [],
            "missing": 0,
            "snapshot": "fits",
            "kept_torn_bytes": 0,
        }])
    );
}

// --- starts ---

/// A workspace whose one session has a turn at work, until its server was killed.
fn killed_at_work(model: &FakeModel) -> (Workspace, String) {
    model.default_reply(stall());
    let (workspace, mut server) = Bench::new()
        .agent(asking("helper", model).continues())
        .serve()
        .apart();
    let session = server.create_session("helper");
    drop(server.stream(&session, "try it"));
    model.wait_for_requests(1);
    server.kill();
    (workspace, session)
}

fn warnings(server: &Server) -> String {
    server.get("/readyz").json()["warnings"].to_string()
}

fn status(server: &Server, session: &str) -> String {
    let answer = server.get(&format!("/api/v1/sessions/{session}"));
    answer.json()["status"].as_str().unwrap().to_owned()
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_crash_loop_leaves_turns_waiting_until_a_client_attaches() {
    let model = FakeModel::start();
    let (workspace, session) = killed_at_work(&model);
    for request in [2, 3] {
        let mut server = Server::start(&workspace, &[]);
        model.wait_for_requests(request);
        assert_eq!(warnings(&server), "null");
        server.kill();
    }
    let server = Server::start(&workspace, &[]);
    wait_until("paused", || status(&server, &session) == "paused");
    assert!(warnings(&server).contains("--resume always"));
    assert!(server.log().contains("crashed 3 times"), "{}", server.log());
    assert_eq!(model.request_count(), 3);
    model.default_reply(text("done"));
    let mut stream = server.events(&session, "", None);
    stream.until("done");
    assert_eq!(model.request_count(), 4);
}

#[test]
fn a_start_that_finds_its_port_taken_is_no_crash() {
    let (_other, server, _) = served();
    let port = server.address.port().to_string();
    let workspace = Workspace::new();
    for _ in 0..4 {
        let output = run(&workspace, &["serve", "--port", &port]);
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    }
    let server = Server::start(&workspace, &[]);
    assert_eq!(warnings(&server), "null");
    assert_eq!(workspace.read(".duragent/starts").lines().count(), 1);
}

#[test]
fn resume_always_ignores_the_loop_and_never_leaves_all_turns_waiting() {
    let model = FakeModel::start();
    let (workspace, session) = killed_at_work(&model);
    let mut server = Launch::new(&workspace).args(&["--resume", "never"]).start();
    wait_until("paused", || status(&server, &session) == "paused");
    assert!(warnings(&server).contains("--resume always"));
    server.kill();
    for request in [2, 3] {
        let mut server = Launch::new(&workspace)
            .args(&["--resume", "always"])
            .start();
        assert_eq!(warnings(&server), "null");
        model.wait_for_requests(request);
        server.kill();
    }
}

#[test]
fn a_server_that_cannot_store_is_not_ready_and_says_why() {
    let (workspace, server, _) = served();
    let (here, away) = (
        workspace.file(".duragent/sessions"),
        workspace.file(".duragent/away"),
    );
    fs::rename(&here, &away).unwrap();
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("free space"), "{}", answer.text());
    fs::rename(&away, &here).unwrap();
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_nearly_full_disk_is_a_warning_so_that_sessions_can_be_deleted() {
    let (workspace, session) = stopped();
    workspace.config("server: {min_free_mb: 1048576}\n");
    let server = Server::start(&workspace, &[]);
    assert!(warnings(&server).contains("nearly full"));
    assert_eq!(server.say(&session, "more").status, 507);
    ok(&workspace, &["session", "delete", &session]);
}

#[test]
fn idle_sessions_end_at_the_start_and_old_ones_go() {
    let (workspace, session) = stopped();
    let path = workspace.file(&file_of(&session, "events.jsonl"));
    // As if it had been written a year ago; without their checksums the lines count all the same.
    let old: String = workspace
        .log_of(&session)
        .into_iter()
        .map(|mut event| {
            event.as_object_mut().unwrap().remove("crc");
            event["timestamp"] = Value::from("2020-01-01T00:00:00Z");
            format!("{event}\n")
        })
        .collect();
    fs::write(&path, old).unwrap();
    let state = workspace.file(&file_of(&session, "state.yaml"));
    fs::remove_file(state).unwrap();
    let server = Server::start(&workspace, &[]);
    wait_until("completed", || status(&server, &session) == "completed");
    let last = workspace.log_of(&session).pop().unwrap();
    assert_eq!(last["reason"], "timeout");
}
