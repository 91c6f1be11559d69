//! What a model is shown of the files that come with messages. Pure.
//!
//! A model is shown what it takes: images, documents. The text of texts is shown to any. Of all else it is told
//! in a sentence.

use crate::domain::event::Attachment;
use crate::domain::files::{FILE_BYTES_MAX, FileKind};
use crate::domain::image::ImageRule;
use crate::domain::providers::Seeing;
use crate::domain::spec::{ModelChoice, ModelInput, Provider};

/// What a model sees, and what that costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// What it takes beside text.
    pub input: ModelInput,
    rule: ImageRule,
    /// The largest image that it takes.
    image_bytes_max: u64,
    /// The longest side of an image.
    side_max: u32,
}

/// How a file goes to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showing {
    /// As an image.
    Image,
    /// As a document.
    Pdf,
    /// As its text.
    Text,
    /// In a sentence.
    Told,
    /// The same, as it is more than the model takes.
    TooLarge,
}

/// Of an image to Claude, which counts what it was sent: four bytes for three.
const CLAUDE_IMAGE_BYTES_MAX: u64 = (5 << 20) / 4 * 3;

/// Beginnings of names of models that see, with `-` for `.`.
///
/// Source: the makers' model pages, November 2026.
const NAMES: &[&str] = &[
    "gpt-4o",
    "gpt-4-1",
    "gpt-4-turbo",
    "gpt-5",
    "gpt-6",
    "chatgpt-4o",
    "o1",
    "o3",
    "o4",
    "claude",
    "gemini",
    "grok-4",
    "grok-2-vision",
    "grok-vision",
    "pixtral",
    "mistral-small-3",
    "mistral-medium",
    "mistral-large-3",
    "magistral-small-2509",
    "llama-4",
    "llama4",
    "llama-3-2-11b-vision",
    "llama-3-2-90b-vision",
    "llama3-2-vision",
    "llava",
    "bakllava",
    "moondream",
    "minicpm-v",
    "qwen2-vl",
    "qwen-2-vl",
    "qwen-vl",
    "qwen2-5-vl",
    "qwen2-5vl",
    "qwen-2-5-vl",
    "qwen3-vl",
    "qwen3-5",
    "qwen3-6",
    "qvq",
    "gemma-3",
    "gemma3",
    "gemma-4",
    "gemma4",
    "kimi-k2-5",
    "kimi-k2-6",
    "kimi-vl",
    "glm-4v",
    "glm-4-5v",
    "glm-4-6v",
    "internvl",
    "phi-4-multimodal",
    "step-1v",
];
/// Beginnings of names of models that do not.
const BLIND: &[&str] = &[
    "gpt-3",
    "gpt-4-0",
    "gpt-4-1106",
    "gpt-4-32k",
    "gpt-oss",
    "o1-mini",
    "o1-preview",
    "o3-mini",
    "claude-2",
    "claude-instant",
    "gemma-3-1b",
    "gemma3:1b",
    "grok-2-1",
    "grok-3",
    "grok-beta",
    "grok-code",
    "codestral",
    "devstral",
    "ministral",
    "mixtral",
    "mistral-7b",
    "mistral-nemo",
    "mistral-tiny",
    "open-mi",
];

impl Sight {
    /// That of a model that sees nothing.
    pub const NONE: Sight = Sight {
        input: ModelInput {
            image: false,
            pdf: false,
        },
        rule: ImageRule::UNKNOWN,
        image_bytes_max: FILE_BYTES_MAX as u64,
        side_max: u32::MAX,
    };

    /// That of a model: by what its agent's file says, else by its provider and its name. What answers at an address
    /// of an agent's own is known by its name alone.
    pub fn of(choice: &ModelChoice) -> Sight {
        let name = choice.name.rsplit('/').next().unwrap_or_default();
        let name = name.to_ascii_lowercase().replace('.', "-");
        let begins = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        let known = choice.provider.known();
        let seeing = known.map_or(Seeing::UNKNOWN, |known| known.seeing);
        let is_there = choice.base_url.is_none();
        let image = (is_there && seeing.images) || begins(NAMES);
        let image = image && !begins(BLIND) && name != "gpt-4";
        let image = image && choice.provider != Provider::ECHO;
        let pdf = image && is_there && seeing.pdf;
        let is_claude = name.starts_with("claude");
        Sight {
            input: choice.settings.input.unwrap_or(ModelInput { image, pdf }),
            rule: ImageRule::of(&name),
            image_bytes_max: match is_claude {
                true => CLAUDE_IMAGE_BYTES_MAX,
                false => seeing.image_bytes_max,
            },
            side_max: if is_claude { 8_000 } else { u32::MAX },
        }
    }

