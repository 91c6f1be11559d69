//! A session in memory: its state, the reply in flight, and those who watch.
//!
//! Guarded by the session's `live` lock, which is held for memory work only. A watcher is not sent
//! anything: it is woken, and takes what it lacks from here, or from the log when it is far
//! behind. So a slow one costs nothing and delays nobody.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Wake, Waker};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::lock::lock;
use crate::base::text;
use crate::domain::event::{Event, OnDisconnect, Record, SaidBy};
use crate::domain::history::Conversation;
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::prices::Price;
use crate::domain::state::{SessionState, Unseen};
use crate::engine::watch::feed::{self, Feed, PIECE_BYTES};
use crate::engine::watch::view::{PendingApproval, SessionView};
use crate::llm::Cancel;

/// Records kept for watchers that are nearly up to date; others read the log.
const TAIL_RECORDS: usize = 256;
/// Their text in bytes, roughly.
const TAIL_BYTES: usize = 256 << 10;
/// By how much the text of a reply grows at least.
const GROWTH_BYTES: usize = 1 << 10;
/// After so many pieces of a reply …
const PIECES_MAX: usize = 64 << 10;
/// … those that follow each other are told apart only where they are longer together.
const JOINED_BYTES: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::engine) struct Live {
    pub(in crate::engine) state: SessionState,
    pub(in crate::engine) in_flight: Option<InFlight>,
    pub(in crate::engine) work: Work,
    /// Why nothing more can be written here; the session must be opened anew.
    pub(in crate::engine) broken: Option<String>,
    /// That is because what is stored may be something else by now: it must be read anew.
    pub(in crate::engine) is_lost: bool,
    /// That is because the session was deleted: it cannot be opened anew either.
    pub(in crate::engine) is_deleted: bool,
    /// A write failed in a way that leaves open what is on disk: nothing more is written
    /// until the process starts anew.
    pub(in crate::engine) is_read_only: bool,
    /// A turn was at work when the process before this one ended: to go on is one more try.
    pub(in crate::engine) is_left_over: bool,
    /// Calls were parked when the session was opened, and their tools were not asked since.
    pub(in crate::engine) has_unasked_calls: bool,
    /// Somebody who waited for the turn was told that it goes on without them, so it must.
    pub(in crate::engine) runs_on: bool,
    /// It stands in the queue of those that may be idle, where each stands once.
    pub(in crate::engine) is_look_due: bool,
    /// What the last call of the model contained of finished turns; while one is made, it has it.
    pub(in crate::engine) told: Conversation,
    /// Messages of the inbox up to this one may be in a call of the model; none before the first call of a
    /// turn.
    pub(in crate::engine) called_with: Seq,
    tail: VecDeque<Published>,
    tail_bytes: usize,
    watchers: Vec<Watcher>,
    next_watcher: u64,
    wakers: Arc<Wakers>,
    /// What happened that watchers are to see; they are woken when the lock is free.
    news: Option<NewsKind>,
}

/// Who works for the session.
#[derive(Debug, Default)]
pub(in crate::engine) enum Work {
    /// Nobody.
    #[default]
    None,
    /// It waits for a slot.
    Queued,
    /// A worker.
    RunningWorker(RunningWorker),
}

/// A worker, as others see it.
#[derive(Debug)]
pub(in crate::engine) struct RunningWorker {
    /// Which one: a worker that was given up finds another number here, and leaves.
    pub(in crate::engine) generation: u64,
    /// Ends what it does now.
    pub(in crate::engine) cancel: Option<Arc<dyn Cancel>>,
    /// Why it was asked to stop.
    pub(in crate::engine) interrupt: Option<Interrupt>,
    /// Whose word that was.
    pub(in crate::engine) cause: SaidBy,
}

impl RunningWorker {
    /// One that nobody has asked to stop.
    pub(in crate::engine) fn new(generation: u64) -> RunningWorker {
        RunningWorker {
            generation,
            cancel: None,
            interrupt: None,
            cause: SaidBy::default(),
        }
    }
}

/// Why a worker is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Interrupt {
    /// Somebody cancelled the turn.
    Cancelled,
    /// The process is about to end; the turn goes on after the next start.
    Shutdown,
}

