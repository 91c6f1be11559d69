//! OpenAI's Responses, with what the next request brings back.

use super::*;
use duragent::domain::message::Reply;
use duragent::domain::providers::{Described, Dialect};
use duragent::domain::spec::{ModelChoice, ReasoningSettings};

use crate::support::fake_model::tool_call;

const NAME: &str = "gpt-5.6";

/// OpenAI's model of that name, at `fake`.
fn named(name: &str, fake: &FakeModel) -> ModelSpec {
    let mut spec = spec(OPENAI, fake);
    spec.main.name = name.to_owned();
    spec
}

fn called_at(
    spec: &ModelSpec,
    fake: &FakeModel,
    request: &Request,
) -> (Result<ModelReply, LlmError>, Heard) {
    let mut model = Providers::new(settings_at(fake)).model(spec);
    let request = request.clone();
    in_time(move || {
        let mut heard = Heard::default();
        (model.call(&request, &mut heard), heard)
    })
}

/// The reply as the conversation holds it afterwards.
fn said(reply: &ModelReply, heard: &Heard) -> Message {
    let named = |call: &RawToolCall| call.clone().named(CallId::parse(&call.id).unwrap());
    let data = reply.provider_data.clone().unwrap_or_default();
    Message::Assistant(Reply {
        text: heard.text.as_str().into(),
        tool_calls: reply.tool_calls.iter().map(named).collect(),
        event: said_with(&reply.model, data),
    })
}

fn result_of(call: &RawToolCall) -> Message {
    Message::Tool {
        call_id: CallId::parse(&call.id).unwrap(),
        tool_name: call.name.clone(),
        output: ToolOutput {
            success: true,
            content: "today".into(),
        },
    }
}

