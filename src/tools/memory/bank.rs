//! The texts of one memory, and of the facts that all agents share.
//!
//! Invariant: a text is replaced only by who has seen what is there. Of two who add at once, the second
//! looks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::base::text;
use crate::store::documents::{
    DocumentError, DocumentFolder, DocumentName, Documents, VersionedText,
};
use crate::tools::builtin::BuiltinAnswer;
use crate::tools::memory::place::{DAILY, SUMMARY, day_of, topic_of};
use crate::tools::memory::recall::{Memo, tidied, tidied_note, time_of_note, version, with_note};
use crate::tools::{Run, ToolRefusal};

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
/// How long others may be quicker, or another process may be writing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon it is tried again.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// A memory, or the facts of the world.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    documents: Arc<dyn Documents>,
    folder: DocumentFolder,
}

/// Changes a bank on behalf of a call, which may be cancelled.
#[derive(Debug)]
pub(super) struct BankWriter<'b> {
    bank: &'b Bank,
    run: &'b Run<'b>,
}

/// What becomes of a text, and what the model is told.
enum Edit {
    Keep { said: String },
    Replace { text: String, said: String },
}

impl Bank {
    /// The bank in a folder of these documents.
    pub(super) fn new(documents: Arc<dyn Documents>, folder: DocumentFolder) -> Bank {
        Bank { documents, folder }
    }

    /// The summary, if there is one.
    pub(super) fn summary(&self) -> Result<Option<Memo>, ToolRefusal> {
        Ok(self.read(SUMMARY)?.map(|text| summary(&text)))
    }

    /// The days with notes, the last one first.
    pub(super) fn days(&self) -> Result<Vec<String>, ToolRefusal> {
        let names = self.names(DAILY)?;
        let days = names.iter().filter_map(|name| day_of(name));
        Ok(days.rev().map(str::to_owned).collect())
    }

    /// The notes of a day; empty if there are none.
    pub(super) fn notes(&self, day: &str) -> Result<Memo, ToolRefusal> {
        Ok(Memo {
            name: format!("notes of {day}"),
            text: self.read(&day_file(day))?.unwrap_or_default(),
            version: None,
        })
    }

    /// The topics of a folder of facts, sorted.
    pub(super) fn topics(&self) -> Result<Vec<String>, ToolRefusal> {
        let names = self.names("")?;
        let topics = names.iter().filter_map(|name| topic_of(name));
        let mut topics: Vec<String> = topics.map(str::to_owned).collect();
        // In the order of their files, `a-b` stands before `a`.
        topics.sort();
        Ok(topics)
    }

    /// What is known on a topic.
    pub(super) fn topic(&self, topic: &str) -> Result<Memo, ToolRefusal> {
        let text = self.read(&topic_file(topic))?.unwrap_or_default();
        Ok(fact(topic, &text))
    }

    /// Changes it on behalf of a call.
    pub(super) fn writer<'b>(&'b self, run: &'b Run<'b>) -> BankWriter<'b> {
        BankWriter { bank: self, run }
    }

    fn document(&self, name: &str) -> Result<DocumentName, ToolRefusal> {
        self.folder.document(name).map_err(|error| failed(&error))
    }

    fn read(&self, name: &str) -> Result<Option<String>, ToolRefusal> {
        let found = self.documents.read(&self.document(name)?);
        let found = found.map_err(|error| match &error {
            DocumentError::Io { source, .. } => {
                log::error!("a memory fails: {error}: {source}");
                format!("the file {name} of the memory cannot be read: {source}").into()
            }
            _ => self.said(name, &error),
        });
        Ok(found?.map(|found| found.text))
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, ToolRefusal> {
        let folder = self.folder.folder(folder);
        let names = folder.and_then(|folder| self.documents.list(&folder));
        names.map_err(|error| match &error {
            DocumentError::Unreadable { source, .. } => {
                format!("the folder of the memory {source}").into()
            }
            _ => failed(&error),
        })
    }

    /// Why a text cannot be used, for the model, which has no use for paths.
    fn said(&self, name: &str, error: &DocumentError) -> ToolRefusal {
        match error {
            DocumentError::Unreadable { source, .. } => {
                format!("the file {name} of the memory {source}").into()
            }
            _ => failed(error),
        }
    }
}

