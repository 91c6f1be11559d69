//! All agents of a folder, as last read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::agents::file::AGENT_FILE;
use crate::agents::reading::{Reading, agent_folders, no_folder, read_agent};
use crate::agents::{directives, skills};
use crate::base::order;
use crate::base::yaml::expand::OwnedEnvironment;
use crate::base::yaml::problem::Problem;
use crate::domain::ids::AgentName;
use crate::domain::spec::{AgentSpec, Directive, Provider, Skill};
use crate::trust::WorkspaceTrust;

/// The agents of a folder, as last read. Shared by all threads.
pub struct AgentDirectory {
    folder: PathBuf,
    /// The workspace, if there is one: its directives and skills are for all agents.
    workspace: Option<PathBuf>,
    environment: OwnedEnvironment,
    providers: Vec<Provider>,
    trust: Arc<WorkspaceTrust>,
    /// Held by a reload from its first look at a file to its end, so that the files as they are
    /// last are what is kept. Taken before `state`.
    reloading: Mutex<()>,
    /// Held for a look or a swap, never while files are read.
    state: RwLock<LastReading>,
}

#[derive(Debug, Default)]
struct LastReading {
    agents: BTreeMap<AgentName, Arc<AgentSpec>>,
    problems: Vec<Problem>,
    /// The folders whose `agent.yaml` could not be used.
    broken: Vec<String>,
}

/// An agent whose files cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenAgent {
    /// The name of its folder.
    pub name: String,
    /// Its mistakes, a line each; files are named from the folder of all agents.
    pub mistakes: Vec<String>,
}

/// The difference that reading the agents again has made, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadReport {
    /// Agents that were not there before.
    pub added: Vec<AgentName>,
    /// Agents that are different now.
    pub changed: Vec<AgentName>,
    /// Agents whose folder is gone.
    pub removed: Vec<AgentName>,
    /// Errors of the files that were not taken. An agent whose own file is among them is as before,
    /// and so is a directive; an agent whose skill is has it no longer.
    pub failed: Vec<Problem>,
}

impl AgentDirectory {
    /// Reads the agents in `folder`. Never fails as a whole: what went wrong is in
    /// [`problems`](Self::problems).
    pub fn load(
        folder: &Path,
        environment: OwnedEnvironment,
        trust: Arc<WorkspaceTrust>,
    ) -> AgentDirectory {
        AgentDirectory::read_all(folder, None, Vec::new(), environment, trust)
    }

    /// As [`load`](Self::load), with the directives and skills in `workspace` for all of them, and
    /// `providers` that they may name beside those of the table.
    pub fn load_in(
        workspace: &Path,
        folder: &Path,
        providers: Vec<Provider>,
        environment: OwnedEnvironment,
        trust: Arc<WorkspaceTrust>,
    ) -> AgentDirectory {
        let workspace = Some(workspace.to_owned());
        AgentDirectory::read_all(folder, workspace, providers, environment, trust)
    }

    fn read_all(
        folder: &Path,
        workspace: Option<PathBuf>,
        providers: Vec<Provider>,
        environment: OwnedEnvironment,
        trust: Arc<WorkspaceTrust>,
    ) -> AgentDirectory {
        let directory = AgentDirectory {
            folder: folder.to_owned(),
            workspace,
            environment,
            providers,
            trust,
            reloading: Mutex::default(),
            state: RwLock::default(),
        };
        directory.reload();
        directory
    }

    /// The agent of that name.
    pub fn get(&self, name: &AgentName) -> Option<Arc<AgentSpec>> {
        self.read_state(|state| state.agents.get(name).cloned())
    }

    /// All agents, sorted by name.
    pub fn list(&self) -> Vec<Arc<AgentSpec>> {
        self.read_state(|state| state.agents.values().cloned().collect())
    }

    /// All problems of the last reading, warnings among them, in the order of the folders.
    pub fn problems(&self) -> Vec<Problem> {
        self.read_state(|state| state.problems.clone())
    }

    /// The agents that could not be read the last time, sorted by name. One that could before is in
    /// the [list](Self::list) as it was then.
    pub fn broken(&self) -> Vec<BrokenAgent> {
        let found = |state: &LastReading| {
            let broken = state.broken.iter();
            let named = broken.map(|name| BrokenAgent {
                name: name.clone(),
                mistakes: self.mistakes(name, &state.problems),
            });
            named.collect()
        };
        self.read_state(found)
    }

    fn mistakes(&self, name: &str, problems: &[Problem]) -> Vec<String> {
        let home = self.folder.join(name);
        let errors = problems
            .iter()
            .filter(|one| one.is_error() && one.file.starts_with(&home));
        let shown = errors.map(|one| {
            let file = one.file.strip_prefix(&self.folder);
            Problem {
                file: file.unwrap_or(&one.file).to_owned(),
                ..one.clone()
            }
        });
        shown.map(|one| one.to_string()).collect()
    }

