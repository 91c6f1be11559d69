//! The text of the reply in flight, `inflight.jsonl`.
//!
//! The first line is the head, each other one a piece of the text with a checksum. The checksums
//! continue that of the head: after a power cut the file may hold lines of an earlier reply, which
//! then do not fit.
//!
//! Invariant: every byte up to `len` is of whole lines; a failed write is cut back to it.
//!
//! Owned by: the worker of the session.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use crate::base::fs::{self, File, Fs, Open};
use crate::base::text;
use crate::store::file::error::IoContext as _;
use crate::store::file::layout::Folder;
use crate::store::file::line;
use crate::store::{Journal, Partial, PartialHead, StoreError, SyncLater};

const BUFFER_BYTES_KEPT: usize = 16 << 10;

/// The journal of one session. The file is opened at the first reply, and stays open.
#[derive(Debug)]
pub(super) struct Inflight {
    fs: Arc<dyn Fs>,
    folder: Folder,
    path: PathBuf,
    file: Option<Box<dyn File>>,
    /// The checksum of the head.
    seed: u32,
    /// A reply was begun, and may be written.
    is_begun: bool,
    /// Bytes of whole lines; `None` while it is not known what the file holds.
    len: Option<u64>,
    /// Bytes of text in them.
    text_bytes: u64,
    /// Whether the file's name may still be lost by a power cut; shared with syncs under way, of
    /// which one may never be run.
    is_name_new: Arc<AtomicBool>,
    /// What is written with the next piece: the head, until there is one.
    buffer: Vec<u8>,
}

impl Inflight {
    /// The journal of the session in that folder; touches no file.
    pub(super) fn new(fs: Arc<dyn Fs>, folder: Folder) -> Inflight {
        Inflight {
            path: folder.inflight(),
            fs,
            folder,
            file: None,
            seed: 0,
            is_begun: false,
            len: None,
            text_bytes: 0,
            is_name_new: Arc::new(AtomicBool::new(true)),
            buffer: Vec::new(),
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        self.is_begun = false;
        self.buffer.clear();
        if self.len == Some(0) {
            return Ok(());
        }
        self.len = None;
        match &self.file {
            Some(file) => file.truncate(0)?,
            None => clear_unopened(&*self.fs, &self.path)?,
        }
        self.len = Some(0);
        Ok(())
    }

    /// Empties the file, and has the head written with the first piece: without one there is
    /// nothing to be found.
    fn take_head(&mut self, head: &PartialHead) -> io::Result<()> {
        if self.file.is_none() {
            let file = self.fs.open(&self.path, Open::AppendOrCreate)?;
            self.len = (file.len()? == 0).then_some(0);
            self.file = Some(file);
        }
        self.empty()?;
        serde_json::to_writer(&mut self.buffer, head)?;
        self.seed = line::checksum(&self.buffer, 0);
        self.buffer.push(b'\n');
        self.text_bytes = 0;
        self.is_begun = true;
        Ok(())
    }

    fn write_piece(&mut self, text: &str) -> io::Result<()> {
        let (Some(file), Some(len), true) = (&mut self.file, self.len, self.is_begun) else {
            return Err(io::Error::other("no reply was begun"));
        };
        let head_bytes = self.buffer.len();
        // A `TextPiece`, written by hand: there is one for every token.
        line::encode_by(self.seed, &mut self.buffer, |line| {
            line.extend_from_slice(b"{\"offset\":");
            text::push_number(line, self.text_bytes);
            line.extend_from_slice(b",\"text\":");
            text::push_json(line, text);
            line.push(b'}');
            Ok(())
        })?;
        if let Err(error) = file.write_all(&self.buffer) {
            // A piece after a torn one would not be found.
            self.len = file.truncate(len).is_ok().then_some(len);
            self.buffer.truncate(head_bytes);
            return Err(error);
        }
        self.len = Some(len + self.buffer.len() as u64);
        self.text_bytes += text.len() as u64;
        // What it holds it keeps.
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }
}

impl Journal for Inflight {
    fn begin(&mut self, head: &PartialHead) -> Result<(), StoreError> {
        self.take_head(head).doing("write", &self.path)
    }

