use super::*;

use serde_json::json;

fn detail<T: std::fmt::Debug>(result: Result<T, Problem>) -> String {
    let problem = result.unwrap_err();
    assert_eq!(problem.status(), 400);
    problem.detail().to_owned()
}

#[test]
fn a_body_is_read_and_unknown_fields_are_ignored() {
    let body = br#"{"content":"hi","colour":3}"#;
    let want = Say {
        content: "hi".to_owned(),
    };
    assert_eq!(Say::parse(body), Ok(want));
    let body = br#"{"call_id":"c","command":"","decision":"worked"}"#;
    let want = Approve {
        call_id: "c".to_owned(),
        command: String::new(),
        decision: Decision::Worked,
    };
    assert_eq!(Approve::parse(body), Ok(want));
}

#[test]
fn a_bad_body_is_refused_with_the_place_or_the_field() {
    for (body, want) in [
        (&b""[..], "there is no body: send a JSON object"),
        (
            b"{\n  \"content\": \n}",
            "the body is not valid JSON: expected value at line 3 column 1",
        ),
        (
            b"{\"content\":\"x\"",
            "the body is not valid JSON: EOF while parsing an object at line 1 column 14",
        ),
        (
            b"{\"content\":\"x\"} {}",
            "the body is not valid JSON: trailing characters at line 1 column 17",
        ),
        (b"[]", "the body must be a JSON object, not an array"),
        (b"{}", "missing field `content`"),
        (b"{\"content\":null}", "missing field `content`"),
        (
            b"{\"content\":7}",
            "`content` must be a string, not a number",
        ),
        (b"{\"content\":\"\"}", "`content` must not be empty"),
        (b"{\"content\":\" \\n\\t\"}", "`content` must not be empty"),
        (
            b"{\"content\":\"\xff\"}",
            "the body is not UTF-8 from byte 12 on",
        ),
    ] {
        assert_eq!(detail(Say::parse(body)), want, "{body:?}");
    }
}

#[test]
fn bad_json_says_where_in_numbers_too() {
    let problem = Say::parse(b"{\n}}").unwrap_err();
    let body: Value = serde_json::from_slice(&problem.body()).unwrap();
    assert_eq!(body["type"], "urn:duragent:problem:bad-json");
    assert_eq!((&body["line"], &body["column"]), (&json!(2), &json!(2)));
}

#[test]
fn json_of_any_depth_is_refused_and_not_followed() {
    let body = "[".repeat(1 << 20);
    assert!(detail(Say::parse(body.as_bytes())).contains("recursion limit"));
}

#[test]
fn a_title_and_a_model_have_their_limits() {
    let change = |body: Value| Change::parse(body.to_string().as_bytes());
    let want = Change {
        title: Some(String::new()),
        model: None,
    };
    assert_eq!(change(json!({"title": ""})), Ok(want));
    assert!(change(json!({"title": "ä".repeat(200), "model": "m"})).is_ok());
    for (body, want) in [
        (json!({}), "give `title`, `model` or both"),
        (json!({"titel": "x"}), "give `title`, `model` or both"),
        (
            json!({"title": "x".repeat(201)}),
            "`title` must not be longer than 200 characters",
        ),
        (
            json!({"title": "a\u{1b}[31m"}),
            "`title` must not hold control characters",
        ),
        (json!({"model": ""}), "`model` must not be empty"),
        (
            json!({"model": "x".repeat(201)}),
            "`model` must not be longer than 200 characters",
        ),
        (
            json!({"title": true}),
            "`title` must be a string, not a boolean",
        ),
    ] {
        assert_eq!(detail(change(body.clone())), want, "{body}");
    }
}

#[test]
fn what_no_agent_can_be_called_is_not_found_and_not_repeated_at_length() {
    let body = json!({"agent": "ä".repeat(5000)}).to_string();
    let problem = NewSession::parse(body.as_bytes()).unwrap_err();
    assert_eq!(problem.status(), 404);
    let want = format!("Agent '{}' not found", "ä".repeat(100));
    assert_eq!(problem.detail(), want);
}

