//! The builtin `memory` through the real binary: several sessions, chats, and kills.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::bench::{Bench, echo};
use crate::support::server::{PATIENCE, Remote, Server, Workspace};

/// An agent that echoes and remembers.
fn workspace(scope: &str) -> Workspace {
    let memory = format!("memory: {{backend: filesystem, scope: {scope}}}");
    Bench::new()
        .agent(echo("ada").continues().builtin("session").spec(&memory))
        .workspace()
}

fn remember(content: &str) -> Value {
    json!({"action": "remember", "content": content})
}

fn recall(query: &str) -> Value {
    json!({"action": "recall", "query": query})
}

/// All notes of the agent, whatever the day.
fn notes(workspace: &Workspace) -> String {
    let folder = workspace.file(".duragent/agents/ada/memory/daily");
    let Ok(files) = fs::read_dir(folder) else {
        return String::new();
    };
    let files = files.map(|file| file.unwrap().path());
    let days = files.filter(|file| file.extension().is_some_and(|ending| ending == "md"));
    days.map(|day| fs::read_to_string(day).unwrap()).collect()
}

/// Notes as files hold them, each once, and nothing else: what a kill may not leave is half of one,
/// or one twice because its call was taken up again.
fn check_whole(notes: &str) {
    let mut seen = BTreeSet::new();
    for line in notes.lines().filter(|line| !line.is_empty()) {
        let is_heading = line.starts_with("# 20") || line.starts_with("## ");
        let is_note = line.starts_with("writer ") && line.ends_with("is whole.");
        assert!(is_heading || is_note, "{line:?} in {notes}");
        assert!(is_heading || seen.insert(line), "{line:?} twice in {notes}");
    }
    assert!(
        notes.is_empty() || notes.ends_with("is whole.\n"),
        "{notes}"
    );
}

fn note(writer: usize, number: usize) -> String {
    format!("writer {writer} says {number}, which is whole.")
}

#[test]
fn what_one_session_remembers_another_recalls_also_after_a_restart() {
    let workspace = workspace("agent");
    let server = Server::start(&workspace, &[]);
    let one = server.create_session("ada");
    server.call(&one, "memory", &remember("Anna likes tea."));
    let reflect = json!({"action": "reflect", "content": "# People\n\nBen likes coffee."});
    server.call(&one, "memory", &reflect);
    let world = json!({"action": "update_world", "topic": "hours", "content": "9 to 5"});
    server.call(&one, "memory", &world);
    drop(server);

    let server = Server::start(&workspace, &[]);
    let two = server.create_session("ada");
    let all = server.call(&two, "memory", &json!({"action": "recall"}));
    for part in ["Anna likes tea.", "Ben likes coffee.", "9 to 5"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let found = server.call(&two, "memory", &recall("likes anna"));
    // The best first: what has one word of two is worth a look too.
    assert!(found.starts_with("2 passages:"), "{found}");
    let place = |text: &str| found.find(text).unwrap();
    assert!(
        place("Anna likes tea.") < place("Ben likes coffee."),
        "{found}"
    );
    assert_eq!(
        workspace.read(".duragent/agents/ada/memory/MEMORY.md"),
        "# People\n\nBen likes coffee.\n"
    );
    assert_eq!(
        workspace.read(".duragent/memory/world/hours.md"),
        "9 to 5\n"
    );
}

#[test]
fn facts_of_the_world_are_shared_where_the_configuration_says() {
    let workspace = workspace("agent");
    workspace.config("world_memory: {path: ./shared}\n");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let world = json!({"action": "update_world", "topic": "hours", "content": "9 to 5"});
    server.call(&session, "memory", &world);
    assert_eq!(workspace.read("shared/hours.md"), "9 to 5\n");
}

#[test]
fn the_second_of_two_who_write_the_summary_must_read_the_firsts() {
    let workspace = workspace("agent");
    let server = Server::start(&workspace, &[]);
    let (one, two) = (server.create_session("ada"), server.create_session("ada"));
    let reflect = |session: &str, content: &str, version: Option<&str>| {
        let arguments = json!({"action": "reflect", "content": content, "version": version});
        server.call(session, "memory", &arguments)
    };
    let written = reflect(&one, "Anna likes tea.", None);
    let refused = reflect(&two, "Ben likes coffee.", None);
    assert!(refused.contains("Anna likes tea."), "{refused}");
    let version = refused.split("\"version\": \"").nth(1).unwrap();
    let version = version.split('"').next().unwrap();
    assert!(written.contains(version), "{written}");
    let both = "Anna likes tea. Ben likes coffee.";
    reflect(&two, both, Some(version));
    let late = reflect(&one, "Anna likes water.", Some(version));
    assert!(late.contains("was changed since you read it"), "{late}");
    let kept = workspace.read(".duragent/agents/ada/memory/MEMORY.md");
    assert_eq!(kept, format!("{both}\n"));
}

#[test]
fn sessions_that_remember_at_once_lose_nothing() {
    const WRITERS: usize = 3;
    const NOTES: usize = 8;
    let workspace = workspace("agent");
    let server = Server::start(&workspace, &[]);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let server = &server;
            scope.spawn(move || {
                let session = server.create_session("ada");
                for number in 0..NOTES {
                    let said = server.call(&session, "memory", &remember(&note(writer, number)));
                    assert!(said.starts_with("Noted in "), "{said}");
                }
            });
        }
    });
    let notes = notes(&workspace);
    check_whole(&notes);
    for writer in 0..WRITERS {
        for number in 0..NOTES {
            assert_eq!(notes.matches(&note(writer, number)).count(), 1, "{notes}");
        }
    }
}

