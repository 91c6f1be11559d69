use std::cell::Cell;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

const PLENTY: usize = 1 << 20;

fn markdown(html: &str) -> String {
    let base = Url::parse("https://example.org/docs/page.html").unwrap();
    convert(html, Some(&base), PLENTY).text
}

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (html, expected) in cases {
        assert_eq!(markdown(html), *expected, "{html}");
    }
}

#[test]
fn text_is_collapsed_and_its_entities_are_decoded() {
    check(&[
        ("", ""),
        (" \n ", ""),
        ("a  b\n\tc", "a b c"),
        ("a&nbsp;&amp;&lt;b&gt; &eacute;&#8364;&#x41;", "a &<b> é€A"),
        ("<p>one</p>\n<p>two</p>", "one\n\ntwo"),
        ("<div>one</div><div>two</div>", "one\ntwo"),
        ("one<br>two<br><br>three", "one\ntwo\n\nthree"),
        ("a<hr>b", "a\n\n---\n\nb"),
        ("a<!-- no -->b", "ab"),
        ("soft\u{ad}hyphen \u{200b} x\u{202e}y", "softhyphen xy"),
        ("<unknown>a</unknown><p/>b", "a\n\nb"),
        ("</p></ul></li></b></table>a", "a"),
    ]);
}

#[test]
fn what_holds_nothing_to_read_is_left_out() {
    check(&[
        ("a<script>if (1 < 2) '</p>'</script>b", "ab"),
        ("a<style>p {}</style>b<noscript>no</noscript>c", "abc"),
        ("a<template><p>no</p></template>b", "ab"),
        ("a<svg><title>no</title><svg></svg>no</svg>b<svg/>c", "abc"),
        ("a<iframe>no</iframe>b", "ab"),
        ("a<script>never closed <p>b", "a"),
    ]);
}

#[test]
fn headings_and_marks() {
    check(&[
        (
            "<h1>One</h1>text<h6>Six</h6>",
            "# One\n\ntext\n\n###### Six",
        ),
        ("<h2>a<br>b</h2>", "## a b"),
        ("<h2><div>a</div></h2><p>b", "## a\n\nb"),
        ("<h2>a<p>b", "## a\n\nb"),
        ("<h2></h2>a", "a"),
        ("<b>a</b> <em>b</em> <del>c</del>", "**a** *b* ~~c~~"),
        ("<b> a </b>b", "**a** b"),
        ("a<b></b>b<i> </i>c", "ab c"),
        ("<b>a<i>b</b>c</i>", "**a*b****c*"),
        ("<b><b>a</b>b</b>c", "**ab**c"),
        ("<b>a<p>b</b>c", "**a**\n\n**b**c"),
        ("<code>a  *b*</code>", "`a *b*`"),
        ("<code>a`b</code>", "`` a`b ``"),
        ("<code>a<b>b</b></code>", "`ab`"),
    ]);
}

#[test]
fn links_are_absolute_and_pictures_are_their_words() {
    check(&[
        (
            "<a href=other.html>x</a>",
            "[x](https://example.org/docs/other.html)",
        ),
        (
            "<a href='/a b?q=(1)'>x</a>",
            "[x](https://example.org/a%20b?q=%281%29)",
        ),
        ("<a href=//b.org>x</a>", "[x](https://b.org/)"),
        ("<a href=#here>x</a>", "x"),
        ("<a href='javascript:alert(1)'>x</a>", "x"),
        ("<a href='data:text/html,x'>x</a>", "x"),
        ("<a href=mailto:a@b.c>x</a>", "[x](mailto:a@b.c)"),
        ("<a href=/></a>a<a>b</a>", "ab"),
        (
            "<a href=/a>a<a href=/b>b</a>",
            "[a](https://example.org/a)[b](https://example.org/b)",
        ),
        ("<a href=/ href=/no>a</a>", "[a](https://example.org/)"),
        (
            "<a href=/><b>a</b> b</a>",
            "[**a** b](https://example.org/)",
        ),
        (
            "<b>a <a href=/>b</b> c</a>",
            "**a [b](https://example.org/)** [c](https://example.org/)",
        ),
        (
            "<code><a href=/>a</a></code>",
            "[`a`](https://example.org/)",
        ),
        (
            "<a href=/><div>a</div><div>b</div></a>",
            "[a](https://example.org/)\n[b](https://example.org/)",
        ),
        (
            "<a href=/><img alt='a picture' src=x></a><img src=y>",
            "[a picture](https://example.org/)",
        ),
        (
            "<base href=https://b.org/x/><a href=y>a</a>",
            "[a](https://b.org/x/y)",
        ),
    ]);
    let without_base = convert("<a href=/x>a</a> <a href=https://b.org>b</a>", None, PLENTY);
    assert_eq!(without_base.text, "a [b](https://b.org/)");
}

