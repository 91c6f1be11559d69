//! The log of the program: lines for people, or JSON objects for programs.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::SystemTime;

use anyhow::Context as _;
use env_logger::fmt::Formatter;
use env_logger::{Builder, Target};
use log::Record;

use crate::config::{LogFormat, Logging};
use crate::domain::time::Timestamp;

/// Starts the log as configured. Lines of libraries are shown from warnings on.
///
/// Errors: the file can't be opened.
pub(super) fn start(logging: &Logging) -> anyhow::Result<()> {
    let mut builder = Builder::new();
    builder
        .filter_level(logging.level.min(log::LevelFilter::Warn))
        .filter_module("duragent", logging.level);
    match logging.format {
        LogFormat::Pretty => builder.format(pretty),
        LogFormat::Json => builder.format(json),
    };
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

fn pretty(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let now = Timestamp::from(SystemTime::now());
    let level = record.level().as_str().to_lowercase();
    writeln!(out, "{now} {level:5} {}", record.args())
}

fn json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let line = serde_json::json!({
        "timestamp": Timestamp::from(SystemTime::now()),
        "level": record.level().as_str().to_lowercase(),
        "target": record.target(),
        "message": record.args().to_string(),
    });
    writeln!(out, "{line}")
}
