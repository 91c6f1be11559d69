//! Files that the agent sends.

use serde_json::json;

use crate::support::bench::asking;
use crate::support::bot_api::Trouble;
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::telegram::{BotBench, OPEN};

/// A bot that may send what lies in its folder.
fn sending() -> BotBench {
    let bot = BotBench::of(FakeModel::start(), |model| {
        let agent = asking("ada", model).spec(OPEN).builtin("send_file");
        agent.policy("mode: ask\nallow: ['builtin:send_file']")
    });
    bot.workspace
        .write(".duragent/agents/ada/work/report.txt", "all is well");
    bot
}

#[test]
fn a_file_that_the_agent_sends_comes_with_its_words() {
    let bot = sending();
    let call = json!({"path": "report.txt", "caption": "the **report**"}).to_string();
    bot.model
        .reply(tool_call("send_file", &call))
        .then(text("sent"));
    let bot = bot.serve();
    let ann = bot.telegram.person(42, "Ann");
    // An answer that was lost may be repeated; one that was never given is.
    bot.telegram.trouble("sendDocument", 1, Trouble::BadGateway);
    bot.telegram.says(&ann, "send it");
    bot.telegram.wait_for_text(ann.id, "sent");
    let message = bot.telegram.wait("a file", |world| {
        let mut shown = world.chat(42)?.shown();
        shown.find(|message| message.file.is_some()).cloned()
    });
    let file = message.file.unwrap();
    assert_eq!(
        (&*file.name, &*file.bytes),
        ("report.txt", &b"all is well"[..])
    );
    bot.settled_texts(ann.id, &ann);
    let said = bot.telegram.said_in(ann.id);
    assert_eq!(said.iter().filter(|one| one.file.is_some()).count(), 1);
}

#[test]
fn nothing_outside_of_the_agents_folder_is_sent() {
    let bot = sending();
    let outside = bot.workspace.file("duragent.yaml").display().to_string();
    let calls = ["../agent.yaml", &outside, "link", "."]
        .map(|path| tool_call("send_file", &json!({ "path": path }).to_string()));
    let count = calls.len();
    for call in calls {
        bot.model.reply(call).then(text("tried"));
    }
    let link = bot.workspace.file(".duragent/agents/ada/work/link");
    std::os::unix::fs::symlink("../agent.yaml", link).unwrap();
    let bot = bot.serve();
    let ann = bot.telegram.person(42, "Ann");
    for number in 1..=count {
        bot.telegram.says(&ann, "send it");
        bot.wait_for_turns(number);
    }
    bot.settled_texts(ann.id, &ann);
    assert_eq!(bot.telegram.calls_of("sendDocument").len(), 0);
    assert_eq!(bot.telegram.calls_of("sendPhoto").len(), 0);
}
