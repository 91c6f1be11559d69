//! What every storage of documents promises, tried on each that there is.
//!
//! A storage is a function that opens it; what is opened twice is the same storage. A new one is added
//! to [`STORAGES`], and is not one until all of [`PROMISES`] hold.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use duragent::base::file_lock::FileLock;
use duragent::base::fs::{Fault, FaultFs, FaultKind, Fs, RealFs, SimDisk};
use duragent::store::documents::{
    DOCUMENT_BYTES_MAX, DocumentError, DocumentFolder, DocumentName, DocumentVersion, Documents,
    Exposure, VersionedText,
};
use duragent::store::file::documents::FileDocuments;
use duragent::store::sim_documents::{SimDocuments, SimFault};
use rustix::io::Errno;

type Opened = Arc<dyn Documents>;

/// A storage.
struct Storage {
    open: Box<dyn Fn() -> Opened>,
    /// Whether it must not be open twice at a time.
    is_exclusive: bool,
}

impl Storage {
    fn of(open: impl Fn() -> Opened + 'static) -> Storage {
        Storage {
            open: Box::new(open),
            is_exclusive: false,
        }
    }

    fn exclusive(self) -> Storage {
        Storage {
            is_exclusive: true,
            ..self
        }
    }

    fn in_folder(open: impl Fn(&Path) -> FileDocuments + 'static) -> Storage {
        let folder = tempfile::tempdir().unwrap();
        Storage::of(move || Arc::new(open(folder.path())))
    }

    fn open(&self) -> Opened {
        (self.open)()
    }

    /// What several may have in hand at once.
    fn several<const N: usize>(&self) -> [Opened; N] {
        let one = self.open();
        std::array::from_fn(|_| {
            if self.is_exclusive {
                Arc::clone(&one)
            } else {
                self.open()
            }
        })
    }
}

type MakeStorage = fn() -> Storage;
type Promise = fn(&Storage);

const STORAGES: &[(&str, MakeStorage)] = &[
    ("files of the process", || {
        Storage::in_folder(of_process).exclusive()
    }),
    ("shared files", || Storage::in_folder(shared)),
    ("files of the account", || Storage::in_folder(of_account)),
    ("files on a disk in memory", || {
        let disk = SimDisk::new();
        Storage::of(move || Arc::new(on_disk(disk.clone()))).exclusive()
    }),
    ("memory", || {
        let documents = SimDocuments::new();
        Storage::of(move || Arc::new(documents.clone()))
    }),
];

