//! A client's place in a session's events: the id of each server-sent event.

use std::fmt;

use crate::base::text;
use crate::domain::ids::Seq;

/// `SEQ[.PART][+BYTES]`: opaque to clients, and all that is needed to go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// The last record of the log that was shown.
    pub seq: Seq,
    /// How many of the events made from that record were shown; `None` for all of them.
    pub part: Option<u32>,
    /// While a reply is in flight: how many bytes of its text were shown.
    pub bytes: Option<u64>,
}

impl Cursor {
    /// After everything that `seq` gave.
    pub fn after(seq: Seq) -> Cursor {
        Cursor {
            seq,
            part: None,
            bytes: None,
        }
    }

    /// Reads what [`Display`](fmt::Display) writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Cursor> {
        let (text, bytes) = match text.split_once('+') {
            Some((rest, bytes)) => (rest, Some(number(bytes)?)),
            None => (text, None),
        };
        let (seq, part) = match text.split_once('.') {
            Some((seq, part)) => (seq, Some(u32::try_from(number(part)?).ok()?)),
            None => (text, None),
        };
        Some(Cursor {
            seq: Seq(number(seq)?),
            part,
            bytes,
        })
    }
}

impl Cursor {
    /// Appends what [`Display`](fmt::Display) writes: each token has one.
    pub fn push_to(&self, out: &mut Vec<u8>) {
        text::push_number(out, self.seq.0);
        if let Some(part) = self.part {
            out.push(b'.');
            text::push_number(out, part.into());
        }
        if let Some(bytes) = self.bytes {
            out.push(b'+');
            text::push_number(out, bytes);
        }
    }
}

/// Plain digits, without the sign that `u64::from_str` would take.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(())?;
    text.parse().ok()
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seq)?;
        if let Some(part) = self.part {
            write!(f, ".{part}")?;
        }
        if let Some(bytes) = self.bytes {
            write!(f, "+{bytes}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_a_round_trip() {
        for text in ["0", "7", "7.2", "7+120", "7.2+0"] {
            let cursor = Cursor::parse(text).unwrap();
            assert_eq!(cursor.to_string(), text);
            let mut pushed = b"id: ".to_vec();
            cursor.push_to(&mut pushed);
            assert_eq!(pushed, [b"id: ", text.as_bytes()].concat());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "", "+", "7+", "7.", ".2", "-1", "+7", "7.+2", "x", "7.2.3", "7+1+2", " 7",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
    }
}
