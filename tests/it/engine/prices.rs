//! What models cost: counted with each reply, shown, and limited.

use std::time::SystemTime;

use duragent::base::clock::{Clock, FakeClock};
use duragent::domain::event::Usage;
use duragent::domain::prices::{Cost, Price, Prices};
use duragent::domain::spec::{AgentSpec, LimitsSpec};
use duragent::domain::spend::Limit;

use serde_json::json;

use super::*;
use crate::support::fake_model::{Step, raw};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn with_fallback(spec: &mut AgentSpec) {
    let mut other = spec.model.main.clone();
    other.name = "cheap".to_owned();
    spec.model.fallbacks = vec![other];
}

/// A world at noon, where a million tokens cost a thousand, and ten times that when the model says them. The fallback
/// costs a tenth.
fn world(cost_per_day: Option<f64>) -> (World, Arc<FakeClock>) {
    let clock = Arc::new(FakeClock::at(
        SystemTime::UNIX_EPOCH + 20_000 * DAY + DAY / 2,
    ));
    let price = |factor: f64| Price {
        input: 1_000.0 * factor,
        cached: 100.0 * factor,
        output: 10_000.0 * factor,
    };
    let prices = [
        ("openai/*".to_owned(), price(1.0)),
        ("openai/cheap".to_owned(), price(0.1)),
    ];
    let world = World::with(Setup {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        limits: LimitsSpec {
            cost_per_day: cost_per_day.map(Cost::new),
            ..LimitsSpec::default()
        },
        prices: Prices::new(prices.into()),
        on_disconnect: OnDisconnect::Continue,
        tools: tool("deed", repeats),
        adapt: with_fallback,
        ..Setup::default()
    });
    world.model.default_reply(text("yes").usage(1_000, 100));
    (world, clock)
}

fn cost_of(items: &[FeedItem]) -> Option<Cost> {
    let Some(FeedEvent::Done { usage, .. }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    usage.cost
}

#[test]
fn each_reply_has_its_cost_by_the_model_that_answered_and_a_turn_their_sum() {
    let (world, _clock) = world(None);
    world
        .model
        .reply(tool_call("deed", "{}").usage(1_000, 100))
        .then(error(401, "no longer"))
        .then(text("done").usage(1_000, 100));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "go"));
    assert_eq!(cost_of(&items), Some(Cost::new(2.2)));
    let log = world.log(&id).into_iter();
    let used: Vec<Usage> = log
        .filter_map(|record| record.event.as_reply()?.usage)
        .collect();
    let costs: Vec<_> = used.iter().map(|usage| usage.cost).collect();
    assert_eq!(costs, [Some(Cost::new(2.0)), Some(Cost::new(0.2))]);
    let line = serde_json::to_value(used[1]).unwrap();
    assert_eq!(line["cost"], 0.2);
    // As the session shows it, also after a restart.
    let world = world.restarted();
    let shown = world.sessions.show(&id).unwrap();
    assert_eq!(shown.summary.usage.cost, Some(Cost::new(2.2)));
}

#[test]
fn without_prices_nothing_is_said_of_any() {
    let world = World::new();
    let id = world.session();
    assert_eq!(cost_of(&read_all(&mut world.say(&id, "hi"))), None);
    let line = serde_json::to_value(Usage::new(1, 2)).unwrap();
    assert_eq!(line.get("cost"), None);
}

#[test]
fn what_may_be_spent_in_a_day_refuses_messages_until_it_ends() {
    let (world, clock) = world(Some(3.0));
    let (a, b) = (world.session(), world.session());
    read_all(&mut world.say(&a, "hi"));
    // Not all is spent: a message may spend more than is left.
    read_all(&mut world.say(&b, "hi"));
    let refusal = |world: &World| {
        let refused = world.sessions.submit(&a, message("one more"));
        let Err(EngineError::LimitReached {
            reached,
            retry_after,
            ..
        }) = refused
        else {
            panic!("{refused:?}");
        };
        assert_eq!(reached.limit, Limit::CostPerDay);
        assert!(
            reached.to_string().contains("3.00 of this day"),
            "{reached}"
        );
        retry_after
    };
    assert_eq!(refusal(&world), DAY / 2);
    let world = world.restarted();
    assert_eq!(refusal(&world), DAY / 2);
    clock.advance(DAY / 2);
    read_all(&mut world.say(&a, "good morning"));
}

#[test]
fn a_turn_that_spends_the_last_of_it_asks_the_model_no_more() {
    let (world, _clock) = world(Some(2.0));
    world
        .model
        .reply(tool_call("deed", "{}").usage(1_000, 100))
        .then(text("never said"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "go"));
    let Some(FeedEvent::Error { code, message }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    assert_eq!(code, "limit_reached");
    assert!(message.contains("cost_per_day"), "{message}");
    assert_eq!(world.model.request_count(), 1);
}

/// A reply whose provider counts nothing.
fn uncounted(words: &str) -> Step {
    let chunk = json!({"choices": [{"delta": {"content": words}}]});
    raw(
        "text/event-stream",
        format!("data: {chunk}\n\ndata: [DONE]\n\n"),
    )
}

#[test]
fn a_reply_that_nobody_counted_is_estimated_and_says_so() {
    let (world, _clock) = world(Some(3.0));
    world.model.reply(uncounted(&"word ".repeat(400)));
    let id = world.session();
    let items = read_all(&mut world.say(&id, &"word ".repeat(2_000)));
    let Some(FeedEvent::Done { usage, .. }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    // Four bytes a token: 10 kB that it was sent, and 2 kB that it said.
    assert!((2_500..3_500).contains(&usage.prompt_tokens), "{usage:?}");
    assert_eq!((usage.completion_tokens, usage.estimated), (500, true));
    assert!(usage.cost > Some(Cost::new(7.5)), "{usage:?}");
    let refused = world.sessions.submit(&id, message("one more"));
    assert!(
        matches!(refused, Err(EngineError::LimitReached { .. })),
        "{refused:?}"
    );
    let log = world.log(&id);
    let logged = log.iter().find_map(|record| record.event.as_reply()?.usage);
    let line = serde_json::to_value(logged.unwrap()).unwrap();
    assert_eq!(line["estimated"], true);
}

#[test]
fn a_reply_that_breaks_off_is_estimated_and_what_is_counted_is_not() {
    let (world, _clock) = world(None);
    world
        .model
        .reply(text("so far ").and_cut())
        .then(text("and done").usage(1_000, 100));
    let id = world.session();
    read_all(&mut world.say(&id, &"word ".repeat(800)));
    let log = world.log(&id).into_iter();
    let used: Vec<Usage> = log
        .filter_map(|record| record.event.as_reply()?.usage)
        .collect();
    let [broken, whole] = used[..] else {
        panic!("{used:?}");
    };
    assert!(broken.estimated && !whole.estimated, "{used:?}");
    assert!(
        broken.prompt_tokens >= 1_000 && broken.cost >= Some(Cost::new(1.0)),
        "{broken:?}"
    );
    assert_eq!(whole.cost, Some(Cost::new(2.0)));
    let shown = world.sessions.show(&id).unwrap().summary.usage;
    assert!(
        shown.estimated && shown.cost > Some(Cost::new(3.0)),
        "{shown:?}"
    );
}
