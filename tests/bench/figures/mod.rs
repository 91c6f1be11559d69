//! One file for each figure.

pub mod burst;
pub mod calls;
pub mod clients;
pub mod create;
pub mod flood;
pub mod floor;
pub mod idle;
pub mod iteration;
pub mod list;
pub mod long;
pub mod many;
pub mod memory;
pub mod open;
pub mod post;
pub mod relay;
pub mod resume;
pub mod size;
pub mod start;
pub mod telegram;
pub mod tools;
