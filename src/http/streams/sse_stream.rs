//! A stream of server-sent events: pull what is new, send it in one piece, wait.
//!
//! Elsewhere: on which thread it is stepped (`http::streams`).

use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use log::Level;

use crate::engine::{Cut, EngineError, FeedItem, Flow, NewsKind};
use crate::http::context::ApiContext;
use crate::http::gate::LentSocket;
use crate::http::headers::EVENT_STREAM;
use crate::http::server::{Incoming, StreamWriter};
use crate::http::sse::{self, Audience};
use crate::http::streams::cell::client_left;
use crate::http::streams::follower::{ClientFollower, Reach, StreamState};
use crate::http::streams::watch::{SessionWatch, WatchWake};

/// The headers of every stream.
pub const STREAM_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", EVENT_STREAM),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
];

/// Room that a batch keeps for the next one, of each stream: bytes, and events.
const BYTES_KEPT: usize = 512;
const ITEMS_KEPT: usize = 4;

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
    batch: BatchBuffer,
}

/// Room for one batch of events, and its bytes.
#[derive(Debug, Default)]
struct BatchBuffer {
    items: Vec<FeedItem>,
    bytes: Vec<u8>,
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
            batch: BatchBuffer::default(),
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
            batch: BatchBuffer::default(),
        })
    }

    /// Turns what can be pulled into bytes.
    fn pull(&mut self, reach: Reach) -> StreamState {
        let batch = &mut self.batch;
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
        pulled.map_or(StreamState::Behind, |pulled| {
            after_pull(batch, self.audience, pulled)
        })
    }

    /// Sends the batch; returns whether all of it has left.
    fn send(&mut self) -> io::Result<bool> {
        if self.batch.bytes.is_empty() && self.writer.has_begun() && !self.is_ending {
            return Ok(true);
        }
        self.quiet_since = Instant::now();
        if self.is_ending {
            self.writer.offer_last(&self.batch.bytes)
        } else {
            self.writer.offer(&self.batch.bytes)
        }
    }
}

impl ClientFollower for SseStream {
    fn step(&mut self, reach: Reach) -> io::Result<StreamState> {
        if !self.writer.resume()? {
            return Ok(StreamState::Full);
        }
        if self.is_ending {
            return Ok(StreamState::Ended);
        }
        self.batch.clear();
        let state = match self.watch.look() {
            // It may have ended its side only, and read that the stream began.
            WatchWake::Gone => return self.send().map(|_| StreamState::Gone),
            WatchWake::Stopped => end_because(&mut self.batch, "server is shutting down"),
            WatchWake::News | WatchWake::Late => self.pull(reach),
        };
        self.is_ending = state == StreamState::Ended;
        let is_silent = state == StreamState::Quiet && self.batch.bytes.is_empty();
        if is_silent && self.due() <= Instant::now() {
            self.batch.bytes.extend_from_slice(sse::KEEP_ALIVE);
        }
        self.has_begun = self.has_begun || sse::add_retry(&mut self.batch.bytes);
        Ok(if self.send()? {
            state
        } else {
            StreamState::Full
        })
    }

    /// For a sign of life, or to give up a client that takes nothing.
    fn due(&self) -> Instant {
        let given_up_at = self.writer.given_up_at();
        given_up_at.unwrap_or(self.quiet_since + self.keep_alive)
    }

    fn wake_by(&mut self, news: Waker, gone: Waker) {
        if let Some(socket) = self.writer.socket() {
            socket.wake_when_gone(gone);
        }
        self.watch.wake_by(news, NewsKind::Text);
    }

    fn wake_here(&mut self) {
        self.watch.wake_by_channel();
    }

    fn wait(&mut self) {
        self.watch.wait_until(self.due());
    }

    fn drain(&mut self) -> io::Result<()> {
        self.writer.drain()
    }

    fn finish(self: Box<Self>) {
        if let Err(error) = self.writer.finish() {
            client_left(&error);
        }
    }

    fn socket(&self) -> Option<&LentSocket> {
        self.writer.socket()
    }

    fn name(&self) -> &str {
        &self.name
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
