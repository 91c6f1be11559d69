//! A whole answer, made before any byte of it is sent.

use serde::Serialize;

use crate::http::headers::JSON;
use crate::http::problem::{self, Problem};
use crate::http::server::Incoming;

/// Status, headers and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A JSON body.
    pub fn json(status: u16, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).expect("our bodies have string keys and plain values");
        Answer {
            status,
            headers: vec![("Content-Type", JSON.to_owned())],
            body,
        }
    }

    /// A plain text.
    pub fn text(text: impl Into<String>) -> Answer {
        Answer {
            status: 200,
            headers: vec![("Content-Type", "text/plain; charset=utf-8".to_owned())],
            body: text.into().into_bytes(),
        }
    }

    /// 204: there is nothing to say.
    pub fn nothing() -> Answer {
        Answer {
            status: 204,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// All headers, `Content-Type` among them.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Sends it. A client that has left is nobody's trouble.
    pub fn send(self, incoming: Incoming) {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        incoming.respond(self.status, &headers, &self.body);
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Answer {
        let mut headers = vec![("Content-Type", problem::CONTENT_TYPE.to_owned())];
        headers.extend_from_slice(problem.headers());
        Answer {
            status: problem.status(),
            headers,
            body: problem.body(),
        }
    }
}
