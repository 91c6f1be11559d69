//! What the model has seen and said, in the model's order, as much of it as its window holds.
//!
//! Pure: the same events give the same history, whether they are folded live or at replay. It is
//! made less in steps, so that between two of them the prompt's beginning stays the same and the
//! provider's cache holds: over the limit, a summary takes the place of the older part, or results of
//! tools are masked and whole turns given up, until 60 % are left.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::context_summary::{self, KEPT_MESSAGES, Stretch, SummaryInput};
use crate::domain::event::{
    AssistantResponse, ContextSummary, FinishReason, ToolOutput, Usage, UserMessage,
};
use crate::domain::files;
use crate::domain::ids::{CallId, Seq};
use crate::domain::message::{Message, Reply, Words, is_blank};
use crate::domain::window::{self, Budget, Limits, Marks, ToldTokens, tokens_of_bytes};

/// A summary of less than this part of the window is not worth a call.
const LEAST_SHARE: u64 = 20;
/// More than so much that was appended to a result is cut like the rest of it.
const APPENDED_BYTES_MAX: usize = 16 << 10;

/// One thing in the conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A message of a person.
    User(Arc<UserMessage>),
    /// A reply of the model.
    Assistant(Arc<AssistantResponse>),
    /// A result of a call.
    Tool {
        /// The event that told of it.
        seq: Seq,
        /// The call.
        call_id: CallId,
        /// The tool.
        tool_name: String,
        /// What it answered, as much of it as a model is ever shown.
        output: ToolOutput,
        /// How long the answer was.
        bytes: usize,
    },
}

impl Entry {
    /// A rough count of what it adds to a prompt.
    fn tokens(&self, marks: &Marks, limits: &Limits) -> u64 {
        /// Roles, separators and names around each message.
        const FRAME_BYTES: usize = 16;
        let mut files_tokens = 0;
        let bytes = match self {
            Entry::User(message) => {
                let files = message.attachments.iter();
                files_tokens = files.map(|file| limits.tokens_of_file(file)).sum();
                message.content.len()
            }
            Entry::Assistant(reply) => {
                let calls = reply.tool_calls.iter();
                reply.content.len()
                    + calls
                        .map(|call| call.tool_name.len() + call.arguments.len() + FRAME_BYTES)
                        .sum::<usize>()
            }
            Entry::Tool {
                seq,
                tool_name,
                output,
                bytes,
                ..
            } if marks.hides(*seq) => window::masked(tool_name, &output.content, *bytes).len(),
            Entry::Tool { output, .. } => output.content.len(),
        };
        tokens_of_bytes(bytes + FRAME_BYTES) + files_tokens
    }

    /// It in the record that a summary is written from. Further lines are set in, so that no line begins like
    /// that of another.
    fn recorded(&self, marks: &Marks) -> String {
        match self {
            Entry::User(message) => {
                let name = message.sender_name.as_deref();
                let who = name.map_or(String::new(), |name| format!(" {}", set_in(name)));
                let said = files::told_beside(&message.content, &message.attachments);
                format!("[user{who}] {}\n", set_in(&said))
            }
            Entry::Assistant(reply) => {
                let mut text = String::new();
                if !is_blank(&reply.content) {
                    text.push_str(&format!("[assistant] {}\n", set_in(&reply.content)));
                }
                for call in &reply.tool_calls {
                    let (tool, arguments) = (set_in(&call.tool_name), set_in(&call.arguments));
                    text.push_str(&format!("[call of {tool}] {arguments}\n"));
                }
                text
            }
            Entry::Tool {
                seq,
                tool_name,
                output,
                bytes,
                ..
            } => {
                let content = if marks.hides(*seq) {
                    window::masked(tool_name, &output.content, *bytes)
                } else {
                    Cow::Borrowed(&*output.content)
                };
                let verb = if output.success { "result" } else { "failure" };
                let tool = set_in(tool_name);
                format!("[{verb} of {tool}] {}\n", set_in(&content))
            }
        }
    }

    fn result_seq(&self) -> Option<Seq> {
        match self {
            Entry::Tool { seq, .. } => Some(*seq),
            Entry::User(_) | Entry::Assistant(_) => None,
        }
    }
}

