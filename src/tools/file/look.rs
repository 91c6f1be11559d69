//! Reading files, listing folders and searching in them, within bounds: a file of 2 GB costs no more
//! memory than one page of it, and what takes long ends when it is cancelled.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memchr::{memchr, memmem};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, readlinkat, statat};

use crate::base::beneath::{READ, regular};
use crate::base::order;
use crate::base::plural::counted;
use crate::domain::glob::Glob;
use crate::domain::plain::{self, in_one_line};
use crate::tools::builtin::{ANSWER_BYTES_MAX, BuiltinAnswer, go_on};
use crate::tools::{Run, ToolRefusal};

/// A file with a zero in so much of its beginning is no text.
const LOOKED_AT_BYTES: usize = 8 << 10;
/// Of a longer line the beginning is shown.
const LINE_BYTES_MAX: usize = 2_000;
/// So much of an answer is left for what is said of the rest.
const REMARK_BYTES: usize = 300;
/// So many names of a folder are read, and so many shown.
const NAMES_READ: usize = 50_000;
const NAMES_SHOWN: usize = 500;
/// So much a search looks at, and so much of one file.
const SEARCH_ENTRIES_MAX: usize = 50_000;
const SEARCH_BYTES_MAX: u64 = 256 << 20;
const SEARCH_FILE_BYTES_MAX: u64 = 8 << 20;
const SEARCH_DEPTH_MAX: usize = 64;
const SEARCH_MAX: Duration = Duration::from_secs(20);
const HITS_MAX: usize = 200;
/// So much of a line is shown around what was found.
const HIT_BYTES: usize = 200;
/// Left out of a search of what is above it: what is in there is git's own.
const GIT: &str = ".git";

pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The lines of a file from number `from` on, at most so many.
pub(super) fn read(name: &str, file: File, from: u64, lines: u64, run: &Run<'_>) -> BuiltinAnswer {
    let failed = |error: io::Error| super::place::refusal(name, &error);
    let bytes = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(64 << 10, file);
    if is_binary(reader.fill_buf().map_err(failed)?) {
        let size = plain::size(bytes);
        return Err(format!("{name} is no text but a binary file of {size}").into());
    }
    let mut number = 1;
    while number < from {
        go_on(run)?;
        match skip_line(&mut reader).map_err(failed)? {
            Skipped::Line => number += 1,
            Skipped::Part => {}
            Skipped::End => return Ok(format!("[{name} ends before line {from}]")),
        }
    }
    let mut text = String::new();
    let mut shown = 0;
    let mut is_at_end = reader.fill_buf().map_err(failed)?.is_empty();
    while !is_at_end
        && shown < lines
        && text.len() < ANSWER_BYTES_MAX - LINE_BYTES_MAX - REMARK_BYTES
    {
        go_on(run)?;
        add_line(&mut reader, &mut text, run).map_err(failed)?;
        shown += 1;
        is_at_end = reader.fill_buf().map_err(failed)?.is_empty();
    }
    if number == 1
        && let Some(body) = text.strip_prefix('\u{feff}')
    {
        text = body.to_owned();
    }
    if is_at_end {
        return Ok(if text.is_empty() {
            format!("[{name} is empty]")
        } else {
            text
        });
    }
    let next = number + shown;
    let size = plain::size(bytes);
    Ok(format!(
        "{text}[the file has {size}; it goes on with `from: {next}`]"
    ))
}

enum Skipped {
    Line,
    /// The beginning of one.
    Part,
    End,
}

fn skip_line(reader: &mut BufReader<File>) -> io::Result<Skipped> {
    let buffer = reader.fill_buf()?;
    if buffer.is_empty() {
        return Ok(Skipped::End);
    }
    let end = memchr(b'\n', buffer);
    let taken = end.map_or(buffer.len(), |end| end + 1);
    reader.consume(taken);
    Ok(if end.is_some() {
        Skipped::Line
    } else {
        Skipped::Part
    })
}

