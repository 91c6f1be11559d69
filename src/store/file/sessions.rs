//! What the engine asks of the store, on files.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::base::fs::Open;
use crate::domain::event::{Event, Record};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::store::documents::Documents;
use crate::store::file::error::IoContext as _;
use crate::store::file::format::{Format, judge};
use crate::store::file::inflight::{self, Inflight};
use crate::store::file::log::Log;
use crate::store::file::read::Place;
use crate::store::file::recover;
use crate::store::file::snapshot::{self, summary_of};
use crate::store::file::store::FileStore;
use crate::store::file::v05::Old;
use crate::store::file::walk::Source;
use crate::store::{Limit, OpenSession, SessionStore, StoreError};

impl SessionStore for FileStore {
    fn create(&self, id: &SessionId, at: Timestamp, events: &[Event]) -> Result<(), StoreError> {
        self.settle_folder()?;
        let _in_hand = self.busy.take(id);
        let new = self.layout.new_session(id);
        let written = self.write_new(&new, at, events);
        let created = written
            .doing("create", new.path())
            .and_then(|()| self.publish(&new, id));
        if created.is_err() {
            self.discard(&new, id);
        }
        created
    }

    fn is_older(&self, id: &SessionId) -> Result<bool, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let path = self.layout.session(id).log();
        let source = Source::new(&*file, &path)?;
        let is_known = self.older_known.get(id, source.end).is_some();
        Ok(is_known || judge(source, id)? == Format::PerhapsOlder && Old::is(source)?)
    }

    fn take_over(&self, id: &SessionId, at: Timestamp) -> Result<bool, StoreError> {
        self.take_over_older(id, at)
    }

    fn open(&self, id: &SessionId) -> Result<OpenSession, StoreError> {
        if let Some(why) = self.unsure.why(id) {
            return Err(StoreError::ReadOnly(why));
        }
        let fs = &self.fs;
        let folder = self.layout.session(id);
        let mut file = self.open_log(id, Open::Append)?;
        if self
            .older(Source::new(&*file, &folder.log())?, id)?
            .is_some()
        {
            return Err(StoreError::Older(id.clone()));
        }
        let fitting = snapshot::load(&**fs, &folder, id, &*file);
        let covered = fitting.as_ref().map_or(Place::START, |found| found.covered);
        let recovered = recover::recover(&**fs, &folder, &mut *file, covered);
        if let Err(error @ StoreError::Io { action: "sync", .. }) = &recovered {
            self.unsure.note(id, &error.to_string());
        }
        let end = recovered?;
        fs.sync_dir(folder.path()).doing("sync", folder.path())?;
        let listed = self.list_sync.settle(&**fs);
        listed.doing("sync", &self.layout.sessions)?;
        let partial = inflight::read(&**fs, &folder)?;
        let log = Log::new(
            Arc::clone(fs),
            folder.clone(),
            id.clone(),
            file,
            end,
            self.unsure.clone(),
        );
        Ok(OpenSession {
            log: Box::new(log),
            journal: Box::new(Inflight::new(Arc::clone(fs), folder)),
            snapshot: fitting.map(|found| found.snapshot),
            last_seq: Seq(end.seq.0 - 1),
            partial,
        })
    }

    fn records(&self, id: &SessionId, from: Seq, limit: Limit) -> Result<Vec<Record>, StoreError> {
        self.with_log(id, |source| source.page(from, limit))
    }

    fn records_before(
        &self,
        id: &SessionId,
        before: Seq,
        limit: Limit,
    ) -> Result<Vec<Record>, StoreError> {
        self.with_log(id, |source| source.page_before(before, limit))
    }

    fn find_message(
        &self,
        id: &SessionId,
        message_id: &MessageId,
    ) -> Result<Option<Record>, StoreError> {
        let minted = Timestamp::from_micros(message_id.timestamp_ms().saturating_mul(1000));
        self.with_log(id, |source| source.find_message(message_id, minted))
    }

    fn summary(&self, id: &SessionId) -> Result<Summary, StoreError> {
        let file = self.open_log(id, Open::Read)?;
        let folder = self.layout.session(id);
        let path = folder.log();
        let source = Source::new(&*file, &path)?;
        if let Some(known) = self.older_known.get(id, source.end) {
            return Ok(known);
        }
        let Some((old, _turn)) = self.older(source, id)? else {
            let fitting = snapshot::load(&*self.fs, &folder, id, source.file);
            return summary_of(source, fitting);
        };
        let summary = old.summary(id, self.older_settings(id)?, &path)?;
        self.older_known.put(id, source.end, &summary);
        Ok(summary)
    }

    fn forget_snapshot(&self, id: &SessionId) -> Result<(), StoreError> {
        let path = self.layout.session(id).snapshot();
        match self.fs.remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.doing("remove", &path),
        }
    }

    fn list(&self, before: Option<&SessionId>, limit: usize) -> Result<Vec<SessionId>, StoreError> {
        let mut names = self.names()?;
        // Names sort by time, so that only those of the page are parsed.
        names.sort();
        names.reverse();
        let is_older = |name: &&String| before.is_none_or(|id| name.as_str() < id.as_str());
        let older = names.iter().filter(is_older);
        let ids = older.filter_map(|name| SessionId::parse(name).ok());
        Ok(ids.take(limit).collect())
    }

    fn contains(&self, id: &SessionId) -> Result<bool, StoreError> {
        let folder = self.layout.session(id);
        self.fs.exists(folder.path()).doing("find", folder.path())
    }

    fn delete(&self, id: &SessionId) -> Result<(), StoreError> {
        self.older_known.forget(id);
        let _in_hand = self.busy.take(id);
        let (folder, deleted) = (self.layout.session(id), self.layout.deleted_session(id));
        match self.fs.rename(folder.path(), deleted.path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::NotFound(id.clone()));
            }
            other => other.doing("delete", folder.path())?,
        }
        let synced = self.list_sync.sync_change(&*self.fs);
        synced.doing("sync", &self.layout.sessions)?;
        self.remove_folder(deleted.path())
    }

    fn documents(&self) -> Arc<dyn Documents> {
        Arc::clone(&self.documents) as Arc<_>
    }

    fn read_only(&self) -> usize {
        self.unsure.count()
    }

    fn free_bytes(&self) -> Result<u64, StoreError> {
        let sessions = &self.layout.sessions;
        self.settle_folder()?;
        self.fs.free_bytes(sessions).doing("measure", sessions)
    }

    fn try_write(&self, bytes: usize) -> Result<(), StoreError> {
        self.settle_folder()?;
        let trial = self.layout.trial();
        let written = self.fs.open(&trial, Open::Empty).and_then(|mut file| {
            // Not zeros, of which some file systems store nothing.
            file.write_all(&vec![b'x'; bytes])?;
            file.sync_data()
        });
        let removed = self.fs.remove_file(&trial);
        written.and(removed).doing("write", &trial)
    }
}
