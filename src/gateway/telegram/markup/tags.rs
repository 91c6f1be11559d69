//! The HTML in Markdown that has a meaning for Telegram.

use super::text::{BOLD, CODE, ITALIC, SPOILER, STRIKE, UNDERLINE};

/// What a tag of HTML means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HtmlTag<'a> {
    /// What follows has this mark, or none, up to the end tag of that name.
    Start(&'a str, u8),
    End(&'a str),
    /// `<br>`.
    NewLine,
    /// Text, for all we know.
    Unknown,
}

/// Reads one whole tag. Attributes are looked over.
pub(super) fn read(tag: &str) -> HtmlTag<'_> {
    let inner = tag
        .trim_start_matches('<')
        .trim_end_matches(['>', '/', ' ']);
    let (is_end, inner) = match inner.strip_prefix('/') {
        Some(name) => (true, name),
        None => (false, inner),
    };
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name = &inner[..inner.find(|c| !is_of_name(c)).unwrap_or(inner.len())];
    let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    let mark = if is(&["b", "strong"]) {
        BOLD
    } else if is(&["i", "em"]) {
        ITALIC
    } else if is(&["u", "ins"]) {
        UNDERLINE
    } else if is(&["s", "strike", "del"]) {
        STRIKE
    } else if is(&["tg-spoiler"]) {
        SPOILER
    } else if is(&["code", "kbd"]) {
        CODE
    } else if is(&["sub", "sup", "small"]) {
        0
    } else if is(&["br"]) {
        return HtmlTag::NewLine;
    } else {
        return HtmlTag::Unknown;
    };
    if is_end {
        HtmlTag::End(name)
    } else {
        HtmlTag::Start(name, mark)
    }
}

/// The next tag in a text, as its bytes from where to where.
pub(super) fn next(text: &str) -> Option<(usize, usize)> {
    let start = text.find('<')?;
    let end = text[start..].find('>')?;
    Some((start, start + end + 1))
}
