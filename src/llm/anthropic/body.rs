//! What a request holds. Pure.

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::engine::general_purpose::GeneralPurpose;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::domain::event::{Attachment, ToolCall};
use crate::domain::ids::CallId;
use crate::domain::message::{Message, Reply, is_blank};
use crate::domain::quirks::{ReasoningBack, ThinkingForm, UnfinishedForm};
use crate::domain::spec::ModelChoice;
use crate::llm::anthropic::decoder::{ORDER, THINKING};
use crate::llm::dialect::{AskedModel, GO_ON, arguments_object, legal_tool_name};
use crate::llm::images::{AsText, FilePart, SentKind, user_parts};
use crate::llm::options::Options;
use crate::llm::{Request, ToolChoice, ToolDefinition};

/// The limit of an answer when the agent names none: the API wants one.
const OUTPUT_TOKENS: u64 = 8192;

/// The body of a request.
#[derive(Debug, Serialize)]
pub(in crate::llm) struct MessagesBody<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<[SentBlock<'a>; 1]>,
    messages: Vec<SentTurn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<AnthropicTool<'a>>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// An object that has a type and nothing else.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum TypeTag {
    /// The mark for the cache.
    Ephemeral,
}

#[derive(Debug, Serialize)]
pub(in crate::llm) struct AnthropicTool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<TypeTag>,
}

/// A message of the dialect: a role and blocks.
#[derive(Debug, Serialize)]
struct SentTurn<'a> {
    role: &'static str,
    #[serde(rename = "content")]
    blocks: Vec<SentBlock<'a>>,
}

#[derive(Debug, Serialize)]
struct SentBlock<'a> {
    #[serde(flatten)]
    content: BlockContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<TypeTag>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockContent<'a> {
    Text {
        text: Cow<'a, str>,
    },
    ToolUse {
        id: &'a CallId,
        name: Cow<'a, str>,
        input: Map<String, Value>,
    },
    ToolResult {
        tool_use_id: &'a CallId,
        content: &'a str,
        #[serde(skip_serializing_if = "is_false")]
        is_error: bool,
    },
    /// A block as it came.
    #[serde(untagged)]
    Thinking(&'a Value),
    #[serde(untagged)]
    File(FileBlock<'a>),
}

/// An image or a document; a text where it is not there any more.
#[derive(Debug)]
struct FileBlock<'a>(FilePart<'a>);

#[derive(Serialize)]
struct BlockSource<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    media_type: &'a str,
    data: AsText<Base64Display<'a, 'static, GeneralPurpose>>,
}

impl Serialize for FileBlock<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut block = serializer.serialize_map(None)?;
        match self.0.read() {
            Err(text) => {
                block.serialize_entry("type", "text")?;
                block.serialize_entry("text", &text)?;
            }
            Ok(file) => {
                let is_image = file.kind == SentKind::Image;
                block.serialize_entry("type", if is_image { "image" } else { "document" })?;
                let source = BlockSource {
                    kind: "base64",
                    media_type: &file.mime,
                    data: AsText(file.base64()),
                };
                block.serialize_entry("source", &source)?;
                if !is_image {
                    block.serialize_entry("title", &file.name)?;
                }
            }
        }
        block.end()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl<'a> MessagesBody<'a> {
    /// A request to the model that is asked.
    pub(in crate::llm) fn new(request: &'a Request, asked: &AskedModel<'a>) -> MessagesBody<'a> {
        let thinking = Thinking::of(asked);
        MessagesBody {
            model: &asked.choice.name,
            system: text_block(Cow::Borrowed(&request.system)).map(|block| [block.cached()]),
            messages: messages(request, asked, thinking.kind.is_some()),
            tools: tools(&request.tools),
            options: options(request, asked, thinking),
        }
    }
}

