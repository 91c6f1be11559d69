//! How soon a server answers after it was started, with and without stored sessions.

use crate::figures::create::create_sessions;
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const STORED: usize = 10_000;
const RUNS: usize = 25;

/// Measures from `exec` to the first 200 of `/readyz`.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let empty_ms = starts_ms(&workspace)?;
    // What the start takes by itself, where the machine has other work.
    let quickest_ms = empty_ms.iter().copied().fold(f64::INFINITY, f64::min);
    let empty_ms = median(empty_ms);
    report.row("start, the quickest", quickest_ms, "ms", Target::None);
    report.row("start, nothing stored", empty_ms, "ms", Target::AtMost(6.0));
    create_sessions(&Server::start(&workspace)?, STORED)?;
    let more_ms = median(starts_ms(&workspace)?) - empty_ms;
    let target = Target::AtMost(5.0);
    report.row("start, 10,000 sessions: more", more_ms, "ms", target);
    Ok(())
}

fn starts_ms(workspace: &Workspace) -> anyhow::Result<Vec<f64>> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let server = Server::start(workspace)?;
        runs.push(server.started_in().as_secs_f64() * 1e3);
    }
    Ok(runs)
}
