//! Splits a body into its server-sent events. Pure.
//!
//! Source: WHATWG HTML, section "Interpreting an event stream".

/// The longest event, its lines together.
pub const EVENT_BYTES_MAX: usize = 8 << 20;

/// An event of more than [`EVENT_BYTES_MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLong;

/// One event; its bytes need not be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The name; empty stands for `message`.
    pub name: &'a [u8],
    /// The last id that the stream has given, by this event or by an earlier one; empty when it
    /// has given none.
    pub id: &'a [u8],
    /// The data lines, joined by `\n`.
    pub data: &'a [u8],
}

/// The state between two pieces of a body: at most one unfinished event.
#[derive(Debug, Default)]
pub struct Parser {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines of an event whose empty line has not come, each ended by `\n`.
    data: Vec<u8>,
    /// The name of that event.
    name: Vec<u8>,
    /// The last id.
    id: Vec<u8>,
    /// Whether the last byte was a CR: a LF after it ends no second line.
    after_cr: bool,
    /// Whether the first line is over; a byte order mark can only stand in it.
    begun: bool,
}

impl Parser {
    /// Takes the next piece of the body and hands every event that it completes to `take`.
    ///
    /// Where a piece ends never changes the events. One without a data line is none.
    ///
    /// Errors: [`EventTooLong`]; the first error of `take` ends the piece.
    pub fn feed<E: From<EventTooLong>>(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                return Ok(self.keep_unfinished(bytes)?);
            };
            if let Some(data) = self.only_data(&bytes[..end])
                && bytes[end..].starts_with(b"\n\n")
            {
                self.take_event(data, &mut take)?;
                bytes = &bytes[end + 2..];
                continue;
            }
            // A CR at the end of the piece may have its LF in the next one.
            self.after_cr = bytes[end] == b'\r';
            self.end_line(&bytes[..end], &mut take)?;
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// What the line says, if it is the first of its event that brings data. Where it is the only one, as
    /// nearly always, it need not be kept.
    fn only_data<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let is_first = self.begun && self.line.is_empty() && self.data.is_empty();
        let value = line.strip_prefix(b"data:").filter(|_| is_first)?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        (value.len() < EVENT_BYTES_MAX).then_some(value)
    }

    /// The name that the event will have whose end has not come; empty as long as it has none.
    pub fn pending_name(&self) -> &[u8] {
        &self.name
    }

    fn keep_unfinished(&mut self, bytes: &[u8]) -> Result<(), EventTooLong> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line<E: From<EventTooLong>>(
        &mut self,
        bytes: &[u8],
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
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
    fn line<E: From<EventTooLong>>(
        &mut self,
        mut line: &[u8],
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return self.end_event(take);
        }
        match field(line) {
            (b"data", value) => return Ok(self.add_data(value)?),
            (b"event", value) => value.clone_into(&mut self.name),
            // A NUL would end up in a request header.
            (b"id", value) if !value.contains(&0) => value.clone_into(&mut self.id),
            _ => {}
        }
        Ok(())
    }

    fn add_data(&mut self, value: &[u8]) -> Result<(), EventTooLong> {
        if self.data.len() + value.len() >= EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
        Ok(())
    }

    fn end_event<E>(
        &mut self,
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut data = std::mem::take(&mut self.data);
        let result = match data.split_last() {
            None => {
                self.name.clear();
                Ok(())
            }
            Some((_last_newline, data)) => self.take_event(data, take),
        };
        data.clear();
        self.data = data;
        result
    }

    fn take_event<E>(
        &mut self,
        data: &[u8],
        take: &mut impl FnMut(SseEvent<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let result = take(SseEvent {
            name: &self.name,
            id: &self.id,
            data,
        });
        self.name.clear();
        result
    }
}

/// The name and the value of a line. A comment has an empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return (line, &[]);
    };
    let value = &line[colon + 1..];
    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The events of a body, as `name#id=data`, that comes in `pieces`.
    fn events(pieces: &[&[u8]]) -> Result<Vec<String>, EventTooLong> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| {
                let text = String::from_utf8_lossy;
                let (name, id, data) = (text(event.name), text(event.id), text(event.data));
                events.push(format!("{name}#{id}={data}"));
                Ok::<(), EventTooLong>(())
            })?;
        }
        Ok(events)
    }

    #[test]
    fn an_event_is_its_name_its_data_lines_and_the_last_id() {
        for (body, expected) in [
            ("data: a\n\n", vec!["#=a"]),
            ("data:a\r\n\r\n", vec!["#=a"]),
            ("data: a\r\rdata: b\r\r", vec!["#=a", "#=b"]),
            ("data: a\ndata: b\n\n", vec!["#=a\nb"]),
            ("data:  a\n\n", vec!["#= a"]),
            ("data\n\n", vec!["#="]),
            (
                "\u{FEFF}: hello\nevent: x\nid: 1\ndata: a\nretry: 5\n\n",
                vec!["x#1=a"],
            ),
            ("\u{FEFF}data: a\n\n", vec!["#=a"]),
            (
                "event: x\nid: 1\n\nid: 2\ndata: a\n\ndata: b\n\n",
                vec!["#2=a", "#2=b"],
            ),
            ("id: 1\0\ndata: a\n\n", vec!["#=a"]),
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
    fn a_line_end_may_be_split_with_nothing_between() {
        let pieces: [&[u8]; 4] = [b"data: a\r", b"", b"\n", b"data: b\r\n\r"];
        assert_eq!(events(&pieces), Ok(vec!["#=a\nb".to_owned()]));
    }

    #[test]
    fn an_event_that_never_ends_is_refused() {
        let piece = vec![b'a'; 1 << 20];
        let one_line: Vec<&[u8]> = vec![&piece; 9];
        assert_eq!(events(&one_line), Err(EventTooLong));
        let line = [b"data:", piece.as_slice(), b"\n"].concat();
        let many_lines: Vec<&[u8]> = vec![&line; 9];
        assert_eq!(events(&many_lines), Err(EventTooLong));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec("(\u{FEFF}|)(data: ?|: |event:|id:|)[aä🦀 ]{0,4}(\n|\r\n|\r)|data: ?[aä🦀 ]{0,4}\n\n", 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let body = lines.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[&body]));
            // Byte by byte nothing is taken where it lies.
            let bytes: Vec<&[u8]> = body.chunks(1).collect();
            prop_assert_eq!(events(&bytes), events(&[&body]));
        }
    }
}
