//! What is found in a script, held against what bash runs of it.
//!
//! Scripts are made from a grammar, and spoilt at random; real bash runs them with a `PATH` of stubs
//! that take down their names and arguments. Whatever they took down must have been found.

use crate::support::process::Limited as _;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use duragent::policy::judge::{JudgedCall, Ruling, judge};
use duragent::policy::programs::runs_others;
use duragent::policy::shell::{self, Piece, Word};
use duragent::policy::{PolicyRules, Tiers, file};
use proptest::prelude::*;
use tempfile::TempDir;

/// Programs that take themselves down.
const STUBS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
/// Divides the words of a call that was taken down.
const BETWEEN: char = '\u{1f}';

/// How many scripts each property is tried with; more when `PROPTEST_CASES` says so.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES");
    asked.ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// A folder with stubs, and one in which scripts run.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Stage {
        let stage = Stage {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(stage.path("bin")).unwrap();
        for name in STUBS {
            stage.stub(name, "exit 0");
        }
        stage.stub("no", "exit 1");
        // Succeeds once: a loop's body runs, and ends.
        stage.stub(
            "once",
            "[ -e \"$STAGE/once\" ] && exit 1; : > \"$STAGE/once\"",
        );
        for real in ["bash", "env", "xargs", "timeout"] {
            symlink(
                format!("/usr/bin/{real}"),
                stage.path(&format!("bin/{real}")),
            )
            .unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn stub(&self, name: &str, then: &str) {
        // One `printf`, so that calls at the same time do not mix.
        let text = format!(
            "#!/bin/sh\nl={name}\nfor a do l=\"$l{BETWEEN}$a\"; done\n\
             printf '%s\\036' \"$l\" >> \"$STAGE/ran\"\n{then}\n"
        );
        let file = self.path(&format!("bin/{name}"));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script; returns each call of a stub, once.
    fn run(&self, script: &str) -> BTreeSet<Vec<String>> {
        drop(fs::remove_file(self.path("ran")));
        drop(fs::remove_file(self.path("once")));
        drop(fs::remove_dir_all(self.path("work")));
        fs::create_dir(self.path("work")).unwrap();
        // The pipe ends with the last process of the script, whatever that redirects. `timeout`
        // ends what a spoilt script may run for ever.
        let ended = Command::new("/usr/bin/timeout")
            .args(["-s", "KILL", "5", "/usr/bin/bash", "-c"])
            .arg("exec 9>&1; eval \"$SCRIPT\"; wait")
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("STAGE", self.folder.path())
            .env("SCRIPT", script)
            // A function that calls itself ends soon.
            .env("FUNCNEST", "3")
            .current_dir(self.path("work"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .output_in_time();
        drop(ended.unwrap());
        let ran = fs::read(self.path("ran")).unwrap_or_default();
        String::from_utf8_lossy(&ran)
            .split_terminator('\u{1e}')
            .map(|call| call.split(BETWEEN).map(str::to_owned).collect())
            .collect()
    }
}

/// Whether a call may be what a command that was found ran.
fn is_run_by(call: &[String], command: &shell::Command) -> bool {
    // What is given to one of these (a spoilt script may well say `. s0`) is the judge's to know.
    if runs_others(&command.words).is_some() {
        return true;
    }
    let is_literal = command.words.iter().all(|word| word.value().is_some());
    if is_literal {
        let words: Vec<String> = command.words.iter().filter_map(Word::value).collect();
        return words == call;
    }
    // Of words that the shell makes, the beginning of the first must fit.
    let Some(first) = command.words.first() else {
        return false;
    };
    match (first.value(), first.pieces.first()) {
        (Some(name), _) => name == call[0],
        (None, Some(Piece::Text(start))) => call[0].starts_with(start.as_str()),
        (None, _) => true,
    }
}

/// A word that says what it stands for.
fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a".to_owned()),
        Just("'b c'".to_owned()),
        Just("\"d;e\"".to_owned()),
        Just("f\\ g".to_owned()),
        Just("{k,l}".to_owned()),
        Just("m{1..3}n{,o}".to_owned()),
        Just("{p,{q,'r s'}}\"t\"".to_owned()),
        Just("{u}{v".to_owned()),
        Just("w\\{x,y}".to_owned()),
        Just("@{0}~1".to_owned()),
        Just("''".to_owned()),
        Just("i#j".to_owned()),
        Just("-x=1".to_owned()),
        Just("{}".to_owned()),
        Just("'s5'".to_owned()),
    ]
}

/// A call of a stub, spelt in some way.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(&STUBS[..]).prop_map(str::to_owned),
        1 => Just("'s0'".to_owned()),
        1 => Just("s\\1".to_owned()),
        1 => Just("\"s2\"".to_owned()),
        1 => Just("s{3,4}".to_owned()),
        1 => Just("no".to_owned()),
        1 => Just("once".to_owned()),
    ]
}

