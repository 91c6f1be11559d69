//! Joins characters that an answer's events have cut in two. Pure.
//!
//! A server that counts in UTF-16 or in bytes ends a piece of text within a character: the JSON of the one
//! event ends in an escape like `\ud83e` or in a byte too few, that of the next begins with the rest, and
//! neither is a text. Each such part goes through the decoder as a mark, a character that nobody uses. Marks that
//! meet in a text become the character that they are parts of, and any other becomes `U+FFFD`.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::code::NoticeCode;
use crate::llm::dialect::DecodedReply;
use crate::llm::{Sink, SinkError};

/// The first half of a pair of UTF-16, …
const HALF: u32 = 0xD800;
/// … its mark, which those of all other halves follow up to the end of the last plane, …
const HALF_MARK: u32 = 0x10_F800;
/// … and before them those of the bytes that are not ASCII.
const BYTE_MARK: u32 = HALF_MARK - 0x80;

/// The marks of one answer, and how its text goes on.
#[derive(Debug, Default)]
pub(super) struct Halves {
    /// Whether there are marks at all.
    has_marks: bool,
    /// The parts at the end of the text so far.
    open: OpenParts,
}

impl Halves {
    /// The data of an event as JSON that can be read.
    pub(super) fn marked<'a>(&mut self, data: &'a [u8]) -> Cow<'a, [u8]> {
        let text = match std::str::from_utf8(data) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(mark_bytes(data)),
        };
        let marked = mark_halves(&text).or(match text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        });
        match marked {
            Some(text) => {
                self.has_marks = true;
                Cow::Owned(text.into_bytes())
            }
            None => Cow::Borrowed(data),
        }
    }

    /// `sink`, which is given whole characters.
    pub(super) fn joining<'a>(&'a mut self, sink: &'a mut dyn Sink) -> JoiningSink<'a> {
        JoiningSink { halves: self, sink }
    }

    /// Ends the text.
    pub(super) fn end(&mut self, sink: &mut dyn Sink) {
        let mut text = String::new();
        self.open.end(&mut text);
        if !text.is_empty() {
            sink.text(&text);
        }
    }

    /// Joins what a reply consists of beside its text.
    pub(super) fn join_reply(&self, reply: &mut DecodedReply) {
        if !self.has_marks {
            return;
        }
        for call in &mut reply.tool_calls {
            for text in [&mut call.id, &mut call.name, &mut call.arguments] {
                join(text);
            }
        }
        if let Some(data) = &mut reply.provider_data {
            join_in(data);
        }
    }
}

/// A sink that is given whole characters.
pub(super) struct JoiningSink<'a> {
    halves: &'a mut Halves,
    sink: &'a mut dyn Sink,
}

impl Sink for JoiningSink<'_> {
    fn text(&mut self, text: &str) {
        if !self.halves.has_marks {
            return self.sink.text(text);
        }
        let joined = self.halves.open.joined(text);
        if !joined.is_empty() {
            self.sink.text(&joined);
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.sink.flush()
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.sink.notice(code, message);
    }
}

/// How many bytes of whole characters a text with marks is a part of. One whose parts are not all there is of more
/// in the end.
pub(super) fn joined_bytes(text: &str) -> usize {
    /// With which all marks begin in UTF-8, and few characters beside them.
    const BEGIN: u8 = 0xF4;
    if memchr::memchr(BEGIN, text.as_bytes()).is_none() {
        return text.len();
    }
    let bytes = text.chars().map(|c| match CharPart::of(c) {
        None => c.len_utf8(),
        Some(CharPart::Half(_)) => 2,
        Some(CharPart::Byte(_)) => 1,
    });
    bytes.sum()
}

/// What a mark stands for.
enum CharPart {
    Half(u16),
    Byte(u8),
}

