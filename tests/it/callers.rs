//! Who may call the server without a token, and what the programs of tools may ask of it.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, fchown};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};

use crate::support::bench::{AgentFiles, Bench, echo};
use crate::support::desk::which;
use crate::support::fake_model::FakeModel;
use crate::support::process::Limited as _;
use crate::support::server::{Answer, Launch, PATIENCE, Remote, Server, Workspace, eventually};

/// An account that is not ours; it needs no entry anywhere.
const STRANGER: u32 = 1234;

/// Whether this process may act as another account. Where it may not, the test runs again in a user
/// namespace in which it may, if the machine lets its users make one with several accounts.
fn may_be_others(test: &str) -> bool {
    if geteuid().is_root() {
        return true;
    }
    let make = ["--user", "--map-root-user", "--map-auto"];
    let can_make = Command::new("unshare").args(make).arg("true").output();
    if !can_make.is_ok_and(|output| output.status.success()) {
        eprintln!("{test}: this machine has no accounts to spare");
        return false;
    }
    let again = Command::new("unshare")
        .args(make)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("callers::{test}")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(
        again.status.success() && said.contains("1 passed"),
        "{said}"
    );
    false
}

fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    let length = body.len();
    text.push_str("Content-Type: application/json\r\n");
    format!("{text}Content-Length: {length}\r\n\r\n{body}")
}

/// The end of a connection that belongs to another account.
fn strangers_socket(address: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    // Before it is accepted.
    fchown(&socket, Some(STRANGER), None).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn all_of(mut socket: TcpStream) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

/// What a shell of another account gets for a request; nothing where it does not wait for an answer.
fn as_stranger(address: SocketAddr, request: &str, waits: bool) -> String {
    let port = address.port();
    let script = if waits {
        "exec 3<>/dev/tcp/127.0.0.1/$0; printf %s \"$1\" >&3; cat <&3"
    } else {
        "exec 3<>/dev/tcp/127.0.0.1/$0; printf %s \"$1\" >&3; exec 3>&-"
    };
    let uid = STRANGER.to_string();
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
            "bash",
            "-c",
            script,
        ])
        .args([&port.to_string(), request])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn sessions(server: &Remote) -> usize {
    let list = server.get("/api/v1/sessions").json();
    list["sessions"].as_array().unwrap().len()
}

/// Waits until all that was sent before has been dealt with.
fn let_pass(server: &Remote) {
    for _ in 0..3 {
        assert_eq!(server.get("/livez").status, 200);
    }
}

