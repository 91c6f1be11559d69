//! The answer that comes from tiny_http: its head set right for the client, and where it ends. Pure.
//!
//! Source: RFC 9112, section 6.3.

use std::io::Write as _;

use crate::http::gate::dechunk::ChunkDecoder;
use crate::http::gate::reply::ReplyTo;

/// More than any head of ours; an answer whose head does not end is a fault of the server.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// The server's answer cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadAnswer;

/// The lines that the gate adds to the head of an answer, and what of the request says where it ends.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerSettings {
    /// The connection will be closed after it.
    pub(super) closes: bool,
    /// The lines that every answer to this request has, whoever gives it.
    pub(super) reply_to: ReplyTo,
}

/// How far an answer has been read.
#[derive(Debug)]
pub(super) enum AnswerFraming {
    /// So much of its head has come.
    Head(Vec<u8>),
    /// The body, in the coding in which it came.
    Body(AnswerBody),
}

/// Where a body ends.
#[derive(Debug)]
pub(super) enum AnswerBody {
    Length(u64),
    Chunked(ChunkDecoder),
    /// With the connection.
    Close,
}

impl Default for AnswerFraming {
    fn default() -> AnswerFraming {
        AnswerFraming::Head(Vec::new())
    }
}

impl AnswerFraming {
    /// The client has, or is about to have, a status line: no other answer can be given.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, AnswerFraming::Body(_))
    }

    /// All of the answer has come.
    pub(super) fn is_ended(&self) -> bool {
        match self {
            AnswerFraming::Head(_) | AnswerFraming::Body(AnswerBody::Close) => false,
            AnswerFraming::Body(AnswerBody::Length(left)) => *left == 0,
            AnswerFraming::Body(AnswerBody::Chunked(chunks)) => chunks.is_ended(),
        }
    }

    /// Only the end of the connection shows the client where the answer ends.
    pub(super) fn ends_with_the_connection(&self) -> bool {
        matches!(self, AnswerFraming::Body(AnswerBody::Close))
    }

    /// Reads more of the head. Once it is whole, returns the head for the client and, at its end,
    /// what has come of the body.
    pub(super) fn head(
        &mut self,
        input: &[u8],
        settings: &AnswerSettings,
    ) -> Result<Option<Vec<u8>>, BadAnswer> {
        let AnswerFraming::Head(begun) = self else {
            return Err(BadAnswer);
        };
        begun.extend_from_slice(input);
        let Some((head_bytes, mut text, mut body)) = rewrite(begun, settings)? else {
            return if begun.len() < HEAD_BYTES_MAX {
                Ok(None)
            } else {
                Err(BadAnswer)
            };
        };
        let rest = &begun[head_bytes..];
        let taken = body.advance(rest)?;
        text.extend_from_slice(&rest[..taken]);
        *self = AnswerFraming::Body(body);
        Ok(Some(text))
    }
}

impl AnswerBody {
    /// Reads on, and returns how many bytes of `input` belong to the answer.
    pub(super) fn advance(&mut self, input: &[u8]) -> Result<usize, BadAnswer> {
        match self {
            AnswerBody::Close => Ok(input.len()),
            AnswerBody::Length(left) => {
                let taken = (input.len() as u64).min(*left);
                *left -= taken;
                Ok(taken as usize)
            }
            AnswerBody::Chunked(chunks) => advance_chunks(chunks, input),
        }
    }
}

fn advance_chunks(chunks: &mut ChunkDecoder, input: &[u8]) -> Result<usize, BadAnswer> {
    let mut taken = 0;
    while taken < input.len() && !chunks.is_ended() {
        let step = chunks.step(&input[taken..]).map_err(|_| BadAnswer)?;
        taken += step.taken;
    }
    Ok(taken)
}

/// The length of a whole head, the head for the client, and where the body ends.
fn rewrite(
    input: &[u8],
    settings: &AnswerSettings,
) -> Result<Option<(usize, Vec<u8>, AnswerBody)>, BadAnswer> {
    let mut storage = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut storage);
    let head_bytes = match response.parse(input).map_err(|_| BadAnswer)? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let reason = response.reason.unwrap_or_default();
    let body = body_of(status, response.headers, settings.reply_to.is_to_head)?;
    let closes = settings.closes || matches!(body, AnswerBody::Close);
    let mut text = Vec::with_capacity(head_bytes + settings.reply_to.lines.len() + 32);
    put(&mut text, format_args!("HTTP/1.1 {status} {reason}\r\n"));
    for header in response
        .headers
        .iter()
        .filter(|header| is_for_the_client(header.name))
    {
        put(&mut text, format_args!("{}: ", header.name));
        text.extend_from_slice(header.value);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(&settings.reply_to.lines);
    if closes {
        text.extend_from_slice(b"Connection: close\r\n");
    }
    text.extend_from_slice(b"\r\n");
    Ok(Some((head_bytes, text, body)))
}

