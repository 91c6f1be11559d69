//! A text as Telegram can show it: blocks, and in them runs of one style.

use std::borrow::Cow;
use std::ops::Range;

/// A text that was read.
#[derive(Debug, Default)]
pub(super) struct StyledText<'a> {
    /// What it was read from.
    pub(super) source: &'a str,
    /// In their order; each belongs to one block.
    pub(super) runs: Vec<StyledRun<'a>>,
    pub(super) blocks: Vec<TextBlock>,
    /// The addresses of links.
    pub(super) links: Vec<String>,
    /// The language of each block of code, or nothing.
    pub(super) languages: Vec<String>,
}

impl StyledText<'_> {
    /// The runs of a block.
    pub(super) fn runs_of(&self, block: usize) -> Range<usize> {
        let next = self.blocks.get(block + 1);
        self.blocks[block].first_run..next.map_or(self.runs.len(), |next| next.first_run)
    }

    /// The newlines before a block, if it does not begin a message.
    pub(super) fn gap(&self, block: usize) -> &'static str {
        let has_empty_line = self.blocks[block].has_empty_line;
        if has_empty_line { "\n\n" } else { "\n" }
    }
}

/// Text of one style.
#[derive(Debug, Clone)]
pub(super) struct StyledRun<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) style: MarkupStyle,
    /// Where it begins in the source. Text that is not the source's own stands at one place as a whole.
    pub(super) at: usize,
    pub(super) is_sources: bool,
}

/// What stands on lines of its own: a paragraph, a list's item, a line of code, a row of a table.
#[derive(Debug)]
pub(super) struct TextBlock {
    pub(super) first_run: usize,
    /// An empty line stands before it.
    pub(super) has_empty_line: bool,
    pub(super) is_heading: bool,
    /// What it was read from, marks and all.
    pub(super) source: Range<usize>,
    /// The units that it may have beyond its source's.
    pub(super) units_more: usize,
    /// Its source counts even when it is whole: what stands far below decides how much of it is shown.
    pub(super) is_open_to_the_end: bool,
    pub(super) row: Option<TableLine>,
}

/// A row of a table: which one, and the runs of each cell. Between two cells stands a run ` | `.
#[derive(Debug)]
pub(super) struct TableLine {
    pub(super) table: usize,
    pub(super) is_head: bool,
    pub(super) cells: Vec<Range<usize>>,
}

/// How a run is shown. The numbers are from 1 on; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MarkupStyle {
    pub(super) quote: usize,
    pub(super) code_block: usize,
    pub(super) link: usize,
    /// Of [`BOLD`] and the like.
    pub(super) marks: u8,
}

pub(super) const BOLD: u8 = 1;
pub(super) const ITALIC: u8 = 2;
pub(super) const UNDERLINE: u8 = 4;
pub(super) const STRIKE: u8 = 8;
pub(super) const SPOILER: u8 = 16;
pub(super) const CODE: u8 = 32;

/// A tag of Telegram's, with the number of what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkupTag {
    Quote(usize),
    CodeBlock(usize),
    Link(usize),
    Mark(u8),
}

impl MarkupStyle {
    /// The tags around a run, from the outside inwards: those that may stand in one another.
    pub(super) fn tags(self) -> impl Iterator<Item = MarkupTag> {
        let is_code = self.marks & CODE != 0;
        let is_plain = self.code_block != 0;
        let link = if is_plain { 0 } else { self.link };
        let marks = match (is_plain, is_code, link != 0) {
            (true, ..) => 0,
            (false, true, false) => CODE,
            (false, _, _) => self.marks & !CODE,
        };
        let of_text = [BOLD, ITALIC, UNDERLINE, STRIKE, SPOILER, CODE]
            .into_iter()
            .filter(move |mark| marks & mark != 0)
            .map(MarkupTag::Mark);
        let outer = [
            Some(MarkupTag::Quote(self.quote)).filter(|_| self.quote != 0),
            Some(MarkupTag::CodeBlock(self.code_block)).filter(|_| is_plain),
            Some(MarkupTag::Link(link)).filter(|_| link != 0),
        ];
        outer.into_iter().flatten().chain(of_text)
    }

    /// The style of the newlines between two blocks.
    pub(super) fn between(self, next: MarkupStyle) -> MarkupStyle {
        let same = |one: usize, other: usize| if one == other { one } else { 0 };
        let quote = same(self.quote, next.quote);
        let code_block = same(self.code_block, next.code_block);
        MarkupStyle {
            quote,
            code_block,
            ..MarkupStyle::default()
        }
    }
}

/// The units of UTF-16 of a text.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}
