//! The API: takes a request, finds its route, and answers, or has what must be waited for wait elsewhere.
//!
//! No thread of the server ever waits for a turn, or for the disk to store what somebody says: a
//! [`LongRequest`] moves, request and all, to another thread, and to [`Streams`] from there.

use std::fmt;
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

/// Answers requests.
pub struct Api {
    context: ApiContext,
    threads: ThreadPool,
    streams: Streams,
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
        let (context, streams) = (self.context.clone(), self.streams.clone());
        let started = match job {
            LongRequest::Say(say) => jobs::say(context, streams, say, incoming),
            LongRequest::Other(other) => {
                let name = other.thread_name();
                self.threads.start(name, incoming, move |incoming| {
                    if let Some(follower) = jobs::begin(&context, other, incoming) {
                        streams.run(follower);
                    }
                })
            }
        };
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
