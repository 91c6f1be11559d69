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

/// What memory may be.
struct Limits {
    resident_mb: f64,
    private_mb: Option<f64>,
}

/// Measures memory and activity, before and after sessions were created.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let server = Server::start(&workspace)?;
    look(
        &server,
        report,
        "idle",
        Limits {
            resident_mb: 8.0,
            private_mb: Some(1.5),
        },
    )?;
    create_sessions(&server, SESSIONS)?;
    let limits = Limits {
        resident_mb: 10.0,
        private_mb: None,
    };
    look(&server, report, "10,000 idle sessions", limits)
}

fn look(server: &Server, report: &mut Report, when: &str, limits: Limits) -> anyhow::Result<()> {
    thread::sleep(SETTLE);
    let memory = server.process().memory()?;
    let resident = Target::AtMost(limits.resident_mb);
    report.row(&format!("resident, {when}"), memory.rss_mb, "MB", resident);
    let private = limits.private_mb.map_or(Target::None, Target::AtMost);
    let name = format!("of which private, {when}");
    report.row(&name, memory.private_mb, "MB", private);
    let name = format!("its share (PSS), {when}");
    report.row(&name, memory.pss_mb, "MB", Target::None);
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
