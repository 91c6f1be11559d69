//! Power cuts, played on a disk in memory that forgets what was not synced.
//!
//! A store lives through random appends, snapshots, streamed text, creations and deletions, dies at
//! a random operation of the disk, and is opened again on what a power cut (or a mere kill) may
//! have left; then it lives on. Everything that it said was done must be there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;

use crate::base::fs::{Fault, FaultFs, FaultKind, SimDisk};
use crate::domain::event::{Event, OnDisconnect, Record, SessionStart, UserMessage};
use crate::domain::ids::{MessageId, Seq, SessionId, TurnId};
use crate::domain::state::SessionState;
use crate::domain::time::Timestamp;
use crate::domain::window::{Limits, Marks};
use crate::store::file::FileStore;
use crate::store::{
    Epoch, OpenSession, Partial, PartialHead, ReadLimit, SessionStore, Snapshot, StoreError,
};
use crate::torture::BrokenPromise;

/// How often a store dies in one play.
const LIVES: u64 = 4;

/// Plays one store by its seed; returns how often its power was cut.
///
/// Errors: the promise that was broken.
pub fn play(seed: u64) -> Result<u64, BrokenPromise> {
    let mut rng = Rng::with_seed(seed);
    let mut disk = SimDisk::new();
    let mut told = Acknowledged::default();
    for _ in 0..LIVES {
        let at = rng.u64(1..160);
        let kind = FaultKind::Dead;
        let dying = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
        let store = FileStore::new(Arc::new(dying), root());
        // The first error is the end of that life.
        live(&store, &mut told, &mut rng).ok();
        let is_cut = rng.u32(..4) > 0;
        disk = if is_cut {
            disk.cut(&mut rng)
        } else {
            disk.fork()
        };
        let store = FileStore::new(Arc::new(disk.clone()), root());
        told.check(&store, is_cut)?;
    }
    Ok(LIVES)
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_795_327_200_000_000)
}

fn root() -> PathBuf {
    PathBuf::from("/w")
}

/// Everything that a store has said "done" to: a power cut may not undo it.
#[derive(Debug, Default)]
struct Acknowledged {
    sessions: BTreeMap<SessionId, KnownSession>,
    minted: u128,
}

#[derive(Debug)]
struct KnownSession {
    fate: DiskFate,
    events: Vec<Event>,
    /// An append that was not answered.
    unsure: Vec<Event>,
    reply: Option<KnownReply>,
}

/// A session may be there, must be, or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DiskFate {
    Unsure,
    Created,
    Deleted,
}

/// A reply in flight.
#[derive(Debug)]
struct KnownReply {
    head: PartialHead,
    text: String,
    /// Bytes that are safe from a power cut.
    synced: usize,
    /// An operation on it was not answered: less, or another reply, may be there.
    is_unsure: bool,
    /// It was found when the session was opened: text is added to replies of one's own only.
    is_left_over: bool,
}

/// One life: it ends with the first error.
fn live(
    store: &dyn SessionStore,
    told: &mut Acknowledged,
    rng: &mut Rng,
) -> Result<(), StoreError> {
    let mut open: BTreeMap<SessionId, OpenSession> = BTreeMap::new();
    store.finish_deletions()?;
    loop {
        let ids: Vec<SessionId> = told.present().collect();
        let Some(id) = rng.choice(ids).filter(|_| rng.u32(..12) > 0) else {
            told.create(store)?;
            continue;
        };
        if rng.u32(..40) == 0 {
            open.remove(&id);
            told.delete(store, &id)?;
            continue;
        }
        let session = match open.remove(&id) {
            Some(session) => session,
            None => told.open(store, &id)?,
        };
        let session = open.entry(id.clone()).or_insert(session);
        match rng.u32(..10) {
            0..=4 => told.append(session, &id, rng)?,
            5 => told.snapshot(session, &id)?,
            _ => told.stream(session, &id, rng)?,
        }
    }
}

impl Acknowledged {
    fn present(&self) -> impl Iterator<Item = SessionId> {
        let created = self.sessions.iter();
        let created = created.filter(|(_, session)| session.fate == DiskFate::Created);
        created.map(|(id, _)| id.clone())
    }

    fn mint(&mut self) -> u128 {
        self.minted += 1;
        self.minted
    }

