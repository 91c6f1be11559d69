//! Takes a document apart into typed sections, and reports every problem on the way.
//!
//! `section!` declares a mapping once: its struct, how it is read,
//! which keys are near misses, and the list of keys that the documentation must name.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;

use super::YamlError;
use super::expand::{Environment, ExpandError, expand};
use super::problem::{Level, Problem, did_you_mean};
use super::scalar::kind_of;
use super::tree::{Document, Node, NodeId, Scalar, ScalarKind, Value};

use crate::base::order;

/// A value and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// The node it was read from.
    pub node: NodeId,
    /// The keys that lead to it: `server.port`, `routes[0].agent`.
    pub key: String,
}

impl<T> At<T> {
    /// The place alone.
    pub fn place(&self) -> At<()> {
        At {
            value: (),
            node: self.node,
            key: self.key.clone(),
        }
    }

    /// The place and the value, for a section whose keys are taken one by one.
    pub fn split(self) -> (At<()>, T) {
        let place = At {
            value: (),
            node: self.node,
            key: self.key,
        };
        (place, self.value)
    }
}

/// The value of a key that may be missing.
pub fn plain<T>(found: Option<At<T>>) -> Option<T> {
    found.map(|at| at.value)
}

/// The value of a key that may be missing, or its default.
pub fn or_default<T: Default>(found: Option<At<T>>) -> T {
    found.map(|at| at.value).unwrap_or_default()
}

/// Can be read from a node, with all that is wrong with it reported at its place instead of the first
/// mistake alone.
pub trait FromYaml: Sized {
    /// What it is, for messages: `a number`.
    const EXPECTED: &'static str;
    /// Whether a null is one, and not as if the key were missing.
    const TAKES_NULL: bool = false;

    /// Reads it, or reports why not.
    fn read(place: Place<'_>, report: &mut Report) -> Option<Self>;

    /// Adds the keys that may stand below `prefix`, for the documentation.
    fn keys(_prefix: &str, _found: &mut Vec<String>) {}
}

/// A node and what a reader must know about where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    node: &'a Node,
    key: &'a str,
    /// Whether an unknown key would disarm something.
    is_guarded: bool,
}

/// So many problems of a file are told.
const SHOWN_MAX: usize = 50;

/// The problems found so far.
#[derive(Debug)]
pub struct Report {
    unknown_keys: Level,
    found: Vec<ReportedProblem>,
    /// How many more there are than are kept.
    skipped: usize,
    /// The keys that were reported, so that they are not reported as missing too.
    reported_keys: BTreeSet<String>,
}

#[derive(Debug)]
struct ReportedProblem {
    level: Level,
    /// `None` for the file as a whole.
    node: Option<NodeId>,
    message: String,
    hint: Option<String>,
}

/// Looks through a document before it is read.
pub trait Sift {
    /// Changes what stands in it; nothing is filled in yet.
    fn sift(&self, root: &mut Node, report: &mut Report);

    /// The variable `name`, for the value at `key`.
    fn variable(&self, key: &str, name: &str) -> Variable;
}

/// The answer of an environment to a file that names a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// It holds this.
    Set(String),
    /// It does not exist.
    Unset,
    /// It is not for this file: a default counts, and without one the hint is told.
    Withheld(String),
}

/// Changes nothing, and has all variables of an environment.
struct AllOf<'a>(Environment<'a>);

impl Sift for AllOf<'_> {
    fn sift(&self, _: &mut Node, _: &mut Report) {}

    fn variable(&self, _: &str, name: &str) -> Variable {
        self.0(name).map_or(Variable::Unset, Variable::Set)
    }
}

/// Parses `text`, fills in its variables and reads it as a `T`. Problems of its values go into
/// `report`; the document is what [`Report::finish`] needs to place them.
///
/// Errors: the text is no document that could be looked into.
pub fn read_document<T: FromYaml>(
    text: String,
    file: &Path,
    environment: Environment<'_>,
    report: &mut Report,
) -> Result<(Document, Option<At<T>>), Problem> {
    read_sifted_document(text, file, &AllOf(environment), report)
}

