//! From a request to its answer, or to the job that will answer it: one file per resource.

mod agents;
mod conversation;
mod dispatch;
mod files;
mod gateways;
mod handled;
mod process;
mod request;
mod sessions;

pub use dispatch::dispatch;
pub use handled::Handled;
pub use request::ApiRequest;

#[cfg(test)]
mod tests;
