//! The calls of a reply: judged, asked about, run and answered, in the reply's order.
//!
//! Neighbours that only read, and that nobody has to be asked about, run beside one another; any
//! other call runs alone. So of the calls before a question all have run, and none after it.
//!
//! Each call gets exactly one answer: what the tool said, also when a cancel or a stop ended it;
//! or, if it did not begin or did not end in time, its place among the skipped ones.

use std::fmt;
use std::sync::Arc;

use crate::base::text;
use crate::domain::code::{FailureCode, NoticeCode};
use crate::domain::event::{ApprovalKind, Decision, Event, ToolCall, ToolOutput};
use crate::domain::familiar::Familiarity;
use crate::domain::ids::Seq;
use crate::domain::repeats::{self, Repetition};
use crate::domain::state::{CallState, Progress};
use crate::engine::agent::Agent;
use crate::engine::events::{self, Ending};
use crate::engine::grants::{StandingGrant, standing};
use crate::engine::open::parking::AwaitedWork;
use crate::engine::stored::read_records;
use crate::engine::turn::tool_run::{self, FinishedRun, ToolJob, ToolRuns};
use crate::engine::turn::worker::{Leave, Worker};
use crate::engine::watch::live::Interrupt;
use crate::policy::{FileUse, ProposedCall, Verdict};
use crate::tools::{Effect, RunResult, Tool};

/// At most so many calls run beside one another.
const PARALLEL_MAX: usize = 8;

/// What is to be done about a call.
enum CallPlan {
    Run(DueCall),
    Answer(ToolOutput),
    Ask(ApprovalQuestion),
    /// The turn ends instead: the model goes in circles.
    EndTurn,
    /// It waits, or is done.
    Nothing,
}

/// What a person is asked.
struct ApprovalQuestion {
    command: String,
    commands: Vec<String>,
    kind: ApprovalKind,
    /// Whether "allow always" would allow this text alone.
    exact: bool,
    /// What "for this session" would add.
    session_rules: Vec<String>,
}

impl ApprovalQuestion {
    /// Whether a call has run.
    fn of_uncertain(proposed: &ProposedCall<'_>, tool: &dyn Tool) -> ApprovalQuestion {
        ApprovalQuestion {
            command: proposed.command(),
            commands: shown(tool, proposed.commands()),
            kind: ApprovalKind::Uncertain,
            exact: false,
            session_rules: Vec::new(),
        }
    }
}

/// A call that is to run now.
struct DueCall {
    call: ToolCall,
    tool: Arc<dyn Tool>,
    effect: Effect,
    /// Whether a person has allowed it, and others like it, for good.
    is_allowed_always: bool,
}

