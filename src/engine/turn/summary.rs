//! The step that has the older part of a conversation summarised: from the record of it to an event that stands
//! for it, or that says why there is none. Nothing else is written, so a crash in between asks again.

use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::context_summary::{SUMMARY_PROMPT, SummaryPlan, too_long};
use crate::domain::event::{CONTEXT_TRUNCATED, ContextSummary, Event, FinishReason, Usage};
use crate::domain::ids::Seq;
use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, ModelSpec};
use crate::domain::state::SessionState;
use crate::domain::window::tokens_of_bytes;
use crate::engine::agent::Agent;
use crate::engine::context_limits;
use crate::engine::events::{self, CANCELLED, Ending};
use crate::engine::turn::worker::{Leave, Worker};
use crate::engine::watch::live::Interrupt;
use crate::llm::{LlmError, Model, ModelReply, Request, Sink, SinkError};

/// The end of a summary that is longer than its model's answers may be.
const CUT_OFF: &str = "\n[cut off here: it was longer than an answer may be]";

/// A summary that is to be made.
struct SummaryTask {
    plan: SummaryPlan,
    model: ModelSpec,
    /// What it is to keep, where somebody asked for it.
    wish: Option<String>,
    refused: bool,
}

/// What came of it.
enum SummaryEnd {
    Made(ContextSummary),
    /// Somebody ended it; so much was spent.
    Interrupted(ContextSummary),
}

