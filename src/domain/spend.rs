//! What an agent has spent of its limits (`spec.limits`). Pure.
//!
//! The windows are the days and the hours of UTC. What counts stands in the log: a reply with its
//! tokens, and the beginning of a turn.

use std::fmt;
use std::sync::Arc;

use crate::domain::event::{AssistantResponse, ContextSummary, Event, Record, Trigger, Usage};
use crate::domain::prices::{Cost, Prices};
use crate::domain::spec::LimitsSpec;
use crate::domain::time::Timestamp;
use crate::domain::window::tokens_of_bytes;

/// Tokens and their cost of the current day, and turns of the current hour, of one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// Days since 1970.
    day: u64,
    tokens: u64,
    cost: Cost,
    /// Hours since 1970.
    hour: u64,
    turns: u64,
    prices: Arc<Prices>,
}

impl Tally {
    /// Nothing was spent in the day and the hour of `now`, and what will be costs nothing.
    pub fn new(now: Timestamp) -> Tally {
        Tally {
            day: now.as_micros() / DAY,
            tokens: 0,
            cost: Cost::ZERO,
            hour: now.as_micros() / HOUR,
            turns: 0,
            prices: Arc::default(),
        }
    }

    /// The same, where it costs something.
    #[must_use]
    pub fn at_prices(self, prices: Arc<Prices>) -> Tally {
        Tally { prices, ..self }
    }

    /// The beginning of the longest window: older records do not count.
    pub fn begin(&self) -> Timestamp {
        Timestamp::from_micros(self.day * DAY)
    }

    /// Begins new windows if `now` is after the current ones; whether one has begun. So it does when
    /// the clock was set back by more than an hour: it would refuse until that time comes again, or
    /// count nothing until then.
    pub fn move_to(&mut self, now: Timestamp) -> bool {
        let new = Tally::new(now);
        if new.hour + 1 < self.hour {
            *self = new.at_prices(Arc::clone(&self.prices));
            return true;
        }
        let moves = new.hour > self.hour;
        if new.day > self.day {
            (self.day, self.tokens, self.cost) = (new.day, 0, Cost::ZERO);
        }
        if new.hour > self.hour {
            (self.hour, self.turns) = (new.hour, 0);
        }
        moves
    }

    /// Counts a record, if it falls into the windows.
    pub fn note(&mut self, record: &Record) {
        let at = Tally::new(record.timestamp);
        if let Some(reply) = record.event.as_reply()
            && at.day == self.day
        {
            self.tokens = self.tokens.saturating_add(tokens_of(reply));
            self.cost = self.cost.plus(self.cost_of(reply));
        }
        if let Event::ContextSummary(summary) = &record.event
            && at.day == self.day
        {
            let usage = usage_of(summary);
            self.tokens = self.tokens.saturating_add(usage.total_tokens);
            let price = || self.prices.of(&summary.model);
            let cost = usage.cost.or_else(|| Some(usage.cost_at(price()?)));
            self.cost = self.cost.plus(cost.unwrap_or(Cost::ZERO));
        }
        if begins_turn(&record.event) && at.hour == self.hour {
            self.turns += 1;
        }
    }

    /// What a reply cost: what stands in the log, else as its tokens cost now.
    fn cost_of(&self, reply: &AssistantResponse) -> Cost {
        let logged = reply.usage.and_then(|usage| usage.cost);
        let price = || self.prices.of(&reply.model);
        logged.unwrap_or_else(|| {
            let usage = reply.usage.unwrap_or(Usage::new(0, tokens_of(reply)));
            price().map_or(Cost::ZERO, |price| usage.cost_at(price))
        })
    }

    /// The limit on what models take in a day, tokens or their cost, if it is reached.
    pub fn day_reached(&self, limits: &LimitsSpec) -> Option<Reached> {
        let tokens = limits.tokens_per_day.filter(|max| self.tokens >= *max);
        let cost = limits.cost_per_day.filter(|max| self.cost >= *max);
        let tokens = tokens.map(|max| (Limit::TokensPerDay, Amount::Count(max)));
        let cost = cost.map(|max| (Limit::CostPerDay, Amount::Cost(max)));
        let (limit, max) = tokens.or(cost)?;
        Some(Reached {
            limit,
            max,
            opens_at: Timestamp::from_micros((self.day + 1) * DAY),
        })
    }

    /// The limit on turns, if it is reached when `expected` turns more are sure to begin.
    pub fn turns_reached(&self, limits: &LimitsSpec, expected: usize) -> Option<Reached> {
        let turns = self.turns.saturating_add(expected as u64);
        let max = limits.turns_per_hour.filter(|max| turns >= *max)?;
        Some(Reached {
            limit: Limit::TurnsPerHour,
            max: Amount::Count(max),
            opens_at: Timestamp::from_micros((self.hour + 1) * HOUR),
        })
    }
}

