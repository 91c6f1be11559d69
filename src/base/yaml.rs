//! YAML, read and written. The one folder that names the YAML crates.
//!
//! [`from_str`] and [`to_string`] are for files that the program writes itself. A file that a user
//! writes is read as a [`tree::Document`], which knows where each value stands, and taken apart by
//! [`read`], which reports every problem instead of the first.
//!
//! Invariants, whatever a stranger wrote:
//! - the time to read a text grows with its length and no faster, its problems included;
//! - no text makes us hold much more than a few times [`TEXT_BYTES_MAX`], or overflow the smallest
//!   stack of ours.

pub mod expand;
pub mod pick;
pub mod problem;
pub mod read;
mod scalar;
pub mod tree;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

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
    // That crate reads all of a text before its first value, in a time that grows with the square
    // of its depth, and of its directives.
    tree::read(text, tree::Tags::Ignored)?;
    if text.starts_with('%') || text.contains("\n%") {
        return Err(YamlError {
            position: None,
            message: "directives (`%NAME`) are not supported".to_owned(),
        });
    }
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
