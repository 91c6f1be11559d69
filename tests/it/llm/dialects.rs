//! What servers of OpenAI's Responses and Ollama's send, and what goes back with the next call. What all four
//! dialects have in common stands in `comes` and `retries`.

use super::comes::{ERRORS, calls_in, chunked, next_at};
use super::*;

/// A stream of Responses.
fn events(list: &[Value]) -> String {
    let event = |event: &Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        format!("event: {kind}\ndata: {event}\n\n")
    };
    list.iter().map(event).collect()
}

/// A stream of Ollama's.
fn lines(list: &[Value]) -> String {
    list.iter().map(|line| format!("{line}\n")).collect()
}

fn delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": text})
}

fn item(what: &str, place: Value, item: Value) -> Value {
    json!({"type": format!("response.output_item.{what}"), "output_index": place, "item": item})
}

fn added(place: Value, one: Value) -> Value {
    item("added", place, one)
}

fn done(place: Value, one: Value) -> Value {
    item("done", place, one)
}

/// An end, by its status.
fn ended(status: &str, mut response: Value) -> Value {
    response["status"] = json!(status);
    json!({"type": format!("response.{status}"), "response": response})
}

fn completed() -> Value {
    ended("completed", json!({"error": null, "output": []}))
}

fn incomplete(reason: &str) -> Value {
    ended(
        "incomplete",
        json!({"incomplete_details": {"reason": reason}}),
    )
}

fn line(message: Value) -> Value {
    json!({"model": "m1", "message": message, "done": false})
}

fn content(text: &str) -> Value {
    line(json!({"role": "assistant", "content": text}))
}

fn last(word: &str) -> Value {
    json!({"model": "m1", "message": {"content": ""}, "done": true, "done_reason": word})
}

/// What comes of a stream.
fn answered(place: &Place, body: impl Into<Vec<u8>>) -> (FakeModel, ModelReply, Heard) {
    let fake = FakeModel::start();
    fake.reply(chunked("text/event-stream", body));
    let (result, heard) = ask_at(place, &fake);
    (fake, result.unwrap(), heard)
}

/// The next call's request holds these calls of `x`, each with its result.
fn brings_back(place: &Place, body: &str, expected: &[Value]) {
    let (fake, reply, _heard) = answered(place, body);
    assert_eq!(reply.finish_reason, FinishReason::ToolCalls, "{body}");
    assert_eq!(reply.cut_calls, [0; 0], "{body}");
    let back = calls_in(&next_at(place, &fake, reply, ""));
    let expected = expected.iter().map(|one| ("x".to_owned(), one.clone()));
    assert_eq!(back, expected.collect::<Vec<_>>(), "{body}");
}

