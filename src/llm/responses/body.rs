//! What a request holds. Pure.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::domain::event::ToolCall;
use crate::domain::ids::CallId;
use crate::domain::message::{Message, Reply, is_blank};
use crate::domain::quirks::{CacheForm, ReasoningBack};
use crate::llm::dialect::{AskedModel, legal_tool_name};
use crate::llm::images::user_parts;
use crate::llm::openai::arguments;
use crate::llm::options::Options;
use crate::llm::responses::decoder::ITEMS;
use crate::llm::responses::models::may_think;
use crate::llm::user_content::{PartForm, UserContent};
use crate::llm::{Request, ToolChoice, ToolDefinition};

/// The body of a request.
///
/// The conversation stands before what may change from call to call, so that a call begins, byte
/// for byte, as the one before it does.
#[derive(Debug, Serialize)]
pub(in crate::llm) struct ResponsesBody<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    input: InputItems<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ResponsesTool<'a>>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "function")]
pub(in crate::llm) struct ResponsesTool<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
    /// Otherwise the schema would have to be of a narrower kind.
    strict: bool,
}

/// The conversation, made message by message as it is written: it may be long.
#[derive(Debug)]
struct InputItems<'a> {
    request: &'a Request,
    asked: AskedModel<'a>,
}

impl Serialize for InputItems<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InputItems { request, asked } = self;
        serializer.collect_seq(
            request
                .messages
                .iter()
                .flat_map(|one| items(one, request, asked)),
        )
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum InputItem<'a> {
    Message {
        role: &'static str,
        content: UserContent<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        phase: Option<&'a str>,
    },
    Reasoning {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        summary: &'a Value,
        encrypted_content: &'a Value,
    },
    FunctionCall {
        call_id: &'a CallId,
        name: Cow<'a, str>,
        arguments: Cow<'a, str>,
    },
    FunctionCallOutput {
        call_id: &'a CallId,
        output: &'a str,
    },
}

impl<'a> ResponsesBody<'a> {
    pub(in crate::llm) fn new(request: &'a Request, asked: &AskedModel<'a>) -> ResponsesBody<'a> {
        ResponsesBody {
            model: &asked.choice.name,
            instructions: Some(&*request.system).filter(|system| !is_blank(system)),
            input: InputItems {
                request,
                asked: *asked,
            },
            tools: tools(&request.tools),
            options: options(request, asked),
        }
    }
}

/// There is no seed here, and nothing that ends a reply.
fn options(request: &Request, asked: &AskedModel<'_>) -> Map<String, Value> {
    let settings = &asked.choice.settings;
    let quirks = asked.quirks;
    let reasoning = settings.reasoning.as_ref();
    let effort = reasoning.and_then(|reasoning| reasoning.effort.as_deref());
    let may_not_call = !request.tools.is_empty() && request.tool_choice == ToolChoice::None;
    let has_key = quirks.cache == CacheForm::Key;
    let thoughts = || json!(["reasoning.encrypted_content"]);
    let mut options = Options::default();
    options.set("stream", Some(asked.streams()));
    options.set("store", Some(false));
    options.set("include", may_think(&asked.choice.name).then(thoughts));
    options.set("temperature", settings.temperature);
    options.set("top_p", settings.top_p);
    options.set("max_output_tokens", settings.max_output_tokens);
    options.set(
        "reasoning",
        effort.map(|effort| json!({ "effort": effort })),
    );
    options.set("tool_choice", may_not_call.then_some("none"));
    options.set(
        "prompt_cache_key",
        request.cache_key.clone().filter(|_| has_key),
    );
    options.finish(asked)
}

/// Tools as a request holds them.
pub(in crate::llm) fn tools(tools: &[ToolDefinition]) -> Vec<ResponsesTool<'_>> {
    let tools = tools.iter().map(|tool| ResponsesTool {
        name: &tool.name,
        description: &tool.description,
        parameters: &tool.parameters,
        strict: false,
    });
    tools.collect()
}

fn items<'a>(
    message: &'a Message,
    request: &'a Request,
    asked: &AskedModel<'_>,
) -> Vec<InputItem<'a>> {
    match message {
        Message::User { text, attachments } => vec![InputItem::Message {
            role: "user",
            content: UserContent {
                said: user_parts(text, attachments, request, asked.choice),
                form: PartForm::Responses,
            },
            phase: None,
        }],
        Message::Assistant(reply) => {
            let goes_back = asked.quirks.reasoning != ReasoningBack::None;
            let data = reply.provider_data(asked.label).filter(|_| goes_back);
            let came = data.and_then(|data| data.get(ITEMS)?.as_array());
            let in_order = came.and_then(|came| as_they_came(reply, came));
            in_order.unwrap_or_else(|| in_usual_order(reply))
        }
        Message::Tool {
            call_id, output, ..
        } => vec![InputItem::FunctionCallOutput {
            call_id,
            output: &output.content,
        }],
    }
}

/// The items of a reply as it gave them; `None` where they are not those of what is kept of it: then what it
/// thought would stand before something else, which is refused.
fn as_they_came<'a>(reply: &'a Reply, came: &'a [Value]) -> Option<Vec<InputItem<'a>>> {
    let mut rest: &str = &reply.text;
    let mut calls = reply.tool_calls.iter();
    let mut items = Vec::with_capacity(came.len());
    for item in came {
        match item["type"].as_str()? {
            "reasoning" => items.push(InputItem::Reasoning {
                id: item["id"].as_str(),
                summary: &item["summary"],
                encrypted_content: &item["encrypted_content"],
            }),
            "message" => {
                let bytes = usize::try_from(item["bytes"].as_u64()?).ok()?;
                let (text, after) = rest.split_at_checked(bytes)?;
                rest = after;
                items.extend(said(text, item["phase"].as_str()));
            }
            "function_call" => items.push(called(calls.next()?)),
            _ => return None,
        }
    }
    while let Some(InputItem::Reasoning { .. }) = items.last() {
        items.pop();
    }
    (rest.is_empty() && calls.next().is_none()).then_some(items)
}

fn in_usual_order(reply: &Reply) -> Vec<InputItem<'_>> {
    let calls = reply.tool_calls.iter().map(called);
    said(&reply.text, None).into_iter().chain(calls).collect()
}

fn said<'a>(text: &'a str, phase: Option<&'a str>) -> Option<InputItem<'a>> {
    (!is_blank(text)).then_some(InputItem::Message {
        role: "assistant",
        content: UserContent::text(text),
        phase,
    })
}

fn called(call: &ToolCall) -> InputItem<'_> {
    InputItem::FunctionCall {
        call_id: &call.call_id,
        name: legal_tool_name(&call.tool_name),
        arguments: arguments(&call.arguments),
    }
}