impl Worker<'_> {
    /// Brings the open calls one step on: the first, and those that may run beside it.
    pub(in crate::engine) fn advance(&mut self, calls: &[CallState]) -> Result<(), Leave> {
        let Some((first, rest)) = calls.split_first() else {
            return Ok(());
        };
        let Some(agent) = self.agent()? else {
            return Ok(());
        };
        let first_due = match self.plan(&agent, first) {
            CallPlan::Run(due) => due,
            CallPlan::Answer(output) => return self.answer(&agent, &[&first.call], &output),
            CallPlan::Ask(question) => {
                self.ask(&first.call, question)?;
                if let Some(tool) = agent.tools.get(&first.call.tool_name) {
                    let file = self.file_of(&first.call, &**tool);
                    let proposed = self.proposed(&first.call, &**tool, file.as_ref());
                    agent.policy.note_question(&proposed);
                }
                return Ok(());
            }
            CallPlan::EndTurn => return self.end_turn(in_circles(&first.call)),
            CallPlan::Nothing => return Ok(()),
        };
        let beside = match first_due.effect {
            Effect::Read => PARALLEL_MAX - 1,
            Effect::Idempotent | Effect::Write => 0,
        };
        // What a guard says hangs on the results of the calls before.
        let unguarded = rest
            .iter()
            .take_while(|state| !agent.spec.hooks.guards(&state.call));
        // So does what is made of one that is the same as another.
        let mut keys = vec![repeats::key(&first.call)];
        let others = unguarded.map_while(|state| match self.plan(&agent, state) {
            CallPlan::Run(due) if due.effect == Effect::Read => {
                let key = repeats::key(&due.call);
                let is_new = !keys.contains(&key) || !agent.spec.session.loop_guard;
                keys.push(key);
                is_new.then_some(due)
            }
            CallPlan::Run(_)
            | CallPlan::Answer(_)
            | CallPlan::Ask(..)
            | CallPlan::EndTurn
            | CallPlan::Nothing => None,
        });
        let mut group = vec![first_due];
        group.extend(others.take(beside));
        self.run_calls(&agent, &group)
    }

    fn plan(&self, agent: &Agent, state: &CallState) -> CallPlan {
        let call = &state.call;
        if state.progress == Progress::Waiting && agent.spec.session.loop_guard {
            match self.repetition(call) {
                Repetition::None => {}
                Repetition::Repeated(result) => return CallPlan::Answer(self.once_more(result)),
                Repetition::Loop => return CallPlan::EndTurn,
            }
        }
        let Some(tool) = agent.tools.get(&call.tool_name) else {
            return plan_without_tool(agent, state);
        };
        // A person decides on no call that a guard turns down, and a policy judges none.
        if matches!(state.progress, Progress::Waiting | Progress::Doubted)
            && let Some(reason) = self.turned_down(agent, call)
        {
            return CallPlan::Answer(events::refused(reason));
        }
        let file = match tool.file(&call.arguments, self.workdir.as_deref()) {
            Ok(file) => file,
            // What would be judged, asked about or run is nothing that can be done.
            Err(refusal) if matches!(state.progress, Progress::Waiting) => {
                return CallPlan::Answer(refusal.into());
            }
            Err(_) => None,
        };
        let proposed = self.proposed(call, &**tool, file.as_ref());
        let run = |is_allowed_always| {
            CallPlan::Run(DueCall {
                call: call.clone(),
                tool: Arc::clone(tool),
                effect: proposed.effect,
                is_allowed_always,
            })
        };
        match state.progress {
            Progress::Waiting => {
                let granted = self.granted();
                let judged = ProposedCall {
                    granted: &granted,
                    ..self.judged(proposed, &**tool)
                };
                match agent.policy.judge(&judged) {
                    Verdict::Allow => run(false),
                    Verdict::Ask {
                        command,
                        commands,
                        is_exact,
                        session_rules,
                    } => match tool.asked(&call.arguments, self.workdir.as_deref()) {
                        Ok(shown_instead) => CallPlan::Ask(ApprovalQuestion {
                            command: shown_instead.unwrap_or(command),
                            commands: shown(&**tool, commands),
                            kind: ApprovalKind::Policy,
                            exact: is_exact,
                            session_rules,
                        }),
                        Err(refusal) => CallPlan::Answer(refusal.into()),
                    },
                    Verdict::Deny { reason } => CallPlan::Answer(events::refused(reason)),
                }
            }
            // It may have run before the process died.
            Progress::Started => match proposed.effect {
                Effect::Read | Effect::Idempotent => run(false),
                Effect::Write => CallPlan::Ask(ApprovalQuestion::of_uncertain(&proposed, &**tool)),
            },
            // Nobody may allow what a policy denies, and no policy has judged it yet.
            Progress::Doubted => match agent.policy.judge(&proposed) {
                Verdict::Deny { reason } => CallPlan::Answer(events::refused(reason)),
                Verdict::Allow | Verdict::Ask { .. } => {
                    CallPlan::Ask(ApprovalQuestion::of_uncertain(&proposed, &**tool))
                }
            },
            Progress::Decided(decision) => match decision {
                Decision::AllowAlways => run(true),
                Decision::AllowOnce | Decision::AllowSession | Decision::Retry => run(false),
                Decision::Deny | Decision::Skip | Decision::Worked => {
                    CallPlan::Answer(events::decided(decision))
                }
            },
            // `next_step` waits for the first two and has no use for the third.
            Progress::Asked | Progress::Parked { .. } | Progress::Done => CallPlan::Nothing,
        }
    }

    /// What a call that is to run now is among those before it.
    fn repetition(&self, call: &ToolCall) -> Repetition {
        let now = self.session.parts.ids.now();
        let Ok(live) = self.live() else {
            return Repetition::None;
        };
        let turn = live.state.turn.as_ref();
        turn.map_or(Repetition::None, |turn| turn.recent.judge(call, now))
    }

    /// The result in event `seq` for a call that does not run again.
    fn once_more(&self, seq: Option<Seq>) -> ToolOutput {
        const DONE_TWICE: &str = "[done twice already: the same call with the same arguments was not \
             run again, and what stands above is its last result. Do something else, or say what you \
             have]";
        let mut output = events::refused(String::new());
        let (store, id) = (&*self.session.parts.store, &self.session.id);
        let read = seq.map(|seq| {
            read_records(store, id, seq, seq, |record| {
                if let Event::ToolResult {
                    result,
                    appended_bytes,
                    ..
                } = &record.event
                {
                    output.clone_from(result);
                    // What hooks say to it they say again.
                    let own = output
                        .content
                        .len()
                        .saturating_sub(appended_bytes.unwrap_or(0));
                    output.content = text::start(&output.content, own).to_owned();
                }
            })
        });
        if let Some(Err(error)) = read {
            log::warn!("session {id}: the result of a call cannot be read again: {error}");
        }
        output.content = format!("{}\n\n{DONE_TWICE}", output.content);
        output
    }

    /// The file that a call is about, if it is about one that is there.
    fn file_of(&self, call: &ToolCall, tool: &dyn Tool) -> Option<FileUse> {
        let found = tool.file(&call.arguments, self.workdir.as_deref());
        found.ok().flatten()
    }

    fn proposed<'c>(
        &'c self,
        call: &'c ToolCall,
        tool: &dyn Tool,
        file: Option<&'c FileUse>,
    ) -> ProposedCall<'c> {
        ProposedCall {
            session: &self.session.id,
            call,
            kind: tool.spec().kind,
            effect: tool.effect(&call.arguments),
            is_composed: false,
            workdir: self.workdir.as_deref(),
            value_key: tool.spec().value_key(),
            file,
            granted: &[],
        }
    }

    /// The rules that were allowed for the session, and count in this turn.
    fn granted(&self) -> Vec<String> {
        let seqs = self.live().map(|live| live.state.summary.grants.clone());
        let seqs = seqs.unwrap_or_default();
        if seqs.is_empty() {
            return Vec::new();
        }
        let (parts, id) = (&self.session.parts, &self.session.id);
        let found = standing(&*parts.store, &parts.grant_key, id, &seqs, parts.ids.now());
        let found = found.unwrap_or_else(|error| {
            log::warn!("session {id}: a person is asked, as its grants cannot be read: {error}");
            Vec::new()
        });
        let Ok(live) = self.live() else {
            return Vec::new();
        };
        let counts = |one: &StandingGrant| {
            // Meanwhile it may have been taken back.
            live.state.summary.grants.contains(&one.seq)
                && live.state.is_turn_of(one.grant.by.as_deref())
        };
        let found = found.into_iter().filter(counts);
        found.map(|one| one.grant.rule).collect()
    }

    /// The proposed with what the log says of the address that it asks.
    fn judged<'c>(&self, proposed: ProposedCall<'c>, tool: &dyn Tool) -> ProposedCall<'c> {
        let address = tool.address(&proposed.call.arguments);
        ProposedCall {
            is_composed: address.is_some_and(|address| !self.is_familiar(&address)),
            ..proposed
        }
    }

    /// Whether somebody else than the model named the address in this session. Read from the whole
    /// log, whatever of it the model is still shown: that is rare, and short beside a fetch.
    fn is_familiar(&self, address: &str) -> bool {
        let mut familiarity = Familiarity::of(address);
        let Ok(last) = self.live().map(|live| live.last_seq()) else {
            return false;
        };
        let (store, id) = (&*self.session.parts.store, &self.session.id);
        let read = read_records(store, id, Seq(1), last, |record| {
            familiarity.see(&record.event);
        });
        match read {
            Ok(()) => familiarity.is_familiar(),
            Err(error) => {
                // Else it was deleted.
                if self.live().is_ok() {
                    log::warn!(
                        "session {id}: a person is asked, as its log cannot be read: {error}"
                    );
                }
                false
            }
        }
    }

    /// Why a guard of the agent turns a call down.
    fn turned_down(&self, agent: &Agent, call: &ToolCall) -> Option<String> {
        let hooks = &agent.spec.hooks;
        if !hooks.guards(call) {
            return None;
        }
        match self
            .session
            .with_done_calls(hooks, |done| done.refusal(call))
        {
            Ok(refusal) => refusal,
            Err(error) => {
                let id = &self.session.id;
                log::warn!("session {id}: a guard cannot see what ran before: {error}");
                Some(format!("not run: what ran before cannot be read: {error}"))
            }
        }
    }

    fn answer(&self, agent: &Agent, calls: &[&ToolCall], output: &ToolOutput) -> Result<(), Leave> {
        let answers = calls
            .iter()
            .map(|call| events::result(&agent.spec.hooks, call, output.clone(), None, Vec::new()));
        self.write(|_| answers.collect())?;
        Ok(())
    }

    fn ask(&self, call: &ToolCall, question: ApprovalQuestion) -> Result<(), Leave> {
        self.write(|live| {
            let turn = live.state.turn.as_ref();
            vec![Event::ApprovalRequired {
                call_id: call.call_id.clone(),
                command: question.command,
                commands: question.commands,
                kind: question.kind,
                exact: question.exact,
                session_rules: match live.state.is_turn_of_one() {
                    true => question.session_rules,
                    false => Vec::new(),
                },
                requester_id: turn.and_then(|turn| turn.requester.clone()),
            }]
        })?;
        Ok(())
    }

    /// Has the policy remember what a person allowed for good; if it can't, that person is told. The
    /// decision stands in the log, and holds for this call whatever becomes of the policy's file.
    fn remember(&self, agent: &Agent, proposed: &ProposedCall<'_>) -> Result<(), Leave> {
        match agent.policy.allow_always(proposed) {
            Ok(()) => Ok(()),
            Err(error) => self.tell_not_remembered(&error),
        }
    }

    fn tell_not_remembered(&self, why: &dyn fmt::Display) -> Result<(), Leave> {
        let message = format!("\"allow always\" is not remembered, or not all of it: {why}");
        log::warn!("session {}: {message}", self.session.id);
        self.write(|_| {
            vec![Event::Error {
                code: NoticeCode::NotRemembered.as_str().to_owned(),
                message,
            }]
        })?;
        Ok(())
    }

    /// Runs calls, several of them beside one another.
    fn run_calls(&self, agent: &Agent, group: &[DueCall]) -> Result<(), Leave> {
        for due in group.iter().filter(|due| due.is_allowed_always) {
            match due.tool.file(&due.call.arguments, self.workdir.as_deref()) {
                Ok(file) => {
                    self.remember(agent, &self.proposed(&due.call, &*due.tool, file.as_ref()))?;
                }
                // It is gone meanwhile; a rule for the tool would be one for all files.
                Err(refusal) => self.tell_not_remembered(&refusal)?,
            }
        }
        let (cancel, cancel_rx) = tool_run::canceller();
        let (chat, owner) = {
            let live = self.live()?;
            let summary = &live.state.summary;
            (summary.chat(), summary.owner.clone())
        };
        let jobs = group.iter().map(|due| ToolJob {
            tool: Arc::clone(&due.tool),
            call: due.call.clone(),
            cancel_rx: cancel_rx.clone(),
            session: self.session.id.clone(),
            chat: chat.clone(),
            owner: owner.clone(),
            workdir: self.workdir.clone(),
        });
        let jobs: Vec<ToolJob> = jobs.collect();
        // Before a lock is taken: tools are asked, which may look at the session, or take their time.
        let starts: Vec<Event> = jobs.iter().flat_map(started).collect();
        // One sync for all of them.
        self.write(|_| starts)?;
        if !self.allow_cancel(Some(Arc::clone(&cancel)))? {
            // Asked to stop before it began: the next look says what becomes of the turn.
            let calls: Vec<&ToolCall> = group.iter().map(|due| &due.call).collect();
            let stopped = events::refused("stopped before it ran".to_owned());
            return self.answer(agent, &calls, &stopped);
        }
        for due in group {
            let file = self.file_of(&due.call, &*due.tool);
            let proposed = self.proposed(&due.call, &*due.tool, file.as_ref());
            agent.policy.note_start(&proposed);
        }
        // Whatever makes this return ends what still runs.
        let mut runs = ToolRuns::new(jobs, cancel);
        while let Some(done) = runs.wait() {
            self.keep_results(agent, group, done)?;
        }
        self.allow_cancel(None)?;
        Ok(())
    }

    /// Asks the tools of parked calls what became of that: another process has parked them, or this
    /// one, which has let the session go since.
    pub(in crate::engine) fn ask_after_parked(&self) -> Result<(), Leave> {
        let awaited = {
            let mut live = self.live()?;
            live.has_unasked_calls = false;
            AwaitedWork::of(&self.session.id, &live.state)
        };
        let Some(agent) = self.agent()? else {
            return Ok(());
        };
        for work in awaited {
            let Some(tool) = agent.tools.get(work.tool()) else {
                // Whoever does the work brings the result, or a person cancels.
                log::warn!(
                    "session {}: there is no tool {} to ask after {}",
                    self.session.id,
                    work.tool(),
                    work.on
                );
                continue;
            };
            if let Some(output) = work.ask_after(&**tool) {
                self.end_parked(&agent, &work, output)?;
            }
        }
        Ok(())
    }

    /// Writes the result of a parked call, unless it has one by now.
    fn end_parked(
        &self,
        agent: &Agent,
        work: &AwaitedWork,
        output: ToolOutput,
    ) -> Result<(), Leave> {
        self.write(|live| {
            let parked = live.state.open_call(&work.call.call_id);
            let parked = parked.and_then(CallState::parked);
            let waits = parked.is_some_and(|parked| *parked.on == work.on);
            let result = waits
                .then(|| events::result(&agent.spec.hooks, &work.call, output, None, Vec::new()));
            result.into_iter().collect()
        })?;
        Ok(())
    }

    /// Writes what has come back at the same time, in one append.
    fn keep_results(
        &self,
        agent: &Agent,
        group: &[DueCall],
        done: Vec<FinishedRun>,
    ) -> Result<(), Leave> {
        let interrupt = self.interrupt()?;
        self.write(|live| {
            let events = done.into_iter().filter_map(|done| {
                let call = &group[done.index].call;
                // Others have brought the result while the tool went on.
                let state = live.state.open_call(&call.call_id)?;
                let duration_ms = u64::try_from(done.duration.as_millis()).unwrap_or(u64::MAX);
                let (output, files) = match done.result {
                    RunResult::Done(output) => (output, Vec::new()),
                    RunResult::HandedOut { output, files } => (output, files),
                    RunResult::Parked { on } => {
                        let is_known = state.parked().is_some_and(|parked| *parked.on == on);
                        return (!is_known).then(|| events::parked(call, on));
                    }
                };
                let (hooks, output) = (&agent.spec.hooks, marked(output, interrupt));
                Some(events::result(
                    hooks,
                    call,
                    output,
                    Some(duration_ms),
                    files,
                ))
            });
            events.collect()
        })?;
        Ok(())
    }
}

