//! Circles of files: a file that uses itself, through others.
//!
//! A file uses another if it names something that is defined there, by any path: `crate::`, `super::`,
//! `self::`, or through a child module. What a file only passes on with `pub use` it does not use, and who
//! takes it there uses the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The files of a crate, by the paths of their modules: `engine::turn`.
#[derive(Default)]
pub(super) struct Files(BTreeMap<String, File>);

#[derive(Default)]
struct File {
    /// All paths that it names, from the crate on.
    paths: BTreeSet<String>,
    /// Where what it passes on comes from, by name.
    passed_on: BTreeMap<String, String>,
}

/// Files that use one another, and by which names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle {
    pub(super) files: Vec<String>,
    ties: Vec<(String, String, Vec<String>)>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.files.join(", "))?;
        for (from, to, names) in &self.ties {
            write!(f, "\n    {from} uses {to}: {}", names.join(", "))?;
        }
        Ok(())
    }
}

impl Files {
    /// `texts` are the files, by the paths of their modules.
    pub(super) fn read(texts: &BTreeMap<String, String>) -> Files {
        let is_file = |module: &str| texts.contains_key(module);
        let read = |(module, text): (&String, &String)| {
            (module.clone(), File::read(module, text, &is_file))
        };
        Files(texts.iter().map(read).collect())
    }

    /// All circles, each file in one at most.
    pub(super) fn circles(&self) -> Vec<Circle> {
        let uses: BTreeMap<&str, BTreeMap<&str, Vec<String>>> = self
            .0
            .keys()
            .map(|module| (module.as_str(), self.used_by(module)))
            .collect();
        let reached: BTreeMap<&str, BTreeSet<&str>> = uses
            .keys()
            .map(|module| (*module, reach(module, &uses)))
            .collect();
        let mut circles: BTreeMap<Vec<String>, Circle> = BTreeMap::new();
        for (module, others) in &reached {
            let back = others
                .iter()
                .filter(|other| reached[**other].contains(module));
            let files: Vec<String> = back.map(|file| (*file).to_owned()).collect();
            if !files.is_empty() {
                let ties = ties(&files, &uses);
                circles.insert(files.clone(), Circle { files, ties });
            }
        }
        circles.into_values().collect()
    }

    /// The files that one uses, with the names that it uses of each.
    fn used_by(&self, module: &str) -> BTreeMap<&str, Vec<String>> {
        let file = &self.0[module];
        let mut used: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for path in &file.paths {
            let name = last(path);
            let is_passed_on = file.passed_on.get(name) == Some(path);
            if let Some(found) = self.defines(path, &mut BTreeSet::new())
                && found != module
                && !is_passed_on
            {
                used.entry(found).or_default().push(name.to_owned());
            }
        }
        used
    }

    /// The file that defines what a path names, wherever that is passed on.
    fn defines(&self, path: &str, seen: &mut BTreeSet<String>) -> Option<&str> {
        let (module, file) = prefixes(path).find_map(|prefix| self.0.get_key_value(prefix))?;
        let rest = path[module.len()..].trim_start_matches("::");
        let (name, behind) = rest.split_once("::").unwrap_or((rest, ""));
        match file.passed_on.get(name) {
            Some(origin) if seen.insert(format!("{module}::{name}")) => {
                self.defines(&join(origin, behind), seen)
            }
            _ => Some(module),
        }
    }
}

impl File {
    fn read(module: &str, text: &str, is_file: &dyn Fn(&str) -> bool) -> File {
        let (imports, rest) = split_imports(text);
        let mut file = File::default();
        for (is_passed_on, tree) in imports {
            for path in expand(&tree) {
                let (path, name) = path.split_once(" as ").unwrap_or((&path, last(&path)));
                let Some(absolute) = absolute(module, path, is_file) else {
                    continue;
                };
                if is_passed_on {
                    file.passed_on.insert(name.to_owned(), absolute.clone());
                }
                file.paths.insert(absolute);
            }
        }
        let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        // Who may see something is no use of them.
        let pieces = rest.split("pub(in ").enumerate();
        let rest: String = pieces
            .map(|(index, piece)| match piece.split_once(')') {
                Some((_, rest)) if index > 0 => rest,
                Some(_) | None => piece,
            })
            .collect();
        let paths = rest
            .split(|c| !is_of_path(c))
            .filter(|path| path.contains("::"));
        let paths = paths.filter_map(|path| absolute(module, path.trim_end_matches(':'), is_file));
        file.paths.extend(paths);
        file
    }
}

/// The `use` items of a file, and whether they pass on what they name; then all other code. Tests do not
/// count.
fn split_imports(text: &str) -> (Vec<(bool, String)>, String) {
    let lines = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    let mut code = lines.filter(|line| !line.trim_start().starts_with("//"));
    let (mut imports, mut rest) = (Vec::new(), String::new());
    while let Some(line) = code.next() {
        let visible = line.trim_start().strip_prefix("pub");
        let item = visible.map_or(line.trim_start(), |item| {
            let scope = item.starts_with('(').then(|| item.find(')')).flatten();
            item[scope.map_or(0, |end| end + 1)..].trim_start()
        });
        let Some(tree) = item.strip_prefix("use ") else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.ends_with(';') {
            tree.push_str(code.next().expect("an import ends").trim());
        }
        imports.push((visible.is_some(), tree.trim_end_matches(';').to_owned()));
    }
    (imports, rest)
}

