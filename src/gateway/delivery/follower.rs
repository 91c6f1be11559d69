//! Follows a session for its chat, as long as there is something to show.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use crate::domain::ids::{Seq, SessionId};
use crate::engine::{
    Begin, Cursor, Cut, EngineError, Flow, NewsKind, Presence, Sessions, Subscription,
};
use crate::gateway::delivery::approvers::Approvers;
use crate::gateway::delivery::bubble::{Bubble, BubbleKey};
use crate::gateway::delivery::lane::{self, LanePlatform, LaneSession, NextDeed};
use crate::gateway::delivery::news::{SenderHandle, SenderNews};
use crate::gateway::delivery::renderer::ChatRenderer;
use crate::gateway::delivery::wording::AnswerWay;

/// So many bubbles are made ahead of what the platform has taken.
const AHEAD: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct ChatFollower {
    session: SessionId,
    watch: Subscription,
    waker: Arc<NewsWaker>,
    renderer: ChatRenderer,
    /// Bubbles of which nothing is to be done any more.
    done: BTreeSet<BubbleKey>,
    /// There is more to be taken.
    has_more: bool,
    /// It was sent away, and sees no more.
    is_cut: bool,
}

/// Where a follower stands after it has taken what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Following {
    /// It will be told of more.
    On,
    /// It sees nothing any more: the session is to be followed anew, when something happens there.
    Lost,
}

impl ChatFollower {
    /// Follows a session from where its chat has everything.
    ///
    /// Errors: the session cannot be opened or read.
    pub(super) fn begin(
        sessions: &Sessions,
        seen: &LaneSession,
        way: AnswerWay,
        approvers: Option<Approvers>,
        reject_message: Option<String>,
        news: &SenderHandle,
    ) -> Result<ChatFollower, EngineError> {
        let presence = Presence {
            is_readonly: true,
            detaches_others: false,
        };
        let begin = Begin::After(Cursor::after(seen.seen));
        let mut watch = sessions.subscribe(&seen.session, begin, presence)?;
        let waker = Arc::new(NewsWaker {
            session: seen.session.clone(),
            news: news.clone(),
            is_told: AtomicBool::new(false),
        });
        watch.wake_by(Waker::from(Arc::clone(&waker)), NewsKind::Text);
        let renderer = ChatRenderer::new(seen.seen, seen.asked.clone(), way);
        let renderer = renderer.offering_to(approvers);
        Ok(ChatFollower {
            session: seen.session.clone(),
            watch,
            waker,
            renderer: renderer.rejecting_with(reject_message),
            done: BTreeSet::new(),
            has_more: true,
            is_cut: false,
        })
    }

    /// The session.
    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    /// What is to be seen.
    pub(super) fn renderer(&self) -> &ChatRenderer {
        &self.renderer
    }

    /// Takes what there is to show, up to a bound.
    ///
    /// Errors: it cannot be read.
    pub(super) fn pull(&mut self) -> Result<Following, EngineError> {
        if self.is_cut {
            return Ok(Following::Lost);
        }
        // What comes from here on is told again.
        self.waker.is_told.store(false, Ordering::Release);
        let mut items = Vec::new();
        while self.waiting().count() < AHEAD {
            let flow = self.watch.pull(&mut items)?;
            for item in items.drain(..) {
                self.renderer.push(&item);
            }
            match flow {
                Flow::More => {}
                Flow::Open | Flow::Over => {
                    self.has_more = false;
                    return Ok(Following::On);
                }
                Flow::Cut(Cut::Waits(reason)) => {
                    self.renderer.wait(&reason);
                    self.has_more = false;
                    self.is_cut = true;
                    return Ok(Following::On);
                }
                Flow::Cut(Cut::TakenOver | Cut::Broken(_)) => return Ok(Following::Lost),
            }
        }
        self.has_more = true;
        Ok(Following::On)
    }

