//! What people send beside text.

use serde_json::json;

use crate::support::bench::AgentFiles;
use crate::support::bot_api::{Person, Trouble};
use crate::support::fake_model::{FakeModel, stall};
use crate::support::server::write_program;
use crate::support::telegram::{BotBench, OPEN};

/// A bot, and one who writes to it.
fn bot() -> (BotBench, Person) {
    let bot = BotBench::asking(OPEN).serve();
    let ann = bot.telegram.person(42, "Ann");
    (bot, ann)
}

#[test]
fn photos_and_documents_become_attachments() {
    let (bot, ann) = bot();
    let message = || bot.telegram.message(ann.id, &ann);
    message()
        .photo(b"a true jpeg")
        .caption("what is this?")
        .send();
    bot.wait_for_turns(1);
    message()
        .document("notes.txt", "text/plain", b"buy milk")
        .send();
    bot.wait_for_turns(2);
    let said = bot.log_of_kind("user_message");
    assert_eq!(said[0]["content"], "what is this?");
    let attached = said.iter().map(|one| &one["attachments"][0]);
    let bytes: Vec<_> = attached.map(|one| one["bytes"].clone()).collect();
    assert_eq!(bytes, [json!(11), json!(8)], "{said:?}");
    let notes = &said[1]["attachments"][0];
    let names = [&notes["file"], &notes["name"]];
    assert!(names.iter().any(|name| **name == "notes.txt"), "{said:?}");
    assert_eq!(bot.places_of("a true jpeg").len(), 1);
}

#[test]
fn a_model_that_sees_is_shown_what_was_sent() {
    let bot = BotBench::of(FakeModel::start(), |model| {
        let url = model.url();
        let seeing = format!("{{provider: openai, name: gpt-4o, base_url: \"{url}\"}}");
        AgentFiles::of("ada", &seeing).spec(OPEN)
    });
    let bot = bot.serve();
    let ann = bot.telegram.person(42, "Ann");
    let message = || bot.telegram.message(ann.id, &ann);
    message()
        .photo(b"a true jpeg")
        .caption("what is this?")
        .send();
    message()
        .document("notes.txt", "text/plain", b"buy milk")
        .send();
    bot.wait_for_turns(2);
    let asked = bot.model.requests();
    let last = asked.last().unwrap();
    let photo = "\"image_url\":{\"url\":\"data:image/jpeg;base64,YSB0cnVlIGpwZWc=\"}";
    assert_eq!(last.text.matches(photo).count(), 1, "{}", last.text);
    let read = "[attached: notes.txt, text/plain, 8 bytes]\nbuy milk\n[end of notes.txt]";
    assert!(last.last_message().ends_with(read), "{}", last.text);
}

#[test]
fn an_album_is_one_message() {
    let (bot, ann) = bot();
    bot.telegram
        .album(ann.id, &ann, &[b"one", b"two", b"three"], "look at these");
    bot.wait_for_turns(1);
    bot.telegram.wait_until_confirmed();
    let said = bot.log_of_kind("user_message");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["attachments"].as_array().unwrap().len(), 3);
    let content = said[0]["content"].as_str().unwrap();
    assert_eq!(content.matches("look at these").count(), 1, "{content}");
    assert_eq!(bot.model.request_count(), 1);
}

#[test]
fn what_cannot_be_read_is_answered_with_a_sentence() {
    let (bot, ann) = bot();
    let message = || bot.telegram.message(ann.id, &ann);
    let drafts = [
        message().voice(b"ogg"),
        message().sticker("\u{1f600}"),
        message().poll("Tea?"),
        message().location(48.2, 16.4),
        message().contact("Bob", "+43 1"),
        message().game("Chess"),
        message().field("dice", json!({"emoji": "\u{1f3b2}", "value": 3})),
    ];
    for (count, draft) in (1..).zip(drafts) {
        draft.send();
        let said = bot.telegram.wait_for_messages(ann.id, count);
        assert!(said[count - 1].text.len() > 10, "{said:?}");
    }
    assert_eq!(bot.model.request_count(), 0);
}

#[test]
fn a_file_that_is_too_large_or_does_not_come_is_told_and_its_caption_kept() {
    let (bot, ann) = bot();
    let message = || bot.telegram.message(ann.id, &ann);
    message()
        .document_of_size("film.mp4", "video/mp4", b"", 30 << 20)
        .caption("my film")
        .send();
    bot.wait_for_turns(1);
    assert!(bot.last_question().contains("my film"));
    bot.telegram.trouble(
        "getFile",
        10,
        Trouble::Refused(400, "Bad Request: wrong file_id"),
    );
    message()
        .document("a.txt", "text/plain", b"a")
        .caption("my text")
        .send();
    bot.wait_for_turns(2);
    assert!(bot.last_question().contains("my text"));
}