impl Worker<'_> {
    /// Has the older part of the conversation summarised, and writes down what came of that.
    #[inline(never)]
    pub(in crate::engine) fn summarise(&mut self) -> Result<(), Leave> {
        let Some(agent) = self.agent()? else {
            return Ok(());
        };
        // Where somebody waits for an answer it is a part of that turn, counts in it, and fails with it.
        if self.live()?.state.is_asked() {
            self.start_turn()?;
        }
        let allowance = self.session.parts.ledger.allowance(&agent)?;
        if let Some(Err(refused)) = allowance.map(|allowance| allowance.refuse_call()) {
            let why = refused.to_string();
            if self.live()?.state.turn.is_none() {
                return self.give_summary_up(&agent, &why);
            }
            let failure = events::failure(FailureCode::LimitReached, why);
            return self.end_turn(Ending::failed(failure));
        }
        if self.summarise_by(&agent, false)? {
            return Ok(());
        }
        let (is_wanted, last_seq) = {
            let live = self.live()?;
            (live.state.summary.compact.is_some(), live.last_seq())
        };
        if is_wanted {
            return self.give_summary_up(&agent, "there is nothing that it could stand for");
        }
        // The agent's files have changed since the session was opened. What is too much goes all the same.
        let summary = ContextSummary {
            upto_seq: last_seq,
            error: Some("its agent's conversations are not summarised any more".to_owned()),
            model: agent.spec.model.main.label(),
            ..ContextSummary::default()
        };
        self.keep_summary(summary, None)
    }

    /// The same of a conversation that the provider has found too long; `false` where there is nothing to
    /// summarise, or the last try was a short while ago.
    #[inline(never)]
    pub(in crate::engine) fn summarise_refused(&mut self, agent: &Agent) -> Result<bool, Leave> {
        self.summarise_by(agent, true)
    }

    fn summarise_by(&mut self, agent: &Agent, refused: bool) -> Result<bool, Leave> {
        let Some(task) = self.summary_task(agent, refused)? else {
            return Ok(false);
        };
        let label = task.model.main.label();
        let about = task.plan.tokens;
        self.note(
            NoticeCode::Summarising,
            format!("about {about} tokens of the conversation are being summarised by {label}"),
        );
        let end = self.make_summary(agent, &task)?;
        // That was not the time of the reply in hand.
        self.reply_since = None;
        match end {
            SummaryEnd::Made(summary) => self.keep_summary(summary, task.wish.as_deref())?,
            SummaryEnd::Interrupted(spent) => self.stop_summary(spent)?,
        }
        Ok(true)
    }

    fn summary_task(&self, agent: &Agent, refused: bool) -> Result<Option<SummaryTask>, Leave> {
        let live = self.live()?;
        let state = &live.state;
        let model = summariser(agent, state.summary.model.as_deref());
        if !context_limits::can_summarise(&agent.spec) {
            return Ok(None);
        }
        let Some(input) = state.summary_input(refused) else {
            return Ok(None);
        };
        let wish = state.summary.compact.clone();
        drop(live);
        let told = self.parts.models.window(&model.main);
        let bytes = context_limits::record_bytes(agent, &model.main, told);
        let beside = [&wish, &input.before].into_iter().flatten();
        let beside: usize = beside.map(String::len).sum();
        let plan = input.plan(bytes.saturating_sub(SUMMARY_PROMPT.len() + beside));
        let is_empty = plan.upto_seq == Seq::ZERO || plan.parts.is_empty();
        Ok((!is_empty).then_some(SummaryTask {
            plan,
            model,
            wish,
            refused,
        }))
    }

    /// Asks for the parts one after the other, each with the summary of those before it.
    fn make_summary(&self, agent: &Agent, task: &SummaryTask) -> Result<SummaryEnd, Leave> {
        let mut made = ContextSummary {
            upto_seq: task.plan.upto_seq,
            model: task.model.main.label(),
            refused: task.refused,
            ..ContextSummary::default()
        };
        let mut model = self.parts.models.model(&task.model);
        let mut before = task.plan.before.clone();
        for part in &task.plan.parts {
            let keep = task.wish.as_deref().filter(|wish| !wish.is_empty());
            let question = task.plan.question(before.as_deref(), part, keep);
            let mut sink = SummarySink {
                worker: self,
                text: String::new(),
                bytes_max: task.plan.bytes_max(),
                is_too_long: false,
            };
            let question_bytes = SUMMARY_PROMPT.len() + question.len();
            let asked = self.ask_summariser(agent, task, &mut *model, question, &mut sink)?;
            let SummarySink {
                text, is_too_long, ..
            } = sink;
            let answer = asked.as_ref().and_then(|asked| asked.as_ref().ok());
            if let Some(answer) = answer {
                made.model.clone_from(&answer.model);
            }
            if answer.is_some() || !text.is_empty() {
                // What a provider did not count, or would have counted at an end that nobody waited for.
                let used = answer.and_then(|answer| answer.usage);
                let used = used.unwrap_or_else(|| Usage {
                    estimated: true,
                    ..Usage::new(tokens_of_bytes(question_bytes), tokens_of_bytes(text.len()))
                });
                let price = self.session.parts.ledger.price(&made.model);
                made.usage.get_or_insert_default().add(used.priced(price));
            }
            let is_cut =
                answer.is_some_and(|one| one.is_cut || one.finish_reason == FinishReason::Length);
            let error = match asked {
                None => return Ok(SummaryEnd::Interrupted(made)),
                Some(Ok(_)) => task.plan.refusal(&text),
                Some(Err(_)) if is_too_long => Some(too_long(task.plan.bytes_max())),
                Some(Err(error)) => Some(error.to_string()),
            };
            if error.is_some() {
                made.error = error;
                return Ok(SummaryEnd::Made(made));
            }
            let end = if is_cut { CUT_OFF } else { "" };
            before = Some(text.trim().to_owned() + end);
        }
        made.text = before;
        Ok(SummaryEnd::Made(made))
    }

    /// One call; `None` when somebody ended it. Whatever tools it asks for: it was offered none.
    fn ask_summariser(
        &self,
        agent: &Agent,
        task: &SummaryTask,
        model: &mut dyn Model,
        question: String,
        sink: &mut SummarySink<'_, '_>,
    ) -> Result<Option<Result<ModelReply, LlmError>>, Leave> {
        // A server of one's own would load its model anew for a window of another size.
        let is_own = agent.spec.session.summary_model.is_none();
        let window_tokens = is_own.then(|| context_limits::window_tokens(agent, &task.model.main));
        let request = Request {
            system: SUMMARY_PROMPT.to_owned(),
            messages: vec![Message::User {
                text: question.as_str().into(),
                attachments: Vec::new(),
            }],
            timeout: Some(agent.spec.session.llm_timeout),
            reply_bytes: Some(self.reply_bytes(agent)),
            window_tokens,
            ..Request::default()
        };
        if !self.allow_cancel(Some(model.canceller()))? {
            return Ok(None);
        }
        let result = model.call(&request, sink);
        Ok(self.allow_cancel(None)?.then_some(result))
    }

    /// Writes down what came of the wish `wish`, or of no wish.
    fn keep_summary(&self, summary: ContextSummary, wish: Option<&str>) -> Result<(), Leave> {
        if let Some(why) = &summary.error {
            log::warn!("session {}: no summary: {why}", self.session.id);
        }
        self.write(|live| kept(&live.state, summary, wish))?;
        Ok(())
    }

    /// Nothing changes, but that nobody waits for a summary any more.
    fn give_summary_up(&self, agent: &Agent, why: &str) -> Result<(), Leave> {
        let (model, wish) = {
            let live = self.live()?;
            let summary = &live.state.summary;
            (
                summariser(agent, summary.model.as_deref()),
                summary.compact.clone(),
            )
        };
        let summary = ContextSummary {
            error: Some(why.to_owned()),
            model: model.main.label(),
            ..ContextSummary::default()
        };
        self.keep_summary(summary, wish.as_deref())
    }

    /// Ends the turn with it, or leaves both for the next start.
    fn stop_summary(&mut self, made: ContextSummary) -> Result<(), Leave> {
        let is_shutdown = self.interrupt()? == Some(Interrupt::Shutdown);
        let why = if is_shutdown {
            "stopped by shutdown"
        } else {
            CANCELLED
        };
        let spent = made.usage.is_some().then(|| {
            Event::from(ContextSummary {
                upto_seq: Seq::ZERO,
                error: Some(why.to_owned()),
                ..made
            })
        });
        if !is_shutdown {
            return self.cancel_turn_after(spent);
        }
        self.write(|live| {
            let wish = live.state.summary.compact.as_deref();
            let wanted = wish.filter(|_| spent.is_some()).map(still_wanted);
            spent.into_iter().chain(wanted).collect()
        })?;
        Ok(())
    }

    /// Tells whoever watches; it may as well be lost.
    pub(in crate::engine) fn note(&self, code: NoticeCode, message: String) {
        let code = code.as_str();
        log::info!("session {}: {code}: {message}", self.session.id);
        let written = self.write_now(|_| {
            vec![Event::Error {
                code: code.to_owned(),
                message,
            }]
        });
        if written.is_err() {
            log::debug!("session {}: the notice was not kept", self.session.id);
        }
    }
}

