//! Whether a model calls tools: it is let call one that does nothing. Only a model of a server of one's own
//! is tried, as others cost money.

use std::time::Duration;

use serde_json::json;

use crate::domain::code::NoticeCode;
use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, ModelSpec};
use crate::llm::providers::Providers;
use crate::llm::settings::ProviderSettings;
use crate::llm::{LlmError, Models as _, Request, Sink, SinkError, ToolDefinition};

/// It may have to be loaded first.
const LIMIT: Duration = Duration::from_secs(30);
const TOOL: &str = "ping";

/// Lets `choice` call a tool, once.
///
/// Errors: why it did not, as a sentence about the model.
pub(super) fn call_a_tool(
    providers: &ProviderSettings,
    choice: &ModelChoice,
) -> Result<(), String> {
    let settings = ProviderSettings {
        // Asked once: there is no time for a second try.
        first_retry_delay: 2 * LIMIT,
        ..providers.clone()
    };
    let spec = ModelSpec {
        main: choice.clone(),
        fallbacks: Vec::new(),
    };
    let request = Request {
        system: "Do what you are asked to by calling a tool.".to_owned(),
        messages: vec![Message::User {
            text: "Call the tool `ping` with the word `hello`, and say nothing.".into(),
            attachments: Vec::new(),
        }],
        tools: vec![ToolDefinition {
            name: TOOL.to_owned(),
            description: "Sends a word back.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {"word": {"type": "string"}},
                "required": ["word"],
            }),
        }],
        timeout: Some(LIMIT),
        reply_bytes: Some(64 << 10),
        ..Request::default()
    };
    let mut model = Providers::new(settings).model(&spec);
    match model.call(&request, &mut NoReader) {
        Ok(reply) if reply.tool_calls.iter().any(|call| call.name == TOOL) => Ok(()),
        Ok(_) => Err(
            "was asked to call a tool, and answered in words: an agent's tools are of no use to it"
                .to_owned(),
        ),
        Err(LlmError::Timeout { .. }) => Err(format!(
            "was asked to call a tool, and gave no answer within {} s: it may still be loading",
            LIMIT.as_secs()
        )),
        Err(error) => Err(format!("could not be let call a tool: {error}")),
    }
}

/// Nobody reads what the model says.
struct NoReader;

impl Sink for NoReader {
    fn text(&mut self, _text: &str) {}

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn notice(&mut self, _code: NoticeCode, _message: String) {}
}
