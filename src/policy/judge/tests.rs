use super::*;
use crate::policy::file;
use crate::policy::rules::Tiers;

fn rules(text: &str) -> PolicyRules {
    let text = format!("apiVersion: duragent/v1alpha1\nkind: Policy\n{text}");
    let tier = file::parse(text, "policy.yaml".as_ref(), &|_| None).unwrap();
    let tiers = Tiers {
        agent: Some(tier),
        ..Tiers::default()
    };
    tiers.merged()
}

fn ruled(rules: &PolicyRules, script: &str) -> &'static str {
    judge(rules, &JudgedCall::Shell(Some(script)))
        .ruling
        .as_str()
}

#[track_caller]
fn check(rules: &PolicyRules, table: &[(&str, &str)]) {
    for (script, expected) in table {
        let judgement = judge(rules, &JudgedCall::Shell(Some(script)));
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
            ("git status &", "ask"),
            ("git status && git push", "ask"),
            ("git status\nrm x", "ask"),
            ("echo $(rm x)", "ask"),
            ("echo `rm x`", "ask"),
            ("cat <(rm x)", "ask"),
            ("CI=1 NO_COLOR=1 git status", "allow"),
            (
                "set -euo pipefail; cd src; export CI=1; git status",
                "allow",
            ),
            ("time timeout 5 nice -n 10 git status", "allow"),
            ("echo {a,b} $(git status)", "allow"),
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
            ("for f in *.rs; do ls \"$f\"; done", "allow"),
            ("for http_proxy in .; do ls; done", "ask"),
            ("export PATH=. CI=1", "ask"),
            ("LC_ALL=ja_JP.SJIS ls", "ask"),
            ("cd ../x", "allow"),
            ("cd x && ./y", "ask"),
            ("pushd x && ./y", "ask"),
            ("./y; (cd x)", "ask"),
            ("/bin/ls; cd x", "allow"),
            ("set -a", "ask"),
            ("set -euo", "ask"),
            ("timeout 5 sudo ls", "ask"),
            ("timeout -s 9 5 ls", "ask"),
            ("((PATH=1)); ls", "ask"),
            ("$x", "ask"),
            ("l{s,} x", "ask"),
            ("ls $x", "allow"),
            ("ls *", "allow"),
            ("ls ~", "allow"),
            ("make $x", "ask"),
            ("deploy $x", "ask"),
            ("deploy a b src/$x", "ask"),
            ("deploy \"src/$x\" src/*.rs", "allow"),
            ("deploy \"$x\"", "ask"),
            ("deploy \"-$x\"", "ask"),
            ("deploy \"do$x\"", "ask"),
            ("git commit -m \"wip: $(date)\"", "allow"),
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
            ("test -f x && [ -n y ]", "allow"),
            ("[ \"$x\" = y ] && [ ! -f \"$x\" ]", "allow"),
            ("[ \"$x\" \"$y\" ]", "ask"),
            ("[ -n $x ]", "ask"),
            ("[[ a == b ]]", "ask"),
            ("test -v 'x[$(rm)]'", "ask"),
            ("printf %s x", "allow"),
            ("printf -v 'x[$(rm)]' y", "ask"),
            ("printf '%5n' 'x[$(rm)]'", "ask"),
            ("printf \"$x\"", "ask"),
            ("printf '%s %%n' $x", "allow"),
            ("cd src; set -e", "ask"),
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
            ("git log $(x)", "allow"),
            ("git log `x`", "ask"),
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
    check(
        &strict,
        &[
            ("git $x", "deny"),
            ("echo $[1]", "deny"),
            ("$x git push", "deny"),
        ],
    );
}

#[test]
fn the_shell_can_be_denied_as_the_builtin_it_is() {
    let denied = rules("mode: dangerous\ndeny: ['builtin:bash']");
    check(&denied, &[("ls", "deny")]);
    for pattern in ["bash", "*:bash"] {
        check(
            &rules(&format!("mode: dangerous\ndeny: ['{pattern}']")),
            &[("ls", "deny")],
        );
    }
    // About commands that begin so, as any other `*:`.
    check(
        &rules("mode: dangerous\ndeny: ['*:bas*']"),
        &[("ls", "allow"), ("basename x", "deny")],
    );
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
        let patterns = literal_patterns(&JudgedCall::Shell(Some(script))).patterns;
        let list: Vec<String> = patterns
            .iter()
            .map(|one| serde_json::to_string(one).unwrap())
            .collect();
        let rules = rules(&format!("allow: [{}]", list.join(",")));
        assert_eq!(ruled(&rules, script), "allow", "{script}: {patterns:?}");
        assert_eq!(ruled(&rules, other), "ask", "{other}: {patterns:?}");
    }
    for script in ["ls > x", "x=1 ls", "sudo ls", "$x", "ls '"] {
        let literal = literal_patterns(&JudgedCall::Shell(Some(script)));
        let expected = LiteralRules {
            exact: Some(script.to_owned()),
            ..LiteralRules::default()
        };
        assert_eq!(literal, expected, "{script}");
    }
}

