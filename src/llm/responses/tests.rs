use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;
use crate::domain::code::NoticeCode;
use crate::domain::event::{FinishReason, Usage};
use crate::domain::spec::Provider;
use crate::llm::dialect::{AnswerFault, DecodedReply, testing};

fn decode(pieces: &[&[u8]]) -> (Vec<String>, Result<DecodedReply, AnswerFault>) {
    testing::decode(ResponsesDecoder::default(), pieces)
}

/// A stream of these events.
fn stream(events: &[Value]) -> String {
    let events = events.iter();
    events.map(|event| format!("data: {event}\n\n")).collect()
}

fn answer(events: &[Value]) -> (String, DecodedReply) {
    let (text, answer) = decode(&[stream(events).as_bytes()]);
    (text.concat(), answer.unwrap())
}

fn delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "output_index": 0, "delta": text})
}

fn done(place: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": place, "item": item})
}

fn completed(response: Value) -> Value {
    json!({"type": "response.completed", "response": response})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": text}]})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": "f", "call_id": id, "name": "date", "arguments": arguments})
}

#[test]
fn a_call_begins_as_the_one_before_it_does() {
    let (calls, spec) = testing::growing_conversation(Provider::OPENAI);
    let quirks = spec.main.quirks(true);
    let asked = testing::asked(&spec.main, "openai/m", &quirks);
    let body = |call| serde_json::to_string(&ResponsesBody::new(call, &asked)).unwrap();
    let bodies: Vec<String> = calls.iter().map(body).collect();
    for pair in bodies.windows(2) {
        let (input, _rest) = pair[0].split_once("],\"tools\"").unwrap();
        assert!(pair[1].starts_with(input), "{input}\n{}", pair[1]);
    }
}

#[test]
fn models_that_think_are_told_by_their_names() {
    for (name, expected) in [
        ("gpt-5", true),
        ("gpt-5.6-mini", true),
        ("GPT-5-codex", true),
        ("openai/o3", true),
        ("o4-mini", true),
        ("codex-mini-latest", true),
        ("gpt-5-chat-latest", false),
        ("gpt-5-search-api", false),
        ("o1-mini", false),
        ("gpt-4o", false),
        ("gpt-oss-120b", false),
        ("m1", false),
    ] {
        assert_eq!(is_asked_here(name), expected, "{name}");
    }
}

