use super::*;

fn html(markdown: &str) -> String {
    let pieces = pieces(markdown, MESSAGE_UNITS_MAX);
    let contents: Vec<&str> = pieces.iter().map(|piece| &*piece.content).collect();
    contents.join("\n=====\n")
}

#[track_caller]
fn assert_shown(cases: &[(&str, &str)]) {
    for (markdown, expected) in cases {
        assert_eq!(html(markdown), *expected, "of {markdown}");
    }
}

#[test]
fn marks_in_a_line_become_tags() {
    assert_shown(&[
        (
            "a **b** *c* ~~d~~ `e`",
            "a <b>b</b> <i>c</i> <s>d</s> <code>e</code>",
        ),
        ("***a** b*", "<b><i>a</i></b><i> b</i>"),
        ("**a `b` c**", "<b>a </b><code>b</code><b> c</b>"),
        (
            "snake_case_name and 2 * 3 * 4",
            "snake_case_name and 2 * 3 * 4",
        ),
        (
            "a < b && c > \"d\"",
            "a &lt; b &amp;&amp; c &gt; &quot;d&quot;",
        ),
        ("\\*a\\* &copy; &amp;", "*a* © &amp;"),
        ("one\ntwo  \nthree", "one\ntwo\nthree"),
        (
            "<u>a</u> <b>b</b><br>c <tg-spoiler>d</tg-spoiler>",
            "<u>a</u> <b>b</b>\nc <tg-spoiler>d</tg-spoiler>",
        ),
        ("H<sub>2</sub>O <kbd>x</kbd>", "H2O <code>x</code>"),
        ("<B>a <i>b</B> c</i>", "<b>a &lt;i&gt;b</b> c&lt;/i&gt;"),
        (
            "<p>a</p> <!-- c -->",
            "&lt;p&gt;a&lt;/p&gt; &lt;!-- c --&gt;",
        ),
    ]);
}

#[test]
fn marks_that_are_not_closed_are_text() {
    assert_shown(&[
        ("**bold", "**bold"),
        ("a `code", "a `code"),
        ("[text](http://x.y", "[text](http://x.y"),
        ("[text", "[text"),
        ("<b>bold", "&lt;b&gt;bold"),
        ("<b>a\n\nb</b>", "&lt;b&gt;a\n\nb&lt;/b&gt;"),
        ("a <", "a &lt;"),
        (
            "```rust\nlet x",
            "<pre><code class=\"language-rust\">let x</code></pre>",
        ),
        ("| a | b |\n|--", "| a | b |\n|--"),
        ("- a\n- ", "• a"),
    ]);
}

#[test]
fn links_are_those_that_telegram_takes() {
    assert_shown(&[
        (
            "[a](https://b.c/?d=1&e=\"f\")",
            "<a href=\"https://b.c/?d=1&amp;e=&quot;f&quot;\">a</a>",
        ),
        (
            "[**a** `b`](http://c.d 'title')",
            "<a href=\"http://c.d\"><b>a</b> b</a>",
        ),
        (
            "![alt](http://c.d/e.png)",
            "<a href=\"http://c.d/e.png\">alt</a>",
        ),
        (
            "![](http://c.d/e.png)",
            "<a href=\"http://c.d/e.png\">http://c.d/e.png</a>",
        ),
        (
            "[![alt](http://c.d/e.png)](http://f.g)",
            "<a href=\"http://f.g\">alt</a>",
        ),
        (
            "[a](<http://b.c/d e>)",
            "<a href=\"http://b.c/d%20e\">a</a>",
        ),
        (
            "<http://a.b> <c@d.e>",
            "<a href=\"http://a.b\">http://a.b</a> c@d.e",
        ),
        (
            "[a](b.md) [c](javascript:d) [e](#f)",
            "a (b.md) c (javascript:d) e (#f)",
        ),
        ("[a](http://localhost/b)", "a (http://localhost/b)"),
        ("[a](mailto:b@c.d)", "a (mailto:b@c.d)"),
        ("[a](tg://user?id=1)", "<a href=\"tg://user?id=1\">a</a>"),
        (
            "[a][b] and [b]\n\n[b]: http://c.d\n[e]: http://f.g",
            "<a href=\"http://c.d\">a</a> and <a href=\"http://c.d\">[b]</a>\n\n[b]: http://c.d\n[e]: http://f.g",
        ),
    ]);
}

