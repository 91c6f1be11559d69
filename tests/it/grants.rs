//! What a person allows for one session: kept in its log under a seal, counted there and nowhere else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::terminal::Terminal;
use crate::support::bench::{Bench, asking, echo};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::server::{Answer, Remote, Server, Workspace, eventually};
use crate::support::telegram::BotBench;

const POLICY: &str = ".duragent/agents/ada/policy.yaml";

/// An agent that calls what it is told to, and asks before each.
fn workspace() -> Workspace {
    let ada = echo("ada")
        .continues()
        .builtin("bash")
        .policy("mode: ask\n");
    Bench::new().agent(ada).workspace()
}

fn serve(workspace: &Workspace) -> Server {
    Server::start(workspace, &["--resume", "always"])
}

fn bash(server: &Remote, session: &str, command: &str) -> Answer {
    let arguments = json!({"command": command});
    server.say(session, &format!("/tool bash {arguments}"))
}

/// Whether a call asks; if so it is denied.
#[track_caller]
fn asks(server: &Remote, session: &str, command: &str) -> bool {
    let answer = bash(server, session, command).json();
    let is_asked = answer["call_id"].is_string();
    if is_asked {
        decide(server, session, &answer, "deny");
    } else {
        assert!(answer["content"].is_string(), "{answer}");
    }
    is_asked
}

fn decide(server: &Remote, session: &str, asked: &Value, decision: &str) -> Answer {
    let body =
        json!({"call_id": asked["call_id"], "command": asked["command"], "decision": decision});
    server.post(&format!("/api/v1/sessions/{session}/approve"), &body)
}

/// Allows a command for the session.
#[track_caller]
fn allow(server: &Remote, session: &str, command: &str) {
    let asked = bash(server, session, command).json();
    let answer = decide(server, session, &asked, "allow_session");
    assert_eq!(answer.status, 200, "{asked} {}", answer.text());
}

fn grants(server: &Remote, session: &str) -> Vec<Value> {
    let body = server
        .get(&format!("/api/v1/sessions/{session}/grants"))
        .json();
    body["grants"].as_array().unwrap().clone()
}

fn of_kind(workspace: &Workspace, session: &str, kind: &str) -> Vec<Value> {
    let log = workspace.log_of(session);
    log.into_iter()
        .filter(|line| line["type"] == kind)
        .collect()
}

fn folder(workspace: &Workspace, session: &str) -> std::path::PathBuf {
    workspace.file(&format!(".duragent/sessions/{session}"))
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(done.unwrap().success());
}

/// Rewrites the grants of a session's log, as somebody with an editor would.
fn edit(workspace: &Workspace, session: &str, change: impl Fn(&mut Value)) {
    let file = folder(workspace, session).join("events.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let mut edited = String::new();
    for line in text.lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        if record["type"] == "grant" {
            record.as_object_mut().unwrap().remove("crc");
            change(&mut record);
            edited.push_str(&format!("{record}\n"));
        } else {
            edited.push_str(&format!("{line}\n"));
        }
    }
    fs::write(&file, edited).unwrap();
    drop(fs::remove_file(
        folder(workspace, session).join("state.yaml"),
    ));
}

