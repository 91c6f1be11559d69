//! What providers and the servers that imitate them send, and what goes back with the next call.

use super::*;
use crate::support::fake_model::Asked;

/// A stream of OpenAI's dialect.
fn chat(chunks: &[Value]) -> String {
    let lines = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    lines.collect::<String>() + "data: [DONE]\n\n"
}

/// A stream of Anthropic's.
fn messages(events: &[Value]) -> String {
    let line = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        format!("event: {kind}\ndata: {event}\n\n")
    };
    events.iter().map(line).collect()
}

fn said(text: &str) -> Value {
    json!({"choices": [{"delta": {"content": text}}]})
}

fn ended(word: &str) -> Value {
    json!({"choices": [{"delta": {}, "finish_reason": word}]})
}

fn stopped(word: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": word}, "usage": {"output_tokens": 5}})
}

fn block(index: Value, content: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": content})
}

fn piece(index: Value, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

/// A body that comes in chunks, wherever they end.
pub(super) fn chunked(content_type: &str, body: impl Into<Vec<u8>>) -> Step {
    raw(content_type, body).split_every(7)
}

/// What comes of a stream.
fn answered(provider: &Provider, body: impl Into<Vec<u8>>) -> (FakeModel, ModelReply, Heard) {
    let fake = FakeModel::start();
    fake.reply(chunked("text/event-stream", body));
    let (result, heard) = ask(provider.clone(), &fake);
    (fake, result.unwrap(), heard)
}

/// The request of the next call, which brings the reply back with results of its calls.
fn next(provider: &Provider, fake: &FakeModel, reply: ModelReply, text: &str) -> Asked {
    next_at(&(provider.clone(), "m1"), fake, reply, text)
}

pub(super) fn next_at(place: &Place, fake: &FakeModel, reply: ModelReply, text: &str) -> Asked {
    let mut request = hello();
    let calls: Vec<ToolCall> = (reply.tool_calls.into_iter().enumerate())
        .map(|(at, call)| call.named(CallId::parse(&format!("call-{at}")).unwrap()))
        .collect();
    let results = calls.iter().map(|call| Message::Tool {
        call_id: call.call_id.clone(),
        tool_name: call.tool_name.clone(),
        output: ToolOutput {
            success: true,
            content: "done".into(),
        },
    });
    let results: Vec<Message> = results.collect();
    request.messages.push(Message::Assistant(message::Reply {
        text: text.into(),
        tool_calls: calls,
        event: reply
            .provider_data
            .and_then(|data| said_with(&reply.model, data)),
    }));
    let has_results = !results.is_empty();
    request.messages.extend(results);
    if !has_results {
        request.messages.push(user("go on"));
    }
    let count = fake.request_count();
    Providers::new(settings_at(fake))
        .model(&spec_at(place, fake))
        .call(&request, &mut Heard::default())
        .unwrap();
    fake.requests().swap_remove(count)
}

/// The calls in the last message of the model, as name and arguments.
pub(super) fn calls_in(asked: &Asked) -> Vec<(String, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let called = |function: &Value| {
        let arguments = match &function["arguments"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            arguments => arguments.clone(),
        };
        (text(&function["name"]), arguments)
    };
    if let Some(items) = asked.body["input"].as_array() {
        let is_call = |item: &&Value| item["type"] == "function_call";
        return items.iter().filter(is_call).map(called).collect();
    }
    let of_model = asked
        .messages()
        .iter()
        .rev()
        .find(|one| one["role"] == "assistant")
        .unwrap();
    if let Some(calls) = of_model["tool_calls"].as_array() {
        return calls.iter().map(|call| called(&call["function"])).collect();
    }
    let blocks = of_model["content"].as_array().unwrap().iter();
    let calls = blocks.filter(|block| block["type"] == "tool_use");
    calls
        .map(|block| (text(&block["name"]), block["input"].clone()))
        .collect()
}

#[test]
fn calls_in_pieces_stay_separate_and_none_is_merged() {
    let one = json!({"a": 1});
    let two = json!({"a": 2});
    let (a, b) = (one.to_string(), two.to_string());
    let function = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let (begun, rest) = a.split_at(3);
    for pieces in [
        // An index that is none, or a text, or a float; ids from the first piece alone.
        vec![
            json!({"index": null, "id": "i", "function": function("x", json!(begun))}),
            json!({"index": null, "function": function("", json!(rest))}),
            json!({"index": null, "id": "j", "function": function("x", json!(b))}),
        ],
        vec![
            json!({"index": "0", "id": "i", "function": function("x", json!(begun))}),
            json!({"index": "1", "id": "j", "function": function("x", json!(b))}),
            json!({"index": "0", "function": {"arguments": rest}}),
        ],
        vec![
            json!({"index": 0.0, "id": "i", "function": function("x", json!(begun))}),
            json!({"index": 0.0, "function": {"arguments": rest}}),
            json!({"index": 1.0, "id": "j", "function": function("x", json!(b))}),
        ],
        // Always 0: told apart by the id, by the name, by arguments that are whole.
        vec![
            json!({"index": 0, "id": "i", "function": function("x", json!(begun))}),
            json!({"index": 0, "id": "i", "function": function("x", json!(rest))}),
            json!({"index": 0, "id": "j", "function": function("x", json!(b))}),
            json!({"index": 0, "id": "j", "function": function("x", json!(""))}),
        ],
        vec![
            json!({"index": 0, "function": function("x", json!(begun))}),
            json!({"index": 0, "function": function("x", json!(rest))}),
            json!({"index": 0, "function": function("x", json!(b))}),
        ],
        vec![
            json!({"function": function("x", one.clone())}),
            json!({"function": function("x", two.clone())}),
        ],
        // One id for all.
        vec![
            json!({"id": "i", "function": function("x", json!(a))}),
            json!({"id": "i", "function": function("x", json!(b))}),
        ],
        // The arguments come late, after an empty object, or once more at the end.
        vec![
            json!({"index": 0, "id": "i", "function": function("x", Value::Null)}),
            json!({"index": 0, "id": null, "function": {"name": null, "arguments": a}}),
            json!({"index": 0, "id": "i", "function": function("x", json!(a))}),
            json!({"index": 1, "id": "j", "function": function("x", json!("{}"))}),
            json!({"index": 1, "function": {"arguments": b}}),
        ],
    ] {
        let mut chunks: Vec<Value> = pieces
            .iter()
            .map(|piece| json!({"choices": [{"delta": {"tool_calls": [piece]}}]}))
            .collect();
        chunks.push(ended("tool_calls"));
        let (fake, reply, _heard) = answered(&OPENAI, chat(&chunks));
        assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
        let back = calls_in(&next(&OPENAI, &fake, reply, ""));
        let expected = [("x".to_owned(), one.clone()), ("x".to_owned(), two.clone())];
        assert_eq!(back, expected, "{pieces:?}");
    }
}

#[test]
fn calls_without_arguments_have_an_empty_object() {
    for arguments in [
        Value::Null,
        json!(""),
        json!("null"),
        json!({}),
        json!("{}"),
        json!(false),
    ] {
        let list = |name: &str| json!({"function": {"name": name, "arguments": arguments}});
        for pieces in [
            json!([list("x"), list("x")]),
            json!([list("x"), list("y"), false]),
        ] {
            let chunk = json!({"choices": [{"delta": {"tool_calls": pieces}}]});
            let (fake, reply, _heard) = answered(&OPENAI, chat(&[chunk, ended("stop")]));
            let back = calls_in(&next(&OPENAI, &fake, reply, ""));
            assert_eq!(back.len(), 2, "{pieces}");
            assert!(
                back.iter().all(|(_, arguments)| *arguments == json!({})),
                "{back:?}"
            );
        }
    }
}

#[test]
fn blocks_of_calls_stay_separate() {
    let call =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "x", "input": input});
    let more = |text: &str| json!({"type": "input_json_delta", "partial_json": text});
    for events in [
        // Every index is 0, or none.
        vec![
            block(json!(0), call("i", json!({}))),
            piece(json!(0), more("{\"a\":1}")),
            block(json!(0), call("j", json!({}))),
            piece(json!(0), more("{\"a\":2}")),
        ],
        vec![
            block(Value::Null, call("i", json!({"a": 1}))),
            block(Value::Null, call("j", json!("{\"a\":2}"))),
        ],
        // By turns.
        vec![
            block(json!("0"), call("i", Value::Null)),
            block(json!(1.0), call("j", json!({}))),
            piece(json!("0"), more("{\"a\"")),
            piece(json!(1.0), more("{\"a\":2}")),
            piece(json!("0"), more(":1}")),
        ],
    ] {
        let events = [&events[..], &[stopped("tool_use")]].concat();
        let (fake, reply, _heard) = answered(&ANTHROPIC, messages(&events));
        let back = calls_in(&next(&ANTHROPIC, &fake, reply, ""));
        let expected = [1, 2].map(|a| ("x".to_owned(), json!({"a": a})));
        assert_eq!(back, expected, "{events:?}");
    }
}

