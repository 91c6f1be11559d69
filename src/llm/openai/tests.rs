use serde_json::{Value, json};

use super::*;
use crate::domain::event::{FinishReason, Usage};
use crate::domain::spec::Provider;
use crate::llm::dialect::{AnswerFault, DecodedReply, testing};
use crate::llm::quirks::Quirks;
use proptest::prelude::*;
use proptest::sample::Index;

/// The text and the answer of a body that comes in `pieces`.
fn decode(pieces: &[&[u8]]) -> (Vec<String>, Result<DecodedReply, AnswerFault>) {
    testing::decode(ChatDecoder::default(), pieces)
}

/// A stream of these chunks.
fn stream(chunks: &[Value]) -> String {
    let mut body: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    body.push_str("data: [DONE]\n\n");
    body
}

fn answer(chunks: &[Value]) -> DecodedReply {
    decode(&[stream(chunks).as_bytes()]).1.unwrap()
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"delta": delta}]})
}

fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
    let chunks: Vec<Value> = pieces
        .iter()
        .map(|piece| delta(json!({"tool_calls": [piece]})))
        .collect();
    let answer = answer(&chunks);
    assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
    let calls = answer.tool_calls.into_iter();
    calls
        .map(|call| (call.id, call.name, call.arguments))
        .collect()
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.into(), name.into(), arguments.into())
}

#[test]
fn a_call_begins_as_the_one_before_it_does() {
    let (calls, spec) = testing::growing_conversation(Provider::OPENAI);
    let quirks = Quirks::of(&spec.main, true);
    let asked = testing::asked(&spec.main, "openai/m", &quirks);
    let body = |call| serde_json::to_string(&ChatBody::new(call, &asked)).unwrap();
    let bodies: Vec<String> = calls.iter().map(body).collect();
    for pair in bodies.windows(2) {
        let (messages, _rest) = pair[0].rsplit_once("],\"tools\"").unwrap();
        assert!(pair[1].starts_with(messages), "{messages}\n{}", pair[1]);
    }
}

#[test]
fn calls_that_come_by_turns_are_told_apart_by_index() {
    let found = calls(&[
        json!({"index": 0, "id": "a", "function": {"name": "x", "arguments": ""}}),
        json!({"index": 1, "id": "b", "function": {"name": "y", "arguments": "[1"}}),
        json!({"index": 0, "function": {"arguments": "{\"k\""}}),
        json!({"index": 1, "function": {"arguments": "]"}}),
        json!({"index": 0, "function": {"arguments": ":1}"}}),
    ]);
    assert_eq!(found, [call("a", "x", "{\"k\":1}"), call("b", "y", "[1]")]);
}

#[test]
fn calls_without_an_index_or_an_id_are_told_apart() {
    for (pieces, expected) in [
        // Whole calls, all of index 0.
        (
            vec![
                json!({"index": 0, "id": "a", "function": {"name": "x", "arguments": "{}"}}),
                json!({"index": 0, "id": "b", "function": {"name": "x", "arguments": "{}"}}),
            ],
            vec![call("a", "x", "{}"), call("b", "x", "{}")],
        ),
        // The id is repeated in every piece.
        (
            vec![
                json!({"id": "a", "function": {"name": "x", "arguments": "{"}}),
                json!({"id": "a", "function": {"name": "x", "arguments": "}"}}),
            ],
            vec![call("a", "x", "{}")],
        ),
        // No index.
        (
            vec![
                json!({"id": "a", "function": {"name": "x"}}),
                json!({"function": {"arguments": "{}"}}),
                json!({"id": "b", "function": {"name": "y"}}),
            ],
            vec![call("a", "x", "{}"), call("b", "y", "{}")],
        ),
        // Neither.
        (
            vec![
                json!({"function": {"name": "x", "arguments": "{}"}}),
                json!({"function": {"name": "x", "arguments": "{"}}),
                json!({"id": "", "function": {"name": "", "arguments": "}"}}),
            ],
            vec![call("", "x", "{}"), call("", "x", "{}")],
        ),
        // Numbers and objects where texts belong.
        (
            vec![json!({"id": 7, "function": {"name": "x", "arguments": {"k": 1}}})],
            vec![call("7", "x", "{\"k\":1}")],
        ),
    ] {
        assert_eq!(calls(&pieces), expected);
    }
}

#[test]
fn twenty_pieces_are_one_text_of_arguments() {
    let arguments = json!({"text": "x".repeat(60)}).to_string();
    let mut pieces = vec![json!({"index": 0, "id": "a", "function": {"name": "x"}})];
    pieces.extend(arguments.as_bytes().chunks(3).map(
        |piece| json!({"index": 0, "function": {"arguments": String::from_utf8_lossy(piece)}}),
    ));
    assert_eq!(calls(&pieces), [call("a", "x", &arguments)]);
}

#[test]
fn every_finish_reason_has_a_meaning() {
    for (word, expected) in [
        ("stop", FinishReason::Stop),
        ("length", FinishReason::Length),
        ("content_filter", FinishReason::Stop),
        ("tool_calls", FinishReason::Stop),
        ("function_call", FinishReason::Stop),
        ("eos", FinishReason::Stop),
    ] {
        let chunk = json!({"choices": [{"delta": {"content": "a"}, "finish_reason": word}]});
        assert_eq!(answer(&[chunk]).finish_reason, expected, "{word}");
    }
}

