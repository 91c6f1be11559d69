//! A question is buttons, which those press who may decide, and nobody else.

use std::time::Duration;

use crate::support::bench::asking;
use crate::support::bot_api::ShownMessage;
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::telegram::{BotBench, source};

/// Everybody may talk; 42 may decide.
const DECIDED_BY_ANN: &str = "access:\n  dm: {policy: open}\n  \
    groups: {policy: open, queue: {debounce: {enabled: false}}}\n  approvers: ['42']";
const DECIDED_BY_NOBODY: &str = "access:\n  dm: {policy: open}";

/// A bot that asks before each command.
fn careful(spec: &str) -> BotBench {
    BotBench::of(FakeModel::start(), |model| {
        let agent = asking("ada", model).spec(spec);
        agent.builtin("bash").policy("mode: ask")
    })
}

fn touch(file: &str) -> crate::support::fake_model::Step {
    tool_call("bash", &format!("{{\"command\": \"touch {file}\"}}"))
}

fn has_run(bot: &BotBench, file: &str) -> bool {
    let work = bot.workspace.file(".duragent/agents/ada/work");
    work.join(file).exists()
}

fn data(asked: &ShownMessage, label: &str) -> String {
    let found = asked.buttons.iter().find(|(found, _)| found == label);
    found
        .unwrap_or_else(|| panic!("no {label} in {:?}", asked.labels()))
        .1
        .clone()
}