#[test]
fn odd_types_in_fields_that_nobody_needs_end_nothing() {
    for odd in [
        json!([]),
        json!([1]),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!(false),
        json!({"prompt_tokens": -3, "completion_tokens": [1], "input_tokens": 0.5}),
    ] {
        let chunks = [
            json!({"usage": odd, "choices": [{"delta": {"content": false, "reasoning_details": odd, "tool_calls": false}, "logprobs": odd}]}),
            json!({"usage": odd, "choices": [{"delta": {"content": "a", "refusal": false, "role": odd}, "message": 7}]}),
            json!({"usage": odd, "choices": [{"delta": odd, "finish_reason": "stop"}], "created": odd}),
        ];
        let body = chat(&chunks).replace(
            "data: [DONE]",
            "data: \n\ndata:\n\ndata: 7\n\ndata:  [DONE] ",
        );
        let events = [
            json!({"type": "message_start", "message": {"usage": odd}}),
            json!({"type": "ping", "usage": odd, "index": odd}),
            block(json!(0), json!({"type": "text", "text": false})),
            piece(
                json!(0),
                json!({"type": "text_delta", "text": "a", "thinking": false}),
            ),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "text": false}, "usage": odd}),
            json!({"type": odd, "delta": odd, "message": odd, "error": null}),
            json!({"type": "message_stop"}),
        ];
        let of_anthropic = format!("data:\n\n: WAIT\n\ndata: x\n\n{}", messages(&events));
        for (provider, body) in [(OPENAI, body), (ANTHROPIC, of_anthropic)] {
            let (fake, reply, heard) = answered(&provider, body);
            assert_eq!((heard.text.as_str(), heard.codes()), ("a", vec![]), "{odd}");
            assert_eq!(
                (reply.usage, reply.finish_reason),
                (None, FinishReason::Stop),
                "{odd}"
            );
            assert_eq!(fake.request_count(), 1);
        }
    }
}