#[test]
fn calls_of_responses_stay_separate_and_none_is_merged() {
    let (one, two) = (json!({"a": 1}), json!({"a": 2}));
    let (a, b) = (one.to_string(), two.to_string());
    let (begun, rest) = a.split_at(3);
    // `null` is left out: an id or a place that is not there.
    let bare = |mut value: Value| {
        let members = value.as_object_mut().unwrap();
        members.retain(|_, member| !member.is_null());
        value
    };
    let call = |item_id: Value, call_id: Value, arguments: Value| {
        bare(
            json!({"type": "function_call", "id": item_id, "call_id": call_id, "name": "x", "arguments": arguments}),
        )
    };
    let more = |place: Value, item_id: Value, text: &str| {
        bare(
            json!({"type": "response.function_call_arguments.delta", "output_index": place, "item_id": item_id, "delta": text}),
        )
    };
    let all = |place: Value, item_id: Value, text: &str| {
        bare(
            json!({"type": "response.function_call_arguments.done", "output_index": place, "item_id": item_id, "arguments": text}),
        )
    };
    let nothing = || Value::Null;
    let output = json!([
        call(json!("f"), json!("i"), json!(a)),
        call(json!("g"), json!("j"), json!(b))
    ]);
    let with_output = ended("completed", json!({ "output": output }));
    let by_turns = |first: Value, second: Value| {
        vec![
            added(first.clone(), call(nothing(), json!("i"), json!(""))),
            added(second.clone(), call(nothing(), json!("j"), nothing())),
            more(first.clone(), nothing(), begun),
            more(second.clone(), nothing(), &b),
            more(first.clone(), nothing(), rest),
            done(first, call(nothing(), json!("i"), nothing())),
            done(second, call(nothing(), json!("j"), json!(""))),
            completed(),
        ]
    };
    for list in [
        // Places as texts and with fractions.
        by_turns(json!("0"), json!("1")),
        by_turns(json!(0.0), json!(1.0)),
        // No place: told apart by the ids of items.
        vec![
            added(nothing(), call(json!("f"), json!("i"), json!(""))),
            added(nothing(), call(json!("g"), json!("j"), json!(""))),
            more(nothing(), json!("f"), begun),
            more(nothing(), json!("g"), &b),
            more(nothing(), json!("f"), rest),
            completed(),
        ],
        // Always 0, one after the other, with ids and with none.
        vec![
            added(json!(0), call(nothing(), json!("i"), json!(""))),
            more(json!(0), nothing(), &a),
            added(json!(0), call(nothing(), json!("j"), json!(""))),
            more(json!(0), nothing(), begun),
            more(json!(0), nothing(), &b[3..]),
            completed(),
        ],
        vec![
            done(json!(0), call(nothing(), nothing(), json!(a))),
            done(json!(0), call(nothing(), nothing(), json!(b))),
            completed(),
        ],
        vec![
            done(json!(0), call(json!(""), json!(""), one.clone())),
            done(json!(0), call(json!(""), json!(""), two.clone())),
            completed(),
        ],
        // One id for all.
        vec![
            added(nothing(), call(nothing(), json!("i"), json!(""))),
            more(nothing(), nothing(), &a),
            added(nothing(), call(nothing(), json!("i"), json!(""))),
            more(nothing(), nothing(), &b),
            completed(),
        ],
        vec![
            done(nothing(), call(nothing(), json!("i"), json!(a))),
            done(nothing(), call(nothing(), json!("i"), json!(b))),
            completed(),
        ],
        // Begun with each piece; ids that change from event to event.
        vec![
            added(json!(0), call(json!("f"), json!("i"), json!(""))),
            more(json!(0), json!("f2"), begun),
            added(json!(0), call(json!("f3"), json!("i"), json!(""))),
            more(json!(0), json!("f4"), rest),
            done(json!(0), call(json!("f5"), json!("i"), json!(a))),
            done(json!(1), call(json!("g"), json!("j"), json!(b))),
            completed(),
        ],
        // The id comes late, or only once.
        vec![
            added(json!(0), call(json!("f"), nothing(), nothing())),
            done(json!(0), call(json!("f"), json!("i"), json!(a))),
            added(json!(1), call(json!("g"), json!("j"), nothing())),
            done(json!(1), call(json!("g"), nothing(), json!(b))),
            completed(),
        ],
        // Arguments in the event that ends them, at the end of all, and nowhere else; an object.
        vec![
            added(json!(0), call(json!("f"), json!("i"), json!(""))),
            all(json!(0), json!("f"), &a),
            added(json!(1), call(json!("g"), json!("j"), two.clone())),
            completed(),
        ],
        vec![
            added(json!(0), call(json!("f"), json!("i"), json!(""))),
            more(json!(0), json!("f"), begun),
            added(json!(1), call(json!("g"), json!("j"), json!(""))),
            with_output.clone(),
        ],
        vec![
            delta("so"),
            done(
                json!(0),
                json!({"type": "message", "content": [{"type": "output_text", "text": "so"}]}),
            ),
            with_output.clone(),
        ],
        vec![delta("so"), with_output.clone()],
        vec![with_output.clone()],
        // Told twice.
        vec![
            done(json!(0), output[0].clone()),
            done(json!(1), output[1].clone()),
            done(json!(0), output[0].clone()),
            done(json!(1), output[1].clone()),
            with_output.clone(),
        ],
        vec![
            done(nothing(), call(nothing(), json!("i"), json!(a))),
            done(nothing(), call(nothing(), json!("i"), json!(a))),
            done(nothing(), call(nothing(), json!("j"), json!(b))),
            completed(),
        ],
    ] {
        brings_back(&RESPONSES, &events(&list), &[one.clone(), two.clone()]);
    }
}

