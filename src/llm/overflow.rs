//! How providers say that a conversation is too long for the model. Pure.

use crate::llm::LlmError;

/// Words of which each provider uses some, in lower case. None of them stands in what is said of
/// too many requests, or of too long an answer alone.
///
/// Source: OpenAI (`context_length_exceeded`), Anthropic ("prompt is too long", "input length and
/// `max_tokens` exceed context limit"), OpenRouter and vLLM ("maximum context length"), llama.cpp
/// and Ollama ("exceeds the available context size", "exceeds context length"), Gemini ("exceeds
/// the maximum number of tokens allowed"), Mistral ("too large for model with").
const WORDS: &[&str] = &[
    "context_length_exceeded",
    "maximum context length",
    "exceeds the context window",
    "prompt is too long",
    "exceed context limit",
    "exceeds the available context size",
    "exceed_context_size",
    "exceeds context length",
    "exceeds the maximum number of tokens allowed",
    "too large for model with",
    "reduce the length of the messages",
];

/// A provider's words say that the conversation is too long; most have no code for it.
pub(super) fn is_told_in(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    WORDS.iter().any(|one| words.contains(one))
}

impl LlmError {
    /// The same, as what it is if it says that the conversation is too long. Once an answer has
    /// begun (`begun`) that cannot be.
    pub(super) fn or_overflow(self, begun: bool) -> LlmError {
        match self {
            LlmError::Status {
                provider,
                status: 400 | 413 | 422 | 500,
                message,
                ..
            }
            | LlmError::MidStream { provider, message }
                if !begun && is_told_in(&message) =>
            {
                LlmError::ContextOverflow { provider, message }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::FailureCode;
    use crate::domain::spec::Provider;

    fn status(status: u16, message: &str) -> LlmError {
        LlmError::Status {
            provider: Provider::OPENAI,
            status,
            message: message.to_owned(),
            retry_after: None,
            hint: None,
        }
    }

    #[test]
    fn each_provider_is_understood() {
        for words in [
            "This model's maximum context length is 128000 tokens. However, your messages \
             resulted in 130001 tokens. Please reduce the length of the messages.",
            "Your input exceeds the context window of this model.",
            "prompt is too long: 201235 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "This endpoint's maximum context length is 32768 tokens. However, you requested \
             about 40000 tokens",
            "the request exceeds the available context size (4096 tokens), try increasing it",
            "The input token count (1200000) exceeds the maximum number of tokens allowed \
             (1048576).",
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 \
             maximum context length",
        ] {
            let error = status(400, words).or_overflow(false);
            assert_eq!(error.code(), FailureCode::ContextOverflow, "{words}");
            assert!(!error.is_retryable());
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        for error in [
            status(429, "Request too large: reduce the length of the messages"),
            status(400, "max_tokens is too large: 100000"),
            status(413, "body too large"),
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
}