    fn create(&mut self, store: &dyn SessionStore) -> Result<(), StoreError> {
        let id = SessionId::mint(1, self.mint());
        let start = Event::SessionStart(SessionStart::new("a", OnDisconnect::Pause));
        let session = KnownSession {
            fate: DiskFate::Unsure,
            events: Vec::new(),
            unsure: vec![start.clone()],
            reply: None,
        };
        let session = self.sessions.entry(id.clone()).or_insert(session);
        store.create(&id, now(), vec![start])?;
        session.events = std::mem::take(&mut session.unsure);
        session.fate = DiskFate::Created;
        Ok(())
    }

    fn delete(&mut self, store: &dyn SessionStore, id: &SessionId) -> Result<(), StoreError> {
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(());
        };
        session.fate = DiskFate::Unsure;
        store.delete(id)?;
        session.fate = DiskFate::Deleted;
        Ok(())
    }

    fn open(
        &mut self,
        store: &dyn SessionStore,
        id: &SessionId,
    ) -> Result<OpenSession, StoreError> {
        let session = self.sessions.get_mut(id);
        let reply = session.and_then(|session| session.reply.as_mut());
        if let Some(reply) = reply {
            reply.is_left_over = true;
        }
        store.open(id)
    }

    fn append(
        &mut self,
        open: &mut OpenSession,
        id: &SessionId,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let events: Vec<Event> = (0..rng.usize(1..4))
            .map(|_| {
                let content = "x".repeat(rng.usize(..900));
                message(self.mint(), content)
            })
            .collect();
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(());
        };
        session.unsure.clone_from(&events);
        let stored = open.log.append(Epoch::ZERO, open.last_seq, now(), events)?;
        open.last_seq = stored.last().map_or(open.last_seq, |record| record.seq);
        session.events.append(&mut session.unsure);
        Ok(())
    }

    fn snapshot(&mut self, open: &mut OpenSession, id: &SessionId) -> Result<(), StoreError> {
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        open.log.save_snapshot(&Snapshot {
            summary: fold(&session.events).summary,
            window_seq: Seq(1),
            marks: Marks::default(),
        })
    }

    /// One step of a reply in flight.
    fn stream(
        &mut self,
        open: &mut OpenSession,
        id: &SessionId,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let number = self.mint();
        let Some(session) = self.sessions.get_mut(id) else {
            return Ok(());
        };
        let Some(reply) = own_reply(session).filter(|_| rng.u32(..8) > 0) else {
            return begin_reply(session, open, number);
        };
        match rng.u32(..6) {
            0 => {
                open.journal.sync_later()()?;
                reply.synced = reply.text.len();
            }
            1 => {
                reply.is_unsure = true;
                open.journal.clear()?;
                session.reply = None;
            }
            _ => {
                let piece = format!("{number} {}", "y".repeat(rng.usize(..200)));
                // Even unanswered it may be found.
                reply.text.push_str(&piece);
                let answered = open.journal.push(&piece);
                reply.is_unsure = answered.is_err();
                answered?;
            }
        }
        Ok(())
    }

    /// Holds what was told against a store that was opened anew, and goes on from what it has.
    fn check(&mut self, store: &dyn SessionStore, is_cut: bool) -> Result<(), BrokenPromise> {
        let failed = |error: StoreError| error.to_string();
        store.finish_deletions().map_err(failed)?;
        let listed = store.list(None, usize::MAX).map_err(failed)?;
        if let Some(id) = listed.iter().find(|id| !self.sessions.contains_key(id)) {
            return Err(format!("{id} is there, and nobody created it").into());
        }
        for (id, session) in &mut self.sessions {
            match (session.fate, listed.contains(id)) {
                (DiskFate::Created, false) => return Err(format!("{id} is lost").into()),
                (DiskFate::Deleted, true) => {
                    return Err(format!("the deletion of {id} was undone").into());
                }
                (DiskFate::Created | DiskFate::Unsure, true) => {
                    let checked = session.check(store, id, is_cut);
                    checked.map_err(|what| format!("{id}: {what}"))?;
                }
                (DiskFate::Unsure | DiskFate::Deleted, false) => session.fate = DiskFate::Deleted,
            }
        }
        Ok(())
    }
}

