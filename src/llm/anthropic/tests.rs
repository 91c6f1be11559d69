use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::domain::event::{AssistantResponse, FinishReason, Usage};
use crate::domain::message::{Message, Reply};
use crate::domain::spec::Provider;
use crate::domain::story;
use crate::llm::RawToolCall;
use crate::llm::dialect::{AnswerFault, DecodedReply, arguments_object, testing};
use proptest::prelude::*;
use proptest::sample::Index;

/// The text and the answer of a body that comes in `pieces`.
fn decode(pieces: &[&[u8]]) -> (Vec<String>, Result<DecodedReply, AnswerFault>) {
    testing::decode(MessagesDecoder::default(), pieces)
}

fn stream(events: &[Value]) -> String {
    let line = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"]);
    events.iter().map(line).collect()
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn start(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason},
               "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ]
}

/// A reply with all kinds of blocks.
fn full_stream() -> String {
    let mut events = vec![
        json!({"type": "message_start", "message": {"usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1000, "output_tokens": 1,
        }}}),
        json!({"type": "ping"}),
        start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        delta(0, json!({"type": "thinking_delta", "thinking": "h"})),
        delta(0, json!({"type": "thinking_delta", "thinking": "m"})),
        delta(0, json!({"type": "signature_delta", "signature": "s1"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "x"})),
        stop(1),
        start(2, json!({"type": "text", "text": ""})),
        delta(2, json!({"type": "text_delta", "text": "Grüße "})),
        delta(2, json!({"type": "text_delta", "text": "🦀"})),
        stop(2),
        start(
            3,
            json!({"type": "tool_use", "id": "t1", "name": "date", "input": {}}),
        ),
        delta(3, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(
            3,
            json!({"type": "input_json_delta", "partial_json": "{\"ä\""}),
        ),
        delta(
            3,
            json!({"type": "input_json_delta", "partial_json": ": 1}"}),
        ),
        stop(3),
        start(
            4,
            json!({"type": "tool_use", "id": "t2", "name": "list", "input": {}}),
        ),
        stop(4),
        json!({"type": "something_new", "delta": {"type": "new_delta"}}),
    ];
    events.extend(end("tool_use"));
    stream(&events)
}

#[test]
fn a_call_begins_as_the_one_before_it_does() {
    let (calls, spec) = testing::growing_conversation(Provider::ANTHROPIC);
    let quirks = spec.main.quirks(true);
    let asked = testing::asked(&spec.main, "anthropic/m", &quirks);
    let body = |call| serde_json::to_string(&MessagesBody::new(call, &asked)).unwrap();
    let bodies: Vec<String> = calls.iter().map(body).collect();
    for pair in bodies.windows(2) {
        let (messages, _rest) = pair[0].rsplit_once("],\"tools\"").unwrap();
        // The mark of the last block moves on.
        let (messages, mark) = messages.rsplit_once(",\"cache_control\"").unwrap();
        assert_eq!(mark, ":{\"type\":\"ephemeral\"}}]}");
        assert!(pair[1].starts_with(messages), "{messages}\n{}", pair[1]);
    }
}

#[test]
fn thinking_that_is_no_block_is_not_sent_back() {
    let (mut calls, spec) = testing::growing_conversation(Provider::ANTHROPIC);
    let data = json!({"thinking": ["h", {"type": "thinking", "thinking": "m"}]});
    calls[0].messages.push(Message::Assistant(Reply {
        text: "yes".into(),
        tool_calls: Vec::new(),
        event: Some(Arc::new(AssistantResponse {
            model: "anthropic/m".to_owned(),
            provider_data: Some(data),
            ..story::reply(1, 1, "yes")
        })),
    }));
    let quirks = spec.main.quirks(true);
    let asked = testing::asked(&spec.main, "anthropic/m", &quirks);
    let body = MessagesBody::new(&calls[0], &asked);
    let body = serde_json::to_value(&body).unwrap();
    let said = body["messages"].as_array().unwrap().last().unwrap();
    let kinds: Vec<_> = said["content"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 2, "{said}");
    assert_eq!(kinds[0], &json!({"type": "thinking", "thinking": "m"}));
}

#[test]
fn all_kinds_of_blocks_find_their_places() {
    let (text, answer) = decode(&[full_stream().as_bytes()]);
    assert_eq!(text, ["Grüße ", "🦀"]);
    let call = |id: &str, name: &str, arguments: &str| RawToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(
        answer,
        Ok(DecodedReply {
            tool_calls: vec![call("t1", "date", "{\"ä\": 1}"), call("t2", "list", "{}")],
            usage: Some(Usage {
                cached_tokens: 1000,
                ..Usage::new(1110, 9)
            }),
            finish_reason: FinishReason::ToolCalls,
            provider_data: Some(json!({"thinking": [
                {"type": "thinking", "thinking": "hm", "signature": "s1"},
                {"type": "redacted_thinking", "data": "x"},
            ]})),
            cut_calls: Vec::new(),
            remarks: Vec::new(),
        })
    );
}