/// What is written of a summary: without one, a conversation that need not be less stays as it is.
fn kept(state: &SessionState, mut summary: ContextSummary, wish: Option<&str>) -> Vec<Event> {
    let must_be_less = summary.refused || state.is_summary_due();
    if summary.error.is_some() && !must_be_less {
        summary.upto_seq = Seq::ZERO;
    }
    let is_nothing_lost = summary.upto_seq == Seq::ZERO;
    let told = summary.error.as_ref().map(|why| {
        let (code, message) = if is_nothing_lost {
            let message = format!("the conversation is not summarised: {why}");
            (NoticeCode::NotSummarised.as_str(), message)
        } else {
            let message = format!(
                "the older part of the conversation could not be summarised, and is left out: {why}"
            );
            (CONTEXT_TRUNCATED, message)
        };
        Event::Error {
            code: code.to_owned(),
            message,
        }
    });
    // Somebody may have asked for another meanwhile.
    let newer = state.summary.compact.as_deref();
    let newer = newer.filter(|one| Some(*one) != wish).map(still_wanted);
    let events = [Some(Event::from(summary)), told, newer];
    events.into_iter().flatten().collect()
}

/// Says behind a summary that one is wanted still.
fn still_wanted(keep: &str) -> Event {
    Event::CompactRequested {
        keep: Some(keep.to_owned()),
        by: None,
    }
}

