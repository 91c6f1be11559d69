//! What every store promises, kept by the one of files: on a disk that forgets what was not synced,
//! and on the system's own, where an index saves reading.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use duragent::base::fs::{FileStamp, RealFs};
use duragent::domain::event::Status;
use duragent::store::conformance::{self, Storage};
use duragent::store::{PageQuery, SessionFilter};

use super::*;

/// Sessions on a disk in memory.
struct InMemory(SimDisk);

impl Storage for InMemory {
    fn connect(&self) -> Arc<dyn SessionStore> {
        Arc::new(store_on(self.0.clone()))
    }

    fn cut_power(&mut self) {
        self.0 = self.0.harshest_cut();
    }

    fn fences(&self) -> bool {
        false
    }
}

/// Sessions on the system's disk.
struct OnDisk(tempfile::TempDir);

impl Storage for OnDisk {
    fn connect(&self) -> Arc<dyn SessionStore> {
        Arc::new(FileStore::new(Arc::new(RealFs), self.0.path().to_owned()))
    }

    fn fences(&self) -> bool {
        false
    }
}

#[test]
fn files_on_a_disk_that_loses_power_keep_every_promise() {
    conformance::check(|| Box::new(InMemory(SimDisk::new())));
}

#[test]
fn files_of_the_system_keep_every_promise() {
    conformance::check(|| Box::new(OnDisk(tempfile::tempdir().unwrap())));
}

/// The stamp of a folder, once it tells whether anything happens in it from now on.
fn settled_stamp(folder: &Path) -> FileStamp {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = SystemTime::now();
        let stamp = RealFs.stamp(folder).unwrap().unwrap();
        if stamp.is_settled(now) {
            return stamp;
        }
        assert!(Instant::now() < deadline, "the clock of the disk stands");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A store whose folder has rested, so that its names need not be read again.
fn rested() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(Arc::new(RealFs), folder.path().to_owned());
    for n in 1..5 {
        store.create(&id(n), at(0), vec![start()]).unwrap();
    }
    settled_stamp(&folder.path().join("sessions"));
    (folder, store)
}

fn page(store: &FileStore, filter: &SessionFilter) -> Vec<(SessionId, bool)> {
    let query = PageQuery {
        before: None,
        limit: 10,
        filter: filter.clone(),
    };
    let sessions = store.page(&query).unwrap().sessions;
    sessions
        .into_iter()
        .map(|listed| (listed.id, listed.found.is_ok()))
        .collect()
}

#[test]
fn what_others_do_with_the_files_is_seen_by_the_next_list() {
    let (folder, store) = rested();
    let filter = SessionFilter {
        agent: Some("assistant".to_owned()),
        ..SessionFilter::default()
    };
    let sessions = folder.path().join("sessions");
    let log = |n| sessions.join(id(n).as_str()).join("events.jsonl");
    let whole = [4, 3, 2, 1].map(|n| (id(n), true));
    for _ in 0..2 {
        assert_eq!(page(&store, &filter), whole);
    }
    // Damaged: it is told, whatever was known of it.
    let good = std::fs::read(log(3)).unwrap();
    std::fs::write(log(3), b"rubbish\n").unwrap();
    let outlines = store.outlines(None, 10).unwrap();
    assert!(outlines[1].found.is_err());
    assert_eq!(page(&store, &filter)[1], (id(3), false));
    std::fs::write(log(3), good).unwrap();
    assert_eq!(page(&store, &filter), whole);
    // Another agent's log in its place.
    let text = std::fs::read_to_string(log(2)).unwrap();
    let line = text.replace("assistant", "another");
    let without_checksum = format!("{{{}", &line[line.find("\"seq\"").unwrap()..]);
    std::fs::write(log(2), without_checksum).unwrap();
    assert_eq!(page(&store, &filter), [4, 3, 1].map(|n| (id(n), true)));
    std::fs::remove_dir_all(sessions.join(id(4).as_str())).unwrap();
    assert_eq!(page(&store, &filter), [3, 1].map(|n| (id(n), true)));
}

