//! A model that streams in OpenAI's dialect, on a clock: one thread, whatever the number of streams.
//!
//! The text of each token is `@` and the moment at which it was made (see `clock`), then a space.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::support::clock;

/// What every reply is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many tokens it has.
    pub tokens: u32,
    /// Between two tokens; `None` is as fast as they are taken.
    pub interval: Option<Duration>,
}

/// The running model. Dropping it closes every connection.
#[derive(Debug)]
pub struct Provider {
    port: u16,
    asked_rx: Receiver<Instant>,
    // Closing it is the signal, so it stands above the thread that it ends.
    _alive: UnixStream,
    _thread: Ended,
}

/// A thread that is joined when dropped.
#[derive(Debug)]
struct Ended(Option<JoinHandle<()>>);

/// No request that is waited for takes so long.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
const STOP: u64 = 0;
const LISTENER: u64 = 1;
/// What is made ahead for a client that takes as fast as it can.
const AHEAD_BYTES: usize = 64 << 10;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";

impl Provider {
    /// Starts to listen at a free port.
    pub fn start(pace: Pace) -> io::Result<Provider> {
        Provider::start_padded(pace, 0)
    }

    /// As [`Provider::start`], with so many bytes more in each token.
    pub fn start_padded(pace: Pace, padding: usize) -> io::Result<Provider> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, 1024)?;
        let port = listener.local_addr()?.port();
        let (alive, stop) = UnixStream::pair()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        let (asked_tx, asked_rx) = channel();
        let clockwork = Clockwork {
            pace,
            padding: "x".repeat(padding),
            asked_tx,
            epoll,
            listener,
            _stop: stop,
            streams: HashMap::new(),
            next_id: LISTENER + 1,
            due: BinaryHeap::new(),
            buffer: vec![0; 64 << 10],
        };
        let thread = thread::Builder::new().name("provider".to_owned());
        let thread = thread.spawn(move || clockwork.run().expect("the provider works"))?;
        Ok(Provider {
            port,
            asked_rx,
            _alive: alive,
            _thread: Ended(Some(thread)),
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// When the next request was whole, in the order in which they came.
    pub fn next_request(&self) -> anyhow::Result<Instant> {
        let asked = self.asked_rx.recv_timeout(REQUEST_LIMIT);
        asked.context("nobody asks the provider")
    }

    /// Whether there is one that [`Provider::next_request`] has not returned.
    pub fn has_more_requests(&self) -> bool {
        self.asked_rx.try_recv().is_ok()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().ok();
        }
    }
}

struct Clockwork {
    pace: Pace,
    /// Follows the stamp of each token.
    padding: String,
    /// Tells when a request was whole; nobody need listen.
    asked_tx: Sender<Instant>,
    epoll: OwnedFd,
    listener: TcpListener,
    _stop: UnixStream,
    streams: HashMap<u64, Stream>,
    next_id: u64,
    /// When which stream has its next token.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Where reads go.
    buffer: Vec<u8>,
}

/// A client, and the reply that it gets.
struct Stream {
    socket: TcpStream,
    /// The head of the request, as far as it has come.
    head: Vec<u8>,
    /// What is still to come of the request's body, which nobody looks at; `None` before it.
    body_left: Option<usize>,
    out: Vec<u8>,
    /// Tokens still to come; `None` while no request is whole.
    left: Option<u32>,
    /// The moment of the next token.
    next: Instant,
}

