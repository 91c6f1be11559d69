use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::story;
use crate::store::conformance::{self, Storage};

impl Storage for MemoryStorage {
    fn connect(&self) -> Arc<dyn SessionStore> {
        Arc::new(self.store())
    }

    fn fences(&self) -> bool {
        true
    }
}

fn at() -> Timestamp {
    Timestamp::from_micros(1_795_327_200_000_000)
}

fn id() -> SessionId {
    SessionId::mint(1, 1)
}

#[test]
fn memory_keeps_every_promise() {
    conformance::check(|| Box::new(MemoryStorage::default()));
}

/// Creates a session and appends one event after the other, on a store whose `nth` operation fails.
fn appended(
    storage: &MemoryStorage,
    nth: usize,
    fault: fn() -> Injected,
) -> Result<usize, StoreError> {
    let count = AtomicUsize::new(0);
    let store =
        storage.failing_store(move |_| (count.fetch_add(1, Ordering::SeqCst) == nth).then(fault));
    store.create(&id(), at(), vec![story::start()])?;
    let epoch = store.claim(&id(), &NodeName::only())?;
    let mut log = store.open(&id())?.log;
    for n in 1..4 {
        log.append(epoch, Seq(n), at(), vec![story::user(n, "hi")])?;
    }
    Ok(4)
}

#[test]
fn what_fails_is_not_done_and_what_is_unknown_may_be() {
    let lost = || Injected::AnswerLost(StoreError::Unknown("cut".to_owned()));
    let refused = || Injected::Refused(StoreError::Full);
    for nth in 0..7 {
        // The operations are a creation, a claim, an opening and three appends.
        let stored = |nth: usize| match nth {
            0..3 => nth.min(1),
            nth => (nth - 2).min(4),
        };
        let storage = MemoryStorage::default();
        let result = appended(&storage, nth, refused);
        assert_eq!(result.is_err(), nth < 6, "{result:?}");
        assert_eq!(records_in(&storage), stored(nth), "{nth}");
        let storage = MemoryStorage::default();
        let result = appended(&storage, nth, lost);
        assert_eq!(matches!(result, Err(StoreError::Unknown(_))), nth < 6);
        assert_eq!(records_in(&storage), stored(nth + 1).max(1), "{nth}");
    }
}

fn records_in(storage: &MemoryStorage) -> usize {
    let tables = lock(&storage.tables);
    tables.sessions.values().map(|row| row.records.len()).sum()
}
