//! Which texts of an event are looked through. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::domain::event::{AssistantResponse, Attachment, Event, ToolOutput};
use crate::domain::redact::Redactor;

impl Redactor {
    /// Covers the secrets in an event that is about to be written.
    ///
    /// The text of a reply is left as it is: it was covered while it came, and readers have counted
    /// its bytes.
    pub fn redact_event(&self, event: &mut Event) {
        match event {
            Event::UserMessage(message) => {
                // Nobody shares it before it is written.
                let message = Arc::make_mut(message);
                self.redact_in(&mut message.content);
                self.redact_some(&mut message.sender_id);
                self.redact_some(&mut message.sender_name);
                self.redact_some(&mut message.gateway_message_id);
                self.redact_files(&mut message.attachments);
            }
            Event::AssistantResponse(reply) => self.redact_reply(Arc::make_mut(reply)),
            Event::ToolStarted { tool_name, .. } => self.redact_in(tool_name),
            Event::ToolResult {
                result,
                appended_bytes,
                attachments,
                ..
            } => {
                self.redact_result(result, appended_bytes);
                self.redact_files(attachments);
            }
            Event::ApprovalRequired {
                command,
                commands,
                session_rules,
                requester_id,
                ..
            } => {
                self.redact_in(command);
                for one in commands.iter_mut().chain(session_rules) {
                    self.redact_in(one);
                }
                self.redact_some(requester_id);
            }
            Event::ApprovalDecision { by, .. } => self.redact_some(by),
            Event::SilentMessage {
                content,
                sender_id,
                sender_name,
                ..
            } => {
                self.redact_in(content);
                self.redact_in(sender_id);
                self.redact_some(sender_name);
            }
            Event::SessionChanged { title, model, .. } => {
                self.redact_some(title);
                self.redact_some(model);
            }
            Event::TurnEnded { error, cause, .. } => {
                if let Some(error) = error {
                    self.redact_in(&mut error.message);
                }
                self.redact_some(&mut cause.by);
            }
            Event::SessionEnd { cause, .. } | Event::GrantRevoked { cause, .. } => {
                self.redact_some(&mut cause.by);
            }
            // Its seal is over what it says, which was covered before.
            Event::Grant(_) => {}
            Event::MessageDropped { reason, .. } | Event::ToolsSkipped { reason, .. } => {
                self.redact_in(reason);
            }
            Event::Error { message, .. } => self.redact_in(message),
            Event::ContextSummary(summary) => {
                let summary = Arc::make_mut(summary);
                self.redact_some(&mut summary.text);
                self.redact_some(&mut summary.error);
                self.redact_in(&mut summary.model);
            }
            Event::CompactRequested { keep, by } => {
                self.redact_some(keep);
                self.redact_some(by);
            }
            Event::SessionStart(_)
            | Event::TurnStarted { .. }
            | Event::ToolParked { .. }
            | Event::StatusChange { .. }
            | Event::SessionAdopted {}
            | Event::Unknown => {}
        }
    }

    fn redact_files(&self, files: &mut [Attachment]) {
        for file in files {
            self.redact_in(&mut file.file);
            self.redact_in(&mut file.mime);
            self.redact_some(&mut file.name);
            self.redact_some(&mut file.caption);
        }
    }

    /// What was appended keeps its place, whatever is covered.
    fn redact_result(&self, result: &mut ToolOutput, appended_bytes: &mut Option<usize>) {
        let (said, appended) = result.parts(*appended_bytes);
        let (mut said, appended) = (said.to_owned(), self.redact(appended).into_owned());
        self.redact_in(&mut said);
        *appended_bytes = appended_bytes.map(|_| appended.len());
        result.content = said + &appended;
    }

    fn redact_reply(&self, reply: &mut AssistantResponse) {
        self.redact_in(&mut reply.model);
        for call in &mut reply.tool_calls {
            self.redact_in(&mut call.tool_name);
            self.redact_arguments(&mut call.arguments);
        }
        // The provider has signed it: changed, it would be refused. Without it a reply is whole.
        // In its texts, however they are escaped, or in all of it: a secret can be JSON itself.
        reply
            .provider_data
            .take_if(|data| self.finds_in(data) || self.finds_any(&data.to_string()));
    }

    /// Covers secrets in the arguments of a call as its tool will read them, whatever escapes stand
    /// there, and so that they stay JSON.
    fn redact_arguments(&self, arguments: &mut String) {
        if self.patterns.is_empty() {
            return;
        }
        if let Ok(mut json) = serde_json::from_str(arguments)
            && self.redact_json(&mut json)
        {
            *arguments = json.to_string();
        }
        // No JSON, or a secret that is JSON itself.
        self.redact_in(arguments);
    }

    /// A text, a name or a number of a document has a secret in it, whatever escapes it is written with.
    fn finds_in(&self, json: &Value) -> bool {
        match json {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.finds_any(&number.to_string()),
            Value::String(text) => self.finds_any(text),
            Value::Array(values) => values.iter().any(|value| self.finds_in(value)),
            Value::Object(members) => {
                let mut members = members.iter();
                members.any(|(name, value)| self.finds_any(name) || self.finds_in(value))
            }
        }
    }

    /// Covers secrets in each text, name and number of a document; whether there were any.
    fn redact_json(&self, json: &mut Value) -> bool {
        match json {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => {
                let Cow::Owned(covered) = self.redact(&number.to_string()) else {
                    return false;
                };
                *json = Value::String(covered);
                true
            }
            Value::String(text) => {
                let is_found = self.finds_any(text);
                self.redact_in(text);
                is_found
            }
            Value::Array(values) => {
                let found = values.iter_mut().map(|value| self.redact_json(value));
                found.fold(false, |any, one| any | one)
            }
            Value::Object(members) => {
                let mut is_found = false;
                for (mut name, mut value) in std::mem::take(members) {
                    is_found |= self.finds_any(&name) | self.redact_json(&mut value);
                    self.redact_in(&mut name);
                    members.insert(name, value);
                }
                is_found
            }
        }
    }

    pub(crate) fn redact_some(&self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.redact_in(text);
        }
    }
}