type NamedFiles = (&'static str, fn(&Path) -> FileDocuments);

/// Storages below the folder `a` of the one given.
const STORAGES_IN_A_FOLDER: [NamedFiles; 3] = [
    ("files of the process", of_process),
    ("shared files", shared),
    ("files of the account", of_account),
];

fn of_process(path: &Path) -> FileDocuments {
    FileDocuments::of_process(Arc::new(RealFs), path.join("a/b"))
}

fn shared(path: &Path) -> FileDocuments {
    FileDocuments::shared(Arc::new(RealFs), path.to_owned(), path.join("a"))
}

fn of_account(path: &Path) -> FileDocuments {
    FileDocuments::of_account(Arc::new(RealFs), path.join("a"), path.join("a/b"))
}

fn on_disk(fs: impl Fs + 'static) -> FileDocuments {
    FileDocuments::of_process(Arc::new(fs), "/workspace".into())
}

const PROMISES: &[(&str, Promise)] = &[
    ("what was put is there, and in time", what_was_put_is_there),
    (
        "only the version that is there is replaced",
        only_what_was_read_is_replaced,
    ),
    (
        "a list has what is in the folder, once",
        a_list_has_what_is_in_the_folder,
    ),
    ("what was removed is gone", what_was_removed_is_gone),
    (
        "a folder goes with all that is in it",
        a_folder_goes_as_a_whole,
    ),
    ("of those who create one wins", of_those_who_create_one_wins),
    ("writers at once lose nothing", writers_at_once_lose_nothing),
    ("what is too long is refused", what_is_too_long_is_refused),
];

#[test]
fn every_storage_of_documents_keeps_every_promise() {
    for (storage, make) in STORAGES {
        for (promise, holds) in PROMISES {
            eprintln!("{storage}: {promise}");
            holds(&make());
        }
    }
}

fn name(text: &str) -> DocumentName {
    DocumentName::parse(text).unwrap()
}

fn folder_of(text: &str) -> DocumentFolder {
    DocumentFolder::parse(text).unwrap()
}

fn put(documents: &dyn Documents, at: &str, text: &str) -> DocumentVersion {
    documents.put_if(&name(at), None, text).unwrap()
}

fn text_of(documents: &dyn Documents, at: &str) -> Option<String> {
    documents.read(&name(at)).unwrap().map(|found| found.text)
}

fn is_changed<T>(put: &Result<T, DocumentError>) -> bool {
    matches!(put, Err(DocumentError::Changed(_)))
}

fn what_was_put_is_there(storage: &Storage) {
    let documents = storage.open();
    assert_eq!(documents.read(&name("a")).unwrap(), None);
    for (at, text) in [("a", "ä\n"), ("b/c/d.md", ""), ("b/e f", "x")] {
        let version = put(&*documents, at, text);
        let expected = VersionedText {
            text: text.to_owned(),
            version,
            exposure: Exposure::Closed,
        };
        for opened in [&documents, &storage.open()] {
            assert_eq!(opened.read(&name(at)).unwrap().as_ref(), Some(&expected));
        }
    }
    assert_eq!(documents.read(&name("b/c")).ok().flatten(), None);
    assert!(documents.location(&name("b/e f")).ends_with("b/e f"));
}

fn only_what_was_read_is_replaced(storage: &Storage) {
    let documents = storage.open();
    let first = put(&*documents, "a", "1");
    assert!(is_changed(&documents.put_if(&name("a"), None, "2")));
    let second = documents.put_if(&name("a"), Some(&first), "2").unwrap();
    assert_ne!(first, second);
    assert!(is_changed(&documents.put_if(&name("a"), Some(&first), "3")));
    assert_eq!(text_of(&*documents, "a").as_deref(), Some("2"));
    assert!(is_changed(&documents.put_if(
        &name("b"),
        Some(&second),
        "3"
    )));
    documents.put_if(&name("a"), Some(&second), "2").unwrap();
}

fn a_list_has_what_is_in_the_folder(storage: &Storage) {
    let documents = storage.open();
    assert_eq!(documents.list(&folder_of("")).unwrap(), [""; 0]);
    for at in ["b", "a/y", "a/x", "a/z/1", "a/z/2", "ab"] {
        put(&*documents, at, "");
    }
    assert_eq!(documents.list(&folder_of("")).unwrap(), ["a", "ab", "b"]);
    assert_eq!(documents.list(&folder_of("a")).unwrap(), ["x", "y", "z"]);
    assert_eq!(documents.list(&folder_of("a/z")).unwrap(), ["1", "2"]);
    assert_eq!(documents.list(&folder_of("c")).unwrap(), [""; 0]);
}

fn what_was_removed_is_gone(storage: &Storage) {
    let documents = storage.open();
    documents.delete(&name("a/b")).unwrap();
    let version = put(&*documents, "a/b", "1");
    documents.delete(&name("a/b")).unwrap();
    assert_eq!(text_of(&*storage.open(), "a/b"), None);
    let late = documents.put_if(&name("a/b"), Some(&version), "2");
    assert!(is_changed(&late), "{late:?}");
    put(&*documents, "a/b", "3");
}

fn a_folder_goes_as_a_whole(storage: &Storage) {
    let documents = storage.open();
    documents.delete_folder(&folder_of("a")).unwrap();
    for at in ["a/x", "a/y/z", "ab/c"] {
        put(&*documents, at, "");
    }
    documents.delete_folder(&folder_of("a")).unwrap();
    for (at, stays) in [("a/x", false), ("a/y/z", false), ("ab/c", true)] {
        assert_eq!(text_of(&*documents, at).is_some(), stays, "{at}");
    }
    put(&*documents, "a/x", "");
}

/// Tries again until it goes well, as those do who may wait.
fn patiently<T>(mut work: impl FnMut() -> Result<T, DocumentError>) -> Result<T, DocumentError> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match work() {
            Err(DocumentError::Busy(_)) if Instant::now() < deadline => thread::yield_now(),
            done => return done,
        }
    }
}