/// Estimates what messages that wait add to a prompt.
pub(super) fn tokens_of<'m>(
    waiting: impl Iterator<Item = &'m Arc<UserMessage>>,
    limits: &Limits,
) -> u64 {
    let marks = Marks::default();
    waiting
        .map(|message| Entry::User(Arc::clone(message)).tokens(&marks, limits))
        .sum()
}

/// An entry, and the event with which it came into the conversation: these rise, where a message's own
/// number may be smaller than that of what stands before it.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    seq: Seq,
    entry: Entry,
}

/// The turns of a window, oldest first; the last may be unfinished.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// What stands for all that came before.
    summary: Option<Arc<ContextSummary>>,
    entries: VecDeque<Told>,
    /// The finished turns among `entries`, in order.
    turns: VecDeque<TurnEntries>,
    /// What came since the last finished turn.
    open: TurnEntries,
    /// Tokens of the summary and of all entries, as the model is shown them.
    tokens: u64,
    limits: Limits,
    marks: Marks,
}

/// Which files a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhichFiles {
    /// Those of messages that no reply has followed: what came before one was taken.
    Unanswered,
    /// All.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct TurnEntries {
    /// The first event that belongs to it.
    first_seq: Seq,
    /// The first event of the turns that each began while messages waited for it, or this one's own: a message
    /// of it may stand that far back.
    settled_seq: Seq,
    entries: usize,
}

impl TurnEntries {
    fn starting_at(first_seq: Seq) -> TurnEntries {
        TurnEntries {
            first_seq,
            settled_seq: first_seq,
            entries: 0,
        }
    }
}

impl History {
    /// An empty history within `limits` that begins with event `first_seq`.
    pub fn new(limits: Limits, first_seq: Seq, marks: Marks) -> History {
        History {
            summary: None,
            entries: VecDeque::new(),
            turns: VecDeque::new(),
            open: TurnEntries::starting_at(first_seq),
            tokens: 0,
            limits,
            marks,
        }
    }

    /// The first event that belongs to it.
    pub fn first_seq(&self) -> Seq {
        self.first_turn().first_seq
    }

    /// The first event that a replay needs in order to arrive at the same history, with
    /// [`marks`](History::marks).
    pub fn window_seq(&self) -> Seq {
        self.first_turn().settled_seq
    }

    fn first_turn(&self) -> &TurnEntries {
        self.turns.front().unwrap_or(&self.open)
    }

    /// Masks and the correction of the estimate: they depend on events before the window, which a
    /// replay does not read. And where it begins, if that is not with the window.
    pub fn marks(&self) -> Marks {
        let first_seq = self.first_seq();
        Marks {
            history_from: (self.window_seq() < first_seq).then_some(first_seq),
            ..self.marks
        }
    }

