use super::*;
use crate::domain::event::{AssistantResponse, FinishReason, ToolOutput, UserMessage};
use crate::domain::ids::{MessageId, Seq, TurnId};

fn said(content: &str) -> Event {
    Event::from(UserMessage::new(MessageId::mint(1, 1), content))
}

fn called(tool: &str, arguments: &str) -> Event {
    Event::from(AssistantResponse {
        turn_id: TurnId::mint(1, 1),
        message_id: MessageId::mint(1, 1),
        agent: "a".into(),
        model: "m".into(),
        input_seq: Seq(1),
        // What a model says itself makes nothing familiar.
        content: String::from("https://said.example/").into(),
        tool_calls: vec![ToolCall {
            call_id: CallId::parse("call_1").unwrap(),
            tool_name: tool.to_owned(),
            arguments: arguments.to_owned(),
            source: None,
        }],
        usage: None,
        finish_reason: FinishReason::ToolCalls,
        continues: None,
        provider_data: None,
        attachments: Vec::new(),
    })
}

fn result(success: bool, content: &str) -> Event {
    Event::ToolResult {
        call_id: CallId::parse("call_1").unwrap(),
        result: ToolOutput {
            success,
            content: content.to_owned(),
        },
        duration_ms: None,
        appended_bytes: None,
        attachments: Vec::new(),
    }
}

fn is_familiar(address: &str, events: &[Event]) -> bool {
    let mut seen = Familiarity::of(address);
    events.iter().for_each(|event| seen.see(event));
    seen.is_familiar()
}

#[test]
fn an_address_is_familiar_that_stands_whole_in_a_users_message() {
    for (address, message, expected) in [
        ("https://a.org/x", "https://a.org/x", true),
        ("https://a.org/x", "read https://a.org/x.", true),
        ("https://a.org/x", "[it](https://a.org/x)", true),
        ("https://a.org/x", "<https://a.org/x>, please", true),
        ("https://a.org/x", "{\"url\":\"https://a.org/x\"}", true),
        ("https://a.org/x", "is it https://a.org/x?", true),
        ("https://a.org/", "look at https://a.org", true),
        (" https://a.org/x ", "https://a.org/x", true),
        // What a model added, or took from another address.
        ("https://a.org/x?q=secret", "https://a.org/x", false),
        ("https://a.org/x", "https://a.org/x?q=1", false),
        ("https://a.org/x", "https://a.org/xy", false),
        ("https://a.org/x", "https://a.org/x/y", false),
        ("https://a.org", "https://a.org.evil.example/", false),
        ("https://a.org", "https://a.org@evil.example/", false),
        ("https://a.org", "https://a.org:81/", false),
        ("https://a.org/", "https://a.org/x", false),
        (
            "https://a.org/x",
            "https://b.org/?to=https://a.org/x",
            false,
        ),
        ("http://a.org/x", "https://a.org/x", false),
        ("https://a.org/x", "a.org/x", false),
        ("https://a.org/x", "", false),
        ("", "hello", false),
        ("e", "hello", false),
    ] {
        assert_eq!(
            is_familiar(address, &[said(message)]),
            expected,
            "{address} {message}"
        );
    }
}

#[test]
fn what_a_search_found_is_familiar_and_what_other_tools_or_models_say_is_not() {
    const SEARCH: &str = r#"{"action":"search","query":"q"}"#;
    let found = "1. One\n   https://a.org/x\n   About it\n";
    for (events, expected) in [
        ([called("web", SEARCH), result(true, found)], true),
        ([called("web", SEARCH), result(false, found)], false),
        ([called("other", SEARCH), result(true, found)], false),
        ([called("web", "search"), result(true, found)], false),
        ([result(true, found), called("web", SEARCH)], false),
        (
            [
                called("web", r#"{"action":"fetch","url":"https://b.org/"}"#),
                result(true, found),
            ],
            false,
        ),
    ] {
        assert_eq!(
            is_familiar("https://a.org/x", &events),
            expected,
            "{events:?}"
        );
    }
    let events = [called("web", SEARCH), result(true, found)];
    assert!(!is_familiar("https://said.example/", &events));
}

#[test]
fn a_host_that_answered_is_familiar() {
    let call = called("web", r#"{"action":"fetch","url":"https://a.org/x"}"#);
    let answer = "URL: https://a.org/x\nStatus: 404 Not Found\n\nSee URL: https://c.org/";
    for (address, expected) in [
        ("https://a.org/y?q=1", true),
        ("http://a.org/y", true),
        ("https://A.org:443/", true),
        ("https://a.org:8443/", false),
        ("https://www.a.org/", false),
        ("https://a.org.evil.example/", false),
        ("https://a.org@evil.example/", false),
        ("https://c.org/", false),
        ("https://evil.example/", false),
        ("no address", false),
    ] {
        let events = [call.clone(), result(false, answer)];
        assert_eq!(is_familiar(address, &events), expected, "{address}");
    }
    // It was refused, or could not be reached.
    let events = [call, result(false, "https://a.org could not be reached")];
    assert!(!is_familiar("https://a.org/y", &events));
}

#[test]
fn what_a_stranger_wrote_into_a_log_makes_nothing_familiar() {
    let before = said("https://a.org/x");
    assert!(is_familiar(
        "https://a.org/x",
        std::slice::from_ref(&before)
    ));
    let adopted = [before.clone(), Event::SessionAdopted {}];
    assert!(!is_familiar("https://a.org/x", &adopted));
    assert!(is_familiar(
        "https://a.org/x",
        &[Event::SessionAdopted {}, before]
    ));
}

#[test]
fn words_of_an_agents_file_behind_a_result_make_nothing_familiar() {
    const SEARCH: &str = r#"{"action":"search","query":"x"}"#;
    let (found, added) = ("https://a.org/x", "\n\nhttps://b.org/x");
    for (address, expected) in [("https://a.org/x", true), ("https://b.org/x", false)] {
        let answer = Event::ToolResult {
            call_id: CallId::parse("call_1").unwrap(),
            result: ToolOutput {
                success: true,
                content: format!("{found}{added}"),
            },
            duration_ms: None,
            appended_bytes: Some(added.len()),
            attachments: Vec::new(),
        };
        let events = [called("web", SEARCH), answer];
        assert_eq!(is_familiar(address, &events), expected, "{address}");
    }
}
