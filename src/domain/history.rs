//! What the model has seen and said, in the model's order, as much of it as its window holds.
//!
//! Pure: the same events give the same history, whether they are folded live or at replay.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use crate::domain::event::{AssistantResponse, FinishReason, ToolOutput, UserMessage};
use crate::domain::ids::{CallId, Seq};
use crate::domain::message::{Message, Reply};

/// One thing in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A message of a person.
    User(Arc<UserMessage>),
    /// A reply of the model.
    Assistant(Arc<AssistantResponse>),
    /// A result of a call.
    Tool {
        /// The call.
        call_id: CallId,
        /// The tool.
        tool_name: String,
        /// What it answered.
        output: ToolOutput,
    },
}

impl Entry {
    /// A rough count of what it adds to a prompt.
    fn tokens(&self) -> u64 {
        /// Roles, separators and names around each message.
        const FRAME_BYTES: usize = 16;
        let bytes = match self {
            Entry::User(message) => message.content.len(),
            Entry::Assistant(reply) => {
                let calls = reply.tool_calls.iter();
                reply.content.len()
                    + calls
                        .map(|call| call.tool_name.len() + call.arguments.len() + FRAME_BYTES)
                        .sum::<usize>()
            }
            Entry::Tool { output, .. } => output.content.len(),
        };
        tokens_of_bytes(bytes + FRAME_BYTES)
    }
}

/// Estimates tokens: four bytes each.
pub fn tokens_of_bytes(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// The turns of a window, oldest first; the last may be unfinished.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    entries: VecDeque<Entry>,
    /// The finished turns among `entries`, in order.
    turns: VecDeque<FinishedTurn>,
    /// Entries and tokens since the last finished turn.
    open: FinishedTurn,
    /// Tokens of all entries.
    tokens: u64,
    /// How many tokens of finished turns are kept; 0 for no limit.
    tokens_max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct FinishedTurn {
    /// The first event that belongs to it.
    first_seq: Seq,
    entries: usize,
    tokens: u64,
}

impl FinishedTurn {
    fn starting_at(first_seq: Seq) -> FinishedTurn {
        FinishedTurn {
            first_seq,
            entries: 0,
            tokens: 0,
        }
    }
}

impl History {
    /// An empty history that will hold about `tokens_max` tokens (0 for no limit), and begins
    /// with event `first_seq`.
    pub fn new(tokens_max: u64, first_seq: Seq) -> History {
        History {
            entries: VecDeque::new(),
            turns: VecDeque::new(),
            open: FinishedTurn::starting_at(first_seq),
            tokens: 0,
            tokens_max,
        }
    }

    /// The first event that a replay needs in order to arrive at the same history.
    pub fn first_seq(&self) -> Seq {
        self.turns.front().unwrap_or(&self.open).first_seq
    }

    /// What it holds.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// An estimate of its tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(super) fn push(&mut self, entry: Entry) {
        let tokens = entry.tokens();
        self.tokens += tokens;
        self.open.tokens += tokens;
        self.open.entries += 1;
        self.entries.push_back(entry);
    }

    /// Ends the open turn; the next begins with event `next_seq`. Over the limit, whole turns are
    /// given up until 60 % are left: a step, so that the prompt's beginning stays the same for
    /// many calls and the provider's cache holds.
    pub(super) fn end_turn(&mut self, next_seq: Seq) {
        let ended = mem::replace(&mut self.open, FinishedTurn::starting_at(next_seq));
        // Of a turn that left nothing, a replay from the window may not even know.
        if ended.entries > 0 {
            self.turns.push_back(ended);
        }
        if self.tokens_max == 0 || self.tokens <= self.tokens_max {
            return;
        }
        let target = self.tokens_max.saturating_mul(3) / 5;
        while self.tokens > target && self.turns.len() > 1 {
            self.drop_oldest_turn();
        }
    }

    fn drop_oldest_turn(&mut self) {
        let Some(oldest) = self.turns.pop_front() else {
            return;
        };
        self.entries.drain(..oldest.entries);
        self.tokens -= oldest.tokens;
    }
}

