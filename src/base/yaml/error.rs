//! What the YAML crates, and our own limits, refuse a text for.

use std::fmt;

use super::Position;

/// Why a text is not the YAML that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Where, if the parser knows.
    pub position: Option<Position>,
    /// What is wrong there.
    pub message: String,
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