/// Adds the next line; of a long one the beginning.
fn add_line(reader: &mut BufReader<File>, text: &mut String, run: &Run<'_>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut left_out = 0_u64;
    let mut is_ended = false;
    while !is_ended {
        if go_on(run).is_err() {
            // Said at the next line.
            break;
        }
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let end = memchr(b'\n', buffer);
        is_ended = end.is_some();
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        left_out += part.len().saturating_sub(room) as u64;
        let taken = part.len() + usize::from(is_ended);
        reader.consume(taken);
    }
    if left_out == 0 && line.last() == Some(&b'\r') && is_ended {
        line.pop();
    }
    let shown = String::from_utf8_lossy(&line);
    if left_out > 0 {
        text.push_str(shown.trim_end_matches('\u{fffd}'));
        text.push_str(&format!("[… {left_out} more bytes in this line]"));
    } else {
        text.push_str(&shown);
    }
    if is_ended || left_out > 0 {
        text.push('\n');
    }
    Ok(())
}

fn is_binary(start: &[u8]) -> bool {
    memchr(0, &start[..start.len().min(LOOKED_AT_BYTES)]).is_some()
}

/// The names in a folder with their kinds and sizes.
pub(super) fn list(name: &str, folder: OwnedFd, run: &Run<'_>) -> BuiltinAnswer {
    let failed = |error: io::Error| super::place::refusal(name, &error);
    let (names, is_whole) = names_in(&folder, run).map_err(failed)?;
    go_on(run)?;
    if names.is_empty() {
        return Ok(format!("[{name} is an empty folder]"));
    }
    let mut text = String::new();
    let mut shown = 0;
    for (entry, kind) in names.iter().take(NAMES_SHOWN) {
        let line = listed(&folder, entry, *kind);
        if text.len() + line.len() > ANSWER_BYTES_MAX - REMARK_BYTES {
            break;
        }
        text.push_str(&line);
        shown += 1;
    }
    let left = names.len() - shown;
    if left > 0 || !is_whole {
        let more = if is_whole { "" } else { "at least " };
        text.push_str(&format!(
            "[{more}{left} more; `search` with a `path` as {name}/*.txt finds names]"
        ));
    }
    Ok(text)
}

fn listed(folder: &OwnedFd, entry: &OsStr, kind: FileType) -> String {
    let name = in_one_line(&entry.to_string_lossy());
    match kind {
        FileType::Directory => format!("{name}/\n"),
        FileType::Symlink => {
            let target = readlinkat(folder, entry.as_bytes(), Vec::new());
            let target = target.map(|target| target.to_string_lossy().into_owned());
            format!(
                "{name} -> {} (link)\n",
                in_one_line(&target.unwrap_or_default())
            )
        }
        FileType::RegularFile => match statat(folder, entry, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => {
                let size = plain::size(u64::try_from(about.st_size).unwrap_or_default());
                format!("{name} ({size})\n")
            }
            Err(_) => format!("{name}\n"),
        },
        _ => format!("{name} (no regular file)\n"),
    }
}

/// The names in a folder, sorted, with what they stand for, and whether these are all.
fn names_in(
    folder: impl AsFd,
    run: &Run<'_>,
) -> io::Result<(Vec<(std::ffi::OsString, FileType)>, bool)> {
    let mut names = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
        if name == "." || name == ".." {
            continue;
        }
        if names.len() == NAMES_READ || go_on(run).is_err() {
            return Ok((names, false));
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(about) => FileType::from_raw_mode(about.st_mode),
                Err(_) => FileType::Unknown,
            },
            kind => kind,
        };
        names.push((name, kind));
    }
    order::sort_by(&mut names, |(one, _), (other, _)| one.cmp(other));
    Ok((names, true))
}

