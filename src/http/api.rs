//! The API: takes a request, finds its route, and answers, or has a thread of its own wait.
//!
//! No thread of the server ever waits for a turn: what waits is a [`Job`], and moves, request and
//! all, to a thread of [`Threads`].

use std::time::Duration;

use crate::http::context::Context;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::handlers::{self, Request, Work};
use crate::http::jobs::{self, Job};
use crate::http::problem::Problem;
use crate::http::server::{Handler, Incoming};
use crate::http::threads::Threads;

/// Answers requests.
#[derive(Debug)]
pub struct Api {
    context: Context,
    threads: Threads,
}

impl Api {
    /// Answers from `context`.
    pub fn new(context: Context) -> Api {
        Api {
            context,
            threads: Threads::default(),
        }
    }

    /// How many requests wait: open streams and blocking answers.
    pub fn waiting(&self) -> usize {
        self.threads.count()
    }

    /// After the stop was given: waits until all streams have ended, at most `limit`; returns
    /// whether they have.
    pub fn join(&self, limit: Duration) -> bool {
        self.threads.join(limit)
    }

    fn start(&self, job: Job, incoming: Incoming) {
        let name = job.thread_name();
        let context = self.context.clone();
        let started = self.threads.start(name, incoming, move |incoming| {
            jobs::run(&context, job, incoming);
        });
        if let Err(incoming) = started {
            let problem = Problem::new(503, "the server has no thread to spare");
            incoming.problem(&failure::retry_later(problem, RETRY_SOON));
        }
    }
}

impl Handler for Api {
    fn handle(&self, request: Incoming) {
        match handlers::work(&self.context, &request) {
            Ok(Work::Answer(answer)) => answer.send(request),
            Ok(Work::Wait(job)) => self.start(job, request),
            Err(problem) => request.problem(&problem),
        }
    }
}

impl Request for Incoming {
    fn method(&self) -> &str {
        Incoming::method(self)
    }

    fn path(&self) -> &str {
        Incoming::path(self)
    }

    fn query(&self) -> &str {
        Incoming::query(self)
    }

    fn header(&self, name: &str) -> Option<&str> {
        Incoming::header(self, name)
    }

    fn body(&self) -> &[u8] {
        Incoming::body(self)
    }
}
