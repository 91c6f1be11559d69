//! What is done with a server that runs, wherever it was started, and one that ends by itself.

use serde_json::{Value, json};

use super::*;
use crate::support::bench::{Bench, asking, echo};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::server::{Launch, Server, Workspace};

const TOKEN: &str = "an-api-token-that-nobody-guesses";
const ADMIN: &str = "an-admin-token-that-nobody-guesses";

/// A server that wants its tokens, the names of which stand in variables that no command here has.
fn guarded_server() -> (Workspace, Server) {
    let workspace = Workspace::new();
    workspace.config("server: {api_token: \"${A}\", admin_token: \"${B}\"}\n");
    workspace.echo_agent("echo");
    let launch = Launch::new(&workspace).env("A", TOKEN).env("B", ADMIN);
    let server = launch.start();
    (workspace, server)
}

fn port_of(server: &Server) -> String {
    server.address.port().to_string()
}

#[test]
fn the_status_of_a_server_needs_no_token_and_no_workspace() {
    let (workspace, server) = guarded_server();
    let (url, pid, port) = (
        format!("http://{}", server.address),
        server.pid(),
        port_of(&server),
    );
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!("{url}  ready  {version}  pid {pid}\n");
    assert_eq!(workspace.run(&["serve", "status"]), expected);
    // Named by its port, it is the same one …
    assert_eq!(workspace.run(&["serve", "status", "-p", &port]), expected);
    let localhost = format!("localhost:{port}");
    assert_eq!(
        workspace.run(&["serve", "status", "-s", &localhost]),
        expected
    );
    // … which from elsewhere has no process.
    let elsewhere = folder();
    for arguments in [
        vec![
            "serve",
            "status",
            "--port",
            &port,
            "--host",
            "localhost",
            "--json",
        ],
        vec!["serve", "status", "-s", &url, "--format", "json"],
    ] {
        let output = run(elsewhere.path(), &arguments);
        let told: Value = serde_json::from_str(&out(&output)).unwrap();
        assert_eq!(told["running"], true, "{told}");
        assert_eq!(told["version"], version);
        assert_eq!(told["pid"], Value::Null);
    }
}

#[test]
fn where_nothing_of_ours_listens_that_is_said() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = silent.local_addr().unwrap().port().to_string();
    drop(silent);
    let foreign = ScriptedServer::start_as(scripted_server::Age::Before, |_, answer| {
        answer.text(404, "<html>");
    });
    let web_site = ScriptedServer::start_as(scripted_server::Age::Before, |_, answer| {
        answer.text(200, "<!doctype html><title>At any path</title>");
    });
    let port_of = |server: &ScriptedServer| {
        let address = server.address();
        address.rsplit_once(':').unwrap().1.to_owned()
    };
    let folder = folder();
    for port in [&gone, &port_of(&foreign), &port_of(&web_site)] {
        for command in ["status", "stop"] {
            let line = ["serve", command, "-p", port, "--token", "secret"];
            let output = run(folder.path(), &line);
            assert_eq!(code(&output), 1, "{command}");
            assert!(err(&output).contains("no server of Duragent answers"));
        }
    }
    // No stranger was shown the token.
    for asked in foreign.asked().into_iter().chain(web_site.asked()) {
        assert_eq!(asked.header("authorization"), None, "{}", asked.line);
    }
}

#[test]
fn the_own_server_is_stopped_without_a_token_also_by_its_port() {
    for named in [false, true] {
        let (workspace, mut server) = guarded_server();
        let port = port_of(&server);
        let line = if named {
            vec!["serve", "stop", "-p", &port]
        } else {
            vec!["serve", "stop"]
        };
        workspace.run(&line);
        assert!(server.wait_for_exit().success());
    }
}

#[test]
fn another_server_is_stopped_with_its_token() {
    let (_workspace, mut server) = guarded_server();
    let (port, elsewhere) = (port_of(&server), folder());
    let line = ["serve", "stop", "-p", &port];
    let output = run(elsewhere.path(), &line);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("does not stop"), "{}", err(&output));
    assert!(err(&output).contains("--token"), "{}", err(&output));
    let output = run(elsewhere.path(), &[&line[..], &["--token", ADMIN]].concat());
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(server.wait_for_exit().success());
    // It is said when it has, and so at once again to nobody.
    assert_eq!(code(&run(elsewhere.path(), &line)), 1);
}

#[test]
fn agents_are_read_again_and_mistakes_are_told() {
    let (workspace, server) = Bench::new()
        .config(&format!(
            "server: {{api_token: {TOKEN}, admin_token: {ADMIN}}}\n"
        ))
        .agent(echo("echo"))
        .serve()
        .apart();
    let reload = ["serve", "reload-agents"];
    assert_eq!(workspace.run(&reload), "the agents are as they were\n");
    workspace.echo_agent("second");
    assert_eq!(workspace.run(&reload), "new: second\n");
    workspace.write(".duragent/agents/second/agent.yaml", "kind: [\n");
    let port = port_of(&server);
    let named = [&reload[..], &["-p", &port, "--json", "--token", ADMIN]].concat();
    let output = run(folder().path(), &named);
    assert_eq!(code(&output), 1);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["errors"][0]["file"], "agents/second/agent.yaml");
    assert!(err(&output).contains("agents/second/agent.yaml: "));
}

