//! One call of the model by a worker: from the conversation to a reply in the log.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{
    AssistantResponse, CONTEXT_TRUNCATED, CallSource, Event, FILES_WITHHELD, FinishReason,
    REPLY_CONTINUED, ToolCall,
};
use crate::domain::files::{show_latest, shows_files};
use crate::domain::history::{Conversation, Entry};
use crate::domain::ids::{CallId, MessageId, Seq};
use crate::domain::redact::Stream;
use crate::domain::spec::ModelSpec;
use crate::domain::state::SessionState;
use crate::engine::agent::Agent;
use crate::engine::context_limits::{self, LongPrompt};
use crate::engine::error::EngineError;
use crate::engine::events::{self, Ending};
use crate::engine::prompt;
use crate::engine::turn::files::FilesForModel;
use crate::engine::turn::worker::{Leave, Worker};
use crate::engine::watch::live::{InFlight, Interrupt};
use crate::llm::{
    LlmError, ModelReply, OnOverflow, RawToolCall, Request, Sink, SinkError, ToolChoice,
};
use crate::store::{Journal, PartialHead};

/// A power cut takes at most this much of the text in flight.
const JOURNAL_SYNC_EVERY: Duration = Duration::from_secs(1);

/// How often in a row a reply that broke off is gone on with.
const BREAKS_MAX: u32 = 3;

/// What helps when a conversation does not fit although everything was left out that can be.
const OVERFLOW_HINT: &str = "; a shorter message may help, or the right \
     `spec.model.max_input_tokens`";

/// A call that is about to be made.
struct ModelCall {
    request: Request,
    /// What becomes of the request's messages for the next call; they are not among it meanwhile.
    told: Conversation,
    message_id: MessageId,
    input_seq: Seq,
    model: ModelSpec,
    may_use_tools: bool,
    /// What stands before the conversation, if that is too long.
    long_prompt: Option<LongPrompt>,
}

