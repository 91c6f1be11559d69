use super::*;
use crate::engine::testing::says;
use crate::gateway::delivery::outbox::{Announcement, Outbox as _};
use crate::gateway::delivery::testing::{Desk, Trouble, chat};

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
    assert!(desk.sender.is_idle());
    desk.say(&session, "again", "56");
    desk.until_idle();
    assert_eq!(desk.platform.texts(), ["Hello.", "ok"]);
}

#[test]
fn an_announcement_is_said_and_forgotten() {
    let mut desk = Desk::new();
    desk.lanes.post(&chat("7"), announcement("Your code is 1234.")).unwrap();
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
        (Trouble::Refused("send_failed", "Bad Gateway"), vec!["Hello."]),
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
