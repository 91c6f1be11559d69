//! Keeps house: what the documentation says is there, and nothing lies about.

use crate::support::process::{Limited as _, duragent};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser as _;
use clap::error::ErrorKind;
use duragent::cli::args::Invocation;
use duragent::workspace;
use serde_json::Value;

use crate::architecture::MAY_USE;

/// What may lie at the top of the project. Everything else has its place in a folder.
const TOP: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "docs",
    "scripts",
    "src",
    "tests",
];

#[test]
fn every_test_file_is_compiled() {
    let tests = root().join("tests/it");
    let orphans: Vec<PathBuf> = files(&tests, "rs")
        .into_iter()
        .filter(|file| *file != tests.join("main.rs"))
        .filter(|file| !is_declared(file, &tests))
        .collect();
    assert!(orphans.is_empty(), "no `mod` names {orphans:#?}");
}

/// Whether the file of the module above has a `mod` for this one.
fn is_declared(file: &Path, tests: &Path) -> bool {
    let is_mod_file = file.file_stem().unwrap() == "mod";
    let module = if is_mod_file {
        file.parent().unwrap()
    } else {
        file
    };
    let above = module.parent().unwrap();
    let candidates = if above == tests {
        [tests.join("main.rs"), tests.join("main.rs")]
    } else {
        [above.with_extension("rs"), above.join("mod.rs")]
    };
    let name = module.file_stem().unwrap().to_str().unwrap();
    let line = format!("mod {name};");
    candidates
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .any(|text| text.lines().any(|found| found.ends_with(&line)))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&read(&page)) {
            if !leads_somewhere(&page, &link) {
                broken.push(format!("{}: {link}", shown(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    if link.contains("://") || link.starts_with("mailto:") {
        return true;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => page.to_owned(),
        path => page.parent().unwrap().join(path),
    };
    match anchor {
        "" => target.exists(),
        anchor => target.is_file() && anchors(&read(&target)).contains(anchor),
    }
}

/// The targets of `[text](target)`, outside of code.
fn links(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(markdown) {
        // Every second piece is `code`.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        for rest in plain.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            found.push(target.to_owned());
        }
    }
    found
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = prose(markdown).filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The lines outside of fenced blocks.
fn prose(markdown: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    markdown.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The pages that lead newcomers through the sources.
const MAPS: [&str; 2] = ["docs/architecture.md", "docs/where.md"];

#[test]
fn what_the_maps_of_the_sources_name_is_there() {
    let sources = files(&root().join("src"), "rs");
    let code: String = sources.iter().map(|file| read(file)).collect();
    let code: BTreeSet<&str> = code.split(|c: char| !is_of_name(c)).collect();
    let mut gone = Vec::new();
    let mut looked_at = 0;
    for page in MAPS {
        for word in prose(&read(&root().join(page))).flat_map(code_words) {
            let is_there = if is_path(&word) {
                leads_to_sources(&word, &sources)
            } else if is_item(&word) {
                word.split("::").all(|name| code.contains(name))
            } else {
                continue;
            };
            looked_at += 1;
            if !is_there {
                gone.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(gone.is_empty(), "{gone:#?}");
    assert!(looked_at > 150, "only {looked_at} names were found");
}

/// `src/cli/args.rs`, `tests/it/store`, `http/callers.rs` of `src`, `state.rs` of one of its folders.
fn is_path(word: &str) -> bool {
    let is_plain = |c: char| is_of_name(c) || matches!(c, '/' | '.');
    let top = word.split_once('/').map(|(top, _)| top);
    let is_room = |top: &str| MAY_USE.iter().any(|(room, _)| *room == top);
    let is_below = top.is_some_and(|top| matches!(top, "src" | "tests") || is_room(top));
    word.chars().all(is_plain) && (is_below || word.ends_with(".rs"))
}

fn leads_to_sources(path: &str, sources: &[PathBuf]) -> bool {
    let is_file_of_some_folder =
        !path.contains('/') && sources.iter().any(|file| file.ends_with(path));
    is_file_of_some_folder || root().join(path).exists() || root().join("src").join(path).exists()
}

/// `SessionStore`, `Sessions::resolve`, `BUILTIN_TOOLS`: what only the sources call so.
fn is_item(word: &str) -> bool {
    let is_plain = word.chars().all(|c| is_of_name(c) || c == ':');
    let begins_as_type = word.starts_with(|c: char| c.is_ascii_uppercase());
    let is_type = begins_as_type && word.contains(|c: char| c.is_ascii_lowercase());
    is_plain && (is_type || word.contains("::") || (begins_as_type && word.contains('_')))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[test]
fn commands_in_the_documentation_are_understood() {
    let mut refused = Vec::new();
    let mut understood = 0;
    for page in pages() {
        for command in commands(&read(&page)) {
            match Invocation::try_parse_from(&command) {
                Ok(_) => understood += 1,
                Err(error) if is_answer(error.kind()) => understood += 1,
                Err(error) => refused.push(format!("{}: {command:?}: {error}", shown(&page))),
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(understood > 10, "only {understood} commands were found");
}

fn is_answer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// Every call of `duragent` in the blocks for a shell, and in systemd units.
fn commands(markdown: &str) -> Vec<Vec<String>> {
    let shell = ["bash", "sh"].map(|language| blocks(markdown, language));
    let shell = shell.into_iter().flatten().flat_map(shell_lines);
    let units = blocks(markdown, "ini").into_iter().flat_map(unit_lines);
    let lines: Vec<String> = shell.chain(units).collect();
    lines
        .iter()
        .flat_map(|line| line.split(['|', ';', '&']))
        .filter_map(call_of_ours)
        .collect()
}

/// The words from `duragent` on, if that is what the line calls.
fn call_of_ours(line: &str) -> Option<Vec<String>> {
    let mut words = words(line);
    while words.first().is_some_and(|word| is_prelude(word)) {
        let taken = if words[0] == "-u" { 2 } else { 1 };
        words.drain(..taken.min(words.len()));
    }
    let is_ours = words.first()?.rsplit('/').next()? == "duragent";
    is_ours.then_some(words)
}

/// What may stand before a command: `sudo` and its options, `NAME=value`.
fn is_prelude(word: &str) -> bool {
    let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty() && name.chars().all(plain)
    });
    is_assignment || matches!(word, "sudo" | "-u" | "-H" | "exec")
}

/// Splits a command as far as the documentation needs it: quotes, and comments at the end.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in line.chars().chain([' ']) {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.push(c),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c == '#' && word.is_empty() => return words,
            None if c.is_whitespace() && word.is_empty() => {}
            None if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            None => word.push(c),
        }
    }
    words
}

/// The lines of a shell block without its here-documents.
fn shell_lines(block: String) -> Vec<String> {
    let mut lines = Vec::new();
    let mut end: Option<String> = None;
    for line in block.replace("\\\n", " ").lines() {
        match &end {
            Some(word) if line == word => end = None,
            Some(_) => {}
            None => {
                let here = line.split_once("<<").map(|(_, word)| word);
                end = here.map(|word| word.trim().trim_matches('\'').to_owned());
                lines.push(line.to_owned());
            }
        }
    }
    lines
}

fn unit_lines(block: String) -> Vec<String> {
    let lines = block.lines();
    lines
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .map(str::to_owned)
        .collect()
}

/// The fenced blocks of a language.
pub fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}");
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in markdown.lines() {
        match &mut block {
            None if line.trim() == opening => block = Some(String::new()),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(block.take()),
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}

#[test]
fn the_quick_start_makes_an_agent_without_a_flaw() {
    let blocks = blocks(&read(&root().join("README.md")), "bash");
    let block = blocks.iter().find(|block| block.contains("cat >")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .args(["-e", "-c", block])
        .current_dir(&folder)
        .status_in_time()
        .unwrap();
    assert!(made.success());
    let agent = folder.path().join(".duragent/agents/my-assistant");
    assert_eq!(
        workspace::validate(&agent, None).problems,
        Vec::<String>::new()
    );
}

#[test]
fn the_version_that_is_shown_is_the_one_of_the_package() {
    let shown = duragent(root()).arg("--version").output_in_time().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(shown.lines().next(), Some(&*format!("duragent {version}")));
    let changes = read(&root().join("docs/CHANGELOG.md"));
    let is_told = changes
        .lines()
        .any(|line| line.starts_with(&format!("## {version}")));
    assert!(is_told, "docs/CHANGELOG.md lacks {version}");
}

#[test]
fn the_import_table_in_the_documentation_is_the_one_that_is_tested() {
    let page = read(&root().join("docs/architecture.md"));
    let (_, after) = page.split_once("## Who may import whom").unwrap();
    let section = after.split("\n## ").next().unwrap();
    let told: BTreeMap<String, BTreeSet<String>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            (
                code_words(cells[1]).remove(0),
                code_words(cells[2]).into_iter().collect(),
            )
        })
        .collect();
    let tested: BTreeMap<String, BTreeSet<String>> = MAY_USE
        .iter()
        .map(|(folder, used)| {
            let used = used.iter().map(|name| (*name).to_owned()).collect();
            ((*folder).to_owned(), used)
        })
        .collect();
    assert_eq!(told, tested);
}

#[test]
fn the_table_of_threads_holds_every_thread_that_is_started_and_no_other() {
    let page = read(&root().join("docs/architecture.md"));
    let (_, after) = page.split_once("\n## Threads\n").unwrap();
    let section = after.split("\n## ").next().unwrap();
    let told: BTreeSet<String> = code_words(section)
        .iter()
        .map(|name| without_number(name))
        .collect();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows: BTreeSet<String> = rows
        .map(|line| without_number(&code_words(line).remove(0)))
        // Which nobody starts, and which a crate does.
        .filter(|name| name != "main" && name != "ctrl-c")
        .collect();
    let (mut started, mut sources) = (BTreeSet::new(), String::new());
    for file in files(&root().join("src"), "rs") {
        if file.file_stem().unwrap() != "tests" {
            let text = read(&file);
            let code = text.split("\n#[cfg(test)]").next().unwrap();
            started.extend(thread_names(code));
            sources.push_str(code);
        }
    }
    let untold: Vec<&String> = started.difference(&told).collect();
    assert!(untold.is_empty(), "the table lacks {untold:?}");
    assert!(started.len() > 15, "only {started:?} were found");
    let is_gone = |name: &&String| !sources.contains(&format!("\"{name}"));
    let gone: Vec<&String> = rows.iter().filter(is_gone).collect();
    assert!(gone.is_empty(), "nobody starts {gone:?}");
}

/// The names in `spawn("name", …)` and `spawn(format!("name-{…}"), …)`, in a `let name = format!(…)` before one,
/// and in a function `…_name` that makes one.
fn thread_names(code: &str) -> Vec<String> {
    let beginnings = ["spawn(", "let name = "].iter();
    let after = beginnings.flat_map(|beginning| code.split(beginning).skip(1));
    let makers = code.split("_name(").skip(1).filter_map(|text| {
        let (head, body) = text.split_once(" -> String {")?;
        (!head.contains('\n')).then_some(body)
    });
    let after = after.chain(makers);
    let literal = |text: &str| {
        let text = text.trim_start();
        let text = text.strip_prefix("format!(").unwrap_or(text).trim_start();
        let (name, _) = text.strip_prefix('"')?.split_once('"')?;
        let fixed = name.split('{').next()?;
        let is_name = name == fixed || fixed.ends_with('-');
        is_name.then(|| fixed.to_owned())
    };
    after.filter_map(literal).collect()
}

/// `http-` of `http-7`, `s-` of `s-7QW3FZ`, `gw-` of `gw-<name>`; other names as they are.
fn without_number(name: &str) -> String {
    let (before, number) = name.rsplit_once('-').unwrap_or((name, ""));
    let is_number = number.starts_with(|c: char| c.is_ascii_digit());
    if is_number || number == "<name>" {
        format!("{before}-")
    } else {
        name.to_owned()
    }
}

/// The `words` in a cell of a table.
fn code_words(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn nothing_lies_about_at_the_top() {
    if !root().join(".git").exists() {
        // Unpacked from an archive, which holds what the repository holds.
        return;
    }
    let listed = Command::new("git")
        .env_remove("GIT_DIR")
        .args(["-c", "safe.directory=*", "ls-files", "--cached"])
        .current_dir(root())
        .output_in_time()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let strays: BTreeSet<&str> = listed
        .lines()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !TOP.contains(name))
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn what_the_clients_of_others_need_is_told_by_version_and_checksum_and_no_place() {
    let clients = root().join("scripts/clients");
    let lock: Value = serde_json::from_str(&read(&clients.join("package-lock.json"))).unwrap();
    for (path, package) in lock["packages"].as_object().unwrap() {
        let is_pinned = package["integrity"].is_string() && package["resolved"].is_null();
        assert!(path.is_empty() || is_pinned, "{path}: {package}");
    }
    let pinned = read(&clients.join("requirements.txt")).replace("\\\n", "");
    for line in pinned.lines().filter(|line| !line.starts_with('#')) {
        let is_pinned = line.contains("==") && line.contains("--hash=sha256:");
        assert!(is_pinned && !line.contains("://"), "{line}");
    }
}

#[test]
fn what_is_left_to_do_names_its_issue() {
    // In pieces, so that this file does not speak of itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut unnamed = Vec::new();
    let sources = [
        files(&root().join("src"), "rs"),
        files(&root().join("tests"), "rs"),
    ];
    for file in sources.into_iter().flatten().chain(pages()) {
        for (number, line) in (1..).zip(read(&file).lines()) {
            let is_mark = marks.iter().any(|mark| line.contains(mark));
            if is_mark && !names_an_issue(line) {
                unnamed.push(format!("{}:{number}: {}", shown(&file), line.trim()));
            }
        }
    }
    assert!(unnamed.is_empty(), "{unnamed:#?}");
}

fn names_an_issue(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        let next = line[at + 1..].chars().next();
        next.is_some_and(|c| c.is_ascii_digit())
    })
}

/// The Markdown pages of the project.
fn pages() -> Vec<PathBuf> {
    let mut pages = files(&root().join("docs"), "md");
    pages.push(root().join("README.md"));
    pages
}

/// The files below a folder whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn commands_are_found_in_blocks_and_nowhere_else() {
    let page = "`duragent no`\n```bash\n# duragent no\nA=1 ./x/duragent chat --agent \"a b\" # c\n\
                cat > x << 'EOF'\nduragent no\nEOF\necho hi | sudo -u me duragent \\\n  attach && ls\n```\n\
                ```ini\nExecStart=/usr/bin/duragent serve\n```\n```text\nduragent no\n```\n";
    let found = commands(page);
    let expected: Vec<Vec<&str>> = vec![
        vec!["./x/duragent", "chat", "--agent", "a b"],
        vec!["duragent", "attach"],
        vec!["/usr/bin/duragent", "serve"],
    ];
    assert_eq!(found, expected);
}

#[test]
fn links_and_anchors_are_read_as_readers_follow_them() {
    let page = "# One `two`, three\n[a](b.md#c) and [d](#e)\n`[no](no)`\n```\n[no](no)\n```\n";
    assert_eq!(links(page), ["b.md#c", "#e"]);
    assert_eq!(anchors(page), BTreeSet::from(["one-two-three".to_owned()]));
}
