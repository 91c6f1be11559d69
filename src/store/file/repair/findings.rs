//! What is good in a log and what is not, from its first line to its last.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::domain::event::{Event, Record};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::file::error::IoContext as _;
use crate::store::file::lines::Lines;
use crate::store::file::repair::report::Damage;
use crate::store::file::repair::sort::{Sorted, Sorter};
use crate::store::file::walk::LogSource;

/// Places of damage that are named; the others are only counted.
const DAMAGE_NAMED: usize = 100;

/// What a pass over all lines of a log found.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// Good records.
    pub(super) records: u64,
    /// Records among them without a checksum.
    pub(super) unchecked: u64,
    /// Numbers that no line has.
    pub(super) missing: u64,
    /// Where it is damaged.
    pub(super) damage: DamageList,
    /// Where what an interrupted append left begins.
    torn_from: Option<u64>,
    lacks_newline: bool,
    /// The digests of the files that events name.
    pub(super) files: BTreeSet<String>,
    /// Whether event 1 can be read.
    pub(super) has_start: bool,
    /// Of the first reply: the agent, and when it spoke.
    pub(super) agent: Option<(String, Timestamp)>,
}

/// Places of damage, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct DamageList {
    /// The first of them.
    pub(super) named: Vec<Damage>,
    /// All of them.
    pub(super) count: u64,
}

impl DamageList {
    fn add(&mut self, line: u64, why: String) {
        self.count += 1;
        if self.named.len() < DAMAGE_NAMED {
            self.named.push(Damage { line, why });
        }
    }
}

impl Findings {
    /// Looks at every line.
    pub(super) fn of(source: LogSource<'_>) -> Result<Findings, StoreError> {
        let mut found = Findings::default();
        // As it was before the bad lines that may be the end of an interrupted append.
        let mut before_torn: Option<Findings> = None;
        // The time of a good line after them.
        let mut torn_time = None;
        let mut sorter = Sorter::new();
        let mut lines = Lines::new(source.file, 0, source.end);
        let mut number = 0;
        let mut bad_lines = 0;
        while let Some(raw) = lines.next().doing("read", source.path)? {
            number += 1;
            let sorted = sorter.sort(raw.bytes, raw.is_whole);
            match &sorted {
                // The first append was synced before anybody could find the session.
                Sorted::Unreadable { .. } if before_torn.is_none() && found.records > 0 => {
                    let mut before = found.clone();
                    before.torn_from = Some(raw.offset);
                    before_torn = Some(before);
                    torn_time = None;
                }
                // What begins an append was written after all before it was synced.
                sorted if sorted.begins_append() => before_torn = None,
                // So was what bears another time: all of an append bear the same.
                Sorted::Good { record, .. }
                    if *torn_time.get_or_insert(record.timestamp) != record.timestamp =>
                {
                    before_torn = None;
                }
                Sorted::Good { .. } | Sorted::Unreadable { .. } | Sorted::Misplaced { .. } => {}
            }
            found.lacks_newline = !raw.is_whole;
            found.note(sorted, number, &mut bad_lines);
        }
        let mut found = before_torn.unwrap_or(found);
        if found.records == 0 {
            found.damage.add(1, "it holds no event".to_owned());
        }
        Ok(found)
    }

    fn note(&mut self, sorted: Sorted, line: u64, bad_lines: &mut u64) {
        match sorted {
            Sorted::Good {
                record,
                is_checked,
                missing,
            } => {
                let lost = missing.end - missing.start;
                // Bad lines were named already.
                if lost > *bad_lines {
                    self.damage.add(line, missing_before(missing));
                }
                *bad_lines = 0;
                self.missing += lost;
                self.records += 1;
                self.unchecked += u64::from(!is_checked);
                self.has_start |= record.seq == Seq(1);
                self.learn_agent(&record);
                let files = record.event.attachments().iter();
                self.files.extend(files.map(|file| file.sha256.clone()));
            }
            Sorted::Unreadable { why } | Sorted::Misplaced { why, .. } => {
                *bad_lines += 1;
                self.damage.add(line, why);
            }
        }
    }

    fn learn_agent(&mut self, record: &Record) {
        if let (None, Event::AssistantResponse(reply)) = (&self.agent, &record.event) {
            self.agent = Some((reply.agent.clone(), record.timestamp));
        }
    }

    /// Whether there is nothing to mend.
    pub(super) fn is_good(&self) -> bool {
        self.damage.count == 0 && self.torn_from.is_none() && !self.lacks_newline
    }

    /// Where the part of the log ends that is to be kept or mended.
    pub(super) fn good_end(&self, source: LogSource<'_>) -> u64 {
        self.torn_from.unwrap_or(source.end)
    }

    /// Bytes after that.
    pub(super) fn torn_bytes(&self, source: LogSource<'_>) -> u64 {
        source.end - self.good_end(source)
    }
}

impl Sorted {
    fn begins_append(&self) -> bool {
        match self {
            Sorted::Good { record, .. } => !record.cont,
            Sorted::Misplaced { begins_append, .. } => *begins_append,
            Sorted::Unreadable { .. } => false,
        }
    }
}

fn missing_before(missing: Range<u64>) -> String {
    match missing.end - missing.start {
        1 => format!("event {} is missing before it", missing.start),
        _ => format!(
            "events {} to {} are missing before it",
            missing.start,
            missing.end - 1
        ),
    }
}
