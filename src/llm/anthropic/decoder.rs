//! How an answer is read. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::dialect::{
    AnswerFault, CONTEXT_EXCEEDED, DecodedReply, Decoder, bounded, cut_calls, event_in, fault_in,
    is_length, memory_of_members, remark_on, says_something,
};
use crate::llm::halves::joined_bytes;
use crate::llm::lenient::{Count, Lenient, Prose, Text};
use crate::llm::likeness::TextEvent;
use crate::llm::{RawToolCall, Sink};

/// The key of the blocks of thinking in a reply's `provider_data`.
pub(super) const THINKING: &str = "thinking";
/// The key of the order in which blocks came, where it is not the usual one: thinking, text, calls.
pub(super) const ORDER: &str = "order";

/// So many blocks take no memory worth counting.
const BLOCKS_FREE: usize = 64;

/// The state of one answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct MessagesDecoder {
    blocks: Vec<Block>,
    prompt_tokens: u64,
    cached_tokens: u64,
    completion_tokens: u64,
    /// Why it ended, in the provider's word.
    stop_word: Option<String>,
    /// The memory of calls and thinking, roughly.
    kept_bytes: usize,
    /// The last event, if it brought text of the last block.
    last_text_event: TextEvent,
    done: bool,
}

/// A block, with the index that its pieces have.
#[derive(Debug)]
struct Block {
    index: Option<u64>,
    content: ReceivedContent,
}

#[derive(Debug)]
enum ReceivedContent {
    Call(RawToolCall),
    Thinking(Map<String, Value>),
    /// So many bytes, which were handed over.
    Text(usize),
    /// Whatever will be invented.
    Other,
}

impl Decoder for MessagesDecoder {
    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if let Some(text) = self.last_text_event.text_in(name, data)
            && let Some(bytes) = self.last_text()
        {
            *bytes += joined_bytes(text);
            hand_over(text, sink);
            return Ok(());
        }
        self.last_text_event.forget();
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let Some(event) = event_in::<StreamEvent<'_>>(name, data)? else {
            return Ok(());
        };
        if says_something(&event.error)
            && let Some(fault) = fault_in(&serde_json::from_slice(data)?)
        {
            return Err(fault);
        }
        let index = event.index.0;
        let only_text = event.only_text();
        match event.kind.as_ref().map_or("", Text::as_str) {
            "content_block_delta" => {
                if let Some(delta) = event.delta.0 {
                    self.delta(index, delta, sink);
                }
                let is_of_last = self.blocks.last().is_some_and(|last| last.index == index);
                if let Some(text) = only_text.filter(|_| is_of_last) {
                    self.last_text_event.keep(name, data, text);
                }
            }
            "content_block_start" => self.open(index, event.content_block, sink),
            "message_start" => self.count(&event.message["usage"]),
            "message_delta" => {
                self.count(&event.usage);
                self.stop(event.delta.0.and_then(|delta| delta.stop_reason));
            }
            "message_stop" => self.done = true,
            "message" => {
                if let Value::Array(blocks) = event.content {
                    for block in blocks {
                        self.open(None, block, sink);
                    }
                }
                self.count(&event.usage);
                self.stop(event.stop_reason);
                self.done = self.stop_word.is_some();
            }
            "ping" | "content_block_stop" => {}
            _ => {
                // Whatever will be invented, unless it is an error.
                if let Some(fault) = fault_in(&serde_json::from_slice(data)?) {
                    return Err(fault);
                }
            }
        }
        bounded(self.blocks.len())
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        let blocks = || self.blocks.iter().map(|block| &block.content);
        let is_empty = !blocks().any(|block| match block {
            ReceivedContent::Text(bytes) => *bytes > 0,
            ReceivedContent::Call(_) => true,
            ReceivedContent::Thinking(_) | ReceivedContent::Other => false,
        });
        let has_reasoning = blocks().any(|block| matches!(block, ReceivedContent::Thinking(_)));
        let word = match self.stop_word.take() {
            Some(word) if is_empty && word == CONTEXT_EXCEEDED => {
                return Err(AnswerFault::Reported {
                    status: Some(400),
                    message: word,
                });
            }
            // Some leave out the last event.
            Some(word) => word,
            None if !self.done => return Err(AnswerFault::Truncated),
            None if is_empty && !has_reasoning => return Err(AnswerFault::Empty(String::new())),
            None => String::new(),
        };
        let mut usage = Usage::new(self.prompt_tokens, self.completion_tokens);
        usage.cached_tokens = self.cached_tokens;
        let (tool_calls, provider_data) = self.parts();
        let finish_reason = match is_length(&word) {
            true => FinishReason::Length,
            false if tool_calls.is_empty() => FinishReason::Stop,
            false => FinishReason::ToolCalls,
        };
        let is_cut = finish_reason == FinishReason::Length || word == "refusal";
        Ok(DecodedReply {
            cut_calls: if is_cut {
                cut_calls(&tool_calls)
            } else {
                Vec::new()
            },
            tool_calls,
            usage: (usage != Usage::default()).then_some(usage),
            finish_reason,
            provider_data,
            remarks: remark_on(&word, is_empty, has_reasoning)
                .into_iter()
                .collect(),
        })
    }
}

