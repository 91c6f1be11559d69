//! Telegram's reading of `parse_mode: HTML`, as strict as its servers and stricter in one point:
//! what they drop in silence, because it may not stand inside something else, is refused here.
//!
//! Source: core.telegram.org/bots/api, "HTML style"; the errors are in the words of the servers.

#![allow(dead_code, reason = "a kit for every topic: each uses a part of it")]

/// A text as Telegram shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Without tags, and with `<` for `&lt;`.
    pub text: String,
    /// In the order of their ends.
    pub entities: Vec<Entity>,
    /// What the limits of 4096 and 1024 count.
    pub utf16_len: usize,
}

/// A piece of a text that is shown in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// As the Bot API says it: `bold`, `text_link`, `pre`.
    pub kind: &'static str,
    /// A link's address, or the language of code.
    pub argument: String,
    /// In UTF-16 units.
    pub offset: usize,
    /// In UTF-16 units.
    pub length: usize,
}

/// More bytes are refused before they are read.
pub const BYTES_MAX: usize = 1 << 15;

/// Entities beyond these are left out in silence.
pub const ENTITIES_MAX: usize = 100;

/// Reads `html`, or says at which byte it is refused and with which words.
pub fn check(html: &str) -> Result<Parsed, (usize, String)> {
    if html.len() > BYTES_MAX {
        return Err((BYTES_MAX, "text is too long".to_owned()));
    }
    let mut reader = Reader::default();
    let mut rest = html;
    while let Some(c) = rest.chars().next() {
        let at = html.len() - rest.len();
        rest = match c {
            '<' if rest.starts_with("</") => reader.end_tag(rest, at)?,
            '<' => reader.start_tag(rest, at)?,
            _ => reader.character(rest, c),
        };
    }
    match reader.open.pop() {
        Some(tag) => Err(refusal(
            html.len(),
            &format!(
                "Can't find end tag corresponding to start tag \"{}\"",
                tag.name
            ),
        )),
        None => Ok(Parsed {
            text: reader.text,
            entities: reader.entities,
            utf16_len: reader.utf16_len,
        }),
    }
}

#[derive(Default)]
struct Reader {
    text: String,
    utf16_len: usize,
    entities: Vec<Entity>,
    open: Vec<Tag>,
}

struct Tag {
    name: String,
    kind: &'static str,
    argument: String,
    offset: usize,
}

impl Reader {
    fn character<'a>(&mut self, rest: &'a str, c: char) -> &'a str {
        let (c, bytes) = reference(rest).unwrap_or((c, c.len_utf8()));
        self.text.push(c);
        self.utf16_len += c.len_utf16();
        &rest[bytes..]
    }

    fn start_tag<'a>(&mut self, rest: &'a str, at: usize) -> Result<&'a str, (usize, String)> {
        let inner = &rest[1..];
        let name_end = inner
            .find(|c: char| c.is_ascii_whitespace() || c == '>')
            .ok_or_else(|| refusal(at, &format!("Unclosed start tag at byte offset {at}")))?;
        let name = inner[..name_end].to_ascii_lowercase();
        let mut kind = kind(&name).ok_or_else(|| {
            refusal(
                at,
                &format!("Unsupported start tag \"{name}\" at byte offset {at}"),
            )
        })?;
        let (attributes, rest) = attributes(&inner[name_end..], &name, at)?;
        let value = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted);
        let mut argument = String::new();
        match (name.as_str(), value("href"), value("class")) {
            ("a", Some((_, url)), _) => argument.clone_from(url),
            ("code", _, Some((_, class))) => {
                argument = class
                    .strip_prefix("language-")
                    .unwrap_or_default()
                    .to_owned();
            }
            ("span", _, Some((_, class))) if class == "tg-spoiler" => {}
            ("span", ..) => {
                let words =
                    format!("Tag \"span\" must have class \"tg-spoiler\" at byte offset {at}");
                return Err(refusal(at, &words));
            }
            ("blockquote", ..) if value("expandable").is_some() => kind = "expandable_blockquote",
            _ => {}
        }
        self.refuse_nesting(&name, kind, at)?;
        self.open.push(Tag {
            name,
            kind,
            argument,
            offset: self.utf16_len,
        });
        Ok(rest)
    }

    /// The servers take what may not stand inside another, and leave one of both out.
    fn refuse_nesting(&self, name: &str, kind: &str, at: usize) -> Result<(), (usize, String)> {
        let is_quote = |kind: &str| kind.ends_with("blockquote");
        let is_code = |kind: &str| kind == "code" || kind == "pre";
        for outer in &self.open {
            let is_language = outer.kind == "pre" && kind == "code" && self.open_inside(outer);
            let is_bad = match outer.kind {
                "code" | "pre" => !is_language,
                "text_link" => kind == "text_link" || is_code(kind) || is_quote(kind),
                outer if is_quote(outer) => is_quote(kind),
                _ => is_code(kind) || is_quote(kind),
            };
            if is_bad {
                let words = format!(
                    "Tag \"{name}\" can't be part of \"{}\" at byte offset {at}",
                    outer.name
                );
                return Err(refusal(at, &words));
            }
        }
        Ok(())
    }

    /// Nothing stands between the tag and here: so `<pre><code>` begins one entity.
    fn open_inside(&self, outer: &Tag) -> bool {
        let last = self.open.last();
        last.is_some_and(|last| std::ptr::eq(last, outer)) && outer.offset == self.utf16_len
    }

    fn end_tag<'a>(&mut self, rest: &'a str, at: usize) -> Result<&'a str, (usize, String)> {
        let Some(tag) = self.open.pop() else {
            let words = format!("Unexpected end tag at byte offset {at}");
            return Err(refusal(at, &words));
        };
        let inner = &rest[2..];
        let name_end = inner.find(|c: char| c.is_ascii_whitespace() || c == '>');
        let name = inner[..name_end.unwrap_or(inner.len())].to_ascii_lowercase();
        let behind = inner[name.len()..].trim_start();
        let Some(behind) = behind.strip_prefix('>') else {
            let words = format!("Unclosed end tag at byte offset {at}");
            return Err(refusal(at, &words));
        };
        if !name.is_empty() && name != tag.name {
            let words = format!(
                "Unmatched end tag at byte offset {at}, expected \"</{}>\", found \"</{name}>\"",
                tag.name
            );
            return Err(refusal(at, &words));
        }
        self.close(tag);
        Ok(behind)
    }

    fn close(&mut self, tag: Tag) {
        let length = self.utf16_len - tag.offset;
        let last = self.entities.last_mut();
        let is_language = last.filter(|last| {
            tag.kind == "pre"
                && last.kind == "code"
                && (last.offset, last.length) == (tag.offset, length)
        });
        if let Some(code) = is_language {
            code.kind = "pre";
        } else if length > 0 {
            self.entities.push(Entity {
                kind: tag.kind,
                argument: tag.argument,
                offset: tag.offset,
                length,
            });
        }
    }
}

