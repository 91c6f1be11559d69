//! `skills/<skill>/SKILL.md` in the Agent Skills format: the front matter of each.
//!
//! Only names and descriptions are kept; what a skill says is read when an agent asks for it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agents::unreadable;
use crate::base::order;
use crate::base::text::{self, TextError};
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::problem::{Level, Position, Problem};
use crate::base::yaml::read::{self, Anything, At, Report, section};
use crate::domain::spec::Skill;
use crate::trust::{Folder, ReadError};

/// The file that makes a folder a skill.
pub(super) const SKILL_FILE: &str = "SKILL.md";
const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 1024;
const COMPATIBILITY_CHARS_MAX: usize = 500;

section! {
    /// What stands above a skill's text.
    #[expect(dead_code, reason = "some keys are known only so that they are not reported")]
    plain section FrontMatter {
        "name" => name: String,
        "description" => description: String,
        "license" => license: Anything,
        "compatibility" => compatibility: String,
        "allowed-tools" => allowed_tools: Anything,
        "metadata" => metadata: Anything,
    }
}

/// The skills in `folder`, sorted by name; none if there is no such folder. One with an error is
/// left out, and all that is wrong is reported.
pub(super) fn read(
    folder: &Path,
    files: &Folder<'_>,
    unknown_keys: Level,
    problems: &mut Vec<Problem>,
) -> Vec<Skill> {
    match files.check_folder(folder) {
        Ok(_) => {}
        Err(ReadError::Text(TextError::Missing)) => return Vec::new(),
        Err(error) => {
            problems.push(unreadable(folder, &error));
            return Vec::new();
        }
    }
    let folders = match skill_folders(folder) {
        Ok(folders) => folders,
        Err(error) => {
            let message = format!("cannot read the folder of skills: {error}");
            problems.push(Problem::of_file(folder, message));
            return Vec::new();
        }
    };
    folders
        .into_iter()
        .filter_map(|folder| {
            let (skill, found) = read_skill(folder, files, unknown_keys);
            problems.extend(found);
            skill
        })
        .collect()
}

/// The folders in `folder`, sorted. Hidden ones are no skills.
fn skill_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    order::sort(&mut folders);
    Ok(folders)
}

fn read_skill(
    folder: PathBuf,
    files: &Folder<'_>,
    unknown_keys: Level,
) -> (Option<Skill>, Vec<Problem>) {
    // A link may be another one when the files of the skill are read.
    let place = match files.check_folder(&folder) {
        Ok(place) => place,
        Err(error) => return (None, vec![unreadable(&folder, &error)]),
    };
    let file = folder.join(SKILL_FILE);
    let text = match files.read(&file, TEXT_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => return (None, vec![unreadable(&file, &error)]),
    };
    let Some((head, _)) = text::split_front_matter(&text) else {
        let problem = Problem {
            position: Some(Position { line: 1, column: 1 }),
            ..Problem::of_file(
                &file,
                "must begin with a line `---`, `name` and `description`, and another `---`",
            )
        };
        return (None, vec![problem]);
    };
    let mut report = Report::new(unknown_keys);
    // The line `---` is YAML's own, so that places are right without counting.
    let read = read::read_plain_document(head.to_owned(), &file, &mut report);
    let (document, read) = match read {
        Ok(read) => read,
        Err(problem) => return (None, vec![problem]),
    };
    let skill = read.and_then(|at| skill(at, folder, place, &mut report));
    let skill = skill.filter(|_| !report.has_errors());
    (skill, report.finish(&document, &file))
}

fn skill(
    found: At<FrontMatter>,
    folder: PathBuf,
    place: PathBuf,
    report: &mut Report,
) -> Option<Skill> {
    let (at, raw) = found.split();
    // Both are looked at before either is given up.
    let name = report.require(&at, "name", raw.name);
    let description = report.require(&at, "description", raw.description);
    if let Some(name) = &name {
        check_name(name, &folder, report);
    }
    if let Some(text) = &description {
        let chars = text.value.chars().count();
        if text.value.trim().is_empty() {
            report.error(text, "must not be empty");
        } else if chars > DESCRIPTION_CHARS_MAX {
            let must = format!("has {chars} characters, at most {DESCRIPTION_CHARS_MAX} may be");
            report.error(text, must);
        }
    }
    if let Some(text) = &raw.compatibility
        && text.value.chars().count() > COMPATIBILITY_CHARS_MAX
    {
        let must = format!("has more than {COMPATIBILITY_CHARS_MAX} characters");
        report.error(text, must);
    }
    Some(Skill {
        name: name?.value,
        description: description?.value,
        place,
        folder,
    })
}

