//! What one subscriber is shown.

use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::{Receiver, never};

use crate::domain::event::{AssistantResponse, Event, Record};
use crate::domain::ids::Seq;
use crate::engine::error::EngineError;
use crate::engine::open::session::Session;
use crate::engine::stored::PAGE;
use crate::engine::watch::cursor::Cursor;
use crate::engine::watch::feed::{Feed, FeedEvent, FeedItem, PIECE_BYTES};
use crate::engine::watch::live::{
    Cut, Live, News, NewsItem, NewsKind, WatcherRole, waker_by_channel,
};
use crate::engine::watch::view::PendingApproval;
use crate::store::{ReadLimit, SessionStore};

/// As [`PIECE_BYTES`], of a reply that is read from the log: each piece costs a look at all of it.
const LOG_PIECE_BYTES: usize = 1 << 20;

/// One subscriber's way through a session's events; dropping it detaches.
#[derive(Debug)]
pub struct Subscription {
    session: Arc<Session>,
    store: Arc<dyn SessionStore>,
    watcher: u64,
    wake_rx: Receiver<()>,
    feed: Feed,
    /// Shown before anything else.
    opening: Vec<FeedItem>,
    /// A question that was open before the message that is followed; shown after its `Start`.
    asked_before: Option<PendingApproval>,
    /// The text so far is one piece, the first time: who comes new has no use for its tokens.
    first_text_whole: bool,
}

/// The next step of a subscriber after a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Wait for [`Subscription::wake`], then pull again.
    Open,
    /// There is more already: pull again.
    More,
    /// Nothing more will come: the turn or the session has ended.
    Over,
    /// The subscriber was sent away, or the session cannot go on.
    Cut(Cut),
}

/// A watcher without a feed yet: it counts from before anything is known of what to show. Dropping it
/// lets it go.
#[derive(Debug)]
pub(in crate::engine) struct WatcherGuard {
    session: Arc<Session>,
    watcher: u64,
    wake_rx: Receiver<()>,
    is_taken_over: bool,
}

impl WatcherGuard {
    /// Adds a watcher; from here on the client counts as `role` says.
    pub(in crate::engine) fn take(session: &Arc<Session>, role: WatcherRole) -> WatcherGuard {
        let (watcher, wake_rx) = session.live().watch(role);
        WatcherGuard {
            session: Arc::clone(session),
            watcher,
            wake_rx,
            is_taken_over: false,
        }
    }

    /// Its number among those of its session.
    pub(in crate::engine) fn id(&self) -> u64 {
        self.watcher
    }

    /// Waits until something changed, at most until `deadline`.
    pub(in crate::engine) fn wait(&self, deadline: std::time::Instant) {
        // A time-out is as good as a change: the caller looks at the clock.
        self.wake_rx.recv_deadline(deadline).ok();
    }

    /// Begins to show what `feed` has not seen.
    pub(in crate::engine) fn show(
        mut self,
        store: &Arc<dyn SessionStore>,
        feed: Feed,
    ) -> Subscription {
        self.is_taken_over = true;
        Subscription {
            session: Arc::clone(&self.session),
            store: Arc::clone(store),
            watcher: self.watcher,
            wake_rx: self.wake_rx.clone(),
            feed,
            opening: Vec::new(),
            asked_before: None,
            first_text_whole: false,
        }
    }
}

impl Drop for WatcherGuard {
    fn drop(&mut self) {
        if !self.is_taken_over {
            self.session.unwatch(self.watcher);
        }
    }
}

impl Subscription {
    /// Shows `items` first.
    #[must_use]
    pub(in crate::engine) fn opening_with(mut self, items: Vec<FeedItem>) -> Subscription {
        self.opening = items;
        self.first_text_whole = true;
        self
    }

    /// Shows an open question right after the message that is followed.
    #[must_use]
    pub(in crate::engine) fn asked_before(
        mut self,
        approval: Option<PendingApproval>,
    ) -> Subscription {
        self.asked_before = approval;
        self
    }

    /// Moves what is to be shown now into `out`, in order; never blocks for long (it may read
    /// the log). Bounded: at most some 100 KiB of text at a time.
    ///
    /// Errors: the log cannot be read.
    pub fn pull(&mut self, out: &mut Vec<FeedItem>) -> Result<Flow, EngineError> {
        match self.take(out) {
            Ok(flow) => Ok(flow),
            Err(last) => {
                self.read_log(last, out)?;
                Ok(self.flow(true))
            }
        }
    }

    /// The same from memory alone, so that it never blocks; `None` when what comes next must be
    /// read from the log.
    pub fn pull_at_hand(&mut self, out: &mut Vec<FeedItem>) -> Option<Flow> {
        self.take(out).ok()
    }

    /// Takes what is in memory. Errors: the log is to be read, up to this record.
    fn take(&mut self, out: &mut Vec<FeedItem>) -> Result<Flow, Seq> {
        out.append(&mut self.opening);
        if self.feed.is_over() {
            return Ok(Flow::Over);
        }
        let taken = {
            let live = self.session.live();
            live.take(self.watcher, &self.feed, self.first_text_whole)
        };
        match taken {
            News::Cut(cut) => Ok(Flow::Cut(cut)),
            News::Behind(last) => Err(last),
            News::Items(pieces, more) => {
                self.first_text_whole &= more;
                let all_shown = pieces.into_iter().all(|piece| self.show(piece, out));
                Ok(self.flow(more || !all_shown))
            }
        }
    }