#[test]
fn who_comes_while_a_server_stops_gets_another_one() {
    let model = FakeModel::start();
    model.reply(text("a moment ").and_stall());
    let (workspace, server) = Bench::new()
        .config("server: {port: 0, shutdown_grace_seconds: 2}")
        .agent(echo("echo"))
        .agent(asking("slow", &model).continues())
        .serve()
        .apart();
    let session = server.create_session("slow");
    let path = format!("/api/v1/sessions/{session}/messages");
    let body = json!({"content": "when?"});
    server.send_json("POST", &path, &[("Prefer", "respond-async")], &body);
    model.wait_for_stalls(1);
    server.terminate();
    // It has the workspace still, and takes no requests.
    wait_until(|| std::net::TcpStream::connect(server.address).is_err());
    assert!(!workspace.run(&["serve", "status"]).contains("  ready"));
    let output = run_with_input(workspace.path(), &["chat", "-a", "echo"], "hello");
    workspace.run(&["serve", "stop"]);
    assert!(out(&output).contains("hello"), "{}", err(&output));
    assert!(
        err(&output).contains("started a server"),
        "{}",
        err(&output)
    );
}

// --- servers that end by themselves ---

/// Longer than a server of one second stays without a reason.
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn a_server_that_nobody_needs_ends_by_itself() {
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    let began = Instant::now();
    let mut server = Server::start(&workspace, &["--ephemeral", "1"]);
    assert!(server.wait_for_exit().success());
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(server.log().contains("--ephemeral"), "{}", server.log());
    assert_eq!(code(&run(workspace.path(), &["serve", "status"])), 1);
}

#[test]
fn a_server_stays_while_somebody_watches() {
    for query in ["", "?readonly=true"] {
        let mut server = Bench::new()
            .config("server: {keep_alive_interval_seconds: 1}")
            .agent(echo("echo"))
            .arguments(&["--ephemeral", "1"])
            .serve();
        let session = server.create_session("echo");
        let mut events = server.events(&session, query, None);
        events.expect("session");
        // A second each.
        for _ in 0..3 {
            events.expect_comment("keep-alive");
        }
        drop(events);
        assert!(server.wait_for_exit().success());
    }
}

#[test]
fn a_server_stays_while_a_turn_is_at_work_though_nobody_is_there() {
    let model = FakeModel::start();
    model.reply(text("a moment ").and_stall().and_text("and done"));
    let workspace = Workspace::new();
    // An order to stop would give the turn more time than this test has.
    workspace.config("server: {shutdown_grace_seconds: 1}\n");
    workspace.openai_agent("helper", &model.url());
    let mut server = Server::start(&workspace, &["--ephemeral", "1"]);
    let session = server.create_session("helper");
    let path = format!("/api/v1/sessions/{session}/messages");
    let body = json!({"content": "when?"});
    server.send_json("POST", &path, &[("Prefer", "respond-async")], &body);
    model.wait_for_stalls(1);
    // It ends by the clock alone, and nothing tells that it does not.
    std::thread::sleep(A_WHILE);
    model.release();
    assert!(server.wait_for_exit().success());
    let last = workspace.log_of(&session).pop().unwrap();
    assert_eq!(
        (&last["type"], &last["outcome"]),
        (&json!("turn_ended"), &json!("completed"))
    );
}

