//! What runs unasked was judged, each command of it: held against bash itself.
//!
//! Scripts are made at random from all constructs of bash, in every position, and spoilt. Those that
//! a policy allows are run by real bash, in a mount namespace with nothing in it but bash and
//! programs that take themselves down, wherever a path may lead. Each command that was taken down is
//! judged again as it ran, word by word: it must be allowed as well. And nothing else may have been
//! left behind: no file, and in the environment no variable that steers a program.
//!
//! A script is made from a number, so that a failure can be tried again: `SHELL_PROOF_SEED=N`.

mod scripts;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use duragent::policy::judge::{JudgedCall, Judgement, Ruling, judge};
use duragent::policy::{PolicyRules, Tiers, file};

use scripts::Scripts;
use stage::{Ran, Stage};

/// A list as a generous owner writes it: some programs whole, some in part, and some that run
/// others, which no pattern may allow.
const GENEROUS: &[&str] = &[
    "s0",
    "s1 a*",
    "s2",
    "ls",
    "cat",
    "echo",
    "grep",
    "git log",
    "git diff",
    "git status",
    "find",
    "sort",
    "uniq",
    "sed",
    "tar",
    "make",
    "tree",
    "man",
    "test",
    "\\[",
    "printf",
    "cd",
    "export",
    "set",
    "read",
    "declare",
    "timeout",
    "nice",
    "xargs",
    "env",
    "bash",
    "eval",
    "exec",
    "command",
    "trap",
    "true",
];

/// What is denied where all else runs.
const DENIED: &[&str] = &["s5", "git log", "find *-exec*"];

/// Who may do what.
struct Policy {
    rules: PolicyRules,
    /// Whether whatever is not denied runs, and so may write files and set variables.
    is_dangerous: bool,
}

impl Policy {
    fn generous() -> Policy {
        let patterns = GENEROUS
            .iter()
            .flat_map(|name| [format!("bash:{name}"), format!("bash:{name} *")]);
        Policy {
            rules: rules(&list("allow", patterns)),
            is_dangerous: false,
        }
    }

    fn dangerous() -> Policy {
        let patterns = DENIED
            .iter()
            .flat_map(|name| [format!("bash:{name}"), format!("bash:{name} *")]);
        Policy {
            rules: rules(&format!("mode: dangerous\n{}", list("deny", patterns))),
            is_dangerous: true,
        }
    }
}

fn list(key: &str, patterns: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = patterns.map(|pattern| format!("- '{pattern}'\n")).collect();
    format!("{key}:\n{}", lines.concat())
}

fn rules(text: &str) -> PolicyRules {
    let text = format!("apiVersion: duragent/v1alpha1\nkind: Policy\n{text}");
    let tier = file::parse(text, Path::new("policy.yaml"), &|_| None).unwrap();
    let tiers = Tiers {
        workspace: Some(tier),
        ..Tiers::default()
    };
    tiers.merged()
}

fn judged(rules: &PolicyRules, script: &str) -> Judgement {
    judge(rules, &JudgedCall::Shell(Some(script)))
}