    /// Fixed at the opening: an agent's files that change do not move a window that is in use.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Oldest first. Masked results are whole here, and masked when messages are made of them.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|told| &told.entry)
    }

    /// An estimate of its tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Adds what event `seq` brings into the conversation.
    pub(super) fn push(&mut self, seq: Seq, entry: Entry) {
        self.tokens += entry.tokens(&self.marks, &self.limits);
        self.open.entries += 1;
        self.entries.push_back(Told { seq, entry });
    }

    /// What came before event `from` is known otherwise: a replay begins here to remember.
    pub(super) fn begin_at(&mut self, from: Seq) {
        if self.turns.is_empty() && self.open.entries == 0 {
            self.open.first_seq = from;
        }
    }

    /// Takes the summary that a replay reads beside its window.
    pub(super) fn recall(&mut self, seq: Seq, summary: &Arc<ContextSummary>) {
        if self.marks.summary_seq == Some(seq) && summary.text.is_some() {
            self.summary = Some(Arc::clone(summary));
            self.tokens = self.tokens_with(&self.marks);
        }
    }

    /// Adds a result, as much of it as a model is ever shown: of what was not appended to it.
    pub(super) fn push_result(
        &mut self,
        seq: Seq,
        call_id: CallId,
        tool_name: String,
        output: &ToolOutput,
        appended_bytes: Option<usize>,
    ) {
        let (said, appended) = match output.parts(appended_bytes) {
            (_, appended) if appended.len() > APPENDED_BYTES_MAX => (&*output.content, ""),
            parts => parts,
        };
        let bytes_max = self.limits.result_bytes_max();
        let how = self.limits.tool_results.truncation;
        self.push(
            seq,
            Entry::Tool {
                seq,
                call_id,
                tool_name,
                output: ToolOutput {
                    success: output.success,
                    content: window::truncated(said, bytes_max, how).into_owned() + appended,
                },
                bytes: output.content.len(),
            },
        );
    }

    /// Ends the open turn; the next begins with event `next_seq`. `is_settled` says that no message waits
    /// for it.
    pub(super) fn end_turn(&mut self, next_seq: Seq, is_settled: bool) {
        let mut next = TurnEntries::starting_at(next_seq);
        if !is_settled {
            next.settled_seq = self.open.settled_seq;
        }
        let ended = mem::replace(&mut self.open, next);
        // Of a turn that left nothing, a replay from the window may not even know.
        if ended.entries > 0 {
            self.turns.push_back(ended);
        }
    }

    /// Learns what a provider counted of a call that held this and `waiting` tokens of messages.
    pub(super) fn learn(&mut self, waiting: u64, usage: Usage) {
        let sent = self.tokens + waiting + self.limits.fixed_tokens;
        self.marks.learn(sent, usage);
    }

    /// Forgets what was learned of a model that is not asked any more.
    pub(super) fn forget_model(&mut self) {
        self.marks.percent = Marks::default().percent;
        self.marks.ceiling_tokens = None;
        self.marks.is_refused = false;
    }

    /// Takes note of what the provider has said that the model of that name takes; whether that is news.
    pub(super) fn learn_window(&mut self, model: &str, tokens: Option<u64>) -> bool {
        let told = tokens.map(|tokens| (model.to_owned(), tokens));
        let is_new = self.limits.told != told;
        if is_new {
            self.limits.told = told;
            self.tokens = self.tokens_with(&self.marks);
        }
        is_new
    }

    /// About how many tokens a call has that holds this and `waiting` tokens of messages.
    pub(super) fn call_tokens(&self, waiting: u64) -> u64 {
        let sum = self.tokens + waiting + self.limits.fixed_tokens;
        sum.saturating_mul(self.marks.percent) / 100
    }

    /// Has no model be shown the files of its messages any more: of those since the last reply, or of all. Whether
    /// there were any.
    pub(super) fn withhold_files(&mut self, which: WhichFiles) -> bool {
        let is_reply = |told: &Told| matches!(told.entry, Entry::Assistant(_));
        let from = match which {
            WhichFiles::Unanswered => self.entries.iter().rposition(is_reply).unwrap_or(0),
            WhichFiles::All => 0,
        };
        let mut are_any = false;
        for told in self.entries.range_mut(from..) {
            if let Entry::User(message) = &mut told.entry {
                are_any |= files::withhold(message);
            }
        }
        self.tokens = self.tokens_with(&self.marks);
        are_any
    }

    /// Makes it less if it is too much for the session's model, with `waiting` tokens of messages
    /// that the next call adds.
    pub(super) fn settle(&mut self, waiting: u64, model: Option<&str>) {
        let budget = self.limits.budget(model, &self.marks);
        let tokens = self.tokens + waiting;
        let is_noisy = tokens > budget.aim && tokens > self.marks.quiet_tokens;
        // What can be summarised is, before the model is asked again.
        let is_too_much = (is_noisy && !self.limits.summarises) || tokens > budget.most;
        if is_too_much && self.summary_due(waiting, model).is_none() {
            self.step(budget, waiting, tokens > budget.most);
        }
    }

    /// How many entries a summary is to stand for, as there are too many for the session's model with
    /// `waiting` tokens of messages; `None` while there are not.
    pub(super) fn summary_due(&self, waiting: u64, model: Option<&str>) -> Option<usize> {
        let budget = self.limits.budget(model, &self.marks);
        let tokens = self.tokens + waiting;
        let is_due = self.limits.summarises
            && tokens > budget.aim
            && tokens > self.marks.summary_from_tokens;
        if !is_due {
            return None;
        }
        let room = (budget.aim / 5 * 3).saturating_sub(waiting);
        let (count, cut) = self.summarisable(room)?;
        // Less is not worth a call.
        (cut >= budget.aim / LEAST_SHARE).then_some(count)
    }

    /// How many entries a summary may stand for so that `room` tokens are left, and theirs. The newest messages
    /// stay, and so does each call with its results.
    pub(super) fn summarisable(&self, room: u64) -> Option<(usize, u64)> {
        let len = self.entries.len();
        // Of the messages from each entry on; the summary and a person's message behind it are one.
        let mut messages = vec![0; len + 1];
        for at in (0..len).rev() {
            messages[at] = messages[at + 1] + usize::from(self.begins_message(at));
        }
        let joins = |at: usize| usize::from(matches!(self.entries[at].entry, Entry::User(_)));
        let mut left = self.entries_tokens(0..len, &self.marks);
        let mut cut = 0;
        let mut found = None;
        for (at, kept) in messages.into_iter().enumerate().take(len).skip(1) {
            let tokens = self.entries_tokens(at - 1..at, &self.marks);
            left -= tokens;
            cut += tokens;
            if kept < KEPT_MESSAGES + joins(at) {
                break;
            }
            if self.is_border(at) {
                found = Some((at, cut));
                if left <= room {
                    break;
                }
            }
        }
        found
    }

    /// Not a part of the message before it, as providers want roles to alternate.
    fn begins_message(&self, at: usize) -> bool {
        let before = at.checked_sub(1).map(|at| &self.entries[at].entry);
        !matches!(
            (before, &self.entries[at].entry),
            (Some(Entry::User(_)), Entry::User(_))
                | (Some(Entry::Assistant(_)), Entry::Assistant(_))
        )
    }

    /// The conversation may be cut before this entry.
    fn is_border(&self, at: usize) -> bool {
        let (last, next) = (&self.entries[at - 1], &self.entries[at]);
        let is_whole = match &last.entry {
            Entry::Assistant(reply) => reply.finish_reason != FinishReason::Interrupted,
            Entry::User(_) | Entry::Tool { .. } => true,
        };
        is_whole && last.seq != next.seq && !matches!(next.entry, Entry::Tool { .. })
    }

    /// What a summary of the first `count` entries is written from.
    pub(super) fn summary_input(&self, count: usize) -> SummaryInput {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut is_new = true;
        for at in 0..count.min(self.entries.len()) {
            let told = &self.entries[at];
            let tokens = self.entries_tokens(at..at + 1, &self.marks);
            let text = told.entry.recorded(&self.marks);
            match stretches.last_mut().filter(|_| !is_new) {
                Some(last) => {
                    last.upto_seq = told.seq;
                    last.text.push_str(&text);
                    last.tokens += tokens;
                }
                None => stretches.push(Stretch {
                    upto_seq: told.seq,
                    text,
                    tokens,
                }),
            }
            is_new = at + 1 < self.entries.len() && self.is_border(at + 1);
        }
        SummaryInput {
            before: self.summary_text().map(str::to_owned),
            stretches,
        }
    }

    fn summary_text(&self) -> Option<&str> {
        self.summary.as_ref()?.text.as_deref()
    }

    /// What the summary takes in a prompt.
    pub(super) fn summary_tokens(&self) -> u64 {
        let text = self.summary_text();
        text.map_or(0, |text| {
            tokens_of_bytes(context_summary::shown(text).len() + 16)
        })
    }

    /// What of it goes to a model, with `waiting` tokens of messages.
    pub(super) fn told(&self, waiting: u64, model: Option<&str>) -> ToldTokens {
        let budget = self.limits.budget(model, &self.marks);
        let tokens = self.tokens + waiting;
        let summary = self.summary_tokens();
        ToldTokens {
            summary,
            history: tokens - summary,
            free: budget.aim.saturating_sub(tokens),
            percent: self.marks.percent,
        }
    }

    /// Puts the summary of event `seq` in the place of what it stands for; without one, makes the history less
    /// as it is made without summaries.
    pub(super) fn summarised(
        &mut self,
        seq: Seq,
        summary: &Arc<ContextSummary>,
        waiting: u64,
        model: Option<&str>,
    ) {
        if summary.upto_seq == Seq::ZERO {
            return;
        }
        if summary.refused {
            self.marks.lower_ceiling(self.tokens + waiting);
        }
        let budget = self.limits.budget(model, &self.marks);
        if summary.text.is_some() {
            let stands_for = self
                .entries
                .partition_point(|told| told.seq <= summary.upto_seq);
            let ends = |at: usize| at == self.entries.len() || self.is_border(at);
            let count = (1..=stands_for).rfind(|at| ends(*at)).unwrap_or(0);
            if count == 0 {
                return;
            }
            self.cut(count);
            self.summary = Some(Arc::clone(summary));
            self.marks.summary_seq = Some(seq);
            self.marks.summary_from_tokens = 0;
            self.forget_masks();
            self.tokens = self.tokens_with(&self.marks);
            self.marks.quiet_tokens = 0;
            // The newest messages alone may be more than the model takes.
            self.settle(waiting, model);
        } else {
            let tokens = self.tokens + waiting;
            self.step(budget, waiting, tokens > budget.most || summary.refused);
            self.marks.summary_from_tokens = self.tokens + waiting + budget.aim / 5;
        }
    }

    /// Forgets the first `count` entries.
    fn cut(&mut self, count: usize) {
        let Some(last) = count.checked_sub(1).and_then(|at| self.entries.get(at)) else {
            return;
        };
        let from = last.seq.next();
        self.entries.drain(..count);
        let mut left = count;
        while let Some(turn) = self.turns.front_mut().filter(|_| left > 0) {
            if turn.entries > left {
                turn.entries -= left;
                turn.first_seq = from;
                return;
            }
            left -= turn.entries;
            self.turns.pop_front();
        }
        if left > 0 {
            self.open.entries -= left;
            self.open.first_seq = from;
        }
    }

    /// Makes it less because the provider said that it is too much.
    pub(super) fn shrink(&mut self, waiting: u64, model: Option<&str>) {
        self.marks.lower_ceiling(self.tokens + waiting);
        let budget = self.limits.budget(model, &self.marks);
        self.step(budget, waiting, true);
        // Otherwise the turn would fail: of many results at once the model may miss the oldest.
        self.mask(budget.most.saturating_sub(waiting), 0, 1);
    }

    /// One step down: first what costs the least. What the agent's file wants to keep gives way
    /// only to what the model takes at most; what the model has not seen yet does not.
    fn step(&mut self, budget: Budget, waiting: u64, must_fit: bool) {
        let room = |tokens: u64| (tokens / 5 * 3).saturating_sub(waiting);
        let first = usize::try_from(self.limits.tool_results.keep_first).unwrap_or(usize::MAX);
        let last = usize::try_from(self.limits.tool_results.keep_last).unwrap_or(usize::MAX);
        let unseen = self.unseen_results();
        self.mask(room(budget.aim), first, last.max(unseen));
        self.drop_turns(room(budget.aim), 1);
        if must_fit {
            self.mask(room(budget.most), 0, unseen);
            let is_all = self.open.entries == 0 && waiting == 0;
            self.drop_turns(room(budget.most), usize::from(is_all));
        }
        self.forget_masks();
        self.marks.quiet_tokens = self.tokens + waiting + budget.aim / 5 * 2;
    }

    /// Forgets masks of what is not there any more.
    fn forget_masks(&mut self) {
        if self.marks.masked_before <= self.first_seq() {
            self.marks.masked_from = Seq::ZERO;
            self.marks.masked_before = Seq::ZERO;
        }
    }

    /// Masks results, oldest first, until no more than `room` tokens are left; but not the `first`
    /// and the `last` of them.
    fn mask(&mut self, room: u64, first: usize, last: usize) {
        let results: Vec<Seq> = self.entries().filter_map(Entry::result_seq).collect();
        let end = results.len().saturating_sub(last);
        let Some(candidates) = results.get(first..end) else {
            return;
        };
        let Some((oldest, younger)) = candidates.split_first() else {
            return;
        };
        if self.tokens <= room {
            return;
        }
        // The more are masked, the fewer tokens are left: so it takes a few sums to know how many.
        let also_masked = younger.partition_point(|next| {
            let marks = self.marks.masking(*oldest, *next);
            self.tokens_with(&marks) > room
        });
        let newest = candidates[also_masked];
        self.marks = self.marks.masking(*oldest, newest.next());
        self.tokens = self.tokens_with(&self.marks);
    }

    fn tokens_with(&self, marks: &Marks) -> u64 {
        self.summary_tokens() + self.entries_tokens(0..self.entries.len(), marks)
    }

    fn entries_tokens(&self, which: Range<usize>, marks: &Marks) -> u64 {
        let entries = self.entries.range(which);
        entries
            .map(|told| told.entry.tokens(marks, &self.limits))
            .sum()
    }

    /// How many results came after the last reply.
    fn unseen_results(&self) -> usize {
        let latest = self.entries.iter().rev().map(|told| &told.entry);
        latest
            .take_while(|entry| !matches!(entry, Entry::Assistant(_)))
            .filter(|entry| entry.result_seq().is_some())
            .count()
    }

    /// Gives whole turns up, oldest first, until no more than `room` tokens or `keep` turns are
    /// left.
    fn drop_turns(&mut self, room: u64, keep: usize) {
        while self.tokens > room && self.turns.len() > keep {
            let Some(oldest) = self.turns.pop_front() else {
                return;
            };
            let (marks, limits) = (&self.marks, &self.limits);
            let dropped = self.entries.drain(..oldest.entries);
            self.tokens -= dropped
                .map(|told| told.entry.tokens(marks, limits))
                .sum::<u64>();
        }
    }
}

