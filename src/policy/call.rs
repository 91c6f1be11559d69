//! A call, as far as rules are concerned, and the place where it would be made. Pure.

use std::fmt;
use std::path::Path;

use super::rules::Subject;

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
    /// The argument that a pattern may name behind the action: `url`, `path`, `name`.
    pub value_key: Option<&'a str>,
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