#[test]
fn another_account_creates_no_session_and_approves_nothing_however_it_sends() {
    if !may_be_others("another_account_creates_no_session_and_approves_nothing_however_it_sends") {
        return;
    }
    let workspace = Workspace::new();
    asking_agent(&workspace, "ada");
    let server = Server::start(&workspace, &[]);
    let (session, question) = ask(&server, "ada", "touch deed");
    let create = request("POST", "/api/v1/sessions", &[], r#"{"agent":"ada"}"#);
    let approve = request(
        "POST",
        &format!("/api/v1/sessions/{session}/approve"),
        &[],
        &decision(&question).to_string(),
    );
    for text in [&create, &approve] {
        let answer = as_stranger(server.address, text, true);
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        for name in ["server.api_token", "server.local_users"] {
            assert!(answer.contains(name), "{answer}");
        }
        // Closed when it is accepted, which the system reports as root's; and ended for one direction.
        server.signal(Signal::STOP);
        assert_eq!(as_stranger(server.address, text, false), "");
        let mut gone = strangers_socket(server.address);
        gone.write_all(text.as_bytes()).unwrap();
        drop(gone);
        server.signal(Signal::CONT);
        let mut half = strangers_socket(server.address);
        half.write_all(text.as_bytes()).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        assert!(all_of(half).starts_with("HTTP/1.1 403"));
        // Closed later.
        assert_eq!(as_stranger(server.address, text, false), "");
    }
    let_pass(&server);
    assert_eq!(sessions(&server), 1);
    assert!(is_asking(&server, &session));
    // What tells nobody anything is for everybody.
    for path in ["/livez", "/readyz", "/version"] {
        let answer = as_stranger(server.address, &request("GET", path, &[], ""), true);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert_eq!(decide(&server, &session, &question).status, 200);
}

#[test]
fn another_account_s_browser_gets_in_with_a_ticket_and_gives_none_out() {
    if !may_be_others("another_account_s_browser_gets_in_with_a_ticket_and_gives_none_out") {
        return;
    }
    let server = Bench::new().agent(echo("echo")).serve();
    let session = server.create_session("echo");
    let path = format!("/api/v1/sessions/{session}/ticket");
    let refused = as_stranger(server.address, &request("POST", &path, &[], ""), true);
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let ticket = server.post(&path, &json!({})).json()["ticket"].clone();
    let path = format!(
        "/api/v1/sessions/{session}/events?ticket={}",
        ticket.as_str().unwrap()
    );
    let answer = as_stranger(server.address, &request("HEAD", &path, &[], ""), true);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("text/event-stream"), "{answer}");
    let foreign = ["Origin: https://evil.example"];
    let answer = as_stranger(server.address, &request("HEAD", &path, &foreign, ""), true);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn an_account_that_is_named_is_let_in_and_so_is_any_where_any_is() {
    if !may_be_others("an_account_that_is_named_is_let_in_and_so_is_any_where_any_is") {
        return;
    }
    for (users, expected) in [
        ("[1234]", "200"),
        ("any", "200"),
        ("[4321]", "403"),
        ("owner", "403"),
    ] {
        let server = Bench::new()
            .agent(echo("echo"))
            .config(&format!("server: {{local_users: {users}}}\n"))
            .serve();
        let answer = as_stranger(
            server.address,
            &request("GET", "/api/v1/agents", &[], ""),
            true,
        );
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected}")),
            "{users}: {answer}"
        );
        assert_eq!(server.get("/api/v1/agents").status, 200, "{users}");
    }
}

