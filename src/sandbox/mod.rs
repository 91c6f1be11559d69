//! What programs are locked into: nothing, bubblewrap, or a Docker container.
//!
//! A sandbox makes of a job a child that is ready to be started. One that cannot, says so: nothing
//! ever runs with less than what was asked for.

mod bubblewrap;
mod census;
mod docker;
mod job;
mod no_sandbox;
mod settings;
mod view;

use std::sync::Arc;

pub use job::{Job, Sandbox, SandboxError};
pub use settings::{Isolation, SandboxSettings, TRUST};
pub use view::writable;

/// The sandbox of these settings.
pub fn of(settings: SandboxSettings) -> Arc<dyn Sandbox> {
    match settings.mode {
        Isolation::Trust => Arc::new(no_sandbox::NoSandbox),
        Isolation::Bubblewrap => Arc::new(bubblewrap::Bubblewrap::new(settings)),
        Isolation::Docker => Arc::new(docker::Docker::new(settings)),
    }
}
