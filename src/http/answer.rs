//! A whole answer, made before any byte of it is sent.

use serde::Serialize;

use crate::http::headers::JSON;
use crate::http::problem::{self, HttpProblem};
use crate::http::server::Incoming;

/// Status, headers and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    /// `None` for one that would be a stream.
    body: Option<Vec<u8>>,
}

impl Answer {
    /// A JSON body.
    pub fn json(status: u16, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).expect("our bodies have string keys and plain values");
        Answer {
            status,
            headers: vec![("Content-Type", JSON.to_owned())],
            body: Some(body),
        }
    }

    /// A plain text.
    pub fn text(text: impl Into<String>) -> Answer {
        Answer {
            status: 200,
            headers: vec![("Content-Type", "text/plain; charset=utf-8".to_owned())],
            body: Some(text.into().into_bytes()),
        }
    }

    /// Bytes of that media type.
    pub fn bytes(media_type: &str, bytes: Vec<u8>) -> Answer {
        Answer {
            status: 200,
            headers: vec![("Content-Type", media_type.to_owned())],
            body: Some(bytes),
        }
    }

    /// 204: there is nothing to say.
    pub fn nothing() -> Answer {
        Answer {
            status: 204,
            headers: Vec::new(),
            body: Some(Vec::new()),
        }
    }

    /// 200 to a `HEAD` whose `GET` would be answered with a stream, whose length nobody knows.
    pub fn head_of_stream(headers: &[(&'static str, &str)]) -> Answer {
        let owned = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        Answer {
            status: 200,
            headers: owned.collect(),
            body: None,
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
        self.body.as_deref().unwrap_or_default()
    }

    /// Sends it. A client that has left is nobody's trouble.
    pub fn send(self, incoming: Incoming) {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        match &self.body {
            Some(body) => incoming.respond(self.status, &headers, body),
            None => incoming.respond_without_body(self.status, &headers),
        }
    }
}

impl From<HttpProblem> for Answer {
    fn from(problem: HttpProblem) -> Answer {
        let mut headers = vec![("Content-Type", problem::CONTENT_TYPE.to_owned())];
        headers.extend_from_slice(problem.headers());
        Answer {
            status: problem.status(),
            headers,
            body: Some(problem.body()),
        }
    }
}
