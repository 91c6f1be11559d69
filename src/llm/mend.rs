//! What a provider's refusal says of the request, so that it is made again without what is not taken. Pure, but
//! for the memory of it.
//!
//! Servers differ from model to model and from month to month, and most name what they do not take. Messages,
//! tools and what the agent puts into the request itself are never touched.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use crate::base::lock::lock;
use crate::domain::quirks::{CallIdForm, Quirks, ReasoningBack, UnfinishedForm};
use crate::llm::LlmError;

/// How often one call is mended.
pub(super) const MENDINGS_MAX: usize = 4;
/// Of so many models it is known how they are asked.
const MODELS_MAX: usize = 256;

/// What is changed in a request that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mending {
    /// An option is left out.
    Without(&'static str),
    /// The limit of the reply has its newer name, …
    NewerLimit,
    /// … or its older one.
    OlderLimit,
    /// The whole answer at once.
    Whole,
    /// No thinking, this time: what would have to go back is not there.
    NoThinking,
    /// Nothing of what was thought goes back, this time.
    NothingBack,
    /// Nothing of what was thought ever goes back: it has no place in a message there.
    NeverBack,
    /// `reasoning_content` goes back.
    ContentBack,
    /// Calls without a signature say so.
    SignaturesBack,
    /// Something stands between a tool's result and a user's message.
    Bridge,
    /// The ids of calls have nine letters and digits.
    NineLetters,
    /// A person asks to go on with a reply.
    GoOn,
}

/// All of the words of a refusal, in lower case and without quotes, and what they mean. The first that fits
/// counts.
const MEANINGS: &[(&[&str], Mending)] = &[
    (&["use max_completion_tokens"], Mending::NewerLimit),
    (&["use max_tokens"], Mending::OlderLimit),
    (&["role user after role tool"], Mending::Bridge),
    (&["tool call id", "length of 9"], Mending::NineLetters),
    (&["message prefill"], Mending::GoOn),
    (&["response prefill"], Mending::GoOn),
    (&["must end with a user message"], Mending::GoOn),
    (&["expected last role user"], Mending::GoOn),
    (&["must start with a thinking block"], Mending::NoThinking),
    (
        &["expected thinking or redacted_thinking"],
        Mending::NoThinking,
    ),
    (
        &["reasoning_content", "must be passed"],
        Mending::ContentBack,
    ),
    (&["reasoning_content", "missing"], Mending::ContentBack),
    (&["thought_signature", "missing"], Mending::SignaturesBack),
    (&["thought_signature"], Mending::NothingBack),
    (&["thought signature"], Mending::NothingBack),
    (&["invalid signature"], Mending::NothingBack),
    (
        &["thinking blocks", "cannot be modified"],
        Mending::NothingBack,
    ),
    (&["encrypted_content"], Mending::NothingBack),
    (&["encrypted content"], Mending::NothingBack),
    (&["reasoning item"], Mending::NothingBack),
    (&["reasoning_content"], Mending::NothingBack),
    (&["reasoning_details"], Mending::NothingBack),
    (&["verified to stream"], Mending::Whole),
    (&["not support stream"], Mending::Whole),
    (&["streaming", "not supported"], Mending::Whole),
    (&["streaming", "unsupported"], Mending::Whole),
];

/// By these words something is refused, whatever it is.
const REFUSED: &[&str] = &[
    "unsupported",
    "not supported",
    "not support",
    "deprecated",
    "extra inputs",
    "extra_forbidden",
    "extra fields",
    "unrecognized",
    "unknown",
    "unexpected keyword",
    "not permitted",
    "not allowed",
    "not available",
    "only the default",
    "only 1 is allowed",
    "may only be set to",
    "cannot both be",
];

/// What can be left out, or be asked for otherwise, by the name that a refusal has for it.
const OPTIONS: &[(&str, Mending)] = &[
    ("max_tokens", Mending::NewerLimit),
    ("max_completion_tokens", Mending::OlderLimit),
    ("stream", Mending::Whole),
    ("stream_options", Mending::Without("stream_options")),
    ("temperature", Mending::Without("temperature")),
    ("top_p", Mending::Without("top_p")),
    ("seed", Mending::Without("seed")),
    ("random_seed", Mending::Without("random_seed")),
    ("stop", Mending::Without("stop")),
    ("stop_sequences", Mending::Without("stop_sequences")),
    ("reasoning_effort", Mending::Without("reasoning_effort")),
    ("reasoning", Mending::Without("reasoning")),
    ("thinking", Mending::Without("thinking")),
    ("output_config", Mending::Without("output_config")),
    ("tool_choice", Mending::Without("tool_choice")),
    ("prompt_cache_key", Mending::Without("prompt_cache_key")),
    ("include", Mending::Without("include")),
];

/// Words, all of one line, by which a model is not to be had in chat completions, but in Responses.
///
/// Source: OpenAI, Azure, GitHub Copilot, as their users report them.
const ONLY_IN_RESPONSES: &[&[&str]] = &[
    &["only supported in", "/responses"],
    &["only available", "/responses"],
    &["use", "/responses", "instead"],
    &["use", "responses api", "instead"],
    &["only", "supported", "responses api"],
    &["not accessible via the /chat/completions"],
    &["chatcompletion operation does not work"],
    &["not a chat model", "v1/chat/completions"],
];

