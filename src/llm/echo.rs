//! The built-in model: it streams the user's last message back, without a key or a network.
//!
//! Lines of the message that begin with a slash direct it, and are not repeated:
//!
//! | line | it |
//! |---|---|
//! | `/tool NAME {json}` | calls that tool; several lines are several calls |
//! | `/slow MS` | rests so long after each word |
//! | `/repeat N` | says so many words, beginning again with the first one |
//! | `/fail` | fails as a provider does, after it has said the rest |
//!
//! After the results of tools it answers with them. The same conversation gets the same reply; one
//! that was cut off goes on where it stops.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::domain::event::{FinishReason, Usage};
use crate::domain::files::told_beside;
use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, Provider};
use crate::domain::state::CONTINUE_INSTRUCTION;
use crate::domain::window::tokens_of_bytes;
use crate::llm::call::time_left;
use crate::llm::canceller::Canceller;

use crate::llm::handover::Handover;
use crate::llm::{LlmError, ModelReply, RawToolCall, Request, Sink, ToolChoice};

/// Words that share a flush, as tokens of a fast provider share a read.
const WORDS_PER_FLUSH: usize = 4;
/// The most words of `/repeat`.
const WORDS_MAX: usize = 1_000_000;

/// Answers `request` as `choice`.
pub(super) fn call(
    choice: &ModelChoice,
    request: &Request,
    deadline: Option<Instant>,
    canceller: &Canceller,
    sink: &mut Handover<'_>,
) -> Result<ModelReply, LlmError> {
    let (asked, said) = split_continuation(&request.messages);
    let mut script = script_of(asked);
    if request.tools.is_empty() || request.tool_choice == ToolChoice::None {
        script.calls.clear();
    }
    // A reply is never empty.
    if script.text.trim().is_empty() && script.calls.is_empty() && !script.fails {
        script.text = "ok".into();
    }
    let said_bytes = say(&script, said, deadline, canceller, sink)?;
    if script.fails {
        return Err(LlmError::MidStream {
            provider: Provider::ECHO,
            // For good: it would fail again.
            status: Some(400),
            message: "told to fail".into(),
        });
    }
    sink.keep(script.calls.iter().map(RawToolCall::bytes).sum());
    let finish_reason = if sink.is_over() {
        script.calls.clear();
        FinishReason::Length
    } else if script.calls.is_empty() {
        FinishReason::Stop
    } else {
        FinishReason::ToolCalls
    };
    Ok(ModelReply {
        model: choice.label(),
        tool_calls: script.calls,
        usage: Some(Usage::new(
            tokens_of_bytes(prompt_bytes(request)),
            tokens_of_bytes(said_bytes),
        )),
        finish_reason,
        provider_data: None,
        is_cut: sink.is_over(),
        cut_calls: Vec::new(),
        from_text: false,
    })
}

/// What a conversation asks of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Script {
    text: String,
    calls: Vec<RawToolCall>,
    delay: Duration,
    words: Option<usize>,
    fails: bool,
}

/// The conversation that is to be answered, and what was said of the answer before it was cut off.
fn split_continuation(messages: &[Message]) -> (&[Message], &str) {
    match messages {
        [
            asked @ ..,
            Message::Assistant(reply),
            Message::User { text, .. },
        ] if text == CONTINUE_INSTRUCTION => (asked, &reply.text),
        _ => (messages, ""),
    }
}

fn script_of(messages: &[Message]) -> Script {
    let results = tool_results(messages);
    if !results.is_empty() {
        return Script {
            text: results.join("\n"),
            ..Script::default()
        };
    }
    let last = messages.iter().rev().find_map(|message| match message {
        Message::User { text, attachments } => Some(told_beside(text, attachments)),
        Message::Assistant(_) | Message::Tool { .. } => None,
    });
    parse(&last.unwrap_or_default())
}

/// The results that end the conversation.
fn tool_results(messages: &[Message]) -> Vec<&str> {
    let mut results: Vec<&str> = messages
        .iter()
        .rev()
        .map_while(|message| match message {
            Message::Tool { output, .. } => Some(output.content.as_str()),
            Message::User { .. } | Message::Assistant(_) => None,
        })
        .collect();
    results.reverse();
    results
}

fn parse(message: &str) -> Script {
    let mut script = Script::default();
    let mut text = Vec::new();
    for line in message.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = rest.trim().parse::<u64>();
        match (word, number) {
            ("/tool", _) if !rest.trim().is_empty() => script.calls.push(tool_call(rest.trim())),
            ("/slow", Ok(ms)) => script.delay = Duration::from_millis(ms),
            ("/repeat", Ok(words)) => {
                script.words = Some(usize::try_from(words).map_or(WORDS_MAX, |n| n.min(WORDS_MAX)));
            }
            ("/fail", _) => script.fails = true,
            _ => text.push(line),
        }
    }
    script.text = text.join("\n");
    script
}

fn tool_call(text: &str) -> RawToolCall {
    let (name, arguments) = text.split_once(' ').unwrap_or((text, ""));
    RawToolCall {
        // The engine gives it one.
        id: String::new(),
        name: name.to_owned(),
        arguments: match arguments.trim() {
            "" => "{}".into(),
            arguments => arguments.to_owned(),
        },
    }
}

