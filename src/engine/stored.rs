//! What the store has, page by page: none of it is ever in memory as a whole.

use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};
use crate::engine::error::EngineError;
use crate::store::{Outline, ReadLimit, SessionStore};

/// What one read of a log may return.
pub(super) const PAGE: ReadLimit = ReadLimit {
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

/// Hands over what upkeep decides by, of each session that is stored, newest first, until
/// `is_stopped`.
pub(super) fn each_outline(
    store: &dyn SessionStore,
    is_stopped: impl Fn() -> bool,
    mut each: impl FnMut(&SessionId, Result<Outline, EngineError>),
) -> Result<(), EngineError> {
    /// A stop waits until so many were looked at.
    const AT_A_TIME: usize = 256;
    let mut before = None;
    loop {
        let outlines = store.outlines(before.as_ref(), AT_A_TIME)?;
        let are_last = outlines.len() < AT_A_TIME;
        before = outlines.last().map(|listed| listed.id.clone());
        for listed in outlines {
            if is_stopped() {
                return Ok(());
            }
            each(&listed.id, listed.found.map_err(EngineError::from));
        }
        if are_last {
            return Ok(());
        }
    }
}