/// As [`read_document`], of a document that is looked through first.
pub fn read_sifted_document<T: FromYaml>(
    text: String,
    file: &Path,
    sift: &dyn Sift,
    report: &mut Report,
) -> Result<(Document, Option<At<T>>), Problem> {
    let has_variables = text.contains("${");
    let mut document = Document::parse(text).map_err(|error| Problem {
        hint: flow_hint(&error).filter(|_| has_variables),
        ..unparsed(file, error)
    })?;
    sift.sift(&mut document.root, report);
    fill_in(&mut document.root, Trail::Top, sift, report);
    let read = read_root(&document, report);
    Ok((document, read))
}

/// As [`read_document`], for a text that others wrote: it has no variables, `${A}` is what it says.
pub fn read_plain_document<T: FromYaml>(
    text: String,
    file: &Path,
    report: &mut Report,
) -> Result<(Document, Option<At<T>>), Problem> {
    let document = Document::parse(text).map_err(|error| unparsed(file, error))?;
    let read = read_root(&document, report);
    Ok((document, read))
}

fn unparsed(file: &Path, error: YamlError) -> Problem {
    Problem {
        level: Level::Error,
        file: file.to_owned(),
        position: error.position,
        message: error.message,
        hint: None,
    }
}

fn read_root<T: FromYaml>(document: &Document, report: &mut Report) -> Option<At<T>> {
    let place = Place {
        node: &document.root,
        key: "",
        is_guarded: false,
    };
    place.at(report)
}

/// `{a: ${B}}` is no YAML, which users of variables cannot be expected to know.
fn flow_hint(error: &YamlError) -> Option<String> {
    let is_in_flow = error.message.contains("while parsing a flow");
    is_in_flow.then(|| "put quotes around `${…}` inside `{}` and `[]`".to_owned())
}

/// The keys that lead to a value, joined only when they are said: else a long key would be copied
/// for every value below it.
#[derive(Clone, Copy)]
enum Trail<'a> {
    Top,
    Item(&'a Trail<'a>, usize),
    Key(&'a Trail<'a>, &'a str),
}

impl Trail<'_> {
    fn key(&self) -> String {
        match self {
            Trail::Top => String::new(),
            Trail::Item(list, index) => format!("{}[{index}]", list.key()),
            Trail::Key(map, name) => joined(&map.key(), name),
        }
    }
}

/// Fills in the variables of every text below `node`; keys are left alone.
fn fill_in(node: &mut Node, trail: Trail<'_>, sift: &dyn Sift, report: &mut Report) {
    let id = node.id;
    match &mut node.value {
        Value::Scalar(scalar) => fill_in_scalar(scalar, id, trail, sift, report),
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill_in(item, Trail::Item(&trail, index), sift, report);
            }
        }
        Value::Map(entries) => {
            for (name, value) in entries {
                let trail = Trail::Key(&trail, key_text(name));
                fill_in(value, trail, sift, report);
            }
        }
    }
}

fn fill_in_scalar(
    scalar: &mut Scalar,
    id: NodeId,
    trail: Trail<'_>,
    sift: &dyn Sift,
    report: &mut Report,
) {
    if scalar.kind != ScalarKind::Text {
        return;
    }
    let hint = Cell::new(None);
    let variable = |name: &str| match sift.variable(&trail.key(), name) {
        Variable::Set(value) => Some(value),
        Variable::Unset => None,
        Variable::Withheld(mend) => {
            hint.set(Some(mend));
            None
        }
    };
    match expand(&scalar.text, &variable) {
        Ok(None) => {}
        Ok(Some(expanded)) => {
            scalar.kind = match (expanded.is_all_variables, expanded.text.is_empty()) {
                // An empty variable is like no value at all.
                (true, true) => ScalarKind::Null,
                (true, false) => ScalarKind::Variable,
                (false, _) => ScalarKind::Text,
            };
            scalar.text = expanded.text;
        }
        Err(error) => {
            scalar.kind = ScalarKind::Broken;
            if report.has_room(Level::Error) {
                let key = trail.key();
                let (message, hint) = match (error, hint.take()) {
                    (ExpandError::Unset(name), Some(hint)) => {
                        let why = "is given only to those that their owner trusts";
                        let message =
                            format!("`{key}` needs the environment variable `{name}`, which {why}");
                        (message, Some(hint))
                    }
                    (error, _) => (format!("`{key}` {error}"), None),
                };
                report.add(Level::Error, id, &key, message, hint);
            }
        }
    }
}

