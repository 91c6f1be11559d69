//! What every store promises, as tests that take any: [`check`] runs them all, each on a storage of
//! its own.
//!
//! An implementation is done when this passes; what it cannot promise is no reason to leave a test
//! out, but to say so in its [`Storage`].
//!
//! Elsewhere: what only files can suffer (torn appends, damage, formats of before) in `tests/it/store`.
#![expect(
    clippy::unwrap_used,
    reason = "these are tests: what fails is the store's fault, and told by the line"
)]

use std::sync::Arc;
use std::thread;

use crate::domain::event::{
    AssistantResponse, EndReason, Event, FinishReason, OnDisconnect, Record, SessionStart, Status,
    Trigger, UserMessage,
};
use crate::domain::ids::{MessageId, Seq, SessionId, TurnId};
use crate::domain::state::{SessionState, Summary};
use crate::domain::time::Timestamp;
use crate::domain::transcript::Said;
use crate::domain::window::{Limits, Marks};
use crate::store::blobs::BlobId;
use crate::store::error::StoreError;
use crate::store::sessions::{
    ChatKey, Epoch, NodeName, OpenSession, Outline, PageQuery, PartialHead, ReadLimit, SaidPage,
    SessionFilter, SessionStore, Snapshot,
};

/// A storage under test.
pub trait Storage {
    /// A store of a process that has just begun.
    fn connect(&self) -> Arc<dyn SessionStore>;

    /// Takes from the storage what a power cut may take. What has no power of its own loses nothing.
    fn cut_power(&mut self) {}

    /// Whether a claim keeps out whoever claimed before.
    fn fences(&self) -> bool;
}

/// A test of one promise, and its name.
pub type Promise = (&'static str, fn(&mut dyn Storage));

/// Runs every test, each on a storage that `empty` makes.
///
/// # Panics
///
/// When a promise is not kept.
pub fn check(empty: impl Fn() -> Box<dyn Storage>) {
    for (name, promise) in PROMISES {
        log::debug!("the store is asked whether {name}");
        promise(&mut *empty());
    }
}

/// All of them.
pub const PROMISES: &[Promise] = &[
    ("a creation is told, listed and kept", creation),
    ("what does not exist is not found", absence),
    ("an append is numbered in one piece and kept", appending),
    ("an append that does not fit stores nothing", refusals),
    ("pages of records keep both limits", record_pages),
    ("messages are found by their ids", messages),
    ("a summary is the fold of the log", summaries),
    ("a snapshot comes back until it is forgotten", snapshots),
    ("a reply in flight is kept until it is cleared", journals),
    ("a list goes on where it ended", listing),
    ("a filter holds back all others", filtering),
    ("lists show what is stored now", freshness),
    ("a deletion is for good", deletion),
    ("files belong to one session and go with it", files),
    ("a claim keeps older owners out", fencing),
    ("room is told, and tried", room),
    ("sessions are written side by side", side_by_side),
];

const ALL: ReadLimit = ReadLimit {
    records: usize::MAX,
    bytes: usize::MAX,
};

fn id(n: u64) -> SessionId {
    SessionId::mint(1_795_327_200_000 + n, u128::from(n))
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_795_327_200_000_000 + second * 1_000_000)
}

fn node() -> NodeName {
    NodeName::new("one")
}

fn started(agent: &str, chat: Option<(&str, &str)>, owner: Option<&str>) -> Event {
    Event::SessionStart(SessionStart {
        owner: owner.map(str::to_owned),
        gateway: chat.map(|(gateway, _)| gateway.to_owned()),
        gateway_chat_id: chat.map(|(_, chat)| chat.to_owned()),
        ..SessionStart::new(agent, OnDisconnect::Pause)
    })
}

fn start() -> Event {
    Event::SessionStart(SessionStart::new("ada", OnDisconnect::Pause))
}

fn said(n: u64, content: &str) -> Event {
    let id = MessageId::mint(at(n).as_millis(), u128::from(n));
    Event::from(UserMessage::new(id, content))
}

