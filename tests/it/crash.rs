//! The real program, killed with SIGKILL and stopped with SIGTERM, and started again on the same
//! files: what was said stays said, and turns go on.

use crate::support::bench::{Bench, asking, echo};
use crate::support::process::Limited as _;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fake_model::{Asked, FakeModel, error, stall, text, tool_call};
use crate::support::server::{Event, EventStream, Launch, Server, Workspace, eventually, text_of};

fn workspace(model: &FakeModel) -> Workspace {
    let helper = asking("helper", model).continues();
    Bench::new().agent(helper).workspace()
}

fn pausing_workspace(model: &FakeModel) -> Workspace {
    let helper = asking("helper", model).pauses();
    Bench::new().agent(helper).workspace()
}

/// Kills the server and starts another one on the same files.
fn restart(mut server: Server, workspace: &Workspace) -> Server {
    server.kill();
    // A loop of crashes is what these tests are about: it must not leave the turns waiting.
    Server::start(workspace, &["--resume", "always"])
}

/// Reads on until the tokens make up this text.
fn until_said(stream: &mut EventStream, words: &str) -> Vec<Event> {
    let mut events = Vec::new();
    while text_of(&events) != words {
        let event = stream.next();
        events.push(event.unwrap_or_else(|| panic!("the stream ended after {events:#?}")));
    }
    events
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

/// The roles and texts that the model was given.
fn conversation(asked: &Asked) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    asked
        .messages()
        .iter()
        .map(|message| (word(&message["role"]), word(&message["content"])))
        .collect()
}

fn messages(server: &Server, session: &str) -> Vec<Value> {
    let path = format!("/api/v1/sessions/{session}/messages");
    let body = server.get(&path).json();
    body["messages"].as_array().unwrap().clone()
}

fn of_type<'a>(log: &'a [Value], kind: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["type"] == kind).collect()
}

/// The log of the session, once its turn has ended and the server shows that, too.
fn wait_for_turn_end(server: &Server, workspace: &Workspace, session: &str) -> Vec<Value> {
    eventually("the turn ends", || {
        let log = workspace.log_of(session);
        let has_ended = !of_type(&log, "turn_ended").is_empty();
        let path = format!("/api/v1/sessions/{session}");
        (has_ended && server.get(&path).json()["working"] == false).then_some(log)
    })
}

// --- killed in the middle of a reply ---

#[test]
fn a_reply_cut_off_by_a_kill_goes_on_by_itself_and_is_one_message() {
    let model = FakeModel::start();
    model
        .reply(text("the first half").and_stall())
        .then(text(", the second").and_stall().and_text(" half"));
    let workspace = workspace(&model);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut watcher = server.events(&session, "", None);
    watcher.expect("session");
    let mut stream = server.stream(&session, "tell me");
    let followed = until_said(&mut stream, "the first half");
    let watched = until_said(&mut watcher, "the first half");
    let server = restart(server, &workspace);
    assert_eq!(stream.rest(), []);

    let asked = model.wait_for_requests(2);
    let given = conversation(&asked[1]);
    assert_eq!(
        given[..2],
        [
            ("user".to_owned(), "tell me".to_owned()),
            ("assistant".to_owned(), "the first half".to_owned()),
        ]
    );
    assert!(given[2].1.contains("Continue"), "{given:?}");
    model.wait_for_stalls(1);
    // Everybody comes back in the middle of the continuation.
    let last_ids = [&followed, &watched].map(|seen| seen.last().unwrap().id.clone());
    let mut streams = last_ids.map(|id| server.events(&session, "", Some(&id)));
    for stream in &mut streams {
        until_said(stream, ", the second");
    }
    model.release();
    for stream in &mut streams {
        let rest = stream.until("done");
        assert_eq!(text_of(&rest), " half");
        assert_eq!(names(&rest)[rest.len() - 2..], ["message", "done"]);
        assert_eq!(
            rest[rest.len() - 2].data["content"],
            "the first half, the second half"
        );
    }
    let log = workspace.log_of(&session);
    let parts = of_type(&log, "assistant_response");
    assert_eq!(parts[0]["finish_reason"], "interrupted");
    assert_eq!(parts[0]["content"], "the first half");
    let model_name = parts[0]["model"].as_str().unwrap();
    assert_eq!(model_name, parts[1]["model"]);
    assert!(!model_name.is_empty());
    assert_eq!(parts[1]["continues"], parts[0]["message_id"]);
    let shown = messages(&server, &session);
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert_eq!(shown[1]["message_id"], parts[0]["message_id"]);
    assert_eq!(shown[1]["content"], "the first half, the second half");
}