fn refusal(at: usize, words: &str) -> (usize, String) {
    (at, format!("can't parse entities: {words}"))
}

fn kind(tag: &str) -> Option<&'static str> {
    Some(match tag {
        "a" => "text_link",
        "b" | "strong" => "bold",
        "i" | "em" => "italic",
        "s" | "strike" | "del" => "strikethrough",
        "u" | "ins" => "underline",
        "tg-spoiler" | "span" => "spoiler",
        "pre" => "pre",
        "code" => "code",
        "blockquote" => "blockquote",
        _ => return None,
    })
}

/// The character that a reference at the beginning stands for, and the bytes that it takes. What is
/// no reference of Telegram's is text.
fn reference(text: &str) -> Option<(char, usize)> {
    let inner = text.strip_prefix('&')?;
    let (c, bytes) = if let Some(number) = inner.strip_prefix('#') {
        let (digits, radix) = match number.strip_prefix('x') {
            Some(digits) => (digits, 16),
            None => (number, 10),
        };
        let end = digits
            .find(|c: char| !c.is_digit(radix))
            .unwrap_or(digits.len());
        let code = u32::from_str_radix(&digits[..end], radix).ok()?;
        let c = char::from_u32(code).filter(|c| *c != '\0')?;
        (c, text.len() - digits.len() + end)
    } else {
        let end = inner
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(inner.len());
        let c = match &inner[..end] {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            _ => return None,
        };
        (c, 1 + end)
    };
    let semicolon = usize::from(text[bytes..].starts_with(';'));
    Some((c, bytes + semicolon))
}

type Attributes = Vec<(String, String)>;

