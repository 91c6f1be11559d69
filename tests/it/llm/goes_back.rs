//! What of a conversation goes back with the next call, and in which form.

use std::path::Path;
use std::process::Command;

use duragent::domain::code::NoticeCode;
use duragent::domain::event::Attachment;
use duragent::domain::spec::{ModelInput, ModelSettings, ReasoningSettings};
use duragent::llm::AttachedFiles;
use serde_json::Map;

use super::*;
use crate::support::fake_model::{Asked, tool_call};

const SAID: &str = "what day is it?";

/// An agent's model, by that name and with those settings.
fn spec_of(provider: &str, name: &str, settings: ModelSettings) -> ModelSpec {
    let known = KNOWN.iter().find(|known| known.name == provider);
    let main = ModelChoice {
        settings,
        ..ModelChoice::new(known.unwrap().provider(), name)
    };
    ModelSpec {
        main,
        fallbacks: Vec::new(),
    }
}

fn date() -> ToolDefinition {
    ToolDefinition {
        name: "date".into(),
        description: "the date".into(),
        parameters: json!({"type": "object"}),
    }
}

fn request(messages: Vec<Message>) -> Request {
    Request {
        system: "be kind".into(),
        messages,
        tools: vec![date()],
        cache_key: Some("session_1".into()),
        ..Request::default()
    }
}

/// The reply of `label` as the next call holds it.
fn replied(label: &str, heard: &Heard, reply: &ModelReply) -> Message {
    let calls = reply.tool_calls.iter().enumerate();
    let calls: Vec<ToolCall> = calls
        .map(|(at, call)| {
            let id = CallId::parse(&call.id).unwrap_or(CallId::mint(1, at as u128));
            call.clone().named(id)
        })
        .collect();
    said_by(label, &heard.text, calls, reply.provider_data.clone())
}

fn said_by(label: &str, text: &str, calls: Vec<ToolCall>, data: Option<Value>) -> Message {
    Message::Assistant(message::Reply {
        text: text.into(),
        tool_calls: calls,
        event: data.and_then(|data| said_with(label, data)),
    })
}

fn call(id: &str) -> ToolCall {
    raw_call("", "date", "{}").named(CallId::parse(id).unwrap())
}

/// What the tools answered to the calls of a reply.
fn results(reply: &Message) -> Vec<Message> {
    let Message::Assistant(reply) = reply else {
        panic!("no reply");
    };
    let result = |call: &ToolCall| Message::Tool {
        call_id: call.call_id.clone(),
        tool_name: call.tool_name.clone(),
        output: ToolOutput {
            success: true,
            content: "monday".into(),
        },
    };
    reply.tool_calls.iter().map(result).collect()
}

/// Two calls of a turn: the first is answered by `step`. Returns both requests.
fn two_calls(spec: &ModelSpec, step: Step) -> [Asked; 2] {
    let fake = FakeModel::start();
    fake.reply(step).then(text("done"));
    let providers = Providers::new(settings_at(&fake));
    let mut heard = Heard::default();
    let mut model = providers.model(spec);
    let mut messages = vec![user(SAID)];
    let reply = model.call(&request(messages.clone()), &mut heard).unwrap();
    let said = replied(&spec.main.label(), &heard, &reply);
    let results = results(&said);
    messages.push(said);
    if results.is_empty() {
        messages.push(user("and now?"));
    }
    messages.extend(results);
    model
        .call(&request(messages), &mut Heard::default())
        .unwrap();
    fake.requests().try_into().unwrap()
}

/// The body of one call of a conversation that is known from before.
fn body_of(spec: &ModelSpec, messages: Vec<Message>) -> Value {
    let fake = FakeModel::start();
    let mut model = Providers::new(settings_at(&fake)).model(spec);
    model
        .call(&request(messages), &mut Heard::default())
        .unwrap();
    fake.requests()[0].body.clone()
}

fn body_with(provider: &str, name: &str, settings: ModelSettings) -> Value {
    body_of(&spec_of(provider, name, settings), vec![user(SAID)])
}

