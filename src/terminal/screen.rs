//! Writes pieces of a conversation to the terminal, around a prompt.
//!
//! Three modes: nothing is being typed, and text is shown as it comes; an empty prompt waits, and
//! whole lines are put above it; a line is being edited, and everything waits until it is done.
//! The line editor has a way to print above a line in progress, but while it is in use a key that
//! arrives together with others (a paste, a slow network) is not read until the next one comes.

use std::io::{self, Write};

use crate::terminal::paint::{Paint, Tone};
use crate::terminal::transcript::Piece;

/// To the first column, and clear the line.
const ERASE_LINE: &str = "\r\u{1b}[K";

/// The terminal, for everything but the line editor.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    paint: Paint,
    mode: Mode,
    /// The line in progress: shown already when nothing is typed, else held back.
    line: String,
}

#[derive(Debug)]
enum Mode {
    /// Nothing is being typed.
    Free,
    /// This empty prompt waits.
    Waiting(String),
    /// The editor owns the terminal; these lines wait.
    Editing(String),
}

impl<W: Write> Screen<W> {
    /// A screen that writes to `out`.
    pub fn new(out: W, paint: Paint) -> Screen<W> {
        Screen {
            out,
            paint,
            mode: Mode::Free,
            line: String::new(),
        }
    }

    /// Shows an empty prompt.
    pub fn wait_at(&mut self, label: &str) -> io::Result<()> {
        self.free()?;
        self.end_line()?;
        self.mode = Mode::Waiting(label.to_owned());
        self.put(label)
    }

    /// Leaves the terminal to the editor, which shows the prompt itself.
    pub fn edit(&mut self) -> io::Result<()> {
        self.free()?;
        self.end_line()?;
        self.mode = Mode::Editing(String::new());
        Ok(())
    }

    /// Takes the terminal back: what waited is shown.
    pub fn free(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.mode, Mode::Free) {
            Mode::Free => return Ok(()),
            Mode::Waiting(_) => self.put(ERASE_LINE)?,
            Mode::Editing(held) => self.put(&held)?,
        }
        // What was held back is the beginning of what follows.
        let begun = self.line.clone();
        self.put(&begun)
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
        self.whole_lines(&format!("{painted}\n"))
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.line.push_str(text);
        let whole_bytes = self.line.rfind('\n').map_or(0, |end| end + 1);
        let rest = self.line.split_off(whole_bytes);
        let whole = std::mem::replace(&mut self.line, rest);
        match self.mode {
            Mode::Free => self.put(text),
            Mode::Waiting(_) | Mode::Editing(_) => self.whole_lines(&whole),
        }
    }

    /// Ends the line in progress, if there is one.
    fn end_line(&mut self) -> io::Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        match self.mode {
            Mode::Free => self.put("\n"),
            Mode::Waiting(_) | Mode::Editing(_) => self.whole_lines(&format!("{line}\n")),
        }
    }

    fn whole_lines(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let shown = match &mut self.mode {
            Mode::Free => text.to_owned(),
            Mode::Waiting(label) => format!("{ERASE_LINE}{text}{label}"),
            Mode::Editing(held) => {
                held.push_str(text);
                return Ok(());
            }
        };
        self.put(&shown)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn screen() -> Screen<Vec<u8>> {
        Screen::new(Vec::new(), Paint::PLAIN)
    }

    fn shown(screen: &mut Screen<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut screen.out)).unwrap()
    }

    #[test]
    fn text_streams_while_nothing_is_typed() {
        let mut screen = screen();
        screen.show(&[text("a")]).unwrap();
        assert_eq!(shown(&mut screen), "a");
        screen.show(&[text("b\nc"), Piece::Break]).unwrap();
        screen.lines(Tone::Dim, "note").unwrap();
        assert_eq!(shown(&mut screen), "b\nc\nnote\n");
    }

    #[test]
    fn whole_lines_go_above_a_prompt_that_waits() {
        let mut screen = screen();
        screen.wait_at("> ").unwrap();
        screen.show(&[text("a\nb")]).unwrap();
        assert_eq!(shown(&mut screen), "> \r\u{1b}[Ka\n> ");
        screen.free().unwrap();
        assert_eq!(shown(&mut screen), "\r\u{1b}[Kb");
        screen.show(&[text("c\n")]).unwrap();
        assert_eq!(shown(&mut screen), "c\n");
    }

    #[test]
    fn everything_waits_for_a_line_that_is_edited() {
        let mut screen = screen();
        screen.edit().unwrap();
        screen
            .show(&[text("a"), Piece::Break, text("b\nc")])
            .unwrap();
        assert_eq!(shown(&mut screen), "");
        screen.free().unwrap();
        assert_eq!(shown(&mut screen), "a\nb\nc");
    }
}
