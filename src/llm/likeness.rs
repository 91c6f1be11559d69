//! Events that differ from the one before in their text alone, as those of most streams do: they need not be read
//! anew. Pure.

use crate::base::text::is_plain_in_json;

/// An event with more around its text is not kept: nothing counts what is kept here.
const AROUND_BYTES_MAX: usize = 16 << 10;

/// An event that brought a piece of text and nothing else.
#[derive(Debug, Default)]
pub(super) struct TextEvent {
    name: Vec<u8>,
    /// What stands before its text, with the quotation mark; empty as long as there was no such event.
    before: Vec<u8>,
    /// What stands behind it.
    behind: Vec<u8>,
}

impl TextEvent {
    /// The text of the event `data`, if that is all in which it differs.
    pub(super) fn text_in<'a>(&self, name: &[u8], data: &'a [u8]) -> Option<&'a str> {
        if self.before.is_empty() || self.name != name {
            return None;
        }
        let text = data.strip_prefix(&*self.before)?;
        let text = text.strip_suffix(&*self.behind)?;
        std::str::from_utf8(text)
            .ok()
            .filter(|_| is_plain_in_json(text))
    }

    /// Keeps the event `data`, of which `text` is the text; nothing, if that does not lie in it as it is.
    pub(super) fn keep(&mut self, name: &[u8], data: &[u8], text: &str) {
        let start = text.as_ptr().addr().checked_sub(data.as_ptr().addr());
        let parts = start.and_then(|start| {
            let (before, rest) = data.split_at_checked(start)?;
            Some((before, rest.strip_prefix(text.as_bytes())?))
        });
        let Some((before, behind)) = parts else {
            return;
        };
        let is_short = name.len() + before.len() + behind.len() <= AROUND_BYTES_MAX;
        if is_short && before.ends_with(b"\"") && behind.starts_with(b"\"") {
            name.clone_into(&mut self.name);
            before.clone_into(&mut self.before);
            behind.clone_into(&mut self.behind);
        }
    }

    /// Something else has come, after which the same event may mean something else.
    pub(super) fn forget(&mut self) {
        self.before.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_differs_in_its_text_alone_is_its_text() {
        let mut last = TextEvent::default();
        let told = br#"{"id":1,"text":"a","b":"a"}"#;
        let text = std::str::from_utf8(&told[16..17]).unwrap();
        assert_eq!(last.text_in(b"", told), None);
        last.keep(b"", told, "a");
        assert_eq!(last.text_in(b"", told), None, "a text from elsewhere");
        last.keep(b"", told, text);
        for (data, expected) in [
            (r#"{"id":1,"text":"a","b":"a"}"#, Some("a")),
            (r#"{"id":1,"text":"","b":"a"}"#, Some("")),
            (r#"{"id":1,"text":"bä c","b":"a"}"#, Some("bä c")),
            (r#"{"id":1,"text":"\n","b":"a"}"#, None),
            ("{\"id\":1,\"text\":\"\n\",\"b\":\"a\"}", None),
            (r#"{"id":1,"text":"x","y":"z","b":"a"}"#, None),
            (r#"{"id":2,"text":"a","b":"a"}"#, None),
            (r#"{"id":1,"text":"a","b":"b"}"#, None),
            (r#"{"id":1,"text":"a"}"#, None),
            (r#"{"id":1,"text":"#, None),
        ] {
            assert_eq!(last.text_in(b"", data.as_bytes()), expected, "{data}");
        }
        let no_text = b"{\"id\":1,\"text\":\"\xff\",\"b\":\"a\"}";
        assert_eq!(last.text_in(b"", no_text), None);
        assert_eq!(last.text_in(b"ping", told), None);
        last.forget();
        assert_eq!(last.text_in(b"", told), None);
        let long = format!(r#"{{"x":"{}","text":"a"}}"#, "x".repeat(AROUND_BYTES_MAX));
        let mut last = TextEvent::default();
        last.keep(b"", long.as_bytes(), &long[long.len() - 3..long.len() - 2]);
        assert_eq!(last.text_in(b"", long.as_bytes()), None, "too long to keep");
    }
}
