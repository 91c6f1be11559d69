//! One line of a file of ours: a JSON object that begins with its own checksum.
//!
//! ```json
//! {"crc":"xxxxxxxx","seq":7,…}
//! ```
//!
//! The checksum is the CRC-32 (IEEE) of every byte after `"crc":"xxxxxxxx",` up to and including the
//! closing brace, in lower-case hexadecimal digits. It stands first, so that checking a line needs
//! neither parsing nor writing it again.

use std::io::{self, Write};

use serde::Serialize;
use serde::de::IgnoredAny;

use crate::domain::event::{Record, RecordHead};
use crate::domain::ids::Seq;

/// How each line begins that this version has written.
pub(super) const OPENING: &[u8] = b"{\"crc\":\"";
const DIGITS: usize = 8;
/// The checksum is followed by `",`.
const CLOSING: &[u8] = b"\",";
const PREFIX: usize = OPENING.len() + DIGITS + CLOSING.len();

/// A record as it was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded<T = Record> {
    /// Its number.
    pub(super) seq: Seq,
    /// The record, or what its reader makes of it.
    pub(super) record: T,
    /// Whether the line had a checksum; one written by hand has none.
    pub(super) is_checked: bool,
}

/// Why a line is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadLine {
    /// The bytes are not those that were written.
    #[error("the checksum does not fit")]
    Checksum,
    /// The checksum is not in its place.
    #[error("the checksum is not the first key, or not eight digits")]
    Shape,
    /// The JSON is bad, or not that of an event.
    #[error("not an event: {0}")]
    Json(#[from] serde_json::Error),
}

/// Appends `value` to `line` as one line with checksum and newline. The checksum continues `seed`,
/// which is 0 in the log.
///
/// `value` must serialise to an object that is not empty. Errors: it cannot be serialised; `line` is
/// then as before.
pub(super) fn encode(
    value: &impl Serialize,
    seed: u32,
    line: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    encode_by(seed, line, |line| serde_json::to_writer(line, value))
}

/// The same of an object that `write` appends.
pub(super) fn encode_by(
    seed: u32,
    line: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    let start = line.len();
    line.extend_from_slice(OPENING);
    line.extend_from_slice(&[b'0'; DIGITS]);
    line.push(CLOSING[0]);
    let brace = line.len();
    if let Err(error) = write(line) {
        line.truncate(start);
        return Err(error);
    }
    // The object's opening brace becomes the comma after the checksum: no copy is made.
    line[brace] = CLOSING[1];
    let crc = checksum(&line[brace + 1..], seed);
    let digits = start + OPENING.len();
    line[digits..digits + DIGITS].copy_from_slice(&hex(crc));
    line.push(b'\n');
    Ok(())
}

/// Writes a line as [`encode`] makes it, and holds nothing of it: so the value is written twice, the
/// first time for its checksum.
///
/// Errors: those of `out`; it cannot be serialised.
pub(super) fn write(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    let mut sum = crc32fast::Hasher::new();
    serde_json::to_writer(
        AfterBrace::new(|bytes| {
            sum.update(bytes);
            Ok(())
        }),
        value,
    )?;
    for part in [OPENING, &hex(sum.finalize()), CLOSING] {
        out.write_all(part)?;
    }
    serde_json::to_writer(AfterBrace::new(|bytes| out.write_all(bytes)), value)?;
    out.write_all(b"\n")
}

/// Passes on all but the first byte, an object's opening brace.
struct AfterBrace<F> {
    pass_on: F,
    is_past: bool,
}

impl<F: FnMut(&[u8]) -> io::Result<()>> AfterBrace<F> {
    fn new(pass_on: F) -> AfterBrace<F> {
        AfterBrace {
            pass_on,
            is_past: false,
        }
    }
}

impl<F: FnMut(&[u8]) -> io::Result<()>> Write for AfterBrace<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            let brace = usize::from(!std::mem::replace(&mut self.is_past, true));
            (self.pass_on)(&bytes[brace..])?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a line of the log, without its newline.
pub(super) fn decode(line: &[u8]) -> Result<Decoded, BadLine> {
    decode_as(line, |head, json| head.record(json))
}

