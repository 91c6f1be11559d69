//! Who may ask for what: decided on the head of a request alone, before its body is read. Pure.
//!
//! Invariants:
//! - no token and no ticket is ever part of a [`HttpProblem`], a log line or a `Debug` text;
//! - what no rule opens is guarded like the API.
//!
//! Elsewhere: how a head is parsed (`http::gate::head`), what a route answers (handlers).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use subtle::ConstantTimeEq;

use crate::base::accounts;
use crate::base::host::is_loopback;
use crate::base::text::percent_decode;
use crate::domain::ids::SessionId;
use crate::domain::principal::{Principal, Way};
use crate::domain::time::Timestamp;
use crate::http::problem::HttpProblem;
use crate::http::requester::{Credential, Requester};
use crate::http::ticket::{self, TicketKey};

/// The rules, as they were configured.
#[derive(Debug, Clone, Default)]
pub struct AccessSettings {
    /// Guards the API and the metrics; without one, only this machine may use them.
    pub api_token: Option<AccessToken>,
    /// Guards the administration; without one, the rule of the API holds there too.
    pub admin_token: Option<AccessToken>,
    /// Which accounts of this machine may do without a token.
    pub local_users: LocalAccounts,
    /// Names beside `localhost` and the loopback addresses by which clients without a token may call
    /// us: `name` or `name:port`.
    pub allowed_hosts: Vec<String>,
    /// Origins (`https://app.example`) whose pages may use the API from a browser.
    pub allowed_origins: Vec<String>,
    /// Knows the tickets that were given out; without it none is good.
    pub tickets: Option<TicketKey>,
}

impl AccessSettings {
    /// Only then is the kernel asked for the account, once a connection: with a token it does not count.
    pub fn asks_for_account(&self, peer: IpAddr) -> bool {
        let asks = matches!(self.local_users, LocalAccounts::These(_));
        asks && self.api_token.is_none() && is_local(peer)
    }
}

/// Which accounts of this machine may do without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAccounts {
    /// All.
    Any,
    /// Those with these numbers.
    These(BTreeSet<u32>),
}

impl LocalAccounts {
    /// The server's own account, root, and those with these numbers.
    pub fn owner_and(uids: &[u32]) -> LocalAccounts {
        let mut all: BTreeSet<u32> = [0, accounts::own()].into();
        all.extend(uids);
        // It stands for whoever has no number here: also for others than the one that was meant.
        all.remove(&accounts::overflow());
        LocalAccounts::These(all)
    }

    fn let_in(&self, account: PeerAccount) -> bool {
        match (self, account) {
            (LocalAccounts::Any, _) => true,
            (LocalAccounts::These(uids), PeerAccount::Number(uid)) => uids.contains(&uid),
            (LocalAccounts::These(_), PeerAccount::Stranger) => false,
        }
    }
}

impl Default for LocalAccounts {
    fn default() -> LocalAccounts {
        LocalAccounts::owner_and(&[])
    }
}

/// To whom a connection belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAccount {
    /// The account of this machine with this number.
    Number(u32),
    /// Nobody who could be found, or nobody asked.
    Stranger,
}

/// A secret that a client shows. Its `Debug` text hides it.
#[derive(Clone)]
pub struct AccessToken(String);

impl AccessToken {
    /// Takes the secret as it stands in the configuration.
    pub fn new(secret: impl Into<String>) -> AccessToken {
        AccessToken(secret.into())
    }

