//! Reading what servers of any age, and whatever stands in front of them, may have written. Pure.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The text type of a reader, who owns what it has read.
pub trait OwnedText: DeserializeOwned + Default + From<String> {}

impl OwnedText for String {}

/// What cannot be read is as good as not said: one bad field must not hide a whole body.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    of: D,
) -> Result<T, D::Error> {
    let said = Value::deserialize(of)?;
    Ok(serde_json::from_value(said).unwrap_or_default())
}

/// A text as it is, nothing for `null`, and anything else as the JSON it is: version 0.5 sends the
/// arguments of a tool as an object.
pub(super) fn text_or_json<'de, D: Deserializer<'de>, S: From<String>>(
    of: D,
) -> Result<S, D::Error> {
    Ok(S::from(match Value::deserialize(of)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }))
}

/// The words of a JSON text about an error: of its `message`, of the `message` in its `error`, of its
/// `error`, or the text itself.
pub(super) fn said_of_error(json: &Value) -> Option<String> {
    let error = json.get("error");
    let within = error.and_then(|error| error.get("message"));
    let candidates = [json.get("message"), within, error, Some(json)];
    let mut texts = candidates.into_iter().flatten().filter_map(Value::as_str);
    texts.next().map(str::to_owned)
}

/// A short text that is not a page for browsers: proxies and web sites answer with those.
pub fn plain_line(text: &str) -> Option<String> {
    const BYTES_MAX: usize = 300;
    let text = text.trim();
    let is_line = !text.is_empty() && text.len() <= BYTES_MAX && !text.starts_with('<');
    is_line.then(|| text.to_owned())
}
