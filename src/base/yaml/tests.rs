use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::read::section;
use super::read::{At, FromYaml, Report, plain, read_document};
use super::tree::{Document, Node, Value};
use super::*;

section! {
    /// A file to be read.
    plain section File {
        "name" => name: String,
        "port" => port: u64,
        "ratio" => ratio: f64,
        "on" => on: bool,
        "words" => words: Vec<At<String>>,
        "labels" => labels: BTreeMap<String, At<String>>,
        "guard" => guard: Guard,
        "items" => items: Vec<At<Item>>,
    }
}

section! {
    /// Unknown keys are errors in here.
    guarded section Guard {
        "rule" => rule: String,
        "below" => below: Item,
    }
}

section! {
    /// One of a list.
    plain section Item {
        "name" => name: String,
    }
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "YES" => Some("true".to_owned()),
        "YAML" => Some("a: {b: [c".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// What is read from `text`, and what is said about it, without the file's name.
fn read(text: &str) -> (Option<File>, Vec<String>) {
    let mut report = Report::new(Level::Warning);
    let path = Path::new("f");
    let said = |problem: &Problem| {
        let line = problem.to_string();
        line.strip_prefix("f:").unwrap_or(&line).to_owned()
    };
    match read_document::<File>(text.to_owned(), path, &environment, &mut report) {
        Err(problem) => (None, vec![said(&problem)]),
        Ok((document, file)) => {
            let problems = report.finish(&document, path);
            (plain(file), problems.iter().map(said).collect())
        }
    }
}

/// The texts of a document with their places, in its order.
fn places(text: &str) -> Vec<String> {
    fn collect(document: &Document, node: &Node, found: &mut Vec<String>) {
        let position = document.locate(node.id);
        match &node.value {
            Value::Scalar(scalar) => found.push(format!("{position} {}", scalar.text)),
            Value::List(items) => {
                found.push(format!("{position} []"));
                items.iter().for_each(|item| collect(document, item, found));
            }
            Value::Map(entries) => {
                found.push(format!("{position} {{}}"));
                for (key, value) in entries {
                    collect(document, key, found);
                    collect(document, value, found);
                }
            }
        }
    }
    let document = Document::parse(text.to_owned()).unwrap();
    let mut found = Vec::new();
    collect(&document, &document.root, &mut found);
    found
}

#[test]
fn every_value_knows_its_place() {
    for (text, expected) in [
        ("a: 1", vec!["1:1 {}", "1:1 a", "1:4 1"]),
        (
            "# first\na:\n  - b: x # why\n    'c d': \"y\"\n",
            vec![
                "2:1 {}", "2:1 a", "3:3 []", "3:5 {}", "3:5 b", "3:8 x", "4:5 c d", "4:12 y",
            ],
        ),
        (
            "f: {a: 1, \"b\": [x, y]}\n",
            vec![
                "1:1 {}", "1:1 f", "1:4 {}", "1:5 a", "1:8 1", "1:11 b", "1:16 []", "1:17 x",
                "1:20 y",
            ],
        ),
        (
            "t: |\n  one: 1\n  two\nu: >-\n  x\n  y\nv: end",
            vec![
                "1:1 {}",
                "1:1 t",
                "1:4 one: 1\ntwo\n",
                "4:1 u",
                "4:4 x y",
                "7:1 v",
                "7:4 end",
            ],
        ),
        (
            "ä: ö\nß: [é, x]",
            vec![
                "1:1 {}", "1:1 ä", "1:4 ö", "2:1 ß", "2:4 []", "2:5 é", "2:8 x",
            ],
        ),
        (
            "- ä\n- &x |\n\n  b\n- >-\n    c\n- d",
            vec!["1:1 []", "1:3 ä", "2:3 \nb\n", "5:3 c", "7:3 d"],
        ),
        // An alias stands for what it names, and that is where the text is.
        (
            "a: &x word\nb: *x",
            vec!["1:1 {}", "1:1 a", "1:4 word", "2:1 b", "1:4 word"],
        ),
        (
            "a: 1\r\nb: 2\r\n",
            vec!["1:1 {}", "1:1 a", "1:4 1", "2:1 b", "2:4 2"],
        ),
        ("", vec!["1:1 "]),
        ("# nothing\n", vec!["1:1 "]),
    ] {
        assert_eq!(places(text), expected, "{text}");
    }
}

#[test]
fn scalars_are_kept_as_they_are_written() {
    let text = "[1.10, 0x10, 'true', True, 007, -5, 1e3, ~, 99999999999999999999999999]";
    let found: Vec<String> = places(text)
        .iter()
        .map(|one| one.split_once(' ').unwrap().1.to_owned())
        .collect();
    assert_eq!(
        found,
        [
            "[]",
            "1.10",
            "0x10",
            "true",
            "True",
            "007",
            "-5",
            "1e3",
            "~",
            "99999999999999999999999999"
        ]
    );
}

#[test]
fn what_is_no_plain_document_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "a: [1",
            "2:1: while parsing a flow sequence, expected ',' or ']'",
        ),
        (
            "a: 1\n b: 2",
            "2:3: mapping values are not allowed in this context",
        ),
        ("a: 1\na: 2", "2:1: the key `a` is given twice"),
        ("x: {a: 1, 'a': 2}", "1:11: the key `a` is given twice"),
        (
            "a: &x {b: 1}\nc:\n  <<: *x",
            "3:3: merge keys (`<<`) are not supported",
        ),
        ("[a]: 1", "1:1: a key must be a text"),
        (
            "a:\n  b: !secret x",
            "2:6: tags (`!name`) are not supported",
        ),
        ("a: *x", "1:4: while parsing node, found unknown anchor"),
        (
            "a: &x [*x]",
            "1:8: an alias stands for what it is a part of",
        ),
        (
            "a: 1\n---\nb: 2",
            "2:1: more than one document is not supported",
        ),
        ("@", "1:1: unexpected character: `@'"),
    ] {
        let (file, problems) = read(text);
        assert!(file.is_none(), "{text}");
        assert_eq!(problems, [expected], "{text}");
    }
}

