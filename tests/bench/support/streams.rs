//! Clients that read streams of tokens and compare each token's stamp with the clock: one thread,
//! whatever the number of streams.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::support::clock;
use crate::support::http::{Connection, request_text};
use crate::support::server::Server;

/// Nothing measured here takes so long.
const LIMIT: Duration = Duration::from_secs(120);
const READ_BYTES: usize = 64 << 10;

/// A stream to open: a request, and what its answer ends with.
#[derive(Debug)]
pub struct Plan {
    port: u16,
    request: String,
    end: &'static str,
}

/// What came of it.
#[derive(Debug)]
pub struct Streamed {
    /// From the first request to the end of the last stream.
    pub took: Duration,
    /// How late each token came, sorted.
    late_nanos: Vec<u64>,
    /// From each request to its first token, sorted.
    first_nanos: Vec<u64>,
}

impl Plan {
    /// A stream of a new session of that server.
    pub fn of_server(server: &Server) -> anyhow::Result<Plan> {
        let id = Connection::open(server.port())?.create_session()?;
        Ok(Plan {
            port: server.port(),
            request: stream_request(&id),
            end: "event: done",
        })
    }

    /// A stream straight from the provider, or through the bare relay.
    pub fn of_provider(port: u16) -> Plan {
        Plan {
            port,
            request: request_text("POST", "/v1/chat/completions", "{}"),
            end: "[DONE]",
        }
    }
}

/// Says something in a session, and asks for the reply as it comes.
pub fn stream_request(session: &str) -> String {
    let path = format!("/api/v1/sessions/{session}/stream");
    request_text("POST", &path, r#"{"content":"go"}"#)
}

impl Streamed {
    /// How late the token was than which so many (0 to 1) came earlier, in microseconds.
    pub fn late_us(&self, share: f64) -> f64 {
        at_share(&self.late_nanos, share) as f64 / 1e3
    }

    /// From a request to its first token, in milliseconds: so long it took which so many (0 to 1)
    /// stayed below.
    pub fn first_ms(&self, share: f64) -> f64 {
        at_share(&self.first_nanos, share) as f64 / 1e6
    }
}

fn at_share(sorted: &[u64], share: f64) -> u64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted[at.min(sorted.len() - 1)]
}

/// Opens all streams, one every `stagger`, and reads each to its end.
///
/// Errors: a stream that ends otherwise than with its end after exactly `tokens` tokens.
pub fn run(plans: &[Plan], tokens: u32, stagger: Duration) -> anyhow::Result<Streamed> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let began = Instant::now();
    let mut readers: Vec<Reader<'_>> = Vec::new();
    let mut late_nanos = Vec::with_capacity(plans.len() * tokens as usize);
    let mut buffer = vec![0; READ_BYTES];
    let mut ready = Vec::with_capacity(256);
    let mut ended = 0;
    while ended < plans.len() {
        ensure!(
            began.elapsed() < LIMIT,
            "{ended} of {} streams ended",
            plans.len()
        );
        let next_at = began + stagger * readers.len() as u32;
        if let Some(plan) = plans
            .get(readers.len())
            .filter(|_| next_at <= Instant::now())
        {
            let reader = Reader::open(plan)?;
            let id = EventData::new_u64(readers.len() as u64);
            epoll::add(&epoll, &reader.socket, id, EventFlags::IN)?;
            readers.push(reader);
            continue;
        }
        let limit = if readers.len() < plans.len() {
            next_at.saturating_duration_since(Instant::now())
        } else {
            Duration::from_secs(1)
        };
        let limit = Timespec::try_from(limit)?;
        ready.clear();
        epoll::wait(
            &epoll,
            rustix::buffer::spare_capacity(&mut ready),
            Some(&limit),
        )?;
        for event in &ready {
            let reader = &mut readers[event.data.u64() as usize];
            if reader.read(&mut buffer, &mut late_nanos)? {
                ensure!(
                    reader.tokens == tokens,
                    "{} of {tokens} tokens came",
                    reader.tokens
                );
                epoll::delete(&epoll, &reader.socket)?;
                ended += 1;
            }
        }
    }
    let took = began.elapsed();
    late_nanos.sort_unstable();
    let mut first_nanos: Vec<u64> = readers.iter().map(|reader| reader.first_nanos).collect();
    first_nanos.sort_unstable();
    Ok(Streamed {
        took,
        late_nanos,
        first_nanos,
    })
}

/// One open stream.
struct Reader<'a> {
    socket: TcpStream,
    plan: &'a Plan,
    asked_at: u64,
    /// From the request to the first token.
    first_nanos: u64,
    tokens: u32,
    /// The stamp that is being read, between `@` and the space.
    stamp: Option<u64>,
    /// What came since the last token: the end of the stream, once it is there.
    tail: Vec<u8>,
}

impl Reader<'_> {
    fn open(plan: &Plan) -> anyhow::Result<Reader<'_>> {
        let mut socket = TcpStream::connect(("127.0.0.1", plan.port))?;
        socket.set_nodelay(true)?;
        let asked_at = clock::nanos();
        socket.write_all(plan.request.as_bytes())?;
        socket.set_nonblocking(true)?;
        Ok(Reader {
            socket,
            plan,
            asked_at,
            first_nanos: 0,
            tokens: 0,
            stamp: None,
            tail: Vec::new(),
        })
    }

    /// Reads once; whether the stream has come to its end.
    fn read(&mut self, buffer: &mut [u8], late_nanos: &mut Vec<u64>) -> anyhow::Result<bool> {
        let count = match self.socket.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let now = clock::nanos();
        let is_first = self.tokens == 0;
        self.scan(&buffer[..count], |stamp| {
            late_nanos.push(now.saturating_sub(stamp));
        });
        if is_first && self.tokens > 0 {
            self.first_nanos = now - self.asked_at;
        }
        let is_end = memchr::memmem::find(&self.tail, self.plan.end.as_bytes()).is_some();
        ensure!(
            count > 0 || is_end,
            "a stream broke off: {}",
            String::from_utf8_lossy(&self.tail)
        );
        Ok(is_end)
    }

    fn scan(&mut self, bytes: &[u8], mut token: impl FnMut(u64)) {
        for byte in bytes {
            match (byte, self.stamp) {
                (b'@', _) => self.stamp = Some(0),
                (b'0'..=b'9', Some(stamp)) => {
                    self.stamp = Some(stamp * 10 + u64::from(byte - b'0'));
                }
                (b' ', Some(stamp)) => {
                    token(stamp);
                    self.tokens += 1;
                    self.stamp = None;
                    self.tail.clear();
                }
                _ => {
                    self.stamp = None;
                    self.tail.push(*byte);
                }
            }
        }
    }
}
