//! How an answer is read. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::dialect::{
    AnswerFault, DecodedReply, Decoder, bounded, cut_calls, event_in, fault_in, is_length,
    remark_on, says_something,
};
use crate::llm::lenient::{Count, Lenient, Objects, Prose, Text};
use crate::llm::openai::plain_arguments;
use crate::llm::{RawToolCall, Sink};

/// The key of what the model thought in a reply's `provider_data`.
pub(super) const THOUGHTS: &str = "ollama_thinking";

/// The state of one answer, which comes as a line of JSON for each piece.
#[derive(Debug, Default)]
pub(in crate::llm) struct OllamaDecoder {
    thoughts: String,
    calls: Vec<RawToolCall>,
    calls_bytes: usize,
    has_text: bool,
    usage: Option<Usage>,
    /// Why it ended, in the server's word.
    ending: Option<String>,
}

impl Decoder for OllamaDecoder {
    fn event(&mut self, name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        let Some(line) = event_in::<OllamaLine<'_>>(name, data)? else {
            return Ok(());
        };
        let word = line.done_reason.as_ref().map_or("", Text::as_str);
        let is_end = line.done == Value::Bool(true) || !word.is_empty();
        let is_nothing = line.message.0.is_none() && !is_end;
        if says_something(&line.error) || is_nothing {
            let fault = fault_in(&serde_json::from_slice(data)?);
            return fault.map_or(Ok(()), Err);
        }
        if let Some(piece) = line.message.0 {
            self.piece(piece, sink);
            bounded(self.calls.len())?;
        }
        if is_end {
            let usage = Usage::new(
                line.prompt_eval_count.0.unwrap_or_default(),
                line.eval_count.0.unwrap_or_default(),
            );
            self.usage = (usage != Usage::default()).then_some(usage);
            self.ending = Some(word.to_owned());
        }
        Ok(())
    }

    fn kept_bytes(&self) -> usize {
        self.thoughts.len() + self.calls_bytes
    }

    fn is_done(&self) -> bool {
        self.ending.is_some()
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        let word = self.ending.take().ok_or(AnswerFault::Truncated)?;
        let is_empty = !self.has_text && self.calls.is_empty();
        // The model was loaded or sent away, and was asked nothing.
        if is_empty && matches!(word.as_str(), "load" | "unload") {
            return Err(AnswerFault::Empty(word));
        }
        let tool_calls = std::mem::take(&mut self.calls);
        let thoughts = std::mem::take(&mut self.thoughts);
        let remarks = remark_on(&word, is_empty, !thoughts.is_empty());
        let is_length = is_length(&word);
        Ok(DecodedReply {
            cut_calls: match is_length {
                true => cut_calls(&tool_calls),
                false => Vec::new(),
            },
            finish_reason: match is_length {
                true => FinishReason::Length,
                false if tool_calls.is_empty() => FinishReason::Stop,
                false => FinishReason::ToolCalls,
            },
            tool_calls,
            usage: self.usage,
            provider_data: (!thoughts.is_empty()).then(|| json!({THOUGHTS: thoughts})),
            remarks: remarks.into_iter().collect(),
        })
    }
}

impl OllamaDecoder {
    fn piece(&mut self, piece: OllamaPiece<'_>, sink: &mut dyn Sink) {
        if let Some(thoughts) = &piece.thinking {
            self.thoughts.push_str(thoughts.as_str());
        }
        if let Some(text) = piece
            .content
            .as_ref()
            .filter(|text| !text.as_str().is_empty())
        {
            self.has_text = true;
            sink.text(text.as_str());
        }
        // They come whole, each once.
        for call in piece.tool_calls.0 {
            let text = |text: Option<Text<'_>>| text.unwrap_or_default().as_str().to_owned();
            let Some(function) = call.function.0 else {
                continue;
            };
            let call = RawToolCall {
                id: text(call.id),
                name: text(function.name),
                arguments: plain_arguments(text(function.arguments)),
            };
            self.calls_bytes += call.bytes();
            self.calls.push(call);
        }
    }
}

#[derive(Debug, Deserialize)]
struct OllamaLine<'a> {
    #[serde(borrow, default)]
    message: Lenient<OllamaPiece<'a>>,
    #[serde(default)]
    done: Value,
    #[serde(borrow)]
    done_reason: Option<Text<'a>>,
    #[serde(default)]
    prompt_eval_count: Count,
    #[serde(default)]
    eval_count: Count,
    #[serde(default)]
    error: Value,
}

#[derive(Debug, Deserialize)]
struct OllamaPiece<'a> {
    #[serde(borrow)]
    content: Option<Prose<'a>>,
    #[serde(borrow)]
    thinking: Option<Prose<'a>>,
    #[serde(borrow, default)]
    tool_calls: Objects<GivenCall<'a>>,
}

#[derive(Debug, Deserialize)]
struct GivenCall<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    function: Lenient<GivenFunction<'a>>,
}

#[derive(Debug, Deserialize)]
struct GivenFunction<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Text<'a>>,
}
