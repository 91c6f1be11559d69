//! What the bytes of a page mean. Pure.
//!
//! Every encoding of the web is read, as browsers read it.
//!
//! Source: WHATWG Encoding.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Encoding, UTF_8, WINDOWS_1252};
use memchr::memmem;

/// A page tells its encoding within its first bytes, or not at all.
///
/// Source: WHATWG HTML, section "Specifying the document's character encoding".
const META_BYTES: usize = 1024;

/// What a decoder wants to have left beside what it writes next.
const DECODER_BYTES: usize = 16;

/// A text, and whether all of it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodedText {
    pub(super) text: String,
    /// The encoding that the page claims and that is none of the web's: what is not ASCII is lost.
    pub(super) unknown_charset: Option<String>,
}

/// Decodes a body of that `Content-Type`. A mark at its beginning counts before what is said of it.
pub(super) fn decode(body: &[u8], content_type: &str) -> DecodedText {
    if let Some((encoding, mark_bytes)) = Encoding::for_bom(body) {
        return DecodedText {
            text: decode_as(encoding, &body[mark_bytes..]),
            unknown_charset: None,
        };
    }
    let label = parameter(content_type).or_else(|| meta(body));
    let claimed = label
        .as_deref()
        .map(|label| Encoding::for_label_no_replacement(label.as_bytes()));
    let encoding = match claimed {
        Some(known) => known.unwrap_or(UTF_8),
        None => guessed(body),
    };
    DecodedText {
        text: decode_as(encoding, body),
        unknown_charset: label.filter(|_| claimed == Some(None)),
    }
}

/// Bytes that mean nothing become `\u{fffd}`, but for a letter that was cut at the end.
fn decode_as(encoding: &'static Encoding, body: &[u8]) -> String {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    // Enough for most pages, whose letters are ASCII or as long in UTF-8.
    let mut text = String::with_capacity(body.len() + DECODER_BYTES);
    let mut rest = body;
    loop {
        let (result, read, _) = decoder.decode_to_string(rest, &mut text, false);
        rest = &rest[read..];
        match result {
            CoderResult::InputEmpty => return text,
            CoderResult::OutputFull => text.reserve(rest.len() + DECODER_BYTES),
        }
    }
}

/// What a page means that does not say it: nothing but UTF-8 looks like UTF-8 by chance.
fn guessed(body: &[u8]) -> &'static Encoding {
    // A page that was cut may end within a letter.
    let is_cut = |error: std::str::Utf8Error| error.error_len().is_none();
    if std::str::from_utf8(body).map_or_else(is_cut, |_| true) {
        UTF_8
    } else {
        WINDOWS_1252
    }
}

/// The `charset` of a `Content-Type`, in lower case.
fn parameter(content_type: &str) -> Option<String> {
    let lower = content_type.to_ascii_lowercase();
    let (_, after) = lower.split_once("charset")?;
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let value = value.trim_start_matches(['"', '\'']);
    let is_end = |c: char| c.is_whitespace() || ";\"'>/".contains(c);
    let label = value.split(is_end).next()?;
    (!label.is_empty()).then(|| label.to_owned())
}

/// The `charset` of a `<meta>`, in either of its forms.
fn meta(body: &[u8]) -> Option<String> {
    let start = &body[..body.len().min(META_BYTES)];
    let lower = start.to_ascii_lowercase();
    memmem::find_iter(&lower, b"<meta").find_map(|at| {
        let tag = lower[at..].split(|byte| *byte == b'>').next()?;
        let label = parameter(&String::from_utf8_lossy(tag))?;
        // The page could not have told this in the encoding that it names.
        let is_impossible = label.starts_with("utf-16");
        Some(if is_impossible {
            "utf-8".to_owned()
        } else {
            label
        })
    })
}

/// How a body is shown to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// A page, which is converted.
    Html,
    /// Text, which is passed as it is.
    Text,
    /// Something else.
    Other,
}

/// Goes by the `Content-Type`; a body without one is what it looks like.
pub(super) fn kind(content_type: &str, body: &[u8]) -> BodyKind {
    match mime(content_type).as_ref() {
        "" => looks_like(body),
        "text/html" | "application/xhtml+xml" => BodyKind::Html,
        mime if is_text(mime) => BodyKind::Text,
        _ => BodyKind::Other,
    }
}

/// The type alone, in lower case.
pub(super) fn mime(content_type: &str) -> Cow<'_, str> {
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    if mime.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(mime.to_ascii_lowercase())
    } else {
        Cow::Borrowed(mime)
    }
}

fn is_text(mime: &str) -> bool {
    let Some((family, subtype)) = mime.split_once('/') else {
        return false;
    };
    const TEXTS: [&str; 14] = [
        "json",
        "xml",
        "javascript",
        "ecmascript",
        "x-javascript",
        "yaml",
        "x-yaml",
        "toml",
        "x-ndjson",
        "jsonlines",
        "sql",
        "graphql",
        "x-sh",
        "x-www-form-urlencoded",
    ];
    let is_structured = ["+json", "+xml", "+yaml"]
        .iter()
        .any(|ending| subtype.ends_with(ending));
    family == "text"
        || (family == "application" && (is_structured || TEXTS.contains(&subtype)))
        || mime == "image/svg+xml"
}