fn turn(n: u64) -> TurnId {
    TurnId::mint(at(n).as_millis(), u128::from(n))
}

fn ended() -> Event {
    Event::session_end(EndReason::Completed)
}

/// A session that was just claimed and opened by one who has nothing of it in memory.
struct Writer {
    store: Arc<dyn SessionStore>,
    id: SessionId,
    epoch: Epoch,
    open: OpenSession,
    last: Seq,
}

impl Writer {
    fn open(store: &Arc<dyn SessionStore>, id: SessionId) -> Writer {
        let epoch = store.claim(&id, &node()).unwrap();
        let open = store.open(&id).unwrap();
        Writer {
            store: Arc::clone(store),
            epoch,
            last: open.last_seq,
            open,
            id,
        }
    }

    /// In a session that is new.
    fn create(store: &Arc<dyn SessionStore>, id: SessionId) -> Writer {
        store.create(&id, at(0), vec![start()]).unwrap();
        Writer::open(store, id)
    }

    fn try_append(
        &mut self,
        second: u64,
        events: Vec<Event>,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let log = &mut self.open.log;
        let records = log.append(self.epoch, self.last, at(second), events)?;
        self.last = records.last().map_or(self.last, |record| record.seq);
        Ok(records)
    }

    fn append(&mut self, second: u64, events: Vec<Event>) -> Vec<Arc<Record>> {
        self.try_append(second, events).unwrap()
    }

    fn records(&self) -> Vec<Record> {
        self.store.records(&self.id, Seq(1), ALL).unwrap()
    }
}

fn whole(records: &[Arc<Record>]) -> Vec<Record> {
    records.iter().map(|record| (**record).clone()).collect()
}

fn fold(records: &[Record]) -> Summary {
    let mut summary = SessionState::new(Limits::none()).summary;
    records.iter().for_each(|record| summary.apply(record));
    summary
}

fn creation(storage: &mut dyn Storage) {
    let store = storage.connect();
    let events = vec![start(), said(1, "hi")];
    let told = store.create(&id(1), at(1), events.clone()).unwrap();
    let expected = (1..).zip(events).map(|(seq, event)| Record {
        seq: Seq(seq),
        timestamp: at(1),
        cont: seq > 1,
        event,
    });
    assert_eq!(whole(&told), expected.collect::<Vec<_>>());
    storage.cut_power();
    for store in [storage.connect(), storage.connect()] {
        assert_eq!(store.records(&id(1), Seq(1), ALL).unwrap(), whole(&told));
        assert_eq!(store.list(None, 10).unwrap(), [id(1)]);
        assert!(store.contains(&id(1)).unwrap());
        assert!(!store.is_older(&id(1)).unwrap());
        assert!(
            !store.take_over(&id(1), at(2)).unwrap(),
            "it is of this version"
        );
        assert_eq!(store.open(&id(1)).unwrap().last_seq, Seq(2));
        let again = store.create(&id(1), at(3), vec![start()]);
        assert!(again.is_err(), "nothing is created in place of another");
        assert_eq!(store.records(&id(1), Seq(1), ALL).unwrap(), whole(&told));
    }
}

fn absence(storage: &mut dyn Storage) {
    let store = storage.connect();
    let none = id(7);
    let results = [
        store.claim(&none, &node()).map(drop),
        store.is_older(&none).map(drop),
        store.open(&none).map(drop),
        store.records(&none, Seq(1), ALL).map(drop),
        store.records_before(&none, Seq(9), ALL).map(drop),
        store.find_message(&none, &MessageId::mint(1, 1)).map(drop),
        store.summary(&none).map(drop),
        store.delete(&none),
    ];
    for (place, result) in results.into_iter().enumerate() {
        assert!(
            matches!(&result, Err(StoreError::NotFound(id)) if *id == none),
            "{place}: {result:?}"
        );
    }
    assert!(!store.contains(&none).unwrap());
    assert_eq!(store.list(None, 10).unwrap(), []);
    assert!(store.outlines(None, 10).unwrap().is_empty());
    let page = store
        .page(&PageQuery {
            limit: 10,
            ..PageQuery::default()
        })
        .unwrap();
    assert!(page.sessions.is_empty() && page.next.is_none());
    assert_eq!(store.read_only(), 0);
}

