//! What the tools that are part of Duragent have in common: how models are told of them, and
//! how they answer.

use crossbeam_channel::TryRecvError;
use serde_json::Value;

use crate::base::text;
use crate::domain::event::ToolOutput;
use crate::tools::{Effect, Run, ToolKind, ToolRefusal, ToolSpec};

/// The most that an answer holds: what a model's window takes of a result without cutting it.
pub(super) const ANSWER_BYTES_MAX: usize = 30_000;

/// A tool's answer, or why there is none; the model reads either.
pub(super) type BuiltinAnswer = Result<String, ToolRefusal>;

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

/// Says no once the run is to end: what takes long asks from time to time.
pub(super) fn go_on(run: &Run<'_>) -> Result<(), ToolRefusal> {
    match run.cancel.try_recv() {
        Err(TryRecvError::Empty) => Ok(()),
        Err(TryRecvError::Disconnected) => Err("cancelled".into()),
        Ok(never) => match never {},
    }
}

/// The answer as the engine takes it.
pub(super) fn output(answer: BuiltinAnswer) -> ToolOutput {
    answer.map_or_else(ToolOutput::from, |content| ToolOutput {
        success: true,
        content,
    })
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
        use crate::tools::{Tool as _, file, memory, session, skill::SkillTool, value_key, web};
        let skill = SkillTool::new(Vec::new()).spec().parameters.clone();
        let tools = [
            ("file", file::parameters()),
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
    fn a_long_text_says_that_it_was_cut() {
        assert_eq!(cut("äö", 4, "no"), "äö");
        assert_eq!(
            cut("äö", 3, "ask on"),
            "ä\n[cut here: 2 of 4 bytes are shown; ask on]"
        );
    }
}
