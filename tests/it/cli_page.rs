//! `docs/cli.md` lists what `--help` tells: every command, flag, argument and word, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory as _};
use duragent::cli::args::Invocation;

use crate::support::process::{Limited as _, duragent};

/// The rows of a command's table: its words, such as `--port PORT`, and what stands in its row.
type Rows = BTreeMap<String, String>;

/// What a heading of the page names; the flags of all commands stand under this one.
const ALL: &str = "duragent";

#[test]
fn the_page_lists_what_help_tells_and_nothing_else() {
    let page = page();
    let mut told = BTreeMap::new();
    tell(&command(), ALL, &mut told);
    let words = |rows: &Rows| rows.keys().cloned().collect::<BTreeSet<String>>();
    let listed: BTreeMap<&String, BTreeSet<String>> = page
        .iter()
        .map(|(name, rows)| (name, words(rows)))
        .collect();
    let helped: BTreeMap<&String, BTreeSet<String>> = told
        .iter()
        .map(|(name, rows)| (name, words(rows)))
        .collect();
    let names = |of: &BTreeMap<&String, BTreeSet<String>>| -> BTreeSet<String> {
        of.keys().map(|name| (*name).clone()).collect()
    };
    assert_eq!(names(&listed), names(&helped));
    for (name, words) in &helped {
        assert_eq!(&listed[name], words, "{name}");
    }
}

#[test]
fn the_page_names_the_words_and_defaults_that_flags_have() {
    let page = page();
    let mut told = BTreeMap::new();
    tell(&command(), ALL, &mut told);
    let mut missing = Vec::new();
    for (name, rows) in &told {
        for (word, values) in rows {
            let row = page.get(name).and_then(|rows| rows.get(word));
            let row = row.map(String::as_str).unwrap_or_default();
            // Said once, for the command that it points to.
            if row.contains("as for `") {
                continue;
            }
            let lacks = values.split('\n').filter(|value| !value.is_empty());
            missing.extend(
                lacks
                    .filter(|value| !row.contains(&format!("`{value}`")))
                    .map(|value| format!("{name} {word}: `{value}`")),
            );
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn help_is_what_is_compared() {
    // Of the real program, for one of each depth.
    for (line, word) in [
        ("--help", "--agents-dir <DIR>"),
        ("chat --help", "-s <ID|URL>"),
        ("serve reload-agents --help", "-p, --port <PORT>"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = duragent(folder.path());
        let output = command.args(line.split(' ')).output_in_time().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(word), "{line}: {text}");
    }
}

fn command() -> Command {
    let mut command = Invocation::command();
    command.build();
    command
}

/// What `--help` tells of a command and all below it: of each word the values that it may have.
fn tell(command: &Command, name: &str, told: &mut BTreeMap<String, Rows>) {
    let is_root = name == ALL;
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let own = shown.filter(|arg| is_root || !is_for_all(arg));
    let rows: Rows = own
        .flat_map(|arg| words_of(arg).map(|word| (word, values_of(arg))))
        .collect();
    let mut below = command.get_subcommands().peekable();
    // One that is nothing but the beginning of others has no table.
    if !rows.is_empty() || below.peek().is_none() {
        told.insert(name.to_owned(), rows);
    }
    for one in below.filter(|one| !one.is_hide_set() && one.get_name() != "help") {
        tell(one, &format!("{name} {}", one.get_name()), told);
    }
}

fn is_for_all(arg: &Arg) -> bool {
    arg.is_global_set() || matches!(arg.get_action(), ArgAction::Help | ArgAction::HelpShort)
}

/// `-p` and `--port PORT`; `[ID]` and `NAME…` of what stands without a flag.
fn words_of(arg: &Arg) -> impl Iterator<Item = String> {
    let takes_one = arg.get_action().takes_values();
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map_or("", |name| name.as_str());
    let value = if takes_one {
        format!(" {name}")
    } else {
        String::new()
    };
    let long = arg.get_long().map(|long| format!("--{long}{value}"));
    let short = arg.get_short().map(|short| match arg.get_long() {
        Some(_) => format!("-{short}"),
        None => format!("-{short}{value}"),
    });
    let bare = arg.is_positional().then(|| {
        let one = if arg.is_required_set() {
            name.to_owned()
        } else {
            format!("[{name}]")
        };
        let takes_several = arg
            .get_num_args()
            .is_some_and(|count| count.max_values() > 1);
        let is_several = takes_several || matches!(arg.get_action(), ArgAction::Append);
        one + if is_several { "…" } else { "" }
    });
    short.into_iter().chain(long).chain(bare)
}

/// The words that an argument may have and its default, a line each.
fn values_of(arg: &Arg) -> String {
    let words = arg.get_possible_values().into_iter();
    let shown = words.filter(|word| !word.is_hide_set() && arg.get_action().takes_values());
    let defaults = arg
        .get_default_values()
        .iter()
        .filter(|_| arg.get_action().takes_values());
    let mut values: Vec<String> = shown.map(|word| word.get_name().to_owned()).collect();
    values.extend(defaults.map(|value| value.to_str().unwrap().to_owned()));
    values.join("\n")
}

// --- the page ---

/// Each command's table.
fn page() -> BTreeMap<String, Rows> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    read_page(&fs::read_to_string(path).unwrap())
}

fn read_page(text: &str) -> BTreeMap<String, Rows> {
    let mut page: BTreeMap<String, Rows> = BTreeMap::new();
    let mut name: Option<String> = None;
    for line in text.lines() {
        if line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim();
            let code = heading
                .strip_prefix('`')
                .and_then(|code| code.strip_suffix('`'));
            name = code
                .filter(|code| code.starts_with("duragent "))
                .map(str::to_owned);
            if let Some(name) = &name {
                page.entry(name.clone()).or_default();
            }
        } else if line.starts_with("| for all commands") {
            name = Some(ALL.to_owned());
        } else if !line.starts_with('|') && name.as_deref() == Some(ALL) {
            name = None;
        } else if let (true, Some(name)) = (line.starts_with("| `"), &name) {
            let line = line.replace("\\|", "\u{0}");
            let cells: Vec<&str> = line.split('|').collect();
            let rows = page.entry(name.clone()).or_default();
            for word in cells[1].split('`').skip(1).step_by(2) {
                rows.insert(word.replace('\u{0}', "|"), cells[2].replace('\u{0}', "|"));
            }
        }
    }
    page
}

#[test]
fn tables_are_found_under_their_commands() {
    let page = "| for all commands | |\n|---|---|\n| `-q`, `--quiet` | less |\n\n| `no` | |\n\
                ### `duragent chat`\n\nWords.\n\n| | |\n|---|---|\n| `-s ID\\|URL` | one `of` two |\n\
                ## More\n| `no` | |\n";
    let rows = |rows: &[(&str, &str)]| -> Rows {
        rows.iter()
            .map(|(word, row)| ((*word).into(), (*row).into()))
            .collect()
    };
    let expected = BTreeMap::from([
        (
            ALL.to_owned(),
            rows(&[("-q", " less "), ("--quiet", " less ")]),
        ),
        (
            "duragent chat".to_owned(),
            rows(&[("-s ID|URL", " one `of` two ")]),
        ),
    ]);
    assert_eq!(read_page(page), expected);
}