    fn flow(&self, more: bool) -> Flow {
        match (self.feed.is_over(), more) {
            (true, _) => Flow::Over,
            (false, true) => Flow::More,
            (false, false) => Flow::Open,
        }
    }

    /// Leaves without a consequence for the unfinished turn: it goes on as if somebody were there.
    pub fn let_it_run_on(&self) {
        self.session.live().runs_on = true;
    }

    /// Yields a `()` when there may be something to pull; select on it.
    pub fn wake(&self) -> &Receiver<()> {
        &self.wake_rx
    }

    /// Calls `waker` for such news or greater from now on, in place of [`wake`](Subscription::wake): pull
    /// once after this, for what is there already.
    ///
    /// It is called on the threads of others, whoever has news, while they may hold the session's log: it
    /// must not block. It may [pull what is at hand](Subscription::pull_at_hand), and drop the subscription.
    pub fn wake_by(&mut self, waker: Waker, least: NewsKind) {
        self.wake_rx = never();
        let mut live = self.session.live();
        live.wake_by(self.watcher, waker, least);
    }

    /// Takes that back. Pull once after this, too.
    pub fn wake_by_channel(&mut self) {
        let (waker, wake_rx) = waker_by_channel();
        self.wake_by(waker, NewsKind::Text);
        self.wake_rx = wake_rx;
    }

    /// What a person is asked now.
    pub fn open_question(&self) -> Option<PendingApproval> {
        self.session
            .live()
            .state
            .approval()
            .map(PendingApproval::from)
    }

    /// The session is over and everything was shown: a stream that begins here would say nothing.
    pub fn has_nothing_left(&self) -> bool {
        let live = self.session.live();
        self.opening.is_empty() && live.state.is_over() && self.feed.next_seq() > live.last_seq()
    }

    fn read_log(&mut self, last: Seq, out: &mut Vec<FeedItem>) -> Result<(), EngineError> {
        let page = self
            .store
            .records(&self.session.id, self.feed.next_seq(), PAGE)?;
        let mut records = page.iter().filter(|record| record.seq <= last);
        // The rest of a long one is read once more.
        records.all(|record| self.show_record(record, LOG_PIECE_BYTES, out));
        Ok(())
    }

    /// Shows what is new; whether all of it was shown, and what comes after it can be.
    fn show(&mut self, piece: NewsItem, out: &mut Vec<FeedItem>) -> bool {
        if self.feed.is_over() {
            return true;
        }
        match piece {
            NewsItem::ReplyBegins(input_seq) => self.feed.reply_in_flight(input_seq),
            NewsItem::Text(id, text) => self.feed.push_text(id, text, out),
            NewsItem::Record(record) => return self.show_record(&record, PIECE_BYTES, out),
        }
        true
    }

    fn show_record(
        &mut self,
        record: &Record,
        piece_bytes: usize,
        out: &mut Vec<FeedItem>,
    ) -> bool {
        if self.feed.is_over() {
            return true;
        }
        if !self.feed.push_record(record, piece_bytes, out) {
            return false;
        }
        let starts = matches!(record.event, Event::UserMessage(_));
        if starts && let Some(asked) = self.asked_before.take() {
            out.push(FeedItem {
                id: self.feed.cursor(),
                event: FeedEvent::ApprovalRequired {
                    call_id: asked.call_id,
                    command: asked.command,
                    commands: asked.commands,
                    kind: asked.kind,
                    exact: asked.exact,
                    session_rules: asked.session_rules,
                    requester_id: asked.requester_id,
                },
            });
        }
        true
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.session.unwatch(self.watcher);
    }
}

/// A feed that goes on after `cursor` and knows what it must of what came before: the reply that
/// is unfinished there, or whose turn is.
pub(in crate::engine) fn feed_after(
    store: &dyn SessionStore,
    session: &Session,
    cursor: Cursor,
) -> Result<Feed, EngineError> {
    /// A reply is rarely farther back than its calls and their results.
    const BACK: ReadLimit = ReadLimit {
        records: 32,
        bytes: 64 << 10,
    };
    let mut feed = Feed::after(cursor);
    let mut known: Vec<Record> = Vec::new();
    let mut before = feed.next_seq();
    while before > Seq(1) {
        let page = store.records_before(&session.id, before, BACK)?;
        let Some(first) = page.first() else { break };
        before = first.seq;
        let begins = page.iter().rposition(begins_a_reply);
        let is_enough = begins.is_some();
        known.splice(0..0, page.into_iter().skip(begins.unwrap_or(0)));
        if is_enough {
            break;
        }
    }
    known.iter().for_each(|record| feed.remember(record));
    Ok(feed)
}

/// Nothing before such a record matters to what comes after it.
pub(in crate::engine) fn begins_a_reply(record: &Record) -> bool {
    let is_first_part = |reply: &AssistantResponse| reply.continues.is_none();
    record.event.as_reply().is_some_and(is_first_part)
        || matches!(
            record.event,
            Event::TurnEnded { .. } | Event::SessionStart(_)
        )
}

/// Where a subscriber that comes new stands.
pub(in crate::engine) fn cursor_now(live: &Live) -> Cursor {
    Cursor {
        bytes: live.in_flight.as_ref().map(|_| 0),
        ..Cursor::after(live.last_seq())
    }
}
