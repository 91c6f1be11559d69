//! Text that people write: files, read with a limit, and the parts of URLs.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Why a text file cannot be read. The path is the caller's to say.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// A folder, a pipe or a device.
    #[error("is not a file")]
    NotAFile,
    /// It is reached by a link where none is followed.
    #[error("is a link or lies behind one, and is left alone")]
    Linked,
    /// More than the caller takes.
    #[error("is longer than {} KiB", .0 >> 10)]
    TooLong(usize),
    /// Something else than text.
    #[error("is not UTF-8 from {line}:{column} on")]
    NotUtf8 {
        /// The line of the first bad byte, from 1.
        line: usize,
        /// Its column in characters, from 1.
        column: usize,
    },
    /// The system refused.
    #[error("cannot be read: {0}")]
    Io(io::Error),
}

/// Reads a whole file of at most `bytes_max` bytes. A byte order mark is left out.
pub fn read(path: &Path, bytes_max: usize) -> Result<String, TextError> {
    read_open(open(path)?, bytes_max)
}

/// Opens a file, and nothing that is none. Never waits for the other end of a pipe.
pub fn open(path: &Path) -> Result<File, TextError> {
    // Asked first, because opening a device may do something.
    if !path.metadata()?.is_file() {
        return Err(TextError::NotAFile);
    }
    open_at_once(path)
}

/// Opens what is at `path` by now, if that is a file.
fn open_at_once(path: &Path) -> Result<File, TextError> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(TextError::NotAFile)
    }
}

/// Where an open file lies, wherever the path led by which it was opened.
///
/// Source: proc(5), `/proc/self/fd`.
pub fn place_of(file: &dyn AsRawFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where a path leads, by the links of as much of it as there is: the rest may still be made, and lies
/// there then.
pub fn leads_to(path: &Path) -> PathBuf {
    let mut above = path.ancestors();
    let existing = above.find_map(|above| Some((above.canonicalize().ok()?, above)));
    let Some((real, above)) = existing else {
        return path.to_owned();
    };
    let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
    real.components().chain(rest.components()).collect()
}

/// Opens the file `inner` in the folder `root`, below which no link is followed.
pub fn open_unlinked(root: &Path, inner: &Path) -> Result<File, TextError> {
    let file = open(&root.join(inner))?;
    let expected = root.canonicalize()?.join(inner);
    let place = place_of(&file)?;
    // One that was replaced just now is shown with a word behind its name.
    let mut replaced = expected.clone().into_os_string();
    replaced.push(" (deleted)");
    if place == expected || place == replaced {
        Ok(file)
    } else {
        Err(TextError::Linked)
    }
}

/// Refuses a link on the way from the folder `root` to what is at `inner` in it, as far as that
/// exists.
///
/// Errors: [`TextError::Linked`]; the system refused.
pub fn check_unlinked(root: &Path, inner: &Path) -> Result<(), TextError> {
    let mut path = root.to_owned();
    for name in inner {
        path.push(name);
        match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => return Err(TextError::Linked),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// As [`read`], of a file that was [opened](open).
pub fn read_open(file: File, bytes_max: usize) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    let limit = bytes_max as u64 + 1;
    file.take(limit).read_to_end(&mut bytes)?;
    decode(bytes, bytes_max)
}

/// As [`read`], of what a file holds.
pub fn decode(bytes: Vec<u8>, bytes_max: usize) -> Result<String, TextError> {
    if bytes.len() > bytes_max {
        return Err(TextError::TooLong(bytes_max));
    }
    let mut text = String::from_utf8(bytes).map_err(not_utf8)?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

/// The text with `\n` for each of the ways to end a line: `\r\n`, `\r`.
pub fn with_plain_line_ends(text: String) -> String {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        text
    }
}

/// Splits a text that begins with YAML between two lines `---`: the YAML with the first of them, and
/// with empty lines before it, and what follows the second. That one may be longer (`-----`), and what
/// stands behind it belongs to the rest. `None` for a text that does not begin so.
pub fn split_front_matter(text: &str) -> Option<(&str, &str)> {
    const FENCE: &str = "---";
    let mut end = 0;
    let mut is_open = false;
    for line in text.split_inclusive('\n') {
        if is_open && line.starts_with(FENCE) {
            let behind = line.trim_start_matches('-');
            let behind = if behind.trim().is_empty() { "" } else { behind };
            return Some((&text[..end], &text[end + line.len() - behind.len()..]));
        }
        let is_fence = line.trim_end() == FENCE;
        if !is_open && !is_fence && !line.trim().is_empty() {
            return None;
        }
        is_open |= is_fence;
        end += line.len();
    }
    None
}

/// The first hundred characters: an answer need not carry a page of somebody's input back.
pub fn shortened(text: &str) -> &str {
    const SHOWN_CHARS: usize = 100;
    text.char_indices()
        .nth(SHOWN_CHARS)
        .map_or(text, |(end, _)| &text[..end])
}

/// The beginning of a text: at most `bytes_max` bytes of it, and no half of a character.
pub fn start(text: &str, bytes_max: usize) -> &str {
    &text[..boundary(text, bytes_max)]
}

/// The last boundary between characters that is not behind `index`.
pub fn boundary(text: &str, index: usize) -> usize {
    let mut boundary = index.min(text.len());
    while !text.is_char_boundary(boundary) {
        boundary -= 1;
    }
    boundary
}

/// True of bytes that stand for themselves in a JSON string.
pub fn is_plain_in_json(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| !matches!(byte, 0..0x20 | b'"' | b'\\');
    bytes.iter().all(is_plain)
}

/// Appends a text as a JSON string.
pub fn push_json(out: &mut Vec<u8>, text: &str) {
    if is_plain_in_json(text.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text)
            .expect("a Vec takes every byte, and a text always serialises");
    }
}

/// Appends a number in digits.
pub fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            return out[start..].reverse();
        }
    }
}

