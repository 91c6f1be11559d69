//! Rules of policies that do more than their author may think.
//!
//! Elsewhere: what is wrong with a policy (`files`).

use std::path::Path;
use std::sync::Arc;

use super::check::{Check, environment};
use crate::domain::spec::AgentSpec;
use crate::policy::check;
use crate::tools::file;
use crate::tools::program_tools::ProgramTools;
use crate::trust::WorkspaceTrust;
use crate::workspace::policy_files::{POLICY_FILE, PolicyFiles};
use crate::workspace::remarks;

/// The rules that no call fits, or that another policy does not let count; those that forbid much, and
/// those that together allow any code. What stands in the workspace's policy is told once.
pub(super) fn checks(
    workspace: &Path,
    agents: &[Arc<AgentSpec>],
    programs: &ProgramTools,
    trust: &WorkspaceTrust,
) -> Vec<Check> {
    let idle = remarks::of_rules(workspace, agents, programs, trust).into_iter();
    let mut checks: Vec<Check> = idle
        .map(|problem| Check::of_problem("policy", &problem))
        .collect();
    for agent in agents {
        let files = PolicyFiles::of(&workspace.join(POLICY_FILE), &agent.home);
        for check in checks_of(&files, agent, trust) {
            if !checks.iter().any(|known| known.message == check.message) {
                checks.push(check);
            }
        }
    }
    checks
}

fn checks_of(files: &PolicyFiles, agent: &AgentSpec, trust: &WorkspaceTrust) -> Vec<Check> {
    let Ok(tiers) = files.read(&environment, trust) else {
        return Vec::new();
    };
    let all = [&tiers.workspace, &tiers.agent, &tiers.local, &tiers.own];
    let broad = all.into_iter().flatten().flat_map(check::broad);
    let mut checks: Vec<Check> = broad
        .map(|problem| Check::of_problem("policy", &problem))
        .collect();
    let remark = check::free_hand(&tiers.merged(), agent.has_builtin(file::NAME));
    checks
        .extend(remark.map(|remark| Check::warning("policy", format!("{}: {remark}", agent.name))));
    checks
}
