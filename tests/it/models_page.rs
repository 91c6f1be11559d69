//! `docs/models.md` and the table in `docs/configuration.md` tell what the table of providers has.

use std::fs;
use std::path::Path;

use duragent::domain::providers::{Dialect, KNOWN, Known};
use duragent::domain::quirks::{CacheForm, CallIdForm, ReasoningBack};

fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    fs::read_to_string(docs.join(name)).unwrap()
}

#[test]
fn each_known_provider_has_its_section_with_its_host_and_its_keys() {
    let page = page("models.md");
    for known in KNOWN {
        let heading = format!("\n### `{}`\n", known.name);
        let (_, section) = page.split_once(&heading).expect(known.name);
        let (section, _) = section.split_once("\n### ").unwrap();
        let host = known.base_url.map(|url| url.split_once("://").unwrap().1);
        let host = host.map(|host| host.split('/').next().unwrap());
        // Of the further hosts one is told in words.
        for part in host.iter().chain(known.key_variables) {
            assert!(section.contains(*part), "{}: {part}", known.name);
        }
        for part in ["**Key**", "**Example**", "**Works**", "**Does not**"] {
            assert!(section.contains(part), "{}: {part}", known.name);
        }
    }
}

#[test]
fn the_table_of_providers_has_their_addresses_and_their_keys() {
    let page = page("configuration.md");
    for known in KNOWN {
        let start = format!("| `{}` | ", known.name);
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.expect(known.name);
        let keys: Vec<&str> = row.split('`').filter(|one| one.ends_with("_KEY")).collect();
        assert_eq!(keys, known.key_variables, "{row}");
        let url = known.base_url.unwrap_or_default();
        assert!(row.contains(url), "{row}");
        let needs_none = row.contains("none");
        assert_eq!(needs_none, !known.needs_key, "{row}");
    }
}

#[test]
fn the_table_of_quirks_names_those_who_have_them() {
    type Has = fn(&Known) -> bool;
    let page = page("models.md");
    let quirks: [(&str, Has); 11] = [
        ("`max_completion_tokens`", |one| one.quirks.has_newer_limit),
        ("the key in", |one| {
            one.dialect == Dialect::Anthropic || one.key_header.is_some()
        }),
        ("ids of calls", |one| {
            one.quirks.call_ids == CallIdForm::Nine
        }),
        ("a word of the assistant", |one| one.quirks.wants_bridge),
        ("no `stream_options`", |one| {
            one.dialect == Dialect::OpenAi && !one.quirks.counts_in_streams
        }),
        ("`reasoning_content`", |one| {
            one.quirks.reasoning == ReasoningBack::Content
        }),
        ("`reasoning_details`", |one| one.quirks.is_router),
        ("signatures", |one| {
            one.quirks.reasoning == ReasoningBack::Signatures
        }),
        ("a key for the cache", |one| {
            one.quirks.cache == CacheForm::Key
        }),
        ("its own interface", |one| one.dialect == Dialect::Ollama),
        ("printed calls", |one| one.quirks.prints_calls),
    ];
    for (quirk, has) in quirks {
        let start = format!("| {quirk}");
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row of {quirk}"));
        let told = row.split(" | ").nth(1).unwrap().split('`').skip(1);
        let mut told: Vec<&str> = told.step_by(2).collect();
        let known = KNOWN.iter().filter(|one| has(one)).map(|one| one.name);
        let mut known: Vec<&str> = known.collect();
        told.sort_unstable();
        known.sort_unstable();
        assert_eq!(told, known, "{row}");
    }
}