#[test]
fn every_stop_reason_has_a_meaning() {
    for (word, expected) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("refusal", FinishReason::Stop),
        ("pause_turn", FinishReason::Stop),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
    ] {
        let said = [delta(0, json!({"type": "text_delta", "text": "a"}))];
        let events = [&said[..], &end(word)].concat();
        let (_text, answer) = decode(&[stream(&events).as_bytes()]);
        assert_eq!(answer.unwrap().finish_reason, expected, "{word}");
    }
    // A window without room for a word is full.
    let (_text, answer) = decode(&[stream(&end("model_context_window_exceeded")).as_bytes()]);
    assert!(matches!(
        answer,
        Err(AnswerFault::Reported {
            status: Some(400),
            ..
        })
    ));
}

#[test]
fn an_error_event_stands_for_a_status() {
    for (kind, status) in [
        ("overloaded_error", Some(529)),
        ("rate_limit_error", Some(429)),
        ("invalid_request_error", Some(400)),
        ("new_error", None),
    ] {
        let event = json!({"type": "error", "error": {"type": kind, "message": "words"}});
        let (_text, answer) = decode(&[stream(&[event]).as_bytes()]);
        let message = format!("{kind}: words");
        assert_eq!(answer, Err(AnswerFault::Reported { status, message }));
    }
    let (_text, answer) = decode(&[b"data: {\"type\":\"error\"}\n\n"]);
    assert!(matches!(answer, Err(AnswerFault::Reported { .. })));
}

#[test]
fn an_answer_is_whole_once_it_says_why_it_ended() {
    let body = full_stream();
    let whole = decode(&[body.as_bytes()]);
    let cut = body.find("event: \"message_stop\"").unwrap();
    assert_eq!(decode(&[&body.as_bytes()[..cut]]), whole);
    let cut = body.find("event: \"message_delta\"").unwrap();
    assert_eq!(
        decode(&[&body.as_bytes()[..cut]]).1,
        Err(AnswerFault::Truncated)
    );
    let (_text, answer) = decode(&[b"data: {\"type\":\"message_stop\"}\n\n"]);
    assert_eq!(answer, Err(AnswerFault::Empty(String::new())));
}

