//! Secrets on the ways that only tools take, and at a stop.

use duragent::domain::redact::Redactor;
use duragent::domain::spec::LimitsSpec;
use duragent::engine::Overheard;

use super::*;

const KEY: &str = "sk-abcdefghij";

fn world(setup: Setup) -> World {
    let secret = ("A_KEY".to_owned(), KEY.to_owned());
    World::with(Setup {
        redactor: Arc::new(Redactor::new([secret])),
        ..setup
    })
}

fn assert_clean(world: &World, id: &SessionId) {
    let log = format!("{:?}", world.log(id));
    assert!(!log.contains(KEY), "{log}");
}

#[test]
fn a_tool_runs_with_what_was_stored_and_its_output_is_covered() {
    let world = world(Setup {
        tools: tool("reveal", |arguments| ToolOutput {
            success: !arguments.contains(KEY),
            content: format!("{arguments} is {KEY}"),
        }),
        ..Setup::default()
    });
    world
        .model
        .reply(tool_call("reveal", &format!("{{\"what\":\"{KEY}\"}}")))
        .then(text("so it is"));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "what is it?"));
    assert!(!format!("{items:?}").contains(KEY));
    let found = world.wait_for(&id, |event| matches!(event, Event::ToolResult { .. }));
    let Event::ToolResult { result, .. } = found.event else {
        unreachable!("it was asked for");
    };
    let expected = ToolOutput {
        success: true,
        content: r#"{"what":"[redacted:A_KEY]"} is [redacted:A_KEY]"#.to_owned(),
    };
    assert_eq!(result, expected);
    assert_clean(&world, &id);
    assert!(!world.model.requests()[1].body.to_string().contains(KEY));
}

#[test]
fn a_command_that_is_asked_about_is_shown_without_the_secret_and_allowed_as_shown() {
    let world = world(Setup {
        tools: tool("deed", repeats),
        policy: Arc::new(AskAlways),
        ..Setup::default()
    });
    world
        .model
        .reply(tool_call("deed", &format!("{{\"with\":\"{KEY}\"}}")))
        .then(text("done"));
    let id = world.session();
    let mut stream = world.say(&id, "do it");
    read_until(&mut stream, is_question);
    let asked = world.sessions.show(&id).unwrap().pending_approval.unwrap();
    assert!(asked.command.contains("[redacted:A_KEY]"), "{asked:?}");
    world
        .sessions
        .approve(
            &id,
            asked.call_id.as_str(),
            &asked.command,
            Decision::AllowOnce,
            &sender(KEY),
        )
        .unwrap();
    world.wait_for(&id, |event| matches!(event, Event::TurnEnded { .. }));
    assert_clean(&world, &id);
}

#[test]
fn a_secret_that_a_stop_cuts_in_two_does_not_come_together_again() {
    let world = world(Setup {
        on_disconnect: OnDisconnect::Continue,
        ..Setup::default()
    });
    world
        .model
        .reply(pieces(&["it is sk-abcde"]).and_stall())
        // As a model does: it goes on where its words end.
        .then(pieces(&["sk-abcdefghij", "."]));
    let id = world.session();
    let mut stream = world.say(&id, "what is it?");
    read_until(&mut stream, |event| {
        matches!(event, FeedEvent::Token { .. })
    });
    let world = world.restarted();
    world.sessions.recover(Recovery::TakeUp, || false).unwrap();
    world.wait_for(&id, |event| matches!(event, Event::TurnEnded { .. }));
    let shown = world.sessions.messages(&id, 10, None).unwrap();
    assert_eq!(shown[1].content, "it is [redacted:A_KEY].");
    let first = world.wait_for(&id, |event| event.as_reply().is_some());
    assert_eq!(*first.event.as_reply().unwrap().content, "it is ");
}

#[test]
fn a_secret_that_the_limit_of_a_reply_cuts_in_two_is_not_shown_up_to_there() {
    let world = world(Setup {
        limits: LimitsSpec {
            reply_bytes: Some(1024),
            ..LimitsSpec::default()
        },
        ..Setup::default()
    });
    let words = "w".repeat(1024 - KEY.len() / 2);
    world.model.reply(pieces(&[&words, KEY]));
    let id = world.session();
    let items = read_all(&mut world.say(&id, "what is it?"));
    assert!(!format!("{items:?}").contains("sk-"));
    let reply = world.wait_for(&id, |event| event.as_reply().is_some());
    assert_eq!(*reply.event.as_reply().unwrap().content, words);
}

#[test]
fn the_key_of_what_is_overheard_is_covered_and_known_again() {
    let world = world(Setup::default());
    let id = world.session();
    for kept in [Overheard::Shown, Overheard::Logged] {
        let hear = || {
            let key = SourceId::parse(&format!("{kept:?}-{KEY}")).unwrap();
            let heard = NewMessage {
                key: Some(key),
                ..message("it rains")
            };
            world.sessions.overhear(&id, heard, kept).unwrap()
        };
        assert_eq!(hear(), hear());
    }
    assert_clean(&world, &id);
}
