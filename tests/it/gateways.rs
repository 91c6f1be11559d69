//! A gateway that is a program, from what a person says on its platform to the answer there: the program is
//! real, and does nothing but pass lines on, so that each test is what the program says and does.

mod platform;

use serde_json::{Value, json};

use crate::support::bench::{AgentFiles, Bench, Served, asking, echo};
use crate::support::fake_model::{FakeModel, text};
use crate::support::server::{Launch, Workspace, eventually};

use platform::Platform;

/// Everybody may talk.
const OPEN: &str = "access: {dm: {policy: open}}";

fn serve(platform: &Platform, agent: AgentFiles) -> Served {
    Bench::new().agent(agent).config(&platform.config()).serve()
}

/// What was said in the only session, from the oldest on.
fn said(workspace: &Workspace) -> Vec<String> {
    let sessions = workspace.run(&["session", "list", "--json"]);
    let sessions: Value = serde_json::from_str(&sessions).unwrap();
    let sessions = sessions.as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    let log = workspace.log_of(sessions[0]["session_id"].as_str().unwrap());
    let messages = log.iter().filter(|line| line["type"] == "user_message");
    messages
        .map(|line| line["content"].as_str().unwrap().to_owned())
        .collect()
}

/// Where the server is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// It may have heard of the message.
    Told,
    /// It has sent the answer, and does not know whether that is there.
    Unanswered,
    /// It may know that the answer is there.
    Confirmed,
}

#[test]
fn an_answer_arrives_once_wherever_the_server_is_killed() {
    for moment in [Moment::Told, Moment::Unanswered, Moment::Confirmed] {
        let platform = Platform::start();
        let (workspace, mut server) = serve(&platform, echo("helper").spec(OPEN)).apart();
        let mut run = platform.run(&["reply"]);
        run.says("1", "good morning");
        let mut shown = 0;
        if moment != Moment::Told {
            let sent = run.sent();
            assert_eq!(sent["reply_to"], "1", "{moment:?}");
            shown += 1;
            if moment == Moment::Confirmed {
                run.confirms(&sent, "a");
            }
        }
        server.kill();
        // What it sent before its end.
        shown += run.rest();
        let mut server = Launch::new(&workspace).start();
        let mut run = platform.run(&["reply"]);
        // The platform did not hear that it was taken in.
        run.says("1", "good morning");
        if moment != Moment::Confirmed {
            let sent = run.sent();
            assert!(words(&sent).contains("good morning"), "{moment:?}: {sent}");
            run.confirms(&sent, "b");
            shown += 1;
        }
        run.says("2", "and again");
        let mut sent = run.sent();
        if moment == Moment::Confirmed && words(&sent).contains("good morning") {
            // It was killed before it heard that this was there.
            run.confirms(&sent, "b");
            sent = run.sent();
            shown += 1;
        }
        assert!(words(&sent).contains("and again"), "{moment:?}: {sent}");
        run.confirms(&sent, "c");
        assert!((1..=2).contains(&shown), "{moment:?}: {shown}");
        server.terminate();
        assert!(server.wait_for_exit().success());
        assert_eq!(run.rest(), 0, "{moment:?}");
        assert_eq!(
            said(&workspace),
            ["good morning", "and again"],
            "{moment:?}"
        );
    }
}

#[test]
fn a_stranger_gets_a_code_and_leaves_nothing_behind() {
    let platform = Platform::start();
    let served = serve(&platform, echo("helper"));
    let mut run = platform.run(&["edit", "reply"]);
    run.says("1", "a secret of mine");
    let sent = run.sent();
    run.confirms(&sent, "a");
    let code = words(&sent).split('`').nth(1).unwrap().to_owned();
    let sessions = served.workspace.run(&["session", "list", "--json"]);
    assert!(!sessions.contains("session_id"), "{sessions}");
    let state = served.workspace.file(".duragent");
    let found = std::process::Command::new("grep")
        .args(["-rl", "a secret of mine"])
        .arg(state)
        .output();
    assert_eq!(String::from_utf8(found.unwrap().stdout).unwrap(), "");
    served.workspace.run(&["gateway", "approve", &code]);
    let sent = run.sent();
    assert!(words(&sent).contains("admitted"), "{sent}");
    run.confirms(&sent, "b");
    run.says("2", "hello");
    assert!(words(&run.sent()).contains("hello"));
}

#[test]
fn what_a_program_did_not_send_is_sent_by_its_next_run() {
    let platform = Platform::start();
    let served = serve(&platform, echo("helper").spec(OPEN));
    let mut run = platform.run(&["reply"]);
    run.says("1", "good morning");
    let lost = run.sent();
    // Its program ends with a failure.
    drop(run);
    let mut run = platform.run(&["reply"]);
    let sent = run.sent();
    assert_eq!(words(&sent), words(&lost));
    run.confirms(&sent, "a");
    run.says("2", "still there?");
    assert!(words(&run.sent()).contains("still there?"));
    assert_eq!(said(&served.workspace), ["good morning", "still there?"]);
}

#[test]
fn an_answer_grows_where_messages_can_be_edited_and_comes_whole_elsewhere() {
    for can in [&["edit", "reply"][..], &["reply"]] {
        let platform = Platform::start();
        let model = FakeModel::start();
        model.reply(text("It begins").and_stall().and_text(" and ends."));
        let _served = serve(&platform, asking("helper", &model).continues().spec(OPEN));
        let mut run = platform.run(can);
        run.says("1", "tell me");
        model.wait_for_requests(1);
        if can.contains(&"edit") {
            let first = run.sent();
            assert!("It begins".starts_with(words(&first)), "{first}");
            run.confirms(&first, "a");
            model.release();
            let last = loop {
                let edit = run.command();
                assert_eq!(
                    (&edit["type"], &edit["message_id"]),
                    (&json!("edit_message"), &json!("a"))
                );
                run.confirms(&edit, "a");
                if !"It begins".starts_with(words(&edit)) {
                    break edit;
                }
            };
            assert_eq!(words(&last), "It begins and ends.");
        } else {
            model.release();
            assert_eq!(words(&run.sent()), "It begins and ends.");
        }
    }
}

#[test]
fn a_program_that_hears_nothing_ends_with_its_server() {
    let platform = Platform::start();
    let (_workspace, mut server) = serve(&platform, echo("helper").spec(OPEN)).apart();
    // It does not end with its input, and has nothing to say that nobody would take.
    let mut run = platform.run(&["reply"]);
    run.says("1", "hello");
    run.sent();
    server.kill();
    run.rest();
}

#[test]
fn a_program_is_started_anew_when_its_owner_says_so_and_what_it_remarks_is_told() {
    let platform = Platform::start();
    let served = serve(&platform, echo("helper").spec(OPEN));
    let mut run = platform.run(&["reply"]);
    eventually("it is listed as ready", || {
        let list = served.workspace.run(&["gateway", "list"]);
        list.contains("ready").then_some(())
    });
    served.workspace.run(&["gateway", "restart", "relay"]);
    run.rest();
    let mut run = platform.run(&["reply"]);
    run.says("1", "hello");
    assert!(words(&run.sent()).contains("hello"));
    let logs = served.workspace.run(&["gateway", "logs", "relay"]);
    assert_eq!(logs.matches("the relay is there").count(), 2, "{logs}");
}

fn words(command: &Value) -> &str {
    command["content"].as_str().unwrap()
}
