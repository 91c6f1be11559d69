//! The parts of the Telegram gateway by themselves: what is sent at Telegram for each command, how it is told what
//! came of it, and how the thread that polls fetches and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use duragent::domain::ids::GatewayName;
use duragent::domain::secret::Secret;
use duragent::gateway::health::GatewayHealth;
use duragent::gateway::incoming::{FetchError, Inbound, InboundEvent, Inlet, IntakeError, TakenIn};
use duragent::gateway::outlet::{CommandOutcome, Outlet, Performed};
use duragent::gateway::protocol::{
    Button, FailedCommand, GatewayCommand, InlineKeyboard, MediaPayload,
};
use duragent::gateway::settings::TelegramSettings;
use duragent::gateway::telegram::{TelegramBot, TelegramPolling};
use duragent::store::sim_documents::SimDocuments;

use crate::support::bot_api::{FakeTelegram, Person, Trouble};
use crate::support::server::PATIENCE;

fn bot(telegram: &FakeTelegram) -> TelegramBot {
    TelegramBot::new(TelegramSettings {
        name: GatewayName::parse("telegram").unwrap(),
        bot_token: Secret::new(telegram.token()),
        api_url: Some(telegram.url()),
        agent: None,
    })
}

/// Somebody who has written to the bot.
fn ann(telegram: &FakeTelegram) -> Person {
    let ann = telegram.person(42, "Ann");
    telegram.says(&ann, "hi");
    ann
}

fn send(content: &str) -> GatewayCommand {
    GatewayCommand::SendMessage {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        content: content.to_owned(),
        reply_to: None,
        inline_keyboard: None,
        thread_id: None,
    }
}

fn edit(message_id: &str, content: &str) -> GatewayCommand {
    GatewayCommand::EditMessage {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        message_id: message_id.to_owned(),
        content: content.to_owned(),
    }
}

fn outcome(outlet: &mut dyn Outlet, command: &GatewayCommand) -> CommandOutcome {
    match outlet.perform(command, None) {
        Performed::Ended(outcome) => outcome,
        Performed::Waiting => panic!("Telegram answers at once"),
    }
}

/// The id of the message that was sent.
fn done(outlet: &mut dyn Outlet, command: &GatewayCommand) -> Option<String> {
    match outcome(outlet, command) {
        CommandOutcome::Done { message_id } => message_id,
        other => panic!("{command:?}: {other:?}"),
    }
}

fn refused(outlet: &mut dyn Outlet, command: &GatewayCommand) -> FailedCommand {
    match outcome(outlet, command) {
        CommandOutcome::Refused(failed) => failed,
        other => panic!("{command:?}: {other:?}"),
    }
}

#[test]
fn a_message_is_sent_with_its_buttons_changed_and_taken_back() {
    let telegram = FakeTelegram::start();
    let ann = ann(&telegram);
    let mut outlet = bot(&telegram).outlet();
    let outlet = outlet.as_mut();
    let buttons = vec![Button {
        text: "Allow once".to_owned(),
        callback_data: "abcdefghijkl".to_owned(),
    }];
    let question = GatewayCommand::SendMessage {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        content: "<b>may</b> I?".to_owned(),
        reply_to: Some("1".to_owned()),
        inline_keyboard: Some(InlineKeyboard {
            rows: vec![buttons],
        }),
        thread_id: None,
    };
    let id = done(outlet, &question).unwrap();
    let shown = telegram.said_in(ann.id).remove(0);
    assert_eq!(shown.id.to_string(), id);
    assert_eq!((shown.text.as_str(), shown.reply_to), ("may I?", Some(1)));
    assert_eq!(shown.labels(), ["Allow once"]);
    // Nobody knows that message: what is said is said all the same.
    let answer = GatewayCommand::SendMessage {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        content: "yes".to_owned(),
        reply_to: Some("777".to_owned()),
        inline_keyboard: None,
        thread_id: None,
    };
    done(outlet, &answer);
    telegram.advance(Duration::from_secs(10));
    assert_eq!(done(outlet, &edit(&id, "<i>asked</i>")), None);
    assert_eq!(
        done(outlet, &edit(&id, "<i>asked</i>")),
        None,
        "not modified"
    );
    let shown = telegram.said_in(ann.id).remove(0);
    assert_eq!(shown.text, "asked");
    assert!(shown.buttons.is_empty());
    let delete = GatewayCommand::DeleteMessage {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        message_id: id.clone(),
    };
    done(outlet, &delete);
    done(outlet, &delete);
    telegram.advance(Duration::from_secs(10));
    telegram.allow_faults();
    assert_eq!(refused(outlet, &edit(&id, "x")).code, "message_not_found");
    assert_eq!(refused(outlet, &edit("x", "x")).code, "invalid_request");
}