/// The reply that is being streamed.
#[derive(Debug)]
pub(in crate::engine) struct InFlight {
    pub(in crate::engine) message_id: MessageId,
    /// The id that readers know it by: of a continued one, that of its first part.
    known_as: Arc<MessageId>,
    pub(in crate::engine) input_seq: Seq,
    /// The model that was asked first, …
    pub(in crate::engine) model: String,
    /// … and what that takes, for an estimate of what a part of the reply has cost.
    pub(in crate::engine) price: Option<Price>,
    /// All of it so far, kept once for all watchers.
    pub(in crate::engine) text: Arc<String>,
    /// Where each piece ends.
    ends: Vec<PieceEnd>,
}

/// A place in the text of a reply, in half the memory of one: what comes after the first four
/// gigabytes would be one piece.
type PieceEnd = u32;

impl InFlight {
    /// `continues` is the message that it goes on with.
    pub(in crate::engine) fn new(
        message_id: MessageId,
        continues: Option<MessageId>,
        input_seq: Seq,
        model: String,
    ) -> InFlight {
        InFlight {
            known_as: Arc::new(continues.unwrap_or_else(|| message_id.clone())),
            message_id,
            input_seq,
            model,
            price: None,
            text: Arc::default(),
            ends: Vec::new(),
        }
    }

    /// Adds text; `ends` are relative to it.
    fn push(&mut self, text: &str, ends: &[usize]) {
        // Nobody shares it before it is whole.
        let whole = Arc::make_mut(&mut self.text);
        let before = whole.len();
        // Of many replies at once, doubling each would leave half of the memory unused.
        if whole.capacity() - before < text.len() {
            whole.reserve_exact(text.len().max(before / 4).max(GROWTH_BYTES));
        }
        whole.push_str(text);
        for end in ends {
            // Of many pieces short ones become one: a reply takes little more than its text.
            if self.ends.len() > PIECES_MAX && before + end - self.last_start() <= JOINED_BYTES {
                self.ends.pop();
            }
            let place = PieceEnd::try_from(before + end);
            self.ends.push(place.unwrap_or(PieceEnd::MAX));
        }
    }

    /// Where the last piece begins.
    fn last_start(&self) -> usize {
        let before = self.ends.len().checked_sub(2);
        before.map_or(0, |at| self.ends[at] as usize)
    }

    /// The pieces after the first `shown` bytes, at most some [`PIECE_BYTES`].
    fn pieces_after(&self, shown: usize) -> impl Iterator<Item = Range<usize>> {
        let first = self.ends.partition_point(|end| *end as usize <= shown);
        let mut start = shown;
        self.ends[first..].iter().map_while(move |end| {
            let piece = start..*end as usize;
            start = piece.end;
            (piece.start < shown + PIECE_BYTES).then_some(piece)
        })
    }
}

/// A record, and how much of the reply in flight had come before it.
#[derive(Debug, Clone)]
struct Published {
    record: Arc<Record>,
    in_flight: Option<TextPosition>,
}

/// A place in a reply in flight.
#[derive(Debug, Clone, Copy, PartialEq)]
struct TextPosition {
    input_seq: Seq,
    bytes: usize,
}

#[derive(Debug)]
struct Watcher {
    id: u64,
    role: WatcherRole,
    /// Why it has to go.
    cut: Option<Cut>,
}

/// Why a watcher has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// Another client has attached and sent the others away.
    TakenOver,
    /// The session can't go on as it is; the reason, in words.
    Broken(String),
    /// The turn waits until something can be written or begun, and goes on by itself then; for
    /// what, in words.
    Waits(String),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::TakenOver => f.write_str("another client took over"),
            Cut::Broken(reason) => f.write_str(reason),
            Cut::Waits(reason) => write!(f, "the turn waits, and goes on by itself: {reason}"),
        }
    }
}

/// Decides whether a watcher counts as attached, and who may send it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum WatcherRole {
    /// Attached to the session.
    Attached,
    /// Waits for the answer to its message; counts as attached.
    Following,
    /// Only looks on.
    Readonly,
}

impl Watcher {
    fn counts(&self) -> bool {
        self.cut.is_none() && self.role != WatcherRole::Readonly
    }
}

