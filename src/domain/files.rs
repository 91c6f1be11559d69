//! The files of a session: how its messages name them, and what kind they are. Pure.
//!
//! A file is kept under its SHA-256. Its [`FileKey`] is that with an ending, from which its type can be
//! told: so nothing has to be kept beside the bytes, and no key can be a path.
//!
//! Elsewhere: the bytes (`store::blobs`), what a log says of a file ([`Attachment`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::domain::event::{Attachment, UserMessage};
use crate::domain::image::{ImageFormat, ImageSize};
use crate::domain::message::{Message, is_blank};
use crate::domain::plain;

/// The most bytes of a file.
pub const FILE_BYTES_MAX: usize = 10 << 20;
/// The most files of one message. Platforms send ten at a time.
pub const ATTACHMENTS_MAX: usize = 32;
/// The longest name of a file that is kept, in characters: it is shown in one line.
const NAME_CHARS_MAX: usize = 120;
/// The longest media type; those that are registered have less.
const MEDIA_TYPE_BYTES_MAX: usize = 100;
/// The most files of a conversation that are shown to a model at once: with more, some take smaller images only …
const SHOWN_MAX: usize = 20;
/// … and the most bytes of them: some take requests of 20 MB.
const SHOWN_BYTES_MAX: u64 = 14 << 20;
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// Media types and the endings of their files. Of several endings of a type the first is the one that a
/// key has.
const ENDINGS: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("csv", "text/csv"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("ics", "text/calendar"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("md", "text/markdown"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("rtf", "application/rtf"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tiff", "image/tiff"),
    ("tif", "image/tiff"),
    ("txt", "text/plain"),
    ("log", "text/plain"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
];

/// A media type, `type/subtype` in small letters and without parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(Cow<'static, str>);

impl MediaType {
    /// The type of bytes of which nothing is known.
    pub const UNKNOWN: MediaType = MediaType(Cow::Borrowed("application/octet-stream"));
    /// Text of no special kind.
    pub const TEXT: MediaType = MediaType(Cow::Borrowed("text/plain"));

    /// Reads the value of a `Content-Type`; parameters are left out. `None` if it is none.
    ///
    /// Source: RFC 6838, section 4.2, but for characters that no registered type has.
    pub fn parse(value: &str) -> Option<MediaType> {
        let essence = value.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let is_name = |part: &str| part.starts_with(|first: char| first.is_ascii_alphanumeric());
        let is_type = is_name(kind)
            && is_name(subtype)
            && kind.bytes().all(is_plain)
            && subtype.bytes().all(|byte| is_plain(byte) || byte == b'_')
            && essence.len() <= MEDIA_TYPE_BYTES_MAX;
        is_type.then(|| MediaType(essence.into()))
    }

    /// The type that a file of that name has, by its ending; `None` if that tells nothing.
    pub fn of_file(name: &str) -> Option<MediaType> {
        let (_, ending) = name.rsplit_once('.')?;
        MediaType::of_ending(&ending.to_ascii_lowercase())
    }

    /// The type of a form's fields, which is none of a file.
    pub fn is_form(&self) -> bool {
        matches!(
            self.as_str(),
            "multipart/form-data" | "application/x-www-form-urlencoded"
        )
    }

    /// Whoever said it may mean a picture: by its name, or as nothing is known.
    pub fn may_be_image(&self) -> bool {
        self.0.starts_with("image/") || *self == MediaType::UNKNOWN
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of_ending(ending: &str) -> Option<MediaType> {
        let known = ENDINGS.iter().find(|(known, _)| *known == ending);
        known.map(|(_, media_type)| MediaType(Cow::Borrowed(media_type)))
    }

    /// What the key of a file of this type ends with. A type without an ending of its own is written
    /// out: `video_x-matroska`.
    fn ending(&self) -> Cow<'static, str> {
        let known = ENDINGS.iter().find(|(_, known)| *known == self.0);
        known.map_or_else(
            || self.0.replacen('/', "_", 1).into(),
            |(ending, _)| Cow::Borrowed(*ending),
        )
    }
}

/// Names a file of a session: `<SHA-256>.<ending>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKey {
    text: String,
    media_type: MediaType,
}

impl FileKey {
    /// The key of bytes of that digest, which is 64 lower-case hexadecimal digits, and type.
    ///
    /// # Panics
    ///
    /// Where the digest is none.
    pub fn new(sha256: &str, media_type: MediaType) -> FileKey {
        assert!(is_digest(sha256), "a digest names a file");
        FileKey {
            text: format!("{sha256}.{}", media_type.ending()),
            media_type,
        }
    }

    /// Reads a key; one without an ending names bytes of which nothing is known. `None` for what is
    /// none.
    pub fn parse(text: &str) -> Option<FileKey> {
        let (sha256, ending) = text.split_once('.').unwrap_or((text, "bin"));
        let written_out = || {
            let media_type = MediaType::parse(&ending.replacen('_', "/", 1))?;
            (media_type.ending() == ending).then_some(media_type)
        };
        let media_type = MediaType::of_ending(ending).or_else(written_out)?;
        is_digest(sha256).then(|| FileKey::new(sha256, media_type))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digest of the bytes.
    pub fn sha256(&self) -> &str {
        &self.text[..DIGITS]
    }

    /// What they are, as whoever brought them has said.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for FileKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == DIGITS && text.bytes().all(is_digit)
}

/// A file that goes with a message that somebody wants to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttachedFile {
    /// Which of the session's files.
    pub file: FileKey,
    /// What it is called where it comes from; see [`plain_name`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The name of a file as it is kept: without the folders before it, in one line, of at most 120
/// characters. `None` if nothing is left.
pub fn plain_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let seen = plain::in_one_line(last);
    let name: String = seen.chars().take(NAME_CHARS_MAX).collect();
    (!name.trim_matches(['.', ' ']).is_empty()).then_some(name)
}

/// What a file is for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A picture, of a format that models take.
    Image,
    /// A PDF document.
    Pdf,
    /// Something to read.
    Text,
    /// Anything else.
    Other,
}

/// Media types of texts beside those that say so.
const TEXTS: &[&str] = &[
    "application/ecmascript",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/jsonl",
    "application/sql",
    "application/toml",
    "application/typescript",
    "application/x-httpd-php",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-sh",
    "application/x-tex",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
];

impl FileKind {
    /// That of a media type.
    pub fn of_type(mime: &str) -> FileKind {
        let is_written = |part: &str| mime.ends_with(part);
        match mime {
            "application/pdf" => FileKind::Pdf,
            "text/rtf" => FileKind::Other,
            _ if ImageFormat::of_type(mime).is_some() => FileKind::Image,
            _ if mime.starts_with("text/") || TEXTS.contains(&mime) => FileKind::Text,
            _ if is_written("+json") || is_written("+xml") || is_written("+yaml") => FileKind::Text,
            _ => FileKind::Other,
        }
    }
}

/// The text that some bytes are; `None` where they are none.
pub fn as_text(mut bytes: Vec<u8>) -> Option<String> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if bytes.contains(&0) {
        return None;
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    Some(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

impl Attachment {
    /// What is said of a file of that key and size.
    pub fn of(file: &FileKey, bytes: u64, name: Option<String>) -> Attachment {
        Attachment {
            file: file.as_str().to_owned(),
            mime: file.media_type().as_str().to_owned(),
            bytes,
            sha256: file.sha256().to_owned(),
            name,
            ..Attachment::default()
        }
    }

    /// The same with what its bytes tell.
    #[must_use]
    pub fn seen(self, bytes: &[u8]) -> Attachment {
        let size = ImageSize::of(bytes);
        Attachment {
            width: size.map(|size| size.width),
            height: size.map(|size| size.height),
            ..self
        }
    }

    /// What it is for a model: by its bytes where they tell, else by its type.
    pub fn kind(&self) -> FileKind {
        if self.width.is_some() {
            return FileKind::Image;
        }
        FileKind::of_type(&self.mime)
    }

    /// How large the image is, where that is known.
    pub fn size(&self) -> Option<ImageSize> {
        let (width, height) = self.width.zip(self.height)?;
        Some(ImageSize { width, height })
    }

    /// It is shown as it is to models that take such.
    fn is_shown(&self) -> bool {
        !self.is_withheld && matches!(self.kind(), FileKind::Image | FileKind::Pdf)
    }

    /// What it is called for people: the name that it came with, else the beginning of its key and the
    /// ending.
    pub fn label(&self) -> Cow<'_, str> {
        const DIGITS_SHOWN: usize = 8;
        match (&self.name, self.file.split_once('.')) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, Some((digest, ending))) if is_digest(digest) => {
                format!("{}.{ending}", &digest[..DIGITS_SHOWN]).into()
            }
            (None, _) => Cow::Borrowed(&self.file),
        }
    }

    /// What it is, for people, with its caption. Names and captions are as others wrote them.
    pub fn described(&self) -> String {
        let caption = self.caption.as_deref().map(|text| format!(": {text}"));
        format!(
            "{} ({}, {}){}",
            self.label(),
            self.mime,
            plain::size(self.bytes),
            caption.unwrap_or_default()
        )
    }

    /// What a model is told that is not shown the file.
    pub fn told(&self) -> String {
        format!("[{}; you are not shown what is in it]", self.announced())
    }

    /// The same where that is for its size.
    pub fn told_too_large(&self) -> String {
        let what = self.announced();
        format!("[{what}; you are not shown it, as it is larger than what you take]")
    }

    /// A text as a model is shown it.
    pub fn with_text(&self, text: &str) -> String {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let label = self.plain_label();
        format!("[{}]\n{text}{end}[end of {label}]", self.announced())
    }

    fn announced(&self) -> String {
        let size = plain::size(self.bytes);
        format!("attached: {}, {}, {size}", self.plain_label(), self.mime)
    }

    /// Nothing in a name passes for the end of a sentence in brackets.
    fn plain_label(&self) -> String {
        self.label().replace('[', "(").replace(']', ")")
    }
}

/// A message for a model that is shown no files: a sentence for each stands behind the text, or in its
/// place.
pub fn told_beside<'a>(text: &'a str, attachments: &[Attachment]) -> Cow<'a, str> {
    let told: Vec<String> = attachments.iter().map(Attachment::told).collect();
    beside(text, &told)
}

