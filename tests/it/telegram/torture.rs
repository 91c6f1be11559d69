//! Many messages, many kills, calls that fail in every way: each message is taken in by exactly one
//! turn that completes, and is answered once; twice only where the answer to a send was lost.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::support::bot_api::{Call, FakeTelegram, Person, Trouble};
use crate::support::telegram::{BotBench, OPEN};

/// Until everything is said that is to be said.
const PATIENCE: Duration = Duration::from_secs(300);

struct Plan {
    messages: usize,
    chats: usize,
    /// A kill after so many messages, on the average.
    kill_every: usize,
}

#[test]
fn a_hundred_messages_survive_kills_and_calls_that_fail() {
    torture(
        &Plan {
            messages: 100,
            chats: 8,
            kill_every: 12,
        },
        1,
    );
}

#[test]
#[ignore = "minutes: a thousand messages under kills"]
fn a_thousand_messages_survive_kills_and_calls_that_fail() {
    torture(
        &Plan {
            messages: 1_000,
            chats: 40,
            kill_every: 12,
        },
        fastrand::u64(..1 << 32),
    );
}

fn torture(plan: &Plan, seed: u64) {
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut bot = BotBench::echo(OPEN).serve();
    // The program keeps to the limits by itself; what is early by a hair is no matter here.
    bot.telegram.limited(false);
    let people: Vec<Person> = (0..plan.chats)
        .map(|number| {
            bot.telegram
                .person(100 + number as i64, &format!("Person {number}"))
        })
        .collect();
    let mut words = Vec::new();
    let mut kills = Vec::new();
    while words.len() < plan.messages {
        let person = rng.choice(&people).unwrap();
        let word = format!("w{:04}", words.len());
        bot.telegram.says(person, &word);
        words.push((person.id, word));
        if rng.usize(..8) == 0 {
            plan_trouble(&bot.telegram, &mut rng);
        }
        if rng.usize(..plan.kill_every) == 0 {
            thread::sleep(Duration::from_millis(rng.u64(..80)));
            bot.kill();
            kills.push(bot.telegram.now());
            bot.start();
        } else {
            thread::sleep(Duration::from_millis(rng.u64(..10)));
        }
    }
    bot.telegram.no_more_trouble();
    bot.telegram.wait_until_confirmed();
    bot.telegram.wait_for(PATIENCE, "every word", |world| {
        let is_said = |(chat, word): &(i64, String)| {
            let mut shown = world.chats[chat].shown();
            shown.any(|one| one.is_bots && one.text.contains(word.as_str()))
        };
        words.iter().all(is_said).then_some(())
    });
    for person in &people {
        bot.settled_texts(person.id, person);
    }
    assert!(kills.len() >= 3, "only {} kills", kills.len());
    let mut broken = check_log(&bot, &words);
    broken.extend(check_chats(&bot.telegram, &words, &kills));
    assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
}

fn plan_trouble(telegram: &FakeTelegram, rng: &mut Rng) {
    let methods = [
        "sendMessage",
        "sendMessage",
        "editMessageText",
        "getUpdates",
        "sendChatAction",
    ];
    let trouble = match rng.u8(..7) {
        0 => Trouble::CutBefore,
        1 => Trouble::LostAnswer,
        2 => Trouble::HalfAnswer,
        3 => Trouble::BadGateway,
        4 => Trouble::Garbage,
        5 => Trouble::Refused(500, "Internal Server Error"),
        _ => Trouble::Slow(Duration::from_millis(rng.u64(..300))),
    };
    telegram.trouble(methods[rng.usize(..methods.len())], 1, trouble);
}

