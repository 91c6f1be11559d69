//! Small faults of the machine stay small: the real binary on a full disk, without a temporary folder,
//! with few files, on a clock that leaps, rotated logs, and under a service manager.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::bench::{Bench, asking, echo};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::server::{Launch, PATIENCE, Remote, Room, Server, Workspace, eventually};

fn warnings(server: &Server) -> String {
    server.get("/readyz").json()["warnings"].to_string()
}

fn wait_for(what: &str, is_true: impl Fn() -> bool) {
    eventually(what, || is_true().then_some(()));
}

// --- the disk ---

/// Sessions on a disk of a megabyte. A file `fill` beside the workspace fills it, a file `room` makes room.
const SMALL_DISK: &str = r#"
sessions="$PWD/.duragent/sessions"
mkdir -p "$sessions"
mount -t tmpfs -o size=1m,mode=700 none "$sessions"
outside="$PWD"
(
    # At most half a minute for each, whatever becomes of the test.
    for try in $(seq 1500); do [ -e "$outside/fill" ] && break; sleep 0.02; done
    cat /dev/zero > "$sessions/filler" 2>/dev/null || touch "$outside/full"
    for try in $(seq 1500); do [ -e "$outside/room" ] && break; sleep 0.02; done
    rm "$sessions/filler"
) > /dev/null 2>&1 &
"#;

#[test]
fn a_turn_that_finds_the_disk_full_waits_says_so_and_goes_on_when_there_is_room() {
    if !Room::Mounts.exists() {
        return eprintln!("not tried: nothing can be mounted here");
    }
    let model = FakeModel::start();
    let long = "more ".repeat(8000);
    model.reply(text("one ").and_stall().and_text(&long));
    model.default_reply(text("two"));
    let workspace = Workspace::new();
    workspace.openai_agent("helper", &model.url());
    workspace.config("server: {min_free_mb: 0}\n");
    let server = Launch::new(&workspace)
        .after(Room::Mounts, SMALL_DISK)
        .start();
    let session = server.create_session("helper");
    let mut stream = server.stream(&session, "say it");
    stream.until("token");
    workspace.write("fill", "");
    wait_for("a full disk", || workspace.file("full").exists());
    model.release();
    let error = stream.until("error").pop().unwrap();
    assert_eq!(error.data["code"], "turn_waits", "{:?}", error.data);
    let words = error.data["message"].as_str().unwrap();
    assert!(
        words.contains("are free") && words.contains("are wanted"),
        "{words}"
    );
    assert!(words.contains("goes on by itself"), "{words}");
    wait_for("/readyz tells", || {
        warnings(&server).contains("1 turn waits")
    });
    // Nobody is told that something was stored which was not.
    let refused = server.say(&session, &"x".repeat(100_000));
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.text().contains("are free"), "{}", refused.text());
    let busy = server.get(&format!("/api/v1/sessions/{session}"));
    assert_eq!(busy.json()["working"], true, "{}", busy.text());

    workspace.write("room", "");
    let ended = || {
        let events = server.get(&format!("/api/v1/sessions/{session}/events?limit=1000"));
        events.text().contains("turn_ended")
    };
    wait_for("the turn goes on", ended);
    let messages = server.get(&format!("/api/v1/sessions/{session}/messages"));
    let messages = messages.json();
    let messages = messages["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "{messages:?}");
    let said = messages[1]["content"].as_str().unwrap();
    assert!(said.starts_with("one ") && said.ends_with("two"), "{said}");
    assert_eq!(warnings(&server), "null");
}

// --- the temporary folder ---

fn inner_folders(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| path.to_string_lossy().contains("/duragent-");
    paths.filter(is_ours).collect()
}

