//! How a conversation ends.

use std::io;

use rustyline::error::ReadlineError;

use crate::client::ClientError;

/// The end of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The user went; the session stays.
    Detached,
    /// The session is over, or the server sent this client away for good.
    Ended,
}

/// A conversation that could not be held.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The terminal refused.
    #[error("cannot use the terminal")]
    Terminal(#[from] io::Error),
    /// The line editor refused.
    #[error("cannot edit lines on this terminal")]
    Editor(#[from] ReadlineError),
    /// The events of the session cannot be had.
    #[error("the conversation cannot go on")]
    Server(#[from] ClientError),
}
