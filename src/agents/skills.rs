//! Skills in the Agent Skills format: `skills/<skill>/SKILL.md`, and `skills/<collection>/<skill>/SKILL.md`.
//!
//! Only names and descriptions are kept; what a skill says is read when an agent asks for it.
//!
//! Invariants:
//! - a folder of skills may hold anything, and so much of it is looked at and no more;
//! - all in a skill's folder can be read, and so none holds an agent, a workspace or a memory;
//! - whatever is left out is said.
//!
//! Elsewhere: what a `SKILL.md` must say (`header`), reading the rest of it (`tools::skill`).

mod header;
mod mend;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agents::file::{AGENT_FILE, unreadable};
use crate::base::order;
use crate::base::text::{self, TextError};
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::problem::{Level, Problem};
use crate::domain::plain;
use crate::domain::spec::{SKILL_FILES, Skill};
use crate::domain::trust::Granted;
use crate::trust::{AgentFolder, ReadError, WorkspaceTrust};

/// The name of a folder of skills: the workspace's, and the usual one in a collection.
pub(super) const FOLDER: &str = "skills";
/// The folder of what an agent remembers.
const MEMORY: &str = "memory";
/// A folder of what a package manager brought, which may be thousands.
const PACKAGES: &str = "node_modules";
/// So many folders are looked into for skills, those of collections among them.
const FOLDERS_MAX: usize = 10_000;
/// So many names in a folder are looked at.
const NAMES_MAX: usize = 50_000;
/// So many problems of a folder of skills are told.
const TOLD_MAX: usize = 200;

/// Who brings skills.
#[derive(Debug, Clone, Copy)]
pub(super) enum SkillSource<'a> {
    /// The folder of an agent, which grants itself nothing.
    Agent(&'a AgentFolder<'a>),
    /// The workspace, for all agents.
    Workspace(&'a WorkspaceTrust),
}

impl SkillSource<'_> {
    fn check_folder(&self, path: &Path) -> Result<PathBuf, ReadError> {
        match self {
            SkillSource::Agent(folder) => folder.check_folder(path),
            SkillSource::Workspace(trust) => trust.check_shared_folder(path),
        }
    }

    fn read(&self, path: &Path) -> Result<String, ReadError> {
        match self {
            SkillSource::Agent(folder) => folder.read(path, TEXT_BYTES_MAX),
            SkillSource::Workspace(trust) => trust.read_shared(path, TEXT_BYTES_MAX),
        }
    }

    /// The folder of who brings them, without links on the way.
    fn home(&self, skills: &Path) -> Option<PathBuf> {
        match self {
            SkillSource::Agent(home) => home.place().map(Path::to_owned),
            SkillSource::Workspace(_) => skills.parent()?.canonicalize().ok(),
        }
    }

    /// Whether what lies at `inner` in their home may be a skill: not what an agent remembers, also of
    /// other chats, nor a workspace's agents, sessions and memory.
    fn may_hold_skills(&self, inner: &Path) -> bool {
        match self {
            SkillSource::Agent(_) => !inner.starts_with(MEMORY),
            SkillSource::Workspace(_) => inner
                .parent()
                .is_some_and(|above| above.iter().any(|name| name == FOLDER)),
        }
    }

    fn is_trusted(&self) -> bool {
        match self {
            SkillSource::Agent(folder) => *folder.granted() != Granted::Nothing,
            SkillSource::Workspace(_) => true,
        }
    }
}

/// The skills in `folder`, sorted by name; none if there is no such folder. All that is wrong is
/// reported, and of two of one name the first one stays: those of the folder itself come before those of
/// collections, and each by the names of the folders.
pub(super) fn read(
    folder: &Path,
    origin: SkillSource<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Skill> {
    let place = match origin.check_folder(folder) {
        Ok(place) => place,
        Err(ReadError::Text(TextError::Missing)) => return Vec::new(),
        Err(error) => {
            problems.push(left_out(folder, &error));
            return Vec::new();
        }
    };
    let mut search = Search {
        origin,
        home: origin.home(folder),
        place,
        looked_into: 0,
        problems: Vec::new(),
    };
    let skills = search.all(folder);
    let mut found = search.problems;
    let skills = distinct(skills, &mut found);
    tell(found, folder, problems);
    skills
}

/// The skills of the agent in `home` and those for all agents, sorted by name; of two of one name the
/// agent's stays.
pub(super) fn merged(
    own: &[Skill],
    shared: &[Skill],
    home: &Path,
    problems: &mut Vec<Problem>,
) -> Vec<Skill> {
    let mut found = Vec::new();
    let skills = distinct([own, shared].concat(), &mut found);
    tell(found, home, problems);
    skills
}

/// Adds what was found in `folder`, as far as anybody reads it.
fn tell(mut found: Vec<Problem>, folder: &Path, problems: &mut Vec<Problem>) {
    let more = found.len().saturating_sub(TOLD_MAX);
    found.truncate(TOLD_MAX);
    if more > 0 {
        found.push(warning(folder, format!("{more} more problems of skills")));
    }
    problems.extend(found);
}

/// Leaves out all but the first of each name, and sorts by it.
fn distinct(skills: Vec<Skill>, problems: &mut Vec<Problem>) -> Vec<Skill> {
    let mut first: BTreeMap<String, Skill> = BTreeMap::new();
    for skill in skills {
        match first.get(&skill.name) {
            None => drop(first.insert(skill.name.clone(), skill)),
            // The same one by two ways, as where `skills_dir` names the workspace's.
            Some(other) if other.place == skill.place => {}
            Some(other) => {
                let other = other.folder.display();
                let message = format!(
                    "the skill is left out: {other} is called `{}` too, and comes first",
                    skill.name
                );
                problems.push(warning(&skill.folder, message));
            }
        }
    }
    first.into_values().collect()
}

/// A walk through a folder of skills.
struct Search<'a> {
    origin: SkillSource<'a>,
    home: Option<PathBuf>,
    /// Where the folder of skills lies.
    place: PathBuf,
    looked_into: usize,
    problems: Vec<Problem>,
}

