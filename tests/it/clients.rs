//! The real program and its clients: many, slow, leaving, coming back, and saying things twice.

use crate::support::bench::{Bench, asking, echo};
use crate::support::process::{Limited as _, duragent, end_of};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, error, pieces, text, tool_call};
use crate::support::server::{Answer, Event, EventStream, Server, Workspace, eventually, text_of};

fn model_server(model: &FakeModel, on_disconnect: &str) -> (Workspace, Server) {
    let session = format!("on_disconnect: {on_disconnect}");
    Bench::new()
        .agent(asking("helper", model).session(&session))
        .serve()
        .apart()
}

fn of(session: &str, rest: &str) -> String {
    format!("/api/v1/sessions/{session}{rest}")
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

fn state(server: &Server, session: &str) -> Value {
    server.get(&of(session, "")).json()
}

fn wait_for_attached(server: &Server, session: &str, count: u64) {
    eventually("clients come or leave", || {
        (state(server, session)["attached"] == count).then_some(())
    });
}

fn wait_for_status(server: &Server, session: &str, status: &str) {
    eventually(status, || {
        (state(server, session)["status"] == status).then_some(())
    });
}

/// What the server's process holds in memory, in KiB.
fn memory_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

// --- what is acknowledged is on disk ---

#[test]
fn what_is_acknowledged_is_in_the_file() {
    let model = FakeModel::start();
    let (workspace, server) = model_server(&model, "continue");
    let created = server.create_session("helper");
    assert_eq!(workspace.log_of(&created)[0]["type"], "session_start");
    let holds = |session: &str, content: &str| {
        let log = workspace.log_of(session);
        log.iter().any(|line| line["content"] == content)
    };
    for round in 0..20 {
        let content = format!("streamed {round}");
        let mut stream = server.stream(&created, &content);
        let start = stream.expect("start");
        assert!(holds(&created, &content), "at its start");
        let seq = usize::try_from(start.data["seq"].as_u64().unwrap()).unwrap();
        let line = &workspace.log_of(&created)[seq - 1];
        assert_eq!(line["message_id"], start.data["message_id"]);
        // Each event that is shown is in the file by then, too.
        let done = stream.until("done").pop().unwrap();
        let seq: usize = done.id.parse().unwrap();
        assert!(workspace.log_of(&created).len() >= seq);

        let content = format!("asked {round}");
        let asynchronous = [("Prefer", "respond-async")];
        let body = json!({ "content": content });
        let path = of(&created, "/messages");
        assert_eq!(
            server.send_json("POST", &path, &asynchronous, &body).status,
            202
        );
        assert!(holds(&created, &content), "at its 202");
        assert_eq!(server.say(&created, "and wait").status, 200);
    }
}

#[test]
fn text_is_in_the_journal_before_a_client_sees_it() {
    let model = FakeModel::start();
    model.reply(text("one two three four five ").and_stall());
    let (workspace, server) = model_server(&model, "continue");
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "count");
    let mut seen = Vec::new();
    while text_of(&seen) != "one two three four five " {
        seen.push(stream.next().unwrap());
        let journal = workspace.read(&format!(".duragent/sessions/{session}/inflight.jsonl"));
        let kept: String = journal
            .split_inclusive('\n')
            .skip(1)
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|piece| piece["text"].as_str().unwrap().to_owned())
            .collect();
        assert!(kept.starts_with(&text_of(&seen)), "{kept:?} lacks {seen:?}");
    }
    model.release();
}

// --- the same key is the same message ---

fn say_keyed(server: &Server, session: &str, key: &str, content: &str) -> Answer {
    let headers = [("Idempotency-Key", key)];
    let body = json!({ "content": content });
    server.send_json("POST", &of(session, "/messages"), &headers, &body)
}

