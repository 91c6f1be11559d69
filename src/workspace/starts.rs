//! When the server started and stopped, in the workspace's file `starts`: whether the last stop
//! was in good order, and how often it was not of late.
//!
//! One line per event, `started TIME` or `stopped TIME`; the last of them are kept. A start adds its
//! line to the file, an end in good order writes the file anew.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;

use crate::base::text::{self, TextError};
use crate::domain::time::Timestamp;

/// Lines kept when the file is written anew.
const LINES_KEPT: usize = 20;
/// With so many it is written anew at a start too: that many starts, and no end in good order.
const LINES_MAX: usize = 40;
/// So many starts after an unclean end …
pub(crate) const LOOP_STARTS: usize = 3;
/// … within so long are a loop of crashes.
pub(crate) const LOOP_WITHIN: Duration = Duration::from_secs(300);
/// For the owner alone, as all else in the workspace, whatever the umask.
const MODE: u32 = 0o600;
/// Far more than those take.
const FILE_BYTES_MAX: usize = 64 << 10;
const STARTED: &str = "started";
const STOPPED: &str = "stopped";

/// The record of this process's start.
#[derive(Debug)]
pub(crate) struct Starts {
    path: PathBuf,
    lines: Vec<String>,
    previous_stop_was_clean: bool,
    is_crash_loop: bool,
}

impl Starts {
    /// A server has started in the workspace at some time.
    pub(crate) fn any(workspace: &Path) -> bool {
        workspace.join("starts").exists()
    }

    /// Notes the start. A file that can't be read tells of no clean stop; one that can't be
    /// written, on a full disk, must not keep the server from showing what it has.
    pub(crate) fn begin(workspace: &Path, now: Timestamp) -> Starts {
        let path = workspace.join("starts");
        let read = match text::read(&path, FILE_BYTES_MAX) {
            Err(TextError::Missing) => Ok(String::new()),
            read => read,
        };
        let is_known = read.is_ok();
        let text = read.unwrap_or_else(|error| {
            log::warn!("{}: {error}", path.display());
            String::new()
        });
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let was_stopped = lines.last().is_none_or(|line| line.starts_with(STOPPED));
        let previous_stop_was_clean = is_known && was_stopped;
        let mut starts = Starts {
            path,
            lines,
            previous_stop_was_clean,
            is_crash_loop: false,
        };
        starts.note_start(now, text.is_empty() || text.ends_with('\n'));
        starts.is_crash_loop = unclean_starts(&starts.lines, now) >= LOOP_STARTS;
        starts
    }

    /// The process before this one ended in good order: a turn that it left is no try that failed.
    pub(crate) fn previous_stop_was_clean(&self) -> bool {
        self.previous_stop_was_clean
    }

    /// The processes before this one died again and again, so that what they took up may be the
    /// reason.
    pub(crate) fn is_crash_loop(&self) -> bool {
        self.is_crash_loop
    }

    /// Notes that this process ends in good order.
    pub(crate) fn end(&mut self, now: Timestamp) {
        self.lines.push(format!("{STOPPED} {now}"));
        let written = self.replace();
        self.say_if_failed(STOPPED, written);
    }

    fn note_start(&mut self, now: Timestamp, is_whole: bool) {
        let line = format!("{STARTED} {now}");
        self.lines.push(line.clone());
        // What is added to half a line would be lost with it.
        let written = if is_whole && self.lines.len() <= LINES_MAX {
            self.add(&line)
        } else {
            self.replace()
        };
        self.say_if_failed(STARTED, written);
    }

    fn say_if_failed(&self, what: &str, written: io::Result<()>) {
        if let Err(error) = written {
            log::warn!(
                "{}: not noted that the server {what}: {error}",
                self.path.display()
            );
        }
    }

