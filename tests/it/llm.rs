//! Models, against a provider on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use duragent::base::proxy::Proxies;
use duragent::domain::code::NoticeCode;
use duragent::domain::event::{AssistantResponse, FinishReason, ToolCall, ToolOutput, Usage};
use duragent::domain::ids::{CallId, MessageId, Seq, TurnId};
use duragent::domain::message::{self, Message};
use duragent::domain::providers::KNOWN;
use duragent::domain::secret::Secret;
use duragent::domain::spec::{ModelChoice, ModelSettings, ModelSpec, Provider};
use duragent::llm::providers::{ProviderSettings, Providers};
use duragent::llm::{
    Cancel, LlmError, Model, ModelReply, Models, RawToolCall, Request, Sink, SinkError, ToolChoice,
    ToolDefinition,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, Step, error, hang_up, pieces, raw, stall, text};

mod comes;
mod connections;
mod dialects;
mod goes_back;
mod ollama;
mod responses;
mod retries;
mod tool_text;

const OPENAI: Provider = Provider::OPENAI;
const ANTHROPIC: Provider = Provider::ANTHROPIC;
const OLLAMA: Provider = Provider::OLLAMA;

/// Where a model is, and its name.
type Place = (Provider, &'static str);

const CHAT: Place = (OPENAI, "m1");
const MESSAGES: Place = (ANTHROPIC, "m1");
/// OpenAI's newer models are asked by Responses.
const RESPONSES: Place = (OPENAI, "gpt-5.6");
const LOCAL: Place = (OLLAMA, "m1");
/// A place for each dialect.
const PLACES: [Place; 4] = [CHAT, MESSAGES, RESPONSES, LOCAL];
const KEY: &str = "sk-secret-1234";

/// What a call hands over.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    pieces: usize,
    flushes: usize,
    notices: Vec<(&'static str, String)>,
    /// Whether a flush fails, as on a full disk.
    disk_full: bool,
}

impl Heard {
    fn codes(&self) -> Vec<&'static str> {
        self.notices.iter().map(|(code, _)| *code).collect()
    }
}

impl Sink for Heard {
    fn text(&mut self, text: &str) {
        assert!(!text.is_empty());
        self.text.push_str(text);
        self.pieces += 1;
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.flushes += 1;
        if self.disk_full {
            Err("no space left".into())
        } else {
            Ok(())
        }
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.notices.push((code.as_str(), message));
    }
}

fn choice(provider: Provider, base_url: Option<String>) -> ModelChoice {
    ModelChoice {
        provider,
        name: "m1".into(),
        base_url,
        settings: Default::default(),
    }
}

fn spec(provider: Provider, fake: &FakeModel) -> ModelSpec {
    ModelSpec {
        main: choice(provider, Some(fake.url())),
        fallbacks: Vec::new(),
    }
}

fn settings() -> ProviderSettings {
    let needs_key = KNOWN.iter().filter(|known| known.needs_key);
    let keys = needs_key.map(|known| (known.provider(), Secret::new(KEY)));
    ProviderSettings {
        keys: keys.collect(),
        first_retry_delay: Duration::from_millis(10),
        ..ProviderSettings::default()
    }
}

/// As [`settings`], with an environment that names `fake` for every provider.
fn settings_at(fake: &FakeModel) -> ProviderSettings {
    let named = KNOWN.iter().map(|known| (known.provider(), fake.url()));
    ProviderSettings {
        base_urls: named.collect(),
        ..settings()
    }
}

fn spec_at((provider, name): &Place, fake: &FakeModel) -> ModelSpec {
    let mut spec = spec(provider.clone(), fake);
    spec.main.name = (*name).to_owned();
    spec
}

/// One call to a fresh model.
fn ask_at(place: &Place, fake: &FakeModel) -> (Result<ModelReply, LlmError>, Heard) {
    let model = Providers::new(settings_at(fake)).model(&spec_at(place, fake));
    called(model, Heard::default())
}

fn model(provider: Provider, fake: &FakeModel) -> Box<dyn Model> {
    Providers::new(settings_at(fake)).model(&spec(provider, fake))
}

fn user(text: &str) -> Message {
    Message::User {
        text: text.into(),
        attachments: Vec::new(),
    }
}

fn hello() -> Request {
    Request {
        system: "be kind".into(),
        messages: vec![user("hello")],
        ..Request::default()
    }
}

/// One call to a fresh model.
fn ask(provider: Provider, fake: &FakeModel) -> (Result<ModelReply, LlmError>, Heard) {
    called(model(provider, fake), Heard::default())
}

/// One call, which must come to an end.
fn called(mut model: Box<dyn Model>, mut heard: Heard) -> (Result<ModelReply, LlmError>, Heard) {
    in_time(move || (model.call(&hello(), &mut heard), heard))
}

/// What comes of work that could hang: then the test ends, and does not wait for it.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done_tx, done_rx) = bounded(1);
    std::thread::spawn(move || done_tx.send(work()));
    let limit = Duration::from_secs(60);
    done_rx
        .recv_timeout(limit)
        .expect("it hangs or has panicked")
}

fn raw_call(id: &str, name: &str, arguments: &str) -> RawToolCall {
    RawToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    }
}