/// `prefix.name`, or the name alone at the top.
pub fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// Keys were checked to be scalars when the document was parsed.
pub(super) fn key_text(key: &Node) -> &str {
    match &key.value {
        Value::Scalar(scalar) => &scalar.text,
        Value::List(_) | Value::Map(_) => "",
    }
}

impl Report {
    /// An empty report, in which unknown keys outside of guarded sections have that level.
    pub fn new(unknown_keys: Level) -> Report {
        Report {
            unknown_keys,
            found: Vec::new(),
            skipped: 0,
            reported_keys: BTreeSet::new(),
        }
    }

    /// Something in it keeps the file from being used.
    pub fn has_errors(&self) -> bool {
        self.found.iter().any(|found| found.level == Level::Error)
    }

    /// Whether one more problem of a level is kept, or else counted: nobody reads more than so many,
    /// and what is said of each costs.
    fn has_room(&mut self, level: Level) -> bool {
        let kept = self.found.iter().filter(|found| found.level == level);
        let has_room = kept.count() < SHOWN_MAX;
        self.skipped += usize::from(!has_room);
        has_room
    }

    /// Reports that a value is refused: "`key` `must`".
    pub fn error<T>(&mut self, at: &At<T>, must: impl Display) {
        self.hinted_error(at, must, None);
    }

    /// Reports that a value is refused, with a hint.
    pub fn hinted_error<T>(&mut self, at: &At<T>, must: impl Display, hint: Option<String>) {
        let message = format!("`{}` {must}", at.key);
        self.add(Level::Error, at.node, &at.key, message, hint);
    }

    /// Reports an error of the file as a whole.
    pub fn error_of_file(&mut self, message: String) {
        self.add_to_file(Level::Error, message, None);
    }

    /// Reports what concerns the file as a whole.
    pub fn add_to_file(&mut self, level: Level, message: String, hint: Option<String>) {
        self.push(ReportedProblem {
            level,
            node: None,
            message,
            hint,
        });
    }

    /// Reports that a value does not do what a user may think: "`key` `remark`".
    pub fn warning<T>(&mut self, at: &At<T>, remark: impl Display) {
        let message = format!("`{}` {remark}", at.key);
        self.add(Level::Warning, at.node, &at.key, message, None);
    }

    /// Reports a key that is known but means nothing where it stands, like an unknown one.
    pub fn misplaced<T>(&mut self, at: &At<T>, remark: impl Display) {
        let message = format!("`{}` {remark}", at.key);
        self.add(self.unknown_keys, at.node, &at.key, message, None);
    }

    /// Notes that a key is accepted and ignored by this version.
    pub fn no_effect<T>(&mut self, found: Option<&At<T>>) {
        if let Some(at) = found {
            self.warning(at, "has no effect yet");
        }
    }

    /// The value of a key that must be there; reports it missing from `parent`.
    pub fn require<P, T>(
        &mut self,
        parent: &At<P>,
        name: &str,
        found: Option<At<T>>,
    ) -> Option<At<T>> {
        let key = joined(&parent.key, name);
        if found.is_none() && !self.reported_keys.contains(&key) {
            let message = format!("`{key}` is missing");
            self.add(Level::Error, parent.node, &key, message, None);
        }
        found
    }

    /// The choice that a word stands for.
    pub fn choice<T: Copy>(&mut self, at: &At<String>, choices: &[(&str, T)]) -> Option<T> {
        let chosen = choices.iter().find(|(word, _)| *word == at.value);
        if chosen.is_none() {
            let must = format!("must be {}, not `{}`", listed(choices), shown(&at.value));
            let hint = did_you_mean(&at.value, choices.iter().map(|(word, _)| *word));
            self.hinted_error(at, must, hint);
        }
        chosen.map(|(_, choice)| *choice)
    }

    /// The choice that a key's word stands for, or the default.
    pub fn choice_or<T: Copy>(
        &mut self,
        found: Option<At<String>>,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        found
            .and_then(|at| self.choice(&at, choices))
            .unwrap_or(default)
    }

    /// A key's number if it is within `range`.
    pub fn within<T>(&mut self, found: Option<At<T>>, range: RangeInclusive<T>) -> Option<T>
    where
        T: PartialOrd + Display + Copy,
    {
        let at = found?;
        if !range.contains(&at.value) {
            let must = format!(
                "must be from {} to {}, not {}",
                range.start(),
                range.end(),
                at.value
            );
            self.error(&at, must);
            return None;
        }
        Some(at.value)
    }