fn options(request: &Request, asked: &AskedModel<'_>, thinking: Thinking) -> Map<String, Value> {
    let settings = &asked.choice.settings;
    let streams = asked.streams();
    let may_not_call = !request.tools.is_empty() && request.tool_choice == ToolChoice::None;
    let output_tokens = settings.max_output_tokens.unwrap_or(OUTPUT_TOKENS);
    let is_free = thinking.kind.is_none();
    let stop = Some(settings.stop.as_slice()).filter(|stop| !stop.is_empty());
    let mut options = Options::default();
    // The limit is one for both.
    options.set("max_tokens", Some(output_tokens + thinking.budget));
    options.set("stream", Some(streams));
    // One who thinks has only one of each.
    options.set("temperature", settings.temperature.filter(|_| is_free));
    options.set("top_p", settings.top_p.filter(|_| is_free));
    options.set("stop_sequences", stop);
    options.set("tool_choice", may_not_call.then(|| json!({"type": "none"})));
    options.set("thinking", thinking.kind);
    options.set("output_config", thinking.config);
    options.finish(asked)
}

/// How a model is to think.
#[derive(Debug, Default)]
struct Thinking {
    /// `thinking`, where it thinks.
    kind: Option<Value>,
    /// `output_config`.
    config: Option<Value>,
    /// The tokens that it may think, where they are told.
    budget: u64,
}

impl Thinking {
    fn of(asked: &AskedModel<'_>) -> Thinking {
        let quirks = asked.quirks;
        let reasoning = asked.choice.settings.reasoning.as_ref();
        let effort = reasoning.and_then(|one| one.effort.as_deref());
        let Some(reasoning) = reasoning.filter(|_| asked.left_out().all(|one| one != "thinking"))
        else {
            return Thinking::default();
        };
        if effort == Some("none") {
            return Thinking::default();
        }
        match (quirks.thinking, effort) {
            (ThinkingForm::Budget, _) | (ThinkingForm::Either, None) => {
                Thinking::within(reasoning.max_tokens.unwrap_or_else(|| budget(effort)))
            }
            (ThinkingForm::Either | ThinkingForm::Adaptive, effort) => Thinking {
                kind: Some(json!({"type": "adaptive"})),
                config: effort
                    .map(|word| json!({"effort": if word == "minimal" { "low" } else { word }})),
                budget: 0,
            },
        }
    }

    fn within(budget: u64) -> Thinking {
        /// It takes no less.
        const TOKENS_MIN: u64 = 1024;
        let budget = budget.max(TOKENS_MIN);
        Thinking {
            kind: Some(json!({"type": "enabled", "budget_tokens": budget})),
            config: None,
            budget,
        }
    }
}

/// The tokens that an effort stands for.
fn budget(effort: Option<&str>) -> u64 {
    match effort {
        Some("minimal") => 1024,
        Some("low") => 2048,
        Some("high") => 16_384,
        Some("xhigh" | "max") => 32_000,
        Some(_) | None => 8192,
    }
}

impl SentBlock<'_> {
    fn cached(mut self) -> Self {
        self.cache_control = Some(TypeTag::Ephemeral);
        self
    }
}

impl<'a> From<BlockContent<'a>> for SentBlock<'a> {
    fn from(content: BlockContent<'a>) -> SentBlock<'a> {
        SentBlock {
            content,
            cache_control: None,
        }
    }
}

/// Tools as a request holds them; the last one ends what providers keep in their caches.
pub(in crate::llm) fn tools(tools: &[ToolDefinition]) -> Vec<AnthropicTool<'_>> {
    let mut tools: Vec<AnthropicTool<'_>> = tools
        .iter()
        .map(|tool| AnthropicTool {
            name: &tool.name,
            description: &tool.description,
            input_schema: &tool.parameters,
            cache_control: None,
        })
        .collect();
    if let Some(last) = tools.last_mut() {
        last.cache_control = Some(TypeTag::Ephemeral);
    }
    tools
}

fn messages<'a>(request: &'a Request, asked: &AskedModel<'_>, thinks: bool) -> Vec<SentTurn<'a>> {
    let mut turns: Vec<SentTurn<'_>> = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        let (role, blocks) = blocks(message, request, asked);
        // Results are a user's message here, and so is what the user says after them.
        match turns.last_mut() {
            Some(last) if last.role == role => last.blocks.extend(blocks),
            _ => turns.push(SentTurn { role, blocks }),
        }
    }
    turns.retain(|turn| !turn.blocks.is_empty());
    if let Some(last) = turns.last_mut() {
        end_well(last);
    }
    // One who is to think cannot go on in the middle of a reply either.
    let is_asked = thinks || asked.quirks.unfinished == UnfinishedForm::Asked;
    if is_asked && turns.last().is_some_and(|turn| turn.role == "assistant") {
        let blocks = text_block(Cow::Borrowed(GO_ON)).into_iter().collect();
        turns.push(SentTurn {
            role: "user",
            blocks,
        });
    }
    turns
}

