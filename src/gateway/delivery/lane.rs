//! What a platform has of a lane, as far as is known, and what it is to get next. Pure.
//!
//! Rules: what is not there is sent; what is there and says something else is changed, where the
//! platform can do that; words that still grow may be overtaken by what is final, once they are
//! there at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::digest;
use crate::domain::chat::Chat;
use crate::domain::event::{Attachment, Decision};
use crate::domain::ids::{CallId, Seq, SessionId};
use crate::domain::time::Timestamp;
use crate::gateway::delivery::bubble::{Bubble, BubbleButton, BubbleContent, BubbleKey};
use crate::gateway::delivery::renderer::AskedMessage;
use crate::gateway::delivery::wording;
use crate::gateway::outlet::RenderedPiece;
use crate::gateway::protocol::{Button, Capabilities, InlineKeyboard};

/// A lane, as it stands on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LaneDocument {
    /// The chat.
    pub(super) chat_id: String,
    /// Its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) thread_id: Option<String>,
    /// The sessions of which the chat may lack something, oldest first.
    #[serde(default)]
    pub(super) sessions: Vec<LaneSession>,
    /// The chat must not be written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resting: Option<LaneTrouble>,
    /// What is next did not go well so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failing: Option<LaneTrouble>,
}

/// Why a lane does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LaneTrouble {
    /// Since when.
    pub(super) since: Timestamp,
    /// Why, in words.
    pub(super) why: String,
}

/// What the chat has of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LaneSession {
    /// The session.
    pub(super) session: SessionId,
    /// Up to this record it has everything; no turn was at work there.
    pub(super) seen: Seq,
    /// What waited for a turn there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) asked: Vec<AskedMessage>,
    /// What it has of what came after that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bubbles: Vec<SentBubble>,
}

/// What a chat has of a bubble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SentBubble {
    /// Which.
    #[serde(with = "key_as_text")]
    pub(super) key: BubbleKey,
    /// The messages of the platform that it became, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<LanePart>,
    /// What its buttons decide, by what a press brings back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) handles: BTreeMap<String, Decision>,
    /// The call that it asks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) call_id: Option<CallId>,
    /// Its messages cannot be changed: its words are sent when they are whole. Of a file: it cannot be sent,
    /// and is told of instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_frozen: bool,
    /// The platform does not take it; why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
    /// It was set aside: the chat never gets what it lacks of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_aside: bool,
}

/// A message of the platform that is a part of a bubble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LanePart {
    /// Its id; some platforms have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<String>,
    /// Of what it says, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}

impl LaneDocument {
    /// Of a chat that has nothing yet.
    pub(super) fn new(chat: &Chat) -> LaneDocument {
        LaneDocument {
            chat_id: chat.chat_id.clone(),
            thread_id: chat.thread_id.clone(),
            sessions: Vec::new(),
            resting: None,
            failing: None,
        }
    }

    /// Nothing is to be remembered of the lane.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.resting.is_none() && self.failing.is_none()
    }

    /// What it says of a session.
    pub(super) fn session(&mut self, id: &SessionId) -> Option<&mut LaneSession> {
        self.sessions.iter_mut().find(|one| one.session == *id)
    }
}

impl LaneSession {
    /// Of a session of which the chat has everything up to `seen`.
    pub(super) fn new(session: SessionId, seen: Seq) -> LaneSession {
        LaneSession {
            session,
            seen,
            asked: Vec::new(),
            bubbles: Vec::new(),
        }
    }

    /// What the chat has of a bubble.
    pub(super) fn sent(&self, key: BubbleKey) -> Option<&SentBubble> {
        self.bubbles.iter().find(|sent| sent.key == key)
    }

    /// The same, to note what it got.
    pub(super) fn sent_mut(&mut self, key: BubbleKey) -> &mut SentBubble {
        let at = self.bubbles.iter().position(|sent| sent.key == key);
        let at = at.unwrap_or_else(|| {
            self.bubbles.push(SentBubble {
                key,
                parts: Vec::new(),
                handles: BTreeMap::new(),
                call_id: None,
                is_frozen: false,
                refused: None,
                is_aside: false,
            });
            self.bubbles.len() - 1
        });
        &mut self.bubbles[at]
    }
}

impl LanePart {
    fn shows(&self, text: &str) -> bool {
        self.digest.as_deref() == Some(digest_of(text).as_str())
    }
}

/// By what a text is known again.
pub(super) fn digest_of(text: &str) -> String {
    const DIGITS: usize = 16;
    let mut digest = digest::sha256(text.as_bytes());
    digest.truncate(DIGITS);
    digest
}

/// What the next command of a session is to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NextDeed {
    /// Of which bubble.
    pub(super) key: BubbleKey,
    /// What.
    pub(super) deed: LaneDeed,
    /// It does not wait for others: its words are whole, or the first ones of a reply.
    pub(super) is_urgent: bool,
}

