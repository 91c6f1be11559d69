//! Tickets: what lets a browser's `EventSource`, which can send no token, watch one session. Pure.
//!
//! A ticket is `1.PRINCIPAL.SECONDS.MAC`: for whom it was made (whoever holds it sees what they may see;
//! the API lets nobody in whose text has a dot), until when it is good (since 1970), and
//! the HMAC-SHA256 of these and of the session, in hexadecimal digits. Nothing of it is kept, so that
//! it is good after a restart too, and wherever the key is known.
//!
//! Invariants:
//! - a ticket opens the stream of its session and nothing else, and only until its time;
//! - neither key nor ticket is in a `Debug` text or a `HttpProblem`, and no handler sees a ticket.
//!
//! Elsewhere: what is asked beside the ticket (`http::access`), where the key is kept
//! (`runtime::ticket_key`).
//!
//! Source: RFC 2104.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::base::digest::hex;
use crate::domain::ids::SessionId;
use crate::domain::principal::Principal;
use crate::domain::time::Timestamp;
use crate::http::query::QueryText;
use crate::http::route::ApiRoute;

/// The name of the parameter.
pub const PARAMETER: &str = "ticket";
/// How long a ticket is good.
pub const LIFE: Duration = Duration::from_secs(15 * 60);
/// By how much a clock may be set back meanwhile. Beyond that a ticket of the future is none: a clock
/// that leaps by a year must not make old tickets good for that year.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Makes tickets, and knows its own. Its `Debug` text hides it.
#[derive(Clone)]
pub struct TicketKey(hmac::Key);

/// A ticket, and until when it is good.
pub struct Ticket {
    /// As it stands in a query, where nothing of it needs an escape.
    pub text: String,
    /// A whole second.
    pub expires_at: Timestamp,
}

/// A ticket that opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTicket {
    /// It was not made with this key for this session.
    #[error("this ticket was not made for this session")]
    Foreign,
    /// It was, and its time is over.
    #[error("this ticket is no longer good: ask for the next one")]
    Expired,
}

