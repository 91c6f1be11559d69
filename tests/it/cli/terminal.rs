//! The binary on a terminal of its own, with a user who types.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::process::{duragent, end_of};

const LIMIT: Duration = Duration::from_secs(30);

pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    pub fn start(folder: &Path, arguments: &[&str]) -> Terminal {
        Terminal::start_with(folder, arguments, &[])
    }

    /// With these variables.
    pub fn start_with(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        // A test run that leads a session must not get the terminal for its own: its end would be
        // the run's.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(open(name, flags, Mode::empty()).unwrap());
        let child = duragent(folder)
            .args(arguments)
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("OLLAMA_HOST", "127.0.0.1:1")
            .envs(variables.iter().copied())
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave)
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, log) = (keyboard.try_clone().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            // Ends with an error when the last process has closed the terminal.
            while let Ok(length) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                log.lock().unwrap().push_str(&text);
            }
        });
        Terminal {
            child,
            keyboard,
            shown,
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Pastes, as a terminal does it: with marks around the text where it was last asked for them.
    pub fn paste(&mut self, text: &str) {
        let shown = self.shown();
        let last = |switch: &str| shown.rfind(switch);
        let has_marks = last("\u{1b}[?2004h") > last("\u{1b}[?2004l");
        if has_marks {
            self.type_in(&format!("\u{1b}[200~{text}\u{1b}[201~"));
        } else {
            self.type_in(text);
        }
    }

    /// Waits until `text` was shown, anywhere so far; returns all that was.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |shown| shown.contains(text))
    }

    /// Waits until `text` was shown so often, as what is typed and comes back as a reply.
    pub fn wait_for_times(&self, text: &str, times: usize) {
        self.wait(text, |shown| shown.matches(text).count() >= times);
    }

    /// Waits until the last thing shown is a prompt.
    pub fn wait_for_prompt(&self, label: &str) {
        self.wait(label, |shown| {
            let (_, last) = shown.rsplit_once('\n').unwrap_or(("", shown));
            // The editor says where the cursor goes after the prompt.
            last.contains(label)
        });
    }

    pub fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still runs:\n{}", self.shown());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let shown = self.shown();
            if is_there(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "no {what:?} in:\n{shown}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        drop(self.child.kill());
        end_of(&mut self.child);
    }
}