fn appending(storage: &mut dyn Storage) {
    let mut writer = Writer::create(&storage.connect(), id(1));
    let two = writer.append(1, vec![said(1, "a"), said(2, "b")]);
    let told: Vec<_> = two
        .iter()
        .map(|one| (one.seq.0, one.cont, one.timestamp))
        .collect();
    assert_eq!(told, [(2, false, at(1)), (3, true, at(1))]);
    assert!(
        writer.append(2, Vec::new()).is_empty(),
        "nothing is no record"
    );
    let one = writer.append(3, vec![said(3, "c")]);
    assert_eq!((one[0].seq, one[0].cont), (Seq(4), false));
    let written = writer.records();
    assert_eq!(written[1..], whole(&[two, one].concat()));
    storage.cut_power();
    let again = Writer::open(&storage.connect(), id(1));
    assert_eq!((again.records(), again.last), (written, Seq(4)));
}

fn refusals(storage: &mut dyn Storage) {
    let mut writer = Writer::create(&storage.connect(), id(1));
    writer.append(1, vec![said(1, "a")]);
    let before = writer.records();
    for wrong in [Seq(0), Seq(1), Seq(3)] {
        let events = vec![said(9, "x"), said(10, "y")];
        let log = &mut writer.open.log;
        let refused = log
            .append(writer.epoch, wrong, at(2), events.clone())
            .unwrap_err();
        assert!(
            matches!(refused.error, StoreError::Conflict { expected, actual: Seq(2) } if expected == wrong),
            "{refused:?}"
        );
        assert_eq!(refused.events, events, "they come back for another try");
    }
    // One that cannot be written takes those beside it along.
    let unwritable = vec![said(9, "x"), Event::Unknown];
    let log = &mut writer.open.log;
    let refused = log
        .append(writer.epoch, Seq(2), at(2), unwritable.clone())
        .unwrap_err();
    assert_eq!(refused.events, unwritable);
    assert!(!matches!(
        refused.error,
        StoreError::Unknown(_) | StoreError::ReadOnly(_)
    ));
    assert_eq!(writer.records(), before);
    assert!(
        writer
            .store
            .create(&id(2), at(0), vec![Event::Unknown])
            .is_err()
    );
    assert!(!writer.store.contains(&id(2)).unwrap());
    assert_eq!(writer.append(3, vec![said(3, "b")])[0].seq, Seq(3));
}

fn record_pages(storage: &mut dyn Storage) {
    let mut writer = Writer::create(&storage.connect(), id(1));
    for n in 1..20 {
        let words = "words ".repeat(if n % 5 == 0 { 900 } else { 3 });
        writer.append(n, vec![said(n, &words)]);
    }
    let (store, all) = (Arc::clone(&writer.store), writer.records());
    assert_eq!(all.len(), 20);
    for limit in [
        ALL,
        ReadLimit { records: 7, ..ALL },
        ReadLimit {
            bytes: 3_000,
            ..ALL
        },
        ReadLimit { bytes: 1, ..ALL },
    ] {
        let mut forwards: Vec<Record> = Vec::new();
        while forwards.len() < all.len() {
            let from = forwards.last().map_or(Seq(1), |record| record.seq.next());
            let page = store.records(&id(1), from, limit).unwrap();
            assert!(
                !page.is_empty() && page.len() <= limit.records,
                "one at least, however large"
            );
            forwards.extend(page);
        }
        assert_eq!(forwards, all, "{limit:?}");
        let mut backwards: Vec<Record> = Vec::new();
        while backwards.len() < all.len() {
            let before = backwards.first().map_or(Seq(u64::MAX), |record| record.seq);
            let page = store.records_before(&id(1), before, limit).unwrap();
            assert!(!page.is_empty() && page.len() <= limit.records);
            let said = SaidPage {
                first: page.first().map(|record| record.seq),
                said: page.iter().filter_map(Said::of).collect(),
            };
            assert_eq!(store.said_before(&id(1), before, limit).unwrap(), said);
            backwards.splice(..0, page);
        }
        assert_eq!(backwards, all, "{limit:?}");
    }
    assert!(store.records(&id(1), Seq(21), ALL).unwrap().is_empty());
    assert!(
        store
            .records_before(&id(1), Seq(1), ALL)
            .unwrap()
            .is_empty()
    );
}

