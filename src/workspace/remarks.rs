//! What of agents does not do what their authors may think: rules that nothing fits or reaches, prompts
//! that are more than a model takes.
//!
//! Looked for beside the work: by `scan` at the start, when the files are read again, and by those
//! who only look.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::agents::{AGENT_FILE, AgentDirectory};
use crate::base::lock::lock;
use crate::base::order;
use crate::base::yaml::problem::{Level, Problem};
use crate::config::Config;
use crate::domain::spec::AgentSpec;
use crate::engine::{self, Agent, Agents as _};
use crate::llm::unsent::unsent;
use crate::policy::{Policies, check};
use crate::tools::program_tools::ProgramTools;
use crate::trust::WorkspaceTrust;
use crate::workspace::loaded::{LoadedAgents, loaded_agents, read_agents};
use crate::workspace::policy_files::{POLICY_FILE, PolicyFiles};
use crate::workspace::programs::programs;
use crate::workspace::providers;

/// Of the agents of a server, as of the last time that they were read.
pub(crate) struct Remarks {
    /// Where they are read from.
    pub(crate) directory: Arc<AgentDirectory>,
    /// They, with their tools.
    pub(crate) agents: Arc<LoadedAgents>,
    /// The rules of each.
    pub(crate) policies: Arc<Policies>,
    /// Makes their tools, whose names rules may use; runs none.
    pub(crate) programs: ProgramTools,
    /// The workspace's folder.
    pub(crate) workspace: PathBuf,
    /// Decides which of their rules count.
    pub(crate) trust: Arc<WorkspaceTrust>,
    /// Prompts that are more than a model takes: the sentence, by agent.
    pub(crate) long_prompts: Mutex<BTreeMap<String, String>>,
}

impl Remarks {
    /// Looks anew, and tells the log.
    pub(crate) fn look(&self) {
        let agents = self.directory.list();
        let of_rules = of_rules(&self.workspace, &agents, &self.programs, &self.trust);
        for problem in self.policies.remarks().iter().chain(&of_rules) {
            log::warn!("{problem}");
        }
        let long = order::map(agents.iter().filter_map(|spec| {
            let agent = self.agents.get(spec.name.as_str())?;
            Some((spec.name.to_string(), long_prompt(&agent)?))
        }));
        for (agent, said) in &long {
            log::warn!("agent {agent}: {said}");
        }
        *lock(&self.long_prompts) = long;
    }

    /// Prompts that are more than a model takes, by agent; empty until `scan` has looked, which nobody waits for.
    pub(crate) fn long_prompts(&self) -> BTreeMap<String, String> {
        lock(&self.long_prompts).clone()
    }
}

impl fmt::Debug for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remarks").finish_non_exhaustive()
    }
}

/// The sentence for those who may use an agent whose prompt is too long.
pub(crate) fn long_prompt(agent: &Agent) -> Option<String> {
    engine::long_prompt(agent).map(|found| found.to_string())
}

/// What in the policy `file` does not do what its author may think, as far as that hangs on the agents
/// of the workspace.
pub(crate) fn of_file(config: &Config, file: &Path, trust: &Arc<WorkspaceTrust>) -> Vec<Problem> {
    let agents = read_agents(config, trust).list();
    let programs = ProgramTools::new(programs(config), config.workspace.clone());
    let rules = of_rules(&config.workspace, &agents, &programs, trust);
    rules.into_iter().filter(|one| one.file == file).collect()
}

/// What does not do what its author may think of the agent in the folder `home`, which lies among
/// those of the workspace; nothing of others.
pub(crate) fn of_home(config: &Config, home: &Path, trust: &Arc<WorkspaceTrust>) -> Vec<Problem> {
    let directory = Arc::new(read_agents(config, trust));
    let agents = directory.list();
    let Some(spec) = agents.iter().find(|spec| spec.home == home) else {
        return Vec::new();
    };
    let programs = ProgramTools::new(programs(config), config.workspace.clone());
    let rules = of_rules(&config.workspace, &agents, &programs, trust);
    let own = rules.into_iter().filter(|one| one.file.starts_with(home));
    let made = loaded_agents(config, Arc::clone(&directory), Arc::clone(trust)).ok();
    let long = made.and_then(|made| engine::long_prompt(&made.make(Arc::clone(spec))));
    let long = long.map(|found| Problem {
        level: if found.is_hopeless {
            Level::Error
        } else {
            Level::Warning
        },
        ..Problem::of_file(home.join(AGENT_FILE), found.to_string())
    });
    let settings = providers::settings(config, |name| std::env::var(name).ok()).0;
    let choices = std::iter::once(&spec.model.main).chain(&spec.model.fallbacks);
    let unsent = choices.flat_map(|choice| unsent(&settings, choice));
    let unsent = unsent.map(|said| Problem {
        level: Level::Warning,
        ..Problem::of_file(home.join(AGENT_FILE), said)
    });
    own.chain(long).chain(unsent).collect()
}

/// The rules in the policies of `agents`, who are all of a workspace, that no call of theirs fits or
/// that the workspace's do not let them have.
pub(crate) fn of_rules(
    workspace: &Path,
    agents: &[Arc<AgentSpec>],
    programs: &ProgramTools,
    trust: &WorkspaceTrust,
) -> Vec<Problem> {
    let environment = |name: &str| std::env::var(name).ok();
    let names: Vec<Vec<String>> = agents.iter().map(|agent| programs.names(agent)).collect();
    let all = names.concat();
    let mut found: Vec<Problem> = Vec::new();
    for (agent, names) in agents.iter().zip(&names) {
        let files = PolicyFiles::of(&workspace.join(POLICY_FILE), &agent.home);
        // What is wrong with them is said by those who use them.
        let Ok(tiers) = files.read(&environment, trust) else {
            continue;
        };
        let own = [&tiers.agent, &tiers.local, &tiers.own]
            .into_iter()
            .flatten();
        found.extend(own.flat_map(|tier| check::homeless(tier, names)));
        let shared = tiers.workspace.iter();
        found.extend(shared.flat_map(|tier| check::homeless(tier, &all)));
        found.extend(check::capped(&tiers.merged()));
    }
    // That of the workspace is each agent's.
    let mut once: Vec<Problem> = Vec::new();
    for problem in found {
        if !once.contains(&problem) {
            once.push(problem);
        }
    }
    once
}
