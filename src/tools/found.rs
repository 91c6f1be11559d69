//! Finds tools by convention: `tools/<tool>/run`, or `run.` and any ending.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::order;
use crate::domain::spec::{BUILTIN_TOOLS, is_tool_name};
use crate::tools::readme;

/// The folder of tools, in an agent's folder and in the workspace.
pub(super) const TOOLS: &str = "tools";

/// A tool that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FoundTool {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) description: String,
}

/// The tools in a folder, sorted by name, and what is wrong with others. Of the folder of an agent, its
/// `home` bounds what is told of them.
pub(super) fn look(folder: &Path, home: Option<&Path>) -> (Vec<FoundTool>, Vec<String>) {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let folders = match sorted_entries(folder) {
        Ok(folders) => folders,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            problems.push(format!("{} cannot be read: {error}", folder.display()));
            Vec::new()
        }
    };
    for folder in folders.into_iter().filter(|path| path.is_dir()) {
        match look_into(&folder, home) {
            Ok(Some(tool)) => found.push(tool),
            Ok(None) => {}
            Err(problem) => problems.push(format!("{} is no tool: {problem}", folder.display())),
        }
    }
    (found, problems)
}

/// The tool in a folder; `None` for a folder without a program.
///
/// Errors: why it is none, for the list that [`look`] makes of it.
fn look_into(folder: &Path, home: Option<&Path>) -> Result<Option<FoundTool>, String> {
    let files = sorted_entries(folder).map_err(|error| error.to_string())?;
    let runs: Vec<PathBuf> = files.into_iter().filter(|path| is_run(path)).collect();
    if runs.is_empty() {
        return Ok(None);
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    if !is_tool_name(&name) {
        return Err("its name must be 1 to 64 letters, digits, `-` or `_`".to_owned());
    }
    if BUILTIN_TOOLS.contains(&&*name) {
        return Err("its name is that of a builtin".to_owned());
    }
    let Some(program) = runs.iter().find(|path| is_executable(path)) else {
        return Err(format!("{} may not be executed", runs[0].display()));
    };
    let file = folder.join("README.md");
    // It goes to a model: a link could name any file of the machine.
    let bounds: Vec<&Path> = home.into_iter().chain([folder]).collect();
    let text = readme::read(&file, &bounds).ok();
    Ok(Some(FoundTool {
        name: name.clone().into_owned(),
        program: program.clone(),
        description: text.unwrap_or_else(|| format!("The program `{name}`.")),
    }))
}

fn sorted_entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths?;
    order::sort(&mut paths);
    Ok(paths)
}

fn is_run(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    (name == b"run" || name.starts_with(b"run.")) && path.is_file()
}

/// A file with a right to run it, whoever has that: the run itself tells the rest.
pub(super) fn is_executable(path: &Path) -> bool {
    let about = fs::metadata(path);
    about.is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn tools_are_found_by_the_name_of_their_program() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        file(&at("b/run.py"), "", 0o755);
        file(&at("b/README.md"), "Does b.\n", 0o644);
        file(&at("a/run"), "", 0o755);
        file(&at("c/run.txt"), "", 0o644);
        file(&at("no-tool/runner"), "", 0o755);
        file(&at("bash/run"), "", 0o755);
        file(&at("bad name/run"), "", 0o755);
        file(&at("run"), "", 0o755);
        let (found, problems) = look(folder.path(), None);
        let tool = |name: &str, program: &str, description: &str| FoundTool {
            name: name.into(),
            program: at(program),
            description: description.into(),
        };
        assert_eq!(
            found,
            [
                tool("a", "a/run", "The program `a`."),
                tool("b", "b/run.py", "Does b.")
            ]
        );
        let shown = |path: &str| at(path).display().to_string();
        assert_eq!(
            problems,
            [
                format!(
                    "{} is no tool: its name must be 1 to 64 letters, digits, `-` or `_`",
                    shown("bad name")
                ),
                format!(
                    "{} is no tool: its name is that of a builtin",
                    shown("bash")
                ),
                format!(
                    "{} is no tool: {} may not be executed",
                    shown("c"),
                    shown("c/run.txt")
                ),
            ]
        );
    }

    #[test]
    fn a_readme_that_leads_out_of_its_folder_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools");
        file(&folder.path().join("secret"), "hunter2", 0o600);
        file(&tools.join("a/run"), "", 0o755);
        std::os::unix::fs::symlink("../../secret", tools.join("a/README.md")).unwrap();
        // The folder itself may be a link, as to where somebody develops a tool.
        file(&folder.path().join("elsewhere/run"), "", 0o755);
        file(&folder.path().join("elsewhere/README.md"), "Does b.", 0o644);
        std::os::unix::fs::symlink("../elsewhere", tools.join("b")).unwrap();
        let (found, problems) = look(&tools, None);
        let told: Vec<&str> = found.iter().map(|it| &*it.description).collect();
        assert_eq!(told, ["The program `a`.", "Does b."]);
        // Nor where one comes with the folder of an agent.
        let (found, _) = look(&tools, Some(&tools));
        assert_eq!(found[1].description, "The program `b`.");
        assert_eq!(problems, [] as [String; 0]);
    }

    #[test]
    fn no_folder_is_no_tool_and_no_problem() {
        assert_eq!(look(Path::new("/nowhere/tools"), None), (vec![], vec![]));
    }
}