fn messages(storage: &mut dyn Storage) {
    let mut writer = Writer::create(&storage.connect(), id(1));
    let begun = Event::TurnStarted {
        turn_id: turn(2),
        trigger: Trigger::Message,
    };
    let reply_id = MessageId::mint(at(2).as_millis(), 77);
    let reply = Event::from(AssistantResponse {
        turn_id: turn(2),
        message_id: reply_id.clone(),
        ..reply()
    });
    writer.append(1, vec![said(1, "a")]);
    let later = writer.append(2, vec![begun, reply]);
    // The clock was set back before it was written.
    let back = writer.append(3, vec![said(900, "b")]);
    let find = |id_: &MessageId| writer.store.find_message(&id(1), id_).unwrap();
    assert_eq!(
        find(&MessageId::mint(at(1).as_millis(), 1)).unwrap().seq,
        Seq(2)
    );
    assert_eq!(find(&reply_id).unwrap(), *later[1]);
    assert_eq!(
        find(&MessageId::mint(at(900).as_millis(), 900)).unwrap(),
        *back[0]
    );
    assert_eq!(find(&MessageId::mint(at(1).as_millis(), 2)), None);
}

fn reply() -> AssistantResponse {
    AssistantResponse {
        turn_id: turn(1),
        message_id: MessageId::mint(1, 1),
        continues: None,
        agent: "ada".to_owned(),
        model: "echo/echo".to_owned(),
        content: Arc::new("well".to_owned()),
        tool_calls: Vec::new(),
        finish_reason: FinishReason::Stop,
        usage: None,
        input_seq: Seq(2),
        provider_data: None,
        attachments: Vec::new(),
    }
}

fn summaries(storage: &mut dyn Storage) {
    let mut writer = Writer::create(&storage.connect(), id(1));
    let renamed = Event::SessionChanged {
        title: Some("a title".to_owned()),
        model: None,
        gateway_chat_id: None,
    };
    for events in [vec![said(1, "a")], vec![renamed], vec![ended()]] {
        writer.append(4, events);
        let expected = fold(&writer.records());
        for store in [&writer.store, &storage.connect()] {
            assert_eq!(
                store.summary(&id(1)).unwrap(),
                expected,
                "also while it is open"
            );
            let outlines = store.outlines(None, 9).unwrap();
            assert_eq!(
                outlines[0].found.as_ref().unwrap(),
                &Outline::from(&expected)
            );
        }
    }
}

fn snapshots(storage: &mut dyn Storage) {
    let mut writer = Writer::create(&storage.connect(), id(1));
    assert_eq!(writer.open.snapshot, None);
    writer.append(1, vec![said(1, "a"), said(2, "b")]);
    let snapshot = Snapshot {
        summary: fold(&writer.records()),
        window_seq: Seq(2),
        marks: Marks::default(),
    };
    writer.open.log.save_snapshot(&snapshot).unwrap();
    writer.append(2, vec![said(3, "c")]);
    let expected = fold(&writer.records());
    drop(writer);
    let again = Writer::open(&storage.connect(), id(1));
    assert_eq!(again.open.snapshot.as_ref(), Some(&snapshot));
    assert_eq!(again.last, Seq(4), "the log goes on after it");
    assert_eq!(again.store.summary(&id(1)).unwrap(), expected);
    again.store.forget_snapshot(&id(1)).unwrap();
    again.store.forget_snapshot(&id(1)).unwrap();
    assert_eq!(again.store.open(&id(1)).unwrap().snapshot, None);
    assert_eq!(
        again.store.summary(&id(1)).unwrap(),
        expected,
        "it was no truth"
    );
}