/// What each server leaves out, others send twice.
#[test]
fn what_an_item_says_counts_once_however_it_is_told() {
    let usage = json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens_details": {"reasoning_tokens": 1}});
    let whole =
        json!({"status": "completed", "output": [message("yes"), call("a", "{}")], "usage": usage});
    for events in [
        vec![
            delta("y"),
            delta("es"),
            done(0, message("yes")),
            done(1, call("a", "{}")),
            completed(whole.clone()),
        ],
        // Nothing but the end.
        vec![completed(whole.clone())],
        // No pieces, and each item twice.
        vec![
            done(0, message("yes")),
            done(0, message("yes")),
            done(1, call("a", "{}")),
            done(1, call("a", "{}")),
            completed(whole.clone()),
        ],
        // Pieces of a call.
        vec![
            delta("yes"),
            done(0, message("yes")),
            json!({"type": "response.output_item.added", "output_index": 1, "item": call("a", "")}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{"}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "}"}),
            done(1, call("a", "{}")),
            completed(whole.clone()),
        ],
    ] {
        let (text, answer) = answer(&events);
        assert_eq!(text, "yes", "{events:?}");
        assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
        let calls: Vec<(&str, &str)> = answer
            .tool_calls
            .iter()
            .map(|call| (call.id.as_str(), call.arguments.as_str()))
            .collect();
        assert_eq!(
            (calls, answer.cut_calls),
            (vec![("a", "{}")], vec![]),
            "{events:?}"
        );
        let counts = Usage {
            total_tokens: 9,
            cached_tokens: 2,
            reasoning_tokens: 1,
            ..Usage::new(3, 4)
        };
        assert_eq!(answer.usage, Some(counts));
        assert_eq!(answer.provider_data, None, "there is nothing to give back");
    }
}

#[test]
fn a_message_that_only_the_end_tells_is_said_whatever_came_before_it() {
    let thought = json!({"type": "reasoning", "id": "rs", "encrypted_content": "s"});
    for events in [
        vec![done(0, thought.clone())],
        vec![done(1, call("a", "{}"))],
        vec![done(0, thought.clone()), done(2, call("a", "{}"))],
        // Its pieces came, and nothing that ends it.
        vec![done(0, thought.clone()), delta("yes")],
    ] {
        let output = json!([thought, message("yes"), call("a", "{}")]);
        let end = completed(json!({"status": "completed", "output": output}));
        let (text, answer) = answer(&[events.clone(), vec![end]].concat());
        assert_eq!(text, "yes", "{events:?}");
        assert_eq!(answer.tool_calls.len(), 1, "{events:?}");
    }
}

#[test]
fn an_event_without_a_type_has_its_name() {
    let body = "event: response.output_text.delta\ndata: {\"delta\": \"a\"}\n\n\
                event: response.completed\ndata: {\"response\": {}}\n\n";
    let (text, answer) = decode(&[body.as_bytes()]);
    assert_eq!(text, ["a"]);
    assert_eq!(answer.unwrap().finish_reason, FinishReason::Stop);
}

#[test]
fn a_stream_without_its_last_event_is_whole_only_if_it_says_that_it_is_over() {
    let pieces = stream(&[delta("a")]);
    assert_eq!(decode(&[pieces.as_bytes()]).1, Err(AnswerFault::Truncated));
    let over = format!("{pieces}data: [DONE] \n\n");
    assert_eq!(
        decode(&[over.as_bytes()]).1.unwrap().finish_reason,
        FinishReason::Stop
    );
    assert_eq!(
        decode(&[b"data: [DONE]\n\n"]).1,
        Err(AnswerFault::Empty(String::new()))
    );
}

#[test]
fn what_ended_a_reply_early_is_told() {
    let ended = |reason: &str| {
        json!({"type": "response.incomplete", "response": {
            "status": "incomplete", "incomplete_details": {"reason": reason}}})
    };
    let (_, filtered) = answer(&[delta("a"), ended("content_filter")]);
    assert_eq!(filtered.finish_reason, FinishReason::Stop);
    assert_eq!(filtered.remarks[0].0, NoticeCode::Filtered);
    let begun =
        json!({"type": "response.output_item.added", "output_index": 1, "item": call("b", "")});
    let piece = json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{\"a"});
    let mut half = call("b", "{\"a");
    half["status"] = json!("incomplete");
    for events in [
        vec![
            done(0, call("a", "{}")),
            begun.clone(),
            piece.clone(),
            ended("max_output_tokens"),
        ],
        vec![
            done(0, call("a", "{}")),
            begun,
            piece,
            done(1, half),
            ended("max_output_tokens"),
        ],
    ] {
        let (_, cut) = answer(&events);
        assert_eq!(cut.finish_reason, FinishReason::Length);
        assert_eq!(cut.tool_calls[1].arguments, "{\"a");
        assert_eq!(cut.cut_calls, [1], "half a call does not run");
    }
}

#[test]
fn an_error_is_one_in_every_shape() {
    for (event, status, message) in [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}),
            Some(429),
            "slow",
        ),
        (
            json!({"type": "error", "error": {"code": 503, "message": "busy"}}),
            Some(503),
            "busy",
        ),
        (json!({"error": {"message": "no"}}), None, "no"),
        (
            json!({"type": "response.failed", "response": {"status": "failed",
                "error": {"code": "server_error", "message": "broke"}}}),
            Some(500),
            "broke",
        ),
    ] {
        let message = message.to_owned();
        let (_, answer) = decode(&[stream(&[event]).as_bytes()]);
        assert_eq!(answer, Err(AnswerFault::Reported { status, message }));
    }
}

#[test]
fn only_thoughts_that_can_come_back_are_kept() {
    let thought = |sealed: Value| json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": sealed});
    let (_, kept) = answer(&[
        done(0, thought(json!("s"))),
        delta("a"),
        done(1, message("a")),
        completed(json!({})),
    ]);
    let items = json!({"items": [thought(json!("s")), {"type": "message", "bytes": 1}]});
    assert_eq!(kept.provider_data, Some(items));
    for sealed in [Value::Null, json!("")] {
        let (_, lost) = answer(&[done(0, thought(sealed)), delta("a"), completed(json!({}))]);
        assert_eq!(lost.provider_data, None);
    }
}

#[test]
fn a_document_is_an_answer_or_none() {
    let whole = |document: &Value| decode(&[document.to_string().as_bytes()]).1;
    let document = json!({"object": "response", "status": "completed", "output": [message("a")]});
    assert_eq!(whole(&document).unwrap().finish_reason, FinishReason::Stop);
    assert!(whole(&json!({"detail": "loading"})).is_err());
    assert!(whole(&json!({"object": "error", "message": "no"})).is_err());
}

/// Lines that say nothing.
const NOISE: &[&str] = &[
    ": WAIT\r\n\r\n",
    "data:\n\n",
    "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":1}\n\n",
    "event: response.queued\ndata: {\"type\":\"response.queued\"}\n\n",
    "data: ping\n\n",
    "data: null\n\n",
    "data: {}\n\n",
    "{\"type\":7}\n",
    "{\"type\":\"ping\"}\n",
    "\n\n",
];