/// A script.
fn script() -> impl Strategy<Value = String> {
    let simple = (name(), prop::collection::vec(literal(), 0..3))
        .prop_map(|(name, words)| [vec![name], words].concat().join(" "));
    simple.prop_recursive(5, 24, 3, |inner| {
        let i = || inner.clone();
        let pair =
            |between: &'static str| (i(), i()).prop_map(move |(a, b)| format!("{a}{between}{b}"));
        prop_oneof![
            prop_oneof![
                (i(), name()).prop_map(|(a, n)| format!("{a}; CI=1 {n} \\\n  x # c\nexport CI=2")),
                (name(), i())
                    .prop_map(|(n, a)| format!("{n} \"$(s1 <<'E' && {a}\nit's $( ` \\\nE\n)\"")),
                i().prop_map(|a| format!("for v in {{a,b}}; do {a}\ndone 2>&1")),
                i().prop_map(|a| format!("set -e; cd . && {{ {a}; }} </dev/null")),
                pair(" && "),
                pair("||"),
                pair("; "),
                pair("\n"),
                pair(" | "),
                pair("|&"),
                pair(" & ")
            ],
            i().prop_map(|a| format!("( {a})")),
            i().prop_map(|a| format!("{{ {a}\n}}")),
            (name(), i()).prop_map(|(n, a)| format!("{n} $( {a})")),
            (name(), i()).prop_map(|(n, a)| format!("{n} \"x$( {a}\n)y\"")),
            (name(), name()).prop_map(|(n, a)| format!("{n} `{a} b`")),
            (name(), i()).prop_map(|(n, a)| format!("{n} <( {a}) z")),
            (name(), i()).prop_map(|(n, a)| format!("{n} > >( {a})")),
            (name(), i()).prop_map(|(n, a)| format!("{n} ${{x:-$( {a})}}")),
            (name(), i()).prop_map(|(n, a)| format!("{n} $((1 + $( {a})))")),
            (name(), i()).prop_map(|(n, a)| format!("{n} <<E\n$( {a}\n)\nE\n")),
            (name(), i()).prop_map(|(n, a)| format!("{n} <<'E' # c\n$( {a})\nE\n")),
            (name(), i()).prop_map(|(n, a)| format!("{n} <<-E | s1\n\tx `s2`\n\tE\n{a}")),
            (name(), i()).prop_map(|(n, a)| format!("{n} <<< \"$( {a})\"")),
            (i(), i(), i()).prop_map(|(a, b, c)| format!("if {a}\nthen {b}\nelse {c}\nfi")),
            (i(), i()).prop_map(|(a, b)| format!("while once && {a}\ndo {b}\ndone")),
            i().prop_map(|a| format!("until s0; do {a}; done")),
            (i(), i()).prop_map(|(a, b)| format!("for v in 1 $( {a}); do {b}\ndone")),
            i().prop_map(|a| format!("for ((q=0;q<2;q++)) {{ {a}\n}}")),
            (i(), i()).prop_map(|(a, b)| format!("case a in $( {a})) ;; a|b) {b}\n;; esac")),
            (i(), i()).prop_map(|(a, b)| format!("f() {{ {a}\n}}; {b}; f")),
            i().prop_map(|a| format!("function g {{ {a}\n}}\ng s1")),
            (i(), i()).prop_map(|(a, b)| format!("! {a}; time {b}")),
            (i(), i()).prop_map(|(a, b)| format!("[[ -n $( {a}) || x == y* ]] || {b}")),
            i().prop_map(|a| format!("(( $( {a}) 1 < 2 ))")),
            (i(), name()).prop_map(|(a, n)| format!("v=$( {a}) w=(1 `s3`) {n} $v")),
            i().prop_map(|a| format!("coproc {{ {a}\n}}")),
            (i(), i()).prop_map(|(a, b)| format!("{a} \\\n # c\n{b} # ' \" `\n")),
            i().prop_map(|a| format!("{a} >out 2>&1 </dev/null")),
            (i(), name()).prop_map(|(a, n)| format!("x={n}; $x a; {a}")),
        ]
    })
}

