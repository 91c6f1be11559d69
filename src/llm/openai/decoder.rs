//! How an answer is read. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::Sink;
use crate::llm::dialect::{
    AnswerFault, CONTEXT_EXCEEDED, DecodedReply, Decoder, PARTS_MAX, bounded, cut_calls, event_in,
    fault_in, is_length, memory_of, memory_of_members, remark_on, reported, says_something,
};
use crate::llm::lenient::{Count, First, Lenient, Objects, Prose, Text};
use crate::llm::likeness::TextEvent;
use crate::llm::openai::calls::{CallPiece, PartialCalls, merge};

/// What OpenRouter wants back to let a model go on thinking where it was.
pub(super) const REASONING: &str = "reasoning_details";
/// The thoughts of a reply, as DeepSeek and Moonshot want them back.
pub(super) const REASONING_TEXT: &str = "reasoning_content";
/// The same by its newer name: vLLM, Groq, Cerebras, and OpenRouter where there are no blocks.
pub(super) const REASONING_PLAIN: &str = "reasoning";
/// What belongs to single calls, in their order, or `null`; Gemini wants its signatures back.
pub(super) const EXTRA_OF_CALLS: &str = "extra_content";
/// The same of the reply.
pub(super) const EXTRA_OF_MESSAGE: &str = "extra_content_message";

/// What is quoted of an answer that is none.
const WORDS_BYTES_MAX: usize = 500;

/// The state of one answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct ChatDecoder {
    calls: PartialCalls,
    reasoning: Vec<Map<String, Value>>,
    reasoning_text: String,
    reasoning_plain: String,
    extra: Value,
    usage: Option<Usage>,
    /// Why it ended, in the provider's word.
    finish_word: Option<String>,
    /// The text of the chunk that said so, which some servers send twice.
    last_text: String,
    /// The last chunk that ended the reply and brought calls: the same again is no other call.
    last_chunk: Vec<u8>,
    /// The memory of reasoning, roughly.
    kept_bytes: usize,
    has_text: bool,
    has_reasoning: bool,
    has_refusal: bool,
    /// The first that came and was nothing of an answer.
    words: String,
    last_text_event: TextEvent,
    done: bool,
}

impl Decoder for ChatDecoder {
    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if let Some(text) = self.last_text_event.text_in(name, data) {
            self.take_text(text, sink);
            return Ok(());
        }
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let Some(chunk) = event_in::<Chunk<'_>>(name, data)? else {
            return Ok(());
        };
        if let Some(text) = chunk.only_text() {
            self.last_text_event.keep(name, data, text);
        }
        self.chunk(chunk, data, sink)
    }

    fn kept_bytes(&self) -> usize {
        let thoughts = self.reasoning_text.len() + self.reasoning_plain.len();
        self.kept_bytes + thoughts + self.calls.kept_bytes()
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        let is_empty = !self.has_text && self.calls.is_empty();
        let word = match self.finish_word.take() {
            Some(word) if is_empty && word == CONTEXT_EXCEEDED => {
                return Err(AnswerFault::Reported {
                    status: Some(400),
                    message: word,
                });
            }
            Some(word) => word,
            None if is_empty && !self.has_reasoning && (self.done || !self.words.is_empty()) => {
                return Err(AnswerFault::Empty(std::mem::take(&mut self.words)));
            }
            // Some servers leave out `[DONE]`, some the finish reason; without both it was cut off.
            None if !self.done => return Err(AnswerFault::Truncated),
            None => String::new(),
        };
        let (tool_calls, extra) = self.calls.finish();
        let finish_reason = match is_length(&word) {
            true => FinishReason::Length,
            false if tool_calls.is_empty() => FinishReason::Stop,
            false => FinishReason::ToolCalls,
        };
        let is_cut = finish_reason == FinishReason::Length || word == "content_filter";
        let told = if self.has_refusal { "refusal" } else { &word };
        Ok(DecodedReply {
            cut_calls: if is_cut {
                cut_calls(&tool_calls)
            } else {
                Vec::new()
            },
            tool_calls,
            usage: self.usage,
            finish_reason,
            provider_data: self.provider_data(extra),
            remarks: remark_on(told, is_empty, self.has_reasoning)
                .into_iter()
                .collect(),
        })
    }
}

