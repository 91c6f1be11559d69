use std::fs;
use std::process::Command;

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::base::child::NoMonitor;
use crate::base::os::ChildRules;

/// Far longer than anything here takes.
const WITHIN: Duration = Duration::from_secs(20);
const LINE_BYTES_MAX: usize = 1 << 20;

fn prepared(program: &str, args: &[&str], monitor: Box<dyn Monitor>) -> Prepared {
    let mut command = Command::new(program);
    command.args(args);
    Prepared {
        command,
        rules: ChildRules::default(),
        monitor,
    }
}

/// A child that runs `script`, and what is heard of it.
fn start(script: &str, line_bytes_max: usize) -> (LineProcess, Receiver<String>) {
    let (heard_tx, heard_rx) = unbounded();
    let hear = move |heard: Heard<'_>| heard_tx.send(shown(&heard)).unwrap();
    let prepared = prepared("sh", &["-c", script], Box::new(NoMonitor));
    let process = LineProcess::start("lines", prepared, "", line_bytes_max, hear).unwrap();
    (process, heard_rx)
}

fn shown(heard: &Heard<'_>) -> String {
    match heard {
        Heard::Line(text) => text.to_string(),
        Heard::Remark(text) => format!("! {text}"),
        Heard::TooLong => "(too long)".to_owned(),
        Heard::Ended(end) => format!("({end})"),
    }
}

/// All that is heard, up to its end.
fn until_end(heard_rx: &Receiver<String>) -> Vec<String> {
    let deadline = Instant::now() + WITHIN;
    let mut all = Vec::new();
    // The end drops what hears, and so closes the channel.
    while let Ok(heard) = heard_rx.recv_deadline(deadline) {
        all.push(heard);
    }
    assert!(Instant::now() < deadline, "{all:?}");
    all
}

fn next(heard_rx: &Receiver<String>) -> String {
    heard_rx.recv_timeout(WITHIN).unwrap()
}

/// Whether a process runs: one that has ended and was not waited for does not.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn what_is_sent_arrives_whole_and_in_order_and_the_end_is_heard_last() {
    let (process, heard_rx) = start("exec cat", LINE_BYTES_MAX);
    // More than a pipe holds.
    let long = "ä".repeat(200_000);
    let lines = ["first", "", &long, "last"];
    for line in lines {
        process.send(line).unwrap();
    }
    process.close_input();
    assert_eq!(process.send("late"), Err(SendError::Closed));
    let expected: Vec<&str> = lines.into_iter().chain(["(exit status: 0)"]).collect();
    assert_eq!(until_end(&heard_rx), expected);
    assert!(matches!(process.wait(WITHIN), Some(End::Exited(_))));
    assert_eq!(process.send("late"), Err(SendError::Closed));
}

#[test]
fn a_last_line_without_an_end_is_a_line() {
    let (_process, heard_rx) = start(
        "printf 'a\\r\\n\\nb\\377'; printf 'x\\ny' >&2",
        LINE_BYTES_MAX,
    );
    let mut all = until_end(&heard_rx);
    assert_eq!(all.pop().as_deref(), Some("(exit status: 0)"));
    // The two outputs have no order.
    all.sort();
    assert_eq!(all, ["", "! x", "! y", "a", "b\u{fffd}"]);
}

#[test]
fn a_line_that_is_too_long_is_left_out_and_the_next_one_heard() {
    let script = "printf '%s\\n' 12345678 123456789 12345678901234567 ok";
    let (_process, heard_rx) = start(script, 8);
    let expected = [
        "12345678",
        "(too long)",
        "(too long)",
        "ok",
        "(exit status: 0)",
    ];
    assert_eq!(until_end(&heard_rx), expected);
    let (_process, heard_rx) = start("printf 1234567890 >&2", 8);
    assert_eq!(
        until_end(&heard_rx),
        ["! 12345678", "! 90", "(exit status: 0)"]
    );
}