    /// A key's number if it is at least `least`.
    pub fn at_least(&mut self, found: Option<At<u64>>, least: u64) -> Option<u64> {
        let at = found?;
        if at.value < least {
            self.error(&at, format!("must be at least {least}, not {}", at.value));
            return None;
        }
        Some(at.value)
    }

    /// The problems with their places in `document`, in its order.
    pub fn finish(self, document: &Document, file: &Path) -> Vec<Problem> {
        let more = self.skipped + self.found.len().saturating_sub(SHOWN_MAX);
        let mut found = self.found;
        // Errors first, so that the cut leaves them; then back into the order of the file.
        order::sort_by_key(&mut found, |one| std::cmp::Reverse(one.level));
        found.truncate(SHOWN_MAX);
        order::sort_by_key(&mut found, |one| one.node);
        let mut problems: Vec<Problem> = found
            .into_iter()
            .map(|found| Problem {
                level: found.level,
                file: file.to_owned(),
                position: found.node.map(|node| document.locate(node)),
                message: found.message,
                hint: found.hint,
            })
            .collect();
        if more > 0 {
            problems.push(Problem::of_file(file, format!("{more} more problems")));
        }
        problems
    }

    fn check_key(&mut self, key: &Node, parent: &str, known: &[&'static str], is_guarded: bool) {
        let word = key_text(key);
        if known.contains(&word) {
            return;
        }
        let level = if is_guarded {
            Level::Error
        } else {
            self.unknown_keys
        };
        if !self.has_room(level) {
            return;
        }
        let path = joined(parent, word);
        let message = format!("unknown key `{}`", shown(&path));
        let hint = did_you_mean(word, known.iter().copied());
        self.add(level, key.id, &path, message, hint);
    }

    fn add(
        &mut self,
        level: Level,
        node: NodeId,
        key: &str,
        message: String,
        hint: Option<String>,
    ) {
        self.reported_keys.insert(key.to_owned());
        self.push(ReportedProblem {
            level,
            node: Some(node),
            message,
            hint,
        });
    }

    fn push(&mut self, found: ReportedProblem) {
        if self.has_room(found.level) {
            self.found.push(found);
        }
    }
}

/// The words of some choices, for a message.
fn listed<T>(choices: &[(&str, T)]) -> String {
    let words: Vec<String> = choices
        .iter()
        .map(|(word, _)| format!("`{word}`"))
        .collect();
    match words.as_slice() {
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

/// A user's word in a message: not a whole page of it.
fn shown(word: &str) -> String {
    const SHOWN_CHARS: usize = 100;
    let mut start: String = word.chars().take(SHOWN_CHARS).collect();
    if start.len() < word.len() {
        start.push('…');
    }
    start
}

impl<'a> Place<'a> {
    /// Reads the value and keeps its place; `None` for a null.
    pub fn at<T: FromYaml>(self, report: &mut Report) -> Option<At<T>> {
        Some(At {
            value: T::read(self, report)?,
            node: self.node.id,
            key: self.key.to_owned(),
        })
    }

    /// Begins to read a mapping that may have the keys `known`. Reports the others.
    pub fn section(
        self,
        known: &[&'static str],
        is_guarded: bool,
        report: &mut Report,
    ) -> Option<Section<'a>> {
        let is_guarded = is_guarded || self.is_guarded;
        let entries: &[(Node, Node)] = match &self.node.value {
            Value::Map(entries) => entries,
            // `server:` with nothing below it is an empty section.
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Null => &[],
            Value::Scalar(_) | Value::List(_) => return self.refuse("a mapping", report),
        };
        for (key, _) in entries {
            report.check_key(key, self.key, known, is_guarded);
        }
        Some(Section {
            entries,
            key: self.key,
            is_guarded,
        })
    }

    fn scalar<T: FromYaml>(self, report: &mut Report) -> Option<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::List(_) | Value::Map(_) => self.refuse(T::EXPECTED, report),
        }
    }

    /// Reports that something else was expected; says the kind of what is there, never the value,
    /// which may be a secret.
    fn refuse<T>(self, expected: &str, report: &mut Report) -> Option<T> {
        if let Value::Scalar(scalar) = &self.node.value
            && scalar.kind == ScalarKind::Broken
        {
            return None;
        }
        let subject = if self.key.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", self.key)
        };
        let message = format!(
            "{subject} must be {expected}, not {}",
            self.node.kind_name()
        );
        report.add(Level::Error, self.node.id, self.key, message, None);
        None
    }

