//! A stream of server-sent events: pull what is new, send it in one piece, wait.
//!
//! A stream begins on a thread of its own, because it may have to read the log. Once it has shown all
//! there is, it moves to the one thread of [`Streams`], and back when it has fallen so far behind
//! that the log must be read again. [`Relay::step`] is the same on both.

use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use log::Level;

use crate::engine::{Cut, EngineError, FeedItem, Flow};
use crate::http::context::Context;
use crate::http::headers::EVENT_STREAM;
use crate::http::jobs::watch::{Wake, Watch};
use crate::http::server::{Incoming, StreamWriter};
use crate::http::sse::{self, Audience};
use crate::http::streams::Streams;

/// The headers of every stream.
pub const STREAM_HEADERS: [(&str, &str); 3] = [
    ("Content-Type", EVENT_STREAM),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
];

/// What a batch may leave allocated: bytes, and events.
const BYTES_KEPT: usize = 16 << 10;
const ITEMS_KEPT: usize = 64;

/// One open stream.
pub struct Relay {
    /// Of its thread, when it has one.
    name: String,
    watch: Watch,
    writer: StreamWriter,
    audience: Audience,
    keep_alive: Duration,
    /// When something was last sent.
    quiet_since: Instant,
    /// Whether an event was sent.
    has_begun: bool,
    /// Nothing more will come.
    is_ending: bool,
}

/// Where a batch is made; a thread needs one, however many streams it steps.
#[derive(Debug, Default)]
pub struct Desk {
    items: Vec<FeedItem>,
    bytes: Vec<u8>,
}

/// How far a step may reach for what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// What is in memory: the step never blocks.
    Memory,
    /// The log, too.
    Log,
}

/// Where a step has left its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All is shown: to be stepped when it is woken, or [due](Relay::due).
    Quiet,
    /// There is more: to be stepped again.
    More,
    /// The client takes no more for now: to be stepped when its socket has room, or due.
    Full,
    /// What comes next must be read from the log.
    Behind,
    /// All is shown and sent: to be [finished](Relay::finish).
    Ended,
    /// The client has left: to be dropped.
    Gone,
}

impl Relay {
    /// Begins to answer with a stream; `None` if the client has left.
    pub(super) fn begin(
        context: &Context,
        name: String,
        watch: Watch,
        audience: Audience,
        incoming: Incoming,
    ) -> Option<Box<Relay>> {
        let writer = match incoming.into_stream(200, &STREAM_HEADERS) {
            Ok(writer) => writer,
            Err(error) => {
                client_left(&error);
                return None;
            }
        };
        Some(Box::new(Relay {
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
    ) -> Box<Relay> {
        Box::new(Relay {
            name: "sse-test".to_owned(),
            watch: Watch::new(subscription, writer.gone(), stop),
            writer,
            audience: Audience::Session,
            keep_alive,
            quiet_since: Instant::now(),
            has_begun: false,
            is_ending: false,
        })
    }

    /// Streams until all there is was shown and `streams` takes the rest over, or to the end.
    pub fn run(mut self: Box<Self>, streams: &Streams) {
        self.watch.wake_by_channel();
        let mut desk = Desk::default();
        loop {
            match self.step(&mut desk, Reach::Log) {
                Ok(Progress::Quiet) => match streams.adopt(self) {
                    Ok(()) => return,
                    Err(relay) => self = relay,
                },
                Ok(Progress::More | Progress::Behind) => continue,
                Ok(Progress::Full) => match self.writer.drain() {
                    Ok(()) => continue,
                    Err(error) => return client_left(&error),
                },
                Ok(Progress::Ended) => return self.finish(),
                Ok(Progress::Gone) => return,
                Err(error) => return client_left(&error),
            }
            self.watch.wait_until(self.due());
        }
    }

    /// Sends what there is to send, at most one batch.
    ///
    /// Errors: the client's connection, also when it has taken nothing for too long.
    pub fn step(&mut self, desk: &mut Desk, reach: Reach) -> io::Result<Progress> {
        if !self.writer.resume()? {
            return Ok(Progress::Full);
        }
        if self.is_ending {
            return Ok(Progress::Ended);
        }
        desk.clear();
        let progress = match self.watch.look() {
            Wake::Gone => return Ok(Progress::Gone),
            Wake::Stopped => end_because(desk, "server is shutting down"),
            Wake::News | Wake::Late => self.pull(desk, reach),
        };
        self.is_ending = progress == Progress::Ended;
        if progress == Progress::Quiet && desk.bytes.is_empty() && self.due() <= Instant::now() {
            desk.bytes.extend_from_slice(sse::KEEP_ALIVE);
        }
        self.has_begun = self.has_begun || sse::add_retry(&mut desk.bytes);
        Ok(match self.send(&desk.bytes)? {
            true => progress,
            false => Progress::Full,
        })
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

    /// How it reaches its client.
    pub fn writer(&self) -> &StreamWriter {
        &self.writer
    }

    /// What its thread is called.
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
    fn pull(&mut self, desk: &mut Desk, reach: Reach) -> Progress {
        let pulled = match reach {
            Reach::Log => Some(self.watch.pull(&mut desk.items)),
            Reach::Memory => self.watch.pull_at_hand(&mut desk.items).map(Ok),
        };
        let mut turn_has_ended = false;
        for item in desk.items.drain(..) {
            sse::push_event(&mut desk.bytes, self.audience, &item);
            turn_has_ended |= item.event.ends_turn();
        }
        if turn_has_ended && self.audience == Audience::Turn {
            return Progress::Ended;
        }
        let audience = self.audience;
        pulled.map_or(Progress::Behind, |pulled| {
            after_pull(desk, audience, pulled)
        })
    }

    /// Whether all has left.
    fn send(&mut self, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        self.quiet_since = Instant::now();
        self.writer.offer(bytes)
    }
}

impl Desk {
    fn clear(&mut self) {
        self.items.clear();
        self.items.shrink_to(ITEMS_KEPT);
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
    }
}

fn after_pull(desk: &mut Desk, audience: Audience, pulled: Result<Flow, EngineError>) -> Progress {
    match pulled {
        Ok(Flow::Open) => Progress::Quiet,
        Ok(Flow::More) => Progress::More,
        Ok(Flow::Over) => Progress::Ended,
        // One who watches a session comes back, and sees the turn go on.
        Ok(Flow::Cut(cut @ Cut::Waits(_))) if audience == Audience::Turn => {
            sse::push_turn_waits(&mut desk.bytes, &cut.to_string());
            Progress::Ended
        }
        Ok(Flow::Cut(cut)) => {
            // Told as an event: a client that came back would send the other one away.
            if cut == Cut::TakenOver {
                sse::push_detached(&mut desk.bytes);
            }
            end_because(desk, &cut.to_string())
        }
        // The status was sent long ago: a comment is what is left to say it with.
        Err(error) => {
            // A session may be deleted before all of it was read.
            let is_gone = matches!(error, EngineError::SessionNotFound(_));
            let level = if is_gone { Level::Debug } else { Level::Warn };
            log::log!(level, "a stream ends: {error}");
            end_because(desk, &error.to_string())
        }
    }
}

fn end_because(desk: &mut Desk, reason: &str) -> Progress {
    sse::push_comment(&mut desk.bytes, reason);
    Progress::Ended
}

/// Notes why a stream has ended before its end.
pub fn client_left(error: &io::Error) {
    log::debug!("a stream's client has left: {error}");
}
