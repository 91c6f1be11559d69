//! Takes the files of a message into its session, and has what was spoken written down.

use std::convert::Infallible;

use crossbeam_channel::Receiver;

use crate::domain::event::Attachment;
use crate::domain::files::{FILE_BYTES_MAX, MediaType, plain_name};
use crate::engine::EngineError;
use crate::gateway::incoming::{InboundFile, IntakeError};
use crate::gateway::intake::desk::{Desk, EngineOrIntake, Guest, of_engine};
use crate::gateway::intake::wording;
use crate::gateway::transcriber::Transcriber;

/// Takes the files of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileTaking<'a> {
    pub(super) desk: &'a Desk,
    pub(super) transcriber: Option<&'a Transcriber>,
    /// Closes when what is spoken need not be written down any more.
    pub(super) cancel: &'a Receiver<Infallible>,
}

/// What became of the files of a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct BroughtFiles {
    /// Those that are in the session now.
    pub(super) attachments: Vec<Attachment>,
    /// What was spoken.
    pub(super) spoken: Vec<String>,
    /// A sentence on each that is not there.
    pub(super) notes: Vec<String>,
}

impl BroughtFiles {
    /// None is taken; a sentence on each.
    pub(super) fn left_out(files: &[InboundFile]) -> BroughtFiles {
        let note =
            |file: &InboundFile| wording::missing_file(file.name.as_deref(), "it was not taken");
        BroughtFiles {
            notes: files.iter().map(note).collect(),
            ..BroughtFiles::default()
        }
    }

    /// There is something in them to answer.
    pub(super) fn is_any(&self) -> bool {
        !self.attachments.is_empty() || !self.spoken.is_empty()
    }
}

impl FileTaking<'_> {
    /// Takes all of them, one after the other: each is in memory as a whole until it is on disk.
    pub(super) fn take(
        self,
        guest: &Guest,
        files: Vec<InboundFile>,
    ) -> Result<BroughtFiles, IntakeError> {
        let mut brought = BroughtFiles::default();
        if !files.is_empty() {
            self.ask_first(guest)?;
        }
        for mut file in files {
            let media_type = MediaType::parse(&file.mime).unwrap_or(MediaType::UNKNOWN);
            if file.is_voice && self.transcriber.is_none() {
                continue;
            }
            let taken = match (file.source.fetch(FILE_BYTES_MAX), self.transcriber) {
                (Err(why), _) => Err(why.to_string()),
                (Ok(voice), Some(transcriber)) if file.is_voice => {
                    let text = transcriber.transcribe(&voice, media_type, self.cancel);
                    text.map(|text| brought.spoken.push(text))
                        .map_err(|error| error.to_string())
                }
                (Ok(bytes), _) => self.keep(guest, &file, media_type, &bytes)?.map(|kept| {
                    brought.attachments.push(kept);
                }),
            };
            if let Err(why) = taken {
                let note = wording::missing_file(file.name.as_deref(), &why);
                brought.notes.push(note);
            }
        }
        Ok(brought)
    }

    /// Before anything is fetched that would have to be fetched again.
    fn ask_first(self, guest: &Guest) -> Result<(), IntakeError> {
        let session = self.desk.found_session(guest)?;
        let session = session.as_ref().map(|session| &session.id);
        match self.desk.sessions.may_add_file(session) {
            // The message finds another one.
            Ok(()) | Err(EngineError::SessionEnded(_) | EngineError::SessionNotFound(_)) => Ok(()),
            Err(error) => Err(of_engine(error)),
        }
    }

    /// Keeps a file; a sentence where the session takes no more of them.
    fn keep(
        self,
        guest: &Guest,
        file: &InboundFile,
        media_type: MediaType,
        bytes: &[u8],
    ) -> Result<Result<Attachment, String>, IntakeError> {
        let session = match self.desk.session(guest) {
            Ok(session) => session.id,
            Err(EngineOrIntake::Engine(error)) => return Err(of_engine(error)),
            Err(EngineOrIntake::Intake(error)) => return Err(error),
        };
        match self.desk.sessions.add_file(&session, media_type, bytes) {
            Ok(kept) => Ok(Ok(Attachment {
                name: file.name.as_deref().and_then(plain_name),
                ..kept
            })),
            Err(error @ (EngineError::TooManyFiles | EngineError::FileTooLong(_))) => {
                Ok(Err(error.to_string()))
            }
            Err(EngineError::SessionEnded(_) | EngineError::SessionNotFound(_)) => {
                Err(IntakeError::Later("the session has just ended".to_owned()))
            }
            Err(error) => Err(of_engine(error)),
        }
    }
}
