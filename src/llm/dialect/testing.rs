//! What the tests of both dialects do with a body.

use proptest::prelude::{Strategy, prop};
use proptest::sample::Index;

use serde_json::{Value, json};

use super::{AnswerFault, AskedModel, DecodedReply, Decoder};
use crate::domain::code::NoticeCode;
use crate::domain::event::{ToolCall, ToolOutput};
use crate::domain::ids::{AgentName, CallId};
use crate::domain::message::{Message, Reply};
use crate::domain::quirks::Quirks;
use crate::domain::spec::{AgentSpec, ModelChoice, ModelSpec, Provider};
use crate::llm::answer_body::AnswerBody;
use crate::llm::handover::Handover;
use crate::llm::{Request, Sink, SinkError, ToolChoice, ToolDefinition};

/// A sink that keeps the pieces.
#[derive(Debug, Default)]
pub(in crate::llm) struct Pieces(pub(in crate::llm) Vec<String>);

impl Sink for Pieces {
    fn text(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn notice(&mut self, _code: NoticeCode, _message: String) {}
}

/// The deltas and the answer of a body that comes in `pieces`.
pub(in crate::llm) fn decode(
    mut decoder: impl Decoder,
    pieces: &[&[u8]],
) -> (Vec<String>, Result<DecodedReply, AnswerFault>) {
    let mut heard = Pieces::default();
    let mut sink = Handover::new(&mut heard, None);
    let mut body = AnswerBody::default();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| body.feed(piece, &mut decoder, &mut sink));
    }
    let result = result.and_then(|()| body.end(&mut decoder, &mut sink));
    (heard.0, result)
}

/// What servers write in places that do not matter.
pub(in crate::llm) fn junk() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(false),
        json!(1.5),
        json!(-3),
        json!(""),
        json!([]),
        json!([7]),
        json!({}),
    ])
}

/// The same events, of which no two begin alike.
pub(in crate::llm) fn unlike(body: &str) -> String {
    let mut events = body.split("data: {");
    let mut unlike = events.next().unwrap_or_default().to_owned();
    for (at, event) in events.enumerate() {
        unlike += &format!("data: {{{}{event}", " ".repeat(at));
    }
    unlike
}

/// `body` cut at these places.
pub(in crate::llm) fn cut_at<'a>(body: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = places
        .iter()
        .map(|place| place.index(body.len() + 1))
        .collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect()
}

/// The calls of a turn that uses a tool, and of the turn after it; in the last one no tool may be
/// called.
pub(in crate::llm) fn growing_conversation(provider: Provider) -> (Vec<Request>, ModelSpec) {
    let user = |text: &str| Message::User {
        text: text.into(),
        attachments: Vec::new(),
    };
    let call_id = CallId::parse("call-1").unwrap();
    let asks = ToolCall {
        call_id: call_id.clone(),
        tool_name: "date".to_owned(),
        arguments: r#"{"zone":"utc","at":1}"#.to_owned(),
        source: None,
    };
    let says = |text: &str, tool_calls| {
        Message::Assistant(Reply {
            text: text.into(),
            tool_calls,
            event: None,
        })
    };
    let result = Message::Tool {
        call_id,
        tool_name: "date".to_owned(),
        output: ToolOutput {
            success: false,
            content: "no clock".to_owned(),
        },
    };
    let all = [
        user("what day is it?"),
        says("", vec![asks]),
        result,
        says("I can't tell", Vec::new()),
        user("a \"pity\""),
    ];
    let calls = [1, 3, 5].map(|count| Request {
        system: "be brief".to_owned(),
        messages: all[..count].to_vec(),
        tools: vec![ToolDefinition {
            name: "date".to_owned(),
            description: "tells the day".to_owned(),
            parameters: json!({"type": "object"}),
        }],
        tool_choice: match count {
            5 => ToolChoice::None,
            _ => ToolChoice::Auto,
        },
        ..Request::default()
    });
    let choice = ModelChoice {
        provider,
        name: "m".to_owned(),
        base_url: None,
        settings: Default::default(),
    };
    let spec = AgentSpec::new(AgentName::parse("a").unwrap(), choice).model;
    (calls.to_vec(), spec)
}

/// A model that is asked, by that label.
pub(in crate::llm) fn asked<'a>(
    choice: &'a ModelChoice,
    label: &'a str,
    quirks: &'a Quirks,
) -> AskedModel<'a> {
    AskedModel {
        choice,
        label,
        quirks,
        mendings: &[],
    }
}
