//! What the tools that are part of Duragent have in common: how they read the model's arguments, and
//! how they answer.

use crossbeam_channel::TryRecvError;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Map, Value};

use crate::base::text;
use crate::domain::event::ToolOutput;
use crate::tools::{Effect, Run, ToolKind, ToolSpec};

/// The most that an answer holds: what a model's window takes of a result without cutting it.
pub(super) const ANSWER_BYTES_MAX: usize = 30_000;

/// A tool's answer, or why there is none; the model reads either.
pub(super) type Answer = Result<String, String>;

/// What a model is told of such a tool.
pub(super) fn spec(name: &str, description: &str, parameters: Value, effect: Effect) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        kind: ToolKind::Builtin,
        description: description.to_owned(),
        parameters,
        effect,
    }
}

/// Of a tool the argument that a policy may name behind the action.
pub(super) fn value_key(tool: &str) -> Option<&'static str> {
    match tool {
        "web" => Some("url"),
        "skill" => Some("name"),
        _ => None,
    }
}

/// The model's arguments. Those that a tool does not know are ignored: some models fill in all
/// that they have seen.
pub(super) fn arguments<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    read_object(json).map_err(|error| format!("the arguments are not understood: {error}"))
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

/// Says no once the run is to end: what takes long asks from time to time.
pub(super) fn go_on(run: &Run<'_>) -> Result<(), String> {
    match run.cancel.try_recv() {
        Err(TryRecvError::Empty) => Ok(()),
        Err(TryRecvError::Disconnected) => Err("cancelled".to_owned()),
        Ok(never) => match never {},
    }
}

/// The answer as the engine takes it.
pub(super) fn output(answer: Answer) -> ToolOutput {
    let success = answer.is_ok();
    let (Ok(content) | Err(content)) = answer;
    ToolOutput { success, content }
}

/// A text for an answer, cut to `bytes_max` with `remedy` said of the rest.
pub(super) fn cut(text: &str, bytes_max: usize, remedy: &str) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let start = text::start(text, bytes_max);
    format!(
        "{start}\n[cut here: {} of {} bytes are shown; {remedy}]",
        start.len(),
        text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_know_the_actions_and_the_values_of_the_tools() {
        use crate::policy::check::BUILTINS;
        use crate::tools::{Tool as _, memory, session, skill::SkillTool, web};
        let skill = SkillTool::new(Vec::new()).spec().parameters.clone();
        let tools = [
            ("memory", memory::parameters()),
            ("session", session::parameters()),
            ("skill", skill),
            ("web", web::parameters(true)),
        ];
        for (name, parameters) in tools {
            let (_, actions) = BUILTINS.iter().find(|(known, _)| *known == name).unwrap();
            let properties = &parameters["properties"];
            assert_eq!(
                properties["action"]["enum"],
                serde_json::json!(actions),
                "{name}"
            );
            let value = value_key(name);
            assert!(
                value.is_none_or(|key| properties[key].is_object()),
                "{name}"
            );
        }
    }

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
            let one: Result<One, String> = arguments(json);
            let expected = One {
                action: Action::Read,
                name: name(),
            };
            assert_eq!(one.ok(), is_read.then_some(expected), "{json}");
            let other: Result<Other, String> = arguments(json);
            let expected = Other::Read { name: name() };
            assert_eq!(other.ok(), is_read.then_some(expected), "{json}");
        }
    }

    #[test]
    fn a_long_text_says_that_it_was_cut() {
        assert_eq!(cut("äö", 4, "no"), "äö");
        assert_eq!(
            cut("äö", 3, "ask on"),
            "ä\n[cut here: 2 of 4 bytes are shown; ask on]"
        );
    }
}