#[test]
fn what_is_allowed_for_a_session_is_kept_with_the_decision_and_counts_there_alone() {
    let workspace = workspace();
    let mut server = serve(&workspace);
    let session = server.create_session("ada");
    let asked = bash(&server, &session, "touch made && echo 'a *'").json();
    assert_eq!(
        asked["session_rules"],
        json!(["bash:touch made", "bash:echo 'a\\ \\*'"]),
        "{asked}"
    );
    let answer = decide(&server, &session, &asked, "allow_session");
    assert_eq!(answer.json()["status"], "complete", "{}", answer.text());
    let log = workspace.log_of(&session);
    let at = log
        .iter()
        .position(|line| line["type"] == "approval_decision")
        .unwrap();
    assert_eq!(log[at]["decision"], "allow_session");
    for (place, rule) in [(1, "bash:touch made"), (2, "bash:echo 'a\\ \\*'")] {
        let grant = &log[at + place];
        assert_eq!(
            (&grant["type"], &grant["cont"]),
            (&json!("grant"), &json!(true))
        );
        assert_eq!(grant["rule"], rule);
        assert_eq!(grant["mac"].as_str().unwrap().len(), 64);
        assert!(grant["by"].is_null(), "{grant}");
        let hour = |text: &Value| text.as_str().unwrap()[11..13].parse::<u32>().unwrap();
        let hours = (24 + hour(&grant["until"]) - hour(&grant["timestamp"])) % 24;
        assert_eq!(hours, 8, "{grant}");
    }
    assert!(!asks(&server, &session, "echo 'a *'; touch made"));
    assert!(asks(&server, &session, "touch other"));
    assert!(asks(&server, &session, "touch made > x"));
    let other = server.create_session("ada");
    assert!(asks(&server, &other, "touch made"));
    // The policy's own file has nothing of it.
    assert_eq!(grants(&server, &session).len(), 2);
    assert_eq!(grants(&server, &other), [] as [Value; 0]);

    server.kill();
    let mut server = serve(&workspace);
    assert!(!asks(&server, &session, "touch made"));
    let listed = grants(&server, &session);
    assert_eq!(listed[0]["rule"], "bash:touch made");
    let path = format!("/api/v1/sessions/{session}/grants");
    let one = format!("{path}/{}", listed[0]["id"]);
    assert_eq!(server.delete(&one).status, 204);
    assert_eq!(server.delete(&one).status, 404);
    assert!(asks(&server, &session, "touch made"));
    assert!(!asks(&server, &session, "echo 'a *'"));
    server.kill();
    let server = serve(&workspace);
    assert!(asks(&server, &session, "touch made"));
    assert!(!asks(&server, &session, "echo 'a *'"));
    assert_eq!(server.delete(&path).status, 204);
    assert_eq!(server.delete(&path).status, 204);
    assert!(asks(&server, &session, "echo 'a *'"));
    let revoked = of_kind(&workspace, &session, "grant_revoked");
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    assert_eq!(revoked[0]["grants"], json!([listed[0]["id"]]));
}

#[test]
fn a_question_without_a_rule_cannot_be_allowed_for_the_session() {
    let workspace = workspace();
    let server = serve(&workspace);
    let session = server.create_session("ada");
    for command in ["echo x > f", "sudo ls", "for PATH in x; do ls; done"] {
        let asked = bash(&server, &session, command).json();
        assert!(asked["session_rules"].is_null(), "{asked}");
        let refused = decide(&server, &session, &asked, "allow_session");
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(decide(&server, &session, &asked, "deny").status, 200);
    }
    assert_eq!(of_kind(&workspace, &session, "grant"), [] as [Value; 0]);
}

#[test]
fn a_deny_wins_over_what_is_allowed_for_a_session() {
    let workspace = workspace();
    let server = serve(&workspace);
    let session = server.create_session("ada");
    allow(&server, &session, "touch made");
    fs::remove_file(workspace.file(".duragent/agents/ada/work/made")).unwrap();
    let denied = "apiVersion: duragent/v1alpha1\nkind: Policy\nmode: ask\ndeny: ['bash:touch *']\n";
    workspace.write(POLICY, denied);
    server.post("/api/admin/v1/reload-agents", &json!({}));
    let answer = bash(&server, &session, "touch made").json();
    let said = answer["content"].as_str().unwrap();
    assert!(said.contains("deny `bash:touch *`"), "{said}");
    assert!(!workspace.file(".duragent/agents/ada/work/made").exists());
}

