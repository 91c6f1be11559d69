//! Questions to whoever sits at the terminal.

use std::io::{self, BufRead as _};

use rustix::termios::{QueueSelector, tcflush};

use crate::cli::output;
use crate::terminal::clean::clean;

/// Asks, and waits for the answer; anything but a yes is a no. What was typed before the question
/// stood there answers nothing.
pub(super) fn yes_or_no(question: &str) -> io::Result<bool> {
    let question = clean(question).replace('\n', " ");
    if let Err(error) = tcflush(io::stdin(), QueueSelector::IFlush) {
        log::debug!("what was typed ahead stays: {error}");
    }
    output::print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