/// Errors as they come in every dialect, by servers and by what stands before them.
pub(super) const ERRORS: [(&str, &str); 17] = [
    (
        "text/event-stream",
        "data: {\"error\":{\"message\":\"the words\",\"code\":503}}\n\n",
    ),
    ("text/event-stream", "data: {\"error\":\"the words\"}\n\n"),
    (
        "text/event-stream",
        "data: {\"error\":true,\"message\":\"the words\"}\n\n",
    ),
    (
        "text/event-stream",
        "data: [{\"error\":{\"message\":\"the words\",\"status\":\"UNAVAILABLE\"}}]\n\n",
    ),
    (
        "text/event-stream",
        "data: {\"object\":\"error\",\"message\":\"the words\",\"code\":503}\n\n",
    ),
    (
        "text/event-stream",
        "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"the words\"}}\n\n",
    ),
    ("text/event-stream", "event: error\ndata: the words\n\n"),
    (
        "text/event-stream",
        "event: error\ndata: {\"reason\":\"the words\"}\n\n",
    ),
    (
        "text/event-stream",
        "event: error\n{\"message\":\"the words\"}\n\n",
    ),
    (
        "text/event-stream",
        ": WAIT\n\n{\"error\":{\"message\":\"the words\"}}\n",
    ),
    ("text/event-stream", "upstream said the words\n"),
    ("application/x-ndjson", "{\"error\":\"the words\"}\n"),
    ("application/json", "{\"detail\":\"the words\"}"),
    ("application/json", "{\"detail\":[{\"msg\":\"the words\"}]}"),
    (
        "application/json",
        "[{\"error\":{\"message\":\"the words\"}}]",
    ),
    (
        "text/html",
        "<html><head><title>502 the words</title></head></html>",
    ),
    ("text/plain", "<!doctype html><title>503 the words</title>"),
];

