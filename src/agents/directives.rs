//! `directives/*.md`: texts that are always in the prompt.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agents::file::unreadable;
use crate::base::order;
use crate::base::yaml::problem::Problem;
use crate::domain::spec::Directive;
use crate::trust::ReadError;

/// The name of a folder of directives.
pub(super) const FOLDER: &str = "directives";
/// The longest directive.
const BYTES_MAX: usize = 1 << 20;

/// The directives in `folder`, sorted by name; none if there is no such folder. One that cannot be
/// read is reported, and stays as it is in `last`, or is left out: nobody who saves a file badly
/// means to take a rule away.
pub(super) fn read(
    folder: &Path,
    read_file: &dyn Fn(&Path, usize) -> Result<String, ReadError>,
    last: &[Directive],
    problems: &mut Vec<Problem>,
) -> Vec<Directive> {
    let files = match markdown_files(folder) {
        Ok(files) => files,
        Err(error) => {
            let message = format!("cannot read the folder of directives: {error}");
            problems.push(Problem::of_file(folder, message));
            let of_here = |one: &&Directive| one.file.parent() == Some(folder);
            return last.iter().filter(of_here).cloned().collect();
        }
    };
    let mut found = Vec::new();
    for (name, path) in files {
        match read_file(&path, BYTES_MAX) {
            Ok(text) => found.push(Directive {
                name,
                text,
                file: path,
            }),
            Err(error) => {
                problems.push(unreadable(&path, &error));
                found.extend(last.iter().find(|one| one.file == path).cloned());
            }
        }
    }
    found
}

/// What is always in an agent's prompt: the workspace's directives but for those that the agent
/// has one of the same name for, then its own.
pub(super) fn merged(shared: &[Directive], own: Vec<Directive>) -> Vec<Directive> {
    let is_replaced = |one: &Directive| own.iter().any(|other| other.name == one.name);
    let mut all: Vec<Directive> = shared
        .iter()
        .filter(|one| !is_replaced(one))
        .cloned()
        .collect();
    all.extend(own);
    all
}

/// The names and paths of the Markdown files in `folder`, sorted. Hidden files are none.
fn markdown_files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && !name.starts_with('.') {
            files.push((name, entry.path()));
        }
    }
    order::sort(&mut files);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_replaces_a_directive_of_the_same_name() {
        let of = |owner: &str, names: &[&str]| -> Vec<Directive> {
            let one = |name: &&str| Directive {
                name: (*name).to_owned(),
                text: owner.to_owned(),
                file: PathBuf::new(),
            };
            names.iter().map(one).collect()
        };
        let all = merged(
            &of("workspace", &["b.md", "c.md"]),
            of("agent", &["a.md", "b.md"]),
        );
        let shown: Vec<String> = all
            .iter()
            .map(|one| format!("{} {}", one.name, one.text))
            .collect();
        assert_eq!(shown, ["c.md workspace", "a.md agent", "b.md agent"]);
    }
}
