//! Appending, creating, listing and deleting.

use super::*;

use std::sync::atomic::{AtomicU64, Ordering};

use duragent::base::fs::{Fault, FaultFs, FaultKind, RealFs};
use duragent::domain::ids::TurnId;
use duragent::store::{CreationKey, CreationKeys, PartialHead};
use rustix::io::Errno;

/// A store on real files.
fn real_store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(Arc::new(RealFs), folder.path().join(".duragent"));
    (folder, store)
}

#[test]
fn a_session_in_real_files_is_there_after_everything_was_closed() {
    let (folder, store) = real_store();
    assert_eq!(store.list(None, 10).unwrap(), []);
    assert!(!store.contains(&id(1)).unwrap());
    store
        .create(&id(1), at(0), vec![start(), message(1, "hello")])
        .unwrap();
    let mut open = store.open(&id(1)).unwrap();
    let stored = append(
        &mut open,
        Seq(2),
        at(2),
        vec![message(2, "x"), message(3, "y")],
    )
    .unwrap();
    let numbers: Vec<(u64, bool)> = stored.iter().map(|one| (one.seq.0, one.cont)).collect();
    assert_eq!(numbers, [(3, false), (4, true)]);
    open.log
        .save_snapshot(&snapshot_of(&store, &id(1)))
        .unwrap();
    let head = PartialHead {
        turn_id: TurnId::mint(1, 1),
        message_id: message_id(9),
        input_seq: Seq(4),
        model: "echo/echo".to_owned(),
    };
    open.journal.begin(&head).unwrap();
    open.journal.push("so ").unwrap();
    open.journal.push("far").unwrap();
    drop((open, store));

    let store = FileStore::new(Arc::new(RealFs), folder.path().join(".duragent"));
    let open = store.open(&id(1)).unwrap();
    assert_eq!(open.last_seq, Seq(4));
    assert_eq!(open.snapshot.unwrap().summary.last_seq, Seq(4));
    let partial = open.partial.unwrap();
    assert_eq!((partial.head, &*partial.text), (head, "so far"));
    assert_eq!(open.log.len_bytes(), folder_file(&folder, "events.jsonl"));
    let wanted = [
        start(),
        message(1, "hello"),
        message(2, "x"),
        message(3, "y"),
    ];
    assert_eq!(all_events(&store, &id(1)), wanted);
    assert!(store.free_bytes().unwrap() > 0);
}

fn folder_file(folder: &tempfile::TempDir, name: &str) -> u64 {
    let sessions = folder.path().join(".duragent/sessions");
    let path = sessions.join(id(1).as_str()).join(name);
    path.metadata().unwrap().len()
}

