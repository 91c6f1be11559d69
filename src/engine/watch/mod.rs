//! What those who look at a session are shown, and where they stand in it.

pub mod cursor;
pub mod feed;
pub(in crate::engine) mod live;
pub(in crate::engine) mod subscription;
pub mod view;