#[test]
fn lists_and_quotes_stand_in_one_another() {
    check(&[
        ("<ul><li>a</li><li>b</li></ul>c", "- a\n- b\n\nc"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("<ol start=9><li>a<li>b</ol>", "9. a\n10. b"),
        (
            "x<ul><li>a<ul><li>b<ol><li>c</ol></ul><li>d</ul>",
            "x\n\n- a\n  - b\n    1. c\n- d",
        ),
        (
            "<ul><li><p>a</p><p>b</p></li><li><p>c</p></li></ul>",
            "- a\n\n  b\n- c",
        ),
        ("<ul><li></li><li>a</li></ul>", "- a"),
        ("<li>a", "- a"),
        (
            "<blockquote><p>a</p><p>b</p></blockquote>c",
            "> a\n>\n> b\n\nc",
        ),
        (
            "a<blockquote>b<blockquote>c</blockquote></blockquote>",
            "a\n\n> b\n>\n> > c",
        ),
        ("<ul><li>a<blockquote>b</blockquote></ul>", "- a\n\n  > b"),
        ("<dl><dt>a</dt><dd>b</dd></dl>", "a\nb"),
    ]);
}

#[test]
fn code_keeps_its_lines() {
    check(&[
        ("<pre>\na\n  b\n</pre>c", "```\na\n  b\n```\n\nc"),
        (
            "<pre><code class='x language-rust'>fn a() {}</code></pre><code>b</code>",
            "```rust\nfn a() {}\n```\n\n`b`",
        ),
        ("<pre>a<b>b</b>&lt;<br>c</pre>", "```\nab<\nc\n```"),
        ("<pre>```</pre>", "````\n```\n````"),
        ("<ul><li><pre>a\nb</pre></ul>", "- ```\n  a\n  b\n  ```"),
        ("<pre>\n\n</pre>a", "a"),
        ("<pre><code>a</pre>b", "```\na\n```\n\nb"),
        ("<pre>never closed", "```\nnever closed\n```"),
    ]);
}

#[test]
fn tables_are_rows() {
    check(&[
        (
            "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>x|y</td></tr></table>c",
            "| a | b |\n|---|---|\n| 1 | x\\|y |\n\nc",
        ),
        (
            "<table><tr><td>a<td><td>c<tr><td><td>b</table>",
            "| a | | c |\n| | b |",
        ),
        (
            "<table><tr><td> <p>a</p> <p>b</p> </td></tr></table>",
            "| a b |",
        ),
        (
            "<table><tr><td><ul><li>a<li><b>b</b></ul><td>c</table>",
            "| a **b** | c |",
        ),
        (
            "<table> <tr> <td> </td> </tr> <tr> <td>a</td> </tr> </table>",
            "| a |",
        ),
        (
            "<table><tr><td><table><tr><td>a</table><tr><td>b</table>",
            "| a |\n| b |",
        ),
        (
            "<ul><li>x<table><tr><td>a<tr><td>b</table></ul>",
            "- x\n\n  | a |\n  | b |",
        ),
        ("<td>a</td><td>b</td>", "a b"),
    ]);
}

#[test]
fn the_title_is_told_apart_from_the_text() {
    let page = convert(
        "<title> A &amp;\n b </title><title>no</title><h1>c</h1>",
        None,
        PLENTY,
    );
    assert_eq!(
        page,
        Markdown {
            title: "A & b".to_owned(),
            text: "no\n\n# c".to_owned(),
            is_cut: false
        }
    );
}

#[test]
fn a_text_that_is_too_long_is_cut_at_a_letter() {
    let page = convert("<p>äöü äöü</p>", None, 9);
    assert_eq!((page.text.as_str(), page.is_cut), ("äöü ä", true));
    let page = convert(&format!("<pre>{}</pre>", "a\n".repeat(100)), None, 9);
    assert_eq!((page.text.as_str(), page.is_cut), ("```\na\na\na", true));
}

/// Counts what the tokenizer asks of it.
struct Counting<'a> {
    bytes: &'a [u8],
    at: usize,
    count: &'a Cell<usize>,
}

