//! What is done without being asked: what waits is taken up, what is old is cleared away.

pub(in crate::engine) mod adoption;
pub(in crate::engine) mod flusher;
pub(in crate::engine) mod recovery;
pub(in crate::engine) mod room;
pub(in crate::engine) mod sweep;
pub(in crate::engine) mod timeline;
pub(in crate::engine) mod timer;
