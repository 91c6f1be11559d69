//! What single providers and models want otherwise than the rest of their dialect. Pure.
//!
//! A row per provider and a few rules by a model's name; what a provider refuses beyond that, `mend` reads
//! from its words.

use crate::domain::spec::{ModelChoice, Provider};

/// The peculiarities of a provider, or of a model of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quirks {
    /// The name of the limit of a reply's tokens is the newer one.
    pub(super) has_newer_limit: bool,
    /// The limit of a reply's tokens where the agent sets none; `None` leaves it to the provider.
    pub(super) output_tokens: Option<u64>,
    /// Answers come piece by piece.
    pub(super) streams: bool,
    /// A stream is asked to end with the count of its tokens.
    pub(super) counts_in_streams: bool,
    /// What `seed` is called.
    pub(super) seed: &'static str,
    /// How the effort of reasoning is asked for.
    pub(super) effort: EffortForm,
    /// How Anthropic's dialect is asked for reasoning.
    pub(super) thinking: ThinkingForm,
    /// What of a reply's reasoning goes back with the next call.
    pub(super) reasoning: ReasoningBack,
    /// The ids of calls that are taken.
    pub(super) call_ids: CallIdForm,
    /// A user's message may not follow a tool's result directly.
    pub(super) wants_bridge: bool,
    /// How a reply that is to be gone on with ends a request.
    pub(super) unfinished: UnfinishedForm,
    /// How it is told what to keep for the next call.
    pub(super) cache: CacheForm,
    /// Models there print their calls as text at times.
    pub(super) prints_calls: bool,
    /// Options that are refused: they are left out, though the agent sets them.
    pub(super) refused: Vec<&'static str>,
}

/// How the effort of reasoning is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EffortForm {
    /// `reasoning_effort: "low"`.
    Word,
    /// `reasoning: {effort}`, or `{max_tokens}`.
    Object,
    /// `thinking: {type: "enabled"}`: there is only one.
    Switch,
    /// Both the word and the switch.
    WordAndSwitch,
}

/// How Anthropic's dialect is asked for reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThinkingForm {
    /// By a number of tokens.
    Budget,
    /// By an effort or by a number of tokens.
    Either,
    /// By an effort.
    Adaptive,
}

/// What of a reply's reasoning goes back to the model that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReasoningBack {
    /// Nothing.
    None,
    /// Blocks and signatures, as they came.
    Details,
    /// These and `reasoning_content`, which a reply with calls must have.
    Content,
    /// The first as well; the first call of a reply must have a signature.
    Signatures,
}

/// The ids of calls that a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallIdForm {
    /// Any that are not too long.
    Any,
    /// Nine letters and digits.
    Nine,
}

/// How a reply that is to be gone on with ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnfinishedForm {
    /// As a message like any other.
    Plain,
    /// Marked with `prefix: true`.
    Prefix,
    /// It may not be the last: a person asks to go on.
    Asked,
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

/// OpenAI's models that think, and take no more than the usual temperature: how their names begin.
const THINKING_GPTS: &[&str] = &["o1", "o3", "o4", "gpt-5", "gpt-6", "codex", "computer-use"];
/// Models whose `reasoning_content` must come back, wherever they are asked.
const WANT_CONTENT: &[&str] = &["deepseek", "kimi", "minimax-m", "glm-"];
/// Kimi's models that think: they have one temperature, and a low limit of their own for a reply.
const THINKING_KIMIS: &[&str] = &["kimi-k2-thinking", "kimi-k2-5", "kimi-k2-6", "kimi-k3"];
const KIMI_OUTPUT_TOKENS: u64 = 32_768;

impl Quirks {
    /// A server of OpenAI's dialect of which nothing is known.
    fn plain() -> Quirks {
        Quirks {
            has_newer_limit: false,
            output_tokens: None,
            streams: true,
            counts_in_streams: false,
            seed: "seed",
            effort: EffortForm::Word,
            thinking: ThinkingForm::Budget,
            reasoning: ReasoningBack::Details,
            call_ids: CallIdForm::Any,
            wants_bridge: false,
            unfinished: UnfinishedForm::Plain,
            cache: CacheForm::None,
            prints_calls: false,
            refused: Vec::new(),
        }
    }

