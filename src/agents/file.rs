//! The file of an agent in its folder, and what is said of one that cannot be read.

use std::path::Path;

use crate::base::text::TextError;
use crate::base::yaml::problem::{Position, Problem};
use crate::trust::ReadError;

/// The name of an agent's file in its folder.
pub const AGENT_FILE: &str = "agent.yaml";

/// The mistake in a file that cannot be read, or not be read as text.
pub(super) fn unreadable(file: &Path, error: &ReadError) -> Problem {
    match *error {
        ReadError::Text(TextError::NotUtf8 { line, column }) => Problem {
            position: Some(Position { line, column }),
            ..Problem::of_file(file, "is not UTF-8 from here on")
        },
        _ => Problem::of_file(file, error.to_string()),
    }
}