impl MessagesDecoder {
    fn open(&mut self, index: Option<u64>, block: Value, sink: &mut dyn Sink) {
        let Value::Object(block) = block else {
            return;
        };
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        let content = match text("type") {
            "text" => {
                hand_over(text("text"), sink);
                ReceivedContent::Text(joined_bytes(text("text")))
            }
            "tool_use" => {
                // A streamed call begins with an empty object, and its arguments follow in pieces.
                let input = block.get("input").filter(|input| says_something(input));
                let call = RawToolCall {
                    id: text("id").to_owned(),
                    name: text("name").to_owned(),
                    arguments: match input {
                        Some(Value::String(text)) => text.clone(),
                        Some(input) => input.to_string(),
                        None => String::new(),
                    },
                };
                self.kept_bytes += call.bytes();
                ReceivedContent::Call(call)
            }
            "thinking" | "redacted_thinking" => {
                self.kept_bytes += memory_of_members(&block);
                ReceivedContent::Thinking(block)
            }
            _ => ReceivedContent::Other,
        };
        // Those of a reply are a few; without end they may not be.
        if self.blocks.len() > BLOCKS_FREE {
            self.kept_bytes += size_of::<Block>();
        }
        self.blocks.push(Block { index, content });
    }

    /// How much text the last block has, if it is one of text.
    fn last_text(&mut self) -> Option<&mut usize> {
        match &mut self.blocks.last_mut()?.content {
            ReceivedContent::Text(bytes) => Some(bytes),
            ReceivedContent::Call(_) | ReceivedContent::Thinking(_) | ReceivedContent::Other => {
                None
            }
        }
    }

    fn delta(&mut self, index: Option<u64>, delta: BlockDelta<'_>, sink: &mut dyn Sink) {
        let text = delta.text.as_ref().map_or("", Prose::as_str);
        hand_over(text, sink);
        let last = self.blocks.len().checked_sub(1);
        let same_index = self.blocks.iter().rposition(|block| block.index == index);
        // Some number every piece 0: what has all of its arguments takes no more.
        let takes_more = |at: &usize| match &self.blocks[*at].content {
            ReceivedContent::Call(call) if Some(*at) != last => {
                cut_calls(std::slice::from_ref(call)) == [0]
            }
            _ => true,
        };
        let found = match index {
            Some(_) => same_index.filter(takes_more).or(same_index.and(last)),
            None => last,
        };
        let found = found.map(|at| &mut self.blocks[at]);
        match found.map(|block| &mut block.content) {
            Some(ReceivedContent::Text(bytes)) => *bytes += joined_bytes(text),
            // Its beginning was left out.
            _ if !text.is_empty() => self.blocks.push(Block {
                index,
                content: ReceivedContent::Text(joined_bytes(text)),
            }),
            Some(ReceivedContent::Call(call)) => {
                if let Some(piece) = &delta.partial_json {
                    self.kept_bytes += piece.as_str().len();
                    call.arguments.push_str(piece.as_str());
                }
            }
            Some(ReceivedContent::Thinking(block)) => {
                for (key, piece) in [
                    ("thinking", &delta.thinking),
                    ("signature", &delta.signature),
                ] {
                    self.kept_bytes += piece.as_ref().map_or(0, |piece| piece.as_str().len());
                    append(block, key, piece.as_ref());
                }
            }
            Some(ReceivedContent::Other) | None => {}
        }
    }

