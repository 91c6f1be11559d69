//! What a request leads to.

use crate::http::answer::Answer;
use crate::http::jobs::LongRequest;

/// What a request leads to.
#[derive(Debug)]
pub enum Handled {
    /// The answer.
    Answer(Answer),
    /// Something that takes its time, on a thread of its own.
    Wait(LongRequest),
}
