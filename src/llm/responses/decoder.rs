//! How an answer is read. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::dialect::{
    AnswerFault, DecodedReply, Decoder, PARTS_MAX, bounded, event_in, fault_in, is_length,
    memory_of, remark_on, reported, says_something,
};
use crate::llm::halves::joined_bytes;
use crate::llm::lenient::{Count, Text};
use crate::llm::openai::plain_arguments;
use crate::llm::{RawToolCall, Sink};

/// The key of an answer's items in a reply's `provider_data`: what it thought, and where what it said and
/// called stood between that.
pub(super) const ITEMS: &str = "items";

/// The state of one answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct ResponsesDecoder {
    /// Items that are whole, in their order; see [`ITEMS`].
    items: Vec<Value>,
    /// What tells those items apart: some servers tell of one twice.
    told: Vec<u64>,
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
    /// By these two its pieces name it; some servers leave out the one or the other, or number all of them 0.
    place: Option<u64>,
    item_id: String,
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
        let text = |text: &Option<Text<'_>>| text.as_ref().map_or("", Text::as_str).to_owned();
        let delta = event.delta.as_ref().map_or("", Text::as_str);
        let place = event.output_index.0;
        if says_something(&event.error) {
            return self.document(&rest_of(data)?, sink);
        }
        match kind {
            "response.output_text.delta" => self.say(delta, sink),
            // A refusal is what the model says, in a field of its own.
            "response.refusal.delta" => {
                self.has_refusal = true;
                self.say(delta, sink);
            }
            "response.function_call_arguments.delta" => {
                if let Some(call) = self.open_call(place, &text(&event.item_id), "") {
                    call.call.arguments.push_str(delta);
                    self.kept_bytes += delta.len();
                }
            }
            "response.function_call_arguments.done" => {
                let whole = text(&event.arguments);
                if let Some(call) = self.open_call(place, &text(&event.item_id), "") {
                    let more = call.set_arguments(whole);
                    self.kept_bytes += more;
                }
            }
            "response.output_item.added" => {
                let item = &rest_of(data)?["item"];
                match item["type"].as_str() {
                    Some("function_call") => self.begin_call(place, item, false),
                    Some("reasoning") => self.has_thought = true,
                    _ => {}
                }
            }
            "response.output_item.done" => self.item(place, &rest_of(data)?["item"], sink),
            "response.completed" | "response.incomplete" | "response.failed" => {
                let rest = rest_of(data)?;
                let inner = Some(&rest["response"]).filter(|response| response.is_object());
                let usual = kind.trim_start_matches("response.");
                return self.end(inner.unwrap_or(&rest), usual, sink);
            }
            // Thinking in words.
            kind if kind.starts_with("response.reasoning") => self.has_thought = true,
            // Beginnings, ends of what has come in pieces, and whatever will be invented.
            kind if kind.starts_with("response.") => {}
            _ => return self.document(&rest_of(data)?, sink),
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
        let is_cut = |call: &StreamedCall| match call.is_whole {
            true => is_length(&word) && !call.is_object() && !call.call.arguments.is_empty(),
            false => !word.is_empty() || !call.is_object(),
        };
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
            self.message_bytes += joined_bytes(text);
            self.text_bytes += text.len();
            sink.text(text);
        }
    }

    /// The call that is not whole and that an event means: the last of those that it names best.
    fn open_call(
        &mut self,
        place: Option<u64>,
        item_id: &str,
        call_id: &str,
    ) -> Option<&mut StreamedCall> {
        let rank = |call: &StreamedCall| (call.is_named(item_id, call_id), call.is_at(place));
        let open = self.calls.iter_mut().filter(|call| {
            let id = &call.call.id;
            let may_be_it = id.is_empty() || call_id.is_empty() || id == call_id;
            !call.is_whole && may_be_it && rank(call) != (false, false)
        });
        open.max_by_key(|call| rank(call))
    }

    fn begin_call(&mut self, place: Option<u64>, item: &Value, is_whole: bool) {
        let [item_id, call_id] = [text_at(item, "id"), text_at(item, "call_id")];
        // Some begin a call with each of its pieces.
        if !is_whole
            && let Some(open) = self.open_call(place, &item_id, &call_id)
            && open.is_named(&item_id, &call_id)
            && open.is_at(place)
            && !open.is_object()
        {
            return;
        }
        let call = RawToolCall {
            id: call_id,
            name: text_at(item, "name"),
            arguments: arguments_of(item),
        };
        self.kept_bytes += size_of::<StreamedCall>() + call.bytes();
        self.calls.push(StreamedCall {
            place,
            item_id,
            call,
            is_whole,
        });
    }

    /// Takes an item that is whole: it says all of what its pieces said.
    fn item(&mut self, place: Option<u64>, item: &Value, sink: &mut dyn Sink) {
        let kind = item["type"].as_str().unwrap_or_default();
        let ids = ["id", "call_id"].map(|key| text_at(item, key));
        let is_named = place.is_some() || ids.iter().any(|id| !id.is_empty());
        // Ids that stand for all of a kind tell nothing apart.
        let said = match kind {
            "function_call" => [&item["name"], &item["arguments"]],
            "message" => [&item["content"], &Value::Null],
            _ => [&item["encrypted_content"], &Value::Null],
        };
        let mut hasher = DefaultHasher::new();
        (place, ids, kind, said).hash(&mut hasher);
        let told = hasher.finish();
        if is_named && self.told.contains(&told) {
            return;
        }
        self.kept_bytes += size_of::<u64>();
        self.told.push(told);
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

    fn call(&mut self, place: Option<u64>, item: &Value) {
        let is_whole = item["status"] != "incomplete";
        let [item_id, call_id] = [text_at(item, "id"), text_at(item, "call_id")];
        let Some(found) = self.open_call(place, &item_id, &call_id) else {
            return self.begin_call(place, item, is_whole);
        };
        found.is_whole = is_whole;
        for (known, told) in [
            (&mut found.call.id, call_id),
            (&mut found.call.name, text_at(item, "name")),
        ] {
            if !told.is_empty() {
                *known = told;
            }
        }
        let more = found.set_arguments(arguments_of(item));
        self.kept_bytes += more;
    }

    /// Takes the answer as one document, as it also stands in the last event of a stream.
    fn document(&mut self, document: &Value, sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if document["output"].is_array() || document["object"] == "response" {
            return self.end(document, "completed", sink);
        }
        if let Some(fault) = fault_in(document) {
            return Err(fault);
        }
        Ok(())
    }

    /// Takes the end of the answer, whose status is `usual` where it names none.
    fn end(
        &mut self,
        response: &Value,
        usual: &str,
        sink: &mut dyn Sink,
    ) -> Result<(), AnswerFault> {
        let status = response["status"].as_str();
        let status = status.filter(|word| !word.is_empty()).unwrap_or(usual);
        if says_something(&response["error"]) {
            return Err(reported(&response["error"]));
        }
        if status == "failed" {
            return Err(reported(response));
        }
        self.output(&response["output"], sink);
        bounded(self.parts())?;
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

    /// Takes what the end says of all items, as far as nothing has said it before.
    fn output(&mut self, output: &Value, sink: &mut dyn Sink) {
        let (has_items, has_calls) = (!self.items.is_empty(), !self.calls.is_empty());
        let has_text = self.text_bytes > 0;
        let output = output.as_array().into_iter().flatten();
        for (place, item) in (0..).zip(output.take(PARTS_MAX + 1)) {
            let is_new = match item["type"].as_str() {
                Some("message") => !has_text || self.message_bytes > 0,
                Some("function_call") => {
                    let ids = [text_at(item, "id"), text_at(item, "call_id")];
                    !has_calls || self.open_call(Some(place), &ids[0], &ids[1]).is_some()
                }
                _ => !has_items,
            };
            if is_new {
                self.item(Some(place), item, sink);
            }
        }
    }

    fn count(&mut self, usage: &Value) {
        let count = |path: &str| Count::at(usage, path).unwrap_or_default();
        let mut counts = Usage::new(count("/input_tokens"), count("/output_tokens"));
        counts.total_tokens = counts.total_tokens.max(count("/total_tokens"));
        counts.cached_tokens = count("/input_tokens_details/cached_tokens");
        counts.reasoning_tokens = count("/output_tokens_details/reasoning_tokens");
        self.usage = (counts != Usage::default()).then_some(counts);
    }
}

impl StreamedCall {
    fn is_named(&self, item_id: &str, call_id: &str) -> bool {
        let is_same = |known: &str, told: &str| !told.is_empty() && known == told;
        is_same(&self.item_id, item_id) || is_same(&self.call.id, call_id)
    }

    fn is_at(&self, place: Option<u64>) -> bool {
        self.place.is_none() || place.is_none() || self.place == place
    }

    fn is_object(&self) -> bool {
        serde_json::from_str::<Map<String, Value>>(&self.call.arguments).is_ok()
    }

    /// Takes all of its arguments, if these are some; returns by how many bytes it has grown.
    fn set_arguments(&mut self, arguments: String) -> usize {
        if arguments.is_empty() {
            return 0;
        }
        let known = std::mem::replace(&mut self.call.arguments, arguments);
        self.call.arguments.len().saturating_sub(known.len())
    }

    fn into_raw(mut self) -> RawToolCall {
        self.call.arguments = plain_arguments(self.call.arguments);
        self.call
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

fn text_at(item: &Value, key: &str) -> String {
    item[key].as_str().unwrap_or_default().to_owned()
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
    output_index: Count,
    #[serde(borrow, default)]
    item_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    arguments: Option<Text<'a>>,
    #[serde(default)]
    error: Value,
}
