//! Policies at work: in conversations over HTTP, in the server, on the command line.

use crate::support::bench::asking;
use crate::support::process::{Limited as _, duragent};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use duragent::domain::event::{OnDisconnect, ToolOutput};
use duragent::policy::Policy;
use duragent::policy::programs::{HARMLESS, PROGRAMS, RUNNERS, WRITERS};
use duragent::policy::{Verdict, file};
use duragent::tools::{Effect, Run, RunResult, Tool, ToolKind, ToolSpec, Toolbox};
use duragent::workspace::policy_files::policies;
use serde_json::{Value, json};

use crate::policy::files::{HEAD, Place, with_script};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::local_api::LocalApi;
use crate::support::server::{Launch, Workspace, eventually};
use crate::support::sessions::Setup;

/// A shell, in as far as a policy is concerned.
#[derive(Debug)]
struct Shell(ToolSpec);

impl Tool for Shell {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn run(&self, run: &Run<'_>) -> RunResult {
        let arguments: Value = serde_json::from_str(run.arguments).unwrap();
        let script = arguments["command"].as_str().unwrap();
        let output = Command::new("bash")
            .args(["-c", script])
            .output_in_time()
            .unwrap();
        let output = ToolOutput {
            success: output.status.success(),
            content: String::from_utf8(output.stdout).unwrap(),
        };
        output.into()
    }
}

fn shell() -> Toolbox {
    Toolbox::default().with(Arc::new(Shell(ToolSpec {
        name: "bash".to_owned(),
        kind: ToolKind::Bash,
        description: "runs a command".to_owned(),
        parameters: json!({"type": "object"}),
        effect: Effect::Write,
    })))
}

fn bash(script: &str) -> crate::support::fake_model::Step {
    tool_call("bash", &json!({"command": script}).to_string())
}

fn start(place: &Place, model: &FakeModel) -> LocalApi {
    let setup = Setup {
        on_disconnect: OnDisconnect::Continue,
        tools: shell(),
        policy: place.policy(),
        ..Setup::default()
    };
    LocalApi::start(&place.folder.path().join("data"), model, &setup)
}

