//! A stream of server-sent events: pull what is new, send it in one piece, wait.
//!
//! Elsewhere: on which thread it is stepped (`http::streams`).

use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use log::Level;

use crate::engine::{Cut, EngineError, FeedItem, Flow};
use crate::http::context::ApiContext;
use crate::http::headers::EVENT_STREAM;
use crate::http::server::{Incoming, StreamWriter};
use crate::http::sse::{self, Audience};
use crate::http::streams::watch::{SessionWatch, WatchWake};

/// The headers of every stream.
pub const STREAM_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", EVENT_STREAM),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
];

/// Room that a batch keeps for the next one: bytes, and events.
const BYTES_KEPT: usize = 16 << 10;
const ITEMS_KEPT: usize = 64;

/// One open stream.
pub struct SseStream {
    /// Of its thread, when it has one.
    name: String,
    watch: SessionWatch,
    writer: StreamWriter,
    audience: Audience,
    keep_alive: Duration,
    /// When something was last sent.
    quiet_since: Instant,
    /// An event was sent.
    has_begun: bool,
    /// Nothing more will come.
    is_ending: bool,
}

/// Room for one batch of events and its bytes; a thread needs one, however many streams it steps.
#[derive(Debug, Default)]
pub struct BatchBuffer {
    items: Vec<FeedItem>,
    bytes: Vec<u8>,
}

/// The places where a step may look for what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The session's memory: the step never blocks.
    Memory,
    /// The log, too.
    Log,
}

/// Where a step has left its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// All is shown: to be stepped when it is woken, or [due](SseStream::due).
    Quiet,
    /// There is more: to be stepped again.
    More,
    /// The client takes no more for now: to be stepped when its socket has room, or due.
    Full,
    /// The next events must be read from the log.
    Behind,
    /// All is shown and sent: to be [finished](SseStream::finish).
    Ended,
    /// The client has left: to be dropped.
    Gone,
}

impl SseStream {
    /// Begins to answer with a stream; `None` if the client has left.
    pub(in crate::http) fn begin(
        context: &ApiContext,
        name: String,
        watch: SessionWatch,
        audience: Audience,
        incoming: Incoming,
    ) -> Option<Box<SseStream>> {
        let writer = match incoming.into_stream(200, &STREAM_HEADERS) {
            Ok(writer) => writer,
            Err(error) => {
                client_left(&error);
                return None;
            }
        };
        Some(Box::new(SseStream {
            name,
            watch,
            writer,
            audience,
            keep_alive: context.settings.keep_alive_interval,
            quiet_since: Instant::now(),
            has_begun: false,
            is_ending: false,
        }))
    }

    /// A stream of all that `watch` shows, by `writer`.
    #[cfg(test)]
    pub(in crate::http) fn of(
        subscription: crate::engine::Subscription,
        writer: StreamWriter,
        keep_alive: Duration,
        stop: &crate::base::stop::Stop,
    ) -> Box<SseStream> {
        Box::new(SseStream {
            name: "sse-test".to_owned(),
            watch: SessionWatch::new(subscription, writer.gone(), stop),
            writer,
            audience: Audience::Session,
            keep_alive,
            quiet_since: Instant::now(),
            has_begun: false,
            is_ending: false,
        })
    }

    /// Makes ready to [wait](SseStream::wait) on the thread that steps it.
    pub(super) fn wake_here(&mut self) {
        self.watch.wake_by_channel();
    }

    /// Waits on this thread until there may be something to step for.
    pub(super) fn wait(&mut self) {
        self.watch.wait_until(self.due());
    }

