//! A promise that did not hold.

/// A promise that did not hold, as the report says it. A text and no enum: nothing branches on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokenPromise(String);

impl From<String> for BrokenPromise {
    fn from(text: String) -> BrokenPromise {
        BrokenPromise(text)
    }
}

impl From<&str> for BrokenPromise {
    fn from(text: &str) -> BrokenPromise {
        BrokenPromise(text.to_owned())
    }
}
