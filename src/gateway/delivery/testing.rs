//! A platform in memory, which keeps what it is sent, loses answers and fails when a test says so; and
//! a sender before it that takes each step when the test does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::clock::FakeClock;
use crate::base::lock::lock;
use crate::base::stop::{self, StopSource};
use crate::domain::access::AccessSpec;
use crate::domain::chat::Chat;
use crate::domain::ids::{AgentName, GatewayName, Seq, SessionId};
use crate::domain::message::MessageText;
use crate::domain::principal::{GatewaySender, Principal};
use crate::engine::testing::{Bench, noon};
use crate::engine::{NewMessage, SessionDraft};
use crate::gateway::chat_names::ChatNames;
use crate::gateway::delivery::lane_store::LaneStore;
use crate::gateway::delivery::news::{ChatNews, SenderHandle, SenderInbox, sender_channel};
use crate::gateway::delivery::outbox::Outbox as _;
use crate::gateway::delivery::sender::{LaneSender, SenderParts};
use crate::gateway::health::GatewayHealth;
use crate::gateway::host::{AdmittedAs, GatewayHost};
use crate::gateway::outlet::{CommandOutcome, Outlet, Performed, RateLimits, RenderedPiece};
use crate::gateway::protocol::{Capabilities, FailedCommand, GatewayCommand, InlineKeyboard};
use crate::store::sim_documents::{SimDocuments, SimFault};

/// Whatever a test waits for comes by then.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// A message as people see it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeenMessage {
    pub(super) chat_id: String,
    pub(super) text: String,
    pub(super) reply_to: Option<String>,
    pub(super) buttons: Option<InlineKeyboard>,
    pub(super) edits: usize,
    pub(super) is_deleted: bool,
}

/// How a command goes.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// It is done, and the answer lost.
    LostAnswer,
    /// It is not done, and no answer comes either.
    Lost,
    /// It never left.
    NotSent,
    /// It is refused: code, message.
    Refused(&'static str, &'static str),
    /// The chat has another id.
    Moved(&'static str),
}

/// A platform, shared by its clones.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelPlatform(pub(super) Arc<Mutex<PlatformState>>);

#[derive(Debug, Default)]
pub(super) struct PlatformState {
    pub(super) can: Capabilities,
    pub(super) messages: Vec<SeenMessage>,
    pub(super) commands: Vec<GatewayCommand>,
    pub(super) troubles: VecDeque<Option<Trouble>>,
    /// Until it is taken back, every command goes so.
    pub(super) always: Option<Trouble>,
    /// Commands are answered later, by the test.
    pub(super) waits: bool,
    pub(super) is_down: bool,
    pub(super) piece_bytes: usize,
}

impl ModelPlatform {
    pub(super) fn new() -> ModelPlatform {
        let platform = ModelPlatform::default();
        let mut state = platform.state();
        state.can = Capabilities::of_words([
            "media",
            "edit",
            "delete",
            "typing",
            "reply",
            "inline_keyboard",
        ]);
        state.piece_bytes = 4096;
        drop(state);
        platform
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, PlatformState> {
        lock(&self.0)
    }

    /// The texts that people see, oldest first.
    pub(super) fn texts(&self) -> Vec<String> {
        let state = self.state();
        let there = state.messages.iter().filter(|one| !one.is_deleted);
        there.map(|one| one.text.clone()).collect()
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.state().troubles.push_back(Some(trouble));
    }

    /// What was done so far, a word each.
    pub(super) fn words(&self) -> Vec<&'static str> {
        let word = |command: &GatewayCommand| match command {
            GatewayCommand::SendMessage { .. } => "send",
            GatewayCommand::SendMedia { .. } => "file",
            GatewayCommand::SendTyping { duration: 0, .. } => "typing ends",
            GatewayCommand::SendTyping { .. } => "typing",
            GatewayCommand::EditMessage { .. } => "edit",
            GatewayCommand::DeleteMessage { .. } => "delete",
            GatewayCommand::AnswerCallbackQuery { .. } => "answer",
            GatewayCommand::Ping { .. } => "ping",
            GatewayCommand::Shutdown => "shutdown",
        };
        self.state().commands.iter().map(word).collect()
    }

