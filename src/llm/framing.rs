//! Splits the body of an answer into its events, whatever its head calls it. Pure.
//!
//! A line says by its first character what it is: a bracket begins a JSON document (a whole answer, a line
//! of ndjson, an error among events), and all else is a line of server-sent events; a body that begins with
//! `<` is a page.

use crate::base::sse::{EVENT_BYTES_MAX, EventTooLong, Parser};
use crate::llm::dialect::AnswerFault;
use crate::llm::json_end::JsonEnd;

/// What is looked at of a page for its title.
const PAGE_BYTES_MAX: usize = 4 << 10;
/// What is quoted of a body that is no answer.
const WORDS_BYTES_MAX: usize = 300;
/// A buffer that one long document has filled is not kept for the short ones after it.
const JSON_BYTES_KEPT: usize = 64 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The state between two pieces of a body.
#[derive(Debug)]
pub(super) struct AnswerEvents {
    lines: Parser,
    /// The beginning of a document whose end has not come.
    json: Vec<u8>,
    json_end: JsonEnd,
    /// The beginning of a page, if it is one.
    page: Option<Vec<u8>>,
    /// The beginning of the body, as long as no event has come of it.
    beginning: Vec<u8>,
    /// So many bytes of the mark that a body may begin with have come.
    mark_bytes: usize,
    begun: bool,
    at_line_start: bool,
    has_event: bool,
}

/// Takes an event: its name, which may be empty, and its data.
pub(super) type TakeEvent<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), AnswerFault>;

impl Default for AnswerEvents {
    fn default() -> AnswerEvents {
        AnswerEvents {
            lines: Parser::default(),
            json: Vec::new(),
            json_end: JsonEnd::default(),
            page: None,
            beginning: Vec::new(),
            mark_bytes: 0,
            begun: false,
            at_line_start: true,
            has_event: false,
        }
    }
}

impl AnswerEvents {
    /// Takes the next piece of the body and hands every event that it completes to `take`. Where a
    /// piece ends never changes the events.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        take: TakeEvent<'_>,
    ) -> Result<(), AnswerFault> {
        if !self.has_event {
            let room = WORDS_BYTES_MAX - self.beginning.len();
            self.beginning.extend(bytes.iter().take(room));
        }
        while let Some(first) = bytes.first() {
            if let Some(page) = &mut self.page {
                page.extend(bytes.iter().take(PAGE_BYTES_MAX - page.len()));
                return match page.len() < PAGE_BYTES_MAX {
                    true => Ok(()),
                    false => Err(page_fault(page)),
                };
            }
            if self.json_end.is_open() {
                bytes = self.json_piece(bytes, take)?;
                continue;
            }
            if !self.begun && BYTE_ORDER_MARK.get(self.mark_bytes) == Some(first) {
                self.mark_bytes += 1;
                bytes = &bytes[1..];
                continue;
            }
            match first {
                b' ' | b'\t' if self.at_line_start => bytes = &bytes[1..],
                b'{' | b'[' if self.at_line_start => {
                    self.begun = true;
                    bytes = self.json_piece(bytes, take)?;
                }
                b'<' if !self.begun => self.page = Some(Vec::new()),
                _ => bytes = self.line_piece(bytes, take)?,
            }
        }
        Ok(())
    }

    /// Takes the end of the body.
    ///
    /// Errors: a page's words.
    pub(super) fn end(&mut self, take: TakeEvent<'_>) -> Result<(), AnswerFault> {
        if let Some(page) = &self.page {
            return Err(page_fault(page));
        }
        // Some leave out the empty line after the last event; of one that was cut the half is nothing.
        match self.lines(b"\n\n", take) {
            Err(AnswerFault::Malformed(_)) => Ok(()),
            ended => ended,
        }
    }

    /// What a body says that has no event: a proxy's plain words, as a rule.
    pub(super) fn words(&self) -> Option<String> {
        if self.has_event || self.json_end.is_open() {
            return None;
        }
        let text = String::from_utf8_lossy(&self.beginning);
        let is_field = |line: &str| {
            [":", "data:", "event:", "id:", "retry:"]
                .iter()
                .any(|field| line.starts_with(field))
        };
        let lines: Vec<&str> = text.lines().filter(|line| !is_field(line)).collect();
        let words = lines.join("\n").trim().to_owned();
        (!words.is_empty()).then_some(words)
    }

    /// Takes what belongs to a document, and gives back the rest.
    fn json_piece<'a>(
        &mut self,
        bytes: &'a [u8],
        take: TakeEvent<'_>,
    ) -> Result<&'a [u8], AnswerFault> {
        let end = self.json_end.end_in(bytes);
        let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.json.len() + piece.len() > EVENT_BYTES_MAX {
            return Err(EventTooLong.into());
        }
        self.json.extend_from_slice(piece);
        if end.is_some() {
            self.has_event = true;
            let mut json = std::mem::take(&mut self.json);
            take(self.lines.pending_name(), &json)?;
            if json.capacity() <= JSON_BYTES_KEPT {
                json.clear();
                self.json = json;
            }
        }
        Ok(rest)
    }

    /// Takes what belongs to a line of server-sent events, and gives back the rest.
    fn line_piece<'a>(
        &mut self,
        bytes: &'a [u8],
        take: TakeEvent<'_>,
    ) -> Result<&'a [u8], AnswerFault> {
        let end = memchr::memchr2(b'\n', b'\r', bytes).map(|end| end + 1);
        // With an empty line behind it: so an event of one line is whole, and nobody keeps it.
        let end = end.map(|end| end + usize::from(bytes[end - 1..].starts_with(b"\n\n")));
        let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.at_line_start = end.is_some();
        self.begun |= !piece.trim_ascii().is_empty();
        self.lines(piece, take)?;
        Ok(rest)
    }

    fn lines(&mut self, bytes: &[u8], take: TakeEvent<'_>) -> Result<(), AnswerFault> {
        let has_event = &mut self.has_event;
        self.lines.feed(bytes, |event| {
            *has_event = true;
            take(event.name, event.data)
        })
    }
}

