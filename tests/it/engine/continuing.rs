//! A reply that breaks off after some words is kept, and gone on with.

use duragent::domain::spec::{AgentSpec, Provider};
use duragent::domain::state::CONTINUE_INSTRUCTION;
use duragent::llm::providers::{ProviderSettings, Providers};

use super::*;
use crate::support::fake_model::Step;

fn anthropic(spec: &mut AgentSpec) {
    spec.model.main.provider = Provider::ANTHROPIC;
}

fn responses(spec: &mut AgentSpec) {
    spec.model.main.name = "gpt-5.6".to_owned();
}

fn ollama(spec: &mut AgentSpec) {
    spec.model.main.provider = Provider::OLLAMA;
}

fn chat(_: &mut AgentSpec) {}

/// Each dialect.
const DIALECTS: [fn(&mut AgentSpec); 4] = [chat, anthropic, responses, ollama];

fn world(adapt: fn(&mut AgentSpec)) -> World {
    World::with(Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: tool("note", repeats),
        adapt,
        ..Setup::default()
    })
}

/// How each reply of a session ended.
fn endings(world: &World, id: &SessionId) -> Vec<FinishReason> {
    let log = world.log(id).into_iter();
    let replies = log.filter_map(|record| Some(record.event.as_reply()?.finish_reason));
    replies.collect()
}

fn notices(items: &[FeedItem]) -> Vec<String> {
    let notices = items.iter().filter_map(|item| match &item.event {
        FeedEvent::Notice { code, message } => Some(format!("{code}: {message}")),
        _ => None,
    });
    notices.collect()
}

/// Half of an answer, which then breaks off.
fn half() -> [Step; 3] {
    [
        text("half of ").and_error(502, "upstream died"),
        text("half of ").and_error(429, "too many"),
        text("half of ").and_cut(),
    ]
}

#[test]
fn a_reply_that_breaks_off_is_gone_on_with_where_it_stops() {
    for adapt in DIALECTS {
        for step in half() {
            let world = world(adapt);
            world.model.reply(step).then(text("the story"));
            let id = world.session();
            let items = read_all(&mut world.say(&id, "tell me"));
            assert_eq!(said(&items), "half of the story");
            assert_eq!(shown(&items).last(), Some(&"done"));
            let [notice] = &notices(&items)[..] else {
                panic!("{items:?}");
            };
            assert!(notice.starts_with("reply_continued: "), "{notice}");
            assert!(notice.ends_with("the reply is gone on with"), "{notice}");
            let asked = world.model.requests();
            assert_eq!(asked.len(), 2);
            assert_eq!(asked[1].last_message(), CONTINUE_INSTRUCTION);
            let messages = asked[1].messages();
            let before = &messages[messages.len() - 2];
            assert_eq!(before["role"], "assistant");
            assert!(
                before["content"].to_string().contains("half of"),
                "{before}"
            );
            assert_eq!(
                endings(&world, &id),
                [FinishReason::Interrupted, FinishReason::Stop]
            );
            let messages = world.sessions.messages(&id, 10, None).unwrap();
            assert_eq!(messages.len(), 2, "one for readers");
            assert_eq!(messages[1].content, "half of the story");
        }
    }
}

#[test]
fn a_provider_that_falls_silent_in_the_middle_is_asked_to_go_on() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let model = FakeModel::start();
    let setup = Setup::default();
    let store = FileStore::new(Arc::new(RealFs), folder.path().to_owned());
    let models = Arc::new(Providers::new(ProviderSettings {
        idle_timeout: Duration::from_secs(1),
        ..ProviderSettings::default()
    }));
    let sessions = start_with(store, models, &model.url(), &setup);
    let world = World {
        sessions,
        model,
        folder,
        setup,
    };
    world
        .model
        .reply(text("half of ").and_stall())
        .then(text("the story"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "tell me"));
    assert_eq!(said(&items), "half of the story");
    assert!(notices(&items)[0].contains("took too long"), "{items:?}");
}

#[test]
fn after_the_fourth_break_in_a_row_the_turn_fails_and_keeps_what_came() {
    for adapt in DIALECTS {
        breaks_four_times(world(adapt));
    }
}

fn breaks_four_times(world: World) {
    world
        .model
        .reply(text("a ").and_cut())
        .then(text("b ").and_error(502, "gone"))
        .then(text("c ").and_cut())
        .then(text("d ").and_error(503, "gone for good"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "tell me"));
    assert_eq!(said(&items), "a b c d ");
    assert_eq!(notices(&items).len(), 3);
    let Some(FeedEvent::Error { code, message }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    assert_eq!(code, "provider_error");
    assert!(message.contains("gone for good"), "{message}");
    assert_eq!(world.model.request_count(), 4);
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages[1].content, "a b c d ");
    // The session can be used on, and counts anew.
    world.model.reply(text("e ").and_cut()).then(text("f"));
    assert_eq!(said(&read_all(&mut world.say(&id, "again"))), "e f");
}

#[test]
fn a_whole_reply_in_between_counts_anew() {
    let world = world(|_| {});
    let model = &world.model;
    for round in ["1", "2"] {
        for _ in 0..3 {
            model.reply(text("well ").and_cut());
        }
        model.reply(text("so ").and_call("note", round));
    }
    model.reply(text("done"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "tell me"));
    assert_eq!(notices(&items).len(), 6);
    assert_eq!(shown(&items).last(), Some(&"done"));
    assert_eq!(world.model.request_count(), 9);
}

#[test]
fn breaks_are_counted_across_a_restart() {
    let world = world(|_| {});
    for word in ["a ", "b ", "c "] {
        world.model.reply(text(word).and_cut());
    }
    world.model.reply(text("d ").and_stall());
    let id = world.session();
    let mut stream = world.say(&id, "tell me");
    read_until(
        &mut stream,
        |event| matches!(event, FeedEvent::Token { content, .. } if content == "d "),
    );
    drop(stream);
    let world = world.restarted();
    world.model.reply(text("e ").and_cut());
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    world.wait_for(&id, is_turn_end);
    assert_eq!(
        endings(&world, &id).last(),
        Some(&FinishReason::Error),
        "it was not gone on with once more"
    );
    let messages = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(messages[1].content, "a b c d e ");
}

#[test]
fn an_error_for_good_ends_the_turn_at_once() {
    let world = world(|_| {});
    world
        .model
        .reply(text("half of ").and_error(400, "this is not to be said"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "tell me"));
    assert_eq!(shown(&items).last(), Some(&"error"));
    assert_eq!(world.model.request_count(), 1);
    assert_eq!(endings(&world, &id), [FinishReason::Error]);
}

fn in_a_hurry(spec: &mut AgentSpec) {
    spec.session.llm_timeout = Duration::from_secs(2);
}

#[test]
fn what_goes_on_with_a_reply_has_no_time_of_its_own() {
    let world = world(in_a_hurry);
    let slow = || {
        text("so far ")
            .and_wait(Duration::from_millis(1_300))
            .and_cut()
    };
    world.model.reply(slow()).then(slow());
    world.model.default_reply(text("done"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "tell me"));
    let Some(FeedEvent::Error { code, message }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    assert_eq!(code, "provider_timeout", "{message}");
    // The next reply has all of it again.
    assert_eq!(said(&read_all(&mut world.say(&id, "and now?"))), "done");
}