#[test]
fn an_edit_replaces_what_no_turn_has_seen_and_is_told_of_later() {
    let (bot, ann) = bot();
    bot.model.reply(stall());
    bot.telegram.says(&ann, "first");
    bot.model.wait_for_stalls(1);
    let second = bot.telegram.says(&ann, "secnd");
    bot.wait_for_log("user_message", 2);
    bot.telegram.edits(ann.id, second.message, "second");
    bot.wait_for_log("message_dropped", 1);
    bot.model.release();
    bot.telegram.wait_for_text(ann.id, "ok");
    bot.wait_for_turns(1);
    let asked = bot.model.requests();
    assert!(asked.last().unwrap().text.contains("second"));
    assert!(!asked.last().unwrap().text.contains("secnd"));
    // A turn has seen this one.
    bot.telegram.edits(ann.id, second.message, "third");
    bot.telegram.wait_until_confirmed();
    let count = bot.model.request_count();
    bot.telegram.says(&ann, "and now?");
    bot.wait_for_turns(2);
    assert_eq!(
        bot.model.request_count(),
        count + 1,
        "an edit begins no turn"
    );
    assert!(
        bot.last_question().contains("edited: third"),
        "{}",
        bot.last_question()
    );
}

#[test]
fn forwards_and_quotes_are_told_in_a_line_before_the_text() {
    let (bot, ann) = bot();
    let bob = bot.telegram.person(43, "Bob");
    let message = || bot.telegram.message(ann.id, &ann);
    message()
        .text("the words of Bob")
        .forwarded_from(&bob)
        .send();
    bot.wait_for_turns(1);
    let asked = bot.last_question();
    assert!(asked.contains("forwarded from Bob"), "{asked}");
    assert!(asked.ends_with("the words of Bob"), "{asked}");
    message()
        .text("hidden words")
        .forwarded_from_hidden("Somebody")
        .send();
    bot.wait_for_turns(2);
    assert!(bot.last_question().contains("forwarded from Somebody"));
    message()
        .text("news")
        .forwarded_from_channel("The News")
        .send();
    bot.wait_for_turns(3);
    assert!(bot.last_question().contains("forwarded from The News"));
    // A command in what somebody else wrote is none.
    message().text("/reset").forwarded_from(&bob).send();
    bot.wait_for_turns(4);
    assert_eq!(bot.log_of_kind("session_end").len(), 0);
    let long = "q".repeat(700);
    let told = bot.telegram.says(&ann, &long);
    bot.wait_for_turns(5);
    message().text("what I meant").reply_to(told.message).send();
    bot.wait_for_turns(6);
    let asked = bot.last_question();
    assert!(
        asked.contains(&format!("\u{ab}{}", "q".repeat(500))),
        "{asked}"
    );
    assert!(!asked.contains(&"q".repeat(501)), "{asked}");
    message()
        .text("this part")
        .reply_to(told.message)
        .quote("qqq")
        .send();
    bot.wait_for_turns(7);
    assert!(
        bot.last_question().contains("\u{ab}qqq\u{bb}"),
        "{}",
        bot.last_question()
    );
}

#[test]
fn a_spoken_message_is_what_the_owners_program_hears() {
    let mut bot = BotBench::asking(OPEN);
    let hear = "#!/bin/sh\ncat \"$1\"\nif grep -q mumble \"$1\"; then exit 1; fi\n";
    write_program(&bot.workspace.file("hear"), hear);
    let config = bot.workspace.read("duragent.yaml");
    let config = config.replace("gateways: {", "gateways: {transcribe: ./hear, ");
    bot.workspace.config(&config);
    bot.start();
    let ann = bot.telegram.person(42, "Ann");
    let message = || bot.telegram.message(ann.id, &ann);
    message().voice(b"turn on the light").send();
    bot.wait_for_turns(1);
    assert!(bot.last_question().contains("turn on the light"));
    // What it does not hear is told, and no turn begins.
    message().voice(b"mumble mumble").send();
    bot.telegram.wait_for_messages(ann.id, 2);
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.model.request_count(), 1);
}