/// The event uses something up in some window; of all others the ledger need not know.
pub fn counts(event: &Event) -> bool {
    matches!(
        event,
        Event::AssistantResponse(_) | Event::ContextSummary(_)
    ) || begins_turn(event)
}

/// A limit that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub limit: Limit,
    /// How much it allows.
    pub max: Amount,
    /// When the next window begins.
    pub opens_at: Timestamp,
}

/// How much a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Count(u64),
    /// So much, in the owner's currency.
    Cost(Cost),
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Count(count) => count.fmt(f),
            Amount::Cost(cost) => cost.fmt(f),
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spent = match self.limit {
            Limit::TokensPerDay => "tokens of this day",
            Limit::CostPerDay => "of this day",
            Limit::TurnsPerHour => "turns of this hour",
        };
        let (max, limit) = (self.max, self.limit.key());
        let opens_at = self.opens_at.to_string().replace(".000000", "");
        write!(
            f,
            "has spent its {max} {spent} (`{limit}`); it goes on at {opens_at}"
        )
    }
}

/// One of the limits in `spec.limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Tokens of models, in a day.
    TokensPerDay,
    /// What those cost, in a day.
    CostPerDay,
    /// Turns begun, in an hour.
    TurnsPerHour,
}

impl Limit {
    /// Its key in an agent's file.
    pub fn key(self) -> &'static str {
        match self {
            Limit::TokensPerDay => "spec.limits.tokens_per_day",
            Limit::CostPerDay => "spec.limits.cost_per_day",
            Limit::TurnsPerHour => "spec.limits.turns_per_hour",
        }
    }
}

/// In microseconds.
const HOUR: u64 = 3_600_000_000;
const DAY: u64 = 24 * HOUR;

/// What a reply cost, as its provider counted. Where it did not, because the reply was cut off or
/// because it never does, the reply itself is estimated; its prompt is not known.
fn tokens_of(reply: &AssistantResponse) -> u64 {
    match reply.usage {
        Some(usage) => usage.total_tokens,
        None => {
            let calls = reply.tool_calls.iter().map(|call| call.arguments.len());
            tokens_of_bytes(reply.content.len() + calls.sum::<usize>())
        }
    }
}

/// The same of a summary.
fn usage_of(summary: &ContextSummary) -> Usage {
    let text = summary.text.as_deref().unwrap_or_default();
    let estimate = || Usage::new(0, tokens_of_bytes(text.len()));
    summary.usage.unwrap_or_else(estimate)
}