#[test]
fn usage_comes_alone_or_with_the_end() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    for chunk in [
        json!({"choices": [], "usage": usage}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}),
        json!({"usage": usage}),
    ] {
        assert_eq!(answer(&[chunk]).usage, Some(Usage::new(3, 4)));
    }
    assert_eq!(answer(&[delta(json!({}))]).usage, None);
}

#[test]
fn what_is_null_or_missing_is_nothing() {
    for chunk in [
        json!({}),
        json!({"choices": null, "usage": null, "error": null}),
        json!({"choices": [{"delta": null, "finish_reason": null}]}),
        delta(json!({"role": "assistant", "content": null, "tool_calls": null})),
        delta(json!({"content": "", "reasoning": "hm", "reasoning_content": "hm"})),
    ] {
        let (text, answer) = decode(&[stream(&[chunk]).as_bytes()]);
        assert_eq!(text, [""; 0]);
        assert_eq!(answer.unwrap().finish_reason, FinishReason::Stop);
    }
}

#[test]
fn parts_and_refusals_are_text() {
    let (text, _answer) = decode(&[stream(&[
        delta(json!({"content": [{"type": "text", "text": "a"}, {"type": "thinking"}]})),
        delta(json!({"content": null, "refusal": "no"})),
    ])
    .as_bytes()]);
    assert_eq!(text, ["a", "no"]);
}

#[test]
fn an_error_anywhere_is_an_error() {
    for (chunk, status, message) in [
        (
            json!({"error": {"code": 429, "message": "slow"}}),
            Some(429),
            "slow",
        ),
        (
            json!({"error": {"code": "502", "message": "bad"}}),
            Some(502),
            "bad",
        ),
        (
            json!({"error": {"code": "x", "message": "bad"}}),
            None,
            "bad",
        ),
        (json!({"error": "words"}), None, "words"),
        (
            json!({"choices": [{"error": {"message": "in"}}]}),
            None,
            "in",
        ),
        (
            json!({"choices": [{"finish_reason": "error"}]}),
            None,
            "no reason given",
        ),
    ] {
        let message = message.to_owned();
        let (_text, answer) = decode(&[stream(&[chunk]).as_bytes()]);
        assert_eq!(answer, Err(AnswerFault::Reported { status, message }));
    }
    let (_text, answer) = decode(&[b"data: {not json\n\n"]);
    assert!(
        matches!(answer, Err(AnswerFault::Malformed(_))),
        "{answer:?}"
    );
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_deltas(
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let body = stream(&[
            delta(json!({"role": "assistant", "content": "Grüße"})),
            delta(json!({"content": "🦀 \"\n"})),
            delta(json!({"tool_calls": [
                {"index": 0, "id": "a", "function": {"name": "x", "arguments": "{\"ä\":"}},
            ]})),
            delta(json!({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]})),
            json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
        ])
        .replace("data: {\"usage", ": PROCESSING\r\n\r\ndata: {\"usage");
        let body = body.as_bytes();
        let pieces = testing::cut_at(body, &cuts);
        prop_assert_eq!(decode(&pieces), decode(&[body]));
    }

    #[test]
    fn nothing_that_a_server_sends_makes_it_panic(body in "(data: |[{}\\[\\]\":,a-z0-9 \n]){0,60}") {
        let (_text, _answer) = decode(&[body.as_bytes()]);
    }
}

#[test]
fn pieces_of_one_block_of_reasoning_are_joined_and_no_others() {
    let piece = |piece: Value| delta(json!({"reasoning_details": [piece]}));
    let answer = answer(&[
        piece(json!({"type": "reasoning.text", "index": 0, "text": "a", "format": "x"})),
        piece(json!({"type": "reasoning.text", "index": 0, "text": "b", "format": null})),
        piece(json!({"type": "reasoning.text", "index": 0, "signature": "s", "format": "y"})),
        piece(json!({"type": "reasoning.text", "index": 1, "text": "c"})),
        piece(json!({"type": "reasoning.summary", "index": 1, "summary": "d"})),
        piece(json!({"type": "reasoning.summary", "index": 1, "summary": "e"})),
        piece(json!({"type": "reasoning.encrypted", "index": 1, "data": "f"})),
        piece(json!({"type": "reasoning.encrypted", "index": 1, "data": "g"})),
        delta(json!({"content": "so"})),
    ]);
    assert_eq!(
        answer.provider_data.unwrap(),
        json!({"reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "ab", "format": "y", "signature": "s"},
            {"type": "reasoning.text", "index": 1, "text": "c"},
            {"type": "reasoning.summary", "index": 1, "summary": "de"},
            {"type": "reasoning.encrypted", "index": 1, "data": "fg"},
        ]})
    );
}

#[test]
fn only_a_code_that_is_a_failed_status_stands_for_one() {
    for (code, expected) in [
        (json!(429), Some(429)),
        (json!("503"), Some(503)),
        (json!(400), Some(400)),
        (json!(599), Some(599)),
        (json!(399), None),
        (json!(600), None),
        (json!(-1), None),
        (json!("busy"), None),
        (json!(65_536 + 429), None),
        (Value::Null, None),
    ] {
        let body = stream(&[json!({"error": {"code": code, "message": "no"}})]);
        let message = "no".to_owned();
        let status = expected;
        assert_eq!(
            decode(&[body.as_bytes()]).1,
            Err(AnswerFault::Reported { status, message }),
            "{code}"
        );
    }
}
