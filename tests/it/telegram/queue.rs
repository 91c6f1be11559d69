//! What becomes of messages that come while the agent is at work, and of those that nobody answers.

use crate::support::bot_api::Person;
use crate::support::fake_model::{stall, text};
use crate::support::telegram::BotBench;

/// A group that is answered always, and whose model stands still at the first question.
fn busy(queue: &str) -> (BotBench, i64, Person) {
    let spec = format!(
        "access:\n  groups:\n    policy: open\n    activation: always\n    queue: {{{queue}}}"
    );
    let bot = BotBench::asking(&spec).serve();
    bot.model.reply(stall().and_text("first"));
    let ann = bot.telegram.person(42, "Ann");
    let group = bot.telegram.supergroup("Team");
    bot.telegram.says_in(group, &ann, "one");
    bot.model.wait_for_stalls(1);
    (bot, group, ann)
}

const QUICK: &str = "debounce: {enabled: false}";

fn questions(bot: &BotBench) -> Vec<String> {
    let asked = bot.model.requests();
    asked.iter().map(|asked| asked.last_message()).collect()
}

#[test]
fn a_batch_is_seen_together() {
    let (bot, group, ann) = busy(&format!("mode: batch, {QUICK}"));
    bot.telegram.says_in(group, &ann, "two");
    bot.telegram.says_in(group, &ann, "three");
    bot.wait_for_log("user_message", 3);
    bot.model.release();
    bot.telegram.wait_for_text(group, "ok");
    let questions = questions(&bot);
    assert_eq!(questions.len(), 2, "{questions:?}");
    assert!(
        questions[1].contains("two") && questions[1].contains("three"),
        "{questions:?}"
    );
}

#[test]
fn a_sequence_is_one_turn_each_through_a_kill() {
    let (mut bot, group, ann) = busy(&format!("mode: sequential, {QUICK}"));
    bot.telegram.says_in(group, &ann, "two");
    bot.telegram.says_in(group, &ann, "three");
    bot.wait_for_log("user_message", 3);
    bot.model.default_reply(text("as you say"));
    bot.kill_and_restart();
    bot.wait_for_turns(3);
    let questions = questions(&bot);
    for word in ["two", "three"] {
        let asked = questions.iter().filter(|question| question.contains(word));
        assert_eq!(asked.count(), 1, "{questions:?}");
    }
}

#[test]
fn who_is_busy_drops_what_comes_where_the_agent_says_so() {
    let (bot, group, ann) = busy(&format!("mode: drop, {QUICK}"));
    bot.telegram.says_in(group, &ann, "two");
    bot.wait_for_log("message_dropped", 1);
    bot.model.release();
    bot.wait_for_turns(1);
    bot.telegram.says_in(group, &ann, "three");
    bot.wait_for_turns(2);
    let questions = questions(&bot);
    assert!(
        questions[1].contains("three") && !questions[1].contains("two"),
        "{questions:?}"
    );
}

#[test]
fn a_full_queue_rejects_with_its_words() {
    let queue = "mode: batch, max_pending: 1, overflow: reject, reject_message: 'one at a time'";
    let (bot, group, ann) = busy(&format!("{queue}, {QUICK}"));
    for words in ["two", "three"] {
        bot.telegram.says_in(group, &ann, words);
    }
    bot.wait_for_log("message_dropped", 1);
    bot.telegram.wait_for_words(group, "one at a time");
    bot.model.release();
    bot.telegram.wait_for_text(group, "ok");
    let last = questions(&bot).pop().unwrap();
    assert!(last.contains("two") && !last.contains("three"), "{last}");
}

#[test]
fn a_quick_succession_is_waited_out() {
    let spec = "access:\n  groups:\n    policy: open\n    activation: always\n    \
        queue: {debounce: {enabled: true, window_ms: 2000}}";
    let bot = BotBench::asking(spec).serve();
    let ann = bot.telegram.person(42, "Ann");
    let group = bot.telegram.supergroup("Team");
    for words in ["one", "two", "three"] {
        bot.telegram.says_in(group, &ann, words);
    }
    bot.wait_for_log("user_message", 3);
    bot.wait_for_turns(1);
    let questions = questions(&bot);
    assert_eq!(questions.len(), 1, "{questions:?}");
    assert!(
        questions[0].contains("one") && questions[0].contains("three"),
        "{questions:?}"
    );
}

#[test]
fn talk_is_shown_with_the_next_question_where_the_agent_says_so() {
    for (mode, is_shown) in [("passive", true), ("silent", false)] {
        let spec = format!(
            "access:\n  groups:\n    policy: open\n    context_buffer: {{mode: {mode}}}\n    \
             queue: {{{QUICK}}}\n    sender_overrides: {{'66': block}}"
        );
        let bot = BotBench::asking(&spec).serve();
        let ann = bot.telegram.person(42, "Ann");
        let mallory = bot.telegram.person(66, "Mallory");
        let group = bot.telegram.supergroup("Team");
        bot.telegram.says_in(group, &ann, "the sky is green");
        bot.telegram
            .says_in(group, &mallory, "@ada_bot no, it is red");
        bot.telegram.says_in(group, &ann, "@ada_bot which colour?");
        bot.wait_for_turns(1);
        let asked = &bot.model.requests()[0].text;
        assert_eq!(
            asked.contains("the sky is green"),
            is_shown,
            "{mode}: {asked}"
        );
        assert!(!asked.contains("it is red"), "{asked}");
        assert_eq!(bot.places_of("it is red"), [""; 0]);
        assert!(!bot.places_of("the sky is green").is_empty(), "{mode}");
    }
}
