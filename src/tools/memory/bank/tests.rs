use super::*;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, Sender, bounded};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::base::file_lock::FileLock;
use crate::base::fs::{FaultFs, Fs, RealFs};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::story;
use crate::store::file::documents::FileDocuments;
use crate::store::sim_documents::{SimDocuments, SimFault};
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
            caller: Caller::of(&self.session),
        }
    }
}

/// The bank in the folder `memory` of a home.
fn bank_in(fs: impl Fs + 'static, home: &Path) -> Bank {
    let documents = FileDocuments::shared(Arc::new(fs), home.to_owned(), home.join("memory"));
    Bank::new(Arc::new(documents), DocumentFolder::default())
}

fn bank(folder: &TempDir) -> Bank {
    bank_in(RealFs, folder.path())
}

/// Has `work` done on behalf of a call.
fn with<T>(bank: &Bank, work: impl FnOnce(&BankWriter<'_>) -> T) -> T {
    let (call, _cancel_tx) = Call::new();
    work(&bank.writer(&call.run()))
}

/// Half past nine of a day.
fn at(date: &str) -> impl Fn() -> (String, String) {
    let date = date.to_owned();
    move || (date.clone(), "09:30:00".to_owned())
}

#[test]
fn a_note_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    let note = |date: &str, content: &str| with(&bank, |writer| writer.add_note(at(date), content));
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
    with(&bank, |writer| {
        let long = "ä".repeat(NOTE_BYTES_MAX);
        let refused = writer.add_note(at(DATE), &long).unwrap_err().to_string();
        assert!(refused.contains("room for 4096 bytes, and this has 8192: say it shorter"));
        let refused = writer
            .replace_summary(&long.repeat(3), None)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("keep what matters most"), "{refused}");
        let refused = writer
            .replace_topic("a", &long.repeat(3), None)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("as several topics"), "{refused}");
        for empty in ["", " \n"] {
            writer.add_note(at(DATE), empty).unwrap_err();
            writer.replace_summary(empty, None).unwrap_err();
        }
        let refused = (0..).find_map(|number| {
            let note = format!("{number} {}", "x".repeat(4_000));
            writer
                .add_note(at(DATE), &note)
                .err()
                .map(|refusal| refusal.to_string())
        });
        assert!(refused.unwrap().contains("`reflect` on what matters"));
        assert!(bank.notes(DATE).unwrap().text.len() <= DAY_BYTES_MAX);
    });
}

#[test]
fn nothing_that_was_not_read_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |writer| {
        writer.replace_summary("One.", None).unwrap();
        let refused = writer
            .replace_summary("Two.", None)
            .unwrap_err()
            .to_string();
        let version = bank.summary().unwrap().unwrap().version.unwrap();
        assert!(refused.contains("One."), "{refused}");
        assert!(refused.contains(&format!("\"version\": \"{version}\"")));
        writer
            .replace_summary("Two.", Some("00000000"))
            .unwrap_err()
            .to_string();
        writer.replace_summary("Two.", Some(&version)).unwrap();
        // Again, as after a crash before the result was stored.
        let again = writer.replace_summary("Two.", Some(&version)).unwrap();
        assert_eq!(again, "The summary says that already.");
        let late = writer
            .replace_summary("Three.", Some(&version))
            .unwrap_err()
            .to_string();
        assert!(late.contains("was changed since you read it"), "{late}");
        assert_eq!(bank.summary().unwrap().unwrap().text, "Two.\n");
    });
}

#[test]
fn no_topic_that_was_not_read_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |writer| {
        writer.replace_topic("hours", "9 to 5", None).unwrap();
        writer.replace_topic("hours", "8 to 4", None).unwrap_err();
        let version = bank.topic("hours").unwrap().version.unwrap();
        writer
            .replace_topic("hours", "8 to 4", Some(&version))
            .unwrap();
        assert_eq!(bank.topics().unwrap(), ["hours"]);
        assert_eq!(bank.topic("hours").unwrap().text, "8 to 4\n");
    });
}

#[test]
fn the_number_of_topics_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    fs::create_dir(folder.path().join("memory")).unwrap();
    with(&bank, |writer| {
        for number in 0..TOPICS_MAX {
            fs::write(folder.path().join(format!("memory/t{number}.md")), "x\n").unwrap();
        }
        let refused = writer
            .replace_topic("more", "x", None)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("200 topics already"), "{refused}");
        let version = bank.topic("t7").unwrap().version;
        writer.replace_topic("t7", "y", version.as_deref()).unwrap();
    });
}

#[test]
fn who_waits_for_the_lock_can_be_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let bank = bank(&folder);
    with(&bank, |writer| writer.add_note(at(DATE), "x")).unwrap();
    let lock = FileLock::try_take(&folder.path().join("memory/.lock"));
    let _lock = lock.unwrap().unwrap();
    let (call, cancel_tx) = Call::new();
    drop(cancel_tx);
    let run = call.run();
    let cancelled = bank.writer(&run).add_note(at(DATE), "y");
    assert_eq!(cancelled.unwrap_err().to_string(), "cancelled");
}

#[test]
fn who_finds_another_writing_tries_again_and_who_is_refused_says_so() {
    let documents = SimDocuments::new();
    let bank = Bank::new(Arc::new(documents.clone()), DocumentFolder::default());
    let replace = |text: &str| with(&bank, |writer| writer.replace_summary(text, None));
    // A reading, then a writing.
    documents.fail_at(2, SimFault::Busy);
    replace("One.").unwrap();
    assert_eq!(documents.operations(), 4);
    documents.fail_at(5, SimFault::Refused);
    assert_eq!(
        replace("Two."),
        Err("the memory cannot be used: injected".into())
    );
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
                    with(&bank, |writer| writer.add_note(at(DATE), &note)).unwrap();
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
    let of = |home: &PathBuf| bank_in(RealFs, home);
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
        let run = call.run();
        let noted = bank.writer(&run).add_note(at(DATE), "x");
        let written = bank.writer(&run);
        let written = written.replace_summary("x", Some(&version("secret\n")));
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
        let bank = bank_in(FaultFs::random(Arc::new(RealFs), seed, 4), folder.path());
        let (call, _cancel_tx) = Call::new();
        let mut kept = Vec::new();
        for number in 0..12 {
            let note = format!("note {number}.");
            let added = bank.writer(&call.run()).add_note(at(DATE), &note);
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
