//! Files that people send, fetched when somebody asks for them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::gateway::incoming::{FetchError, FileSource, InboundFile};
use crate::gateway::telegram::bot::{BotClient, BotError};
use crate::gateway::telegram::update::UpdateFile;

/// A bot gets no larger ones.
const BYTES_MAX: u64 = 20 << 20;
/// All files of a message: others wait behind it.
const TIME_MAX: Duration = Duration::from_secs(30);
/// To find out where a file is, and for the other small questions of whoever polls.
pub(super) const CALL_MAX: Duration = Duration::from_secs(10);
/// A connection that is cut once is no reason to lose a file.
const TRIES: usize = 2;

/// The files of one message.
pub(super) fn files(files: Vec<UpdateFile>, client: &Arc<BotClient>) -> Vec<InboundFile> {
    let began = Arc::new(OnceLock::new());
    let inbound = files.into_iter().map(|file| InboundFile {
        name: file.name,
        mime: file.mime,
        is_voice: file.is_voice,
        source: Box::new(BotFile {
            client: Arc::clone(client),
            file_id: file.file_id,
            bytes: file.bytes,
            began: Arc::clone(&began),
        }),
    });
    inbound.collect()
}

/// A file on Telegram's servers.
struct BotFile {
    client: Arc<BotClient>,
    file_id: String,
    bytes: Option<u64>,
    /// When the first file of its message was asked for.
    began: Arc<OnceLock<Instant>>,
}

#[derive(Debug, Deserialize)]
struct FilePlace {
    file_path: String,
}

impl FileSource for BotFile {
    fn fetch(&mut self, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let wanted = BYTES_MAX.min(u64::try_from(bytes_max).unwrap_or(u64::MAX));
        if self.bytes.is_some_and(|bytes| bytes > wanted) {
            return Err(FetchError::TooLarge);
        }
        let deadline = *self.began.get_or_init(Instant::now) + TIME_MAX;
        let mut result = Err(FetchError::Failed);
        for _ in 0..TRIES {
            if Instant::now() >= deadline {
                break;
            }
            result = match self.place() {
                Ok(path) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.client.download(&path, bytes_max, left)
                }
                Err(error) if error.says(400, "file is too big") => Err(FetchError::TooLarge),
                Err(BotError::Refused { .. }) => break,
                Err(_) => Err(FetchError::Failed),
            };
            if result != Err(FetchError::Failed) {
                break;
            }
        }
        result
    }
}

impl BotFile {
    fn place(&self) -> Result<String, BotError> {
        let place = self
            .client
            .call("getFile", &json!({"file_id": self.file_id}));
        place.map(|place: FilePlace| place.file_path)
    }
}