fn stream_keyed(server: &Server, session: &str, key: &str, content: &str) -> EventStream {
    let headers = [
        ("Content-Type", "application/json"),
        ("Idempotency-Key", key),
    ];
    let body = json!({ "content": content }).to_string();
    server.open_stream("POST", &of(session, "/stream"), &headers, body.as_bytes())
}

#[test]
fn a_key_has_one_outcome_for_all_who_repeat_it_also_after_a_restart() {
    let model = FakeModel::start();
    model.reply(text("paid").and_stall());
    let (workspace, mut server) = model_server(&model, "continue");
    let session = server.create_session("helper");
    let (bodies, streams) = thread::scope(|scope| {
        let (server, session) = (&server, &session);
        let say = || say_keyed(server, session, "k-1", "pay");
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(say)).collect();
        let follow = || stream_keyed(server, session, "k-1", "pay").rest();
        let followers: Vec<_> = (0..4).map(|_| scope.spawn(follow)).collect();
        wait_for_attached(server, session, 8);
        model.wait_for_stalls(1);
        model.release();
        let bodies: Vec<Answer> = callers.into_iter().map(|one| one.join().unwrap()).collect();
        let streams: Vec<_> = followers
            .into_iter()
            .map(|one| one.join().unwrap())
            .collect();
        (bodies, streams)
    });
    for answer in &bodies {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), bodies[0].json());
    }
    for stream in &streams {
        assert_eq!(text_of(stream), "paid");
        assert_eq!(stream.first(), streams[0].first());
        assert_eq!(stream.last(), streams[0].last());
    }
    server.kill();
    let server = Server::start(&workspace, &[]);
    assert_eq!(
        say_keyed(&server, &session, "k-1", "pay").json(),
        bodies[0].json()
    );
    let repeated = stream_keyed(&server, &session, "k-1", "pay").rest();
    assert_eq!(names(&repeated), ["start", "token", "done"]);
    assert_eq!(repeated.last(), streams[0].last());
    assert_eq!(say_keyed(&server, &session, "k-1", "pay more").status, 409);
    assert_eq!(model.request_count(), 1);
    let log = workspace.log_of(&session);
    let stored = log.iter().filter(|line| line["type"] == "user_message");
    assert_eq!(stored.count(), 1);
}

#[test]
fn a_failure_is_repeated_too() {
    let model = FakeModel::start();
    model.reply(error(400, "no such model"));
    let (workspace, mut server) = model_server(&model, "continue");
    let session = server.create_session("helper");
    let first = say_keyed(&server, &session, "k-1", "hello");
    assert_eq!(first.status, 502, "{}", first.text());
    let again = say_keyed(&server, &session, "k-1", "hello");
    assert_eq!((again.status, again.json()), (502, first.json()));
    server.kill();
    let server = Server::start(&workspace, &[]);
    let again = say_keyed(&server, &session, "k-1", "hello");
    assert_eq!((again.status, again.json()), (502, first.json()));
    let streamed = stream_keyed(&server, &session, "k-1", "hello").rest();
    assert_eq!(names(&streamed), ["start", "error"]);
    assert_eq!(model.request_count(), 1);
}

#[test]
fn a_key_of_a_message_whose_turn_a_kill_cut_off_gets_its_outcome() {
    let model = FakeModel::start();
    model.reply(text("half ").and_stall()).then(text("whole"));
    let (workspace, mut server) = model_server(&model, "pause");
    let session = server.create_session("helper");
    let mut stream = stream_keyed(&server, &session, "k-1", "hello");
    stream.until("token");
    server.kill();
    let server = Server::start(&workspace, &[]);
    let answer = say_keyed(&server, &session, "k-1", "hello");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["content"], "half whole");
}

