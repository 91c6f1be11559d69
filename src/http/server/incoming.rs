//! A request, whole, with its body, and the duty to answer it.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::task::Waker;

use crossbeam_channel::Receiver;
use tiny_http::{HTTPVersion, Header, Method, Request};

use crate::base::socket_owner::Ends;
use crate::http::access::HttpVersion;
use crate::http::gate::ClientPresence;
use crate::http::gate::reply::put_header;
use crate::http::problem::{self, HttpProblem};
use crate::http::requester::Requester;
use crate::http::server::senders::Senders;
use crate::http::server::stream::{Coding, StreamWriter};

/// A request that waits for its answer. Dropped without one, it is answered with a 500.
///
/// It may move to another thread.
pub struct Incoming {
    head: RequestHead,
    ends: Ends,
    requester: Option<Requester>,
    body: Vec<u8>,
    conn: u64,
    presence: ClientPresence,
    gone: Receiver<Infallible>,
    /// `None` once answered. Of tiny_http's request this is all that is kept: as long as its reader
    /// lives, a thread of tiny_http's pool waits for it, and others may queue up behind that thread.
    writer: Option<Box<dyn Write + Send>>,
    senders: Senders,
}

struct RequestHead {
    method: Method,
    url: String,
    version: HttpVersion,
    headers: Vec<Header>,
}

impl Incoming {
    /// Reads the body, which the gate sends whole and within its limit, and the gate's notes.
    pub(super) fn read(
        mut request: Request,
        presence: &ClientPresence,
        senders: Senders,
    ) -> io::Result<Incoming> {
        let note = |name: &str| header(&request, name).unwrap_or_default();
        let address = |name: &str| note(name).parse().map_err(io::Error::other);
        let ends = Ends {
            theirs: address("X-Gate-Peer")?,
            ours: address("X-Gate-Local")?,
        };
        // What cannot be read is nobody's, who may do less than anybody who is known.
        let requester = Requester::parse(note("X-Gate-Requester"));
        let conn = note("X-Gate-Conn").parse().map_err(io::Error::other)?;
        let mut body = Vec::with_capacity(request.body_length().unwrap_or(0));
        request.as_reader().read_to_end(&mut body)?;
        Ok(Incoming {
            head: RequestHead::of(&request),
            ends,
            requester,
            body,
            conn,
            presence: presence.clone(),
            gone: presence.gone(conn),
            writer: Some(request.into_writer()),
            senders,
        })
    }

    /// The method: `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`.
    pub fn method(&self) -> &str {
        self.head.method.as_str()
    }

    /// The path, without the query, as it was sent.
    pub fn path(&self) -> &str {
        self.head.url.split('?').next().unwrap_or_default()
    }

    /// The query, without its `?`, as it was sent; empty if there is none.
    pub fn query(&self) -> &str {
        self.head.url.split_once('?').map_or("", |(_, query)| query)
    }

    /// The values of a header, by its name in any case, in order. Headers of the hop (`Connection`) and
    /// tokens never come so far; `Content-Length` is there exactly if the client spoke of a body.
    pub fn values(&self, name: &str) -> Vec<&str> {
        all(&self.head.headers, name).collect()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        all(&self.head.headers, name).next()
    }

    /// Where the client's connection comes from.
    pub fn peer(&self) -> SocketAddr {
        self.ends.theirs
    }

    /// The two addresses of the client's connection.
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// Who sent it; `None` where nobody needed to be known.
    pub fn requester(&self) -> Option<&Requester> {
        self.requester.as_ref()
    }

    /// The version of the protocol that the client speaks.
    pub fn version(&self) -> HttpVersion {
        self.head.version
    }

    /// The whole body, without its coding.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// A channel that closes when the client has left, or has at least ended its side.
    ///
    /// A client that ended its side only still reads its answer: so what is short is answered
    /// regardless, and what is long (a stream, a wait) ends.
    pub fn gone(&self) -> Receiver<Infallible> {
        self.gone.clone()
    }

    /// Has `waker` called when the client leaves. Whether it has left before, the caller must look for itself
    /// after this.
    pub fn wake_when_gone(&self, waker: Waker) {
        self.presence.wake_when_gone(self.conn, waker);
    }

    /// Answers with a whole body; to a `HEAD`, with its headers alone.
    pub fn respond(mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        self.answer(status, headers, Some(body));
    }

    /// Answers a `HEAD` whose `GET` would be answered with a stream.
    pub fn respond_without_body(mut self, status: u16, headers: &[(&str, &str)]) {
        self.answer(status, headers, None);
    }

    /// Answers with problem details.
    pub fn problem(mut self, problem: &HttpProblem) {
        self.answer_problem(problem);
    }

    /// Answers with a body that is written as it comes about: server-sent events.
    ///
    /// Errors: the gate has closed the connection; the client is gone.
    pub fn into_stream(
        mut self,
        status: u16,
        headers: &[(&str, &str)],
    ) -> io::Result<StreamWriter> {
        let coding = match (self.method(), self.version()) {
            ("HEAD", _) => Coding::NoBody,
            (_, HttpVersion::Http10) => Coding::UntilClose,
            (_, HttpVersion::Http11) => Coding::Chunked,
        };
        let mut head = status_line(status, headers);
        if coding == Coding::Chunked {
            put_header(&mut head, "Transfer-Encoding", "chunked");
        }
        head.extend_from_slice(b"\r\n");
        let writer = self.writer.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let lend_rx = self.presence.borrow_socket(self.conn);
        StreamWriter::begin(writer, &head, coding, lend_rx, self.gone())
    }

    fn answer_problem(&mut self, problem: &HttpProblem) {
        let mut headers = vec![("Content-Type", problem::CONTENT_TYPE)];
        headers.extend(
            problem
                .headers()
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        self.answer(problem.status(), &headers, Some(&problem.body()));
    }

    fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: Option<&[u8]>) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let mut text = status_line(status, headers);
        let body = body.filter(|_| !matches!(status, 204 | 304));
        if let Some(body) = body {
            put_header(&mut text, "Content-Length", &body.len().to_string());
        }
        text.extend_from_slice(b"\r\n");
        if let Some(body) = body
            && self.head.method != Method::Head
        {
            text.extend_from_slice(body);
        }
        self.senders.send(writer, text);
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.answer_problem(&HttpProblem::new(500, "the server failed to answer"));
        }
    }
}

impl RequestHead {
    fn of(request: &Request) -> RequestHead {
        RequestHead {
            method: request.method().clone(),
            url: request.url().to_owned(),
            version: match request.http_version() {
                HTTPVersion(1, 0) => HttpVersion::Http10,
                _ => HttpVersion::Http11,
            },
            headers: request.headers().to_vec(),
        }
    }
}

/// The first value of a header of a request.
pub(super) fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    all(request.headers(), name).next()
}

fn all<'a>(headers: &'a [Header], name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.field.as_str().as_str().eq_ignore_ascii_case(name))
        .map(|header| header.value.as_str())
}

fn status_line(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", problem::reason(status)).into_bytes();
    for (name, value) in headers {
        put_header(&mut text, name, value);
    }
    text
}