/// Says the text of `script` but for the part that was `said` already; returns how much that was.
fn say(
    script: &Script,
    said: &str,
    deadline: Option<Instant>,
    canceller: &Canceller,
    sink: &mut Handover<'_>,
) -> Result<usize, LlmError> {
    let mut bytes = 0;
    for (number, piece) in rest_of(script, said).enumerate() {
        // Before the word and not at each flush only: a slow echo is cancelled at once.
        canceller.pause(script.delay)?;
        time_left(&Provider::ECHO, deadline)?;
        sink.text(&piece);
        bytes += piece.len();
        if sink.is_over() {
            break;
        }
        if !script.delay.is_zero() || number % WORDS_PER_FLUSH == WORDS_PER_FLUSH - 1 {
            sink.flush_new()?;
        }
    }
    sink.flush_new()?;
    Ok(bytes)
}

/// The pieces that are left to say after `said`; all of them when the answer does not begin so.
fn rest_of<'s>(script: &'s Script, said: &str) -> impl Iterator<Item = Cow<'s, str>> {
    let mut unmatched = said.as_bytes();
    for piece in pieces(script) {
        let common = piece.len().min(unmatched.len());
        if common == 0 || piece.as_bytes()[..common] != unmatched[..common] {
            break;
        }
        unmatched = &unmatched[common..];
    }
    let mut skip = if unmatched.is_empty() { said.len() } else { 0 };
    pieces(script).filter_map(move |piece| {
        let skipped = skip.min(piece.len());
        skip -= skipped;
        match skipped {
            0 => Some(piece),
            _ if skipped == piece.len() => None,
            // Both texts agree so far, so this is a boundary in the one as it is in the other.
            _ => Some(Cow::Owned(piece[skipped..].to_owned())),
        }
    })
}

/// The whole answer, word by word.
fn pieces(script: &Script) -> impl Iterator<Item = Cow<'_, str>> {
    let words: Vec<&str> = script.text.split_inclusive(char::is_whitespace).collect();
    let count = script.words.unwrap_or(words.len());
    let is_repeated = script.words.is_some();
    words.into_iter().cycle().take(count).map(move |word| {
        // The last word of a message has no blank after it, and others may follow it here.
        if is_repeated && !word.ends_with(char::is_whitespace) {
            Cow::Owned(format!("{word} "))
        } else {
            Cow::Borrowed(word)
        }
    })
}

fn prompt_bytes(request: &Request) -> usize {
    let messages = request.messages.iter().map(|message| match message {
        Message::User { text, .. } => text.len(),
        Message::Assistant(reply) => reply.text.len(),
        Message::Tool { output, .. } => output.content.len(),
    });
    request.system.len() + messages.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_a_slash_direct_it_and_the_rest_is_said() {
        let script = parse(
            "one two\n/tool date {\"a\": 1}\n/tool list\n/slow 5\n/repeat 9\n/fail\n/other\nthree",
        );
        assert_eq!(
            script,
            Script {
                text: "one two\n/other\nthree".into(),
                calls: vec![
                    RawToolCall {
                        id: String::new(),
                        name: "date".into(),
                        arguments: "{\"a\": 1}".into(),
                    },
                    RawToolCall {
                        id: String::new(),
                        name: "list".into(),
                        arguments: "{}".into(),
                    },
                ],
                delay: Duration::from_millis(5),
                words: Some(9),
                fails: true,
            }
        );
    }

    fn rest(message: &str, said: &str) -> String {
        rest_of(&parse(message), said).collect()
    }

    #[test]
    fn an_answer_goes_on_exactly_where_it_was_cut_off() {
        for message in [
            "one two  three\nfour",
            "/slow 9\nGrüße aus Zürich",
            "/repeat 7\nsieben Wörter",
            "/repeat 3\nword",
        ] {
            let whole = rest(message, "");
            for cut in (0..=whole.len()).filter(|cut| whole.is_char_boundary(*cut)) {
                let (said, left) = whole.split_at(cut);
                assert_eq!(rest(message, said), left, "{message:?} after {said:?}");
            }
        }
    }

    #[test]
    fn what_is_no_beginning_of_the_answer_is_not_gone_on_with() {
        assert_eq!(rest("one two", "two"), "one two");
        assert_eq!(rest("one two", "one two three"), "one two");
    }

    #[test]
    fn the_instruction_to_go_on_is_told_from_a_message() {
        let user = |text: &str| Message::User {
            text: text.into(),
            attachments: Vec::new(),
        };
        let cut_off = Message::Assistant(crate::domain::message::Reply {
            text: "one ".into(),
            tool_calls: Vec::new(),
            event: None,
        });
        let asked = [user("one two"), cut_off.clone(), user(CONTINUE_INSTRUCTION)];
        assert_eq!(split_continuation(&asked), (&asked[..1], "one "));
        let answered = [user("one two"), cut_off, user("three")];
        assert_eq!(split_continuation(&answered), (&answered[..], ""));
    }
}