/// The answer to a watcher that was woken.
#[derive(Debug)]
pub(in crate::engine) enum News {
    /// These, in order; whether there is more.
    Items(Vec<NewsItem>, bool),
    /// It is so far behind that it must read the log, up to this record.
    Behind(Seq),
    /// It must go; the reason.
    Cut(Cut),
}

/// Something that a watcher has not seen.
#[derive(Debug)]
pub(in crate::engine) enum NewsItem {
    /// A reply to a call that contained the events up to here is in flight.
    ReplyBegins(Seq),
    /// More of the text of this message.
    Text(Arc<MessageId>, String),
    /// A record.
    Record(Arc<Record>),
}

impl Live {
    pub(in crate::engine) fn new(state: SessionState) -> Live {
        Live {
            state,
            in_flight: None,
            work: Work::None,
            broken: None,
            is_deleted: false,
            is_lost: false,
            is_read_only: false,
            is_left_over: false,
            has_unasked_calls: false,
            runs_on: false,
            is_look_due: false,
            told: Conversation::default(),
            called_with: Seq::ZERO,
            tail: VecDeque::new(),
            tail_bytes: 0,
            watchers: Vec::new(),
            next_watcher: 0,
            wakers: Arc::default(),
            news: None,
        }
    }

    /// Folds records in that are on disk, and shows them.
    pub(in crate::engine) fn publish(&mut self, records: &[Arc<Record>]) {
        for record in records {
            self.state.apply(record);
            if feed::ends_reply(&record.event) {
                self.in_flight = None;
            }
            self.note_turn(&record.event);
            self.keep_for_watchers(record);
        }
        self.trim_tail(records.len());
        self.wake_all();
    }

    /// Forgets with a turn what was known of it beside the log.
    fn note_turn(&mut self, event: &Event) {
        let ends = matches!(event, Event::TurnEnded { .. });
        if ends {
            self.end_cancel();
            self.runs_on = false;
            self.called_with = Seq::ZERO;
        }
        // One that was left over was taken up, or is over.
        self.is_left_over &= !ends && !matches!(event, Event::TurnStarted { .. });
    }

    /// A cancel ends with the turn that it was for, and leaves the next one alone.
    pub(in crate::engine) fn end_cancel(&mut self) {
        if let Work::RunningWorker(running) = &mut self.work
            && running.interrupt == Some(Interrupt::Cancelled)
        {
            running.interrupt = None;
            running.cause = SaidBy::default();
            running.cancel = None;
        }
    }

    /// Whose word it was that its worker is to stop.
    pub(in crate::engine) fn cancel_cause(&self) -> SaidBy {
        match &self.work {
            Work::RunningWorker(running) => running.cause.clone(),
            Work::Queued | Work::None => SaidBy::default(),
        }
    }

    /// The messages that ask, and that no call of the model has contained, oldest first.
    pub(in crate::engine) fn uncalled(&self) -> Vec<&Unseen> {
        let inbox = self.state.inbox.iter();
        let inbox = inbox.filter(|one| !one.message.passive && one.seq > self.called_with);
        let held = self.state.held.iter().flatten();
        let mut uncalled: Vec<&Unseen> = inbox.chain(held).collect();
        uncalled.sort_by_key(|one| one.seq);
        uncalled
    }

    /// Says how what the worker does now can be ended from outside; returns what was said before.
    pub(in crate::engine) fn set_cancel(
        &mut self,
        cancel: Option<Arc<dyn Cancel>>,
    ) -> Option<Arc<dyn Cancel>> {
        match &mut self.work {
            Work::RunningWorker(running) => std::mem::replace(&mut running.cancel, cancel),
            Work::Queued | Work::None => None,
        }
    }

    /// Shows more text, which is in the journal. `ends` are relative to `text`.
    pub(in crate::engine) fn publish_text(&mut self, text: &str, ends: &[usize]) {
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        in_flight.push(text, ends);
        self.news = self.news.max(Some(NewsKind::Text));
    }

    /// Ends everything: watchers are told `reason`, and nothing more is written.
    pub(in crate::engine) fn break_off(&mut self, reason: &str) {
        self.broken = Some(reason.to_owned());
        self.wake_all();
    }

