use super::*;
use crate::engine::testing::{reply, says};
use crate::gateway::delivery::outbox::{Announcement, Outbox as _};
use crate::gateway::delivery::testing::{DEADLINE, Desk, Trouble, chat};

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

#[test]
fn a_program_that_does_not_answer_is_sent_the_same_again_and_its_late_answer_is_nobodys() {
    let mut desk = Desk::new();
    desk.platform.state().waits = true;
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    let sends = |desk: &Desk| {
        let state = desk.platform.state();
        let sent = state
            .commands
            .iter()
            .filter(|it| matches!(it, GatewayCommand::SendMessage { .. }));
        sent.filter_map(|it| it.request_id().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    desk.until("two", |desk| sends(desk).len() == 2);
    let ids = sends(&desk);
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        desk.handle.tell(SenderNews::Ended {
            request_id: id.clone(),
            outcome: CommandOutcome::Done {
                message_id: Some(id.clone()),
            },
        });
    }
    desk.until_idle();
    assert_eq!(sends(&desk).len(), 2);
}

#[test]
fn a_press_is_answered_and_a_gateway_that_is_down_sends_nothing_until_it_is_ready() {
    let mut desk = Desk::new();
    desk.platform.state().is_down = true;
    let session = desk.session(&chat("7"));
    desk.bench.model.then(|_, sink| says(sink, "Hello."));
    desk.say(&session, "hi", "55");
    desk.until("told", |desk| !desk.bench.sessions.is_working());
    assert_eq!(desk.sender.work(), None);
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
