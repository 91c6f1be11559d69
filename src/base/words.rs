//! Splits a text into words by a shell's rules of quoting, and nothing else of a shell: no variable,
//! no glob and no comment means anything.

use std::str::Chars;

/// Words that are parts of a shell, and no programs.
const BUILTINS: [&str; 21] = [
    "!", ".", ":", "[[", "builtin", "cd", "command", "declare", "eval", "exec", "exit", "export",
    "let", "pushd", "set", "source", "time", "trap", "type", "ulimit", "umask",
];

/// Why a text cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// `'` or `"`.
    #[error("has a quote that does not end")]
    Quote,
    /// There is nothing behind it.
    #[error("ends in a single `\\`")]
    Backslash,
}

/// The words of a text.
pub fn split(text: &str) -> Result<Vec<String>, Unfinished> {
    Ok(Lexer::read(text)?.words)
}

/// A shell would make more of the text than words: run several programs, fill something in, read or
/// write files.
pub fn is_script(text: &str) -> bool {
    match Lexer::read(text.trim()) {
        Ok(lexer) => {
            let first = lexer.words.first();
            lexer.is_script || first.is_some_and(|word| BUILTINS.contains(&word.as_str()))
        }
        // In here-documents and comments a quote is a plain character.
        Err(_) => text.contains("<<") || text.contains('#') && text.contains('\n'),
    }
}

#[derive(Default)]
struct Lexer {
    words: Vec<String>,
    /// The word that is being read.
    word: Option<String>,
    is_script: bool,
}

impl Lexer {
    fn read(text: &str) -> Result<Lexer, Unfinished> {
        let mut lexer = Lexer::default();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\'' => lexer.single_quoted(&mut letters)?,
                '"' => lexer.double_quoted(&mut letters)?,
                '\\' => match letters.next() {
                    // A line that goes on.
                    Some('\n') => {}
                    Some(letter) => lexer.push(letter),
                    None => return Err(Unfinished::Backslash),
                },
                ' ' | '\t' | '\r' | '\n' => {
                    lexer.is_script |= letter == '\n';
                    lexer.words.extend(lexer.word.take());
                }
                letter => {
                    lexer.is_script = lexer.is_script || lexer.is_syntax(letter, letters.clone());
                    lexer.push(letter);
                }
            }
        }
        lexer.words.extend(lexer.word.take());
        Ok(lexer)
    }

    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    fn single_quoted(
        &mut self,
        letters: &mut impl Iterator<Item = char>,
    ) -> Result<(), Unfinished> {
        let word = self.word.get_or_insert_default();
        for letter in letters {
            match letter {
                '\'' => return Ok(()),
                letter => word.push(letter),
            }
        }
        Err(Unfinished::Quote)
    }

    fn double_quoted(
        &mut self,
        letters: &mut impl Iterator<Item = char>,
    ) -> Result<(), Unfinished> {
        let word = self.word.get_or_insert_default();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => return Ok(()),
                '\\' => match letters.next() {
                    Some('\n') => {}
                    Some(letter @ ('$' | '`' | '"' | '\\')) => word.push(letter),
                    Some(letter) => word.extend(['\\', letter]),
                    None => return Err(Unfinished::Quote),
                },
                letter => {
                    self.is_script |= matches!(letter, '$' | '`');
                    word.push(letter);
                }
            }
        }
        Err(Unfinished::Quote)
    }

    /// Whether a character outside of quotes means something to a shell.
    fn is_syntax(&self, letter: char, rest: Chars<'_>) -> bool {
        let is_name = |word: &String| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            word.bytes().all(is_plain) && !word.starts_with(|first: char| first.is_ascii_digit())
        };
        match letter {
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' => true,
            '{' => is_list(rest.as_str()),
            '~' | '#' => self.word.is_none(),
            // A variable for the program.
            '=' => self.words.is_empty() && self.word.as_ref().is_some_and(is_name),
            _ => false,
        }
    }
}

/// Whether what follows a `{` makes it a list: one without `,` or `..` is plain characters. One that
/// is long may be anything: each `{` looks ahead.
fn is_list(rest: &str) -> bool {
    const LOOK_AHEAD: usize = 256;
    let letters = rest.bytes().take(LOOK_AHEAD);
    let word: Vec<u8> = letters.take_while(|it| !b" \t\n".contains(it)).collect();
    word.contains(&b',')
        || word.windows(2).any(|two| two == b"..")
        || matches!(word.len(), 0 | LOOK_AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_by_quotes_alone() {
        for (text, expected) in [
            ("a  b\tc\nd", Ok(vec!["a", "b", "c", "d"])),
            (r#"'a b' "c d"e\ f"#, Ok(vec!["a b", "c de f"])),
            (r#"'' """#, Ok(vec!["", ""])),
            (r#""\$x \a \"" '\'"#, Ok(vec![r#"$x \a ""#, r"\"])),
            (
                "$HOME *.rs `x` $(y) a;b #12",
                Ok(vec!["$HOME", "*.rs", "`x`", "$(y)", "a;b", "#12"]),
            ),
            ("a\\\nb", Ok(vec!["ab"])),
            ("", Ok(vec![])),
            ("a 'b", Err(Unfinished::Quote)),
            ("a \"b\\", Err(Unfinished::Quote)),
            ("a\\", Err(Unfinished::Backslash)),
        ] {
            let expected: Result<Vec<String>, _> =
                expected.map(|words: Vec<&str>| words.into_iter().map(str::to_owned).collect());
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_shell_would_make_more_of_is_a_script() {
        for text in [
            "a | b",
            "a && b",
            "a; b",
            "a > b",
            "a < b",
            "a &",
            "echo $HOME",
            "echo \"$HOME\"",
            "echo \"`x`\"",
            "ls *.rs",
            "ls ?",
            "ls [ab]",
            "ls ~/x",
            "ls {a,b}",
            "A=1 b",
            "(a)",
            "a\nb",
            "cd x",
            "exec a",
            ". ./env",
            "a # b",
            "cat <<E\ndon't\nE",
            "ls {1..3}",
            "{ a",
            "time a",
        ] {
            assert!(is_script(text), "{text}");
        }
        for text in [
            "a b",
            "a 'b | c; $d *'",
            r"a \$b \*",
            "a --b=c",
            "a b=c",
            "a b~ c#d",
            "find -name {}",
            "git show HEAD@{0} {x}y",
            "a 'it''s'",
            "a b\n",
            "./a/b -c",
            "a '",
            "",
        ] {
            assert!(!is_script(text), "{text}");
        }
    }
}
