//! The tree is the architecture: which folder may import which, and that no file uses itself through
//! others.

mod circles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use circles::Files;

/// Who may name whom, beside itself. `docs/architecture.md` explains the table.
pub(crate) const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("domain", &[]),
    ("agents", &["base", "domain", "trust"]),
    ("wire", &["base", "domain"]),
    ("client", &["base", "domain", "wire"]),
    ("config", &["base", "domain"]),
    ("llm", &["base", "domain"]),
    ("policy", &["base", "domain"]),
    ("sandbox", &["base", "domain"]),
    ("store", &["base", "domain"]),
    ("trust", &["base", "domain", "store"]),
    ("tools", &["base", "domain", "policy", "sandbox", "store"]),
    (
        "engine",
        &["base", "domain", "store", "llm", "policy", "tools"],
    ),
    ("schedule", &["base", "domain", "wire", "engine"]),
    ("gateway", &["base", "domain", "wire", "engine", "store"]),
    ("http", &["base", "domain", "wire", "engine"]),
    ("acp", &["base", "domain", "wire", "client"]),
    ("terminal", &["base", "domain", "wire", "client"]),
    (
        "workspace",
        &[
            "base", "domain", "agents", "config", "engine", "llm", "policy", "sandbox", "store",
            "tools", "trust", "wire",
        ],
    ),
    (
        "runtime",
        &[
            "base",
            "domain",
            "agents",
            "config",
            "engine",
            "gateway",
            "http",
            "llm",
            "policy",
            "store",
            "tools",
            "trust",
            "wire",
            "workspace",
        ],
    ),
    ("torture", &["base", "domain", "client", "runtime", "store"]),
    (
        "doctor",
        &[
            "base",
            "domain",
            "agents",
            "client",
            "config",
            "engine",
            "http",
            "llm",
            "policy",
            "runtime",
            "tools",
            "trust",
            "wire",
            "workspace",
        ],
    ),
    (
        "cli",
        &[
            "base",
            "domain",
            "client",
            "config",
            "doctor",
            "runtime",
            "terminal",
            "torture",
            "wire",
            "workspace",
        ],
    ),
];

/// Rooms that are planned: whoever begins one finds its row, and takes it out here.
const TO_COME: &[&str] = &["acp", "schedule"];

/// The parts of a lower folder that the engine may name: its traits and their types, never an
/// implementation.
const ENGINE_SEES_ONLY_TRAITS: &[&str] = &[
    "store::file",
    "llm::openai",
    "llm::responses",
    "llm::anthropic",
    "llm::ollama",
    "llm::echo",
    "llm::providers",
    "policy::agent_policy",
    "policy::judge",
];

/// Who keeps texts and knows no more of the store than that: not sessions, and not files.
const SEE_ONLY_DOCUMENTS: &[&str] = &["gateway", "tools", "trust"];

