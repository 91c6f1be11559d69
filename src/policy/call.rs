//! A call, as far as rules are concerned, and the place where it would be made. Pure.

use std::fmt;
use std::path::Path;

use super::rules::Subject;
use crate::domain::plain::spelled_out;

/// A call, as far as rules are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgedCall<'a> {
    /// A script for the shell; `None` when the arguments hold none.
    Shell(Option<&'a str>),
    /// Another tool.
    Tool(ToolUse<'a>),
}

/// A call of another tool than the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToolUse<'a> {
    /// The tool's kind.
    pub subject: Subject,
    /// Its name.
    pub name: &'a str,
    /// Its arguments, JSON if the model was right.
    pub arguments: &'a str,
    /// True if nobody declared it: it was found in a folder.
    pub is_found: bool,
    /// True if the call changes nothing, by the tool's own word.
    pub only_reads: bool,
    /// True if the program is another than the one that was allowed.
    pub is_changed: bool,
    /// The argument that a pattern may name behind the action: `url`, `name`.
    pub value_key: Option<&'a str>,
    /// The file that it is about.
    pub file: Option<&'a FileUse>,
}

/// The file or folder that a call is about, as the tool has found it: without `..` and links, so that
/// no spelling of its path passes a rule. Rules name it as `builtin:file:write:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUse {
    /// The action, as the model names it: `edit`.
    pub action: &'static str,
    /// It changes the file: `write` for rules, otherwise `read`.
    pub writes: bool,
    /// It is about all that is in a folder.
    pub is_folder: bool,
    /// The folder beneath which it was found, by its real path.
    pub root: String,
    /// Its path from there on; `.` for the folder itself.
    pub inner: String,
    /// That folder is the one that the session works in, from which rules name it too.
    pub is_in_work: bool,
    /// That folder is the agent's own to write in.
    pub is_own: bool,
    /// Other spellings: what forbids is compared with them as well.
    pub written: Vec<String>,
}

impl FileUse {
    /// The word of rules for what is done: `write` or `read`.
    pub fn deed(&self) -> &'static str {
        if self.writes { "write" } else { "read" }
    }

    /// Its whole path.
    pub fn path(&self) -> String {
        match self.inner.as_str() {
            "." => self.root.clone(),
            inner => format!("{}/{inner}", self.root.trim_end_matches('/')),
        }
    }

    /// The shortest of its names, which a rule for it begins with: the path from the folder that the
    /// session works in, or the whole.
    pub fn name(&self) -> String {
        if self.is_in_work {
            self.inner.clone()
        } else {
            self.path()
        }
    }

    /// A part of its path begins with a `.`: from `.git`, `.envrc` and the like programs take orders.
    pub fn is_hidden(&self) -> bool {
        let mut parts = self.inner.split('/');
        parts.any(|part| part.starts_with('.') && part != ".")
    }

    /// It needs no rule where people are asked about what no rule names: reading, and writing in the
    /// agent's own folder what no program takes orders from.
    pub fn is_usual(&self) -> bool {
        !self.writes || self.is_own && !self.is_hidden()
    }

    /// The names by which rules know it. Of a folder also with a `/`, as what is in it begins.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![self.name()];
        if self.is_in_work {
            names.push(self.path());
        }
        if self.is_folder {
            let open: Vec<String> = names.iter().map(|name| format!("{name}/")).collect();
            names.extend(open);
        }
        names
    }

    /// The actions by which rules know it: its own, and what is done.
    pub(super) fn actions(&self) -> impl Iterator<Item = &'static str> {
        let deed = Some(self.deed()).filter(|deed| *deed != self.action);
        [self.action].into_iter().chain(deed)
    }
}

/// In one line, in which nothing is hidden.
impl fmt::Display for FileUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = spelled_out(&self.name()).replace('\n', "\\n");
        write!(f, "{} {name}", self.action)
    }
}

/// The place where a script would run, as far as it says what the script does.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The folder that it starts in.
    pub work: Option<&'a Path>,
    /// Says whether its environment has a variable: one that a loop sets would reach programs.
    pub is_variable: &'a dyn Fn(&str) -> bool,
}

impl Default for Context<'_> {
    fn default() -> Self {
        Context {
            work: None,
            is_variable: &|_| false,
        }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}
