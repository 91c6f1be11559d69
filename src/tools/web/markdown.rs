//! HTML as Markdown, for a model to read. Pure.
//!
//! One pass over the tokens of a page: no tree, no recursion. Pages are made by strangers, so what
//! is remembered of them is limited, and the work is in proportion to their length, whatever they
//! open and never close.
//!
//! What reads like Markdown in a page's text is left as it is, except in code and in tables: a
//! model is told what the page says, and nothing renders it.
//!
//! Elsewhere: lines, indentation and marks (`page`), what the page's bytes mean (`charset`).

mod page;

use std::convert::Infallible;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Readable, Span, Tokenizer};
use url::Url;

use crate::tools::web::markdown::page::{Mark, MarkdownPage};

/// A longer address than that is no link for a reader, but data.
const LINK_BYTES_MAX: usize = 2 << 10;

/// A page as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Markdown {
    /// The page's `<title>`; empty when it has none.
    pub(super) title: String,
    /// Its text.
    pub(super) text: String,
    /// More of the page was left than the text may hold.
    pub(super) is_cut: bool,
}

/// Converts `html`, whose links are relative to `base`; at most `bytes_max` bytes of text.
pub(super) fn convert(html: &str, base: Option<&Url>, bytes_max: usize) -> Markdown {
    let mut reader = PageReader::new(base, bytes_max);
    feed(html, &mut reader);
    reader.finish()
}

fn feed<'a>(html: impl Readable<'a>, reader: &mut PageReader) {
    let handle = |event: CallbackEvent<'_>, _: Span<()>| -> Option<Infallible> {
        reader.event(&event);
        None
    };
    let mut emitter = CallbackEmitter::new(handle);
    emitter.naively_switch_states(true);
    for never in Tokenizer::new_with_emitter(html, emitter) {
        // Reading from memory does not fail.
        drop(never);
    }
}

/// Reads a page's tokens.
struct PageReader {
    page: MarkdownPage,
    base: Option<Url>,
    /// The start tag whose attributes come.
    tag: Option<StartTag>,
    /// The element whose content is left out, and how many of its name are open.
    left_out: Option<(&'static str, usize)>,
    title: Title,
}

/// A start tag, with those of its attributes that are of use.
struct StartTag {
    name: String,
    attribute: Option<Attribute>,
    href: Option<String>,
    alt: Option<String>,
    class: Option<String>,
    start: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Attribute {
    Href,
    Alt,
    Class,
    Start,
}

/// The first `<title>` counts; later ones belong to pictures.
enum Title {
    Awaited,
    Open(String),
    Known(String),
}

impl PageReader {
    fn new(base: Option<&Url>, bytes_max: usize) -> PageReader {
        PageReader {
            page: MarkdownPage::new(bytes_max),
            base: base.cloned(),
            tag: None,
            left_out: None,
            title: Title::Awaited,
        }
    }

    fn event(&mut self, event: &CallbackEvent<'_>) {
        if self.page.is_full() {
            return;
        }
        match event {
            CallbackEvent::OpenStartTag { name } => self.tag = Some(StartTag::new(name)),
            CallbackEvent::AttributeName { name } => {
                if let Some(tag) = &mut self.tag {
                    tag.attribute = tag.wanted(name);
                }
            }
            CallbackEvent::AttributeValue { value } => {
                if let Some(tag) = &mut self.tag {
                    tag.take(value);
                }
            }
            CallbackEvent::CloseStartTag { self_closing } => {
                if let Some(tag) = self.tag.take() {
                    self.start(&tag, *self_closing);
                }
            }
            CallbackEvent::EndTag { name } => {
                self.tag = None;
                self.end(&String::from_utf8_lossy(name));
            }
            CallbackEvent::String { value } => self.text(&String::from_utf8_lossy(value)),
            CallbackEvent::Comment { .. }
            | CallbackEvent::Doctype { .. }
            | CallbackEvent::Error(_) => {}
        }
    }