fn check_name(name: &At<String>, folder: &Path, report: &mut Report) {
    let folder_name = folder.file_name().unwrap_or_default().to_string_lossy();
    if !is_skill_name(&name.value) {
        report.error(
            name,
            "must be 1 to 64 lower-case letters, digits and single hyphens between them",
        );
    } else if folder_name != name.value {
        let must = format!(
            "is `{}`, but the skill's folder is called `{folder_name}`",
            name.value
        );
        report.error(name, must);
    }
}

/// Words of `a-z` and `0-9` with one hyphen between them.
fn is_skill_name(text: &str) -> bool {
    let is_word = |word: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !word.is_empty() && word.bytes().all(plain)
    };
    text.len() <= NAME_CHARS_MAX && text.split('-').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a skill in the folder `tidy-up`, and what is said of it without its path.
    fn read_text(text: &str) -> (Option<Skill>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("tidy-up");
        fs::create_dir(&home).unwrap();
        fs::write(home.join(SKILL_FILE), text).unwrap();
        let mut problems = Vec::new();
        let trust = crate::trust::testing::nothing(folder.path());
        let files = Folder::new(&trust, folder.path());
        let mut skills = read(folder.path(), &files, Level::Warning, &mut problems);
        let prefix = format!("{}/", home.display());
        let said = problems
            .iter()
            .map(|problem| problem.to_string().replace(&prefix, ""))
            .collect();
        (skills.pop(), said)
    }

    #[test]
    fn a_skill_has_a_name_and_a_description() {
        let (skill, said) = read_text(
            "---\nname: tidy-up\ndescription: >\n  Tidies ${HOME}\n  up.\nlicense: MIT\n\
             allowed-tools: bash web\nmetadata:\n  author: me\n---\n\n# Body\n",
        );
        assert_eq!(said, Vec::<String>::new());
        let skill = skill.unwrap();
        assert_eq!(skill.name, "tidy-up");
        assert_eq!(skill.description, "Tidies ${HOME} up.\n");
        assert!(skill.folder.ends_with("tidy-up"));
        assert!(skill.place.ends_with("tidy-up"));
    }

    #[test]
    fn every_mistake_has_its_place() {
        for (text, expected) in [
            (
                "# Body\n",
                "SKILL.md:1:1: must begin with a line `---`, `name` and `description`, and another `---`",
            ),
            (
                "---\nname: tidy-up\n",
                "SKILL.md:1:1: must begin with a line `---`, `name` and `description`, and another `---`",
            ),
            (
                "---\nname: tidy-up\n---\n",
                "SKILL.md:2:1: `description` is missing",
            ),
            (
                "---\nname: other\ndescription: x\n---\n",
                "SKILL.md:2:7: `name` is `other`, but the skill's folder is called `tidy-up`",
            ),
            (
                "---\ndescription: x\nname: Tidy\n---\n",
                "SKILL.md:3:7: `name` must be 1 to 64 lower-case letters, digits and single hyphens between them",
            ),
            (
                "---\nname: tidy-up\ndescription: ''\n---\n",
                "SKILL.md:3:14: `description` must not be empty",
            ),
            (
                "---\nname: tidy-up\ndescription: [x]\n---\n",
                "SKILL.md:3:14: `description` must be a text, not a list",
            ),
        ] {
            let (skill, said) = read_text(text);
            assert_eq!(said, [expected], "{text}");
            assert_eq!(skill, None, "{text}");
        }
        let long = "ä".repeat(DESCRIPTION_CHARS_MAX + 1);
        let (_, said) = read_text(&format!("---\nname: tidy-up\ndescription: {long}\n---\n"));
        assert_eq!(
            said,
            ["SKILL.md:3:14: `description` has 1025 characters, at most 1024 may be"]
        );
    }

    #[test]
    fn an_unknown_key_is_a_warning() {
        let (skill, said) =
            read_text("---\nname: tidy-up\ndescription: x\nallowed_tools: bash\n---\n");
        assert_eq!(
            said,
            ["SKILL.md:4:1: unknown key `allowed_tools`; did you mean `allowed-tools`?"]
        );
        assert!(skill.is_some());
    }

    #[test]
    fn names_are_words_with_single_hyphens() {
        for (name, is_one) in [
            ("a", true),
            ("task-extraction-2", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("a--b", false),
            ("a_b", false),
            ("Ab", false),
            ("a/b", false),
            ("ä", false),
        ] {
            assert_eq!(is_skill_name(name), is_one, "{name}");
        }
        assert!(is_skill_name(&"a".repeat(64)) && !is_skill_name(&"a".repeat(65)));
    }
}