/// `Date` and `Server` are the gate's to say, the others concern the hop between us.
fn is_for_the_client(name: &str) -> bool {
    let ends_here = ["connection", "keep-alive", "upgrade", "date", "server"];
    !ends_here
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
}

fn body_of(
    status: u16,
    headers: &[httparse::Header<'_>],
    is_to_head: bool,
) -> Result<AnswerBody, BadAnswer> {
    let value = |name: &str| {
        let header = headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    if is_to_head || matches!(status, 204 | 304) {
        return Ok(AnswerBody::Length(0));
    }
    if value("Transfer-Encoding").is_some() {
        return Ok(AnswerBody::Chunked(ChunkDecoder::default()));
    }
    match value("Content-Length") {
        Some(length) => length
            .parse()
            .map(AnswerBody::Length)
            .map_err(|_| BadAnswer),
        None => Ok(AnswerBody::Close),
    }
}

fn put(text: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a Vec takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the client gets, whether the answer has ended, and how much of the input was its own.
    fn relay(
        pieces: &[&[u8]],
        settings: &AnswerSettings,
    ) -> Result<(String, bool, usize), BadAnswer> {
        let (mut answer, mut client, mut foreign) = (AnswerFraming::default(), Vec::new(), 0);
        for piece in pieces {
            match &mut answer {
                AnswerFraming::Body(body) => {
                    let taken = body.advance(piece)?;
                    client.extend_from_slice(&piece[..taken]);
                    foreign += piece.len() - taken;
                }
                AnswerFraming::Head(_) => {
                    client.extend(answer.head(piece, settings)?.unwrap_or_default());
                }
            }
        }
        Ok((
            String::from_utf8(client).unwrap(),
            answer.is_ended(),
            foreign,
        ))
    }

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let mut to_head = AnswerSettings::default();
        to_head.reply_to.is_to_head = true;
        let to_get = AnswerSettings::default();
        let table: &[(&str, &AnswerSettings, bool)] = &[
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
                &to_get,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
                &to_get,
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
                &to_head,
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", &to_get, true),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                &to_get,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
                &to_get,
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                &to_get,
                true,
            ),
        ];
        for (text, settings, ended) in table {
            let (client, is_ended, _) = relay(&[text.as_bytes()], settings).unwrap();
            assert_eq!((client.as_str(), is_ended), (*text, *ended));
        }
    }

    #[test]
    fn the_head_is_set_right_for_the_client() {
        let mut settings = AnswerSettings {
            closes: true,
            ..AnswerSettings::default()
        };
        settings.reply_to.lines = b"Date: now\r\n".to_vec();
        let text = b"HTTP/1.0 200 OK\r\nServer: x\r\nconnection: upgrade\r\nDate: old\r\nA: b\r\nContent-Length: 0\r\n\r\n";
        let (client, ended, _) = relay(&[text], &settings).unwrap();
        assert!(ended);
        assert_eq!(
            client,
            "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\nDate: now\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_without_a_length_closes_the_connection() {
        let (client, ended, _) = relay(
            &[b"HTTP/1.0 200 OK\r\n\r\ndata: 1\n\n"],
            &AnswerSettings::default(),
        )
        .unwrap();
        assert!(!ended);
        assert_eq!(
            client,
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: 1\n\n"
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        let settings = AnswerSettings::default();
        assert_eq!(relay(&[b"hello\r\n\r\n"], &settings), Err(BadAnswer));
        let endless = [
            b"HTTP/1.1 200 OK\r\nA: ".to_vec(),
            vec![b'a'; HEAD_BYTES_MAX],
        ]
        .concat();
        assert_eq!(relay(&[&endless], &settings), Err(BadAnswer));
    }

    proptest! {
        #[test]
        fn any_split_of_an_answer_is_relayed_alike(
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let text: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            let whole = String::from_utf8(text.to_vec()).unwrap();
            prop_assert_eq!(relay(&pieces, &AnswerSettings::default()), Ok((whole, true, 0)));
        }
    }
}
