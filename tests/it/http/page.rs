//! `docs/api.md` is true: its tables are those of the code, its routes those of the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use duragent::domain::code::{FailureCode, NoticeCode};
use duragent::domain::event::FinishReason;
use duragent::http::route::ApiRoute;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap()
}

/// What stands between backticks at the beginning of the rows of the table below a heading.
fn first_column(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no {heading}"));
    let rows = section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

fn assert_same<'a>(page: &str, heading: &str, words: impl Iterator<Item = &'a str>) {
    let of_code: BTreeSet<&str> = words.collect();
    let column = first_column(page, heading);
    let of_page: BTreeSet<&str> = column.iter().map(String::as_str).collect();
    assert_eq!(of_page, of_code, "{heading}");
}

#[test]
fn the_page_has_every_code_and_every_reason_and_no_other() {
    let page = page();
    let notices = NoticeCode::ALL.iter().map(|code| code.as_str());
    assert_same(&page, "### Codes of notices", notices);
    let failures = FailureCode::ALL.iter().map(|code| code.as_str());
    assert_same(&page, "### Codes of errors", failures);
    let reasons = FinishReason::ALL.iter().map(|reason| reason.as_str());
    assert_same(&page, "### Finish reasons", reasons);
}

#[test]
fn the_page_has_every_route_that_its_paths_answer_to() {
    const ID: &str = "session_01J0000000000000000000000A";
    let concrete = |path: &str| {
        let path = path.replace("{id}", ID).replace("{name}", "a");
        let path = path.replace("{number}", "7");
        path.replace("{file}", &"a".repeat(64))
    };
    let page = page();
    let routes = first_column(&page, "## Routes");
    let mut paths: BTreeSet<&str> = BTreeSet::new();
    for route in &routes {
        let (method, path) = route.split_once(' ').unwrap();
        let concrete = concrete(path);
        let parsed = ApiRoute::parse(method, &concrete);
        assert!(parsed.is_ok(), "{route}: {parsed:?}");
        paths.insert(path);
    }
    for path in paths {
        let concrete = concrete(path);
        let Ok(ApiRoute::Options(allow)) = ApiRoute::parse("OPTIONS", &concrete) else {
            panic!("{path} has no options");
        };
        for method in allow.split(", ") {
            let is_shown = routes.contains(&format!("{method} {path}"));
            assert!(
                is_shown || ["HEAD", "OPTIONS"].contains(&method),
                "{method} {path}"
            );
        }
    }
    // What is named as not served is not.
    for path in ["/metrics", "/openapi.yaml"] {
        let is_served = ApiRoute::parse("GET", path).is_ok();
        assert!(!is_served && page.contains("are not served yet"), "{path}");
    }
}
