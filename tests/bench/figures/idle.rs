//! What a server costs that has nothing to do.

use std::thread;
use std::time::Duration;

use crate::figures::create::create_sessions;
use crate::support::report::{Report, Target};
use crate::support::server::{Server, Workspace};

const SESSIONS: usize = 10_000;
/// For what was begun to end.
const SETTLE: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(3);

/// Measures memory and activity, before and after sessions were created.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let server = Server::start(&workspace)?;
    look(&server, report, "idle", 5.0)?;
    create_sessions(&server, SESSIONS)?;
    look(&server, report, "10,000 idle sessions", 10.0)
}

fn look(server: &Server, report: &mut Report, when: &str, limit_mb: f64) -> anyhow::Result<()> {
    thread::sleep(SETTLE);
    let memory = server.process().memory()?;
    let limit = Target::AtMost(limit_mb);
    report.row(&format!("resident, {when}"), memory.rss_mb, "MB", limit);
    report.row(
        &format!("its share (PSS), {when}"),
        memory.pss_mb,
        "MB",
        limit,
    );
    let before = server.process().activity()?;
    thread::sleep(WATCHED);
    let after = server.process().activity()?;
    let ticks = (after.ticks - before.ticks) as f64;
    let wakes = (after.switches - before.switches) as f64;
    report.row(
        &format!("CPU in 3 s, {when}"),
        ticks,
        "ticks",
        Target::AtMost(0.0),
    );
    report.row(
        &format!("wake-ups in 3 s, {when}"),
        wakes,
        "",
        Target::AtMost(0.0),
    );
    Ok(())
}
