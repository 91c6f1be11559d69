//! What agents may spend: turns an hour, tokens a day.

pub(in crate::engine) mod account;
pub(in crate::engine) mod ledger;
