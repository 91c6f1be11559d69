//! What happens when a disk is full, or can't be trusted, in the middle of the work.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use duragent::base::fs::{File, Fs, Open};

use super::*;

/// A disk that is full, or fails its syncs, when the test says so.
#[derive(Debug, Clone, Default)]
struct Disk {
    is_full: Arc<AtomicBool>,
    fails_syncs: Arc<AtomicBool>,
}

#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    file: Box<dyn File>,
}

impl Fs for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        Ok(Box::new(OnDisk {
            disk: self.clone(),
            file: RealFs.open(path, how)?,
        }))
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
        RealFs.list_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFs.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealFs.free_bytes(path)
    }
}

impl File for OnDisk {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.disk.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.fails_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("a bad sector"));
        }
        self.file.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }
}

fn world_on(disk: &Disk) -> World {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let model = FakeModel::start();
    let setup = Setup::default();
    let store = FileStore::new(Arc::new(disk.clone()), folder.path().to_owned());
    World {
        sessions: start_with(store, providers(), &model.url(), &setup),
        model,
        folder,
        setup,
    }
}

fn is_word<'a>(word: &'a str) -> impl Fn(&FeedEvent) -> bool + 'a {
    move |event| matches!(event, FeedEvent::Token(text) if text.trim() == word)
}

#[test]
fn a_disk_that_fills_up_in_a_reply_loses_nothing_of_what_was_shown() {
    let disk = Disk::default();
    let world = world_on(&disk);
    world
        .model
        .reply(text("one two ").and_stall().and_text("lost"))
        .then(text("three"));
    let id = world.session();
    let mut client = world.attach(&id);
    let _asking = world.say(&id, "count");
    let mut items = read_until(&mut client, is_word("two"));
    disk.is_full.store(true, Ordering::SeqCst);
    world.model.release();
    // The client is sent away: its turn can't be written down.
    items.extend(read_all(&mut client));
    disk.is_full.store(false, Ordering::SeqCst);
    let begin = Begin::After(items.last().unwrap().id);
    let mut client = world
        .sessions
        .subscribe(&id, begin, Presence::default())
        .unwrap();
    items.extend(read_until(&mut client, |event| {
        matches!(event, FeedEvent::Done { .. })
    }));
    assert_eq!(said(&items), "one two three");
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages[1].content, "one two three");
}

#[test]
fn a_session_whose_sync_failed_is_read_only_until_the_next_process() {
    let disk = Disk::default();
    let mut world = world_on(&disk);
    let (id, other) = (world.session(), world.session());
    read_all(&mut world.say(&id, "hello"));
    disk.fails_syncs.store(true, Ordering::SeqCst);
    let refused = world.sessions.submit(&id, keyed("again", "k-1"));
    assert!(matches!(refused, Err(EngineError::ReadOnly)), "{refused:?}");
    disk.fails_syncs.store(false, Ordering::SeqCst);
    let refused = world.sessions.submit(&id, keyed("again", "k-1"));
    assert!(matches!(refused, Err(EngineError::ReadOnly)), "{refused:?}");
    assert_eq!(world.sessions.read_only(), 1);
    assert_eq!(world.sessions.messages(&id, 10, None).unwrap().len(), 2);
    read_all(&mut world.say(&other, "hello"));
    // The next process: the message may have been stored, and with its key it is one.
    world.sessions.stop(Duration::ZERO);
    world.sessions = start(world.folder.path(), &world.model, &world.setup);
    let message = keyed("again", "k-1");
    let (_, mut stream) = world.sessions.submit_and_follow(&id, message).unwrap();
    assert_eq!(said(&read_all(&mut stream)), "ok");
    let said: Vec<String> = world
        .sessions
        .messages(&id, 10, None)
        .unwrap()
        .into_iter()
        .map(|message| message.content)
        .collect();
    assert_eq!(said, ["hello", "ok", "again", "ok"]);
}

#[test]
fn an_engine_that_is_dropped_ends_its_threads() {
    let model = FakeModel::start();
    let folder = tempfile::tempdir().unwrap();
    let sessions = start(folder.path(), &model, &Setup::default());
    sessions.create("helper", None).unwrap();
    let (done_tx, done_rx) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        drop(sessions);
        done_tx.send(()).unwrap();
    });
    assert!(done_rx.recv_timeout(PATIENCE).is_ok(), "it hangs");
}