#[test]
fn aliases_cannot_stand_for_more_than_the_limits() {
    let long = "x".repeat(100_000);
    let one_long_text = format!("a: &x {long}\nb: [{}]", "*x,".repeat(5_000));
    let mut deep = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let aliases = format!("*a{},", level - 1).repeat(9);
        deep.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    for (bomb, reason) in [
        (
            &one_long_text,
            "too many values, or aliases that stand for too much",
        ),
        (&deep, "too many values, or aliases that stand for too much"),
    ] {
        assert_eq!(Document::parse(bomb.clone()).unwrap_err().message, reason);
        let refused = from_str::<serde_json::Value>(bomb).unwrap_err();
        assert_eq!(refused.message, reason);
    }
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(
        from_str::<String>(&long).unwrap_err().to_string(),
        "longer than 1024 KiB"
    );
    assert_eq!(
        Document::parse(long).unwrap_err().to_string(),
        "longer than 1024 KiB"
    );
}

/// Texts of about `bytes` bytes that could cost more than their length.
fn costly(bytes: usize) -> Vec<(&'static str, String)> {
    let times = |unit: &str| unit.repeat(bytes / unit.len());
    let numbered = |line: &dyn Fn(usize) -> String| -> String {
        let length = line(10_000).len();
        (0..bytes / length).map(line).collect()
    };
    let half = "x".repeat(bytes / 2);
    vec![
        ("open lists", times("[")),
        ("open maps", times("{")),
        ("open maps with keys", times("{a: ")),
        ("flow questions", format!("[{}", times("? "))),
        ("lists in a line", times("- ")),
        ("questions in a line", times("? ")),
        ("keys in a line", times("a: ")),
        (
            "deep keys",
            (0..bytes / 100)
                .map(|n| " ".repeat(n % 100) + "a:\n")
                .collect(),
        ),
        ("a flow list", format!("[{}]", times("a,"))),
        ("pairs", format!("[{}]", times("a: b,"))),
        ("quoted items", format!("[{}]", times("\"x\","))),
        (
            "a flow map",
            format!("{{{}}}", numbered(&|n| format!("k{n}: 1,"))),
        ),
        ("unknown keys", numbered(&|n| format!("k{n}: 1\n"))),
        (
            "unknown keys that are nearly known",
            numbered(&|n| format!("pott{n}: 1\n")),
        ),
        (
            "unknown guarded keys",
            format!("guard:\n{}", numbered(&|n| format!("  k{n}: 1\n"))),
        ),
        ("wrong values", format!("words: [{}]", times("[],"))),
        (
            "wrong labels",
            format!("labels: {{{}}}", numbered(&|n| format!("k{n}: [],"))),
        ),
        ("the same key", times("k: 1\n")),
        (
            "unset variables",
            format!("words:\n{}", times("- ${NONE}\n")),
        ),
        (
            "unset variables below a long key",
            format!("x:\n  {half}:\n{}", "  - ${NONE}\n".repeat(bytes / 26)),
        ),
        (
            "variables in a text",
            format!("name: '{}'", times("${PORT}")),
        ),
        ("open variables", format!("name: '{}'", times("${a"))),
        (
            "items below a long key",
            format!("? {half}\n:\n{}", "- a\n".repeat(bytes / 8)),
        ),
        ("anchors", numbered(&|n| format!("k{n}: &a{n} x\n"))),
        ("aliases", format!("a: &a x\nb:\n{}", times("- *a\n"))),
        (
            "anchors in anchors",
            format!("a: {}x{}", "&a [".repeat(15), "]".repeat(15)) + &times(" "),
        ),
        ("unknown aliases", times("*a ")),
        ("tags", numbered(&|n| format!("k{n}: !t{n} x\n"))),
        ("marks", times("!")),
        (
            "directives",
            numbered(&|n| format!("%TAG !a{n}! x\n")) + "--- a\n",
        ),
        ("documents", times("--- a\n")),
        ("a block text", format!("name: |\n{}", times("  x\n"))),
        ("a folded text", format!("name: >\n{}", times("  x\n\n"))),
        ("a text over lines", format!("name: x\n{}", times("  x\n"))),
        ("quotes", format!("name: '{}'", times("''"))),
        ("escapes", format!("name: \"{}\"", times("\\u0041"))),
        ("comments", times("# x\n") + "name: x"),
        ("line ends", times("\n")),
        ("carriage returns", times("\r")),
        ("blanks", times(" ") + "name: x"),
        ("tabs", times("\t")),
        ("one word", times("x")),
        ("one anchor", format!("&{} x", times("a"))),
        ("byte order marks", times("\u{feff}")),
    ]
}

