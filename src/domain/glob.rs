//! Globs over names: `*` is any run of characters, `?` one. Pure.

use std::fmt;

/// A glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The longest.
    pub const BYTES_MAX: usize = 200;
    /// No more than so many characters of a text are compared: the cost is their product.
    const COMPARED_CHARS: usize = 256;

    /// Reads one.
    ///
    /// Errors: why it is none, after the key.
    pub fn parse(text: &str) -> Result<Glob, &'static str> {
        match text.trim() {
            "" => Err("must not be empty"),
            text if text.len() > Glob::BYTES_MAX => Err("is longer than 200 bytes"),
            text if text.contains(['[', ']', '{', '}', '\\']) => {
                Err("is a pattern that knows only `*` and `?`, and takes a list of several")
            }
            text => Ok(Glob(text.to_owned())),
        }
    }

    /// One that fits whatever the word of a shell may: `[…]` as any character, `{…,…}` as anything.
    /// `None` for a word that fits itself alone.
    pub fn wider_than_a_shells(word: &str) -> Option<Glob> {
        let has_list = word.contains('{') && (word.contains(',') || word.contains(".."));
        if !has_list && !word.contains(['*', '?', '[']) {
            return None;
        }
        let mut glob = String::new();
        let mut end = None;
        let mut literals = 0;
        for letter in word.chars() {
            // Already it fits no text that is compared.
            if literals > Glob::COMPARED_CHARS {
                return Some(Glob(glob));
            }
            literals += usize::from(end.is_none() && !matches!(letter, '*' | '{'));
            match (end, letter) {
                (Some(last), letter) if letter == last => end = None,
                (Some(_), _) => {}
                (None, '[') => {
                    glob.push('?');
                    end = Some(']');
                }
                (None, '{') if has_list => {
                    if !glob.ends_with('*') {
                        glob.push('*');
                    }
                    end = Some('}');
                }
                (None, '*') if glob.ends_with('*') => {}
                (None, letter) => glob.push(letter),
            }
        }
        // What does not end is a plain character, or the beginning of something odd.
        if end.is_some() {
            glob.push('*');
        }
        Some(Glob(glob))
    }

    /// It fits `text` from its beginning to its end.
    pub fn fits(&self, text: &str) -> bool {
        let glob: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().take(Glob::COMPARED_CHARS).collect();
        let (mut at, mut seen) = (0, 0);
        // Where the last `*` stands, and up to where it reaches.
        let mut star: Option<(usize, usize)> = None;
        while seen < text.len() {
            match (glob.get(at), star) {
                (Some('*'), _) => {
                    star = Some((at, seen));
                    at += 1;
                }
                (Some(one), _) if *one == '?' || *one == text[seen] => {
                    at += 1;
                    seen += 1;
                }
                (_, Some((place, reach))) => {
                    star = Some((place, reach + 1));
                    at = place + 1;
                    seen = reach + 1;
                }
                (_, None) => return false,
            }
        }
        glob[at..].iter().all(|one| *one == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything_and_a_question_mark_one_character() {
        for (glob, text, fits) in [
            ("web:fetch", "web:fetch", true),
            ("web:fetch", "web:fetches", false),
            ("memory:*", "memory:recall", true),
            ("memory:*", "memory:", true),
            ("memory:*", "memory", false),
            ("*", "", true),
            ("*:fetch", "web:fetch", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("b?sh", "bash", true),
            ("b?sh", "bsh", false),
            ("?", "ä", true),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().fits(text), fits, "{glob} {text}");
        }
    }

    #[test]
    fn what_other_globs_give_a_meaning_is_refused() {
        for text in ["", "  ", "[ab]", "{a,b}", r"a\*", &"a".repeat(201)] {
            assert!(Glob::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_wider_one_fits_what_a_shells_glob_does() {
        for (glob, text) in [
            ("*.[ch]", "x.c"),
            ("run.{sh,py}", "run.py"),
            ("a[!b]c", "axc"),
            ("x[", "x["),
        ] {
            let wider = Glob::wider_than_a_shells(glob).unwrap();
            assert!(wider.fits(text), "{glob} {text}");
        }
        assert_eq!(Glob::wider_than_a_shells("{print"), None);
        for long in ["*a", "[b]", "**", "{,}*"] {
            let wider = Glob::wider_than_a_shells(&long.repeat(100_000)).unwrap();
            assert!(wider.0.len() < 4 * Glob::COMPARED_CHARS, "{long}");
            assert_eq!(
                wider.fits(&"a".repeat(255)),
                long.starts_with("**") || long.starts_with('{')
            );
        }
    }
}
