//! Files of messages on their way to models: shown to those that see, read to all, told of otherwise.

use std::fs;

use serde_json::{Value, json};

use super::{brought, say_with};
use crate::support::bench::{AgentFiles, Bench, Served};
use crate::support::fake_model::{Asked, FakeModel, error, text};
use crate::support::server::Launch;

/// The beginning of a picture of that size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        &sides[..],
        b"\x08\x02\0\0\0rest",
    ]
    .concat()
}

const PDF: &[u8] = b"%PDF-1.7 paper";

/// What `png(2, 1)` is in base64.
const PNG_TEXT: &str = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAByZXN0";
const PDF_TEXT: &str = "JVBERi0xLjcgcGFwZXI=";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    OpenAi,
    Anthropic,
}

/// An agent whose model is asked in that dialect.
fn agent(model: &FakeModel, dialect: Spoken, more: &str) -> AgentFiles {
    let url = model.url();
    let (provider, name) = match dialect {
        Spoken::OpenAi => ("openai", "fake"),
        Spoken::Anthropic => ("anthropic", "fake"),
    };
    let model = format!("{{provider: {provider}, name: {name}, base_url: \"{url}\"{more}}}");
    AgentFiles::of("ada", &model).continues()
}

fn serve(model: &FakeModel, dialect: Spoken, more: &str) -> (Served, String) {
    let server = Bench::new().agent(agent(model, dialect, more)).serve();
    let session = server.create_session("ada");
    (server, session)
}

/// The content of the last message.
fn content(asked: &Asked) -> Value {
    asked.messages().last().unwrap()["content"].clone()
}

/// The list of messages byte for byte, without its end and without the marks that move.
fn messages_text(asked: &Asked) -> String {
    let start = asked.text.find("\"messages\":[").unwrap();
    let end = start + asked.text[start..].find("],\"").unwrap();
    let mark = r#","cache_control":{"type":"ephemeral"}"#;
    asked.text[start..end].replace(mark, "")
}

