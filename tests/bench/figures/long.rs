//! A session of two thousand messages: a thousand turns of a question and an answer.

use std::time::Instant;

use anyhow::ensure;
use serde_json::Value;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const TURNS: usize = 1_000;
/// How many turns at either end are compared.
const COMPARED: usize = 100;
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
    let mut turns_ms = Vec::new();
    for number in 0..TURNS {
        let began = Instant::now();
        connection.say(&id, &format!("this is message {number} of many"))?;
        turns_ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let written = server.process().bytes_written()? - before;
    let kept = messages(&mut connection, &id)?;
    let (first, last) = turns_ms.split_at(COMPARED);
    let first = median(first.to_vec());
    let last = median(last[last.len() - COMPARED..].to_vec());
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
    report.row("2,000 messages: the first turns", first, "ms", Target::None);
    report.row(
        "2,000 messages: the last turns",
        last,
        "ms",
        Target::AtMost(first * 1.25),
    );
    Ok(())
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