    /// A mapping stands there.
    pub fn is_mapping(self) -> bool {
        matches!(&self.node.value, Value::Map(_))
    }

    fn is_null(self) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Null)
    }
}

/// A mapping that is being read.
#[derive(Debug)]
pub struct Section<'a> {
    entries: &'a [(Node, Node)],
    key: &'a str,
    is_guarded: bool,
}

impl Section<'_> {
    /// The value of a key; `None` when it is missing, null, or was reported.
    pub fn take<T: FromYaml>(&self, name: &str, report: &mut Report) -> Option<At<T>> {
        let (_, node) = self.entries.iter().find(|(key, _)| key_text(key) == name)?;
        let place = Place {
            node,
            key: &joined(self.key, name),
            is_guarded: self.is_guarded,
        };
        if place.is_null() && !T::TAKES_NULL {
            return None;
        }
        place.at(report)
    }
}

/// A section with much in it: it takes no room on the stack of who reads what stands around it.
impl<T: FromYaml> FromYaml for Box<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(place: Place<'_>, report: &mut Report) -> Option<Box<T>> {
        T::read(place, report).map(Box::new)
    }

    fn keys(prefix: &str, found: &mut Vec<String>) {
        T::keys(prefix, found);
    }
}

impl FromYaml for String {
    const EXPECTED: &'static str = "a text";

    fn read(place: Place<'_>, report: &mut Report) -> Option<String> {
        let scalar = place.scalar::<String>(report)?;
        match scalar.kind {
            // `version: 1.10` is meant as it is written.
            ScalarKind::Text
            | ScalarKind::Variable
            | ScalarKind::Bool(_)
            | ScalarKind::Integer(_)
            | ScalarKind::Float(_) => Some(scalar.text.clone()),
            ScalarKind::Null | ScalarKind::Broken => place.refuse(Self::EXPECTED, report),
        }
    }
}

/// A text, or a value of another kind as JSON writes it: `true` for `True`, `null` for nothing.
#[derive(Debug)]
pub struct Literal(pub String);

impl FromYaml for Literal {
    const EXPECTED: &'static str = "a text, a number, `true`, `false` or `null`";

    fn read(place: Place<'_>, report: &mut Report) -> Option<Literal> {
        match place.scalar::<Literal>(report)?.kind {
            ScalarKind::Null => Some(Literal("null".to_owned())),
            ScalarKind::Bool(value) => Some(Literal(value.to_string())),
            ScalarKind::Text
            | ScalarKind::Variable
            | ScalarKind::Integer(_)
            | ScalarKind::Float(_)
            | ScalarKind::Broken => String::read(place, report).map(Literal),
        }
    }
}

impl FromYaml for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(place: Place<'_>, report: &mut Report) -> Option<bool> {
        let scalar = place.scalar::<bool>(report)?;
        match (scalar.kind, scalar.text.as_str()) {
            (ScalarKind::Bool(value), _) => Some(value),
            (ScalarKind::Variable, "true") => Some(true),
            (ScalarKind::Variable, "false") => Some(false),
            _ => place.refuse(Self::EXPECTED, report),
        }
    }
}

impl FromYaml for u64 {
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn read(place: Place<'_>, report: &mut Report) -> Option<u64> {
        let scalar = place.scalar::<u64>(report)?;
        let number = match scalar.kind {
            ScalarKind::Integer(value) => u64::try_from(value).ok(),
            ScalarKind::Variable => scalar.text.trim().parse().ok(),
            _ => None,
        };
        number.or_else(|| place.refuse(Self::EXPECTED, report))
    }
}

impl FromYaml for f64 {
    const EXPECTED: &'static str = "a number";

    fn read(place: Place<'_>, report: &mut Report) -> Option<f64> {
        let scalar = place.scalar::<f64>(report)?;
        let number = match scalar.kind {
            ScalarKind::Integer(value) => Some(value as f64),
            ScalarKind::Float(value) => Some(value),
            ScalarKind::Variable => scalar.text.trim().parse().ok(),
            _ => None,
        };
        number.or_else(|| place.refuse(Self::EXPECTED, report))
    }
}