impl BankWriter<'_> {
    /// Adds a note to those of a day, unless the last two days with notes have it. `moment` gives the
    /// date and the time; it is asked again at each try, so that notes stand in the order of their
    /// times.
    pub(super) fn add_note(
        &self,
        moment: impl Fn() -> (String, String),
        content: &str,
    ) -> BuiltinAnswer {
        let content = tidied_note(content);
        check_length(
            &content,
            NOTE_BYTES_MAX,
            "a note",
            "say it shorter, or in several notes",
        )?;
        let (date, first_time) = moment();
        self.update(&day_file(&date), |before| {
            for day in self.bank.days()?.iter().take(2) {
                if let Some(time) = time_of_note(&self.bank.notes(day)?.text, &content) {
                    let said = format!("Noted already, on {day} at {time}.");
                    return Ok(Edit::Keep { said });
                }
            }
            // Midnight may have come meanwhile.
            let time = match moment() {
                (today, time) if today == date => time,
                _ => first_time.clone(),
            };
            let text = with_note(before.unwrap_or_default(), &date, &time, &content);
            check_day(&date, &text)?;
            let said = format!("Noted in the notes of {date}.");
            Ok(Edit::Replace { text, said })
        })
    }

    /// Replaces the summary, if `base` is the version that is there.
    pub(super) fn replace_summary(&self, content: &str, base: Option<&str>) -> BuiltinAnswer {
        let content = tidied(content) + "\n";
        check_length(
            content.trim_end(),
            SUMMARY_BYTES_MAX,
            "the summary",
            "keep what matters most; details can stay in the notes, which a `query` finds",
        )?;
        self.update(SUMMARY, |before| {
            if before == Some(&content) {
                let said = "The summary says that already.".to_owned();
                return Ok(Edit::Keep { said });
            }
            check_version(before.map(summary).as_ref(), base)?;
            let version = version(&content);
            let said = format!("The summary is replaced; its version is {version}.");
            Ok(Edit::Replace {
                text: content.clone(),
                said,
            })
        })
    }

    /// Replaces what is known on a topic, if `base` is the version that is there.
    pub(super) fn replace_topic(
        &self,
        topic: &str,
        content: &str,
        base: Option<&str>,
    ) -> BuiltinAnswer {
        let content = tidied(content) + "\n";
        check_length(
            content.trim_end(),
            TOPIC_BYTES_MAX,
            "what is known on a topic",
            "say it shorter, or as several topics",
        )?;
        self.update(&topic_file(topic), |before| {
            self.check_room_for(topic)?;
            if before == Some(&content) {
                let said = "The topic says that already.".to_owned();
                return Ok(Edit::Keep { said });
            }
            check_version(before.map(|text| fact(topic, text)).as_ref(), base)?;
            let version = version(&content);
            let said = format!("The topic is written; its version is {version}.");
            Ok(Edit::Replace {
                text: content.clone(),
                said,
            })
        })
    }

    fn check_room_for(&self, topic: &str) -> Result<(), ToolRefusal> {
        let topics = self.bank.topics()?;
        let is_new = !topics.iter().any(|known| known == topic);
        if is_new && topics.len() >= TOPICS_MAX {
            return Err(format!(
                "there are {} topics already, and room for no more: write it under one of them: {}",
                topics.len(),
                text::start(&topics.join(", "), NOTE_BYTES_MAX)
            )
            .into());
        }
        Ok(())
    }

    /// Does with a text what `edit` says, as often as somebody else was quicker.
    fn update(
        &self,
        name: &str,
        mut edit: impl FnMut(Option<&str>) -> Result<Edit, ToolRefusal>,
    ) -> BuiltinAnswer {
        let deadline = Instant::now() + PATIENCE;
        let mut answer = String::new();
        let edited = |before: Option<&VersionedText>| {
            let (text, said) = match edit(before.map(|before| before.text.as_str()))? {
                Edit::Keep { said } => (None, said),
                Edit::Replace { text, said } => (Some(text), said),
            };
            answer = said;
            Ok(text)
        };
        let failed = |error: DocumentError| {
            if error.is_passing() {
                self.wait_until(deadline)
            } else {
                Err(self.bank.said(name, &error))
            }
        };
        let document = self.bank.document(name)?;
        self.bank.documents.update(&document, edited, failed)?;
        Ok(answer)
    }

    /// Waits for others, a moment and not beyond `deadline`.
    fn wait_until(&self, deadline: Instant) -> Result<(), ToolRefusal> {
        if Instant::now() >= deadline {
            return Err("the memory is in use; try again later".into());
        }
        match self.run.cancel.recv_timeout(TRY_EVERY) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err("cancelled".into()),
            Ok(never) => match never {},
        }
    }
}

/// For the model, which has no use for paths; the log has them.
fn failed(error: &DocumentError) -> ToolRefusal {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    let cause = cause.unwrap_or_else(|| error.to_string());
    log::error!("a memory fails: {error}: {cause}");
    format!("the memory cannot be used: {cause}").into()
}

fn summary(text: &str) -> Memo {
    Memo {
        name: SUMMARY.to_owned(),
        version: Some(version(text)),
        text: text.to_owned(),
    }
}

fn fact(topic: &str, text: &str) -> Memo {
    Memo {
        name: format!("world: {topic}"),
        version: Some(version(text)),
        text: text.to_owned(),
    }
}

fn topic_file(topic: &str) -> String {
    format!("{topic}.md")
}

fn day_file(day: &str) -> String {
    format!("{DAILY}/{day}.md")
}

fn check_length(text: &str, bytes_max: usize, what: &str, remedy: &str) -> Result<(), ToolRefusal> {
    if text.is_empty() {
        return Err("`content` must not be empty".into());
    }
    if text.len() > bytes_max {
        return Err(format!(
            "{what} has room for {bytes_max} bytes, and this has {}: {remedy}",
            text.len()
        )
        .into());
    }
    Ok(())
}

fn check_day(date: &str, notes: &str) -> Result<(), ToolRefusal> {
    if notes.len() > DAY_BYTES_MAX {
        return Err(format!(
            "the notes of {date} would have {} bytes, and a day has room for {DAY_BYTES_MAX}: \
             `reflect` on what matters of them; there is room for notes again tomorrow",
            notes.len()
        )
        .into());
    }
    Ok(())
}

/// Refuses to replace what the writer has not read: another may have written it meanwhile.
fn check_version(now: Option<&Memo>, base: Option<&str>) -> Result<(), ToolRefusal> {
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
    )
    .into())
}

#[cfg(test)]
mod tests;