/// Puts entries into a form that every provider accepts; see [`Message`].
///
/// Results that `marks` hide are masked. Neighbours of one role become one message, a call without a result gets one that says so, a
/// result without its call and a reply with nothing in it are left out.
pub fn to_messages<'a>(entries: impl Iterator<Item = &'a Entry>, marks: &Marks) -> Vec<Message> {
    // As a rule none is joined, and none is left out.
    let mut builder = Builder::after(Vec::with_capacity(entries.size_hint().0));
    entries.for_each(|entry| builder.add(entry, marks));
    builder.settle();
    builder.messages
}

/// The messages of a conversation. The next call's are these and some more, unless something was
/// masked or left out in between: those of finished turns can be taken over.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conversation {
    /// Oldest first.
    pub messages: Vec<Message>,
    /// Without that all of them are made anew.
    finished: Option<FinishedPart>,
}

/// The beginning of a conversation that stays as it is.
#[derive(Debug, Clone, PartialEq)]
struct FinishedPart {
    /// Which window: where it begins, what is masked, and what stands for the rest.
    window: (Seq, Seq, Seq, Option<Seq>),
    entries: usize,
    messages: usize,
    /// The last of the messages, as the first that follows may be joined to it.
    last: Option<Message>,
}

impl Conversation {
    /// No more than what the next one begins with, if that is worth its memory: a few messages are
    /// made anew as quickly.
    #[must_use]
    pub fn finished_part(self) -> Conversation {
        const MESSAGES_MIN: usize = 64;
        if self.messages.len() < MESSAGES_MIN {
            return Conversation::default();
        }
        self.any_finished_part()
    }

