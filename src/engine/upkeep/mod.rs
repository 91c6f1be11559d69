//! What is done without being asked: what waits is taken up, what is old is cleared away.

pub(in crate::engine) mod clock_watch;
pub(in crate::engine) mod recovery;
pub(in crate::engine) mod sweep;
pub(in crate::engine) mod timeline;
pub(in crate::engine) mod unanswered;
