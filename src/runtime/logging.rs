//! The log of the program: lines for people, or JSON objects for programs. Secrets are covered in
//! both.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::SystemTime;

use anyhow::Context as _;
use env_logger::{Builder, Target};
use log::Record;

use crate::base::lock::lock;
use crate::config::{LogFormat, LoggingConfig};
use crate::domain::redact::Redactor;
use crate::domain::time::Timestamp;

/// The file that the log goes to, if it goes to one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct LogFile(Option<Arc<OpenLog>>);

#[derive(Debug)]
struct OpenLog {
    path: PathBuf,
    /// `None` where it could not be opened yet: lines go to the standard error.
    file: Mutex<Option<File>>,
}

impl LogFile {
    fn at(path: &Path, file: Option<File>) -> LogFile {
        LogFile(Some(Arc::new(OpenLog {
            path: path.to_owned(),
            file: Mutex::new(file),
        })))
    }

    /// Goes on in the file that has the configured name now: whoever rotates logs has given the one
    /// before another. Where there is none to be had, the log goes on where it was.
    pub(super) fn reopen(&self) {
        let Some(OpenLog { path, file }) = self.0.as_deref() else {
            return;
        };
        match open(path) {
            Ok(next) => drop(lock(file).replace(next)),
            Err(error) => log::error!("cannot open the log {} anew: {error}", path.display()),
        }
    }
}

/// Lines go to whichever file is open now. A line that cannot be written is lost, and nothing else.
impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(opened) = self.0.as_deref() else {
            return Ok(bytes.len());
        };
        match &mut *lock(&opened.file) {
            Some(file) => file.write(bytes),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever cuts the file (`copytruncate`) finds that the next line stands at its new end.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Starts the log as configured. Lines of libraries are shown from warnings on. On a disk that is
/// full or read-only the log goes to the standard error until it is opened anew, and the server starts
/// all the same.
///
/// Errors: the file can't be opened.
pub(super) fn start(logging: &LoggingConfig, redactor: Arc<Redactor>) -> anyhow::Result<LogFile> {
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
    let mut file = LogFile::default();
    let mut refused = None;
    if let Some(path) = &logging.file {
        let opened = match open(path) {
            Err(error) if is_passing(&error) => Err(error),
            opened => Ok(opened.with_context(|| cannot_open(path))?),
        };
        let opened =
            opened.map_err(|error| refused = Some(format!("{}: {error}", cannot_open(path))));
        file = LogFile::at(path, opened.ok());
        builder.target(Target::Pipe(Box::new(file.clone())));
    }
    // A second start, as in a test, keeps the first log.
    builder.try_init().ok();
    if let Some(refused) = refused {
        log::error!("{refused}");
    }
    Ok(file)
}

fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem
    )
}

fn cannot_open(path: &Path) -> String {
    format!("cannot open the log {}", path.display())
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

    #[test]
    fn a_log_that_was_renamed_goes_on_under_its_name_and_one_that_was_cut_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("log"), folder.path().join("log.1"));
        let mut log = LogFile::at(&path, None);
        log.reopen();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        log.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        log.write_all(b"two\n").unwrap();
        log.reopen();
        log.write_all(b"three\n").unwrap();
        assert_eq!(read(&rotated), "one\ntwo\n");
        assert_eq!(read(&path), "three\n");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(read(&path), "four\n");
        // Its folder is gone: it goes on where it was.
        std::fs::rename(folder.path(), folder.path().with_extension("away")).unwrap();
        log.reopen();
        log.write_all(b"five\n").unwrap();
        let away = folder.path().with_extension("away");
        assert_eq!(read(&away.join("log")), "four\nfive\n");
        std::fs::rename(away, folder.path()).unwrap();
    }

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
        let logging = LoggingConfig {
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
