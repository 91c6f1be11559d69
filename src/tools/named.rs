//! What the script of a tool may name, should it be a file: rather too much than too little.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;

use crate::base::words;
use crate::domain::spec::WORK_FOLDER;
use crate::policy::NamedFiles;

/// What stands between names in a script, also in one that is quoted in it.
const BETWEEN: [char; 15] = [
    ' ', '\t', '\r', '\n', '\'', '"', '`', '|', '&', ';', '<', '>', '(', ')', '=',
];
/// Words by which a script goes to another folder, or looks for programs there.
const MOVES: [&str; 6] = ["cd", "pushd", "chdir", "-C", "PATH", "CDPATH"];
const MOVING_OPTIONS: [&str; 3] = ["--chdir", "--directory", "-C"];
/// What makes a letter of a number within `$'…'`.
const CODED: [&str; 12] = [
    "\\x", "\\u", "\\U", "\\c", "\\0", "\\1", "\\2", "\\3", "\\4", "\\5", "\\6", "\\7",
];
/// A longer text is the path of nothing.
const PATH_BYTES_MAX: usize = 4096;
/// Of more words nothing can be told.
const WORDS_MAX: usize = 2_000;

/// The files that a script of the agent at `home` may name, with globs where it has some. A
/// variable of this process or of the agent's is filled in, and may also be anything; an argument
/// is the model's.
pub(super) fn names(script: &str, home: &Path, cwd: &Path) -> NamedFiles {
    let pieces = pieces(script);
    let mut moves = false;
    let mut words = BTreeSet::new();
    for piece in &pieces {
        let option = MOVING_OPTIONS.iter().find_map(|it| piece.strip_prefix(it));
        moves |= MOVES.contains(&piece.as_str()) || option.is_some();
        words.extend(option.map(str::to_owned));
        if let Some(below) = below_a_variable(piece) {
            // It may hold the name of any folder that another word is.
            moves = true;
            words.insert(below.to_owned());
        }
        words.extend((0..VALUES).filter_map(|which| filled_in(piece, which, home, cwd)));
    }
    words.remove("");
    let is_coded = script.contains("$'") && CODED.iter().any(|code| script.contains(code));
    let is_whole =
        words.len() <= WORDS_MAX && !is_coded && !pieces.iter().any(|it| lists_paths(it));
    NamedFiles {
        cwd: cwd.to_owned(),
        words,
        moves,
        is_whole,
    }
}

/// The words of a script, what they are made of, and the same however the quotes around them stand,
/// which comments and here-documents may confuse.
fn pieces(script: &str) -> BTreeSet<String> {
    let script = script.replace("\\\n", "");
    let script = without_outputs(&script.replace("$'", "'").replace("$\"", "\""));
    let bare = script.replace(['\'', '"', '\\'], "");
    let whole = words::split(&script).unwrap_or_else(|_| vec![script]);
    let inner = whole.iter().map(String::as_str).chain([bare.as_str()]);
    let inner: Vec<&str> = inner.flat_map(|word| word.split(BETWEEN)).collect();
    // In lists like that of `PATH`, and in `${x:-y}`.
    let parts = inner
        .iter()
        .flat_map(|word| word.split([':', '{', '}', ',']));
    let parts = parts.map(|part| part.trim_start_matches(['-', '+', '?']));
    let small: BTreeSet<String> = inner
        .iter()
        .copied()
        .chain(parts)
        .map(str::to_owned)
        .collect();
    whole.into_iter().chain(small).collect()
}

/// What stands behind the `/` behind a variable that a script may have set.
fn below_a_variable(piece: &str) -> Option<&str> {
    let (name, rest) = variable(piece.strip_prefix('$')?);
    let is_set_here = !matches!(name, "DURAGENT_AGENT_HOME" | "HOME" | "PWD");
    rest.strip_prefix('/').filter(|_| is_set_here)
}

