//! Takes in what is said on platforms: who may speak, to which agent, what becomes of it.
//!
//! The steps, for each thing that comes: which agent the chat goes to; whether the sender may talk; what
//! becomes of it; whether it is a command; the session; the disk. Whoever may not talk leaves no
//! trace but, where the owner can admit them, a code.
//!
//! Invariants:
//! - the rules are asked before anything is stored or fetched, of presses and commands too, and anew each
//!   time: a reload counts at once;
//! - those of a chat come in order: who takes one in has the chat's turn;
//! - a thing that is delivered again has the same key, and is not done again where its first delivery left a
//!   line.
//!
//! Elsewhere: what is withdrawn of a full queue (`engine`), what is shown (`delivery`).

pub(in crate::gateway) mod admission;
mod chat_command;
mod debounce;
mod desk;
mod disposition;
mod files;
mod keys;
mod orders;
mod pairing;
mod placing;
mod routing;
mod tally;
mod wording;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::{Receiver, never};

use crate::base::clock::Clock;
use crate::base::digest::sha256;
use crate::base::lock::lock;
use crate::domain::access::{AccessSpec, BotRule, SenderRule};
use crate::domain::chat::Chat;
use crate::domain::event::Event;
use crate::domain::ids::{AgentName, GatewayName, Seq, SessionId, SourceId};
use crate::domain::principal::GatewaySender;
use crate::domain::time::Timestamp;
use crate::engine::{EngineError, Overheard, Sessions};
use crate::gateway::chat_names::ChatNames;
use crate::gateway::delivery::{Announcement, PressedButton, SenderNews};
use crate::gateway::host::{AdmittedAs, GatewayHost};
use crate::gateway::incoming::{Inbound, InboundEvent, InboundFile, Inlet, IntakeError, TakenIn};
use crate::gateway::protocol::{
    CallbackQuery, ChatType, MessageContent, MessageReceived, MessageRouting,
};
use crate::gateway::settings::{ChatRoute, GatewaySettings};
use crate::gateway::transcriber::Transcriber;
use crate::store::documents::{DocumentError, Documents};

use admission::{ChatAdmission, ChatPlace};
use chat_command::{ChatCommand, OwnName, Spoken};
use debounce::Debounce;
use desk::{Desk, Guest, of_documents, of_engine, of_outbox};
use disposition::Disposition;
use files::{BroughtFiles, FileTaking};
use orders::Orders;
use pairing::{PairingAnswer, PairingCodes};
use placing::{ChatQueue, Placing, SpokenWords};
use tally::{BotTally, NameTally, Warned};

pub use desk::WayOut;
pub use pairing::PendingPairing;

/// Two chats rarely wait for one another.
const CHAT_LOCKS: usize = 64;

/// Takes in what is said on platforms; of all gateways.
#[derive(Debug)]
pub struct Intake {
    gateways: Arc<[GatewayName]>,
    desk: Desk,
    host: Arc<dyn GatewayHost>,
    routes: Vec<ChatRoute>,
    codes: PairingCodes,
    chat_names: Arc<ChatNames>,
    transcriber: Option<Transcriber>,
    /// Nobody closes it: what is spoken is written down within its time, or not.
    cancel: Receiver<Infallible>,
    debounce: Debounce,
    bots: BotTally,
    names: NameTally,
    warned: Warned,
    clock: Arc<dyn Clock>,
    /// Those of a chat are taken in one after the other.
    chats: Vec<Mutex<()>>,
}

/// What takes in, and what for.
#[derive(Debug)]
pub struct IntakeParts {
    /// The engine.
    pub sessions: Sessions,
    /// The rest of the program.
    pub host: Arc<dyn GatewayHost>,
    /// Where codes are kept.
    pub documents: Arc<dyn Documents>,
    /// The ids that chats had.
    pub chat_names: Arc<ChatNames>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way out of each gateway.
    pub ways: BTreeMap<GatewayName, WayOut>,
}

