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

mod error;
pub mod expand;
pub mod headers;
pub mod pick;
pub mod problem;
pub mod read;
mod scalar;
pub mod tree;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::YamlError;
pub use problem::{Level, Position, Problem};
pub use tree::TEXT_BYTES_MAX;

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

#[cfg(test)]
mod tests;
