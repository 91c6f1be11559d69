//! Tools that run programs: real children, which print, hang, fork and hold on to pipes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use duragent::domain::spec::{ToolEffect, ToolRef};
use duragent::tools::{ToolKind, Toolbox};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use crate::support::bench::echo;
use crate::support::desk::{
    Desk, allow, bash, call_tool, is_running, marker, processes_with, wait_for_pid,
};
use crate::support::server::{Launch, PATIENCE, Server, Workspace, eventually, within};

/// How soon a cancelled tool must be over.
const CANCELLED_WITHIN: Duration = Duration::from_millis(250);

#[test]
fn both_outputs_come_back_in_their_order_and_the_status_is_said() {
    let desk = Desk::new();
    assert_eq!(desk.bash("echo a; echo b >&2; echo c"), "a\nb\nc");
    assert_eq!(desk.bash("true"), "[no output]");
    assert_eq!(desk.bash("-x 2>/dev/null || echo no option"), "no option");
    assert_eq!(desk.refused("echo a; exit 3"), "a\n[exit status: 3]");
    assert_eq!(desk.refused("exit 4"), "[exit status: 4; no output]");
    assert_eq!(
        desk.refused("kill -9 $$"),
        "[signal: 9 (SIGKILL); no output]"
    );
}

#[test]
fn of_long_output_the_beginning_and_the_end_come_back() {
    let desk = Desk::new();
    let text = desk.bash("echo begin; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo end");
    assert!(text.starts_with("begin\nxxx"), "{text:.20}");
    assert!(text.ends_with("xxx\nend"));
    // 200,000,011 bytes in all.
    assert!(text.contains("x\n[… 199,934,475 bytes left out …]\nx"));
    assert!(text.len() < 70_000);
}