/// Who writes the summaries of a session of `agent` that uses `model`, if that is its own.
fn summariser(agent: &Agent, model: Option<&str>) -> ModelSpec {
    if let Some(choice) = &agent.spec.session.summary_model {
        return ModelSpec {
            main: ModelChoice::clone(choice),
            fallbacks: Vec::new(),
        };
    }
    let mut own = agent.spec.model.clone();
    if let Some(name) = model {
        name.clone_into(&mut own.main.name);
    }
    own
}

/// Collects a summary, up to its limit.
struct SummarySink<'a, 'w> {
    worker: &'a Worker<'w>,
    text: String,
    bytes_max: usize,
    is_too_long: bool,
}

impl Sink for SummarySink<'_, '_> {
    fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.is_too_long = self.text.len() > self.bytes_max;
        if self.is_too_long {
            return Err("the summary is too long".into());
        }
        Ok(())
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.worker.note(code, message);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::domain::event::{Outcome, Trigger};
    use crate::domain::spec::{AgentSpec, Provider};
    use crate::domain::step::{Step, next_step};
    use crate::domain::story::{self, user};
    use crate::engine::open::session::Session;
    use crate::engine::testing::{Bench, reply, says};
    use crate::engine::turn::workers;

    fn choice(provider: Provider, name: &str) -> ModelChoice {
        ModelChoice {
            provider,
            name: name.to_owned(),
            base_url: None,
            settings: Default::default(),
        }
    }

    /// An agent whose conversations have room for a thousand tokens, and another model for summaries.
    fn bench(adapt: impl FnOnce(&mut AgentSpec)) -> Bench {
        Bench::with(|plan| {
            let spec = Arc::make_mut(&mut plan.agents[0].spec);
            spec.session.max_history_tokens = 1_000;
            spec.session.summary_model = Some(Box::new(choice(Provider::OPENAI, "pen")));
            adapt(spec);
        })
    }

    /// So many turns, each with a message of that length.
    fn talk(turns: u64, bytes: usize) -> impl Iterator<Item = Event> {
        (1..=turns).flat_map(move |n| {
            let said = story::reply(100 + n, n * 4 - 2, "yes").in_turn(n);
            [
                user(n, &"x".repeat(bytes)),
                story::started(n, Trigger::Message),
                said.costing(10, 10).event(),
                story::ended(n, Outcome::Completed),
            ]
        })
    }

    /// More than there is room for, and a message that waits.
    fn too_much() -> impl Iterator<Item = Event> {
        talk(10, 480).chain([user(50, "so?")])
    }

    fn wanted() -> Event {
        Event::CompactRequested {
            keep: None,
            by: None,
        }
    }

    fn broken() -> LlmError {
        LlmError::Truncated {
            provider: Provider::OPENAI,
        }
    }

    fn overflow() -> LlmError {
        LlmError::ContextOverflow {
            provider: Provider::ECHO,
            message: "too long".to_owned(),
        }
    }

    fn summaries(bench: &Bench, session: &Session) -> Vec<ContextSummary> {
        let mut made = Vec::new();
        for event in bench.events(&session.id) {
            if let Event::ContextSummary(summary) = event {
                made.push(ContextSummary::clone(&summary));
            }
        }
        made
    }

    #[test]
    fn a_summary_for_an_answer_is_a_part_of_its_turn_and_fails_with_it() {
        for (tokens, is_over) in [(None, false), (Some(1), true)] {
            let bench = bench(|spec| spec.limits.tokens_per_day = tokens);
            let session = bench.session(too_much());
            assert!(bench.worker(&session).summarise().is_ok());
            let live = session.live();
            assert_eq!(live.state.turn.is_none(), is_over);
            let step = next_step(&live.state);
            if is_over {
                assert_eq!(step, Step::Idle, "nobody is asked again");
            } else {
                assert_eq!(step, Step::CallModel);
                let turn = live.state.turn.as_ref().unwrap();
                assert!(turn.usage.prompt_tokens > 600, "{:?}", turn.usage);
            }
            drop(live);
            let events = bench.events(&session.id);
            let is_failure = matches!(events.last(), Some(Event::TurnEnded { error: Some(error), .. })
                if error.code == FailureCode::LimitReached.as_str());
            assert_eq!(is_failure, is_over, "{:?}", events.last());
            assert_eq!(summaries(&bench, &session).len(), usize::from(!is_over));
        }
    }

