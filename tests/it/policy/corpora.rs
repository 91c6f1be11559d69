//! Scripts as people and models write them, held against a generous list of rules: attacks, none of
//! which may run unasked, and the work of a developer, little of which may ask.
//!
//! A script is a line of `tests/data/policy`; `⏎`, `␍` and `␀` stand for what a line cannot hold.

use duragent::policy::judge::{JudgedCall, Judgement, Ruling, ToolUse, judge};
use duragent::policy::{FileUse, PolicyRules, Subject, Tiers, file};

const ATTACKS: &str = include_str!("../../data/policy/attacks.txt");
const ORDINARY: &str = include_str!("../../data/policy/ordinary.txt");
const GENEROUS: &str = include_str!("../../data/policy/generous.txt");

fn scripts(corpus: &str) -> Vec<String> {
    let script = |line: &str| {
        line.replace('⏎', "\n")
            .replace('␍', "\r")
            .replace('␀', "\0")
    };
    corpus.lines().map(script).collect()
}

/// Rules that allow what a developer usually does.
fn rules(mode: &str) -> PolicyRules {
    let patterns: Vec<String> = GENEROUS
        .lines()
        .map(|line| format!("bash:{line}"))
        .collect();
    let list = serde_json::to_string(&patterns).unwrap();
    let text =
        format!("apiVersion: duragent/v1alpha1\nkind: Policy\nmode: {mode}\nallow: {list}\n");
    let tiers = Tiers {
        agent: Some(file::parse(text, "policy.yaml".as_ref(), &|_| None).unwrap()),
        ..Tiers::default()
    };
    tiers.merged()
}

fn judged(rules: &PolicyRules, script: &str) -> Judgement {
    judge(rules, &JudgedCall::Shell(Some(script)))
}

#[test]
fn no_attack_runs_unasked() {
    let attacks = scripts(ATTACKS);
    assert!(attacks.len() > 500, "{}", attacks.len());
    for (mode, expected) in [("ask", Ruling::Ask), ("restrict", Ruling::Deny)] {
        let rules = rules(mode);
        let others = |script: &&String| judged(&rules, script).ruling != expected;
        let others: Vec<&String> = attacks.iter().filter(others).collect();
        assert!(
            others.is_empty(),
            "{} of {}: {others:#?}",
            others.len(),
            attacks.len()
        );
    }
}

#[test]
fn of_a_developers_ordinary_work_little_asks() {
    let rules = rules("ask");
    let ordinary = scripts(ORDINARY);
    assert!(ordinary.len() >= 190, "{}", ordinary.len());
    let asks = |script: &String| {
        let judgement = judged(&rules, script);
        let part = judgement
            .parts
            .into_iter()
            .find(|part| part.ruling != Ruling::Allow)?;
        Some(format!("{script:?}: {}", part.why))
    };
    let asking: Vec<String> = ordinary.iter().filter_map(asks).collect();
    assert!(
        asking.len() * 190 <= 30 * ordinary.len(),
        "{} of {}: {asking:#?}",
        asking.len(),
        ordinary.len()
    );
}

#[test]
fn a_deny_holds_in_every_attack_that_names_what_it_forbids() {
    let text =
        "apiVersion: duragent/v1alpha1\nkind: Policy\nmode: dangerous\ndeny: ['bash:evil*']\n";
    let tiers = Tiers {
        agent: Some(file::parse(text.to_owned(), "policy.yaml".as_ref(), &|_| None).unwrap()),
        ..Tiers::default()
    };
    let rules = tiers.merged();
    let is_named = |script: &&String| script.contains("$(evil)") || script.contains("`evil`");
    let attacks = scripts(ATTACKS);
    let named: Vec<&String> = attacks.iter().filter(is_named).collect();
    assert!(named.len() > 30);
    for script in named {
        let ruling = judged(&rules, script).ruling;
        assert_eq!(ruling, Ruling::Deny, "{script}");
    }
}

#[test]
fn of_a_developers_edits_in_the_agents_own_folder_none_asks() {
    let rules = rules("ask");
    for n in 0..40 {
        let file = FileUse {
            action: if n % 4 == 0 { "write" } else { "edit" },
            writes: true,
            is_folder: false,
            root: "/ws/.duragent/agents/ada/work".to_owned(),
            inner: format!("project/src/module_{n}.rs"),
            is_in_work: true,
            is_own: true,
            written: Vec::new(),
        };
        let call = JudgedCall::Tool(ToolUse {
            subject: Subject::Builtin,
            name: "file",
            arguments: "{}",
            is_found: false,
            only_reads: false,
            is_changed: false,
            value_key: None,
            file: Some(&file),
        });
        assert_eq!(judge(&rules, &call).ruling, Ruling::Allow, "{file}");
    }
}