/// Why nobody was admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// Nobody has that code.
    #[error("no code of strangers is {0:?}; a code counts for 24 hours")]
    NoSuchCode(String),
    /// It cannot be kept.
    #[error("{0}")]
    Failed(String),
}

impl Intake {
    /// For these gateways.
    pub fn new(settings: &GatewaySettings, parts: IntakeParts) -> Intake {
        let sessions = parts.sessions.clone();
        let debounce = Debounce::new(parts.sessions.timer(), move |session| {
            let Err(error) = sessions.begin_turn(session) else {
                return true;
            };
            log::warn!("session {session}: its turn does not begin: {error}");
            !matches!(of_engine(error), IntakeError::Later(_))
        });
        Intake {
            gateways: parts.ways.keys().cloned().collect(),
            desk: Desk::new(parts.sessions, parts.ways),
            host: parts.host,
            routes: routes_of(settings),
            codes: PairingCodes::new(parts.documents, Arc::clone(&parts.clock)),
            chat_names: parts.chat_names,
            transcriber: settings
                .transcribe
                .clone()
                .map(|(program, args)| Transcriber::new(program, args)),
            cancel: never(),
            debounce,
            bots: BotTally::default(),
            names: NameTally::default(),
            warned: Warned::default(),
            clock: parts.clock,
            chats: (0..CHAT_LOCKS).map(|_| Mutex::default()).collect(),
        }
    }

    /// The strangers who wait to be admitted, by gateway, each with the code.
    ///
    /// Errors: what is on disk cannot be read.
    pub fn pairings(&self) -> Result<Vec<(GatewayName, String, PendingPairing)>, DocumentError> {
        let mut found = Vec::new();
        for gateway in self.desk.ways.keys() {
            let pending = self.codes.list(gateway)?;
            found.extend(
                pending
                    .into_iter()
                    .map(|(code, one)| (gateway.clone(), code, one)),
            );
        }
        Ok(found)
    }

    /// Admits who has a code, and tells them.
    ///
    /// Errors: [`AdmitError`], with nothing done.
    pub fn admit(
        &self,
        code: &str,
        admitted_as: AdmittedAs,
    ) -> Result<(GatewayName, PendingPairing), AdmitError> {
        let failed = |error: DocumentError| AdmitError::Failed(error.to_string());
        for gateway in self.desk.ways.keys() {
            let Some(pending) = self.codes.find(gateway, code).map_err(failed)? else {
                continue;
            };
            let sender = GatewaySender::new(gateway.as_str(), pending.sender_id.as_str());
            self.host
                .admit(&pending.agent, &sender, &pending.name, admitted_as)
                .map_err(AdmitError::Failed)?;
            self.welcome(gateway, &pending);
            self.codes.forget(gateway, code).map_err(failed)?;
            return Ok((gateway.clone(), pending));
        }
        Err(AdmitError::NoSuchCode(code.trim().to_owned()))
    }

    /// Tells somebody that they were admitted; they are, whether they hear of it or not.
    fn welcome(&self, gateway: &GatewayName, pending: &PendingPairing) {
        let said = Announcement {
            key: Some(keys::with(&pending.source_id, gateway, "admitted")),
            markdown: wording::ADMITTED.to_owned(),
            reply_to: None,
        };
        let chat = chat_of(gateway, &pending.chat_id, pending.thread_id.as_deref());
        if let Err(error) = self.desk.post(gateway, &chat, said) {
            log::warn!(
                "{gateway}: {} is not told of being admitted: {error}",
                pending.name
            );
        }
    }