    /// Waits on this thread until the client has taken all that was sent.
    ///
    /// Errors: the client's connection, also when it has taken nothing for too long.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        self.writer.drain()
    }

    /// Sends what there is to send, at most one batch.
    ///
    /// Errors: the client's connection, also when it has taken nothing for too long.
    pub fn step(&mut self, batch: &mut BatchBuffer, reach: Reach) -> io::Result<StreamState> {
        if !self.writer.resume()? {
            return Ok(StreamState::Full);
        }
        if self.is_ending {
            return Ok(StreamState::Ended);
        }
        batch.clear();
        let state = match self.watch.look() {
            WatchWake::Gone => return Ok(StreamState::Gone),
            WatchWake::Stopped => end_because(batch, "server is shutting down"),
            WatchWake::News | WatchWake::Late => self.pull(batch, reach),
        };
        self.is_ending = state == StreamState::Ended;
        if state == StreamState::Quiet && batch.bytes.is_empty() && self.due() <= Instant::now() {
            batch.bytes.extend_from_slice(sse::KEEP_ALIVE);
        }
        self.has_begun = self.has_begun || sse::add_retry(&mut batch.bytes);
        let has_left = self.send(&batch.bytes)?;
        Ok(if has_left { state } else { StreamState::Full })
    }

    /// When the stream is to be stepped although nothing happens: for a sign of life, or to give up
    /// a client that takes nothing.
    pub fn due(&self) -> Instant {
        let given_up_at = self.writer.given_up_at();
        given_up_at.unwrap_or(self.quiet_since + self.keep_alive)
    }

    /// Has `waker` called when there may be something to step for. The stream must be stepped once
    /// after this.
    pub fn wake_by(&mut self, waker: Waker) {
        if let Some(socket) = self.writer.socket() {
            socket.wake_when_gone(waker.clone());
        }
        self.watch.wake_by(waker);
    }

    /// The way to its client.
    pub fn writer(&self) -> &StreamWriter {
        &self.writer
    }

    /// The name of its thread.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the answer.
    pub fn finish(self: Box<Self>) {
        if let Err(error) = self.writer.finish() {
            client_left(&error);
        }
    }

    /// Turns what can be pulled into bytes.
    fn pull(&mut self, batch: &mut BatchBuffer, reach: Reach) -> StreamState {
        let pulled = match reach {
            Reach::Log => Some(self.watch.pull(&mut batch.items)),
            Reach::Memory => self.watch.pull_at_hand(&mut batch.items).map(Ok),
        };
        let mut turn_has_ended = false;
        for item in batch.items.drain(..) {
            sse::push_event(&mut batch.bytes, self.audience, &item);
            turn_has_ended |= item.event.ends_turn();
        }
        if turn_has_ended && self.audience == Audience::Turn {
            return StreamState::Ended;
        }
        let audience = self.audience;
        pulled.map_or(StreamState::Behind, |pulled| {
            after_pull(batch, audience, pulled)
        })
    }

    /// Returns whether all of it has left.
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        self.quiet_since = Instant::now();
        self.writer.offer(bytes)
    }
}

impl BatchBuffer {
    fn clear(&mut self) {
        self.items.clear();
        self.items.shrink_to(ITEMS_KEPT);
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
    }
}

fn after_pull(
    batch: &mut BatchBuffer,
    audience: Audience,
    pulled: Result<Flow, EngineError>,
) -> StreamState {
    match pulled {
        Ok(Flow::Open) => StreamState::Quiet,
        Ok(Flow::More) => StreamState::More,
        Ok(Flow::Over) => StreamState::Ended,
        // One who watches a session comes back, and sees the turn go on.
        Ok(Flow::Cut(cut @ Cut::Waits(_))) if audience == Audience::Turn => {
            sse::push_turn_waits(&mut batch.bytes, &cut.to_string());
            StreamState::Ended
        }
        Ok(Flow::Cut(cut)) => {
            // Told as an event: a client that came back would send the other one away.
            if cut == Cut::TakenOver {
                sse::push_detached(&mut batch.bytes);
            }
            end_because(batch, &cut.to_string())
        }
        // The status was sent long ago: a comment is what is left to say it with.
        Err(error) => {
            // A session may be deleted before all of it was read.
            let is_gone = matches!(error, EngineError::SessionNotFound(_));
            let level = if is_gone { Level::Debug } else { Level::Warn };
            log::log!(level, "a stream ends: {error}");
            end_because(batch, &error.to_string())
        }
    }
}

fn end_because(batch: &mut BatchBuffer, reason: &str) -> StreamState {
    sse::push_comment(&mut batch.bytes, reason);
    StreamState::Ended
}

/// Notes why a stream has ended before its end.
pub(super) fn client_left(error: &io::Error) {
    log::debug!("a stream's client has left: {error}");
}