/// A script with some characters put in or taken out. No `/`: nothing outside of the stage has a
/// name then.
fn spoilt() -> impl Strategy<Value = String> {
    let letters: Vec<char> = "'\"\\$`(){}<>|&;#\n \t*?[]=!~-@^%:,.0sEx".chars().collect();
    let change = (
        any::<prop::sample::Index>(),
        prop::sample::select(letters),
        any::<bool>(),
    );
    (script(), prop::collection::vec(change, 1..4)).prop_map(|(script, changes)| {
        let mut letters: Vec<char> = script.replace("</dev/null", "").chars().collect();
        for (at, letter, is_added) in changes {
            let at = at.index(letters.len());
            if is_added {
                letters.insert(at, letter);
            } else {
                letters[at] = letter;
            }
        }
        letters.into_iter().collect()
    })
}

fn all_that_ran_was_found(stage: &Stage, script: &str) -> Result<(), TestCaseError> {
    let Ok(found) = shell::parse(script) else {
        return Ok(());
    };
    for call in stage.run(script) {
        let is_found = found.commands.iter().any(|one| is_run_by(&call, one));
        prop_assert!(is_found, "{:?} ran, found are {:#?}", call, found.commands);
    }
    Ok(())
}

fn rules(text: &str) -> PolicyRules {
    let text = format!("apiVersion: duragent/v1alpha1\nkind: Policy\n{text}");
    let tier = file::parse(text, Path::new("policy.yaml"), &|_| None).unwrap();
    let tiers = Tiers {
        agent: Some(tier),
        ..Tiers::default()
    };
    tiers.merged()
}

/// Ways to run something that is not one of the words.
fn trick() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "eval 's5 x'",
        "eval s5",
        "bash -c s5",
        "env s5",
        "s0 | xargs s5",
        "timeout 1 s5",
        "exec s5",
        "command s5",
        "builtin eval s5",
        "x=s5; $x",
        "trap s5 EXIT",
        "test -v 'a[$(s5)]'",
        "[ -v 'a[$(s5)]' ]",
        "printf -v 'a[$(s5)]' x",
        "read 'a[$(s5)]' <<< x",
        "let 'a[$(s5)]=1'",
        "declare 'a[$(s5)]=1'",
        "unset 'a[$(s5)]'",
        "[[ 'a[$(s5)]' -eq 0 ]]",
        "a='b[$(s5)]'; (( a ))",
        "a='b[$(s5)]'; s0 ${c[a]}",
        "a='$(s5)'; s0 \"${a@P}\"",
        "s0() { \"$@\"; }; s0 s5",
        "s0() { s5; }; s0",
        "hash -p \"$STAGE/bin/s5\" s0; s0",
        "shopt -s expand_aliases\nalias s0=s5\ns0",
        "source <(echo s5)",
        ". /dev/stdin <<< s5",
        "mapfile -C s5 -c 1 x <<< a",
        "for BASH_ENV in x; do s0; done",
        "PROMPT_COMMAND=s5 s0",
        "complete -C s5 x; compgen -C s5 x",
        "jobs -x s5",
        "enable -n s0; s0 $(s5)",
        "time s5",
        "! s5",
        "coproc s5",
        "s\\5",
        "s{5,0}",
        "$'s5'",
        "s0 >(s5)",
        "s0 <<E\n$(s5)\nE",
        "cat <<\\\n-E\nE\ns5\n-E\n",
        "declare -A x; x[ #]=1; s5\n]=2",
        "s0&\\\n&s5",
        "$\\\n(s5)",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_bash_runs_was_found(script in script()) {
        all_that_ran_was_found(&Stage::new(), &script)?;
    }

    #[test]
    fn whatever_bash_runs_of_a_spoilt_script_was_found(script in spoilt()) {
        all_that_ran_was_found(&Stage::new(), &script)?;
    }

    #[test]
    fn only_what_is_allowed_runs_unasked(
        parts in prop::collection::vec(prop_oneof![script(), spoilt(), trick()], 1..3),
    ) {
        let script = parts.join("\n");
        let rules = rules("allow: ['bash:s0*', 'bash:s1*', 'bash:s2*', 'bash:s3*', 'bash:no*', 'bash:once*', \
                           'bash:bash*', 'bash:env*', 'bash:xargs*', 'bash:\\[\\[ *', 'bash:*eval*', 'bash:test *']");
        if judge(&rules, &JudgedCall::Shell(Some(&script))).ruling == Ruling::Allow {
            for call in Stage::new().run(&script) {
                prop_assert!(!["s4", "s5"].contains(&call[0].as_str()), "{:?} ran", call);
            }
        }
    }

    #[test]
    fn what_is_denied_does_not_run_unasked_even_where_all_else_does(
        parts in prop::collection::vec(prop_oneof![script(), spoilt()], 1..3),
    ) {
        let script = parts.join("\n");
        let rules = rules("mode: dangerous\ndeny: ['bash:s1', 'bash:s1 *', 'bash:s4*']");
        if judge(&rules, &JudgedCall::Shell(Some(&script))).ruling == Ruling::Allow {
            for call in Stage::new().run(&script) {
                prop_assert!(!["s1", "s4"].contains(&call[0].as_str()), "{:?} ran", call);
            }
        }
    }

    #[test]
    fn no_text_is_too_odd(text in "[ -~\n\t]{0,60}|(\\PC|[$`'\"(){}<>|&;\\\\\n]){0,40}") {
        drop(shell::parse(&text));
        drop(shell::loose::phrases(&text));
    }
}