/// Whether braces make several paths of a word, each of several parts.
fn lists_paths(piece: &str) -> bool {
    if piece.len() > PATH_BYTES_MAX {
        // Each brace would look through all of it.
        return piece.contains('{') && !piece.contains([' ', '\n', '\t']);
    }
    let mut before = ' ';
    for (at, letter) in piece.char_indices() {
        if letter == '{' && before != '$' {
            let inner = piece[at + 1..].split('}').next().unwrap_or_default();
            let is_list = inner.contains(',') || inner.contains("..");
            if is_list && inner.contains('/') && !inner.contains([' ', '\n', '\t']) {
                return true;
            }
        }
        before = letter;
    }
    false
}

/// A script without the files that it only writes: what stands in them is no part of it.
fn without_outputs(script: &str) -> String {
    let mut kept = String::with_capacity(script.len());
    let mut rest = script;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = after_output(rest).filter(|_| !kept.ends_with('<')) {
            rest = after;
            kept.push(' ');
            continue;
        }
        let taken = match letter {
            '\'' | '"' | '\\' => quoted_length(rest),
            letter => letter.len_utf8(),
        };
        let (same, after) = rest.split_at(taken);
        kept.push_str(same);
        rest = after;
    }
    kept
}

/// What follows a redirection to a file, if a text begins with one whose target runs nothing.
fn after_output(text: &str) -> Option<&str> {
    let output = text.strip_prefix('>')?;
    let target = output.trim_start_matches(['>', '|', '&']);
    let target = target.trim_start_matches([' ', '\t']);
    let (target, after) = target.split_at(word_length(target));
    let runs = output.starts_with('(') || target.contains(['(', '`']) || target.ends_with('$');
    (!runs).then_some(after)
}

/// The bytes of the word that a text begins with.
fn word_length(text: &str) -> usize {
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        at += match letter {
            '\'' | '"' | '\\' => quoted_length(&text[at..]),
            ' ' | '\t' | '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' => return at,
            letter => letter.len_utf8(),
        };
    }
    at
}

