//! What a person said, as both of OpenAI's dialects hold it. Pure, but for files that are read as they are written.

use std::borrow::Cow;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::domain::message::is_blank;
use crate::llm::images::{AsText, DataUrl, FilePart, SentKind, UserParts};

/// A text, or parts where files are shown beside it.
#[derive(Debug)]
pub(super) struct UserContent<'a> {
    pub(super) said: UserParts<'a>,
    pub(super) form: PartForm,
}

/// How parts are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartForm {
    /// `{type: "image_url", image_url: {url}}`
    Chat,
    /// `{type: "input_image", image_url}`
    Responses,
}

impl UserContent<'_> {
    /// A text alone.
    pub(super) fn text(text: &str) -> UserContent<'_> {
        UserContent {
            said: UserParts {
                text: Cow::Borrowed(text),
                files: Vec::new(),
            },
            form: PartForm::Responses,
        }
    }
}

impl Serialize for UserContent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let UserParts { text, files } = &self.said;
        if files.is_empty() {
            return serializer.serialize_str(text);
        }
        let said = (!is_blank(text)).then_some(UserPart::Text(Cow::Borrowed(text)));
        let shown = files.iter().flat_map(|file| {
            let name = file.name().map(|name| UserPart::Text(Cow::Owned(name)));
            name.into_iter().chain([UserPart::File(file)])
        });
        let parts = said.into_iter().chain(shown);
        serializer.collect_seq(parts.map(|part| ContentPart(part, self.form)))
    }
}

enum UserPart<'a> {
    Text(Cow<'a, str>),
    File(&'a FilePart<'a>),
}

struct ContentPart<'a>(UserPart<'a>, PartForm);

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: AsText<DataUrl<'a>>,
}

#[derive(Serialize)]
struct FileData<'a> {
    filename: &'a str,
    file_data: AsText<DataUrl<'a>>,
}

impl Serialize for ContentPart<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ContentPart(part, form) = self;
        let mut map = serializer.serialize_map(None)?;
        let read = match part {
            UserPart::Text(text) => Err(Cow::Borrowed(&**text)),
            UserPart::File(file) => file.read().map_err(Cow::Owned),
        };
        let is_image = read.as_ref().is_ok_and(|file| file.kind == SentKind::Image);
        match (read, form) {
            (Err(text), form) => {
                let is_chat = *form == PartForm::Chat;
                map.serialize_entry("type", if is_chat { "text" } else { "input_text" })?;
                map.serialize_entry("text", &text)?;
            }
            (Ok(file), PartForm::Chat) if is_image => {
                let url = AsText(file.data_url());
                map.serialize_entry("type", "image_url")?;
                map.serialize_entry("image_url", &ImageUrl { url })?;
            }
            (Ok(file), PartForm::Responses) if is_image => {
                map.serialize_entry("type", "input_image")?;
                map.serialize_entry("image_url", &AsText(file.data_url()))?;
                map.serialize_entry("detail", "auto")?;
            }
            (Ok(file), form) => {
                let data = FileData {
                    filename: &file.name,
                    file_data: AsText(file.data_url()),
                };
                if *form == PartForm::Chat {
                    map.serialize_entry("type", "file")?;
                    map.serialize_entry("file", &data)?;
                } else {
                    map.serialize_entry("type", "input_file")?;
                    map.serialize_entry("filename", data.filename)?;
                    map.serialize_entry("file_data", &data.file_data)?;
                }
            }
        }
        map.end()
    }
}
