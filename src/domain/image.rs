//! Pictures: of what format and size some bytes are, and how much of a model's window one takes. Pure.
//!
//! Sources: the PNG, GIF, JPEG and WebP formats; OpenAI's, Anthropic's, Google's and Qwen's pages on what an image
//! costs, November 2026.

/// The formats that models take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF.
    Gif,
    /// WebP.
    Webp,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// How a provider counts the tokens of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageRule {
    /// Squares of 28 pixels, after fitting the longer side to `edge`; at most `max`.
    Fitted {
        /// The longest side, in pixels.
        edge: u32,
        /// The most tokens.
        max: u32,
    },
    /// `base`, and `tile` for each square of 512 pixels, after fitting it to 2048 and its shorter side to 768.
    Tiles {
        /// For any image.
        base: u32,
        /// For each square.
        tile: u32,
    },
    /// Squares of 32 pixels, at most `max`, in percent.
    Patches {
        /// Tokens of a hundred squares.
        percent: u32,
        /// The most squares.
        max: u32,
    },
    /// 258 for each square of 768 pixels.
    Squares,
    /// The same for all.
    Fixed(u32),
}

/// An image of which nothing is known is taken for one of this size.
const UNKNOWN: ImageSize = ImageSize {
    width: 4096,
    height: 4096,
};

/// Beginnings of models' names, with `-` for `.`, and the rule that counts there; the first that fits.
const RULES: &[(&str, ImageRule)] = &[
    ("gpt-4o-mini", tiles(2833, 5667)),
    ("gpt-4-1-mini", patches(162, 1536)),
    ("gpt-4-1-nano", patches(246, 1536)),
    ("gpt-4", tiles(85, 170)),
    ("chatgpt-4o", tiles(85, 170)),
    ("gpt-5-mini", patches(162, 1536)),
    ("gpt-5-nano", patches(246, 1536)),
    ("gpt-5-chat", tiles(70, 140)),
    ("gpt-5-1", tiles(70, 140)),
    // Dated: `gpt-5-2025-08-07`.
    ("gpt-5-20", tiles(70, 140)),
    ("gpt-5-", patches(120, 10_000)),
    ("gpt-5", tiles(70, 140)),
    ("gpt-6", patches(120, 10_000)),
    ("o4-mini", patches(172, 1536)),
    ("o1", tiles(75, 150)),
    ("o3", tiles(75, 150)),
    ("claude-opus-4-7", SHARP),
    ("claude-opus-4-8", SHARP),
    ("claude-opus-4-9", SHARP),
    ("claude-opus-5", SHARP),
    ("claude-sonnet-5", SHARP),
    ("claude-haiku-5", SHARP),
    ("claude-mythos", SHARP),
    ("claude-fable", SHARP),
    (
        "claude",
        ImageRule::Fitted {
            edge: 1568,
            max: 1600,
        },
    ),
    ("gemini-1", ImageRule::Squares),
    ("gemini-2", ImageRule::Squares),
    ("gemini", ImageRule::Fixed(1120)),
    ("qwen", PIXELS),
    ("qvq", PIXELS),
];

const SHARP: ImageRule = ImageRule::Fitted {
    edge: 2576,
    max: 4784,
};
const PIXELS: ImageRule = ImageRule::Fitted {
    edge: u32::MAX,
    max: 16_384,
};

const fn tiles(base: u32, tile: u32) -> ImageRule {
    ImageRule::Tiles { base, tile }
}

const fn patches(percent: u32, max: u32) -> ImageRule {
    ImageRule::Patches { percent, max }
}

