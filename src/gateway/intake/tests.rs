use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::*;
use crate::base::clock::FakeClock;
use crate::domain::access::{Activation, BufferMode, DmPolicy, GroupPolicy, IdPattern, QueueMode};
use crate::domain::event::{Decision, Event};
use crate::domain::ids::{CallId, Seq, SessionId};
use crate::engine::ListQuery;
use crate::engine::testing::{Bench, reply, says};
use crate::gateway::delivery::{Outbox, OutboxError, SenderInbox, sender_channel};
use crate::gateway::incoming::{FetchError, FileSource};
use crate::gateway::protocol::ChatSender;
use crate::store::sim_documents::{SimDocuments, SimFault};

/// What was said to chats beside any log, and the buttons that they have.
#[derive(Debug, Default)]
struct Notepad {
    said: Mutex<Vec<(Chat, Announcement)>>,
    shown: Mutex<Vec<(SessionId, Seq)>>,
    button: Mutex<Option<PressedButton>>,
    /// So often what is shown cannot be noted.
    refusals: Mutex<u32>,
}

impl Outbox for Notepad {
    fn open_session(&self, _: &Chat, session: &SessionId, from: Seq) -> Result<(), OutboxError> {
        let mut refusals = lock(&self.refusals);
        if *refusals > 0 {
            *refusals -= 1;
            let busy = DocumentError::Busy("lane.json".to_owned());
            return Err(OutboxError::Document(busy));
        }
        lock(&self.shown).push((session.clone(), from));
        Ok(())
    }

    fn post(&self, chat: &Chat, announcement: Announcement) -> Result<(), OutboxError> {
        lock(&self.said).push((chat.clone(), announcement));
        Ok(())
    }

    fn question(
        &self,
        _: &Chat,
        message_id: &str,
        data: &str,
    ) -> Result<Option<PressedButton>, OutboxError> {
        let is_it = message_id == "100" && data == "handle";
        Ok(lock(&self.button).clone().filter(|_| is_it))
    }

    fn has_asked(
        &self,
        _: &Chat,
        session: &SessionId,
        call_id: &CallId,
    ) -> Result<bool, OutboxError> {
        let button = lock(&self.button);
        let mut asked = button.iter();
        Ok(asked.any(|one| one.session == *session && one.call_id == *call_id))
    }
}

/// The files and the owner of a test.
#[derive(Default)]
struct Files {
    access: Mutex<AccessSpec>,
    admitted: Mutex<HashMap<GatewaySender, AdmittedAs>>,
    /// Whom the owner admitted cannot be read.
    is_unreadable: Mutex<bool>,
}

impl GatewayHost for Files {
    fn access(&self, agent: &AgentName) -> Option<Arc<AccessSpec>> {
        (agent.as_str() == "ada").then(|| Arc::new(lock(&self.access).clone()))
    }

    fn admission(
        &self,
        _: &AgentName,
        sender: &GatewaySender,
    ) -> Result<Option<AdmittedAs>, String> {
        match *lock(&self.is_unreadable) {
            true => Err("too many open files".to_owned()),
            false => Ok(lock(&self.admitted).get(sender).copied()),
        }
    }

    fn admit(
        &self,
        _: &AgentName,
        sender: &GatewaySender,
        _: &str,
        admitted_as: AdmittedAs,
    ) -> Result<(), String> {
        lock(&self.admitted).insert(sender.clone(), admitted_as);
        Ok(())
    }
}

struct Hall {
    bench: Bench,
    intake: Intake,
    notepad: Arc<Notepad>,
    files: Arc<Files>,
    documents: SimDocuments,
    news: SenderInbox,
    clock: Arc<FakeClock>,
    gateway: GatewayName,
}

impl Hall {
    fn new(change: impl FnOnce(&mut AccessSpec)) -> Hall {
        Hall::on(Bench::new(), change)
    }

    fn on(bench: Bench, change: impl FnOnce(&mut AccessSpec)) -> Hall {
        let notepad = Arc::new(Notepad::default());
        let files = Arc::new(Files::default());
        change(&mut lock(&files.access));
        let documents = SimDocuments::new();
        let (sender, news) = sender_channel();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        let clock = Arc::new(FakeClock::at(start));
        let gateway = GatewayName::parse("irc").unwrap();
        let way = WayOut {
            outbox: Arc::clone(&notepad) as _,
            sender,
        };
        let route = ChatRoute {
            conditions: [("channel".to_owned(), "net".to_owned())].into(),
            agent: AgentName::parse("ada").unwrap(),
        };
        let gone = ChatRoute {
            conditions: [("channel".to_owned(), "gone".to_owned())].into(),
            agent: AgentName::parse("bob").unwrap(),
        };
        let settings = GatewaySettings {
            routes: vec![route, gone],
            ..GatewaySettings::default()
        };
        let intake = Intake::new(
            &settings,
            IntakeParts {
                sessions: bench.sessions.clone(),
                host: Arc::clone(&files) as _,
                documents: Arc::new(documents.clone()),
                chat_names: Arc::new(ChatNames::new(Arc::new(documents.clone()))),
                clock: Arc::clone(&clock) as _,
                ways: [(gateway.clone(), way)].into(),
            },
        );
        Hall {
            bench,
            intake,
            notepad,
            files,
            documents,
            news,
            clock,
            gateway,
        }
    }

