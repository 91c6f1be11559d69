//! Agents as the engine needs them, from the files that were read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::agents::AgentDirectory;
use crate::base::fs::RealFs;
use crate::base::lock::lock;
use crate::config::Config;
use crate::domain::ids::AgentName;
use crate::domain::spec::AgentSpec;
use crate::engine::{Agent, Agents};
use crate::policy::Policies;
use crate::tools::program_tools::ProgramTools;
use crate::tools::reload::ToolMaker;
use crate::tools::workshop::Workshop;
use crate::trust::WorkspaceTrust;
use crate::workspace::policy_files;
use crate::workspace::providers;
use crate::workspace::shelf::StoredSessions;
use crate::workspace::storage;
use crate::workspace::tool_parts::ToolParts;

/// The agents of the workspace, each with its tools and its policy.
#[derive(Debug)]
pub(crate) struct LoadedAgents {
    directory: Arc<AgentDirectory>,
    workshop: Workshop,
    policies: Arc<Policies>,
    made: Made,
}

/// Agents as they were made: when one is first used, and anew when its files were read again or it
/// asks.
#[derive(Debug, Default)]
struct Made {
    /// Held for a look or a change, never while one is made: that reads files, and a slow disk must
    /// not hold up the sessions of others.
    agents: Mutex<HashMap<AgentName, (u64, Agent)>>,
    /// Counts the beginnings: who began last has seen what is there now.
    begun: AtomicU64,
}

impl Made {
    /// The agent that was made of `spec`.
    fn get(&self, spec: &Arc<AgentSpec>) -> Option<Agent> {
        let agents = lock(&self.agents);
        let (_, agent) = agents.get(&spec.name)?;
        Arc::ptr_eq(&agent.spec, spec).then(|| agent.clone())
    }

    /// Makes an agent, and returns it, or one that another began to make later.
    fn add(&self, make: impl FnOnce() -> Agent) -> Agent {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let agent = make();
        let mut agents = lock(&self.agents);
        match agents.get(&agent.spec.name) {
            Some((begun, later)) if *begun > number => later.clone(),
            Some(_) | None => {
                agents.insert(agent.spec.name.clone(), (number, agent.clone()));
                agent
            }
        }
    }

    fn remove(&self, name: &AgentName) {
        lock(&self.agents).remove(name);
    }
}

impl LoadedAgents {
    pub(crate) fn new(
        directory: Arc<AgentDirectory>,
        policies: Arc<Policies>,
        parts: ToolParts,
    ) -> Arc<LoadedAgents> {
        Arc::new_cyclic(|agents: &Weak<LoadedAgents>| LoadedAgents {
            directory,
            workshop: Workshop {
                memory: parts.memory,
                sessions: Arc::new(StoredSessions(Arc::clone(&parts.store))),
                files: Arc::new(StoredSessions(parts.store)),
                maker: Arc::new(Maker(Weak::clone(agents))),
                programs: ProgramTools::new(parts.programs, parts.workspace),
                places: parts.places,
                rules: Arc::clone(&policies),
                web: parts.web,
            },
            policies,
            made: Made::default(),
        })
    }

    /// The agent of `spec`, made anew.
    pub(crate) fn make(&self, spec: Arc<AgentSpec>) -> Agent {
        let (tools, policy) = (self.workshop.toolbox(&spec), self.policies.of(&spec));
        policy.set_pins(spec.tools_folder(), tools.pins());
        Agent::new(spec, tools, policy)
    }
}

impl Agents for LoadedAgents {
    fn get(&self, name: &str) -> Option<Agent> {
        let name = AgentName::parse(name).ok()?;
        let Some(spec) = self.directory.get(&name) else {
            self.made.remove(&name);
            return None;
        };
        let made = self.made.get(&spec);
        Some(made.unwrap_or_else(|| self.made.add(|| self.make(spec))))
    }

    fn mistake(&self, name: &str) -> Option<String> {
        let broken = self.directory.broken().into_iter();
        let found = broken.into_iter().find(|one| one.name == name)?;
        Some(found.mistakes.join("; "))
    }
}

/// The agents of the workspace, as their files say.
pub(crate) fn read_agents(config: &Config, trust: &Arc<WorkspaceTrust>) -> AgentDirectory {
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    AgentDirectory::load_in(
        &config.workspace,
        &config.agents_dir,
        providers::names(config),
        environment,
        Arc::clone(trust),
    )
}

