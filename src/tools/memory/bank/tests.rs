use super::*;
use std::convert::Infallible;

use crossbeam_channel::{Receiver, Sender, bounded};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::base::fs::{FaultFs, RealFs};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::story;
use crate::tools::Caller;

const DATE: &str = "2026-03-01";

struct Call {
    call_id: CallId,
    session: SessionId,
    cancel_rx: Receiver<Infallible>,
}

impl Call {
    fn new() -> (Call, Sender<Infallible>) {
        let (cancel_tx, cancel_rx) = bounded(0);
        let session = SessionId::mint(1, 1);
        let call = Call {
            call_id: story::call_id(1),
            session,
            cancel_rx,
        };
        (call, cancel_tx)
    }

    fn run(&self) -> Run<'_> {
        Run {
            call_id: &self.call_id,
            arguments: "{}",
            cancel: &self.cancel_rx,
            caller: Caller {
                session: &self.session,
                chat: None,
            },
        }
    }
}

fn bank(folder: &TempDir) -> Bank {
    Bank::new(
        Arc::new(RealFs),
        folder.path().join("memory"),
        folder.path().to_owned(),
    )
}

/// Has `work` done under the lock.
fn with<T>(bank: &Bank, work: impl FnOnce(&Held<'_>) -> T) -> T {
    let (call, _cancel_tx) = Call::new();
    work(&bank.hold(&call.run()).unwrap())
}

#[test]
fn a_note_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    let note =
        |date: &str, content: &str| with(&bank, |held| held.add_note(date, "09:30:00", content));
    assert_eq!(
        note(DATE, " Likes tea.\r\n").unwrap(),
        "Noted in the notes of 2026-03-01."
    );
    assert_eq!(
        note("2026-03-02", "Likes tea.").unwrap(),
        "Noted already, on 2026-03-01 at 09:30:00."
    );
    assert_eq!(bank.days().unwrap(), [DATE]);
    assert_eq!(
        bank.notes(DATE).unwrap().text,
        "# 2026-03-01\n\n## 09:30:00\n\nLikes tea.\n"
    );
}

#[test]
fn what_is_too_long_is_refused_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |held| {
        let long = "ä".repeat(NOTE_BYTES_MAX);
        let refused = held.add_note(DATE, "09:30:00", &long).unwrap_err();
        assert!(refused.contains("room for 4096 bytes, and this has 8192: say it shorter"));
        let refused = held.replace_summary(&long.repeat(3), None).unwrap_err();
        assert!(refused.contains("keep what matters most"), "{refused}");
        let refused = held.replace_topic("a", &long.repeat(3), None).unwrap_err();
        assert!(refused.contains("as several topics"), "{refused}");
        for empty in ["", " \n"] {
            held.add_note(DATE, "09:30:00", empty).unwrap_err();
            held.replace_summary(empty, None).unwrap_err();
        }
        let refused = (0..).find_map(|number| {
            let note = format!("{number} {}", "x".repeat(4_000));
            held.add_note(DATE, "09:30:00", &note).err()
        });
        assert!(refused.unwrap().contains("`reflect` on what matters"));
        assert!(bank.notes(DATE).unwrap().text.len() <= DAY_BYTES_MAX);
    });
}

#[test]
fn nothing_that_was_not_read_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |held| {
        held.replace_summary("One.", None).unwrap();
        let refused = held.replace_summary("Two.", None).unwrap_err();
        let version = bank.summary().unwrap().unwrap().version.unwrap();
        assert!(refused.contains("One."), "{refused}");
        assert!(refused.contains(&format!("\"version\": \"{version}\"")));
        held.replace_summary("Two.", Some("00000000")).unwrap_err();
        held.replace_summary("Two.", Some(&version)).unwrap();
        // Again, as after a crash before the result was stored.
        let again = held.replace_summary("Two.", Some(&version)).unwrap();
        assert_eq!(again, "The summary says that already.");
        let late = held.replace_summary("Three.", Some(&version)).unwrap_err();
        assert!(late.contains("was changed since you read it"), "{late}");
        assert_eq!(bank.summary().unwrap().unwrap().text, "Two.\n");
    });
}

#[test]
fn no_topic_that_was_not_read_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |held| {
        held.replace_topic("hours", "9 to 5", None).unwrap();
        held.replace_topic("hours", "8 to 4", None).unwrap_err();
        let version = bank.topic("hours").unwrap().version.unwrap();
        held.replace_topic("hours", "8 to 4", Some(&version))
            .unwrap();
        assert_eq!(bank.topics().unwrap(), ["hours"]);
        assert_eq!(bank.topic("hours").unwrap().text, "8 to 4\n");
    });
}

