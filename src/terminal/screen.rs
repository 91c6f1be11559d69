//! Writes pieces of a conversation to the terminal: straight on, or above the prompt.
//!
//! While a line is being edited, the editor owns the terminal, and only whole lines can be put
//! above it; otherwise text is shown as it comes.

use std::io::{self, Write};

use rustyline::ExternalPrinter;

use crate::terminal::paint::{Paint, Tone};
use crate::terminal::transcript::Piece;

/// The terminal, for everything but the prompt.
pub struct Screen {
    above: Box<dyn ExternalPrinter + Send>,
    paint: Paint,
    is_prompting: bool,
    /// The line in progress: shown already when not prompting, else held back until it is whole.
    line: String,
}

impl Screen {
    /// A screen whose editor prints above its prompt with `above`.
    pub fn new(above: Box<dyn ExternalPrinter + Send>, paint: Paint) -> Screen {
        Screen {
            above,
            paint,
            is_prompting: false,
            line: String::new(),
        }
    }

    /// From now on the editor owns the terminal, or no longer does.
    pub fn set_prompting(&mut self, is_prompting: bool) -> io::Result<()> {
        if is_prompting {
            self.end_line()?;
            self.is_prompting = true;
            return Ok(());
        }
        self.is_prompting = false;
        // What was held back is the beginning of what follows.
        let held = std::mem::take(&mut self.line);
        self.text(&held)
    }

    /// Shows pieces.
    pub fn show(&mut self, pieces: &[Piece]) -> io::Result<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text(text)?,
                Piece::Lines(tone, text) => self.lines(*tone, text)?,
                Piece::Break => self.end_line()?,
            }
        }
        Ok(())
    }

    /// Shows lines of their own.
    pub fn lines(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        self.end_line()?;
        let painted = self.paint.apply(tone, text);
        self.write(&format!("{painted}\n"))
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        if self.is_prompting {
            self.line.push_str(text);
            let Some(end) = self.line.rfind('\n') else {
                return Ok(());
            };
            let rest = self.line.split_off(end + 1);
            let whole = std::mem::replace(&mut self.line, rest);
            return self.write(&whole);
        }
        self.line.push_str(text);
        if let Some(end) = self.line.rfind('\n') {
            self.line.drain(..=end);
        }
        self.write(text)
    }

    /// Ends the line in progress, if there is one.
    fn end_line(&mut self) -> io::Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        if self.is_prompting {
            self.write(&format!("{line}\n"))
        } else {
            self.write("\n")
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.is_prompting {
            let printed = self.above.print(text.to_owned());
            return printed.map_err(io::Error::other);
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen")
            .field("is_prompting", &self.is_prompting)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
