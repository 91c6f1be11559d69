//! The files of one memory, and of the facts that all agents share.
//!
//! Invariants:
//! - a file is replaced as a whole: a crash at any moment leaves the old one or the new one;
//! - no link below its root is followed: the folder may have come from a stranger;
//! - who changes a folder's files holds its lock, from reading what is there to the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::base::file_lock::FileLock;
use crate::base::fs::{Fs, create_dirs, replace_file};
use crate::base::text::{self, TextError};
use crate::tools::Run;
use crate::tools::builtin::Answer;
use crate::tools::memory::place::{DAILY, SUMMARY, day_of, topic_of};
use crate::tools::memory::recall::{Memo, tidied, tidied_note, time_of_note, version, with_note};

/// The longest note.
const NOTE_BYTES_MAX: usize = 4 << 10;
/// The longest file of a day's notes.
const DAY_BYTES_MAX: usize = 64 << 10;
/// The longest summary: it is shown whole by every recall.
const SUMMARY_BYTES_MAX: usize = 16 << 10;
/// The longest text on a topic of the world.
const TOPIC_BYTES_MAX: usize = 8 << 10;
/// The most topics of the world.
const TOPICS_MAX: usize = 200;
/// The longest file that is read: people may write what they like into them.
const FILE_BYTES_MAX: usize = 1 << 20;
/// How long another may have the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often a lock is tried that another has.
const LOCK_EVERY: Duration = Duration::from_millis(5);

/// A folder of memories.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    /// The folder above, or itself, to which links may lead.
    root: PathBuf,
}

/// A bank whose files nobody else changes meanwhile.
#[derive(Debug)]
pub(super) struct Held<'b> {
    bank: &'b Bank,
    _lock: FileLock,
}

impl Bank {
    /// The bank in `folder`, which lies in `root` or is it.
    pub(super) fn new(fs: Arc<dyn Fs>, folder: PathBuf, root: PathBuf) -> Bank {
        Bank { fs, folder, root }
    }

    /// The summary, if there is one.
    pub(super) fn summary(&self) -> Result<Option<Memo>, String> {
        let text = self.read(SUMMARY)?;
        Ok(text.map(|text| Memo {
            name: SUMMARY.to_owned(),
            version: Some(version(&text)),
            text,
        }))
    }

    /// The days with notes, the last one first.
    pub(super) fn days(&self) -> Result<Vec<String>, String> {
        let names = self.names(DAILY)?;
        let mut days: Vec<String> = names
            .iter()
            .filter_map(|name| Some(day_of(name)?.to_owned()))
            .collect();
        days.sort();
        days.reverse();
        Ok(days)
    }

    /// The notes of a day; empty if there are none.
    pub(super) fn notes(&self, day: &str) -> Result<Memo, String> {
        Ok(Memo {
            name: format!("notes of {day}"),
            text: self.read(&day_file(day))?.unwrap_or_default(),
            version: None,
        })
    }

    /// The topics of a folder of facts, sorted.
    pub(super) fn topics(&self) -> Result<Vec<String>, String> {
        let names = self.names("")?;
        let mut topics: Vec<String> = names
            .iter()
            .filter_map(|name| Some(topic_of(name)?.to_owned()))
            .collect();
        topics.sort();
        Ok(topics)
    }

    /// What is known on a topic.
    pub(super) fn topic(&self, topic: &str) -> Result<Memo, String> {
        let text = self.read(&format!("{topic}.md"))?.unwrap_or_default();
        Ok(Memo {
            name: format!("world: {topic}"),
            version: Some(version(&text)),
            text,
        })
    }

    /// Takes the lock of the folder, which is created if missing.
    ///
    /// Errors: another has it for too long, the run is to end, or the system refuses.
    pub(super) fn hold(&self, run: &Run<'_>) -> Result<Held<'_>, String> {
        self.check("")?;
        create_dirs(&*self.fs, &self.folder).map_err(|error| self.failed(&self.folder, &error))?;
        let path = self.folder.join(".lock");
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match FileLock::try_take(&path) {
                Ok(Some(lock)) => {
                    return Ok(Held {
                        bank: self,
                        _lock: lock,
                    });
                }
                Ok(None) if Instant::now() < deadline => {}
                Ok(None) => return Err("the memory is in use; try again later".to_owned()),
                Err(error) => return Err(self.failed(&path, &error)),
            }
            match run.cancel.recv_timeout(LOCK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("cancelled".to_owned()),
                Ok(never) => match never {},
            }
        }
    }

    fn read(&self, name: &str) -> Result<Option<String>, String> {
        let opened = text::open_unlinked(&self.root, &self.inner(name));
        match opened.and_then(|file| text::read_open(file, FILE_BYTES_MAX)) {
            Ok(text) => Ok(Some(text)),
            Err(TextError::Missing) => Ok(None),
            Err(error) => Err(format!("the file {name} of the memory {error}")),
        }
    }

    /// Where a file or folder of it lies in the root.
    fn inner(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        path.strip_prefix(&self.root).unwrap_or(&path).to_owned()
    }

