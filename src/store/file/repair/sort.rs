//! Which lines of a log are good, wherever they stand. Pure.
//!
//! Reading stops at the first bad line, since what follows may mean something else without it.
//! Mending goes on: every line says its own number.

use std::ops::Range;

use crate::domain::event::Record;
use crate::domain::ids::Seq;
use crate::store::file::line::{self, Decoded};

/// A line that claims that more events are missing before it is no line of this log.
const MISSING_MAX: u64 = 100_000;

/// Looks at the lines of a log from its first on, one by one.
#[derive(Debug)]
pub(super) struct Sorter {
    expected: Seq,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sorted {
    /// A record, and the numbers that are missing before it.
    Good {
        record: Record,
        is_checked: bool,
        missing: Range<u64>,
    },
    /// No record.
    Unreadable { why: String },
    /// A record whose number cannot stand here.
    Misplaced { begins_append: bool, why: String },
}

impl Sorter {
    /// At the beginning of a log.
    pub(super) fn new() -> Sorter {
        Sorter { expected: Seq(1) }
    }

    /// The number that the next line should have.
    pub(super) fn expected(&self) -> Seq {
        self.expected
    }

    /// Looks at the next line, given without its newline.
    pub(super) fn sort(&mut self, bytes: &[u8], is_whole: bool) -> Sorted {
        match line::decode(bytes) {
            Err(bad) => Sorted::Unreadable {
                why: bad.to_string(),
            },
            // Without a checksum nothing tells that it is all there.
            Ok(found) if !is_whole && !found.is_checked => Sorted::Unreadable {
                why: "its newline is missing".to_owned(),
            },
            Ok(found) => self.place(found),
        }
    }

    fn place(&mut self, found: Decoded) -> Sorted {
        let Decoded {
            record, is_checked, ..
        } = found;
        let (expected, seq) = (self.expected.0, record.seq.0);
        // What was written by hand is no proof that others were there.
        let missing_max = if is_checked { MISSING_MAX } else { 0 };
        let fits = seq
            .checked_sub(expected)
            .is_some_and(|missing| missing <= missing_max);
        if !fits {
            return Sorted::Misplaced {
                begins_append: !record.cont,
                why: format!("its seq is {seq}, not {expected}"),
            };
        }
        self.expected = record.seq.next();
        Sorted::Good {
            record,
            is_checked,
            missing: expected..seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;
    use crate::domain::time::Timestamp;

    fn line_of(seq: u64, cont: bool) -> Vec<u8> {
        let record = Record {
            seq: Seq(seq),
            timestamp: Timestamp::from_micros(seq),
            cont,
            event: Event::Error {
                code: "x".to_owned(),
                message: String::new(),
            },
        };
        let mut bytes = Vec::new();
        line::encode(&record, 0, &mut bytes).unwrap();
        bytes.pop();
        bytes
    }

    fn by_hand(seq: u64) -> Vec<u8> {
        format!(r#"{{"seq":{seq},"timestamp":"2026-01-01T00:00:00Z","type":"new"}}"#).into_bytes()
    }

    /// Sorts lines and says in a word each what they are.
    fn words(lines: &[Vec<u8>]) -> Vec<String> {
        let mut sorter = Sorter::new();
        let word = |bytes: &Vec<u8>| match sorter.sort(bytes, true) {
            Sorted::Good {
                missing,
                is_checked,
                ..
            } if is_checked => format!("good+{}", missing.end - missing.start),
            Sorted::Good { .. } => "by hand".to_owned(),
            Sorted::Unreadable { .. } => "unreadable".to_owned(),
            Sorted::Misplaced { why, .. } => why,
        };
        lines.iter().map(word).collect()
    }

    #[test]
    fn good_lines_are_known_after_bad_ones_by_their_numbers() {
        let far = 5 + MISSING_MAX;
        for (lines, expected) in [
            (vec![line_of(1, false), line_of(2, true)], vec!["good+0"; 2]),
            (
                vec![line_of(1, false), b"rubbish".to_vec(), line_of(3, false)],
                vec!["good+0", "unreadable", "good+1"],
            ),
            (vec![line_of(4, false)], vec!["good+3"]),
            (
                vec![line_of(1, false), line_of(1, false), line_of(2, false)],
                vec!["good+0", "its seq is 1, not 2", "good+0"],
            ),
            (
                vec![by_hand(1), by_hand(9), by_hand(2)],
                vec!["by hand", "its seq is 9, not 2", "by hand"],
            ),
            // As many as may be missing, and one more.
            (
                vec![line_of(1, false), line_of(2 + MISSING_MAX, false)],
                vec!["good+0", "good+100000"],
            ),
            (
                vec![line_of(1, false), line_of(3 + MISSING_MAX, false)],
                vec!["good+0", "its seq is 100003, not 2"],
            ),
            (
                vec![line_of(1, false), line_of(far, false), line_of(2, false)],
                vec!["good+0", "its seq is 100005, not 2", "good+0"],
            ),
        ] {
            assert_eq!(words(&lines), expected);
        }
    }

    #[test]
    fn a_line_without_newline_counts_only_with_a_checksum() {
        let sort = |bytes: &[u8]| Sorter::new().sort(bytes, false);
        assert!(matches!(sort(&line_of(1, false)), Sorted::Good { .. }));
        assert!(matches!(sort(&by_hand(1)), Sorted::Unreadable { .. }));
    }
}