/// The address of a server begins like this; the rest is for whoever connects to refuse.
pub fn is_http_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
    })
}

/// Undoes `%C3%A4`; `None` for an escape that is none, and for what is not UTF-8 then.
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = after;
            continue;
        }
        let (pair, after) = after.split_at_checked(2)?;
        decoded.push(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?);
        rest = after;
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

fn not_utf8(error: std::string::FromUtf8Error) -> TextError {
    let good = error.utf8_error().valid_up_to();
    let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    TextError::NotUtf8 { line, column }
}

impl From<io::Error> for TextError {
    fn from(error: io::Error) -> TextError {
        match error.kind() {
            io::ErrorKind::NotFound => TextError::Missing,
            _ => TextError::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn front_matter_stands_between_two_fences() {
        for (text, expected) in [
            ("---\na: 1\n---\nbody\n", Some(("---\na: 1\n", "body\n"))),
            ("---\r\na: 1\r\n---\r\nb", Some(("---\r\na: 1\r\n", "b"))),
            ("---\n---", Some(("---\n", ""))),
            (
                "---\na: 1\n--- \nb\n---\nc",
                Some(("---\na: 1\n", "b\n---\nc")),
            ),
            ("---\na: 1\n-----\nb", Some(("---\na: 1\n", "b"))),
            ("---\na: 1\n---# B\nc", Some(("---\na: 1\n", "# B\nc"))),
            (
                "---\na: b---c\n ---\n---",
                Some(("---\na: b---c\n ---\n", "")),
            ),
            ("\n \n---\na: 1\n---\nb", Some(("\n \n---\na: 1\n", "b"))),
            ("---\na: 1\n", None),
            ("body\n---\n---\n", None),
            ("----\n---\n", None),
            ("", None),
        ] {
            assert_eq!(split_front_matter(text), expected, "{text:?}");
        }
    }

    #[test]
    fn texts_and_numbers_are_written_as_json_has_them() {
        let mut out = b"[".to_vec();
        for text in ["", "a ä🦀\u{7f}", "\"", "\\", "a\n", "\u{1f}b"] {
            out.truncate(1);
            push_json(&mut out, text);
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(out[1..], *expected.as_bytes(), "{text:?}");
        }
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            out.truncate(1);
            push_number(&mut out, number);
            assert_eq!(out[1..], *number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_line_may_end_in_each_way() {
        for text in ["a\nb\n\nc\n", "a\r\nb\r\n\r\nc\r\n", "a\rb\r\rc\r"] {
            assert_eq!(with_plain_line_ends(text.to_owned()), "a\nb\n\nc\n");
        }
    }

    #[test]
    fn a_text_is_never_cut_inside_a_character() {
        for (bytes, expected) in [(0, ""), (1, "a"), (2, "a"), (3, "aä"), (9, "aäb")] {
            assert_eq!(start("aäb", bytes), expected);
        }
    }

    #[test]
    fn a_text_is_read_as_far_as_it_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.md");
        for (bytes, expected) in [
            (&b""[..], Ok("")),
            ("äö".as_bytes(), Ok("äö")),
            (b"\xef\xbb\xbfhello", Ok("hello")),
            (b"12345678", Ok("12345678")),
            (b"123456789", Err("is longer than 0 KiB")),
            (b"a\n\xc3\xa4\xff", Err("is not UTF-8 from 2:2 on")),
        ] {
            fs::write(&path, bytes).unwrap();
            let found = read(&path, 8).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned));
        }
        let missing = read(&folder.path().join("b.md"), 8).unwrap_err();
        assert_eq!(missing.to_string(), "does not exist");
        let not_a_file = read(folder.path(), 8).unwrap_err();
        assert_eq!(not_a_file.to_string(), "is not a file");
    }

    #[test]
    fn a_pipe_that_took_the_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let (opened_tx, opened_rx) = crossbeam_channel::bounded(1);
        let path = pipe.clone();
        let opener = std::thread::spawn(move || opened_tx.send(open_at_once(&path)).unwrap());
        let opened = opened_rx.recv_timeout(Duration::from_secs(10));
        // Ends the wait of one that does.
        let _writer = OpenOptions::new().read(true).write(true).open(&pipe);
        opener.join().unwrap();
        assert!(matches!(opened.unwrap(), Err(TextError::NotAFile)));
    }