#[test]
fn openais_thinking_models_are_asked_by_responses_and_the_others_in_chat() {
    for (name, path) in [
        (NAME, "/v1/responses"),
        ("o3", "/v1/responses"),
        ("gpt-4o", "/v1/chat/completions"),
        ("gpt-5-chat-latest", "/v1/chat/completions"),
    ] {
        let fake = FakeModel::start();
        fake.reply(text("hello, dear world").usage(100, 7).split_every(9));
        let (result, heard) = called_at(&named(name, &fake), &fake, &hello());
        let reply = result.unwrap();
        assert_eq!(
            (reply.usage, reply.finish_reason),
            (Some(Usage::new(100, 7)), FinishReason::Stop)
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
fn a_request_says_what_is_set_and_keeps_nothing_there() {
    let fake = FakeModel::start();
    let mut spec = named(NAME, &fake);
    spec.main.settings = ModelSettings {
        temperature: Some(0.5),
        top_p: Some(0.5),
        seed: Some(1),
        stop: vec!["END".into()],
        max_output_tokens: Some(99),
        reasoning: Some(ReasoningSettings {
            effort: Some("low".into()),
            max_tokens: None,
        }),
        ..ModelSettings::default()
    };
    called_at(&spec, &fake, &long_request()).0.unwrap();
    let call = |id: &str, arguments: &str| json!({"type": "function_call", "call_id": id, "name": "tools_date", "arguments": arguments});
    let output =
        |id: &str| json!({"type": "function_call_output", "call_id": id, "output": "today"});
    let says = |role: &str, text: &str| json!({"type": "message", "role": role, "content": text});
    let mut body = fake.requests()[0].body.clone();
    // Part of another topic: what tells its cache of the conversation.
    body.as_object_mut().unwrap().remove("prompt_cache_key");
    assert_eq!(
        body,
        json!({
            "model": NAME,
            "instructions": "be kind",
            "input": [
                says("user", "what day is it?"),
                call("a", "{\"zone\":1}"), call("b", "{\"arguments\":\"not json\"}"),
                output("a"), output("b"),
                says("user", "well?"),
                says("assistant", "It is "),
            ],
            "tools": [{"type": "function", "name": "date", "description": "the date",
                "parameters": {"type": "object"}, "strict": false}],
            "tool_choice": "none",
            "stream": true,
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "max_output_tokens": 99,
            "reasoning": {"effort": "low"},
        })
    );
}

#[test]
fn what_the_model_thought_goes_back_sealed_and_before_what_followed_it() {
    let fake = FakeModel::start();
    fake.reply(
        pieces(&[])
            .and_thinking("first")
            .and_text("let me see")
            .and_thinking("then")
            .and_call("date", r#"{"zone":"utc"}"#),
    );
    let spec = named(NAME, &fake);
    let mut request = hello();
    let (result, heard) = called_at(&spec, &fake, &request);
    let reply = result.unwrap();
    assert_eq!(heard.text, "let me see", "thoughts are not shown");
    request
        .messages
        .extend([said(&reply, &heard), result_of(&reply.tool_calls[0])]);
    called_at(&spec, &fake, &request).0.unwrap();
    let thought = |place: u64, words: &str| {
        json!({"type": "reasoning", "id": format!("rs_1_{place}"), "summary": [],
            "encrypted_content": format!("sealed:{words}")})
    };
    let expected = json!([
        {"type": "message", "role": "user", "content": "hello"},
        thought(0, "first"),
        {"type": "message", "role": "assistant", "content": "let me see"},
        thought(2, "then"),
        {"type": "function_call", "call_id": "call_1_1", "name": "date", "arguments": "{\"zone\":\"utc\"}"},
        {"type": "function_call_output", "call_id": "call_1_1", "output": "today"},
    ]);
    assert_eq!(fake.requests()[1].body["input"], expected);
    let first = &fake.requests()[0].text;
    let (input, _) = first.split_once("],\"include\"").unwrap();
    assert!(
        fake.requests()[1].text.starts_with(input),
        "the cache holds it"
    );

    // To another model it says nothing, and would be refused.
    called_at(&named("o3", &fake), &fake, &request).0.unwrap();
    assert!(!fake.requests()[2].text.contains("sealed"));

    // What stands there now is not what followed the thoughts.
    if let Some(Message::Assistant(reply)) = request.messages.get_mut(1) {
        reply.text = "other words".into();
    }
    called_at(&spec, &fake, &request).0.unwrap();
    let again = &fake.requests()[3];
    assert!(!again.text.contains("sealed") && again.text.contains("other words"));
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let fake = FakeModel::start();
    fake.reply(text("all at once").and_call("date", "{}").whole());
    let (result, heard) = called_at(&named(NAME, &fake), &fake, &hello());
    let reply = result.unwrap();
    assert_eq!(heard.text, "all at once");
    assert_eq!(reply.tool_calls, [raw_call("call_1_1", "date", "{}")]);
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
}

#[test]
fn what_ends_a_stream_early_is_told() {
    let fake = FakeModel::start();
    fake.reply(text("so far").and_error(529, "too busy"))
        .then(text("so far").without_done())
        .then(text("so far").and_cut())
        .then(text("so far").finish_reason("max_output_tokens"))
        .then(text("so far").finish_reason("content_filter"));
    let spec = named(NAME, &fake);
    let (result, heard) = called_at(&spec, &fake, &hello());
    assert!(
        matches!(result, Err(LlmError::MidStream { .. })),
        "{result:?}"
    );
    assert_eq!(heard.text, "so far");
    for _ in 0..2 {
        let (result, _) = called_at(&spec, &fake, &hello());
        assert_eq!(result, Err(LlmError::Truncated { provider: OPENAI }));
    }
    let (result, _) = called_at(&spec, &fake, &hello());
    assert_eq!(result.unwrap().finish_reason, FinishReason::Length);
    let (result, heard) = called_at(&spec, &fake, &hello());
    assert_eq!(result.unwrap().finish_reason, FinishReason::Stop);
    assert_eq!(heard.codes(), ["content_filter"]);
}

#[test]
fn an_error_instead_of_the_first_word_is_tried_again() {
    let fake = FakeModel::start();
    let failed = r#"{"type":"response.failed","response":{"status":"failed",
        "error":{"code":"server_error","message":"broke"}}}"#;
    let failed = failed.replace('\n', "");
    fake.reply(raw("text/event-stream", format!("data: {failed}\n\n")))
        .then(text("ok"));
    let (result, heard) = called_at(&named(NAME, &fake), &fake, &hello());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((heard.text.as_str(), heard.codes()), ("ok", vec!["retry"]));
}

#[test]
fn a_server_without_responses_is_asked_in_chat_from_then_on() {
    let fake = FakeModel::start();
    fake.reply(error(404, "Not Found"))
        .then(text("one"))
        .then(text("two"));
    let providers = Providers::new(settings_at(&fake));
    for expected in ["one", "two"] {
        let (result, heard) = called(providers.model(&named(NAME, &fake)), Heard::default());
        assert!(result.is_ok(), "{result:?}");
        assert_eq!((heard.text.as_str(), heard.codes()), (expected, vec![]));
    }
    let asked = fake.requests();
    let paths: Vec<&str> = asked.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/v1/responses",
            "/v1/chat/completions",
            "/v1/chat/completions"
        ]
    );
}

