//! A blocking client that keeps its connection, for answers with a length.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// A connection to a port of this machine.
#[derive(Debug)]
pub struct Connection {
    socket: BufReader<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

impl Connection {
    /// Connects.
    pub fn open(port: u16) -> io::Result<Connection> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        Ok(Connection {
            socket: BufReader::new(socket),
        })
    }

    /// Sends a request, with a JSON body unless that is empty, and reads its answer.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let request = request_text(method, path, body);
        self.socket.get_mut().write_all(request.as_bytes())?;
        self.read_answer()
    }

    /// Creates a session of the agent `bench`; returns its id.
    pub fn create_session(&mut self) -> anyhow::Result<String> {
        self.create_session_of("bench")
    }

    /// Creates a session of that agent; returns its id.
    pub fn create_session_of(&mut self, agent: &str) -> anyhow::Result<String> {
        let body = serde_json::json!({ "agent": agent }).to_string();
        let answer = self.request("POST", "/api/v1/sessions", &body)?;
        ensure!(answer.status == 201, "{}: {}", answer.status, answer.body);
        let body: Value = serde_json::from_str(&answer.body)?;
        Ok(body["session_id"].as_str().context("no id")?.to_owned())
    }

    /// Says something and waits for the whole reply.
    pub fn say(&mut self, session: &str, text: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/sessions/{session}/messages");
        let body = serde_json::json!({ "content": text }).to_string();
        let answer = self.request("POST", &path, &body)?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok(())
    }

    /// Deletes a session.
    pub fn delete(&mut self, session: &str) -> anyhow::Result<()> {
        let answer = self.request("DELETE", &format!("/api/v1/sessions/{session}"), "")?;
        ensure!(answer.status == 204, "{}: {}", answer.status, answer.body);
        Ok(())
    }

    /// Says something that is answered without a client.
    pub fn say_and_leave(&mut self, session: &str, text: &str) -> anyhow::Result<()> {
        let path = format!("/api/v1/sessions/{session}/messages");
        let body = serde_json::json!({ "content": text }).to_string();
        let request = request_text("POST", &path, &body).replacen(
            "\r\n\r\n",
            "\r\nPrefer: respond-async\r\n\r\n",
            1,
        );
        self.socket.get_mut().write_all(request.as_bytes())?;
        let answer = self.read_answer()?;
        ensure!(answer.status == 202, "{}: {}", answer.status, answer.body);
        Ok(())
    }

    fn read_answer(&mut self) -> anyhow::Result<Answer> {
        let mut line = String::new();
        self.socket.read_line(&mut line)?;
        let status = line.split(' ').nth(1).context("no status")?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.socket.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        let body = String::from_utf8(body)?;
        Ok(Answer { status, body })
    }
}

/// A whole request.
pub fn request_text(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    let length = match body {
        "" => String::new(),
        _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}")
}
