//! Requests to strangers' servers: where they may go, how long they take, and what is read.
//!
//! Invariants:
//! - a page's server is connected to at an address that the rules allow: what is judged is the
//!   address itself, as the resolver found it, so that no name can mean one thing when it is
//!   judged and another when it is connected to;
//! - no proxy is used but the one that was configured, which then resolves the names;
//! - redirects are not followed here.

use std::io::Read as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Agent, Body, Proxy};
use url::{Host, Url};

use crate::base::address::{AddressRange, is_public};
use crate::base::tls::{self, Roots};

/// Nothing can interrupt these two, so they are short.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// What a connection takes in at once.
const INPUT_BYTES: usize = 16 << 10;
/// What it sends at once, and so the longest head of a request.
const OUTPUT_BYTES: usize = 16 << 10;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// The longest address: it must fit into a request's head.
const URL_BYTES_MAX: usize = 8 << 10;
/// How much of a stranger's words stands in an error.
const WORDS_CHARS_MAX: usize = 300;

/// Why something was not fetched; a sentence for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WebError {
    #[error("`{url}` is not an address of the web: {why}")]
    NotAnAddress { url: String, why: String },
    #[error("`{0}` is not fetched: only http:// and https:// are")]
    Scheme(String),
    #[error("an address with a name or a password in it is not fetched")]
    UserInfo,
    #[error(
        "{host} is not fetched: it leads to {address}, which is not on the public internet; the \
         operator can allow it with `web.allow_addresses` in duragent.yaml"
    )]
    Refused { host: String, address: IpAddr },
    #[error("{0} is not fetched: it is a name of the proxy's own machine")]
    LocalName(String),
    #[error("{host} could not be found")]
    NoHost { host: String },
    #[error("{host} could not be reached: {why}")]
    Unreachable { host: String, why: String },
    #[error("{host} took too long: {what}")]
    TooLate { host: String, what: String },
    #[error("given up after {0} redirects")]
    Redirects(usize),
    #[error("{host} sent its answer compressed ({coding}) although it was asked not to")]
    Compressed { host: String, coding: String },
    #[error("{0}")]
    Service(String),
}

/// Which addresses may be connected to.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressRules {
    pub(super) allowed: Vec<AddressRange>,
}

impl AddressRules {
    fn allow(&self, address: IpAddr) -> bool {
        is_public(address) || self.allowed.iter().any(|range| range.contains(address))
    }

    /// Judges a page's address as far as it says where it leads; the resolver does the rest.
    pub(super) fn check(&self, url: &Url, is_proxied: bool) -> Result<(), WebError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WebError::Scheme(shown(url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(WebError::UserInfo);
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(name)) if is_proxied && is_local(name) => {
                return Err(WebError::LocalName(shown(name)));
            }
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        if self.allow(address) {
            Ok(())
        } else {
            Err(WebError::Refused {
                host: host_of(url),
                address,
            })
        }
    }
}

/// Names that every machine has for itself.
fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Reads an address as a model or a page gives it.
pub(super) fn parse_url(text: &str, base: Option<&Url>) -> Result<Url, WebError> {
    let refused = |why: String| WebError::NotAnAddress {
        url: shown(text),
        why,
    };
    if text.len() > URL_BYTES_MAX {
        return Err(refused(format!("it is longer than {URL_BYTES_MAX} bytes")));
    }
    let parsed = match base {
        Some(base) => base.join(text),
        None => Url::parse(text),
    };
    let mut url = parsed.map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => refused("it must begin with https://".into()),
        url::ParseError::IdnaError => {
            refused("a host in other letters than ASCII must be written as xn--…".into())
        }
        error => refused(error.to_string()),
    })?;
    if url.as_str().len() > URL_BYTES_MAX {
        return Err(refused(format!("it is longer than {URL_BYTES_MAX} bytes")));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Makes requests until a deadline.
#[derive(Debug)]
pub(super) struct WebClient {
    agent: Agent,
    deadline: Instant,
}

impl WebClient {
    /// For pages, wherever strangers put them.
    pub(super) fn guarded(
        rules: &Arc<AddressRules>,
        proxy: Option<&Proxy>,
        limit: Duration,
    ) -> WebClient {
        let config = config(proxy);
        let agent = match proxy {
            // It is told names, and what is resolved here is only its own.
            Some(_) => tls::agent(config),
            None => Agent::with_parts(
                config,
                Roots::shared().connector(),
                GuardedResolver {
                    resolver: DefaultResolver::default(),
                    rules: Arc::clone(rules),
                },
            ),
        };
        WebClient {
            agent,
            deadline: Instant::now() + limit,
        }
    }

    /// For a service that the operator has chosen.
    pub(super) fn trusting(proxy: Option<&Proxy>, limit: Duration) -> WebClient {
        WebClient {
            agent: tls::agent(config(proxy)),
            deadline: Instant::now() + limit,
        }
    }

    /// Shut down, it ends all requests of this client.
    pub(super) fn agent(&self) -> Agent {
        self.agent.clone()
    }

    /// Asks for `url`; the answer's body is still to come.
    pub(super) fn get(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
    ) -> Result<Response<Body>, WebError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let mut request = self.agent.get(url.as_str()).config();
        // Nothing left would be no limit.
        request = request.timeout_global(Some(left.max(Duration::from_millis(1))));
        let mut request = request.build();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map_err(|error| web_error(url, error))
    }
}

fn config(proxy: Option<&Proxy>) -> Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("duragent/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .max_redirects(0)
        .proxy(proxy.cloned())
        .timeout_resolve(Some(RESOLVE_MAX))
        .timeout_connect(Some(CONNECT_MAX))
        .input_buffer_size(INPUT_BYTES)
        .output_buffer_size(OUTPUT_BYTES)
        .max_response_header_size(HEAD_BYTES_MAX)
        // A run makes one request, or follows redirects: no connection is worth keeping.
        .max_idle_connections(0)
        .build()
}