#[test]
fn what_cannot_be_read_is_sent_plain_and_a_topic_that_is_gone_is_left_out() {
    let telegram = FakeTelegram::start();
    telegram.allow_faults();
    let ann = ann(&telegram);
    let mut outlet = bot(&telegram).outlet();
    let outlet = outlet.as_mut();
    let performed = outlet.perform(&send("a <x>b</x> &amp; c"), Some("a b & c"));
    assert!(matches!(
        performed,
        Performed::Ended(CommandOutcome::Done { .. })
    ));
    done(outlet, &send("1 < 2"));
    assert_eq!(telegram.texts_in(ann.id), ["a b & c", "1 < 2"]);
    let (forum, topics) = telegram.forum("Tea", &["green"]);
    telegram.delete_topic(forum, topics[0]);
    let in_topic = GatewayCommand::SendMessage {
        request_id: "r1".to_owned(),
        chat_id: forum.to_string(),
        content: "hi".to_owned(),
        reply_to: None,
        inline_keyboard: None,
        thread_id: Some(topics[0].to_string()),
    };
    done(outlet, &in_topic);
    assert_eq!(telegram.texts_in(forum), ["hi"]);
}

#[test]
fn files_are_sent_from_memory_pictures_as_such() {
    let telegram = FakeTelegram::start();
    let ann = ann(&telegram);
    let mut outlet = bot(&telegram).outlet();
    let outlet = outlet.as_mut();
    let media = |mime: &str, name: &str| GatewayCommand::SendMedia {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        media: MediaPayload::Base64 {
            // Of bytes that are no text.
            data: "AP8NCi0tAA==".to_owned(),
            mime_type: mime.to_owned(),
            filename: Some(name.to_owned()),
        },
        caption: Some("a < b".to_owned()),
        thread_id: None,
    };
    let id = done(outlet, &media("image/png", "tree.png")).unwrap();
    done(outlet, &media("text/plain", "a\"\r\n.txt"));
    telegram.trouble(
        "sendPhoto",
        1,
        Trouble::Refused(400, "Bad Request: PHOTO_INVALID_DIMENSIONS"),
    );
    done(outlet, &media("image/jpeg", "long.jpg"));
    let said = telegram.said_in(ann.id);
    assert_eq!(said[0].id.to_string(), id);
    let files: Vec<_> = said.iter().map(|one| one.file.clone().unwrap()).collect();
    let told: Vec<_> = files
        .iter()
        .map(|file| (&*file.field, &*file.name, &*file.mime))
        .collect();
    let expected = [
        ("photo", "tree.png", "image/png"),
        ("document", "a___.txt", "text/plain"),
        ("document", "long.jpg", "image/jpeg"),
    ];
    assert_eq!(told, expected);
    for file in &files {
        assert_eq!(file.bytes, b"\0\xff\r\n--\0");
    }
    assert_eq!(said[1].text, "a < b");
    let broken = GatewayCommand::SendMedia {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        media: MediaPayload::Base64 {
            data: "?".to_owned(),
            mime_type: "text/plain".to_owned(),
            filename: None,
        },
        caption: None,
        thread_id: None,
    };
    assert_eq!(refused(outlet, &broken).code, "invalid_request");
}

#[test]
fn how_a_command_ended_is_told_as_far_as_it_is_known() {
    let telegram = FakeTelegram::start();
    let ann = ann(&telegram);
    let mut outlet = bot(&telegram).outlet();
    let outlet = outlet.as_mut();
    for trouble in [
        Trouble::LostAnswer,
        Trouble::CutBefore,
        Trouble::HalfAnswer,
        Trouble::BadGateway,
        Trouble::Garbage,
        Trouble::Odd,
    ] {
        telegram.trouble("sendMessage", 1, trouble.clone());
        telegram.advance(Duration::from_secs(10));
        let ended = outcome(outlet, &send("hi"));
        assert_eq!(ended, CommandOutcome::Unanswered, "{trouble:?}");
    }
    telegram.trouble(
        "sendMessage",
        1,
        Trouble::Refused(500, "Internal Server Error"),
    );
    assert_eq!(refused(outlet, &send("hi")).code, "platform_error");
    telegram.trouble("sendMessage", 1, Trouble::Flood(100_000));
    let flood = refused(outlet, &send("hi"));
    assert_eq!(
        (&*flood.code, flood.retry_after),
        ("rate_limited", Some(100_000))
    );
    telegram.advance(Duration::from_secs(200_000));
    telegram.blocks(&ann);
    let blocked = refused(outlet, &send("hi"));
    assert_eq!(blocked.code, "unauthorized");
    assert!(
        blocked.message.contains("blocked by the user"),
        "{}",
        blocked.message
    );
    let group = telegram.group("Tea");
    let supergroup = telegram.migrates_silently(group);
    let to_group = GatewayCommand::SendMessage {
        request_id: "r7".to_owned(),
        chat_id: group.to_string(),
        content: "hi".to_owned(),
        reply_to: None,
        inline_keyboard: None,
        thread_id: None,
    };
    let moved = refused(outlet, &to_group);
    assert_eq!(
        (&*moved.request_id, moved.migrate_to),
        ("r7", Some(supergroup.to_string()))
    );
    let late = GatewayCommand::AnswerCallbackQuery {
        request_id: "r1".to_owned(),
        callback_query_id: "of yesterday".to_owned(),
        text: Some("x".repeat(300)),
    };
    telegram.allow_faults();
    assert_eq!(done(outlet, &late), None);
    let typing = |duration| GatewayCommand::SendTyping {
        chat_id: group.to_string(),
        duration,
        thread_id: None,
    };
    assert_eq!(done(outlet, &typing(0)), None);
    assert!(telegram.calls_of("sendChatAction").is_empty());
    let url = telegram.url();
    drop(telegram);
    let nobody = TelegramBot::new(TelegramSettings {
        name: GatewayName::parse("telegram").unwrap(),
        bot_token: Secret::new("7:x"),
        api_url: Some(url),
        agent: None,
    });
    assert_eq!(
        outcome(nobody.outlet().as_mut(), &send("hi")),
        CommandOutcome::NotSent
    );
}

