//! Programs that try to get out of their sandbox.
//!
//! These need `bwrap` (the Debian package `bubblewrap`) and a system that lets it make namespaces;
//! where that is missing they fail.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use duragent::domain::spec::ToolRef;
use duragent::sandbox::{Isolation, SandboxSettings};
use serde_json::{Value, json};

use crate::support::bench::{Bench, echo};
use crate::support::desk::{Desk, allow, call_tool, marker, processes_with, wait_for_pid, which};
use crate::support::server::{
    Launch, Remote, Server, Workspace, eventually, within, write_program,
};

const MEMORY_MB: u64 = 128;

fn settings(folder: &Path) -> SandboxSettings {
    SandboxSettings {
        mode: Isolation::Bubblewrap,
        hidden: vec![folder.join(".duragent"), folder.join("duragent.yaml")],
        memory_bytes: MEMORY_MB << 20,
        ..SandboxSettings::default()
    }
}

fn desk() -> Desk {
    Desk::locked(settings)
}

#[test]
fn it_writes_in_its_own_folder_and_nowhere_else() {
    let desk = desk();
    let outside = desk.write("outside", "before");
    let other = desk.write(".duragent/agents/bob/agent.yaml", "before");
    let tool = desk.write(".duragent/agents/ada/tools/t/run", "before");
    let word = marker();
    desk.bash(&format!(
        "echo mine > here; mkdir -p a/b; echo x > /tmp/{word}; echo x > /dev/shm/{word}; echo x > /dev/null"
    ));
    assert_eq!(fs::read_to_string(desk.work("here")).unwrap(), "mine\n");
    for path in [
        other.to_str().unwrap(),
        tool.to_str().unwrap(),
        &desk.spec.home.join("agent.yaml").display().to_string(),
        "/usr/x",
        "/etc/x",
        "/etc/passwd",
        "/bin/x",
        "/x",
        "/dev/x",
        "/var/x",
        "/root/x",
        "/run/x",
    ] {
        // Nothing is added, so that no harm is done where the sandbox leaks.
        let said = desk.refused(&format!(": >> '{path}' && echo WRITTEN"));
        assert!(!said.contains("WRITTEN"), "{path}: {said}");
    }
    // There may be a folder of that name in its own `/tmp`.
    let elsewhere = json!({"command": format!("echo changed > '{}'", outside.display())});
    desk.run("bash", &elsewhere);
    for path in [outside, other, tool] {
        assert_eq!(fs::read_to_string(path).unwrap(), "before");
    }
    for folder in ["/tmp", "/dev/shm"] {
        assert!(!Path::new(folder).join(&word).exists());
    }
}