    fn take(&self, message: MessageReceived) -> Result<TakenIn, IntakeError> {
        let inbound = Inbound {
            what: InboundEvent::Message(Box::new(message)),
            key: None,
            files: Vec::new(),
        };
        self.intake.take(&self.gateway, inbound)
    }

    fn brings(&self, message: MessageReceived, files: Vec<InboundFile>) -> TakenIn {
        let inbound = Inbound {
            what: InboundEvent::Message(Box::new(message)),
            key: None,
            files,
        };
        self.intake.take(&self.gateway, inbound).unwrap()
    }

    fn says(&self, message: MessageReceived) -> TakenIn {
        self.take(message).unwrap()
    }

    fn press(&self, sender_id: &str, message_id: &str) -> TakenIn {
        let routing = dm(sender_id, "1", "").routing;
        self.press_with(sender_id, message_id, Some(routing))
    }

    fn press_with(
        &self,
        sender_id: &str,
        message_id: &str,
        routing: Option<MessageRouting>,
    ) -> TakenIn {
        let press = CallbackQuery {
            callback_query_id: "q".to_owned(),
            chat_id: "7".to_owned(),
            sender: sender(sender_id),
            message_id: message_id.to_owned(),
            data: "handle".to_owned(),
            routing,
        };
        let inbound = Inbound {
            what: InboundEvent::Press(Box::new(press)),
            key: None,
            files: Vec::new(),
        };
        self.intake.take(&self.gateway, inbound).unwrap()
    }

    /// What was said to chats since this was last asked.
    fn said(&self) -> Vec<String> {
        let said = std::mem::take(&mut *lock(&self.notepad.said));
        said.into_iter().map(|(_, one)| one.markdown).collect()
    }

    /// What pressers were told since this was last asked.
    fn told(&self) -> Vec<String> {
        let news = self.news.news_rx.try_iter();
        let told = news.filter_map(|news| match news {
            SenderNews::Pressed { text, .. } => text,
            _ => None,
        });
        told.collect()
    }

    fn sessions(&self) -> Vec<SessionId> {
        let query = ListQuery {
            limit: 100,
            ..ListQuery::default()
        };
        let page = self.bench.sessions.list(&query).unwrap();
        let mut found: Vec<_> = page.sessions.into_iter().map(|one| one.id).collect();
        found.sort();
        found
    }

    /// What stands in the logs, without what the model did: `text` of people, `(text)` of talk that is
    /// shown, `[text]` of talk that is not.
    fn heard(&self) -> Vec<String> {
        let events = self.sessions().into_iter().flat_map(|id| {
            let records = self.bench.sessions.events(&id, Seq(1), 1_000).unwrap();
            records.into_iter().map(|record| record.event)
        });
        let told = |text: &str, name: &Option<String>| match name {
            Some(name) => format!("{name}: {text}"),
            None => text.to_owned(),
        };
        let heard = events.filter_map(|event| match event {
            Event::UserMessage(one) if one.passive => {
                Some(format!("({})", told(&one.content, &one.sender_name)))
            }
            Event::UserMessage(one) => Some(told(&one.content, &one.sender_name)),
            Event::SilentMessage {
                content,
                sender_name,
                ..
            } => Some(format!("[{}]", told(&content, &sender_name))),
            _ => None,
        });
        heard.collect()
    }

    /// Waits until so many events of that kind stand in the logs.
    fn wait(&self, count: usize, is_it: impl Fn(&Event) -> bool) -> Vec<Event> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let events = self.sessions().into_iter().flat_map(|id| {
                let records = self.bench.sessions.events(&id, Seq(1), 1_000).unwrap();
                records.into_iter().map(|record| record.event)
            });
            let found: Vec<Event> = events.filter(|event| is_it(event)).collect();
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < deadline, "{found:?}");
            std::thread::yield_now();
        }
    }

    fn wait_for_turns(&self, count: usize) {
        self.wait(count, |event| matches!(event, Event::TurnEnded { .. }));
    }

    /// A session in which ada asks a person, on behalf of 42; the question's button is there.
    fn ask(&self) -> SessionId {
        self.ask_by(dm("42", "1", "what day is it?"))
    }

    fn ask_by(&self, message: MessageReceived) -> SessionId {
        self.bench.model.then(|_, _| Ok(reply(&["c1"])));
        self.says(message);
        let asked = self.wait(1, |event| matches!(event, Event::ApprovalRequired { .. }));
        let Event::ApprovalRequired { call_id, .. } = &asked[0] else {
            panic!("nothing is asked");
        };
        let session = self.sessions().remove(0);
        *lock(&self.notepad.button) = Some(PressedButton {
            session: session.clone(),
            call_id: call_id.clone(),
            decision: Decision::AllowOnce,
        });
        session
    }

    fn decisions(&self) -> Vec<Event> {
        self.wait(0, |event| matches!(event, Event::ApprovalDecision { .. }))
    }
}

fn sender(id: &str) -> ChatSender {
    let name = match id {
        "42" => "Ann",
        "43" => "Bob",
        other => other,
    };
    ChatSender {
        id: id.to_owned(),
        username: None,
        display_name: Some(name.to_owned()),
        is_bot: id.starts_with("bot"),
    }
}