#[test]
fn each_trick_runs_what_is_not_allowed_and_none_does_so_unasked() {
    let stage = Stage::new();
    let rules = rules("allow: ['bash:s0*', 'bash:x*', 'bash:a*']");
    let tricks = [
        "eval s5",
        "bash -c s5",
        "test -v 'a[$(s5)]'",
        "printf -v 'a[$(s5)]' x",
        "[[ 'a[$(s5)]' -eq 0 ]]",
        "a='b[$(s5)]'; (( a ))",
        "hash -p \"$STAGE/bin/s5\" s0; s0",
        "cat <<\\\n-E\nE\ns5\n-E\n",
        "declare -A x; x[ #]=1; s5\n]=2",
        "$\\\n(echo s5)",
    ];
    for script in tricks {
        let ran: Vec<_> = stage.run(script).into_iter().collect();
        assert!(!ran.is_empty(), "{script}");
        let ruling = judge(&rules, &JudgedCall::Shell(Some(script))).ruling;
        assert_eq!(ruling, Ruling::Ask, "{script}");
    }
}

#[test]
fn what_bash_reads_in_an_unusual_way_runs_nothing_unasked() {
    let stage = Stage::new();
    let allow = "allow: ['bash:s0*', 'bash:\\[\\[ *', 'bash:test *', 'bash:\\[ *', 'bash:echo *', 'bash:true', 'bash:wait *', 'bash:0*']";
    let (asking, dangerous) = (rules(allow), rules("mode: dangerous\ndeny: ['bash:s5*']"));
    let tricks = [
        // The parentheses of a pattern end at their own, whatever stands in between.
        "[[ a =~ (x ]] # '\necho ') ]] || s5 #'",
        "[[ a =~ b(x ]] # '\necho ') ]] || s5 #'",
        "[[ a == @(x ]] # '\necho ') ]] || s5 #'",
        // In a substitution a here-document ends with its word, and with that and more.
        "echo $(s0 <<E\nE s5 )\nE\n)",
        "s0 <(s0 <<-E\n\tE s5 )\nE\n)",
        // A descriptor may have leading zeros.
        "0000000002>x s5",
    ];
    for script in tricks {
        let ran: Vec<_> = stage.run(script).into_iter().collect();
        assert!(ran.contains(&vec!["s5".to_owned()]), "{script}: {ran:?}");
        for rules in [&asking, &dangerous] {
            let ruling = judge(rules, &JudgedCall::Shell(Some(script))).ruling;
            assert_ne!(ruling, Ruling::Allow, "{script}");
        }
    }
    // `$_` is set by every command, and evaluated where a number is expected.
    for script in [
        "echo 'a[$(s5)]'; [[ _ -eq 0 ]]",
        "echo 'a[$(s5)]'; [[ 3 -lt 1+_ ]]",
        "echo 'a[$(s5)]'; test -v 'PIPESTATUS[_]'",
        "echo 'a[$(s5)]'; [ -v 'PIPESTATUS[_]' ]",
        "echo 'a[$(s5)]'; [[ -v 'PIPESTATUS[_]' ]]",
    ] {
        let ran = stage.run(script);
        assert!(ran.contains(&vec!["s5".to_owned()]), "{script}: {ran:?}");
        let ruling = judge(&asking, &JudgedCall::Shell(Some(script))).ruling;
        assert_eq!(ruling, Ruling::Ask, "{script}");
    }
}

#[test]
fn the_stage_takes_down_what_runs() {
    let stage = Stage::new();
    let ran = stage.run("s0 'a b' | s1 & (sleep 0; s2) >/dev/null; s9");
    let expected = [vec!["s0", "a b"], vec!["s1"], vec!["s2"]];
    let expected = expected.map(|call| call.into_iter().map(str::to_owned).collect());
    assert_eq!(ran, BTreeSet::from(expected));
}