fn of_those_who_create_one_wins(storage: &Storage) {
    let all: [Opened; 4] = storage.several();
    for round in 0..8 {
        let at = name(&format!("r/{round}"));
        let won = thread::scope(|scope| {
            let tries = all.iter().enumerate().map(|(number, documents)| {
                let at = &at;
                scope.spawn(move || {
                    patiently(|| documents.put_if(at, None, &number.to_string())).is_ok()
                })
            });
            let tries: Vec<_> = tries.collect();
            let won = tries.into_iter().map(|tried| tried.join().unwrap());
            won.collect::<Vec<bool>>()
        });
        let winner = won.iter().position(|won| *won).unwrap();
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        assert_eq!(text_of(&*all[0], at.as_str()), Some(winner.to_string()));
    }
}

fn writers_at_once_lose_nothing(storage: &Storage) {
    const WRITERS: usize = 4;
    const LINES: usize = 8;
    let all: [Opened; WRITERS] = storage.several();
    let deadline = Instant::now() + Duration::from_secs(30);
    let again = |error: DocumentError| {
        if Instant::now() > deadline {
            return Err(error);
        }
        thread::yield_now();
        Ok(())
    };
    thread::scope(|scope| {
        for (writer, documents) in all.iter().enumerate() {
            scope.spawn(move || {
                for line in 0..LINES {
                    let added = |before: Option<&VersionedText>| {
                        let before = before.map_or("", |it| &it.text);
                        Ok::<_, DocumentError>(Some(format!("{before}{writer}:{line}\n")))
                    };
                    documents.update(&name("a"), added, again).unwrap();
                }
            });
        }
    });
    let text = text_of(&*all[0], "a").unwrap();
    for writer in 0..WRITERS {
        for line in 0..LINES {
            assert_eq!(text.matches(&format!("{writer}:{line}\n")).count(), 1);
        }
    }
}

fn what_is_too_long_is_refused(storage: &Storage) {
    let documents = storage.open();
    let longest = "x".repeat(DOCUMENT_BYTES_MAX);
    put(&*documents, "a", &longest);
    assert_eq!(text_of(&*documents, "a"), Some(longest.clone()));
    let refused = documents.put_if(&name("b"), None, &(longest + "x"));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.ends_with("is longer than 1024 KiB"), "{refused}");
    assert_eq!(text_of(&*documents, "b"), None);
}

/// Texts that are put one after the other under one name, with one that is removed in between.
fn life(documents: &dyn Documents) -> Vec<Result<Option<&'static str>, DocumentError>> {
    let at = name("a/b");
    let mut told = Vec::new();
    for text in ["one", "two"] {
        let put = documents
            .read(&at)
            .and_then(|before| documents.put_if(&at, before.as_ref().map(|it| &it.version), text));
        told.push(put.map(|_| Some(text)));
    }
    told.push(documents.delete(&at).map(|()| None));
    told
}