#[test]
fn an_error_inside_an_answer_is_one_in_the_providers_words() {
    let of_chat = [
        (
            "text/event-stream",
            "data: {\"x_groq\":{\"error\":\"the words\"}}\n\n",
        ),
        (
            "text/event-stream",
            "data: {\"choices\":[{\"error\":{\"message\":\"the words\"}}]}\n\n",
        ),
        (
            "text/event-stream",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\"}],\"error\":{\"message\":\"the words\"}}\n\n",
        ),
        ("application/json", "{\"id\":\"the words\"}"),
    ];
    let cases = ERRORS
        .iter()
        .flat_map(|case| [(OPENAI, case), (ANTHROPIC, case)]);
    for (provider, (content_type, body)) in cases.chain(of_chat.iter().map(|case| (OPENAI, case))) {
        let fake = FakeModel::start();
        fake.reply(chunked(content_type, *body)).then(text("now"));
        let (result, heard) = ask(provider.clone(), &fake);
        assert!(result.is_ok(), "{provider} {body} {result:?}");
        assert_eq!(
            (heard.text.as_str(), heard.codes()),
            ("now", vec!["retry"]),
            "{body}"
        );
        assert!(
            heard.notices[0].1.contains("the words"),
            "{body} {:?}",
            heard.notices
        );
        let asked = fake.requests();
        assert_eq!(asked[0].text, asked[1].text);
    }
}

#[test]
fn an_end_with_nothing_before_it_is_no_answer() {
    let role = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    for (provider, body) in [
        (OPENAI, "data: [DONE]\n\n".to_owned()),
        (OPENAI, format!("data: {role}\n\ndata: [DONE]\n\n")),
        (
            ANTHROPIC,
            "data: {\"type\":\"message_stop\"}\n\n".to_owned(),
        ),
        (OPENAI, String::new()),
        (ANTHROPIC, ": WAIT\n\n".to_owned()),
    ] {
        let fake = FakeModel::start();
        fake.reply(chunked("text/event-stream", body.clone()))
            .then(text("now"));
        let (result, heard) = ask(provider, &fake);
        assert!(result.is_ok(), "{body} {result:?}");
        assert_eq!(
            (heard.text.as_str(), heard.codes()),
            ("now", vec!["retry"]),
            "{body}"
        );
    }
}

