//! Streams that begin at once, through the server and through the least that a relay can be.
//!
//! How long either takes depends on what else the machine does: what counts is how much more the
//! server takes, run by run in turn with it.

use std::time::Duration;

use crate::support::bare_relay::BareRelay;
use crate::support::http::Connection;
use crate::support::process::Process;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};
use crate::support::streams::{self, Plan};

const RUNS: usize = 3;
const PACE: Pace = Pace {
    tokens: 100,
    interval: Some(Duration::from_millis(20)),
};
/// The server's time on processors, by the relay's.
const CPU_MOST: f64 = 1.25;
/// How late 99 % of tokens are, by the relay's.
const LATE_MOST: f64 = 3.0;
/// How much longer all may take than the relay does, as a part of the time that the tokens' pauses
/// make.
const WALL_MORE: f64 = 0.03;
/// How much later the first token may come than through the relay where 100 streams begin.
const FIRST_MORE_MS: f64 = 10.0;
/// The same where 500 begin, by the relay's.
const FIRST_MOST: f64 = 2.0;

/// What a run took.
struct Run {
    cpu_s: f64,
    late_ms: f64,
    wall: f64,
    first_ms: f64,
    switches: f64,
}

/// Measures 100 and 500 streams.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let relay = BareRelay::start(provider.port())?;
    let mut connection = Connection::open(server.port())?;
    let warm = connection.create_session()?;
    connection.say(&warm, "go")?;
    for streams in [100, 500] {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let plans: Vec<Plan> = (0..streams)
                .map(|_| Plan::of_provider(relay.port()))
                .collect();
            bare.push(run(&plans, relay.process())?);
            let plans: anyhow::Result<Vec<Plan>> =
                (0..streams).map(|_| Plan::of_server(&server)).collect();
            ours.push(run(&plans?, server.process())?);
        }
        rows(report, streams, &bare, &ours);
    }
    Ok(())
}

fn run(plans: &[Plan], process: Process) -> anyhow::Result<Run> {
    let cpu_before = process.cpu()?;
    let before = process.activity()?;
    let streamed = streams::run(plans, PACE.tokens, Duration::ZERO)?;
    let after = process.activity()?;
    let pauses = PACE.interval.unwrap_or_default() * (PACE.tokens - 1);
    let tokens = plans.len() as f64 * f64::from(PACE.tokens);
    Ok(Run {
        cpu_s: (process.cpu()? - cpu_before).as_secs_f64(),
        late_ms: streamed.late_us(0.99) / 1e3,
        wall: streamed.took.as_secs_f64() / pauses.as_secs_f64(),
        first_ms: streamed.first_ms(0.99),
        // Those of threads that have ended are not known any more.
        switches: after.switches.saturating_sub(before.switches) as f64 / tokens,
    })
}

fn rows(report: &mut Report, streams: usize, bare: &[Run], ours: &[Run]) {
    let of = |runs: &[Run], figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let mut pair =
        |what: &str, unit: &str, figure: fn(&Run) -> f64, most: fn(f64, usize) -> f64| {
            let floor = of(bare, figure);
            let name = format!("{streams} streams: {what}");
            report.row(&format!("{name}, bare relay"), floor, unit, Target::None);
            let target = Target::AtMost(most(floor, streams));
            report.row(&name, of(ours, figure), unit, target);
        };
    pair(
        "processor",
        "s",
        |run| run.cpu_s,
        |floor, _| floor * CPU_MOST,
    );
    pair(
        "99 % of tokens",
        "ms",
        |run| run.late_ms,
        |floor, _| floor * LATE_MOST,
    );
    pair(
        "time by ideal",
        "",
        |run| run.wall,
        |floor, _| floor + WALL_MORE,
    );
    pair(
        "first token, 99 %",
        "ms",
        |run| run.first_ms,
        |floor, streams| match streams {
            ..=100 => floor + FIRST_MORE_MS,
            _ => floor * FIRST_MOST,
        },
    );
    let ratio = of(ours, |run| run.cpu_s) / of(bare, |run| run.cpu_s);
    let name = format!("{streams} streams: processor, by the relay's");
    report.row(&name, ratio, "", Target::AtMost(CPU_MOST));
    let name = format!("{streams} streams: switches a token");
    report.row(&name, of(ours, |run| run.switches), "", Target::None);
}