fn tool<'a>(subject: Subject, name: &'a str, arguments: &'a str) -> JudgedCall<'a> {
    JudgedCall::Tool(ToolUse {
        subject,
        name,
        arguments,
        is_found: false,
        only_reads: false,
        is_changed: false,
        value_key: None,
        file: None,
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
fn a_deny_of_a_program_fits_its_arguments_as_they_are_typed() {
    for (pattern, arguments, expected) in [
        ("cli:deploy prod*", r#"{"args":["prod","--now"]}"#, "deny"),
        ("cli:deploy prod*", r#"{"args":"production"}"#, "deny"),
        ("cli:deploy prod*", r#"{"args":"'prod' x"}"#, "deny"),
        (
            "cli:deploy prod*",
            r#"{"args":"  p\\rod\"uction\""}"#,
            "deny",
        ),
        ("cli:deploy prod*", r#"{"args":"test 'a"}"#, "allow"),
        ("cli:deploy prod", r#"{"args":["prod"]}"#, "deny"),
        ("deploy prod*", r#"{"args":["prod"]}"#, "deny"),
        ("cli:deploy prod*", r#"{"args":["test"]}"#, "allow"),
        ("cli:deploy", r#"{"args":["test"]}"#, "deny"),
    ] {
        let rules = rules(&format!("mode: dangerous\ndeny: ['{pattern}']"));
        let ruling = judge(&rules, &tool(Subject::Cli, "deploy", arguments)).ruling;
        assert_eq!(ruling.as_str(), expected, "{pattern} {arguments}");
    }
}

/// The rules of an agent's policy beside the workspace's.
fn capped(workspace: &str, agent: &str) -> PolicyRules {
    let head = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
    let tier = |text: &str| {
        Some(file::parse(format!("{head}{text}"), "p.yaml".as_ref(), &|_| None).unwrap())
    };
    Tiers {
        workspace: tier(workspace),
        agent: tier(agent),
        ..Tiers::default()
    }
    .merged()
}

#[test]
fn what_the_workspace_does_not_let_an_agent_have_is_known() {
    for (workspace, agent, is_capped) in [
        ("bash:git *", "bash:git log *", false),
        ("bash:git *", "bash:git status", false),
        ("bash:git log", "bash:git *", true),
        ("bash:git *", "bash:g*", true),
        ("*:*", "cli:sync", false),
        ("bash:*", "*:*", true),
        ("builtin:web", "builtin:web:fetch:http://x/*", false),
        ("builtin:web:fetch", "builtin:web", true),
        ("cli:a?c", "cli:a*c", true),
        ("cli:a*c", "cli:a?c", false),
        ("bash:make", "bash:make", false),
        ("bash:make", "bash:make test", true),
        ("bash:make", "cli:make", true),
    ] {
        let rules = capped(
            &format!("allow: ['{workspace}']"),
            &format!("allow: ['{agent}']"),
        );
        assert_eq!(!rules.capped.is_empty(), is_capped, "{workspace} {agent}");
    }
    assert!(
        capped("deny: ['bash:rm *']", "allow: ['bash:ls']")
            .capped
            .is_empty()
    );
}

#[test]
fn a_rule_that_the_workspace_caps_is_named_with_the_reason() {
    let rules = capped(
        "allow: ['bash:ls']",
        "allow: ['bash:make *', 'builtin:web', 'exact: x', {exact: \"a > b\"}]",
    );
    for (call, pattern) in [
        (JudgedCall::Shell(Some("ls; make all")), "bash:make *"),
        (JudgedCall::Shell(Some("a > b")), "exact: a > b"),
        (tool(Subject::Builtin, "web", "{}"), "builtin:web"),
    ] {
        let judged = judge(&rules, &call);
        assert_eq!(judged.ruling, Ruling::Ask);
        let missed = judged.parts.iter().find_map(|part| part.missed.as_ref());
        let (found, why) = missed.unwrap_or_else(|| panic!("{call:?}"));
        assert_eq!(found.text, pattern);
        assert_eq!(why, CAPPED);
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
    let found = JudgedCall::Tool(ToolUse {
        subject: Subject::Cli,
        name: "sync",
        arguments: "{}",
        is_found: true,
        only_reads: false,
        is_changed: false,
        value_key: None,
        file: None,
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

#[test]
fn what_makes_a_program_do_more_must_be_written_out() {
    let star = rules("allow: ['bash:*']");
    let table = "
        sort -o x y|sort --outp=x y|sort --output x y|sort -uo x|sort -ox y|sort --compress-program=x
        git -c core.pager=x log|git log --output=x|git diff --outpu x|git clone --upload-pack=x y
        git clone ext::x y|git fetch 'ext::sh -c x'|git remote add a ext::x|git config a b
        git grep -Ox y|git grep --open-files-in-pager=x|git rebase -x ls|git rebase --exec ls
        git bisect run x|git submodule foreach ls|git --exec-path=. x|git -C x status
        git --no-pager config a b|git filter-branch x|git difftool -x ls|git archive --exec=x
        rg --pre x y|rg --pre=x y|fd -x rm|fd x --exec rm|fd -HX rm
        tar -I x -cf y|tar cIf x y|tar --to-command=x -xf y|tar --to-c x -xf y|tar --checkpoint-action=exec=x -cf y z
        man -P x y|man --pager=x y|man -Hx y|find . -fprintf x y|find . -exec ls +|find . -delete
        sed -i s/a/b/ x|sed s/a/b/w x|sed 's/a/b/e'|sed -n '1e ls'|sed --in-place s/a/b/|sed -f x|sed -e p -e 'w x'
        sed \"s/$x/y/\" z|sed '1w x'|sed -n --exp='1w x' y|sed 'r x'|sed s/a/b/gw
        awk '{system(\"ls\")}'|awk '{print > \"x\"}'|awk '{print | \"ls\"}'|awk -f x|awk '\"ls\" | getline'|awk -i x y
        tree -o x|make --eval=x|make CC=x|make -f x|make -C x|make SHELL=x y
        cargo --config x build|cargo +x build|cargo build --manifest-path x|npm exec x|npm x y|npm --script-shell=x test
        npm config set a b|curl -o x y|curl -sLo x y|curl -K x|curl --outp x y|curl -d @x y|curl --config x
        sed 's/[/A/;/]/s,/w x,y,'|sed '/[/]/s//x/;w y'|sed 's/[[.].]/]/w x,/'|sed 's,[[:],],x,w y'
        npm exe x|npm con set a b|ip netn exec x|bundle exe x|xxd -r x y|date -u 010100002030|uniq -f 1 x y
        arch -x86_64 ls|base64 -o x y|gh repo clone x -- -u y|curl -d@x y|curl --socks5 x y|git cat-file --filters x|date -s x|date 010100002030|uniq x y|xxd x y|hostname x|file -C x|go test -exec x|go build -toolexec=x
        split --filter=ls x|rsync -e x y z|yq -i x|less +x y|pytest -p x|pytest -c x|docker run x|docker -H x ps
        bat --pager x y|wget -O x y|wget --use-askpass=x y|nc -e x y|kubectl exec x
    ";
    for script in table.split(['|', '\n']).map(str::trim) {
        if !script.is_empty()
            && !script.contains("getline")
            && script.matches('\'').count() % 2 == 0
        {
            assert_eq!(ruled(&star, script), "ask", "{script}");
        }
    }
    let written = rules(
        "allow: ['bash:sort -o *', 'bash:git -C sub status', 'bash:sed -i *', 'bash:git config --get *']",
    );
    check(
        &written,
        &[
            ("sort -o x y", "allow"),
            ("sort -o x --compress-program=y", "ask"),
            ("git -C sub status", "allow"),
            ("git config --get user.name", "allow"),
            ("git config x y", "ask"),
            ("sed -i s/a/b/ x", "allow"),
            ("sed -i s/a/b/e x", "ask"),
        ],
    );
}

#[test]
fn what_writes_the_file_that_it_is_told_counts_as_a_redirection_unless_a_rule_names_it() {
    let star = rules("allow: ['bash:*', '*:*', 'bash:*e* *', 'bash:?ee *']");
    let named = rules(
        "allow: ['bash:tee *', 'bash:dd *', 'bash:cp *', 'bash:/usr/bin/tee *', 'bash:echo *']",
    );
    for script in [
        "tee f <<'EOF'\nx\nEOF",
        "echo x | tee f",
        "echo x | tee -a f",
        "echo x | /usr/bin/tee f",
        "echo x | 'tee' f",
        "echo x | nice tee f",
        "dd of=f",
        "dd if=a of=f",
        "cp a b",
    ] {
        assert_eq!(ruled(&star, script), "ask", "{script}");
        assert_eq!(ruled(&named, script), "allow", "{script}");
    }
    for script in [
        "echo x | tee \"$f\"",
        "sponge f",
        "mv a b",
        "install a b",
        "ln -s a b",
        "truncate -s 0 f",
        "split f",
        "rsync a b",
        "scp a b",
        "patch -p0 <<'EOF'\nx\nEOF",
        "uudecode <<'EOF'\nx\nEOF",
        "echo x | tee -- -d/../f",
        "cp -- -a -d/../x",
    ] {
        assert_eq!(ruled(&star, script), "ask", "{script}");
    }
    for script in ["echo x | tee", "echo x | tee -a", "dd if=a", "cp --help"] {
        assert_eq!(ruled(&star, script), "allow", "{script}");
    }
    let judged = judge(&star, &JudgedCall::Shell(Some("tee f")));
    let (rule, why) = judged.parts[0].missed.clone().unwrap();
    assert_eq!(rule.text, "bash:*");
    assert_eq!(
        why,
        "`tee` writes a file, and must be named: no `*` stands for it"
    );
    // As a deny sees it, nothing has changed.
    let denied = rules("allow: ['bash:cp *']\ndeny: ['bash:rm *']");
    assert_eq!(ruled(&denied, "cp a b"), "allow");
}

#[test]
fn what_is_harmless_of_such_programs_is_allowed_by_a_star() {
    let star = rules("allow: ['bash:*']");
    for script in [
        "sed 's/[^/]*$//' x",
        "sed 's/[[:space:]]*$//' x",
        "sed 's|[/.]|-|g' x",
        "date -d '2 days ago' +%F",
        "xxd -l 64 x",
        "uniq -f 1 x",
        "npm i",
        "npm run build",
        "bundle install",
    ] {
        let judged = judge(&star, &JudgedCall::Shell(Some(script)));
        let is_ambiguous = script.contains("[^/]");
        assert_eq!(
            judged.ruling == Ruling::Allow,
            !is_ambiguous,
            "{script}: {judged:?}"
        );
    }
    for script in [
        "sort -u x",
        "git log --oneline -5",
        "git switch -c x",
        "git commit -m 'a: b'",
        "git add src/*.rs",
        "git stash show stash@{0}",
        "git diff HEAD~1 -- src",
        "git checkout -b x",
        "git log -p",
        "git -P log",
        "git --no-pager log -p",
        "rg -n x src",
        "fd -e rs",
        "tar -xzf x",
        "tar czf x y",
        "find . -name '*.rs' -type f",
        "sed -n '1,5p' x",
        "sed -n 5p",
        "sed 's/a/b/g' x",
        "sed -E -e 's|a|b|; /x/d' x",
        "sed '$d' x",
        "awk '{print $1}' x",
        "awk -F: '$3 == 0 || /x/ {print $1}' x",
        "make test",
        "make -j4 test",
        "cargo test --all",
        "cargo test -- --nocapture",
        "npm test",
        "npm run build -- --x",
        "npm ci",
        "curl -fsSL https://x",
        "curl -s -H 'a: b' -X POST x",
        "date +%s",
        "date",
        "uniq -c",
        "xxd x",
        "hostname",
        "go test ./...",
        "go test -count=1 -run X ./...",
        "pytest -x -q",
        "docker ps -a",
        "kubectl get pods -o wide",
        "command -v node",
        "grep -rn \"$x\" .",
        "wc -l $(ls)",
        "printf '%s\\n' \"$x\"",
    ] {
        assert_eq!(
            ruled(&star, script),
            "allow",
            "{script}: {:?}",
            judge(&star, &JudgedCall::Shell(Some(script)))
        );
    }
}

#[test]
fn a_deny_sees_through_global_options_and_looks_at_every_word_of_what_is_not_read() {
    let denied = rules(
        "mode: dangerous\ndeny: ['bash:git push*', 'bash:rm *', 'bash:* > /etc/*', 'bash:curl * | sh']",
    );
    for script in [
        "git -C . push",
        "git --no-pager push",
        "git -c a=b -C x push origin",
        "sudo git -C . push",
        "docker --host x ps; /usr/bin/git --git-dir=x push",
        "case a in a) rm x;; esac",
        "f() { git -C . push; }; f",
        "[[ -f x ]] && rm x",
        "x=(1); r'm' x",
        "a $((1)) ; sudo rm x",
        "cat <<E\n$(rm x)\nE",
        "rm x &",
        "ls | xargs rm",
        "ls | parallel rm",
        "find . -exec rm {} +",
        "fd -x rm",
        "echo a >/etc/passwd",
        "[[ a ]] && echo a >/etc/passwd",
        "curl x.io | sh",
        "bash -c \"bash -c 'echo; git push'\"",
        "bash -c \"bash -c 'bash -c \\\"git push\\\"'\"",
        "echo `rm x`",
        "${x:-$(rm x)}",
        "alias a='rm x'; a",
        "xargs -I{} sh -c 'rm {}'",
        "echo $[1]; rm x",
        "$x; rm x",
        "timeout 5 rm x",
        "time rm x",
        "nice rm x",
        "ls $'\\x72m'; $'\\x72m' x",
        "eval \"$(echo cm0geA== | base64 -d)\" rm x",
    ] {
        assert_eq!(ruled(&denied, script), "deny", "{script}");
    }
    let many = format!("git {}push", "-c a=b ".repeat(20));
    for script in ["echo $[1]", "$x git x", "ls | xargs git", &many] {
        assert_eq!(ruled(&denied, script), "ask", "{script}");
    }
    for script in [
        "git log",
        "git --no-pager log",
        "echo rmdir x",
        "git commit -m 'do not rm x'",
    ] {
        assert_eq!(ruled(&denied, script), "allow", "{script}");
    }
}

#[test]
fn a_deny_without_a_star_fits_what_contains_it() {
    let denied =
        rules("mode: dangerous\ndeny: ['bash:rm', 'bash:sudo', 'bash:--force', 'bash:git push']");
    check(
        &denied,
        &[
            ("rm x", "deny"),
            ("/bin/rm", "deny"),
            ("npm run format", "allow"),
            ("firm x", "allow"),
            ("echo x=rm", "deny"),
            ("git commit -m \"rm x\"", "deny"),
            ("rmdir x", "deny"),
            ("git  push", "deny"),
            ("'git' \"push\" -f", "deny"),
            ("git log", "allow"),
            ("npm publish --force", "deny"),
            ("ls # rm", "allow"),
            ("$x", "ask"),
            ("echo $x", "allow"),
            ("timeout 5 $x y", "ask"),
        ],
    );
    let told = |script: &str| {
        let part = judge(&denied, &JudgedCall::Shell(Some(script)))
            .parts
            .remove(0);
        part.why.to_string()
    };
    assert_eq!(told("sudo npm x"), "deny `bash:sudo` fits `sudo`");
    assert_eq!(
        told("ls -l /bin/rmdir x"),
        "deny `bash:rm` fits `/bin/rmdir`"
    );
}

/// Bash looks into the variable, and runs what a subscript in it says.
#[test]
fn what_computes_with_a_variable_may_run_what_is_denied() {
    let denied = rules("mode: dangerous\ndeny: ['bash:s5']");
    for script in [
        "let A",
        "let -v A",
        "builtin let A",
        "command -p let x=A",
        "eval 'let A'",
        "RANDOM=A",
        "RANDOM+=A ls",
        "for OPTIND in A; do ls; done",
        "read RANDOM",
        "printf -v SRANDOM A",
        "export HISTCMD=A",
        "declare -i x=A",
        "readonly -i x=A",
        "typeset 'x[A]=1'",
        "test -v 'x[A]'",
        "[ -v A ]",
        "[ -f a -a -v x ]",
        "[ a = $X ]",
        "read 'x[A]'",
        "printf -v 'x[A]' q",
        "mapfile 'x[A]'",
        "unset 'x[A]'",
        "wait -p 'x[A]' -n",
        "read $X",
        "exec '{x[A]}'",
        "x[A]=1",
        "echo ${x[A]}",
        "echo $((A))",
    ] {
        assert_eq!(ruled(&denied, script), "ask", "{script}");
    }
    for script in [
        "export PATH=x",
        "declare -r x=1",
        "read -r line",
        "printf '%s\\n' \"$A\"",
        "[ -f a -a -d b ]",
        "[ \"$x\" = 'a[1]' ]",
        "test -n \"$x\"",
        "for i in $A; do ls; done",
        "pytest t.py::x[1]",
    ] {
        assert_eq!(ruled(&denied, script), "allow", "{script}");
    }
}

#[test]
fn a_script_is_allowed_as_it_stands_and_not_otherwise() {
    let rules = rules(
        "allow:\n  - exact: |\n      for f in *; do\n        rm \"$f\" > x\n      done\n  - exact: 'git push'\n  - exact: 'a &'\ndeny: ['bash:git push*']",
    );
    check(
        &rules,
        &[
            ("for f in *; do\n  rm \"$f\" > x\ndone", "allow"),
            ("for f in *; do\n  rm \"$f\" > x\ndone\n", "allow"),
            ("for f in *; do\n  rm \"$f\" > x\ndone\n\n", "ask"),
            ("for f in *; do\n  rm  \"$f\" > x\ndone", "ask"),
            ("a &", "allow"),
            ("a &\\", "ask"),
            ("git push", "deny"),
        ],
    );
}

#[test]
fn a_rule_that_would_fit_is_named_with_the_reason() {
    let rules = rules("allow: ['bash:ls *', 'bash:sort *', 'bash:deploy *', 'bash:make *']");
    for (script, pattern, reason) in [
        ("ls x > y", "bash:ls *", "it may write: `> y`"),
        ("sort -uo x", "bash:sort *", "`-uo` makes `sort` do more"),
        (
            "deploy $x",
            "bash:deploy *",
            "what the shell makes of a word",
        ),
        ("X=1 make all", "bash:make *", "it sets the variable `X`"),
        ("make all &", "bash:make *", "a command in the background"),
        ("ls 'x y' $((1))", "bash:ls *", "arithmetic"),
    ] {
        let missed = judge(&rules, &JudgedCall::Shell(Some(script)))
            .parts
            .remove(0)
            .missed;
        let (found, why) = missed.unwrap_or_else(|| panic!("{script}"));
        assert_eq!(found.text, pattern, "{script}");
        assert!(why.contains(reason), "{script}: {why}");
    }
    let none = judge(&rules, &JudgedCall::Shell(Some("rm x")))
        .parts
        .remove(0)
        .missed;
    assert!(none.is_none());
}

#[test]
fn what_a_loop_sets_is_no_variable_of_anybody() {
    let all = rules("allow: ['bash:*']");
    let context = Context {
        work: Some("/w/work".as_ref()),
        is_variable: &|name| name == "editor",
    };
    for (script, expected) in [
        ("for editor in x; do ls; done", "ask"),
        ("for file in x; do ls; done", "allow"),
        ("for histchars in x; do ls; done", "ask"),
        ("for _ in x; do ls; done", "ask"),
    ] {
        let judged = judge_in(&all, &JudgedCall::Shell(Some(script)), &context);
        assert_eq!(judged.ruling.as_str(), expected, "{script}");
    }
    let few = rules("allow: ['bash:ls']");
    for (script, expected) in [
        ("cd /w/work/x && ls", "allow"),
        ("cd x/./y; ls", "allow"),
        ("cd /w && ls", "ask"),
        ("cd x/../../y; ls", "ask"),
        ("cd ..; ls", "ask"),
        ("cd; ls", "ask"),
        ("cd -; ls", "ask"),
        ("cd ~; ls", "ask"),
        ("cd \"$x\"; ls", "ask"),
    ] {
        let judged = judge_in(&few, &JudgedCall::Shell(Some(script)), &context);
        assert_eq!(judged.ruling.as_str(), expected, "{script}");
    }
}

#[test]
fn a_tool_that_changed_asks_under_every_rule() {
    for (text, expected) in [
        ("allow: ['*:*']", "ask"),
        ("allow: ['cli:deploy']", "ask"),
        ("mode: dangerous", "ask"),
        ("mode: restrict", "deny"),
        ("mode: restrict\nallow: ['cli:deploy']", "ask"),
        ("allow: ['cli:*']\ndeny: ['cli:deploy']", "deny"),
    ] {
        let rules = rules(text);
        let JudgedCall::Tool(tool) = tool(Subject::Cli, "deploy", "{}") else {
            unreachable!()
        };
        let call = JudgedCall::Tool(ToolUse {
            is_changed: true,
            ..tool
        });
        assert_eq!(judge(&rules, &call).ruling.as_str(), expected, "{text}");
    }
}

#[test]
fn a_builtin_is_named_with_its_action_and_its_value() {
    let rules = rules(
        "allow: ['builtin:web:fetch:https://docs.rs/*', 'builtin:memory:*']\ndeny: ['builtin:web:search', 'secret']",
    );
    for (name, arguments, expected) in [
        (
            "web",
            r#"{"action":"fetch","url":"https://docs.rs/x"}"#,
            "allow",
        ),
        ("web", r#"{"action":"fetch","url":"https://evil/x"}"#, "ask"),
        (
            "web",
            r#"{"action":"fetch","url":"x","path":"https://docs.rs/x"}"#,
            "ask",
        ),
        ("web", r#"{"action":"search","query":"x"}"#, "deny"),
        ("memory", r#"{"action":"recall"}"#, "allow"),
        ("memory", "{}", "ask"),
        ("secret", "{}", "deny"),
    ] {
        let JudgedCall::Tool(tool) = tool(Subject::Builtin, name, arguments) else {
            unreachable!()
        };
        let call = JudgedCall::Tool(ToolUse {
            value_key: Some("url"),
            ..tool
        });
        assert_eq!(
            judge(&rules, &call).ruling.as_str(),
            expected,
            "{name} {arguments}"
        );
    }
}

#[test]
fn a_deny_of_an_address_fits_however_it_is_spelt() {
    let rules = rules("mode: dangerous\ndeny: ['builtin:web:fetch:http://inner/*']");
    for (url, expected) in [
        ("http://inner/a", "deny"),
        ("http://inner", "deny"),
        (" http://inner/a", "deny"),
        ("HTTP://Inner/a", "deny"),
        ("http:inner/a", "deny"),
        ("http:\\\\inner\\a", "deny"),
        ("ht\ttp://in\nner/a", "deny"),
        ("http://me:word@inner/a", "deny"),
        ("http://inner.:80/a", "deny"),
        ("http://%69nner/a", "deny"),
        ("http://inner.org/a", "allow"),
        ("no address", "allow"),
    ] {
        let arguments = serde_json::json!({"action": "fetch", "url": url}).to_string();
        let JudgedCall::Tool(tool) = tool(Subject::Builtin, "web", &arguments) else {
            unreachable!()
        };
        let call = JudgedCall::Tool(ToolUse {
            value_key: Some("url"),
            ..tool
        });
        assert_eq!(judge(&rules, &call).ruling.as_str(), expected, "{url}");
    }
}

#[test]
fn a_deny_by_arguments_fits_however_they_are_written() {
    let rules = rules("mode: dangerous\ndeny: ['builtin:web \\{\"a\":1}']");
    for arguments in ["{\"a\":1}", "{\"a\": 1}", " { \"a\" : 1 } "] {
        assert_eq!(
            judge(&rules, &tool(Subject::Builtin, "web", arguments))
                .ruling
                .as_str(),
            "deny"
        );
    }
}

#[test]
fn a_person_is_shown_the_commands_also_of_what_is_not_read() {
    assert_eq!(
        simple_commands("ls -l && (rm x; CI=1 y $(z))"),
        ["ls -l", "rm x", "CI=1 y $(z)", "z"]
    );
    let found = simple_commands("case $x in a) rm y;; esac &");
    assert!(found.iter().any(|one| one == "rm y"), "{found:?}");
}

#[test]
fn a_skill_is_read_unless_it_is_denied() {
    // Whoever gives the tool an action that does more has to look here.
    let actions = super::super::check::BUILTINS
        .iter()
        .find(|(name, _)| *name == SKILL_READER);
    assert_eq!(actions, Some(&(SKILL_READER, &["read"][..])));
    let call = |subject, is_found| {
        JudgedCall::Tool(ToolUse {
            subject,
            name: "skill",
            arguments: r#"{"action":"read","name":"tidy"}"#,
            is_found,
            only_reads: false,
            is_changed: false,
            value_key: Some("name"),
            file: None,
        })
    };
    for (text, expected) in [
        ("mode: ask", "allow"),
        ("mode: restrict", "allow"),
        ("mode: restrict\nallow: ['bash:ls']", "allow"),
        ("deny: ['builtin:skill:read:other']", "allow"),
        ("deny: ['builtin:skill']", "deny"),
        (
            "deny: ['builtin:skill:read:tidy']\nallow: ['builtin:skill']",
            "deny",
        ),
        ("mode: dangerous\ndeny: ['skill*']", "deny"),
    ] {
        let rules = rules(text);
        assert_eq!(
            judge(&rules, &call(Subject::Builtin, false))
                .ruling
                .as_str(),
            expected,
            "{text}"
        );
        // A program of that name is no reader of skills.
        let program = judge(&rules, &call(Subject::Cli, false)).ruling;
        assert!(
            program == Ruling::Deny || program == Ruling::Ask,
            "{text}: {program:?}"
        );
    }
}

/// What is done to a file of the session's folder, or of another one.
fn file_use(action: &'static str, root: &str, inner: &str) -> FileUse {
    FileUse {
        action,
        writes: matches!(action, "write" | "edit"),
        is_folder: matches!(action, "list" | "search"),
        root: root.to_owned(),
        inner: inner.to_owned(),
        is_in_work: root != "/open",
        is_own: root == "/.ws/work",
        written: vec![inner.replace("real", "link")],
    }
}

fn of_file<'a>(file: &'a FileUse) -> JudgedCall<'a> {
    JudgedCall::Tool(ToolUse {
        subject: Subject::Builtin,
        name: "file",
        arguments: "{}",
        is_found: false,
        only_reads: !file.writes,
        is_changed: false,
        value_key: None,
        file: Some(file),
    })
}

#[test]
fn files_are_read_and_written_in_the_agents_own_folder_without_a_rule() {
    let [ask, restrict, dangerous] = ["mode: ask", "mode: restrict", "mode: dangerous"].map(rules);
    let bare = Tiers::default().merged();
    let others = rules("allow: ['bash:ls']");
    for (action, root, inner, asks) in [
        ("read", "/.ws/work", "x", false),
        ("read", "/open", ".env", false),
        ("list", "/open", ".", false),
        ("search", "/.ws/work", ".", false),
        ("write", "/.ws/work", "src/x", false),
        ("edit", "/.ws/work", "src/x", false),
        ("write", "/.ws/work", ".git/config", true),
        ("edit", "/.ws/work", "src/.cargo/x", true),
        ("write", "/.ws/work", ".envrc", true),
        ("write", "/open", "x", true),
        ("write", "/workdir", "x", true),
        ("write", "/workdir", ".npmrc", true),
    ] {
        let file = file_use(action, root, inner);
        let expected = if asks { Ruling::Ask } else { Ruling::Allow };
        for rules in [&ask, &bare, &others] {
            assert_eq!(judge(rules, &of_file(&file)).ruling, expected, "{file:?}");
        }
        assert_eq!(judge(&restrict, &of_file(&file)).ruling, Ruling::Deny);
        assert_eq!(judge(&dangerous, &of_file(&file)).ruling, Ruling::Allow);
    }
}

#[test]
fn rules_name_files_by_their_paths_and_the_dots_of_hidden_ones() {
    for (rule, action, root, inner, allowed) in [
        ("file:write:src/*", "write", "/workdir", "src/a/x", true),
        ("file:write:src/*", "edit", "/workdir", "src/x", true),
        ("file:edit:src/*", "edit", "/workdir", "src/x", true),
        ("file:edit:src/*", "write", "/workdir", "src/x", false),
        ("file:write:src/*", "write", "/open", "src/x", false),
        ("file:write:/open/*", "write", "/open", "src/x", true),
        (
            "file:write:/workdir/src/*",
            "write",
            "/workdir",
            "src/x",
            true,
        ),
        ("file:write:a b", "write", "/workdir", "a b", false),
        ("file:write:a\\ b", "write", "/workdir", "a b", true),
        ("file:write:src/?", "write", "/workdir", "src/xy", false),
        ("file", "write", "/workdir", "x", true),
        ("file:write", "write", "/workdir", "x", true),
        ("file:*", "write", "/open", "x", true),
        ("file", "write", "/workdir", ".git/config", false),
        ("file:*", "write", "/workdir", "a/.git/config", false),
        ("*", "edit", "/workdir", ".envrc", false),
        ("file:write:*", "write", "/workdir", ".envrc", false),
        ("file:write:?envrc", "write", "/workdir", ".envrc", false),
        (
            "file:write:*/config",
            "write",
            "/workdir",
            ".git/config",
            false,
        ),
        (
            "file:write:.git/*",
            "write",
            "/workdir",
            ".git/config",
            true,
        ),
        (
            "file:write:.git/*",
            "write",
            "/workdir",
            ".git/.x/config",
            false,
        ),
        (
            "file:write:*/.cargo/*",
            "write",
            "/workdir",
            "a/.cargo/config",
            true,
        ),
        (
            "file:write:/workdir/.git/*",
            "write",
            "/workdir",
            ".git/config",
            true,
        ),
        ("file:write:*", "write", "/workdir", "a.b/c..d", true),
        ("file:write:real/*", "write", "/workdir", "real/x", true),
        ("file:write:link/*", "write", "/workdir", "real/x", false),
    ] {
        let rules = rules(&format!("allow: ['builtin:{rule}']"));
        let file = file_use(action, root, inner);
        let expected = if allowed { Ruling::Allow } else { Ruling::Ask };
        assert_eq!(
            judge(&rules, &of_file(&file)).ruling,
            expected,
            "{rule} {file:?}"
        );
    }
    for (rule, action, root, inner, denied) in [
        (
            "builtin:file:write:*.lock",
            "edit",
            "/.ws/work",
            "a/Cargo.lock",
            true,
        ),
        (
            "builtin:file:read:secret/*",
            "read",
            "/.ws/work",
            "secret/x",
            true,
        ),
        (
            "builtin:file:read:secret/*",
            "list",
            "/.ws/work",
            "secret",
            true,
        ),
        (
            "builtin:file:read:secret/*",
            "write",
            "/.ws/work",
            "secret/x",
            false,
        ),
        (
            "builtin:file:*:secret/*",
            "write",
            "/.ws/work",
            "secret/x",
            true,
        ),
        (
            "builtin:file:write:link/*",
            "write",
            "/.ws/work",
            "real/x",
            true,
        ),
        (
            "builtin:file:write:/.ws/work/x",
            "write",
            "/.ws/work",
            "x",
            true,
        ),
        ("builtin:file:write:a b", "write", "/.ws/work", "a b", true),
        (
            "builtin:file:write:a\\ b",
            "write",
            "/.ws/work",
            "a b",
            true,
        ),
        ("builtin:file:write", "edit", "/.ws/work", "x", true),
        ("builtin:file:edit", "write", "/.ws/work", "x", false),
        ("builtin:file", "read", "/.ws/work", "x", true),
        ("file:write:*", "write", "/.ws/work", ".git/x", true),
        ("builtin:file:write:*", "write", "/.ws/work", ".git/x", true),
    ] {
        for mode in ["ask", "dangerous"] {
            let rules = rules(&format!(
                "mode: {mode}\nallow: ['builtin:*']\ndeny: ['{rule}']"
            ));
            let file = file_use(action, root, inner);
            let ruling = judge(&rules, &of_file(&file)).ruling;
            assert_eq!(ruling == Ruling::Deny, denied, "{rule} {file:?}");
            assert_eq!(forbidding(&rules, "file", &file).is_some(), denied);
        }
    }
}

#[test]
fn what_is_allowed_for_good_is_the_one_file() {
    for (action, root, inner, pattern) in [
        (
            "write",
            "/.ws/work",
            ".git/config",
            "builtin:file:write:/.ws/work/.git/config",
        ),
        (
            "edit",
            "/workdir",
            "a b*",
            "builtin:file:write:/workdir/a\\ b\\*",
        ),
        ("read", "/open", ".", "builtin:file:read:/open"),
    ] {
        let file = file_use(action, root, inner);
        let literal = literal_patterns(&of_file(&file));
        assert_eq!(literal.patterns, [pattern]);
        let rules = rules(&format!("allow: ['{pattern}']"));
        assert_eq!(
            judge(&rules, &of_file(&file)).ruling,
            Ruling::Allow,
            "{pattern}"
        );
    }
    // Of one that cannot be told no rule for all files comes.
    let mut builtins = super::super::check::BUILTINS.iter();
    assert!(builtins.any(|(name, actions)| *name == FILES && actions.contains(&"edit")));
    let gone = literal_patterns(&tool(Subject::Builtin, FILES, "{}"));
    assert_eq!((gone.patterns.len(), gone.refused.len()), (0, 1));
}
