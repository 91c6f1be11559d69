//! From the system's errors to the store's.

use std::io;
use std::path::Path;

use crate::store::StoreError;

/// Adds the deed and its target to an error.
pub(super) trait IoContext<T> {
    /// `action` completes "cannot …".
    ///
    /// A full disk becomes [`StoreError::Full`]: callers see to it that nothing stays stored then.
    fn doing(self, action: &'static str, target: &Path) -> Result<T, StoreError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, action: &'static str, target: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::of_io(action, target.display().to_string(), source))
    }
}