#[test]
fn a_kill_leaves_whole_notes_and_takes_none_that_was_answered() {
    const ROUNDS: usize = 5;
    const WRITERS: usize = 2;
    let workspace = workspace("agent");
    let mut answered: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let mut server = Server::start(&workspace, &[]);
        let sessions: Vec<String> = (0..WRITERS).map(|_| server.create_session("ada")).collect();
        let remote = Remote::at(server.address);
        let before = notes(&workspace).len();
        thread::scope(|scope| {
            let writers: Vec<_> = sessions
                .iter()
                .enumerate()
                .map(|(writer, session)| {
                    let remote = &remote;
                    scope.spawn(move || write_until_killed(remote, session, writer, round))
                })
                .collect();
            // In the midst of the work, each time a little further.
            let watched = watch_until(&workspace, before + 100 * (round + 1));
            // First, since the writers go on as long as it lives.
            server.kill();
            watched.unwrap();
            for writer in writers {
                answered.extend(writer.join().unwrap());
            }
        });
        let kept = notes(&workspace);
        check_whole(&kept);
        for note in &answered {
            assert_eq!(kept.matches(note.as_str()).count(), 1, "{note} in {kept}");
        }
    }
    assert!(answered.len() >= ROUNDS, "{}", answered.len());

    // And what the kills left lying about is in nobody's way.
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let said = server.call(&session, "memory", &remember(&note(9, 9)));
    assert!(said.starts_with("Noted in "), "{said}");
}

/// Reads the notes again and again until there are more than `bytes` of them: each time they must be
/// whole, and none lost.
fn watch_until(workspace: &Workspace, bytes: usize) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = 0;
    while before <= bytes {
        let notes = notes(workspace);
        if !(notes.is_empty() || notes.ends_with("is whole.\n")) || notes.len() < before {
            return Err(format!("half of a file: {notes}"));
        }
        before = notes.len();
        if Instant::now() > deadline {
            return Err(format!("nobody writes: {notes}"));
        }
    }
    Ok(())
}

/// Remembers one thing after the other; returns what was answered.
fn write_until_killed(server: &Remote, session: &str, writer: usize, round: usize) -> Vec<String> {
    let mut answered = Vec::new();
    for number in 0.. {
        let note = note(writer, 1000 * (round + 1) + number);
        let path = format!("/api/v1/sessions/{session}");
        let message = format!("/tool memory {}", remember(&note));
        match noted(server, &path, &message) {
            Some(true) => answered.push(note),
            Some(false) => panic!("{note} was not noted"),
            None => break,
        }
    }
    answered
}

/// Whether the call that a message makes was answered as noted; `None` when the server is gone.
fn noted(server: &Remote, path: &str, message: &str) -> Option<bool> {
    let mut sent = ("/messages", json!({ "content": message }));
    loop {
        let answer = server
            .try_post(&format!("{path}{}", sent.0), &sent.1)?
            .json();
        match (&answer["call_id"], &answer["content"]) {
            (Value::String(call), _) => {
                let command = &answer["command"];
                let body = json!({"call_id": call, "command": command, "decision": "allow_once"});
                sent = ("/approve", body);
            }
            (_, Value::String(content)) => return Some(content.starts_with("Noted in ")),
            _ => panic!("{answer}"),
        }
    }
}

#[test]
fn chats_of_a_gateway_see_neither_each_others_memory_nor_sessions() {
    let workspace = workspace("chat");
    let mut server = Server::start(&workspace, &[]);
    let ids: Vec<String> = (0..3).map(|_| server.create_session("ada")).collect();
    server.terminate();
    assert!(server.wait_for_exit().success());
    for (session, chat) in ids.iter().zip(["1", "-2/.."]) {
        workspace.change_start(session, |event| {
            event["gateway"] = json!("telegram");
            event["gateway_chat_id"] = json!(chat);
        });
    }

    let server = Server::start(&workspace, &[]);
    for (session, fact) in ids.iter().zip(["First.", "Second.", "Owner."]) {
        let said = server.call(session, "memory", &remember(fact));
        assert!(said.starts_with("Noted in "), "{said}");
    }
    for (number, own) in ["First.", "Second.", "Owner."].iter().enumerate() {
        let seen = server.call(&ids[number], "memory", &json!({"action": "recall"}));
        for fact in ["First.", "Second.", "Owner."] {
            assert_eq!(seen.contains(fact), fact == *own, "{number}: {seen}");
        }
        let list = server.call(&ids[number], "session", &json!({"action": "list"}));
        for (other, id) in ids.iter().enumerate() {
            // The owner sees all.
            let is_visible = other == number || number == 2;
            assert_eq!(list.contains(id), is_visible, "{number}: {list}");
            let read = json!({"action": "read", "session_id": id});
            let read = server.call(&ids[number], "session", &read);
            let is_refused = read.starts_with("you have no session");
            assert_eq!(!is_refused, is_visible, "{read}");
        }
    }
    let chats = workspace.file(".duragent/agents/ada/memory/chats");
    let mut folders: Vec<String> = fs::read_dir(chats)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, ["telegram--2%2F%2E%2E", "telegram-1"]);
}
