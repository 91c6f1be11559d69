//! How tools read what a model passes to them.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Map, Value, json};

use crate::tools::ToolRefusal;
use crate::tools::programs::{TIMEOUT_SECONDS_MAX, TIMEOUT_USUAL};

/// The model's arguments. Those that a tool does not know are ignored: some models fill in all
/// that they have seen.
pub(super) fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, ToolRefusal> {
    read_object(json).map_err(|error| format!("the arguments are not understood: {error}").into())
}

/// Arguments in the one form in which rules see them: an object, whose `action` is a text.
///
/// Errors: they are none, also where the values alone would do: `["read", "tidy"]` and `{"action":
/// {"read": null}}` say the same to serde, and nothing to a rule about `skill:read:tidy`.
pub(super) fn read_object<'a, T: Deserialize<'a>>(json: &'a str) -> serde_json::Result<T> {
    let object: Map<String, Value> = serde_json::from_str(json)?;
    match object.get("action") {
        None | Some(Value::String(_)) => serde_json::from_str(json),
        Some(_) => Err(serde_json::Error::custom("`action` must be a text")),
    }
}

/// The arguments of a program; a model may leave them out.
pub(super) fn read_arguments<T: DeserializeOwned>(text: &str) -> Result<T, ToolRefusal> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    read_object(text).map_err(|error| format!("the arguments are wrong: {error}").into())
}

/// How long a program may run.
pub(super) fn timeout(seconds: Option<u64>) -> Result<Duration, ToolRefusal> {
    match seconds {
        None => Ok(TIMEOUT_USUAL),
        Some(seconds) if (1..=TIMEOUT_SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs(seconds))
        }
        Some(_) => Err(format!(
            "the arguments are wrong: `timeout_seconds` must be from 1 to {TIMEOUT_SECONDS_MAX}"
        )
        .into()),
    }
}

/// `timeout_seconds` as models are told of it.
pub(super) fn time_property() -> Value {
    json!({
        "type": "integer",
        "minimum": 1,
        "maximum": TIMEOUT_SECONDS_MAX,
        "description": format!("After so many seconds it is killed; {} if left out", TIMEOUT_USUAL.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_in_the_one_form_that_rules_see() {
        #[derive(Debug, PartialEq, Deserialize)]
        enum Action {
            Read,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct One {
            action: Action,
            name: String,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(tag = "action")]
        enum Other {
            Read { name: String },
        }
        let name = || "a".to_owned();
        for (json, is_read) in [
            (r#"{"action": "Read", "name": "a"}"#, true),
            (
                r#"{"name": "a", "\u0061ction": "Read", "more": null}"#,
                true,
            ),
            (r#"["Read", "a"]"#, false),
            (r#"["Read", {"name": "a"}]"#, false),
            (r#"{"action": {"Read": null}, "name": "a"}"#, false),
            (r#"{"action": 0, "name": "a"}"#, false),
            (r#"{"action": "Read", "name": ["a"]}"#, false),
            (r#"{"action": "Read", "name": "b", "name": "a"}"#, false),
            (r#"{"action": "read", "name": "a"}"#, false),
        ] {
            let one: Result<One, ToolRefusal> = read(json);
            let expected = One {
                action: Action::Read,
                name: name(),
            };
            assert_eq!(one.ok(), is_read.then_some(expected), "{json}");
            let other: Result<Other, ToolRefusal> = read(json);
            let expected = Other::Read { name: name() };
            assert_eq!(other.ok(), is_read.then_some(expected), "{json}");
        }
    }
}
