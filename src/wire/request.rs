//! The bodies that clients send, checked.
//!
//! Reading is by hand, because a refusal names the field: unknown ones are ignored, and those we know
//! must have their type.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::text;
use crate::domain::event::Decision;
use crate::domain::files::{ATTACHMENTS_MAX, AttachedFile, FileKey, plain_name};
use crate::domain::ids::{AgentName, CallId};
use crate::domain::message::MessageText;

/// The longest title, and the longest name of a model: they are shown in one line.
const NAME_CHARS_MAX: usize = 200;
/// The longest word on what a summary is to keep.
const KEEP_CHARS_MAX: usize = 500;

/// `POST /api/v1/sessions`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewSession<S = String> {
    /// The name of the agent whose session it will be.
    pub agent: S,
    /// The folder that its tools are to work in, by its real path; without one the agent's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<S>,
}

/// `POST …/messages` and `…/stream`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Say<S = String> {
    /// The text; not blank, unless files come with it.
    pub content: S,
    /// Files that were sent to the session before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachedFile>,
}

/// `PATCH /api/v1/sessions/{id}`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// At most 200 characters, none of them a control character; empty takes the title away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Not empty, and the same otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// `POST …/compact`; may have no body
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compact<S = String> {
    /// What the summary is to keep above all; at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<S>,
}

/// `POST …/approve`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approve<S = String> {
    /// The call that is decided on.
    pub call_id: S,
    /// The text that the person was shown, byte for byte.
    pub command: S,
    /// One that fits the kind of question, which the session checks.
    pub decision: Decision,
}

/// `POST /api/admin/v1/gateways/approve`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApproveSender<S = String> {
    /// The code that the stranger was told.
    pub code: S,
    /// They answer approvals, too.
    pub approver: bool,
}

