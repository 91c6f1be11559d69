//! What a chat is told beside the words of the model. Pure.
//!
//! All of it is Markdown; what others wrote stands in code, so that none of it looks like ours.

use serde_json::Value;

use crate::base::plural::counted;
use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{ApprovalKind, Attachment, Decision, ToolCall};
use crate::domain::plain;
use crate::gateway::delivery::bubble::BubbleButton;

/// A line on a tool at work has at most so many characters of what it does.
const WORK_CHARS: usize = 80;
/// Of a provider's own words so many are told.
const PROVIDER_CHARS: usize = 200;
/// Of a long command so many lines are shown, at its beginning and at its end …
const LINES: ShownParts = ShownParts { head: 24, tail: 12 };
/// … and of a long line so many characters.
const CHARS: ShownParts = ShownParts {
    head: 180,
    tail: 60,
};
/// The same where that is more than [`QUESTION_CHARS`].
const LINES_FEW: ShownParts = ShownParts { head: 8, tail: 4 };
/// A question fits into one message of every platform of today, with its buttons.
const QUESTION_CHARS: usize = 1_500;
/// So many simple commands are named.
const COMMANDS: ShownParts = ShownParts { head: 8, tail: 4 };

/// Who can answer a question in the chat where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerWay {
    /// Somebody, by a button.
    Buttons,
    /// Somebody, by writing `/approve` or `/deny`.
    Commands,
    /// Nobody: the owner does, elsewhere.
    OwnerOnly,
}

/// A question, as it is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AskedQuestion {
    pub(super) command: String,
    pub(super) commands: Vec<String>,
    pub(super) kind: ApprovalKind,
    pub(super) exact: bool,
    /// What may be allowed for the session, where who reads it may do that.
    pub(super) session_rules: Vec<String>,
}

impl AskedQuestion {
    /// The answers that there are.
    pub(super) fn answers(&self) -> Vec<BubbleButton> {
        let decisions: &[(&str, Decision)] = match self.kind {
            ApprovalKind::Policy if self.is_for_session() => &[
                ("Allow once", Decision::AllowOnce),
                ("For this session", Decision::AllowSession),
                ("Allow always", Decision::AllowAlways),
                ("Deny", Decision::Deny),
            ],
            ApprovalKind::Policy => &[
                ("Allow once", Decision::AllowOnce),
                ("Allow always", Decision::AllowAlways),
                ("Deny", Decision::Deny),
            ],
            ApprovalKind::Uncertain => &[
                ("Retry", Decision::Retry),
                ("Skip", Decision::Skip),
                ("It worked", Decision::Worked),
            ],
        };
        let button = |(text, decision): &(&str, Decision)| BubbleButton {
            text: (*text).to_owned(),
            decision: *decision,
        };
        decisions.iter().map(button).collect()
    }

    fn is_for_session(&self) -> bool {
        !self.session_rules.is_empty()
    }

    /// The question, with what is to be done to answer it.
    pub(super) fn open(&self, way: AnswerWay) -> String {
        let session = match (way, self.is_for_session()) {
            (AnswerWay::Buttons, true) => self.for_session(""),
            (AnswerWay::Commands, true) => self.for_session("`/approve session` allows, "),
            (AnswerWay::OwnerOnly, _) | (_, false) => String::new(),
        };
        let hint = match (way, self.kind) {
            (AnswerWay::Buttons, ApprovalKind::Policy) if self.exact => {
                "\n\nAlways: this very text alone, whatever the files it reads hold."
            }
            (AnswerWay::Buttons, _) => "",
            (AnswerWay::Commands, ApprovalKind::Policy) => {
                "\n\n`/approve` allows it once, `/approve always` from now on, `/deny` refuses it."
            }
            (AnswerWay::Commands, ApprovalKind::Uncertain) => {
                "\n\n`/approve retry` has it run again, `/approve skip` leaves it be, `/approve worked` takes it as done."
            }
            (AnswerWay::OwnerOnly, _) => "\n\nThis waits for the owner.",
        };
        format!("{}{session}{hint}", self.what())
    }