    /// Ends everything, as what is stored may be something else by now: who uses the session next
    /// opens it anew.
    pub(in crate::engine) fn lose(&mut self, reason: &str) {
        self.is_lost = true;
        self.break_off(reason);
    }

    /// Ends everything, as the session is no more.
    pub(in crate::engine) fn delete(&mut self) {
        self.is_deleted = true;
        self.break_off("the session was deleted");
    }

    /// Sends everybody away, for instance because a turn cannot be written down. Those who are told
    /// that it goes on by itself are not waited for then.
    pub(in crate::engine) fn cut_watchers(&mut self, why: Cut) {
        self.runs_on |= matches!(why, Cut::Waits(_)) && self.attached() > 0;
        for watcher in &mut self.watchers {
            watcher.cut.get_or_insert_with(|| why.clone());
        }
        self.wake_all();
    }

    pub(in crate::engine) fn last_seq(&self) -> Seq {
        self.state.summary.last_seq
    }

    /// The clients that count as attached.
    pub(in crate::engine) fn attached(&self) -> usize {
        self.watchers.iter().filter(|one| one.counts()).count()
    }

    pub(in crate::engine) fn has_watchers(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(in crate::engine) fn is_working(&self) -> bool {
        !matches!(self.work, Work::None)
    }

    /// An unfinished turn must wait because nobody is there: its agent says so.
    pub(in crate::engine) fn wants_a_client(&self) -> bool {
        let is_detached = match &self.state.turn {
            Some(turn) => turn.detached,
            None => self.state.inbox.iter().any(|one| one.message.detached),
        };
        let pauses = self.state.summary.on_disconnect == OnDisconnect::Pause;
        // A gateway's chat is a client that never leaves.
        let is_chat = self.state.summary.gateway.is_some();
        pauses && !is_detached && !is_chat && !self.runs_on && self.attached() == 0
    }

    pub(in crate::engine) fn view(&self, id: &SessionId) -> SessionView {
        SessionView {
            pending_approval: self.state.approval().map(PendingApproval::from),
            ..SessionView::new(
                id,
                self.state.summary.clone(),
                self.is_working() || self.state.is_parked(),
                self.attached(),
            )
        }
    }

    /// Adds a watcher: its number, and what wakes it.
    pub(in crate::engine) fn watch(&mut self, role: WatcherRole) -> (u64, Receiver<()>) {
        let (waker, wake_rx) = waker_by_channel();
        let id = self.next_watcher;
        self.next_watcher += 1;
        self.wakers.set(id, waker, NewsKind::Text);
        self.watchers.push(Watcher {
            id,
            role,
            cut: None,
        });
        (id, wake_rx)
    }

    /// Has a watcher woken by something else from now on, and for such news or greater alone. What was
    /// new before that, it must look for itself.
    pub(in crate::engine) fn wake_by(&mut self, id: u64, waker: Waker, least: NewsKind) {
        self.wakers.set(id, waker, least);
    }

    pub(in crate::engine) fn unwatch(&mut self, id: u64) {
        self.watchers.retain(|watcher| watcher.id != id);
        self.wakers.remove(id);
        if self.watchers.is_empty() {
            self.tail = VecDeque::new();
            self.tail_bytes = 0;
        }
    }

    /// Sends every attached client but `id` away.
    pub(in crate::engine) fn detach_others(&mut self, id: u64) {
        for watcher in &mut self.watchers {
            if watcher.id != id && watcher.role == WatcherRole::Attached {
                watcher.cut = Some(Cut::TakenOver);
            }
        }
        self.wake_all();
    }

    /// What a watcher lacks. With `whole`, the text so far is one piece.
    pub(in crate::engine) fn take(&self, id: u64, feed: &Feed, whole: bool) -> News {
        let watcher = self.watchers.iter().find(|watcher| watcher.id == id);
        if let Some(reason) = watcher.and_then(|watcher| watcher.cut.clone()) {
            return News::Cut(reason);
        }
        let mut pieces = Vec::new();
        let mut shown = usize::try_from(feed.shown_bytes()).unwrap_or(usize::MAX);
        let mut more = false;
        if feed.next_seq() <= self.last_seq() {
            let Some(from) = self.tail_index(feed.next_seq()) else {
                return News::Behind(self.last_seq());
            };
            more = self.take_records(from, feed, &mut shown, &mut pieces);
        }
        let more = more || self.take_text(feed, shown, whole, &mut pieces);
        let shows_nothing = |piece: &NewsItem| matches!(piece, NewsItem::ReplyBegins(_));
        match &self.broken {
            Some(reason) if pieces.iter().all(shows_nothing) => {
                News::Cut(Cut::Broken(reason.clone()))
            }
            // Nothing will wake it again: it is to look once more by itself.
            Some(_) => News::Items(pieces, true),
            None => News::Items(pieces, more),
        }
    }

    fn tail_index(&self, seq: Seq) -> Option<usize> {
        let first = self.tail.front()?.record.seq;
        usize::try_from(seq.0.checked_sub(first.0)?).ok()
    }

    /// Takes records, and the text that came before each; whether there is more of that.
    fn take_records(
        &self,
        from: usize,
        feed: &Feed,
        shown: &mut usize,
        pieces: &mut Vec<NewsItem>,
    ) -> bool {
        for (at, published) in self.tail.iter().enumerate().skip(from) {
            let wanted = published
                .in_flight
                .filter(|place| feed.wants_reply(place.input_seq));
            if let Some(place) = wanted {
                pieces.push(NewsItem::ReplyBegins(place.input_seq));
                // Everybody sees the text that came before a record before that record.
                if let Some((id, text)) = self.reply_in_flight_at(at)
                    && let Some(text) = text.get(*shown..place.bytes)
                {
                    let piece = text::start(text, PIECE_BYTES);
                    pieces.push(NewsItem::Text(id, piece.to_owned()));
                    if piece.len() < text.len() {
                        return true;
                    }
                    *shown = place.bytes;
                }
            }
            if feed::ends_reply(&published.record.event) {
                *shown = 0;
            }
            pieces.push(NewsItem::Record(Arc::clone(&published.record)));
        }
        false
    }

    /// The reply that was in flight when the record at `at` was published: its message, and its text.
    fn reply_in_flight_at(&self, at: usize) -> Option<(Arc<MessageId>, &str)> {
        let mut later = self.tail.iter().skip(at + 1);
        let logged = later.find_map(|published| published.record.event.as_reply());
        if let Some(reply) = logged {
            return Some((Arc::new(feed::reply_id(reply)), &reply.content));
        }
        let in_flight = self.in_flight.as_ref()?;
        Some((Arc::clone(&in_flight.known_as), &in_flight.text))
    }

    /// Takes text of the reply in flight; whether there is more.
    fn take_text(
        &self,
        feed: &Feed,
        shown: usize,
        whole: bool,
        pieces: &mut Vec<NewsItem>,
    ) -> bool {
        let Some(reply) = &self.in_flight else {
            return false;
        };
        if !feed.wants_reply(reply.input_seq) {
            return false;
        }
        pieces.push(NewsItem::ReplyBegins(reply.input_seq));
        if whole {
            let rest = reply.text.get(shown..).unwrap_or_default();
            let piece = text::start(rest, PIECE_BYTES);
            pieces.push(NewsItem::Text(
                Arc::clone(&reply.known_as),
                piece.to_owned(),
            ));
            return piece.len() < rest.len();
        }
        let mut taken = shown;
        for piece in reply.pieces_after(shown) {
            taken = piece.end;
            let text = reply.text.get(piece).unwrap_or_default();
            pieces.push(NewsItem::Text(Arc::clone(&reply.known_as), text.to_owned()));
        }
        taken < reply.text.len()
    }

    fn keep_for_watchers(&mut self, record: &Arc<Record>) {
        if self.watchers.is_empty() {
            return;
        }
        self.tail_bytes += size_of_text(record);
        self.tail.push_back(Published {
            record: Arc::clone(record),
            in_flight: self.in_flight.as_ref().map(|reply| TextPosition {
                input_seq: reply.input_seq,
                bytes: reply.text.len(),
            }),
        });
    }

    /// Keeps of the tail what it may hold, and the `newest` records however long they are: memory has
    /// them anyway, and whoever watches is about to take them.
    fn trim_tail(&mut self, newest: usize) {
        while self.tail.len() > TAIL_RECORDS.max(newest)
            || (self.tail_bytes > TAIL_BYTES && self.tail.len() > newest.max(1))
        {
            if let Some(oldest) = self.tail.pop_front() {
                self.tail_bytes -= size_of_text(&oldest.record);
            }
        }
    }

    /// Has the watchers woken when the lock is free again; see [`LiveGuard`].
    fn wake_all(&mut self) {
        self.news = Some(NewsKind::Change);
    }
}

/// The memory of a record, roughly.
fn size_of_text(record: &Record) -> usize {
    size_of::<Record>() + record.event.text_bytes()
}

/// What happened, the least first: who waits for the end of a turn need not wake for each word of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NewsKind {
    /// There is more text.
    Text,
    /// Anything else: an event, or that a watcher has to go.
    Change,
}

