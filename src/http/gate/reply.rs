//! The heads of answers, and the answers that the gate gives by itself. Pure.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;
use crate::http::problem::{self, HttpProblem};

/// The interim answer that a client waits for before it sends its body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The parts of an answer that the request decides.
#[derive(Debug, Clone, Default)]
pub(super) struct ReplyTo {
    /// The request was a `HEAD`: the body stays here.
    pub(super) is_to_head: bool,
    /// The connection will be closed after it.
    pub(super) closes: bool,
    /// Whole header lines, which every answer to the request has, whoever gives it.
    pub(super) lines: Vec<u8>,
}

impl ReplyTo {
    /// Writes the last lines of a head.
    fn end_head(&self, text: &mut Vec<u8>, closes: bool) {
        text.extend_from_slice(&self.lines);
        if closes {
            text.extend_from_slice(b"Connection: close\r\n");
        }
        text.extend_from_slice(b"\r\n");
    }
}

/// A refusal, as text; the connection closes after it.
pub(super) fn refusal(problem: &HttpProblem, to: &ReplyTo) -> Vec<u8> {
    let body = problem.body();
    let mut text = status_line(problem.status());
    put_header(&mut text, "Content-Type", problem::CONTENT_TYPE);
    put_header(&mut text, "Content-Length", &body.len().to_string());
    for (name, value) in problem.headers() {
        put_header(&mut text, name, value);
    }
    to.end_head(&mut text, true);
    if !to.is_to_head {
        text.extend_from_slice(&body);
    }
    text
}

/// The answer to a browser's preflight: all it says is in the header lines.
pub(super) fn no_content(to: &ReplyTo) -> Vec<u8> {
    let mut text = status_line(204);
    to.end_head(&mut text, true);
    text
}

/// A whole head for whoever asked.
pub(super) fn head(status: u16, headers: &[(&str, &str)], to: &ReplyTo) -> Vec<u8> {
    let mut text = status_line(status);
    for (name, value) in headers {
        put_header(&mut text, name, value);
    }
    to.end_head(&mut text, to.closes);
    text
}

fn status_line(status: u16) -> Vec<u8> {
    format!("HTTP/1.1 {status} {}\r\n", problem::reason(status)).into_bytes()
}

/// Writes a header line. A control character in the value becomes a space: whoever made the value,
/// it cannot end the line.
pub(super) fn put_header(text: &mut Vec<u8>, name: &str, value: &str) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend(
        value
            .bytes()
            .map(|byte| if byte.is_ascii_control() { b' ' } else { byte }),
    );
    text.extend_from_slice(b"\r\n");
}

/// The `Date` line, made once a second.
#[derive(Debug, Default)]
pub(super) struct DateLine {
    second: u64,
    text: Vec<u8>,
}

impl DateLine {
    /// The line for the time `now`.
    pub(super) fn at(&mut self, now: SystemTime) -> &[u8] {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let date = Timestamp::from(now).to_http();
            write!(self.text, "Date: {date}\r\n").expect("a Vec takes every byte");
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_answer() {
        let to = ReplyTo {
            is_to_head: false,
            closes: false,
            lines: b"Vary: Origin\r\n".to_vec(),
        };
        let problem = HttpProblem::new(503, "busy").with_header("Retry-After", "1");
        let text = String::from_utf8(refusal(&problem, &to)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.as_bytes(), problem.body());
        assert_eq!(
            head,
            format!(
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
                 Content-Length: {}\r\nRetry-After: 1\r\nVary: Origin\r\nConnection: close",
                body.len()
            )
        );
    }

    #[test]
    fn no_value_can_end_its_line() {
        let mut text = Vec::new();
        put_header(&mut text, "A", "b\r\nC: d");
        assert_eq!(text, b"A: b  C: d\r\n");
    }
}
