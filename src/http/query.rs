//! The query of a request, decoded. Pure.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::base::text::percent_decode;
use crate::http::problem::HttpProblem;

/// The pairs of a query, in order; unknown names are nobody's concern.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `name=value&…`, as it stands after the `?`.
    ///
    /// Errors: 400 for a bad escape.
    pub fn parse(text: &str) -> Result<Query, HttpProblem> {
        text.split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decoded(name)?, decoded(value)?))
            })
            .collect::<Result<_, _>>()
            .map(Query)
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(known, _)| known == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// A number within `range`, or `default` where none is given.
    ///
    /// Errors: 400 that names the range.
    pub fn number(
        &self,
        name: &str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, HttpProblem> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| is_digits);
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (from, to) = range.into_inner();
                bad(name, format_args!("a number from {from} to {to}"))
            })
    }

    /// A switch: `name`, `name=true` or `name=1` is on.
    ///
    /// Errors: 400 for a value that is neither on nor off.
    pub fn flag(&self, name: &str) -> Result<bool, HttpProblem> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(_) => Err(bad(name, "`true` or `false`")),
        }
    }

    /// A value that `parse` understands; `what` says what that is.
    ///
    /// Errors: 400 that names the parameter.
    pub fn parsed<T>(
        &self,
        name: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, HttpProblem> {
        self.get(name)
            .map(|text| parse(text).ok_or_else(|| bad(name, what)))
            .transpose()
    }
}

/// A query as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct QueryText<'a>(pub &'a str);

impl<'a> QueryText<'a> {
    /// The values of that name, in order, whatever else the query holds; one with a bad escape as it was
    /// sent.
    pub fn all(self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let named = self.0.split('&').filter(move |pair| is_named(pair, name));
        named.map(|pair| {
            let value = pair.split_once('=').map_or("", |(_, value)| value);
            decoded(value).map_or(Cow::Borrowed(value), Cow::Owned)
        })
    }

    /// The same without the pairs of that name, however it is spelled.
    pub fn without(self, name: &str) -> String {
        let others = self.0.split('&').filter(|pair| !is_named(pair, name));
        others.collect::<Vec<_>>().join("&")
    }
}

fn is_named(pair: &str, name: &str) -> bool {
    let known = pair.split('=').next().unwrap_or_default();
    decoded(known).is_ok_and(|known| known == name)
}

fn bad(name: &str, what: impl Display) -> HttpProblem {
    HttpProblem::new(400, format!("`{name}` must be {what}"))
}

/// In a query, unlike in a path, a plus is a space.
fn decoded(text: &str) -> Result<String, HttpProblem> {
    let text = text.replace('+', " ");
    match percent_decode(&text) {
        Some(decoded) => Ok(decoded.into_owned()),
        None => Err(HttpProblem::new(
            400,
            "the query has a bad percent escape, or is not UTF-8",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded() {
        let query = Query::parse("a=1&b=x+y%2Bz&c&=d&a=2&&%C3%A4=%26").unwrap();
        for (name, want) in [
            ("a", Some("1")),
            ("b", Some("x y+z")),
            ("c", Some("")),
            ("ä", Some("&")),
            ("e", None),
        ] {
            assert_eq!(query.get(name), want, "{name}");
        }
        assert_eq!(Query::parse("a=%zz").unwrap_err().status(), 400);
        assert_eq!(Query::parse("").unwrap(), Query::default());
    }

    #[test]
    fn a_number_must_be_in_its_range_and_the_answer_says_so() {
        let number = |text: &str| Query::parse(text)?.number("limit", 100, 1..=1000);
        for (text, want) in [("", 100), ("limit=1", 1), ("limit=1000", 1000)] {
            assert_eq!(number(text), Ok(want), "{text}");
        }
        for text in ["limit=0", "limit=1001", "limit=", "limit=x", "limit=%2B5"] {
            let problem = number(text).unwrap_err();
            assert_eq!(problem.status(), 400, "{text}");
            assert_eq!(problem.detail(), "`limit` must be a number from 1 to 1000");
        }
    }

    #[test]
    fn a_switch_is_on_off_or_refused() {
        for (text, want) in [
            ("", Some(false)),
            ("keep=false", Some(false)),
            ("keep", Some(true)),
            ("keep=true", Some(true)),
            ("keep=1", Some(true)),
            ("keep=yes", None),
        ] {
            let flag = Query::parse(text).unwrap().flag("keep");
            assert_eq!(flag.ok(), want, "{text}");
        }
    }
}