impl CharPart {
    fn of(mark: char) -> Option<CharPart> {
        let code = u32::from(mark);
        let byte = code.checked_sub(BYTE_MARK)?;
        if let Some(half) = code.checked_sub(HALF_MARK) {
            return u16::try_from(HALF + half).ok().map(CharPart::Half);
        }
        u8::try_from(0x80 + byte).ok().map(CharPart::Byte)
    }
}

/// Parts that have not met their other ones: a half, or up to three bytes.
#[derive(Debug, Default)]
struct OpenParts {
    half: Option<u16>,
    bytes: Vec<u8>,
}

impl OpenParts {
    fn joined(&mut self, text: &str) -> String {
        let mut joined = String::with_capacity(text.len());
        for c in text.chars() {
            match CharPart::of(c) {
                None => {
                    self.end(&mut joined);
                    joined.push(c);
                }
                Some(CharPart::Half(half)) => self.half(half, &mut joined),
                Some(CharPart::Byte(byte)) => self.byte(byte, &mut joined),
            }
        }
        joined
    }

    fn half(&mut self, half: u16, text: &mut String) {
        if let Some(first) = self.half
            && let Some(Ok(whole)) = char::decode_utf16([first, half]).next()
        {
            self.half = None;
            text.push(whole);
            return;
        }
        self.end(text);
        self.half = Some(half);
    }

    fn byte(&mut self, byte: u8, text: &mut String) {
        if self.half.is_some() {
            self.end(text);
        }
        self.bytes.push(byte);
        match std::str::from_utf8(&self.bytes) {
            Ok(whole) => text.push_str(whole),
            Err(error) if error.error_len().is_none() => return,
            Err(_) => {
                text.push(char::REPLACEMENT_CHARACTER);
                let begins_another = self.bytes.len() > 1;
                self.bytes.clear();
                if begins_another {
                    self.byte(byte, text);
                }
                return;
            }
        }
        self.bytes.clear();
    }