/// The same with another reader, which is given the line's head and the line.
pub(super) fn decode_as<T>(
    line: &[u8],
    read: impl FnOnce(RecordHead<'_>, &[u8]) -> Result<T, serde_json::Error>,
) -> Result<Decoded<T>, BadLine> {
    let is_checked = verify(line, 0)?.is_some();
    let head = RecordHead::parse(line)?;
    Ok(Decoded {
        seq: head.seq,
        record: read(head, line)?,
        is_checked,
    })
}

/// Compares a line with its checksum, which is returned; `None` if it has none.
pub(super) fn verify(line: &[u8], seed: u32) -> Result<Option<u32>, BadLine> {
    let Some(rest) = line.strip_prefix(OPENING) else {
        return refuse_misplaced_checksum(line).map(|()| None);
    };
    let (digits, _) = rest.split_at_checked(DIGITS).ok_or(BadLine::Shape)?;
    if !rest[DIGITS..].starts_with(CLOSING) {
        return Err(BadLine::Shape);
    }
    let crc = checksum(&line[PREFIX..], seed);
    if digits != hex(crc) {
        return Err(BadLine::Checksum);
    }
    Ok(Some(crc))
}

/// The checksum of `bytes`, as if they followed those whose checksum is `seed`.
pub(super) fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

fn refuse_misplaced_checksum(line: &[u8]) -> Result<(), BadLine> {
    #[derive(serde::Deserialize)]
    struct MisplacedChecksum {
        crc: Option<IgnoredAny>,
    }
    match serde_json::from_slice::<MisplacedChecksum>(line)?.crc {
        Some(_) => Err(BadLine::Shape),
        None => Ok(()),
    }
}

fn hex(crc: u32) -> [u8; DIGITS] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| {
        let shift = 4 * (DIGITS - 1 - place);
        HEX[(crc >> shift & 0xf) as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EndReason, Event};
    use crate::domain::ids::Seq;
    use crate::domain::time::Timestamp;

    fn record() -> Record {
        Record {
            seq: Seq(7),
            timestamp: Timestamp::from_micros(1_795_327_200_123_456),
            cont: true,
            event: Event::session_end(EndReason::Completed),
        }
    }

    /// The checksum was computed with Python's `zlib.crc32`.
    const WRITTEN: &str = r#"{"crc":"102d5c56","seq":7,"timestamp":"2026-11-22T06:00:00.123456Z","cont":true,"type":"session_end","reason":"completed"}"#;

    #[test]
    fn a_record_is_written_as_the_format_says_and_read_back() {
        let mut line = b"before\n".to_vec();
        encode(&record(), 0, &mut line).unwrap();
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text, format!("before\n{}\n", WRITTEN));
        let decoded = decode(WRITTEN.as_bytes()).unwrap();
        assert!(decoded.is_checked);
        assert_eq!(decoded.record, record());
    }

    #[test]
    fn a_line_that_is_not_held_is_the_same_line() {
        let texts = ["", "a", "\"\n\\ü\u{1}", &"long ".repeat(10_000)].map(|text| Record {
            event: Event::Error {
                code: "x".to_owned(),
                message: text.to_owned(),
            },
            ..record()
        });
        for record in texts {
            let (mut held, mut written) = (Vec::new(), Vec::new());
            encode(&record, 0, &mut held).unwrap();
            write(&record, &mut written).unwrap();
            assert!(held == written);
        }
    }

    #[test]
    fn every_changed_byte_is_noticed_or_changes_nothing() {
        let line = WRITTEN.as_bytes().to_vec();
        for at in 0..line.len() {
            for flip in [1, 0x20, 0x80] {
                let mut changed = line.clone();
                changed[at] ^= flip;
                if let Ok(decoded) = decode(&changed) {
                    // A misspelt `crc` is a line without checksum, whose event is untouched.
                    assert!((2..5).contains(&at) && !decoded.is_checked, "byte {at}");
                    assert_eq!(decoded.record, record());
                }
            }
        }
    }

    #[test]
    fn lines_by_hand_need_no_checksum_but_a_good_one_if_any() {
        let event = r#""seq":7,"timestamp":"2026-11-22T06:00:00Z","type":"brand_new","x":1}"#;
        let plain = decode(format!("{{{event}").as_bytes()).unwrap();
        assert_eq!(plain.record.event, Event::Unknown);
        assert!(!plain.is_checked);
        for refused in [
            "",
            "{",
            "{}",
            "7",
            r#"{"crc":"0"#,
            r#"{"crc":"00000000""#,
            &format!(r#"{{"crc":"00000000",{event}"#),
            &format!(r#"{{"crc":0,{event}"#),
            &format!(r#"{{"crc": "00000000",{event}"#),
            r#"{"type":"brand_new","seq":1}"#,
        ] {
            assert!(decode(refused.as_bytes()).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_no_bytes() {
        let unknown = Record {
            event: Event::Unknown,
            ..record()
        };
        let mut line = b"x".to_vec();
        assert!(encode(&unknown, 0, &mut line).is_err());
        assert_eq!(line, b"x");
    }
}
