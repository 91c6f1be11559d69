//! A YAML document as a tree whose every value knows where it stands.
//!
//! Made in one pass over the parser's events. Invariant: the work is bounded by the text that was
//! read, and reading stops at the first value that is too deep or one too many.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

pub use super::scalar::ScalarKind;

use super::scalar::kind_of;
use super::{Position, YamlError};

/// The longest text that is read.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// The most values of a document, those that aliases stand for counted each time: far more than
/// anybody writes, and read in a few hundredths of a second.
const NODES_MAX: usize = 50_000;
/// The deepest value. What walks a tree calls itself for each level, in threads with small stacks.
const DEPTH_MAX: usize = 16;
/// The longest key: with all that lead to a value it stands in messages.
const KEY_BYTES_MAX: usize = 1024;
/// The most bytes of all texts together, those that aliases stand for counted each time.
const EXPANDED_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

/// A parsed text.
#[derive(Debug)]
pub struct Document {
    /// Where the values stand, by their numbers.
    positions: Vec<Position>,
    /// The value that is the whole document; null for an empty one.
    pub root: Node,
}

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Names it in its document.
    pub id: NodeId,
    /// The value, with those in it.
    pub value: Value,
}

/// The number of a value in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    /// The document itself.
    pub const ROOT: NodeId = NodeId(0);
}

/// A value of YAML, as it is written: nothing is guessed yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One word, number or text.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(Node, Node)>),
}

/// One word, number or text.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The type that it has for YAML.
    pub kind: ScalarKind,
    /// As it is written, without quotes: `1.10` stays `1.10`.
    pub text: String,
}

impl Document {
    /// Parses `text`.
    ///
    /// Errors: not YAML, tags, more than one document, a key given twice or of another kind than
    /// text, merge keys, or more values and bytes than the limits above.
    pub fn parse(text: String) -> Result<Document, YamlError> {
        let document = read(&text, Tags::Refused)?;
        document.check_keys(&document.root)?;
        Ok(document)
    }

    /// Where a value stands; the start of the document for one that is not in it.
    pub fn locate(&self, id: NodeId) -> Position {
        const START: Position = Position { line: 1, column: 1 };
        self.positions.get(id.0).copied().unwrap_or(START)
    }

    fn error_at(&self, id: NodeId, message: impl Into<String>) -> YamlError {
        YamlError {
            position: Some(self.locate(id)),
            message: message.into(),
        }
    }

    fn check_keys(&self, node: &Node) -> Result<(), YamlError> {
        match &node.value {
            Value::Scalar(_) => Ok(()),
            Value::List(items) => items.iter().try_for_each(|item| self.check_keys(item)),
            Value::Map(entries) => {
                let mut seen = BTreeSet::new();
                entries.iter().try_for_each(|(key, value)| {
                    self.check_key(key, &mut seen)?;
                    self.check_keys(value)
                })
            }
        }
    }

    fn check_key<'a>(&self, key: &'a Node, seen: &mut BTreeSet<&'a str>) -> Result<(), YamlError> {
        let message = match &key.value {
            Value::List(_) | Value::Map(_) => "a key must be a text".to_owned(),
            Value::Scalar(scalar) if scalar.text == "<<" => {
                "merge keys (`<<`) are not supported".to_owned()
            }
            Value::Scalar(scalar) if scalar.text.len() > KEY_BYTES_MAX => {
                "a key is too long".to_owned()
            }
            Value::Scalar(scalar) if !seen.insert(&scalar.text) => {
                format!("the key `{}` is given twice", scalar.text)
            }
            Value::Scalar(_) => return Ok(()),
        };
        Err(self.error_at(key.id, message))
    }
}

impl Node {
    fn null() -> Node {
        Node {
            id: NodeId::ROOT,
            value: Value::Scalar(Scalar {
                kind: ScalarKind::Null,
                text: String::new(),
            }),
        }
    }

