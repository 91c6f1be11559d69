//! What came from a platform and can never be taken in: kept for a person to look at, so that what comes
//! behind it goes on.

use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::base::text;
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::store::documents::{DocumentName, Documents};

/// The newest of it are kept.
const BYTES_MAX: usize = 256 << 10;
/// Of one so much is kept.
const ONE_BYTES: usize = 16 << 10;

/// The file `set-aside.jsonl` of a gateway.
#[derive(Debug)]
pub struct SetAsideFile {
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    name: Option<DocumentName>,
    /// Lines come one after the other.
    writing: Mutex<()>,
}

#[derive(Serialize)]
struct SetAsideLine<'a> {
    at: Timestamp,
    why: &'a str,
    what: &'a str,
}

impl SetAsideFile {
    /// That of a gateway.
    pub fn new(
        gateway: &GatewayName,
        documents: Arc<dyn Documents>,
        clock: Arc<dyn Clock>,
    ) -> SetAsideFile {
        SetAsideFile {
            name: DocumentName::parse(format!("gateways/{gateway}/set-aside.jsonl")).ok(),
            documents,
            clock,
            writing: Mutex::default(),
        }
    }

    /// Keeps something, or at least says in the log that it could not be kept.
    pub fn keep(&self, what: &str, why: &str) {
        let _one_at_a_time = lock(&self.writing);
        let Some(name) = &self.name else {
            return;
        };
        let line = SetAsideLine {
            at: Timestamp::from(self.clock.now()),
            why,
            what: text::start(what, ONE_BYTES),
        };
        let written = serde_json::to_string(&line).map_err(|error| error.to_string());
        let written = written.and_then(|line| {
            let before = self.documents.read(name).ok().flatten();
            let before = before.map(|it| it.text).unwrap_or_default();
            let kept = newest_lines(&before, BYTES_MAX.saturating_sub(line.len() + 1));
            let text = format!("{kept}{line}\n");
            let replaced = self.documents.replace(name, &text);
            replaced.map_err(|error| error.to_string())
        });
        match written {
            Ok(()) => log::warn!("set aside in {}: {why}", self.documents.location(name)),
            Err(error) => log::error!("what cannot be taken in is not kept: {error}: {why}"),
        }
    }
}

/// The last lines of a text that have together at most so many bytes.
fn newest_lines(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let cut = text.len() - bytes_max;
    // A cut before a line's first byte leaves that line whole.
    let end_of_line = text.as_bytes()[cut - 1..]
        .iter()
        .position(|byte| *byte == b'\n');
    end_of_line.map_or("", |at| &text[cut + at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::store::sim_documents::SimDocuments;

    #[test]
    fn the_newest_lines_are_those_that_fit_whole() {
        for (max, expected) in [
            (9, "ab\ncd\nef\n"),
            (8, "cd\nef\n"),
            (6, "cd\nef\n"),
            (5, "ef\n"),
            (2, ""),
            (0, ""),
        ] {
            assert_eq!(newest_lines("ab\ncd\nef\n", max), expected, "{max}");
        }
    }

    #[test]
    fn what_is_set_aside_is_kept_up_to_a_limit() {
        let documents: Arc<dyn Documents> = Arc::new(SimDocuments::default());
        let gateway = GatewayName::parse("irc").unwrap();
        let file = SetAsideFile::new(&gateway, Arc::clone(&documents), Arc::new(SystemClock));
        for number in 0..40 {
            file.keep(
                &format!("{number}{}", "ä".repeat(ONE_BYTES)),
                "it is no use",
            );
        }
        let name = DocumentName::parse("gateways/irc/set-aside.jsonl").unwrap();
        let text = documents.read(&name).unwrap().unwrap().text;
        assert!(text.len() <= BYTES_MAX);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            lines.last().unwrap()["what"]
                .as_str()
                .unwrap()
                .starts_with("39")
        );
        assert!(lines.len() > 10);
    }
}