#[test]
fn it_changes_no_setting_of_the_kernel() {
    let desk = desk();
    let setting = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(setting).unwrap();
    // The value that is there, so that nothing happens where the sandbox leaks.
    let said = desk.refused(&format!(
        "echo \"$(cat {setting})\" > {setting} && echo WRITTEN"
    ));
    assert!(
        said.contains("Read-only file system") || said.contains("Permission denied"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(setting).unwrap(), before);
    let writable =
        "for f in $(find /proc -maxdepth 1 -type f); do [ -w $f ] && echo $f; done; true";
    assert_eq!(desk.bash(writable), "[no output]");
    assert!(
        desk.bash("grep CapEff /proc/self/status")
            .ends_with("0000000000000000")
    );
}

#[test]
fn it_reads_nothing_of_other_agents_and_no_session() {
    let desk = desk();
    for file in [
        ".duragent/agents/bob/agent.yaml",
        ".duragent/agents/bob/memory/MEMORY.md",
        ".duragent/agents/ada/policy.yaml",
        ".duragent/sessions/ses_1/events.jsonl",
        ".duragent/policy.yaml",
        "duragent.yaml",
        "secret",
    ] {
        let path = desk.write(file, "hunter2");
        let said = desk.refused(&format!("cat '{}'", path.display()));
        assert!(!said.contains("hunter2"), "{file}: {said}");
    }
    symlink(desk.path().join("secret"), desk.work("link")).unwrap();
    assert!(desk.refused("cat link").contains("No such file"));
    let seen = desk.bash(&format!(
        "ls -A '{}/.duragent' '{}'",
        desk.path().display(),
        desk.spec.home.display()
    ));
    assert!(
        seen.contains("work") && !seen.contains("sessions") && !seen.contains("policy"),
        "{seen}"
    );
}

#[test]
fn it_reads_nothing_of_the_system_that_not_everybody_may_read() {
    let desk = desk();
    // Root could, outside.
    let said = desk.bash("cat /etc/shadow /etc/gshadow 2>/dev/null; ls -A /root /home /var /run /srv /sys 2>/dev/null; true");
    assert_eq!(said, "[no output]");
    assert!(desk.bash("cat /etc/passwd").contains("root:"));
    // Processes of the machine.
    let pids = desk.bash("ls /proc | grep -c '^[0-9]*$'");
    assert!(pids.parse::<u32>().unwrap() < 8, "{pids}");
}

#[test]
fn what_may_be_written_does_not_show_the_workspace_that_it_holds() {
    let desk = Desk::locked(|folder| SandboxSettings {
        writable: vec![folder.to_owned(), "/nowhere".into()],
        ..settings(folder)
    });
    let secret = desk.write(".duragent/agents/bob/agent.yaml", "hunter2");
    let config = desk.write("duragent.yaml", "hunter2");
    let folder = desk.path().display();
    desk.bash(&format!("echo x > '{folder}/shared'; echo y > here"));
    assert_eq!(
        fs::read_to_string(desk.path().join("shared")).unwrap(),
        "x\n"
    );
    desk.refused(&format!("cat '{}'", secret.display()));
    desk.refused(&format!("cat '{}'", config.display()));
    desk.refused(&format!("echo changed > '{}'", config.display()));
    desk.refused(&format!(
        "rm -r '{folder}/.duragent/agents/ada/agent.yaml' '{folder}/.duragent/sessions'"
    ));
    desk.refused(&format!("echo x > '{folder}/.duragent/policy.yaml'"));
    assert_eq!(fs::read_to_string(config).unwrap(), "hunter2");
    assert!(!desk.path().join(".duragent/policy.yaml").exists());
}

#[test]
fn what_may_be_written_cannot_be_moved_to_uncover_what_it_holds() {
    let desk = Desk::locked(|folder| SandboxSettings {
        writable: vec![folder.join("out")],
        hidden: vec![folder.join("out/a/b/hidden"), folder.join("out/c/file")],
        ..settings(folder)
    });
    desk.write("out/a/b/hidden/secret", "hunter2");
    desk.write("out/c/file", "hunter2");
    desk.write("out/d/free", "");
    let out = desk.path().join("out");
    let out = out.display();
    for (from, seen) in [
        ("a", "b/hidden/secret"),
        ("a/b", "hidden/secret"),
        ("c", "file"),
    ] {
        let said = desk.refused(&format!("cd '{out}'; mv {from} x"));
        assert!(said.contains("busy"), "{said}");
        assert!(!desk.path().join("out/x").join(seen).exists());
    }
    desk.bash(&format!(
        "cd '{out}'; mv d e; echo x > a/b/new; echo x > c/new"
    ));
    assert!(desk.path().join("out/e/free").exists());
}

#[test]
fn a_folder_to_write_in_below_another_cannot_be_led_elsewhere() {
    let desk = Desk::locked(|folder| SandboxSettings {
        writable: vec![folder.join("out/a/secrets"), folder.join("out")],
        ..settings(folder)
    });
    let secret = desk.write("secrets/key", "hunter2");
    desk.write("out/a/secrets/file", "");
    // What one run leaves is what the next one starts from.
    let out = desk.path().join("out");
    desk.bash(&format!("cd {}; mv a x; ln -s .. a", out.display()));
    for folder in [out.join("a/secrets"), desk.path().join("secrets")] {
        let folder = folder.display();
        let read = desk.run("bash", &json!({"command": format!("cat {folder}/key")}));
        assert!(!read.content.contains("hunter2"), "{}", read.content);
        desk.run(
            "bash",
            &json!({"command": format!("echo changed > {folder}/key")}),
        );
    }
    assert_eq!(fs::read_to_string(secret).unwrap(), "hunter2");
}

#[test]
fn a_folder_to_write_in_must_be_called_by_its_real_path_at_each_run() {
    let desk = Desk::locked(|folder| {
        fs::create_dir_all(folder.join("real/inner")).unwrap();
        symlink("real", folder.join("link")).unwrap();
        SandboxSettings {
            writable: vec![folder.join("out")],
            ..settings(folder)
        }
    });
    desk.write("secrets/key", "hunter2");
    let out = desk.path().join("out");
    assert_eq!(desk.bash("echo it is not there"), "it is not there");
    for (target, is_real) in [("secrets", false), ("real", false)] {
        symlink(desk.path().join(target), &out).unwrap();
        let said = desk.refused("true");
        assert!(
            said.contains("sandbox.writable") && said.contains(target),
            "{said} {is_real}"
        );
        fs::remove_file(&out).unwrap();
    }
    fs::create_dir(&out).unwrap();
    desk.bash(&format!("echo x > {}/x", out.display()));
    for writable in ["link", "link/inner", "real/../real", "real/inner/.."] {
        let desk = Desk::locked(|folder| {
            fs::create_dir_all(folder.join("real/inner")).unwrap();
            symlink("real", folder.join("link")).unwrap();
            SandboxSettings {
                writable: vec![folder.join(writable)],
                ..settings(folder)
            }
        });
        let said = desk.refused("true");
        assert!(said.contains("sandbox.writable"), "{writable}: {said}");
    }
}

#[test]
fn a_folder_to_write_in_within_an_agents_own_cannot_be_led_elsewhere() {
    let shared = ".duragent/agents/bob/work/shared";
    let desk = Desk::locked(|folder| SandboxSettings {
        writable: vec![
            folder.join(shared),
            folder.join(".duragent/agents/ada/work/own"),
        ],
        ..settings(folder)
    });
    let secret = desk.write("secrets/key", "hunter2");
    desk.write(".duragent/agents/bob/work/file", "");
    desk.bash("mkdir own; echo x > own/x");
    // What a program of the other agent can do at any time.
    let shared = desk.path().join(shared);
    symlink(secret.parent().unwrap(), &shared).unwrap();
    let said = desk.refused(&format!("cat {}/key", shared.display()));
    assert!(
        said.contains("sandbox.writable") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn what_is_hidden_in_a_folder_to_write_in_cannot_be_made_or_replaced() {
    let hides = |name: &'static str| {
        Desk::locked(move |folder| {
            fs::create_dir_all(folder.join("out/real")).unwrap();
            fs::write(folder.join("out/real/file"), "x").unwrap();
            symlink("real", folder.join("out/link")).unwrap();
            symlink("real/file", folder.join("out/file")).unwrap();
            SandboxSettings {
                writable: vec![folder.join("out")],
                hidden: vec![folder.join("out").join(name)],
                ..settings(folder)
            }
        })
    };
    for name in ["absent.yaml", "link", "file", "link/file", "no/such/folder"] {
        let said = hides(name).refused("true");
        assert!(
            said.contains("sandbox.writable") && said.contains(name),
            "{name}: {said}"
        );
    }
    assert_eq!(hides("real").bash("echo fine"), "fine");
}

#[test]
fn nothing_that_other_programs_obey_may_be_written() {
    let home = std::env::var("HOME").unwrap();
    let above = Path::new(&home).parent().unwrap().to_owned();
    for folder in [
        Path::new("/"),
        Path::new("/proc"),
        Path::new("/dev/shm"),
        Path::new("/sys/fs"),
        Path::new(&home),
        &above,
    ] {
        let desk = Desk::locked(|path| SandboxSettings {
            writable: vec![folder.to_owned()],
            ..settings(path)
        });
        let said = desk.refused("true");
        assert!(
            said.contains("sandbox.writable"),
            "{}: {said}",
            folder.display()
        );
    }
}

#[test]
fn a_folder_of_the_workspace_can_be_written_if_that_is_asked_for() {
    let desk = Desk::locked(|folder| {
        let shared = folder.join(".duragent/shared");
        SandboxSettings {
            hidden: vec![folder.join(".duragent"), shared.join("but/not/this")],
            writable: vec![shared],
            ..settings(folder)
        }
    });
    let file = desk.write(".duragent/shared/file", "before");
    desk.write(".duragent/shared/but/not/this/secret", "hunter2");
    desk.write(".duragent/secret", "hunter2");
    let workspace = desk.path().join(".duragent");
    desk.bash(&format!("echo after > '{}'", file.display()));
    assert_eq!(fs::read_to_string(file).unwrap(), "after\n");
    let seen = desk.bash(&format!(
        "cd '{}'; ls -A . shared/but/not/this",
        workspace.display()
    ));
    assert_eq!(seen, ".:\nagents\nshared\n\nshared/but/not/this:");
    desk.refused(&format!("cd '{}/shared'; mv but x", workspace.display()));
}

#[test]
fn it_reaches_no_network_unless_it_is_let() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let knock = format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo reached");
    let locked = desk();
    assert!(locked.refused(&knock).contains("Connection refused"));
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(
        locked.bash("tail -n +3 /proc/net/dev | grep -vc lo: || true"),
        "0"
    );
    let open = Desk::locked(|folder| SandboxSettings {
        network: true,
        ..settings(folder)
    });
    assert_eq!(open.bash(&knock), "reached");
    listener.accept().unwrap();
}

#[test]
fn it_is_given_no_descriptor_but_three() {
    // The fourth is the listing's own.
    assert_eq!(desk().bash("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
}

#[test]
fn a_fork_bomb_stays_small_and_ends() {
    let desk = desk();
    let word = marker();
    // It would end by itself.
    let bomb = format!("for i in $(seq 3000); do sleep {word} & done; echo ALL; wait");
    let output = desk.run("bash", &json!({"command": bomb, "timeout_seconds": 60}));
    assert!(
        !output.success && !output.content.contains("ALL"),
        "{}",
        output.content
    );
    let is_limited = [
        "more than 512 processes",
        "Resource temporarily unavailable",
    ];
    assert!(
        is_limited.iter().any(|said| output.content.contains(said)),
        "{}",
        output.content
    );
    eventually("all of it is gone", || {
        processes_with(&word).is_empty().then_some(())
    });
}

#[test]
fn memory_is_limited_for_each_process_and_for_all_together() {
    let desk = desk();
    // Without a line end, `tail` must keep it all.
    let one = json!({"command": "head -c 300m /dev/zero | tail | wc -c; exit ${PIPESTATUS[1]}"});
    let killed = format!("[killed: its processes used more than {MEMORY_MB} MB of memory");
    let output = desk.run("bash", &one);
    assert!(!output.success);
    // Whichever limit it meets first.
    let said = ["memory exhausted", &killed];
    assert!(
        said.iter().any(|said| output.content.contains(said)),
        "{}",
        output.content
    );
    let fill = "(head -c 60m /dev/zero; sleep 60) | tail > /dev/null &";
    let output = desk.run(
        "bash",
        &json!({"command": format!("{fill} {fill} {fill} wait"), "timeout_seconds": 60}),
    );
    assert!(output.content.contains(&killed), "{}", output.content);
    let file = desk.refused("head -c 300m /dev/zero > /tmp/file");
    assert!(file.contains("No space left"), "{file}");
}

#[test]
fn memory_that_processes_share_counts_once() {
    let fork = "(sleep 1; :) &".repeat(6);
    let command = format!("x=$(head -c 30m /dev/zero | tr '\\0' x); {fork} wait; echo fine");
    assert_eq!(desk().bash(&command), "fine");
}

#[test]
fn processor_time_is_limited() {
    let desk = Desk::locked(|folder| SandboxSettings {
        cpu_seconds: Some(1),
        ..settings(folder)
    });
    let output = desk.run(
        "bash",
        &json!({"command": "while :; do :; done", "timeout_seconds": 60}),
    );
    assert_eq!(output.content, "[exit status: 137; no output]");
}

#[test]
fn a_cancelled_sandbox_is_over_at_once_with_all_that_is_in_it() {
    within(Duration::from_millis(250), || {
        let desk = desk();
        let word = marker();
        let command = format!("setsid sleep {word} & (sleep {word} & wait) & echo 1 > begun; wait");
        let command = json!({"command": command});
        let (cancel_tx, cancel_rx) = bounded(0);
        let took = thread::scope(|scope| {
            let run = scope.spawn(|| desk.run_until("bash", &command, &cancel_rx));
            wait_for_pid(&desk.work("begun"));
            eventually("both sleep", || {
                (processes_with(&word).len() == 2).then_some(())
            });
            let cancelled = Instant::now();
            drop(cancel_tx);
            run.join().unwrap();
            cancelled.elapsed()
        });
        eventually("all of it is gone", || {
            processes_with(&word).is_empty().then_some(())
        });
        took
    });
}

#[test]
fn nothing_outlives_its_run() {
    let desk = desk();
    let word = marker();
    assert_eq!(
        desk.bash(&format!("setsid sleep {word} & echo over")),
        "over"
    );
    eventually("all of it is gone", || {
        processes_with(&word).is_empty().then_some(())
    });
}

#[test]
fn tools_and_skills_of_the_agent_are_there_to_run() {
    let mut desk = desk();
    desk.write(
        ".duragent/agents/ada/tools/one/run",
        "#!/bin/sh\ncat \"${0%/*}/data\" \"$1\"\n",
    );
    desk.write(".duragent/agents/ada/tools/one/data", "beside ");
    desk.write(".duragent/agents/ada/skills/s/notes", "skill");
    desk.write(".duragent/skills/t/notes", "skill of all");
    desk.write(
        ".duragent/agents/ada/bin/run",
        "#!/bin/sh\ncat \"${0%/*}/data\"\n",
    );
    desk.write(".duragent/agents/ada/bin/data", "declared");
    desk.write(".duragent/tools/two/run", "#!/bin/sh\necho shared\n");
    desk.spec.tools.push(ToolRef::Cli {
        name: "three".into(),
        command: "bin/run".into(),
        args: Vec::new(),
        description: None,
        readme: None,
        effect: duragent::domain::spec::ToolEffect::Read,
        env: Vec::new(),
    });
    let notes = desk.spec.skills_dir.join("s/notes");
    assert_eq!(
        desk.run("one", &json!({"args": [notes]})).content,
        "beside skill"
    );
    let notes = desk.path().join(".duragent/skills/t/notes");
    assert_eq!(
        desk.run("one", &json!({"args": [notes]})).content,
        "beside skill of all"
    );
    assert_eq!(desk.run("two", &json!({})).content, "shared\n");
    assert_eq!(desk.run("three", &json!({})).content, "declared");
}

#[test]
fn an_agent_whose_tools_start_in_its_folder_sees_it_and_cannot_change_it() {
    let mut desk = desk();
    desk.write(".duragent/agents/ada/agent.yaml", "what it is");
    desk.write(".duragent/agents/ada/tools/one/run", "#!/bin/sh\npwd\n");
    desk.spec.tools_cwd = duragent::domain::spec::ToolsCwd::Agent;
    let home = desk.spec.home.display().to_string();
    assert_eq!(
        desk.bash("pwd; cat agent.yaml"),
        format!("{home}\nwhat it is")
    );
    assert_eq!(desk.run("one", &json!({})).content, format!("{home}\n"));
    for change in ["echo x > agent.yaml", "touch x", "mv work y", "rm -r tools"] {
        desk.refused(change);
    }
    assert_eq!(desk.bash("echo x > work/x; cat work/x ~/x"), "x\nx");
    // Of the others it sees nothing.
    desk.write(".duragent/agents/bob/agent.yaml", "another");
    desk.refused("cat ../bob/agent.yaml");
}

#[test]
fn what_a_script_of_a_tool_names_in_the_agents_folder_is_there() {
    let mut desk = desk();
    desk.write(".duragent/agents/ada/bin/run", "#!/bin/sh\necho named\n");
    desk.spec.tools.push(ToolRef::Cli {
        name: "script".into(),
        command: "echo x > note; \"$DURAGENT_AGENT_HOME/bin/run\" | cat - note".into(),
        args: Vec::new(),
        description: None,
        readme: None,
        effect: duragent::domain::spec::ToolEffect::Read,
        env: Vec::new(),
    });
    for _ in 0..2 {
        assert_eq!(desk.run("script", &json!({})).content, "named\nx\n");
    }
}

#[test]
fn an_agents_file_or_a_link_of_it_opens_no_folder_of_the_machine() {
    let mut desk = desk();
    let secret = desk.write("secrets/run", "#!/bin/sh\necho hunter2\n");
    symlink(desk.path().join("secrets"), desk.spec.home.join("tools")).unwrap();
    desk.spec.skills_dir = desk.path().join("secrets");
    desk.spec.tools.push(ToolRef::Cli {
        name: "peek".into(),
        command: secret.display().to_string(),
        args: Vec::new(),
        description: None,
        readme: None,
        effect: duragent::domain::spec::ToolEffect::Read,
        env: Vec::new(),
    });
    for path in [secret.clone(), desk.spec.home.join("tools/run")] {
        desk.refused(&format!("cat '{}'", path.display()));
    }
    assert!(!desk.run("peek", &json!({})).content.contains("hunter2"));
    // Nor is it led to write elsewhere.
    fs::remove_dir_all(desk.work("")).unwrap();
    symlink(desk.path().join("secrets"), desk.spec.home.join("work")).unwrap();
    let said = desk.refused("touch x");
    assert!(said.contains("is no folder of the agent's own"), "{said}");
}

// --- through the real binary ---

fn workspace(sandbox: &str) -> Workspace {
    Bench::new()
        .agent(echo("ada").continues().builtin("bash"))
        .config(&format!("sandbox: {sandbox}"))
        .workspace()
}

#[test]
fn nothing_outlives_a_server_that_is_killed() {
    let workspace = workspace("{mode: bubblewrap}");
    let mut server = Server::start(&workspace, &[]);
    assert_eq!(server.get("/version").json()["sandbox"], "bubblewrap");
    assert!(
        server.log().contains("sandbox: bubblewrap"),
        "{}",
        server.log()
    );
    let session = server.create_session("ada");
    let word = marker();
    let command = json!({"command": format!("setsid sleep {word} & (sleep {word} & wait) & wait")});
    let asked = server
        .say(&session, &format!("/tool bash {command}"))
        .json();
    let remote = Remote::at(server.address);
    let waiting = thread::spawn(move || {
        let _ = std::panic::catch_unwind(|| allow(&remote, &session, &asked));
    });
    eventually("both sleep", || {
        (processes_with(&word).len() == 2).then_some(())
    });
    server.kill();
    eventually("all of it is gone", || {
        processes_with(&word).is_empty().then_some(())
    });
    waiting.join().unwrap();
}

#[test]
fn where_there_is_no_bubblewrap_nothing_runs() {
    let workspace = workspace("{mode: bubblewrap}");
    // All that `trust` would need is there.
    let bin = workspace.file("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["bash", "touch"] {
        symlink(which(program), bin.join(program)).unwrap();
    }
    let server = Launch::new(&workspace)
        .env("PATH", bin.to_str().unwrap())
        .start();
    let why = "bwrap is not installed, so nothing runs; the Debian package is `bubblewrap`";
    assert!(server.log().contains(why), "{}", server.log());
    assert_eq!(server.get("/version").json()["sandbox"], "bubblewrap");
    let session = server.create_session("ada");
    let answer = call_tool(&server, &session, "bash", &json!({"command": "touch ran"}));
    assert!(answer.text().contains(why), "{}", answer.text());
    assert!(!workspace.file(".duragent/agents/ada/work/ran").exists());
}

#[test]
fn in_a_sandbox_a_program_is_told_only_what_is_on_a_list() {
    let tool = |name: &str, more: &str| {
        format!("{{type: cli, name: {name}, command: env, description: x{more}}}")
    };
    let ada = echo("ada")
        .builtin("bash")
        .tool(&tool("plain", ""))
        .tool(&tool("trusted", ", env: [OWN_TOKEN, NOT_SET]"));
    let server = Bench::new()
        .agent(ada)
        .config("sandbox: {mode: bubblewrap, env: [SHOWN, BASH_ENV]}")
        .variable("SHOWN", "yes")
        .variable("HARMLESS", "yes")
        .variable("BASH_ENV", "/nowhere")
        .variable("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
        .variable("OWN_TOKEN", "short")
        .variable("LC_TIME", "C.UTF-8")
        .serve();
    let session = server.create_session("ada");
    let names = |tool: &str, arguments: Value| -> Vec<String> {
        let answer = call_tool(&server, &session, tool, &arguments).json();
        let said = answer["content"].as_str().unwrap();
        let mut names: Vec<String> = said
            .lines()
            .filter_map(|line| Some(line.split_once('=')?.0.to_owned()))
            .collect();
        names.sort();
        names
    };
    let usual = [
        "HOME", "LANG", "PATH", "TERM", "TZ", "USER", "PWD", "SHLVL", "_",
    ];
    for (tool, arguments) in [
        ("bash", json!({"command": "echo; env"})),
        ("plain", json!({})),
        ("trusted", json!({})),
    ] {
        let found = names(tool, arguments);
        let is_listed = |name: &String| {
            usual.contains(&name.as_str())
                || name.starts_with("DURAGENT_")
                || name.starts_with("GIT_CONFIG_")
                || name.starts_with("LC_")
        };
        let more: Vec<&String> = found.iter().filter(|name| !is_listed(name)).collect();
        let expected: &[&str] = match tool {
            "trusted" => &["OWN_TOKEN", "SHOWN"],
            _ => &["SHOWN"],
        };
        assert_eq!(more, expected, "{tool}: {found:?}");
        assert!(found.contains(&"DURAGENT_AGENT".to_owned()), "{found:?}");
    }
}

#[test]
fn a_server_says_which_folders_to_write_in_do_not_count() {
    let workspace = workspace("{mode: bubblewrap, writable: [out, out/inner, link]}");
    fs::create_dir_all(workspace.file("out/inner")).unwrap();
    symlink("out", workspace.file("link")).unwrap();
    let server = Server::start(&workspace, &[]);
    let log = server.log();
    assert!(
        log.contains("`sandbox.writable[1]` is left out: it lies in"),
        "{log}"
    );
    assert!(
        log.contains("link of `sandbox.writable` is or lies below a link"),
        "{log}"
    );
    let session = server.create_session("ada");
    let answer = call_tool(&server, &session, "bash", &json!({"command": "touch ran"}));
    assert!(
        answer.text().contains("sandbox.writable"),
        "{}",
        answer.text()
    );
    assert!(!workspace.file(".duragent/agents/ada/work/ran").exists());
}

#[test]
fn what_is_trusted_is_not_seen_and_cannot_be_written() {
    let workspace = workspace("{mode: bubblewrap, writable: [account]}");
    let account = workspace.file("account");
    fs::create_dir(&account).unwrap();
    let server = Launch::new(&workspace)
        .env("XDG_STATE_HOME", account.join("state").to_str().unwrap())
        .env("XDG_CONFIG_HOME", account.join("config").to_str().unwrap())
        .start();
    let session = server.create_session("ada");
    for folder in ["state", "config"] {
        let file = account.join(folder).join("duragent/trust.yaml");
        let command = format!(
            "mkdir -p {0}; echo x > {0}/trust.yaml; mv {1} {1}-2; mkdir {1}",
            file.parent().unwrap().display(),
            account.join(folder).display()
        );
        call_tool(&server, &session, "bash", &json!({ "command": command }));
        assert!(file.parent().unwrap().exists() && !file.exists());
        assert!(!account.join(format!("{folder}-2")).exists());
    }
}

/// A `docker` that writes down how it is called, and then does what its script says.
fn fake_docker(workspace: &Workspace, script: &str) -> String {
    let calls = workspace.file("calls");
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{}'\n{script}\n",
        calls.display()
    );
    fs::create_dir(workspace.file("bin")).unwrap();
    write_program(&workspace.file("bin/docker"), &text);
    let path = std::env::var("PATH").unwrap();
    format!("{}:{path}", workspace.file("bin").display())
}

#[test]
fn a_container_is_made_with_all_its_limits_and_removed_when_its_time_is_up() {
    let workspace = workspace(
        "{mode: docker, image: debian, memory_mb: 64, cpu_seconds: 9, writable: [out, .], env: [SHOWN]}",
    );
    let path = fake_docker(
        &workspace,
        "case \"$*\" in run*sleep*) exec sleep 60;; run*lost*) exit 125;; run*) echo inside;; esac",
    );
    fs::create_dir(workspace.file("out")).unwrap();
    // The folder of the workspace is a home to other tests, which could not be written in.
    let launch = Launch::new(&workspace).env("PATH", &path);
    let server = launch.env("HOME", "/usr/share").start();
    assert_eq!(server.get("/version").json()["sandbox"], "docker");
    let session = server.create_session("ada");
    let answer = call_tool(&server, &session, "bash", &json!({"command": "true"}));
    assert!(answer.text().contains("inside"), "{}", answer.text());
    check_limits(&workspace);
    let slow = json!({"command": "sleep 60", "timeout_seconds": 1});
    let answer = call_tool(&server, &session, "bash", &slow);
    assert!(
        answer.text().contains("it took more than 1 seconds"),
        "{}",
        answer.text()
    );
    check_removed(&workspace);
    // The program that waits for the container is not the container.
    call_tool(&server, &session, "bash", &json!({"command": "lost"}));
    check_removed(&workspace);
}

/// Checks that the last container was removed, and so ended.
fn check_removed(workspace: &Workspace) {
    let called = workspace.read("calls");
    let calls: Vec<&str> = called.lines().collect();
    let [.., run, removal] = calls[..] else {
        panic!("{calls:?}")
    };
    let mut words = run.split_whitespace();
    let name = words.find(|word| word.starts_with("duragent-")).unwrap();
    assert_eq!(removal, format!("rm --force {name}"));
}

/// Checks how the last container was made.
fn check_limits(workspace: &Workspace) {
    let called = workspace.read("calls");
    let call = called.lines().last().unwrap();
    let work = workspace.file(".duragent/agents/ada/work");
    for part in [
        "run --rm --interactive --init --pull never --network none --read-only --tmpfs /tmp:",
        " --memory 67108864 --memory-swap 67108864 --pids-limit 512 --ulimit core=0 --ulimit cpu=9 ",
        " --cap-drop ALL --security-opt no-new-privileges ",
        &format!(
            " --mount type=bind,\"source={0}\",\"target={0}\" ",
            work.display()
        ),
        &format!(
            " --mount type=bind,\"source={0}\",\"target={0}\" ",
            workspace.path().display()
        ),
        &format!(
            " --mount type=tmpfs,\"target={}\",tmpfs-size=1048576 ",
            workspace.file(".duragent").display()
        ),
        " --env DURAGENT_AGENT --env DURAGENT_SESSION --env DURAGENT_AGENT_HOME ",
        " --env GIT_CONFIG_KEY_0 ",
        " --env HOME=",
        &format!(
            " --workdir {} debian bash --norc -c -- true",
            work.display()
        ),
    ] {
        assert!(call.contains(part), "{part}\n{call}");
    }
    let out = format!("{}\"", workspace.file("out").display());
    assert!(!call.contains(&out), "{out}\n{call}");
}

#[test]
fn where_there_is_no_docker_daemon_the_model_and_the_log_are_told() {
    let workspace = workspace("{mode: docker, image: debian}");
    let path = fake_docker(
        &workspace,
        "echo 'Cannot connect to the Docker daemon' >&2; exit 125",
    );
    let server = Launch::new(&workspace).env("PATH", &path).start();
    assert!(
        server.log().contains("docker does not work"),
        "{}",
        server.log()
    );
    assert!(server.log().contains("Cannot connect to the Docker daemon"));
    let session = server.create_session("ada");
    let answer = call_tool(&server, &session, "bash", &json!({"command": "true"}));
    assert!(
        answer
            .text()
            .contains("Cannot connect to the Docker daemon"),
        "{}",
        answer.text()
    );
}
