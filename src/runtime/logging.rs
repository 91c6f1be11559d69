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
    use std::env;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    const KEY: &str = "sk-\"quoted\"";

    fn redactor() -> Redactor {
        Redactor::new([("A_KEY".to_owned(), KEY.to_owned())])
    }

    /// Names the log to a process of its own: how panics are told is a process's.
    const CHILD: &str = "DURAGENT_TEST_PANICS_INTO";

    #[test]
    fn a_panic_is_written_to_the_log_without_secrets() {
        if let Some(file) = env::var_os(CHILD) {
            return panic_into(Path::new(&file));
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        let this = "runtime::logging::tests::a_panic_is_written_to_the_log_without_secrets";
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(CHILD, &file)
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        let printed = String::from_utf8_lossy(&child.stderr);
        assert!(!printed.contains("panicked"), "{printed}");
        let log = std::fs::read_to_string(&file).unwrap();
        assert!(log.contains("error thread s-TEST panicked at "), "{log}");
        assert!(log.contains("cannot use [redacted:A_KEY]"), "{log}");
        assert!(!log.contains(KEY), "{log}");
    }

    fn panic_into(file: &Path) {
        let logging = Logging {
            level: log::LevelFilter::Info,
            format: LogFormat::Pretty,
            file: Some(file.to_owned()),
        };
        start(&logging, Arc::new(redactor())).unwrap();
        take_panics();
        let panics = thread::Builder::new().name("s-TEST".to_owned());
        let panics = panics.spawn(|| panic!("cannot use {KEY}")).unwrap();
        panics.join().unwrap_err();
    }

    #[test]
    fn a_secret_is_covered_in_lines_of_both_kinds() {
        let redactor = redactor();
        let now = Timestamp::from_micros(0);
        let shown = |line: fn(Timestamp, &Record<'_>, &Redactor) -> String| {
            let mut builder = Record::builder();
            builder.level(log::Level::Warn).target("duragent");
            let args = format_args!("it said {KEY:?} and {KEY}");
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
