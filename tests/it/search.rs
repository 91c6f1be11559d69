//! Messages that are found by their words: by command, by request and by the agent itself.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::bench::{Bench, echo};
use crate::support::process::{Limited as _, duragent};
use crate::support::server::{Server, Workspace};

fn search(workspace: &Workspace, arguments: &[&str]) -> Output {
    let mut command = duragent(workspace.path());
    command.args(["session", "search"]).args(arguments);
    command.output_in_time().unwrap()
}

/// The snippets that the command finds.
fn found(workspace: &Workspace, arguments: &[&str]) -> Vec<String> {
    let output = search(workspace, &[arguments, &["--json"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {error}");
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let snippet = |one: &Value| one["snippet"].as_str().unwrap().to_owned();
    found.iter().map(snippet).collect()
}

const KEY: &str = "The deploy key is rotated on Mondays.";
const TEA: &str = "Anna likes the tea when it is hot.";
const REVIEW: &str = "项目评审定在周五。";

#[test]
fn the_command_finds_messages_with_a_server_and_without() {
    let bench = Bench::new().agent(echo("ada")).agent(echo("bob"));
    let (workspace, mut server) = bench.serve().apart();
    let session = server.create_session("ada");
    for text in [KEY, TEA, REVIEW] {
        assert_eq!(server.say(&session, text).status, 200);
    }
    let other = server.create_session("bob");
    server.say(&other, "tea, tea, tea");
    let check = |what: &str| {
        for question in ["when is the key rotated", "deploying keys"] {
            let found = found(&workspace, &[question]);
            // What an echo says is a message too.
            assert_eq!(found.len(), 2, "{what} {question}: {found:?}");
            assert!(
                found.iter().all(|one| one.contains(KEY)),
                "{what}: {found:?}"
            );
        }
        let review = found(&workspace, &["项目什么时候评审", "--limit", "1"]);
        assert!(review[0].contains(REVIEW), "{what}: {review:?}");
        let tea = found(&workspace, &["tea", "-a", "ada"]);
        assert!(
            !tea.is_empty() && tea.iter().all(|one| one.contains(TEA)),
            "{tea:?}"
        );
        assert_eq!(
            found(&workspace, &["tea", "--since", "2999-01-01"]),
            [""; 0]
        );
        assert!(!found(&workspace, &["tea", "--since", "7d"]).is_empty());
        let shown = search(&workspace, &["rotated"]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(
            shown.contains(&session) && shown.contains(KEY),
            "{what}: {shown}"
        );
        let none = search(&workspace, &["nothing"]);
        assert_eq!((none.status.code(), &*none.stdout), (Some(0), &b""[..]));
        for bad in [["tea", "--since", "soon"], ["tea", "--limit", "51"]] {
            assert_eq!(
                search(&workspace, &bad).status.code(),
                Some(2),
                "{what} {bad:?}"
            );
        }
    };
    check("with a server");
    server.terminate();
    assert!(server.wait_for_exit().success());
    check("without");
}

#[test]
fn a_request_finds_messages_and_says_what_it_does_not_understand() {
    let (_workspace, server) = Bench::new().agent(echo("ada")).serve().apart();
    let session = server.create_session("ada");
    server.say(&session, KEY);
    let answer = server.get("/api/v1/sessions/search?query=deploying+keys&since=1d&agent=ada");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = &answer.json()["messages"];
    assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
    let one = found
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["role"] == "user");
    let one = one.unwrap();
    assert_eq!(
        (&one["session_id"], &one["snippet"]),
        (&json!(session), &json!(KEY))
    );
    // As it stands there: message by message.
    let id = one["message_id"].as_str().unwrap();
    let messages = server.get(&format!("/api/v1/sessions/{session}/messages"));
    assert!(messages.text().contains(id));
    let none = server.get("/api/v1/sessions/search?query=tea");
    assert_eq!(none.json(), json!({"messages": []}));
    for (bad, word) in [
        ("", "query"),
        ("?query=", "query"),
        ("?query=a&since=soon", "since"),
        ("?query=a&limit=0", "limit"),
        ("?query=a&limit=51", "limit"),
    ] {
        let answer = server.get(&format!("/api/v1/sessions/search{bad}"));
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.text().contains(word), "{bad}: {}", answer.text());
    }
    assert_eq!(
        server.post("/api/v1/sessions/search", &json!({})).status,
        405
    );
}

#[test]
fn an_agent_finds_what_it_is_no_longer_shown() {
    let ada = echo("ada")
        .continues()
        .builtin("session")
        .session("context: {max_history_tokens: 100}");
    let workspace = Bench::new().agent(ada).agent(echo("bob")).workspace();
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    server.say(&session, KEY);
    for _ in 0..20 {
        server.say(&session, "/repeat 60");
    }
    let bobs = server.create_session("bob");
    server.say(&bobs, "The deploy key of Bob is rotated.");
    let query = json!({"action": "search", "query": "when is the key rotated"});
    let said = server
        .say(&session, &format!("/tool session {query}"))
        .text();
    assert!(
        said.contains(&session) && said.contains("Mondays"),
        "{said}"
    );
    // Neither its own question nor what others were told.
    assert!(
        !said.contains("/tool session") && !said.contains("Bob"),
        "{said}"
    );
}
