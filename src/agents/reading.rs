//! One agent, read from the files in its folder, and the folders that there are.

use std::io;
use std::path::{Path, PathBuf};

use crate::agents::file::{AGENT_FILE, unreadable};
use crate::agents::{checked, directives, raw, skills};
use crate::base::order;
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::problem::{Level, Problem};
use crate::base::yaml::read::{self, FromYaml, Report};
use crate::domain::spec::{AgentSpec, Directive, Provider};
use crate::domain::trust::{AGENT_PARTS, Brought};
use crate::trust::{AgentFolder, Grants, TrustFilter, WorkspaceTrust};

/// Everything that is wrong with an agent: `path` is its folder or its `agent.yaml`. It may name
/// `providers` beside those of the table.
pub fn validate(
    path: &Path,
    environment: Environment<'_>,
    providers: &[Provider],
    trust: &WorkspaceTrust,
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
    trust: &WorkspaceTrust,
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
    trust: &WorkspaceTrust,
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
pub(super) struct Reading<'a> {
    pub(super) environment: Environment<'a>,
    /// Providers that they may name beside those of the table.
    pub(super) providers: &'a [Provider],
    pub(super) trust: &'a WorkspaceTrust,
    pub(super) unknown_keys: Level,
    /// Directives as they were read before.
    pub(super) last: &'a [Directive],
}

impl<'a> Reading<'a> {
    pub(super) fn of(environment: Environment<'a>, trust: &'a WorkspaceTrust) -> Reading<'a> {
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
pub(super) fn read_agent(
    file: &Path,
    folder: &Path,
    reading: Reading<'_>,
) -> (Option<AgentSpec>, Vec<Problem>, Vec<Brought>) {
    let home = named(folder);
    let folder = AgentFolder::new(reading.trust, &home);
    let (spec, problems) = read_in_folder(file, &home, &folder, reading);
    (spec, problems, folder.brought())
}

fn read_in_folder(
    file: &Path,
    home: &Path,
    folder: &AgentFolder<'_>,
    reading: Reading<'_>,
) -> (Option<AgentSpec>, Vec<Problem>) {
    let text = match folder.read(file, TEXT_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => return (None, vec![unreadable(file, &error)]),
    };
    let mut report = Report::new(reading.unknown_keys);
    let filter = TrustFilter::new(folder, AGENT_FILE, AGENT_PARTS, reading.environment);
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
        let origin = skills::SkillSource::Agent(folder);
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

/// Why the agents of a folder are not known. One that is not there has none.
pub(super) fn no_folder(folder: &Path, error: &io::Error) -> Problem {
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
pub(super) fn agent_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
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
