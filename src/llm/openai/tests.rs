use serde_json::{Value, json};

use super::*;
use crate::domain::event::{FinishReason, Usage};
use crate::domain::spec::Provider;
use crate::llm::dialect::{AnswerFault, DecodedReply, testing};
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
    let quirks = spec.main.quirks(true);
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
    let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    for chunk in [
        json!({"choices": [], "usage": usage}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage}),
        json!({"choices": [{"delta": {}, "usage": usage}]}),
        json!({"x_groq": {"usage": usage}}),
        json!({"usage": usage}),
    ] {
        assert_eq!(answer(&[end.clone(), chunk]).usage, Some(Usage::new(3, 4)));
    }
    assert_eq!(answer(&[end]).usage, None);
}

#[test]
fn what_the_counts_are_made_of_is_counted_and_odd_ones_are_not() {
    let whole = Usage {
        total_tokens: 9,
        cached_tokens: 2,
        reasoning_tokens: 1,
        ..Usage::new(3, 4)
    };
    let plain = Usage::new(3, 0);
    for (counts, expected) in [
        (
            json!({"prompt_tokens": "3", "completion_tokens": 4.0, "total_tokens": 9,
                   "prompt_tokens_details": {"cached_tokens": 2},
                   "completion_tokens_details": {"reasoning_tokens": 1}}),
            Some(whole),
        ),
        (
            json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9,
                   "prompt_cache_hit_tokens": 2, "reasoning_tokens": 1}),
            Some(whole),
        ),
        (
            json!({"prompt_tokens": 3, "completion_tokens": -4, "total_tokens": []}),
            Some(plain),
        ),
        (
            json!({"prompt_tokens": 3, "completion_tokens": 1.5, "total_tokens": 1}),
            Some(plain),
        ),
        (
            json!({"prompt_tokens": null, "completion_tokens": {}}),
            None,
        ),
        (json!([3, 4]), None),
        (json!("3"), None),
    ] {
        let end = json!({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}],
                         "usage": counts});
        assert_eq!(answer(&[end]).usage, expected, "{counts}");
    }
}

#[test]
fn what_is_null_or_missing_is_nothing() {
    for chunk in [
        json!({}),
        json!({"choices": null, "usage": null, "error": null}),
        json!({"choices": [{"delta": null, "finish_reason": null}]}),
        delta(json!({"role": "assistant", "content": null, "tool_calls": null})),
        delta(json!({"content": "", "reasoning": "hm"})),
    ] {
        let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
        let (text, answer) = decode(&[stream(&[chunk, end]).as_bytes()]);
        assert_eq!(text, [""; 0]);
        assert_eq!(answer.unwrap().finish_reason, FinishReason::Stop);
    }
}

