//! What happens when a disk is full, or can't be trusted, in the middle of the work.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use duragent::base::fs::{File, Fs, Open};

use super::*;

/// A disk that is full, fails its syncs, or takes its time, when the test says so.
#[derive(Debug, Clone, Default)]
struct Disk {
    is_full: Arc<AtomicBool>,
    fails_syncs: Arc<AtomicBool>,
    slow: Arc<Mutex<Vec<Slow>>>,
}

#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    name: String,
    file: Box<dyn File>,
}

/// What the next one to open or to write a file of that name meets.
#[derive(Debug)]
struct Slow {
    name: &'static str,
    begun_tx: Sender<()>,
    result_rx: Receiver<io::Result<()>>,
}

/// An operation that lasts until the test has it end.
struct Held {
    begun_rx: Receiver<()>,
    result_tx: Sender<io::Result<()>>,
}

impl Held {
    fn wait_until_begun(&self) {
        let begun = self.begun_rx.recv_timeout(PATIENCE);
        assert!(begun.is_ok(), "nobody came");
    }

    fn end(self, result: io::Result<()>) {
        self.result_tx.send(result).unwrap();
    }
}

impl Disk {
    /// The next one to open or to write a file of that name waits for the test.
    fn hold(&self, name: &'static str) -> Held {
        let (begun_tx, begun_rx) = bounded(1);
        let (result_tx, result_rx) = bounded(1);
        self.slow.lock().unwrap().push(Slow {
            name,
            begun_tx,
            result_rx,
        });
        Held {
            begun_rx,
            result_tx,
        }
    }

    fn meet(&self, name: &str) -> io::Result<()> {
        let slow = {
            let mut slow = self.slow.lock().unwrap();
            let at = slow.iter().position(|slow| slow.name == name);
            at.map(|at| slow.remove(at))
        };
        let Some(slow) = slow else { return Ok(()) };
        slow.begun_tx.send(()).unwrap();
        // Given up by a test that failed: nothing hangs for that.
        slow.result_rx
            .recv_timeout(Duration::from_secs(120))
            .unwrap_or(Ok(()))
    }
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

impl Fs for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealFs.create_dir(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        if matches!(how, Open::AppendOrCreate) {
            self.meet(name_of(path))?;
        }
        Ok(Box::new(OnDisk {
            disk: self.clone(),
            name: name_of(path).to_owned(),
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

    fn make_private(&self, path: &Path) -> io::Result<()> {
        RealFs.make_private(path)
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
        self.disk.meet(&self.name)?;
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
    move |event| matches!(event, FeedEvent::Token { content: text, .. } if text.trim() == word)
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
    come_back(&world, &id, &mut items);
    assert_eq!(said(&items), "one two three");
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages[1].content, "one two three");
}

/// Reads on behind the last of `items`, as one who was sent away, until the turn is done.
fn come_back(world: &World, id: &SessionId, items: &mut Vec<FeedItem>) {
    let begin = Begin::After(items.last().unwrap().id);
    let back = world.sessions.subscribe(id, begin, Presence::default());
    items.extend(read_until(&mut back.unwrap(), is_done));
}

/// The worker of a session, as the system sees it.
struct WorkerThread(std::path::PathBuf);

impl WorkerThread {
    fn of(id: &SessionId) -> WorkerThread {
        let name = format!("s-{}\n", id.short());
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let mut folders = tasks.map(|task| task.unwrap().path());
        let is_it = |folder: &std::path::PathBuf| {
            // One that has ended meanwhile has no name.
            std::fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm == name)
        };
        WorkerThread(folders.find(is_it).expect("it works"))
    }

    /// Waits until it waits, once more than `before`; how often it has had to.
    fn wait_for_wait(&self, before: u64) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = std::fs::read_to_string(self.0.join("status")).unwrap();
            let field = |name: &str| {
                let mut lines = status.lines();
                let value = lines.find_map(|line| line.strip_prefix(name));
                value.unwrap().trim().to_owned()
            };
            let waits = field("voluntary_ctxt_switches:").parse().unwrap();
            if field("State:").starts_with('S') && waits > before {
                return waits;
            }
            assert!(Instant::now() < deadline, "it does not wait");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_session_that_is_given_up_is_its_workers_until_it_is_broken_off() {
    let disk = Disk::default();
    let world = Arc::new(world_on(&disk));
    world.model.default_reply(text("fine"));
    let id = world.session();
    let journal = disk.hold("inflight.jsonl");
    let mut client = world.say(&id, "one");
    journal.wait_until_begun();
    // Somebody else has the log while the worker gives up.
    let log = disk.hold("events.jsonl");
    let (asked, of) = (Arc::clone(&world), id.clone());
    let second = std::thread::spawn(move || asked.sessions.submit(&of, message("two")));
    log.wait_until_begun();
    let worker = WorkerThread::of(&id);
    let waits = worker.wait_for_wait(0);
    journal.end(Err(io::Error::other("a bad sector")));
    worker.wait_for_wait(waits);
    let is_working = world.sessions.show(&id).unwrap().working;
    log.end(Ok(()));
    second.join().unwrap().unwrap();
    assert!(is_working, "another would write to its journal");
    // It is opened anew by one who comes back, and nobody else has worked for it.
    let mut items = read_all(&mut client);
    come_back(&world, &id, &mut items);
    assert_eq!(said(&items), "fine");
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    let texts: Vec<&str> = messages.iter().map(|one| one.content.as_str()).collect();
    assert_eq!(texts, ["one", "two", "fine"]);
    assert_eq!(world.model.request_count(), 1);
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
    sessions.create(&draft("helper")).unwrap();
    let (done_tx, done_rx) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || {
        drop(sessions);
        done_tx.send(()).unwrap();
    });
    assert!(done_rx.recv_timeout(PATIENCE).is_ok(), "it hangs");
}