#[test]
fn a_log_that_was_copied_restored_imported_or_edited_brings_nothing_along() {
    let workspace = workspace();
    let mut server = serve(&workspace);
    let session = server.create_session("ada");
    allow(&server, &session, "touch made");
    assert!(!asks(&server, &session, "touch made"));
    server.kill();

    // Under another name.
    let other = format!("{}Z", &session[..session.len() - 1]);
    let other = if other == session {
        format!("{}Y", &session[..session.len() - 1])
    } else {
        other
    };
    copy(&folder(&workspace, &session), &folder(&workspace, &other));
    let mut server = serve(&workspace);
    assert!(asks(&server, &other, "touch made"));
    assert!(!asks(&server, &session, "touch made"));
    server.kill();

    // In another workspace of this account.
    let elsewhere = self::workspace();
    let mut there = serve(&elsewhere);
    let path = folder(&workspace, &session);
    there.create_session("ada");
    there.kill();
    copy(&path, &folder(&elsewhere, &session));
    let mut there = serve(&elsewhere);
    assert!(asks(&there, &session, "touch made"));
    there.kill();
    let third = self::workspace();
    third.run(&["session", "import", path.to_str().unwrap()]);
    let mut there = serve(&third);
    let named = fs::read_dir(third.file(".duragent/sessions")).unwrap();
    let named = named.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for imported in named.filter(|name| name.starts_with("session_")) {
        assert!(asks(&there, &imported, "touch made"), "{imported}");
    }
    there.kill();

    // With other words in it.
    let log = path.join("events.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    type Change = fn(&mut Value);
    let later = |grant: &mut Value| grant["until"] = json!("2126-11-22T06:00:00.123456Z");
    let changes: [(&str, Change); 5] = [
        ("until", later),
        ("rule", |grant| grant["rule"] = json!("bash:*")),
        ("mac", |grant| grant["mac"] = json!("0".repeat(64))),
        ("no mac", |grant| grant["mac"] = json!("")),
        ("by", |grant| grant["by"] = json!("token:alice")),
    ];
    for (what, change) in changes {
        edit(&workspace, &session, change);
        let mut server = serve(&workspace);
        assert!(asks(&server, &session, "touch made"), "{what}");
        assert_eq!(grants(&server, &session), [] as [Value; 0], "{what}");
        server.kill();
        fs::write(&log, &text).unwrap();
        drop(fs::remove_file(path.join("state.yaml")));
    }
    let mut server = serve(&workspace);
    assert!(!asks(&server, &session, "touch made"));
    server.kill();
    // A backup of it, put in its place.
    let kept = workspace.file("kept");
    copy(&path, &kept);
    fs::remove_dir_all(&path).unwrap();
    copy(&kept, &path);
    let mut server = serve(&workspace);
    assert!(asks(&server, &session, "touch made"));
    allow(&server, &session, "touch made");
    assert!(!asks(&server, &session, "touch made"));
    server.kill();
    // One of the folder with all sessions.
    let sessions = workspace.file(".duragent/sessions");
    let backup = workspace.file("backup");
    copy(&sessions, &backup);
    fs::remove_dir_all(&sessions).unwrap();
    copy(&backup, &sessions);
    let server = serve(&workspace);
    assert!(asks(&server, &session, "touch made"));
}

#[test]
fn a_torn_append_brings_no_grant_without_its_decision() {
    let workspace = workspace();
    let mut server = serve(&workspace);
    let session = server.create_session("ada");
    let asked = bash(&server, &session, "touch made").json();
    server.kill();
    let file = folder(&workspace, &session).join("events.jsonl");
    let before = fs::read(&file).unwrap();
    let state = folder(&workspace, &session).join("state.yaml");
    drop(fs::remove_file(&state));
    let mut server = serve(&workspace);
    assert_eq!(
        decide(&server, &session, &asked, "allow_session").status,
        200
    );
    server.kill();
    let after = fs::read(&file).unwrap();
    let end = |kind: &str| {
        let text = String::from_utf8(after.clone()).unwrap();
        let at = text.find(&format!("\"type\":\"{kind}\"")).unwrap();
        at + text[at..].find('\n').unwrap() + 1
    };
    let (decision, grant) = (end("approval_decision"), end("grant"));
    assert!(before.len() < decision && decision < grant);
    for cut in [
        before.len() + 5,
        decision - 1,
        decision,
        decision + 9,
        grant - 2,
        grant,
    ] {
        fs::write(&file, &after[..cut]).unwrap();
        drop(fs::remove_file(&state));
        let mut server = serve(&workspace);
        let shown = server.get(&format!("/api/v1/sessions/{session}")).json();
        let is_decided = shown["pending_approval"].is_null();
        let granted = grants(&server, &session).len();
        assert!(is_decided || granted == 0, "{cut}");
        assert_eq!(granted, usize::from(cut == grant), "{cut}");
        server.kill();
        drop(fs::remove_file(file.with_file_name("events.jsonl.torn")));
    }
}

#[test]
fn a_kill_around_the_append_leaves_both_or_the_decision_alone_or_neither() {
    let workspace = workspace();
    let mut written_at_all = 0;
    for round in 0..12 {
        let mut server = serve(&workspace);
        let session = server.create_session("ada");
        let asked = bash(&server, &session, "touch made").json();
        let remote = Remote::at(server.address);
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                let body = json!({"call_id": asked["call_id"], "command": asked["command"],
                    "decision": "allow_session"});
                remote.try_post(&format!("/api/v1/sessions/{session}/approve"), &body)
            });
            eventually("it is asked", || begun.load(Ordering::SeqCst).then_some(()));
            thread::sleep(Duration::from_millis(3 * round));
            // However slow the machine is, one comes behind it.
            if round == 11 {
                let written = || of_kind(&workspace, &session, "grant").pop();
                eventually("it is written", written);
            }
            server.kill();
        });
        let mut server = serve(&workspace);
        let log = workspace.log_of(&session);
        for (at, line) in log.iter().enumerate() {
            if line["type"] == "grant" {
                assert_eq!(log[at - 1]["type"], "approval_decision");
                assert_eq!(log[at - 1]["decision"], "allow_session");
            }
        }
        let shown = grants(&server, &session);
        let written = log.iter().filter(|line| line["type"] == "grant").count();
        assert_eq!(shown.len(), written);
        written_at_all += written;
        server.kill();
    }
    assert!(written_at_all > 0, "every kill came too early");
}

