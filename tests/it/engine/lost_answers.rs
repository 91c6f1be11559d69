//! A storage that other nodes use too, and that does not always answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use duragent::store::memory::{Injected, MemoryStorage, MemoryStore, Operation};
use duragent::store::{NodeName, ReadLimit, SessionStore as _, StoreError};

use super::*;

const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

/// An engine on a storage whose `nth` append goes wrong, and with it all that follows if `stays_down`.
struct Shaky {
    sessions: Sessions,
    storage: MemoryStorage,
    is_mended: Arc<AtomicBool>,
    appends: Arc<AtomicUsize>,
    _model: FakeModel,
}

/// Whether an append that goes wrong is done.
#[derive(Debug, Clone, Copy)]
enum Lost {
    Answer,
    Request,
}

fn unknown() -> StoreError {
    StoreError::Unknown("the connection was cut".to_owned())
}

impl Shaky {
    fn new(nth: usize, lost: Lost, stays_down: bool) -> Shaky {
        let storage = MemoryStorage::default();
        let (is_mended, appends) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (mended, counted) = (Arc::clone(&is_mended), Arc::clone(&appends));
        let store = storage.failing_store(move |operation| {
            let is_append = operation == Operation::Append;
            let count = counted.fetch_add(usize::from(is_append), Ordering::SeqCst);
            if mended.load(Ordering::SeqCst) {
                return None;
            }
            match lost {
                Lost::Answer if is_append && count == nth => Some(Injected::AnswerLost(unknown())),
                Lost::Request if is_append && count == nth => Some(Injected::Refused(unknown())),
                _ if stays_down && count > nth => Some(Injected::Refused(unknown())),
                _ => None,
            }
        });
        Shaky::on(storage, store, is_mended, appends)
    }

    fn on(
        storage: MemoryStorage,
        store: MemoryStore,
        is_mended: Arc<AtomicBool>,
        appends: Arc<AtomicUsize>,
    ) -> Shaky {
        let model = FakeModel::start();
        model.default_reply(text("well"));
        let setup = Setup {
            on_disconnect: OnDisconnect::Continue,
            ..Setup::default()
        };
        Shaky {
            sessions: start_with(store, providers(), &model.url(), &setup),
            storage,
            is_mended,
            appends,
            _model: model,
        }
    }