/// A text with what is told of its files behind it, or in its place.
pub fn beside<'a>(text: &'a str, told: &[String]) -> Cow<'a, str> {
    let told = told.join("\n");
    match (is_blank(text), told.is_empty()) {
        (_, true) => Cow::Borrowed(text),
        (true, false) => Cow::Owned(told),
        (false, false) => Cow::Owned(format!("{text}\n\n{told}")),
    }
}

/// Some file of the conversation is shown as it is to models that take such.
pub fn shows_files(messages: &[Message]) -> bool {
    messages.iter().any(|message| match message {
        Message::User { attachments, .. } => attachments.iter().any(Attachment::is_shown),
        Message::Assistant(_) | Message::Tool { .. } => false,
    })
}

/// Withholds the oldest files of a conversation that has more of them than providers take. In large steps, so that
/// what the model is given seldom changes at its beginning.
pub fn show_latest(messages: &mut [Message]) {
    let mut files: Vec<&mut Attachment> = messages
        .iter_mut()
        .flat_map(|message| match message {
            Message::User { attachments, .. } => attachments.as_mut_slice(),
            Message::Assistant(_) | Message::Tool { .. } => &mut [],
        })
        .filter(|file| matches!(file.kind(), FileKind::Image | FileKind::Pdf))
        .collect();
    // A log from elsewhere says of them what it likes.
    let bytes_of = |file: &Attachment| file.bytes.min(FILE_BYTES_MAX as u64);
    let total: u64 = files.iter().map(|file| bytes_of(file)).sum();
    let surplus = total.saturating_sub(SHOWN_BYTES_MAX);
    let mut bytes = surplus.next_multiple_of(SHOWN_BYTES_MAX / 2);
    let count = files.len().saturating_sub(SHOWN_MAX);
    let count = count.next_multiple_of(SHOWN_MAX / 2);
    for (place, file) in files.iter_mut().enumerate() {
        if place >= count && bytes == 0 {
            break;
        }
        bytes = bytes.saturating_sub(bytes_of(file));
        file.is_withheld = true;
    }
}