/// One that is tried once more does not begin again.
fn begins_turn(event: &Event) -> bool {
    match event {
        Event::TurnStarted { trigger, .. } => match trigger {
            Trigger::Message | Trigger::Other => true,
            Trigger::Resume | Trigger::Restart => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        Timestamp::parse(&format!("2026-05-01T{time}Z")).unwrap()
    }

    fn record(time: &str, event: &str) -> Record {
        let line = format!(r#"{{"seq":9,"timestamp":"2026-05-01T{time}Z",{event}}}"#);
        Record::parse(line.as_bytes()).unwrap()
    }

    fn turn(time: &str, trigger: &str) -> Record {
        record(
            time,
            &format!(
                r#""type":"turn_started","turn_id":"turn_01J0000000000000000000000A","trigger":"{trigger}""#
            ),
        )
    }

    fn reply(time: &str, usage: Option<u64>) -> Record {
        let mut reply = record(
            time,
            r#""type":"assistant_response","turn_id":"turn_01J0000000000000000000000A","message_id":"msg_01J0000000000000000000000A","agent":"a","model":"m","input_seq":1,"content":"123456789","finish_reason":"stop","tool_calls":[{"call_id":"c","tool_name":"t","arguments":"{ }"}]"#,
        );
        if let Event::AssistantResponse(reply) = &mut reply.event {
            std::sync::Arc::make_mut(reply).usage = usage.map(|tokens| Usage::new(tokens, 0));
        }
        reply
    }

    #[test]
    fn a_clock_that_is_set_back_neither_refuses_for_years_nor_stops_counting() {
        let late = Timestamp::parse("2038-01-01T00:00:00Z").unwrap();
        let mut tally = Tally::new(late);
        assert!(tally.move_to(at("10:00:00")));
        tally.note(&turn("10:30:00", "message"));
        let limits = LimitsSpec {
            turns_per_hour: Some(1),
            tokens_per_day: None,
            reply_bytes: None,
            cost_per_day: None,
        };
        assert!(tally.turns_reached(&limits, 0).is_some());
    }

    #[test]
    fn replies_count_in_their_day_and_turns_in_their_hour() {
        let mut tally = Tally::new(at("10:30:00"));
        for record in [
            turn("09:59:59", "message"),
            turn("10:00:00", "message"),
            turn("10:30:00", "a_newer_one"),
            turn("10:31:00", "resume"),
            turn("10:32:00", "restart"),
            turn("11:00:00", "message"),
            reply("00:00:00", Some(100)),
            reply("10:30:00", Some(20)),
            // Twelve bytes.
            reply("10:30:00", None),
            record("10:30:00", r#""type":"error","code":"x","message":"x""#),
        ] {
            tally.note(&record);
        }
        assert_eq!((tally.turns, tally.tokens), (2, 123));
        let mut tomorrow = reply("23:59:59", Some(1000));
        tomorrow.timestamp = Timestamp::parse("2026-05-02T00:00:00Z").unwrap();
        tally.note(&tomorrow);
        assert_eq!(tally.tokens, 123);
        assert_eq!(tally.begin(), at("00:00:00"));
    }

    #[test]
    fn a_cost_is_counted_as_it_was_logged_or_as_it_is_priced_now() {
        let price = crate::domain::prices::Price {
            input: 1_000_000.0,
            cached: 0.0,
            output: 2_000_000.0,
        };
        let prices = Prices::new([("m".to_owned(), price)].into());
        let mut tally = Tally::new(at("10:30:00")).at_prices(Arc::new(prices));
        // Ten tokens that it was sent, at one each.
        tally.note(&reply("10:30:00", Some(10)));
        // Twelve bytes, at two a token.
        tally.note(&reply("10:30:00", None));
        assert_eq!(tally.cost, Cost::new(16.0));
        let mut logged = reply("10:30:00", Some(10));
        if let Event::AssistantResponse(reply) = &mut logged.event {
            let usage = &mut Arc::make_mut(reply).usage;
            *usage = usage.map(|usage| Usage {
                cost: Some(Cost::new(0.5)),
                ..usage
            });
        }
        tally.note(&logged);
        assert_eq!(tally.cost, Cost::new(16.5));
        let limits = |cost| LimitsSpec {
            cost_per_day: Some(Cost::new(cost)),
            ..LimitsSpec::default()
        };
        assert_eq!(tally.day_reached(&limits(16.6)), None);
        let reached = tally.day_reached(&limits(16.5)).unwrap();
        assert_eq!(
            reached.to_string(),
            "has spent its 16.50 of this day (`spec.limits.cost_per_day`); it goes on at \
             2026-05-02T00:00:00Z"
        );
        assert!(tally.move_to(Timestamp::parse("2026-05-02T00:00:00Z").unwrap()));
        assert_eq!(tally.cost, Cost::ZERO);
    }

    #[test]
    fn windows_begin_anew_and_never_go_back() {
        let mut tally = Tally::new(at("10:30:00"));
        tally.note(&turn("10:30:00", "message"));
        tally.note(&reply("10:30:00", Some(5)));
        assert!(!tally.move_to(at("09:00:00")));
        assert!(!tally.move_to(at("10:59:59")));
        assert_eq!((tally.turns, tally.tokens), (1, 5));
        assert!(tally.move_to(at("11:00:00")));
        assert_eq!((tally.turns, tally.tokens), (0, 5));
        assert!(tally.move_to(Timestamp::parse("2026-05-02T00:00:00Z").unwrap()));
        assert_eq!((tally.turns, tally.tokens), (0, 0));
    }

    #[test]
    fn a_limit_is_reached_by_what_was_spent_and_says_until_when() {
        let mut tally = Tally::new(at("10:30:00"));
        tally.note(&turn("10:30:00", "message"));
        tally.note(&reply("10:30:00", Some(99)));
        let limits = |tokens, turns| LimitsSpec {
            tokens_per_day: tokens,
            turns_per_hour: turns,
            reply_bytes: None,
            cost_per_day: None,
        };
        assert_eq!(tally.day_reached(&limits(None, Some(1))), None);
        assert_eq!(tally.day_reached(&limits(Some(100), None)), None);
        let tokens = tally.day_reached(&limits(Some(99), None)).unwrap();
        assert_eq!(
            tokens.to_string(),
            "has spent its 99 tokens of this day (`spec.limits.tokens_per_day`); it goes on at \
             2026-05-02T00:00:00Z"
        );
        assert_eq!(tally.turns_reached(&limits(Some(1), None), 5), None);
        assert_eq!(tally.turns_reached(&limits(None, Some(3)), 1), None);
        let turns = tally.turns_reached(&limits(None, Some(3)), 2).unwrap();
        assert_eq!(
            turns.to_string(),
            "has spent its 3 turns of this hour (`spec.limits.turns_per_hour`); it goes on at \
             2026-05-01T11:00:00Z"
        );
    }
}