impl<T: FromYaml> FromYaml for Vec<At<T>> {
    const EXPECTED: &'static str = "a list";

    fn read(place: Place<'_>, report: &mut Report) -> Option<Vec<At<T>>> {
        let Value::List(items) = &place.node.value else {
            return place.refuse(Self::EXPECTED, report);
        };
        let read_one = |(index, node)| {
            let key = format!("{}[{index}]", place.key);
            Place {
                node,
                key: &key,
                ..place
            }
            .at(report)
        };
        Some(items.iter().enumerate().filter_map(read_one).collect())
    }

    fn keys(prefix: &str, found: &mut Vec<String>) {
        T::keys(&format!("{prefix}[]"), found);
    }
}

/// A word, or a list of them.
#[derive(Debug)]
pub enum WordOrList {
    /// A word.
    Word(At<String>),
    /// A list.
    List(Vec<At<String>>),
}

impl FromYaml for WordOrList {
    const EXPECTED: &'static str = "a text or a list";

    fn read(place: Place<'_>, report: &mut Report) -> Option<WordOrList> {
        match &place.node.value {
            Value::Scalar(_) => place.at(report).map(WordOrList::Word),
            Value::List(_) => Vec::read(place, report).map(WordOrList::List),
            Value::Map(_) => place.refuse(Self::EXPECTED, report),
        }
    }
}

/// One, or a list of them.
#[derive(Debug)]
pub struct OneOrMore<T>(pub Vec<At<T>>);

impl<T: FromYaml> FromYaml for OneOrMore<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read(place: Place<'_>, report: &mut Report) -> Option<OneOrMore<T>> {
        match &place.node.value {
            Value::List(_) => Vec::read(place, report).map(OneOrMore),
            Value::Map(_) | Value::Scalar(_) => Some(OneOrMore(vec![place.at(report)?])),
        }
    }

    fn keys(prefix: &str, found: &mut Vec<String>) {
        Vec::<At<T>>::keys(prefix, found);
    }
}

/// A word, or whatever else may stand in its place.
#[derive(Debug)]
pub enum WordOr<T> {
    /// A word.
    Word(String),
    /// Something else.
    Other(T),
}

impl<T: FromYaml> FromYaml for WordOr<T> {
    const EXPECTED: &'static str = String::EXPECTED;

    fn read(place: Place<'_>, report: &mut Report) -> Option<WordOr<T>> {
        match &place.node.value {
            Value::Map(_) => T::read(place, report).map(WordOr::Other),
            Value::List(_) | Value::Scalar(_) => String::read(place, report).map(WordOr::Word),
        }
    }
}

/// A mapping whose keys the user chooses.
impl<T: FromYaml> FromYaml for BTreeMap<String, At<T>> {
    const EXPECTED: &'static str = "a mapping";

    fn read(place: Place<'_>, report: &mut Report) -> Option<BTreeMap<String, At<T>>> {
        let Value::Map(entries) = &place.node.value else {
            return place.refuse(Self::EXPECTED, report);
        };
        let read_one = |(name, node): &(Node, Node)| {
            let name = key_text(name).to_owned();
            let key = joined(place.key, &name);
            let value = Place {
                node,
                key: &key,
                ..place
            }
            .at(report)?;
            Some((name, value))
        };
        Some(order::map(entries.iter().filter_map(read_one)))
    }

    fn keys(prefix: &str, found: &mut Vec<String>) {
        T::keys(&format!("{prefix}.<name>"), found);
    }
}

/// A list, or whatever else may stand in its place.
#[derive(Debug)]
pub enum ListOr<T, O> {
    /// A list.
    List(Vec<At<T>>),
    /// Something else.
    Other(O),
}

impl<T: FromYaml, O: FromYaml> FromYaml for ListOr<T, O> {
    const EXPECTED: &'static str = O::EXPECTED;

    fn read(place: Place<'_>, report: &mut Report) -> Option<ListOr<T, O>> {
        match &place.node.value {
            Value::List(_) => Vec::read(place, report).map(ListOr::List),
            Value::Map(_) | Value::Scalar(_) => O::read(place, report).map(ListOr::Other),
        }
    }

    fn keys(prefix: &str, found: &mut Vec<String>) {
        O::keys(prefix, found);
    }
}

/// Whatever stands there: for keys that are accepted and not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anything;

