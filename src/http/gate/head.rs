//! The head of a request: parsed strictly, and written anew for the server behind the gate. Pure.
//!
//! Invariants:
//! - a head that two readers could take differently is refused: what tiny_http gets has one
//!   meaning, and no client can smuggle a second request in a first;
//! - what a client says about a hop (`Connection`, `Transfer-Encoding`, …) or in our name
//!   (`X-Gate-…`) ends here, and so do tokens and tickets.
//!
//! Source: RFC 9112, sections 2 to 6 and 11.2.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;

use crate::http::access::{HeadView, HttpVersion, PeerAccount, host_of};
use crate::http::problem::HttpProblem;
use crate::http::ticket;

/// The most headers a head may have.
pub(super) const HEADERS_MAX: usize = 64;

/// The methods we know of; a route may know fewer.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What ends at the gate beside the headers that `Connection` names. `Authorization` is no hop's
/// matter: it has been checked, and what no handler sees no handler can give away.
const ENDS_HERE: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A well-formed head, borrowed from the bytes it came in.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedHead<'a> {
    /// How many bytes it takes, its empty line included.
    pub(super) bytes: usize,
    pub(super) method: &'a str,
    /// A path with its query, or `*`.
    pub(super) target: Cow<'a, str>,
    /// The name by which a target in absolute form calls us, with its port if it has one.
    pub(super) authority: Option<&'a str>,
    pub(super) version: HttpVersion,
    /// Names as sent, values trimmed and ASCII.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    /// How the body is framed.
    pub(super) framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// Where a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, and no header speaks of one.
    None,
    /// After so many bytes.
    Length(u64),
    /// Where the chunked coding says.
    Chunked,
}

/// The gate's word on which connection a request came by, which the server believes by the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateStamp<'a> {
    pub(super) conn: u64,
    pub(super) key: &'a str,
}

/// Reads a head from the beginning of `input`; `None` when its end has not come yet.
///
/// Errors: the problem to answer with, after which nothing in `input` can be trusted.
pub(super) fn parse(
    input: &[u8],
    head_bytes_max: usize,
) -> Result<Option<ParsedHead<'_>>, HttpProblem> {
    let mut storage = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut storage);
    let bytes = match request.parse(input).map_err(refusal)? {
        httparse::Status::Complete(bytes) if bytes <= head_bytes_max => bytes,
        httparse::Status::Partial if input.len() < head_bytes_max => return Ok(None),
        _ => return Err(head_too_large(head_bytes_max)),
    };
    refuse_bare_line_feeds(&input[..bytes])?;
    let version = version_of(&request);
    let method = known_method(request.method.unwrap_or_default())?;
    let (authority, target) = target(method, request.path.unwrap_or_default())?;
    let headers = plain_headers(request.headers)?;
    let view = HeadView {
        method,
        target: &target,
        authority,
        version,
        headers: &headers,
        // No rule of this file looks at them.
        peer: IpAddr::from([0, 0, 0, 0]),
        account: PeerAccount::Stranger,
    };
    check_host(&view)?;
    let framing = framing(&view)?;
    let expects_continue = expects_continue(&view)?;
    Ok(Some(ParsedHead {
        bytes,
        method,
        target,
        authority,
        version,
        headers,
        framing,
        expects_continue,
    }))
}

impl<'a> ParsedHead<'a> {
    /// The view that the access rules take.
    pub(super) fn view(&self, peer: IpAddr, account: PeerAccount) -> HeadView<'_> {
        HeadView {
            method: self.method,
            target: &self.target,
            authority: self.authority,
            version: self.version,
            headers: &self.headers,
            peer,
            account,
        }
    }

    /// The client means to send another request after this one.
    pub(super) fn keeps_alive(&self) -> bool {
        self.version == HttpVersion::Http11
            && !self.connection_options().any(|name| name == "close")
    }

    /// The head for the server, without its empty line: the body's length is still to come. Always of
    /// HTTP/1.1, as the next request follows by the same connection.
    pub(super) fn forwarded(&self, stamp: GateStamp<'_>) -> Vec<u8> {
        let named: Vec<String> = self.connection_options().collect();
        let target = ticket::without(&self.target);
        let mut text = Vec::with_capacity(self.bytes + 160);
        put(
            &mut text,
            format_args!("{} {target} HTTP/1.1\r\n", self.method),
        );
        for (name, value) in &self.headers {
            if !ends_here(&name.to_ascii_lowercase(), &named) {
                put(&mut text, format_args!("{name}: {value}\r\n"));
            }
        }
        let GateStamp { conn, key } = stamp;
        put(
            &mut text,
            format_args!("X-Gate-Conn: {conn}\r\nX-Gate-Key: {key}\r\n"),
        );
        text
    }

    /// The names in `Connection`, in lower case.
    fn connection_options(&self) -> impl Iterator<Item = String> {
        self.headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
            .flat_map(|(_, value)| value.split(','))
            .map(|option| option.trim().to_ascii_lowercase())
    }
}

fn ends_here(name: &str, named_by_connection: &[String]) -> bool {
    ENDS_HERE.contains(&name)
        || name.starts_with("x-gate-")
        || named_by_connection.iter().any(|named| named == name)
}

fn put(text: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a Vec takes every byte");
}

fn bad(detail: &'static str) -> HttpProblem {
    HttpProblem::new(400, detail)
}

fn refusal(error: httparse::Error) -> HttpProblem {
    match error {
        httparse::Error::TooManyHeaders => HttpProblem::new(
            431,
            format!("the head of a request may have {HEADERS_MAX} headers at most"),
        ),
        httparse::Error::Version => {
            HttpProblem::new(505, "this server speaks HTTP/1.0 and HTTP/1.1")
        }
        httparse::Error::HeaderName => bad("a header's name is malformed"),
        httparse::Error::HeaderValue => bad("a header's value is malformed"),
        _ => bad("the head of the request is malformed"),
    }
}

