//! The chunked coding, read in pieces of any size. Pure.
//!
//! One reader serves both ways: it finds the data of a request's body, and the end of an answer's.
//! It takes nothing that another reader could take differently: no bare line feed, no sign, space
//! or overlong number in a size, no control character in an extension or a trailer.
//!
//! Source: RFC 9112, section 7.1.

use std::ops::Range;

/// Hex digits in a chunk's size: 4 GiB, far above any limit of a body.
const SIZE_DIGITS_MAX: u32 = 8;
/// Bytes of the extensions of one chunk.
const EXTENSION_BYTES_MAX: u32 = 256;
/// Bytes of all trailer fields, which are checked and dropped.
const TRAILER_BYTES_MAX: u32 = 4096;

/// The text is not in the chunked coding, or one of its parts is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadChunk;

/// How far a chunked body has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkDecoder {
    state: ChunkState,
    /// Of the chunk being read.
    bytes_left: u64,
    /// Read of the line, or of the trailer.
    line_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataEnd,
    TrailerStart,
    Trailer,
    TrailerLineEnd,
    LastEnd,
    Ended,
}

/// How far one piece of input took the decoder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChunkStep {
    /// How much of the input it took; more than none, unless the body has ended.
    pub(super) taken: usize,
    /// Where in the input data of the body stands, if it does.
    pub(super) data: Range<usize>,
}

impl ChunkDecoder {
    /// The last byte of the body has been read; what follows is another request's.
    pub(super) fn is_ended(&self) -> bool {
        self.state == ChunkState::Ended
    }

