//! Picks values out of a document by the keys that lead to them.

use super::expand::expand;
use super::read::{joined, key_text};
use super::tree::{Node, ScalarKind, Value};

/// Shows `visit` each value at `path`, such as `spec.tools[].env`, with the keys that lead to it; one
/// that it returns `false` for is taken out. A null is no value. An item of a list is called by its `name`, if it has one:
/// `spec.tools[search].env`.
pub fn retain(root: &mut Node, path: &str, visit: &mut dyn FnMut(&str, &mut Node) -> bool) {
    let keys: Vec<&str> = path.split('.').collect();
    retain_below(root, "", &keys, visit);
}

fn retain_below(
    node: &mut Node,
    key: &str,
    path: &[&str],
    visit: &mut dyn FnMut(&str, &mut Node) -> bool,
) {
    let (Some((first, rest)), Value::Map(entries)) = (path.split_first(), &mut node.value) else {
        return;
    };
    let (name, is_list) = match first.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (*first, false),
    };
    let key = joined(key, name);
    if !is_list && rest.is_empty() {
        entries.retain_mut(|(found, value)| {
            key_text(found) != name || is_null(value) || visit(&key, value)
        });
        return;
    }
    let found = entries
        .iter_mut()
        .find(|(found, _)| key_text(found) == name);
    let Some((_, value)) = found else {
        return;
    };
    match &mut value.value {
        Value::List(items) if is_list => retain_items(items, &key, rest, visit),
        _ => retain_below(value, &key, rest, visit),
    }
}

fn retain_items(
    items: &mut Vec<Node>,
    key: &str,
    rest: &[&str],
    visit: &mut dyn FnMut(&str, &mut Node) -> bool,
) {
    let mut index = 0;
    items.retain_mut(|item| {
        let name = word(item, "name").unwrap_or_else(|| index.to_string());
        index += 1;
        let key = format!("{key}[{name}]");
        match rest {
            [] => is_null(item) || visit(&key, item),
            rest => {
                retain_below(item, &key, rest, visit);
                true
            }
        }
    });
}

fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
}

/// Leaves of a mapping only these keys.
pub fn keep_keys(node: &mut Node, keys: &[&str]) {
    if let Value::Map(entries) = &mut node.value {
        entries.retain(|(key, _)| keys.contains(&key_text(key)));
    }
}

/// The word at `key` of a mapping, or with "" the value itself, if that is a single word: as it is
/// where no variable is set.
pub fn word(node: &Node, key: &str) -> Option<String> {
    let found = match (&node.value, key) {
        (_, "") => node,
        (Value::Map(entries), key) => &entries.iter().find(|(found, _)| key_text(found) == key)?.1,
        (Value::Scalar(_) | Value::List(_), _) => return None,
    };
    let Value::Scalar(scalar) = &found.value else {
        return None;
    };
    let filled = expand(&scalar.text, &|_| None).ok().flatten();
    Some(filled.map_or_else(|| scalar.text.clone(), |filled| filled.text))
}

/// A value in one line, as it is written: no two different ones are the same there.
pub fn line_of(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::List(_) | Value::Map(_) => {
            let mut line = String::new();
            write_inner(node, &mut line);
            line
        }
    }
}

fn write_inner(node: &Node, line: &mut String) {
    match &node.value {
        Value::Scalar(scalar) => line.push_str(&serde_json::Value::from(&*scalar.text).to_string()),
        Value::List(items) => {
            line.push('[');
            for (index, item) in items.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                write_inner(item, line);
            }
            line.push(']');
        }
        Value::Map(entries) => {
            line.push('{');
            for (index, (key, value)) in entries.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                write_inner(key, line);
                line.push_str(": ");
                write_inner(value, line);
            }
            line.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Document;
    use super::*;

    const TEXT: &str = "\
spec:
  model: {name: m, base_url: http://a}
  access: ~
  tools:
    - {type: cli, name: x, env: [A]}
    - {type: cli, env: [B, '${C:-d}']}
    - bash
";

    fn visited(path: &str) -> Vec<(String, String)> {
        let mut document = Document::parse(TEXT.to_owned()).unwrap();
        let mut seen = Vec::new();
        retain(&mut document.root, path, &mut |key, node| {
            seen.push((key.to_owned(), line_of(node)));
            true
        });
        assert_eq!(
            document.root,
            Document::parse(TEXT.to_owned()).unwrap().root
        );
        seen
    }

    #[test]
    fn values_are_found_by_their_path_and_called_by_their_names() {
        let env = |key: &str, line: &str| (key.to_owned(), line.to_owned());
        assert_eq!(
            visited("spec.tools[].env"),
            [
                env("spec.tools[x].env", r#"["A"]"#),
                env("spec.tools[1].env", r#"["B", "${C:-d}"]"#)
            ]
        );
        assert_eq!(
            visited("spec.model.base_url"),
            [env("spec.model.base_url", "http://a")]
        );
        assert_eq!(visited("spec.tools[]").len(), 3);
        for none in [
            "spec.access",
            "spec.model[]",
            "spec.other",
            "spec.model.name.x",
            "tools[]",
            "spec.tools.env",
        ] {
            assert_eq!(visited(none), [], "{none}");
        }
    }

    #[test]
    fn what_is_not_kept_is_gone_and_the_rest_stays() {
        let mut document = Document::parse(TEXT.to_owned()).unwrap();
        retain(&mut document.root, "spec.model.base_url", &mut |_, _| false);
        retain(&mut document.root, "spec.tools[]", &mut |_, item| {
            keep_keys(item, &["type"]);
            word(item, "type").is_some()
        });
        assert_eq!(
            line_of(&document.root),
            r#"{"spec": {"model": {"name": "m"}, "access": "~", "tools": [{"type": "cli"}, {"type": "cli"}]}}"#
        );
    }

    #[test]
    fn a_word_is_as_without_variables() {
        let document = Document::parse("a: '${X:-y} z'\nb: [c]\nd: '${X}'".to_owned()).unwrap();
        let word = |key| word(&document.root, key);
        assert_eq!(word("a").as_deref(), Some("y z"));
        assert_eq!(word("b"), None);
        assert_eq!(word("d").as_deref(), Some("${X}"));
        assert_eq!(word(""), None);
    }
}