    /// Without a sync, which would be most of the time that a start takes: the file is about
    /// processes that die, and what a power cut takes of it costs a try that is not counted. Nor
    /// is the file replaced, at which ext4 waits for the disk as well.
    fn add(&self, line: &str) -> io::Result<()> {
        let mut file = private(OpenOptions::new().append(true), &self.path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }

    /// Keeps the last lines. Without a sync, too.
    fn replace(&mut self) -> io::Result<()> {
        let surplus = self.lines.len().saturating_sub(LINES_KEPT);
        self.lines.drain(..surplus);
        let temporary = self.path.with_extension("new");
        let mut file = private(OpenOptions::new().write(true).truncate(true), &temporary)?;
        file.write_all((self.lines.join("\n") + "\n").as_bytes())?;
        fs::rename(&temporary, &self.path)
    }
}

/// Opens a file of the workspace to write in it, and never what a link or a pipe of that name leads
/// to: a workspace may come from elsewhere.
fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let options = options.create(true).mode(MODE).custom_flags(flags);
    let file = options.open(path)?;
    // An older version left it readable.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

/// How many of the last starts followed an unclean end, without a clean one in between, of late.
fn unclean_starts(lines: &[String], now: Timestamp) -> usize {
    let started = |line: &String| {
        let time = line.strip_prefix(STARTED)?;
        Timestamp::parse(time.trim_start()).ok()
    };
    // A clock that was set back since is no reason to take them for recent.
    let is_recent = |at: &Timestamp| now.since(*at).max(at.since(now)) <= LOOP_WITHIN;
    let in_a_row = lines.iter().rev().map_while(started);
    // The first of them followed a clean end, or nothing.
    let pairs = in_a_row.clone().zip(in_a_row.skip(1));
    pairs.take_while(|(at, _)| is_recent(at)).count()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn no_link_beside_it_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("starts.new");
        let now = Timestamp::from_micros(0);
        let precious = folder.path().join("precious");
        fs::write(&precious, "mine\n").unwrap();
        symlink(&precious, &new).unwrap();
        Starts::begin(folder.path(), now).end(now);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "mine\n");
    }

    #[test]
    fn a_pipe_in_its_place_holds_no_start_up() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("starts");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let (done_tx, done_rx) = crossbeam_channel::bounded(1);
        let workspace = folder.path().to_owned();
        std::thread::spawn(move || {
            let starts = Starts::begin(&workspace, Timestamp::from_micros(0));
            done_tx.send(starts.previous_stop_was_clean()).unwrap();
        });
        let was_clean = done_rx.recv_timeout(Duration::from_secs(10));
        assert_eq!(was_clean, Ok(false));
    }

    #[test]
    fn three_unclean_starts_in_five_minutes_are_a_loop() {
        let minute = |minutes: u64| Timestamp::from_micros(minutes * 60_000_000);
        for (story, expected) in [
            ("+0", 0),
            ("+0 +1 +2", 2),
            ("+0 +1 +2 +3", 3),
            ("+0 +1 -2 +2 +3", 1),
            ("+0 -1 +2 +3 +4 +5", 3),
            ("+0 +1 +8 +9 +10", 3),
            ("+0 +1 +9 +10", 2),
            ("nonsense +1 +2", 1),
            ("+100 +101 +102 +1", 1),
        ] {
            let mut now = minute(0);
            let mut lines = Vec::new();
            for word in story.split(' ') {
                let (what, at) = match word.split_at(1) {
                    ("+", at) => (STARTED, at),
                    ("-", at) => (STOPPED, at),
                    _ => ("nonsense", "0"),
                };
                now = minute(at.parse().unwrap());
                lines.push(format!("{what} {now}"));
            }
            assert_eq!(unclean_starts(&lines, now), expected, "{story}");
        }
    }

    #[test]
    fn a_start_knows_how_the_one_before_ended() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_micros(1_795_327_200_000_000);
        let mut first = Starts::begin(folder.path(), now);
        assert!(first.previous_stop_was_clean());
        let second = Starts::begin(folder.path(), now);
        assert!(!second.previous_stop_was_clean());
        first.end(now);
        let third = Starts::begin(folder.path(), now);
        assert!(third.previous_stop_was_clean());
    }

    #[test]
    fn the_file_does_not_grow() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_micros(0);
        let lines = || {
            let text = fs::read_to_string(folder.path().join("starts")).unwrap();
            text.lines().count()
        };
        for _ in 0..100 {
            Starts::begin(folder.path(), now);
            assert!(lines() <= LINES_MAX);
        }
        Starts::begin(folder.path(), now).end(now);
        assert_eq!(lines(), LINES_KEPT);
    }

    #[test]
    fn a_start_after_half_a_line_is_noted_on_a_line_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("starts");
        fs::write(&file, "started 2026-11-2").unwrap();
        let now = Timestamp::from_micros(0);
        Starts::begin(folder.path(), now);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("started 2026-11-2\nstarted {now}\n"));
    }
}
