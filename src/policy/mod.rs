//! What agents may do: policies, from their files to a verdict.
//!
//! Four texts make the policy of an agent: the workspace's, two of the agent's folder (the second one
//! was written by earlier versions), and what "allow always" added to the owner's own. A
//! [`RuleSource`] reads them, when an agent is first used, when agents are reloaded, and after "allow
//! always"; nothing here knows files.
//!
//! Invariants:
//! - a policy that can't be read refuses everything, and says so;
//! - what an agent's folder says beyond `deny` and a stricter `mode` counts only as far as its owner
//!   trusts it;
//! - nothing is written but the owner's own.
//!
//! Elsewhere: what a script runs (`shell`), what is known of programs (`programs`), what becomes of
//! a call (`judge`).

mod agent_policy;
mod call;
pub mod check;
mod denied;
mod edit;
pub mod file;
mod glob;
mod granted;
pub mod judge;
mod notify;
mod pin;
pub mod programs;
mod rules;
pub mod shell;
mod source;

use std::path::Path;

use crate::base::shown::shown_by_name;
use crate::domain::event::ToolCall;
use crate::domain::ids::SessionId;
use crate::domain::spec::{ToolEffect, ToolKind};

pub use agent_policy::{AgentPolicy, Policies};
pub use call::FileUse;
pub use notify::{ChatTeller, Notification};
pub use pin::{Digests, NamedFiles, Pin, place};
pub use rules::{Mode, Occasion, PolicyRules, RulePattern, Subject, Tier, Tiers};
pub use source::{EditRules, RememberError, RuleEditError, RuleSource, RuleSources};

/// Says what an agent may do.
pub trait Policy: Send + Sync {
    /// Judges a call before it runs.
    fn judge(&self, proposed: &ProposedCall<'_>) -> Verdict;

    /// Takes to heart that a person allowed calls like this one for good. May be told twice.
    ///
    /// Errors: it will not be remembered, or not all of it.
    fn allow_always(&self, proposed: &ProposedCall<'_>) -> Result<(), RememberError>;

    /// A call is about to run: whoever wants to know of such calls is told. Never blocks.
    fn note_start(&self, proposed: &ProposedCall<'_>);

    /// A person is being asked about a call: whoever wants to know of questions is told. Never blocks.
    fn note_question(&self, proposed: &ProposedCall<'_>);
}

shown_by_name!(Policy);

/// A call as a policy sees it.
#[derive(Debug, Clone, Copy)]
pub struct ProposedCall<'a> {
    /// The session that wants it.
    pub session: &'a SessionId,
    /// The call, as the model wrote it.
    pub call: &'a ToolCall,
    /// Where the tool comes from.
    pub kind: ToolKind,
    /// How much harm a second run would do; one that only reads needs no rule in some modes.
    pub effect: ToolEffect,
    /// True if it asks a stranger's server at an address that the model may have composed itself,
    /// with what it was told in it: then it does more than read.
    pub is_composed: bool,
    /// The folder that the session's tools work in, where that is not the agent's own.
    pub workdir: Option<&'a Path>,
    /// The argument that a pattern may name behind the action, by the tool's schema: `url`.
    pub value_key: Option<&'a str>,
    /// The file that it is about.
    pub file: Option<&'a FileUse>,
    /// Rules that a person has allowed for the session, and that count for this call.
    pub granted: &'a [String],
}

impl ProposedCall<'_> {
    /// The words that a person is asked about: a shell's command as it is, what is done to a file,
    /// else the tool's name and its arguments.
    pub fn command(&self) -> String {
        if let Some(file) = self.file {
            return format!("{} {file}", self.call.tool_name);
        }
        self.script()
            .unwrap_or_else(|| format!("{} {}", self.call.tool_name, self.call.arguments))
    }

    /// The same one by one: the simple commands of a shell's script, else the whole.
    pub fn commands(&self) -> Vec<String> {
        match self.script() {
            Some(script) => judge::simple_commands(&script),
            None => vec![self.command()],
        }
    }

    /// The command of a shell; `None` for another tool, and for arguments that hold none.
    pub fn script(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Shell {
            command: String,
        }
        let shell = (self.kind == ToolKind::Bash)
            .then(|| serde_json::from_str::<Shell>(&self.call.arguments).ok())
            .flatten();
        shell.map(|shell| shell.command)
    }
}

/// The answer to a [`ProposedCall`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs.
    Allow,
    /// A person is asked, and shown this.
    Ask {
        /// The words that would run, whole.
        command: String,
        /// The simple commands of that.
        commands: Vec<String>,
        /// True if "allow always" would allow this text alone, whatever the files it reads hold,
        /// because no pattern covers it.
        is_exact: bool,
        /// The rules that would allow it, and the like, for the session; none where there are none.
        session_rules: Vec<String>,
    },
    /// It does not run; the model is told why.
    Deny {
        /// Why.
        reason: String,
    },
}
