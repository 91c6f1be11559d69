//! The builtin `skill`: what a skill says, and the files that come with it, when the model asks.
//!
//! Invariant: nothing outside of a skill's folder is read, wherever its links lead.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use crate::base::order;
use crate::base::text::{self, TextError};
use crate::domain::spec::{SKILL_FILES, Skill};
use crate::tools::arguments;
use crate::tools::builtin::{self, ANSWER_BYTES_MAX, BuiltinAnswer};
use crate::tools::{Effect, Run, RunResult, Tool, ToolRefusal, ToolSpec};

/// The longest file that is looked into.
const FILE_BYTES_MAX: usize = 1 << 20;
/// So many files of a skill are named, in so many bytes.
const NAMED_FILES_MAX: usize = 100;
const NAMED_BYTES_MAX: usize = 8 << 10;
/// So many files and folders are looked at to name them.
const LOOKED_AT_MAX: usize = 2_000;

const DESCRIPTION: &str = "Reads a skill: instructions for a task, and the files that come with them. \
     `{\"action\": \"read\", \"name\": \"…\"}` gives what the skill says, its folder and \
     its files; with `file` one of these. Of a long file you get the first part; `offset` says from which \
     byte on you want the next.";

/// Reads the skills of one agent.
#[derive(Debug)]
pub(super) struct SkillTool {
    spec: ToolSpec,
    skills: Vec<Skill>,
}

#[derive(Deserialize)]
struct SkillArguments {
    /// There is one. It is named all the same, so that others can follow.
    action: SkillAction,
    name: String,
    file: Option<String>,
    offset: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SkillAction {
    Read,
}

impl SkillTool {
    pub(super) fn new(skills: Vec<Skill>) -> SkillTool {
        let parameters = json!({
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": ["read"]},
                "name": {"type": "string", "description": "The skill's name."},
                "file": {
                    "type": "string",
                    "description": "One of its files, named from the skill's folder, as references/x.md; without it the skill itself.",
                },
                "offset": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "The byte to begin at, to go on with a long file.",
                },
            },
            "required": ["action", "name"],
        });
        SkillTool {
            spec: builtin::spec("skill", DESCRIPTION, parameters, Effect::Read),
            skills,
        }
    }

    fn answer(&self, json: &str) -> BuiltinAnswer {
        let arguments: SkillArguments = arguments::read(json)?;
        let SkillAction::Read = arguments.action;
        let skill = self.skill(&arguments.name)?;
        let offset = arguments.offset.unwrap_or(0);
        match arguments.file.as_deref() {
            file if file.is_none_or(|file| file.is_empty() || file == name_of_file(skill)) => {
                let body = body(skill)?;
                let files = match offset {
                    0 => belongings(skill),
                    _ => String::new(),
                };
                let room = ANSWER_BYTES_MAX.saturating_sub(files.len());
                Ok(part(&body, offset, room) + &files)
            }
            file => {
                let text = read(skill, &inner_path(skill, file.unwrap_or_default())?)?;
                Ok(part(&text, offset, ANSWER_BYTES_MAX))
            }
        }
    }

    fn skill(&self, name: &str) -> Result<&Skill, ToolRefusal> {
        let found = self.skills.iter().find(|skill| skill.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.skills.iter().map(|one| one.name.as_str()).collect();
            if names.is_empty() {
                "there are no skills".into()
            } else {
                format!("there is no such skill; there are: {}", names.join(", ")).into()
            }
        })
    }
}

impl Tool for SkillTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        builtin::output(self.answer(run.arguments)).into()
    }
}