impl ImageFormat {
    /// That of some bytes, by how they begin.
    pub fn of(bytes: &[u8]) -> Option<ImageFormat> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => Some(ImageFormat::Png),
            [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
            [b'G', b'I', b'F', b'8', ..] => Some(ImageFormat::Gif),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(ImageFormat::Webp),
            _ => None,
        }
    }

    /// That of a media type.
    pub fn of_type(mime: &str) -> Option<ImageFormat> {
        match mime {
            "image/png" => Some(ImageFormat::Png),
            "image/jpeg" | "image/jpg" => Some(ImageFormat::Jpeg),
            "image/gif" => Some(ImageFormat::Gif),
            "image/webp" => Some(ImageFormat::Webp),
            _ => None,
        }
    }

    /// Its media type.
    pub fn mime(self) -> &'static str {
        match self {
            ImageFormat::Png => "image/png",
            ImageFormat::Jpeg => "image/jpeg",
            ImageFormat::Gif => "image/gif",
            ImageFormat::Webp => "image/webp",
        }
    }
}

impl ImageSize {
    /// The size of the image that some bytes are; `None` where they do not say it, or are none.
    pub fn of(bytes: &[u8]) -> Option<ImageSize> {
        let (width, height) = match ImageFormat::of(bytes)? {
            ImageFormat::Png if bytes.get(12..16)? == b"IHDR" => (
                u32::from_be_bytes(array(bytes, 16)?),
                u32::from_be_bytes(array(bytes, 20)?),
            ),
            ImageFormat::Png => return None,
            ImageFormat::Gif => (little(bytes, 6)?, little(bytes, 8)?),
            ImageFormat::Jpeg => of_jpeg(bytes)?,
            ImageFormat::Webp => of_webp(bytes)?,
        };
        (width > 0 && height > 0).then_some(ImageSize { width, height })
    }

    /// The same, made smaller where its longer side is longer than `edge`.
    fn fitted(self, edge: u32) -> ImageSize {
        let longer = self.width.max(self.height);
        self.scaled(edge, longer)
    }

    /// The same, times `now / was` where that makes it smaller.
    fn scaled(self, now: u32, was: u32) -> ImageSize {
        if was <= now {
            return self;
        }
        let scaled = |side: u32| {
            let side = (u64::from(side) * u64::from(now)).div_ceil(u64::from(was));
            u32::try_from(side).unwrap_or(u32::MAX).max(1)
        };
        ImageSize {
            width: scaled(self.width),
            height: scaled(self.height),
        }
    }

