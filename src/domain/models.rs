//! How much models take, as far as their names tell. Pure.

/// What a model is taken to have that is not in the table.
const UNKNOWN: u64 = 32_768;

/// Beginnings of names, and how many tokens such a model takes with its answer. The first that
/// fits counts, so longer ones stand first. Where versions differ under one name, the least.
///
/// Source: the providers' model pages, November 2025.
const WINDOWS: &[(&str, u64)] = &[
    ("claude-2.0", 100_000),
    ("claude-instant", 100_000),
    ("claude", 200_000),
    ("gpt-5-chat", 128_000),
    ("gpt-5", 400_000),
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("chatgpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4-1106", 128_000),
    ("gpt-4-0125", 128_000),
    ("gpt-4-32k", 32_768),
    ("gpt-4", 8_192),
    ("gpt-3.5", 16_385),
    ("gpt-oss", 131_072),
    ("o1-mini", 128_000),
    ("o1-preview", 128_000),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
    ("codex", 200_000),
    ("gemini-1.0", 32_768),
    ("gemini-pro", 32_768),
    ("gemini", 1_048_576),
    ("gemma-3", 131_072),
    ("gemma3", 131_072),
    ("gemma", 8_192),
    ("llama-4", 131_072),
    ("llama4", 131_072),
    ("llama-3.", 131_072),
    ("llama3.", 131_072),
    ("llama-3", 8_192),
    ("llama3", 8_192),
    ("llama", 4_096),
    ("qwen3-coder", 262_144),
    ("qwen3-max", 262_144),
    ("qwen", 32_768),
    ("qwq", 32_768),
    ("mistral-7b", 32_768),
    ("mistral-large", 128_000),
    ("mistral-medium", 128_000),
    ("mistral-small", 32_768),
    ("mistral-nemo", 128_000),
    ("ministral", 128_000),
    ("mistral", 32_768),
    ("mixtral", 32_768),
    ("codestral", 32_768),
    ("deepseek", 65_536),
    ("grok-4", 256_000),
    ("grok", 131_072),
    ("kimi-k2", 131_072),
    ("glm-4", 128_000),
    ("command-r", 128_000),
    ("phi-3", 4_096),
    ("phi", 16_384),
];

/// How much of a conversation goes to a model at least, where no file says it …
pub const HISTORY_TOKENS_MIN: u64 = 20_000;
/// … and at most: more is slower and dearer, and models find less in it.
const HISTORY_TOKENS_MAX: u64 = 64_000;

/// How much of a conversation goes to a model where no file says it: a quarter of what it takes. Of one that is
/// not known, the least.
pub fn usual_history_tokens(context_tokens: Option<u64>) -> u64 {
    let quarter = context_tokens.unwrap_or_default() / 4;
    quarter.clamp(HISTORY_TOKENS_MIN, HISTORY_TOKENS_MAX)
}

/// How many tokens the model of that name takes, its answer included: for one that nobody knows, a
/// guess.
pub fn context_tokens(name: &str) -> u64 {
    known_context_tokens(name).unwrap_or(UNKNOWN)
}

/// How many tokens the model of that name takes, its answer included, if that is known. A provider's
/// or a maker's name before it (`anthropic/claude-…`) does not matter.
pub fn known_context_tokens(name: &str) -> Option<u64> {
    let name = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let name = name.strip_prefix("meta-").unwrap_or(&name);
    let found = WINDOWS.iter().find(|(start, _)| name.starts_with(start));
    found.map(|(_, tokens)| *tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_its_family_whoever_serves_it() {
        for (name, tokens) in [
            ("claude-sonnet-4-5", 200_000),
            ("anthropic/claude-opus-4.1", 200_000),
            ("gpt-4o-mini", 128_000),
            ("openai/gpt-4.1-nano", 1_047_576),
            ("gpt-4", 8_192),
            ("gpt-5-mini", 400_000),
            ("o3-mini", 200_000),
            ("google/gemini-2.5-pro", 1_048_576),
            ("meta-llama/Meta-Llama-3.1-8B-Instruct", 131_072),
            ("meta-llama/llama-3-8b-instruct", 8_192),
            ("llama3.2:3b", 131_072),
            ("llama2", 4_096),
            ("qwen3:8b", 32_768),
            ("qwen/qwen-2.5-72b-instruct:free", 32_768),
            ("mistralai/mistral-large-2411", 128_000),
            ("mistral", 32_768),
            ("deepseek/deepseek-chat", 65_536),
            ("my-own-finetune", 32_768),
            ("", 32_768),
        ] {
            assert_eq!(context_tokens(name), tokens, "{name}");
        }
    }

    #[test]
    fn no_entry_hides_a_later_one() {
        for (at, (name, _)) in WINDOWS.iter().enumerate() {
            let first = WINDOWS
                .iter()
                .position(|(start, _)| name.starts_with(start));
            assert_eq!(first, Some(at), "{name} is never reached");
        }
    }
}
