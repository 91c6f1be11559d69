//! An answer, or a job that makes one.

use crate::http::answer::Answer;
use crate::http::jobs::LongRequest;

/// The outcome of a handler: nothing in it waits for a turn.
#[derive(Debug)]
pub enum Handled {
    /// The answer.
    Answer(Answer),
    /// Something that takes its time, on a thread of its own.
    Wait(LongRequest),
}