#[test]
fn a_model_that_sees_is_sent_files_as_they_are_and_the_next_request_begins_with_the_same_bytes() {
    for dialect in [Spoken::OpenAi, Spoken::Anthropic] {
        let model = FakeModel::start();
        model.default_reply(text("I see."));
        let (server, session) = serve(&model, dialect, ", input: [text, image, pdf]");
        // What it is, its bytes tell.
        let picture = brought(&server, &session, "image/jpeg", &png(2, 1));
        let paper = brought(&server, &session, "application/pdf", PDF);
        let notes = brought(&server, &session, "text/plain", b"some notes");
        let files = json!([
            {"file": picture, "name": "cat.png"},
            {"file": notes, "name": "notes.txt"},
            {"file": paper, "name": "paper.pdf"},
        ]);
        let body = json!({"content": "look", "attachments": files});
        assert_eq!(say_with(&server, &session, &body).status, 200);
        let alone = json!({"attachments": [{"file": picture}]});
        assert_eq!(say_with(&server, &session, &alone).status, 200);
        assert_eq!(server.say(&session, "and?").status, 200);
        let asked = model.requests();
        let words =
            "look\n\n[attached: notes.txt, text/plain, 10 bytes]\nsome notes\n[end of notes.txt]";
        let said = |text: &str| json!({"type": "text", "text": text});
        let source =
            |mime: &str, data: &str| json!({"type": "base64", "media_type": mime, "data": data});
        let url = |mime: &str, data: &str| format!("data:{mime};base64,{data}");
        let (expected, picture_alone) = match dialect {
            Spoken::OpenAi => {
                let image = json!({
                    "type": "image_url", "image_url": {"url": url("image/png", PNG_TEXT)},
                });
                let file = json!({"type": "file", "file": {
                    "filename": "paper.pdf", "file_data": url("application/pdf", PDF_TEXT),
                }});
                let parts = json!([
                    said(words),
                    said("cat.png:"),
                    image,
                    said("paper.pdf:"),
                    file
                ]);
                (parts, json!([image]))
            }
            Spoken::Anthropic => {
                let image = json!({"type": "image", "source": source("image/png", PNG_TEXT)});
                let file = json!({
                    "type": "document", "source": source("application/pdf", PDF_TEXT),
                    "title": "paper.pdf",
                });
                let mut last = said(words);
                last["cache_control"] = json!({"type": "ephemeral"});
                let mut alone = image.clone();
                alone["cache_control"] = json!({"type": "ephemeral"});
                let parts = json!([said("cat.png:"), image, said("paper.pdf:"), file, last]);
                (parts, json!([alone]))
            }
        };
        assert_eq!(content(&asked[0]), expected, "{dialect:?}");
        assert_eq!(content(&asked[1]), picture_alone, "{dialect:?}");
        for pair in asked.windows(2) {
            let (before, now) = (messages_text(&pair[0]), messages_text(&pair[1]));
            assert!(now.starts_with(&before), "{before}\n{now}");
        }
        // A picture's size is kept with it.
        let log = server.workspace.log_of(&session);
        let stored = log.iter().find(|line| line["type"] == "user_message");
        let stored = &stored.unwrap()["attachments"];
        assert_eq!(
            (&stored[0]["width"], &stored[0]["height"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(stored[1].get("width"), None);
    }
}

#[test]
fn a_model_that_does_not_see_is_told_and_reads_texts() {
    for dialect in [Spoken::OpenAi, Spoken::Anthropic] {
        let model = FakeModel::start();
        let (server, session) = serve(&model, dialect, ", input: [text]");
        let picture = brought(&server, &session, "image/png", &png(2, 1));
        let code = brought(&server, &session, "text/x-rust", b"fn main() {}\n");
        let files = json!([{"file": picture}, {"file": code, "name": "main.rs"}]);
        let body = json!({"content": "", "attachments": files});
        assert_eq!(say_with(&server, &session, &body).status, 200);
        let told = model.requests()[0].last_message();
        let label = &picture[..8];
        assert_eq!(
            told,
            format!(
                "[attached: {label}.png, image/png, 33 bytes; you are not shown what is in it]\n\
                 [attached: main.rs, text/x-rust, 13 bytes]\nfn main() {{}}\n[end of main.rs]"
            )
        );
    }
}

#[test]
fn a_long_text_is_shown_in_part_and_one_that_is_none_is_told_of() {
    let model = FakeModel::start();
    let (server, session) = serve(&model, Spoken::OpenAi, ", max_input_tokens: 4000");
    let long = brought(&server, &session, "text/plain", &vec![b'x'; 1 << 20]);
    let none = brought(&server, &session, "text/plain", b"a\0b");
    let files = json!([{"file": long}, {"file": none}]);
    let body = json!({"content": "read", "attachments": files});
    assert_eq!(say_with(&server, &session, &body).status, 200);
    let told = model.requests()[0].last_message();
    assert!(
        told.contains("[1044576 of 1048576 bytes left out]"),
        "{}",
        told.len()
    );
    assert!(told.len() < 5_000, "{}", told.len());
    assert!(told.ends_with("text/plain, 3 bytes; you are not shown what is in it]"));
}

#[test]
fn a_file_that_is_gone_is_told_of_and_the_turn_goes_on() {
    let model = FakeModel::start();
    let (server, session) = serve(&model, Spoken::Anthropic, ", input: [image]");
    let picture = brought(&server, &session, "image/png", &png(2, 1));
    let folder = format!(".duragent/sessions/{session}/files/{}", &picture[..64]);
    let body = json!({"content": "look", "attachments": [{"file": picture}]});
    assert_eq!(say_with(&server, &session, &body).status, 200);
    fs::remove_file(server.workspace.file(&folder)).unwrap();
    assert_eq!(server.say(&session, "and now?").status, 200);
    let asked = model.requests();
    assert_eq!(asked[0].messages()[0]["content"][0]["type"], "image");
    let told = &asked[1].messages()[0]["content"][0];
    assert_eq!(told["type"], "text");
    assert!(
        told["text"].as_str().unwrap().starts_with("[attached: "),
        "{told}"
    );
}

#[test]
fn a_file_that_is_refused_blocks_no_session() {
    for dialect in [Spoken::OpenAi, Spoken::Anthropic] {
        let model = FakeModel::start();
        let bench = Bench::new().agent(agent(&model, dialect, ", input: [text, image]"));
        let (workspace, mut server) = bench.serve().apart();
        let session = server.create_session("ada");
        let bad = brought(&server, &session, "image/png", &png(2, 1));
        let good = brought(&server, &session, "image/png", &png(20, 10));
        model
            .reply(error(400, "Could not process image"))
            .then(text("I can't see it."));
        model.default_reply(text("ok"));
        let body = json!({"content": "look", "attachments": [{"file": bad}]});
        let answer = say_with(&server, &session, &body);
        assert_eq!(
            answer.json()["content"],
            "I can't see it.",
            "{}",
            answer.text()
        );
        let has_image = |asked: &Asked| asked.text.contains(PNG_TEXT);
        let asked = model.requests();
        assert_eq!(
            asked.iter().map(has_image).collect::<Vec<_>>(),
            [true, false]
        );
        assert!(asked[1].last_message().starts_with("look\n\n[attached: "));
        let log = workspace.log_of(&session);
        let notices: Vec<&Value> = log.iter().filter(|line| line["type"] == "error").collect();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(notices[0]["code"], "files_withheld");
        // Nor after a kill; what comes later is shown.
        server.kill();
        let server = Launch::new(&workspace).start();
        let body = json!({"content": "this one", "attachments": [{"file": good}]});
        assert_eq!(say_with(&server, &session, &body).status, 200);
        let asked = model.requests();
        assert!(!has_image(&asked[2]));
        let parts = content(&asked[2]);
        let kinds = parts
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part["type"].as_str().unwrap());
        assert_eq!(kinds.filter(|kind| kind.starts_with("image")).count(), 1);
    }
}

#[test]
fn a_refusal_withholds_what_came_last_and_what_was_taken_before_only_if_that_does_not_help() {
    for dialect in [Spoken::OpenAi, Spoken::Anthropic] {
        let model = FakeModel::start();
        let (server, session) = serve(&model, dialect, ", input: [text, image]");
        let brings = |width: u32| {
            let file = brought(&server, &session, "image/png", &png(width, 1));
            let body = json!({"content": "look", "attachments": [{"file": file}]});
            assert_eq!(say_with(&server, &session, &body).json()["content"], "ok");
        };
        model.default_reply(text("ok"));
        brings(2);
        model
            .reply(error(400, "Could not process image"))
            .then(text("ok"));
        brings(3);
        assert_eq!(server.say(&session, "and now?").status, 200);
        // Another model may take none at all.
        let refusal = || error(400, "image input is not supported");
        model.reply(refusal()).then(refusal()).then(text("ok"));
        brings(4);
        let images = |asked: &Asked| asked.text.matches("iVBORw0KGgo").count();
        let sent: Vec<usize> = model.requests().iter().map(images).collect();
        assert_eq!(sent, [1, 2, 1, 1, 2, 1, 0], "{dialect:?}");
    }
}

#[test]
fn a_refusal_that_is_not_about_files_ends_its_turn() {
    let model = FakeModel::start();
    let (server, session) = serve(&model, Spoken::OpenAi, ", input: [image]");
    let picture = brought(&server, &session, "image/png", &png(2, 1));
    model.reply(error(400, "this is not for you"));
    let body = json!({"content": "look", "attachments": [{"file": picture}]});
    assert_eq!(say_with(&server, &session, &body).status, 502);
    assert_eq!(model.request_count(), 1);
}

#[test]
fn secrets_in_a_text_are_covered_before_a_model_reads_it() {
    let model = FakeModel::start();
    let server = Bench::new()
        .agent(agent(&model, Spoken::OpenAi, ""))
        .variable("MY_API_KEY", "the-secret-of-all")
        .serve();
    let session = server.create_session("ada");
    let notes = brought(&server, &session, "text/plain", b"key: the-secret-of-all");
    let body = json!({"content": "read", "attachments": [{"file": notes}]});
    assert_eq!(say_with(&server, &session, &body).status, 200);
    let told = model.requests()[0].last_message();
    assert!(told.contains("key: [redacted:MY_API_KEY]"), "{told}");
}
