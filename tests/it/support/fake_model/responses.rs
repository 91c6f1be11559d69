//! OpenAI's Responses, as its server speaks it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Asked, Part, Step, USAGE, check_call, event, nothing_open, text_of};

/// The events before the first part.
pub(super) fn begin() -> Vec<String> {
    let response =
        json!({"id": "resp_1", "object": "response", "status": "in_progress", "output": []});
    ["response.created", "response.in_progress"]
        .map(|kind| event(json!({"type": kind, "response": response})))
        .to_vec()
}

/// The events of the part at `at`: texts that follow one another are one message.
pub(super) fn part(step: &Step, at: usize, number: usize) -> Vec<String> {
    let parts = &step.parts;
    let place = items(&parts[..at], number).len();
    let goes_on = |part: Option<&Part>| matches!(part, Some(Part::Text(_)));
    match &parts[at] {
        Part::Text(text) => {
            let is_first = !goes_on(parts[..at].iter().rev().find(says));
            let next = parts[at + 1..].iter().find(|part| says(part) || ends(part));
            let is_last = !goes_on(next) && !next.is_some_and(ends);
            let place = if is_first { place } else { place - 1 };
            let id = format!("msg_{place}");
            let mut events = Vec::new();
            if is_first {
                events.push(item_event("added", place, &json!({
                    "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [],
                })));
                events.push(event(
                    json!({"type": "response.content_part.added", "item_id": id,
                    "output_index": place, "content_index": 0,
                    "part": {"type": "output_text", "text": "", "annotations": []}}),
                ));
            }
            events.push(event(
                json!({"type": "response.output_text.delta", "item_id": id,
                "output_index": place, "content_index": 0, "delta": text, "logprobs": []}),
            ));
            if is_last {
                let item = &items(&parts[..=at], number)[place];
                let text = &item["content"][0]["text"];
                events.push(event(
                    json!({"type": "response.output_text.done", "item_id": id,
                    "output_index": place, "content_index": 0, "text": text}),
                ));
                events.push(event(
                    json!({"type": "response.content_part.done", "item_id": id,
                    "output_index": place, "content_index": 0, "part": item["content"][0]}),
                ));
                events.push(item_event("done", place, item));
            }
            events
        }
        Part::Thinking(_) => {
            let item = &items(&parts[..=at], number)[place];
            let empty = json!({"id": item["id"], "type": "reasoning", "summary": []});
            vec![
                item_event("added", place, &empty),
                item_event("done", place, item),
            ]
        }
        Part::Call { pieces, .. } => {
            let item = &items(&parts[..=at], number)[place];
            let mut open = item.clone();
            open["arguments"] = json!("");
            open["status"] = json!("in_progress");
            let mut events = vec![item_event("added", place, &open)];
            events.extend(pieces.iter().map(|piece| {
                event(json!({"type": "response.function_call_arguments.delta",
                    "item_id": item["id"], "output_index": place, "delta": piece}))
            }));
            events.push(event(
                json!({"type": "response.function_call_arguments.done",
                "item_id": item["id"], "output_index": place, "arguments": item["arguments"]}),
            ));
            events.push(item_event("done", place, item));
            events
        }
        Part::Comment(_) | Part::Error(..) | Part::Wait(_) | Part::Stall | Part::Cut => Vec::new(),
    }
}

fn item_event(what: &str, place: usize, item: &Value) -> String {
    event(
        json!({"type": format!("response.output_item.{what}"), "output_index": place, "item": item}),
    )
}

fn says(part: &&Part) -> bool {
    matches!(part, Part::Text(_) | Part::Thinking(_) | Part::Call { .. })
}

fn ends(part: &Part) -> bool {
    matches!(part, Part::Cut | Part::Error(..))
}

