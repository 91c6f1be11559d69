//! What a message costs whose answer is one token that comes at once.

use std::thread;
use std::time::Instant;

use crate::support::http::Connection;
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const RUNS: usize = 5;
const SESSIONS: usize = 10;
/// Messages to each session, one after another.
const MESSAGES: usize = 20;
const CLIENTS: usize = 16;
/// Messages of each client.
const AT_ONCE: usize = 100;
const PACE: Pace = Pace {
    tokens: 1,
    interval: None,
};

/// Measures one client that posts, and sixteen.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let (mut times, mut cpu, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    let (mut switches, mut posts) = (0, 0);
    for _ in 0..RUNS {
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            let session = connection.create_session()?;
            connection.say(&session, "warm")?;
            sessions.push(session);
        }
        let cpu_before = server.process().cpu()?;
        let before = server.process().activity()?.switches;
        for session in &sessions {
            for number in 0..MESSAGES {
                let began = Instant::now();
                connection.say(session, &format!("message {number}"))?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        let took = server.process().cpu()? - cpu_before;
        cpu.push(took.as_secs_f64() * 1e3 / (SESSIONS * MESSAGES) as f64);
        switches += server.process().activity()?.switches.saturating_sub(before);
        posts += SESSIONS * MESSAGES;
        rates.push(post_at_once(&server)?);
    }
    let (time, cpu, rate) = (median(times), median(cpu), median(rates));
    report.row("a message posted", time, "ms", Target::AtMost(0.8));
    report.row(
        "a message posted: processor",
        cpu,
        "ms",
        Target::AtMost(0.5),
    );
    let switches = switches as f64 / posts as f64;
    report.row("a message posted: switches", switches, "", Target::None);
    let target = Target::AtLeast(3_200.0);
    report.row("16 clients that post", rate, "a second", target);
    Ok(())
}

/// How many messages a second the clients get answered, each in a session of its own.
fn post_at_once(server: &Server) -> anyhow::Result<f64> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut connection = Connection::open(server.port())?;
        let session = connection.create_session()?;
        clients.push((connection, session));
    }
    let began = Instant::now();
    thread::scope(|scope| {
        let posting: Vec<_> = clients
            .iter_mut()
            .map(|(connection, session)| {
                scope.spawn(|| {
                    (0..AT_ONCE).try_for_each(|number| {
                        connection.say(session, &format!("message {number}"))
                    })
                })
            })
            .collect();
        posting
            .into_iter()
            .try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    Ok((CLIENTS * AT_ONCE) as f64 / began.elapsed().as_secs_f64())
}