fn effort(word: &str) -> ModelSettings {
    ModelSettings {
        reasoning: Some(ReasoningSettings {
            effort: Some(word.to_owned()),
            max_tokens: None,
        }),
        ..ModelSettings::default()
    }
}

/// The beginning of a body up to the end of its conversation, without marks for the cache.
fn conversation_of(asked: &Asked) -> String {
    let (begin, _) = asked.text.split_once(r#"],"tools":"#).expect("tools");
    const MARK: &str = r#""cache_control":{"type":"ephemeral"}"#;
    begin
        .replace(&format!(",{MARK}"), "")
        .replace(&format!("{MARK},"), "")
}

#[test]
fn a_call_begins_byte_for_byte_as_the_one_before_it() {
    for (provider, name) in [
        ("openai", "gpt-4.1"),
        ("openrouter", "anthropic/claude-sonnet-4.5"),
        ("openrouter", "x/y"),
        ("anthropic", "claude-sonnet-4-5"),
        ("mistral", "devstral"),
        ("deepseek", "deepseek-chat"),
        ("gemini", "gemini-3-pro"),
    ] {
        for step in [
            text("").and_thinking("hm").and_call("date", "{}"),
            text("").and_thinking("hm").and_text("so"),
        ] {
            let spec = spec_of(provider, name, ModelSettings::default());
            let [first, second] = two_calls(&spec, step);
            let (first, second) = (conversation_of(&first), conversation_of(&second));
            assert!(second.starts_with(&first), "{first}\n{second}");
            assert!(second.len() > first.len());
        }
    }
}

#[test]
fn what_a_model_thought_goes_back_as_it_came() {
    let step = || {
        pieces(&[])
            .and_thinking("hm ")
            .and_text("yes")
            .and_call("date", "{}")
    };
    let spec = spec_of("openrouter", "x/y", ModelSettings::default());
    let [_, second] = two_calls(&spec, step());
    assert_eq!(
        second.messages()[2]["reasoning_details"],
        json!([{"type": "reasoning.text", "index": 0, "text": "hm "}])
    );
    let spec = spec_of("anthropic", "claude-sonnet-4-5", ModelSettings::default());
    let [_, second] = two_calls(&spec, step());
    assert_eq!(
        second.messages()[1]["content"],
        json!([
            {"type": "thinking", "thinking": "hm ", "signature": "signed"},
            {"type": "text", "text": "yes"},
            {"type": "tool_use", "id": "call_1_1", "name": "date", "input": {}},
        ])
    );
}

#[test]
fn reasoning_content_goes_back_to_those_who_demand_it() {
    let data = json!({"reasoning_content": "hm"});
    for (provider, name, is_wanted) in [
        ("deepseek", "deepseek-chat", true),
        ("moonshot", "kimi-k2-thinking", true),
        ("vllm", "moonshotai/Kimi-K2.5", true),
        ("openai", "gpt-4.1", false),
        ("groq", "qwen3", false),
        ("openrouter", "deepseek/deepseek-v3.2", false),
    ] {
        let spec = spec_of(provider, name, ModelSettings::default());
        let label = spec.main.label();
        for (made_by, expected) in [(label.as_str(), "hm"), ("other/model", "")] {
            let reply = said_by(made_by, "", vec![call("a")], Some(data.clone()));
            let mut messages = vec![user(SAID), reply.clone()];
            messages.extend(results(&reply));
            let said = body_of(&spec, messages)["messages"][2].clone();
            // Without one such a message is refused, whoever made it.
            let expected = is_wanted.then(|| json!(expected));
            assert_eq!(said.get("reasoning_content"), expected.as_ref(), "{label}");
        }
    }
}

#[test]
fn signatures_go_back_with_their_calls_or_something_stands_for_them() {
    let spec = spec_of("gemini", "gemini-3-pro", ModelSettings::default());
    let signed = |text: &str| json!({"google": {"thought_signature": text}});
    let data = json!({
        "extra_content": [signed("one"), null],
        "extra_content_message": signed("all"),
    });
    let skipped = signed("skip_thought_signature_validator");
    for (made_by, first, all) in [
        ("gemini/gemini-3-pro", signed("one"), Some(signed("all"))),
        ("openai/gpt-5", skipped, None),
    ] {
        let calls = vec![call("a"), call("b")];
        let reply = said_by(made_by, "", calls, Some(data.clone()));
        let mut messages = vec![user(SAID), reply.clone()];
        messages.extend(results(&reply));
        let said = body_of(&spec, messages)["messages"][2].clone();
        assert_eq!(said["tool_calls"][0]["extra_content"], first);
        assert_eq!(said["tool_calls"][1].get("extra_content"), None);
        assert_eq!(said.get("extra_content"), all.as_ref());
    }
}

#[test]
fn blocks_go_back_in_the_order_in_which_they_came() {
    let spec = spec_of("anthropic", "m1", ModelSettings::default());
    let thought = |text: &str| json!({"type": "thinking", "thinking": text, "signature": "s"});
    let order = json!([
        ["thinking", 0],
        ["text", 4],
        ["thinking", 1],
        ["call", 0],
        ["text", 3]
    ]);
    let data = json!({"thinking": [thought("a"), thought("b")], "order": order});
    let words = |text: &str| json!({"type": "text", "text": text});
    let used = json!({"type": "tool_use", "id": "a", "name": "date", "input": {}});
    for (text, expected) in [
        (
            "so, yes",
            json!([
                thought("a"),
                words("so, "),
                thought("b"),
                used,
                words("yes")
            ]),
        ),
        // It is not what it was: a secret in it was covered.
        (
            "so, [redacted]",
            json!([thought("a"), thought("b"), words("so, [redacted]"), used]),
        ),
    ] {
        let reply = said_by("anthropic/m1", text, vec![call("a")], Some(data.clone()));
        let mut messages = vec![user(SAID), reply.clone()];
        messages.extend(results(&reply));
        let said = body_of(&spec, messages)["messages"][1].clone();
        assert_eq!(said["content"], expected);
    }
}

#[test]
fn mistral_is_given_the_order_and_the_ids_that_it_takes() {
    for (provider, name) in [
        ("mistral", "devstral"),
        ("openrouter", "mistralai/devstral"),
    ] {
        let spec = spec_of(provider, name, ModelSettings::default());
        let reply = said_by("x/y", "", vec![call("call_1"), call("Abcdef123")], None);
        let mut messages = vec![user(SAID), reply.clone()];
        messages.extend(results(&reply));
        messages.push(user("well?"));
        let body = body_of(&spec, messages);
        let messages = body["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages
            .iter()
            .filter_map(|one| one["role"].as_str())
            .collect();
        let expected = [
            "system",
            "user",
            "assistant",
            "tool",
            "tool",
            "assistant",
            "user",
        ];
        assert_eq!(roles, expected);
        let ids = [
            &messages[2]["tool_calls"][0]["id"],
            &messages[2]["tool_calls"][1]["id"],
        ];
        let id = ids[0].as_str().unwrap();
        assert!(
            id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()),
            "{id}"
        );
        assert_eq!(ids[1], "Abcdef123");
        assert_eq!(
            [&messages[3]["tool_call_id"], &messages[4]["tool_call_id"]],
            ids
        );
        assert_eq!(body.get("stream_options").is_some(), provider != "mistral");
    }
}

#[test]
fn no_id_of_a_call_is_too_long() {
    let spec = spec_of("openai", "gpt-4.1", ModelSettings::default());
    let reply = said_by("x/y", "", vec![call(&"x".repeat(64)), call("y")], None);
    let mut messages = vec![user(SAID), reply.clone()];
    messages.extend(results(&reply));
    let body = body_of(&spec, messages);
    let id = &body["messages"][2]["tool_calls"][0]["id"];
    assert_eq!(id.as_str().unwrap().len(), 40);
    assert_eq!(&body["messages"][3]["tool_call_id"], id);
    assert_eq!(body["messages"][4]["tool_call_id"], "y");
}

#[test]
fn a_reply_that_broke_off_is_gone_on_with_as_the_model_takes_it() {
    let last = |provider: &str, name: &str, settings: ModelSettings| {
        let spec = spec_of(provider, name, settings);
        let body = body_of(
            &spec,
            vec![user(SAID), said_by("x/y", "It is", vec![], None)],
        );
        body["messages"].as_array().unwrap().last().unwrap().clone()
    };
    let usual = ModelSettings::default;
    assert_eq!(last("openai", "gpt-4.1", usual())["content"], "It is");
    let marked = json!({"role": "assistant", "content": "It is", "prefix": true});
    assert_eq!(last("mistral", "devstral", usual()), marked);
    for (provider, name, settings) in [
        ("anthropic", "claude-opus-4-6", usual()),
        ("anthropic", "claude-sonnet-4-5", effort("low")),
        ("openrouter", "anthropic/claude-opus-4.6", usual()),
    ] {
        let asks = last(provider, name, settings);
        assert_eq!(asks["role"], "user", "{name}");
        assert!(asks.to_string().contains("Go on"), "{asks}");
    }
    assert_eq!(
        last("anthropic", "claude-sonnet-4-5", usual())["role"],
        "assistant"
    );
}

#[test]
fn claude_behind_a_router_has_its_beginning_marked() {
    let mark = json!({"type": "ephemeral"});
    let spec = spec_of(
        "openrouter",
        "anthropic/claude-sonnet-4.5",
        ModelSettings::default(),
    );
    let [first, second] = two_calls(&spec, tool_call("date", "{}"));
    let marked = |asked: &Asked| -> Vec<bool> {
        let messages = asked.messages().iter();
        messages
            .map(|one| one["content"][0]["cache_control"] == mark)
            .collect()
    };
    assert_eq!(marked(&first), [true, true]);
    assert_eq!(marked(&second), [true, false, false, true]);
    assert_eq!(
        second.messages()[1]["content"],
        json!([{"type": "text", "text": SAID}])
    );
}

#[test]
fn a_session_is_named_to_those_who_keep_its_beginning_by_that() {
    for (provider, expected) in [
        ("openai", true),
        ("azure", true),
        ("moonshot", true),
        ("groq", false),
    ] {
        let body = body_with(provider, "m1", ModelSettings::default());
        let key = body.get("prompt_cache_key");
        assert_eq!(key == Some(&json!("session_1")), expected, "{provider}");
    }
}

fn all_settings() -> ModelSettings {
    ModelSettings {
        temperature: Some(0.5),
        top_p: Some(0.5),
        seed: Some(7),
        stop: vec!["END".into()],
        max_output_tokens: Some(99),
        ..ModelSettings::default()
    }
}

/// What `body` asks for beside its conversation and its tools.
fn options_of(body: &Value) -> Value {
    let mut options = body.as_object().unwrap().clone();
    for name in ["model", "messages", "system", "tools"] {
        options.remove(name);
    }
    Value::Object(options)
}

#[test]
fn the_settings_of_an_agent_are_asked_for_where_they_are_taken() {
    let counted = json!({"include_usage": true});
    for (provider, name, expected) in [
        (
            "groq",
            "m1",
            json!({"stream": true, "stream_options": counted, "temperature": 0.5, "top_p": 0.5,
                   "seed": 7, "stop": "END", "max_completion_tokens": 99}),
        ),
        (
            "mistral",
            "m1",
            json!({"stream": true, "temperature": 0.5, "top_p": 0.5,
                   "random_seed": 7, "stop": "END", "max_tokens": 99}),
        ),
        (
            "azure",
            "o3",
            json!({"stream": true, "stream_options": counted, "seed": 7,
                   "max_completion_tokens": 99, "prompt_cache_key": "session_1"}),
        ),
        (
            "anthropic",
            "claude-sonnet-4-5",
            json!({"stream": true, "temperature": 0.5, "top_p": 0.5, "stop_sequences": ["END"],
                   "max_tokens": 99}),
        ),
        (
            "anthropic",
            "claude-opus-4-7",
            json!({"stream": true, "stop_sequences": ["END"], "max_tokens": 99}),
        ),
    ] {
        let body = body_with(provider, name, all_settings());
        assert_eq!(options_of(&body), expected, "{provider}/{name}");
    }
    let several = ModelSettings {
        stop: vec!["a".into(), "b".into()],
        ..ModelSettings::default()
    };
    assert_eq!(body_with("groq", "m1", several)["stop"], json!(["a", "b"]));
}

#[test]
fn an_effort_is_asked_for_in_the_providers_way() {
    let found = |provider: &str, name: &str, settings: ModelSettings| {
        let body = options_of(&body_with(provider, name, settings));
        let names = [
            "reasoning_effort",
            "reasoning",
            "thinking",
            "output_config",
            "max_tokens",
        ];
        let found = names
            .iter()
            .filter_map(|name| Some((name.to_string(), body.get(*name)?.clone())));
        Value::Object(found.collect::<Map<_, _>>())
    };
    let tokens = |count| ModelSettings {
        reasoning: Some(ReasoningSettings {
            effort: None,
            max_tokens: Some(count),
        }),
        ..ModelSettings::default()
    };
    for (provider, name, settings, expected) in [
        (
            "openai",
            "o3",
            effort("low"),
            json!({"reasoning": {"effort": "low"}}),
        ),
        (
            "openrouter",
            "x/y",
            effort("low"),
            json!({"reasoning": {"effort": "low"}}),
        ),
        (
            "openrouter",
            "x/y",
            tokens(500),
            json!({"reasoning": {"max_tokens": 500}}),
        ),
        (
            "deepseek",
            "m1",
            effort("high"),
            json!({"reasoning_effort": "high", "thinking": {"type": "enabled"}}),
        ),
        (
            "deepseek",
            "m1",
            effort("none"),
            json!({"thinking": {"type": "disabled"}}),
        ),
        (
            "moonshot",
            "m1",
            effort("low"),
            json!({"thinking": {"type": "enabled"}}),
        ),
        (
            "anthropic",
            "claude-sonnet-4-5",
            effort("low"),
            json!({"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 10240}),
        ),
        (
            "anthropic",
            "claude-sonnet-4-5",
            tokens(500),
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 9216}),
        ),
        (
            "anthropic",
            "claude-opus-4-7",
            effort("minimal"),
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}, "max_tokens": 8192}),
        ),
        (
            "anthropic",
            "claude-opus-4-7",
            effort("none"),
            json!({"max_tokens": 8192}),
        ),
    ] {
        assert_eq!(
            found(provider, name, settings),
            expected,
            "{provider}/{name}"
        );
    }
    // One who thinks has one temperature.
    let both = ModelSettings {
        temperature: Some(0.5),
        ..effort("low")
    };
    let body = body_with("anthropic", "claude-sonnet-4-5", both);
    assert_eq!(body.get("temperature"), None);
}

