use super::*;

fn found(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(script) => script.commands.iter().map(shown).collect(),
        Err(error) => vec![format!("? {}", error.why)],
    }
}

/// `[assignments] words {redirections}`; of what only the shell knows `…` for what stays within
/// the word, `@` for what may be several, `~` for a home.
fn shown(command: &Command) -> String {
    let assigned = |one: &Assignment| format!("[{}={}]", one.name, value(&one.value));
    let mut parts: Vec<String> = command.assignments.iter().map(assigned).collect();
    parts.extend(command.words.iter().map(value));
    parts.extend(command.redirections.iter().map(|one| {
        let mark = match one.flow {
            Flow::Read => "r",
            Flow::Write => "w",
            Flow::Harmless => "-",
        };
        format!("{{{}{mark} {}}}", one.operator, value(&one.target))
    }));
    parts.join("|")
}

fn value(word: &Word) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Within => "…".to_owned(),
        Piece::Splitting => "@".to_owned(),
        Piece::Home => "~".to_owned(),
    };
    word.pieces.iter().map(piece).collect()
}

#[test]
fn a_script_is_split_into_its_simple_commands() {
    for (text, expected) in [
        ("", vec![]),
        ("# ls\n  # rm", vec![]),
        ("ls -l", vec!["ls|-l"]),
        (
            "a && b || c; d | e |& f\ng",
            vec!["a", "b", "c", "d", "e", "f", "g"],
        ),
        ("(a; b) && { c; d; }", vec!["a", "b", "c", "d"]),
        ("! a | b; time -p c; time d", vec!["a", "b", "c", "d"]),
        (
            "if a; then b; elif c; then d; else e; fi",
            vec!["a", "b", "c", "d", "e"],
        ),
        (
            "while a; do b; done; until c\ndo d\ndone",
            vec!["a", "b", "c", "d"],
        ),
        ("for x in 1 $(a); do b $x; done", vec!["a", "b|@"]),
        ("a $(b \"$(c)\") \"$(d)\"", vec!["a|@|…", "b|…", "c", "d"]),
        ("a \\\n  -b # c\nd", vec!["a|-b", "d"]),
        ("ifx then; x=1 y=$z if", vec!["ifx|then", "[x=1]|[y=@]|if"]),
        (
            "a <b 2>&1 >/dev/null >c </dev//tcp/h/1",
            vec!["a|{<r b}|{>&- 1}|{>- /dev/null}|{>w c}|{<w /dev//tcp/h/1}"],
        ),
        ("{ a; } >b", vec!["a", "{>w b}"]),
        (
            "a <<E | b\n$ x\nE",
            vec!["? a here-document with expansions"],
        ),
        (
            "a <<'E' && b\n$(x) \\\nE\nc",
            vec!["a|{<<r $(x) \\\n}", "b", "c"],
        ),
        ("a \"$(b <<E\nit's\nE\n)\"", vec!["a|…", "b|{<<r it's\n}"]),
        (
            "a \"x $(cat <<'E'\n$y it's\n\nE\n)\"",
            vec!["a|x $y it's", "cat|{<<r $y it's\n\n}"],
        ),
        (
            "a \"$(cat b <<E\nE\n)$(for i in 1 2; do cat <<E\nb\nE\ndone)\" $(cat <<E\nb\nE\n)",
            vec!["a|……|@", "cat|b|{<<r }", "cat|{<<r b\n}", "cat|{<<r b\n}"],
        ),
        ("a <<<\"x $y\"", vec!["a|{<<<r x …}"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn words_are_what_the_shell_makes_of_them() {
    for (text, expected) in [
        ("a 'b c' \"d e\" f\\ g h'i'\"j\"", "a|b c|d e|f g|hij"),
        ("a '' \"\" -", "a|||-"),
        ("a $b ${c} \"$d\" x$e $?", "a|@|@|…|x@|@"),
        ("a \"\\$b \\x \\\\\" '$c' $ \"$\"", "a|$b \\x \\|$c|$|$"),
        (
            "a *.rs src/[ab]?.rs [ '[' ] x[",
            "? what may be a subscript",
        ),
        ("a *.rs src/[ab]?.rs [ '*' ]", "a|….rs|src/…….rs|[|*|]"),
        (
            "a ~ ~/b ~c/d e~ HEAD~1 x=~/y",
            "a|~|~/b|~/d|e~|HEAD~1|x=…/y",
        ),
        ("a {} {x} stash@{0} }b{ {", "a|{}|{x}|stash@{0}|}b{|{"),
        (
            "a {b,c}d x{1..3} e{,f} {g,{h,i}}",
            "a|bd|cd|x1|x2|x3|e|ef|g|h|i",
        ),
        ("a {$b,c}/*.rs {,}", "a|@/….rs|c/….rs"),
        ("a '{b,c}' \\{b,c} {b\\,c}", "a|{b,c}|{b,c}|{b,c}"),
        ("a b#c '#d' --e=f ä\u{a0}b", "a|b#c|#d|--e=f|ä\u{a0}b"),
    ] {
        assert_eq!(found(text), [expected], "{text}");
    }
}

#[test]
fn all_else_is_outside() {
    for text in [
        "case a in b) c;; esac",
        "f() { a; }",
        "function f { a; }",
        "f () a",
        "select x in a; do b; done",
        "[[ a ]]",
        "((a))",
        "a $((1))",
        "a $[1]",
        "coproc a",
        "for x; do a; done",
        "for ((;;)); do a; done",
        "for x.y in a; do b; done",
        "for x in a; { b; }",
        "a &",
        "a & b",
        "a `b`",
        "a \"`b`\"",
        "a <(b)",
        "a >(b)",
        "a<(b)",
        "a > >(b)",
        "a ${b:-c}",
        "a ${#b}",
        "a ${b[0]}",
        "a ${!b}",
        "a ${b@P}",
        "a ${}",
        "a {x},--y}",
        "a m{1..3}n{},o}",
        "a ${b",
        "a $1",
        "a $@",
        "a \"$*\"",
        "a $$",
        "a $!",
        "a $#",
        "a $-",
        "a $'b'",
        "a $\"b\"",
        "$a",
        "${a} b",
        "$(a)",
        "l{s,}",
        "l*",
        "~/a",
        "a[0]=1",
        "a[",
        "x=(1)",
        "a=(b) c",
        "x+=(1)",
        "a <<-E\nE",
        "a <<E\n$b\nE",
        "a <<E\n`b`\nE",
        "a <<E\nb\\\nE",
        "a <<E",
        "a <<E\nb",
        "a <<$x\n$x",
        "a <<E <<F\n$b\nE\nF",
        "a $(b <<E\nE)\nE\n)",
        "a \\\nb\\\nc",
        "a\\\nb",
        "a &&\\\nb",
        "a \"b\\\nc\"",
        "a 'b",
        "a \"b",
        "a $(b",
        "(a",
        "{ a",
        "a)",
        "}",
        "then",
        "a;;b",
        "a; ; b",
        "if a; then b",
        "a ||",
        "| a",
        "a <",
        "a > $(b) c d >",
        "a {b,c",
        "a {a..z}",
        "a {1..9..2}",
        "a {01..3}",
        "a {3..1}",
        "a {{b,c}",
        "a {b}{c,d",
        "{x}>b a",
        "a {x}>b",
        "a 123>b",
        "a >{b,c}",
        "a\0b",
        "a\u{7f}",
        "a\u{1}",
        "a\r\nb",
        "a\u{85}b",
        "echo x[ #]=1; b\n]=2",
        "a @(b)",
        "a (b)",
        "time ! a | time b",
        "a | ! b",
        "esac",
        "in x",
        "[[",
        "a\n]]",
    ] {
        assert!(parse(text).is_err(), "{text}: {:?}", found(text));
    }
    let deep = |count: usize| format!("{}a{}", "(".repeat(count), ")".repeat(count));
    // `((` is arithmetic.
    assert!(parse(&deep(2)).is_err());
    let deep = |count: usize| format!("{}a{}", "( ".repeat(count), ")".repeat(count));
    assert!(parse(&deep(20)).is_ok() && parse(&deep(40)).is_err());
    assert!(parse(&"a ".repeat(40_000)).is_err());
}

#[test]
fn the_variables_of_a_command_are_known_those_of_its_substitutions_too() {
    let script = parse("a $b \"$(c ${d})\"; e; for f in $g; do h \"$f\"; done").unwrap();
    let variables: Vec<&[String]> = script
        .commands
        .iter()
        .map(|one| one.variables.as_slice())
        .collect();
    assert_eq!(variables, [&["b", "d"][..], &["d"], &[], &["f"]]);
    assert_eq!(script.loops[0].text, "for f in $g");
}

#[test]
fn of_any_text_the_phrases_are_found() {
    for (text, expected) in [
        ("a b; c 'd e' & f | g", vec!["a|b", "c|d e", "f", "g"]),
        ("if a; then r\\m b; fi", vec!["if|a", "then|rm|b", "fi"]),
        ("f() { rm b; }", vec!["f", "rm|b"]),
        ("a $(rm b) `c d`", vec!["a|@", "rm|b", "c|d"]),
        ("a >b<c", vec!["a|>|b|<|c"]),
        (
            "a >b 2>&1 & c >|d <&3 | e &>f",
            vec!["a|>|b|2|>&|1", "c|>||d|<&|3", "e", ">|f"],
        ),
        (
            "$'r\\x6d' \"x $(y)\" ${z} ${a:-b c}",
            vec!["rm|x $(y)|@|@a:-b|c}"],
        ),
        ("a \\\n b 'c", vec!["a|b|c"]),
        ("\\", vec!["\\"]),
    ] {
        let phrases = loose::phrases(text);
        let words = |words: &[Word]| words.iter().map(value).collect::<Vec<_>>().join("|");
        let found: Vec<String> = phrases.iter().map(|one| words(&one.words)).collect();
        assert_eq!(found, expected, "{text}");
    }
}
