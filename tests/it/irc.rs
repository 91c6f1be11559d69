//! The IRC gateway of the documentation with a real IRC server, ngIRCd.

mod network;
mod plugin;
mod scripted;
mod served;

use std::process::Command;

use serde_json::{Value, json};

use crate::support::process::Limited as _;

use network::{Network, Person, Services};
use plugin::{Plugin, arguments};
use scripted::Scripted;

/// Who is there as this nick, and not logged in.
fn stranger(nick: &str) -> String {
    format!("{nick}!~{nick}@127.0.0.1")
}

/// The text of the next message that came in.
fn text_of(plugin: &mut Plugin) -> String {
    let event = plugin.event("message_received");
    event["content"]["text"].as_str().unwrap().to_owned()
}

// --- in ---

#[test]
fn what_people_say_becomes_a_message_of_the_channel_or_of_a_private_chat() {
    let network = Network::start();
    let mut bob = Person::enter(&network, "Bob", "#room");
    let mut plugin = Plugin::enter(&network, &bob);
    bob.says("#Room", "ada: hello there");
    bob.says("ada", "psst");
    let mut ids = Vec::new();
    for (chat_type, chat_id, text, is_mention) in [
        ("group", "#room", "hello there", true),
        ("dm", "bob!~Bob@127.0.0.1", "psst", false),
    ] {
        let mut event = plugin.event("message_received");
        ids.push(event["message_id"].take());
        assert!(event["timestamp"].take().as_str().unwrap().contains('T'));
        let id = "bob!~Bob@127.0.0.1";
        let expected = json!({
            "type": "message_received", "message_id": null, "timestamp": null,
            "chat_id": chat_id,
            "sender": {"id": id, "username": "Bob", "display_name": "Bob", "is_bot": false},
            "content": {"type": "text", "text": text},
            "routing": {"channel": "irc", "chat_type": chat_type, "chat_id": chat_id, "sender_id": id, "nick": "Bob"},
            "mentions_bot": is_mention,
            "metadata": {"verified": false},
        });
        assert_eq!(event, expected);
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn only_what_is_meant_for_people_comes_in_and_who_is_addressed_is_seen() {
    let network = Network::start();
    let mut bob = Person::enter(&network, "bob", "#room");
    let mut plugin = Plugin::enter(&network, &bob);
    for (said, heard) in [
        ("PRIVMSG #room :\x01VERSION\x01", None),
        ("NOTICE #room :ada: a notice", None),
        ("PRIVMSG ada :\x01PING 1\x01", None),
        ("PRIVMSG #room :ada, one", Some(("one", true))),
        ("PRIVMSG #room :  @ADA: two", Some(("two", true))),
        (
            "PRIVMSG #room :\x0304,12ada:\x03 \x02three\x02",
            Some(("three", true)),
        ),
        ("PRIVMSG #room :ada:", Some(("ada:", true))),
        ("PRIVMSG #room :adams: four", Some(("adams: four", false))),
        ("PRIVMSG #room :ada is away", Some(("ada is away", false))),
        (
            "PRIVMSG #room :\x01ACTION waves\x01",
            Some(("* bob waves", false)),
        ),
        ("PRIVMSG #room :!stop", Some(("!stop", false))),
        ("PRIVMSG #room :ada: !stop", Some(("/stop", true))),
        ("PRIVMSG ada :!reset", Some(("/reset", false))),
        ("PRIVMSG ada :!stopwatch", Some(("!stopwatch", false))),
        ("PRIVMSG ada : /help", Some(("/help", false))),
        ("PRIVMSG ada :Grüße, 三", Some(("Grüße, 三", false))),
    ] {
        bob.types(said);
        if let Some((text, is_mention)) = heard {
            let event = plugin.event("message_received");
            assert_eq!(event["content"]["text"], text, "{said:?}");
            assert_eq!(event["mentions_bot"], is_mention, "{said:?}");
        }
    }
}

// --- out ---

#[test]
fn a_long_answer_arrives_whole_in_lines_that_irc_can_carry() {
    let network = Network::start();
    let bob = Person::enter(&network, "bob", "#room");
    let mut plugin = Plugin::enter(&network, &bob);
    let words = "Grüße 三 🎉 and words. ".repeat(80);
    let unbroken = "é三🎉".repeat(150);
    let text = format!("first\n\n  {}\r\n{unbroken}\nlast", words.trim());
    assert_eq!(plugin.try_send("#room", &text), None);
    let (mut lines, mut pieces) = (Vec::new(), Vec::new());
    while pieces.last().is_none_or(|piece| piece != "last") {
        let line = bob.hears_from("ada", 1).remove(0);
        pieces.push(line.said().unwrap().2.to_owned());
        lines.push(line.bytes);
    }
    assert!(lines.iter().all(|bytes| *bytes <= 512), "{lines:?}");
    // The lines are as long as they may be.
    assert!(lines.len() < 13, "{lines:?}");
    assert_eq!(pieces[0], "first");
    let is_whole_word = |piece: &&String| piece.ends_with("words.") || piece.contains(' ');
    let of_words: Vec<&str> = pieces
        .iter()
        .filter(is_whole_word)
        .map(|piece| piece.trim())
        .collect();
    assert_eq!(of_words.join(" "), words.trim());
    let of_unbroken = pieces
        .iter()
        .filter(|piece| piece.starts_with('é') || piece.starts_with(['三', '🎉']));
    let of_unbroken: Vec<&str> = of_unbroken
        .filter(|piece| !piece.contains(' '))
        .map(String::as_str)
        .collect();
    assert_eq!(of_unbroken.concat(), unbroken);
}

#[test]
fn nothing_in_a_text_or_an_id_becomes_a_command_of_irc() {
    let network = Network::start();
    let bob = Person::enter(&network, "bob", "#room");
    let mut plugin = Plugin::enter(&network, &bob);
    for chat_id in [
        "#room\r\nQUIT :x",
        "#room\nQUIT",
        "#room x",
        "#room,bob",
        "bob,#room",
        "",
        ":x",
        "$*",
        "@#room",
        "bob\0",
        "!x@y",
        "#",
        &format!("#{}", "x".repeat(600)),
    ] {
        assert_eq!(
            plugin.try_send(chat_id, "hello").as_deref(),
            Some("invalid_request"),
            "{chat_id:?}"
        );
    }
    for content in ["", " \r\n\t ", "\x01\x02"] {
        assert_eq!(
            plugin.try_send("#room", content).as_deref(),
            Some("invalid_request"),
            "{content:?}"
        );
    }
    let wrong = json!({"type": "send_message", "chat_id": 7, "content": ["x"]});
    assert_eq!(plugin.ask(wrong)["code"], "invalid_request");
    let text = "one\r\nQUIT :two\rQUIT :three\0\n\x01VERSION\x01 \x02bold\x0304 red\x7f\u{85}four \u{1f468}\u{200d}\u{1f469}";
    assert_eq!(plugin.try_send("#room", text), None);
    let lines = bob.hears_from("ada", 5);
    let words: Vec<&str> = lines.iter().map(|line| line.said().unwrap().2).collect();
    let expected = [
        "one",
        "QUIT :two",
        "QUIT :three",
        "VERSION bold red",
        "four \u{1f468}\u{200d}\u{1f469}",
    ];
    assert_eq!(words, expected);
    // Half a character of UTF-16, which JSON can write.
    plugin.write(
        r#"{"type":"send_message","request_id":"half","chat_id":"bob","content":"x\ud83d"}"#,
    );
    assert_eq!(plugin.answer("half")["type"], "command_ok");
    assert_eq!(bob.hears_from("ada", 1)[0].said().unwrap().2, "x?");
}

#[test]
fn what_irc_has_not_is_refused_and_what_is_no_command_passed_over() {
    let network = Network::start();
    let bob = Person::enter(&network, "bob", "#room");
    let mut plugin = Plugin::enter(&network, &bob);
    let edit =
        json!({"type": "edit_message", "chat_id": "#room", "message_id": "1", "content": "x"});
    let media = json!({"type": "send_media", "chat_id": "#room", "media": {"source": "url", "url": "https://example.org"}});
    for command in [edit, media, json!({"type": "who_knows"})] {
        assert_eq!(plugin.ask(command)["code"], "not_implemented");
    }
    for line in [
        "not JSON",
        "[]",
        "7",
        "{}",
        "",
        r#"{"type":"send_typing","chat_id":"bob","duration":5}"#,
    ] {
        plugin.write(line);
    }
    let pong = plugin.ask(json!({"type": "ping"}));
    assert_eq!(
        (&pong["type"], &pong["connected"]),
        (&json!("pong"), &json!(true))
    );
    assert!(pong["uptime_seconds"].is_u64());
    // A channel that it is not in, or no longer, takes nothing.
    assert_eq!(
        plugin.try_send("#elsewhere", "hello").as_deref(),
        Some("platform_error")
    );
    let mut bob = bob;
    bob.types("KICK #room ada :enough");
    let kicked = json!({"type": "chat_state", "chat_id": "#room", "can_write": false, "why": "kicked: enough"});
    assert_eq!(plugin.event("chat_state"), kicked);
    assert_eq!(
        plugin.try_send("#room", "hello").as_deref(),
        Some("platform_error")
    );
}

#[test]
fn what_is_asked_for_again_while_it_is_under_way_is_said_once() {
    let network = Network::start();
    let bob = Person::enter(&network, "bob", "#room");
    let port = network.port();
    // Slow enough that the second comes before the end of the first.
    let more = ["--channel", "#room", "--line-seconds", "0.3"];
    let mut plugin = Plugin::start(&arguments(&port, &more), &[]);
    plugin.greets(&bob);
    let text = (1..=7)
        .map(|n| n.to_string())
        .collect::<Vec<_>>()
        .join("\n");
    for id in ["first", "again"] {
        plugin.tell(
            &json!({"type": "send_message", "request_id": id, "chat_id": "#room", "content": text}),
        );
    }
    plugin.tell(&json!({"type": "send_message", "request_id": "next", "chat_id": "#room", "content": "end"}));
    let said = bob.hears_from("ada", 8);
    let said: Vec<&str> = said.iter().map(|line| line.said().unwrap().2).collect();
    assert_eq!(said, ["1", "2", "3", "4", "5", "6", "7", "end"]);
    let mut answers: Vec<Value> = (0..3)
        .map(|_| plugin.event("command_ok")["request_id"].take())
        .collect();
    answers.sort_by_key(Value::to_string);
    assert_eq!(json!(answers), json!(["again", "first", "next"]));
}

// --- the connection ---

#[test]
fn a_server_that_goes_away_is_come_back_to() {
    let network = Network::start();
    let bob = Person::enter(&network, "bob", "#room");
    let mut plugin = Plugin::enter(&network, &bob);
    network.stop();
    let error = plugin.event("error");
    assert_eq!(
        (&error["code"], &error["fatal"]),
        (&json!("not_connected"), &json!(false))
    );
    assert_eq!(plugin.ask(json!({"type": "ping"}))["connected"], false);
    for chat_id in ["#room", "bob"] {
        assert_eq!(
            plugin.try_send(chat_id, "hello").as_deref(),
            Some("not_connected")
        );
    }
    // Again and again.
    plugin.event("error");
    network.start_again();
    let mut bob = Person::enter(&network, "bob", "#room");
    plugin.greets(&bob);
    bob.says("#room", "ada: welcome back");
    assert_eq!(text_of(&mut plugin), "welcome back");
}

#[test]
fn a_nick_that_is_taken_is_replaced_by_one_that_is_answered_to() {
    let network = Network::start();
    let mut other = Person::enter(&network, "ada", "#room");
    let port = network.port();
    let mut plugin = Plugin::start(&arguments(&port, &["--channel", "#room"]), &[]);
    plugin.greets(&other);
    other.says("#room", "ada_: hello");
    let event = plugin.event("message_received");
    assert_eq!(
        (&event["content"]["text"], &event["mentions_bot"]),
        (&json!("hello"), &json!(true))
    );
    // Nobody else is confused with it.
    other.says("#room", "ada: hello");
    assert_eq!(plugin.event("message_received")["mentions_bot"], false);
}

#[test]
fn it_leaves_in_words_when_it_is_told_to_or_nobody_is_left_to_tell_it() {
    let network = Network::start();
    let bob = Person::enter(&network, "bob", "#room");
    for is_told in [true, false] {
        let mut plugin = Plugin::enter(&network, &bob);
        // What is under way is not cut off.
        plugin.tell(&json!({"type": "send_message", "request_id": "last", "chat_id": "#room", "content": "a\nb\nc"}));
        if is_told {
            plugin.tell(&json!({"type": "shutdown"}));
        } else {
            plugin.close_input();
        }
        let said = bob.hears_from("ada", 3);
        assert_eq!(said[2].said().unwrap().2, "c");
        bob.hears("QUIT :");
        let (status, printed) = plugin.end();
        assert!(status.success(), "{printed}");
        assert!(
            printed.contains("\"request_id\": \"last\", \"message_id\""),
            "{printed}"
        );
        assert!(printed.contains("\"type\": \"shutdown\""), "{printed}");
    }
}

#[test]
fn over_tls_only_a_server_with_the_right_certificate_is_talked_to() {
    let network = Network::with_tls();
    let bob = Person::enter(&network, "bob", "#room");
    let (port, certificate) = (network.tls_port(), network.certificate());
    let mut doubtful = Plugin::start(&arguments(&port, &["--tls"]), &[]);
    let error = doubtful.event("error");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("certificate verify failed"),
        "{error}"
    );
    let more = ["--tls", "--ca-file", &certificate, "--channel", "#room"];
    let mut plugin = Plugin::start(&arguments(&port, &more), &[]);
    plugin.greets(&bob);
    assert_eq!(plugin.try_send("bob", "in private"), None);
    assert_eq!(bob.hears_from("ada", 1)[0].said().unwrap().2, "in private");
}

// --- who is who ---

#[test]
fn a_private_answer_goes_to_nobody_else_who_has_the_nick_by_now() {
    let network = Network::start();
    let watcher = Person::enter(&network, "bob", "#room");
    let mut plugin = Plugin::enter(&network, &watcher);
    let eve = Person::enter(&network, "eve", "#other");
    assert_eq!(plugin.try_send(&stranger("eve"), "for Eve"), None);
    eve.hears("for Eve");
    eve.leaves();
    assert_eq!(
        plugin.try_send(&stranger("eve"), "for Eve").as_deref(),
        Some("platform_error")
    );
    let other = Person::enter_as(&network, "eve", "mallory", "#other");
    assert_eq!(
        plugin.try_send(&stranger("eve"), "for Eve").as_deref(),
        Some("platform_error")
    );
    other.leaves();
    let eve = Person::enter(&network, "eve", "#other");
    assert_eq!(plugin.try_send(&stranger("eve"), "for Eve again"), None);
    eve.hears("for Eve again");
    // The nick alone is whoever has it.
    assert_eq!(plugin.try_send("eve", "for anybody"), None);
    assert_eq!(
        plugin.try_send("nobody", "for anybody").as_deref(),
        Some("platform_error")
    );
}

#[test]
fn who_is_not_logged_in_decides_nothing() {
    let network = Network::start();
    let mut eve = Person::enter(&network, "eve", "#room");
    let mut plugin = Plugin::enter(&network, &eve);
    for (target, words) in [
        ("ada", "/approve"),
        ("ada", " !deny"),
        ("#room", "ada: /APPROVE 2"),
        ("#room", "/deny"),
        ("#room", "ada: \x02/approve"),
        ("ada", "/approve@ada"),
    ] {
        eve.says(target, words);
        let refusal = eve.hears_from("ada", 1).remove(0);
        let (_, place, text) = refusal.said().unwrap();
        assert_eq!(place, if target == "ada" { "eve" } else { target });
        assert!(text.contains("logged in"), "{text}");
    }
    // None of it was passed on.
    eve.says("ada", "/approved?");
    assert_eq!(text_of(&mut plugin), "/approved?");
}

#[test]
fn who_is_logged_in_is_known_by_the_account_and_whoever_takes_the_nick_is_not() {
    let network = Network::start();
    let mut eve = Person::enter(&network, "eve", "#room");
    let mut plugin = Plugin::enter(&network, &eve);
    let mut services = Services::link(&network);
    // Whoever was asked about is believed for a while, but not where it counts.
    eve.says("ada", "hello");
    assert_eq!(
        plugin.event("message_received")["sender"]["id"],
        stranger("eve")
    );
    services.log_in("eve", "Eve-Account");
    eve.says("ada", "/approve");
    let event = plugin.event("message_received");
    let routing = json!({
        "channel": "irc", "chat_type": "dm", "chat_id": "eve!account:eve-account",
        "sender_id": "account:eve-account", "nick": "eve", "account": "eve-account",
    });
    assert_eq!(event["routing"], routing);
    assert_eq!(event["sender"]["id"], "account:eve-account");
    assert_eq!(event["chat_id"], "eve!account:eve-account");
    assert_eq!(event["metadata"], json!({"verified": true}));
    assert_eq!(event["content"]["text"], "/approve");
    assert_eq!(plugin.try_send("eve!account:eve-account", "for Eve"), None);
    eve.hears("for Eve");
    eve.leaves();
    // As like her as can be.
    let mut mallory = Person::enter(&network, "eve", "#room");
    mallory.says("ada", "/approve");
    mallory.hears("logged in");
    assert_eq!(
        plugin
            .try_send("eve!account:eve-account", "for Eve")
            .as_deref(),
        Some("platform_error")
    );
    mallory.says("ada", "hello");
    let event = plugin.event("message_received");
    assert_eq!(event["sender"]["id"], stranger("eve"));
    assert_eq!(event["metadata"], json!({"verified": false}));
}

#[test]
fn a_server_that_names_accounts_is_believed_and_logged_in_to_without_a_word_of_the_password() {
    let server = Scripted::start();
    let port = server.port();
    let variables = [
        ("IRC_PASSWORD", "hunter2-secret"),
        ("IRC_SERVER_PASSWORD", "door-secret"),
    ];
    let more = ["--account", "ada-bot", "--channel", "#room"];
    let mut plugin = Plugin::start(&arguments(&port, &more), &variables);
    let mut guest = server.guest();
    guest.is_told(":s CAP * LS * :multi-prefix account-tag");
    guest.is_told(":s CAP * LS :message-tags server-time sasl=PLAIN,EXTERNAL");
    assert_eq!(
        guest.expects("CAP REQ"),
        "CAP REQ :account-tag message-tags sasl server-time"
    );
    guest.is_told(":s CAP * ACK :account-tag message-tags sasl server-time");
    assert_eq!(guest.expects("AUTHENTICATE"), "AUTHENTICATE PLAIN");
    guest.is_told("AUTHENTICATE +");
    // NUL ada-bot NUL hunter2-secret
    assert_eq!(
        guest.expects("AUTHENTICATE"),
        "AUTHENTICATE AGFkYS1ib3QAaHVudGVyMi1zZWNyZXQ="
    );
    guest.is_told(":s 903 ada :logged in");
    guest.expects("CAP END");
    guest.is_told(":s 001 ada :Welcome");
    guest.expects("JOIN #room");
    guest.is_told(":ada!~ada@host JOIN #room");
    guest.is_told("@account=Eve;msgid=m\\:1;time=2026-01-02T03:04:05.678Z :eve!~e@h PRIVMSG #room :ada: /approve");
    let event = plugin.event("message_received");
    assert_eq!(event["sender"]["id"], "account:eve");
    assert_eq!(event["message_id"], "m;1");
    assert_eq!(event["timestamp"], "2026-01-02T03:04:05.678Z");
    // Nothing that clients make up counts.
    guest.is_told("@+account=eve :eve!~e@h PRIVMSG ada :/approve");
    assert!(guest.expects("PRIVMSG eve").contains("logged in"));
    guest.is_told(":account:eve!~e@h PRIVMSG ada :a name like an account");
    guest.is_told(":s PRIVMSG ada :from the server");
    guest.is_told(":eve!~e@h PRIVMSG $* :to everybody");
    guest.is_told("@account=eve :eve!~e@h PRIVMSG ada");
    guest.is_told("@account=eve;bot :eve!~e@h PRIVMSG ada :and this");
    let event = plugin.event("message_received");
    assert_eq!(event["content"]["text"], "and this");
    assert_eq!(event["sender"]["is_bot"], true);
    // The connection is lost before the server has confirmed what was said.
    plugin.tell(&json!({"type": "send_message", "request_id": "lost", "chat_id": "#room", "content": "lost"}));
    guest.expects("PRIVMSG #room :lost");
    guest.expects("PING ");
    drop(guest);
    assert_eq!(plugin.answer("lost")["code"], "not_connected");
    // A password that is not taken, and a server that wants none of us.
    let mut guest = server.guest();
    guest.is_told(":s CAP * LS :sasl");
    guest.expects("CAP REQ");
    guest.is_told(":s CAP * ACK :sasl");
    guest.expects("AUTHENTICATE");
    guest.is_told(":s 904 ada :SASL authentication failed");
    loop {
        let error = plugin.event("error");
        if error["code"] == "unauthorized" {
            assert_eq!(error["fatal"], false);
            break;
        }
    }
    plugin.tell(&json!({"type": "shutdown"}));
    let (status, printed) = plugin.end();
    assert!(status.success());
    for secret in ["hunter2", "door-secret", "AGFkYS1ib3Q"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn who_took_the_nick_meanwhile_lends_nobody_an_account() {
    let server = Scripted::start();
    let mut plugin = Plugin::start(&arguments(&server.port(), &[]), &[]);
    let mut guest = server.guest();
    guest.is_told(":s 001 ada :Welcome");
    for (host, sender_id) in [("other", "eve!~e@h"), ("h", "account:eve")] {
        guest.is_told(":eve!~e@h PRIVMSG ada :/approve");
        guest.expects("WHOIS eve");
        guest.is_told(&format!(":s 311 ada eve ~e {host} * :Eve"));
        guest.is_told(":s 330 ada eve Eve :is logged in as");
        guest.is_told(":s 318 ada eve :End of WHOIS");
        if sender_id.starts_with("account:") {
            let event = plugin.event("message_received");
            assert_eq!(event["sender"]["id"], sender_id);
        } else {
            assert!(guest.expects("PRIVMSG eve").contains("logged in"));
        }
    }
}

#[test]
fn a_password_goes_to_nickserv_only_where_that_is_said() {
    for nickserv in [None, Some("NickServ@services.example.net")] {
        let server = Scripted::start();
        let port = server.port();
        let more: Vec<&str> = nickserv.map_or_else(Vec::new, |name| vec!["--nickserv", name]);
        let more = [&["--channel", "#room"], &*more].concat();
        let mut plugin = Plugin::start(&arguments(&port, &more), &[("IRC_PASSWORD", "hunter2")]);
        let mut guest = server.guest();
        guest.is_told(":s 421 * CAP :Unknown command");
        guest.is_told(":s 001 ada :Welcome");
        if let Some(name) = nickserv {
            assert_eq!(
                guest.expects("PRIVMSG"),
                format!("PRIVMSG {name} :IDENTIFY hunter2")
            );
        } else {
            assert_eq!(plugin.event("error")["code"], "unauthorized");
            guest.expects("JOIN");
        }
    }
}

#[test]
fn what_cannot_work_is_said_at_the_start_and_a_password_never_goes_in_the_clear() {
    for (nick, more, said) in [
        ("ada", &["--server", "irc.example.net"][..], "TLS"),
        (
            "ada",
            &["--server", "127.0.0.1", "--channel", "room"],
            "'room'",
        ),
        ("#ada", &["--server", "127.0.0.1"], "'#ada'"),
        ("a da", &["--server", "127.0.0.1"], "'a da'"),
        (
            "ada",
            &["--server", "127.0.0.1", "--channel", "#a,#b"],
            "'#a,#b'",
        ),
    ] {
        let output = Command::new("python3")
            .args([plugin::path(), "--nick", nick])
            .args(more)
            .env("IRC_PASSWORD", "hunter2")
            .output_in_time()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(said) && !told.contains("hunter2"), "{told}");
    }
}
