use super::*;

fn found(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(script) => script.commands.iter().map(shown).collect(),
        Err(error) => vec![format!("? {}", error.why)],
    }
}

/// `[assignments] words {redirections}`, `…` for what only the shell knows.
fn shown(command: &Command) -> String {
    let value = |word: &Word| -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Unknown => "…".to_owned(),
        };
        word.pieces.iter().map(piece).collect()
    };
    let mut parts: Vec<String> = command
        .assignments
        .iter()
        .map(|word| format!("[{}]", word.raw))
        .collect();
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

#[test]
fn a_script_is_split_into_its_simple_commands() {
    for (text, expected) in [
        ("", vec![]),
        ("# ls\n  # rm", vec![]),
        ("ls -l", vec!["ls|-l"]),
        (
            "a && b || c; d & e | f |& g\nh",
            vec!["a", "b", "c", "d", "e", "f", "g", "h"],
        ),
        ("a;b&c;", vec!["a", "b", "c"]),
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
        (
            "for x in 1 $(a); do b $x; done",
            vec!["a", "[for x in 1 $(a)]", "b|…"],
        ),
        (
            "for ((i=0;i<3;i++)); do a; done",
            vec!["[for ((i=0;i<3;i++))]", "a"],
        ),
        (
            "case $(a) in x|y) b;; (z) c ;;& *) d; esac; e",
            vec!["a", "b", "c", "d", "e"],
        ),
        (
            "f() { a; }; function g { b; }; function h () ( c ); f",
            vec!["a", "b", "c", "f"],
        ),
        (
            "coproc a b; coproc N { c; }",
            vec!["[coproc]", "a|b", "[coproc]", "c"],
        ),
        (
            "[[ -f x && $y == *z ]] && a",
            vec!["[[|-f|x|…|==|…z|]]", "a"],
        ),
        ("((x=1+2)); a", vec!["[((x=1+2))]", "a"]),
        (
            "a $(b `c \\`d\\``) <(e) >(f)",
            vec!["a|…|…|…", "b|…", "c|…", "d", "e", "f"],
        ),
        ("a \"x$(b \"$(c)\")y\"", vec!["a|x…y", "b|…", "c"]),
        (
            "a ${x:-$(b)} \"${y#`c`}\" $((1 + $(d)))",
            vec!["a|…|…|…", "b", "c", "d"],
        ),
        ("x=1 y=$(a) b", vec!["[x=1]|[y=$(a)]|b", "a"]),
        (
            "x=(1 $(a)\n2) y+=(3)",
            vec!["[x=(1 $(a)\n2)]|[y+=(3)]", "a"],
        ),
        ("a[1]=2 b", vec!["[a[1]=2]|b"]),
        (
            "r\\m 'a b'\"c d\" $'e\\tf\\x41' ''",
            vec!["rm|a bc d|e\tfA|"],
        ),
        ("a \\\n  b # c\nd", vec!["a|b", "d"]),
        ("a#b c #d", vec!["a#b|c"]),
        ("a {} [ ] x{1,2} y* ~/z", vec!["a|{}|[|]|…|y…|…/z"]),
        ("{a,b}", vec!["…"]),
        ("$x y; ${z}w", vec!["…|y", "…w"]),
        ("echo $ a$ \"$\"", vec!["echo|$|a$|$"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn redirections_are_told_by_what_they_do() {
    for (text, expected) in [
        ("a > f", "a|{>w f}"),
        ("a >>f 2>&1", "a|{>>w f}|{>&- 1}"),
        ("a &>f", "a|{&>w f}"),
        (
            "a 2>/dev/null >&2 <&- 3>&1-",
            "a|{>- /dev/null}|{>&- 2}|{<&- -}|{>&- 1-}",
        ),
        ("a >& f", "a|{>&w f}"),
        ("a <f <<<'x y'", "a|{<r f}|{<<<r x y}"),
        ("a <>f", "a|{<>w f}"),
        ("a </dev/tcp/h/1", "a|{<w /dev/tcp/h/1}"),
        ("a <//dev//tcp/h/1", "a|{<w //dev//tcp/h/1}"),
        ("a {x}<f", "a|{<w f}"),
        ("a <$x", "a|{<w …}"),
        ("a2>f", "a2|{>w f}"),
        (">f", "{>w f}"),
        ("a <<E; b\nx $y\nE", "a|{<<r …}\nb"),
        ("a <<'E'\n$(b)\nE\nc", "a|{<<r $(b)\n}\nc"),
        ("a <<-E\n\tx $(b)\n\tE\nc", "a|{<<-r …}\nb\nc"),
        ("$(a <<E\nx\nE\n)", "…\na|{<<r x\n}"),
        ("{ a; } >f; (b) 2>&1", "a\n{>w f}\nb"),
        ("while a; do b; done <<E\nx\nE\nc", "a\nb\n{<<r x\n}\nc"),
    ] {
        assert_eq!(found(text).join("\n"), expected, "{text}");
    }
}

#[test]
fn what_is_not_certain_is_refused() {
    for text in [
        "a 'b",
        "a \"b",
        "a `b",
        "a $(b",
        "a ${b",
        "a $((1",
        "(a",
        "{ a",
        "if a; then b",
        "a )",
        "a; }",
        "a;;",
        "a && ",
        "&& a",
        "a | | b",
        "fi",
        "a <<E\nx",
        "a <<E",
        "a <",
        "case x in a) b",
        // Bash joins what the line's end divides.
        "a&\\\n&b",
        "r\\\nm x",
        "a <<\\\n-E\nE\nrm\n-E\n",
        "$\\\n(a)",
        // What looks like a comment is a subscript.
        "x[ #]=1; rm y\n]=2",
        "x=([ #]=1; rm y\n)",
        // One parse tree in one version, one in another.
        "$((a) | (b))",
        "((a); (b))",
        "cat <<E $(echo\na)\nE\n",
        "$(cat <<E\nx\nE)",
        // What is evaluated although it is quoted.
        "[[ 'x[$(rm)]' -eq 0 ]]",
        "$(( 'x[$(rm)]' ))",
        "${x@P}",
        "${!x}",
        "${ rm; }",
        "a <<E\nx\\\nE\nE\n",
        "a $[1]",
        "\"${x:-'a}'\"",
        "a\0b",
        "a(b)",
        "[[ x =~ a|b ]]",
        "a <<$(b)\n",
    ] {
        assert!(parse(text).is_err(), "{text}: {:?}", found(text));
    }
    let deep = format!("{}a{}", "$(".repeat(30), ")".repeat(30));
    assert!(parse(&deep).is_err());
    assert!(parse(&" ".repeat(70_000)).is_err());
}

#[test]
fn the_text_of_a_command_is_as_it_is_written() {
    let script = parse("x=1 r\\m  'a b' >f ; ls  # c").unwrap();
    let texts: Vec<&str> = script
        .commands
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    assert_eq!(texts, ["x=1 r\\m  'a b' >f", "ls"]);
}

#[test]
fn the_deepest_nesting_fits_half_the_stack_of_a_thread() {
    let parts = [
        ("$(", ")"),
        ("\"$(", ")\""),
        ("{ ", "; }"),
        ("${x:-$(", ")}"),
        ("if a; then ", "; fi"),
        ("f() { ", "; }"),
        ("echo $((1+$(", ")))"),
        ("x=($(", "))"),
        ("case a in a) ", ";; esac"),
        ("[[ -n $(", ") ]]"),
    ];
    let body = move || {
        for (open, close) in parts {
            for levels in [6, 11, 23, 24, 100, 4_000] {
                let script = format!("{}a{}", open.repeat(levels), close.repeat(levels));
                drop(parse(&script));
            }
        }
    };
    let thread = crate::base::thread::spawn("deep", crate::base::thread::STACK_WORK / 2, body);
    drop(thread.unwrap());
}
