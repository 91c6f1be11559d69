//! Markdown as Telegram takes it, whatever the Markdown: every message is read as Telegram reads it.

use duragent::gateway::outlet::RenderedPiece;
use duragent::gateway::telegram::markup::{MESSAGE_UNITS_MAX, pieces};
use proptest::prelude::*;

use crate::support::bot_api::html::{ENTITIES_MAX, check};

/// The messages of a text, each looked at as Telegram looks at it.
fn accepted(markdown: &str, units_max: usize) -> Vec<RenderedPiece> {
    let pieces = pieces(markdown, units_max);
    for piece in &pieces {
        let parsed = match check(&piece.content) {
            Ok(parsed) => parsed,
            Err((at, error)) => panic!("{error} ({at}): {}\nof {markdown:?}", piece.content),
        };
        assert_eq!(parsed.text, piece.plain_text(), "of {markdown:?}");
        let units = parsed.utf16_len;
        assert!(
            units <= units_max,
            "{units} units: {piece:?}\nof {markdown:?}"
        );
        assert!(parsed.entities.len() <= ENTITIES_MAX, "of {markdown:?}");
        assert!(!parsed.text.trim().is_empty(), "of {markdown:?}");
    }
    pieces
}

/// What is to be seen of pieces; the lines and spaces that align a table are not looked at, and nothing that
/// has no shape: a message of nothing else is not sent.
fn shown(pieces: &[RenderedPiece]) -> String {
    let is_seen = |c: &char| !c.is_whitespace() && !"-+|\u{200b}\u{1}".contains(*c);
    let text = pieces.iter().flat_map(|piece| piece.plain_text().chars());
    text.filter(is_seen).collect()
}

/// A piece of what a model may write, and much that it never would.
fn fragment() -> impl Strategy<Value = String> {
    let inline = prop::sample::select(vec![
        "**",
        "*",
        "_",
        "__",
        "~~",
        "`",
        "``",
        "[",
        "](",
        ")",
        "![",
        "](http://x.y/z)",
        "<b>",
        "</b>",
        "<i>",
        "</i>",
        "<u>",
        "</u>",
        "<code>",
        "</code>",
        "<br>",
        "<tg-spoiler>",
        "</tg-spoiler>",
        "<div>",
        "<!--",
        "-->",
        "<",
        ">",
        "&",
        "&amp;",
        "&lt;",
        "&ngE;",
        "&#x1F600;",
        "\\",
        "\\*",
        "|",
        "https://a.b/c?d=e&f=\"g\"",
        "<https://q.r>",
        "[l](http://x.y)",
        "[l](x.md 'title')",
        "[r][ref]",
        "[ref]",
        "\"",
        "'",
        "$x$",
        "😀",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "e\u{301}",
        "漢字",
        "\u{202e}",
        "\u{200b}",
        "\0",
        "\u{1}",
        "\t",
        "\u{a0}",
        "ﷺ",
        "||",
        "~",
        "#",
        "{.a}",
    ]);
    let block = prop::sample::select(vec![
        "\n",
        "\n\n",
        "\n\n\n",
        "\r\n",
        "\n- ",
        "\n* ",
        "\n  - ",
        "\n      + ",
        "\n1. ",
        "\n   7) ",
        "\n- [ ] ",
        "\n- [x] ",
        "\n> ",
        "\n> > ",
        "\n>\n",
        "\n# ",
        "\n###### ",
        "\n---\n",
        "\n===\n",
        "\n***\n",
        "\n```\n",
        "\n```rust\n",
        "\n~~~\n",
        "\n````x\"y<z\n",
        "\n    ",
        "\n\n    code",
        "\n| a | b |\n|---|:-:|\n| c | d | e |\n",
        "\n|x\n",
        "\n|-\n",
        "\n[ref]: http://r.ef/x\n",
        "\n[ref]: <> 'x'\n",
        "\n<details>\n",
        "\n</details>\n",
        "\n<script>\n",
        "  \n",
        "\\\n",
    ]);
    prop_oneof![
        5 => "[a-zA-Z]{1,9} ",
        3 => inline.prop_map(str::to_owned),
        2 => block.prop_map(str::to_owned),
        1 => "[ -~]{1,12}",
        1 => "\\PC{1,5}",
    ]
}

fn markdown(fragments: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(fragment(), 0..fragments).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_message_of_every_text_is_accepted_and_nothing_is_left_out(
        markdown in markdown(250),
        units_max in prop_oneof![Just(64usize), 64..600usize, Just(MESSAGE_UNITS_MAX)],
    ) {
        let in_few = accepted(&markdown, 1 << 20);
        let in_many = accepted(&markdown, units_max);
        prop_assert_eq!(shown(&in_few), shown(&in_many));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_beginning_of_a_text_is_accepted(markdown in markdown(30)) {
        for (end, _) in markdown.char_indices() {
            accepted(&markdown[..end], 64);
        }
    }
}

/// All that a model writes in earnest, in numbered words. Marks are around so many words.
fn long_text(marked: usize) -> String {
    let mut markdown = String::new();
    for part in 0..3 {
        let mut next = 0;
        let mut words = |count: usize| -> String {
            let words = (next..next + count).map(|word| format!("w{part}x{word}"));
            next += count;
            words.collect::<Vec<_>>().join(" ")
        };
        let [
            lead,
            bold,
            text,
            code,
            line,
            item,
            italic,
            first,
            quote,
            below,
            cell,
            strong,
        ] = [20, marked, marked, marked, 10, 9, marked, 12, 3, 9, 2, 1].map(&mut words);
        let url = format!("https://example.com/{}", "long/".repeat(9));
        markdown += &format!(
            "## Part **{part}**\n\n{lead} with **{bold}** and [{text}]({url}) and `{code}`.\n{line}\n\n- {item}\n\
             - *{italic}*:\n  1. {first}\n  2. [x](http://x.y)\n\n> {quote}\n> {below}\n\n\
             ```python\ndef f():\n\n    return \"{line}\"\n```\n\n\
             | a | b |\n|---|---|\n| {cell} | 1 |\n| 2 | **{strong}** |\n\n",
        );
    }
    markdown
}

fn words(piece: &RenderedPiece) -> Vec<&str> {
    piece
        .plain_text()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.starts_with('w'))
        .collect()
}

#[test]
fn of_a_text_that_goes_on_only_the_last_message_changes() {
    let markdown = long_text(1);
    for units_max in [150, 400] {
        let mut before: Vec<RenderedPiece> = Vec::new();
        for (end, _) in markdown.char_indices() {
            let now = pieces(&markdown[..end], units_max);
            let settled = before.len().saturating_sub(1);
            assert_eq!(
                before[..settled],
                now[..settled.min(now.len())],
                "up to {end}"
            );
            before = now;
        }
        assert!(before.len() > 3);
    }
}

#[test]
fn of_a_text_that_goes_on_the_cuts_stay_where_they_were_even_inside_marks() {
    let markdown = long_text(15);
    for units_max in [150, 400] {
        let mut before: Vec<RenderedPiece> = Vec::new();
        for (end, _) in markdown.char_indices() {
            let now = pieces(&markdown[..end], units_max);
            let settled = before.len().saturating_sub(1);
            for (one, other) in before[..settled].iter().zip(&now) {
                assert_eq!(words(one), words(other), "up to {end}");
            }
            assert!(now.len() >= before.len(), "up to {end}");
            before = now;
        }
    }
}
