//! The builtin `file` through the real binary: what runs unasked, what is asked and how it is shown, and
//! what is on disk after a kill.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::bench::{AgentFiles, Bench, Served, echo};
use crate::support::desk::allow;
use crate::support::server::{Answer, Launch, Remote};

fn agent() -> AgentFiles {
    echo("ada")
        .continues()
        .builtin("file")
        .builtin("bash")
        .file("work/x", "one\n")
}

fn work(server: &Served, name: &str) -> PathBuf {
    server
        .workspace
        .file(&format!(".duragent/agents/ada/work/{name}"))
}

fn file(server: &Remote, session: &str, arguments: &Value) -> Answer {
    server.say(session, &format!("/tool file {arguments}"))
}

fn write(path: &str, content: &str) -> Value {
    json!({"action": "write", "path": path, "content": content})
}

fn edit(path: &str, old: &str, new: &str) -> Value {
    json!({"action": "edit", "path": path, "old": old, "new": new})
}

/// The tool's last answer, and whether it was one.
fn last_result(server: &Served, session: &str) -> (bool, String) {
    let log = server.workspace.log_of(session);
    let result = log
        .iter()
        .rfind(|line| line["type"] == "tool_result")
        .unwrap();
    let result = &result["result"];
    (
        result["success"] == true,
        result["content"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn in_its_own_folder_an_agent_works_unasked_and_elsewhere_it_asks() {
    let open = tempfile::tempdir().unwrap();
    let place = open.path().canonicalize().unwrap();
    let shown = |name: &str| place.join(name).display().to_string();
    fs::write(place.join("x"), "outer\n").unwrap();
    let config = format!(
        "sandbox: {{writable: [{:?}]}}",
        shown("").trim_end_matches('/')
    );
    let server = Bench::new().config(&config).agent(agent()).serve();
    let session = server.create_session("ada");
    for (call, said) in [
        (json!({"action": "read", "path": "x"}), "one\n"),
        (
            edit("x", "one", "two"),
            "edited x at 1 place\n--- x\n+++ x\n@@ -1 +1 @@\n-one\n+two",
        ),
        (
            write("src/new", "n\n"),
            "made src/new, 1 line, 2 bytes\n--- /dev/null\n+++ src/new\n@@ -0,0 +1 @@\n+n",
        ),
        (json!({"action": "read", "path": shown("x")}), "outer\n"),
        (json!({"action": "search", "content": "tw"}), "x:1: two"),
    ] {
        let answer = file(&server, &session, &call);
        assert_eq!(answer.status, 200, "{call}: {}", answer.text());
        assert_eq!(
            last_result(&server, &session),
            (true, said.to_owned()),
            "{call}"
        );
    }
    for (call, command) in [
        (
            edit(&shown("x"), "outer", "inner"),
            format!("file edit {0}\n1 line, 6 bytes\n--- {0}\n+++ {0}\n@@ -1 +1 @@\n-outer\n+inner", shown("x")),
        ),
        (
            write(".git/config", "[core]\nfsmonitor = evil\n"),
            "file write .git/config\n2 lines, 24 bytes\n--- /dev/null\n+++ .git/config\n@@ -0,0 +1,2 @@\n+[core]\n+fsmonitor = evil".to_owned(),
        ),
        (
            write("src/../.envrc", "x"),
            "file write .envrc\n1 line, 1 byte\n--- /dev/null\n+++ .envrc\n@@ -0,0 +1 @@\n+x\n\\ No newline at end of file".to_owned(),
        ),
    ] {
        let asked = file(&server, &session, &call);
        assert_eq!(asked.status, 202, "{call}: {}", asked.text());
        assert_eq!(asked.json()["command"], command);
        let name = command.lines().next().unwrap();
        assert_eq!(asked.json()["commands"], json!([name]));
        let body = json!({"call_id": asked.json()["call_id"], "command": command, "decision": "deny"});
        let denied = server.post(&format!("/api/v1/sessions/{session}/approve"), &body);
        assert_eq!(denied.status, 200, "{}", denied.text());
    }
    assert_eq!(fs::read(place.join("x")).unwrap(), b"outer\n");
    assert!(!work(&server, ".git").exists());
    // With a yes it is done, and what can't be done is asked of nobody.
    let asked = file(&server, &session, &edit(&shown("x"), "outer", "inner"));
    assert_eq!(allow(&server, &session, &asked.json()).status, 200);
    assert_eq!(fs::read(place.join("x")).unwrap(), b"inner\n");
    for (call, said) in [
        (edit(&shown("x"), "outer", "inner"), "stands in"),
        (write("/etc/evil", "x"), "neither in your work folder"),
        (write("../agent.yaml", "x"), "neither in your work folder"),
        (
            json!({"action": "write", "path": ".envrc"}),
            "`content` is missing",
        ),
        (json!({"action": "delete", "path": "x"}), "not understood"),
    ] {
        let answer = file(&server, &session, &call);
        assert_eq!(answer.status, 200, "{call}: {}", answer.text());
        let (success, content) = last_result(&server, &session);
        assert!(!success && content.contains(said), "{call}: {content}");
    }
    assert!(!Path::new("/etc/evil").exists());
}

#[test]
fn always_means_the_one_file_and_rules_hold_whatever_the_path_is_called() {
    let server = Bench::new()
        .policy("allow: ['builtin:file:write:*/ci/*']\ndeny: ['builtin:file:*:secret/*']")
        .agent(agent().file("work/secret/key", "k").file("work/src/x", ""))
        .serve();
    let session = server.create_session("ada");
    let asked = file(&server, &session, &write(".envrc", "one"));
    let body = json!({
        "call_id": asked.json()["call_id"],
        "command": asked.json()["command"],
        "decision": "allow_always",
    });
    let path = format!("/api/v1/sessions/{session}/approve");
    assert_eq!(server.post(&path, &body).status, 200);
    for (call, status) in [
        (write(".envrc", "two"), 200),
        (edit("src/../.envrc", "two", "three"), 200),
        (write("src/.envrc", "x"), 202),
    ] {
        let answer = file(&server, &session, &call);
        assert_eq!(answer.status, status, "{call}: {}", answer.text());
        if status == 202 {
            let body = json!({"call_id": answer.json()["call_id"], "command": answer.json()["command"], "decision": "deny"});
            server.post(&path, &body);
        }
    }
    assert_eq!(fs::read(work(&server, ".envrc")).unwrap(), b"three");
    std::os::unix::fs::symlink("secret", work(&server, "link")).unwrap();
    let whole = work(&server, "secret/key").display().to_string();
    for path in [
        "secret/key",
        "secret//./key",
        "src/../secret/key",
        "link/key",
        &whole,
    ] {
        for call in [json!({"action": "read", "path": path}), write(path, "x")] {
            let answer = file(&server, &session, &call);
            assert_eq!(answer.status, 200, "{call}: {}", answer.text());
            let (success, content) = last_result(&server, &session);
            assert!(!success, "{call}: {content}");
        }
    }
    assert_eq!(fs::read(work(&server, "secret/key")).unwrap(), b"k");
    let test = |call: &Value| {
        let call = format!("builtin:file {call}");
        server
            .workspace
            .run(&["policy", "test", "--agent", "ada", &call])
    };
    assert!(test(&write("a.rs", "x")).starts_with("allow\n"));
    assert!(test(&write(".git/config", "x")).starts_with("ask\n"));
    assert!(test(&write("link/../link/key", "x")).starts_with("deny\n"));
}

#[test]
fn after_a_kill_in_a_write_the_old_file_or_the_new_one_is_there() {
    let [old, new] = ["o", "n"].map(|letter| letter.repeat(700_000));
    let bench = Bench::new().agent(agent().file("work/big", &old));
    let (workspace, mut server) = bench.serve().apart();
    let path = workspace.file(".duragent/agents/ada/work/big");
    for round in 0..10_u64 {
        let session = server.create_session("ada");
        let content = if fs::read(&path).unwrap()[0] == b'o' {
            &new
        } else {
            &old
        };
        let message = format!("/tool file {}", write("big", content));
        let remote = Remote::at(server.address);
        let body = json!({"content": message});
        let sender = thread::spawn(move || {
            remote.try_post(&format!("/api/v1/sessions/{session}/messages"), &body);
        });
        thread::sleep(Duration::from_millis(round * 12));
        server.kill();
        sender.join().unwrap();
        let found = fs::read(&path).unwrap();
        assert!(
            found == old.as_bytes() || found == new.as_bytes(),
            "{} bytes",
            found.len()
        );
        server = Launch::new(&workspace).start();
    }
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() <= 3, "{names:?}");
}

#[test]
fn where_the_system_does_not_know_the_call_paths_are_gone_part_by_part() {
    for error in [38_u32, 1] {
        let workspace = Bench::new().agent(agent()).workspace();
        let folder = tempfile::tempdir().unwrap();
        let filter = folder.path().join("filter");
        // What `openat2` (437) is answered with; all else is let through.
        let code: [(u16, u8, u8, u32); 4] = [
            (0x20, 0, 0, 0),
            (0x15, 0, 1, 437),
            (0x06, 0, 0, 0x0005_0000 | error),
            (0x06, 0, 0, 0x7fff_0000),
        ];
        let mut bytes = fs::File::create(&filter).unwrap();
        for (code, yes, no, value) in code {
            bytes.write_all(&code.to_ne_bytes()).unwrap();
            bytes.write_all(&[yes, no]).unwrap();
            bytes.write_all(&value.to_ne_bytes()).unwrap();
        }
        let script = format!(
            "exec 8<{}; exec bwrap --die-with-parent --dev-bind / / --seccomp 8 -- \"$@\"",
            filter.display()
        );
        let mut server = Launch::new(&workspace)
            .under(&["sh", "-c", &script, "sh"])
            .start();
        let session = server.create_session("ada");
        let result = |call: &Value| {
            let answer = file(&server, &session, call);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let log = workspace.log_of(&session);
            let line = log
                .iter()
                .rfind(|line| line["type"] == "tool_result")
                .unwrap()
                .clone();
            (
                line["result"]["success"] == true,
                line["result"]["content"].as_str().unwrap().to_owned(),
            )
        };
        assert!(
            result(&edit("a/../x", "one", "two"))
                .1
                .contains("there is no")
        );
        assert!(result(&write("a/b", "b")).0);
        assert_eq!(
            result(&edit("a/../x", "one", "two")).1.lines().next(),
            Some("edited x at 1 place")
        );
        let work = workspace.file(".duragent/agents/ada/work");
        std::os::unix::fs::symlink("x", work.join("link")).unwrap();
        let (success, said) = result(&json!({"action": "read", "path": "link"}));
        assert!(
            !success && said.contains("a link that is not followed"),
            "{said}"
        );
        assert!(!result(&json!({"action": "read", "path": "../agent.yaml"})).0);
        server.kill();
    }
}

#[test]
fn git_obeys_no_repository_that_is_not_called_so() {
    let script = "git config --get-all safe.bareRepository; git config --get user.name; \
                  git init -q --bare bare.x && git --git-dir=bare.x rev-parse --is-bare-repository; \
                  cd bare.x && git status 2>&1 | head -n 1";
    let server = Bench::new()
        .agent(agent().policy("mode: dangerous"))
        .variable("GIT_CONFIG_COUNT", "1")
        .variable("GIT_CONFIG_KEY_0", "user.name")
        .variable("GIT_CONFIG_VALUE_0", "Ann")
        .serve();
    let session = server.create_session("ada");
    let said = server.call(&session, "bash", &json!({"command": script}));
    assert!(
        said.contains("explicit") && said.contains("Ann") && said.contains("true"),
        "{said}"
    );
    assert!(said.contains("cannot use bare repository"), "{said}");
}