/// A folder that may be looked into.
struct SkillFolder {
    path: PathBuf,
    /// Without links on the way.
    place: PathBuf,
}

/// What is in a folder: those that are a skill each, with the file that makes them one, and others.
#[derive(Default)]
struct FolderContents {
    skills: Vec<(SkillFolder, PathBuf)>,
    others: Vec<SkillFolder>,
}

impl Search<'_> {
    /// The skills in `folder`, those that stand before others first.
    fn all(&mut self, folder: &Path) -> Vec<Skill> {
        let FolderContents { skills, others } = self.inside(folder);
        let mut all = self.read_all(skills);
        for other in others {
            all.extend(self.collection(&other.path));
        }
        all
    }

    /// The skills of a collection, which lie in it, or in a folder `skills` of it as in most repositories.
    fn collection(&mut self, folder: &Path) -> Vec<Skill> {
        let FolderContents { mut skills, others } = self.inside(folder);
        let inner = others.iter().find(|one| one.path.ends_with(FOLDER));
        if let Some(inner) = inner {
            skills.extend(self.inside(&inner.path).skills);
        }
        if skills.is_empty() {
            let message = format!("has no {}, nor has a folder in it", SKILL_FILES[0]);
            self.problems.push(warning(folder, message));
        }
        self.read_all(skills)
    }

    fn inside(&mut self, folder: &Path) -> FolderContents {
        let mut inside = FolderContents::default();
        for found in self.folders(folder) {
            match skill_file(&found.path) {
                Some(file) => inside.skills.push((found, file)),
                None => inside.others.push(found),
            }
        }
        inside
    }

    /// The folders in `folder` that may be looked into, sorted.
    fn folders(&mut self, folder: &Path) -> Vec<SkillFolder> {
        let (mut paths, mut is_all) = match folders(folder) {
            Ok(found) => found,
            Err(error) => {
                let message = format!("cannot read the folder of skills: {error}");
                self.problems.push(Problem::of_file(folder, message));
                return Vec::new();
            }
        };
        let room = FOLDERS_MAX - self.looked_into;
        is_all &= paths.len() <= room;
        paths.truncate(room);
        self.looked_into += paths.len();
        if !is_all {
            let message = format!(
                "has more in it than is looked at for skills: {NAMES_MAX} names in a folder, {FOLDERS_MAX} \
                 folders in all"
            );
            self.problems.push(warning(folder, message));
        }
        let mut found = Vec::new();
        for path in paths {
            match self.origin.check_folder(&path) {
                Ok(place) if self.holds_more(&place) => {
                    let message = "leads to what holds more than skills, and is left out";
                    self.problems.push(warning(&path, message));
                }
                Ok(place) => found.push(SkillFolder { path, place }),
                Err(error) => self.problems.push(left_out(&path, &error)),
            }
        }
        found
    }

    /// Whether there is more in a folder than a skill or a collection, all of which could be read then.
    fn holds_more(&self, place: &Path) -> bool {
        let Some(home) = &self.home else {
            return true;
        };
        let holds = |inner: &Path| inner.starts_with(place);
        match place.strip_prefix(home) {
            _ if holds(home) || holds(&self.place) => true,
            Ok(inner) => !self.origin.may_hold_skills(inner),
            // Another agent is no skill.
            Err(_) => place.join(AGENT_FILE).symlink_metadata().is_ok(),
        }
    }

    fn read_all(&mut self, skills: Vec<(SkillFolder, PathBuf)>) -> Vec<Skill> {
        let read = |(found, file): (SkillFolder, PathBuf)| self.read_skill(found, &file);
        skills.into_iter().filter_map(read).collect()
    }

    fn read_skill(&mut self, found: SkillFolder, file: &Path) -> Option<Skill> {
        let text = match self.origin.read(file) {
            Ok(text) => text::with_plain_line_ends(text),
            Err(error) => {
                self.problems.push(left_out(file, &error));
                return None;
            }
        };
        // Nor would it be read when the agent asks for it.
        if !file
            .canonicalize()
            .is_ok_and(|file| file.starts_with(&found.place))
        {
            let message = "leads out of the skill's folder, and is left out";
            self.problems.push(warning(file, message));
            return None;
        }
        let name = found.path.file_name().unwrap_or_default().to_string_lossy();
        let (header, problems) = header::read(&text, file, &shown(&name));
        self.problems.extend(problems);
        let header = header?;
        Some(Skill {
            name: header.name,
            description: header.description,
            folder: found.path,
            place: found.place,
            is_trusted: self.origin.is_trusted(),
        })
    }
}

