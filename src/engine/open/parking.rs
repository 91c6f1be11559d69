//! Calls that wait without a thread: which sessions have some, and whose tools are still to be told
//! that nobody waits any more.
//!
//! What a call waits for stands in its log, and nothing here is needed to go on after a crash. A
//! result comes to the façade (`sessions/parked.rs`), a worker asks tools after the calls of a session
//! that was opened anew (`turn/calls.rs`).
//!
//! Invariant: each session in use that is parked is known here, also after it has left the memory. The
//! lock is taken last, and no call leaves this file while it is held.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::lock::lock;
use crate::base::timer::Alarm;
use crate::domain::chat::Chat;
use crate::domain::event::{Event, Record, ToolCall, ToolOutput};
use crate::domain::ids::{AwaitedId, CallId, SessionId};
use crate::domain::state::{ParkedCall, SessionState};
use crate::engine::agent::Agents;
use crate::engine::tool_panic::caught;
use crate::tools::{Caller, Tool};

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct ParkedCalls {
    alarm: Alarm,
    known: Mutex<WaitingSessions>,
}

#[derive(Debug, Default)]
struct WaitingSessions {
    sessions: HashSet<SessionId>,
    given_up: Vec<AwaitedWork>,
}

impl ParkedCalls {
    /// `alarm` is to have [`tell_given_up`](ParkedCalls::tell_given_up) called.
    pub(in crate::engine) fn new(alarm: Alarm) -> ParkedCalls {
        ParkedCalls {
            alarm,
            known: Mutex::default(),
        }
    }

    /// A session has begun or ceased to wait.
    pub(in crate::engine) fn note(&self, id: &SessionId, is_parked: bool) {
        let mut known = lock(&self.known);
        if is_parked {
            known.sessions.insert(id.clone());
        } else if known.sessions.remove(id) && known.sessions.is_empty() {
            known.sessions.shrink_to_fit();
        }
    }

    /// Whether a session waits: what it waits for may need this process.
    pub(in crate::engine) fn are_any(&self) -> bool {
        !lock(&self.known).sessions.is_empty()
    }

    /// Has the tools of these calls told that nobody waits for them any more: soon, and where no lock
    /// of a session is held.
    pub(in crate::engine) fn give_up(&self, calls: impl Iterator<Item = AwaitedWork>) {
        let mut known = lock(&self.known);
        let before = known.given_up.len();
        known.given_up.extend(calls);
        let is_more = known.given_up.len() > before;
        drop(known);
        if is_more {
            self.alarm.ring_within(Duration::ZERO);
        }
    }

    /// Tells them. A tool that is gone has nothing running that could be told.
    pub(in crate::engine) fn tell_given_up(&self, agents: &dyn Agents) {
        let given_up = std::mem::take(&mut lock(&self.known).given_up);
        for work in given_up {
            let agent = agents.get(&work.agent);
            if let Some(tool) = agent
                .as_ref()
                .and_then(|agent| agent.tools.get(work.tool()))
            {
                work.tell(&**tool);
            }
        }
    }
}

/// A parked call, with what its tool is told of its session.
#[derive(Debug)]
pub(in crate::engine) struct AwaitedWork {
    session: SessionId,
    agent: String,
    chat: Option<Chat>,
    owner: Option<String>,
    workdir: Option<PathBuf>,
    pub(in crate::engine) call: ToolCall,
    pub(in crate::engine) on: AwaitedId,
}

impl AwaitedWork {
    /// All that a session waits for, in the order of its calls.
    pub(in crate::engine) fn of(session: &SessionId, state: &SessionState) -> Vec<AwaitedWork> {
        let parked = state.parked_calls().map(|parked| AwaitedWork {
            session: session.clone(),
            agent: state.summary.agent.clone(),
            chat: state.summary.chat(),
            owner: state.summary.owner.clone(),
            workdir: state.summary.workdir.as_ref().map(PathBuf::from),
            call: parked.call.clone(),
            on: parked.on.clone(),
        });
        parked.collect()
    }

    /// The name of the tool that waits.
    pub(in crate::engine) fn tool(&self) -> &str {
        &self.call.tool_name
    }

    /// What the tool knows of it, if it has come to its end. A panic in the tool says nothing.
    pub(in crate::engine) fn ask_after(&self, tool: &dyn Tool) -> Option<ToolOutput> {
        caught(tool, || tool.ask_after(self.parked(), self.caller())).flatten()
    }

    fn tell(&self, tool: &dyn Tool) {
        caught(tool, || tool.give_up(self.parked(), self.caller()));
    }

    fn parked(&self) -> ParkedCall<'_> {
        ParkedCall {
            call: &self.call,
            on: &self.on,
        }
    }

    fn caller(&self) -> Caller<'_> {
        Caller {
            session: &self.session,
            chat: self.chat.as_ref().map(Chat::whole),
            owner: self.owner.as_deref(),
            workdir: self.workdir.as_deref(),
        }
    }
}

/// Whether a call that was parked has got an answer here that its tool did not give.
pub(in crate::engine) fn gives_up(records: &[Arc<Record>], call_id: &CallId) -> bool {
    let is_result = |record: &Arc<Record>| matches!(&record.event, Event::ToolResult { call_id: done, .. } if done == call_id);
    let is_end = |record: &Arc<Record>| {
        let event = &record.event;
        matches!(event, Event::ToolsSkipped { call_ids, .. } if call_ids.contains(call_id))
            || matches!(event, Event::TurnEnded { .. } | Event::SessionEnd { .. })
    };
    records.iter().any(is_end) && !records.iter().any(is_result)
}
