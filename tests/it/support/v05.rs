//! A workspace as Duragent 0.5 leaves it: `tests/data/v05`.

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::fake_model::FakeModel;
use super::server::{Launch, Workspace};

/// A talk with a tool, whose file begins with event 0 and has a gap.
pub const TALK: &str = "session_01KC4GV8R0T9V3X5Z7A9C1E3G5";
/// A call that waits for somebody's leave.
pub const ASKED: &str = "session_01KC4GV8R0T9V3X5Z7A9C1E3G6";
/// A chat of Telegram, with a torn end.
pub const CHAT: &str = "session_01KC4GV8R0T9V3X5Z7A9C1E3G7";
/// One that is over, of an agent that is gone.
pub const OVER: &str = "session_01KC4GV8R0T9V3X5Z7A9C1E3G8";

/// Where the files are.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v05")
}

/// A copy of the workspace, whose agents are trusted.
pub fn workspace() -> Workspace {
    let workspace = Workspace::new();
    copy(&data().join("workspace"), workspace.path());
    workspace
}

/// A server of it, whose provider is `model`.
pub fn launch<'a>(workspace: &'a Workspace, model: &FakeModel) -> Launch<'a> {
    Launch::new(workspace)
        .env("OPENROUTER_API_KEY", "a-key-of-no-worth")
        .env("OPENROUTER_BASE_URL", &model.url())
}

/// The folder of a session.
pub fn folder(session: &str) -> String {
    format!(".duragent/sessions/{session}")
}

/// All files below a folder, and what they hold.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// Copies a folder; `dot-x` becomes `.x`, which no checkout hides.
pub fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let source = entry.unwrap().path();
        let name = source.file_name().unwrap().to_str().unwrap();
        let target = target.join(name.replacen("dot-", ".", 1));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}