#[test]
fn only_the_six_decisions_are_decisions() {
    let approve = |word: &str| {
        let body = json!({"call_id": "c", "command": "ls", "decision": word});
        Approve::parse(body.to_string().as_bytes()).map(|approve| approve.decision)
    };
    for (word, want) in [
        ("allow_once", Decision::AllowOnce),
        ("allow_always", Decision::AllowAlways),
        ("deny", Decision::Deny),
        ("retry", Decision::Retry),
        ("skip", Decision::Skip),
        ("worked", Decision::Worked),
    ] {
        assert_eq!(approve(word), Ok(want), "{word}");
    }
    assert!(detail(approve("Allow_once")).starts_with("`decision` must be"));
}

fn record(line: Value) -> Record {
    Record::parse(line.to_string().as_bytes()).unwrap()
}

#[test]
fn a_page_of_events_hides_what_is_the_providers_and_says_where_to_go_on() {
    let time = "1970-01-01T00:00:00.000000Z";
    let reply = json!({
        "seq": 1, "timestamp": time, "type": "assistant_response",
        "turn_id": "turn_01J0000000000000000000000A",
        "message_id": "msg_01J0000000000000000000000A",
        "agent": "a", "model": "openai/m", "input_seq": 0, "content": "hi", "tool_calls": [],
        "finish_reason": "stop", "provider_data": {"signature": "s"},
    });
    let newer = json!({"seq": 2, "timestamp": time, "type": "of_tomorrow"});
    let records = vec![record(reply.clone()), record(newer)];

    let page = serde_json::to_value(EventPage::new(records.clone(), 2)).unwrap();
    let mut shown = reply;
    shown.as_object_mut().unwrap().remove("provider_data");
    assert_eq!(page, json!({"events": [shown], "next": 2}));

    let last = serde_json::to_value(EventPage::new(records, 3)).unwrap();
    assert_eq!(last.get("next"), None);
    let empty = serde_json::to_value(EventPage::new(Vec::new(), 3)).unwrap();
    assert_eq!(empty, json!({"events": []}));
}

#[test]
fn answers_have_the_fields_of_the_contract() {
    let id = SessionId::parse("session_01J0000000000000000000000A").unwrap();
    let message_id = MessageId::parse("msg_01J0000000000000000000000A").unwrap();
    let reply = Reply {
        message_id: message_id.clone(),
        content: "hi".to_owned(),
    };
    let pending = PendingApproval {
        call_id: CallId::parse("c1").unwrap(),
        command: "ls".to_owned(),
        commands: vec!["ls".to_owned()],
        kind: ApprovalKind::Policy,
        exact: false,
    };
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    for (body, want) in [
        (
            serde_json::to_value(ReplyBody::new(Some(&reply), Usage::new(1, 2))),
            json!({"message_id": message_id, "role": "assistant", "content": "hi", "usage": usage}),
        ),
        (
            serde_json::to_value(WaitingBody::new(&id, &pending)),
            json!({"session_id": id, "call_id": "c1", "command": "ls", "kind": "policy", "commands": ["ls"], "lines": 1, "exact": false}),
        ),
        (
            serde_json::to_value(StoredBody {
                message_id: &message_id,
                seq: Seq(3),
            }),
            json!({"message_id": message_id, "seq": 3}),
        ),
        (
            serde_json::to_value(DecidedBody::complete(Some(&reply))),
            json!({"status": "complete", "message_id": message_id, "content": "hi"}),
        ),
        (
            serde_json::to_value(DecidedBody::pending(&pending)),
            json!({"status": "pending_approval", "call_id": "c1", "command": "ls", "kind": "policy", "commands": ["ls"], "lines": 1, "exact": false}),
        ),
        (
            serde_json::to_value(CancelledBody { cancelled: true }),
            json!({"cancelled": true}),
        ),
    ] {
        assert_eq!(body.unwrap(), want);
    }
}