/// The processor time of the calling thread for `work`, the least of some tries.
fn cost(mut work: impl FnMut()) -> std::time::Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = || std::time::Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let tries = (0..2).map(|_| {
        let before = now();
        work();
        now() - before
    });
    tries.min().unwrap()
}

#[test]
fn eight_times_the_text_costs_about_eight_times_as_much() {
    /// Less cannot be measured.
    const LEAST: std::time::Duration = std::time::Duration::from_millis(1);
    let (small, large) = (costly(8_000), costly(64_000));
    type Way = (&'static str, fn(&str));
    let ways: [Way; 2] = [
        ("a document", |text| drop(read(text))),
        ("a file of ours", |text| {
            drop(from_str::<serde_json::Value>(text))
        }),
    ];
    for ((name, small), (_, large)) in small.iter().zip(&large) {
        for (way, read) in ways {
            let few = cost(|| read(small)).max(LEAST);
            let many = cost(|| read(large));
            assert!(many < few * 24, "{name} as {way}: {few:?}, then {many:?}");
        }
    }
}

#[test]
fn what_is_written_can_be_read_back() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Shape {
        Unit,
        Text(String),
        Pair { left: u8, right: Option<bool> },
    }
    let value = vec![
        Shape::Unit,
        Shape::Text("**bold** and *not an alias\n: # 'x'".to_owned()),
        Shape::Pair {
            left: 1,
            right: None,
        },
    ];
    let text = to_string(&value).unwrap();
    assert_eq!(from_str::<Vec<Shape>>(&text).unwrap(), value);
    let error = from_str::<BTreeMap<String, u8>>("a: 1\nb: x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "2:4: b: invalid type: string \"x\", expected u8"
    );
}

