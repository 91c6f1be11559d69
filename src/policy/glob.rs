//! Globs over what a call would do: `*` is anything, `?` one character, `\` takes the next one as
//! it is. Pure.
//!
//! A blank in a glob stands between two words of a command, never within one: `git commit -m *`
//! says nothing of a quoted `-m` in the middle of a message. An escaped blank is one in a word.

/// A pattern, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Letter(char),
    /// One or more blanks.
    Gap,
    /// `?`
    One,
    /// `*`
    Any,
}

/// What is compared with a glob: letters, borders of words, and what only the shell knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    /// A character of a word.
    Letter(char),
    /// Between two words.
    Border,
    /// Anything, also nothing and several words.
    Unknown,
}

/// How strictly a glob is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// For what grants something: a blank of the glob is a border, and what is unknown fits a `*`
    /// alone.
    Surely,
    /// For what forbids something: a blank of the glob is also a blank in a word.
    Loosely,
    /// For what would forbid something: what is unknown fits whatever could stand there.
    Perhaps,
}

impl Glob {
    /// Reads a pattern.
    ///
    /// Errors: why it is none, after "the pattern …": a `[` or `{` that other globs give a meaning,
    /// an unfinished escape.
    pub fn parse(text: &str) -> Result<Glob, &'static str> {
        let mut tokens = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let token = match letter {
                '*' => Token::Any,
                '?' => Token::One,
                ' ' => Token::Gap,
                '\\' => match letters.next() {
                    Some(letter) => Token::Letter(letter),
                    None => return Err("ends in a single `\\`"),
                },
                '[' | '{' => return Err("knows only `*` and `?`; write `\\[` and `\\{` for these"),
                letter => Token::Letter(letter),
            };
            let repeats = matches!(token, Token::Any | Token::Gap);
            if !(repeats && tokens.last() == Some(&token)) {
                tokens.push(token);
            }
        }
        // `bash: git status` is meant as `bash:git status`.
        let is_gap = |token: Option<&Token>| token == Some(&Token::Gap);
        if is_gap(tokens.last()) {
            tokens.pop();
        }
        if is_gap(tokens.first()) {
            tokens.remove(0);
        }
        Ok(Glob(tokens))
    }

    /// Whether it fits one text alone.
    pub fn is_exact(&self) -> bool {
        !self
            .0
            .iter()
            .any(|token| matches!(token, Token::One | Token::Any))
    }

    /// Whether it fits all of `subject`.
    pub fn fits(&self, subject: &[Symbol], how: Match) -> bool {
        let mut states = vec![false; self.0.len() + 1];
        states[0] = true;
        self.skip_anys(&mut states);
        let mut next = states.clone();
        for symbol in subject {
            self.step(&states, *symbol, how, &mut next);
            std::mem::swap(&mut states, &mut next);
            if !states.contains(&true) {
                return false;
            }
        }
        states[self.0.len()]
    }

    /// Whether it fits a rest of `subject` that begins with one of its later words, or behind a
    /// `/` in one: what a program that is given a command may run.
    pub fn fits_rest(&self, subject: &[Symbol], how: Match) -> bool {
        let mut states = vec![false; self.0.len() + 1];
        let mut next = states.clone();
        let mut is_first = true;
        for symbol in subject {
            self.step(&states, *symbol, how, &mut next);
            std::mem::swap(&mut states, &mut next);
            is_first &= *symbol != Symbol::Border;
            if matches!(symbol, Symbol::Border | Symbol::Letter('/')) && !is_first {
                states[0] = true;
                self.skip_anys(&mut states);
            }
        }
        states[self.0.len()]
    }

    /// A `*` may stand for nothing.
    fn skip_anys(&self, states: &mut [bool]) {
        for (at, token) in self.0.iter().enumerate() {
            states[at + 1] |= states[at] && *token == Token::Any;
        }
    }

    /// Marks the places of the glob that may follow those in `states` with a symbol.
    fn step(&self, states: &[bool], symbol: Symbol, how: Match, next: &mut [bool]) {
        next.fill(false);
        if symbol == Symbol::Unknown && how == Match::Perhaps {
            let first = states.iter().position(|state| *state);
            next[first.unwrap_or(states.len())..].fill(true);
            return;
        }
        for (at, token) in self.0.iter().enumerate() {
            if !states[at] {
                continue;
            }
            match token {
                Token::Any => next[at] = true,
                // Of several blanks, the rest.
                Token::Gap if is_gap(symbol, how) => {
                    next[at + 1] = true;
                    next[at] |= how != Match::Surely;
                }
                Token::One if matches!(symbol, Symbol::Letter(_)) => next[at + 1] = true,
                Token::Letter(letter) if symbol == Symbol::Letter(*letter) => next[at + 1] = true,
                Token::Gap | Token::One | Token::Letter(_) => {}
            }
        }
        self.skip_anys(next);
    }
}

