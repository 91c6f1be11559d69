//! The keys of session creation, for a day: `keys/<day>/<hash of the key>`.
//!
//! A folder for each day makes forgetting cheap: whole folders go, and no key is looked at.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::fs::{self, Fs};
use crate::domain::time::Timestamp;
use crate::store::file::error::IoContext as _;
use crate::store::{CreationKey, StoreError};

const KEPT: Duration = Duration::from_secs(24 * 3600);
const DAY_MILLIS: u64 = 24 * 3600 * 1000;
/// A key has at most 255 bytes, an agent's name 64.
const FILE_BYTES_MAX: u64 = 4 << 10;

/// The keys that are stored.
#[derive(Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    /// The day whose folder is known to survive a power cut; 0 for none.
    settled_day: AtomicU64,
}

/// A file. It names its key, since two keys may have one hash: the later one then counts.
#[derive(Debug, Serialize, Deserialize)]
struct KeyFile {
    key: String,
    #[serde(flatten)]
    value: CreationKey,
}

impl Keys {
    /// Keys in that folder, which is made when it is needed.
    pub(super) fn new(folder: PathBuf) -> Keys {
        Keys {
            folder,
            settled_day: AtomicU64::new(0),
        }
    }

    /// What was stored under `key` within the last day.
    pub(super) fn get(
        &self,
        fs: &dyn Fs,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<CreationKey>, StoreError> {
        let today = day_of(now);
        for day in [today, today.saturating_sub(1)] {
            let path = self.path(day, key);
            let found = read(fs, &path).doing("read", &path)?;
            let fits = |file: &KeyFile| file.key == key && now.since(file.value.created_at) < KEPT;
            if let Some(file) = found.filter(fits) {
                return Ok(Some(file.value));
            }
        }
        Ok(None)
    }

    /// Stores `value` under `key`. Of one key there may be one caller at a time.
    pub(super) fn put(
        &self,
        fs: &dyn Fs,
        key: &str,
        value: &CreationKey,
    ) -> Result<(), StoreError> {
        let day = day_of(value.created_at);
        self.settle_day(fs, day)?;
        let path = self.path(day, key);
        let file = KeyFile {
            key: key.to_owned(),
            value: value.clone(),
        };
        let json = serde_json::to_vec(&file).map_err(io::Error::from);
        let json = json.doing("write", &path)?;
        fs::replace_file(fs, &path, &json).doing("write", &path)
    }

    /// Makes the folder of a new day, and forgets those that are over.
    fn settle_day(&self, fs: &dyn Fs, day: u64) -> Result<(), StoreError> {
        if self.settled_day.load(Ordering::Acquire) == day {
            return Ok(());
        }
        let folder = self.folder.join(day.to_string());
        fs::create_dirs(fs, &folder).doing("create", &folder)?;
        self.settled_day.store(day, Ordering::Release);
        if let Err(error) = self.forget_before(fs, day.saturating_sub(1)) {
            log::debug!("cannot remove old keys: {error}");
        }
        Ok(())
    }

    fn forget_before(&self, fs: &dyn Fs, first_kept: u64) -> io::Result<()> {
        for name in fs.list_dir(&self.folder)? {
            if name.parse::<u64>().is_ok_and(|day| day < first_kept) {
                fs.remove_dir_all(&self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn path(&self, day: u64, key: &str) -> PathBuf {
        let hash = fnv1a_128(key.as_bytes());
        self.folder
            .join(day.to_string())
            .join(format!("{hash:032x}"))
    }
}

/// `None` if there is no such file. One that cannot be parsed is not of our making, and counts for
/// nothing: a file is only ever replaced as a whole.
fn read(fs: &dyn Fs, path: &Path) -> io::Result<Option<KeyFile>> {
    match fs::read_file(fs, path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)
            .inspect_err(|error| log::warn!("{}: {error}", path.display()))
            .ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
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
    use crate::base::fs::SimDisk;
    use crate::domain::ids::SessionId;

    #[test]
    fn a_key_is_found_for_a_day_and_its_folder_goes_after_two() {
        let disk = SimDisk::new();
        let keys = Keys::new(PathBuf::from("/keys"));
        let hour = 3_600_000_000;
        let at = |hours: u64| Timestamp::from_micros(1_795_327_200_000_000 + hours * hour);
        let value = |hours, n| CreationKey {
            agent: "a".to_owned(),
            session_id: SessionId::mint(hours, n),
            created_at: at(hours),
        };
        assert_eq!(keys.get(&disk, "k", at(0)).unwrap(), None);
        keys.put(&disk, "k", &value(0, 1)).unwrap();
        assert_eq!(keys.get(&disk, "k", at(23)).unwrap(), Some(value(0, 1)));
        assert_eq!(keys.get(&disk, "other", at(0)).unwrap(), None);
        assert_eq!(keys.get(&disk, "k", at(24)).unwrap(), None);
        keys.put(&disk, "k", &value(24, 2)).unwrap();
        assert_eq!(keys.get(&disk, "k", at(25)).unwrap(), Some(value(24, 2)));
        assert_eq!(disk.list_dir(Path::new("/keys")).unwrap().len(), 2);
        keys.put(&disk, "x", &value(48, 3)).unwrap();
        assert_eq!(disk.list_dir(Path::new("/keys")).unwrap().len(), 2);
        assert_eq!(keys.get(&disk, "k", at(47)).unwrap(), Some(value(24, 2)));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a_128(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(fnv1a_128(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
