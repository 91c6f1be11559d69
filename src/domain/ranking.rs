//! Which texts fit a query best: what a memory recalls, and which messages a search finds. Pure.
//!
//! Texts are cut into words as NFKC has their characters, without case and without the accents of Latin
//! letters. A word of four letters or more also fits what it begins, or what begins it, by three letters
//! at most: so inflections fit, of English and German above all. Scripts that put no spaces between words
//! (Han, kana, Hangul, Thai) count as pairs of neighbours instead.
//!
//! How well a text fits is BM25 over the words of the query. Words that are frequent in a language (`when
//! is the`) decide among texts that have others, and bring none alone.
//!
//! Everything takes time in proportion to the text, and holds no more than `KEPT_MAX` texts' counts.

mod cut;
mod frequent;

use crate::domain::ranking::cut::{Cutter, TextToken, TokenFilter, low_byte};

/// So many words or pairs of a query count, and so many texts are remembered.
const TERMS_MAX: usize = 64;
/// Of more texts that fit, those are forgotten that fit worst so far.
const KEPT_MAX: usize = 8_192;
/// What a word counts that is the query's own.
const WHOLE: u8 = 8;
/// A term that weighs less brings no text by itself.
const CONTENT_WEIGHT: f32 = 0.35;

/// What is looked for.
#[derive(Debug)]
pub struct WordQuery {
    cutter: Cutter,
    terms: Vec<Term>,
    filter: TokenFilter,
    /// The first bytes of the terms that are words: what begins otherwise fits none.
    firsts: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Term {
    what: TermKind,
    weight: f32,
}

#[derive(Debug, PartialEq)]
enum TermKind {
    Word {
        text: String,
        letters: usize,
        /// It fits no other word than itself.
        is_exact: bool,
        /// Frequent words that it would fit: it does not.
        others: Vec<&'static str>,
    },
    /// Neighbours in a run of a script without spaces.
    Pair(char, char),
    /// A run of one.
    Lone(char),
}

/// How often the terms of a query occur in a text, in eighths, and how long the text is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordTally {
    /// By term; empty if none occurs.
    fits: Vec<u8>,
    words: u32,
}

/// Texts that a query is held against, and the best of them.
#[derive(Debug)]
pub struct Ranking<'q, T> {
    query: &'q WordQuery,
    found: Vec<RankedText<T>>,
    /// In how many texts each term occurs.
    spread: Vec<u32>,
    texts: u64,
    words: u64,
}

#[derive(Debug)]
struct RankedText<T> {
    tally: WordTally,
    /// Of two that fit alike the greater comes first.
    age: u64,
    item: T,
}

impl WordQuery {
    /// What to look for, in anybody's words.
    pub fn new(text: &str) -> WordQuery {
        let cutter = Cutter::new();
        let mut terms: Vec<Term> = Vec::new();
        cutter.cut(text, false, &TokenFilter::open(), &mut |token, _| {
            let term = Term::of(&token);
            if terms.len() < TERMS_MAX && !terms.iter().any(|known| known.what == term.what) {
                terms.push(term);
            }
        });
        // `who are you` is a question too.
        if terms.iter().all(|term| term.weight < CONTENT_WEIGHT) {
            terms.iter_mut().for_each(|term| term.weight = 1.0);
        }
        let filter = filter_of(&terms);
        let firsts = terms.iter().map(Term::first).collect();
        WordQuery {
            cutter,
            terms,
            filter,
            firsts,
        }
    }

    /// It has no word that could fit.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// What of it occurs in a text.
    pub fn count(&self, text: &str) -> WordTally {
        self.count_in(text, false)
    }

    /// Adds what occurs in a heading over the text, or in its name: that counts twice, and makes the text no
    /// longer.
    pub fn count_named(&self, name: &str, tally: &mut WordTally) {
        let named = self.count_in(name, false);
        tally.add(&named);
        tally.add(&named);
    }

