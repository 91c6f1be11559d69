//! What a token costs on its way from the provider's socket to the client's.

use std::time::Duration;

use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};
use crate::support::streams::{self, Plan, Streamed};

const RUNS: usize = 5;
const PACE: Pace = Pace {
    tokens: 1_000,
    interval: Some(Duration::from_millis(2)),
};

/// Measures one stream of 500 tokens a second, with the server between and without.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    run(Plan::of_server(&server)?)?;
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    let (mut first_more, mut cpu) = (Vec::new(), Vec::new());
    // By turns, so that what else the machine does hits both alike.
    for _ in 0..RUNS {
        let bare = run(Plan::of_provider(provider.port()))?;
        let plan = Plan::of_server(&server)?;
        let before = server.process().cpu()?;
        let through = run(plan)?;
        cpu.push((server.process().cpu()? - before).as_secs_f64() * 1e3);
        first_more.push(through.first_ms(0.5) - bare.first_ms(0.5));
        direct.push(bare.late_us(0.5));
        relayed.push(through.late_us(0.5));
    }
    let (direct, relayed) = (median(direct), median(relayed));
    report.row(
        "a token, straight from the provider",
        direct,
        "µs",
        Target::None,
    );
    report.row("a token, through the server", relayed, "µs", Target::None);
    report.row(
        "a token, the server's part",
        relayed - direct,
        "µs",
        Target::AtMost(50.0),
    );
    report.row(
        "the first token, the server's part",
        median(first_more),
        "ms",
        Target::AtMost(1.2),
    );
    report.row(
        "500 tokens, the server's processor",
        median(cpu) * 500.0 / f64::from(PACE.tokens),
        "ms",
        Target::AtMost(20.0),
    );
    Ok(())
}

fn run(plan: Plan) -> anyhow::Result<Streamed> {
    streams::run(&[plan], PACE.tokens, Duration::ZERO)
}
