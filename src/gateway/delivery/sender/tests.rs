use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::event::{
    ApprovalKind, AssistantResponse, Attachment, Decision, Event, FinishReason, Outcome, SaidBy,
    ToolCall, Trigger, UserMessage,
};
use crate::domain::files::MediaType;
use crate::domain::ids::{CallId, Seq};
use crate::domain::ids::{MessageId, TurnId};
use crate::domain::time::Timestamp;
use crate::engine::testing::{Bench, reply, says};
use crate::gateway::delivery::lane_store::SetAside;
use crate::gateway::delivery::lane_store::{ASIDE_MAX, WaitingChat};
use crate::gateway::delivery::outbox::{Announcement, Outbox as _};
use crate::gateway::delivery::sender::aging::LOOK_AT_REST;
use crate::gateway::delivery::sender::serving::ANSWER_AFTER;
use crate::gateway::delivery::testing::{DEADLINE, Desk, ModelHost, Trouble, chat};
use crate::gateway::outlet::CommandOutcome;
use crate::gateway::protocol::{FailedCommand, GatewayCommand, MediaPayload};

fn announcement(text: &str) -> Announcement {
    Announcement {
        key: None,
        markdown: text.to_owned(),
        reply_to: None,
    }
}

#[test]
fn a_reply_is_sent_once_and_nothing_is_left_of_it() {
    let mut desk = Desk::new();
    let chat = chat("7");
    let session = desk.session(&chat);
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello."]);
    let seen = desk.platform.state().messages[0].clone();
    assert_eq!(seen.reply_to.as_deref(), Some("55"));
    let mut desk = desk.restart();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello."]);
    desk.say(&session, "again", "56");
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello.", "ok"]);
}

#[test]
fn an_announcement_is_said_and_forgotten() {
    let mut desk = Desk::new();
    desk.lanes
        .post(&chat("7"), announcement("Your code is 1234."))
        .unwrap();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Your code is 1234."]);
    assert!(desk.names().is_empty(), "{:?}", desk.names());
}

#[test]
fn a_send_whose_answer_was_lost_is_repeated_once_and_one_that_never_left_is_not() {
    for (trouble, expected) in [
        (Trouble::LostAnswer, vec!["Hello.", "Hello."]),
        (Trouble::Lost, vec!["Hello."]),
        (Trouble::NotSent, vec!["Hello."]),
        (
            Trouble::Refused("send_failed", "Bad Gateway"),
            vec!["Hello."],
        ),
    ] {
        let mut desk = Desk::new();
        let session = desk.session(&chat("7"));
        desk.platform.trouble(trouble);
        desk.bench.model.then(|_, sink| says(sink, "Hello."));
        desk.say(&session, "hi", "55");
        desk.until_idle();
        assert_eq!(desk.platform.texts(), expected);
    }
}

/// A model that says pieces one by one, when the test lets it go on.
fn slowly(desk: &Desk, pieces: &'static [&'static str]) -> crossbeam_channel::Sender<()> {
    let (go_tx, go_rx) = crossbeam_channel::bounded(16);
    desk.bench.model.then(move |_, sink| {
        for piece in pieces {
            sink.text(piece);
            sink.flush()?;
            go_rx.recv_timeout(DEADLINE).unwrap();
        }
        Ok(reply(&[]))
    });
    go_tx
}

#[test]
fn words_are_shown_as_they_are_written_in_one_message() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    let go = slowly(&desk, &["One ", "two ", "three."]);
    desk.say(&session, "count", "55");
    for expected in ["One", "One two", "One two three."] {
        desk.until(expected, |desk| desk.platform.texts() == [expected]);
        go.send(()).unwrap();
    }
    desk.until_idle();
    let seen = desk.platform.state().messages[0].clone();
    assert_eq!((seen.text.as_str(), seen.edits), ("One two three.", 2));
    assert_eq!(
        desk.platform.words(),
        ["typing", "send", "edit", "edit", "typing ends"]
    );
}

#[test]
fn a_sender_that_is_killed_goes_on_in_the_same_message() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    let go = slowly(&desk, &["One ", "two ", "three."]);
    desk.say(&session, "count", "55");
    desk.until("one", |desk| desk.platform.texts() == ["One"]);
    let mut desk = desk.restart();
    go.send(()).unwrap();
    desk.until("two", |desk| desk.platform.texts() == ["One two"]);
    let mut desk = desk.restart();
    go.send(()).unwrap();
    go.send(()).unwrap();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["One two three."]);
}

#[test]
fn a_platform_without_edits_is_sent_whole_words_alone() {
    let mut desk = Desk::new();
    desk.platform.state().can = Capabilities::default();
    let session = desk.session(&chat("7"));
    let go = slowly(&desk, &["One ", "two."]);
    desk.say(&session, "count", "55");
    go.send(()).unwrap();
    go.send(()).unwrap();
    desk.until_idle();
    assert_eq!(desk.platform.words(), ["send"]);
    assert_eq!(desk.platform.texts(), ["One two."]);
}

