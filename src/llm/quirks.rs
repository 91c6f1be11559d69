//! What single providers and models want otherwise than the rest of their dialect. Pure.

use crate::domain::spec::{ModelChoice, Provider};

/// The peculiarities of a provider, or of a model of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quirks {
    /// The name of the limit of a reply's tokens is the newer one.
    pub(super) has_newer_limit: bool,
    /// A stream is asked to end with the count of its tokens.
    pub(super) counts_in_streams: bool,
    /// How the effort of reasoning is asked for.
    pub(super) effort: EffortForm,
    /// What of a reply's reasoning goes back with the next call.
    pub(super) reasoning: ReasoningBack,
    /// The ids of calls that are taken.
    pub(super) call_ids: CallIdForm,
    /// A user's message may not follow a tool's result directly.
    pub(super) wants_bridge: bool,
    /// How it is told what to keep for the next call.
    pub(super) cache: CacheForm,
    /// Models there print their calls as text at times.
    pub(super) prints_calls: bool,
}

/// How the effort of reasoning is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EffortForm {
    /// `reasoning_effort: "low"`.
    Word,
    /// `reasoning: {effort, max_tokens}`.
    Object,
    /// It is not: the provider refuses the request.
    None,
}

/// What of a reply's reasoning goes back to the model that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReasoningBack {
    /// Nothing.
    None,
    /// `reasoning_details`.
    Details,
    /// `reasoning_content`.
    Content,
    /// `extra_content` of calls, with its signatures.
    Signatures,
}

/// The ids of calls that a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallIdForm {
    /// Any.
    Any,
    /// Nine letters and digits.
    Nine,
}

/// How a provider is told what to keep for the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CacheForm {
    /// It is not told: it finds out itself.
    None,
    /// `cache_control` marks.
    Marks,
    /// `prompt_cache_key`.
    Key,
}

/// Servers of one's own: what they run was often taught another way to call than they know.
const PRINTING: [&str; 4] = ["ollama", "llamacpp", "lmstudio", "vllm"];

impl Quirks {
    /// A server of OpenAI's dialect of which nothing is known.
    const PLAIN: Quirks = Quirks {
        has_newer_limit: false,
        counts_in_streams: true,
        effort: EffortForm::Word,
        reasoning: ReasoningBack::Details,
        call_ids: CallIdForm::Any,
        wants_bridge: false,
        cache: CacheForm::None,
        prints_calls: false,
    };

    /// Those of `choice`; `is_own` says whether it is asked at its provider's own address.
    pub(super) fn of(choice: &ModelChoice, is_own: bool) -> Quirks {
        Quirks {
            has_newer_limit: choice.provider == Provider::OPENAI && is_own,
            prints_calls: PRINTING.contains(&choice.provider.as_str()),
            ..Quirks::PLAIN
        }
    }
}