    /// More can be taken now than when that was last done.
    pub(super) fn can_go_on(&self) -> bool {
        self.has_more && self.waiting().count() < AHEAD
    }

    /// Something is to be sent that does not wait for others, as far as can be told at a glance.
    pub(super) fn is_urgent(&self, seen: &LaneSession) -> bool {
        let has_none = |bubble: &Bubble| {
            let sent = seen.sent(bubble.key);
            sent.is_none_or(|sent| sent.parts.is_empty())
        };
        self.waiting()
            .any(|bubble| bubble.is_final || has_none(bubble))
    }

    /// What is to be done next for the chat.
    pub(super) fn next_deed(
        &self,
        seen: &LaneSession,
        platform: &LanePlatform<'_>,
    ) -> Option<NextDeed> {
        lane::next_deed(self.waiting(), seen, platform)
    }

    /// Notes what the chat has all of; whether that changes what is to be remembered of it.
    pub(super) fn settle(&mut self, seen: &mut LaneSession, platform: &LanePlatform<'_>) -> bool {
        let mut newly: Vec<BubbleKey> = Vec::new();
        let last = self.renderer.bubbles().last().map(|last| last.key);
        for bubble in self.waiting() {
            // A line on what is at work may come below it.
            let is_last = Some(bubble.key) == last;
            let may_change = is_last && self.renderer.end_of(bubble.key).is_none();
            if !may_change && lane::is_done(bubble, seen, platform) {
                newly.push(bubble.key);
            }
        }
        self.done.extend(newly);
        let mut is_changed = false;
        while let Some(turn) = self.renderer.first_end().cloned() {
            if self.waiting().any(|bubble| bubble.key.turn == turn.turn) {
                break;
            }
            seen.seen = turn.end;
            seen.asked = turn.asked;
            let ended = turn.turn;
            seen.bubbles.retain(|sent| sent.key.turn != ended);
            self.done.retain(|key| key.turn != ended);
            self.renderer.forget_turn();
            is_changed = true;
        }
        is_changed
    }

    /// Where nothing is under way, the chat need not look at what came before again; whether that is
    /// worth a note.
    pub(super) fn settle_at_rest(&mut self, seen: &mut LaneSession) -> bool {
        /// To look at so many events again is cheaper than to write.
        const WORTH: u64 = 64;
        let Some(place) = self.renderer.resting_place().filter(|_| !self.has_more) else {
            return false;
        };
        if place.0.saturating_sub(seen.seen.0) < WORTH {
            return false;
        }
        seen.seen = place;
        seen.asked.clear();
        self.renderer.begin_at_rest();
        true
    }

    /// The session has ended, and its chat has all of it.
    pub(super) fn is_over(&self) -> bool {
        self.renderer.is_over() && !self.has_more && self.renderer.first_end().is_none()
    }

    /// Everything there is was taken, and nothing of it is to be done.
    pub(super) fn is_up_to_date(&self) -> bool {
        !self.has_more
    }

    /// The end of the turn that a bubble belongs to.
    pub(super) fn end_of(&self, key: BubbleKey) -> Option<Seq> {
        self.renderer.end_of(key)
    }

    /// What a bubble says, for whom it is set aside.
    pub(super) fn bubble(&self, key: BubbleKey) -> Option<&Bubble> {
        self.renderer.bubbles().find(|bubble| bubble.key == key)
    }

    fn waiting(&self) -> impl Iterator<Item = &Bubble> {
        let bubbles = self.renderer.bubbles();
        bubbles.filter(|bubble| !self.done.contains(&bubble.key))
    }
}

/// Tells a sender once that there is more of a session, until it has looked.
#[derive(Debug)]
struct NewsWaker {
    session: SessionId,
    news: SenderHandle,
    is_told: AtomicBool,
}

impl Wake for NewsWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_told.swap(true, Ordering::AcqRel) {
            self.news.tell(SenderNews::Changed(self.session.clone()));
        }
    }
}
