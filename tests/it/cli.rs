//! The built command, as a user runs it, against servers that follow a script.

mod attached;
mod older_server;
mod own_server;
mod running;
mod scripted_server;
pub mod terminal;

use crate::support::process::{self, Limited as _, output_of};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use scripted_server::{Answer, Asked, Events, ScriptedServer};
use terminal::Terminal;

const SESSION: &str = "session_01J0000000000000000000ABCD";
const OTHER: &str = "session_01J0000000000000000000WXYZ";

/// The command in an empty folder, with none of this machine's keys.
fn duragent(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = process::duragent(folder);
    // Nothing listens there.
    command.args(arguments).env("OLLAMA_HOST", "127.0.0.1:1");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    duragent(folder, arguments).output_in_time().unwrap()
}

fn run_with_input(folder: &Path, arguments: &[&str], input: &str) -> Output {
    fed(duragent(folder, arguments), input)
}

fn fed(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read it has failed for another reason.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    output_of(child)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A folder that holds a workspace without agents.
fn workspace_folder() -> TempDir {
    let folder = folder();
    fs::create_dir_all(folder.path().join(".duragent/agents")).unwrap();
    folder
}

fn session(id: &str, title: &str) -> String {
    format!(
        r#"{{"session_id":"{id}","agent":"helper","status":"active","message_count":2,
            "created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",
            "title":"{title}"}}"#
    )
}

#[test]
fn the_version_is_true() {
    let output = run(folder().path(), &["--version"]);
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], concat!("duragent ", env!("CARGO_PKG_VERSION")));
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"])
        .output_in_time();
    let head = git.ok().filter(|git| git.status.success());
    let head = head.map(|git| String::from_utf8(git.stdout).unwrap());
    let commit = lines[1].strip_prefix("commit: ").unwrap();
    match head {
        Some(head) => assert_eq!(commit.trim_end_matches(" (modified)"), head.trim()),
        None => assert!(!commit.is_empty()),
    }
    let date = lines[2].strip_prefix("built: ").unwrap();
    assert_eq!(date.len(), "2026-01-01".len());
    let target = lines[3].strip_prefix("target: ").unwrap();
    assert!(target.contains(std::env::consts::ARCH), "{target}");
}

#[test]
fn wrong_usage_is_one_line_and_code_2() {
    let folder = folder();
    for (line, says) in [
        ("bogus", "unrecognized subcommand"),
        ("serve --port x", "invalid value"),
        ("chat --agent a --session b", "cannot be used with"),
        ("chat --agent a -s b", "cannot be used with"),
        ("agent list -c missing.yaml", "missing.yaml"),
        ("agent list --server ftp://x", "ftp://x"),
        ("validate missing", "missing does not exist"),
        ("chat --agent a", "standard input"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(folder.path(), &arguments);
        let text = err(&output);
        assert_eq!(code(&output), 2, "{line}: {text}");
        assert!(text.starts_with("duragent: "), "{line}: {text}");
        assert!(text.contains(says), "{line}: {text}");
        assert_eq!(out(&output), "", "{line}");
    }
    // Nothing was started, and nothing written, for any of it.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn without_a_server_lists_and_stop_say_so() {
    let folder = workspace_folder();
    for line in ["serve stop", "serve status"] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(folder.path(), &arguments);
        assert_eq!(code(&output), 1, "{line}");
        assert!(err(&output).contains("no server runs"), "{line}");
    }
    let output = run(folder.path(), &["serve", "status", "--json"]);
    assert_eq!(
        out(&output),
        "{\n  \"running\": false,\n  \"ready\": false\n}\n"
    );
}

#[test]
fn a_server_is_looked_for_without_the_variables_that_it_needs() {
    let folder = folder();
    let config = "workspace: there\nserver:\n  api_token: ${NOT_SET_HERE}\n";
    fs::write(folder.path().join("duragent.yaml"), config).unwrap();
    for line in [["serve", "stop"], ["serve", "status"]] {
        let output = run(folder.path(), &line);
        assert_eq!(code(&output), 1, "{}", err(&output));
        assert!(err(&output).contains("/there\n"), "{}", err(&output));
    }
    fs::write(
        folder.path().join("duragent.yaml"),
        "workspace: ${NOT_SET_HERE}",
    )
    .unwrap();
    let output = run(folder.path(), &["serve", "stop"]);
    assert_eq!(code(&output), 2, "{}", err(&output));
}

