//! From styled text to a message.

use std::borrow::Cow;
use std::ops::Range;

use unicode_width::UnicodeWidthStr as _;

use crate::gateway::outlet::RenderedPiece;

use super::cutting::TextPlace;
use super::text::{
    BOLD, CODE, ITALIC, MarkupStyle, MarkupTag, SPOILER, STRIKE, StyledText, UNDERLINE, units,
};

/// Writes the message that goes from one place to another.
pub(super) fn write(
    text: &StyledText<'_>,
    from: TextPlace,
    to: TextPlace,
    units_max: usize,
) -> RenderedPiece {
    let lines = lines(text, from, to);
    let used: usize = lines.iter().map(|line| line.units() + line.gap.len()).sum();
    let mut writer = PieceWriter {
        text,
        html: String::new(),
        plain: String::new(),
        open: Vec::new(),
        style: MarkupStyle::default(),
    };
    let mut room = units_max.saturating_sub(used);
    let mut rest = &lines[..];
    while let Some(first) = rest.first() {
        let table = first.table(text);
        let is_same = |line: &&PieceLine<'_>| table.is_some() && line.table(text) == table;
        let rows = rest.iter().take_while(is_same).count();
        let (these, behind) = rest.split_at(rows.max(1));
        let aligned = (rows > 0).then(|| aligned(text, these, &mut room));
        for line in aligned.flatten().as_deref().unwrap_or(these) {
            writer.line(line);
        }
        rest = behind;
    }
    writer.close_to(0);
    RenderedPiece {
        plain: Some(writer.plain).filter(|plain| *plain != writer.html),
        content: writer.html,
    }
}

/// A block, or what of it is in this message.
struct PieceLine<'t> {
    block: usize,
    gap: &'static str,
    parts: Vec<(Cow<'t, str>, MarkupStyle)>,
    is_whole: bool,
}

impl PieceLine<'_> {
    fn units(&self) -> usize {
        self.parts.iter().map(|(text, _)| units(text)).sum()
    }

    /// The number of the table of which this is a whole row.
    fn table(&self, text: &StyledText<'_>) -> Option<usize> {
        let row = text.blocks[self.block].row.as_ref();
        row.filter(|_| self.is_whole).map(|row| row.table)
    }
}

fn lines<'t>(text: &'t StyledText<'_>, from: TextPlace, to: TextPlace) -> Vec<PieceLine<'t>> {
    let blocks = text.blocks.len();
    let is_in = |block: &usize| *block < to.block || (*block == to.block && to.run_is_inside(text));
    (from.block..blocks)
        .take_while(is_in)
        .map(|block| {
            let runs = text.runs_of(block);
            let start = if block == from.block {
                from.run
            } else {
                runs.start
            };
            let end = if block == to.block {
                to.run + 1
            } else {
                runs.end
            };
            let part = |run: usize| {
                let styled = &text.runs[run];
                let here = |place: TextPlace| (place.run == run).then_some(place.byte);
                let begin = here(from).unwrap_or(0);
                let end = here(to).unwrap_or(styled.text.len());
                (Cow::Borrowed(&styled.text[begin..end]), styled.style)
            };
            PieceLine {
                block,
                gap: if block == from.block {
                    ""
                } else {
                    text.gap(block)
                },
                parts: (start..end.min(runs.end)).map(part).collect(),
                is_whole: (start == runs.start && (block != from.block || from.byte == 0))
                    && block != to.block,
            }
        })
        .collect()
}

impl TextPlace {
    /// It lies behind the beginning of its block.
    fn run_is_inside(self, text: &StyledText<'_>) -> bool {
        let block = text.blocks.get(self.block);
        block.is_some_and(|block| (self.run, self.byte) > (block.first_run, 0))
    }
}

