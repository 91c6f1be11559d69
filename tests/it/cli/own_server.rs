//! The workspace that a command is about, and its server: found, started, lost and found again.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::*;
use crate::support::server::{Launch, Server, Workspace};

/// Ends whatever server runs for a folder when the test is over.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        drop(duragent(self.0, &["serve", "stop"]).output_in_time());
    }
}

fn lock_of(folder: &Path) -> String {
    fs::read_to_string(folder.join(".duragent/lock")).unwrap_or_default()
}

/// The process of the server that runs for a folder.
fn pid_of(folder: &Path) -> Pid {
    let lock = lock_of(folder);
    let pid = lock.lines().find_map(|line| line.strip_prefix("pid: "));
    Pid::from_raw(pid.unwrap().parse().unwrap()).unwrap()
}

/// What people said in the only session of a folder.
fn said(workspace: &Workspace) -> Vec<String> {
    let sessions = fs::read_dir(workspace.file(".duragent/sessions")).unwrap();
    let ids = sessions.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let records = ids.flat_map(|id| workspace.log_of(&id));
    let said = records.filter(|record| record["type"] == "user_message");
    said.map(|record| record["content"].as_str().unwrap().to_owned())
        .collect()
}

/// Any port: 8080 may be taken.
fn quiet_workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.config("server: {port: 0}\n");
    workspace.echo_agent("echo");
    workspace
}

// --- where the workspace is ---

#[test]
fn in_a_folder_without_a_workspace_nothing_is_made_or_started() {
    let folder = folder();
    for line in [
        "chat",
        "attach --list",
        "attach",
        "serve",
        "session list",
        "session check --all",
        "agent list",
        "agent show x",
        "policy test --agent x bash:ls",
        "serve stop",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run_with_input(folder.path(), &arguments, "hello");
        let text = err(&output);
        assert_eq!(code(&output), 1, "{line}: {text}");
        assert!(text.contains("there is no workspace in"), "{line}: {text}");
        assert!(text.contains("duragent init"), "{line}: {text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{line}");
    }
    // A bare folder is none either: one may be left by a mistake.
    fs::create_dir_all(folder.path().join(".duragent/sessions")).unwrap();
    assert_eq!(code(&run(folder.path(), &["session", "list"])), 1);
}

#[test]
fn a_command_in_a_folder_below_is_about_the_workspace_above() {
    let workspace = quiet_workspace();
    let below = workspace.file("src/deep");
    fs::create_dir_all(&below).unwrap();
    let _ended = Ended(workspace.path());
    let in_it = |arguments: &[&str], input: &str| {
        let mut command = duragent(&below, arguments);
        command.env("HOME", workspace.path());
        fed(command, input)
    };
    let output = in_it(&["chat"], "are you there?");
    assert!(out(&output).contains("are you there?"), "{}", err(&output));
    assert_eq!(out(&in_it(&["attach", "--list"], "")).lines().count(), 2);
    assert!(out(&in_it(&["agent", "list"], "")).contains("echo"));
    assert_eq!(code(&in_it(&["serve", "status"], "")), 0);
    assert_eq!(fs::read_dir(&below).unwrap().count(), 0);
}

#[test]
fn a_folder_that_others_can_write_is_named_and_not_used() {
    let workspace = quiet_workspace();
    fs::set_permissions(workspace.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let output = run_with_input(workspace.path(), &["chat"], "hello");
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("does not count"), "{}", err(&output));
    assert!(!workspace.file(".duragent/lock").exists());
    // Named, it is what the user wants.
    let named = ["--config", "duragent.yaml", "agent", "list"];
    assert!(out(&run(workspace.path(), &named)).contains("echo"));
    // Nor is one made where it would not be used.
    let output = run(workspace.path(), &["init", "--no-interactive"]);
    assert_eq!(code(&output), 1, "{}", out(&output));
    fs::set_permissions(workspace.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(out(&run(workspace.path(), &["agent", "list"])).contains("echo"));
}

#[test]
fn on_a_terminal_a_workspace_is_offered() {
    let folder = folder();
    let mut terminal = Terminal::start(folder.path(), &["chat"]);
    terminal.wait_for("Make one here");
    terminal.type_in("\r");
    assert_eq!(terminal.wait_for_exit().code(), Some(1));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let _ended = Ended(folder.path());
    let mut terminal = Terminal::start(folder.path(), &["chat"]);
    terminal.wait_for("Make one here");
    terminal.type_in("y\r");
    for question in ["name of the agent", "provider", "model"] {
        terminal.wait_for(question);
        terminal.type_in("\r");
    }
    terminal.wait_for_prompt("> ");
    assert!(folder.path().join("duragent.yaml").exists());
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

// --- consent ---

const GATEWAY: &str = "server: {port: 0}\ngateways: {external: [{name: irc, command: ./irc, args: [\"${IRC_KEY:-x}\"]}]}\n";

#[test]
fn what_a_strangers_folder_would_start_is_asked_for_once() {
    let workspace = quiet_workspace();
    workspace.config(GATEWAY);
    let _ended = Ended(workspace.path());
    let piped = || run_with_input(workspace.path(), &["chat"], "hello");
    let output = piped();
    assert_eq!(code(&output), 1);
    let text = err(&output);
    assert!(text.contains("starts the program ./irc"), "{text}");
    assert!(text.contains("sends IRC_KEY to ./irc"), "{text}");
    assert!(text.contains("duragent serve"), "{text}");
    assert!(!workspace.file(".duragent/lock").exists());

    let chat = || Terminal::start(workspace.path(), &["chat"]);
    let mut terminal = chat();
    terminal.wait_for("Start? [y/N]");
    terminal.type_in("n\r");
    assert_eq!(terminal.wait_for_exit().code(), Some(1));
    assert!(!workspace.file(".duragent/lock").exists());

    let mut terminal = chat();
    terminal.wait_for("Start? [y/N]");
    terminal.type_in("y\r");
    terminal.wait_for_prompt("> ");
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    assert_eq!(code(&run(workspace.path(), &["serve", "stop"])), 0);

    // Once, and for these files.
    assert_eq!(code(&piped()), 0);
    assert_eq!(code(&run(workspace.path(), &["serve", "stop"])), 0);
    workspace.config(&GATEWAY.replace("./irc, args", "./other, args"));
    assert_eq!(code(&piped()), 1);
    // It is the owner's alone to write, and lies outside of the workspace.
    let records = fs::read_dir(workspace.file(".local/state/duragent/served")).unwrap();
    let record = records.last().unwrap().unwrap().path();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&record), 0o600);
    assert_eq!(mode(record.parent().unwrap()), 0o700);
    assert!(!fs::read_to_string(record).unwrap().contains("\"x\""));
}

