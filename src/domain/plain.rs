//! Text that others wrote, made plain: whatever would not be seen in it is spelled out. Pure.

/// What a run of blanks may be long, and a run of empty lines.
const RUN_MAX: usize = 8;
const EMPTY_LINES_MAX: usize = 2;

/// A text of which nothing may be hidden, because somebody decides by it: what is invisible, or
/// would be obeyed by a terminal, is spelled out, e.g. `\u{1b}`. `\n` stays.
pub fn spelled_out(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == ' ' || !is_invisible(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}

/// Bytes as people say them; never more than there are.
pub fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        1 => "1 byte".to_owned(),
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KB", tenths(1 << 10)),
        0x10_0000..0x4000_0000 => format!("{} MB", tenths(1 << 20)),
        _ => format!("{} GB", tenths(1 << 30)),
    }
}

/// The words of a text in one line, of which none looks like another part of what it is put into, and
/// without what whoever reads it would not see.
pub fn in_one_line(text: &str) -> String {
    let is_seen = |c: &char| c.is_whitespace() || !is_invisible(*c);
    let seen: String = text.chars().filter(is_seen).collect();
    let words: Vec<&str> = seen.split_whitespace().collect();
    words.join(" ")
}

/// The lines of a text, spelled out, with runs of blanks and of empty lines counted: `⟨400 empty
/// lines⟩`. Nothing of a text can be pushed out of sight by them.
pub fn lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut empty = 0;
    for line in text.split('\n') {
        if line.trim().is_empty() && !line.chars().any(|c| is_invisible(c) && c != '\r') {
            empty += 1;
            continue;
        }
        push_empty(&mut found, empty);
        empty = 0;
        found.push(counted_blanks(&spelled_out(line)));
    }
    // Those at the end push nothing away, and say nothing.
    if empty > EMPTY_LINES_MAX {
        push_empty(&mut found, empty);
    }
    found
}

fn push_empty(found: &mut Vec<String>, empty: usize) {
    if empty > EMPTY_LINES_MAX {
        found.push(format!("⟨{empty} empty lines⟩"));
    } else {
        found.extend(std::iter::repeat_n(String::new(), empty));
    }
}

fn counted_blanks(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(' ') {
        shown.push_str(&rest[..at]);
        let after = rest[at..].trim_start_matches(' ');
        let blanks = rest.len() - at - after.len();
        if blanks > RUN_MAX {
            shown.push_str(&format!("⟨{blanks} blanks⟩"));
        } else {
            shown.push_str(&rest[at..at + blanks]);
        }
        rest = after;
    }
    shown + rest
}

/// Tells characters that are not seen where they stand, or pass for a blank: controls, marks of
/// direction and joining, fillers, variation selectors, tags, and all blanks but one.
///
/// Source: Unicode's `Default_Ignorable_Code_Point`, `White_Space`, `Cc`, `Cf`.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c != ' ' && c.is_whitespace())
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}' | '\u{e000}'..='\u{f8ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_seen_is_spelled_out() {
        for (text, expected) in [
            ("ls -l ä 日本", "ls -l ä 日本"),
            ("rm -rf /\r\u{1b}[2Kls", "rm -rf /\\r\\u{1b}[2Kls"),
            ("a\tb\u{0}\u{7f}\u{85}", "a\\tb\\u{0}\\u{7f}\\u{85}"),
            ("a\u{a0}b\u{3000}\u{2009}c", "a\\u{a0}b\\u{3000}\\u{2009}c"),
            (
                "a\u{ad}\u{200b}\u{200d}\u{2060}\u{feff}",
                "a\\u{ad}\\u{200b}\\u{200d}\\u{2060}\\u{feff}",
            ),
            (
                "\u{2028}\u{2029}\u{202e}\u{2066}",
                "\\u{2028}\\u{2029}\\u{202e}\\u{2066}",
            ),
            (
                "x\u{e0041}\u{e0100}\u{fe0f}\u{180e}",
                "x\\u{e0041}\\u{e0100}\\u{fe0f}\\u{180e}",
            ),
            (
                "\u{115f}\u{3164}\u{2800}\u{e000}",
                "\\u{115f}\\u{3164}\\u{2800}\\u{e000}",
            ),
            ("a\nb", "a\nb"),
        ] {
            assert_eq!(spelled_out(text), expected, "{text:?}");
        }
    }

    #[test]
    fn runs_of_nothing_are_counted() {
        let text = format!("ls{}rm{}x  y\n", "\n".repeat(401), " ".repeat(300));
        assert_eq!(
            lines(&text),
            ["ls", "⟨400 empty lines⟩", "rm⟨300 blanks⟩x  y"]
        );
        assert_eq!(lines("a \r\n \r\nb"), ["a \\r", "", "b"]);
        assert_eq!(lines("a\n\u{200b}\n\nb"), ["a", "\\u{200b}", "", "b"]);
        assert_eq!(
            lines(&format!("a{}", "\n".repeat(9))),
            ["a", "⟨9 empty lines⟩"]
        );
    }
}
