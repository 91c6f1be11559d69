//! One call of the model by a worker: from the conversation to a reply in the log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::event::{
    AssistantResponse, CONTEXT_TRUNCATED, Event, FinishReason, Outcome, ToolCall,
};
use crate::domain::history::Entry;
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::domain::redact::Stream;
use crate::domain::spec::ModelSpec;
use crate::domain::state::SessionState;
use crate::engine::error::EngineError;
use crate::engine::events::{self, Ending};
use crate::engine::inner::Agent;
use crate::engine::live::{InFlight, Interrupt};
use crate::engine::prompt;
use crate::engine::turn::{Leave, Worker};
use crate::llm::{LlmError, RawToolCall, Reply, Request, Sink, ToolChoice};
use crate::store::{Journal, PartialHead};

/// A power cut takes at most this much of the text in flight.
const JOURNAL_SYNC_EVERY: Duration = Duration::from_secs(1);

/// What helps when a conversation does not fit although everything was left out that can be.
const OVERFLOW_HINT: &str = "; a shorter message may help, or the right \
     `spec.model.max_input_tokens`";

/// Why a turn ends that may not ask the model once more.
const LIMIT_REACHED: &str = "limit_reached";

/// A call that is about to be made.
struct Call {
    request: Request,
    message_id: MessageId,
    input_seq: Seq,
    model: ModelSpec,
    may_use_tools: bool,
}