#[test]
fn with_a_token_the_token_alone_decides() {
    if !may_be_others("with_a_token_the_token_alone_decides") {
        return;
    }
    let workspace = Workspace::new();
    asking_agent(&workspace, "ada");
    workspace.config("server: {api_token: t0ken}\n");
    let mut server = Launch::new(&workspace).start();
    server.token = Some("t0ken".into());
    let (session, question) = ask(&server, "ada", "true");
    let path = format!("/api/v1/sessions/{session}/approve");
    let body = decision(&question).to_string();
    let answer = as_stranger(server.address, &request("POST", &path, &[], &body), true);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // As a proxy that runs as another account would send it.
    let shown = ["Authorization: Bearer t0ken"];
    let answer = as_stranger(server.address, &request("POST", &path, &shown, &body), true);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn where_no_account_has_a_number_nobody_is_let_in() {
    let namespace = ["unshare", "--user"];
    let can_make = Command::new("unshare").args(["--user", "true"]).output();
    if !can_make.is_ok_and(|output| output.status.success()) {
        eprintln!("this machine's users make no namespaces");
        return;
    }
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    // It sees itself, and us, under the number that stands for all that it has none for.
    let server = Launch::new(&workspace).under(&namespace).start();
    let answer = server.get("/api/v1/agents");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(
        answer.text().contains("server.local_users"),
        "{}",
        answer.text()
    );
}

#[test]
fn another_account_brings_no_file_fetches_none_and_names_none() {
    if !may_be_others("another_account_brings_no_file_fetches_none_and_names_none") {
        return;
    }
    let server = Bench::new().agent(echo("echo").continues()).serve();
    let session = server.create_session("echo");
    let files = format!("/api/v1/sessions/{session}/files");
    let kind = [("Content-Type", "text/plain")];
    let brought = server.request("POST", &files, &kind, b"the owner's");
    let key = brought.json()["file"].as_str().unwrap().to_owned();
    let names = json!({"content": "look", "attachments": [{"file": key}]}).to_string();
    let say = format!("/api/v1/sessions/{session}/messages");
    let stream = format!("/api/v1/sessions/{session}/stream");
    for text in [
        request("POST", &files, &[], "a stranger's"),
        request("GET", &format!("{files}/{key}"), &[], ""),
        request("HEAD", &format!("{files}/{key}"), &[], ""),
        request("POST", &say, &[], &names),
        request("POST", &stream, &[], &names),
    ] {
        let answer = as_stranger(server.address, &text, true);
        assert!(answer.starts_with("HTTP/1.1 403"), "{text}: {answer}");
        assert!(!answer.contains("owner's"), "{answer}");
    }
    let folder = format!(".duragent/sessions/{session}/files");
    let kept = fs::read_dir(server.workspace.file(&folder)).unwrap();
    assert_eq!(kept.count(), 1);
    let messages = server.get(&say).json();
    assert_eq!(messages["messages"], json!([]));
    assert_eq!(server.get(&format!("{files}/{key}")).status, 200);
}

#[test]
fn another_account_that_asks_for_models_runs_no_program_and_has_no_key() {
    if !may_be_others("another_account_that_asks_for_models_runs_no_program_and_has_no_key") {
        return;
    }
    let model = FakeModel::start();
    model.offers(&["m"]);
    let url = model.url();
    let workspace = Workspace::new();
    workspace.write("office.key", "key-of-the-office\n");
    fs::set_permissions(workspace.file("office.key"), Permissions::from_mode(0o600)).unwrap();
    workspace.config(&format!(
        "providers:\n  lan: {{base_url: \"{url}/v1\", api_key_command: [sh, -c, \"echo >> /proc/self/cwd/ran; echo key-of-lan\"]}}\n  \
         office: {{base_url: \"{url}/v1\", api_key_file: ./office.key}}\n"
    ));
    workspace.echo_agent("echo");
    // Its owner has agreed.
    drop(Launch::new(&workspace).start());
    fs::remove_file(workspace.file("ran")).unwrap();
    for folder in [workspace.path().to_owned(), workspace.file(".duragent")] {
        fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    fs::set_permissions(elsewhere.path(), Permissions::from_mode(0o777)).unwrap();
    let program = elsewhere.path().join("duragent");
    fs::copy(env!("CARGO_BIN_EXE_duragent"), &program).unwrap();
    let uid = STRANGER.to_string();
    let lists = |arguments: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid", &uid, "--regid", &uid, "--clear-groups"])
            .arg(&program)
            .arg("models")
            .args(arguments)
            .current_dir(workspace.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", elsewhere.path())
            .output_in_time()
            .unwrap();
        [output.stdout, output.stderr].concat()
    };
    let config = workspace.file("duragent.yaml");
    let config = config.to_str().unwrap();
    for (arguments, expected) in [
        // A folder of somebody else is no workspace of this account's.
        (&["lan"][..], "there is no provider lan"),
        (&["lan", "--config", config], "is not run before"),
        (&["office", "--config", config], "office.key"),
    ] {
        let said = String::from_utf8(lists(arguments)).unwrap();
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("key-of"), "{said}");
    }
    assert!(!workspace.file("ran").exists());
    let keys = model.lists();
    let keys = keys.iter().map(|asked| asked.header("authorization"));
    assert!(keys.flatten().next().is_none());
}

// --- tools ---

/// An agent whose shell asks, in a workspace where others' run.
fn asking_agent(workspace: &Workspace, name: &str) {
    bash_agent(name).policy("mode: ask").write(workspace);
}

fn bash_agent(name: &str) -> AgentFiles {
    echo(name).continues().builtin("bash")
}

/// `bold`, whose shell runs unasked, and `shy`, whose shell asks.
fn workspace() -> Workspace {
    Bench::new()
        .agent(bash_agent("bold"))
        .agent(bash_agent("shy").policy("mode: ask"))
        .policy("mode: dangerous")
        .workspace()
}

/// A session that asks whether it may run `command`, and its question.
fn ask(server: &Remote, agent: &str, command: &str) -> (String, Value) {
    let session = server.create_session(agent);
    let call = format!("/tool bash {}", json!({ "command": command }));
    let answer = server.say(&session, &call);
    let question = answer.json();
    assert!(question["call_id"].is_string(), "{}", answer.text());
    (session, question)
}

fn is_asking(server: &Remote, session: &str) -> bool {
    let shown = server.get(&format!("/api/v1/sessions/{session}")).json();
    shown
        .get("pending_approval")
        .is_some_and(|asked| !asked.is_null())
}

fn decision(question: &Value) -> Value {
    json!({
        "call_id": question["call_id"],
        "command": question["command"],
        "decision": "allow_once",
    })
}

fn decide(server: &Remote, session: &str, question: &Value) -> Answer {
    let path = format!("/api/v1/sessions/{session}/approve");
    server.post(&path, &decision(question))
}

/// A program that sends what it is told to, `bash {file} NAME`, and writes the answer to
/// `answer-NAME` beside itself. With `hands-over` as its second argument, a child that has left it
/// sends.
struct Attack<'a> {
    workspace: &'a Workspace,
    server: &'a Remote,
    session: String,
}

