//! Formats that were released, and ones that are yet to come.

use super::*;

use duragent::base::fs::RealFs;
use duragent::domain::event::Status;

const FIXTURE: &str = "session_01KAM6VJT0000000000000000A";

/// A copy of a fixture: opening one may write.
fn fixture(format: &str) -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats");
    let source = data.join(format).join(FIXTURE);
    let target = folder.path().join("sessions").join(FIXTURE);
    std::fs::create_dir_all(&target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
    }
    let store = FileStore::new(Arc::new(RealFs), folder.path().to_owned());
    (folder, store)
}

#[test]
fn format_1_is_read() {
    let (folder, store) = fixture("1");
    let id = SessionId::parse(FIXTURE).unwrap();
    assert_eq!(store.list(None, 10).unwrap(), std::slice::from_ref(&id));
    let checked = store.check(&id).unwrap();
    assert_eq!(
        (checked.records, checked.unchecked, checked.torn_bytes),
        (20, 1, 0)
    );
    let records = store.records(&id, Seq(1), ALL).unwrap();
    let unknown: Vec<u64> = records
        .iter()
        .filter(|record| record.event == Event::Unknown)
        .map(|record| record.seq.0)
        .collect();
    assert_eq!(unknown, [14]);

    let open = store.open(&id).unwrap();
    assert_eq!(open.last_seq, Seq(20));
    assert_eq!(open.snapshot.unwrap().summary.last_seq, Seq(13));
    assert_eq!(open.partial.unwrap().text, "It is still S");
    let summary = store.summary(&id).unwrap();
    assert_eq!(summary.title.as_deref(), Some("Days"));
    assert_eq!(summary.gateway_chat_id.as_deref(), Some("42"));
    assert_eq!((summary.status, summary.unfinished), (Status::Active, true));
    assert_eq!(summary.usage.total_tokens, 235);
    let target = folder.path().join("sessions").join(FIXTURE);
    std::fs::remove_file(target.join("state.yaml")).unwrap();
    assert_eq!(store.summary(&id).unwrap(), summary);
}

#[test]
fn a_record_of_format_1_is_written_as_it_stands_in_the_fixture() {
    let (_folder, store) = fixture("1");
    let id_1 = SessionId::parse(FIXTURE).unwrap();
    let records = store.records(&id_1, Seq(1), ALL).unwrap();
    let disk = SimDisk::new();
    let copy = store_on(disk.clone());
    copy.create(&id(1), records[0].timestamp, vec![records[0].event.clone()])
        .unwrap();
    let mut open = copy.open(&id(1)).unwrap();
    for piece in records[1..13].chunk_by(|_, next| next.cont) {
        let last = Seq(piece[0].seq.0 - 1);
        append(&mut open, last, piece[0].timestamp, events_of(piece)).unwrap();
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/formats/1");
    let wanted = std::fs::read_to_string(data.join(FIXTURE).join("events.jsonl")).unwrap();
    // The fixture writes `ä` as an escape, which is as good.
    let written = String::from_utf8(log_bytes(&disk, &id(1))).unwrap();
    for (number, (written, wanted)) in written.lines().zip(wanted.lines()).enumerate() {
        if number != 1 {
            assert_eq!(written, wanted);
        }
    }
    assert_eq!(written.lines().count(), 13);
}

#[test]
fn a_session_of_a_newer_format_is_refused_and_left_alone() {
    let line = r#"{"seq":1,"timestamp":"2026-11-22T06:00:00Z","type":"session_start","format":2,"agent":"a","on_disconnect":"pause"}"#;
    let text = format!("{line}\nsomething else entirely");
    let disk = disk_with(&id(1), &[("events.jsonl", text.as_bytes())]);
    let store = store_on(disk.clone());
    let newer = |error: StoreError| matches!(error, StoreError::NewerFormat { format: 2, .. });
    assert!(newer(store.open(&id(1)).unwrap_err()));
    assert!(newer(store.summary(&id(1)).unwrap_err()));
    assert!(newer(store.records(&id(1), Seq(1), ALL).unwrap_err()));
    assert_eq!(log_bytes(&disk, &id(1)), text.as_bytes());
}
