//! Every operation fails once, or is the last before the power goes: what was acknowledged stays.

use super::*;

use duragent::base::fs::{Fault, FaultFs, FaultKind};
use duragent::domain::ids::TurnId;
use duragent::domain::window::{Limits, Marks};
use duragent::store::{CreationKey, CreationKeys, OpenSession, PartialHead};
use rustix::io::Errno;

/// What the store has said "done" to.
#[derive(Debug, Default)]
struct Told {
    created: bool,
    /// Acknowledged, in order.
    events: Vec<Event>,
    /// The last append, if nobody knows what became of it.
    unsure: Vec<Event>,
    /// Of each reply: what was pushed, and how much of it was synced. The last one is in flight.
    replies: Vec<(String, usize)>,
    is_cleared: bool,
    second: Second,
    key: Option<CreationKey>,
}

/// The fate of a second session.
#[derive(Debug, Default, PartialEq)]
enum Second {
    #[default]
    Unsure,
    Created,
    Deleted,
}

const KEY: &str = "some key";

fn head(reply: usize) -> PartialHead {
    PartialHead {
        turn_id: TurnId::mint(1, reply as u128),
        message_id: message_id(reply as u64),
        input_seq: Seq(3),
        model: "echo/echo".to_owned(),
    }
}

/// One life of a server: it goes on after an error as far as the store lets it.
fn live(store: &FileStore) -> Told {
    let mut told = Told::default();
    create(store, &mut told);
    if told.created
        && let Ok(mut open) = store.open(&id(1)).or_else(|_| store.open(&id(1)))
    {
        write(&mut open, &mut told);
        stream(&mut open, &mut told);
    }
    create_and_delete_another(store, &mut told);
    let value = CreationKey {
        agent: "a".to_owned(),
        session_id: id(1),
        created_at: at(0),
    };
    if CreationKeys::new(store.documents())
        .put(KEY, &value)
        .is_ok()
    {
        told.key = Some(value);
    }
    told
}

fn create(store: &FileStore, told: &mut Told) {
    let first = appends()[0].clone();
    let mut tries = 0..2;
    told.created = tries.any(|_| store.create(&id(1), at(0), first.clone()).is_ok());
    if told.created {
        told.events = first;
    } else {
        told.unsure = first;
    }
}

fn write(open: &mut OpenSession, told: &mut Told) {
    for (n, events) in appends()[1..].iter().enumerate() {
        let mut result = append_next(open, events);
        if result.is_err() && !is_read_only(&result) {
            result = append_next(open, events);
        }
        match result {
            Ok(()) => told.events.extend(events.iter().cloned()),
            Err(_) => {
                told.unsure = events.clone();
                return;
            }
        }
        if n == 1 {
            let snapshot = snapshot_at(&told.events);
            // A failure costs only time.
            let _saved = open.log.save_snapshot(&snapshot);
        }
    }
}

fn append_next(open: &mut OpenSession, events: &[Event]) -> Result<(), StoreError> {
    let stored = append_last(open, at(1), events)?;
    open.last_seq = stored.last().unwrap().seq;
    Ok(())
}

fn snapshot_at(events: &[Event]) -> Snapshot {
    let mut state = SessionState::new(Limits::none());
    for (seq, event) in (1..).zip(events) {
        state.apply(&Record {
            seq: Seq(seq),
            timestamp: at(1),
            cont: false,
            event: event.clone(),
        });
    }
    Snapshot {
        summary: state.summary,
        window_seq: Seq(1),
        marks: Marks::default(),
    }
}

/// Two replies: the first is synced and cleared, the second is in flight at the end.
fn stream(open: &mut OpenSession, told: &mut Told) {
    for reply in 0..2 {
        if open.journal.begin(&head(reply)).is_err() && open.journal.begin(&head(reply)).is_err() {
            return;
        }
        told.is_cleared = false;
        told.replies.push(Default::default());
        let (text, synced) = told.replies.last_mut().unwrap();
        for piece in 0..6 {
            let piece = format!("{reply}.{piece} {}", "x".repeat(60 + 70 * reply));
            if open.journal.push(&piece).is_ok() {
                text.push_str(&piece);
            }
            if piece.starts_with("0.3") && open.journal.sync_later()().is_ok() {
                *synced = text.len();
            }
        }
        if reply == 0 {
            told.is_cleared = open.journal.clear().is_ok();
        }
    }
}

fn create_and_delete_another(store: &FileStore, told: &mut Told) {
    if store.create(&id(2), at(0), vec![start()]).is_ok() {
        told.second = Second::Created;
        told.second = match store.delete(&id(2)) {
            Ok(()) => Second::Deleted,
            Err(_) => Second::Unsure,
        };
    }
}

/// How a disk was reached from the one that the server saw.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Killed,
    PowerCut,
}

/// A new server finds all that the former one has acknowledged, and nothing in part.
fn check(disk: &SimDisk, told: &Told, end: End, seed: u64) {
    let store = store_on(disk.clone());
    store.finish_deletions().unwrap();
    let exists = store.contains(&id(1)).unwrap();
    assert!(exists || !told.created, "the session is lost");
    assert_eq!(store.list(None, 9).unwrap().contains(&id(1)), exists);
    if exists {
        check_session(disk, &store, told, end, seed);
    }
    match told.second {
        Second::Deleted => assert!(!store.contains(&id(2)).unwrap(), "a deletion is undone"),
        Second::Created => assert!(store.contains(&id(2)).unwrap(), "the other session is lost"),
        Second::Unsure => {}
    }
    if told.key.is_some() {
        assert_eq!(
            CreationKeys::new(store.documents())
                .get(KEY, at(1))
                .unwrap(),
            told.key
        );
    }
}

