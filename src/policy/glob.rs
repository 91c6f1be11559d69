//! Globs over what a call would do: `*` is anything, `?` one character, `\` takes the next one as
//! it is. Pure.
//!
//! A blank in a glob stands between two words of a command, never within one: `git commit -m *`
//! says nothing of a quoted `-m` in the middle of a message. An escaped blank is one in a word.
//!
//! Cost: a comparison follows the places of the glob that are still possible, so it is linear in
//! the length of what is compared, whatever the glob. Of several `*` only the last one that was
//! reached is followed where that changes nothing.

/// A pattern, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGlob(Vec<Token>);

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

/// A piece of the text that a glob is compared with. What only the shell knows has a place of its
/// own, so that nothing is granted for it by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    /// A character of a word.
    Letter(char),
    /// A character of an option that must be written out: neither `*` nor `?` grants it.
    Guarded(char),
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

/// Which part of a subject a glob must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Its beginning.
    Start,
    /// A rest that begins with a later word, or behind a `/` or `=` in one: what a program that is given
    /// a command may run.
    Later,
    /// The beginning of such a rest.
    LaterStart,
    /// A rest that begins with any word.
    FromAnyWord,
    /// Any part.
    Inside,
    /// Any part that begins a word, or stands behind `/ = : -` or a quote in one.
    InsideWord,
}

impl RuleGlob {
    /// Reads a pattern.
    ///
    /// Errors: why it is none, after "the pattern …": a `[` or `{` that other globs give a meaning,
    /// an unfinished escape.
    pub fn parse(text: &str) -> Result<RuleGlob, &'static str> {
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
        Ok(RuleGlob(tokens))
    }

    /// No `*` and no `?`: it fits one text alone.
    pub fn is_exact(&self) -> bool {
        let is_open = |token: &Token| matches!(token, Token::One | Token::Any);
        !self.0.iter().any(is_open)
    }

    /// A `*` stands in it, which may stand for anything.
    pub fn has_star(&self) -> bool {
        self.0.contains(&Token::Any)
    }

    /// Nothing but the empty text fits it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It is written as one word of letters and digits, as the name of a tool is.
    pub fn is_plain_word(&self) -> bool {
        let is_plain = |token: &Token| matches!(token, Token::Letter(one) if one.is_alphanumeric());
        self.0.iter().all(is_plain)
    }

    /// Its text before the first `*` or `?`: with this everything begins that fits it.
    pub fn literal_start(&self) -> String {
        let letter = |token: &Token| match token {
            Token::Letter(letter) => Some(*letter),
            Token::Gap => Some(' '),
            Token::One | Token::Any => None,
        };
        self.0.iter().map_while(letter).collect()
    }

    /// The name of the tool that it is about, if it is about one alone: what stands before its first
    /// `:` or blank.
    pub fn tool_name(&self) -> Option<String> {
        let start = self.literal_start();
        let is_whole = self.is_exact() || start.contains([':', ' ']);
        let name = start.split([':', ' ']).next().unwrap_or_default();
        (is_whole && !name.is_empty()).then(|| name.to_owned())
    }

    /// All of `subject` fits it, compared as strictly as `how` says.
    pub fn fits(&self, subject: &[Symbol], how: Match) -> bool {
        self.find(subject, how, Extent::Whole).is_some()
    }

    /// Where a part of `subject` ends that the glob fits, as a number of symbols.
    pub fn find(&self, subject: &[Symbol], how: Match, extent: Extent) -> Option<usize> {
        let is_guarded = |symbol: &Symbol| matches!(symbol, Symbol::Guarded(_));
        let mut follower = Follower::new(self, how);
        follower.stars_take_all = how != Match::Surely || !subject.iter().any(is_guarded);
        let (begins_first, has_open_end) = match extent {
            Extent::Whole | Extent::FromAnyWord => (true, false),
            Extent::Start | Extent::Inside | Extent::InsideWord => (true, true),
            Extent::Later => (false, false),
            Extent::LaterStart => (false, true),
        };
        if begins_first {
            follower.begin();
        }
        let mut is_first_word = true;
        for (at, symbol) in subject.iter().enumerate() {
            if has_open_end && follower.is_done() {
                return Some(at);
            }
            follower.step(*symbol);
            is_first_word &= *symbol != Symbol::Border;
            if begins_behind(*symbol, is_first_word, extent) {
                follower.begin();
            } else if follower.active.is_empty() && extent == Extent::Whole {
                return None;
            }
        }
        follower.is_done().then_some(subject.len())
    }

    /// The rest of its text behind `count` characters: `rm *` of `bash:rm *` behind five.
    pub fn behind(&self, count: usize) -> String {
        let written = |token: &Token| match token {
            Token::Letter(letter) => *letter,
            Token::Gap => ' ',
            Token::One => '?',
            Token::Any => '*',
        };
        self.0.iter().skip(count).map(written).collect()
    }

    /// Its text as a subject for another glob: whether that covers all that fits this one.
    pub fn symbols(&self) -> Vec<Symbol> {
        let symbol = |token: &Token| match token {
            Token::Letter(letter) => Symbol::Letter(*letter),
            Token::Gap => Symbol::Border,
            Token::One | Token::Any => Symbol::Unknown,
        };
        self.0.iter().map(symbol).collect()
    }

    /// How many symbols it fits at the least.
    pub fn least_symbols(&self) -> usize {
        self.0.iter().filter(|one| **one != Token::Any).count()
    }
}

