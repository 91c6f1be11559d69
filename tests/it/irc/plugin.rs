//! The gateway of the documentation, driven as Duragent drives it: by lines through pipes.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::support::process::{end_of, lines_of};
use crate::support::server::{PATIENCE, eventually};

use super::network::{Network, Person};

/// The program.
pub fn path() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/docs/examples/gateways/irc.py")
}

/// It says lines one after another, as nobody throws it out.
pub fn arguments<'a>(port: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "--server",
        "127.0.0.1",
        "--port",
        port,
        "--nick",
        "ada",
        "--line-seconds",
        "0.001",
    ];
    [&fixed, more].concat()
}

/// The running gateway; it is killed when this is dropped.
pub struct Plugin {
    child: Child,
    stdin: Option<ChildStdin>,
    event_rx: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
    /// All that it wrote to its standard output.
    pub printed: String,
    requests: u32,
}

impl Plugin {
    /// As `ada` in `#room`, where this person is.
    pub fn enter(network: &Network, person: &Person) -> Plugin {
        let mut plugin = Plugin::start(&arguments(&network.port(), &["--channel", "#room"]), &[]);
        plugin.greets(person);
        plugin
    }

    /// With these arguments and variables; it has said that it is ready.
    pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> Plugin {
        let mut child = Command::new("python3")
            .arg(Path::new(path()))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut plugin = Plugin {
            stdin: child.stdin.take(),
            event_rx: lines_of(child.stdout.take().unwrap()),
            stderr: Some(thread::spawn(move || {
                let mut text = String::new();
                drop(stderr.read_to_string(&mut text));
                text
            })),
            child,
            printed: String::new(),
            requests: 0,
        };
        let ready =
            json!({"type": "ready", "gateway": "irc", "version": "v1alpha1", "capabilities": []});
        assert_eq!(plugin.next_event(), ready);
        plugin
    }

    pub fn tell(&mut self, command: &Value) {
        self.write(&command.to_string());
    }

    pub fn write(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Nobody will tell it anything any more.
    pub fn close_input(&mut self) {
        drop(self.stdin.take());
    }

    /// Tells it this, and waits for its answer; events that come before it are passed over.
    pub fn ask(&mut self, mut command: Value) -> Value {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        command["request_id"] = json!(id);
        self.tell(&command);
        self.answer(&id)
    }

    pub fn answer(&mut self, request_id: &str) -> Value {
        loop {
            let event = self.next_event();
            if event["request_id"] == request_id {
                return event;
            }
        }
    }

    pub fn send(&mut self, chat_id: &str, content: &str) -> Value {
        self.ask(json!({"type": "send_message", "chat_id": chat_id, "content": content}))
    }

    /// Sends this; the code of the error, or nothing.
    pub fn try_send(&mut self, chat_id: &str, content: &str) -> Option<String> {
        let answer = self.send(chat_id, content);
        let code = answer["code"].as_str().map(str::to_owned);
        let kind = code.as_ref().map_or("command_ok", |_| "command_error");
        assert_eq!(answer["type"], kind, "{answer}");
        code
    }

    /// The next event of this type; others are passed over.
    pub fn event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event();
            if event["type"] == kind {
                return event;
            }
        }
    }

    pub fn next_event(&mut self) -> Value {
        let line = self.event_rx.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("no event; so far: {}", self.printed));
        self.printed.push_str(&line);
        self.printed.push('\n');
        serde_json::from_str(&line).unwrap()
    }

    /// Until it is in `#room`, where this person hears so.
    pub fn greets(&mut self, person: &Person) {
        eventually("it is in its channel", || {
            self.try_send("#room", "here I am").is_none().then_some(())
        });
        person.hears("here I am");
    }

    /// Waits for its end: how it was, and all that it printed.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let status = end_of(&mut self.child);
        let rest: Vec<String> = self.event_rx.iter().collect();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        (
            status,
            format!("{}{}\n{stderr}", self.printed, rest.join("\n")),
        )
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        drop(self.child.kill());
        end_of(&mut self.child);
    }
}
