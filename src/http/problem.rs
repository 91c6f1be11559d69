//! What went wrong with a request, as RFC 9457 problem details.
//!
//! Invariant: a problem holds nothing secret. It is written for whoever sent the request, and says
//! what to do about it where we know.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::wire::ProblemBody;

/// The media type of [`HttpProblem::body`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An answer that is an error: a status, words, and what the status calls for beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProblem {
    status: u16,
    kind: Cow<'static, str>,
    detail: Cow<'static, str>,
    members: Map<String, Value>,
    headers: Vec<(&'static str, String)>,
}

impl HttpProblem {
    /// A problem of the kind that `status` stands for, with a sentence for the reader.
    pub fn new(status: u16, detail: impl Into<Cow<'static, str>>) -> HttpProblem {
        HttpProblem {
            status,
            kind: Cow::Owned(slug(reason(status))),
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// Names a kind of its own, the last part of `urn:duragent:problem:…`.
    pub fn with_kind(mut self, kind: &'static str) -> HttpProblem {
        self.kind = Cow::Borrowed(kind);
        self
    }

    /// Adds a member beside the standard ones.
    pub fn with_member(mut self, name: &str, value: impl Into<Value>) -> HttpProblem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header that the status calls for: `Allow`, `Retry-After`, `WWW-Authenticate`.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> HttpProblem {
        self.headers.push((name, value.into()));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The sentence for the reader.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The headers beside `Content-Type`.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// The JSON text, in UTF-8.
    pub fn body(&self) -> Vec<u8> {
        let kind = format!("urn:duragent:problem:{}", self.kind);
        let body = ProblemBody {
            kind: kind.as_str(),
            title: reason(self.status),
            status: self.status,
            detail: &self.detail,
            members: self.members.clone(),
        };
        serde_json::to_vec(&body).expect("strings, numbers and JSON values always serialise")
    }
}

/// The words of a status line.
///
/// Source: the HTTP status code registry, as far as we use it.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ if status < 400 => "Success",
        _ => "Error",
    }
}

/// `Not Found` becomes `not-found`.
fn slug(title: &str) -> String {
    title.to_ascii_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_the_spec_shows() {
        let problem = HttpProblem::new(404, "Agent 'x' not found");
        assert_eq!(
            String::from_utf8(problem.body()).unwrap(),
            r#"{"type":"urn:duragent:problem:not-found","title":"Not Found","status":404,"detail":"Agent 'x' not found"}"#
        );
    }

    #[test]
    fn further_members_stand_beside_the_standard_ones() {
        let problem = HttpProblem::new(400, "no such field")
            .with_kind("unknown-field")
            .with_member("line", 3);
        assert_eq!(
            String::from_utf8(problem.body()).unwrap(),
            r#"{"type":"urn:duragent:problem:unknown-field","title":"Bad Request","status":400,"detail":"no such field","line":3}"#
        );
    }
}
