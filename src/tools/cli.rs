//! Tools that are programs of the user's: declared in an agent's file, or found beside it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::base::words::{self, Unfinished};
use crate::domain::event::ToolOutput;
use crate::policy::judge::simple_commands;
use crate::policy::{self, NamedFiles, Pin};
use crate::tools::arguments::{read_arguments, time_property, timeout};
use crate::tools::found::is_executable;
use crate::tools::programs::{Order, ProgramContext, Programs};
use crate::tools::{Effect, Run, RunResult, Tool, ToolKind, ToolRefusal, ToolSpec};
use crate::tools::{bash, named, readme};

/// Programs that run what one of their arguments says.
const SHELLS: [&str; 10] = [
    "ash", "bash", "busybox", "dash", "env", "fish", "ksh", "mksh", "sh", "zsh",
];

/// A program of the user's.
#[derive(Debug)]
pub(super) struct Cli {
    spec: ToolSpec,
    programs: Arc<Programs>,
    place: ProgramContext,
    command: CommandLine,
    /// What its script names.
    names: Option<NamedFiles>,
}

/// A program and its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// The script, where the program is the shell. Arguments are never written into it: they are
    /// its `"$@"`.
    pub(super) script: Option<String>,
}

/// A tool as its agent's file declares it.
#[derive(Debug)]
pub(super) struct DeclaredTool {
    pub(super) name: String,
    pub(super) kind: ToolKind,
    pub(super) description: String,
    pub(super) effect: Effect,
    /// Variables of the environment that it is told beside the usual ones.
    pub(super) env: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CliArguments {
    #[serde(default)]
    args: ArgumentWords,
    stdin: Option<String>,
    timeout_seconds: Option<u64>,
}

/// Arguments as a model passes them: a list, or a text that is split by its quotes.
#[derive(Debug, Default)]
struct ArgumentWords(Vec<String>);

impl<'de> Deserialize<'de> for ArgumentWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ArgumentWords, D::Error> {
        struct WordsVisitor;
        impl<'de> Visitor<'de> for WordsVisitor {
            type Value = ArgumentWords;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts, or a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ArgumentWords, E> {
                let words = words::split(text);
                words
                    .map(ArgumentWords)
                    .map_err(|why| E::custom(format!("`args` {why}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<ArgumentWords, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element()? {
                    words.push(word);
                }
                Ok(ArgumentWords(words))
            }

            fn visit_unit<E: de::Error>(self) -> Result<ArgumentWords, E> {
                Ok(ArgumentWords::default())
            }
        }
        deserializer.deserialize_any(WordsVisitor)
    }
}

impl Cli {
    pub(super) fn new(
        runner: Arc<Programs>,
        mut place: ProgramContext,
        command: CommandLine,
        about: DeclaredTool,
    ) -> Cli {
        let names = command.names(&place.home, &place.cwd);
        let mut programs = names
            .as_ref()
            .and_then(NamedFiles::files)
            .unwrap_or_default();
        programs.insert(command.program.clone());
        for program in &programs {
            place.readable.extend(visible_with(program, &place.home));
        }
        place.env = about.env;
        let parameters = json!({
            "type": "object",
            "properties": {
                "args": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": command.about_arguments(),
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
            programs: runner,
            place,
            command,
            names,
        }
    }

    fn order(&self, run: &Run<'_>) -> Result<Order, ToolRefusal> {
        let CliArguments {
            args,
            stdin,
            timeout_seconds,
        } = read_arguments(run.arguments)?;
        let first = self.command.args.iter().cloned();
        Ok(Order {
            program: self.command.program.clone(),
            args: first.chain(args.0).map(Into::into).collect(),
            cwd: self.starts_in(run.caller.workdir).to_owned(),
            input: stdin,
            timeout: timeout(timeout_seconds)?,
        })
    }

    /// Where it starts for a session with that folder: there, unless its author would have it start in
    /// the agent's own, or its command names files of the session's. What was allowed is what the
    /// command names in the agent's folder.
    fn starts_in<'a>(&'a self, workdir: Option<&'a Path>) -> &'a Path {
        let usual = &*self.place.cwd;
        let may_be_elsewhere = usual != self.place.home;
        workdir
            .filter(|folder| may_be_elsewhere && !self.names_files_in(folder))
            .unwrap_or(usual)
    }

    /// Also where it cannot be told.
    fn names_files_in(&self, folder: &Path) -> bool {
        let is_there = |path: &PathBuf| path.starts_with(folder) && path.is_file();
        let by_script = self.names.as_ref().is_some_and(|names| {
            let there = NamedFiles {
                cwd: folder.to_owned(),
                ..names.clone()
            };
            let files = there.files();
            files.is_none_or(|files| files.iter().any(is_there))
        });
        by_script || self.command.named(folder).iter().any(is_there)
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
        Some(Pin {
            tool: self.spec.name.clone(),
            line: self.command.shown(home),
            // A bare name is a program of the system's, which its updates may change.
            own: program.is_absolute().then(|| program.clone()),
            named: self.command.named(&self.place.cwd),
            script: self.names.clone(),
            is_agents: self.spec.kind == ToolKind::Cli || program.starts_with(home),
        })
    }

    fn commands(&self) -> Vec<String> {
        let script = self.command.script.as_deref();
        script.map(simple_commands).unwrap_or_default()
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        match self.order(run) {
            Ok(order) => self.programs.run(&self.place, order, run).into(),
            Err(refusal) => ToolOutput::from(refusal).into(),
        }
    }
}

impl CommandLine {
    /// Why the program cannot be run, if it cannot.
    pub(super) fn missing(&self) -> Option<String> {
        let is_path = self.program.as_os_str().as_encoded_bytes().contains(&b'/');
        let shown = self.program.display();
        if !is_path {
            let is_missing = !is_on_path(&self.program);
            return is_missing.then(|| format!("{shown} is not in PATH"));
        }
        if !self.program.is_file() {
            return Some(format!("there is no {shown}"));
        }
        let may_run = is_executable(&self.program);
        (!may_run).then(|| format!("{shown} may not be executed"))
    }

    /// A doubt about a script that names a file as if it started in the agent's folder, where it
    /// does not.
    pub(super) fn elsewhere(&self, home: &Path, cwd: &Path) -> Option<String> {
        let names = self.names(home, cwd)?;
        let is_meant = |name: &&String| {
            let is_path = name.contains('/') && !name.starts_with(['/', '*']);
            is_path && policy::place(home, name).is_file() && !policy::place(cwd, name).exists()
        };
        let name = names.words.iter().filter(|_| !names.moves).find(is_meant)?;
        let below = name.trim_start_matches("./");
        Some(format!(
            "its script starts in {}, where there is no {name}: write \"$DURAGENT_AGENT_HOME/{below}\", or \
             `tools_cwd: agent`",
            cwd.display()
        ))
    }

    /// A program without arguments.
    pub(super) fn of(program: PathBuf) -> CommandLine {
        CommandLine {
            program,
            args: Vec::new(),
            script: None,
        }
    }

    /// Reads `command:` of the tool `name`, with the arguments `first` that it always gets. Words
    /// are run without a shell, and a program with a `/` in its name is relative to the agent's
    /// folder; what a shell would make more of is given to one.
    ///
    /// Errors: what is wrong with it.
    pub(super) fn parse(
        text: &str,
        name: &str,
        first: &[String],
        home: &Path,
    ) -> Result<CommandLine, CommandError> {
        if words::is_script(text) {
            let shell = bash::arguments(text).map(str::to_owned).into_iter();
            return Ok(CommandLine {
                program: bash::NAME.into(),
                args: shell
                    .chain([name.to_owned()])
                    .chain(first.iter().cloned())
                    .collect(),
                script: Some(text.to_owned()),
            });
        }
        let mut words = words::split(text)?.into_iter();
        let program = words.next().ok_or(CommandError::Empty)?;
        Ok(CommandLine {
            program: if program.contains('/') {
                home.join(program)
            } else {
                program.into()
            },
            args: words.chain(first.iter().cloned()).collect(),
            script: None,
        })
    }

    /// As an owner is shown it: a script as it is written, with what it is always given.
    fn shown(&self, home: &Path) -> String {
        let program = self.program.strip_prefix(home).unwrap_or(&self.program);
        let (mut line, args) = match &self.script {
            None => (program.display().to_string(), &self.args[..]),
            Some(script) => (script.clone(), self.given()),
        };
        for word in args {
            line.push_str(&format!(" {word:?}"));
        }
        line
    }

    /// What a script is always given: behind its name.
    fn given(&self) -> &[String] {
        let shell = bash::arguments("").len() + 1;
        self.args.get(shell..).unwrap_or_default()
    }

    /// What its arguments name, should that be a file.
    fn named(&self, cwd: &Path) -> Vec<PathBuf> {
        let words = match &self.script {
            None => &self.args[..],
            Some(_) => self.given(),
        };
        words.iter().map(|word| policy::place(cwd, word)).collect()
    }

    /// What its script names, if it is one, or may give one to a shell.
    fn names(&self, home: &Path, cwd: &Path) -> Option<NamedFiles> {
        let words = match &self.script {
            Some(script) => [std::slice::from_ref(script), self.given()].concat(),
            None if self.may_run_a_shell() => self.args.clone(),
            None => return None,
        };
        Some(named::names(&words.join("\n"), home, cwd))
    }

    fn may_run_a_shell(&self) -> bool {
        let words = self
            .args
            .iter()
            .map(Path::new)
            .chain([self.program.as_path()]);
        let mut names = words.filter_map(|word| word.file_name()?.to_str());
        names.any(|name| SHELLS.contains(&name))
    }

    /// What a model is told of `args`.
    fn about_arguments(&self) -> &'static str {
        let takes_any = |script: &String| {
            let mut dollars = script.match_indices('$').map(|(at, _)| &script[at + 1..]);
            dollars.any(|rest| {
                let rest = rest.strip_prefix('{').unwrap_or(rest);
                rest.starts_with(|next: char| matches!(next, '@' | '*' | '#' | '1'..='9'))
            })
        };
        if self.script.as_ref().is_some_and(|it| !takes_any(it)) {
            "Left out: its command takes none"
        } else {
            "Its arguments, one word each; no shell reads them"
        }
    }
}

/// Why a command cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    #[error("is empty")]
    Empty,
    #[error(transparent)]
    Unfinished(#[from] Unfinished),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_command_is_split_by_its_quotes_and_paths_are_the_agents() {
        let home = Path::new("/a/ada");
        for (text, expected) in [
            ("jq -r .name", Ok(("jq", vec!["-r", ".name"]))),
            (
                "./bin/x 'two words'",
                Ok(("/a/ada/./bin/x", vec!["two words"])),
            ),
            ("x '$HOME;y'", Ok(("x", vec!["$HOME;y"]))),
            (" ", Err(CommandError::Empty)),
            ("x 'y", Err(Unfinished::Quote.into())),
        ] {
            let expected = expected.map(|(program, args)| CommandLine {
                program: program.into(),
                args: args.into_iter().map(str::to_owned).collect(),
                script: None,
            });
            let parsed = CommandLine::parse(text, "x", &[], home);
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn a_script_is_given_to_the_shell_and_arguments_are_given_to_the_script() {
        let first = ["a b".to_owned()];
        let command = CommandLine::parse("sort \"$@\" | uniq", "tally", &first, Path::new("/a"));
        let command = command.unwrap();
        assert_eq!(command.program, Path::new("bash"));
        assert_eq!(
            command.args,
            ["--norc", "-c", "--", "sort \"$@\" | uniq", "tally", "a b"]
        );
        assert_eq!(command.shown(Path::new("/a")), "sort \"$@\" | uniq \"a b\"");
        for (text, takes_any) in [
            ("sort \"$@\" | uniq", true),
            ("echo ${1:-x}", true),
            ("echo $HOME | wc", false),
        ] {
            let command = CommandLine::parse(text, "x", &[], Path::new("/a")).unwrap();
            let about = command.about_arguments();
            assert_eq!(about.starts_with("Its arguments"), takes_any, "{text}");
        }
    }

    #[test]
    fn a_script_that_names_a_file_of_another_folder_is_told() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let work = home.join("work");
        for folder in ["bin", "work/lib"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        for file in ["bin/x", "work/lib/y", "data"] {
            fs::write(home.join(file), "").unwrap();
        }
        for (script, is_elsewhere) in [
            ("./bin/x | sort", true),
            ("sh bin/x --glob *", true),
            ("\"$DURAGENT_AGENT_HOME/bin/x\" | sort", false),
            ("cd \"$DURAGENT_AGENT_HOME\" && ./bin/x", false),
            ("./lib/y | sort", false),
            ("./none | data", false),
            ("bash -c './bin/x | sort'", true),
            ("echo './bin/x | sort'", false),
        ] {
            let command = CommandLine::parse(script, "x", &[], home).unwrap();
            let told = command.elsewhere(home, &work);
            assert_eq!(told.is_some(), is_elsewhere, "{script}: {told:?}");
            assert_eq!(command.elsewhere(home, home), None, "{script}");
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
        let wrong = |text: &str| {
            read_arguments::<CliArguments>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(wrong(r#"{"args": 7}"#).contains("expected a list of texts, or a text"));
        assert!(wrong(r#"{"args": "a 'b"}"#).contains("`args` has a quote that does not end"));
        assert!(wrong(r#"{"arg": []}"#).contains("unknown field `arg`, expected one of `args`"));
        assert!(wrong("nonsense").starts_with("the arguments are wrong: expected"));
        let read = |text: &str| read_arguments::<CliArguments>(text).unwrap().args.0;
        assert!(read("").is_empty());
        assert!(read(r#"{"args": null}"#).is_empty());
        assert_eq!(
            read(r#"{"args": "a 'b c' $HOME *"}"#),
            ["a", "b c", "$HOME", "*"]
        );
        let refused = timeout(Some(0)).unwrap_err().to_string();
        assert!(refused.contains("from 1 to 3600"));
        assert_eq!(timeout(Some(7)).unwrap(), Duration::from_secs(7));
    }
}