    /// How a file goes to it.
    pub fn showing(&self, file: &Attachment) -> Showing {
        let is_long = |side: Option<u32>| side.is_some_and(|side| side > self.side_max);
        match file.kind() {
            FileKind::Text => Showing::Text,
            FileKind::Image | FileKind::Pdf if file.is_withheld => Showing::Told,
            FileKind::Image if !self.input.image => Showing::Told,
            FileKind::Image if file.bytes > self.image_bytes_max => Showing::TooLarge,
            FileKind::Image if is_long(file.width) || is_long(file.height) => Showing::TooLarge,
            FileKind::Image => Showing::Image,
            FileKind::Pdf if self.input.pdf => Showing::Pdf,
            FileKind::Pdf | FileKind::Other => Showing::Told,
        }
    }

    /// About how many tokens an image takes.
    pub fn image_tokens(&self, file: &Attachment) -> u64 {
        self.rule.tokens(file.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(label: &str) -> Sight {
        let (provider, name) = label.split_once('/').unwrap();
        Sight::of(&ModelChoice::new(Provider::parse(provider).unwrap(), name))
    }

    #[test]
    fn who_sees_is_known_by_provider_and_name() {
        for (label, image, pdf) in [
            ("openai/gpt-4o-mini", true, true),
            ("openai/gpt-99", true, true),
            ("openai/gpt-3.5-turbo", false, false),
            ("openai/gpt-4", false, false),
            ("openai/gpt-4.1", true, true),
            ("openai/o3-mini", false, false),
            ("anthropic/claude-sonnet-4-5", true, true),
            ("anthropic/claude-2.1", false, false),
            ("gemini/gemini-2.5-pro", true, false),
            ("openrouter/anthropic/claude-opus-4.7", true, true),
            ("openrouter/deepseek/deepseek-chat", false, false),
            ("deepseek/deepseek-chat", false, false),
            ("groq/meta-llama/llama-4-scout-17b", true, false),
            ("groq/llama-3.3-70b-versatile", false, false),
            ("mistral/codestral-latest", false, false),
            ("mistral/mistral-small-latest", true, false),
            ("ollama/llama3.2-vision:11b", true, false),
            ("ollama/gemma3:1b", false, false),
            ("ollama/qwen2.5vl", true, false),
            ("ollama/llama3.2", false, false),
            ("echo/echo", false, false),
        ] {
            assert_eq!(sight(label).input, ModelInput { image, pdf }, "{label}");
        }
    }

    #[test]
    fn what_the_file_says_counts_and_an_address_of_its_own_is_no_provider() {
        let mut choice = ModelChoice::new(Provider::OPENAI, "fake");
        assert!(Sight::of(&choice).input.image);
        choice.base_url = Some("http://127.0.0.1:1".to_owned());
        assert_eq!(Sight::of(&choice).input, ModelInput::default());
        let input = ModelInput {
            image: false,
            pdf: true,
        };
        choice.settings.input = Some(input);
        assert_eq!(Sight::of(&choice).input, input);
    }

    #[test]
    fn a_file_is_shown_as_what_it_is_where_the_model_takes_that() {
        let file = |mime: &str, bytes| Attachment {
            mime: mime.to_owned(),
            bytes,
            ..Attachment::default()
        };
        let (seeing, blind) = (sight("anthropic/claude-3-opus"), Sight::NONE);
        for (file, seen, told) in [
            (file("image/png", 9), Showing::Image, Showing::Told),
            (file("image/png", 4 << 20), Showing::TooLarge, Showing::Told),
            (file("image/heic", 9), Showing::Told, Showing::Told),
            (
                file("application/pdf", 9 << 20),
                Showing::Pdf,
                Showing::Told,
            ),
            (file("text/x-rust", 9), Showing::Text, Showing::Text),
            (file("image/svg+xml", 9), Showing::Text, Showing::Text),
            (file("application/zip", 9), Showing::Told, Showing::Told),
            (
                Attachment {
                    width: Some(8_001),
                    height: Some(1),
                    ..file("application/octet-stream", 9)
                },
                Showing::TooLarge,
                Showing::Told,
            ),
            (
                Attachment {
                    is_withheld: true,
                    ..file("image/png", 9)
                },
                Showing::Told,
                Showing::Told,
            ),
        ] {
            let found = (seeing.showing(&file), blind.showing(&file));
            assert_eq!(found, (seen, told), "{file:?}");
        }
    }
}
