//! Puts calls together that come in pieces. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::llm::RawToolCall;
use crate::llm::dialect::{PARTS_MAX, memory_of};
use crate::llm::json_end::JsonEnd;
use crate::llm::lenient::{Count, Lenient, Text};

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct PartialCalls {
    calls: Vec<PartialCall>,
    /// The memory that they take, roughly.
    kept_bytes: usize,
}

/// A tool call under construction.
#[derive(Debug, Default)]
struct PartialCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
    /// Where the arguments end, if they are an object.
    end: JsonEnd,
    has_ended: bool,
    extra: Value,
}

/// A piece of a call, as it comes.
#[derive(Debug, Deserialize)]
pub(super) struct CallPiece<'a> {
    #[serde(default)]
    index: Count,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    function: Lenient<PieceFunction<'a>>,
    #[serde(default)]
    extra_content: Value,
}

impl CallPiece<'_> {
    /// It is more than a place for a call.
    pub(super) fn says_something(&self) -> bool {
        self.id.is_some() || self.function.0.is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
struct PieceFunction<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    arguments: Option<Text<'a>>,
}

impl PartialCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Takes pieces that came together. In a `whole` answer each of them is a call.
    pub(super) fn take(&mut self, pieces: Vec<CallPiece<'_>>, whole: bool) {
        for (at, piece) in pieces.into_iter().enumerate() {
            if self.calls.len() <= PARTS_MAX {
                self.piece(piece, whole, at > 0);
            }
        }
    }

    /// The calls, and what was said of each for its provider alone.
    pub(super) fn finish(&mut self) -> (Vec<RawToolCall>, Vec<Value>) {
        let calls = std::mem::take(&mut self.calls).into_iter();
        calls.map(PartialCall::into_raw).unzip()
    }

    fn piece(&mut self, piece: CallPiece<'_>, is_call: bool, is_later: bool) {
        let text = |text: &Option<Text<'_>>| text.as_ref().map_or("", Text::as_str).to_owned();
        let function = piece.function.0.unwrap_or_default();
        let (id, name) = (text(&piece.id), text(&function.name));
        let arguments = function.arguments.as_ref().map_or("", Text::as_str);
        let says_nothing = [&*id, &*name, arguments].iter().all(|text| text.is_empty());
        if says_nothing && !piece.extra_content.is_object() {
            return;
        }
        let found = match is_call {
            true => None,
            false => self.slot(piece.index.0, &id, &name, arguments, is_later),
        };
        let at = found.unwrap_or_else(|| {
            self.kept_bytes += size_of::<PartialCall>();
            self.calls.push(PartialCall::default());
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        call.index = call.index.or(piece.index.0);
        for (known, told) in [(&mut call.id, id), (&mut call.name, name)] {
            if known.is_empty() {
                self.kept_bytes += told.len();
                *known = told;
            }
        }
        if piece.extra_content.is_object() {
            self.kept_bytes += memory_of(&piece.extra_content);
            merge(&mut call.extra, piece.extra_content);
        }
        if call.arguments == "{}" && arguments.starts_with('{') {
            // The place of an object that follows in pieces.
            call.arguments.clear();
            call.has_ended = false;
        }
        // Whatever follows the end of an object is told once more.
        if !call.has_ended {
            self.kept_bytes += arguments.len();
            call.arguments.push_str(arguments);
            call.has_ended = call.end.end_in(arguments.as_bytes()).is_some();
        }
    }

    /// The call that a piece goes on with; `None` if it begins one.
    ///
    /// An id names it, wherever its index is; some number every call 0. Without one its index does, else it is the
    /// last: unless that has its arguments, or another name. Of pieces that came together with names and nothing
    /// else to tell them apart (`is_later`) each is a call.
    fn slot(
        &self,
        index: Option<u64>,
        id: &str,
        name: &str,
        arguments: &str,
        is_later: bool,
    ) -> Option<usize> {
        let last = self.calls.len().checked_sub(1)?;
        let same_index = || self.calls.iter().rposition(|call| call.index == index);
        let at = if id.is_empty() {
            match index {
                Some(_) => match same_index() {
                    None if name.is_empty() => last,
                    at => at?,
                },
                None if is_later && !name.is_empty() => return None,
                None => last,
            }
        } else {
            let same_id = self.calls.iter().rposition(|call| call.id == id);
            // The id may come after the beginning.
            let nameless = || {
                let at = if index.is_some() { same_index()? } else { last };
                self.calls[at].id.is_empty().then_some(at)
            };
            same_id.or_else(nameless)?
        };
        let call = &self.calls[at];
        let is_renamed = !name.is_empty() && !call.name.is_empty() && name != call.name;
        let brings_more = !arguments.trim().is_empty();
        let is_repeated = arguments == call.arguments && (!id.is_empty() || name.is_empty());
        let is_another = match call.has_ended {
            true => {
                let has_other_place =
                    index.is_some() && call.index.is_some() && index != call.index;
                let is_new = brings_more || has_other_place;
                is_renamed || is_new && !name.is_empty() && !is_repeated
            }
            false => is_renamed && (id.is_empty() || call.id.is_empty()),
        };
        (!is_another).then_some(at)
    }
}

impl PartialCall {
    fn into_raw(self) -> (RawToolCall, Value) {
        let call = RawToolCall {
            id: self.id,
            name: self.name,
            arguments: plain_arguments(self.arguments),
        };
        (call, self.extra)
    }
}

/// No arguments are an empty object; some write an object as a text in a text.
pub(in crate::llm) fn plain_arguments(arguments: String) -> String {
    match arguments.trim() {
        "" | "null" | "\"\"" => "{}".to_owned(),
        text if text.starts_with('"') => {
            let inner: Option<String> = serde_json::from_str(text).ok();
            let is_object =
                |text: &String| serde_json::from_str::<Map<String, Value>>(text).is_ok();
            inner.filter(is_object).unwrap_or(arguments)
        }
        _ => arguments,
    }
}

/// Adds what is new in `more`; pieces tell of one thing.
pub(super) fn merge(known: &mut Value, more: Value) {
    match (known, more) {
        (Value::Object(known), Value::Object(more)) => {
            for (key, value) in more {
                merge(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (known, more) => *known = more,
    }
}
