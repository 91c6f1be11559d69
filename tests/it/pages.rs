//! What the documentation tells a reader to type works as it stands there.
//!
//! Every block of a page that is for a shell has a mark before it, a comment that Markdown does not show:
//!
//! | mark | |
//! |---|---|
//! | `<!-- run -->` | it is run, and must end with 0 |
//! | `<!-- not run: WHY -->` | it is not, because it wants what a test has not |
//! | `<!-- file: NAME -->` | a block of any language: it is what stands in this file |
//! | `<!-- run`, lines, `-->` | lines of a shell that readers do not see: what a page takes for granted |
//!
//! After `run` may stand, each behind a `;`: `prints: TEXT`, which must come; `reads: TEXT`, its standard
//! input; `exits: N`; `stays`, for what goes on beside the rest of the page, which waits until its
//! `prints` have come.
//!
//! The blocks of a page are run in their order by one shell, so that what one sets the next one knows,
//! in a folder of their own with nothing of this machine. Two things are not as they stand: `8080` is
//! another port, and OpenRouter a server of ours. Where a comment in a block shows an answer
//! (`# {"name":…}`), the keys that it names must be in what the block prints; of answers that follow one
//! another, those of one.

mod desk;
mod layout;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};

use desk::Desk;
use steps::steps;

use crate::support::process::{Limited as _, duragent};

#[test]
fn every_block_for_a_shell_says_whether_it_is_run() {
    let errors: Vec<String> = pages()
        .iter()
        .filter_map(|(name, text)| Some((name, steps(text).err()?)))
        .flat_map(|(name, errors)| {
            errors
                .into_iter()
                .map(move |error| format!("{name}:{error}"))
        })
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn who_follows_a_page_gets_what_it_says() {
    let wanted = std::env::var("PAGE_FOLLOWED").unwrap_or_default();
    let pages = pages();
    let mut failed = Vec::new();
    let mut run = 0;
    std::thread::scope(|scope| {
        let followed = pages.iter().filter(|(name, _)| name.contains(&wanted));
        let followed: Vec<_> = followed
            .filter_map(|(name, text)| Some((name, steps(text).ok()?)))
            .filter(|(_, steps)| !steps.is_empty())
            .map(|(name, steps)| {
                (
                    name,
                    scope.spawn(move || (steps.len(), Desk::new().follow(&steps))),
                )
            })
            .collect();
        for (name, thread) in followed {
            let (steps, end) = thread.join().unwrap();
            run += steps;
            failed.extend(end.err().map(|error| format!("{name}: {error}")));
        }
    });
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(run > 20 || !wanted.is_empty(), "only {run} blocks were run");
}

/// What becomes of a page with these lines.
fn followed(markdown: &str) -> Result<(), String> {
    Desk::new().follow(&steps(markdown).map_err(|errors| errors.join("\n"))?)
}

#[test]
fn a_page_that_does_not_do_what_it_says_is_found() {
    let block = |mark: &str, text: &str| format!("{mark}\n```sh\n{text}\n```\n");
    for (page, complaint) in [
        (block("", "true"), Some("has no mark")),
        (block("<!-- not run: -->", "true"), Some("no mark")),
        (block("<!-- runs -->", "true"), Some("no mark")),
        (block("<!-- run; print: a -->", "true"), Some("no option")),
        (block("<!-- not run: needs a bus -->", "false"), None),
        (block("<!-- run -->", "false\ntrue"), Some("exit status: 1")),
        (
            block("<!-- run -->", "false | true"),
            Some("exit status: 1"),
        ),
        (block("<!-- run; exits: 3 -->", "exit 3"), None),
        (block("<!-- run; exits: 3 -->", "true"), Some("99")),
        (block("<!-- run; prints: b -->", "echo a"), Some("no \"b\"")),
        (block("<!-- run; reads: a; prints: a -->", "cat"), None),
        (
            block("<!-- run; stays; prints: a -->", "echo a; sleep 999"),
            None,
        ),
        (
            block("<!-- run; stays; prints: b -->", "echo a"),
            Some("exit status: 1"),
        ),
        (block("<!-- run -->", "echo '{\"a\":1}'\n# {\"a\":…}"), None),
        (
            block("<!-- run -->", "echo '{\"a\":1}'\n# 200 {\"b\":…}"),
            Some("no answer"),
        ),
        (
            block("<!-- run -->", "x=a") + &block("<!-- run; prints: a -->", "echo $x"),
            None,
        ),
        (
            "<!-- run\nx=a\n-->\n".to_owned() + &block("<!-- run; prints: a -->", "echo $x"),
            None,
        ),
        (
            "<!-- file: a/b -->\n```text\nc\n```\n".to_owned()
                + &block("<!-- run; prints: c -->", "cat a/b"),
            None,
        ),
        (
            block("<!-- run; prints: 2 -->", "! echo 8080 | grep 8080"),
            Some("exit status: 1"),
        ),
    ] {
        let end = followed(&page);
        let fits = match (&end, complaint) {
            (Ok(()), None) => true,
            (Err(error), Some(complaint)) => error.contains(complaint),
            _ => false,
        };
        assert!(fits, "{page}: {end:?}");
    }
}

/// What an example is a file of, and the whole of that file: of a part of an agent, with what it needs.
fn file_of(example: &str) -> (&'static str, String) {
    let agent = ".duragent/agents/my-assistant/agent.yaml";
    let head = "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata: {name: my-assistant}\n";
    let model = "  model: {provider: echo, name: echo}\n";
    match example {
        whole if whole.contains("kind: Agent") => (agent, whole.to_owned()),
        whole if whole.contains("kind: Policy") => (".duragent/policy.yaml", whole.to_owned()),
        part if part.contains("spec:\n") => (agent, format!("{head}{part}{model}")),
        tool if tool.starts_with("    - ") => {
            (agent, format!("{head}spec:\n  tools:\n{tool}{model}"))
        }
        whole => ("duragent.yaml", whole.to_owned()),
    }
}

#[test]
fn every_example_of_a_file_is_one() {
    let mut wrong = Vec::new();
    let mut looked_at = 0;
    for (page, text) in pages() {
        let examples = text.split("```yaml\n").skip(1);
        for example in examples.filter_map(|rest| rest.split("```").next()) {
            // The owner's own file is no workspace's, and nothing looks at it alone.
            if example.starts_with("agents:\n  trust:") {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let (name, whole) = file_of(example);
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            for prompt in ["SOUL.md", "SYSTEM_PROMPT.md", "INSTRUCTIONS.md"] {
                fs::write(file.with_file_name(prompt), "A prompt.").unwrap();
            }
            fs::write(&file, whole).unwrap();
            let said = duragent(folder.path())
                .arg("validate")
                .arg(&file)
                .envs(variables_of(example).map(|name| (name, "http://127.0.0.1:1234")))
                .output_in_time()
                .unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            // The last two warn of what is right, and may be meant otherwise.
            let fine = ["is valid", "is not encrypted", "has no effect yet"];
            let is_fine = |line: &str| fine.iter().any(|words| line.contains(words));
            let lines = said.lines().filter(|line| !is_fine(line));
            wrong.extend(lines.map(|line| format!("{page}: {line}")));
            looked_at += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(looked_at > 10, "only {looked_at} examples were looked at");
}

/// The variables that a file names.
fn variables_of(text: &str) -> impl Iterator<Item = &str> {
    let named = text.split("${").skip(1);
    named.filter_map(|rest| rest.split(['}', ':']).next())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the project, by their names.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let named = |path: &PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    paths
        .iter()
        .map(|path| (named(path), fs::read_to_string(path).unwrap()))
        .collect()
}