/// The rows of a table with columns of one width, and a line below the head; `None` if there is no room
/// for the spaces.
fn aligned<'t>(
    text: &StyledText<'_>,
    rows: &[PieceLine<'t>],
    room: &mut usize,
) -> Option<Vec<PieceLine<'t>>> {
    let cells: Vec<Vec<(String, usize)>> = rows
        .iter()
        .map(|row| {
            let block = &text.blocks[row.block];
            let cells = block.row.iter().flat_map(|row| &row.cells);
            cells
                .map(|cell| shown(row, block.first_run, cell))
                .collect()
        })
        .collect();
    let mut widths = Vec::new();
    for (column, (_, width)) in cells.iter().flat_map(|row| row.iter().enumerate()) {
        widths.resize(widths.len().max(column + 1), 0);
        widths[column] = *width.max(&widths[column]);
    }
    let missing = |row: &Vec<(String, usize)>| -> usize {
        let to_fill = widths.iter().zip(row).take(row.len().saturating_sub(1));
        to_fill.map(|(width, (_, shown))| width - shown).sum()
    };
    let is_head = |line: &PieceLine<'_>| {
        let row = text.blocks[line.block].row.as_ref();
        row.is_some_and(|row| row.is_head)
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let rule = rule.join("-+-");
    let head = rows.iter().filter(|row| is_head(row)).count();
    let more = cells.iter().map(missing).sum::<usize>() + head * (rule.len() + 1);
    *room = room.checked_sub(more)?;
    let mut aligned = Vec::new();
    for (line, cells) in rows.iter().zip(&cells) {
        let style = line
            .parts
            .last()
            .map_or_else(MarkupStyle::default, |(_, style)| *style);
        let mut shown = String::new();
        for (column, (cell, width)) in cells.iter().enumerate() {
            if column > 0 {
                shown += " | ";
            }
            shown += cell;
            if column + 1 < cells.len() {
                shown.extend(std::iter::repeat_n(' ', widths[column] - width));
            }
        }
        if is_head(line) {
            shown = format!("{shown}\n{rule}");
        }
        aligned.push(PieceLine {
            block: line.block,
            gap: line.gap,
            parts: vec![(shown.into(), style)],
            is_whole: true,
        });
    }
    Some(aligned)
}

/// The text of a cell, and how wide it is.
fn shown(row: &PieceLine<'_>, first_run: usize, cell: &Range<usize>) -> (String, usize) {
    let parts = &row.parts[cell.start - first_run..cell.end - first_run];
    let text: String = parts.iter().map(|(text, _)| &**text).collect();
    let width = text.width();
    (text, width)
}

struct PieceWriter<'t, 'a> {
    text: &'t StyledText<'a>,
    html: String,
    plain: String,
    open: Vec<MarkupTag>,
    style: MarkupStyle,
}

impl PieceWriter<'_, '_> {
    fn line(&mut self, line: &PieceLine<'_>) {
        let first = line.parts.first().map(|(_, style)| *style);
        if !line.gap.is_empty() {
            let style = self.style.between(first.unwrap_or_default());
            self.say(line.gap, style);
        }
        for (text, style) in &line.parts {
            self.say(text, *style);
        }
        self.style = first.unwrap_or_default();
    }

    fn say(&mut self, text: &str, style: MarkupStyle) {
        if text.is_empty() {
            return;
        }
        let stays = self.open.iter().zip(style.tags());
        let stays = stays.take_while(|(one, other)| **one == *other).count();
        self.close_to(stays);
        for tag in style.tags().skip(stays) {
            self.open_tag(tag);
            self.open.push(tag);
        }
        self.plain.push_str(text);
        escape(text, &mut self.html);
    }

    fn open_tag(&mut self, tag: MarkupTag) {
        match tag {
            MarkupTag::Quote(_) => self.html.push_str("<blockquote>"),
            MarkupTag::CodeBlock(code) => {
                self.html.push_str("<pre>");
                let language = &self.text.languages[code - 1];
                if !language.is_empty() {
                    self.html.push_str("<code class=\"language-");
                    self.html.push_str(language);
                    self.html.push_str("\">");
                }
            }
            MarkupTag::Link(link) => {
                self.html.push_str("<a href=\"");
                escape(&self.text.links[link - 1], &mut self.html);
                self.html.push_str("\">");
            }
            MarkupTag::Mark(mark) => {
                self.html.push('<');
                self.html.push_str(name(mark));
                self.html.push('>');
            }
        }
    }

    /// Closes all tags but the outermost `stays`.
    fn close_to(&mut self, stays: usize) {
        while self.open.len() > stays {
            match self.open.pop() {
                Some(MarkupTag::Quote(_)) => self.html.push_str("</blockquote>"),
                Some(MarkupTag::CodeBlock(code)) => {
                    let has_language = !self.text.languages[code - 1].is_empty();
                    let end = if has_language {
                        "</code></pre>"
                    } else {
                        "</pre>"
                    };
                    self.html.push_str(end);
                }
                Some(MarkupTag::Link(_)) => self.html.push_str("</a>"),
                Some(MarkupTag::Mark(mark)) => {
                    self.html.push_str("</");
                    self.html.push_str(name(mark));
                    self.html.push('>');
                }
                None => {}
            }
        }
    }
}

fn name(mark: u8) -> &'static str {
    match mark {
        BOLD => "b",
        ITALIC => "i",
        UNDERLINE => "u",
        STRIKE => "s",
        SPOILER => "tg-spoiler",
        CODE => "code",
        _ => unreachable!("there are no other marks"),
    }
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            c => html.push(c),
        }
    }
}
