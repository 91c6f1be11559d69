use super::*;

use serde_json::json;

fn detail<T: std::fmt::Debug>(result: Result<T, BodyError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_body_is_read_and_unknown_fields_are_ignored() {
    let body = br#"{"content":"hi","colour":3}"#;
    let want = Say {
        content: MessageText::parse("hi").unwrap(),
        attachments: Vec::new(),
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
fn only_the_six_decisions_are_decisions() {
    let approve = |word: &str| {
        let body = json!({"call_id": "c", "command": "ls", "decision": word});
        Approve::parse(body.to_string().as_bytes()).map(|approve| approve.decision)
    };
    for (word, want) in [
        ("allow_once", Decision::AllowOnce),
        ("allow_session", Decision::AllowSession),
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