#[test]
fn both_dialects_stream_text_and_count_tokens() {
    for (provider, path) in [
        (OPENAI, "/v1/chat/completions"),
        (Provider::OLLAMA, "/api/chat"),
        (Provider::OPENROUTER, "/api/v1/chat/completions"),
        (ANTHROPIC, "/v1/messages"),
    ] {
        let fake = FakeModel::start();
        fake.reply(text("hello, dear world").usage(100, 7));
        let (result, heard) = ask(provider.clone(), &fake);
        assert_eq!(
            result,
            Ok(ModelReply {
                model: format!("{provider}/m1"),
                tool_calls: Vec::new(),
                usage: Some(Usage::new(100, 7)),
                finish_reason: FinishReason::Stop,
                provider_data: None,
                is_cut: false,
                cut_calls: Vec::new(),
                from_text: false,
            })
        );
        assert_eq!(
            (heard.text.as_str(), heard.pieces),
            ("hello, dear world", 3)
        );
        let asked = fake.requests();
        assert_eq!(asked[0].path, path);
        assert_eq!(asked[0].system(), "be kind");
        assert_eq!(asked[0].last_message(), "hello");
    }
}

#[test]
fn tool_calls_come_together_from_their_pieces() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(
            text("let me see")
                .and_call("date", r#"{"zone": "Europe/Zürich"}"#)
                .and_call("list", "")
                .split_every(7),
        );
        let (result, heard) = ask(provider, &fake);
        let reply = result.unwrap();
        assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
        assert_eq!(
            reply.tool_calls,
            [
                raw_call("call_1_1", "date", r#"{"zone": "Europe/Zürich"}"#),
                raw_call("call_2_1", "list", "{}"),
            ]
        );
        assert_eq!(heard.text, "let me see");
    }
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("all at once").and_call("date", "{}").whole());
        let (result, heard) = ask(provider, &fake);
        let reply = result.unwrap();
        assert_eq!(heard.text, "all at once");
        assert_eq!(reply.tool_calls, [raw_call("call_1_1", "date", "{}")]);
        assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
        assert_eq!(reply.usage, Some(Usage::new(10, 5)));
    }
}

#[test]
fn a_document_without_an_answer_is_no_answer() {
    let fake = FakeModel::start();
    let body = r#"{"detail":"model is loading"}"#;
    fake.default_reply(raw("application/json", body));
    let (result, heard) = ask(OPENAI, &fake);
    let error = result.unwrap_err();
    assert!(matches!(error, LlmError::MidStream { .. }), "{error}");
    assert!(error.to_string().contains("model is loading"), "{error}");
    assert!(
        fake.request_count() > 1,
        "it may have loaded by the next try"
    );
    assert_eq!(heard.text, "");
}

/// As [`hello`], for a reply of at most so many bytes.
fn hello_within(bytes_max: usize) -> Request {
    Request {
        reply_bytes: Some(bytes_max),
        ..hello()
    }
}

#[test]
fn a_reply_ends_at_its_limit_whatever_it_is_made_of() {
    // Within a character, where there is only text.
    const LIMIT: usize = 20_003;
    let words = "grüße ".repeat(10_000);
    let arguments = json!({ "words": words }).to_string();
    for provider in [OPENAI, ANTHROPIC] {
        let steps = [
            text(&words),
            text("so ").and_call("date", &arguments),
            text("so ").and_call("date", "{}").and_text(&words),
            (0..500).fold(text("so "), |step, _| step.and_call("date", "{}")),
        ];
        let whole = steps.clone().map(Step::whole);
        let thinking = text("so ").and_thinking(&words);
        for step in steps.into_iter().chain(whole).chain([thinking]) {
            let fake = FakeModel::start();
            fake.reply(step).then(text("next"));
            let mut model = model(provider.clone(), &fake);
            let mut heard = Heard::default();
            let reply = model.call(&hello_within(LIMIT), &mut heard).unwrap();
            let left = (reply.tool_calls, reply.provider_data, reply.finish_reason);
            let nothing = (Vec::new(), None, FinishReason::Length);
            assert_eq!((left, reply.is_cut), (nothing, true));
            assert!(heard.text.len() <= LIMIT, "{}", heard.text.len());
            let said = format!("so {words}");
            assert!(said.contains(&heard.text) && !heard.text.is_empty());
            let mut again = Heard::default();
            model.call(&hello_within(LIMIT), &mut again).unwrap();
            assert_eq!(again.text, "next", "the rest of the first is nobody's");
        }
    }
}

#[test]
fn what_a_failed_try_held_leaves_the_next_one_all_of_its_room() {
    let words = "w".repeat(1000);
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        let thought = text("").and_thinking(&"h".repeat(500));
        fake.reply(thought.and_error(503, "later"))
            .then(text(&words).whole());
        let mut heard = Heard::default();
        let reply = model(provider.clone(), &fake).call(&hello_within(1200), &mut heard);
        assert_eq!(heard.codes(), ["retry"], "{provider:?} {reply:?}");
        assert_eq!((heard.text, reply.unwrap().is_cut), (words.clone(), false));
    }
}

#[test]
fn names_that_come_after_the_beginnings_of_their_calls_count() {
    let begun = json!({"index": 0, "function": {"arguments": ""}});
    for late in [
        json!({"index": 0, "id": "x".repeat(2000)}),
        json!({"index": 0, "function": {"name": "x".repeat(2000)}}),
    ] {
        let chunks = [begun.clone(), late].map(|piece| {
            let delta = json!({"choices": [{"delta": {"tool_calls": [piece]}}]});
            format!("data: {delta}\n\n")
        });
        let fake = FakeModel::start();
        fake.reply(raw(
            "text/event-stream",
            format!("{}data: [DONE]\n\n", chunks.concat()),
        ));
        let mut model = model(OPENAI, &fake);
        let reply = model.call(&hello_within(1024), &mut Heard::default());
        assert!(reply.unwrap().is_cut);
    }
}

