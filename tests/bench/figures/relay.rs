//! What a token costs on its way from the provider's socket to the client's.

use std::time::Duration;

use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};
use crate::support::streams::{self, Plan};

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
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    // By turns, so that what else the machine does hits both alike.
    for _ in 0..RUNS {
        direct.push(median_us(Plan::of_provider(provider.port()))?);
        relayed.push(median_us(Plan::of_server(&server)?)?);
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
        Target::AtMost(150.0),
    );
    Ok(())
}

fn median_us(plan: Plan) -> anyhow::Result<f64> {
    let streamed = streams::run(&[plan], PACE.tokens, Duration::ZERO)?;
    Ok(streamed.late_us(0.5))
}
