//! What a request holds. Pure.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::domain::event::Usage;
use crate::domain::files::beside;
use crate::domain::message::{Message, Reply, is_blank};
use crate::domain::models;
use crate::domain::quirks::ReasoningBack;
use crate::domain::sight::{Showing, Sight};
use crate::domain::spec::{ModelChoice, ModelSettings};
use crate::domain::window::tokens_of_bytes;
use crate::llm::dialect::{AskedModel, arguments_object, legal_tool_name};
use crate::llm::images::{AsText, FilePart, SentKind, user_parts};
use crate::llm::ollama::decoder::THOUGHTS;
use crate::llm::ollama::show::ModelCard;
use crate::llm::openai::{OpenAiTool, tools};
use crate::llm::options::Options;
use crate::llm::{Request, ToolChoice};

/// Room for an answer whose length no file limits, in tokens.
const ANSWER_TOKENS: u64 = 1_024;
/// The same beside a prompt whose length a file tells.
const USUAL_ANSWER_TOKENS: u64 = 8_192;
/// By so much a window grows: with another one the server loads the model anew.
const WINDOW_STEP: u64 = 4_096;

/// The body of a request.
///
/// The conversation stands before what may change from call to call, so that a call begins, byte
/// for byte, as the one before it does.
#[derive(Debug, Serialize)]
pub(in crate::llm) struct OllamaBody<'a> {
    model: &'a str,
    messages: OllamaMessages<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<OpenAiTool<'a>>,
    #[serde(flatten)]
    options: Map<String, Value>,
}

/// The conversation, made message by message as it is written: it may be long.
#[derive(Debug)]
struct OllamaMessages<'a> {
    request: &'a Request,
    asked: AskedModel<'a>,
}

impl Serialize for OllamaMessages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OllamaMessages { request, asked } = self;
        let system = OllamaMessage::System {
            content: &request.system,
        };
        let has_system = !is_blank(&request.system);
        let said = request.messages.iter().map(|one| said(one, request, asked));
        serializer.collect_seq(has_system.then_some(system).into_iter().chain(said))
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum OllamaMessage<'a> {
    System {
        content: &'a str,
    },
    User(SaidByUser<'a>),
    Assistant {
        content: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        thinking: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<OllamaCall<'a>>,
    },
    Tool {
        tool_name: Cow<'a, str>,
        content: &'a str,
    },
}

/// What a person said, with images. They are written first: what is told of those that are not there any more
/// stands in the text.
#[derive(Debug)]
struct SaidByUser<'a> {
    text: Cow<'a, str>,
    files: Vec<FilePart<'a>>,
}

impl Serialize for SaidByUser<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut message = serializer.serialize_map(None)?;
        let told = RefCell::default();
        if !self.files.is_empty() {
            let images = SentImages {
                files: &self.files,
                told: &told,
            };
            message.serialize_entry("images", &images)?;
        }
        message.serialize_entry("content", &beside(&self.text, &told.borrow()))?;
        message.end()
    }
}

/// Images, in their order, and a sentence for each that cannot be sent.
struct SentImages<'a> {
    files: &'a [FilePart<'a>],
    told: &'a RefCell<Vec<String>>,
}

impl Serialize for SentImages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for file in self.files {
            match file.read() {
                Ok(read) if read.kind == SentKind::Image => {
                    list.serialize_element(&AsText(read.base64()))?;
                }
                Ok(_) => self.told.borrow_mut().push(file.told()),
                Err(told) => self.told.borrow_mut().push(told),
            }
        }
        list.end()
    }
}

#[derive(Debug, Serialize)]
struct OllamaCall<'a> {
    function: OllamaFunction<'a>,
}

#[derive(Debug, Serialize)]
struct OllamaFunction<'a> {
    name: Cow<'a, str>,
    arguments: Map<String, Value>,
}

impl<'a> OllamaBody<'a> {
    /// A request to the model of that `card`.
    ///
    /// Errors: it is longer than what the model takes; how much that is.
    pub(in crate::llm) fn new(
        request: &'a Request,
        asked: &AskedModel<'a>,
        card: &ModelCard,
    ) -> Result<OllamaBody<'a>, String> {
        let window = window(request, asked.choice, card)?;
        // There is no other way to say that none may be called.
        let may_call = request.tool_choice != ToolChoice::None && !card.lacks("tools");
        Ok(OllamaBody {
            model: &asked.choice.name,
            messages: OllamaMessages {
                request,
                asked: *asked,
            },
            tools: if may_call {
                tools(&request.tools)
            } else {
                Vec::new()
            },
            options: options(asked, card, window),
        })
    }
}

fn options(asked: &AskedModel<'_>, card: &ModelCard, window: u64) -> Map<String, Value> {
    let settings = &asked.choice.settings;
    let stop = (!settings.stop.is_empty()).then(|| json!(settings.stop));
    let mut inner = Options::default();
    inner.set("num_ctx", Some(window));
    inner.set("num_predict", settings.max_output_tokens);
    inner.set("temperature", settings.temperature);
    inner.set("top_p", settings.top_p);
    inner.set("seed", settings.seed);
    inner.set("stop", stop);
    let inner = inner.taken(asked);
    let streams = asked.streams();
    let mut options = Options::default();
    options.set("stream", Some(streams));
    // Otherwise what is too long is cut at its beginning, and the answer goes on without that.
    options.set("truncate", Some(false));
    options.set("shift", Some(false));
    options.set("think", think(settings).filter(|_| !card.lacks("thinking")));
    options.set("options", Some(Value::Object(inner)));
    options.finish(asked)
}