#[test]
fn what_somebody_else_holds_open_does_not_delay_the_end() {
    let script = "setsid sh -c 'echo $$; exec sleep 100' & read go; printf unfinished";
    let (process, heard_rx) = start(script, LINE_BYTES_MAX);
    // Once it says so, it has left the session.
    let sleeper = next(&heard_rx);
    process.send("go").unwrap();
    assert_eq!(until_end(&heard_rx), ["unfinished", "(exit status: 0)"]);
    drop(process);
    assert!(
        Command::new("kill")
            .args(["-9", &sleeper])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_child_that_reads_nothing_fills_no_memory_and_can_be_killed() {
    let (process, _heard_rx) = start("exec sleep 100", LINE_BYTES_MAX);
    let line = "x".repeat(100_000);
    let refused = (0..100).find_map(|_| process.send(&line).err());
    assert_eq!(refused, Some(SendError::Full));
    process.kill();
    assert_eq!(process.wait(WITHIN), Some(End::Cancelled));
}

#[test]
fn a_child_that_closes_its_input_goes_on() {
    let (process, heard_rx) = start(
        "exec <&-; echo closed; echo more; sleep 100",
        LINE_BYTES_MAX,
    );
    assert_eq!(next(&heard_rx), "closed");
    // The first one finds out.
    let deadline = Instant::now() + WITHIN;
    while process.send("line").is_ok() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(next(&heard_rx), "more");
    assert_eq!(process.wait(Duration::ZERO), None);
}

#[test]
fn dropping_it_kills_all_of_its_session() {
    // A job in a group of its own.
    let script = "exec bash -c 'set -m; sleep 100 & echo $!; wait'";
    let (process, heard_rx) = start(script, LINE_BYTES_MAX);
    let job = next(&heard_rx);
    assert!(is_running(&job));
    drop(process);
    // It is killed by then; the system takes a moment to end it.
    let deadline = Instant::now() + WITHIN;
    while is_running(&job) {
        assert!(Instant::now() < deadline, "it runs on");
        std::thread::yield_now();
    }
    assert_eq!(until_end(&heard_rx), ["(killed: it was cancelled)"]);
}

#[test]
fn it_can_be_asked_to_end() {
    let (process, heard_rx) = start("echo ready; exec sleep 100", LINE_BYTES_MAX);
    assert_eq!(next(&heard_rx), "ready");
    process.terminate();
    assert_eq!(until_end(&heard_rx), ["(signal: 15 (SIGTERM))"]);
}

#[test]
fn a_program_that_is_not_there_is_not_started() {
    let prepared = prepared("/nowhere/at-all", &[], Box::new(NoMonitor));
    let started = LineProcess::start("lines", prepared, "", LINE_BYTES_MAX, |_| {});
    assert_eq!(started.unwrap_err().kind(), ErrorKind::NotFound);
}

#[derive(Debug)]
struct Refusing;

impl Monitor for Refusing {
    fn is_checking(&self) -> bool {
        true
    }

    fn check(&mut self) -> Option<String> {
        Some("it is too large".to_owned())
    }
}

#[test]
fn its_monitor_ends_it() {
    let prepared = prepared("sleep", &["100"], Box::new(Refusing));
    let process = LineProcess::start("lines", prepared, "", LINE_BYTES_MAX, |_| {}).unwrap();
    let end = process.wait(WITHIN);
    assert_eq!(end, Some(End::Stopped("it is too large".to_owned())));
}

#[test]
fn a_panic_of_what_hears_ends_the_child_and_leaves_nobody_waiting() {
    let (pid_tx, pid_rx) = unbounded();
    let hear = move |heard: Heard<'_>| {
        pid_tx.send(shown(&heard)).unwrap();
        panic!("on purpose");
    };
    let prepared = prepared(
        "sh",
        &["-c", "echo $$; exec sleep 100"],
        Box::new(NoMonitor),
    );
    let process = LineProcess::start("lines", prepared, "", LINE_BYTES_MAX, hear).unwrap();
    assert!(matches!(process.wait(WITHIN), Some(End::Stopped(_))));
    assert!(!is_running(&next(&pid_rx)));
}