#[test]
fn folders_import_only_what_the_table_allows() {
    let mut broken = Vec::new();
    for (folder, file, used) in crate_paths() {
        let top = used.split("::").next().unwrap_or_default().to_owned();
        let allowed = MAY_USE
            .iter()
            .find(|(name, _)| *name == folder)
            .unwrap_or_else(|| panic!("src/{folder} is not in the table"))
            .1;
        let is_folder = MAY_USE.iter().any(|(name, _)| *name == top);
        if is_folder && top != folder && !allowed.contains(&top.as_str()) {
            broken.push(format!("{} uses crate::{used}", file.display()));
        }
        let implementation = ENGINE_SEES_ONLY_TRAITS
            .iter()
            .any(|hidden| used.starts_with(hidden));
        if folder == "engine" && implementation {
            broken.push(format!("{} uses crate::{used}", file.display()));
        }
        let is_hidden = top == "store" && !used.starts_with("store::documents");
        if SEE_ONLY_DOCUMENTS.contains(&folder.as_str()) && is_hidden {
            broken.push(format!("{} uses crate::{used}", file.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_uses_itself_through_others() {
    let circles = Files::read(&modules()).circles();
    let shown: String = circles.iter().map(|circle| format!("\n{circle}")).collect();
    assert!(circles.is_empty(), "{shown}");
}

#[test]
fn a_name_stands_for_one_type() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for (module, text) in modules() {
        for name in types_in(&text) {
            places
                .entry(name.to_owned())
                .or_default()
                .push(module.clone());
        }
    }
    places.retain(|_, modules| modules.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

/// The names of the types that a source defines.
fn types_in(text: &str) -> Vec<&str> {
    let code = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"));
    // An indented one belongs to a function, a trait or a test.
    code.filter(|line| !line.starts_with(' '))
        .filter_map(type_of)
        .collect()
}

/// The name of the type that a line defines.
fn type_of(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub(") {
        Some(rest) => rest.split_once(')')?.1,
        None => line.strip_prefix("pub ").unwrap_or(line),
    };
    let mut words = line.trim_start_matches(' ').split(' ');
    let is_type = matches!(words.next()?, "struct" | "enum" | "trait" | "type");
    let name = words.next().filter(|_| is_type)?;
    name.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()
}

#[test]
fn types_are_found_by_their_definitions() {
    let text = "pub struct A<T> {\n    type Item = B;\nenum C {\npub(in crate::x) trait D: E {\ntype F = u8;\n// struct G\n#[cfg(test)]\nstruct H;";
    assert_eq!(types_in(text), ["A", "C", "D", "F"]);
}

/// The sources by the paths of their modules, without unit tests and their kits.
fn modules() -> BTreeMap<String, String> {
    let source = source_folder();
    let module = |file: PathBuf| {
        let inner = file.strip_prefix(&source).unwrap().with_extension("");
        let parts: Vec<&str> = inner.iter().map(|part| part.to_str().unwrap()).collect();
        let parts = parts.strip_suffix(&["mod"]).unwrap_or(&parts);
        let is_part = !matches!(
            parts,
            ["main" | "lib" | "build"] | [.., "tests" | "testing"]
        );
        is_part.then(|| (parts.join("::"), fs::read_to_string(&file).unwrap()))
    };
    let found: BTreeMap<String, String> =
        rust_files(&source).into_iter().filter_map(module).collect();
    assert!(!found.is_empty());
    found
}

#[test]
fn every_folder_of_the_table_exists_but_those_to_come() {
    let source = source_folder();
    for (folder, _) in MAY_USE {
        let is_there = source.join(folder).is_dir();
        assert_ne!(is_there, TO_COME.contains(folder), "src/{folder}");
    }
}

/// Every `crate::…` path in the sources: `(folder, file, path)`. Unit tests and their kits are left
/// out: they may use what they like.
fn crate_paths() -> Vec<(String, PathBuf, String)> {
    let source = source_folder();
    let mut found = Vec::new();
    for file in rust_files(&source) {
        let inner = file.strip_prefix(&source).unwrap().to_owned();
        let Some(folder) = inner.parent().and_then(|path| path.iter().next()) else {
            continue;
        };
        let is_for_tests = |name| name == "tests.rs" || name == "testing.rs";
        if inner.file_name().is_some_and(is_for_tests) {
            continue;
        }
        let folder = folder.to_string_lossy().into_owned();
        if folder.is_empty() {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for used in paths_in(&text) {
            found.push((folder.clone(), inner.clone(), used));
        }
    }
    assert!(!found.is_empty());
    found
}

fn paths_in(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    code.match_indices("crate::")
        .map(|(at, found)| {
            let rest = &code[at + found.len()..];
            rest.chars().take_while(|c| is_path(*c)).collect()
        })
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn the_reader_of_paths_finds_them() {
    let text = "use crate::store::file;\n// crate::http\nlet x = crate::llm::Sink;\n#[cfg(test)]\nuse crate::cli;";
    let found: BTreeMap<String, ()> = paths_in(text).into_iter().map(|path| (path, ())).collect();
    let found: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(found, ["llm::Sink", "store::file"]);
}