/// The window that is asked for: what the engine uses, and more where a message needs it, as far as the model
/// and its owner allow. Of a fallback it is what that is known to take: the engine has looked at another model.
fn window(request: &Request, choice: &ModelChoice, card: &ModelCard) -> Result<u64, String> {
    let settings = &choice.settings;
    let prompt = prompt_tokens(request, choice);
    // Whoever says in an agent's file what the model takes has the last word.
    let set_to = card.set_to.filter(|_| settings.max_input_tokens.is_none());
    let most = [card.made_for, set_to].into_iter().flatten().min();
    if let Some(most) = most.filter(|most| prompt > *most) {
        return Err(format!(
            "it is about {prompt} tokens, and the model's window (num_ctx) has {most}"
        ));
    }
    let output = settings.max_output_tokens;
    let whole = settings.max_input_tokens.map_or_else(
        || models::context_tokens(&choice.name),
        |tokens| tokens.saturating_add(output.unwrap_or(USUAL_ANSWER_TOKENS).min(tokens)),
    );
    let used = request.window_tokens.unwrap_or(WINDOW_STEP).min(whole);
    let needed = prompt.saturating_add(output.unwrap_or(ANSWER_TOKENS));
    let window = if needed > used {
        let steps = needed.checked_next_multiple_of(WINDOW_STEP);
        steps.unwrap_or(needed)
    } else {
        used
    };
    Ok(window.min(most.unwrap_or(u64::MAX)))
}

/// What a reader is told where the server has read far less of the prompt than it was sent: older versions cut it
/// though they are asked not to. Its tools are left out of account, as not every template has a place for them.
pub(in crate::llm) fn cut_prompt(request: &Request, usage: Option<Usage>) -> Option<String> {
    /// A shorter prompt may be told far from right.
    const TELLING_TOKENS: u64 = 2_000;
    let read = usage?.prompt_tokens;
    let sent = tokens_of_bytes(said_bytes(request));
    (sent >= TELLING_TOKENS && read > 0 && read < sent / 2).then(|| {
        format!(
            "the server cut the prompt: it read {read} tokens of about {sent}. Set \
             `spec.model.max_input_tokens` to what it takes, or OLLAMA_CONTEXT_LENGTH there to more; newer \
             versions of Ollama say so instead of cutting"
        )
    })
}

/// About how many tokens the request is.
fn prompt_tokens(request: &Request, choice: &ModelChoice) -> u64 {
    let sight = Sight::of(choice);
    let files = request.messages.iter().flat_map(|message| match message {
        Message::User { attachments, .. } => attachments.as_slice(),
        Message::Assistant(_) | Message::Tool { .. } => &[],
    });
    let images = files.filter(|file| sight.showing(file) == Showing::Image);
    let images: u64 = images.map(|file| sight.image_tokens(file)).sum();
    let tools = request
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
    images + tokens_of_bytes(said_bytes(request) + tools.sum::<usize>())
}

/// The bytes of the system prompt and of the conversation.
fn said_bytes(request: &Request) -> usize {
    let said = request.messages.iter().map(|message| match message {
        Message::User { text, .. } => text.len(),
        Message::Assistant(reply) => {
            let calls = reply.tool_calls.iter();
            let calls = calls.map(|call| call.tool_name.len() + call.arguments.len());
            reply.text.len() + calls.sum::<usize>()
        }
        Message::Tool { output, .. } => output.content.len(),
    });
    request.system.len() + said.sum::<usize>()
}

/// The effort in Ollama's words: some models know degrees, the others only whether.
fn think(settings: &ModelSettings) -> Option<Value> {
    let effort = settings.reasoning.as_ref()?.effort.as_deref()?;
    Some(match effort {
        "none" => Value::Bool(false),
        "minimal" => Value::from("low"),
        "low" | "medium" | "high" => Value::from(effort),
        "xhigh" | "max" => Value::from("high"),
        _ => Value::Bool(true),
    })
}

fn said<'a>(
    message: &'a Message,
    request: &'a Request,
    asked: &AskedModel<'_>,
) -> OllamaMessage<'a> {
    match message {
        Message::User { text, attachments } => {
            let said = user_parts(text, attachments, request, asked.choice);
            OllamaMessage::User(SaidByUser {
                text: said.text,
                files: said.files,
            })
        }
        Message::Assistant(reply) => assistant(reply, asked),
        Message::Tool {
            tool_name, output, ..
        } => OllamaMessage::Tool {
            tool_name: legal_tool_name(tool_name),
            content: &output.content,
        },
    }
}

fn assistant<'a>(reply: &'a Reply, asked: &AskedModel<'_>) -> OllamaMessage<'a> {
    let goes_back = asked.quirks.reasoning != ReasoningBack::None;
    let data = reply.provider_data(asked.label).filter(|_| goes_back);
    let calls = reply.tool_calls.iter().map(|call| OllamaCall {
        function: OllamaFunction {
            name: legal_tool_name(&call.tool_name),
            arguments: arguments_object(&call.arguments),
        },
    });
    OllamaMessage::Assistant {
        content: &reply.text,
        thinking: data.and_then(|data| data.get(THOUGHTS)?.as_str()),
        tool_calls: calls.collect(),
    }
}