#[test]
fn blocks_stand_on_lines_of_their_own() {
    assert_shown(&[
        ("# A *b*\nc", "<b>A <i>b</i></b>\nc"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("a\n\n***\n\nb", "a\n\n———\n\nb"),
        (
            "- a\n- b\n  1. c\n  2. d\n     - e\n\n- f",
            "• a\n• b\n  1. c\n  2. d\n    • e\n\n• f",
        ),
        ("7. a\n8. b\n\n   c", "7. a\n8. b\n\n  c"),
        ("- [x] a\n- [ ] b\n1. [ ] c", "☑ a\n☐ b\n1. ☐ c"),
        ("- - a", "• \n  • a"),
        (
            "> a\n> b\n>\n> > c\n\nd",
            "<blockquote>a\nb\n\n&gt; c</blockquote>\n\nd",
        ),
        ("> ```\n> a\n> ```", "<blockquote><pre>a</pre></blockquote>"),
        ("    a\n\n      b", "<pre>a\n\n  b</pre>"),
        (
            "```c++ {.x}\na\n\n\nb\n```\nc",
            "<pre><code class=\"language-c++\">a\n\n\nb</code></pre>\nc",
        ),
        ("```\"><b>\n<a>\n```", "<pre>&lt;a&gt;</pre>"),
        (
            "<details>\na\n</details>",
            "&lt;details&gt;\na\n&lt;/details&gt;",
        ),
        ("a\r\n\r\n- b\r\n- c\r\n", "a\n\n• b\n• c"),
    ]);
}

#[test]
fn tables_have_columns() {
    assert_shown(&[
        (
            "a\n\n| b | cc |\n|:-:|--|\n| **ddd** | [e](http://f.g) |\n| 漢 | | h |",
            "a\n\n<pre>b   | cc\n----+----------------+--\nddd | e (http://f.g)\n漢  |                | h</pre>",
        ),
        ("| a |\n|---|\n| b<br>c |", "<pre>a\n---\nb c</pre>"),
    ]);
    let row = format!("| {} | b |\n", "a".repeat(40));
    let narrow = &pieces(&format!("{row}|---|---|\n| c | d |\n"), 64);
    let plain: Vec<&str> = narrow.iter().map(RenderedPiece::plain_text).collect();
    assert_eq!(
        plain,
        [&*format!("{} | b\nc | d", "a".repeat(40))],
        "no room to align them"
    );
}

#[test]
fn nothing_to_be_seen_is_no_message() {
    for markdown in [
        "",
        " \n\t\n",
        "****\u{200b}",
        "\u{200b}\u{feff}",
        "```\n```",
    ] {
        let shown = pieces(markdown, MESSAGE_UNITS_MAX);
        assert!(
            shown.iter().all(|piece| piece.content == "****\u{200b}"),
            "{shown:?}"
        );
    }
}

fn cut(markdown: &str, units_max: usize) -> Vec<String> {
    let pieces = pieces(markdown, units_max);
    pieces.into_iter().map(|piece| piece.content).collect()
}

#[test]
fn a_text_is_cut_at_a_paragraph_else_a_line_else_a_word_else_a_character() {
    let a = |times: usize| "a".repeat(times);
    assert_eq!(
        cut(&format!("{}\n\n{}\n{}", a(40), a(10), a(40)), 64),
        [a(40), format!("{}\n{}", a(10), a(40))]
    );
    assert_eq!(
        cut(&format!("{}\n\n{}\n{} b", a(10), a(30), a(40)), 64),
        [format!("{}\n\n{}\n", a(10), a(30)), format!("{} b", a(40))]
    );
    assert_eq!(
        cut(&format!("{} {}", a(50), a(50)), 64),
        [format!("{} ", a(50)), a(50)]
    );
    assert_eq!(cut(&a(100), 64), [a(64), a(36)]);
    assert_eq!(
        cut(&format!("# {}\n{}\n\n{}", a(40), a(8), a(40)), 64).len(),
        2
    );
    assert_eq!(
        cut(&format!("{}\n\n# Head\n{}", a(40), a(40)), 64),
        [a(40), format!("<b>Head</b>\n{}", a(40))],
        "a heading goes with what follows"
    );
}

#[test]
fn a_message_is_measured_in_units_of_utf_16_without_its_tags() {
    assert_eq!(
        cut(&"😀".repeat(33), 64),
        ["😀".repeat(32), "😀".to_owned()]
    );
    assert_eq!(cut(&"&".repeat(64), 64), ["&amp;".repeat(64)]);
    let family = "👩‍👩‍👧‍👦";
    assert_eq!(
        cut(&family.repeat(6), 64),
        [family.repeat(5), family.to_owned()],
        "11 units each"
    );
    let links = "- [a](https://example.com/a/long/way)\n".repeat(16);
    assert_eq!(
        cut(&links, 100).len(),
        1,
        "16 lines of 3 and a newline between"
    );
}

#[test]
fn what_is_open_at_a_cut_is_closed_and_begins_again() {
    assert_eq!(
        cut(
            &format!("> **{} [{}](http://x.y)**", "a".repeat(50), "b".repeat(40)),
            64
        ),
        [
            format!("<blockquote><b>{} </b></blockquote>", "a".repeat(50)),
            format!(
                "<blockquote><a href=\"http://x.y\"><b>{}</b></a></blockquote>",
                "b".repeat(40)
            ),
        ]
    );
    let line = "c".repeat(39);
    assert_eq!(
        cut(&format!("```py\n{line}\n\n  {line}\n```"), 64),
        [
            format!("<pre><code class=\"language-py\">{line}\n</code></pre>"),
            format!("<pre><code class=\"language-py\">  {line}</code></pre>"),
        ]
    );
}

#[test]
fn a_message_has_no_more_tags_and_bytes_than_telegram_reads() {
    let many = "`a` ".repeat(250);
    let tags: Vec<usize> = cut(&many, MESSAGE_UNITS_MAX)
        .iter()
        .map(|html| html.matches("<code>").count())
        .collect();
    assert_eq!(tags, [100, 100, 50]);
    let long = format!("[a](http://x.y/{}) ", "z".repeat(2000)).repeat(30);
    let pieces = cut(&long, MESSAGE_UNITS_MAX);
    assert!(pieces.iter().all(|html| html.len() <= 32 << 10));
    let links: usize = pieces
        .iter()
        .map(|html| html.matches("<a href").count())
        .sum();
    assert_eq!(links, 30);
    let too_long = format!("[a](http://x.y/{})", "z".repeat(3000));
    assert!(cut(&too_long, MESSAGE_UNITS_MAX)[0].starts_with("a (http://x.y/z"));
}

#[test]
fn where_a_link_leads_may_be_told_below_and_moves_no_cut() {
    let text = format!("{}\n\n{}", "[aaaaaaaaaa][r] ".repeat(3), "b".repeat(30));
    let before = pieces(&text, 64);
    let behind = pieces(&format!("{text}\n\n[r]: http://x.y"), 64);
    assert_eq!(before[1].content, "b".repeat(30));
    assert!(
        behind[1].content.starts_with(&before[1].content),
        "{behind:?}"
    );
    assert!(
        behind[0]
            .content
            .starts_with("<a href=\"http://x.y\">aaaaaaaaaa</a> ")
    );
}
