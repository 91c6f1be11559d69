//! The builtin `file`: reads, lists, searches, writes and edits files without a shell, in the folder that
//! the session works in and in those that `sandbox.writable` names.
//!
//! Invariants:
//! - a path is judged as what it stands for, and found anew when the call runs: a `deny` holds for what
//!   is opened then, whoever moved what meanwhile;
//! - a file is replaced as a whole, or stays as it is.
//!
//! Elsewhere: where it may go (`place`), how a file is replaced (`target`), what an edit makes of a text
//! (`text`), and how that is shown (`diff`); which of it runs unasked (`policy::judge`).

mod diff;
mod look;
mod place;
mod target;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::beneath::{READ, regular};
use crate::base::plural::counted;
use crate::domain::glob::Glob;
use crate::domain::plain;
use crate::domain::spec::WORK_FOLDER;
use crate::policy::{AgentPolicy, FileUse};
use crate::tools::builtin::{self, BuiltinAnswer};
use crate::tools::{Effect, Run, RunResult, Tool, ToolRefusal, ToolSpec, arguments};

use look::{FileSearch, WantedText};
use place::{FileReach, LocatedFile, LocatedKind, refusal, said};
use target::{FILE_BYTES_MAX, FileBefore, ReplaceError, WriteTarget, would_be_larger};
use text::TextChange;

pub use place::FilePlaces;

/// Its name, which rules and agents' files have.
pub const NAME: &str = "file";
/// So many lines are read where the model does not say how many.
const LINES_USUAL: u64 = 1_000;

const DESCRIPTION: &str = "Files in your work folder, and in others that are open to you. `path` is from \
     the work folder on, or whole. \
     `read`: the text of a file, by pages: `from` a line, so many `lines`. \
     `list`: what is in a folder. \
     `search`: the lines with the text `content` in all files below a folder, or in those whose names fit \
     the end of `path` (`src/*.rs`: `*` is anything); without `content` the names alone. \
     `write`: makes a file of `content`, or replaces a whole one. \
     `edit`: replaces the text `old`, which must stand there exactly and once (or `all`), by `new`. \
     For a change `edit` is better than `write`. The answer shows what was changed.";

/// The files of one agent.
#[derive(Debug)]
pub struct FileTool {
    spec: ToolSpec,
    home: PathBuf,
    places: Arc<FilePlaces>,
    rules: Arc<AgentPolicy>,
    #[cfg(test)]
    is_stepwise: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileAction {
    Read,
    List,
    Search,
    Write,
    Edit,
}

impl FileAction {
    fn as_str(self) -> &'static str {
        match self {
            FileAction::Read => "read",
            FileAction::List => "list",
            FileAction::Search => "search",
            FileAction::Write => "write",
            FileAction::Edit => "edit",
        }
    }

    fn writes(self) -> bool {
        matches!(self, FileAction::Write | FileAction::Edit)
    }
}

#[derive(Debug, Deserialize)]
struct FileArguments {
    action: FileAction,
    path: Option<String>,
    content: Option<String>,
    old: Option<String>,
    new: Option<String>,
    all: Option<bool>,
    from: Option<u64>,
    lines: Option<u64>,
}

/// A call, looked at.
struct Looked {
    arguments: FileArguments,
    located: LocatedFile,
    used: FileUse,
    /// The end of a search's path, which names have to fit.
    names: Option<Names>,
}

struct Names {
    glob: Glob,
    is_path: bool,
}

/// What a call would make of a file.
struct NewText {
    text: String,
    /// What is there, where the call hangs on it.
    read: Option<FileBefore>,
    said: String,
    diff: String,
}

impl FileTool {
    /// For the agent whose folder is `home`.
    pub fn new(home: &Path, places: Arc<FilePlaces>, rules: Arc<AgentPolicy>) -> FileTool {
        FileTool {
            spec: builtin::spec(NAME, DESCRIPTION, parameters(), Effect::Write),
            home: home.to_owned(),
            places,
            rules,
            #[cfg(test)]
            is_stepwise: false,
        }
    }

    fn reach<'a>(&'a self, workdir: Option<&'a Path>) -> FileReach<'a> {
        FileReach {
            home: &self.home,
            places: &self.places,
            workdir,
            #[cfg(test)]
            is_stepwise: self.is_stepwise,
        }
    }

