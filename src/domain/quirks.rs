//! What single providers and models want otherwise than the rest of their dialect. Pure.
//!
//! Those of a provider stand in its row of the table of providers; those of models, whoever has them, in
//! `OF_MODELS`. What a provider refuses beyond that is read from its words (`llm::mend`).

/// The peculiarities of a provider, or of a model of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// The name of the limit of a reply's tokens is the newer one.
    pub has_newer_limit: bool,
    /// The limit of a reply's tokens where the agent sets none; `None` leaves it to the provider.
    pub output_tokens: Option<u64>,
    /// Answers come piece by piece.
    pub streams: bool,
    /// A stream is asked to end with the count of its tokens.
    pub counts_in_streams: bool,
    /// What `seed` is called.
    pub seed: &'static str,
    /// How the effort of reasoning is asked for.
    pub effort: EffortForm,
    /// How Anthropic's dialect is asked for reasoning.
    pub thinking: ThinkingForm,
    /// What of a reply's reasoning goes back with the next call.
    pub reasoning: ReasoningBack,
    /// The ids of calls that are taken.
    pub call_ids: CallIdForm,
    /// A user's message may not follow a tool's result directly.
    pub wants_bridge: bool,
    /// How a reply that is to be gone on with ends a request.
    pub unfinished: UnfinishedForm,
    /// How it is told what to keep for the next call.
    pub cache: CacheForm,
    /// Models there print their calls as text at times.
    pub prints_calls: bool,
    /// It asks other providers, and wants its own form of what their models want.
    pub is_router: bool,
    /// Options that are refused: they are left out, though the agent sets them.
    pub refused: &'static [&'static str],
}

/// How the effort of reasoning is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffortForm {
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
pub enum ThinkingForm {
    /// By a number of tokens.
    Budget,
    /// By an effort or by a number of tokens.
    Either,
    /// By an effort.
    Adaptive,
}

/// What of a reply's reasoning goes back to the model that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningBack {
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
pub enum CallIdForm {
    /// Any that are not too long.
    Any,
    /// Nine letters and digits.
    Nine,
}

/// How a reply that is to be gone on with ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfinishedForm {
    /// As a message like any other.
    Plain,
    /// Marked with `prefix: true`.
    Prefix,
    /// It may not be the last: a person asks to go on.
    Asked,
}

/// How a provider is told what to keep for the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheForm {
    /// It is not told: it finds out itself.
    None,
    /// `cache_control` marks.
    Marks,
    /// `prompt_cache_key`.
    Key,
}

/// What holds for some models, whoever has them.
struct ModelRule {
    models: ModelNames,
    by: By,
    changes: &'static [Peculiarity],
}

/// Models by their names: in lower case, with `-` for `.`, and without what stands before a `/`.
enum ModelNames {
    /// They begin like this.
    Begin(&'static [&'static str]),
    /// They begin like this, and are no variants for a chat.
    Thinking(&'static [&'static str]),
    /// Claude, from this version on.
    Claude(u32, u32),
    /// Whatever comes from this maker, which stands before the `/`.
    Maker(&'static str),
}

/// By whom they are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Anybody,
    /// Anybody but a router.
    Directly,
    Router,
}

/// What is otherwise.
#[derive(Clone, Copy)]
enum Peculiarity {
    NewerLimit,
    OutputTokens(u64),
    Thinking(ThinkingForm),
    Reasoning(ReasoningBack),
    CallIds(CallIdForm),
    Bridge,
    Unfinished(UnfinishedForm),
    Cache(CacheForm),
    Refused(&'static [&'static str]),
    /// The same, as long as the model thinks.
    RefusedThinking(&'static [&'static str]),
}

/// OpenAI's models that think, and take no more than the usual temperature: how their names begin.
pub const THINKING_GPTS: &[&str] = &["o1", "o3", "o4", "gpt-5", "gpt-6", "codex", "computer-use"];