#[test]
fn the_connection_of_a_reply_that_was_ended_is_closed() {
    let fake = FakeModel::start();
    fake.reply(text("one two ").and_stall()).then(text("next"));
    let mut model = model(OPENAI, &fake);
    let (reply, mut model) = in_time(move || {
        let reply = model.call(&hello_within(5), &mut Heard::default());
        (reply, model)
    });
    assert!(reply.unwrap().is_cut);
    fake.wait_for_disconnects(1);
    model.call(&hello_within(5), &mut Heard::default()).unwrap();
    let connections: Vec<usize> = fake.requests().iter().map(|one| one.connection).collect();
    assert_eq!(connections, [0, 1]);
}

#[test]
fn a_reply_as_long_as_it_may_be_is_whole() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("hello, world"))
            .then(text("hello, world").whole());
        let mut model = model(provider, &fake);
        for _ in 0..2 {
            let mut heard = Heard::default();
            let reply = model.call(&hello_within("hello, world".len()), &mut heard);
            let reply = reply.unwrap();
            assert_eq!(
                (reply.is_cut, reply.finish_reason),
                (false, FinishReason::Stop)
            );
            assert_eq!(heard.text, "hello, world");
        }
    }
}

/// Answers each request of each connection with `[DONE]`, and never ends the body.
fn server_that_holds_the_end_back() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let held: Vec<_> = listener
            .incoming()
            .map(|stream| answer_but_for_the_end(stream.unwrap()))
            .collect();
        drop(held);
    });
    address
}

fn answer_but_for_the_end(mut stream: TcpStream) -> TcpStream {
    let chunk = r#"data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let body = format!("{chunk}\n\ndata: [DONE]\n\n");
    let mut asked = [0; 16 << 10];
    assert!(stream.read(&mut asked).unwrap() > 0);
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let text = format!("{head}{:x}\r\n{body}\r\n", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    stream
}

#[test]
fn a_server_that_holds_the_end_back_delays_no_call() {
    let url = format!("http://{}/v1", server_that_holds_the_end_back());
    let spec = ModelSpec {
        main: choice(OPENAI, Some(url)),
        ..spec(OPENAI, &FakeModel::start())
    };
    let providers = Providers::new(ProviderSettings {
        idle_timeout: Duration::from_secs(600),
        ..settings()
    });
    let mut model = providers.model(&spec);
    let start = Instant::now();
    for _ in 0..3 {
        let mut heard = Heard::default();
        model.call(&hello(), &mut heard).unwrap();
        assert_eq!(heard.text, "hi");
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_pieces_of_one_read_share_a_flush() {
    let fake = FakeModel::start();
    let line = r#"data: {"choices":[{"delta":{"content":"a "}}]}"#;
    let body = format!("{line}\n\n").repeat(100) + "data: [DONE]\n\n";
    fake.reply(raw("text/event-stream", body));
    let (result, heard) = ask(OPENAI, &fake);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(heard.pieces, 100);
    assert!(heard.flushes < 10, "{}", heard.flushes);
}

#[test]
fn an_answer_without_its_end_is_truncated() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("half an").and_cut());
        let (result, heard) = ask(provider.clone(), &fake);
        assert_eq!(result, Err(LlmError::Truncated { provider }));
        assert_eq!(heard.text, "half an");
        assert_eq!(fake.requests().len(), 1, "what was said cannot be unsaid");
    }
}

#[test]
fn a_stream_that_closes_well_but_early_is_truncated() {
    for (provider, body) in [
        (
            OPENAI,
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
        ),
        (
            ANTHROPIC,
            "data: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n",
        ),
    ] {
        let fake = FakeModel::start();
        fake.reply(raw("text/event-stream", body));
        let (result, _heard) = ask(provider.clone(), &fake);
        assert_eq!(result, Err(LlmError::Truncated { provider }));
    }
}

#[test]
fn an_answer_that_says_why_it_ended_may_leave_out_its_last_line() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("ok").without_done())
            .then(text("ok").without_done().cut_at_end());
        for _ in 0..2 {
            let (result, heard) = ask(provider.clone(), &fake);
            assert_eq!(
                result.map(|reply| reply.finish_reason),
                Ok(FinishReason::Stop)
            );
            assert_eq!(heard.text, "ok");
        }
    }
}

