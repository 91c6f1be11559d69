//! How long it takes to open a session that nobody has in use, by the length of its log.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use duragent::base::fs::RealFs;
use duragent::domain::event::{
    AssistantResponse, Event, FinishReason, OnDisconnect, Outcome, SaidBy, SessionStart, Trigger,
    UserMessage,
};
use duragent::domain::ids::{MessageId, Seq, SessionId, TurnId};
use duragent::domain::state::SessionState;
use duragent::domain::time::Timestamp;
use duragent::domain::window::Limits;
use duragent::store::file::FileStore;
use duragent::store::{Epoch, SessionStore as _, Snapshot};

use crate::support::http::request_text;
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const LENGTHS: [u64; 2] = [1_000, 100_000];
const RUNS: usize = 5;
/// What the window of an agent holds by default.
const HISTORY_TOKENS: u64 = 20_000;

/// Measures the time from the request to attach to its first event, each with a new server.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let mut sessions = Vec::new();
    for (number, events) in LENGTHS.into_iter().enumerate() {
        sessions.push(write_session(&workspace, number as u64, events)?);
    }
    for (id, events) in sessions.iter().zip(LENGTHS) {
        let mut times_ms = Vec::new();
        for _ in 0..RUNS {
            let server = Server::start(&workspace)?;
            times_ms.push(attach(&server, id)?.as_secs_f64() * 1e3);
        }
        report.row(
            &format!("opening a session of {events} events"),
            median(times_ms),
            "ms",
            Target::AtMost(20.0),
        );
    }
    Ok(())
}

/// Writes a session of about so many events, as a server would have left it.
fn write_session(workspace: &Workspace, number: u64, events: u64) -> anyhow::Result<SessionId> {
    let store = FileStore::new(Arc::new(RealFs), state_folder(workspace));
    let at = Timestamp::from_micros(1_795_327_200_000_000 + number);
    let id = SessionId::mint(at.as_millis() + number, u128::from(number));
    let start = Event::SessionStart(SessionStart::new("bench", OnDisconnect::Continue));
    store.create(&id, at, vec![start])?;
    let mut open = store.open(&id)?;
    let mut state = SessionState::new(Limits::of_history(HISTORY_TOKENS));
    for record in store.records(&id, Seq(1), one())? {
        state.apply(&record);
    }
    while state.summary.last_seq.0 < events {
        let last = state.summary.last_seq;
        for record in open.log.append(Epoch::ZERO, last, at, turn(last, at))? {
            state.apply(&record);
        }
    }
    open.log.save_snapshot(&Snapshot {
        window_seq: state.history.first_seq(),
        marks: state.history.marks(),
        summary: state.summary,
    })?;
    Ok(id)
}

fn one() -> duragent::store::ReadLimit {
    duragent::store::ReadLimit {
        records: 1,
        bytes: 0,
    }
}

fn state_folder(workspace: &Workspace) -> PathBuf {
    workspace.path().join(".duragent")
}

/// A question and its answer, of a usual length.
fn turn(last: Seq, at: Timestamp) -> Vec<Event> {
    let random = u128::from(last.0);
    let turn_id = TurnId::mint(at.as_millis(), random);
    let words = "and so on, as people do when they talk to one another ".repeat(4);
    vec![
        Event::from(UserMessage::new(
            MessageId::mint(at.as_millis(), random * 2),
            words.clone(),
        )),
        Event::TurnStarted {
            turn_id: turn_id.clone(),
            trigger: Trigger::Message,
        },
        Event::from(AssistantResponse {
            turn_id: turn_id.clone(),
            message_id: MessageId::mint(at.as_millis(), random * 2 + 1),
            agent: "bench".to_owned(),
            model: "echo/bench".to_owned(),
            input_seq: Seq(last.0 + 2),
            content: words.into(),
            tool_calls: Vec::new(),
            usage: None,
            finish_reason: FinishReason::Stop,
            continues: None,
            provider_data: None,
            attachments: Vec::new(),
        }),
        Event::TurnEnded {
            turn_id,
            outcome: Outcome::Completed,
            error: None,
            usage: None,
            cause: SaidBy::default(),
        },
    ]
}

/// The time until the session is shown.
fn attach(server: &Server, id: &SessionId) -> anyhow::Result<Duration> {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port()))?;
    let path = format!("/api/v1/sessions/{id}/events");
    let request = request_text("GET", &path, "").replacen(
        "\r\n\r\n",
        "\r\nAccept: text/event-stream\r\n\r\n",
        1,
    );
    let began = Instant::now();
    socket.write_all(request.as_bytes())?;
    let mut seen = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = socket.read(&mut buffer).context("no answer")?;
        ensure!(count > 0, "no session: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
        if String::from_utf8_lossy(&seen).contains("event: session") {
            return Ok(began.elapsed());
        }
    }
}
