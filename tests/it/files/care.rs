//! What looks after sessions knows their files: checks, imports, disks that fail.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;

use duragent::base::fs::{Fault, FaultFs, FaultKind, Fs, SimDisk};
use duragent::domain::files::{FileKey, MediaType};
use duragent::domain::ids::SessionId;
use duragent::domain::message::MessageText;
use duragent::domain::principal::Principal;
use duragent::engine::{NewMessage, SessionDraft, Sessions};
use duragent::store::SessionStore as _;
use duragent::store::file::FileStore;
use serde_json::{Value, json};

use super::{brought, say_with, served};
use crate::support::bench::{Bench, echo};
use crate::support::fake_model::FakeModel;
use crate::support::process::{Limited as _, duragent};
use crate::support::server::Workspace;
use crate::support::sessions::{Setup, providers, start_with};

/// A workspace with a session to whose message two files belong, without its server; the keys of the
/// files.
fn with_two_files() -> (Workspace, String, [String; 2]) {
    let (server, session) = served();
    let keys = [b"one", b"two"].map(|bytes| brought(&server, &session, "image/png", bytes));
    brought(&server, &session, "image/png", b"of no message");
    let files: Vec<Value> = keys.iter().map(|file| json!({"file": file})).collect();
    let body = json!({"content": "look", "attachments": files});
    assert_eq!(say_with(&server, &session, &body).status, 200);
    let (workspace, server) = server.apart();
    drop(server);
    (workspace, session, keys)
}

fn file_of(workspace: &Workspace, session: &str, key: &str) -> PathBuf {
    workspace.file(&format!(
        ".duragent/sessions/{session}/files/{}",
        &key[..64]
    ))
}

/// What a command prints as JSON, and whether it ended well.
fn told(workspace: &Workspace, arguments: &[&str]) -> (bool, Value) {
    let mut command = duragent(workspace.path());
    let output = command.args(arguments).output_in_time().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.success(), told)
}

#[test]
fn a_check_misses_files_that_a_log_names() {
    let (workspace, session, keys) = with_two_files();
    let check = ["session", "check", "--all", "--json"];
    let (is_good, report) = told(&workspace, &check);
    assert!(is_good, "{report}");
    assert_eq!(report[0].get("lost_files"), None);

    fs::write(file_of(&workspace, &session, &keys[0]), "other bytes").unwrap();
    fs::remove_file(file_of(&workspace, &session, &keys[1])).unwrap();
    let (is_good, report) = told(&workspace, &check);
    assert!(!is_good);
    assert_eq!(report[0]["lost_files"], 2);
    assert_eq!(report[0]["damaged_places"], 0);
    // No mending brings them back.
    let repair = ["session", "check", "--all", "--repair", "--json"];
    assert!(!told(&workspace, &repair).0);
}

#[test]
fn an_import_brings_the_files_that_are_what_their_names_say() {
    let (source, session, keys) = with_two_files();
    let folder = source.file(&format!(".duragent/sessions/{session}"));
    let secret = source.file("secret");
    fs::write(&secret, "two").unwrap();
    for (what, change) in [
        ("nothing", None),
        ("damaged", Some("other bytes")),
        ("a link", None),
        ("a linked folder", None),
    ] {
        let two = file_of(&source, &session, &keys[1]);
        if let Some(other) = change {
            fs::write(&two, other).unwrap();
        }
        if what == "a link" {
            fs::remove_file(&two).unwrap();
            symlink(&secret, &two).unwrap();
        }
        if what == "a linked folder" {
            let moved = source.file("moved");
            fs::rename(folder.join("files"), &moved).unwrap();
            symlink(&moved, folder.join("files")).unwrap();
        }
        let target = Bench::new().agent(echo("ada")).workspace();
        let arguments = ["session", "import", folder.to_str().unwrap(), "--json"];
        let (is_good, report) = told(&target, &arguments);
        assert!(is_good, "{what}: {report}");
        let lost = match what {
            "nothing" => 0,
            "a linked folder" => 2,
            _ => 1,
        };
        let said = report[0].get("lost_files").and_then(Value::as_u64);
        assert_eq!(said.unwrap_or(0), lost, "{what}: {report}");
        let read = |key: &str| fs::read(file_of(&target, &session, key)).ok();
        let is_there = |index: usize| Some(b"onetwo"[index * 3..][..3].to_vec());
        assert_eq!(
            [read(&keys[0]), read(&keys[1])],
            [
                if lost < 2 { is_there(0) } else { None },
                if lost < 1 { is_there(1) } else { None },
            ],
            "{what}"
        );
        // What no message names stays behind.
        if lost == 0 {
            let files = target.file(&format!(".duragent/sessions/{session}/files"));
            assert_eq!(fs::read_dir(files).unwrap().count(), 2);
        }
    }
}

