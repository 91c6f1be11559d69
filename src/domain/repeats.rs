//! Calls that a model makes again and again in one turn: folded from its events. Pure.
//!
//! A call repeats the one before it if it names the same tool with the same arguments, however they are
//! written. The third in a row does not run, and the fifth ends the turn; so does going to and fro between
//! two calls for the fourth time. Who waits for something asks again, too: so calls count as a row only while
//! each begins within seconds of the one before and is done in seconds, and asking how work stands never does.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use serde_json::Value;

use crate::domain::event::ToolCall;
use crate::domain::ids::{CallId, Seq};
use crate::domain::time::Timestamp;

/// Who waits longer, or lets a call take longer, is not in a row.
const PAUSE: Duration = Duration::from_secs(5);
/// So many of the same run.
const RUNS_MAX: usize = 2;
/// The one of the same that ends the turn.
const SAME_MAX: usize = 5;
/// The one that ends a turn of two calls in turns: the fourth of the second.
const ALTERNATING_MAX: usize = 8;

/// The last calls of a turn that are in a row, whatever they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentCalls(Vec<RecentCall>);

/// What a call stands for among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// It may run.
    None,
    /// It was done twice already, the second time with the result in this event, if there is one.
    Repeated(Option<Seq>),
    /// The model goes in circles.
    Loop,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RecentCall {
    call_id: CallId,
    key: u64,
    began: Timestamp,
    /// The event with its result.
    result: Option<Seq>,
}

impl RecentCalls {
    /// A call begins to run; one that is run once more after a crash has begun already.
    pub fn begin(&mut self, call: &ToolCall, at: Timestamp) {
        self.push(call, at);
    }

    /// A call has its result, in event `seq`; `took` is how long it ran, if that is known. One that did not
    /// begin is part of the row too.
    pub fn end(&mut self, call: &ToolCall, seq: Seq, at: Timestamp, took: Option<Duration>) {
        self.push(call, at);
        let place = self.0.iter().position(|one| one.call_id == call.call_id);
        let Some(place) = place else { return };
        let one = &mut self.0[place];
        one.result = Some(seq);
        if took.unwrap_or(at.since(one.began)) >= PAUSE {
            self.0.drain(..=place);
        }
    }

    /// What `call` is if it were to begin now.
    pub fn judge(&self, call: &ToolCall, now: Timestamp) -> Repetition {
        if asks_how_work_stands(call) || self.is_over(now) {
            return Repetition::None;
        }
        let key = key(call);
        let mut same = self.0.iter().rev().take_while(|one| one.key == key);
        let count = same.clone().count();
        if count + 1 >= SAME_MAX || self.alternates(key) {
            return Repetition::Loop;
        }
        if count < RUNS_MAX {
            return Repetition::None;
        }
        // Those behind the second are no more than that once more.
        let second = same.nth(count - RUNS_MAX);
        Repetition::Repeated(second.and_then(|one| one.result))
    }

    /// Somebody said something: what is done again after that is not done without a reason.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn push(&mut self, call: &ToolCall, at: Timestamp) {
        if self.0.iter().any(|one| one.call_id == call.call_id) {
            return;
        }
        if asks_how_work_stands(call) || self.is_over(at) {
            self.0.clear();
        }
        if asks_how_work_stands(call) {
            return;
        }
        self.0.push(RecentCall {
            call_id: call.call_id.clone(),
            key: key(call),
            began: at,
            result: None,
        });
        if self.0.len() >= ALTERNATING_MAX {
            self.0.remove(0);
        }
    }

    /// What begins now is not in a row with the last call.
    fn is_over(&self, now: Timestamp) -> bool {
        let last = self.0.last();
        last.is_some_and(|last| now.since(last.began) >= PAUSE)
    }

    /// The calls before one with that key go to and fro, and it goes on with that.
    fn alternates(&self, key: u64) -> bool {
        let mut keys: Vec<u64> = self.0.iter().map(|one| one.key).collect();
        keys.push(key);
        let is_full = keys.len() >= ALTERNATING_MAX;
        is_full && keys[0] != keys[1] && keys.windows(3).all(|three| three[0] == three[2])
    }
}

/// A number for a tool with its arguments, the same however the arguments are written.
pub fn key(call: &ToolCall) -> u64 {
    let mut hasher = DefaultHasher::new();
    call.tool_name.hash(&mut hasher);
    match arguments(call) {
        // Its keys are sorted.
        Some(value) => value.to_string().hash(&mut hasher),
        None => call.arguments.trim().hash(&mut hasher),
    }
    hasher.finish()
}

