use super::*;
use crate::domain::story::{self, call_id, output};

fn selector(globs: &[&str]) -> Selector {
    Selector(
        globs
            .iter()
            .map(|glob| Glob::parse(glob).unwrap())
            .collect(),
    )
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|&arg| arg.to_owned()).collect()
}

fn depends_on(calls: &str, prior: &str, args: &[&str]) -> Guard {
    Guard {
        calls: selector(&[calls]),
        rule: Rule::DependsOn {
            prior: selector(&[prior]),
            args: words(args),
        },
    }
}

fn skip_duplicate(calls: &str, args: &[&str]) -> Guard {
    Guard {
        calls: selector(&[calls]),
        rule: Rule::SkipDuplicate { args: words(args) },
    }
}

fn hooks(guards: Vec<Guard>) -> Hooks {
    Hooks {
        guards,
        notes: Vec::new(),
    }
}

fn call(n: u64, tool: &str, arguments: &str) -> ToolCall {
    ToolCall {
        call_id: call_id(n),
        tool_name: tool.to_owned(),
        arguments: arguments.to_owned(),
        source: None,
    }
}

/// A reply that asks for the call.
fn asked(call: &ToolCall) -> Event {
    let mut reply = story::reply(1, 1, "");
    reply.tool_calls = vec![call.clone()];
    reply.event()
}

fn answered(call: &ToolCall, success: bool) -> Event {
    Event::ToolResult {
        call_id: call.call_id.clone(),
        result: output(success, "x"),
        duration_ms: None,
        appended_bytes: None,
        attachments: Vec::new(),
    }
}

/// What is remembered of calls and whether they succeeded.
fn after(hooks: &Hooks, calls: &[(&ToolCall, bool)]) -> DoneCalls {
    let mut done = DoneCalls::new(hooks);
    for (call, success) in calls {
        done.see(&asked(call));
        done.see(&answered(call, *success));
    }
    done
}