    /// What occurs in the text of a JSON string as it is written, without its quotes; `None` if that has to
    /// be read first.
    pub fn count_json(&self, text: &str) -> Option<WordTally> {
        let is_plain = memchr::memmem::find(text.as_bytes(), b"\\u").is_none();
        is_plain.then(|| self.count_in(text, true))
    }

    fn count_in(&self, text: &str, is_json: bool) -> WordTally {
        let mut fits = Vec::new();
        let words = self
            .cutter
            .cut(text, is_json, &self.filter, &mut |token, _| {
                self.each_fit(&token, &mut |term, points| {
                    fits.resize(self.terms.len(), 0u8);
                    fits[term] = fits[term].saturating_add(points);
                });
            });
        WordTally { fits, words }
    }

    /// Hands the terms that a token fits over, with how well.
    fn each_fit(&self, token: &TextToken<'_>, each: &mut dyn FnMut(usize, u8)) {
        let first = match token {
            TextToken::Word(word) => word.bytes().next().unwrap_or(0),
            TextToken::Run(..) => 0,
        };
        let terms = self.firsts.iter().zip(&self.terms).enumerate();
        for (place, (_, term)) in terms.filter(|(_, (known, _))| **known == first) {
            let points = match (&term.what, token) {
                (
                    TermKind::Word {
                        text,
                        letters,
                        is_exact,
                        others,
                    },
                    TextToken::Word(word),
                ) => match fit(text, *letters, word, *is_exact) {
                    points if points == WHOLE || !others.contains(word) => points,
                    _ => 0,
                },
                (TermKind::Pair(first, second), TextToken::Run(Some(before), last))
                    if first == before && second == last =>
                {
                    WHOLE
                }
                (TermKind::Lone(one), TextToken::Run(_, last)) if one == last => WHOLE,
                _ => 0,
            };
            if points > 0 {
                each(place, points);
            }
        }
    }

    /// Whether a text has more than words that are everywhere.
    fn is_met(&self, tally: &WordTally) -> bool {
        let fits = self.terms.iter().zip(&tally.fits);
        let mut fits = fits.filter(|(_, points)| **points > 0);
        fits.any(|(term, _)| term.weight >= CONTENT_WEIGHT)
    }

    /// The part of a text of about `bytes` that fits best, in one line.
    pub fn snippet(&self, text: &str, bytes: usize) -> String {
        /// What is shown before the first word that fits.
        const LEAD_BYTES: usize = 40;
        let mut places: Vec<(usize, usize)> = Vec::new();
        self.cutter
            .cut(text, false, &self.filter, &mut |token, at| {
                self.each_fit(&token, &mut |term, _| places.push((at, term)));
            });
        let (mut best, mut start) = (0.0, 0);
        let (mut counts, mut last, mut weight) = (vec![0; self.terms.len()], 0, 0.0);
        for (first, (from, term)) in places.iter().enumerate() {
            while let Some((_, next)) = places.get(last).filter(|(at, _)| *at < from + bytes) {
                weight += if counts[*next] == 0 {
                    self.terms[*next].weight
                } else {
                    0.0
                };
                counts[*next] += 1;
                last += 1;
            }
            if weight > best || first == 0 {
                (best, start) = (weight, *from);
            }
            counts[*term] -= 1;
            if counts[*term] == 0 {
                weight -= self.terms[*term].weight;
            }
        }
        let mut from = start.saturating_sub(LEAD_BYTES);
        from = (from..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        if from > 0 {
            // Not from the middle of a word, where there are words.
            let lead = text.get(from..start).unwrap_or_default();
            from += lead.find(char::is_whitespace).unwrap_or(0);
        }
        let to = (from + bytes).min(text.len());
        let to = (from..=to)
            .rfind(|at| text.is_char_boundary(*at))
            .unwrap_or(from);
        let words: Vec<&str> = text[from..to].split_whitespace().collect();
        let (before, after) = (
            if from > 0 { "…" } else { "" },
            if to < text.len() { "…" } else { "" },
        );
        format!("{before}{}{after}", words.join(" "))
    }
}

/// What lets through all that could fit one of the terms.
fn filter_of(terms: &[Term]) -> TokenFilter {
    let mut filter = TokenFilter {
        begins: [false; 256],
        ends: [false; 256],
    };
    for term in terms {
        match term.what {
            TermKind::Word { .. } => filter.begins[usize::from(term.first())] = true,
            TermKind::Pair(_, last) | TermKind::Lone(last) => filter.ends[low_byte(last)] = true,
        }
    }
    filter
}

impl Term {
    /// The first byte of a word; 0 for what is none.
    fn first(&self) -> u8 {
        match &self.what {
            TermKind::Word { text, .. } => text.bytes().next().unwrap_or(0),
            TermKind::Pair(..) | TermKind::Lone(_) => 0,
        }
    }

