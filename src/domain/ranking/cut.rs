//! Cuts texts into words without case and accents, and into runs of scripts without spaces.

/// What a character becomes where that is not its small letter: NFKC without the accents of Latin, Greek
/// and Cyrillic letters. A line is a first character, and what it and those after it become.
const FOLDS: &str = include_str!("fold.txt");
/// The scripts of which every word is full of accents and capitals: looked up without a search.
const LOW: usize = 0x600;
/// Of a longer word only the beginning counts.
const WORD_BYTES_MAX: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cutter {
    /// Sorted.
    pub(super) folds: Vec<(u32, &'static str)>,
    /// What the first characters become, two at most; `\0` is nothing, and ends a word.
    low: Vec<[char; 2]>,
}

/// Which pieces are worth a look: only those are handed over.
#[derive(Debug, Clone)]
pub(super) struct TokenFilter {
    /// The first bytes of words.
    pub(super) begins: [bool; 256],
    /// The last bytes of the numbers of the characters of runs.
    pub(super) ends: [bool; 256],
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextToken<'a> {
    /// A word.
    Word(&'a str),
    /// A character of a run, with the one before it. The only one of its run has none; the first of
    /// several does not come by itself.
    Run(Option<char>, char),
}

/// The piece that is being cut.
struct Piece<'c> {
    filter: &'c TokenFilter,
    take: &'c mut dyn FnMut(TextToken<'_>, usize),
    /// Where it begins.
    at: usize,
    word: String,
    state: PieceState,
    /// The last character of a run that was handed over, and the next, which may still change.
    run: Option<char>,
    next: Option<char>,
    words: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PieceState {
    Outside,
    InWord,
    /// In one that begins as none does which is looked for.
    InOtherWord,
}

impl Cutter {
    pub(super) fn new() -> Cutter {
        let mut folds = Vec::new();
        for line in FOLDS.lines() {
            let mut words = line.split(' ');
            let first = words.next().and_then(|word| word.chars().next());
            let codes = first.map(u32::from).into_iter().flat_map(|first| first..);
            folds.extend(codes.zip(words));
        }
        let mut low = vec![['\0'; 2]; LOW];
        for (code, becomes) in (0u32..).zip(&mut low) {
            let c = char::from_u32(code).unwrap_or('\0');
            if c.is_alphanumeric() {
                for (place, small) in becomes.iter_mut().zip(c.to_lowercase()) {
                    *place = small;
                }
            }
        }
        for (code, becomes) in folds.iter().take_while(|(code, _)| (*code as usize) < LOW) {
            let mut chars = becomes.chars();
            low[*code as usize] = [chars.next().unwrap_or('\0'), chars.next().unwrap_or('\0')];
        }
        Cutter { folds, low }
    }

    /// Hands the words and the runs of a text over that pass a filter, each with its place; returns how many
    /// there are, of all. In the text of a JSON string, `is_json`, what is escaped ends a word.
    pub(super) fn cut(
        &self,
        text: &str,
        is_json: bool,
        filter: &TokenFilter,
        take: &mut dyn FnMut(TextToken<'_>, usize),
    ) -> u32 {
        let bytes = text.as_bytes();
        let mut piece = Piece {
            filter,
            take,
            at: 0,
            word: String::with_capacity(WORD_BYTES_MAX),
            state: PieceState::Outside,
            run: None,
            next: None,
            words: 0,
        };
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if byte.is_ascii_alphanumeric() {
                let rest = bytes[at..].iter();
                let len = rest.take_while(|byte| byte.is_ascii_alphanumeric()).count();
                piece.push_ascii(&text[at..at + len], at);
                at += len;
            } else if byte.is_ascii() {
                piece.end();
                at += 1 + usize::from(is_json && *byte == b'\\');
            } else if let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
                self.push(c, at, &mut piece);
                at += c.len_utf8();
            } else {
                at += 1;
            }
        }
        piece.end();
        piece.words
    }

    fn push(&self, c: char, at: usize, piece: &mut Piece<'_>) {
        let code = u32::from(c);
        match code {
            // Accents, and what is not seen.
            0x300..=0x36f | 0xad | 0x200b..=0x200d | 0x2060 | 0xfe00..=0xfe0f | 0xfeff => {}
            0..0x600 => {
                let [first, second] = self.low[code as usize];
                if first == '\0' {
                    return piece.end();
                }
                piece.push(first, at);
                if second != '\0' {
                    piece.push(second, at);
                }
            }
            // Voice marks of half-width kana.
            0xff9e | 0xff9f => piece.push_run(
                if code == 0xff9e {
                    '\u{3099}'
                } else {
                    '\u{309a}'
                },
                at,
            ),
            _ if is_run(code) => piece.push_run(c, at),
            _ => {
                if let Ok(found) = self.folds.binary_search_by_key(&code, |(code, _)| *code) {
                    for c in self.folds[found].1.chars() {
                        if is_run(u32::from(c)) {
                            piece.push_run(c, at);
                        } else {
                            piece.push(c, at);
                        }
                    }
                } else if is_in_word(c) {
                    c.to_lowercase().for_each(|small| piece.push(small, at));
                } else {
                    piece.end();
                }
            }
        }
    }
}