/// The model is to be asked by Responses, as the refusal of a chat says.
pub(super) fn wants_responses(error: &LlmError) -> bool {
    words_of(error).is_some_and(|words| names_responses(&words))
}

fn names_responses(words: &str) -> bool {
    let has_all = |parts: &&[&str]| parts.iter().all(|part| words.contains(part));
    ONLY_IN_RESPONSES.iter().any(has_all)
}

/// What a refusal of the request says, in lower case and without quotes.
fn words_of(error: &LlmError) -> Option<String> {
    let message = match error {
        LlmError::Status {
            status: 400 | 404 | 405 | 422 | 500 | 501,
            message,
            ..
        }
        | LlmError::MidStream { message, .. } => message,
        LlmError::Status { .. }
        | LlmError::Cancelled
        | LlmError::MissingKey { .. }
        | LlmError::NoAddress { .. }
        | LlmError::ContextOverflow { .. }
        | LlmError::Truncated { .. }
        | LlmError::Unreachable { .. }
        | LlmError::Timeout { .. }
        | LlmError::Malformed { .. }
        | LlmError::Sink(_) => return None,
    };
    Some(message.to_ascii_lowercase().replace(['\'', '"', '`'], ""))
}

/// What may help where a provider refused a request with `error`.
pub(super) fn mending(error: &LlmError) -> Option<Mending> {
    let words = words_of(error)?;
    if names_responses(&words) {
        // It is asked there.
        return None;
    }
    let is_meant = |all: &[&str]| all.iter().all(|one| words.contains(one));
    let is_refused = REFUSED.iter().any(|one| words.contains(one));
    if let Some((_, mending)) = MEANINGS.iter().find(|(all, _)| is_meant(all)) {
        let is_of_message = is_refused && words.contains("reasoning_");
        // Nor may that be asked for.
        let is_asked_for = is_refused && words.contains("encrypted");
        return Some(match mending {
            Mending::NothingBack if is_asked_for => Mending::Without("include"),
            Mending::NothingBack if is_of_message => Mending::NeverBack,
            mending => *mending,
        });
    }
    if !is_refused {
        return None;
    }
    // What is asked for has the same name as what was thought.
    if words.contains("messages") && place(&words, "reasoning").is_some() {
        return Some(Mending::NeverBack);
    }
    // What stands first is what it is about.
    let options = OPTIONS
        .iter()
        .filter_map(|(name, mending)| Some((place(&words, name)?, *mending)));
    options
        .min_by_key(|(place, _)| *place)
        .map(|(_, mending)| mending)
}

/// Where `name` stands in `words` as a word of its own.
pub(super) fn place(words: &str, name: &str) -> Option<usize> {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = words.as_bytes();
    let mut places = words.match_indices(name).map(|(at, _)| at);
    places.find(|at| {
        !is_part(at.checked_sub(1).and_then(|at| bytes.get(at)))
            && !is_part(bytes.get(at + name.len()))
    })
}

impl Mending {
    /// The option that is left out, if one is.
    pub(super) fn left_out(self) -> Option<&'static str> {
        if let Mending::Without(name) = self {
            return Some(name);
        }
        (self == Mending::NoThinking).then_some("thinking")
    }

    /// It holds for every call of the model, and not for one conversation alone.
    fn lasts(self) -> bool {
        !matches!(self, Mending::NoThinking | Mending::NothingBack)
    }
}

/// What the request is made again with, for a person.
impl fmt::Display for Mending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mending::Without(name) => write!(f, "without `{name}`"),
            Mending::NewerLimit => f.write_str("with `max_completion_tokens`"),
            Mending::OlderLimit => f.write_str("with `max_tokens`"),
            Mending::Whole => f.write_str("for a whole reply at once"),
            Mending::NoThinking => f.write_str("without thinking"),
            Mending::NothingBack | Mending::NeverBack => {
                f.write_str("without what the model thought before")
            }
            Mending::ContentBack | Mending::SignaturesBack => {
                f.write_str("with what the model thought before")
            }
            Mending::Bridge => f.write_str("with a word between a result and what follows it"),
            Mending::NineLetters => f.write_str("with other ids of calls"),
            Mending::GoOn => f.write_str("with a message that asks to go on"),
        }
    }
}

impl Quirks {
    /// Changes how a model is asked, but for what is left out.
    pub(super) fn mend(&mut self, mending: Mending) {
        match mending {
            Mending::NewerLimit => self.has_newer_limit = true,
            Mending::OlderLimit => self.has_newer_limit = false,
            Mending::Whole => self.streams = false,
            Mending::NothingBack | Mending::NeverBack | Mending::Without("include") => {
                self.reasoning = ReasoningBack::None;
            }
            Mending::ContentBack => self.reasoning = ReasoningBack::Content,
            Mending::SignaturesBack => self.reasoning = ReasoningBack::Signatures,
            Mending::Bridge => self.wants_bridge = true,
            Mending::NineLetters => self.call_ids = CallIdForm::Nine,
            Mending::GoOn => self.unfinished = UnfinishedForm::Asked,
            Mending::Without(_) | Mending::NoThinking => {}
        }
    }
}

