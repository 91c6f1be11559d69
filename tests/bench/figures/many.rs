//! Five hundred sessions that stream at once.

use std::time::Duration;

use crate::support::memory_watch::MemoryWatch;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target};
use crate::support::server::{Server, Workspace};
use crate::support::streams::{self, Plan};

const STREAMS: usize = 500;
const PACE: Pace = Pace {
    tokens: 400,
    interval: Some(Duration::from_millis(20)),
};
/// Between two starts: 2 ms let all be there after a second of eight.
const STAGGER: Duration = Duration::from_millis(2);

/// Measures how late tokens come and what memory it takes. A token that is missing is an error.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let plans: anyhow::Result<Vec<Plan>> = (0..STREAMS).map(|_| Plan::of_server(&server)).collect();
    let before = server.process().activity()?;
    let watch = MemoryWatch::start(server.process());
    let streamed = streams::run(&plans?, PACE.tokens, STAGGER)?;
    let peak = watch.end()?;
    let after = server.process().activity()?;
    let cpu = (after.seconds() - before.seconds()) / streamed.took.as_secs_f64();
    report.row(
        "500 streams: median of tokens",
        streamed.late_us(0.5) / 1e3,
        "ms",
        Target::None,
    );
    let target = Target::AtMost(15.0);
    report.row(
        "500 streams: 99 % of tokens",
        streamed.late_us(0.99) / 1e3,
        "ms",
        target,
    );
    report.row(
        "500 streams: resident",
        peak.rss_mb,
        "MB",
        Target::AtMost(40.0),
    );
    report.row(
        "500 streams: its share (PSS)",
        peak.pss_mb,
        "MB",
        Target::None,
    );
    report.row("500 streams: processors", cpu, "", Target::None);
    Ok(())
}