    pub(super) fn outlet(&self) -> Box<dyn Outlet> {
        Box::new(ModelOutlet(self.clone()))
    }
}

impl PlatformState {
    fn carry_out(&mut self, command: &GatewayCommand) -> CommandOutcome {
        let refused = |message: &str| {
            CommandOutcome::Refused(FailedCommand {
                request_id: String::new(),
                code: "edit_failed".to_owned(),
                message: message.to_owned(),
                retry_after: None,
                migrate_to: None,
            })
        };
        match command {
            GatewayCommand::SendMessage {
                chat_id,
                content,
                reply_to,
                inline_keyboard,
                ..
            } => {
                assert!(!content.trim().is_empty(), "nobody sends nothing");
                self.messages.push(SeenMessage {
                    chat_id: chat_id.clone(),
                    text: content.clone(),
                    reply_to: reply_to.clone(),
                    buttons: inline_keyboard.clone(),
                    edits: 0,
                    is_deleted: false,
                });
                CommandOutcome::Done {
                    message_id: Some(format!("m{}", self.messages.len())),
                }
            }
            GatewayCommand::EditMessage {
                message_id,
                content,
                ..
            } => {
                let Some(message) = self.message(message_id) else {
                    return refused("message to edit not found");
                };
                if message.text == *content && message.buttons.is_none() {
                    return refused("Bad Request: message is not modified");
                }
                message.text.clone_from(content);
                message.buttons = None;
                message.edits += 1;
                CommandOutcome::Done { message_id: None }
            }
            GatewayCommand::DeleteMessage { message_id, .. } => match self.message(message_id) {
                Some(message) => {
                    message.is_deleted = true;
                    CommandOutcome::Done { message_id: None }
                }
                None => refused("message to delete not found"),
            },
            _ => CommandOutcome::Done { message_id: None },
        }
    }

    fn message(&mut self, id: &str) -> Option<&mut SeenMessage> {
        let number: usize = id.strip_prefix('m')?.parse().ok()?;
        let message = self.messages.get_mut(number.checked_sub(1)?)?;
        (!message.is_deleted).then_some(message)
    }
}

struct ModelOutlet(ModelPlatform);

impl Outlet for ModelOutlet {
    fn capabilities(&self) -> Capabilities {
        self.0.state().can
    }

    fn is_ready(&self) -> bool {
        !self.0.state().is_down
    }

    fn rates(&self) -> Option<RateLimits> {
        None
    }

    fn render(&self, markdown: &str) -> Vec<RenderedPiece> {
        let piece_bytes = self.0.state().piece_bytes;
        let mut pieces = vec![String::new()];
        for c in markdown.chars() {
            if pieces.last().unwrap().len() + c.len_utf8() > piece_bytes {
                pieces.push(String::new());
            }
            pieces.last_mut().unwrap().push(c);
        }
        let piece = |content| RenderedPiece {
            content,
            plain: None,
        };
        pieces.into_iter().map(piece).collect()
    }

    fn perform(&mut self, command: &GatewayCommand, _: Option<&str>) -> Performed {
        let mut state = self.0.state();
        state.commands.push(command.clone());
        if let GatewayCommand::SendMessage { content, .. } = command
            && content.contains("panic")
        {
            drop(state);
            panic!("a platform that a sender stumbles over");
        }
        if command.request_id().is_none() {
            return Performed::Ended(CommandOutcome::Done { message_id: None });
        }
        if state.waits {
            return Performed::Waiting;
        }
        let always = state.always.clone();
        let trouble = state.troubles.pop_front().flatten().or(always);
        Performed::Ended(match trouble {
            None => state.carry_out(command),
            Some(Trouble::LostAnswer) => {
                state.carry_out(command);
                CommandOutcome::Unanswered
            }
            Some(Trouble::Lost) => CommandOutcome::Unanswered,
            Some(Trouble::NotSent) => CommandOutcome::NotSent,
            Some(Trouble::Refused(code, message)) => CommandOutcome::Refused(FailedCommand {
                request_id: String::new(),
                code: code.to_owned(),
                message: message.to_owned(),
                retry_after: None,
                migrate_to: None,
            }),
            Some(Trouble::Moved(to)) => CommandOutcome::Refused(FailedCommand {
                request_id: String::new(),
                code: "platform_error".to_owned(),
                message: "upgraded".to_owned(),
                retry_after: None,
                migrate_to: Some(to.to_owned()),
            }),
        })
    }
}