/// Those who watch, by what wakes them. Apart from the rest, so that they are woken when no lock is
/// held: a waker may take all but those of a writer, and even end its watcher.
#[derive(Debug, Default)]
pub(in crate::engine) struct Wakers(Mutex<Arc<[WatcherWaker]>>);

#[derive(Debug, Clone)]
struct WatcherWaker {
    watcher: u64,
    waker: Waker,
    least: NewsKind,
}

impl Wakers {
    fn set(&self, watcher: u64, waker: Waker, least: NewsKind) {
        let new = WatcherWaker {
            watcher,
            waker,
            least,
        };
        let mut all = lock(&self.0);
        let others = all.iter().filter(|other| other.watcher != watcher);
        *all = others.cloned().chain([new]).collect();
    }

    fn remove(&self, watcher: u64) {
        let mut all = lock(&self.0);
        let others = all.iter().filter(|other| other.watcher != watcher);
        *all = others.cloned().collect();
    }

    fn wake_all(&self, news: NewsKind) {
        let all = Arc::clone(&lock(&self.0));
        for one in all.iter().filter(|one| one.least <= news) {
            one.waker.wake_by_ref();
        }
    }
}

/// Watchers that are to be woken; they are when it is dropped.
#[derive(Debug)]
#[must_use = "it is dropped where no lock is held any more"]
pub(in crate::engine) struct WakeUp(Option<(Arc<Wakers>, NewsKind)>);

