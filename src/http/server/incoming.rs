//! A request, whole, with its body, and the duty to answer it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::Receiver;
use tiny_http::{Header, Method, Request};

use crate::base::socket_owner::Ends;
use crate::http::access::HttpVersion;
use crate::http::gate::{Exchange, LentSocket};
use crate::http::problem::{self, HttpProblem};
use crate::http::requester::Requester;
use crate::http::server::stream::{Coding, StreamWriter};

/// A request that waits for its answer. Dropped without one, it is answered with a 500.
///
/// It may move to another thread.
pub struct Incoming {
    head: RequestHead,
    body: Vec<u8>,
    exchange: Arc<Exchange>,
    /// `None` once answered.
    socket: Option<LentSocket>,
}

/// Of tiny_http's request no more is kept: as long as its reader lives, a thread of tiny_http's pool
/// waits for it, and others queue up behind that thread.
struct RequestHead {
    method: Method,
    url: String,
    headers: Vec<Header>,
}

impl Incoming {
    /// Reads the body, which the gate sends whole and within its limit.
    pub(super) fn read(mut request: Request, exchange: Arc<Exchange>) -> io::Result<Incoming> {
        // From here on, whatever fails is answered with a 500.
        let socket = LentSocket::new(Arc::clone(&exchange));
        let announced = request.body_length().unwrap_or(0);
        let mut incoming = Incoming {
            head: RequestHead {
                method: request.method().clone(),
                url: request.url().to_owned(),
                headers: request.headers().to_vec(),
            },
            body: Vec::with_capacity(announced),
            exchange,
            socket: Some(socket),
        };
        let read = request.as_reader().read_to_end(&mut incoming.body);
        // The answer goes another way; tiny_http would send one of its own.
        drop(request.into_writer());
        // Where the connection has ended, tiny_http lets a part pass for the whole.
        if read? < announced {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(incoming)
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
        self.ends().theirs
    }

    /// The two addresses of the client's connection.
    pub fn ends(&self) -> Ends {
        self.exchange.ends()
    }

    /// Who sent it; `None` where nobody needed to be known.
    pub fn requester(&self) -> Option<&Requester> {
        self.exchange.requester()
    }

    /// The version of the protocol that the client speaks.
    pub fn version(&self) -> HttpVersion {
        self.exchange.version()
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
        self.exchange.gone()
    }

    /// Has `waker` called when the client leaves. Whether it has left before, the caller must look for itself
    /// after this.
    pub fn wake_when_gone(&self, waker: Waker) {
        self.exchange.wake_when_gone(waker);
    }

    /// Answers with a whole body; to a `HEAD`, with its headers alone. Waits for nothing, whatever the
    /// client takes of it.
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

    /// Answers with a body that is written as it comes about: server-sent events. Waits for nothing.
    ///
    /// Errors: the client is gone.
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
        let mut headers = headers.to_vec();
        if coding == Coding::Chunked {
            headers.push(("Transfer-Encoding", "chunked"));
        }
        let socket = self.socket.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let head = socket.head(status, &headers);
        Ok(StreamWriter::new(socket, head, coding))
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
        let Some(mut socket) = self.socket.take() else {
            return;
        };
        let body = body.filter(|_| !matches!(status, 204 | 304));
        let length = body.map(|body| body.len().to_string());
        let mut headers = headers.to_vec();
        headers.extend(length.as_deref().map(|length| ("Content-Length", length)));
        let head = socket.head(status, &headers);
        let body = body.filter(|_| !socket.is_to_head()).unwrap_or_default();
        match socket.send([&head, body, b""]) {
            Ok(_) => socket.end(),
            Err(err) => log::debug!("an answer found no reader: {err}"),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.answer_problem(&HttpProblem::new(500, "the server failed to answer"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_body_that_breaks_off_on_its_way_is_not_taken_for_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("server");
        let listener = UnixListener::bind(&address).unwrap();
        let server = tiny_http::Server::from_listener(listener, None).unwrap();
        let mut gate = UnixStream::connect(&address).unwrap();
        gate.write_all(b"PUT /x HTTP/1.1\r\nContent-Length: 5000\r\n\r\nhalf")
            .unwrap();
        drop(gate);
        let request = server.recv_timeout(PATIENCE).unwrap().unwrap();
        let clients = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(clients.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = clients.accept().unwrap();
        let read = Incoming::read(request, Exchange::alone(socket, PATIENCE));
        let error = read.err().map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::UnexpectedEof));
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    }
}