    /// Whether a file or folder of it is reached without links.
    fn check(&self, name: &str) -> Result<(), String> {
        text::check_unlinked(&self.root, &self.inner(name))
            .map_err(|error| format!("the folder of the memory {error}"))
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        self.check(folder)?;
        let folder = self.folder.join(folder);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.failed(&folder, &error))?,
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    /// For the model, which has no use for paths; the log has them.
    fn failed(&self, path: &Path, error: &io::Error) -> String {
        log::error!("a memory fails at {}: {error}", path.display());
        format!("the memory cannot be used: {error}")
    }
}

impl Held<'_> {
    /// Adds a note to those of `date`, unless the last two days with notes have it.
    pub(super) fn add_note(&self, date: &str, time: &str, content: &str) -> Answer {
        let content = tidied_note(content);
        check_length(
            &content,
            NOTE_BYTES_MAX,
            "a note",
            "say it shorter, or in several notes",
        )?;
        for day in self.bank.days()?.iter().take(2) {
            if let Some(time) = time_of_note(&self.bank.notes(day)?.text, &content) {
                return Ok(format!("Noted already, on {day} at {time}."));
            }
        }
        let notes = with_note(&self.bank.notes(date)?.text, date, time, &content);
        if notes.len() > DAY_BYTES_MAX {
            return Err(format!(
                "the notes of {date} would have {} bytes, and a day has room for {DAY_BYTES_MAX}: \
                 `reflect` on what matters of them; there is room for notes again tomorrow",
                notes.len()
            ));
        }
        self.bank.check(DAILY)?;
        let daily = self.bank.folder.join(DAILY);
        create_dirs(&*self.bank.fs, &daily).map_err(|error| self.bank.failed(&daily, &error))?;
        self.replace(&day_file(date), &notes)?;
        Ok(format!("Noted in the notes of {date}."))
    }

    /// Replaces the summary, if `base` is the version that is there.
    pub(super) fn replace_summary(&self, content: &str, base: Option<&str>) -> Answer {
        let content = tidied(content) + "\n";
        check_length(
            content.trim_end(),
            SUMMARY_BYTES_MAX,
            "the summary",
            "keep what matters most; details can stay in the notes, which a `query` finds",
        )?;
        let now = self.bank.summary()?;
        if now.as_ref().is_some_and(|now| now.text == content) {
            return Ok("The summary says that already.".to_owned());
        }
        check_version(now.as_ref(), base)?;
        self.replace(SUMMARY, &content)?;
        Ok(format!(
            "The summary is replaced; its version is {}.",
            version(&content)
        ))
    }

    /// Replaces what is known on a topic, if `base` is the version that is there.
    pub(super) fn replace_topic(&self, topic: &str, content: &str, base: Option<&str>) -> Answer {
        let content = tidied(content) + "\n";
        check_length(
            content.trim_end(),
            TOPIC_BYTES_MAX,
            "what is known on a topic",
            "say it shorter, or as several topics",
        )?;
        let topics = self.bank.topics()?;
        let is_new = !topics.iter().any(|known| known == topic);
        if is_new && topics.len() >= TOPICS_MAX {
            return Err(format!(
                "there are {} topics already, and room for no more: write it under one of them: {}",
                topics.len(),
                text::start(&topics.join(", "), NOTE_BYTES_MAX)
            ));
        }
        let now = self.bank.topic(topic)?;
        if now.text == content {
            return Ok("The topic says that already.".to_owned());
        }
        check_version(Some(&now), base)?;
        self.replace(&format!("{topic}.md"), &content)?;
        Ok(format!(
            "The topic is written; its version is {}.",
            version(&content)
        ))
    }

    fn replace(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.bank.folder.join(name);
        replace_file(&*self.bank.fs, &path, text.as_bytes())
            .map_err(|error| self.bank.failed(&path, &error))
    }
}

fn day_file(day: &str) -> String {
    format!("{DAILY}/{day}.md")
}

fn check_length(text: &str, bytes_max: usize, what: &str, remedy: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("`content` must not be empty".to_owned());
    }
    if text.len() > bytes_max {
        return Err(format!(
            "{what} has room for {bytes_max} bytes, and this has {}: {remedy}",
            text.len()
        ));
    }
    Ok(())
}

/// Refuses to replace what the writer has not read: another may have written it meanwhile.
fn check_version(now: Option<&Memo>, base: Option<&str>) -> Result<(), String> {
    let Some(now) = now.filter(|now| !now.text.trim().is_empty()) else {
        return Ok(());
    };
    let version = now.version.as_deref().unwrap_or_default();
    let why = match base {
        Some(base) if base == version => return Ok(()),
        Some(_) => "was changed since you read it",
        None => "is there already, and your text would replace all of it",
    };
    Err(format!(
        "{} {why}. It now says:\n\n{}\n\nWrite it anew with what still holds of that, and pass \
         \"version\": \"{version}\".",
        now.name,
        crate::tools::builtin::cut(now.text.trim(), SUMMARY_BYTES_MAX, "the file has more")
    ))
}

#[cfg(test)]
mod tests;
