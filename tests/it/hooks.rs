//! Hooks: guards before calls and words after them, through the real binary.

use serde_json::{Value, json};

use crate::support::bench::{AgentFiles, Bench, asking, echo};
use crate::support::fake_model::{FakeModel, text, tool_call};
use crate::support::server::{Server, Workspace};

/// Tools that leave a line in `work/ran` for each run; `fail` does not succeed.
const TOOLS: [&str; 3] = [
    "{type: cli, name: read, command: 'echo read >> ran', effect: read}",
    "{type: cli, name: edit, command: 'echo edit >> ran', effect: read}",
    "{type: cli, name: fail, command: 'echo fail >> ran; false', effect: read}",
];

/// An agent with these hooks that may do everything, or has to ask.
fn workspace(ada: AgentFiles, hooks: &str, mode: &str) -> Workspace {
    let tools = TOOLS.iter();
    let ada = tools.fold(ada.continues(), |ada, tool| ada.tool(tool));
    Bench::new()
        .agent(ada.spec("hooks:").spec(hooks))
        .policy(&format!("mode: {mode}"))
        .workspace()
}

const READ_FIRST: &str =
    "  before_tool: [{match: edit, type: depends_on, prior: read, match_arg: stdin}]";

/// What has run, a word each.
fn ran(workspace: &Workspace) -> String {
    let text = workspace.read(".duragent/agents/ada/work/ran");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Calls one tool or several in one reply.
fn call(server: &Server, session: &str, calls: &[(&str, &str)]) -> String {
    let lines: Vec<String> = calls
        .iter()
        .map(|(tool, stdin)| format!("/tool {tool} {}", json!({"stdin": stdin})))
        .collect();
    let answer = server.say(session, &lines.join("\n"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["content"].as_str().unwrap().to_owned()
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter();
    types.map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn a_call_that_a_guard_turns_down_is_answered_and_neither_asked_about_nor_started() {
    let workspace = workspace(echo("ada"), READ_FIRST, "ask");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let said = call(&server, &session, &[("edit", "a")]);
    assert!(said.contains("`read` with the same `stdin`"), "{said}");
    let log = workspace.log_of(&session);
    let types = types(&log);
    for kind in ["approval_required", "tool_started"] {
        assert!(!types.contains(&kind), "{types:?}");
    }
    let result = log.iter().find(|event| event["type"] == "tool_result");
    assert_eq!(result.unwrap()["result"]["success"], false);
    assert_eq!(ran(&workspace), "");
    // What it lets through is the policy's.
    for tool in ["read", "edit"] {
        let answer = server.try_call(&session, tool, &json!({"stdin": "a"}));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(ran(&workspace), "read edit");
}

#[test]
fn calls_of_one_reply_are_guarded_in_their_order() {
    let workspace = workspace(echo("ada"), READ_FIRST, "dangerous");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let calls = [("edit", "a"), ("read", "a"), ("edit", "a"), ("edit", "b")];
    let said = call(&server, &session, &calls);
    assert_eq!(said.matches("not run").count(), 2, "{said}");
    assert_eq!(ran(&workspace), "read edit");
}

#[test]
fn what_was_done_is_known_after_a_crash_and_long_after_the_model_has_forgotten_it() {
    let ada = echo("ada").session("context: {max_history_tokens: 100}");
    let workspace = workspace(ada, READ_FIRST, "dangerous");
    let mut server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    call(&server, &session, &[("read", "a")]);
    for _ in 0..30 {
        server.say(&session, "/repeat 60");
    }
    server.kill();
    let mut server = Server::start(&workspace, &[]);
    call(&server, &session, &[("edit", "a"), ("edit", "b")]);
    assert_eq!(ran(&workspace), "read edit");
    server.kill();
    let snapshot = format!(".duragent/sessions/{session}/state.yaml");
    drop(std::fs::remove_file(workspace.file(&snapshot)));
    let server = Server::start(&workspace, &[]);
    call(&server, &session, &[("edit", "b"), ("edit", "a")]);
    assert_eq!(ran(&workspace), "read edit edit");
    // Another session knows nothing of it.
    let other = server.create_session("ada");
    assert!(call(&server, &other, &[("edit", "a")]).contains("not run"));
}

#[test]
fn what_has_succeeded_is_not_done_again_and_what_has_failed_is() {
    let hooks = "  before_tool: [{match: ['*'], skip_duplicate: {match_args: [stdin]}}]";
    let workspace = workspace(echo("ada"), hooks, "dangerous");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let calls = [("edit", "a"), ("edit", "a"), ("edit", "b"), ("read", "a")];
    let said = call(&server, &session, &calls);
    assert_eq!(said.matches("already done").count(), 1, "{said}");
    assert_eq!(ran(&workspace), "edit edit read");
    assert!(call(&server, &session, &[("edit", "a")]).contains("already done"));
    call(&server, &session, &[("fail", "a"), ("fail", "a")]);
    assert_eq!(ran(&workspace), "edit edit read fail fail");
}

#[test]
fn words_follow_a_result_that_succeeded_however_little_of_it_is_shown() {
    let model = FakeModel::start();
    let ada = asking("ada", &model)
        .session("context: {max_tool_result_tokens: 10}")
        .builtin("bash");
    let hooks = "  after_tool:\n    - {match: 'bash:*', message: Mind the gap., unless: {timeout_seconds: 9}}";
    let workspace = workspace(ada, hooks, "dangerous");
    let server = Server::start(&workspace, &[]);
    let session = server.create_session("ada");
    let told = |arguments: &Value| {
        model
            .reply(tool_call("bash", &arguments.to_string()))
            .then(text("so"));
        assert_eq!(server.say(&session, "go").status, 200);
        model.requests().last().unwrap().last_message()
    };
    assert_eq!(told(&json!({"command": "echo a"})), "a\n\n\nMind the gap.");
    let long = told(&json!({"command": "seq 1000"}));
    assert!(long.ends_with("bytes left out]\n\nMind the gap."), "{long}");
    assert_eq!(
        told(&json!({"command": "echo a", "timeout_seconds": 9})),
        "a\n"
    );
    assert_eq!(
        told(&json!({"command": "false"})),
        "[exit status: 1; no output]"
    );
    let log = workspace.log_of(&session);
    let results = log.iter().filter(|event| event["type"] == "tool_result");
    let ends: Vec<bool> = results
        .map(|event| {
            event["result"]["content"]
                .as_str()
                .unwrap()
                .ends_with("Mind the gap.")
        })
        .collect();
    assert_eq!(ends, [true, true, false, false]);
}
