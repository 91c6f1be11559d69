//! What a request holds. Pure.

use std::borrow::Cow;

use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::base::digest;
use crate::domain::event::ToolCall;
use crate::domain::message::{Message, Reply, is_blank};
use crate::domain::quirks::{
    CacheForm, CallIdForm, EffortForm, Quirks, ReasoningBack, UnfinishedForm,
};
use crate::llm::dialect::{AskedModel, GO_ON, arguments_object, legal_tool_name};
use crate::llm::images::user_parts;
use crate::llm::openai::decoder::{
    EXTRA_OF_CALLS, EXTRA_OF_MESSAGE, REASONING, REASONING_PLAIN, REASONING_TEXT,
};
use crate::llm::options::Options;
use crate::llm::user_content::{PartForm, UserContent};
use crate::llm::{Request, ToolChoice, ToolDefinition};

/// What a model says where a user's message may not follow a tool's result.
const BRIDGE: &str = "OK.";
/// The longest id of a call that every provider takes.
const CALL_ID_BYTES_MAX: usize = 40;

/// The body of a request.
///
/// The conversation stands before what may change from call to call, so that a call begins, byte
/// for byte, as the one before it does.
#[derive(Debug, Serialize)]
pub(in crate::llm) struct ChatBody<'a> {
    model: &'a str,
    messages: Messages<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<OpenAiTool<'a>>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// The conversation, made message by message as it is written: it may be long.
#[derive(Debug)]
struct Messages<'a> {
    request: &'a Request,
    asked: AskedModel<'a>,
}

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Messages { request, asked } = self;
        let quirks = asked.quirks;
        let messages = &request.messages;
        let mut list = serializer.serialize_seq(None)?;
        if !is_blank(&request.system) {
            let content = &request.system;
            self.put(&mut list, &ChatMessage::System { content }, true)?;
        }
        let is_reply = |message: &Message| matches!(message, Message::Assistant(_));
        let last = messages.len().checked_sub(1);
        let marked = messages.iter().rposition(|one| !is_reply(one));
        for (at, message) in messages.iter().enumerate() {
            let is_result = |before: usize| matches!(messages[before], Message::Tool { .. });
            if quirks.wants_bridge
                && matches!(message, Message::User { .. })
                && at.checked_sub(1).is_some_and(is_result)
            {
                self.put(&mut list, &ChatMessage::Bridge { content: BRIDGE }, false)?;
            }
            let said = said(message, request, asked, Some(at) == last);
            self.put(&mut list, &said, Some(at) == marked)?;
        }
        if quirks.unfinished == UnfinishedForm::Asked && messages.last().is_some_and(is_reply) {
            self.put(&mut list, &ChatMessage::GoOn { content: GO_ON }, false)?;
        }
        list.end()
    }
}

impl Messages<'_> {
    /// Adds a message. Where the cache is told by marks, texts are lists of parts, marked or not: so a message
    /// stays the same when its mark moves on.
    fn put<L: SerializeSeq>(
        &self,
        list: &mut L,
        message: &ChatMessage<'_>,
        is_marked: bool,
    ) -> Result<(), L::Error> {
        if self.asked.quirks.cache != CacheForm::Marks {
            return list.serialize_element(message);
        }
        let mut message = serde_json::to_value(message).map_err(L::Error::custom)?;
        if message["role"] != "assistant" {
            in_parts(&mut message["content"], is_marked);
        }
        list.serialize_element(&message)
    }
}