    pub(super) fn any_finished_part(mut self) -> Conversation {
        let Some(part) = &mut self.finished else {
            return Conversation::default();
        };
        self.messages.truncate(part.messages);
        if let Some((end, last)) = self.messages.last_mut().zip(part.last.take()) {
            *end = last;
        }
        self
    }
}

impl History {
    /// The conversation with `unseen` at its end; goes on from the [finished
    /// part](Conversation::finished_part) of one before.
    pub(super) fn conversation(&self, unseen: &[Entry], before: Conversation) -> Conversation {
        let marks = &self.marks;
        let window = (
            self.first_seq(),
            marks.masked_from,
            marks.masked_before,
            marks.summary_seq,
        );
        let finished = self.entries.len() - self.open.entries;
        let (messages, made) = match before.finished {
            Some(part) if part.window == window && part.entries <= finished => {
                (before.messages, part.entries)
            }
            Some(_) | None => {
                let mut messages = Vec::with_capacity(self.entries.len() + unseen.len() + 1);
                messages.extend(self.summary_text().map(summary_message));
                (messages, 0)
            }
        };
        let mut builder = Builder::after(messages);
        let ended = self.entries.range(made..finished);
        ended.for_each(|told| builder.add(&told.entry, marks));
        let part = builder.open_calls.is_empty().then(|| FinishedPart {
            window,
            entries: finished,
            messages: builder.messages.len(),
            last: builder.messages.last().cloned(),
        });
        let open = self.entries.range(finished..).map(|told| &told.entry);
        let open = open.chain(unseen);
        open.for_each(|entry| builder.add(entry, marks));
        builder.settle();
        Conversation {
            messages: builder.messages,
            finished: part,
        }
    }
}

