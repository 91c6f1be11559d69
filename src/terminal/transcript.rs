//! What each event of a session looks like. Pure: events in, pieces of text out.
//!
//! Invariant: every piece is clean; nothing that came over the wire reaches a terminal unfiltered.

use crate::client::hint_of;
use crate::domain::event::Attachment;
use crate::terminal::clean::{Cleaner, clean, one_line};
use crate::terminal::paint::Tone;
use crate::terminal::question::question;
use crate::terminal::table::cut;
use crate::wire::{
    AttachedEvent, DecisionEvent, MessageBody, SessionEvent, ToolCallEvent, ToolResultEvent,
};

/// A line about tools is never wider, whatever the terminal.
const LINE_WIDTH: usize = 100;
/// So many lines of a change are shown.
const DIFF_LINES: usize = 12;

/// A part of the conversation as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TranscriptPiece {
    /// A part of a reply, to be shown where the last one ended.
    Text(String),
    /// One or more lines of their own, without the last `\n`.
    Lines(Tone, String),
    /// The end of what was being said: what follows begins a new line.
    Break,
}

/// Turns events into pieces; it remembers what a reply's next token depends on.
#[derive(Debug, Default)]
pub struct Transcript {
    cleaner: Cleaner,
}

impl Transcript {
    /// What to show of an event. `mine` says that a user message was typed here, where it stands
    /// already.
    pub fn show(&mut self, event: &SessionEvent, mine: bool) -> Vec<TranscriptPiece> {
        match event {
            SessionEvent::Token(token) => {
                vec![TranscriptPiece::Text(self.cleaner.push(&token.content))]
            }
            SessionEvent::UserMessage(_) if mine => Vec::new(),
            SessionEvent::UserMessage(message) => {
                let name = message.sender_name.as_deref();
                let said = said(name, &message.content) + &files(&message.attachments);
                self.broken(Tone::Bold, said)
            }
            SessionEvent::ToolCall(call) => self.broken(Tone::Dim, tool_call(call)),
            SessionEvent::ToolResult(result) => self.broken(Tone::Dim, tool_result(result)),
            SessionEvent::ApprovalRequired(asked) => self.broken(Tone::Question, question(asked)),
            SessionEvent::ApprovalDecision(decided) => self.broken(Tone::Dim, decision(decided)),
            SessionEvent::Notice(notice) => self.broken(Tone::Dim, clean(&notice.message)),
            SessionEvent::Done(done) => {
                let mut pieces = self.ended(done.finish_reason.as_deref());
                // Only who has said what models cost wants to know it each time.
                if let Some(usage) = done.usage.filter(|usage| usage.cost.is_some()) {
                    pieces.extend(self.broken(Tone::Dim, format!("({usage})")));
                }
                pieces
            }
            SessionEvent::Cancelled => self.broken(Tone::Dim, "(cancelled)".to_owned()),
            SessionEvent::Error(failure) => {
                let mut text = format!("failed: {}", clean(&failure.message));
                if let Some(hint) = hint_of(failure) {
                    text.push_str(&format!("\nhint: {hint}"));
                }
                self.broken(Tone::Alarm, text)
            }
            SessionEvent::Session(attached) => self.attached(attached),
            SessionEvent::Status(change) if change.to == "completed" => {
                self.broken(Tone::Dim, "(the session has ended)".to_owned())
            }
            SessionEvent::Rewind(_) => self.broken(
                Tone::Dim,
                "(the end of this text was lost in a power cut; it goes on below)".to_owned(),
            ),
            SessionEvent::Gap(_) => {
                self.broken(Tone::Dim, "(some of what happened is gone)".to_owned())
            }
            SessionEvent::Detached => {
                self.broken(Tone::Dim, "(another client took over)".to_owned())
            }
            SessionEvent::Start(_)
            | SessionEvent::Message(_)
            | SessionEvent::Status(_)
            | SessionEvent::Unknown => Vec::new(),
        }
    }

    /// Lines of their own; an escape sequence that a reply left open ends with it.
    fn broken(&mut self, tone: Tone, text: String) -> Vec<TranscriptPiece> {
        self.cleaner = Cleaner::default();
        vec![TranscriptPiece::Break, TranscriptPiece::Lines(tone, text)]
    }

    fn attached(&mut self, attached: &AttachedEvent) -> Vec<TranscriptPiece> {
        let mut pieces = history(&attached.messages);
        if let Some(asked) = &attached.session.pending_approval {
            pieces.extend(self.broken(Tone::Question, question(asked)));
        }
        pieces
    }

    fn ended(&mut self, finish_reason: Option<&str>) -> Vec<TranscriptPiece> {
        if finish_reason == Some("length") {
            let why = "(cut off at the model's limit of tokens)";
            return self.broken(Tone::Dim, why.to_owned());
        }
        self.cleaner = Cleaner::default();
        vec![TranscriptPiece::Break]
    }
}

fn history(messages: &[MessageBody]) -> Vec<TranscriptPiece> {
    let mut pieces = Vec::new();
    for message in messages {
        let (tone, text) = match message.role.as_str() {
            "user" => (Tone::Bold, said(None, &message.content)),
            _ => (Tone::Plain, clean(&message.content)),
        };
        pieces.push(TranscriptPiece::Break);
        let text = text + &files(&message.attachments);
        pieces.push(TranscriptPiece::Lines(tone, text));
    }
    pieces
}