#[test]
fn a_long_reply_is_several_messages_and_what_is_left_over_is_taken_back() {
    let mut desk = Desk::new();
    desk.platform.state().piece_bytes = 4;
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "abcdefghij"));
    desk.say(&session, "hi", "55");
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["abcd", "efgh", "ij"]);
}

#[test]
fn a_final_error_sets_the_words_aside_and_the_next_ones_are_sent() {
    for words in [
        "Bad Request: chat not found",
        "Forbidden: user is deactivated",
    ] {
        let mut desk = Desk::new();
        let session = desk.session(&chat("7"));
        desk.platform
            .trouble(Trouble::Refused("send_failed", words));
        desk.bench.model.then(|_, sink| says(sink, "Hello."));
        desk.say(&session, "hi", "55");
        desk.until_idle();
        desk.say(&session, "again", "56");
        desk.until_idle();
        assert_eq!(desk.platform.texts(), ["ok"]);
        let aside = desk.lanes.aside().unwrap();
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert_eq!(aside[0].text, "Hello.");
        assert_eq!(aside[0].session.as_ref(), Some(&session));
        assert!(aside[0].why.contains(words));
        assert_eq!(desk.lanes.clear_aside().unwrap(), 1);
        assert!(desk.lanes.aside().unwrap().is_empty());
        assert!(desk.lanes.waiting().unwrap().is_empty());
    }
}

#[test]
fn a_chat_that_blocks_the_gateway_rests_until_something_comes_from_there() {
    let mut desk = Desk::new();
    let seven = chat("7");
    let session = desk.session(&seven);
    let blocked = "Forbidden: bot was blocked by the user";
    desk.platform
        .trouble(Trouble::Refused("unauthorized", blocked));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until("rests", |desk| {
        let waiting = desk.lanes.waiting().unwrap();
        let trouble = waiting.first().and_then(|one| one.trouble.clone());
        trouble.is_some_and(|(_, why)| why.contains(blocked))
    });
    let mut desk = desk.restart();
    for _ in 0..3 {
        desk.sender.work();
    }
    assert!(desk.platform.texts().is_empty());
    desk.handle.tell(SenderNews::IsBack(seven));
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello."]);
}

#[test]
fn what_did_not_get_through_in_a_day_is_set_aside_and_no_earlier() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    desk.platform.state().always = Some(Trouble::Refused("send_failed", "Bad Gateway"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.lanes
        .post(&chat("8"), announcement("Welcome."))
        .unwrap();
    desk.until("failed", |desk| desk.lanes.waiting().unwrap().len() == 2);
    // The engine's clock of the bench stands still; the log is of then.
    desk.clock.advance(Duration::from_secs(24 * 3600 - 60));
    desk.work_for(Duration::from_secs(120));
    assert!(desk.lanes.aside().unwrap().is_empty());
    desk.clock.advance(Duration::from_secs(61));
    desk.until_idle();
    let aside = desk.lanes.aside().unwrap();
    let mut texts: Vec<&str> = aside.iter().map(|one| one.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["Hello.", "Welcome."]);
    assert!(desk.lanes.waiting().unwrap().is_empty());
}

#[test]
fn a_chat_that_has_moved_gets_what_waits_under_its_new_id() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("-7"));
    desk.platform.trouble(Trouble::Moved("-1007"));
    desk.lanes
        .post(&chat("-7"), announcement("Welcome."))
        .unwrap();
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until("both", |desk| desk.platform.texts().len() == 2);
    let chats: Vec<String> = desk
        .platform
        .state()
        .messages
        .iter()
        .map(|it| it.chat_id.clone())
        .collect();
    assert_eq!(chats, ["-1007", "-1007"]);
}

/// The ids of the messages that were to be sent so far.
fn sends(desk: &Desk) -> Vec<String> {
    let state = desk.platform.state();
    let commands = state.commands.iter();
    let sent = commands.filter(|it| matches!(it, GatewayCommand::SendMessage { .. }));
    sent.filter_map(|it| it.request_id().map(str::to_owned))
        .collect()
}

fn answer(desk: &Desk, request_id: &str) {
    desk.handle.tell(SenderNews::Ended {
        request_id: request_id.to_owned(),
        outcome: CommandOutcome::Done {
            message_id: Some(request_id.to_owned()),
        },
    });
}

#[test]
fn a_program_that_answers_late_has_done_it_and_is_not_told_to_for_ever() {
    // The first attempt is answered while nothing, or the second one, is under way.
    for attempts in [1, 2] {
        let mut desk = Desk::new();
        desk.platform.state().waits = true;
        let session = desk.session(&chat("7"));
        desk.bench.model.then(|_, sink| says(sink, "Hello."));
        desk.say(&session, "hi", "55");
        desk.until("sent", |desk| sends(desk).len() == 1);
        desk.work_for(ANSWER_AFTER);
        if attempts == 2 {
            desk.until("sent again", |desk| sends(desk).len() == 2);
        }
        let ids = sends(&desk);
        assert_eq!(ids.len(), attempts);
        answer(&desk, &ids[0]);
        desk.until_idle();
        for id in &ids {
            answer(&desk, id);
        }
        desk.work_for(Duration::from_secs(600));
        desk.until_idle();
        assert_eq!(sends(&desk).len(), attempts);
        let mut desk = desk.restart();
        desk.until_idle();
        assert_eq!(sends(&desk).len(), attempts);
    }
}