    /// Compares in a time that depends on the lengths alone.
    fn matches(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

/// The protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.0: one request per connection, no chunked bodies.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request, as far as the rules look at it: before its body, of which they know nothing.
#[derive(Debug, Clone, Copy)]
pub struct HeadView<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The target, with its query if it has one: a path, or `*`.
    pub target: &'a str,
    /// `name` or `name:port` of a target that was sent in absolute form.
    pub authority: Option<&'a str>,
    /// The protocol's version.
    pub version: HttpVersion,
    /// Names as sent and trimmed values, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// Where the connection comes from.
    pub peer: IpAddr,
    /// To whom its other end belongs, where [`AccessSettings::asks_for_account`] says that it
    /// matters.
    pub account: PeerAccount,
}

impl<'a> HeadView<'a> {
    /// The value of a header that stands there exactly once.
    pub fn single(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

/// Decides whether a request that came at `now` may go on to its handler, and tells who sent it;
/// `None` of one that everybody may send, and whose sender is not known.
///
/// Errors: 401 with `WWW-Authenticate` where a token is set or a ticket was shown, 403 with the
/// setting to change where none is.
pub fn check(
    settings: &AccessSettings,
    head: &HeadView<'_>,
    now: Timestamp,
) -> Result<Option<Requester>, HttpProblem> {
    if let Some((session, shown)) = ticket::shown(head.method, head.target) {
        check_page(settings, head)?;
        let principal = check_ticket(settings, &session, &shown, now)?;
        return Ok(Some(requester(head, principal, Credential::Ticket)));
    }
    let api = settings.api_token.as_ref();
    match area(head.target) {
        Area::Open => Ok(authenticated(settings, api, head).ok()),
        Area::Api => authenticated(settings, api, head).map(Some),
        Area::Admin => {
            let token = settings.admin_token.as_ref().or(api);
            authenticated(settings, token, head).map(Some)
        }
    }
}

/// Who a request is from, by `token` where there is one to show, else by its account.
///
/// Whoever is let in here is the server's owner: further tokens, of others, are looked up here.
fn authenticated(
    settings: &AccessSettings,
    token: Option<&AccessToken>,
    head: &HeadView<'_>,
) -> Result<Requester, HttpProblem> {
    let credential = match token {
        Some(token) => check_token(token, head).map(|()| Credential::Token),
        None => check_local(settings, head).map(|()| Credential::Account),
    };
    Ok(requester(head, Principal::Owner, credential?))
}

fn requester(head: &HeadView<'_>, principal: Principal, credential: Credential) -> Requester {
    let is_direct = is_local(head.peer) && !came_through_a_proxy(head);
    Requester {
        principal,
        credential,
        way: if is_direct { Way::Local } else { Way::Network },
    }
}

/// Headers that a page may read beside those that the Fetch standard lets it: where the new session is,
/// and when to come again.
const EXPOSED: &str = "Location, Preference-Applied, Retry-After";

/// The headers that let the page of an allowed origin read an answer; none for other requests.
pub fn cors_headers(settings: &AccessSettings, head: &HeadView<'_>) -> Vec<(&'static str, String)> {
    if settings.allowed_origins.is_empty() {
        return Vec::new();
    }
    // Answers differ by origin, so no cache may give one origin's to another.
    let mut headers = vec![("Vary", "Origin".to_owned())];
    if let Some(origin) = allowed_origin(settings, head) {
        headers.push(("Access-Control-Allow-Origin", origin.to_owned()));
        headers.push(("Access-Control-Expose-Headers", EXPOSED.to_owned()));
    }
    headers
}

/// The headers that answer a browser's question before the real request, when it asks one and its
/// origin is allowed.
///
/// Source: the Fetch standard, "CORS-preflight request".
pub fn preflight(
    settings: &AccessSettings,
    head: &HeadView<'_>,
) -> Option<Vec<(&'static str, String)>> {
    let asks = head.method == "OPTIONS" && head.has("Access-Control-Request-Method");
    if !asks || allowed_origin(settings, head).is_none() {
        return None;
    }
    let mut headers = cors_headers(settings, head);
    let fixed = [
        ("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE"),
        (
            "Access-Control-Allow-Headers",
            "Accept, Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Prefer",
        ),
        ("Access-Control-Max-Age", "600"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, value.to_owned())));
    Some(headers)
}

enum Area {
    Open,
    Api,
    Admin,
}

/// `*` is the server as a whole, which `OPTIONS` asks for.
const OPEN_PATHS: &[&str] = &["*", "/", "/livez", "/readyz", "/version"];

/// Sorts a target, strictly: an odd spelling of a path is never less guarded than the plain one.
fn area(target: &str) -> Area {
    let path = target.split('?').next().unwrap_or_default();
    if OPEN_PATHS.contains(&path) {
        return Area::Open;
    }
    let segments: Vec<String> = path
        .split('/')
        .map(comparable)
        .filter(|segment| !segment.is_empty() && segment != ".")
        .collect();
    let climbs = segments.iter().any(|segment| segment == "..");
    let is_admin = segments
        .iter()
        .map(String::as_str)
        .take(2)
        .eq(["api", "admin"]);
    if climbs || is_admin {
        Area::Admin
    } else {
        Area::Api
    }
}

/// A segment as the routes read it, in lower case: good for comparing, not for showing. One that
/// they cannot read, and so refuse, stays as it is.
fn comparable(segment: &str) -> String {
    let decoded = percent_decode(segment);
    decoded.as_deref().unwrap_or(segment).to_ascii_lowercase()
}

fn check_token(token: &AccessToken, head: &HeadView<'_>) -> Result<(), HttpProblem> {
    match bearer(head) {
        Some(shown) if token.matches(shown) => Ok(()),
        Some(_) => Err(unauthorized("the bearer token is not the right one")),
        None => Err(unauthorized(
            "send the header `Authorization: Bearer <token>`, once",
        )),
    }
}

fn bearer<'a>(head: &HeadView<'a>) -> Option<&'a str> {
    let (scheme, shown) = head.single("Authorization")?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| shown.trim_matches(' '))
}

