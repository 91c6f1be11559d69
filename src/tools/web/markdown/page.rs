//! The page of Markdown that is being written: lines, indentation, marks, tables. Pure.
//!
//! Everything is written late: a line's break and indentation, a mark, a link's bracket and a
//! cell's border are due until text comes, so that what holds no text leaves nothing behind.
//!
//! Invariants:
//! - containers and marks that are remembered are few, so that a look through them costs the same
//!   whatever a page has opened;
//! - no text is taken once the limit is reached.

/// Lists and quotes in one another that are shown as such. Deeper ones are counted, so that their
/// ends are known, and look like the last of these.
const DEPTH_MAX: usize = 16;

/// Something that is marked on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Link,
    Strong,
    Emphasis,
    Struck,
    Code,
}

impl Mark {
    /// All of them, outermost first.
    const ALL: [Mark; 5] = [
        Mark::Link,
        Mark::Strong,
        Mark::Emphasis,
        Mark::Struck,
        Mark::Code,
    ];

    fn opening(self) -> &'static str {
        match self {
            Mark::Link => "[",
            Mark::Strong => "**",
            Mark::Emphasis => "*",
            Mark::Struck => "~~",
            Mark::Code => "`",
        }
    }
}

/// What the lines of a part of the page begin with.
#[derive(Debug)]
enum Container {
    List {
        /// The number of the next item, if they have any.
        next: Option<u32>,
        is_begun: bool,
    },
    Item {
        /// Stands before the item's first line; spaces stand before its others.
        marker: String,
        is_written: bool,
    },
    Quote {
        is_written: bool,
    },
}

/// What is due before the next text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    Nothing,
    Space,
    Line,
    Blank,
}

/// A row of a table: one line.
#[derive(Debug, Default)]
struct TableRow {
    /// Cells begun so far.
    cells: usize,
    /// Borders due before the next text.
    due: usize,
    is_written: bool,
    has_heads: bool,
}

/// A block of code. It is written when its end is known, and so how it must be fenced.
#[derive(Debug, Default)]
struct Pre {
    text: String,
    language: Option<String>,
    /// How many are open in one another.
    depth: usize,
    /// How many marks for code were open before it.
    code_before: usize,
}

/// A page of Markdown.
#[derive(Debug)]
pub(super) struct MarkdownPage {
    text: String,
    bytes_max: usize,
    gap: Gap,
    is_in_heading: bool,
    /// The heading's level, as long as its sign is due.
    heading: Option<usize>,
    containers: Vec<Container>,
    /// Containers beyond [`DEPTH_MAX`], or in a cell.
    too_deep: usize,
    /// How many of each of [`Mark::ALL`] are open in the page.
    wanted: [usize; Mark::ALL.len()],
    /// The marks that are open in the text, and where what they mark begins; outermost first.
    marks: Vec<(Mark, usize)>,
    /// Where the link that is open leads.
    link: String,
    pre: Option<Pre>,
    /// Tables in one another are one: each row of any of them is a line.
    tables: usize,
    /// How many containers the outermost table stands in.
    table_depth: usize,
    is_first_row: bool,
    row: Option<TableRow>,
}

impl MarkdownPage {
    /// An empty page that takes `bytes_max` bytes of text.
    pub(super) fn new(bytes_max: usize) -> MarkdownPage {
        MarkdownPage {
            text: String::new(),
            bytes_max,
            gap: Gap::Nothing,
            is_in_heading: false,
            heading: None,
            containers: Vec::new(),
            too_deep: 0,
            wanted: Default::default(),
            marks: Vec::new(),
            link: String::new(),
            pre: None,
            tables: 0,
            table_depth: 0,
            is_first_row: false,
            row: None,
        }
    }

