//! How long a provider asks to be left alone: in headers of many names, in its error's fields or in its
//! words. Pure.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use ureq::http::HeaderMap;

use crate::domain::time::Timestamp;

/// Milliseconds.
///
/// Source: OpenAI's and Azure's clients.
const MILLISECONDS: &[&str] = &["retry-after-ms", "x-ms-retry-after-ms"];
/// What is left of a limit, and when it is whole again: a time where nothing is left.
///
/// Source: OpenAI, Groq and others (`x-ratelimit-…`), Anthropic, Azure.
const LIMITS: &[(&str, &str)] = &[
    (
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
    (
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
    (
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ),
    (
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ),
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
];
/// Before a time in words.
const WORDS: &[&str] = &[
    "try again in ",
    "retry in ",
    "retry after ",
    "wait ",
    "available in ",
];

/// For how long a refusal asks us to wait: the first that it says of what its class of provider says.
pub(super) fn asked_for(
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Option<Duration> {
    let header = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let milliseconds = MILLISECONDS
        .iter()
        .find_map(|name| header(name)?.parse().ok());
    let milliseconds = milliseconds.and_then(|ms: f64| Duration::try_from_secs_f64(ms / 1e3).ok());
    milliseconds
        .or_else(|| in_header(header("retry-after")?, now))
        .or_else(|| {
            // Of all limits the headers tell always, and only this status says that one is reached.
            let limits = LIMITS.iter().filter(|_| status == 429);
            let reached = limits.filter(|(left, _)| header(left).is_none_or(is_zero));
            reached
                .filter_map(|(_, reset)| in_header(header(reset)?, now))
                .max()
        })
        .or_else(|| in_document(&serde_json::from_slice(body).ok()?))
}

/// What a refusal says of another try.
///
/// Source: OpenAI's and Anthropic's clients.
pub(super) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.to_str().ok()?.trim() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// For how long the words of an error ask us to wait.
pub(super) fn in_words(words: &str) -> Option<Duration> {
    let words = words.to_ascii_lowercase();
    let mut tails = WORDS
        .iter()
        .filter_map(|one| Some(words.split_once(one)?.1));
    tails.find_map(span)
}

fn is_zero(left: &str) -> bool {
    left.parse() == Ok(0.0)
}

/// A time in a header: a span, a moment as HTTP or RFC 3339 writes it, or one in seconds or in
/// milliseconds since 1970. What has passed is zero.
///
/// Source: RFC 9110, section 10.2.3, and OpenRouter (milliseconds).
fn in_header(text: &str, now: SystemTime) -> Option<Duration> {
    const MOMENT_FROM: f64 = 1e9;
    const MILLISECONDS_FROM: f64 = 1e12;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    if let Ok(number) = text.parse::<f64>() {
        let seconds = match number {
            n if n >= MILLISECONDS_FROM => (n / 1e3 - now.as_secs_f64()).max(0.0),
            n if n >= MOMENT_FROM => (n - now.as_secs_f64()).max(0.0),
            n => n,
        };
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = Timestamp::parse_http(text).or_else(|_| Timestamp::parse(text));
    match at {
        Ok(at) => Some(Duration::from_micros(at.as_micros()).saturating_sub(now)),
        Err(_) => span(text),
    }
}

/// Google's `RetryInfo` among an error's details, wherever the error stands.
fn in_document(document: &Value) -> Option<Duration> {
    let document = document.get(0).unwrap_or(document);
    let details = document.pointer("/error/details")?.as_array()?;
    details
        .iter()
        .find_map(|detail| span(detail.get("retryDelay")?.as_str()?))
}

/// Reads the span of time that begins a text: `1s`, `6m0s`, `12ms`, `1.5 seconds`, and a number alone in seconds.
fn span(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    let mut sum = None;
    loop {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        // A full stop that ends a sentence.
        let number: f64 = match rest[..digits].trim_end_matches('.').parse() {
            Ok(number) => number,
            Err(_) => return sum,
        };
        let tail = rest[digits..].trim_start();
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let seconds = match &tail[..letters] {
            "ms" | "millisecond" | "milliseconds" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86_400.0,
            _ if sum.is_some() => return sum,
            _ => return Duration::try_from_secs_f64(number).ok(),
        };
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        sum = Some(sum.unwrap_or_default().checked_add(part)?);
        rest = tail[letters..].trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770)
    }

    /// What a refusal asks for, in milliseconds.
    fn asked(status: u16, headers: &[(&'static str, &str)], body: &str) -> Option<u128> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let wait = asked_for(status, &headers.collect(), body.as_bytes(), now());
        wait.map(|wait| wait.as_millis())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, expected) in [
            ("7", Some(7_000)),
            (" 0.5 ", Some(500)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7_000)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(asked(503, &[("retry-after", text)], ""), expected, "{text}");
        }
    }

    #[test]
    fn each_provider_says_it_in_its_own_way() {
        let info = r#"{"error":{"code":429,"details":[{"@type":"x.QuotaFailure"},{"@type":"x.RetryInfo","retryDelay":"34.5s"}]}}"#;
        for (headers, body, expected) in [
            (
                &[("retry-after-ms", "250"), ("retry-after", "1")][..],
                "",
                Some(250),
            ),
            (&[("x-ms-retry-after-ms", "40")], "", Some(40)),
            (
                &[
                    ("x-ratelimit-remaining-requests", "59"),
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                "",
                Some(360_000),
            ),
            (
                &[
                    ("anthropic-ratelimit-requests-remaining", "0"),
                    ("anthropic-ratelimit-requests-reset", "1994-11-06T08:49:37Z"),
                ],
                "",
                Some(7_000),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "784111779000"),
                ],
                "",
                // Too small for milliseconds since 1970: it is a moment of that far future.
                Some(783_327_667_230_000),
            ),
            (&[("ratelimit-reset", "12ms")], "", Some(12)),
            (&[], info, Some(34_500)),
            (&[], &format!("[{info}]"), Some(34_500)),
            (&[], "no JSON", None),
            (
                &[
                    ("x-ratelimit-remaining-tokens", "100"),
                    ("x-ratelimit-reset-tokens", "1s"),
                ],
                "",
                None,
            ),
        ] {
            assert_eq!(asked(429, headers, body), expected, "{headers:?} {body}");
        }
        let reset = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "5")];
        assert_eq!(asked(503, &reset, ""), None);
    }

    #[test]
    fn a_time_may_stand_in_the_words_of_an_error() {
        for (words, expected) in [
            (
                "Rate limit reached. Please try again in 1.5s. Visit us",
                Some(1_500),
            ),
            ("Please try again in 6m0s.", Some(360_000)),
            ("Please retry in 34.07s.", Some(34_070)),
            ("Try again in 2 minutes and be kind", Some(120_000)),
            ("retry after 30 seconds", Some(30_000)),
            ("Please wait 20.", Some(20_000)),
            ("Please try again in 12ms", Some(12)),
            ("try again in a while", None),
            ("you have 3 tries", None),
        ] {
            let wait = in_words(words).map(|wait| wait.as_millis());
            assert_eq!(wait, expected, "{words}");
        }
    }
}