/// A summary as a message: a person's, as a conversation begins with one.
fn summary_message(text: &str) -> Message {
    Message::User {
        text: Words::Made(context_summary::shown(text)),
        attachments: Vec::new(),
    }
}

struct Builder {
    messages: Vec<Message>,
    /// Calls of the last reply that have no result yet.
    open_calls: VecDeque<(CallId, String)>,
}

impl Builder {
    fn after(messages: Vec<Message>) -> Builder {
        Builder {
            messages,
            open_calls: VecDeque::new(),
        }
    }

    fn add(&mut self, entry: &Entry, marks: &Marks) {
        match entry {
            Entry::User(message) => self.user(message),
            Entry::Assistant(reply) => self.assistant(reply),
            Entry::Tool {
                seq,
                call_id,
                tool_name,
                output,
                bytes,
            } => {
                let content = if marks.hides(*seq) {
                    window::masked(tool_name, &output.content, *bytes)
                } else {
                    Cow::Borrowed(output.content.as_str())
                };
                self.tool(call_id, output.success, &content);
            }
        }
    }

    fn user(&mut self, message: &Arc<UserMessage>) {
        let text = words_of(message);
        if text.is_empty() && message.attachments.is_empty() {
            return;
        }
        self.settle();
        if let Some(Message::User {
            text: last,
            attachments,
        }) = self.messages.last_mut()
        {
            if !last.is_empty() && !text.is_empty() {
                last.push_str("\n\n");
            }
            last.push_str(&text);
            attachments.extend(message.attachments.iter().cloned());
            return;
        }
        self.messages.push(Message::User {
            text,
            attachments: message.attachments.clone(),
        });
    }

