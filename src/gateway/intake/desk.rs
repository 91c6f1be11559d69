//! What all who take things in work with: the sessions of chats, and what is said to chats beside them.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::domain::access::AccessSpec;
use crate::domain::chat::Chat;
use crate::domain::ids::{AgentName, GatewayName, SessionId, SourceId};
use crate::domain::principal::{GatewaySender, Principal};
use crate::engine::watch::view::SessionView;
use crate::engine::{EngineError, KeySeen, SessionDraft, Sessions};
use crate::gateway::delivery::{Announcement, Outbox, OutboxError, SenderHandle, SenderNews};
use crate::gateway::host::AdmittedAs;
use crate::gateway::incoming::{IntakeError, TakenIn};
use crate::gateway::intake::admission::{Visitor, may_decide};
use crate::gateway::intake::keys;
use crate::store::documents::DocumentError;

/// Of so many sessions it is remembered that their chats know them.
const SHOWN_MAX: usize = 4096;

/// What all who take things in work with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) sessions: Sessions,
    /// By gateway.
    pub(super) ways: BTreeMap<GatewayName, WayOut>,
    /// Sessions that the outbox has been told of since the start.
    pub(super) shown: Mutex<HashSet<SessionId>>,
}

/// The way to what a gateway's chats are shown.
#[derive(Debug, Clone)]
pub struct WayOut {
    /// What waits for the platform.
    pub outbox: Arc<dyn Outbox>,
    /// Who sends it.
    pub sender: SenderHandle,
}

/// Somebody who may talk, or will see that they may not; where, and to whom.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) gateway: GatewayName,
    /// All that there are.
    pub(super) gateways: Arc<[GatewayName]>,
    pub(super) chat: Chat,
    pub(super) agent: AgentName,
    pub(super) access: Arc<AccessSpec>,
    /// The platform's id.
    pub(super) id: String,
    pub(super) is_verified: bool,
    pub(super) admitted: Option<AdmittedAs>,
    /// Of what they said or did.
    pub(super) key: SourceId,
    /// The message that an answer names.
    pub(super) message_id: Option<String>,
}

impl Guest {
    pub(super) fn principal(&self) -> Principal {
        Principal::Sender(GatewaySender::new(self.gateway.as_str(), self.id.as_str()))
    }

    pub(super) fn visitor(&self) -> Visitor<'_> {
        Visitor {
            gateway: &self.gateway,
            gateways: &self.gateways,
            id: &self.id,
            is_verified: self.is_verified,
            admitted: self.admitted,
        }
    }

    /// Whether they may decide whatever waits, by the owner's word, and not only what they have asked for.
    pub(super) fn is_approver(&self) -> bool {
        may_decide(&self.access, self.visitor(), false)
    }

    /// Whether they may decide what waits for a person in `session`.
    pub(super) fn may_decide(&self, session: &SessionView) -> bool {
        let asked = session.pending_approval.as_ref();
        let requester = asked.and_then(|asked| asked.requester_id.clone());
        let own = self.principal();
        let is_requester = [own.sender_id(), own.logged()].contains(&requester);
        let has_asked = requester.is_some() && is_requester;
        may_decide(&self.access, self.visitor(), has_asked)
    }
}

impl Desk {
    pub(super) fn new(sessions: Sessions, ways: BTreeMap<GatewayName, WayOut>) -> Desk {
        Desk {
            sessions,
            ways,
            shown: Mutex::default(),
        }
    }

    /// The guest's session, if there is one.
    pub(super) fn found_session(&self, guest: &Guest) -> Result<Option<SessionView>, IntakeError> {
        let found = self
            .sessions
            .find_by_chat(guest.agent.as_str(), &guest.chat)
            .map_err(of_engine)?;
        if let Some(view) = &found {
            self.show(guest, view)?;
        }
        Ok(found)
    }

    /// The guest's session, a new one where there is none; its chat is shown what happens in it.
    pub(super) fn session(&self, guest: &Guest) -> Result<SessionView, EngineOrIntake> {
        let draft = SessionDraft {
            chat: Some(guest.chat.clone()),
            ..SessionDraft::new(guest.agent.as_str(), Principal::Owner)
        };
        let view = self.sessions.create(&draft)?;
        self.show(guest, &view)?;
        Ok(view)
    }

