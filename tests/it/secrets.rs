//! Secrets of the server's environment come into no file of a session, to no client and into no
//! log, whichever way they take.

use crate::support::process::Limited as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, error, pieces, text, tool_call};
use crate::support::server::{Launch, Server, Workspace, eventually, text_of};

const KEY: &str = "sk-test-51HabcdefGHIJKLmnop";
const TOKEN: &str = "ghp_\"quoted\"\\and/more";

/// A server that has secrets in its environment, an agent whose model repeats them, and a log of
/// its own.
fn start(model: &FakeModel, workspace: &Workspace) -> Server {
    workspace.openai_agent("helper", &model.url());
    workspace.config("logging: {level: debug, file: own.log}\n");
    Launch::new(workspace)
        .env("OPENAI_API_KEY", KEY)
        .env("GITHUB_TOKEN", TOKEN)
        .start()
}

fn of(session: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{session}{rest}")
}

/// All that is kept of a session, and the logs.
fn on_disk(workspace: &Workspace, session: &str) -> String {
    let folder = workspace.file(&format!(".duragent/sessions/{session}"));
    let mut all = workspace.read("own.log") + &workspace.read("serve.log");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    all
}

/// The text of the reply in flight, put together from the pieces of the file.
fn journal(workspace: &Workspace, session: &str) -> String {
    let file = workspace.read(&format!(".duragent/sessions/{session}/inflight.jsonl"));
    let pieces = file.lines().skip(1);
    pieces
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|piece| piece["text"].as_str().unwrap().to_owned())
        .collect()
}

/// Panics when a text has a secret, plain or as JSON has it.
fn assert_clean(what: &str, text: &str) {
    let quoted = Value::from(TOKEN).to_string();
    for secret in [KEY, TOKEN, quoted.trim_matches('"')] {
        assert!(!text.contains(secret), "{what} has {secret}:\n{text}");
    }
}

#[test]
fn a_key_that_a_model_repeats_is_covered_however_it_is_cut() {
    let model = FakeModel::start();
    let said = pieces(&["it is s", "k-test-51Habc", "def", "GHIJKLmno", "p, no"]);
    model.reply(said.and_stall().and_text(" indeed"));
    let workspace = Workspace::new();
    let server = start(&model, &workspace);
    let session = server.create_session("helper");
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    let mut stream = server.stream(&session, "what is your key?");
    let covered = "it is [redacted:OPENAI_API_KEY], no";
    let mut events = Vec::new();
    while text_of(&events) != covered {
        events.push(stream.next().unwrap());
        assert_clean("the stream", &text_of(&events));
    }
    // In the middle of the reply: what is in the journal, and what one who comes now is shown.
    assert_eq!(journal(&workspace, &session), covered);
    assert_clean("the journal", &on_disk(&workspace, &session));
    let mut late = server.events(&session, "", None);
    let shown = late.until("token");
    assert_eq!(text_of(&shown), covered);
    model.release();
    for stream in [&mut stream, &mut watcher, &mut late] {
        let rest = stream.until("done");
        assert_clean("the end", &format!("{rest:?}"));
    }
    let messages = server.get(&of(&session, "/messages")).json();
    let last = &messages["messages"][1]["content"];
    assert_eq!(*last, format!("{covered} indeed"));
    assert_clean("the files", &on_disk(&workspace, &session));
}

#[test]
fn what_is_held_back_is_shown_at_the_end_of_the_reply() {
    let model = FakeModel::start();
    model.reply(pieces(&["all keys begin with ", "sk-test", "-51"]));
    let workspace = Workspace::new();
    let server = start(&model, &workspace);
    let session = server.create_session("helper");
    let events = server.stream(&session, "hi").until("done");
    assert_eq!(text_of(&events), "all keys begin with sk-test-51");
}

#[test]
fn what_is_held_back_is_kept_of_a_cancelled_reply() {
    let model = FakeModel::start();
    model.reply(pieces(&["it begins with sk-test"]).and_stall());
    let workspace = Workspace::new();
    let server = start(&model, &workspace);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hi");
    assert_eq!(text_of(&stream.until("token")), "it begins with ");
    server.post(&of(&session, "/cancel"), &json!({}));
    stream.rest();
    let log = workspace.log_of(&session);
    let reply = log.iter().find(|line| line["type"] == "assistant_response");
    assert_eq!(reply.unwrap()["content"], "it begins with sk-test");
}