    #[test]
    fn the_time_of_a_reply_does_not_pass_while_a_summary_is_written() {
        let bench = bench(|_| {});
        let session = bench.session(too_much());
        let mut worker = bench.worker(&session);
        worker.reply_since = Some(Instant::now());
        assert!(worker.summarise().is_ok());
        assert_eq!(worker.reply_since, None);
        let session = bench.session(talk(6, 480).chain([user(50, "so?")]));
        bench.model.then(|_, _| Err(overflow()));
        bench.model.then(|request, sink| {
            assert_eq!(request.system, SUMMARY_PROMPT);
            says(sink, "they said x")
        });
        bench.model.then(|request, sink| {
            let whole = crate::domain::spec::SessionSpec::default().llm_timeout;
            assert_eq!(request.timeout, Some(whole));
            says(sink, "that is it")
        });
        assert!(bench.worker(&session).call_model().is_ok());
        assert!(summaries(&bench, &session)[0].refused);
        assert!(session.live().state.turn.is_none());
    }

    #[test]
    fn a_conversation_that_is_too_long_still_is_summarised_again_before_it_is_sent() {
        let bench = bench(|spec| {
            spec.session.max_history_tokens = 20_000;
            let writer = spec.session.summary_model.as_mut().unwrap();
            writer.settings.max_input_tokens = Some(256);
        });
        let session = bench.session(talk(12, 4_000).chain([user(50, "so?")]));
        bench.model.then(|_, _| Err(overflow()));
        assert!(bench.worker(&session).call_model().is_ok());
        let live = session.live();
        assert_eq!(next_step(&live.state), Step::Summarise);
        assert!(live.in_flight.is_none());
        drop(live);
        assert!(summaries(&bench, &session)[0].text.is_some());
    }

    #[test]
    fn a_wish_that_fails_takes_nothing_away_from_what_is_not_too_long() {
        let told = |events: &[Event]| match events {
            [
                ..,
                Event::ContextSummary(summary),
                Event::Error { code, message },
            ] => {
                assert!(summary.error.is_some());
                (summary.upto_seq, code.clone(), message.clone())
            }
            events => panic!("{:?}", events.last()),
        };
        for (events, is_too_long) in [
            (talk(6, 480).chain([wanted()]).collect::<Vec<_>>(), false),
            (talk(10, 480).chain([wanted()]).collect(), true),
            (too_much().collect(), true),
        ] {
            let bench = bench(|_| {});
            let session = bench.session(events);
            let before = session.live().state.history.tokens();
            bench.model.then(|_, _| Err(broken()));
            assert!(bench.worker(&session).summarise().is_ok());
            let (upto, code, message) = told(&bench.events(&session.id));
            let live = session.live();
            assert_eq!(live.state.summary.compact, None);
            assert!(!live.state.wants_summary());
            assert_eq!(live.state.history.tokens() < before, is_too_long);
            assert_eq!(upto > Seq::ZERO, is_too_long);
            assert_eq!(message.contains("is left out"), is_too_long, "{message}");
            let expected = if is_too_long {
                CONTEXT_TRUNCATED
            } else {
                NoticeCode::NotSummarised.as_str()
            };
            assert_eq!(code, expected);
        }
    }

