//! The keyboard beside the line editor: while a reply is shown, Ctrl+C and Ctrl+D count and what
//! else is typed is kept for the next prompt; at a prompt, the first key calls the editor.

use std::io::{self, PipeReader, Read, Stdin, Write as _, stdin};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use crate::terminal::clean::clean;

/// The end of a wait for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Ctrl+C.
    Cancel,
    /// Ctrl+D, or the terminal is gone.
    Leave,
    /// Something happened elsewhere.
    Woken,
}

/// The end of a wait at a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtPrompt {
    /// A key was pressed, and is still to be read.
    Key,
    /// Something happened elsewhere.
    Woken,
}

/// The terminal without echo, line editing and signals of its own, until this is dropped.
#[derive(Debug)]
pub struct KeyReader {
    stdin: Stdin,
    before: Termios,
    typed: Vec<u8>,
    marks_pastes: bool,
}

/// The first keys of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// With this.
    Typed(String),
    /// It is this: Enter was pressed as well.
    Entered(String),
    /// With a text that was pasted, and is thrown away.
    Pasted,
    /// Ctrl+C.
    Cancel,
    /// Ctrl+D, or the terminal is gone.
    Leave,
}

/// Asks a terminal to put marks around what is pasted, and not to.
const MARK_PASTES: &[u8] = b"\x1b[?2004h";
const MARK_NO_PASTES: &[u8] = b"\x1b[?2004l";
/// The marks.
const PASTE_BEGINS: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";

impl KeyReader {
    /// Takes the keyboard over.
    pub fn take() -> io::Result<KeyReader> {
        let stdin = stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(&stdin, OptionalActions::Now, &silent)?;
        Ok(KeyReader {
            stdin,
            before,
            typed: Vec::new(),
            marks_pastes: false,
        })
    }

    /// Waits for a key that counts, or for a byte in `wake`, which is read.
    pub fn wait(&mut self, wake: &mut PipeReader) -> io::Result<Waited> {
        loop {
            let (has_key, is_woken) = self.poll(wake)?;
            if has_key && let Some(waited) = self.read()? {
                return Ok(waited);
            }
            if is_woken {
                wake.read_exact(&mut [0])?;
                return Ok(Waited::Woken);
            }
        }
    }

    /// Waits for any key, without reading it, or for a byte in `wake`, which is read.
    pub fn wait_at_prompt(&self, wake: &mut PipeReader) -> io::Result<AtPrompt> {
        loop {
            match self.poll(wake)? {
                (true, _) => return Ok(AtPrompt::Key),
                (false, true) => {
                    wake.read_exact(&mut [0])?;
                    return Ok(AtPrompt::Woken);
                }
                (false, false) => {}
            }
        }
    }

    /// From now on the terminal tells what is pasted from what is typed. The line editor ends that
    /// each time.
    pub fn mark_pastes(&mut self) -> io::Result<()> {
        self.marks_pastes = true;
        let mut out = io::stdout();
        out.write_all(MARK_PASTES)?;
        out.flush()
    }

    /// Reads what there is of an answer: a key was pressed.
    pub fn begin_answer(&mut self) -> io::Result<Begun> {
        let mut bytes = self.read_some()?;
        if bytes.is_empty() {
            return Ok(Begun::Leave);
        }
        // The mark may come in pieces.
        while PASTE_BEGINS.starts_with(&bytes) && bytes.len() < PASTE_BEGINS.len() {
            match self.read_soon()? {
                Some(more) => bytes.extend(more),
                None => break,
            }
        }
        if contains(&bytes, PASTE_BEGINS) {
            while !contains(&bytes, PASTE_ENDS)
                && let Some(more) = self.read_soon()?
            {
                bytes.extend(more);
            }
            return Ok(Begun::Pasted);
        }
        Ok(begun(&bytes))
    }

