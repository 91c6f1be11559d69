//! Programs that run what they are given: whoever allows them allows everything. Pure.
//!
//! `docs/policy.md` lists them; a test compares.

use super::lexer::{Piece, Word};

/// They run the command, or the script, in their arguments or input.
pub const RUNNERS: &[&str] = &[
    // Wrappers.
    "at",
    "batch",
    "bwrap",
    "cgexec",
    "chpst",
    "chronic",
    "chroot",
    "chrt",
    "cpulimit",
    "crontab",
    "dbus-run-session",
    "doas",
    "dumb-init",
    "entr",
    "env",
    "expect",
    "fakeroot",
    "firejail",
    "flock",
    "gdb",
    "gosu",
    "hyperfine",
    "ifne",
    "ionice",
    "lldb",
    "ltrace",
    "lxc-attach",
    "newgrp",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "parallel",
    "pee",
    "perf",
    "pkexec",
    "prlimit",
    "proot",
    "proxychains",
    "rlwrap",
    "rsh",
    "run-parts",
    "runcon",
    "runuser",
    "screen",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "setuidgid",
    "sg",
    "socat",
    "ssh",
    "sshpass",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "systemd-inhibit",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "tini",
    "tmux",
    "torsocks",
    "unbuffer",
    "unshare",
    "valgrind",
    "watch",
    "xargs",
    "xvfb-run",
    // Shells.
    "ash",
    "bash",
    "bash-static",
    "busybox",
    "csh",
    "dash",
    "elvish",
    "fish",
    "ksh",
    "mksh",
    "nu",
    "pwsh",
    "rbash",
    "sh",
    "tcsh",
    "toybox",
    "xonsh",
    "yash",
    "zsh",
    // Interpreters, and editors that are some.
    "awk",
    "bun",
    "bunx",
    "coreutils",
    "dc",
    "deno",
    "ed",
    "elixir",
    "emacs",
    "erl",
    "ex",
    "gawk",
    "gnuplot",
    "groovy",
    "guile",
    "ipython",
    "java",
    "julia",
    "lua",
    "luajit",
    "m4",
    "mawk",
    "nawk",
    "nix-shell",
    "node",
    "nodejs",
    "npx",
    "nvim",
    "ocaml",
    "osascript",
    "perl",
    "php",
    "pnpx",
    "pypy",
    "python",
    "racket",
    "raku",
    "Rscript",
    "ruby",
    "runghc",
    "sbcl",
    "sed",
    "sqlite3",
    "tclsh",
    "ts-node",
    "tsx",
    "uvx",
    "vi",
    "vim",
    "wish",
    // Builtins of the shell that run, load or evaluate.
    ".",
    "alias",
    "bind",
    "builtin",
    "command",
    "compgen",
    "complete",
    "compopt",
    "coproc",
    "declare",
    "enable",
    "eval",
    "exec",
    "export",
    "fc",
    "getopts",
    "hash",
    "history",
    "jobs",
    "let",
    "local",
    "mapfile",
    "read",
    "readarray",
    "readonly",
    "set",
    "shopt",
    "source",
    "trap",
    "typeset",
    "unalias",
    "unset",
];

/// Of `find`: what runs something, removes or writes.
pub const FIND_ACTIONS: &[&str] = &[
    "-delete", "-exec", "-execdir", "-fls", "-fprint", "-fprint0", "-fprintf", "-ok", "-okdir",
];

/// Of `[[`: what stands between two expressions.
const NUMBER_OPERATORS: &[&str] = &["-eq", "-ne", "-lt", "-le", "-gt", "-ge"];

/// Why a command can run more than it says; `None` when it is not known to.
pub fn runs_others(words: &[Word]) -> Option<String> {
    let command = words.first()?.value()?;
    let name = base_name(&command);
    let arguments = &words[1..];
    if RUNNERS.contains(&name) || RUNNERS.contains(&without_version(name)) {
        return Some(format!("`{name}` runs what it is given"));
    }
    let is_among = |word: &Word, known: &[&str]| {
        let value = word.value();
        value.is_none_or(|value| known.contains(&value.as_str()))
    };
    match name {
        "find" => arguments
            .iter()
            .any(|word| is_among(word, FIND_ACTIONS))
            .then(|| "`find` runs, removes or writes something here".to_owned()),
        // They set a variable, in whose subscript anything can stand.
        "printf" => starts_with(arguments, "-v").then(|| "`printf -v` sets a variable".to_owned()),
        "wait" => arguments
            .iter()
            .any(is_wait_p)
            .then(|| "`wait -p` sets a variable".to_owned()),
        "test" | "[" | "[[" => {
            let evaluates = arguments.iter().any(holds_code) || compares_numbers(name, arguments);
            evaluates.then(|| format!("`{name}` may evaluate its words"))
        }
        _ => None,
    }
}

/// Whether something in quotes would run, or would have a variable evaluated, if it were evaluated
/// itself. A variable that nobody assigned will do: every command sets `$_` to its last word.
fn holds_code(word: &Word) -> bool {
    word.pieces.iter().any(|piece| match piece {
        Piece::Text(text) => text.contains(['$', '`', '[']),
        Piece::Unknown => false,
    })
}

/// Whether `[[` compares numbers, and is given something else: the name of a variable, whose value
/// it evaluates.
fn compares_numbers(name: &str, arguments: &[Word]) -> bool {
    let is_operator = |word: &Word| {
        let value = word.value();
        value.is_some_and(|value| NUMBER_OPERATORS.contains(&value.as_str()))
    };
    let is_number = |word: Option<&Word>| {
        let value = word.and_then(Word::value);
        value.is_some_and(|value| {
            value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
    };
    name == "[["
        && (0..arguments.len()).any(|at| {
            let before = at.checked_sub(1).and_then(|before| arguments.get(before));
            let after = arguments.get(at + 1);
            is_operator(&arguments[at]) && !(is_number(before) && is_number(after))
        })
}

fn is_wait_p(word: &Word) -> bool {
    let value = word.value();
    value.is_none_or(|value| value.starts_with('-') && value.contains('p'))
}

fn starts_with(words: &[Word], option: &str) -> bool {
    words.iter().any(|word| match word.value() {
        Some(value) => value.starts_with(option),
        None => true,
    })
}

/// The program's name without its folder.
pub fn base_name(command: &str) -> &str {
    command.rsplit('/').next().unwrap_or(command)
}

/// `python` of `python3.11`, `lua` of `lua5.4`.
fn without_version(name: &str) -> &str {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-'))
}