/// The system's files, in folders whose stamp never changes: on a disk whose clock stands. Counts what
/// is asked of it.
#[derive(Debug)]
struct StillClock {
    folder: FileStamp,
    listed: AtomicUsize,
    opened: AtomicUsize,
}

impl StillClock {
    fn new() -> Arc<StillClock> {
        let folder = tempfile::tempdir().unwrap();
        Arc::new(StillClock {
            folder: settled_stamp(folder.path()),
            listed: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
        })
    }
}

impl Fs for StillClock {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn fs::File>> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        RealFs.open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        RealFs.remove_dir_all(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        RealFs.list_dir(path)
    }

    fn make_private(&self, path: &Path) -> io::Result<()> {
        RealFs.make_private(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFs.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealFs.free_bytes(path)
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<FileStamp>> {
        if path.is_dir() {
            return Ok(Some(self.folder));
        }
        RealFs.stamp(path)
    }
}

#[test]
fn names_are_read_once_and_what_the_store_itself_does_to_them_is_known_whatever_the_clock_says() {
    let folder = tempfile::tempdir().unwrap();
    let fs = StillClock::new();
    let store = FileStore::new(Arc::clone(&fs) as Arc<dyn Fs>, folder.path().to_owned());
    let create = |n| store.create(&id(n), at(0), vec![start()]).unwrap();
    create(1);
    for _ in 0..3 {
        assert_eq!(store.list(None, 9).unwrap(), [id(1)]);
    }
    assert_eq!(fs.listed.load(Ordering::SeqCst), 1);
    create(2);
    assert_eq!(store.list(None, 9).unwrap(), [2, 1].map(id));
    store.delete(&id(1)).unwrap();
    assert_eq!(store.list(None, 9).unwrap(), [id(2)]);
}

#[test]
fn a_filter_that_was_asked_for_before_reads_no_session_that_it_holds_back() {
    let folder = tempfile::tempdir().unwrap();
    let fs = StillClock::new();
    let store = FileStore::new(Arc::clone(&fs) as Arc<dyn Fs>, folder.path().to_owned());
    let begun = Event::SessionStart(SessionStart {
        owner: Some("eve".to_owned()),
        ..SessionStart::new("assistant", OnDisconnect::Pause)
    });
    store.create(&id(0), at(0), vec![begun]).unwrap();
    let sessions = folder.path().join("sessions");
    let log = std::fs::read(sessions.join(id(0).as_str()).join("events.jsonl")).unwrap();
    // More than there is room for in memory.
    for n in 1..300 {
        let session = sessions.join(id(n).as_str());
        std::fs::create_dir(&session).unwrap();
        std::fs::write(session.join("events.jsonl"), &log).unwrap();
    }
    let open = SessionFilter::default;
    for filter in [
        SessionFilter {
            agent: Some("nobody".to_owned()),
            ..open()
        },
        SessionFilter {
            status: Some(Status::Paused),
            ..open()
        },
        SessionFilter {
            owner: Some("nobody".to_owned()),
            ..open()
        },
    ] {
        assert_eq!(page(&store, &filter), []);
        let opened = fs.opened.load(Ordering::SeqCst);
        assert!(opened > 300, "all were read, once");
        assert_eq!(page(&store, &filter), []);
        assert_eq!(fs.opened.load(Ordering::SeqCst), opened, "{filter:?}");
    }
}

#[test]
fn one_page_looks_at_some_hundred_sessions_and_says_where_to_go_on() {
    let store = store_on(SimDisk::new());
    for n in 0..1_200 {
        store.create(&id(n), at(0), vec![start()]).unwrap();
    }
    let mut query = PageQuery {
        before: None,
        limit: 10,
        filter: SessionFilter {
            agent: Some("nobody".to_owned()),
            ..SessionFilter::default()
        },
    };
    let mut pages = 0;
    loop {
        let page = store.page(&query).unwrap();
        assert!(page.sessions.is_empty());
        pages += 1;
        let Some(next) = page.next else { break };
        query.before = Some(next);
    }
    assert_eq!(pages, 3, "whoever asks can stop in between");
}
