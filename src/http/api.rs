//! The API: takes a request, finds its route, and answers, or has what must be waited for wait elsewhere.
//!
//! No thread of the server ever waits for a turn: a [`LongRequest`] is begun there, and what comes of it moves,
//! request and all, to [`Streams`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::base::pool::ThreadPool;
use crate::base::socket_owner::Ends;
use crate::base::thread::panic_text;
use crate::http::begin_queue::BeginQueue;
use crate::http::context::ApiContext;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::handlers::{self, ApiRequest, Handled};
use crate::http::jobs::{self, LongRequest};
use crate::http::problem::HttpProblem;
use crate::http::requester::Requester;
use crate::http::server::{Handler, Incoming};
use crate::http::streams::Streams;

/// Answers requests.
pub struct Api {
    context: ApiContext,
    threads: ThreadPool,
    streams: Streams,
    queue: BeginQueue<(LongRequest, Incoming)>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    /// Answers from `context`.
    pub fn new(context: ApiContext) -> Api {
        let threads = ThreadPool::default();
        Api {
            context,
            streams: Streams::new(threads.clone()),
            threads,
            queue: BeginQueue::default(),
        }
    }

    /// After the stop was given: ends the streams that nothing else would wake.
    pub fn close(&self) {
        self.streams.close();
    }

    /// [Closes](Api::close), and waits until all streams and blocking answers have ended, at most
    /// `limit`; returns whether they have.
    pub fn join(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        // In this order: a stream that falls behind goes from the first to the second.
        let have_ended = self.streams.join(limit);
        self.threads.join(deadline) && have_ended
    }

    /// Begins a request, here or on another thread.
    fn start(&self, job: LongRequest, incoming: Incoming) {
        if !job.is_quick() {
            return self.start_elsewhere(job, incoming);
        }
        let mut next = self.queue.enter((job, incoming));
        while let Some((job, incoming)) = next {
            // One that panics drops its request, which is answered so.
            let begin = AssertUnwindSafe(|| self.start_here(job, incoming));
            if let Err(panic) = catch_unwind(begin) {
                log::error!("a request panicked: {}", panic_text(&*panic));
            }
            next = self.queue.next();
        }
        if let Some((job, incoming)) = self.queue.take_stuck() {
            self.start_elsewhere(job, incoming);
        }
    }

    fn start_here(&self, job: LongRequest, incoming: Incoming) {
        let name = job.thread_name();
        let begun = jobs::begin(&self.context, job, incoming);
        let left = begun.and_then(|follower| self.streams.run_in_passing(follower));
        let Some(follower) = left else { return };
        let streams = self.streams.clone();
        let run = move |follower| streams.run(follower);
        if let Err((_, why)) = self.threads.start(name, follower, run) {
            log::warn!("a stream breaks off: {why}");
        }
    }

    fn start_elsewhere(&self, job: LongRequest, incoming: Incoming) {
        let name = job.thread_name();
        let (context, streams) = (self.context.clone(), self.streams.clone());
        let started = self.threads.start(name, incoming, move |incoming| {
            if let Some(follower) = jobs::begin(&context, job, incoming) {
                streams.run(follower);
            }
        });
        if let Err((incoming, why)) = started {
            log::warn!("a request is refused: {why}");
            let problem = HttpProblem::new(503, "the server has no thread to spare");
            incoming.problem(&failure::retry_later(problem, RETRY_SOON));
        }
    }
}

impl Handler for Api {
    fn handle(&self, request: Incoming) {
        match handlers::dispatch(&self.context, &request) {
            Ok(Handled::Answer(answer)) => answer.send(request),
            Ok(Handled::Wait(job)) => self.start(job, request),
            Err(problem) => request.problem(&problem),
        }
    }
}

impl ApiRequest for Incoming {
    fn method(&self) -> &str {
        Incoming::method(self)
    }

    fn path(&self) -> &str {
        Incoming::path(self)
    }

    fn query(&self) -> &str {
        Incoming::query(self)
    }

    fn values(&self, name: &str) -> Vec<&str> {
        Incoming::values(self, name)
    }

    fn body(&self) -> &[u8] {
        Incoming::body(self)
    }

    fn requester(&self) -> Option<&Requester> {
        Incoming::requester(self)
    }

    fn ends(&self) -> Ends {
        Incoming::ends(self)
    }
}