    fn assistant(&mut self, reply: &Arc<AssistantResponse>) {
        // Half-received calls of a broken reply never run, so they are not mentioned.
        let calls: &[_] = match reply.finish_reason {
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Length => {
                &reply.tool_calls
            }
            FinishReason::Cancelled | FinishReason::Interrupted | FinishReason::Error => &[],
        };
        let nothing_said = is_blank(&reply.content) && calls.is_empty();
        // A conversation begins with a person.
        if nothing_said || self.messages.is_empty() {
            return;
        }
        self.settle();
        let opened = calls
            .iter()
            .map(|call| (call.call_id.clone(), call.tool_name.clone()));
        self.open_calls.extend(opened);
        if let Some(Message::Assistant(last)) = self.messages.last_mut() {
            last.text.push_str(&reply.content);
            last.tool_calls.extend(calls.iter().cloned());
            // What was said of a part need not hold for the whole.
            last.event = None;
            return;
        }
        self.messages.push(Message::Assistant(Reply {
            text: Words::Replied(Arc::clone(reply)),
            tool_calls: calls.to_vec(),
            event: reply.provider_data.is_some().then(|| Arc::clone(reply)),
        }));
    }

    fn tool(&mut self, call_id: &CallId, success: bool, content: &str) {
        let Some(at) = self.open_calls.iter().position(|(open, _)| open == call_id) else {
            return;
        };
        let Some((call_id, tool_name)) = self.open_calls.remove(at) else {
            return;
        };
        let content = if is_blank(content) {
            "(no output)"
        } else {
            content
        };
        self.messages.push(Message::Tool {
            call_id,
            tool_name,
            output: ToolOutput {
                success,
                content: content.to_owned(),
            },
        });
    }

    /// Answers the calls that nothing answered.
    fn settle(&mut self) {
        for (call_id, tool_name) in mem::take(&mut self.open_calls) {
            self.messages.push(Message::Tool {
                call_id,
                tool_name,
                output: ToolOutput {
                    success: false,
                    content: "not run".to_owned(),
                },
            });
        }
    }
}

/// The text of a message, and who says it; empty when it is blank, which providers refuse.
fn words_of(message: &Arc<UserMessage>) -> Words {
    if is_blank(&message.content) {
        return Words::Made(String::new());
    }
    match &message.sender_name {
        Some(name) => Words::Made(format!("{name}: {}", set_in(&message.content))),
        None => Words::Said(Arc::clone(message)),
    }
}

/// A text whose further lines are set in: where several people speak, a line that begins at the margin begins
/// with the name of who says it, and nobody can write one for another.
fn set_in(text: &str) -> String {
    let ends_line = |c| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let lines: Vec<&str> = text
        .split("\r\n")
        .flat_map(|part| part.split(ends_line))
        .collect();
    lines.join("\n  ")
}

#[cfg(test)]
mod tests;