impl FromYaml for Anything {
    const EXPECTED: &'static str = "anything";

    fn read(_: Place<'_>, _: &mut Report) -> Option<Anything> {
        Some(Anything)
    }
}

/// Whatever stands there, as JSON.
impl FromYaml for serde_json::Value {
    const EXPECTED: &'static str = "a value that JSON has";
    const TAKES_NULL: bool = true;

    fn read(place: Place<'_>, report: &mut Report) -> Option<serde_json::Value> {
        let scalar = match &place.node.value {
            Value::List(_) => {
                let items = Vec::<At<serde_json::Value>>::read(place, report)?;
                return Some(items.into_iter().map(|at| at.value).collect());
            }
            Value::Map(_) => {
                let members = BTreeMap::<String, At<serde_json::Value>>::read(place, report)?;
                let members = members.into_iter().map(|(name, at)| (name, at.value));
                return Some(members.collect());
            }
            Value::Scalar(scalar) => scalar,
        };
        let kind = match scalar.kind {
            // It stands there as if it had been written.
            ScalarKind::Variable => kind_of(&scalar.text),
            kind => kind,
        };
        let number = match kind {
            ScalarKind::Null => return Some(serde_json::Value::Null),
            ScalarKind::Bool(value) => return Some(value.into()),
            ScalarKind::Text | ScalarKind::Variable => return Some(scalar.text.clone().into()),
            ScalarKind::Broken => return None,
            ScalarKind::Float(value) => serde_json::Number::from_f64(value),
            ScalarKind::Integer(value) => serde_json::Number::from_i128(value),
        };
        let number = number.map(serde_json::Value::Number);
        number.or_else(|| place.refuse(Self::EXPECTED, report))
    }
}

/// A text as it is written, also where YAML takes it for something else (`null`, `1.10`), or the kind
/// of what is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsWritten(pub Result<String, &'static str>);

impl FromYaml for AsWritten {
    const EXPECTED: &'static str = "anything";
    const TAKES_NULL: bool = true;

    fn read(place: Place<'_>, _: &mut Report) -> Option<AsWritten> {
        Some(AsWritten(match &place.node.value {
            Value::Scalar(scalar) => Ok(scalar.text.clone()),
            Value::List(_) | Value::Map(_) => Err(place.node.kind_name()),
        }))
    }
}

/// Declares a mapping: a struct of optional values, each under its key. In a `guarded` one, and
/// below it, an unknown key is an error, because a mistyped rule would otherwise be no rule.
macro_rules! section {
    (@is_guarded guarded) => { true };
    (@is_guarded plain) => { false };
    (
        $(#[$doc:meta])*
        $guard:ident section $name:ident $( with $part:ident: $rest:ident )? {
            $( $key:literal => $field:ident: $kind:ty, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $( pub(super) $part: $rest, )?
            $( pub(super) $field: Option<$crate::base::yaml::read::At<$kind>>, )*
        }

        impl $name {
            /// The keys that it may have.
            fn known() -> Vec<&'static str> {
                let known: Vec<&'static str> = vec![$( $key, )*];
                $( let known = [$rest::known(), known].concat(); )?
                known
            }

            /// Takes them out of a mapping that may have more.
            fn taken(
                section: &$crate::base::yaml::read::Section<'_>,
                report: &mut $crate::base::yaml::read::Report,
            ) -> $name {
                $name {
                    $( $part: $rest::taken(section, report), )?
                    $( $field: section.take($key, report), )*
                }
            }
        }

        impl $crate::base::yaml::read::FromYaml for $name {
            const EXPECTED: &'static str = "a mapping";

            fn read(
                place: $crate::base::yaml::read::Place<'_>,
                report: &mut $crate::base::yaml::read::Report,
            ) -> Option<$name> {
                let is_guarded = $crate::base::yaml::read::section!(@is_guarded $guard);
                let section = place.section(&$name::known(), is_guarded, report)?;
                Some($name::taken(&section, report))
            }

            fn keys(prefix: &str, found: &mut Vec<String>) {
                $( $rest::keys(prefix, found); )?
                $(
                    let path = $crate::base::yaml::read::joined(prefix, $key);
                    <$kind as $crate::base::yaml::read::FromYaml>::keys(&path, found);
                    found.push(path);
                )*
            }
        }
    };
}

pub(crate) use section;
