//! What agents may spend, and what they have.

pub(in crate::engine) mod ledger;
