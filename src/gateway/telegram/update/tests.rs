use serde_json::json;

use super::*;

fn me() -> BotUser {
    BotUser {
        id: 7,
        username: "Ada_bot".to_owned(),
    }
}

fn read(update: Value) -> UpdateMeaning {
    meaning(&update, &me()).unwrap()
}

/// A message of Ann's to the bot, with more or other fields.
fn said(more: Value) -> Value {
    let mut message = json!({"message_id": 12, "date": 1_700_000_000,
        "from": {"id": 42, "is_bot": false, "first_name": "Ann", "last_name": "Lee", "username": "ann",
            "language_code": "en"},
        "chat": {"id": 42, "type": "private", "first_name": "Ann", "last_name": "Lee", "username": "ann"}});
    put(&mut message, more);
    json!({"update_id": 5, "message": message})
}

/// The same in a group.
fn in_group(more: Value) -> Value {
    let mut fields =
        json!({"chat": {"id": -100_200, "type": "supergroup", "title": "Tea", "is_forum": true}});
    put(&mut fields, more);
    said(fields)
}

fn put(message: &mut Value, more: Value) {
    let Value::Object(more) = more else {
        panic!("fields");
    };
    message.as_object_mut().unwrap().extend(more);
}

fn message(update: Value) -> UpdateMessage {
    match read(update) {
        UpdateMeaning::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_of_a_person_is_read_whole() {
    let read = message(said(json!({"text": "hi \u{1f600}"})));
    let expected = MessageReceived {
        message_id: "12".to_owned(),
        chat_id: "42".to_owned(),
        sender: ChatSender {
            id: "42".to_owned(),
            username: Some("ann".to_owned()),
            display_name: Some("Ann Lee".to_owned()),
            is_bot: false,
        },
        content: MessageContent::Text {
            text: "hi \u{1f600}".to_owned(),
        },
        routing: MessageRouting {
            channel: "telegram".to_owned(),
            chat_type: ChatType::Dm,
            chat_id: "42".to_owned(),
            sender_id: "42".to_owned(),
            more: BTreeMap::new(),
        },
        reply_to: None,
        mentions_bot: false,
        reply_to_bot: false,
        timestamp: Some("2023-11-14T22:13:20.000000Z".to_owned()),
        metadata: Some(json!({"bot_username": "Ada_bot"})),
        edited: false,
        forwarded_from: None,
        quoted: None,
    };
    assert_eq!(read.message, expected);
    assert_eq!((read.files, read.album), (Vec::new(), None));
}

#[test]
fn the_bot_is_called_by_entities_counted_in_utf16() {
    let mention = |offset: usize, length: usize| json!([{"type": "mention", "offset": offset, "length": length}]);
    let of_user = |id: i64| {
        json!([{"type": "text_mention", "offset": 0, "length": 3,
            "user": {"id": id, "is_bot": true, "first_name": "Ada"}}])
    };
    let command = json!([{"type": "bot_command", "offset": 0, "length": 14}]);
    let code = json!([{"type": "code", "offset": 0, "length": 8}]);
    for (text, entities, expected) in [
        ("hey @ada_bot", mention(4, 8), true),
        (
            "\u{1f468}\u{200d}\u{1f469}\u{1f600} @Ada_Bot",
            mention(8, 8),
            true,
        ),
        ("\u{1f600} @ada_bot", mention(2, 8), false),
        ("@ada_bot_", mention(0, 9), false),
        ("@ada_bots", mention(0, 8), true),
        ("@ada_bot", json!([]), false),
        ("@ada_bot", code, false),
        ("@ada_bot", mention(7, 80), false),
        ("@ada_bot", mention(usize::MAX, 2), false),
        ("Ada, tea?", of_user(7), true),
        ("Eve, tea?", of_user(8), false),
        ("/status@ada_bot", command.clone(), false),
        ("/stop_@ada_bot", command, true),
    ] {
        let read = message(in_group(json!({"text": text, "entities": entities})));
        assert_eq!(read.message.mentions_bot, expected, "{text}");
        let photo = json!([{"file_id": "p", "file_size": 9}]);
        let update = json!({"photo": photo, "caption": text, "caption_entities": entities});
        let read = message(in_group(update));
        assert_eq!(read.message.mentions_bot, expected, "caption {text}");
    }
}

#[test]
fn topics_are_threads_and_other_numbers_of_threads_are_none() {
    for (fields, expected) in [
        (
            json!({"message_thread_id": 77, "is_topic_message": true}),
            Some("77"),
        ),
        (json!({"message_thread_id": 77}), None),
        (
            json!({"message_thread_id": 1, "is_topic_message": true}),
            None,
        ),
        (json!({}), None),
    ] {
        let mut update = fields.clone();
        put(&mut update, json!({"text": "hi"}));
        let read = message(in_group(update));
        assert_eq!(read.message.thread_id(), expected, "{fields}");
        assert_eq!(read.message.routing.chat_type, ChatType::Group);
        let mut below = json!({"message_id": 9, "chat": {"id": -5, "type": "supergroup"}});
        put(&mut below, fields.clone());
        let press = json!({"update_id": 1, "callback_query": {"id": "q", "from": {"id": 42, "first_name": "Ann"},
            "message": below, "data": "abc", "chat_instance": "1"}});
        let UpdateMeaning::Press(press) = super::meaning(&press, &me()).unwrap() else {
            panic!("a press");
        };
        let thread = press.routing.as_ref().unwrap().more.get("thread_id");
        assert_eq!(thread.map(String::as_str), expected, "{fields}");
        assert_eq!(
            (press.chat_id.as_str(), press.message_id.as_str()),
            ("-5", "9")
        );
        assert_eq!(
            (press.callback_query_id.as_str(), press.data.as_str()),
            ("q", "abc")
        );
        assert_eq!(press.sender.id, "42");
    }
}

#[test]
fn a_message_tells_what_it_answers_and_whose_words_it_passes_on() {
    let ours = json!({"id": 7, "is_bot": true, "first_name": "Ada"});
    let bob = json!({"id": 43, "is_bot": false, "first_name": "Bob"});
    let quoted = |sender: Option<&str>, text: &str| {
        Some(QuotedMessage {
            sender: sender.map(str::to_owned),
            text: text.to_owned(),
        })
    };
    let topic = json!({"message_id": 77, "from": bob, "forum_topic_created": {"name": "Tea"}});
    for (fields, reply_to, to_bot, expected) in [
        (json!({}), None, false, None),
        (
            json!({"reply_to_message": {"message_id": 3, "from": ours, "text": "I can"}}),
            Some("3"),
            true,
            quoted(Some("Ada"), "I can"),
        ),
        (
            json!({"reply_to_message": {"message_id": 3, "from": bob, "caption": "a tree", "photo": []},
                "quote": {"text": "tree", "position": 2}}),
            Some("3"),
            false,
            quoted(Some("Bob"), "tree"),
        ),
        (
            json!({"reply_to_message": {"message_id": 3, "from": bob, "sticker": {}}}),
            Some("3"),
            false,
            None,
        ),
        // Each message of a topic answers the one that began it.
        (json!({"reply_to_message": topic}), None, false, None),
        (
            json!({"external_reply": {"origin": {"type": "channel", "date": 1, "message_id": 4,
                "chat": {"id": -9, "type": "channel", "title": "News"}}}, "quote": {"text": "rain", "position": 0}}),
            None,
            false,
            quoted(Some("News"), "rain"),
        ),
        (
            json!({"external_reply": {"origin": {"type": "of_tomorrow"}}}),
            None,
            false,
            None,
        ),
    ] {
        let mut update = fields.clone();
        put(&mut update, json!({"text": "hi"}));
        let read = message(in_group(update)).message;
        assert_eq!(read.reply_to.as_deref(), reply_to, "{fields}");
        assert_eq!(read.reply_to_bot, to_bot, "{fields}");
        assert_eq!(read.quoted, expected, "{fields}");
    }
    for (origin, expected) in [
        (
            json!({"type": "user", "date": 1, "sender_user": bob}),
            "Bob",
        ),
        (
            json!({"type": "hidden_user", "date": 1, "sender_user_name": "Eve"}),
            "Eve",
        ),
        (
            json!({"type": "chat", "date": 1, "sender_chat": {"id": -1, "type": "group", "title": "Tea"}}),
            "Tea",
        ),
        (
            json!({"type": "channel", "date": 1, "message_id": 1,
            "chat": {"id": -2, "type": "channel", "username": "news"}}),
            "news",
        ),
        (json!({"type": "of_tomorrow"}), "somebody"),
    ] {
        let read = message(said(json!({"text": "hi", "forward_origin": origin})));
        assert_eq!(read.message.forwarded_from.as_deref(), Some(expected));
    }
}

#[test]
fn who_does_not_show_themselves_proves_nothing() {
    let channel = json!({"id": -9, "type": "channel", "title": "News", "username": "news"});
    let group = json!({"id": -100_200, "type": "supergroup", "title": "Tea"});
    let anonymous = json!({"id": 1_087_968_824, "is_bot": true, "first_name": "Group"});
    let other_bot = json!({"id": 8, "is_bot": true, "first_name": "Eve", "username": "eve_bot"});
    let post = json!({"message_id": 1, "date": 1, "chat": channel, "text": "news"});
    for (update, id, name, is_verified, is_bot) in [
        (
            in_group(json!({"text": "hi"})),
            "42",
            "Ann Lee",
            true,
            false,
        ),
        (
            in_group(json!({"text": "hi", "from": other_bot})),
            "8",
            "Eve",
            true,
            true,
        ),
        (
            in_group(json!({"text": "hi", "from": anonymous, "sender_chat": group})),
            "-100200",
            "Tea",
            false,
            false,
        ),
        (
            in_group(json!({"text": "hi", "sender_chat": channel})),
            "-9",
            "News",
            false,
            false,
        ),
        (
            json!({"update_id": 1, "channel_post": post}),
            "-9",
            "News",
            false,
            false,
        ),
    ] {
        let read = message(update).message;
        assert_eq!(read.sender.id, id);
        assert_eq!(read.sender.display_name.as_deref(), Some(name));
        assert_eq!(
            (read.is_verified(), read.sender.is_bot),
            (is_verified, is_bot),
            "{name}"
        );
    }
}

#[test]
fn files_are_told_of_and_what_cannot_be_read_has_a_word() {
    let file = |kind: &str| {
        let read = message(said(json!({kind: {"file_id": "f", "file_size": 9}}))).files;
        read.into_iter()
            .map(|file| (file.file_id, file.mime, file.is_voice))
            .collect::<Vec<_>>()
    };
    for (kind, mime, is_voice) in [
        ("document", "application/octet-stream", false),
        ("voice", "audio/ogg", true),
        ("audio", "audio/mpeg", false),
        ("video", "video/mp4", false),
        ("video_note", "video/mp4", false),
    ] {
        assert_eq!(
            file(kind),
            [("f".to_owned(), mime.to_owned(), is_voice)],
            "{kind}"
        );
    }
    let sizes =
        json!([{"file_id": "small", "file_size": 9}, {"file_id": "large", "file_size": 99}]);
    let photo = message(said(json!({"photo": sizes, "caption": "a tree"})));
    assert_eq!(photo.files[0].file_id, "large");
    assert_eq!(photo.files[0].bytes, Some(99));
    assert_eq!(photo.message.content.words(), Some("a tree"));
    let animation = json!({"file_id": "a", "mime_type": "video/mp4"});
    let both = json!({"animation": animation, "document": animation});
    assert_eq!(message(said(both)).files.len(), 1);
    let document = json!({"file_id": "d", "file_name": "n.txt", "mime_type": "text/plain", "file_size": 30_000_000_000_u64});
    let document = message(said(json!({"document": document}))).files;
    assert_eq!(document[0].name.as_deref(), Some("n.txt"));
    assert_eq!(
        (document[0].mime.as_str(), document[0].bytes),
        ("text/plain", Some(30_000_000_000))
    );
    for kind in UNREADABLE {
        let read = message(said(json!({kind: {"emoji": "x"}}))).message;
        assert_eq!(read.content, MessageContent::Unknown);
        assert_eq!(read.metadata.unwrap()["kind"], kind);
    }
    let place = message(said(
        json!({"location": {"latitude": 48.2, "longitude": 16.4}}),
    ))
    .message;
    assert!(matches!(place.content, MessageContent::Location { latitude, .. } if latitude == 48.2));
    let contact = json!({"phone_number": "+43 1", "first_name": "Bob", "last_name": "Ross"});
    let contact = message(said(json!({"contact": contact}))).message;
    let expected = MessageContent::Contact {
        name: "Bob Ross".to_owned(),
        phone: "+43 1".to_owned(),
    };
    assert_eq!(contact.content, expected);
    // Nobody said these.
    for service in [
        "pinned_message",
        "forum_topic_created",
        "new_chat_members",
        "video_chat_started",
    ] {
        assert_eq!(
            read(in_group(json!({service: {}}))),
            UpdateMeaning::Nothing,
            "{service}"
        );
    }
}

#[test]
fn those_of_an_album_become_one_message() {
    let of_album = |id: &str, caption: Option<&str>| {
        let mut fields = json!({"media_group_id": "m", "photo": [{"file_id": id}]});
        if let Some(caption) = caption {
            fields["caption"] = json!(caption);
        }
        message(said(fields))
    };
    let mut album = of_album("1", None);
    assert_eq!(album.album.as_deref(), Some("m"));
    album.absorb(of_album("2", Some("look")));
    album.absorb(of_album("3", None));
    assert_eq!(album.message.content.words(), Some("look"));
    album.absorb(of_album("4", Some("and this")));
    assert_eq!(album.message.content.words(), Some("look\nand this"));
    let ids: Vec<_> = album
        .files
        .iter()
        .map(|file| file.file_id.as_str())
        .collect();
    assert_eq!(ids, ["1", "2", "3", "4"]);
}

#[test]
fn an_edit_is_told_from_what_was_said_and_stands_by_itself() {
    for kind in ["edited_message", "edited_channel_post"] {
        let mut update =
            said(json!({"caption": "b", "photo": [{"file_id": "p"}], "media_group_id": "m"}));
        let edited = update["message"].take();
        let read = message(json!({"update_id": 5, kind: edited}));
        assert!(read.message.edited);
        assert_eq!(read.album, None);
    }
}

#[test]
fn a_group_that_moves_is_told_of_by_both_ends() {
    for (chat, field, other) in [
        (-5, "migrate_to_chat_id", -1005),
        (-1005, "migrate_from_chat_id", -5),
    ] {
        let moved = read(said(
            json!({"chat": {"id": chat, "type": "group", "title": "Tea"}, field: other}),
        ));
        let expected = UpdateMeaning::Migrated {
            from: "-5".to_owned(),
            to: "-1005".to_owned(),
        };
        assert_eq!(moved, expected);
    }
}

#[test]
fn who_lets_the_bot_in_or_out_changes_whether_it_may_write() {
    for (kind, member, expected) in [
        ("private", json!({"status": "kicked"}), false),
        ("private", json!({"status": "member"}), true),
        (
            "supergroup",
            json!({"status": "kicked", "until_date": 0}),
            false,
        ),
        ("group", json!({"status": "left"}), false),
        (
            "supergroup",
            json!({"status": "restricted", "can_send_messages": false}),
            false,
        ),
        (
            "supergroup",
            json!({"status": "restricted", "can_send_messages": true}),
            true,
        ),
        ("supergroup", json!({"status": "administrator"}), true),
    ] {
        let update = json!({"update_id": 1, "my_chat_member": {"chat": {"id": 42, "type": kind}, "date": 1,
            "from": {"id": 42, "first_name": "Ann"}, "old_chat_member": {}, "new_chat_member": member}});
        let UpdateMeaning::State {
            chat_id,
            can_write,
            why,
        } = read(update)
        else {
            panic!("a state");
        };
        assert_eq!(
            (chat_id.as_str(), can_write),
            ("42", expected),
            "{kind} {member}"
        );
        assert_eq!(why.is_empty(), expected);
    }
}

#[test]
fn what_nobody_knows_is_nothing_and_what_is_broken_is_an_error() {
    for update in [
        json!({"update_id": 1}),
        json!({"update_id": 1, "of_tomorrow": {"message": {}}}),
        json!({"update_id": 1, "message": null}),
        json!({"update_id": 1, "callback_query": {"id": "q", "from": {"id": 1}, "game_short_name": "g"}}),
        said(json!({"of_tomorrow": 1})),
    ] {
        assert_eq!(read(update.clone()), UpdateMeaning::Nothing, "{update}");
    }
    for update in [
        said(json!({"message_id": "no number", "text": "a"})),
        said(json!({"text": 12})),
        said(json!({"chat": null, "text": "a"})),
        json!({"update_id": 1, "message": [1, 2, 3]}),
        json!({"update_id": 1, "callback_query": {"id": 7}}),
        json!({"update_id": 1, "my_chat_member": {"chat": 1}}),
    ] {
        assert!(meaning(&update, &me()).is_err(), "{update}");
    }
    let read = |json: &str| RawUpdate::read(&RawValue::from_string(json.to_owned()).unwrap());
    assert_eq!(read(r#"{"update_id": 5}"#).id, Some(5));
    assert_eq!(read(r#"{"update_id": "x"}"#).id, None);
    assert_eq!(read("[]").id, None);
    // Legal, and yet no text and no tree.
    let deep = format!(
        r#"{{"x": {}{}, "update_id": 7}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (json, id) in [(r#"{"update_id": 6, "message": "\ud800"}"#, 6), (&deep, 7)] {
        let update = read(json);
        assert_eq!(update.id, Some(id));
        assert!(update.fault.is_some(), "{json}");
        assert_eq!(update.body, json!(json));
    }
}
