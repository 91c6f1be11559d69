//! The API: takes a request, finds its route, and answers, or has what must be waited for wait elsewhere.
//!
//! No thread of the server ever waits for a turn: a [`LongRequest`] is begun there, and what comes of it moves,
//! request and all, to [`Streams`]. While many wait for a slow disk, it is begun on a thread of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::base::pool::ThreadPool;
use crate::base::socket_owner::Ends;
use crate::http::context::ApiContext;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::handlers::{self, ApiRequest, Handled};
use crate::http::jobs::{self, LongRequest};
use crate::http::problem::HttpProblem;
use crate::http::requester::Requester;
use crate::http::server::{Handler, Incoming};
use crate::http::streams::Streams;

/// So many threads of the server may wait for a disk to store what was said; the others answer what needs
/// none.
const BEGINNING_MAX: usize = 4;

/// Answers requests.
#[derive(Debug)]
pub struct Api {
    context: ApiContext,
    threads: ThreadPool,
    streams: Streams,
    /// Threads of the server that begin something.
    beginning: AtomicUsize,
}

impl Api {
    /// Answers from `context`.
    pub fn new(context: ApiContext) -> Api {
        let threads = ThreadPool::default();
        Api {
            context,
            streams: Streams::new(threads.clone()),
            threads,
            beginning: AtomicUsize::new(0),
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

    fn start(&self, job: LongRequest, incoming: Incoming) {
        let beginning = self.beginning.fetch_add(1, Ordering::Relaxed);
        let _counted = Counted(&self.beginning);
        if !job.is_quick() || beginning >= BEGINNING_MAX {
            return self.start_elsewhere(job, incoming);
        }
        let name = job.thread_name();
        let begun = jobs::begin(&self.context, job, incoming);
        let left = begun.and_then(|follower| self.streams.run_in_passing(follower));
        if let Some(follower) = left {
            let streams = self.streams.clone();
            let started = self
                .threads
                .start(name, follower, move |follower| streams.run(follower));
            if let Err((_, why)) = started {
                log::warn!("a stream breaks off: {why}");
            }
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

/// Counts one until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