fn is_gap(symbol: Symbol, how: Match) -> bool {
    match symbol {
        Symbol::Border => true,
        Symbol::Letter(letter) => how != Match::Surely && letter.is_whitespace(),
        Symbol::Unknown => false,
    }
}

/// The symbols of a text, whose blanks are as between words.
pub(super) fn symbols(text: &str) -> Vec<Symbol> {
    let symbol = |letter| match letter {
        ' ' => Symbol::Border,
        letter => Symbol::Letter(letter),
    };
    text.chars().map(symbol).collect()
}

/// The pattern that fits `subject` alone. What is unknown fits nothing.
pub(super) fn escaped(subject: &[Symbol]) -> String {
    let mut text = String::new();
    for symbol in subject {
        match symbol {
            Symbol::Border => text.push(' '),
            Symbol::Letter(letter) => {
                if matches!(letter, '*' | '?' | '\\' | '[' | '{' | ' ') {
                    text.push('\\');
                }
                text.push(*letter);
            }
            Symbol::Unknown => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_reach_over_everything_and_blanks_part_words() {
        for (pattern, subject, expected) in [
            ("git *", "git log", true),
            ("git *", "git log a/b c", true),
            ("git *", "git", false),
            ("git*", "git", true),
            ("git*", "gitk", true),
            ("g?t", "git", true),
            ("g?t", "g t", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxbc", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a  b", "a b", true),
            (" a b ", "a b", true),
            ("a\\ ", "a", false),
            ("", "", true),
            ("**", "", true),
        ] {
            let glob = Glob::parse(pattern).unwrap();
            let fits = glob.fits(&symbols(subject), Match::Surely);
            assert_eq!(fits, expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn a_blank_within_a_word_is_none_between_words_to_what_grants() {
        let glob = Glob::parse("deploy * --dry-run").unwrap();
        let mut subject = symbols("deploy ");
        subject.extend("x --dry-run".chars().map(Symbol::Letter));
        assert!(!glob.fits(&subject, Match::Surely));
        assert!(glob.fits(&subject, Match::Loosely));
    }

    #[test]
    fn what_is_unknown_fits_only_perhaps() {
        for (pattern, surely, perhaps) in [
            ("rm *", true, true),
            ("rm x", false, true),
            ("rm x*", false, true),
            ("rmdir", false, false),
            ("r*", true, true),
            ("ls *", false, false),
        ] {
            let mut subject = symbols("rm ");
            subject.push(Symbol::Unknown);
            let glob = Glob::parse(pattern).unwrap();
            assert_eq!(glob.fits(&subject, Match::Loosely), surely, "{pattern}");
            assert_eq!(glob.fits(&subject, Match::Perhaps), perhaps, "{pattern}");
        }
    }

    #[test]
    fn a_rest_begins_with_a_word() {
        for (subject, expected) in [
            ("rm x", false),
            ("sudo rm x", true),
            ("sudo -u a /bin/rm x", true),
            ("sudo firm x", false),
            ("a/rm x", false),
        ] {
            let glob = Glob::parse("rm *").unwrap();
            let fits = glob.fits_rest(&symbols(subject), Match::Loosely);
            assert_eq!(fits, expected, "{subject}");
        }
    }

    #[test]
    fn what_other_globs_know_is_refused() {
        for pattern in ["[ab]", "{a,b}", "a\\"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_fits_itself_and_nothing_else(text in "[ab*?\\\\ \\[{]{0,12}", other in "[ab*?\\\\ \\[{]{0,12}") {
            let letters: Vec<Symbol> = text.chars().map(Symbol::Letter).collect();
            let glob = Glob::parse(&escaped(&letters)).unwrap();
            prop_assert!(glob.is_exact());
            prop_assert!(glob.fits(&letters, Match::Surely));
            let others: Vec<Symbol> = other.chars().map(Symbol::Letter).collect();
            prop_assert_eq!(glob.fits(&others, Match::Surely), text == other);
        }
    }
}