#[test]
fn blocks_in_another_order_than_the_usual_have_it_noted() {
    let thinking = json!({"type": "thinking", "thinking": "h", "signature": "s"});
    let call = json!({"type": "tool_use", "id": "t1", "name": "date", "input": {"a": 1}});
    let text = |text: &str| json!({"type": "text", "text": text});
    let mut events = vec![
        start(0, text("so ")),
        start(1, thinking.clone()),
        start(2, text("")),
        start(3, call),
        // Pieces of several blocks may come by turns.
        delta(2, json!({"type": "text_delta", "text": "grüße"})),
        delta(1, json!({"type": "thinking_delta", "thinking": "m"})),
    ];
    events.extend(end("tool_use"));
    let (text, answer) = decode(&[stream(&events).as_bytes()]);
    assert_eq!(text.concat(), "so grüße");
    let answer = answer.unwrap();
    assert_eq!(answer.tool_calls[0].arguments, r#"{"a":1}"#);
    assert_eq!(
        answer.provider_data.unwrap(),
        json!({
            "order": [["text", 3], ["thinking", 0], ["text", 7], ["call", 0]],
            "thinking": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
        })
    );
}

#[test]
fn halves_count_in_the_order_of_blocks_as_what_they_become() {
    let text = |text: &str| delta(0, json!({"type": "text_delta", "text": text}));
    let mut events = vec![
        start(0, json!({"type": "text", "text": ""})),
        text("a"),
        text("H"),
        text("L"),
        start(
            1,
            json!({"type": "thinking", "thinking": "h", "signature": "s"}),
        ),
    ];
    events.extend(end("end_turn"));
    let body = stream(&events)
        .replace('H', "\\ud83e")
        .replace('L', "\\udd80");
    let (text, answer) = decode(&[body.as_bytes()]);
    assert_eq!(text.concat(), "a🦀");
    let data = answer.unwrap().provider_data.unwrap();
    assert_eq!(data["order"], json!([["text", 5], ["thinking", 0]]));
}

#[test]
fn whatever_a_model_wrote_as_arguments_becomes_an_object() {
    for (arguments, expected) in [
        ("{\"a\": 1}", json!({"a": 1})),
        ("", json!({})),
        ("null", json!({})),
        ("[1]", json!({"arguments": [1]})),
        ("{\"a\"", json!({"arguments": "{\"a\""})),
    ] {
        assert_eq!(
            Value::Object(arguments_object(arguments)),
            expected,
            "{arguments}"
        );
    }
}

/// Lines that say nothing.
const NOISE: &[&str] = &[
    ": WAIT\r\n\r\n",
    "data:\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "data: ping\n\n",
    "data: null\n\n",
    "data: {}\n\n",
    "{\"type\":7}\n",
    "\n\n",
];

proptest! {
    #[test]
    fn an_event_says_the_same_whether_or_not_it_is_like_the_one_before(
        events in prop::collection::vec((0_usize..12, 0_u64..3, "[a{}\"\\\\\nä🦀HL]{0,2}"), 0..16),
    ) {
        let event = |(kind, index, text): &(usize, u64, String)| match kind {
            0 => start(*index, json!({"type": "text", "text": text})),
            1 => start(*index, json!({"type": "thinking", "thinking": text})),
            2 => start(*index, json!({"type": "tool_use", "id": text, "name": "x", "input": {}})),
            3 => delta(*index, json!({"type": "thinking_delta", "thinking": text})),
            4 => delta(*index, json!({"type": "input_json_delta", "partial_json": text})),
            5 => stop(*index),
            6 => json!({"type": "ping"}),
            7 => json!({"type": text, "index": index, "delta": {"type": "text_delta", "text": text}}),
            _ => delta(index % 2, json!({"type": "text_delta", "text": text})),
        };
        let mut events: Vec<Value> = events.iter().map(event).collect();
        events.extend(end("end_turn"));
        // Halves of a character, which no `Value` holds.
        let body = stream(&events).replace('H', "\\ud83e").replace('L', "\\udd80");
        let unlike = testing::unlike(&body);
        prop_assert_eq!(decode(&[body.as_bytes()]), decode(&[unlike.as_bytes()]));
    }

    #[test]
    fn noise_anywhere_changes_nothing(
        fields in prop::collection::vec((
            any::<Index>(),
            any::<bool>(),
            prop::sample::select(vec!["usage", "error", "message", "content", "stop_reason", "index", "text", "thinking", "signature", "x"]),
            prop::sample::select(vec![Value::Null, json!(false), json!(-1.5), json!(""), json!([]), json!({})]),
        ), 0..16),
        lines in prop::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        repeats in 0_usize..3,
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let clean = full_stream();
        let mut events: Vec<Value> = clean
            .lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
            .collect();
        for _ in 0..repeats {
            let end = events[events.len() - 2].clone();
            events.insert(events.len() - 1, end);
        }
        for (at, in_delta, field, value) in fields {
            let at = at.index(events.len());
            let object = if in_delta { &mut events[at]["delta"] } else { &mut events[at] };
            if let Value::Object(object) = object {
                object.entry(field).or_insert(value);
            }
        }
        let mut events: Vec<String> = events.iter().map(|event| stream(std::slice::from_ref(event))).collect();
        for (at, line) in lines {
            events.insert(at.index(events.len()), NOISE[line.index(NOISE.len())].to_owned());
        }
        let body = events.concat();
        let pieces = testing::cut_at(body.as_bytes(), &cuts);
        prop_assert_eq!(decode(&pieces), decode(&[clean.as_bytes()]), "{}", body);
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_deltas(
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let body = full_stream();
        let body = body.as_bytes();
        let pieces = testing::cut_at(body, &cuts);
        prop_assert_eq!(decode(&pieces), decode(&[body]));
    }
}

#[test]
fn a_block_ends_where_the_next_begins_or_the_message_does() {
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "date", "input": {}});
    let arguments =
        |text: &str| delta(0, json!({"type": "input_json_delta", "partial_json": text}));
    let mut events = vec![
        start(0, call("t1")),
        arguments("{\"a\":1}"),
        start(1, call("t2")),
        arguments("{\"b\":2}"),
    ];
    events.extend(end("tool_use"));
    let answer = decode(&[stream(&events).as_bytes()]).1.unwrap();
    let calls: Vec<(&str, &str)> = answer
        .tool_calls
        .iter()
        .map(|call| (call.id.as_str(), call.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("t1", "{\"a\":1}"), ("t2", "{\"b\":2}")]);
}

#[test]
fn a_whole_message_says_why_it_ended() {
    for (body, is_whole) in [
        (
            json!({"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"}),
            true,
        ),
        (
            json!({"content": [{"type": "text", "text": "a"}], "stop_reason": null}),
            false,
        ),
        (json!({"content": [{"type": "text", "text": "a"}]}), false),
    ] {
        let mut body = body;
        body["type"] = json!("message");
        let answer = decode(&[body.to_string().as_bytes()]).1;
        assert_eq!(answer.is_ok(), is_whole, "{body}");
    }
}

#[test]
fn a_later_count_that_leaves_something_out_takes_nothing_away() {
    for (last, expected) in [
        (json!({"output_tokens": 7}), 110),
        (json!({"input_tokens": 10, "output_tokens": 7}), 110),
        (
            json!({"input_tokens": 10, "cache_read_input_tokens": 200, "output_tokens": 7}),
            210,
        ),
    ] {
        let events = [
            json!({"type": "message_start", "message": {"usage": {
                "input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 1,
            }}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}),
            json!({"type": "message_stop"}),
        ];
        let answer = decode(&[stream(&events).as_bytes()]).1.unwrap();
        let usage = answer.usage.unwrap();
        assert_eq!(
            (usage.prompt_tokens, usage.cached_tokens),
            (expected, expected - 10)
        );
        assert_eq!(usage.completion_tokens, 7, "{last}");
    }
}
