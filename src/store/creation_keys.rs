//! The keys of session creation, for a day: `keys/<day>/<hash of the key>`, whatever keeps the
//! documents.
//!
//! A folder for each day makes forgetting cheap: whole folders go, and no key is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::ids::SessionId;
use crate::domain::time::Timestamp;
use crate::store::documents::{DocumentError, DocumentFolder, DocumentName, Documents};
use crate::store::error::StoreError;

const FOLDER: &str = "keys";
const KEPT: Duration = Duration::from_secs(24 * 3600);
const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// The keys that are stored.
#[derive(Debug)]
pub struct CreationKeys {
    documents: Arc<dyn Documents>,
    /// The last day on which those that are over were forgotten; 0 for none.
    settled_day: AtomicU64,
}

/// The outcome of a keyed session creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreationKey {
    /// The agent that was asked for: another one under the same key is a conflict.
    pub agent: String,
    /// The session that was created.
    pub session_id: SessionId,
    /// When.
    pub created_at: Timestamp,
}

/// A document. It names its key, since two keys may have one hash: the later one then counts.
#[derive(Debug, Serialize, Deserialize)]
struct KeyRecord {
    key: String,
    #[serde(flatten)]
    value: CreationKey,
}

impl CreationKeys {
    /// Those in `documents`.
    pub fn new(documents: Arc<dyn Documents>) -> CreationKeys {
        CreationKeys {
            documents,
            settled_day: AtomicU64::new(0),
        }
    }

    /// The session that was begun under `key` within the day before `now`.
    ///
    /// Errors: the storage refused.
    pub fn get(&self, key: &str, now: Timestamp) -> Result<Option<CreationKey>, StoreError> {
        let today = day_of(now);
        for day in [today, today.saturating_sub(1)] {
            let found = self.read(&name_of(day, key)?)?;
            let fits =
                |found: &KeyRecord| found.key == key && now.since(found.value.created_at) < KEPT;
            if let Some(found) = found.filter(fits) {
                return Ok(Some(found.value));
            }
        }
        Ok(None)
    }

    /// Stores `value` under `key`; on return it survives a power cut. Of one key there may be one
    /// caller at a time.
    ///
    /// Errors: the storage refused; what was asked may have been done.
    pub fn put(&self, key: &str, value: &CreationKey) -> Result<(), StoreError> {
        let day = day_of(value.created_at);
        let name = name_of(day, key)?;
        let record = KeyRecord {
            key: key.to_owned(),
            value: value.clone(),
        };
        let json = serde_json::to_string(&record).map_err(|error| DocumentError::Io {
            action: "write",
            location: self.documents.location(&name),
            source: error.into(),
        })?;
        self.documents.replace(&name, &json)?;
        self.settle_day(day);
        Ok(())
    }

    /// A text that cannot be parsed is not of our making, and counts for nothing: one is only ever
    /// replaced as a whole.
    fn read(&self, name: &DocumentName) -> Result<Option<KeyRecord>, StoreError> {
        let warn = |why: String| log::warn!("{}: {why}", self.documents.location(name));
        match self.documents.read(name) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => Ok(serde_json::from_str(&found.text)
                .inspect_err(|error| warn(error.to_string()))
                .ok()),
            Err(DocumentError::Unreadable { source, .. }) => {
                warn(source.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets the days that are over, once on each new day.
    fn settle_day(&self, day: u64) {
        if self.settled_day.swap(day, Ordering::AcqRel) == day {
            return;
        }
        if let Err(error) = self.forget_before(day.saturating_sub(1)) {
            log::debug!("cannot remove old keys: {error}");
        }
    }

    fn forget_before(&self, first_kept: u64) -> Result<(), DocumentError> {
        let folder = DocumentFolder::parse(FOLDER)?;
        for name in self.documents.list(&folder)? {
            if name.parse::<u64>().is_ok_and(|day| day < first_kept) {
                self.documents.delete_folder(&folder.folder(&name)?)?;
            }
        }
        Ok(())
    }
}

fn name_of(day: u64, key: &str) -> Result<DocumentName, DocumentError> {
    let hash = fnv1a_128(key.as_bytes());
    DocumentName::parse(format!("{FOLDER}/{day}/{hash:032x}"))
}

fn day_of(at: Timestamp) -> u64 {
    at.as_millis() / DAY_MILLIS
}

/// A hash that is the same in every version, which that of the standard library is not.
///
/// Source: RFC 9923, FNV-1a with 128 bits.
fn fnv1a_128(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sim_documents::SimDocuments;

    #[test]
    fn a_key_is_found_for_a_day_and_its_folder_goes_after_two() {
        let documents = SimDocuments::new();
        let keys = CreationKeys::new(Arc::new(documents.clone()));
        let days = || {
            documents
                .list(&DocumentFolder::parse(FOLDER).unwrap())
                .unwrap()
                .len()
        };
        let hour = 3_600_000_000;
        let at = |hours: u64| Timestamp::from_micros(1_795_327_200_000_000 + hours * hour);
        let value = |hours, n| CreationKey {
            agent: "a".to_owned(),
            session_id: SessionId::mint(hours, n),
            created_at: at(hours),
        };
        assert_eq!(keys.get("k", at(0)).unwrap(), None);
        keys.put("k", &value(0, 1)).unwrap();
        assert_eq!(keys.get("k", at(23)).unwrap(), Some(value(0, 1)));
        assert_eq!(keys.get("other", at(0)).unwrap(), None);
        assert_eq!(keys.get("k", at(24)).unwrap(), None);
        keys.put("k", &value(24, 2)).unwrap();
        assert_eq!(keys.get("k", at(25)).unwrap(), Some(value(24, 2)));
        assert_eq!(days(), 2);
        keys.put("x", &value(48, 3)).unwrap();
        assert_eq!(days(), 2);
        assert_eq!(keys.get("k", at(47)).unwrap(), Some(value(24, 2)));
    }

    #[test]
    fn what_is_no_key_counts_for_nothing_and_is_replaced() {
        let documents = SimDocuments::new();
        let at = Timestamp::from_micros(1_795_327_200_000_000);
        let name = name_of(day_of(at), "k").unwrap();
        documents.put_if(&name, None, "{\"key\":").unwrap();
        let keys = CreationKeys::new(Arc::new(documents));
        assert_eq!(keys.get("k", at).unwrap(), None);
        let value = CreationKey {
            agent: "a".to_owned(),
            session_id: SessionId::mint(1, 1),
            created_at: at,
        };
        keys.put("k", &value).unwrap();
        assert_eq!(keys.get("k", at).unwrap(), Some(value));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a_128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