impl ChatDecoder {
    fn chunk(
        &mut self,
        chunk: Chunk<'_>,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<(), AnswerFault> {
        let has_error = says_something(&chunk.error) || says_something(&chunk.x_groq["error"]);
        let has_choice = chunk.choices.0.is_some();
        if has_error || !has_choice && !chunk.usage.is_object() {
            let document: Value = serde_json::from_slice(data)?;
            if let Some(fault) = fault_in(&document) {
                return Err(fault);
            }
            if self.words.is_empty() {
                let beginning = &data[..data.len().min(WORDS_BYTES_MAX)];
                self.words = String::from_utf8_lossy(beginning).into_owned();
            }
        }
        self.count(&chunk.usage);
        self.count(&chunk.x_groq["usage"]);
        // One answer is asked for, so there is one choice, or none beside the usage.
        let Some(choice) = chunk.choices.0 else {
            return Ok(());
        };
        self.count(&choice.usage);
        if says_something(&choice.error) {
            return Err(reported(&choice.error));
        }
        let finish_word = choice.finish_reason.as_ref().map_or("", Text::as_str);
        let finish_word = Some(finish_word).filter(|word| !matches!(*word, "" | "null"));
        // Some say each piece both as a piece and as a message.
        let is_whole = choice.delta.0.is_none()
            && choice.message.0.is_some()
            && chunk.object.as_ref().map_or("", Text::as_str) != "chat.completion.chunk";
        // Some end a stream with all of the answer once more.
        let is_told_again = choice.delta.0.is_some() || is_whole && self.has_answer();
        let message = choice.message.0.filter(|_| !is_told_again);
        if let Some(delta) = choice.delta.0.or(message) {
            let text = delta.content.as_ref().map_or("", Prose::as_str);
            let brings_calls = delta.tool_calls.0.iter().any(CallPiece::says_something);
            let is_repeated = self.finish_word.is_some() && text == self.last_text;
            let has_new_calls = brings_calls && self.last_chunk != data;
            if finish_word.is_some() && !is_repeated {
                text.clone_into(&mut self.last_text);
            }
            if finish_word.is_some() && brings_calls {
                self.last_chunk = data.to_vec();
            }
            if finish_word.is_none() || !is_repeated {
                self.delta(delta, is_whole, sink);
            } else if has_new_calls {
                let calls = ChoiceDelta {
                    content: None,
                    ..delta
                };
                self.delta(calls, is_whole, sink);
            }
            bounded(self.calls.len().max(self.reasoning.len()))?;
        }
        self.done |= is_whole;
        match finish_word {
            None => {}
            Some("error" | "network_error" | "abort" | "aborted") => {
                return Err(AnswerFault::Reported {
                    status: None,
                    message: "no reason given".to_owned(),
                });
            }
            // DeepSeek's, when it has no machine for the rest.
            Some(word @ "insufficient_system_resource") => {
                return Err(AnswerFault::Reported {
                    status: Some(503),
                    message: word.to_owned(),
                });
            }
            Some(word) => self.finish_word = Some(word.to_owned()),
        }
        Ok(())
    }

    fn has_answer(&self) -> bool {
        self.has_text || !self.calls.is_empty()
    }

    fn delta(&mut self, delta: ChoiceDelta<'_>, is_whole: bool, sink: &mut dyn Sink) {
        // A refusal is what the model says, in a field of its own.
        let refusal = delta.refusal.as_str().unwrap_or_default();
        self.has_refusal |= !refusal.is_empty();
        self.take_text(delta.content.as_ref().map_or("", Prose::as_str), sink);
        self.take_text(refusal, sink);
        self.calls.take(delta.tool_calls.0, is_whole);
        for (told, text) in [
            (&delta.reasoning_content, &mut self.reasoning_text),
            (&delta.reasoning, &mut self.reasoning_plain),
        ] {
            let told = told.as_ref().map_or("", Prose::as_str);
            self.has_reasoning |= !told.is_empty();
            text.push_str(told);
        }
        if let Value::Array(pieces) = delta.reasoning_details {
            for piece in pieces {
                if let Value::Object(piece) = piece
                    && self.reasoning.len() <= PARTS_MAX
                {
                    self.has_reasoning = true;
                    self.reasoning_piece(piece);
                }
            }
        }
        if delta.extra_content.is_object() {
            self.kept_bytes += memory_of(&delta.extra_content);
            merge(&mut self.extra, delta.extra_content);
        }
    }

    fn take_text(&mut self, text: &str, sink: &mut dyn Sink) {
        if !text.is_empty() {
            self.has_text = true;
            sink.text(text);
        }
    }

    /// Puts a streamed block of reasoning together again: pieces of the same type and index
    /// that follow one another are one block, unless their ids differ, and their texts are one text.
    fn reasoning_piece(&mut self, piece: Map<String, Value>) {
        let id = |block: &Map<String, Value>| block.get("id").filter(|id| !id.is_null()).cloned();
        let piece_id = id(&piece);
        let same = |block: &Map<String, Value>, key: &str| block.get(key) == piece.get(key);
        let is_same = |at: usize, block: &Map<String, Value>| {
            let is_last = at + 1 == self.reasoning.len();
            let id = id(block);
            let fits = match (&id, &piece_id) {
                (Some(known), Some(told)) => known == told,
                _ => is_last,
            };
            fits && same(block, "type") && same(block, "index")
        };
        let mut blocks = self.reasoning.iter().enumerate().rev();
        let Some(at) = blocks.find_map(|(at, block)| is_same(at, block).then_some(at)) else {
            self.kept_bytes += memory_of_members(&piece);
            self.reasoning.push(piece);
            return;
        };
        let block = &mut self.reasoning[at];
        for (key, value) in piece {
            match (block.get_mut(&key), value) {
                (Some(Value::String(text)), Value::String(more))
                    if matches!(key.as_str(), "text" | "summary" | "data") =>
                {
                    self.kept_bytes += more.len();
                    text.push_str(&more);
                }
                (_, Value::Null) => {}
                (Some(known), value) if *known == value => {}
                (_, value) => {
                    self.kept_bytes += key.len() + memory_of(&value);
                    block.insert(key, value);
                }
            }
        }
    }