impl<'a> Attack<'a> {
    fn new(workspace: &'a Workspace, server: &'a Remote, agent: &str) -> Attack<'a> {
        Attack {
            workspace,
            server,
            session: server.create_session(agent),
        }
    }

    /// The first line of what a program of the agent's shell gets, which is started as `how` says:
    /// `{}` stands for the program.
    fn answer(&self, how: &str, request: &str) -> String {
        let work = self.work();
        fs::write(work.join("request"), request).unwrap();
        let port = self.server.address.port();
        // By the shell alone: each program that it starts would hold the socket as well.
        let script = format!(
            "touch begun; exec 3<>/dev/tcp/127.0.0.1/{port}\nsend() {{\nIFS= read -r -d '' text < \
             request; printf %s \"$text\" >&3\nIFS= read -r -d '' text <&3; printf %s \"$text\" > \
             answer.new; mv answer.new answer 3>&-\n}}\ncase $1 in (hand-over) (sleep 0.2; send) 1>&- \
             2>&- & disown;; (*) send;; esac\n"
        );
        fs::write(work.join("attack.sh"), script).unwrap();
        let answer = work.join("answer");
        for file in ["answer", "begun"] {
            drop(fs::remove_file(work.join(file)));
        }
        // What is about to leave the group of the call shall not be killed with it before it has.
        let command = how.replace("{}", "bash attack.sh")
            + "\nfor i in $(seq 500); do test -e begun && break; sleep 0.02; done";
        let said = self
            .server
            .call(&self.session, "bash", &json!({ "command": command }));
        eventually(&format!("{how} is answered ({said})"), || {
            fs::read_to_string(&answer).ok()
        })
    }

    fn work(&self) -> std::path::PathBuf {
        let agent = self
            .server
            .get(&format!("/api/v1/sessions/{}", self.session));
        let agent = agent.json()["agent"].as_str().unwrap().to_owned();
        let work = self
            .workspace
            .file(&format!(".duragent/agents/{agent}/work"));
        fs::create_dir_all(&work).unwrap();
        work
    }
}

/// The ways in which a program of a tool may try to be nobody's.
const WAYS: &[&str] = &[
    "{}",
    "exec {}",
    "setsid {}",
    "setsid -f {}",
    "(setsid bash -c '({} &) & disown' &)",
    "nohup {} >/dev/null 2>&1 & wait",
    "nohup setsid {} >/dev/null 2>&1 & disown",
    "setsid -f {} hand-over",
    "env -i DURAGENT_SESSION=none PATH=\"$PATH\" {}",
];