/// A text in the chat of two `7`.
fn dm(sender_id: &str, message_id: &str, text: &str) -> MessageReceived {
    let event = json!({
        "message_id": message_id,
        "chat_id": "7",
        "sender": sender(sender_id),
        "content": {"type": "text", "text": text},
        "routing": {"channel": "net", "chat_type": "dm", "chat_id": "7", "sender_id": sender_id},
    });
    serde_json::from_value(event).unwrap()
}

/// A text in the group `-1`.
fn group(sender_id: &str, message_id: &str, text: &str) -> MessageReceived {
    let mut message = dm(sender_id, message_id, text);
    message.chat_id = "-1".to_owned();
    message.routing.chat_id = "-1".to_owned();
    message.routing.chat_type = ChatType::Group;
    message
}

fn meant(message: MessageReceived) -> MessageReceived {
    MessageReceived {
        mentions_bot: true,
        ..message
    }
}

fn edited(message: MessageReceived) -> MessageReceived {
    MessageReceived {
        edited: true,
        ..message
    }
}

fn open(access: &mut AccessSpec) {
    access.dm.policy = DmPolicy::Open;
    access.groups.policy = GroupPolicy::Open;
    access.groups.queue.debounce = None;
}

fn decided_by(approver: &'static str) -> impl Fn(&mut AccessSpec) {
    move |access| {
        open(access);
        access.approvers = vec![IdPattern::parse(approver).unwrap()];
    }
}

#[test]
fn a_message_of_who_may_talk_is_on_disk_and_its_chat_is_shown_the_answer() {
    let hall = Hall::new(open);
    assert_eq!(hall.says(dm("42", "1", "hi")), TakenIn::Stored);
    assert_eq!(hall.says(dm("42", "1", "hi")), TakenIn::Repeated);
    assert_eq!(hall.says(dm("42", "2", "and?")), TakenIn::Stored);
    assert_eq!(hall.heard(), ["hi", "and?"]);
    let session = hall.sessions().remove(0);
    assert_eq!(*lock(&hall.notepad.shown), [(session.clone(), Seq(1))]);
    let view = hall.bench.sessions.show(&session).unwrap();
    assert_eq!(view.summary.chat(), Some(Chat::new("irc", "7")));
    assert_eq!(view.summary.owner, None);
    let said = hall.wait(2, |event| matches!(event, Event::UserMessage(_)));
    let Event::UserMessage(said) = &said[0] else {
        panic!("another event");
    };
    assert_eq!(said.sender_id.as_deref(), Some("42"));
    assert_eq!(said.source_id.as_ref().unwrap().as_str(), "irc:7:1");
    assert_eq!(said.gateway_message_id.as_deref(), Some("1"));
    assert!(said.detached);
    assert_eq!(hall.said(), [""; 0]);
}

#[test]
fn who_may_not_talk_leaves_no_trace() {
    type Change = fn(&mut AccessSpec);
    let cases: [(Change, fn() -> MessageReceived); 7] = [
        (
            |access| access.dm.policy = DmPolicy::Disabled,
            || dm("42", "1", "hi"),
        ),
        (
            |access| access.dm.policy = DmPolicy::Allowlist,
            || dm("42", "1", "/help"),
        ),
        (|_| (), || meant(group("42", "1", "hi"))),
        (|_| (), || group("42", "1", "/stop")),
        (open, || dm("bot7", "1", "hi")),
        (
            |access| {
                open(access);
                access.groups.sender_default = SenderRule::Block;
            },
            || meant(group("42", "1", "hi")),
        ),
        (open, || {
            let mut message = dm("42", "1", "hi");
            // No route is for it, or its agent is not there.
            message.routing.channel = "gone".to_owned();
            message
        }),
    ];
    for (change, message) in cases {
        let hall = Hall::new(change);
        let before = hall.documents.clone();
        assert_eq!(hall.says(message()), TakenIn::Ignored);
        assert_eq!(hall.sessions(), []);
        assert_eq!(hall.said(), [""; 0]);
        let all = before.list(&crate::store::documents::DocumentFolder::default());
        assert_eq!(all.unwrap(), [""; 0]);
    }
}

#[test]
fn a_stranger_is_told_a_code_once_and_talks_when_the_owner_admits_them() {
    let hall = Hall::new(|_| ());
    assert_eq!(hall.says(dm("42", "1", "/start")), TakenIn::Handled);
    let said = hall.said().remove(0);
    let pairings = hall.intake.pairings().unwrap();
    let (gateway, code, pending) = &pairings[0];
    assert_eq!(gateway.as_str(), "irc");
    assert_eq!(
        (pending.sender_id.as_str(), pending.name.as_str()),
        ("42", "Ann")
    );
    assert!(
        said.contains(&format!("`duragent gateway approve {code}`")),
        "{said}"
    );
    for text in ["hello?", "/start"] {
        assert_eq!(hall.says(dm("42", text, text)), TakenIn::Ignored);
    }
    assert_eq!(hall.said(), [""; 0]);
    assert_eq!(hall.sessions(), []);
    let refused = hall.intake.admit("WRONG", AdmittedAs::Chat).unwrap_err();
    assert!(matches!(refused, AdmitError::NoSuchCode(_)));
    let (_, admitted) = hall
        .intake
        .admit(&code.to_lowercase(), AdmittedAs::Chat)
        .unwrap();
    assert_eq!(admitted.agent.as_str(), "ada");
    assert_eq!(hall.said(), [wording::ADMITTED]);
    assert_eq!(hall.intake.pairings().unwrap().len(), 0);
    assert_eq!(hall.says(dm("42", "9", "hello!")), TakenIn::Stored);
    assert_eq!(hall.heard(), ["hello!"]);
    // A day later somebody else gets a code.
    hall.clock.advance(Duration::from_secs(25 * 3600));
    assert_eq!(hall.says(dm("43", "10", "hi")), TakenIn::Handled);
}

