//! How an answer is read. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::dialect::{
    AnswerFault, DecodedReply, Decoder, PARTS_MAX, bounded, event_in, fault_in, is_length,
    memory_of, remark_on, reported, says_something,
};
use crate::llm::lenient::{Count, Text};
use crate::llm::{RawToolCall, Sink};

/// The key of an answer's items in a reply's `provider_data`: what it thought, and where what it said and
/// called stood between that.
pub(super) const ITEMS: &str = "items";

/// The state of one answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct ResponsesDecoder {
    /// Items that are whole, in their order; see [`ITEMS`].
    items: Vec<Value>,
    /// The names of those items: some servers tell of one twice.
    told: Vec<String>,
    calls: Vec<StreamedCall>,
    /// What came of the message that is not whole yet.
    message_bytes: usize,
    /// What came of all.
    text_bytes: usize,
    usage: Option<Usage>,
    /// Why it ended, in the provider's word; empty where it was whole.
    ending: Option<String>,
    has_refusal: bool,
    has_thought: bool,
    /// The memory of calls and items, roughly.
    kept_bytes: usize,
    /// `[DONE]`, which OpenAI does not send and others do.
    is_over: bool,
}

/// A call under construction.
#[derive(Debug)]
struct StreamedCall {
    /// By which its pieces name it.
    place: Value,
    call: RawToolCall,
    is_whole: bool,
}

impl Decoder for ResponsesDecoder {
    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if data.trim_ascii() == b"[DONE]" {
            self.is_over = true;
            return Ok(());
        }
        let Some(event) = event_in::<ResponseEvent<'_>>(name, data)? else {
            return Ok(());
        };
        let kind = event.kind.as_ref().map_or("", Text::as_str);
        // The type stands twice; a server may have left it out once.
        let kind = match kind {
            "" => str::from_utf8(name).unwrap_or_default(),
            kind => kind,
        };
        let delta = event.delta.as_ref().map_or("", Text::as_str);
        match kind {
            "response.output_text.delta" => self.say(delta, sink),
            // A refusal is what the model says, in a field of its own.
            "response.refusal.delta" => {
                self.has_refusal = true;
                self.say(delta, sink);
            }
            "response.function_call_arguments.delta" => {
                let call = self.calls.iter_mut().rev();
                let mut open = call.filter(|call| !call.is_whole);
                let named = |call: &&mut StreamedCall| call.place == event.output_index;
                if let Some(call) = open.find(named) {
                    call.call.arguments.push_str(delta);
                    self.kept_bytes += delta.len();
                }
            }
            "response.output_item.added" => {
                let item = &rest_of(data)?["item"];
                if item["type"] == "function_call" {
                    self.begin_call(event.output_index, item, false);
                }
            }
            "response.output_item.done" => {
                self.item(event.output_index, &rest_of(data)?["item"], sink);
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                return self.end(&rest_of(data)?["response"], sink);
            }
            "error" | "" => return self.document(&rest_of(data)?, sink),
            // Beginnings, ends of what has come in pieces, thinking in words, and whatever will be invented.
            _ => {}
        }
        bounded(self.parts())
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn is_done(&self) -> bool {
        self.ending.is_some() || self.is_over
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        let is_empty = self.text_bytes == 0 && self.calls.is_empty();
        let word = match self.ending.take() {
            Some(word) => word,
            None if self.is_over && is_empty => return Err(AnswerFault::Empty(String::new())),
            None if self.is_over => String::new(),
            None => return Err(AnswerFault::Truncated),
        };
        let calls = std::mem::take(&mut self.calls);
        let is_cut =
            |call: &StreamedCall| !call.is_whole && (!word.is_empty() || !call.is_object());
        let cut = calls.iter().enumerate().filter(|(_, call)| is_cut(call));
        let cut_calls = cut.map(|(at, _)| at).collect();
        let tool_calls: Vec<RawToolCall> = calls.into_iter().map(StreamedCall::into_raw).collect();
        let finish_reason = match is_length(&word) {
            true => FinishReason::Length,
            false if tool_calls.is_empty() => FinishReason::Stop,
            false => FinishReason::ToolCalls,
        };
        let told = if self.has_refusal { "refusal" } else { &word };
        let remarks = remark_on(told, is_empty, self.has_thought);
        let items = std::mem::take(&mut self.items);
        // Without any of these the text and the calls say it all.
        let says_more = |item: &Value| item["type"] == "reasoning" || item["phase"].is_string();
        let is_worth_it = items.iter().any(says_more);
        Ok(DecodedReply {
            tool_calls,
            usage: self.usage,
            finish_reason,
            provider_data: is_worth_it.then(|| json!({ITEMS: items})),
            cut_calls,
            remarks: remarks.into_iter().collect(),
        })
    }
}

impl ResponsesDecoder {
    fn parts(&self) -> usize {
        self.calls.len().max(self.told.len())
    }

    fn say(&mut self, text: &str, sink: &mut dyn Sink) {
        if !text.is_empty() {
            self.message_bytes += text.len();
            self.text_bytes += text.len();
            sink.text(text);
        }
    }

    fn begin_call(&mut self, place: Value, item: &Value, is_whole: bool) {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let call = RawToolCall {
            id: text("call_id"),
            name: text("name"),
            arguments: arguments_of(item),
        };
        self.kept_bytes += size_of::<StreamedCall>() + call.bytes();
        self.calls.push(StreamedCall {
            place,
            call,
            is_whole,
        });
    }