#[test]
fn a_server_stays_for_a_question_that_will_end_by_itself_and_not_for_one_that_waits_for_ever() {
    for (timeout, last_event) in [
        (Some("approval_timeout: 4s"), "turn_ended"),
        (None, "approval_required"),
    ] {
        let model = FakeModel::start();
        model
            .reply(tool_call("bash", r#"{"command":"touch ran"}"#))
            .then(text("a pity"));
        let helper = asking("helper", &model).continues().builtin("bash");
        let helper = match timeout {
            Some(timeout) => helper.session(timeout),
            None => helper,
        };
        let mut server = Bench::new()
            .agent(helper)
            .arguments(&["--ephemeral", "1"])
            .serve();
        let session = server.create_session("helper");
        assert_eq!(server.say(&session, "run").json()["command"], "touch ran");
        assert!(server.wait_for_exit().success());
        let last = server.workspace.log_of(&session).pop().unwrap();
        assert_eq!(last["type"], last_event, "{timeout:?}");
    }
}

// --- words that others have ---

#[test]
fn what_there_is_no_command_for_is_said_with_what_is_done_instead() {
    for (line, says) in [
        ("upgrade", "cargo install"),
        ("upgrade --check 1.2", "cargo install"),
        ("login", "OPENROUTER_API_KEY"),
        ("login anthropic --browser", "OPENROUTER_API_KEY"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(folder().path(), &arguments);
        assert_eq!(code(&output), 2, "{line}");
        assert!(err(&output).contains("hint: "), "{line}: {}", err(&output));
        assert!(err(&output).contains(says), "{line}: {}", err(&output));
    }
}

#[test]
fn init_says_nothing_where_only_what_goes_wrong_is_to_be_said() {
    let folder = folder();
    for line in [
        "-q init --no-interactive --provider echo",
        "init -q --no-interactive",
        "init -q --no-interactive --agent-name my-assistant",
        "agent create second -q --no-interactive --provider echo",
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(folder.path(), &arguments);
        let said = (code(&output), out(&output), err(&output));
        assert_eq!(said, (0, String::new(), String::new()), "{line}");
    }
    assert!(
        folder
            .path()
            .join(".duragent/agents/second/agent.yaml")
            .exists()
    );
}

#[test]
fn init_makes_the_folder_that_is_named() {
    let folder = folder();
    let line = [
        "init",
        "new/place",
        "--no-interactive",
        "--provider",
        "echo",
    ];
    let output = run(folder.path(), &line);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("cd new/place"), "{}", out(&output));
    let place = folder.path().join("new/place");
    assert!(place.join("duragent.yaml").exists());
    assert!(
        place
            .join(".duragent/agents/my-assistant/agent.yaml")
            .exists()
    );
    let listed = out(&run(&place, &["agent", "list"]));
    assert!(listed.contains("my-assistant"), "{listed}");
    // Where one is, one need not go.
    let here = run(
        &place,
        &["init", ".", "--agent-name", "x", "--no-interactive"],
    );
    assert!(!out(&here).contains("cd "), "{}", out(&here));
    assert!(place.join(".duragent/agents/x/agent.yaml").exists());
    // Nothing was set up where it was typed.
    assert!(!folder.path().join("duragent.yaml").exists());
    assert!(!folder.path().join(".duragent").exists());
}

#[test]
fn agents_that_are_elsewhere_are_those_of_the_server_that_a_chat_starts() {
    let workspace = Workspace::new();
    workspace.config("server: {port: 0}\n");
    workspace.echo_agent("near");
    let made = [
        "--agents-dir",
        "others",
        "agent",
        "create",
        "far",
        "--provider",
        "echo",
    ];
    workspace.run(&made);
    assert!(workspace.file("others/far/agent.yaml").exists());
    let listed = workspace.run(&["agent", "list", "--agents-dir", "others"]);
    assert!(
        listed.contains("far") && !listed.contains("near"),
        "{listed}"
    );
    let line = ["chat", "--agents-dir", "others"];
    let output = run_with_input(workspace.path(), &line, "hello");
    let served = workspace.run(&["agent", "list"]);
    workspace.run(&["serve", "stop"]);
    assert!(out(&output).contains("hello"), "{}", err(&output));
    assert!(
        served.contains("far") && !served.contains("near"),
        "{served}"
    );
    // Whoever names them needs no workspace.
    let (bare, others) = (folder(), workspace.file("others"));
    let line = ["agent", "list", "--agents-dir", others.to_str().unwrap()];
    assert!(out(&run(bare.path(), &line)).contains("far"));
}

#[test]
fn whoever_names_a_session_and_an_agent_or_a_server_twice_is_told() {
    for (line, says) in [
        (
            "chat -s 7QW3FZ -a x",
            "cannot be used with the session 7QW3FZ",
        ),
        ("chat -s http://a -s http://b", "is a server, and so is"),
        ("attach 7QW3FZ -s 8QW3FZ", "is a session, and so is"),
        (
            "attach --list -s 7QW3FZ",
            "cannot be used with the session 7QW3FZ",
        ),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run_with_input(folder().path(), &arguments, "hi");
        assert_eq!(code(&output), 2, "{line}: {}", err(&output));
        assert!(err(&output).contains(says), "{line}: {}", err(&output));
    }
}

#[test]
fn every_command_that_has_json_has_it_in_both_words() {
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    let json = |line: &str| -> Value {
        let arguments: Vec<&str> = line.split(' ').collect();
        let output = run(workspace.path(), &arguments);
        let text = out(&output);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{line}: {text}{}", err(&output)))
    };
    for line in [
        "agent list",
        "agent show echo",
        "session list",
        "session check --all",
        "attach --list",
        "doctor",
        "serve status",
        "policy test -a echo bash:ls",
    ] {
        let pair = [format!("{line} --json"), format!("{line} --format json")];
        let mut told = pair.each_ref().map(|line| json(line));
        if line == "doctor" {
            // The time of day, and what is free, are others each time.
            told = told.map(|checks| checks.as_array().unwrap().len().into());
        }
        assert_eq!(told[0], told[1], "{line}");
    }
    let text = workspace.run(&["agent", "list", "--format", "text"]);
    assert!(text.starts_with("NAME"), "{text}");
}