#[test]
fn a_reload_counts_at_once() {
    let hall = Hall::new(open);
    assert_eq!(hall.says(dm("42", "1", "hi")), TakenIn::Stored);
    lock(&hall.files.access).dm.policy = DmPolicy::Disabled;
    assert_eq!(hall.says(dm("42", "2", "hi")), TakenIn::Ignored);
    assert_eq!(hall.heard(), ["hi"]);
}

#[test]
fn in_a_group_what_is_meant_is_answered_and_the_rest_is_talk() {
    for (mode, talk) in [
        (BufferMode::Silent, "[Bob: rain]"),
        (BufferMode::Passive, "(Bob: rain)"),
    ] {
        let hall = Hall::new(|access| {
            open(access);
            access.groups.context_buffer.mode = mode;
            let rule = |id: &str, rule| (IdPattern::parse(id).unwrap(), rule);
            access.groups.sender_overrides = vec![
                rule("44", SenderRule::Block),
                rule("45", SenderRule::Silent),
                rule("46", SenderRule::Passive),
            ];
        });
        hall.says(group("43", "1", "rain"));
        hall.says(meant(group("44", "2", "snow")));
        hall.says(meant(group("45", "3", "hail")));
        hall.says(meant(group("46", "4", "fog")));
        hall.says(meant(group("42", "5", "weather?")));
        let reply = MessageReceived {
            reply_to_bot: true,
            ..group("42", "6", "sure?")
        };
        hall.says(reply);
        hall.wait_for_turns(1);
        let expected = [
            talk,
            "[45: hail]",
            "(46: fog)",
            "Ann: weather?",
            "Ann: sure?",
        ];
        assert_eq!(hall.heard(), expected);
    }
}

#[test]
fn each_thread_of_a_chat_is_a_conversation() {
    let hall = Hall::new(open);
    for (message_id, thread) in [
        ("1", Some("5")),
        ("2", Some("6")),
        ("3", None),
        ("4", Some("5")),
    ] {
        let mut message = meant(group("42", message_id, "hi"));
        let more = thread.map(|thread| ("thread_id".to_owned(), thread.to_owned()));
        message.routing.more.extend(more);
        hall.says(message);
    }
    assert_eq!(hall.sessions().len(), 3);
}

#[test]
fn nobody_takes_anothers_name() {
    let hall = Hall::new(|access| {
        open(access);
        access.groups.activation = Activation::Always;
    });
    hall.says(group("42", "1", "hi"));
    let mut mallory = group("66", "2", "me too");
    mallory.sender.display_name = Some("ANN".to_owned());
    hall.says(mallory);
    hall.says(group("42", "3", "no"));
    assert_eq!(hall.heard(), ["Ann: hi", "ANN [66]: me too", "Ann: no"]);
}

#[test]
fn commands_are_for_the_program_and_only_when_somebody_has_just_written_them() {
    let hall = Hall::new(open);
    for (text, expected) in [
        ("/start", wording::GREETING),
        ("/help", chat_command::HELP),
        ("/stop", "There is nothing to stop."),
        (
            "/reset",
            "There is no conversation to end. Your next message begins one.",
        ),
        ("/approve", "No question is open."),
    ] {
        assert_eq!(hall.says(dm("42", text, text)), TakenIn::Handled);
        assert_eq!(hall.said(), [expected]);
    }
    assert_eq!(hall.sessions(), []);
    hall.says(dm("42", "1", "/start order-7"));
    hall.says(edited(dm("42", "x", "/reset")));
    let forwarded = MessageReceived {
        forwarded_from: Some("Bob".to_owned()),
        ..dm("42", "2", "/reset")
    };
    hall.says(forwarded);
    let mut caption = dm("42", "3", "");
    caption.content = serde_json::from_value(json!({
        "type": "media", "media_type": "photo", "url": "https://x/1", "caption": "/reset"
    }))
    .unwrap();
    hall.says(caption);
    assert_eq!(hall.said(), [""; 0]);
    let expected = [
        "order-7",
        "forwarded from Bob\n/reset",
        "/reset\n[photo: https://x/1]",
    ];
    assert_eq!(hall.heard(), expected);
    hall.wait_for_turns(1);
    hall.says(dm("42", "4", "/status"));
    assert!(hall.said()[0].starts_with("I am `ada`."));
    assert_eq!(hall.says(dm("42", "5", "/reset")), TakenIn::Ended);
    assert_eq!(hall.said().len(), 1);
    assert_eq!(hall.says(dm("42", "5", "/reset")), TakenIn::Repeated);
    assert_eq!(hall.says(dm("42", "6", "again")), TakenIn::Stored);
    assert_eq!(hall.sessions().len(), 2);
}