/// Where a file stands in a skill's folder.
///
/// Errors: it is named by a way that leads out of it.
fn inner_path(skill: &Skill, file: &str) -> Result<PathBuf, ToolRefusal> {
    let path = Path::new(file);
    // The model is told the folder, and may name a file from the root on.
    let mut folders = [&skill.folder, &skill.place].into_iter();
    let inner = folders.find_map(|folder| path.strip_prefix(folder).ok());
    let path = inner.unwrap_or(path);
    let is_inner = path.components().all(|part| match part {
        Component::Normal(_) | Component::CurDir => true,
        Component::ParentDir | Component::RootDir | Component::Prefix(_) => false,
    });
    if is_inner {
        Ok(path.to_owned())
    } else {
        Err(
            "only files in the skill's folder can be read, named from there without `..`, as \
             references/x.md"
                .into(),
        )
    }
}

/// The file that makes the folder a skill.
fn name_of_file(skill: &Skill) -> &'static str {
    let mut names = SKILL_FILES.into_iter();
    let there = names.find(|name| skill.place.join(name).symlink_metadata().is_ok());
    there.unwrap_or(SKILL_FILES[0])
}

/// What the skill says, with plain line ends and without its front matter.
fn body(skill: &Skill) -> Result<String, ToolRefusal> {
    let text = text::with_plain_line_ends(read(skill, Path::new(name_of_file(skill)))?);
    let body = text::split_front_matter(&text).map_or(&*text, |(_, body)| body);
    Ok(body.trim().to_owned())
}

/// A file of a skill, if it lies in its folder once all links are followed.
fn read(skill: &Skill, inner: &Path) -> Result<String, ToolRefusal> {
    let shown = inner.display();
    let failed = |error: TextError| -> ToolRefusal {
        match error {
            TextError::Missing => format!("the skill {} has no file {shown}", skill.name).into(),
            error => format!("{shown} {error}").into(),
        }
    };
    let file = text::open(&skill.place.join(inner)).map_err(failed)?;
    // What is judged is what was opened: a link could be another one by the time of a second look.
    let place = text::place_of(&file).map_err(|error| failed(error.into()))?;
    let Ok(place) = place.strip_prefix(&skill.place) else {
        return Err(format!("{shown} leads out of the skill's folder").into());
    };
    if place.iter().any(|name| name.eq_ignore_ascii_case(".git")) {
        return Err(format!("{shown} is git's own, and may hold a password").into());
    }
    let names = file.metadata().map_err(|error| failed(error.into()))?;
    if names.nlink() > 1 && !skill.is_trusted {
        return Err(format!(
            "{shown} has other names elsewhere (hard links), and counts only with trust"
        )
        .into());
    }
    text::read_open(file, FILE_BYTES_MAX).map_err(failed)
}

/// The part of a text that begins at byte `offset`; says how to go on when there is more.
fn part(text: &str, offset: usize, bytes_max: usize) -> String {
    let start = text::boundary(text, offset);
    let rest = &text[start..];
    let shown = text::start(rest, bytes_max);
    let end = start + shown.len();
    if end == text.len() {
        shown.to_owned()
    } else {
        format!(
            "{shown}\n[bytes {start} to {end} of {}; go on with \"offset\": {end}]",
            text.len()
        )
    }
}

/// Where the skill is, and what comes with it.
fn belongings(skill: &Skill) -> String {
    let (files, mut is_all) = files_of(&skill.place);
    let folder = skill.folder.display();
    if files.is_empty() {
        return format!("\n\nThe folder of this skill: {folder}");
    }
    let mut list = String::new();
    for (named, file) in files.iter().enumerate() {
        if named == NAMED_FILES_MAX || list.len() + file.len() > NAMED_BYTES_MAX {
            is_all = false;
            break;
        }
        list.push_str(&format!("\n- {file}"));
    }
    if !is_all {
        list.push_str("\n- …");
    }
    format!("\n\nFiles of this skill, in {folder}:{list}")
}

