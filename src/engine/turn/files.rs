//! The files of a session, as a call of its model reads them.

use std::sync::Arc;

use crate::domain::event::Attachment;
use crate::domain::files::as_text;
use crate::domain::spec::Truncation;
use crate::domain::window::truncated;
use crate::engine::open::session::Session;
use crate::llm::AttachedFiles;
use crate::store::blobs::BlobId;

/// The files of a session.
pub(in crate::engine) struct FilesForModel {
    pub(in crate::engine) session: Arc<Session>,
    /// How much of a text goes to the model.
    pub(in crate::engine) text_bytes_max: usize,
}

impl AttachedFiles for FilesForModel {
    fn read(&self, file: &Attachment) -> Option<Vec<u8>> {
        let id = BlobId::parse(&file.sha256)?;
        let files = self.session.parts.store.files(&self.session.id);
        let read = files.read(&id);
        if !matches!(read, Ok(Some(_))) {
            let session = &self.session.id;
            log::warn!("session {session}: the model is not shown {id}: {read:?}");
        }
        read.ok().flatten()
    }

    fn text(&self, file: &Attachment) -> Option<String> {
        let text = as_text(self.read(file)?)?;
        let text = self.session.parts.redactor.redact(&text).into_owned();
        Some(truncated(&text, self.text_bytes_max, Truncation::Head).into_owned())
    }
}