    /// Takes counts, which are totals so far: a smaller one is no news.
    fn count(&mut self, counts: &Value) {
        if !counts.is_object() {
            return;
        }
        let count = |places: &[&str]| places.iter().find_map(|place| Count::at(counts, place));
        let prompt = count(&["/prompt_tokens"]);
        let completion = count(&["/completion_tokens"]);
        if prompt.or(completion).is_none() {
            return;
        }
        let known = self.usage.unwrap_or_default();
        let most = |known: u64, told: Option<u64>| known.max(told.unwrap_or_default());
        let mut usage = Usage::new(
            most(known.prompt_tokens, prompt),
            most(known.completion_tokens, completion),
        );
        usage.cached_tokens = most(
            known.cached_tokens,
            count(&[
                "/prompt_tokens_details/cached_tokens",
                "/prompt_cache_hit_tokens",
                "/cached_tokens",
            ]),
        );
        usage.reasoning_tokens = most(
            known.reasoning_tokens,
            count(&[
                "/completion_tokens_details/reasoning_tokens",
                "/reasoning_tokens",
            ]),
        );
        let total = most(known.total_tokens, count(&["/total_tokens"]));
        usage.total_tokens = usage.total_tokens.max(total);
        self.usage = Some(usage);
    }

    fn provider_data(&mut self, extra_of_calls: Vec<Value>) -> Option<Value> {
        let mut data = Map::new();
        let text = std::mem::take(&mut self.reasoning_text);
        let plain = std::mem::take(&mut self.reasoning_plain);
        // Some say it by both names.
        if !text.is_empty() && (text != plain || !self.reasoning.is_empty()) {
            data.insert(REASONING_TEXT.to_owned(), Value::String(text));
        }
        // Blocks say the same, and more.
        if !plain.is_empty() && self.reasoning.is_empty() {
            data.insert(REASONING_PLAIN.to_owned(), Value::String(plain));
        }
        if !self.reasoning.is_empty() {
            let blocks = std::mem::take(&mut self.reasoning).into_iter();
            data.insert(REASONING.to_owned(), blocks.map(Value::Object).collect());
        }
        if extra_of_calls.iter().any(|extra| !extra.is_null()) {
            data.insert(EXTRA_OF_CALLS.to_owned(), Value::Array(extra_of_calls));
        }
        if !self.extra.is_null() {
            data.insert(EXTRA_OF_MESSAGE.to_owned(), std::mem::take(&mut self.extra));
        }
        (!data.is_empty()).then_some(Value::Object(data))
    }
}

#[derive(Debug, Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: First<Choice<'a>>,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    x_groq: Value,
    object: Option<Text<'a>>,
}

impl<'a> Chunk<'a> {
    /// Its text, if it brings nothing else: then it changes nothing but the answer's text, whatever came before.
    fn only_text(&self) -> Option<&'a str> {
        let Chunk {
            choices: First(Some(choice)),
            usage: Value::Null,
            error: Value::Null,
            x_groq: Value::Null,
            object: _,
        } = self
        else {
            return None;
        };
        let Choice {
            delta: Lenient(Some(delta)),
            message: Lenient(None),
            finish_reason: None,
            error: Value::Null,
            usage: Value::Null,
        } = choice
        else {
            return None;
        };
        let ChoiceDelta {
            content: Some(content),
            refusal: Value::Null,
            reasoning_content: None,
            reasoning: None,
            tool_calls: Objects(calls),
            reasoning_details: Value::Null,
            extra_content: Value::Null,
        } = delta
        else {
            return None;
        };
        content.in_place().filter(|_| calls.is_empty())
    }
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Lenient<ChoiceDelta<'a>>,
    /// In an answer that is not streamed.
    #[serde(borrow, default)]
    message: Lenient<ChoiceDelta<'a>>,
    finish_reason: Option<Text<'a>>,
    #[serde(default)]
    error: Value,
    /// Moonshot's place for it.
    #[serde(default)]
    usage: Value,
}

#[derive(Debug, Deserialize)]
struct ChoiceDelta<'a> {
    #[serde(borrow)]
    content: Option<Prose<'a>>,
    #[serde(default)]
    refusal: Value,
    #[serde(borrow)]
    reasoning_content: Option<Prose<'a>>,
    #[serde(borrow)]
    reasoning: Option<Prose<'a>>,
    #[serde(borrow, default)]
    tool_calls: Objects<CallPiece<'a>>,
    #[serde(default)]
    reasoning_details: Value,
    #[serde(default)]
    extra_content: Value,
}