fn unauthorized(detail: impl Into<Cow<'static, str>>) -> HttpProblem {
    HttpProblem::new(401, detail).with_header("WWW-Authenticate", "Bearer realm=\"duragent\"")
}

/// Whoever holds the one ticket of a request is let in, of whatever account: a browser may run as
/// another. What else there is to show is not asked for, and does not count.
fn check_ticket(
    settings: &AccessSettings,
    session: &SessionId,
    shown: &[String],
    now: Timestamp,
) -> Result<Principal, HttpProblem> {
    let (Some(key), [shown]) = (&settings.tickets, shown) else {
        return Err(unauthorized("show one ticket"));
    };
    let principal = key.check(session, shown, now);
    principal.map_err(|bad| unauthorized(bad.to_string()))
}

/// What holds for pages also where a ticket is shown. With a token, the name by which we are called is
/// a proxy's matter, and so is TLS.
fn check_page(settings: &AccessSettings, head: &HeadView<'_>) -> Result<(), HttpProblem> {
    if settings.api_token.is_none() {
        return check_way(settings, head);
    }
    let host = head.single("Host").unwrap_or_default();
    if !knows_origin(settings, head, host, &["http", "https"]) {
        return Err(foreign_page());
    }
    Ok(())
}

/// Without a token the only thing that tells friend from foe is where a request comes from: it
/// must be a program of ours on this machine that calls us directly, and no page of a foreign site.
fn check_local(settings: &AccessSettings, head: &HeadView<'_>) -> Result<(), HttpProblem> {
    if is_local(head.peer) && !settings.local_users.let_in(head.account) {
        let what = "requests of other accounts of this machine need a token";
        let hint = "or name the accounts that may do without one in server.local_users \
                    (`any`: all of them)";
        return Err(forbidden(what).with_member("hint", hint));
    }
    check_way(settings, head)
}

