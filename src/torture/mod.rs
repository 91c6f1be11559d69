//! `duragent torture`: the promises about crashes, tried on the user's own disk.
//!
//! The real server runs in a workspace of its own, is killed at random moments and started again,
//! while clients talk to it and come back with what they know. Everything that it acknowledged and
//! everything that a client saw is kept in a [`ledger`], and held against the files after every
//! end of the server. In between, power cuts are played on a simulated disk ([`power`]).
//!
//! | file | it |
//! |---|---|
//! | [`ledger`] | what was acknowledged and seen |
//! | [`check`] | holds that against a log; pure |
//! | [`shown`] | what a log must have shown to whoever watched; pure |
//! | `plan` | what happens when, by the seed |
//! | `state` | what the threads share |
//! | `server` | the process that is killed |
//! | `http` | one request or stream, with a deadline |
//! | `client` | one session from its creation to its end, and its watchers |
//! | [`power`] | power cuts on a simulated disk |
//! | `run` | starts, kills, and looks at the files |
//! | [`report`] | what came of it |
//!
//! Threads: the caller starts and ends servers; `actor-0…n` each play one session after the other,
//! `watch-n` watch one, and are joined by its actor. Actors end when no new sessions are to begin and
//! their session is over, or at once when everything is to end.

mod client;

mod broken;
pub mod check;
mod http;
pub mod ledger;
mod plan;
pub mod power;
pub mod report;
mod run;
mod server;
pub mod shown;
mod state;

use std::path::PathBuf;
use std::time::Duration;

pub use broken::BrokenPromise;
pub use run::torture;

/// How long, where, and by which dice.
#[derive(Debug, Clone)]
pub struct TortureOptions {
    /// How long servers are killed; what is unfinished then is finished and checked.
    pub time: Duration,
    /// The folder on whose disk it happens.
    pub folder: PathBuf,
    /// Decides what happens when. Threads add a chance of their own: the same seed is the same
    /// plan, not the same run.
    pub seed: u64,
    /// The program that is the server.
    pub program: PathBuf,
}
