//! The step that has the older part of a conversation summarised: from the record of it to an event that stands
//! for it, or that says why there is none. Nothing else is written, so a crash in between asks again.

use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::context_summary::{SUMMARY_PROMPT, SummaryPlan, too_long};
use crate::domain::event::{CONTEXT_TRUNCATED, ContextSummary, Event, Usage};
use crate::domain::ids::Seq;
use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, ModelSpec};
use crate::domain::window::tokens_of_bytes;
use crate::engine::agent::Agent;
use crate::engine::context_limits;
use crate::engine::events::{self, CANCELLED, Ending};
use crate::engine::turn::worker::{Leave, Worker};
use crate::engine::watch::live::Interrupt;
use crate::llm::{LlmError, Model, Request, Sink, SinkError};

/// A summary that is to be made.
struct SummaryTask {
    plan: SummaryPlan,
    model: ModelSpec,
    /// What it is to keep, where somebody asked for it.
    wish: Option<String>,
    refused: bool,
}

/// Who answered a call, and what it has used.
type SummaryAnswer = Result<(String, Option<Usage>), LlmError>;

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
        self.keep_summary(ContextSummary {
            upto_seq: last_seq,
            error: Some("its agent's conversations are not summarised any more".to_owned()),
            model: agent.spec.model.main.label(),
            ..ContextSummary::default()
        })
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
        match self.make_summary(agent, &task)? {
            SummaryEnd::Made(summary) => self.keep_summary(summary)?,
            SummaryEnd::Interrupted(spent) => self.stop_summary(spent, task.wish)?,
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
        let bytes = context_limits::record_bytes(agent, &model.main);
        let bytes =
            bytes.saturating_sub(SUMMARY_PROMPT.len() + wish.as_ref().map_or(0, String::len));
        let plan = input.plan(bytes);
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
            let asked = self.ask_summariser(agent, &mut *model, question, &mut sink)?;
            let SummarySink {
                text, is_too_long, ..
            } = sink;
            // What a provider did not count, or would have counted at an end that nobody waited for.
            let counted = |used: Option<Usage>, label: &str| {
                let answer = tokens_of_bytes(text.len());
                used.unwrap_or_else(|| {
                    let usage = Usage {
                        estimated: true,
                        ..Usage::new(tokens_of_bytes(question_bytes), answer)
                    };
                    usage.priced(self.session.parts.ledger.price(label))
                })
            };
            let error = match asked {
                None => return Ok(SummaryEnd::Interrupted(made)),
                Some(Ok((label, used))) => {
                    made.usage
                        .get_or_insert_default()
                        .add(counted(used, &label));
                    made.model = label;
                    task.plan.refusal(&text)
                }
                Some(Err(_)) if is_too_long => {
                    let used = counted(None, &made.model);
                    made.usage.get_or_insert_default().add(used);
                    Some(too_long(task.plan.bytes_max()))
                }
                Some(Err(error)) => Some(error.to_string()),
            };
            if error.is_some() {
                made.error = error;
                return Ok(SummaryEnd::Made(made));
            }
            before = Some(text.trim().to_owned());
        }
        made.text = before;
        Ok(SummaryEnd::Made(made))
    }

    /// One call; `None` when somebody ended it.
    fn ask_summariser(
        &self,
        agent: &Agent,
        model: &mut dyn Model,
        question: String,
        sink: &mut SummarySink<'_, '_>,
    ) -> Result<Option<SummaryAnswer>, Leave> {
        let request = Request {
            system: SUMMARY_PROMPT.to_owned(),
            messages: vec![Message::User {
                text: question.as_str().into(),
                attachments: Vec::new(),
            }],
            timeout: Some(agent.spec.session.llm_timeout),
            reply_bytes: Some(self.reply_bytes(agent)),
            ..Request::default()
        };
        if !self.allow_cancel(Some(model.canceller()))? {
            return Ok(None);
        }
        let result = model.call(&request, sink);
        if !self.allow_cancel(None)? {
            return Ok(None);
        }
        Ok(Some(result.map(|reply| {
            let ledger = &self.session.parts.ledger;
            let price = ledger.price(&reply.model);
            let used = reply.usage.map(|usage| usage.priced(price));
            // Whatever tools it asks for: it was offered none.
            (reply.model, used)
        })))
    }

    fn keep_summary(&self, summary: ContextSummary) -> Result<(), Leave> {
        let truncated = summary.error.as_ref().map(|why| {
            log::warn!("session {}: no summary: {why}", self.session.id);
            Event::Error {
                code: CONTEXT_TRUNCATED.to_owned(),
                message: format!(
                    "the older part of the conversation could not be summarised, and is left out: {why}"
                ),
            }
        });
        let mut events = vec![Event::from(summary)];
        events.extend(truncated);
        self.write(|_| events)?;
        Ok(())
    }

    /// Nothing changes, but that nobody waits for a summary any more.
    fn give_summary_up(&self, agent: &Agent, why: &str) -> Result<(), Leave> {
        let model = summariser(agent, self.live()?.state.summary.model.as_deref());
        let summary = ContextSummary {
            error: Some(why.to_owned()),
            model: model.main.label(),
            ..ContextSummary::default()
        };
        let told = Event::Error {
            code: NoticeCode::NotSummarised.as_str().to_owned(),
            message: format!("the conversation is not summarised: {why}"),
        };
        self.write(|_| vec![Event::from(summary), told])?;
        Ok(())
    }

    /// Ends the turn with it, or leaves both for the next start.
    fn stop_summary(&mut self, made: ContextSummary, wish: Option<String>) -> Result<(), Leave> {
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
        // What was wanted is wanted still.
        let wanted = wish
            .filter(|_| spent.is_some())
            .map(|keep| Event::CompactRequested {
                keep: Some(keep),
                by: None,
            });
        self.write(|_| spent.into_iter().chain(wanted).collect())?;
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