#[test]
fn a_late_answer_to_an_announcement_counts_and_so_does_a_late_refusal() {
    let mut desk = Desk::new();
    desk.platform.state().waits = true;
    for (text, outcome) in [
        ("One.", CommandOutcome::Done { message_id: None }),
        (
            "Two.",
            CommandOutcome::Refused(FailedCommand {
                request_id: String::new(),
                code: "chat_not_found".to_owned(),
                message: String::new(),
                retry_after: None,
                migrate_to: None,
            }),
        ),
    ] {
        let before = sends(&desk).len();
        desk.lanes.post(&chat("7"), announcement(text)).unwrap();
        desk.until("sent", |desk| sends(desk).len() == before + 1);
        desk.work_for(ANSWER_AFTER);
        let request_id = sends(&desk).pop().unwrap();
        desk.handle.tell(SenderNews::Ended {
            request_id,
            outcome,
        });
        desk.until_idle();
        assert_eq!(sends(&desk).len(), before + 1, "{text}");
    }
    assert_eq!(desk.lanes.aside().unwrap().len(), 1);
}

#[test]
fn what_waits_for_a_gateway_that_is_down_is_told_and_set_aside_after_a_day() {
    for is_down in [true, false] {
        let mut desk = Desk::new();
        desk.platform.state().is_down = is_down;
        desk.platform.state().always = Some(Trouble::NotSent);
        let session = desk.session(&chat("7"));
        desk.bench.model.then(|_, sink| says(sink, "Hello."));
        desk.say(&session, "hi", "55");
        for other in ["8", "9"] {
            let said = announcement("Welcome.");
            desk.lanes.post(&chat(other), said).unwrap();
        }
        desk.until("told", |desk| {
            let waiting = desk.lanes.waiting().unwrap();
            let has = |one: &WaitingChat| one.sessions == [session.clone()];
            waiting.len() == 3 && waiting.iter().any(|one| has(one) && one.trouble.is_some())
        });
        desk.clock.advance(Duration::from_secs(24 * 3600 - 60));
        let wakes = desk.work_for(Duration::from_secs(7200));
        assert!(!is_down || wakes < 5, "{wakes}");
        assert!(desk.lanes.aside().unwrap().is_empty());
        desk.clock.advance(Duration::from_secs(7200));
        desk.work_for(Duration::from_secs(7200));
        let aside = desk.lanes.aside().unwrap();
        let mut texts: Vec<&str> = aside.iter().map(|one| one.text.as_str()).collect();
        texts.sort_unstable();
        assert_eq!(texts, ["Hello.", "Welcome.", "Welcome."]);
        assert!(desk.lanes.waiting().unwrap().is_empty());
        desk.platform.state().is_down = false;
        desk.platform.state().always = None;
        desk.handle.tell(SenderNews::Ready(true));
        desk.say(&session, "again", "56");
        desk.until_idle();
        assert_eq!(desk.platform.texts(), ["ok"]);
    }
}

#[test]
fn a_gateway_that_is_down_for_a_moment_after_a_long_rest_sends_what_waited() {
    let mut desk = Desk::new();
    desk.platform.state().is_down = true;
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until("told", |desk| !desk.lanes.waiting().unwrap().is_empty());
    desk.clock.advance(Duration::from_secs(48 * 3600));
    let mut desk = desk.restart();
    desk.work_for(Duration::from_secs(90));
    desk.platform.state().is_down = false;
    desk.handle.tell(SenderNews::Ready(true));
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello."]);
}

#[test]
fn a_program_that_ends_as_it_changes_a_message_is_told_the_rest_of_it_later() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    let go = slowly(&desk, &["One ", "two."]);
    desk.say(&session, "count", "55");
    desk.until("one", |desk| desk.platform.texts() == ["One"]);
    desk.platform.state().waits = true;
    go.send(()).unwrap();
    go.send(()).unwrap();
    desk.until("changed", |desk| {
        desk.platform.words().contains(&"edit") && !desk.bench.sessions.is_working()
    });
    let can = std::mem::take(&mut desk.platform.state().can);
    desk.platform.state().is_down = true;
    desk.handle.tell(SenderNews::Ready(false));
    desk.sender.work();
    desk.platform.state().waits = false;
    desk.platform.state().can = can;
    desk.platform.state().is_down = false;
    desk.handle.tell(SenderNews::Ready(true));
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["One two."]);
}

