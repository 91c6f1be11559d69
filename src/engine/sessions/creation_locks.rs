//! Creations of one key, or in one chat, wait for one another, and hardly for others.

use std::sync::{Mutex, MutexGuard};

use crate::base::lock::lock;

/// Two keys share a lock rarely, and then wait for a write at most.
const LOCKS: usize = 64;

#[derive(Debug)]
pub(in crate::engine) struct CreationLocks(Vec<Mutex<()>>);

impl CreationLocks {
    pub(in crate::engine) fn new() -> CreationLocks {
        CreationLocks((0..LOCKS).map(|_| Mutex::default()).collect())
    }

    pub(in crate::engine) fn lock(&self, key: &str) -> MutexGuard<'_, ()> {
        let sum = key.bytes().fold(0usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        lock(&self.0[sum % LOCKS])
    }
}
