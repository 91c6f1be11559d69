//! What a chat is to see comes through, once, whatever becomes of the calls.

use crate::support::bot_api::{Standing, Trouble};
use crate::support::fake_model::text;
use crate::support::telegram::{BotBench, OPEN};

#[test]
fn an_answer_lost_on_the_way_back_costs_one_duplicate_at_most_and_one_lost_before_none() {
    let bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    let cases = [
        ("one", Trouble::CutBefore, 1),
        ("two", Trouble::LostAnswer, 2),
        ("three", Trouble::HalfAnswer, 2),
        ("four", Trouble::BadGateway, 1),
        ("five", Trouble::Refused(500, "Internal Server Error"), 1),
    ];
    for (words, trouble, times_max) in cases {
        bot.telegram.trouble("sendMessage", 1, trouble);
        bot.telegram.says(&ann, words);
        bot.telegram.wait_for_text(ann.id, words);
        let texts = bot.settled_texts(ann.id, &ann);
        let times = texts.iter().filter(|text| *text == words).count();
        assert!((1..=times_max).contains(&times), "{times} times {words}");
    }
}

#[test]
fn of_several_that_wait_each_comes_in_its_order() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.trouble(
        "sendMessage",
        usize::MAX,
        Trouble::Refused(500, "Internal Server Error"),
    );
    for words in ["one", "two", "three"] {
        let turns = bot.log_of_kind("turn_ended").len();
        bot.telegram.says(&ann, words);
        bot.wait_for_turns(turns + 1);
    }
    assert_eq!(bot.telegram.texts_in(ann.id), [""; 0]);
    bot.kill_and_restart();
    bot.telegram.no_more_trouble();
    bot.telegram.wait_for_text(ann.id, "three");
    assert_eq!(bot.settled_texts(ann.id, &ann), ["one", "two", "three"]);
}

#[test]
fn other_chats_do_not_wait_for_one_that_fails() {
    let bot = BotBench::echo(OPEN).serve();
    let (ann, bob) = (
        bot.telegram.person(42, "Ann"),
        bot.telegram.person(43, "Bob"),
    );
    let fails = Trouble::Refused(500, "Internal Server Error");
    bot.telegram
        .trouble_in(ann.id, "sendMessage", usize::MAX, fails);
    bot.telegram.says(&ann, "for Ann");
    bot.wait_for_turns(1);
    bot.telegram.says(&bob, "for Bob");
    bot.telegram.wait_for_text(bob.id, "for Bob");
    bot.telegram.no_more_trouble();
    bot.telegram.wait_for_text(ann.id, "for Ann");
}

#[test]
fn one_who_blocks_the_bot_gets_what_waited_when_coming_back() {
    let bot = BotBench::asking(OPEN).serve();
    bot.model
        .reply(text("one half").and_stall().and_text(" and the rest"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "tell me");
    bot.telegram.wait_for_words(ann.id, "one half");
    bot.telegram.blocks(&ann);
    bot.telegram.wait_until_confirmed();
    bot.model.release();
    bot.wait_for_turns(1);
    bot.telegram.unblocks(&ann);
    bot.telegram.wait_for_text(ann.id, "one half and the rest");
    assert_eq!(bot.settled_texts(ann.id, &ann), ["one half and the rest"]);
}

#[test]
fn a_chat_that_refuses_for_good_is_rested_and_shown_and_does_not_disturb() {
    let bot = BotBench::echo(OPEN).serve();
    let (ann, bob) = (
        bot.telegram.person(42, "Ann"),
        bot.telegram.person(43, "Bob"),
    );
    bot.telegram.says(&ann, "hi");
    bot.telegram.wait_for_text(ann.id, "hi");
    bot.telegram.deactivates(&ann);
    bot.telegram
        .trouble_in(ann.id, "getUpdates", 0, Trouble::CutBefore);
    bot.telegram.says(&bob, "hello");
    bot.telegram.wait_for_text(bob.id, "hello");
    bot.telegram.stand(ann.id, Standing::Blocked);
    bot.telegram.says(&ann, "are you there?");
    bot.wait_for_turns(3);
    bot.telegram.wait("a refused send", |world| {
        let refused = world.calls.iter().find(|call| call.status == Some(403));
        refused.map(|_| ())
    });
    let refused = |bot: &BotBench| {
        let calls = bot.telegram.calls();
        calls.iter().filter(|call| call.status == Some(403)).count()
    };
    let before = refused(&bot);
    bot.telegram.says(&bob, "and you?");
    bot.telegram.wait_for_text(bob.id, "and you?");
    assert!(
        refused(&bot) <= before + 1,
        "a chat that rests is not asked again and again"
    );
    // Something comes from there: it is back.
    bot.telegram.stand(ann.id, Standing::Open);
    bot.telegram.says(&ann, "now?");
    bot.telegram.wait_for_text(ann.id, "now?");
}
