use std::sync::Arc;

use super::*;
use crate::domain::event::{ApprovalKind, FinishReason, ToolOutput, Usage};
use crate::engine::Cursor;

/// The events of a session, each the only one of its record.
#[derive(Default)]
struct Script {
    items: Vec<FeedItem>,
}

fn id(number: u128) -> MessageId {
    MessageId::mint(1, number)
}

fn call_id(name: &str) -> CallId {
    CallId::parse(name).unwrap()
}

impl Script {
    fn then(mut self, event: FeedEvent) -> Script {
        let seq = Seq(self.items.len() as u64 + 2);
        let id = Cursor::after(seq);
        self.items.push(FeedItem { id, event });
        self
    }

    fn says(self, number: u128, text: &str) -> Script {
        let message = UserMessage {
            gateway_message_id: Some(number.to_string()),
            ..UserMessage::new(id(number), text)
        };
        let seq = Seq(self.items.len() as u64 + 2);
        self.then(FeedEvent::UserMessage {
            message: Arc::new(message),
            seq,
        })
    }

    fn token(self, number: u128, text: &str) -> Script {
        self.then(FeedEvent::Token {
            message_id: Arc::new(id(number)),
            content: text.to_owned(),
        })
    }

    fn whole(self, number: u128, text: &str) -> Script {
        self.then(FeedEvent::Message {
            message_id: id(number),
            content: Arc::new(text.to_owned()),
            attachments: Vec::new(),
            usage: None,
        })
    }

    fn calls(self, name: &str) -> Script {
        self.then(FeedEvent::ToolCall(ToolCall {
            call_id: call_id(name),
            tool_name: "bash".to_owned(),
            arguments: format!("{{\"command\": \"{name}\"}}"),
            source: None,
        }))
    }

    fn result(self, name: &str) -> Script {
        self.then(FeedEvent::ToolResult {
            call_id: call_id(name),
            output: ToolOutput {
                success: true,
                content: "done".to_owned(),
            },
            attachments: Vec::new(),
        })
    }

    fn asks(self, name: &str) -> Script {
        self.then(FeedEvent::ApprovalRequired {
            call_id: call_id(name),
            command: name.to_owned(),
            commands: vec![name.to_owned()],
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            requester_id: None,
        })
    }

    fn decides(self, name: &str, decision: Decision, by: Option<&str>) -> Script {
        self.then(FeedEvent::ApprovalDecision {
            call_id: call_id(name),
            decision,
            by: by.map(str::to_owned),
        })
    }

    fn done(self) -> Script {
        self.then(FeedEvent::Done {
            message_id: None,
            usage: Usage::default(),
            finish_reason: FinishReason::Stop,
        })
    }

    fn rendered(&self) -> ChatRenderer {
        let mut renderer = ChatRenderer::new(Seq(1), Vec::new(), AnswerWay::Buttons);
        self.items.iter().for_each(|item| renderer.push(item));
        renderer
    }

    /// Each bubble in a line: its key, whether its words are whole, its words, and the line below.
    fn shown(&self) -> Vec<String> {
        shown(&self.rendered())
    }
}

fn shown(renderer: &ChatRenderer) -> Vec<String> {
    let line = |bubble: &Bubble| {
        let end = if bubble.is_final { "." } else { "…" };
        let content = match &bubble.content {
            BubbleContent::Text { markdown, working } => match working {
                Some(working) => format!("{markdown:?} + {working}"),
                None => format!("{markdown:?}"),
            },
            BubbleContent::Question {
                markdown, answers, ..
            } => format!("? {} {markdown:?}", answers.len()),
            BubbleContent::File(file) => format!("file {}", file.file),
        };
        format!("{}{end} {content}", bubble.key)
    };
    renderer.bubbles().map(line).collect()
}

