//! What agents may spend: turns an hour, tokens and their cost a day.

pub(in crate::engine) mod account;
pub(in crate::engine) mod ledger;