#[test]
fn an_approver_decides_by_a_button_and_the_call_runs_once() {
    let bot = careful(DECIDED_BY_ANN).serve();
    bot.model.reply(touch("made")).then(text("it is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    let asked = bot.telegram.wait_for_buttons(ann.id);
    assert_eq!(
        asked.labels(),
        ["Allow once", "For this session", "Allow always", "Deny"]
    );
    assert!(asked.text.contains("touch made"), "{}", asked.text);
    for (_, data) in &asked.buttons {
        let is_handle = data.len() == 12 && data.chars().all(|c| c.is_ascii_alphabetic());
        assert!(is_handle, "{data:?}");
    }
    assert!(!has_run(&bot, "made"));
    let press = bot.telegram.press(ann.id, asked.id, "Allow once", &ann);
    bot.telegram.wait_for_answer_to(&press);
    bot.telegram.wait_for_text(ann.id, "it is made");
    assert!(has_run(&bot, "made"));
    let decided = bot.log_of_kind("approval_decision");
    assert_eq!(decided.len(), 1);
    assert!(
        decided[0]["source_id"]
            .as_str()
            .unwrap()
            .starts_with("telegram:"),
        "{decided:?}"
    );
    let required = bot.log_of_kind("approval_required");
    assert_eq!(required[0]["requester_id"], "42");
    // The buttons are gone, and an old screen's do nothing more.
    let shown = bot.telegram.said_in(ann.id);
    assert!(
        shown.iter().all(|message| message.buttons.is_empty()),
        "{shown:?}"
    );
    let press = bot
        .telegram
        .press_data(ann.id, asked.id, &data(&asked, "Deny"), &ann);
    let told = bot.telegram.wait_for_answer_to(&press);
    assert!(!told.is_empty());
    assert_eq!(bot.log_of_kind("approval_decision").len(), 1);
}

#[test]
fn a_strangers_press_changes_nothing_and_says_so() {
    let bot = careful(DECIDED_BY_ANN).serve();
    bot.model.reply(touch("made")).then(text("it is made"));
    let (ann, bob) = (
        bot.telegram.person(42, "Ann"),
        bot.telegram.person(43, "Bob"),
    );
    let group = bot.telegram.supergroup("Team");
    bot.telegram.says_in(group, &bob, "@ada_bot make it");
    let asked = bot.telegram.wait_for_buttons(group);
    let press = bot.telegram.press(group, asked.id, "Allow once", &bob);
    let told = bot.telegram.wait_for_answer_to(&press);
    assert!(!told.is_empty());
    bot.telegram.says_in(group, &bob, "/approve@ada_bot");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    assert!(!has_run(&bot, "made"));
    // Data that nobody made, and those of another message.
    for (message, data) in [
        (asked.id, "x".repeat(64)),
        (asked.id + 50, data(&asked, "Allow once")),
    ] {
        let press = bot.telegram.press_data(group, message, &data, &ann);
        bot.telegram.wait_for_answer_to(&press);
    }
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    bot.telegram.press(group, asked.id, "Deny", &ann);
    let decided = bot.wait_for_log("approval_decision", 1);
    assert_eq!(decided[0]["decision"], "deny");
    bot.telegram.wait_for_words(group, "it is made");
    assert!(!has_run(&bot, "made"));
}

#[test]
fn a_press_counts_even_when_its_answer_comes_too_late() {
    let mut bot = careful(DECIDED_BY_ANN).serve();
    bot.model.reply(touch("made")).then(text("it is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    let asked = bot.telegram.wait_for_buttons(ann.id);
    bot.wait_until_known(&asked);
    bot.kill();
    bot.telegram.press(ann.id, asked.id, "Allow once", &ann);
    bot.telegram.advance(Duration::from_secs(60));
    bot.start();
    bot.telegram.wait_for_text(ann.id, "it is made");
    assert!(has_run(&bot, "made"));
    assert_eq!(bot.log_of_kind("approval_decision").len(), 1);
}

#[test]
fn a_press_that_comes_again_after_a_kill_decides_nothing_more() {
    use crate::support::bot_api::Trouble;
    let mut bot = careful(DECIDED_BY_ANN).serve();
    bot.model
        .reply(touch("one"))
        .then(text("one is made"))
        .then(touch("two"))
        .then(text("two is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "one");
    let asked = bot.telegram.wait_for_buttons(ann.id);
    bot.telegram
        .trouble("getUpdates", usize::MAX, Trouble::CutBefore);
    bot.telegram.press(ann.id, asked.id, "Allow once", &ann);
    let decided = bot.wait_for_log("approval_decision", 1);
    bot.telegram.wait_for_text(ann.id, "one is made");
    bot.kill();
    bot.telegram.says(&ann, "two");
    bot.telegram.no_more_trouble();
    bot.start();
    let asked = bot.telegram.wait_for_buttons(ann.id);
    assert!(asked.text.contains("touch two"), "{asked:?}");
    assert_eq!(bot.log_of_kind("approval_decision"), decided);
    let update = decided[0]["source_id"].as_str().unwrap();
    assert!(!bot.sources().contains(&update.to_owned()));
    assert!(!has_run(&bot, "two"));
}

#[test]
fn commands_decide_as_buttons_do_but_not_in_what_was_edited() {
    let bot = careful(DECIDED_BY_ANN).serve();
    bot.model.reply(touch("made")).then(text("it is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    bot.telegram.wait_for_buttons(ann.id);
    let other = bot.telegram.says(&ann, "hm");
    bot.telegram.wait_until_confirmed();
    bot.telegram.edits(ann.id, other.message, "/approve");
    bot.telegram.edits(ann.id, other.message, "/reset");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    assert_eq!(bot.log_of_kind("session_end").len(), 0);
    let told = bot.telegram.says(&ann, "/approve");
    bot.telegram.wait_for_words(ann.id, "it is made");
    let decided = bot.log_of_kind("approval_decision");
    assert_eq!(decided[0]["source_id"], source(told.update));
    assert!(has_run(&bot, "made"));
}

#[test]
fn words_meanwhile_are_kept_and_answered_with_what_is_waited_for() {
    let bot = careful(DECIDED_BY_ANN).serve();
    bot.model.reply(touch("made")).then(text("it is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    let asked = bot.telegram.wait_for_buttons(ann.id);
    bot.telegram.says(&ann, "yes please");
    bot.telegram
        .wait_for_words(ann.id, "waiting for your decision");
    assert_eq!(bot.contents(), ["make it", "yes please"]);
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    bot.telegram.press(ann.id, asked.id, "Allow once", &ann);
    bot.telegram.wait_for_words(ann.id, "it is made");
}

#[test]
fn where_nobody_of_the_chat_may_decide_it_is_told_that_the_owner_does() {
    let bot = careful(DECIDED_BY_NOBODY).serve();
    bot.model.reply(touch("made")).then(text("it is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    bot.telegram.wait_for_words(ann.id, "waits for the owner");
    let told = bot.telegram.says(&ann, "/approve");
    bot.telegram.wait_until_confirmed();
    assert!(told.update > 0);
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    let (session, _) = bot.logs().remove(0);
    let open = bot
        .server()
        .get(&format!("/api/v1/sessions/{session}"))
        .json();
    let open = &open["pending_approval"];
    let body = serde_json::json!({"call_id": open["call_id"], "command": open["command"],
                                  "decision": "allow_once"});
    let path = format!("/api/v1/sessions/{session}/approve");
    assert!(matches!(bot.server().post(&path, &body).status, 200 | 202));
    bot.telegram.wait_for_words(ann.id, "it is made");
    assert!(has_run(&bot, "made"));
}

#[test]
fn a_chat_that_the_owner_names_is_told_of_questions_of_other_chats() {
    let bot = BotBench::of(FakeModel::start(), |model| {
        let agent = asking("ada", model).spec(DECIDED_BY_NOBODY);
        let told = "mode: ask\nnotify: {on: [approval], chat: 'telegram:77'}";
        agent.builtin("bash").policy(told)
    });
    let bot = bot.serve();
    let owner = bot.telegram.person(77, "Owner");
    bot.model.reply(text("hello"));
    bot.telegram.says(&owner, "hi");
    bot.telegram.wait_for_text(owner.id, "hello");
    bot.model.reply(touch("made")).then(text("it is made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    let told = bot.telegram.wait_for_words(owner.id, "asks to run");
    assert!(told.text.contains("touch made"), "{}", told.text);
    assert!(told.buttons.is_empty(), "who may read need not decide");
}
