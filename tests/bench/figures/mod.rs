//! One file for each figure.

pub mod burst;
pub mod create;
pub mod idle;
pub mod long;
pub mod many;
pub mod relay;
pub mod size;
pub mod start;