/// Agents whose files let these people decide.
#[derive(Debug, Clone, Default)]
pub(super) struct ModelHost(pub(super) AccessSpec);

impl GatewayHost for ModelHost {
    fn access(&self, _: &AgentName) -> Option<Arc<AccessSpec>> {
        Some(Arc::new(self.0.clone()))
    }

    fn admission(&self, _: &AgentName, _: &GatewaySender) -> Result<Option<AdmittedAs>, String> {
        Ok(None)
    }

    fn admit(
        &self,
        _: &AgentName,
        _: &GatewaySender,
        _: &str,
        _: AdmittedAs,
    ) -> Result<(), String> {
        Ok(())
    }
}

/// A gateway `tele` with an engine behind it and a platform before it.
pub(super) struct Desk {
    pub(super) sender: LaneSender,
    pub(super) lanes: Arc<LaneStore>,
    pub(super) bench: Arc<Bench>,
    pub(super) platform: ModelPlatform,
    pub(super) documents: SimDocuments,
    pub(super) clock: Arc<FakeClock>,
    pub(super) handle: SenderHandle,
    pub(super) host: ModelHost,
    pub(super) health: GatewayHealth,
    time: Arc<Mutex<Instant>>,
    relay: Arc<Relay>,
    _stop: StopSource,
}

/// The engine knows one listener for its life, a test several senders.
#[derive(Debug, Default)]
pub(super) struct Relay(Mutex<Option<ChatNews>>);

impl crate::engine::ChatListener for Relay {
    fn is_new(&self, gateway: &str, session: &SessionId) {
        if let Some(news) = &*lock(&self.0) {
            news.is_new(gateway, session);
        }
    }
}

impl Desk {
    pub(super) fn new() -> Desk {
        Desk::with(Bench::new(), ModelHost::default())
    }

    pub(super) fn with(bench: Bench, host: ModelHost) -> Desk {
        let relay = Arc::new(Relay::default());
        bench
            .sessions
            .set_chat_listener(Arc::clone(&relay) as Arc<_>);
        let clock = FakeClock::at(noon());
        let parts = DeskParts {
            bench: Arc::new(bench),
            platform: ModelPlatform::new(),
            documents: SimDocuments::new(),
            clock: Arc::new(clock),
            host,
            time: Arc::new(Mutex::new(Instant::now())),
            relay,
        };
        Desk::of(parts)
    }

    fn of(parts: DeskParts) -> Desk {
        let gateway = GatewayName::parse("tele").unwrap();
        let (handle, inbox): (SenderHandle, SenderInbox) = sender_channel();
        let lanes = Arc::new(LaneStore::new(
            gateway,
            Arc::new(parts.documents.clone()),
            Arc::clone(&parts.clock) as Arc<_>,
            handle.clone(),
        ));
        *lock(&parts.relay.0) = Some(ChatNews::new([("tele".to_owned(), handle.clone())]));
        let (stop_source, stop) = stop::pair();
        let health = GatewayHealth::default();
        let time = Arc::clone(&parts.time);
        let sender = LaneSender::new(
            SenderParts {
                lanes: Arc::clone(&lanes),
                chat_names: Arc::new(ChatNames::new(Arc::new(SimDocuments::new()))),
                outlet: parts.platform.outlet(),
                sessions: parts.bench.sessions.clone(),
                host: Arc::new(parts.host.clone()),
                news: handle.clone(),
                inbox,
                health: health.clone(),
                stop,
            },
            Box::new(move || *lock(&time)),
        );
        Desk {
            sender: sender.unwrap(),
            lanes,
            bench: parts.bench,
            platform: parts.platform,
            documents: parts.documents,
            clock: parts.clock,
            handle,
            host: parts.host,
            health,
            time: parts.time,
            relay: parts.relay,
            _stop: stop_source,
        }
    }

