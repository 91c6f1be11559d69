//! The built-in Telegram gateway, as people see it: the real program against a Bot API on loopback.

mod approvals;
mod crash;
mod files;
mod groups;
mod input;
mod markdown;
mod outbox;
mod polling;
mod queue;
mod secrets;
mod streaming;
mod torture;

use serde_json::{Value, json};

use crate::support::bench::{Bench, asking, echo};
use crate::support::bot_api::{FakeTelegram, Person};
use crate::support::fake_model::{FakeModel, error, stall, text, tool_call};
use crate::support::telegram::{BotBench, OPEN, source};

#[test]
fn a_message_is_answered_once_and_bears_the_number_of_its_update() {
    let bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    let told = bot.telegram.says(&ann, "hi there");
    let answer = bot.telegram.wait_for_text(ann.id, "hi there");
    bot.wait_for_turns(1);
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.telegram.texts_in(ann.id), ["hi there"]);
    assert_eq!(bot.sources(), [source(told.update)]);
    assert_eq!(bot.contents(), ["hi there"]);
    let starts = bot.log_of_kind("session_start");
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0]["gateway"], "telegram");
    assert_eq!(starts[0]["gateway_chat_id"], "42");
    assert!(answer.reply_to.is_none_or(|id| id == told.message));
}

#[test]
fn a_chat_is_one_session_and_is_found_again_after_a_restart() {
    let mut bot = BotBench::echo(OPEN).serve();
    let (ann, bob) = (
        bot.telegram.person(42, "Ann"),
        bot.telegram.person(43, "Bob"),
    );
    bot.telegram.says(&ann, "one");
    bot.telegram.wait_for_text(ann.id, "one");
    bot.telegram.says(&bob, "two");
    bot.telegram.wait_for_text(bob.id, "two");
    bot.wait_for_turns(2);
    bot.wait_until_delivered();
    bot.stop();
    bot.start();
    bot.telegram.says(&ann, "three");
    bot.telegram.wait_for_text(ann.id, "three");
    assert_eq!(bot.logs().len(), 2);
    assert_eq!(bot.telegram.texts_in(ann.id), ["one", "three"]);
    assert_eq!(bot.telegram.texts_in(bob.id), ["two"]);
}

#[test]
fn a_stranger_gets_a_code_that_the_owner_admits_and_leaves_nothing_before() {
    let bot = BotBench::echo("").serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "my secret words");
    let told = bot.telegram.wait_for_messages(ann.id, 1).remove(0).text;
    bot.telegram.says(&ann, "once more");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.logs().len(), 0);
    assert_eq!(bot.places_of("my secret words"), [""; 0]);
    assert_eq!(bot.telegram.texts_in(ann.id).len(), 1, "it is told once");
    let listed = bot.gateway(&["pairings"]);
    let code = listed
        .split_whitespace()
        .find(|word| word.len() >= 6 && told.contains(word))
        .unwrap_or_else(|| panic!("no code of {listed:?} in {told:?}"))
        .to_owned();
    bot.gateway(&["approve", &code]);
    bot.telegram.says(&ann, "hi again");
    bot.telegram.wait_for_text(ann.id, "hi again");
    // Another one is as strange as before.
    let bob = bot.telegram.person(43, "Bob");
    bot.telegram.says(&bob, "me too");
    let told = bot.telegram.wait_for_messages(bob.id, 1);
    assert!(!told[0].text.contains("me too"), "{told:?}");
    assert_eq!(bot.logs().len(), 1);
}

#[test]
fn whoever_is_on_no_list_is_not_listened_to() {
    for spec in [
        "access: {dm: {policy: disabled}}",
        "access: {dm: {policy: allowlist, allowlist: ['7']}}",
    ] {
        let bot = BotBench::echo(spec).serve();
        let ann = bot.telegram.person(42, "Ann");
        bot.telegram.says(&ann, "my secret words");
        bot.telegram.says(&ann, "/start");
        bot.telegram.wait_until_confirmed();
        assert_eq!(bot.telegram.texts_in(ann.id), [""; 0], "{spec}");
        assert_eq!(bot.logs().len(), 0, "{spec}");
        assert_eq!(bot.places_of("my secret words"), [""; 0], "{spec}");
    }
}