fn journals(storage: &mut dyn Storage) {
    let head = |n: u64| PartialHead {
        turn_id: turn(n),
        message_id: MessageId::mint(n, 1),
        input_seq: Seq(1),
        model: "echo/echo".to_owned(),
    };
    let mut writer = Writer::create(&storage.connect(), id(1));
    assert_eq!(writer.open.partial, None);
    assert!(writer.open.journal.push("x").is_err(), "no reply was begun");
    writer.open.journal.begin(&head(1)).unwrap();
    writer.open.journal.push("forgotten").unwrap();
    writer.open.journal.begin(&head(2)).unwrap();
    writer.open.journal.push("Hä").unwrap();
    writer.open.journal.push("llo\n").unwrap();
    let sync = writer.open.journal.sync_later();
    thread::scope(|scope| scope.spawn(sync).join().unwrap()).unwrap();
    drop(writer);
    storage.cut_power();
    let store = storage.connect();
    let mut writer = Writer::open(&store, id(1));
    let partial = writer.open.partial.take().unwrap();
    assert_eq!((partial.head, &*partial.text), (head(2), "Hällo\n"));
    writer.open.journal.clear().unwrap();
    assert!(writer.open.journal.push("x").is_err(), "it is over");
    let late = writer.open.journal.sync_later();
    drop(writer);
    assert_eq!(Writer::open(&store, id(1)).open.partial, None);
    store.delete(&id(1)).unwrap();
    late().unwrap();
}

fn listing(storage: &mut dyn Storage) {
    let store = storage.connect();
    // In no order.
    for n in [3, 1, 5, 2, 4] {
        store.create(&id(n), at(n), vec![start()]).unwrap();
    }
    let newest_first: Vec<SessionId> = [5, 4, 3, 2, 1].map(id).into();
    for store in [store, storage.connect()] {
        assert_eq!(store.list(None, 10).unwrap(), newest_first);
        assert_eq!(store.list(None, 2).unwrap(), newest_first[..2]);
        assert_eq!(store.list(Some(&id(4)), 2).unwrap(), newest_first[2..4]);
        assert_eq!(store.list(Some(&id(1)), 2).unwrap(), []);
        let outlined = |before: Option<&SessionId>, limit| -> Vec<SessionId> {
            let outlines = store.outlines(before, limit).unwrap();
            outlines.into_iter().map(|listed| listed.id).collect()
        };
        assert_eq!(outlined(None, 10), newest_first);
        assert_eq!(outlined(Some(&id(4)), 2), newest_first[2..4]);
        for limit in 1..7 {
            assert_eq!(
                ids_of(&*store, limit, &SessionFilter::default()),
                newest_first,
                "{limit}"
            );
        }
        let whole = store
            .page(&PageQuery {
                limit: 5,
                ..PageQuery::default()
            })
            .unwrap();
        assert_eq!(whole.next, None, "it is known that nothing follows");
    }
}

/// All pages of a query, one after the other.
fn ids_of(store: &dyn SessionStore, limit: usize, filter: &SessionFilter) -> Vec<SessionId> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let query = PageQuery {
            before,
            limit,
            filter: filter.clone(),
        };
        let page = store.page(&query).unwrap();
        assert!(page.sessions.len() <= limit);
        for listed in page.sessions {
            assert_eq!(*listed.found.unwrap(), store.summary(&listed.id).unwrap());
            found.push(listed.id);
        }
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