#[test]
fn a_command_that_comes_again_does_not_do_then_what_it_did_not_do_before() {
    let hall = Hall::new(open);
    let (go_tx, go_rx) = crossbeam_channel::bounded::<()>(0);
    hall.says(dm("42", "1", "hi"));
    hall.wait_for_turns(1);
    assert_eq!(hall.says(dm("42", "2", "/stop")), TakenIn::Handled);
    hall.bench.model.then(move |_, sink| {
        go_rx.recv().ok();
        says(sink, "ok")
    });
    hall.says(dm("42", "3", "and now?"));
    assert_eq!(hall.says(dm("42", "2", "/stop")), TakenIn::Repeated);
    drop(go_tx);
    hall.wait_for_turns(2);
    assert_eq!(hall.heard(), ["hi", "[/stop]", "and now?"]);
    assert_eq!(hall.says(dm("42", "4", "/deny")), TakenIn::Handled);
    assert_eq!(hall.says(dm("42", "4", "/deny")), TakenIn::Repeated);
}

#[test]
fn a_command_for_another_bot_is_talk() {
    let hall = Hall::new(|access| {
        open(access);
        access.groups.activation = Activation::Always;
    });
    let named = |text: &str, message_id: &str| MessageReceived {
        metadata: Some(json!({"bot_username": "ada_bot"})),
        ..group("42", message_id, text)
    };
    assert_eq!(hall.says(named("/stop@other_bot", "1")), TakenIn::Stored);
    assert_eq!(hall.heard(), ["[Ann: /stop@other_bot]"]);
    hall.says(named("/stop@ada_bot", "2"));
    assert_eq!(hall.said(), ["There is nothing to stop."]);
}

#[test]
fn what_cannot_be_read_is_answered_with_a_sentence_where_an_answer_is_due() {
    let hall = Hall::new(open);
    for content in [
        json!({"type": "location", "latitude": 1.0, "longitude": 2.0}),
        json!({"type": "contact", "name": "Bob", "phone": 1}),
        json!({"type": "unknown", "raw": {}}),
        json!({"type": "text", "text": " \n"}),
    ] {
        let content: MessageContent = serde_json::from_value(content).unwrap();
        let with = |message: MessageReceived| MessageReceived {
            content: content.clone(),
            ..message
        };
        assert_eq!(hall.says(with(dm("42", "1", ""))), TakenIn::Handled);
        assert_eq!(hall.said(), [wording::UNREADABLE]);
        assert_eq!(hall.says(with(group("42", "1", ""))), TakenIn::Ignored);
        assert_eq!(hall.said(), [""; 0]);
    }
    assert_eq!(hall.sessions(), []);
}

#[test]
fn an_edit_replaces_what_was_not_read_yet_and_is_told_of_later() {
    let hall = Hall::new(open);
    let (go_tx, go_rx) = crossbeam_channel::bounded::<()>(0);
    let (began_tx, began_rx) = crossbeam_channel::bounded::<()>(1);
    hall.bench.model.then(move |_, sink| {
        began_tx.send(()).ok();
        go_rx.recv().ok();
        says(sink, "ok")
    });
    hall.says(dm("42", "1", "first"));
    began_rx.recv_timeout(Duration::from_secs(20)).unwrap();
    hall.says(dm("42", "2", "secnd"));
    assert_eq!(hall.says(edited(dm("42", "2", "second"))), TakenIn::Stored);
    assert_eq!(
        hall.says(edited(dm("42", "2", "second"))),
        TakenIn::Repeated
    );
    hall.wait(1, |event| matches!(event, Event::MessageDropped { .. }));
    assert_eq!(hall.says(edited(dm("42", "1", "First"))), TakenIn::Stored);
    assert_eq!(
        hall.says(edited(dm("42", "9", "never said"))),
        TakenIn::Ignored
    );
    // Nobody writes anothers' words anew.
    assert_eq!(hall.says(edited(dm("43", "1", "forged"))), TakenIn::Ignored);
    drop(go_tx);
    hall.wait_for_turns(1);
    assert_eq!(
        hall.heard(),
        ["first", "secnd", "second", "(edited: First)"]
    );
}

#[test]
fn other_programs_are_answered_three_times_before_a_person_says_something() {
    let hall = Hall::new(|access| {
        open(access);
        access.groups.bots = BotRule::Allow;
    });
    let bot = |message_id: &str| meant(group("bot7", message_id, message_id));
    for message_id in ["1", "2", "3", "4"] {
        hall.says(bot(message_id));
    }
    hall.says(group("42", "5", "hm"));
    // What comes again until it can be taken in was answered once.
    *lock(&hall.notepad.refusals) = 3;
    lock(&hall.intake.desk.shown).clear();
    for _ in 0..3 {
        hall.take(bot("6")).unwrap_err();
    }
    hall.says(bot("6"));
    let expected = [
        "bot7: 1",
        "bot7: 2",
        "bot7: 3",
        "[bot7: 4]",
        "[Ann: hm]",
        "bot7: 6",
    ];
    assert_eq!(hall.heard(), expected);
}

