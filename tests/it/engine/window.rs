//! What of a session goes to its model: a prompt that only grows, made less in steps.

use std::fs;

use duragent::domain::spec::{AgentSpec, Provider, Truncation};
use duragent::engine::Overheard;
use serde_json::Value;

use super::*;
use crate::support::fake_model::{Asked, Step};

/// Says as many words as it is told.
fn babbles(arguments: &str) -> ToolOutput {
    let words = arguments.trim().parse().unwrap_or(1);
    ToolOutput {
        success: true,
        content: "word ".repeat(words),
    }
}

/// What an agent's file says otherwise.
type Adapt = fn(&mut AgentSpec);

fn world(adapt: Adapt) -> World {
    World::with(Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: tool("babble", babbles),
        adapt,
        ..Setup::default()
    })
}

/// The list of messages as it stands in the body, without its last bracket and without the marks
/// of Anthropic's cache, which move on.
fn messages_text(asked: &Asked) -> String {
    let begins = ["\"messages\":[", "\"input\":["];
    let mut starts = begins
        .iter()
        .map(|one| Some(asked.text.find(one)? + one.len()));
    let start = starts.find_map(|start| start).unwrap();
    let (mut depth, mut in_string, mut escaped) = (1, false, false);
    let list = asked.text[start..].chars().take_while(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            '[' | '{' if !in_string => depth += 1,
            ']' | '}' if !in_string => depth -= 1,
            _ => {}
        }
        depth > 0
    });
    let list: String = list.collect();
    let mark = r#"{"type":"ephemeral"}"#;
    list.replace(&format!(r#","cache_control":{mark}"#), "")
        .replace(&format!(r#""cache_control":{mark},"#), "")
}

/// All of a request but its messages and whether it may use tools.
fn rest(asked: &Asked) -> Value {
    let mut body = asked.body.clone();
    body["messages"].take();
    body["tool_choice"].take();
    body
}

/// How often the messages of a request did not begin with all of those of the one before.
fn steps(asked: &[Asked]) -> usize {
    let pairs = asked.windows(2).filter(|pair| {
        assert_eq!(rest(&pair[0]), rest(&pair[1]));
        !messages_text(&pair[1]).starts_with(&messages_text(&pair[0]))
    });
    pairs.count()
}

/// A turn with so many rounds of a tool that says `words`.
fn turn(world: &World, id: &SessionId, rounds: usize, words: usize) {
    for _ in 0..rounds {
        world
            .model
            .reply(text("let me see").and_call("babble", &words.to_string()));
    }
    world.model.reply(text("that is it"));
    let items = read_all(&mut world.say(id, "tell me \"more\" [of it]"));
    assert_eq!(shown(&items).last(), Some(&"done"));
}

// --- the prompt's beginning ---

#[test]
fn each_prompt_begins_with_the_one_before_byte_for_byte() {
    fn anthropic(spec: &mut AgentSpec) {
        spec.model.main.provider = Provider::ANTHROPIC;
        spec.prompts.soul = Some("You are {{agent.name}}. It is {{time}}.".to_owned());
    }
    fn openai(spec: &mut AgentSpec) {
        anthropic(spec);
        spec.model.main.provider = Provider::OPENAI;
    }
    for adapt in [openai as Adapt, anthropic] {
        let world = world(adapt);
        let id = world.session();
        for rounds in [0, 1, 3, 0, 2] {
            turn(&world, &id, rounds, 20);
        }
        // Nor does it change when the session is opened anew.
        let world = world.restarted();
        turn(&world, &id, 1, 20);
        let asked = world.model.requests();
        assert_eq!(asked.len(), 13);
        assert!(messages_text(&asked[12]).len() > 2_000);
        assert_eq!(steps(&asked), 0);
    }
}

#[test]
fn over_the_limit_the_prompt_is_made_less_in_a_few_steps() {
    let world = world(|spec| {
        spec.session.summary = false;
        spec.session.max_history_tokens = 4_000;
        spec.session.max_tool_iterations = 100;
    });
    let id = world.session();
    // A result is 1,000 bytes.
    for _ in 0..12 {
        turn(&world, &id, 4, 200);
    }
    let asked = world.model.requests();
    assert_eq!(asked.len(), 60);
    let steps = steps(&asked);
    assert!((2..12).contains(&steps), "{steps} steps");
    let longest = asked.iter().map(|one| messages_text(one).len()).max();
    assert!(longest < Some(4_000 * 4 * 2), "{longest:?}");
    let last = messages_text(&asked[59]);
    assert!(
        last.contains("[result of babble, 1000 bytes, left out]"),
        "{last}"
    );
}

#[test]
fn a_session_opened_anew_goes_on_with_the_same_window() {
    let adapt: Adapt = |spec| {
        spec.session.summary = false;
        spec.session.max_history_tokens = 3_000;
        spec.session.tool_results.keep_last = 1;
    };
    let prompts = |restarts: &[Restart]| {
        let mut world = world(adapt);
        let id = world.session();
        let mut prompts = Vec::new();
        for at in 0..8 {
            turn(&world, &id, 3, 150);
            match restarts.get(at % restarts.len().max(1)) {
                None => {}
                Some(Restart::WithSnapshot) => world = world.restarted(),
                Some(Restart::FromTheLog) => {
                    world.sessions.stop(Duration::ZERO);
                    let folder = world.folder.path().join("sessions").join(id.as_str());
                    fs::remove_file(folder.join("state.yaml")).unwrap();
                    world = world.restarted();
                }
            }
        }
        for asked in world.model.requests() {
            // Ids and times differ.
            let texts = asked
                .messages()
                .iter()
                .map(|one| one["content"].to_string());
            prompts.push(texts.collect::<Vec<_>>());
        }
        prompts
    };
    let live = prompts(&[]);
    assert!(live.iter().flatten().any(|text| text.contains("left out")));
    assert_eq!(prompts(&[Restart::WithSnapshot]), live);
    assert_eq!(prompts(&[Restart::FromTheLog]), live);
}

enum Restart {
    WithSnapshot,
    FromTheLog,
}

// --- results ---

#[test]
fn a_long_result_is_cut_as_the_agent_says_and_stands_whole_in_the_log() {
    let adapts: [(Adapt, &str, &str); 3] = [
        (
            |spec| spec.session.tool_results.max_tokens = 10,
            "word word",
            "left out]",
        ),
        (
            |spec| {
                spec.session.tool_results.max_tokens = 10;
                spec.session.tool_results.truncation = Truncation::Tail;
            },
            "[460 of 500 bytes",
            "word word ",
        ),
        (
            |spec| {
                spec.session.tool_results.max_tokens = 10;
                spec.session.tool_results.truncation = Truncation::Both;
            },
            "word word",
            "word word ",
        ),
    ];
    for (adapt, start, end) in adapts {
        let world = world(adapt);
        let id = world.session();
        turn(&world, &id, 1, 100);
        let seen = world.model.requests()[1].last_message();
        assert!(seen.starts_with(start) && seen.ends_with(end), "{seen:?}");
        assert!(seen.contains("[460 of 500 bytes left out]"), "{seen:?}");
        let stored = world.wait_for(&id, |event| matches!(event, Event::ToolResult { .. }));
        let Event::ToolResult { result, .. } = stored.event else {
            unreachable!()
        };
        assert_eq!(result.content.len(), 500);
    }
}

// --- too long for the provider ---

const TOO_LONG: &str = "This model's maximum context length is 4096 tokens.";

#[test]
fn a_conversation_that_the_provider_finds_too_long_is_shortened_and_asked_again() {
    let refused = || error(400, TOO_LONG);
    let told = || pieces(&[]).and_error(400, TOO_LONG);
    is_shortened(world(|spec| spec.session.summary = false), refused());
    for step in [refused(), told()] {
        is_shortened(
            world(|spec| {
                spec.session.summary = false;
                spec.model.main.name = "gpt-5.6".to_owned();
            }),
            step.clone(),
        );
        is_shortened(
            world(|spec| {
                spec.session.summary = false;
                spec.model.main.provider = Provider::OLLAMA;
            }),
            step,
        );
    }
}

fn is_shortened(world: World, step: Step) {
    let id = world.session();
    for _ in 0..4 {
        turn(&world, &id, 2, 200);
    }
    let before = world.model.request_count();
    world.model.reply(step).then(text("short of it"));
    let items = read_all(&mut world.say(&id, "and then?"));
    assert_eq!(said(&items), "short of it");
    let notice = items.iter().find_map(|item| match &item.event {
        FeedEvent::Notice { code, message } => Some((code.clone(), message.clone())),
        _ => None,
    });
    let (code, words) = notice.unwrap();
    assert_eq!(code, "context_truncated");
    assert!(words.contains(TOO_LONG), "{words}");
    let asked = world.model.requests();
    assert_eq!(asked.len(), before + 2);
    let length = |at: usize| messages_text(&asked[before + at]).len();
    assert!(
        length(1) * 3 / 2 < length(0),
        "{} of {}",
        length(1),
        length(0)
    );
    assert_eq!(asked[before + 1].last_message(), "and then?");
    // What did not fit once is not tried again, nor after a restart.
    let world = world.restarted();
    world.model.reply(text("good"));
    read_all(&mut world.say(&id, "fine"));
    let asked = world.model.requests();
    assert!(messages_text(&asked[before + 2]).starts_with(&messages_text(&asked[before + 1])));
}

#[test]
fn what_is_too_long_twice_fails_the_turn_and_says_what_may_help() {
    let world = world(|spec| spec.session.summary = false);
    let id = world.session();
    turn(&world, &id, 2, 200);
    world
        .model
        .reply(error(400, "prompt is too long: 9 tokens > 8 maximum"))
        .then(error(400, "prompt is too long: 9 tokens > 8 maximum"));
    let items = read_all(&mut world.say(&id, "and then?"));
    let Some(FeedEvent::Error { code, message }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    assert_eq!(code, "context_overflow");
    assert!(message.contains("max_input_tokens"), "{message}");
    let asked = world.model.request_count();
    assert_eq!(asked, 5);
    // Where nothing can be left out, it is not even asked again.
    let other = world.session();
    world.model.reply(error(400, TOO_LONG));
    let items = read_all(&mut world.say(&other, "hello"));
    assert_eq!(shown(&items).last(), Some(&"error"));
    assert_eq!(world.model.request_count(), asked + 1);
    // The session can be used on.
    world.model.reply(text("here"));
    assert_eq!(said(&read_all(&mut world.say(&other, "again"))), "here");
}

#[test]
fn a_prompt_that_no_model_takes_is_told_before_anybody_is_asked() {
    let world = world(|spec| {
        spec.prompts.system_prompt = Some("word ".repeat(4_000));
        spec.model.main.settings.max_input_tokens = Some(1_000);
    });
    let id = world.session();
    let items = read_all(&mut world.say(&id, "hello"));
    let Some(FeedEvent::Error { code, message }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    assert_eq!(code, "context_overflow");
    assert!(
        message.contains("takes 1000, as `max_input_tokens` says"),
        "{message}"
    );
    assert_eq!(world.model.request_count(), 0);
}

#[test]
fn a_prompt_that_may_fit_is_tried_and_a_refusal_names_it() {
    let world = world(|spec| {
        spec.prompts.system_prompt = Some("word ".repeat(4_000));
        spec.model.main.settings.max_input_tokens = Some(4_900);
    });
    let id = world.session();
    world.model.reply(error(400, TOO_LONG));
    let items = read_all(&mut world.say(&id, "hello"));
    let Some(FeedEvent::Error { message, .. }) = items.last().map(|item| &item.event) else {
        panic!("{items:?}");
    };
    assert!(
        message.contains("its prompt and its tools are about 50"),
        "{message}"
    );
    assert_eq!(world.model.request_count(), 1);
}

#[test]
fn what_a_model_takes_bounds_the_prompt_whatever_the_agent_wants_to_keep() {
    let world = world(|spec| {
        spec.session.max_history_tokens = 0;
        spec.session.tool_results.keep_last = 1_000;
        spec.session.max_tool_iterations = 100;
        spec.model.main.settings.max_input_tokens = Some(3_000);
    });
    let id = world.session();
    turn(&world, &id, 30, 200);
    let asked = world.model.requests();
    let longest = asked.iter().map(|one| one.text.len()).max().unwrap();
    // The frame that JSON puts around each message is some 150 bytes.
    assert!(longest < 3_000 * 4 + 61 * 150, "{longest}");
}

// --- talk ---

fn from(name: &str, content: &str) -> NewMessage {
    NewMessage {
        sender_name: Some(name.to_owned()),
        ..NewMessage::new(
            sender(&format!("test:{name}")),
            MessageText::parse(content).unwrap(),
        )
    }
}

#[test]
fn what_is_overheard_is_shown_with_the_next_question_and_the_rest_is_only_logged() {
    let world = world(|_| {});
    let id = world.session();
    let hear = |name: &str, words: &str, how| {
        world
            .sessions
            .overhear(&id, from(name, words), how)
            .unwrap()
    };
    hear("Ann", "it rains", Overheard::Shown);
    hear("Eve", "nonsense", Overheard::Logged);
    hear("Bob", "since noon", Overheard::Shown);
    world.wait_until_idle(&id);
    assert_eq!(world.model.request_count(), 0);
    assert!(!world.sessions.show(&id).unwrap().summary.unfinished);
    // A restart finds nothing to do either.
    let world = world.restarted();
    assert_eq!(
        world.sessions.recover(Recovery::TakeUp, || false).unwrap(),
        0
    );
    world.model.reply(text("wet"));
    let question = from("Cid", "how is it outside?");
    let (_, mut answer) = world.sessions.submit_and_follow(&id, question).unwrap();
    assert_eq!(said(&read_all(&mut answer)), "wet");
    let asked = world.model.wait_for_requests(1);
    let expected = "Ann: it rains\n\nBob: since noon\n\nCid: how is it outside?";
    assert_eq!(asked[0].last_message(), expected);
    // All of it is in the log.
    let kept = world.log(&id);
    let is_logged = |words: &str| {
        kept.iter().any(|record| match &record.event {
            Event::UserMessage(message) => message.content == words,
            Event::SilentMessage { content, .. } => content == words,
            _ => false,
        })
    };
    assert!(is_logged("nonsense") && is_logged("it rains"));
}

#[test]
fn what_is_overheard_while_a_turn_runs_makes_no_turn_of_its_own() {
    let world = world(|_| {});
    let id = world.session();
    world.model.reply(text("a").and_stall());
    let mut stream = world.say(&id, "hello");
    world.model.wait_for_stalls(1);
    let key = |words: &str| NewMessage {
        key: Some(SourceId::parse("k-1").unwrap()),
        ..from("Ann", words)
    };
    let seq = world
        .sessions
        .overhear(&id, key("it rains"), Overheard::Shown);
    let again = world
        .sessions
        .overhear(&id, key("it rains"), Overheard::Shown);
    assert_eq!(seq.unwrap(), again.unwrap());
    let silent = |words: &str| NewMessage {
        key: Some(SourceId::parse("k-2").unwrap()),
        ..from("Eve", words)
    };
    let seq = world
        .sessions
        .overhear(&id, silent("nonsense"), Overheard::Logged);
    let again = world
        .sessions
        .overhear(&id, silent("nonsense"), Overheard::Logged);
    assert_eq!(seq.unwrap(), again.unwrap());
    world.model.release();
    read_all(&mut stream);
    world.wait_until_idle(&id);
    assert_eq!(world.model.request_count(), 1);
    world.model.reply(text("b"));
    read_all(&mut world.say(&id, "well?"));
    let asked = world.model.wait_for_requests(2);
    assert_eq!(asked[1].last_message(), "Ann: it rains\n\nwell?");
}