    /// Its kind, for messages.
    pub fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null | ScalarKind::Broken => "nothing",
                ScalarKind::Bool(_) => "a bool",
                ScalarKind::Integer(_) | ScalarKind::Float(_) => "a number",
                ScalarKind::Text | ScalarKind::Variable => "a text",
            },
        }
    }
}

/// Whether values may have tags (`!name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    Refused,
    Ignored,
}

/// Reads a document without a look at its keys.
///
/// Errors: not YAML, more than one document, or over the limits.
pub(super) fn read(text: &str, tags: Tags) -> Result<Document, YamlError> {
    refuse_long(text)?;
    let mut reader = Reader::new(tags);
    let mut before = Marker::new(0, 1, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| unreadable(text, &error))?;
        let at = match event {
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                head_of_block(text, before, span.start)
            }
            _ => position(span.start),
        };
        before = span.end;
        reader.take(event, at).map_err(|message| YamlError {
            position: Some(at),
            message: message.to_owned(),
        })?;
    }
    Ok(Document {
        // One that is empty has no place.
        root: reader.root.unwrap_or_else(Node::null),
        positions: reader.positions,
    })
}

fn refuse_long(text: &str) -> Result<(), YamlError> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("longer than {} KiB", TEXT_BYTES_MAX >> 10);
        return Err(YamlError {
            position: None,
            message,
        });
    }
    Ok(())
}

/// What the parser says. It has a limit of its own, which lookahead meets before our values do; and
/// of a tab it says that something cannot stand there, which nobody sees.
fn unreadable(text: &str, error: &ScanError) -> YamlError {
    let at = position(*error.marker());
    let (position, message) = match error.info() {
        "recursion limit exceeded" => (at, "too deep"),
        other => match tab_before(text, at) {
            Some(tab) => (tab, "a tab stands here: YAML is indented with spaces"),
            None => (at, other),
        },
    };
    YamlError {
        position: Some(position),
        message: message.to_owned(),
    }
}

/// A tab in the indentation of the line at which the parser gave up, or beside it: a word that goes on
/// is told by its beginning, and other tabs only behind them.
fn tab_before(text: &str, at: Position) -> Option<Position> {
    let lines = text.lines().enumerate().skip(at.line.saturating_sub(2));
    lines.take(3).find_map(|(index, line)| {
        let indent = line.len() - line.trim_start().len();
        let column = line[..indent].chars().position(|letter| letter == '\t')?;
        Some(Position {
            line: index + 1,
            column: column + 1,
        })
    })
}

fn position(marker: Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// Where the `|` or `>` of a block text stands, whose content begins at `content`.
fn head_of_block(text: &str, before: Marker, content: Marker) -> Position {
    let between = before.index()..content.index();
    let found = text.get(between).and_then(|text| text.find(['|', '>']));
    let Some(head) = found.map(|at| before.index() + at) else {
        return position(content);
    };
    let line_start = text[..head].rfind('\n').map_or(0, |at| at + 1);
    let lines_below = text[head..content.index()].matches('\n').count();
    Position {
        line: content.line() - lines_below,
        column: text[line_start..head].chars().count() + 1,
    }
}

/// Makes a tree of events.
struct Reader {
    tags: Tags,
    positions: Vec<Position>,
    /// The collections around the next value.
    open: Vec<OpenCollection>,
    /// What aliases may stand for.
    anchors: BTreeMap<usize, Node>,
    /// Values and bytes so far, those that aliases stand for counted each time.
    size: Size,
    documents: usize,
    root: Option<Node>,
}

/// A collection that has not ended.
struct OpenCollection {
    id: NodeId,
    anchor: usize,
    content: CollectionContent,
}

enum CollectionContent {
    List(Vec<Node>),
    Map {
        entries: Vec<(Node, Node)>,
        key: Option<Node>,
    },
}

/// What a value takes up, with all that it holds.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    values: usize,
    bytes: usize,
}

