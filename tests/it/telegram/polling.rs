//! Polling never dies quietly: it goes on through whatever comes, and says what it cannot mend.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::bot_api::Trouble;
use crate::support::server::eventually;
use crate::support::telegram::{BotBench, OPEN};

#[test]
fn whatever_a_poll_gets_the_next_message_is_answered() {
    let bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    let troubles = [
        Trouble::BadGateway,
        Trouble::Garbage,
        Trouble::Odd,
        Trouble::CutBefore,
        Trouble::LostAnswer,
        Trouble::HalfAnswer,
        Trouble::Refused(500, "Internal Server Error"),
        Trouble::Refused(429, "Too Many Requests: retry after 1"),
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let words = format!("after {trouble:?}");
        let count = bot.telegram.calls_of("getUpdates").len();
        bot.telegram.trouble("getUpdates", 1, trouble);
        // The poll that waits ends with this.
        bot.telegram.says(&ann, &format!("before {number}"));
        bot.telegram.wait_for_calls("getUpdates", count + 1);
        bot.telegram.says(&ann, &words);
        bot.telegram.wait_for_text(ann.id, &words);
    }
    bot.telegram.wait_until_confirmed();
    let mut sources = bot.sources();
    let count = sources.len();
    sources.sort();
    sources.dedup();
    assert_eq!((count, sources.len()), (16, 16));
}

#[test]
fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut bot = BotBench::echo(OPEN);
    bot.telegram.trouble("*", 5, Trouble::BadGateway);
    bot.start();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    bot.telegram.wait_for_text(ann.id, "hi");
}

#[test]
fn another_poller_is_told_of_and_outlived() {
    let bot = BotBench::echo(OPEN);
    bot.telegram.rival(true);
    let bot = bot.serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    told_in_readiness_and_log(&bot, "getUpdates");
    bot.telegram.rival(false);
    bot.telegram.wait_for_text(ann.id, "hi");
    eventually("it is well again", || {
        (!bot.readiness().to_string().contains("409")).then_some(())
    });
}

#[test]
fn a_token_that_is_revoked_is_told_of() {
    let bot = BotBench::echo(OPEN);
    bot.telegram.revoke(true);
    let bot = bot.serve();
    told_in_readiness_and_log(&bot, "token");
    bot.telegram.revoke(false);
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    bot.telegram.wait_for_text(ann.id, "hi");
}

fn told_in_readiness_and_log(bot: &BotBench, word: &str) {
    eventually(&format!("/readyz and the log tell of {word}"), || {
        let readiness = bot.readiness().to_string();
        let is_told = readiness.contains("telegram") && bot.server().log().contains("telegram");
        (is_told && readiness.contains(word)).then_some(())
    });
}

#[test]
fn a_webhook_that_somebody_had_set_goes_without_a_message_lost() {
    let bot = BotBench::echo(OPEN);
    bot.telegram.webhook("https://example.org/hook");
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    let bot = bot.serve();
    bot.telegram.wait_for_text(ann.id, "hi");
}

#[test]
fn an_update_that_cannot_be_read_is_set_aside_and_the_next_one_is_answered() {
    let bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    let chat = json!({"id": 42, "type": "private", "first_name": "Ann"});
    let poison = [
        json!({"message": {"message_id": "no number", "chat": chat, "date": 1, "text": "a"}}),
        json!({"message": {"message_id": 7, "date": 1, "text": "no chat"}}),
        json!({"message": {"message_id": 8, "chat": chat, "date": 1, "text": 12}}),
        json!({"message": [1, 2, 3]}),
        json!({"callback_query": {"id": 7}}),
    ];
    let ids = poison.map(|update| bot.telegram.raw(update));
    // Of kinds that nobody knows there is nothing to keep.
    bot.telegram.raw(json!({"what_will_be_invented": {"x": 1}}));
    bot.telegram.raw(json!({}));
    let began = Instant::now();
    bot.telegram.says(&ann, "and this?");
    bot.telegram.wait_for_text(ann.id, "and this?");
    assert!(began.elapsed() < Duration::from_secs(30));
    bot.telegram.wait_until_confirmed();
    let aside = bot
        .workspace
        .read(".duragent/gateways/telegram/set-aside.jsonl");
    for id in ids {
        assert!(aside.contains(&id.to_string()), "{id} in {aside}");
    }
    assert_eq!(bot.contents(), ["and this?"]);
}

#[test]
#[ignore = "60 s: how long a poll may hang"]
fn a_poll_that_hangs_is_given_up() {
    let bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    bot.telegram.trouble("getUpdates", 1, Trouble::Hang);
    bot.telegram.wait_for_text(ann.id, "hi");
    bot.telegram.wait("the poll that hangs", |world| {
        world
            .troubles
            .iter()
            .all(|planned| planned.left() == 0)
            .then_some(())
    });
    let began = Instant::now();
    bot.telegram.says(&ann, "anybody?");
    let patience = Duration::from_secs(90);
    bot.telegram.wait_for(patience, "an answer", |world| {
        let mut shown = world.chat(42)?.shown();
        shown
            .find(|one| one.is_bots && one.text == "anybody?")
            .map(|_| ())
    });
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn a_stop_does_not_wait_for_the_poll() {
    let mut bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    bot.telegram.wait_for_text(ann.id, "hi");
    let began = Instant::now();
    bot.stop();
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
}