#[test]
fn an_error_in_the_middle_is_an_error_in_the_providers_words() {
    for provider in [Provider::OPENROUTER, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("so far").and_error(529, "too busy"));
        let (result, heard) = ask(provider, &fake);
        let Err(LlmError::MidStream { message, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(message.ends_with("too busy"), "{message}");
        assert_eq!(heard.text, "so far");
        assert_eq!(heard.codes(), [""; 0]);
    }
}

#[test]
fn an_error_instead_of_the_first_word_is_tried_again() {
    for provider in [Provider::OPENROUTER, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(
            pieces(&[])
                .and_comment("PROCESSING")
                .and_error(529, "too busy"),
        )
        .then(text("now"));
        let (result, heard) = ask(provider, &fake);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!((heard.text.as_str(), heard.codes()), ("now", vec!["retry"]));
    }
}

#[test]
fn a_refusal_is_final_and_in_the_providers_words() {
    let fake = FakeModel::start();
    for (body, message) in [
        (json!({"error": {"message": "no such model"}}).to_string(), "no such model"),
        (
            json!({"error": {"message": "Provider returned error", "metadata": {"raw": "bad tool"}}})
                .to_string(),
            "Provider returned error: bad tool",
        ),
        ("plain words".into(), "plain words"),
        (format!("bad key {KEY}!"), "bad key [redacted]!"),
        (format!("{}{KEY}", "x".repeat(490)), &format!("{}[redacted]", "x".repeat(490))),
        ("ä".repeat(600), &"ä".repeat(500)),
        (String::new(), "no reason given"),
    ] {
        fake.reply(error(404, "").body(&body));
        let (result, heard) = ask(OPENAI, &fake);
        let expected = LlmError::Status {
            provider: OPENAI,
            status: 404,
            message: message.into(),
            retry_after: None,
            should_retry: None,
            hint: Some(format!(
                "is `m1` a model of openai (`spec.model.name`)? It was asked for at {}",
                fake.url().trim_start_matches("http://")
            )),
        };
        assert_eq!(result, Err(expected));
        assert_eq!(heard.codes(), [""; 0]);
    }
}

#[test]
fn retry_after_is_obeyed_when_it_is_short() {
    let fake = FakeModel::start();
    fake.reply(error(429, "later").retry_after("1"))
        .then(text("now"));
    let start = Instant::now();
    assert!(ask(OPENAI, &fake).0.is_ok());
    assert!(start.elapsed() >= Duration::from_secs(1));

    fake.reply(error(429, "much later").retry_after("3600"));
    let (result, heard) = ask(OPENAI, &fake);
    assert!(matches!(
        result,
        Err(LlmError::Status { status: 429, retry_after: Some(after), .. }) if after.as_secs() == 3600
    ));
    assert_eq!(heard.codes(), ["retry"]);
    let words = &heard.notices[0].1;
    assert!(words.contains("asks to wait 3600 s"), "{words}");
    assert!(words.contains("not asked again"), "{words}");
}

#[test]
fn a_fallback_answers_for_a_provider_that_is_down_and_names_itself() {
    let down = FakeModel::start();
    down.default_reply(error(529, "overloaded"));
    let up = FakeModel::start();
    let spec = ModelSpec {
        fallbacks: vec![
            // Nothing listens there.
            choice(OPENAI, Some("http://127.0.0.1:9".into())),
            choice(OPENAI, Some(up.url())),
        ],
        ..spec(ANTHROPIC, &down)
    };
    let mut heard = Heard::default();
    let reply = Providers::new(settings())
        .model(&spec)
        .call(&hello(), &mut heard);
    assert_eq!(reply.unwrap().model, "openai/m1");
    let six_tries = ["retry", "retry", "retry", "retry", "retry", "fallback"];
    let [.., who] = &heard.codes()[..] else {
        panic!("no notice");
    };
    assert_eq!(heard.codes()[..12], [six_tries, six_tries].concat());
    assert_eq!(*who, "fallback");
    assert_eq!(heard.notices[12].1, "answered by openai/m1");
    assert_eq!(heard.notices.len(), 13);
    assert_eq!(down.requests().len(), 6);
}

#[test]
fn a_missing_key_is_said_by_name_or_leads_to_the_fallback() {
    let fake = FakeModel::start();
    let providers = Providers::new(ProviderSettings::default());
    let mut spec = ModelSpec {
        main: choice(ANTHROPIC, None),
        ..spec(OPENAI, &fake)
    };
    let error = providers.model(&spec).call(&hello(), &mut Heard::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "anthropic needs a key: set ANTHROPIC_API_KEY in the server's environment"
    );
    spec.fallbacks = vec![choice(OPENAI, Some(fake.url()))];
    let mut heard = Heard::default();
    assert!(providers.model(&spec).call(&hello(), &mut heard).is_ok());
    assert_eq!(heard.codes(), ["fallback", "fallback"]);
    assert_eq!(fake.requests()[0].header("authorization"), None);
}

/// Cancels a call from another thread once `ready` returns; gives the result and the time from
/// the cancel to it.
fn cancelled(
    mut model: Box<dyn Model>,
    request: Request,
    ready: impl FnOnce(),
) -> (Result<ModelReply, LlmError>, Duration) {
    let canceller = model.canceller();
    let (done_tx, done_rx) = bounded(1);
    std::thread::spawn(move || {
        let result = model.call(&request, &mut Heard::default());
        assert_eq!(
            model.call(&request, &mut Heard::default()),
            Err(LlmError::Cancelled),
            "later calls end at once"
        );
        done_tx.send((result, Instant::now())).unwrap();
    });
    ready();
    let start = Instant::now();
    canceller.cancel();
    let ended = done_rx.recv_timeout(Duration::from_secs(60));
    let (result, end) = ended.expect("the cancel is not heard");
    (result, end.saturating_duration_since(start))
}

#[test]
fn cancel_ends_a_call_that_waits_for_the_provider() {
    for provider in [OPENAI, ANTHROPIC] {
        for step in [stall(), text("a few words").and_stall()] {
            let fake = FakeModel::start();
            fake.reply(step);
            let model = model(provider.clone(), &fake);
            let (result, time) = cancelled(model, hello(), || fake.wait_for_stalls(1));
            assert_eq!(result, Err(LlmError::Cancelled));
            assert!(time < Duration::from_secs(2), "{time:?}");
            fake.wait_for_disconnects(1);
        }
    }
}

#[test]
fn cancel_ends_the_wait_before_another_try() {
    let fake = FakeModel::start();
    fake.reply(error(429, "later").retry_after("30"));
    let (result, time) = cancelled(model(OPENAI, &fake), hello(), || {
        fake.wait_for_requests(1);
    });
    assert_eq!(result, Err(LlmError::Cancelled));
    assert!(time < Duration::from_secs(10), "{time:?}");
}

#[test]
fn the_time_for_a_whole_reply_is_limited_however_it_drips() {
    let fake = FakeModel::start();
    fake.reply(pieces(&["a "; 500]).each_after(Duration::from_millis(20)));
    let request = Request {
        timeout: Some(Duration::from_secs(1)),
        ..hello()
    };
    let mut model = model(OPENAI, &fake);
    let (result, heard) = in_time(move || {
        let mut heard = Heard::default();
        (model.call(&request, &mut heard), heard)
    });
    assert_eq!(
        result,
        Err(LlmError::Timeout {
            provider: OPENAI,
            what: "the whole reply"
        })
    );
    assert!(heard.pieces > 0);
}

#[test]
fn silence_is_a_timeout_and_tried_again() {
    let fake = FakeModel::start();
    fake.reply(stall()).then(text("awake"));
    let settings = ProviderSettings {
        idle_timeout: Duration::from_secs(1),
        ..settings()
    };
    let model = Providers::new(settings).model(&spec(OPENAI, &fake));
    let (result, heard) = called(model, Heard::default());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(heard.codes(), ["retry"]);
    assert!(
        heard.notices[0].1.contains("took too long"),
        "{:?}",
        heard.notices
    );
}

/// Makes all of its answer before it says the first byte of it.
fn server_that_answers_whole_after(rest: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        assert!(socket.read(&mut [0; 16 << 10]).unwrap() > 0);
        std::thread::sleep(rest);
        let said =
            json!({"choices": [{"message": {"content": "slowly"}, "finish_reason": "stop"}]});
        let said = said.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{said}",
            said.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
    });
    format!("http://{address}/v1")
}