fn filtering(storage: &mut dyn Storage) {
    let store = storage.connect();
    let chats = [
        None,
        Some(("telegram", "7")),
        Some(("telegram", "8")),
        Some(("mail", "7")),
    ];
    for n in 0..12 {
        let agent = if n % 3 == 0 { "bob" } else { "ada" };
        let chat = chats[(n % 4) as usize];
        let owner = [None, Some("eve")][(n % 2) as usize];
        let events = vec![started(agent, chat, owner)];
        store.create(&id(n), at(n), events).unwrap();
        if n >= 8 {
            Writer::open(&store, id(n)).append(n, vec![ended()]);
        }
    }
    let chat = ChatKey {
        gateway: "telegram".to_owned(),
        chat_id: "7".to_owned(),
    };
    let agent = |name: &str| SessionFilter {
        agent: Some(name.to_owned()),
        ..SessionFilter::default()
    };
    let owner = |name: &str| SessionFilter {
        owner: Some(name.to_owned()),
        ..SessionFilter::default()
    };
    let status = |status| SessionFilter {
        status: Some(status),
        ..SessionFilter::default()
    };
    for (filter, expected) in [
        (agent("bob"), vec![9, 6, 3, 0]),
        (agent("nobody"), vec![]),
        (status(Status::Completed), vec![11, 10, 9, 8]),
        (status(Status::Paused), vec![]),
        (owner("eve"), vec![11, 9, 7, 5, 3, 1]),
        (owner("nobody"), vec![]),
        (
            SessionFilter {
                chat: Some(chat.clone()),
                ..SessionFilter::default()
            },
            vec![9, 5, 1],
        ),
        (
            SessionFilter {
                chat: Some(chat),
                status: Some(Status::Active),
                agent: Some("ada".to_owned()),
                owner: Some("eve".to_owned()),
            },
            vec![5, 1],
        ),
    ] {
        let expected: Vec<SessionId> = expected.into_iter().map(id).collect();
        // Twice: what was read the first time need not be read again.
        for (store, limit) in [
            (&store, 1),
            (&store, 3),
            (&store, 9),
            (&storage.connect(), 2),
        ] {
            assert_eq!(
                ids_of(&**store, limit, &filter),
                expected,
                "{filter:?} {limit}"
            );
        }
    }
}

fn freshness(storage: &mut dyn Storage) {
    let store = storage.connect();
    // Another process looks at the same sessions.
    let other = storage.connect();
    let running = SessionFilter {
        status: Some(Status::Active),
        ..SessionFilter::default()
    };
    let mut alive: Vec<SessionId> = Vec::new();
    for n in 0..6 {
        let mut writer = Writer::create(&store, id(n));
        alive.insert(0, id(n));
        for store in [&store, &other] {
            assert_eq!(
                ids_of(&**store, 2, &running),
                alive,
                "a new one is there at once"
            );
        }
        writer.append(n, vec![said(n, "a")]);
        for store in [&store, &other] {
            let outlines = store.outlines(None, 1).unwrap();
            assert!(outlines[0].found.as_ref().unwrap().unfinished);
        }
        match n % 3 {
            0 => drop(writer.append(n, vec![ended()])),
            1 => store.delete(&id(n)).unwrap(),
            _ => continue,
        }
        alive.remove(0);
        for store in [&store, &other] {
            assert_eq!(
                ids_of(&**store, 2, &running),
                alive,
                "one that is over is not"
            );
        }
    }
}

fn deletion(storage: &mut dyn Storage) {
    let store = storage.connect();
    for n in [1, 2] {
        Writer::create(&store, id(n)).append(1, vec![said(1, "a")]);
    }
    store.delete(&id(1)).unwrap();
    assert!(matches!(store.delete(&id(1)), Err(StoreError::NotFound(_))));
    storage.cut_power();
    for store in [&store, &storage.connect()] {
        assert!(!store.contains(&id(1)).unwrap());
        assert!(matches!(store.open(&id(1)), Err(StoreError::NotFound(_))));
    }
    let store = storage.connect();
    store.finish_deletions().unwrap();
    assert_eq!(store.list(None, 9).unwrap(), [id(2)]);
    assert_eq!(store.records(&id(2), Seq(1), ALL).unwrap().len(), 2);
}

