//! Builds the parts, starts the threads, stops them in order.

pub mod options;
pub mod version;
pub mod workspace;
