//! The programs that tools run, locked in as the configuration says.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::fs::{RealFs, create_dirs};
use crate::base::text::leads_to;
use crate::config::{Config, SandboxMode};
use crate::domain::providers::KeySource;
use crate::engine::WorkdirRules;
use crate::sandbox::{self, Isolation, SandboxSettings};
use crate::tools::file::FilePlaces;
use crate::tools::programs::Programs;
use crate::workspace::state_home;

/// The programs of tools, locked in by the sandbox that the configuration names.
pub(crate) fn programs(config: &Config) -> Arc<Programs> {
    Arc::new(Programs::new(settings(config)))
}

/// Says in the log what the programs of tools are locked into, and whether that works; where it
/// does not, no program will run.
pub(crate) fn say_sandbox(programs: &Programs) {
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

/// The folders and files of the server's own, which hold what decides about programs, or keys.
struct OwnPlaces {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

fn own_places(config: &Config) -> OwnPlaces {
    let folders = [
        &config.workspace,
        &config.agents_dir,
        &config.sessions_dir,
        &config.world_memory_dir,
    ];
    // What this account trusts, and how it wants it, for all workspaces.
    let own = [state_home::folder().ok(), state_home::config_folder()];
    let folders = folders
        .into_iter()
        .cloned()
        .chain(own.into_iter().flatten());
    // The log as well, which tells of all sessions, and keys.
    let keys = config.providers.values().filter_map(|one| match &one.key {
        Some(KeySource::File(path)) => Some(path),
        Some(KeySource::Variable(_) | KeySource::Command { .. }) | None => None,
    });
    let files = config.file.iter().chain(&config.logging.file).chain(keys);
    OwnPlaces {
        folders: folders.collect(),
        files: files.cloned().collect(),
    }
}

/// Where the tool `file` may go.
pub(crate) fn places(config: &Config) -> FilePlaces {
    FilePlaces {
        writable: config.sandbox.writable.clone(),
        guarded: guarded(config),
    }
}

/// What no session may have in its folder, and no tool write.
fn guarded(config: &Config) -> Vec<PathBuf> {
    let OwnPlaces { folders, files } = own_places(config);
    let program = env::current_exe().ok();
    folders.into_iter().chain(files).chain(program).collect()
}

/// Which folders sessions may be given.
pub(crate) fn workdir_rules(config: &Config) -> WorkdirRules {
    WorkdirRules {
        guarded: guarded(config),
        // Without `HOME` it is the one that the system's list of accounts names.
        home: env::home_dir(),
        for_network: config.server.workdirs.clone(),
    }
}

fn settings(config: &Config) -> SandboxSettings {
    let sandbox = &config.sandbox;
    let OwnPlaces { folders, files } = own_places(config);
    let is_in_writable = |path: &PathBuf| {
        let real = leads_to(path);
        let holds = |it: &PathBuf| path.starts_with(it) || real.starts_with(it);
        sandbox.writable.iter().any(holds)
    };
    // What is not there could be made by a program.
    for folder in folders.iter().filter(|path| is_in_writable(path)) {
        if let Err(error) = create_dirs(&RealFs, folder) {
            log::warn!("{} cannot be made: {error}", folder.display());
        }
    }
    let program = env::current_exe().ok().filter(is_in_writable);
    SandboxSettings {
        mode: match sandbox.mode {
            SandboxMode::Trust => Isolation::Trust,
            SandboxMode::Bubblewrap => Isolation::Bubblewrap,
            SandboxMode::Docker => Isolation::Docker,
        },
        network: sandbox.network,
        writable: sandbox.writable.clone(),
        hidden: folders.into_iter().chain(files).chain(program).collect(),
        env: sandbox.env.clone(),
        memory_bytes: sandbox.memory_bytes,
        cpu_seconds: sandbox.cpu_seconds,
        image: sandbox.image.clone().unwrap_or_default(),
    }
}
