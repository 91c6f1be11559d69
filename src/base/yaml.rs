//! YAML, read and written. The one file that names the YAML crate.
//!
//! [`from_str`] and [`to_string`] are for files that the program writes itself. A file that a user
//! writes is read as a [`tree::Document`], which knows where each value stands, and taken apart by
//! [`read`], which reports every problem instead of the first.
//!
//! Invariant: no text makes us hold much more than a few times [`TEXT_BYTES_MAX`], whatever its
//! aliases stand for, or overflow the smallest stack of ours, however deep it is.

pub mod expand;
pub mod problem;
pub mod read;
pub mod tree;

use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};

pub use problem::{Level, Position, Problem};

/// The longest text that is read.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Why a text is not the YAML that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Where, if the parser knows.
    pub position: Option<Position>,
    /// What is wrong there.
    pub message: String,
}

/// Writes `value` as YAML.
///
/// Errors: values that YAML cannot say, such as nested enums.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_yaml::to_string(value).map_err(YamlError::from)
}

/// Reads one YAML document.
///
/// Errors: not YAML, another shape than `T`, more than [`TEXT_BYTES_MAX`] bytes, or more than a
/// [`tree::Document`] may hold: too deep, or aliases that stand for too much.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    refuse_long(text)?;
    tree::measure(text)?;
    serde_yaml::from_str(text).map_err(YamlError::from)
}

fn refuse_long(text: &str) -> Result<(), YamlError> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("longer than {} KiB", TEXT_BYTES_MAX >> 10);
        return Err(YamlError {
            position: None,
            message,
        });
    }
    Ok(())
}

/// Runs `seed` over the document in `text`. An error that `seed` makes is given the position of
/// the value at which it was made.
fn drive<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, YamlError> {
    seed.deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| name_tab(text, YamlError::from(error)))
}

/// Calls a tab a tab: the parser only says that something cannot stand there, and nobody sees what.
fn name_tab(text: &str, error: YamlError) -> YamlError {
    /// What the parser says of the first word behind a tab.
    const SAID: [&str; 4] = [
        "found a tab character that violates indentation",
        "found character that cannot start any token",
        "mapping values are not allowed in this context",
        "could not find expected ':'",
    ];
    let Some(at) = error
        .position
        .filter(|_| SAID.iter().any(|said| error.message.contains(said)))
    else {
        return error;
    };
    // The parser may only notice at the line after it.
    let lines = text
        .lines()
        .enumerate()
        .skip(at.line.saturating_sub(2))
        .take(2);
    let tab = lines.into_iter().find_map(|(index, line)| {
        let indent = line.len() - line.trim_start().len();
        let column = line[..indent].chars().position(|letter| letter == '\t')?;
        Some(Position {
            line: index + 1,
            column: column + 1,
        })
    });
    tab.map_or(error, |position| YamlError {
        position: Some(position),
        message: "a tab stands here: YAML is indented with spaces".to_owned(),
    })
}

impl From<serde_yaml::Error> for YamlError {
    fn from(error: serde_yaml::Error) -> YamlError {
        let position = error.location().map(|at| Position {
            line: at.line(),
            column: at.column(),
        });
        let mut message = error.to_string();
        if let Some(Position { line, column }) = position {
            // The position is said once, where our own messages say it.
            message = message.replacen(&format!(" at line {line} column {column}"), "", 1);
        }
        YamlError { position, message }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for YamlError {}

#[cfg(test)]
mod tests;
