//! Splits a body into the data of its server-sent events. Pure.
//!
//! Only `data:` is kept: both dialects say inside it what kind of event it is.
//!
//! Source: WHATWG HTML, section "Interpreting an event stream".

/// The longest event, its lines together.
pub(super) const EVENT_BYTES_MAX: usize = 8 << 20;

/// An event of more than [`EVENT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// What is known between two pieces of a body: at most one unfinished event.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines of an event whose empty line has not come, each ended by `\n`.
    data: Vec<u8>,
    /// Whether the last byte was a CR: a LF after it ends no second line.
    after_cr: bool,
    /// Whether the first line is over; a byte order mark can only stand in it.
    begun: bool,
}

impl Parser {
    /// Takes the next piece of the body and hands every event that it completes to `take`.
    ///
    /// Where a piece ends never changes the events. Their data lines are joined by `\n`; the
    /// bytes need not be UTF-8.
    ///
    /// Errors: [`TooLong`]; the first error of `take` ends the piece.
    pub(super) fn feed<E: From<TooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if std::mem::take(&mut self.after_cr) {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                return Ok(self.keep_unfinished(bytes)?);
            };
            // A CR at the end of the piece may have its LF in the next one.
            self.after_cr = bytes[end] == b'\r';
            self.end_line(&bytes[..end], &mut take)?;
            bytes = &bytes[end + 1..];
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    fn keep_unfinished(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.line.is_empty() {
            return self.line(bytes, take);
        }
        self.keep_unfinished(bytes)?;
        let mut line = std::mem::take(&mut self.line);
        let result = self.line(&line, take);
        line.clear();
        self.line = line;
        result
    }

    /// Takes a whole line, without its end.
    fn line<E: From<TooLong>>(
        &mut self,
        mut line: &[u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event(take);
        }
        let Some(value) = data_of(line) else {
            return Ok(());
        };
        if self.data.len() + value.len() >= EVENT_BYTES_MAX {
            return Err(TooLong.into());
        }
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
        Ok(())
    }

    fn end_event<E>(&mut self, take: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Some((_last_newline, data)) = self.data.split_last() else {
            return Ok(());
        };
        let result = take(data);
        self.data.clear();
        result
    }
}

/// The value of a `data` line; `None` for a comment and every other field.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let value = match line.strip_prefix(b"data")? {
        [] => &[],
        [b':', b' ', value @ ..] | [b':', value @ ..] => value,
        _ => return None,
    };
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::dialect::testing;
    use proptest::prelude::*;

    /// The events of a body that comes in `pieces`.
    fn events(pieces: &[&[u8]]) -> Result<Vec<String>, TooLong> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |data| {
                events.push(String::from_utf8_lossy(data).into_owned());
                Ok::<(), TooLong>(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn an_event_is_its_data_lines() {
        for (body, expected) in [
            ("data: a\n\n", vec!["a"]),
            ("data:a\r\n\r\n", vec!["a"]),
            ("data: a\r\rdata: b\r\r", vec!["a", "b"]),
            ("data: a\ndata: b\n\n", vec!["a\nb"]),
            ("data:  a\n\n", vec![" a"]),
            ("data\n\n", vec![""]),
            (
                "\u{FEFF}: hello\nevent: x\nid: 1\ndata: a\nretry: 5\n\n",
                vec!["a"],
            ),
            ("\u{FEFF}data: a\n\n", vec!["a"]),
            ("database: a\n\n\n\n", vec![]),
            ("data: unfinished\n", vec![]),
        ] {
            assert_eq!(
                events(&[body.as_bytes()]),
                Ok(expected.into_iter().map(String::from).collect()),
                "{body:?}"
            );
        }
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let piece = vec![b'a'; 1 << 20];
        let one_line: Vec<&[u8]> = vec![&piece; 9];
        assert_eq!(events(&one_line), Err(TooLong));
        let line = [b"data:", piece.as_slice(), b"\n"].concat();
        let many_lines: Vec<&[u8]> = vec![&line; 9];
        assert_eq!(events(&many_lines), Err(TooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec("(\u{FEFF}|)(data: ?|: |event:|)[aä🦀 ]{0,4}(\n|\r\n|\r)", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let body = lines.concat().into_bytes();
            let pieces = testing::cut_at(&body, &cuts);
            prop_assert_eq!(events(&pieces), events(&[&body]));
        }
    }
}