impl Worker<'_> {
    /// Asks the model and writes down what it says.
    pub(super) fn call_model(&mut self) -> Result<(), Leave> {
        let Some(agent) = self.agent()? else {
            return Ok(());
        };
        self.start_turn()?;
        let purse = self.inner.purse(&agent)?;
        if let Some(Err(refused)) = purse.map(|purse| purse.refuse_call()) {
            let failure = events::failure(LIMIT_REACHED, refused.to_string());
            return self.end_turn(Ending::failed(failure));
        }
        let mut call = self.prepare(&agent)?;
        let Some(mut result) = self.stream(&call)? else {
            return Ok(());
        };
        if let Err(error @ LlmError::ContextOverflow { .. }) = &result
            && let Some(shorter) = self.shorten(&agent, &call, error)?
        {
            call = shorter;
            match self.stream(&call)? {
                Some(again) => result = again,
                None => return Ok(()),
            }
        }
        self.end_call(&call, result)
    }

    /// Writes down what came of a call. Apart, as what this takes of the stack is not needed while
    /// the reply lasts.
    #[inline(never)]
    fn end_call(&mut self, call: &Call, result: Result<Reply, LlmError>) -> Result<(), Leave> {
        if !self.allow_cancel(None)? {
            // What was cancelled cannot be called again.
            self.model = None;
        }
        match result {
            Ok(reply) => self.keep_reply(call, reply)?,
            Err(LlmError::Cancelled) => return self.stop_reply(),
            Err(error) => self.fail_reply(&error)?,
        }
        self.forget_journal()
    }

    fn prepare(&self, agent: &Agent) -> Result<Box<Call>, Leave> {
        let live = self.live()?;
        let state = &live.state;
        let mut model = agent.spec.model.clone();
        if let Some(name) = &state.summary.model {
            model.main.name.clone_from(name);
        }
        let rounds = state.turn.as_ref().map_or(0, |turn| turn.tool_rounds);
        let may_use_tools = rounds < agent.spec.session.max_tool_iterations;
        Ok(Box::new(Call {
            request: Request {
                system: prompt::system(&agent.spec, state.summary.created_at),
                messages: state.conversation(),
                tools: prompt::definitions(&agent.tools),
                tool_choice: if may_use_tools {
                    ToolChoice::Auto
                } else {
                    ToolChoice::None
                },
                timeout: Some(agent.spec.session.llm_timeout),
            },
            message_id: self.inner.mint.message_id(),
            input_seq: live.last_seq(),
            model,
            may_use_tools,
        }))
    }

    /// The call with less of the conversation in it, because the provider found that too long;
    /// `None` when there is nothing to leave out.
    fn shorten(
        &self,
        agent: &Agent,
        call: &Call,
        error: &LlmError,
    ) -> Result<Option<Box<Call>>, Leave> {
        // The fold makes room when it sees this, here as at replay.
        self.write(|_| {
            vec![Event::Error {
                code: CONTEXT_TRUNCATED.to_owned(),
                message: format!("{error}; from here on less of it goes to the model"),
            }]
        })?;
        let shorter = self.prepare(agent)?;
        Ok((shorter.request.messages != call.request.messages).then_some(shorter))
    }

    /// Makes the call; its text goes to the journal, then to whoever watches. `None` when there was
    /// no room for more of it: what came is in the log, and the next call goes on with it.
    fn stream(&mut self, call: &Call) -> Result<Option<Result<Reply, LlmError>>, Leave> {
        let model = self
            .model
            .take()
            .unwrap_or_else(|| self.inner.models.model(&call.model));
        self.begin_journal(call)?;
        if !self.allow_cancel(Some(model.canceller()))? {
            return Ok(Some(Err(LlmError::Cancelled)));
        }
        let mut model = model;
        let mut sink = ReplySink {
            worker: self,
            redacted: Stream::new(Arc::clone(&self.inner.redactor)),
            text: String::new(),
            ends: Vec::new(),
            synced_at: Instant::now(),
            no_room: None,
        };
        let result = model.call(&call.request, &mut sink);
        let mut ended = match result {
            Err(LlmError::Cancelled) if self.interrupt()? == Some(Interrupt::Shutdown) => {
                sink.break_off()
            }
            Ok(_) | Err(_) => sink.end(),
        };
        if result.is_ok() {
            // All of it came, and is worth waiting for.
            while let Some(error) = sink.no_room.take() {
                self.wait_for_room(error)?;
                ended = sink.flush();
            }
        }
        if let Some(error) = sink.no_room {
            self.break_reply_off(error)?;
            return Ok(None);
        }
        self.model = Some(model);
        Ok(Some(result.and_then(|reply| {
            ended.map_err(LlmError::Sink).map(|()| reply)
        })))
    }

    /// Waits for room, and keeps what had come of a reply that found none. The rest of it is the
    /// next call's: a provider does not wait.
    #[inline(never)]
    fn break_reply_off(&self, error: EngineError) -> Result<(), Leave> {
        self.wait_for_room(error)?;
        self.keep_part()
    }

    fn keep_part(&self) -> Result<(), Leave> {
        self.write(|live| {
            events::partial_reply(live, FinishReason::Interrupted)
                .into_iter()
                .collect()
        })?;
        self.forget_journal()
    }

    fn begin_journal(&self, call: &Call) -> Result<(), Leave> {
        let turn_id = self.live()?.state.turn.as_ref().map(|turn| turn.id.clone());
        let Some(turn_id) = turn_id else {
            return Err(Leave::Superseded);
        };
        let head = PartialHead {
            turn_id,
            message_id: call.message_id.clone(),
            input_seq: call.input_seq,
            model: call.model.main.label(),
        };
        self.insist(|| Ok(self.journal()?.begin(&head).map_err(EngineError::from)?))?;
        self.live()?.in_flight = Some(InFlight::new(
            call.message_id.clone(),
            call.input_seq,
            call.model.main.label(),
        ));
        Ok(())
    }

    /// Writes a whole reply; with it the end of the turn, unless there is more to do.
    fn keep_reply(&self, call: &Call, reply: Reply) -> Result<(), Leave> {
        self.write(|live| {
            let state = &live.state;
            let Some(turn) = &state.turn else {
                return Vec::new();
            };
            let text = live.in_flight.as_ref().map(|reply| reply.text.clone());
            let asked = if call.may_use_tools {
                reply.tool_calls
            } else {
                Vec::new()
            };
            let tool_calls = self.name_calls(state, asked);
            let is_last = tool_calls.is_empty() && !has_unseen(state, call.input_seq);
            let mut usage = turn.usage;
            usage.add(reply.usage.unwrap_or_default());
            let mut events = vec![Event::AssistantResponse(AssistantResponse {
                turn_id: turn.id.clone(),
                message_id: call.message_id.clone(),
                agent: state.summary.agent.clone(),
                model: reply.model,
                input_seq: call.input_seq,
                content: text.unwrap_or_default(),
                finish_reason: finish_reason(&tool_calls, reply.finish_reason),
                tool_calls,
                usage: reply.usage,
                continues: events::continued(state),
                provider_data: reply.provider_data,
            })];
            if is_last {
                events.push(Event::TurnEnded {
                    turn_id: turn.id.clone(),
                    outcome: Outcome::Completed,
                    error: None,
                    usage: (usage.total_tokens > 0).then_some(usage),
                });
            }
            events
        })?;
        Ok(())
    }

    /// Gives each call an id that is its own in this session.
    fn name_calls(&self, state: &SessionState, calls: Vec<RawToolCall>) -> Vec<ToolCall> {
        let mut named: Vec<ToolCall> = Vec::new();
        for call in calls {
            let is_free = |id: &CallId| {
                !named.iter().any(|other| other.call_id == *id) && !is_used(state, id)
            };
            let id = CallId::parse(&call.id).ok().filter(is_free);
            let id = id.unwrap_or_else(|| self.inner.mint.call_id());
            named.push(call.named(id));
        }
        named
    }

    /// Writes what came of a reply before it failed, and that the turn has failed.
    fn fail_reply(&self, error: &LlmError) -> Result<(), Leave> {
        log::warn!("session {}: {error}", self.session.id);
        let is_too_long = matches!(error, LlmError::ContextOverflow { .. });
        let hint = if is_too_long { OVERFLOW_HINT } else { "" };
        let failure = events::failure(error.code(), format!("{error}{hint}"));
        self.write(|live| events::turn_end(live, Ending::failed(failure)))?;
        self.live()?.in_flight = None;
        Ok(())
    }

    /// The call was ended from outside: somebody cancelled the turn, or the process is about to
    /// end and the reply goes on after the next start.
    fn stop_reply(&mut self) -> Result<(), Leave> {
        if self.interrupt()? != Some(Interrupt::Shutdown) {
            return self.cancel_turn();
        }
        self.keep_part()
    }

    fn forget_journal(&self) -> Result<(), Leave> {
        self.live()?.in_flight = None;
        self.clear_journal()
    }
}