    /// What comes next, within the time in which a terminal hands on what is pasted.
    fn read_soon(&mut self) -> io::Result<Option<Vec<u8>>> {
        const SOON: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        let mut watched = [PollFd::new(&self.stdin, PollFlags::IN)];
        if poll(&mut watched, Some(&SOON))? == 0 {
            return Ok(None);
        }
        let bytes = self.read_some()?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Not through `Stdin`, whose buffer `poll` does not see.
    fn read_some(&self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 256];
        let length = rustix::io::read(&self.stdin, &mut bytes)?;
        Ok(bytes[..length].to_vec())
    }

    /// Keeps what was typed so far for the next prompt.
    pub fn keep_typed(&mut self) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let is_there = |stdin: &Stdin| {
            let mut watched = [PollFd::new(stdin, PollFlags::IN)];
            poll(&mut watched, Some(&AT_ONCE)).map(|ready| ready > 0)
        };
        while is_there(&self.stdin)? {
            let bytes = self.read_some()?;
            if bytes.is_empty() {
                break;
            }
            self.typed.extend(bytes);
        }
        Ok(())
    }

    /// Gives away what was typed beside, for the next prompt.
    pub fn take_typed(&mut self) -> String {
        let typed = std::mem::take(&mut self.typed);
        let text = String::from_utf8_lossy(&typed).replace('\r', " ");
        clean(&text).replace(['\n', '\t'], " ")
    }

    fn poll(&self, wake: &PipeReader) -> io::Result<(bool, bool)> {
        let mut watched = [
            PollFd::new(&self.stdin, PollFlags::IN),
            PollFd::new(wake, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            // A stopped and continued process, a resized window.
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            other => other?,
        };
        let is_ready = |watched: &PollFd<'_>| !watched.revents().is_empty();
        Ok((is_ready(&watched[0]), is_ready(&watched[1])))
    }

    fn read(&mut self) -> io::Result<Option<Waited>> {
        let bytes = self.read_some()?;
        if bytes.is_empty() {
            return Ok(Some(Waited::Leave));
        }
        let found = bytes
            .iter()
            .position(|byte| matches!(*byte, CTRL_C | CTRL_D));
        let Some(place) = found else {
            self.typed.extend_from_slice(&bytes);
            return Ok(None);
        };
        // Whoever cancels does not mean what was typed before.
        self.typed.clear();
        Ok(Some(match bytes[place] {
            CTRL_C => Waited::Cancel,
            _ => Waited::Leave,
        }))
    }
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// The first keys of an answer that was typed.
fn begun(bytes: &[u8]) -> Begun {
    let is_end = |byte: &u8| matches!(*byte, CTRL_C | CTRL_D | b'\r' | b'\n');
    let end = bytes.iter().position(is_end);
    let text = clean(&String::from_utf8_lossy(
        &bytes[..end.unwrap_or(bytes.len())],
    ));
    match end.map(|end| bytes[end]) {
        None => Begun::Typed(text),
        Some(CTRL_C) => Begun::Cancel,
        // As in the line editor, it deletes where there is something.
        Some(CTRL_D) if text.is_empty() => Begun::Leave,
        Some(CTRL_D) => Begun::Typed(text),
        Some(_) => Begun::Entered(text),
    }
}

impl Drop for KeyReader {
    fn drop(&mut self) {
        if self.marks_pastes
            && let Err(error) = io::stdout().write_all(MARK_NO_PASTES)
        {
            log::debug!("cannot give the terminal back: {error}");
        }
        if let Err(error) = termios::tcsetattr(&self.stdin, OptionalActions::Now, &self.before) {
            log::debug!("cannot give the keyboard back: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_begins_with_what_is_typed_up_to_enter() {
        for (bytes, expected) in [
            (&b"y"[..], Begun::Typed("y".to_owned())),
            (b"y\r", Begun::Entered("y".to_owned())),
            (b"n\nrest", Begun::Entered("n".to_owned())),
            (b"\r", Begun::Entered(String::new())),
            (b"y\x03", Begun::Cancel),
            (b"\x04", Begun::Leave),
            (b"y\x04", Begun::Typed("y".to_owned())),
            (b"\x1b[Ay", Begun::Typed("y".to_owned())),
        ] {
            assert_eq!(begun(bytes), expected, "{bytes:?}");
        }
    }
}
