//! What every store promises, kept by the one of files: on a disk that forgets what was not synced,
//! and on the system's own, where an index saves reading.

use std::fs::File;
use std::time::Duration;

use duragent::base::fs::RealFs;
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

/// A store whose folder has rested, so that its names need not be read again.
fn rested() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(Arc::new(RealFs), folder.path().to_owned());
    for n in 1..5 {
        store.create(&id(n), at(0), vec![start()]).unwrap();
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
    let sessions = File::open(folder.path().join("sessions")).unwrap();
    sessions.set_modified(long_ago).unwrap();
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