#[test]
fn a_key_in_a_message_or_a_title_is_covered_and_repeats_are_known_as_such() {
    let model = FakeModel::start();
    model.reply(text("never say it again"));
    let workspace = Workspace::new();
    let server = start(&model, &workspace);
    let session = server.create_session("helper");
    let say = |content: &str| {
        let headers = [("Idempotency-Key", KEY), ("Prefer", "respond-async")];
        let body = json!({"content": content});
        server.send_json("POST", &of(&session, "/messages"), &headers, &body)
    };
    let content = format!("my key is {KEY}, my token {TOKEN}");
    let first = say(&content);
    assert_eq!(first.status, 202, "{}", first.text());
    let asked = model.wait_for_requests(1);
    let covered = "my key is [redacted:OPENAI_API_KEY], my token [redacted:GITHUB_TOKEN]";
    assert_eq!(asked[0].last_message(), covered);
    assert_clean("the request", &asked[0].body.to_string());
    let again = say(&content);
    assert_eq!(again.json()["message_id"], first.json()["message_id"]);
    assert_eq!(say("something else").status, 409);

    let title = json!({"title": format!("about {TOKEN}")});
    let changed = server.patch(&of(&session, ""), &title).json();
    assert_eq!(changed["title"], "about [redacted:GITHUB_TOKEN]");
    let shown = server.get(&of(&session, "/messages")).text();
    assert!(shown.contains(covered), "{shown}");
    assert_clean("the messages", &shown);
    assert_clean("the files", &on_disk(&workspace, &session));
}

#[test]
fn keys_in_calls_and_in_errors_of_providers_are_covered_also_in_the_log() {
    let model = FakeModel::start();
    let arguments = json!({"header": TOKEN, "key": KEY}).to_string();
    model
        .reply(tool_call("fetch", &arguments))
        .then(error(400, &format!("bad token {TOKEN}")));
    let workspace = Workspace::new();
    let server = start(&model, &workspace);
    let session = server.create_session("helper");
    let events = server.stream(&session, "go").rest();
    assert_clean("the stream", &format!("{events:?}"));
    let asked = model.wait_for_requests(2);
    let call = &asked[1].messages()[1]["tool_calls"][0]["function"];
    assert_eq!(
        call["arguments"],
        r#"{"header":"[redacted:GITHUB_TOKEN]","key":"[redacted:OPENAI_API_KEY]"}"#
    );
    let log = workspace.read("own.log");
    let failed = log.lines().find(|line| line.contains("bad token"));
    let failed = failed.unwrap_or_else(|| panic!("not in {log}"));
    assert!(
        failed.contains("bad token [redacted:GITHUB_TOKEN]"),
        "{failed}"
    );
    assert_clean("the files", &on_disk(&workspace, &session));
}

/// Ends the program with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        crate::support::process::end_of(&mut self.0);
    }
}

/// The user `nobody`: what belongs to root belongs to another.
const NOBODY: u32 = 65534;

/// Has everything below belong to `NOBODY`.
fn give_away(folder: &Path) {
    chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            give_away(&path)
        } else {
            chown(&path, Some(NOBODY), Some(NOBODY)).unwrap()
        }
    }
}

/// The server as a user who is not root: only then the owner of its files in `/proc` tells whether
/// others may look into it.
fn server_of_a_user(workspace: &Workspace) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Launch::new(workspace).command();
    }
    // The build folder may be closed to others.
    let program = workspace.file("duragent");
    // Not by this process: a child that another test starts meanwhile would hold the copy open,
    // and what somebody writes cannot be run.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_duragent"))
        .arg(&program)
        .status_in_time();
    assert!(copied.unwrap().success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    give_away(workspace.path());
    let mut command = Command::new(program);
    command
        .args(["serve", "--port", "0"])
        .current_dir(workspace.path())
        .env_clear()
        .env("HOME", workspace.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .uid(NOBODY)
        .gid(NOBODY);
    command
}

#[test]
fn nobody_else_may_look_into_the_memory_of_the_server() {
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    let server = Killed(server_of_a_user(&workspace).spawn().unwrap());
    eventually("it listens", || {
        workspace
            .read(".duragent/lock")
            .contains("address: ")
            .then_some(())
    });
    // Whose memory may be read by its own user, that user owns in /proc: proc(5), "dumpable".
    let environ = fs::metadata(format!("/proc/{}/environ", server.0.id())).unwrap();
    assert_eq!(environ.uid(), 0);
    let own = fs::metadata("/proc/self/environ").unwrap();
    assert_eq!(own.uid(), rustix::process::geteuid().as_raw());
}
