//! From Markdown to styled text.

use std::borrow::Cow;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};

use super::tags::{self, HtmlTag};
use super::text::{
    BOLD, CODE, ITALIC, MarkupStyle, STRIKE, StyledRun, StyledText, TableLine, TextBlock, units,
};

/// Deeper lists are shown at this depth.
const INDENT_MAX: usize = 6;

/// More tags of HTML at once are text.
const OPEN_TAGS_MAX: usize = 16;

/// A longer address stands behind its text, where it can be cut.
const LINK_BYTES_MAX: usize = 2048;

/// Between two cells of a table.
const BETWEEN_CELLS: &str = " | ";

/// Reads a text, finished or not.
pub(super) fn read(markdown: &str) -> StyledText<'_> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut reader = MarkupReader {
        text: StyledText {
            source: markdown,
            ..StyledText::default()
        },
        ..MarkupReader::default()
    };
    for (event, range) in Parser::new_ext(markdown, options).into_offset_iter() {
        reader.take(event, range);
    }
    reader.close_block();
    reader.definitions(markdown.len());
    reader.drop_last_marker();
    reader.text
}

#[derive(Default)]
struct MarkupReader<'a> {
    text: StyledText<'a>,
    /// The last block may get more runs.
    is_open: bool,
    /// The source up to here is read.
    end: usize,
    /// It was looked for definitions up to here.
    looked_at: usize,
    /// The lists around, each with the number of its next item.
    lists: Vec<Option<u64>>,
    /// What stands before the first text of an item that has begun.
    marker: Option<String>,
    quotes: usize,
    quote: usize,
    is_code: bool,
    /// The block of code has lines already.
    has_lines: bool,
    is_heading: bool,
    /// How often each mark is open.
    bold: usize,
    italic: usize,
    strike: usize,
    links: Vec<OpenLink>,
    tags: Vec<OpenTag<'a>>,
    /// Inside a table: its number.
    table: Option<usize>,
    tables: usize,
    /// The source of the row up to here is read.
    cell_end: usize,
}

struct OpenLink {
    first_run: usize,
    address: String,
    kind: LinkType,
    /// Its number in the text, if Telegram takes it.
    link: usize,
}

struct OpenTag<'a> {
    name: Cow<'a, str>,
    mark: u8,
    /// The tag itself, as long as it has no end.
    run: usize,
}