#[test]
fn an_approver_decides_by_a_button_once() {
    let hall = Hall::on(Bench::asking(), decided_by("irc:42"));
    hall.ask();
    assert_eq!(hall.press("43", "100"), TakenIn::Ignored);
    assert_eq!(hall.press("42", "101"), TakenIn::Handled);
    assert_eq!(hall.decisions(), []);
    assert_eq!(
        hall.told(),
        [
            "Only those whom the owner named may decide this.",
            "This question is not open any more."
        ]
    );
    assert_eq!(hall.press("42", "100"), TakenIn::Stored);
    let decided = hall.decisions();
    assert_eq!(decided.len(), 1);
    let Event::ApprovalDecision { by, source_id, .. } = &decided[0] else {
        panic!("another event");
    };
    assert_eq!(by.as_deref(), Some("sender:irc:42"));
    assert_eq!(source_id.as_ref().unwrap().as_str(), "irc:7:press:q");
    hall.wait_for_turns(1);
    assert_eq!(hall.press("42", "100"), TakenIn::Handled);
    assert_eq!(
        hall.told(),
        ["Allowed once", "This question is not open any more."]
    );
    assert_eq!(hall.decisions().len(), 1);
}

#[test]
fn a_press_of_who_may_not_talk_any_more_decides_nothing() {
    let hall = Hall::on(Bench::asking(), decided_by("42"));
    hall.ask();
    lock(&hall.files.access).dm.policy = DmPolicy::Disabled;
    assert_eq!(hall.press("42", "100"), TakenIn::Handled);
    assert_eq!(hall.decisions(), []);
}

#[test]
fn a_press_that_tells_nothing_of_its_chat_obeys_the_rules_of_the_sessions() {
    type Change = fn(&mut AccessSpec);
    let in_group = || meant(group("42", "1", "what day is it?"));
    let in_dm = || dm("42", "1", "what day is it?");
    let allowed = |text: &str| vec![IdPattern::parse(text).unwrap()];
    let list = |access: &mut AccessSpec, text: &str| {
        access.groups.policy = GroupPolicy::Allowlist;
        access.groups.allowlist = allowed(text);
    };
    type Case = (fn() -> MessageReceived, Change, TakenIn);
    let cases: [Case; 7] = [
        (in_dm, |_| (), TakenIn::Stored),
        (
            in_dm,
            |access| access.dm.policy = DmPolicy::Disabled,
            TakenIn::Handled,
        ),
        (
            in_dm,
            |access| access.groups.policy = GroupPolicy::Disabled,
            TakenIn::Stored,
        ),
        (
            in_group,
            |access| access.dm.policy = DmPolicy::Disabled,
            TakenIn::Stored,
        ),
        (
            in_group,
            |access| access.groups.policy = GroupPolicy::Disabled,
            TakenIn::Handled,
        ),
        (
            in_group,
            |access| access.groups.sender_default = SenderRule::Passive,
            TakenIn::Handled,
        ),
        (in_group, |_| (), TakenIn::Stored),
    ];
    for (message, change, expected) in cases {
        let hall = Hall::on(Bench::asking(), decided_by("42"));
        hall.ask_by(message());
        change(&mut lock(&hall.files.access));
        let pressed = hall.press_with("42", "100", None);
        assert_eq!(pressed, expected, "{:?}", message().routing);
        let decided = usize::from(expected == TakenIn::Stored);
        assert_eq!(hall.decisions().len(), decided);
    }
    for (pattern, expected) in [
        ("net:7", TakenIn::Stored),
        ("net:*", TakenIn::Stored),
        ("net:8", TakenIn::Handled),
    ] {
        let hall = Hall::on(Bench::asking(), decided_by("42"));
        let mut message = in_group();
        message.chat_id = "7".to_owned();
        message.routing.chat_id = "7".to_owned();
        hall.ask_by(message);
        list(&mut lock(&hall.files.access), pattern);
        assert_eq!(hall.press_with("42", "100", None), expected, "{pattern}");
    }
}

#[test]
fn questions_are_answered_by_commands_of_those_who_may_and_not_in_edits() {
    let hall = Hall::on(Bench::asking(), decided_by("42"));
    hall.ask();
    hall.says(dm("43", "2", "/approve"));
    let unverified = MessageReceived {
        metadata: Some(json!({"verified": false})),
        ..dm("42", "3", "/approve")
    };
    hall.says(unverified);
    hall.says(edited(dm("42", "1", "/approve")));
    hall.says(dm("42", "4", "/approve of it"));
    assert_eq!(hall.decisions(), []);
    assert_eq!(hall.said().len(), 3);
    assert_eq!(hall.says(dm("42", "5", "/deny")), TakenIn::Stored);
    let decided = hall.decisions();
    assert!(
        matches!(
            &decided[0],
            Event::ApprovalDecision {
                decision: Decision::Deny,
                ..
            }
        ),
        "{decided:?}"
    );
    assert_eq!(hall.says(dm("42", "5", "/deny")), TakenIn::Repeated);
}