#[test]
fn shells_get_completions() {
    for (shell, says) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef duragent"),
        ("fish", "complete -c duragent"),
    ] {
        let output = run(folder().path(), &["completions", shell]);
        assert_eq!(code(&output), 0, "{shell}");
        assert!(out(&output).contains(says), "{shell}");
    }
}

#[test]
fn init_writes_what_is_missing_and_touches_nothing_else() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("duragent.yaml"), "# mine\n").unwrap();
    let first = run(folder.path(), &["init", "--no-interactive"]);
    assert_eq!(code(&first), 0, "{}", err(&first));
    let agent = path(".duragent/agents/my-assistant/agent.yaml");
    let written = fs::read_to_string(&agent).unwrap();
    assert!(written.contains("provider: echo"), "{written}");
    assert_eq!(
        fs::read_to_string(path("duragent.yaml")).unwrap(),
        "# mine\n"
    );
    fs::write(&agent, "changed").unwrap();
    for arguments in [
        ["init", "--no-interactive"].as_slice(),
        &["init", "--no-interactive", "--agent-name", "my-assistant"],
    ] {
        assert_eq!(code(&run(folder.path(), arguments)), 0);
        assert_eq!(fs::read_to_string(&agent).unwrap(), "changed");
    }
    let agents = fs::read_dir(path(".duragent/agents")).unwrap();
    assert_eq!(agents.count(), 1);
}

