//! Ollama's own API, as its server speaks it: a line of JSON for each piece.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Asked, Part, Step, USAGE, text_of};

/// What it says of its models, unless a test says otherwise.
pub(super) fn card() -> Value {
    json!({
        "parameters": "stop \"<|eot_id|>\"\ntemperature 0.7",
        "model_info": {"general.architecture": "llama", "llama.context_length": 131_072},
        "capabilities": ["completion", "tools", "thinking", "vision"],
    })
}

/// The lines of a part.
pub(super) fn part(part: &Part) -> Vec<String> {
    let message = match part {
        Part::Text(text) => json!({"role": "assistant", "content": text}),
        Part::Thinking(words) => json!({"role": "assistant", "content": "", "thinking": words}),
        Part::Call { name, pieces, .. } => {
            json!({"role": "assistant", "content": "", "tool_calls": [call(name, pieces)]})
        }
        Part::Comment(_) | Part::Error(..) | Part::Wait(_) | Part::Stall | Part::Cut => {
            return Vec::new();
        }
    };
    vec![line(
        json!({"model": "fake", "message": message, "done": false}),
    )]
}

fn call(name: &str, pieces: &[String]) -> Value {
    let arguments = pieces.concat();
    let arguments: Value = serde_json::from_str(&arguments).unwrap_or_else(|_| json!({}));
    json!({"function": {"name": name, "arguments": arguments}})
}

fn line(value: Value) -> String {
    format!("{value}\n")
}

/// The last line, or a whole answer.
pub(super) fn whole(step: &Step) -> Value {
    let mut text = String::new();
    let mut calls = Vec::new();
    for part in &step.parts {
        match part {
            Part::Text(piece) => text.push_str(piece),
            Part::Call { name, pieces, .. } => calls.push(call(name, pieces)),
            Part::Thinking(_) | Part::Comment(_) | Part::Error(..) => {}
            Part::Wait(_) | Part::Stall | Part::Cut => {}
        }
    }
    let mut end = last(step);
    end["message"] = json!({"role": "assistant", "content": text, "tool_calls": calls});
    end
}

fn last(step: &Step) -> Value {
    let (prompt_tokens, completion_tokens) = step.usage.unwrap_or(USAGE);
    json!({
        "model": "fake", "message": {"role": "assistant", "content": ""},
        "done": true, "done_reason": step.finish.unwrap_or("stop"),
        "total_duration": 1, "prompt_eval_count": prompt_tokens, "eval_count": completion_tokens,
    })
}

/// The lines after the last part.
pub(super) fn end(step: &Step) -> Vec<String> {
    vec![line(last(step))]
}

pub(super) fn error(message: &str) -> String {
    line(json!({"error": message}))
}

/// Checks a request as the templates of models want it.
pub(super) fn check(asked: &Asked) -> Result<(), String> {
    let mut open = VecDeque::new();
    let mut last = "";
    let messages = asked.messages();
    if messages.is_empty() {
        return Err("there are no messages".into());
    }
    if asked.body["options"]["num_ctx"]
        .as_u64()
        .is_none_or(|tokens| tokens == 0)
    {
        return Err("no window is asked for: the server would cut what it likes".into());
    }
    for (number, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        let calls = message["tool_calls"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        if text_of(message).trim().is_empty() && calls.is_empty() && message["images"].is_null() {
            return Err(format!("message {number} ({role}) is empty"));
        }
        let fits = match role {
            "system" => number == 0,
            "user" => last != "user" && open.is_empty(),
            "assistant" => !matches!(last, "" | "system" | "assistant") && open.is_empty(),
            "tool" => {
                let called = open.pop_front();
                called.is_some() && called == message["tool_name"].as_str()
            }
            _ => false,
        };
        if !fits {
            return Err(format!(
                "message {number} ({role}) cannot follow {last:?} with {open:?}"
            ));
        }
        for call in calls {
            let function = &call["function"];
            if !function["arguments"].is_object() {
                return Err("arguments that are no object".into());
            }
            open.push_back(function["name"].as_str().unwrap_or_default());
        }
        last = role;
    }
    match open.is_empty() {
        true => Ok(()),
        false => Err(format!("calls without results: {open:?}")),
    }
}