/// A page instead of an answer, told by its title: that of a proxy often begins with a status.
fn page_fault(page: &[u8]) -> AnswerFault {
    let page = String::from_utf8_lossy(page);
    let title = page
        .split_once("<title")
        .and_then(|(_, rest)| rest.split_once('>')?.1.split_once('<'))
        .map_or("", |(title, _)| title.trim());
    let status = title.split(|c: char| !c.is_ascii_digit()).next();
    let status = status
        .and_then(|digits| digits.parse().ok())
        .filter(|status| (400..600).contains(status));
    let shown = match title {
        "" => String::new(),
        title => format!(", “{title}”,"),
    };
    let message = format!("a web page{shown} instead of an answer; is the base URL right?");
    match status {
        Some(_) => AnswerFault::Reported { status, message },
        None => AnswerFault::Malformed(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    /// The events of a body, as `name=data`, that comes in `pieces`; with its fault, if it has one.
    fn events(pieces: &[&[u8]]) -> (Vec<String>, Result<(), AnswerFault>, Option<String>) {
        let mut found = Vec::new();
        let mut events = AnswerEvents::default();
        let mut take = |name: &[u8], data: &[u8]| {
            let text = String::from_utf8_lossy;
            found.push(format!("{}={}", text(name), text(data)));
            Ok(())
        };
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| events.feed(piece, &mut take));
        }
        let result = result.and_then(|()| events.end(&mut take));
        (found, result, events.words())
    }

    #[test]
    fn the_first_character_of_a_line_says_what_it_is() {
        for (body, expected) in [
            ("data: a\n\ndata: b\n\n", vec!["=a", "=b"]),
            ("data: a\n\ndata: b", vec!["=a", "=b"]),
            ("{\n \"a\": 1\n}\n", vec!["={\n \"a\": 1\n}"]),
            ("\u{FEFF}{}", vec!["={}"]),
            ("\u{FEFF}data: a\n\n", vec!["=a"]),
            (
                "\n  \n {\"a\":1}\n{\"b\":2}{}",
                vec!["={\"a\":1}", "={\"b\":2}", "={}"],
            ),
            ("[{\"error\":{}}]", vec!["=[{\"error\":{}}]"]),
            ("[DONE]", vec!["=[DONE]"]),
            (
                ": WAIT\n\n{\"error\":1}\n\ndata: a\n\n",
                vec!["={\"error\":1}", "=a"],
            ),
            (
                "event: error\r\n{\"b\":1}\r\n\r\ndata: a\r\n\r\n",
                vec!["error={\"b\":1}", "=a"],
            ),
            ("data: {\ndata: }\n\n", vec!["={\n}"]),
            ("{\"a\":", vec![]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(String::from).collect();
            let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
            assert_eq!(
                events(&[body.as_bytes()]),
                (expected, Ok(()), None),
                "{body:?}"
            );
            assert_eq!(events(&bytes), events(&[body.as_bytes()]), "{body:?}");
        }
    }

    #[test]
    fn a_page_is_told_by_its_title() {
        let long = format!(
            "<!doctype html><title>502 Bad Gateway</title>{}",
            "x".repeat(9000)
        );
        for (body, expected) in [
            ("<html><p>hello", None),
            (" \n<html><head><title>Welcome 404</title>", None),
            ("<html><title>503 Service Unavailable</title>", Some(503)),
            (&long, Some(502)),
        ] {
            let (found, result, _words) = events(&[body.as_bytes()]);
            assert_eq!(found, [""; 0]);
            match result.unwrap_err() {
                AnswerFault::Reported { status, message } => {
                    assert_eq!(
                        (status, message.contains("Ba") || message.contains("Serv")),
                        (expected, true)
                    );
                }
                AnswerFault::Malformed(message) => {
                    assert!(
                        expected.is_none() && message.contains("web page"),
                        "{message}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn plain_words_are_kept_and_nothing_else_is() {
        for (body, expected) in [
            ("upstream connect error\n", Some("upstream connect error")),
            (": WAIT\n\nno healthy upstream", Some("no healthy upstream")),
            (": WAIT\n\n", None),
            ("", None),
            ("\"gone\"", Some("\"gone\"")),
        ] {
            let (_found, _result, words) = events(&[body.as_bytes()]);
            assert_eq!(words.as_deref(), expected, "{body:?}");
        }
        assert_eq!(events(&[b"data: a\n\nwords"]).2, None);
    }

    #[test]
    fn a_document_that_never_ends_is_refused() {
        let piece = vec![b'['; 1 << 20];
        let pieces: Vec<&[u8]> = vec![&piece; 9];
        assert_eq!(events(&pieces).1, Err(EventTooLong.into()));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in prop::collection::vec("(\u{FEFF}|)(data: ?|: |event:| ?\\{\"|<|\\[)[aä🦀\"\\\\\\}\\] ]{0,5}(\n|\r\n|\r)|data: ?[aä🦀 ]{0,4}\n\n", 0..12),
            cuts in prop::collection::vec(any::<Index>(), 0..8),
        ) {
            let body = lines.concat().into_bytes();
            let pieces = crate::llm::dialect::testing::cut_at(&body, &cuts);
            prop_assert_eq!(events(&pieces), events(&[&body]));
            // Byte by byte nothing is taken where it lies.
            let bytes: Vec<&[u8]> = body.chunks(1).collect();
            prop_assert_eq!(events(&bytes), events(&[&body]));
        }
    }
}
