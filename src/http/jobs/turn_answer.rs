//! Answers that wait for a turn: `POST …/messages` and `POST …/approve`.

use std::io;
use std::task::Waker;
use std::time::Instant;

use crate::domain::event::{Status, Usage};
use crate::domain::ids::SessionId;
use crate::engine::sessions::view::PendingApproval;
use crate::engine::{Accepted, Cut, Decided, EngineError, FeedItem, Flow, NewsKind, Subscription};
use crate::http::answer::Answer;
use crate::http::context::ApiContext;
use crate::http::failure::{self, RETRY_SOON};
use crate::http::gate::LentSocket;
use crate::http::problem::HttpProblem;
use crate::http::server::Incoming;
use crate::http::streams::{ClientFollower, Reach, SessionWatch, StreamState, WatchWake};
use crate::http::turn::{TurnEnd, TurnReader};
use crate::http::wire;
use crate::wire::{DecidedBody, StoredBody};

/// An answer that waits for what comes of a turn. Dropped before that, it says 500.
pub(super) struct TurnAnswer {
    context: ApiContext,
    name: String,
    id: SessionId,
    stored: Stored,
    watch: SessionWatch,
    turn: TurnReader,
    items: Vec<FeedItem>,
    deadline: Instant,
    incoming: Incoming,
    /// What it is answered with, once that is known.
    outcome: Option<Result<WaitOutcome, HttpProblem>>,
}

/// What is stored of the request, and waits for its outcome.
pub(super) enum Stored {
    /// A message.
    Message(Accepted),
    /// A decision.
    Decision(Decided),
}

/// The end of a wait for a turn.
#[derive(Debug, PartialEq)]
enum WaitOutcome {
    /// The turn ended with an answer.
    Done(Usage),
    /// The turn waits for a decision.
    Asks(PendingApproval),
    /// The turn goes on: it took longer than the server lets an answer wait, or the client has
    /// left. One that has only closed its sending half still reads this.
    GoesOn,
}

/// Where a look at the turn leads.
enum TurnProgress {
    /// To wait, or to look again.
    Waits(StreamState),
    /// To the answer.
    Comes(Result<WaitOutcome, HttpProblem>),
}

impl TurnAnswer {
    /// Follows the turn of `stored` by `subscription`, to answer `incoming`.
    pub(super) fn begin(
        context: &ApiContext,
        name: String,
        id: SessionId,
        (stored, subscription): (Stored, Subscription),
        incoming: Incoming,
    ) -> Box<TurnAnswer> {
        Box::new(TurnAnswer {
            context: context.clone(),
            name,
            id,
            stored,
            watch: SessionWatch::new(subscription, incoming.gone(), &context.stop),
            turn: TurnReader::default(),
            items: Vec::new(),
            deadline: Instant::now() + context.settings.request_timeout,
            incoming,
            outcome: None,
        })
    }

    fn look(&mut self, reach: Reach) -> TurnProgress {
        // What is there already comes before the reasons not to wait for more.
        let pulled = match reach {
            Reach::Log => self.watch.pull(&mut self.items).map(Some),
            Reach::Memory => Ok(self.watch.pull_at_hand(&mut self.items)),
        };
        self.items
            .drain(..)
            .for_each(|item| self.turn.take(item.event));
        if let Some(end) = self.turn.end() {
            return TurnProgress::Comes(outcome_of(end));
        }
        match pulled {
            Err(error) => TurnProgress::Comes(Err(error.into())),
            Ok(None) => TurnProgress::Waits(StreamState::Behind),
            Ok(Some(Flow::More)) => self.look_around(StreamState::More),
            Ok(Some(flow)) => {
                if let Some(question) = self.open_question() {
                    return TurnProgress::Comes(Ok(WaitOutcome::Asks(question)));
                }
                match flow {
                    Flow::Open | Flow::More => self.look_around(StreamState::Quiet),
                    Flow::Cut(cut @ Cut::Waits(_)) => {
                        TurnProgress::Comes(Err(failure::turn_waits(&cut.to_string())))
                    }
                    // Why, the session's files may have to be asked.
                    Flow::Over | Flow::Cut(_) if reach == Reach::Memory => {
                        TurnProgress::Waits(StreamState::Behind)
                    }
                    Flow::Over => TurnProgress::Comes(Err(self.no_more("its events have ended"))),
                    Flow::Cut(cut) => TurnProgress::Comes(Err(self.no_more(&cut.to_string()))),
                }
            }
        }
    }

    /// Whether it goes on to wait.
    fn look_around(&self, state: StreamState) -> TurnProgress {
        match self.watch.look() {
            WatchWake::Stopped => TurnProgress::Comes(Err(shutting_down())),
            WatchWake::Gone => TurnProgress::Comes(Ok(WaitOutcome::GoesOn)),
            WatchWake::News | WatchWake::Late if self.deadline <= Instant::now() => {
                self.watch.let_it_run_on();
                TurnProgress::Comes(Ok(WaitOutcome::GoesOn))
            }
            WatchWake::News | WatchWake::Late => TurnProgress::Waits(state),
        }
    }