#[test]
fn what_is_asked_for_as_a_whole_may_be_silent_until_it_is_made() {
    let url = server_that_answers_whole_after(Duration::from_secs(3));
    let mut spec = spec(OPENAI, &FakeModel::start());
    spec.main = choice(OPENAI, Some(url));
    spec.main.settings.stream = Some(false);
    let settings = ProviderSettings {
        idle_timeout: Duration::from_secs(1),
        ..settings()
    };
    let (result, heard) = called(Providers::new(settings).model(&spec), Heard::default());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((heard.text.as_str(), heard.codes()), ("slowly", vec![]));
}

/// A sink that cancels the call with its first words.
struct Hasty(Arc<dyn Cancel>);

impl Sink for Hasty {
    fn text(&mut self, _text: &str) {}

    fn flush(&mut self) -> Result<(), SinkError> {
        self.0.cancel();
        Ok(())
    }

    fn notice(&mut self, _code: NoticeCode, _message: String) {}
}

#[test]
fn a_cancelled_call_is_cancelled_though_all_of_its_answer_came() {
    let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n\
                  data: [DONE]\n\n";
    for step in [raw("text/event-stream", stream), text("a").whole()] {
        let fake = FakeModel::start();
        fake.reply(step);
        let mut model = model(OPENAI, &fake);
        let mut sink = Hasty(model.canceller());
        let result = in_time(move || model.call(&hello(), &mut sink));
        assert_eq!(result, Err(LlmError::Cancelled));
    }
}

#[test]
fn an_answer_that_is_not_streamed_has_at_most_8_mib() {
    for (mib, expected) in [(7, true), (9, false)] {
        let fake = FakeModel::start();
        let words = "a".repeat(mib << 20);
        fake.reply(text(&words).whole());
        let (result, heard) = ask(OPENAI, &fake);
        assert_eq!(result.is_ok(), expected, "{mib} MiB");
        assert_eq!(heard.text.len(), if expected { words.len() } else { 0 });
        if let Err(error) = result {
            assert!(error.to_string().contains("more than 8 MiB"), "{error}");
        }
    }
}

#[test]
fn a_redirect_of_a_models_call_is_an_error_and_asks_nobody_else() {
    for provider in [OPENAI, ANTHROPIC] {
        for status in [301, 302, 303, 307, 308] {
            let other = FakeModel::start();
            let url = format!("http://{}/v1", server_that_redirects(status, &other.url()));
            let settings = ProviderSettings {
                base_urls: [(provider.clone(), url)].into(),
                ..settings()
            };
            let spec = ModelSpec {
                main: choice(provider.clone(), None),
                ..spec(OPENAI, &other)
            };
            let model = Providers::new(settings).model(&spec);
            let (result, _heard) = called(model, Heard::default());
            let error = result.unwrap_err();
            assert!(
                matches!(error, LlmError::Status { status: said, .. } if said == status),
                "{error}"
            );
            assert!(error.to_string().contains("not followed"), "{error}");
            assert_eq!(other.request_count(), 0, "{provider} {status}");
        }
    }
}

/// Sends whoever asks to `target`.
fn server_that_redirects(status: u16, target: &str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let head = format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 16 << 10];
        assert!(stream.read(&mut asked).unwrap() > 0);
        stream.write_all(head.as_bytes()).unwrap();
    });
    address
}

/// A proxy for one connection, and what it is sent beside the `CONNECT`.
fn proxy_that_listens() -> (std::net::SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (seen_tx, seen_rx) = bounded(1);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 16 << 10];
        let mut seen = String::new();
        for (until, answer) in [
            ("\r\n\r\n", "HTTP/1.1 200 Connected\r\n\r\n"),
            (
                "hello",
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            ),
        ] {
            while !seen.contains(until) {
                let count = stream.read(&mut bytes).unwrap();
                assert!(count > 0, "{seen}");
                seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
        seen_tx.send(seen).unwrap();
    });
    (address, seen_rx)
}

#[test]
fn a_proxy_is_sent_no_key_in_the_clear() {
    for (provider, header) in [(OPENAI, "authorization"), (ANTHROPIC, "x-api-key")] {
        let (proxy, seen_rx) = proxy_that_listens();
        let named = "http://provider.example:8000/v1".to_owned();
        let settings = ProviderSettings {
            base_urls: [(provider.clone(), named)].into(),
            proxies: Proxies::all(ureq::Proxy::new(&format!("http://{proxy}")).unwrap()),
            ..settings()
        };
        let spec = ModelSpec {
            main: choice(provider, None),
            ..spec(OPENAI, &FakeModel::start())
        };
        let model = Providers::new(settings).model(&spec);
        let (result, _heard) = called(model, Heard::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains("unencrypted through a proxy"), "{error}");
        let seen = seen_rx.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(seen.contains("hello"), "{seen}");
        assert!(!seen.contains(KEY) && !seen.contains(header), "{seen}");
    }
}

