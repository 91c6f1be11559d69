//! Refusals and failures, as RFC 9457 problem details.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::wire::lenient::{OwnedText, or_default, plain_line, said_of_error};

/// The body of every answer that is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "S: OwnedText"))]
pub struct ProblemBody<S = String> {
    /// `urn:duragent:problem:…`, for programs.
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: S,
    /// The words of the status.
    #[serde(default, deserialize_with = "or_default")]
    pub title: S,
    /// The HTTP status.
    #[serde(default, deserialize_with = "or_default")]
    pub status: u16,
    /// A sentence for people.
    #[serde(default, deserialize_with = "or_default")]
    pub detail: S,
    /// Further members, which a kind of problem has of its own.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl ProblemBody {
    /// The refusal in an answer of `status`, in whatever form: problem details, JSON with an `error` or
    /// a `message`, or a line of text. A page for browsers is left out.
    pub fn from_answer(status: u16, body: &str) -> ProblemBody {
        let json: Option<Value> = serde_json::from_str(body).ok();
        let read = json.as_ref().map(ProblemBody::deserialize);
        let mut problem: ProblemBody = read.and_then(Result::ok).unwrap_or_default();
        if problem.detail.is_empty() {
            let said = match &json {
                Some(json) => said_of_error(json),
                None => plain_line(body),
            };
            problem.detail = said.unwrap_or_default();
        }
        ProblemBody { status, ..problem }
    }

    /// The most exact words it has.
    pub fn message(&self) -> String {
        match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => format!("the server answered with status {}", self.status),
            ("", title) => format!("the server answered: {title} ({})", self.status),
            (detail, _) => detail.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_it_knows() {
        for (body, expected) in [
            (
                r#"{"type":"urn:x","title":"Not Found","status":404,"detail":"Agent 'x' not found"}"#,
                "Agent 'x' not found",
            ),
            (
                r#"{"title":"Not Found"}"#,
                "the server answered: Not Found (404)",
            ),
            ("<html>nginx</html>", "the server answered with status 404"),
            (r#"{"error":"no such agent"}"#, "no such agent"),
            (
                r#"{"error":{"message":"no such agent","code":1}}"#,
                "no such agent",
            ),
            (r#"{"message":"no such agent"}"#, "no such agent"),
            (
                r#"{"message":"no such agent","status":"x","detail":[]}"#,
                "no such agent",
            ),
            (r#""no such agent""#, "no such agent"),
            ("no such agent\n", "no such agent"),
            ("", "the server answered with status 404"),
        ] {
            let problem = ProblemBody::from_answer(404, body);
            assert_eq!(
                (problem.status, problem.message().as_str()),
                (404, expected)
            );
        }
    }
}
