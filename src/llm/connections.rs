//! Connections to providers that outlive the turn that made them, until somebody else has a use for them.
//!
//! Invariants:
//! - a call is only lent what was made for the same address, key, proxy and trusted authorities;
//! - only what ended its last answer in good order is kept, and nobody's cancel reaches it then.
//!
//! Owned by: `Providers`, behind a lock that is held for a look at the list.
//! Elsewhere: one request over one of them (`call`).

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use ureq::Proxy;

use crate::base::lock::lock;
use crate::base::timer::{Alarm, TimerHandle};
use crate::base::tls::Roots;
use crate::domain::secret::Secret;
use crate::llm::LlmError;
use crate::llm::call::{Connection, Post};
use crate::llm::canceller::Canceller;
use crate::llm::dialect::{DecodedReply, Decoder};
use crate::llm::handover::Handover;

/// Providers close an idle connection after a minute or more.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// As many as talk at once on a small machine. One takes 14 KiB, with TLS 50.
const KEPT_MAX: usize = 32;

/// Lends connections to calls.
pub(super) struct Connections {
    idle_timeout: Duration,
    /// How long one is kept.
    idle_max: Duration,
    /// The longest idle first.
    idle: Mutex<Vec<IdleConnection>>,
    alarm: OnceLock<Alarm>,
}

struct IdleConnection {
    route: Route,
    since: Instant,
    connection: Connection,
}

/// What a connection is used for, and for nothing else.
#[derive(PartialEq, Eq)]
struct Route {
    url: String,
    key: Option<Secret>,
    proxy: Option<Proxy>,
    roots: Roots,
}

impl Connections {
    /// None yet. Calls give up when no byte comes for `idle_timeout`.
    pub(super) fn new(idle_timeout: Duration) -> Connections {
        Connections {
            idle_timeout,
            idle_max: IDLE_MAX,
            idle: Mutex::default(),
            alarm: OnceLock::new(),
        }
    }

    /// Has the timer close what nobody has used for long. Without one, the next call does.
    pub(super) fn set_timer(self: &Arc<Connections>, timer: &TimerHandle) {
        let alarm = timer.alarm();
        let (ringing, all) = (alarm.clone(), Arc::downgrade(self));
        alarm.set_job(move || {
            let next = Weak::upgrade(&all).and_then(|all| all.close_old());
            if let Some(next) = next {
                ringing.ring_within(next);
            }
        });
        drop(self.alarm.set(alarm));
    }

    /// Sends `post` and hands the text of its answer to `sink` as it comes, until `canceller` ends
    /// that.
    pub(super) fn call(
        &self,
        post: Post<'_>,
        decoder: &mut dyn Decoder,
        sink: &mut Handover<'_>,
        canceller: &Canceller,
    ) -> Result<DecodedReply, LlmError> {
        let route = Route {
            url: post.url.to_owned(),
            key: post.key.cloned(),
            proxy: post.proxy.cloned(),
            roots: post.roots.clone(),
        };
        let (bytes, head_bytes) = (post.bytes(), post.head_bytes());
        let kept = self.take(&route, bytes, head_bytes);
        let mut connection = kept
            .unwrap_or_else(|| Connection::new(post.roots, self.idle_timeout, bytes, post.proxy));
        let result = connection.call(post, decoder, sink, canceller);
        if connection.can_be_kept() && !matches!(result, Err(LlmError::Cancelled)) {
            self.keep(route, connection);
        }
        result
    }

    /// One to use again: the last one that was used, as it is the likeliest to be open still.
    fn take(&self, route: &Route, bytes: usize, head_bytes: usize) -> Option<Connection> {
        self.close_old();
        let mut idle = lock(&self.idle);
        let fits =
            |one: &IdleConnection| one.route == *route && one.connection.fits(bytes, head_bytes);
        let index = idle.iter().rposition(fits)?;
        Some(idle.remove(index).connection)
    }

    fn keep(&self, route: Route, connection: Connection) {
        let mut idle = lock(&self.idle);
        let surplus = (idle.len() >= KEPT_MAX).then(|| idle.remove(0));
        idle.push(IdleConnection {
            route,
            since: Instant::now(),
            connection,
        });
        drop(idle);
        // Outside of the lock: it closes a socket.
        drop(surplus);
        if let Some(alarm) = self.alarm.get() {
            alarm.ring_within(self.idle_max);
        }
    }

    /// Closes what was idle for too long; when the next one will have been.
    fn close_old(&self) -> Option<Duration> {
        let mut idle = lock(&self.idle);
        let now = Instant::now();
        let left =
            |one: &IdleConnection| (one.since + self.idle_max).saturating_duration_since(now);
        let old = idle.partition_point(|one| left(one).is_zero());
        let old: Vec<IdleConnection> = idle.drain(..old).collect();
        let next = idle.first().map(left);
        drop(idle);
        drop(old);
        next
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = lock(&self.idle).len();
        f.debug_struct("Connections")
            .field("idle", &idle)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::timer::Timer;

    #[test]
    fn the_timer_closes_what_nobody_uses() {
        let timer = Timer::start(Arc::new(SystemClock)).unwrap();
        let all = Arc::new(Connections {
            idle_max: Duration::from_millis(20),
            ..Connections::new(Duration::from_secs(60))
        });
        all.set_timer(&timer.handle());
        for url in ["http://a.invalid", "http://b.invalid"] {
            let route = Route {
                url: url.to_owned(),
                key: None,
                proxy: None,
                roots: Roots::shared().clone(),
            };
            let connection = Connection::new(&route.roots, all.idle_timeout, 1, None);
            all.keep(route, connection);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while !lock(&all.idle).is_empty() {
            assert!(Instant::now() < deadline, "{all:?}");
            std::thread::yield_now();
        }
    }
}
