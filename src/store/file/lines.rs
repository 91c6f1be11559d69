//! A file cut into lines, however long it is.

use std::io;

use memchr::memchr;

use crate::base::fs::{self, File};

/// A search looks at one line and goes elsewhere: the first reads are small.
const CHUNK_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// The lines of a file from an offset on, read in chunks.
///
/// Memory: one chunk, or the longest line.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    file: &'a dyn File,
    /// What the file holds from here on is not looked at.
    end: u64,
    buffer: Vec<u8>,
    /// Where `buffer` begins in the file.
    buffer_offset: u64,
    /// What was returned already.
    consumed: usize,
    /// How much is read next.
    chunk_bytes: usize,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawLine<'b> {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// Its bytes without the newline.
    pub(super) bytes: &'b [u8],
    /// Whether it has its newline; only the last line of a file may lack it.
    pub(super) is_whole: bool,
}

impl RawLine<'_> {
    /// Where the next line begins.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64 + u64::from(self.is_whole)
    }
}

impl<'a> Lines<'a> {
    /// The lines between `offset`, where one begins, and `end`.
    pub(super) fn new(file: &'a dyn File, offset: u64, end: u64) -> Lines<'a> {
        Lines {
            file,
            end,
            buffer: Vec::new(),
            buffer_offset: offset,
            consumed: 0,
            chunk_bytes: CHUNK_BYTES_MIN,
        }
    }

    /// The next line.
    pub(super) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        let mut searched = self.consumed;
        let (len, is_whole) = loop {
            let rest = &self.buffer[searched..];
            if let Some(found) = memchr(b'\n', rest) {
                break (searched + found - self.consumed, true);
            }
            searched = self.buffer.len() - self.consumed;
            if !self.fill()? {
                break (self.buffer.len(), false);
            }
        };
        let start = self.consumed;
        self.consumed = start + len + usize::from(is_whole);
        if len == 0 && !is_whole {
            return Ok(None);
        }
        Ok(Some(RawLine {
            offset: self.buffer_offset + start as u64,
            bytes: &self.buffer[start..start + len],
            is_whole,
        }))
    }

    /// Drops what was returned and reads on; returns whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.consumed);
        self.buffer_offset += self.consumed as u64;
        self.consumed = 0;
        let kept = self.buffer.len();
        let read_offset = self.buffer_offset + kept as u64;
        let left = usize::try_from(self.end.saturating_sub(read_offset)).unwrap_or(usize::MAX);
        self.buffer.resize(kept + left.min(self.chunk_bytes), 0);
        self.chunk_bytes = (2 * self.chunk_bytes).min(CHUNK_BYTES_MAX);
        let read = fs::read_full(self.file, &mut self.buffer[kept..], read_offset)?;
        self.buffer.truncate(kept + read);
        Ok(read > 0)
    }
}

/// The beginning of the first line at or after `offset`; `None` if none begins before `end`.
pub(super) fn line_start_from(file: &dyn File, offset: u64, end: u64) -> io::Result<Option<u64>> {
    let Some(before) = offset.checked_sub(1) else {
        return Ok((end > 0).then_some(0));
    };
    // What lies between the byte before and the next newline is the end of some line.
    let mut lines = Lines::new(file, before, end);
    let start = match lines.next()? {
        Some(line) if line.is_whole => line.end(),
        Some(_) | None => return Ok(None),
    };
    Ok((start < end).then_some(start))
}

/// The beginning of the last line that begins before `end`.
pub(super) fn line_start_before(file: &dyn File, end: u64) -> io::Result<u64> {
    const STEP_BYTES: u64 = 4 << 10;
    let mut buffer = vec![0; STEP_BYTES as usize];
    // The newline right before `end` belongs to that line.
    let mut to = end.saturating_sub(1);
    while to > 0 {
        let from = to.saturating_sub(STEP_BYTES);
        let step = &mut buffer[..(to - from) as usize];
        let read = fs::read_full(file, step, from)?;
        if let Some(at) = step[..read].iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

/// Which line of the file begins at `offset`, from 1.
pub(super) fn line_number(file: &dyn File, offset: u64) -> io::Result<u64> {
    let mut lines = Lines::new(file, 0, offset);
    let mut number = 1;
    while let Some(line) = lines.next()? {
        number += u64::from(line.is_whole);
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fs::{Fs as _, Open, SimDisk};
    use std::path::Path;

    fn file_of(bytes: &[u8]) -> Box<dyn File> {
        let disk = SimDisk::new();
        let mut file = disk.open(Path::new("/f"), Open::CreateNew).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn lines_come_with_their_places_and_an_unfinished_one_is_told() {
        let long = "x".repeat(3 * CHUNK_BYTES_MAX);
        let text = format!("a\n\n{long}\nrest");
        let file = file_of(text.as_bytes());
        let mut lines = Lines::new(&*file, 0, text.len() as u64);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line.offset, line.bytes.to_vec(), line.is_whole));
        }
        let after = 3 + long.len() as u64 + 1;
        let wanted = [
            (0, b"a".to_vec(), true),
            (2, Vec::new(), true),
            (3, long.into_bytes(), true),
            (after, b"rest".to_vec(), false),
        ];
        assert_eq!(found, wanted);
    }

    proptest::proptest! {
        #[test]
        fn places_of_lines_are_those_that_a_split_finds(
            text in "[ab\n]{0,40}",
            offset in 0usize..45,
        ) {
            let file = file_of(text.as_bytes());
            let end = text.len() as u64;
            let mut starts = vec![0];
            starts.extend(text.match_indices('\n').map(|(at, _)| at as u64 + 1));
            let offset = offset.min(text.len()) as u64;
            let next = starts.iter().copied().find(|start| *start >= offset && *start < end);
            proptest::prop_assert_eq!(line_start_from(&*file, offset, end).unwrap(), next);
            let before = starts.iter().copied().rfind(|start| *start < offset).unwrap_or(0);
            proptest::prop_assert_eq!(line_start_before(&*file, offset).unwrap(), before);
            for (number, start) in starts.iter().enumerate() {
                let found = line_number(&*file, *start).unwrap();
                proptest::prop_assert_eq!(found, number as u64 + 1);
            }
        }
    }
}