/// Fields that do not matter, or do not in these types: of the event, of its item, of the response.
const FIELDS: [&[&str]; 3] = [
    &[
        "sequence_number",
        "content_index",
        "logprobs",
        "obfuscation",
        "usage",
        "error",
        "response",
        "item",
        "arguments",
        "part",
    ],
    &[
        "status",
        "role",
        "summary",
        "annotations",
        "call_id",
        "encrypted_content",
        "namespace",
    ],
    &[
        "error",
        "status",
        "incomplete_details",
        "usage",
        "metadata",
        "tools",
        "created_at",
    ],
];

proptest! {
    #[test]
    fn noise_anywhere_changes_nothing(
        texts in prop::collection::vec("[a-zä🦀\"]{1,4}", 0..4),
        calls in prop::collection::vec("[a-zä\"]{0,6}", 0..3),
        fields in prop::collection::vec((any::<Index>(), 0_usize..3, any::<Index>(), testing::junk()), 0..16),
        lines in prop::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        repeats in prop::collection::vec(any::<Index>(), 0..3),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let added = |place: usize, item: &Value| json!({"type": "response.output_item.added", "output_index": place, "item": item});
        let done = |place: usize, item: &Value| json!({"type": "response.output_item.done", "output_index": place, "item": item});
        let whole = texts.concat();
        let thought = json!({"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "s"});
        let said = json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": whole}]});
        let mut output = vec![thought.clone(), said.clone()];
        let mut events = vec![
            json!({"type": "response.created", "response": {"id": "x"}}),
            added(0, &json!({"type": "reasoning", "id": "r"})),
            done(0, &thought),
            added(1, &json!({"type": "message", "id": "m", "content": []})),
        ];
        events.extend(texts.iter().map(|text| {
            json!({"type": "response.output_text.delta", "output_index": 1, "item_id": "m", "delta": text})
        }));
        events.push(done(1, &said));
        for (at, text) in calls.iter().enumerate() {
            let arguments = json!({"text": text}).to_string();
            let item = |arguments: &str| json!({"type": "function_call", "id": format!("f{at}"), "call_id": format!("c{at}"), "name": "x", "arguments": arguments});
            let piece = |text: &str| json!({"type": "response.function_call_arguments.delta", "output_index": at + 2, "item_id": format!("f{at}"), "delta": text});
            let (begun, rest) = arguments.split_at(5);
            events.extend([added(at + 2, &item("")), piece(begun), piece(rest)]);
            events.push(json!({"type": "response.function_call_arguments.done", "output_index": at + 2, "item_id": format!("f{at}"), "arguments": arguments}));
            events.push(done(at + 2, &item(&arguments)));
            output.push(item(&arguments));
        }
        let last = events.len() - 1;
        events.push(json!({"type": "response.completed", "response": {"output": output, "usage": {"input_tokens": 3, "output_tokens": 4}}}));
        let clean = decode(&[stream(&events).as_bytes()]);

        for at in &repeats {
            let at = last + at.index(2);
            events.insert(at, events[at].clone());
        }
        for (at, level, field, value) in &fields {
            let at = at.index(events.len());
            let object = match level {
                0 => Some(&mut events[at]),
                1 => events[at].pointer_mut("/item"),
                _ => events[at].pointer_mut("/response"),
            };
            let name = FIELDS[*level][field.index(FIELDS[*level].len())];
            // An error that says something is one.
            let matters = name == "error" && crate::llm::dialect::says_something(value);
            if let Some(Value::Object(object)) = object && !matters {
                object.entry(name).or_insert(value.clone());
            }
        }
        let mut events: Vec<String> = events.iter().map(|event| stream(std::slice::from_ref(event))).collect();
        events.push("data: [DONE] \n\n".to_owned());
        for (at, line) in &lines {
            events.insert(at.index(events.len()), NOISE[line.index(NOISE.len())].to_owned());
        }
        let body = events.concat();
        let pieces = testing::cut_at(body.as_bytes(), &cuts);
        prop_assert_eq!(decode(&pieces), clean, "{}", body);
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_deltas(
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let body = stream(&[
            delta("Grüße"),
            delta("🦀 \"\n"),
            done(0, message("Grüße🦀 \"\n")),
            done(1, call("a", "{\"ä\":1}")),
            completed(json!({"usage": {"input_tokens": 1, "output_tokens": 2}})),
        ]);
        let body = body.as_bytes();
        prop_assert_eq!(decode(&testing::cut_at(body, &cuts)), decode(&[body]));
    }

    #[test]
    fn nothing_that_a_server_sends_makes_it_panic(body in "(data: |[{}\\[\\]\":,a-z0-9 \n]){0,60}") {
        let (_text, _answer) = decode(&[body.as_bytes()]);
    }
}
