//! Agent files on disk, read into an [`AgentSpec`].
//!
//! Invariants:
//! - a bad agent never hides a good one, and a bad skill or directive no agent;
//! - a reload that fails leaves the last good version in place;
//! - what an agent's folder wants of this machine counts only as far as its owner trusts it, and what
//!   does not is left out here;
//! - a skill that somebody wrote for other programs is used if it can be, with a warning;
//! - unknown keys in what guards something (`access`) are errors; elsewhere they are warnings at
//!   load and errors in [`validate`].
//!
//! Elsewhere: what an agent is (`domain::spec`), where the folder lies (`config`).

mod checked;
mod directives;
mod hooks;
mod raw;
mod skills;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::order;
use crate::base::text::TextError;
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::problem::{Level, Position, Problem};
use crate::base::yaml::read::{self, FromYaml, Report};
use crate::domain::ids::AgentName;
use crate::domain::spec::{AgentSpec, Directive, Provider, Skill};
use crate::domain::trust::{AGENT_PARTS, Brought};
use crate::trust::{Filter, Folder, Grants, ReadError, Trust};

/// The name of an agent's file in its folder.
pub const AGENT_FILE: &str = "agent.yaml";

/// The agents of a folder, as last read. Shared by all threads.
pub struct AgentDirectory {
    folder: PathBuf,
    /// The workspace, if there is one: its directives and skills are for all agents.
    workspace: Option<PathBuf>,
    environment: OwnedEnvironment,
    providers: Vec<Provider>,
    trust: Arc<Trust>,
    /// Held by a reload from its first look at a file to its end, so that the files as they are
    /// last are what is kept. Taken before `state`.
    reloading: Mutex<()>,
    /// Held for a look or a swap, never while files are read.
    state: RwLock<State>,
}

/// The environment as an [`AgentDirectory`] keeps it for its reloads.
pub type OwnedEnvironment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

#[derive(Debug, Default)]
struct State {
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
    /// What is wrong, a line each; files are named from the folder of all agents.
    pub mistakes: Vec<String>,
}