    fn answer(&self, run: &Run<'_>) -> BuiltinAnswer {
        let reach = self.reach(run.caller.workdir);
        let call = look_at(run.arguments, reach)?;
        if let Some(rule) = self.rules.forbidding(NAME, &call.used) {
            return Err(format!("a rule forbids it: {rule}").into());
        }
        let failed = |error: io::Error| refusal(&call.used.name(), &error);
        let name = said(&call.used.name());
        match call.arguments.action {
            FileAction::Read => {
                let file = call.located.open(READ).and_then(regular).map_err(failed)?;
                let from = call.arguments.from.unwrap_or(1).max(1);
                let lines = call.arguments.lines.unwrap_or(LINES_USUAL).max(1);
                look::read(&name, file, from, lines, run)
            }
            FileAction::List => {
                let folder = call.located.open(look::FOLDER).map_err(failed)?;
                look::list(&name, folder, run)
            }
            FileAction::Search => self.search(&call, reach, run),
            FileAction::Write | FileAction::Edit => {
                // What is to be edited is there, with its folder.
                let is_there = call.arguments.action == FileAction::Edit;
                let target = if is_there {
                    WriteTarget::open(&call.located)
                } else {
                    WriteTarget::make(&call.located)
                };
                let target = target.map_err(failed)?;
                let written = call.written(&target)?;
                if written.diff.is_empty() {
                    return Ok(format!("{name} is like that already"));
                }
                let replaced = target.replace(written.text.as_bytes(), written.read.as_ref());
                replaced.map_err(|error| match error {
                    ReplaceError::Io(error) => failed(error),
                    ReplaceError::Changed => format!("{name}: {error}").into(),
                })?;
                Ok(format!("{}\n{}", written.said, written.diff))
            }
        }
    }

    fn search(&self, call: &Looked, reach: FileReach<'_>, run: &Run<'_>) -> BuiltinAnswer {
        let used = &call.used;
        let folder = PathBuf::from(used.path());
        let guarded = reach.guarded(&call.located.root);
        let may_see = |inner: &Path| {
            let whole = folder.join(inner);
            if guarded.iter().any(|path| whole.starts_with(path)) {
                return false;
            }
            let Some(inner) = inner.to_str() else {
                // No rule could name it.
                return false;
            };
            let found = FileUse {
                // Rules for reading are for this too.
                action: FileAction::Search.as_str(),
                is_folder: false,
                inner: match used.inner.as_str() {
                    "." => inner.to_owned(),
                    folder => format!("{folder}/{inner}"),
                },
                written: Vec::new(),
                ..used.clone()
            };
            self.rules.forbidding(NAME, &found).is_none()
        };
        let text = call.arguments.content.as_deref();
        let wanted = WantedText {
            names: call.names.as_ref().map(|names| names.glob.clone()),
            is_path: call.names.as_ref().is_some_and(|names| names.is_path),
            text: text.filter(|text| !text.is_empty()),
        };
        if wanted.text.is_none() && wanted.names.is_none() {
            return Err(
                "`content` must hold the text to look for, or `path` end as `*.txt`".into(),
            );
        }
        if wanted.text.is_some_and(|text| text.contains('\n')) {
            return Err("`content` is looked for in single lines, and has several".into());
        }
        let prefix = Some(used.name()).filter(|name| name != ".");
        let search = FileSearch::new(wanted, &may_see, run, prefix.unwrap_or_default());
        let failed = |error: io::Error| refusal(&used.name(), &error);
        match call.located.kind {
            LocatedKind::Folder => {
                let opened = call.located.open(look::FOLDER);
                search.folder(opened.map_err(failed)?)
            }
            LocatedKind::File | LocatedKind::Missing => {
                let opened = call.located.open(READ).and_then(regular);
                search.file(opened.map_err(failed)?)
            }
        }
    }
}