    /// How many squares of that side cover it.
    fn squares(self, side: u32) -> u64 {
        u64::from(self.width.div_ceil(side)) * u64::from(self.height.div_ceil(side))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// A number of two bytes, the lower one first.
fn little(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(|two| u16::from_le_bytes(two).into())
}

/// The first frame's header, behind whatever else stands before it.
fn of_jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let big = |at| array(bytes, at).map(u16::from_be_bytes);
    let mut at = 2;
    loop {
        let [mark, kind] = array(bytes, at)?;
        match (mark, kind) {
            (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd7) => at += 2,
            // The picture itself, or its end, without a header.
            (0xff, 0xd9 | 0xda) => return None,
            (0xff, 0xc0..=0xcf) if !matches!(kind, 0xc4 | 0xc8 | 0xcc) => {
                return Some((big(at + 7)?.into(), big(at + 5)?.into()));
            }
            (0xff, _) => at += 2 + usize::from(big(at + 2)?.max(2)),
            _ => return None,
        }
    }
}

fn of_webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let three = |at| array(bytes, at).map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]) + 1);
    match bytes.get(12..16)? {
        b"VP8 " => Some((little(bytes, 26)? & 0x3fff, little(bytes, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = u32::from_le_bytes(array(bytes, 21)?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => Some((three(24)?, three(27)?)),
        _ => None,
    }
}

impl ImageRule {
    /// That of models of which nothing is known.
    pub const UNKNOWN: ImageRule = patches(120, 1536);

    /// That of the model of that name.
    pub fn of(model: &str) -> ImageRule {
        let name = model.rsplit('/').next().unwrap_or(model);
        let name = name.to_ascii_lowercase().replace('.', "-");
        let found = RULES.iter().find(|(start, _)| name.starts_with(start));
        found.map_or(ImageRule::UNKNOWN, |(_, rule)| *rule)
    }

    /// The tokens of an image.
    pub fn tokens(self, size: Option<ImageSize>) -> u64 {
        let size = size.unwrap_or(UNKNOWN);
        match self {
            ImageRule::Fitted { edge, max } => size.fitted(edge).squares(28).min(max.into()),
            ImageRule::Tiles { base, tile } => {
                let size = size.fitted(2048);
                let size = size.scaled(768, size.width.min(size.height));
                u64::from(base) + u64::from(tile) * size.squares(512)
            }
            ImageRule::Patches { percent, max } => {
                size.squares(32).min(max.into()) * u64::from(percent) / 100
            }
            ImageRule::Squares if size.width <= 384 && size.height <= 384 => 258,
            ImageRule::Squares => 258 * size.squares(768).min(16),
            ImageRule::Fixed(tokens) => tokens.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
        [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &sides[..]].concat()
    }

    #[test]
    fn an_image_says_its_size_in_its_first_bytes() {
        let jpeg = b"\xff\xd8\xff\xe1\0\x04ab\xff\xff\xdb\0\x02\xff\xc2\0\x0b\x08\x01\x02\x03\x04";
        for (bytes, expected) in [
            (&png(640, 480)[..], Some((640, 480))),
            (b"GIF89a\x05\x01\x07\0", Some((261, 7))),
            (jpeg, Some((772, 258))),
            (
                b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x40\x41\x20\0",
                Some((320, 32)),
            ),
            (
                b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x09\xc0\x04\0",
                Some((10, 20)),
            ),
            (
                b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x09\0\0\x13\0\0",
                Some((10, 20)),
            ),
            (&png(0, 480), None),
            (b"\x89PNG\r\n\0\xff and more", None),
            (b"\xff\xd8\xff\xda\0\x02", None),
            (b"%PDF-1.7", None),
            (b"", None),
        ] {
            let size = ImageSize::of(bytes).map(|size| (size.width, size.height));
            assert_eq!(size, expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_image_counts_by_the_rule_of_its_model() {
        for (model, width, height, tokens) in [
            ("claude-sonnet-4-5", 1024, 1024, 1369),
            ("anthropic/claude-3.5-sonnet", 4000, 3000, 1600),
            ("claude-opus-4.7", 4000, 3000, 4784),
            ("claude-opus-4-7", 1000, 1000, 1296),
            ("gpt-4o", 1024, 1024, 765),
            ("openai/gpt-4o", 200, 200, 255),
            ("gpt-4o-2024-08-06", 4096, 8192, 1105),
            ("gpt-4o-mini", 200, 200, 8500),
            ("gpt-4.1-mini", 1024, 1024, 1658),
            ("gpt-5", 1024, 1024, 630),
            ("gpt-5-2025-08-07", 1024, 1024, 630),
            ("gpt-5.2", 4000, 3000, 12_000),
            ("gemini-2.5-flash", 300, 300, 258),
            ("gemini-2.5-flash", 1000, 1000, 1032),
            ("gemini-3-pro", 4000, 3000, 1120),
            ("qwen2.5-vl:7b", 280, 280, 100),
            ("llava", 1024, 1024, 1228),
            ("llava", 9000, 9000, 1843),
        ] {
            let size = Some(ImageSize { width, height });
            assert_eq!(ImageRule::of(model).tokens(size), tokens, "{model} {width}");
        }
        assert_eq!(ImageRule::of("claude-3-haiku").tokens(None), 1600);
    }

    #[test]
    fn no_rule_hides_a_later_one() {
        for (at, (name, _)) in RULES.iter().enumerate() {
            let first = RULES.iter().position(|(start, _)| name.starts_with(start));
            assert_eq!(first, Some(at), "{name} is never reached");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_and_any_size_are_something(
            start in 0..5usize,
            rest in proptest::collection::vec(any::<u8>(), 0..64),
            width: u32,
            height: u32,
        ) {
            let starts: [&[u8]; 5] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF\0\0\0\0WEBPVP8", b""];
            let _ = ImageSize::of(&[starts[start], &rest].concat());
            let size = Some(ImageSize { width, height });
            for (_, rule) in RULES {
                prop_assert!(rule.tokens(size) < 1 << 40);
            }
        }
    }
}