    /// The calls, and what goes back to the provider beside them and the text.
    fn parts(&mut self) -> (Vec<RawToolCall>, Option<Value>) {
        let (mut calls, mut thinking, mut order) = (Vec::new(), Vec::new(), Vec::new());
        for block in std::mem::take(&mut self.blocks) {
            match block.content {
                ReceivedContent::Call(mut call) => {
                    if call.arguments.trim().is_empty() {
                        call.arguments = "{}".into();
                    }
                    order.push((2, json!(["call", calls.len()])));
                    calls.push(call);
                }
                ReceivedContent::Thinking(block) => {
                    order.push((0, json!([THINKING, thinking.len()])));
                    thinking.push(Value::Object(block));
                }
                ReceivedContent::Text(bytes) if bytes > 0 => {
                    order.push((1, json!(["text", bytes])));
                }
                ReceivedContent::Text(_) | ReceivedContent::Other => {}
            }
        }
        let mut data = Map::new();
        let is_usual = order.is_sorted_by_key(|(rank, _)| *rank);
        if !is_usual {
            let order = order.into_iter().map(|(_, place)| place);
            data.insert(ORDER.to_owned(), order.collect());
        }
        if !thinking.is_empty() {
            data.insert(THINKING.to_owned(), Value::Array(thinking));
        }
        (calls, (!data.is_empty()).then_some(Value::Object(data)))
    }

    /// Takes counts, which are totals so far. What was written to or read from the cache is part
    /// of the prompt.
    fn count(&mut self, counts: &Value) {
        let count = |place| Count::at(counts, place);
        let cached = count("/cache_read_input_tokens");
        let prompt = [
            count("/input_tokens"),
            count("/cache_creation_input_tokens"),
            cached,
        ];
        let sum = prompt.into_iter().flatten().fold(0, u64::saturating_add);
        // The last event repeats only some of them, so a smaller sum is not news.
        self.prompt_tokens = self.prompt_tokens.max(sum);
        self.cached_tokens = self.cached_tokens.max(cached.unwrap_or_default());
        self.completion_tokens = count("/output_tokens").unwrap_or(self.completion_tokens);
    }

    fn stop(&mut self, reason: Option<Text<'_>>) {
        let word = reason.as_ref().map_or("", Text::as_str);
        if !word.is_empty() {
            self.stop_word = Some(word.to_owned());
        }
    }
}

fn hand_over(text: &str, sink: &mut dyn Sink) {
    if !text.is_empty() {
        sink.text(text);
    }
}

fn append(block: &mut Map<String, Value>, key: &str, piece: Option<&Prose<'_>>) {
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

#[derive(Debug, Deserialize)]
struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(default)]
    index: Count,
    #[serde(borrow, default)]
    delta: Lenient<BlockDelta<'a>>,
    /// Once per block, so its tree costs nothing that matters.
    #[serde(default)]
    content_block: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
    /// Of a whole message.
    #[serde(default)]
    content: Value,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

impl<'a> StreamEvent<'a> {
    /// Its text, if it is a piece of a block and brings nothing else.
    fn only_text(&self) -> Option<&'a str> {
        let StreamEvent {
            kind: _,
            index: _,
            delta: Lenient(Some(delta)),
            content_block: Value::Null,
            message: Value::Null,
            usage: Value::Null,
            error: Value::Null,
            content: Value::Null,
            stop_reason: None,
        } = self
        else {
            return None;
        };
        let BlockDelta {
            text: Some(text),
            partial_json: None,
            thinking: None,
            signature: None,
            stop_reason: None,
        } = delta
        else {
            return None;
        };
        text.in_place()
    }
}

#[derive(Debug, Deserialize)]
struct BlockDelta<'a> {
    #[serde(borrow)]
    text: Option<Prose<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Prose<'a>>,
    #[serde(borrow)]
    signature: Option<Prose<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}