#[test]
fn calls_of_ollama_stay_separate_and_none_is_merged() {
    let (one, two) = (json!({"a": 1}), json!({"a": 2}));
    let call = |arguments: &Value| json!({"function": {"name": "x", "arguments": arguments}});
    let with = |more: Value, arguments: &Value| {
        let mut call = call(arguments);
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call
    };
    let calls = |list: Value| line(json!({"role": "assistant", "content": "", "tool_calls": list}));
    let end = || last("stop");
    for list in [
        vec![calls(json!([call(&one), call(&two)])), end()],
        vec![
            calls(json!([call(&one)])),
            calls(json!([call(&two)])),
            end(),
        ],
        // Texts; texts in texts; one call in place of a list, and what is none beside them.
        vec![
            calls(json!([call(&json!(one.to_string())), call(&two)])),
            end(),
        ],
        vec![
            calls(json!([
                call(&json!(json!(one.to_string()).to_string())),
                call(&two)
            ])),
            end(),
        ],
        vec![calls(call(&one)), calls(call(&two)), end()],
        vec![
            calls(json!([null, call(&one), false, {}, call(&two), "x"])),
            end(),
        ],
        // Ids and places that are the same, odd, or none.
        vec![
            calls(json!([
                with(json!({"id": "i"}), &one),
                with(json!({"id": "i"}), &two)
            ])),
            end(),
        ],
        vec![
            calls(json!([
                with(json!({"id": null, "index": "0"}), &one),
                with(json!({"id": 7, "index": 0.0}), &two)
            ])),
            end(),
        ],
        // With the last line, and that twice.
        vec![
            json!({"message": {"content": "", "tool_calls": [call(&one), call(&two)]}, "done": true, "done_reason": "stop"}),
            json!({"message": {"content": "", "tool_calls": [call(&one), call(&two)]}, "done": true, "done_reason": "stop"}),
        ],
    ] {
        brings_back(&LOCAL, &lines(&list), &[one.clone(), two.clone()]);
    }
}

#[test]
fn calls_without_arguments_have_an_empty_object() {
    for arguments in [
        Value::Null,
        json!(""),
        json!(" "),
        json!("null"),
        json!({}),
        json!("{}"),
        json!(false),
    ] {
        let call = json!({"type": "function_call", "name": "x", "arguments": arguments});
        let of_responses = events(&[
            done(json!(0), call.clone()),
            done(json!(1), call.clone()),
            completed(),
        ]);
        let whole =
            json!({"object": "response", "status": "completed", "output": [call.clone(), call]});
        let call = json!({"function": {"name": "x", "arguments": arguments}});
        let of_ollama = lines(&[line(json!({"tool_calls": [call, call]})), last("stop")]);
        let expected = [json!({}), json!({})];
        brings_back(&RESPONSES, &of_responses, &expected);
        brings_back(&RESPONSES, &whole.to_string(), &expected);
        brings_back(&LOCAL, &of_ollama, &expected);
    }
}

#[test]
fn odd_types_in_what_nobody_needs_end_nothing() {
    for odd in [
        Value::Null,
        json!([1]),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!(false),
        json!({"input_tokens": -3, "output_tokens": [1], "total_tokens": 0.5}),
    ] {
        let list = [
            json!({"type": "response.created", "response": odd, "sequence_number": odd}),
            json!({"type": "response.output_item.added", "output_index": odd, "item": odd}),
            json!({"type": "response.content_part.added", "part": odd, "item_id": odd}),
            json!({"type": "response.output_text.delta", "delta": "a", "logprobs": odd, "item_id": odd,
                "output_index": odd, "arguments": odd, "error": false}),
            json!({"type": "response.output_text.annotation.added", "annotation": odd}),
            json!({"type": "response.invented", "delta": odd}),
            json!({"type": "keepalive", "sequence_number": odd}),
            done(
                odd.clone(),
                json!({"type": "message", "id": odd, "status": odd, "role": odd,
                "content": [{"type": "output_text", "text": "a", "annotations": odd}]}),
            ),
            done(
                odd.clone(),
                json!({"type": "reasoning", "id": "r", "summary": odd, "content": odd}),
            ),
            ended(
                "completed",
                json!({"usage": odd, "output": odd, "incomplete_details": odd, "metadata": odd}),
            ),
        ];
        let of_responses =
            events(&list) + "data: \n\ndata:\n\ndata: 7\n\n: ping\n\ndata:  [DONE] \n\n";
        let list = [
            json!({"message": odd, "created_at": odd, "done": false}),
            json!({"message": {"content": "a", "thinking": false, "role": odd, "images": odd, "tool_calls": false},
                "done": odd, "total_duration": odd, "context": odd, "error": false}),
            json!({"done": odd, "model": odd}),
            json!({"message": odd, "done": true, "done_reason": "stop", "prompt_eval_count": odd,
                "eval_count": odd, "load_duration": odd}),
        ];
        let of_ollama = lines(&list);
        for (place, body) in [(RESPONSES, of_responses), (LOCAL, of_ollama)] {
            let (fake, reply, heard) = answered(&place, body);
            assert_eq!((heard.text.as_str(), heard.codes()), ("a", vec![]), "{odd}");
            assert_eq!(
                (reply.usage, reply.finish_reason, &reply.provider_data),
                (None, FinishReason::Stop, &None),
                "{odd}"
            );
            assert_eq!(fake.request_count(), 1);
            next_at(&place, &fake, reply, "a");
        }
    }
}

