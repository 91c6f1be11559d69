//! Streams of server-sent events: pull what is new, write it in one piece, wait.

use std::io;
use std::time::{Duration, Instant};

use crate::base::thread;
use crate::engine::{Cut, Flow};
use crate::engine::{EngineError, FeedItem};
use crate::http::context::Context;
use crate::http::headers::EVENT_STREAM;
use crate::http::jobs::watch::{Wake, Watch};
use crate::http::server::{Incoming, StreamWriter};
use crate::http::sse::{self, Audience};

/// What a batch may leave allocated in a stream that is quiet afterwards: bytes, and events.
const BUFFER_BYTES_KEPT: usize = 16 << 10;
const ITEMS_KEPT: usize = 64;

/// One open stream.
pub(super) struct Relay {
    watch: Watch,
    writer: StreamWriter,
    audience: Audience,
    keep_alive: Duration,
    /// When something was last written.
    quiet_since: Instant,
    items: Vec<FeedItem>,
    /// What was not written yet; one buffer for all events.
    unsent: Vec<u8>,
}

/// What to do after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    PullAgain,
    End,
}

impl Relay {
    /// Begins to answer with a stream; `None` if the client has left.
    pub(super) fn begin(
        context: &Context,
        watch: Watch,
        audience: Audience,
        incoming: Incoming,
    ) -> Option<Box<Relay>> {
        let headers = [
            ("Content-Type", EVENT_STREAM),
            ("Cache-Control", "no-store"),
            ("X-Accel-Buffering", "no"),
        ];
        let writer = match incoming.into_stream(200, &headers) {
            Ok(writer) => writer,
            Err(error) => {
                client_left(&error);
                return None;
            }
        };
        Some(Box::new(Relay {
            watch,
            writer,
            audience,
            keep_alive: context.settings.keep_alive_interval,
            quiet_since: Instant::now(),
            items: Vec::new(),
            unsent: sse::RETRY.to_vec(),
        }))
    }

    /// Streams until its end or the client's.
    pub(super) fn run(self: Box<Self>) {
        // To store the message took more of the stack than the stream will, which may last.
        thread::give_back_stack();
        if let Err(error) = self.stream() {
            client_left(&error);
        }
    }

    /// Errors: the client's connection, when it takes nothing any more.
    fn stream(mut self: Box<Self>) -> io::Result<()> {
        loop {
            let pulled = self.watch.pull(&mut self.items);
            let next = self.push_batch(pulled);
            self.write()?;
            let wake = match next {
                Next::End => return self.writer.finish(),
                Next::PullAgain => self.watch.look(),
                Next::Wait => self.wait_for_news()?,
            };
            match wake {
                Wake::News | Wake::Late => {}
                Wake::Gone => return Ok(()),
                Wake::Stopped => return self.end_with("server is shutting down"),
            }
        }
    }

    /// Turns what was pulled into bytes.
    fn push_batch(&mut self, pulled: Result<Flow, EngineError>) -> Next {
        let mut turn_has_ended = false;
        for item in self.items.drain(..) {
            sse::push_event(&mut self.unsent, self.audience, &item);
            turn_has_ended |= item.event.ends_turn();
        }
        self.items.shrink_to(ITEMS_KEPT);
        if turn_has_ended && self.audience == Audience::Turn {
            return Next::End;
        }
        match pulled {
            Ok(Flow::Open) => Next::Wait,
            Ok(Flow::More) => Next::PullAgain,
            Ok(Flow::Over) => Next::End,
            Ok(Flow::Cut(cut)) => {
                // Told as an event: a client that came back would send the other one away.
                if cut == Cut::TakenOver {
                    self.unsent.extend_from_slice(sse::DETACHED);
                }
                self.end_because(&cut.to_string())
            }
            // The status was sent long ago: a comment is what is left to say it with.
            Err(error) => {
                log::warn!("a stream ends: {error}");
                self.end_because(&error.to_string())
            }
        }
    }

    fn end_because(&mut self, reason: &str) -> Next {
        sse::push_comment(&mut self.unsent, reason);
        Next::End
    }

    /// Waits, with a sign of life whenever the stream was silent for too long.
    fn wait_for_news(&mut self) -> io::Result<Wake> {
        loop {
            // News need not be for this audience, so they end no silence by themselves.
            let due = self.quiet_since + self.keep_alive;
            if due <= Instant::now() {
                self.unsent.extend_from_slice(sse::KEEP_ALIVE);
                self.write()?;
                continue;
            }
            match self.watch.wait_until(due) {
                Wake::Late => {}
                wake @ (Wake::News | Wake::Gone | Wake::Stopped) => return Ok(wake),
            }
        }
    }

    /// Writes all that waits in one piece, and flushes it.
    fn write(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        self.writer.write(&self.unsent)?;
        self.quiet_since = Instant::now();
        self.unsent.clear();
        self.unsent.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    fn end_with(mut self: Box<Self>, comment: &str) -> io::Result<()> {
        sse::push_comment(&mut self.unsent, comment);
        self.write()?;
        self.writer.finish()
    }
}

fn client_left(error: &io::Error) {
    log::debug!("a stream's client has left: {error}");
}
