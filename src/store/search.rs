//! Looks through the logs of all sessions for messages that fit a query best.
//!
//! There is no index: the text of messages is counted in the lines as they lie on the disk, and only those
//! that are shown are read. So what is found is what the logs hold, and nothing has to be kept in step.
//!
//! Memory: what [`Ranking`] keeps, and a page of a log.

use std::ops::ControlFlow;

use memchr::{memchr2_iter, memmem};
use serde::Deserialize;

use crate::domain::event::{Event, Record};
use crate::domain::ids::{MessageId, Seq, SessionId};
use crate::domain::ranking::{Ranking, WordQuery, WordTally};
use crate::domain::search::{FoundMessage, MessageSearch};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::domain::transcript::Role;
use crate::store::{ReadLimit, SessionStore, StoreError};

/// The bytes of a message that are shown.
const SNIPPET_BYTES: usize = 240;
/// How many lines of a log are looked at before it is asked whether to go on.
const LINES_AT_A_TIME: u32 = 64;

/// The messages that fit best, the best first. A session that cannot be read hides no other.
///
/// Errors: the names of the sessions cannot be read.
pub fn search(
    store: &dyn SessionStore,
    wanted: &MessageSearch<'_>,
) -> Result<Vec<FoundMessage>, StoreError> {
    let mut all = LogSearch {
        store,
        wanted,
        ranking: Ranking::new(wanted.query),
        sessions: Vec::new(),
        lines: 0,
    };
    if wanted.query.is_empty() {
        return Ok(Vec::new());
    }
    for id in store.list(None, usize::MAX)? {
        if !(wanted.goes_on)() {
            break;
        }
        if let Err(error) = all.look_through(&id) {
            // The next one takes its place.
            let place = all.sessions.len();
            all.ranking.forget(|one| one.session == place);
            if !matches!(error, StoreError::NotFound(_)) {
                log::debug!("session {id} is not searched: {error}");
            }
        }
    }
    Ok(all.found())
}

struct LogSearch<'a> {
    store: &'a dyn SessionStore,
    wanted: &'a MessageSearch<'a>,
    ranking: Ranking<'a, MessagePlace>,
    sessions: Vec<SearchedSession>,
    /// Looked at since it was asked whether to go on.
    lines: u32,
}

/// A session that messages were found in.
struct SearchedSession {
    id: SessionId,
    /// As far as its beginning and its changes tell.
    summary: Summary,
    /// What was withdrawn.
    dropped: Vec<MessageId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MessagePlace {
    /// Its place in `sessions`.
    session: usize,
    seq: Seq,
}

/// What a walk over a log has seen.
struct SeenLog {
    summary: Summary,
    dropped: Vec<MessageId>,
    /// Its number, its time, and its words alone.
    first_message: Option<(Seq, Timestamp, WordTally)>,
    /// Messages were stepped over, as they were not there for who asks.
    has_skipped: bool,
    /// One of them fits.
    is_hit: bool,
    /// What came up to there is what the model may not be shown any more.
    settled_to: Seq,
}

impl LogSearch<'_> {
    fn look_through(&mut self, id: &SessionId) -> Result<(), StoreError> {
        let place = self.sessions.len();
        let mut seen = self.walk(id, false)?;
        let sees =
            |summary: &Summary| summary.last_seq > Seq::ZERO && (self.wanted.sees)(id, summary);
        let is_visible = sees(&seen.summary);
        if seen.is_hit && (seen.has_skipped || !is_visible) {
            self.ranking.forget(|one| one.session == place);
        }
        if !is_visible {
            return Ok(());
        }
        if seen.has_skipped {
            // It was somebody else's then, and is not now.
            seen = self.walk(id, true)?;
        }
        if self.wanted.asking == Some(id) && seen.is_hit {
            let end = seen.settled_to;
            self.ranking
                .forget(|one| one.session == place && one.seq > end);
        }
        if self.count_title(place, &seen) || seen.is_hit {
            self.sessions.push(SearchedSession {
                id: id.clone(),
                summary: seen.summary,
                dropped: seen.dropped,
            });
        }
        Ok(())
    }

    /// A title is a name of all its messages that fit; where none does, its first one stands for it. True if
    /// that is so.
    fn count_title(&mut self, session: usize, seen: &SeenLog) -> bool {
        let (Some(title), Some((seq, at, first))) = (&seen.summary.title, &seen.first_message)
        else {
            return false;
        };
        let mut named = first.clone();
        self.wanted.query.count_named(title, &mut named);
        if !named.is_any() || self.ranking.name(&named, |one| one.session == session) {
            return false;
        }
        let first = MessagePlace { session, seq: *seq };
        self.ranking.add(named, at.as_micros(), first)
    }

