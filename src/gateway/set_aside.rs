//! What came from a platform and could not be taken in, kept for the owner: `set-aside.jsonl`.
//!
//! A line is one JSON object: `at`, `id` (the platform's), `why`, `what`. The newest 256 KiB are kept.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::base::text;
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::store::documents::{DocumentError, DocumentName, Documents, VersionedText};

/// The newest lines are kept in so many bytes.
const FILE_BYTES_MAX: usize = 256 << 10;
/// Of something longer the beginning is kept, as a text.
const LINE_BYTES_MAX: usize = 32 << 10;
/// For so often another process may be in the way.
const TRIES_MAX: u32 = 16;

/// Keeps what a gateway could not take in. Written by the gateway's thread alone.
#[derive(Debug)]
pub struct SetAsideLog {
    documents: Arc<dyn Documents>,
    name: DocumentName,
}

#[derive(Debug, Serialize)]
struct SetAsideLine<'a> {
    at: String,
    id: &'a str,
    why: &'a str,
    what: &'a Value,
}

impl SetAsideLog {
    /// Of a gateway. `documents` are those of the workspace.
    pub fn new(documents: Arc<dyn Documents>, gateway: &GatewayName) -> SetAsideLog {
        let name = DocumentName::parse(format!("gateways/{gateway}/set-aside.jsonl"));
        let name = name.expect("a gateway's name is a part of a document's");
        SetAsideLog { documents, name }
    }

    /// Keeps something; on return it is on disk.
    ///
    /// Errors: it is not.
    pub fn keep(
        &self,
        at: Timestamp,
        id: &str,
        why: &str,
        what: &Value,
    ) -> Result<(), DocumentError> {
        let line = line(at, id, why, what);
        let mut tries = 0;
        self.documents.update(
            &self.name,
            |before| Ok(Some(with_line(before, &line))),
            |error| {
                tries += 1;
                match &error {
                    // Somebody put something there that is no text.
                    DocumentError::Unreadable { .. } if tries == 1 => {
                        self.documents.delete(&self.name)
                    }
                    _ if error.is_passing() && tries < TRIES_MAX => Ok(()),
                    _ => Err(error),
                }
            },
        )
    }

    /// Where a person finds it.
    pub fn location(&self) -> String {
        self.documents.location(&self.name)
    }
}

fn line(at: Timestamp, id: &str, why: &str, what: &Value) -> String {
    let at = at.to_string();
    let written = |what: &Value| {
        let line = SetAsideLine {
            at: at.clone(),
            id,
            why: text::start(why, 1 << 10),
            what,
        };
        serde_json::to_string(&line).expect("texts and a value are JSON")
    };
    let line = written(what);
    if line.len() <= LINE_BYTES_MAX {
        return line;
    }
    // Half of it: what is escaped twice may be twice as long.
    let what = what.to_string();
    written(&Value::String(
        text::start(&what, LINE_BYTES_MAX / 2).to_owned(),
    ))
}

/// The lines that are kept, oldest first.
fn with_line(before: Option<&VersionedText>, line: &str) -> String {
    let before = before.map_or("", |before| before.text.as_str());
    let room = FILE_BYTES_MAX.saturating_sub(line.len() + 1);
    let mut kept = before;
    while kept.len() > room {
        kept = kept.split_once('\n').map_or("", |(_, rest)| rest);
    }
    format!("{kept}{line}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::sim_documents::SimDocuments;

    fn text(log: &SetAsideLog) -> String {
        log.documents.read(&log.name).unwrap().unwrap().text
    }

    #[test]
    fn the_newest_lines_are_kept_whole() {
        let documents = Arc::new(SimDocuments::default());
        let log = SetAsideLog::new(documents, &GatewayName::parse("telegram").unwrap());
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        log.keep(at, "5", "no chat", &json!({"update_id": 5}))
            .unwrap();
        let first = "{\"at\":\"2023-11-14T22:13:20.000000Z\",\"id\":\"5\",\"why\":\"no chat\",\"what\":{\"update_id\":5}}\n";
        assert_eq!(text(&log), first);
        for id in 0..300 {
            let long = json!({"text": "\"x\"".repeat(1000)});
            log.keep(at, &id.to_string(), "why", &long).unwrap();
        }
        let kept = text(&log);
        assert!(kept.len() <= FILE_BYTES_MAX && kept.len() > FILE_BYTES_MAX - (8 << 10));
        let ids: Vec<Value> = kept
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].take())
            .collect();
        let count = ids.len();
        let newest: Vec<Value> = (300 - count..300).map(|id| json!(id.to_string())).collect();
        assert_eq!(ids, newest);
    }

    #[test]
    fn of_something_long_the_beginning_is_kept() {
        let documents = Arc::new(SimDocuments::default());
        let log = SetAsideLog::new(documents, &GatewayName::parse("telegram").unwrap());
        let long = json!({"text": "\"\u{1f600}\"".repeat(100_000)});
        log.keep(Timestamp::from_micros(0), "5", "why", &long)
            .unwrap();
        let kept = text(&log);
        assert!(kept.len() <= LINE_BYTES_MAX + (8 << 10), "{}", kept.len());
        let kept: Value = serde_json::from_str(kept.trim_end()).unwrap();
        assert!(kept["what"].as_str().unwrap().starts_with("{\"text\":"));
    }
}
