//! Tools that are programs of the user's: declared in an agent's file, or found beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::domain::event::ToolOutput;
use crate::policy::Pin;
use crate::tools::found::is_executable;
use crate::tools::programs::{Order, Place, Programs, TIMEOUT_SECONDS_MAX, TIMEOUT_USUAL, WORK};
use crate::tools::readme;
use crate::tools::{Effect, Run, Tool, ToolKind, ToolSpec};

/// A program of the user's.
#[derive(Debug)]
pub(super) struct Cli {
    spec: ToolSpec,
    programs: Arc<Programs>,
    place: Place,
    command: CommandLine,
}

/// A program and its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
}

/// What a user says of a tool.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) kind: ToolKind,
    pub(super) description: String,
    pub(super) effect: Effect,
    /// Variables of the environment that it is told beside the usual ones.
    pub(super) env: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    args: Vec<String>,
    stdin: Option<String>,
    timeout_seconds: Option<u64>,
}

impl Cli {
    pub(super) fn new(
        programs: Arc<Programs>,
        mut place: Place,
        command: CommandLine,
        about: About,
    ) -> Cli {
        place
            .readable
            .extend(visible_with(&command.program, &place.home));
        place.env = about.env;
        let parameters = json!({
            "type": "object",
            "properties": {
                "args": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Its arguments, one word each; no shell reads them",
                },
                "stdin": {"type": "string", "description": "What it reads from its standard input"},
                "timeout_seconds": time_property(),
            },
            "additionalProperties": false,
        });
        Cli {
            spec: ToolSpec {
                name: about.name,
                kind: about.kind,
                description: about.description,
                parameters,
                effect: about.effect,
            },
            programs,
            place,
            command,
        }
    }

    fn order(&self, arguments: &str) -> Result<Order, ToolOutput> {
        let Arguments {
            args,
            stdin,
            timeout_seconds,
        } = read_arguments(arguments)?;
        let first = self.command.args.iter().cloned();
        Ok(Order {
            program: self.command.program.clone(),
            args: first.chain(args).map(Into::into).collect(),
            input: stdin,
            timeout: timeout(timeout_seconds)?,
        })
    }
}

/// Whether a shell would find the program.
fn is_on_path(program: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
}

impl Tool for Cli {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn pin(&self) -> Option<Pin> {
        let home = &self.place.home;
        let program = &self.command.program;
        let shown = program.strip_prefix(home).unwrap_or(program);
        let mut line = shown.display().to_string();
        for word in &self.command.args {
            line.push_str(&format!(" {word:?}"));
        }
        // A bare name is a program of the system's, which its updates may change.
        let own = program.is_absolute().then(|| program.clone());
        let named = self
            .command
            .args
            .iter()
            .map(|word| home.join(WORK).join(word));
        Some(Pin {
            tool: self.spec.name.clone(),
            line,
            own,
            named: named.collect(),
            is_agents: self.spec.kind == ToolKind::Cli || program.starts_with(home),
        })
    }

    fn run(&self, run: &Run<'_>) -> ToolOutput {
        match self.order(run.arguments) {
            Ok(order) => self.programs.run(&self.place, order, run),
            Err(wrong) => wrong,
        }
    }
}

impl CommandLine {
    /// Why the program cannot be run, if it cannot.
    pub(super) fn missing(&self) -> Option<String> {
        let is_path = self.program.as_os_str().as_encoded_bytes().contains(&b'/');
        let shown = self.program.display();
        match is_path {
            true if !self.program.is_file() => Some(format!("there is no {shown}")),
            true if !is_executable(&self.program) => Some(format!("{shown} may not be executed")),
            false if !is_on_path(&self.program) => Some(format!("{shown} is not in PATH")),
            true | false => None,
        }
    }

    /// Reads `command:` of an agent's file: split into words as a shell does it, and never given
    /// to one. A program with a `/` in its name is relative to the agent's folder.
    ///
    /// Errors: what is wrong with it.
    pub(super) fn parse(text: &str, home: &Path) -> Result<CommandLine, &'static str> {
        let words = shlex::split(text).ok_or("has a quote that does not end")?;
        let mut words = words.into_iter();
        let program = words.next().ok_or("is empty")?;
        Ok(CommandLine {
            program: match program.contains('/') {
                true => home.join(program),
                false => program.into(),
            },
            args: words.collect(),
        })
    }
}