#[test]
fn what_an_agent_puts_into_the_request_is_merged_last() {
    for provider in ["openai", "anthropic"] {
        let extra = json!({
            "service_tier": "flex", "temperature": 0.9, "max_tokens": null,
            "metadata": {"a": {"b": [1]}},
        });
        let settings = ModelSettings {
            temperature: Some(0.1),
            max_output_tokens: Some(9),
            extra_body: extra.as_object().unwrap().clone(),
            ..ModelSettings::default()
        };
        let fake = FakeModel::start();
        // A request without `max_tokens` is none in one of the dialects.
        fake.allow_violations();
        let spec = spec_of(provider, "m1", settings);
        let mut model = Providers::new(settings_at(&fake)).model(&spec);
        drop(model.call(&request(vec![user(SAID)]), &mut Heard::default()));
        let body = fake.requests()[0].body.clone();
        assert_eq!(body["service_tier"], "flex");
        assert_eq!(body["temperature"], 0.9);
        assert_eq!(body["metadata"], json!({"a": {"b": [1]}}));
        assert_eq!(body.get("max_tokens"), None);
    }
}

#[test]
fn a_whole_reply_is_asked_for_where_streams_are_refused() {
    for provider in ["openai", "anthropic"] {
        let fake = FakeModel::start();
        fake.reply(text("all at once").whole());
        let settings = ModelSettings {
            stream: Some(false),
            ..ModelSettings::default()
        };
        let mut model =
            Providers::new(settings_at(&fake)).model(&spec_of(provider, "m1", settings));
        let mut heard = Heard::default();
        model.call(&request(vec![user(SAID)]), &mut heard).unwrap();
        assert_eq!(heard.text, "all at once");
        let body = &fake.requests()[0].body;
        assert_eq!(body["stream"], false);
        assert_eq!(body.get("stream_options"), None);
    }
}

