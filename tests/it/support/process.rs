//! Waiting for programs, with an end: one that hangs is killed, and its test fails.

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything a test starts takes on a machine that is busy with three suites.
const LIMIT: Duration = Duration::from_secs(180);
/// How often a program is looked at, which tells nobody when it ends.
const GLANCE: Duration = Duration::from_millis(5);

/// The built program in a folder that is its home as well: it sees nothing of whose machine this is,
/// and finds no workspace above the folder.
pub fn duragent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duragent"));
    command
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .stdin(Stdio::null());
    command
}

/// What [`Command`] does without an end.
pub trait Limited {
    /// As `output`.
    fn output_in_time(&mut self) -> std::io::Result<Output>;
    /// As `status`.
    fn status_in_time(&mut self) -> std::io::Result<ExitStatus>;
}

impl Limited for Command {
    fn output_in_time(&mut self) -> std::io::Result<Output> {
        // As for `output`, but that nobody can have given it an input of its own.
        self.stdin(Stdio::null());
        let child = self.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(output_of(child))
    }

    fn status_in_time(&mut self) -> std::io::Result<ExitStatus> {
        Ok(end_of(&mut self.spawn()?))
    }
}

/// Waits for the end of a program whose output comes through pipes; panics when it does not come.
pub fn output_of(mut child: Child) -> Output {
    // Its input ends, as for `wait_with_output`.
    drop(child.stdin.take());
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = end_of(&mut child);
    let text =
        |thread: Option<thread::JoinHandle<Vec<u8>>>| thread.map_or_else(Vec::new, collected);
    Output {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// The lines that a program writes, as they come; the end of the channel is that of the program.
pub fn lines_of(output: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (line_tx, line_rx) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Nobody may wait for it any more.
            drop(line_tx.send(line));
        }
    });
    line_rx
}

/// Waits for the end of a program; panics when it does not come.
pub fn end_of(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            drop(child.kill());
            panic!("a program has not ended after {LIMIT:?}");
        }
        thread::sleep(GLANCE);
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// What was read; a grandchild that keeps the pipe open must not keep the test.
fn collected(thread: thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    let deadline = Instant::now() + LIMIT;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "a program's output has no end");
        thread::sleep(GLANCE);
    }
    thread.join().unwrap()
}
