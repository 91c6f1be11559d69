//! The program is killed between any two steps: nothing is lost, nothing comes in twice, and what was
//! begun goes on where it stood.

use std::time::Duration;

use crate::support::bot_api::Trouble;
use crate::support::fake_model::text;
use crate::support::telegram::{BotBench, OPEN, source};

#[test]
fn a_message_that_was_stored_and_not_confirmed_comes_in_once() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.wait_for_calls("getUpdates", 1);
    // The poll that waits brings it; no later one arrives.
    bot.telegram
        .trouble("getUpdates", usize::MAX, Trouble::CutBefore);
    let told = bot.telegram.says(&ann, "hi");
    bot.telegram.wait_for_text(ann.id, "hi");
    bot.wait_for_turns(1);
    bot.wait_until_delivered();
    bot.kill();
    assert_eq!(bot.telegram.pending(), 1);
    bot.telegram.no_more_trouble();
    bot.start();
    bot.telegram.wait_until_confirmed();
    bot.telegram.says(&ann, "bye");
    bot.telegram.wait_for_text(ann.id, "bye");
    assert_eq!(bot.sources()[0], source(told.update));
    assert_eq!(bot.contents(), ["hi", "bye"]);
    assert_eq!(bot.telegram.texts_in(ann.id), ["hi", "bye"]);
}

#[test]
fn an_end_of_a_session_and_a_stop_that_come_again_do_nothing_more() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "one");
    bot.telegram.wait_for_text(ann.id, "one");
    bot.wait_for_turns(1);
    bot.telegram.wait_until_confirmed();
    bot.telegram
        .trouble("getUpdates", usize::MAX, Trouble::CutBefore);
    bot.telegram.says(&ann, "/reset");
    let ended = bot.wait_for_log("session_end", 1);
    assert!(ended[0]["source_id"].is_string(), "{ended:?}");
    bot.kill();
    bot.telegram.says(&ann, "two");
    bot.telegram.no_more_trouble();
    bot.start();
    bot.telegram.wait_for_text(ann.id, "two");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.log_of_kind("session_end").len(), 1);
    assert_eq!(bot.logs().len(), 2);
}

#[test]
fn an_update_whose_number_was_used_before_is_another_one() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    let first = bot.telegram.says(&ann, "one");
    bot.telegram.wait_for_text(ann.id, "one");
    bot.telegram.wait_until_confirmed();
    bot.stop();
    // After a week without updates the numbers are drawn anew.
    bot.telegram.next_update_id(first.update);
    bot.telegram.says(&ann, "two");
    bot.start();
    bot.telegram.wait_for_text(ann.id, "two");
    bot.telegram.wait_until_confirmed();
    bot.telegram.next_update_id(17);
    bot.telegram.says(&ann, "three");
    bot.telegram.wait_for_text(ann.id, "three");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.contents(), ["one", "two", "three"]);
}

#[test]
fn a_reply_that_a_kill_interrupts_goes_on_in_the_same_message() {
    let mut bot = BotBench::asking(OPEN);
    bot.model
        .reply(text("the first half").and_stall())
        .then(text(", the second half"));
    bot.start();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "tell me");
    let begun = bot.telegram.wait_for_words(ann.id, "the first half");
    bot.wait_until_known(&begun);
    bot.kill_and_restart();
    let whole = bot
        .telegram
        .wait_for_text(ann.id, "the first half, the second half");
    assert_eq!(whole.id, begun.id);
    bot.wait_for_turns(1);
    assert_eq!(bot.telegram.texts_in(ann.id).len(), 1);
}

#[test]
fn what_was_said_while_the_program_was_away_is_answered_in_order() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "zero");
    bot.telegram.wait_for_text(ann.id, "zero");
    bot.wait_until_delivered();
    bot.kill();
    for words in ["one", "two", "three"] {
        bot.telegram.says(&ann, words);
    }
    bot.start();
    bot.telegram.wait_until_confirmed();
    bot.wait_for_log("user_message", 4);
    assert_eq!(bot.contents(), ["zero", "one", "two", "three"]);
    bot.telegram.wait_for_words(ann.id, "three");
}

#[test]
fn more_than_one_poll_brings_is_taken_in_by_several() {
    let mut bot = BotBench::echo(OPEN).serve();
    bot.kill();
    // A poll brings a hundred.
    let people: Vec<_> = (0..150)
        .map(|number| bot.telegram.person(1_000 + number, "Ann"))
        .collect();
    for person in &people {
        bot.telegram.says(person, "hi");
    }
    bot.start();
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.log_of_kind("user_message").len(), people.len());
    bot.telegram.wait_for_text(people[149].id, "hi");
}

/// Killed at each of many moments after a message came: whatever the moment, one message in the log,
/// and one answer in the chat; two only where the answer to a send was lost with the program.
#[test]
fn a_kill_at_any_moment_loses_nothing_and_repeats_at_most_what_was_on_its_way() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    for round in 0..8 {
        let words = format!("message {round}");
        bot.telegram.says(&ann, &words);
        std::thread::sleep(Duration::from_millis(round * 7));
        bot.kill();
        let was_on_its_way = bot
            .telegram
            .calls()
            .iter()
            .any(|call| call.method == "sendMessage" && call.text().contains(&words));
        bot.start();
        bot.telegram.wait_for_text(ann.id, &words);
        let texts = bot.settled_texts(ann.id, &ann);
        let count = texts.iter().filter(|text| **text == words).count();
        assert!(
            count == 1 || (count == 2 && was_on_its_way),
            "{count} times {words}"
        );
        // What goes too fast for the true one waits; here it need not.
        bot.telegram.advance(Duration::from_secs(5));
    }
    let mut sources = bot.sources();
    let count = sources.len();
    sources.sort();
    sources.dedup();
    assert_eq!((count, sources.len()), (8, 8));
}
