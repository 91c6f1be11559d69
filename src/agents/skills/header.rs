//! What stands above a skill's text: its name and its description. Pure.
//!
//! Skills are written for many programs, and few of these are strict. So one is used whenever it says
//! what it is for, and what is wrong with it is a warning.
//!
//! Elsewhere: front matter that is no YAML (`mend`).

use std::path::Path;

use super::mend::mended;
use crate::base::text;
use crate::base::yaml::problem::{Level, Position, Problem};
use crate::base::yaml::read::{self, Anything, AsWritten, At, Report, section};
use crate::domain::plain;

/// What the format allows, in characters.
const NAME_CHARS_MAX: usize = 64;
const DESCRIPTION_CHARS_MAX: usize = 1024;
const COMPATIBILITY_CHARS_MAX: usize = 500;
/// A longer name calls nothing.
const NAME_CHARS_KEPT: usize = 200;
/// So much of a description is kept: it stands in every prompt.
const DESCRIPTION_CHARS_KEPT: usize = 8 * DESCRIPTION_CHARS_MAX;

/// What a skill says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// One line, nothing of it invisible, not empty.
    pub(super) name: String,
    /// Not empty.
    pub(super) description: String,
}

section! {
    /// The keys of the format.
    #[expect(dead_code, reason = "some keys are known only so that they are not reported")]
    plain section FrontMatter {
        "name" => name: AsWritten,
        "description" => description: AsWritten,
        "license" => license: Anything,
        "compatibility" => compatibility: AsWritten,
        "allowed-tools" => allowed_tools: Anything,
        "metadata" => metadata: Anything,
    }
}

/// Reads what stands above the text of `file`, in a folder of that name; `None` if it does not say
/// what the skill is for.
pub(super) fn read(text: &str, file: &Path, folder_name: &str) -> (Option<Header>, Vec<Problem>) {
    let Some((head, _)) = text::split_front_matter(text) else {
        let problem = Problem {
            position: Some(Position { line: 1, column: 1 }),
            ..Problem::of_file(
                file,
                "must begin with a line `---`, `name` and `description`, and another `---`",
            )
        };
        return (None, vec![problem]);
    };
    let found = read_yaml(head.to_owned(), file, folder_name);
    let (header, problems) = found.unwrap_or_else(|why| {
        let message = format!("is no YAML: {}", why.message);
        (None, vec![Problem { message, ..why }])
    });
    match header {
        Some(_) => (header, problems),
        None => read_lines(head, file, folder_name, problems),
    }
}

fn read_yaml(
    head: String,
    file: &Path,
    folder_name: &str,
) -> Result<(Option<Header>, Vec<Problem>), Problem> {
    let mut report = Report::new(Level::Warning);
    // The line `---` is YAML's own, so that places are right without counting.
    let (document, read) = read::read_plain_document(head, file, &mut report)?;
    let header = read.and_then(|at| header(at, folder_name, &mut report));
    Ok((header, report.finish(&document, file)))
}

/// What can be read of front matter that has these problems as YAML.
fn read_lines(
    head: &str,
    file: &Path,
    folder_name: &str,
    problems: Vec<Problem>,
) -> (Option<Header>, Vec<Problem>) {
    let Ok((Some(header), mut told)) = read_yaml(mended(head), file, folder_name) else {
        return (None, problems);
    };
    if let Some(why) = problems.into_iter().find(Problem::is_error) {
        let why = Problem {
            level: Level::Warning,
            message: format!("{}; it is read line by line", why.message),
            hint: Some("put quotes around a text with a `:`".to_owned()),
            ..why
        };
        told.insert(0, why);
    }
    (Some(header), told)
}

fn header(found: At<FrontMatter>, folder_name: &str, report: &mut Report) -> Option<Header> {
    let (at, raw) = found.split();
    let name = name(raw.name, &at, folder_name, report);
    let description = report.require(&at, "description", raw.description);
    if let Some(found) = raw.compatibility
        && let Ok(text) = &found.value.0
        && text.chars().count() > COMPATIBILITY_CHARS_MAX
    {
        let remark = format!("has more than {COMPATIBILITY_CHARS_MAX} characters");
        report.warning(&found, remark);
    }
    Some(Header {
        name,
        description: description_text(description?, report)?,
    })
}

/// What a skill is called: by itself, or else by its folder.
fn name(
    found: Option<At<AsWritten>>,
    at: &At<()>,
    folder_name: &str,
    report: &mut Report,
) -> String {
    let missing = || At {
        key: "name".to_owned(),
        ..at.place()
    };
    let place = found.as_ref().map_or_else(missing, At::place);
    let written = found.and_then(|at| at.value.0.ok()).unwrap_or_default();
    let name = plain::in_one_line(&written);
    if name.is_empty() || name.chars().count() > NAME_CHARS_KEPT {
        let remark =
            format!("is missing, or is no name: the folder's stands for it, `{folder_name}`");
        report.warning(&place, remark);
        return folder_name.to_owned();
    }
    if !is_skill_name(&name) {
        let remark = format!(
            "should be 1 to {NAME_CHARS_MAX} lower-case letters from a to z, digits and single hyphens \
             between them"
        );
        report.warning(&place, remark);
    }
    if folder_name != name {
        let remark = format!("is `{name}`, but the skill's folder is called `{folder_name}`");
        report.warning(&place, remark);
    }
    name
}

fn description_text(found: At<AsWritten>, report: &mut Report) -> Option<String> {
    let text = match &found.value.0 {
        Ok(text) => text.trim(),
        Err(kind) => {
            report.error(&found, format!("must be a text, not {kind}"));
            return None;
        }
    };
    if plain::in_one_line(text).is_empty() {
        report.error(&found, "must not be empty");
        return None;
    }
    let chars = text.chars().count();
    if chars > DESCRIPTION_CHARS_MAX {
        let kept = if chars > DESCRIPTION_CHARS_KEPT {
            format!("; the first {DESCRIPTION_CHARS_KEPT} are used")
        } else {
            String::new()
        };
        let remark =
            format!("has {chars} characters, at most {DESCRIPTION_CHARS_MAX} should be{kept}");
        report.warning(&found, remark);
    }
    Some(text.chars().take(DESCRIPTION_CHARS_KEPT).collect())
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

    #[test]
    fn of_a_very_long_description_the_beginning_is_used() {
        let long = "ä".repeat(DESCRIPTION_CHARS_KEPT + 1);
        let text = format!("---\nname: a\ndescription: {long}\n---\n");
        let (header, problems) = read(&text, Path::new("SKILL.md"), "a");
        assert_eq!(
            header.unwrap().description.chars().count(),
            DESCRIPTION_CHARS_KEPT
        );
        assert_eq!(
            problems[0].to_string(),
            "SKILL.md:3:14: `description` has 8193 characters, at most 1024 should be; the first 8192 \
             are used"
        );
    }
}
