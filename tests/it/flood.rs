//! A provider that does not stop: what the real program keeps of it, shows of it, and needs for it.

use std::fs;

use serde_json::{Value, json};

use crate::support::bench::{Bench, asking};
use crate::support::fake_model::{FakeModel, Step, raw, text};
use crate::support::server::{Server, eventually};

/// `limits.reply_bytes`, unless something else is set.
const LIMIT: usize = 8 << 20;
/// What a long reply may take beside its text.
const BESIDE_KIB: u64 = 2 << 10;

/// So many bytes of text in pieces of 300, without end.
fn flood(bytes: usize) -> Step {
    let piece = json!({"choices": [{"delta": {"content": words(300)}}]});
    let event = format!("data: {piece}\n\n");
    raw("text/event-stream", event.repeat(bytes / 300))
}

fn words(bytes: usize) -> String {
    "0123456789".repeat(bytes.div_ceil(10))[..bytes].to_owned()
}

/// A line of what the system tells of the server's memory, in KiB.
fn memory_kib(server: &Server, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let found = status.lines().find_map(|found| found.strip_prefix(line));
    let number = found.unwrap().split_whitespace().next();
    number.unwrap().parse().unwrap()
}

/// Has the most memory that the server ever had counted anew; how much it has now.
fn begin_to_measure(server: &Server) -> u64 {
    fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").unwrap();
    memory_kib(server, "VmRSS:")
}

fn has_ended(log: &[Value]) -> bool {
    log.last().is_some_and(|line| line["type"] == "turn_ended")
}

#[test]
fn a_flood_ends_at_the_limit_and_takes_little_more_memory_than_its_text() {
    let model = FakeModel::start();
    model
        .reply(text("warm"))
        .then(flood(60_000_000))
        .then(text("and then"));
    let bench = Bench::new().agent(asking("helper", &model).continues());
    let (workspace, mut server) = bench.serve().apart();
    let session = server.create_session("helper");
    assert_eq!(server.say(&session, "hi").status, 200);
    let before = begin_to_measure(&server);

    // A client that does not read.
    let mut stream = server.stream(&session, "go on");
    stream.expect("start");
    let log = eventually("the turn ends", || {
        let log = workspace.log_of(&session);
        (has_ended(&log) && log.len() > 5).then_some(log)
    });
    let taken = memory_kib(&server, "VmHWM:") - before;
    assert!(taken <= LIMIT as u64 / 1024 + BESIDE_KIB, "{taken} KiB");
    let [.., reply, notice, end] = &log[..] else {
        panic!("{log:?}");
    };
    assert_eq!(reply["finish_reason"], "length");
    let content = reply["content"].as_str().unwrap();
    assert_eq!(content.len(), LIMIT);
    assert_eq!(notice["code"], "reply_too_long");
    assert_eq!(end["outcome"], "completed");
    // It reads after all, and sees all of it.
    let shown = stream.until("done");
    let tokens = shown.iter().filter(|event| event.name == "token");
    let told: String = tokens
        .map(|event| event.data["content"].as_str().unwrap())
        .collect();
    assert!(told == content, "{} bytes were shown", told.len());
    assert!(
        shown
            .iter()
            .any(|event| event.data["code"] == "reply_too_long")
    );
    assert_eq!(shown.last().unwrap().data["finish_reason"], "length");

    assert!(server.say(&session, "more").text().contains("and then"));
    server.kill();
    workspace.run(&["session", "check", &session]);
    let server = Server::start(&workspace, &[]);
    let messages = server.get(&format!("/api/v1/sessions/{session}/messages?limit=1"));
    assert!(messages.text().contains("and then"), "{}", messages.text());
}