    /// No more text is taken: what follows need not be looked at.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= self.bytes_max
    }

    /// The text, with everything closed.
    pub(super) fn finish(mut self) -> String {
        if let Some(pre) = self.pre.take() {
            self.write_pre(&pre);
        }
        self.finish_row();
        self.close_marks_from(0);
        let mut end = self.text.len().min(self.bytes_max);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.truncate(end);
        self.text
    }

    // --- text ---

    /// Text in which any run of spaces and line ends is one space; in a block of code, as it is.
    pub(super) fn text(&mut self, text: &str) {
        if let Some(pre) = &mut self.pre {
            pre.text.push_str(text);
            return;
        }
        let mut words = text.split(char::is_whitespace).peekable();
        while let Some(word) = words.next() {
            if self.is_full() {
                return;
            }
            self.word(word);
            if words.peek().is_some() {
                self.gap = self.gap.max(Gap::Space);
            }
        }
    }

    fn word(&mut self, word: &str) {
        if word.chars().all(is_invisible) {
            return;
        }
        self.close_unwanted_marks();
        self.settle();
        self.open_wanted_marks();
        let is_cell = self.row.is_some();
        for letter in word.chars().filter(|letter| !is_invisible(*letter)) {
            if is_cell && letter == '|' {
                self.text.push('\\');
            }
            self.text.push(letter);
        }
    }

    /// Writes what is due before text, but for marks.
    fn settle(&mut self) {
        let gap = std::mem::replace(&mut self.gap, Gap::Nothing);
        let is_at_border = self.row.as_ref().is_some_and(|row| row.due > 0);
        if self.text.is_empty() {
            self.begin_line();
        } else {
            match gap {
                Gap::Nothing => {}
                Gap::Space if is_at_border => {}
                Gap::Space => self.text.push(' '),
                Gap::Line => self.next_line(),
                Gap::Blank => {
                    self.text.push('\n');
                    self.indent_blank();
                    self.next_line();
                }
            }
        }
        self.write_borders();
        if let Some(level) = self.heading.take() {
            self.text.extend((0..level).map(|_| '#'));
            self.text.push(' ');
        }
    }

    fn next_line(&mut self) {
        self.text.push('\n');
        self.begin_line();
    }

    fn begin_line(&mut self) {
        for container in &mut self.containers {
            match container {
                Container::List { .. } => {}
                Container::Quote { is_written } => {
                    *is_written = true;
                    self.text.push_str("> ");
                }
                Container::Item { marker, is_written } => {
                    if *is_written {
                        self.text.extend(marker.chars().map(|_| ' '))
                    } else {
                        self.text.push_str(marker)
                    }
                    *is_written = true;
                }
            }
        }
    }

    /// What a line without text begins with: the signs of the quotes that go on beyond it.
    fn indent_blank(&mut self) {
        let start = self.text.len();
        for container in &self.containers {
            match container {
                Container::List { .. } => {}
                Container::Quote { is_written: true } => self.text.push_str("> "),
                Container::Item {
                    marker,
                    is_written: true,
                } => self.text.extend(marker.chars().map(|_| ' ')),
                Container::Quote { is_written: false }
                | Container::Item {
                    is_written: false, ..
                } => break,
            }
        }
        let end = start + self.text[start..].trim_end().len();
        self.text.truncate(end);
    }

    // --- breaks ---

    /// An empty line comes before the next text.
    pub(super) fn block(&mut self) {
        // An item's first paragraph stands behind its marker.
        let gap = match self.containers.last() {
            Some(Container::Item {
                is_written: false, ..
            }) => Gap::Line,
            _ => Gap::Blank,
        };
        self.break_off(gap);
    }

    /// The next text begins a line.
    pub(super) fn new_line(&mut self) {
        self.break_off(Gap::Line);
    }

    /// A break that the page's author wanted here: two of them are an empty line.
    pub(super) fn line(&mut self) {
        match (&mut self.pre, self.gap) {
            (Some(pre), _) => pre.text.push('\n'),
            (None, Gap::Nothing | Gap::Space) => self.new_line(),
            (None, Gap::Line | Gap::Blank) => self.block(),
        }
    }

    fn break_off(&mut self, gap: Gap) {
        if self.pre.is_some() {
            return;
        }
        if gap == Gap::Blank && self.heading.is_none() {
            // A heading that was not closed does not reach over a paragraph.
            self.is_in_heading = false;
        }
        // A cell is one line, and so is a heading.
        if self.row.is_some() || self.is_in_heading {
            self.gap = self.gap.max(Gap::Space);
            return;
        }
        self.close_marks_from(0);
        self.gap = self.gap.max(gap);
    }

    /// A line across the page.
    pub(super) fn rule(&mut self) {
        self.block();
        if self.pre.is_none() && self.row.is_none() && !self.is_in_heading {
            self.settle();
            self.text.push_str("---");
            self.block();
        }
    }

    pub(super) fn open_heading(&mut self, level: usize) {
        self.close_heading();
        if self.row.is_none() && self.pre.is_none() {
            self.heading = Some(level);
            self.is_in_heading = true;
        }
    }

    pub(super) fn close_heading(&mut self) {
        self.heading = None;
        self.is_in_heading = false;
        self.block();
    }

    // --- marks ---

    pub(super) fn open_mark(&mut self, mark: Mark) {
        self.wanted[mark as usize] += 1;
    }

    pub(super) fn close_mark(&mut self, mark: Mark) {
        let wanted = &mut self.wanted[mark as usize];
        *wanted = wanted.saturating_sub(1);
        self.close_unwanted_marks();
    }

    /// Ends the link before, and begins one unless it leads nowhere.
    pub(super) fn open_link(&mut self, url: Option<String>) {
        self.close_link();
        if let Some(url) = url {
            self.link = url;
            self.wanted[Mark::Link as usize] = 1;
        }
    }

    pub(super) fn close_link(&mut self) {
        self.wanted[Mark::Link as usize] = 0;
        self.close_unwanted_marks();
    }

    /// Closes the outermost mark that the page has closed, and those within it.
    fn close_unwanted_marks(&mut self) {
        let wanted = self.wanted;
        let is_unwanted = |(mark, _): &(Mark, usize)| wanted[*mark as usize] == 0;
        if let Some(first) = self.marks.iter().position(is_unwanted) {
            self.close_marks_from(first);
        }
    }

    fn close_marks_from(&mut self, first: usize) {
        while self.marks.len() > first {
            match self.marks.pop() {
                Some((Mark::Link, _)) => {
                    self.text.push_str("](");
                    self.text.push_str(&self.link);
                    self.text.push(')');
                }
                Some((Mark::Code, start)) => self.close_code(start),
                Some((mark, _)) => self.text.push_str(mark.opening()),
                None => return,
            }
        }
    }

    /// Code that holds backticks has more of them around it.
    fn close_code(&mut self, start: usize) {
        let longest = longest_run(&self.text[start..]);
        if longest > 0 {
            let more = "`".repeat(longest);
            self.text.insert_str(start, &format!("{more} "));
            self.text.push(' ');
            self.text.push_str(&more);
        }
        self.text.push('`');
    }

    fn open_wanted_marks(&mut self) {
        // Nothing is marked within code; but a name in a reference is often a link.
        if let Some(code) = self.open_at(Mark::Code) {
            let is_link_due = self.is_wanted(Mark::Link) && self.open_at(Mark::Link).is_none();
            if !is_link_due {
                return;
            }
            self.close_marks_from(code);
        }
        for mark in Mark::ALL {
            if self.is_wanted(mark) && self.open_at(mark).is_none() {
                self.text.push_str(mark.opening());
                self.marks.push((mark, self.text.len()));
            }
        }
    }

    fn is_wanted(&self, mark: Mark) -> bool {
        self.wanted[mark as usize] > 0
    }

    fn open_at(&self, mark: Mark) -> Option<usize> {
        self.marks.iter().position(|(open, _)| *open == mark)
    }

    // --- lists and quotes ---

    /// Opens a list; `first` is the number of its first item, if they have any.
    pub(super) fn open_list(&mut self, first: Option<u32>) {
        self.break_around_list();
        self.push(Container::List {
            next: first,
            is_begun: false,
        });
    }

    pub(super) fn close_list(&mut self) {
        self.pop(|container| matches!(container, Container::List { .. }));
        self.break_around_list();
    }

    /// A list in an item belongs to the item's text.
    fn break_around_list(&mut self) {
        match self.containers.last() {
            Some(Container::Item { .. }) => self.new_line(),
            _ => self.block(),
        }
    }

    pub(super) fn open_item(&mut self) {
        self.end_open_item();
        self.new_line();
        let mut marker = "- ".to_owned();
        if let Some(Container::List { next, is_begun }) = self.containers.last_mut() {
            if let Some(number) = next {
                marker = format!("{number}. ");
                *number = number.saturating_add(1);
            }
            // Items stand close together, whatever each of them holds.
            if std::mem::replace(is_begun, true) && self.gap == Gap::Blank {
                self.gap = Gap::Line;
            }
        }
        self.push(Container::Item {
            marker,
            is_written: false,
        });
    }

    /// Many pages leave it to the next item to end the one before.
    fn end_open_item(&mut self) {
        if self.too_deep > 0 {
            return;
        }
        let innermost = self
            .containers
            .iter()
            .rposition(|container| !matches!(container, Container::Quote { .. }));
        if let Some(at) = innermost
            && matches!(self.containers[at], Container::Item { .. })
        {
            self.containers.truncate(at);
        }
    }

    pub(super) fn close_item(&mut self) {
        self.pop(|container| matches!(container, Container::Item { .. }));
        self.new_line();
    }

    pub(super) fn open_quote(&mut self) {
        self.block();
        self.push(Container::Quote { is_written: false });
    }

    pub(super) fn close_quote(&mut self) {
        self.pop(|container| matches!(container, Container::Quote { .. }));
        self.block();
    }

    fn push(&mut self, container: Container) {
        // Within a cell, which is one line, nothing begins with a container's signs.
        if self.row.is_none() && self.containers.len() < DEPTH_MAX {
            self.containers.push(container)
        } else {
            self.too_deep += 1
        }
    }

    /// Closes the innermost of a kind, and what was left open within it.
    fn pop(&mut self, is_meant: impl Fn(&Container) -> bool) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else if let Some(at) = self.containers.iter().rposition(is_meant) {
            self.containers.truncate(at);
        }
    }

    // --- code ---

    /// Opens a block of code; in a cell, which is one line, it is text like any other.
    pub(super) fn open_pre(&mut self, language: Option<&str>) {
        self.block();
        if let Some(pre) = &mut self.pre {
            pre.depth += 1;
        } else if self.row.is_none() && !self.is_in_heading {
            self.pre = Some(Pre {
                language: language.map(str::to_owned),
                depth: 1,
                code_before: self.wanted[Mark::Code as usize],
                ..Pre::default()
            });
        }
    }

    /// Tells the language of the block of code that has just been opened.
    pub(super) fn set_language(&mut self, language: Option<&str>) {
        if let Some(pre) = &mut self.pre
            && pre.language.is_none()
        {
            pre.language = language.map(str::to_owned);
        }
    }

    pub(super) fn close_pre(&mut self) {
        let Some(mut pre) = self.pre.take() else {
            self.block();
            return;
        };
        pre.depth -= 1;
        if pre.depth > 0 {
            self.pre = Some(pre);
            return;
        }
        self.wanted[Mark::Code as usize] = pre.code_before;
        self.write_pre(&pre);
        self.block();
    }

    fn write_pre(&mut self, pre: &Pre) {
        // A line's end directly behind the tag is no part of the text.
        let text = pre.text.strip_prefix('\n').unwrap_or(&pre.text).trim_end();
        if text.is_empty() {
            return;
        }
        let fence = "`".repeat(longest_run(text).max(2) + 1);
        self.settle();
        self.text.push_str(&fence);
        self.text
            .push_str(pre.language.as_deref().unwrap_or_default());
        for line in text.split('\n') {
            if self.is_full() {
                return;
            }
            self.next_line();
            self.text.push_str(line);
        }
        self.next_line();
        self.text.push_str(&fence);
    }

    // --- tables ---

    pub(super) fn open_table(&mut self) {
        self.finish_row();
        self.break_around_table();
        if self.tables == 0 {
            self.table_depth = self.containers.len();
            self.is_first_row = true;
        }
        self.tables += 1;
    }

    pub(super) fn close_table(&mut self) {
        self.finish_row();
        self.too_deep = 0;
        self.tables = self.tables.saturating_sub(1);
        self.break_around_table();
    }

    fn break_around_table(&mut self) {
        match self.tables {
            0 => self.block(),
            _ => self.new_line(),
        }
    }

    pub(super) fn open_row(&mut self) {
        self.finish_row();
        self.new_line();
        if self.tables > 0 && self.pre.is_none() {
            // What a cell before has left open.
            self.containers.truncate(self.table_depth);
            self.too_deep = 0;
            self.is_in_heading = false;
            self.row = Some(TableRow::default());
        }
    }

    pub(super) fn close_row(&mut self) {
        self.finish_row();
        self.new_line();
    }

    pub(super) fn open_cell(&mut self, is_head: bool) {
        self.close_cell();
        if self.row.is_none() && self.tables > 0 {
            self.open_row();
        }
        if let Some(row) = &mut self.row {
            row.cells += 1;
            row.due += 1;
            row.has_heads |= is_head;
        }
    }

    pub(super) fn close_cell(&mut self) {
        if self.row.is_some() {
            self.close_marks_from(0);
        }
        self.gap = self.gap.max(Gap::Space);
    }

    fn write_borders(&mut self) {
        let Some(row) = &mut self.row else {
            return;
        };
        if row.due > 0 && row.is_written {
            self.text.push(' ');
        }
        for _ in 0..row.due {
            self.text.push_str("| ");
        }
        row.due = 0;
        row.is_written = true;
    }

    /// Ends the row that is open; one without any text leaves nothing behind.
    fn finish_row(&mut self) {
        if self.row.is_some() {
            self.close_marks_from(0);
        }
        let Some(row) = self.row.take().filter(|row| row.is_written) else {
            return;
        };
        for _ in 0..=row.due {
            self.text.push_str(" |");
        }
        if std::mem::replace(&mut self.is_first_row, false) && row.has_heads {
            self.next_line();
            self.text.push('|');
            for _ in 0..row.cells {
                self.text.push_str("---|");
            }
        }
        self.gap = Gap::Line;
    }
}

/// The length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    let runs = text.split(|letter| letter != '`');
    runs.map(str::len).max().unwrap_or(0)
}

/// Letters that show nothing, and could hide something. Those that join or part the letters of
/// some scripts are none of them.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
        || letter.is_control()
}

#[cfg(test)]
impl MarkdownPage {
    /// How many things a look through all that is remembered visits.
    pub(super) fn remembered(&self) -> usize {
        self.containers.len() + self.marks.len()
    }
}
