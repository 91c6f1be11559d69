//! What opening does with a log that a crash, or worse, has left behind.

use super::*;

use duragent::base::fs::{Fault, FaultFs, FaultKind};
use duragent::domain::window::{Limits, Marks};

fn reopened(bytes: &[u8]) -> (SimDisk, FileStore) {
    let disk = disk_with(&id(1), &[("events.jsonl", bytes)]);
    let store = store_on(disk.clone());
    (disk, store)
}

/// How many events the whole lines of `bytes` hold, counting a last one that lacks its newline only.
fn events_in(bytes: &[u8], whole: &[u8]) -> usize {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    lines + usize::from(whole.get(bytes.len()) == Some(&b'\n'))
}

#[test]
fn every_cut_of_a_log_reopens_to_a_prefix_and_the_next_append_lands() {
    let appends = appends();
    let whole = log_bytes(&disk_after(&appends), &id(1));
    let events = appends.concat();
    for cut in 0..=whole.len() {
        let (disk, store) = reopened(&whole[..cut]);
        let kept = events_in(&whole[..cut], &whole);
        let mut open = store.open(&id(1)).unwrap();
        assert_eq!(open.last_seq, Seq(kept as u64), "cut at {cut}");
        let new = message(99, "new");
        append_last(&mut open, at(9), vec![new.clone()]).unwrap();
        drop(open);
        let mut wanted = events[..kept].to_vec();
        wanted.push(new);
        assert_eq!(all_events(&store, &id(1)), wanted, "cut at {cut}");
        assert_eq!(store.open(&id(1)).unwrap().last_seq.0, wanted.len() as u64);
        let torn = fs::read_file(&disk, &in_session(&id(1), "events.jsonl.torn"), u64::MAX);
        let whole_lines = log_prefix(&whole, kept);
        if cut > whole_lines {
            assert_eq!(torn.unwrap(), whole[whole_lines..cut], "cut at {cut}");
        } else {
            assert!(torn.is_err(), "cut at {cut}");
        }
    }
}

/// The bytes of the first `lines` lines.
fn log_prefix(log: &[u8], lines: usize) -> usize {
    log.split_inclusive(|byte| *byte == b'\n')
        .take(lines)
        .map(<[u8]>::len)
        .sum()
}