    /// Nothing will meet what is open.
    fn end(&mut self, text: &mut String) {
        if self.half.take().is_some() || !self.bytes.is_empty() {
            self.bytes.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

fn join(text: &mut String) {
    if text.chars().any(|c| CharPart::of(c).is_some()) {
        let mut open = OpenParts::default();
        let mut joined = open.joined(text);
        open.end(&mut joined);
        *text = joined;
    }
}

fn join_in(value: &mut Value) {
    match value {
        Value::String(text) => join(text),
        Value::Array(values) => values.iter_mut().for_each(join_in),
        Value::Object(members) => members.values_mut().for_each(join_in),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `data` with marks for the bytes that are no text.
fn mark_bytes(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len() + 16);
    for chunk in data.utf8_chunks() {
        text.push_str(chunk.valid());
        let marks = chunk
            .invalid()
            .iter()
            .map(|byte| BYTE_MARK + u32::from(byte - 0x80));
        text.extend(marks.filter_map(char::from_u32));
    }
    text
}

/// `json` with marks for escapes of halves that stand alone; `None` where there are none.
fn mark_halves(json: &str) -> Option<String> {
    let mut marked: Option<String> = None;
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json.as_bytes()[at..]) {
        let start = at + found;
        let Some(half) = half_at(json, start) else {
            // A backslash and what it escapes, which may be another one.
            at = (start + 2).min(json.len());
            continue;
        };
        at = start + ESCAPE_BYTES;
        if let Some(second) = half_at(json, at)
            && char::decode_utf16([half, second])
                .next()
                .is_some_and(|pair| pair.is_ok())
        {
            at += ESCAPE_BYTES;
            continue;
        }
        let text = marked.get_or_insert_default();
        text.push_str(&json[copied..start]);
        text.extend(char::from_u32(HALF_MARK + u32::from(half) - HALF));
        copied = at;
    }
    marked.map(|text| text + &json[copied..])
}

/// `\u` and four digits.
const ESCAPE_BYTES: usize = 6;

/// The half of a pair that the escape at that place stands for.
fn half_at(json: &str, start: usize) -> Option<u16> {
    let digits = json.get(start..start + ESCAPE_BYTES)?.strip_prefix("\\u")?;
    let code = u16::from_str_radix(digits, 16).ok()?;
    (0xD800..0xE000).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::dialect::testing::Pieces;
    use proptest::prelude::*;
    use serde_json::json;

    /// The texts of these events, each a JSON text, as a sink gets them.
    fn heard(events: &[&[u8]]) -> Vec<String> {
        let mut halves = Halves::default();
        let mut sink = Pieces::default();
        for event in events {
            let data = halves.marked(event);
            let text: String = serde_json::from_slice(&data).unwrap();
            halves.joining(&mut sink).text(&text);
        }
        halves.end(&mut sink);
        sink.0
    }

    #[test]
    fn parts_that_meet_are_a_character() {
        for (events, expected) in [
            (
                vec![&br#""a\ud83e""#[..], br#""\uDD80b""#],
                vec!["a", "🦀b"],
            ),
            (vec![br#""\ud83e\udd80""#, br#""\u00e4""#], vec!["🦀", "ä"]),
            (
                vec![b"\"a\xF0\x9F\"", b"\"\xA6\"", b"\"\x80b\""],
                vec!["a", "🦀b"],
            ),
            (vec![b"\"a\xC3\"", b"\"\xA4\""], vec!["a", "ä"]),
            (vec![br#""\ud83e""#, br#""b""#], vec!["\u{FFFD}b"]),
            (vec![br#""\udd80 a""#], vec!["\u{FFFD} a"]),
            (
                vec![br#""\ud83e\ud83e""#, br#""\udd80""#],
                vec!["\u{FFFD}", "🦀"],
            ),
            (
                vec![b"\"\xF0\x9F\"", b"\"b\xFFc\""],
                vec!["\u{FFFD}b\u{FFFD}c"],
            ),
            (vec![br#""a\ud83e""#], vec!["a", "\u{FFFD}"]),
            (vec![br#""\\ud83e""#], vec!["\\ud83e"]),
        ] {
            assert_eq!(heard(&events), expected);
        }
    }

    #[test]
    fn parts_that_meet_in_calls_and_thinking_are_a_character() {
        let mut halves = Halves::default();
        let events = [&br#""\ud83e""#[..], br#""\udd80""#];
        let arguments = events.map(|event| {
            let data = halves.marked(event).into_owned();
            serde_json::from_slice::<String>(&data).unwrap()
        });
        let mut reply = DecodedReply::cut();
        reply.provider_data = Some(json!({"thinking": [arguments.concat()]}));
        reply.tool_calls.push(crate::llm::RawToolCall {
            id: String::new(),
            name: "date".to_owned(),
            arguments: arguments.concat(),
        });
        halves.join_reply(&mut reply);
        assert_eq!(reply.tool_calls[0].arguments, "🦀");
        assert_eq!(reply.provider_data, Some(json!({"thinking": ["🦀"]})));
    }

    proptest! {
        #[test]
        fn a_text_that_is_cut_anywhere_is_the_text(text in "[aä🦀\\\\\"]{0,12}", cut in any::<prop::sample::Index>(), in_bytes in any::<bool>()) {
            let halves = |units: &[u16]| {
                let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                format!("\"{escaped}\"").into_bytes()
            };
            let units: Vec<u16> = text.encode_utf16().collect();
            let plain = text.replace(['\\', '"'], "");
            let (expected, events) = if in_bytes {
                let (a, b) = plain.as_bytes().split_at(cut.index(plain.len() + 1));
                (plain.clone(), [a, b].map(|part| [b"\"", part, b"\""].concat()))
            } else {
                let (a, b) = units.split_at(cut.index(units.len() + 1));
                (text, [halves(a), halves(b)])
            };
            let pieces: Vec<&[u8]> = events.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(heard(&pieces).concat(), expected);
        }
    }
}