impl Looked {
    /// The new text of the file.
    fn written(&self, target: &WriteTarget) -> Result<NewText, ToolRefusal> {
        let name = said(&self.used.name());
        // That they are there was looked at.
        let given = |text: &Option<String>| text.clone().unwrap_or_default();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::FileTooLarge => {
                let most = plain::size(FILE_BYTES_MAX as u64);
                ToolRefusal::from(format!("{name} is larger than {most}"))
            }
            _ => refusal(&self.used.name(), &error),
        };
        if self.arguments.action == FileAction::Edit {
            let before = target.read().map_err(failed)?;
            let before = before.ok_or_else(|| format!("there is no {name}"))?;
            let text = as_text(&name, &before.bytes)?;
            let (old, new) = (given(&self.arguments.old), given(&self.arguments.new));
            let change = TextChange {
                old: &old,
                new: &new,
                all: self.arguments.all.unwrap_or(false),
            };
            let (changed, places) = change.apply(&name, text)?;
            let changed = checked(&name, changed)?;
            return Ok(NewText {
                said: format!("edited {name} at {}", counted(places, "place")),
                diff: diff::unified(&name, Some(text), &changed),
                text: changed,
                read: Some(before),
            });
        }
        let content = checked(&name, given(&self.arguments.content))?;
        let before = match target.read() {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
            before => Some(before.map_err(failed)?),
        };
        let text = before.as_ref().map(|before| {
            let bytes = before.as_ref().map(|before| before.bytes.as_slice());
            bytes.map(|bytes| std::str::from_utf8(bytes).ok())
        });
        Ok(match text {
            Some(None) => NewText {
                said: format!("made {name}, {}", measured(&content)),
                diff: diff::unified(&name, None, &content),
                text: content,
                read: None,
            },
            Some(Some(Some(text))) => {
                let content = text::in_manner_of(text, &content).into_owned();
                NewText {
                    said: format!("wrote {name}, {}", measured(&content)),
                    diff: diff::unified(&name, Some(text), &content),
                    text: content,
                    read: None,
                }
            }
            Some(Some(None)) | None => NewText {
                said: format!("wrote {name}, {}", measured(&content)),
                diff: "[what was there was no text, or too long to be compared]".to_owned(),
                text: content,
                read: None,
            },
        })
    }
}

/// `12 lines, 345 bytes`.
fn measured(text: &str) -> String {
    let size = plain::size(text.len() as u64);
    format!("{}, {size}", counted(text.lines().count(), "line"))
}

fn checked(name: &str, text: String) -> Result<String, ToolRefusal> {
    if text.len() > FILE_BYTES_MAX {
        return Err(would_be_larger(name));
    }
    Ok(text)
}

fn as_text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, ToolRefusal> {
    let text = std::str::from_utf8(bytes).ok();
    let text = text.filter(|text| !text.contains('\0'));
    text.ok_or_else(|| format!("{name} is no text in UTF-8, and is not edited").into())
}

/// Looks at a call: what it would do, and to what.
fn look_at(text: &str, reach: FileReach<'_>) -> Result<Looked, ToolRefusal> {
    let arguments: FileArguments = arguments::read(text)?;
    let action = arguments.action;
    let path = match (&arguments.path, action) {
        (Some(path), _) => path.as_str(),
        (None, FileAction::List | FileAction::Search) => ".",
        (None, FileAction::Read | FileAction::Write | FileAction::Edit) => {
            return Err("`path` is missing".into());
        }
    };
    let (path, names) = match action {
        FileAction::Search => with_names(path)?,
        _ => (path, None),
    };
    let located = reach.locate(path)?;
    let name = said(path);
    let why = match (action, located.kind) {
        (FileAction::Write, LocatedKind::Missing | LocatedKind::File) if path.ends_with('/') => {
            format!("{name} ends as a folder does")
        }
        (FileAction::Write, LocatedKind::Missing) => String::new(),
        (_, LocatedKind::Missing) => format!("there is no {name}"),
        (FileAction::List, LocatedKind::File) => format!("{name} is a file: `read` it"),
        (FileAction::Read, LocatedKind::Folder) => format!("{name} is a folder: `list` it"),
        (FileAction::Write | FileAction::Edit, LocatedKind::Folder) => {
            format!("{name} is a folder")
        }
        _ => String::new(),
    };
    if !why.is_empty() {
        return Err(why.into());
    }
    let missing = match action {
        FileAction::Write if arguments.content.is_none() => Some("content"),
        FileAction::Edit if arguments.old.is_none() => Some("old"),
        FileAction::Edit if arguments.new.is_none() => Some("new"),
        _ => None,
    };
    if let Some(key) = missing {
        return Err(format!("`{key}` is missing").into());
    }
    let used = located.used(action.as_str(), action.writes())?;
    Ok(Looked {
        arguments,
        located,
        used,
        names,
    })
}