/// The files that a skill comes with, those less deep first, and whether these are all of them. Hidden
/// ones are left out, and links to folders, which may lead out of the skill or in a circle.
fn files_of(skill: &Path) -> (Vec<String>, bool) {
    let mut files = Vec::new();
    let mut looked_at = 0;
    let mut folders = VecDeque::from([PathBuf::new()]);
    while let Some(folder) = folders.pop_front() {
        let path = skill.join(&folder);
        let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        // What cannot be read is not named; asking for it says why.
        let Some(entries) = is_folder.then(|| fs::read_dir(&path).ok()).flatten() else {
            continue;
        };
        for entry in entries.flatten() {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return (sorted(files), false);
            }
            let inner = folder.join(entry.file_name());
            match entry.file_type() {
                _ if is_left_out(&inner) => {}
                Ok(kind) if kind.is_dir() => folders.push_back(inner),
                Ok(kind) if kind.is_file() || leads_to_a_file(skill, &inner) => files.push(inner),
                _ => {}
            }
        }
    }
    (sorted(files), true)
}

/// Whether no model needs the name: hidden files, what package managers bring, the skill itself.
fn is_left_out(inner: &Path) -> bool {
    let name = inner.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
        || name == "node_modules"
        || SKILL_FILES.iter().any(|file| inner == Path::new(file))
}

/// Whether a link, or what else it may be, leads to a file of the skill.
fn leads_to_a_file(skill: &Path, inner: &Path) -> bool {
    let target = skill.join(inner).canonicalize();
    target.is_ok_and(|target| target.starts_with(skill) && target.is_file())
}

