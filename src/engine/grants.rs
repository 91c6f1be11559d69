//! Grants: rules that a person has allowed for one session, as its log keeps them.
//!
//! A log can be copied, imported, restored and written by hand. So a grant counts only with a seal that was made
//! with the key of the account which reads it, for this event of this session where it is, and until its time.
//!
//! Elsewhere: which of them are the session's (`domain::state`), in whose turns one counts
//! ([`SessionState::is_turn_of`](crate::domain::state::SessionState::is_turn_of)).

use std::fmt;
use std::time::Duration;

use ring::hmac;
use subtle::ConstantTimeEq as _;

use crate::base::digest::hex;
use crate::domain::event::{Event, SessionGrant};
use crate::domain::ids::{Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::engine::error::EngineError;
use crate::store::{ReadLimit, SessionStore};

/// How long a grant counts at most.
const LIFE: Duration = Duration::from_secs(8 * 3600);
/// By how much a clock may be set back meanwhile: a leap must not make an old grant good again.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Seals grants, and knows its own seals. Without a secret no grant counts. Its `Debug` text hides it.
#[derive(Clone, Default)]
pub struct GrantKey(Option<hmac::Key>);

impl GrantKey {
    /// The key that `secret` stands for; at least 32 characters that nobody can guess.
    pub fn new(secret: &str) -> GrantKey {
        GrantKey(Some(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// The event, to be written as `seq` at `place`, that grants `rule` to whoever the log calls `by`.
    pub(super) fn grant(
        &self,
        place: &GrantPlace,
        seq: Seq,
        rule: String,
        by: Option<String>,
        now: Timestamp,
    ) -> Event {
        let life = u64::try_from(LIFE.as_micros()).unwrap_or(u64::MAX);
        let mut grant = SessionGrant {
            rule,
            until: Timestamp::from_micros(now.as_micros().saturating_add(life)),
            by,
            mac: String::new(),
        };
        grant.mac = self.seal(place, seq, &grant).unwrap_or_default();
        Event::Grant(grant)
    }

    fn seal(&self, place: &GrantPlace, seq: Seq, grant: &SessionGrant) -> Option<String> {
        let (until, rule) = (grant.until.as_micros(), &grant.rule);
        // Nobody is called "owner" in a log, and nobody's text has a line break.
        let by = grant.by.as_deref().unwrap_or("owner");
        let GrantPlace { session, identity } = place;
        let sealed =
            format!("duragent grant 1\n{session}\n{identity}\n{seq}\n{until}\n{by:?}\n{rule}");
        let mac = hmac::sign(self.0.as_ref()?, sealed.as_bytes());
        Some(hex(mac.as_ref()))
    }

    fn counts(&self, place: &GrantPlace, seq: Seq, grant: &SessionGrant, now: Timestamp) -> bool {
        let made = self.seal(place, seq, grant).unwrap_or_default();
        let is_ours = bool::from(made.as_bytes().ct_eq(grant.mac.as_bytes()));
        let left = grant.until.since(now);
        is_ours && !made.is_empty() && left > Duration::ZERO && left <= LIFE + CLOCK_SLACK
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantKey(…)")
    }
}

/// The session that grants are for, told from its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GrantPlace {
    session: SessionId,
    identity: String,
}

impl GrantPlace {
    pub(super) fn of(store: &dyn SessionStore, session: &SessionId) -> GrantPlace {
        GrantPlace {
            session: session.clone(),
            identity: store.identity(session),
        }
    }
}

/// A grant that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingGrant {
    /// Its event, by which it is taken back.
    pub seq: Seq,
    /// What it says.
    pub grant: SessionGrant,
}

/// Those of a session's grants, which are the events `seqs`, that count at `now`.
///
/// Errors: the store's.
pub(super) fn standing(
    store: &dyn SessionStore,
    key: &GrantKey,
    session: &SessionId,
    seqs: &[Seq],
    now: Timestamp,
) -> Result<Vec<StandingGrant>, EngineError> {
    const ONE: ReadLimit = ReadLimit {
        records: 1,
        bytes: 0,
    };
    let place = GrantPlace::of(store, session);
    let mut found = Vec::new();
    for seq in seqs {
        let Some(record) = store.records(session, *seq, ONE)?.into_iter().next() else {
            continue;
        };
        if let Event::Grant(grant) = record.event
            && record.seq == *seq
            && key.counts(&place, *seq, &grant, now)
        {
            found.push(StandingGrant { seq: *seq, grant });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn place(n: u128, identity: &str) -> GrantPlace {
        GrantPlace {
            session: SessionId::mint(1, n),
            identity: identity.to_owned(),
        }
    }

    fn made(key: &GrantKey, session: &GrantPlace) -> SessionGrant {
        let by = Some("token:alice".to_owned());
        let Event::Grant(grant) =
            key.grant(session, Seq(7), "bash:ls".to_owned(), by, now(100_000))
        else {
            panic!("no grant");
        };
        grant
    }

    #[test]
    fn a_grant_counts_as_it_was_made_where_it_was_made() {
        let key = GrantKey::new("secret");
        let (one, two) = (place(1, "7 8"), place(2, "7 8"));
        let grant = made(&key, &one);
        assert!(key.counts(&one, Seq(7), &grant, now(100_000)));
        assert!(!key.counts(&two, Seq(7), &grant, now(100_000)));
        assert!(!key.counts(&place(1, "7 9"), Seq(7), &grant, now(100_000)));
        assert!(!key.counts(&one, Seq(8), &grant, now(100_000)));
        assert!(!GrantKey::new("other").counts(&one, Seq(7), &grant, now(100_000)));
        for spoil in [
            |grant: &mut SessionGrant| grant.rule.push('*'),
            |grant: &mut SessionGrant| grant.until = now(100_001),
            |grant: &mut SessionGrant| grant.by = None,
            |grant: &mut SessionGrant| grant.by = Some("token:bob".to_owned()),
            |grant: &mut SessionGrant| grant.mac.clear(),
        ] {
            let mut other = grant.clone();
            spoil(&mut other);
            assert!(!key.counts(&one, Seq(7), &other, now(100_000)), "{other:?}");
        }
    }

    #[test]
    fn without_a_key_none_counts() {
        let none = GrantKey::default();
        let session = place(1, "");
        let grant = made(&none, &session);
        assert!(!none.counts(&session, Seq(7), &grant, now(100_000)));
    }

    #[test]
    fn a_grant_ends_after_eight_hours_and_before_it_was_made() {
        let key = GrantKey::new("secret");
        let session = place(1, "");
        let grant = made(&key, &session);
        for (at, counts) in [
            (100_000 + 8 * 3600 - 1, true),
            (100_000 + 8 * 3600, false),
            (99_999, true),
            (99_000, false),
        ] {
            assert_eq!(
                key.counts(&session, Seq(7), &grant, now(at)),
                counts,
                "{at}"
            );
        }
    }
}
