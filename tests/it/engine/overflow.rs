//! A conversation that is too long for its model: less of it goes there, or another model is asked.

use duragent::domain::spec::AgentSpec;

use super::*;
use crate::support::fake_model::{Step, raw};

fn with_fallback(spec: &mut AgentSpec) {
    let mut other = spec.model.main.clone();
    other.name = "gpt-long".to_owned();
    spec.model.fallbacks = vec![other];
}

fn world(adapt: fn(&mut AgentSpec)) -> World {
    World::with(Setup {
        on_disconnect: OnDisconnect::Continue,
        adapt,
        ..Setup::default()
    })
}

/// Each way in which a provider says it.
fn refusals() -> Vec<Step> {
    let inside = r#"{"error":{"code":400,"message":"Your input exceeds the context window"}}"#;
    vec![
        error(400, "This model's maximum context length is 4096 tokens."),
        error(413, "whatever it says"),
        error(422, "prompt is too long"),
        error(503, "the request exceeds the available context size"),
        raw("application/json", inside),
        raw("text/event-stream", format!("data: {inside}\n\n")),
    ]
}

/// A few turns of a thousand words each.
fn talk(world: &World, id: &SessionId, turns: usize) {
    for _ in 0..turns {
        world.model.reply(text("yes"));
        read_all(&mut world.say(id, &"word ".repeat(1_000)));
    }
}

fn models(world: &World) -> Vec<String> {
    let asked = world.model.requests().into_iter();
    asked
        .map(|one| one.body["model"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn in_whatever_form_it_is_said_less_is_sent_and_answered() {
    for refusal in refusals() {
        let world = world(|_| {});
        let id = world.session();
        talk(&world, &id, 4);
        world.model.reply(refusal).then(text("short of it"));
        let items = read_all(&mut world.say(&id, "and then?"));
        assert_eq!(said(&items), "short of it", "{items:?}");
        let asked = world.model.requests();
        assert_eq!(asked.len(), 6);
        assert!(asked[5].text.len() * 3 / 2 < asked[4].text.len());
    }
}

#[test]
fn what_was_shortened_in_vain_goes_to_the_fallback() {
    let world = world(with_fallback);
    let id = world.session();
    talk(&world, &id, 4);
    world
        .model
        .reply(error(413, "too large"))
        .then(error(413, "still too large"))
        .then(text("I take it"));
    let items = read_all(&mut world.say(&id, "and then?"));
    assert_eq!(said(&items), "I take it");
    assert_eq!(models(&world)[4..], ["gpt-test", "gpt-test", "gpt-long"]);
    let notices: Vec<_> = items
        .iter()
        .filter_map(|item| match &item.event {
            FeedEvent::Notice { code, message } => Some((code.as_str(), message.as_str())),
            _ => None,
        })
        .collect();
    let codes: Vec<_> = notices.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, ["context_truncated", "fallback", "fallback"]);
    assert_eq!(notices[2].1, "answered by openai/gpt-long");
}

#[test]
fn what_cannot_be_shortened_goes_to_the_fallback_at_once() {
    let world = world(with_fallback);
    let id = world.session();
    world
        .model
        .reply(error(413, "too large"))
        .then(text("I take it"));
    let items = read_all(&mut world.say(&id, &"word ".repeat(1_000)));
    assert_eq!(said(&items), "I take it");
    assert_eq!(models(&world), ["gpt-test", "gpt-long"]);
}

#[test]
fn each_message_that_is_refused_leaves_less_for_the_next() {
    let world = world(|_| {});
    let id = world.session();
    talk(&world, &id, 40);
    let whole = world.model.requests().last().unwrap().text.len();
    world.model.default_reply(error(413, "too large"));
    for _ in 0..3 {
        let items = read_all(&mut world.say(&id, "and then?"));
        assert_eq!(shown(&items).last(), Some(&"error"));
    }
    world.model.reply(text("at last"));
    assert_eq!(said(&read_all(&mut world.say(&id, "and now?"))), "at last");
    let last = world.model.requests().last().unwrap().text.len();
    assert!(last < whole / 10, "{last} of {whole}");
    // Nor is what is said later lost by that.
    world.model.reply(text("yes"));
    read_all(&mut world.say(&id, "fine"));
    let messages = world.model.requests().last().unwrap().messages().to_vec();
    assert!(messages.iter().any(|one| one["content"] == "at last"));
}

#[test]
fn what_the_provider_says_that_it_takes_is_used_at_once_and_by_other_sessions() {
    const REFUSAL: &str = "This model's maximum context length is 4096 tokens. However, your messages resulted in 20000 tokens.";
    let world = world(|spec| spec.session.summary = false);
    let (id, other) = (world.session(), world.session());
    talk(&world, &id, 16);
    talk(&world, &other, 16);
    world
        .model
        .reply(error(400, REFUSAL))
        .then(text("short of it"));
    assert_eq!(
        said(&read_all(&mut world.say(&id, "and then?"))),
        "short of it"
    );
    let sent = |world: &World| world.model.requests().last().unwrap().text.len();
    // By guess it would be half of what was refused.
    assert!(sent(&world) < 4 * 4_096, "{}", sent(&world));
    let before = world.model.request_count();
    world.model.reply(text("me too"));
    assert_eq!(
        said(&read_all(&mut world.say(&other, "and then?"))),
        "me too"
    );
    assert!(sent(&world) < 4 * 4_096, "{}", sent(&world));
    assert_eq!(world.model.request_count(), before + 1);
}

fn with_a_small_fallback(spec: &mut AgentSpec) {
    with_fallback(spec);
    spec.model.fallbacks[0].settings.max_input_tokens = Some(4_000);
}

#[test]
fn a_fallback_that_takes_less_is_sent_what_fits_it() {
    let world = world(with_a_small_fallback);
    let id = world.session();
    talk(&world, &id, 8);
    world
        .model
        .reply(error(401, "no longer"))
        .then(text("I can"))
        .then(text("back again"));
    let items = read_all(&mut world.say(&id, "and then?"));
    assert_eq!(said(&items), "I can");
    let told = items.iter().find_map(|item| match &item.event {
        FeedEvent::Notice { code, message } if code == "fallback" => Some(message.as_str()),
        _ => None,
    });
    assert!(told.unwrap().contains("with the latest"), "{told:?}");
    read_all(&mut world.say(&id, "go on"));
    let asked = world.model.requests();
    let [.., refused, fitted, after] = &asked[..] else {
        panic!("{}", asked.len());
    };
    assert_eq!(models(&world)[9], "gpt-long");
    assert!(refused.text.len() > 2 * fitted.text.len());
    assert!(fitted.text.len() < 4 * 4_000, "{}", fitted.text.len());
    assert_eq!(fitted.last_message(), "and then?");
    // The first model has its history still.
    assert!(after.text.len() > refused.text.len());
}
