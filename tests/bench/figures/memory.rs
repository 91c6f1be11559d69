//! Whether memory comes back: a load of everything, then nothing, and all sessions deleted.
//!
//! `LOAD_SECONDS` says how long the load lasts.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target};
use crate::support::server::{Server, Workspace};
use crate::support::streams::{self, Plan};

const LOAD: Duration = Duration::from_secs(20);
const PACE: Pace = Pace {
    tokens: 30,
    interval: Some(Duration::from_millis(5)),
};
/// Eight megabytes, as fast as they are taken.
const FLOOD: Pace = Pace {
    tokens: 20_000,
    interval: None,
};
const FLOOD_TOKEN_BYTES: usize = 400;
const FLOOD_EVERY: Duration = Duration::from_secs(8);
/// For what was begun at the start to end.
const SETTLE: Duration = Duration::from_secs(2);
/// For what the load used to come back: half of it is enough when nothing else is to be done.
const REST: Duration = Duration::from_secs(12);

/// A server under load, and until when.
#[derive(Clone, Copy)]
struct Load<'a> {
    server: &'a Server,
    until: Instant,
}

/// Measures memory before the load and after it.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let flood = Provider::start_padded(FLOOD, FLOOD_TOKEN_BYTES)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    workspace.add_agent("flood", Some(flood.port()))?;
    let server = Server::start(&workspace)?;
    thread::sleep(SETTLE);
    let before = server.process().memory()?;
    let load = Load {
        server: &server,
        until: Instant::now() + load_time()?,
    };
    thread::scope(|scope| {
        let parts: [fn(Load<'_>) -> anyhow::Result<()>; 7] =
            [post, post, post, leave, leave, stream, be_flooded];
        let parts = parts.map(|part| scope.spawn(move || part(load)));
        parts
            .into_iter()
            .try_for_each(|part| part.join().expect("a client does not panic"))
    })?;
    delete_all(&server)?;
    thread::sleep(REST);
    let after = server.process().memory()?;
    report.row("resident, before a load", before.rss_mb, "MB", Target::None);
    let most = server.process().most_rss_mb()?;
    report.row("resident, under load", most, "MB", Target::None);
    let more = after.rss_mb - before.rss_mb;
    report.row("resident, after it: more", more, "MB", Target::AtMost(2.0));
    let more = after.private_mb - before.private_mb;
    report.row("private, after it: more", more, "MB", Target::None);
    Ok(())
}

fn load_time() -> anyhow::Result<Duration> {
    match std::env::var("LOAD_SECONDS") {
        Ok(seconds) => Ok(Duration::from_secs(seconds.parse()?)),
        Err(_) => Ok(LOAD),
    }
}

impl Load<'_> {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }
}

/// Conversations of short and of long messages, which are read and deleted.
fn post(load: Load<'_>) -> anyhow::Result<()> {
    let mut connection = Connection::open(load.server.port())?;
    while load.goes_on() {
        let session = connection.create_session()?;
        for length in [10, 5_000, 100, 60_000, 10, 1_000] {
            connection.say(&session, &"x".repeat(length))?;
        }
        for path in [
            format!("/api/v1/sessions/{session}/messages"),
            "/api/v1/sessions".to_owned(),
        ] {
            let answer = connection.request("GET", &path, "")?;
            ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        }
        connection.delete(&session)?;
    }
    Ok(())
}

/// Many streams at once.
fn stream(load: Load<'_>) -> anyhow::Result<()> {
    for streams in [5, 40, 150].into_iter().cycle() {
        if !load.goes_on() {
            break;
        }
        let plans: anyhow::Result<Vec<Plan>> =
            (0..streams).map(|_| Plan::of_server(load.server)).collect();
        streams::run(&plans?, PACE.tokens, Duration::ZERO)?;
    }
    Ok(())
}

/// Clients that leave in the middle of a reply, every second one after it was cancelled.
fn leave(load: Load<'_>) -> anyhow::Result<()> {
    let mut connection = Connection::open(load.server.port())?;
    for number in 0.. {
        if !load.goes_on() {
            break;
        }
        let session = connection.create_session()?;
        let mut client = TcpStream::connect(("127.0.0.1", load.server.port()))?;
        client.write_all(streams::stream_request(&session).as_bytes())?;
        client.read_exact(&mut [0; 1_000])?;
        if number % 2 == 0 {
            connection.request("POST", &format!("/api/v1/sessions/{session}/cancel"), "")?;
        }
    }
    Ok(())
}

/// Clients that do not read what comes fast.
fn be_flooded(load: Load<'_>) -> anyhow::Result<()> {
    let mut connection = Connection::open(load.server.port())?;
    while load.goes_on() {
        let session = connection.create_session_of("flood")?;
        let mut client = TcpStream::connect(("127.0.0.1", load.server.port()))?;
        client.write_all(streams::stream_request(&session).as_bytes())?;
        thread::sleep(FLOOD_EVERY / 2);
        drop(client);
        thread::sleep(FLOOD_EVERY / 2);
    }
    Ok(())
}

fn delete_all(server: &Server) -> anyhow::Result<()> {
    let mut connection = Connection::open(server.port())?;
    loop {
        let answer = connection.request("GET", "/api/v1/sessions?limit=1000", "")?;
        let page: Value = serde_json::from_str(&answer.body)?;
        let sessions = page["sessions"].as_array().context("no list")?;
        if sessions.is_empty() {
            return Ok(());
        }
        for session in sessions {
            connection.delete(session["session_id"].as_str().context("no id")?)?;
        }
    }
}
