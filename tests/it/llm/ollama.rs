//! Ollama's own API, with what the next request brings back.

use super::*;
use duragent::domain::event::Attachment;
use duragent::domain::message::Reply;
use duragent::llm::AttachedFiles;

use crate::support::fake_model::{raw_document, tool_call};

/// A session's call, with a window of ours.
fn within(window_tokens: u64) -> Request {
    Request {
        window_tokens: Some(window_tokens),
        ..hello()
    }
}

fn call(
    providers: &Providers,
    fake: &FakeModel,
    request: &Request,
) -> (Result<ModelReply, LlmError>, Heard) {
    let mut model = providers.model(&spec(OLLAMA, fake));
    let request = request.clone();
    in_time(move || {
        let mut heard = Heard::default();
        (model.call(&request, &mut heard), heard)
    })
}

fn shown(tokens: u64, parameters: &str, abilities: &[&str]) -> Step {
    raw_document(json!({
        "model_info": {"general.architecture": "q", "q.context_length": tokens},
        "parameters": parameters, "capabilities": abilities,
    }))
}

#[test]
fn a_model_is_asked_in_ollamas_own_words() {
    let fake = FakeModel::start();
    fake.reply(text("hello, dear world").usage(100, 7).split_every(9));
    let mut spec = spec(OLLAMA, &fake);
    spec.main.base_url = Some(format!("{}/v1", fake.url()));
    spec.main.settings = ModelSettings {
        temperature: Some(0.5),
        top_p: Some(0.9),
        seed: Some(1),
        stop: vec!["END".into()],
        max_output_tokens: Some(99),
        ..ModelSettings::default()
    };
    let mut model = Providers::new(settings_at(&fake)).model(&spec);
    let mut heard = Heard::default();
    let reply = model.call(&within(16_384), &mut heard).unwrap();
    assert_eq!(
        (reply.usage, reply.finish_reason),
        (Some(Usage::new(100, 7)), FinishReason::Stop)
    );
    assert_eq!(
        (heard.text.as_str(), heard.pieces),
        ("hello, dear world", 3)
    );
    let asked = &fake.requests()[0];
    assert_eq!(asked.path, "/api/chat");
    assert_eq!(
        asked.body,
        json!({
            "model": "m1",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "hello"},
            ],
            "stream": true,
            "truncate": false,
            "shift": false,
            "options": {"num_ctx": 16_384, "num_predict": 99, "temperature": 0.5, "top_p": 0.9,
                "seed": 1, "stop": ["END"]},
        })
    );
}

#[test]
fn the_window_is_what_the_model_has_of_the_one_in_use() {
    for (card, expected) in [
        (shown(8_192, "", &["tools"]), 8_192),
        (shown(131_072, "num_ctx 4096", &["tools"]), 4_096),
        (shown(131_072, "", &["tools"]), 16_384),
        (error(404, "no such path"), 16_384),
        (raw("text/html", "<html>"), 16_384),
        (raw("application/json", "[]"), 16_384),
    ] {
        let fake = FakeModel::start();
        fake.shows(card);
        let (result, heard) = call(&Providers::new(settings_at(&fake)), &fake, &within(16_384));
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(heard.codes(), [""; 0]);
        assert_eq!(fake.requests()[0].body["options"]["num_ctx"], expected);
    }
}

#[test]
fn what_a_model_can_is_asked_once() {
    let fake = FakeModel::start();
    let providers = Providers::new(settings_at(&fake));
    for _ in 0..3 {
        call(&providers, &fake, &within(16_384)).0.unwrap();
    }
    let asked = fake.asked_to_show();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].path.as_str(), &asked[0].body),
        ("/api/show", &json!({"model": "m1"}))
    );
}

#[test]
fn what_the_model_cannot_take_is_too_long_and_not_cut_in_silence() {
    let fake = FakeModel::start();
    fake.shows(shown(8_192, "num_ctx 2048", &["tools"]));
    let providers = Providers::new(settings_at(&fake));
    let mut request = within(16_384);
    request.messages = vec![user(&"word ".repeat(4_000))];
    let (result, _) = call(&providers, &fake, &request);
    let Err(LlmError::ContextOverflow { message, .. }) = result else {
        panic!("{result:?}");
    };
    assert!(message.contains("2048"), "{message}");
    assert_eq!(fake.request_count(), 0);
}

