//! From a request to its answer, or to the job that will answer it: one file per resource.

mod agents;
mod conversation;
mod dispatch;
mod process;
mod request;
mod sessions;

pub use dispatch::{Handled, dispatch};
pub use request::HttpRequest;

#[cfg(test)]
mod tests;