#[test]
fn a_program_runs_in_the_folder_of_its_agent_and_knows_for_whom() {
    let desk = Desk::new();
    let told =
        desk.bash("pwd; echo $DURAGENT_AGENT $DURAGENT_SESSION $DURAGENT_AGENT_HOME; touch here");
    let home = desk.spec.home.display().to_string();
    let session = desk.session();
    assert_eq!(told, format!("{home}/work\nada {session} {home}"));
    assert!(desk.work("here").exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(desk.work("")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_program_is_given_no_input_no_terminal_and_no_descriptor_of_the_server() {
    // As whoever starts a server may leave open in it.
    let inherited = rustix::fs::open("/etc/passwd", OFlags::RDONLY, Mode::empty()).unwrap();
    let desk = Desk::new();
    assert_eq!(desk.bash("cat; echo end"), "end");
    // The fourth is the listing's own.
    assert_eq!(desk.bash("ls /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
    assert!(desk.refused("echo x > /dev/tty").contains("/dev/tty"));
    drop(inherited);
}

#[test]
fn a_program_that_takes_too_long_is_killed() {
    let desk = Desk::new();
    let started = Instant::now();
    let output = desk.run(
        "bash",
        &json!({"command": "echo begun; sleep 1000", "timeout_seconds": 1}),
    );
    assert_eq!(
        output.content,
        "begun\n[killed: it took more than 1 seconds]"
    );
    assert!(!output.success);
    assert!(started.elapsed() < PATIENCE, "it was waited for");
}

#[test]
fn a_cancelled_program_is_over_at_once_and_so_are_its_children() {
    let command = "sleep 1000 & echo $! > child; (sleep 1000 & echo $! > grandchild; wait) & wait";
    within(CANCELLED_WITHIN, || {
        let desk = Desk::new();
        let (cancel_tx, cancel_rx) = bounded(0);
        thread::scope(|scope| {
            let run =
                scope.spawn(|| desk.run_until("bash", &json!({"command": command}), &cancel_rx));
            let pids = ["child", "grandchild"].map(|name| wait_for_pid(&desk.work(name)));
            assert!(pids.iter().all(|pid| is_running(*pid)));
            let cancelled = Instant::now();
            drop(cancel_tx);
            let output = run.join().unwrap();
            let took = cancelled.elapsed();
            assert_eq!(output.content, "[killed: it was cancelled; no output]");
            for pid in pids {
                eventually("a child is gone", || (!is_running(pid)).then_some(()));
            }
            took
        })
    });
}

#[test]
fn a_cancelled_program_takes_the_groups_that_it_made_with_it() {
    let desk = Desk::new();
    let word = marker();
    // `timeout` makes a group of its own, and so does a shell for each job that it watches.
    let command =
        format!("timeout 1000 sleep {word} & set -m; (sleep {word}; :) & (sleep {word} &); wait");
    let (cancel_tx, cancel_rx) = bounded(0);
    thread::scope(|scope| {
        let run = scope.spawn(|| desk.run_until("bash", &json!({"command": command}), &cancel_rx));
        eventually("all of it runs", || {
            (processes_with(&word).len() == 4).then_some(())
        });
        drop(cancel_tx);
        run.join().unwrap();
    });
    eventually("all of it is gone", || {
        processes_with(&word).is_empty().then_some(())
    });
}

#[test]
fn what_a_program_leaves_behind_is_killed_and_holds_nothing_up() {
    let desk = Desk::new();
    let started = Instant::now();
    let told = desk.bash("sleep 1000 & echo $! > child; echo done");
    assert_eq!(told, "done");
    let pid = wait_for_pid(&desk.work("child"));
    eventually("the child is gone", || (!is_running(pid)).then_some(()));
    // In a session of its own it is out of reach; it holds the pipe, and holds nothing up.
    let told = desk.bash(
        "setsid sh -c 'echo $$ > other; exec sleep 1000' & \
         until [ -s other ]; do sleep 0.01; done; echo done",
    );
    assert_eq!(told, "done");
    assert!(started.elapsed() < PATIENCE, "it was waited for");
    let pid = wait_for_pid(&desk.work("other"));
    assert!(is_running(pid));
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn mistakes_in_the_arguments_are_said_to_the_model() {
    let desk = Desk::new();
    for (arguments, said) in [
        (json!({}), "missing field `command`"),
        (json!({"command": "x", "cwd": "/"}), "unknown field `cwd`"),
        (
            json!({"command": "x", "timeout_seconds": 0}),
            "must be from 1 to 3600",
        ),
        (json!({"command": "x\0y"}), "nul byte"),
    ] {
        let output = desk.run("bash", &arguments);
        assert!(
            !output.success && output.content.contains(said),
            "{}",
            output.content
        );
    }
}

fn cli(name: &str, command: &str, readme: Option<&str>) -> ToolRef {
    ToolRef::Cli {
        name: name.into(),
        command: command.into(),
        args: Vec::new(),
        description: Some("Shows what it is given.".into()),
        readme: readme.map(str::to_owned),
        effect: ToolEffect::Read,
        env: Vec::new(),
    }
}

const SHOW: &str = "#!/bin/sh\nprintf '<%s>' \"$@\"\necho; cat\n";

#[test]
fn a_declared_program_gets_its_words_and_its_input() {
    let mut desk = Desk::new();
    desk.write(".duragent/agents/ada/bin/run", SHOW);
    desk.write(".duragent/agents/ada/bin/more.md", "It is quick.\n");
    desk.spec.tools = vec![cli(
        "show",
        "./bin/run first 'and second'",
        Some("bin/more.md"),
    )];
    let output = desk.run("show", &json!({"args": ["$HOME", "a b"], "stdin": "in\n"}));
    assert_eq!(output.content, "<first><and second><$HOME><a b>\nin\n");
    assert_eq!(
        desk.run("show", &json!({})).content,
        "<first><and second>\n"
    );
    let tools = desk.tools();
    let spec = tools.get("show").unwrap().spec().clone();
    assert_eq!(spec.description, "Shows what it is given.\n\nIt is quick.");
    assert_eq!((spec.kind, spec.effect), (ToolKind::Cli, ToolEffect::Read));
    // Of the server, as `jq`, or nothing that is there.
    desk.spec.tools = vec![
        cli("hello", "echo hello", None),
        cli("none", "no-such-program", None),
    ];
    assert_eq!(
        desk.run("hello", &json!({"args": ["you"]})).content,
        "hello you\n"
    );
    let none = desk.run("none", &json!({}));
    assert!(
        none.content.starts_with("no-such-program cannot be run: "),
        "{}",
        none.content
    );
}

#[test]
fn a_script_is_given_arguments_and_never_made_of_them() {
    let mut desk = Desk::new();
    desk.spec.tools = vec![
        cli("sorted", "printf '%s\\n' \"$@\" | sort; echo \"$0\"", None),
        cli(
            "first",
            "echo \"<$1>\" \"${2:-none}\" > out && cat out",
            None,
        ),
        cli("none", "echo $DURAGENT_AGENT", None),
        cli("files", "ls *.txt", None),
    ];
    let run = |tool: &str, args: &Value| desk.run(tool, &json!({ "args": args })).content;
    let hostile = json!(["b; touch x", "$(touch x)", "a`touch x`", "*", "' \""]);
    let said = run("sorted", &hostile);
    let mut lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.pop(), Some("sorted"));
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["$(touch x)", "' \"", "*", "a`touch x`", "b; touch x"]
    );
    assert_eq!(run("first", &json!(["$(touch x)"])), "<$(touch x)> none\n");
    assert!(!desk.work("x").exists());
    // What its command does not take is not used.
    assert_eq!(run("none", &json!(["x"])), "ada\n");
    fs::write(desk.work("b.txt"), "").unwrap();
    assert_eq!(run("files", &json!([])), "b.txt\n");
}

#[test]
fn a_question_about_a_script_names_what_it_runs() {
    let workspace = Workspace::new();
    let script = "sort \"$@\" | uniq -c > $${OUT:-counts}; cat counts";
    echo("ada")
        .tool(&format!("{{type: cli, name: tally, command: '{script}'}}"))
        .write(&workspace);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let input = json!({"stdin": "a\na\n"});
    let asked = server.say(&session, &format!("/tool tally {input}")).json();
    assert_eq!(asked["command"], format!("tally {input}"));
    let commands = asked["commands"].as_array().unwrap();
    assert_eq!(commands.first().unwrap(), "sort \"$@\"");
    assert_eq!(commands.last().unwrap(), "cat counts");
    let answer = allow(&server, &session, &asked);
    assert_eq!(answer.json()["content"], "      2 a\n", "{}", answer.text());
}

#[test]
fn arguments_in_one_text_are_split_by_their_quotes_alone() {
    let mut desk = Desk::new();
    desk.write(".duragent/agents/ada/bin/run", SHOW);
    desk.spec.tools = vec![cli("show", "./bin/run 'a b'", None)];
    if let ToolRef::Cli { args, .. } = &mut desk.spec.tools[0] {
        args.push("c d".to_owned());
    }
    let text = r#"--at "New York" it\'s $HOME * `id` #1 a;b"#;
    assert_eq!(
        desk.run("show", &json!({ "args": text })).content,
        "<a b><c d><--at><New York><it's><$HOME><*><`id`><#1><a;b>\n"
    );
    let wrong = desk.run("show", &json!({"args": "it's"}));
    assert!(!wrong.success);
    assert!(
        wrong
            .content
            .contains("`args` has a quote that does not end"),
        "{}",
        wrong.content
    );
}

#[test]
fn tools_start_in_the_agents_folder_where_its_file_says_so() {
    let mut desk = Desk::new();
    let home = desk.spec.home.display().to_string();
    desk.write(".duragent/agents/ada/tools/found/run", "#!/bin/sh\npwd\n");
    desk.write(".duragent/agents/ada/notes.txt", "noted");
    desk.spec.tools = vec![
        bash(),
        cli("script", "pwd; cat notes.txt", None),
        cli("plain", "cat notes.txt", None),
    ];
    let run = |desk: &Desk, tool: &str| desk.run(tool, &json!({})).content;
    assert_eq!(
        desk.bash("pwd; echo $PWD"),
        format!("{home}/work\n{home}/work")
    );
    assert!(!desk.run("plain", &json!({})).success);
    desk.spec.tools_cwd = duragent::domain::spec::ToolsCwd::Agent;
    assert_eq!(desk.bash("pwd; echo $PWD"), format!("{home}\n{home}"));
    assert_eq!(run(&desk, "found"), format!("{home}\n"));
    assert_eq!(run(&desk, "script"), format!("{home}\nnoted"));
    assert_eq!(run(&desk, "plain"), "noted");
}

#[test]
fn a_readme_outside_of_the_agents_folder_is_not_shown() {
    let mut desk = Desk::new();
    desk.write("secret.md", "hidden");
    desk.spec.tools = vec![cli("show", "echo", Some("../../../secret.md"))];
    let description = desk.tools().get("show").unwrap().spec().description.clone();
    assert_eq!(description, "Shows what it is given.");
}

#[test]
fn declared_tools_come_before_found_ones_and_the_agents_before_the_workspaces() {
    let mut desk = Desk::new();
    for (folder, names) in [
        (".duragent/tools", &["one", "two", "three"][..]),
        (".duragent/agents/ada/tools", &["two", "three"]),
    ] {
        for name in names {
            desk.write(
                &format!("{folder}/{name}/run"),
                &format!("#!/bin/sh\necho {folder}\n"),
            );
        }
    }
    desk.write(".duragent/tools/one/README.md", "The first.");
    desk.spec.tools = vec![bash(), cli("three", "echo declared", None)];
    let tools = desk.tools();
    assert_eq!(
        kinds(&tools),
        [
            ("bash", ToolKind::Bash),
            ("one", ToolKind::FoundCli),
            ("three", ToolKind::Cli),
            ("two", ToolKind::FoundCli),
        ]
    );
    assert_eq!(tools.get("one").unwrap().spec().description, "The first.");
    for (tool, printed) in [
        ("one", ".duragent/tools\n"),
        ("two", ".duragent/agents/ada/tools\n"),
        ("three", "declared\n"),
    ] {
        assert_eq!(desk.run(tool, &json!({})).content, printed);
    }
}

fn kinds(tools: &Toolbox) -> Vec<(&str, ToolKind)> {
    tools.specs().map(|spec| (&*spec.name, spec.kind)).collect()
}

// --- through the real binary ---

fn with_bash(workspace: &Workspace) {
    echo("ada").continues().builtin("bash").write(workspace);
}

fn work(workspace: &Workspace, name: &str) -> std::path::PathBuf {
    workspace.file(".duragent/agents/ada/work").join(name)
}

#[test]
fn programs_of_tools_are_told_none_of_the_servers_secrets() {
    let workspace = Workspace::new();
    with_bash(&workspace);
    let launch = Launch::new(&workspace)
        .env("DURAGENT_API_TOKEN", "hunter2")
        .env("Db_Password_File", "hunter3")
        .env("NOTIFY_SOCKET", "/nowhere/notify")
        .env("HARMLESS", "yes");
    let mut server = launch.start();
    server.token = Some("hunter2".into());
    let session = server.create_session("ada");
    let answer = call_tool(&server, &session, "bash", &json!({"command": "env | sort"}));
    let shown = answer.text();
    assert!(shown.contains("HARMLESS=yes"), "{shown}");
    assert!(shown.contains("DURAGENT_AGENT=ada"), "{shown}");
    // Git's own name for a setting.
    let shown = shown.replace("GIT_CONFIG_KEY_0=safe.bareRepository", "");
    for secret in ["hunter", "test-key", "_KEY", "TOKEN", "NOTIFY_SOCKET"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn the_shell_runs_the_command_and_nothing_that_the_environment_names() {
    let workspace = Workspace::new();
    with_bash(&workspace);
    workspace.write("before", "echo from BASH_ENV\n");
    workspace.write(".bashrc", "echo from bashrc\n");
    let before = workspace.file("before");
    let launch = Launch::new(&workspace)
        .env("BASH_ENV", before.to_str().unwrap())
        .env("BASH_FUNC_true%%", "() { echo from a function; }")
        .env("SHELLOPTS", "xtrace")
        .env("PS4", "$(echo from PS4)")
        .env("SSH_CLIENT", "127.0.0.1 1 2");
    let server = launch.start();
    let session = server.create_session("ada");
    let answer = call_tool(
        &server,
        &session,
        "bash",
        &json!({"command": "true; echo x"}),
    );
    let shown = answer.text();
    assert!(!shown.contains("from"), "{shown}");
    assert!(shown.contains('x'), "{shown}");
}

#[test]
fn cancelling_a_turn_kills_what_its_tool_started() {
    let workspace = Workspace::new();
    with_bash(&workspace);
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let command = "sleep 1000 & echo $! > child; wait";
    thread::scope(|scope| {
        let call = || call_tool(&server, &session, "bash", &json!({"command": command}));
        let answer = scope.spawn(call);
        let pid = wait_for_pid(&work(&workspace, "child"));
        let cancel = format!("/api/v1/sessions/{session}/cancel");
        assert!(server.post(&cancel, &json!({})).status < 300);
        answer.join().unwrap();
        eventually("the child is gone", || (!is_running(pid)).then_some(()));
    });
}

#[test]
fn the_program_of_a_tool_dies_with_the_server() {
    let workspace = Workspace::new();
    with_bash(&workspace);
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let command = "echo $$ > child; exec sleep 1000";
    let asked = server.say(
        &session,
        &format!("/tool bash {}", json!({"command": command})),
    );
    let asked = asked.json();
    // It streams nothing and answers nothing before its end.
    let remote = crate::support::server::Remote::at(server.address);
    let waiting = thread::spawn(move || {
        let _ = std::panic::catch_unwind(|| allow(&remote, &session, &asked));
    });
    let pid = wait_for_pid(&work(&workspace, "child"));
    server.kill();
    eventually("the program is gone", || (!is_running(pid)).then_some(()));
    waiting.join().unwrap();
}

#[test]
fn a_hundred_parallel_runs_leave_no_zombie_and_no_descriptor() {
    const RUNS: usize = 100;
    let workspace = Workspace::new();
    with_bash(&workspace);
    let server = Server::start(&workspace, &[]);
    let word = marker();
    let asked: Vec<(String, Value)> = (0..RUNS)
        .map(|_| {
            let session = server.create_session("ada");
            let command =
                json!({"command": format!("sleep {word} & sleep 0.5; echo over; exit 1")});
            let asked = server.say(&session, &format!("/tool bash {command}"));
            assert_eq!(asked.status, 202, "{}", asked.text());
            (session, asked.json())
        })
        .collect();
    let before = pipes_of(server.pid());
    thread::scope(|scope| {
        let runs: Vec<_> = asked
            .iter()
            .map(|(session, asked)| scope.spawn(|| allow(&server, session, asked)))
            .collect();
        for run in runs {
            let answer = run.join().unwrap();
            assert!(answer.text().contains("over"), "{}", answer.text());
        }
    });
    assert_eq!(children_of(server.pid()), Vec::<i32>::new());
    // What was killed and is nobody's child here may take a moment.
    eventually("all of it is gone", || {
        processes_with(&word).is_empty().then_some(())
    });
    assert_eq!(pipes_of(server.pid()), before);
}

/// How many pipes, process handles and files in memory a process has open.
fn pipes_of(pid: u32) -> usize {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = links.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let is_of_runs = |link: &Path| {
        let link = link.to_string_lossy();
        ["pipe:", "pidfd", "memfd"]
            .iter()
            .any(|word| link.contains(word))
    };
    links.filter(|link| is_of_runs(link)).count()
}

/// The children of a process, zombies too.
fn children_of(pid: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    let numbers = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_child = |child: &i32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        after_name.split_whitespace().nth(1) == Some(&pid.to_string())
    };
    numbers.filter(is_child).collect()
}