fn looks_like(body: &[u8]) -> BodyKind {
    let start = &body[..body.len().min(META_BYTES)];
    let lower = start.trim_ascii_start().to_ascii_lowercase();
    if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        return BodyKind::Html;
    }
    if start.contains(&0) {
        BodyKind::Other
    } else {
        BodyKind::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_its_page_says() {
        for (body, content_type, expected) in [
            (&b""[..], "", ""),
            ("äé€".as_bytes(), "text/html; charset=UTF-8", "äé€"),
            (b"\xe4\x80\x99", "text/html; charset=\"ISO-8859-1\"", "ä€™"),
            (b"\xe4\x80\x99", "text/plain;charset = windows-1252 ", "ä€™"),
            (b"\xe4 ", "text/html", "ä "),
            ("ä".as_bytes(), "", "ä"),
            (b"\xc3\xa4\xc3", "", "ä"),
            (b"\xc3\xa4\xc3", "text/plain; charset=utf-8", "ä"),
            (b"a\xffb", "text/plain; charset=utf-8", "a\u{fffd}b"),
            (b"\xef\xbb\xbfa", "text/html; charset=latin1", "a"),
            (b"\xff\xfea\0", "text/html; charset=latin1", "a"),
            (b"\0a\0b\0", "text/plain; charset=utf-16be", "ab"),
            (
                b"<meta charset=latin1>\xc3\xa4",
                "text/html",
                "<meta charset=latin1>Ã¤",
            ),
            (
                b"<META charset='UTF-8'/>\xc3\xa4",
                "text/html",
                "<META charset='UTF-8'/>ä",
            ),
            (
                b"<meta charset=utf-16>\xc3\xa4",
                "text/html",
                "<meta charset=utf-16>ä",
            ),
        ] {
            let expected = DecodedText {
                text: expected.to_owned(),
                unknown_charset: None,
            };
            assert_eq!(decode(body, content_type), expected, "{content_type}");
        }
        let http_equiv = b"<meta http-equiv=content-type content='text/html; charset=latin1'>\xe4";
        assert!(decode(http_equiv, "").text.ends_with('ä'));
    }

    #[test]
    fn the_letters_of_older_encodings_are_read() {
        for (body, charset, expected) in [
            (&b"\xcf\xf0\xe8\xe2\xe5\xf2"[..], "windows-1251", "Привет"),
            (b"\xf0\xd2\xc9\xd7\xc5\xd4", "koi8-r", "Привет"),
            (b"\x93\xfa\x96{\x8c\xea", "Shift_JIS", "日本語"),
            (b"\xc6\xfc\xcb\xdc\xb8\xec", "euc-jp", "日本語"),
            (b"\xc4\xe3\xba\xc3", "GBK", "你好"),
            (b"\xc4\xe3\xba\xc3", "gb2312", "你好"),
            (b"\xa7A\xa6n", "big5", "你好"),
            (b"\xbe\xc8\xb3\xe7", "euc-kr", "안녕"),
            (b"\xb1\xe6", "iso-8859-2", "ąć"),
            // A letter that was cut is left out, one that means nothing is not.
            (b"\x93\xfa\x96", "Shift_JIS", "日"),
            (b"\x93\xfa\x82 ", "Shift_JIS", "日\u{fffd} "),
        ] {
            let content_type = format!("text/html; charset={charset}");
            let decoded = decode(body, &content_type);
            assert_eq!(decoded.text, expected, "{charset}");
            assert_eq!(decoded.unknown_charset, None, "{charset}");
        }
        let page = b"<meta charset=windows-1251>\xcf\xf0";
        assert!(decode(page, "text/html").text.ends_with("Пр"));
    }

    #[test]
    fn a_text_may_be_far_longer_than_its_bytes() {
        let body = [0x80; 50_000];
        let decoded = decode(&body, "text/plain; charset=windows-1252");
        assert_eq!(decoded.text, "€".repeat(50_000));
    }

    #[test]
    fn an_encoding_that_is_not_read_is_named() {
        for (charset, expected) in [("x-own", "a\u{fffd}b"), ("iso-2022-kr", "a\u{fffd}b")] {
            let decoded = decode(b"a\x82b", &format!("text/html; charset={charset}"));
            assert_eq!(decoded.text, expected);
            assert_eq!(decoded.unknown_charset.as_deref(), Some(charset));
        }
    }

    #[test]
    fn pages_texts_and_others_are_told_apart() {
        for (content_type, body, expected) in [
            ("text/html", &b""[..], BodyKind::Html),
            ("Text/HTML; charset=x", b"", BodyKind::Html),
            ("application/xhtml+xml", b"", BodyKind::Html),
            ("text/plain", b"<html>", BodyKind::Text),
            ("text/markdown", b"", BodyKind::Text),
            ("application/json", b"", BodyKind::Text),
            ("application/ld+json; a=b", b"", BodyKind::Text),
            ("application/atom+xml", b"", BodyKind::Text),
            ("image/svg+xml", b"", BodyKind::Text),
            ("image/png", b"", BodyKind::Other),
            ("application/pdf", b"", BodyKind::Other),
            ("application/octet-stream", b"text", BodyKind::Other),
            ("nonsense", b"", BodyKind::Other),
            ("", b"", BodyKind::Text),
            ("", b" \n<!DOCTYPE html>", BodyKind::Html),
            ("", b"{\"a\": 1}", BodyKind::Text),
            ("", b"PK\0\x03", BodyKind::Other),
        ] {
            assert_eq!(kind(content_type, body), expected, "{content_type}");
        }
    }
}