#[test]
fn the_owners_file_says_which_interface_a_place_has() {
    for (dialect, path) in [
        (Dialect::Responses, "/v1/responses"),
        (Dialect::OpenAi, "/v1/chat/completions"),
    ] {
        for provider in [OPENAI, Provider::parse("office").unwrap()] {
            let fake = FakeModel::start();
            fake.reply(error(404, "no such model"));
            let mut settings = settings();
            let described = Described {
                dialect: Some(dialect),
                base_url: Some(Secret::new(fake.url())),
                ..Described::default()
            };
            settings.described.insert(provider.clone(), described);
            let mut spec = named(NAME, &fake);
            spec.main.provider = provider;
            let (result, _) = called(Providers::new(settings).model(&spec), Heard::default());
            assert!(
                matches!(result, Err(LlmError::Status { status: 404, .. })),
                "{result:?}"
            );
            let asked = fake.requests();
            assert_eq!((asked.len(), asked[0].path.as_str()), (1, path));
        }
    }
}

#[test]
fn a_model_that_is_only_to_be_had_by_responses_is_asked_there_from_then_on() {
    for (status, words) in [
        (
            404,
            "This model is only supported in v1/responses and not in v1/chat/completions.",
        ),
        (
            400,
            "Function tools with reasoning_effort are not supported for m1 in /v1/chat/completions. Please use /v1/responses instead.",
        ),
        (
            400,
            "The chatCompletion operation does not work with the specified model, m1. Please choose different model and try again.",
        ),
        (
            400,
            "model \"m1\" is not accessible via the /chat/completions endpoint",
        ),
        (
            404,
            "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use v1/completions?",
        ),
    ] {
        let fake = FakeModel::start();
        fake.reply(error(status, words))
            .then(tool_call("date", "{}"))
            .then(text("it is today"));
        let mut spec = spec(Provider::parse("azure").unwrap(), &fake);
        spec.main.settings.reasoning = Some(ReasoningSettings {
            effort: Some("low".into()),
            max_tokens: None,
        });
        let providers = Providers::new(settings_at(&fake));
        let mut request = long_request();
        request.tool_choice = ToolChoice::Auto;
        let mut heard = Heard::default();
        let reply = providers.model(&spec).call(&request, &mut heard).unwrap();
        assert_eq!(heard.codes(), ["request_adjusted"], "{:?}", heard.notices);
        request.messages.push(said(&reply, &heard));
        request.messages.push(result_of(&reply.tool_calls[0]));
        let mut heard = Heard::default();
        providers.model(&spec).call(&request, &mut heard).unwrap();
        assert_eq!(
            (heard.codes(), heard.text.as_str()),
            (vec![], "it is today")
        );
        let asked = fake.requests();
        let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
        assert_eq!(
            paths,
            ["/v1/chat/completions", "/v1/responses", "/v1/responses"]
        );
        assert_eq!(asked[1].body["reasoning"], json!({"effort": "low"}));
        let input = asked[2].body["input"].as_array().unwrap();
        let kinds = input
            .iter()
            .rev()
            .take(2)
            .map(|item| item["type"].as_str().unwrap());
        assert_eq!(
            kinds.collect::<Vec<_>>(),
            ["function_call_output", "function_call"]
        );
    }
}