#[test]
fn an_error_inside_an_answer_is_one_in_the_providers_words() {
    const SSE: &str = "text/event-stream";
    let of_responses = [
        (
            SSE,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"the words\"}}}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"response.failed\",\"error\":{\"message\":\"the words\"}}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"response.failed\",\"response\":{\"error\":null,\"message\":\"the words\"}}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"response.failed\",\"response\":null,\"message\":\"the words\"}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"error\":{\"message\":\"the words\"}}}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"response.created\",\"response\":{}}\n\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"the words\",\"param\":null}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"response.in_progress\",\"error\":{\"message\":\"the words\"}}\n\n",
        ),
        (
            SSE,
            "data: {\"object\":\"error\",\"type\":\"BadGateway\",\"message\":\"the words\",\"code\":502}\n\n",
        ),
        (
            SSE,
            "data: {\"type\":\"server_error\",\"message\":\"the words\"}\n\n",
        ),
        (
            "application/json",
            "{\"object\":\"response\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"the words\"},\"output\":[]}",
        ),
    ];
    let of_ollama = [
        (
            "application/x-ndjson",
            "{\"error\":\"the words\",\"done\":true}\n",
        ),
        (
            "application/x-ndjson",
            "{\"message\":{\"content\":\"\"},\"done\":false}\n{\"error\":\"the words\"}\n",
        ),
        (
            SSE,
            "data: {\"message\":{\"content\":\"\"},\"error\":\"the words\"}\n\n",
        ),
        (
            "application/x-ndjson",
            "{\"message\":{\"content\":\"\"},\"done\":true,\"error\":\"the words\"}\n",
        ),
    ];
    let everywhere = ERRORS
        .iter()
        .flat_map(|case| [(RESPONSES, case), (LOCAL, case)]);
    let cases = everywhere
        .chain(of_responses.iter().map(|case| (RESPONSES, case)))
        .chain(of_ollama.iter().map(|case| (LOCAL, case)));
    for (place, (content_type, body)) in cases {
        let fake = FakeModel::start();
        fake.reply(chunked(content_type, *body)).then(text("now"));
        let (result, heard) = ask_at(&place, &fake);
        assert!(result.is_ok(), "{place:?} {body} {result:?}");
        assert_eq!(
            (heard.text.as_str(), heard.codes()),
            ("now", vec!["retry"]),
            "{place:?} {body}"
        );
        assert!(
            heard.notices[0].1.contains("the words"),
            "{place:?} {body} {:?}",
            heard.notices
        );
        let asked = fake.requests();
        assert_eq!((asked.len(), &asked[0].text), (2, &asked[1].text));
    }
}

#[test]
fn an_error_after_some_words_is_told_and_they_are_kept() {
    let so = events(&[delta("so ")]);
    let of_ollama = lines(&[content("so ")]);
    for (place, body) in [
        (
            RESPONSES,
            format!("{so}event: error\ndata: {{\"type\":\"error\",\"message\":\"the words\"}}\n\n"),
        ),
        (
            RESPONSES,
            format!(
                "{so}data: {{\"type\":\"response.failed\",\"response\":{{\"error\":{{\"message\":\"the words\"}}}}}}\n\n"
            ),
        ),
        (
            RESPONSES,
            format!("{so}data: {{\"error\":{{\"message\":\"the words\"}}}}\n\n"),
        ),
        (RESPONSES, format!("{so}{{\"error\":\"the words\"}}\n")),
        (LOCAL, format!("{of_ollama}{{\"error\":\"the words\"}}\n")),
        (
            LOCAL,
            format!("{of_ollama}{{\"error\":{{\"message\":\"the words\"}}}}\n"),
        ),
        (
            LOCAL,
            format!("{of_ollama}event: error\ndata: the words\n\n"),
        ),
    ] {
        let fake = FakeModel::start();
        fake.reply(chunked("text/plain", body.as_str()));
        let (result, heard) = ask_at(&place, &fake);
        let Err(LlmError::MidStream { message, .. }) = &result else {
            panic!("{body} {result:?}");
        };
        assert_eq!(
            (message.as_str(), heard.text.as_str()),
            ("the words", "so "),
            "{body}"
        );
        assert_eq!(fake.request_count(), 1);
    }
}

