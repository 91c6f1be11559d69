//! Results of calls that wait for what others do.

use crate::domain::event::{Event, Status, ToolOutput};
use crate::domain::hooks::Hooks;
use crate::domain::ids::{AwaitedId, CallId, SessionId};
use crate::domain::state::Progress;
use crate::engine::error::EngineError;
use crate::engine::events;
use crate::engine::sessions::Sessions;
use crate::engine::watch::live::Live;

impl Sessions {
    /// Brings what a parked call waits for; its turn goes on once all its calls are done, unless the
    /// session pauses: then somebody has to come. From any thread, that of a tool which has not said yet
    /// that it waits included.
    ///
    /// Returns whether it counts: the first result of a call does, as long as the call waits for `on`
    /// and its turn has not ended. What does not count is not written.
    ///
    /// Errors: [`EngineError::SessionNotFound`]; the store's. After one that passes (a full disk) it
    /// has to be brought again, by the same process or at the next start, when its tool is asked.
    pub fn resolve(
        &self,
        id: &SessionId,
        call_id: &CallId,
        on: &AwaitedId,
        output: ToolOutput,
    ) -> Result<bool, EngineError> {
        let session = self.engine.open.get(id)?;
        let agent = session.live().state.summary.agent.clone();
        let agent = self.engine.agents.get(&agent);
        let hooks = agent.map(|agent| agent.spec.hooks.clone());
        let hooks = hooks.unwrap_or_default();
        let written =
            session.decide(|live| Ok((result_events(live, &hooks, call_id, on, output), ())));
        let counts = match written {
            Ok((records, ())) => !records.is_empty(),
            Err(EngineError::SessionEnded(_)) => false,
            Err(error) => return Err(error),
        };
        let is_left_waiting = {
            let live = session.live();
            live.state.summary.status == Status::Paused && live.attached() == 0
        };
        if counts && !is_left_waiting {
            self.set_going(&session);
        }
        Ok(counts)
    }
}

/// Nothing where the call does not wait for that.
fn result_events(
    live: &Live,
    hooks: &Hooks,
    call_id: &CallId,
    on: &AwaitedId,
    output: ToolOutput,
) -> Vec<Event> {
    let state = live
        .state
        .open_call(call_id)
        .filter(|_| !live.state.is_over());
    let Some(state) = state else {
        return Vec::new();
    };
    let waits = match &state.progress {
        Progress::Parked { on: known } => (known == on).then_some(None),
        // Its tool has handed the work on, and is not back to say so.
        Progress::Started => live
            .is_working()
            .then(|| Some(events::parked(&state.call, on.clone()))),
        Progress::Waiting
        | Progress::Asked
        | Progress::Decided(_)
        | Progress::Doubted
        | Progress::Done => None,
    };
    let Some(parks) = waits else {
        return Vec::new();
    };
    let result = events::result(hooks, &state.call, output, None, Vec::new());
    parks.into_iter().chain([result]).collect()
}