/// Whether a part may begin behind `symbol`.
fn begins_behind(symbol: Symbol, is_first_word: bool, extent: Extent) -> bool {
    let is_border = symbol == Symbol::Border;
    let is_one_of = |letters: &str| match symbol {
        Symbol::Letter(one) | Symbol::Guarded(one) => letters.contains(one),
        Symbol::Border | Symbol::Unknown => false,
    };
    match extent {
        Extent::Whole | Extent::Start => false,
        // `alias a='rm x'` names what it runs behind a `=`.
        Extent::Later | Extent::LaterStart => !is_first_word && (is_border || is_one_of("/=")),
        Extent::FromAnyWord => is_border || is_one_of("/="),
        Extent::Inside => true,
        Extent::InsideWord => is_border || is_one_of("/=:-'\"` \t\n;&|(){}<>"),
    }
}

/// The places of a glob that a subject may have come to.
struct Follower<'g> {
    tokens: &'g [Token],
    how: Match,
    /// Whether there is no symbol that a `*` does not take.
    stars_take_all: bool,
    active: Vec<usize>,
    next: Vec<usize>,
    /// Of each place the step in which it was last noted, so that none is noted twice.
    noted: Vec<usize>,
    steps: usize,
}

impl<'g> Follower<'g> {
    fn new(glob: &'g RuleGlob, how: Match) -> Follower<'g> {
        Follower {
            tokens: &glob.0,
            how,
            stars_take_all: false,
            active: Vec::new(),
            next: Vec::new(),
            noted: vec![0; glob.0.len() + 1],
            steps: 1,
        }
    }

    /// The glob may begin here.
    fn begin(&mut self) {
        std::mem::swap(&mut self.active, &mut self.next);
        self.note(0);
        std::mem::swap(&mut self.active, &mut self.next);
    }

    fn is_done(&self) -> bool {
        self.active.contains(&self.tokens.len())
    }

    /// Notes a place for the next step, and the one behind it if a `*` is there.
    fn note(&mut self, place: usize) {
        for place in place..=self.tokens.len() {
            if self.noted[place] != self.steps {
                self.noted[place] = self.steps;
                self.next.push(place);
            }
            if self.tokens.get(place) != Some(&Token::Any) {
                return;
            }
        }
    }

    fn step(&mut self, symbol: Symbol) {
        self.steps += 1;
        self.next.clear();
        let active = std::mem::take(&mut self.active);
        if symbol == Symbol::Unknown && self.how == Match::Perhaps {
            let first = active.iter().min().copied();
            (first.unwrap_or(self.tokens.len() + 1)..=self.tokens.len())
                .for_each(|place| self.note(place));
        } else {
            active.iter().for_each(|place| self.advance(*place, symbol));
        }
        self.active = std::mem::replace(&mut self.next, active);
        self.forget_what_a_star_covers();
    }

    fn advance(&mut self, place: usize, symbol: Symbol) {
        match (self.tokens.get(place), symbol) {
            (Some(Token::Any), Symbol::Guarded(_)) if self.how == Match::Surely => {}
            (Some(Token::Any), _) => self.note(place),
            (Some(Token::Gap), _) if is_gap(symbol, self.how) => {
                self.note(place + 1);
                // Of several blanks, the rest.
                if self.how != Match::Surely {
                    self.note(place);
                }
            }
            (Some(Token::One), Symbol::Letter(_)) => self.note(place + 1),
            (Some(Token::One), Symbol::Guarded(_)) if self.how != Match::Surely => {
                self.note(place + 1);
            }
            (Some(Token::Letter(letter)), Symbol::Letter(other) | Symbol::Guarded(other))
                if *letter == other =>
            {
                self.note(place + 1);
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Whatever an earlier place leads to goes through the last `*` that was reached, which stays
    /// there as long as one likes.
    fn forget_what_a_star_covers(&mut self) {
        let is_star = |place: &usize| self.tokens.get(*place) == Some(&Token::Any);
        if self.stars_take_all
            && let Some(last) = self.active.iter().copied().filter(is_star).max()
        {
            self.active.retain(|place| *place >= last);
        }
    }
}

fn is_gap(symbol: Symbol, how: Match) -> bool {
    match symbol {
        Symbol::Border => true,
        Symbol::Letter(letter) | Symbol::Guarded(letter) => {
            how != Match::Surely && letter.is_whitespace()
        }
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

/// The symbols of a text that is one word, whatever blanks are in it.
pub(super) fn letters(text: &str) -> Vec<Symbol> {
    text.chars().map(Symbol::Letter).collect()
}

/// The pattern that fits `subject` alone. What is unknown fits nothing.
pub(super) fn escaped(subject: &[Symbol]) -> String {
    let mut text = String::new();
    for symbol in subject {
        match symbol {
            Symbol::Border => text.push(' '),
            Symbol::Letter(letter) | Symbol::Guarded(letter) => {
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
            let glob = RuleGlob::parse(pattern).unwrap();
            let fits = glob.fits(&symbols(subject), Match::Surely);
            assert_eq!(fits, expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn a_blank_within_a_word_is_none_between_words_to_what_grants() {
        let glob = RuleGlob::parse("deploy * --dry-run").unwrap();
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
            let glob = RuleGlob::parse(pattern).unwrap();
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
            let glob = RuleGlob::parse("rm *").unwrap();
            let fits = glob.find(&symbols(subject), Match::Loosely, Extent::Later);
            assert_eq!(fits.is_some(), expected, "{subject}");
        }
    }

    #[test]
    fn a_part_begins_a_word_where_it_must() {
        for (pattern, subject, in_word, anywhere) in [
            ("rm", "rm x", true, true),
            ("rm", "/bin/rm", true, true),
            ("rm", "npm run format", false, true),
            ("rm", "echo --rm", true, true),
            ("rm", "a=rm", true, true),
            ("rm -rf", "sudo rm -rf x", true, true),
            ("rm -rf", "sudo rm -r x", false, false),
        ] {
            let glob = RuleGlob::parse(pattern).unwrap();
            for (extent, expected) in [(Extent::InsideWord, in_word), (Extent::Inside, anywhere)] {
                let found = glob.find(&symbols(subject), Match::Loosely, extent);
                assert_eq!(found.is_some(), expected, "{pattern} {subject} {extent:?}");
            }
        }
    }

    #[test]
    fn what_must_be_written_out_fits_no_star() {
        let subject: Vec<Symbol> = [
            symbols("sort "),
            vec![Symbol::Guarded('-'), Symbol::Guarded('o')],
            symbols(" x"),
        ]
        .concat();
        for (pattern, expected) in [
            ("sort *", false),
            ("sort -? x", false),
            ("sort -o *", true),
            ("sort -o x", true),
        ] {
            let glob = RuleGlob::parse(pattern).unwrap();
            assert_eq!(glob.fits(&subject, Match::Surely), expected, "{pattern}");
            assert!(glob.fits(&subject, Match::Loosely), "{pattern}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_few() {
        let glob = RuleGlob::parse(&("*a".repeat(500) + "b")).unwrap();
        let mut follower = Follower::new(&glob, Match::Loosely);
        follower.stars_take_all = true;
        follower.begin();
        let followed = (0..5_000).map(|_| {
            follower.step(Symbol::Letter('a'));
            follower.active.len()
        });
        assert!(followed.max() < Some(6));
    }

    #[test]
    fn what_other_globs_know_is_refused() {
        for pattern in ["[ab]", "{a,b}", "a\\"] {
            assert!(RuleGlob::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_fits_itself_and_nothing_else(text in "[ab*?\\\\ \\[{]{0,12}", other in "[ab*?\\\\ \\[{]{0,12}") {
            let letters: Vec<Symbol> = text.chars().map(Symbol::Letter).collect();
            let glob = RuleGlob::parse(&escaped(&letters)).unwrap();
            prop_assert!(glob.is_exact());
            prop_assert!(glob.fits(&letters, Match::Surely));
            let others: Vec<Symbol> = other.chars().map(Symbol::Letter).collect();
            prop_assert_eq!(glob.fits(&others, Match::Surely), text == other);
        }
    }
}