fn head_too_large(bytes_max: usize) -> HttpProblem {
    HttpProblem::new(
        431,
        format!("the head of a request may have {bytes_max} bytes at most"),
    )
}

fn version_of(request: &httparse::Request<'_, '_>) -> HttpVersion {
    match request.version {
        Some(0) => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}

/// `httparse` takes a line feed alone for the end of a line, and other readers do not.
fn refuse_bare_line_feeds(head: &[u8]) -> Result<(), HttpProblem> {
    let is_bare = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
    if (0..head.len()).any(is_bare) {
        Err(bad("a line of the head ends without a carriage return"))
    } else {
        Ok(())
    }
}

fn known_method(method: &str) -> Result<&str, HttpProblem> {
    if METHODS.contains(&method) {
        Ok(method)
    } else {
        Err(HttpProblem::new(
            501,
            "this server does not know the method",
        ))
    }
}

/// What is asked for, and of whom, where the target says that too.
///
/// Source: RFC 9112, section 3.2.
fn target<'a>(
    method: &str,
    target: &'a str,
) -> Result<(Option<&'a str>, Cow<'a, str>), HttpProblem> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
    if !target.bytes().all(is_plain) {
        return Err(bad("the target must be in ASCII; percent-encode the rest"));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, Cow::Borrowed(target)));
    }
    let (authority, rest) = absolute(target).ok_or_else(|| {
        bad("the target must be a path that begins with `/`, or `http://host[:port]/path`")
    })?;
    Ok((
        Some(authority),
        match rest {
            // As the last of several proxies sends it on.
            "" if method == "OPTIONS" => Cow::Borrowed("*"),
            rest if rest.starts_with('/') => Cow::Borrowed(rest),
            rest => Cow::Owned(format!("/{rest}")),
        },
    ))
}

/// Authority and path, with its query, of a target in absolute form.
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    // TLS ends at a proxy, which may send on what it was sent.
    let is_http = ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    // Names and passwords in URLs are for misleading people.
    let is_good =
        !authority.contains('@') && host_of(authority).is_some_and(|host| !host.is_empty());
    (is_http && is_good).then_some((authority, rest))
}

fn plain_headers<'a>(
    headers: &[httparse::Header<'a>],
) -> Result<Vec<(&'a str, &'a str)>, HttpProblem> {
    let plain = |header: &httparse::Header<'a>| {
        let value = std::str::from_utf8(header.value).ok()?;
        value
            .is_ascii()
            .then(|| (header.name, value.trim_matches([' ', '\t'])))
    };
    headers
        .iter()
        .map(|header| plain(header).ok_or_else(|| bad("a header's value is not ASCII")))
        .collect()
}

fn check_host(view: &HeadView<'_>) -> Result<(), HttpProblem> {
    match (count(view, "Host"), view.version) {
        (1, _) | (0, HttpVersion::Http10) => Ok(()),
        (0, HttpVersion::Http11) => Err(bad("a request of HTTP/1.1 needs a `Host`")),
        _ => Err(bad("there is more than one `Host`")),
    }
}

fn count(view: &HeadView<'_>, name: &str) -> usize {
    let is_it = |(header, _): &&(&str, &str)| header.eq_ignore_ascii_case(name);
    view.headers.iter().filter(is_it).count()
}

fn framing(view: &HeadView<'_>) -> Result<Framing, HttpProblem> {
    match (
        count(view, "Content-Length"),
        count(view, "Transfer-Encoding"),
    ) {
        (0, 0) if view.version == HttpVersion::Http10 && view.method == "POST" => Err(
            HttpProblem::new(411, "a POST of HTTP/1.0 needs a `Content-Length`"),
        ),
        (0, 0) => Ok(Framing::None),
        (1, 0) => content_length(view.single("Content-Length").unwrap_or_default()),
        (0, 1) => chunked(view),
        _ => Err(bad("the body's length is given more than once")),
    }
}

fn content_length(value: &str) -> Result<Framing, HttpProblem> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(bad("`Content-Length` is not a number"));
    }
    // More digits than fit is a number too, and above every limit.
    Ok(Framing::Length(value.parse().unwrap_or(u64::MAX)))
}

fn chunked(view: &HeadView<'_>) -> Result<Framing, HttpProblem> {
    let coding = view.single("Transfer-Encoding").unwrap_or_default();
    match (view.version, coding.eq_ignore_ascii_case("chunked")) {
        (HttpVersion::Http10, _) => Err(bad("HTTP/1.0 has no `Transfer-Encoding`")),
        (HttpVersion::Http11, true) => Ok(Framing::Chunked),
        (HttpVersion::Http11, false) => Err(HttpProblem::new(
            501,
            "of all transfer codings this server knows `chunked` alone",
        )),
    }
}

/// Whether the client waits for leave to send. HTTP/1.0 has no such thing, so it is not asked for.
fn expects_continue(view: &HeadView<'_>) -> Result<bool, HttpProblem> {
    let is_other = |(name, value): &(&str, &str)| {
        name.eq_ignore_ascii_case("Expect") && !value.eq_ignore_ascii_case("100-continue")
    };
    if view.headers.iter().any(is_other) {
        return Err(HttpProblem::new(
            417,
            "of all expectations this server knows `100-continue` alone",
        ));
    }
    Ok(view.version == HttpVersion::Http11 && count(view, "Expect") > 0)
}

#[cfg(test)]
mod tests;