/// What the model was told of its last call.
fn told(model: &FakeModel) -> String {
    let asked = model.requests();
    let messages = asked.last().unwrap().messages();
    messages.last().unwrap()["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn calls_run_wait_or_are_refused_as_the_policy_says() {
    let place = Place::new();
    place.write("agent", "allow: ['bash:echo *']\ndeny: ['bash:rm *']\n");
    let model = FakeModel::start();
    let api = start(&place, &model);
    let session = api.create_session("helper");

    model.reply(bash("echo allowed")).then(text("one"));
    assert_eq!(api.say(&session, "run").json()["content"], "one");
    assert_eq!(told(&model), "allowed\n");

    model.reply(bash("echo a; sudo rm -f x")).then(text("two"));
    assert_eq!(api.say(&session, "remove").json()["content"], "two");
    let refusal = told(&model);
    assert!(refusal.contains("deny `bash:rm *`"), "{refusal}");

    model
        .reply(bash("echo b && printf %s asked"))
        .then(text("three"));
    let asked = api.say(&session, "ask").json();
    assert_eq!(asked["command"], "echo b && printf %s asked");
    let decide = |asked: &Value, decision: &str| {
        let body =
            json!({"call_id": asked["call_id"], "command": asked["command"], "decision": decision});
        api.post(&format!("/api/v1/sessions/{session}/approve"), &body)
    };
    let decided = decide(&asked, "allow_always");
    assert_eq!(decided.json()["content"], "three", "{}", decided.text());
    assert_eq!(told(&model), "b\nasked");
    let written = fs::read_to_string(place.file("own")).unwrap();
    let items = "allow:\n  - 'bash:echo b'\n  - 'bash:printf %s asked'\n";
    assert!(written.ends_with(items), "{written}");

    // From now on it does not ask.
    model.reply(bash("printf '%s' 'asked'")).then(text("four"));
    assert_eq!(api.say(&session, "again").json()["content"], "four");
    assert_eq!(told(&model), "asked");
}

#[test]
fn whoever_watches_is_told_how_a_question_was_answered() {
    let place = Place::new();
    let model = FakeModel::start();
    model.reply(bash("echo x")).then(text("done"));
    let api = start(&place, &model);
    let session = api.create_session("helper");
    let mut watchers = [
        api.events(&session, "", None),
        api.events(&session, "", None),
    ];
    let asked = api.say(&session, "run").json();
    for watcher in &mut watchers {
        watcher.until("approval_required");
    }
    let body =
        json!({"call_id": asked["call_id"], "command": asked["command"], "decision": "deny"});
    let path = format!("/api/v1/sessions/{session}/approve");
    assert_eq!(api.post(&path, &body).status, 200);
    for watcher in &mut watchers {
        let told = watcher.until("approval_decision").pop().unwrap().data;
        assert_eq!(
            (&told["call_id"], &told["decision"]),
            (&asked["call_id"], &json!("deny"))
        );
    }
    assert_eq!(api.post(&path, &body).status, 409);
}

/// An address that takes down what is posted to it; `answers`: or that never answers.
struct Hook {
    url: String,
    posts: Receiver<(String, Value)>,
}

impl Hook {
    fn start(answers: bool) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://me:secret@{}/hook?key=secret",
            listener.local_addr().unwrap()
        );
        let (posts_tx, posts) = unbounded();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                let body = loop {
                    let read = stream.read(&mut buffer).unwrap_or(0);
                    request.extend(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                    let whole = serde_json::from_str::<Value>(body);
                    if let Ok(body) = whole {
                        break Some((head.lines().next().unwrap_or_default().to_owned(), body));
                    }
                    if read == 0 {
                        break None;
                    }
                };
                if let Some(post) = body
                    && posts_tx.send(post).is_err()
                {
                    return;
                }
                if answers {
                    drop(stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"));
                } else {
                    // Until the client goes away.
                    drop(stream.read(&mut buffer));
                }
            }
        });
        Hook { url, posts }
    }

    fn next(&self) -> (String, Value) {
        self.posts.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

#[test]
fn an_address_is_told_of_the_calls_that_it_asked_for() {
    let (first, second) = (Hook::start(true), Hook::start(true));
    let place = Place::new();
    let delivery = |hook: &Hook| format!("{{type: webhook, url: '{}'}}", hook.url);
    place.write(
        "workspace",
        &format!(
            "notify:\n  patterns: ['bash:git push*']\n  deliveries: [{{type: log}}, {}]\n",
            delivery(&first)
        ),
    );
    place.write(
        "agent",
        &format!("notify: {{deliveries: [{}]}}\n", delivery(&second)),
    );
    place.write(
        "local",
        &format!(
            "notify: {{enabled: false, deliveries: [{}]}}\n",
            delivery(&first)
        ),
    );
    let policy = place.policy();
    with_script("ls", |proposed| policy.note_start(proposed));
    with_script("cd x && sudo git push", |proposed| {
        policy.note_start(proposed)
    });
    let (head, mut body) = first.next();
    assert_eq!(head, "POST /hook?key=secret HTTP/1.1");
    let timestamp = body["timestamp"].take();
    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    let expected = json!({
        "agent": "helper",
        "session_id": "session_01KAM6VJT0000000000000000A",
        "call_id": "call_1",
        "tool": "bash",
        "command": "cd x && sudo git push",
        "timestamp": null,
    });
    assert_eq!(body, expected);
    assert_eq!(second.next().1["command"], "ls");
    assert_eq!(second.next().1["command"], "cd x && sudo git push");
    place.policies.stop();
    assert!(first.posts.is_empty() && second.posts.is_empty());
}

#[test]
fn an_address_is_told_of_questions_if_it_wants_to_be() {
    let (questions, both) = (Hook::start(true), Hook::start(true));
    let place = Place::new();
    for (tier, on, hook) in [
        ("workspace", "[approval]", &questions),
        ("agent", "[call, approval, failed_schedule]", &both),
    ] {
        let delivery = format!("{{type: webhook, url: '{}'}}", hook.url);
        place.write(
            tier,
            &format!("notify: {{on: {on}, deliveries: [{delivery}]}}\n"),
        );
    }
    let policy = place.policy();
    with_script("ls", |proposed| policy.note_start(proposed));
    with_script("rm x", |proposed| policy.note_question(proposed));
    let asked = questions.next().1;
    assert_eq!(
        (&asked["on"], &asked["command"]),
        (&json!("approval"), &json!("rm x"))
    );
    let begun = both.next().1;
    assert_eq!((begun.get("on"), &begun["command"]), (None, &json!("ls")));
    assert_eq!(both.next().1["on"], "approval");
    place.policies.stop();
    assert!(questions.posts.is_empty() && both.posts.is_empty());
}

#[test]
fn an_address_that_does_not_answer_holds_up_neither_calls_nor_the_stop() {
    let hook = Hook::start(false);
    let place = Place::new();
    place.write(
        "agent",
        &format!(
            "notify: {{deliveries: [{{type: webhook, url: '{}'}}]}}\n",
            hook.url
        ),
    );
    let policy = place.policy();
    let start = Instant::now();
    for _ in 0..1_000 {
        with_script("ls", |proposed| policy.note_start(proposed));
    }
    hook.next();
    place.policies.stop();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    // What comes after the stop goes nowhere.
    with_script("ls", |proposed| policy.note_start(proposed));
}

#[test]
fn a_running_server_reads_policies_again_with_the_agents() {
    let workspace = Workspace::new();
    workspace.echo_agent("helper");
    let agent = ".duragent/agents/helper/policy.yaml";
    workspace.write(agent, &format!("{HEAD}mode: dangerous\n"));
    let mut server = Launch::new(&workspace).start();
    let warned = "agent helper runs whatever its policy does not deny";
    eventually("the warning", || {
        server.log().contains(warned).then_some(())
    });

    workspace.write(agent, &format!("{HEAD}alow: []\n"));
    let reload = || {
        server
            .post("/api/admin/v1/reload-agents", &json!({}))
            .json()
    };
    let expected = json!([{
        "file": "agents/helper/policy.yaml",
        "message": "3:1: unknown key `alow`",
    }]);
    assert_eq!(reload()["errors"], expected);
    let ready = server.get("/readyz").json();
    let warnings = ready["warnings"].to_string();
    assert!(warnings.contains("1 error in policies"), "{warnings}");

    workspace.write(agent, &format!("{HEAD}mode: ask\n"));
    assert_eq!(reload()["errors"], json!([]));
    server.terminate();
    assert!(server.wait_for_exit().success());
}

/// A server whose agent asks before it runs a shell, and waits a second for the answer.
fn impatient(workspace: &Workspace, model: &FakeModel) {
    let helper = asking("helper", model).continues();
    let helper = helper.session("approval_timeout: 1s");
    helper.builtin("bash").write(workspace);
}

fn wait_for_the_end(workspace: &Workspace, session: &str) -> Vec<Value> {
    eventually("the end of the turn", || {
        let log = workspace.log_of(session);
        let is_over = log
            .last()
            .is_some_and(|event| event["type"] == "turn_ended");
        is_over.then_some(log)
    })
}

#[test]
fn a_server_denies_what_nobody_answers_in_time_and_tells_everybody() {
    let workspace = Workspace::new();
    let model = FakeModel::start();
    impatient(&workspace, &model);
    let server = Launch::new(&workspace).start();
    let session = server.create_session("helper");
    let mut watcher = server.events(&session, "", None);
    model.reply(bash("touch ran")).then(text("a pity"));
    let asked = server.say(&session, "run").json();
    assert_eq!(asked["command"], "touch ran", "{asked}");
    let decided = watcher.until("approval_decision").pop().unwrap().data;
    assert_eq!(
        decided,
        json!({"call_id": asked["call_id"], "decision": "deny"})
    );
    let result = watcher.until("tool_result").pop().unwrap().data;
    assert!(result.to_string().contains("nobody answered"), "{result}");
    watcher.until("done");
    assert!(told(&model).contains("nobody answered"), "{}", told(&model));
    let body =
        json!({"call_id": asked["call_id"], "command": "touch ran", "decision": "allow_once"});
    let late = server.post(&format!("/api/v1/sessions/{session}/approve"), &body);
    assert_eq!(late.status, 409, "{}", late.text());
    let log = wait_for_the_end(&workspace, &session);
    assert!(
        log.iter().all(|event| event["type"] != "tool_started"),
        "{log:?}"
    );
}

#[test]
fn a_question_whose_time_passed_while_the_server_was_dead_is_denied_at_the_start() {
    let workspace = Workspace::new();
    let model = FakeModel::start();
    impatient(&workspace, &model);
    let mut server = Launch::new(&workspace).start();
    let session = server.create_session("helper");
    model.reply(bash("touch ran")).then(text("a pity"));
    let asked = server.say(&session, "run").json();
    assert_eq!(asked["command"], "touch ran", "{asked}");
    server.kill();
    let decisions = |log: &[Value]| {
        let decided = log
            .iter()
            .filter(|event| event["type"] == "approval_decision");
        decided.count()
    };
    assert_eq!(decisions(&workspace.log_of(&session)), 0);
    let asked_at = Instant::now();
    eventually("a second", || {
        (asked_at.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let _server = Launch::new(&workspace).start();
    let log = wait_for_the_end(&workspace, &session);
    assert_eq!(decisions(&log), 1);
    assert!(told(&model).contains("nobody answered"), "{}", told(&model));
}

fn test(workspace: &Path, arguments: &[&str]) -> Output {
    duragent(workspace)
        .args(["policy", "test"])
        .args(arguments)
        .output_in_time()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_command_line_says_what_would_happen_and_which_line_decides() {
    let workspace = Workspace::new();
    workspace.echo_agent("helper");
    workspace.write(
        ".duragent/agents/helper/policy.yaml",
        &format!("{HEAD}mode: ask\nallow:\n  - bash:git status\n  - bash:echo *\ndeny:\n  - bash:git push*\n"),
    );
    let file = workspace.file(".duragent/agents/helper/policy.yaml");
    let file = file.display();
    let folder = workspace.path();
    let ask = |call: &str| test(folder, &["--agent", "helper", call]);

    let answer = ask("bash:git status && echo $(git log) > x");
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    let expected = format!(
        "ask\n  allow   git status\n          allow `bash:git status` ({file}:5)\n  \
         ask     echo $(git log) > x\n          it may write: `> x`; mode `ask` ({file}:3)\n          \
         `bash:echo *` ({file}:6) does not count: it may write: `> x`\n  \
         ask     git log\n          no rule fits; mode `ask` ({file}:3)\n"
    );
    assert_eq!(out(&answer), expected);

    let answer = test(
        folder,
        &["-a", "helper", "--json", "bash:/usr/bin/git push"],
    );
    assert_eq!(answer.status.code(), Some(0), "{answer:?}");
    let answer: Value = serde_json::from_str(&out(&answer)).unwrap();
    let expected = json!({
        "verdict": "deny",
        "mode": "ask",
        "mode_set_at": format!("{file}:3"),
        "parts": [{
            "text": "/usr/bin/git push",
            "verdict": "deny",
            "reason": "deny `bash:git push*` fits `git push`",
            "pattern": "bash:git push*",
            "file": file.to_string(),
            "line": 8,
            "missed": null,
        }],
        "remark": null,
    });
    assert_eq!(answer, expected);

    for (call, start) in [
        ("bash:git status", "allow\n"),
        ("bash:echo 'a", "ask\n"),
        ("builtin:web {}", "ask\n"),
        ("cli:sync", "ask\n"),
    ] {
        let answer = ask(call);
        assert!(out(&answer).starts_with(start), "{call}: {answer:?}");
    }
    for (arguments, code, words) in [
        (
            vec!["-a", "nobody", "bash:ls"],
            1,
            "there is no agent nobody",
        ),
        (vec!["-a", "helper", "ls"], 2, "a call begins with `bash:`"),
        (
            vec!["-a", "helper", "*:ls"],
            2,
            "a call begins with `bash:`",
        ),
        (vec!["bash:ls"], 2, "--agent"),
    ] {
        let answer = test(folder, &arguments);
        assert_eq!(answer.status.code(), Some(code), "{answer:?}");
        let told = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(told.contains(words), "{told}");
    }
    workspace.write(".duragent/policy.yaml", &format!("{HEAD}mod: ask\n"));
    let answer = ask("bash:ls");
    assert_eq!(answer.status.code(), Some(1));
    let told = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(
        told.contains("policy.yaml:3:1: unknown key `mod`"),
        "{told}"
    );
}

#[test]
fn the_command_line_says_which_rule_does_not_count_and_what_two_allow_together() {
    let workspace = Workspace::new();
    workspace.echo_agent("helper");
    let policy = ".duragent/agents/helper/policy.yaml";
    workspace.write(
        policy,
        &format!("{HEAD}allow: ['bash:make *', 'bash:cp *', 'bash:sort *']\n"),
    );
    let ask = |call: &str| out(&test(workspace.path(), &["-a", "helper", call]));
    let file = workspace.file(policy);
    let missed = format!(
        "`bash:sort *` ({}:3) does not count: `-uo` makes `sort` do more, and must be written out: no `*` covers it",
        file.display()
    );
    let told = ask("bash:sort -uo x y");
    assert!(
        told.starts_with("ask\n") && told.contains(&missed),
        "{told}"
    );
    let remark = "note: `bash:make *` does what files of the folder say, and `bash:cp *` may write them: \
                  the two together allow any code\n";
    assert!(
        ask("bash:make all").ends_with(remark),
        "{}",
        ask("bash:make all")
    );
    assert!(!ask("bash:sort x").contains("note:"));

    let refused = |deny: &str, call: &str| {
        workspace.write(policy, &format!("{HEAD}deny: ['{deny}']\n"));
        ask(call)
    };
    let told = refused("bash:rm", "bash:ls && sudo rmdir x");
    let expected = format!("deny `bash:rm` fits `rmdir` ({}:3)\n", file.display());
    assert!(told.ends_with(&expected), "{told}");
    let told = refused(
        "builtin:web:fetch:http://x*",
        "builtin:web {\"action\":\"fetch\",\"url\":\"http://x/y\"}",
    );
    assert!(told.contains("fits `web:fetch:http://x/y`"), "{told}");
}

#[test]
fn the_command_line_says_which_rule_the_workspace_or_trust_holds_back() {
    let workspace = Workspace::of_strangers();
    workspace.echo_agent("helper");
    let policy = ".duragent/agents/helper/policy.yaml";
    workspace.write(policy, &format!("{HEAD}allow: ['bash:make *']\n"));
    let ask = || out(&test(workspace.path(), &["-a", "helper", "bash:make all"]));
    let missed = |why: &str| {
        let file = workspace.file(policy);
        format!("`bash:make *` ({}:3) does not count: {why}", file.display())
    };
    let told = ask();
    let waits = missed("it waits for trust: `duragent agent trust helper`");
    assert!(told.starts_with("ask\n") && told.contains(&waits), "{told}");
    workspace.trust("helper");
    assert!(ask().starts_with("allow\n"), "{}", ask());
    // One with denies alone takes nothing away, one with an `allow` does.
    workspace.write(
        ".duragent/policy.yaml",
        &format!("{HEAD}deny: ['bash:rm *']\n"),
    );
    assert!(ask().starts_with("allow\n"), "{}", ask());
    workspace.write(
        ".duragent/policy.yaml",
        &format!("{HEAD}allow: ['bash:ls']\n"),
    );
    let told = ask();
    let capped = missed("the workspace's policy has an `allow`, and that does not reach so far");
    assert!(
        told.starts_with("ask\n") && told.contains(&capped),
        "{told}"
    );
}

#[test]
fn a_refusal_tells_the_model_pattern_file_line_and_part() {
    let place = Place::new();
    place.write("agent", "deny:\n  - bash:rm\n");
    let Verdict::Deny { reason } =
        with_script("ls; rm -f x", |proposed| place.policy().judge(proposed))
    else {
        panic!("it is not denied");
    };
    let file = place.file("agent");
    let expected = format!(
        "the policy refuses `rm -f x`: deny `bash:rm` fits `rm` ({}:4)",
        file.display()
    );
    assert_eq!(reason, expected);
}

#[test]
fn without_a_policy_the_command_line_tells_reading_from_writing() {
    let workspace = Workspace::new();
    workspace.echo_agent("helper");
    for (effect, expected) in [("read", "allow\n"), ("write", "ask\n")] {
        let answer = test(
            workspace.path(),
            &["-a", "helper", "--effect", effect, "builtin:web"],
        );
        assert!(out(&answer).starts_with(expected), "{effect}: {answer:?}");
    }
}

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy.md");
    fs::read_to_string(page).unwrap()
}

#[test]
fn every_key_is_in_the_documentation() {
    let keys = file::keys().into_iter();
    let missing: Vec<String> = keys
        .filter(|key| !page().contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "docs/policy.md lacks {missing:#?}");
}

#[test]
fn every_program_that_something_is_known_of_is_in_the_documentation() {
    let page = page();
    let guarded = PROGRAMS.iter().flat_map(|program| program.names);
    let known = RUNNERS.iter().chain(HARMLESS).chain(WRITERS).chain(guarded);
    let missing: Vec<&&str> = known
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "docs/policy.md lacks {missing:#?}");
}

#[test]
fn the_examples_of_the_documentation_load() {
    let page = page();
    let mut examples = 0;
    for part in page.split("```yaml\n").skip(1) {
        let place = Place::new();
        let text = part.split("```").next().unwrap();
        fs::write(place.file("agent"), text).unwrap();
        let environment = Arc::new(|_: &str| Some("https://example.com/hook".to_owned()));
        let policies = policies(place.folder.path(), environment, place.trust());
        policies.reload(&[place.spec()]);
        assert_eq!(policies.problems(), []);
        examples += 1;
    }
    assert!(examples > 0);
}
