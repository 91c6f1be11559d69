use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::*;
use crate::domain::event::{FinishReason, Usage};
use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, Provider, ReasoningSettings};
use crate::llm::Request;
use crate::llm::dialect::{AnswerFault, DecodedReply, Decoder, testing};

/// The text and the answer of these lines.
fn answer(lines: &[Value]) -> (String, Result<DecodedReply, AnswerFault>) {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let (text, answer) = testing::decode(OllamaDecoder::default(), &[lines.as_bytes()]);
    (text.concat(), answer)
}

fn card(shown: Value) -> ModelCard {
    let mut decoder = ShowDecoder::default();
    let mut heard = testing::Pieces::default();
    decoder
        .event(b"", shown.to_string().as_bytes(), &mut heard)
        .unwrap();
    decoder.card.unwrap_or_default()
}

fn choice() -> ModelChoice {
    ModelChoice::new(Provider::OLLAMA, "m")
}

fn body(request: &Request, choice: &ModelChoice, card: &ModelCard) -> Result<Value, String> {
    let quirks = choice.quirks(true);
    let asked = testing::asked(choice, "ollama/m", &quirks);
    let body = OllamaBody::new(request, &asked, card)?;
    Ok(serde_json::to_value(body).unwrap())
}

#[test]
fn a_call_begins_as_the_one_before_it_does() {
    let (calls, spec) = testing::growing_conversation(Provider::OLLAMA);
    let quirks = spec.main.quirks(true);
    let asked = testing::asked(&spec.main, "ollama/m", &quirks);
    let card = ModelCard::default();
    let body =
        |call| serde_json::to_string(&OllamaBody::new(call, &asked, &card).unwrap()).unwrap();
    let bodies: Vec<String> = calls.iter().map(body).collect();
    for pair in bodies.windows(2) {
        let (messages, _rest) = pair[0].split_once("],\"tools\"").unwrap();
        assert!(pair[1].starts_with(messages), "{messages}\n{}", pair[1]);
    }
    assert!(
        !bodies[2].contains("\"tools\""),
        "it may call none: {}",
        bodies[2]
    );
}

#[test]
fn a_card_is_read_as_far_as_it_says_something() {
    let shown = json!({
        "parameters": "stop \"num_ctx 9\"\nnum_ctx                        8192",
        "model_info": {"general.architecture": "q", "q.context_length": 32768, "q.x": 1},
        "capabilities": ["completion"],
    });
    let found = card(shown);
    assert_eq!((found.made_for, found.set_to), (Some(32_768), Some(8_192)));
    assert!(found.lacks("tools") && !found.lacks("completion"));
    for odd in [
        json!({}),
        json!({"parameters": 1, "model_info": [], "capabilities": "tools"}),
        json!({"parameters": "num_ctx", "model_info": {"a.context_length": "x"}}),
    ] {
        assert_eq!(card(odd.clone()), ModelCard::default(), "{odd}");
    }
    assert!(!ModelCard::default().lacks("tools"));
    // Words that nobody asks about are not kept.
    let odd = json!({"capabilities": ["x", "tools", 1, "y".repeat(9_000), "tools"]});
    assert_eq!(card(odd), card(json!({"capabilities": ["tools"]})));
}