/// The attributes of a start tag, and what follows its `>`.
fn attributes<'a>(
    text: &'a str,
    tag: &str,
    at: usize,
) -> Result<(Attributes, &'a str), (usize, String)> {
    let unclosed = || refusal(at, &format!("Unclosed start tag at byte offset {at}"));
    let mut found = Attributes::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(behind) = rest.strip_prefix('>') {
            return Ok((found, behind));
        }
        let end = rest
            .find(|c: char| c.is_ascii_whitespace() || c == '=' || c == '>')
            .ok_or_else(unclosed)?;
        let name = rest[..end].to_ascii_lowercase();
        if name.is_empty() {
            let words = format!("Empty attribute name in the tag \"{tag}\" at byte offset {at}");
            return Err(refusal(at, &words));
        }
        rest = rest[end..].trim_start();
        let Some(value) = rest.strip_prefix('=') else {
            if tag == "blockquote" && name == "expandable" {
                found.push((name, String::new()));
                continue;
            }
            let words = format!(
                "Expected equal sign in declaration of an attribute of the tag \"{tag}\" at byte offset {at}"
            );
            return Err(refusal(at, &words));
        };
        let value = value.trim_start();
        let quote = value.chars().next().ok_or_else(unclosed)?;
        if quote == '"' || quote == '\'' {
            let end = value[1..].find(quote).ok_or_else(unclosed)?;
            found.push((name, decoded(&value[1..1 + end])));
            rest = value[end + 2..].trim_start();
        } else {
            let is_of_token = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            let end = value.find(|c| !is_of_token(c)).ok_or_else(unclosed)?;
            if !value[end..].starts_with(|c: char| c.is_ascii_whitespace() || c == '>') {
                let words = format!("Unexpected end of name token at byte offset {at}");
                return Err(refusal(at, &words));
            }
            found.push((name, value[..end].to_ascii_lowercase()));
            rest = value[end..].trim_start();
        }
    }
}

fn decoded(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some(c) = rest.chars().next() {
        let (c, bytes) = reference(rest).unwrap_or((c, c.len_utf8()));
        text.push(c);
        rest = &rest[bytes..];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(html: &str) -> String {
        let parsed = check(html).unwrap();
        let entities = parsed.entities.iter().map(|entity| {
            let (from, to) = (entity.offset, entity.offset + entity.length);
            format!(" {}[{from}..{to}]{}", entity.kind, entity.argument)
        });
        format!("{}|{}", parsed.text, entities.collect::<String>())
    }

    fn refused(html: &str) -> (usize, String) {
        let (at, words) = check(html).unwrap_err();
        let words = words.strip_prefix("can't parse entities: ").unwrap();
        (at, words.to_owned())
    }

    #[test]
    fn tags_are_read_as_telegram_reads_them() {
        assert_eq!(shown("a&lt;b&amp;&nbsp;&#65;&"), "a<b&&nbsp;A&|");
        assert_eq!(shown("😀<B>x</b>"), "😀x| bold[2..3]");
        assert_eq!(shown("<b>a<i>b</></b>"), "ab| italic[1..2] bold[0..2]");
        assert_eq!(
            shown("<a href=\"http://x.y/?a=1&amp;b=&quot;\">z</a>"),
            "z| text_link[0..1]http://x.y/?a=1&b=\""
        );
        assert_eq!(
            shown("<pre><code class=\"language-rust\">f\n</code></pre>"),
            "f\n| pre[0..2]rust"
        );
        assert_eq!(shown("<pre>f</pre><b></b>"), "f| pre[0..1]");
        assert_eq!(
            shown("<blockquote expandable>q <code>c</code></blockquote>"),
            "q c| code[2..3] expandable_blockquote[0..3]"
        );
        assert_eq!(
            shown("<span class='tg-spoiler'>s</span>"),
            "s| spoiler[0..1]"
        );
    }

    #[test]
    fn what_telegram_refuses_is_refused_in_its_words() {
        let cases = [
            (
                "ä<p>x</p>",
                2,
                "Unsupported start tag \"p\" at byte offset 2",
            ),
            ("1 < 2 >", 2, "Unsupported start tag \"\" at byte offset 2"),
            ("a<b", 1, "Unclosed start tag at byte offset 1"),
            ("<a href=\"x>", 0, "Unclosed start tag at byte offset 0"),
            ("x</b>", 1, "Unexpected end tag at byte offset 1"),
            ("<b>x</b", 4, "Unclosed end tag at byte offset 4"),
            (
                "<b>x",
                4,
                "Can't find end tag corresponding to start tag \"b\"",
            ),
            (
                "<b><i>x</b></i>",
                7,
                "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\"",
            ),
            (
                "<a href>x</a>",
                0,
                "Expected equal sign in declaration of an attribute of the tag \"a\" at byte offset 0",
            ),
            (
                "<span>x</span>",
                0,
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0",
            ),
            (
                "<code><b>x</b></code>",
                6,
                "Tag \"b\" can't be part of \"code\" at byte offset 6",
            ),
            (
                "<blockquote><blockquote>x</blockquote></blockquote>",
                12,
                "Tag \"blockquote\" can't be part of \"blockquote\" at byte offset 12",
            ),
            (
                "<pre>x<code>y</code></pre>",
                6,
                "Tag \"code\" can't be part of \"pre\" at byte offset 6",
            ),
        ];
        for (html, at, words) in cases {
            assert_eq!(refused(html), (at, words.to_owned()), "{html}");
        }
        assert_eq!(
            check(&"x".repeat(BYTES_MAX + 1)).unwrap_err().1,
            "text is too long"
        );
    }
}
