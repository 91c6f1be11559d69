//! `duragent doctor`, as a user runs it.

use crate::support::bench::{AgentFiles, Bench, echo};
use crate::support::fake_model::{FakeModel, error, raw, text, tool_call};
use crate::support::process::{Limited as _, duragent};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::server::{Server, Workspace};

/// The command with these variables and PATH, and no others.
fn doctor(workspace: &Workspace, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    duragent(workspace.path())
        .arg("doctor")
        .args(arguments)
        .envs(variables.iter().copied())
        .output_in_time()
        .unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The lines that are not `ok`.
fn complaints(output: &Output) -> Vec<String> {
    let is_complaint = |line: &String| !line.starts_with("ok ");
    lines(output).into_iter().filter(is_complaint).collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn a_workspace_where_all_is_well_gets_a_line_for_each_check() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    workspace.echo_agent("echo");
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(output.stderr, b"");
    assert_eq!(complaints(&output), Vec::<String>::new());
    let subjects: Vec<String> = lines(&output)
        .iter()
        .map(|line| line[9..].split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        subjects,
        [
            "config",
            "program",
            "keys",
            "workspace",
            "sessions",
            "temporary files",
            "disk",
            "clock",
            "trust",
            "agent echo",
            "bash",
            "sandbox",
            "logs",
            "server"
        ]
    );
    // It has changed nothing.
    assert!(!workspace.file(".duragent/lock").exists());
}

#[test]
fn a_server_that_runs_is_asked_whether_it_is_ready() {
    let (workspace, server) = Bench::new().agent(echo("echo")).serve().apart();
    let output = doctor(&workspace, &[], &[]);
    let expected = format!(
        "ok       server: http://{} is ready (pid {})",
        server.address,
        server.pid()
    );
    assert_eq!(lines(&output).last(), Some(&expected));
    assert_eq!(code(&output), 0, "{output:?}");
}

#[test]
fn a_wrong_configuration_is_told_line_by_line() {
    let workspace = Workspace::new();
    workspace.config("sesions: {}\nserver:\n  port: 70000\n");
    workspace.echo_agent("echo");
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        lines(&output),
        [
            "error    config: duragent.yaml:1:1: unknown key `sesions`; did you mean `sessions`?",
            "error    config: duragent.yaml:3:9: `server.port` must be from 0 to 65535, not 70000",
            "warning  the rest: is not looked at before the configuration is right",
        ]
    );
    assert_eq!(output.stderr, b"duragent: 2 things do not work\n");

    // What is a warning for a server is an error here; the rest is looked at all the same.
    workspace.config("sesions: {}\n");
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    assert!(
        lines(&output)
            .iter()
            .any(|line| line.starts_with("ok       agent echo: "))
    );

    let output = doctor(&workspace, &["--config", "missing.yaml"], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        lines(&output)[0],
        "error    config: missing.yaml: does not exist"
    );
}

#[test]
fn agents_are_checked_with_the_keys_that_they_need() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    workspace.agent(
        "ada",
        "  model:\n    provider: openai\n    name: gpt\n    fallbacks:\n      \
         - {provider: anthropic, name: claude}\n      - {provider: echo, name: echo}\n  \
         tools:\n    - {type: builtin, name: web}\n",
    );
    let local = FakeModel::start();
    local.offers(&["gpt", "claude"]);
    local.default_reply(tool_call("ping", r#"{"word":"hello"}"#));
    let url = format!("{}/v1", local.url());
    workspace.agent(
        "local",
        &format!("  model: {{provider: openai, name: gpt, base_url: \"{url}\"}}\n"),
    );
    workspace.agent(
        "typo",
        "  modle: {}\n  model: {provider: echo, name: echo}\n",
    );
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    let file = workspace.file(".duragent/agents/typo/agent.yaml");
    assert_eq!(
        complaints(&output),
        [
            "error    agent ada: openai/gpt cannot be asked: openai needs a key: set OPENAI_API_KEY \
             in the server's environment"
                .to_owned(),
            "warning  agent ada: the fallback anthropic/claude cannot be asked: anthropic needs a \
             key: set ANTHROPIC_API_KEY in the server's environment"
                .to_owned(),
            format!(
                "error    agent typo: {}:6:3: unknown key `spec.modle`; did you mean `model`?",
                file.display()
            ),
            "warning  web search: BRAVE_API_KEY is not set: ada can fetch pages, not search"
                .to_owned(),
        ]
    );
    fs::remove_dir_all(workspace.file(".duragent/agents/typo")).unwrap();
    let keys = [
        ("OPENAI_API_KEY", "secret-1"),
        ("OPENAI_BASE_URL", url.as_str()),
        ("ANTHROPIC_API_KEY", "secret-2"),
        ("ANTHROPIC_BASE_URL", url.as_str()),
        ("BRAVE_API_KEY", "secret-3"),
    ];
    let output = doctor(&workspace, &[], &keys);
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(complaints(&output), Vec::<String>::new());
    assert!(!lines(&output).concat().contains("secret"));
}

#[test]
fn a_directive_for_all_agents_that_cannot_be_read_is_told() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    workspace.echo_agent("echo");
    workspace.write(".duragent/directives/good.md", "Be brief.\n");
    let file = workspace.file(".duragent/directives/tone.md");
    fs::write(&file, b"Be \xff.\n").unwrap();
    let output = doctor(&workspace, &[], &[]);
    assert_eq!(code(&output), 1);
    assert_eq!(
        complaints(&output),
        [format!(
            "error    directives: {}:1:4: is not UTF-8 from here on",
            file.display()
        )]
    );
}

