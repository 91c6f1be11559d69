//! `${VAR}` in the texts of a file.
//!
//! Expansion works on texts that were parsed already, so a variable's value is never read as
//! YAML, and a comment may hold what it likes.

use std::sync::Arc;

/// Looks a variable up by its name; `None` when it is not set. Tests bring their own, and so depend on
/// no real one.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The same, kept for files that are read again later, by any thread.
pub type OwnedEnvironment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A text whose variables were filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The text.
    pub text: String,
    /// Nothing but variables stood there, so that the text may be meant as a number.
    pub is_all_variables: bool,
}

/// Why a text cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A variable without a default is not set.
    #[error("needs the environment variable `{0}`, which is not set")]
    Unset(String),
    /// A `${` without a `}`.
    #[error("has a `${{` that is not closed by `}}`")]
    Unclosed,
    /// Between the braces stands no name.
    #[error("has a `${{…}}` that holds no variable's name")]
    NotAName,
    /// A `${` inside a default.
    #[error("has a `${{` inside another one, which is not supported")]
    Nested,
}

/// Fills in the variables of `text`; `None` when it has none.
///
/// `${VAR}` must be set; `${VAR:-default}` takes the default when `VAR` is unset or empty; `$${`
/// stands for `${`. Any other `$` is an ordinary character.
pub fn expand(text: &str, environment: Environment<'_>) -> Result<Option<Expanded>, ExpandError> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut is_all_variables = true;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        let after = &rest[at + 2..];
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            is_all_variables = false;
            rest = after;
            continue;
        }
        let end = after.find('}').ok_or(ExpandError::Unclosed)?;
        expanded.push_str(before);
        expanded.push_str(&value_of(&after[..end], environment)?);
        is_all_variables &= before.is_empty();
        rest = &after[end + 1..];
    }
    expanded.push_str(rest);
    is_all_variables &= rest.is_empty();
    Ok(Some(Expanded {
        text: expanded,
        is_all_variables,
    }))
}

/// The names of the variables in `text`, in their order; what could not be filled in is left out.
pub fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let pieces = text.split("${").collect::<Vec<_>>();
    for pair in pieces.windows(2) {
        let inside = pair[1].split_once('}').map(|(inside, _)| inside);
        if let Some(inside) = inside.filter(|_| !pair[0].ends_with('$')) {
            let name = inside.split_once(":-").map_or(inside, |(name, _)| name);
            names.push(name.to_owned());
        }
    }
    names
}

/// The value of what stands between the braces.
fn value_of(inside: &str, environment: Environment<'_>) -> Result<String, ExpandError> {
    if inside.contains("${") {
        return Err(ExpandError::Nested);
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_variable_name(name) {
        return Err(ExpandError::NotAName);
    }
    match (environment(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(ExpandError::Unset(name.to_owned())),
    }
}

/// Variables are called so: letters, digits and `_`, no digit first.
pub fn is_variable_name(text: &str) -> bool {
    let mut letters = text.bytes();
    let first = letters.next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|other| other.is_ascii_alphanumeric() || other == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${PORT}".to_owned()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> Result<Option<(String, bool)>, ExpandError> {
        expand(text, &environment).map(|found| found.map(|one| (one.text, one.is_all_variables)))
    }

    #[test]
    fn the_names_of_variables_are_known_without_their_values() {
        for (text, expected) in [
            ("a ${B}${C:-d} e", &["B", "C"][..]),
            ("$${B} ${", &[]),
            ("plain", &[]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, expected, all) in [
            ("${PORT}", "8080", true),
            ("${PORT}${PORT}", "80808080", true),
            ("a ${PORT} b", "a 8080 b", false),
            ("${NONE:-x y}", "x y", true),
            ("${NONE:-}", "", true),
            ("${PORT:-1}", "8080", true),
            ("${EMPTY}", "", true),
            ("${EMPTY:-1}", "1", true),
            ("${NONE:-a:-b}", "a:-b", true),
            ("$${PORT}", "${PORT}", false),
            ("$$${PORT}", "$${PORT}", false),
            ("$PORT ${PORT}", "$PORT 8080", false),
            ("${PORT}}", "8080}", false),
            // What a variable holds is not looked at again.
            ("${TRICK}", "${PORT}", true),
        ] {
            assert_eq!(
                expanded(text),
                Ok(Some((expected.to_owned(), all))),
                "{text}"
            );
        }
    }

    #[test]
    fn a_text_without_variables_is_left_alone() {
        for text in ["", "$", "$PORT", "$(x)", "{PORT}", "cost: 5$"] {
            assert_eq!(expanded(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        for (text, expected) in [
            ("${NONE}", ExpandError::Unset("NONE".to_owned())),
            ("a ${PORT", ExpandError::Unclosed),
            ("${", ExpandError::Unclosed),
            ("${}", ExpandError::NotAName),
            ("${1A}", ExpandError::NotAName),
            ("${A B}", ExpandError::NotAName),
            ("${PORT-1}", ExpandError::NotAName),
            ("${NONE:-${PORT}}", ExpandError::Nested),
        ] {
            assert_eq!(expanded(text), Err(expected), "{text}");
        }
    }
}
