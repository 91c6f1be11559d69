use serde_json::json;

use super::*;

#[test]
fn a_message_of_an_earlier_program_is_read_with_its_oddities() {
    let line = r#"{"type":"message_received","message_id":7,"chat_id":"42","sender":{"id":42,"username":null},
        "content":{"type":"text","text":"hi"},"routing":{"channel":"discord","chat_type":"group","chat_id":"42",
        "sender_id":"42","guild_id":9007199254740993,"roles":["a"]},"reply_to":null,"metadata":null,"new_field":{}}"#;
    let GatewayEvent::MessageReceived(message) = GatewayEvent::parse(line).unwrap() else {
        panic!("another event");
    };
    assert_eq!(message.message_id, "7");
    assert_eq!(message.sender.id, "42");
    assert_eq!(message.content.words(), Some("hi"));
    assert_eq!(message.routing.chat_type, ChatType::Group);
    let more: Vec<_> = message.routing.more.iter().collect();
    assert_eq!(
        more,
        [(&"guild_id".to_owned(), &"9007199254740993".to_owned())]
    );
    assert!(!message.mentions_bot && !message.edited && message.is_verified());
    assert_eq!(message.thread_id(), None);
    assert_eq!(message.metadata, None);
}

#[test]
fn an_event_or_a_content_of_a_later_version_is_none_of_ours_and_no_mistake() {
    let event = GatewayEvent::parse(r#"{"type":"poll_closed","x":1}"#).unwrap();
    assert_eq!(event, GatewayEvent::Unknown);
    for content in [
        json!({"type": "unknown", "raw": {}}),
        json!({"type": "dance"}),
    ] {
        let content: MessageContent = serde_json::from_value(content).unwrap();
        assert_eq!(content, MessageContent::Unknown);
    }
}

#[test]
fn a_command_says_nothing_that_it_has_nothing_to_say_of() {
    let command = GatewayCommand::SendMessage {
        request_id: "r1".to_owned(),
        chat_id: "42".to_owned(),
        content: "hi".to_owned(),
        reply_to: None,
        inline_keyboard: None,
        thread_id: None,
    };
    assert_eq!(
        serde_json::to_string(&command).unwrap(),
        r#"{"type":"send_message","request_id":"r1","chat_id":"42","content":"hi"}"#
    );
    assert_eq!(
        serde_json::to_string(&GatewayCommand::Shutdown).unwrap(),
        r#"{"type":"shutdown"}"#
    );
}

#[test]
fn an_answer_names_its_command_and_what_came_of_it() {
    let read = |line: &str| GatewayEvent::parse(line).unwrap();
    assert_eq!(
        read(r#"{"type":"command_ok","request_id":"r1","message_id":77}"#),
        GatewayEvent::CommandOk {
            request_id: "r1".to_owned(),
            message_id: Some("77".to_owned()),
        }
    );
    assert_eq!(
        read(r#"{"type":"command_error","request_id":"r1","code":"send_failed","message":"no"}"#),
        GatewayEvent::CommandError(FailedCommand {
            request_id: "r1".to_owned(),
            code: "send_failed".to_owned(),
            message: "no".to_owned(),
            retry_after: None,
            migrate_to: None,
        })
    );
}

#[test]
fn what_a_gateway_can_do_is_told_in_words() {
    let found = Capabilities::of_words(["edit", "inline_keyboard", "fly"]);
    let wanted = Capabilities {
        edit: true,
        inline_keyboard: true,
        ..Capabilities::default()
    };
    assert_eq!(found, wanted);
}