#[test]
fn a_chat_that_is_back_wakes_all_its_threads() {
    for restarts in [false, true] {
        let mut desk = Desk::new();
        let thread = |thread: &str| Chat {
            thread_id: Some(thread.to_owned()),
            ..chat("-7")
        };
        let session = desk.session(&thread("1"));
        let kicked = "Forbidden: bot was kicked from the group chat";
        desk.platform.state().always = Some(Trouble::Refused("unauthorized", kicked));
        desk.say(&session, "hi", "55");
        desk.until("rests", |desk| {
            let waiting = desk.lanes.waiting().unwrap();
            waiting.iter().any(|one| one.trouble.is_some())
        });
        // It lacks nothing any more, and is in no memory.
        desk.clock.advance(Duration::from_secs(25 * 3600));
        desk.until_idle();
        desk.platform.state().always = None;
        if restarts {
            desk = desk.restart();
        }
        desk.handle.tell(SenderNews::IsBack(thread("2")));
        desk.until_idle();
        assert!(desk.lanes.waiting().unwrap().is_empty());
        desk.say(&session, "again", "56");
        desk.until_idle();
        assert_eq!(desk.platform.texts(), ["ok"]);
    }
}

#[test]
fn an_announcement_of_several_messages_goes_on_after_a_kill() {
    let mut desk = Desk::new();
    desk.platform.state().piece_bytes = 4;
    desk.platform.state().troubles = [None, Some(Trouble::NotSent)].into();
    desk.lanes
        .post(&chat("7"), announcement("One.Two.Six."))
        .unwrap();
    desk.until("one", |desk| {
        let waiting = desk.lanes.waiting().unwrap();
        waiting.iter().any(|one| one.trouble.is_some())
    });
    assert_eq!(desk.platform.texts(), ["One."]);
    let mut desk = desk.restart();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["One.", "Two.", "Six."]);
    assert!(desk.names().is_empty(), "{:?}", desk.names());
}

#[test]
fn a_panic_at_one_chat_is_told_and_the_others_are_served() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    desk.lanes.post(&chat("8"), announcement("panic")).unwrap();
    let mut panics = 0;
    for _ in 0..4 {
        let is_well = desk.sender.run_until_panic(|sender| {
            sender.look_at_everything();
            sender.work();
        });
        panics += u32::from(!is_well);
    }
    assert_eq!(panics, 2);
    let trouble = desk.health.trouble();
    assert!(trouble.is_some_and(|it| it.contains("stumbles over")));
    desk.say(&session, "hi", "55");
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["ok"]);
    // It is still there for the next start.
    assert_eq!(desk.lanes.waiting().unwrap().len(), 1);
}

#[test]
fn of_a_chat_that_rests_and_lacks_nothing_nothing_is_kept() {
    let mut desk = Desk::new();
    let blocked = "Forbidden: bot was blocked by the user";
    desk.platform
        .trouble(Trouble::Refused("unauthorized", blocked));
    desk.lanes
        .post(&chat("7"), announcement("Welcome."))
        .unwrap();
    desk.until("rests", |desk| {
        let waiting = desk.lanes.waiting().unwrap();
        waiting.iter().any(|one| one.trouble.is_some())
    });
    desk.clock.advance(Duration::from_secs(25 * 3600));
    desk.until_idle();
    assert_eq!(
        desk.names().into_iter().collect::<Vec<_>>(),
        [("aside".to_owned(), 1)]
    );
}

#[test]
fn of_what_is_set_aside_the_newest_is_kept() {
    let desk = Desk::new();
    let aside = |at: usize| SetAside {
        chat_id: "7".to_owned(),
        thread_id: None,
        at: Timestamp::from_micros(at as u64),
        session: None,
        after: None,
        text: at.to_string(),
        why: "no chat".to_owned(),
    };
    let id = LaneId::of(&chat("7"));
    for at in 0..=ASIDE_MAX {
        desk.lanes
            .set_aside(&id, &at.to_string(), aside(at))
            .unwrap();
    }
    let kept = desk.lanes.aside().unwrap();
    assert_eq!(kept.first().unwrap().text, "101");
    assert_eq!(kept.last().unwrap().text, ASIDE_MAX.to_string());
    assert_eq!(kept.len(), ASIDE_MAX * 9 / 10);
}

#[test]
fn a_damaged_lane_is_kept_aside_and_its_chat_is_answered() {
    for damage in ["", "{\"chat_id\":", "{}", "[1]"] {
        let mut desk = Desk::new();
        let session = desk.session(&chat("7"));
        desk.say(&session, "hi", "55");
        desk.until_idle();
        assert_eq!(desk.platform.texts(), ["ok"]);
        let id = LaneId::of(&chat("7"));
        let name = format!("outbox/tele/{}/lane.json", id.as_str());
        let name = crate::store::documents::DocumentName::parse(name).unwrap();
        let documents = desk.documents.clone();
        let documents: &dyn crate::store::documents::Documents = &documents;
        documents.replace(&name, damage).unwrap();
        let mut desk = desk.restart();
        desk.say(&session, "again", "56");
        desk.until_idle();
        assert_eq!(desk.platform.texts(), ["ok", "ok"], "{damage:?}");
        assert_eq!(desk.names().get("damaged"), Some(&1), "{damage:?}");
        // Who takes messages in may be the first to see it.
        documents.replace(&name, damage).unwrap();
        desk.lanes
            .open_session(&chat("7"), &session, Seq(1))
            .unwrap();
        assert!(
            desk.lanes
                .has_asked(&chat("7"), &session, &CallId::parse("c1").unwrap())
                .is_ok()
        );
    }
}