    /// The sender is gone, and another one begins with what is on disk.
    pub(super) fn restart(self) -> Desk {
        let mut desk = Desk::of(DeskParts {
            bench: self.bench,
            platform: self.platform,
            documents: self.documents,
            clock: self.clock,
            host: self.host,
            time: self.time,
            relay: self.relay,
        });
        desk.sender.look_at_everything();
        desk
    }

    /// A new session of a chat, which the outbox knows.
    pub(super) fn session(&self, chat: &Chat) -> SessionId {
        let draft = SessionDraft {
            chat: Some(chat.clone()),
            ..SessionDraft::new("ada", Principal::Owner)
        };
        let id = self.bench.sessions.create(&draft).unwrap().id;
        self.lanes.open_session(chat, &id, Seq(1)).unwrap();
        id
    }

    /// Somebody says something in a chat, by the message `message_id`.
    pub(super) fn say(&self, session: &SessionId, text: &str, message_id: &str) {
        let message = NewMessage {
            gateway_message_id: Some(message_id.to_owned()),
            detached: true,
            ..NewMessage::new(Principal::Owner, MessageText::parse(text).unwrap())
        };
        self.bench.sessions.submit(session, message).unwrap();
    }

    /// Lets the sender work until something is so; time goes by where the sender waits for it.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Desk) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let due = self.sender.work();
            if is_so(self) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: {:#?}",
                self.platform.state()
            );
            let news = self.sender.hear_within(Duration::from_millis(5));
            if let Some(due) = due.filter(|_| !news) {
                let mut now = lock(&self.time);
                *now = (*now).max(due);
            }
        }
    }

    /// The same until nothing is left to do.
    pub(super) fn until_idle(&mut self) {
        self.until("idle", |desk| {
            desk.sender.is_idle() && !desk.bench.sessions.is_working()
        });
    }

    /// Lets so much time go by, in which the sender does what is due; how often it woke for that.
    pub(super) fn work_for(&mut self, time: Duration) -> usize {
        /// A sender that is never done does not sleep.
        const WAKES_MAX: usize = 10_000;
        let end = *lock(&self.time) + time;
        let mut wakes = 0;
        while let Some(due) = self.sender.work().filter(|due| *due <= end) {
            wakes += 1;
            assert!(wakes < WAKES_MAX, "it is woken again and again");
            let mut now = lock(&self.time);
            *now = (*now).max(due);
        }
        *lock(&self.time) = end;
        self.sender.work();
        wakes
    }

    /// Nothing can be read or written so many times from now on.
    pub(super) fn documents_fail(&self, times: u64) {
        let done = self.documents.operations();
        for operation in done + 1..=done + times {
            self.documents.fail_at(operation, SimFault::Refused);
        }
    }

    /// The documents of all lanes, by the last part of their names.
    pub(super) fn names(&self) -> BTreeMap<String, usize> {
        let mut names = BTreeMap::new();
        for id in self.lanes.ids().unwrap() {
            for name in self.lanes.all_names(&id) {
                let kind = name.split(['-', '.']).next().unwrap_or_default();
                *names.entry(kind.to_owned()).or_default() += 1;
            }
        }
        names
    }
}

struct DeskParts {
    bench: Arc<Bench>,
    platform: ModelPlatform,
    documents: SimDocuments,
    clock: Arc<FakeClock>,
    host: ModelHost,
    time: Arc<Mutex<Instant>>,
    relay: Arc<Relay>,
}

pub(super) fn chat(id: &str) -> Chat {
    Chat::new("tele", id)
}