    fn message(
        &self,
        gateway: &GatewayName,
        message: &MessageReceived,
        key: Option<SourceId>,
        files: Vec<InboundFile>,
    ) -> Result<TakenIn, IntakeError> {
        let chat_ids = self.chat_ids(gateway, &message.chat_id)?;
        let Some((agent, access)) = self.agent_of(gateway, &message.routing, &chat_ids) else {
            return Ok(TakenIn::Ignored);
        };
        if message.sender.is_bot && access.groups.bots == BotRule::Ignore {
            return Ok(TakenIn::Ignored);
        }
        let sender = GatewaySender::new(gateway.as_str(), message.sender.id.as_str());
        let mut guest = Guest {
            gateway: gateway.clone(),
            gateways: Arc::clone(&self.gateways),
            chat: chat_of(gateway, &message.chat_id, message.thread_id()),
            admitted: self.admitted(&agent, &sender)?,
            agent,
            access,
            id: message.sender.id.clone(),
            is_verified: message.is_verified(),
            key: key.unwrap_or_else(|| key_of(gateway, message)),
            message_id: Some(message.message_id.clone()),
        };
        let _turn = self.turn_of(&guest.chat);
        let place = ChatPlace {
            chat_type: message.routing.chat_type,
            channel: Some(&message.routing.channel),
            chat_ids: &chat_ids,
        };
        match admission::admission(&guest.access, guest.visitor(), place) {
            ChatAdmission::Admitted => {}
            ChatAdmission::Stranger => return self.pair(&guest, message),
            ChatAdmission::Refused => {
                self.note_refused(&guest, message);
                return Ok(TakenIn::Ignored);
            }
        }
        self.spoken(&mut guest, message, files)
    }

    /// Gives a stranger the code by which the owner can admit them.
    fn pair(&self, guest: &Guest, message: &MessageReceived) -> Result<TakenIn, IntakeError> {
        let stranger = PendingPairing {
            sender_id: guest.id.clone(),
            name: wording::name_of(&message.sender),
            agent: guest.agent.clone(),
            chat_id: guest.chat.chat_id.clone(),
            thread_id: guest.chat.thread_id.clone(),
            at: Timestamp::from(self.clock.now()),
            source_id: guest.key.clone(),
        };
        let name = stranger.name.clone();
        let has_owner = !guest.access.approvers.is_empty() || self.host.has_approvers(&guest.agent);
        let asked = self.codes.ask(&guest.gateway, stranger, !has_owner);
        match asked.map_err(|error| of_documents(&error))? {
            PairingAnswer::Silence => Ok(TakenIn::Ignored),
            PairingAnswer::Code(code) => {
                log::info!(
                    "{}: {name} ({}) wants to talk to {}; is this you? `duragent gateway approve {code}` admits \
                     them, with `--approver` they decide too",
                    guest.gateway,
                    guest.id,
                    guest.agent
                );
                self.desk.announce(guest, wording::pairing(&code))
            }
        }
    }

    /// Somebody who may talk has said something.
    fn spoken(
        &self,
        guest: &mut Guest,
        message: &MessageReceived,
        files: Vec<InboundFile>,
    ) -> Result<TakenIn, IntakeError> {
        let spoken = command_in(message);
        let disposition = disposition_of(guest, message, &spoken);
        if disposition == Disposition::Ignored {
            return Ok(TakenIn::Ignored);
        }
        let back = SenderNews::IsBack(guest.chat.clone());
        self.desk.tell(&guest.gateway, back);
        if self.desk.is_repeat(guest)? {
            return Ok(TakenIn::Repeated);
        }
        let guest = &*guest;
        let disposition = match message.sender.is_bot {
            true => self.bots.answered(guest, disposition),
            false => {
                self.bots.person(guest);
                disposition
            }
        };
        let mut words = message.content.words().unwrap_or_default();
        match &spoken {
            Spoken::Command(ChatCommand::Start {
                payload: Some(payload),
            }) => words = payload,
            Spoken::Command(command) if disposition == Disposition::Answered => {
                return Orders { desk: &self.desk }.carry_out(guest, command);
            }
            Spoken::Command(_) | Spoken::ForAnother | Spoken::Words => {}
        }
        let taken = self.words(guest, message, words, files, disposition)?;
        let is_answered = disposition == Disposition::Answered;
        if message.sender.is_bot && is_answered && taken != TakenIn::Ignored {
            self.bots.count(guest);
        }
        Ok(taken)
    }

