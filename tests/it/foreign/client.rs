//! A script that uses somebody's library, at work; each line that it prints is an event.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::support::process::lines_of;
use crate::support::server::{Event, PATIENCE};

/// Where `make clients` installs them, and the scripts beside what they import.
pub fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients");
    assert!(folder.join("installed").exists(), "first run: make clients");
    folder
}

/// A script, run by what runs files of its kind. It sees nothing of whose machine this is.
pub fn command(script: &str) -> Command {
    let python = installed().join("python/bin/python");
    let runner = if script.ends_with(".py") {
        python.as_path()
    } else {
        Path::new("node")
    };
    let mut command = Command::new(runner);
    command
        .arg(installed().join(script))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", std::env::temp_dir())
        // The scripts' folder is shared.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

/// A running script; it is killed when this is dropped.
pub struct Client {
    pub child: Child,
    line_rx: Receiver<String>,
}

impl Client {
    pub fn start(command: &mut Command) -> Client {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let line_rx = lines_of(child.stdout.take().unwrap());
        Client { child, line_rx }
    }

    /// The next line that it prints.
    pub fn next_line(&mut self) -> String {
        let line = self.line_rx.recv_timeout(PATIENCE);
        line.unwrap_or_else(|err| panic!("the client says no more: {err}"))
    }

    /// The next event that it understood.
    pub fn next(&mut self) -> Event {
        let line = self.next_line();
        let event: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        Event {
            id: text("id"),
            name: text("event"),
            data: serde_json::from_str(&text("data"))
                .unwrap_or_else(|err| panic!("{line} has no data: {err}")),
        }
    }

    /// The next event, which must be of that name.
    pub fn expect(&mut self, name: &str) -> Event {
        let event = self.next();
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// Everything up to an event of that name, itself included.
    pub fn until(&mut self, name: &str) -> Vec<Event> {
        self.read_while(|events| events.last().is_none_or(|event| event.name != name))
    }

    /// One event at least, and more for as long as `goes_on` says so of what has come.
    pub fn read_while(&mut self, goes_on: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while goes_on(&events) {
            assert!(std::time::Instant::now() < deadline, "after {events:#?}");
            events.push(self.next());
        }
        events
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
