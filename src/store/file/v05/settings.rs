//! What 0.5's state file says of a session: `state.json`, or a `state.yaml` of another make than
//! ours.

use std::io;

use rustix::io::Errno;
use serde_json::Value;

use crate::base::fs::{self, Fs};
use crate::base::yaml;
use crate::domain::event::OnDisconnect;
use crate::domain::time::Timestamp;
use crate::store::file::layout::Folder;
use crate::store::file::v05::event::{self, OldEvent};
use crate::store::file::v05::fields::{self, Fields};

/// It may hold the whole conversation.
pub(super) const STATE_BYTES_MAX: u64 = 16 << 20;

/// The names that it may have, the first that is there counts. The last is that of the copy which
/// stays when the session is taken over.
pub(super) const NAMES: &[&str] = &["state.json", "state.yaml", "state.yaml.v05"];

/// What it says; all of it may be missing.
#[derive(Debug, Clone, Default)]
pub(in crate::store::file) struct OldSettings {
    pub(super) session_id: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) title: Option<String>,
    pub(super) on_disconnect: Option<OnDisconnect>,
    pub(super) gateway: Option<String>,
    pub(super) gateway_chat_id: Option<String>,
    pub(super) created_at: Option<Timestamp>,
    pub(super) is_over: bool,
    /// The conversation up to event `last_seq`, of which the log may hold the end alone.
    pub(super) conversation: Vec<OldEvent>,
    pub(super) last_seq: Option<u64>,
}

impl OldSettings {
    /// Reads the state file in the folder of a session; one that is none says nothing.
    ///
    /// Errors: the system's. What is taken over must not depend on whether the disk was full.
    pub(in crate::store::file) fn read(fs: &dyn Fs, folder: &Folder) -> io::Result<OldSettings> {
        for name in NAMES {
            let bytes = match fs::read_file(fs, &folder.path().join(name), STATE_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) if is_no_state(&error) => continue,
                Err(error) => return Err(error),
            };
            let text = String::from_utf8(bytes).ok();
            if let Some(settings) = text.and_then(|text| OldSettings::parse(&text)) {
                return Ok(settings);
            }
        }
        Ok(OldSettings::default())
    }

    /// Reads the text of a state file, JSON or YAML; `None` if it is neither.
    pub(super) fn parse(text: &str) -> Option<OldSettings> {
        let value: Value = serde_json::from_str(text)
            .ok()
            .or_else(|| yaml::from_str(text).ok())?;
        match value {
            Value::Object(fields) => Some(OldSettings::of(&fields)),
            _ => None,
        }
    }

    fn of(file: &Fields) -> OldSettings {
        let within = [Some(file)].into_iter().chain(
            ["session", "config", "metadata", "meta", "state"]
                .map(|key| fields::inner(file, &[key])),
        );
        let places: Vec<&Fields> = within.flatten().collect();
        let text = |keys: &[&str]| places.iter().find_map(|place| fields::text(place, keys));
        let created_at = places
            .iter()
            .find_map(|place| fields::time(place, &["created_at", "started_at"]));
        let status = text(&["status"]).map(|status| status.to_ascii_lowercase());
        let is_over = matches!(
            status.as_deref(),
            Some("completed" | "ended" | "closed" | "terminated" | "expired" | "timeout")
        );
        let messages = places.iter().find_map(|place| {
            fields::any(place, &["conversation", "messages", "history"])?.as_array()
        });
        let messages = messages.into_iter().flatten().filter_map(Value::as_object);
        OldSettings {
            session_id: text(&["session_id", "id"]),
            agent: places.iter().find_map(|place| event::agent(place)),
            title: text(&["title"]).map(fields::short),
            on_disconnect: text(&["on_disconnect"])
                .as_deref()
                .and_then(event::on_disconnect),
            gateway: text(&["gateway"]).map(fields::short),
            gateway_chat_id: text(&["gateway_chat_id", "chat_id"]).map(fields::short),
            created_at,
            is_over,
            conversation: messages
                .filter_map(|message| OldEvent::of_message(message, created_at))
                .collect(),
            last_seq: text(&["last_event_seq", "last_seq", "seq"])
                .and_then(|text| text.parse().ok()),
        }
    }
}

/// Whether there is nothing that could be a file of 0.5: none, a link, a folder, one that is too large.
pub(super) fn is_no_state(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, InvalidInput, NotFound};
    matches!(error.kind(), NotFound | FileTooLarge | InvalidInput)
        || Errno::from_io_error(error) == Some(Errno::LOOP)
}