#[test]
fn a_press_is_answered_and_a_gateway_that_is_down_sends_nothing_until_it_is_ready() {
    let mut desk = Desk::new();
    desk.platform.state().is_down = true;
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until("told", |desk| !desk.bench.sessions.is_working());
    assert!(desk.work_for(LOOK_AT_REST) <= 1);
    assert_eq!(desk.platform.words(), [""; 0]);
    desk.platform.state().is_down = false;
    desk.handle.tell(SenderNews::Ready(true));
    desk.handle.tell(SenderNews::Pressed {
        callback_query_id: "q".to_owned(),
        text: None,
    });
    desk.until_idle();
    assert_eq!(desk.platform.words(), ["answer", "send"]);
}

#[test]
fn what_is_written_down_of_a_turn_is_little() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    let before = desk.documents.writes();
    let go = slowly(&desk, &["One ", "two ", "three."]);
    desk.say(&session, "count", "55");
    for expected in ["One", "One two", "One two three."] {
        desk.until(expected, |desk| desk.platform.texts() == [expected]);
        go.send(()).unwrap();
    }
    desk.until_idle();
    assert_eq!(desk.documents.writes() - before, 2);
    desk.say(&session, "again", "56");
    desk.until_idle();
    assert!(desk.documents.writes() - before <= 4);
}

/// The log of a turn that asks whether `date` may run.
fn asks(message_id: &str) -> Vec<Event> {
    let turn_id = TurnId::mint(1, 1);
    let call_id = CallId::parse("c1").unwrap();
    vec![
        Event::from(UserMessage {
            gateway_message_id: Some(message_id.to_owned()),
            ..UserMessage::new(MessageId::mint(1, 1), "what day is it?")
        }),
        Event::TurnStarted {
            turn_id: turn_id.clone(),
            trigger: Trigger::Message,
        },
        Event::from(AssistantResponse {
            turn_id,
            message_id: MessageId::mint(1, 2),
            agent: "ada".to_owned(),
            model: "echo/script".to_owned(),
            input_seq: Seq(3),
            content: Arc::new("I will look.".to_owned()),
            attachments: Vec::new(),
            tool_calls: vec![ToolCall {
                call_id: call_id.clone(),
                tool_name: "date".to_owned(),
                arguments: "{}".to_owned(),
                source: None,
            }],
            usage: None,
            finish_reason: FinishReason::ToolCalls,
            continues: None,
            provider_data: None,
        }),
        Event::ApprovalRequired {
            call_id,
            command: "date -u".to_owned(),
            commands: Vec::new(),
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            requester_id: None,
        },
    ]
}

fn decided(decision: Decision) -> Event {
    Event::ApprovalDecision {
        call_id: CallId::parse("c1").unwrap(),
        decision,
        by: None,
        source_id: None,
    }
}

#[test]
fn a_question_has_buttons_that_are_bound_to_it_until_it_is_decided_anywhere() {
    let mut host = ModelHost::default();
    host.0.requester_approves = true;
    let mut desk = Desk::with(Bench::new(), host);
    let seven = chat("7");
    let session = desk.session(&seven);
    desk.bench.append(&session, asks("55"));
    desk.until_idle();
    let question = desk.platform.state().messages[1].clone();
    assert_eq!(
        question.text,
        "❓ The agent wants to run:\n```\ndate -u\n```"
    );
    let buttons = question.buttons.unwrap().rows.concat();
    let texts: Vec<&str> = buttons.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(texts, ["Allow once", "Allow always", "Deny"]);
    let handle = &buttons[2].callback_data;
    assert_eq!(handle.len(), 12);
    let pressed = |desk: &Desk, chat: &Chat, message: &str, handle: &str| {
        let pressed = desk.lanes.question(chat, message, handle).unwrap();
        pressed.map(|it| (it.session, it.call_id.to_string(), it.decision))
    };
    let deny = Some((session.clone(), "c1".to_owned(), Decision::Deny));
    assert_eq!(pressed(&desk, &seven, "m2", handle), deny);
    assert_eq!(pressed(&desk, &seven, "m1", handle), None);
    assert_eq!(pressed(&desk, &chat("8"), "m2", handle), None);
    assert_eq!(pressed(&desk, &seven, "m2", "aaaaaaaaaaaa"), None);
    let mut desk = desk.restart();
    desk.bench
        .append(&session, vec![decided(Decision::AllowOnce)]);
    desk.until("decided", |desk| {
        let question = desk.platform.state().messages[1].clone();
        question.buttons.is_none() && question.text.ends_with("Allowed once by the owner.")
    });
    assert_eq!(pressed(&desk, &seven, "m2", handle), None);
    // What is at work is shown once it has lasted for a moment.
    desk.sender.work();
    assert!(desk.platform.texts()[2..].is_empty());
    desk.until("at work", |desk| desk.platform.texts()[2..] == ["⚙ date"]);
}