    /// Reads the folder again.
    pub fn reload(&self) -> ReloadReport {
        let _reloading = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = self.read_state(|state| state.agents.clone());
        let found = FoundAgents::read(
            &self.folder,
            self.workspace.as_deref(),
            Reading {
                providers: &self.providers,
                ..Reading::of(&*self.environment, &self.trust)
            },
            &before,
        );
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let (next, report) = state.after(found);
        *state = next;
        report
    }

    fn read_state<T>(&self, look: impl FnOnce(&LastReading) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for AgentDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentDirectory")
            .field("folder", &self.folder)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl LastReading {
    /// The state that follows a reading, and how it differs.
    fn after(&self, found: FoundAgents) -> (LastReading, ReloadReport) {
        let mut report = ReloadReport {
            failed: found
                .problems
                .iter()
                .filter(|one| one.is_error())
                .cloned()
                .collect(),
            ..ReloadReport::default()
        };
        let mut agents = BTreeMap::new();
        for spec in found.agents {
            match self.agents.get(&spec.name) {
                None => report.added.push(spec.name.clone()),
                Some(before) if **before != spec => report.changed.push(spec.name.clone()),
                Some(_) => {}
            }
            agents.insert(spec.name.clone(), Arc::new(spec));
        }
        for (name, before) in &self.agents {
            if agents.contains_key(name) {
                continue;
            }
            if found.broken.is_kept(name) {
                agents.insert(name.clone(), Arc::clone(before));
            } else {
                report.removed.push(name.clone());
            }
        }
        let next = LastReading {
            agents,
            problems: found.problems,
            broken: found.broken.names(),
        };
        (next, report)
    }
}

/// What one reading of the folder found.
struct FoundAgents {
    agents: Vec<AgentSpec>,
    problems: Vec<Problem>,
    broken: Broken,
}

/// Which agents could not be read.
enum Broken {
    /// The folder itself could not, so nothing is known of any.
    All,
    /// Those of these folders.
    These(Vec<String>),
}

impl Broken {
    fn names(self) -> Vec<String> {
        match self {
            Broken::All => Vec::new(),
            Broken::These(names) => names,
        }
    }

    fn is_kept(&self, name: &AgentName) -> bool {
        match self {
            Broken::All => true,
            Broken::These(names) => names.iter().any(|one| one == name.as_str()),
        }
    }
}

impl FoundAgents {
    fn read(
        folder: &Path,
        workspace: Option<&Path>,
        reading: Reading<'_>,
        before: &BTreeMap<AgentName, Arc<AgentSpec>>,
    ) -> FoundAgents {
        let mut found = FoundAgents {
            agents: Vec::new(),
            problems: Vec::new(),
            broken: Broken::These(Vec::new()),
        };
        let folders = match agent_folders(folder) {
            Ok(folders) => folders,
            Err(error) => {
                let problem = no_folder(folder, &error);
                if problem.is_error() {
                    found.broken = Broken::All;
                }
                found.problems.push(problem);
                return found;
            }
        };
        let last = before.values().flat_map(|agent| agent.directives.clone());
        let mut last: Vec<Directive> = last.collect();
        // Those for all agents stand in each of them.
        order::sort_by(&mut last, |one, other| one.file.cmp(&other.file));
        last.dedup_by(|one, other| one.file == other.file);
        let shared = workspace.map_or_else(WorkspaceParts::default, |workspace| {
            WorkspaceParts::read(workspace, reading.trust, &last, &mut found.problems)
        });
        let reading = Reading {
            last: &last,
            ..reading
        };
        for folder in folders {
            found.add(&folder, &shared, reading);
        }
        found
    }

    fn add(&mut self, folder: &Path, shared: &WorkspaceParts, reading: Reading<'_>) {
        let file = folder.join(AGENT_FILE);
        let (spec, problems, _) = read_agent(&file, folder, reading);
        self.problems.extend(problems);
        match (spec, &mut self.broken) {
            (Some(mut spec), _) => {
                spec.directives = directives::merged(&shared.directives, spec.directives);
                let (own, problems) = (&spec.skills, &mut self.problems);
                spec.skills = skills::merged(own, &shared.skills, folder, problems);
                self.agents.push(spec);
            }
            (None, Broken::These(names)) => {
                let name = folder.file_name().unwrap_or_default();
                names.push(name.to_string_lossy().into_owned());
            }
            (None, Broken::All) => {}
        }
    }
}

/// What a workspace has for all its agents.
#[derive(Default)]
struct WorkspaceParts {
    directives: Vec<Directive>,
    skills: Vec<Skill>,
}

impl WorkspaceParts {
    fn read(
        workspace: &Path,
        trust: &WorkspaceTrust,
        last: &[Directive],
        problems: &mut Vec<Problem>,
    ) -> WorkspaceParts {
        let read = |path: &Path, bytes_max| trust.read_shared(path, bytes_max);
        let folder = workspace.join(directives::FOLDER);
        let directives = directives::read(&folder, &read, last, problems);
        let folder = workspace.join(skills::FOLDER);
        WorkspaceParts {
            directives,
            skills: skills::read(&folder, skills::SkillSource::Workspace(trust), problems),
        }
    }
}