#[test]
fn the_number_of_topics_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |held| {
        for number in 0..TOPICS_MAX {
            fs::write(bank.folder.join(format!("t{number}.md")), "x\n").unwrap();
        }
        let refused = held.replace_topic("more", "x", None).unwrap_err();
        assert!(refused.contains("200 topics already"), "{refused}");
        let version = bank.topic("t7").unwrap().version;
        held.replace_topic("t7", "y", version.as_deref()).unwrap();
    });
}

#[test]
fn who_waits_for_the_lock_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |_held| {
        let (call, cancel_tx) = Call::new();
        drop(cancel_tx);
        assert_eq!(bank.hold(&call.run()).unwrap_err(), "cancelled");
    });
}

#[test]
fn writers_at_once_lose_nothing() {
    const WRITERS: usize = 4;
    const NOTES: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let bank = bank.clone();
            scope.spawn(move || {
                for number in 0..NOTES {
                    let note = format!("writer {writer}, note {number}.");
                    with(&bank, |held| held.add_note(DATE, "09:30:00", &note)).unwrap();
                }
            });
        }
    });
    let notes = bank.notes(DATE).unwrap().text;
    assert_eq!(notes.matches("\n## ").count(), WRITERS * NOTES);
    for writer in 0..WRITERS {
        for number in 0..NOTES {
            let note = format!("\nwriter {writer}, note {number}.\n");
            assert_eq!(notes.matches(&note).count(), 1, "{note}");
        }
    }
}

#[test]
fn no_link_leads_out_of_a_memory() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in [SUMMARY, "2026-03-01.md"] {
        fs::write(outside.join(name), "secret\n").unwrap();
    }
    let home = |name: &str| {
        let home = folder.path().join(name);
        fs::create_dir(&home).unwrap();
        home
    };
    let of = |home: &PathBuf| Bank::new(Arc::new(RealFs), home.join("memory"), home.clone());
    let whole = home("whole");
    symlink(&outside, whole.join("memory")).unwrap();
    let inner = home("inner");
    fs::create_dir(inner.join("memory")).unwrap();
    symlink(&outside, inner.join("memory/daily")).unwrap();
    symlink(outside.join(SUMMARY), inner.join("memory").join(SUMMARY)).unwrap();
    // Where a new text is written before it takes its place.
    let later = home("later");
    fs::create_dir(later.join("memory")).unwrap();
    symlink(outside.join("made"), later.join("memory/MEMORY.md.tmp")).unwrap();
    let locked = home("locked");
    fs::create_dir(locked.join("memory")).unwrap();
    symlink(outside.join("made"), locked.join("memory/.lock")).unwrap();
    for home in [&whole, &inner] {
        let bank = of(home);
        assert!(bank.summary().is_err(), "{home:?}");
        assert!(bank.days().is_err(), "{home:?}");
    }
    assert!(of(&inner).notes(DATE).is_err());
    let (call, _cancel_tx) = Call::new();
    for home in [&whole, &inner, &later, &locked] {
        let bank = of(home);
        let noted = bank
            .hold(&call.run())
            .and_then(|held| held.add_note(DATE, "09:30:00", "x"));
        let written = bank
            .hold(&call.run())
            .and_then(|held| held.replace_summary("x", Some(&version("secret\n"))));
        assert_eq!(noted.is_ok(), home == &later, "{home:?} {noted:?}");
        assert!(written.is_err(), "{home:?} {written:?}");
    }
    for name in [SUMMARY, "2026-03-01.md"] {
        assert_eq!(fs::read_to_string(outside.join(name)).unwrap(), "secret\n");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_failing_disk_leaves_whole_files(seed in any::<u64>()) {
        let folder = tempfile::tempdir().unwrap();
        let bank = Bank::new(
            Arc::new(FaultFs::random(Arc::new(RealFs), seed, 4)),
            folder.path().join("memory"),
            folder.path().to_owned(),
        );
        let (call, _cancel_tx) = Call::new();
        let mut kept = Vec::new();
        for number in 0..12 {
            let note = format!("note {number}.");
            let added = bank
                .hold(&call.run())
                .and_then(|held| held.add_note(DATE, "09:30:00", &note));
            if added.is_ok() {
                kept.push(note);
            }
            let text = bank.notes(DATE).unwrap().text;
            let whole = text.is_empty() || text.ends_with(".\n");
            prop_assert!(whole, "{text:?}");
            for note in &kept {
                prop_assert!(time_of_note(&text, note).is_some(), "{note} is not in {text:?}");
            }
        }
    }
}
