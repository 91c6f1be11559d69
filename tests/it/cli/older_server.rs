//! The command against a server of version 0.5: what it has works, what it lacks is said, and nothing is
//! sent to it twice.

use super::scripted_server::Age;
use super::*;

/// What such a server does at a request, and what was said to it.
#[derive(Default)]
struct Old {
    /// The bodies of the messages that it stored.
    stored: Mutex<Vec<String>>,
    deleted: AtomicBool,
}

/// How a turn of it goes: the events of its stream, and what the answer to an approval is.
struct Turn {
    stream: fn(&mut Events),
    approved: &'static str,
    /// What waits in the session from before, as a member of its JSON.
    pending: &'static str,
}

/// A reply in its events: a block of `retry` alone, a start without ids, and no ids at all.
fn reply(events: &mut Events) {
    events.send_raw("retry: 3000\n\n: ping\n\n");
    events.send_raw("event: start\ndata: {}\n\n");
    events.send_raw("event: token\ndata: {\"content\":\"Good \",\"index\":0}\n\n");
    events.send_raw("event: mood\ndata: sunny\n\n");
    events.send_raw("event: token\ndata: {\"content\":\"day\"}\n\n");
    events.send_raw("event: done\ndata: {\"usage\":{\"input\":1}}\n\n");
}

const REPLY: Turn = Turn {
    stream: reply,
    approved: "{}",
    pending: "",
};

fn old_server(turn: Turn) -> (ScriptedServer, Arc<Old>) {
    let old = Arc::new(Old::default());
    let known = Arc::clone(&old);
    let server = ScriptedServer::start_as(Age::Before, move |asked, answer| {
        answer_as_old(&known, &turn, asked, answer);
    });
    (server, old)
}