#[test]
fn every_id_seen_before_and_after_kills_leads_to_exactly_the_rest() {
    let model = FakeModel::start();
    model
        .reply(text("one two three").and_stall())
        .then(text(" four five").and_stall())
        .then(text(" six seven"));
    let whole = "one two three four five six seven";
    let workspace = workspace(&model);
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "count");
    let mut seen = until_said(&mut stream, "one two three");
    for (kill, more) in [" four five", " six seven"].into_iter().enumerate() {
        server = restart(server, &workspace);
        model.wait_for_requests(kill + 2);
        let mut stream = server.events(&session, "", Some(&seen.last().unwrap().id));
        seen.extend(until_said(&mut stream, more));
    }
    wait_for_turn_end(&server, &workspace, &session);
    for at in 0..seen.len() {
        let mut again = server.events(&session, "", Some(&seen[at].id));
        let rest = again.until("done");
        let both = text_of(&seen[..=at]) + &text_of(&rest);
        assert_eq!(both, whole, "after {:?}", seen[at]);
        assert_eq!(
            names(&rest).iter().filter(|name| **name == "done").count(),
            1
        );
    }
}

#[test]
fn a_session_that_pauses_waits_after_a_kill_and_goes_on_for_a_client() {
    let model = FakeModel::start();
    model
        .reply(text("half of ").and_stall())
        .then(text("the answer"));
    let workspace = pausing_workspace(&model);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "tell me");
    let seen = until_said(&mut stream, "half of ");
    let server = restart(server, &workspace);
    wait_for_status(&server, &session, "paused");
    assert_eq!(model.request_count(), 1);
    // One who only looks on does not wake it.
    let mut silent = server.events(&session, "readonly=true", None);
    silent.expect("session");
    let mut back = server.events(&session, "", Some(&seen.last().unwrap().id));
    let rest = back.until("done");
    assert_eq!(text_of(&rest), "the answer");
    assert_eq!(model.request_count(), 2);
    assert_eq!(
        messages(&server, &session)[1]["content"],
        "half of the answer"
    );
}

fn wait_for_status(server: &Server, session: &str, status: &str) {
    let path = format!("/api/v1/sessions/{session}");
    eventually(status, || {
        (server.get(&path).json()["status"] == status).then_some(())
    });
}

// --- killed at other moments ---

#[test]
fn a_kill_before_the_first_token_loses_nothing() {
    let model = FakeModel::start();
    model.reply(stall()).then(text("at last"));
    let workspace = workspace(&model);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hello");
    let start = stream.expect("start");
    model.wait_for_stalls(1);
    let server = restart(server, &workspace);
    let mut back = server.events(&session, "", Some(&start.id));
    let rest = back.until("done");
    assert_eq!(text_of(&rest), "at last");
    let log = workspace.log_of(&session);
    let tries = of_type(&log, "turn_started");
    assert_eq!(
        [&tries[0]["trigger"], &tries[1]["trigger"]],
        ["message", "resume"]
    );
    assert_eq!(tries[0]["turn_id"], tries[1]["turn_id"]);
    assert_eq!(of_type(&log, "assistant_response").len(), 1);
}

