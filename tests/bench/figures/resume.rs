//! How soon a turn goes on that a kill cut off.

use std::time::Duration;

use anyhow::ensure;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const RUNS: usize = 25;
/// A reply that lasts until the kill.
const PACE: Pace = Pace {
    tokens: 10_000,
    interval: Some(Duration::from_millis(2)),
};
/// For some of the reply to be in the journal.
const STREAMED: Duration = Duration::from_millis(50);

/// Measures from `exec` to the request of the resumed turn, at the provider.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let mut runs_ms = Vec::new();
    for _ in 0..RUNS {
        runs_ms.push(resumes_in(&provider)?.as_secs_f64() * 1e3);
    }
    let quickest_ms = runs_ms.iter().copied().fold(f64::INFINITY, f64::min);
    report.row(
        "resume, killed in a reply: the quickest",
        quickest_ms,
        "ms",
        Target::None,
    );
    report.row(
        "resume, killed in a reply",
        median(runs_ms),
        "ms",
        Target::None,
    );
    Ok(())
}

/// In a workspace of its own: after a few kills in a row a server leaves turns waiting.
fn resumes_in(provider: &Provider) -> anyhow::Result<Duration> {
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let id = connection.create_session()?;
    connection.say_and_leave(&id, "go")?;
    provider.next_request()?;
    std::thread::sleep(STREAMED);
    server.kill()?;
    let server = Server::start(&workspace)?;
    let asked_at = provider.next_request()?;
    ensure!(
        !provider.has_more_requests(),
        "the turn was taken up more than once"
    );
    let resumed_in = asked_at.saturating_duration_since(server.began_at());
    // Nobody waits for the rest of the reply.
    server.kill()?;
    Ok(resumed_in)
}
