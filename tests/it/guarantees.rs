//! `docs/guarantees.md` is true to the tests: each promise names those that prove it.

use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The promises: their headings, and the tests that they name.
fn promises() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let sections = page.split("\n## ").skip(1);
    sections
        .map(|section| {
            let heading = section.lines().next().unwrap().to_owned();
            // What stands between backticks is every second piece.
            let quoted = section.split('`').skip(1).step_by(2);
            let tests = quoted.filter(|word| is_test_path(word));
            (heading, tests.map(str::to_owned).collect())
        })
        .collect()
}

fn is_test_path(word: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    word.contains("::") && word.bytes().all(|byte| is_name(byte) || byte == b':')
}

/// Whether `module::…::name` is a test that runs with all others; with `src::` before it, one beside
/// the code.
fn runs(path: &str) -> bool {
    let (module, name) = path.rsplit_once("::").unwrap();
    let file = module.replace("::", "/");
    let files = if module.starts_with("src::") {
        vec![format!("{file}.rs"), format!("{file}/tests.rs")]
    } else {
        vec![format!("tests/it/{file}.rs")]
    };
    // Behind it stands what a property is tried with, if it is one.
    let head = format!("fn {name}(");
    files.iter().any(|file| {
        let source = fs::read_to_string(root().join(file)).unwrap_or_default();
        let lines: Vec<&str> = source.lines().map(str::trim).collect();
        let mut pairs = lines.windows(2);
        pairs.any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&head))
    })
}

#[test]
fn each_promise_names_tests_and_they_all_run() {
    let promises = promises();
    assert!(promises.len() >= 8, "{promises:?}");
    for (heading, tests) in promises {
        assert!(!tests.is_empty(), "no test proves: {heading}");
        for test in tests {
            assert!(runs(&test), "{heading}: there is no test {test} that runs");
        }
    }
}

#[test]
fn a_test_that_is_missing_or_ignored_does_not_count() {
    assert!(runs("crash::a_kill_right_after_done_repeats_nothing"));
    assert!(runs(
        "src::engine::turn::reply::of_a_reply_in_flight_a_power_cut_takes_a_second_at_most"
    ));
    assert!(!runs("src::engine::turn::reply::of_a_reply_in_flight"));
    assert!(!runs("crash::a_kill_right_after_done"));
    assert!(!runs("nowhere::a_kill_right_after_done_repeats_nothing"));
    assert!(!runs("clients::a_client_that_reads_nothing_is_cut_off"));
}
