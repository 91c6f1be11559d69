//! What a look at a session's files found, and what mending them has done.

use crate::domain::code::NoticeCode;
use crate::domain::ids::MessageId;
use crate::store::StoreError;
use crate::store::file::snapshot::SnapshotFit;

/// The code of the event that stands where one was lost.
pub const EVENT_LOST: &str = NoticeCode::EventLost.as_str();

/// What a look at all of a session's files found.
#[derive(Debug, Clone, PartialEq)]
pub struct LogReport {
    /// The log, as a user would find it.
    pub log: String,
    /// Whether it is one of an older version, which its first use takes over; what is told of
    /// records is then what they become. It is not mended.
    pub is_older: bool,
    /// Good records.
    pub records: u64,
    /// Records among them without a checksum.
    pub unchecked: u64,
    /// Bytes at the end that an interrupted append left; the next opening cuts them.
    pub torn_bytes: u64,
    /// Where the log is damaged, in order; at most the first hundred places.
    pub damage: Vec<Damage>,
    /// How many places there are in all.
    pub damaged_places: u64,
    /// Numbers below the last record's that no line has.
    pub missing: u64,
    /// The snapshot.
    pub snapshot: SnapshotFit,
    /// A reply that was cut off, which the next opening takes up.
    pub in_flight: Option<Leftover>,
    /// Bytes that earlier repairs cut off the log's end and kept.
    pub kept_torn_bytes: u64,
    /// Files that events name, and that are missing or are not what they were. Nothing brings them back.
    pub lost_files: u64,
}

/// A place of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The line, from 1; the one after the last where the end is what is wrong.
    pub line: u64,
    /// What is wrong there.
    pub why: String,
}

/// A reply that was in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Which one.
    pub message_id: MessageId,
    /// Bytes of its text.
    pub bytes: u64,
}

/// What mending has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The file that holds the log as it was.
    pub copy: String,
    /// Events that were lost, and are replaced.
    pub lost: u64,
    /// Bytes cut from the end.
    pub torn_bytes: u64,
}

/// Why a log was not mended.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Nothing of it is left that a session could go on from.
    #[error("{0} cannot be mended: its beginning is lost, and nothing says whose session it is")]
    NothingLeft(String),
    /// The mended log is not a good one; the copy of the old one is.
    #[error("the mended log is still damaged; {copy} holds it as it was")]
    StillDamaged {
        /// The copy.
        copy: String,
        /// What is wrong with it.
        source: StoreError,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LogReport {
    /// That on a log of an older version with a line that cannot be read.
    pub(super) fn of_older(log: String, damage: Damage) -> LogReport {
        LogReport {
            log,
            is_older: true,
            records: 0,
            unchecked: 0,
            torn_bytes: 0,
            damage: vec![damage],
            damaged_places: 1,
            missing: 0,
            snapshot: SnapshotFit::Missing,
            in_flight: None,
            kept_torn_bytes: 0,
            lost_files: 0,
        }
    }

    /// Whether the log can be read from beginning to end.
    pub fn is_whole(&self) -> bool {
        self.damaged_places == 0
    }
}
