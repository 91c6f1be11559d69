//! Long conversations of the real program: what is too much of one is summarised.

use serde_json::{Value, json};

use crate::support::bench::{AgentFiles, Bench, Served, asking};
use crate::support::fake_model::{Asked, FakeModel, error, pieces, stall, text, tool_call};
use crate::support::server::{Answer, Server, Workspace, eventually};

const SUMMARY: &str = "The code of the safe is 4711.";

/// The agent's model, and the one that writes its summaries.
struct Models {
    main: FakeModel,
    writer: FakeModel,
}

impl Models {
    fn new() -> Models {
        let models = Models {
            main: FakeModel::start(),
            writer: FakeModel::start(),
        };
        models.main.default_reply(text("fine").usage(0, 0));
        models.writer.default_reply(text(SUMMARY).usage(300, 20));
        models
    }

    /// An agent whose conversations have room for so many tokens.
    fn helper(&self, history_tokens: u32) -> AgentFiles {
        asking("helper", &self.main)
            .continues()
            .session(&format!(
                "context: {{max_history_tokens: {history_tokens}}}"
            ))
            .session("summary_model: {provider: pen, name: writer}")
    }

    fn bench(&self, helper: AgentFiles) -> Bench {
        let url = self.writer.url();
        Bench::new().agent(helper).config(&format!(
            "providers: {{pen: {{dialect: openai, base_url: \"{url}\"}}}}"
        ))
    }

    fn serve(&self, history_tokens: u32) -> Served {
        self.bench(self.helper(history_tokens)).serve()
    }
}

/// A message of about 50 tokens that no other is like.
fn words(n: usize) -> String {
    format!("message {n} {}", "blah ".repeat(38))
}

