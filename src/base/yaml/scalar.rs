//! What YAML takes a word for that is not quoted. Pure.
//!
//! As the crate that writes our own files does it: YAML 1.2's core schema, where `yes` and `007`
//! are texts.

/// The type that YAML reads into an unquoted word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScalarKind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// Anything else, and all that is quoted.
    Text,
    /// A text that came from variables alone, and may be meant as a number or a bool.
    Variable,
    /// A variable in it could not be filled in; that was reported.
    Broken,
}

/// The kind of a word without quotes.
pub(super) fn kind_of(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        _ if is_padded(text) => ScalarKind::Text,
        _ => integer(text)
            .map(ScalarKind::Integer)
            .or_else(|| float(text).map(ScalarKind::Float))
            .unwrap_or(ScalarKind::Text),
    }
}

/// Digits after a zero, as in `007`: an identifier rather than a number.
fn is_padded(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A whole number of 64 bits: a longer one only occurs as an identifier.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let radixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let other = radixes
        .iter()
        .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = other.unwrap_or((digits, 10));
    // Rust takes a sign of its own.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = sign * i128::from(u64::from_str_radix(digits, radix).ok()?);
    (value >= i128::from(i64::MIN)).then_some(value)
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        _ if matches!(text, ".nan" | ".NaN" | ".NAN") => return Some(f64::NAN),
        _ if unsigned.starts_with(['+', '-']) => return None,
        _ => {}
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_taken_for_what_the_writer_of_our_own_files_takes_it_for() {
        use serde_yaml::Value;
        let words = "~ null Null NULL nil true True TRUE tRUE false False FALSE yes on 0 7 -7 +7 007 -007 00 \
             0x1F 0o17 0b101 -0x1F 0x 0x+1 0xZZ ++1 +-1 -+1 --1 + 1.10 1e3 1E-3 .5 5. -0.5 .inf -.inf +.inf .Inf \
             .nan .NaN -.nan inf nan infinity 1e999 1_000 9223372036854775807 9223372036854775808 \
             -9223372036854775808 18446744073709551615 \
             x 1.2.3 12:30 2026-03-01 0.0 -0 +0 0.";
        for word in words.split_whitespace() {
            let expected = match serde_yaml::from_str(&format!("a: {word}\n")) {
                Ok(Value::Mapping(map)) => match &map["a"] {
                    Value::Null => ScalarKind::Null,
                    Value::Bool(value) => ScalarKind::Bool(*value),
                    Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                        (Some(value), _) => ScalarKind::Integer(value.into()),
                        (_, Some(value)) => ScalarKind::Integer(value.into()),
                        _ => ScalarKind::Float(number.as_f64().unwrap()),
                    },
                    Value::String(_) => ScalarKind::Text,
                    other => panic!("{word}: {other:?}"),
                },
                other => panic!("{word}: {other:?}"),
            };
            let found = kind_of(word);
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{word}");
        }
        // It has no value for one of more than 64 bits.
        for word in ["18446744073709551616", "-9223372036854775809"] {
            assert!(matches!(kind_of(word), ScalarKind::Float(_)), "{word}");
        }
    }
}
