//! Mending a damaged log: what can be read stays, what cannot leaves a mark, and nothing is lost on
//! the way.

use super::*;

use duragent::base::fs::{Fault, FaultFs, FaultKind};
use duragent::store::file::repair::{EVENT_LOST, Mended, RepairError, SnapshotFit};
use rustix::io::Errno;

/// The lines of a log, each with its newline.
fn lines(log: &[u8]) -> Vec<Vec<u8>> {
    log.split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

fn good_log() -> Vec<u8> {
    log_bytes(&disk_after(&appends()), &id(1))
}

fn disk_of(log: &[u8]) -> SimDisk {
    let disk = disk_with(&id(1), &[("events.jsonl", log)]);
    disk.sync_dir(&Path::new(ROOT).join("sessions")).unwrap();
    disk
}

fn copy_bytes(disk: &SimDisk, number: u32) -> Option<Vec<u8>> {
    let name = format!("events.jsonl.damaged-{number}");
    fs::read_file(disk, &in_session(&id(1), &name), u64::MAX).ok()
}

/// The numbers of events that a mended log marks as lost; the others must be as they were.
fn lost_in(store: &FileStore) -> Vec<u64> {
    let events = appends().concat();
    let mut lost = Vec::new();
    for (record, seq) in store.records(&id(1), Seq(1), ALL).unwrap().iter().zip(1..) {
        assert_eq!(record.seq, Seq(seq));
        match &record.event {
            Event::Error { code, .. } if code == EVENT_LOST => lost.push(seq),
            event => assert_eq!(*event, events[seq as usize - 1]),
        }
    }
    lost
}

/// Mends a log, and checks what must hold of every mended log.
fn mended(log: &[u8]) -> (SimDisk, FileStore, Mended) {
    let disk = disk_of(log);
    let store = store_on(disk.clone());
    let mended = store.repair(&id(1)).unwrap().unwrap();
    assert_eq!(copy_bytes(&disk, 1).as_deref(), Some(log));
    assert!(store.check(&id(1)).is_ok());
    let report = store.examine(&id(1)).unwrap();
    assert!(report.is_whole() && report.torn_bytes == 0, "{report:?}");
    assert_eq!(store.repair(&id(1)).unwrap(), None);
    (disk, store, mended)
}

#[test]
fn a_good_log_is_left_alone() {
    let disk = disk_of(&good_log());
    let store = store_on(disk.clone());
    assert_eq!(store.repair(&id(1)).unwrap(), None);
    assert_eq!(copy_bytes(&disk, 1), None);
    let report = store.examine(&id(1)).unwrap();
    assert_eq!((report.records, report.unchecked), (9, 0));
    assert!(report.is_whole());
    assert_eq!(report.snapshot, SnapshotFit::Missing);
}

/// Lines 2 and 3 begin appends that others follow, line 1 is needed for itself, and what is wrong
/// in the last append is cut as at every opening.
#[test]
fn only_the_damaged_events_are_lost_and_each_leaves_a_mark() {
    let good = lines(&good_log());
    for place in 1..5 {
        let mut flipped = good.clone();
        flipped[place][40] ^= 1;
        let mut missing = good.clone();
        missing.remove(place);
        let mut garbage = good.clone();
        garbage[place] = b"\x00\xffrubbish\n".to_vec();
        for log in [flipped, missing, garbage] {
            let (_, store, mended) = mended(&log.concat());
            assert_eq!(lost_in(&store), [place as u64 + 1]);
            assert_eq!((mended.lost, mended.torn_bytes), (1, 0));
            // It takes new events.
            let mut open = store.open(&id(1)).unwrap();
            assert_eq!(open.last_seq, Seq(9));
            let new = [message(99, "new")];
            append_last(&mut open, at(9), new.clone()).unwrap();
        }
    }
}

#[test]
fn many_kinds_of_damage_at_once_are_told_with_their_lines_and_mended() {
    let mut log = lines(&good_log());
    log[1][40] ^= 1;
    log.remove(3);
    log.insert(4, b"{\"not\": \"ours\"}\n".to_vec());
    let repeated = log[4 + 1].clone();
    log.insert(6, repeated);
    let bytes = log.concat();
    let report = store_on(disk_of(&bytes)).examine(&id(1)).unwrap();
    let places: Vec<u64> = report.damage.iter().map(|damage| damage.line).collect();
    assert_eq!(places, [2, 4, 5, 7], "{:?}", report.damage);
    assert_eq!((report.missing, report.damaged_places), (2, 4));
    let (_, store, mended) = mended(&bytes);
    assert_eq!(mended.lost, 2);
    assert_eq!(lost_in(&store), [2, 4]);
}

#[test]
fn damage_before_a_torn_end_is_mended_and_the_end_is_cut() {
    let mut log = lines(&good_log());
    log[2][40] ^= 1;
    let last = log.last_mut().unwrap();
    last.truncate(20);
    let (disk, store, mended) = mended(&log.concat());
    assert_eq!((mended.lost, mended.torn_bytes), (1, 20));
    assert_eq!(lost_in(&store), [3]);
    assert_eq!(store.open(&id(1)).unwrap().last_seq, Seq(8));
    let torn = fs::read_file(&disk, &in_session(&id(1), "events.jsonl.torn"), u64::MAX);
    assert_eq!(torn.unwrap(), log.last().unwrap()[..20]);
}

#[test]
fn a_torn_end_alone_is_cut_and_a_missing_newline_added() {
    let good = good_log();
    let (_, store, mended) = mended(&good[..good.len() - 30]);
    assert_eq!(mended.lost, 0);
    assert!(mended.torn_bytes > 0);
    assert_eq!(lost_in(&store), [0; 0]);
    let (disk, _, _) = mended_newline(&good);
    assert_eq!(log_bytes(&disk, &id(1)), good);
}

fn mended_newline(good: &[u8]) -> (SimDisk, FileStore, Mended) {
    mended(&good[..good.len() - 1])
}

#[test]
fn a_lost_beginning_is_written_again_from_the_snapshot() {
    let whole = disk_after(&appends());
    let store = store_on(whole.clone());
    let snapshot = snapshot_of(&store, &id(1));
    let mut open = store.open(&id(1)).unwrap();
    open.log.save_snapshot(&snapshot).unwrap();
    let state = fs::read_file(&whole, &in_session(&id(1), "state.yaml"), u64::MAX).unwrap();
    let without_first = lines(&good_log())[1..].concat();
    for (log, records) in [(without_first.as_slice(), 9), (b"", 1), (b"rubbish", 1)] {
        let disk = disk_with(&id(1), &[("events.jsonl", log), ("state.yaml", &state)]);
        let store = store_on(disk);
        store.repair(&id(1)).unwrap().unwrap();
        let summary = store.summary(&id(1)).unwrap();
        assert_eq!(summary.agent, "assistant");
        assert_eq!(summary.created_at, at(0));
        assert_eq!(store.check(&id(1)).unwrap().records, records);
    }
}

#[test]
fn nothing_is_made_of_nothing() {
    let without_first = lines(&good_log())[1..].concat();
    for log in [without_first.as_slice(), b"", b"rubbish\nmore\n"] {
        let disk = disk_of(log);
        let repaired = store_on(disk.clone()).repair(&id(1));
        assert!(
            matches!(repaired, Err(RepairError::NothingLeft(_))),
            "{repaired:?}"
        );
        assert_eq!(log_bytes(&disk, &id(1)), log);
        assert_eq!(copy_bytes(&disk, 1), None);
    }
}

/// A log with damage in the middle and a torn end, and its mended form.
fn damaged_and_mended() -> (Vec<u8>, Vec<u8>) {
    let mut log = lines(&good_log());
    log[3][40] ^= 1;
    log.last_mut().unwrap().truncate(20);
    let damaged = log.concat();
    let (disk, _, _) = mended(&damaged);
    (damaged, log_bytes(&disk, &id(1)))
}

/// After a repair that was interrupted: nothing is lost, and another one gets there.
fn assert_safe(disk: &SimDisk, damaged: &[u8], whole: &[u8]) {
    let log = log_bytes(disk, &id(1));
    if log != damaged {
        let is_kept = (1..4).any(|number| copy_bytes(disk, number).as_deref() == Some(damaged));
        assert!(is_kept, "the log changed before it was copied");
    }
    let store = store_on(disk.clone());
    store.repair(&id(1)).unwrap();
    // But for the number of the copy, which the marks name.
    assert_eq!(log_bytes(disk, &id(1)).len(), whole.len());
    assert_eq!(lost_in(&store), [4]);
}

#[test]
fn a_repair_that_fails_anywhere_loses_nothing_and_the_next_one_succeeds() {
    let (damaged, whole) = damaged_and_mended();
    let counting = FaultFs::counting(Arc::new(disk_of(&damaged)));
    store_on(counting.clone()).repair(&id(1)).unwrap();
    let short = FaultKind::ShortWrite {
        bytes: 100,
        errno: Errno::NOSPC,
    };
    for at in 1..=counting.operations() {
        for kind in [FaultKind::Error(Errno::IO), short, FaultKind::Dead] {
            let disk = disk_of(&damaged);
            let faulty = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
            drop(store_on(faulty).repair(&id(1)));
            assert_safe(&disk, &damaged, &whole);
        }
    }
}

#[test]
fn a_power_cut_during_a_repair_loses_nothing() {
    let (damaged, whole) = damaged_and_mended();
    let counting = FaultFs::counting(Arc::new(disk_of(&damaged)));
    store_on(counting.clone()).repair(&id(1)).unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    for at in 1..=counting.operations() + 1 {
        let kind = FaultKind::Dead;
        let disk = disk_of(&damaged);
        let faulty = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
        drop(store_on(faulty).repair(&id(1)));
        for _ in 0..8 {
            assert_safe(&disk.cut(&mut rng), &damaged, &whole);
        }
    }
}

/// Cleans up whenever a folder of a creation or a deletion is synced or about to be removed: in the
/// middle of it.
#[derive(Debug)]
struct CleansUp {
    disk: SimDisk,
    store: std::sync::OnceLock<std::sync::Weak<FileStore>>,
}

impl CleansUp {
    fn clean_up(&self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_marked = name.starts_with(".new-") || name.starts_with(".deleted-");
        let store = self.store.get().and_then(std::sync::Weak::upgrade);
        if let Some(store) = store.filter(|_| is_marked) {
            store.finish_deletions().unwrap();
        }
    }
}

#[derive(Debug)]
struct Shared(Arc<CleansUp>);

impl Fs for Shared {
    fn create_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.disk.create_dir(path)?;
        self.0.clean_up(path);
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> std::io::Result<Box<dyn fs::File>> {
        self.0.disk.open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.0.disk.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> std::io::Result<()> {
        self.0.clean_up(path);
        self.0.disk.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> std::io::Result<()> {
        self.0.disk.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> std::io::Result<()> {
        self.0.disk.remove_dir_all(path)
    }

    fn list_dir(&self, path: &Path) -> std::io::Result<Vec<String>> {
        self.0.disk.list_dir(path)
    }

    fn make_private(&self, path: &Path) -> std::io::Result<()> {
        self.0.disk.make_private(path)
    }

    fn exists(&self, path: &Path) -> std::io::Result<bool> {
        self.0.disk.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> std::io::Result<u64> {
        self.0.disk.free_bytes(path)
    }
}

#[test]
fn leftovers_are_removed_while_sessions_are_created_and_deleted() {
    let disk = SimDisk::new();
    let fs = Arc::new(CleansUp {
        disk: disk.clone(),
        store: std::sync::OnceLock::new(),
    });
    let store = Arc::new(store_on(Shared(Arc::clone(&fs))));
    fs.store.set(Arc::downgrade(&store)).unwrap();
    store.create(&id(1), at(0), vec![start()]).unwrap();
    let leftover = Path::new(ROOT).join(format!("sessions/.new-{}", id(2)));
    disk.create_dir(&leftover).unwrap();
    store.create(&id(3), at(0), vec![start()]).unwrap();
    assert!(!disk.exists(&leftover).unwrap());
    store.delete(&id(1)).unwrap();
    assert_eq!(store.list(None, 10).unwrap(), [id(3)]);
    assert_eq!(all_events(&store, &id(3)), [start()]);
}