/// The end of a turn whose model makes the same calls again and again.
fn in_circles(call: &ToolCall) -> Ending {
    let message = format!(
        "the model went in circles: it called '{}' again and again with the same arguments \
         (`spec.session.loop_guard: off` lets it)",
        call.tool_name
    );
    Ending::failed(events::failure(FailureCode::Loop, message))
}

/// The commands that a person is shown: of a tool that is a script its own, else those of the call.
fn shown(tool: &dyn Tool, of_call: Vec<String>) -> Vec<String> {
    let own = tool.commands();
    if own.is_empty() { of_call } else { own }
}

/// What is to be done about a call whose tool is not there, or is not there any more.
fn plan_without_tool(agent: &Agent, state: &CallState) -> CallPlan {
    let call = &state.call;
    match state.progress {
        // It may have run, and nobody can tell any more what running it twice would mean.
        Progress::Started | Progress::Doubted => {
            let command = format!("{} {}", call.tool_name, call.arguments);
            CallPlan::Ask(ApprovalQuestion {
                commands: vec![command.clone()],
                command,
                kind: ApprovalKind::Uncertain,
                exact: false,
                session_rules: Vec::new(),
            })
        }
        Progress::Decided(decision @ (Decision::Deny | Decision::Skip | Decision::Worked)) => {
            CallPlan::Answer(events::decided(decision))
        }
        Progress::Waiting
        | Progress::Decided(
            Decision::AllowOnce | Decision::AllowSession | Decision::AllowAlways | Decision::Retry,
        ) => CallPlan::Answer(unknown_tool(call, agent)),
        Progress::Asked | Progress::Parked { .. } | Progress::Done => CallPlan::Nothing,
    }
}

