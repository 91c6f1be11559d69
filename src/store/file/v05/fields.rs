//! JSON objects whose exact shape nobody wrote down: keys are looked for under each name that they
//! may have. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::base::text::boundary;
use crate::domain::event::Usage;
use crate::domain::time::Timestamp;

/// The fields of an object.
pub(super) type Fields = Map<String, Value>;

/// The object that a line holds.
pub(super) fn object(line: &[u8]) -> Option<Fields> {
    match serde_json::from_slice(without_mark(line)) {
        Ok(Value::Object(fields)) => Some(fields),
        Ok(_) | Err(_) => None,
    }
}

/// A line as text.
pub(super) fn text_of(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(without_mark(line))
}

/// Some editors begin a file with a mark of its byte order.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
}

/// The beginning of what lists show: they stay bounded, whatever a log says.
pub(super) fn short(mut text: String) -> String {
    const BYTES_MAX: usize = 512;
    text.truncate(boundary(&text, BYTES_MAX));
    text
}

/// The first of `keys` that has a value.
pub(super) fn any<'f>(fields: &'f Fields, keys: &[&str]) -> Option<&'f Value> {
    let found = keys.iter().filter_map(|key| fields.get(*key));
    found.into_iter().find(|value| !value.is_null())
}

/// The first of `keys` that is a text with something in it, or a number.
pub(super) fn text(fields: &Fields, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| match fields.get(*key)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The first of `keys` that is an object.
pub(super) fn inner<'f>(fields: &'f Fields, keys: &[&str]) -> Option<&'f Fields> {
    keys.iter().find_map(|key| fields.get(*key)?.as_object())
}

/// The first of `keys` that is a point in time.
pub(super) fn time(fields: &Fields, keys: &[&str]) -> Option<Timestamp> {
    keys.iter().find_map(|key| match fields.get(*key)? {
        Value::String(text) => rfc3339(text),
        Value::Number(number) => since_epoch(number.as_f64()?),
        _ => None,
    })
}

/// Tokens under the names of any provider.
pub(super) fn usage(fields: &Fields) -> Option<Usage> {
    let usage = inner(fields, &["usage", "token_usage", "tokens"])?;
    let count = |keys: &[&str]| any(usage, keys).and_then(Value::as_u64);
    let prompt = count(&["prompt_tokens", "input_tokens", "prompt", "input"]);
    let completion = count(&["completion_tokens", "output_tokens", "completion", "output"]);
    let total = count(&["total_tokens", "total"]);
    if prompt.is_none() && completion.is_none() && total.is_none() {
        return None;
    }
    let mut usage = Usage::new(prompt.unwrap_or(0), completion.unwrap_or(0));
    usage.total_tokens = total.unwrap_or(usage.total_tokens);
    Some(usage)
}

/// A time in any form of RFC 3339, and in two that come near it: without an offset (UTC), and with one
/// that lacks its colon.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let with_colon = || {
        let (rest, minutes) = text.split_at_checked(text.len().checked_sub(2)?)?;
        Timestamp::parse(&format!("{rest}:{minutes}")).ok()
    };
    let plain = Timestamp::parse(text).or_else(|_| Timestamp::parse(&format!("{text}Z")));
    plain.ok().or_else(with_colon)
}

/// A time as a number: its size tells seconds from milliseconds, microseconds and nanoseconds.
fn since_epoch(number: f64) -> Option<Timestamp> {
    let micros = match number {
        seconds if seconds < 1e11 => seconds * 1e6,
        millis if millis < 1e14 => millis * 1e3,
        micros if micros < 1e17 => micros,
        nanos => nanos / 1e3,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "its range was looked at"
    )]
    (0.0..1e17)
        .contains(&micros)
        .then(|| Timestamp::from_micros(micros as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_every_form() {
        for (value, expected) in [
            ("\"2026-01-02T03:04:05Z\"", "2026-01-02T03:04:05.000000Z"),
            (
                "\"2026-01-02T03:04:05.123456789Z\"",
                "2026-01-02T03:04:05.123456Z",
            ),
            ("\"2026-01-02t03:04:05.5z\"", "2026-01-02T03:04:05.500000Z"),
            (
                "\"2026-01-02T03:04:05+00:00\"",
                "2026-01-02T03:04:05.000000Z",
            ),
            (
                "\"2026-01-02T10:04:05.1+07:00\"",
                "2026-01-02T03:04:05.100000Z",
            ),
            (
                "\"2026-01-01T23:04:05-0400\"",
                "2026-01-02T03:04:05.000000Z",
            ),
            ("\"2026-01-02 03:04:05 UTC\"", ""),
            ("\"2026-01-02 03:04:05\"", "2026-01-02T03:04:05.000000Z"),
            ("1767323045", "2026-01-02T03:04:05.000000Z"),
            ("1767323045.5", "2026-01-02T03:04:05.500000Z"),
            ("1767323045123", "2026-01-02T03:04:05.123000Z"),
            ("1767323045123456", "2026-01-02T03:04:05.123456Z"),
            ("\"yesterday\"", ""),
            ("\"2026-01-02\"", ""),
            ("\"2026-01-02T03:04:05+é\"", ""),
            ("-1", ""),
            ("[]", ""),
        ] {
            let fields = object(format!("{{\"ts\":{value}}}").as_bytes()).unwrap();
            let found = time(&fields, &["timestamp", "ts"]).map(|time| time.to_string());
            assert_eq!(found.unwrap_or_default(), expected, "{value}");
        }
    }

    #[test]
    fn tokens_have_the_names_of_any_provider() {
        let of = |text: &str| usage(&object(text.as_bytes()).unwrap());
        let openai = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
        let anthropic = r#"{"token_usage":{"input_tokens":3,"output_tokens":4}}"#;
        assert_eq!(of(openai), Some(Usage::new(3, 4)));
        assert_eq!(of(anthropic), Some(Usage::new(3, 4)));
        assert_eq!(of(r#"{"usage":{"price":1}}"#), None);
        assert_eq!(of(r#"{"usage":null}"#), None);
    }
}