#[test]
fn the_machine_is_looked_at() {
    let workspace = Workspace::new();
    // More than any disk has: 2^20 MiB are a TiB, and the most that can be asked for.
    workspace.config("server: {min_free_mb: 1048576, port: 0}\nsandbox: {mode: bubblewrap}\n");
    let sessions = workspace.file(".duragent/sessions");
    fs::create_dir_all(&sessions).unwrap();
    fs::set_permissions(&sessions, fs::Permissions::from_mode(0o755)).unwrap();
    // Made in the year 10889.
    fs::create_dir(sessions.join("session_7ZZZZZZZZZ0000000000000000")).unwrap();
    let output = doctor(&workspace, &["--json"], &[("PATH", "/nowhere")]);
    assert_eq!(code(&output), 1);
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let about = |subject: &str| {
        let check = checks.iter().find(|check| check["subject"] == subject);
        check
            .unwrap_or_else(|| panic!("nothing of {subject}: {checks:#?}"))
            .clone()
    };
    let path = sessions.display();
    assert_eq!(
        about("sessions"),
        json!({
            "subject": "sessions", "status": "warning",
            "message": format!("{path} is open to other users (mode 0755)"),
            "hint": format!("chmod 700 {path}")
        })
    );
    assert_eq!(about("clock")["status"], "warning");
    assert_eq!(
        about("sandbox"),
        json!({
            "subject": "sandbox", "status": "error",
            "message": "`bubblewrap` needs bwrap, which is not in PATH",
            "hint": "install the package `bubblewrap`"
        })
    );
    assert_eq!(about("bash")["status"], "warning");
    assert_eq!(about("agents")["status"], "warning");
    // A machine with more than a TiB is well.
    assert!(
        about("disk")["message"]
            .as_str()
            .unwrap()
            .contains("MiB are free")
    );
}

/// A workspace in which all is well but for what `break_it` does, and what the doctor says then.
fn seeded(break_it: impl FnOnce(&Workspace)) -> Vec<String> {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    workspace.echo_agent("echo");
    break_it(&workspace);
    // No Ollama of this machine's is meant.
    complaints(&doctor(&workspace, &[], &[("OLLAMA_HOST", "127.0.0.1:1")]))
}

fn write_tool(workspace: &Workspace, tool: &str) {
    echo("echo").tool(tool).write(workspace);
}

/// A log of which one line is damaged.
fn damage_a_log(workspace: &Workspace) {
    let server = Server::start(workspace, &[]);
    let session = server.create_session("echo");
    assert_eq!(server.say(&session, "words to be lost").status, 200);
    server.terminate();
    let mut server = server;
    server.wait_for_exit();
    let log = format!(".duragent/sessions/{session}/events.jsonl");
    let text = workspace.read(&log);
    workspace.write(
        &log,
        &text.replace("words to be lost", "words that are lost"),
    );
}