    /// One that counts the tokens of streams where it is asked to.
    fn usual() -> Quirks {
        Quirks {
            counts_in_streams: true,
            ..Quirks::plain()
        }
    }

    /// Those of `choice`; `is_own` says whether it is asked at its provider's own address.
    pub(super) fn of(choice: &ModelChoice, is_own: bool) -> Quirks {
        let mut quirks = Quirks::of_provider(&choice.provider, is_own);
        let effort = choice.settings.reasoning.as_ref();
        let thinks = effort.and_then(|one| one.effort.as_deref()) != Some("none");
        quirks.add_model(&choice.provider, &choice.name, thinks);
        quirks
    }

    /// Sources: the providers' pages and what their servers answer, November 2026.
    fn of_provider(provider: &Provider, is_own: bool) -> Quirks {
        match provider.as_str() {
            "openai" => Quirks {
                has_newer_limit: is_own,
                cache: CacheForm::Key,
                ..Quirks::usual()
            },
            "azure" => Quirks {
                has_newer_limit: true,
                cache: CacheForm::Key,
                ..Quirks::usual()
            },
            "openrouter" => Quirks {
                effort: EffortForm::Object,
                ..Quirks::usual()
            },
            "deepseek" => Quirks {
                effort: EffortForm::WordAndSwitch,
                reasoning: ReasoningBack::Content,
                ..Quirks::usual()
            },
            "moonshot" => Quirks {
                effort: EffortForm::Switch,
                reasoning: ReasoningBack::Content,
                cache: CacheForm::Key,
                ..Quirks::usual()
            },
            "gemini" => Quirks {
                reasoning: ReasoningBack::Signatures,
                ..Quirks::usual()
            },
            "groq" | "cerebras" => Quirks {
                has_newer_limit: true,
                ..Quirks::usual()
            },
            "mistral" => Quirks {
                seed: "random_seed",
                unfinished: UnfinishedForm::Prefix,
                ..Quirks::plain().strict()
            },
            // What these run was often taught another way to call than they know.
            "ollama" | "lmstudio" | "llamacpp" | "vllm" => Quirks {
                prints_calls: true,
                ..Quirks::usual()
            },
            "xai" | "together" | "fireworks" => Quirks::usual(),
            _ => Quirks::plain(),
        }
    }

    /// Mistral's models, wherever they are asked: refuse other ids, and a user's message after a result.
    fn strict(self) -> Quirks {
        Quirks {
            call_ids: CallIdForm::Nine,
            wants_bridge: true,
            ..self
        }
    }

    /// Adds what holds for models of that name, whoever has them. `thinks` is false where the agent wants no
    /// reasoning.
    fn add_model(&mut self, provider: &Provider, name: &str, thinks: bool) {
        let is_routed = *provider == Provider::OPENROUTER;
        let full = name.to_ascii_lowercase().replace('.', "-");
        let bare = full.rsplit('/').next().unwrap_or(&full);
        let begins = |names: &[&str]| names.iter().any(|one| bare.starts_with(one));
        if begins(THINKING_GPTS) && !bare.contains("-chat") {
            self.has_newer_limit |= !is_routed;
            if thinks {
                self.refused.extend(["temperature", "top_p", "stop"]);
            }
        }
        if begins(THINKING_KIMIS) {
            self.refused.extend(["temperature", "top_p"]);
            self.output_tokens = Some(KIMI_OUTPUT_TOKENS);
        }
        if begins(&["grok-4"]) {
            self.refused.push("stop");
        }
        // A router wants its own form of all of them.
        if begins(WANT_CONTENT) && !is_routed {
            self.reasoning = ReasoningBack::Content;
        }
        if is_routed && full.starts_with("mistralai/") {
            *self = self.clone().strict();
        }
        if let Some(version) = claude_version(bare) {
            self.add_claude(version);
            if is_routed {
                self.cache = CacheForm::Marks;
            }
        }
    }

