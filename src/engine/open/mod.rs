//! The sessions in use: each is open at most once.

pub(in crate::engine) mod adoption;
pub(in crate::engine) mod ageing;
pub(in crate::engine) mod chats;
pub(in crate::engine) mod idle;
pub(in crate::engine) mod keys;
pub(in crate::engine) mod parking;
pub(in crate::engine) mod questions;
pub(in crate::engine) mod registry;
pub(in crate::engine) mod session;
pub(in crate::engine) mod sessions;
