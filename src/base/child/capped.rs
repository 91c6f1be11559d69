//! Output of any length in memory of a fixed size. Pure.

use std::collections::VecDeque;

/// What is kept of the beginning.
const HEAD_BYTES: usize = 32 << 10;
/// What is kept of the end.
const TAIL_BYTES: usize = 32 << 10;

/// Keeps the beginning and the end of what it is given, and counts the rest.
#[derive(Debug, Default)]
pub(super) struct Capped {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Capped {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES - self.head.len();
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(head);
        let skipped = rest.len().saturating_sub(TAIL_BYTES);
        let rest = &rest[skipped..];
        let over = (self.tail.len() + rest.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        self.tail.extend(rest);
        self.left_out += (skipped + over) as u64;
    }

    /// The text: what is no UTF-8 is replaced, and a character is never cut in two.
    pub(super) fn into_text(mut self) -> String {
        let tail: &[u8] = self.tail.make_contiguous();
        let kept = self.head.len() + tail.len();
        if self.left_out == 0 {
            self.head.extend_from_slice(tail);
            return String::from_utf8_lossy(&self.head).into_owned();
        }
        let (head, tail) = (without_cut_end(&self.head), without_cut_start(tail));
        let cut = kept - head.len() - tail.len();
        format!(
            "{}\n[… {} bytes left out …]\n{}",
            String::from_utf8_lossy(head),
            grouped(self.left_out + cut as u64),
            String::from_utf8_lossy(tail)
        )
    }
}

/// Without a character whose end is missing.
fn without_cut_end(bytes: &[u8]) -> &[u8] {
    let is_start = |byte: &u8| byte & 0b1100_0000 != 0b1000_0000;
    let Some(from_end) = bytes.iter().rev().take(4).position(is_start) else {
        return bytes;
    };
    let start = bytes.len() - 1 - from_end;
    let is_cut =
        std::str::from_utf8(&bytes[start..]).is_err_and(|error| error.error_len().is_none());
    if is_cut { &bytes[..start] } else { bytes }
}

/// Without the rest of a character whose start is missing.
fn without_cut_start(bytes: &[u8]) -> &[u8] {
    let is_rest = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    &bytes[bytes.iter().take(3).take_while(is_rest).count()..]
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn capped(pieces: &[&[u8]]) -> Capped {
        let mut capped = Capped::default();
        for piece in pieces {
            capped.push(piece);
        }
        capped
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let all = "é".repeat((HEAD_BYTES + TAIL_BYTES) / 2);
        let (a, b) = all.as_bytes().split_at(HEAD_BYTES + 1);
        assert_eq!(capped(&[a, b]).into_text(), all);
        assert_eq!(capped(&[]).into_text(), "");
    }

    #[test]
    fn of_more_the_beginning_and_the_end_stay_and_the_rest_is_counted() {
        let middle = vec![b'-'; 1_000_000];
        let text = capped(&[b"begin", &middle, b"end"]).into_text();
        let left_out = 1_000_008 - HEAD_BYTES - TAIL_BYTES;
        assert_eq!(left_out, 934_472);
        assert!(text.starts_with("begin---"), "{text:.20}");
        assert!(text.ends_with("---end"));
        assert!(text.contains("-\n[… 934,472 bytes left out …]\n-"));
        assert!(text.len() < HEAD_BYTES + TAIL_BYTES + 100);
    }

    #[test]
    fn no_character_is_cut_in_two() {
        for shift in 0..4 {
            let mut all = "a".repeat(shift);
            all.push_str(&"😀".repeat(50_000));
            let text = capped(&[all.as_bytes()]).into_text();
            assert!(!text.contains('\u{fffd}'), "{shift}");
            let kept = text.matches('😀').count() * 4 + shift;
            let said = grouped((all.len() - kept) as u64);
            assert!(
                text.contains(&format!("[… {said} bytes left out …]")),
                "{shift}"
            );
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_073_676_288, "1,073,676,288"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    proptest! {
        #[test]
        fn how_it_comes_in_pieces_changes_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..200_000),
            cuts in proptest::collection::vec(0..200_000_usize, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let in_pieces = capped(&pieces);
            prop_assert!(in_pieces.head.len() <= HEAD_BYTES && in_pieces.tail.len() <= TAIL_BYTES);
            prop_assert_eq!(in_pieces.into_text(), capped(&[&bytes]).into_text());
        }
    }
}
