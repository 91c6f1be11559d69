//! Writes pieces of a conversation to the terminal, around a prompt.
//!
//! Three modes: nothing is being typed, and text is shown as it comes; an empty prompt waits, and
//! makes room for what comes until that line ends; a line is being edited, and everything waits
//! until it is done.
//! The line editor has a way to print above a line in progress, but while it is in use a key that
//! arrives together with others (a paste, a slow network) is not read until the next one comes.

use std::io::{self, Write};

use crate::terminal::paint::{Paint, Tone};
use crate::terminal::transcript::TranscriptPiece;

/// To the first column, and clear the line.
const ERASE_LINE: &str = "\r\u{1b}[K";

/// The terminal, for everything but the line editor.
#[derive(Debug)]
pub struct Screen<W> {
    out: W,
    paint: Paint,
    mode: ScreenMode,
    /// What was shown last, or waits to be, is not ended by a newline.
    is_in_line: bool,
}

#[derive(Debug)]
enum ScreenMode {
    /// Nothing is being typed.
    Free,
    /// This empty prompt waits, and is seen unless a line is in progress.
    Waiting { label: String, is_seen: bool },
    /// The editor owns the terminal; this text waits.
    Editing(String),
}

impl<W: Write> Screen<W> {
    /// A screen that writes to `out`.
    pub fn new(out: W, paint: Paint) -> Screen<W> {
        Screen {
            out,
            paint,
            mode: ScreenMode::Free,
            is_in_line: false,
        }
    }

    /// Shows an empty prompt, as soon as no line is in progress.
    pub fn wait_at(&mut self, label: &str) -> io::Result<()> {
        self.free()?;
        self.mode = ScreenMode::Waiting {
            label: label.to_owned(),
            is_seen: false,
        };
        self.show_prompt()
    }

    /// Leaves the terminal to the editor, which shows the prompt itself.
    pub fn edit(&mut self) -> io::Result<()> {
        self.free()?;
        self.end_line()?;
        self.mode = ScreenMode::Editing(String::new());
        Ok(())
    }

    /// Takes the terminal back: what waited is shown.
    pub fn free(&mut self) -> io::Result<()> {
        self.hide_prompt()?;
        match std::mem::replace(&mut self.mode, ScreenMode::Free) {
            ScreenMode::Free | ScreenMode::Waiting { .. } => Ok(()),
            ScreenMode::Editing(held) => self.put(&held),
        }
    }

    /// Shows pieces.
    pub fn show(&mut self, pieces: &[TranscriptPiece]) -> io::Result<()> {
        for piece in pieces {
            match piece {
                TranscriptPiece::Text(text) => self.write(text)?,
                TranscriptPiece::Lines(tone, text) => self.whole_lines(*tone, text)?,
                TranscriptPiece::Break => self.end_line()?,
            }
        }
        self.show_prompt()
    }

    /// Shows lines of their own.
    pub fn lines(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        self.whole_lines(tone, text)?;
        self.show_prompt()
    }

    fn whole_lines(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        self.end_line()?;
        let painted = self.paint.apply(tone, text);
        self.write(&format!("{painted}\n"))
    }

    /// Ends the line in progress, if there is one.
    fn end_line(&mut self) -> io::Result<()> {
        if self.is_in_line {
            self.write("\n")?;
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let Some(last) = text.chars().next_back() else {
            return Ok(());
        };
        self.is_in_line = last != '\n';
        if let ScreenMode::Editing(held) = &mut self.mode {
            held.push_str(text);
            return Ok(());
        }
        self.hide_prompt()?;
        self.put(text)
    }

    fn show_prompt(&mut self) -> io::Result<()> {
        match &mut self.mode {
            ScreenMode::Waiting { label, is_seen } if !*is_seen && !self.is_in_line => {
                *is_seen = true;
                let label = label.clone();
                self.put(&label)
            }
            ScreenMode::Free | ScreenMode::Waiting { .. } | ScreenMode::Editing(_) => Ok(()),
        }
    }

    fn hide_prompt(&mut self) -> io::Result<()> {
        match &mut self.mode {
            ScreenMode::Waiting { is_seen, .. } if *is_seen => {
                *is_seen = false;
                self.put(ERASE_LINE)
            }
            ScreenMode::Free | ScreenMode::Waiting { .. } | ScreenMode::Editing(_) => Ok(()),
        }
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> TranscriptPiece {
        TranscriptPiece::Text(text.to_owned())
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
        screen
            .show(&[text("b\nc"), TranscriptPiece::Break])
            .unwrap();
        screen.lines(Tone::Dim, "note").unwrap();
        assert_eq!(shown(&mut screen), "b\nc\nnote\n");
    }

    #[test]
    fn a_prompt_that_waits_makes_room_until_the_line_ends() {
        let mut screen = screen();
        screen.wait_at("> ").unwrap();
        screen.lines(Tone::Dim, "note").unwrap();
        assert_eq!(shown(&mut screen), "> \r\u{1b}[Knote\n> ");
        screen.show(&[text("a\nb")]).unwrap();
        screen.show(&[text("c")]).unwrap();
        assert_eq!(shown(&mut screen), "\r\u{1b}[Ka\nbc");
        screen.show(&[TranscriptPiece::Break]).unwrap();
        assert_eq!(shown(&mut screen), "\n> ");
        screen.free().unwrap();
        assert_eq!(shown(&mut screen), "\r\u{1b}[K");
    }

    #[test]
    fn everything_waits_for_a_line_that_is_edited() {
        let mut screen = screen();
        screen.show(&[text("begun")]).unwrap();
        screen.edit().unwrap();
        assert_eq!(shown(&mut screen), "begun\n");
        screen
            .show(&[text("a"), TranscriptPiece::Break, text("b\nc")])
            .unwrap();
        assert_eq!(shown(&mut screen), "");
        screen.free().unwrap();
        assert_eq!(shown(&mut screen), "a\nb\nc");
        screen.wait_at("> ").unwrap();
        assert_eq!(shown(&mut screen), "");
    }
}
