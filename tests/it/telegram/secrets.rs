//! The token is in no log, file, error or answer, whatever fails.

use crate::support::bot_api::{TOKEN_SECRET, Trouble};
use crate::support::server::eventually;
use crate::support::telegram::{BotBench, OPEN};

#[test]
fn the_token_is_nowhere_whatever_fails() {
    let mut bot = BotBench::echo(OPEN);
    // Everything that may be said is said.
    let config = bot.workspace.read("duragent.yaml");
    bot.workspace
        .config(&format!("{config}\nlogging: {{level: debug}}\n"));
    bot.start();
    let ann = bot.telegram.person(42, "Ann");
    let troubles = [
        Trouble::BadGateway,
        Trouble::Garbage,
        Trouble::Odd,
        Trouble::CutBefore,
        Trouble::HalfAnswer,
        Trouble::Refused(401, "Unauthorized"),
        Trouble::Refused(404, "Not Found"),
        Trouble::Refused(500, "Internal Server Error"),
        Trouble::Refused(409, "Conflict: terminated by other getUpdates request"),
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        for method in [
            "getUpdates",
            "sendMessage",
            "editMessageText",
            "sendChatAction",
        ] {
            bot.telegram.trouble(method, 1, trouble.clone());
        }
        let words = format!("message {number}");
        bot.telegram.says(&ann, &words);
        bot.telegram.wait_for_text(ann.id, &words);
        bot.telegram.no_more_trouble();
        nowhere(&bot);
    }
    bot.telegram.trouble("(download)", 1, Trouble::CutBefore);
    let photo = bot
        .telegram
        .message(ann.id, &ann)
        .photo(b"jpg")
        .caption("a photo");
    photo.send();
    bot.telegram.wait_for_words(ann.id, "a photo");
    bot.telegram.revoke(true);
    eventually("it is told", || {
        bot.readiness()
            .to_string()
            .contains("telegram")
            .then_some(())
    });
    nowhere(&bot);
    for command in [
        &["gateway", "list"][..],
        &["gateway", "outbox"],
        &["doctor"],
        &["serve", "status"],
    ] {
        let output = bot.workspace.command(command).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(TOKEN_SECRET), "{command:?}: {said}");
    }
    // Nobody is there any more.
    bot.stop();
    nowhere_on_disk(&bot);
}

fn nowhere(bot: &BotBench) {
    nowhere_on_disk(bot);
    for path in [
        "/readyz",
        "/healthz",
        "/api/v1/version",
        "/api/v1/sessions",
        "/api/admin/v1/gateways",
    ] {
        let said = bot.server().get(path).text();
        assert!(!said.contains(TOKEN_SECRET), "{path}: {said}");
    }
}

fn nowhere_on_disk(bot: &BotBench) {
    assert_eq!(bot.places_of(TOKEN_SECRET), [""; 0]);
}
