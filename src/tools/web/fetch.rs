//! Fetching a page: redirects, the body, and what a model is shown of them.

use std::fmt::Write as _;

use ureq::Body;
use ureq::http::Response;
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use url::Url;

use crate::domain::event::ToolOutput;
use crate::domain::familiar::{ANSWERED, Host};
use crate::tools::web::charset::{self, BodyKind};
use crate::tools::web::client::{AddressRules, BodyEnd, WebClient, WebError};
use crate::tools::web::client::{host_of, parse_url, read_body, shown};
use crate::tools::web::markdown;

/// The most that is read of a body, and written of a page.
pub(super) const BODY_BYTES_MAX: usize = 1_000_000;
/// More than that are a circle.
const REDIRECTS_MAX: usize = 10;
const ACCEPT: &str = "text/html, application/xhtml+xml, text/markdown, text/plain, \
                      application/json;q=0.9, */*;q=0.5";

/// How a page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PageFormat {
    /// HTML becomes Markdown.
    #[default]
    Markdown,
    /// As it came.
    Raw,
}

/// Fetches `url`.
pub(super) fn fetch(
    client: &WebClient,
    rules: &AddressRules,
    is_proxied: bool,
    url: &str,
    format: PageFormat,
) -> Result<ToolOutput, WebError> {
    let url = parse_url(url, None)?;
    let FetchedPage {
        url,
        response,
        elsewhere,
    } = follow(client, rules, is_proxied, url)?;
    let status = response.status();
    let mut shown = ShownPage::new(&url, &response);
    if let Some(target) = elsewhere {
        shown.text = format!(
            "It sends its readers on to another host, which was not asked:\n\n{target}\n\n\
             Fetch that address if it is wanted."
        );
        return Ok(ToolOutput {
            success: true,
            content: shown.finish(),
        });
    }
    shown.add_body(&url, response, format)?;
    Ok(ToolOutput {
        success: status.is_success(),
        content: shown.finish(),
    })
}

/// What a host answered that was asked.
struct FetchedPage {
    url: Url,
    response: Response<Body>,
    /// Where it sends its readers, if that is another host.
    elsewhere: Option<Url>,
}

/// Asks for `url` and wherever it leads on the same host. Each step is judged like the first;
/// whether another host may be asked is for the caller's policy, which judges calls.
fn follow(
    client: &WebClient,
    rules: &AddressRules,
    is_proxied: bool,
    mut url: Url,
) -> Result<FetchedPage, WebError> {
    for _ in 0..=REDIRECTS_MAX {
        rules.check(&url, is_proxied)?;
        let response = client.get(&url, &[("accept", ACCEPT)])?;
        let target = match target(&response) {
            Some(target) => Some(parse_url(&target, Some(&url))?),
            None => None,
        };
        if let Some(target) = &target {
            rules.check(target, is_proxied)?;
        }
        match target {
            Some(target) if Host::of_url(&target) == Host::of_url(&url) => url = target,
            elsewhere => {
                return Ok(FetchedPage {
                    url,
                    response,
                    elsewhere,
                });
            }
        }
    }
    Err(WebError::Redirects(REDIRECTS_MAX))
}

/// Where an answer sends its reader.
fn target(response: &Response<Body>) -> Option<String> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION).filter(|_| is_redirect)?;
    // Some servers write other letters than ASCII here.
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// What a model is shown: lines about the answer, then its text.
struct ShownPage {
    head: String,
    text: String,
}

impl ShownPage {
    fn new(url: &Url, response: &Response<Body>) -> ShownPage {
        let mut shown = ShownPage {
            head: String::new(),
            text: String::new(),
        };
        shown.head.push_str(ANSWERED);
        shown.head.push_str(url.as_str());
        shown.head.push('\n');
        shown.line("Status", &response.status().to_string());
        let content_type = header(response, &CONTENT_TYPE);
        if !content_type.is_empty() {
            shown.line("Content-Type", &content_type);
        }
        shown
    }

    fn line(&mut self, name: &str, value: &str) {
        // Writing to a text cannot fail.
        writeln!(self.head, "{name}: {value}").ok();
    }

    fn note(&mut self, note: &str) {
        self.line("Note", note);
    }

    fn add_body(
        &mut self,
        url: &Url,
        response: Response<Body>,
        format: PageFormat,
    ) -> Result<(), WebError> {
        let coding = header(&response, &CONTENT_ENCODING);
        if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
            let host = host_of(url);
            return Err(WebError::Compressed { host, coding });
        }
        let content_type = header(&response, &CONTENT_TYPE);
        let length: Option<u64> = header(&response, &CONTENT_LENGTH).parse().ok();
        if !content_type.is_empty() && charset::kind(&content_type, b"") == BodyKind::Other {
            self.text = not_text(&content_type, length);
            return Ok(());
        }
        let (body, end) = read_body(url, response.into_body(), BODY_BYTES_MAX);
        self.note_end(&body, end, length)?;
        match charset::kind(&content_type, &body) {
            BodyKind::Other => self.text = not_text("binary data", length),
            BodyKind::Html if format == PageFormat::Markdown => {
                let html = self.decode(&body, &content_type);
                self.add_page(&html, url);
            }
            BodyKind::Html | BodyKind::Text => self.text = self.decode(&body, &content_type),
        }
        Ok(())
    }

    /// Says how much of the body is missing.
    ///
    /// Errors: all of it is.
    fn note_end(&mut self, body: &[u8], end: BodyEnd, length: Option<u64>) -> Result<(), WebError> {
        match end {
            BodyEnd::Whole => {}
            BodyEnd::TooLong => {
                let all = length.map_or(String::new(), |length| format!(" of {length}"));
                self.note(&format!(
                    "the body is too long; this is from its first {BODY_BYTES_MAX}{all} bytes"
                ));
            }
            BodyEnd::Broken(error) if body.is_empty() => return Err(error),
            BodyEnd::Broken(error) => {
                let bytes = body.len();
                self.note(&format!(
                    "the body is not whole; this is from its first {bytes} bytes ({error})"
                ));
            }
        }
        Ok(())
    }

    fn decode(&mut self, body: &[u8], content_type: &str) -> String {
        let decoded = charset::decode(body, content_type);
        if let Some(charset) = decoded.unknown_charset {
            let charset = shown(&charset);
            self.note(&format!(
                "the encoding {charset} is not known here; what is not ASCII may be wrong"
            ));
        }
        decoded.text
    }

    fn add_page(&mut self, html: &str, url: &Url) {
        let page = markdown::convert(html, Some(url), BODY_BYTES_MAX);
        if !page.title.is_empty() {
            self.line("Title", &shown(&page.title));
        }
        if page.is_cut {
            self.note(&format!("the text was cut after {BODY_BYTES_MAX} bytes"));
        }
        self.text = page.text;
    }

    fn finish(mut self) -> String {
        let text = if self.text.trim().is_empty() {
            "(no text)"
        } else {
            self.text.as_str()
        };
        self.head.push('\n');
        self.head.push_str(text);
        self.head
    }
}

fn not_text(content_type: &str, length: Option<u64>) -> String {
    let mime = charset::mime(content_type);
    match length {
        Some(length) => format!("This is {mime}, {length} bytes: not text."),
        None => format!("This is {mime}: not text."),
    }
}

/// A header's value in one line; empty when there is none.
fn header(response: &Response<Body>, name: &HeaderName) -> String {
    let value = response.headers().get(name);
    value.map_or(String::new(), |value| {
        shown(&String::from_utf8_lossy(value.as_bytes()))
    })
}