#[test]
fn what_cannot_be_reached_is_told_with_what_may_help() {
    // Nobody listens where somebody did.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    for (url, expected) in [
        (
            format!("http://{gone}/v1"),
            format!("nothing listens at {gone}"),
        ),
        (
            "http://no-such-host.invalid/v1".to_owned(),
            "is OLLAMA_BASE_URL or `providers.ollama.base_url` right?".to_owned(),
        ),
    ] {
        let spec = ModelSpec {
            main: choice(Provider::OLLAMA, Some(url)),
            ..spec(OPENAI, &FakeModel::start())
        };
        let model = Providers::new(settings()).model(&spec);
        let (result, _heard) = called(model, Heard::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_refusal_says_which_key_was_sent_or_why_none_was() {
    let fake = FakeModel::start();
    fake.default_reply(error(401, "no"));
    let host = fake.url().trim_start_matches("http://").to_owned();
    let asked = |settings: ProviderSettings, provider: Provider| {
        let result = Providers::new(settings)
            .model(&spec(provider, &fake))
            .call(&hello(), &mut Heard::default());
        result.unwrap_err().to_string()
    };
    let sent = asked(settings_at(&fake), OPENAI);
    assert!(
        sent.starts_with("openai answered 401: no; is OPENAI_API_KEY right?"),
        "{sent}"
    );
    let withheld = asked(settings(), ANTHROPIC);
    let expected = format!(
        "the key of anthropic is not sent to {host}, which only the agent's file names: name that \
         address in ANTHROPIC_BASE_URL, or in `providers.anthropic.base_url` of duragent.yaml"
    );
    assert!(withheld.contains(&expected), "{withheld}");
    let none = asked(ProviderSettings::default(), Provider::OLLAMA);
    assert!(
        none.contains("no key was sent: set OLLAMA_API_KEY"),
        "{none}"
    );
    let keys: Vec<bool> = fake
        .requests()
        .iter()
        .map(|asked| asked.header("authorization").is_some() || asked.header("x-api-key").is_some())
        .collect();
    assert_eq!(keys, [true, false, false]);
}

#[test]
fn a_reply_that_cannot_be_stored_ends_the_call() {
    let fake = FakeModel::start();
    fake.reply(text("a few words").and_stall());
    let heard = Heard {
        disk_full: true,
        ..Heard::default()
    };
    let (result, _heard) = called(model(OPENAI, &fake), heard);
    assert_eq!(result, Err(LlmError::Sink("no space left".into())));
}

#[test]
fn a_long_conversation_is_sent_whole_over_the_turns_one_connection() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(error(500, "try again"))
            .then(text("one"))
            .then(text("two"));
        let mut model = model(provider.clone(), &fake);
        let long = "words and \"words\" ".repeat(16 << 10);
        for messages in [vec![user(&long)], vec![user("short")]] {
            let request = Request {
                messages,
                ..hello()
            };
            model.call(&request, &mut Heard::default()).unwrap();
        }
        let asked = fake.requests();
        assert!(asked[..2].iter().all(|one| one.last_message() == long));
        assert_eq!(asked[2].last_message(), "short");
        // The long one was tried twice.
        let connections: Vec<usize> = asked.iter().map(|one| one.connection).collect();
        assert_eq!(connections, [0, 0, 0], "{provider:?}");
    }
}

#[test]
fn the_calls_of_a_turn_share_a_connection_and_outlive_its_loss() {
    for provider in [OPENAI, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(text("one"))
            .then(text("two"))
            .then(hang_up())
            .then(text("three"));
        let mut model = model(provider, &fake);
        let mut heard = Heard::default();
        for _ in 0..3 {
            model.call(&hello(), &mut heard).unwrap();
        }
        assert_eq!(heard.text, "onetwothree");
        assert_eq!(heard.codes(), [""; 0], "nobody needs to know");
        let connections: Vec<usize> = fake.requests().iter().map(|one| one.connection).collect();
        assert_eq!(connections, [0, 0, 0, 1]);
    }
}

/// The event of a reply that holds `data` for `model`.
fn said_with(model: &str, data: Value) -> Option<Arc<AssistantResponse>> {
    Some(Arc::new(AssistantResponse {
        turn_id: TurnId::mint(1, 1),
        message_id: MessageId::mint(1, 1),
        agent: "a".into(),
        model: model.into(),
        input_seq: Seq(1),
        content: String::new().into(),
        tool_calls: Vec::new(),
        usage: None,
        finish_reason: FinishReason::Stop,
        continues: None,
        provider_data: Some(data),
        attachments: Vec::new(),
    }))
}

/// A conversation with everything in it that providers are strict about.
fn long_request() -> Request {
    let call = |id: &str, arguments: &str| ToolCall {
        call_id: CallId::parse(id).unwrap(),
        tool_name: "tools.date".into(),
        arguments: arguments.into(),
        source: None,
    };
    let result = |id: &str, success| Message::Tool {
        call_id: CallId::parse(id).unwrap(),
        tool_name: "date".into(),
        output: ToolOutput {
            success,
            content: "today".into(),
        },
    };
    Request {
        system: "be kind".into(),
        messages: vec![
            user("what day is it?"),
            Message::Assistant(message::Reply {
                text: "".into(),
                tool_calls: vec![call("a", "{\"zone\":1}"), call("b", "not json")],
                event: said_with(
                    "anthropic/m1",
                    json!({
                        "thinking": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
                        "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
                    }),
                ),
            }),
            result("a", true),
            result("b", false),
            user("well?"),
            Message::Assistant(message::Reply {
                text: "It is ".into(),
                tool_calls: Vec::new(),
                event: said_with(
                    "openai/m1",
                    json!({"thinking": [1], "reasoning_details": [1]}),
                ),
            }),
        ],
        tools: vec![ToolDefinition {
            name: "date".into(),
            description: "the date".into(),
            parameters: json!({"type": "object"}),
        }],
        tool_choice: ToolChoice::None,
        ..Request::default()
    }
}