/// The name of a folder in one line, not empty.
fn shown(name: &str) -> String {
    let line = plain::in_one_line(name);
    if line.is_empty() {
        plain::spelled_out(name)
    } else {
        line
    }
}

/// The file that makes a folder a skill, if it has one.
fn skill_file(folder: &Path) -> Option<PathBuf> {
    let files = SKILL_FILES.iter().map(|name| folder.join(name));
    files
        .into_iter()
        .find(|file| file.symlink_metadata().is_ok())
}

/// The folders in `folder`, sorted, without hidden ones, and whether these are all. A link that leads
/// nowhere is among them, so that it is told.
fn folders(folder: &Path) -> io::Result<(Vec<PathBuf>, bool)> {
    let mut folders = Vec::new();
    for (number, entry) in fs::read_dir(folder)?.enumerate() {
        if number == NAMES_MAX {
            order::sort(&mut folders);
            return Ok((folders, false));
        }
        let entry = entry?;
        let name = entry.file_name();
        let is_of_others = name.as_encoded_bytes().starts_with(b".") || name == PACKAGES;
        let path = entry.path();
        let is_link = entry.file_type()?.is_symlink();
        let is_folder = if is_link {
            path.metadata().map_or(true, |found| found.is_dir())
        } else {
            entry.file_type()?.is_dir()
        };
        if is_folder && !is_of_others {
            folders.push(path);
        }
    }
    order::sort(&mut folders);
    Ok((folders, true))
}

/// Says that something is not read. One that is elsewhere is no mistake in it.
fn left_out(path: &Path, error: &ReadError) -> Problem {
    let is_elsewhere = match error {
        ReadError::Elsewhere(_) | ReadError::Untrusted { .. } | ReadError::Shared { .. } => true,
        ReadError::Text(_) | ReadError::Unknown => path
            .symlink_metadata()
            .is_ok_and(|found| found.is_symlink()),
    };
    let problem = unreadable(path, error);
    Problem {
        level: if is_elsewhere {
            Level::Warning
        } else {
            problem.level
        },
        ..problem
    }
}

fn warning(path: &Path, message: impl Into<String>) -> Problem {
    Problem {
        level: Level::Warning,
        ..Problem::of_file(path, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_looked_at_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let trust = crate::trust::testing::nothing(folder.path());
        let skills = folder.path().join("skills");
        let collection = skills.join("many");
        for number in 0..300 {
            fs::create_dir_all(collection.join(format!("{number:03}"))).unwrap();
            fs::create_dir(skills.join(format!("z{number:03}"))).unwrap();
        }
        let text = "---\nname: a\ndescription: x\n---\n";
        fs::write(collection.join("299/SKILL.md"), text).unwrap();
        let home = AgentFolder::new(&trust, folder.path());
        let mut search = Search {
            origin: SkillSource::Agent(&home),
            home: home.place().map(Path::to_owned),
            place: skills.clone(),
            looked_into: FOLDERS_MAX - 301 - 299,
            problems: Vec::new(),
        };
        // The last one of the collection is one too many.
        assert_eq!(search.all(&skills), Vec::new());
        let told = search.problems[0].to_string();
        assert!(
            told.contains("many: has more in it than is looked at"),
            "{told}"
        );
        assert_eq!(search.looked_into, FOLDERS_MAX);
        let mut problems = Vec::new();
        assert_eq!(
            read(&skills, SkillSource::Agent(&home), &mut problems).len(),
            1
        );
        assert_eq!(problems.len(), TOLD_MAX + 1);
        let last = problems.pop().unwrap().message;
        assert_eq!(last, "101 more problems of skills");
    }

    #[test]
    fn of_many_that_are_called_alike_some_are_told() {
        let skills = |folder: &str| -> Vec<Skill> {
            let skill = |number| Skill {
                name: format!("{number:03}"),
                description: "x".to_owned(),
                folder: Path::new(folder).join(format!("{number:03}")),
                place: Path::new(folder).join(format!("{number:03}")),
                is_trusted: false,
            };
            (0..300).map(skill).collect()
        };
        let (own, shared) = (skills("own"), skills("shared"));
        let mut problems = Vec::new();
        let home = Path::new("home");
        assert_eq!(merged(&own, &shared, home, &mut problems), own);
        assert_eq!(problems.len(), TOLD_MAX + 1);
        assert_eq!(
            problems[TOLD_MAX].to_string(),
            "home: 100 more problems of skills"
        );
        problems.clear();
        // The same ones by two ways are no others.
        assert_eq!(merged(&own, &own, home, &mut problems), own);
        assert_eq!(problems, []);
    }
}
