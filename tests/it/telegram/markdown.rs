//! Whatever a model writes is taken: no tag is refused, and no text is too long.

use fastrand::Rng;

use crate::support::fake_model::text;
use crate::support::telegram::{BotBench, OPEN};

const PIECES: &[&str] = &[
    "word ",
    "two words ",
    "**bold** ",
    "*it* ",
    "_it_ ",
    "__b__ ",
    "~~gone~~ ",
    "`code` ",
    "``a ` b`` ",
    "\n",
    "\n\n",
    "# Heading\n",
    "### Third\n\n",
    "- item\n",
    "  - inner\n",
    "1. one\n",
    "10) ten\n",
    "- [ ] to do\n",
    "- [x] done\n",
    "> quoted\n",
    "> > twice\n",
    "```rust\nlet x = 1 < 2;\n```\n",
    "```\nopen ",
    "```",
    "~~~\n",
    "    indented\n",
    "[link](https://example.org/a?b=1&c=2) ",
    "[bad](javascript:alert(1)) ",
    "[half](http",
    "![image](https://example.org/i.png) ",
    "<b>html</b> ",
    "<script>x</script> ",
    "<!-- no --> ",
    "a < b > c & d ",
    "&lt;&amp;&nbsp; ",
    "&#60; ",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n",
    "---\n",
    "***\n",
    "\u{1f600} ",
    "\u{1f468}\u{200d}\u{1f469} ",
    "\u{5d0}\u{5d1} ",
    "\\*no\\* ",
    "\\\n",
    "**",
    "*",
    "_",
    "`",
    "[",
    "](",
    "<",
    ">",
    "|",
    "\t",
    "~~",
    "||x|| ",
    "https://example.org/x_y_z ",
    "[ref]: https://example.org\n",
    "[ref] ",
    "[^1] ",
    "[^1]: note\n",
];

fn random_markdown(rng: &mut Rng) -> String {
    let count = if rng.usize(..10) == 0 {
        2_000
    } else {
        rng.usize(1..60)
    };
    let pieces = (0..count).map(|_| *rng.choice(PIECES).unwrap());
    // A text of blanks alone is no reply.
    format!("{}.", pieces.collect::<String>())
}

#[test]
fn sixty_random_texts_are_taken() {
    all_are_taken(60, 1);
}

#[test]
#[ignore = "half a minute: at the pace that Telegram allows"]
fn five_hundred_random_texts_are_taken() {
    all_are_taken(500, fastrand::u64(..1 << 32));
}

/// Dropping the bench fails the test if anything was refused.
fn all_are_taken(count: usize, seed: u64) {
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let bot = BotBench::asking(OPEN).serve();
    for number in 0..count {
        bot.model.reply(text(&random_markdown(&mut rng)));
        let person = bot.telegram.person(1_000 + number as i64, "Ann");
        bot.telegram.says(&person, "write");
    }
    bot.wait_for_turns(count);
    for number in 0..count {
        let chat = 1_000 + number as i64;
        bot.telegram.wait_for_messages(chat, 1);
    }
    let refused = bot
        .telegram
        .calls()
        .into_iter()
        .filter(|call| call.status == Some(400));
    // That an edit changes nothing is no fault.
    let refused: Vec<_> = refused
        .filter(|call| !call.answer.to_string().contains("is not modified"))
        .collect();
    assert!(refused.is_empty(), "seed {seed}: {refused:#?}");
}