fn engine_on(disk: impl Fs + 'static, model: &FakeModel) -> Sessions {
    let store = FileStore::new(Arc::new(disk), PathBuf::from("/workspace"));
    start_with(store, providers(), &model.url(), &Setup::default())
}

/// A message with a file, in a new session; what was acknowledged of it.
fn say_on(sessions: &Sessions) -> (Option<SessionId>, Option<FileKey>, bool) {
    let draft = SessionDraft::new("helper", Principal::Owner);
    let Ok(session) = sessions.create(&draft) else {
        return (None, None, false);
    };
    let Ok(file) = sessions.add_file(&session.id, MediaType::TEXT, b"the bytes") else {
        return (Some(session.id), None, false);
    };
    let message = NewMessage {
        attachments: vec![file.clone()],
        ..NewMessage::new(Principal::Owner, MessageText::beside_files(""))
    };
    let file = FileKey::parse(&file.file).unwrap();
    let is_stored = sessions.submit(&session.id, message).is_ok();
    (Some(session.id), Some(file), is_stored)
}

#[test]
fn without_power_from_any_operation_on_no_file_that_was_acknowledged_is_lost() {
    let model = FakeModel::start();
    let clean = FaultFs::counting(Arc::new(SimDisk::new()));
    let told = say_on(&engine_on(clean.clone(), &model));
    assert!(told.2);
    let (mut kept, mut messages) = (0, 0);
    for at in 1..=clean.operations() + 1 {
        let disk = SimDisk::new();
        let kind = FaultKind::Dead;
        let dying = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
        let (session, file, is_stored) = say_on(&engine_on(dying, &model));
        let mut random = fastrand::Rng::with_seed(at);
        let after = disk.cut(&mut random);
        let store = FileStore::new(Arc::new(after.clone()), PathBuf::from("/workspace"));
        store.finish_deletions().unwrap();
        if let (Some(session), Some(file)) = (&session, &file) {
            let sessions = engine_on(after, &model);
            let found = sessions.read_file(session, file);
            assert_eq!(found.unwrap(), b"the bytes", "{at}");
            kept += 1;
        }
        // A message that is there has its file, whether it was acknowledged or not.
        for id in store.list(None, 9).unwrap() {
            let report = store.examine(&id).unwrap();
            assert_eq!(report.lost_files, 0, "{at}");
        }
        messages += u32::from(is_stored);
    }
    assert!(kept > messages && messages > 0, "{kept} {messages}");
}

#[test]
fn a_full_disk_takes_no_file_and_no_half_of_one() {
    let model = FakeModel::start();
    let full_from = Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let disk = SimDisk::new();
    let failing = FaultFs::full_from(
        Arc::new(disk.clone()),
        rustix::io::Errno::NOSPC,
        Arc::clone(&full_from),
    );
    let sessions = engine_on(failing, &model);
    let draft = SessionDraft::new("helper", Principal::Owner);
    let id = sessions.create(&draft).unwrap().id;
    full_from.store(0, std::sync::atomic::Ordering::SeqCst);
    let refused = sessions.add_file(&id, MediaType::TEXT, b"a").unwrap_err();
    assert!(
        matches!(refused, duragent::engine::EngineError::DiskFull(_)),
        "{refused:?}"
    );
    full_from.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
    let file = sessions.add_file(&id, MediaType::TEXT, b"a").unwrap();
    let key = FileKey::parse(&file.file).unwrap();
    assert_eq!(sessions.read_file(&id, &key).unwrap(), b"a");
}

#[test]
fn a_session_holds_no_more_than_its_limits() {
    let model = FakeModel::start();
    let sessions = engine_on(SimDisk::new(), &model);
    let draft = SessionDraft::new("helper", Principal::Owner);
    let id = sessions.create(&draft).unwrap().id;
    let mut large = vec![0_u8; 10 << 20];
    let mut taken = 0;
    let refused = loop {
        large[0] = taken;
        match sessions.add_file(&id, MediaType::UNKNOWN, &large) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(taken, 25, "256 MiB hold as many");
    assert!(refused.to_string().contains("256.0 MB"), "{refused}");
    // What is there is taken again, and other sessions have room of their own.
    large[0] = 0;
    sessions.add_file(&id, MediaType::UNKNOWN, &large).unwrap();
    let other = sessions.create(&draft).unwrap().id;
    large[0] = 99;
    sessions
        .add_file(&other, MediaType::UNKNOWN, &large)
        .unwrap();
    let too_long = vec![0; (10 << 20) + 1];
    let refused = sessions.add_file(&other, MediaType::UNKNOWN, &too_long);
    assert!(refused.unwrap_err().to_string().contains("10485760"));
}