/// What can be done for a bubble.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LaneDeed {
    /// What it asks is to be noted, on disk, before it is sent, with handles for its buttons.
    Prepare {
        /// The call that it is about.
        call_id: CallId,
        /// What its buttons decide.
        answers: Vec<Decision>,
    },
    /// Another message is to be sent.
    Send {
        /// What it says.
        piece: RenderedPiece,
        /// The message that it answers.
        reply_to: Option<String>,
        /// What stands below it.
        buttons: Option<InlineKeyboard>,
    },
    /// A file is to be sent.
    SendFile(Attachment),
    /// A message is to say something else.
    Edit {
        /// Which part.
        part: usize,
        /// The message.
        message_id: String,
        /// What it says then.
        piece: RenderedPiece,
    },
    /// The last message is to be taken back.
    Delete {
        /// The message.
        message_id: String,
    },
    /// The platform does not take it, and it is whole by now: it is to be kept aside.
    SetAside {
        /// Why.
        why: String,
    },
}

/// What matters of a platform for what it is to get.
pub(super) struct LanePlatform<'a> {
    /// What it can do.
    pub(super) can: Capabilities,
    /// It is told the thread of a chat; else only the message that is answered shows it.
    pub(super) knows_threads: bool,
    /// The messages that a text becomes.
    pub(super) render: &'a dyn Fn(&str) -> Vec<RenderedPiece>,
}

/// How a bubble stands.
#[derive(Debug, Clone, PartialEq)]
enum BubbleStand {
    /// Something is to be done.
    Todo(NextDeed),
    /// The chat has what it says.
    Shown,
    /// Its words are not ripe to be sent.
    Unripe,
}

/// What is next for the chat of a session: urgent things first, in the order of the bubbles.
pub(super) fn next_deed<'b>(
    bubbles: impl Iterator<Item = &'b Bubble>,
    session: &LaneSession,
    platform: &LanePlatform<'_>,
) -> Option<NextDeed> {
    let mut patient = None;
    for bubble in bubbles {
        match stand(bubble, session.sent(bubble.key), platform) {
            BubbleStand::Todo(next) if next.is_urgent => return Some(next),
            BubbleStand::Todo(next) => patient = patient.or(Some(next)),
            BubbleStand::Unripe | BubbleStand::Shown => {}
        }
    }
    patient
}

/// The chat has all of a bubble, or never will.
pub(super) fn is_done(bubble: &Bubble, session: &LaneSession, platform: &LanePlatform<'_>) -> bool {
    let works = matches!(
        bubble.content,
        BubbleContent::Text {
            working: Some(_),
            ..
        }
    );
    let sent = session.sent(bubble.key);
    let is_frozen = sent.is_some_and(|sent| sent.is_frozen);
    bubble.is_final
        && !(works && platform.can.edit && !is_frozen)
        && stand(bubble, sent, platform) == BubbleStand::Shown
}

fn stand(bubble: &Bubble, sent: Option<&SentBubble>, platform: &LanePlatform<'_>) -> BubbleStand {
    let is_aside = sent.is_some_and(|sent| sent.is_aside);
    if is_aside {
        return BubbleStand::Shown;
    }
    if let Some(why) = sent.and_then(|sent| sent.refused.clone()) {
        if !bubble.is_whole() {
            return BubbleStand::Unripe;
        }
        return todo(bubble, LaneDeed::SetAside { why }, true);
    }
    let is_frozen = sent.is_some_and(|sent| sent.is_frozen);
    let can = Capabilities {
        edit: platform.can.edit && !is_frozen,
        media: platform.can.media && !is_frozen,
        ..platform.can
    };
    let parts = sent.map(|sent| sent.parts.as_slice()).unwrap_or_default();
    let is_file = |part: &LanePart| part.digest.is_none();
    if matches!(bubble.content, BubbleContent::File(_)) && parts.first().is_some_and(is_file) {
        // Whatever the platform can do by now.
        return BubbleStand::Shown;
    }
    let Some(text) = wanted_text(bubble, can) else {
        return BubbleStand::Unripe;
    };
    let text = match text {
        WantedContent::File(file) => return todo(bubble, LaneDeed::SendFile(file.clone()), true),
        WantedContent::Text(text) => text,
    };
    let pieces = match text.as_str() {
        "" => Vec::new(),
        text => (platform.render)(text),
    };
    for (part, piece) in pieces.iter().enumerate() {
        let is_last = part + 1 == pieces.len();
        let deed = match parts.get(part) {
            Some(there) if there.shows(&piece.content) => continue,
            Some(LanePart {
                message_id: Some(message_id),
                ..
            }) if can.edit => LaneDeed::Edit {
                part,
                message_id: message_id.clone(),
                piece: piece.clone(),
            },
            Some(_) => continue,
            None => match send(bubble, sent, piece, part, is_last, platform) {
                Some(deed) => deed,
                None => return BubbleStand::Unripe,
            },
        };
        // What is at work may be over in a moment, or become a question.
        let is_first = parts.is_empty() && has_words(bubble);
        let is_whole = bubble.is_final || !is_last;
        let is_question = matches!(bubble.content, BubbleContent::Question { .. });
        return todo(bubble, deed, is_first || is_whole || is_question);
    }
    match surplus(&parts[pieces.len().min(parts.len())..], pieces.len(), can) {
        Some(deed) => todo(bubble, deed, bubble.is_final),
        None => BubbleStand::Shown,
    }
}