#[test]
fn every_problem_is_reported_with_its_place() {
    for (text, expected) in [
        (
            "prot: 1",
            vec!["1:1: unknown key `prot`; did you mean `port`?"],
        ),
        ("zebra: 1", vec!["1:1: unknown key `zebra`"]),
        (
            "port: eighty",
            vec!["1:7: `port` must be a whole number, 0 or more, not a text"],
        ),
        (
            "port: -1",
            vec!["1:7: `port` must be a whole number, 0 or more, not a number"],
        ),
        (
            "port: '1'",
            vec!["1:7: `port` must be a whole number, 0 or more, not a text"],
        ),
        (
            "on: yes",
            vec!["1:5: `on` must be `true` or `false`, not a text"],
        ),
        (
            "ratio: [1]",
            vec!["1:8: `ratio` must be a number, not a list"],
        ),
        (
            "name: {a: b}",
            vec!["1:7: `name` must be a text, not a mapping"],
        ),
        ("words: x", vec!["1:8: `words` must be a list, not a text"]),
        (
            "words:\n- a\n-\n- [b]",
            vec![
                "3:2: `words[1]` must be a text, not nothing",
                "4:3: `words[2]` must be a text, not a list",
            ],
        ),
        (
            "labels: []",
            vec!["1:9: `labels` must be a mapping, not a list"],
        ),
        (
            "labels: {a: []}",
            vec!["1:13: `labels.a` must be a text, not a list"],
        ),
        ("- a", vec!["1:1: the file must be a mapping, not a list"]),
        (
            "items:\n  - name: a\n    nmae: b",
            vec!["3:5: unknown key `items[0].nmae`; did you mean `name`?"],
        ),
        (
            "guard: {below: {x: 1}}\nport: x\nprot: 1",
            vec![
                "1:17: unknown key `guard.below.x`",
                "2:7: `port` must be a whole number, 0 or more, not a text",
                "3:1: unknown key `prot`; did you mean `port`?",
            ],
        ),
        (
            "name: ${NONE}",
            vec!["1:7: `name` needs the environment variable `NONE`, which is not set"],
        ),
        (
            "words: [a, 'b ${PORT']",
            vec!["1:12: `words[1]` has a `${` that is not closed by `}`"],
        ),
    ] {
        assert_eq!(read(text).1, expected, "{text}");
    }
}

#[test]
fn unknown_keys_are_errors_only_where_they_would_disarm_something() {
    for (text, level) in [
        ("x: 1", Level::Warning),
        ("guard: {x: 1}", Level::Error),
        ("guard: {below: {x: 1}}", Level::Error),
    ] {
        let mut report = Report::new(Level::Warning);
        let path = Path::new("f");
        let (document, _) =
            read_document::<File>(text.to_owned(), path, &environment, &mut report).unwrap();
        assert_eq!(report.has_errors(), level == Level::Error);
        assert_eq!(report.finish(&document, path)[0].level, level, "{text}");
    }
}

#[test]
fn variables_are_texts_unless_a_number_is_wanted() {
    let text = "name: ${PORT}\nport: ${PORT}\nratio: ${NONE:-0.5}\non: \"${YES}\"\n\
                words: [1.10, '${YAML}', 'a ${PORT}', '$${x}']\n# ${NONE} ${\n";
    let (file, problems) = read(text);
    assert_eq!(problems, [""; 0]);
    let file = file.unwrap();
    assert_eq!(plain(file.name).as_deref(), Some("8080"));
    assert_eq!(plain(file.port), Some(8080));
    assert_eq!(plain(file.ratio), Some(0.5));
    assert_eq!(plain(file.on), Some(true));
    let words: Vec<String> = plain(file.words)
        .unwrap()
        .into_iter()
        .map(|at| at.value)
        .collect();
    assert_eq!(words, ["1.10", "a: {b: [c", "a 8080", "${x}"]);
}

