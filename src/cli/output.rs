//! The one way out: standard output and standard error.
//!
//! A closed standard output is an error of kind `BrokenPipe`, which ends the command in silence.

use std::io::{self, Write};

use serde::Serialize;

/// Writes text to standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a value to standard output, as JSON for programs.
pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    print(&format!("{text}\n"))
}

/// Tells the user something beside the output.
pub(super) fn tell(text: &str) {
    // There is nobody left to tell that this failed.
    drop(writeln!(io::stderr().lock(), "{text}"));
}
