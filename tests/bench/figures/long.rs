//! A session of two thousand messages: a thousand turns of a question and an answer.

use std::time::Instant;

use anyhow::ensure;
use serde_json::Value;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const TURNS: usize = 1_000;
/// So many of its last turns are compared with the first turns of another session, by turns with
/// them: on a machine with other work, what was measured a few seconds before compares badly.
const COMPARED: usize = 100;
/// How often the page is asked for.
const PAGES: usize = 9;
const LAST_MOST_MS: f64 = 1.6;
const PACE: Pace = Pace {
    tokens: 5,
    interval: None,
};

/// Measures what is written for the session, and whether its length shows in the time of a turn.
///
/// What is written is what the process gave to `write` in the whole run (`wchar` of
/// `/proc/PID/io`). Sockets are written with `send`, which does not count there, and the gate's
/// wake-ups add eight bytes each: so it is at least what went into the session's folder.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let id = connection.create_session()?;
    let before = server.process().bytes_written()?;
    let cpu_before = server.process().cpu()?;
    for number in 0..TURNS {
        turn_ms(&mut connection, &id, number)?;
    }
    let written = server.process().bytes_written()? - before;
    let cpu = server.process().cpu()? - cpu_before;
    let path = format!("/api/v1/sessions/{id}/messages?limit=1000");
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        let began = Instant::now();
        let answer = connection.request("GET", &path, "")?;
        pages.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
    }
    let kept = messages(&mut connection, &id)?;
    let young = connection.create_session()?;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for number in 0..COMPARED {
        first.push(turn_ms(&mut connection, &young, number)?);
        last.push(turn_ms(&mut connection, &id, TURNS + number)?);
    }
    let (first, last) = (median(first), median(last));
    report.row(
        "2,000 messages: in the API",
        kept as f64,
        "",
        Target::AtLeast(2_000.0),
    );
    report.row(
        "2,000 messages: written",
        written as f64 / 1e6,
        "MB",
        Target::AtMost(2.0),
    );
    report.row(
        "2,000 messages: processor for all",
        cpu.as_secs_f64(),
        "s",
        Target::AtMost(0.75),
    );
    report.row(
        "2,000 messages: a page of 1,000",
        median(pages),
        "ms",
        Target::AtMost(2.0),
    );
    report.row("2,000 messages: the first turns", first, "ms", Target::None);
    report.row(
        "2,000 messages: the last turns",
        last,
        "ms",
        Target::AtMost(LAST_MOST_MS.min(first * 1.4)),
    );
    Ok(())
}

/// How long a turn takes, in milliseconds.
fn turn_ms(connection: &mut Connection, id: &str, number: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    connection.say(id, &format!("this is message {number} of many"))?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// How many messages the API shows, page by page.
fn messages(connection: &mut Connection, id: &str) -> anyhow::Result<usize> {
    let mut count = 0;
    let mut before = String::new();
    loop {
        let path = format!("/api/v1/sessions/{id}/messages?limit=500{before}");
        let answer = connection.request("GET", &path, "")?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        let page: Value = serde_json::from_str(&answer.body)?;
        let page = page["messages"].as_array().map_or(&[][..], Vec::as_slice);
        count += page.len();
        match page
            .first()
            .and_then(|oldest| oldest["message_id"].as_str())
        {
            Some(oldest) => before = format!("&before={oldest}"),
            None => return Ok(count),
        }
    }
}
