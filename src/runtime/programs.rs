//! The programs that tools run, locked in as the configuration says.

use std::sync::Arc;

use crate::config::{Config, SandboxMode};
use crate::sandbox::{self, Mode, SandboxSettings};
use crate::tools::programs::Programs;

/// What runs the programs of tools.
pub(super) fn programs(config: &Config) -> Arc<Programs> {
    Arc::new(Programs::new(settings(config)))
}

/// Says in the log what the programs of tools are locked into, and whether that works; where it
/// does not, no program will run.
pub(super) fn say_sandbox(programs: &Programs) {
    let name = programs.sandbox_name();
    if name == sandbox::TRUST {
        log::info!("sandbox: {name}; what tools run is not locked in");
        return;
    }
    match programs.try_sandbox() {
        Ok(()) => log::info!("sandbox: {name}"),
        Err(error) => {
            log::error!("sandbox: {name} does not work, and no tool will run a program: {error}")
        }
    }
}

fn settings(config: &Config) -> SandboxSettings {
    let sandbox = &config.sandbox;
    let folders = [
        &config.workspace,
        &config.agents_dir,
        &config.sessions_dir,
        &config.world_memory_dir,
    ];
    // The log as well, which tells of all sessions.
    let files = config.file.iter().chain(&config.logging.file);
    SandboxSettings {
        mode: match sandbox.mode {
            SandboxMode::Trust => Mode::Trust,
            SandboxMode::Bubblewrap => Mode::Bubblewrap,
            SandboxMode::Docker => Mode::Docker,
        },
        network: sandbox.network,
        writable: sandbox.writable.clone(),
        hidden: folders.into_iter().chain(files).cloned().collect(),
        memory_bytes: sandbox.memory_bytes,
        cpu_seconds: sandbox.cpu_seconds,
        image: sandbox.image.clone().unwrap_or_default(),
    }
}