impl TicketKey {
    /// The key that `secret` stands for; at least 32 characters that nobody can guess.
    pub fn new(secret: &str) -> TicketKey {
        TicketKey(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// A ticket for the stream of `session`.
    pub fn issue(&self, session: &SessionId, principal: &Principal, now: Timestamp) -> Ticket {
        let seconds = now.as_micros() / 1_000_000 + LIFE.as_secs();
        Ticket {
            text: self.text(session, principal, seconds),
            expires_at: time_of(seconds),
        }
    }

    /// For whom a ticket for `session` was made, if it is good at `now`.
    pub fn check(
        &self,
        session: &SessionId,
        shown: &str,
        now: Timestamp,
    ) -> Result<Principal, BadTicket> {
        let (principal, seconds) = read(shown).ok_or(BadTicket::Foreign)?;
        // There is one way to write a ticket, so the whole text is compared.
        let made = self.text(session, &principal, seconds);
        if !bool::from(made.as_bytes().ct_eq(shown.as_bytes())) {
            return Err(BadTicket::Foreign);
        }
        let left = time_of(seconds).since(now);
        if left > Duration::ZERO && left <= LIFE + CLOCK_SLACK {
            return Ok(principal);
        }
        Err(BadTicket::Expired)
    }

    fn text(&self, session: &SessionId, principal: &Principal, seconds: u64) -> String {
        let signed = format!("duragent ticket 1\n{session}\n{principal}\n{seconds}");
        let mac = hmac::sign(&self.0, signed.as_bytes());
        format!("1.{principal}.{seconds}.{}", hex(mac.as_ref()))
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(…)")
    }
}

fn time_of(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

fn read(text: &str) -> Option<(Principal, u64)> {
    let mut parts = text.strip_prefix("1.")?.split('.');
    let principal = Principal::parse(parts.next()?)?;
    Some((principal, parts.next()?.parse().ok()?))
}

/// The session whose stream is asked for with tickets, and these; `None` for any other request. A
/// ticket counts where it opens something, and is an unknown parameter elsewhere.
pub(in crate::http) fn shown(method: &str, target: &str) -> Option<(SessionId, Vec<String>)> {
    let (path, query) = target.split_once('?')?;
    let Ok(ApiRoute::Events(session)) = ApiRoute::parse(method, path) else {
        return None;
    };
    let tickets = QueryText(query).all(PARAMETER);
    let tickets: Vec<String> = tickets.map(Cow::into_owned).collect();
    (!tickets.is_empty()).then_some((session, tickets))
}

/// The target without any ticket: what no handler sees, no handler can give away.
pub(in crate::http) fn without(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => format!("{path}?{}", QueryText(query).without(PARAMETER)),
        None => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TokenName;

    const ID: &str = "session_01J0000000000000000000000A";

    fn id(text: &str) -> SessionId {
        SessionId::parse(text).unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        time_of(1_700_000_000 + seconds)
    }

    #[test]
    fn a_ticket_is_good_for_its_session_until_its_time() {
        let key = TicketKey::new("k");
        let session = id(ID);
        let ticket = key.issue(&session, &Principal::Owner, at(0));
        assert_eq!(ticket.expires_at, at(900));
        let text = ticket.text;
        for (now, want) in [
            (at(0), Ok(Principal::Owner)),
            (at(899), Ok(Principal::Owner)),
            (at(900), Err(BadTicket::Expired)),
            (at(9000), Err(BadTicket::Expired)),
            // A clock that was set back a little, and one that leapt.
            (time_of(1_700_000_000 - 50), Ok(Principal::Owner)),
            (time_of(1_600_000_000), Err(BadTicket::Expired)),
        ] {
            assert_eq!(key.check(&session, &text, now), want, "{now}");
        }
        let other = id("session_01J0000000000000000000000B");
        let foreign = Err(BadTicket::Foreign);
        assert_eq!(key.check(&other, &text, at(0)), foreign);
        assert_eq!(TicketKey::new("l").check(&session, &text, at(0)), foreign);
    }

    #[test]
    fn a_ticket_is_whose_it_was_made_for() {
        let key = TicketKey::new("k");
        let token = |name: &str| Principal::Token(TokenName::parse(name).unwrap());
        let alice = token("alice");
        let text = key.issue(&id(ID), &alice, at(0)).text;
        assert_eq!(key.check(&id(ID), &text, at(0)), Ok(alice));
        for other in [token("bob"), Principal::Owner] {
            let changed = text.replace("token:alice", &other.to_string());
            let checked = key.check(&id(ID), &changed, at(0));
            assert_eq!(checked, Err(BadTicket::Foreign), "{changed}");
        }
    }

    #[test]
    fn a_ticket_that_was_changed_anywhere_is_none() {
        let key = TicketKey::new("k");
        let text = key.issue(&id(ID), &Principal::Owner, at(0)).text;
        let check = |shown: &str| key.check(&id(ID), shown, at(0));
        assert!(check(&text).is_ok());
        for at in 0..text.len() {
            for with in ["", "0", "1", "a", "A", ".", "\n"] {
                let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
                if changed != text {
                    assert_eq!(check(&changed), Err(BadTicket::Foreign), "{changed}");
                }
            }
        }
        for more in [
            "",
            "1.",
            "1.owner",
            "1.owner.99999999999999999999999.0",
            "owner",
        ] {
            assert_eq!(check(more), Err(BadTicket::Foreign), "{more}");
        }
        assert_eq!(check(&format!("{text}.")), Err(BadTicket::Foreign));
        assert_eq!(check(&format!("{text}0")), Err(BadTicket::Foreign));
    }

    #[test]
    fn a_ticket_counts_at_the_stream_alone_and_goes_no_further() {
        let events = format!("/api/v1/sessions/{ID}/events");
        let tickets = |method: &str, target: &str| shown(method, target).map(|(_, all)| all);
        let one = Some(vec!["t".to_owned()]);
        for (method, target, want) in [
            ("GET", format!("{events}?ticket=t"), one.clone()),
            ("HEAD", format!("{events}?ticket=t"), one.clone()),
            ("GET", format!("{events}?a=b&%74icket=%74&c"), one.clone()),
            (
                "GET",
                format!("{events}?ticket=t&ticket="),
                Some(vec!["t".to_owned(), String::new()]),
            ),
            // What cannot be read is a ticket too, or one that is spoilt would be passed over.
            ("GET", format!("{events}?ticket=t&a=%zz"), one.clone()),
            (
                "GET",
                format!("{events}?ticket=t%"),
                Some(vec!["t%".to_owned()]),
            ),
            ("GET", format!("{events}?a=ticket"), None),
            ("GET", events.clone(), None),
            ("POST", format!("{events}?ticket=t"), None),
            ("OPTIONS", format!("{events}?ticket=t"), None),
            ("GET", format!("{events}/?ticket=t"), None),
            ("GET", format!("/api/v1/sessions/{ID}?ticket=t"), None),
            (
                "GET",
                format!("/api/v1/sessions/{ID}/messages?ticket=t"),
                None,
            ),
            ("GET", "/api/v1/sessions?ticket=t".to_owned(), None),
        ] {
            assert_eq!(tickets(method, &target), want, "{method} {target}");
        }
        for (target, want) in [
            ("/a?ticket=t", "/a?"),
            ("/a?b=1&%74icket=t&c=%20+d&ticket", "/a?b=1&c=%20+d"),
            ("/a?tickets=t", "/a?tickets=t"),
            ("/a?%zz=t&ticket=t", "/a?%zz=t"),
            ("/a", "/a"),
        ] {
            assert_eq!(without(target), want, "{target}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", TicketKey::new("secret")), "TicketKey(…)");
    }
}