    /// The rules that an answer allows for the session.
    fn for_session(&self, how: &str) -> String {
        let one = |rule: &String| CHARS.of_line(&plain::lines(rule).join("⏎"));
        let rules = COMMANDS.of(self.session_rules.iter().map(one).collect(), "rules");
        let head = format!("{how}for this session");
        let start = head.chars().take(1).flat_map(char::to_uppercase);
        let head: String = start.chain(head.chars().skip(1)).collect();
        format!(
            "\n\n{head}, in your own messages and for eight hours at most:\n{}",
            fenced(&rules)
        )
    }

    /// The same after somebody has decided.
    pub(super) fn decided(&self, decision: Decision, by: Option<&str>) -> String {
        let did = match decision {
            Decision::AllowOnce => "Allowed once",
            Decision::AllowSession => "Allowed for this session",
            Decision::AllowAlways => "Allowed always",
            Decision::Deny => "Denied",
            Decision::Retry => "To be run again",
            Decision::Skip => "Left as it is",
            Decision::Worked => "Taken as done",
        };
        let by = by.map_or("the owner".to_owned(), code);
        format!("{}\n\n{did} by {by}.", self.what())
    }

    /// The same where nobody can decide any more.
    pub(super) fn closed(&self) -> String {
        format!("{}\n\nThis is not asked any more.", self.what())
    }

    fn what(&self) -> String {
        let head = match self.kind {
            ApprovalKind::Policy => "❓ The agent wants to run",
            ApprovalKind::Uncertain => "❓ This may have run before the server stopped",
        };
        let shown = |lines: &ShownParts| {
            let text = fenced(&lines.of(plain::lines(&self.command), "lines"));
            match self.commands.as_slice() {
                [] | [_] => format!("{head}:\n{text}"),
                many => {
                    let one = |command: &String| CHARS.of_line(&plain::lines(command).join("⏎"));
                    let names = COMMANDS.of(many.iter().map(one).collect(), "commands");
                    let count = counted(many.len(), "command");
                    format!("{head} {count}:\n{}\nThe text:\n{text}", fenced(&names))
                }
            }
        };
        let usual = shown(&LINES);
        if usual.chars().count() > QUESTION_CHARS {
            return shown(&LINES_FEW);
        }
        usual
    }
}

/// Said once for each question to who writes while it is open.
pub(super) fn waits_for_decision(way: AnswerWay) -> &'static str {
    match way {
        AnswerWay::Buttons | AnswerWay::Commands => {
            "Your message is kept. I am waiting for your decision on the question above."
        }
        AnswerWay::OwnerOnly => {
            "Your message is kept. The question above waits for the owner's decision."
        }
    }
}

/// Said to who wrote more than is kept waiting.
pub(super) const REJECTED: &str =
    "Too many messages are waiting here; this one was not taken. Please send it again later.";

/// Said of a turn that somebody has stopped.
pub(super) const STOPPED: &str = "Stopped.";

/// The line on a call that is at work.
pub(super) fn at_work(call: &ToolCall) -> String {
    let name = code_words(&call.tool_name);
    match deed(&call.arguments) {
        Some(deed) => format!("⚙ {name}: {}", code(&deed)),
        None => format!("⚙ {name}"),
    }
}

/// The line on a turn that cannot go on for now.
pub(super) fn waits(reason: &str) -> String {
    format!("⏳ {}", plain::in_one_line(reason))
}

/// Why there is no reply, if that is what a notice tells.
pub(super) fn said_nothing(notice_code: &str) -> Option<String> {
    let sentence = match NoticeCode::parse(notice_code)? {
        NoticeCode::EmptyReply => "The model had nothing to say.",
        NoticeCode::Refused => "The model refused to answer.",
        NoticeCode::Filtered => "The provider's filter let no answer through.",
        NoticeCode::MalformedCall => "The model's answer could not be read.",
        NoticeCode::Retry
        | NoticeCode::Fallback
        | NoticeCode::ContextTruncated
        | NoticeCode::Summarising
        | NoticeCode::Summarised
        | NoticeCode::NotSummarised
        | NoticeCode::ReplyTooLong
        | NoticeCode::Continued
        | NoticeCode::CallCut
        | NoticeCode::CallsIgnored
        | NoticeCode::ToolCallFromText
        | NoticeCode::FilesWithheld
        | NoticeCode::RequestAdjusted
        | NoticeCode::PromptCut
        | NoticeCode::NotRemembered
        | NoticeCode::EventLost
        | NoticeCode::Unread05 => return None,
    };
    Some(format!("⚠ {sentence}"))
}

