//! How many tokens a second a single stream takes when the provider makes no pauses.

use std::time::Duration;

use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};
use crate::support::streams::{self, Plan};

const RUNS: usize = 7;
const PACE: Pace = Pace {
    tokens: 20_000,
    interval: None,
};

/// Measures from the request to the last token.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let (mut direct, mut relayed) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        direct.push(rate(Plan::of_provider(provider.port()))?);
        relayed.push(rate(Plan::of_server(&server)?)?);
    }
    report.row(
        "burst, straight from the provider",
        median(direct),
        "tokens/s",
        Target::None,
    );
    let target = Target::AtLeast(200_000.0);
    report.row(
        "burst, through the server",
        median(relayed),
        "tokens/s",
        target,
    );
    Ok(())
}

fn rate(plan: Plan) -> anyhow::Result<f64> {
    let streamed = streams::run(&[plan], PACE.tokens, Duration::ZERO)?;
    Ok(f64::from(PACE.tokens) / streamed.took.as_secs_f64())
}