    /// Counts what the messages of a log say while its session is one to be seen, or `always`.
    fn walk(&mut self, id: &SessionId, always: bool) -> Result<SeenLog, StoreError> {
        let session = self.sessions.len();
        let mut seen = SeenLog {
            summary: Summary::empty(),
            dropped: Vec::new(),
            first_message: None,
            has_skipped: false,
            is_hit: false,
            settled_to: Seq::ZERO,
        };
        let mut is_seen = always;
        self.store.each_line(id, &mut |head, json| {
            self.lines += 1;
            if self.lines >= LINES_AT_A_TIME {
                self.lines = 0;
                if !(self.wanted.goes_on)() {
                    return ControlFlow::Break(());
                }
            }
            match &*head.kind {
                "user_message" | "assistant_response" if !is_seen => seen.has_skipped = true,
                "user_message" | "assistant_response" => {
                    let is_late = self
                        .wanted
                        .since
                        .is_none_or(|since| head.timestamp >= since);
                    if let Some(tally) = count(self.wanted.query, json).filter(|_| is_late) {
                        seen.first_message.get_or_insert_with(|| {
                            (head.seq, head.timestamp, tally.length_alone())
                        });
                        let place = MessagePlace {
                            session,
                            seq: head.seq,
                        };
                        let at = head.timestamp.as_micros();
                        seen.is_hit |= self.ranking.add(tally, at, place);
                    }
                }
                "session_start" | "session_changed" | "session_adopted" => {
                    if let Ok(record) = head.clone().record(json) {
                        seen.summary.apply(&record);
                        is_seen = always || (self.wanted.sees)(id, &seen.summary);
                    }
                }
                "message_dropped" => seen.dropped.extend(dropped(json)),
                "turn_ended" => seen.settled_to = head.seq,
                "context_summary" => {
                    let record = head.clone().record(json);
                    if let Ok(Event::ContextSummary(one)) = record.map(|record| record.event)
                        && one.text.is_some()
                    {
                        seen.settled_to = seen.settled_to.max(one.upto_seq);
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })?;
        Ok(seen)
    }

    /// Reads the best.
    fn found(self) -> Vec<FoundMessage> {
        let mut found: Vec<FoundMessage> = Vec::new();
        for place in self.ranking.best() {
            if found.len() >= self.wanted.limit || !(self.wanted.goes_on)() {
                break;
            }
            let session = &self.sessions[place.session];
            let limit = ReadLimit {
                records: 1,
                bytes: 1,
            };
            let read = self.store.records(&session.id, place.seq, limit);
            let record = read.ok().and_then(|page| page.into_iter().next());
            let message = record.and_then(|record| message(self.wanted.query, session, &record));
            let Some(message) = message else { continue };
            // The parts of a reply are one.
            let is_new = |known: &FoundMessage| known.message_id != message.message_id;
            if found.iter().all(is_new) && !session.dropped.contains(&message.message_id) {
                found.push(message);
            }
        }
        found
    }
}

/// Counts the text of a message's line; `None` of one without a text.
fn count(query: &WordQuery, json: &[u8]) -> Option<WordTally> {
    const KEY: &[u8] = b"\"content\":\"";
    let start = memmem::find(json, KEY)? + KEY.len();
    let end = start + end_of_string(&json[start..])?;
    let text = str::from_utf8(&json[start..end]).ok()?;
    if text.is_empty() {
        return None;
    }
    query.count_json(text).or_else(|| {
        let text: String = serde_json::from_slice(&json[start - 1..=end]).ok()?;
        Some(query.count(&text))
    })
}

/// Where the quote stands that ends a JSON string.
fn end_of_string(json: &[u8]) -> Option<usize> {
    let mut escaped = None;
    memchr2_iter(b'"', b'\\', json).find(|at| {
        let is_escaped = escaped.take() == Some(*at);
        if json[*at] == b'\\' && !is_escaped {
            escaped = Some(at + 1);
        }
        json[*at] == b'"' && !is_escaped
    })
}

fn dropped(json: &[u8]) -> Option<MessageId> {
    #[derive(Deserialize)]
    struct DroppedLine {
        message_id: MessageId,
    }
    let line: DroppedLine = serde_json::from_slice(json).ok()?;
    Some(line.message_id)
}

fn message(query: &WordQuery, session: &SearchedSession, record: &Record) -> Option<FoundMessage> {
    let (role, message_id, sender_name, content) = match &record.event {
        Event::UserMessage(message) => (
            Role::User,
            &message.message_id,
            message.sender_name.clone(),
            &*message.content,
        ),
        Event::AssistantResponse(reply) => (
            Role::Assistant,
            reply.continues.as_ref().unwrap_or(&reply.message_id),
            None,
            reply.content.as_str(),
        ),
        _ => return None,
    };
    Some(FoundMessage {
        session_id: session.id.clone(),
        agent: session.summary.agent.clone(),
        title: session
            .summary
            .title
            .clone()
            .filter(|title| !title.is_empty()),
        seq: record.seq,
        message_id: message_id.clone(),
        role: role.as_str().to_owned(),
        sender_name,
        created_at: record.timestamp,
        snippet: query.snippet(content, SNIPPET_BYTES),
    })
}

#[cfg(test)]
mod tests;