    /// The last question of the turn, if it is open still: in the events of a turn of long ago (a
    /// repeated key) it may have been answered, and who follows a message sees no decisions.
    fn open_question(&self) -> Option<PendingApproval> {
        let asked = self.turn.asked()?;
        let pending = self.watch.open_question();
        pending.filter(|pending| pending == asked)
    }

    /// Why a session's events have ended without the turn's end: it is gone, over, or only these events
    /// have ended.
    fn no_more(&self, reason: &str) -> HttpProblem {
        if self.context.stop.is_stopped() {
            return shutting_down();
        }
        match self.context.sessions.show(&self.id) {
            Err(error) => error.into(),
            Ok(session) if session.status == Status::Completed => {
                EngineError::SessionEnded(self.id.clone()).into()
            }
            Ok(_) => cut_off(reason),
        }
    }

    fn answer(self, outcome: Result<WaitOutcome, HttpProblem>) {
        // Who has the answer does not count as attached any more.
        drop(self.watch);
        let (id, turn, incoming) = (&self.id, &self.turn, self.incoming);
        match (outcome, self.stored) {
            (Ok(outcome), Stored::Message(accepted)) => {
                reply_answer(id, &accepted, turn, &outcome).send(incoming);
            }
            (Ok(outcome), Stored::Decision(decided)) => {
                decided_answer(decided, turn, &outcome).send(incoming);
            }
            // It is stored: who is told that it failed must know under which id.
            (Err(problem), Stored::Message(accepted)) => {
                let id = accepted.message_id.as_str();
                incoming.problem(&problem.with_member("message_id", id));
            }
            (Err(problem), Stored::Decision(_)) => incoming.problem(&problem),
        }
    }
}

impl ClientFollower for TurnAnswer {
    fn step(&mut self, reach: Reach) -> io::Result<StreamState> {
        match self.look(reach) {
            TurnProgress::Waits(state) => Ok(state),
            TurnProgress::Comes(outcome) => {
                self.outcome = Some(outcome);
                Ok(StreamState::Ended)
            }
        }
    }

    fn due(&self) -> Instant {
        self.deadline
    }

    fn wake_by(&mut self, news: Waker, gone: Waker) {
        self.incoming.wake_when_gone(gone);
        // The words of the reply come with its end.
        self.watch.wake_by(news, NewsKind::Change);
    }

    fn wake_here(&mut self) {
        self.watch.wake_by_channel();
    }

    fn wait(&mut self) {
        self.watch.wait_until(self.deadline);
    }

    fn drain(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) {
        if let Some(outcome) = self.outcome.take() {
            self.answer(outcome);
        }
    }

    fn socket(&self) -> Option<&LentSocket> {
        None
    }

    fn name(&self) -> &str {
        &self.name
    }
}

fn outcome_of(end: &TurnEnd) -> Result<WaitOutcome, HttpProblem> {
    match end {
        TurnEnd::Done { usage } => Ok(WaitOutcome::Done(*usage)),
        TurnEnd::Cancelled => {
            Err(HttpProblem::new(409, "the turn was cancelled").with_kind("turn-cancelled"))
        }
        TurnEnd::Failed { code, message } => Err(failure::turn_failed(code, message.clone())),
    }
}

fn shutting_down() -> HttpProblem {
    let detail = "the server is shutting down; what was sent is stored, and the turn is unaffected";
    failure::retry_later(HttpProblem::new(503, detail), RETRY_SOON)
}

fn cut_off(reason: &str) -> HttpProblem {
    let detail = format!("the turn is unaffected, but no longer followed here: {reason}");
    failure::retry_later(HttpProblem::new(503, detail), RETRY_SOON)
}

fn reply_answer(
    id: &SessionId,
    accepted: &Accepted,
    turn: &TurnReader,
    outcome: &WaitOutcome,
) -> Answer {
    match outcome {
        WaitOutcome::Done(usage) => {
            Answer::json(200, &wire::reply(turn.reply(), *usage, turn.notices()))
        }
        WaitOutcome::Asks(pending) => Answer::json(202, &wire::waiting(id, pending)),
        WaitOutcome::GoesOn => Answer::json(202, &StoredBody::from(accepted)),
    }
}

fn decided_answer(decided: Decided, turn: &TurnReader, outcome: &WaitOutcome) -> Answer {
    match outcome {
        WaitOutcome::Done(_) => {
            let body = wire::decided_and_complete(turn.reply(), turn.notices());
            Answer::json(200, &body)
        }
        WaitOutcome::Asks(pending) => {
            Answer::json(200, &DecidedBody::PendingApproval(pending.into()))
        }
        WaitOutcome::GoesOn => {
            Answer::json(202, &DecidedBody::<&str>::Working { seq: decided.seq })
        }
    }
}