#[test]
fn a_program_of_a_tool_decides_nothing_however_far_it_has_gone_from_its_parents() {
    let workspace = workspace();
    let server = Server::start(&workspace, &[]);
    let (victim, question) = ask(&server, "shy", "touch deed");
    let attack = Attack::new(&workspace, &server, "bold");
    let path = format!("/api/v1/sessions/{victim}/approve");
    let approve = request("POST", &path, &[], &decision(&question).to_string());
    for how in ways_of_this_machine() {
        let answer = attack.answer(&how, &approve);
        assert!(answer.starts_with("HTTP/1.1 403"), "{how}: {answer}");
        assert!(answer.contains("a tool"), "{how}: {answer}");
    }
    // Not even its own session's stream is for others to have.
    let tickets = [&victim, &attack.session].map(|id| format!("/api/v1/sessions/{id}/ticket"));
    let admin = ["/api/admin/v1/reload-agents", "/api/admin/v1/shutdown"];
    for path in tickets.iter().map(String::as_str).chain(admin) {
        let answer = attack.answer("{}", &request("POST", path, &[], ""));
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    // Nor does it leave its own folder by a session that it begins in another.
    let before = sessions(&server);
    for (workdir, expected) in [(r#","workdir":"/tmp""#, "403"), ("", "201")] {
        let body = format!(r#"{{"agent":"bold"{workdir}}}"#);
        let answer = attack.answer("{}", &request("POST", "/api/v1/sessions", &[], &body));
        let head = format!("HTTP/1.1 {expected}");
        assert!(answer.starts_with(&head), "{body}: {answer}");
    }
    assert_eq!(sessions(&server), before + 1);
    // What asks nothing of anybody goes on.
    let list = attack.answer("{}", &request("GET", "/api/v1/sessions", &[], ""));
    assert!(list.starts_with("HTTP/1.1 200"), "{list}");
    assert!(is_asking(&server, &victim));
    assert_eq!(decide(&server, &victim, &question).status, 200);
}

#[test]
fn a_program_of_a_tool_that_cannot_be_looked_into_decides_nothing_without_a_token() {
    let workspace = workspace();
    let server = unprivileged(&workspace).start();
    let (victim, question) = ask(&server, "shy", "touch deed");
    let attack = Attack::new(&workspace, &server, "bold");
    let path = format!("/api/v1/sessions/{victim}/approve");
    let approve = request("POST", &path, &[], &decision(&question).to_string());
    // Of a program whose file it may not read, a user may not see what it has open either.
    let hides = "cp \"$(command -v bash)\" hidden; chmod 111 hidden; ./hidden attack.sh";
    let seen = attack.answer("{}", &approve);
    assert!(seen.contains("a program that a tool has started"), "{seen}");
    let unseen = attack.answer(hides, &approve);
    assert!(unseen.starts_with("HTTP/1.1 403"), "{unseen}");
    assert!(unseen.contains("cannot be seen"), "{unseen}");
    assert_eq!(decide(&server, &victim, &question).status, 200);
}

#[test]
fn a_program_of_a_tool_that_becomes_root_decides_nothing_without_a_token() {
    if !geteuid().is_root() {
        return eprintln!("nothing is to be had here that makes a program root's");
    }
    let workspace = workspace();
    let server = unprivileged(&workspace).start();
    let (victim, question) = ask(&server, "shy", "touch deed");
    let attack = Attack::new(&workspace, &server, "bold");
    // As `sudo` does where it asks for no password.
    let rooted = attack.work().join("rooted");
    fs::copy(which("bash"), &rooted).unwrap();
    fs::set_permissions(&rooted, Permissions::from_mode(0o4755)).unwrap();
    let path = format!("/api/v1/sessions/{victim}/approve");
    let approve = request("POST", &path, &[], &decision(&question).to_string());
    let answer = attack.answer("./rooted -p attack.sh", &approve);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("cannot be seen"), "{answer}");
    // Root itself, with nothing hidden, is let in as before.
    assert_eq!(decide(&server, &victim, &question).status, 200);
}

/// A server that is not root, which may look into everybody.
fn unprivileged(workspace: &Workspace) -> Launch<'_> {
    let launch = Launch::new(workspace);
    if !geteuid().is_root() {
        return launch;
    }
    // The account may not reach the checkout. Another process writes the copy: a child that another
    // test starts meanwhile would hold it open here.
    let copy = Command::new("cp")
        .args([env!("CARGO_BIN_EXE_duragent"), "duragent"])
        .current_dir(workspace.path())
        .status();
    assert!(copy.unwrap().success());
    fs::create_dir_all(workspace.file(".duragent/agents/bold/work")).unwrap();
    let uid = STRANGER.to_string();
    let give = Command::new("chown")
        .args(["-R", &uid])
        .arg(workspace.path())
        .status();
    assert!(give.unwrap().success());
    let run_copy = "shift; exec ./duragent \"$@\"";
    launch.under(&[
        "setpriv",
        "--reuid",
        &uid,
        "--regid",
        &uid,
        "--clear-groups",
        "sh",
        "-c",
        run_copy,
        "sh",
    ])
}

#[test]
fn a_program_in_a_sandbox_that_has_the_network_decides_nothing() {
    let workspace = workspace();
    workspace.config("sandbox: {mode: bubblewrap, network: true}\n");
    let server = Server::start(&workspace, &[]);
    if !server.log().contains("sandbox: bubblewrap") || server.log().contains("does not work") {
        eprintln!("this machine's users make no namespaces");
        return;
    }
    let (victim, question) = ask(&server, "shy", "touch deed");
    let attack = Attack::new(&workspace, &server, "bold");
    let path = format!("/api/v1/sessions/{victim}/approve");
    let approve = request("POST", &path, &[], &decision(&question).to_string());
    let answer = attack.answer("{}", &approve);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("a tool"), "{answer}");
    let path = format!("/api/v1/sessions/{}/messages", attack.session);
    let headers = ["Prefer: respond-async"];
    let own = request("POST", &path, &headers, r#"{"content":"from a tool"}"#);
    let own = attack.answer("{}", &own);
    assert!(own.starts_with("HTTP/1.1 202"), "{own}");
}

fn ways_of_this_machine() -> Vec<String> {
    let mut ways: Vec<String> = WAYS.iter().map(|way| (*way).to_owned()).collect();
    let namespaces = "--dev-bind / / --proc /proc --unshare-pid --unshare-ipc";
    let can_lock_in = Command::new("bwrap")
        .args(namespaces.split(' '))
        .arg("true")
        .output();
    if can_lock_in.is_ok_and(|output| output.status.success()) {
        let bwrap = which("bwrap").display().to_string();
        ways.push(format!("{bwrap} {namespaces} {{}}"));
        ways.push(format!("setsid -f {bwrap} {namespaces} setsid -f {{}}"));
    }
    ways
}

#[test]
fn a_program_of_a_tool_writes_in_its_own_session_and_in_no_other() {
    let workspace = workspace();
    let server = Server::start(&workspace, &[]);
    let other = server.create_session("shy");
    let attack = Attack::new(&workspace, &server, "bold");
    let say = |session: &str| {
        let path = format!("/api/v1/sessions/{session}/messages");
        let headers = ["Prefer: respond-async"];
        request("POST", &path, &headers, r#"{"content":"from a tool"}"#)
    };
    let stream = format!("/api/v1/sessions/{other}/stream");
    let cancel = format!("/api/v1/sessions/{other}/cancel");
    let other_path = format!("/api/v1/sessions/{other}");
    for text in [
        say(&other),
        request("POST", &stream, &[], r#"{"content":"from a tool"}"#),
        request("POST", &cancel, &[], ""),
        request("PATCH", &other_path, &[], r#"{"title":"mine"}"#),
        request("DELETE", &other_path, &[], ""),
    ] {
        let answer = attack.answer("{}", &text);
        assert!(answer.starts_with("HTTP/1.1 403"), "{text}: {answer}");
        assert!(answer.contains("runs for"), "{answer}");
    }
    let own = attack.answer("{}", &say(&attack.session));
    assert!(own.starts_with("HTTP/1.1 202"), "{own}");
    let said = workspace.log_of(&attack.session);
    let said = said.iter().find(|event| event["content"] == "from a tool");
    let program = format!("program:{}", attack.session);
    assert_eq!(said.unwrap()["sender_id"], json!(program));
    // Once its run is over, nobody knows any more for which session a program was started.
    let late = attack.answer("setsid -f {} hand-over", &say(&attack.session));
    assert!(late.starts_with("HTTP/1.1 403"), "{late}");
    let messages = server.get(&format!("/api/v1/sessions/{other}/messages"));
    assert_eq!(messages.json()["messages"], json!([]));
    assert_eq!(server.say(&other, "from a person").status, 200);
}

#[test]
fn a_program_of_a_tool_that_has_the_token_decides_nothing_either() {
    let workspace = workspace();
    workspace.config("server: {api_token: t0ken}\n");
    let mut server = Launch::new(&workspace).start();
    server.token = Some("t0ken".into());
    let (victim, question) = ask(&server, "shy", "touch deed");
    let attack = Attack::new(&workspace, &server, "bold");
    let path = format!("/api/v1/sessions/{victim}/approve");
    let shown = ["Authorization: Bearer t0ken"];
    let approve = request("POST", &path, &shown, &decision(&question).to_string());
    for how in ["{}", "setsid -f {}"] {
        let answer = attack.answer(how, &approve);
        assert!(answer.starts_with("HTTP/1.1 403"), "{how}: {answer}");
    }
    assert_eq!(decide(&server, &victim, &question).status, 200);
}

#[test]
fn a_program_of_a_tool_that_does_not_wait_for_the_answer_decides_nothing() {
    let workspace = workspace();
    let server = Server::start(&workspace, &[]);
    let (victim, question) = ask(&server, "shy", "touch deed");
    let bold = server.create_session("bold");
    let path = format!("/api/v1/sessions/{victim}/approve");
    let approve = request("POST", &path, &[], &decision(&question).to_string());
    let work = workspace.file(".duragent/agents/bold/work");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("request"), approve).unwrap();
    let port = server.address.port();
    let command = format!(
        "for i in 1 2 3 4 5 6 7 8; do exec 3<>/dev/tcp/127.0.0.1/{port}; cat request >&3; exec 3>&-; \
         done"
    );
    server.call(&bold, "bash", &json!({ "command": command }));
    let_pass(&server);
    assert!(is_asking(&server, &victim));
    assert!(!workspace.file(".duragent/agents/shy/work/deed").exists());
}

// --- what tools leave behind ---

/// The processes below `pid`, each with its parent and its state.
fn processes() -> Vec<(i32, i32, char)> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        Some((pid, fields.next()?.parse().ok()?, state))
    })
    .collect()
}

