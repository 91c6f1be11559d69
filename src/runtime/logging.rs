//! The log of the program: lines for people, or JSON objects for programs. Secrets are covered in
//! both.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use anyhow::Context as _;
use env_logger::{Builder, Target};
use log::Record;

use crate::config::{LogFormat, Logging};
use crate::domain::redact::Redactor;
use crate::domain::time::Timestamp;

/// Starts the log as configured. Lines of libraries are shown from warnings on.
///
/// Errors: the file can't be opened.
pub(super) fn start(logging: &Logging, redactor: Arc<Redactor>) -> anyhow::Result<()> {
    let mut builder = Builder::new();
    builder
        .filter_level(logging.level.min(log::LevelFilter::Warn))
        .filter_module("duragent", logging.level);
    let line = match logging.format {
        LogFormat::Pretty => pretty,
        LogFormat::Json => json,
    };
    builder.format(move |out, record| {
        let now = Timestamp::from(SystemTime::now());
        writeln!(out, "{}", line(now, record, &redactor))
    });
    if let Some(path) = &logging.file {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot open the log {}", path.display()))?;
        builder.target(Target::Pipe(Box::new(file)));
    }
    // A second start, as in a test, keeps the first log.
    builder.try_init().ok();
    Ok(())
}

/// Has panics written to the log, which covers secrets; by itself the standard library prints them.
pub(super) fn take_panics() {
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        let thread = thread::current();
        log::error!("thread {} {panic}{trace}", thread.name().unwrap_or("?"));
    }));
}

fn pretty(now: Timestamp, record: &Record<'_>, redactor: &Redactor) -> String {
    let level = record.level().as_str().to_lowercase();
    let message = record.args().to_string();
    format!("{now} {level:5} {}", redactor.redact(&message))
}

fn json(now: Timestamp, record: &Record<'_>, redactor: &Redactor) -> String {
    let message = record.args().to_string();
    let line = serde_json::json!({
        "timestamp": now,
        "level": record.level().as_str().to_lowercase(),
        "target": record.target(),
        "message": redactor.redact(&message),
    });
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_covered_in_lines_of_both_kinds() {
        let secret = ("A_KEY".to_owned(), "sk-\"quoted\"".to_owned());
        let redactor = Redactor::new([secret]);
        let now = Timestamp::from_micros(0);
        let shown = |line: fn(Timestamp, &Record<'_>, &Redactor) -> String| {
            let mut builder = Record::builder();
            builder.level(log::Level::Warn).target("duragent");
            let args = format_args!("it said {:?} and {}", "sk-\"quoted\"", "sk-\"quoted\"");
            line(now, &builder.args(args).build(), &redactor)
        };
        assert_eq!(
            shown(pretty),
            "1970-01-01T00:00:00.000000Z warn  it said \"[redacted:A_KEY]\" and [redacted:A_KEY]"
        );
        assert_eq!(
            shown(json),
            r#"{"level":"warn","message":"it said \"[redacted:A_KEY]\" and [redacted:A_KEY]","target":"duragent","timestamp":"1970-01-01T00:00:00.000000Z"}"#
        );
    }
}