/// The body that `provider` is sent for [`long_request`].
fn long_body(provider: Provider) -> Value {
    let fake = FakeModel::start();
    let mut spec = spec(provider, &fake);
    spec.main.settings = ModelSettings {
        temperature: Some(0.5),
        max_output_tokens: Some(99),
        ..ModelSettings::default()
    };
    let mut model = Providers::new(settings()).model(&spec);
    model.call(&long_request(), &mut Heard::default()).unwrap();
    fake.requests()[0].body.clone()
}

#[test]
fn anthropic_is_asked_in_its_dialect() {
    let cache = json!({"type": "ephemeral"});
    assert_eq!(
        long_body(ANTHROPIC),
        json!({
            "model": "m1",
            "max_tokens": 99,
            "temperature": 0.5,
            "stream": true,
            "system": [{"type": "text", "text": "be kind", "cache_control": cache}],
            "tools": [{
                "name": "date", "description": "the date",
                "input_schema": {"type": "object"}, "cache_control": cache,
            }],
            "tool_choice": {"type": "none"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "what day is it?"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "a", "name": "tools_date", "input": {"zone": 1}},
                    {"type": "tool_use", "id": "b", "name": "tools_date",
                     "input": {"arguments": "not json"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "today"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "today", "is_error": true},
                    {"type": "text", "text": "well?"},
                ]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "It is", "cache_control": cache},
                ]},
            ],
        })
    );
}

#[test]
fn openai_is_asked_in_its_dialect() {
    let call = |id: &str, arguments: &str| {
        json!({"id": id, "type": "function",
               "function": {"name": "tools_date", "arguments": arguments}})
    };
    assert_eq!(
        long_body(OPENAI),
        json!({
            "model": "m1",
            "max_tokens": 99,
            "temperature": 0.5,
            "stream": true,
            "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {
                "name": "date", "description": "the date", "parameters": {"type": "object"},
            }}],
            "tool_choice": "none",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "what day is it?"},
                {"role": "assistant", "content": null,
                 "tool_calls": [
                    call("a", "{\"zone\":1}"), call("b", "{\"arguments\":\"not json\"}"),
                 ]},
                {"role": "tool", "tool_call_id": "a", "content": "today"},
                {"role": "tool", "tool_call_id": "b", "content": "today"},
                {"role": "user", "content": "well?"},
                {"role": "assistant", "content": "It is ", "reasoning_details": [1]},
            ],
        })
    );
}

