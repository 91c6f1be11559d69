//! What the clock last showed: the document `clock`, in the words of whoever looks at the clock.

use crate::store::documents::{DocumentError, DocumentName, Documents};
use crate::store::error::StoreError;

const NAME: &str = "clock";

/// What was last kept with [`keep_clock_note`]; `None` also for what is no text.
///
/// Errors: the storage refused.
pub fn clock_note(documents: &dyn Documents) -> Result<Option<String>, StoreError> {
    match documents.read(&DocumentName::parse(NAME)?) {
        Ok(found) => Ok(found.map(|found| found.text)),
        Err(DocumentError::Unreadable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Keeps a text about the clock. Nothing depends on it but how long idle sessions are kept.
///
/// Errors: the storage refused.
pub fn keep_clock_note(documents: &dyn Documents, text: &str) -> Result<(), StoreError> {
    Ok(documents.replace(&DocumentName::parse(NAME)?, text)?)
}