fn files(storage: &mut dyn Storage) {
    let store = storage.connect();
    let known = BlobId::of(b"a");
    assert!(store.files(&id(1)).put(b"a").is_err());
    assert!(!store.contains(&id(1)).unwrap());
    for n in [1, 2] {
        Writer::create(&store, id(n));
    }
    let put = store.files(&id(1)).put(b"a").unwrap();
    assert_eq!(put, known);
    storage.cut_power();
    let store = storage.connect();
    for (n, kept) in [(1, Some(b"a".to_vec())), (2, None)] {
        assert_eq!(store.files(&id(n)).read(&put).unwrap(), kept, "{n}");
    }
    // They are no sessions, and no part of the log.
    assert_eq!(store.list(None, 9).unwrap(), [id(2), id(1)]);
    assert_eq!(store.records(&id(1), Seq(1), ALL).unwrap().len(), 1);
    let held = store.files(&id(1));
    store.delete(&id(1)).unwrap();
    for files in [held, store.files(&id(1))] {
        assert_eq!(files.read(&put).unwrap(), None);
        assert_eq!(files.list(None, 9).unwrap(), []);
        assert!(files.put(b"late").is_err());
    }
    storage.cut_power();
    assert!(!storage.connect().contains(&id(1)).unwrap());
}

fn fencing(storage: &mut dyn Storage) {
    let store = storage.connect();
    let mut old = Writer::create(&store, id(1));
    let again = store.claim(&id(1), &node()).unwrap();
    assert!(again >= old.epoch, "an epoch never goes back");
    if !storage.fences() {
        assert_eq!((again, old.epoch), (Epoch::ZERO, Epoch::ZERO));
        return;
    }
    let fenced = |result: Result<Vec<Arc<Record>>, StoreError>| {
        assert!(
            matches!(&result, Err(StoreError::Fenced(fenced)) if *fenced == id(1)),
            "{result:?}"
        );
    };
    fenced(old.try_append(1, vec![said(1, "too late")]));
    old.epoch = again;
    old.append(2, vec![said(2, "in time")]);
    let mut new = Writer::open(&storage.connect(), id(1));
    assert!(new.epoch > old.epoch);
    fenced(old.try_append(3, vec![said(3, "too late")]));
    new.append(4, vec![said(4, "in time")]);
    fenced(old.try_append(5, vec![said(5, "too late")]));
    assert_eq!(
        new.records().len(),
        3,
        "of an older epoch nothing is stored"
    );
}

fn room(storage: &mut dyn Storage) {
    let store = storage.connect();
    assert!(store.free_bytes().unwrap() > 0);
    store.try_write(1000).unwrap();
    assert_eq!(store.list(None, 9).unwrap(), [], "a trial is no session");
}

fn side_by_side(storage: &mut dyn Storage) {
    const WRITERS: u64 = 4;
    const APPENDS: u64 = 20;
    let store = storage.connect();
    thread::scope(|scope| {
        for n in 0..WRITERS {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                let mut writer = Writer::create(&store, id(n));
                for second in 1..=APPENDS {
                    writer.append(second, vec![said(second, "a"), said(second + 1000, "b")]);
                }
            });
        }
        scope.spawn(|| {
            // Whoever reads meanwhile finds whole records, one after the other.
            for _ in 0..APPENDS {
                for id in store.list(None, 9).unwrap() {
                    let records = store.records(&id, Seq(1), ALL).unwrap();
                    let seqs: Vec<u64> = records.iter().map(|record| record.seq.0).collect();
                    assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>());
                    assert!(store.summary(&id).unwrap().last_seq.0 >= records.len() as u64);
                }
            }
        });
    });
    for n in 0..WRITERS {
        let records = store.records(&id(n), Seq(1), ALL).unwrap();
        assert_eq!(records.len() as u64, 1 + 2 * APPENDS);
    }
}
