//! Reading what servers write where something else belongs: it is nothing, and ends no answer. Pure.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::llm::dialect::PARTS_MAX;

/// A text that lies in the bytes it was read from, unless it has escapes: an id, a name, a call's arguments.
/// An object or a list is its JSON, as some write arguments; a number is its digits, as some write ids.
#[derive(Debug, Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        let visitor = TextVisitor { is_prose: false };
        deserializer.deserialize_any(visitor).map(Text)
    }
}

/// A text that the model says or thinks: a list of parts is the text of its parts, as some write an answer.
#[derive(Debug, Default)]
pub(super) struct Prose<'a>(Cow<'a, str>);

impl<'a> Prose<'a> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, if it lies in the bytes it was read from.
    pub(super) fn in_place(&self) -> Option<&'a str> {
        match &self.0 {
            Cow::Borrowed(text) => Some(text),
            Cow::Owned(_) => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Prose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Prose<'a>, D::Error> {
        let visitor = TextVisitor { is_prose: true };
        deserializer.deserialize_any(visitor).map(Prose)
    }
}

struct TextVisitor {
    is_prose: bool,
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(part) = parts.next_element::<Value>()? {
            list.push(part);
        }
        if !self.is_prose {
            return Ok(Cow::Owned(Value::Array(list).to_string()));
        }
        let texts = list
            .iter()
            .filter_map(|part| part["text"].as_str().or(part.as_str()));
        Ok(Cow::Owned(texts.collect()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let object = Map::deserialize(MapAccessDeserializer::new(map))?;
        if self.is_prose {
            let text = object.get("text").and_then(Value::as_str);
            return Ok(Cow::Owned(text.unwrap_or_default().to_owned()));
        }
        let text = serde_json::to_string(&object).map_err(A::Error::custom)?;
        Ok(Cow::Owned(text))
    }
}

/// What a visitor makes of what it does not look for.
macro_rules! nothing {
    ($nothing:expr, $($visit:ident($($other:ty)?)),+) => {$(
        fn $visit<E>(self $(, _: $other)?) -> Result<Self::Value, E> {
            Ok($nothing)
        }
    )+};
}

/// An object, unless something else stands in its place.
#[derive(Debug)]
pub(super) struct Lenient<T>(pub(super) Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Lenient<T> {
        Lenient(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lenient<T>, D::Error> {
        let mut found = None;
        let take = |object| {
            found = Some(object);
            false
        };
        objects(deserializer, false, take)?;
        Ok(Lenient(found))
    }
}

/// The objects of a list, or the one that stands in place of it. Of more than any answer has, one too many is taken.
#[derive(Debug)]
pub(super) struct Objects<T>(pub(super) Vec<T>);

impl<T> Default for Objects<T> {
    fn default() -> Objects<T> {
        Objects(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Objects<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Objects<T>, D::Error> {
        let mut found = Vec::new();
        let take = |object| {
            // One place at first: where there is a token, there is one call.
            found.reserve_exact(usize::from(found.is_empty()));
            found.push(object);
            found.len() <= PARTS_MAX
        };
        objects(deserializer, true, take)?;
        Ok(Objects(found))
    }
}

/// The first of a list of objects, if it has one.
#[derive(Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> First<T> {
        First(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First<T>, D::Error> {
        let mut found = None;
        let take = |object| {
            found = Some(object);
            false
        };
        objects(deserializer, true, take)?;
        Ok(First(found))
    }
}

/// Hands over an object, or those of a list where `takes_lists`, until `take` wants no more.
fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    takes_lists: bool,
    take: impl FnMut(T) -> bool,
) -> Result<(), D::Error> {
    deserializer.deserialize_any(ObjectsVisitor {
        takes_lists,
        take,
        object: PhantomData,
    })
}

struct ObjectsVisitor<T, F> {
    takes_lists: bool,
    take: F,
    object: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> bool> Visitor<'de> for ObjectsVisitor<T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        (self.take)(T::deserialize(MapAccessDeserializer::new(map))?);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut wants_more = self.takes_lists;
        while wants_more {
            match list.next_element::<Lenient<T>>()? {
                Some(Lenient(Some(object))) => wants_more = (self.take)(object),
                Some(Lenient(None)) => {}
                None => return Ok(()),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    nothing!(
        (),
        visit_unit(),
        visit_bool(bool),
        visit_u64(u64),
        visit_i64(i64),
        visit_f64(f64),
        visit_str(&str)
    );
}

/// A count, or a place in a list; some write them as texts or with a fraction of zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

impl Count {
    /// The count in that place: names with a slash before each. A pointer of `serde_json` reads them anew
    /// where there is nothing, as in nearly every event.
    pub(super) fn at(value: &Value, pointer: &str) -> Option<u64> {
        let mut names = pointer.split('/').skip(1);
        let place = names.try_fold(value, |place, name| place.get(name));
        Count::deserialize(place?).ok()?.0
    }
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Count, E> {
        Ok(Count(Some(count)))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(count).ok()))
    }

    fn visit_f64<E>(self, count: f64) -> Result<Count, E> {
        // Beyond that a float counts no single things.
        const COUNTS_MAX: f64 = 9e15;
        let is_count = count.fract() == 0.0 && (0.0..=COUNTS_MAX).contains(&count);
        Ok(Count(is_count.then_some(count as u64)))
    }

    fn visit_str<E>(self, count: &str) -> Result<Count, E> {
        Ok(Count(count.trim().parse().ok()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(None))
    }

    nothing!(Count(None), visit_unit(), visit_bool(bool));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_without_end_no_more_is_taken_than_shows_that() {
        for (count, taken) in [(3, 3), (PARTS_MAX, PARTS_MAX), (5_000, PARTS_MAX + 1)] {
            let list = format!("[{}{{}}]", "{},".repeat(count - 1));
            let Objects(found) = serde_json::from_str::<Objects<Map<_, _>>>(&list).unwrap();
            assert_eq!(found.len(), taken, "{count}");
        }
    }
}