#[test]
fn a_message_whose_turn_had_not_begun_is_answered_after_a_kill() {
    let model = FakeModel::start();
    model.reply(stall());
    let workspace = workspace(&model);
    workspace.config("sessions:\n  max_active: 1\n");
    let server = Server::start(&workspace, &[]);
    let first = server.create_session("helper");
    let second = server.create_session("helper");
    let _working = server.stream(&first, "first");
    model.wait_for_stalls(1);
    let mut waiting = server.stream(&second, "second");
    waiting.expect("start");
    let kinds: Vec<Value> = workspace.log_of(&second);
    assert_eq!(kinds.last().unwrap()["type"], "user_message");
    let server = restart(server, &workspace);
    for session in [first, second] {
        let log = wait_for_turn_end(&server, &workspace, &session);
        assert_eq!(log.last().unwrap()["outcome"], "completed");
    }
}

#[test]
fn a_kill_while_a_retry_waits_asks_again() {
    let model = FakeModel::start();
    model
        .reply(error(503, "busy").retry_after("20"))
        .then(text("here"));
    let workspace = workspace(&model);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hello");
    let seen = stream.until("notice");
    let server = restart(server, &workspace);
    let mut back = server.events(&session, "", Some(&seen.last().unwrap().id));
    let rest = back.until("done");
    assert_eq!(names(&rest), ["token", "message", "done"]);
    assert_eq!(text_of(&rest), "here");
}

#[test]
fn a_kill_right_after_done_repeats_nothing() {
    let model = FakeModel::start();
    model.reply(text("finished"));
    let workspace = workspace(&model);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let seen = server.stream(&session, "hello").until("done");
    let log = workspace.log_of(&session);
    let server = restart(server, &workspace);
    let mut back = server.events(&session, "", Some(&seen.last().unwrap().id));
    // The next thing it sees is its own next message.
    model.reply(text("again"));
    server.say(&session, "more");
    assert_eq!(back.next().unwrap().name, "user_message");
    assert_eq!(model.request_count(), 2);
    assert_eq!(workspace.log_of(&session)[..log.len()], log);
}

/// What stands in the log at a kill is always some of its appends: each of them is tried.
#[test]
fn a_turn_cut_off_after_any_line_of_its_log_comes_to_the_same_end() {
    let model = FakeModel::start();
    model.reply(tool_call("date", "{}"));
    model.default_reply(text("no idea"));
    let workspace = workspace(&model);
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    assert_eq!(server.say(&session, "what time is it?").status, 200);
    server.kill();
    let whole = workspace.log_of(&session);
    let cut_off = (2..whole.len()).map(|lines| (lines, copy_of_log(&workspace, &session, lines)));
    let cut_off: Vec<(usize, String)> = cut_off.collect();

    let server = Server::start(&workspace, &[]);
    for (lines, copy) in cut_off {
        let log = wait_for_turn_end(&server, &workspace, &copy);
        assert_eq!(log.last().unwrap()["outcome"], "completed", "{lines} lines");
        let shown = messages(&server, &copy);
        assert_eq!(shown.last().unwrap()["content"], "no idea", "{lines} lines");
        // A result that is there is not asked for again; the model's call without one gets one.
        let calls = of_type(&log, "assistant_response").iter().any(|reply| {
            reply["tool_calls"]
                .as_array()
                .is_some_and(|calls| !calls.is_empty())
        });
        let results = of_type(&log, "tool_result").len();
        assert_eq!(results, usize::from(calls), "{lines} lines");
    }
}

