//! Creating, changing and deleting sessions: one for each key of a principal, one for each chat of a
//! gateway.

use crate::domain::event::{Event, SessionStart};
use crate::domain::ids::{SessionId, SourceId};
use crate::domain::principal::{Principal, Way};
use crate::domain::state::SessionState;
use crate::domain::window::Limits;
use crate::engine::agent::Agent;
use crate::engine::error::{EngineError, chain};
use crate::engine::sessions::Sessions;
use crate::engine::sessions::requests::SessionDraft;
use crate::engine::watch::live::Live;
use crate::engine::watch::view::SessionView;
use crate::engine::workdir::Workdir;
use crate::store::CreationKey;

impl Sessions {
    /// Begins a session; a repeated key, or a chat that has an open one, leads to the session that
    /// there is.
    ///
    /// Errors: [`EngineError::KeyReused`] where the key began another kind of session.
    pub fn create(&self, draft: &SessionDraft) -> Result<SessionView, EngineError> {
        self.engine.draining.refuse()?;
        let missing = EngineError::AgentNotFound;
        let agent = self.engine.agents.find(&draft.agent, missing)?;
        match &draft.key {
            Some(key) => self.create_keyed(&agent, draft, key),
            None => self.create_in_chat(&agent, draft).map(Created::view),
        }
    }

    /// The folder at `path`, for a session that `asker` is about to begin.
    ///
    /// Errors: [`EngineError::Workdir`].
    pub fn check_workdir(
        &self,
        path: &str,
        asker: &Principal,
        way: Way,
    ) -> Result<Workdir, EngineError> {
        Ok(self.engine.workdirs.check(path, asker, way)?)
    }

    fn create_keyed(
        &self,
        agent: &Agent,
        draft: &SessionDraft,
        key: &SourceId,
    ) -> Result<SessionView, EngineError> {
        let key = self.redacted_key(key.clone())?;
        let key = scoped(&key, &draft.owner);
        let _one_at_a_time = self.engine.creation_locks.lock(&key);
        let now = self.engine.parts.ids.now();
        if let Some(known) = self.engine.creation_keys.get(&key, now)? {
            if known.agent != agent.spec.name.as_str() {
                return Err(EngineError::KeyReused);
            }
            let view = self.show(&known.session_id)?;
            // In a log that was adopted the folder does not count any more.
            let is_same =
                view.summary.workdir == workdir(draft) && view.summary.chat() == draft.chat;
            return is_same.then_some(view).ok_or(EngineError::KeyReused);
        }
        let created = self.create_in_chat(agent, draft)?;
        let is_new = matches!(created, Created::New(_));
        let view = created.view();
        let stored = CreationKey {
            agent: agent.spec.name.to_string(),
            session_id: view.id.clone(),
            created_at: view.summary.created_at,
        };
        if let Err(error) = self.engine.creation_keys.put(&key, &stored) {
            // Who is told that there is none, and asks again, would have two; unless the key is there
            // by now, which then leads to this one. A chat's that was there before is found again.
            let known = self.engine.creation_keys.get(&key, now);
            if is_new
                && known.is_ok_and(|known| known.is_none())
                && let Err(error) = self.engine.open.delete(&view.id)
            {
                log::warn!("session {} stays: {}", view.id, chain(&error));
            }
            return Err(self.engine.parts.space.explain(error.into()));
        }
        Ok(view)
    }

    fn create_in_chat(&self, agent: &Agent, draft: &SessionDraft) -> Result<Created, EngineError> {
        let Some(chat) = &draft.chat else {
            return self.create_new(agent, draft).map(Created::New);
        };
        let _one_at_a_time = self.lock_chat(&draft.agent, chat);
        if let Some(found) = self.find_open(&draft.agent, chat)? {
            return Ok(Created::Found(found));
        }
        let view = self.create_new(agent, draft)?;
        self.with_chats(|chats| chats.note(&draft.agent, chat, &view.id, false))?;
        Ok(Created::New(view))
    }

    fn create_new(&self, agent: &Agent, draft: &SessionDraft) -> Result<SessionView, EngineError> {
        self.engine.parts.space.refuse_when_full()?;
        let id = self.engine.parts.ids.session_id();
        let at = self.engine.parts.ids.now();
        let event = Event::SessionStart(start(agent, draft));
        let created = self.engine.parts.store.create(&id, at, vec![event]);
        let records = created.map_err(|error| self.engine.parts.space.explain(error.into()))?;
        let ageing = &self.engine.upkeep.ageing;
        if ageing.is_ever_due(agent.spec.name.as_str()) {
            ageing.sweep_later();
        }
        let mut live = Live::new(SessionState::new(Limits::none()));
        live.publish(&records);
        Ok(live.view(&id))
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
            session.decide(|_| {
                Ok((
                    vec![Event::SessionChanged {
                        title,
                        model,
                        gateway_chat_id: None,
                    }],
                    (),
                ))
            })?;
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

/// The session that a creation leads to.
enum Created {
    New(SessionView),
    /// Its chat had it already, and maybe a conversation in it.
    Found(SessionView),
}

impl Created {
    fn view(self) -> SessionView {
        match self {
            Created::New(view) | Created::Found(view) => view,
        }
    }
}

fn start(agent: &Agent, draft: &SessionDraft) -> SessionStart {
    let start = SessionStart {
        owner: draft.owner.logged(),
        workdir: workdir(draft),
        ..SessionStart::new(agent.spec.name.as_str(), agent.spec.session.on_disconnect)
    };
    match &draft.chat {
        Some(chat) => start.in_chat(chat.clone()),
        None => start,
    }
}

fn workdir(draft: &SessionDraft) -> Option<String> {
    draft
        .workdir
        .as_ref()
        .map(|folder| folder.as_str().to_owned())
}

/// The key as it is kept: the owner's as it is, another's behind their name. No key holds a blank, so
/// that none reads like one of somebody else.
fn scoped(key: &SourceId, owner: &Principal) -> String {
    match owner.logged() {
        None => key.as_str().to_owned(),
        Some(owner) => format!("{owner} {}", key.as_str()),
    }
}