    fn push(&mut self, text: &str) -> Result<(), StoreError> {
        self.write_piece(text).doing("write", &self.path)
    }

    fn sync_later(&mut self) -> SyncLater {
        let (fs, folder) = (Arc::clone(&self.fs), self.folder.clone());
        let is_name_new = Arc::clone(&self.is_name_new);
        Box::new(move || sync(&*fs, &folder, &is_name_new))
    }

    fn clear(&mut self) -> Result<(), StoreError> {
        self.empty().doing("clear", &self.path)
    }
}

/// Syncs a journal through a handle of its own, beside its writer.
fn sync(fs: &dyn Fs, folder: &Folder, is_name_new: &AtomicBool) -> Result<(), StoreError> {
    let path = folder.inflight();
    let file = match fs.open(&path, Open::Read) {
        // The session was deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.doing("open", &path)?,
    };
    file.sync_data().doing("sync", &path)?;
    if is_name_new.load(Ordering::Acquire) {
        let folder = folder.path();
        match fs.sync_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.doing("sync", folder)?,
        }
        is_name_new.store(false, Ordering::Release);
    }
    Ok(())
}

/// Reads the reply that was in flight when the process ended, up to the first bad line.
pub(super) fn read(fs: &dyn Fs, folder: &Folder) -> Result<Option<Partial>, StoreError> {
    let path = folder.inflight();
    match fs::read_file(fs, &path, u64::MAX) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("read", &path),
    }
}