/// What parks calls comes with other tools than this program has by itself: here the log says that
/// one did.
#[test]
fn a_parked_call_is_neither_run_nor_asked_about_after_kills_and_can_be_cancelled() {
    let model = FakeModel::start();
    model.reply(tool_call("date", "{}")).then(text("no idea"));
    model.default_reply(text("so be it"));
    let workspace = workspace(&model);
    let mut server = Server::start(&workspace, &[]);
    let whole = server.create_session("helper");
    assert_eq!(server.say(&whole, "what time is it?").status, 200);
    server.kill();
    let session = copy_of_log(&workspace, &whole, 4);
    let asked = model.request_count();
    let reply = workspace.log_of(&session)[3].clone();
    let call = reply["tool_calls"][0]["call_id"].clone();
    let path = format!(".duragent/sessions/{session}/events.jsonl");
    let mut log = workspace.read(&path);
    for (seq, rest) in [
        (
            5,
            json!({"type": "tool_started", "call_id": call, "tool_name": "date"}),
        ),
        (
            6,
            json!({"type": "tool_parked", "call_id": call, "on": "job:1"}),
        ),
    ] {
        let mut line = json!({"seq": seq, "timestamp": reply["timestamp"]});
        let fields = rest.as_object().unwrap().clone();
        line.as_object_mut().unwrap().extend(fields);
        log.push_str(&format!("{line}\n"));
    }
    workspace.write(&path, &log);

    let url = format!("/api/v1/sessions/{session}");
    for _ in 0..2 {
        let mut server = Server::start(&workspace, &["--resume", "always"]);
        let shown = server.get(&url).json();
        assert_eq!(shown["working"], true, "{shown}");
        assert_eq!(shown["status"], "running", "{shown}");
        assert_eq!(shown["pending_approval"], Value::Null, "{shown}");
        server.kill();
    }
    let server = Server::start(&workspace, &["--resume", "always"]);
    let later = [("Prefer", "respond-async")];
    let path = format!("{url}/messages");
    let stored = server.send_json("POST", &path, &later, &json!({"content": "hurry"}));
    assert_eq!(stored.status, 202, "{}", stored.text());
    let cancelled = server.post(&format!("{url}/cancel"), &json!({})).json();
    assert_eq!(cancelled, json!({"cancelled": true}));
    let log = workspace.log_of(&session);
    let kinds: Vec<&str> = log[6..]
        .iter()
        .filter_map(|line| line["type"].as_str())
        .collect();
    assert_eq!(kinds, ["user_message", "tools_skipped", "turn_ended"]);
    assert_eq!(model.request_count(), asked);
    assert_eq!(server.get(&url).json()["working"], false);
    assert_eq!(server.say(&session, "and now?").status, 200);
    let told = workspace.run(&["session", "show", &session, "-v"]);
    assert!(told.contains("waits for job:1"), "{told}");
}

/// Another session, with the first `lines` of this one's log.
fn copy_of_log(workspace: &Workspace, session: &str, lines: usize) -> String {
    let copy = format!("{}{lines:02}", &session[..session.len() - 2]);
    let log = workspace.read(&format!(".duragent/sessions/{session}/events.jsonl"));
    let kept: String = log.split_inclusive('\n').take(lines).collect();
    workspace.write(&format!(".duragent/sessions/{copy}/events.jsonl"), &kept);
    copy
}

#[test]
fn text_that_was_seen_is_there_after_a_kill_at_any_moment() {
    const ROUNDS: u64 = 20;
    const SESSIONS: usize = 3;
    let (workspace, mut server) = Bench::new().agent(echo("echo").continues()).serve().apart();
    let sessions: Vec<String> = (0..SESSIONS)
        .map(|_| server.create_session("echo"))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut cut_in_text = 0;
    for round in 0..ROUNDS {
        let said = format!("/slow 1\n/repeat 300\nround {round} \u{e4}\u{20ac}\u{1f600} ");
        let ids_before: Vec<String> = sessions
            .iter()
            .map(|one| server.events(one, "", None).expect("session").id)
            .collect();
        let streams: Vec<_> = sessions
            .iter()
            .map(|one| server.stream(one, &said))
            .collect();
        let readers: Vec<_> = streams
            .into_iter()
            .map(|mut stream| thread::spawn(move || stream.rest()))
            .collect();
        // The moment of the kill is what is tried.
        thread::sleep(Duration::from_millis(random.u64(..250)));
        server = restart(server, &workspace);
        for ((session, reader), id_before) in sessions.iter().zip(readers).zip(ids_before) {
            let seen = reader.join().unwrap();
            cut_in_text += usize::from(seen.last().is_some_and(|last| last.name == "token"));
            check_seen_is_kept(&server, session, &said, &seen, &id_before);
        }
    }
    assert!(cut_in_text > 0, "no kill came while a reply was read");
}