/// Why a turn has failed, in a sentence.
pub(super) fn failed(failure_code: &str, message: &str) -> String {
    let known = FailureCode::parse(failure_code).unwrap_or(FailureCode::Failed);
    let sentence = match known {
        FailureCode::ProviderError => {
            let words = start(&plain::in_one_line(message), PROVIDER_CHARS);
            return format!("⚠ The model's provider did not answer: {}", code(&words));
        }
        FailureCode::ProviderUnreachable => "The model's provider cannot be reached.",
        FailureCode::ProviderTimeout => "The model took too long to answer.",
        FailureCode::MissingKey => "There is no key for the model's provider.",
        FailureCode::ContextOverflow => {
            "This conversation has become too long for the model. `/reset` begins a new one."
        }
        FailureCode::LimitReached => "What this agent may spend is spent.",
        FailureCode::AgentGone => "This agent is not there any more.",
        FailureCode::SessionEnded => "This conversation has ended.",
        FailureCode::Interrupted => "This was interrupted, and does not go on.",
        FailureCode::TooManyTries => "The server stopped over this again and again; it gives up.",
        FailureCode::Loop => "The agent went in circles, and was stopped.",
        FailureCode::StorageError => "The answer could not be stored.",
        FailureCode::InternalError => "Something went wrong in the server.",
        FailureCode::TurnWaits => "This waits, and goes on by itself.",
        FailureCode::Failed => "That did not work.",
    };
    format!("⚠ {sentence}")
}

/// A sentence, with the command that it speaks of.
pub fn with_command(sentence: &str, command: &str) -> String {
    let lines = LINES_FEW.of(plain::lines(command), "lines");
    format!("{}\n{}", plain::in_one_line(sentence), fenced(&lines))
}

/// A file that cannot be sent as one.
pub(super) fn file_in_words(file: &Attachment) -> String {
    let (name, size) = (code(&file.label()), plain::size(file.bytes));
    let words = format!("📎 {name} ({size}), which cannot be sent here.");
    match &file.caption {
        Some(caption) => format!("{words}\n\n{caption}"),
        None => words,
    }
}

/// `text` with another paragraph, which stands in no code block of the text.
pub(super) fn with_paragraph(text: &str, more: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() {
        return more.to_owned();
    }
    let fences = text.lines().filter(|line| line.starts_with("```")).count();
    let end = if fences % 2 == 1 { "\n```" } else { "" };
    format!("{text}{end}\n\n{more}")
}

/// What a call does: the first text among its arguments, in one line.
fn deed(arguments: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(arguments).ok()?;
    let named = |key: &str| arguments.get(key).and_then(Value::as_str);
    let text = match (named("action"), named("path")) {
        (Some(action), Some(path)) => format!("{action} {path}"),
        _ => {
            let mut texts = arguments.as_object()?.values().filter_map(Value::as_str);
            texts.next()?.to_owned()
        }
    };
    let text = plain::in_one_line(&text);
    (!text.is_empty()).then(|| start(&text, WORK_CHARS))
}

