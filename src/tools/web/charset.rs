//! What the bytes of a page mean. Pure.
//!
//! UTF-8, UTF-16 and windows-1252 are read, which takes in ASCII and latin-1, and by that nearly
//! all of the web. Tables for the others would be larger than the rest of this tool.

use std::borrow::Cow;

use memchr::memmem;

/// A page tells its encoding within its first bytes, or not at all.
///
/// Source: WHATWG HTML, section "Specifying the document's character encoding".
const META_BYTES: usize = 1024;

/// A text, and whether all of it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// The encoding that the page claims and that is none of ours: what is not ASCII is lost.
    pub(super) unknown_charset: Option<String>,
}

/// Decodes a body of that `Content-Type`.
pub(super) fn decode(body: &[u8], content_type: &str) -> Decoded {
    let label = by_mark(body)
        .map(str::to_owned)
        .or_else(|| parameter(content_type))
        .or_else(|| meta(body));
    let (text, is_known) = match label.as_deref() {
        None => (guessed(body), true),
        Some(label) => decode_as(body, label),
    };
    Decoded {
        text,
        unknown_charset: label.filter(|_| !is_known),
    }
}

/// The text, and whether the label is one of ours.
fn decode_as(body: &[u8], label: &str) -> (String, bool) {
    match label {
        "utf-8" | "utf8" | "unicode-1-1-utf-8" => (utf8(body), true),
        "us-ascii" | "ascii" | "iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin1" | "l1"
        | "windows-1252" | "cp1252" | "x-cp1252" => (windows_1252(body), true),
        "utf-16" | "utf-16le" | "unicode" => (utf16(body, u16::from_le_bytes), true),
        "utf-16be" => (utf16(body, u16::from_be_bytes), true),
        _ => (utf8(body), false),
    }
}

/// What a page means that does not say it: nothing but UTF-8 looks like UTF-8 by chance.
fn guessed(body: &[u8]) -> String {
    // A page that was cut may end within a letter.
    match std::str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() => utf8(body),
        Err(_) => windows_1252(body),
    }
}

fn by_mark(body: &[u8]) -> Option<&'static str> {
    match body {
        [0xef, 0xbb, 0xbf, ..] => Some("utf-8"),
        [0xff, 0xfe, ..] => Some("utf-16le"),
        [0xfe, 0xff, ..] => Some("utf-16be"),
        _ => None,
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
        Some(match label.starts_with("utf-16") {
            true => "utf-8".to_owned(),
            false => label,
        })
    })
}

/// UTF-8; bytes that are none become `\u{fffd}`, but for a letter that was cut at the end.
fn utf8(body: &[u8]) -> String {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let whole = match std::str::from_utf8(body) {
        Err(error) if error.error_len().is_none() => &body[..error.valid_up_to()],
        Ok(_) | Err(_) => body,
    };
    String::from_utf8_lossy(whole).into_owned()
}

fn utf16(body: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _odd) = body.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    let letters = char::decode_utf16(units).map(|letter| letter.unwrap_or('\u{fffd}'));
    letters.filter(|letter| *letter != '\u{feff}').collect()
}

/// Latin-1, but for the controls from 0x80 on, which nobody means.
///
/// Source: WHATWG Encoding, index windows-1252.
fn windows_1252(body: &[u8]) -> String {
    const FROM_80: [char; 32] = [
        '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}',
        '\u{2021}', '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}',
        '\u{8f}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}',
        '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}',
        '\u{178}',
    ];
    let letter = |byte: &u8| match byte {
        0x80..=0x9f => FROM_80[usize::from(byte - 0x80)],
        byte => char::from(*byte),
    };
    body.iter().map(letter).collect()
}

/// What the type of a body means for a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A page, which is converted.
    Html,
    /// Text, which is passed as it is.
    Text,
    /// Something else.
    Other,
}

/// What a body of that `Content-Type` is; one without a type is what it looks like.
pub(super) fn kind(content_type: &str, body: &[u8]) -> Kind {
    match mime(content_type).as_ref() {
        "" => looks_like(body),
        "text/html" | "application/xhtml+xml" => Kind::Html,
        mime if is_text(mime) => Kind::Text,
        _ => Kind::Other,
    }
}

/// The type alone, in lower case.
pub(super) fn mime(content_type: &str) -> Cow<'_, str> {
    let mime = content_type.split(';').next().unwrap_or_default().trim();
    match mime.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(mime.to_ascii_lowercase()),
        false => Cow::Borrowed(mime),
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

fn looks_like(body: &[u8]) -> Kind {
    let start = &body[..body.len().min(META_BYTES)];
    let lower = start.trim_ascii_start().to_ascii_lowercase();
    if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        return Kind::Html;
    }
    match start.contains(&0) {
        true => Kind::Other,
        false => Kind::Text,
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
            let expected = Decoded {
                text: expected.to_owned(),
                unknown_charset: None,
            };
            assert_eq!(decode(body, content_type), expected, "{content_type}");
        }
        let http_equiv = b"<meta http-equiv=content-type content='text/html; charset=latin1'>\xe4";
        assert!(decode(http_equiv, "").text.ends_with('ä'));
    }

    #[test]
    fn an_encoding_that_is_not_read_is_named() {
        let decoded = decode(b"a\x82b", "text/html; charset=Shift_JIS");
        assert_eq!(decoded.text, "a\u{fffd}b");
        assert_eq!(decoded.unknown_charset.as_deref(), Some("shift_jis"));
    }

    #[test]
    fn pages_texts_and_others_are_told_apart() {
        for (content_type, body, expected) in [
            ("text/html", &b""[..], Kind::Html),
            ("Text/HTML; charset=x", b"", Kind::Html),
            ("application/xhtml+xml", b"", Kind::Html),
            ("text/plain", b"<html>", Kind::Text),
            ("text/markdown", b"", Kind::Text),
            ("application/json", b"", Kind::Text),
            ("application/ld+json; a=b", b"", Kind::Text),
            ("application/atom+xml", b"", Kind::Text),
            ("image/svg+xml", b"", Kind::Text),
            ("image/png", b"", Kind::Other),
            ("application/pdf", b"", Kind::Other),
            ("application/octet-stream", b"text", Kind::Other),
            ("nonsense", b"", Kind::Other),
            ("", b"", Kind::Text),
            ("", b" \n<!DOCTYPE html>", Kind::Html),
            ("", b"{\"a\": 1}", Kind::Text),
            ("", b"PK\0\x03", Kind::Other),
        ] {
            assert_eq!(kind(content_type, body), expected, "{content_type}");
        }
    }
}