/// Opens the session and goes on with it.
fn check_session(disk: &SimDisk, store: &FileStore, told: &Told, end: End, seed: u64) {
    let mut open = store.open(&id(1)).unwrap();
    let mut found = all_events(store, &id(1));
    assert_eq!(open.last_seq.0, found.len() as u64);
    let (kept, rest) = found
        .split_at_checked(told.events.len())
        .expect("events are lost");
    assert_eq!(kept, told.events);
    assert!(
        told.unsure.starts_with(rest),
        "not a prefix of the last append: {rest:?}"
    );
    assert!(
        told.created || rest.len() == told.unsure.len(),
        "created in part"
    );
    let summary = store.summary(&id(1)).unwrap();
    let folded = snapshot_at(&found).summary;
    assert_eq!(
        (summary.last_seq, summary.message_count),
        (folded.last_seq, folded.message_count)
    );
    check_reply(open.partial.take(), told, end);
    check_outlives_power_cut(disk, &found, seed);

    let new = message(99, "new");
    append_last(&mut open, at(9), vec![new.clone()]).unwrap();
    found.push(new);
    assert_eq!(all_events(store, &id(1)), found);
    check_outlives_power_cut(disk, &found, seed);
}

/// What a server has shown must outlive a power cut, also if it was written by one that was killed
/// before it could sync.
fn check_outlives_power_cut(disk: &SimDisk, shown: &[Event], seed: u64) {
    let after = disk.cut(&mut fastrand::Rng::with_seed(seed));
    let found = all_events(&store_on(after), &id(1));
    assert_eq!(found, shown, "was shown, then lost");
}

fn check_reply(partial: Option<duragent::store::Partial>, told: &Told, end: End) {
    let Some(partial) = partial else {
        let lost = told.replies.last().map_or(0, |(text, synced)| match end {
            End::Killed => text.len(),
            End::PowerCut => *synced,
        });
        assert!(
            told.is_cleared || lost == 0,
            "{lost} bytes of a reply are lost"
        );
        return;
    };
    let reply = (0..2).find(|reply| head(*reply) == partial.head).unwrap();
    let Some((text, synced)) = told.replies.get(reply) else {
        assert_eq!(partial.text, "", "it was not begun");
        return;
    };
    assert!(
        text.starts_with(&partial.text),
        "{} is not of {text}",
        partial.text
    );
    if end == End::Killed && reply + 1 == told.replies.len() && !told.is_cleared {
        assert_eq!(partial.text, *text);
    }
    // A reply that was cleared may come back in part: the log has it.
    let is_in_flight = reply + 1 == told.replies.len() && !told.is_cleared;
    assert!(
        !is_in_flight || partial.text.len() >= *synced,
        "synced text is lost"
    );
}

/// Lives once for every operation, which fails as `kind` says, and looks at each disk.
fn at_every_operation(kind: FaultKind, mut look: impl FnMut(u64, &SimDisk, &Told)) {
    let counting = FaultFs::counting(Arc::new(SimDisk::new()));
    let told = live(&store_on(counting.clone()));
    assert_eq!(told.events, appends().concat());
    assert_eq!(told.second, Second::Deleted);
    assert!(told.key.is_some() && told.replies.len() == 2);
    let operations = counting.operations();
    assert!(operations > 60, "{operations}");
    for at in 1..=operations + 1 {
        let disk = SimDisk::new();
        let told = live(&store_on(FaultFs::new(
            Arc::new(disk.clone()),
            Fault { at, kind },
        )));
        look(at, &disk, &told);
    }
}

#[test]
fn any_operation_may_fail_once_and_what_was_acknowledged_is_there() {
    let short = |bytes, errno| FaultKind::ShortWrite { bytes, errno };
    for kind in [
        FaultKind::Error(Errno::IO),
        FaultKind::Error(Errno::NOSPC),
        short(1, Errno::IO),
        short(30, Errno::NOSPC),
        short(700, Errno::NOSPC),
        short(100_000, Errno::IO),
    ] {
        at_every_operation(kind, |at, disk, told| {
            eprintln!("{kind:?} at {at}");
            check(
                &disk.cut(&mut fastrand::Rng::with_seed(at)),
                told,
                End::PowerCut,
                at,
            );
            check(disk, told, End::Killed, at);
        });
    }
}

#[test]
fn a_kill_before_any_operation_loses_nothing_that_was_acknowledged() {
    at_every_operation(FaultKind::Dead, |at, disk, told| {
        eprintln!("killed at {at}");
        for seed in 0..8 {
            // The system has what was written, synced or not.
            check(&disk.fork(), told, End::Killed, seed);
        }
    });
}

#[test]
fn a_power_cut_before_any_operation_loses_nothing_that_was_acknowledged() {
    at_every_operation(FaultKind::Dead, |at, disk, told| {
        for seed in 0..40 {
            eprintln!("power cut at {at}, seed {seed}");
            let after = disk.cut(&mut fastrand::Rng::with_seed(seed));
            check(&after, told, End::PowerCut, seed);
        }
    });
}
