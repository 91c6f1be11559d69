//! What an Ollama says of a model (`POST /api/show`). Pure.

use serde_json::{Value, json};

use crate::domain::event::FinishReason;
use crate::domain::spec::ModelInput;
use crate::llm::Sink;
use crate::llm::dialect::{AnswerFault, DecodedReply, Decoder, event_in};

/// What a model may be able to do, in Ollama's words, as far as somebody asks.
const ABILITIES: &[&str] = &["completion", "tools", "vision", "thinking"];

/// What is known of a model; nothing, where its server did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::llm) struct ModelCard {
    /// What it was made for: more than that it cannot take.
    pub(super) made_for: Option<u64>,
    /// `num_ctx` of its Modelfile: what its owner gives it.
    pub(super) set_to: Option<u64>,
    /// Those of [`ABILITIES`] that it has.
    abilities: Option<Vec<&'static str>>,
}

impl ModelCard {
    fn read(shown: &Value) -> ModelCard {
        let info = shown["model_info"].as_object();
        let made_for = info.and_then(|info| {
            let mut named = info.iter();
            let (_, tokens) = named.find(|(key, _)| key.ends_with(".context_length"))?;
            tokens.as_u64()
        });
        let set_to = shown["parameters"].as_str().and_then(|parameters| {
            let mut lines = parameters.lines().map(str::split_ascii_whitespace);
            let mut line =
                lines.find_map(|mut line| (line.next() == Some("num_ctx")).then_some(line))?;
            line.next()?.parse().ok()
        });
        let abilities = shown["capabilities"].as_array().map(|words| {
            let has = |known: &&str| words.iter().any(|word| word == *known);
            ABILITIES.iter().copied().filter(has).collect()
        });
        ModelCard {
            made_for: made_for.filter(|tokens| *tokens > 0),
            set_to: set_to.filter(|tokens| *tokens > 0),
            abilities,
        }
    }

    /// What it takes beside text, where its server says that.
    pub(in crate::llm) fn input(&self) -> Option<ModelInput> {
        let abilities = self.abilities.as_ref()?;
        Some(ModelInput {
            image: abilities.contains(&"vision"),
            pdf: false,
        })
    }

    /// Its server says that it lacks the ability.
    pub(in crate::llm) fn lacks(&self, ability: &str) -> bool {
        let abilities = self.abilities.as_ref();
        abilities.is_some_and(|words| !words.contains(&ability))
    }
}

/// A document with none of these is no answer to the question.
const MEMBERS: &[&str] = &[
    "model_info",
    "capabilities",
    "parameters",
    "details",
    "template",
];

/// Where the server whose chats go to `chat_url` says so.
pub(in crate::llm) fn show_url(chat_url: &str) -> String {
    let (path, query) = match chat_url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (chat_url, String::new()),
    };
    format!("{}/show{query}", path.trim_end_matches("/chat"))
}

/// The question.
pub(in crate::llm) fn show_body(model: &str) -> Vec<u8> {
    json!({ "model": model }).to_string().into_bytes()
}

/// Reads the answer.
#[derive(Debug, Default)]
pub(in crate::llm) struct ShowDecoder {
    pub(in crate::llm) card: Option<ModelCard>,
}

impl Decoder for ShowDecoder {
    fn event(&mut self, name: &[u8], data: &[u8], _: &mut dyn Sink) -> Result<(), AnswerFault> {
        let shown = event_in::<Value>(name, data)?;
        let is_card = |shown: &Value| MEMBERS.iter().any(|member| shown.get(member).is_some());
        self.card = shown.filter(is_card).map(|shown| ModelCard::read(&shown));
        Ok(())
    }

    fn kept_bytes(&self) -> usize {
        0
    }

    fn is_done(&self) -> bool {
        self.card.is_some()
    }

    fn finish(&mut self) -> Result<DecodedReply, AnswerFault> {
        Ok(DecodedReply {
            finish_reason: FinishReason::Stop,
            ..DecodedReply::cut()
        })
    }
}