#[test]
fn a_command_answers_no_question_that_the_chat_was_not_asked() {
    let hall = Hall::on(Bench::asking(), decided_by("42"));
    hall.ask();
    let asked = lock(&hall.notepad.button).clone().unwrap();
    // Somebody answered that one elsewhere, and another is open by now.
    let before = PressedButton {
        call_id: CallId::parse("c0").unwrap(),
        ..asked.clone()
    };
    *lock(&hall.notepad.button) = Some(before);
    assert_eq!(hall.says(dm("42", "2", "/approve")), TakenIn::Handled);
    assert!(hall.said()[0].starts_with("My question is only on its way"));
    assert_eq!(hall.decisions(), []);
    *lock(&hall.notepad.button) = Some(asked);
    assert_eq!(hall.says(dm("42", "2", "/approve")), TakenIn::Repeated);
    assert_eq!(hall.says(dm("42", "3", "/approve")), TakenIn::Stored);
}

#[test]
fn an_answer_that_cannot_be_stored_keeps_nobody_waiting() {
    let hall = Hall::on(Bench::asking(), decided_by("42"));
    let session = hall.ask();
    hall.bench.make_read_only(&session);
    assert_eq!(hall.press("42", "100"), TakenIn::Handled);
    assert!(hall.told()[0].starts_with("Your answer could not be stored"));
    assert_eq!(hall.says(dm("42", "2", "hello?")), TakenIn::Stored);
    assert_ne!(hall.sessions(), [session]);
}

#[test]
fn nobody_is_taken_for_a_stranger_while_it_cannot_be_known() {
    let hall = Hall::new(|_| ());
    let ann = GatewaySender::new("irc", "42");
    lock(&hall.files.admitted).insert(ann, AdmittedAs::Chat);
    *lock(&hall.files.is_unreadable) = true;
    let later = hall.take(dm("42", "1", "hi"));
    assert!(matches!(later, Err(IntakeError::Later(_))), "{later:?}");
    assert_eq!(hall.said(), [""; 0]);
    *lock(&hall.files.is_unreadable) = false;
    assert_eq!(hall.says(dm("42", "1", "hi")), TakenIn::Stored);
}

#[test]
fn who_asked_decides_where_the_agent_says_so() {
    let hall = Hall::on(Bench::asking(), open);
    hall.ask();
    assert_eq!(hall.press("42", "100"), TakenIn::Ignored);
    lock(&hall.files.access).requester_approves = true;
    assert_eq!(hall.press("43", "100"), TakenIn::Ignored);
    assert_eq!(hall.press("42", "100"), TakenIn::Stored);
}

#[test]
fn whom_the_owner_admitted_as_an_approver_decides() {
    let hall = Hall::on(Bench::asking(), open);
    hall.ask();
    let ann = GatewaySender::new("irc", "42");
    lock(&hall.files.admitted).insert(ann.clone(), AdmittedAs::Chat);
    assert_eq!(hall.press("42", "100"), TakenIn::Ignored);
    lock(&hall.files.admitted).insert(ann, AdmittedAs::Approver);
    assert_eq!(hall.press("42", "100"), TakenIn::Stored);
}

#[test]
fn a_group_that_moves_keeps_its_session_and_its_place_on_lists() {
    let hall = Hall::new(|access| {
        open(access);
        access.groups.policy = GroupPolicy::Allowlist;
        access.groups.allowlist = vec![IdPattern::parse("net:-1").unwrap()];
    });
    hall.says(meant(group("42", "1", "before")));
    let moved = || Inbound {
        what: InboundEvent::Migrated {
            from: "-1".to_owned(),
            to: "-1001".to_owned(),
        },
        key: None,
        files: Vec::new(),
    };
    for _ in 0..2 {
        hall.intake.take(&hall.gateway, moved()).unwrap();
    }
    let mut after = meant(group("42", "2", "after"));
    after.chat_id = "-1001".to_owned();
    after.routing.chat_id = "-1001".to_owned();
    assert_eq!(hall.says(after), TakenIn::Stored);
    assert_eq!(hall.sessions().len(), 1);
    assert_eq!(hall.heard(), ["Ann: before", "Ann: after"]);
}

#[test]
fn of_a_group_that_nothing_speaks_of_it_is_not_kept_that_it_moved() {
    let hall = Hall::new(|access| {
        access.groups.policy = GroupPolicy::Allowlist;
        let lists = ["net:-1", "net:-2*", "net:*"].map(|text| IdPattern::parse(text).unwrap());
        access.groups.allowlist = lists.to_vec();
    });
    let moved = |from: &str| Inbound {
        what: InboundEvent::Migrated {
            from: from.to_owned(),
            to: format!("{from}00"),
        },
        key: None,
        files: Vec::new(),
    };
    for (from, is_kept) in [("-3", false), ("-10", false), ("-1", true), ("-25", true)] {
        let before = hall.documents.writes();
        hall.intake.take(&hall.gateway, moved(from)).unwrap();
        assert_eq!(hall.documents.writes() > before, is_kept, "{from}");
    }
}

