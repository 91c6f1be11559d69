//! What is allowed for a session: listed, and taken back.

use crate::domain::event::{Event, SaidBy};
use crate::domain::ids::{Seq, SessionId, SourceId};
use crate::domain::principal::Principal;
use crate::engine::error::EngineError;
use crate::engine::grants::{StandingGrant, standing};
use crate::engine::sessions::Sessions;

impl Sessions {
    /// The grants of a session that count, oldest first.
    pub fn grants(&self, id: &SessionId) -> Result<Vec<StandingGrant>, EngineError> {
        let session = self.engine.open.get(id)?;
        let seqs = session.live().state.summary.grants.clone();
        let parts = &session.parts;
        let now = parts.ids.now();
        standing(&*parts.store, &parts.grant_key, id, &seqs, now)
    }

    /// Takes the grant of that event back, or all; whether there was any. On return that is on disk.
    ///
    /// Errors: the session is over, or cannot be written.
    pub fn revoke_grants(
        &self,
        id: &SessionId,
        which: Option<Seq>,
        by: &Principal,
        key: Option<&SourceId>,
    ) -> Result<bool, EngineError> {
        let cause: SaidBy = self.said_by(by, key)?;
        let session = self.engine.open.get(id)?;
        let is_meant = |seq: &Seq| which.is_none_or(|one| one == *seq);
        let (_, was_any) = session.decide(|live| {
            let known = live.state.summary.grants.iter().copied();
            let grants: Vec<Seq> = known.filter(is_meant).collect();
            let is_any = !grants.is_empty();
            let event = is_any.then_some(Event::GrantRevoked { grants, cause });
            Ok((event.into_iter().collect(), is_any))
        })?;
        Ok(was_any)
    }
}