    #[test]
    fn a_wish_that_comes_while_another_summary_is_written_is_not_forgotten() {
        for is_shutdown in [false, true] {
            let bench = bench(|_| {});
            // Short enough that a second summary finds something.
            let session = bench.session(talk(40, 80).chain([user(50, "so?")]));
            let heard = Arc::clone(&session);
            bench.model.then(move |_, sink| {
                let wish = Event::CompactRequested {
                    keep: Some("the code".to_owned()),
                    by: None,
                };
                heard.decide(|_| Ok((vec![wish], ()))).unwrap();
                if is_shutdown {
                    workers::interrupt(&heard, Interrupt::Shutdown);
                }
                says(sink, "they said x")
            });
            bench.model.then(|request, sink| {
                let Some(Message::User { text, .. }) = request.messages.last() else {
                    panic!("{request:?}");
                };
                assert!(text.contains("as the user asks: the code"), "{text:?}");
                says(sink, "the code is 4711")
            });
            assert!(bench.worker(&session).summarise().is_ok());
            let compact = session.live().state.summary.compact.clone();
            assert_eq!(compact.as_deref(), Some("the code"));
            assert!(bench.worker(&session).summarise().is_ok());
            assert_eq!(session.live().state.summary.compact, None);
            let last = summaries(&bench, &session).pop().unwrap();
            assert_eq!(last.text.as_deref(), Some("the code is 4711"));
        }
    }

    #[test]
    fn what_was_said_of_a_summary_before_it_ended_is_counted() {
        for (text, interrupt) in [
            ("half of it", None),
            ("half of it", Some(Interrupt::Cancelled)),
            ("half of it", Some(Interrupt::Shutdown)),
            ("", None),
            ("", Some(Interrupt::Cancelled)),
        ] {
            let bench = bench(|_| {});
            let session = bench.session(too_much());
            let told = Arc::clone(&session);
            bench.model.then(move |_, sink| {
                sink.text(text);
                sink.flush()?;
                let Some(why) = interrupt else {
                    return Err(broken());
                };
                workers::interrupt(&told, why);
                Err(LlmError::Cancelled)
            });
            assert!(bench.worker(&session).summarise().is_ok());
            let made = summaries(&bench, &session);
            let used = made.first().and_then(|one| one.usage);
            let counted = used.map(|used| (used.completion_tokens, used.estimated));
            let expected = (!text.is_empty()).then_some((3, true));
            assert_eq!(counted, expected, "{text} {interrupt:?}");
            assert!(used.is_none_or(|used| used.prompt_tokens > 600));
        }
    }

    #[test]
    fn a_summary_that_was_cut_says_so() {
        for (finish_reason, is_cut, expected) in [
            (FinishReason::Stop, false, false),
            (FinishReason::Length, false, true),
            (FinishReason::Stop, true, true),
        ] {
            let bench = bench(|_| {});
            let session = bench.session(too_much());
            bench.model.then(move |_, sink| {
                says(sink, "they said")?;
                Ok(ModelReply {
                    finish_reason,
                    is_cut,
                    ..reply(&[])
                })
            });
            assert!(bench.worker(&session).summarise().is_ok());
            let text = summaries(&bench, &session)[0].text.clone().unwrap();
            assert!(text.starts_with("they said"));
            assert_eq!(text.ends_with(CUT_OFF), expected, "{text}");
        }
    }

    #[test]
    fn an_agents_own_model_writes_its_summaries_in_the_window_that_it_has() {
        for is_own in [true, false] {
            let bench = bench(|spec| {
                spec.model.main = choice(Provider::OLLAMA, "own");
                if is_own {
                    spec.session.summary_model = None;
                }
            });
            let session = bench.session(too_much());
            bench.model.then(move |request, sink| {
                assert_eq!(request.window_tokens.is_some(), is_own);
                says(sink, "they said x")
            });
            let mut worker = bench.worker(&session);
            assert!(worker.summarise().is_ok());
            // What the provider has said of its window counts for the record, too.
            let Ok(Some(agent)) = worker.agent() else {
                panic!("it is there");
            };
            let own = &agent.spec.model.main;
            let told = context_limits::record_bytes(&agent, own, Some(4_096));
            assert!(told < 4_096 * 3 && told > 4_096);
        }
    }
}
