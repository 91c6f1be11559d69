//! What of a conversation goes to its model, for who asks; and having it summarised.

use crate::domain::event::Event;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::principal::Principal;
use crate::domain::window::tokens_of_bytes;
use crate::engine::context_limits;
use crate::engine::error::EngineError;
use crate::engine::prompt;
use crate::engine::sessions::Sessions;

/// What the next call of a session's model would take, in tokens as its provider counts them, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextUse {
    /// The system prompt.
    pub prompt: u64,
    /// The definitions of the tools.
    pub tools: u64,
    /// The summary of what was said before the history.
    pub summary: u64,
    /// The conversation beside that.
    pub history: u64,
    /// So much more of a conversation goes to the model before it is summarised, or left out.
    pub free: u64,
}

impl Sessions {
    /// What the next call of a session's model would take.
    pub fn context(&self, id: &SessionId) -> Result<ContextUse, EngineError> {
        let session = self.engine.open.get(id)?;
        let live = session.live();
        let state = &live.state;
        let name = &state.summary.agent;
        let agent = self.engine.agents.find(name, EngineError::AgentGone)?;
        let summary = &state.summary;
        let system = prompt::system(&agent.spec, summary.created_at, summary.workdir.as_deref());
        let tools = context_limits::tools_bytes(&agent);
        let told = state.told();
        let counted = |tokens: u64| tokens.saturating_mul(told.percent) / 100;
        Ok(ContextUse {
            prompt: counted(tokens_of_bytes(system.len())),
            tools: counted(tokens_of_bytes(tools)),
            summary: counted(told.summary),
            history: counted(told.history),
            free: counted(told.free),
        })
    }

    /// Has the older part of a conversation summarised before its model is asked again, or at once where
    /// nothing is at work. `keep` is what the summary is to keep above all. On return that is on disk; what
    /// comes of it, those who watch are told.
    ///
    /// Errors: [`EngineError::NotSummarised`] where that cannot be; those of a message.
    pub fn compact(
        &self,
        id: &SessionId,
        keep: Option<String>,
        by: &Principal,
    ) -> Result<Seq, EngineError> {
        let session = self.engine.open.get(id)?;
        self.refuse_new_turn(&session)?;
        if let Some(allowance) = self.allowance_of(&session)? {
            allowance.refuse_call()?;
        }
        let name = session.live().state.summary.agent.clone();
        let agent = self.engine.agents.find(&name, EngineError::AgentGone)?;
        if !context_limits::can_summarise(&agent.spec) {
            let why = "its agent's conversations are not summarised (`spec.session.summary`)";
            return Err(EngineError::NotSummarised(why));
        }
        let (records, ()) = session.decide(|live| {
            if !live.state.is_summarisable() {
                let why = "it is too short: its newest messages always stay as they are";
                return Err(EngineError::NotSummarised(why));
            }
            let wanted = Event::CompactRequested {
                keep,
                by: by.logged(),
            };
            Ok((vec![wanted], ()))
        })?;
        self.set_going(&session);
        Ok(records.last().map_or(Seq::ZERO, |record| record.seq))
    }
}