#[test]
fn a_copied_workspace_brings_no_consent() {
    let workspace = quiet_workspace();
    workspace.config(GATEWAY);
    drop(Server::start(&workspace, &[]));
    let copy = folder();
    let copied = Command::new("cp")
        .arg("-r")
        .args([workspace.file("duragent.yaml"), workspace.file(".duragent")])
        .arg(copy.path())
        .status_in_time();
    assert!(copied.unwrap().success());
    let chat = |folder: &Path| {
        let mut command = duragent(folder, &["chat"]);
        command.env("HOME", workspace.path());
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello").unwrap();
        output_of(child)
    };
    let output = chat(copy.path());
    assert_eq!(code(&output), 1, "{}", err(&output));
    assert!(err(&output).contains("was not started"), "{}", err(&output));
    // Whoever types `serve` agrees.
    let _ended = Ended(workspace.path());
    let output = chat(workspace.path());
    assert_eq!(code(&output), 0, "{}", err(&output));
}

// --- a key that the server was not given ---

#[test]
fn a_server_without_a_key_is_said_and_started_again_where_the_user_wants_it() {
    let workspace = quiet_workspace();
    fs::remove_dir_all(workspace.file(".duragent/agents/echo")).unwrap();
    workspace.agent("ada", "  model: {provider: openai, name: gpt}\n");
    let _ended = Ended(workspace.path());
    let output = run_with_input(workspace.path(), &["chat"], "hello");
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("OPENAI_API_KEY"), "{}", err(&output));
    assert!(
        err(&output).contains("duragent serve stop"),
        "{}",
        err(&output)
    );
    let before = pid_of(workspace.path());

    let with_key = [("OPENAI_API_KEY", "sk-of-the-test")];
    let mut doctor = duragent(workspace.path(), &["doctor"]);
    let seen = out(&doctor.envs(with_key).output_in_time().unwrap());
    let wanted = "agent ada: the server that runs has no OPENAI_API_KEY";
    assert!(
        seen.contains(wanted) && seen.contains("it is set here"),
        "{seen}"
    );

    let mut terminal = Terminal::start_with(workspace.path(), &["chat"], &with_key);
    terminal.wait_for("was started without OPENAI_API_KEY");
    terminal.type_in("y\r");
    terminal.wait_for_prompt("> ");
    assert_ne!(pid_of(workspace.path()), before);
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
    // Asked no more, and the doctor hears it from the server.
    let seen = out(&run(workspace.path(), &["doctor"]));
    assert!(!seen.contains("OPENAI_API_KEY"), "{seen}");
    let terminal = Terminal::start_with(workspace.path(), &["chat"], &with_key);
    terminal.wait_for_prompt("> ");
    assert!(
        !terminal.shown().contains("Restart"),
        "{}",
        terminal.shown()
    );
}

#[test]
fn a_server_that_a_person_started_is_nobody_elses_to_stop() {
    let workspace = quiet_workspace();
    workspace.agent("ada", "  model: {provider: openai, name: gpt}\n");
    let server = Launch::new(&workspace)
        .without_env("OPENAI_API_KEY")
        .start();
    assert!(!lock_of(workspace.path()).contains("started_by"));
    let line = ["chat", "--agent", "ada"];
    let with_key = [("OPENAI_API_KEY", "sk-of-the-test")];
    let terminal = Terminal::start_with(workspace.path(), &line, &with_key);
    terminal.wait_for("was started without OPENAI_API_KEY");
    terminal.wait_for_prompt("> ");
    assert!(
        !terminal.shown().contains("Restart"),
        "{}",
        terminal.shown()
    );
    assert_eq!(
        pid_of(workspace.path()).as_raw_nonzero().get() as u32,
        server.pid()
    );
}

