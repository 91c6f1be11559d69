//! Where a JSON object or list ends that comes in pieces. Pure.

/// The state between two pieces. What is no JSON has an end as well, wherever its brackets say.
#[derive(Debug, Clone, Default)]
pub(super) struct JsonEnd {
    depth: usize,
    in_text: bool,
    after_backslash: bool,
}

impl JsonEnd {
    /// A bracket was opened and not closed.
    pub(super) fn is_open(&self) -> bool {
        self.depth > 0
    }

    /// How many of the bytes belong to what is open, or begins among them; `None` if they do not end it.
    pub(super) fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            if std::mem::take(&mut self.after_backslash) {
                continue;
            }
            match (byte, self.in_text) {
                (b'"', _) => self.in_text = !self.in_text,
                (b'\\', true) => self.after_backslash = true,
                (_, true) => {
                    let rest = &bytes[at..];
                    at += memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                }
                (b'{' | b'[', false) => self.depth += 1,
                (b'}' | b']', false) => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_ends_at_its_last_bracket_however_it_comes() {
        for (text, end) in [
            ("{}", Some(2)),
            (r#"{"a":"}\"\\"}, {"#, Some(13)),
            (r#"[{"a":[]}]x"#, Some(10)),
            (r#"{"a":"}"#, None),
            ("null", None),
        ] {
            assert_eq!(JsonEnd::default().end_in(text.as_bytes()), end, "{text}");
            let mut state = JsonEnd::default();
            let found = text
                .bytes()
                .position(|byte| state.end_in(&[byte]).is_some());
            assert_eq!(found.map(|at| at + 1), end, "{text}");
        }
    }
}