#[test]
fn a_group_and_a_channel_are_told_from_a_person() {
    let telegram = FakeTelegram::start();
    let outlet = bot(&telegram).outlet();
    for (chat, expected) in [
        ("42", false),
        ("-4000001", true),
        ("-1001000000001", true),
        ("@news", true),
    ] {
        assert_eq!(outlet.is_group(chat), expected, "{chat}");
    }
    assert!(outlet.knows_threads() && outlet.is_ready());
    assert_eq!(outlet.render(" \u{200b}").len(), 1);
}

/// What was fetched of each file that came.
type Fetched = Vec<Result<Vec<u8>, FetchError>>;

/// Fetches all files at once, and tells of them.
#[derive(Debug)]
struct Fetching(Sender<(String, Fetched)>);

impl Inlet for Fetching {
    fn take(&self, _: &GatewayName, incoming: Inbound) -> Result<TakenIn, IntakeError> {
        let InboundEvent::Message(message) = incoming.what else {
            return Ok(TakenIn::Ignored);
        };
        let files = incoming.files.into_iter();
        let fetched = files.map(|mut file| file.source.fetch(1 << 20)).collect();
        self.0.send((message.message_id, fetched)).unwrap();
        Ok(TakenIn::Stored)
    }
}

fn polling(telegram: &FakeTelegram) -> (TelegramPolling, Receiver<(String, Fetched)>) {
    let (fetched_tx, fetched_rx) = unbounded();
    let inlet = Arc::new(Fetching(fetched_tx));
    let documents = Arc::new(SimDocuments::new());
    let polling = bot(telegram).poll(inlet, documents, GatewayHealth::default());
    (polling.unwrap(), fetched_rx)
}

#[test]
fn a_file_is_fetched_when_asked_for_tried_twice_and_not_when_it_is_too_large() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    let (_polling, fetched) = polling(&telegram);
    let next = || fetched.recv_timeout(PATIENCE).unwrap().1;
    let document = |bytes: &[u8]| {
        telegram
            .message(42, &ann)
            .document("a.bin", "x/y", bytes)
            .send()
    };
    document(b"\0\xff");
    assert_eq!(next(), [Ok(b"\0\xff".to_vec())]);
    telegram.trouble("(download)", 1, Trouble::CutBefore);
    document(b"again");
    assert_eq!(next(), [Ok(b"again".to_vec())]);
    telegram.trouble("(download)", 2, Trouble::BadGateway);
    document(b"never");
    assert_eq!(next(), [Err(FetchError::Failed)]);
    let asked = telegram.calls_of("getFile").len();
    let large = telegram.message(42, &ann);
    large.document_of_size("a.bin", "x/y", b"", 30 << 20).send();
    assert_eq!(next(), [Err(FetchError::TooLarge)]);
    assert_eq!(
        telegram.calls_of("getFile").len(),
        asked,
        "it says so itself"
    );
    // It says something else than it is.
    let large = telegram.message(42, &ann);
    large
        .document_of_size("a.bin", "x/y", &vec![7; (1 << 20) + 1], 5)
        .send();
    assert_eq!(next(), [Err(FetchError::TooLarge)]);
    telegram.album(42, &ann, &[b"one", b"two"], "look");
    assert_eq!(next(), [Ok(b"one".to_vec()), Ok(b"two".to_vec())]);
    telegram.wait_until_confirmed();
}

#[test]
fn the_thread_that_polls_ends_at_once_and_leaves_what_it_has_not_confirmed() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    let (polling, fetched) = polling(&telegram);
    telegram.says(&ann, "hi");
    fetched.recv_timeout(PATIENCE).unwrap();
    // It waits for more, and may do so for half a minute.
    telegram.wait_until_confirmed();
    let began = Instant::now();
    drop(polling);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    telegram.says(&ann, "and?");
    assert_eq!(telegram.pending(), 1);
    assert!(
        fetched.recv_timeout(PATIENCE).is_err(),
        "its thread has ended"
    );
}