#[test]
fn where_nobody_may_decide_or_there_are_no_buttons_the_question_says_how_it_is_answered() {
    for (requester_approves, has_buttons, end) in [
        (false, true, "This waits for the owner."),
        (
            true,
            false,
            "`/approve always` from now on, `/deny` refuses it.",
        ),
    ] {
        let mut host = ModelHost::default();
        host.0.requester_approves = requester_approves;
        let mut desk = Desk::with(Bench::new(), host);
        desk.platform.state().can.inline_keyboard = has_buttons;
        let session = desk.session(&chat("7"));
        desk.bench.append(&session, asks("55"));
        desk.until_idle();
        let question = desk.platform.state().messages[1].clone();
        assert!(question.text.ends_with(end), "{}", question.text);
        assert_eq!(question.buttons, None);
        // It may be answered all the same: it is known what the chat was asked.
        for (chat_id, call_id, expected) in
            [("7", "c1", true), ("7", "c2", false), ("8", "c1", false)]
        {
            let call_id = CallId::parse(call_id).unwrap();
            let asked = desk.lanes.has_asked(&chat(chat_id), &session, &call_id);
            assert_eq!(asked.unwrap(), expected, "{chat_id} {call_id}");
        }
    }
}

#[test]
fn a_message_that_cannot_be_changed_is_sent_anew_when_its_words_are_whole() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    let go = slowly(&desk, &["One ", "two ", "three."]);
    desk.say(&session, "count", "55");
    desk.until("one", |desk| desk.platform.texts() == ["One"]);
    desk.platform
        .trouble(Trouble::Refused("not_implemented", "no edits"));
    for _ in 0..3 {
        go.send(()).unwrap();
    }
    desk.until_idle();
    let texts = desk.platform.texts();
    assert_eq!(texts.last().unwrap(), "One two three.");
    assert!(texts.len() <= 2, "{texts:?}");
}

#[test]
fn many_chats_at_once_are_all_answered_and_none_is_kept() {
    let mut desk = Desk::new();
    let chats: Vec<Chat> = (0..100).map(|number| chat(&number.to_string())).collect();
    for one in &chats {
        let session = desk.session(one);
        desk.bench.append(&session, asks("1"));
        desk.lanes.post(one, announcement("Welcome.")).unwrap();
    }
    desk.until_idle();
    assert_eq!(desk.platform.texts().len(), 300);
    assert_eq!(desk.sender.work(), None);
    for one in &chats {
        let state = desk.platform.state();
        let seen = state.messages.iter().filter(|it| it.chat_id == one.chat_id);
        assert_eq!(seen.count(), 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is lost on the way, and whenever the sender is killed: each reply is there, in order, and
    /// twice at most for each answer that was lost, or in whose middle the sender died.
    #[test]
    fn each_reply_arrives_in_order_and_only_lost_answers_repeat_one(
        troubles in vec(0..6_u8, 0..16),
        restarts in vec(any::<bool>(), 16),
    ) {
        const REPLIES: [&str; 3] = ["a1a2", "b1b2", "c1"];
        let mut desk = Desk::new();
        desk.platform.state().piece_bytes = 2;
        desk.platform.state().is_down = true;
        let session = desk.session(&chat("7"));
        for reply in REPLIES {
            desk.bench.model.then(move |_, sink| says(sink, reply));
            desk.say(&session, "next", reply);
            desk.until(reply, |desk| !desk.bench.sessions.is_working());
        }
        let mut lost = 0;
        for trouble in troubles {
            let trouble = match trouble {
                0 => { lost += 1; Some(Trouble::LostAnswer) }
                1 => Some(Trouble::Lost),
                2 => Some(Trouble::NotSent),
                3 => Some(Trouble::Refused("send_failed", "Bad Gateway")),
                _ => None,
            };
            desk.platform.state().troubles.push_back(trouble);
        }
        desk.platform.state().is_down = false;
        desk.handle.tell(SenderNews::Ready(true));
        for restart in restarts {
            if restart {
                desk = desk.restart();
            }
            desk.work_for(Duration::from_secs(1));
        }
        desk.until_idle();
        let texts = desk.platform.texts();
        let mut once = texts.clone();
        once.dedup();
        prop_assert_eq!(&once, &["a1", "a2", "b1", "b2", "c1"], "{:?}", &texts);
        prop_assert!(texts.len() <= 5 + lost, "{:?}", &texts);
        prop_assert!(desk.lanes.waiting().unwrap().is_empty());
    }
}

#[test]
fn replies_and_announcements_come_in_the_order_in_which_they_were_made() {
    for (seconds, expected) in [(0, ["Hello.", "Welcome."]), (-60, ["Welcome.", "Hello."])] {
        let mut desk = Desk::new();
        desk.platform.state().is_down = true;
        let session = desk.session(&chat("7"));
        desk.bench.model.then(|_, sink| says(sink, "Hello."));
        desk.say(&session, "hi", "55");
        desk.until("stored", |desk| !desk.bench.sessions.is_working());
        desk.clock.leap(seconds);
        let said = announcement("Welcome.");
        desk.lanes.post(&chat("7"), said).unwrap();
        desk.platform.state().is_down = false;
        desk.handle.tell(SenderNews::Ready(true));
        desk.until_idle();
        assert_eq!(desk.platform.texts(), expected);
    }
}

#[test]
fn an_agent_at_work_wakes_nobody_while_the_platform_is_not_reached() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    let go = slowly(&desk, &["One ", "two."]);
    desk.say(&session, "count", "55");
    desk.until("one", |desk| desk.platform.texts() == ["One"]);
    desk.platform.state().always = Some(Trouble::NotSent);
    go.send(()).unwrap();
    desk.until("not reached", |desk| {
        desk.platform.words().contains(&"edit")
    });
    let wakes = desk.work_for(Duration::from_secs(600));
    assert!(wakes < 100, "{wakes}");
    desk.platform.state().always = None;
    go.send(()).unwrap();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["One two."]);
}