fn arguments(call: &ToolCall) -> Option<Value> {
    serde_json::from_str(&call.arguments).ok()
}

/// Whether a call looks after what others do, which it may do as often as it likes.
fn asks_how_work_stands(call: &ToolCall) -> bool {
    let is_of_work = matches!(&*call.tool_name, "background_process" | "agent");
    let looks = |arguments: Value| {
        let action = arguments.get("action").and_then(Value::as_str);
        action.is_some_and(|action| matches!(action, "status" | "list" | "log" | "capture"))
    };
    is_of_work && arguments(call).is_some_and(looks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::story::call_id;

    /// A turn in which each call is done a tenth of a second after it began.
    #[derive(Default)]
    struct Row {
        recent: RecentCalls,
        calls: u64,
        tenths: u64,
    }

    fn at(tenths: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000 + tenths * 100_000)
    }

    impl Row {
        fn call(&self, tool: &str, arguments: &str) -> ToolCall {
            ToolCall {
                call_id: call_id(self.calls + 1),
                tool_name: tool.to_owned(),
                arguments: arguments.to_owned(),
                source: None,
            }
        }

        /// Judges a call, and has it run as that says; it takes so many tenths of a second.
        fn does(&mut self, tool: &str, arguments: &str, tenths: u64) -> Repetition {
            let call = self.call(tool, arguments);
            let judged = self.recent.judge(&call, at(self.tenths));
            if judged == Repetition::None {
                self.recent.begin(&call, at(self.tenths));
            }
            self.tenths += tenths;
            self.calls += 1;
            let seq = Seq(100 + self.calls);
            let took = (judged == Repetition::None).then(|| Duration::from_millis(100 * tenths));
            self.recent.end(&call, seq, at(self.tenths), took);
            judged
        }

        fn does_bash(&mut self, command: &str) -> Repetition {
            self.does("bash", &format!("{{\"command\": \"{command}\"}}"), 1)
        }
    }

    #[test]
    fn the_third_of_the_same_does_not_run_and_the_fifth_ends_the_turn() {
        let mut row = Row::default();
        let judged: Vec<_> = (0..6).map(|_| row.does_bash("date +%S")).collect();
        let repeated = Repetition::Repeated(Some(Seq(102)));
        let none = Repetition::None;
        assert_eq!(
            judged[..5],
            [none, none, repeated, repeated, Repetition::Loop]
        );
    }

    #[test]
    fn what_was_refused_twice_has_a_result_too() {
        let mut row = Row::default();
        for n in 1..=2 {
            row.calls = n;
            let call = row.call("bash", "{}");
            row.recent.end(&call, Seq(100 + n), at(n), None);
        }
        row.calls = 3;
        let judged = row.recent.judge(&row.call("bash", "{}"), at(3));
        assert_eq!(judged, Repetition::Repeated(Some(Seq(102))));
    }

    #[test]
    fn arguments_are_the_same_however_they_are_written() {
        let mut row = Row::default();
        row.does("x", r#"{"a": 1, "b": [2, {"c": 3, "d": 4}]}"#, 1);
        row.does("x", r#"{"b":[2,{"d":4,"c":3}],"\u0061":1}"#, 1);
        let third = row.does("x", " {\"b\" : [2, {\"c\": 3, \"d\": 4}], \"a\": 1}\n", 1);
        assert_eq!(third, Repetition::Repeated(Some(Seq(102))));
        assert_eq!(row.does("y", r#"{"a": 1, "b": []}"#, 1), Repetition::None);
        for _ in 0..2 {
            assert_eq!(row.does("y", "no json", 1), Repetition::None);
        }
        assert_eq!(
            row.does("y", "no json ", 1),
            Repetition::Repeated(Some(Seq(106)))
        );
    }

    #[test]
    fn to_and_fro_ends_the_turn_at_the_fourth_time() {
        let mut row = Row::default();
        let mut judged = Vec::new();
        for _ in 0..4 {
            judged.push(row.does_bash("a"));
            judged.push(row.does_bash("b"));
        }
        let (last, before) = judged.split_last().unwrap();
        assert_eq!(*last, Repetition::Loop);
        assert!(before.iter().all(|one| *one == Repetition::None));
        // A third call in between, and it is no to and fro.
        let mut row = Row::default();
        for n in 0..30 {
            let command = ["a", "b", "a", "b", "c"][n % 5];
            assert_eq!(row.does_bash(command), Repetition::None, "{n}");
        }
    }

    #[test]
    fn a_batch_over_a_hundred_records_is_no_loop() {
        let mut row = Row::default();
        for n in 0..100 {
            assert_eq!(row.does_bash(&format!("import {n}")), Repetition::None);
        }
    }

    #[test]
    fn who_waits_is_in_no_row() {
        // It took five seconds, or began so long after the one before.
        let mut row = Row::default();
        for _ in 0..10 {
            assert_eq!(row.does("bash", "{}", 50), Repetition::None);
        }
        let mut row = Row::default();
        for _ in 0..10 {
            assert_eq!(row.does("bash", "{}", 1), Repetition::None);
            row.tenths += 49;
        }
        // One that took long counts no more than one that came long before.
        let mut row = Row::default();
        for tenths in [1, 1, 1, 60, 1, 1] {
            row.does("bash", "{}", tenths);
        }
        assert_ne!(row.does("bash", "{}", 1), Repetition::Loop);
    }

    #[test]
    fn who_asks_how_work_stands_may_ask_on() {
        for tool in ["background_process", "agent"] {
            let mut row = Row::default();
            for action in ["status", "list", "log", "capture"] {
                let arguments = format!("{{\"action\": \"{action}\", \"handle\": \"x\"}}");
                for _ in 0..10 {
                    assert_eq!(row.does(tool, &arguments, 1), Repetition::None);
                }
            }
            let kill = r#"{"action": "kill", "handle": "x"}"#;
            let judged: Vec<_> = (0..5).map(|_| row.does(tool, kill, 1)).collect();
            assert_eq!(judged[4], Repetition::Loop);
        }
        let mut row = Row::default();
        let judged: Vec<_> = (0..5)
            .map(|_| row.does("session", r#"{"action": "list"}"#, 1))
            .collect();
        assert_eq!(judged[4], Repetition::Loop);
    }

    #[test]
    fn a_call_that_runs_once_more_after_a_crash_is_one() {
        let mut row = Row::default();
        row.does_bash("a");
        let call = row.call("bash", "{\"command\": \"a\"}");
        row.recent.begin(&call, at(2));
        row.recent.begin(&call, at(3));
        row.recent.end(&call, Seq(200), at(4), None);
        let next = ToolCall {
            call_id: call_id(99),
            ..call
        };
        assert_eq!(
            row.recent.judge(&next, at(5)),
            Repetition::Repeated(Some(Seq(200)))
        );
        row.recent.clear();
        assert_eq!(row.recent.judge(&next, at(5)), Repetition::None);
    }

    #[test]
    fn a_log_tells_the_row_to_whoever_folds_it() {
        use crate::domain::event::Trigger;
        use crate::domain::story::{self, fold, log, user};
        let asked = |n: u64| {
            [
                story::reply(10 + n, 2, "").asking(&[n]).event(),
                story::runs(n),
                story::result(n, "noon"),
            ]
        };
        let begun = [user(1, "when?"), story::started(1, Trigger::Message)];
        let state = fold(&log(begun.into_iter().chain(asked(1)).chain(asked(2))));
        let turn = state.turn.as_ref().unwrap();
        let now = Timestamp::from_micros(20);
        let judged = turn.recent.judge(&story::tool_call(3), now);
        assert_eq!(judged, Repetition::Repeated(Some(Seq(9))));
        // Somebody has said something that the model has seen since.
        let more = [
            user(2, "again"),
            story::reply(13, 10, "").asking(&[3]).event(),
        ];
        let begun = [user(1, "when?"), story::started(1, Trigger::Message)];
        let state = fold(&log(begun
            .into_iter()
            .chain(asked(1))
            .chain(asked(2))
            .chain(more)));
        let turn = state.turn.as_ref().unwrap();
        assert_eq!(
            turn.recent.judge(&story::tool_call(3), now),
            Repetition::None
        );
    }

    proptest! {
        #[test]
        fn no_more_is_kept_than_is_looked_at(calls in proptest::collection::vec((0u8..3, 0u64..60), 0..40)) {
            let mut row = Row::default();
            for (which, tenths) in calls {
                row.does("bash", &format!("{{\"a\": {which}}}"), tenths);
                prop_assert!(row.recent.0.len() < ALTERNATING_MAX);
            }
        }
    }
}
