//! Reading parts of a log without reading the rest.
//!
//! No index is kept: lines hold rising numbers, so that a place is found by halving the file. Bad
//! lines on that way are stepped over, and reported only by the walk over the part asked for.

use std::collections::VecDeque;

use crate::domain::event::{Event, Record, RecordHead};
use crate::domain::ids::{MessageId, Seq};
use crate::domain::time::Timestamp;
use crate::domain::transcript::Said;
use crate::store::file::error::IoContext as _;
use crate::store::file::line;
use crate::store::file::lines::{self, Lines, RawLine};
use crate::store::file::walk::{LocatedRecord, LogSource};
use crate::store::{EachLine, ReadLimit, SaidPage, StoreError};

/// Below this, reading on is quicker than halving once more.
const NEAR_BYTES: u64 = 16 << 10;

/// A place in a log: a record's beginning, or the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogPosition {
    /// In bytes.
    pub(super) offset: u64,
    /// The record that stands there, or would come there.
    pub(super) seq: Seq,
}

impl LogPosition {
    /// The beginning of every log.
    pub(super) const START: LogPosition = LogPosition {
        offset: 0,
        seq: Seq(1),
    };
}

impl LogSource<'_> {
    /// The place of a record; the end of the log if there is none of that number.
    pub(super) fn locate(self, seq: Seq) -> Result<LogPosition, StoreError> {
        if seq <= Seq(1) {
            return Ok(LogPosition::START);
        }
        let near = self.halve(|record| record.seq <= seq)?;
        self.scan(near, seq)
    }

    /// As [`locate`](Self::locate), by reading from `near` on, where an append begins.
    fn scan(self, near: u64, seq: Seq) -> Result<LogPosition, StoreError> {
        let mut lines = Lines::new(self.file, near, self.end);
        // Either the log begins here, or the first line is a good one and says its number.
        let mut after_good = LogPosition {
            offset: near,
            seq: Seq(1),
        };
        // The first bad line of the append at hand. No line after it counts by itself: if the
        // append is a torn one, its end is here.
        let mut bad = None;
        while let Some(raw) = lines.next().doing("read", self.path)? {
            let Some(head) = LineHead::of(&raw) else {
                bad.get_or_insert(after_good);
                continue;
            };
            if !head.cont {
                bad = None;
            }
            if head.seq == seq {
                let offset = raw.offset;
                return Ok(bad.unwrap_or(LogPosition { offset, seq }));
            }
            if head.seq > seq {
                // The record is damaged or missing: whoever reads from its place on is told.
                break;
            }
            after_good = LogPosition {
                offset: raw.end(),
                seq: head.seq.next(),
            };
        }
        Ok(bad.unwrap_or(after_good))
    }

    /// The records from `from` on, as many as `limit` allows.
    pub(super) fn page(self, from: Seq, limit: ReadLimit) -> Result<Vec<Record>, StoreError> {
        let place = self.locate(from)?;
        let mut walk = self.walk(place.offset, Some(place.seq));
        let mut room = PageRoom::new(limit);
        let mut records = Vec::new();
        // What comes after the page is not looked at: damage there is not this page's matter.
        while room.records > 0
            && let Some(found) = walk.next()?
            && room.takes(&found)
        {
            records.push(found.record);
        }
        Ok(records)
    }

    /// The records just before `before`, ascending, as many as `limit` allows.
    pub(super) fn page_before(
        self,
        before: Seq,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = VecDeque::new();
        let read = |head: RecordHead<'_>, json: &[u8]| head.record(json);
        self.each_before(before, limit, read, |_, record| {
            records.push_back(record);
            if records.len() > limit.records {
                records.pop_front();
            }
        })?;
        Ok(records.into())
    }

    /// What the records just before `before` say.
    pub(super) fn said_before(self, before: Seq, limit: ReadLimit) -> Result<SaidPage, StoreError> {
        let mut page = SaidPage::default();
        let read = |head: RecordHead<'_>, json: &[u8]| Said::parse(&head, json);
        self.each_before(before, limit, read, |seq, said| {
            page.first.get_or_insert(seq);
            page.said.extend(said);
        })?;
        Ok(page)
    }

    /// Hands the lines over as they are, until `each` says that it is enough.
    pub(super) fn each_line(self, each: &mut EachLine<'_>) -> Result<(), StoreError> {
        let mut lines = Lines::new(self.file, 0, self.end);
        while let Some(raw) = lines.next().doing("read", self.path)? {
            if let Ok(head) = RecordHead::parse(raw.bytes)
                && raw.is_whole
                && each(&head, raw.bytes).is_break()
            {
                break;
            }
        }
        Ok(())
    }

    /// Hands the records just before `before` over, in ascending order: of as many as `limit` allows,
    /// perhaps a few more.
    fn each_before<T>(
        self,
        before: Seq,
        limit: ReadLimit,
        read: impl Fn(RecordHead<'_>, &[u8]) -> Result<T, serde_json::Error>,
        mut each: impl FnMut(Seq, T),
    ) -> Result<(), StoreError> {
        let end = self.locate_end(before)?;
        if end.offset == 0 || limit.records == 0 {
            return Ok(());
        }
        let start = self.page_start(end, limit)?;
        let mut walk = self.walk(start, None);
        while let Some(found) = walk.next_as(&read)? {
            if found.offset >= end.offset {
                break;
            }
            each(found.seq, found.record);
        }
        Ok(())
    }

    /// As [`locate`](Self::locate), in one read for what comes after the last record: most pages end
    /// there.
    fn locate_end(self, before: Seq) -> Result<LogPosition, StoreError> {
        let last = lines::line_start_before(self.file, self.end).doing("read", self.path)?;
        let mut lines = Lines::new(self.file, last, self.end);
        let last = lines.next().doing("read", self.path)?;
        match last.as_ref().and_then(LineHead::of) {
            Some(head) if head.seq.next() == before => Ok(LogPosition {
                offset: self.end,
                seq: before,
            }),
            Some(_) | None => self.locate(before),
        }
    }

    /// The record of a user message or a reply. `minted` is when its id was made, which is before
    /// it was written, unless the clock was set back in between.
    pub(super) fn find_message(
        self,
        id: &MessageId,
        minted: Timestamp,
    ) -> Result<Option<Record>, StoreError> {
        /// Threads mint and write without a common order.
        const MARGIN_MICROS: u64 = 60_000_000;
        let since = Timestamp::from_micros(minted.as_micros().saturating_sub(MARGIN_MICROS));
        let near = self.halve(|record| record.timestamp < since)?;
        if let Some(record) = self.find_between(id, near, self.end)? {
            return Ok(Some(record));
        }
        self.find_between(id, 0, near)
    }

    /// Halves the file towards the last record that is `early`: returns the beginning of an append
    /// at or before it, and near it. Records that are early must stand before those that are not.
    fn halve(self, early: impl Fn(&LineHead) -> bool) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, self.end);
        while high - low > NEAR_BYTES {
            let middle = low + (high - low) / 2;
            match self.head_from(middle, high)? {
                Some((offset, head)) if early(&head) => low = offset,
                // No record begins between the middle and `high`, or it is one too late.
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    /// The first good record that begins an append at or after `offset` and before `end`.
    fn head_from(self, offset: u64, end: u64) -> Result<Option<(u64, LineHead)>, StoreError> {
        let start = lines::line_start_from(self.file, offset, end).doing("read", self.path)?;
        let Some(start) = start else { return Ok(None) };
        // A line may well end after `end`: only its beginning counts.
        let mut lines = Lines::new(self.file, start, self.end);
        while let Some(raw) = lines.next().doing("read", self.path)? {
            if raw.offset >= end {
                break;
            }
            if let Some(head) = LineHead::of(&raw).filter(|head| !head.cont) {
                return Ok(Some((raw.offset, head)));
            }
        }
        Ok(None)
    }

    /// Where a page that ends at `end` begins, by both limits.
    fn page_start(self, end: LogPosition, limit: ReadLimit) -> Result<u64, StoreError> {
        let records = u64::try_from(limit.records).unwrap_or(u64::MAX);
        let bytes = u64::try_from(limit.bytes).unwrap_or(u64::MAX);
        let by_records = self.locate(Seq(end.seq.0.saturating_sub(records)))?.offset;
        let furthest = end.offset.saturating_sub(bytes);
        if by_records >= furthest {
            return Ok(by_records);
        }
        let by_bytes = lines::line_start_from(self.file, furthest, end.offset);
        match by_bytes.doing("read", self.path)? {
            Some(start) => Ok(start),
            // Even the last record alone is larger than the limit.
            None => lines::line_start_before(self.file, end.offset).doing("read", self.path),
        }
    }

    fn find_between(
        self,
        id: &MessageId,
        from: u64,
        to: u64,
    ) -> Result<Option<Record>, StoreError> {
        let mut walk = self.walk(from, None);
        while let Some(found) = walk.next()? {
            if found.offset >= to {
                break;
            }
            if message_id(&found.record.event) == Some(id) {
                return Ok(Some(found.record));
            }
        }
        Ok(None)
    }
}

/// What a search looks at.
#[derive(Debug)]
struct LineHead {
    seq: Seq,
    timestamp: Timestamp,
    cont: bool,
}

impl LineHead {
    /// `None` if the line is bad, or not whole.
    fn of(raw: &RawLine<'_>) -> Option<LineHead> {
        line::verify(raw.bytes, 0).ok().filter(|_| raw.is_whole)?;
        let head = RecordHead::parse(raw.bytes).ok()?;
        Some(LineHead {
            seq: head.seq,
            timestamp: head.timestamp,
            cont: head.cont,
        })
    }
}

/// What a page can still take: at least one record.
#[derive(Debug)]
struct PageRoom {
    records: usize,
    bytes: u64,
    is_empty: bool,
}

impl PageRoom {
    fn new(limit: ReadLimit) -> PageRoom {
        PageRoom {
            records: limit.records,
            bytes: u64::try_from(limit.bytes).unwrap_or(u64::MAX),
            is_empty: true,
        }
    }

    /// Takes the first record whatever its size, since a page that stays empty leads nowhere.
    fn takes(&mut self, found: &LocatedRecord) -> bool {
        let bytes = found.end - found.offset;
        if bytes > self.bytes && !self.is_empty {
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.is_empty = false;
        true
    }
}

fn message_id(event: &Event) -> Option<&MessageId> {
    match event {
        Event::UserMessage(message) => Some(&message.message_id),
        Event::AssistantResponse(reply) => Some(&reply.message_id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::base::fs::{File, Fs as _, Open};
    use crate::store::file::testing::{disk_of, folder, line, lines};

    const ALL: ReadLimit = ReadLimit {
        records: usize::MAX,
        bytes: usize::MAX,
    };

    fn opened(log: &[u8]) -> Box<dyn File> {
        disk_of(log).open(&folder().log(), Open::Read).unwrap()
    }

    fn source(file: &dyn File) -> LogSource<'_> {
        LogSource::new(file, Path::new("events.jsonl")).unwrap()
    }

    /// Appends of very different lengths, several times what is read at once.
    fn long_log() -> (Vec<Vec<u8>>, Vec<u64>) {
        let appends: Vec<u64> = (0..60).map(|n| [1, 2, 40, 3][n % 4]).collect();
        (lines(&appends), appends)
    }

    /// Where the lines begin.
    fn offsets(lines: &[Vec<u8>]) -> Vec<u64> {
        let mut next = 0;
        let starts = lines.iter().map(|line| {
            let start = next;
            next += line.len() as u64;
            start
        });
        starts.collect()
    }

    #[test]
    fn every_event_is_found_in_its_place_and_what_comes_after_the_last_at_the_end() {
        let (lines, _) = long_log();
        let log = opened(&lines.concat());
        assert!(log.len().unwrap() > 4 * NEAR_BYTES);
        for (seq, offset) in (1..).zip(offsets(&lines)) {
            let seq = Seq(seq);
            assert_eq!(
                source(&*log).locate(seq).unwrap(),
                LogPosition { offset, seq }
            );
        }
        let end = LogPosition {
            offset: log.len().unwrap(),
            seq: Seq(lines.len() as u64 + 1),
        };
        for beyond in [end.seq, Seq(u64::MAX)] {
            assert_eq!(source(&*log).locate(beyond).unwrap(), end);
        }
    }

    #[test]
    fn a_search_ends_where_an_append_begins() {
        let (lines, appends) = long_log();
        let log = opened(&lines.concat());
        let starts = offsets(&lines);
        let mut first = 0;
        let begins: Vec<u64> = appends
            .iter()
            .map(|events| {
                let at = starts[first];
                first += *events as usize;
                at
            })
            .collect();
        for (seq, offset) in (1..).zip(&starts) {
            let near = source(&*log).halve(|head| head.seq <= Seq(seq)).unwrap();
            assert!(
                begins.contains(&near),
                "event {seq}: {near} is within an append"
            );
            assert!(near <= *offset && offset - near <= 2 * NEAR_BYTES);
        }
    }

    #[test]
    fn pages_go_on_from_one_another_in_both_directions() {
        let (lines, _) = long_log();
        let log = opened(&lines.concat());
        let all: Vec<u64> = (1..=lines.len() as u64).collect();
        let seqs = |page: Vec<Record>| page.into_iter().map(|one| one.seq.0).collect::<Vec<_>>();
        for limit in [
            ALL,
            ReadLimit { records: 7, ..ALL },
            ReadLimit {
                bytes: 1_000,
                ..ALL
            },
            // Less than any record has: one is returned all the same.
            ReadLimit { bytes: 1, ..ALL },
        ] {
            let mut forwards: Vec<u64> = Vec::new();
            while forwards.len() < all.len() {
                let from = Seq(forwards.len() as u64 + 1);
                let page = seqs(source(&*log).page(from, limit).unwrap());
                assert!(!page.is_empty() && page.len() <= limit.records);
                forwards.extend(page);
            }
            assert_eq!(forwards, all, "{limit:?}");
            let mut backwards: Vec<u64> = Vec::new();
            let mut before = Seq(lines.len() as u64 + 1);
            while before > Seq(1) {
                let page = source(&*log).page_before(before, limit);
                let page = seqs(page.unwrap());
                assert!(!page.is_empty() && page.len() <= limit.records);
                before = Seq(page[0]);
                backwards.splice(..0, page);
            }
            assert_eq!(backwards, all, "{limit:?}");
        }
    }

    #[test]
    fn a_page_tells_of_damage_within_it_and_of_none_elsewhere() {
        let mut log = lines(&[1; 20]);
        log[9][40] ^= 1;
        let log = opened(&log.concat());
        let page = |from, records| {
            let limit = ReadLimit { records, ..ALL };
            source(&*log).page(Seq(from), limit)
        };
        assert_eq!(page(1, 9).unwrap().len(), 9);
        assert!(matches!(
            page(1, 10),
            Err(StoreError::Damaged { line: 10, .. })
        ));
        assert!(matches!(
            page(10, 1),
            Err(StoreError::Damaged { line: 10, .. })
        ));
        assert_eq!(page(11, 10).unwrap().len(), 10);
    }

    #[test]
    fn what_a_torn_append_left_is_no_place_to_read_from() {
        // Of the second append the first line is bad, and the others are as they were written.
        let mut log = lines(&[2, 3]);
        log[2][40] ^= 1;
        let end = LogPosition {
            offset: log[..2].concat().len() as u64,
            seq: Seq(3),
        };
        let log = opened(&log.concat());
        for seq in 3..7 {
            assert_eq!(source(&*log).locate(Seq(seq)).unwrap(), end, "{seq}");
        }
        let page = source(&*log).page(Seq(1), ALL).unwrap();
        assert_eq!(page.len(), 2);
    }

    #[test]
    fn a_message_is_found_by_its_time_and_also_where_the_clock_was_set_back() {
        let minted = |seq: u64| Timestamp::from_micros(seq * 1_000_000);
        let message = |seq: u64| crate::domain::story::user(seq, &"words ".repeat(20));
        let line_at = |seq: u64, second: u64| {
            let record = Record {
                seq: Seq(seq),
                timestamp: minted(second),
                cont: false,
                event: message(seq),
            };
            let mut bytes = Vec::new();
            line::encode(&record, 0, &mut bytes).unwrap();
            bytes
        };
        let mut log = line(1, false, "");
        (2..400).for_each(|seq| log.extend(line_at(seq, 1_000 + seq)));
        let log = opened(&log);
        for seq in [2, 77, 399] {
            let id = crate::domain::story::message_id(seq);
            // From the time when it was written, and from one long after.
            for second in [1_000 + seq, 5_000] {
                let found = source(&*log).find_message(&id, minted(second));
                assert_eq!(found.unwrap().unwrap().seq, Seq(seq), "{second}");
            }
        }
        let unknown = crate::domain::story::message_id(1_000);
        let found = source(&*log).find_message(&unknown, minted(1_100));
        assert_eq!(found.unwrap(), None);
    }
}
