//! The engine on a disk on which one operation fails: what was acknowledged or seen is not lost.

use std::path::PathBuf;

use duragent::base::fs::{Fault, FaultFs, FaultKind, Fs, SimDisk};
use rustix::io::Errno;

use super::client::Client;
use super::*;

fn engine_on(fs: impl Fs + 'static, model: &FakeModel) -> Sessions {
    let setup = Setup {
        on_disconnect: OnDisconnect::Continue,
        ..Setup::default()
    };
    let store = FileStore::new(Arc::new(fs), PathBuf::from("/workspace"));
    start_with(store, providers(), &model.url(), &setup)
}

/// A user of one session who does not let a failure stop it.
struct User {
    sessions: Sessions,
    model: FakeModel,
    disk: SimDisk,
    client: Client,
}

impl User {
    /// Until it succeeds; a session that takes no more until a restart gets one.
    fn insist<T>(&mut self, mut ask: impl FnMut(&Sessions) -> Result<T, EngineError>) -> T {
        for _ in 0..4 {
            if let Ok(answer) = ask(&self.sessions) {
                return answer;
            }
            self.restart_if_read_only();
        }
        panic!("one failure leads to more");
    }

    fn restart_if_read_only(&mut self) {
        if self.sessions.read_only() > 0 {
            self.sessions.stop(Duration::ZERO);
            self.sessions = engine_on(self.disk.clone(), &self.model);
        }
    }

    /// Reads to the end of the turn, coming back whenever it is sent away.
    fn read_to_the_end(&mut self, id: &SessionId) {
        for _ in 0..4 {
            let begin = Begin::After(self.client.cursor);
            let come =
                |sessions: &Sessions| sessions.subscribe(id, begin.clone(), Presence::default());
            let mut stream = self.insist(come);
            if self.reads_to_the_end(&mut stream) {
                return;
            }
            drop(stream);
            self.restart_if_read_only();
        }
        panic!("the turn does not end");
    }

    /// Whether the turn ends before the stream does, or before nothing more can be written.
    fn reads_to_the_end(&mut self, stream: &mut Subscription) -> bool {
        const GLANCE: Duration = Duration::from_millis(20);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut items = Vec::new();
            let flow = stream.pull(&mut items);
            self.client.take(&items);
            if items.iter().any(|item| item.event.ends_turn()) {
                return true;
            }
            match flow {
                Ok(Flow::More) => {}
                // One who comes after the failed write is not sent away: it may still read.
                Ok(Flow::Open) if self.sessions.read_only() > 0 => return false,
                Ok(Flow::Open) => {
                    assert!(Instant::now() < deadline, "nothing more came");
                    // A time-out is as good as news: all is looked at again.
                    stream.wake().recv_timeout(GLANCE).ok();
                }
                Ok(Flow::Over | Flow::Cut(_)) | Err(_) => return false,
            }
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.sessions.stop(Duration::ZERO);
    }
}

#[test]
fn a_failure_at_any_operation_loses_nothing_that_was_acknowledged_or_seen() {
    for errno in [Errno::NOSPC, Errno::IO] {
        let mut at = 1;
        while strikes(Fault {
            at,
            kind: FaultKind::Error(errno),
        }) {
            at += 1;
        }
        assert!(at > 20, "the turn took {at} operations only");
    }
}

/// One message and its answer with one failure; whether it struck.
fn strikes(fault: Fault) -> bool {
    let disk = SimDisk::new();
    let model = FakeModel::start();
    // Long enough for a client to see it before its end is stored.
    let pace = Duration::from_millis(10);
    model.reply(text("some words ").and_wait(pace));
    model.default_reply(text("and quite others, of which there are more"));
    let fs = FaultFs::new(Arc::new(disk.clone()), fault);
    let mut user = User {
        sessions: engine_on(fs.clone(), &model),
        model,
        disk,
        client: Client::default(),
    };
    let id = user.insist(|sessions| sessions.create(&draft("helper"))).id;
    let accepted = user.insist(|sessions| sessions.submit(&id, keyed("hello", "k-1")));
    user.read_to_the_end(&id);
    let log = user.insist(|sessions| sessions.events(&id, Seq::ZERO, 100));
    let stored: Vec<Seq> = log
        .iter()
        .filter(|record| matches!(record.event, Event::UserMessage(_)))
        .map(|record| record.seq)
        .collect();
    assert_eq!(stored, [accepted.seq], "{fault:?}");
    let ends = log.iter().filter(|record| is_turn_end(&record.event));
    assert_eq!(ends.count(), 1, "{fault:?}");
    drop(user);
    fs.operations() >= fault.at
}
