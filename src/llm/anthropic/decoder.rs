//! How an answer is read. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::dialect::{
    AnswerFault, DecodedReply, Decoder, Text, error_text, memory_of_members,
};
use crate::llm::{RawToolCall, Sink};

/// The key of the blocks of thinking in a reply's `provider_data`.
pub(super) const THINKING: &str = "thinking";

/// The state of one answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct MessagesDecoder {
    open: Option<Block>,
    calls: Vec<RawToolCall>,
    thinking: Vec<Value>,
    prompt_tokens: u64,
    completion_tokens: u64,
    stop_reason: Option<FinishReason>,
    /// The memory of calls and thinking, roughly.
    kept_bytes: usize,
    done: bool,
}

/// The block that is being received.
#[derive(Debug)]
enum Block {
    Call(RawToolCall),
    Thinking(Map<String, Value>),
}

impl Decoder for MessagesDecoder {
    fn event(&mut self, _name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        let event: StreamEvent<'_> = serde_json::from_slice(data)?;
        match event.kind.as_str() {
            "content_block_delta" => {
                if let Some(delta) = event.delta {
                    self.delta(delta, sink);
                }
            }
            "content_block_start" => {
                self.close();
                if let Some(block) = event.content_block {
                    self.open(block, sink);
                }
            }
            "content_block_stop" => self.close(),
            "message_start" => self.count(event.message.and_then(|message| message.usage)),
            "message_delta" => {
                self.count(event.usage);
                self.stop(event.delta.and_then(|delta| delta.stop_reason));
            }
            "message_stop" => self.done = true,
            "error" => return Err(reported(&event.error.unwrap_or_default())),
            // `ping`, and whatever will be invented.
            _ => {}
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        let message: Whole<'_> = serde_json::from_slice(body)?;
        if let Some(error) = message.error {
            return Err(reported(&error));
        }
        for block in message.content.unwrap_or_default() {
            self.open(block, sink);
            self.close();
        }
        self.count(message.usage);
        self.stop(message.stop_reason);
        self.done = self.stop_reason.is_some();
        Ok(())
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        if !self.done {
            return Err(AnswerFault::Truncated);
        }
        self.close();
        let tool_calls = std::mem::take(&mut self.calls);
        let finish_reason = match self.stop_reason {
            Some(FinishReason::Length) => FinishReason::Length,
            _ if tool_calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        };
        let thinking = std::mem::take(&mut self.thinking);
        let usage = Usage::new(self.prompt_tokens, self.completion_tokens);
        Ok(DecodedReply {
            tool_calls,
            usage: (usage != Usage::default()).then_some(usage),
            finish_reason,
            provider_data: (!thinking.is_empty()).then(|| json!({THINKING: thinking})),
            cut_calls: Vec::new(),
            remarks: Vec::new(),
        })
    }
}

impl MessagesDecoder {
    fn open(&mut self, block: Value, sink: &mut dyn Sink) {
        let Value::Object(block) = block else {
            return;
        };
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "text" => hand_over(text("text"), sink),
            "tool_use" => {
                // A streamed call begins with an empty object, and its arguments follow in pieces.
                let input = block.get("input").filter(|input| **input != json!({}));
                let call = RawToolCall {
                    id: text("id").to_owned(),
                    name: text("name").to_owned(),
                    arguments: input.map(Value::to_string).unwrap_or_default(),
                };
                self.kept_bytes += call.bytes();
                self.open = Some(Block::Call(call));
            }
            "thinking" | "redacted_thinking" => {
                self.kept_bytes += memory_of_members(&block);
                self.open = Some(Block::Thinking(block));
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: BlockDelta<'_>, sink: &mut dyn Sink) {
        if let Some(text) = &delta.text {
            hand_over(text.as_str(), sink);
        }
        match &mut self.open {
            Some(Block::Call(call)) => {
                if let Some(piece) = &delta.partial_json {
                    self.kept_bytes += piece.as_str().len();
                    call.arguments.push_str(piece.as_str());
                }
            }
            Some(Block::Thinking(block)) => {
                for (key, piece) in [
                    ("thinking", &delta.thinking),
                    ("signature", &delta.signature),
                ] {
                    self.kept_bytes += piece.as_ref().map_or(0, |piece| piece.as_str().len());
                    append(block, key, piece.as_ref());
                }
            }
            None => {}
        }
    }

    fn close(&mut self) {
        match self.open.take() {
            Some(Block::Call(mut call)) => {
                if call.arguments.trim().is_empty() {
                    call.arguments = "{}".into();
                }
                self.calls.push(call);
            }
            Some(Block::Thinking(block)) => self.thinking.push(Value::Object(block)),
            None => {}
        }
    }

    /// Takes counts, which are totals so far. What was written to or read from the cache is part
    /// of the prompt.
    fn count(&mut self, counts: Option<MessagesUsage>) {
        let Some(counts) = counts else {
            return;
        };
        let prompt_tokens = [
            counts.input_tokens,
            counts.cache_creation_input_tokens,
            counts.cache_read_input_tokens,
        ];
        let sum: u64 = prompt_tokens.into_iter().flatten().sum();
        // The last event repeats only some of them, so a smaller sum is not news.
        self.prompt_tokens = self.prompt_tokens.max(sum);
        self.completion_tokens = counts.output_tokens.unwrap_or(self.completion_tokens);
    }

    fn stop(&mut self, reason: Option<Text<'_>>) {
        if let Some(reason) = reason {
            self.stop_reason = Some(match reason.as_str() {
                "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
                _ => FinishReason::Stop,
            });
        }
    }
}

fn hand_over(text: &str, sink: &mut dyn Sink) {
    if !text.is_empty() {
        sink.text(text);
    }
}

fn append(block: &mut Map<String, Value>, key: &str, piece: Option<&Text<'_>>) {
    let Some(piece) = piece else {
        return;
    };
    match block.get_mut(key) {
        Some(Value::String(text)) => text.push_str(piece.as_str()),
        _ => {
            block.insert(key.to_owned(), json!(piece.as_str()));
        }
    }
}

/// An error as an event; its type stands for a status.
fn reported(error: &Value) -> AnswerFault {
    let kind = error["type"].as_str().unwrap_or("error");
    let status = match kind {
        "overloaded_error" => Some(529),
        "rate_limit_error" => Some(429),
        "api_error" => Some(500),
        "timeout_error" => Some(504),
        "invalid_request_error" => Some(400),
        "authentication_error" => Some(401),
        "permission_error" => Some(403),
        "not_found_error" => Some(404),
        "request_too_large" => Some(413),
        _ => None,
    };
    let message = match error_text(error) {
        Some(text) => format!("{kind}: {text}"),
        None => kind.to_owned(),
    };
    AnswerFault::Reported { status, message }
}

#[derive(Debug, Deserialize)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    delta: Option<BlockDelta<'a>>,
    /// Once per block, so its tree costs nothing that matters.
    content_block: Option<Value>,
    message: Option<MessageStart>,
    usage: Option<MessagesUsage>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    partial_json: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    signature: Option<Text<'a>>,
    stop_reason: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct MessageStart {
    usage: Option<MessagesUsage>,
}

#[derive(Debug, Deserialize)]
struct Whole<'a> {
    content: Option<Vec<Value>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<MessagesUsage>,
    error: Option<Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct MessagesUsage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}
