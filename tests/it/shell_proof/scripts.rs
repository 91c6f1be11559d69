//! Scripts at random, of all that bash can read.

use fastrand::Rng;

/// The programs of the stage.
pub(super) const PROGRAMS: &[&str] = &[
    "s0", "s1", "s2", "s5", "ls", "cat", "grep", "git", "find", "sort", "uniq", "sed", "tar",
    "make", "tree", "man", "timeout", "nice", "xargs", "env", "bash", "rm",
];

/// Those that a script begins a command with, often by names that a list allows.
const COMMON: &[&str] = &[
    "s0", "s0", "ls", "cat", "echo", "grep", "s1 a", "git log", "git diff",
];
const RARE: &[&str] = &[
    "s2",
    "s5",
    "git status",
    "git",
    "find",
    "sort",
    "uniq",
    "sed",
    "tar",
    "make",
    "tree",
    "man",
    "test",
    "[",
    "printf",
    "cd",
    "export",
    "set",
    "read",
    "declare",
    "timeout 3",
    "nice",
    "xargs",
    "env",
    "bash -c",
    "eval",
    "exec",
    "command",
    "trap",
    "true",
    "time",
    "!",
    "s{0,5}",
    "'s0'",
    "\"ls\"",
    "s\\0",
    "$'s0'",
    "./git",
    "evil/git",
    "~/git",
    "/bin/git",
    "$X",
    "$W",
    "${W}",
    "`echo s5`",
    "$(echo s5)",
    "l\\\ns",
    ":",
    ".",
    "source",
    "builtin",
    "let",
    "unset",
    "mapfile",
    "wait",
    "hash -p /bin/s5",
    "alias",
    "shopt -s",
    "jobs -x",
    "compgen -C",
    "enable -n",
    "local",
    "readonly",
    "typeset",
    "coproc",
    "function f",
    "pushd",
    "popd",
    "getopts a",
    "history -s",
    "fc -s",
];

const PLAIN: &[&str] = &[
    "a",
    "b",
    "a.rs",
    "src",
    "-l",
    "-n",
    "--all",
    "HEAD~1",
    "stash@{0}",
    "{}",
    "x=1",
    "a,b",
    "i#j",
    "/",
    ".",
];
const QUOTED: &[&str] = &[
    "'b c'",
    "\"d;e\"",
    "f\\ g",
    "$'h\\x41'",
    "''",
    "\"\"",
    "'$(s5)'",
    "\"a'b\"",
    "$\"x\"",
    "'a\nb'",
    "\\$X",
    "'s5'",
];
/// Words that only the shell knows.
const UNKNOWN: &[&str] = &[
    "$X",
    "\"$X\"",
    "${X}",
    "\"a $Y\"",
    "a$X",
    "src/$X",
    "\"src/$Z\"",
    "$Z",
    "*",
    "*.rs",
    "src/*",
    "src/*.rs",
    "?",
    "[ab-]*",
    "~",
    "~/x",
    "a=~",
    "$Y",
    "\"$Z\"",
    "-$X",
    "--x=$X",
    "$_",
    "$@",
    "$#",
    "$IFS",
    "a$IFS",
    "{a,$X}",
    "a{1..3}",
    "{a,b}",
    "{--output=f,a}",
    "{,-exec}",
];
/// Options that make of a program something else.
const OPTIONS: &[&str] = &[
    "--output=f",
    "--output f",
    "--outp=f",
    "-o f",
    "-of",
    "-exec s5 {} +",
    "-exec s5 \\;",
    "-delete",
    "-fprintf f x",
    "-execdir s5 {} +",
    "-i",
    "-ni",
    "-e e",
    "-c core.pager=s5",
    "--ext-diff",
    "--upload-pack=s5",
    "-O",
    "-Os5",
    "--open-files-in-pager=s5",
    "--compress-program=s5",
    "-I s5",
    "--to-command=s5",
    "--checkpoint-action=exec=s5",
    "--use-compress-program s5",
    "-P s5",
    "-H s5",
    "--pager=s5",
    "--eval=x",
    "-f f",
    "-C src",
    "-R",
    "-v A",
    "-v x",
    "-ef x",
    "%n",
];
/// Words in which bash runs or sets something.
const ODD: &[&str] = &[
    "${Q:=`s5`}",
    "${Q:-$(s5)}",
    "\"${X:-$(s5)}\"",
    "${X//a/$(s5)}",
    "${A@P}",
    "${!W}",
    "${X[$(s5)]}",
    "${#X}",
    "${X:$((A))}",
    "$((A))",
    "$(( $(s5) ))",
    "$[A]",
    "$((1+1))",
    "<(s5)",
    ">(s5)",
    "=(s5)",
    "'a[$(s5)]'",
    "a[$(s5)]=1",
    "a[A]=1",
    "x+=1",
    "@(s5|a)",
    "!(a)",
    "+([a-z])",
    "$'\\x24(s5)'",
    "\\\n",
    "#c",
    "\u{a0}",
    "\u{2003}x",
    "\r",
    "!$",
    "^a^s5",
    "[A]",
    "-eq A",
];
const NAMES: &[&str] = &[
    "i",
    "x",
    "f",
    "PATH",
    "IFS",
    "X",
    "A",
    "GIT_PAGER",
    "PS4",
    "BASH_ENV",
    "LD_PRELOAD",
    "CI",
    "TZ",
    "NO_COLOR",
    "PROMPT_COMMAND",
    "RANDOM",
    "_",
    "OPTIND",
    "a[0]",
    "a[$(s5)]",
];