impl Reader {
    fn new(tags: Tags) -> Reader {
        Reader {
            tags,
            positions: Vec::new(),
            open: Vec::new(),
            anchors: BTreeMap::new(),
            size: Size::default(),
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), &'static str> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                match self.documents {
                    1 => Ok(()),
                    _ => Err("more than one document is not supported"),
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = self.check_tag(tag.as_deref())?;
                let kind = match style {
                    ScalarStyle::Plain if !is_text => kind_of(&text),
                    _ => ScalarKind::Text,
                };
                let node = Node {
                    id: self.number(at),
                    value: Value::Scalar(Scalar {
                        kind,
                        text: text.into_owned(),
                    }),
                };
                self.spend(&node)?;
                self.put(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref())?;
                self.enter(anchor, CollectionContent::List(Vec::new()), at)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref())?;
                let (entries, key) = (Vec::new(), None);
                self.enter(anchor, CollectionContent::Map { entries, key }, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor);
                let node = node.ok_or("an alias stands for what it is a part of")?;
                let node = node.clone();
                self.check_depth(node.depth())?;
                self.spend(&node)?;
                self.put(node, 0)
            }
        }
    }

    /// Whether a tag says that a value is a text.
    fn check_tag(&self, tag: Option<&Tag>) -> Result<bool, &'static str> {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
            Some(_) if self.tags == Tags::Refused => Err("tags (`!name`) are not supported"),
            Some(_) | None => Ok(false),
        }
    }

    fn number(&mut self, at: Position) -> NodeId {
        self.positions.push(at);
        NodeId(self.positions.len() - 1)
    }

    fn enter(
        &mut self,
        anchor: usize,
        content: CollectionContent,
        at: Position,
    ) -> Result<(), &'static str> {
        self.check_depth(1)?;
        self.size.add(Size {
            values: 1,
            bytes: 0,
        })?;
        let id = self.number(at);
        self.open.push(OpenCollection {
            id,
            anchor,
            content,
        });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), &'static str> {
        let Some(OpenCollection {
            id,
            anchor,
            content,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let value = match content {
            CollectionContent::List(items) => Value::List(items),
            CollectionContent::Map { entries, .. } => Value::Map(entries),
        };
        self.put(Node { id, value }, anchor)
    }

    /// Puts a value into what is around it.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), &'static str> {
        if anchor != 0 {
            self.spend(&node)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(CollectionContent::List(items)) => items.push(node),
            Some(CollectionContent::Map { entries, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    fn check_depth(&self, more: usize) -> Result<(), &'static str> {
        if self.open.len() + more > DEPTH_MAX {
            Err("too deep")
        } else {
            Ok(())
        }
    }

    fn spend(&mut self, node: &Node) -> Result<(), &'static str> {
        self.size.add(node.size())
    }
}

impl Size {
    fn add(&mut self, more: Size) -> Result<(), &'static str> {
        self.values += more.values;
        self.bytes += more.bytes;
        if self.values > NODES_MAX || self.bytes > EXPANDED_BYTES_MAX {
            Err("too many values, or aliases that stand for too much")
        } else {
            Ok(())
        }
    }
}

impl Value {
    fn children(&self) -> Box<dyn Iterator<Item = &Node> + '_> {
        match self {
            Value::Scalar(_) => Box::new(std::iter::empty()),
            Value::List(items) => Box::new(items.iter()),
            Value::Map(entries) => Box::new(entries.iter().flat_map(|(key, value)| [key, value])),
        }
    }
}

impl Node {
    /// How many collections it holds within one another.
    fn depth(&self) -> usize {
        let inner = self.value.children().map(Node::depth).max();
        match &self.value {
            Value::Scalar(_) => 0,
            Value::List(_) | Value::Map(_) => 1 + inner.unwrap_or(0),
        }
    }

    fn size(&self) -> Size {
        let bytes = match &self.value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::List(_) | Value::Map(_) => 0,
        };
        let inner = self.value.children().map(Node::size);
        inner.fold(Size { values: 1, bytes }, |sum, one| Size {
            values: sum.values + one.values,
            bytes: sum.bytes + one.bytes,
        })
    }
}