/// It says more than what is at work.
fn has_words(bubble: &Bubble) -> bool {
    match &bubble.content {
        BubbleContent::Text { markdown, .. } => !markdown.is_empty(),
        BubbleContent::Question { .. } | BubbleContent::File(_) => true,
    }
}

fn todo(bubble: &Bubble, deed: LaneDeed, is_urgent: bool) -> BubbleStand {
    BubbleStand::Todo(NextDeed {
        key: bubble.key,
        deed,
        is_urgent,
    })
}

enum WantedContent<'b> {
    Text(String),
    File(&'b Attachment),
}

/// What a chat is to see of a bubble now; `None` for not yet.
fn wanted_text(bubble: &Bubble, can: Capabilities) -> Option<WantedContent<'_>> {
    match &bubble.content {
        BubbleContent::Text { .. } if !bubble.is_final && !can.edit => None,
        BubbleContent::Text { markdown, working } => {
            let working = working.as_deref().filter(|_| can.edit);
            let text = match working {
                Some(working) => wording::with_paragraph(markdown, working),
                None => markdown.trim_end().to_owned(),
            };
            // A line on what was at work stays until there is something in its place.
            let is_ripe = bubble.is_final || !text.is_empty();
            is_ripe.then_some(WantedContent::Text(text))
        }
        BubbleContent::Question { markdown, .. } => Some(WantedContent::Text(markdown.clone())),
        BubbleContent::File(file) if can.media => Some(WantedContent::File(file)),
        BubbleContent::File(file) => Some(WantedContent::Text(wording::file_in_words(file))),
    }
}

/// The sending of a part; `None` for one that there is no use for any more.
fn send(
    bubble: &Bubble,
    sent: Option<&SentBubble>,
    piece: &RenderedPiece,
    part: usize,
    is_last: bool,
    platform: &LanePlatform<'_>,
) -> Option<LaneDeed> {
    let is_first = part == 0 && bubble.key.place == 1;
    let reply_to = bubble.reply_to.clone();
    let mut buttons = None;
    if let BubbleContent::Question {
        call_id, answers, ..
    } = &bubble.content
        && !bubble.is_final
        && is_last
    {
        let has_buttons = !answers.is_empty() && platform.can.inline_keyboard;
        let is_prepared = |sent: &&SentBubble| {
            sent.call_id.as_ref() == Some(call_id) && (!has_buttons || !sent.handles.is_empty())
        };
        let Some(sent) = sent.filter(is_prepared) else {
            let answers = answers.iter().filter(|_| has_buttons);
            return Some(LaneDeed::Prepare {
                call_id: call_id.clone(),
                answers: answers.map(|answer| answer.decision).collect(),
            });
        };
        buttons = has_buttons.then(|| keyboard(answers, &sent.handles));
    }
    Some(LaneDeed::Send {
        piece: piece.clone(),
        reply_to: reply_to.filter(|_| is_first || !platform.knows_threads),
        buttons,
    })
}

fn keyboard(answers: &[BubbleButton], handles: &BTreeMap<String, Decision>) -> InlineKeyboard {
    let button = |answer: &BubbleButton| {
        let mut handles = handles.iter();
        let handle = handles.find(|(_, decision)| **decision == answer.decision);
        handle.map(|(handle, _)| Button {
            text: answer.text.clone(),
            callback_data: handle.clone(),
        })
    };
    // On a telephone no more than three can be read beside one another.
    let in_row = if answers.len() > 3 { 2 } else { 3 };
    let rows = answers.chunks(in_row);
    InlineKeyboard {
        rows: rows
            .map(|row| row.iter().filter_map(button).collect())
            .collect(),
    }
}

/// What is to be done about messages that the words need no more: those behind the first `needed`.
fn surplus(parts: &[LanePart], needed: usize, can: Capabilities) -> Option<LaneDeed> {
    /// What a message says that cannot be taken back.
    const NOTHING: &str = "…";
    if can.delete {
        let message_id = parts.last()?.message_id.clone()?;
        return Some(LaneDeed::Delete { message_id });
    }
    let stale = |part: &&LanePart| part.message_id.is_some() && !part.shows(NOTHING);
    let (at, part) = parts.iter().enumerate().find(|(_, part)| stale(part))?;
    Some(LaneDeed::Edit {
        part: needed + at,
        message_id: part.message_id.clone().filter(|_| can.edit)?,
        piece: RenderedPiece {
            content: NOTHING.to_owned(),
            plain: None,
        },
    })
}

mod key_as_text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::BubbleKey;

    pub(super) fn serialize<S: Serializer>(key: &BubbleKey, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BubbleKey, D::Error> {
        let text = String::deserialize(from)?;
        BubbleKey::parse(&text).ok_or_else(|| D::Error::custom("not the key of a bubble"))
    }
}

#[cfg(test)]
mod tests;