#[test]
fn a_glob_fits_the_tool_or_the_tool_and_its_action() {
    for (glob, tool, arguments, fits) in [
        ("web", "web", r#"{"action": "fetch"}"#, true),
        ("web:fetch", "web", r#"{"action": "fetch"}"#, true),
        ("web:fetch", "web", r#"{"action": "search"}"#, false),
        ("web:fetch", "web", "nonsense", false),
        ("memory:*", "memory", r#"{"action": "recall"}"#, true),
        ("bash:*", "bash", r#"{"command": "ls"}"#, true),
        ("bash", "bash", "", true),
        ("*", "x", "{}", true),
        ("b*", "web", "{}", false),
    ] {
        let found = selector(&["nothing", glob]).fits(&Taken::of(&call(1, tool, arguments)));
        assert_eq!(found, fits, "{glob} {tool} {arguments}");
    }
}

#[test]
fn a_call_that_depends_on_another_needs_its_success_with_the_same_value() {
    let hooks = hooks(vec![depends_on("edit", "read", &["path"])]);
    let edit = call(9, "edit", r#"{"path": "a", "text": "x"}"#);
    let read = |path: &str| call(1, "read", &format!(r#"{{"path": "{path}"}}"#));
    let (this, other) = (read("a"), read("b"));
    for (calls, runs) in [
        (vec![], false),
        (vec![(&other, true)], false),
        (vec![(&this, false)], false),
        (vec![(&edit, true)], false),
        (vec![(&this, true)], true),
        (vec![(&this, true), (&other, true)], true),
    ] {
        let refusal = after(&hooks, &calls).refusal(&edit);
        assert_eq!(refusal.is_none(), runs, "{calls:?}");
    }
    assert_eq!(
        after(&hooks, &[]).refusal(&edit).unwrap(),
        "not run: a call of `read` with the same `path` has to succeed in this session first"
    );
    assert_eq!(after(&hooks, &[]).refusal(&this), None);
}

#[test]
fn a_duplicate_is_of_the_same_tool_and_action_with_the_same_values() {
    let hooks = hooks(vec![skip_duplicate("memory:*", &["text", "days"])]);
    let remember = call(
        1,
        "memory",
        r#"{"action": "remember", "text": "x", "why": 1}"#,
    );
    for (arguments, runs) in [
        (r#"{"action": "remember", "text": "x"}"#, false),
        (
            r#"{"text": "x", "days": null, "action": "remember"}"#,
            false,
        ),
        (r#"{"action": "remember", "text": "y"}"#, true),
        (r#"{"action": "remember", "text": "x", "days": 1}"#, true),
        (r#"{"action": "reflect", "text": "x"}"#, true),
    ] {
        let next = call(2, "memory", arguments);
        let refusal = after(&hooks, &[(&remember, true)]).refusal(&next);
        assert_eq!(refusal.is_none(), runs, "{arguments}");
        assert_eq!(after(&hooks, &[(&remember, false)]).refusal(&next), None);
    }
}

#[test]
fn without_arguments_all_of_them_are_compared() {
    let hooks = hooks(vec![skip_duplicate("bash", &[])]);
    let done = after(&hooks, &[(&call(1, "bash", r#"{"command":"ls"}"#), true)]);
    let again = done.refusal(&call(2, "bash", r#"{ "command" : "ls" }"#));
    assert!(again.unwrap().starts_with("already done: `bash`"));
    assert_eq!(done.refusal(&call(2, "bash", r#"{"command":"id"}"#)), None);
}

#[test]
fn what_came_from_elsewhere_counts_for_nothing() {
    let hooks = hooks(vec![depends_on("deploy", "test", &[])]);
    let mut done = after(&hooks, &[(&call(1, "test", "{}"), true)]);
    assert_eq!(done.refusal(&call(2, "deploy", "{}")), None);
    done.see(&asked(&call(3, "test", "{}")));
    done.see(&Event::SessionAdopted {});
    assert!(done.refusal(&call(2, "deploy", "{}")).is_some());
    // What came from there without a result and has one now was done here.
    done.see(&answered(&call(3, "test", "{}"), true));
    assert_eq!(done.refusal(&call(2, "deploy", "{}")), None);
}

#[test]
fn the_last_calls_are_remembered_and_no_more_than_twice_as_many() {
    let hooks = hooks(vec![skip_duplicate("date", &["n"])]);
    let mut done = DoneCalls::new(&hooks);
    let numbered = |n: usize| call(1, "date", &format!(r#"{{"n": {n}}}"#));
    for n in 0..5 * REMEMBERED {
        done.see(&asked(&numbered(n)));
        done.see(&answered(&numbered(n), true));
        assert!(done.done.len() < 2 * REMEMBERED);
    }
    for n in 4 * REMEMBERED..5 * REMEMBERED {
        assert!(done.refusal(&numbered(n)).is_some(), "{n}");
    }
    assert_eq!(done.refusal(&numbered(0)), None);
}

#[test]
fn a_message_follows_unless_all_arguments_have_the_values() {
    let note = |unless: &[(&str, &[&str])]| Note {
        calls: selector(&["memory:recall"]),
        message: "mind the date".to_owned(),
        unless: unless
            .iter()
            .map(|(arg, values)| ((*arg).to_owned(), words(values)))
            .collect(),
    };
    let said = |note: Note, arguments: &str| {
        let hooks = Hooks {
            guards: Vec::new(),
            notes: vec![note],
        };
        hooks.message_after(&call(1, "memory", arguments)).is_some()
    };
    let recall = r#"{"action": "recall", "days": 7, "all": true}"#;
    assert!(said(note(&[]), recall));
    assert!(!said(note(&[]), r#"{"action": "reflect"}"#));
    assert!(!said(note(&[("days", &["7"])]), recall));
    assert!(!said(note(&[("days", &["1", "7.0"])]), recall));
    assert!(!said(note(&[("days", &["7"]), ("all", &["true"])]), recall));
    assert!(said(note(&[("days", &["7"]), ("all", &["false"])]), recall));
    assert!(said(note(&[("query", &["x"])]), recall));
}