#[test]
fn where_responses_are_not_spoken_either_the_first_refusal_is_told() {
    const WORDS: &str =
        "This is not a chat model and thus not supported in the v1/chat/completions endpoint";
    let fake = FakeModel::start();
    fake.reply(error(404, WORDS))
        .then(error(404, "no such path"));
    let (result, _) = ask(Provider::parse("groq").unwrap(), &fake);
    let error = result.unwrap_err().to_string();
    assert!(error.contains(WORDS), "{error}");
    assert_eq!(fake.request_count(), 2);
}

#[test]
fn a_model_that_failed_by_responses_too_is_asked_in_chat_again() {
    let fake = FakeModel::start();
    fake.reply(error(
        404,
        "This model is only supported in v1/responses and not in v1/chat/completions.",
    ))
    .then(error(400, "no such region"))
    .then(text("yes"));
    let providers = Providers::new(settings_at(&fake));
    let spec = spec(Provider::parse("azure").unwrap(), &fake);
    let (result, _) = called(providers.model(&spec), Heard::default());
    assert!(
        matches!(result, Err(LlmError::Status { status: 400, .. })),
        "{result:?}"
    );
    let (result, _) = called(providers.model(&spec), Heard::default());
    assert!(result.is_ok(), "{result:?}");
    let asked = fake.requests();
    let paths: Vec<&str> = asked.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/chat/completions"
        ]
    );
}

#[test]
fn what_one_model_lacks_is_nothing_to_another_at_its_address() {
    let fake = FakeModel::start();
    fake.reply(error(404, "Not Found"));
    let providers = Providers::new(settings_at(&fake));
    for name in [NAME, "o3"] {
        let (result, _) = called(providers.model(&named(name, &fake)), Heard::default());
        assert!(result.is_ok(), "{result:?}");
    }
    let asked = fake.requests();
    let paths: Vec<&str> = asked.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/v1/responses", "/v1/chat/completions", "/v1/responses"]
    );
}

#[test]
fn a_model_that_seals_nothing_is_not_asked_for_what_it_thought() {
    let fake = FakeModel::start();
    fake.reply(error(
        400,
        "Encrypted content is not supported with this model.",
    ))
    .then(text("yes"))
    .then(text("again"));
    let providers = Providers::new(settings_at(&fake));
    let mut codes = Vec::new();
    for _ in 0..2 {
        let (result, heard) = called(providers.model(&named(NAME, &fake)), Heard::default());
        assert!(result.is_ok(), "{result:?}");
        codes.push(heard.codes().len());
    }
    assert_eq!(codes, [1, 0], "it is remembered");
    let asked = fake.requests();
    let asks: Vec<bool> = asked
        .iter()
        .map(|one| one.body.get("include").is_some())
        .collect();
    assert_eq!(asks, [true, false, false]);
}

#[test]
fn what_one_agent_is_told_that_a_model_takes_is_nothing_to_one_that_asks_otherwise() {
    const REFUSAL: &str = "This model's maximum context length is 4096 tokens.";
    let fake = FakeModel::start();
    fake.reply(error(400, REFUSAL));
    let providers = Providers::new(settings_at(&fake));
    let mut spec = spec(Provider::parse("vllm").unwrap(), &fake);
    let header = |value: &str| ("x-size".to_owned(), Secret::new(value.to_owned()));
    spec.main.settings.headers = [header("small")].into();
    let (result, _) = called(providers.model(&spec), Heard::default());
    assert!(
        matches!(result, Err(LlmError::ContextOverflow { .. })),
        "{result:?}"
    );
    assert_eq!(providers.window(&spec.main), Some(4_096));
    let others: [fn(&mut ModelChoice); 4] = [
        |choice| choice.settings.max_input_tokens = Some(9_999),
        |choice| {
            choice.settings.extra_body.insert("a".into(), json!(1));
        },
        |choice| {
            let value = Secret::new("large".to_owned());
            choice.settings.headers.insert("x-size".into(), value);
        },
        |choice| {
            let url = choice.base_url.as_mut().unwrap();
            url.push_str("/large");
        },
    ];
    for otherwise in others {
        let mut choice = spec.main.clone();
        otherwise(&mut choice);
        assert_eq!(providers.window(&choice), None, "{choice:?}");
    }
}
