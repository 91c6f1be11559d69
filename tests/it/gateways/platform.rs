//! A platform that is a test: a program passes lines between it and the server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::support::server::{PATIENCE, eventually};

/// The program. It goes on when its input ends, and fails when its platform goes.
const RELAY: &str = r#"
import os, socket, sys, threading
print("the relay is there", file=sys.stderr, flush=True)
platform = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def tell():
    for line in platform.makefile("rb"):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    os._exit(3)
telling = threading.Thread(target=tell)
telling.start()
for line in sys.stdin.buffer:
    platform.sendall(line)
    if b'"shutdown"' in line:
        os._exit(0)
telling.join()
"#;

/// Where each run of the program comes to.
pub struct Platform(TcpListener);

/// One run of it. Dropped, it ends with a failure.
pub struct Run {
    reader: BufReader<TcpStream>,
}

impl Platform {
    pub fn start() -> Platform {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Platform(listener)
    }

    /// A server's configuration with the program as the gateway `relay` of the agent `helper`.
    pub fn config(&self) -> String {
        let port = self.0.local_addr().unwrap().port();
        let program = json!(RELAY);
        format!(
            "gateways:\n  external:\n    - name: relay\n      command: python3\n      \
             args: [-c, {program}, '{port}']\nroutes:\n  - agent: helper\n"
        )
    }

    /// The next run, which says that it is ready and can do this.
    pub fn run(&self, can: &[&str]) -> Run {
        let stream = eventually("the program runs", || self.0.accept().ok()).0;
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut run = Run {
            reader: BufReader::new(stream),
        };
        run.tells(&json!({
            "type": "ready", "gateway": "relay", "version": "v1alpha1", "capabilities": can,
        }));
        run
    }
}

impl Run {
    /// A person says this, alone with the bot.
    pub fn says(&mut self, id: &str, words: &str) {
        self.tells(&json!({
            "type": "message_received", "message_id": id, "chat_id": "room",
            "sender": {"id": "7", "display_name": "Bob"},
            "content": {"type": "text", "text": words},
            "routing": {"channel": "relay", "chat_type": "dm", "chat_id": "room", "sender_id": "7"},
        }));
    }

    /// The next command that must be answered.
    pub fn command(&mut self) -> Value {
        self.next().expect("the program runs")
    }

    /// The next command, which sends a message.
    pub fn sent(&mut self) -> Value {
        let command = self.command();
        assert_eq!(command["type"], "send_message", "{command}");
        command
    }

    /// A command was carried out; the message has this id.
    pub fn confirms(&mut self, command: &Value, message_id: &str) {
        let id = &command["request_id"];
        self.tells(&json!({"type": "command_ok", "request_id": id, "message_id": message_id}));
    }

    /// Waits for the program's end; how many messages it still was to send.
    pub fn rest(&mut self) -> usize {
        let sends = std::iter::from_fn(|| self.next());
        sends
            .filter(|command| command["type"] == "send_message")
            .count()
    }

    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                read => read.expect("the program says something, or ends"),
            };
            let command: Value = serde_json::from_str(&line).unwrap();
            match command["type"].as_str().unwrap() {
                "send_typing" | "shutdown" => {}
                "ping" => {
                    let id = &command["request_id"];
                    let pong = json!({"type": "pong", "request_id": id, "uptime_seconds": 1, "connected": true});
                    self.tells(&pong);
                }
                _ => return Some(command),
            }
        }
    }

    fn tells(&mut self, event: &Value) {
        // Whoever has ended is not told.
        drop(writeln!(self.reader.get_ref(), "{event}"));
    }
}