#[test]
fn an_end_with_nothing_before_it_is_no_answer() {
    for (place, body) in [
        (RESPONSES, "data: [DONE]\n\n".to_owned()),
        (
            RESPONSES,
            events(&[json!({"type": "response.created", "response": {"status": "in_progress"}})]),
        ),
        (RESPONSES, String::new()),
        (RESPONSES, ": WAIT\n\n".to_owned()),
        (
            RESPONSES,
            "{\"object\":\"response\",\"status\":\"queued\",\"output\":[]}".to_owned(),
        ),
        (LOCAL, String::new()),
        (LOCAL, "data: [DONE]\n\n".to_owned()),
        (LOCAL, lines(&[content("")])),
        (LOCAL, lines(&[last("load")])),
        (LOCAL, lines(&[last("unload")])),
    ] {
        let fake = FakeModel::start();
        fake.reply(chunked("text/event-stream", body.clone()))
            .then(text("now"));
        let (result, heard) = ask_at(&place, &fake);
        assert!(result.is_ok(), "{body} {result:?}");
        assert_eq!(
            (heard.text.as_str(), heard.codes()),
            ("now", vec!["retry"]),
            "{place:?} {body}"
        );
        let asked = fake.requests();
        assert_eq!(asked[0].text, asked[1].text);
    }
}

#[test]
fn an_answer_is_told_by_its_first_bytes() {
    let message = json!({"type": "message", "role": "assistant",
        "content": [{"type": "output_text", "text": "hi", "annotations": []}]});
    let whole =
        json!({"id": "r", "object": "response", "status": "completed", "output": [message]});
    let list = [delta("hi"), done(json!(0), message), completed()];
    let whole_line = json!({"message": {"content": "hi"}, "done": true, "done_reason": "stop"});
    let of_ollama = [content("hi"), last("stop")];
    let as_events = of_ollama.iter().map(|line| format!("data: {line}\n\n"));
    for content_type in [
        "application/json",
        "text/plain",
        "text/html",
        "text/event-stream",
        "application/x-ndjson",
    ] {
        for (place, body) in [
            (RESPONSES, events(&list)),
            (RESPONSES, lines(&list)),
            (RESPONSES, whole.to_string()),
            (RESPONSES, format!("\u{FEFF}\n \n{whole:#}")),
            (LOCAL, lines(&of_ollama)),
            (LOCAL, as_events.clone().collect()),
            (
                LOCAL,
                as_events.clone().collect::<String>() + "data: [DONE]\n\n",
            ),
            (LOCAL, format!("\n{whole_line:#}")),
        ] {
            let fake = FakeModel::start();
            fake.reply(chunked(content_type, body.clone()));
            let (result, heard) = ask_at(&place, &fake);
            let reply = result.unwrap();
            assert_eq!(reply.finish_reason, FinishReason::Stop);
            assert_eq!(
                (heard.text.as_str(), heard.codes()),
                ("hi", vec![]),
                "{content_type} {body}"
            );
            let asked = next_at(&place, &fake, reply, "hi");
            assert!(asked.text.contains("\"content\":\"hi\""), "{}", asked.text);
        }
    }
}