#[test]
fn every_fault_that_is_seeded_is_found() {
    const POLICY: &str = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
    let agent = ".duragent/agents/echo";
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    type Seed<'a> = (&'a str, Box<dyn FnOnce(&Workspace) + 'a>);
    let seeds: Vec<Seed<'_>> = vec![
        (
            "policy.yaml:3:1: unknown key `alow`",
            Box::new(|w| {
                w.write(".duragent/policy.yaml", &format!("{POLICY}alow: []\n"));
            }),
        ),
        (
            "error    policy: ",
            Box::new(|w| {
                w.write(&format!("{agent}/policy.yaml"), "mode: [\n");
            }),
        ),
        (
            "the tool `deploy` cannot run: there is no ",
            Box::new(|w| {
                write_tool(w, "{type: cli, name: deploy, command: ./deploy.sh}");
            }),
        ),
        (
            "cannot run: no-such-program is not in PATH",
            Box::new(|w| {
                write_tool(w, "{type: cli, name: x, command: no-such-program -v}");
            }),
        ),
        (
            "script.sh may not be executed",
            Box::new(|w| {
                w.write(&format!("{agent}/script.sh"), "echo\n");
                write_tool(w, "{type: cli, name: x, command: ./script.sh}");
            }),
        ),
        (
            "tools/found/run.sh may not be executed",
            Box::new(|w| {
                w.write(&format!("{agent}/tools/found/run.sh"), "echo\n");
            }),
        ),
        (
            "error    tools: ",
            Box::new(|w| {
                w.write(".duragent/tools/shared/run.sh", "echo\n");
            }),
        ),
        (
            "no Ollama answers at",
            Box::new(|w| {
                w.agent("echo", "  model: {provider: ollama, name: llama3.2}\n");
            }),
        ),
        (
            "nothing answers at http://127.0.0.1:1/v1",
            Box::new(|w| {
                w.agent(
                    "echo",
                    "  model: {provider: openai, name: x, base_url: \"http://127.0.0.1:1/v1\"}\n",
                );
            }),
        ),
        (
            "error    logs: 1 of 1 are damaged: session_",
            Box::new(damage_a_log),
        ),
        (
            "1 session belongs to the agent echo, which is not there",
            Box::new(|w| {
                let server = Server::start(w, &[]);
                server.create_session("echo");
                drop(server);
                fs::remove_dir_all(w.file(agent)).unwrap();
                w.echo_agent("other");
            }),
        ),
        (
            "another program has 127.0.0.1:",
            Box::new(|w| {
                w.config(&format!("server: {{min_free_mb: 0, port: {port}}}\n"));
            }),
        ),
        (
            "cannot listen on 192.0.2.1:",
            Box::new(|w| {
                w.config("server: {min_free_mb: 0, port: 0, host: 192.0.2.1, api_token: abc}\n");
            }),
        ),
        (
            "a tab stands here",
            Box::new(|w| {
                w.write(&format!("{agent}/agent.yaml"), "kind:\n\tAgent\n");
            }),
        ),
        (
            "is no folder of its own",
            Box::new(|w| {
                w.write(&format!("{agent}/work"), "");
            }),
        ),
        (
            "error    log: ",
            Box::new(|w| {
                w.config(
                    "server: {min_free_mb: 0, port: 0}\nlogging: {file: no/such/folder.log}\n",
                );
            }),
        ),
        (
            "`sandbox.writable` names",
            Box::new(|w| {
                w.config("server: {min_free_mb: 0, port: 0}\nsandbox: {mode: bubblewrap, writable: [none]}\n");
            }),
        ),
        (
            "duragent.yaml:2:29: `routes` names the agent nobody, which is not there",
            Box::new(|w| {
                w.config(
                    "server: {min_free_mb: 0, port: 0}\nroutes: [{match: {}, agent: nobody}]\n",
                );
            }),
        ),
        (
            "duragent.yaml:2:48: `gateways.telegram` names the agent nobody, which is not there",
            Box::new(|w| {
                let bot = "gateways: {telegram: {bot_token: \"1:x\", agent: nobody}}\n";
                w.config(&format!("server: {{min_free_mb: 0, port: 0}}\n{bot}"));
            }),
        ),
        (
            "duragent.yaml:2:23: what is said to the gateway irc goes to nobody",
            Box::new(|w| {
                let gateway = "gateways: {external: [{name: irc, command: bash}]}\n";
                w.config(&format!("server: {{min_free_mb: 0, port: 0}}\n{gateway}"));
            }),
        ),
        (
            "error    gateway irc: there is no program",
            Box::new(|w| {
                let gateway = "gateways: {external: [{name: irc, command: ./none}]}\n";
                w.config(&format!("server: {{min_free_mb: 0, port: 0}}\n{gateway}"));
            }),
        ),
    ];
    for (wanted, break_it) in seeds {
        let found = seeded(break_it);
        assert!(
            found.iter().any(|line| line.contains(wanted)),
            "{wanted}: {found:#?}"
        );
    }
}

