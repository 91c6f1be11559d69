//! Reading parts of a log, against a naive reading of the whole.

use super::*;

use std::sync::OnceLock;

use proptest::prelude::*;

/// A log of lines between 150 bytes and 40 KiB, so that halving meets lines longer than its steps.
/// The clock was set back at the 200th event.
fn long_session() -> &'static (FileStore, Vec<Record>, Vec<usize>) {
    static SESSION: OnceLock<(FileStore, Vec<Record>, Vec<usize>)> = OnceLock::new();
    SESSION.get_or_init(|| {
        let disk = SimDisk::new();
        let store = store_on(disk.clone());
        let mut rng = fastrand::Rng::with_seed(7);
        store.create(&id(1), at(0), vec![start()]).unwrap();
        let mut open = store.open(&id(1)).unwrap();
        let mut last = Seq(1);
        while last.0 < 400 {
            let time = if last.0 < 200 { last.0 } else { last.0 - 150 };
            let count = rng.u64(1..4);
            let events: Vec<Event> = (0..count)
                .map(|n| {
                    let longest = if rng.u8(..20) == 0 { 40_000 } else { 500 };
                    message(last.0 + n + 1, &"x".repeat(rng.usize(..longest)))
                })
                .collect();
            last = append(&mut open, last, at(time), events.clone())
                .unwrap()
                .last()
                .unwrap()
                .seq;
        }
        let bytes = log_bytes(&disk, &id(1));
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let sizes: Vec<usize> = lines.clone().map(<[u8]>::len).collect();
        let records = lines.map(|line| Record::parse(line).unwrap()).collect();
        (store, records, sizes)
    })
}

/// How many of `sizes` a page takes.
fn fitting(sizes: impl Iterator<Item = usize>, limit: ReadLimit) -> usize {
    let mut sum = 0;
    sizes
        .take(limit.records)
        .enumerate()
        .take_while(|(n, size)| {
            sum += size;
            *n == 0 || sum <= limit.bytes
        })
        .count()
}

fn limits() -> impl Strategy<Value = ReadLimit> {
    let records = prop_oneof![0..5usize, 0..450usize, Just(usize::MAX)];
    let bytes = prop_oneof![0..2000usize, 0..900_000usize, Just(usize::MAX)];
    (records, bytes).prop_map(|(records, bytes)| ReadLimit { records, bytes })
}

proptest! {
    #[test]
    fn a_page_forwards_is_what_a_naive_reading_gives(from in 0..420u64, limit in limits()) {
        let (store, records, sizes) = long_session();
        let first = (from.max(1) as usize - 1).min(records.len());
        let count = fitting(sizes[first..].iter().copied(), limit);
        let page = store.records(&id(1), Seq(from), limit).unwrap();
        prop_assert!(page == records[first..first + count]);
    }

    #[test]
    fn a_page_backwards_is_what_a_naive_reading_gives(before in 0..420u64, limit in limits()) {
        let (store, records, sizes) = long_session();
        let end = (before.max(1) as usize - 1).min(records.len());
        let count = fitting(sizes[..end].iter().rev().copied(), limit);
        let page = store.records_before(&id(1), Seq(before), limit).unwrap();
        prop_assert!(page == records[end - count..end]);
    }
}

#[test]
fn every_message_is_found_also_around_a_clock_that_was_set_back() {
    let (store, records, _) = long_session();
    for record in records {
        let Event::UserMessage(message) = &record.event else {
            continue;
        };
        let found = store.find_message(&id(1), &message.message_id).unwrap();
        assert_eq!(found.as_ref(), Some(record));
    }
    assert_eq!(store.find_message(&id(1), &message_id(9999)).unwrap(), None);
    assert_eq!(
        store.find_message(&id(1), &MessageId::mint(0, 1)).unwrap(),
        None
    );
}

#[test]
fn a_page_out_of_a_long_log_reads_little_of_it() {
    let line = |seq: u64| {
        let time = at(seq);
        format!(
            r#"{{"seq":{seq},"timestamp":"{time}","type":"error","code":"x","message":"some words"}}"#
        )
    };
    let log: String = (1..30_000).map(|seq| line(seq) + "\n").collect();
    assert!(log.len() > 2_000_000);
    let disk = disk_with(&id(1), &[("events.jsonl", log.as_bytes())]);
    let counting = duragent::base::fs::FaultFs::counting(Arc::new(disk));
    let store = store_on(counting.clone());
    let limit = ReadLimit {
        records: 50,
        bytes: 1 << 20,
    };
    assert_eq!(
        store.records(&id(1), Seq(15_000), limit).unwrap()[0].seq,
        Seq(15_000)
    );
    assert_eq!(
        store
            .records_before(&id(1), Seq(15_000), limit)
            .unwrap()
            .len(),
        50
    );
    let operations = counting.operations();
    assert!(operations < 80, "{operations} operations");
}

#[test]
fn a_reader_sees_whole_lines_only_while_another_is_being_written() {
    let whole = log_bytes(&disk_after(&appends()), &id(1));
    let events = appends().concat();
    for cut in 0..whole.len() {
        let files = [("events.jsonl", &whole[..cut])];
        let disk = disk_with(&id(1), &files);
        let store = store_on(disk.clone());
        let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(all_events(&store, &id(1)), events[..lines]);
        let before = store.records_before(&id(1), Seq(u64::MAX), ALL).unwrap();
        assert_eq!(events_of(&before), events[..lines]);
        assert_eq!(
            log_bytes(&disk, &id(1)),
            whole[..cut],
            "a reader mends nothing"
        );
    }
}

#[test]
fn readers_follow_a_writer_in_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let fs = Arc::new(duragent::base::fs::RealFs);
    let store = FileStore::new(fs, folder.path().to_owned());
    store.create(&id(1), at(0), vec![start()]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut open = store.open(&id(1)).unwrap();
            for n in 1..200u64 {
                let event = message(n, &"x".repeat(9000));
                append(&mut open, Seq(n), at(n), vec![event]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let mut last = 0;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            let seen = store.summary(&id(1)).unwrap().last_seq.0;
            assert!(seen >= last);
            last = seen;
            let page = store.records(&id(1), Seq(seen), ALL).unwrap();
            assert_eq!(page[0].seq.0, seen);
        }
    });
    assert_eq!(store.summary(&id(1)).unwrap().last_seq, Seq(200));
}
