//! The rates that Telegram allows: one message a second in a chat with a short burst, twenty a minute
//! in a group, thirty a second in all. An edit counts as a message.
//!
//! A program may keep to them exactly: what is late on the way is not held against it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What one chat takes at once, with one more for what the way made late.
const CHAT_BURST: f64 = 4.0;
const GROUP_MAX: usize = 20;
const GROUP_WINDOW: Duration = Duration::from_millis(59_000);
const ALL_MAX: usize = 30;
const ALL_WINDOW: Duration = Duration::from_millis(900);

/// What came lately, and who has to wait.
#[derive(Debug)]
pub struct Limits {
    are_off: bool,
    chats: BTreeMap<i64, ChatRate>,
    /// When something came, from whatever chat.
    all: VecDeque<Duration>,
}

#[derive(Debug)]
struct ChatRate {
    /// How many messages it would take at once at `filled_at`.
    left: f64,
    filled_at: Duration,
    /// When something came, in a group.
    lately: VecDeque<Duration>,
    /// Until when nothing may come.
    blocked_until: Duration,
}

/// Why a message must wait.
#[derive(Debug, PartialEq, Eq)]
pub enum TooFast {
    /// For so many seconds.
    Wait(u64),
    /// It was told to wait, and came this much too early; so many seconds are left.
    Early(Duration, u64),
}

impl Limits {
    pub fn new() -> Limits {
        Limits {
            are_off: false,
            chats: BTreeMap::new(),
            all: VecDeque::new(),
        }
    }

    pub fn set(&mut self, is_limited: bool) {
        self.are_off = !is_limited;
    }

    /// Nothing may come to a chat for so long.
    pub fn block(&mut self, chat: i64, now: Duration, seconds: u64) {
        let rate = self.chats.entry(chat).or_insert_with(|| ChatRate::new(now));
        rate.blocked_until = now + Duration::from_secs(seconds);
    }

    /// Counts a message to a chat, if it may come now.
    pub fn count(&mut self, chat: i64, is_group: bool, now: Duration) -> Result<(), TooFast> {
        let rate = self.chats.entry(chat).or_insert_with(|| ChatRate::new(now));
        if now < rate.blocked_until {
            let early = rate.blocked_until - now;
            return Err(TooFast::Early(early, seconds(early)));
        }
        if self.are_off {
            return Ok(());
        }
        rate.fill(now);
        forget(&mut rate.lately, now, GROUP_WINDOW);
        forget(&mut self.all, now, ALL_WINDOW);
        let wait = [
            (rate.left < 1.0).then(|| Duration::from_secs_f64(1.0 - rate.left)),
            (is_group && rate.lately.len() >= GROUP_MAX)
                .then(|| rate.lately[0] + GROUP_WINDOW - now),
            (self.all.len() >= ALL_MAX).then(|| self.all[0] + ALL_WINDOW - now),
        ];
        if let Some(wait) = wait.into_iter().flatten().max() {
            let wait = seconds(wait);
            rate.blocked_until = now + Duration::from_secs(wait);
            return Err(TooFast::Wait(wait));
        }
        rate.left -= 1.0;
        rate.lately.push_back(now);
        self.all.push_back(now);
        Ok(())
    }
}

impl ChatRate {
    fn new(now: Duration) -> ChatRate {
        ChatRate {
            left: CHAT_BURST,
            filled_at: now,
            lately: VecDeque::new(),
            blocked_until: Duration::ZERO,
        }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.left = (self.left + passed).min(CHAT_BURST);
        self.filled_at = now;
    }
}

fn forget(times: &mut VecDeque<Duration>, now: Duration, window: Duration) {
    while times.front().is_some_and(|time| *time + window <= now) {
        times.pop_front();
    }
}

/// Whole seconds, as `retry_after` has them.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[test]
fn the_kit_limits_rates_as_telegram_does() {
    let at = Duration::from_millis;
    let mut limits = Limits::new();
    // A chat: a burst, then one a second.
    let burst = (0..4).map(|_| limits.count(1, false, at(0)));
    assert!(burst.into_iter().all(|counted| counted.is_ok()));
    assert_eq!(limits.count(1, false, at(0)), Err(TooFast::Wait(1)));
    // One who was told to wait and does not is told so.
    assert_eq!(
        limits.count(1, false, at(600)),
        Err(TooFast::Early(at(400), 1))
    );
    assert_eq!(limits.count(1, false, at(1_000)), Ok(()));
    // Other chats have their own.
    assert_eq!(limits.count(2, false, at(600)), Ok(()));
    // A group: twenty a minute.
    for n in 0..20 {
        assert_eq!(limits.count(-1, true, at(n * 1_000)), Ok(()), "{n}");
    }
    assert_eq!(limits.count(-1, true, at(20_000)), Err(TooFast::Wait(39)));
    assert_eq!(limits.count(-1, true, at(59_000)), Ok(()));
    // All: thirty a second.
    let mut limits = Limits::new();
    let all: Vec<_> = (0..31)
        .map(|chat| limits.count(chat, false, at(0)))
        .collect();
    assert!(all[..30].iter().all(Result::is_ok));
    assert_eq!(all[30], Err(TooFast::Wait(1)));
    // Told from outside.
    limits.block(50, at(0), 30);
    assert_eq!(
        limits.count(50, false, at(29_000)),
        Err(TooFast::Early(at(1_000), 1))
    );
    limits.set(false);
    assert!((0..100).all(|_| limits.count(50, true, at(30_000)).is_ok()));
}