    /// What somebody has said, with the files that they brought.
    fn words(
        &self,
        guest: &Guest,
        message: &MessageReceived,
        words: &str,
        files: Vec<InboundFile>,
        disposition: Disposition,
    ) -> Result<TakenIn, IntakeError> {
        let brought = self.files(guest, files, disposition)?;
        let spoken = brought.spoken.iter().map(String::as_str);
        let words: Vec<&str> = [words].into_iter().chain(spoken).collect();
        let words = words.join("\n");
        let text = wording::text_of(message, words.trim_start_matches('\n'), &brought.notes);
        if !brought.is_any() && !wording::has_words(message, &words) {
            return match disposition {
                Disposition::Answered if !message.edited => {
                    let why = brought.notes.first();
                    let why = why.map_or(wording::UNREADABLE.to_owned(), |why| wording::sorry(why));
                    self.desk.announce(guest, why)
                }
                Disposition::Answered | Disposition::Overheard(_) | Disposition::Ignored => {
                    Ok(TakenIn::Ignored)
                }
            };
        }
        let words = SpokenWords {
            text,
            attachments: brought.attachments,
            sender_name: self.shown_name(guest, message),
        };
        self.place(guest, message, &words, disposition)
    }

    /// The files of a message, as far as anybody is to see it.
    fn files(
        &self,
        guest: &Guest,
        files: Vec<InboundFile>,
        disposition: Disposition,
    ) -> Result<BroughtFiles, IntakeError> {
        let taking = FileTaking {
            desk: &self.desk,
            transcriber: self.transcriber.as_ref(),
            cancel: &self.cancel,
        };
        match disposition {
            Disposition::Answered | Disposition::Overheard(Overheard::Shown) => {
                taking.take(guest, files)
            }
            Disposition::Overheard(Overheard::Logged) | Disposition::Ignored => {
                Ok(BroughtFiles::left_out(&files))
            }
        }
    }

    fn place(
        &self,
        guest: &Guest,
        message: &MessageReceived,
        words: &SpokenWords,
        disposition: Disposition,
    ) -> Result<TakenIn, IntakeError> {
        let placing = Placing {
            desk: &self.desk,
            debounce: &self.debounce,
        };
        let queue = match message.routing.chat_type {
            ChatType::Dm => ChatQueue::of_two(),
            ChatType::Group | ChatType::Channel => ChatQueue::of_group(&guest.access.groups.queue),
        };
        match disposition {
            // Words that nobody is to see, before or after.
            Disposition::Overheard(Overheard::Logged) if message.edited => Ok(TakenIn::Ignored),
            _ if message.edited => match self.desk.found_session(guest)? {
                Some(session) => placing.replace(guest, &session.id, words, &queue),
                None => Ok(TakenIn::Ignored),
            },
            Disposition::Answered => placing.ask(guest, words, &queue),
            Disposition::Overheard(kept) => placing.overhear(guest, words, kept),
            Disposition::Ignored => Ok(TakenIn::Ignored),
        }
    }

    /// The name by which the model knows the speaker; in a chat of two it needs none.
    fn shown_name(&self, guest: &Guest, message: &MessageReceived) -> Option<String> {
        if message.routing.chat_type == ChatType::Dm {
            return None;
        }
        let name = wording::name_of(&message.sender);
        let is_anothers = self.names.is_anothers(&guest.chat, &name, &guest.id);
        Some(match is_anothers {
            true => wording::name_with_id(&name, &message.sender),
            false => name,
        })
    }

