//! How an answer is read. Pure.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::event::{FinishReason, Usage};
use crate::llm::dialect::{
    AnswerFault, DecodedReply, Decoder, First, Text, error_text, memory_of, memory_of_members,
};
use crate::llm::{RawToolCall, Sink};

/// What OpenRouter wants back to let a model go on thinking where it was.
pub(super) const REASONING: &str = "reasoning_details";

/// What is quoted of an answer that cannot be understood.
const WORDS_BYTES_MAX: usize = 500;

/// The state of one answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct ChatDecoder {
    calls: Vec<PartialCall>,
    reasoning: Vec<Map<String, Value>>,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    /// The memory of calls and reasoning, roughly.
    kept_bytes: usize,
    /// Whether anything of an answer has come.
    has_choice: bool,
    done: bool,
}

/// A tool call under construction.
#[derive(Debug, Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Decoder for ChatDecoder {
    fn event(&mut self, _name: &[u8], data: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(data)?;
        self.chunk(chunk, sink)
    }

    fn whole(&mut self, body: &[u8], sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        self.event(b"", body, sink)?;
        if !self.has_choice {
            let beginning = String::from_utf8_lossy(&body[..body.len().min(WORDS_BYTES_MAX)]);
            return Err(AnswerFault::Malformed(format!("no choice in {beginning}")));
        }
        self.done = true;
        Ok(())
    }

    fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        // Some servers leave out `[DONE]`, some the finish reason; without both it was cut off.
        let finish_reason = match (self.finish_reason, self.done) {
            (Some(reason), _) => reason,
            (None, true) => FinishReason::Stop,
            (None, false) => return Err(AnswerFault::Truncated),
        };
        let calls = std::mem::take(&mut self.calls);
        let finish_reason = match finish_reason {
            FinishReason::Length => FinishReason::Length,
            _ if calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        };
        let reasoning = std::mem::take(&mut self.reasoning);
        Ok(DecodedReply {
            tool_calls: calls.into_iter().map(PartialCall::into_raw).collect(),
            usage: self.usage,
            finish_reason,
            provider_data: (!reasoning.is_empty()).then(|| json!({REASONING: reasoning})),
            cut_calls: Vec::new(),
            remarks: Vec::new(),
        })
    }
}

impl ChatDecoder {
    fn chunk(&mut self, chunk: Chunk<'_>, sink: &mut dyn Sink) -> Result<(), AnswerFault> {
        if let Some(error) = &chunk.error {
            return Err(reported(error));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        // One answer is asked for, so there is one choice, or none beside the usage.
        let Some(choice) = chunk.choices.0 else {
            return Ok(());
        };
        self.has_choice = true;
        if let Some(error) = &choice.error {
            return Err(reported(error));
        }
        if let Some(delta) = choice.delta.or(choice.message) {
            self.delta(delta, sink);
        }
        match choice.finish_reason.as_ref().map(Text::as_str) {
            None | Some("") => {}
            Some("error") => return Err(reported(&json!("no reason given"))),
            Some(reason) => self.finish_reason = Some(finish_reason(reason)),
        }
        Ok(())
    }

    fn delta(&mut self, delta: ChoiceDelta<'_>, sink: &mut dyn Sink) {
        // A refusal is what the model says, in a field of its own.
        for text in [&delta.content, &delta.refusal].into_iter().flatten() {
            if !text.as_str().is_empty() {
                sink.text(text.as_str());
            }
        }
        for piece in delta.tool_calls.unwrap_or_default() {
            self.call_piece(piece);
        }
        for piece in delta.reasoning_details.unwrap_or_default() {
            self.reasoning_piece(piece);
        }
    }

    fn call_piece(&mut self, piece: CallPiece<'_>) {
        let id = piece.id.as_ref().map_or("", Text::as_str);
        let function = piece.function.unwrap_or_default();
        let name = function.name.as_ref().map_or("", Text::as_str);
        let arguments = function.arguments.as_ref().map_or("", Text::as_str);
        let call = self.slot(piece.index, id, name);
        let mut kept_bytes = arguments.len();
        for (known, told) in [(&mut call.id, id), (&mut call.name, name)] {
            if known.is_empty() {
                known.push_str(told);
                kept_bytes += told.len();
            }
        }
        call.arguments.push_str(arguments);
        self.kept_bytes += kept_bytes;
    }

    /// The call that a piece belongs to.
    ///
    /// An index names it, unless the server numbers every call 0 and tells them apart by id.
    /// Without an index a new id, or a name alone, begins a call; all else goes on with the last.
    fn slot(&mut self, index: Option<u64>, id: &str, name: &str) -> &mut PartialCall {
        let same_id = |call: &PartialCall| id.is_empty() || call.id.is_empty() || call.id == id;
        let found = match index {
            Some(_) => self
                .calls
                .iter()
                .rposition(|call| call.index == index && same_id(call)),
            None if id.is_empty() && !name.is_empty() => None,
            None => {
                let last = self.calls.len().checked_sub(1);
                last.filter(|last| same_id(&self.calls[*last]))
            }
        };
        let at = found.unwrap_or_else(|| {
            self.kept_bytes += size_of::<PartialCall>();
            self.calls.push(PartialCall {
                index,
                ..PartialCall::default()
            });
            self.calls.len() - 1
        });
        &mut self.calls[at]
    }

    /// Puts a streamed block of reasoning together again: pieces of the same type and index
    /// that follow one another are one block, and their texts are one text.
    fn reasoning_piece(&mut self, piece: Map<String, Value>) {
        let same = |last: &Map<String, Value>, key: &str| last.get(key) == piece.get(key);
        let Some(last) = self
            .reasoning
            .last_mut()
            .filter(|last| same(last, "type") && same(last, "index"))
        else {
            self.kept_bytes += memory_of_members(&piece);
            self.reasoning.push(piece);
            return;
        };
        for (key, value) in piece {
            match (last.get_mut(&key), value) {
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
                    last.insert(key, value);
                }
            }
        }
    }
}

impl PartialCall {
    fn into_raw(self) -> RawToolCall {
        let no_arguments = self.arguments.trim().is_empty();
        RawToolCall {
            id: self.id,
            name: self.name,
            arguments: if no_arguments {
                "{}".into()
            } else {
                self.arguments
            },
        }
    }
}

fn reported(error: &Value) -> AnswerFault {
    let code = error.get("code");
    let status = code
        .and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok()))
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    let message = error_text(error).unwrap_or_else(|| error.to_string());
    AnswerFault::Reported { status, message }
}

fn finish_reason(word: &str) -> FinishReason {
    match word {
        "length" => FinishReason::Length,
        // Whether there are calls is seen in the calls themselves; a filtered answer is over.
        _ => FinishReason::Stop,
    }
}

#[derive(Debug, Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: First<Choice<'a>>,
    usage: Option<ChatUsage>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<ChoiceDelta<'a>>,
    /// In an answer that is not streamed.
    message: Option<ChoiceDelta<'a>>,
    finish_reason: Option<Text<'a>>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct ChoiceDelta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    tool_calls: Option<Vec<CallPiece<'a>>>,
    reasoning_details: Option<Vec<Map<String, Value>>>,
}

#[derive(Debug, Deserialize)]
struct CallPiece<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    function: Option<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    arguments: Option<Text<'a>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct ChatUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

impl From<ChatUsage> for Usage {
    fn from(counts: ChatUsage) -> Usage {
        Usage::new(
            counts.prompt_tokens.unwrap_or_default(),
            counts.completion_tokens.unwrap_or_default(),
        )
    }
}
