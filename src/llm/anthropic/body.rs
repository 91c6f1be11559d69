//! What a request holds. Pure.

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::engine::general_purpose::GeneralPurpose;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::domain::event::{Attachment, ToolCall};
use crate::domain::ids::CallId;
use crate::domain::message::{Message, Reply, is_blank};
use crate::domain::spec::ModelChoice;
use crate::llm::anthropic::decoder::THINKING;
use crate::llm::dialect::{AskedModel, arguments_object, legal_tool_name};
use crate::llm::images::{AsText, FilePart, SentKind, user_parts};
use crate::llm::{Request, ToolChoice, ToolDefinition};

/// The limit of an answer when the agent names none: the API wants one.
const OUTPUT_TOKENS: u64 = 8192;

/// The body of a request.
#[derive(Debug, Serialize)]
pub(in crate::llm) struct MessagesBody<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<[SentBlock<'a>; 1]>,
    messages: Vec<SentTurn<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<AnthropicTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<TypeTag>,
}

/// An object that has a type and nothing else.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum TypeTag {
    /// The mark for the cache.
    Ephemeral,
    /// No tool is to be called.
    None,
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
        let settings = &asked.choice.settings;
        let may_not_call = !request.tools.is_empty() && request.tool_choice == ToolChoice::None;
        MessagesBody {
            model: &asked.choice.name,
            max_tokens: settings.max_output_tokens.unwrap_or(OUTPUT_TOKENS),
            system: text_block(Cow::Borrowed(&request.system)).map(|block| [block.cached()]),
            messages: messages(request, asked.choice, asked.label),
            stream: true,
            temperature: settings.temperature,
            tools: tools(&request.tools),
            tool_choice: may_not_call.then_some(TypeTag::None),
        }
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

fn messages<'a>(request: &'a Request, choice: &ModelChoice, label: &str) -> Vec<SentTurn<'a>> {
    let mut turns: Vec<SentTurn<'_>> = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        let (role, blocks) = match message {
            Message::User { text, attachments } => {
                ("user", user(text, attachments, request, choice))
            }
            Message::Assistant(reply) => ("assistant", assistant(reply, label)),
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
        };
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

fn assistant<'a>(reply: &'a Reply, label: &str) -> Vec<SentBlock<'a>> {
    let thinking = reply
        .provider_data(label)
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
