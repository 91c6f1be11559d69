//! Models, against a provider on loopback.

use std::time::{Duration, Instant};

use duragent::domain::event::{FinishReason, ToolCall, ToolOutput, Usage};
use duragent::domain::ids::CallId;
use duragent::domain::message::{self, Message};
use duragent::domain::spec::{ModelChoice, ModelSpec, Provider};
use duragent::llm::providers::{ProviderSettings, Providers};
use duragent::llm::secret::Secret;
use duragent::llm::{
    LlmError, Model, Models, RawToolCall, Reply, Request, Sink, ToolChoice, ToolDefinition,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::fake_model::{FakeModel, error, hang_up, pieces, raw, stall, text, tool_call};

const OPENAI: Provider = Provider::OpenAi;
const ANTHROPIC: Provider = Provider::Anthropic;
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

    fn flush(&mut self) -> Result<(), String> {
        self.flushes += 1;
        match self.disk_full {
            true => Err("no space left".into()),
            false => Ok(()),
        }
    }

    fn notice(&mut self, code: &'static str, message: String) {
        self.notices.push((code, message));
    }
}

fn choice(provider: Provider, base_url: Option<String>) -> ModelChoice {
    ModelChoice {
        provider,
        name: "m1".into(),
        base_url,
    }
}

fn spec(provider: Provider, fake: &FakeModel) -> ModelSpec {
    ModelSpec {
        main: choice(provider, Some(fake.url())),
        fallbacks: Vec::new(),
        temperature: None,
        max_output_tokens: None,
        max_input_tokens: None,
    }
}

fn settings() -> ProviderSettings {
    let key = Secret::new(KEY).unwrap();
    let keys = Provider::ALL
        .into_iter()
        .filter(|one| one.key_variable().is_some());
    ProviderSettings {
        keys: keys.map(|provider| (provider, key.clone())).collect(),
        first_retry_delay: Duration::from_millis(10),
        ..ProviderSettings::default()
    }
}

fn model(provider: Provider, fake: &FakeModel) -> Box<dyn Model> {
    Providers::new(settings()).model(&spec(provider, fake))
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
fn ask(provider: Provider, fake: &FakeModel) -> (Result<Reply, LlmError>, Heard) {
    let mut heard = Heard::default();
    let result = model(provider, fake).call(&hello(), &mut heard);
    (result, heard)
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
        (Provider::Ollama, "/v1/chat/completions"),
        (Provider::OpenRouter, "/api/v1/chat/completions"),
        (ANTHROPIC, "/v1/messages"),
    ] {
        let fake = FakeModel::start();
        fake.reply(text("hello, dear world").usage(100, 7));
        let (result, heard) = ask(provider, &fake);
        assert_eq!(
            result,
            Ok(Reply {
                model: format!("{provider}/m1"),
                tool_calls: Vec::new(),
                usage: Some(Usage::new(100, 7)),
                finish_reason: FinishReason::Stop,
                provider_data: None,
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