/// At most so many characters of a text, and a sign where there are more.
fn start(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Words of others within a line.
fn code(text: &str) -> String {
    format!("`{}`", plain::in_one_line(text).replace('`', "'"))
}

/// A name of others that needs no marks.
fn code_words(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'))
        .collect::<String>()
        .replace('_', "\\_")
}

/// Lines in a code block that they cannot end.
fn fenced(lines: &[String]) -> String {
    let longest = lines.iter().map(|line| longest_run(line)).max();
    let fence = "`".repeat(longest.unwrap_or(0).max(2) + 1);
    let folded: Vec<String> = lines.iter().map(|line| CHARS.of_line(line)).collect();
    format!("{fence}\n{}\n{fence}", folded.join("\n"))
}

fn longest_run(line: &str) -> usize {
    let runs = line.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// How much of something long is shown.
struct ShownParts {
    head: usize,
    tail: usize,
}

impl ShownParts {
    fn of(&self, mut items: Vec<String>, what: &str) -> Vec<String> {
        if items.len() <= self.head + self.tail + 1 {
            return items;
        }
        let tail = items.split_off(items.len() - self.tail);
        let left = items.len() - self.head;
        items.truncate(self.head);
        items.push(format!("⟨{left} more {what}⟩"));
        items.extend(tail);
        items
    }

    fn of_line(&self, line: &str) -> String {
        let chars: Vec<char> = line.chars().collect();
        if chars.len() <= self.head + self.tail + 20 {
            return line.to_owned();
        }
        let (head, tail) = (&chars[..self.head], &chars[chars.len() - self.tail..]);
        let left = chars.len() - self.head - self.tail;
        let text = |part: &[char]| part.iter().collect::<String>();
        format!("{}⟨{left} more characters⟩{}", text(head), text(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CallId;

    fn question(command: &str) -> AskedQuestion {
        AskedQuestion {
            command: command.to_owned(),
            commands: vec![command.to_owned()],
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
        }
    }

    #[test]
    fn a_question_shows_the_command_and_nothing_of_it_gets_out_of_its_block() {
        let asked = question("echo ```\nrm -rf /\u{202e}");
        assert_eq!(
            asked.open(AnswerWay::Buttons),
            "❓ The agent wants to run:\n````\necho ```\nrm -rf /\\u{202e}\n````"
        );
        let denied = asked.decided(Decision::Deny, Some("telegram:42`*"));
        assert!(
            denied.ends_with("\n\nDenied by `telegram:42'*`."),
            "{denied}"
        );
        let lines: Vec<String> = (0..400)
            .map(|line| format!("step {line} {}", "x".repeat(99)))
            .collect();
        let long = question(&lines.join("\n")).open(AnswerWay::OwnerOnly);
        assert!(
            long.contains("step 0 ") && long.contains("step 399 "),
            "{long}"
        );
        assert!(long.contains("⟨388 more lines⟩"), "{long}");
        assert!(long.chars().count() < QUESTION_CHARS + 200);
    }

    #[test]
    fn several_commands_are_counted_and_named() {
        let asked = AskedQuestion {
            commands: vec!["ls".to_owned(), "rm a".to_owned()],
            ..question("ls && rm a")
        };
        assert_eq!(
            asked.open(AnswerWay::Commands),
            "❓ The agent wants to run 2 commands:\n```\nls\nrm a\n```\nThe text:\n```\nls && rm a\n```\n\n`/approve` allows it once, `/approve always` from now on, `/deny` refuses it."
        );
    }

    #[test]
    fn work_is_told_in_one_short_line() {
        let line = |name: &str, arguments: &str| {
            at_work(&ToolCall {
                call_id: CallId::parse("c").unwrap(),
                tool_name: name.to_owned(),
                arguments: arguments.to_owned(),
                source: None,
            })
        };
        for (name, arguments, expected) in [
            (
                "bash",
                r#"{"command": "cargo\ntest"}"#,
                "⚙ bash: `cargo test`",
            ),
            (
                "read_file",
                r#"{"limit": 3, "path": "a`b"}"#,
                "⚙ read\\_file: `a'b`",
            ),
            (
                "file",
                r#"{"action": "edit", "path": "src/x.rs", "new": "a", "old": "b"}"#,
                "⚙ file: `edit src/x.rs`",
            ),
            ("date", "{}", "⚙ date"),
            ("date", "{", "⚙ date"),
            ("[x](http://y)", "[]", "⚙ xhttp:y"),
        ] {
            assert_eq!(line(name, arguments), expected);
        }
        let long = line("bash", &format!("{{\"command\": \"{}\"}}", "é".repeat(500)));
        assert_eq!(long, format!("⚙ bash: `{}…`", "é".repeat(WORK_CHARS)));
    }

    #[test]
    fn every_failure_has_a_plain_sentence() {
        for known in FailureCode::ALL {
            let told = failed(known.as_str(), "HTTP 500 from https://x");
            assert!(told.starts_with("⚠ "), "{told}");
            let has_words = told.contains("HTTP 500");
            assert_eq!(has_words, *known == FailureCode::ProviderError, "{told}");
        }
        assert_eq!(failed("of a later version", "x"), "⚠ That did not work.");
    }

    #[test]
    fn a_paragraph_stands_outside_of_an_open_code_block() {
        assert_eq!(with_paragraph("", STOPPED), "Stopped.");
        assert_eq!(with_paragraph("a\n", STOPPED), "a\n\nStopped.");
        assert_eq!(with_paragraph("```\na", STOPPED), "```\na\n```\n\nStopped.");
        assert_eq!(
            with_paragraph("```\na\n```", STOPPED),
            "```\na\n```\n\nStopped."
        );
    }
}
