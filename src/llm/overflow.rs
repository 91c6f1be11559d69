//! How providers say that a conversation is too long for the model. Pure.

use crate::domain::spec::Provider;
use crate::llm::LlmError;
use crate::llm::error::NO_WORDS;

/// Words of which each provider uses some, in lower case: all of one line must stand there.
#[rustfmt::skip]
const WORDINGS: &[&[&str]] = &[
    &["context_length_exceeded"], &["context length exceeded"], &["context_length exceeded"], // OpenAI's code, many
    &["context_window_exceeded"],                       // codes; z.ai: model_context_window_exceeded
    &["maximum context length"],                        // OpenAI, OpenRouter, vLLM, Mistral, LiteLLM, DeepSeek, SGLang
    &["exceeds the context window"],                    // OpenAI responses
    &["exceed context limit"],                          // Anthropic: input length and max_tokens
    &["prompt is too long"],                            // Anthropic, Vertex
    &["request_too_large"], &["request exceeds the maximum size"], &["request entity too large"], // Anthropic 413, nginx
    &["prompt too long"],                               // Ollama: "prompt too long; exceeded max context length by …"
    &["exceeds context length"], &["input length exceeds"], // Ollama
    &["exceeds the available context size"], &["exceed_context_size"], &["context size has been exceeded"], // llama.cpp
    &["greater than the context length"], &["greater than n_ctx"], &["context the overflows"], &["context length of only"], // LM Studio (its own words)
    &["context length is only"],                        // vLLM
    &["maximum model length"],                          // vLLM
    &["exceeds the maximum number of tokens allowed"], &["input token count", "exceeds"], // Gemini
    &["too large for model with"],                      // Mistral
    &["reduce the length of the messages"], &["reduce the length of the input"], &["reduce your prompt"], // Groq, OpenAI
    &["maximum prompt length is"],                      // xAI
    &["token count of", "exceeds the limit of"],        // GitHub Copilot
    &["exceeded model token limit"],                    // Kimi, Moonshot
    &["context window exceeds limit"],                  // MiniMax
    &["input is too long"],                             // Bedrock: "… for requested model"
    &["longer than the model's context length"], &["longer than the model context length"], // Together
    &["maximum allowed input length"],                  // OpenRouter (Poolside)
    &["but the configured context size is"],            // DS4
    &["range of input length should be"],               // DashScope, Qwen, Xunfei
    &["prompt 超长"],                                    // z.ai 1261
    &["max tokens allowed", "tokens in request"],       // Cohere: "too many tokens: total number of tokens … "
    &["exceed the configured limit"],                   // OpenAI responses
    &["inputs tokens", "must be <="],                   // Text Generation Inference, Together
    &["too many tokens"], &["token limit exceeded"],    // anybody, if none of OTHERWISE stands there
];
/// Where one of these stands, nothing of the above is meant.
const OTHERWISE: &[&str] = &[
    "rate limit",
    "rate_limit",
    "too many requests",
    "throttl",
    "per minute",
    "per day",
    "quota",
    "(tpm)",
    "tokens per",
];

/// What stands before the number of tokens that a model takes, in lower case; of several the first counts.
const BEFORE_LIMIT: &[&str] = &[
    "maximum context length",
    "maximum model length",
    "context length of",
    "context length is",
    "context length (",
    "context window of",
    "context window is",
    "context window (",
    "context size of",
    "context size is",
    "context size (",
    "n_ctx",
    "num_ctx",
    "tokens allowed",
    "prompt length is",
    "prompt length of",
    "allowed input length of",
    "input length should be [1",
    "exceeds the limit of",
    "configured limit of",
    "token limit:",
    "token limit of",
    "cannot exceed",
    "must be <=",
    "exceed context limit",
    "maximum:",
];
/// How far it may stand from that.
const GAP_BYTES: usize = 10;
/// Less is no model's: it is a code, or the number of something else.
const LIMIT_MIN: u64 = 256;

/// What else is counted, in lower case.
const OTHER_UNITS: &[&str] = &[
    "byte",
    "bytes",
    "char",
    "chars",
    "character",
    "characters",
    "kb",
    "mb",
    "kib",
    "mib",
];

/// How many tokens the model takes, as a refusal for the length of a conversation says.
pub(super) fn limit_in(words: &str) -> Option<u64> {
    let words = words.to_ascii_lowercase();
    // `5000 tokens > 4096 maximum`, `3000 + 2000 > 4096`
    let compared = words
        .split_once(" > ")
        .and_then(|(_, rest)| number(rest, 0));
    let named = || {
        BEFORE_LIMIT.iter().find_map(|phrase| {
            let mut places = words.match_indices(phrase);
            places.find_map(|(at, _)| number(&words[at + phrase.len()..], GAP_BYTES))
        })
    };
    // `131072 maximum context length`
    let before = || {
        let (head, _) = words.split_once(" maximum context length")?;
        number(head.rsplit(' ').next()?, 0)
    };
    compared.or_else(before).or_else(named)
}

