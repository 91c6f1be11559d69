//! How fast a platform may be sent to: whether a message may go now, or not before when. Pure.
//!
//! Counted is what is sent: messages and edits, to a chat in all of its threads. A text that still grows uses what
//! is left: it is sent in steps that lengthen with what its chat was sent lately, so that there is always room for
//! its end, a question, or another message.
//!
//! Invariants:
//! - whoever asks before each message and counts it never exceeds a limit;
//! - before a platform's own word has passed (`retry_after`), nothing goes to that chat; when it gives that to
//!   several chats at once, to no chat;
//! - at the time that it answers, it says yes, if nothing was sent meanwhile;
//! - chats that are quiet take no memory.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::gateway::outlet::RateLimits;

/// In which a group's messages are counted: a minute, and what one of them may be late on its way.
const GROUP_WINDOW: Duration = Duration::from_secs(61);

/// In which those to all chats are counted.
const ALL_WINDOW: Duration = Duration::from_secs(1);

/// Of a group's messages so many are kept for what is not growing.
const GROUP_RESERVE: usize = 4;

/// A second chat that is told to wait within so long means all of them.
const SAME_TROUBLE: Duration = Duration::from_secs(1);

/// So many chats are looked through for quiet ones before there may be more.
const CHATS_MIN: usize = 64;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitedChat<'a> {
    /// Its id.
    pub chat_id: &'a str,
    /// It has more than one person in it.
    pub is_group: bool,
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendUrgency {
    /// It shows a little more of a text that is still being written.
    Growing,
    /// It is waited for: a text's end, a question, a new message.
    Waited,
}

/// Keeps to the limits of a platform.
#[derive(Debug)]
pub struct SendLimiter {
    rates: Option<RateLimits>,
    chats: HashMap<String, ChatPace>,
    all: VecDeque<Instant>,
    rests_until: Option<Instant>,
    /// Which chat was told to wait last, and when.
    last_told: Option<(String, Instant)>,
    looks_at: usize,
}

/// What a chat was sent.
#[derive(Debug, Default)]
struct ChatPace {
    /// When its burst is whole again.
    whole_at: Option<Instant>,
    /// The times of what it was sent lately; of a person's chat the last one.
    lately: VecDeque<Instant>,
    rests_until: Option<Instant>,
}

impl SendLimiter {
    /// Of a platform without `rates` only its own word counts.
    pub fn new(rates: Option<RateLimits>) -> SendLimiter {
        SendLimiter {
            rates,
            chats: HashMap::new(),
            all: VecDeque::new(),
            rests_until: None,
            last_told: None,
            looks_at: CHATS_MIN,
        }
    }

    /// When a message may go: `None` is now.
    pub fn not_before(
        &self,
        chat: LimitedChat<'_>,
        urgency: SendUrgency,
        now: Instant,
    ) -> Option<Instant> {
        let known = self.chats.get(chat.chat_id);
        let mut times = vec![self.rests_until, known.and_then(|pace| pace.rests_until)];
        if let Some(rates) = &self.rates {
            times.push(self.room_in_all(rates, urgency));
            if let Some(pace) = known {
                times.push(pace.room(rates, urgency));
                if chat.is_group {
                    times.push(pace.room_in_group(rates, urgency, now));
                }
            }
        }
        times.into_iter().flatten().max().filter(|time| *time > now)
    }

    /// A message goes now.
    pub fn count(&mut self, chat: LimitedChat<'_>, now: Instant) {
        let Some(rates) = self.rates else { return };
        self.forget(now);
        let all_max = count_of(rates.all_per_second);
        self.all.push_back(now);
        keep_last(&mut self.all, all_max);
        let pace = self.chats.entry(chat.chat_id.to_owned()).or_default();
        let whole_at = pace.whole_at.map_or(now, |whole_at| whole_at.max(now));
        pace.whole_at = Some(whole_at + rates.chat_every);
        pace.lately.push_back(now);
        let kept = if chat.is_group {
            count_of(rates.group_per_minute)
        } else {
            1
        };
        keep_last(&mut pace.lately, kept);
    }