/// A body that is refused, in a sentence for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// There are no bytes.
    #[error("there is no body: send a JSON object")]
    Empty,
    /// From this byte on.
    #[error("the body is not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    /// The parser's words end with the place.
    #[error("the body is not valid JSON: {message}")]
    NotJson {
        /// The parser's words.
        message: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It is JSON of this kind.
    #[error("the body must be a JSON object, not {0}")]
    NotAnObject(&'static str),
    /// A field that must be there is missing or `null`.
    #[error("missing field `{0}`")]
    Missing(&'static str),
    /// A field is no text.
    #[error("`{field}` must be a string, not {found}")]
    NotText {
        /// Its name.
        field: &'static str,
        /// The kind of value that it is, with its article.
        found: &'static str,
    },
    /// A field is neither `true` nor `false`.
    #[error("`{field}` must be `true` or `false`, not {found}")]
    NotAFlag {
        /// Its name.
        field: &'static str,
        /// The kind of value that it is, with its article.
        found: &'static str,
    },
    /// A field that must say something says nothing.
    #[error("`{0}` must not be empty")]
    Blank(&'static str),
    /// A name is too long to be shown.
    #[error("`{0}` must not be longer than {NAME_CHARS_MAX} characters")]
    TooLong(&'static str),
    /// What a summary is to keep is a few words.
    #[error("`keep` must not be longer than {KEEP_CHARS_MAX} characters")]
    LongWish,
    /// A name could not be shown in one line.
    #[error("`{0}` must not hold control characters")]
    Control(&'static str),
    /// A change that changes nothing.
    #[error("give `title`, `model` or both")]
    NoChange,
    /// No call can have that name.
    #[error("`call_id` is not the id of a call")]
    NotACallId,
    /// A word that is no decision.
    #[error(
        "`decision` must be `allow_once`, `allow_session`, `allow_always` or `deny`; \
         for a call of kind `uncertain` also `retry`, `skip` or `worked`"
    )]
    NotADecision,
    /// A field is no list.
    #[error("`{field}` must be an array, not {found}")]
    NotAList {
        /// Its name.
        field: &'static str,
        /// The kind of value that it is, with its article.
        found: &'static str,
    },
    /// A message cannot have so many.
    #[error("`attachments` must not be more than {ATTACHMENTS_MAX}")]
    TooManyFiles,
    /// The attachment of that index names none.
    #[error(
        "`attachments[{0}]` must be `{{\"file\": …}}` with the `file` that the answer to \
         `POST …/files` has, and perhaps a `name`"
    )]
    NotAFile(usize),
    /// No agent can have that name.
    #[error("Agent '{}' not found", text::shortened(.0))]
    NoSuchAgent(String),
}

impl NewSession {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<NewSession, BodyError> {
        let mut fields = BodyFields::parse(body)?;
        let agent = fields.text("agent")?;
        if AgentName::parse(&agent).is_err() {
            return Err(BodyError::NoSuchAgent(agent));
        }
        let workdir = fields.optional_text("workdir")?;
        Ok(NewSession { agent, workdir })
    }
}

impl Say<MessageText> {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Say<MessageText>, BodyError> {
        let mut fields = BodyFields::parse(body)?;
        let attachments = fields.list("attachments")?;
        if attachments.len() > ATTACHMENTS_MAX {
            return Err(BodyError::TooManyFiles);
        }
        let attachments = attachments.iter().enumerate();
        let attachments = attachments
            .map(|(index, file)| attached(file).ok_or(BodyError::NotAFile(index)))
            .collect::<Result<Vec<_>, _>>()?;
        let content = if attachments.is_empty() {
            let content = fields.text("content")?;
            MessageText::parse(content).map_err(|_| BodyError::Blank("content"))?
        } else {
            MessageText::beside_files(fields.optional_text("content")?.unwrap_or_default())
        };
        Ok(Say {
            content,
            attachments,
        })
    }
}

impl Change {
    /// Reads the body. One that changes nothing is an error too.
    pub fn parse(body: &[u8]) -> Result<Change, BodyError> {
        let mut fields = BodyFields::parse(body)?;
        let change = Change {
            title: fields.optional_text("title")?,
            model: fields.optional_text("model")?,
        };
        if change.title.is_none() && change.model.is_none() {
            return Err(BodyError::NoChange);
        }
        check_name("title", change.title.as_deref())?;
        check_name("model", change.model.as_deref())?;
        if change.model.as_deref() == Some("") {
            return Err(BodyError::Blank("model"));
        }
        Ok(change)
    }
}

impl Compact {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Compact, BodyError> {
        if body.is_empty() {
            return Ok(Compact { keep: None });
        }
        let keep = BodyFields::parse(body)?.optional_text("keep")?;
        let keep = keep.map(|text| text.trim().to_owned());
        let keep = keep.filter(|text| !text.is_empty());
        if keep
            .as_ref()
            .is_some_and(|text| text.chars().count() > KEEP_CHARS_MAX)
        {
            return Err(BodyError::LongWish);
        }
        Ok(Compact { keep })
    }
}

impl Approve {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Approve, BodyError> {
        let mut fields = BodyFields::parse(body)?;
        let call_id = fields.text("call_id")?;
        if CallId::parse(&call_id).is_err() {
            return Err(BodyError::NotACallId);
        }
        Ok(Approve {
            call_id,
            command: fields.text("command")?,
            decision: decision(fields.text("decision")?)?,
        })
    }
}

impl ApproveSender {
    /// Reads the body. Without `approver` it is `false`.
    pub fn parse(body: &[u8]) -> Result<ApproveSender, BodyError> {
        let mut fields = BodyFields::parse(body)?;
        let code = fields.text("code")?;
        if code.trim().is_empty() {
            return Err(BodyError::Blank("code"));
        }
        let approver = fields.optional_flag("approver")?.unwrap_or(false);
        Ok(ApproveSender { code, approver })
    }
}

fn attached(file: &Value) -> Option<AttachedFile> {
    let name = match file.get("name") {
        None | Some(Value::Null) => None,
        Some(name) => plain_name(name.as_str()?),
    };
    Some(AttachedFile {
        file: FileKey::parse(file.get("file")?.as_str()?)?,
        name,
    })
}

fn check_name(field: &'static str, value: Option<&str>) -> Result<(), BodyError> {
    let value = value.unwrap_or_default();
    if value.chars().count() > NAME_CHARS_MAX {
        return Err(BodyError::TooLong(field));
    }
    if value.chars().any(char::is_control) {
        return Err(BodyError::Control(field));
    }
    Ok(())
}

fn decision(word: String) -> Result<Decision, BodyError> {
    serde_json::from_value(Value::String(word)).map_err(|_| BodyError::NotADecision)
}

/// The fields of a JSON object, taken one by one, so that each complaint names its field.
struct BodyFields(Map<String, Value>);

impl BodyFields {
    fn parse(body: &[u8]) -> Result<BodyFields, BodyError> {
        if body.is_empty() {
            return Err(BodyError::Empty);
        }
        let text = std::str::from_utf8(body);
        let text = text.map_err(|error| BodyError::NotUtf8(error.valid_up_to()))?;
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => Ok(BodyFields(fields)),
            Ok(other) => Err(BodyError::NotAnObject(kind_of(&other))),
            Err(error) => Err(BodyError::NotJson {
                message: error.to_string(),
                line: error.line(),
                column: error.column(),
            }),
        }
    }

    fn text(&mut self, name: &'static str) -> Result<String, BodyError> {
        self.optional_text(name)?.ok_or(BodyError::Missing(name))
    }

    /// The same; one that is not there is empty.
    fn list(&mut self, field: &'static str) -> Result<Vec<Value>, BodyError> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(BodyError::NotAList {
                field,
                found: kind_of(&other),
            }),
        }
    }

    /// A field that is `null` is one that is not there.
    fn optional_text(&mut self, field: &'static str) -> Result<Option<String>, BodyError> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(BodyError::NotText {
                field,
                found: kind_of(&other),
            }),
        }
    }

    fn optional_flag(&mut self, field: &'static str) -> Result<Option<bool>, BodyError> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(BodyError::NotAFlag {
                field,
                found: kind_of(&other),
            }),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
