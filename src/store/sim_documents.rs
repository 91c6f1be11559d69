//! Documents and blobs in memory, which fail when they are told to.
//!
//! For tests: the promises of [`Documents`] and [`Blobs`] hold here without a file, and each
//! operation can be made to go wrong in each way that a storage at the other end of a network has.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use crate::base::lock::lock;
use crate::base::order;
use crate::base::text::TextError;
use crate::store::blobs::{self, BlobError, BlobId, Blobs};
use crate::store::documents::{
    DOCUMENT_BYTES_MAX, DocumentError, DocumentFolder, DocumentName, DocumentVersion, Documents,
    Exposure, VersionedText,
};

/// How an operation goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SimFault {
    /// Nothing is done.
    Refused,
    /// All is done, and the answer is lost: the caller learns of an error.
    AnswerLost,
    /// Another process writes just now; a reading goes well.
    Busy,
}

/// Documents and blobs, shared by all clones.
#[derive(Debug, Clone, Default)]
pub struct SimDocuments(Arc<Mutex<Shelves>>);

#[derive(Debug, Default)]
struct Shelves {
    /// With the number of the write that each comes from, which is its version.
    documents: BTreeMap<DocumentName, (u64, String)>,
    blobs: BTreeMap<BlobId, Vec<u8>>,
    writes: u64,
    operations: u64,
    /// By the number of the operation, from 1.
    faults: BTreeMap<u64, SimFault>,
}

impl SimDocuments {
    /// None yet, and no faults.
    pub fn new() -> SimDocuments {
        SimDocuments::default()
    }

    /// Has the operation of that number go wrong, counted from 1 over all clones and threads.
    pub fn fail_at(&self, operation: u64, fault: SimFault) {
        lock(&self.0).faults.insert(operation, fault);
    }

    /// How many texts were written.
    pub fn writes(&self) -> u64 {
        lock(&self.0).writes
    }

    /// How many operations were asked for.
    pub fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// Counts an operation, has it done unless it is to fail before, and answers what it is to.
    fn operate<T, E>(
        &self,
        work: impl FnOnce(&mut Shelves) -> Result<T, E>,
        error: impl FnOnce(SimFault) -> Option<E>,
    ) -> Result<T, E> {
        let mut shelves = lock(&self.0);
        shelves.operations += 1;
        let number = shelves.operations;
        let fault = shelves.faults.remove(&number);
        let Some((fault, error)) = fault.and_then(|fault| Some((fault, error(fault)?))) else {
            return work(&mut shelves);
        };
        if fault == SimFault::AnswerLost {
            drop(work(&mut shelves));
        }
        Err(error)
    }

    fn on_document<T>(
        &self,
        action: &'static str,
        location: String,
        work: impl FnOnce(&mut Shelves) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        self.operate(work, |fault| match fault {
            SimFault::Refused | SimFault::AnswerLost => Some(DocumentError::Io {
                action,
                location,
                source: io::Error::other("injected"),
            }),
            SimFault::Busy => {
                matches!(action, "write" | "remove").then_some(DocumentError::Busy(location))
            }
        })
    }

    fn on_blob<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Shelves) -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        self.operate(work, |fault| match fault {
            SimFault::Refused | SimFault::AnswerLost => Some(BlobError::Io {
                action,
                location: "a blob".to_owned(),
                source: io::Error::other("injected"),
            }),
            SimFault::Busy => None,
        })
    }
}

impl Documents for SimDocuments {
    fn read(&self, name: &DocumentName) -> Result<Option<VersionedText>, DocumentError> {
        self.on_document("read", self.location(name), |shelves| {
            let found = shelves.documents.get(name);
            Ok(found.map(|(number, text)| VersionedText {
                text: text.clone(),
                version: version(*number),
                exposure: Exposure::Closed,
            }))
        })
    }

    fn put_if(
        &self,
        name: &DocumentName,
        expected: Option<&DocumentVersion>,
        text: &str,
    ) -> Result<DocumentVersion, DocumentError> {
        self.on_document("write", self.location(name), |shelves| {
            if text.len() > DOCUMENT_BYTES_MAX {
                return Err(DocumentError::Unreadable {
                    location: self.location(name),
                    source: TextError::TooLong(DOCUMENT_BYTES_MAX),
                });
            }
            let now = shelves.documents.get(name);
            let now = now.map(|(number, _)| version(*number));
            if now.as_ref() != expected {
                return Err(DocumentError::Changed(name.clone()));
            }
            shelves.writes += 1;
            let put = (shelves.writes, text.to_owned());
            shelves.documents.insert(name.clone(), put);
            Ok(version(shelves.writes))
        })
    }

    fn delete(&self, name: &DocumentName) -> Result<(), DocumentError> {
        self.on_document("remove", self.location(name), |shelves| {
            shelves.documents.remove(name);
            Ok(())
        })
    }

    fn list(&self, folder: &DocumentFolder) -> Result<Vec<String>, DocumentError> {
        self.on_document("list", folder.as_str().to_owned(), |shelves| {
            let inner = shelves.documents.keys();
            let inner = inner.filter_map(|name| folder.rest_of(name.as_str()));
            let parts = inner.filter_map(|rest| rest.split('/').next());
            let parts: BTreeSet<String> = order::set(parts.map(str::to_owned));
            Ok(parts.into_iter().collect())
        })
    }

    fn delete_folder(&self, folder: &DocumentFolder) -> Result<(), DocumentError> {
        self.on_document("clear", folder.as_str().to_owned(), |shelves| {
            let documents = &mut shelves.documents;
            documents.retain(|name, _| folder.rest_of(name.as_str()).is_none());
            Ok(())
        })
    }

    fn location(&self, name: &DocumentName) -> String {
        format!("memory:{name}")
    }
}

impl Blobs for SimDocuments {
    fn put(&self, bytes: &[u8]) -> Result<BlobId, BlobError> {
        blobs::check_length(bytes)?;
        self.on_blob("write", |shelves| {
            let id = BlobId::of(bytes);
            shelves.blobs.insert(id.clone(), bytes.to_owned());
            Ok(id)
        })
    }

    fn size(&self, id: &BlobId) -> Result<Option<u64>, BlobError> {
        self.on_blob("read", |shelves| {
            let found = shelves.blobs.get(id);
            Ok(found.map(|bytes| bytes.len() as u64))
        })
    }

    fn read(&self, id: &BlobId) -> Result<Option<Vec<u8>>, BlobError> {
        self.on_blob("read", |shelves| {
            let found = shelves.blobs.get(id).cloned();
            found.map(|bytes| blobs::checked(id, bytes)).transpose()
        })
    }

    fn list(&self, after: Option<&BlobId>, limit: usize) -> Result<Vec<BlobId>, BlobError> {
        self.on_blob("list", |shelves| {
            let ids = shelves.blobs.keys();
            let ids = ids.filter(|id| after.is_none_or(|after| *id > after));
            Ok(ids.take(limit).cloned().collect())
        })
    }

    fn delete(&self, id: &BlobId) -> Result<(), BlobError> {
        self.on_blob("remove", |shelves| {
            shelves.blobs.remove(id);
            Ok(())
        })
    }
}

fn version(number: u64) -> DocumentVersion {
    DocumentVersion::new(number.to_string())
}
