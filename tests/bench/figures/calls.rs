//! System calls for a token and for a turn, counted by `strace`; without it there are no rows.

use std::time::Duration;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target};
use crate::support::server::{Server, Workspace};
use crate::support::strace::Strace;
use crate::support::streams::{self, Plan};

const TURNS: u32 = 50;
/// One token that comes at once.
const TURN: Pace = Pace {
    tokens: 1,
    interval: None,
};
const STREAM: Pace = Pace {
    tokens: 500,
    interval: Some(Duration::from_millis(4)),
};

/// Measures turns, and one stream.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    if let (Some(turn), Some(stream)) = (turns()?, stream()?) {
        let per_turn = turn as f64 / f64::from(TURNS);
        report.row("a message posted: calls", per_turn, "", Target::None);
        let per_token = (stream as f64 - per_turn) / f64::from(STREAM.tokens);
        report.row("a token: calls", per_token, "", Target::None);
    }
    Ok(())
}

fn turns() -> anyhow::Result<Option<u64>> {
    let provider = Provider::start(TURN)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let session = connection.create_session()?;
    connection.say(&session, "warm")?;
    let Some(strace) = Strace::attach(server.process())? else {
        return Ok(None);
    };
    for number in 0..TURNS {
        connection.say(&session, &format!("message {number}"))?;
    }
    strace.end().map(Some)
}

fn stream() -> anyhow::Result<Option<u64>> {
    let provider = Provider::start(STREAM)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let warm = Plan::of_server(&server)?;
    streams::run(&[warm], STREAM.tokens, Duration::ZERO)?;
    let plan = Plan::of_server(&server)?;
    let Some(strace) = Strace::attach(server.process())? else {
        return Ok(None);
    };
    streams::run(&[plan], STREAM.tokens, Duration::ZERO)?;
    strace.end().map(Some)
}