#[test]
fn keys_and_names_stand_in_the_headers() {
    let fake = FakeModel::start();
    for provider in [OPENAI, Provider::OPENROUTER, ANTHROPIC, Provider::OLLAMA] {
        ask(provider, &fake).0.unwrap();
    }
    let bearer = format!("Bearer {KEY}");
    let asked = fake.requests();
    assert_eq!(asked[0].header("authorization"), Some(&*bearer));
    assert_eq!(asked[1].header("authorization"), Some(&*bearer));
    assert_eq!(asked[1].header("x-title"), Some("Duragent"));
    assert_eq!(asked[2].header("x-api-key"), Some(KEY));
    assert_eq!(asked[2].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(asked[3].header("authorization"), None);
}

#[test]
fn what_a_model_thought_goes_back_to_it() {
    for provider in [Provider::OPENROUTER, ANTHROPIC] {
        let fake = FakeModel::start();
        fake.reply(
            pieces(&[])
                .and_thinking("hm ")
                .and_thinking("so")
                .and_text("yes"),
        );
        let (result, heard) = ask(provider.clone(), &fake);
        assert_eq!(heard.text, "yes", "thoughts are not shown");
        let data = result.unwrap().provider_data.unwrap();
        let expected = if provider == ANTHROPIC {
            json!({"thinking": [
                {"type": "thinking", "thinking": "hm ", "signature": "signed"},
                {"type": "thinking", "thinking": "so", "signature": "signed"},
            ]})
        } else {
            json!({"reasoning_details": [
                {"type": "reasoning.text", "index": 0, "text": "hm so"},
            ]})
        };
        assert_eq!(data, expected);
    }
}

#[test]
fn no_debug_output_shows_a_key() {
    let fake = FakeModel::start();
    let settings = settings();
    let providers = Providers::new(settings.clone());
    let model = providers.model(&spec(OPENAI, &fake));
    for shown in [
        format!("{settings:?}"),
        format!("{providers:?}"),
        format!("{model:?}"),
        format!("{:?}", model.canceller()),
    ] {
        assert!(!shown.contains(KEY), "{shown}");
    }
}

#[test]
fn a_proxy_is_not_asked_for_what_is_on_this_machine() {
    let fake = FakeModel::start();
    // Nothing listens at the proxy's address, so asking it would fail.
    let settings = ProviderSettings::from_env(|name| match name {
        "ALL_PROXY" => Some("http://127.0.0.1:9".into()),
        "OLLAMA_HOST" => Some(fake.url()),
        _ => None,
    });
    assert!(settings.proxies.http.is_some());
    let spec = ModelSpec {
        main: choice(Provider::OLLAMA, None),
        ..spec(OPENAI, &fake)
    };
    let result = Providers::new(settings)
        .model(&spec)
        .call(&hello(), &mut Heard::default());
    assert!(result.is_ok(), "{result:?}");
}

fn echo(message: &str, limit: Option<Duration>) -> (Result<ModelReply, LlmError>, Heard) {
    let fake = FakeModel::start();
    let mut heard = Heard::default();
    let request = Request {
        messages: vec![user(message)],
        timeout: limit,
        tools: long_request().tools,
        ..Request::default()
    };
    let result = model(Provider::ECHO, &fake).call(&request, &mut heard);
    (result, heard)
}

#[test]
fn echo_says_the_words_back_and_calls_tools_as_told() {
    let (result, heard) = echo(
        "one two three four five\n/tool date {\"a\": 1}\n/tool date",
        None,
    );
    assert_eq!(
        result,
        Ok(ModelReply {
            model: "echo/m1".into(),
            tool_calls: vec![
                raw_call("", "date", "{\"a\": 1}"),
                raw_call("", "date", "{}")
            ],
            usage: Some(Usage::new(14, 6)),
            finish_reason: FinishReason::ToolCalls,
            provider_data: None,
            is_cut: false,
            cut_calls: Vec::new(),
            from_text: false,
        })
    );
    assert_eq!(heard.text, "one two three four five");
    assert_eq!((heard.pieces, heard.flushes), (5, 2));
}

#[test]
fn echo_repeats_fails_and_takes_its_time() {
    let (result, heard) = echo("a b\n/repeat 5", None);
    assert!(result.is_ok());
    assert_eq!(heard.text, "a b a b a ");
    let (result, heard) = echo("a b\n/fail", None);
    assert!(matches!(result, Err(LlmError::MidStream { .. })));
    assert_eq!(heard.text, "a b");
    let (result, _heard) = echo(
        "a b\n/slow 50\n/repeat 1000",
        Some(Duration::from_millis(200)),
    );
    assert!(matches!(result, Err(LlmError::Timeout { .. })));
}

#[test]
fn echo_ends_at_the_limit_of_a_reply_too() {
    let fake = FakeModel::start();
    let mut heard = Heard::default();
    let request = Request {
        messages: vec![user("a b\n/repeat 1000000\n/tool date")],
        tools: long_request().tools,
        ..hello_within(5)
    };
    let reply = model(Provider::ECHO, &fake).call(&request, &mut heard);
    let reply = reply.unwrap();
    assert_eq!(
        (reply.is_cut, reply.finish_reason),
        (true, FinishReason::Length)
    );
    assert_eq!((reply.tool_calls.len(), heard.text.as_str()), (0, "a b a"));
}

#[test]
fn echo_answers_with_the_results_of_tools() {
    let fake = FakeModel::start();
    let mut heard = Heard::default();
    let mut request = long_request();
    request.messages.truncate(4);
    model(Provider::ECHO, &fake)
        .call(&request, &mut heard)
        .unwrap();
    assert_eq!(heard.text, "today\ntoday");
}

#[test]
fn cancel_ends_a_slow_echo_in_the_middle_of_a_rest() {
    let fake = FakeModel::start();
    let request = Request {
        messages: vec![user("a b c\n/slow 60000")],
        ..Request::default()
    };
    let (result, time) = cancelled(model(Provider::ECHO, &fake), request, || {});
    assert_eq!(result, Err(LlmError::Cancelled));
    assert!(time < Duration::from_secs(5), "{time:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn wherever_the_writes_are_cut_the_reply_is_the_same(bytes in 1_usize..40) {
        for provider in [OPENAI, ANTHROPIC] {
            let fake = FakeModel::start();
            fake.reply(
                text("grüße, 🦀 world")
                    .and_call("date", r#"{"zone":"Zürich"}"#)
                    .split_every(bytes),
            );
            let (result, heard) = ask(provider, &fake);
            prop_assert_eq!(heard.text, "grüße, 🦀 world");
            let calls = result.unwrap().tool_calls;
            prop_assert_eq!(calls, [raw_call("call_1_1", "date", r#"{"zone":"Zürich"}"#)]);
        }
    }
}

#[test]
fn the_fake_refuses_what_providers_refuse() {
    let fake = FakeModel::start();
    fake.allow_violations();
    let mut request = hello();
    request.messages.push(user("again"));
    let result = model(OPENAI, &fake).call(&request, &mut Heard::default());
    assert!(matches!(result, Err(LlmError::Status { status: 400, .. })));
    let mut request = long_request();
    request.messages.remove(3);
    for provider in [OPENAI, ANTHROPIC] {
        let result = model(provider, &fake).call(&request, &mut Heard::default());
        assert!(
            matches!(result, Err(LlmError::Status { status: 400, .. })),
            "{result:?}"
        );
    }
    assert_eq!(fake.violations().len(), 3);
}

#[test]
fn a_web_page_is_no_answer() {
    let fake = FakeModel::start();
    fake.reply(raw("text/html; charset=utf-8", "<html>welcome</html>"));
    let (result, heard) = ask(OPENAI, &fake);
    assert!(
        matches!(result, Err(LlmError::Malformed { .. })),
        "{result:?}"
    );
    assert_eq!(heard.codes(), [""; 0]);
}

#[test]
fn a_stalled_fake_goes_on_when_it_is_released() {
    let fake = FakeModel::start();
    fake.reply(text("one ").and_stall().and_text("two"));
    let mut model = model(OPENAI, &fake);
    let caller = std::thread::spawn(move || {
        let mut heard = Heard::default();
        model.call(&hello(), &mut heard).unwrap();
        heard.text
    });
    fake.wait_for_stalls(1);
    assert_eq!(fake.open_streams(), 1);
    fake.release();
    assert_eq!(caller.join().unwrap(), "one two");
    assert_eq!((fake.request_count(), fake.disconnects()), (1, 0));
}