const NOT_THAT: &str = "Unsupported value: 'temperature' does not support 0.5 with this model.";

#[test]
fn what_is_refused_is_left_out_and_remembered() {
    let fake = FakeModel::start();
    fake.reply(error(400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."))
        .then(error(400, NOT_THAT))
        .then(text("yes"))
        .then(text("again"));
    let providers = Providers::new(settings_at(&fake));
    let spec = spec_of("together", "m1", all_settings());
    let mut heard = Heard::default();
    for _ in 0..2 {
        let mut model = providers.model(&spec);
        model.call(&request(vec![user(SAID)]), &mut heard).unwrap();
    }
    assert_eq!(heard.text, "yesagain");
    assert_eq!(heard.codes(), [NoticeCode::RequestAdjusted.as_str(); 2]);
    assert!(
        heard.notices[1]
            .1
            .ends_with("; asking again without `temperature`")
    );
    let asked = fake.requests();
    let has = |at: usize, name: &str| asked[at].body.get(name).is_some();
    let names = [
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
    ];
    for (at, expected) in [
        (0, [true, false, true, true]),
        (1, [false, true, true, true]),
        (2, [false, true, false, true]),
        (3, [false, true, false, true]),
    ] {
        assert_eq!(names.map(|name| has(at, name)), expected, "{at}");
    }
}

#[test]
fn a_refusal_of_what_is_not_ours_to_leave_out_is_final() {
    let extra = json!({"temperature": 0.5});
    for settings in [
        ModelSettings::default(),
        ModelSettings {
            extra_body: extra.as_object().unwrap().clone(),
            ..ModelSettings::default()
        },
    ] {
        let fake = FakeModel::start();
        fake.default_reply(error(400, NOT_THAT));
        let spec = spec_of("together", "m1", settings);
        let mut model = Providers::new(settings_at(&fake)).model(&spec);
        let mut heard = Heard::default();
        let result = model.call(&request(vec![user(SAID)]), &mut heard);
        assert!(
            matches!(result, Err(LlmError::Status { status: 400, .. })),
            "{result:?}"
        );
        assert_eq!((fake.request_count(), heard.codes()), (1, vec![]));
    }
}

#[test]
fn no_conversation_is_stuck_for_what_a_model_thought() {
    let data = json!({"thinking": [{"type": "thinking", "thinking": "a", "signature": "s"}]});
    let fake = FakeModel::start();
    let words = "messages.1.content.0: Invalid `signature` in `thinking` block";
    fake.reply(error(400, words))
        .then(text("yes"))
        .then(text("again"))
        .then(text("other"));
    let providers = Providers::new(settings_at(&fake));
    let spec = spec_of("anthropic", "m1", ModelSettings::default());
    let reply = said_by("anthropic/m1", "so", vec![], Some(data));
    let asked = request(vec![user(SAID), reply, user("well?")]);
    let mut heard = Heard::default();
    let mut model = providers.model(&spec);
    for _ in 0..2 {
        model.call(&asked, &mut heard).unwrap();
    }
    providers.model(&spec).call(&asked, &mut heard).unwrap();
    assert_eq!(heard.codes(), ["request_adjusted"]);
    let thoughts = |asked: &Asked| asked.text.contains(r#""type":"thinking""#);
    let sent: Vec<bool> = fake.requests().iter().map(thoughts).collect();
    // Other conversations of the model have nothing to do with it.
    assert_eq!(sent, [true, false, false, true]);
}

/// A stream whose model thinks in the field `reasoning`, and calls a tool.
fn thinking_plainly() -> Step {
    let chunk = |delta: Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    let call =
        json!([{"index": 0, "id": "call_1", "function": {"name": "date", "arguments": "{}"}}]);
    let body = [
        chunk(json!({"reasoning": "hm "})),
        chunk(json!({"reasoning": "so", "content": null})),
        chunk(json!({"tool_calls": call})),
        "data: [DONE]\n\n".to_owned(),
    ];
    raw("text/event-stream", body.concat())
}

#[test]
fn plain_reasoning_goes_back_by_the_name_by_which_it_is_taken() {
    for (provider, name, field) in [
        ("groq", "openai/gpt-oss-120b", "reasoning"),
        ("cerebras", "gpt-oss-120b", "reasoning"),
        ("openrouter", "x/y", "reasoning"),
        ("vllm", "Qwen/Qwen3-8B", "reasoning"),
        ("vllm", "deepseek-ai/DeepSeek-V3.2", "reasoning_content"),
    ] {
        let spec = spec_of(provider, name, ModelSettings::default());
        let [_, second] = two_calls(&spec, thinking_plainly());
        let mut said = second.messages()[2].clone();
        assert_eq!(said[field], "hm so", "{provider}/{name}");
        said.as_object_mut().unwrap().remove(field);
        assert!(!said.to_string().contains("hm so"), "{said}");
    }
    let data = json!({"reasoning": "hm so"});
    let said = said_by("groq/another", "", vec![call("call_1")], Some(data));
    let mut messages = vec![user(SAID), said.clone()];
    messages.extend(results(&said));
    let spec = spec_of("groq", "qwen3", ModelSettings::default());
    assert!(!body_of(&spec, messages).to_string().contains("hm so"));
}

#[test]
fn of_reasoning_that_is_told_by_two_names_one_is_kept() {
    let chunk = |delta: Value| format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}));
    for (delta, kept) in [
        (
            json!({"reasoning": "hm", "reasoning_content": "hm"}),
            json!({"reasoning": "hm"}),
        ),
        (
            json!({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
            json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        ),
    ] {
        let fake = FakeModel::start();
        let body = [
            chunk(delta),
            chunk(json!({"content": "yes"})),
            "data: [DONE]\n\n".to_owned(),
        ];
        fake.reply(raw("text/event-stream", body.concat()));
        let (reply, _) = ask(OPENAI, &fake);
        assert_eq!(reply.unwrap().provider_data, Some(kept));
    }
}

#[test]
fn where_plain_reasoning_is_refused_it_is_never_sent_again() {
    const GROQ: &str = "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : \
                        property 'reasoning' is unsupported)]";
    let vllm = json!({"detail": [{
        "type": "extra_forbidden", "loc": ["body", "messages", 2, "assistant", "reasoning"],
        "msg": "Extra inputs are not permitted",
    }]});
    for refusal in [error(400, GROQ), error(422, "").body(&vllm.to_string())] {
        let fake = FakeModel::start();
        fake.reply(refusal);
        let data = json!({"reasoning": "hm so"});
        let said = said_by("groq/qwen3", "", vec![call("call_1")], Some(data));
        let mut messages = vec![user(SAID), said.clone()];
        messages.extend(results(&said));
        let providers = Providers::new(settings_at(&fake));
        let spec = spec_of("groq", "qwen3", ModelSettings::default());
        let mut codes = Vec::new();
        for _ in 0..2 {
            let mut heard = Heard::default();
            let mut model = providers.model(&spec);
            model.call(&request(messages.clone()), &mut heard).unwrap();
            codes.extend(heard.codes());
        }
        assert_eq!(codes, ["request_adjusted"]);
        let sent = fake.requests();
        let sent = sent
            .iter()
            .map(|asked| asked.messages()[2]["reasoning"] == "hm so");
        assert_eq!(sent.collect::<Vec<_>>(), [true, false, false]);
    }
}

/// An image and a page, whatever is asked for.
#[derive(Debug)]
struct TwoFiles;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

impl AttachedFiles for TwoFiles {
    fn read(&self, file: &Attachment) -> Option<Vec<u8>> {
        Some(match file.mime.as_str() {
            "image/png" => PNG.to_vec(),
            _ => b"%PDF-1.7 paper".to_vec(),
        })
    }

    fn text(&self, _: &Attachment) -> Option<String> {
        None
    }
}

fn body_with_files(spec: &ModelSpec) -> Value {
    let fake = FakeModel::start();
    let mut model = Providers::new(settings_at(&fake)).model(spec);
    let file = |file: Value| serde_json::from_value(file).unwrap();
    let attachments = vec![
        file(
            json!({"file": "a.png", "mime": "image/png", "bytes": 8, "sha256": "0", "name": "a.png", "width": 1, "height": 1}),
        ),
        file(
            json!({"file": "b.pdf", "mime": "application/pdf", "bytes": 14, "sha256": "0", "name": "b.pdf"}),
        ),
    ];
    let request = Request {
        files: Some(Arc::new(TwoFiles)),
        ..request(vec![Message::User {
            text: SAID.into(),
            attachments,
        }])
    };
    model.call(&request, &mut Heard::default()).unwrap();
    let asked = fake.requests().swap_remove(0);
    let png = "iVBORw0KGgo=";
    assert!(asked.text.contains(png), "{}", asked.text);
    asked.body
}

/// Needs `make check-bodies`, which installs the types and runs it.
#[test]
#[ignore = "needs the official types of others: `make check-bodies` runs it"]
fn official_types_take_every_body() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    for (dialect, provider, name) in [
        ("chat", "openai", "gpt-4.1"),
        ("chat", "azure", "o3"),
        ("chat", "groq", "m1"),
        ("chat", "cerebras", "m1"),
        ("chat", "xai", "grok-4"),
        ("chat", "together", "m1"),
        ("chat", "fireworks", "m1"),
        ("chat", "vllm", "m1"),
        ("chat", "deepseek", "deepseek-chat"),
        ("chat", "moonshot", "kimi-k2.5"),
        ("chat", "gemini", "gemini-3-pro"),
        ("chat", "mistral", "devstral"),
        ("chat", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("messages", "anthropic", "claude-sonnet-4-5"),
        ("messages", "anthropic", "claude-opus-4-7"),
        ("responses", "openai", "gpt-5.6"),
        ("responses", "openai", "o3"),
        ("ollama", "ollama", "m1"),
    ] {
        let thoughtful = ModelSettings {
            stream: Some(false),
            ..effort("low")
        };
        for settings in [all_settings(), thoughtful, effort("none")] {
            let settings = ModelSettings {
                input: Some(ModelInput {
                    image: true,
                    pdf: true,
                }),
                ..settings
            };
            let spec = spec_of(provider, name, settings);
            let calls = vec![call("call_1"), call(&"x".repeat(64))];
            let reply = said_by("other/model", "so", calls, None);
            let mut messages = vec![user(SAID), reply.clone()];
            messages.extend(results(&reply));
            messages.extend([user("well?"), said_by("x/y", "It is", vec![], None)]);
            let step = match provider {
                "openrouter" | "anthropic" => text("yes").and_thinking("hm"),
                _ if dialect == "responses" || dialect == "ollama" => {
                    pieces(&[]).and_thinking("hm").and_text("yes")
                }
                _ => text("yes"),
            };
            let step = step.and_call("date", "{}");
            let [first, second] = two_calls(&spec, step);
            let thinks = &second.text;
            let goes_back = match dialect {
                "responses" => thinks.contains("\"encrypted_content\":\"sealed:hm\""),
                "ollama" => thinks.contains("\"thinking\":\"hm\""),
                _ => true,
            };
            assert!(goes_back, "{thinks}");
            let sees = body_with_files(&spec);
            for body in [body_of(&spec, messages), first.body, second.body, sees] {
                number += 1;
                let file = format!("{dialect}.{provider}.{number}.json");
                std::fs::write(folder.path().join(file), body.to_string()).unwrap();
            }
        }
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(checkout.join("target/check-bodies/python/bin/python"))
        .arg(checkout.join("scripts/check-bodies/check.py"))
        .arg(folder.path())
        .output()
        .expect("`make check-bodies` installs it");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