/// The bytes of what is quoted at the beginning of a text; all of it if it does not end.
fn quoted_length(text: &str) -> usize {
    let mut letters = text.char_indices();
    let quote = letters.next().map_or('\\', |(_, quote)| quote);
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            ('\\', _) => return at + letter.len_utf8(),
            ('"', '\\') => drop(letters.next()),
            (quote, letter) if quote == letter => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// So many values are tried for the variables of a word.
const VALUES: usize = 3;

/// A word with one of the values that its variables may have; `None` for what names nothing.
fn filled_in(word: &str, which: usize, home: &Path, cwd: &Path) -> Option<String> {
    let word = match word.strip_prefix('~') {
        Some("") => "$HOME".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("$HOME{rest}"),
        Some(rest) if rest == "+" || rest.starts_with("+/") => format!("$PWD{}", &rest[1..]),
        Some(_) | None => word.to_owned(),
    };
    let mut pieces = word.split('$');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let mut is_known = !text.is_empty();
    for piece in pieces {
        let (name, rest) = variable(piece);
        let value = value(name, which, home, cwd);
        is_known |= value.is_some() || !rest.is_empty();
        text.push_str(value.as_deref().unwrap_or("*"));
        text.push_str(rest);
        if text.len() > PATH_BYTES_MAX {
            return None;
        }
    }
    (is_known && !text.is_empty()).then_some(text)
}

/// What a variable may be; `None` is anything: a script may set each itself.
fn value(name: &str, which: usize, home: &Path, cwd: &Path) -> Option<String> {
    let shown = |path: &Path| Some(path.to_string_lossy().into_owned());
    match (name, which) {
        ("DURAGENT_AGENT_HOME", _) => shown(home),
        ("PWD", 0) => shown(cwd),
        // In a sandbox.
        ("HOME", 1) => shown(&home.join(WORK_FOLDER)),
        (name, 0) => env::var(name).ok(),
        (_, _) => None,
    }
}

/// The name that begins what follows a `$`, and the rest.
fn variable(piece: &str) -> (&str, &str) {
    if let Some((name, rest)) = piece
        .strip_prefix('{')
        .and_then(|inner| inner.split_once('}'))
    {
        return (name, rest);
    }
    // `$@` and the like are arguments, and so is `$1`.
    if piece.starts_with(|first: char| "@*#?!-".contains(first) || first.is_ascii_digit()) {
        return piece.split_at(1);
    }
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let end = piece.find(|letter| !is_name(letter));
    piece.split_at(end.unwrap_or(piece.len()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn whatever_could_be_a_file_is_named() {
        for (script, name) in [
            ("a.sh | b", "a.sh"),
            ("cat<a.txt|sh", "a.txt"),
            ("x=run.sh; sh $x", "run.sh"),
            ("sh -c 'python3 x.py | y'", "x.py"),
            ("cat 'a b.txt' | y", "a b.txt"),
            ("\"$DURAGENT_AGENT_HOME\"/tools/x | y", "/a/ada/tools/x"),
            ("${DURAGENT_AGENT_HOME}/x | y", "/a/ada/x"),
            ("cat <<E\ndon't read.me\nE", "read.me"),
            ("ls *.rs", "*.rs"),
            ("for d in a; do $d/run; done", "*/run"),
            ("echo x > f; sh f", "f"),
            ("cat '>' f | sh", "f"),
            ("echo \\> f | sh", "f"),
            ("tee >(sh f)", "f"),
            ("sh <> f", "f"),
            ("echo > \"$(sh f)\"", "f"),
            ("echo >`sh f`", "f"),
            ("# it's\nsh r\"u\"n # it's", "run"),
            ("sh $'run' | y", "run"),
            ("sh \"${x:-run}\" | y", "run"),
            ("PATH=bin:$PATH; run", "bin"),
            ("cd bin; ./run", "./run"),
            ("sh $PWD/x | y", "/a/ada/work/x"),
            ("sh ~+/x | y", "/a/ada/work/x"),
            ("sh ~/x | y", "/a/ada/work/x"),
            ("d=bin/sub; $d/run", "run"),
        ] {
            let named = named(script).words;
            assert!(named.contains(name), "{script}: {named:?}");
        }
        let named = named("sort \"$@\" | $x").words;
        assert!(!named.iter().any(|one| one.starts_with('*')), "{named:?}");
    }

    #[test]
    fn what_is_only_written_may_be_another_each_time() {
        for script in ["a >> f", "a >f|b", "a 2> 'f'; b", "a &>f", "a >| \"f\""] {
            assert!(!named(script).words.contains("f"), "{script}");
        }
    }

    #[test]
    fn a_script_that_may_go_elsewhere_is_told_from_one_that_does_not() {
        for script in [
            "cd x && ./run",
            "pushd x; ./run",
            "c''d x; ./run",
            "sh -c 'cd x; ./run'",
            "env -C x ./run",
            "env --chdir=x ./run",
            "PATH=x:$PATH; run",
            "d=x/y; $d/run",
        ] {
            assert!(named(script).moves, "{script}");
        }
        for script in ["a | b", "\"$DURAGENT_AGENT_HOME/x\" | y", "cat ~/x $PWD/y"] {
            assert!(!named(script).moves, "{script}");
        }
    }

    #[test]
    fn of_what_cannot_be_told_nothing_is() {
        let many = (0..=WORDS_MAX)
            .map(|n| format!("w{n} "))
            .collect::<String>()
            + "; ./run";
        for script in ["sh $'r\\x75n' | y", "sh {a/b,c/d}.sh | y", &many] {
            assert!(!named(script).is_whole, "{script}");
        }
        for script in [
            "sort -t $'\\t' x | y",
            "awk '{print $1/2, $2}' x | y",
            "echo ${x%/*} | y",
            "sh {a,b}.sh",
        ] {
            assert!(named(script).is_whole, "{script}");
        }
    }

    #[test]
    fn the_work_grows_no_faster_than_the_script() {
        for part in ["{", "{a", "$HOME", "${", "'", "\"$(", "> ", "x{a,b/"] {
            let begun = Instant::now();
            let script = part.repeat(200_000 / part.len());
            drop((named(&script), words::is_script(&script)));
            // A hundred times what it takes; each letter times each other would be hours.
            assert!(begun.elapsed() < Duration::from_secs(10), "{part}");
        }
    }

    fn named(script: &str) -> NamedFiles {
        names(script, Path::new("/a/ada"), Path::new("/a/ada/work"))
    }
}