/// Hands a reply's text over: journal first, then those who watch.
struct ReplySink<'a, 'w> {
    worker: &'a Worker<'w>,
    /// What came, until it is known that no secret begins in it.
    redacted: Stream,
    /// What is to be handed over.
    text: String,
    /// Where each piece ends in `text`.
    ends: Vec<usize>,
    synced_at: Instant,
    /// Why no more is taken: there is no room for it just now.
    no_room: Option<EngineError>,
}

impl ReplySink<'_, '_> {
    /// Hands over what was held back.
    fn end(&mut self) -> Result<(), String> {
        self.redacted.finish(&mut self.text);
        self.end_piece();
        self.flush()
    }

    /// Forgets what was held back of a reply that goes on after the next start. It says that again:
    /// the two halves of a secret would meet where the parts of the reply are put together.
    fn break_off(&mut self) -> Result<(), String> {
        self.redacted.break_off(&mut self.text);
        self.end_piece();
        self.flush()
    }

    fn end_piece(&mut self) {
        if self.text.len() > self.ends.last().copied().unwrap_or_default() {
            self.ends.push(self.text.len());
        }
    }

    fn sync_when_due(&mut self, journal: &mut dyn Journal) -> Result<(), String> {
        let session = self.worker.session;
        if session.is_journal_bad() {
            return Err("the text so far may not survive a power cut".to_owned());
        }
        if self.synced_at.elapsed() >= JOURNAL_SYNC_EVERY
            && self.worker.inner.flusher.ask(session, journal.sync_later())
        {
            self.synced_at = Instant::now();
        }
        Ok(())
    }
}

impl Sink for ReplySink<'_, '_> {
    fn text(&mut self, text: &str) {
        self.redacted.push(text, &mut self.text);
        self.end_piece();
    }

    fn flush(&mut self) -> Result<(), String> {
        if self.text.is_empty() {
            return Ok(());
        }
        let session = self.worker.session;
        {
            let Ok(mut journal) = self.worker.journal() else {
                return Err("the turn was given up".to_owned());
            };
            if let Err(error) = journal.push(&self.text) {
                let words = error.to_string();
                self.no_room = Some(EngineError::from(error)).filter(EngineError::is_passing);
                return Err(words);
            }
            self.sync_when_due(&mut **journal)?;
            session.live().publish_text(&self.text, &self.ends);
        }
        self.text.clear();
        self.ends.clear();
        Ok(())
    }

    fn notice(&mut self, code: &'static str, message: String) {
        log::info!("session {}: {code}: {message}", self.worker.session.id);
        let written = self.worker.write_now(|_| {
            vec![Event::Error {
                code: code.to_owned(),
                message,
            }]
        });
        if written.is_err() {
            log::debug!(
                "session {}: the notice was not kept",
                self.worker.session.id
            );
        }
    }
}

fn finish_reason(tool_calls: &[ToolCall], said: FinishReason) -> FinishReason {
    if !tool_calls.is_empty() {
        return FinishReason::ToolCalls;
    }
    if said == FinishReason::ToolCalls {
        return FinishReason::Stop;
    }
    said
}

/// Whether a message came that wants an answer, and that the call did not contain.
fn has_unseen(state: &SessionState, input_seq: Seq) -> bool {
    let mut unseen = state.inbox.iter();
    unseen.any(|one| one.seq > input_seq && !one.message.passive)
}

fn is_used(state: &SessionState, id: &CallId) -> bool {
    state.history.entries().any(|entry| match entry {
        Entry::Assistant(reply) => reply.tool_calls.iter().any(|call| call.call_id == *id),
        Entry::User(_) | Entry::Tool { .. } => false,
    })
}