/// What a reload did.
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
    pub fn load(folder: &Path, environment: OwnedEnvironment, trust: Arc<Trust>) -> AgentDirectory {
        AgentDirectory::read_all(folder, None, Vec::new(), environment, trust)
    }

    /// As [`load`](Self::load), with the directives and skills in `workspace` for all of them, and
    /// `providers` that they may name beside those of the table.
    pub fn load_in(
        workspace: &Path,
        folder: &Path,
        providers: Vec<Provider>,
        environment: OwnedEnvironment,
        trust: Arc<Trust>,
    ) -> AgentDirectory {
        let workspace = Some(workspace.to_owned());
        AgentDirectory::read_all(folder, workspace, providers, environment, trust)
    }

    fn read_all(
        folder: &Path,
        workspace: Option<PathBuf>,
        providers: Vec<Provider>,
        environment: OwnedEnvironment,
        trust: Arc<Trust>,
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

    /// What was wrong at the last reading, warnings included.
    pub fn problems(&self) -> Vec<Problem> {
        self.read_state(|state| state.problems.clone())
    }

    /// The agents that could not be read the last time, sorted by name. One that could before is in
    /// the [list](Self::list) as it was then.
    pub fn broken(&self) -> Vec<BrokenAgent> {
        let found = |state: &State| {
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
        let found = Found::read(
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

    fn read_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
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

impl State {
    /// The state that follows a reading, and how it differs.
    fn after(&self, found: Found) -> (State, ReloadReport) {
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
        let next = State {
            agents,
            problems: found.problems,
            broken: found.broken.names(),
        };
        (next, report)
    }
}

/// What one reading of the folder found.
struct Found {
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

impl Found {
    fn read(
        folder: &Path,
        workspace: Option<&Path>,
        reading: Reading<'_>,
        before: &BTreeMap<AgentName, Arc<AgentSpec>>,
    ) -> Found {
        let mut found = Found {
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
        let shared = workspace.map_or_else(Shared::default, |workspace| {
            Shared::read(workspace, reading.trust, &last, &mut found.problems)
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

    fn add(&mut self, folder: &Path, shared: &Shared, reading: Reading<'_>) {
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
struct Shared {
    directives: Vec<Directive>,
    skills: Vec<Skill>,
}

impl Shared {
    fn read(
        workspace: &Path,
        trust: &Trust,
        last: &[Directive],
        problems: &mut Vec<Problem>,
    ) -> Shared {
        let read = |path: &Path, bytes_max| trust.read_shared(path, bytes_max);
        let folder = workspace.join(directives::FOLDER);
        let directives = directives::read(&folder, &read, last, problems);
        let folder = workspace.join(skills::FOLDER);
        Shared {
            directives,
            skills: skills::read(&folder, skills::Origin::Workspace(trust), problems),
        }
    }
}

/// Why the agents of a folder are not known. One that is not there has none.
fn no_folder(folder: &Path, error: &io::Error) -> Problem {
    if error.kind() != io::ErrorKind::NotFound {
        let message = format!("cannot read the folder of the agents: {error}");
        return Problem::of_file(folder, message);
    }
    Problem {
        level: Level::Warning,
        ..Problem::of_file(folder, "the folder of the agents does not exist")
    }
}

/// The folders in `folder`, sorted. Hidden ones are no agents.
fn agent_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in folder.read_dir()? {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_dir() {
            found.push(entry.path());
        }
    }
    order::sort(&mut found);
    Ok(found)
}

/// Everything that is wrong with an agent: `path` is its folder or its `agent.yaml`. It may name
/// `providers` beside those of the table.
pub fn validate(
    path: &Path,
    environment: Environment<'_>,
    providers: &[Provider],
    trust: &Trust,
) -> Vec<Problem> {
    let reading = Reading {
        unknown_keys: Level::Error,
        providers,
        ..Reading::of(environment, trust)
    };
    if path.is_dir() {
        return read_agent(&path.join(AGENT_FILE), path, reading).1;
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    read_agent(path, folder, reading).1
}

/// The agent in `home` as it would be with all that it brings, and what of that needs trust; its
/// policies and tools are others' matter.
pub fn parts(
    home: &Path,
    environment: Environment<'_>,
    providers: &[Provider],
    trust: &Trust,
) -> (Option<AgentSpec>, Vec<Brought>) {
    let trust = trust.with_grants(Grants::All);
    let reading = Reading {
        providers,
        ..Reading::of(environment, &trust)
    };
    let (spec, _, brought) = read_agent(&home.join(AGENT_FILE), home, reading);
    (spec, brought)
}

/// The folders of the agents in `folder`, sorted; none if it cannot be read.
pub fn homes(folder: &Path) -> Vec<PathBuf> {
    agent_folders(folder).unwrap_or_default()
}

/// Everything that is wrong with the agents in `folder`, each with the name of its folder; see
/// [`validate`].
///
/// Errors: the folder itself does not exist, or cannot be read.
pub fn validate_all(
    folder: &Path,
    environment: Environment<'_>,
    providers: &[Provider],
    trust: &Trust,
) -> Result<Vec<(String, Vec<Problem>)>, Problem> {
    let folders = agent_folders(folder).map_err(|error| no_folder(folder, &error))?;
    let named = folders.iter().map(|folder| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        (
            name.into_owned(),
            validate(folder, environment, providers, trust),
        )
    });
    Ok(named.collect())
}

/// Every key that an agent's file may have, as `spec.model.name`; lists as `spec.tools[].type`.
pub fn keys() -> Vec<String> {
    let mut found = Vec::new();
    raw::AgentFile::keys("", &mut found);
    found
}

/// How the files of agents are read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    environment: Environment<'a>,
    /// Providers that they may name beside those of the table.
    providers: &'a [Provider],
    trust: &'a Trust,
    unknown_keys: Level,
    /// Directives as they were read before.
    last: &'a [Directive],
}

impl<'a> Reading<'a> {
    fn of(environment: Environment<'a>, trust: &'a Trust) -> Reading<'a> {
        Reading {
            environment,
            providers: &[],
            trust,
            unknown_keys: Level::Warning,
            last: &[],
        }
    }
}

/// Reads an agent's `file` in its `folder`, and tells what is wrong with it and what it brings that
/// needs trust.
fn read_agent(
    file: &Path,
    folder: &Path,
    reading: Reading<'_>,
) -> (Option<AgentSpec>, Vec<Problem>, Vec<Brought>) {
    let home = named(folder);
    let folder = Folder::new(reading.trust, &home);
    let (spec, problems) = read_in_folder(file, &home, &folder, reading);
    (spec, problems, folder.brought())
}

fn read_in_folder(
    file: &Path,
    home: &Path,
    folder: &Folder<'_>,
    reading: Reading<'_>,
) -> (Option<AgentSpec>, Vec<Problem>) {
    let text = match folder.read(file, TEXT_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => return (None, vec![unreadable(file, &error)]),
    };
    let mut report = Report::new(reading.unknown_keys);
    let filter = Filter::new(folder, AGENT_FILE, AGENT_PARTS, reading.environment);
    let read = read::read_sifted_document(text, file, &filter, &mut report);
    let (document, read) = match read {
        Ok(read) => read,
        Err(problem) => return (None, vec![problem]),
    };
    let mut spec =
        read.and_then(|at| checked::agent(at, home, reading.providers, folder, &mut report));
    let mut beside = Vec::new();
    if let Some(spec) = &mut spec {
        let own = home.join(directives::FOLDER);
        let read = |path: &Path, bytes_max| folder.read(path, bytes_max);
        spec.directives = directives::read(&own, &read, reading.last, &mut beside);
        let origin = skills::Origin::Agent(folder);
        spec.skills = skills::read(&spec.skills_dir, origin, &mut beside);
    }
    let spec = spec.filter(|_| !report.has_errors());
    let mut problems = report.finish(&document, file);
    problems.extend(beside);
    (spec, problems)
}

/// The folder as an absolute path that ends in its name, which `.` does not. A link keeps the
/// name of the link.
fn named(folder: &Path) -> PathBuf {
    let named = match folder.file_name() {
        Some(_) => std::path::absolute(folder),
        None => folder.canonicalize(),
    };
    named.unwrap_or_else(|_| folder.to_owned())
}

fn unreadable(file: &Path, error: &ReadError) -> Problem {
    match *error {
        ReadError::Text(TextError::NotUtf8 { line, column }) => Problem {
            position: Some(Position { line, column }),
            ..Problem::of_file(file, "is not UTF-8 from here on")
        },
        _ => Problem::of_file(file, error.to_string()),
    }
}