/// Each message is in the log once, and one completed turn has answered it.
fn check_log(bot: &BotBench, words: &[(i64, String)]) -> Vec<String> {
    let mut broken = Vec::new();
    let logs = bot.logs();
    let records = || logs.iter().flat_map(|(_, log)| log);
    let of_kind = |kind: &'static str| records().filter(move |record| record["type"] == kind);
    let outcomes: BTreeMap<String, &Value> = of_kind("turn_ended")
        .map(|record| (record["turn_id"].to_string(), &record["outcome"]))
        .collect();
    let answers = answers(of_kind("assistant_response"));
    let mut sources: Vec<&Value> = of_kind("user_message")
        .map(|one| &one["source_id"])
        .collect();
    let count = sources.len();
    sources.sort_by_key(|source| source.to_string());
    sources.dedup();
    if (count, sources.len()) != (words.len(), words.len()) {
        broken.push(format!(
            "{count} messages of {} updates, sent {}",
            sources.len(),
            words.len()
        ));
    }
    for (_, word) in words {
        let asked = of_kind("user_message").filter(|one| one["content"] == word.as_str());
        let asked = asked.count();
        if asked != 1 {
            broken.push(format!("{word} is {asked} times in the log"));
        }
        let turns: Vec<&String> = answers
            .values()
            .filter(|(_, text)| text.contains(word.as_str()))
            .map(|(turn, _)| turn)
            .collect();
        let are_completed = turns.iter().all(|turn| {
            outcomes
                .get(*turn)
                .is_some_and(|outcome| **outcome == "completed")
        });
        if turns.len() != 1 || !are_completed {
            broken.push(format!("{word} is answered by {turns:?}"));
        }
    }
    broken
}

/// Each reply with its turn, put together of its parts.
fn answers<'r>(parts: impl Iterator<Item = &'r Value>) -> BTreeMap<String, (String, String)> {
    let mut answers: BTreeMap<String, (String, String)> = BTreeMap::new();
    for part in parts {
        let id = match &part["continues"] {
            Value::Null => part["message_id"].to_string(),
            first => first.to_string(),
        };
        let answer = answers.entry(id).or_default();
        answer.0 = part["turn_id"].to_string();
        answer.1 += part["content"].as_str().unwrap_or_default();
    }
    answers
}

/// Each word is said once; again only where nobody can know that the first try went well.
fn check_chats(
    telegram: &FakeTelegram,
    words: &[(i64, String)],
    kills: &[Duration],
) -> Vec<String> {
    let mut broken = Vec::new();
    let sends = telegram.calls_of("sendMessage");
    for (chat, word) in words {
        let said = telegram.said_in(*chat).into_iter();
        let said = said.filter(|message| message.text.contains(word.as_str()));
        let ids: Vec<i64> = said.map(|message| message.id).collect();
        if ids.is_empty() {
            broken.push(format!("{word} is not answered"));
        }
        for pair in ids.windows(2) {
            let [first, second] = [pair[0], pair[1]].map(|id| call_of(&sends, *chat, id));
            let is_lost = first.status.is_none();
            let is_killed = kills
                .iter()
                .any(|kill| (first.at..=second.at).contains(kill));
            if !is_lost && !is_killed {
                broken.push(format!("{word} is said twice: {first:?} and {second:?}"));
            }
        }
    }
    broken
}

fn call_of(sends: &[Call], chat: i64, message: i64) -> &Call {
    let made =
        |call: &&Call| call.chat() == Some(chat) && call.answer["result"]["message_id"] == message;
    sends.iter().find(made).expect("a message that was sent")
}

/// Sends a word as the program would.
fn send(telegram: &FakeTelegram, chat: i64, word: &str) {
    let url = format!("{}/bot{}/sendMessage", telegram.url(), telegram.token());
    let params = serde_json::json!({"chat_id": chat, "text": word});
    // What was lost is lost.
    let config = ureq::Agent::config_builder().proxy(None).build();
    drop(config.new_agent().post(&url).send_json(&params));
}

#[test]
fn the_check_of_chats_sees_what_is_missing_or_repeated_without_need() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    telegram.says(&ann, "hi");
    let words = |word: &str| vec![(ann.id, word.to_owned())];
    let broken = |word: &str, kills: &[Duration]| check_chats(&telegram, &words(word), kills).len();
    assert_eq!(broken("missing", &[]), 1);
    send(&telegram, ann.id, "once");
    assert_eq!(broken("once", &[]), 0);
    telegram.trouble("sendMessage", 1, Trouble::LostAnswer);
    send(&telegram, ann.id, "lost");
    send(&telegram, ann.id, "lost");
    assert_eq!(broken("lost", &[]), 0);
    send(&telegram, ann.id, "lost");
    assert_eq!(broken("lost", &[]), 1);
    telegram.advance(Duration::from_secs(5));
    send(&telegram, ann.id, "killed");
    let kill = telegram.now();
    send(&telegram, ann.id, "killed");
    assert_eq!(broken("killed", &[kill]), 0);
    assert_eq!(broken("killed", &[]), 1);
}