/// Withholds the files of a message from models; whether there were any. The event that the message is stays as it is.
pub fn withhold(message: &mut Arc<UserMessage>) -> bool {
    let are_shown = message.attachments.iter().any(Attachment::is_shown);
    if are_shown {
        let message = Arc::make_mut(message);
        for file in &mut message.attachments {
            file.is_withheld = true;
        }
    }
    are_shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_media_type_is_read_from_its_header() {
        for (value, expected) in [
            ("image/png", Some("image/png")),
            (" Image/PNG ; x=y", Some("image/png")),
            ("text/plain;charset=utf-8", Some("text/plain")),
            ("application/vnd.a_b+xml", Some("application/vnd.a_b+xml")),
            ("", None),
            ("png", None),
            ("/png", None),
            ("image/", None),
            ("image/../x", None),
            ("im_age/png", None),
            ("image/p ng", None),
            ("image/png\r\nX: y", None),
            ("*/*", None),
        ] {
            let found = MediaType::parse(value);
            assert_eq!(found.as_ref().map(MediaType::as_str), expected, "{value:?}");
        }
        assert_eq!(MediaType::parse(&format!("a/{}", "b".repeat(99))), None);
    }

    #[test]
    fn a_key_is_a_digest_and_tells_the_type() {
        for (media_type, ending) in [
            ("image/jpeg", "jpg"),
            ("application/octet-stream", "bin"),
            ("video/x-matroska", "video_x-matroska"),
            ("application/a_b.c+d", "application_a_b.c+d"),
        ] {
            let media_type = MediaType::parse(media_type).unwrap();
            let key = FileKey::new(DIGEST, media_type.clone());
            assert_eq!(key.as_str(), format!("{DIGEST}.{ending}"));
            assert_eq!(FileKey::parse(key.as_str()), Some(key.clone()));
            assert_eq!((key.sha256(), key.media_type()), (DIGEST, &media_type));
        }
        let bare = FileKey::parse(DIGEST).unwrap();
        assert_eq!(bare.media_type(), &MediaType::UNKNOWN);
        let other_ending = FileKey::parse(&format!("{DIGEST}.jpeg")).unwrap();
        assert_eq!(other_ending.as_str(), format!("{DIGEST}.jpg"));
        for text in [
            "",
            ".",
            "..",
            "../../etc/passwd",
            "photo.png",
            &DIGEST[1..],
            &DIGEST.to_uppercase(),
            &format!("{DIGEST}."),
            &format!("{DIGEST}.nothing"),
            &format!("{DIGEST}.a/b"),
            &format!("{DIGEST}.png/x"),
            &format!("{DIGEST}.png\0"),
            &format!("../{DIGEST}.png"),
        ] {
            assert_eq!(FileKey::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_type_of_the_table_has_one_key() {
        for (ending, media_type) in ENDINGS {
            let found = MediaType::of_file(&format!("a.b.{}", ending.to_uppercase()));
            let found = found.unwrap();
            assert_eq!(found, MediaType::parse(media_type).unwrap(), "{ending}");
            let key = FileKey::new(DIGEST, found.clone());
            let again = FileKey::parse(key.as_str()).unwrap();
            assert_eq!((again.media_type(), &again), (&found, &key));
        }
    }

    #[test]
    fn a_name_is_one_line_without_a_path() {
        for (name, expected) in [
            ("photo.jpg", Some("photo.jpg")),
            ("/etc/passwd", Some("passwd")),
            ("C:\\a\\b.txt", Some("b.txt")),
            ("a\n[system]: b", Some("a [system]: b")),
            ("\u{202e}gpj.exe\u{1b}[2J", Some("gpj.exe[2J")),
            ("..", None),
            ("a/", None),
            ("", None),
            (" \n", None),
        ] {
            assert_eq!(plain_name(name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(plain_name(&"ä".repeat(500)).unwrap().chars().count(), 120);
    }

    #[test]
    fn a_model_is_told_of_a_file_in_one_sentence_that_no_name_ends() {
        let attachment = |name: Option<&str>| Attachment {
            file: format!("{DIGEST}.png"),
            mime: "image/png".to_owned(),
            bytes: 122_880,
            sha256: DIGEST.to_owned(),
            name: name.map(str::to_owned),
            ..Attachment::default()
        };
        for (name, told) in [
            (Some("a cat.png"), "a cat.png"),
            (Some("a] now [x"), "a) now (x"),
            (None, "ba7816bf.png"),
        ] {
            assert_eq!(
                attachment(name).told(),
                format!("[attached: {told}, image/png, 120.0 KB; you are not shown what is in it]")
            );
        }
        let shown = attachment(Some("a]")).with_text("x");
        assert_eq!(shown, "[attached: a), image/png, 120.0 KB]\nx\n[end of a)]");
    }

    #[test]
    fn a_text_is_what_holds_no_zeros() {
        for (bytes, text) in [
            (&b"\xef\xbb\xbfa\n"[..], Some("a\n")),
            (b"Gr\xfc\xdfe", Some("Gr\u{fffd}\u{fffd}e")),
            (b"a\0b", None),
            (b"", Some("")),
        ] {
            assert_eq!(as_text(bytes.to_vec()).as_deref(), text, "{bytes:?}");
        }
    }

    fn message(files: &[u64]) -> Message {
        let file = |bytes: &u64| Attachment {
            mime: "image/png".to_owned(),
            bytes: *bytes,
            ..Attachment::default()
        };
        Message::User {
            text: "".into(),
            attachments: files.iter().map(file).collect(),
        }
    }

    /// How many files of a conversation are withheld.
    fn withheld(messages: &[Message]) -> usize {
        let files = messages.iter().flat_map(|message| match message {
            Message::User { attachments, .. } => attachments.as_slice(),
            Message::Assistant(_) | Message::Tool { .. } => &[],
        });
        files.filter(|file| file.is_withheld).count()
    }

    #[test]
    fn of_many_files_the_latest_are_shown_and_what_was_decided_stays_for_a_while() {
        let mut found = Vec::new();
        let mut messages = Vec::new();
        for _ in 0..32 {
            messages.push(message(&[1]));
            // As a conversation that goes on from one before has it.
            show_latest(&mut messages);
            found.push(withheld(&messages));
        }
        assert_eq!(found[..20], [0; 20]);
        assert_eq!(found[20..30], [10; 10]);
        assert_eq!(found[30..], [20; 2]);
        let mut large = [
            message(&[10 << 20]),
            message(&[4 << 20, 1]),
            message(&[3 << 20]),
        ];
        show_latest(&mut large[..2]);
        assert_eq!(withheld(&large), 1);
        show_latest(&mut large);
        assert_eq!(withheld(&large), 1);
        assert!(shows_files(&large));
        show_latest(&mut [message(&[u64::MAX, u64::MAX])]);
        assert!(!shows_files(&large[..1]));
    }
}
