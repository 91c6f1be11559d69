use super::*;
use crate::policy::file;
use crate::policy::rules::Tiers;

fn rules(text: &str) -> Rules {
    let text = format!("apiVersion: duragent/v1alpha1\nkind: Policy\n{text}");
    let tier = file::parse(text, "policy.yaml".as_ref(), &|_| None).unwrap();
    let tiers = Tiers {
        agent: Some(tier),
        ..Tiers::default()
    };
    tiers.merged()
}

fn ruled(rules: &Rules, script: &str) -> &'static str {
    judge(rules, &Call::Shell(Some(script))).ruling.as_str()
}

#[track_caller]
fn check(rules: &Rules, table: &[(&str, &str)]) {
    for (script, expected) in table {
        let judgement = judge(rules, &Call::Shell(Some(script)));
        assert_eq!(
            judgement.ruling.as_str(),
            *expected,
            "{script}: {judgement:?}"
        );
    }
}

const ALLOWS: &str = "allow: ['bash:git status', 'bash:git log *', 'bash:echo*', 'bash:cat *']";

#[test]
fn every_simple_command_must_be_allowed() {
    check(
        &rules(ALLOWS),
        &[
            ("git status", "allow"),
            ("  git   status  # really", "allow"),
            ("'git' st\"at\"us", "allow"),
            ("git log -p src/a.rs && echo done | cat -", "allow"),
            ("{ git status; } 2>&1 >/dev/null", "allow"),
            ("if git status; then echo a; fi", "allow"),
            ("git push", "ask"),
            ("git log", "ask"),
            ("/tmp/git status", "ask"),
            ("git status && git push", "ask"),
            ("git status\nrm x", "ask"),
            ("echo $(rm x)", "ask"),
            ("echo `rm x`", "ask"),
            ("cat <(rm x)", "ask"),
            ("", "ask"),
            ("echo 'a", "ask"),
        ],
    );
}

#[test]
fn nothing_that_writes_assigns_or_runs_others_is_ever_allowed() {
    let all = rules("allow: ['*:*', 'bash:*']");
    check(
        &all,
        &[
            ("ls", "allow"),
            ("cat < x", "allow"),
            ("ls 2>&1 >/dev/null", "allow"),
            ("cat <<E\nx\nE", "allow"),
            ("ls > x", "ask"),
            ("{ ls; } >> x", "ask"),
            ("cat </dev/tcp/h/1", "ask"),
            ("x=1", "ask"),
            ("PATH=. ls", "ask"),
            ("for PATH in .; do ls; done", "ask"),
            ("((PATH=1)); ls", "ask"),
            ("$x", "ask"),
            ("l{s,} x", "ask"),
            ("ls $x", "ask"),
            ("ls *", "ask"),
            ("ls ~", "ask"),
            ("sudo ls", "ask"),
            ("/usr/bin/env ls", "ask"),
            ("x | xargs rm", "ask"),
            ("python3.11 x.py", "ask"),
            ("'ba'sh -c ls", "ask"),
            ("eval ls", "ask"),
            (". ./x", "ask"),
            ("trap ls EXIT", "ask"),
            ("export PATH=.", "ask"),
            ("find . -name x", "allow"),
            ("find . -exec rm {} +", "ask"),
            ("find . -delete", "ask"),
            ("find . $x", "ask"),
            ("test -f x && [ -n y ] && [[ a == b ]]", "allow"),
            ("test -v 'x[$(rm)]'", "ask"),
            ("printf %s x", "allow"),
            ("printf -v 'x[$(rm)]' y", "ask"),
        ],
    );
    let strict = rules("mode: restrict\nallow: ['bash:*']");
    check(
        &strict,
        &[
            ("ls", "allow"),
            ("ls > x", "deny"),
            ("sudo ls", "deny"),
            ("ls 'x", "deny"),
            ("", "deny"),
        ],
    );
}

#[test]
fn a_blank_in_quotes_is_no_border_between_words() {
    check(
        &rules("allow: ['bash:deploy * --dry-run', 'bash:say a\\ b']"),
        &[
            ("deploy x --dry-run", "allow"),
            ("deploy 'x --dry-run'", "ask"),
            ("deploy x\\ --dry-run", "ask"),
            ("say 'a b'", "allow"),
            ("say a b", "ask"),
        ],
    );
}

#[test]
fn what_is_denied_is_denied_in_every_mode_and_under_every_name() {
    for mode in ["dangerous", "ask", "restrict"] {
        let text =
            format!("mode: {mode}\nallow: ['bash:*']\ndeny: ['bash:rm *', 'bash:git push*']");
        let table = [
            "rm x",
            "/bin/rm x",
            "'rm' x",
            "r\\m x",
            "\"rm\" 'x y'",
            "$'\\x72m' x",
            "ls && rm x",
            "x=1 rm x",
            "rm x > y",
            "echo $(rm x)",
            "echo \"`rm x`\"",
            "f() { rm x; }",
            "sudo rm x",
            "sudo -u me /bin/rm x",
            "env A=1 rm x",
            "ls | xargs rm -f",
            "find . -exec rm {} +",
            "bash -c 'ls; rm x'",
            "eval \"rm x\"",
            "eval rm x",
            "trap 'rm x' EXIT",
            "ssh h 'rm x'",
            "bash -c \"bash -c 'rm x'\"",
            "sh -c \"rm $y\"",
            "test -v 'a[$(rm x)]'",
            "x='$(rm x)'",
            "while true; do git push; done",
            "cat <<E\n$(rm x)\nE",
            "$HOME/rm x",
            "rm $x",
            "nohup timeout 5 rm x &",
            "eval 'ls ;' '' 'r''m' x",
            "eval ls '&&rm' x",
            "bash <<< 'ls; rm x'",
            "bash <<'E'\nls\nrm x\nE",
        ];
        for script in table {
            assert_eq!(ruled(&rules(&text), script), "deny", "{mode}: {script}");
        }
    }
}

