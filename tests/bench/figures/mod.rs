//! One file for each figure.

pub mod burst;
pub mod clients;
pub mod create;
pub mod idle;
pub mod iteration;
pub mod list;
pub mod long;
pub mod many;
pub mod open;
pub mod relay;
pub mod resume;
pub mod size;
pub mod start;
pub mod tools;