#[test]
fn an_append_names_the_end_that_it_expects() {
    let disk = disk_after(&appends());
    let store = store_on(disk);
    let mut open = store.open(&id(1)).unwrap();
    for wrong in [0, 8, 10] {
        match append(&mut open, Seq(wrong), at(1), vec![message(1, "x")]) {
            Err(StoreError::Conflict { expected, actual }) => {
                assert_eq!((expected, actual), (Seq(wrong), Seq(9)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(append(&mut open, Seq(9), at(1), vec![]).unwrap().is_empty());
    assert!(append(&mut open, Seq(9), at(1), vec![Event::Unknown]).is_err());
    append(&mut open, Seq(9), at(1), vec![message(1, "x")]).unwrap();
    assert_eq!(all_events(&store, &id(1)).len(), 10);
}

#[test]
fn sessions_are_listed_newest_first_in_pages_and_leftovers_are_not_among_them() {
    let (folder, store) = real_store();
    let ids: Vec<SessionId> = (0..25).map(|n| SessionId::mint(1000 + n, 0)).collect();
    for id in &ids {
        store.create(id, at(0), vec![start()]).unwrap();
    }
    let sessions = folder.path().join(".duragent/sessions");
    for other in [
        format!(".deleted-{}", id(1)),
        format!(".new-{}", id(2)),
        "x".to_owned(),
    ] {
        std::fs::create_dir(sessions.join(other)).unwrap();
    }
    let mut listed = store.list(None, 10).unwrap();
    while let Some(last) = listed.last() {
        let page = store.list(Some(last), 10).unwrap();
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    listed.reverse();
    assert_eq!(listed, ids);
    store.finish_deletions().unwrap();
    assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 26);
}

#[test]
fn a_deleted_session_is_gone_and_its_id_is_not_found_anywhere() {
    let (folder, store) = real_store();
    store.create(&id(1), at(0), vec![start()]).unwrap();
    store.delete(&id(1)).unwrap();
    let not_found = |error: StoreError| matches!(error, StoreError::NotFound(_));
    assert!(not_found(store.delete(&id(1)).unwrap_err()));
    assert!(not_found(store.open(&id(1)).unwrap_err()));
    assert!(not_found(store.summary(&id(1)).unwrap_err()));
    assert!(not_found(store.records(&id(1), Seq(1), ALL).unwrap_err()));
    assert!(!store.contains(&id(1)).unwrap());
    let sessions = folder.path().join(".duragent/sessions");
    assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 0);
}

#[test]
fn a_session_that_exists_is_not_created_again() {
    let disk = disk_after(&appends());
    let store = store_on(disk);
    assert!(store.create(&id(1), at(0), vec![start()]).is_err());
    assert_eq!(all_events(&store, &id(1)), appends().concat());
}

#[test]
fn many_threads_create_sessions_at_once() {
    let (_folder, store) = real_store();
    std::thread::scope(|scope| {
        for thread in 0..16u128 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..5 {
                    store
                        .create(&id(thread * 100 + n), at(0), vec![start()])
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(store.list(None, 1000).unwrap().len(), 80);
    assert_eq!(store.summary(&id(1504)).unwrap().last_seq, Seq(1));
}

#[test]
fn keys_of_creation_survive_and_are_compared_whole() {
    let (folder, store) = real_store();
    let value = CreationKey {
        agent: "assistant".to_owned(),
        session_id: id(1),
        created_at: at(0),
    };
    let keys = CreationKeys::new(store.documents());
    keys.put("a/b ../c", &value).unwrap();
    let store = FileStore::new(Arc::new(RealFs), folder.path().join(".duragent"));
    let keys = CreationKeys::new(store.documents());
    assert_eq!(keys.get("a/b ../c", at(60)).unwrap(), Some(value));
    assert_eq!(keys.get("a/b", at(60)).unwrap(), None);
    assert_eq!(keys.get("a/b ../c", at(25 * 3600)).unwrap(), None);
}

#[test]
fn a_snapshot_stays_within_4_kib_or_is_not_written() {
    let disk = disk_after(&appends());
    let store = store_on(disk.clone());
    let mut open = store.open(&id(1)).unwrap();
    let mut snapshot = snapshot_of(&store, &id(1));
    snapshot.summary.key_marks = (0..11).map(|n| Seq(u64::MAX - n)).collect();
    snapshot.summary.title = Some("ä\"\n".repeat(300));
    open.log.save_snapshot(&snapshot).unwrap();
    assert_eq!(
        store.open(&id(1)).unwrap().snapshot.as_ref(),
        Some(&snapshot)
    );
    let mut large = snapshot.clone();
    large.summary.title = Some("x".repeat(5000));
    open.log.save_snapshot(&large).unwrap();
    let bytes = fs::read_file(&disk, &in_session(&id(1), "state.yaml"), 4096);
    assert!(bytes.is_ok());
    assert_eq!(store.open(&id(1)).unwrap().snapshot, Some(snapshot));
}

#[test]
fn a_snapshot_keeps_words_that_look_like_something_else() {
    let store = store_on(disk_after(&appends()));
    let mut open = store.open(&id(1)).unwrap();
    for title in [
        "12",
        "true",
        "null",
        "~",
        "1e3",
        " x ",
        "a: b",
        "- x",
        "2026-11-22",
        "'\"",
        "\u{7f}",
        "\t",
    ] {
        let mut snapshot = snapshot_of(&store, &id(1));
        snapshot.summary.title = Some(title.to_owned());
        snapshot.summary.gateway_chat_id = Some(title.to_owned());
        open.log.save_snapshot(&snapshot).unwrap();
        assert_eq!(
            store.open(&id(1)).unwrap().snapshot,
            Some(snapshot),
            "{title:?}"
        );
    }
}

/// A session on a disk of which one operation of the next append fails: `kind` at its write (1),
/// its sync or cut (2), and so on.
fn open_with_fault(at: u64, kind: FaultKind) -> (SimDisk, FileStore, duragent::store::OpenSession) {
    let disk = disk_after(&appends());
    let counting = FaultFs::counting(Arc::new(disk.clone()));
    let opening = {
        store_on(counting.clone()).open(&id(1)).unwrap();
        counting.operations()
    };
    let fault = Fault {
        at: opening + at,
        kind,
    };
    let store = store_on(FaultFs::new(Arc::new(disk.clone()), fault));
    let open = store.open(&id(1)).unwrap();
    (disk, store, open)
}

#[test]
fn a_full_disk_stores_nothing_and_the_log_goes_on_afterwards() {
    for bytes in [0, 1, 40, 200, 10_000] {
        let errno = Errno::NOSPC;
        let (disk, _, mut open) = open_with_fault(1, FaultKind::ShortWrite { bytes, errno });
        let before = log_bytes(&disk, &id(1));
        let events = [message(20, "x"), message(21, "y")];
        let refused = append(&mut open, Seq(9), at(1), events.clone());
        assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
        assert_eq!(log_bytes(&disk, &id(1)), before);
        for seed in 0..50 {
            let after = disk.cut(&mut fastrand::Rng::with_seed(seed));
            assert_eq!(log_bytes(&after, &id(1)), before, "also after a power cut");
        }
        append(&mut open, Seq(9), at(1), events.clone()).unwrap();
        assert_eq!(all_events(&store_on(disk), &id(1)).len(), 11);
    }
}

#[test]
fn a_write_that_wrote_nothing_needs_no_cut_which_a_read_only_disk_would_refuse() {
    let from = Arc::new(AtomicU64::new(u64::MAX));
    let disk = disk_after(&appends());
    let fs = FaultFs::full_from(Arc::new(disk), Errno::ROFS, Arc::clone(&from));
    let store = store_on(fs.clone());
    let mut open = store.open(&id(1)).unwrap();
    from.store(0, Ordering::SeqCst);
    let before = fs.operations();
    let refused = append(&mut open, Seq(9), at(1), vec![message(20, "x")]);
    assert!(matches!(refused, Err(StoreError::Io { .. })), "{refused:?}");
    assert_eq!(fs.operations(), before + 2, "a write and a length");
    from.store(u64::MAX, Ordering::SeqCst);
    append(&mut open, Seq(9), at(1), vec![message(20, "x")]).unwrap();
}

#[test]
fn after_a_failed_sync_nothing_is_written_or_synced_until_the_next_process() {
    let (disk, store, mut open) = open_with_fault(2, FaultKind::Error(Errno::IO));
    let events = [message(20, "x")];
    let unsure = append(&mut open, Seq(9), at(1), events.clone());
    assert!(is_read_only(&unsure), "{unsure:?}");
    let bytes = log_bytes(&disk, &id(1));
    for _ in 0..3 {
        assert!(is_read_only(&append(
            &mut open,
            Seq(9),
            at(1),
            events.clone()
        )));
        assert!(is_read_only(&append(
            &mut open,
            Seq(10),
            at(1),
            events.clone()
        )));
    }
    assert_eq!(log_bytes(&disk, &id(1)), bytes);
    store.create(&id(2), at(0), vec![start()]).unwrap();
    drop(open);
    let again = store.open(&id(1)).map(|_| ());
    assert!(matches!(again, Err(StoreError::ReadOnly(_))), "{again:?}");
    let mut open = store_on(disk).open(&id(1)).unwrap();
    assert_eq!(open.last_seq, Seq(10), "it was stored after all");
    append(&mut open, Seq(10), at(1), events.clone()).unwrap();
}

#[test]
fn a_failed_cut_after_a_short_write_gives_the_log_up() {
    let disk = disk_after(&appends());
    let counting = FaultFs::counting(Arc::new(disk.clone()));
    store_on(counting.clone()).open(&id(1)).unwrap();
    let opening = counting.operations();
    // The write fails with half a line written, and so does the cut, after a look at the length.
    let kind = FaultKind::ShortWrite {
        bytes: 30,
        errno: Errno::IO,
    };
    let short = FaultFs::new(
        Arc::new(disk.clone()),
        Fault {
            at: opening + 1,
            kind,
        },
    );
    let kind = FaultKind::Error(Errno::IO);
    let both = FaultFs::new(
        Arc::new(short),
        Fault {
            at: opening + 3,
            kind,
        },
    );
    let mut open = store_on(both).open(&id(1)).unwrap();
    assert!(is_read_only(&append(
        &mut open,
        Seq(9),
        at(1),
        &[message(20, "x")]
    )));
    assert!(is_read_only(&append(
        &mut open,
        Seq(9),
        at(1),
        &[message(20, "x")]
    )));
    drop(open);
    let open = store_on(disk).open(&id(1)).unwrap();
    assert_eq!(open.last_seq, Seq(9));
}