/// The rules of models. Each that fits counts, the later ones over the earlier.
///
/// Source: the makers' pages and what their servers answer, November 2026.
const OF_MODELS: &[ModelRule] = &[
    ModelRule {
        models: ModelNames::Thinking(THINKING_GPTS),
        by: By::Directly,
        changes: &[Peculiarity::NewerLimit],
    },
    ModelRule {
        models: ModelNames::Thinking(THINKING_GPTS),
        by: By::Anybody,
        changes: &[Peculiarity::RefusedThinking(&[
            "temperature",
            "top_p",
            "stop",
        ])],
    },
    // Kimi's models that think have one temperature, and a low limit of their own for a reply.
    ModelRule {
        models: ModelNames::Begin(&["kimi-k2-thinking", "kimi-k2-5", "kimi-k2-6", "kimi-k3"]),
        by: By::Anybody,
        changes: &[
            Peculiarity::Refused(&["temperature", "top_p"]),
            Peculiarity::OutputTokens(32_768),
        ],
    },
    ModelRule {
        models: ModelNames::Begin(&["grok-4"]),
        by: By::Anybody,
        changes: &[Peculiarity::Refused(&["stop"])],
    },
    // A router wants its own form of all of them.
    ModelRule {
        models: ModelNames::Begin(&["deepseek", "kimi", "minimax-m", "glm-"]),
        by: By::Directly,
        changes: &[Peculiarity::Reasoning(ReasoningBack::Content)],
    },
    ModelRule {
        models: ModelNames::Maker("mistralai"),
        by: By::Router,
        changes: &[Peculiarity::CallIds(CallIdForm::Nine), Peculiarity::Bridge],
    },
    ModelRule {
        models: ModelNames::Claude(0, 0),
        by: By::Router,
        changes: &[Peculiarity::Cache(CacheForm::Marks)],
    },
    ModelRule {
        models: ModelNames::Claude(4, 6),
        by: By::Anybody,
        changes: &[
            Peculiarity::Thinking(ThinkingForm::Either),
            Peculiarity::Unfinished(UnfinishedForm::Asked),
        ],
    },
    ModelRule {
        models: ModelNames::Claude(4, 7),
        by: By::Anybody,
        changes: &[
            Peculiarity::Thinking(ThinkingForm::Adaptive),
            Peculiarity::Refused(&["temperature", "top_p"]),
        ],
    },
];

impl Quirks {
    /// A server of OpenAI's dialect of which nothing is known.
    pub const PLAIN: Quirks = Quirks {
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
        is_router: false,
        refused: &[],
    };
    /// One that counts the tokens of streams where it is asked to.
    pub const USUAL: Quirks = Quirks {
        counts_in_streams: true,
        ..Quirks::PLAIN
    };

    /// With what holds for the model called `name`. `thinks` is false where no reasoning is wanted of it.
    pub fn with_model(mut self, name: &str, thinks: bool) -> Quirks {
        let full = name.to_ascii_lowercase().replace('.', "-");
        for rule in OF_MODELS {
            let is_asked_so = match rule.by {
                By::Anybody => true,
                By::Directly => !self.is_router,
                By::Router => self.is_router,
            };
            if is_asked_so && rule.models.have(&full) {
                rule.changes.iter().for_each(|one| self.add(*one, thinks));
            }
        }
        self
    }

    fn add(&mut self, change: Peculiarity, thinks: bool) {
        match change {
            Peculiarity::NewerLimit => self.has_newer_limit = true,
            Peculiarity::OutputTokens(tokens) => self.output_tokens = Some(tokens),
            Peculiarity::Thinking(form) => self.thinking = form,
            Peculiarity::Reasoning(back) => self.reasoning = back,
            Peculiarity::CallIds(form) => self.call_ids = form,
            Peculiarity::Bridge => self.wants_bridge = true,
            Peculiarity::Unfinished(form) => self.unfinished = form,
            Peculiarity::Cache(form) => self.cache = form,
            Peculiarity::Refused(names) => self.refused = names,
            Peculiarity::RefusedThinking(names) if thinks => self.refused = names,
            Peculiarity::RefusedThinking(_) => {}
        }
    }
}

impl ModelNames {
    /// `full` is the name of one of them, with what stands before a `/`.
    fn have(&self, full: &str) -> bool {
        let bare = full.rsplit('/').next().unwrap_or(full);
        let begins = |names: &[&str]| names.iter().any(|one| bare.starts_with(one));
        match self {
            ModelNames::Begin(names) => begins(names),
            ModelNames::Thinking(names) => begins(names) && !bare.contains("-chat"),
            ModelNames::Claude(major, minor) => {
                claude_version(bare).is_some_and(|version| version >= (*major, *minor))
            }
            ModelNames::Maker(maker) => full
                .split_once('/')
                .is_some_and(|(first, _)| first == *maker),
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
    use crate::domain::spec::{ModelChoice, Provider};

    fn of(provider: &str, name: &str) -> Quirks {
        let provider = Provider::parse(provider).unwrap();
        assert!(provider.known().is_some(), "{provider}");
        ModelChoice::new(provider, name).quirks(false)
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
