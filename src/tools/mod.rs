//! What agents can do, and whether they may: the trait that the engine uses (`tool`), the
//! tools of an agent (`toolbox`), and a file or folder for each tool.

mod arguments;
mod bash;
mod builtin;
mod cli;
pub mod file;
mod found;
pub mod memory;
mod named;
pub mod program_tools;
pub mod programs;
mod readme;
mod refusal;
pub mod reload;
pub mod send_file;
pub mod session;
mod skill;
mod tool;
mod toolbox;
pub mod web;
pub mod workshop;

pub use crate::domain::spec::{ToolEffect as Effect, ToolKind};
pub use refusal::ToolRefusal;
pub use tool::{Caller, Run, RunResult, Tool, ToolSpec, value_key};
pub use toolbox::Toolbox;
