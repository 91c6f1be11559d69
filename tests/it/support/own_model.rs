//! A model in this process, which answers at once and by what it is asked: whatever becomes of a
//! turn, it goes on sensibly.

use std::sync::Arc;

use duragent::domain::event::FinishReason;
use duragent::domain::message::Message;
use duragent::domain::spec::ModelSpec;
use duragent::llm::{Cancel, LlmError, Model, ModelReply, Models, RawToolCall, Request, Sink};

/// Calls these tools, then says "done". Each call is the name of a tool and its arguments.
#[derive(Debug, Clone)]
pub struct CallsOnce(pub Arc<Vec<(&'static str, &'static str)>>);

impl CallsOnce {
    pub fn models(calls: &[(&'static str, &'static str)]) -> Arc<dyn Models> {
        Arc::new(CallsOnce(Arc::new(calls.to_vec())))
    }
}

impl Models for CallsOnce {
    fn model(&self, _: &ModelSpec) -> Box<dyn Model> {
        Box::new(self.clone())
    }
}

impl Model for CallsOnce {
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<ModelReply, LlmError> {
        let has_called = |message: &Message| matches!(message, Message::Tool { .. });
        let is_over = request.messages.iter().any(has_called);
        if is_over {
            sink.text("done");
            sink.flush().map_err(LlmError::Sink)?;
        }
        let calls = self.0.iter().filter(|_| !is_over);
        let calls = calls.map(|(name, arguments)| RawToolCall {
            id: String::new(),
            name: (*name).to_owned(),
            arguments: (*arguments).to_owned(),
        });
        Ok(ModelReply {
            model: "own/model".to_owned(),
            tool_calls: calls.collect(),
            usage: None,
            finish_reason: if is_over {
                FinishReason::Stop
            } else {
                FinishReason::ToolCalls
            },
            provider_data: None,
            is_cut: false,
            cut_calls: Vec::new(),
            from_text: false,
        })
    }

    fn canceller(&self) -> Arc<dyn Cancel> {
        Arc::new(Nothing)
    }
}

/// It is never at it for long.
#[derive(Debug)]
struct Nothing;

impl Cancel for Nothing {
    fn cancel(&self) {}
}