impl Drop for WakeUp {
    fn drop(&mut self) {
        if let Some((wakers, news)) = self.0.take() {
            wakers.wake_all(news);
        }
    }
}

/// A waker for a thread that waits for a channel, and the channel.
pub(in crate::engine) fn waker_by_channel() -> (Waker, Receiver<()>) {
    // One is enough: a watcher that is awake looks at everything.
    let (wake_tx, wake_rx) = bounded(1);
    (Arc::new(ByChannel(wake_tx)).into(), wake_rx)
}

struct ByChannel(Sender<()>);

impl Wake for ByChannel {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Full means that it is about to look anyway.
        self.0.try_send(()).ok();
    }
}

/// The live state under its lock. When it is given back, those who watch are woken if there is
/// news.
#[derive(Debug)]
pub(in crate::engine) struct LiveGuard<'a>(Option<MutexGuard<'a, Live>>);

impl<'a> LiveGuard<'a> {
    pub(in crate::engine) fn new(live: &'a Mutex<Live>) -> LiveGuard<'a> {
        LiveGuard(Some(lock(live)))
    }
}

impl Deref for LiveGuard<'_> {
    type Target = Live;

    fn deref(&self) -> &Live {
        self.0.as_ref().expect("only drop takes it")
    }
}

impl DerefMut for LiveGuard<'_> {
    fn deref_mut(&mut self) -> &mut Live {
        self.0.as_mut().expect("only drop takes it")
    }
}

impl LiveGuard<'_> {
    /// Gives the lock back, and leaves the waking to the caller, who holds another.
    pub(in crate::engine) fn release(mut self) -> WakeUp {
        self.give_back()
    }

    fn give_back(&mut self) -> WakeUp {
        let wakers = self.0.take().and_then(|mut live| {
            let news = live.news.take()?;
            Some((Arc::clone(&live.wakers), news))
        });
        WakeUp(wakers)
    }
}

impl Drop for LiveGuard<'_> {
    fn drop(&mut self) {
        drop(self.give_back());
    }
}

#[cfg(test)]
mod tests;
