//! Where a text is cut into messages.
//!
//! A text grows while it is sent, and marks that are hidden once they are closed are shown until then. So
//! a block that does not fit is found by its *source*, which only grows: a block counts with that until it is
//! whole, and with what is shown of it from then on.

use std::mem;

use unicode_segmentation::GraphemeCursor;

use super::text::{MarkupStyle, MarkupTag, StyledText, units};

/// Telegram refuses more bytes than 32 KiB, tags and all; the rest is for the spaces that align tables.
const BYTES_MAX: usize = 24 << 10;

/// Telegram shows no more than a hundred pieces of a message in a style of their own, and no link among the rest.
const TAGS_MAX: usize = 100;

/// A place between two characters of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TextPlace {
    pub(super) block: usize,
    pub(super) run: usize,
    /// Into the run's text.
    pub(super) byte: usize,
}

/// The places from which and to which each message goes.
pub(super) fn cuts(text: &StyledText<'_>, units_max: usize) -> Vec<(TextPlace, TextPlace)> {
    let mut cuts = Vec::new();
    let mut from = begin_of(text, 0);
    while from.block < text.blocks.len() {
        let to = piece_end(text, from, units_max);
        cuts.push((from, to));
        from = behind_blanks(text, to);
    }
    cuts
}

fn begin_of(text: &StyledText<'_>, block: usize) -> TextPlace {
    let next = text.blocks.get(block);
    TextPlace {
        block,
        run: next.map_or(text.runs.len(), |block| block.first_run),
        byte: 0,
    }
}

/// How much a message holds.
#[derive(Debug, Clone, Copy, Default)]
struct MessageSize {
    units: usize,
    bytes: usize,
    tags: usize,
    style: MarkupStyle,
}

/// How good a place to cut at is: the later one in this list is the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum CutKind {
    Character,
    Word,
    Line,
    Paragraph,
}

fn piece_end(text: &StyledText<'_>, from: TextPlace, units_max: usize) -> TextPlace {
    let mut size = MessageSize::default();
    let mut best = None;
    for block in from.block..text.blocks.len() {
        let is_first = block == from.block;
        let begin = if is_first {
            from
        } else {
            begin_of(text, block)
        };
        if !is_first {
            let is_half_full = size.units >= units_max / 2;
            let kind = match text.blocks[block].has_empty_line {
                true => CutKind::Paragraph,
                false => CutKind::Line,
            };
            let is_better = best.is_none_or(|(known, _)| known <= kind);
            if is_half_full && is_better && !text.blocks[block - 1].is_heading {
                best = Some((kind, begin));
            }
            let gap = text.gap(block).len();
            (size.units, size.bytes) = (size.units + gap, size.bytes + gap);
            let next = text.runs_of(block).next().map(|run| text.runs[run].style);
            size.enter(text, size.style.between(next.unwrap_or_default()));
        }
        match with_block(text, begin, size, units_max) {
            Ok(larger) => size = larger,
            Err((kind, place)) => {
                let before = best.filter(|(known, _)| *known > kind);
                let place = before.map_or(place, |(_, place)| place);
                return if place > from {
                    place
                } else {
                    behind_one(text, from)
                };
            }
        }
    }
    begin_of(text, text.blocks.len())
}

/// The size of a message with the rest of a block in it, or where to cut that.
fn with_block(
    text: &StyledText<'_>,
    begin: TextPlace,
    before: MessageSize,
    units_max: usize,
) -> Result<MessageSize, (CutKind, TextPlace)> {
    if before.units > units_max {
        return Err((CutKind::Character, begin));
    }
    let block = &text.blocks[begin.block];
    let mut size = before;
    let mut source = SourceUnits {
        at: text
            .runs
            .get(begin.run)
            .map_or(block.source.end, |run| run.at + begin.byte),
        units: before.units,
        source: text.source,
    };
    if begin.run == block.first_run && begin.byte == 0 {
        (source.at, source.units) = (block.source.start, source.units + block.units_more);
    }
    let mut best = (CutKind::Character, begin);
    for run in begin.run..text.runs_of(begin.block).end {
        let from = if run == begin.run { begin.byte } else { 0 };
        let styled = &text.runs[run];
        let shown = &styled.text[from..];
        let here = |byte: usize| TextPlace {
            run,
            byte: from + byte,
            ..begin
        };
        if !shown.is_empty() {
            source.read_to(styled.at);
            if source.units > units_max {
                return Err(if best.0 == CutKind::Character {
                    (best.0, here(0))
                } else {
                    best
                });
            }
            size.enter(text, styled.style);
        }
        for (byte, c) in shown.char_indices() {
            let place = here(byte);
            size.units += c.len_utf16();
            size.bytes += escaped_bytes(c);
            if styled.is_sources {
                source.read_to(styled.at + place.byte + c.len_utf8());
            }
            let is_full = size.units.max(source.units) > units_max;
            if is_full || size.bytes > BYTES_MAX || size.tags > TAGS_MAX {
                return Err(match best.0 {
                    _ if c.is_whitespace() => (CutKind::Word.max(best.0), place),
                    CutKind::Character => (best.0, here(whole_character(shown, byte))),
                    _ => best,
                });
            }
            let is_half_full = size.units.max(source.units) > units_max / 2;
            let kind = if c == '\n' {
                CutKind::Line
            } else {
                CutKind::Word
            };
            if c.is_whitespace() && is_half_full && best.0 <= kind {
                best = (kind, here(byte + c.len_utf8()));
            }
        }
    }
    source.read_to(block.source.end);
    if source.units > units_max {
        let end = begin_of(text, begin.block + 1);
        return Err(if best.0 == CutKind::Character {
            (best.0, end)
        } else {
            best
        });
    }
    if block.is_open_to_the_end {
        size.units = size.units.max(source.units);
    }
    Ok(size)
}