    /// Reads until the next run of data has passed, the body's end, or the input's.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<ChunkStep, BadChunk> {
        for (at, &byte) in input.iter().enumerate() {
            match self.state {
                ChunkState::Ended => {
                    return Ok(ChunkStep {
                        taken: at,
                        data: at..at,
                    });
                }
                ChunkState::Data => return Ok(self.data_run(at, input.len())),
                _ => self.state = self.after(byte)?,
            }
        }
        let end = input.len();
        Ok(ChunkStep {
            taken: end,
            data: end..end,
        })
    }

    fn data_run(&mut self, from: usize, end: usize) -> ChunkStep {
        let here = (end - from) as u64;
        let run = here.min(self.bytes_left);
        self.bytes_left -= run;
        if self.bytes_left == 0 {
            self.state = ChunkState::DataCr;
        }
        let to = from + run as usize;
        ChunkStep {
            taken: to,
            data: from..to,
        }
    }

    fn after(&mut self, byte: u8) -> Result<ChunkState, BadChunk> {
        match (self.state, byte) {
            (ChunkState::Size, b'\r') if self.line_bytes > 0 => Ok(ChunkState::SizeEnd),
            (ChunkState::Size, b';') if self.line_bytes > 0 => self.begin(ChunkState::Extension),
            (ChunkState::Size, _) => self.size_digit(byte),
            (ChunkState::Extension, b'\r') => Ok(ChunkState::SizeEnd),
            (ChunkState::Extension, _) => {
                self.line_byte(byte, EXTENSION_BYTES_MAX, ChunkState::Extension)
            }
            (ChunkState::SizeEnd, b'\n') if self.bytes_left == 0 => {
                self.begin(ChunkState::TrailerStart)
            }
            (ChunkState::SizeEnd, b'\n') => Ok(ChunkState::Data),
            (ChunkState::DataCr, b'\r') => Ok(ChunkState::DataEnd),
            (ChunkState::DataEnd, b'\n') => self.begin(ChunkState::Size),
            (ChunkState::TrailerStart, b'\r') => Ok(ChunkState::LastEnd),
            (ChunkState::Trailer, b'\r') => Ok(ChunkState::TrailerLineEnd),
            (ChunkState::TrailerStart | ChunkState::Trailer, _) => {
                self.line_byte(byte, TRAILER_BYTES_MAX, ChunkState::Trailer)
            }
            (ChunkState::TrailerLineEnd, b'\n') => Ok(ChunkState::TrailerStart),
            (ChunkState::LastEnd, b'\n') => Ok(ChunkState::Ended),
            _ => Err(BadChunk),
        }
    }

    fn begin(&mut self, state: ChunkState) -> Result<ChunkState, BadChunk> {
        self.line_bytes = 0;
        Ok(state)
    }

    fn size_digit(&mut self, byte: u8) -> Result<ChunkState, BadChunk> {
        let digit = char::from(byte).to_digit(16).ok_or(BadChunk)?;
        self.line_bytes += 1;
        self.bytes_left = self.bytes_left * 16 + u64::from(digit);
        if self.line_bytes <= SIZE_DIGITS_MAX {
            Ok(ChunkState::Size)
        } else {
            Err(BadChunk)
        }
    }

    fn line_byte(
        &mut self,
        byte: u8,
        bytes_max: u32,
        stay: ChunkState,
    ) -> Result<ChunkState, BadChunk> {
        self.line_bytes += 1;
        let is_text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        if is_text && self.line_bytes <= bytes_max {
            Ok(stay)
        } else {
            Err(BadChunk)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data and what stands behind the body; `None` for data when it has not ended.
    fn read(pieces: &[&[u8]]) -> Result<(bool, Vec<u8>, Vec<u8>), BadChunk> {
        let mut chunks = ChunkDecoder::default();
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while !input.is_empty() && !chunks.is_ended() {
                let step = chunks.step(input)?;
                data.extend_from_slice(&input[step.data.clone()]);
                input = &input[step.taken..];
            }
            rest.extend_from_slice(input);
        }
        Ok((chunks.is_ended(), data, rest))
    }

    fn whole(text: &[u8]) -> Result<(bool, Vec<u8>, Vec<u8>), BadChunk> {
        read(&[text])
    }

    #[test]
    fn data_is_found_and_what_follows_is_left() {
        let (ended, data, rest) =
            whole(b"5;a=b\r\nhello\r\nA\r\n 0123world\r\n0\r\nX-T: 1\r\n\r\nGET").unwrap();
        assert!(ended);
        assert_eq!(data, b"hello 0123world");
        assert_eq!(rest, b"GET");
    }

    #[test]
    fn odd_spellings_are_refused() {
        let table: &[&[u8]] = &[
            b"\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello",
            b" 5\r\nhello",
            b"+5\r\nhello",
            b"0x5\r\nhello",
            b"-1\r\n",
            b"000000005\r\nhello",
            b"5;a\nb\r\nhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\rhello",
            b"0\r\n\n",
            b"0\r\nX: \0\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"FFFFFFFFF\r\n",
            // Without a size, or with a character that no text has.
            b";\r\n\r\n",
            b";a\r\n\r\n",
            b";a=b\r\nhello",
            b"2\r\nhi\r\n;a\r\n\r\n",
            b"5;a\x7f\r\nhello",
            b"5;\x1f\r\nhello",
            b"0\r\nX: \x7f\r\n\r\n",
        ];
        for text in table {
            assert_eq!(whole(text), Err(BadChunk), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_the_standard_allows_is_taken() {
        for text in [
            &b"00000005\r\nhello\r\n00000000\r\n\r\n"[..],
            b"5;a\t=\t\"b\"\r\nhello\r\n0;\r\n\r\n",
            b"5\r\nhello\r\n0\r\nX:\ty \r\n\r\n",
            "5;ä\r\nhello\r\n0\r\nX: ä\r\n\r\n".as_bytes(),
        ] {
            let expected = (true, b"hello".to_vec(), Vec::new());
            assert_eq!(whole(text), Ok(expected), "{}", text.escape_ascii());
        }
        // The last bytes that there is room for, and one more.
        for (bytes, is_good) in [
            (EXTENSION_BYTES_MAX, true),
            (EXTENSION_BYTES_MAX + 1, false),
        ] {
            let extension = vec![b'a'; bytes as usize];
            let text = [b"5;", &extension[..], b"\r\nhello\r\n0\r\n\r\n"].concat();
            assert_eq!(whole(&text).is_ok(), is_good, "{bytes} bytes");
        }
        for (bytes, is_good) in [(TRAILER_BYTES_MAX, true), (TRAILER_BYTES_MAX + 1, false)] {
            let trailer = vec![b'a'; bytes as usize];
            let text = [b"0\r\n", &trailer[..], b"\r\n\r\n"].concat();
            assert_eq!(whole(&text).is_ok(), is_good, "{bytes} bytes");
        }
    }

    #[test]
    fn endless_extensions_and_trailers_are_refused() {
        assert_eq!(
            whole(&[b"5;", vec![b'a'; 300].as_slice()].concat()),
            Err(BadChunk)
        );
        let trailers = b"X: y\r\n".repeat(2000);
        assert_eq!(
            whole(&[b"0\r\n", trailers.as_slice()].concat()),
            Err(BadChunk)
        );
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_reads_alike(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut text = Vec::new();
            for part in &parts {
                text.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                text.extend_from_slice(part);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\nrest");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            prop_assert_eq!(read(&pieces), Ok((true, parts.concat(), b"rest".to_vec())));
        }

        #[test]
        fn no_bytes_make_it_panic_or_stand_still(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = whole(&text);
        }
    }
}