    fn add_claude(&mut self, version: (u32, u32)) {
        if version >= (4, 6) {
            self.thinking = ThinkingForm::Either;
            self.unfinished = UnfinishedForm::Asked;
        }
        if version >= (4, 7) {
            self.thinking = ThinkingForm::Adaptive;
            self.refused.extend(["temperature", "top_p"]);
        }
    }
}

/// The version in the name of a model of Anthropic's: `claude-opus-4-6-20260101` is 4.6. Older names have
/// it in another place, which nothing here depends on.
fn claude_version(bare: &str) -> Option<(u32, u32)> {
    const LATER: (u32, u32) = (9, 0);
    let (_, rest) = bare.split_once("claude-")?;
    let mut parts = rest.split(['-', ':', '@']);
    match parts.next()? {
        "opus" | "sonnet" | "haiku" => {}
        "mythos" | "fable" => return Some(LATER),
        _ => return Some((3, 0)),
    }
    let mut number = || parts.next()?.parse::<u32>().ok();
    let major = number().unwrap_or(4);
    // What follows may be a date.
    let minor = number().filter(|minor| *minor < 100).unwrap_or(0);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::providers::KNOWN;

    fn of(provider: &str, name: &str) -> Quirks {
        let mut known = KNOWN.iter().map(|known| known.provider());
        let found = known.find(|one| one.as_str() == provider);
        let provider = found.expect("a provider that is known");
        Quirks::of(&ModelChoice::new(provider, name), false)
    }

    #[test]
    fn models_that_think_are_told_by_their_names() {
        for (provider, name, refuses) in [
            ("openai", "gpt-4.1", false),
            ("openai", "gpt-5-chat-latest", false),
            ("openai", "o3-mini", true),
            ("azure", "gpt-5.4", true),
            ("openrouter", "openai/gpt-5", true),
            ("vllm", "gpt-oss-20b", false),
            ("moonshot", "kimi-k2.5", true),
            ("moonshot", "kimi-k2-0905", false),
            ("anthropic", "claude-opus-4-7", true),
            ("anthropic", "claude-sonnet-5-20260901", true),
            ("anthropic", "claude-opus-4-6", false),
            ("anthropic", "claude-opus-4-20250514", false),
            ("anthropic", "claude-3-5-sonnet-latest", false),
            ("openrouter", "anthropic/claude-opus-4.7:thinking", true),
        ] {
            let refused = of(provider, name).refused;
            assert_eq!(refused.contains(&"temperature"), refuses, "{name}");
        }
        let thinking = |name| of("anthropic", name).thinking;
        assert_eq!(thinking("claude-haiku-4-5"), ThinkingForm::Budget);
        assert_eq!(thinking("claude-sonnet-4-6"), ThinkingForm::Either);
        assert_eq!(thinking("claude-mythos-preview"), ThinkingForm::Adaptive);
    }

    #[test]
    fn what_holds_for_a_model_holds_wherever_it_is_asked() {
        assert!(of("azure", "gpt-5").has_newer_limit);
        assert!(of("lmstudio", "openai/gpt-5").has_newer_limit);
        assert!(
            !of("openai", "gpt-4o").has_newer_limit,
            "at another address"
        );
        let content = |provider, name| of(provider, name).reasoning == ReasoningBack::Content;
        assert!(content("vllm", "deepseek-ai/DeepSeek-V3.2"));
        assert!(!content("openrouter", "deepseek/deepseek-v3.2"));
        let strict = |provider, name| {
            let quirks = of(provider, name);
            (quirks.call_ids, quirks.wants_bridge) == (CallIdForm::Nine, true)
        };
        assert!(strict("openrouter", "mistralai/devstral-2"));
        assert!(strict("mistral", "devstral-2"));
        assert!(!strict("vllm", "mistralai/devstral-2"));
    }
}
