//! The API: takes a request, finds its route, and answers, or has a thread of its own wait.
//!
//! No thread of the server ever waits for a turn: what waits is a [`Job`], and moves, request and
//! all, to a thread of [`Threads`].

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::stop::Stop;
use crate::domain::spec::AgentSpec;
use crate::engine::Sessions;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::handlers::{self, Request, Work};
use crate::http::jobs::{self, Job};
use crate::http::problem::Problem;
use crate::http::server::{Handler, Incoming};
use crate::http::threads::Threads;

/// What the API needs to know of the rest of the program.
pub trait Host: Send + Sync + Debug {
    /// All agents, sorted by name.
    fn agents(&self) -> Vec<Arc<AgentSpec>>;

    /// The agent of that name.
    fn agent(&self, name: &str) -> Option<Arc<AgentSpec>>;

    /// Reads the agents again.
    fn reload_agents(&self) -> ReloadReport;

    /// Whether the program can do its work.
    fn readiness(&self) -> Readiness;

    /// Which program this is.
    fn version(&self) -> Version;

    /// Asks the program to end; returns at once.
    fn request_shutdown(&self);
}

/// Whether the program can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// The random id kept in the workspace.
    pub workspace_hash: String,
    /// Why it cannot, in sentences without paths; empty when it can.
    pub reasons: Vec<String>,
    /// What an operator should know all the same.
    pub warnings: Vec<String>,
}

/// Which program this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
    /// When it was built.
    pub build_date: &'static str,
    /// What it was built with.
    pub features: Vec<&'static str>,
}

/// What reading the agents again has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ReloadReport {
    /// Names that are new.
    pub added: Vec<String>,
    /// Names whose files changed.
    pub changed: Vec<String>,
    /// Names that are gone.
    pub removed: Vec<String>,
    /// Files that could not be used; their agents stay as they were.
    pub errors: Vec<FileError>,
}

/// A file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// The file, relative to the workspace.
    pub file: String,
    /// What is wrong with it, and where.
    pub message: String,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSettings {
    /// `server.request_timeout_seconds`: how long a blocking answer waits for its turn.
    pub request_timeout: Duration,
    /// `server.keep_alive_interval_seconds`: how long a stream may be silent.
    pub keep_alive_interval: Duration,
}

/// Answers requests.
#[derive(Debug)]
pub struct Api {
    context: Context,
    threads: Threads,
}

/// What every answer is made from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The engine.
    pub sessions: Sessions,
    /// The rest of the program.
    pub host: Arc<dyn Host>,
    /// How long things may take.
    pub settings: ApiSettings,
    /// Ends all streams and waits.
    pub stop: Stop,
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