/// Counts what a message would have of the source.
struct SourceUnits<'a> {
    source: &'a str,
    at: usize,
    units: usize,
}

impl SourceUnits<'_> {
    fn read_to(&mut self, at: usize) {
        if let Some(more) = self.source.get(self.at..at) {
            self.units += units(more);
            self.at = at;
        }
    }
}

impl MessageSize {
    /// A run of this style follows.
    fn enter(&mut self, text: &StyledText<'_>, style: MarkupStyle) {
        let before = mem::replace(&mut self.style, style);
        let stays = before.tags().zip(style.tags());
        let stays = stays.take_while(|(one, other)| one == other).count();
        for tag in style.tags().skip(stays) {
            self.tags += 1;
            self.bytes += tag_bytes(text, tag);
        }
    }
}

/// At least what a tag and its end tag take.
fn tag_bytes(text: &StyledText<'_>, tag: MarkupTag) -> usize {
    const LONGEST_TAGS: usize = "<blockquote></blockquote>".len();
    const LANGUAGE: usize = "<code class=\"language-\"></code>".len();
    LONGEST_TAGS
        + match tag {
            MarkupTag::Link(link) => text.links[link - 1].chars().map(escaped_bytes).sum(),
            MarkupTag::CodeBlock(code) => LANGUAGE + text.languages[code - 1].len(),
            MarkupTag::Quote(_) | MarkupTag::Mark(_) => 0,
        }
}

fn escaped_bytes(c: char) -> usize {
    match c {
        '<' | '>' => 4,
        '&' => 5,
        '"' => 6,
        c => c.len_utf8(),
    }
}

/// The last place up to `byte` that is inside no character as people count them, if there is one.
fn whole_character(text: &str, byte: usize) -> usize {
    let mut cursor = GraphemeCursor::new(byte, text.len(), true);
    match cursor.is_boundary(text, 0) {
        Ok(false) => match cursor.prev_boundary(text, 0) {
            Ok(Some(boundary)) if boundary > 0 => boundary,
            _ => byte,
        },
        _ => byte,
    }
}

/// One character on, whatever its size: a message has something in it.
fn behind_one(text: &StyledText<'_>, from: TextPlace) -> TextPlace {
    for run in from.run..text.runs_of(from.block).end {
        let byte = if run == from.run { from.byte } else { 0 };
        if let Some(c) = text.runs[run].text[byte..].chars().next() {
            let byte = byte + c.len_utf8();
            return TextPlace { run, byte, ..from };
        }
    }
    begin_of(text, from.block + 1)
}

/// Telegram takes whitespace from the beginning of a message, but for that of code.
fn behind_blanks(text: &StyledText<'_>, from: TextPlace) -> TextPlace {
    if from.block >= text.blocks.len() || from == begin_of(text, from.block) {
        return from;
    }
    for run in from.run..text.runs_of(from.block).end {
        let begin = if run == from.run { from.byte } else { 0 };
        let rest = &text.runs[run].text[begin..];
        let is_code = text.runs[run].style.code_block != 0;
        let kept = if is_code { rest } else { rest.trim_start() };
        if !kept.is_empty() {
            let byte = begin + rest.len() - kept.len();
            return TextPlace { run, byte, ..from };
        }
    }
    begin_of(text, from.block + 1)
}