#[test]
fn a_gateway_of_an_agent_that_does_not_say_who_may_talk_is_told_of_until_somebody_may() {
    let config = "server: {min_free_mb: 0, port: 0}\nroutes: [{agent: helper}]\ngateways:\n  \
                  external: [{name: quiet, command: bash, args: [-c, 'read -r end']}]\n";
    let told = "the agent helper is reached by a gateway";
    for (agent, is_told) in [
        (echo("helper"), true),
        (echo("helper").spec("access: {dm: {policy: open}}"), false),
    ] {
        let (workspace, server) = Bench::new().agent(agent).config(config).serve().apart();
        assert_eq!(server.log().contains(told), is_told, "{}", server.log());
        let found = complaints(&doctor(&workspace, &[], &[]));
        let said = found.iter().find(|line| line.contains(told));
        assert_eq!(said.is_some(), is_told, "{found:#?}");
        if let Some(line) = said {
            assert!(line.starts_with("warning  gateways: "), "{line}");
            assert!(line.contains("duragent gateway pairings"), "{line}");
        }
    }
}

#[test]
fn a_temporary_folder_that_cannot_be_used_is_named_with_the_one_that_is_used_instead() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    workspace.echo_agent("echo");
    for folder in ["/nowhere/at/all", "/dev/null"] {
        let found = complaints(&doctor(&workspace, &[], &[("TMPDIR", folder)]));
        let wanted = format!("warning  temporary files: {folder} cannot be used; a server takes ");
        assert!(found.concat().contains(&wanted), "{found:#?}");
        assert!(found.concat().contains("TMPDIR"), "{found:#?}");
    }
}

#[test]
fn outside_of_a_workspace_the_doctor_says_so_first() {
    let folder = tempfile::tempdir().unwrap();
    let output = duragent(folder.path())
        .arg("doctor")
        .output_in_time()
        .unwrap();
    let first = lines(&output).remove(0);
    assert!(
        first.starts_with("warning  workspace: there is no workspace in"),
        "{first}"
    );
    assert!(first.contains("duragent init"), "{first}");
}

#[test]
fn what_a_running_server_says_of_itself_is_told() {
    let workspace = Workspace::new();
    // More than any disk has.
    workspace.config("server: {min_free_mb: 1048576, port: 0, api_token: abc}\n");
    workspace.echo_agent("echo");
    let server = Server::start(&workspace, &[]);
    workspace.echo_agent("later");
    let said = complaints(&doctor(&workspace, &[], &[])).join("\n");
    if server.get("/readyz").text().contains("nearly full") {
        assert!(
            said.contains("server: it says: the disk is nearly full"),
            "{said}"
        );
    }
    assert!(
        said.contains("agent later: the server that runs does not have it"),
        "{said}"
    );
}

#[test]
fn files_of_another_account_are_told() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can give a file away.
        return;
    }
    let found = seeded(|workspace| {
        let lock = workspace.file(".duragent/lock");
        fs::write(&lock, "").unwrap();
        std::os::unix::fs::chown(lock, Some(65534), None).unwrap();
    });
    assert!(
        found.concat().contains("belongs to the account 65534"),
        "{found:#?}"
    );
}

