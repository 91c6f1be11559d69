//! The builtin `send_file`: hands a file of the work folder to whoever reads the reply.
//!
//! What is sent is a copy, kept in the session before the call has its result. So it stands in the log as it
//! was, whatever becomes of the file, and a call that a crash cut off may run again: nobody was sent
//! anything before its result was written.

use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::base::beneath;
use crate::base::shown::shown_by_name;
use crate::domain::event::{Attachment, ToolOutput};
use crate::domain::files::{FILE_BYTES_MAX, MediaType, plain_name};
use crate::domain::ids::SessionId;
use crate::domain::plain;
use crate::domain::spec::WORK_FOLDER;
use crate::tools::builtin;
use crate::tools::programs::still_real;
use crate::tools::{Caller, Effect, Run, RunResult, Tool, ToolRefusal, ToolSpec, arguments};

/// Its name, which rules and agents' files have.
pub(super) const NAME: &str = "send_file";
/// The longest caption, in characters: platforms take no more.
const CAPTION_CHARS_MAX: usize = 1024;

const DESCRIPTION: &str = "Sends a file from your work folder to the user, together with your next words. \
     `path` is relative to the work folder; links are not followed. A file may have 10 MiB.";

/// Where files of sessions are kept, as this tool needs it.
pub trait FileShelf: Send + Sync {
    /// Keeps a file in a session; on return it survives a power cut.
    fn keep(
        &self,
        session: &SessionId,
        media_type: MediaType,
        bytes: &[u8],
    ) -> Result<Attachment, ToolRefusal>;
}

shown_by_name!(FileShelf);

/// Sends files of one agent's work folder, or of its session's.
#[derive(Debug)]
pub(super) struct SendFileTool {
    spec: ToolSpec,
    shelf: Arc<dyn FileShelf>,
    work: PathBuf,
}

#[derive(Deserialize)]
struct SendFileArguments {
    path: String,
    caption: Option<String>,
}

impl SendFileTool {
    /// For the agent whose folder is `home`.
    pub(super) fn new(shelf: Arc<dyn FileShelf>, home: &Path) -> SendFileTool {
        let parameters = json!({
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "Where it lies in your work folder"},
                "caption": {"type": "string", "description": "A line to stand with it"},
            },
            "required": ["path"],
        });
        SendFileTool {
            spec: builtin::spec(NAME, DESCRIPTION, parameters, Effect::Idempotent),
            shelf,
            work: home.join(WORK_FOLDER),
        }
    }

    fn send(&self, run: &Run<'_>) -> Result<Attachment, ToolRefusal> {
        let arguments: SendFileArguments = arguments::read(run.arguments)?;
        let caption = arguments.caption.map(|text| text.trim().to_owned());
        let caption = caption.filter(|text| !text.is_empty());
        let chars = caption.as_ref().map_or(0, |text| text.chars().count());
        if chars > CAPTION_CHARS_MAX {
            let why = format!("`caption` has {chars} characters, {CAPTION_CHARS_MAX} are allowed");
            return Err(why.into());
        }
        let path = Path::new(&arguments.path);
        let bytes = self.read(path, &run.caller)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let media_type = MediaType::of_file(&name).unwrap_or_else(|| guessed(&bytes));
        let kept = self.shelf.keep(run.caller.session, media_type, &bytes)?;
        Ok(Attachment {
            name: plain_name(&name),
            caption,
            ..kept
        })
    }

    /// The bytes of a file of the folder that the session's programs write in.
    fn read(&self, path: &Path, caller: &Caller<'_>) -> Result<Vec<u8>, ToolRefusal> {
        let own = caller.workdir.map(still_real).transpose();
        let own = own.map_err(|error| ToolRefusal::from(error.to_string()))?;
        let root = own.as_deref().unwrap_or(&self.work);
        // Models like to say where they are.
        let inner = path.strip_prefix(root).unwrap_or(path);
        let file = beneath::open_beneath(root, inner);
        let file = file.map_err(|error| refusal(path, &error))?;
        let mut bytes = Vec::new();
        let limit = FILE_BYTES_MAX as u64 + 1;
        let read = file.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| refusal(path, &error))?;
        match bytes.len() {
            0 => Err(format!("{} is empty", path.display()).into()),
            1..=FILE_BYTES_MAX => Ok(bytes),
            _ => Err(format!("{} is larger than 10 MiB", path.display()).into()),
        }
    }
}

impl Tool for SendFileTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        match self.send(run) {
            Ok(file) => RunResult::HandedOut {
                output: ToolOutput {
                    success: true,
                    content: format!(
                        "{} ({}, {}) goes to the user with your next words.",
                        file.label(),
                        file.mime,
                        plain::size(file.bytes)
                    ),
                },
                files: vec![file],
            },
            Err(refusal) => RunResult::Done(refusal.into()),
        }
    }
}

/// The type of a file whose name does not tell.
fn guessed(bytes: &[u8]) -> MediaType {
    match std::str::from_utf8(bytes) {
        Ok(_) => MediaType::TEXT,
        Err(_) => MediaType::UNKNOWN,
    }
}

fn refusal(path: &Path, error: &io::Error) -> ToolRefusal {
    let path = path.display();
    let why = match error.kind() {
        ErrorKind::NotFound => format!("there is no file {path} in your work folder"),
        ErrorKind::InvalidInput => {
            format!("{path} is no regular file in your work folder: name one by its path in there")
        }
        ErrorKind::NotADirectory => {
            format!("{path} leads through a file or a link, and links are not followed")
        }
        ErrorKind::PermissionDenied => format!("{path} may not be read"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            format!("{path} is or leads through a link, and links are not followed")
        }
        _ => {
            log::warn!("a file cannot be sent: {path}: {error}");
            format!("{path} cannot be read")
        }
    };
    why.into()
}
