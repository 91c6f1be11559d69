//! Agent files on disk, read into an [`AgentSpec`](crate::domain::spec::AgentSpec).
//!
//! Invariants:
//! - a bad agent never hides a good one, and a bad skill or directive no agent;
//! - a reload that fails leaves the last good version in place;
//! - what an agent's folder wants of this machine counts only as far as its owner trusts it, and what
//!   does not is left out here;
//! - a skill that somebody wrote for other programs is used if it can be, with a warning;
//! - unknown keys in what guards something (`access`) are errors; elsewhere they are warnings at
//!   load and errors in [`validate`].
//!
//! Elsewhere: what an agent is (`domain::spec`), where the folder lies (`config`).

mod checked;
mod directives;
mod directory;
mod file;
mod hooks;
mod model;
mod raw;
mod reading;
mod skills;

pub use directory::{AgentDirectory, BrokenAgent, ReloadReport};
pub use file::AGENT_FILE;
pub use reading::{homes, keys, parts, validate, validate_all};
