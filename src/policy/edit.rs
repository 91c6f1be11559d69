//! Adds patterns to the `allow` of a policy file, and changes nothing else in it. Pure.
//!
//! The text is edited, not written anew, so that comments and order stay. Where a new item goes is
//! tried, and what comes out is read again: an edit counts only if the file then says what it said
//! before, and the new patterns.

use super::judge::LiteralRules;
use super::source::RuleEditError;
use crate::base::yaml::YamlError;
use crate::base::yaml::tree::{Document, Node, Value};

/// How many places are tried: an item may go over some lines.
const TRIES_MAX: usize = 200;

/// The text of a policy file that also allows `patterns`; `None` when it does already.
pub(super) fn with_allowed(
    text: Option<&str>,
    literal: &LiteralRules,
) -> Result<Option<String>, RuleEditError> {
    let patterns = literal.patterns.iter().map(|text| Item::new(text, false));
    let items = patterns.chain(literal.exact.iter().map(|text| Item::new(text, true)));
    let before = text.unwrap_or(NEW_FILE);
    let mut edited = before.to_owned();
    for item in items {
        if !allowed(&parse(&edited)?).contains(&item.shape()) {
            edited = with_item(&edited, &item)?;
        }
    }
    Ok((text.is_none() || edited != before).then_some(edited))
}

const NEW_FILE: &str = "# What was allowed for good. Yours to change.\n\
                        apiVersion: duragent/v1alpha1\nkind: Policy\n";

/// One more rule of the list.
struct Item {
    text: String,
    /// Whether it is a script, `exact: …`.
    is_exact: bool,
}

impl Item {
    fn new(text: &str, is_exact: bool) -> Item {
        Item {
            // A `${` would be a variable.
            text: text.replace("${", "$${"),
            is_exact,
        }
    }

    /// As it is once it was read.
    fn shape(&self) -> String {
        if self.is_exact {
            format!("{:?}", [("exact".to_owned(), self.text.clone())])
        } else {
            self.text.clone()
        }
    }

    /// As it is written in a list of lines, behind a `-` that stands behind `indent`.
    fn in_lines(&self, indent: &str) -> String {
        if !self.is_exact {
            return format!("{indent}- {}", quoted(&self.text));
        }
        // Only so much text is one that YAML's blocks keep as it is.
        let is_block = !self.text.starts_with([' ', '\t', '\n'])
            && !self.text.ends_with('\n')
            && !self.text.contains("\n ")
            && self
                .text
                .chars()
                .all(|letter| letter == '\n' || !letter.is_control());
        if !is_block {
            return format!("{indent}- exact: {}", quoted(&self.text));
        }
        let lines = self.text.replace('\n', &format!("\n{indent}    "));
        format!("{indent}- exact: |-\n{indent}    {lines}")
    }

    /// As it is written between brackets.
    fn in_brackets(&self) -> String {
        let text = quoted(&self.text);
        if self.is_exact {
            format!("{{exact: {text}}}")
        } else {
            text
        }
    }
}

fn parse(text: &str) -> Result<Document, YamlError> {
    Document::parse(text.to_owned())
}

/// One more item. Each candidate costs a parse; nearly always the first one is right.
fn with_item(text: &str, item: &Item) -> Result<String, RuleEditError> {
    let document = parse(text)?;
    let mut wanted = allowed(&document);
    wanted.push(item.shape());
    let others = others(&document);
    let is_right = |edited: &String| {
        parse(edited).is_ok_and(|now| allowed(&now) == wanted && self::others(&now) == others)
    };
    candidates(text, &document, item)
        .into_iter()
        .take(TRIES_MAX)
        .find(is_right)
        .ok_or(RuleEditError::NoRoom)
}