    /// Takes an item that is whole: it says all of what its pieces said.
    fn item(&mut self, place: Value, item: &Value, sink: &mut dyn Sink) {
        let name = format!("{place} {} {}", item["id"], item["call_id"]);
        let is_named = !place.is_null() || !item["id"].is_null();
        if is_named && self.told.contains(&name) {
            return;
        }
        self.kept_bytes += size_of::<String>() + name.len();
        self.told.push(name);
        let kind = item["type"].as_str().unwrap_or_default();
        let kept = match kind {
            "message" => self.message(item, sink),
            "function_call" => {
                self.call(place, item);
                Some(json!({"type": "function_call"}))
            }
            "reasoning" => {
                self.has_thought = true;
                reasoning(item)
            }
            _ => None,
        };
        if let Some(kept) = kept {
            self.kept_bytes += memory_of(&kept);
            self.items.push(kept);
        }
    }

    fn message(&mut self, item: &Value, sink: &mut dyn Sink) -> Option<Value> {
        if self.message_bytes == 0 {
            for part in item["content"].as_array().into_iter().flatten() {
                let refusal = part["refusal"].as_str();
                self.has_refusal |= refusal.is_some();
                let text = part["text"].as_str().or(refusal);
                self.say(text.unwrap_or_default(), sink);
            }
        }
        let bytes = std::mem::take(&mut self.message_bytes);
        let mut kept = json!({"type": "message", "bytes": bytes});
        if item["phase"].is_string() {
            kept["phase"] = item["phase"].clone();
        }
        (bytes > 0).then_some(kept)
    }

    fn call(&mut self, place: Value, item: &Value) {
        let is_whole = item["status"] != "incomplete";
        let id = item["call_id"].as_str().unwrap_or_default();
        let is_same = |call: &&mut StreamedCall| {
            !call.is_whole && call.place == place && (call.call.id.is_empty() || call.call.id == id)
        };
        let Some(found) = self.calls.iter_mut().rev().find(is_same) else {
            return self.begin_call(place, item, is_whole);
        };
        found.is_whole = is_whole;
        found.call.id = id.to_owned();
        if let Some(name) = item["name"].as_str() {
            found.call.name = name.to_owned();
        }
        let arguments = arguments_of(item);
        if !arguments.is_empty() {
            self.kept_bytes = self.kept_bytes + arguments.len() - found.call.arguments.len();
            found.call.arguments = arguments;
        }
    }

    /// Takes the answer as one document, as it also stands in the last event of a stream.
    fn document(&mut self, document: &Value, sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if document["output"].is_array() || document["object"] == "response" {
            return self.end(document, sink);
        }
        if let Some(fault) = fault_in(document) {
            return Err(fault);
        }
        Ok(())
    }

    fn end(&mut self, response: &Value, sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        let status = response["status"].as_str().unwrap_or("completed");
        if says_something(&response["error"]) {
            return Err(reported(&response["error"]));
        }
        if status == "failed" {
            return Err(reported(response));
        }
        if self.items.is_empty() && self.calls.is_empty() && self.text_bytes == 0 {
            let output = response["output"].as_array().into_iter().flatten();
            for (place, item) in output.enumerate().take(PARTS_MAX + 1) {
                self.item(json!(place), item, sink);
            }
            bounded(self.parts())?;
        }
        self.count(&response["usage"]);
        let reason = response.pointer("/incomplete_details/reason");
        self.ending = match (status, reason.and_then(Value::as_str)) {
            ("completed" | "incomplete", Some(word)) => Some(word.to_owned()),
            ("completed", None) => Some(String::new()),
            ("incomplete", None) => Some("max_output_tokens".to_owned()),
            // It was cancelled there, or has not ended.
            _ => None,
        };
        Ok(())
    }

    fn count(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let count = |path: &str| {
            let counted = usage.pointer(path);
            let counted = counted.and_then(|value| Count::deserialize(value).ok());
            counted.and_then(|count| count.0).unwrap_or_default()
        };
        let mut counts = Usage::new(count("/input_tokens"), count("/output_tokens"));
        counts.total_tokens = counts.total_tokens.max(count("/total_tokens"));
        counts.cached_tokens = count("/input_tokens_details/cached_tokens");
        counts.reasoning_tokens = count("/output_tokens_details/reasoning_tokens");
        self.usage = Some(counts);
    }
}

impl StreamedCall {
    fn is_object(&self) -> bool {
        serde_json::from_str::<Map<String, Value>>(&self.call.arguments).is_ok()
    }

    fn into_raw(self) -> RawToolCall {
        let mut call = self.call;
        if call.arguments.trim().is_empty() {
            call.arguments = "{}".into();
        }
        call
    }
}

/// What the model thought, if it can be given back: without its encrypted form it would be looked for
/// among what the provider was told not to keep.
fn reasoning(item: &Value) -> Option<Value> {
    let encrypted = item["encrypted_content"].as_str().unwrap_or_default();
    if encrypted.is_empty() {
        return None;
    }
    let summary = match &item["summary"] {
        Value::Array(summary) => summary.clone(),
        _ => Vec::new(),
    };
    Some(json!({
        "type": "reasoning", "id": item["id"], "summary": summary, "encrypted_content": encrypted,
    }))
}

fn arguments_of(item: &Value) -> String {
    match &item["arguments"] {
        Value::String(text) => text.clone(),
        Value::Object(object) => Value::Object(object.clone()).to_string(),
        _ => String::new(),
    }
}

/// The whole of an event that does not come with every token.
fn rest_of(data: &[u8]) -> Result<Value, AnswerFault> {
    Ok(Value::Object(serde_json::from_slice::<Map<_, _>>(data)?))
}

#[derive(Debug, Deserialize)]
struct ResponseEvent<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    delta: Option<Text<'a>>,
    #[serde(default)]
    output_index: Value,
}