#[test]
fn a_session_is_created_once_for_a_key_also_after_a_restart() {
    let model = FakeModel::start();
    let (workspace, mut server) = model_server(&model, "pause");
    let create = |server: &Server| {
        let key = [("Idempotency-Key", "new-1")];
        let answer = server.send_json(
            "POST",
            "/api/v1/sessions",
            &key,
            &json!({"agent": "helper"}),
        );
        assert_eq!(answer.status, 201);
        answer.json()["session_id"].clone()
    };
    let ids: Vec<Value> = thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&server))).collect();
        callers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    server.kill();
    let server = Server::start(&workspace, &[]);
    assert_eq!(create(&server), ids[0]);
    let listed = server.get("/api/v1/sessions").json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);
}

// --- many clients ---

/// Reads on until the tokens make up this text.
fn until_said(stream: &mut EventStream, words: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut said = String::new();
    while said != words {
        let event = stream.next();
        let event = event.unwrap_or_else(|| panic!("the stream ended after {events:#?}"));
        said += &text_of(std::slice::from_ref(&event));
        events.push(event);
    }
    events
}

#[test]
fn a_hundred_clients_see_the_same_events_with_the_same_ids() {
    const CLIENTS: usize = 100;
    let model = FakeModel::start();
    let words = "word ".repeat(300);
    model.reply(
        text(&words)
            .each_after(Duration::from_millis(2))
            .and_stall(),
    );
    let (_workspace, server) = model_server(&model, "continue");
    let session = server.create_session("helper");
    let mut first = server.events(&session, "", None);
    first.expect("session");
    let before_kib = memory_kib(&server);
    let _asker = server.stream(&session, "go on");
    // They come while it streams, so each sees the rest from its moment on.
    let mut clients: Vec<EventStream> = (0..CLIENTS)
        .map(|_| server.events(&session, "history=0", None))
        .collect();
    wait_for_attached(&server, &session, CLIENTS as u64 + 2);
    // While a reply streams each piece is an event of its own for all; who is behind when it ends
    // gets the rest in one piece.
    let mut all = until_said(&mut first, &words);
    let mut seen: Vec<Vec<Event>> = clients
        .iter_mut()
        .map(|client| until_said(client, &words))
        .collect();
    model.release();
    all.extend(first.until("done"));
    for (client, seen) in clients.iter_mut().zip(&mut seen) {
        seen.extend(client.until("done"));
        assert_eq!(seen.remove(0).name, "session");
        // Who came in the middle of the reply got the text so far as one token.
        let first_token = seen.iter().position(|event| event.name == "token").unwrap();
        let own = &seen[first_token + 1..];
        assert!(all.ends_with(own), "{:#?}", &own[..own.len().min(3)]);
    }
    let grown_kib = memory_kib(&server).saturating_sub(before_kib);
    assert!(
        grown_kib < 100 << 10,
        "{grown_kib} KiB for {CLIENTS} clients"
    );
}

#[test]
fn a_client_that_reads_nothing_delays_nobody_and_catches_up() {
    const WORDS: usize = 400_000;
    let server = Bench::new().agent(echo("echo").continues()).serve();
    let session = server.create_session("echo");
    let mut slow = server.events(&session, "", None);
    let opening = slow.expect("session");
    let before_kib = memory_kib(&server);
    // Some megabytes of events, far beyond what sockets hold.
    let said = server.say(&session, &format!("/repeat {WORDS}\nword "));
    assert_eq!(said.status, 200, "{}", said.text());
    let whole = said.json()["content"].as_str().unwrap().to_owned();
    assert!(whole.len() > 4 * WORDS);
    // Another message is answered at once, and so is another session.
    assert_eq!(server.say(&session, "quick").json()["content"], "quick");
    let other = server.create_session("echo");
    assert_eq!(server.say(&other, "quick").json()["content"], "quick");
    let grown_kib = memory_kib(&server).saturating_sub(before_kib);
    assert!(grown_kib < 64 << 10, "{grown_kib} KiB for a slow client");
    // It left long ago, and comes back where it stood.
    drop(slow);
    let mut back = server.events(&session, "", Some(&opening.id));
    let seen = back.until("done");
    // A long text comes in pieces, so that nobody holds it twice for one who reads slowly.
    let mut told = names(&seen);
    told.dedup();
    assert_eq!(told, ["user_message", "token", "message", "done"]);
    assert_eq!(text_of(&seen), whole);
    assert_eq!(back.until("done").len(), 4);
}

