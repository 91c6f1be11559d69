//! The folder that a session's tools work in: which one may be, and that they do.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::bench::{Bench, Served, echo};
use crate::support::server::{Answer, Launch, Remote};

/// A project of the owner's, outside of any workspace.
struct Project {
    _folder: TempDir,
    path: PathBuf,
}

impl Project {
    fn new() -> Project {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("project");
        fs::create_dir(&path).unwrap();
        Project {
            _folder: folder,
            path,
        }
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

fn bench() -> Bench {
    let ada = echo("ada")
        .continues()
        .builtin("bash")
        .tool("{type: cli, name: where, command: pwd}")
        .tool("{type: cli, name: notes, command: \"cat notes.txt\"}")
        .file("work/notes.txt", "the agent's\n");
    bench_of(ada)
}

fn bench_of(agent: crate::support::bench::AgentFiles) -> Bench {
    Bench::new()
        .agent(agent.policy("mode: dangerous"))
        .policy("mode: dangerous")
}

fn begin(server: &Remote, workdir: &str) -> Answer {
    let body = json!({"agent": "ada", "workdir": workdir});
    server.post("/api/v1/sessions", &body)
}

fn begun(server: &Remote, workdir: &str) -> String {
    let answer = begin(server, workdir);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["session_id"].as_str().unwrap().to_owned()
}

fn count(server: &Remote) -> usize {
    let list = server.get("/api/v1/sessions").json();
    list["sessions"].as_array().unwrap().len()
}

fn call(server: &Remote, session: &str, tool: &str, arguments: &Value) -> String {
    server.call(session, tool, arguments).trim().to_owned()
}

#[test]
fn the_tools_of_a_session_work_in_its_folder_also_after_a_kill() {
    let project = Project::new();
    let (workspace, mut server) = bench().serve().apart();
    let session = begun(&server, project.text());
    let bash = |server: &Remote, command: &str| {
        call(server, &session, "bash", &json!({"command": command}))
    };
    assert_eq!(
        bash(&server, "pwd; echo $DURAGENT_WORKDIR"),
        format!("{0}\n{0}", project.text())
    );
    assert_eq!(bash(&server, "echo 1 > made"), "[no output]");
    assert_eq!(
        fs::read_to_string(project.path.join("made")).unwrap(),
        "1\n"
    );
    assert_eq!(call(&server, &session, "where", &json!({})), project.text());
    let shown = server.get(&format!("/api/v1/sessions/{session}")).json();
    assert_eq!(shown["workdir"], project.text());
    assert_eq!(workspace.log_of(&session)[0]["workdir"], project.text());
    server.kill();
    let server = Launch::new(&workspace).start();
    assert_eq!(bash(&server, "pwd"), project.text());
    // Another session of the same agent has the agent's own.
    let other = server.create_session("ada");
    let own = call(
        &server,
        &other,
        "bash",
        &json!({"command": "pwd; echo $DURAGENT_WORKDIR."}),
    );
    assert!(own.ends_with("/agents/ada/work\n."), "{own}");
    assert_eq!(workspace.log_of(&other)[0].get("workdir"), None);
}

#[test]
fn what_was_allowed_of_the_agent_s_files_is_not_run_from_the_session_s_folder() {
    let project = Project::new();
    let server = bench().serve();
    let session = begun(&server, project.text());
    let notes = || call(&server, &session, "notes", &json!({}));
    // There is none in the session's folder, so that the command starts there.
    assert!(notes().contains("No such file"), "{}", notes());
    fs::write(project.path.join("notes.txt"), "somebody's\n").unwrap();
    assert_eq!(notes(), "the agent's");
}

#[test]
fn a_folder_that_became_a_link_is_one_no_more() {
    let project = Project::new();
    let server = bench().serve();
    let session = begun(&server, project.text());
    let elsewhere = project.path.with_file_name("elsewhere");
    fs::rename(&project.path, &elsewhere).unwrap();
    let pwd = || call(&server, &session, "bash", &json!({"command": "pwd"}));
    assert!(pwd().contains("no longer there"), "{}", pwd());
    symlink(&elsewhere, &project.path).unwrap();
    assert!(pwd().contains("or a link"), "{}", pwd());
    fs::remove_file(&project.path).unwrap();
    fs::rename(&elsewhere, &project.path).unwrap();
    assert_eq!(pwd(), project.text());
}

#[test]
fn a_folder_that_became_another_account_s_is_one_no_more() {
    // Only root may give a folder away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    const NOBODY: u32 = 65_534;
    let project = Project::new();
    let server = bench().serve();
    let session = begun(&server, project.text());
    chown(&project.path, Some(NOBODY), None).unwrap();
    let pwd = || call(&server, &session, "bash", &json!({"command": "pwd"}));
    assert!(pwd().contains("another account's"), "{}", pwd());
    let answer = begin(&server, project.text());
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("does not belong"),
        "{}",
        answer.text()
    );
    chown(&project.path, Some(0), None).unwrap();
    assert_eq!(pwd(), project.text());
}

#[test]
fn a_folder_that_may_not_be_begins_no_session() {
    let (project, home) = (Project::new(), Project::new());
    let named = home.path.with_file_name("home");
    symlink(&home.path, &named).unwrap();
    fs::create_dir(home.path.join(".config")).unwrap();
    let named = named.to_str().unwrap();
    let server = bench().variable("HOME", named).serve();
    let workspace = server.workspace.path().canonicalize().unwrap();
    let link = project.path.with_file_name("link");
    symlink(&project.path, &link).unwrap();
    fs::write(project.path.join("file"), "").unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_duragent"));
    let beside_program = program.canonicalize().unwrap().parent().unwrap().to_owned();
    for (workdir, word) in [
        (workspace.join(".duragent"), "in or above the workspace"),
        (workspace.clone(), "`workdir`"),
        (
            workspace.join(".duragent/agents"),
            "in or above the workspace",
        ),
        (link, project.text()),
        (project.path.join("file"), "no folder"),
        (project.path.join("missing"), "no folder"),
        ("project".into(), "absolute"),
        ("/".into(), "`workdir`"),
        ("/proc/self".into(), "`workdir`"),
        (home.path.clone(), "the home folder"),
        // Where the server's own settings for all workspaces would be, which nobody has made yet.
        (home.path.join(".config"), "the server's own"),
        // Whoever may write there replaces the server.
        (beside_program, "the server's own"),
    ] {
        let answer = begin(&server, workdir.to_str().unwrap());
        assert_eq!(answer.status, 400, "{workdir:?}: {}", answer.text());
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{workdir:?}: {detail}");
    }
    let body = json!({"agent": "ada", "workdir": 7});
    assert_eq!(server.post("/api/v1/sessions", &body).status, 400);
    assert_eq!(count(&server), 0);
}

#[test]
fn a_key_of_a_session_in_one_folder_is_none_of_another_s() {
    let (one, two) = (Project::new(), Project::new());
    let server = bench().serve();
    let begin = |workdir: Option<&str>| {
        let body = json!({"agent": "ada", "workdir": workdir});
        let headers = [("Idempotency-Key", "k")];
        let answer = server.send_json("POST", "/api/v1/sessions", &headers, &body);
        (answer.status, answer.json()["session_id"].clone())
    };
    let first = begin(Some(one.text()));
    assert_eq!(first.0, 201);
    assert_eq!(begin(Some(one.text())), first);
    assert_eq!(begin(Some(two.text())).0, 409);
    assert_eq!(begin(None).0, 409);
    assert_eq!(count(&server), 1);
}

#[test]
fn over_the_network_only_folders_below_those_that_are_named_for_it_may_be_asked_for() {
    let (open, closed) = (Project::new(), Project::new());
    let inner = open.path.join("inner");
    fs::create_dir(&inner).unwrap();
    let config = format!("server: {{api_token: t0ken, workdirs: [{:?}]}}", open.path);
    let mut server: Served = bench().config(&config).serve();
    server.token = Some("t0ken".into());
    let begin = |workdir: &str, headers: &[(&str, &str)]| {
        let body = json!({"agent": "ada", "workdir": workdir});
        server
            .send_json("POST", "/api/v1/sessions", headers, &body)
            .status
    };
    let proxied = [("X-Forwarded-For", "203.0.113.7")];
    let inner = inner.to_str().unwrap();
    assert_eq!(begin(inner, &proxied), 201);
    assert_eq!(begin(open.text(), &proxied), 403);
    assert_eq!(begin(closed.text(), &proxied), 403);
    // Nor does it tell what there is.
    assert_eq!(begin("/no/such/folder", &proxied), 403);
    assert_eq!(begin(closed.text(), &[]), 201);
}

#[test]
fn in_a_sandbox_the_session_s_folder_can_be_written_and_home_stays_the_agent_s() {
    let project = Project::new();
    let server = bench().config("sandbox: {mode: bubblewrap}").serve();
    let session = begun(&server, project.text());
    let bash = |command: &str| call(&server, &session, "bash", &json!({"command": command}));
    let said = bash("pwd; echo $HOME; echo 1 > made; echo 2 > ~/kept; echo 3 2>&1 > ../beside");
    let (pwd, home) = said.split_once('\n').unwrap();
    assert_eq!(pwd, project.text());
    assert!(home.contains("/agents/ada/work"), "{said}");
    assert_eq!(
        fs::read_to_string(project.path.join("made")).unwrap(),
        "1\n"
    );
    let kept = server.workspace.file(".duragent/agents/ada/work/kept");
    assert_eq!(fs::read_to_string(kept).unwrap(), "2\n");
    assert!(!project.path.with_file_name("beside").exists());
    // Another session of the agent does not see it.
    let other = server.create_session("ada");
    let listed = json!({"command": format!("ls {} 2>&1 || true", project.text())});
    let said = call(&server, &other, "bash", &listed);
    assert!(said.contains("No such file"), "{said}");
}

#[test]
fn a_rule_s_folder_is_the_session_s() {
    let project = Project::new();
    let ada = echo("ada").continues().builtin("bash");
    let server = Bench::new()
        .agent(ada.policy("mode: ask\nallow: [\"bash:pwd\"]"))
        .serve();
    let session = begun(&server, project.text());
    let asks = |command: String| {
        let call = format!("/tool bash {}", json!({"command": command}));
        let answer = server.say(&session, &call);
        let asked = answer.json()["call_id"].is_string();
        if asked {
            let cancel = format!("/api/v1/sessions/{session}/cancel");
            assert_eq!(server.post(&cancel, &json!({})).status, 200);
        }
        asked
    };
    assert!(!asks(format!("cd {} && pwd", project.text())));
    let own = server.workspace.file(".duragent/agents/ada/work");
    assert!(asks(format!("cd {} && pwd", own.display())));
}
