//! Something that a user should correct in a file, with its place, and near misses of words.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

/// Where something stands in a text: both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in it.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The file is used all the same.
    Warning,
    /// The file is not used.
    Error,
}

/// Something that a user should correct in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// In which file.
    pub file: PathBuf,
    /// Where, unless it concerns the file as a whole.
    pub position: Option<Position>,
    /// The mistake, in a sentence without the place.
    pub message: String,
    /// The remedy, or what may have been meant.
    pub hint: Option<String>,
}

impl Problem {
    /// An error that concerns a file as a whole.
    pub fn of_file(file: impl Into<PathBuf>, message: impl Into<String>) -> Problem {
        Problem {
            level: Level::Error,
            file: file.into(),
            position: None,
            message: message.into(),
            hint: None,
        }
    }

    /// It keeps the file from being used.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }
}

/// `file:line:column: message; hint`, in one line: what a file holds is shown without the control
/// characters that would let it write more, or steer a terminal. The alternate form says which are
/// warnings.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(position) = self.position {
            write!(f, "{position}:")?;
        }
        f.write_str(" ")?;
        if f.alternate() && !self.is_error() {
            f.write_str("warning: ")?;
        }
        write_plainly(f, &self.message)?;
        if let Some(hint) = &self.hint {
            f.write_str("; ")?;
            write_plainly(f, hint)?;
        }
        Ok(())
    }
}

fn write_plainly(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for letter in text.chars() {
        if letter.is_control() {
            write!(f, "{}", letter.escape_default())?;
        } else {
            f.write_char(letter)?;
        }
    }
    Ok(())
}

/// "did you mean …?", if one of `known` is a near miss of `word`.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// The one of `known` that differs from `word` in at most a third of its letters.
fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are no typos, and the distance costs their square.
    const WORD_CHARS_MAX: usize = 64;
    let letters = word.chars().count();
    if letters > WORD_CHARS_MAX {
        return None;
    }
    let allowed = (letters / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped, replaced or swapped with their neighbour to make
/// `left` of `right`, whatever their case.
///
/// Source: the "optimal string alignment" form of the Damerau-Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 0..left.len() {
        let mut row = vec![i + 1];
        for j in 0..right.len() {
            let replaced = last[j] + usize::from(left[i] != right[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && left[i] == right[j - 1] && left[i - 1] == right[j];
            if swapped {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_plain_line() {
        let problem = Problem {
            position: Some(Position { line: 2, column: 3 }),
            hint: Some("did you mean `b`?".to_owned()),
            ..Problem::of_file("a.yaml", "unknown key `a\n\u{1b}[2Jß`")
        };
        assert_eq!(
            problem.to_string(),
            "a.yaml:2:3: unknown key `a\\n\\u{1b}[2Jß`; did you mean `b`?"
        );
    }

    #[test]
    fn distance_counts_typing_errors() {
        for (left, right, expected) in [
            ("", "", 0),
            ("host", "host", 0),
            ("", "host", 4),
            ("hots", "host", 1),
            ("Host", "host", 0),
            ("prot", "port", 1),
            ("agent_dir", "agents_dir", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_a_near_miss_is_suggested() {
        let known = ["openrouter", "openai", "ollama"];
        assert_eq!(nearest("opnrouter", known), Some("openrouter"));
        assert_eq!(nearest("openia", known), Some("openai"));
        assert_eq!(nearest("gemini", known), None);
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest(&"openai".repeat(1000), known), None);
    }
}