/// A bot that asks before each command, and whose questions Ann decides.
fn careful() -> BotBench {
    let spec = "access:\n  dm: {policy: open}\n  requester_approves: true\n  \
        groups: {policy: open, queue: {debounce: {enabled: false}}}\n  approvers: ['42']";
    BotBench::of(FakeModel::start(), |model| {
        let agent = asking("ada", model).spec(spec);
        agent.builtin("bash").policy("mode: ask")
    })
    .serve()
}

fn touch(file: &str) -> crate::support::fake_model::Step {
    tool_call("bash", &format!("{{\"command\": \"touch {file}\"}}"))
}

const FOUR: [&str; 4] = ["Allow once", "For this session", "Allow always", "Deny"];

#[test]
fn an_approver_alone_with_the_bot_has_a_fourth_button_which_counts_in_their_own_turns() {
    let bot = careful();
    bot.model
        .reply(touch("made"))
        .then(text("one"))
        .then(touch("made"))
        .then(text("two"))
        .then(touch("other"))
        .then(touch("made"))
        .then(text("three"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    let asked = bot.telegram.wait_for_buttons(ann.id);
    assert_eq!(asked.labels(), FOUR);
    assert!(asked.text.contains("bash:touch made"), "{}", asked.text);
    let press = bot
        .telegram
        .press(ann.id, asked.id, "For this session", &ann);
    assert_eq!(
        bot.telegram.wait_for_answer_to(&press),
        "Allowed for this session"
    );
    bot.telegram.wait_for_text(ann.id, "one");
    let grants = bot.log_of_kind("grant");
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0]["by"], "sender:telegram:42");
    bot.telegram.says(&ann, "again");
    bot.telegram.wait_for_text(ann.id, "two");
    assert_eq!(bot.log_of_kind("approval_required").len(), 1);

    // Another person speaks in the same turn.
    bot.telegram.says(&ann, "the other");
    let required = bot.wait_for_log("approval_required", 2);
    let (id, _) = bot.logs().remove(0);
    let said = json!({"content": "and the first one"});
    let path = format!("/api/v1/sessions/{id}/messages");
    let headers = [("Prefer", "respond-async")];
    let stored = bot.server().send_json("POST", &path, &headers, &said);
    assert_eq!(stored.status, 202, "{}", stored.text());
    let shown = json!({"call_id": required[1]["call_id"], "command": required[1]["command"], "decision": "deny"});
    let approve = format!("/api/v1/sessions/{id}/approve");
    let decided = bot.server().post(&approve, &shown);
    assert_eq!(
        decided.json()["status"],
        "pending_approval",
        "{}",
        decided.text()
    );
    let asked = bot.wait_for_log("approval_required", 3);
    assert!(asked[2]["session_rules"].is_null(), "{}", asked[2]);
}