/// The names of the server's threads.
fn threads(server: &Server) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    // One that ends meanwhile has no name any more.
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

fn wait_for_shared_thread(server: &Server) {
    eventually("all streams share one thread", || {
        let threads = threads(server);
        let own = threads.iter().filter(|name| name.starts_with("sse-"));
        let shared = threads.iter().filter(|name| *name == "streams");
        (own.count() == 0 && shared.count() == 1).then_some(())
    });
}

#[test]
fn streams_that_have_shown_all_there_is_share_one_thread() {
    let model = FakeModel::start();
    model.default_reply(text("half ").and_stall().and_text("done"));
    let (_workspace, server) = model_server(&model, "continue");
    let sessions: Vec<String> = (0..8).map(|_| server.create_session("helper")).collect();
    let mut clients: Vec<EventStream> = Vec::new();
    for session in &sessions {
        clients.extend((0..4).map(|_| server.events(session, "", None)));
        clients.push(server.stream(session, "hello"));
    }
    for client in &mut clients {
        until_said(client, "half ");
    }
    wait_for_shared_thread(&server);
    sessions.iter().for_each(|_| model.release());
    for client in &mut clients {
        assert_eq!(text_of(&client.until("done")), "done");
    }
    drop(clients);
    for session in &sessions {
        wait_for_attached(&server, session, 0);
    }
}

#[test]
fn a_stream_that_has_fallen_behind_reads_the_log_and_shares_the_thread_again() {
    // More than sockets hold, and then more events than are kept in memory: four for each message.
    // No more than that: all of it must be said before the slow client is given up.
    const WORDS: usize = 200_000;
    const MESSAGES: usize = 80;
    let server = Bench::new()
        .agent(echo("echo"))
        .config("server:\n  keep_alive_interval_seconds: 60")
        .serve();
    let session = server.create_session("echo");
    let mut slow = server.events(&session, "", None);
    slow.expect("session");
    wait_for_shared_thread(&server);
    let said = server.say(&session, &format!("/repeat {WORDS}\nword "));
    let mut want = said.json()["content"].as_str().unwrap().to_owned();
    for number in 0..MESSAGES {
        let word = format!("{number} ");
        assert_eq!(server.say(&session, &word).status, 200);
        want += &word;
    }
    let mut seen = String::new();
    for _ in 0..=MESSAGES {
        seen += &text_of(&slow.until("done"));
    }
    assert!(seen == want, "{} of {} bytes", seen.len(), want.len());
    wait_for_shared_thread(&server);
    server.say(&session, "live");
    assert_eq!(text_of(&slow.until("done")), "live");
    // It was the news that moved it, and not a sign of life that was due.
    assert_eq!(slow.comments, Vec::<String>::new());
}

/// How often the thread that the streams share has slept.
fn sleeps_of_streams(server: &Server) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let states =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).ok());
    let mut shared = states.filter(|state| state.starts_with("Name:\tstreams\n"));
    let state = shared.next().unwrap();
    let mut lines = state.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn a_stream_whose_client_takes_nothing_does_nothing_when_there_is_news() {
    let server = Bench::new()
        .agent(echo("echo"))
        .config("server:\n  keep_alive_interval_seconds: 60")
        .serve();
    let session = server.create_session("echo");
    let mut slow = server.events(&session, "", None);
    slow.expect("session");
    wait_for_shared_thread(&server);
    // More than sockets hold.
    assert_eq!(server.say(&session, "/repeat 400000\nword ").status, 200);
    eventually("the streams sleep through the news", || {
        let before = sleeps_of_streams(&server);
        for _ in 0..10 {
            assert_eq!(server.say(&session, "news").status, 200);
        }
        (sleeps_of_streams(&server) == before).then_some(())
    });
    // It hears of the client's leaving all the same.
    drop(slow);
    wait_for_attached(&server, &session, 0);
}