#[test]
fn without_a_folder_for_temporary_files_the_server_listens_in_its_workspace() {
    if !Room::Mounts.exists() {
        return eprintln!("not tried: nothing can be mounted here");
    }
    /// As in a container whose root is read-only, where nothing but the workspace is not.
    const READ_ONLY: &str = "
        mount --bind \"$PWD\" /mnt
        for place in /tmp /dev/shm; do mount -t tmpfs -o ro none $place; done
        cd /mnt
    ";
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    let launch = || Launch::new(&workspace).after(Room::Mounts, READ_ONLY);
    let mut server = launch().start();
    let session = server.create_session("echo");
    assert_eq!(server.say(&session, "hello").status, 200);
    let inside = workspace.file(".duragent");
    assert_eq!(inner_folders(&inside).len(), 1);
    server.kill();
    // What a killed server left goes at the next start.
    let mut server = launch().start();
    assert_eq!(server.say(&session, "hello").status, 200);
    wait_for("one folder", || inner_folders(&inside).len() == 1);
    server.terminate();
    assert!(server.wait_for_exit().success());
    assert_eq!(inner_folders(&inside), Vec::<PathBuf>::new());
}

#[test]
fn folders_of_killed_servers_go_and_those_of_running_ones_stay() {
    let workspaces = [Workspace::new(), Workspace::new()];
    let place = tempfile::tempdir().unwrap();
    let start = |workspace| {
        let place = place.path().to_str().unwrap();
        Launch::new(workspace).env("TMPDIR", place).start()
    };
    for _ in 0..3 {
        start(&workspaces[0]).kill();
    }
    let running = start(&workspaces[0]);
    let mut other = start(&workspaces[1]);
    wait_for("two folders", || inner_folders(place.path()).len() == 2);
    assert_eq!(running.get("/livez").status, 200);
    other.terminate();
    assert!(other.wait_for_exit().success());
    assert_eq!(inner_folders(place.path()).len(), 1);
    // The name of a folder that is not there is no reason not to start.
    let gone = place.path().join("gone");
    let other = Launch::new(&workspaces[1]).env("TMPDIR", gone.to_str().unwrap());
    assert_eq!(other.start().get("/livez").status, 200);
}

// --- modes ---

#[test]
fn what_is_created_is_for_its_owner_alone_whatever_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let workspace = Workspace::new();
        let shell = format!(
            "umask {umask}; exec \"$0\" init --agent-name helper --provider openai --no-interactive"
        );
        // All of it is to be made.
        fs::remove_dir_all(workspace.file(".duragent")).unwrap();
        let made = Command::new("sh")
            .args(["-c", &shell, env!("CARGO_BIN_EXE_duragent")])
            .current_dir(workspace.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", workspace.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        workspace.write(".duragent/starts", "");
        let starts = workspace.file(".duragent/starts");
        // As older versions left it.
        fs::set_permissions(&starts, Permissions::from_mode(0o644)).unwrap();
        workspace.config("logging: {file: .duragent/log}\n");
        fs::set_permissions(
            workspace.file("duragent.yaml"),
            Permissions::from_mode(0o600),
        )
        .unwrap();
        let mut server = Launch::new(&workspace)
            .after(Room::Own, &format!("umask {umask}"))
            .start();
        let answer = server.send_json(
            "POST",
            "/api/v1/sessions",
            &[("Idempotency-Key", "k-1")],
            &json!({"agent": "helper"}),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
        server.terminate();
        assert!(server.wait_for_exit().success());
        let mut open = Vec::new();
        open_to_others(&workspace.file(".duragent"), &mut open);
        assert_eq!(open, Vec::<String>::new(), "umask {umask}");
    }
}

fn open_to_others(path: &Path, open: &mut Vec<String>) {
    let about = fs::symlink_metadata(path).unwrap();
    let mode = about.permissions().mode() & 0o777;
    let expected = if about.is_dir() { 0o700 } else { 0o600 };
    if mode != expected {
        open.push(format!("{} {mode:o}", path.display()));
    }
    if about.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            open_to_others(&entry.unwrap().path(), open);
        }
    }
}

// --- the clock ---

/// A workspace with a session that was last used in 2020, as its clock said; and what the server saw of
/// the clock then.
fn used_long_ago() -> (Workspace, String, Value) {
    let (workspace, mut server) = Bench::new().agent(echo("echo")).serve().apart();
    let session = server.create_session("echo");
    wait_for("a look at the clock", || {
        workspace.file(".duragent/clock").exists()
    });
    server.terminate();
    assert!(server.wait_for_exit().success());
    workspace.change_start(&session, |event| {
        event["timestamp"] = Value::from("2020-01-01T00:00:00.000000Z");
    });
    let seen = serde_json::from_str(&workspace.read(".duragent/clock")).unwrap();
    (workspace, session, seen)
}