#[test]
fn init_takes_the_provider_that_is_there() {
    let ollama = ScriptedServer::start(|asked, answer| {
        assert_eq!(asked.line, "GET /api/tags");
        answer.json(200, r#"{"models":[{"name":"qwen3:4b"},{"name":"x"}]}"#);
    });
    let key = |name| Some((name, "k"));
    for (variable, arguments, provider, model) in [
        (None, "", "ollama", "qwen3:4b"),
        (key("OPENAI_API_KEY"), "", "openai", "gpt-4o-mini"),
        (
            key("OPENROUTER_API_KEY"),
            "",
            "openrouter",
            "anthropic/claude-sonnet-4",
        ),
        (
            key("OPENAI_API_KEY"),
            "--provider anthropic",
            "anthropic",
            "claude-sonnet-4-20250514",
        ),
        (None, "--provider echo --model a:b", "echo", "a:b"),
    ] {
        let folder = folder();
        let line = format!("init --no-interactive --agent-name x {arguments}");
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let mut command = duragent(folder.path(), &arguments);
        command.env("OLLAMA_HOST", ollama.address()).envs(variable);
        assert_eq!(
            command.output_in_time().unwrap().status.code(),
            Some(0),
            "{line}"
        );
        let agent = folder.path().join(".duragent/agents/x/agent.yaml");
        let written = fs::read_to_string(agent).unwrap();
        let expected = format!("provider: {provider}\n    name: \"{model}\"\n");
        assert!(written.contains(&expected), "{line}: {written}");
    }
}

#[test]
fn sessions_are_listed_page_by_page_with_the_token() {
    let server = ScriptedServer::start(|asked, answer| {
        let second = asked.line.contains("cursor=");
        let (id, cursor) = if second {
            (OTHER, String::new())
        } else {
            (SESSION, format!(r#","next_cursor":"{SESSION}""#))
        };
        let session = session(id, "日本 \\u001b[31mred");
        answer.json(200, &format!(r#"{{"sessions":[{session}]{cursor}}}"#));
    });
    let url = server.url();
    let line = ["session", "list", "--server", &url, "--token", "t"];
    let output = run(folder().path(), &line);
    let text = out(&output);
    assert_eq!(text.lines().count(), 3, "{text}{}", err(&output));
    assert!(text.contains(SESSION) && text.contains(OTHER), "{text}");
    assert!(text.contains("日本 red"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    for asked in server.asked() {
        assert_eq!(asked.header("authorization"), Some("Bearer t"));
    }
    let output = run(folder().path(), &[&line[..], &["--json"]].concat());
    let listed: serde_json::Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(listed[1]["session_id"], OTHER);
}

#[test]
fn a_refusal_is_said_in_the_servers_words() {
    let server = ScriptedServer::start(|_, answer| answer.problem(401, "a token is needed"));
    let output = run(
        folder().path(),
        &["agent", "list", "--server", &server.url()],
    );
    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(
        text.starts_with("duragent: a token is needed\nhint: "),
        "{text}"
    );
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let server = ScriptedServer::start(|_, answer| {
        let sessions: Vec<String> = (0..1000).map(|_| session(SESSION, "x")).collect();
        answer.json(200, &format!(r#"{{"sessions":[{}]}}"#, sessions.join(",")));
    });
    let folder = folder();
    let url = server.url();
    let line = ["session", "list", "--limit", "1000", "--server", &url];
    let mut command = duragent(folder.path(), &line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let output = output_of(child);
    assert_eq!((code(&output), err(&output)), (0, String::new()));
}

/// A server that holds the lock of `folder`'s workspace, as a running one does.
fn hold_workspace(folder: &Path, server: &ScriptedServer) -> File {
    let workspace = folder.join(".duragent");
    fs::create_dir_all(workspace.join("agents")).unwrap();
    let pid = std::process::id();
    let text = format!("pid: {pid}\naddress: {}\n", server.address());
    fs::write(workspace.join("lock"), text).unwrap();
    let lock = File::open(workspace.join("lock")).unwrap();
    lock.lock().unwrap();
    lock
}

#[test]
fn the_server_of_the_workspace_is_found_by_its_lock() {
    let server = ScriptedServer::start(|asked, answer| match asked.line.as_str() {
        "GET /readyz" => answer.json(200, r#"{"status":"ok"}"#),
        "GET /api/v1/agents" => {
            answer.json(
                200,
                r#"{"agents":[{"name":"helper","description":"helps"}]}"#,
            );
        }
        "GET /version" => answer.json(200, r#"{"version":"9.9.9"}"#),
        other => answer.problem(404, other),
    });
    let folder = folder();
    let lock = hold_workspace(folder.path(), &server);
    let output = run(folder.path(), &["agent", "list"]);
    assert_eq!(
        out(&output),
        "NAME    VERSION  DESCRIPTION\nhelper           helps\n"
    );
    let output = run(folder.path(), &["serve", "status"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("ready  9.9.9"), "{}", out(&output));
    // Not only dropped: a child that another test is just starting may have the file, too.
    lock.unlock().unwrap();
    assert_eq!(code(&run(folder.path(), &["serve", "status"])), 1);
}

#[test]
fn a_server_that_a_client_starts_takes_any_port_when_its_own_is_taken() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = format!("server:\n  host: 127.0.0.2\n  port: {port}\n");
    fs::write(folder.path().join("duragent.yaml"), config).unwrap();
    fn in_workspace<'a>(line: &[&'a str]) -> Vec<&'a str> {
        [&["--workspace", "elsewhere"], line].concat()
    }
    let init = in_workspace(&["init", "--no-interactive", "--provider", "echo"]);
    assert_eq!(code(&run(folder.path(), &init)), 0);
    let output = run_with_input(folder.path(), &in_workspace(&["chat"]), "hello");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("hello"), "{}", out(&output));
    let status = run(folder.path(), &in_workspace(&["serve", "status"]));
    assert!(
        out(&status).contains("http://127.0.0.2:"),
        "{}",
        out(&status)
    );
    assert!(folder.path().join("elsewhere/lock").exists());
    assert_eq!(
        code(&run(folder.path(), &in_workspace(&["serve", "stop"]))),
        0
    );
}

#[test]
fn a_missing_agent_is_answered_with_those_there_are() {
    let server = ScriptedServer::start(|asked, answer| match asked.line.as_str() {
        "GET /api/v1/agents" => answer.json(200, r#"{"agents":[{"name":"a"},{"name":"b"}]}"#),
        _ => answer.problem(404, "Agent 'x' not found"),
    });
    let url = server.url();
    let line = ["chat", "--server", &url, "--agent", "x"];
    let output = run_with_input(folder().path(), &line, "hi");
    assert_eq!(code(&output), 1);
    assert_eq!(
        err(&output),
        "duragent: there is no agent x\nhint: there are: a, b\n"
    );
    let output = run_with_input(folder().path(), &line[..3], "hi");
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("hint: choose one with --agent: a, b"));
}

/// Creates the session, and answers its stream with `turn`.
fn one_turn(turn: impl Fn(usize, &mut Events) + Send + Sync + 'static) -> ScriptedServer {
    let streams = Mutex::new(0);
    ScriptedServer::start(move |asked, answer| {
        if asked.line == "POST /api/v1/sessions" {
            let body = format!(r#"{{"session_id":"{SESSION}","agent":"helper"}}"#);
            return answer.json(201, &body);
        }
        assert_eq!(
            asked.line,
            format!("POST /api/v1/sessions/{SESSION}/stream")
        );
        let mut streams = streams.lock().unwrap();
        let mut events = answer.events();
        events.send("1", "start", r#"{"message_id":"msg_1","seq":1}"#);
        turn(*streams, &mut events);
        *streams += 1;
    })
}

#[test]
fn piped_input_is_one_message_and_only_the_reply_is_printed() {
    let server = one_turn(|_, events| {
        events.send("1+2", "token", r#"{"content":"Hé"}"#);
        events.send(
            "2",
            "tool_call",
            r#"{"call_id":"c","name":"bash","arguments":"{}"}"#,
        );
        events.send(
            "3",
            "tool_result",
            r#"{"call_id":"c","content":"x","success":true}"#,
        );
        events.send("3+5", "token", r#"{"content":"llo\u001b[2J"}"#);
        events.send("4", "done", r#"{"finish_reason":"stop"}"#);
    });
    let url = server.url();
    let line = ["chat", "-a", "helper", "--server", &url];
    let output = run_with_input(folder().path(), &line, "two\nlines\n");
    assert_eq!((code(&output), out(&output)), (0, "Hé\nllo\n".to_owned()));
    assert_eq!(err(&output), "");
    let sent = server.asked().pop().unwrap();
    assert_eq!(sent.body, r#"{"content":"two\nlines"}"#);
    assert_eq!(sent.header("idempotency-key").unwrap().len(), 26);
}

#[test]
fn a_stream_that_breaks_is_opened_again_with_its_key_and_nothing_is_printed_twice() {
    let server = one_turn(|stream, events| {
        if stream == 0 {
            events.send("1+3", "token", r#"{"content":"Hel"}"#);
            return;
        }
        events.send("1+5", "token", r#"{"content":"Hello"}"#);
        events.send("2", "done", "{}");
    });
    let url = server.url();
    let line = ["chat", "-a", "helper", "--server", &url];
    let output = run_with_input(folder().path(), &line, "hi");
    assert_eq!((code(&output), out(&output)), (0, "Hello\n".to_owned()));
    let asked = server.asked();
    let key = |asked: &Asked| asked.header("idempotency-key").unwrap().to_owned();
    assert_eq!(key(&asked[1]), key(&asked[2]));
}

#[test]
fn a_turn_that_fails_or_asks_is_code_1() {
    for (name, data, says) in [
        ("error", r#"{"message":"no key","code":"x"}"#, "no key"),
        ("cancelled", "{}", "cancelled"),
        (
            "approval_required",
            r#"{"call_id":"c","command":"ls \r","kind":"policy"}"#,
            "approval of: ls \\r",
        ),
        (
            "approval_required",
            r#"{"call_id":"c","command":"ls && rm x","kind":"policy","commands":["ls","rm x"]}"#,
            "The agent wants to run 2 commands in 1 line:\n    ls\n    rm x\nThe text:\n    ls && rm x\nduragent: the agent waits for an approval\n",
        ),
    ] {
        let server = one_turn(move |_, events| {
            events.send("2", name, data);
        });
        let url = server.url();
        let line = ["chat", "-a", "helper", "--server", &url];
        let output = run_with_input(folder().path(), &line, "hi");
        assert_eq!((code(&output), out(&output)), (1, String::new()), "{name}");
        assert!(err(&output).contains(says), "{}", err(&output));
        if name == "approval_required" {
            let back = format!("hint: answer it with: duragent attach {SESSION} -s {url}\n");
            assert!(err(&output).contains(&back), "{}", err(&output));
        }
    }
}

/// A session whose events a test sends: what is put into the sender goes to the newest `/events`.
struct LiveSession {
    server: ScriptedServer,
    feed: Sender<(&'static str, &'static str, &'static str)>,
}

/// `/stream` names the message and ends when the feed has shown the end with id `end`.
fn live_session() -> LiveSession {
    type Event = (&'static str, &'static str, &'static str);
    let (feed, source): (Sender<Event>, Receiver<Event>) = channel();
    let source = Arc::new(Mutex::new(source));
    let server = ScriptedServer::start(move |asked, answer| live_answer(&source, asked, answer));
    LiveSession { server, feed }
}

fn live_answer(
    source: &Mutex<Receiver<(&'static str, &'static str, &'static str)>>,
    asked: &Asked,
    answer: Answer,
) {
    let path = asked
        .line
        .replace(&format!("/api/v1/sessions/{SESSION}"), "");
    match path.as_str() {
        "GET /readyz" => answer.json(200, "{}"),
        "GET " => answer.json(200, &session(SESSION, "")),
        "POST /stream" => {
            let mut events = answer.events();
            events.send("1", "start", r#"{"message_id":"msg_own","seq":1}"#);
            events.wait_for_end();
        }
        "POST /cancel" => answer.json(200, r#"{"cancelled":true}"#),
        "POST /approve" => answer.json(200, r#"{"status":"complete"}"#),
        path if path.starts_with("GET /events") => {
            let mut events = answer.events();
            if asked.header("last-event-id").is_none() {
                let session = session(SESSION, "");
                let opening = format!(
                    r#"{},"messages":[{{"role":"user","content":"before"}}]}}"#,
                    session.trim_end_matches('}').replace('\n', " ")
                );
                events.send("0", "session", &opening);
            }
            let source = source.lock().unwrap();
            while let Ok((id, name, data)) = source.recv_timeout(Duration::from_secs(120)) {
                if name == "hang up" || !events.send(id, name, data) {
                    return;
                }
            }
        }
        other => answer.problem(404, other),
    }
}

fn attach(folder: &Path, live: &LiveSession) -> Terminal {
    let url = live.server.url();
    Terminal::start(folder, &["attach", SESSION, "--server", &url])
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn a_conversation_shows_everything_once_and_is_left_with_ctrl_d() {
    let (folder, live) = (workspace_folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    let send = |id, name, data| live.feed.send((id, name, data)).unwrap();
    terminal.wait_for("> before");
    terminal.wait_for_prompt("> ");
    send(
        "2",
        "user_message",
        r#"{"message_id":"m2","content":"from afar","sender_name":"Ann"}"#,
    );
    terminal.wait_for("Ann> from afar");
    terminal.type_in("my words\r");
    wait_until_asked(&live.server, "/stream");
    send(
        "3",
        "user_message",
        r#"{"message_id":"msg_own","content":"MY WORDS"}"#,
    );
    send("3+4", "token", r#"{"content":"the rep"}"#);
    terminal.wait_for("the rep");
    // The server cuts the client off in the middle of the reply.
    send("", "hang up", "");
    send("3+6", "token", r#"{"content":"ly goes on"}"#);
    terminal.wait_for("the reply goes on");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    let shown = terminal.wait_for("come back with: duragent attach session_");
    assert_eq!(times(&shown, "Ann> from afar"), 1, "{shown}");
    assert_eq!(times(&shown, "MY WORDS"), 0, "{shown}");
    assert_eq!(times(&shown, "the reply goes on"), 1, "{shown}");
    let resumed = live
        .server
        .asked()
        .into_iter()
        .filter(|asked| asked.line.contains("/events"));
    let cursors: Vec<Option<String>> = resumed
        .map(|asked| asked.header("last-event-id").map(str::to_owned))
        .collect();
    assert_eq!(cursors, [None, Some("3+4".to_owned())]);
    let history = fs::read_to_string(folder.path().join(".duragent/chat_history")).unwrap();
    assert_eq!(history, "my words\n");
}

#[test]
fn ctrl_c_cancels_the_reply_and_questions_are_answered_in_place() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    let send = |id, name, data| live.feed.send((id, name, data)).unwrap();
    terminal.wait_for_prompt("> ");
    send("2", "token", r#"{"content":"endless"}"#);
    // Somebody else's reply.
    send(
        "3",
        "approval_required",
        r#"{"call_id":"c1","command":"rm x","kind":"policy"}"#,
    );
    terminal.wait_for("    rm x");
    terminal.wait_for_prompt("? ");
    terminal.type_in("y\r");
    wait_until_asked(&live.server, "/approve");
    let answer = live
        .server
        .asked()
        .into_iter()
        .find(|asked| asked.line.contains("/approve"));
    let body: serde_json::Value = serde_json::from_str(&answer.unwrap().body).unwrap();
    let expected = r#"{"call_id":"c1","command":"rm x","decision":"allow_once"}"#;
    assert_eq!(
        body,
        serde_json::from_str::<serde_json::Value>(expected).unwrap()
    );
    send(
        "4",
        "tool_result",
        r#"{"call_id":"c1","content":"gone","success":true}"#,
    );
    send("4+3", "token", r#"{"content":"and on"}"#);
    terminal.wait_for("and on");
    terminal.type_in("\u{3}");
    wait_until_asked(&live.server, "/cancel");
    send("5", "cancelled", "{}");
    terminal.wait_for("(cancelled)");
    terminal.wait_for_prompt("> ");
    terminal.type_in("/quit\r");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn neither_what_is_pasted_nor_what_was_typed_before_answers_a_question() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    let send = |id, name, data| live.feed.send((id, name, data)).unwrap();
    terminal.wait_for_prompt("> ");
    send("2", "token", r#"{"content":"working"}"#);
    // Where the second piece is shown, the first has ended the prompt: a key is no longer for that.
    send("2+1", "token", r#"{"content":" on and on"}"#);
    terminal.wait_for("working on and on");
    terminal.type_in("y");
    let asked = r#"{"call_id":"c1","command":"ls\n\n\n\n\nrm x","kind":"policy","commands":["ls","rm x"],"lines":6}"#;
    send("3", "approval_required", asked);
    terminal.wait_for("The agent wants to run 2 commands in 6 lines:");
    terminal.wait_for("⟨4 empty lines⟩");
    terminal.wait_for_prompt("? ");
    terminal.type_in("\u{1b}[200~y\r\u{1b}[201~");
    terminal.wait_for("what is pasted answers nothing");
    let was_asked = |what: &str| {
        live.server
            .asked()
            .iter()
            .any(|asked| asked.line.contains(what))
    };
    terminal.wait_for_prompt("? ");
    assert!(!was_asked("/approve"));
    terminal.type_in("n\r");
    wait_until_asked(&live.server, "/approve");
    let answers = live.server.asked();
    let answer = answers.iter().find(|asked| asked.line.contains("/approve"));
    assert!(answer.unwrap().body.contains("\"deny\""));
    send("4", "done", r#"{"finish_reason":"stop"}"#);
    // It is the next message's.
    terminal.wait_for_prompt("> y");
    terminal.type_in("\u{15}\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_question_that_somebody_else_answered_is_asked_no_more() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    let send = |id, name, data| live.feed.send((id, name, data)).unwrap();
    terminal.wait_for_prompt("> ");
    let asked = r#"{"call_id":"c1","command":"rm x","kind":"policy"}"#;
    send("2", "approval_required", asked);
    terminal.wait_for_prompt("? ");
    let decided = r#"{"call_id":"c1","decision":"allow_always","by":"Ann"}"#;
    send("3", "approval_decision", decided);
    terminal.wait_for("(allow always, by Ann)");
    send("4", "done", r#"{"finish_reason":"stop"}"#);
    terminal.wait_for_prompt("> ");
    terminal.type_in("/quit\r");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    let asked = live.server.asked();
    assert!(!asked.iter().any(|asked| asked.line.contains("/approve")));
}

fn wait_until_asked(server: &ScriptedServer, what: &str) {
    wait_until(|| server.asked().iter().any(|asked| asked.line.contains(what)));
}

fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_end_of_a_session_ends_the_conversation() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    terminal.wait_for_prompt("> ");
    let to = r#"{"from":"active","to":"completed"}"#;
    live.feed.send(("9", "status", to)).unwrap();
    terminal.wait_for("(the session has ended)");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_conversation_that_cannot_go_on_is_code_1_with_the_servers_words() {
    let server = ScriptedServer::start(|asked, answer| {
        if asked.line.contains("/events") {
            answer.problem(401, "a token is needed")
        } else {
            answer.json(200, &session(SESSION, ""))
        }
    });
    let (folder, url) = (folder(), server.url());
    let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "--server", &url]);
    assert_eq!(terminal.wait_for_exit().code(), Some(1));
    terminal.wait_for("a token is needed");
    terminal.wait_for("hint: ");
}

#[test]
fn a_question_whose_answer_did_not_get_through_is_asked_again() {
    let (folder, live) = (folder(), live_session());
    let inner = live.server.address();
    let is_first = AtomicBool::new(true);
    let front = ScriptedServer::start(move |asked, answer| {
        if asked.line.contains("/approve") && is_first.swap(false, Ordering::SeqCst) {
            return answer.problem(503, "cannot write now");
        }
        answer.pass_on(asked, &inner);
    });
    let mut terminal = Terminal::start(
        folder.path(),
        &["attach", SESSION, "--server", &front.url()],
    );
    terminal.wait_for_prompt("> ");
    let asked = r#"{"call_id":"c1","command":"rm x","kind":"policy"}"#;
    live.feed.send(("2", "approval_required", asked)).unwrap();
    terminal.wait_for_prompt("? ");
    terminal.type_in("y\r");
    terminal.wait_for("cannot write now");
    terminal.wait_for_prompt("? ");
    terminal.type_in("y\r");
    wait_until_asked(&live.server, "/approve");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_long_turn_over_a_bad_line_is_not_given_up() {
    const CUTS: usize = 12;
    let text = "0123456789abcdef";
    let server = one_turn(move |stream, events| {
        let data = format!(r#"{{"content":"{}"}}"#, &text[..=stream]);
        events.send("1+1", "token", &data);
        if stream == CUTS {
            events.send("2", "done", "{}");
        }
    });
    let url = server.url();
    let line = ["chat", "-a", "helper", "--server", &url];
    let output = run_with_input(folder().path(), &line, "hi");
    let expected = format!("{}\n", &text[..=CUTS]);
    assert_eq!(
        (code(&output), out(&output)),
        (0, expected),
        "{}",
        err(&output)
    );
}

#[test]
fn what_is_typed_at_once_is_read_at_once_and_lines_go_on_after_a_backslash() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    terminal.wait_for_prompt("> ");
    terminal.type_in("one \\\r");
    terminal.wait_for_prompt("… ");
    terminal.type_in("two\r");
    wait_until_asked(&live.server, "/stream");
    let asked = live.server.asked();
    let sent = asked.iter().find(|asked| asked.line.contains("/stream"));
    assert_eq!(sent.unwrap().body, r#"{"content":"one \ntwo"}"#);
    // The server says nothing: whoever waits can leave nevertheless.
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn what_was_typed_before_a_question_was_shown_is_no_answer() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    let send = |id, name, data| live.feed.send((id, name, data)).unwrap();
    terminal.wait_for_prompt("> ");
    terminal.type_in("words");
    terminal.wait_for("words");
    let asked = r#"{"call_id":"c1","command":"rm x","kind":"policy"}"#;
    send("2", "approval_required", asked);
    // Long enough for the events to be taken; they are not shown while a line is edited.
    std::thread::sleep(Duration::from_millis(300));
    // The editor takes 1024 bytes at a time.
    let typed = format!("\r{}y\r", " ".repeat(1023));
    terminal.type_in(&typed);
    terminal.wait_for("    rm x");
    terminal.wait_for_prompt("? ");
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_in("n\r");
    wait_until_asked(&live.server, "/approve");
    let answers = live.server.asked();
    let answer = answers.iter().find(|asked| asked.line.contains("/approve"));
    assert!(answer.unwrap().body.contains("\"deny\""));
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn lines_that_are_pasted_are_one_message() {
    let (folder, live) = (folder(), live_session());
    let mut terminal = attach(folder.path(), &live);
    terminal.wait_for_prompt("> ");
    terminal.paste("one\rtwo\rthree");
    terminal.wait_for("three");
    terminal.type_in("\r");
    wait_until_asked(&live.server, "/stream");
    let asked = live.server.asked();
    let sent = asked.iter().find(|asked| asked.line.contains("/stream"));
    assert_eq!(sent.unwrap().body, r#"{"content":"one\ntwo\nthree"}"#);
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn what_nobody_has_heard_of_is_not_lost_to_who_waits_no_longer() {
    let (folder, live) = (folder(), live_session());
    let (is_over, inner) = (Arc::new(AtomicBool::new(false)), live.server.address());
    let over = Arc::clone(&is_over);
    let front = ScriptedServer::start(move |asked, answer| {
        if asked.line.contains("/stream") {
            wait_until(|| over.load(Ordering::SeqCst));
            return;
        }
        answer.pass_on(asked, &inner);
    });
    let url = front.url();
    let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "--server", &url]);
    let keys = || {
        let asked = front.asked().into_iter();
        let streams = asked.filter(|asked| asked.line.contains("/stream"));
        let key = |asked: Asked| asked.header("idempotency-key").unwrap().to_owned();
        streams.map(key).collect::<Vec<String>>()
    };
    terminal.wait_for_prompt("> ");
    terminal.type_in("my words\r");
    wait_until(|| keys().len() == 1);
    terminal.type_in("\u{3}");
    wait_until_asked(&live.server, "/cancel");
    terminal.type_in("\u{3}");
    terminal.wait_for("(no longer waiting");
    terminal.wait_for_prompt("> my words");
    terminal.type_in("\r");
    wait_until(|| keys().len() == 2);
    assert_eq!(keys()[0], keys()[1]);
    is_over.store(true, Ordering::SeqCst);
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_server_that_goes_away_is_said_once_and_waited_for() {
    let (folder, live) = (folder(), live_session());
    let is_away = Arc::new(AtomicBool::new(false));
    let (away, inner) = (Arc::clone(&is_away), live.server.address());
    // Between the client and the server, so that connections can fail.
    let front = ScriptedServer::start(move |asked, answer| {
        if away.load(Ordering::SeqCst) {
            return answer.problem(503, "draining");
        }
        answer.pass_on(asked, &inner);
    });
    let mut terminal = Terminal::start(
        folder.path(),
        &["attach", SESSION, "--server", &front.url()],
    );
    terminal.wait_for_prompt("> ");
    is_away.store(true, Ordering::SeqCst);
    live.feed.send(("", "hang up", "")).unwrap();
    terminal.wait_for("connection lost, reconnecting…");
    let tries = || {
        let asked = front.asked().into_iter();
        asked.filter(|asked| asked.line.contains("/events")).count()
    };
    let before = tries();
    wait_until(|| tries() > before + 2);
    is_away.store(false, Ordering::SeqCst);
    let shown = terminal.wait_for("reconnected");
    assert_eq!(times(&shown, "connection lost"), 1, "{shown}");
    live.feed
        .send(("7", "token", r#"{"content":"here again\n"}"#))
        .unwrap();
    terminal.wait_for("here again");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_message_that_comes_back_to_the_prompt_keeps_its_key_until_it_is_changed() {
    let (folder, live) = (folder(), live_session());
    let is_deaf = Arc::new(AtomicBool::new(true));
    let (deaf, inner) = (Arc::clone(&is_deaf), live.server.address());
    // It may have stored the message, and dies before it says so.
    let front = ScriptedServer::start(move |asked, answer| {
        if asked.line.contains("/stream") && deaf.load(Ordering::SeqCst) {
            return;
        }
        answer.pass_on(asked, &inner);
    });
    let url = front.url();
    let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "--server", &url]);
    terminal.wait_for_prompt("> ");
    terminal.type_in("my words\r");
    terminal.wait_for("stands at the prompt again");
    terminal.wait_for_prompt("> my words");
    is_deaf.store(false, Ordering::SeqCst);
    terminal.type_in("\r");
    wait_until_asked(&live.server, "/stream");
    let keys = || {
        let asked = front.asked().into_iter();
        let streams = asked.filter(|asked| asked.line.contains("/stream"));
        streams
            .map(|asked| asked.header("idempotency-key").unwrap().to_owned())
            .collect::<std::collections::BTreeSet<String>>()
    };
    assert_eq!(keys().len(), 1);
    // The same words, said again, are another message.
    terminal.type_in("\u{3}");
    wait_until_asked(&live.server, "/cancel");
    terminal.type_in("\u{3}");
    terminal.wait_for_prompt("> ");
    terminal.type_in("my words\r");
    wait_until(|| keys().len() == 2);
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}