#[test]
fn nothing_before_the_end_is_an_error() {
    for (chunks, words) in [
        (vec![], ""),
        (vec![json!({})], "{}"),
        (vec![delta(json!({"role": "assistant", "content": ""}))], ""),
        (vec![json!({"object": "list"})], "{\"object\":\"list\"}"),
    ] {
        let (_text, answer) = decode(&[stream(&chunks).as_bytes()]);
        assert_eq!(answer, Err(AnswerFault::Empty(words.to_owned())));
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

/// Lines that say nothing.
const NOISE: &[&str] = &[
    ": OPENROUTER PROCESSING\r\n\r\n",
    "data:\n\n",
    "data: \n\n",
    "event: ping\ndata: {}\n\n",
    "data: ping\n\n",
    "data: null\n\n",
    "data: 7\n\n",
    "id: 1\nretry: 5\n\n",
    "{\"type\":\"ping\"}\n",
    "\n\n",
];

/// Fields that do not matter, or do not in these types: of the chunk, of the choice, of the delta.
const FIELDS: [&[&str]; 3] = [
    &[
        "usage",
        "x_groq",
        "system_fingerprint",
        "created",
        "error",
        "service_tier",
    ],
    &[
        "logprobs",
        "usage",
        "error",
        "native_finish_reason",
        "message",
    ],
    &[
        "role",
        "refusal",
        "reasoning_details",
        "reasoning",
        "reasoning_content",
        "audio",
        "extra_content",
        "tool_calls",
        "content",
    ],
];

proptest! {
    #[test]
    fn an_event_says_the_same_whether_or_not_it_is_like_the_one_before(
        events in prop::collection::vec((0_usize..12, "[a{}\"\\\\\n\u{1}ä🦀HL]{0,2}"), 0..12),
    ) {
        let chunk = |(kind, text): &(usize, String)| match kind {
            0 => json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}),
            1 => json!({"choices": [{"delta": {"content": text}}], "usage": {"prompt_tokens": 3}}),
            2 => json!({"choices": [{"delta": {"content": text}, "message": {"content": text}}]}),
            3 => delta(json!({"content": [{"text": text}]})),
            4 => delta(json!({"content": "so", "reasoning_content": text})),
            5 => delta(json!({"content": "so", "tool_calls": [{"id": text, "function": {"name": text}}]})),
            6 => delta(json!({"content": text, "refusal": text})),
            7 => json!({"choices": [{"message": {"content": text}}]}),
            _ => delta(json!({"content": text, "role": "assistant"})),
        };
        let chunks: Vec<Value> = events.iter().map(chunk).collect();
        // Halves of a character, which no `Value` holds.
        let body = stream(&chunks).replace('H', "\\ud83e").replace('L', "\\udd80");
        let unlike = testing::unlike(&body);
        prop_assert_eq!(decode(&[body.as_bytes()]), decode(&[unlike.as_bytes()]));
    }

    #[test]
    fn noise_anywhere_changes_nothing(
        texts in prop::collection::vec("[a-zä🦀\"]{1,4}", 0..4),
        calls in prop::collection::vec("[a-zä\"]{0,6}", 0..3),
        last_text in "[a-z]{0,2}",
        fields in prop::collection::vec((any::<Index>(), 0_usize..3, any::<Index>(), testing::junk()), 0..16),
        lines in prop::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        repeats in prop::collection::vec(any::<Index>(), 0..3),
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let mut chunks = vec![delta(json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}))];
        chunks.extend(texts.iter().map(|text| delta(json!({"content": text}))));
        for (index, text) in calls.iter().enumerate() {
            let arguments = json!({"text": text}).to_string();
            let (begun, rest) = arguments.split_at(5);
            let piece = |piece: Value| delta(json!({"tool_calls": [piece]}));
            chunks.push(piece(json!({"index": index, "id": format!("c{index}"), "function": {"name": "x", "arguments": begun}})));
            chunks.push(piece(json!({"index": index, "function": {"arguments": rest}})));
        }
        let last = chunks.len();
        chunks.push(json!({"choices": [{"delta": {"content": last_text}, "finish_reason": "stop"}]}));
        chunks.push(json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}));
        let clean = decode(&[stream(&chunks).as_bytes()]);

        for at in &repeats {
            let at = last + at.index(2);
            chunks.insert(at, chunks[at].clone());
        }
        for (at, level, field, value) in &fields {
            let at = at.index(chunks.len());
            let object = match level {
                0 => Some(&mut chunks[at]),
                1 => chunks[at].pointer_mut("/choices/0"),
                _ => chunks[at].pointer_mut("/choices/0/delta"),
            };
            let name = FIELDS[*level][field.index(FIELDS[*level].len())];
            // An error that says something is one, and so is what is told of all by itself.
            let matters = name == "error" && crate::llm::dialect::says_something(value)
                || name == "extra_content" && value.is_object()
                || name == "message" && value.is_object();
            if let Some(Value::Object(object)) = object && !matters {
                object.entry(name).or_insert(value.clone());
            }
        }
        let mut events: Vec<String> = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
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
fn two_ids_are_two_blocks_of_reasoning_also_with_one_index() {
    let piece = |piece: Value| delta(json!({"reasoning_details": [piece], "content": "a"}));
    let block = |id: Value, data: &str| json!({"type": "reasoning.encrypted", "index": 0, "id": id, "data": data});
    let answer = answer(&[
        piece(block(json!("r1"), "a")),
        piece(block(json!("r2"), "b")),
        piece(block(Value::Null, "c")),
        piece(block(json!("r1"), "d")),
        delta(json!({"reasoning_details": "thoughts"})),
    ]);
    assert_eq!(
        answer.provider_data.unwrap(),
        json!({"reasoning_details": [block(json!("r1"), "ad"), block(json!("r2"), "bc")]})
    );
}

#[test]
fn what_a_provider_wants_back_is_kept() {
    let signed = json!({"google": {"thought_signature": "s"}});
    let answer = answer(&[
        delta(json!({"reasoning_content": "h"})),
        delta(json!({"reasoning_content": "m", "extra_content": {"google": {"thought": true}}})),
        delta(json!({"content": "a", "extra_content": signed})),
        delta(
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "x", "arguments": "{}"}}]}),
        ),
        delta(
            json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "x", "arguments": "{}"}, "extra_content": signed}]}),
        ),
    ]);
    assert_eq!(
        answer.provider_data.unwrap(),
        json!({
            "reasoning_content": "hm",
            "extra_content": [null, signed],
            "extra_content_message": {"google": {"thought": true, "thought_signature": "s"}},
        })
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

#[test]
fn a_chunk_that_is_a_piece_and_a_message_at_once_ends_nothing() {
    let chunk = |text: &str| {
        json!({"object": "chat.completion", "choices": [{"finish_reason": null,
            "message": {"content": text}, "delta": {"content": text}}]})
    };
    let (text, answer) = decode(&[stream(&[chunk("Fin"), chunk("ding")]).as_bytes()]);
    assert_eq!(text.concat(), "Finding");
    assert_eq!(answer.unwrap().finish_reason, FinishReason::Stop);
}

#[test]
fn calls_that_come_with_the_reason_of_the_end_are_all_taken_and_none_twice() {
    let ended = |id: &str, arguments: &str| {
        let call = json!({"id": id, "function": {"name": "f", "arguments": arguments}});
        json!({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    };
    let found = answer(&[ended("", "{\"c\":1}"), ended("", "{\"c\":2}")]).tool_calls;
    let arguments: Vec<&str> = found.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, ["{\"c\":1}", "{\"c\":2}"]);
    let again = answer(&[ended("a", "{\"c\":1}"), ended("a", "{\"c\":1}")]).tool_calls;
    assert_eq!(again.len(), 1);
    // The reason stands on each piece of one call.
    let piece = |function: Value| {
        let call = json!({"index": 0, "function": function});
        json!({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    };
    let named = piece(json!({"name": "f"}));
    let found = answer(&[named, piece(json!({"arguments": "{\"c\":1}"}))]).tool_calls;
    assert_eq!(found[0].arguments, "{\"c\":1}");
}