impl Worker<'_> {
    /// Asks the model and writes down what it says.
    pub(in crate::engine) fn call_model(&mut self) -> Result<(), Leave> {
        let Some(agent) = self.agent()? else {
            return Ok(());
        };
        self.start_turn()?;
        if events::continued(&self.live()?.state).is_none() {
            self.reply_since = None;
        }
        let allowance = self.session.parts.ledger.allowance(&agent)?;
        if let Some(Err(refused)) = allowance.map(|allowance| allowance.refuse_call()) {
            let failure = events::failure(FailureCode::LimitReached, refused.to_string());
            return self.end_turn(Ending::failed(failure));
        }
        let mut call = self.prepare(&agent)?;
        // What the provider has said of its window may be news.
        if self.live()?.state.wants_summary() {
            return Ok(());
        }
        // A provider would refuse it, or leave out what it likes without a word.
        if let Some(why) = call.long_prompt.as_ref().filter(|one| one.is_hopeless) {
            let why = format!("the model is not asked: {why}");
            let failure = events::failure(FailureCode::ContextOverflow, why);
            return self.end_turn(Ending::failed(failure));
        }
        let Some(mut result) = self.stream(&call)? else {
            return Ok(());
        };
        if let Err(LlmError::ContextOverflow { .. }) = &result
            && self.summarise_refused(&agent)?
        {
            // Somebody may have ended it meanwhile, or it is too long still.
            let is_stopped = self.interrupt()?.is_some();
            let goes_on = {
                let state = &self.live()?.state;
                state.turn.is_some() && !state.wants_summary()
            };
            if is_stopped || !goes_on {
                return self.forget_journal();
            }
            call = self.prepare(&agent)?;
            match self.stream(&call)? {
                Some(again) => result = again,
                None => return Ok(()),
            }
        }
        if let Err(error @ LlmError::ContextOverflow { .. }) = &result
            && let Some(next) = self.after_overflow(&agent, &mut call, error)?
        {
            call.request.on_overflow = next;
            match self.stream(&call)? {
                Some(again) => result = again,
                None => return Ok(()),
            }
        }
        // The newest, then all: those that it has taken before are the last ones suspected.
        while let Err(error) = &result
            && (error.refuses_files() || matches!(error, LlmError::ContextOverflow { .. }))
            && let Some(plain) = self.withhold_files(&agent, &call, error)?
        {
            call = plain;
            match self.stream(&call)? {
                Some(again) => result = again,
                None => return Ok(()),
            }
        }
        self.end_call(call, result)
    }

    /// Writes down what came of a call. Apart, as what this takes of the stack is not needed while
    /// the reply lasts.
    #[inline(never)]
    fn end_call(
        &mut self,
        mut call: Box<ModelCall>,
        result: Result<ModelReply, LlmError>,
    ) -> Result<(), Leave> {
        if !self.allow_cancel(None)? {
            // What was cancelled cannot be called again.
            self.model = None;
        }
        match result {
            Ok(reply) => self.keep_reply(&call, reply)?,
            Err(LlmError::Cancelled) => return self.stop_reply(),
            Err(error) => self.fail_reply(&call, &error)?,
        }
        self.forget_journal()?;
        call.told.messages = mem::take(&mut call.request.messages);
        let told = call.told.finished_part();
        self.live()?.told = told;
        Ok(())
    }

    fn prepare(&self, agent: &Agent) -> Result<Box<ModelCall>, Leave> {
        // What is withdrawn from the inbox is on disk before a call is made of it, or is not withdrawn.
        let _nobody_writes = self.session.log();
        let mut model = agent.spec.model.clone();
        let mut live = self.live()?;
        live.called_with = live.last_seq();
        if let Some(name) = &live.state.summary.model {
            model.main.name.clone_from(name);
        }
        let tokens = self.parts.models.window(&model.main);
        live.state.learn_window(&model.main.name, tokens);
        let before = mem::take(&mut live.told);
        let state = &live.state;
        let mut told = state.conversation_after(before);
        show_latest(&mut told.messages);
        let files = FilesForModel {
            session: Arc::clone(self.session),
            text_bytes_max: state.file_bytes_max(),
        };
        let rounds = state.turn.as_ref().map_or(0, |turn| turn.tool_rounds);
        let spent = self.reply_since.map(|since| since.elapsed());
        let spent = spent.unwrap_or_default();
        let may_use_tools = rounds < agent.spec.session.max_tool_iterations;
        Ok(Box::new(ModelCall {
            long_prompt: context_limits::long_prompt_for(agent, &model),
            request: Request {
                system: prompt::system(
                    &agent.spec,
                    state.summary.created_at,
                    state.summary.workdir.as_deref(),
                ),
                messages: mem::take(&mut told.messages),
                tools: prompt::definitions(&agent.spec, &agent.tools),
                tool_choice: if may_use_tools {
                    ToolChoice::Auto
                } else {
                    ToolChoice::None
                },
                timeout: Some(agent.spec.session.llm_timeout.saturating_sub(spent)),
                reply_bytes: Some(self.reply_bytes(agent)),
                cache_key: Some(self.session.id.to_string()),
                files: Some(Arc::new(files)),
                window_tokens: Some(context_limits::window_tokens(agent, &model.main)),
                on_overflow: OnOverflow::Tell,
            },
            message_id: self.session.parts.ids.message_id(),
            told,
            input_seq: live.last_seq(),
            model,
            may_use_tools,
        }))
    }

    /// The most that a reply to `agent` may hold: it can want less than the server allows, not more.
    pub(in crate::engine) fn reply_bytes(&self, agent: &Agent) -> usize {
        let own = agent.spec.limits.reply_bytes;
        let own = own.and_then(|bytes| usize::try_from(bytes).ok());
        own.map_or(self.parts.reply_bytes, |own| {
            own.min(self.parts.reply_bytes)
        })
    }

    /// Leaves something of the conversation out of the call, because the provider found that too long, and says who
    /// is asked then; `None` when there is nothing to leave out, and nobody else to ask.
    fn after_overflow(
        &self,
        agent: &Agent,
        call: &mut Box<ModelCall>,
        error: &LlmError,
    ) -> Result<Option<OnOverflow>, Leave> {
        // The fold makes room when it sees this, here as at replay.
        self.write(|_| {
            vec![Event::Error {
                code: CONTEXT_TRUNCATED.to_owned(),
                message: format!("{error}; from here on less of it goes to the model"),
            }]
        })?;
        let shorter = self.prepare(agent)?;
        if shorter.request.messages != call.request.messages {
            *call = shorter;
            return Ok(Some(OnOverflow::FallBack));
        }
        let has_other = !call.model.fallbacks.is_empty();
        Ok(has_other.then_some(OnOverflow::HasFallen))
    }

    /// The call without the files in it, because the provider refused one: it would refuse each later call,
    /// too. `None` when there were none, or a part of an answer has come.
    fn withhold_files(
        &self,
        agent: &Agent,
        call: &ModelCall,
        error: &LlmError,
    ) -> Result<Option<Box<ModelCall>>, Leave> {
        let has_begun = self
            .live()?
            .in_flight
            .as_ref()
            .is_some_and(|reply| !reply.text.is_empty());
        if has_begun || !shows_files(&call.request.messages) {
            return Ok(None);
        }
        self.write(|_| {
            vec![Event::Error {
                code: FILES_WITHHELD.to_owned(),
                message: format!(
                    "{error}; the model is told of the files that came last, and not shown them any more"
                ),
            }]
        })?;
        Ok(Some(self.prepare(agent)?))
    }

    /// Makes the call; its text goes to the journal, then to whoever watches. `None` when there was
    /// no room for more of it: what came is in the log, and the next call goes on with it.
    fn stream(&mut self, call: &ModelCall) -> Result<Option<Result<ModelReply, LlmError>>, Leave> {
        let model = self
            .model
            .take()
            .unwrap_or_else(|| self.parts.models.model(&call.model));
        self.begin_journal(call)?;
        self.reply_since.get_or_insert_with(Instant::now);
        if !self.allow_cancel(Some(model.canceller()))? {
            return Ok(Some(Err(LlmError::Cancelled)));
        }
        let mut model = model;
        let mut sink = ReplySink::new(self);
        let result = model.call(&call.request, &mut sink);
        let breaks = self.live()?.state.turn.as_ref().map(|turn| turn.breaks);
        let may_go_on = sink.has_begun && breaks.is_some_and(|breaks| breaks < BREAKS_MAX);
        let broke_off = |error: &&LlmError| may_go_on && error.breaks_off();
        let broken = result.as_ref().err().filter(broke_off);
        let mut ended = match result {
            Err(LlmError::Cancelled) if self.interrupt()? == Some(Interrupt::Shutdown) => {
                sink.break_off()
            }
            Ok(ModelReply { is_cut: true, .. }) => sink.break_off(),
            Err(_) if broken.is_some() => sink.break_off(),
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
        if let Some(error) = broken.filter(|_| ended.is_ok()) {
            self.go_on_after(error)?;
            return Ok(None);
        }
        Ok(Some(result.and_then(|reply| {
            ended.map_err(LlmError::Sink).map(|()| reply)
        })))
    }

    /// Waits for room, and keeps what had come of a reply that found none. The rest of it is the
    /// next call's: a provider does not wait.
    #[inline(never)]
    fn break_reply_off(&mut self, error: EngineError) -> Result<(), Leave> {
        self.wait_for_room(error)?;
        // That was not the model's time.
        self.reply_since = None;
        self.write(|live| events::broken_off(live, None))?;
        self.forget_journal()
    }

    /// Keeps what had come of a reply that broke off: the next call goes on with it.
    #[inline(never)]
    fn go_on_after(&mut self, error: &LlmError) -> Result<(), Leave> {
        if !self.allow_cancel(None)? {
            self.model = None;
            return self.stop_reply();
        }
        log::info!("session {}: {error}", self.session.id);
        let notice = Event::Error {
            code: REPLY_CONTINUED.to_owned(),
            message: format!("{error}; the reply is gone on with"),
        };
        self.write(|live| events::broken_off(live, Some(notice)))?;
        self.forget_journal()
    }

    fn keep_part(&self) -> Result<(), Leave> {
        self.write(|live| {
            events::partial_reply(live, FinishReason::Interrupted)
                .into_iter()
                .collect()
        })?;
        self.forget_journal()
    }

    fn begin_journal(&self, call: &ModelCall) -> Result<(), Leave> {
        let turn_id = self.live()?.state.turn.as_ref().map(|turn| turn.id.clone());
        let Some(turn_id) = turn_id else {
            return Err(Leave::Over);
        };
        let head = PartialHead {
            turn_id,
            message_id: call.message_id.clone(),
            input_seq: call.input_seq,
            model: call.model.main.label(),
        };
        self.insist(|| Ok(self.journal()?.begin(&head).map_err(EngineError::from)?))?;
        let mut live = self.live()?;
        let continues = events::continued(&live.state);
        let label = call.model.main.label();
        let price = self.session.parts.ledger.price(&label);
        let mut reply = InFlight::new(call.message_id.clone(), continues, call.input_seq, label);
        reply.price = price;
        live.in_flight = Some(reply);
        Ok(())
    }

    /// Writes a whole reply; with it the end of the turn, unless there is more to do.
    fn keep_reply(&self, call: &ModelCall, reply: ModelReply) -> Result<(), Leave> {
        self.write(|live| {
            let state = &live.state;
            let Some(turn) = &state.turn else {
                return Vec::new();
            };
            let text = live.in_flight.as_ref().map(|reply| Arc::clone(&reply.text));
            let asked = if call.may_use_tools {
                reply.tool_calls
            } else {
                Vec::new()
            };
            let mut tool_calls = self.name_calls(state, asked);
            if reply.from_text {
                for call in &mut tool_calls {
                    call.source = Some(CallSource::Text);
                }
            }
            let cut = reply.cut_calls.iter().filter_map(|at| tool_calls.get(*at));
            let cut: Vec<CallId> = cut.map(|call| call.call_id.clone()).collect();
            let is_last = tool_calls.is_empty() && !has_unseen(state, call.input_seq);
            let ledger = &self.session.parts.ledger;
            let price = ledger.price(&reply.model);
            let estimated = || {
                let calls = tool_calls.iter().map(|call| call.arguments.len());
                let said = text.as_ref().map_or(0, |text| text.len()) + calls.sum::<usize>();
                state.estimated_usage(call.input_seq, said)
            };
            // Nobody has to guess what costs nothing.
            let used = reply.usage.or_else(|| price.map(|_| estimated()));
            let used = used.map(|usage| usage.priced(price));
            let mut usage = turn.usage;
            usage.add(used.unwrap_or_default());
            let mut events = vec![Event::from(AssistantResponse {
                turn_id: turn.id.clone(),
                message_id: call.message_id.clone(),
                agent: state.summary.agent.clone(),
                model: reply.model,
                input_seq: call.input_seq,
                content: text.unwrap_or_default(),
                finish_reason: if cut.is_empty() {
                    finish_reason(&tool_calls, reply.finish_reason)
                } else {
                    reply.finish_reason
                },
                tool_calls,
                usage: used,
                continues: events::continued(state),
                provider_data: reply.provider_data,
                attachments: state.handed_out.clone(),
            })];
            if reply.is_cut {
                events.push(too_long(call.request.reply_bytes));
            }
            if !cut.is_empty() {
                events.extend(events::cut(cut));
            }
            if is_last {
                events.push(Ending::completed().event(turn.id.clone(), usage));
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
            let id = id.unwrap_or_else(|| self.session.parts.ids.call_id());
            named.push(call.named(id));
        }
        named
    }

    /// Writes what came of a reply before it failed, and that the turn has failed.
    fn fail_reply(&self, call: &ModelCall, error: &LlmError) -> Result<(), Leave> {
        let is_too_long = matches!(error, LlmError::ContextOverflow { .. });
        let hint = match &call.long_prompt {
            Some(why) if is_too_long => format!("; {why}"),
            None if is_too_long => OVERFLOW_HINT.to_owned(),
            Some(_) | None => String::new(),
        };
        let failure = events::failure(error.code(), format!("{error}{hint}"));
        // Of a session that has ended nobody wants to know.
        if !self.live()?.state.is_over() {
            log::warn!("session {}: {error}", self.session.id);
        }
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

    pub(in crate::engine) fn forget_journal(&self) -> Result<(), Leave> {
        self.live()?.in_flight = None;
        self.clear_journal()
    }
}

/// Hands a reply's text over: journal first, then those who watch.
struct ReplySink<'a, 'w> {
    worker: &'a Worker<'w>,
    /// Something of the reply came.
    has_begun: bool,
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

impl<'a, 'w> ReplySink<'a, 'w> {
    fn new(worker: &'a Worker<'w>) -> ReplySink<'a, 'w> {
        ReplySink {
            worker,
            has_begun: false,
            redacted: Stream::new(Arc::clone(&worker.session.parts.redactor)),
            text: String::new(),
            ends: Vec::new(),
            synced_at: Instant::now(),
            no_room: None,
        }
    }

    /// Hands over what was held back.
    fn end(&mut self) -> Result<(), SinkError> {
        self.redacted.finish(&mut self.text);
        self.end_piece();
        self.flush()
    }

    /// Forgets what was held back of a reply that we ended: it may be half of a secret. One that goes on
    /// after the next start says it again, and the two halves would meet where its parts are put together.
    fn break_off(&mut self) -> Result<(), SinkError> {
        self.redacted.break_off(&mut self.text);
        self.end_piece();
        self.flush()
    }

    fn end_piece(&mut self) {
        if self.text.len() > self.ends.last().copied().unwrap_or_default() {
            self.ends.push(self.text.len());
        }
    }

    fn sync_when_due(&mut self, journal: &mut dyn Journal) -> Result<(), SinkError> {
        let session = self.worker.session;
        if session.is_journal_bad() {
            return Err("the text so far may not survive a power cut".into());
        }
        if self.synced_at.elapsed() >= JOURNAL_SYNC_EVERY
            && self.worker.parts.flusher.ask(session, journal.sync_later())
        {
            self.synced_at = Instant::now();
        }
        Ok(())
    }
}

impl Sink for ReplySink<'_, '_> {
    fn text(&mut self, text: &str) {
        self.has_begun |= !text.is_empty();
        self.redacted.push(text, &mut self.text);
        self.end_piece();
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let wake_up = {
            let Ok(mut journal) = self.worker.journal() else {
                return Err("the turn was given up".into());
            };
            if let Err(error) = journal.push(&self.text) {
                let words = error.to_string();
                self.no_room = Some(EngineError::from(error)).filter(EngineError::is_passing);
                return Err(words.into());
            }
            self.sync_when_due(&mut **journal)?;
            let mut live = self.worker.session.live();
            live.publish_text(&self.text, &self.ends);
            live.release()
        };
        // They are sent it on this thread.
        drop(wake_up);
        self.text.clear();
        self.ends.clear();
        Ok(())
    }

    fn notice(&mut self, code: NoticeCode, message: String) {
        self.worker.note(code, message);
    }
}

/// Says that a reply was ended at its limit.
fn too_long(bytes_max: Option<usize>) -> Event {
    Event::Error {
        code: NoticeCode::ReplyTooLong.as_str().to_owned(),
        message: format!(
            "the reply was ended at {} bytes (`limits.reply_bytes`); no tool that it asked for runs",
            bytes_max.unwrap_or_default()
        ),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fs::SimDisk;
    use crate::domain::event::{Outcome, Trigger};
    use crate::domain::providers::Provider;
    use crate::domain::story::{self, user};
    use crate::engine::open::session::Session;
    use crate::engine::testing::{Bench, reply, says};

    /// Turn 1 with message 1, which waits for a reply.
    fn asked() -> [Event; 2] {
        [user(1, "hi"), story::started(1, Trigger::Message)]
    }

    /// The replies of a session.
    fn replies(bench: &Bench, session: &Session) -> Vec<AssistantResponse> {
        let events = bench.events(&session.id).into_iter();
        let replies = events.filter_map(|event| event.as_reply().cloned());
        replies.collect()
    }

    /// What is left of the reply in flight on a disk.
    fn left(disk: SimDisk, session: &Session) -> String {
        use crate::store::SessionStore as _;
        let root = std::path::PathBuf::from("/workspace");
        let store = crate::store::file::FileStore::new(Arc::new(disk), root);
        let partial = store.open(&session.id).unwrap().partial;
        partial.map_or(String::new(), |partial| partial.text)
    }

    /// A sink of a reply that has begun, synced last so long ago.
    fn sink<'a, 'w>(worker: &'a Worker<'w>, synced_before: Duration) -> ReplySink<'a, 'w> {
        let agent = worker.agent().ok().flatten().unwrap();
        let call = worker.prepare(&agent).ok().unwrap();
        assert!(worker.begin_journal(&call).is_ok());
        ReplySink {
            synced_at: Instant::now().checked_sub(synced_before).unwrap(),
            ..ReplySink::new(worker)
        }
    }

    #[test]
    fn of_a_reply_in_flight_a_power_cut_takes_a_second_at_most() {
        for (synced_before, survives) in [(JOURNAL_SYNC_EVERY, "one two"), (Duration::ZERO, "")] {
            let bench = Bench::new();
            let session = bench.session(asked());
            {
                let worker = bench.worker(&session);
                let mut sink = sink(&worker, synced_before);
                sink.text("one ");
                sink.text("two");
                sink.flush().unwrap();
                sink.text("three");
            }
            let disk = bench.disk.clone();
            // Dropped, the engine has done all syncs that it was asked for.
            let session_id = Arc::clone(&session);
            session.live().work = crate::engine::watch::live::Work::None;
            drop(session);
            drop(bench);
            assert_eq!(left(disk.harshest_cut(), &session_id), survives);
        }
    }

    #[test]
    fn a_reply_ends_with_its_next_text_when_a_sync_of_its_journal_failed() {
        let bench = Bench::new();
        let session = bench.session(asked());
        {
            let worker = bench.worker(&session);
            let mut sink = sink(&worker, Duration::ZERO);
            sink.text("one ");
            assert_eq!(sink.flush(), Ok(()));
            let flusher = crate::engine::turn::flusher::Flusher::start().unwrap();
            assert!(flusher.ask(&session, Box::new(|| Err(crate::store::StoreError::Full))));
            // Its thread ends when it has done what it was asked for.
            drop(flusher);
            sink.text("two");
            assert!(sink.flush().is_err());
            let live = session.live();
            assert_eq!(
                *live.in_flight.as_ref().unwrap().text,
                "one ",
                "it was not shown"
            );
        }
        let bench = Bench::new();
        let session = bench.session(asked());
        bench.model.then(|_, sink| says(sink, "one two"));
        session.distrust_journal();
        assert!(bench.worker(&session).call_model().is_ok());
        let events = bench.events(&session.id);
        let Some(Event::TurnEnded { outcome, error, .. }) = events.last() else {
            panic!("{events:?}");
        };
        let code = error.as_ref().unwrap().code.as_str();
        assert_eq!((*outcome, code), (Outcome::Failed, "storage_error"));
    }

    #[test]
    fn no_two_calls_of_a_session_have_one_id() {
        let bench = Bench::new();
        let earlier = story::reply(11, 3, "").asking(&[1]).event();
        let session = bench.session([user(1, "hi"), story::started(1, Trigger::Message), earlier]);
        let worker = bench.worker(&session);
        for (given, kept) in [
            (vec!["a", "b"], vec![true, true]),
            // Twice in one reply, used before, none, and no id at all.
            (vec!["a", "a", "b", "a"], vec![true, false, true, false]),
            (vec!["call_1", "a"], vec![false, true]),
            (vec!["", "", "a\n"], vec![false, false, false]),
        ] {
            let live = session.live();
            let named = worker.name_calls(&live.state, reply(&given).tool_calls);
            let ids: Vec<&str> = named.iter().map(|call| call.call_id.as_str()).collect();
            let same: Vec<bool> = ids.iter().zip(&given).map(|(id, was)| id == was).collect();
            assert_eq!(same, kept, "{given:?} became {ids:?}");
            let different: std::collections::HashSet<&&str> = ids.iter().collect();
            assert_eq!(different.len(), ids.len(), "{ids:?}");
            assert!(!ids.contains(&"call_1"), "{ids:?}");
        }
    }

    #[test]
    fn why_a_reply_ended_fits_the_calls_that_are_kept_of_it() {
        use FinishReason::{Length, Stop, ToolCalls};
        let calls = [story::tool_call(1)];
        for (calls, said, expected) in [
            (&calls[..], Stop, ToolCalls),
            (&calls[..], ToolCalls, ToolCalls),
            (&calls[..], Length, ToolCalls),
            // It asked where it may not, or for nothing.
            (&[], ToolCalls, Stop),
            (&[], Stop, Stop),
            (&[], Length, Length),
        ] {
            assert_eq!(finish_reason(calls, said), expected, "{said:?}");
        }
    }

    #[test]
    fn a_reply_ends_its_turn_unless_calls_or_messages_want_another() {
        for (calls, message, is_end) in [
            (vec![], None, true),
            (vec!["a"], None, false),
            (vec![], Some(user(2, "and?")), false),
            (vec![], Some(overheard()), true),
        ] {
            let bench = Bench::new();
            let session = bench.session(asked());
            let heard = Arc::clone(&session);
            let is_asking = message.clone();
            let ids = calls.clone();
            bench.model.then(move |_, sink| {
                let events = message.into_iter().collect();
                heard.decide(|_| Ok((events, ()))).unwrap();
                sink.text("so");
                sink.flush()?;
                Ok(reply(&ids))
            });
            assert!(bench.worker(&session).call_model().is_ok());
            let is_over = session.live().state.turn.is_none();
            assert_eq!(is_over, is_end, "{calls:?} {is_asking:?}");
            assert_eq!(*replies(&bench, &session)[0].content, "so");
        }
    }

    /// Said in passing.
    fn overheard() -> Event {
        Event::from(crate::domain::event::UserMessage {
            passive: true,
            ..story::user_message(2, "it rains")
        })
    }

    #[test]
    fn after_the_last_round_of_tools_the_model_may_ask_for_none() {
        let bench = Bench::new();
        let rounds = bench
            .engine()
            .agents
            .get("ada")
            .unwrap()
            .spec
            .session
            .max_tool_iterations;
        let session = bench.session([user(1, "hi"), story::started(1, Trigger::Message)]);
        for n in 0..u64::from(rounds) {
            let seq = session.live().last_seq().0;
            for event in [
                story::reply(100 + n, seq, "").asking(&[n]).event(),
                story::result(n, "r"),
            ] {
                session.decide(|_| Ok((vec![event], ()))).unwrap();
            }
        }
        bench.model.then(|request, sink| {
            assert_eq!(request.tool_choice, ToolChoice::None);
            sink.text("enough");
            sink.flush()?;
            Ok(reply(&["a"]))
        });
        assert!(bench.worker(&session).call_model().is_ok());
        let last = replies(&bench, &session).pop().unwrap();
        assert_eq!(
            (last.finish_reason, last.tool_calls.len()),
            (FinishReason::Stop, 0)
        );
        assert!(session.live().state.turn.is_none());
    }

    #[test]
    fn a_reply_that_was_ended_at_its_limit_says_so_and_completes_its_turn() {
        let bench = Bench::new();
        let session = bench.session(asked());
        bench.model.then(|request, sink| {
            assert_eq!(request.reply_bytes, Some(8 << 20));
            says(sink, "as far as ")?;
            Ok(ModelReply {
                finish_reason: FinishReason::Length,
                is_cut: true,
                cut_calls: Vec::new(),
                from_text: false,
                ..reply(&[])
            })
        });
        assert!(bench.worker(&session).call_model().is_ok());
        let events = bench.events(&session.id);
        let [.., said, notice, end] = &events[..] else {
            panic!("{events:?}");
        };
        let said = said.as_reply().unwrap();
        let kept = (said.content.as_str(), said.finish_reason);
        assert_eq!(kept, ("as far as ", FinishReason::Length));
        let is_notice = |code: &str| code == NoticeCode::ReplyTooLong.as_str();
        assert!(matches!(notice, Event::Error { code, message }
            if is_notice(code) && message.contains("at 8388608 bytes")));
        let outcome = Outcome::Completed;
        assert!(matches!(end, Event::TurnEnded { outcome: found, .. } if *found == outcome));
    }

    #[test]
    fn a_call_that_was_cut_does_not_run_and_the_model_is_told() {
        let bench = Bench::new();
        let session = bench.session(asked());
        bench.model.then(|_, sink| {
            says(sink, "well")?;
            Ok(ModelReply {
                finish_reason: FinishReason::Length,
                cut_calls: vec![1],
                ..reply(&["a", "b"])
            })
        });
        assert!(bench.worker(&session).call_model().is_ok());
        let events = bench.events(&session.id);
        let [.., said, notice, Event::ToolsSkipped { call_ids, reason }] = &events[..] else {
            panic!("{events:?}");
        };
        let said = said.as_reply().unwrap();
        let kept = (said.tool_calls.len(), said.finish_reason);
        assert_eq!(kept, (2, FinishReason::Length));
        let code = NoticeCode::CallCut.as_str();
        assert!(matches!(notice, Event::Error { code: found, .. } if found == code));
        let skipped: Vec<&str> = call_ids.iter().map(CallId::as_str).collect();
        assert_eq!(skipped, ["b"]);
        assert!(reason.contains("in the middle of this call"), "{reason}");
        let live = session.live();
        let turn = live.state.turn.as_ref().unwrap();
        let open: Vec<&str> = turn
            .open_calls()
            .map(|one| one.call.call_id.as_str())
            .collect();
        assert_eq!(open, ["a"]);
    }

    #[test]
    fn an_agent_may_want_shorter_replies_than_the_server_allows_and_no_longer_ones() {
        let bench = Bench::new();
        let session = bench.session(asked());
        let worker = bench.worker(&session);
        let mut agent = worker.agent().ok().flatten().unwrap();
        for (own, expected) in [
            (None, 8 << 20),
            (Some(2048), 2048),
            (Some(1 << 30), 8 << 20),
        ] {
            Arc::make_mut(&mut agent.spec).limits.reply_bytes = own;
            assert_eq!(worker.reply_bytes(&agent), expected, "{own:?}");
        }
    }

    #[test]
    fn what_came_of_a_reply_before_it_failed_is_kept() {
        for (text, interrupt, expected) in [
            // It broke off, and is gone on with.
            ("half", None, vec![FinishReason::Interrupted]),
            ("", None, vec![]),
            (
                "half",
                Some(Interrupt::Cancelled),
                vec![FinishReason::Cancelled],
            ),
            (
                "half",
                Some(Interrupt::Shutdown),
                vec![FinishReason::Interrupted],
            ),
        ] {
            let bench = Bench::new();
            let session = bench.session(asked());
            let told = Arc::clone(&session);
            bench.model.then(move |_, sink| {
                sink.text(text);
                sink.flush()?;
                let Some(why) = interrupt else {
                    return Err(LlmError::Truncated {
                        provider: Provider::ECHO,
                    });
                };
                crate::engine::turn::workers::interrupt(&told, why);
                Err(LlmError::Cancelled)
            });
            assert!(bench.worker(&session).call_model().is_ok());
            let kept = replies(&bench, &session);
            let reasons: Vec<FinishReason> = kept.iter().map(|one| one.finish_reason).collect();
            assert_eq!(reasons, expected, "{interrupt:?}");
            assert!(kept.iter().all(|one| *one.content == text));
            let goes_on =
                interrupt == Some(Interrupt::Shutdown) || (interrupt.is_none() && !text.is_empty());
            assert_eq!(session.live().state.turn.is_some(), goes_on);
            // The log has it: the journal is empty, and nothing is in flight.
            assert!(session.live().in_flight.is_none());
            assert_eq!(left(bench.disk.fork(), &session), "");
        }
    }

    #[test]
    fn a_call_that_was_cancelled_before_it_began_is_not_made() {
        let bench = Bench::new();
        let session = bench.session(asked());
        bench.model.then(|_, _| panic!("the model was asked"));
        let mut worker = bench.worker(&session);
        crate::engine::turn::workers::interrupt(&session, Interrupt::Shutdown);
        assert!(worker.call_model().is_ok());
        assert_eq!(replies(&bench, &session), []);
    }
}