    /// The platform said that a chat is not to be sent to for so long.
    pub fn told_to_wait(&mut self, chat_id: &str, wait: Duration, now: Instant) {
        // A wait that no clock can tell is none.
        let Some(until) = now.checked_add(wait) else {
            return;
        };
        self.forget(now);
        let pace = self.chats.entry(chat_id.to_owned()).or_default();
        pace.rests_until = pace.rests_until.max(Some(until));
        let is_another = |(told, at): &(String, Instant)| {
            told != chat_id && now.saturating_duration_since(*at) <= SAME_TROUBLE
        };
        if self.last_told.as_ref().is_some_and(is_another) {
            self.rests_until = self.rests_until.max(Some(until));
        }
        self.last_told = Some((chat_id.to_owned(), now));
    }

    /// Texts that grow leave a third of what goes to all chats.
    fn room_in_all(&self, rates: &RateLimits, urgency: SendUrgency) -> Option<Instant> {
        let most = count_of(rates.all_per_second);
        let most = match urgency {
            SendUrgency::Growing => most - most / 3,
            SendUrgency::Waited => most,
        };
        window_end(&self.all, most, ALL_WINDOW)
    }

    /// Forgets who is quiet, now and then: each time there are twice as many as were left the last time.
    fn forget(&mut self, now: Instant) {
        if self.chats.len() < self.looks_at {
            return;
        }
        self.chats.retain(|_, pace| {
            let last = pace.lately.back().map(|last| *last + GROUP_WINDOW);
            [last, pace.whole_at, pace.rests_until]
                .into_iter()
                .flatten()
                .any(|time| time > now)
        });
        self.looks_at = CHATS_MIN.max(self.chats.len() * 2);
    }
}

impl ChatPace {
    /// When the chat takes another. What grows leaves the burst to others.
    fn room(&self, rates: &RateLimits, urgency: SendUrgency) -> Option<Instant> {
        let at_once = rates.chat_burst.saturating_sub(1);
        match urgency {
            SendUrgency::Growing => self.whole_at,
            SendUrgency::Waited => self.whole_at?.checked_sub(rates.chat_every * at_once),
        }
    }

    /// As [`room`](ChatPace::room), for a group. The more it was sent in the last minute, the longer are the
    /// steps of what grows: from as in any chat up to so much that the minute is never full.
    fn room_in_group(
        &self,
        rates: &RateLimits,
        urgency: SendUrgency,
        now: Instant,
    ) -> Option<Instant> {
        let most = count_of(rates.group_per_minute);
        if urgency == SendUrgency::Waited {
            return window_end(&self.lately, most, GROUP_WINDOW);
        }
        let is_counted = |time: &&Instant| **time + GROUP_WINDOW > now;
        let lately = self.lately.iter().filter(is_counted).count();
        let steps = u32::try_from(1 + lately * 5 / most).unwrap_or(u32::MAX);
        let step = self
            .lately
            .back()
            .map(|last| *last + rates.chat_every * steps);
        let left = most.saturating_sub(GROUP_RESERVE).max(1);
        step.max(window_end(&self.lately, left, GROUP_WINDOW))
    }
}

/// At least one.
fn count_of(limit: u32) -> usize {
    usize::try_from(limit.max(1)).unwrap_or(usize::MAX)
}

/// When fewer than `most` of these times are within the window.
fn window_end(times: &VecDeque<Instant>, most: usize, window: Duration) -> Option<Instant> {
    let index = times.len().checked_sub(most)?;
    Some(*times.get(index)? + window)
}