/// What was seen and what comes after it are, together, what the server has. The answer had begun,
/// so the message is there, also when not even its `start` was seen: who saw nothing goes on from
/// before it.
fn check_seen_is_kept(server: &Server, session: &str, said: &str, seen: &[Event], id_before: &str) {
    if seen.last().is_some_and(|last| last.name == "done") {
        return;
    }
    let last_id = seen.last().map_or(id_before, |last| &last.id);
    let rest = server.events(session, "", Some(last_id)).until("done");
    let shown = messages(server, session);
    let [.., message, reply] = &shown[..] else {
        panic!("{shown:?}");
    };
    assert_eq!(message["content"], said);
    let whole = reply["content"].as_str().unwrap();
    assert_eq!(text_of(seen) + &text_of(&rest), whole, "after {last_id}");
}

// --- how often ---

#[test]
fn a_turn_that_the_server_does_not_survive_is_given_up_after_three_tries() {
    let model = FakeModel::start();
    model.default_reply(text("poison ").and_stall());
    let workspace = workspace(&model);
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hello");
    let seen = until_said(&mut stream, "poison ");
    for tried in 1..=3 {
        server = restart(server, &workspace);
        model.wait_for_requests(tried + 1);
        model.wait_for_stalls(1);
    }
    server = restart(server, &workspace);
    let mut back = server.events(&session, "", Some(&seen.last().unwrap().id));
    let failed = back.until("error").pop().unwrap();
    assert_eq!(failed.data["code"], "too_many_tries", "{failed:?}");
    let log = workspace.log_of(&session);
    let end = log.last().unwrap();
    assert_eq!(end["outcome"], "failed");
    assert_eq!(end["error"]["code"], "too_many_tries");
    assert_eq!(model.request_count(), 4);
    // The session itself is as good as before.
    model.reply(text("better"));
    assert_eq!(server.say(&session, "again").json()["content"], "better");
}

/// Also when each server pauses the turn, and forgets the idle session, before somebody comes.
#[test]
fn tries_of_a_turn_that_paused_count_too() {
    let model = FakeModel::start();
    model.default_reply(text("poison ").and_stall());
    let workspace = pausing_workspace(&model);
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut client = server.stream(&session, "hello");
    until_said(&mut client, "poison ");
    for tried in 1..=3 {
        server = restart(server, &workspace);
        wait_for_status(&server, &session, "paused");
        // A second kill while nothing runs is no try.
        server = restart(server, &workspace);
        client = server.events(&session, "", None);
        model.wait_for_requests(tried + 1);
        model.wait_for_stalls(1);
    }
    server = restart(server, &workspace);
    drop(client);
    let mut client = server.events(&session, "", None);
    client.expect("session");
    let log = wait_for_turn_end(&server, &workspace, &session);
    assert_eq!(log.last().unwrap()["error"]["code"], "too_many_tries");
}

#[test]
fn orderly_stops_are_no_tries() {
    let model = FakeModel::start();
    let workspace = workspace(&model);
    workspace.config("server:\n  shutdown_grace_seconds: 1\n");
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    model.default_reply(stall());
    let mut stream = server.stream(&session, "hello");
    stream.expect("start");
    for stops in 1..=4 {
        model.wait_for_requests(stops);
        model.wait_for_stalls(1);
        server.terminate();
        assert!(server.wait_for_exit().success(), "{}", server.log());
        if stops == 4 {
            model.default_reply(text("patience"));
        }
        server = Server::start(&workspace, &[]);
    }
    let log = wait_for_turn_end(&server, &workspace, &session);
    assert_eq!(log.last().unwrap()["outcome"], "completed");
    let triggers: Vec<&Value> = of_type(&log, "turn_started")
        .iter()
        .map(|line| &line["trigger"])
        .collect();
    assert_eq!(triggers[0], "message");
    assert!(
        triggers[1..].iter().all(|one| **one == "restart"),
        "{triggers:?}"
    );
}

// --- stopping in good order ---