/// A command line that bash reads as exactly these words.
fn literal(words: &[String]) -> String {
    let quoted = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// How many scripts were judged, and how many of them were run.
#[derive(Debug, Default)]
struct Tally {
    made: u64,
    allowed: u64,
    commands: u64,
}

/// Tries scripts until `is_enough`; panics at the first that runs what was not allowed.
fn prove(policy: &Policy, first: u64, mut is_enough: impl FnMut(&Tally) -> bool) -> Tally {
    let rules = &policy.rules;
    let stage = Stage::new();
    let mut tally = Tally::default();
    let mut seed = first;
    while !is_enough(&tally) {
        let script = Scripts::with_seed(seed).script();
        tally.made += 1;
        if judged(rules, &script).ruling == Ruling::Allow {
            tally.allowed += 1;
            let ran = stage.run(&script);
            tally.commands += ran.commands.len() as u64;
            if let Err(why) = all_was_judged(policy, &ran) {
                panic!("SHELL_PROOF_SEED={seed}\n--- the script ---\n{script}\n--- {why}");
            }
        }
        seed += 1;
    }
    tally
}

fn all_was_judged(policy: &Policy, ran: &Ran) -> Result<(), String> {
    for command in &ran.commands {
        let line = literal(&command.words);
        if policy.is_dangerous {
            // A denial reads more into a text than runs.
            if is_denied(&command.words) {
                return Err(format!("it ran {line}"));
            }
            continue;
        }
        let judgement = judged(&policy.rules, &line);
        if judgement.ruling != Ruling::Allow {
            let parts = judgement.parts.iter();
            let why: Vec<String> = parts.map(|part| part.why.to_string()).collect();
            return Err(format!("it ran {line}: {why:?}"));
        }
        if let Some(variable) = &command.steered_by {
            return Err(format!("it ran {line} with {variable}"));
        }
    }
    if ran.left_behind.is_empty() || policy.is_dangerous {
        Ok(())
    } else {
        Err(format!("it left {:?}", ran.left_behind))
    }
}

/// Whether a command that ran is one of [`DENIED`].
fn is_denied(words: &[String]) -> bool {
    let (path, arguments) = words.split_first().unwrap();
    match path.rsplit('/').next().unwrap() {
        "s5" => true,
        "git" => arguments.first().is_some_and(|first| first == "log"),
        "find" => arguments.iter().any(|word| word.starts_with("-exec")),
        _ => false,
    }
}

/// The number given from outside, or one that each run of the tests has for itself.
fn seed() -> u64 {
    let asked = std::env::var("SHELL_PROOF_SEED").ok();
    asked
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..1 << 40))
}

/// So many scripts, or as many as can be tried meanwhile on a busy machine.
fn some(count: u64) -> impl FnMut(&Tally) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    move |tally| tally.made >= count || Instant::now() > deadline
}

#[test]
fn what_runs_unasked_was_allowed_word_for_word() {
    let tally = prove(&Policy::generous(), seed(), some(6000));
    // Or it would prove nothing.
    assert!(
        tally.allowed * 20 > tally.made && tally.commands > 0,
        "{tally:?}"
    );
}

#[test]
fn what_runs_unasked_was_not_denied_where_all_else_is_allowed() {
    let tally = prove(&Policy::dangerous(), seed(), some(1500));
    assert!(
        tally.allowed * 20 > tally.made && tally.commands > 0,
        "{tally:?}"
    );
}

/// For `make prove-shell`.
#[test]
#[ignore = "it takes as long as it is given"]
fn for_as_long_as_is_wanted() {
    let asked = std::env::var("SHELL_PROOF_SECONDS").ok();
    let seconds = asked.and_then(|text| text.parse().ok()).unwrap_or(3600);
    let half = Duration::from_secs(seconds) / 2;
    for policy in [Policy::generous(), Policy::dangerous()] {
        let deadline = Instant::now() + half;
        let tally = prove(&policy, seed(), |_| Instant::now() > deadline);
        eprintln!("{tally:?}");
    }
}

#[test]
fn the_stage_sees_what_runs_wherever_it_lies_and_what_is_left() {
    let stage = Stage::new();
    let seen = |script: &str| {
        let mut commands = stage.run(script).commands;
        commands.sort_by(|one, other| one.words.cmp(&other.words));
        let words = commands.into_iter().map(|command| command.words.join(" "));
        words.collect::<Vec<_>>()
    };
    assert_eq!(
        seen("s0 'a b' | s1 & (s2) >/dev/null; wait; s9"),
        ["s0 a b", "s1", "s2"]
    );
    assert_eq!(seen("for PATH in evil; do git log; done"), ["evil/git log"]);
    assert_eq!(
        seen("./evil/git x; ~/git y; /bin/git z"),
        ["./evil/git x", "/home/git y", "git z"]
    );
    assert_eq!(
        seen("timeout 5 nice s5 x"),
        ["nice s5 x", "s5 x", "timeout 5 nice s5 x"]
    );
    assert_eq!(seen("x=a[0]; case $((x)) in ${y:=`s5`}) ;; esac"), ["s5"]);
    let ran = stage.run("GIT_PAGER=s5 git log; > new");
    assert_eq!(ran.commands[0].steered_by.as_deref(), Some("GIT_PAGER=s5"));
    assert_eq!(ran.left_behind, ["new"]);
}

#[test]
fn a_script_follows_from_its_number() {
    for seed in 0..100 {
        let made = || Scripts::with_seed(seed).script();
        assert_eq!(made(), made());
    }
}