    /// Whether what the guest said was taken in before. Where its key is another message's it gets one of its
    /// own.
    pub(super) fn is_repeat(&self, guest: &mut Guest) -> Result<bool, IntakeError> {
        let from = guest.principal();
        let is_seen = |key: &SourceId| {
            let message_id = guest.message_id.as_deref();
            let agent = guest.agent.as_str();
            self.sessions
                .knows_key(agent, &guest.chat, &from, key, message_id)
                .map_err(of_engine)
        };
        match is_seen(&guest.key)? {
            KeySeen::No => Ok(false),
            KeySeen::Repeated => Ok(true),
            KeySeen::OfAnother => {
                let own = guest.message_id.as_deref().unwrap_or_default();
                let own = keys::with(&guest.key, &guest.gateway, own);
                let is_repeat = is_seen(&own)? == KeySeen::Repeated;
                guest.key = own;
                Ok(is_repeat)
            }
        }
    }

    /// Sees to it that what happens in a session from now on is shown in its chat.
    fn show(&self, guest: &Guest, view: &SessionView) -> Result<(), IntakeError> {
        if lock(&self.shown).contains(&view.id) {
            return Ok(());
        }
        let from = view.summary.last_seq;
        self.outbox(&guest.gateway)?
            .open_session(&guest.chat, &view.id, from)
            .map_err(of_outbox)?;
        let mut shown = lock(&self.shown);
        if shown.len() >= SHOWN_MAX {
            shown.clear();
        }
        shown.insert(view.id.clone());
        Ok(())
    }

    /// Says something to the guest that is in no log.
    pub(super) fn announce(
        &self,
        guest: &Guest,
        markdown: impl Into<String>,
    ) -> Result<TakenIn, IntakeError> {
        let said = Announcement {
            key: Some(guest.key.clone()),
            markdown: markdown.into(),
            reply_to: guest.message_id.clone(),
        };
        self.post(&guest.gateway, &guest.chat, said)?;
        Ok(TakenIn::Handled)
    }

    pub(super) fn post(
        &self,
        gateway: &GatewayName,
        chat: &Chat,
        said: Announcement,
    ) -> Result<(), IntakeError> {
        self.outbox(gateway)?.post(chat, said).map_err(of_outbox)
    }

    pub(super) fn outbox(&self, gateway: &GatewayName) -> Result<&dyn Outbox, IntakeError> {
        let unknown = || IntakeError::Unreadable(format!("there is no gateway {gateway}"));
        let way = self.ways.get(gateway).ok_or_else(unknown)?;
        Ok(&*way.outbox)
    }

    /// Tells the sender of a gateway something.
    pub(super) fn tell(&self, gateway: &GatewayName, news: SenderNews) {
        if let Some(way) = self.ways.get(gateway) {
            way.sender.tell(news);
        }
    }
}

/// Why something was not taken in, while it can still be told what to do about it.
#[derive(Debug)]
pub(super) enum EngineOrIntake {
    /// The engine says why.
    Engine(EngineError),
    /// Something else does.
    Intake(IntakeError),
}

impl From<EngineError> for EngineOrIntake {
    fn from(error: EngineError) -> EngineOrIntake {
        EngineOrIntake::Engine(error)
    }
}

impl From<IntakeError> for EngineOrIntake {
    fn from(error: IntakeError) -> EngineOrIntake {
        EngineOrIntake::Intake(error)
    }
}

/// Whether what the engine refuses may go well later.
pub(super) fn of_engine(error: EngineError) -> IntakeError {
    let passes = matches!(
        error,
        EngineError::Busy { .. } | EngineError::Draining | EngineError::ReadOnly
    );
    match passes || error.is_passing() {
        true => IntakeError::Later(error.to_string()),
        false => IntakeError::Unreadable(error.to_string()),
    }
}

pub(super) fn of_documents(error: &DocumentError) -> IntakeError {
    match error {
        DocumentError::Changed(_) | DocumentError::Busy(_) | DocumentError::Io { .. } => {
            IntakeError::Later(error.to_string())
        }
        DocumentError::BadName(_) | DocumentError::Unreadable { .. } => {
            IntakeError::Unreadable(error.to_string())
        }
    }
}

pub(super) fn of_outbox(error: OutboxError) -> IntakeError {
    match error {
        OutboxError::Document(error) => of_documents(&error),
        OutboxError::Damaged(_) => IntakeError::Unreadable(error.to_string()),
    }
}
