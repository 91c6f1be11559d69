//! How soon the newest of many sessions are listed.

use std::time::Instant;

use anyhow::ensure;
use serde_json::Value;

use crate::figures::create::create_sessions;
use crate::support::http::Connection;
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const STORED: usize = 10_000;
const RUNS: usize = 25;
const STARTS: usize = 5;
const LIMIT_MS: f64 = 5.0;

/// Measures the first page as a client gets that asks for no more: of a server that has been asked
/// before, and as the first thing that a server is asked.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let server = Server::start(&workspace)?;
    create_sessions(&server, STORED)?;
    let mut connection = Connection::open(server.port())?;
    let pages: anyhow::Result<Vec<f64>> = (0..RUNS).map(|_| page_ms(&mut connection)).collect();
    let target = Target::AtMost(LIMIT_MS);
    let name = "first page of 10,000 sessions";
    report.row(name, median(pages?), "ms", target);
    drop(server);
    let mut first = Vec::new();
    for _ in 0..STARTS {
        let server = Server::start(&workspace)?;
        first.push(page_ms(&mut Connection::open(server.port())?)?);
    }
    let name = "first page after a start";
    report.row(name, median(first), "ms", target);
    Ok(())
}

fn page_ms(connection: &mut Connection) -> anyhow::Result<f64> {
    let began = Instant::now();
    let answer = connection.request("GET", "/api/v1/sessions", "")?;
    let took = began.elapsed();
    let page: Value = serde_json::from_str(&answer.body)?;
    let listed = page["sessions"].as_array().map_or(0, Vec::len);
    ensure!(listed > 0, "{}: {}", answer.status, answer.body);
    Ok(took.as_secs_f64() * 1e3)
}
