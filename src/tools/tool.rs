//! Something that an agent can do: the trait, and what goes in and out.

use std::convert::Infallible;
use std::path::Path;

use crossbeam_channel::Receiver;

use crate::base::shown::shown_by_name;
use crate::domain::event::{Attachment, ToolOutput};
use crate::domain::ids::{AwaitedId, CallId, SessionId};
use crate::domain::spec::{ToolEffect, ToolKind};
use crate::domain::state::ParkedCall;
use crate::policy::{FileUse, Pin};
use crate::tools::ToolRefusal;

/// Something an agent can do.
pub trait Tool: Send + Sync {
    /// What the model is told of it.
    fn spec(&self) -> &ToolSpec;

    /// What running it twice with these arguments would mean; [`ToolSpec::effect`] unless the
    /// tool does several things.
    fn effect(&self, arguments: &str) -> ToolEffect {
        let _depends_on_the_tool = arguments;
        self.spec().effect
    }

    /// The address that a call would ask, as the model wrote it; of a tool that goes wherever a
    /// model likes.
    fn address(&self, arguments: &str) -> Option<String> {
        let _goes_nowhere = arguments;
        None
    }

    /// The file that a call is about, for a tool of files; `workdir` is the folder of the session, where
    /// that is not the agent's own.
    ///
    /// Errors: the call can do nothing, and is answered with this.
    fn file(
        &self,
        arguments: &str,
        workdir: Option<&Path>,
    ) -> Result<Option<FileUse>, ToolRefusal> {
        let _about_no_file = (arguments, workdir);
        Ok(None)
    }

    /// What a person is shown who is asked about a call, where its arguments do not say it best.
    ///
    /// Errors: as [`file`](Tool::file).
    fn asked(
        &self,
        arguments: &str,
        workdir: Option<&Path>,
    ) -> Result<Option<String>, ToolRefusal> {
        let _as_it_is_called = (arguments, workdir);
        Ok(None)
    }

    /// What it runs, for a tool that is a program of somebody's.
    fn pin(&self) -> Option<Pin> {
        None
    }

    /// The simple commands that it runs whatever its arguments are; nothing where its calls say it
    /// themselves.
    fn commands(&self) -> Vec<String> {
        Vec::new()
    }

    /// What a run will wait for, where that is known before it begins. The call is written down as
    /// parked then before [`run`](Tool::run) does anything, and whatever a crash leaves of that is for
    /// [`ask_after`](Tool::ask_after): the call does not run again, and nobody is asked whether it ran.
    fn awaits(&self, run: &Run<'_>) -> Option<AwaitedId> {
        let _answers_itself = run;
        None
    }

    /// Runs it. It ends soon after `run.cancel` closes, and takes the processes it started with
    /// it. What it can't do it says in its output, which the model reads.
    fn run(&self, run: &Run<'_>) -> RunResult;

    /// What of a call that is parked? Asked when its session is taken up by a process that did not
    /// park it, and maybe again later: the tool does what is missing, or has it done, and does not
    /// wait for it. An output ends the call at once; else it comes by `Sessions::resolve`, as it does
    /// for a tool that says nothing here.
    fn ask_after(&self, parked: ParkedCall<'_>, caller: Caller<'_>) -> Option<ToolOutput> {
        let _comes_by_itself = (parked, caller);
        None
    }

    /// Nobody waits any more for what a call was parked for: its turn was cancelled, failed or ended
    /// with its session, and a result would be ignored. Told soon after that is written down, on a
    /// thread that does other things too; not where the process ends before.
    fn give_up(&self, parked: ParkedCall<'_>, caller: Caller<'_>) {
        let _nothing_to_end = (parked, caller);
    }
}

/// The end of a run: with its result, or before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunResult {
    /// It is done.
    Done(ToolOutput),
    /// It is done, and hands out files of the session to whoever reads the next reply.
    HandedOut {
        /// The result.
        output: ToolOutput,
        /// The files, kept already.
        files: Vec<Attachment>,
    },
    /// Others bring the result, maybe days later: no thread waits for it.
    Parked {
        /// Names the work whose end brings it.
        on: AwaitedId,
    },
}

impl RunResult {
    /// The result; `None` if others are to bring it.
    pub fn done(self) -> Option<ToolOutput> {
        match self {
            RunResult::Done(output) | RunResult::HandedOut { output, .. } => Some(output),
            RunResult::Parked { .. } => None,
        }
    }
}

impl From<ToolOutput> for RunResult {
    fn from(output: ToolOutput) -> RunResult {
        RunResult::Done(output)
    }
}

shown_by_name!(Tool);

/// One run of a tool.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The call: one that runs once more after a crash has the same id.
    pub call_id: &'a CallId,
    /// The JSON text of the model, unchecked.
    pub arguments: &'a str,
    /// Closes when the run is to end.
    pub cancel: &'a Receiver<Infallible>,
    /// For whom it runs.
    pub caller: Caller<'a>,
}

/// The session that a tool runs for.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Its id.
    pub session: &'a SessionId,
    /// The chat of a gateway that it belongs to: the gateway's name and the chat's id.
    pub chat: Option<(&'a str, &'a str)>,
    /// Whose session it is; `None` for the server's owner.
    pub owner: Option<&'a str>,
    /// The folder that its programs work in, where that is not the agent's own.
    pub workdir: Option<&'a Path>,
}

impl<'a> Caller<'a> {
    /// A session of the server's owner, in no chat and in the agent's folder.
    pub fn of(session: &'a SessionId) -> Caller<'a> {
        Caller {
            session,
            chat: None,
            owner: None,
            workdir: None,
        }
    }
}

/// A tool as a model is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Its name: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// Where it comes from.
    pub kind: ToolKind,
    /// The model decides by this when to call it: a sentence, or a page.
    pub description: String,
    /// The JSON Schema of its arguments, an object.
    pub parameters: serde_json::Value,
    /// Decides whether it is run again after a crash in the middle of it, and beside other calls.
    pub effect: ToolEffect,
}

/// Of a tool that is part of Duragent the argument that a policy may name behind the action.
pub fn value_key(tool: &str) -> Option<&'static str> {
    match tool {
        "web" => Some("url"),
        "skill" => Some("name"),
        _ => None,
    }
}

impl ToolSpec {
    /// The argument that a policy's pattern may name behind the action, `builtin:web:fetch:URL`.
    pub fn value_key(&self) -> Option<&'static str> {
        value_key(&self.name).filter(|_| self.kind == ToolKind::Builtin)
    }
}