/// What is written before a tool runs: that it does, and what for, if the call is to wait.
fn started(job: &ToolJob) -> impl Iterator<Item = Event> {
    let starts = Event::ToolStarted {
        call_id: job.call.call_id.clone(),
        tool_name: job.call.tool_name.clone(),
    };
    let parks = job.awaits().map(|on| events::parked(&job.call, on));
    [starts].into_iter().chain(parks)
}

/// Says of a tool that did not succeed why that may be so.
fn marked(mut output: ToolOutput, interrupt: Option<Interrupt>) -> ToolOutput {
    let why = match interrupt {
        None => None,
        Some(Interrupt::Shutdown) => Some("stopped by shutdown"),
        Some(Interrupt::Cancelled) => Some(events::CANCELLED),
    };
    if let Some(why) = why.filter(|_| !output.success) {
        output.content.push_str(&format!("\n({why})"));
    }
    output
}

fn unknown_tool(call: &ToolCall, agent: &Agent) -> ToolOutput {
    let known: Vec<&str> = agent.tools.specs().map(|spec| spec.name.as_str()).collect();
    let known = if known.is_empty() {
        "there are no tools".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    };
    events::refused(format!(
        "there is no tool called '{}'; {known}",
        call.tool_name
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::base::clock::FakeClock;
    use crate::domain::event::Trigger;
    use crate::domain::ids::AwaitedId;
    use crate::domain::story::{self, output, user};
    use crate::engine::grants::GrantPlace;
    use crate::engine::open::session::Session;
    use crate::engine::testing::{Bench, Does, WRITES, agent, noon};
    use crate::engine::turn::workers;
    use crate::policy::{Policy, RememberError};
    use crate::tools::{Run, ToolRefusal, ToolSpec, Toolbox};

    /// An engine whose `ada` has a tool `date` of that effect; what it answers is counted.
    fn bench(effect: Effect) -> (Bench, Arc<AtomicUsize>) {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let bench = Bench::with(|plan| {
            let tools = Does::tool(effect, move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                output(true, "noon")
            });
            plan.agents = vec![Agent {
                tools,
                ..agent("ada")
            }];
        });
        (bench, runs)
    }

    /// Turn 1, whose reply asks for these calls.
    fn asking(calls: &[u64]) -> Vec<Event> {
        vec![
            user(1, "when?"),
            story::started(1, Trigger::Message),
            story::reply(11, 3, "").asking(calls).event(),
        ]
    }

    fn open_calls(worker: &Worker<'_>) -> Vec<CallState> {
        let live = worker.live().ok().unwrap();
        live.state
            .turn
            .as_ref()
            .unwrap()
            .open_calls()
            .cloned()
            .collect()
    }

    /// What the results of a session's calls say.
    fn results(bench: &Bench, worker: &Worker<'_>) -> Vec<String> {
        let events = bench.events(&worker.session.id).into_iter();
        let mut results = Vec::new();
        for event in events {
            if let Event::ToolResult {
                call_id, result, ..
            } = event
            {
                results.push(format!("{call_id} {}", result.content));
            }
        }
        results
    }

    /// The events that tell of runs, by what they tell.
    #[expect(clippy::wildcard_enum_match_arm, reason = "it looks at two of them")]
    fn told_of_runs(bench: &Bench, worker: &Worker<'_>) -> String {
        let events = bench.events(&worker.session.id).into_iter();
        let letters = events.map(|event| match event {
            Event::ToolStarted { .. } => "s",
            Event::ToolResult { .. } => "r",
            _ => "",
        });
        letters.collect()
    }

    #[test]
    fn neighbours_that_only_read_run_in_one_step_and_any_other_call_runs_alone() {
        // Each letter is a call that reads or writes, each word a step.
        for steps in ["r", "w", "rrr", "w w w", "rr w rr", "w rrr w", "r w r"] {
            let (bench, runs) = bench(Effect::Read);
            let mut asked = story::reply(11, 3, "");
            let letters = steps.bytes().filter(|letter| *letter != b' ');
            for (n, letter) in (1..).zip(letters) {
                let mut call = story::tool_call(n);
                if letter == b'w' {
                    call.arguments = WRITES.to_owned();
                }
                asked.tool_calls.push(call);
            }
            asked.finish_reason = crate::domain::event::FinishReason::ToolCalls;
            let session = bench.session([
                user(1, "when?"),
                story::started(1, Trigger::Message),
                asked.event(),
            ]);
            let mut worker = bench.worker(&session);
            let mut expected = String::new();
            let mut ran = 0;
            for step in steps.split(' ') {
                let calls = open_calls(&worker);
                assert!(worker.advance(&calls).is_ok());
                ran += step.len();
                assert_eq!(runs.load(Ordering::SeqCst), ran, "{steps}");
                // That they start is written before any of them has a result.
                expected += &format!("{}{}", "s".repeat(step.len()), "r".repeat(step.len()));
                assert_eq!(told_of_runs(&bench, &worker), expected, "{steps}");
            }
            assert_eq!(open_calls(&worker), []);
        }
    }

    #[test]
    fn a_call_that_need_not_be_asked_about_again_still_runs_alone() {
        let (bench, runs) = bench(Effect::Idempotent);
        let session = bench.session(asking(&[1, 2]));
        let mut worker = bench.worker(&session);
        let calls = open_calls(&worker);
        assert!(worker.advance(&calls).is_ok());
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn no_more_than_eight_run_beside_one_another() {
        let (bench, runs) = bench(Effect::Read);
        let session = bench.session(asking(&(1..=10).collect::<Vec<_>>()));
        let mut worker = bench.worker(&session);
        let calls = open_calls(&worker);
        assert!(worker.advance(&calls).is_ok());
        assert_eq!(runs.load(Ordering::SeqCst), PARALLEL_MAX);
    }

    #[test]
    fn a_call_that_is_stopped_before_it_began_does_not_run_and_is_answered() {
        for why in [Interrupt::Shutdown, Interrupt::Cancelled] {
            let (bench, runs) = bench(Effect::Read);
            let session = bench.session(asking(&[1, 2]));
            let mut worker = bench.worker(&session);
            let calls = open_calls(&worker);
            workers::interrupt(&session, why);
            assert!(worker.advance(&calls).is_ok());
            assert_eq!(runs.load(Ordering::SeqCst), 0, "{why:?}");
            let stopped = [
                "call_1 stopped before it ran",
                "call_2 stopped before it ran",
            ];
            assert_eq!(results(&bench, &worker), stopped);
        }
    }

    #[test]
    fn what_is_done_about_a_call_depends_on_how_far_it_came_and_on_what_twice_would_mean() {
        let decided = |decision| vec![story::asks(1), story::decides(1, decision)];
        for (effect, more, ran, asked) in [
            (Effect::Write, vec![], 1, 0),
            // It may have run before the process died.
            (Effect::Read, vec![story::runs(1)], 1, 0),
            (Effect::Idempotent, vec![story::runs(1)], 1, 0),
            (Effect::Write, vec![story::runs(1)], 0, 1),
            (Effect::Write, decided(Decision::AllowOnce), 1, 0),
            (Effect::Write, decided(Decision::AllowAlways), 1, 0),
            (Effect::Write, decided(Decision::Retry), 1, 0),
            (Effect::Read, decided(Decision::Deny), 0, 0),
            (Effect::Read, decided(Decision::Skip), 0, 0),
            (Effect::Read, decided(Decision::Worked), 0, 0),
        ] {
            let (bench, runs) = bench(effect);
            let events = [asking(&[1]), more.clone()].concat();
            let questions = |events: &[Event]| {
                let questions = events.iter().filter(|event| {
                    matches!(
                        event,
                        Event::ApprovalRequired {
                            kind: ApprovalKind::Uncertain,
                            ..
                        }
                    )
                });
                questions.count()
            };
            let session = bench.session(events);
            let mut worker = bench.worker(&session);
            let calls = open_calls(&worker);
            assert!(worker.advance(&calls).is_ok());
            assert_eq!(runs.load(Ordering::SeqCst), ran, "{effect:?} {more:?}");
            assert_eq!(
                questions(&bench.events(&session.id)),
                asked,
                "{effect:?} {more:?}"
            );
            assert_eq!(
                results(&bench, &worker).len(),
                1 - asked,
                "{effect:?} {more:?}"
            );
        }
    }

    /// A session of `ada`, whose guard wants a call of `prior` first.
    fn guarded(prior: &str, events: Vec<Event>) -> (Bench, Arc<AtomicUsize>, Arc<Session>) {
        use crate::domain::glob::Glob;
        use crate::domain::hooks::{Guard, Rule, Selector};
        let runs = Arc::new(AtomicUsize::new(0));
        let (counted, prior) = (Arc::clone(&runs), prior.to_owned());
        let bench = Bench::with(|plan| {
            let mut ada = agent("ada");
            ada.tools = Does::tool(Effect::Read, move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
                output(true, "noon")
            });
            let selector = |glob: &str| Selector(vec![Glob::parse(glob).unwrap()]);
            Arc::make_mut(&mut ada.spec).hooks.guards = vec![Guard {
                calls: selector("date"),
                rule: Rule::DependsOn {
                    prior: selector(&prior),
                    args: Vec::new(),
                },
            }];
            plan.agents = vec![ada];
        });
        let session = bench.session(events);
        (bench, runs, session)
    }

    #[test]
    fn a_guard_is_asked_before_anybody_else_and_not_again_once_a_call_was_let_through() {
        let decided = vec![story::asks(1), story::decides(1, Decision::AllowOnce)];
        for (more, ran) in [
            (vec![], 0),
            (vec![Event::SessionAdopted {}], 0),
            (decided, 1),
            (vec![story::runs(1)], 1),
        ] {
            let (bench, runs, session) = guarded("other", [asking(&[1]), more.clone()].concat());
            let mut worker = bench.worker(&session);
            let calls = open_calls(&worker);
            assert!(worker.advance(&calls).is_ok());
            assert_eq!(runs.load(Ordering::SeqCst), ran, "{more:?}");
            let said = results(&bench, &worker);
            assert_eq!(said[0].contains("not run: a call of `other`"), ran == 0);
            assert_eq!(open_calls(&worker), []);
        }
    }

    #[test]
    fn a_guarded_call_waits_for_the_results_of_those_before_it() {
        let earlier = vec![
            user(1, "when?"),
            story::started(1, Trigger::Message),
            story::reply(11, 3, "").asking(&[1, 2, 3]).event(),
        ];
        let (bench, runs, session) = guarded("date", earlier);
        let mut worker = bench.worker(&session);
        let calls = open_calls(&worker);
        // The first has nothing to hang on; the next ones are not run beside it.
        assert!(worker.advance(&calls).is_ok());
        assert_eq!(open_calls(&worker).len(), 2);
        assert_eq!(runs.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_tool_that_is_not_there_is_named_with_those_that_are_and_is_asked_about_if_it_may_have_run()
    {
        for (more, answer) in [
            (
                vec![],
                Some("call_1 there is no tool called 'date'; there are no tools"),
            ),
            (vec![story::runs(1)], None),
        ] {
            let bench = Bench::new();
            let session = bench.session([asking(&[1]), more].concat());
            let mut worker = bench.worker(&session);
            let calls = open_calls(&worker);
            assert!(worker.advance(&calls).is_ok());
            assert_eq!(results(&bench, &worker), Vec::from_iter(answer));
            assert_eq!(session.live().state.approval().is_some(), answer.is_none());
        }
    }

    /// Asks about whatever was not allowed for the session, and offers a rule for it.
    #[derive(Debug)]
    struct AsGranted;

    impl Policy for AsGranted {
        fn judge(&self, proposed: &ProposedCall<'_>) -> Verdict {
            if proposed.granted == ["bash:date"] {
                return Verdict::Allow;
            }
            Verdict::Ask {
                command: "date".to_owned(),
                commands: Vec::new(),
                is_exact: false,
                session_rules: vec!["bash:date".to_owned()],
            }
        }

        fn allow_always(&self, _: &ProposedCall<'_>) -> Result<(), RememberError> {
            Ok(())
        }

        fn note_start(&self, _: &ProposedCall<'_>) {}

        fn note_question(&self, _: &ProposedCall<'_>) {}
    }

    /// What comes of a call where something was granted before; `from` are the senders of the turn's messages and
    /// whether they have names, `later` those of what is said after the reply.
    fn ran_as_granted(
        by: Option<&str>,
        from: &[(Option<&str>, bool)],
        later: &[Option<&str>],
        hours: u64,
        adopted: bool,
    ) -> (bool, usize) {
        let clock = Arc::new(FakeClock::at(noon()));
        let bench = Bench::with(|plan| {
            plan.clock = Arc::clone(&clock) as _;
            plan.agents[0].policy = Arc::new(AsGranted);
            plan.agents[0].tools = Does::tool(Effect::Write, |_| output(true, "noon"));
        });
        let session = bench.session([]);
        let commit = |events: Vec<Event>| {
            session.commit(&mut session.log(), events).unwrap();
        };
        let (key, now) = (&session.parts.grant_key, session.parts.ids.now());
        let seq = session.live().last_seq().next().next();
        let by = by.map(str::to_owned);
        let rule = "bash:date".to_owned();
        let place = GrantPlace::of(&*session.parts.store, &session.id);
        let grant = key.grant(&place, seq, rule, by, now);
        commit(vec![story::notice(), grant]);
        if adopted {
            commit(vec![Event::SessionAdopted {}]);
        }
        clock.advance(Duration::from_secs(hours * 3600));
        let message = |n: u64, from: Option<&str>, named: bool| {
            let mut message = story::user_message(n, "when?");
            message.sender_id = from.map(str::to_owned);
            message.sender_name = named.then(|| "Ann".to_owned());
            Event::from(message)
        };
        for (n, (from, named)) in (1..).zip(from) {
            commit(vec![message(n, *from, *named)]);
        }
        commit(vec![story::started(1, Trigger::Message)]);
        let input = session.live().last_seq().0;
        commit(vec![story::reply(11, input, "").asking(&[1]).event()]);
        for (n, from) in (21..).zip(later) {
            commit(vec![message(n, *from, false)]);
        }
        let mut worker = bench.worker(&session);
        let calls = open_calls(&worker);
        assert!(worker.advance(&calls).is_ok());
        let live = session.live();
        let offered = live.state.approval().map(|open| open.session_rules.len());
        (offered.is_none(), offered.unwrap_or(0))
    }

    #[test]
    fn what_is_allowed_for_a_session_counts_in_turns_of_whoever_allowed_it() {
        let (owner, alice) = ((None, false), (Some("token:alice"), false));
        let (a, own): (Option<&str>, Option<&str>) = (Some("token:alice"), None);
        for (by, from, later, hours, adopted, expected) in [
            (own, &[owner][..], &[][..], 0, false, (true, 0)),
            (own, &[owner, owner], &[own], 7, false, (true, 0)),
            (a, &[alice], &[a], 0, false, (true, 0)),
            // Another person's turn, one of two, and one in which another has said something by now.
            (own, &[alice], &[], 0, false, (false, 1)),
            (a, &[owner], &[], 0, false, (false, 1)),
            (a, &[owner, alice], &[], 0, false, (false, 0)),
            (a, &[alice, owner], &[], 0, false, (false, 0)),
            (a, &[alice], &[own], 0, false, (false, 1)),
            // A program of a tool, and whatever else has a name of its own, is another one.
            (
                own,
                &[(Some("program:x"), false)],
                &[],
                0,
                false,
                (false, 1),
            ),
            // Its time is over; it was written by somebody unknown; a group is asked without a rule.
            (own, &[owner], &[], 8, false, (false, 1)),
            (own, &[owner], &[], 0, true, (false, 1)),
            (own, &[(Some("42"), true)], &[], 0, false, (false, 0)),
        ] {
            let got = ran_as_granted(by, from, later, hours, adopted);
            assert_eq!(got, expected, "{by:?} {from:?} {later:?} {hours} {adopted}");
        }
    }

    /// A tool `date` that looks whether its session is locked when it is asked what it waits for.
    struct Curious {
        spec: ToolSpec,
        session: OnceLock<Arc<Session>>,
        found_unlocked: OnceLock<bool>,
    }

    impl Tool for Curious {
        fn spec(&self) -> &ToolSpec {
            &self.spec
        }

        fn awaits(&self, _: &Run<'_>) -> Option<AwaitedId> {
            let session = self.session.get().unwrap();
            self.found_unlocked.set(session.is_unlocked()).unwrap();
            AwaitedId::parse("job:1").ok()
        }

        fn run(&self, _: &Run<'_>) -> RunResult {
            let on = AwaitedId::parse("job:1").unwrap();
            RunResult::Parked { on }
        }
    }

    #[test]
    fn no_lock_of_a_session_is_held_while_a_tool_says_what_it_waits_for() {
        let spec = Does::tool(Effect::Write, |_| output(true, ""));
        let spec = spec.specs().next().unwrap().clone();
        let tool = Arc::new(Curious {
            spec,
            session: OnceLock::new(),
            found_unlocked: OnceLock::new(),
        });
        let bench = Bench::with(|plan| {
            plan.agents = vec![Agent {
                tools: Toolbox::default().with(Arc::clone(&tool) as _),
                ..agent("ada")
            }];
        });
        let session = bench.session(asking(&[1]));
        tool.session.set(Arc::clone(&session)).unwrap();
        let mut worker = bench.worker(&session);
        let calls = open_calls(&worker);
        assert!(worker.advance(&calls).is_ok());
        assert_eq!(tool.found_unlocked.get(), Some(&true));
        assert!(session.live().state.is_parked());
    }

    /// A tool `date` whose file is gone.
    struct Gone(ToolSpec);

    impl Tool for Gone {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        fn file(&self, _: &str, _: Option<&Path>) -> Result<Option<FileUse>, ToolRefusal> {
            Err("there is no x".into())
        }

        fn run(&self, _: &Run<'_>) -> RunResult {
            RunResult::Done(output(false, "there is no x"))
        }
    }

    #[test]
    fn no_rule_is_made_of_a_file_that_is_gone() {
        let bench = Bench::with(|plan| {
            let spec = Does::tool(Effect::Write, |_| output(true, "noon"))
                .specs()
                .next()
                .cloned();
            let tools = Toolbox::default().with(Arc::new(Gone(spec.unwrap())));
            plan.agents = vec![Agent {
                tools,
                ..agent("ada")
            }];
        });
        let decided = vec![story::asks(1), story::decides(1, Decision::AllowAlways)];
        let session = bench.session([asking(&[1]), decided].concat());
        let mut worker = bench.worker(&session);
        let calls = open_calls(&worker);
        assert!(worker.advance(&calls).is_ok());
        let told = |event: &Event| matches!(event, Event::Error { code, message } if code == NoticeCode::NotRemembered.as_str() && message.ends_with("there is no x"));
        assert!(bench.events(&session.id).iter().any(told));
        assert_eq!(results(&bench, &worker), ["call_1 there is no x"]);
    }

    #[test]
    fn a_tool_that_failed_while_it_was_to_stop_says_so_and_one_that_succeeded_does_not() {
        for (success, interrupt, expected) in [
            (true, None, "out"),
            (false, None, "out"),
            (true, Some(Interrupt::Shutdown), "out"),
            (true, Some(Interrupt::Cancelled), "out"),
            (
                false,
                Some(Interrupt::Shutdown),
                "out\n(stopped by shutdown)",
            ),
            (
                false,
                Some(Interrupt::Cancelled),
                "out\n(cancelled by the user)",
            ),
        ] {
            let marked = marked(output(success, "out"), interrupt);
            assert_eq!(marked.content, expected, "{success} {interrupt:?}");
        }
    }
}