#[test]
fn what_can_be_neither_sent_nor_set_aside_is_tried_again_in_a_while() {
    for (words, waited) in [
        ("Forbidden: bot was blocked by the user", 24 * 3600),
        ("Bad Request: chat not found", 0),
    ] {
        let mut desk = Desk::new();
        desk.platform.state().waits = true;
        let session = desk.session(&chat("7"));
        desk.bench.model.then(|_, sink| says(sink, "Hello."));
        desk.say(&session, "hi", "55");
        let said = announcement("Welcome.");
        desk.lanes.post(&chat("8"), said).unwrap();
        desk.until("tried", |desk| {
            let words = desk.platform.words();
            words.iter().filter(|word| **word == "send").count() == 2
        });
        let state = desk.platform.state();
        let ids = state.commands.iter().filter_map(|one| one.request_id());
        let ids: Vec<String> = ids.map(str::to_owned).collect();
        drop(state);
        desk.platform.state().waits = false;
        desk.platform.state().always = Some(Trouble::Refused("send_failed", words));
        desk.documents_fail(100_000);
        let before = desk.documents.operations();
        for request_id in ids {
            desk.handle.tell(SenderNews::Ended {
                outcome: CommandOutcome::Refused(FailedCommand {
                    request_id: request_id.clone(),
                    code: "send_failed".to_owned(),
                    message: words.to_owned(),
                    retry_after: None,
                    migrate_to: None,
                }),
                request_id,
            });
        }
        desk.sender.work();
        desk.clock.advance(Duration::from_secs(waited));
        desk.work_for(Duration::from_secs(3 * 3600));
        let tried = desk.documents.operations() - before;
        assert!((5..5_000).contains(&tried), "{words}: {tried}");
    }
}

#[test]
fn a_wait_that_makes_no_sense_is_neither_none_nor_for_ever() {
    for (words, expected) in [
        ("Too Many Requests: retry after 0", 5..20),
        ("retry after 18446744073709551615", 1..2),
    ] {
        let mut desk = Desk::new();
        desk.platform.state().always = Some(Trouble::Refused("rate_limited", words));
        let said = announcement("Welcome.");
        desk.lanes.post(&chat("7"), said).unwrap();
        desk.work_for(Duration::from_secs(10));
        let sends = desk.platform.words().len();
        assert!(expected.contains(&sends), "{words}: {sends}");
        desk.platform.state().always = None;
        desk.work_for(Duration::from_secs(24 * 3600 + 1));
        assert_eq!(desk.platform.texts(), ["Welcome."]);
    }
}

#[test]
fn what_was_confirmed_as_the_server_stops_is_not_sent_again() {
    let mut desk = Desk::new();
    desk.platform.state().waits = true;
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until("sent", |desk| desk.platform.words().contains(&"send"));
    desk.until("ended", |desk| !desk.bench.sessions.is_working());
    let state = desk.platform.state();
    let sent = state.commands.iter().find_map(|one| one.request_id());
    let request_id = sent.unwrap().to_owned();
    drop(state);
    desk.handle.tell(SenderNews::Ended {
        request_id,
        outcome: CommandOutcome::Done {
            message_id: Some("m1".to_owned()),
        },
    });
    desk.sender.finish(Instant::now() + DEADLINE);
    let mut desk = desk.restart();
    desk.platform.state().waits = false;
    desk.until_idle();
    let words = desk.platform.words();
    let sends = words.iter().filter(|word| **word == "send");
    assert_eq!(sends.count(), 1, "{words:?}");
}

