//! What each event of a session looks like in a terminal. Pure: events in, lines out.
//!
//! Invariant: every line is clean; nothing that stands in a log reaches a terminal unfiltered.

use std::collections::HashMap;

use serde::Serialize;

use crate::base::plural::counted;
use crate::domain::event::{
    ApprovalKind, AssistantResponse, Attachment, Event, FinishReason, Outcome, Record, Status,
    ToolCall, ToolOutput, UserMessage,
};
use crate::domain::ids::CallId;
use crate::domain::plain;
use crate::terminal::clean::{clean, one_line};

/// What is shown of a tool's arguments or result.
const TOOL_WIDTH: usize = 100;
const NAME_WIDTH: usize = 40;

/// Tells a session event by event.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Whether times and every step are told.
    is_verbose: bool,
    /// The tools of calls without a result yet.
    tools: HashMap<CallId, String>,
}

impl Story {
    /// At the beginning of a session.
    pub(super) fn new(is_verbose: bool) -> Story {
        Story {
            is_verbose,
            tools: HashMap::new(),
        }
    }

    /// The lines of an event, each with its end; empty for what only a verbose story tells.
    pub(super) fn tell(&mut self, record: &Record) -> String {
        let text = self.words(&record.event);
        let text = text.trim_end();
        if text.is_empty() {
            return String::new();
        }
        if self.is_verbose {
            return format!("{} {:>4}  {text}\n", record.timestamp, record.seq);
        }
        format!("{text}\n")
    }

    fn words(&mut self, event: &Event) -> String {
        match event {
            Event::SessionStart(start) => {
                format!("(a session with {})", name(&start.agent))
            }
            Event::UserMessage(message) => user_message(message),
            Event::MessageDropped { reason, .. } => {
                format!("(a message was dropped: {})", clean(reason))
            }
            Event::AssistantResponse(reply) => self.reply(reply),
            Event::ToolResult {
                call_id, result, ..
            } => self.result(call_id, result),
            Event::ToolsSkipped { call_ids, reason } => {
                self.tools.clear();
                let reason = one_line(reason, TOOL_WIDTH);
                format!("  - {} skipped: {reason}", counted(call_ids.len(), "call"))
            }
            Event::ApprovalRequired { command, kind, .. } => asked(command, *kind),
            Event::ApprovalDecision { decision, by, .. } => {
                let by = by.as_deref().map(|by| format!(" by {}", name(by)));
                format!("  ! {}{}", word(decision), by.unwrap_or_default())
            }
            Event::SilentMessage {
                content,
                sender_id,
                sender_name,
                ..
            } => {
                let sender = name(sender_name.as_deref().unwrap_or(sender_id));
                format!("({sender}, unheard: {})", clean(content))
            }
            Event::StatusChange { to, .. } => match to {
                Status::Paused => "(paused)".to_owned(),
                Status::Active | Status::Running | Status::Completed => "(goes on)".to_owned(),
            },
            Event::SessionChanged {
                title,
                model,
                gateway_chat_id,
            } => {
                let changes = [
                    ("title", title, TOOL_WIDTH),
                    ("model", model, NAME_WIDTH),
                    ("chat", gateway_chat_id, NAME_WIDTH),
                ];
                changed(&changes)
            }
            Event::TurnEnded {
                outcome,
                error,
                usage,
                ..
            } => match (outcome, error) {
                (_, Some(error)) => format!("error: {}", clean(&error.message)),
                (Outcome::Cancelled, None) => "(cancelled)".to_owned(),
                (Outcome::Failed, None) => "error: the turn failed".to_owned(),
                (Outcome::Completed, None) => match usage {
                    Some(usage) => self.detail(&format!("(turn ended: {usage})")),
                    None => self.detail("(turn ended)"),
                },
            },
            Event::Error { code, message } => {
                format!("error: {}: {}", name(code), clean(message))
            }
            Event::ContextSummary(summary) => match (&summary.text, &summary.error) {
                (Some(text), _) => {
                    let head = format!("(summarised up to event {})", summary.upto_seq);
                    match self.is_verbose {
                        true => format!("{head}\n{}", clean(text)),
                        false => head,
                    }
                }
                (None, why) => self.detail(&format!(
                    "(not summarised: {})",
                    clean(why.as_deref().unwrap_or_default())
                )),
            },
            Event::CompactRequested { .. } => "(a summary is asked for)".to_owned(),
            Event::SessionAdopted {} => "(what stands above was written elsewhere)".to_owned(),
            Event::SessionEnd { reason, .. } => format!("(ended: {})", word(reason)),
            Event::TurnStarted { trigger, .. } => {
                self.detail(&format!("(turn started: {})", word(trigger)))
            }
            Event::ToolStarted { tool_name, .. } => {
                self.detail(&format!("  {} started", name(tool_name)))
            }
            Event::ToolParked { on, .. } => {
                self.detail(&format!("  waits for {}", name(on.as_str())))
            }
            Event::Grant(grant) => {
                let rule = one_line(&grant.rule, TOOL_WIDTH);
                format!("  ! for this session, until {}: {rule}", grant.until)
            }
            Event::GrantRevoked { .. } => "  ! taken back for this session".to_owned(),
            Event::Unknown => self.detail("(an event of a newer version)"),
        }
    }

    fn detail(&self, text: &str) -> String {
        if self.is_verbose {
            return text.to_owned();
        }
        String::new()
    }