    fn of(token: &TextToken<'_>) -> Term {
        let (what, weight) = match token {
            TextToken::Word(word) => {
                let is_frequent = frequent::is_word(word);
                let has_digit = word.contains(|c: char| c.is_numeric());
                let letters = word.chars().count();
                let is_exact = is_frequent || has_digit;
                let alike = |other: &&str| !is_exact && fit(word, letters, other, false) > 0;
                let what = TermKind::Word {
                    text: (*word).to_owned(),
                    letters,
                    is_exact,
                    others: frequent::words().filter(alike).collect(),
                };
                (what, if is_frequent { 0.05 } else { 1.0 })
            }
            TextToken::Run(Some(before), last) => (
                TermKind::Pair(*before, *last),
                frequent::pair_weight(*before, *last),
            ),
            TextToken::Run(None, last) => (TermKind::Lone(*last), 1.0),
        };
        Term { what, weight }
    }
}

impl<'q, T> Ranking<'q, T> {
    /// Without texts yet.
    pub fn new(query: &'q WordQuery) -> Ranking<'q, T> {
        Ranking {
            query,
            found: Vec::new(),
            spread: vec![0; query.terms.len()],
            texts: 0,
            words: 0,
        }
    }

    /// Holds a text against the query; of two that fit alike the greater `age` comes first. True if it fits.
    pub fn add(&mut self, tally: WordTally, age: u64, item: T) -> bool {
        self.texts += 1;
        self.words += u64::from(tally.words);
        for (spread, points) in self.spread.iter_mut().zip(&tally.fits) {
            *spread += u32::from(*points > 0);
        }
        let is_met = self.query.is_met(&tally);
        if is_met {
            self.found.push(RankedText { tally, age, item });
            if self.found.len() >= 2 * KEPT_MAX {
                self.keep_best();
            }
        }
        is_met
    }

    /// Adds what occurs in a name of those texts that fit; `false` if none does.
    pub fn name(&mut self, named: &WordTally, is_one: impl Fn(&T) -> bool) -> bool {
        let mut is_any = false;
        for text in self.found.iter_mut().filter(|text| is_one(&text.item)) {
            text.tally.add(named);
            is_any = true;
        }
        is_any
    }

    /// Leaves out texts that fit.
    pub fn forget(&mut self, is_one: impl Fn(&T) -> bool) {
        self.found.retain(|text| !is_one(&text.item));
    }

    /// What fits best, the best first, and among equals the newest. What fits less than a tenth as well is
    /// left out.
    pub fn best(mut self) -> Vec<T> {
        self.keep_best();
        self.found.into_iter().map(|text| text.item).collect()
    }

    /// Sorts what was found, and forgets what is of no use.
    fn keep_best(&mut self) {
        const PARTS: f32 = 10_000.0;
        const PARTS_MIN: u32 = 1_000;
        let rates = self.rates();
        let found = std::mem::take(&mut self.found);
        let scores = found.iter().map(|text| self.score(&rates, &text.tally));
        let scores: Vec<f32> = scores.collect();
        let best = scores.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let mut rated: Vec<(u32, RankedText<T>)> = scores
            .into_iter()
            // What differs by less differs by rounding.
            .map(|score| (score / best * PARTS) as u32)
            .zip(found)
            .filter(|(parts, _)| *parts >= PARTS_MIN)
            .collect();
        rated.sort_by_key(|(parts, text)| std::cmp::Reverse((*parts, text.age)));
        rated.truncate(KEPT_MAX);
        self.found = rated.into_iter().map(|(_, text)| text).collect();
    }

    /// What each term is worth: the less texts have it, the more.
    fn rates(&self) -> Vec<f32> {
        let spread = self.spread.iter().zip(&self.query.terms);
        spread
            .map(|(spread, term)| {
                let others = (self.texts as f32 - *spread as f32).max(0.0);
                (1.0 + (others + 0.5) / (*spread as f32 + 0.5)).ln() * term.weight
            })
            .collect()
    }

    fn score(&self, rates: &[f32], tally: &WordTally) -> f32 {
        /// How soon more of the same word says nothing new, and how much length counts.
        const SATURATION: f32 = 1.2;
        const LENGTH: f32 = 0.5;
        let usual = (self.words as f32 / self.texts.max(1) as f32).max(1.0);
        let length = 1.0 - LENGTH + LENGTH * tally.words as f32 / usual;
        let terms = rates.iter().zip(&tally.fits);
        terms
            .map(|(rate, points)| {
                let often = f32::from(*points) / f32::from(WHOLE);
                rate * often * (SATURATION + 1.0) / (often + SATURATION * length)
            })
            .sum()
    }
}

impl WordTally {
    /// Adds what was counted in a name of the text.
    fn add(&mut self, name: &WordTally) {
        self.fits.resize(self.fits.len().max(name.fits.len()), 0);
        for (mine, more) in self.fits.iter_mut().zip(&name.fits) {
            *mine = mine.saturating_add(*more);
        }
    }

