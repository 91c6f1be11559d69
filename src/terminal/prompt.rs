//! Reads what the user types, with a history that is kept in a file.
//!
//! The history file holds one entry per line, `\` and newlines escaped, readable by its owner
//! alone: what is typed at an agent is nobody else's business.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};

use crate::base::text::{self, TextError};

/// Entries that are remembered.
const ENTRIES_MAX: usize = 1000;
/// The file may grow to so many entries before it is shortened.
const FILE_ENTRIES_MAX: usize = 2 * ENTRIES_MAX;

/// The line editor and its history.
pub struct Prompt {
    editor: Editor<(), MemHistory>,
    history: Option<PathBuf>,
}

/// The end of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptInput {
    /// Typed this; lines that ended with `\` are joined by `\n`.
    Text(String),
    /// Pressed Ctrl+C.
    Interrupt,
    /// Pressed Ctrl+D, or the terminal is gone.
    End,
}

impl Prompt {
    /// An editor whose history is in the file `history`; one that cannot be read is left out.
    /// Without a file the history ends with the editor.
    pub fn new(history: Option<&Path>) -> Result<Prompt, ReadlineError> {
        let config = Config::builder()
            .max_history_size(ENTRIES_MAX)?
            .history_ignore_dups(true)?
            .build();
        let entries = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, entries)?;
        for entry in history.map(remembered).unwrap_or_default() {
            editor.add_history_entry(entry)?;
        }
        Ok(Prompt {
            editor,
            history: history.map(Path::to_owned),
        })
    }

    /// Reads one entry; `typed` stands there already.
    pub fn read(&mut self, label: &str, typed: &str) -> Result<PromptInput, ReadlineError> {
        const CONTINUED: &str = "… ";
        let mut text = match self.line(label, typed)? {
            PromptInput::Text(line) => line,
            other => return Ok(other),
        };
        while text.ends_with('\\') {
            text.pop();
            match self.line(CONTINUED, "")? {
                PromptInput::Text(line) => {
                    text.push('\n');
                    text.push_str(&line);
                }
                other => return Ok(other),
            }
        }
        Ok(PromptInput::Text(text))
    }

    /// Keeps an entry for later.
    pub fn remember(&mut self, entry: &str) {
        let is_new = self.editor.add_history_entry(entry).unwrap_or(false);
        let Some(history) = self.history.as_ref().filter(|_| is_new) else {
            return;
        };
        if let Err(error) = append(history, entry) {
            log::debug!("cannot write {}: {error}", history.display());
        }
    }

    fn line(&mut self, label: &str, typed: &str) -> Result<PromptInput, ReadlineError> {
        match self.editor.readline_with_initial(label, (typed, "")) {
            Ok(line) => Ok(PromptInput::Text(line)),
            Err(ReadlineError::Interrupted) => Ok(PromptInput::Interrupt),
            Err(ReadlineError::Eof) => Ok(PromptInput::End),
            Err(error) => Err(error),
        }
    }
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt")
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

fn remembered(history: &Path) -> Vec<String> {
    load(history).unwrap_or_else(|error| {
        log::debug!("cannot read {}: {error}", history.display());
        Vec::new()
    })
}

/// The last entries of the file, oldest first; a file that has grown too long is shortened.
fn load(path: &Path) -> io::Result<Vec<String>> {
    // In a workspace from elsewhere it may be a pipe, or a device without an end.
    let file = match text::open(path) {
        Err(TextError::Missing) => return Ok(Vec::new()),
        other => other.map_err(io::Error::other)?,
    };
    let mut lines = Vec::new();
    for line in BufReader::new(file).lines() {
        lines.push(line?);
    }
    let kept = lines.split_off(lines.len().saturating_sub(ENTRIES_MAX));
    if lines.len() + kept.len() > FILE_ENTRIES_MAX {
        shorten(path, &kept)?;
    }
    Ok(kept.iter().map(|line| unescaped(line)).collect())
}

fn shorten(path: &Path, lines: &[String]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made readable by its owner alone from the start.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.persist(path)?;
    Ok(())
}

fn append(path: &Path, entry: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        // A workspace from elsewhere may hold a link of that name, or a pipe.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    file.write_all(format!("{}\n", escaped(entry)).as_bytes())
}

fn escaped(entry: &str) -> String {
    entry.replace('\\', "\\\\").replace('\n', "\\n")
}

fn unescaped(line: &str) -> String {
    let mut entry = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => entry.push(match chars.next() {
                Some('n') => '\n',
                other => other.unwrap_or('\\'),
            }),
            other => entry.push(other),
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn entries_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        for entry in ["one", "two\nlines", r"a\n", "\\"] {
            append(&path, entry).unwrap();
        }
        assert_eq!(load(&path).unwrap(), ["one", "two\nlines", r"a\n", "\\"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_typed_is_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (precious, path) = (
            folder.path().join("precious"),
            folder.path().join("history"),
        );
        fs::write(&precious, "mine\n").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        assert!(append(&path, "hello").is_err());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "mine\n");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(load(&path).is_err());
    }

    #[test]
    fn a_long_history_is_shortened_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let lines: String = (0..=FILE_ENTRIES_MAX).map(|n| format!("{n}\n")).collect();
        fs::write(&path, lines).unwrap();
        assert_eq!(load(&path).unwrap().len(), ENTRIES_MAX);
        let kept = fs::read_to_string(&path).unwrap();
        assert_eq!(kept.lines().count(), ENTRIES_MAX);
        assert_eq!(kept.lines().last(), Some("2000"));
    }
}