fn sorted(files: Vec<PathBuf>) -> Vec<String> {
    let with_depth = files
        .iter()
        .map(|file| (file.components().count(), file.display().to_string()));
    order::set(with_depth)
        .into_iter()
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    struct Home(TempDir, SkillTool);

    impl Home {
        fn new() -> Home {
            let home = tempfile::tempdir().unwrap();
            let folder = home.path().canonicalize().unwrap().join("tidy");
            fs::create_dir_all(folder.join("references/deep")).unwrap();
            let body = "---\nname: tidy\ndescription: x\n---\n\n# Tidy\n";
            fs::write(folder.join(SKILL_FILES[0]), body).unwrap();
            fs::write(folder.join("references/a.md"), "reference").unwrap();
            fs::write(folder.join("references/deep/b.md"), "deep").unwrap();
            fs::write(folder.join("notes.md"), "notes").unwrap();
            fs::write(home.path().join("secret"), "secret").unwrap();
            let tool = SkillTool::new(vec![Skill {
                name: "tidy".to_owned(),
                description: "x".to_owned(),
                place: folder.clone(),
                folder,
                is_trusted: false,
            }]);
            Home(home, tool)
        }

        fn folder(&self) -> PathBuf {
            self.0.path().canonicalize().unwrap().join("tidy")
        }

        fn read(&self) -> String {
            let arguments = r#"{"action": "read", "name": "tidy"}"#;
            self.1.answer(arguments).unwrap()
        }

        fn file(&self, file: &str) -> BuiltinAnswer {
            let arguments = json!({"action": "read", "name": "tidy", "file": file});
            self.1.answer(&arguments.to_string())
        }
    }

    #[test]
    fn a_skill_is_read_without_its_front_matter_and_names_its_files() {
        let home = Home::new();
        let folder = home.folder();
        assert_eq!(
            home.1
                .answer(r#"{"action": "read", "name": "tidy", "file": null}"#),
            Ok(format!(
                "# Tidy\n\nFiles of this skill, in {}:\n- notes.md\n- references/a.md\n\
                 - references/deep/b.md",
                folder.display()
            ))
        );
        assert_eq!(home.file("references/a.md"), Ok("reference".to_owned()));
        assert_eq!(
            home.file("./references//deep/./b.md"),
            Ok("deep".to_owned())
        );
        let absolute = folder.join("references/a.md");
        assert_eq!(
            home.file(absolute.to_str().unwrap()),
            Ok("reference".to_owned())
        );
        fs::remove_dir_all(folder.join("references")).unwrap();
        fs::remove_file(folder.join("notes.md")).unwrap();
        let bare = format!("# Tidy\n\nThe folder of this skill: {}", folder.display());
        assert_eq!(home.read(), bare);
        assert_eq!(home.file("SKILL.md"), Ok(bare));
    }

    #[test]
    fn nothing_outside_of_its_folder_is_read() {
        let home = Home::new();
        let folder = home.folder();
        symlink("../../secret", folder.join("references/up")).unwrap();
        symlink(home.0.path(), folder.join("assets")).unwrap();
        symlink("a.md", folder.join("references/alias.md")).unwrap();
        for file in [
            "references/up",
            "assets/secret",
            "references/../../secret",
            "references/..",
            "references/../notes.md",
            "../secret",
            "/etc/passwd",
            "references",
            "scripts/none",
            ".",
        ] {
            let answer = home.file(file).unwrap_err().to_string();
            assert!(!answer.contains("secret\n"), "{file}: {answer}");
        }
        assert_eq!(
            home.file("references/up").unwrap_err().to_string(),
            "references/up leads out of the skill's folder"
        );
        assert_eq!(home.file("references/alias.md"), Ok("reference".to_owned()));
        let said = home.read();
        assert!(said.contains("\n- references/alias.md"), "{said}");
        assert!(!said.contains("assets/"), "names what is elsewhere: {said}");

        // Another folder in the place of the skill's is not the skill's.
        fs::rename(&folder, home.0.path().join("elsewhere")).unwrap();
        symlink("elsewhere", &folder).unwrap();
        assert_eq!(
            home.file("references/a.md").unwrap_err().to_string(),
            "references/a.md leads out of the skill's folder"
        );
    }

    #[test]
    fn names_of_files_leave_room_for_what_the_skill_says() {
        let home = Home::new();
        let deep = home.folder().join("scripts").join("d".repeat(200));
        fs::create_dir_all(&deep).unwrap();
        for number in 0..60 {
            fs::write(deep.join(format!("{number:0>200}")), "").unwrap();
        }
        let said = home.read();
        assert!(said.starts_with("# Tidy\n\nFiles of this skill"), "{said}");
        assert!(said.ends_with("\n- …"), "{said}");
        assert!(said.len() < ANSWER_BYTES_MAX / 2, "{} bytes", said.len());

        let many = home.folder().join("references/many");
        fs::create_dir_all(&many).unwrap();
        for number in 0..LOOKED_AT_MAX {
            fs::create_dir(many.join(number.to_string())).unwrap();
        }
        let (_, is_all) = files_of(&home.folder());
        assert!(!is_all);
    }

    #[test]
    fn a_long_file_comes_in_parts_and_what_is_no_text_is_refused() {
        let home = Home::new();
        let long = "ä".repeat(ANSWER_BYTES_MAX);
        fs::write(home.folder().join("references/long.md"), &long).unwrap();
        let mut read = String::new();
        while read.len() < long.len() {
            let arguments = json!({
                "action": "read", "name": "tidy", "file": "references/long.md",
                "offset": read.len(),
            });
            let answer = home.1.answer(&arguments.to_string()).unwrap();
            assert!(answer.len() < ANSWER_BYTES_MAX + 200);
            read.push_str(answer.split('\n').next().unwrap());
        }
        assert_eq!(read, long);
        fs::write(home.folder().join("references/x.png"), b"\x89PNG\xff").unwrap();
        let answer = home.file("references/x.png").unwrap_err().to_string();
        assert!(answer.contains("is not UTF-8"), "{answer}");
    }

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        let home = Home::new();
        let answer = home.1.answer(r#"{"action": "read", "name": "../tidy"}"#);
        assert_eq!(
            answer.unwrap_err().to_string(),
            "there is no such skill; there are: tidy"
        );
        let answer = home
            .1
            .answer(r#"{"name": "tidy"}"#)
            .unwrap_err()
            .to_string();
        assert!(answer.contains("missing field `action`"), "{answer}");
    }
}