/// What a search looks for.
pub(super) struct WantedText<'a> {
    /// In names of files, or with a `/` in it in their paths from the folder on.
    pub(super) names: Option<Glob>,
    pub(super) is_path: bool,
    /// In files; without it names alone are looked for.
    pub(super) text: Option<&'a str>,
}

/// A search below a folder.
pub(super) struct FileSearch<'a> {
    pub(super) wanted: WantedText<'a>,
    /// Whether a file or folder may be looked at, by its path from the folder on.
    pub(super) may_see: &'a dyn Fn(&Path) -> bool,
    pub(super) run: &'a Run<'a>,
    /// What stands before the paths that are told.
    pub(super) prefix: String,
    found: String,
    hits: usize,
    entries: usize,
    bytes: u64,
    cut_files: usize,
    ends_at: Instant,
    /// Why it ended before it was through.
    ended: Option<String>,
}

impl<'a> FileSearch<'a> {
    pub(super) fn new(
        wanted: WantedText<'a>,
        may_see: &'a dyn Fn(&Path) -> bool,
        run: &'a Run<'a>,
        prefix: String,
    ) -> FileSearch<'a> {
        FileSearch {
            wanted,
            may_see,
            run,
            prefix,
            found: String::new(),
            hits: 0,
            entries: 0,
            bytes: 0,
            cut_files: 0,
            ends_at: Instant::now() + SEARCH_MAX,
            ended: None,
        }
    }

    /// Looks through a folder.
    pub(super) fn folder(mut self, folder: OwnedFd) -> BuiltinAnswer {
        self.walk(&folder, Path::new(""), 0)?;
        Ok(self.answer())
    }

    /// Looks through a single file.
    pub(super) fn file(mut self, file: File) -> BuiltinAnswer {
        self.look_into(file, Path::new(""))?;
        Ok(self.answer())
    }

    fn answer(self) -> String {
        let mut text = self.found;
        if text.is_empty() {
            text.push_str("[nothing found]\n");
        }
        if self.cut_files > 0 {
            let files = counted(self.cut_files, "file");
            let size = plain::size(SEARCH_FILE_BYTES_MAX);
            text.push_str(&format!(
                "[of {files} only the first {size} were looked at]\n"
            ));
        }
        if let Some(why) = self.ended {
            text.push_str(&format!(
                "[not all was looked at: {why}; name a folder further below]\n"
            ));
        }
        text.truncate(text.trim_end().len());
        text
    }

    fn walk(&mut self, folder: &OwnedFd, path: &Path, depth: usize) -> Result<(), ToolRefusal> {
        let Ok((names, is_whole)) = names_in(folder, self.run) else {
            return Ok(());
        };
        if !is_whole {
            self.end(&format!("a folder has more than {NAMES_READ} names"));
        }
        for (name, kind) in names {
            go_on(self.run)?;
            self.entries += 1;
            if self.entries > SEARCH_ENTRIES_MAX {
                self.end(&format!(
                    "there are more than {SEARCH_ENTRIES_MAX} files and folders"
                ));
            } else if Instant::now() > self.ends_at {
                self.end(&format!(
                    "it took more than {} seconds",
                    SEARCH_MAX.as_secs()
                ));
            }
            if self.ended.is_some() && self.is_over() {
                return Ok(());
            }
            let inner = path.join(&name);
            match kind {
                FileType::Directory if depth < SEARCH_DEPTH_MAX && name != GIT => {
                    let opened = openat(folder, &name, FOLDER, Mode::empty());
                    if let Ok(opened) = opened
                        && (self.may_see)(&inner)
                    {
                        self.walk(&opened, &inner, depth + 1)?;
                    }
                }
                FileType::Directory if depth == SEARCH_DEPTH_MAX => {
                    self.end(&format!(
                        "there are folders more than {SEARCH_DEPTH_MAX} deep"
                    ));
                }
                FileType::RegularFile if self.fits(&name, &inner) && (self.may_see)(&inner) => {
                    self.look_at(folder, &name, &inner)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.entries > SEARCH_ENTRIES_MAX
            || self.hits >= HITS_MAX
            || self.bytes > SEARCH_BYTES_MAX
            || self.found.len() > ANSWER_BYTES_MAX - REMARK_BYTES * 3
            || Instant::now() > self.ends_at
    }

    fn end(&mut self, why: &str) {
        self.ended.get_or_insert_with(|| why.to_owned());
    }

    fn fits(&self, name: &OsStr, inner: &Path) -> bool {
        let Some(glob) = &self.wanted.names else {
            return true;
        };
        if self.wanted.is_path {
            glob.fits(&inner.to_string_lossy())
        } else {
            glob.fits(&name.to_string_lossy())
        }
    }

    fn look_at(&mut self, folder: &OwnedFd, name: &OsStr, inner: &Path) -> Result<(), ToolRefusal> {
        if self.wanted.text.is_none() {
            self.hit(inner, "");
            return Ok(());
        }
        let how = READ | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(folder, name, how, Mode::empty()).map_err(io::Error::from);
        match opened.and_then(regular) {
            Ok(file) => self.look_into(file, inner),
            // It is gone, or may not be read.
            Err(_) => Ok(()),
        }
    }

    fn look_into(&mut self, file: File, inner: &Path) -> Result<(), ToolRefusal> {
        let Some(text) = self.wanted.text else {
            return Ok(());
        };
        let mut start = [0; LOOKED_AT_BYTES];
        let mut file = file.take(SEARCH_FILE_BYTES_MAX + 1);
        let Ok(count) = file.read(&mut start) else {
            return Ok(());
        };
        if is_binary(&start[..count]) {
            return Ok(());
        }
        let mut bytes = start[..count].to_vec();
        let Ok(_) = file.read_to_end(&mut bytes) else {
            return Ok(());
        };
        if bytes.len() as u64 > SEARCH_FILE_BYTES_MAX {
            bytes.pop();
            self.cut_files += 1;
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > SEARCH_BYTES_MAX {
            self.end(&format!(
                "there is more than {}",
                plain::size(SEARCH_BYTES_MAX)
            ));
        }
        let finder = memmem::Finder::new(text.as_bytes());
        let (mut from, mut counted_to, mut line) = (0, 0, 1);
        while let Some(at) = finder.find(&bytes[from..]).map(|at| from + at) {
            go_on(self.run)?;
            line += memchr::memchr_iter(b'\n', &bytes[counted_to..at]).count();
            counted_to = at;
            self.hit(inner, &format!(":{line}: {}", around(&bytes, at)));
            if self.is_over() {
                return Ok(());
            }
            from = match memchr(b'\n', &bytes[at..]) {
                Some(end) => at + end + 1,
                None => break,
            };
        }
        Ok(())
    }

    fn hit(&mut self, inner: &Path, what: &str) {
        self.hits += 1;
        if self.hits > HITS_MAX {
            self.end(&format!("{HITS_MAX} places were found"));
            return;
        }
        let mut path = PathBuf::from(&self.prefix);
        if !inner.as_os_str().is_empty() {
            path.push(inner);
        }
        let path = in_one_line(&path.to_string_lossy());
        self.found.push_str(&format!("{path}{what}\n"));
        if self.is_over() {
            self.end("that is as much as an answer holds");
        }
    }
}

/// The line around a place, or as much of it as is near.
fn around(bytes: &[u8], at: usize) -> String {
    let start = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |end| end + 1);
    let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
    let from = start.max(at.saturating_sub(HIT_BYTES / 4));
    let to = end.min(from + HIT_BYTES);
    let cut = |is_cut: bool| if is_cut { "…" } else { "" };
    let text = String::from_utf8_lossy(&bytes[from..to]);
    let text = text.trim_end_matches('\r').trim_matches('\u{fffd}');
    format!("{}{text}{}", cut(from > start), cut(to < end))
}
