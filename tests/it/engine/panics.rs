//! A panic in a worker fails its turn and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};

use duragent::domain::spec::ModelSpec;
use duragent::llm::{Cancel, LlmError, Model, ModelReply, Request, Sink};

use super::*;

/// Models of which the first one panics: when it is made, or in the middle of its reply.
#[derive(Debug)]
struct Panics {
    has_panicked: AtomicBool,
    after: Option<&'static str>,
    inner: Arc<dyn Models>,
}

impl Models for Panics {
    fn model(&self, spec: &ModelSpec) -> Box<dyn Model> {
        let inner = self.inner.model(spec);
        if self.has_panicked.swap(true, Ordering::SeqCst) {
            return inner;
        }
        match self.after {
            None => panic!("on purpose, when it is made"),
            Some(words) => Box::new(PanicsInReply { words, inner }),
        }
    }
}

#[derive(Debug)]
struct PanicsInReply {
    words: &'static str,
    inner: Box<dyn Model>,
}

impl Model for PanicsInReply {
    fn call(&mut self, _: &Request, sink: &mut dyn Sink) -> Result<ModelReply, LlmError> {
        sink.text(self.words);
        sink.flush().map_err(LlmError::Sink)?;
        panic!("on purpose, in the middle of its reply");
    }

    fn canceller(&self) -> Arc<dyn Cancel> {
        self.inner.canceller()
    }
}

#[test]
fn a_panic_in_a_worker_fails_its_turn_and_leaves_the_session_usable() {
    for after in [None, Some("half a ")] {
        let model = FakeModel::start();
        model.default_reply(text("fine"));
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let setup = Setup::default();
        let store = FileStore::new(Arc::new(RealFs), folder.path().to_owned());
        let models = Arc::new(Panics {
            has_panicked: AtomicBool::new(false),
            after,
            inner: providers(),
        });
        let sessions = start_with(store, models, &model.url(), &setup);
        let world = World {
            sessions,
            model,
            folder,
            setup,
        };
        let id = world.session();
        let mut cut = world.say(&id, "hello");
        let items = read_all(&mut cut);
        assert!(!shown(&items).contains(&"done"), "{items:?}");
        let ended = world.wait_for(&id, is_turn_end).event;
        let Event::TurnEnded { outcome, error, .. } = ended else {
            unreachable!()
        };
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!(error.unwrap().code, "internal_error");
        // What had been shown is kept, and one who comes back sees the failure.
        let seen = items.last().unwrap().id;
        let mut back = world
            .sessions
            .subscribe(&id, Begin::After(seen), Presence::default())
            .unwrap();
        let rest = read_until(&mut back, |event| matches!(event, FeedEvent::Error { .. }));
        assert_eq!(shown(&rest), ["error"]);
        let messages = world.sessions.messages(&id, 10, None).unwrap();
        let kept: String = messages[1..]
            .iter()
            .map(|one| one.content.as_str())
            .collect();
        assert_eq!(kept, after.unwrap_or_default());

        assert_eq!(said(&read_all(&mut world.say(&id, "again"))), "fine");
        let other = world.session();
        assert_eq!(said(&read_all(&mut world.say(&other, "hello"))), "fine");
    }
}
