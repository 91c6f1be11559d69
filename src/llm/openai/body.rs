//! What a request holds. Pure.

use std::borrow::Cow;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::domain::event::ToolCall;
use crate::domain::ids::CallId;
use crate::domain::message::{Message, Reply, is_blank};
use crate::domain::spec::ModelChoice;
use crate::llm::dialect::{AskedModel, arguments_object, legal_tool_name};
use crate::llm::images::{AsText, DataUrl, FilePart, SentKind, UserParts, user_parts};
use crate::llm::openai::decoder::REASONING;
use crate::llm::{Request, ToolChoice, ToolDefinition};

/// The body of a request.
///
/// The conversation stands before what may change from call to call, so that a call begins, byte
/// for byte, as the one before it does.
#[derive(Debug, Serialize)]
pub(in crate::llm) struct ChatBody<'a> {
    model: &'a str,
    messages: Messages<'a>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<OpenAiTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
}

/// The conversation, made message by message as it is written: it may be long.
#[derive(Debug)]
struct Messages<'a> {
    request: &'a Request,
    choice: &'a ModelChoice,
    label: &'a str,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Messages {
            request,
            choice,
            label,
        } = self;
        let system = ChatMessage::System {
            content: &request.system,
        };
        let has_system = !is_blank(&request.system);
        let said = request.messages.iter().map(|one| match one {
            Message::User { text, attachments } => ChatMessage::User {
                content: user_parts(text, attachments, request, choice).into(),
            },
            Message::Assistant(reply) => assistant(reply, label),
            Message::Tool {
                call_id, output, ..
            } => ChatMessage::Tool {
                tool_call_id: call_id,
                content: &output.content,
            },
        });
        serializer.collect_seq(has_system.then_some(system).into_iter().chain(said))
    }
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Debug, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum ChatMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: UserContent<'a>,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Called<'a>>,
        #[serde(rename = "reasoning_details", skip_serializing_if = "Option::is_none")]
        reasoning: Option<&'a Value>,
    },
    Tool {
        tool_call_id: &'a CallId,
        content: &'a str,
    },
}

/// What a person said: a text, or parts where files are shown beside it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum UserContent<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Debug)]
enum ContentPart<'a> {
    Text(Cow<'a, str>),
    File(FilePart<'a>),
}

impl<'a> From<UserParts<'a>> for UserContent<'a> {
    fn from(said: UserParts<'a>) -> UserContent<'a> {
        if said.files.is_empty() {
            return UserContent::Text(said.text);
        }
        let text = (!is_blank(&said.text)).then_some(ContentPart::Text(said.text));
        let files = said.files.into_iter().flat_map(|file| {
            let name = file.name().map(|name| ContentPart::Text(name.into()));
            name.into_iter().chain([ContentPart::File(file)])
        });
        UserContent::Parts(text.into_iter().chain(files).collect())
    }
}

impl Serialize for ContentPart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut part = serializer.serialize_map(None)?;
        let read = match self {
            ContentPart::Text(text) => Err(Cow::Borrowed(&**text)),
            ContentPart::File(file) => file.read().map_err(Cow::Owned),
        };
        match read {
            Err(text) => {
                part.serialize_entry("type", "text")?;
                part.serialize_entry("text", &text)?;
            }
            Ok(file) if file.kind == SentKind::Image => {
                part.serialize_entry("type", "image_url")?;
                part.serialize_entry(
                    "image_url",
                    &ImageUrl {
                        url: AsText(file.data_url()),
                    },
                )?;
            }
            Ok(file) => {
                part.serialize_entry("type", "file")?;
                part.serialize_entry(
                    "file",
                    &FileData {
                        filename: &file.name,
                        file_data: AsText(file.data_url()),
                    },
                )?;
            }
        }
        part.end()
    }
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: AsText<DataUrl<'a>>,
}

#[derive(Serialize)]
struct FileData<'a> {
    filename: &'a str,
    file_data: AsText<DataUrl<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
pub(in crate::llm) struct OpenAiTool<'a> {
    function: ToolFunction<'a>,
}

#[derive(Debug, Serialize)]
struct ToolFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
struct Called<'a> {
    id: &'a CallId,
    function: CalledFunction<'a>,
}

#[derive(Debug, Serialize)]
struct CalledFunction<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

impl<'a> ChatBody<'a> {
    pub(in crate::llm) fn new(request: &'a Request, asked: &AskedModel<'a>) -> ChatBody<'a> {
        let settings = &asked.choice.settings;
        let tokens_max = |is_newer| {
            let tokens_max = settings.max_output_tokens;
            tokens_max.filter(|_| asked.quirks.has_newer_limit == is_newer)
        };
        let may_not_call = !request.tools.is_empty() && request.tool_choice == ToolChoice::None;
        ChatBody {
            model: &asked.choice.name,
            messages: Messages {
                request,
                choice: asked.choice,
                label: asked.label,
            },
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
            temperature: settings.temperature,
            max_completion_tokens: tokens_max(true),
            max_tokens: tokens_max(false),
            tools: tools(&request.tools),
            tool_choice: may_not_call.then_some("none"),
        }
    }
}

/// Tools as a request holds them.
pub(in crate::llm) fn tools(tools: &[ToolDefinition]) -> Vec<OpenAiTool<'_>> {
    tools.iter().map(tool).collect()
}

fn tool(tool: &ToolDefinition) -> OpenAiTool<'_> {
    OpenAiTool {
        function: ToolFunction {
            name: &tool.name,
            description: &tool.description,
            parameters: &tool.parameters,
        },
    }
}

fn assistant<'a>(reply: &'a Reply, label: &str) -> ChatMessage<'a> {
    let says_nothing = !reply.tool_calls.is_empty() && is_blank(&reply.text);
    let data = reply.provider_data(label);
    ChatMessage::Assistant {
        content: (!says_nothing).then_some(&reply.text),
        tool_calls: reply.tool_calls.iter().map(called).collect(),
        reasoning: data.and_then(|data| data.get(REASONING)),
    }
}

fn called(call: &ToolCall) -> Called<'_> {
    Called {
        id: &call.call_id,
        function: CalledFunction {
            name: legal_tool_name(&call.tool_name),
            arguments: arguments(&call.arguments),
        },
    }
}

/// The arguments as the model wrote them, if servers that read them can.
fn arguments(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(Value::Object(arguments_object(text)).to_string()),
    }
}