fn children_of(pid: i32) -> Vec<(i32, char)> {
    let all = processes().into_iter();
    all.filter(|(_, parent, _)| *parent == pid)
        .map(|(pid, _, state)| (pid, state))
        .collect()
}

/// Each call leaves programs behind that end after it.
const LEAVES_ORPHANS: &str =
    "for i in 1 2 3; do (setsid sh -c 'sleep 0.3; exit 3' &) ; done; echo done";

fn nothing_is_left_of_three_calls(server: &Server, server_pid: i32) {
    let session = server.create_session("bold");
    for _ in 0..3 {
        let said = server.call(&session, "bash", &json!({ "command": LEAVES_ORPHANS }));
        assert!(said.contains("done"), "{said}");
        // They were adopted, and none is left. From outside of a container's numbers it cannot be
        // seen, while one lives, who sends the next message.
        eventually("all are reaped", || {
            children_of(server_pid).is_empty().then_some(())
        });
    }
    // A child that is waited for is not taken away from whoever waits.
    let said = server.call(
        &session,
        "bash",
        &json!({"command": "sh -c 'exit 7'; echo $?"}),
    );
    assert!(said.contains('7'), "{said}");
}

#[test]
fn what_a_tool_leaves_behind_is_adopted_and_reaped() {
    let workspace = workspace();
    let server = Server::start(&workspace, &[]);
    let server_pid = server.pid().cast_signed();
    let session = server.create_session("bold");
    let command = "setsid -f sh -c 'echo $$ > orphan; exec sleep 600'; until test -s orphan; do :; done; cat orphan";
    server.call(&session, "bash", &json!({ "command": command }));
    let orphan = workspace.read(".duragent/agents/bold/work/orphan");
    let orphan: i32 = orphan.trim().parse().unwrap();
    let is_adopted = || {
        children_of(server_pid)
            .iter()
            .any(|(pid, _)| *pid == orphan)
    };
    eventually("it is adopted", || is_adopted().then_some(()));
    kill_process(Pid::from_raw(orphan).unwrap(), Signal::KILL).unwrap();
    eventually("it is reaped", || (!is_adopted()).then_some(()));
    nothing_is_left_of_three_calls(&server, server_pid);
}