// --- a server that goes ---

#[test]
fn a_server_that_a_chat_started_is_started_again_when_it_dies() {
    let workspace = quiet_workspace();
    let _ended = Ended(workspace.path());
    let mut terminal = Terminal::start(workspace.path(), &["chat"]);
    terminal.wait_for_prompt("> ");
    assert!(lock_of(workspace.path()).contains("started_by: client"));
    terminal.type_in("first words\r");
    terminal.wait_for_times("first words", 2);
    terminal.wait_for_prompt("> ");
    let first = pid_of(workspace.path());
    kill_process(first, Signal::KILL).unwrap();
    terminal.wait_for("the server had gone: started a server at");
    terminal.type_in("second words\r");
    terminal.wait_for_times("second words", 2);
    terminal.wait_for_prompt("> ");
    assert_ne!(pid_of(workspace.path()), first);
    assert_eq!(said(&workspace), ["first words", "second words"]);

    // One that somebody stopped stays stopped, until the user asks for something.
    assert_eq!(code(&run(workspace.path(), &["serve", "stop"])), 0);
    terminal.wait_for("has gone; start it in another terminal, with: duragent serve");
    assert!(!lock_of(workspace.path()).contains("pid"));
    terminal.type_in("third words\r");
    terminal.wait_for_times("third words", 2);
    assert_eq!(
        said(&workspace),
        ["first words", "second words", "third words"]
    );
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

#[test]
fn words_for_a_server_that_is_gone_come_back_to_the_prompt_and_are_stored_once() {
    let workspace = quiet_workspace();
    let mut server = Server::start(&workspace, &[]);
    let port = server.address.port();
    let mut terminal = Terminal::start(workspace.path(), &["chat"]);
    terminal.wait_for_prompt("> ");
    server.kill();
    terminal.wait_for("start it in another terminal, with: duragent serve");
    let typed_at = Instant::now();
    terminal.type_in("important words\r");
    terminal.wait_for("your message stands at the prompt again");
    assert!(
        typed_at.elapsed() < Duration::from_secs(10),
        "{}",
        terminal.shown()
    );
    terminal.wait_for_prompt("> important words");
    // The same workspace, at another address.
    let server = Server::start(&workspace, &[]);
    assert_ne!(server.address.port(), port);
    terminal.wait_for("> important words");
    terminal.type_in("\r");
    wait_until(|| said(&workspace) == ["important words"]);
    terminal.wait_for_prompt("> ");
    assert_eq!(said(&workspace), ["important words"]);
    terminal.type_in("\u{4}");
    assert_eq!(terminal.wait_for_exit().code(), Some(0));
}

// --- agents with mistakes ---

#[test]
fn an_agent_with_a_mistake_is_named_with_it() {
    let workspace = quiet_workspace();
    let tab = "apiVersion: duragent/v1alpha1\nkind: Agent\nmetadata:\n\tname: tabby\n";
    workspace.write(".duragent/agents/tabby/agent.yaml", tab);
    let mistake = "tabby/agent.yaml:4:1: a tab stands here";
    let named = |output: &Output, what: &str| {
        let text = format!("{}{}", out(output), err(output));
        assert!(
            text.contains("tabby") && text.contains(mistake),
            "{what}: {text}"
        );
    };
    named(&run(workspace.path(), &["agent", "list"]), "list on files");
    named(&run(workspace.path(), &["doctor"]), "doctor");
    let server = Server::start(&workspace, &[]);
    named(&run(workspace.path(), &["agent", "list"]), "list");
    let chat = ["chat", "--agent", "tabby"];
    let output = run_with_input(workspace.path(), &chat, "hello");
    assert_eq!(code(&output), 1);
    named(&output, "chat");

    let refused = server.post("/api/v1/sessions", &serde_json::json!({"agent": "tabby"}));
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains(mistake), "{}", refused.text());
    assert_eq!(refused.json()["type"], "urn:duragent:problem:agent-broken");
    let shown = server.get("/api/v1/agents/tabby");
    assert!(shown.text().contains(mistake), "{}", shown.text());
    let list: Value = server.get("/api/v1/agents").json();
    assert_eq!(list["broken"][0]["name"], "tabby");

    // A session whose agent has one by now.
    let session = server.create_session("echo");
    drop(server);
    let file = ".duragent/agents/echo/agent.yaml";
    let good = workspace.read(file);
    workspace.write(file, &good.replace("spec:", "spec: [\n"));
    let server = Server::start(&workspace, &[]);
    let refused = server.say(&session, "hello?");
    assert_eq!(refused.status, 409);
    assert!(
        refused.text().contains("echo/agent.yaml:"),
        "{}",
        refused.text()
    );
    // The only agents there are have mistakes: that is what there is to say.
    drop(server);
    let _ended = Ended(workspace.path());
    let output = run_with_input(workspace.path(), &["chat"], "hello");
    assert_eq!(code(&output), 1);
    named(&output, "chat without a choice");
}