impl KnownSession {
    fn check(
        &mut self,
        store: &dyn SessionStore,
        id: &SessionId,
        is_cut: bool,
    ) -> Result<(), BrokenPromise> {
        let open = store.open(id).map_err(|error| error.to_string())?;
        let found = events_of(store, id).map_err(|error| error.to_string())?;
        let Some((kept, rest)) = found.split_at_checked(self.events.len()) else {
            let lost = self.events.len() - found.len();
            return Err(format!("{lost} acknowledged events are lost").into());
        };
        if kept != self.events {
            return Err("acknowledged events have changed".into());
        }
        if !self.unsure.starts_with(rest) {
            return Err(format!("events that nobody appended: {rest:?}").into());
        }
        if open.last_seq.0 != found.len() as u64 {
            return Err(format!("it ends at {}, not {}", open.last_seq, found.len()).into());
        }
        let summary = store.summary(id).map_err(|error| error.to_string())?;
        if summary != fold(&found).summary {
            return Err("its summary is not that of its log".into());
        }
        self.check_reply(open.partial, is_cut)?;
        self.events = found;
        self.unsure.clear();
        self.fate = DiskFate::Created;
        Ok(())
    }

    fn check_reply(&mut self, found: Option<Partial>, is_cut: bool) -> Result<(), BrokenPromise> {
        let reply = self.reply.take();
        let must_have = reply.as_ref().filter(|reply| !reply.is_unsure);
        let needed = must_have.map_or(0, |reply| {
            if is_cut {
                reply.synced
            } else {
                reply.text.len()
            }
        });
        let ours = found.filter(|partial| {
            let head = reply.as_ref().map(|reply| &reply.head);
            head == Some(&partial.head)
        });
        let text = ours.as_ref().map_or("", |partial| &partial.text);
        let whole = reply.as_ref().map_or("", |reply| &reply.text);
        if !whole.starts_with(text) {
            return Err(format!("text that nobody streamed: {text:?}").into());
        }
        if text.len() < needed {
            let lost = needed - text.len();
            return Err(format!("{lost} bytes of a reply in flight are lost").into());
        }
        // Opening syncs no journal: the engine moves what it finds there to the log first of all.
        let synced = reply.as_ref().map_or(0, |reply| reply.synced);
        self.reply = ours.map(|partial| KnownReply {
            head: partial.head,
            synced: if is_cut { partial.text.len() } else { synced },
            text: partial.text,
            is_unsure: false,
            is_left_over: true,
        });
        Ok(())
    }
}

fn begin_reply(
    session: &mut KnownSession,
    open: &mut OpenSession,
    number: u128,
) -> Result<(), StoreError> {
    let head = PartialHead {
        turn_id: TurnId::mint(1, number),
        message_id: MessageId::mint(1, number),
        input_seq: Seq(1),
        model: String::new(),
    };
    let reply = session.reply.insert(KnownReply {
        head: head.clone(),
        text: String::new(),
        synced: 0,
        is_unsure: true,
        is_left_over: false,
    });
    open.journal.begin(&head)?;
    reply.is_unsure = false;
    Ok(())
}

fn own_reply(session: &mut KnownSession) -> Option<&mut KnownReply> {
    session.reply.as_mut().filter(|reply| !reply.is_left_over)
}

fn message(number: u128, content: String) -> Event {
    Event::from(UserMessage::new(MessageId::mint(1, number), content))
}

fn fold(events: &[Event]) -> SessionState {
    let mut state = SessionState::new(Limits::none());
    for (seq, event) in (1..).zip(events) {
        state.apply(&Record {
            seq: Seq(seq),
            timestamp: now(),
            cont: false,
            event: event.clone(),
        });
    }
    state
}

fn events_of(store: &dyn SessionStore, id: &SessionId) -> Result<Vec<Event>, StoreError> {
    const ALL: ReadLimit = ReadLimit {
        records: usize::MAX,
        bytes: usize::MAX,
    };
    let records = store.records(id, Seq(1), ALL)?;
    Ok(records.into_iter().map(|record| record.event).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_acknowledged_survives_power_cuts() {
        for seed in 0..60 {
            assert_eq!(play(seed), Ok(LIVES), "seed {seed}");
        }
    }

    #[test]
    fn a_loss_is_found() {
        let mut told = Acknowledged::default();
        let disk = SimDisk::new();
        let store = FileStore::new(Arc::new(disk), root());
        told.create(&store).unwrap();
        let id = told.present().next().unwrap();
        let session = told.sessions.get_mut(&id).unwrap();
        session.events.push(message(9, "never written".to_owned()));
        let found = told.check(&store, true).unwrap_err().to_string();
        assert!(found.contains("1 acknowledged events are lost"), "{found}");

        store.delete(&id).unwrap();
        let found = told.check(&store, true).unwrap_err().to_string();
        assert!(found.contains("is lost"), "{found}");
    }
}