    #[test]
    fn an_open_file_says_where_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let [file, link] = ["file", "link"].map(|name| home.join(name));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        assert_eq!(place_of(&open(&link).unwrap()).unwrap(), file);
    }

    #[test]
    fn a_path_leads_where_its_links_do_also_where_its_end_is_still_to_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("real/inner")).unwrap();
        symlink("real", root.join("link")).unwrap();
        for (path, led) in [
            ("real/inner", "real/inner"),
            ("link/inner", "real/inner"),
            ("link/missing", "real/missing"),
            ("link/missing/below", "real/missing/below"),
            ("missing", "missing"),
        ] {
            // As texts: a `/` at the end would make another name of it.
            let led = root.join(led).into_os_string();
            assert_eq!(leads_to(&root.join(path)).into_os_string(), led, "{path}");
        }
        assert_eq!(leads_to(Path::new("")), Path::new(""));
    }

    #[test]
    fn no_link_is_followed_below_a_folder() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        fs::write(outer.path().join("secret"), "y").unwrap();
        symlink("../../secret", root.join("a/link")).unwrap();
        symlink("file", root.join("a/inner")).unwrap();
        symlink("a", root.join("b")).unwrap();
        symlink("root", outer.path().join("alias")).unwrap();
        let alias = outer.path().join("alias");
        for (inner, is_unlinked) in [
            ("a/file", true),
            ("a/link", false),
            ("a/inner", false),
            ("b/file", false),
        ] {
            let inner = Path::new(inner);
            let opened = open_unlinked(&alias, inner);
            assert_eq!(opened.is_ok(), is_unlinked, "{inner:?} {opened:?}");
            let checked = check_unlinked(&alias, inner);
            assert_eq!(checked.is_ok(), is_unlinked, "{inner:?} {checked:?}");
        }
        assert!(matches!(
            open_unlinked(&root, Path::new("none")),
            Err(TextError::Missing)
        ));
        assert!(check_unlinked(&root, Path::new("none/at/all")).is_ok());
    }
}