/// Texts that may be right, the most likely first.
fn candidates(text: &str, document: &Document, item: &Item) -> Vec<String> {
    let Some((key, list)) = allow_entry(document) else {
        return vec![appended(
            text,
            &format!("allow:\n{}\n", item.in_lines("  ")),
        )];
    };
    let items: &[Node] = match &list.value {
        Value::List(items) => items,
        Value::Scalar(_) | Value::Map(_) => &[],
    };
    let start = items.last().unwrap_or(key);
    let first_line = document.locate(start.id).line;
    let mut found = Vec::new();
    let dash = items
        .first()
        .and_then(|first| indent_of_dash(text, document, first));
    if let Some(indent) = dash {
        found.extend(below_lines(text, first_line, &item.in_lines(&indent)));
    } else if items.is_empty() {
        found.extend(below_lines(text, first_line, &item.in_lines("  ")));
    }
    let inside = item.in_brackets();
    found.extend(before_brackets(
        text,
        first_line,
        &inside,
        !items.is_empty(),
    ));
    found
}

/// The `allow` of the file: its key and its value.
fn allow_entry(document: &Document) -> Option<&(Node, Node)> {
    let Value::Map(entries) = &document.root.value else {
        return None;
    };
    entries.iter().find(|(key, _)| is_allow(key))
}

fn is_allow(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar(scalar) if scalar.text == "allow")
}

/// What stands before the `-` of a list's first item; `None` when there is none.
fn indent_of_dash(text: &str, document: &Document, first: &Node) -> Option<String> {
    let position = document.locate(first.id);
    let line = text.lines().nth(position.line - 1)?;
    let before: String = line.chars().take(position.column - 1).collect();
    let indent = before.trim_end().strip_suffix('-')?;
    indent.trim().is_empty().then(|| indent.to_owned())
}

/// `line` below each of the lines of `text` from `first` on.
fn below_lines(text: &str, first: usize, line: &str) -> Vec<String> {
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    (first..=lines.len())
        .map(|number| {
            let above = lines[..number].concat();
            let gap = if above.ends_with('\n') { "" } else { end };
            format!("{above}{gap}{line}{end}{}", lines[number..].concat())
        })
        .collect()
}

/// `item` before each `]` from line `first` on.
fn before_brackets(text: &str, first: usize, item: &str, has_items: bool) -> Vec<String> {
    let start: usize = text
        .split_inclusive('\n')
        .take(first - 1)
        .map(str::len)
        .sum();
    let mut found = Vec::new();
    for (at, _) in text[start..].match_indices(']') {
        let (before, after) = text.split_at(start + at);
        for comma in if has_items { [", ", " "] } else { ["", " "] } {
            found.push(format!("{}{comma}{item}{after}", before.trim_end()));
        }
    }
    found
}

fn appended(text: &str, more: &str) -> String {
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{text}{gap}{more}")
}