#[test]
fn rules_that_do_not_do_what_they_seem_to_are_told() {
    let workspace = Workspace::new();
    workspace.echo_agent("ada");
    let head = "apiVersion: duragent/v1alpha1\nkind: Policy\n";
    let policy = |text: &str| {
        workspace.write(
            ".duragent/agents/ada/policy.yaml",
            &format!("{head}{text}\n"),
        )
    };
    for (text, expected) in [
        ("allow: ['bash:sudo *']", "error    policy: "),
        ("alow: []", "unknown key `alow`"),
        ("deny: ['bash:rm']", "`bash:rm *` names the program alone"),
        (
            "allow: ['bash:make *', 'bash:cp *']",
            "the two together allow any code",
        ),
    ] {
        policy(text);
        let told = String::from_utf8(doctor(&workspace, &[], &[]).stdout).unwrap();
        assert!(told.contains(expected), "{told}");
    }
    policy("deny: ['cli:dploy']");
    let told = String::from_utf8(doctor(&workspace, &[], &[]).stdout).unwrap();
    let expected = "`cli:dploy` fits nothing: there is no such program among the tools\n";
    assert!(told.contains(expected), "{told}");
    policy("allow: ['bash:ls *', 'bash:make *']");
    workspace.write(
        ".duragent/policy.yaml",
        &format!("{head}allow: ['bash:ls *']\n"),
    );
    let told = String::from_utf8(doctor(&workspace, &[], &[]).stdout).unwrap();
    let expected = "policy.yaml:3:22: `bash:make *` allows nothing: the workspace's policy has an `allow`, \
                    and that does not reach so far; add it there, if it is meant\n";
    assert!(told.contains(expected), "{told}");
    assert!(!told.contains("`bash:ls *` allows nothing"), "{told}");
    fs::remove_file(workspace.file(".duragent/policy.yaml")).unwrap();
    policy("allow: ['bash:ls *', 'bash:make *', 'bash:git status']\ndeny: ['bash:rm *']");
    let told = String::from_utf8(doctor(&workspace, &[], &[]).stdout).unwrap();
    assert!(!told.contains("policy:"), "{told}");
}

/// What doctor says of agents whose models are asked of `model`, and of nobody else.
fn told_of(model: &FakeModel, agents: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    for (name, spec) in agents {
        workspace.agent(name, &format!("  model: {spec}\n"));
    }
    let url = format!("{}/v1", model.url());
    let places = [
        "OPENAI_BASE_URL",
        "GROQ_BASE_URL",
        "OLLAMA_BASE_URL",
        "AZURE_BASE_URL",
    ];
    let places = places.map(|name| (name, url.as_str()));
    let variables = [&places[..], variables].concat();
    let output = doctor(&workspace, &[], &variables);
    let said = lines(&output);
    let begins = |line: &str, what: &str| line[9..].starts_with(what);
    let is_of_models = |line: &&String| {
        begins(line, "agent ") || begins(line, "model ") || begins(line, "provider ")
    };
    said.iter().filter(is_of_models).cloned().collect()
}