fn in_parts(content: &mut Value, is_marked: bool) {
    if content.is_string() {
        *content = json!([{"type": "text", "text": content.take()}]);
    }
    let parts = content.as_array_mut().map(|parts| parts.iter_mut());
    let mut parts = parts.into_iter().flatten();
    // A mark stands on texts alone.
    let last = parts.rfind(|part| part["type"] == "text");
    if let Some(part) = last.filter(|_| is_marked) {
        part["cache_control"] = json!({"type": "ephemeral"});
    }
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
    /// What asks to go on with a reply.
    #[serde(rename = "user")]
    GoOn {
        content: &'a str,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Called<'a>>,
        #[serde(rename = "reasoning_details", skip_serializing_if = "Option::is_none")]
        details: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        extra_content: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prefix: Option<bool>,
    },
    /// What stands between a result and what a user says.
    #[serde(rename = "assistant")]
    Bridge {
        content: &'a str,
    },
    Tool {
        tool_call_id: Cow<'a, str>,
        content: &'a str,
    },
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
    id: Cow<'a, str>,
    function: CalledFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Cow<'a, Value>>,
}

#[derive(Debug, Serialize)]
struct CalledFunction<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

impl<'a> ChatBody<'a> {
    pub(in crate::llm) fn new(request: &'a Request, asked: &AskedModel<'a>) -> ChatBody<'a> {
        ChatBody {
            model: &asked.choice.name,
            messages: Messages {
                request,
                asked: *asked,
            },
            tools: tools(&request.tools),
            options: options(request, asked),
        }
    }
}

fn options(request: &Request, asked: &AskedModel<'_>) -> Map<String, Value> {
    let settings = &asked.choice.settings;
    let quirks = asked.quirks;
    let streams = asked.streams();
    let counts = (streams && quirks.counts_in_streams).then(|| json!({"include_usage": true}));
    let limit = match quirks.has_newer_limit {
        true => "max_completion_tokens",
        false => "max_tokens",
    };
    let may_not_call = !request.tools.is_empty() && request.tool_choice == ToolChoice::None;
    let cache_key = request.cache_key.clone();
    let mut options = Options::default();
    options.set("stream", Some(streams));
    options.set("stream_options", counts);
    options.set("temperature", settings.temperature);
    options.set("top_p", settings.top_p);
    options.set(quirks.seed, settings.seed);
    options.set("stop", stop(&settings.stop));
    options.set(limit, settings.max_output_tokens.or(quirks.output_tokens));
    options.set("tool_choice", may_not_call.then_some("none"));
    let has_key = quirks.cache == CacheForm::Key;
    options.set("prompt_cache_key", cache_key.filter(|_| has_key));
    set_effort(&mut options, asked);
    options.finish(asked)
}

fn stop(texts: &[String]) -> Option<Value> {
    match texts {
        [] => None,
        [one] => Some(json!(one)),
        several => Some(json!(several)),
    }
}

fn set_effort(options: &mut Options, asked: &AskedModel<'_>) {
    let Some(reasoning) = &asked.choice.settings.reasoning else {
        return;
    };
    let effort = reasoning.effort.as_deref();
    let form = asked.quirks.effort;
    let is_off = effort == Some("none");
    if matches!(form, EffortForm::Switch | EffortForm::WordAndSwitch) {
        let kind = if is_off { "disabled" } else { "enabled" };
        options.set("thinking", Some(json!({ "type": kind })));
    }
    match form {
        EffortForm::Word => options.set("reasoning_effort", effort),
        EffortForm::WordAndSwitch => options.set("reasoning_effort", effort.filter(|_| !is_off)),
        EffortForm::Object => {
            // Both in one are refused.
            let object = match (effort, reasoning.max_tokens) {
                (Some(effort), _) => Some(json!({ "effort": effort })),
                (None, tokens) => tokens.map(|tokens| json!({ "max_tokens": tokens })),
            };
            options.set("reasoning", object);
        }
        EffortForm::Switch => {}
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

fn said<'a>(
    message: &'a Message,
    request: &'a Request,
    asked: &AskedModel<'_>,
    is_last: bool,
) -> ChatMessage<'a> {
    match message {
        Message::User { text, attachments } => ChatMessage::User {
            content: UserContent {
                said: user_parts(text, attachments, request, asked.choice),
                form: PartForm::Chat,
            },
        },
        Message::Assistant(reply) => assistant(reply, asked, is_last),
        Message::Tool {
            call_id, output, ..
        } => ChatMessage::Tool {
            tool_call_id: call_id_as(asked.quirks.call_ids, call_id.as_str()),
            content: &output.content,
        },
    }
}

