//! The body of a request, gathered as it arrives. Pure.

use crate::http::gate::dechunk::ChunkDecoder;
use crate::http::gate::head::Framing;
use crate::http::problem::HttpProblem;

/// A body as far as it has come, without its coding: grows as bytes arrive, never to an announced length.
#[derive(Debug)]
pub(super) struct RequestBody {
    bytes: Vec<u8>,
    missing: MissingBody,
    limit: BodyLimit,
}

/// The most that a body may have, and which setting says so.
#[derive(Debug, Clone, Copy)]
pub(super) enum BodyLimit {
    /// `server.max_body_bytes`
    OfRequest(usize),
    /// None: a file has a limit of its own.
    OfFile(usize),
}

impl BodyLimit {
    fn bytes(self) -> usize {
        match self {
            BodyLimit::OfRequest(bytes) | BodyLimit::OfFile(bytes) => bytes,
        }
    }

    fn exceeded(self) -> HttpProblem {
        match self {
            BodyLimit::OfRequest(bytes) => HttpProblem::new(
                413,
                format!("a body may have {bytes} bytes at most (server.max_body_bytes)"),
            )
            .with_member("max_body_bytes", bytes),
            BodyLimit::OfFile(bytes) => {
                HttpProblem::new(413, format!("a file may have {bytes} bytes at most"))
                    .with_member("max_file_bytes", bytes)
            }
        }
    }
}

#[derive(Debug)]
enum MissingBody {
    Length(usize),
    Chunked(ChunkDecoder),
}

impl RequestBody {
    /// An empty body that will end where `framing` says.
    ///
    /// Errors: 413, when the length that the head announces is over `limit`.
    pub(super) fn new(framing: Framing, limit: BodyLimit) -> Result<RequestBody, HttpProblem> {
        let missing = match framing {
            Framing::None => MissingBody::Length(0),
            Framing::Length(length) if length > limit.bytes() as u64 => {
                return Err(limit.exceeded());
            }
            Framing::Length(length) => MissingBody::Length(length as usize),
            Framing::Chunked => MissingBody::Chunked(ChunkDecoder::default()),
        };
        Ok(RequestBody {
            bytes: Vec::new(),
            missing,
            limit,
        })
    }

    /// All of the body is there.
    pub(super) fn is_whole(&self) -> bool {
        match &self.missing {
            MissingBody::Length(left) => *left == 0,
            MissingBody::Chunked(chunks) => chunks.is_ended(),
        }
    }

    /// The memory it holds.
    pub(super) fn bytes_held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives the bytes away.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes what belongs to the body from the beginning of `input`, and returns how much that was.
    ///
    /// Errors: 400 for bad chunks, 413 when they grow over the limit.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<usize, HttpProblem> {
        let mut taken = 0;
        while taken < input.len() && !self.is_whole() {
            taken += self.take_run(&input[taken..])?;
        }
        Ok(taken)
    }

    fn take_run(&mut self, input: &[u8]) -> Result<usize, HttpProblem> {
        let (taken, data, bytes_max) = match &mut self.missing {
            MissingBody::Length(left) => {
                let run = input.len().min(*left);
                *left -= run;
                (run, &input[..run], self.bytes.len() + run + *left)
            }
            MissingBody::Chunked(chunks) => {
                let step = chunks.step(input).map_err(|_| bad_chunk())?;
                (step.taken, &input[step.data], self.limit.bytes())
            }
        };
        if self.bytes.len() + data.len() > self.limit.bytes() {
            return Err(self.limit.exceeded());
        }
        append(&mut self.bytes, data, bytes_max);
        Ok(taken)
    }
}

/// Appends by doubling, as a `Vec` does, but never reserves more than will come.
fn append(bytes: &mut Vec<u8>, data: &[u8], bytes_max: usize) {
    let needed = bytes.len() + data.len();
    if needed > bytes.capacity() {
        let goal = (2 * bytes.capacity()).clamp(needed, bytes_max.max(needed));
        bytes.reserve_exact(goal - bytes.len());
    }
    bytes.extend_from_slice(data);
}

fn bad_chunk() -> HttpProblem {
    HttpProblem::new(400, "the chunks of the body are malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather(framing: Framing, max: usize, input: &[u8]) -> Result<(RequestBody, usize), u16> {
        let mut body = RequestBody::new(framing, BodyLimit::OfRequest(max))
            .map_err(|problem| problem.status())?;
        let taken = body.take(input).map_err(|problem| problem.status())?;
        Ok((body, taken))
    }

    #[test]
    fn a_body_takes_what_is_its_own() {
        let (body, taken) = gather(Framing::Length(3), 10, b"abcGET").unwrap();
        assert_eq!(
            (body.is_whole(), taken, body.into_bytes()),
            (true, 3, b"abc".to_vec())
        );
        let (body, taken) = gather(Framing::Chunked, 10, b"3\r\nabc\r\n0\r\n\r\nGET").unwrap();
        assert_eq!(
            (body.is_whole(), taken, body.into_bytes()),
            (true, 13, b"abc".to_vec())
        );
        let (body, taken) = gather(Framing::None, 10, b"GET").unwrap();
        assert_eq!((body.is_whole(), taken), (true, 0));
        let (body, _) = gather(Framing::Length(4), 10, b"abc").unwrap();
        assert!(!body.is_whole());
    }

    #[test]
    fn the_limit_holds_for_both_framings() {
        assert_eq!(gather(Framing::Length(11), 10, b"").unwrap_err(), 413);
        assert_eq!(gather(Framing::Length(u64::MAX), 10, b"").unwrap_err(), 413);
        let chunks = b"8\r\n12345678\r\n3\r\nabc\r\n0\r\n\r\n";
        assert_eq!(gather(Framing::Chunked, 10, chunks).unwrap_err(), 413);
        assert_eq!(gather(Framing::Chunked, 10, b"x").unwrap_err(), 400);
    }

    #[test]
    fn memory_grows_with_what_came_and_not_with_what_was_announced() {
        let (mut body, _) = gather(Framing::Length(1 << 20), 1 << 20, b"abc").unwrap();
        assert!(body.bytes_held() < 100);
        while !body.is_whole() {
            body.take(&[0; 1000]).unwrap();
        }
        assert_eq!(body.bytes_held(), 1 << 20);
    }
}