/// The agents of a directory with their tools and policies, as a server would have them.
///
/// Errors: a setting that cannot be used.
pub(crate) fn loaded_agents(
    config: &Config,
    directory: Arc<AgentDirectory>,
    trust: Arc<WorkspaceTrust>,
) -> anyhow::Result<Arc<LoadedAgents>> {
    let store = storage::sessions(Arc::new(RealFs), &config.workspace, &config.sessions_dir);
    let policies = policy_files::policies(&config.workspace, Arc::new(|_: &str| None), trust);
    let parts = ToolParts::new(config, Arc::new(RealFs), store)?;
    Ok(LoadedAgents::new(directory, Arc::new(policies), parts))
}

/// Has tools made anew for the one who asks, which is a tool itself: so it must not keep the agents.
#[derive(Debug)]
struct Maker(Weak<LoadedAgents>);

impl ToolMaker for Maker {
    fn remake(&self, agent: &AgentName) -> Option<Vec<String>> {
        let agents = self.0.upgrade()?;
        let spec = agents.directory.get(agent)?;
        let made = agents.made.add(|| agents.make(spec));
        Some(made.tools.specs().map(|tool| tool.name.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use crossbeam_channel::bounded;
    use tempfile::TempDir;

    use super::*;
    use crate::base::fs::Fs;
    use crate::config::{ConfigSource, Overrides};

    fn loaded(folder: &TempDir) -> Arc<LoadedAgents> {
        let home = folder.path().join(".duragent/agents/ada");
        fs::create_dir_all(&home).unwrap();
        let tools =
            "    - {type: builtin, name: reload_tools}\n    - {type: builtin, name: session}\n";
        let text = format!(
            "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n  name: ada\nspec:\n  model:\n    \
             provider: echo\n    name: echo\n  tools:\n{tools}"
        );
        fs::write(home.join("agent.yaml"), text).unwrap();
        let flags = Overrides {
            workspace: Some(folder.path().join(".duragent")),
            ..Overrides::default()
        };
        let config = Config::load(&ConfigSource::default(), &flags, &|_| None)
            .unwrap()
            .config;
        let trust = Arc::new(crate::trust::testing::everything(&config.workspace));
        let environment = Arc::new(|_: &str| None);
        let directory = AgentDirectory::load(&config.agents_dir, environment, Arc::clone(&trust));
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        let store = storage::sessions(Arc::clone(&fs), &config.workspace, &config.sessions_dir);
        let parts = ToolParts::new(&config, fs, store).unwrap();
        let policies = policy_files::policies(&config.workspace, Arc::new(|_: &str| None), trust);
        LoadedAgents::new(Arc::new(directory), Arc::new(policies), parts)
    }

    #[test]
    fn tools_are_made_once_until_the_agent_asks() {
        let folder = tempfile::tempdir().unwrap();
        let agents = loaded(&folder);
        let tool = || Arc::clone(agents.get("ada").unwrap().tools.get("session").unwrap());
        let first = tool();
        assert!(Arc::ptr_eq(&first, &tool()));
        let ada = AgentName::parse("ada").unwrap();
        let maker = Maker(Arc::downgrade(&agents));
        let names = maker.remake(&ada).unwrap();
        assert_eq!(names, ["reload_tools", "session"]);
        assert!(!Arc::ptr_eq(&first, &tool()));
        assert_eq!(maker.remake(&AgentName::parse("bob").unwrap()), None);
        drop(agents);
        assert_eq!(maker.remake(&ada), None, "a tool does not keep its agent");
    }

    #[test]
    fn nobody_waits_for_an_agent_that_is_being_made() {
        let folder = tempfile::tempdir().unwrap();
        let agents = loaded(&folder);
        let ada = agents.get("ada").unwrap();
        let (got_tx, got_rx) = bounded(1);
        let other = Arc::clone(&agents);
        agents.made.add(|| {
            let look = move || got_tx.send(other.get("ada").is_some()).unwrap();
            let looking = std::thread::spawn(look);
            let got = got_rx.recv_timeout(Duration::from_secs(10));
            assert_eq!(got, Ok(true));
            looking.join().unwrap();
            ada.clone()
        });
    }

    #[test]
    fn who_began_last_to_make_an_agent_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let agents = loaded(&folder);
        let (older, newer) = (Arc::clone(&agents).get("ada").unwrap(), loaded(&folder));
        let newer = newer.get("ada").unwrap();
        let is_newer = |agent: &Agent| Arc::ptr_eq(&agent.spec, &newer.spec);
        let slow = agents.made.add(|| {
            assert!(is_newer(&agents.made.add(|| newer.clone())));
            older.clone()
        });
        assert!(is_newer(&slow));
        assert!(agents.made.get(&newer.spec).is_some());
        assert!(!is_newer(&agents.made.add(|| older.clone())));
    }
}