/// What a program needs to be there of the agent's folder: the folder that it is in. Nothing else
/// of the machine, whatever an agent's file names.
fn visible_with(program: &Path, home: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    // A link out of it may hold a link back into it.
    if !readme::is_inside(program, home) || !readme::is_inside(folder, home) {
        return None;
    }
    let is_home = fs::canonicalize(folder).ok()? == fs::canonicalize(home).ok()?;
    Some(if is_home { program } else { folder }.to_owned())
}

/// Reads what a model passes to a tool.
///
/// Errors: what the model is told of its mistake.
pub(super) fn read_arguments<T: DeserializeOwned>(text: &str) -> Result<T, ToolOutput> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| refusal(format!("the arguments are wrong: {error}")))
}

/// How long a program may run.
///
/// Errors: what the model is told of its mistake.
pub(super) fn timeout(seconds: Option<u64>) -> Result<Duration, ToolOutput> {
    match seconds {
        None => Ok(TIMEOUT_USUAL),
        Some(seconds) if (1..=TIMEOUT_SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs(seconds))
        }
        Some(_) => Err(refusal(format!(
            "the arguments are wrong: `timeout_seconds` must be from 1 to {TIMEOUT_SECONDS_MAX}"
        ))),
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

fn refusal(content: String) -> ToolOutput {
    ToolOutput {
        success: false,
        content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_does_it_and_paths_are_the_agents() {
        let home = Path::new("/a/ada");
        for (text, expected) in [
            ("jq -r .name", Ok(("jq", vec!["-r", ".name"]))),
            (
                "./bin/x 'two words'",
                Ok(("/a/ada/./bin/x", vec!["two words"])),
            ),
            ("/usr/bin/x $HOME;y", Ok(("/usr/bin/x", vec!["$HOME;y"]))),
            (" ", Err("is empty")),
            ("x 'y", Err("has a quote that does not end")),
        ] {
            let expected = expected.map(|(program, args)| CommandLine {
                program: program.into(),
                args: args.into_iter().map(str::to_owned).collect(),
            });
            assert_eq!(CommandLine::parse(text, home), expected, "{text}");
        }
    }

    #[test]
    fn with_a_program_its_folder_is_seen_if_that_is_the_agents() {
        let folder = tempfile::tempdir().unwrap();
        let (home, other) = (folder.path().join("ada"), folder.path().join("other"));
        for path in [&home.join("bin"), &other] {
            fs::create_dir_all(path).unwrap();
        }
        for path in ["run", "bin/run"] {
            fs::write(home.join(path), "").unwrap();
        }
        std::os::unix::fs::symlink("../ada/run", other.join("run")).unwrap();
        std::os::unix::fs::symlink("../other", home.join("link")).unwrap();
        let seen = |program: &str| visible_with(&home.join(program), &home);
        assert_eq!(seen("bin/run"), Some(home.join("bin")));
        assert_eq!(seen("run"), Some(home.join("run")));
        // Out of the agent's folder, and back into it.
        assert_eq!(seen("link/run"), None);
        assert_eq!(seen("../other/run"), None);
    }

    #[test]
    fn mistakes_of_a_model_are_said() {
        let wrong = |text: &str| read_arguments::<Arguments>(text).unwrap_err().content;
        assert!(wrong(r#"{"args": "x"}"#).contains("expected a sequence"));
        assert!(wrong(r#"{"arg": []}"#).contains("unknown field `arg`, expected one of `args`"));
        assert!(wrong("nonsense").starts_with("the arguments are wrong: expected"));
        assert!(read_arguments::<Arguments>("").unwrap().args.is_empty());
        assert!(
            timeout(Some(0))
                .unwrap_err()
                .content
                .contains("from 1 to 3600")
        );
        assert_eq!(timeout(Some(7)).unwrap(), Duration::from_secs(7));
    }
}