    fn reply(&mut self, reply: &AssistantResponse) -> String {
        let mut text = String::new();
        if !reply.content.is_empty() {
            let ending = match reply.finish_reason {
                FinishReason::Stop | FinishReason::ToolCalls => "",
                FinishReason::Length => " [cut off: too long]",
                FinishReason::Cancelled => " [cancelled]",
                FinishReason::Interrupted => " [interrupted]",
                FinishReason::Error => " [broken off]",
            };
            let content = clean(&reply.content);
            text = format!("{}: {content}{ending}\n", name(&reply.agent));
        }
        for file in &reply.attachments {
            text.push_str(&format!("{}\n", attached(file)));
        }
        for call in &reply.tool_calls {
            self.tools
                .insert(call.call_id.clone(), call.tool_name.clone());
            text.push_str(&called(call));
        }
        text
    }

    fn result(&mut self, call_id: &CallId, result: &ToolOutput) -> String {
        let tool = self.tools.remove(call_id).unwrap_or_default();
        let outcome = if result.success { "ok" } else { "failed" };
        let content = one_line(&result.content, TOOL_WIDTH);
        format!("  < {} {outcome}: {content}", name(&tool))
    }
}

fn user_message(message: &UserMessage) -> String {
    let sender = match message.sender_name.as_deref() {
        Some(sender) => name(sender),
        None => "you".to_owned(),
    };
    let mut text = format!("{sender}: {}", clean(&message.content));
    for file in &message.attachments {
        text.push_str(&format!("\n{}", attached(file)));
    }
    text
}

fn attached(file: &Attachment) -> String {
    format!("  + {}", one_line(&file.described(), TOOL_WIDTH))
}

fn called(call: &ToolCall) -> String {
    let arguments = one_line(&call.arguments, TOOL_WIDTH);
    format!("  > {} {arguments}\n", name(&call.tool_name))
}

fn asked(command: &str, kind: ApprovalKind) -> String {
    let question = match kind {
        ApprovalKind::Policy => "asks to run",
        ApprovalKind::Uncertain => "may have run already",
    };
    format!("  ? {question}: {}", plain::lines(command).join("\n    "))
}

/// What has changed: its name, what it is now, and how much of that is shown.
fn changed(changes: &[(&str, &Option<String>, usize)]) -> String {
    let told = changes.iter().filter_map(|(what, now, width)| {
        let now = now.as_deref()?;
        Some(format!("{what}: {}", one_line(now, *width)))
    });
    format!("({})", told.collect::<Vec<_>>().join(", "))
}

fn name(text: &str) -> String {
    one_line(text, NAME_WIDTH)
}

/// The word that files and the API use.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        Ok(_) | Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EndReason, Trigger};
    use crate::domain::ids::{MessageId, Seq, TurnId};
    use crate::domain::time::Timestamp;

    fn tell(story: &mut Story, event: Event) -> String {
        story.tell(&Record {
            seq: Seq(7),
            timestamp: Timestamp::from_micros(0),
            cont: false,
            event,
        })
    }

    fn message(content: &str) -> Event {
        Event::from(UserMessage::new(MessageId::mint(1, 1), content))
    }

    #[test]
    fn what_is_said_and_done_is_told_in_short() {
        let call_id = CallId::mint(1, 1);
        let reply = Event::from(AssistantResponse {
            turn_id: TurnId::mint(1, 1),
            message_id: MessageId::mint(1, 2),
            agent: "helper".to_owned(),
            model: "m".to_owned(),
            input_seq: Seq(2),
            content: "let me see".to_owned().into(),
            tool_calls: vec![ToolCall {
                call_id: call_id.clone(),
                tool_name: "date".to_owned(),
                arguments: "{\n}".to_owned(),
                source: None,
            }],
            usage: None,
            finish_reason: FinishReason::ToolCalls,
            continues: None,
            provider_data: None,
            attachments: Vec::new(),
        });
        let result = Event::ToolResult {
            call_id,
            result: ToolOutput {
                success: true,
                content: "Sunday\nmorning".to_owned(),
            },
            duration_ms: None,
            appended_bytes: None,
            attachments: Vec::new(),
        };
        let mut story = Story::new(false);
        let told: String = [message("hi"), reply, result]
            .map(|event| tell(&mut story, event))
            .concat();
        assert_eq!(
            told,
            "you: hi\nhelper: let me see\n  > date { }\n  < date ok: Sunday morning\n"
        );
    }

    #[test]
    fn nothing_in_a_log_is_obeyed_by_a_terminal() {
        let mut story = Story::new(true);
        let nasty = "a\u{1b}]0;x\u{7}\u{202e}b";
        for event in [
            message(nasty),
            Event::Error {
                code: nasty.to_owned(),
                message: nasty.to_owned(),
            },
            Event::ApprovalRequired {
                call_id: CallId::mint(1, 1),
                command: nasty.to_owned(),
                commands: Vec::new(),
                kind: ApprovalKind::Policy,
                exact: false,
                session_rules: Vec::new(),
                requester_id: None,
            },
        ] {
            let told = tell(&mut story, event);
            let unsafe_char = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!told.contains(unsafe_char), "{told:?}");
        }
    }

    #[test]
    fn only_a_verbose_story_tells_times_and_every_step() {
        let started = || Event::TurnStarted {
            turn_id: TurnId::mint(1, 1),
            trigger: Trigger::Message,
        };
        assert_eq!(tell(&mut Story::new(false), started()), "");
        assert_eq!(
            tell(&mut Story::new(true), started()),
            "1970-01-01T00:00:00.000000Z    7  (turn started: message)\n"
        );
        let ended = Event::session_end(EndReason::Timeout);
        assert_eq!(tell(&mut Story::new(false), ended), "(ended: timeout)\n");
    }
}