impl<'a> MarkupReader<'a> {
    fn take(&mut self, event: Event<'a>, range: Range<usize>) {
        match event {
            Event::Start(tag) => self.start(tag, range),
            Event::End(tag) => self.finish(tag, range),
            Event::Text(text) if self.is_code => self.code(text, range),
            Event::Text(text) => self.say(text, range),
            Event::Code(text) => {
                let style = MarkupStyle {
                    marks: CODE,
                    ..self.style()
                };
                self.push(text, range, style);
            }
            Event::Html(html) => self.html_lines(html, range),
            Event::InlineHtml(html) => self.html(html, range),
            Event::SoftBreak | Event::HardBreak => self.new_line(range),
            Event::Rule => {
                self.close_block();
                self.say("———".into(), range);
                self.close_block();
            }
            Event::TaskListMarker(is_done) => {
                let marker = self.marker.take().unwrap_or_default();
                let number = marker.trim_end_matches("• ");
                let mark = if is_done { '☑' } else { '☐' };
                self.marker = Some(format!("{number}{mark} "));
                self.open_block(range.start);
                self.reach(range.end);
            }
            // None of these is asked for.
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.say(text, range);
            }
        }
    }

    fn start(&mut self, tag: Tag<'a>, range: Range<usize>) {
        match tag {
            Tag::Emphasis => self.begin_inline(&range, |reader| reader.italic += 1),
            Tag::Strong => self.begin_inline(&range, |reader| reader.bold += 1),
            Tag::Strikethrough => self.begin_inline(&range, |reader| reader.strike += 1),
            Tag::Link {
                link_type,
                dest_url,
                ..
            }
            | Tag::Image {
                link_type,
                dest_url,
                ..
            } => self.open_link(link_type, &dest_url, &range),
            Tag::TableCell => self.open_cell(range.start),
            block => {
                self.close_block();
                self.start_block(block, range);
            }
        }
    }

    fn begin_inline(&mut self, range: &Range<usize>, begin: impl FnOnce(&mut Self)) {
        self.open_block(range.start);
        begin(self);
    }

    fn start_block(&mut self, tag: Tag<'a>, range: Range<usize>) {
        self.definitions(range.start);
        match tag {
            Tag::Heading { .. } => self.is_heading = true,
            Tag::BlockQuote(_) => {
                self.flush_marker(range.start);
                self.quotes += 1;
                self.quote += usize::from(self.quotes == 1);
            }
            Tag::CodeBlock(kind) => {
                self.flush_marker(range.start);
                (self.is_code, self.has_lines) = (true, false);
                self.text.languages.push(language(&kind));
            }
            Tag::List(number) => {
                self.flush_marker(range.start);
                self.lists.push(number);
            }
            Tag::Item => {
                self.flush_marker(range.start);
                self.marker = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let marker = format!("{number}. ");
                        *number = number.saturating_add(1);
                        marker
                    }
                    _ => "• ".to_owned(),
                });
            }
            Tag::Table(_) => {
                self.flush_marker(range.start);
                self.tables += 1;
                self.table = Some(self.tables);
                // In the style of code without a language.
                self.text.languages.push(String::new());
            }
            Tag::TableHead => self.open_row(range, true),
            Tag::TableRow => self.open_row(range, false),
            _ => {}
        }
    }

    fn finish(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Emphasis => self.italic -= 1,
            TagEnd::Strong => self.bold -= 1,
            TagEnd::Strikethrough => self.strike -= 1,
            TagEnd::Link | TagEnd::Image => self.close_link(&range),
            TagEnd::TableCell => self.close_cell(range.end),
            TagEnd::TableHead | TagEnd::TableRow => self.close_row(&range),
            block => {
                self.close_block();
                self.finish_block(block, range);
                return;
            }
        }
        self.reach(range.end);
    }

    fn finish_block(&mut self, tag: TagEnd, range: Range<usize>) {
        match tag {
            TagEnd::Heading(_) => self.is_heading = false,
            TagEnd::BlockQuote(_) => self.quotes -= 1,
            TagEnd::CodeBlock => {
                self.is_code = false;
                self.end = self.end.max(range.end);
            }
            TagEnd::Table => self.table = None,
            TagEnd::Item => self.flush_marker(range.end),
            TagEnd::List(_) => {
                self.lists.pop();
            }
            _ => {}
        }
    }

    /// The style of what comes next.
    fn style(&self) -> MarkupStyle {
        let mark = |is_on: bool, mark: u8| if is_on { mark } else { 0 };
        let is_code = self.is_code || self.table.is_some();
        MarkupStyle {
            quote: if self.quotes > 0 { self.quote } else { 0 },
            code_block: if is_code {
                self.text.languages.len()
            } else {
                0
            },
            link: self.links.first().map_or(0, |link| link.link),
            marks: mark(self.bold > 0 || self.is_heading, BOLD)
                | mark(self.italic > 0, ITALIC)
                | mark(self.strike > 0, STRIKE),
        }
    }

    fn say(&mut self, text: CowStr<'a>, range: Range<usize>) {
        self.push(text, range, self.style());
    }

    /// Adds a run. What stands in the source as it is can be cut where the source can.
    fn push(&mut self, text: CowStr<'a>, range: Range<usize>, style: MarkupStyle) {
        self.open_block(range.start);
        let source = self.text.source;
        let found = source.get(range.clone()).and_then(|of| of.find(&*text));
        let (text, at) = match found {
            Some(index) => {
                let at = range.start + index;
                (Cow::Borrowed(&source[at..at + text.len()]), at)
            }
            None => (Cow::Owned(text.into_string()), range.start),
        };
        self.text.runs.push(StyledRun {
            text,
            style,
            at,
            is_sources: found.is_some(),
        });
        self.reach(range.end);
    }

    /// Adds a run that is not in the source.
    fn put(&mut self, text: impl Into<Cow<'a, str>>, at: usize, style: MarkupStyle) {
        self.text.runs.push(StyledRun {
            text: text.into(),
            style,
            at,
            is_sources: false,
        });
    }

    fn new_line(&mut self, range: Range<usize>) {
        self.open_block(range.start);
        let line = if self.table.is_some() { " " } else { "\n" };
        self.put(line, range.start, self.style());
        self.reach(range.end);
    }

    /// The block that is open reaches to here in the source.
    fn reach(&mut self, end: usize) {
        if let Some(block) = self.text.blocks.last_mut().filter(|_| self.is_open) {
            block.source.end = block.source.end.max(end);
            self.end = self.end.max(end);
        }
    }

    /// Begins a block, unless one is open.
    fn open_block(&mut self, at: usize) {
        if self.is_open {
            return;
        }
        self.definitions(at);
        self.begin_block(at);
        let style = MarkupStyle {
            marks: 0,
            ..self.style()
        };
        if style.code_block != 0 {
            return;
        }
        let mut lead = String::new();
        let depth = self.lists.len().min(INDENT_MAX);
        let marker = self.marker.take();
        let indent = depth.saturating_sub(usize::from(marker.is_some()));
        lead.extend(std::iter::repeat_n("  ", indent));
        lead.extend((1..self.quotes.min(INDENT_MAX)).map(|_| "> "));
        lead += &marker.unwrap_or_default();
        if !lead.is_empty() {
            self.more_units(units(&lead));
            self.put(lead, at, style);
        }
    }

    fn begin_block(&mut self, at: usize) {
        let read = self.text.source[..self.end].trim_end().len();
        let between = self.text.source.get(read..at).unwrap_or_default();
        let mut lines = between.split('\n').skip(1).peekable();
        let mut has_empty_line = false;
        while let Some(line) = lines.next() {
            let is_whole = lines.peek().is_some();
            has_empty_line |= is_whole && line.trim_matches([' ', '\t', '\r', '>']).is_empty();
        }
        // An empty line of code is a block.
        has_empty_line &= !(self.is_code && self.has_lines);
        self.has_lines = self.is_code;
        self.text.blocks.push(TextBlock {
            first_run: self.text.runs.len(),
            has_empty_line,
            is_heading: self.is_heading,
            source: at..at,
            units_more: 0,
            is_open_to_the_end: false,
            row: None,
        });
        self.is_open = true;
        self.end = self.end.max(at);
    }

    fn more_units(&mut self, units: usize) {
        if let Some(block) = self.text.blocks.last_mut() {
            block.units_more += units;
        }
    }

    fn close_block(&mut self) {
        self.is_open = false;
        self.tags.clear();
    }

    /// An item without text, or one that begins with what has a block of its own.
    fn flush_marker(&mut self, at: usize) {
        if self.marker.is_some() {
            self.open_block(at);
            self.close_block();
        }
    }

    /// A marker without text at the very end is one that is being written: of something else, maybe.
    fn drop_last_marker(&mut self) {
        while self.text.blocks.len() > 1 {
            let Some(last) = self.text.blocks.last() else {
                return;
            };
            let runs = &self.text.runs[last.first_run..];
            let is_marker = last.units_more > 0 && last.row.is_none();
            if !is_marker || runs.iter().any(|run| run.is_sources) {
                return;
            }
            self.text.runs.truncate(last.first_run);
            self.text.blocks.pop();
        }
    }

    /// Shows the lines before `at` that only tell where links lead: they may tell it to nobody else.
    fn definitions(&mut self, at: usize) {
        let source = self.text.source;
        let mut start = self.end.max(self.looked_at);
        let between = source.get(start..at).unwrap_or_default();
        self.looked_at = start.max(at);
        if !between.contains("]:") {
            return;
        }
        for line in between.split_inclusive('\n') {
            let behind_marks = line.trim_start_matches([' ', '\t', '>', '-', '*', '+']);
            let from = start + line.len() - behind_marks.len();
            if behind_marks.starts_with('[') && behind_marks.contains("]:") {
                self.begin_block(from);
                let shown = behind_marks.trim_end();
                self.push(shown.into(), from..from + shown.len(), self.style());
                self.close_block();
            }
            start += line.len();
        }
    }

    /// Each line of code is a block.
    fn code(&mut self, text: CowStr<'a>, range: Range<usize>) {
        let is_sources = self.text.source.get(range.clone()) == Some(&*text);
        let mut at = range.start;
        for line in text.split_inclusive('\n') {
            let shown = line.trim_end_matches(['\n', '\r']);
            let end = if is_sources {
                at + line.len()
            } else {
                range.end
            };
            self.open_block(at);
            if !shown.is_empty() {
                self.push(shown.to_owned().into(), at..end, self.style());
            } else if self.runs_in_block() == 0 {
                self.put("", at, self.style());
            }
            if line.ends_with('\n') {
                self.close_block();
            }
            at = end;
        }
    }

    fn runs_in_block(&self) -> usize {
        let first = self.text.blocks.last().map_or(0, |block| block.first_run);
        self.text.runs.len() - first
    }

    fn open_link(&mut self, kind: LinkType, address: &str, range: &Range<usize>) {
        self.open_block(range.start);
        let address = address.replace(' ', "%20");
        let mut link = 0;
        if self.links.is_empty() && self.table.is_none() && is_taken(&address) {
            self.text.links.push(address.clone());
            link = self.text.links.len();
        }
        self.links.push(OpenLink {
            first_run: self.text.runs.len(),
            address,
            kind,
            link,
        });
        let is_late = matches!(
            kind,
            LinkType::Reference | LinkType::Collapsed | LinkType::Shortcut
        );
        if let Some(block) = self.text.blocks.last_mut() {
            block.is_open_to_the_end |= is_late;
        }
        if kind == LinkType::Shortcut {
            self.push("[".into(), range.start..range.start + 1, self.style());
        }
    }

    /// A link that Telegram does not take stands behind its text.
    fn close_link(&mut self, range: &Range<usize>) {
        let style = self.style();
        let Some(link) = self.links.pop() else {
            return;
        };
        if link.kind == LinkType::Shortcut {
            self.push("]".into(), range.end - 1..range.end, style);
        }
        let text: String = self.text.runs[link.first_run..]
            .iter()
            .map(|run| &*run.text)
            .collect();
        let is_shown = link.link != 0 || !self.links.is_empty();
        let says_it = text == link.address || Some(&*text) == link.address.strip_prefix("mailto:");
        if text.trim().is_empty() {
            self.put(link.address, range.end, style);
        } else if !is_shown && !says_it && !link.address.is_empty() {
            self.put(format!(" ({})", link.address), range.end, style);
        }
    }

    fn open_row(&mut self, range: Range<usize>, is_head: bool) {
        self.open_block(range.start);
        self.reach(range.end);
        self.cell_end = range.start;
        let table = self.tables;
        if let Some(block) = self.text.blocks.last_mut() {
            block.row = Some(TableLine {
                table,
                is_head,
                cells: Vec::new(),
            });
        }
    }

    fn open_cell(&mut self, at: usize) {
        let row = self.text.blocks.last().and_then(|block| block.row.as_ref());
        if row.is_some_and(|row| !row.cells.is_empty()) {
            self.put(BETWEEN_CELLS, at, self.style());
            self.more_units(BETWEEN_CELLS.len() - 1);
        }
        let first = self.text.runs.len();
        let row = self
            .text
            .blocks
            .last_mut()
            .and_then(|block| block.row.as_mut());
        if let Some(row) = row {
            row.cells.push(first..first);
        }
    }

    fn close_cell(&mut self, at: usize) {
        self.cell_end = at;
        let end = self.text.runs.len();
        let row = self
            .text
            .blocks
            .last_mut()
            .and_then(|block| block.row.as_mut());
        if let Some(cell) = row.and_then(|row| row.cells.last_mut()) {
            cell.end = end;
        }
    }

    /// Cells beyond those of the head are text too.
    fn close_row(&mut self, range: &Range<usize>) {
        let rest = self.text.source.get(self.cell_end..range.end);
        let rest = rest.unwrap_or_default();
        let is_between = |c: char| c.is_whitespace() || c == '|';
        let more = rest.trim_start_matches(is_between);
        if !more.is_empty() {
            let at = range.end - more.len();
            self.open_cell(at);
            let more = more.trim_end_matches(is_between);
            self.push(more.into(), at..range.end, self.style());
            self.close_cell(range.end);
        }
        self.close_block();
    }

    /// Lines of HTML, in which no Markdown is looked for.
    fn html_lines(&mut self, html: CowStr<'a>, range: Range<usize>) {
        let mut rest = &*html;
        let mut at = range.start;
        while !rest.is_empty() {
            let (start, end) = tags::next(rest).unwrap_or((rest.len(), rest.len()));
            let is_last = end == rest.len();
            let (text, tag) = (&rest[..start], &rest[start..end]);
            let text = if is_last && tag.is_empty() {
                text.trim_end_matches(['\n', '\r'])
            } else {
                text
            };
            if !text.is_empty() {
                self.say(text.to_owned().into(), at..at + start);
            }
            if !tag.is_empty() {
                self.html(tag.to_owned().into(), at + start..at + end);
            }
            at += end;
            rest = &rest[end..];
        }
        if html.ends_with('\n') {
            self.is_open = false;
        }
    }

    /// A tag of HTML. It is text until its end tag comes.
    fn html(&mut self, html: CowStr<'a>, range: Range<usize>) {
        self.open_block(range.start);
        match tags::read(&html) {
            HtmlTag::NewLine => self.new_line(range),
            HtmlTag::Start(name, mark) => {
                if self.tags.len() < OPEN_TAGS_MAX {
                    let name = Cow::Owned(name.to_ascii_lowercase());
                    let run = self.text.runs.len();
                    self.tags.push(OpenTag { name, mark, run });
                }
                self.say(html, range);
            }
            HtmlTag::End(name) => {
                let is_same = |tag: &OpenTag<'_>| tag.name.eq_ignore_ascii_case(name);
                match self.tags.iter().rposition(is_same) {
                    Some(index) => self.end_tag(index, range),
                    None => self.say(html, range),
                }
            }
            HtmlTag::Unknown => self.say(html, range),
        }
    }

    fn end_tag(&mut self, index: usize, range: Range<usize>) {
        let tag = self.tags.swap_remove(index);
        self.tags.truncate(index);
        let runs = &mut self.text.runs[tag.run..];
        if let Some(start) = runs.first_mut() {
            start.text = Cow::Borrowed("");
        }
        for run in runs {
            run.style.marks |= tag.mark;
        }
        self.reach(range.end);
    }
}

/// The language of a block of code, as far as a class can name it.
fn language(kind: &CodeBlockKind<'_>) -> String {
    const CHARS_MAX: usize = 32;
    let CodeBlockKind::Fenced(info) = kind else {
        return String::new();
    };
    let is_of_name = |c: &char| c.is_ascii_alphanumeric() || "+#-._".contains(*c);
    let name = info.chars().take_while(is_of_name);
    name.take(CHARS_MAX).collect()
}

/// Telegram makes a link of such an address, and leaves others out.
fn is_taken(address: &str) -> bool {
    const SCHEMES: [&str; 3] = ["http://", "https://", "ftp://"];
    if address.len() > LINK_BYTES_MAX
        || address.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return false;
    }
    let lower = address.to_ascii_lowercase();
    if lower.starts_with("tg://") {
        return true;
    }
    SCHEMES.iter().any(|scheme| {
        let host = address.get(scheme.len()..).unwrap_or_default();
        let host = host.split(['/', '?', '#']).next().unwrap_or_default();
        lower.starts_with(scheme) && host.contains(['.', ']'])
    })
}