/// The items of an answer of these parts.
fn items(parts: &[Part], number: usize) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for part in parts {
        let place = items.len();
        match part {
            Part::Text(text) => match items.last_mut() {
                Some(last) if last["type"] == "message" => {
                    let known = last["content"][0]["text"].as_str().unwrap().to_owned();
                    last["content"][0]["text"] = json!(known + text);
                }
                _ => items.push(json!({
                    "id": format!("msg_{place}"), "type": "message", "status": "completed",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": text, "annotations": []}],
                })),
            },
            Part::Thinking(words) => items.push(json!({
                "id": format!("rs_{number}_{place}"), "type": "reasoning", "summary": [],
                "encrypted_content": format!("sealed:{words}"),
            })),
            Part::Call { id, name, pieces } => items.push(json!({
                "id": format!("fc_{place}"), "type": "function_call", "status": "completed",
                "call_id": format!("{id}_{number}"), "name": name, "arguments": pieces.concat(),
            })),
            Part::Comment(_) | Part::Error(..) | Part::Wait(_) | Part::Stall | Part::Cut => {}
        }
    }
    items
}

/// The last event, or a whole answer.
pub(super) fn whole(step: &Step, number: usize) -> Value {
    let (prompt_tokens, completion_tokens) = step.usage.unwrap_or(USAGE);
    let status = if step.finish.is_some() {
        "incomplete"
    } else {
        "completed"
    };
    json!({
        "id": "resp_1", "object": "response", "status": status, "error": null,
        "incomplete_details": step.finish.map(|reason| json!({"reason": reason})),
        "output": items(&step.parts, number), "store": false,
        "usage": {
            "input_tokens": prompt_tokens, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion_tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt_tokens + completion_tokens,
        },
    })
}

/// The events after the last part.
pub(super) fn end(step: &Step, number: usize) -> Vec<String> {
    let response = whole(step, number);
    let kind = format!("response.{}", response["status"].as_str().unwrap());
    vec![event(json!({"type": kind, "response": response}))]
}

pub(super) fn error(status: u16, message: &str) -> String {
    let code = match status {
        429 => "rate_limit_exceeded",
        _ => "server_error",
    };
    event(json!({"type": "error", "code": code, "message": message, "param": null}))
}

/// What a request may hold.
const MEMBERS: &[&str] = &[
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "model",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "service_tier",
    "store",
    "stream",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
];

/// Checks a request as OpenAI does.
pub(super) fn check(asked: &Asked) -> Result<(), String> {
    let body = asked.body.as_object().ok_or("the request is no object")?;
    if let Some(unknown) = body.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
        return Err(format!("Unknown parameter: '{unknown}'."));
    }
    let input = body["input"].as_array().ok_or("the input is no list")?;
    if input.is_empty() {
        return Err("the input is empty".into());
    }
    let mut open = BTreeSet::new();
    let mut after_thoughts = false;
    for (number, item) in input.iter().enumerate() {
        let kind = item["type"].as_str().unwrap_or("message");
        if after_thoughts
            && !matches!(kind, "reasoning" | "function_call")
            && item["role"] != "assistant"
        {
            return Err(format!(
                "item {number}: a reasoning item without what followed it"
            ));
        }
        after_thoughts = kind == "reasoning";
        match kind {
            "message" if text_of(item).trim().is_empty() && !has_files(item) => {
                return Err(format!("item {number} is empty"));
            }
            "message" => nothing_open(&open)?,
            "reasoning" if item["encrypted_content"].as_str().is_none_or(str::is_empty) => {
                return Err(format!("Item with id '{}' not found.", item["id"]));
            }
            "reasoning"
                if !item["summary"].is_array()
                    || item.get("id").is_some_and(|id| !id.is_string()) =>
            {
                return Err(format!("item {number}: not a reasoning item"));
            }
            "reasoning" => {}
            "function_call" => {
                let text = |key: &str| item[key].as_str().unwrap_or_default();
                check_call(text("call_id"), text("name"), &mut open)?;
                if !item["arguments"].is_string() {
                    return Err("the arguments are no text".into());
                }
            }
            "function_call_output" => {
                let id = item["call_id"].as_str().unwrap_or_default();
                if !open.remove(id) {
                    return Err(format!("No tool call found for function call output {id}."));
                }
                if item["output"]
                    .as_str()
                    .is_none_or(|text| text.trim().is_empty())
                {
                    return Err("an output is empty".into());
                }
            }
            other => return Err(format!("an item of type {other:?}")),
        }
    }
    if after_thoughts {
        return Err("a reasoning item without what followed it".into());
    }
    nothing_open(&open)
}

fn has_files(item: &Value) -> bool {
    let mut parts = item["content"].as_array().into_iter().flatten();
    parts.any(|part| part["type"] != "input_text")
}
