//! Files, those of people and those of the bot.

use serde_json::json;

use super::connection::Params;
use super::methods::{CAPTION_UNITS_MAX, Outcome, Refusal, fault, put, read_text, refuse};
use super::world::{Sent, ShownMessage, StoredFile, World};

/// What a bot may fetch.
const DOWNLOAD_MAX: u64 = 20 << 20;
const PHOTO_MAX: usize = 10 << 20;
const FILE_MAX: usize = 50 << 20;

pub fn get_file(world: &mut World, params: &Params) -> Outcome {
    let id = params.text("file_id").unwrap_or_default();
    let Some(file) = world.files.get(&id) else {
        return Err(refuse(
            400,
            "Bad Request: wrong file_id or the file is temporarily unavailable",
        ));
    };
    if file.size > DOWNLOAD_MAX {
        return Err(refuse(400, "Bad Request: file is too big"));
    }
    Ok(json!({
        "file_id": id,
        "file_unique_id": format!("u{id}"),
        "file_size": file.size,
        "file_path": file.path,
    }))
}

/// Sends a file as one of this kind: its bytes, the id of one that is there, or an address.
pub fn send(world: &mut World, params: &Params, kind: &str) -> Outcome {
    let caption = read_text(params, "caption", CAPTION_UNITS_MAX)?;
    let file = sent_file(params, kind)?;
    let max = if kind == "photo" { PHOTO_MAX } else { FILE_MAX };
    if file.bytes.len() > max {
        return Err(Refusal {
            is_fault: true,
            ..refuse(413, "Request Entity Too Large")
        });
    }
    let id = world.store_file(&file.name, &file.bytes, file.bytes.len() as u64);
    let mut told =
        json!({"file_id": id, "file_unique_id": format!("u{id}"), "file_size": file.bytes.len()});
    if kind == "photo" {
        told = json!([told]);
    } else {
        told["file_name"] = json!(file.name);
        told["mime_type"] = json!(file.mime);
    }
    let mut json = json!({});
    json[kind] = told;
    if !caption.text.is_empty() {
        json["caption"] = json!(caption.text);
    }
    let message = ShownMessage {
        text: caption.text,
        html: caption.html,
        file: Some(file),
        json,
        ..ShownMessage::default()
    };
    put(world, params, message)
}

fn sent_file(params: &Params, kind: &str) -> Result<Sent, Refusal> {
    let given = params.text(kind).unwrap_or_default();
    let part = given.strip_prefix("attach://").unwrap_or(kind);
    if let Some(file) = params.files.iter().find(|file| file.field == part) {
        if file.bytes.is_empty() {
            return Err(fault("file must be non-empty"));
        }
        return Ok(file.clone());
    }
    if given.is_empty() {
        return Err(fault(&format!("there is no {kind} in the request")));
    }
    Ok(Sent {
        field: kind.to_owned(),
        name: given,
        mime: String::new(),
        bytes: Vec::new(),
    })
}

impl World {
    /// Keeps a file that is said to have so many bytes; returns its id.
    pub fn store_file(&mut self, name: &str, bytes: &[u8], size: u64) -> String {
        let number = self.files.len();
        let id = format!("AgACAgIAAxkBAAI{number}");
        let ending = name.rsplit_once('.').map_or("bin", |(_, ending)| ending);
        let file = StoredFile {
            path: format!("files/file_{number}.{ending}"),
            size,
            bytes: bytes.to_vec(),
        };
        self.files.insert(id.clone(), file);
        id
    }
}
