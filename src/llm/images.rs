//! The files of a message as a request holds them.
//!
//! Bytes are read where they are written into the request, one file at a time, and encoded on the way: beside the
//! request there is never more than one of them in memory, once.

use std::borrow::Cow;
use std::fmt::{self, Display};

use base64::display::Base64Display;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD};
use serde::{Serialize, Serializer};

use crate::domain::event::Attachment;
use crate::domain::files::{FILE_BYTES_MAX, FileKind, beside};
use crate::domain::image::ImageFormat;
use crate::domain::sight::{Showing, Sight};
use crate::domain::spec::ModelChoice;
use crate::llm::mend::place;
use crate::llm::{AttachedFiles, LlmError, Request};

/// A person's message as a model is given it.
#[derive(Debug)]
pub(super) struct UserParts<'a> {
    /// What was said, with the texts of files and a sentence on each that is not shown.
    pub(super) text: Cow<'a, str>,
    /// What is shown beside it.
    pub(super) files: Vec<FilePart<'a>>,
}

/// A file that is shown to the model: it is read when it is written.
#[derive(Debug)]
pub(super) struct FilePart<'a> {
    file: &'a Attachment,
    kind: SentKind,
    files: &'a dyn AttachedFiles,
    /// There are others, from which its name tells it.
    is_named: bool,
}

/// What is sent as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentKind {
    Image,
    Pdf,
}

/// A file in the form in which it goes into a request.
pub(super) struct SentFile<'a> {
    pub(super) kind: SentKind,
    /// Its media type, as its bytes tell it.
    pub(super) mime: Cow<'a, str>,
    /// What it is called.
    pub(super) name: Cow<'a, str>,
    bytes: Vec<u8>,
}

/// Writes a value as text without making one of it.
pub(super) struct AsText<T>(pub(super) T);

impl<T: Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A message with its files, as far as the model sees them.
pub(super) fn user_parts<'a>(
    text: &'a str,
    attachments: &'a [Attachment],
    request: &'a Request,
    choice: &ModelChoice,
) -> UserParts<'a> {
    if attachments.is_empty() {
        return UserParts {
            text: Cow::Borrowed(text),
            files: Vec::new(),
        };
    }
    let sight = Sight::of(choice);
    let mut files = Vec::new();
    let mut told = Vec::new();
    for file in attachments {
        let kind = match (sight.showing(file), request.files.as_deref()) {
            (Showing::Image, Some(store)) => Some((SentKind::Image, store)),
            (Showing::Pdf, Some(store)) => Some((SentKind::Pdf, store)),
            (showing, store) => {
                let text = store.filter(|_| showing == Showing::Text);
                let text = text.and_then(|store| store.text(file));
                told.push(match (text, showing) {
                    (Some(text), _) => file.with_text(&text),
                    (None, Showing::TooLarge) => file.told_too_large(),
                    (None, _) => file.told(),
                });
                None
            }
        };
        files.extend(kind.map(|(kind, files)| FilePart {
            file,
            kind,
            files,
            is_named: attachments.len() > 1,
        }));
    }
    UserParts {
        text: beside(text, &told),
        files,
    }
}

/// About how many bytes of a request the files of a message take.
pub(super) fn approximate_bytes(attachments: &[Attachment]) -> usize {
    /// More of a text is hardly shown.
    const TEXT: u64 = 128 << 10;
    let bytes = attachments.iter().map(|file| match file.kind() {
        // A log from elsewhere says of them what it likes.
        FileKind::Image | FileKind::Pdf if !file.is_withheld => {
            file.bytes.min(FILE_BYTES_MAX as u64) / 3 * 4 + 256
        }
        FileKind::Text => file.bytes.min(TEXT),
        FileKind::Image | FileKind::Pdf | FileKind::Other => 128,
    });
    usize::try_from(bytes.sum::<u64>()).unwrap_or_default()
}

impl<'a> FilePart<'a> {
    /// What stands before it where there are several.
    pub(super) fn name(&self) -> Option<String> {
        self.is_named.then(|| format!("{}:", self.file.label()))
    }

    /// A sentence on it.
    pub(super) fn told(&self) -> String {
        self.file.told()
    }

    /// Reads it; a sentence on it where it is not there any more.
    pub(super) fn read(&self) -> Result<SentFile<'a>, String> {
        let bytes = self.files.read(self.file).ok_or_else(|| self.file.told())?;
        let mime = match (self.kind, ImageFormat::of(&bytes)) {
            (SentKind::Image, Some(format)) => format.mime(),
            (SentKind::Image, None) => &self.file.mime,
            (SentKind::Pdf, _) => "application/pdf",
        };
        Ok(SentFile {
            kind: self.kind,
            mime: mime.into(),
            name: self.file.label(),
            bytes,
        })
    }
}

impl SentFile<'_> {
    /// Its bytes.
    pub(super) fn base64(&self) -> Base64Display<'_, 'static, GeneralPurpose> {
        Base64Display::new(&self.bytes, &STANDARD)
    }

    /// The same as an address that holds them.
    pub(super) fn data_url(&self) -> DataUrl<'_> {
        DataUrl(self)
    }
}

/// `data:image/png;base64,…`
pub(super) struct DataUrl<'a>(&'a SentFile<'a>);

impl Display for DataUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data:{};base64,{}", self.0.mime, self.0.base64())
    }
}

/// Words by which providers refuse what a message brings, in lower case. `text` alone is what remains.
///
/// Source: OpenAI and Anthropic ("Could not process image", "image exceeds 5 MB maximum", "Invalid base64 data"),
/// DeepSeek ("unknown variant `image_url`"), Groq ("content must be a string"), OpenRouter ("No endpoints found that
/// support image input"), llama.cpp ("image input is not supported"), Gemini ("Unable to process input image").
const WORDS: &[&str] = &[
    "image",
    "images",
    "image_url",
    "pdfs",
    "documents",
    "pdf",
    "document",
    "base64",
    "media_type",
    "media type",
    "mime type",
    "multimodal",
    "vision",
    "file_data",
    "content must be a string",
    "content should be a string",
];

impl LlmError {
    /// The provider refused the request for what a file in it is, as far as its words tell.
    pub fn refuses_files(&self) -> bool {
        let (LlmError::Status {
            status: 400 | 404 | 413 | 415 | 422 | 500,
            message,
            ..
        }
        | LlmError::MidStream { message, .. }) = self
        else {
            return false;
        };
        let message = message.to_ascii_lowercase();
        WORDS.iter().any(|word| place(&message, word).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Provider;

    #[test]
    fn a_refusal_of_a_file_is_told_from_others() {
        let status = |status, message: &str| LlmError::Status {
            provider: Provider::OPENAI,
            status,
            message: message.to_owned(),
            retry_after: None,
            should_retry: None,
            hint: None,
        };
        for (status_code, words, expected) in [
            (400, "Could not process image", true),
            (400, "bad request; see our documentation", false),
            (500, "the model is being provisioned", false),
            (
                400,
                "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum",
                true,
            ),
            (400, "unknown variant `image_url`, expected `text`", true),
            (404, "No endpoints found that support image input", true),
            (
                500,
                "image input is not supported - hint: provide the mmproj",
                true,
            ),
            (400, "The PDF specified was not valid", true),
            (401, "no image for you", false),
            (429, "image limit", false),
            (400, "temperature must be 1", false),
        ] {
            assert_eq!(
                status(status_code, words).refuses_files(),
                expected,
                "{words}"
            );
        }
        assert!(!LlmError::Cancelled.refuses_files());
    }
}
