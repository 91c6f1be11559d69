//! A workspace on its files, with or without a server: what its agents are made of, what its owner
//! trusts, who serves it, which sessions lie in it.
//!
//! [`runtime`](crate::runtime) starts a server of these parts; `cli` and `doctor` look at the same ones
//! where none runs, so that all say the same of one file.

pub(crate) mod arrivals;
pub mod consent;
pub mod explain;
pub(crate) mod gateway_remarks;
pub mod holder;
pub(crate) mod loaded;
pub mod offers;
pub mod policy_files;
pub(crate) mod programs;
pub(crate) mod providers;
pub(crate) mod remarks;
mod repositories;
pub mod sessions;
mod shelf;
pub mod shown_agent;
pub(crate) mod starts;
mod state_home;
pub(crate) mod storage;
pub(crate) mod tool_parts;
pub mod trust;
mod validate;

pub use validate::{Validated, validate};