    /// That of a text as long in which nothing of the query occurs.
    #[must_use]
    pub fn length_alone(&self) -> WordTally {
        WordTally {
            fits: Vec::new(),
            words: self.words,
        }
    }

    /// Something of the query occurs.
    pub fn is_any(&self) -> bool {
        !self.fits.is_empty()
    }
}

/// How well a word of a text fits one of a query, out of [`WHOLE`]; the last two letters of the
/// shorter one may be all that they share.
fn fit(wanted: &str, letters: usize, word: &str, is_exact: bool) -> u8 {
    /// Who may begin another.
    const LETTERS_MIN: usize = 4;
    const MORE_MAX: usize = 3;
    if wanted == word {
        return WHOLE;
    }
    if is_exact {
        return 0;
    }
    let is_shorter = wanted.len() < word.len();
    let (short, long) = if is_shorter {
        (wanted, word)
    } else {
        (word, wanted)
    };
    let Some(more) = long.strip_prefix(short) else {
        return 0;
    };
    if more.len() > 4 * MORE_MAX || more.contains(|c: char| c.is_numeric()) {
        return 0;
    }
    let more = more.chars().count();
    let common = if is_shorter { letters } else { letters - more };
    // Of three letters, a word of a query fits its plural, and nothing that is longer.
    let is_fit = match common {
        0 | 1 => false,
        2 => !is_shorter && letters >= LETTERS_MIN && more <= 2,
        3 => more <= if is_shorter { 1 } else { MORE_MAX },
        _ => more <= MORE_MAX,
    };
    match (is_fit, common) {
        (false, _) => 0,
        (true, 2 | 3) => 3,
        (true, _) => WHOLE - 1 - more as u8,
    }
}

#[cfg(test)]
mod tests;
