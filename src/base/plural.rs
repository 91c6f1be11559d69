//! Numbers of things, as English has them.

/// `1 turn`, `2 turns`; the noun is given as for one, and takes an `s` for more.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", agreeing(count, "", "s"))
}

/// The word that agrees with the number: `has` for one, `have` for none and several.
pub fn agreeing<'a>(count: usize, one: &'a str, several: &'a str) -> &'a str {
    if count == 1 { one } else { several }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_no_plural() {
        for (count, text) in [(0, "0 turns"), (1, "1 turn"), (2, "2 turns")] {
            assert_eq!(counted(count, "turn"), text);
        }
        assert_eq!(
            [0, 1, 2].map(|count| agreeing(count, "is", "are")),
            ["are", "is", "are"]
        );
    }
}