    fn press(
        &self,
        gateway: &GatewayName,
        press: &CallbackQuery,
        key: Option<SourceId>,
    ) -> Result<TakenIn, IntakeError> {
        let thread_id = press.routing.as_ref();
        let thread_id = thread_id.and_then(|routing| routing.more.get("thread_id"));
        let chat = chat_of(gateway, &press.chat_id, thread_id.map(String::as_str));
        let _turn = self.turn_of(&chat);
        let found = self
            .desk
            .outbox(gateway)?
            .question(&chat, &press.message_id, &press.data)
            .map_err(of_outbox)?;
        let Some(found) = found else {
            return Ok(self.refuse(gateway, press, orders::UNKNOWN_QUESTION));
        };
        let key = key.unwrap_or_else(|| {
            let parts = ["press", press.callback_query_id.as_str()];
            keys::key_of(gateway, &press.chat_id, &parts)
        });
        self.pressed(gateway, press, &found, chat, key)
    }

    fn pressed(
        &self,
        gateway: &GatewayName,
        press: &CallbackQuery,
        found: &PressedButton,
        chat: Chat,
        key: SourceId,
    ) -> Result<TakenIn, IntakeError> {
        let session = match self.desk.sessions.show(&found.session) {
            Ok(session) => session,
            Err(EngineError::SessionNotFound(_)) => {
                return Ok(self.refuse(gateway, press, orders::UNKNOWN_QUESTION));
            }
            Err(error) => return Err(of_engine(error)),
        };
        let agent = AgentName::parse(&session.summary.agent).ok();
        let agent = agent.and_then(|name| Some((self.host.access(&name)?, name)));
        let Some((access, agent)) = agent else {
            return Ok(self.refuse(gateway, press, orders::UNKNOWN_QUESTION));
        };
        let sender = GatewaySender::new(gateway.as_str(), press.sender.id.as_str());
        let guest = Guest {
            gateway: gateway.clone(),
            gateways: Arc::clone(&self.gateways),
            chat: session.summary.chat().unwrap_or(chat),
            admitted: self.admitted(&agent, &sender)?,
            agent,
            access,
            id: press.sender.id.clone(),
            is_verified: !press.sender.is_bot,
            key,
            message_id: None,
        };
        if !self.may_press(&guest, press, &session.id)? {
            return Ok(self.refuse(gateway, press, orders::NOT_ADMITTED));
        }
        let call_id = found.call_id.as_str();
        Orders { desk: &self.desk }.press(press, &guest, &session, call_id, found.decision)
    }

    /// Whether somebody may talk where they press.
    fn may_press(
        &self,
        guest: &Guest,
        press: &CallbackQuery,
        session: &SessionId,
    ) -> Result<bool, IntakeError> {
        let routing = press.routing.as_ref();
        let chat_type = match routing {
            Some(routing) => routing.chat_type,
            // Older programs do not tell.
            None => self.chat_type_of(session)?,
        };
        let chat_ids = self.chat_ids(&guest.gateway, &press.chat_id)?;
        let place = ChatPlace {
            chat_type,
            channel: routing.map(|routing| routing.channel.as_str()),
            chat_ids: &chat_ids,
        };
        let admission = admission::admission(&guest.access, guest.visitor(), place);
        let rule = admission::sender_rule(&guest.access, guest.visitor());
        let is_heard = chat_type == ChatType::Dm || rule == SenderRule::Allow;
        Ok(admission == ChatAdmission::Admitted && is_heard)
    }

    /// The kind of a session's chat, as its first message tells: only among several has a speaker a name.
    fn chat_type_of(&self, session: &SessionId) -> Result<ChatType, IntakeError> {
        /// What may stand before the first message is no more than a few notes.
        const LOOKED_AT: usize = 16;
        let first = self.desk.sessions.events(session, Seq::ZERO, LOOKED_AT);
        let first = first.map_err(of_engine)?.into_iter();
        let mut named = first.filter_map(|record| match record.event {
            Event::UserMessage(said) => Some(said.sender_name.is_some()),
            Event::SilentMessage { sender_name, .. } => Some(sender_name.is_some()),
            _ => None,
        });
        Ok(match named.next() {
            Some(false) => ChatType::Dm,
            // Its rules are the narrower ones by default.
            Some(true) | None => ChatType::Group,
        })
    }

