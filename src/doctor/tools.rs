//! The programs that tools and gateways are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use super::check::Check;
use crate::config::{Config, SandboxMode};
use crate::domain::spec::AgentSpec;
use crate::tools::program_tools::ProgramTools;
use crate::workspace::programs::programs;

/// Programs that are named, or lie where tools are found, and cannot be run.
pub(super) fn checks(config: &Config, agents: &[Arc<AgentSpec>]) -> Vec<Check> {
    let tools = ProgramTools::new(programs(config), config.workspace.clone());
    let shared = tools.shared_problems().into_iter();
    let mut checks: Vec<Check> = shared
        .map(|problem| Check::error("tools", problem))
        .collect();
    for agent in agents {
        let subject = format!("agent {}", agent.name);
        let problems = tools.problems(agent).into_iter();
        checks.extend(problems.map(|problem| Check::error(&*subject, problem)));
        let doubts = tools.doubts(agent).into_iter();
        checks.extend(doubts.map(|doubt| Check::warning(&*subject, doubt)));
        checks.extend(folders(agent).map(|problem| Check::error(&*subject, problem)));
    }
    checks.extend(gateways(config));
    checks.extend(writable(config));
    checks
}

/// What stands where an agent's tools write.
fn folders(agent: &AgentSpec) -> impl Iterator<Item = String> {
    let paths = ["work", "memory"].map(|name| agent.home.join(name));
    let others = paths.into_iter().filter(|path| {
        let found = path.symlink_metadata();
        found.is_ok_and(|found| !found.is_dir())
    });
    others.map(|path| format!("{} is no folder of its own", path.display()))
}

fn gateways(config: &Config) -> Vec<Check> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &Path| {
        if program.is_absolute() {
            may_run(program)
        } else {
            is_on_path(&program.to_string_lossy(), &path)
        }
    };
    let missing = config.gateways.external.iter();
    let missing = missing.filter(|gateway| !is_there(&gateway.command));
    missing
        .map(|gateway| {
            let message = format!("there is no program {}", gateway.command.display());
            Check::error(format!("gateway {}", gateway.name), message)
                .hint("see its `command` in `gateways.external`")
        })
        .collect()
}

/// Folders that a sandbox is to open, and that are not there.
fn writable(config: &Config) -> Vec<Check> {
    if config.sandbox.mode == SandboxMode::Trust {
        return Vec::new();
    }
    let missing = config.sandbox.writable.iter().filter(|path| !path.is_dir());
    missing
        .map(|path| {
            let message = format!(
                "`sandbox.writable` names {}, which is no folder",
                path.display()
            );
            Check::error("sandbox", message)
        })
        .collect()
}

/// A shell would find the program in these folders.
pub(super) fn is_on_path(program: &str, path: &std::ffi::OsStr) -> bool {
    std::env::split_paths(path).any(|folder| may_run(&folder.join(program)))
}

fn may_run(program: &Path) -> bool {
    let found = program.metadata();
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
