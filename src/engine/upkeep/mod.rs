//! What is done without being asked: what waits is taken up, what is old is cleared away.

pub(in crate::engine) mod ageing;
pub(in crate::engine) mod clock_watch;
pub(in crate::engine) mod flusher;
pub(in crate::engine) mod recovery;
pub(in crate::engine) mod space;
pub(in crate::engine) mod sweep;
pub(in crate::engine) mod timeline;
pub(in crate::engine) mod unanswered;