fn answer_as_old(old: &Old, turn: &Turn, asked: &Asked, answer: Answer) {
    let one = format!(
        r#"{{"session_id":"{SESSION}","agent":"helper","status":"active","tags":[],{}
            "created_at":"2026-01-01T01:00:00.123456789+01:00"}}"#,
        turn.pending
    );
    let path = asked
        .line
        .replace(&format!("/api/v1/sessions/{SESSION}"), "");
    let path = path.split('?').next().unwrap();
    match path {
        "GET /livez" => answer.text(200, "ok"),
        "GET /readyz" => answer.json(200, r#"{"status":"ready"}"#),
        "GET /api/v1/agents" => answer.json(200, r#"{"agents":[{"name":"helper","model":"x"}]}"#),
        "POST /api/v1/sessions" => answer.json(201, &one),
        "GET /api/v1/sessions" => {
            let other = format!(
                r#"{{"session_id":"{OTHER}","agent":"helper","status":"paused","created_at":"2026-01-01T00:00:00+00:00"}}"#
            );
            answer.json(200, &format!(r#"{{"sessions":[{one},{other}]}}"#));
        }
        "GET " => answer.json(200, &one),
        "GET /messages" => answer.json(
            200,
            r#"{"messages":[{"role":"user","content":"before"},{"role":"assistant","content":"indeed"}]}"#,
        ),
        "POST /stream" => {
            old.stored.lock().unwrap().push(asked.body.clone());
            (turn.stream)(&mut answer.events());
        }
        "POST /approve" => answer.json(200, turn.approved),
        "DELETE " => {
            old.deleted.store(true, Ordering::SeqCst);
            answer.text(204, "");
        }
        "POST /api/admin/v1/reload-agents" => answer.text(200, "reloaded"),
        // Neither /version nor /events.
        _ => answer.text(404, "not found"),
    }
}

fn stored(old: &Old) -> Vec<String> {
    old.stored.lock().unwrap().clone()
}

fn with_server<'a>(line: &'a str, url: &'a str) -> Vec<&'a str> {
    line.split(' ').chain(["-s", url]).collect()
}

#[test]
fn its_sessions_and_agents_are_listed() {
    let (server, _) = old_server(REPLY);
    let (folder, url) = (folder(), server.url());
    let listed = run(folder.path(), &with_server("session list", &url));
    assert_eq!((code(&listed), err(&listed)), (0, String::new()));
    let text = out(&listed);
    assert!(text.contains(SESSION) && text.contains(OTHER), "{text}");
    // It does not filter, and so it is done here.
    let paused = run(
        folder.path(),
        &with_server("session list --status paused", &url),
    );
    assert!(!out(&paused).contains(SESSION) && out(&paused).contains(OTHER));
    let json = run(folder.path(), &with_server("attach --list --json", &url));
    let sessions: serde_json::Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(sessions[0]["updated_at"], "2026-01-01T00:00:00.123456Z");
    let agents = run(folder.path(), &with_server("agent list", &url));
    assert!(out(&agents).contains("helper"), "{}", err(&agents));
}

#[test]
fn a_piped_message_is_answered_and_its_age_is_said_once() {
    let (server, old) = old_server(REPLY);
    let (folder, url) = (folder(), server.url());
    let line = with_server("chat -a helper", &url);
    let output = run_with_input(folder.path(), &line, "hi");
    assert_eq!((code(&output), out(&output)), (0, "Good day\n".to_owned()));
    assert_eq!(times(&err(&output), "older than this program"), 1);
    assert_eq!(stored(&old), [r#"{"content":"hi"}"#]);
}

#[test]
fn a_message_whose_reply_breaks_off_is_not_sent_again() {
    let (server, old) = old_server(Turn {
        stream: |events| {
            events.send_raw("event: token\ndata: {\"content\":\"Goo\"}\n\n");
        },
        ..REPLY
    });
    let (folder, url) = (folder(), server.url());
    let output = run_with_input(folder.path(), &with_server("chat -a helper", &url), "hi");
    assert_eq!((code(&output), out(&output)), (1, "Goo\n".to_owned()));
    let text = err(&output);
    assert!(text.contains("what came of this one is unknown"), "{text}");
    assert_eq!(stored(&old).len(), 1);
}

#[test]
fn a_session_is_not_ended_where_that_would_delete_it_and_its_log_is_not_asked_for() {
    let (server, old) = old_server(REPLY);
    let (folder, url) = (folder(), server.url());
    let named = |command: &str| format!("session {command} {SESSION}");
    for (command, says) in [
        ("end", "it would delete the session"),
        ("show", "does not give out"),
        ("export --format json", "does not give out"),
        ("export --json", "does not give out"),
    ] {
        let output = run(folder.path(), &with_server(&named(command), &url));
        assert_eq!(code(&output), 1, "{command}");
        assert!(err(&output).contains(says), "{command}: {}", err(&output));
    }
    assert!(!old.deleted.load(Ordering::SeqCst));
    // Who wants it deleted has it deleted.
    let output = run(folder.path(), &with_server(&named("delete"), &url));
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(old.deleted.load(Ordering::SeqCst));
}

#[test]
fn what_does_not_say_that_it_is_of_today_is_not_taken_for_it() {
    for (status, body) in [
        (404, "<html>"),
        (401, "who are you?"),
        (200, "ok"),
        (200, "{}"),
        (200, r#"{"status":"ok","workspace_hash":null}"#),
        (503, "busy"),
    ] {
        let is_deleted = Arc::new(AtomicBool::new(false));
        let deleted = Arc::clone(&is_deleted);
        let server = ScriptedServer::start_as(Age::Before, move |asked, answer| {
            if asked.line.starts_with("DELETE") {
                deleted.store(true, Ordering::SeqCst);
            }
            answer.text(status, body);
        });
        let line = format!("session end {SESSION}");
        let output = run(folder().path(), &with_server(&line, &server.url()));
        assert_eq!(code(&output), 1, "{status} {body}");
        assert!(!is_deleted.load(Ordering::SeqCst), "{status} {body}");
    }
}

#[test]
fn a_proxy_that_cannot_reach_the_server_says_nothing_of_its_age() {
    let is_deleted = Arc::new(AtomicBool::new(false));
    let deleted = Arc::clone(&is_deleted);
    let server = ScriptedServer::start_as(Age::Before, move |asked, answer| {
        if asked.line.starts_with("DELETE") {
            deleted.store(true, Ordering::SeqCst);
        }
        answer.text(502, "<html>bad gateway</html>");
    });
    let line = format!("session end {SESSION}");
    let output = run(folder().path(), &with_server(&line, &server.url()));
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("502"), "{}", err(&output));
    assert!(!is_deleted.load(Ordering::SeqCst));
}

#[test]
fn a_server_that_lets_nobody_in_is_not_taken_for_an_older_one() {
    let server = ScriptedServer::start_as(Age::Before, |_, answer| {
        answer.problem(403, "this host is not known");
    });
    let (folder, url) = (folder(), server.url());
    let line = format!("session end {SESSION}");
    let output = run(folder.path(), &with_server(&line, &url));
    assert_eq!(code(&output), 1);
    let said = err(&output);
    assert!(said.contains("this host is not known"), "{said}");
    assert!(!said.contains("older than"), "{said}");
}

#[test]
fn a_message_to_an_older_server_is_not_sent_again_to_the_newer_one_that_took_its_place() {
    let turn = Turn {
        stream: |events| {
            events.send_raw("event: start\ndata: {}\n\n");
        },
        ..REPLY
    };
    let old = Arc::new(Old::default());
    let known = Arc::clone(&old);
    let server = ScriptedServer::start_as(Age::Before, move |asked, answer| {
        let is_new = asked.line == "GET /readyz" && !known.stored.lock().unwrap().is_empty();
        if is_new {
            answer.json(
                200,
                r#"{"status":"ok","workspace_hash":"00c0ffee00c0ffee"}"#,
            )
        } else {
            answer_as_old(&known, &turn, asked, answer)
        }
    });
    let (folder, url) = (folder(), server.url());
    let output = run_with_input(folder.path(), &with_server("chat -a helper", &url), "hi");
    assert_eq!(code(&output), 1, "{}", err(&output));
    assert!(err(&output).contains("is unknown"), "{}", err(&output));
    assert_eq!(stored(&old).len(), 1);
}

#[test]
fn one_comes_back_to_a_session_talks_in_it_and_leaves() {
    let (server, old) = old_server(REPLY);
    let (folder, url) = (folder(), server.url());
    let line = ["attach", SESSION, "-s", &url];
    let mut terminal = Terminal::start(folder.path(), &line);
    terminal.wait_for("older than this program");
    terminal.wait_for("> before");
    terminal.wait_for("indeed");
    for word in ["one", "two"] {
        terminal.wait_for_prompt("> ");
        terminal.type_in(&format!("{word}\r"));
        wait_until(|| stored(&old).iter().any(|body| body.contains(word)));
    }
    terminal.wait_for_times("Good day", 2);
    terminal.wait_for_prompt("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    assert_eq!(times(&terminal.shown(), "Good day"), 2);
    assert_eq!(stored(&old).len(), 2);
    // It was never asked for what it has not.
    let asked = server.asked();
    assert!(!asked.iter().any(|asked| asked.line.contains("/events")));
}

#[test]
fn an_approval_is_answered_and_what_follows_it_is_shown_once() {
    fn ask(events: &mut Events) {
        events.send_raw("event: start\ndata: {}\n\n");
        let asked = r#"{"call_id":"c1","command":"rm x"}"#;
        events.send_raw(&format!("event: approval_required\ndata: {asked}\n\n"));
    }
    fn ask_and_go_on(events: &mut Events) {
        ask(events);
        // As long as a command takes; what it answers may come by then, too.
        std::thread::sleep(Duration::from_millis(500));
        events.send_raw("event: token\ndata: {\"content\":\"It is gone.\"}\n\n");
        events.send_raw("event: done\ndata: {}\n\n");
    }
    for stream in [ask as fn(&mut Events), ask_and_go_on] {
        let (server, old) = old_server(Turn {
            stream,
            approved: r#"{"status":"complete","message_id":"m","content":"It is gone."}"#,
            ..REPLY
        });
        let (folder, url) = (folder(), server.url());
        let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "-s", &url]);
        terminal.wait_for_prompt("> ");
        terminal.type_in("remove it\r");
        terminal.wait_for("    rm x");
        terminal.wait_for_prompt("? ");
        terminal.type_in("y\r");
        wait_until_asked(&server, "/approve");
        terminal.wait_for("It is gone.");
        terminal.wait_for_prompt("> ");
        terminal.type_in("\u{4}");
        assert_eq!(terminal.wait_for_exit().code(), Some(0));
        assert_eq!(times(&terminal.shown(), "It is gone."), 1);
        assert_eq!(stored(&old).len(), 1);
        let asked = server.asked();
        let answers = asked.iter().filter(|asked| asked.line.contains("/approve"));
        assert_eq!(answers.count(), 1);
    }
}

#[test]
fn a_second_question_after_a_decision_is_asked() {
    let (server, _) = old_server(Turn {
        stream: |events| {
            events.send_raw(
                "event: approval_required\ndata: {\"call_id\":\"c1\",\"command\":\"rm x\"}\n\n",
            );
        },
        approved: r#"{"status":"pending_approval","call_id":"c2","command":"rm y"}"#,
        ..REPLY
    });
    let (folder, url) = (folder(), server.url());
    let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "-s", &url]);
    terminal.wait_for_prompt("> ");
    terminal.type_in("remove them\r");
    terminal.wait_for("    rm x");
    terminal.wait_for_prompt("? ");
    terminal.type_in("y\r");
    terminal.wait_for("    rm y");
    terminal.wait_for_prompt("? ");
    terminal.type_in("n\r");
    wait_until(|| {
        let asked = server.asked().into_iter();
        let answers = asked.filter(|asked| asked.line.contains("/approve"));
        answers.count() == 2
    });
    let last = server.asked().pop().unwrap();
    assert!(last.body.contains(r#""call_id":"c2""#) && last.body.contains("deny"));
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_question_that_waits_is_asked_of_who_comes_back() {
    let (server, _) = old_server(Turn {
        approved: r#"{"status":"complete","content":"It is gone."}"#,
        pending: r#""pending_approval":{"call_id":"c1","command":"rm x"},"#,
        ..REPLY
    });
    let (folder, url) = (folder(), server.url());
    let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "-s", &url]);
    terminal.wait_for("    rm x");
    terminal.wait_for_prompt("? ");
    terminal.type_in("y\r");
    terminal.wait_for("It is gone.");
    terminal.wait_for_prompt("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn a_message_that_did_not_get_through_stands_at_the_prompt_and_is_sent_when_the_user_says_so() {
    let (server, old) = old_server(Turn {
        stream: |_| {},
        ..REPLY
    });
    let (folder, url) = (folder(), server.url());
    let mut terminal = Terminal::start(folder.path(), &["attach", SESSION, "-s", &url]);
    terminal.wait_for_prompt("> ");
    terminal.type_in("my words\r");
    terminal.wait_for("may have arrived");
    terminal.wait_for_prompt("> my words");
    assert_eq!(stored(&old).len(), 1);
    terminal.type_in("\r");
    wait_until(|| stored(&old).len() == 2);
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn no_server_is_started_beside_one_that_may_have_the_same_files() {
    let (server, old) = old_server(REPLY);
    let address = server.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let folder = workspace_folder();
    fs::write(
        folder.path().join("duragent.yaml"),
        format!("server: {{port: {port}}}\n"),
    )
    .unwrap();
    for line in [&["chat"][..], &["attach", SESSION]] {
        let output = run_with_input(folder.path(), line, "hi");
        let text = err(&output);
        assert_eq!(code(&output), 1, "{text}");
        assert!(text.contains(&format!("-s http://{address}")), "{text}");
        assert!(text.contains(&format!("serve stop -p {port}")), "{text}");
    }
    assert!(!folder.path().join(".duragent/lock").exists());
    assert_eq!(stored(&old), Vec::<String>::new());
}

#[test]
fn nobody_looks_on() {
    let (server, _) = old_server(REPLY);
    let line = ["attach", SESSION, "--readonly", "-s", &server.url()];
    let output = run(folder().path(), &line);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("look on"), "{}", err(&output));
}

#[test]
fn its_status_is_told() {
    let (server, _) = old_server(REPLY);
    let address = server.address();
    let (_, port) = address.rsplit_once(':').unwrap();
    let output = run(folder().path(), &["serve", "status", "-p", port]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        format!("http://{address}  ready  an older version\n"),
    );
}