fn assistant<'a>(reply: &'a Reply, asked: &AskedModel<'_>, is_last: bool) -> ChatMessage<'a> {
    let quirks = asked.quirks;
    let says_nothing = !reply.tool_calls.is_empty() && is_blank(&reply.text);
    let data = reply.provider_data(asked.label);
    let data = data.filter(|_| quirks.reasoning != ReasoningBack::None);
    let is_prefix = is_last && quirks.unfinished == UnfinishedForm::Prefix;
    let calls = reply.tool_calls.iter().enumerate();
    ChatMessage::Assistant {
        content: (!says_nothing).then_some(&reply.text),
        tool_calls: calls
            .map(|(at, call)| called(call, extra_content(data, at, quirks), quirks))
            .collect(),
        details: data.and_then(|data| data.get(REASONING)),
        reasoning: text_in(data, REASONING_PLAIN)
            .filter(|_| quirks.reasoning != ReasoningBack::Content),
        reasoning_content: reasoning_content(reply, data, quirks),
        extra_content: data.and_then(|data| data.get(EXTRA_OF_MESSAGE)),
        prefix: is_prefix.then_some(true),
    }
}

/// A reply with calls has it always, whoever made it: without it the request is refused.
fn reasoning_content<'a>(
    reply: &Reply,
    data: Option<&'a Value>,
    quirks: &Quirks,
) -> Option<&'a str> {
    if quirks.reasoning != ReasoningBack::Content {
        return None;
    }
    let came = text_in(data, REASONING_TEXT).or_else(|| text_in(data, REASONING_PLAIN));
    came.or((!reply.tool_calls.is_empty()).then_some(""))
}

fn text_in<'a>(data: Option<&'a Value>, name: &str) -> Option<&'a str> {
    data?.get(name)?.as_str()
}

/// What came with the call that is the `at`th of a reply; for the first of one without a signature,
/// what stands for it.
fn extra_content<'a>(
    data: Option<&'a Value>,
    at: usize,
    quirks: &Quirks,
) -> Option<Cow<'a, Value>> {
    const NO_SIGNATURE: &str = "skip_thought_signature_validator";
    let came = data.and_then(|data| data.get(EXTRA_OF_CALLS)?.get(at));
    if let Some(came) = came.filter(|came| came.is_object()) {
        return Some(Cow::Borrowed(came));
    }
    let is_wanted = at == 0 && quirks.reasoning == ReasoningBack::Signatures;
    is_wanted.then(|| Cow::Owned(json!({"google": {"thought_signature": NO_SIGNATURE}})))
}

fn called<'a>(
    call: &'a ToolCall,
    extra_content: Option<Cow<'a, Value>>,
    quirks: &Quirks,
) -> Called<'a> {
    Called {
        id: call_id_as(quirks.call_ids, call.call_id.as_str()),
        function: CalledFunction {
            name: legal_tool_name(&call.tool_name),
            arguments: arguments(&call.arguments),
        },
        extra_content,
    }
}

/// The id of a call as the provider takes it: another one always becomes the same.
fn call_id_as(form: CallIdForm, id: &str) -> Cow<'_, str> {
    const NINE: usize = 9;
    let (is_legal, bytes) = match form {
        CallIdForm::Any => (id.len() <= CALL_ID_BYTES_MAX, CALL_ID_BYTES_MAX),
        CallIdForm::Nine => {
            let is_nine = id.len() == NINE && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
            (is_nine, NINE)
        }
    };
    if is_legal {
        return Cow::Borrowed(id);
    }
    let mut digest = digest::sha256(id.as_bytes());
    digest.truncate(bytes);
    Cow::Owned(digest)
}

/// The arguments as the model wrote them, if servers that read them can.
pub(in crate::llm) fn arguments(text: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(Value::Object(arguments_object(text)).to_string()),
    }
}