fn say(server: &Server, session: &str, content: &str) {
    let answer = server.say(session, content);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn say_turns(server: &Server, session: &str, turns: std::ops::Range<usize>) {
    for n in turns {
        say(server, session, &words(n));
    }
}

fn of_type(workspace: &Workspace, session: &str, kind: &str) -> Vec<Value> {
    let log = workspace.log_of(session).into_iter();
    log.filter(|event| event["type"] == kind).collect()
}

fn summaries(workspace: &Workspace, session: &str) -> Vec<Value> {
    of_type(workspace, session, "context_summary")
}

/// The codes of the notices in a log, in order.
fn notices(workspace: &Workspace, session: &str) -> Vec<String> {
    let errors = of_type(workspace, session, "error");
    let codes = errors.iter().map(|event| event["code"].as_str().unwrap());
    codes.map(str::to_owned).collect()
}

/// What is said first in a request.
fn first_message(asked: &Asked) -> String {
    let mut messages = asked.messages().iter();
    let first = messages.find(|message| message["role"] == "user");
    first.unwrap()["content"].to_string()
}

fn compact(server: &Server, session: &str, body: &Value) -> Answer {
    server.post(&format!("/api/v1/sessions/{session}/compact"), body)
}

fn context(server: &Server, session: &str) -> Value {
    let answer = server.get(&format!("/api/v1/sessions/{session}/context"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn what_was_said_first_is_known_two_hundred_turns_later_and_the_prompt_only_grows_between_summaries()
 {
    let models = Models::new();
    let (workspace, mut server) = models.serve(2_000).apart();
    let session = server.create_session("helper");
    say(
        &server,
        &session,
        "The code of the safe is 4711. Remember it.",
    );
    say_turns(&server, &session, 2..100);
    // The window has long passed the first summaries; the snapshot knows the newest.
    server.kill();
    let mut server = Server::start(&workspace, &[]);
    say_turns(&server, &session, 100..150);
    server.terminate();
    server.wait_for_exit();
    let server = Server::start(&workspace, &[]);
    say_turns(&server, &session, 150..201);
    let made = summaries(&workspace, &session);
    assert!((5..20).contains(&made.len()), "{} summaries", made.len());
    assert!(
        made.iter()
            .all(|one| one["text"] == SUMMARY && one["model"] == "pen/writer")
    );
    let asked = models.main.requests();
    let last = asked.last().unwrap();
    assert!(last.text.contains("4711") && last.text.contains("message 200 "));
    assert!(!last.text.contains("message 100 "));
    // Each step is a summary, and nothing else changes the beginning.
    let mut steps = 0;
    for pair in asked.windows(2) {
        let list = |asked: &Asked| {
            let text = serde_json::to_string(&asked.messages()).unwrap();
            text.trim_end_matches(']').to_owned()
        };
        if !list(&pair[1]).starts_with(&list(&pair[0])) {
            steps += 1;
            assert!(first_message(&pair[1]).contains("Summary of the conversation"));
        }
    }
    assert_eq!(steps, made.len());
    // The writer is offered no tools, and has the summary before.
    let written = models.writer.requests();
    assert_eq!(written.len(), made.len());
    assert!(written.iter().all(|one| one.body.get("tools").is_none()));
    assert!(written[0].text.contains("Remember it."));
    assert!(!written[0].text.contains("summary_of_what_came_before"));
    assert!(
        written[1].last_message().contains(SUMMARY),
        "{}",
        written[1].text
    );
    // It costs what it costs.
    let show = server.get(&format!("/api/v1/sessions/{session}")).json();
    assert_eq!(show["usage"]["prompt_tokens"], 300 * made.len());
    // All of it is still there for whoever reads it.
    let export = workspace.run(&["session", "export", &session]);
    assert!(export.contains("Remember it.") && export.contains("message 100 "));
    assert!(!export.contains("Summary of the conversation"));
    let codes = notices(&workspace, &session);
    assert_eq!(codes, vec!["summarising"; made.len()]);
}

#[test]
fn a_kill_before_the_append_asks_again_and_one_after_it_does_not() {
    let models = Models::new();
    let (workspace, mut server) = models.serve(1_500).apart();
    let session = server.create_session("helper");
    let mut next = 1;
    models.writer.reply(stall());
    let stream = loop {
        let mut stream = server.stream(&session, &words(next));
        next += 1;
        let events = std::iter::from_fn(|| stream.next());
        let met = events
            .take_while(|event| event.name != "done")
            .any(|event| event.data["code"] == "summarising");
        if met {
            break stream;
        }
    };
    models.writer.wait_for_stalls(1);
    assert_eq!(summaries(&workspace, &session).len(), 0);
    server.kill();
    drop(stream);
    // The next one asks again; then the agent's model hangs, with the summary.
    models.main.reply(stall());
    let mut server = Server::start(&workspace, &["--resume", "always"]);
    models.main.wait_for_stalls(1);
    assert_eq!(models.writer.request_count(), 2);
    assert_eq!(summaries(&workspace, &session).len(), 1);
    server.kill();
    let server = Server::start(&workspace, &["--resume", "always"]);
    eventually("the answer", || {
        let ended = of_type(&workspace, &session, "turn_ended");
        (ended.len() == next - 1).then_some(())
    });
    assert_eq!(models.writer.request_count(), 2, "nothing was lost");
    assert!(
        models
            .main
            .requests()
            .last()
            .unwrap()
            .text
            .contains(SUMMARY)
    );
    drop(server);
}

#[test]
fn what_is_no_summary_leaves_out_as_ever_says_so_and_is_not_tried_again_soon() {
    let long = "x".repeat(100 << 10);
    for (step, why) in [
        (text("").usage(9, 0), "empty"),
        (text(" \n").usage(9, 1), "empty"),
        (error(400, "no such thing"), "no such thing"),
        (pieces(&[&long]), "a quarter"),
        (tool_call("bash", r#"{"command":"true"}"#), "empty"),
    ] {
        let models = Models::new();
        models.writer.default_reply(step);
        let (workspace, server) = models
            .bench(models.helper(1_500).builtin("bash"))
            .serve()
            .apart();
        let session = server.create_session("helper");
        let mut turns = 0;
        while models.writer.request_count() == 0 {
            turns += 1;
            assert!(turns < 60, "nothing was summarised: {why}");
            say(&server, &session, &words(turns));
        }
        let made = summaries(&workspace, &session);
        assert_eq!(made.len(), 1, "{why}");
        let told = made[0]["error"].as_str().unwrap();
        assert!(told.contains(why), "{told}");
        assert!(made[0].get("text").is_none());
        let codes = notices(&workspace, &session);
        assert_eq!(codes.last().unwrap(), "context_truncated", "{codes:?}");
        assert!(codes.contains(&"summarising".to_owned()));
        // A call in it does not run.
        assert_eq!(of_type(&workspace, &session, "tool_started").len(), 0);
        let last = models.main.requests().pop().unwrap();
        assert!(!last.text.contains("message 1 "), "{why}");
        assert!(last.text.contains(&format!("message {turns} ")));
        // The fifth part of the window has to come first: some six turns.
        let before = models.writer.request_count();
        say_turns(&server, &session, turns + 1..turns + 5);
        assert_eq!(models.writer.request_count(), before, "{why}");
    }
}

#[test]
fn a_cancel_ends_a_summary_with_its_turn() {
    let models = Models::new();
    models.writer.reply(stall());
    let (workspace, server) = models.serve(1_500).apart();
    let session = server.create_session("helper");
    let mut turns = 0;
    loop {
        turns += 1;
        let mut stream = server.stream(&session, &words(turns));
        let met = std::iter::from_fn(|| stream.next())
            .take_while(|event| event.name != "done")
            .any(|event| event.data["code"] == "summarising");
        if met {
            models.writer.wait_for_stalls(1);
            let cancel = format!("/api/v1/sessions/{session}/cancel");
            assert_eq!(server.post(&cancel, &json!({})).json()["cancelled"], true);
            stream.until("cancelled");
            break;
        }
    }
    models.writer.wait_for_disconnects(1);
    assert_eq!(
        summaries(&workspace, &session).len(),
        0,
        "nothing was spent"
    );
    // The next turn asks again.
    say(&server, &session, "and now?");
    assert_eq!(summaries(&workspace, &session).len(), 1);
    assert!(
        models
            .main
            .requests()
            .last()
            .unwrap()
            .text
            .contains(SUMMARY)
    );
}

#[test]
fn a_long_record_goes_in_parts_each_with_the_summary_of_those_before() {
    let models = Models::new();
    // Its answers are not longer than a quarter of what it takes: llama2 takes 4,096.
    let helper = asking("helper", &models.main)
        .continues()
        .session("context: {max_history_tokens: 12000}")
        .session("summary_model: {provider: pen, name: llama2}");
    let (workspace, server) = models.bench(helper).serve().apart();
    let session = server.create_session("helper");
    let mut turns = 0;
    while models.writer.request_count() == 0 {
        turns += 1;
        let content = format!("message {turns} {}", "blah ".repeat(400));
        say(&server, &session, &content);
    }
    let asked = models.writer.requests();
    assert!((2..=8).contains(&asked.len()), "{} parts", asked.len());
    let size = |one: &Asked| one.last_message().len();
    assert!(
        asked.iter().all(|one| size(one) < 4_096 * 4 / 2),
        "{:?}",
        asked.iter().map(size).collect::<Vec<_>>()
    );
    assert!(asked[0].text.contains("message 1 "));
    assert!(!asked[1].text.contains("message 1 "));
    assert!(
        asked[1]
            .last_message()
            .contains("<summary_of_what_came_before>")
    );
    let made = summaries(&workspace, &session);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["usage"]["prompt_tokens"], 300 * asked.len());
}

#[test]
fn turned_off_nobody_writes_summaries() {
    let models = Models::new();
    let helper = models.helper(1_500).session("summary: off");
    let (workspace, server) = models.bench(helper).serve().apart();
    let session = server.create_session("helper");
    say_turns(&server, &session, 1..40);
    assert_eq!(models.writer.request_count(), 0);
    assert_eq!(summaries(&workspace, &session).len(), 0);
    let last = models.main.requests().pop().unwrap();
    assert!(!last.text.contains("message 1 "));
    let refused = compact(&server, &session, &json!({}));
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(
        refused.json()["type"],
        "urn:duragent:problem:not-summarised"
    );
}

#[test]
fn a_person_may_have_it_summarised_at_once_and_see_what_is_free() {
    let models = Models::new();
    let (workspace, server) = models.serve(8_000).apart();
    let session = server.create_session("helper");
    let refused = compact(&server, &session, &json!({}));
    assert_eq!(
        refused.status,
        409,
        "there is nothing yet: {}",
        refused.text()
    );
    say_turns(&server, &session, 1..21);
    let before = context(&server, &session);
    assert_eq!(before["summary"], 0);
    let parts = |of: &Value| {
        let keys = ["summary", "history", "free"];
        keys.map(|key| of[key].as_u64().unwrap())
    };
    let [_, history, free] = parts(&before);
    assert!(history > 900, "{before}");
    assert_eq!(history + free, 8_000);
    assert_eq!(models.writer.request_count(), 0);
    let mut watch = server.events(&session, "?history=0", None);
    watch.expect("session");
    let bad = compact(&server, &session, &json!({"keep": 7}));
    assert_eq!(bad.status, 400, "{}", bad.text());
    let bad = compact(&server, &session, &json!({"keep": "x".repeat(501)}));
    assert_eq!(bad.status, 400, "{}", bad.text());
    let accepted = compact(&server, &session, &json!({"keep": "the colours"}));
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    assert!(accepted.json()["seq"].is_u64());
    let told = [watch.expect("notice"), watch.expect("notice")];
    let codes = told.map(|event| event.data["code"].as_str().unwrap().to_owned());
    assert_eq!(codes, ["summarising", "context_summarised"]);
    let asked = models.writer.requests();
    assert!(
        asked[0]
            .last_message()
            .contains("as the user asks: the colours")
    );
    let after = context(&server, &session);
    let [summary, left, free] = parts(&after);
    assert!(summary > 0 && left < history / 2, "{after}");
    assert_eq!(summary + left + free, 8_000);
    // The newest six messages stay, word for word.
    say(&server, &session, "so?");
    let last = models.main.requests().pop().unwrap();
    let messages = last.messages();
    let users = messages.iter().filter(|one| one["role"] == "user");
    let users: Vec<String> = users.map(|one| one["content"].to_string()).collect();
    assert!(users[0].contains(SUMMARY));
    for n in 18..21 {
        let said = json!(words(n)).to_string();
        assert!(users.contains(&said), "{n} of {users:?}");
    }
    assert!(!users.concat().contains("message 10 "));
    // Its turn is none, and the session is idle.
    assert_eq!(summaries(&workspace, &session).len(), 1);
    assert_eq!(
        server.get(&format!("/api/v1/sessions/{session}")).json()["working"],
        false
    );
}

#[test]
fn a_wish_for_a_summary_outlives_a_kill_and_can_be_cancelled() {
    let models = Models::new();
    let (workspace, mut server) = models.serve(8_000).apart();
    let session = server.create_session("helper");
    say_turns(&server, &session, 1..11);
    models.writer.reply(stall());
    assert_eq!(compact(&server, &session, &json!({})).status, 202);
    models.writer.wait_for_stalls(1);
    server.kill();
    models.writer.reply(stall());
    let server = Server::start(&workspace, &["--resume", "always"]);
    models.writer.wait_for_stalls(1);
    let cancel = format!("/api/v1/sessions/{session}/cancel");
    assert_eq!(server.post(&cancel, &json!({})).json()["cancelled"], true);
    let made = summaries(&workspace, &session);
    assert_eq!(
        (made.len(), &made[0]["upto_seq"]),
        (1, &json!(0)),
        "{made:?}"
    );
    // Nothing was left out for it.
    say(&server, &session, "so?");
    assert!(
        models
            .main
            .requests()
            .pop()
            .unwrap()
            .text
            .contains("message 1 ")
    );
    assert_eq!(models.writer.request_count(), 2);
}

#[test]
fn a_turn_that_lasts_is_summarised_between_its_rounds_and_no_call_loses_its_result() {
    let models = Models::new();
    for _ in 0..40 {
        let call = r#"{"command":"printf %0300d 7"}"#;
        models
            .main
            .reply(tool_call("bash", call).and_call("bash", call));
    }
    models.main.reply(text("that is it"));
    let helper = models
        .helper(2_000)
        .session("max_tool_iterations: 60")
        .session("loop_guard: off")
        .builtin("bash")
        .policy("mode: dangerous\nallow: ['bash:*']");
    let bench = models.bench(helper);
    let workspace = bench.workspace();
    workspace.trust("helper");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("helper");
    // The fake provider refuses a call without its result.
    let answer = server.say(&session, "print a lot; the code is 4711");
    assert_eq!(answer.json()["content"], "that is it", "{}", answer.text());
    let made = summaries(&workspace, &session);
    assert!(made.len() > 3, "{} summaries", made.len());
    assert!(models.main.violations().is_empty());
    let longest = models
        .main
        .requests()
        .iter()
        .map(|one| one.text.len())
        .max();
    assert!(longest < Some(40_000), "{longest:?}");
}

#[test]
fn what_a_provider_finds_too_long_is_summarised_and_asked_again() {
    let models = Models::new();
    let (workspace, server) = models.serve(20_000).apart();
    let session = server.create_session("helper");
    say_turns(&server, &session, 1..21);
    models
        .main
        .reply(error(
            400,
            "This model's maximum context length is 4096 tokens.",
        ))
        .then(text("short"));
    let answer = server.say(&session, "and then?");
    assert_eq!(answer.json()["content"], "short", "{}", answer.text());
    let made = summaries(&workspace, &session);
    assert_eq!((made.len(), &made[0]["refused"]), (1, &json!(true)));
    let asked = models.main.requests();
    let [refused, again] = &asked[asked.len() - 2..] else {
        unreachable!()
    };
    assert!(again.text.contains(SUMMARY) && again.text.len() * 3 < refused.text.len() * 2);
    assert!(!notices(&workspace, &session).contains(&"context_truncated".to_owned()));
}

#[test]
fn summaries_count_for_the_limits_of_their_agent() {
    let models = Models::new();
    models
        .writer
        .default_reply(text(SUMMARY).usage(900_000, 20));
    let helper = models
        .helper(1_500)
        .spec("limits: {tokens_per_day: 800000}");
    let (workspace, server) = models.bench(helper).serve().apart();
    let session = server.create_session("helper");
    for n in 1..60 {
        if server.say(&session, &words(n)).status == 429 {
            break;
        }
    }
    assert_eq!(summaries(&workspace, &session).len(), 1);
    let refused = server.say(&session, "more");
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(compact(&server, &session, &json!({})).status, 429);
}