/// Whether a request came to us directly, from this machine, by a name of ours, and from no page of a
/// foreign site.
fn check_way(settings: &AccessSettings, head: &HeadView<'_>) -> Result<(), HttpProblem> {
    if !is_local(head.peer) {
        return Err(forbidden("requests from other machines need a token"));
    }
    if came_through_a_proxy(head) {
        return Err(forbidden("requests that came through a proxy need a token"));
    }
    let Some(host) = known_host(settings, head) else {
        return Err(forbidden("this `Host` is not one of ours")
            .with_member("hint", "or add the name to server.allowed_hosts"));
    };
    // What speaks TLS under our name is none of ours.
    if !knows_origin(settings, head, host, &["http"]) {
        return Err(foreign_page());
    }
    Ok(())
}

fn foreign_page() -> HttpProblem {
    forbidden("pages of this `Origin` may not use the API")
        .with_member("hint", "or add the origin to server.allowed_origins")
}

fn forbidden(what: &str) -> HttpProblem {
    HttpProblem::new(403, format!("{what}: set server.api_token, and send it"))
}

fn is_local(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

fn came_through_a_proxy(head: &HeadView<'_>) -> bool {
    let is_mark = |name: &str| {
        let name = name.to_ascii_lowercase();
        matches!(name.as_str(), "forwarded" | "x-real-ip" | "via")
            || name.starts_with("x-forwarded-")
    };
    head.version == HttpVersion::Http10 || head.headers.iter().any(|(name, _)| is_mark(name))
}

/// By what name a request calls us, if that is one of ours. A target in absolute form counts before the
/// `Host`, and both must be known: what stands between may have looked at either.
///
/// Source: RFC 9112, section 3.2.2.
fn known_host<'a>(settings: &AccessSettings, head: &HeadView<'a>) -> Option<&'a str> {
    let host = head.single("Host")?;
    let called = head.authority.unwrap_or(host);
    let are_known = [host, called].iter().all(|name| knows_host(settings, name));
    are_known.then_some(called)
}

/// Whether a `Host` is a name of ours: by default with any port, since ports get forwarded. A name
/// without one stands for the port that its scheme has.
fn knows_host(settings: &AccessSettings, host: &str) -> bool {
    let Some(name) = host_of(host) else {
        return false;
    };
    let is_it = |known: &String| {
        let usual = [":80", ":443"]
            .iter()
            .find_map(|port| known.strip_suffix(port));
        let spellings = [Some(known.as_str()), usual.filter(|_| name == host)];
        known.eq_ignore_ascii_case(name)
            || spellings
                .iter()
                .flatten()
                .any(|known| known.eq_ignore_ascii_case(host))
    };
    is_loopback(name) || settings.allowed_hosts.iter().any(is_it)
}

/// The name in `name`, `name:port` or `[address]:port`; `None` when the rest is no port.
pub(in crate::http) fn host_of(host: &str) -> Option<&str> {
    let name_end = if host.starts_with('[') {
        host.find(']')? + 1
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, rest) = host.split_at(name_end);
    if rest.is_empty() {
        return Some(name);
    }
    let port = rest.strip_prefix(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_port.then_some(name)
}

/// Whether the page behind a request, if there is one, is allowed, or ours: by one of `schemes`.
fn knows_origin(
    settings: &AccessSettings,
    head: &HeadView<'_>,
    host: &str,
    schemes: &[&str],
) -> bool {
    if allowed_origin(settings, head).is_some() {
        return true;
    }
    let is_ours = |origin: &str| {
        origin.split_once("://").is_some_and(|(scheme, name)| {
            schemes.contains(&scheme) && name.eq_ignore_ascii_case(host)
        })
    };
    let cross_site = |value: &str| value.eq_ignore_ascii_case("cross-site");
    head.all("Origin").all(is_ours) && !head.all("Sec-Fetch-Site").any(cross_site)
}

fn allowed_origin<'a>(settings: &AccessSettings, head: &HeadView<'a>) -> Option<&'a str> {
    let origin = head.single("Origin")?;
    settings
        .allowed_origins
        .iter()
        .any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
        .then_some(origin)
}

#[cfg(test)]
mod tests;
