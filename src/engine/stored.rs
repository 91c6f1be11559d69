//! What the store has, page by page: none of it is ever in memory as a whole.

use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};
use crate::engine::error::EngineError;
use crate::store::{Limit, SessionStore};

/// What one read of a log may return.
pub(super) const PAGE: Limit = Limit {
    records: 512,
    bytes: 512 << 10,
};

/// Hands the records from `from` to `last` over, in order.
pub(super) fn read_records(
    store: &dyn SessionStore,
    id: &SessionId,
    from: Seq,
    last: Seq,
    mut each: impl FnMut(&Record),
) -> Result<(), EngineError> {
    let mut next = from;
    while next <= last {
        let page = store.records(id, next, PAGE)?;
        let Some(end) = page.last().map(|record| record.seq) else {
            return Ok(());
        };
        page.iter()
            .filter(|record| record.seq <= last)
            .for_each(&mut each);
        next = end.next();
    }
    Ok(())
}

/// Hands over the id of each session that is stored, newest first, until `is_stopped`.
pub(super) fn each_session(
    store: &dyn SessionStore,
    is_stopped: impl Fn() -> bool,
    mut each: impl FnMut(&SessionId),
) -> Result<(), EngineError> {
    // All names at once: each list reads the whole folder.
    for id in store.list(None, usize::MAX)? {
        if is_stopped() {
            return Ok(());
        }
        each(&id);
    }
    Ok(())
}