#[test]
fn a_group_and_who_is_no_approver_have_no_fourth_button() {
    let bot = careful();
    bot.model.reply(touch("one")).then(touch("two"));
    let (ann, bob) = (
        bot.telegram.person(42, "Ann"),
        bot.telegram.person(43, "Bob"),
    );
    let three = ["Allow once", "Allow always", "Deny"];
    let group = bot.telegram.supergroup("Team");
    bot.telegram.says_in(group, &ann, "@ada_bot make it");
    let asked = bot.telegram.wait_for_buttons(group);
    assert_eq!(asked.labels(), three);
    bot.telegram
        .says_in(group, &ann, "/approve@ada_bot session");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    bot.telegram.says(&bob, "make it");
    let asked = bot.telegram.wait_for_buttons(bob.id);
    assert_eq!(asked.labels(), three);
    bot.telegram.says(&bob, "/approve session");
    bot.telegram.wait_until_confirmed();
    assert_eq!(bot.log_of_kind("approval_decision").len(), 0);
    assert_eq!(bot.log_of_kind("grant").len(), 0);
}

#[test]
fn a_chat_lists_what_is_allowed_and_takes_it_back() {
    let bot = careful();
    bot.model
        .reply(touch("made"))
        .then(text("one"))
        .then(touch("made"));
    let ann = bot.telegram.person(42, "Ann");
    bot.telegram.says(&ann, "make it");
    bot.telegram.wait_for_buttons(ann.id);
    bot.telegram.says(&ann, "/approve session");
    bot.telegram.wait_for_text(ann.id, "one");
    bot.telegram.says(&ann, "/grants");
    bot.telegram.wait_for_words(ann.id, "bash:touch made");
    bot.telegram.says(&ann, "/grants revoke");
    bot.telegram.wait_for_words(ann.id, "It is asked for again");
    let revoked = bot.log_of_kind("grant_revoked");
    assert_eq!(revoked[0]["by"], "sender:telegram:42");
    bot.telegram.says(&ann, "again");
    bot.wait_for_log("approval_required", 2);
}

#[test]
fn at_the_terminal_s_allows_for_the_session_and_grants_lists_it_and_takes_it_back() {
    let workspace = workspace();
    let mut terminal = Terminal::start(workspace.path(), &["chat"]);
    let call = |terminal: &mut Terminal, command: &str| {
        let arguments = json!({"command": command});
        terminal.wait_for_prompt("> ");
        terminal.type_in(&format!("/tool bash {arguments}\r"));
    };
    call(&mut terminal, "touch made");
    terminal.wait_for(
        "For this session, in your own turns and 8 hours at most:\r\n    bash:touch made",
    );
    terminal.wait_for("[y] once  [s] for this session  [a] always  [n] deny");
    terminal.wait_for_prompt("? ");
    terminal.type_in("s\r");
    terminal.wait_for("(allow session)");
    call(&mut terminal, "touch made");
    terminal.wait_for_times("⚙ bash", 2);
    terminal.wait_for_prompt("> ");
    terminal.type_in("/grants\r");
    terminal.wait_for("allowed for this session:\r\n");
    terminal.wait_for(": bash:touch made (until ");
    terminal.wait_for_prompt("> ");
    terminal.type_in("/grants away\r");
    terminal.wait_for("write /grants, /grants revoke or /grants revoke NUMBER");
    terminal.wait_for_prompt("> ");
    terminal.type_in("/grants revoke\r");
    terminal.wait_for("nothing is allowed for this session");
    call(&mut terminal, "touch made");
    terminal.wait_for_times("The agent wants to run", 2);
    terminal.wait_for_prompt("? ");
    // Where there is no rule for it, it is no answer.
    terminal.type_in("n\r");
    call(&mut terminal, "echo x > f");
    terminal.wait_for("[y] once  [a] always this text");
    terminal.wait_for_prompt("? ");
    terminal.type_in("n\r");
    terminal.wait_for_prompt("> ");
    terminal.type_in("/quit\r");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    workspace.run(&["serve", "stop"]);
}