    fn start(&mut self, tag: &StartTag, is_self_closing: bool) {
        let name = tag.name.as_str();
        if let Some((left_out, depth)) = &mut self.left_out {
            *depth += usize::from(*left_out == name && !is_self_closing);
            return;
        }
        if let Some(left_out) = left_out(name) {
            // Only foreign elements can close themselves: `<script/>` is open.
            let is_closed = is_self_closing && left_out == "svg";
            self.left_out = (!is_closed).then_some((left_out, 1));
            return;
        }
        match name {
            "title" if matches!(self.title, Title::Awaited) => {
                self.title = Title::Open(String::new());
            }
            "base" => self.set_base(tag),
            "a" => self.page.open_link(self.link(tag)),
            "img" => self.page.text(tag.alt.as_deref().unwrap_or_default()),
            "br" => self.page.line(),
            "hr" => self.page.rule(),
            "pre" | "listing" => self.page.open_pre(tag.language()),
            "ul" | "menu" | "dir" => self.page.open_list(None),
            "ol" => self.page.open_list(Some(tag.start.unwrap_or(1))),
            "li" => self.page.open_item(),
            "blockquote" => self.page.open_quote(),
            "table" => self.page.open_table(),
            "tr" => self.page.open_row(),
            "td" => self.page.open_cell(false),
            "th" => self.page.open_cell(true),
            name => self.start_other(name, tag),
        }
    }

    fn start_other(&mut self, name: &str, tag: &StartTag) {
        if let Some(level) = heading(name) {
            self.page.open_heading(level);
        } else if let Some(mark) = mark(name) {
            if matches!(mark, Mark::Code) {
                self.page.set_language(tag.language());
            }
            self.page.open_mark(mark);
        } else {
            self.break_at(name);
        }
    }

    fn end(&mut self, name: &str) {
        if let Some((left_out, depth)) = &mut self.left_out {
            *depth -= usize::from(*left_out == name);
            if *depth == 0 {
                self.left_out = None;
            }
            return;
        }
        match name {
            "title" => {
                if let Title::Open(text) = &mut self.title {
                    let text = std::mem::take(text);
                    self.title = Title::Known(text);
                }
            }
            "a" => self.page.close_link(),
            "pre" | "listing" => self.page.close_pre(),
            "ul" | "menu" | "dir" | "ol" => self.page.close_list(),
            "li" => self.page.close_item(),
            "blockquote" => self.page.close_quote(),
            "table" => self.page.close_table(),
            "tr" => self.page.close_row(),
            "td" | "th" => self.page.close_cell(),
            // What browsers make of it.
            "br" => self.page.line(),
            name if heading(name).is_some() => self.page.close_heading(),
            name => match mark(name) {
                Some(mark) => self.page.close_mark(mark),
                None => self.break_at(name),
            },
        }
    }