/// Takes as long as the server is patient.
#[test]
#[ignore = "30 s: what the server waits for a client that takes nothing"]
fn a_client_that_reads_nothing_is_cut_off() {
    let server = Bench::new().agent(echo("echo")).serve();
    let session = server.create_session("echo");
    let _slow = server.events(&session, "", None);
    wait_for_attached(&server, &session, 1);
    assert_eq!(server.say(&session, "/repeat 900000\nword ").status, 200);
    let deadline = Instant::now() + Duration::from_secs(60);
    while state(&server, &session)["attached"] != 0 {
        assert!(Instant::now() < deadline, "it is still attached");
        thread::sleep(Duration::from_millis(200));
    }
}

// --- leaving ---

/// Marks the process that has a network of its own, whose end the client's machine dies with.
const OWN_NETWORK: &str = "DURAGENT_TEST_OWN_NETWORK";

/// The connection is not closed: from one moment on nothing arrives any more, in neither direction.
#[test]
#[ignore = "45 s: what the server waits for a client that is not heard of"]
fn a_client_that_vanished_is_noticed() {
    if std::env::var_os(OWN_NETWORK).is_some() {
        return vanish();
    }
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact"])
        .arg("clients::a_client_that_vanished_is_noticed")
        .env(OWN_NETWORK, "1")
        .output_in_time()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn vanish() {
    let loopback = |state: &str| {
        let mut set = Command::new("ip");
        set.args(["link", "set", "lo", state]);
        assert!(set.status_in_time().unwrap().success());
    };
    loopback("up");
    let (workspace, server) = Bench::new()
        .agent(echo("ada").pauses().builtin("bash"))
        .serve()
        .apart();
    let session = server.create_session("ada");
    // A reply of 42 s, and a call after it, which nobody is to be asked about.
    let words = "/slow 1000\n/repeat 42\nword \n/tool bash {\"command\": \"true\"}";
    let mut stream = server.stream(&session, words);
    stream.expect("start");
    stream.expect("token");
    loopback("down");
    let deadline = Instant::now() + Duration::from_secs(60);
    let what_came = loop {
        let log = workspace.log_of(&session);
        let reply = log
            .iter()
            .position(|event| event["type"] == "assistant_response");
        if let Some(next) = reply.and_then(|at| log.get(at + 1)) {
            break next["type"].clone();
        }
        assert!(Instant::now() < deadline, "{log:#?}");
        thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(what_came, "status_change", "the turn pauses");
}

/// A request whose answer is not read; dropping it leaves.
fn begin(server: &Server, session: &str, rest: &str, content: &str) -> TcpStream {
    let body = json!({ "content": content }).to_string();
    let mut socket = TcpStream::connect(server.address).unwrap();
    let path = of(session, rest);
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    )
    .unwrap();
    socket
}

#[test]
fn a_closed_connection_is_noticed_within_a_second() {
    let model = FakeModel::start();
    model.default_reply(text("a ").and_stall());
    let (_workspace, server) = model_server(&model, "pause");
    let session = server.create_session("helper");
    let attach = || {
        let mut stream = server.events(&session, "", None);
        stream.expect("session");
        Box::new(stream) as Box<dyn std::any::Any>
    };
    let leaves: [&dyn Fn() -> Box<dyn std::any::Any>; 3] = [
        &attach,
        &|| Box::new(begin(&server, &session, "/stream", "hello")),
        &|| Box::new(begin(&server, &session, "/messages", "hello")),
    ];
    for (at, come) in leaves.iter().enumerate() {
        let client = come();
        wait_for_attached(&server, &session, 1);
        let left_at = Instant::now();
        drop(client);
        wait_for_attached(&server, &session, 0);
        let noticed = left_at.elapsed();
        // A second is promised; the rest is for a busy machine.
        assert!(noticed < Duration::from_secs(3), "client {at}: {noticed:?}");
    }
}

#[test]
fn a_turn_pauses_when_the_last_client_is_gone_whatever_it_had_open() {
    for rest in ["/events", "/stream", "/messages"] {
        let model = FakeModel::start();
        model
            .reply(text("a moment ").and_stall().and_call("date", "{}"))
            .then(text("late"));
        let (workspace, server) = model_server(&model, "pause");
        let session = server.create_session("helper");
        let mut first = server.events(&session, "", None);
        first.expect("session");
        let asker = (rest != "/events").then(|| begin(&server, &session, rest, "when?"));
        if asker.is_none() {
            drop(server.stream(&session, "when?").expect("start"));
        }
        model.wait_for_stalls(1);
        let mut silent = server.events(&session, "readonly=true", None);
        silent.expect("session");
        // One of two is still there.
        drop(first);
        let open = u64::from(asker.is_some());
        wait_for_attached(&server, &session, open);
        drop(asker);
        wait_for_attached(&server, &session, 0);
        model.release();
        wait_for_status(&server, &session, "paused");
        // The reply was finished and kept; its call has not run.
        let log = workspace.log_of(&session);
        let last = |kind: &str| log.iter().rfind(|line| line["type"] == kind).cloned();
        assert_eq!(last("assistant_response").unwrap()["content"], "a moment ");
        assert_eq!(last("tool_result"), None, "{rest}");
        assert_eq!(model.request_count(), 1);
        // It goes on for one who attaches, and may have ended before the stream begins.
        let _back = server.events(&session, "", None);
        eventually("the turn goes on", || {
            let path = format!("/api/v1/sessions/{session}/messages");
            let said = server.get(&path).json();
            let last = said["messages"].as_array()?.last()?.clone();
            (last["content"] == "late").then_some(())
        });
    }
}

#[test]
fn a_turn_goes_on_while_one_of_several_clients_is_there() {
    let model = FakeModel::start();
    model
        .reply(text("a moment ").and_stall().and_call("date", "{}"))
        .then(text("late"));
    let (_workspace, server) = model_server(&model, "pause");
    let session = server.create_session("helper");
    let mut stays = server.events(&session, "", None);
    stays.expect("session");
    let asker = begin(&server, &session, "/stream", "when?");
    model.wait_for_stalls(1);
    drop(asker);
    wait_for_attached(&server, &session, 1);
    model.release();
    let seen = stays.until("done");
    assert_eq!(text_of(&seen), "a moment late");
}

#[test]
fn a_paused_turn_goes_on_with_the_next_message() {
    let model = FakeModel::start();
    model
        .reply(tool_call("date", "{}").and_stall())
        .then(text("both"));
    let (_workspace, server) = model_server(&model, "pause");
    let session = server.create_session("helper");
    drop(begin_and_stall(&server, &session, &model));
    wait_for_attached(&server, &session, 0);
    model.release();
    wait_for_status(&server, &session, "paused");
    let answer = server.say(&session, "and now?");
    assert_eq!(answer.json()["content"], "both", "{}", answer.text());
    let asked = model.requests();
    assert_eq!(asked[1].last_message(), "and now?");
}

fn begin_and_stall(server: &Server, session: &str, model: &FakeModel) -> TcpStream {
    let client = begin(server, session, "/stream", "when?");
    model.wait_for_stalls(1);
    client
}

#[test]
fn a_session_that_continues_and_a_message_sent_asynchronously_need_nobody() {
    for (on_disconnect, prefer) in [("continue", None), ("pause", Some("respond-async"))] {
        let model = FakeModel::start();
        model
            .reply(text("a moment ").and_stall().and_call("date", "{}"))
            .then(text("late"));
        let (workspace, server) = model_server(&model, on_disconnect);
        let session = server.create_session("helper");
        match prefer {
            None => drop(begin_and_stall(&server, &session, &model)),
            Some(prefer) => {
                let path = of(&session, "/messages");
                let body = json!({"content": "when?"});
                server.send_json("POST", &path, &[("Prefer", prefer)], &body);
            }
        }
        wait_for_attached(&server, &session, 0);
        model.release();
        let end = eventually("the turn ends", || {
            let log = workspace.log_of(&session);
            log.into_iter().find(|line| line["type"] == "turn_ended")
        });
        assert_eq!(end["outcome"], "completed", "{on_disconnect}");
    }
}

#[test]
fn one_who_sends_the_others_away_is_the_only_one_left() {
    let model = FakeModel::start();
    model.reply(text("a ").and_stall().and_text("b"));
    let (_workspace, server) = model_server(&model, "pause");
    let session = server.create_session("helper");
    let mut others: Vec<EventStream> = (0..3).map(|_| server.events(&session, "", None)).collect();
    let mut silent = server.events(&session, "readonly=true", None);
    silent.expect("session");
    wait_for_attached(&server, &session, 3);
    let mut alone = server.events(&session, "detach_others=true", None);
    alone.expect("session");
    for other in &mut others {
        assert_eq!(names(&other.rest()), ["session", "detached"]);
        assert_eq!(other.comments.last().unwrap(), "another client took over");
    }
    wait_for_attached(&server, &session, 1);
    model.release();
    assert_eq!(server.say(&session, "go").status, 200);
    for stream in [&mut alone, &mut silent] {
        assert_eq!(text_of(&stream.until("done")), "a b");
    }
}

/// `attach --readonly`, which needs no terminal: what it prints goes to `output`.
fn look_on(workspace: &Workspace, session: &str, output: &std::path::Path) -> std::process::Child {
    duragent(workspace.path())
        .args(["attach", session, "--readonly"])
        .stdout(std::fs::File::create(output).unwrap())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn one_who_looks_on_sees_what_happens_counts_for_nothing_and_ends_with_the_session() {
    let model = FakeModel::start();
    model.reply(text("it is late"));
    let (workspace, server) = model_server(&model, "pause");
    let session = server.create_session("helper");
    let output = workspace.path().join("shown.txt");
    let mut looking = look_on(&workspace, &session, &output);
    assert_eq!(server.say(&session, "what time is it?").status, 200);
    let shown = || std::fs::read_to_string(&output).unwrap();
    eventually("the answer to be shown", || {
        (shown().contains("what time is it?") && shown().contains("it is late")).then_some(())
    });
    let view = server.get(&format!("/api/v1/sessions/{session}")).json();
    assert_eq!(view["attached"], 0);
    server.delete(&format!("/api/v1/sessions/{session}?keep=true"));
    assert!(end_of(&mut looking).success());
    assert!(shown().contains("the session has ended"), "{}", shown());
}

#[test]
fn one_who_waits_for_an_answer_is_told_why_it_is_empty() {
    let model = FakeModel::start();
    model.reply(pieces(&[])).then(text("here I am"));
    let (_workspace, server) = model_server(&model, "continue");
    let session = server.create_session("helper");
    let path = of(&session, "/messages");
    let say = |key: &str| {
        let body = json!({"content": "are you there?"});
        let said = server.send_json("POST", &path, &[("Idempotency-Key", key)], &body);
        assert_eq!(said.status, 200);
        said.json()
    };
    let silent = say("k-1");
    assert_eq!(silent["content"], "");
    assert_eq!(silent["notices"][0]["code"], "empty_reply", "{silent}");
    assert!(silent["notices"][0]["message"].is_string(), "{silent}");
    // Also who asks once more.
    assert_eq!(say("k-1"), silent);
    let said = say("k-2");
    assert_eq!(said["content"], "here I am");
    assert_eq!(said.get("notices"), None);
}