/// Whether a text may be there after what was told: the last one that was acknowledged, or one of
/// those after it.
fn fits(told: &[Result<Option<&'static str>, DocumentError>], found: Option<&str>) -> bool {
    let after_last = told.iter().rposition(Result::is_ok);
    let mut may_be = vec![after_last.and_then(|at| *told[at].as_ref().unwrap())];
    let steps = [Some("one"), Some("two"), None];
    may_be.extend(&steps[after_last.map_or(0, |at| at + 1)..told.len()]);
    may_be.contains(&found)
}

#[test]
fn whatever_fails_a_text_is_the_old_one_or_the_new_one() {
    let clean = SimDocuments::new();
    life(&clean);
    for number in 1..=clean.operations() {
        for fault in [SimFault::Refused, SimFault::AnswerLost, SimFault::Busy] {
            let documents = SimDocuments::new();
            documents.fail_at(number, fault);
            let told = life(&documents);
            let found = text_of(&documents, "a/b");
            assert!(
                fits(&told, found.as_deref()),
                "{number} {fault:?}: {told:?} {found:?}"
            );
        }
    }
    let clean = FaultFs::counting(Arc::new(SimDisk::new()));
    life(&on_disk(clean.clone()));
    assert!(clean.operations() > 20, "{}", clean.operations());
    for at in 1..=clean.operations() {
        for kind in [
            FaultKind::Error(Errno::IO),
            FaultKind::ShortWrite {
                bytes: 1,
                errno: Errno::NOSPC,
            },
            FaultKind::Dead,
        ] {
            let disk = SimDisk::new();
            let failing = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
            let told = life(&on_disk(failing));
            let found = text_of(&on_disk(disk.clone()), "a/b");
            assert!(
                fits(&told, found.as_deref()),
                "{at} {kind:?}: {told:?} {found:?}"
            );
            // The next one is not in the way of what was left.
            let documents = on_disk(disk);
            documents.delete(&name("a/b")).unwrap();
            put(&documents, "a/b", "three");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let clean = FaultFs::counting(Arc::new(SimDisk::new()));
    life(&on_disk(clean.clone()));
    for at in 1..=clean.operations() + 1 {
        let disk = SimDisk::new();
        let kind = FaultKind::Dead;
        let dying = FaultFs::new(Arc::new(disk.clone()), Fault { at, kind });
        let told = life(&on_disk(dying));
        for seed in 0..8 {
            let cut = match seed {
                0 => disk.harshest_cut(),
                _ => disk.cut(&mut fastrand::Rng::with_seed(seed)),
            };
            let found = text_of(&on_disk(cut), "a/b");
            assert!(
                fits(&told, found.as_deref()),
                "{at} {seed}: {told:?} {found:?}"
            );
        }
    }
}

#[test]
fn people_edit_the_files_and_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let documents = FileDocuments::of_process(Arc::new(RealFs), folder.path().to_owned());
    let version = put(&documents, "a.md", "ours");
    fs::write(folder.path().join("a.md"), "\u{feff}theirs").unwrap();
    assert!(is_changed(&documents.put_if(
        &name("a.md"),
        Some(&version),
        "x"
    )));
    assert_eq!(text_of(&documents, "a.md").as_deref(), Some("theirs"));
    fs::write(folder.path().join("a.md"), b"\xff").unwrap();
    let error = documents.read(&name("a.md")).unwrap_err().to_string();
    assert!(error.ends_with("a.md is not UTF-8 from 1:1 on"), "{error}");
    fs::write(
        folder.path().join("a.md"),
        vec![b'x'; DOCUMENT_BYTES_MAX + 1],
    )
    .unwrap();
    let error = documents.read(&name("a.md")).unwrap_err().to_string();
    assert!(error.ends_with("a.md is longer than 1024 KiB"), "{error}");
    for name in [".lock", "b.tmp", ".hidden"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    assert_eq!(documents.list(&folder_of("")).unwrap(), ["a.md"]);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_of_the_account_are_closed_to_others_and_tell_when_they_were_not() {
    let folder = tempfile::tempdir().unwrap();
    let (root, inner) = (folder.path().join("root"), folder.path().join("root/inner"));
    fs::create_dir_all(&inner).unwrap();
    set_mode(&root, 0o755);
    set_mode(&inner, 0o777);
    let documents = FileDocuments::of_account(Arc::new(RealFs), root.clone(), inner.clone());
    put(&documents, "a/b", "x");
    let file = inner.join("a/b");
    for (path, expected) in [(&root, 0o700), (&inner, 0o700), (&inner.join("a"), 0o700)] {
        assert_eq!(mode(path), expected, "{}", path.display());
    }
    assert_eq!(mode(&file), 0o600);
    for (mode, expected) in [
        (0o600, Exposure::Closed),
        (0o640, Exposure::Readable),
        (0o644, Exposure::Readable),
        (0o660, Exposure::Writable),
        (0o602, Exposure::Writable),
    ] {
        set_mode(&file, mode);
        let found = documents.read(&name("a/b")).unwrap().unwrap();
        assert_eq!(found.exposure, expected, "{mode:o}");
    }
}

#[test]
fn a_secret_is_never_written_into_a_file_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let waiting = folder.path().join("key.tmp");
    fs::write(&waiting, "").unwrap();
    set_mode(&waiting, 0o666);
    let mut opened = fs::File::open(&waiting).unwrap();
    let documents = FileDocuments::of_process(Arc::new(RealFs), folder.path().to_owned());
    put(&documents, "key", "secret");
    assert_eq!(mode(&folder.path().join("key")), 0o600);
    let mut read = String::new();
    std::io::Read::read_to_string(&mut opened, &mut read).unwrap();
    assert_eq!(read, "");
}

#[test]
fn no_link_leads_out_of_shared_files() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("a"), "secret").unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("inner")).unwrap();
    symlink(outside.join("a"), root.join("inner/file")).unwrap();
    symlink(&outside, root.join("inner/folder")).unwrap();
    symlink(&outside, root.join("whole")).unwrap();
    let of = |inner: &str| FileDocuments::shared(Arc::new(RealFs), root.clone(), root.join(inner));
    for (inner, at) in [("inner", "file"), ("inner", "folder/a"), ("whole", "a")] {
        let documents = of(inner);
        assert!(documents.read(&name(at)).is_err(), "{inner}/{at}");
        assert!(
            documents.put_if(&name(at), None, "x").is_err(),
            "{inner}/{at}"
        );
    }
    for (inner, at) in [("inner", "folder/new"), ("whole", "new")] {
        assert!(
            of(inner).put_if(&name(at), None, "x").is_err(),
            "{inner}/{at}"
        );
        assert!(of(inner).delete(&name("folder/a")).is_err() || inner == "whole");
    }
    assert!(of("whole").delete(&name("a")).is_err());
    assert!(of("whole").list(&folder_of("")).is_err());
    assert!(of("inner").delete_folder(&folder_of("folder")).is_err());
    assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn who_finds_another_writing_is_told_and_does_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let documents = FileDocuments::shared(Arc::new(RealFs), path.clone(), path.clone());
    let version = put(&documents, "a", "1");
    let other = FileLock::try_take(&path.join(".lock")).unwrap().unwrap();
    let put = || documents.put_if(&name("a"), Some(&version), "2");
    assert!(matches!(put(), Err(DocumentError::Busy(_))));
    let removed = documents.delete(&name("a"));
    assert!(matches!(removed, Err(DocumentError::Busy(_))));
    assert_eq!(text_of(&documents, "a").as_deref(), Some("1"));
    assert!(matches!(
        documents.delete(&name("a")),
        Err(DocumentError::Busy(_))
    ));
    assert_eq!(text_of(&documents, "a").as_deref(), Some("1"));
    drop(other);
    put().unwrap();
    documents.delete(&name("a")).unwrap();
}

#[test]
fn a_folder_that_somebody_has_removed_is_made_again() {
    for (storage, make) in STORAGES_IN_A_FOLDER {
        let folder = tempfile::tempdir().unwrap();
        let documents = make(folder.path());
        for text in ["1", "2"] {
            put(&documents, "b/c", text);
            fs::remove_dir_all(folder.path().join("a")).unwrap();
            documents.delete(&name("b/c")).unwrap();
            assert!(!folder.path().join("a").exists(), "{storage}");
        }
        put(&documents, "d", "3");
        assert_eq!(text_of(&documents, "d").as_deref(), Some("3"), "{storage}");
    }
}
