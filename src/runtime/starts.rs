//! When the server started and stopped, in the workspace's file `starts`: whether the last stop
//! was in good order, and how often it was not of late.
//!
//! One line per event, `started TIME` or `stopped TIME`; the last of them are kept.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::fs::{RealFs, replace_file};
use crate::domain::time::Timestamp;

/// Lines kept.
const LINES_MAX: usize = 20;
const STARTED: &str = "started";
const STOPPED: &str = "stopped";

/// The record of this process's start.
#[derive(Debug)]
pub(super) struct Starts {
    path: PathBuf,
    lines: Vec<String>,
    previous_stop_was_clean: bool,
}

impl Starts {
    /// Notes the start.
    ///
    /// Errors: the file can't be read or replaced.
    pub(super) fn begin(workspace: &Path, now: Timestamp) -> io::Result<Starts> {
        let path = workspace.join("starts");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let previous_stop_was_clean = lines.last().is_none_or(|line| line.starts_with(STOPPED));
        let mut starts = Starts {
            path,
            lines,
            previous_stop_was_clean,
        };
        starts.note(STARTED, now)?;
        Ok(starts)
    }

    /// Whether the process before this one ended in good order.
    pub(super) fn previous_stop_was_clean(&self) -> bool {
        self.previous_stop_was_clean
    }

    /// Notes that this process ends in good order.
    pub(super) fn end(&mut self, now: Timestamp) -> io::Result<()> {
        self.note(STOPPED, now)
    }

    fn note(&mut self, what: &str, now: Timestamp) -> io::Result<()> {
        self.lines.push(format!("{what} {now}"));
        let surplus = self.lines.len().saturating_sub(LINES_MAX);
        self.lines.drain(..surplus);
        let text = self.lines.join("\n") + "\n";
        replace_file(&RealFs, &self.path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_knows_how_the_one_before_ended() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_micros(1_795_327_200_000_000);
        let mut first = Starts::begin(folder.path(), now).unwrap();
        assert!(first.previous_stop_was_clean());
        let second = Starts::begin(folder.path(), now).unwrap();
        assert!(!second.previous_stop_was_clean());
        first.end(now).unwrap();
        let third = Starts::begin(folder.path(), now).unwrap();
        assert!(third.previous_stop_was_clean());
    }

    #[test]
    fn the_file_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_micros(0);
        for _ in 0..50 {
            Starts::begin(folder.path(), now).unwrap();
        }
        let text = fs::read_to_string(folder.path().join("starts")).unwrap();
        assert_eq!(text.lines().count(), LINES_MAX);
    }
}