#[test]
fn a_changed_byte_is_cut_in_the_last_append_and_refused_with_its_line_before_it() {
    let appends = appends();
    let whole = log_bytes(&disk_after(&appends), &id(1));
    let events = appends.concat();
    let earlier = events.len() - appends.last().unwrap().len();
    // The newline before the last append is all that holds it apart from the line above.
    let last_append = log_prefix(&whole, earlier) - 1;
    let (mut cut, mut refused) = (0, 0);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x04;
        let line = 1 + whole[..at].iter().filter(|byte| **byte == b'\n').count();
        let (_, store) = reopened(&changed);
        match store.open(&id(1)) {
            Ok(open) if open.last_seq.0 == events.len() as u64 => {
                // A misspelt `crc` makes a line without checksum, which is accepted.
                assert_eq!(all_events(&store, &id(1)), events, "byte {at}");
                assert_eq!(store.check(&id(1)).unwrap().unchecked, 1);
            }
            Ok(open) => {
                cut += 1;
                assert!(at >= last_append, "byte {at} was papered over");
                assert_eq!(open.last_seq.0, line as u64 - 1, "byte {at}");
                assert_eq!(all_events(&store, &id(1)), events[..line - 1]);
            }
            Err(StoreError::Damaged {
                file, line: told, ..
            }) => {
                refused += 1;
                assert!(at < last_append, "byte {at}");
                assert!(file.ends_with("events.jsonl"));
                assert_eq!(told, line as u64, "byte {at}");
                let read = store.records(&id(1), Seq(1), ALL);
                assert!(matches!(read, Err(StoreError::Damaged { .. })));
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(cut > 800 && refused > 800, "{cut} {refused}");
}

#[test]
fn a_gap_and_a_repeat_are_damage_even_at_the_end() {
    let whole = log_bytes(&disk_after(&appends()), &id(1));
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let gap = [&lines[..3], &lines[4..]].concat().concat();
    let repeat = [&lines[..], &lines[lines.len() - 1..]].concat().concat();
    for (bytes, wanted) in [(gap, 4), (repeat, lines.len() as u64 + 1)] {
        let (_, store) = reopened(&bytes);
        match store.open(&id(1)) {
            Err(StoreError::Damaged { line, .. }) => assert_eq!(line, wanted),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_torn_append_is_cut_whatever_blocks_of_it_were_lost() {
    let appends = appends();
    let whole = log_bytes(&disk_after(&appends), &id(1));
    let kept = appends[..2].concat();
    let from = log_prefix(&whole, kept.len());
    let to = log_prefix(&whole, kept.len() + appends[2].len());
    // Zeros from many places of the third append on, of several lengths.
    for start in (from..to).step_by(3) {
        for end in [start + 1, (start + to) / 2, to] {
            let mut torn = whole[..to].to_vec();
            torn[start..end.max(start + 1)].fill(0);
            let (_, store) = reopened(&torn);
            let read = all_pages(&store);
            let open = store.open(&id(1)).unwrap();
            assert!(open.last_seq.0 >= kept.len() as u64);
            assert!(open.last_seq.0 < (kept.len() + appends[2].len()) as u64);
            assert_eq!(read, all_pages(&store), "readers agree with opening");
        }
    }
}

/// What is read from every place of the log on, and from its end back.
fn all_pages(store: &FileStore) -> Vec<Vec<Record>> {
    let mut pages: Vec<Vec<Record>> = (1..12)
        .map(|from| store.records(&id(1), Seq(from), ALL).unwrap())
        .collect();
    pages.push(store.records_before(&id(1), Seq(u64::MAX), ALL).unwrap());
    pages
}

#[test]
fn a_repair_that_loses_power_leaves_the_torn_bytes_in_one_place_at_least() {
    let whole = log_bytes(&disk_after(&appends()), &id(1));
    let cut = whole.len() - 900;
    let good = whole[..cut]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    let torn = &whole[good..cut];
    assert!(torn.len() > 100);
    for at in 1..40 {
        for seed in 0..30 {
            let (disk, _) = reopened(&whole[..cut]);
            let fault = Fault {
                at,
                kind: FaultKind::Dead,
            };
            let _interrupted = store_on(FaultFs::new(Arc::new(disk.clone()), fault)).open(&id(1));
            let after = disk.cut(&mut fastrand::Rng::with_seed(seed));
            let kept = fs::read_file(&after, &in_session(&id(1), "events.jsonl.torn"), u64::MAX);
            let is_aside = kept.is_ok_and(|kept| kept.ends_with(torn));
            let is_in_place = log_bytes(&after, &id(1)) == whole[..cut];
            assert!(is_aside || is_in_place, "at {at}, seed {seed}");
        }
    }
}

#[test]
fn damage_in_one_session_leaves_the_others_and_the_rest_of_its_history() {
    let disk = SimDisk::new();
    let store = store_on(disk.clone());
    for n in [1, 2] {
        store.create(&id(n), at(0), vec![start()]).unwrap();
        let mut open = store.open(&id(n)).unwrap();
        for seq in 1..200 {
            let event = message(seq, &"x".repeat(300));
            append(&mut open, Seq(seq), at(seq), vec![event]).unwrap();
        }
        let snapshot = snapshot_of(&store, &id(n));
        open.log.save_snapshot(&snapshot).unwrap();
    }
    let mut bytes = log_bytes(&disk, &id(1));
    let middle = log_prefix(&bytes, 99) + 200;
    bytes[middle] ^= 1;
    disk.open(&in_session(&id(1), "events.jsonl"), Open::Empty)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    let damaged = |result: Result<Vec<Record>, StoreError>| match result {
        Err(StoreError::Damaged { line, .. }) => line,
        other => panic!("{other:?}"),
    };
    let page = ReadLimit {
        records: 20,
        bytes: usize::MAX,
    };
    assert_eq!(store.open(&id(1)).unwrap().last_seq, Seq(200));
    assert_eq!(store.summary(&id(1)).unwrap().last_seq, Seq(200));
    assert_eq!(store.records(&id(1), Seq(1), page).unwrap().len(), 20);
    assert_eq!(
        store.records(&id(1), Seq(101), page).unwrap()[0].seq,
        Seq(101)
    );
    assert_eq!(
        store.records_before(&id(1), Seq(201), page).unwrap().len(),
        20
    );
    let page_up_to_damage = store.records(&id(1), Seq(80), page).unwrap();
    assert_eq!(page_up_to_damage.len(), 20);
    for from in [81, 90, 100] {
        assert_eq!(
            damaged(store.records(&id(1), Seq(from), page)),
            100,
            "{from}"
        );
    }
    for before in [101, 110, 120] {
        assert_eq!(
            damaged(store.records_before(&id(1), Seq(before), page)),
            100
        );
    }
    assert!(store.check(&id(1)).is_err());
    assert_eq!(store.check(&id(2)).unwrap().records, 200);
    let error = store.check(&id(1)).unwrap_err().to_string();
    assert!(error.contains("events.jsonl:100 is damaged"), "{error}");
}

#[test]
fn a_snapshot_changes_nothing_but_the_time_it_takes() {
    let disk = disk_after(&appends());
    let store = store_on(disk.clone());
    let without = store.summary(&id(1)).unwrap();
    let mut open = store.open(&id(1)).unwrap();
    assert_eq!(open.snapshot, None);
    let mut early = SessionState::new(Limits::none());
    for record in &store.records(&id(1), Seq(1), ALL).unwrap()[..4] {
        early.apply(record);
    }
    let snapshot = Snapshot {
        summary: early.summary,
        window_seq: Seq(2),
        marks: Marks::default(),
    };
    open.log.save_snapshot(&snapshot).unwrap();
    drop(open);
    assert_eq!(store.summary(&id(1)).unwrap(), without);
    let open = store.open(&id(1)).unwrap();
    assert_eq!(open.snapshot, Some(snapshot));
    assert_eq!(open.last_seq, without.last_seq);
    disk.remove_file(&in_session(&id(1), "state.yaml")).unwrap();
    assert_eq!(store.summary(&id(1)).unwrap(), without);
}

#[test]
fn damage_in_what_a_snapshot_covers_hides_no_session_however_short() {
    let log = log_bytes(
        &disk_after(&[vec![start()], vec![message(1, "hi")]]),
        &id(1),
    );
    let disk = disk_with(&id(1), &[("events.jsonl", &log)]);
    let store = store_on(disk.clone());
    let whole = store.summary(&id(1)).unwrap();
    let snapshot = snapshot_of(&store, &id(1));
    store
        .open(&id(1))
        .unwrap()
        .log
        .save_snapshot(&snapshot)
        .unwrap();
    let damaged = [&log[..40], b"#", &log[41..]].concat();
    let mut file = disk
        .open(&in_session(&id(1), "events.jsonl"), Open::Empty)
        .unwrap();
    file.write_all(&damaged).unwrap();
    assert_eq!(store.summary(&id(1)).unwrap(), whole);
    store.forget_snapshot(&id(1)).unwrap();
    assert!(store.summary(&id(1)).is_err());
}

#[test]
fn a_snapshot_that_does_not_fit_is_ignored() {
    let disk = disk_after(&appends());
    let store = store_on(disk.clone());
    let snapshot = snapshot_of(&store, &id(1));
    store
        .open(&id(1))
        .unwrap()
        .log
        .save_snapshot(&snapshot)
        .unwrap();
    let path = in_session(&id(1), "state.yaml");
    let good = String::from_utf8(fs::read_file(&disk, &path, u64::MAX).unwrap()).unwrap();
    let log = log_bytes(&disk, &id(1));
    let len = log.len();
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} in {good}");
        good.replace(from, to)
    };
    let cases = [
        (String::new(), len),
        (good[..good.len() / 2].to_owned(), len),
        ("]".to_owned(), len),
        (replaced("schema_version: 1", "schema_version: 2"), len),
        (replaced(id(1).as_str(), id(2).as_str()), len),
        (
            replaced(
                &format!("log_offset: {len}"),
                &format!("log_offset: {}", len - 1),
            ),
            len,
        ),
        (
            replaced(
                &format!("log_offset: {len}"),
                &format!("log_offset: {}", len + 1),
            ),
            len,
        ),
        (
            replaced(&format!("log_offset: {len}"), "log_offset: 0"),
            len,
        ),
        (replaced("last_seq: 9", "last_seq: 8"), len),
        (good.clone(), log_prefix(&log, 8)),
    ];
    for (text, log_len) in cases {
        let files = [
            ("events.jsonl", &log[..log_len]),
            ("state.yaml", text.as_bytes()),
        ];
        let store = store_on(disk_with(&id(1), &files));
        let open = store.open(&id(1)).unwrap();
        assert_eq!(open.snapshot, None, "{text}");
        assert!(open.last_seq >= Seq(8));
        assert_eq!(store.summary(&id(1)).unwrap().last_seq, open.last_seq);
    }
    let files = [("events.jsonl", &log[..]), ("state.yaml", good.as_bytes())];
    let open = store_on(disk_with(&id(1), &files)).open(&id(1)).unwrap();
    assert_eq!(open.snapshot, Some(snapshot));
}

#[test]
fn opening_with_a_snapshot_reads_the_tail_only() {
    let disk = SimDisk::new();
    let store = store_on(disk.clone());
    store.create(&id(1), at(0), vec![start()]).unwrap();
    let mut open = store.open(&id(1)).unwrap();
    let events: Vec<Event> = (1..3000).map(|n| message(n, &"x".repeat(1000))).collect();
    append(&mut open, Seq(1), at(1), events.clone()).unwrap();
    let reads = |disk: &SimDisk| {
        let counting = FaultFs::counting(Arc::new(disk.clone()));
        store_on(counting.clone()).open(&id(1)).unwrap();
        counting.operations()
    };
    let without = reads(&disk);
    open.log
        .save_snapshot(&snapshot_of(&store, &id(1)))
        .unwrap();
    let with = reads(&disk);
    assert!(
        without > 45 && with < 30,
        "{without} without, {with} with a snapshot"
    );
}