/// The number of tokens that begins within so many bytes of `text`.
fn number(text: &str, gap: usize) -> Option<u64> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let digits = |c: &char| c.is_ascii_digit() || matches!(c, ',' | '_');
    let digits: String = text[start..].chars().take_while(digits).collect();
    let number: u64 = digits.replace([',', '_'], "").parse().ok()?;
    // `bytes`, `.5 MiB`, `-byte`
    let rest = text[start + digits.len()..].trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let unit = rest.split(|c: char| !c.is_ascii_alphabetic()).next();
    let is_other = unit.is_some_and(|unit| OTHER_UNITS.contains(&unit));
    (start <= gap && number >= LIMIT_MIN && !is_other).then_some(number)
}

/// A provider's words say that the conversation is too long; most have no code for it.
pub(super) fn is_told_in(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    let is_otherwise = OTHERWISE.iter().any(|one| words.contains(one));
    let has_all = |parts: &&[&str]| parts.iter().all(|part| words.contains(part));
    !is_otherwise && WORDINGS.iter().any(has_all)
}

impl LlmError {
    /// The same, as what it is if it says that the conversation is too long. Once an answer has
    /// begun (`begun`) that cannot be.
    pub(super) fn or_overflow(self, begun: bool) -> LlmError {
        match self {
            LlmError::Status {
                provider,
                status,
                message,
                ..
            } if !begun && is_told_by(&provider, status, &message) => {
                LlmError::ContextOverflow { provider, message }
            }
            LlmError::MidStream {
                provider, message, ..
            } if !begun && is_told_in(&message) => LlmError::ContextOverflow { provider, message },
            other => other,
        }
    }
}