impl html5gum::Reader for Counting<'_> {
    type Error = Infallible;

    fn read_byte(&mut self) -> Result<Option<u8>, Infallible> {
        self.count.set(self.count.get() + 1);
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        Ok(byte)
    }

    fn try_read_string(&mut self, wanted: &[u8], case_sensitive: bool) -> Result<bool, Infallible> {
        self.count.set(self.count.get() + wanted.len());
        let next = self.bytes[self.at..].get(..wanted.len());
        let is_next = next.is_some_and(|next| {
            if case_sensitive {
                next == wanted
            } else {
                next.eq_ignore_ascii_case(wanted)
            }
        });
        self.at += if is_next { wanted.len() } else { 0 };
        Ok(is_next)
    }
}

#[test]
fn the_work_is_in_proportion_to_the_page_whatever_it_opens_and_never_closes() {
    const BYTES: usize = 256 << 10;
    for piece in [
        "<div>",
        "<ul><li>",
        "<ol><li>x",
        "<b>",
        "<b><i>x<p>",
        "<a href=x>",
        "<a href=/>x",
        "<pre>",
        "<pre>`",
        "<code>`",
        "</ul>",
        "<ul></ol>",
        "<blockquote>",
        "<blockquote>x",
        "<table><tr><td>",
        "<td>x",
        "<table>x",
        "<svg>",
        "<template>",
        "<h1>",
        "<x a=b ",
        "<x a='",
        "&amp",
        "&",
        "&#",
        "<!--",
        "<",
        "</",
        "<![CDATA[",
        "`",
        "x ",
        " ",
        "<title>",
        "<textarea>",
        "<script>",
        "\u{0}",
        "<br>",
        "</p>",
        "<base href=/x/>",
        "<p title=\"xxxxxxxxxxxxxxxxxxx",
    ] {
        let html = piece.repeat(BYTES / piece.len());
        let count = Cell::new(0);
        let base = Url::parse("https://example.org/").unwrap();
        let mut reader = PageReader::new(Some(&base), BYTES);
        let counting = Counting {
            bytes: html.as_bytes(),
            at: 0,
            count: &count,
        };
        feed(counting, &mut reader);
        // An entity may be any of some hundred names.
        assert!(count.get() <= 20 * BYTES, "{piece}: {} bytes", count.get());
        assert!(reader.page.remembered() <= 21, "{piece}");
        assert!(reader.finish().text.len() <= BYTES, "{piece}");
    }
}

/// What pages are made of, in no order that makes sense.
const PIECES: [&str; 56] = [
    "<a href=x>",
    "<a href='//['>",
    "<a href='(`|'>",
    "</a>",
    "<b>",
    "</b>",
    "<em>",
    "</em>",
    "<s>",
    "</s>",
    "<code>",
    "<code class=lang-x>",
    "</code>",
    "<pre>",
    "</pre>",
    "<table>",
    "</table>",
    "<tr>",
    "</tr>",
    "<td>",
    "<th>",
    "</td>",
    "<ul>",
    "</ul>",
    "<ol start=4294967295>",
    "</ol>",
    "<li>",
    "</li>",
    "<h1>",
    "</h1>",
    "<p>",
    "</p>",
    "<br>",
    "<hr>",
    "<blockquote>",
    "</blockquote>",
    "<svg>",
    "<svg/>",
    "</svg>",
    "<title>",
    "</title>",
    "<img alt='a`|b'>",
    "<base href='mailto:a'>",
    "<base href=//x>",
    "<script>",
    "</script>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "&nbsp;",
    "&#0;",
    "``` ",
    "|",
    " \n",
    "ä\u{200b}x",
];

proptest! {
    #[test]
    fn no_page_is_too_much(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..80),
        bytes_max in 0_usize..200,
    ) {
        let base = Url::parse("https://example.org/").unwrap();
        let page = convert(&pieces.concat(), Some(&base), bytes_max);
        prop_assert!(page.text.len() <= bytes_max);
    }
}
