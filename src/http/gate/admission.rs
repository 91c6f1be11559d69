//! What becomes of a head: a request that may send its body, or an answer at once. Pure.

use crate::base::socket_owner::Ends;
use crate::domain::time::Timestamp;
use crate::http::access::{self, AccessSettings, HeadView, PeerAccount};
use crate::http::gate::body::{BodyLimit, RequestBody};
use crate::http::gate::exchange::RequestNotes;
use crate::http::gate::head::{self, GateStamp, ParsedHead};
use crate::http::gate::outbound::UpstreamRequest;
use crate::http::gate::reply::{self, ReplyTo};
use crate::http::problem::HttpProblem;
use crate::http::route::ApiRoute;

/// The rules and the state of the connection by which a head is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdmissionRules<'a> {
    pub(super) access: &'a AccessSettings,
    /// The connection's two addresses.
    pub(super) ends: Ends,
    /// To whom the connection belongs.
    pub(super) account: PeerAccount,
    pub(super) head_bytes_max: usize,
    pub(super) body_bytes_max: usize,
    pub(super) file_bytes_max: usize,
    pub(super) now: Timestamp,
    /// The `Date` line of an answer given now.
    pub(super) date: &'a [u8],
}

/// The judgement on what has come of a head.
#[derive(Debug)]
pub(super) enum Admission {
    /// Its end has not come.
    Incomplete,
    /// The request may go on.
    Admitted(Box<Arriving>),
    /// The gate answers, and closes the connection: what follows cannot be trusted, or isn't wanted.
    Answered(Vec<u8>),
}

/// A request whose head has passed.
#[derive(Debug)]
pub(super) struct Arriving {
    /// How many bytes of the input the head took.
    pub(super) head_bytes: usize,
    /// The head for the server; the body's length and the empty line are still to come.
    pub(super) head: Vec<u8>,
    pub(super) body: RequestBody,
    /// A header spoke of a body, so that the server is told a length even if it is 0.
    pub(super) has_length: bool,
    pub(super) expects_continue: bool,
    pub(super) notes: RequestNotes,
}

impl Arriving {
    /// The whole request for the server: head and body.
    pub(super) fn into_request(self) -> (UpstreamRequest, RequestNotes) {
        let (mut head, body) = (self.head, self.body.into_bytes());
        if self.has_length {
            reply::put_header(&mut head, "Content-Length", &body.len().to_string());
        }
        head.extend_from_slice(b"\r\n");
        (UpstreamRequest::new(head, body), self.notes)
    }
}

/// Judges the head at the beginning of `input`.
pub(super) fn judge(input: &[u8], stamp: GateStamp<'_>, rules: &AdmissionRules<'_>) -> Admission {
    let head = match head::parse(input, rules.head_bytes_max) {
        Ok(Some(head)) => head,
        Ok(None) => return Admission::Incomplete,
        Err(problem) => {
            let to = ReplyTo {
                lines: rules.date.to_vec(),
                ..ReplyTo::default()
            };
            return Admission::Answered(reply::refusal(&problem, &to));
        }
    };
    let view = head.view(rules.ends.theirs.ip(), rules.account);
    if let Some(headers) = access::preflight(rules.access, &view) {
        return Admission::Answered(reply::no_content(&reply_to(rules, &view, &headers)));
    }
    let cors = access::cors_headers(rules.access, &view);
    let mut to = reply_to(rules, &view, &cors);
    to.closes = !head.keeps_alive();
    match admit(&head, &view, stamp, rules, &to) {
        Ok(arriving) => Admission::Admitted(Box::new(arriving)),
        Err(problem) => Admission::Answered(reply::refusal(&problem, &to)),
    }
}

fn admit(
    head: &ParsedHead<'_>,
    view: &HeadView<'_>,
    stamp: GateStamp<'_>,
    rules: &AdmissionRules<'_>,
    to: &ReplyTo,
) -> Result<Arriving, HttpProblem> {
    let requester = access::check(rules.access, view, rules.now)?;
    Ok(Arriving {
        head_bytes: head.bytes,
        head: head.forwarded(stamp),
        body: RequestBody::new(head.framing, body_limit(view, rules))?,
        has_length: head.framing != head::Framing::None,
        expects_continue: head.expects_continue,
        notes: RequestNotes {
            ends: rules.ends,
            requester,
            version: head.version,
            reply_to: to.clone(),
        },
    })
}

/// The most that a body may have: a file may be larger than what is said.
fn body_limit(view: &HeadView<'_>, rules: &AdmissionRules<'_>) -> BodyLimit {
    let path = view.target.split('?').next().unwrap_or_default();
    // Most requests are told by their end.
    let is_file = path.ends_with("/files")
        && matches!(
            ApiRoute::parse(view.method, path),
            Ok(ApiRoute::BringFile(_))
        );
    if is_file {
        BodyLimit::OfFile(rules.file_bytes_max)
    } else {
        BodyLimit::OfRequest(rules.body_bytes_max)
    }
}

fn reply_to(
    rules: &AdmissionRules<'_>,
    view: &HeadView<'_>,
    headers: &[(&str, String)],
) -> ReplyTo {
    let mut lines = rules.date.to_vec();
    for (name, value) in headers {
        reply::put_header(&mut lines, name, value);
    }
    ReplyTo {
        is_to_head: view.method == "HEAD",
        closes: true,
        lines,
    }
}