    fn refuse(&self, gateway: &GatewayName, press: &CallbackQuery, why: &str) -> TakenIn {
        let news = SenderNews::Pressed {
            callback_query_id: press.callback_query_id.clone(),
            text: Some(why.to_owned()),
        };
        self.desk.tell(gateway, news);
        TakenIn::Handled
    }

    fn migrated(
        &self,
        gateway: &GatewayName,
        from: String,
        to: String,
    ) -> Result<TakenIn, IntakeError> {
        if from == to {
            return Ok(TakenIn::Ignored);
        }
        let is_noted = self.is_spoken_of(gateway, &from)?
            && self
                .chat_names
                .note(gateway, &from, &to)
                .map_err(|error| of_documents(&error))?;
        let moved = self.desk.sessions.move_chat(gateway.as_str(), &from, &to);
        moved.map_err(of_engine)?;
        if is_noted {
            log::info!(
                "{gateway}: the chat {from} is {to} from now on; what lists and routes say of {from} holds for it"
            );
        }
        self.desk.tell(gateway, SenderNews::Moved { from, to });
        Ok(TakenIn::Handled)
    }

    /// Routes or lists name the chat: nothing is kept of those of strangers.
    fn is_spoken_of(&self, gateway: &GatewayName, chat_id: &str) -> Result<bool, IntakeError> {
        let names = self.chat_ids(gateway, chat_id)?;
        Ok(self.routes.iter().any(|route| {
            let access = self.host.access(&route.agent);
            let lists = access.iter().flat_map(|access| &access.groups.allowlist);
            let wanted = route.conditions.get("chat_id");
            wanted.is_some_and(|wanted| names.contains(wanted))
                || admission::is_named_in(lists, &names)
        }))
    }

    fn state(
        &self,
        gateway: &GatewayName,
        chat_id: String,
        can_write: bool,
        why: String,
    ) -> TakenIn {
        let news = match can_write {
            true => SenderNews::IsBack(Chat::new(gateway.as_str(), chat_id)),
            false => SenderNews::Rests { chat_id, why },
        };
        self.desk.tell(gateway, news);
        TakenIn::Handled
    }

    /// Who is no stranger must not be taken for one.
    fn admitted(
        &self,
        agent: &AgentName,
        sender: &GatewaySender,
    ) -> Result<Option<AdmittedAs>, IntakeError> {
        let admitted = self.host.admission(agent, sender);
        admitted.map_err(IntakeError::Later)
    }

    fn chat_ids(&self, gateway: &GatewayName, chat_id: &str) -> Result<Vec<String>, IntakeError> {
        let names = self.chat_names.of(gateway, chat_id);
        names.map_err(|error| of_documents(&error))
    }

    /// The agent of a chat, and who may talk to it.
    fn agent_of(
        &self,
        gateway: &GatewayName,
        routing: &MessageRouting,
        chat_ids: &[String],
    ) -> Option<(AgentName, Arc<AccessSpec>)> {
        let chat = Chat::new(gateway.as_str(), routing.chat_id.as_str());
        let Some(agent) = routing::agent_of(&self.routes, gateway, routing, chat_ids) else {
            if self.warned.is_first(&chat, "") {
                log::warn!(
                    "{gateway}: no route fits the {} {}: what is said there is dropped",
                    routing.chat_type.as_str(),
                    routing.chat_id
                );
            }
            return None;
        };
        let access = self.host.access(agent);
        if access.is_none() && self.warned.is_first(&chat, agent.as_str()) {
            log::warn!(
                "{gateway}: the {} {} goes to the agent {agent}, which is not there: what is said there is dropped",
                routing.chat_type.as_str(),
                routing.chat_id
            );
        }
        Some((agent.clone(), access?))
    }