#[test]
fn each_provider_is_asked_once_for_its_list_and_knows_the_names_of_models() {
    let model = FakeModel::start();
    model.offers(&["gpt-5.6", "gpt-5.6-mini", "o3"]);
    model.default_reply(tool_call("ping", r#"{"word":"hello"}"#));
    let key = [("OPENAI_API_KEY", "sk-1")];
    let said = told_of(
        &model,
        &[
            ("good", "{provider: openai, name: gpt-5.6}"),
            ("typo", "{provider: openai, name: gpt-5.6-mni}"),
            (
                "other",
                "{provider: openai, name: o3, fallbacks: [{provider: openai, name: claude}]}",
            ),
        ],
        &key,
    );
    let url = format!("{}/v1", model.url());
    let typo = format!(
        "error    agent typo: openai has no model `gpt-5.6-mni` at {url} (`spec.model.name`); did you mean \
         `gpt-5.6-mini`?"
    );
    let other = format!(
        "warning  agent other: openai has no model `claude` at {url} (`spec.model.name`); it has gpt-5.6, \
         gpt-5.6-mini, o3"
    );
    for expected in [typo, other] {
        assert!(said.contains(&expected), "{expected}: {said:#?}");
    }
    let lists = model.lists();
    let paths: Vec<&str> = lists.iter().map(|asked| asked.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/v1/models", "/v1/models/claude", "/v1/models/gpt-5.6-mni"],
        "{lists:?}"
    );
    let with_key = |header: Option<&str>| header == Some("Bearer sk-1");
    assert!(
        lists
            .iter()
            .all(|asked| with_key(asked.header("authorization")))
    );

    // A name that the list leaves out, and the provider knows.
    model.answers_lists_with(raw(
        "application/json",
        r#"{"id":"gpt-5.6","object":"model"}"#,
    ));
    let said = told_of(&model, &[("a", "{provider: openai, name: other}")], &key);
    assert!(
        said.concat().contains("sent no list of models"),
        "{said:#?}"
    );
}

#[test]
fn what_is_wrong_with_a_key_or_an_address_is_told() {
    for (answer, variables, expected) in [
        (
            error(401, "invalid key sk-wrong"),
            &[("GROQ_API_KEY", "sk-wrong")][..],
            "error    agent a: groq/m cannot be asked: 127.0.0.1:PORT refuses the key in GROQ_API_KEY (401): \
             invalid key ",
        ),
        (
            error(401, "who are you"),
            &[][..],
            "wants a key (401: who are you), and there is none: set GROQ_API_KEY",
        ),
        (
            error(404, "nothing here"),
            &[("GROQ_API_KEY", "sk-1")][..],
            "warning  provider groq: 127.0.0.1:PORT has no list of models at /v1/models; is the base URL right?",
        ),
        (
            raw("text/html", "<!doctype html>"),
            &[("GROQ_API_KEY", "sk-1")][..],
            "error    agent a: groq/m cannot be asked: 127.0.0.1:PORT sent a web page",
        ),
    ] {
        let model = FakeModel::start();
        model.answers_lists_with(answer);
        let said = told_of(&model, &[("a", "{provider: groq, name: m}")], variables);
        let port = model.url().rsplit_once(':').unwrap().1.to_owned();
        let expected = expected.replace("PORT", &port);
        assert!(
            said.iter().any(|line| line.contains(&expected)),
            "{expected}: {said:#?}"
        );
        assert!(!said.concat().contains("sk-"), "{said:#?}");
    }
}

#[test]
fn a_local_model_is_let_call_a_tool_once() {
    let agent = [
        ("a", "{provider: ollama, name: llama3.2}"),
        ("b", "{provider: ollama, name: llama3.2}"),
    ];
    for (answer, expected) in [
        (
            tool_call("ping", r#"{"word":"hello"}"#),
            "ok       model ollama/llama3.2: calls tools",
        ),
        (
            text("I would rather talk."),
            "warning  model ollama/llama3.2: was asked to call a tool, and answered in words",
        ),
        (
            error(400, "llama3.2 does not support tools"),
            "warning  model ollama/llama3.2: could not be let call a tool: ollama answered 400: llama3.2 does",
        ),
        (
            error(503, "out of order"),
            "warning  model ollama/llama3.2: could not be let call a tool: ollama answered 503",
        ),
    ] {
        let model = FakeModel::start();
        model.offers(&["llama3.2:latest", "qwen3:4b"]);
        model.default_reply(answer);
        let said = told_of(&model, &agent, &[]);
        assert!(
            said.iter().any(|line| line.starts_with(expected)),
            "{expected}: {said:#?}"
        );
        assert_eq!(model.request_count(), 1, "{expected}");
        let tools = &model.requests()[0].body["tools"];
        assert_eq!(tools[0]["function"]["name"], "ping", "{tools}");
    }
    let model = FakeModel::start();
    model.offers(&["llama3.2:latest"]);
    let said = told_of(&model, &[("a", "{provider: ollama, name: lama3.2}")], &[]).concat();
    assert!(
        said.contains("lacks ollama/lama3.2: `ollama pull lama3.2`"),
        "{said}"
    );
    assert!(said.contains("did you mean `llama3.2`?"), "{said}");
    assert_eq!(model.request_count(), 0);
}

#[test]
fn a_limit_of_cost_without_a_price_is_told() {
    let agent = |name: &str, model: &str| {
        let ada = AgentFiles::of(name, &format!("{{provider: vllm, name: {model}}}"));
        ada.spec("limits: {cost_per_day: 1}")
    };
    let workspace = Bench::new()
        .agent(agent("dear", "known"))
        .agent(agent("free", "other"))
        .config("prices:\n  vllm/known: {input: 1, output: 2}")
        .workspace();
    let output = doctor(&workspace, &[], &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("no price"))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(
        told[0].contains("agent free") && told[0].contains("vllm/other"),
        "{said}"
    );
}

#[test]
fn a_proxy_that_cannot_be_read_is_told_of_without_its_password() {
    let workspace = Workspace::new();
    workspace.config("server: {min_free_mb: 0, port: 0}\n");
    workspace.echo_agent("echo");
    let variables = [("HTTPS_PROXY", "gopher://me:secret@proxy.example:1")];
    let complaints = complaints(&doctor(&workspace, &[], &variables)).join("\n");
    assert!(
        complaints.contains("nothing goes through the proxy of HTTPS_PROXY: it cannot be read"),
        "{complaints}"
    );
    assert!(!complaints.contains("secret"), "{complaints}");
}
