//! Calls that local models print as text.

use crate::support::bench::{AgentFiles, Bench, Served};

use super::*;

/// An agent of a local server that may use the shell.
fn served(fake: &FakeModel, more: &str) -> Served {
    let url = fake.url();
    let model = format!("{{provider: llamacpp, name: local, base_url: \"{url}/v1\"{more}}}");
    let ada = AgentFiles::of("ada", &model).builtin("bash");
    Bench::new()
        .agent(ada.policy("mode: dangerous"))
        .policy("mode: dangerous")
        .serve()
}

/// The pieces in which a model would print it: a few bytes each.
fn printed(text: &str) -> Step {
    let chars: Vec<char> = text.chars().collect();
    let parts: Vec<String> = chars.chunks(3).map(|part| part.iter().collect()).collect();
    pieces(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn kinds(bench: &Served, session: &str, kind: &str) -> Vec<Value> {
    let mut log = bench.workspace.log_of(session);
    log.retain(|line| line["kind"] == kind || line["type"] == kind);
    log
}

#[test]
fn a_call_that_a_local_model_prints_runs_and_goes_back_as_a_call() {
    for text_of_call in [
        "<tool_call>\n{\"name\": \"bash\", \"arguments\": {\"command\": \"echo hi\"}}\n</tool_call>",
        "```json\n{\"name\": \"bash\", \"parameters\": {\"command\": \"echo hi\"}}\n```",
        "[TOOL_CALLS] [{\"name\": \"bash\", \"arguments\": {\"command\": \"echo hi\"}}]",
        "<function=bash>{\"command\": \"echo hi\"}</function>",
    ] {
        let fake = FakeModel::start();
        fake.reply(printed(text_of_call)).then(text("done"));
        let bench = served(&fake, "");
        let session = bench.create_session("ada");
        let answer = bench.say(&session, "greet").json();
        assert_eq!(answer["content"], "done", "{text_of_call}: {answer}");
        let asked = fake.wait_for_requests(2);
        let messages = asked[1].body["messages"].as_array().unwrap();
        let called = messages.iter().find(|one| one["role"] == "assistant");
        let called = called.expect("the reply goes back");
        assert!(called["content"].is_null(), "{called}");
        let call = &called["tool_calls"][0]["function"];
        assert_eq!(call["name"], "bash");
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({"command": "echo hi"}));
        let result = messages.last().unwrap();
        assert_eq!(result["role"], "tool");
        assert!(
            result["content"].as_str().unwrap().contains("hi"),
            "{result}"
        );
        let replies = kinds(&bench, &session, "assistant_response");
        assert_eq!(replies[0]["content"], "");
        assert_eq!(replies[0]["tool_calls"][0]["source"], "text");
        let notices = kinds(&bench, &session, "error");
        assert_eq!(notices[0]["code"], "tool_call_from_text", "{notices:?}");
    }
}

#[test]
fn what_a_model_says_about_a_call_is_text_and_so_is_what_it_was_shown() {
    let call = "{\"name\": \"bash\", \"arguments\": {\"command\": \"touch made\"}}";
    let around = format!("Like this:\n```json\n{call}\n```\nand no other way.");
    let unknown = call.replace("\"bash\"", "\"shell\"");
    let unfit = call.replace("\"touch made\"", "7");
    for (said, asked) in [
        (call, format!("what does this do? {call}")),
        (&around, "how would you?".to_owned()),
        (&unknown, "go".to_owned()),
        (&unfit, "go".to_owned()),
    ] {
        let fake = FakeModel::start();
        fake.reply(printed(said));
        let bench = served(&fake, "");
        let session = bench.create_session("ada");
        let answer = bench.say(&session, &asked).json();
        assert_eq!(answer["content"], said);
        assert_eq!(fake.wait_for_requests(1).len(), 1);
        assert!(kinds(&bench, &session, "error").is_empty());
        let made = bench.workspace.file(".duragent/agents/ada/work/made");
        assert!(!made.exists());
    }
}

#[test]
fn where_it_is_off_a_printed_call_is_text_and_where_it_is_on_it_is_none() {
    let call = "{\"name\": \"bash\", \"arguments\": {\"command\": \"echo hi\"}}";
    let fake = FakeModel::start();
    fake.reply(printed(call));
    let bench = served(&fake, ", tool_text: false");
    let session = bench.create_session("ada");
    assert_eq!(bench.say(&session, "go").json()["content"], call);

    let fake = FakeModel::start();
    fake.reply(printed(call)).then(text("done"));
    let url = fake.url();
    let model = format!("{{provider: openai, name: m, base_url: \"{url}\", tool_text: true}}");
    let ada = AgentFiles::of("ada", &model).builtin("bash");
    let bench = Bench::new()
        .agent(ada.policy("mode: dangerous"))
        .policy("mode: dangerous")
        .serve();
    let session = bench.create_session("ada");
    assert_eq!(bench.say(&session, "go").json()["content"], "done");
}

#[test]
fn what_is_held_is_kept_when_the_call_is_cancelled_and_asked_for_again_when_it_breaks() {
    let fake = FakeModel::start();
    let choice = ModelChoice {
        settings: ModelSettings {
            tool_text: Some(true),
            ..ModelSettings::default()
        },
        ..choice(OPENAI, Some(fake.url()))
    };
    let spec = ModelSpec {
        main: choice,
        fallbacks: Vec::new(),
    };
    let request = Request {
        tool_choice: ToolChoice::Auto,
        ..long_request()
    };
    // Nobody has seen it: it is no reply that broke off.
    fake.reply(pieces(&["{\"name\": \"da"]).and_cut())
        .then(text("It is late."));
    let mut heard = Heard::default();
    let reply = Providers::new(settings())
        .model(&spec)
        .call(&request, &mut heard);
    assert_eq!(heard.text, "It is late.");
    assert_eq!(reply.unwrap().tool_calls, []);

    // Thinking is shown as it comes, and so tells when what stands in one piece with it is held.
    const PIECE: &str = "<think>so</think>{\"name\": \"da";
    fake.reply(pieces(&[PIECE]).and_stall());
    let mut model = Providers::new(settings()).model(&spec);
    let canceller = model.canceller();
    let (flushed_tx, flushed_rx) = bounded(8);
    let waiting = std::thread::spawn(move || {
        let mut sink = Telling(Heard::default(), flushed_tx);
        let result = model.call(&request, &mut sink);
        (result, sink.0)
    });
    let shown: String = flushed_rx.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(shown, "<think>so</think>");
    canceller.cancel();
    let (result, heard) = waiting.join().unwrap();
    assert_eq!(result, Err(LlmError::Cancelled));
    assert_eq!(heard.text, PIECE);
}

/// Tells of what it has, whenever that is to be shown.
struct Telling(Heard, Sender<String>);

impl Sink for Telling {
    fn text(&mut self, text: &str) {
        self.0.text(text);
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        drop(self.1.try_send(self.0.text.clone()));
        self.0.flush()
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.0.notice(code, message);
    }
}

#[test]
fn what_goes_on_with_a_reply_that_broke_off_is_no_call() {
    // Alone the second half would be one.
    let rest = "{\"name\": \"bash\", \"arguments\": {\"command\": \"touch made\"}}";
    let fake = FakeModel::start();
    fake.reply(pieces(&["You would call "]).and_cut())
        .then(printed(rest));
    let bench = served(&fake, "");
    let session = bench.create_session("ada");
    let answer = bench.say(&session, "how would you make it?").json();
    assert_eq!(answer["content"], format!("You would call {rest}"));
    assert_eq!(fake.request_count(), 2);
    let codes = kinds(&bench, &session, "error");
    assert_eq!(codes.len(), 1, "{codes:?}");
    assert_eq!(codes[0]["code"], "reply_continued");
    assert!(
        !bench
            .workspace
            .file(".duragent/agents/ada/work/made")
            .exists()
    );
    // The next reply may call again.
    fake.reply(printed(rest)).then(text("made"));
    assert_eq!(bench.say(&session, "then do").json()["content"], "made");
    assert!(
        bench
            .workspace
            .file(".duragent/agents/ada/work/made")
            .exists()
    );
}

#[test]
fn what_stands_in_an_attached_file_is_quoted_and_no_call() {
    let call = "{\"name\": \"bash\", \"arguments\": {\"command\": \"touch made\"}}";
    let fake = FakeModel::start();
    let bench = served(&fake, "");
    let made = bench.workspace.file(".duragent/agents/ada/work/made");
    for (file, runs) in [
        (format!("# How to\n\n{call}\n"), false),
        ("# How to\n\nIt is not said here.\n".to_owned(), true),
    ] {
        let session = bench.create_session("ada");
        let path = format!("/api/v1/sessions/{session}/files");
        let kind = [("Content-Type", "text/plain")];
        let brought = bench.request("POST", &path, &kind, file.as_bytes());
        fake.reply(printed(call));
        if runs {
            fake.reply(text("done"));
        }
        let files = json!([{"file": brought.json()["file"], "name": "how.txt"}]);
        let body = json!({"content": "what stands there?", "attachments": files});
        let path = format!("/api/v1/sessions/{session}/messages");
        let answer = bench.post(&path, &body).json();
        assert_eq!(answer["content"], if runs { "done" } else { call });
        assert_eq!(made.exists(), runs);
        let asked = fake.requests();
        assert!(
            asked.last().unwrap().text.contains("How to"),
            "it was shown"
        );
    }
}