/// A text as one YAML scalar.
fn quoted(text: &str) -> String {
    if text.chars().any(char::is_control) {
        // Its quotes and escapes are those of YAML too.
        serde_json::Value::from(text).to_string()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn allowed(document: &Document) -> Vec<String> {
    let items = match allow_entry(document).map(|(_, list)| &list.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    items.iter().map(shape).collect()
}

/// All but the `allow`, so that two documents can be compared.
fn others(document: &Document) -> Vec<(String, String)> {
    match &document.root.value {
        Value::Map(entries) => {
            let others = entries.iter().filter(|(key, _)| !is_allow(key));
            others
                .map(|(key, value)| (shape(key), shape(value)))
                .collect()
        }
        Value::Scalar(_) | Value::List(_) => vec![(String::new(), shape(&document.root))],
    }
}

/// A value without its place.
fn shape(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(shape).collect();
            format!("{items:?}")
        }
        Value::Map(entries) => {
            let entries: Vec<(String, String)> = entries
                .iter()
                .map(|(key, value)| (shape(key), shape(value)))
                .collect();
            format!("{entries:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(pattern: &str) -> LiteralRules {
        LiteralRules {
            patterns: vec![pattern.to_owned()],
            ..LiteralRules::default()
        }
    }

    fn added(text: &str, pattern: &str) -> Result<Option<String>, RuleEditError> {
        with_allowed(Some(text), &patterns(pattern))
    }

    #[test]
    fn an_item_is_added_and_all_else_stays() {
        for (before, after) in [
            ("a: 1\n", "a: 1\nallow:\n  - 'x'\n"),
            ("a: 1", "a: 1\nallow:\n  - 'x'\n"),
            ("allow:\n", "allow:\n  - 'x'\n"),
            ("allow:\nb: 1\n", "allow:\n  - 'x'\nb: 1\n"),
            ("allow: # c\nb: 1\n", "allow: # c\n  - 'x'\nb: 1\n"),
            ("allow: []\n", "allow: ['x']\n"),
            (
                "allow: [a, 'b]'] # ]\nc: []\n",
                "allow: [a, 'b]', 'x'] # ]\nc: []\n",
            ),
            ("allow: [\n  a,\n]\n", "allow: [\n  a, 'x']\n"),
            (
                "allow:\n- a\n- b # c\n\n# d\nb: 1\n",
                "allow:\n- a\n- b # c\n- 'x'\n\n# d\nb: 1\n",
            ),
            (
                "allow:\n    - a\n    - b",
                "allow:\n    - a\n    - b\n    - 'x'\n",
            ),
            (
                "allow:\n  - >-\n    a\n    b\n  # c\nb: 1\n",
                "allow:\n  - >-\n    a\n    b\n  - 'x'\n  # c\nb: 1\n",
            ),
            (
                "allow:\r\n  - a\r\nb: 1\r\n",
                "allow:\r\n  - a\r\n  - 'x'\r\nb: 1\r\n",
            ),
            ("{a: 1, allow: [b]}\n", "{a: 1, allow: [b, 'x']}\n"),
        ] {
            let found = added(before, "x");
            assert_eq!(found, Ok(Some(after.to_owned())), "{before}");
            assert_eq!(added(after, "x"), Ok(None), "{after}");
        }
    }

    #[test]
    fn any_pattern_comes_back_as_it_was() {
        for pattern in [
            "bash:it's",
            "a: b # c",
            "a\nb\t\u{1}",
            "\\* \"q\"",
            "- x",
            "ä ]",
        ] {
            let text = added("allow: [a]\n", pattern).unwrap().unwrap();
            assert_eq!(allowed(&parse(&text).unwrap()), ["a", pattern]);
        }
        let text = with_allowed(None, &patterns("bash:echo ${x}"))
            .unwrap()
            .unwrap();
        assert_eq!(allowed(&parse(&text).unwrap()), ["bash:echo $${x}"]);
    }

    #[test]
    fn any_script_comes_back_as_it_was() {
        for script in [
            "ls > x",
            "for f in a b; do\n\trm \"$f\"\ndone",
            "a\n  b\n\nc # 'd' \"e\": {f}",
            " a",
            "a\n",
            "a\r\u{1}",
            "echo ${x:-1}",
            "- x: |",
        ] {
            let literal = LiteralRules {
                exact: Some(script.to_owned()),
                ..LiteralRules::default()
            };
            let shape = Item::new(script, true).shape();
            for before in [
                "allow:\n  - a\n# b\n",
                "allow: [a]\n",
                "x: 1\n",
                "allow:\n- exact: a\n",
            ] {
                let text = with_allowed(Some(before), &literal).unwrap().unwrap();
                assert_eq!(
                    allowed(&parse(&text).unwrap()).last(),
                    Some(&shape),
                    "{text}"
                );
                assert_eq!(with_allowed(Some(&text), &literal), Ok(None), "{text}");
            }
            assert!(with_allowed(None, &literal).unwrap().is_some());
        }
    }

    #[test]
    fn what_cannot_be_edited_is_left_alone() {
        for text in [
            "{a: 1}\n",
            "a: &x [b]\nallow: *x\n",
            "allow: {a: 1}\n",
            "a: [\n",
            "- a\n",
            "a: 1\n...\n",
        ] {
            assert!(added(text, "x").is_err(), "{text}: {:?}", added(text, "x"));
        }
    }
}