#[test]
fn writing_below_a_folder_is_allowed_for_the_session_but_for_what_programs_obey() {
    let project = tempfile::tempdir().unwrap();
    let place = project.path().canonicalize().unwrap();
    fs::create_dir_all(place.join("src/inner")).unwrap();
    let ada = echo("ada")
        .continues()
        .builtin("file")
        .policy("mode: ask\n");
    let workspace = Bench::new().agent(ada).workspace();
    let server = serve(&workspace);
    let begun = server.post(
        "/api/v1/sessions",
        &json!({"agent": "ada", "workdir": place.to_str().unwrap()}),
    );
    let session = begun.json()["session_id"].as_str().unwrap().to_owned();
    let write = |path: &str| {
        let call = json!({"action": "write", "path": path, "content": "x\n"});
        server.say(&session, &format!("/tool file {call}")).json()
    };
    let asked = write("src/a.rs");
    let rule = format!("builtin:file:write:{}/src/*", place.display());
    assert_eq!(asked["session_rules"], json!([rule]), "{asked}");
    decide(&server, &session, &asked, "allow_session");
    assert_eq!(of_kind(&workspace, &session, "grant")[0]["rule"], rule);
    for path in ["src/a.rs", "src/b.rs", "src/inner/c.rs", "src/../src/d.rs"] {
        let answer = write(path);
        assert!(answer["content"].is_string(), "{path}: {answer}");
        assert!(place.join(path).exists(), "{path}");
    }
    for path in ["e.rs", "src/.envrc", "src/.git/config", "src/../f.rs"] {
        let asked = write(path);
        assert!(asked["call_id"].is_string(), "{path}: {asked}");
        decide(&server, &session, &asked, "deny");
        assert!(!place.join(path).exists(), "{path}");
    }
    // No rule below the folder is enough for it, and none is to be for its neighbours.
    for path in ["src/.envrc", ".git/config"] {
        let asked = write(path);
        assert!(asked["session_rules"].is_null(), "{asked}");
        decide(&server, &session, &asked, "deny");
    }
}

#[test]
fn forty_edits_of_files_in_the_work_folder_ask_nothing_beside_a_developers_rules() {
    let generous = include_str!("../data/policy/generous.txt");
    let patterns: Vec<String> = generous
        .lines()
        .map(|line| format!("bash:{line}"))
        .collect();
    let rules = format!(
        "mode: ask\nallow: {}\n",
        serde_json::to_string(&patterns).unwrap()
    );
    let ada = echo("ada").continues().builtin("file").builtin("bash");
    let workspace = Bench::new().agent(ada.policy(&rules)).workspace();
    let server = serve(&workspace);
    let session = server.create_session("ada");
    let mut calls = Vec::new();
    for n in 0..20 {
        let path = format!("part {}/src/file{n}.rs", n % 4);
        let write = json!({"action": "write", "path": path, "content": format!("one {n}\ntwo\n")});
        let edit = json!({"action": "edit", "path": path, "old": "two", "new": "three"});
        calls.extend([write, edit]);
    }
    for call in &calls {
        let answer = server.say(&session, &format!("/tool file {call}")).json();
        assert!(answer["content"].is_string(), "{call}: {answer}");
    }
    let results = of_kind(&workspace, &session, "tool_result");
    let done = results
        .iter()
        .filter(|line| line["result"]["success"] == true);
    assert_eq!((calls.len(), done.count()), (40, 40));
    assert_eq!(
        of_kind(&workspace, &session, "approval_required"),
        [] as [Value; 0]
    );
    let last = workspace.read(".duragent/agents/ada/work/part 3/src/file19.rs");
    assert_eq!(last, "one 19\nthree\n");
}
