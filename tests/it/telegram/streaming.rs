//! A reply appears as it is written, within Telegram's limits, and is complete in the end.

use std::time::Duration;

use crate::support::bot_api::{Call, Trouble};
use crate::support::fake_model::{Step, pieces, text};
use crate::support::telegram::{BotBench, OPEN};

/// A reply of so many words, one every `time`.
fn slow_words(count: usize, time: Duration) -> (Step, String) {
    let words: Vec<String> = (0..count).map(|n| format!("word{n} ")).collect();
    let parts: Vec<&str> = words.iter().map(String::as_str).collect();
    let step = pieces(&parts).each_after(time);
    (step, words.concat().trim().to_owned())
}

/// When something was sent to a chat, or changed there.
fn moments(calls: &[Call], chat: i64) -> Vec<Duration> {
    let counted = calls.iter().filter(|call| {
        matches!(call.method.as_str(), "sendMessage" | "editMessageText")
            && call.chat() == Some(chat)
    });
    counted.map(|call| call.at).collect()
}

#[test]
fn a_reply_appears_as_it_is_written_and_is_complete_in_the_end() {
    let bot = BotBench::asking(OPEN).serve();
    let (step, whole) = slow_words(50, Duration::from_millis(100));
    bot.model.reply(step);
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "tell me");
    let shown = bot.telegram.wait_for_text(ann.id, &whole);
    bot.wait_for_turns(1);
    assert!(shown.edits.len() >= 2, "{} edits", shown.edits.len());
    assert!(shown.edits.len() <= 12, "{} edits", shown.edits.len());
    assert_eq!(bot.telegram.texts_in(ann.id), [whole]);
    assert_eq!(bot.telegram.floods(), 0);
}

#[test]
#[ignore = "50 s: a reply that takes so long in a group"]
fn a_reply_of_forty_seconds_in_a_group_keeps_to_its_limits() {
    let bot = BotBench::asking(OPEN).serve();
    let (step, whole) = slow_words(200, Duration::from_millis(200));
    bot.model.reply(step).then(text("at once"));
    let ann = bot.telegram.person(42, "Ann");
    let group = bot.telegram.supergroup("Team");
    bot.telegram.says_in(group, &ann, "@ada_bot tell me");
    bot.telegram.wait_for_text(group, &whole);
    bot.telegram.says_in(group, &ann, "@ada_bot and now?");
    bot.telegram.wait_for_text(group, "at once");
    assert_eq!(bot.telegram.floods(), 0);
    let moments = moments(&bot.telegram.calls(), group);
    for (first, moment) in moments.iter().enumerate() {
        let end = *moment + Duration::from_secs(60);
        let within = moments[first..].iter().filter(|at| **at < end).count();
        assert!(within <= 20, "{within} within a minute from {moment:?}");
    }
}

#[test]
fn a_flood_is_waited_out_and_taken_for_nothing_else() {
    let bot = BotBench::asking(OPEN).serve();
    let (step, whole) = slow_words(30, Duration::from_millis(100));
    bot.model.reply(step).then(text("some **bold** words"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram
        .trouble("editMessageText", 1, Trouble::Flood(3));
    bot.telegram.says(&ann, "tell me");
    bot.telegram.wait_for_text(ann.id, &whole);
    assert_eq!(bot.telegram.floods(), 1);
    bot.wait_for_turns(1);
    bot.telegram.trouble("sendMessage", 1, Trouble::Flood(2));
    bot.telegram.says(&ann, "boldly");
    let shown = bot.telegram.wait_for_text(ann.id, "some bold words");
    assert!(shown.html.contains("<b>bold</b>"), "{shown:?}");
    assert_eq!(bot.telegram.texts_in(ann.id).len(), 2);
}

#[test]
fn a_long_reply_is_several_messages_and_nothing_is_left_out() {
    let bot = BotBench::asking(OPEN).serve();
    let paragraphs: Vec<String> = (0..120)
        .map(|n| format!("Paragraph {n} has some words of its own, and more than a few of them."))
        .collect();
    bot.model.reply(text(&paragraphs.join("\n\n")));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "tell me all");
    bot.telegram.wait_for_words(ann.id, &paragraphs[119]);
    bot.wait_for_turns(1);
    let whole = bot.telegram.texts_in(ann.id).join("\n\n");
    assert_eq!(whole, paragraphs.join("\n\n"));
    assert!(bot.telegram.texts_in(ann.id).len() >= 2);
}

#[test]
fn code_that_is_cut_is_code_on_both_sides() {
    let bot = BotBench::asking(OPEN).serve();
    let lines: Vec<String> = (0..300)
        .map(|n| format!("let x{n} = {n} < 10 && true;"))
        .collect();
    bot.model.reply(text(&format!(
        "Look:\n\n```rust\n{}\n```\n\nDone.",
        lines.join("\n")
    )));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "code");
    bot.telegram.wait_for_words(ann.id, "Done.");
    bot.wait_for_turns(1);
    let said = bot.telegram.said_in(ann.id);
    assert!(said.len() >= 2);
    for message in &said {
        assert!(message.html.contains("language-rust"), "{}", message.html);
    }
    let all = said
        .iter()
        .map(|message| message.text.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    for line in &lines {
        assert!(all.contains(line.as_str()), "{line}");
    }
}

#[test]
fn what_cannot_be_parsed_is_sent_plain() {
    let bot = BotBench::asking(OPEN).serve();
    bot.model.reply(text("some **bold** words"));
    let ann = bot.telegram.person(42, "Ann");
    let words = "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 1";
    bot.telegram
        .trouble("sendMessage", 1, Trouble::Refused(400, words));
    bot.telegram.says(&ann, "boldly");
    let shown = bot.telegram.wait_for_words(ann.id, "bold");
    assert_eq!(shown.html, "");
    assert_eq!(bot.settled_texts(ann.id, &ann).len(), 1);
}

#[test]
fn a_message_that_is_not_modified_is_as_it_should_be() {
    let bot = BotBench::asking(OPEN).serve();
    let (step, whole) = slow_words(20, Duration::from_millis(100));
    bot.model.reply(step);
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.trouble(
        "editMessageText",
        1,
        Trouble::Refused(400, "Bad Request: message is not modified"),
    );
    bot.telegram.says(&ann, "tell me");
    bot.telegram.wait_for_text(ann.id, &whole);
    assert_eq!(bot.settled_texts(ann.id, &ann), [whole]);
}