/// A model, by its address, and by its name with how it is asked there.
pub(super) type AskedAt = (String, String);

/// What was learned of models, as long as the process runs.
#[derive(Default)]
pub(super) struct Learned(Mutex<HashMap<AskedAt, Vec<Mending>>>);

impl Learned {
    pub(super) fn of(&self, place: &AskedAt) -> Vec<Mending> {
        lock(&self.0).get(place).cloned().unwrap_or_default()
    }

    /// Keeps what made a request one that was answered.
    pub(super) fn keep(&self, place: &AskedAt, mendings: &[Mending]) {
        let lasting: Vec<Mending> = mendings.iter().copied().filter(|one| one.lasts()).collect();
        let mut known = lock(&self.0);
        if known.len() >= MODELS_MAX && !known.contains_key(place) {
            known.clear();
        }
        known.insert(place.clone(), lasting);
    }
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may hold a password.
        f.debug_struct("Learned").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Provider;

    fn refused(status: u16, message: &str) -> Option<Mending> {
        mending(&LlmError::Status {
            provider: Provider::OPENAI,
            status,
            message: message.to_owned(),
            retry_after: None,
            should_retry: None,
            hint: None,
        })
    }

    #[test]
    fn what_is_refused_is_understood() {
        use Mending::*;
        for (words, expected) in [
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some(NewerLimit),
            ),
            (
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}]}"#,
                Some(OlderLimit),
            ),
            (
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
                Some(Without("stream_options")),
            ),
            (
                "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
                Some(Without("temperature")),
            ),
            (
                "invalid temperature: only 1 is allowed for this model",
                Some(Without("temperature")),
            ),
            (
                "`temperature` is deprecated for this model.",
                Some(Without("temperature")),
            ),
            (
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
                Some(Without("temperature")),
            ),
            (
                "Argument not supported on this model: stop",
                Some(Without("stop")),
            ),
            (
                "Unrecognized request argument supplied: prompt_cache_key",
                Some(Without("prompt_cache_key")),
            ),
            (
                "output_config.effort: Extra inputs are not permitted",
                Some(Without("output_config")),
            ),
            (
                "Your organization must be verified to stream this model.",
                Some(Whole),
            ),
            (
                "This model does not support streaming with tools",
                Some(Whole),
            ),
            ("Unexpected role 'user' after role 'tool'", Some(Bridge)),
            (
                "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
                Some(NineLetters),
            ),
            (
                "This model does not support assistant message prefill. The conversation must end with a user message.",
                Some(GoOn),
            ),
            (
                "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant",
                Some(GoOn),
            ),
            (
                "The `reasoning_content` in the thinking mode must be passed back to the API.",
                Some(ContentBack),
            ),
            (
                "Function call is missing a thought_signature in functionCall parts.",
                Some(SignaturesBack),
            ),
            (
                "messages.1.content.0: Invalid `signature` in `thinking` block",
                Some(NothingBack),
            ),
            ("Thought signature is not valid", Some(NothingBack)),
            (
                "The encrypted content gAAA could not be verified. Reason: it could not be decrypted.",
                Some(NothingBack),
            ),
            (
                "Encrypted content is not supported with this model.",
                Some(Without("include")),
            ),
            (
                "Unsupported include value: 'reasoning.encrypted_content'",
                Some(Without("include")),
            ),
            ("Unknown parameter: 'include'.", Some(Without("include"))),
            (
                "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
                Some(NoThinking),
            ),
            (
                "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning' is unsupported)]",
                Some(NeverBack),
            ),
            (
                "body.messages.2.assistant.reasoning: Extra inputs are not permitted",
                Some(NeverBack),
            ),
            (
                "'messages.1' : property 'reasoning_content' is unsupported",
                Some(NeverBack),
            ),
            (
                "Unrecognized request argument supplied: reasoning",
                Some(Without("reasoning")),
            ),
            (
                "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please use /v1/responses instead.",
                None,
            ),
            ("max_tokens is too large: 100000", None),
            ("The model `m` does not exist", None),
            ("unknown model: restop", None),
        ] {
            assert_eq!(refused(400, words), expected, "{words}");
        }
        for status in [401, 403, 408, 413, 429, 503] {
            assert_eq!(
                refused(status, "temperature is not supported"),
                None,
                "{status}"
            );
        }
    }

    #[test]
    fn what_lasts_is_kept_for_a_bounded_number_of_models() {
        let learned = Learned::default();
        let place = |number: usize| (format!("http://{number}"), "m".to_owned());
        learned.keep(&place(0), &[Mending::Whole, Mending::NothingBack]);
        assert_eq!(learned.of(&place(0)), [Mending::Whole]);
        assert_eq!(learned.of(&place(1)), []);
        for number in 1..=MODELS_MAX {
            learned.keep(&place(number), &[Mending::Bridge]);
        }
        assert!(lock(&learned.0).len() <= MODELS_MAX);
    }
}