/// A refusal says that the conversation is too long, by its words or by its status.
fn is_told_by(provider: &Provider, status: u16, words: &str) -> bool {
    match status {
        // What is too large is made less of, whoever finds it so: servers in between have words of their own.
        413 => true,
        // It says no more than that.
        400 if provider.as_str() == "cerebras" && words == NO_WORDS => true,
        // Proxies pass a refusal on as if they were out of order.
        400 | 422 | 500 | 502 | 503 => is_told_in(words),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::FailureCode;

    fn status(status: u16, message: &str) -> LlmError {
        LlmError::Status {
            provider: Provider::OPENAI,
            status,
            message: message.to_owned(),
            retry_after: None,
            should_retry: None,
            hint: None,
        }
    }

    #[test]
    fn each_provider_is_understood() {
        for words in [
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens. Please reduce the length of the messages.",
            "Your input exceeds the context window of this model.",
            "prompt is too long: 201235 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            r#"{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}"#,
            "Request exceeds the maximum size",
            "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens",
            "the request exceeds the available context size (4096 tokens), try increasing it",
            "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
            "Please reduce the length of the messages or completion.",
            "Input length 300000 exceeds the maximum allowed input length of 262144 tokens.",
            "The input (140000 tokens) is longer than the model's context length (131072 tokens).",
            "prompt token count of 130000 exceeds the limit of 128000",
            "tokens to keep from the initial prompt is greater than the context length",
            "Trying to keep the first 6269 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough.",
            "invalid params, context window exceeds limit (2013)",
            "Invalid request: Your request exceeded model token limit: 262144 (requested: 300000)",
            "Prompt contains 140000 tokens and 0 draft tokens, too large for model with 131072 maximum context length",
            "Prompt has 70000 tokens, but the configured context size is 65536 tokens",
            "InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
            "context length exceeded",
            "Request has too many tokens",
            "token limit exceeded for this model",
            "Input is too long for requested model.",
            "ValidationException: Input is too long",
            "model_context_window_exceeded",
            "prompt too long; exceeded max context length by 5000 tokens",
            "the input length exceeds the context length",
            "Requested token count exceeds the model's maximum context length of 131072 tokens",
            "Input length (265330) exceeds model's maximum context length (262144).",
            "context_length_exceeded",
            "CONTEXT_WINDOW_EXCEEDED",
            "413 Request Entity Too Large",
            "The prompt (total length 9000) is longer than the maximum model length of 8192",
            "Prompt 超长",
            "however you requested 10346 tokens. Please reduce your prompt; or completion length.",
            "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is 4096 tokens and your request has 2104 input tokens",
            "the number of tokens to keep from the initial prompt is greater than n_ctx (8192)",
            "Context size has been exceeded.",
            "exceed_context_size_error",
        ] {
            let error = status(400, words).or_overflow(false);
            assert_eq!(error.code(), FailureCode::ContextOverflow, "{words}");
            assert!(!error.is_retryable());
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn what_the_model_takes_is_read_from_the_words() {
        for (words, expected) in [
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
                Some(128_000),
            ),
            (
                "prompt is too long: 201235 tokens > 200000 maximum",
                Some(200_000),
            ),
            (
                "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
                Some(200_000),
            ),
            (
                "the request exceeds the available context size (4096 tokens), try increasing it",
                Some(4_096),
            ),
            (
                "the request exceeds the available context size, try increasing it (n_ctx: 8192)",
                Some(8_192),
            ),
            (
                "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)",
                Some(1_048_575),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
                Some(131_072),
            ),
            (
                "Input length 300000 exceeds the maximum allowed input length of 262144 tokens.",
                Some(262_144),
            ),
            (
                "The input (140000 tokens) is longer than the model's context length (131072 tokens).",
                Some(131_072),
            ),
            (
                "prompt token count of 130000 exceeds the limit of 128000",
                Some(128_000),
            ),
            (
                "Trying to keep the first 6269 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens",
                Some(4_096),
            ),
            (
                "Your request exceeded model token limit: 262144 (requested: 300000)",
                Some(262_144),
            ),
            (
                "Prompt contains 140000 tokens and 0 draft tokens, too large for model with 131072 maximum context length",
                Some(131_072),
            ),
            (
                "Prompt has 70000 tokens, but the configured context size is 65,536 tokens",
                Some(65_536),
            ),
            ("Range of input length should be [1, 129024]", Some(129_024)),
            (
                "Requested token count exceeds the model's maximum context length of 131072 tokens",
                Some(131_072),
            ),
            (
                "Input length (265330) exceeds model's maximum context length (262144).",
                Some(262_144),
            ),
            (
                "The prompt (total length 9000) is longer than the maximum model length of 8192",
                Some(8_192),
            ),
            (
                "the number of tokens to keep from the initial prompt is greater than n_ctx (8192)",
                Some(8_192),
            ),
            (
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
                Some(272_000),
            ),
            (
                "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 4000 `inputs` tokens",
                Some(4_097),
            ),
            (
                "total number of tokens in the prompt cannot exceed 4081 - received 5000",
                Some(4_081),
            ),
            // Of something else.
            (
                "Request exceeds the maximum size: 40000000 bytes > 33554432 bytes",
                None,
            ),
            ("prompt is too long: 6000.0 KiB > 4096.5 KiB", None),
            (
                "Your request exceeded the configured limit of 10485760 characters",
                None,
            ),
            ("maximum context length is 4096-byte blocks", None),
            // A code, the length of the request, and nothing at all.
            ("invalid params, context window exceeds limit (2013)", None),
            (
                "prompt too long; exceeded max context length by 5000 tokens",
                None,
            ),
            (
                "maximum context length exceeded: you requested 9000 tokens",
                None,
            ),
            ("Your input exceeds the context window of this model.", None),
            ("Input is too long for requested model.", None),
        ] {
            assert_eq!(limit_in(words), expected, "{words}");
        }
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        for words in [
            "Rate limit reached for gpt-4 in organization on tokens per min (TPM): Limit 30000, Requested 40000. Please reduce the length of the messages",
            "Throttling error: Too many tokens, please wait before trying again.",
            "Too many requests",
            "max_tokens is too large: 100000",
            "Range of max_tokens should be [1, 8192]",
            "max_tokens exceeds the limit of 8192",
            "You exceeded your current quota",
            "image exceeds 5 MB maximum: 6418576 bytes > 5242880 bytes",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "invalid api key",
            "model not found",
            "string too long. Expected a string with maximum length 64",
            "Number of request tokens has exceeded your per-minute rate limit",
            "messages: text content blocks must be non-empty",
            "tools.0.function.name: string too long",
            "Invalid 'stop': array too long. Expected an array with maximum length 4",
        ] {
            let error = status(400, words);
            assert_eq!(error.clone().or_overflow(false), error, "{words}");
        }
        for error in [
            status(429, "Request too large: reduce the length of the messages"),
            status(401, "prompt is too long"),
            LlmError::Truncated {
                provider: Provider::OPENAI,
            },
        ] {
            assert_eq!(error.clone().or_overflow(false), error);
        }
        let words = "prompt is too long";
        assert_eq!(status(400, words).or_overflow(true), status(400, words));
    }

    #[test]
    fn what_is_too_large_is_so_without_words_too() {
        for status in [
            status(413, "body too large"),
            status(413, "no reason given"),
        ] {
            let code = status.or_overflow(false).code();
            assert_eq!(code, FailureCode::ContextOverflow);
        }
        for (provider, expected) in [
            (
                Provider::parse("cerebras").unwrap(),
                FailureCode::ContextOverflow,
            ),
            (Provider::OPENAI, FailureCode::ProviderError),
        ] {
            let error = LlmError::Status {
                provider,
                status: 400,
                message: NO_WORDS.to_owned(),
                retry_after: None,
                should_retry: None,
                hint: None,
            };
            assert_eq!(error.or_overflow(false).code(), expected);
        }
        for status in [None, Some(400), Some(503)] {
            let error = LlmError::MidStream {
                provider: Provider::OPENAI,
                status,
                message: "prompt is too long".to_owned(),
            };
            let code = error.or_overflow(false).code();
            assert_eq!(code, FailureCode::ContextOverflow);
        }
    }
}