/// What makes a program the first process of a container, where this machine's users may do that.
fn container() -> Option<Vec<&'static str>> {
    let mut namespace = vec!["unshare"];
    if !geteuid().is_root() {
        namespace.extend(["--user", "--map-root-user"]);
    }
    namespace.extend(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    let can_make = Command::new(namespace[0])
        .args(&namespace[1..])
        .arg("true")
        .output();
    if !can_make.is_ok_and(|output| output.status.success()) {
        eprintln!("this machine's users make no namespaces");
        return None;
    }
    Some(namespace)
}

/// The server in a container, by its number outside.
fn first_process(server: &Server) -> i32 {
    let below = children_of(server.pid().cast_signed());
    let [(first, _)] = below[..] else {
        panic!("not one process: {below:?}");
    };
    first
}

#[test]
fn as_the_first_process_of_a_container_nothing_is_left_unreaped() {
    let Some(namespace) = container() else { return };
    let workspace = workspace();
    let server = Launch::new(&workspace).under(&namespace).start();
    nothing_is_left_of_three_calls(&server, first_process(&server));
    let (victim, question) = ask(&server, "shy", "true");
    assert_eq!(decide(&server, &victim, &question).status, 200);
}

#[test]
fn as_the_first_process_of_a_container_it_obeys_signals() {
    let Some(namespace) = container() else { return };
    let workspace = workspace();
    let mut server = Launch::new(&workspace).under(&namespace).start();
    let first = Pid::from_raw(first_process(&server)).unwrap();
    // The kernel gives the first process no signal that it has no handler for.
    for (signal, said) in [
        (Signal::HUP, "agents are read again"),
        (Signal::TERM, "stopped"),
    ] {
        kill_process(first, signal).unwrap();
        eventually(said, || server.log().contains(said).then_some(()));
    }
    assert!(server.wait_for_exit().success());
}