fn status(server: &Server, session: &str) -> String {
    let answer = server.get(&format!("/api/v1/sessions/{session}"));
    answer.json()["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_session_that_is_old_by_the_clock_alone_is_not_ended() {
    // The machine ran all the time: it is old indeed.
    let (workspace, session, _) = used_long_ago();
    let server = Server::start(&workspace, &[]);
    wait_for("its end", || status(&server, &session) == "completed");

    // The clock showed 2020 a moment ago.
    let (workspace, session, mut seen) = used_long_ago();
    seen["at"] = Value::from("2020-01-01T00:00:00.000000Z");
    workspace.write(".duragent/clock", &seen.to_string());
    for _ in 0..2 {
        let mut server = Server::start(&workspace, &[]);
        wait_for("the leap is told", || {
            server.log().contains("the clock has leapt")
        });
        server.terminate();
        assert!(server.wait_for_exit().success());
        let last = workspace.log_of(&session).pop().unwrap();
        assert_eq!(last["type"], "session_start", "{last}");
    }
}

// --- open files ---

/// As few as the server says that it needs.
const FILES_MIN: u32 = 52;

#[test]
fn with_too_few_files_the_server_refuses_to_start_and_at_the_edge_it_works() {
    let model = FakeModel::start();
    let helper = asking("helper", &model).builtin("bash");
    let workspace = Bench::new()
        .agent(helper.policy("mode: dangerous"))
        .policy("mode: dangerous")
        .workspace();
    for few in [12, FILES_MIN - 1] {
        let launch = Launch::new(&workspace).after(Room::Own, &format!("ulimit -n {few}"));
        assert_eq!(launch.end().code(), Some(1));
        let said = workspace.read("serve.log");
        let words = format!("only {few} open files are allowed, and {FILES_MIN} are needed");
        assert!(said.contains(&words), "{said}");
    }
    model.reply(tool_call("bash", r#"{"command":"ls | wc -l"}"#));
    model.default_reply(text("done"));
    let server = Launch::new(&workspace)
        .after(Room::Own, &format!("ulimit -n {FILES_MIN}"))
        .start();
    let session = server.create_session("helper");
    let _watching = server.events(&session, "", None);
    let mut stream = server.stream(&session, "do it");
    let events = stream.until("done");
    let result = events.iter().find(|event| event.name == "tool_result");
    assert_eq!(result.unwrap().data["success"], true, "{events:?}");
    assert_eq!(server.get("/readyz").status, 200);
}

// --- signals, the log, the service manager ---

#[test]
fn a_hangup_without_a_terminal_reopens_the_log_and_reads_the_agents_again() {
    let workspace = Workspace::new();
    workspace.echo_agent("echo");
    workspace.config("logging: {file: log}\n");
    let mut server = Launch::new(&workspace).after(Room::Own, ":").start();
    wait_for("a log", || workspace.read("log").contains("listening"));
    fs::rename(workspace.file("log"), workspace.file("log.1")).unwrap();
    workspace.echo_agent("second");
    server.signal(Signal::HUP);
    wait_for("the agents", || {
        workspace.read("log").contains("1 new, 0 changed")
    });
    assert!(!workspace.read("log.1").contains("1 new"));
    server.create_session("second");
    // One that cannot be used is named, and the others stay.
    workspace.agent("third", "  model: 7\n");
    server.signal(Signal::HUP);
    wait_for("the mistake", || {
        workspace.read("log").contains("0 gone, 1 error")
    });
    server.create_session("second");
    server.terminate();
    assert!(server.wait_for_exit().success());
    assert!(workspace.read("log").contains("stopped"));
}

#[test]
fn a_server_whose_terminal_closes_stops_in_good_order_however_often_it_is_told() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let model = FakeModel::start();
    model.reply(text("one ").and_stall().and_text("two"));
    let workspace = Workspace::new();
    workspace.openai_agent("helper", &model.url());
    let launch = Launch::new(&workspace).after(Room::Own, ":");
    let command = launch.command();
    // A shell that has the terminal for its own becomes the program; whoever runs the tests may be deaf to its end.
    let mut on_terminal = Command::new("env");
    let slave = fs::File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    on_terminal
        .args(["--default-signal=HUP", "setsid", "--ctty"])
        .args(command.get_args())
        .current_dir(workspace.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", workspace.path())
        .stdin(slave)
        .stdout(Stdio::null())
        .stderr(fs::File::create(workspace.file("serve.log")).unwrap());
    let mut server = launch.spawn(&mut on_terminal);
    wait_for("a server", || server.log().contains("listening"));
    // It has something to wait for.
    let log = server.log();
    let (_, address) = log.split_once("listening on http://").unwrap();
    let address = address.lines().next().unwrap().parse().unwrap();
    let remote = Remote::at(address);
    let session = remote.create_session("helper");
    let mut stream = remote.stream(&session, "say it");
    stream.until("token");
    drop(master);
    wait_for("the stop", || server.log().contains("shutting down"));
    // A shell hands it on, and the system tells those who are left once the shell is gone.
    server.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(200));
    model.release();
    let status = server.wait_for_exit();
    assert!(status.success(), "{}", server.log());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

/// What a service manager is told.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 500];
        let read = self.0.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    }

    fn until(&self, beginning: &str) -> String {
        std::iter::repeat_with(|| self.next())
            .find(|message| message.starts_with(beginning))
            .unwrap()
    }
}

#[test]
fn a_service_manager_is_told_how_the_server_is_and_tools_cannot_tell_it_anything() {
    let model = FakeModel::start();
    let workspace = Workspace::new();
    workspace.agent(
        "helper",
        &format!(
            "  model: {{provider: openai, name: fake, base_url: \"{}\"}}\n  \
             tools: [{{type: builtin, name: bash}}]\n",
            model.url()
        ),
    );
    for place in [
        ".duragent/agents/helper/policy.yaml",
        ".duragent/policy.yaml",
    ] {
        workspace.write(
            place,
            "apiVersion: duragent/v1alpha1\nkind: Policy\nmode: dangerous\n",
        );
    }
    let socket = workspace.file("notify");
    let manager = Manager::at(&socket);
    let mut server = Launch::new(&workspace)
        .env("NOTIFY_SOCKET", socket.to_str().unwrap())
        .after(Room::Own, "export WATCHDOG_USEC=2000000 WATCHDOG_PID=$$")
        .start();
    let ready = manager.next();
    assert!(
        ready.starts_with("READY=1\nSTATUS=listening on http://"),
        "{ready}"
    );
    assert_eq!(manager.next(), "WATCHDOG=1");
    assert_eq!(manager.next(), "WATCHDOG=1");
    server.signal(Signal::HUP);
    let reloading = manager.until("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    manager.until("READY=1");
    model.reply(tool_call("bash", r#"{"command":"env"}"#));
    model.default_reply(text("done"));
    let session = server.create_session("helper");
    let events = server.stream(&session, "do it").until("done");
    let result = events.iter().find(|event| event.name == "tool_result");
    let environment = result.unwrap().data["content"].as_str().unwrap().to_owned();
    assert!(environment.contains("DURAGENT_SESSION="), "{environment}");
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    assert!(!environment.contains("WATCHDOG"), "{environment}");
    server.terminate();
    manager.until("STOPPING=1");
    assert!(server.wait_for_exit().success());
}

#[test]
fn a_taken_port_is_told_with_what_helps() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let workspace = Workspace::new();
    let wanted = format!("set -- \"$1\" serve --port {port}");
    let refused = Launch::new(&workspace).after(Room::Own, &wanted).end();
    let said = workspace.read("serve.log");
    assert_eq!(refused.code(), Some(1), "{said}");
    assert!(
        said.contains("hint: another program listens there"),
        "{said}"
    );
}

#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let server = Bench::new()
        .agent(echo("echo"))
        .config("logging: {file: /dev/full}")
        .serve();
    let session = server.create_session("echo");
    assert_eq!(server.say(&session, "hello").status, 200);
}