    /// The owner may look for whom a rule keeps out.
    fn note_refused(&self, guest: &Guest, message: &MessageReceived) {
        let about = format!("{} {}", guest.agent, guest.id);
        if self.warned.is_first(&guest.chat, &about) {
            log::info!(
                "{}: {} ({}) may not talk to {} in the {} {}: what they write is dropped",
                guest.gateway,
                wording::name_of(&message.sender),
                guest.id,
                guest.agent,
                message.routing.chat_type.as_str(),
                message.chat_id
            );
        }
    }

    fn turn_of(&self, chat: &Chat) -> MutexGuard<'_, ()> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let hash = usize::try_from(hasher.hash_one(chat.whole()) % CHAT_LOCKS as u64);
        lock(&self.chats[hash.unwrap_or_default()])
    }
}

impl Inlet for Intake {
    fn take(&self, gateway: &GatewayName, incoming: Inbound) -> Result<TakenIn, IntakeError> {
        match incoming.what {
            InboundEvent::Message(message) => {
                self.message(gateway, &message, incoming.key, incoming.files)
            }
            InboundEvent::Press(press) => self.press(gateway, &press, incoming.key),
            InboundEvent::Migrated { from, to } => self.migrated(gateway, from, to),
            InboundEvent::State {
                chat_id,
                can_write,
                why,
            } => Ok(self.state(gateway, chat_id, can_write, why)),
        }
    }
}

/// The routes, those of bots with an agent of their own before the others.
fn routes_of(settings: &GatewaySettings) -> Vec<ChatRoute> {
    let own = settings.telegram.iter().filter_map(|bot| {
        Some(ChatRoute {
            conditions: [("gateway".to_owned(), bot.name.to_string())].into(),
            agent: bot.agent.clone()?,
        })
    });
    own.chain(settings.routes.iter().cloned()).collect()
}

fn chat_of(gateway: &GatewayName, chat_id: &str, thread_id: Option<&str>) -> Chat {
    let chat = Chat::new(gateway.as_str(), chat_id);
    match thread_id {
        Some(thread_id) => chat.in_thread(thread_id),
        None => chat,
    }
}

/// An edit is another thing than the message, and a later edit another than one before.
fn key_of(gateway: &GatewayName, message: &MessageReceived) -> SourceId {
    let words = message.content.words().unwrap_or_default();
    let digest = sha256(words.as_bytes());
    let edit = [message.message_id.as_str(), "edit", &digest[..16]];
    match message.edited {
        true => keys::key_of(gateway, &message.chat_id, &edit),
        false => keys::key_of(gateway, &message.chat_id, &edit[..1]),
    }
}

/// Commands are written by people, just now, and as words.
fn command_in(message: &MessageReceived) -> Spoken {
    let is_said_now = !message.edited && message.forwarded_from.is_none() && !message.sender.is_bot;
    match &message.content {
        MessageContent::Text { text } if is_said_now => {
            let own_name = message.metadata.as_ref();
            let own_name = own_name.and_then(|more| more.get("bot_username")?.as_str());
            let is_called = message.mentions_bot;
            let own_name = own_name.map_or(OwnName::Unknown { is_called }, OwnName::Known);
            chat_command::read(text, own_name)
        }
        _ => Spoken::Words,
    }
}

fn disposition_of(guest: &Guest, message: &MessageReceived, spoken: &Spoken) -> Disposition {
    let groups = &guest.access.groups;
    if message.routing.chat_type == ChatType::Dm {
        return Disposition::Answered;
    }
    let rule = admission::sender_rule(&guest.access, guest.visitor());
    match spoken {
        // It was meant for the agent before, or the agent never knew it.
        _ if message.edited => disposition::in_group(groups, rule, true),
        Spoken::ForAnother if rule == SenderRule::Allow => disposition::unanswered(groups),
        Spoken::Command(_) => disposition::in_group(groups, rule, true),
        Spoken::ForAnother | Spoken::Words => {
            let is_addressed = message.mentions_bot || message.reply_to_bot;
            disposition::in_group(groups, rule, is_addressed)
        }
    }
}

#[cfg(test)]
mod tests;
