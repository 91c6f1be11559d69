//! Files that go with what is typed, or piped in.

use crate::support::bench::{AgentFiles, Bench, Served};
use crate::support::fake_model::{Asked, FakeModel, text};

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x01\x08\x02\0\0\0rest";
const PNG_TEXT: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAByZXN0";

fn seeing(model: &FakeModel) -> Served {
    let url = model.url();
    let seen = format!("{{provider: openai, name: gpt-4o, base_url: \"{url}\"}}");
    let agent = AgentFiles::of("ada", &seen).continues();
    let served = Bench::new()
        .agent(agent)
        .file("notes.txt", "buy milk\n")
        .serve();
    fs::write(served.workspace.file("cat.png"), PNG).unwrap();
    served
}

/// The texts and the pictures of the last message.
fn parts(asked: &Asked) -> (String, usize) {
    (asked.last_message(), asked.text.matches(PNG_TEXT).count())
}

#[test]
fn a_chat_brings_the_files_that_are_named_in_it() {
    let model = FakeModel::start();
    model.default_reply(text("I see."));
    let served = seeing(&model);
    let mut terminal = Terminal::start(served.workspace.path(), &["chat"]);
    terminal.wait_for_prompt("> ");
    terminal.type_in("what is @cat.png, @ann?\r");
    let asked = model.wait_for_requests(1);
    assert_eq!(parts(&asked[0]), ("what is @cat.png, @ann?".to_owned(), 1));
    terminal.wait_for("+ cat.png (image/png, 33 bytes)");
    terminal.wait_for_prompt("> ");
    terminal.paste(served.workspace.file("notes.txt").to_str().unwrap());
    terminal.type_in("\r");
    let asked = model.wait_for_requests(2);
    let read = "[attached: notes.txt, text/plain, 9 bytes]\nbuy milk\n[end of notes.txt]";
    assert_eq!(parts(&asked[1]), (read.to_owned(), 1));
    terminal.wait_for_times("I see.", 2);
    terminal.wait_for_prompt("> ");
    // Too large: it stands at the prompt again.
    let large = fs::File::create(served.workspace.file("large.png")).unwrap();
    large.set_len((10 << 20) + 1).unwrap();
    terminal.type_in("and @large.png\r");
    terminal.wait_for("large.png is larger than 10 MiB");
    terminal.wait_for_prompt("> and @large.png");
    terminal.type_in("\u{15}\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    assert_eq!(model.request_count(), 2);
}

#[test]
fn a_piped_message_brings_the_files_of_its_flags_and_none_that_it_names() {
    let model = FakeModel::start();
    model.default_reply(text("I see."));
    let served = seeing(&model);
    let line = ["chat", "--file", "cat.png", "--file", "notes.txt"];
    let output = run_with_input(served.workspace.path(), &line, "look at @cat.png\n");
    assert_eq!((code(&output), out(&output)), (0, "I see.\n".to_owned()));
    let (said, pictures) = parts(&model.requests()[0]);
    assert!(
        said.starts_with("look at @cat.png\n\n[attached: notes.txt,"),
        "{said}"
    );
    assert_eq!(pictures, 1);
    let output = run_with_input(served.workspace.path(), &["chat", "--file", "cat.png"], "");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let output = run_with_input(served.workspace.path(), &["chat"], "what is @cat.png?");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        parts(&model.requests()[2]),
        ("what is @cat.png?".to_owned(), 0)
    );
    for (file, says) in [
        ("missing.png", "cannot read missing.png"),
        (".", "cannot read ."),
    ] {
        let output = run_with_input(served.workspace.path(), &["chat", "--file", file], "hi");
        assert_eq!(code(&output), 1, "{file}");
        assert!(err(&output).contains(says), "{}", err(&output));
    }
    assert_eq!(model.request_count(), 3);
}