#[test]
fn a_stop_lets_a_reply_in_flight_finish_and_who_comes_back_sees_it() {
    let model = FakeModel::start();
    model.reply(text("almost ").and_stall().and_text("done"));
    let workspace = workspace(&model);
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hello");
    let seen = until_said(&mut stream, "almost ");
    server.terminate();
    assert_eq!(stream.rest(), []);
    assert_eq!(stream.comments.last().unwrap(), "server is shutting down");
    model.release();
    assert!(server.wait_for_exit().success());
    assert_eq!(
        workspace.log_of(&session).last().unwrap()["outcome"],
        "completed"
    );
    assert_eq!(model.disconnects(), 0);

    let server = Server::start(&workspace, &[]);
    let mut back = server.events(&session, "", Some(&seen.last().unwrap().id));
    let rest = back.until("done");
    assert_eq!(text_of(&rest), "done");
    assert_eq!(model.request_count(), 1);
}

#[test]
fn a_stop_parks_a_reply_that_takes_too_long() {
    let model = FakeModel::start();
    model
        .reply(text("the first half").and_stall())
        .then(text(", the second half"));
    let workspace = workspace(&model);
    workspace.config("server:\n  shutdown_grace_seconds: 1\n");
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hello");
    let seen = until_said(&mut stream, "the first half");
    server.terminate();
    assert_eq!(stream.rest(), []);
    assert!(server.wait_for_exit().success());
    let log = workspace.log_of(&session);
    assert_eq!(log.last().unwrap()["finish_reason"], "interrupted");

    let server = Server::start(&workspace, &[]);
    let mut back = server.events(&session, "", Some(&seen.last().unwrap().id));
    let rest = back.until("done");
    assert_eq!(text_of(&rest), ", the second half");
    assert_eq!(
        messages(&server, &session)[1]["content"],
        "the first half, the second half"
    );
}

#[test]
fn a_second_signal_exits_at_once() {
    let model = FakeModel::start();
    model.reply(text("slow ").and_stall());
    let workspace = workspace(&model);
    workspace.config("server:\n  shutdown_grace_seconds: 600\n");
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "hello");
    until_said(&mut stream, "slow ");
    server.terminate();
    // The first signal was taken when the stream ends.
    assert_eq!(stream.rest(), []);
    server.terminate();
    assert_eq!(server.wait_for_exit().code(), Some(130));
    // What had come is not lost, and the turn goes on.
    model.reply(text("but sure"));
    let server = Server::start(&workspace, &[]);
    wait_for_turn_end(&server, &workspace, &session);
    assert_eq!(messages(&server, &session)[1]["content"], "slow but sure");
}

#[test]
fn a_second_server_on_a_workspace_names_the_first_and_exits() {
    let (workspace, server) = Bench::new().agent(echo("echo")).serve().apart();
    let refused = Launch::new(&workspace)
        .command()
        .stderr(Stdio::piped())
        .output_in_time()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains(&server.pid().to_string()), "{words}");
    assert!(words.contains(&server.address.to_string()), "{words}");
    assert_eq!(server.get("/livez").status, 200);
}

// --- damage stays where it is ---

#[test]
fn a_damaged_session_is_refused_with_its_line_and_the_others_go_on() {
    let (workspace, mut server) = Bench::new().agent(echo("echo")).serve().apart();
    let sound = server.create_session("echo");
    let damaged = server.create_session("echo");
    for session in [&sound, &damaged] {
        assert_eq!(server.say(session, "hello").status, 200);
    }
    server.kill();
    let path = workspace.file(&format!(".duragent/sessions/{damaged}/events.jsonl"));
    let log = fs::read_to_string(&path).unwrap();
    fs::write(&path, log.replacen("hello", "hullo", 1)).unwrap();
    drop(fs::remove_file(path.with_file_name("state.yaml")));

    let server = Server::start(&workspace, &[]);
    let refused = server.say(&damaged, "again");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(server.log().contains("events.jsonl:2"), "{}", server.log());
    assert_eq!(server.say(&sound, "again").status, 200);
    assert_eq!(
        fs::read_to_string(&path).unwrap().lines().count(),
        log.lines().count()
    );
}