#[test]
fn what_may_be_denied_does_not_run_unasked() {
    let dangerous = rules("mode: dangerous\ndeny: ['bash:git push*']");
    check(
        &dangerous,
        &[
            ("ls", "allow"),
            ("ls $x > y", "allow"),
            ("git log", "allow"),
            ("git $x", "ask"),
            ("git pu*", "ask"),
            ("./g$x push", "ask"),
            ("g`x` push", "ask"),
            ("git-$x push", "ask"),
            ("$x", "ask"),
            ("git log `x`", "allow"),
            ("sudo $x", "ask"),
            ("ls 'x", "ask"),
            ("bash -c \"$x\"", "ask"),
        ],
    );
    let free = rules("mode: dangerous");
    check(
        &free,
        &[
            ("ls 'x", "allow"),
            ("$x", "allow"),
            ("sudo rm -rf /", "allow"),
        ],
    );
    let strict = rules("mode: restrict\nallow: ['bash:git $x']\ndeny: ['bash:git push*']");
    check(&strict, &[("git $x", "deny")]);
}

#[test]
fn the_shell_can_be_denied_as_the_builtin_it_is() {
    let denied = rules("mode: dangerous\ndeny: ['builtin:bash']");
    check(&denied, &[("ls", "deny")]);
    let allowed = rules("allow: ['builtin:*']");
    check(&allowed, &[("ls", "ask")]);
}

#[test]
fn an_exact_pattern_allows_its_very_text_and_nothing_else() {
    let table = [
        ("ls *.rs", "ls *.r*"),
        ("ls '*.rs'", "ls *.rs"),
        ("rm '$x'", "rm $x"),
        ("rm \"$x\"", "rm $x"),
        ("say 'a b'", "say a b"),
        ("say 'it'\\''s'", "say its"),
        ("cat <<E\nx\nE", "cat <<E\ny\nE"),
        ("cat", "cat < x"),
        ("cat < x", "cat x"),
        ("a {} \\; [ ?", "a {} \\; [ b"),
    ];
    for (script, other) in table {
        let patterns = literal_patterns(&Call::Shell(Some(script))).patterns;
        let list: Vec<String> = patterns
            .iter()
            .map(|one| serde_json::to_string(one).unwrap())
            .collect();
        let rules = rules(&format!("allow: [{}]", list.join(",")));
        assert_eq!(ruled(&rules, script), "allow", "{script}: {patterns:?}");
        assert_eq!(ruled(&rules, other), "ask", "{other}: {patterns:?}");
    }
    for script in ["ls > x", "x=1 ls", "sudo ls", "$x", "ls '"] {
        let literal = literal_patterns(&Call::Shell(Some(script)));
        assert_eq!(
            (literal.patterns.len(), literal.refused.len()),
            (0, 1),
            "{script}"
        );
    }
}

fn tool<'a>(subject: Subject, name: &'a str, arguments: &'a str) -> Call<'a> {
    Call::Tool(ToolUse {
        subject,
        name,
        arguments,
        is_found: false,
        is_changed: false,
        only_reads: false,
    })
}

#[test]
fn other_tools_are_judged_by_their_name_and_their_arguments() {
    let rules = rules(
        "allow: ['builtin:web', 'cli:deploy \\{\"to\":\"test\"}']\ndeny: ['*:web *secret*', 'cli:drop*']",
    );
    for (subject, name, arguments, expected) in [
        (Subject::Builtin, "web", "{}", "allow"),
        (Subject::Builtin, "web", "{\"q\": \"secret\"}", "deny"),
        (Subject::Cli, "web", "{}", "ask"),
        (Subject::Cli, "deploy", "{ \"to\" : \"test\" }", "allow"),
        (Subject::Cli, "deploy", "{\"to\":\"live\"}", "ask"),
        (Subject::Cli, "dropper", "", "deny"),
    ] {
        let ruling = judge(&rules, &tool(subject, name, arguments)).ruling;
        assert_eq!(ruling.as_str(), expected, "{name} {arguments}");
    }
}

#[test]
fn a_found_tool_asks_until_it_is_named_by_the_workspace_or_the_user() {
    let of = |local: &str, mode: &str| {
        let head = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
        let tier = |text: &str| {
            Some(file::parse(format!("{head}{text}"), "p.yaml".as_ref(), &|_| None).unwrap())
        };
        Tiers {
            workspace: None,
            agent: tier(&format!("mode: {mode}\nallow: ['cli:sync', '*:*']")),
            local: tier(local),
            own: None,
        }
        .merged()
    };
    let found = Call::Tool(ToolUse {
        subject: Subject::Cli,
        name: "sync",
        arguments: "{}",
        is_found: true,
        is_changed: false,
        only_reads: false,
    });
    for (local, mode, expected) in [
        ("", "ask", "ask"),
        ("", "dangerous", "ask"),
        ("", "restrict", "deny"),
        ("allow: ['cli:*']", "ask", "ask"),
        ("allow: ['*:sync']", "ask", "ask"),
        ("allow: ['cli:sync']", "ask", "allow"),
        ("allow: ['cli:sync']", "restrict", "allow"),
        ("allow: ['cli:sync']\ndeny: ['cli:s*']", "ask", "deny"),
    ] {
        let ruling = judge(&of(local, mode), &found).ruling;
        assert_eq!(ruling.as_str(), expected, "{local} {mode}");
    }
    assert_eq!(literal_patterns(&found).patterns, ["cli:sync"]);
}
