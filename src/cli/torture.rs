//! `duragent torture`, and the server on a failing disk that it starts.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::args::{Global, ServeFaultyArgs, TortureArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::{output, settings};
use crate::runtime::options::{Resume, ServeOptions};
use crate::runtime::serve::{DiskFaultPlan, serve_faulty};
use crate::torture::report::TortureReport;
use crate::torture::{TortureOptions, torture};

/// Kills servers until the time is over, and says what came of it.
pub(super) fn run(args: &TortureArgs) -> CliResult {
    let options = TortureOptions {
        time: Duration::from_secs(args.seconds),
        folder: args.dir.clone().unwrap_or_else(std::env::temp_dir),
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        program: std::env::current_exe().context("cannot find this program")?,
    };
    let shows_progress = io::stderr().is_terminal();
    let report = torture(&options, &mut |report| {
        if shows_progress {
            show_progress(report);
        }
    })?;
    if shows_progress {
        // The summary begins on a line of its own.
        output::tell("");
    }
    if args.output.is_json() {
        output::print_json(&report)?;
    } else {
        output::print(&report.lines())?;
    }
    match report.violations.len() {
        0 => Ok(()),
        1 => Err(CliError::new("a promise was broken")),
        count => Err(CliError::new(format!("promises were broken {count} times"))),
    }
}

/// Runs a server whose disk fails.
pub(super) fn run_faulty(args: &ServeFaultyArgs, global: &Global) -> CliResult {
    let options = ServeOptions {
        origin: settings::locate(global).origin,
        port: Some(0),
        resume: Resume::Always,
        log_level: global.log_level(),
        ..ServeOptions::default()
    };
    let plan = DiskFaultPlan {
        seed: args.seed,
        one_in: args.one_in,
    };
    Ok(serve_faulty(&options, plan)?)
}

/// Replaces the line that was shown before.
fn show_progress(report: &TortureReport) {
    let line = format!("\r\x1b[K{}", report.progress());
    let mut err = io::stderr().lock();
    // Progress that nobody can read is no reason to stop.
    drop(err.write_all(line.as_bytes()).and_then(|()| err.flush()));
}