/// Makes a script from a number.
pub(super) struct Scripts {
    rng: Rng,
}

impl Scripts {
    pub(super) fn with_seed(seed: u64) -> Scripts {
        Scripts {
            rng: Rng::with_seed(seed),
        }
    }

    pub(super) fn script(&mut self) -> String {
        let depth = self.rng.u32(0..4);
        // Whole scripts that a list allows are rare at random: half of them hold little that is odd.
        let oddity = *self.one_of(&[0, 0, 2, 5, 15]);
        let mut script = self.list(depth, oddity);
        if self.rng.u32(0..4) == 0 {
            self.spoil(&mut script);
        }
        script
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.rng.usize(..all.len())]
    }

    /// Whether something of `percent` happens.
    fn has(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    fn list(&mut self, depth: u32, oddity: u32) -> String {
        let mut list = self.command(depth, oddity);
        while self.has(30) {
            let between = *self.one_of(&[
                " && ", " || ", "; ", "\n", " | ", " |& ", " & ", "&&", "|", ";",
            ]);
            list.push_str(between);
            list.push_str(&self.command(depth, oddity));
        }
        list
    }

    fn command(&mut self, depth: u32, oddity: u32) -> String {
        if depth == 0 || self.has(45) {
            return self.simple(depth, oddity);
        }
        let (a, b) = (self.list(depth - 1, oddity), self.list(depth - 1, oddity));
        if self.has(oddity * 3) {
            return self.odd_compound(&a, &b, depth - 1, oddity);
        }
        match self.rng.u32(0..9) {
            0 => format!("( {a} )"),
            1 => format!("{{ {a}\n}}"),
            2 => format!("! {a}"),
            3 => format!("if {a}\nthen {b}\nfi"),
            4 => format!("if {a}; then {b}; else {a}\nfi"),
            5 => format!("while {a} && s2\ndo {b}; break\ndone"),
            6 => {
                let name = *self.one_of(NAMES);
                let words = self.words(depth - 1, oddity);
                format!("for {name} in {words}; do {a} ${name}\ndone")
            }
            7 => format!("for i in a b; do {a}; done"),
            _ => format!("until {a}\ndo {b}; break\ndone"),
        }
    }

    fn odd_compound(&mut self, a: &str, b: &str, depth: u32, oddity: u32) -> String {
        let (word, other) = (self.word(depth, 30), self.word(depth, 30));
        let name = *self.one_of(NAMES);
        let program = *self.one_of(PROGRAMS);
        match self.rng.u32(0..26) {
            0 => format!("case {word} in {other}) {a} ;; *) {b}\n;; esac"),
            1 => format!("case $(({name}=0)) in ${{{name}:={word}}}) ;; {other}|s5) {a};; esac"),
            2 => format!("case a in $( {a} )) {b};;& b) ;& c) esac"),
            3 => format!("{program}() {{ {a}\n}}; {b}; {program}"),
            4 => format!("function {program} {{ {a}\n}}\n{b}"),
            5 => format!("{program}() ( {a} ) > {word}; {program}"),
            6 => format!("[[ {word} == {other} ]] && {a}"),
            7 => format!("[[ -v {word} || {other} -eq A || -n $( {a} ) ]]"),
            8 => format!("[[ {word} =~ {other} ]] # '\n{a}"),
            9 => format!("(( {name} = {word} )); {a}"),
            10 => format!("for (( {name}=0; {name}<1; {name}++ )); do {a}; done"),
            11 => format!("select {name} in {word}; do {a}; break; done"),
            12 => format!("coproc {a}"),
            13 => format!("time {a}; {b}"),
            14 => format!("{a} <<E\n{word}$( {b} )\nE\n{b}"),
            15 => format!("{program} <<'E'\n$( {b} )\nE\n{a}"),
            16 => format!("{program} <<-E | {a}\n\t`{program} {word}`\n\tE\n"),
            17 => format!("{program} <<< {word}"),
            18 => format!("{a} > {word}"),
            19 => format!("{a} {name}< {word}"),
            20 => format!("{a} < {word}"),
            21 => format!("{name}={word}; {a}"),
            22 => format!("{name}={word} {a}"),
            23 => format!("export {name}={word}; {a}"),
            24 => format!("{name}=( {word} `{program}` ); {a}"),
            _ => format!("{a} # {}", self.words(depth, oddity)),
        }
    }

    fn simple(&mut self, depth: u32, oddity: u32) -> String {
        let name = if self.has(15 + oddity) {
            *self.one_of(RARE)
        } else {
            *self.one_of(COMMON)
        };
        let mut command = String::new();
        if self.has(3 + oddity) {
            let (variable, value) = (*self.one_of(NAMES), self.word(depth, oddity));
            command.push_str(&format!("{variable}={value} "));
        }
        command.push_str(name);
        let words = self.words(depth, oddity);
        command.push_str(&format!(" {words}"));
        if self.has(5 + oddity) {
            let redirection = *self.one_of(&[
                "2>&1",
                ">/dev/null",
                "2>/dev/null",
                "< a",
                "&>/dev/null",
                "> f",
                ">> f",
                "<> f",
                "< $X",
                "<&0",
                "2>&-",
                ">&f",
                "> \"$X\"",
                "< /dev/tcp/127.0.0.1/1",
                "{x}> f",
                "00002>f",
                ">| f",
                "&>> f",
                "< <(s5)",
                "> >(s5)",
                "< a[$(s5)]",
            ]);
            command.push_str(&format!(" {redirection}"));
        }
        command
    }

    fn words(&mut self, depth: u32, oddity: u32) -> String {
        let count = self.rng.u32(0..4);
        let words: Vec<String> = (0..count).map(|_| self.word(depth, oddity)).collect();
        words.join(" ")
    }

    fn word(&mut self, depth: u32, oddity: u32) -> String {
        if self.has(oddity) {
            return (*self.one_of(ODD)).to_owned();
        }
        match self.rng.u32(0..20) {
            0..=8 => (*self.one_of(PLAIN)).to_owned(),
            9..=11 => (*self.one_of(QUOTED)).to_owned(),
            12..=14 => (*self.one_of(UNKNOWN)).to_owned(),
            15 => (*self.one_of(OPTIONS)).to_owned(),
            16 if depth > 0 => format!("$( {} )", self.list(depth - 1, oddity)),
            17 if depth > 0 => format!("\"x $( {}\n)\"", self.list(depth - 1, oddity)),
            18 if depth > 0 => format!("`{}`", self.simple(0, 0)),
            19 => format!("{}{}", self.one_of(PLAIN), self.one_of(UNKNOWN)),
            _ => format!("{}{}", self.one_of(QUOTED), self.one_of(PLAIN)),
        }
    }

    /// Puts some characters in, or takes some out.
    fn spoil(&mut self, script: &mut String) {
        let letters: Vec<char> = "'\"\\$`(){}<>|&;#\n \t*?[]=!~-@^%:,.0s/A\r\u{0}\u{a0}"
            .chars()
            .collect();
        let mut spoilt: Vec<char> = script.chars().collect();
        for _ in 0..self.rng.u32(1..4) {
            let letter = *self.one_of(&letters);
            let at = self.rng.usize(..spoilt.len());
            if self.rng.bool() {
                spoilt.insert(at, letter);
            } else {
                spoilt[at] = letter;
            }
        }
        // No argument of a program can hold it; the shell's tool refuses such a script.
        *script = spoilt
            .into_iter()
            .filter(|letter| *letter != '\u{0}')
            .collect();
    }
}
