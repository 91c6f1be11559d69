//! What many clients on one session cost, and what a reply costs the disk.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::http::{Connection, request_text};
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target};
use crate::support::server::{Server, Workspace};

const CLIENTS: usize = 100;
const PACE: Pace = Pace {
    tokens: 1_000,
    interval: Some(Duration::from_millis(2)),
};

/// Measures memory in the middle of a stream that a hundred clients watch, and what is written for
/// the thousand tokens of it: journal and log.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let id = connection.create_session()?;
    let path = format!("/api/v1/sessions/{id}/events");
    let request = request_text("GET", &path, "").replacen(
        "\r\n\r\n",
        "\r\nAccept: text/event-stream\r\n\r\n",
        1,
    );
    let alone = server.process().memory()?.rss_mb;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
        socket.write_all(request.as_bytes())?;
        clients.push(socket);
    }
    let before = server.process().bytes_written()?;
    let watched = thread::scope(|scope| {
        let speaking = scope.spawn(|| connection.say(&id, "go"));
        thread::sleep(Duration::from_secs(1));
        let memory = server.process().memory();
        speaking.join().expect("it does not panic")?;
        memory
    })?;
    let written = server.process().bytes_written()? - before;
    report.row(
        "100 clients on one stream: resident",
        watched.rss_mb,
        "MB",
        Target::None,
    );
    report.row(
        "100 clients on one stream: each",
        (watched.rss_mb - alone) * 1e3 / CLIENTS as f64,
        "kB",
        Target::None,
    );
    report.row(
        "1,000 tokens: written",
        written as f64 / 1e3,
        "kB",
        Target::None,
    );
    Ok(())
}