impl Clockwork {
    fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(256);
        loop {
            ready.clear();
            let limit = self.limit();
            let spare = rustix::buffer::spare_capacity(&mut ready);
            match epoll::wait(&self.epoll, spare, limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                match event.data.u64() {
                    STOP => return Ok(()),
                    LISTENER => self.accept()?,
                    id => self.serve(id, event.flags)?,
                }
            }
            self.tick();
        }
    }

    fn limit(&self) -> Option<Timespec> {
        let Reverse((at, _)) = self.due.peek()?;
        let left = at.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let id = self.next_id;
            self.next_id += 1;
            epoll::add(&self.epoll, &socket, EventData::new_u64(id), EventFlags::IN)?;
            self.streams.insert(id, Stream::new(socket));
        }
    }

    fn serve(&mut self, id: u64, flags: EventFlags) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let mut is_open = true;
        if flags.contains(EventFlags::OUT) {
            is_open = stream.pour(self.pace, &self.padding);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            is_open &= stream.read(&mut self.buffer);
            if stream.has_request() {
                self.asked_tx.send(Instant::now()).ok();
                stream.begin(self.pace.tokens);
                match self.pace.interval {
                    Some(_) => self.due.push(Reverse((stream.next, id))),
                    None => is_open &= stream.pour(self.pace, &self.padding),
                }
            }
        }
        if !is_open {
            self.streams.remove(&id);
            return Ok(());
        }
        let mut wanted = EventFlags::IN;
        wanted.set(EventFlags::OUT, stream.is_pouring());
        epoll::modify(&self.epoll, &stream.socket, EventData::new_u64(id), wanted)?;
        Ok(())
    }

    /// Sends the tokens whose time has come.
    fn tick(&mut self) {
        let Some(interval) = self.pace.interval else {
            return;
        };
        while let Some(Reverse((at, id))) = self.due.peek().copied() {
            if at > Instant::now() {
                return;
            }
            self.due.pop();
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.push_token(&self.padding);
            if !stream.send() {
                self.streams.remove(&id);
            } else if stream.left.is_some() {
                stream.next += interval;
                self.due.push(Reverse((stream.next, id)));
            }
        }
    }
}

impl Stream {
    fn new(socket: TcpStream) -> Stream {
        Stream {
            socket,
            head: Vec::new(),
            body_left: None,
            out: Vec::new(),
            left: None,
            next: Instant::now(),
        }
    }

    /// Reads what has come; whether the client is still there.
    fn read(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(count) => self.take(&buffer[..count]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(left) = &mut self.body_left {
            *left = left.saturating_sub(bytes.len());
            return;
        }
        self.head.extend_from_slice(bytes);
        let Some(head) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
            return;
        };
        let text = String::from_utf8_lossy(&self.head[..head]).to_lowercase();
        let length = text.split("content-length:").nth(1);
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        self.body_left = Some((head + 4 + length).saturating_sub(self.head.len()));
    }

    fn has_request(&self) -> bool {
        self.body_left == Some(0)
    }

    fn begin(&mut self, tokens: u32) {
        self.head.clear();
        self.body_left = None;
        self.out.extend_from_slice(HEAD.as_bytes());
        self.left = Some(tokens);
        self.next = Instant::now();
    }

    /// Makes the next token, and the end after the last one.
    fn push_token(&mut self, padding: &str) {
        let Some(left) = self.left else { return };
        let now = clock::nanos();
        push_chunk(
            &mut self.out,
            format_args!(
                r#"data: {{"choices":[{{"index":0,"delta":{{"content":"@{now} {padding}"}}}}]}}"#
            ),
        );
        self.left = (left > 1).then(|| left - 1);
        if self.left.is_none() {
            push_chunk(
                &mut self.out,
                format_args!(
                    r#"data: {{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}"#
                ),
            );
            push_chunk(&mut self.out, format_args!("data: [DONE]"));
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
    }

    fn is_pouring(&self) -> bool {
        !self.out.is_empty()
    }

    /// Makes and sends tokens until the client takes no more; whether it is still there.
    fn pour(&mut self, pace: Pace, padding: &str) -> bool {
        loop {
            while pace.interval.is_none() && self.left.is_some() && self.out.len() < AHEAD_BYTES {
                self.push_token(padding);
            }
            let before = self.out.len();
            if !self.send() {
                return false;
            }
            if self.out.is_empty() && self.left.is_none() || self.out.len() == before {
                return true;
            }
        }
    }

    /// Sends what is made, as far as it is taken; whether the client is still there.
    fn send(&mut self) -> bool {
        match self.socket.write(&self.out) {
            Ok(count) => {
                self.out.drain(..count);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// An event in a chunk of its own.
fn push_chunk(out: &mut Vec<u8>, event: std::fmt::Arguments<'_>) {
    let event = event.to_string();
    let length = event.len() + 2;
    write!(out, "{length:x}\r\n{event}\n\n\r\n").expect("a Vec takes every byte");
}
