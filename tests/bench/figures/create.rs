//! How many sessions a second can be created, each synced before it is answered.

use std::thread;
use std::time::Instant;

use crate::support::http::Connection;
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const CLIENTS: usize = 16;
const SESSIONS: usize = 6_000;
const RUNS: usize = 3;

/// Measures 16 clients that each keep their connection.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let server = Server::start(&workspace)?;
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        rates.push(create_sessions(&server, SESSIONS)?);
    }
    report.row(
        "sessions created",
        median(rates),
        "a second",
        Target::AtLeast(2_000.0),
    );
    Ok(())
}

/// Creates about so many sessions with 16 clients; returns how many a second.
pub fn create_sessions(server: &Server, sessions: usize) -> anyhow::Result<f64> {
    let each = sessions / CLIENTS;
    let began = Instant::now();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| create_one_by_one(server, each)))
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    Ok((each * CLIENTS) as f64 / began.elapsed().as_secs_f64())
}

fn create_one_by_one(server: &Server, count: usize) -> anyhow::Result<()> {
    let mut connection = Connection::open(server.port())?;
    for _ in 0..count {
        connection.create_session()?;
    }
    Ok(())
}