#[test]
fn an_empty_answer_is_told_with_its_reason() {
    use FinishReason::{Length, Stop};
    let thought = || json!({"type": "reasoning", "id": "r", "summary": []});
    let refused = json!({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]});
    let thinks = line(json!({"content": "", "thinking": "hm"}));
    for (place, body, said, code, words, finish_reason) in [
        (
            RESPONSES,
            events(&[completed()]),
            "",
            "empty_reply",
            "said nothing",
            Stop,
        ),
        (
            RESPONSES,
            events(&[done(json!(0), thought()), completed()]),
            "",
            "empty_reply",
            "has thought",
            Stop,
        ),
        (
            RESPONSES,
            events(&[ended("completed", json!({"output": [thought()]}))]),
            "",
            "empty_reply",
            "has thought",
            Stop,
        ),
        // Cut while it thought.
        (
            RESPONSES,
            events(&[added(json!(0), thought()), incomplete("max_output_tokens")]),
            "",
            "empty_reply",
            "on reasoning",
            Length,
        ),
        (
            RESPONSES,
            events(&[
                json!({"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
                json!({"type": "response.incomplete", "response": {}}),
            ]),
            "",
            "empty_reply",
            "on reasoning",
            Length,
        ),
        (
            RESPONSES,
            events(&[incomplete("content_filter")]),
            "",
            "content_filter",
            "filter",
            Stop,
        ),
        (
            RESPONSES,
            events(&[delta("so"), incomplete("content_filter")]),
            "so",
            "content_filter",
            "filter",
            Stop,
        ),
        (
            RESPONSES,
            events(&[
                json!({"type": "response.refusal.delta", "delta": "no"}),
                completed(),
            ]),
            "no",
            "refused",
            "refused",
            Stop,
        ),
        (
            RESPONSES,
            events(&[done(json!(0), refused.clone()), completed()]),
            "no",
            "refused",
            "refused",
            Stop,
        ),
        (
            RESPONSES,
            json!({"status": "completed", "output": [refused]}).to_string(),
            "no",
            "refused",
            "refused",
            Stop,
        ),
        (
            LOCAL,
            lines(&[last("stop")]),
            "",
            "empty_reply",
            "said nothing (`stop`)",
            Stop,
        ),
        (
            LOCAL,
            lines(&[thinks.clone(), last("stop")]),
            "",
            "empty_reply",
            "has thought",
            Stop,
        ),
        (
            LOCAL,
            lines(&[thinks, last("length")]),
            "",
            "empty_reply",
            "on reasoning",
            Length,
        ),
        (
            LOCAL,
            lines(&[content("so"), last("content_filter")]),
            "so",
            "content_filter",
            "filter",
            Stop,
        ),
    ] {
        let (_fake, reply, heard) = answered(&place, body.clone());
        assert_eq!(
            (heard.text.as_str(), heard.codes()),
            (said, vec![code]),
            "{body}"
        );
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
    let call = |number: u64, arguments: &str, status: Value| {
        json!({"type": "function_call", "id": format!("f{number}"), "call_id": format!("c{number}"),
            "name": "x", "arguments": arguments, "status": status})
    };
    let begun = |number: u64, arguments: &str| {
        vec![
            added(json!(number), call(number, "", json!("in_progress"))),
            json!({"type": "response.function_call_arguments.delta", "output_index": number, "delta": arguments}),
        ]
    };
    let whole = || {
        let first = done(json!(0), call(0, "{\"a\":1}", json!("completed")));
        [begun(0, "{\"a\":1}"), vec![first]].concat()
    };
    let end = || vec![incomplete("max_output_tokens")];
    let document = |status: Value| {
        let output = json!([
            call(0, "{\"a\":1}", json!("completed")),
            call(1, "{\"a\":", status)
        ]);
        json!({"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": output})
    };
    let of_ollama = |arguments: Value| {
        let call = |arguments: &Value| json!({"function": {"name": "x", "arguments": arguments}});
        let calls = json!([call(&json!({"a": 1})), call(&arguments)]);
        lines(&[
            line(json!({"content": "", "tool_calls": calls})),
            last("length"),
        ])
    };
    for (place, body, cut) in [
        (
            RESPONSES,
            events(&[whole(), begun(1, "{\"a\":"), end()].concat()),
            vec![1],
        ),
        (
            RESPONSES,
            events(&[whole(), begun(1, ""), end()].concat()),
            vec![1],
        ),
        (
            RESPONSES,
            events(
                &[
                    whole(),
                    begun(1, "{\"a\":"),
                    vec![done(json!(1), call(1, "{\"a\":", json!("incomplete")))],
                    end(),
                ]
                .concat(),
            ),
            vec![1],
        ),
        // Some call half an item whole.
        (
            RESPONSES,
            events(
                &[
                    whole(),
                    begun(1, "{\"a\":"),
                    vec![done(json!(1), call(1, "{\"a\":", json!(null)))],
                    end(),
                ]
                .concat(),
            ),
            vec![1],
        ),
        (
            RESPONSES,
            events(
                &[
                    whole(),
                    begun(1, "{}"),
                    vec![done(json!(1), call(1, "{}", json!("completed")))],
                    end(),
                ]
                .concat(),
            ),
            vec![],
        ),
        (
            RESPONSES,
            document(json!("incomplete")).to_string(),
            vec![1],
        ),
        (RESPONSES, document(json!("completed")).to_string(), vec![1]),
        (LOCAL, of_ollama(json!("{\"a\":")), vec![1]),
        (LOCAL, of_ollama(json!({"a": 2})), vec![]),
    ] {
        let (_fake, reply, _heard) = answered(&place, body.clone());
        assert_eq!(
            (reply.finish_reason, reply.tool_calls.len()),
            (FinishReason::Length, 2),
            "{body}"
        );
        assert_eq!(reply.cut_calls, cut, "{body}");
    }
    // Without an end nobody knows: it is asked for again, as nothing was shown.
    for (place, body) in [
        (RESPONSES, events(&begun(0, "{\"a\":"))),
        (
            LOCAL,
            lines(&[line(
                json!({"tool_calls": [{"function": {"name": "x", "arguments": {}}}]}),
            )]),
        ),
    ] {
        let fake = FakeModel::start();
        fake.reply(chunked("text/event-stream", body))
            .then(text("now"));
        let (result, heard) = ask_at(&place, &fake);
        assert_eq!(result.unwrap().tool_calls, []);
        assert_eq!((heard.text.as_str(), heard.codes()), ("now", vec!["retry"]));
    }
}

#[test]
fn parts_of_a_character_in_two_events_are_joined() {
    let sealed = json!({"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "s"});
    for (first, second) in [
        (&b"\\ud83e"[..], &b"\\udd80"[..]),
        (b"\\uD83E", b"\\uDD80"),
        (b"\xF0\x9F", b"\xA6\x80"),
        (b"\xF0\x9F\xA6", b"\x80"),
    ] {
        let fill = |event: String, part: &[u8]| {
            let (before, after) = event.split_once('@').unwrap();
            [before.as_bytes(), part, after.as_bytes()].concat()
        };
        let call = || json!({"type": "function_call", "id": "f", "call_id": "i", "name": "x", "arguments": ""});
        let more = |text: &str| {
            events(&[
                json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": text}),
            ])
        };
        let body = [
            events(&[done(json!(0), sealed.clone())]).into_bytes(),
            fill(events(&[delta("a@")]), first),
            fill(events(&[delta("@b")]), second),
            events(&[
                done(
                    json!(1),
                    json!({"type": "message", "id": "m", "content": [{"text": "a🦀b"}]}),
                ),
                added(json!(2), call()),
            ])
            .into_bytes(),
            fill(more("{\"a\":\"@"), first),
            fill(more("@\"}"), second),
            events(&[done(json!(2), call()), completed()]).into_bytes(),
        ];
        let (fake, reply, heard) = answered(&RESPONSES, body.concat());
        assert_eq!(heard.text, "a🦀b");
        let asked = next_at(&RESPONSES, &fake, reply, &heard.text);
        assert_eq!(calls_in(&asked), [("x".to_owned(), json!({"a": "🦀"}))]);
        assert_eq!(asked.messages()[1], sealed, "it counts what it says");

        let thinks = |text: &str| lines(&[line(json!({"content": "", "thinking": text}))]);
        let body = [
            fill(thinks("@"), first),
            fill(thinks("@"), second),
            fill(lines(&[content("a@")]), first),
            fill(lines(&[content("@b")]), second),
            lines(&[last("stop")]).into_bytes(),
        ];
        let (fake, reply, heard) = answered(&LOCAL, body.concat());
        assert_eq!(heard.text, "a🦀b");
        let asked = next_at(&LOCAL, &fake, reply, &heard.text);
        assert_eq!(asked.messages()[2]["thinking"], "🦀");
    }
}

#[test]
fn a_last_event_that_comes_twice_counts_once() {
    let usage = json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2}, "output_tokens_details": {"reasoning_tokens": 1}});
    let message =
        json!({"type": "message", "id": "m", "content": [{"type": "output_text", "text": "ab"}]});
    let end = ended("completed", json!({"usage": usage, "output": [message]}));
    let list = [
        delta("a"),
        delta("b"),
        done(json!(0), message.clone()),
        done(json!(0), message),
        end.clone(),
        end,
    ];
    let (_fake, reply, heard) = answered(&RESPONSES, events(&list));
    assert_eq!(heard.text, "ab");
    let expected = Usage {
        total_tokens: 9,
        cached_tokens: 2,
        reasoning_tokens: 1,
        ..Usage::new(3, 4)
    };
    assert_eq!(reply.usage, Some(expected));

    let end = json!({"message": {"content": "b"}, "done": true, "done_reason": "stop",
        "prompt_eval_count": 3, "eval_count": 4});
    let (_fake, reply, heard) = answered(&LOCAL, lines(&[content("a"), end.clone(), end]));
    assert_eq!(heard.text, "ab");
    assert_eq!(reply.usage, Some(Usage::new(3, 4)));
    // The reason says that it has ended, if nothing else does.
    let end = json!({"message": {"content": "b"}, "done_reason": "stop"});
    let (_fake, reply, heard) = answered(&LOCAL, lines(&[content("a"), end]));
    assert_eq!(
        (heard.text.as_str(), reply.finish_reason),
        ("ab", FinishReason::Stop)
    );
}

#[test]
fn items_go_back_in_the_order_in_which_they_came_and_those_that_cannot_do_not() {
    let thought = |id: &str, sealed: &str| json!({"type": "reasoning", "id": id, "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": sealed});
    let kept = |id: &str| thought(id, "s");
    let says = |text: &str, phase: &str| json!({"type": "message", "id": text, "phase": phase, "content": [{"type": "output_text", "text": text}]});
    let call =
        |id: &str| json!({"type": "function_call", "call_id": id, "name": "x", "arguments": "{}"});
    let sent_text = |text: &str, phase: &str| json!({"type": "message", "role": "assistant", "content": text, "phase": phase});
    for (came, expected) in [
        (
            vec![
                says("so", "commentary"),
                kept("r1"),
                call("i"),
                kept("r2"),
                call("j"),
            ],
            vec![
                sent_text("so", "commentary"),
                kept("r1"),
                call("call-0"),
                kept("r2"),
                call("call-1"),
            ],
        ),
        // Two thoughts in a row; one after the last word, which nothing follows.
        (
            vec![
                kept("r1"),
                kept("r2"),
                says("so", "final_answer"),
                kept("r3"),
            ],
            vec![kept("r1"), kept("r2"), sent_text("so", "final_answer")],
        ),
        // One that has no name.
        (
            vec![
                json!({"type": "reasoning", "id": null, "summary": [], "encrypted_content": "s"}),
                says("so", "final_answer"),
            ],
            vec![
                json!({"type": "reasoning", "summary": [], "encrypted_content": "s"}),
                sent_text("so", "final_answer"),
            ],
        ),
        // Not sealed: it would be looked for where nothing is kept. And kinds that nobody knows.
        (
            vec![
                thought("r1", ""),
                json!({"type": "web_search_call", "id": "w"}),
                says("so", "final_answer"),
            ],
            vec![sent_text("so", "final_answer")],
        ),
    ] {
        let output: Vec<Value> = came.clone();
        let mut list: Vec<Value> = (0..)
            .zip(came)
            .map(|(place, one): (u64, _)| done(json!(place), one))
            .collect();
        list.push(completed());
        for body in [
            events(&list),
            json!({"object": "response", "status": "completed", "output": output}).to_string(),
        ] {
            let (fake, reply, heard) = answered(&RESPONSES, body);
            let asked = next_at(&RESPONSES, &fake, reply, &heard.text);
            let sent = asked.messages()[1..].iter().take(expected.len());
            assert!(sent.eq(&expected), "{:#?}", asked.messages());
        }
    }
}

#[test]
fn too_long_is_understood_wherever_it_is_said() {
    const TOO_LONG: &str = "Your input exceeds the context window of this model.";
    const CODED: &str =
        r#"{"error":{"code":"context_length_exceeded","message":"Please adjust your input."}}"#;
    let failed = json!({"type": "response.failed", "response": {"status": "failed",
        "error": {"code": "context_length_exceeded", "message": "Please adjust your input."}}});
    let told = json!({"type": "error", "code": "context_length_exceeded", "message": TOO_LONG});
    let sse = |event: &Value| raw("text/event-stream", events(std::slice::from_ref(event)));
    let of_ollama = "{\"error\":\"prompt too long; exceeded max context length by 5 tokens\"}";
    for (place, step) in [
        (RESPONSES, error(400, TOO_LONG)),
        (RESPONSES, error(413, "")),
        (RESPONSES, error(400, "").body(CODED)),
        (RESPONSES, sse(&failed)),
        (RESPONSES, sse(&told)),
        (RESPONSES, raw("application/json", told.to_string())),
        (LOCAL, error(400, "").body(of_ollama)),
        (
            LOCAL,
            error(500, "").body("{\"error\":\"the input length exceeds the context length\"}"),
        ),
        (LOCAL, raw("application/x-ndjson", format!("{of_ollama}\n"))),
    ] {
        let fake = FakeModel::start();
        fake.reply(step.clone());
        let (result, heard) = ask_at(&place, &fake);
        assert!(
            matches!(result, Err(LlmError::ContextOverflow { .. })),
            "{step:?} {result:?}"
        );
        assert_eq!((fake.request_count(), heard.codes()), (1, vec![]));
    }
}

#[test]
fn what_an_agent_puts_into_the_request_is_merged_last_and_streams_are_left_out_where_they_are_refused()
 {
    for place in [RESPONSES, LOCAL] {
        let fake = FakeModel::start();
        fake.allow_violations();
        let mut spec = spec_at(&place, &fake);
        let extra = json!({"service_tier": "flex", "stream": true, "options": {"num_gpu": 1}});
        spec.main.settings = ModelSettings {
            stream: Some(false),
            extra_body: extra.as_object().unwrap().clone(),
            ..ModelSettings::default()
        };
        drop(called(
            Providers::new(settings_at(&fake)).model(&spec),
            Heard::default(),
        ));
        let body = &fake.requests()[0].body;
        assert_eq!(
            (&body["service_tier"], &body["stream"]),
            (&json!("flex"), &json!(true))
        );
        assert_eq!(body["options"]["num_gpu"], 1);

        let fake = FakeModel::start();
        fake.reply(text("all at once").whole());
        let mut spec = spec_at(&place, &fake);
        spec.main.settings.stream = Some(false);
        let (result, heard) = called(
            Providers::new(settings_at(&fake)).model(&spec),
            Heard::default(),
        );
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(
            (heard.text.as_str(), &fake.requests()[0].body["stream"]),
            ("all at once", &json!(false))
        );
    }
}