#[test]
fn a_quick_succession_of_one_is_one_turn() {
    let hall = Hall::new(|access| {
        open(access);
        access.groups.activation = Activation::Always;
        access.groups.queue.mode = QueueMode::Sequential;
        access.groups.queue.debounce = Some(Duration::from_millis(300));
    });
    for (message_id, text) in [("1", "one"), ("2", "two"), ("3", "three")] {
        hall.says(group("42", message_id, text));
    }
    hall.wait_for_turns(1);
    assert_eq!(hall.heard(), ["Ann: one", "Ann: two", "Ann: three"]);
    let turns = hall.wait(1, |event| matches!(event, Event::TurnStarted { .. }));
    assert_eq!(turns.len(), 1);
}

#[test]
fn a_server_that_ends_takes_nothing_in_and_asks_for_it_again() {
    let hall = Hall::new(open);
    hall.bench.sessions.drain();
    assert!(matches!(
        hall.take(dm("42", "1", "hi")),
        Err(IntakeError::Later(_))
    ));
    assert_eq!(hall.sessions(), []);
}

#[test]
fn a_stranger_who_cannot_be_noted_is_told_nothing_and_asks_again() {
    let hall = Hall::new(|_| ());
    hall.documents
        .fail_at(hall.documents.operations() + 3, SimFault::Refused);
    assert!(matches!(
        hall.take(dm("42", "1", "hi")),
        Err(IntakeError::Later(_))
    ));
    assert_eq!(hall.said(), [""; 0]);
    assert_eq!(hall.says(dm("42", "1", "hi")), TakenIn::Handled);
    assert_eq!(hall.said().len(), 1);
}

/// A file of a platform, which tells whether it was fetched.
struct Sent {
    bytes: Result<&'static [u8], FetchError>,
    fetched: Arc<Mutex<usize>>,
}

impl FileSource for Sent {
    fn fetch(&mut self, _: usize) -> Result<Vec<u8>, FetchError> {
        *lock(&self.fetched) += 1;
        self.bytes.clone().map(<[u8]>::to_vec)
    }
}

fn file(bytes: Result<&'static [u8], FetchError>, fetched: &Arc<Mutex<usize>>) -> InboundFile {
    InboundFile {
        name: Some("../a.png".to_owned()),
        mime: "image/png".to_owned(),
        is_voice: false,
        source: Box::new(Sent {
            bytes,
            fetched: Arc::clone(fetched),
        }),
    }
}

fn captioned(message: MessageReceived, caption: &str) -> MessageReceived {
    let content = json!({"type": "media", "media_type": "photo", "caption": caption});
    MessageReceived {
        content: serde_json::from_value(content).unwrap(),
        ..message
    }
}

#[test]
fn files_of_a_message_are_in_its_session_before_it_is() {
    let hall = Hall::new(open);
    let fetched = Arc::default();
    let files = || vec![file(Ok(b"one"), &fetched), file(Ok(b"two"), &fetched)];
    hall.brings(captioned(dm("42", "1", ""), "look"), files());
    hall.brings(captioned(dm("42", "2", ""), ""), files());
    let said = hall.wait(2, |event| matches!(event, Event::UserMessage(_)));
    let session = hall.sessions().remove(0);
    for (said, content) in said.iter().zip(["look", ""]) {
        let Event::UserMessage(said) = said else {
            panic!("another event");
        };
        assert_eq!(said.content, content);
        let names = said.attachments.iter().map(|one| one.name.as_deref());
        assert_eq!(names.collect::<Vec<_>>(), [Some("a.png"); 2]);
        assert_eq!(said.attachments[1].bytes, 3);
        assert_eq!(said.attachments[1].mime, "image/png");
    }
    assert_eq!(hall.sessions(), [session]);
}

#[test]
fn a_file_that_does_not_come_is_told_and_its_caption_kept() {
    let hall = Hall::new(open);
    let fetched = Arc::default();
    let failing = || vec![file(Err(FetchError::TooLarge), &fetched)];
    hall.brings(captioned(dm("42", "1", ""), "my film"), failing());
    assert_eq!(
        hall.heard(),
        ["my film\n[a file, ../a.png, is not here: the file is too large]"]
    );
    assert_eq!(
        hall.brings(captioned(dm("42", "2", ""), ""), failing()),
        TakenIn::Handled
    );
    assert_eq!(
        hall.said(),
        ["I cannot read that: a file, ../a.png, is not here: the file is too large."]
    );
}

#[test]
fn nothing_is_fetched_that_nobody_is_to_see() {
    let hall = Hall::new(open);
    let fetched = Arc::default();
    let files = || vec![file(Ok(b"one"), &fetched)];
    hall.brings(captioned(group("42", "1", ""), "look"), files());
    lock(&hall.files.access).dm.policy = DmPolicy::Pairing;
    hall.brings(captioned(dm("43", "2", ""), "look"), files());
    let voice = InboundFile {
        is_voice: true,
        ..file(Ok(b"ogg"), &fetched)
    };
    lock(&hall.files.access).dm.policy = DmPolicy::Open;
    hall.said();
    assert_eq!(
        hall.brings(captioned(dm("42", "3", ""), ""), vec![voice]),
        TakenIn::Handled
    );
    assert_eq!(hall.said(), [wording::UNREADABLE]);
    assert_eq!(*lock(&fetched), 0);
    assert_eq!(
        hall.heard(),
        ["[Ann: look\n[a file, ../a.png, is not here: it was not taken]]"]
    );
}
