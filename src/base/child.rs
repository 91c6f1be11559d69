//! Children: one [run()] at a time whose output is wanted, or a [`LineProcess`] that lives long.
//!
//! Invariants:
//! - every child is waited for by whoever started it and by nobody else, also where this process
//!   [adopts](adopt) those of others; what it adopted it reaps;
//! - before a child is waited for, its process group is killed: its number is its own until then.
//!   One that is ended early is killed with all of its session;
//! - a child dies with the thread that started it, which therefore stays until its end.

mod capped;
mod descent;
mod group;
mod line_process;
mod own;
mod prepared;
mod run;
mod session;

pub use descent::{Holder, holder_of};
pub use line_process::{Heard, LineProcess, SendError};
pub use own::{adopt, has_any, output, reap};
pub use prepared::{End, Monitor, NoMonitor, Prepared};
pub use run::{Ended, run, run_apart};
