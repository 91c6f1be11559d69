//! Creating, changing and deleting sessions.

use crate::domain::event::{Event, FORMAT, SessionStart};
use crate::domain::ids::{SessionId, SourceId};
use crate::domain::state::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::window::Limits;
use crate::engine::agent::Agent;
use crate::engine::error::{EngineError, chain};
use crate::engine::sessions::Sessions;
use crate::engine::watch::live::Live;
use crate::engine::watch::view::SessionView;
use crate::store::CreationKey;

impl Sessions {
    /// Creates a session of `agent`; a repeated `key` returns the session it created before.
    pub fn create(&self, agent: &str, key: Option<&SourceId>) -> Result<SessionView, EngineError> {
        self.engine.draining.refuse()?;
        let agent = self.engine.agents.find(agent, EngineError::AgentNotFound)?;
        let Some(key) = key else {
            return self.create_new(&agent).map(|(view, _)| view);
        };
        let key = &self.redacted_key(key.clone())?;
        let _one_at_a_time = self.engine.creation_locks.lock(key);
        let now = self.engine.parts.ids.now();
        if let Some(known) = self.engine.creation_keys.get(key.as_str(), now)? {
            if known.agent != agent.spec.name.as_str() {
                return Err(EngineError::KeyReused);
            }
            return self.show(&known.session_id);
        }
        let (view, created_at) = self.create_new(&agent)?;
        let stored = CreationKey {
            agent: agent.spec.name.to_string(),
            session_id: view.id.clone(),
            created_at,
        };
        if let Err(error) = self.engine.creation_keys.put(key.as_str(), &stored) {
            // Who is told that there is none, and asks again, would have two; unless the key is there
            // by now, which then leads to this one.
            let known = self.engine.creation_keys.get(key.as_str(), now);
            if known.is_ok_and(|known| known.is_none())
                && let Err(error) = self.engine.open.delete(&view.id)
            {
                log::warn!("session {} stays: {}", view.id, chain(&error));
            }
            return Err(self.engine.parts.space.explain(error.into()));
        }
        Ok(view)
    }

    fn create_new(&self, agent: &Agent) -> Result<(SessionView, Timestamp), EngineError> {
        self.engine.parts.space.refuse_when_full()?;
        let id = self.engine.parts.ids.session_id();
        let at = self.engine.parts.ids.now();
        let event = Event::SessionStart(SessionStart {
            format: FORMAT,
            agent: agent.spec.name.to_string(),
            on_disconnect: agent.spec.session.on_disconnect,
            gateway: None,
            gateway_chat_id: None,
        });
        let created = self.engine.parts.store.create(&id, at, vec![event]);
        let records = created.map_err(|error| self.engine.parts.space.explain(error.into()))?;
        if self
            .engine
            .upkeep
            .ageing
            .is_ever_due(agent.spec.name.as_str())
        {
            self.engine.upkeep.ageing.sweep_later();
        }
        let mut live = Live::new(SessionState::new(Limits::none()));
        live.publish(&records);
        Ok((live.view(&id), at))
    }

    /// Changes a session's title or model; returns it as it then is.
    pub fn change(
        &self,
        id: &SessionId,
        title: Option<String>,
        model: Option<String>,
    ) -> Result<SessionView, EngineError> {
        let session = self.engine.open.get(id)?;
        if title.is_some() || model.is_some() {
            session.decide(|_| Ok((vec![Event::SessionChanged { title, model }], ())))?;
        }
        let view = session.live().view(id);
        Ok(view)
    }

    /// Ends a session and deletes its files.
    pub fn delete(&self, id: &SessionId) -> Result<(), EngineError> {
        match self.end(id) {
            Ok(()) | Err(EngineError::SessionEnded(_)) => {}
            // What cannot be read or written can still be deleted.
            Err(
                error @ (EngineError::Store(_) | EngineError::ReadOnly | EngineError::DiskFull(_)),
            ) => {
                log::warn!("session {id} is deleted as it is: {}", chain(&error));
            }
            Err(error) => return Err(error),
        }
        self.engine.open.delete(id)
    }
}
