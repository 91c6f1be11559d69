//! Runs of tools, which can be ended from outside: one on the caller's thread, several on threads
//! of their own.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::lock::lock;
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::chat::Chat;
use crate::domain::event::{ToolCall, ToolOutput};
use crate::domain::ids::{AwaitedId, SessionId};
use crate::engine::tool_panic::caught;
use crate::llm::Cancel;
use crate::tools::{Caller, Run, RunResult, Tool};

#[derive(Debug)]
struct ToolCancel(Mutex<Option<Sender<Infallible>>>);

impl Cancel for ToolCancel {
    fn cancel(&self) {
        // Closing the channel is the signal.
        drop(lock(&self.0).take());
    }
}

/// A way to end runs, and what the tools see of it.
pub(in crate::engine) fn canceller() -> (Arc<dyn Cancel>, Receiver<Infallible>) {
    let (cancel_tx, cancel_rx) = bounded(0);
    (Arc::new(ToolCancel(Mutex::new(Some(cancel_tx)))), cancel_rx)
}

/// A run that is to be made.
#[derive(Debug)]
pub(in crate::engine) struct ToolJob {
    pub(in crate::engine) tool: Arc<dyn Tool>,
    pub(in crate::engine) call: ToolCall,
    pub(in crate::engine) cancel_rx: Receiver<Infallible>,
    pub(in crate::engine) session: SessionId,
    pub(in crate::engine) chat: Option<Chat>,
    pub(in crate::engine) owner: Option<String>,
    pub(in crate::engine) workdir: Option<PathBuf>,
}

/// What came of a run.
pub(in crate::engine) struct FinishedRun {
    /// Which of the jobs it was.
    pub(in crate::engine) index: usize,
    pub(in crate::engine) result: RunResult,
    pub(in crate::engine) duration: Duration,
}

impl ToolJob {
    fn as_run(&self) -> Run<'_> {
        let chat = self.chat.as_ref();
        Run {
            call_id: &self.call.call_id,
            arguments: &self.call.arguments,
            cancel: &self.cancel_rx,
            caller: Caller {
                session: &self.session,
                chat: chat.map(Chat::whole),
                owner: self.owner.as_deref(),
                workdir: self.workdir.as_deref(),
            },
        }
    }

    /// What it will wait for, if it can say so before it runs.
    pub(in crate::engine) fn awaits(&self) -> Option<AwaitedId> {
        caught(&*self.tool, || self.tool.awaits(&self.as_run())).flatten()
    }

    /// Runs the tool; a panic in it is a failed result.
    fn run(&self, index: usize) -> FinishedRun {
        let began = Instant::now();
        let ran = caught(&*self.tool, || self.tool.run(&self.as_run()));
        let result = ran.unwrap_or_else(|| {
            RunResult::Done(ToolOutput {
                success: false,
                content: "the tool failed with an internal error".to_owned(),
            })
        });
        FinishedRun {
            index,
            result,
            duration: began.elapsed(),
        }
    }
}

/// Jobs at work. Dropping it ends them and waits for their threads.
pub(in crate::engine) struct ToolRuns {
    /// One that was not given to a thread.
    alone: Option<ToolJob>,
    left: usize,
    done_rx: Receiver<FinishedRun>,
    // Dropped after the cancel in `drop`.
    _threads: Vec<Joined>,
    cancel: Arc<dyn Cancel>,
}

impl ToolRuns {
    /// Starts the jobs; one alone runs on the thread of whoever waits for it. `cancel` ends them.
    pub(in crate::engine) fn new(mut jobs: Vec<ToolJob>, cancel: Arc<dyn Cancel>) -> ToolRuns {
        let left = jobs.len();
        let (done_tx, done_rx) = bounded(left);
        let alone = if left == 1 { jobs.pop() } else { None };
        let jobs = jobs.into_iter().enumerate();
        let threads = jobs.filter_map(|(index, job)| start(index, job, &done_tx));
        ToolRuns {
            alone,
            left,
            _threads: threads.collect(),
            done_rx,
            cancel,
        }
    }

    /// Waits for the next that is done, and takes all that are; `None` when all were taken.
    pub(in crate::engine) fn wait(&mut self) -> Option<Vec<FinishedRun>> {
        let first = match self.alone.take() {
            Some(job) => job.run(0),
            None if self.left > 0 => self.done_rx.recv().ok()?,
            None => return None,
        };
        let mut done = vec![first];
        done.extend(self.done_rx.try_iter());
        self.left -= done.len();
        Some(done)
    }
}

impl Drop for ToolRuns {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Runs a job on a thread of its own; where there is none to be had, here and now.
fn start(index: usize, job: ToolJob, done_tx: &Sender<FinishedRun>) -> Option<Joined> {
    let name = format!("tool-{}", job.session.short());
    let job = Arc::new(job);
    let (to_run, to_tell) = (Arc::clone(&job), done_tx.clone());
    let spawned = thread::spawn(name, STACK_WORK, move || tell(&to_tell, to_run.run(index)));
    match spawned {
        Ok(thread) => Some(thread),
        Err(error) => {
            log::warn!("session {}: no thread for a tool: {error}", job.session);
            tell(done_tx, job.run(index));
            None
        }
    }
}

/// There is room for all of them, and nobody listens only when nobody wants to know.
fn tell(done_tx: &Sender<FinishedRun>, done: FinishedRun) {
    done_tx.send(done).ok();
}