#[test]
fn the_window_is_the_one_in_use_as_far_as_the_model_has_it() {
    let shown = |made_for: u64, set_to: &str| {
        card(json!({"model_info": {"a.context_length": made_for}, "parameters": set_to}))
    };
    for (used, card, bytes, limit, expected) in [
        (
            Some(24_576),
            ModelCard::default(),
            10,
            None,
            Ok(json!(24_576)),
        ),
        (
            Some(24_576),
            shown(131_072, ""),
            10,
            None,
            Ok(json!(24_576)),
        ),
        (Some(24_576), shown(8_192, ""), 10, None, Ok(json!(8_192))),
        (
            Some(24_576),
            shown(131_072, "num_ctx 4096"),
            10,
            None,
            Ok(json!(4_096)),
        ),
        // An agent's file has the last word.
        (
            Some(24_576),
            shown(131_072, "num_ctx 4096"),
            10,
            Some(20_000),
            Ok(json!(24_576)),
        ),
        // Of a fallback, what it is known to take.
        (
            Some(65_536),
            ModelCard::default(),
            10,
            Some(4_000),
            Ok(json!(8_000)),
        ),
        (
            Some(65_536),
            ModelCard::default(),
            10,
            Some(20_000),
            Ok(json!(28_192)),
        ),
        (
            Some(65_536),
            shown(131_072, ""),
            10,
            None,
            Ok(json!(32_768)),
        ),
        (
            Some(u64::MAX),
            shown(131_072, ""),
            10,
            Some(u64::MAX),
            Ok(json!(131_072)),
        ),
        (None, shown(2_048, ""), 10, None, Ok(json!(2_048))),
        (None, ModelCard::default(), 10, None, Ok(json!(4_096))),
        // A message that is longer than what is in use, and one that is too long.
        (
            Some(4_096),
            shown(131_072, ""),
            40_000,
            None,
            Ok(json!(12_288)),
        ),
        (Some(4_096), shown(8_192, ""), 40_000, None, Err("8192")),
    ] {
        let request = Request {
            messages: vec![Message::User {
                text: "x".repeat(bytes).as_str().into(),
                attachments: Vec::new(),
            }],
            window_tokens: used,
            ..Request::default()
        };
        let mut choice = choice();
        choice.settings.max_input_tokens = limit;
        let found = body(&request, &choice, &card).map(|body| body["options"]["num_ctx"].clone());
        match (found, expected) {
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
        }
    }
}

#[test]
fn an_answer_without_an_end_has_the_window_that_the_model_has() {
    let mut choice = choice();
    choice.settings.max_output_tokens = Some(u64::MAX);
    let card = card(json!({"model_info": {"a.context_length": 8_192}}));
    let request = Request {
        system: "be kind".to_owned(),
        ..Request::default()
    };
    let body = body(&request, &choice, &card).unwrap();
    assert_eq!(body["options"]["num_ctx"], 8_192);
}

#[test]
fn an_effort_is_told_in_its_words_to_models_that_think() {
    let thinks = json!({"capabilities": ["thinking"]});
    for (effort, shown, expected) in [
        ("low", &thinks, json!("low")),
        ("xhigh", &thinks, json!("high")),
        ("none", &thinks, json!(false)),
        ("low", &json!({}), json!("low")),
        ("low", &json!({"capabilities": []}), Value::Null),
    ] {
        let mut choice = choice();
        choice.settings.reasoning = Some(ReasoningSettings {
            effort: Some(effort.to_owned()),
            max_tokens: None,
        });
        let found = body(&Request::default(), &choice, &card(shown.clone())).unwrap();
        assert_eq!(found["think"], expected, "{effort} {shown}");
    }
}

#[test]
fn lines_are_put_together() {
    let said = |message: Value| json!({"message": message, "done": false});
    let call = |arguments: Value| json!({"function": {"name": "date", "arguments": arguments}});
    let (text, reply) = answer(&[
        said(json!({"thinking": "hm ", "content": ""})),
        said(json!({"thinking": "so"})),
        said(json!({"content": "let "})),
        said(
            json!({"content": "me see", "tool_calls": [call(json!({"a": 1})), call(json!("{\"a\":2}"))]}),
        ),
        said(json!({"tool_calls": [call(Value::Null)]})),
        json!({"message": {"content": ""}, "done": true, "done_reason": "stop",
            "prompt_eval_count": 7, "eval_count": 3}),
    ]);
    let reply = reply.unwrap();
    assert_eq!(text, "let me see");
    let arguments: Vec<&str> = reply
        .tool_calls
        .iter()
        .map(|call| call.arguments.as_str())
        .collect();
    assert_eq!(arguments, ["{\"a\":1}", "{\"a\":2}", "{}"]);
    assert_eq!(reply.usage, Some(Usage::new(7, 3)));
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls);
    assert_eq!(
        reply.provider_data,
        Some(json!({"ollama_thinking": "hm so"}))
    );
}