#[test]
fn the_bot_tells_its_commands_and_follows_them() {
    let bot = BotBench::echo(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    let commands = bot.telegram.wait("its commands", |world| {
        let commands = world.commands.as_array()?;
        let names = commands.iter().filter_map(|one| one["command"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        (!names.is_empty()).then_some(names)
    });
    for name in ["help", "status", "stop", "reset"] {
        assert!(commands.iter().any(|known| known == name), "{commands:?}");
    }
    let mut count = 0;
    for command in ["/start", "/help", "/status"] {
        bot.telegram.says(&ann, command);
        count += 1;
        let said = bot.telegram.wait_for_messages(ann.id, count);
        assert!(!said[count - 1].text.is_empty());
    }
    assert_eq!(bot.log_of_kind("user_message").len(), 0);
    // The end of a session, and the beginning of the next.
    bot.telegram.says(&ann, "one");
    bot.telegram.wait_for_text(ann.id, "one");
    bot.wait_for_turns(1);
    bot.telegram.says(&ann, "/reset");
    bot.wait_for_log("session_end", 1);
    bot.telegram.says(&ann, "two");
    bot.telegram.wait_for_text(ann.id, "two");
    assert_eq!(bot.logs().len(), 2);
}

#[test]
fn a_deep_link_reaches_the_model_as_what_it_brings() {
    let bot = BotBench::asking(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "/start order-17");
    bot.telegram.wait_for_text(ann.id, "ok");
    assert_eq!(bot.last_question(), "order-17");
}

#[test]
fn a_turn_is_stopped_by_a_command_and_the_chat_is_told() {
    let bot = BotBench::asking(OPEN).serve();
    bot.model.reply(text("one two three").and_stall());
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "count");
    bot.telegram.wait_for_words(ann.id, "one two three");
    bot.telegram.says(&ann, "/stop");
    let ended = bot.wait_for_log("turn_ended", 1);
    assert_eq!(ended[0]["outcome"], "cancelled");
    bot.model.wait_for_disconnects(1);
    bot.telegram.says(&ann, "and now?");
    bot.telegram.wait_for_text(ann.id, "ok");
}

#[test]
fn the_chat_sees_that_the_agent_is_at_work_and_not_after() {
    let bot = BotBench::asking(OPEN).serve();
    bot.model.reply(stall().and_text("done"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "work");
    bot.model.wait_for_stalls(1);
    bot.telegram
        .wait("typing", |world| world.is_typing(42).then_some(()));
    bot.model.release();
    bot.telegram.wait_for_text(ann.id, "done");
    bot.wait_for_turns(1);
    let after: Vec<Value> = {
        let calls = bot.telegram.calls();
        let last = calls.iter().rposition(|call| call.method == "sendMessage");
        let after = calls[last.unwrap()..].iter();
        let actions = after.filter(|call| call.method == "sendChatAction");
        actions.map(|call| call.params.clone()).collect()
    };
    assert_eq!(after, [] as [Value; 0]);
    assert!(!bot.telegram.is_typing(ann.id));
}

#[test]
fn a_short_line_tells_of_a_tool_at_work_and_is_gone_in_the_end() {
    let bot = BotBench::of(FakeModel::start(), |model| {
        let agent = asking("ada", model).spec(OPEN).builtin("bash");
        agent.policy("mode: dangerous")
    });
    let command = "until [ -e go ]; do sleep 0.05; done";
    bot.model
        .reply(tool_call(
            "bash",
            &json!({ "command": command }).to_string(),
        ))
        .then(text("it is done"));
    let bot = bot.serve();
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "work");
    bot.telegram.wait_for_words(ann.id, "bash");
    bot.workspace.write(".duragent/agents/ada/work/go", "");
    bot.telegram.wait_for_text(ann.id, "it is done");
    assert_eq!(bot.settled_texts(ann.id, &ann), ["it is done"]);
}

#[test]
fn what_comes_of_a_message_from_elsewhere_is_shown_in_the_chat_too() {
    let bot = BotBench::asking(OPEN).serve();
    bot.model.reply(text("first")).then(text("by itself"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    bot.telegram.wait_for_text(ann.id, "first");
    bot.wait_for_turns(1);
    let (session, _) = bot.logs().remove(0);
    assert_eq!(bot.server().say(&session, "the owner asks").status, 200);
    bot.telegram.wait_for_text(ann.id, "by itself");
    assert_eq!(bot.settled_texts(ann.id, &ann), ["first", "by itself"]);
}

#[test]
fn a_failed_turn_is_told_in_plain_words_without_a_key() {
    let bot = BotBench::asking(OPEN).serve();
    bot.model.reply(error(401, "bad key test-key-openai"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "hi");
    let said = bot.telegram.wait_for_messages(ann.id, 1);
    assert!(!said[0].text.contains("test-key-openai"), "{said:?}");
    bot.wait_for_turns(1);
}

#[test]
fn one_bot_for_each_agent() {
    let (one, two) = (
        FakeTelegram::of_bot(1_001, "one_bot"),
        FakeTelegram::of_bot(1_002, "two_bot"),
    );
    let entry = |telegram: &FakeTelegram, name: &str, agent: &str| {
        format!(
            "{{name: {name}, bot_token: \"{}\", api_url: \"{}\", agent: {agent}}}",
            telegram.token(),
            telegram.url()
        )
    };
    let config = format!(
        "gateways: {{telegram: [{}, {}]}}",
        entry(&one, "first", "ada"),
        entry(&two, "second", "bob")
    );
    let bench = Bench::new()
        .agent(echo("ada").spec(OPEN))
        .agent(echo("bob").spec(OPEN))
        .config(&config)
        .serve();
    let ann = |telegram: &FakeTelegram| -> Person { telegram.person(42, "Ann") };
    one.says(&ann(&one), "to one");
    two.says(&ann(&two), "to two");
    one.wait_for_text(42, "to one");
    two.wait_for_text(42, "to two");
    let listed = bench.get("/api/v1/sessions").json();
    let sessions = listed["sessions"].as_array().unwrap();
    let mut agents: Vec<&Value> = sessions.iter().map(|one| &one["agent"]).collect();
    agents.sort_by_key(ToString::to_string);
    assert_eq!(agents, ["ada", "bob"]);
}