#[test]
fn calls_and_thoughts_go_back_to_the_model_that_made_them() {
    let fake = FakeModel::start();
    fake.reply(
        pieces(&[])
            .and_thinking("hm ")
            .and_thinking("so")
            .and_call("date", r#"{"zone":"utc"}"#),
    );
    let providers = Providers::new(settings_at(&fake));
    let mut request = within(16_384);
    request.tools = long_request().tools;
    let (result, heard) = call(&providers, &fake, &request);
    let reply = result.unwrap();
    assert_eq!(heard.text, "", "thoughts are not shown");
    assert_eq!(
        reply.tool_calls,
        [raw_call("", "date", r#"{"zone":"utc"}"#)]
    );
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    let call_id = CallId::parse("call_7").unwrap();
    let mut replied = Reply {
        text: "".into(),
        tool_calls: vec![reply.tool_calls[0].clone().named(call_id.clone())],
        event: said_with("ollama/m1", reply.provider_data.unwrap()),
    };
    let output = ToolOutput {
        success: true,
        content: "today".into(),
    };
    let tool_name = "date".to_owned();
    let result = Message::Tool {
        call_id,
        tool_name,
        output,
    };
    let first = request.messages.clone();
    request
        .messages
        .extend([Message::Assistant(replied.clone()), result.clone()]);
    call(&providers, &fake, &request).0.unwrap();
    let asked = fake.requests();
    let called = json!([{"function": {"name": "date", "arguments": {"zone": "utc"}}}]);
    assert_eq!(
        asked[1].body["messages"].as_array().unwrap()[2..],
        [
            json!({"role": "assistant", "content": "", "thinking": "hm so", "tool_calls": called}),
            json!({"role": "tool", "tool_name": "date", "content": "today"}),
        ]
    );
    let (messages, _) = asked[0].text.split_once("],\"tools\"").unwrap();
    assert!(asked[1].text.starts_with(messages), "the cache holds it");

    replied.event = said_with("ollama/another", json!({"ollama_thinking": "hm so"}));
    request.messages = first;
    request
        .messages
        .extend([Message::Assistant(replied), result]);
    call(&providers, &fake, &request).0.unwrap();
    assert!(!fake.requests()[2].text.contains("hm so"));
}

#[test]
fn a_model_without_tools_is_told_of_none_and_its_user_once() {
    let fake = FakeModel::start();
    fake.shows(shown(131_072, "", &["completion"]));
    let providers = Providers::new(settings_at(&fake));
    let mut request = within(16_384);
    request.tools = long_request().tools;
    let mut codes = Vec::new();
    for _ in 0..2 {
        let (result, heard) = call(&providers, &fake, &request);
        assert!(result.is_ok(), "{result:?}");
        codes.extend(heard.codes());
    }
    assert_eq!(codes, ["request_adjusted"]);
    assert!(
        fake.requests()
            .iter()
            .all(|asked| asked.body["tools"].is_null())
    );
}

#[test]
fn a_server_that_does_not_stream_is_understood() {
    let fake = FakeModel::start();
    fake.reply(text("all at once").and_call("date", "{}").whole());
    let (result, heard) = call(&Providers::new(settings_at(&fake)), &fake, &within(16_384));
    assert_eq!(heard.text, "all at once");
    assert_eq!(result.unwrap().finish_reason, FinishReason::ToolCalls);
}

#[test]
fn what_ends_a_stream_early_is_told() {
    let fake = FakeModel::start();
    fake.reply(text("so far").and_error(500, "the runner has stopped"))
        .then(text("so far").without_done())
        .then(text("so far").finish_reason("length"))
        .then(tool_call("date", "{}").and_cut());
    let providers = Providers::new(settings_at(&fake));
    let (result, heard) = call(&providers, &fake, &within(16_384));
    let Err(LlmError::MidStream { message, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(
        (message.as_str(), heard.text.as_str()),
        ("the runner has stopped", "so far")
    );
    let truncated = LlmError::Truncated { provider: OLLAMA };
    assert_eq!(call(&providers, &fake, &within(16_384)).0, Err(truncated));
    let (result, _) = call(&providers, &fake, &within(16_384));
    assert_eq!(result.unwrap().finish_reason, FinishReason::Length);
    // Nothing of it was shown: it is asked again.
    let (result, heard) = call(&providers, &fake, &within(16_384));
    assert!(result.is_ok(), "{result:?}");
    assert_eq!((heard.text.as_str(), heard.codes()), ("ok", vec!["retry"]));
}

#[test]
fn cancel_ends_a_call_that_waits_for_the_card() {
    let fake = FakeModel::start();
    fake.shows(stall());
    let model = Providers::new(settings_at(&fake)).model(&spec(OLLAMA, &fake));
    let canceller = model.canceller();
    std::thread::scope(|scope| {
        let call = scope.spawn(move || called(model, Heard::default()).0);
        fake.wait_for_stalls(1);
        canceller.cancel();
        assert_eq!(call.join().unwrap(), Err(LlmError::Cancelled));
    });
    assert_eq!(fake.request_count(), 0);
}

#[test]
fn a_server_that_says_nothing_of_a_model_is_not_asked_each_turn() {
    for card in [error(404, "no such path"), raw("text/html", "<html>")] {
        let fake = FakeModel::start();
        fake.shows(card);
        let providers = Providers::new(settings_at(&fake));
        for _ in 0..3 {
            call(&providers, &fake, &within(16_384)).0.unwrap();
        }
        assert_eq!((fake.asked_to_show().len(), fake.request_count()), (1, 3));
    }
}

/// Files of which one is gone.
struct FewFiles;

impl AttachedFiles for FewFiles {
    fn read(&self, file: &Attachment) -> Option<Vec<u8>> {
        (file.file != "gone.png").then(|| b"abc".to_vec())
    }

    fn text(&self, _: &Attachment) -> Option<String> {
        None
    }
}

fn with_images(names: &[&str]) -> Request {
    let image = |name: &&str| Attachment {
        file: (*name).to_owned(),
        mime: "image/png".to_owned(),
        bytes: 3,
        ..Attachment::default()
    };
    Request {
        messages: vec![Message::User {
            text: "look".into(),
            attachments: names.iter().map(image).collect(),
        }],
        files: Some(Arc::new(FewFiles)),
        ..within(16_384)
    }
}

#[test]
fn what_a_model_sees_its_server_says_and_its_name_where_that_does_not() {
    for (name, card, sees) in [
        ("m1", shown(8_192, "", &["vision"]), true),
        ("llava", shown(8_192, "", &["completion"]), false),
        ("llava", error(404, "no such path"), true),
        ("m1", error(404, "no such path"), false),
    ] {
        let fake = FakeModel::start();
        fake.shows(card);
        let mut spec = spec(OLLAMA, &fake);
        spec.main.name = name.to_owned();
        let mut model = Providers::new(settings_at(&fake)).model(&spec);
        let request = with_images(&["a.png"]);
        model.call(&request, &mut Heard::default()).unwrap();
        let said = fake.requests()[0].messages()[1].clone();
        let expected = match sees {
            true => json!({"role": "user", "content": "look", "images": ["YWJj"]}),
            false => {
                json!({"role": "user", "content": "look\n\n[attached: a.png, image/png, 3 bytes; \
                you are not shown what is in it]"})
            }
        };
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn an_image_that_is_gone_leaves_a_sentence() {
    let fake = FakeModel::start();
    fake.shows(shown(8_192, "", &["vision"]));
    let request = with_images(&["a.png", "gone.png"]);
    let providers = Providers::new(settings_at(&fake));
    call(&providers, &fake, &request).0.unwrap();
    assert_eq!(
        fake.requests()[0].messages()[1],
        json!({"role": "user", "images": ["YWJj"], "content": "look\n\n[attached: gone.png, image/png, \
            3 bytes; you are not shown what is in it]"})
    );
}

#[test]
fn a_server_that_cuts_a_prompt_in_silence_is_told_of_once_in_a_turn() {
    for (read, expected) in [(4_096, vec!["prompt_cut"]), (9_000, vec![]), (0, vec![])] {
        let fake = FakeModel::start();
        fake.default_reply(text("yes").usage(read, 5));
        let mut model = Providers::new(settings_at(&fake)).model(&spec(OLLAMA, &fake));
        let request = Request {
            messages: vec![user(&"word ".repeat(8_000))],
            ..within(16_384)
        };
        let mut heard = Heard::default();
        model.call(&request, &mut heard).unwrap();
        model.call(&request, &mut heard).unwrap();
        assert_eq!(heard.codes(), expected, "{read}");
        if let Some((_, words)) = heard.notices.first() {
            assert!(words.contains("it read 4096 tokens of about 10"), "{words}");
            assert!(words.contains("spec.model.max_input_tokens"), "{words}");
        }
    }
}
