//! The keyboard beside the line editor: while a reply is shown, Ctrl+C and Ctrl+D count and what
//! else is typed is kept for the next prompt; at a prompt, the first key calls the editor.

use std::io::{self, PipeReader, Read, Stdin, stdin};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use crate::terminal::clean::clean;

/// What ended the waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Ctrl+C.
    Cancel,
    /// Ctrl+D, or the terminal is gone.
    Leave,
    /// Something happened elsewhere.
    Woken,
}

/// What ended the waiting at a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtPrompt {
    /// A key was pressed, and is still to be read.
    Key,
    /// Something happened elsewhere.
    Woken,
}

/// The terminal without echo, line editing and signals of its own, until this is dropped.
#[derive(Debug)]
pub struct Keys {
    stdin: Stdin,
    before: Termios,
    typed: Vec<u8>,
}

impl Keys {
    /// Takes the keyboard over.
    pub fn take() -> io::Result<Keys> {
        let stdin = stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(&stdin, OptionalActions::Now, &silent)?;
        Ok(Keys {
            stdin,
            before,
            typed: Vec::new(),
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
        const CTRL_C: u8 = 3;
        const CTRL_D: u8 = 4;
        let mut bytes = [0; 256];
        // Not through `Stdin`, whose buffer `poll` does not see.
        let length = rustix::io::read(&self.stdin, &mut bytes)?;
        if length == 0 {
            return Ok(Some(Waited::Leave));
        }
        let found = bytes[..length]
            .iter()
            .position(|byte| matches!(*byte, CTRL_C | CTRL_D));
        let Some(place) = found else {
            self.typed.extend_from_slice(&bytes[..length]);
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

impl Drop for Keys {
    fn drop(&mut self) {
        if let Err(error) = termios::tcsetattr(&self.stdin, OptionalActions::Now, &self.before) {
            log::debug!("cannot give the keyboard back: {error}");
        }
    }
}
