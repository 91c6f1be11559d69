//! What a tool costs the server: one that prints a gigabyte, and one that prints nothing.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::support::http::Connection;
use crate::support::memory_watch::MemoryWatch;
use crate::support::report::{Report, Target, median};
use crate::support::server::{Server, Workspace};

const GIGABYTE: &str = "head -c 1073741824 /dev/zero | tr '\\0' x";
const RUNS: usize = 21;

/// Measures the server's memory while a tool prints, and how long the shortest run takes.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let agent = workspace.path().join(".duragent/agents/bench/agent.yaml");
    let yaml = fs::read_to_string(&agent)?;
    fs::write(
        agent,
        yaml + "  tools:\n    - {type: builtin, name: bash}\n",
    )?;
    let server = Server::start(&workspace)?;
    let mut connection = Connection::open(server.port())?;
    let session = connection.create_session()?;

    // What the first call needs once is no matter of its output.
    run(&mut connection, &session, "true")?;
    let before = server.process().memory()?;
    let watch = MemoryWatch::start(server.process());
    let (seconds, _) = run(&mut connection, &session, GIGABYTE)?;
    let most = watch.end()?;
    // The model is shown less than the log has.
    let log = format!(".duragent/sessions/{session}/events.jsonl");
    let log = fs::read_to_string(workspace.path().join(log))?;
    ensure!(
        log.contains("1,073,676,288 bytes left out"),
        "a whole gigabyte"
    );
    let more = most.rss_mb - before.rss_mb;
    report.row(
        "memory more, a tool prints 1 GB",
        more,
        "MB",
        Target::AtMost(2.0),
    );
    report.row(
        "1 GB of output, taken in",
        1024.0 / seconds,
        "MB/s",
        Target::None,
    );

    let runs: anyhow::Result<Vec<f64>> = (0..RUNS)
        .map(|_| Ok(run(&mut connection, &session, "true")?.0 * 1000.0))
        .collect();
    report.row(
        "approval, `bash -c true`, answer",
        median(runs?),
        "ms",
        Target::None,
    );
    Ok(())
}

/// Has a command run; how long that took from the approval on, and what is told of it.
fn run(connection: &mut Connection, session: &str, command: &str) -> anyhow::Result<(f64, String)> {
    let path = |end: &str| format!("/api/v1/sessions/{session}/{end}");
    let call = format!("/tool bash {}", json!({"command": command}));
    let asked = connection.request(
        "POST",
        &path("messages"),
        &json!({"content": call}).to_string(),
    )?;
    ensure!(asked.status == 202, "asked for approval: {}", asked.status);
    let asked: Value = serde_json::from_str(&asked.body).context("a question")?;
    let answer = json!({
        "call_id": asked["call_id"],
        "command": asked["command"],
        "decision": "allow_once",
    });
    let began = Instant::now();
    let done = connection.request("POST", &path("approve"), &answer.to_string())?;
    ensure!(done.status == 200, "{}", done.body);
    Ok((began.elapsed().as_secs_f64(), done.body))
}
