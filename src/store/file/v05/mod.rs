//! Sessions that Duragent 0.5 wrote, the older program of the same name.
//!
//! Its log is a file of the same name with other lines: no format number, no checksums, no ids of
//! messages and turns. It is told from a damaged one by its first line, read as if it were ours, and
//! left as it is until the session is used (`take_over`).
//!
//! Invariants:
//! - what is made of a log depends on its bytes, on the state file beside it and on the session's id
//!   alone: what is read before it is taken over is what stands there afterwards;
//! - nothing is made of it that goes on by itself: each turn is ended, each call has its result or is
//!   skipped.
//!
//! Elsewhere: what lines say (`event`), what becomes of them (`translate`).

mod event;
mod fields;
mod image;
pub mod import;
mod known;
mod old;
mod settings;
mod take_over;
mod translate;

pub(super) use known::{OldSummaries, ReadingTurn};
pub(super) use old::{LineOrigin, Old, look};
pub(super) use settings::OldSettings;

#[cfg(test)]
mod tests;