/// Marks the last block for the cache; an answer to be gone on with may not end in a blank.
fn end_well(turn: &mut SentTurn<'_>) {
    let Some(block) = turn.blocks.last_mut() else {
        return;
    };
    if turn.role == "assistant"
        && let BlockContent::Text { text } = &mut block.content
    {
        *text = Cow::Owned(text.trim_end().to_owned());
    }
    if !matches!(block.content, BlockContent::Thinking(_)) {
        block.cache_control = Some(TypeTag::Ephemeral);
    }
}

fn blocks<'a>(
    message: &'a Message,
    request: &'a Request,
    asked: &AskedModel<'_>,
) -> (&'static str, Vec<SentBlock<'a>>) {
    match message {
        Message::User { text, attachments } => {
            ("user", user(text, attachments, request, asked.choice))
        }
        Message::Assistant(reply) => ("assistant", assistant(reply, asked)),
        Message::Tool {
            call_id, output, ..
        } => {
            let result = BlockContent::ToolResult {
                tool_use_id: call_id,
                content: &output.content,
                is_error: !output.success,
            };
            ("user", vec![result.into()])
        }
    }
}

/// Files first: models see them better so.
fn user<'a>(
    text: &'a str,
    attachments: &'a [Attachment],
    request: &'a Request,
    choice: &ModelChoice,
) -> Vec<SentBlock<'a>> {
    let said = user_parts(text, attachments, request, choice);
    let files = said.files.into_iter().flat_map(|file| {
        let name = file.name().and_then(|name| text_block(Cow::Owned(name)));
        let block = BlockContent::File(FileBlock(file)).into();
        name.into_iter().chain([block])
    });
    files.chain(text_block(said.text)).collect()
}

fn assistant<'a>(reply: &'a Reply, asked: &AskedModel<'_>) -> Vec<SentBlock<'a>> {
    let data = reply.provider_data(asked.label);
    let data = data.filter(|_| asked.quirks.reasoning != ReasoningBack::None);
    if let Some(blocks) = data.and_then(|data| as_they_came(reply, data)) {
        return blocks;
    }
    let thinking = data
        .and_then(|data| data.get(THINKING)?.as_array())
        .into_iter()
        .flatten()
        .filter(|block| block.is_object())
        .map(|block| BlockContent::Thinking(block).into());
    thinking
        .chain(text_block(Cow::Borrowed(&reply.text)))
        .chain(reply.tool_calls.iter().map(tool_use))
        .collect()
}

/// The blocks of a reply in the order in which they came, where that is another than the usual one and is
/// known; `None` where the reply is not what it was, as when a secret in it was covered.
fn as_they_came<'a>(reply: &'a Reply, data: &'a Value) -> Option<Vec<SentBlock<'a>>> {
    let thinking = data.get(THINKING).and_then(Value::as_array);
    let mut blocks = Vec::new();
    let mut text: &str = &reply.text;
    let mut calls = 0;
    for step in data.get(ORDER)?.as_array()? {
        let number = usize::try_from(step.get(1)?.as_u64()?).ok()?;
        match step.get(0)?.as_str()? {
            "thinking" => {
                let block = thinking?.get(number).filter(|block| block.is_object())?;
                blocks.push(BlockContent::Thinking(block).into());
            }
            "text" => {
                let (piece, rest) = text.split_at_checked(number)?;
                text = rest;
                blocks.extend(text_block(Cow::Borrowed(piece)));
            }
            "call" => {
                blocks.push(tool_use(reply.tool_calls.get(number)?));
                calls += 1;
            }
            _ => return None,
        }
    }
    (text.is_empty() && calls == reply.tool_calls.len()).then_some(blocks)
}

/// A block of text; blank ones are refused by the API.
fn text_block(text: Cow<'_, str>) -> Option<SentBlock<'_>> {
    (!is_blank(&text)).then(|| BlockContent::Text { text }.into())
}

fn tool_use(call: &ToolCall) -> SentBlock<'_> {
    let content = BlockContent::ToolUse {
        id: &call.call_id,
        name: legal_tool_name(&call.tool_name),
        input: arguments_object(&call.arguments),
    };
    content.into()
}
