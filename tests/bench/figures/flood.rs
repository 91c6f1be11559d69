//! A provider that sends far more than a reply may be, to a client that does not read.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target};
use crate::support::server::{Server, Workspace};
use crate::support::streams;

/// 60 MB, of which a reply may have eight.
const PACE: Pace = Pace {
    tokens: 200_000,
    interval: None,
};
const TOKEN_BYTES: usize = 300;
/// The limit on a reply, as it is when nobody sets it, and what else it may take.
const MOST_MB: f64 = (8 << 20) as f64 / 1e6 + 2.0;
const LIMIT: Duration = Duration::from_secs(60);
/// For what was used to come back.
const REST: Duration = Duration::from_secs(8);

/// Measures the most memory, and what is left of it when the session is deleted.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start_padded(PACE, TOKEN_BYTES)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let session = connection.create_session()?;
    let before = server.process().memory()?.rss_mb;
    let mut client = TcpStream::connect(("127.0.0.1", server.port()))?;
    client.write_all(streams::stream_request(&session).as_bytes())?;
    provider.next_request()?;
    wait_for_the_end(&mut connection, &session)?;
    let more = server.process().most_rss_mb()? - before;
    report.row(
        "60 MB flood: more memory",
        more,
        "MB",
        Target::AtMost(MOST_MB),
    );
    drop(client);
    connection.delete(&session)?;
    thread::sleep(REST);
    let more = server.process().memory()?.rss_mb - before;
    report.row("60 MB flood: afterwards", more, "MB", Target::AtMost(2.0));
    Ok(())
}

/// Looks at the session until nobody works at it.
fn wait_for_the_end(connection: &mut Connection, session: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let answer = connection.request("GET", &format!("/api/v1/sessions/{session}"), "")?;
        let shown: Value = serde_json::from_str(&answer.body)?;
        if shown["working"] == false {
            return Ok(());
        }
        ensure!(began.elapsed() < LIMIT, "the reply does not end: {shown}");
        thread::sleep(Duration::from_millis(50));
    }
}