/// A journal left by a former process, whose reply the log has by now.
fn clear_unopened(fs: &dyn Fs, path: &std::path::Path) -> io::Result<()> {
    match fs.open(path, Open::Append) {
        Ok(file) => file.truncate(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[derive(Deserialize)]
struct TextPiece {
    offset: u64,
    text: String,
}

fn parse(bytes: &[u8]) -> Option<Partial> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut whole_lines = std::iter::from_fn(|| lines.next()?.strip_suffix(b"\n"));
    let head_line = whole_lines.next()?;
    let head: PartialHead = serde_json::from_slice(head_line).ok()?;
    let seed = line::checksum(head_line, 0);
    let mut text = String::new();
    for line in whole_lines {
        match piece(line, seed) {
            Some(piece) if piece.offset == text.len() as u64 => text.push_str(&piece.text),
            Some(_) | None => break,
        }
    }
    Some(Partial { head, text })
}

fn piece(line: &[u8], seed: u32) -> Option<TextPiece> {
    line::verify(line, seed).ok()??;
    serde_json::from_slice(line).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use rustix::io::Errno;

    use super::*;
    use crate::base::fs::{FaultFs, SimDisk};
    use crate::domain::ids::{MessageId, Seq, SessionId, TurnId};
    use crate::store::file::layout::Layout;

    fn head(n: u128) -> PartialHead {
        PartialHead {
            turn_id: TurnId::mint(1, n),
            message_id: MessageId::mint(1, n),
            input_seq: Seq(3),
            model: String::new(),
        }
    }

    fn journal() -> (SimDisk, Folder, Inflight) {
        let disk = SimDisk::new();
        let layout = Layout::in_workspace(std::path::Path::new("/"));
        let folder = layout.session(&SessionId::mint(1, 1));
        fs::create_dirs(&disk, folder.path()).unwrap();
        let journal = Inflight::new(Arc::new(disk.clone()), folder.clone());
        (disk, folder, journal)
    }

    #[test]
    fn a_sync_that_is_never_run_leaves_everything_to_the_next() {
        let (disk, folder, mut journal) = journal();
        journal.begin(&head(1)).unwrap();
        journal.push("some ").unwrap();
        drop(journal.sync_later());
        journal.push("words").unwrap();
        journal.sync_later()().unwrap();
        for seed in 0..50 {
            let after = disk.cut(&mut fastrand::Rng::with_seed(seed));
            assert_eq!(read(&after, &folder).unwrap().unwrap().text, "some words");
        }
    }

    #[test]
    fn a_sync_of_a_session_that_was_deleted_has_nothing_to_do() {
        let (disk, folder, mut journal) = journal();
        journal.begin(&head(1)).unwrap();
        let sync = journal.sync_later();
        disk.remove_dir_all(folder.path()).unwrap();
        sync().unwrap();
    }

    #[test]
    fn a_reply_is_found_with_all_its_pieces_until_it_is_cleared() {
        let (disk, folder, mut journal) = journal();
        assert_eq!(read(&disk, &folder).unwrap(), None);
        journal.begin(&head(1)).unwrap();
        for piece in ["Hä", "", "llo\n", "\"du\""] {
            journal.push(piece).unwrap();
        }
        let found = read(&disk, &folder).unwrap().unwrap();
        assert_eq!((found.head, &*found.text), (head(1), "Hällo\n\"du\""));
        journal.begin(&head(2)).unwrap();
        assert_eq!(read(&disk, &folder).unwrap(), None);
        journal.push("two").unwrap();
        let found = read(&disk, &folder).unwrap().unwrap();
        assert_eq!((found.head, &*found.text), (head(2), "two"));
        journal.clear().unwrap();
        assert_eq!(read(&disk, &folder).unwrap(), None);
        assert!(journal.push("x").is_err());
        journal.begin(&head(3)).unwrap();
        drop(journal);
        let mut journal = Inflight::new(Arc::new(disk.clone()), folder.clone());
        journal.clear().unwrap();
        assert_eq!(read(&disk, &folder).unwrap(), None);
    }

    #[test]
    fn a_piece_that_found_no_room_is_written_whole_the_next_time_with_the_head_if_it_is_the_first()
    {
        for failing in [0, 1] {
            let full_from = Arc::new(AtomicU64::new(u64::MAX));
            let (disk, folder, _) = journal();
            let fs =
                FaultFs::full_from(Arc::new(disk.clone()), Errno::NOSPC, Arc::clone(&full_from));
            let mut journal = Inflight::new(Arc::new(fs), folder.clone());
            journal.begin(&head(1)).unwrap();
            for (n, piece) in ["one ", "two"].into_iter().enumerate() {
                if n == failing {
                    full_from.store(0, Ordering::SeqCst);
                    assert!(matches!(journal.push(piece), Err(StoreError::Full)));
                    full_from.store(u64::MAX, Ordering::SeqCst);
                }
                journal.push(piece).unwrap();
            }
            let found = read(&disk, &folder).unwrap().unwrap();
            assert_eq!((found.head, &*found.text), (head(1), "one two"));
        }
    }

    #[test]
    fn every_cut_of_a_journal_gives_a_prefix_of_its_text() {
        let (disk, folder, mut journal) = journal();
        journal.begin(&head(1)).unwrap();
        for piece in ["one ", "two ", "three"] {
            journal.push(piece).unwrap();
        }
        let bytes = fs::read_file(&disk, &folder.inflight(), u64::MAX).unwrap();
        for cut in 0..bytes.len() {
            let text = parse(&bytes[..cut]).map_or(String::new(), |partial| partial.text);
            assert!("one two three".starts_with(&text), "{text}");
        }
        assert_eq!(parse(&bytes).unwrap().text, "one two three");
    }

    #[test]
    fn pieces_of_another_reply_do_not_count() {
        let (disk, folder, mut journal) = journal();
        let bytes_of = |journal: &mut Inflight, n| {
            journal.begin(&head(n)).unwrap();
            journal.push("text").unwrap();
            fs::read_file(&disk, &folder.inflight(), u64::MAX).unwrap()
        };
        let (first, second) = (bytes_of(&mut journal, 1), bytes_of(&mut journal, 2));
        let head_end = first.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mixed = [&first[..head_end], &second[head_end..]].concat();
        assert_eq!(parse(&first).unwrap().text, "text");
        assert_eq!(parse(&mixed).unwrap().text, "");
    }

    #[test]
    fn a_large_piece_leaves_no_large_buffer() {
        let (_, _, mut journal) = journal();
        journal.begin(&head(1)).unwrap();
        journal.push(&"x".repeat(10 * BUFFER_BYTES_KEPT)).unwrap();
        assert!(journal.buffer.capacity() <= BUFFER_BYTES_KEPT);
    }
}