#[test]
fn an_answer_is_told_by_its_first_bytes() {
    let types = [
        "application/json",
        "text/plain",
        "text/html",
        "text/event-stream",
        "application/x-ndjson",
    ];
    let whole_chat = json!({"object": "chat.completion", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
    let whole_message = json!({"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn"});
    let events = [
        piece(json!(0), json!({"type": "text_delta", "text": "hi"})),
        stopped("end_turn"),
    ];
    let lines = [said("hi"), ended("stop")]
        .map(|chunk| format!("{chunk}\n"))
        .concat();
    for content_type in types {
        for (provider, body) in [
            (OPENAI, chat(&[said("hi"), ended("stop")])),
            (OPENAI, whole_chat.to_string()),
            (OPENAI, format!("\n \n{whole_chat:#}")),
            (OPENAI, lines.clone()),
            (ANTHROPIC, messages(&events)),
            (ANTHROPIC, format!("\u{FEFF}{whole_message}")),
        ] {
            let fake = FakeModel::start();
            fake.reply(chunked(content_type, body.clone()));
            let (result, heard) = ask(provider, &fake);
            assert_eq!(
                result.map(|reply| reply.finish_reason),
                Ok(FinishReason::Stop),
                "{content_type} {body}"
            );
            assert_eq!(
                (heard.text.as_str(), heard.codes()),
                ("hi", vec![]),
                "{content_type} {body}"
            );
        }
    }
}

#[test]
fn an_empty_answer_is_told_with_its_reason() {
    use FinishReason::{Length, Stop};
    let thought = json!({"choices": [{"delta": {"reasoning_content": "hm"}}]});
    let refusal = json!({"choices": [{"delta": {"refusal": "no"}}]});
    let thinks = block(
        json!(0),
        json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
    );
    for (provider, body, code, words, finish_reason) in [
        (
            OPENAI,
            chat(&[ended("stop")]),
            "empty_reply",
            "said nothing (`stop`)",
            Stop,
        ),
        (
            OPENAI,
            chat(&[thought.clone(), ended("stop")]),
            "empty_reply",
            "has thought",
            Stop,
        ),
        (
            OPENAI,
            chat(&[thought, ended("length")]),
            "empty_reply",
            "on reasoning",
            Length,
        ),
        (
            OPENAI,
            chat(&[ended("content_filter")]),
            "content_filter",
            "filter",
            Stop,
        ),
        (
            OPENAI,
            chat(&[said("so"), ended("content_filter")]),
            "content_filter",
            "filter",
            Stop,
        ),
        (
            OPENAI,
            chat(&[ended("MALFORMED_FUNCTION_CALL")]),
            "malformed_call",
            "form",
            Stop,
        ),
        (
            OPENAI,
            chat(&[refusal, ended("stop")]),
            "refused",
            "refused",
            Stop,
        ),
        (
            ANTHROPIC,
            messages(&[stopped("end_turn")]),
            "empty_reply",
            "said nothing",
            Stop,
        ),
        (
            ANTHROPIC,
            messages(&[thinks.clone(), stopped("end_turn")]),
            "empty_reply",
            "has thought",
            Stop,
        ),
        (
            ANTHROPIC,
            messages(&[thinks, stopped("max_tokens")]),
            "empty_reply",
            "on reasoning",
            Length,
        ),
        (
            ANTHROPIC,
            messages(&[stopped("refusal")]),
            "refused",
            "refused",
            Stop,
        ),
    ] {
        let (_fake, reply, heard) = answered(&provider, body.clone());
        assert_eq!(heard.codes(), [code], "{body}");
        assert!(
            heard.notices[0].1.contains(words),
            "{body} {:?}",
            heard.notices
        );
        assert_eq!(reply.finish_reason, finish_reason, "{body}");
    }
}

#[test]
fn a_call_that_the_limit_cut_is_named() {
    let call = |index: u64, arguments: &str| {
        let call = json!({"index": index, "id": format!("c{index}"), "function": {"name": "x", "arguments": arguments}});
        json!({"choices": [{"delta": {"tool_calls": [call]}}]})
    };
    let blocks = |index: u64, arguments: &str| {
        let call = json!({"type": "tool_use", "id": format!("c{index}"), "name": "x", "input": {}});
        let more = json!({"type": "input_json_delta", "partial_json": arguments});
        vec![block(json!(index), call), piece(json!(index), more)]
    };
    for (last, cut) in [
        ("{\"a\":2", vec![1]),
        ("{\"a\":2}", vec![]),
        ("", vec![1]),
        ("{\"a\":\"", vec![1]),
    ] {
        let of_chat = chat(&[call(0, "{\"a\":1}"), call(1, last), ended("length")]);
        let of_messages = [
            blocks(0, "{\"a\":1}"),
            blocks(1, last),
            vec![stopped("max_tokens")],
        ]
        .concat();
        for (provider, body) in [(OPENAI, of_chat), (ANTHROPIC, messages(&of_messages))] {
            let (_fake, reply, _heard) = answered(&provider, body);
            assert_eq!(
                (reply.finish_reason, reply.tool_calls.len()),
                (FinishReason::Length, 2)
            );
            assert_eq!(reply.cut_calls, cut, "{last}");
        }
    }
}

#[test]
fn parts_of_a_character_in_two_events_are_joined() {
    for (first, second) in [
        (&b"\\ud83e"[..], &b"\\udd80"[..]),
        (b"\\uD83E", b"\\uDD80"),
        (b"\xF0\x9F", b"\xA6\x80"),
        (b"\xF0\x9F\xA6", b"\x80"),
    ] {
        let fill = |event: &str, part: &[u8]| {
            let (before, after) = event.split_once('@').unwrap();
            [before.as_bytes(), part, after.as_bytes()].concat()
        };
        let of_chat = [
            ("data: {\"choices\":[{\"delta\":{\"content\":\"@\"}}]}\n\n"),
            ("data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"i\",\"function\":{\"name\":\"x\",\"arguments\":\"@\"}}]}}]}\n\n"),
        ];
        let of_messages = [
            ("data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"@\"}}\n\n"),
            ("data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"partial_json\":\"@\"}}\n\n"),
        ];
        let opened = block(
            json!(1),
            json!({"type": "tool_use", "id": "i", "name": "x", "input": {}}),
        );
        for (provider, begun, [text, call], end) in [
            (OPENAI, String::new(), of_chat, chat(&[ended("tool_calls")])),
            (
                ANTHROPIC,
                messages(&[opened]),
                of_messages,
                messages(&[stopped("tool_use")]),
            ),
        ] {
            let quote = |part: &[u8], begins: bool| {
                if begins {
                    [b"{\\\"a\\\":\\\"", part].concat()
                } else {
                    [part, b"\\\"}"].concat()
                }
            };
            let body = [
                begun.into_bytes(),
                fill(text, first),
                fill(text, second),
                fill(call, &quote(first, true)),
                fill(call, &quote(second, false)),
                end.into_bytes(),
            ]
            .concat();
            let (fake, reply, heard) = answered(&provider, body);
            assert_eq!(heard.text, "🦀");
            let back = calls_in(&next(&provider, &fake, reply, &heard.text));
            assert_eq!(back, [("x".to_owned(), json!({"a": "🦀"}))]);
        }
    }
}

#[test]
fn a_message_without_its_last_event_is_whole_and_its_thoughts_go_back() {
    let thought = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    let events = [
        block(json!(0), thought.clone()),
        block(json!(1), json!({"type": "text", "text": "yes"})),
        stopped("end_turn"),
    ];
    let (fake, reply, heard) = answered(&ANTHROPIC, messages(&events));
    assert_eq!((heard.text.as_str(), heard.codes()), ("yes", vec![]));
    let asked = next(&ANTHROPIC, &fake, reply, "yes");
    let content = &asked.messages()[1]["content"];
    assert_eq!(content, &json!([thought, {"type": "text", "text": "yes"}]));
}

#[test]
fn a_last_chunk_that_comes_twice_counts_once() {
    let last = json!({"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}});
    let again = json!({"object": "chat.completion", "choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]});
    let (_fake, reply, heard) = answered(&OPENAI, chat(&[said("a"), last.clone(), last, again]));
    assert_eq!(heard.text, "ab");
    let usage = reply.usage.unwrap();
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.total_tokens
        ),
        (3, 4, 9)
    );
}

#[test]
fn no_stream_opens_calls_or_blocks_without_end() {
    let sse = |events: Vec<Value>| {
        let events = events.iter().map(|event| match event["type"].as_str() {
            Some(kind) => format!("event: {kind}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        });
        events.collect::<String>()
    };
    let calls = |index: u64| {
        let call = json!({"index": index, "id": format!("c{index}"), "function": {"name": "date"}});
        json!({"choices": [{"delta": {"tool_calls": [call]}}]})
    };
    let blocks = |index: u64| json!({"choices": [{"delta": {"reasoning_details": [{"type": "t", "index": index}]}}]});
    let opened = |index: u64| json!({"type": "content_block_start", "index": index, "content_block": {"type": "text"}});
    let added = |index: u64| {
        json!({"type": "response.output_item.added", "output_index": index,
            "item": {"type": "function_call", "name": "date"}})
    };
    let lines = |count: u64| {
        let call = json!({"function": {"name": "date", "arguments": {}}});
        let line = format!("{}\n", json!({"message": {"tool_calls": [call]}}));
        line.repeat(count.try_into().unwrap())
    };
    let responses = Some("gpt-5.6");
    let of = |event: &dyn Fn(u64) -> Value| sse((0..2_000).map(event).collect());
    for (provider, name, body) in [
        (OPENAI, None, of(&calls)),
        (OPENAI, None, of(&blocks)),
        (ANTHROPIC, None, of(&opened)),
        (OPENAI, responses, of(&added)),
        (Provider::OLLAMA, None, lines(2_000)),
    ] {
        let fake = FakeModel::start();
        fake.reply(raw("text/event-stream", body));
        let mut spec = spec(provider, &fake);
        if let Some(name) = name {
            spec.main.name = name.to_owned();
        }
        let model = Providers::new(settings_at(&fake)).model(&spec);
        let (result, _) = called(model, Heard::default());
        let Err(LlmError::Malformed { message, .. }) = &result else {
            panic!("{name:?}: {result:?}");
        };
        assert!(
            message.contains("more than 1000 calls or blocks"),
            "{message}"
        );
        assert_eq!(fake.request_count(), 1);
    }
}
