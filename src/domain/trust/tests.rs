use super::*;

fn part(kind: Kind, content: &str) -> Part {
    Part {
        kind,
        place: "policy.yaml".to_owned(),
        content: content.to_owned(),
    }
}

fn brought(parts: &[(Kind, &str)]) -> Vec<Brought> {
    let one = |(kind, content): &(Kind, &str)| Brought {
        part: part(*kind, content),
        needs_trust: *kind == Kind::Rule,
    };
    parts.iter().map(one).collect()
}

fn granted(parts: &[(Kind, &str)]) -> Granted {
    let parts = parts.iter().map(|(kind, content)| part(*kind, content));
    Granted::Parts(parts.collect())
}

/// The rules that count of a file that says `now`, where `then` was granted.
fn counting(then: &[(Kind, &str)], now: &[(Kind, &str)]) -> Vec<String> {
    let now = brought(now);
    let granted = granted(then).within(&now);
    let rules = now.iter().filter(|one| one.part.kind == Kind::Rule);
    let counting = rules.filter(|one| granted.counts(&one.part));
    counting.map(|one| one.part.content.clone()).collect()
}

#[test]
fn what_stands_unchanged_goes_on_counting_and_what_was_added_waits() {
    let then = [(Kind::Rule, "bash:ls"), (Kind::Deny, "bash:rm *")];
    let now = [
        then[0],
        then[1],
        (Kind::Rule, "bash:*"),
        (Kind::Deny, "bash:git *"),
    ];
    assert_eq!(counting(&then, &now), ["bash:ls"]);
    assert_eq!(
        granted(&then).waiting(&brought(&now)),
        [part(Kind::Rule, "bash:*")]
    );
}

#[test]
fn without_a_deny_that_stood_there_or_in_a_looser_mode_no_rule_of_the_file_counts() {
    let rule = (Kind::Rule, "bash:ls");
    let deny = (Kind::Deny, "bash:rm *");
    let mode = |word| (Kind::Mode, word);
    for (then, now, counts) in [
        (vec![rule, deny], vec![rule, deny], true),
        (vec![rule, deny], vec![rule], false),
        (vec![rule], vec![rule, deny], true),
        (vec![rule, mode("restrict")], vec![rule], false),
        (vec![rule, mode("restrict")], vec![rule, mode("ask")], false),
        (vec![rule, mode("ask")], vec![rule], true),
        (vec![rule, mode("ask")], vec![rule, mode("restrict")], true),
        (vec![rule], vec![rule, mode("dangerous")], false),
        (
            vec![rule, mode("dangerous")],
            vec![rule, mode("dangerous")],
            true,
        ),
        (vec![rule, mode("dangerous")], vec![rule], true),
        (vec![rule], vec![rule, mode("${MODE}")], false),
    ] {
        assert_eq!(
            !counting(&then, &now).is_empty(),
            counts,
            "{then:?} {now:?}"
        );
    }
    // Another file's deny is another matter.
    let mut other = part(Kind::Deny, "bash:rm *");
    other.place = "policy.local.yaml".to_owned();
    let granted = Granted::Parts([other, part(Kind::Rule, "bash:ls")].into());
    let now = brought(&[rule]);
    assert!(granted.within(&now).counts(&now[0].part));
}

#[test]
fn a_record_is_of_one_folder() {
    let name = AgentName::parse("ada").unwrap();
    let mut record = GrantRecord::new("/w".into());
    let rule = part(Kind::Rule, "bash:ls");
    assert!(record.add(&name, "1", std::slice::from_ref(&rule)));
    assert!(record.granted(&name, "1").counts(&rule));
    assert_eq!(record.granted(&name, "2"), Granted::Nothing);
    assert!(!record.add(&name, "1", &[part(Kind::Rule, "x")]));
    assert!(record.granted(&name, "1").counts(&rule));
    assert!(!record.set(&name, "1", &[part(Kind::Rule, "x")]));
    assert!(!record.granted(&name, "1").counts(&rule));
    assert!(
        record.add(&name, "2", &[]),
        "another folder begins with nothing"
    );
    assert_eq!(record.granted(&name, "1"), Granted::Nothing);
    assert!(!record.granted(&name, "2").counts(&part(Kind::Rule, "x")));
}

#[test]
fn what_waits_is_said_in_a_sentence() {
    let rule = |text| part(Kind::Rule, text);
    assert_eq!(said_of("ada", &[]), None);
    assert_eq!(
        said_of("ada", &[rule("a")]).unwrap(),
        "ada brings 1 rule that does not count: `duragent agent trust ada`"
    );
    assert_eq!(
        said_of(
            "ada",
            &[
                rule("a"),
                rule("b"),
                part(Kind::Mode, "x"),
                part(Kind::Mcp, "y")
            ]
        )
        .unwrap(),
        "ada brings 2 rules, 1 mode and 1 MCP server that do not count: `duragent agent trust ada`"
    );
}

#[test]
fn each_row_says_when_its_values_count() {
    let counts = |rows: &[Row], path: &str, key: &str, word: Option<&str>| {
        let row = rows.iter().find(|row| row.path == path).unwrap();
        let word = |asked: &str| (asked == key).then(|| word.map(str::to_owned)).flatten();
        row.counts_always("", &word, &|url| url == "https://known")
    };
    for (path, key, word, expected) in [
        ("spec.model.base_url", "", Some("https://known"), true),
        ("spec.model.base_url", "", Some("https://evil"), false),
        (
            "spec.model.fallbacks[].base_url",
            "",
            Some("https://evil"),
            false,
        ),
        ("spec.access.dm.policy", "", Some("disabled"), true),
        ("spec.access.dm.policy", "", Some("open"), false),
        ("spec.access.dm.allowlist", "", None, false),
        ("spec.access.groups", "policy", Some("disabled"), true),
        ("spec.access.groups", "policy", None, true),
        ("spec.access.groups", "policy", Some("open"), false),
        ("spec.access.approvers", "", None, false),
        ("spec.tools[]", "type", Some("cli"), true),
        ("spec.tools[]", "type", Some("mcp"), false),
        ("spec.tools[].env", "", None, false),
    ] {
        assert_eq!(
            counts(AGENT_PARTS, path, key, word),
            expected,
            "{path} {word:?}"
        );
    }
    for (path, word, expected) in [
        ("deny[]", "x", true),
        ("mode", "restrict", true),
        ("mode", "dangerous", false),
        ("mode", "ask", true),
        ("allow[]", "x", false),
        ("notify", "x", false),
    ] {
        assert_eq!(
            counts(POLICY_PARTS, path, "", Some(word)),
            expected,
            "{path} {word}"
        );
    }
}