#[test]
fn whoever_ignores_the_ends_of_children_may_start_a_server() {
    let workspace = workspace();
    // bash keeps what it was told to ignore for what it starts.
    let ignoring = ["bash", "-c", "trap '' CHLD; exec \"$0\" \"$@\""];
    let server = Launch::new(&workspace).under(&ignoring).start();
    let session = server.create_session("bold");
    let said = server.call(&session, "bash", &json!({"command": "exit 3"}));
    assert!(said.contains("exit status: 3"), "{said}");
}

#[test]
fn programs_of_tools_start_with_no_signal_blocked_or_ignored() {
    let workspace = workspace();
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("bold");
    let command = "grep -E '^Sig(Blk|Ign)' /proc/self/status";
    let said = server.call(&session, "bash", &json!({ "command": command }));
    let masks = said.lines().filter_map(|line| line.split_once(":\t"));
    let masks: Vec<u64> = masks
        .map(|(_, mask)| u64::from_str_radix(mask, 16).unwrap())
        .collect();
    let ours = 1 | 1 << 12 | 1 << 16;
    assert_eq!(masks.len(), 2, "{said}");
    for mask in masks {
        assert_eq!(mask & ours, 0, "SIGHUP, SIGPIPE, SIGCHLD: {said}");
    }
}

#[test]
fn a_message_is_not_held_up_by_the_look_at_who_sends_it() {
    let workspace = workspace();
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("bold");
    // Something is there that has to be told apart.
    let command = "setsid -f sleep 600; setsid -f sh -c 'echo $$ > orphan; exec sleep 600'";
    server.call(&session, "bash", &json!({ "command": command }));
    let echo = server.create_session("bold");
    crate::support::server::within(Duration::from_secs(1), || {
        let begun = std::time::Instant::now();
        assert_eq!(server.say(&echo, "hi").status, 200);
        begun.elapsed()
    });
    for (pid, _) in children_of(server.pid().cast_signed()) {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}
