//! The tool `bash`: a command line of the model's own.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::domain::event::ToolOutput;
use crate::tools::arguments::{read_arguments, time_property, timeout};
use crate::tools::programs::{Order, ProgramContext, Programs};
use crate::tools::{Effect, Run, RunResult, Tool, ToolKind, ToolSpec};

/// Its name.
pub(super) const NAME: &str = "bash";

/// The shell.
#[derive(Debug)]
pub(super) struct Bash {
    spec: ToolSpec,
    programs: Arc<Programs>,
    place: ProgramContext,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BashArguments {
    command: String,
    timeout_seconds: Option<u64>,
}

impl Bash {
    pub(super) fn new(programs: Arc<Programs>, place: ProgramContext) -> Bash {
        let description = format!(
            "Runs a command with bash, in {}. What it prints comes back: of long output the beginning \
             and the end. {}",
            place.said(),
            programs.remark()
        );
        let spec = ToolSpec {
            name: NAME.to_owned(),
            kind: ToolKind::Bash,
            description: description.trim_end().to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": "What bash is to run"},
                    "timeout_seconds": time_property(),
                },
                "required": ["command"],
                "additionalProperties": false,
            }),
            effect: Effect::Write,
        };
        Bash {
            spec,
            programs,
            place,
        }
    }
}

/// The shell's arguments for a script; those behind them are its `$0`, `$1` …
pub(super) fn arguments(script: &str) -> [&str; 4] {
    // Bash may take itself for a login through ssh, and read a person's file first. A script may
    // begin with a dash.
    ["--norc", "-c", "--", script]
}

impl Tool for Bash {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        let order = read_arguments(run.arguments).and_then(|arguments: BashArguments| {
            Ok(Order {
                program: NAME.into(),
                args: self::arguments(&arguments.command).map(Into::into).into(),
                cwd: run.caller.workdir.unwrap_or(&self.place.cwd).to_owned(),
                input: None,
                timeout: timeout(arguments.timeout_seconds)?,
            })
        });
        match order {
            Ok(order) => self.programs.run(&self.place, order, run).into(),
            Err(refusal) => ToolOutput::from(refusal).into(),
        }
    }
}