#[test]
fn a_lane_that_cannot_be_read_just_now_is_looked_at_again() {
    let mut desk = Desk::new();
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    let deadline = Instant::now() + DEADLINE;
    while desk.bench.sessions.is_working() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    desk.documents_fail(40);
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello."]);
}

#[test]
fn what_moves_into_a_chat_that_is_at_work_is_sent_too() {
    let mut desk = Desk::new();
    desk.platform.state().is_down = true;
    for id in ["-1007", "-7"] {
        desk.lanes.post(&chat(id), announcement(id)).unwrap();
    }
    desk.sender.work();
    desk.handle.tell(SenderNews::Moved {
        from: "-7".to_owned(),
        to: "-1007".to_owned(),
    });
    desk.sender.work();
    desk.platform.state().is_down = false;
    desk.handle.tell(SenderNews::Ready(true));
    desk.until_idle();
    let mut texts = desk.platform.texts();
    texts.sort_unstable();
    assert_eq!(texts, ["-1007", "-7"]);
}

#[test]
fn a_chat_that_moves_to_itself_is_tried_again() {
    let mut desk = Desk::new();
    desk.platform.trouble(Trouble::Moved("-7"));
    let said = announcement("Welcome.");
    desk.lanes.post(&chat("-7"), said).unwrap();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Welcome."]);
}

#[test]
fn an_announcement_that_cannot_be_removed_is_not_said_again() {
    let mut desk = Desk::new();
    let seven = chat("7");
    desk.platform.state().waits = true;
    desk.lanes.post(&seven, announcement("One.")).unwrap();
    desk.until("sent", |desk| desk.platform.words() == ["send"]);
    let request_id = desk.platform.state().commands[0]
        .request_id()
        .unwrap()
        .to_owned();
    desk.documents_fail(1);
    desk.handle.tell(SenderNews::Ended {
        request_id,
        outcome: CommandOutcome::Done { message_id: None },
    });
    desk.sender.work();
    assert_eq!(desk.names().get("notice"), Some(&1));
    desk.platform.state().waits = false;
    desk.lanes.post(&seven, announcement("Two.")).unwrap();
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Two."]);
    assert!(desk.names().is_empty(), "{:?}", desk.names());
}

#[test]
fn a_program_that_becomes_ready_shows_a_question_with_its_buttons() {
    let mut host = ModelHost::default();
    host.0.requester_approves = true;
    let mut desk = Desk::with(Bench::new(), host);
    desk.platform.state().is_down = true;
    desk.platform.state().can.inline_keyboard = false;
    let session = desk.session(&chat("7"));
    desk.bench.append(&session, asks("55"));
    desk.sender.work();
    desk.platform.state().is_down = false;
    desk.platform.state().can.inline_keyboard = true;
    desk.handle.tell(SenderNews::Ready(true));
    desk.until_idle();
    assert!(desk.platform.state().messages[1].buttons.is_some());
}

#[test]
fn files_of_a_reply_are_sent_after_its_words_once_or_told_of_where_they_cannot_be() {
    for (trouble, expected) in [
        (None, vec!["send", "file"]),
        (Some("not_implemented"), vec!["send", "file", "send"]),
        (Some("invalid_request"), vec!["send", "file", "send"]),
    ] {
        let mut desk = Desk::new();
        let session = desk.session(&chat("7"));
        let sessions = &desk.bench.sessions;
        let file = sessions
            .add_file(&session, MediaType::TEXT, b"a,b")
            .unwrap();
        let file = Attachment {
            name: Some("table.csv".to_owned()),
            caption: Some("The table".to_owned()),
            ..file
        };
        let turn_id = TurnId::mint(1, 1);
        let mut events = asks("55");
        events.truncate(3);
        if let Event::AssistantResponse(reply) = &mut events[2] {
            let reply = Arc::make_mut(reply);
            reply.attachments = vec![file];
            reply.tool_calls.clear();
            reply.finish_reason = FinishReason::Stop;
        }
        events.push(Event::TurnEnded {
            turn_id,
            outcome: Outcome::Completed,
            error: None,
            usage: None,
            cause: SaidBy::default(),
        });
        desk.platform.state().troubles.push_back(None);
        if let Some(code) = trouble {
            desk.platform.trouble(Trouble::Refused(code, "no"));
        }
        desk.bench.append(&session, events);
        desk.until_idle();
        let mut desk = desk.restart();
        desk.until_idle();
        assert_eq!(desk.platform.words(), expected);
        let state = desk.platform.state();
        let GatewayCommand::SendMedia { media, caption, .. } = &state.commands[1] else {
            panic!("{:?}", state.commands);
        };
        let expected = MediaPayload::Base64 {
            data: "YSxi".to_owned(),
            mime_type: "text/plain".to_owned(),
            filename: Some("table.csv".to_owned()),
        };
        assert_eq!((media, caption.as_deref()), (&expected, Some("The table")));
        drop(state);
        if trouble.is_some() {
            let told = "📎 `table.csv` (3 bytes), which cannot be sent here.\n\nThe table";
            assert_eq!(desk.platform.texts()[1], told);
        }
    }
}