#[test]
fn lists_maps_and_sections_are_read() {
    let text = "labels: {a: 1.0, b: x}\nguard: {rule: r, below: {name: n}}\n\
                items:\n- name: first\n- {}\n";
    let (file, problems) = read(text);
    assert_eq!(problems, [""; 0]);
    let file = file.unwrap();
    let labels = plain(file.labels).unwrap();
    assert_eq!(labels["a"].value, "1.0");
    assert_eq!(labels["b"].key, "labels.b");
    let guard = plain(file.guard).unwrap();
    assert_eq!(plain(guard.rule).as_deref(), Some("r"));
    let below = plain(guard.below).unwrap();
    assert_eq!(plain(below.name).as_deref(), Some("n"));
    let items = plain(file.items).unwrap();
    let names: Vec<Option<String>> = items.into_iter().map(|at| plain(at.value.name)).collect();
    assert_eq!(names, [Some("first".to_owned()), None]);
}

#[test]
fn an_empty_variable_is_as_no_value() {
    let (file, problems) = read("name: ${EMPTY}\nport: ${NONE:-}\n");
    assert_eq!(problems, [""; 0]);
    let file = file.unwrap();
    assert_eq!((file.name, file.port), (None, None));
}

#[test]
fn a_number_that_is_wanted_and_not_given_is_refused_without_being_shown() {
    let (_, problems) = read("port: ${YAML}");
    assert_eq!(
        problems,
        ["1:7: `port` must be a whole number, 0 or more, not a text"]
    );
}

#[test]
fn only_the_first_fifty_problems_are_told_and_errors_before_warnings() {
    let mut text: String = (0..100).map(|n| format!("zz{n}: 1\n")).collect();
    text.push_str("port: x\n");
    let (_, problems) = read(&text);
    assert_eq!(problems.len(), 51);
    assert_eq!(
        problems[49],
        "101:7: `port` must be a whole number, 0 or more, not a text"
    );
    assert_eq!(problems[50], " 51 more problems");
}

#[test]
fn a_deep_document_is_refused_and_not_a_stack_overflow() {
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let thread = std::thread::Builder::new().stack_size(crate::base::thread::STACK_SMALL);
    let parse = move || {
        [16, 17, 10_000].map(|levels| {
            let parsed = Document::parse(nested(levels));
            parsed.map(|_| ()).map_err(|error| error.to_string())
        })
    };
    let parsed = thread.spawn(parse).unwrap().join().unwrap();
    let refused = |column| Err(format!("1:{column}: too deep"));
    assert_eq!(parsed, [Ok(()), refused(17), refused(256)]);
}

#[test]
fn the_keys_of_a_section_are_listed() {
    let mut found = Vec::new();
    File::keys("", &mut found);
    assert_eq!(
        found,
        [
            "name",
            "port",
            "ratio",
            "on",
            "words",
            "labels",
            "guard.rule",
            "guard.below.name",
            "guard.below",
            "guard",
            "items[].name",
            "items",
        ]
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9:{}\\[\\], \n\t'\"&*!|>#%@`$~<-]{0,80}|\\PC{0,40}") {
        let (_, problems) = read(&text);
        prop_assert!(problems.len() <= 51);
    }

    #[test]
    fn a_variable_never_becomes_yaml(value in "\\PC{1,40}") {
        let environment = |_: &str| Some(value.clone());
        let mut report = Report::new(Level::Warning);
        let text = "name: ${X}\n".to_owned();
        let (_, file) =
            read_document::<File>(text, Path::new("f"), &environment, &mut report).unwrap();
        prop_assert_eq!(plain(plain(file).unwrap().name).unwrap(), value);
    }
}

#[test]
fn a_tab_is_called_a_tab() {
    for (text, line, column) in [
        ("a:\n\tb: 1\n", 2, 1),
        ("a:\n  b: 1\n\tc: 2\n", 3, 1),
        ("a: 1\n\tb: 2\n", 2, 1),
        ("a:\n\t- b\n", 2, 1),
    ] {
        let error = Document::parse(text.to_owned()).unwrap_err();
        assert!(
            error.message.contains("a tab stands here"),
            "{text:?}: {error}"
        );
        assert_eq!(error.position, Some(Position { line, column }), "{text:?}");
    }
    for text in ["a: \"\tb\"\n", "a: x\ty\n"] {
        assert!(Document::parse(text.to_owned()).is_ok(), "{text:?}");
    }
    let other = Document::parse("a: b: c\n".to_owned()).unwrap_err();
    assert!(!other.message.contains("tab"), "{other}");
}
