//! Searching the web by Brave's service.
//!
//! Source: Brave Search API, "Web Search".

use std::fmt::Write as _;

use serde::Deserialize;
use url::Url;

use crate::domain::event::ToolOutput;
use crate::domain::secret::Secret;
use crate::tools::web::client::{BodyEnd, WebClient, WebError, parse_url, read_body, shown};
use crate::tools::web::markdown;

/// How many results are asked for when the model does not say.
pub(super) const COUNT_USUAL: u32 = 5;
/// How many the service gives at most.
pub(super) const COUNT_MAX: u32 = 20;
const USUAL_BASE_URL: &str = "https://api.search.brave.com";
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A title or a description that is longer says no more.
const WORDS_BYTES_MAX: usize = 1_000;

/// The service as it is configured.
#[derive(Debug, Clone)]
pub(super) struct Service<'a> {
    pub(super) key: &'a Secret,
    pub(super) base_url: Option<&'a str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SearchAnswer {
    web: WebResults,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WebResults {
    results: Vec<SearchResult>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SearchResult {
    title: String,
    url: String,
    description: String,
    age: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    error: RefusalDetail,
}

#[derive(Debug, Deserialize)]
struct RefusalDetail {
    detail: String,
}

/// Searches for `query`.
pub(super) fn search(
    client: &WebClient,
    service: &Service<'_>,
    query: &str,
    count: u32,
) -> Result<ToolOutput, WebError> {
    let url = address(service.base_url, query, count)?;
    let headers = [
        ("accept", "application/json"),
        ("x-subscription-token", service.key.reveal()),
    ];
    let hidden = |error: WebError| match error {
        WebError::Unreachable { host, why } => WebError::Unreachable {
            host,
            why: service.key.hide_in(&why),
        },
        error => error,
    };
    let response = client.get(&url, &headers).map_err(hidden)?;
    let status = response.status();
    let (body, end) = read_body(&url, response.into_body(), ANSWER_BYTES_MAX);
    if let BodyEnd::Broken(error) = end {
        return Err(error);
    }
    if !status.is_success() {
        let why = service.key.hide_in(&reason(&body));
        let said = format!("the search service answered {status}: {}", shown(&why));
        return Err(WebError::Service(said));
    }
    let answer: SearchAnswer = serde_json::from_slice(&body).map_err(|_| {
        WebError::Service("the search service gave an answer that is not its own".into())
    })?;
    Ok(ToolOutput {
        success: true,
        content: service.key.hide_in(&list(&answer.web.results)),
    })
}

fn address(base_url: Option<&str>, query: &str, count: u32) -> Result<Url, WebError> {
    let base = base_url.unwrap_or(USUAL_BASE_URL).trim_end_matches('/');
    let mut url = parse_url(&format!("{base}/res/v1/web/search"), None)?;
    url.query_pairs_mut()
        .append_pair("q", query)
        .append_pair("count", &count.clamp(1, COUNT_MAX).to_string())
        .append_pair("text_decorations", "false");
    Ok(url)
}

fn reason(body: &[u8]) -> String {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error.detail,
        Err(_) => "no reason given".to_owned(),
    }
}

/// The results, and none of the model's own words: an address that stands in here counts as found
/// (`domain::familiar`).
fn list(results: &[SearchResult]) -> String {
    if results.is_empty() {
        return "Nothing was found.".to_owned();
    }
    let mut list = String::new();
    for (number, found) in (1..).zip(results) {
        let gap = if number > 1 { "\n" } else { "" };
        let title = plain(&found.title);
        // Writing to a text cannot fail.
        writeln!(list, "{gap}{number}. {title}\n   {}", shown(&found.url)).ok();
        let about = plain(&found.description);
        let age = found.age.as_deref().map(plain).unwrap_or_default();
        let line = [age, about].into_iter().filter(|part| !part.is_empty());
        let line = line.collect::<Vec<_>>().join(": ");
        if !line.is_empty() {
            writeln!(list, "   {line}").ok();
        }
    }
    list
}

/// The words of a piece of HTML, in one line.
fn plain(html: &str) -> String {
    let text = markdown::convert(html, None, WORDS_BYTES_MAX).text;
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_part_of_the_address() {
        for (base, query, count, expected) in [
            (
                None,
                "a b&c=ä",
                5,
                "https://api.search.brave.com/res/v1/web/search?q=a+b%26c%3D%C3%A4&count=5&text_decorations=false",
            ),
            (
                Some("http://127.0.0.1:1/"),
                "x",
                0,
                "http://127.0.0.1:1/res/v1/web/search?q=x&count=1&text_decorations=false",
            ),
            (
                Some("http://127.0.0.1:1/sub"),
                "x",
                99,
                "http://127.0.0.1:1/sub/res/v1/web/search?q=x&count=20&text_decorations=false",
            ),
        ] {
            assert_eq!(address(base, query, count).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn results_are_listed_without_their_markup() {
        let answer: SearchAnswer = serde_json::from_str(
            r#"{"query": {}, "web": {"type": "search", "results": [
                {"title": "A &amp; <strong>B</strong>", "url": "https://a.org/", "age": "May 1, 2026",
                 "description": "About\n it", "extra": [1]},
                {"title": "C", "url": "https://c.org/"}]}}"#,
        )
        .unwrap();
        assert_eq!(
            list(&answer.web.results),
            "1. A & **B**\n   https://a.org/\n   May 1, 2026: About it\n\n2. C\n   https://c.org/\n"
        );
        let nothing: SearchAnswer = serde_json::from_str("{\"web\": {}}").unwrap();
        // Not even the question: what stands in a result is as good as found.
        assert_eq!(list(&nothing.web.results), "Nothing was found.");
    }
}