impl TokenFilter {
    /// All of them.
    pub(super) fn open() -> TokenFilter {
        TokenFilter {
            begins: [true; 256],
            ends: [true; 256],
        }
    }

    fn passes(&self, last: char) -> bool {
        self.ends[low_byte(last)]
    }
}

/// By this the characters of runs are told apart quickly, if not surely.
pub(super) fn low_byte(c: char) -> usize {
    (u32::from(c) & 0xff) as usize
}

impl Piece<'_> {
    /// Letters and digits of ASCII, of either case.
    fn push_ascii(&mut self, letters: &str, at: usize) {
        let first = letters.as_bytes()[0].to_ascii_lowercase();
        self.begin_word(first, at);
        if self.state == PieceState::InWord {
            let room = WORD_BYTES_MAX.saturating_sub(self.word.len());
            let start = self.word.len();
            self.word.push_str(&letters[..letters.len().min(room)]);
            self.word[start..].make_ascii_lowercase();
        }
    }

    fn begin_word(&mut self, first: u8, at: usize) {
        self.end_run();
        if self.state == PieceState::Outside {
            self.at = at;
            self.words = self.words.saturating_add(1);
            self.state = if self.filter.begins[usize::from(first)] {
                PieceState::InWord
            } else {
                PieceState::InOtherWord
            };
        }
    }

    fn push(&mut self, c: char, at: usize) {
        let first = c.encode_utf8(&mut [0; 4]).as_bytes()[0];
        self.begin_word(first, at);
        if self.state == PieceState::InWord && self.word.len() + c.len_utf8() <= WORD_BYTES_MAX {
            self.word.push(c);
        }
    }

    fn push_run(&mut self, c: char, at: usize) {
        self.end_word();
        if let Some(whole) = self.next.and_then(|before| composed(before, c)) {
            self.next = Some(whole);
            return;
        }
        if is_mark(c) {
            return;
        }
        self.hand_over_run(false);
        self.words = self.words.saturating_add(1);
        self.next = Some(c);
        self.at = at;
    }

    fn end(&mut self) {
        self.end_word();
        self.end_run();
    }

    fn end_word(&mut self) {
        if self.state == PieceState::InWord {
            (self.take)(TextToken::Word(&self.word), self.at);
            self.word.clear();
        }
        self.state = PieceState::Outside;
    }

    fn end_run(&mut self) {
        if self.next.is_some() {
            self.hand_over_run(true);
            self.run = None;
        }
    }

    /// Hands the next character over, with the one before.
    fn hand_over_run(&mut self, is_last: bool) {
        let Some(next) = self.next.take() else { return };
        if (is_last || self.run.is_some()) && self.filter.passes(next) {
            (self.take)(TextToken::Run(self.run, next), self.at);
        }
        self.run = Some(next);
    }
}

/// A character of a script that puts no spaces between words: Han, kana, Hangul, Thai and its neighbours.
fn is_run(code: u32) -> bool {
    matches!(code,
        0x3005..=0x3007 | 0x3041..=0x3096 | 0x3099..=0x309a | 0x309d..=0x309e | 0x30a1..=0x30fa
        | 0x30fc..=0x30fe | 0x31f0..=0x31ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff
        | 0xac00..=0xd7a3 | 0x1100..=0x11ff
        | 0x0e01..=0x0e32 | 0x0e34..=0x0e3a | 0x0e40..=0x0e4e | 0x0e80..=0x0eb2 | 0x0eb4..=0x0ece
        | 0x1000..=0x103f | 0x1780..=0x17d3 | 0x20000..=0x2f7ff | 0x30000..=0x3ffff)
}

/// A letter, a digit, or a mark of a script of India, where a letter without a vowel bears one.
fn is_in_word(c: char) -> bool {
    c.is_alphanumeric()
        || (('\u{900}'..='\u{dff}').contains(&c) && !matches!(c, '\u{964}' | '\u{965}'))
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{3099}' | '\u{309a}')
}

/// The one character that two are: of kana with its voice mark, and of a Hangul syllable in parts.
fn composed(before: char, c: char) -> Option<char> {
    let (first, second) = (u32::from(before), u32::from(c));
    let code = match (first, second) {
        (_, 0x3099 | 0x309a) => {
            let katakana = if first >= 0x30a1 { 0x60 } else { 0 };
            let is_soft = second == 0x309a;
            match first - katakana {
                0x306f | 0x3072 | 0x3075 | 0x3078 | 0x307b => first + 1 + u32::from(is_soft),
                0x304b..=0x3062 if first % 2 == 1 && !is_soft => first + 1,
                0x3064 | 0x3066 | 0x3068 if !is_soft => first + 1,
                0x3046 if !is_soft => 0x3094 + katakana,
                _ => return None,
            }
        }
        (0x1100..=0x1112, 0x1161..=0x1175) => {
            0xac00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28
        }
        (0xac00..=0xd7a3, 0x11a8..=0x11c2) if (first - 0xac00) % 28 == 0 => first + second - 0x11a7,
        _ => return None,
    };
    char::from_u32(code)
}