fn keep_last(times: &mut VecDeque<Instant>, most: usize) {
    while times.len() > most {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TELEGRAM: RateLimits = RateLimits {
        chat_every: Duration::from_secs(1),
        chat_burst: 3,
        group_per_minute: 20,
        all_per_second: 30,
    };

    const ANN: LimitedChat<'static> = LimitedChat {
        chat_id: "1",
        is_group: false,
    };
    const GROUP: LimitedChat<'static> = LimitedChat {
        chat_id: "-2",
        is_group: true,
    };

    /// A limiter, and a time in tenths of a second.
    struct Clock {
        limiter: SendLimiter,
        begin: Instant,
    }

    impl Clock {
        fn new() -> Clock {
            Clock {
                limiter: SendLimiter::new(Some(TELEGRAM)),
                begin: Instant::now(),
            }
        }

        fn at(&self, tenths: u64) -> Instant {
            self.begin + Duration::from_millis(tenths * 100)
        }

        /// After how many tenths of the beginning it may go.
        fn asks(&self, chat: LimitedChat<'_>, urgency: SendUrgency, tenths: u64) -> u64 {
            let time = self.limiter.not_before(chat, urgency, self.at(tenths));
            let tenths_of = |time: Instant| (time - self.begin).as_millis() / 100;
            time.map_or(tenths, |time| u64::try_from(tenths_of(time)).unwrap())
        }

        fn sends(&mut self, chat: LimitedChat<'_>, urgency: SendUrgency, tenths: u64) -> bool {
            let may = self.asks(chat, urgency, tenths) == tenths;
            if may {
                self.limiter.count(chat, self.at(tenths));
            }
            may
        }
    }

    use SendUrgency::{Growing, Waited};

    #[test]
    fn a_chat_takes_a_short_burst_and_then_one_a_second() {
        let mut clock = Clock::new();
        let sent: Vec<u64> = (0..40)
            .filter(|tenth| clock.sends(ANN, Waited, *tenth))
            .collect();
        assert_eq!(sent, [0, 1, 2, 10, 20, 30]);
        assert_eq!(
            clock.asks(
                LimitedChat {
                    chat_id: "3",
                    ..ANN
                },
                Waited,
                39
            ),
            39,
            "another chat"
        );
    }

    #[test]
    fn a_text_that_grows_leaves_the_burst_to_its_end() {
        let mut clock = Clock::new();
        let sent: Vec<u64> = (0..31)
            .filter(|tenth| clock.sends(ANN, Growing, *tenth))
            .collect();
        assert_eq!(sent, [0, 10, 20, 30]);
        assert!(clock.sends(ANN, Waited, 31));
        assert!(clock.sends(ANN, Waited, 32));
        assert_eq!(clock.asks(ANN, Waited, 33), 40);
    }

    #[test]
    fn streams_in_a_group_stay_below_its_minute_and_their_ends_are_not_late() {
        let mut clock = Clock::new();
        let mut sent = Vec::new();
        for stream in 0..4 {
            let begin = stream * 450;
            assert!(clock.sends(GROUP, Waited, begin), "a message begins");
            sent.push(begin);
            let edits =
                (begin + 1..begin + 400).filter(|tenth| clock.sends(GROUP, Growing, *tenth));
            sent.extend(edits.collect::<Vec<_>>());
            for last in [begin + 400, begin + 401] {
                assert!(clock.sends(GROUP, Waited, last), "its end, and a question");
                sent.push(last);
            }
        }
        for (index, time) in sent.iter().enumerate() {
            let minute = sent[index..]
                .iter()
                .take_while(|later| **later < time + 600);
            assert!(minute.count() <= 20);
        }
        assert!(
            sent.iter().filter(|time| **time < 400).count() >= 14,
            "it is seen to grow: {sent:?}"
        );
        assert_eq!(sent[..4], [0, 10, 20, 30], "at first as anywhere");
        let steps = sent[..17].windows(2).map(|two| two[1] - two[0]);
        assert!(steps.max() <= Some(50), "and never stands still: {sent:?}");
    }

    #[test]
    fn what_grows_leaves_room_in_a_busy_group() {
        let mut clock = Clock::new();
        let sent = (0..170).filter(|tenth| clock.sends(GROUP, Waited, *tenth));
        assert_eq!(sent.take(16).count(), 16);
        assert_eq!(clock.asks(GROUP, Growing, 200), 610);
        assert_eq!(clock.asks(GROUP, Waited, 200), 200);
    }

    #[test]
    fn a_group_takes_twenty_a_minute_in_all() {
        let mut clock = Clock::new();
        let sent: Vec<u64> = (0..800)
            .filter(|tenth| clock.sends(GROUP, Waited, *tenth))
            .collect();
        assert_eq!(sent[..5], [0, 1, 2, 10, 20]);
        assert_eq!(
            sent[19..22],
            [170, 610, 611],
            "and what was late on its way"
        );
    }

    #[test]
    fn all_chats_together_take_thirty_a_second_and_what_grows_leaves_a_third() {
        let mut clock = Clock::new();
        let ids: Vec<String> = (0..60).map(|id| id.to_string()).collect();
        let chat = |id: usize| LimitedChat {
            chat_id: &ids[id],
            is_group: false,
        };
        assert_eq!(
            (0..30)
                .filter(|id| clock.sends(chat(*id), Growing, 0))
                .count(),
            20
        );
        assert_eq!(
            (30..60)
                .filter(|id| clock.sends(chat(*id), Waited, 1))
                .count(),
            10
        );
        assert_eq!(clock.asks(chat(59), Waited, 2), 10);
        assert_eq!(clock.asks(chat(59), Growing, 2), 10);
    }

    #[test]
    fn nothing_goes_before_the_platform_said_so() {
        for rates in [Some(TELEGRAM), None] {
            let mut clock = Clock {
                limiter: SendLimiter::new(rates),
                ..Clock::new()
            };
            let second = Duration::from_secs(1);
            clock
                .limiter
                .told_to_wait(ANN.chat_id, second * 30, clock.at(0));
            clock
                .limiter
                .told_to_wait(ANN.chat_id, second * 5, clock.at(1));
            assert_eq!(clock.asks(ANN, Waited, 299), 300);
            assert_eq!(clock.asks(GROUP, Waited, 1), 1, "others go on");
            clock
                .limiter
                .told_to_wait(GROUP.chat_id, second * 7, clock.at(5));
            let other = LimitedChat {
                chat_id: "3",
                is_group: false,
            };
            assert_eq!(
                clock.asks(other, Waited, 6),
                75,
                "two of them are all of them"
            );
            clock
                .limiter
                .told_to_wait("4", Duration::MAX, clock.at(100));
            assert_eq!(clock.asks(other, Waited, 100), 100);
        }
    }

    #[test]
    fn quiet_chats_are_forgotten() {
        let mut clock = Clock::new();
        for tenth in 0..20_000 {
            let id = tenth.to_string();
            clock.limiter.count(
                LimitedChat {
                    chat_id: &id,
                    is_group: tenth % 2 == 0,
                },
                clock.at(tenth),
            );
        }
        assert!(
            clock.limiter.chats.len() < 2_000,
            "{}",
            clock.limiter.chats.len()
        );
        assert!(clock.limiter.all.len() <= 30);
    }

    proptest! {
        #[test]
        fn no_limit_is_exceeded_and_the_time_that_is_told_is_the_right_one(
            tries in prop::collection::vec((0..6usize, any::<bool>(), 0..12u64), 1..600),
        ) {
            let mut clock = Clock::new();
            let mut sent = Vec::new();
            let mut now = 0;
            for (chat, is_growing, pause) in tries {
                now += pause;
                let id = chat.to_string();
                let chat = LimitedChat { chat_id: &id, is_group: chat % 2 == 0 };
                let urgency = if is_growing { Growing } else { Waited };
                let told = clock.asks(chat, urgency, now);
                prop_assert_eq!(clock.asks(chat, urgency, told), told);
                if !is_growing && told > now {
                    prop_assert!(clock.asks(chat, urgency, told - 1) >= told);
                }
                if clock.sends(chat, urgency, now) {
                    sent.push((id, now));
                }
            }
            for (index, (id, time)) in sent.iter().enumerate() {
                let within = |tenths: u64| sent[index..].iter().take_while(move |(_, at)| *at < time + tenths);
                let same = |tenths: u64| within(tenths).filter(|(other, _)| other == id).count();
                prop_assert!(within(10).count() <= 30);
                prop_assert!(same(600) <= 20 || id.parse::<usize>().unwrap() % 2 == 1);
                for seconds in 1..10 {
                    prop_assert!(same(seconds * 10) <= 2 + usize::try_from(seconds).unwrap());
                }
            }
        }
    }
}