/// Finds only addresses that the rules allow.
#[derive(Debug)]
struct GuardedResolver {
    resolver: DefaultResolver,
    rules: Arc<AddressRules>,
}

impl Resolver for GuardedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        let mut allowed = self.empty();
        for address in found.iter().filter(|found| self.rules.allow(found.ip())) {
            allowed.push(*address);
        }
        match found.first() {
            Some(first) if allowed.is_empty() => {
                let refused = WebError::Refused {
                    host: shown(uri.host().unwrap_or_default()),
                    address: first.ip(),
                };
                Err(ureq::Error::Other(Box::new(refused)))
            }
            _ => Ok(allowed),
        }
    }
}

/// How the reading of a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyEnd {
    /// It is whole.
    Whole,
    /// There is more of it than is taken.
    TooLong,
    /// The rest did not come.
    Broken(WebError),
}

/// Reads a body, at most `bytes_max` bytes of it.
pub(super) fn read_body(url: &Url, body: Body, bytes_max: usize) -> (Vec<u8>, BodyEnd) {
    let mut bytes = Vec::new();
    // One more, to see whether there is more.
    let limit = bytes_max as u64 + 1;
    let read = body.into_reader().take(limit).read_to_end(&mut bytes);
    let end = match read {
        Ok(_) if bytes.len() > bytes_max => BodyEnd::TooLong,
        Ok(_) => BodyEnd::Whole,
        // ureq hides its own errors, such as a timeout, in those of the system.
        Err(error) => {
            let error = error.downcast().unwrap_or_else(ureq::Error::Io);
            BodyEnd::Broken(web_error(url, error))
        }
    };
    bytes.truncate(bytes_max);
    (bytes, end)
}

fn web_error(url: &Url, error: ureq::Error) -> WebError {
    use ureq::Timeout;
    let host = host_of(url);
    match error {
        ureq::Error::Other(other) => match other.downcast::<WebError>() {
            Ok(ours) => *ours,
            Err(other) => WebError::Unreachable {
                host,
                why: shown(&other.to_string()),
            },
        },
        ureq::Error::HostNotFound => WebError::NoHost { host },
        ureq::Error::Timeout(Timeout::Resolve) => WebError::TooLate {
            host,
            what: "its name was not resolved".into(),
        },
        ureq::Error::Timeout(Timeout::Connect) => WebError::TooLate {
            host,
            what: "it did not take the connection".into(),
        },
        ureq::Error::Timeout(_) => WebError::TooLate {
            host,
            what: "the answer was not whole in time".into(),
        },
        error => WebError::Unreachable {
            host,
            why: shown(&error.to_string()),
        },
    }
}

/// The host of an address as it stands in it.
pub(super) fn host_of(url: &Url) -> String {
    shown(url.host_str().unwrap_or_default())
}

/// The beginning of a stranger's words, in one line.
pub(super) fn shown(words: &str) -> String {
    let plain = words
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut shown: String = plain.clone().take(WORDS_CHARS_MAX).collect();
    if plain.count() > WORDS_CHARS_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_judged_by_what_it_says() {
        let rules = AddressRules {
            allowed: vec!["10.1.0.0/16".parse().unwrap()],
        };
        for (url, expected) in [
            ("https://example.org/a?b#c", "ok"),
            ("http://example.org:25/", "ok"),
            ("http://8.8.8.8/", "ok"),
            ("http://10.1.2.3/", "ok"),
            // The resolver finds out.
            ("http://localhost/", "ok"),
            ("http://10.2.0.1/", "10.2.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f.0.0.1/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://%31%32%37.0.0.1/", "127.0.0.1"),
            ("http://１２７.0.0.1/", "xn--"),
            ("http://169.254.169.254/latest", "169.254.169.254"),
            ("http://[::1]/", "::1"),
            ("http://[::ffff:10.1.2.3]/", "::ffff:10.1.2.3"),
            ("http://[64:ff9b::7f00:1]/", "64:ff9b::7f00:1"),
            ("http://user@example.org/", "password"),
            ("http://:secret@example.org/", "password"),
            ("ftp://example.org/", "only http"),
            ("file:///etc/passwd", "only http"),
            ("example.org/", "must begin with https"),
            ("http://", "empty host"),
            ("", "must begin with https"),
        ] {
            let judged = parse_url(url, None).and_then(|url| rules.check(&url, false));
            let said = judged.map_or_else(|error| error.to_string(), |()| "ok".into());
            let is_as_expected = match expected {
                "ok" => said == "ok",
                part => said.contains(part),
            };
            assert!(is_as_expected, "{url}: {said}");
        }
    }

    #[test]
    fn a_proxy_is_not_sent_to_its_own_machine() {
        let rules = AddressRules::default();
        for (url, expected) in [
            ("http://example.org/", true),
            ("http://localhost.example.org/", true),
            ("http://LOCALHOST/", false),
            ("http://a.localhost./", false),
            ("http://127.0.0.1/", false),
        ] {
            let url = parse_url(url, None).unwrap();
            assert_eq!(rules.check(&url, true).is_ok(), expected, "{url}");
        }
    }

    #[test]
    fn words_of_strangers_are_one_short_line() {
        assert_eq!(shown("a\nb\u{1b}[c"), "a b [c");
        assert_eq!(shown(&"ä".repeat(400)).chars().count(), 301);
        let long = parse_url(&format!("https://a/{}", "x".repeat(9000)), None).unwrap_err();
        assert!(long.to_string().len() < 500, "{long}");
    }
}