fn said(name: Option<&str>, content: &str) -> String {
    let content = clean(content);
    match name {
        Some(name) => format!("{}> {content}", one_line(name, LINE_WIDTH)),
        None => format!("> {content}"),
    }
}

/// A line for each file.
fn files(attachments: &[Attachment]) -> String {
    let lines = attachments.iter();
    lines
        .map(|file| format!("\n  + {}", one_line(&file.described(), LINE_WIDTH)))
        .collect()
}

fn decision(decided: &DecisionEvent) -> String {
    let word = one_line(&decided.decision.replace('_', " "), LINE_WIDTH);
    match &decided.by {
        Some(name) => format!("({word}, by {})", one_line(name, LINE_WIDTH)),
        None => format!("({word})"),
    }
}

fn tool_call(call: &ToolCallEvent) -> String {
    let text = format!("{} {}", call.name, call.arguments);
    format!("⚙ {}", one_line(&text, LINE_WIDTH))
}

fn tool_result(result: &ToolResultEvent) -> String {
    let sign = if result.success { "✓" } else { "✗" };
    match change(&result.content) {
        Some((said, diff)) => format!("{sign} {}{}", one_line(said, LINE_WIDTH), folded(&diff)),
        None => format!("{sign} {}", one_line(&result.content, LINE_WIDTH)),
    }
}

/// A result that shows what was changed in a file: what it says, and the lines of the diff without
/// its head.
fn change(content: &str) -> Option<(&str, Vec<&str>)> {
    let mut lines = content.lines();
    let said = lines.next()?;
    let begins = |line: Option<&str>, mark: &str| line.is_some_and(|line| line.starts_with(mark));
    let is_change = begins(lines.next(), "--- ") && begins(lines.next(), "+++ ");
    is_change.then(|| (said, lines.collect()))
}

/// The first lines of a diff, and how many there are more.
fn folded(diff: &[&str]) -> String {
    let shown = diff.iter().take(DIFF_LINES);
    let mut text: String = shown
        .map(|line| {
            format!(
                "\n  {}",
                cut(&clean(line).replace('\t', "    "), LINE_WIDTH)
            )
        })
        .collect();
    if diff.len() > DIFF_LINES {
        text.push_str(&format!("\n  ⟨{} more lines⟩", diff.len() - DIFF_LINES));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, data: &str) -> Vec<TranscriptPiece> {
        let event = SessionEvent::parse(name, data).unwrap();
        Transcript::default().show(&event, false)
    }

    #[test]
    fn an_escape_sequence_split_over_tokens_is_removed() {
        let mut transcript = Transcript::default();
        let mut text = String::new();
        for part in [r#"a\u001b"#, "[31", "mb"] {
            let data = format!("{{\"content\":\"{part}\"}}");
            let event = SessionEvent::parse("token", &data).unwrap();
            for piece in transcript.show(&event, false) {
                if let TranscriptPiece::Text(part) = piece {
                    text.push_str(&part);
                }
            }
        }
        assert_eq!(text, "ab");
    }

    #[test]
    fn others_are_named_and_own_words_are_not_repeated() {
        let data = r#"{"message_id":"m","content":"hi\u001b[2J","sender_name":"Ann"}"#;
        let lines = TranscriptPiece::Lines(Tone::Bold, "Ann> hi".to_owned());
        assert_eq!(shown("user_message", data), [TranscriptPiece::Break, lines]);
        let event = SessionEvent::parse("user_message", data).unwrap();
        assert_eq!(Transcript::default().show(&event, true), []);
    }

    #[test]
    fn tools_take_one_line() {
        let call = r#"{"call_id":"c","name":"bash","arguments":"{\"command\":\"ls\\n-l\"}"}"#;
        let lines =
            TranscriptPiece::Lines(Tone::Dim, "⚙ bash {\"command\":\"ls\\n-l\"}".to_owned());
        assert_eq!(shown("tool_call", call), [TranscriptPiece::Break, lines]);
        let change = r#"{"call_id":"c","content":"edited x at 1 place\n--- x\n+++ x\n@@ -1 +1,14 @@\n-a\n+\tb\n+\u001b[31mc\n+1\n+2\n+3\n+4\n+5\n+6\n+7\n+8\n+9\n+10"}"#;
        let lines = "✓ edited x at 1 place\n  @@ -1 +1,14 @@\n  -a\n  +    b\n  +c\n  +1\n  +2\n  +3\n  +4\n  +5\n  +6\n  +7\n  +8\n  ⟨2 more lines⟩";
        let lines = TranscriptPiece::Lines(Tone::Dim, lines.to_owned());
        assert_eq!(
            shown("tool_result", change),
            [TranscriptPiece::Break, lines]
        );
        let result = r#"{"call_id":"c","content":"a\nb","success":false}"#;
        let lines = TranscriptPiece::Lines(Tone::Dim, "✗ a b".to_owned());
        assert_eq!(
            shown("tool_result", result),
            [TranscriptPiece::Break, lines]
        );
    }
}