#[test]
fn every_end_has_a_meaning() {
    let end =
        |reason: &str| json!({"message": {"content": ""}, "done": true, "done_reason": reason});
    let text = json!({"message": {"content": "a"}});
    for (lines, expected) in [
        (vec![text.clone(), end("stop")], Ok(FinishReason::Stop)),
        (
            vec![text.clone(), json!({"done": true})],
            Ok(FinishReason::Stop),
        ),
        (vec![text.clone(), end("length")], Ok(FinishReason::Length)),
        (vec![text.clone(), end("unload")], Ok(FinishReason::Stop)),
        (vec![end("load")], Err(AnswerFault::Empty("load".into()))),
        (vec![text.clone()], Err(AnswerFault::Truncated)),
        (vec![], Err(AnswerFault::Truncated)),
    ] {
        let found = answer(&lines).1.map(|reply| reply.finish_reason);
        assert_eq!(found, expected, "{lines:?}");
    }
    let (said, fault) = answer(&[text, json!({"error": "it broke"})]);
    let message = "it broke".to_owned();
    let status = None;
    assert_eq!(said, "a");
    assert_eq!(fault, Err(AnswerFault::Reported { status, message }));
}

#[test]
fn a_card_is_asked_for_beside_the_chat() {
    for (chat, show) in [
        ("http://h:1/api/chat", "http://h:1/api/show"),
        ("https://h/x/api/chat?a=1", "https://h/x/api/show?a=1"),
    ] {
        assert_eq!(show_url(chat), show);
    }
}

/// Lines that say nothing.
const NOISE: &[&str] = &[
    "\n",
    " \r\n",
    ": WAIT\n\n",
    "data:\n\n",
    "data: ping\n\n",
    "{}\n",
    "{\"done\":false}\n",
    "{\"message\":null}\n",
    "{\"type\":\"ping\"}\n",
    "{\"status\":\"loading\"}\n",
];

/// Fields that do not matter, or do not in these types: of the line, of the message.
const FIELDS: [&[&str]; 2] = [
    &[
        "created_at",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "eval_count",
        "context",
        "done_reason",
        "error",
        "usage",
    ],
    &[
        "role",
        "content",
        "thinking",
        "images",
        "tool_name",
        "tool_calls",
        "x",
    ],
];

proptest! {
    #[test]
    fn noise_anywhere_changes_nothing(
        texts in prop::collection::vec("[a-zä🦀\"]{1,4}", 0..4),
        calls in prop::collection::vec("[a-zä\"]{0,6}", 0..3),
        last_text in "[a-z]{0,2}",
        fields in prop::collection::vec((any::<Index>(), 0_usize..2, any::<Index>(), testing::junk()), 0..16),
        noise in prop::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        repeats in 0_usize..3,
        cuts in prop::collection::vec(any::<Index>(), 0..8),
    ) {
        let said = |message: Value| json!({"model": "m", "message": message, "done": false});
        let mut lines = vec![said(json!({"thinking": "hm"}))];
        lines.extend(texts.iter().map(|text| said(json!({"content": text}))));
        lines.extend(calls.iter().map(|text| {
            said(json!({"tool_calls": [{"function": {"name": "x", "arguments": {"text": text}}}]}))
        }));
        lines.push(json!({"message": {"content": last_text}, "done": true, "done_reason": "stop",
            "prompt_eval_count": 3, "eval_count": 4}));
        let clean = answer(&lines);

        let last = lines[lines.len() - 1].clone();
        lines.extend(vec![last; repeats]);
        for (at, level, field, value) in &fields {
            let at = at.index(lines.len());
            let object = match level {
                0 => Some(&mut lines[at]),
                _ => lines[at].pointer_mut("/message"),
            };
            let name = FIELDS[*level][field.index(FIELDS[*level].len())];
            // What ends it is one, and so is an error that says something.
            let matters = match name {
                "error" => crate::llm::dialect::says_something(value),
                "done_reason" => value.is_array() || value.is_object(),
                _ => false,
            };
            if let Some(Value::Object(object)) = object && !matters {
                object.entry(name).or_insert(value.clone());
            }
        }
        let mut lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
        for (at, line) in &noise {
            lines.insert(at.index(lines.len()), NOISE[line.index(NOISE.len())].to_owned());
        }
        let body = lines.concat();
        let pieces = testing::cut_at(body.as_bytes(), &cuts);
        let (text, found) = testing::decode(OllamaDecoder::default(), &pieces);
        prop_assert_eq!((text.concat(), found), clean, "{}", body);
    }

    #[test]
    fn nothing_that_a_server_sends_makes_it_panic(body in "(\\{\"message\":|\\{\"done\":|[{}\\[\\]\":,a-z0-9 \n]){0,60}") {
        let _answer = testing::decode(OllamaDecoder::default(), &[body.as_bytes()]);
    }
}