#[test]
fn a_reply_grows_in_one_bubble_that_answers_the_message() {
    let script = Script::default()
        .says(1, "hi")
        .token(2, "Hel")
        .token(2, "lo");
    assert_eq!(script.shown(), [r#"1.1… "Hello""#]);
    let script = script.whole(2, "Hello").done();
    assert_eq!(script.shown(), [r#"1.1. "Hello""#]);
    let renderer = script.rendered();
    assert_eq!(
        renderer.bubbles().next().unwrap().reply_to.as_deref(),
        Some("1")
    );
    let end = renderer.first_end().unwrap();
    assert_eq!((end.turn, end.end), (Seq(1), Seq(6)));
    assert!(end.asked.is_empty() && !renderer.has_turn());
}

#[test]
fn work_stands_below_the_last_words_or_alone_and_the_next_words_take_its_place() {
    let script = Script::default()
        .says(1, "build it")
        .calls("make")
        .whole(2, "");
    assert_eq!(script.shown(), [r#"1.1… "" + ⚙ bash: `make`"#]);
    let script = script.result("make").token(3, "Now the tests.");
    assert_eq!(script.shown(), [r#"1.1… "Now the tests.""#]);
    let script = script.calls("test").whole(3, "Now the tests.");
    assert_eq!(
        script.shown(),
        [r#"1.1. "Now the tests." + ⚙ bash: `test`"#]
    );
    let script = script.result("test").token(4, "Done");
    assert_eq!(
        script.shown(),
        [r#"1.1. "Now the tests.""#, r#"1.2… "Done""#]
    );
}

#[test]
fn a_question_has_buttons_until_somebody_has_decided_and_who_writes_meanwhile_is_told_once() {
    let script = Script::default()
        .says(1, "rm it")
        .calls("rm")
        .whole(2, "")
        .asks("rm");
    let question = r#"1.2… ? 3 "❓ The agent wants to run:\n```\nrm\n```""#;
    assert_eq!(script.shown()[1..], [question]);
    assert!(script.rendered().is_asked());
    let script = script.says(3, "well?").says(4, "hello?");
    let told =
        r#"1.3. "Your message is kept. I am waiting for your decision on the question above.""#;
    assert_eq!(script.shown()[1..], [question, told]);
    let script = script.decides("rm", Decision::AllowOnce, Some("telegram:42"));
    let decided =
        r#"1.2. ? 0 "❓ The agent wants to run:\n```\nrm\n```\n\nAllowed once by `telegram:42`.""#;
    let works = r#"1.4… "" + ⚙ bash: `rm`"#;
    assert_eq!(script.shown()[1..], [decided, told, works]);
}

#[test]
fn what_stops_a_turn_is_said_and_what_was_said_stays() {
    let script = Script::default()
        .says(1, "hi")
        .token(2, "Hel")
        .whole(2, "Hel");
    let cancelled = Script {
        items: script.items.clone(),
    }
    .then(FeedEvent::Cancelled);
    assert_eq!(cancelled.shown(), [r#"1.1. "Hel""#, r#"1.2. "Stopped.""#]);
    let failed = Script {
        items: script.items.clone(),
    }
    .then(FeedEvent::Error {
        code: "provider_timeout".to_owned(),
        message: String::new(),
    });
    let sentence = r#"1.2. "⚠ The model took too long to answer.""#;
    assert_eq!(failed.shown(), [r#"1.1. "Hel""#, sentence]);
    let at_work = Script::default().says(1, "hi").calls("make").whole(2, "");
    let cancelled = at_work.result("make").then(FeedEvent::Cancelled);
    assert_eq!(cancelled.shown(), [r#"1.1. "Stopped.""#]);
}

#[test]
fn lost_text_leaves_its_bubble_to_the_next_words() {
    let script = Script::default()
        .says(1, "hi")
        .token(2, "Hello, wor")
        .then(FeedEvent::Rewind {
            message_id: None,
            bytes: 0,
        });
    assert_eq!(script.shown(), [r#"1.1… """#]);
    let script = script.token(3, "Good day.").whole(3, "Good day.").done();
    assert_eq!(script.shown(), [r#"1.1. "Good day.""#]);
}

#[test]
fn turns_of_their_own_answer_the_messages_that_began_them() {
    let mut script = Script::default().says(1, "one");
    for number in [2, 3] {
        script = script.says(number, "more");
        let last = script.items.last_mut().unwrap();
        if let FeedEvent::UserMessage { message, .. } = &mut last.event {
            Arc::make_mut(message).own_turn = Some(OwnTurn::Begins);
        }
    }
    let script = script.whole(11, "1").done().whole(12, "2").done();
    let renderer = script.rendered();
    let replies: Vec<_> = renderer
        .bubbles()
        .map(|one| one.reply_to.clone().unwrap())
        .collect();
    assert_eq!(replies, ["1", "2"]);
    assert!(renderer.has_turn());
    // What waits at the end of a turn is remembered there.
    let first = renderer.first_end().unwrap().clone();
    let mut later = ChatRenderer::new(first.end, first.asked, AnswerWay::Buttons);
    let rest = script.items.iter().filter(|item| item.id.seq > first.end);
    rest.for_each(|item| later.push(item));
    assert_eq!(shown(&later), shown(&renderer)[1..]);
    let next = later.bubbles().next().unwrap();
    assert_eq!(next.reply_to.as_deref(), Some("2"));
}

#[test]
fn a_message_that_is_not_taken_is_answered_with_the_agents_words_and_others_in_silence() {
    let dropped = |reason: &str| FeedEvent::Dropped {
        message_id: id(3),
        reason: reason.to_owned(),
    };
    let script = Script::default()
        .says(1, "hi")
        .token(2, "Hel")
        .says(3, "and?");
    let full = Script {
        items: script.items.clone(),
    }
    .then(dropped("queue full"));
    assert_eq!(full.shown(), [r#"1.1… "Hel""#]);
    let rejected = script
        .then(dropped("rejected"))
        .token(2, "lo")
        .whole(2, "Hello")
        .done();
    let renderer = rejected.rendered();
    assert_eq!(shown(&renderer)[0], r#"1.1. "Hello""#);
    let told = renderer.bubbles().nth(1).unwrap();
    assert_eq!(told.reply_to.as_deref(), Some("3"));
    assert!(!renderer.has_turn());
}

#[test]
fn what_is_only_overheard_begins_nothing() {
    let mut script = Script::default().says(1, "by the way");
    if let FeedEvent::UserMessage { message, .. } = &mut script.items[0].event {
        Arc::make_mut(message).passive = true;
    }
    let renderer = script.rendered();
    assert!(!renderer.has_turn());
    assert_eq!(renderer.resting_place(), Some(Seq(2)));
}

#[test]
fn the_same_events_give_the_same_bubbles_wherever_rendering_begins() {
    let script = Script::default()
        .says(1, "hi")
        .token(2, "Hel")
        .token(2, "lo")
        .calls("make")
        .whole(2, "Hello")
        .result("make")
        .asks("rm")
        .says(3, "well?")
        .decides("rm", Decision::Deny, None)
        .whole(4, "I will not.")
        .done()
        .says(5, "bye")
        .calls("make")
        .whole(6, "")
        .result("make")
        .whole(7, "Bye.")
        .done();
    let all = script.shown();
    for cut in 0..script.items.len() {
        let mut renderer = ChatRenderer::new(Seq(1), Vec::new(), AnswerWay::Buttons);
        let (before, after) = script.items.split_at(cut);
        before.iter().for_each(|item| renderer.push(item));
        // Whoever begins behind the turns that have ended, sees the rest as the others do.
        if let Some(end) = renderer.first_end().cloned() {
            let mut later = ChatRenderer::new(end.end, end.asked, AnswerWay::Buttons);
            let rest = script.items.iter().filter(|item| item.id.seq > end.end);
            rest.for_each(|item| later.push(item));
            assert!(all.ends_with(&shown(&later)), "{cut}");
        }
        after.iter().for_each(|item| renderer.push(item));
        assert_eq!(shown(&renderer), all, "{cut}");
    }
    // From the log alone, a reply comes as one piece.
    let is_token = |item: &FeedItem| matches!(item.event, FeedEvent::Token { .. });
    let mut replayed = ChatRenderer::new(Seq(1), Vec::new(), AnswerWay::Buttons);
    let records = script.items.iter().filter(|item| !is_token(item));
    records.for_each(|item| replayed.push(item));
    assert_eq!(shown(&replayed), all);
}

#[test]
fn a_model_that_says_nothing_is_told_of_and_what_was_said_stays() {
    let notice = |code: &str| FeedEvent::Notice {
        code: code.to_owned(),
        message: "the model said nothing".to_owned(),
    };
    let silent = Script::default().then(notice("empty_reply")).done();
    let [line] = &silent.shown()[..] else {
        panic!("{:?}", silent.shown());
    };
    assert!(line.contains("had nothing to say"), "{line}");
    // What is got over is nobody's business.
    let retried = Script::default().then(notice("retry")).done();
    assert!(retried.shown().iter().all(|line| !line.contains("⚠")));
}