    /// Has a message answered, however often it must be sent; what stands in the log then.
    fn converse(&self, id: &SessionId) -> Vec<&'static str> {
        let deadline = Instant::now() + PATIENCE;
        let say = || NewMessage {
            detached: true,
            ..keyed("hi", "k-1")
        };
        while let Err(error) = self.sessions.submit(id, say()) {
            assert!(error.is_passing(), "{error:?}");
            self.mend();
            assert!(Instant::now() < deadline);
        }
        loop {
            let log = self.storage.store().records(id, Seq(1), ALL).unwrap();
            if log.iter().any(|record| is_turn_end(&record.event)) {
                return log.iter().map(|record| kind(&record.event)).collect();
            }
            if self.sessions.show(id).is_err() {
                self.mend();
            }
            assert!(Instant::now() < deadline, "{log:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
    }
}

impl Drop for Shaky {
    fn drop(&mut self) {
        self.mend();
        self.sessions.stop(Duration::ZERO);
    }
}

#[test]
fn an_append_without_an_answer_is_looked_up_and_stands_there_once() {
    let undisturbed = Shaky::new(usize::MAX, Lost::Answer, false);
    let id = undisturbed.sessions.create(&draft("helper")).unwrap().id;
    let expected = undisturbed.converse(&id);
    let appends = undisturbed.appends.load(Ordering::SeqCst);
    assert_eq!(appends, 2, "{expected:?}");
    for nth in 0..appends {
        for lost in [Lost::Answer, Lost::Request] {
            let shaky = Shaky::new(nth, lost, false);
            let id = shaky.sessions.create(&draft("helper")).unwrap().id;
            assert_eq!(shaky.converse(&id), expected, "{nth} {lost:?}");
            assert!(!shaky.is_mended.load(Ordering::SeqCst), "nobody was told");
        }
    }
}

#[test]
fn a_session_whose_storage_stays_silent_is_opened_anew_and_goes_on_from_what_is_stored() {
    for nth in 0..2 {
        for lost in [Lost::Answer, Lost::Request] {
            let shaky = Shaky::new(nth, lost, true);
            let id = shaky.sessions.create(&draft("helper")).unwrap().id;
            let log = shaky.converse(&id);
            for once in ["user_message", "turn_ended"] {
                let count = log.iter().filter(|kind| **kind == once).count();
                assert_eq!(count, 1, "{once} in {log:?} after {nth} {lost:?}");
            }
            // A reply whose end was not stored is gone on with, as one message.
            shaky.mend();
            // The log has the end of the turn a little before it is shown.
            let deadline = Instant::now() + PATIENCE;
            while shaky.sessions.show(&id).unwrap().working {
                assert!(Instant::now() < deadline, "{log:?} after {nth} {lost:?}");
                std::thread::sleep(Duration::from_millis(2));
            }
            let shown = shaky.sessions.messages(&id, 10, None).unwrap();
            assert_eq!(shown.len(), 2, "{log:?} after {nth} {lost:?}");
        }
    }
}

#[test]
fn what_an_append_came_to_stays_unknown_while_nobody_can_look() {
    for nth in 0..2 {
        let storage = MemoryStorage::default();
        let appends = Arc::new(AtomicUsize::new(0));
        let (counted, has_failed) = (Arc::clone(&appends), AtomicBool::new(false));
        let store = storage.failing_store(move |operation| match operation {
            Operation::Append if counted.fetch_add(1, Ordering::SeqCst) == nth => {
                Some(Injected::AnswerLost(unknown()))
            }
            Operation::Claim if counted.load(Ordering::SeqCst) == nth + 1 => {
                let is_first = !has_failed.swap(true, Ordering::SeqCst);
                is_first.then_some(Injected::Refused(StoreError::Full))
            }
            _ => None,
        });
        let shaky = Shaky::on(storage, store, Arc::default(), appends);
        let id = shaky.sessions.create(&draft("helper")).unwrap().id;
        if nth == 0 {
            let refused = shaky.sessions.submit(&id, keyed("hi", "k-1")).unwrap_err();
            assert!(
                matches!(refused, EngineError::Store(StoreError::Unknown(_))),
                "nobody may be told that it is not stored: {refused:?}"
            );
        }
        let log = shaky.converse(&id);
        for once in ["user_message", "turn_ended"] {
            let count = log.iter().filter(|kind| **kind == once).count();
            assert_eq!(count, 1, "{once} in {log:?} after {nth}");
        }
    }
}

#[test]
fn a_session_that_another_node_has_claimed_is_dropped_and_claimed_anew() {
    let shaky = Shaky::new(usize::MAX, Lost::Answer, false);
    let id = shaky.sessions.create(&draft("helper")).unwrap().id;
    shaky.converse(&id);
    let begin = Begin::Now { history: 0 };
    let mut watcher = shaky
        .sessions
        .subscribe(&id, begin, Presence::default())
        .unwrap();
    let other = shaky.storage.store();
    let epoch = other.claim(&id, &NodeName::new("other")).unwrap();
    let mut open = other.open(&id).unwrap();
    let renamed = Event::SessionChanged {
        title: Some("there".to_owned()),
        model: None,
        gateway_chat_id: None,
    };
    let at = other.summary(&id).unwrap().updated_at;
    open.log
        .append(epoch, open.last_seq, at, vec![renamed])
        .unwrap();
    let title = |title: &str| shaky.sessions.change(&id, Some(title.to_owned()), None);
    let refused = title("here").unwrap_err();
    assert!(
        matches!(refused, EngineError::Store(StoreError::Fenced(_))),
        "{refused:?}"
    );
    assert!(!refused.is_passing());
    let deadline = Instant::now() + PATIENCE;
    let mut items = Vec::new();
    while !matches!(
        watcher.pull(&mut items),
        Ok(Flow::Over | Flow::Cut(_)) | Err(_)
    ) {
        assert!(Instant::now() < deadline, "who watches is sent away");
        watcher.wake().recv_deadline(deadline).ok();
    }
    assert_eq!(
        title("here").unwrap().summary.title.as_deref(),
        Some("here")
    );
    let log = other.records(&id, Seq(1), ALL).unwrap();
    let seqs: Vec<u64> = log.iter().map(|record| record.seq.0).collect();
    assert_eq!(seqs, (1..=log.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_session_is_opened_anew_where_a_lost_append_cannot_even_be_looked_up() {
    let storage = MemoryStorage::default();
    let failed = AtomicUsize::new(0);
    let store = storage.failing_store(move |operation| {
        let fails_as = |nth| {
            let (order, done) = (Ordering::SeqCst, nth + 1);
            failed.compare_exchange(nth, done, order, order).is_ok()
        };
        match operation {
            Operation::Append if fails_as(0) => Some(Injected::AnswerLost(unknown())),
            // Another error than that nothing is known: nothing is, all the same.
            Operation::Read if fails_as(1) => Some(Injected::Refused(StoreError::Io {
                action: "read",
                target: "the log".to_owned(),
                source: std::io::Error::other("the connection was cut"),
            })),
            _ => None,
        }
    });
    let sessions = start_with(store, providers(), "", &Setup::default());
    let id = sessions.create(&draft("helper")).unwrap().id;
    let told = sessions.submit(&id, keyed("hi", "k-1")).unwrap_err();
    assert!(told.is_passing(), "{told:?}");
    let again = sessions.submit(&id, keyed("hi", "k-1")).unwrap();
    assert!(again.is_repeat);
    sessions.stop(Duration::ZERO);
}