/// The paths of a tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d`, `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let Some((before, inner)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = inner.trim_end().strip_suffix('}').expect("a brace ends");
    let (mut depth, mut branches) = (0, vec![String::new()]);
    for letter in inner.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        match branches.last_mut() {
            Some(branch) if letter != ',' || depth > 0 => branch.push(letter),
            _ => branches.push(String::new()),
        }
    }
    branches.retain(|branch| !branch.trim().is_empty());
    let whole = branches
        .iter()
        .map(|branch| format!("{}{}", before.trim(), branch.trim()));
    whole.flat_map(|branch| expand(&branch)).collect()
}

/// A path of a file from the crate on; `None` for one into another crate.
fn absolute(module: &str, path: &str, is_file: &dyn Fn(&str) -> bool) -> Option<String> {
    if let Some(rest) = path.strip_prefix("crate::") {
        return Some(rest.to_owned());
    }
    let (mut module, mut path) = (module, path.strip_prefix("self::").unwrap_or(path));
    let is_relative = path.starts_with("super::") || is_file(&join(module, first(path)));
    while let Some(rest) = path.strip_prefix("super::") {
        module = module.rsplit_once("::").map_or("", |(above, _)| above);
        path = rest;
    }
    is_relative.then(|| join(module, path))
}

fn join(module: &str, path: &str) -> String {
    let parts = [module, path].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("::")
}

fn first(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// A path and all above it, the longest first.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| Some(path.rsplit_once("::")?.0))
}

/// All that a file uses, by whatever way.
fn reach<'a>(
    module: &str,
    uses: &BTreeMap<&'a str, BTreeMap<&'a str, Vec<String>>>,
) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = uses[module].keys().copied().collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(uses[next].keys().copied());
        }
    }
    reached
}

fn ties(
    files: &[String],
    uses: &BTreeMap<&str, BTreeMap<&str, Vec<String>>>,
) -> Vec<(String, String, Vec<String>)> {
    let is_in = |module: &str| files.iter().any(|file| file == module);
    let all = files.iter().flat_map(|from| {
        let inner = uses[from.as_str()].iter().filter(|(to, _)| is_in(to));
        inner.map(|(to, names)| (from.clone(), (*to).to_owned(), names.clone()))
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of files, each shown in lines.
    fn circles(texts: &[(&str, &str)]) -> Vec<String> {
        let owned = texts
            .iter()
            .map(|(module, text)| ((*module).to_owned(), (*text).to_owned()));
        let found = Files::read(&owned.collect()).circles();
        found.iter().map(Circle::to_string).collect()
    }

    #[test]
    fn a_parent_that_uses_its_child_is_in_a_circle_with_a_child_that_uses_the_parents_type() {
        let found = circles(&[
            (
                "llm",
                "mod openai;\npub struct Request;\nfn f() { openai::tools(); }",
            ),
            ("llm::openai", "use super::Request;"),
        ]);
        let expected = "llm, llm::openai\n    llm uses llm::openai: tools\n    \
                        llm::openai uses llm: Request";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn what_is_passed_on_counts_where_it_is_defined() {
        let found = circles(&[
            (
                "llm",
                "mod openai;\npub use request::{Other, Request as Asked};\nfn f() { openai::tools(); }",
            ),
            ("llm::request", "pub struct Request;"),
            ("llm::openai", "use crate::llm::Asked;"),
        ]);
        assert_eq!(found, [""; 0]);
        let found = circles(&[
            ("llm", "pub use crate::llm::request::Request;"),
            (
                "llm::request",
                "use crate::{base::x, llm::{openai::{tools}}};\npub struct Request;",
            ),
            ("llm::openai", "fn f(one: &crate::llm::Request) {}"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("llm::openai, llm::request\n"),
            "{found:?}"
        );
    }

    #[test]
    fn a_circle_may_lead_through_many_files_and_several_are_told_apart() {
        let found = circles(&[
            ("a", "use crate::b::X;"),
            ("b", "use crate::{\n    c::d::X,\n    z,\n};"),
            ("c::d", "impl super::super::a::X {}"),
            ("e", "use crate::f::Y;\nuse crate::a::X;"),
            ("f", "pub(crate) fn f() { crate::e::g() }"),
            ("g", "use crate::a::X;"),
        ]);
        let files: Vec<&str> = found.iter().filter_map(|one| one.lines().next()).collect();
        assert_eq!(files, ["a, b, c::d", "e, f"]);
    }

    #[test]
    fn comments_and_tests_tie_nothing() {
        let found = circles(&[
            ("a", "use crate::b::X;"),
            (
                "b",
                "// crate::a\n/// [`crate::a::X`]\nfn f() {}\n#[cfg(test)]\nuse crate::a::X;",
            ),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