/// Puts entries into a form that every provider accepts; see [`Message`].
///
/// Neighbours of one role become one message, a call without a result gets one that says so, a
/// result without its call and a reply with nothing in it are left out.
pub fn to_messages<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Message> {
    let mut builder = Builder::default();
    for entry in entries {
        match entry {
            Entry::User(message) => builder.user(message),
            Entry::Assistant(reply) => builder.assistant(reply),
            Entry::Tool {
                call_id, output, ..
            } => builder.tool(call_id, output),
        }
    }
    builder.settle();
    builder.messages
}

#[derive(Default)]
struct Builder {
    messages: Vec<Message>,
    /// Calls of the last reply that have no result yet.
    open_calls: VecDeque<(CallId, String)>,
}

impl Builder {
    fn user(&mut self, message: &UserMessage) {
        let text = words_of(message);
        if text.is_empty() && message.attachments.is_empty() {
            return;
        }
        self.settle();
        if let Some(Message::User {
            text: last,
            attachments,
        }) = self.messages.last_mut()
        {
            if !last.is_empty() && !text.is_empty() {
                last.push_str("\n\n");
            }
            last.push_str(&text);
            attachments.extend(message.attachments.iter().cloned());
            return;
        }
        self.messages.push(Message::User {
            text,
            attachments: message.attachments.clone(),
        });
    }

    fn assistant(&mut self, reply: &AssistantResponse) {
        // Half-received calls of a broken reply never run, so they are not mentioned.
        let calls: &[_] = match reply.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => {
                &reply.tool_calls
            }
            FinishReason::Cancelled | FinishReason::Interrupted | FinishReason::Error => &[],
        };
        let nothing_said = reply.content.trim().is_empty() && calls.is_empty();
        // A conversation begins with a person.
        if nothing_said || self.messages.is_empty() {
            return;
        }
        self.settle();
        let opened = calls
            .iter()
            .map(|call| (call.call_id.clone(), call.tool_name.clone()));
        self.open_calls.extend(opened);
        if let Some(Message::Assistant(last)) = self.messages.last_mut() {
            last.text.push_str(&reply.content);
            last.tool_calls.extend(calls.iter().cloned());
            // What was said of a part need not hold for the whole.
            last.provider_data = None;
            return;
        }
        self.messages.push(Message::Assistant(Reply {
            text: reply.content.clone(),
            tool_calls: calls.to_vec(),
            model: reply.model.clone(),
            provider_data: reply.provider_data.clone(),
        }));
    }

    fn tool(&mut self, call_id: &CallId, output: &ToolOutput) {
        let Some(at) = self.open_calls.iter().position(|(open, _)| open == call_id) else {
            return;
        };
        let Some((call_id, tool_name)) = self.open_calls.remove(at) else {
            return;
        };
        let mut output = output.clone();
        if output.content.trim().is_empty() {
            output.content = "(no output)".to_owned();
        }
        self.messages.push(Message::Tool {
            call_id,
            tool_name,
            output,
        });
    }

    /// Answers the calls that nothing answered.
    fn settle(&mut self) {
        for (call_id, tool_name) in mem::take(&mut self.open_calls) {
            self.messages.push(Message::Tool {
                call_id,
                tool_name,
                output: ToolOutput {
                    success: false,
                    content: "not run".to_owned(),
                },
            });
        }
    }
}

/// The text of a message, and who says it; empty when it is blank, which providers refuse.
fn words_of(message: &UserMessage) -> String {
    if message.content.trim().is_empty() {
        return String::new();
    }
    match &message.sender_name {
        Some(name) => format!("{name}: {}", message.content),
        None => message.content.clone(),
    }
}

#[cfg(test)]
mod tests;
