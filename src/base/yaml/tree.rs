//! A YAML document as a tree whose every value knows where it stands.
//!
//! The YAML crate tells a position only with an error. So [`Document::locate`] parses the text
//! again and makes an error at the value in question: the position is the parser's own, whatever
//! quotes, comments, block texts or flow maps surround it, and only a problem costs a parse.
//!
//! Invariant: every pass over a text meets the same values in the same order (keys before their
//! values, an alias as what it stands for), so the number of a value names it in all of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Position, TEXT_BYTES_MAX, YamlError, drive, refuse_long};

/// The most values of a document, those that aliases stand for counted each time.
const NODES_MAX: usize = 200_000;
/// The deepest value. A level costs some KiB of stack while parsing, in threads that have 128.
const DEPTH_MAX: usize = 16;
/// The most bytes of all texts together, those that aliases stand for counted each time.
const EXPANDED_BYTES_MAX: usize = 2 * TEXT_BYTES_MAX;

/// A parsed text.
#[derive(Debug)]
pub struct Document {
    text: String,
    /// The value that is the whole document; null for an empty one.
    pub root: Node,
}

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Names it in its document.
    pub id: NodeId,
    /// What it is.
    pub value: Value,
}

/// The number of a value in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    /// The document itself.
    pub const ROOT: NodeId = NodeId(0);
}

/// What a value is.
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
    /// What YAML takes it for.
    pub kind: ScalarKind,
    /// As it is written, without quotes: `1.10` stays `1.10`.
    pub text: String,
}

/// What YAML takes a scalar for.
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
    /// What could not be filled in and was reported.
    Broken,
}

impl Document {
    /// Parses `text`.
    ///
    /// Errors: not YAML, tags, more than one document, a key given twice or of another kind than
    /// text, merge keys, or more values and bytes than the limits above.
    pub fn parse(text: String) -> Result<Document, YamlError> {
        refuse_long(&text)?;
        let outline = measure(&text)?;
        let root = match outline.shapes.first() {
            // An empty document has no event for a value.
            None | Some(Shape::Scalar(ScalarKind::Null)) => Node::null(),
            Some(_) => build(&text, &outline.shapes)?,
        };
        let document = Document { text, root };
        if let Some(id) = outline.tagged {
            return Err(document.error_at(id, "tags (`!name`) are not supported"));
        }
        document.check_keys(&document.root)?;
        Ok(document)
    }

    /// Where a value stands; the start of the document for one that is not in it.
    pub fn locate(&self, id: NodeId) -> Position {
        const START: Position = Position { line: 1, column: 1 };
        // The parser places an empty document at the end of its comments.
        if self.root == Node::null() {
            return START;
        }
        let mut outline = Outline {
            stop_at: Some(id.0),
            ..Outline::default()
        };
        match drive(&self.text, Walk(&mut outline)) {
            Ok(()) => START,
            Err(error) => error.position.unwrap_or(START),
        }
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

/// What a value is, without its contents.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    Scalar(ScalarKind),
    List,
    Map,
}

/// Looks at all values of `text` without keeping them.
///
/// Errors: not YAML, or over the limits.
pub(super) fn measure(text: &str) -> Result<Outline, YamlError> {
    let mut outline = Outline::default();
    let walked = drive(text, Walk(&mut outline));
    match (walked, outline.refused) {
        (Ok(()), _) => Ok(outline),
        // The parser puts the path of the value before our words.
        (Err(error), Some(reason)) => Err(YamlError {
            position: error.position,
            message: reason.to_owned(),
        }),
        (Err(error), None) => Err(error),
    }
}

/// The first pass: takes down shapes, or stops at a value.
#[derive(Debug, Default)]
pub(super) struct Outline {
    shapes: Vec<Shape>,
    text_bytes: usize,
    stop_at: Option<usize>,
    depth: usize,
    /// Why we stopped, if it was not the parser.
    refused: Option<&'static str>,
    /// The first value with a tag.
    tagged: Option<NodeId>,
}

impl Outline {
    fn enter<E: de::Error>(&mut self, shape: Shape, text_bytes: usize) -> Result<(), E> {
        if self.stop_at == Some(self.shapes.len()) {
            return Err(E::custom("the value looked for"));
        }
        self.shapes.push(shape);
        self.text_bytes += text_bytes;
        if self.shapes.len() > NODES_MAX || self.text_bytes > EXPANDED_BYTES_MAX {
            return self.refuse("too many values, or aliases that stand for too much");
        }
        Ok(())
    }

    fn descend<E: de::Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.refuse("too deep");
        }
        Ok(())
    }

    fn refuse<E: de::Error>(&mut self, reason: &'static str) -> Result<(), E> {
        self.refused = Some(reason);
        Err(E::custom(reason))
    }
}

/// One value of the first pass.
struct Walk<'a>(&'a mut Outline);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.enter(Shape::Scalar(ScalarKind::Null), 0)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.0.enter(Shape::Scalar(ScalarKind::Bool(value)), 0)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.0
            .enter(Shape::Scalar(ScalarKind::Integer(value.into())), 0)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.0
            .enter(Shape::Scalar(ScalarKind::Integer(value.into())), 0)
    }

    // Numbers of this size only occur as identifiers, which are read as they are written.
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<(), E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.0.enter(Shape::Scalar(ScalarKind::Float(value)), 0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.enter(Shape::Scalar(ScalarKind::Text), text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.enter(Shape::List, 0)?;
        self.0.descend()?;
        while items.next_element_seed(Walk(&mut *self.0))?.is_some() {}
        self.0.depth -= 1;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.enter(Shape::Map, 0)?;
        self.0.descend()?;
        while entries.next_key_seed(Walk(&mut *self.0))?.is_some() {
            entries.next_value_seed(Walk(&mut *self.0))?;
        }
        self.0.depth -= 1;
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let id = NodeId(self.0.shapes.len());
        self.0.tagged.get_or_insert(id);
        let (_, value) = tagged.variant::<IgnoredAny>()?;
        value.newtype_variant_seed(self)
    }
}

/// The second pass: the tree, now that the kind of every value is known. It reads each scalar as
/// a text, which the parser gives as it was written.
fn build(text: &str, shapes: &[Shape]) -> Result<Node, YamlError> {
    let mut next = 0;
    drive(
        text,
        Build {
            shapes,
            next: &mut next,
        },
    )
}

/// One value of the second pass.
struct Build<'a> {
    shapes: &'a [Shape],
    next: &'a mut usize,
}

impl Build<'_> {
    fn child(&mut self) -> Build<'_> {
        Build {
            shapes: self.shapes,
            next: self.next,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let id = NodeId(*self.next);
        let Some(shape) = self.shapes.get(id.0).copied() else {
            return Err(de::Error::custom("more values than at first"));
        };
        *self.next += 1;
        let value = match shape {
            Shape::List => deserializer.deserialize_seq(self)?,
            Shape::Map => deserializer.deserialize_map(self)?,
            Shape::Scalar(kind) => match deserializer.deserialize_str(self)? {
                Value::Scalar(scalar) => Value::Scalar(Scalar { kind, ..scalar }),
                other => other,
            },
        };
        Ok(Node { id, value })
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value that stood there before")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Scalar(Scalar {
            kind: ScalarKind::Text,
            text: text.to_owned(),
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.child())? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(self.child())? {
            map.push((key, entries.next_value_seed(self.child())?));
        }
        Ok(Value::Map(map))
    }
}