    /// Where an element begins and ends that says nothing but what belongs together.
    fn break_at(&mut self, name: &str) {
        match name {
            "p" | "article" | "section" | "aside" | "header" | "footer" | "main" | "nav" | "dl"
            | "figure" | "details" | "fieldset" | "form" | "body" => self.page.block(),
            "div" | "dt" | "dd" | "address" | "center" | "figcaption" | "summary" | "legend"
            | "caption" | "option" | "optgroup" | "select" | "thead" | "tbody" | "tfoot"
            | "search" | "dialog" | "hgroup" | "html" | "head" => self.page.new_line(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.left_out.is_some() {
            return;
        }
        match &mut self.title {
            Title::Open(title) => title.push_str(text),
            Title::Awaited | Title::Known(_) => self.page.text(text),
        }
    }

    /// Where a link leads: absolute, if it leads to a page at all.
    fn link(&self, tag: &StartTag) -> Option<String> {
        let href = tag.href.as_deref()?.trim();
        // A place on this page is nothing that could be fetched.
        if href.is_empty() || href.starts_with('#') {
            return None;
        }
        let url = match &self.base {
            Some(base) => base.join(href),
            None => Url::parse(href),
        };
        let url = url.ok().filter(is_for_readers)?;
        let text = url.as_str().replace('(', "%28").replace(')', "%29");
        (text.len() <= LINK_BYTES_MAX).then_some(text)
    }

    fn set_base(&mut self, tag: &StartTag) {
        let Some(href) = &tag.href else {
            return;
        };
        let base = match &self.base {
            Some(base) => base.join(href),
            None => Url::parse(href),
        };
        if let Ok(base) = base
            && base.as_str().len() <= LINK_BYTES_MAX
        {
            self.base = Some(base);
        }
    }

    fn finish(self) -> Markdown {
        let title = match self.title {
            Title::Awaited => String::new(),
            Title::Open(title) | Title::Known(title) => title,
        };
        let is_cut = self.page.is_full();
        Markdown {
            title: title.split_whitespace().collect::<Vec<_>>().join(" "),
            text: self.page.finish(),
            is_cut,
        }
    }
}

impl StartTag {
    fn new(name: &[u8]) -> StartTag {
        StartTag {
            name: String::from_utf8_lossy(name).into_owned(),
            attribute: None,
            href: None,
            alt: None,
            class: None,
            start: None,
        }
    }

    /// The attribute of that name, if it is of use and was not given before.
    fn wanted(&self, name: &[u8]) -> Option<Attribute> {
        match name {
            b"href" if self.href.is_none() => Some(Attribute::Href),
            b"alt" if self.alt.is_none() => Some(Attribute::Alt),
            b"class" if self.class.is_none() => Some(Attribute::Class),
            b"start" if self.start.is_none() => Some(Attribute::Start),
            _ => None,
        }
    }

    fn take(&mut self, value: &[u8]) {
        let Some(attribute) = self.attribute.take() else {
            return;
        };
        if value.len() > LINK_BYTES_MAX {
            return;
        }
        let value = String::from_utf8_lossy(value).into_owned();
        match attribute {
            Attribute::Href => self.href = Some(value),
            Attribute::Alt => self.alt = Some(value),
            Attribute::Class => self.class = Some(value),
            Attribute::Start => self.start = value.trim().parse().ok(),
        }
    }

    /// The language of code, as pages tell their highlighters.
    fn language(&self) -> Option<&str> {
        let classes = self.class.as_deref()?.split_ascii_whitespace();
        let mut languages = classes.filter_map(|class| {
            class
                .strip_prefix("language-")
                .or_else(|| class.strip_prefix("lang-"))
        });
        let is_word = |c: char| c.is_ascii_alphanumeric() || "+-#_.".contains(c);
        languages.find(|word| !word.is_empty() && word.len() <= 20 && word.chars().all(is_word))
    }
}

/// Elements that hold nothing to read.
fn left_out(name: &str) -> Option<&'static str> {
    const LEFT_OUT: [&str; 9] = [
        "script", "style", "noscript", "template", "svg", "iframe", "object", "noembed", "noframes",
    ];
    LEFT_OUT.into_iter().find(|known| *known == name)
}

/// The level of a heading.
fn heading(name: &str) -> Option<usize> {
    match name {
        "h1" => Some(1),
        "h2" => Some(2),
        "h3" => Some(3),
        "h4" => Some(4),
        "h5" => Some(5),
        "h6" => Some(6),
        _ => None,
    }
}

fn mark(name: &str) -> Option<Mark> {
    match name {
        "em" | "i" | "cite" | "dfn" | "var" => Some(Mark::Emphasis),
        "strong" | "b" => Some(Mark::Strong),
        "code" | "kbd" | "samp" | "tt" => Some(Mark::Code),
        "del" | "s" | "strike" => Some(Mark::Struck),
        _ => None,
    }
}

/// Whether a link leads to something that can be fetched or written to.
fn is_for_readers(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https" | "mailto" | "ftp" | "tel")
}

#[cfg(test)]
mod tests;