/// A search's path in two: the folder, and what names have to fit below it. `**/` says no more than that
/// they may lie anywhere.
fn with_names(path: &str) -> Result<(&str, Option<Names>), ToolRefusal> {
    let Some(first) = path.find(['*', '?']) else {
        return Ok((path, None));
    };
    let start = path[..first].rfind('/').map_or(0, |slash| slash + 1);
    let (folder, pattern) = path.split_at(start);
    let folder = match folder {
        "" => ".",
        "/" => "/",
        folder => folder.trim_end_matches('/'),
    };
    let pattern = pattern.trim_start_matches("**/").replace("**", "*");
    let glob = Glob::parse(&pattern).map_err(|why| format!("the pattern in `path` {why}"))?;
    let is_path = pattern.contains('/');
    Ok((folder, Some(Names { glob, is_path })))
}

/// The file that a call of an agent in `home` means, as rules see it: for who only asks about rules.
pub fn meant(arguments: &str, home: &Path) -> Option<FileUse> {
    // A look at rules makes no folder.
    if !home.join(WORK_FOLDER).is_dir() {
        return None;
    }
    let reach = FileReach {
        home,
        places: &FilePlaces::default(),
        workdir: None,
        #[cfg(test)]
        is_stepwise: false,
    };
    Some(look_at(arguments, reach).ok()?.used)
}

impl Tool for FileTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    /// A file that is written once more is as it was written; a text may be there again after its edit.
    fn effect(&self, arguments: &str) -> Effect {
        match arguments::read::<FileArguments>(arguments).map(|it| it.action) {
            Ok(FileAction::Edit) => Effect::Write,
            Ok(FileAction::Write) => Effect::Idempotent,
            // Of what is not understood nothing happens but that it is said.
            Ok(FileAction::Read | FileAction::List | FileAction::Search) | Err(_) => Effect::Read,
        }
    }

    fn file(
        &self,
        arguments: &str,
        workdir: Option<&Path>,
    ) -> Result<Option<FileUse>, ToolRefusal> {
        Ok(Some(look_at(arguments, self.reach(workdir))?.used))
    }

    fn asked(
        &self,
        arguments: &str,
        workdir: Option<&Path>,
    ) -> Result<Option<String>, ToolRefusal> {
        let call = look_at(arguments, self.reach(workdir))?;
        if !call.used.writes {
            return Ok(None);
        }
        let head = format!("{NAME} {}", call.used);
        let written = match WriteTarget::open(&call.located) {
            // Its folder is to be made as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let content = call.arguments.content.unwrap_or_default();
                let diff = diff::unified(&call.used.name(), None, &content);
                return Ok(Some(format!("{head}\n{}\n{diff}", measured(&content))));
            }
            target => {
                let target = target.map_err(|error| refusal(&call.used.name(), &error))?;
                call.written(&target)?
            }
        };
        Ok(Some(format!(
            "{head}\n{}\n{}",
            measured(&written.text),
            written.diff
        )))
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        RunResult::Done(builtin::output(self.answer(run)))
    }
}

pub(super) fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "action": {"type": "string", "enum": ["read", "list", "search", "write", "edit"]},
            "path": {"type": "string", "description": "A file, or of `list` and `search` a folder."},
            "content": {
                "type": "string",
                "description": "write: the whole text. search: what to look for, as it is written.",
            },
            "old": {"type": "string", "description": "edit: the text to replace, with its blanks."},
            "new": {"type": "string", "description": "edit: what takes its place."},
            "all": {"type": "boolean", "description": "edit: at all places, not at the only one."},
            "from": {"type": "integer", "minimum": 1, "description": "read: the first line."},
            "lines": {"type": "integer", "minimum": 1, "description": "read: how many."},
        },
        "required": ["action"],
    })
}

#[cfg(test)]
mod tests;
