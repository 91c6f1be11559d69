//! The fake is as strict as it says.

#![allow(
    unused_imports,
    reason = "the figures have this file without its tests"
)]

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FakeTelegram, Standing, Trouble, text_at};

/// A client that no proxy of the environment stands before.
fn direct() -> ureq::Agent {
    let config = ureq::Agent::config_builder().proxy(None).build();
    config.new_agent()
}

/// Calls a method; `None` when no whole answer comes.
fn try_call(telegram: &FakeTelegram, method: &str, params: &Value) -> Option<(u16, Value)> {
    let url = format!("{}/bot{}/{method}", telegram.url(), telegram.token());
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(50)))
        .build()
        .new_agent();
    let answer = agent.post(&url).send_json(params).ok()?;
    let status = answer.status().as_u16();
    let body = answer.into_body().read_json().ok()?;
    Some((status, body))
}

fn call(telegram: &FakeTelegram, method: &str, params: &Value) -> Value {
    let (_, answer) = try_call(telegram, method, params).unwrap();
    answer
}

fn done(telegram: &FakeTelegram, method: &str, params: &Value) -> Value {
    let answer = call(telegram, method, params);
    assert_eq!(answer["ok"], true, "{answer}");
    answer["result"].clone()
}

/// In which words a call is refused.
fn refused(telegram: &FakeTelegram, method: &str, params: &Value) -> String {
    let (status, answer) = try_call(telegram, method, params).unwrap();
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(answer["error_code"], status, "{answer}");
    text_at(&answer, "description").to_owned()
}

fn ids(updates: &Value) -> Vec<i64> {
    let updates = updates.as_array().unwrap().iter();
    updates
        .map(|one| one["update_id"].as_i64().unwrap())
        .collect()
}

fn html(chat: i64, text: &str) -> Value {
    json!({"chat_id": chat, "text": text, "parse_mode": "HTML"})
}

#[test]
fn the_kit_repeats_an_update_until_it_is_confirmed_and_wakes_the_poll_that_waits() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    let first = telegram.says(&ann, "one").update;
    let poll = |offset: i64, timeout: u64| {
        let params = json!({"offset": offset, "timeout": timeout, "allowed_updates": ["message"]});
        ids(&done(&telegram, "getUpdates", &params))
    };
    assert_eq!(poll(0, 0), [first]);
    assert_eq!(poll(0, 0), [first]);
    assert_eq!(telegram.pending(), 1);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| poll(first + 1, 50));
        telegram.wait_for_calls("getUpdates", 3);
        telegram.wait_until_confirmed();
        // Of a kind that was not asked for.
        telegram.blocks(&ann);
        assert_eq!(telegram.pending(), 0);
        let second = telegram.says(&ann, "two").update;
        assert_eq!(waiting.join().unwrap(), [second]);
    });
    let took = telegram.now();
    assert!(took < Duration::from_secs(50), "it woke after {took:?}");
}

#[test]
fn the_kit_ends_the_older_of_two_polls_and_those_of_one_who_has_a_rival() {
    let telegram = FakeTelegram::start();
    let conflict = |answer: &Value| {
        assert_eq!(answer["error_code"], 409, "{answer}");
        text_at(answer, "description").starts_with("Conflict: terminated by other getUpdates")
    };
    thread::scope(|scope| {
        let older = scope.spawn(|| call(&telegram, "getUpdates", &json!({"timeout": 50})));
        telegram.wait_for_calls("getUpdates", 1);
        assert_eq!(
            call(&telegram, "getUpdates", &json!({}))["result"],
            json!([])
        );
        assert!(conflict(&older.join().unwrap()));
    });
    telegram.rival(true);
    for _ in 0..3 {
        assert!(conflict(&call(
            &telegram,
            "getUpdates",
            &json!({"timeout": 50})
        )));
    }
    telegram.rival(false);
    telegram.webhook("https://example.org/hook");
    let words = refused(&telegram, "getUpdates", &json!({}));
    assert!(words.contains("while webhook is active"), "{words}");
    done(&telegram, "deleteWebhook", &json!({}));
    telegram.revoke(true);
    assert_eq!(refused(&telegram, "getUpdates", &json!({})), "Unauthorized");
}

#[test]
fn the_kit_refuses_what_telegram_refuses_in_its_words() {
    let telegram = FakeTelegram::start();
    telegram.limited(false);
    telegram.allow_faults();
    let ann = telegram.person(42, "Ann");
    let group = telegram.supergroup("Team");
    let (forum, topics) = telegram.forum("Forum", &["Builds"]);
    let with = |mut params: Value, name: &str, value: Value| {
        params[name] = value;
        params
    };
    let keyboard = |data: &str| {
        let button = json!({"text": "Go", "callback_data": data});
        with(
            html(ann.id, "?"),
            "reply_markup",
            json!({"inline_keyboard": [[button]]}),
        )
    };
    let never = refused(&telegram, "sendMessage", &html(ann.id, "hi"));
    assert_eq!(
        never,
        "Forbidden: bot can't initiate conversation with a user"
    );
    telegram.says(&ann, "hi");
    let cases = [
        (html(1, "hi"), "chat not found"),
        (html(ann.id, " "), "message text is empty"),
        (html(ann.id, "<b> </b>"), "message text is empty"),
        (html(ann.id, &"x".repeat(4097)), "message is too long"),
        (
            html(ann.id, &"\u{1f600}".repeat(2049)),
            "message is too long",
        ),
        (
            html(ann.id, "a <x>"),
            "can't parse entities: Unsupported start tag \"x\" at byte offset 2",
        ),
        (
            with(html(group, "hi"), "message_thread_id", json!(1)),
            "message thread not found",
        ),
        (
            with(html(group, "hi"), "message_thread_id", json!(7)),
            "message thread not found",
        ),
        (
            with(html(forum, "hi"), "message_thread_id", json!(1)),
            "message thread not found",
        ),
        (
            with(html(forum, "hi"), "message_thread_id", json!(99)),
            "message thread not found",
        ),
        (
            with(
                html(ann.id, "hi"),
                "reply_parameters",
                json!({"message_id": 99}),
            ),
            "message to be replied not found",
        ),
        (keyboard(&"x".repeat(65)), "BUTTON_DATA_INVALID"),
        (keyboard(""), "BUTTON_DATA_INVALID"),
        (
            with(html(ann.id, "hi"), "parse_mode", json!("Markdowns")),
            "unsupported parse_mode",
        ),
    ];
    for (params, words) in cases {
        let told = refused(&telegram, "sendMessage", &params);
        assert_eq!(told, format!("Bad Request: {words}"), "{params}");
    }
    assert_eq!(telegram.texts_in(ann.id), [""; 0]);
    // What it takes.
    let edge = "\u{1f600}".repeat(2048);
    for params in [
        html(ann.id, &edge),
        html(ann.id, &format!("<b>{}</b>", "&lt;".repeat(4096))),
        with(html(forum, "hi"), "message_thread_id", json!(topics[0])),
        with(
            html(ann.id, "hi"),
            "reply_parameters",
            json!({"message_id": 99, "allow_sending_without_reply": true}),
        ),
        keyboard(&"x".repeat(64)),
    ] {
        done(&telegram, "sendMessage", &params);
    }
    assert_eq!(telegram.shown(forum).last().unwrap().topic, Some(topics[0]));
    // Edits.
    let asked = telegram.wait_for_buttons(ann.id);
    assert_eq!(asked.labels(), ["Go"]);
    let edit = |text: &str| with(html(ann.id, text), "message_id", json!(asked.id));
    let same = with(
        edit("?"),
        "reply_markup",
        asked.json["reply_markup"].clone(),
    );
    let words = refused(&telegram, "editMessageText", &same);
    assert!(
        words.starts_with("Bad Request: message is not modified: "),
        "{words}"
    );
    // An edit without buttons takes them away.
    done(&telegram, "editMessageText", &edit("?"));
    assert_eq!(telegram.said_in(ann.id).last().unwrap().labels(), [""; 0]);
    let theirs = with(edit("!"), "message_id", json!(1));
    assert_eq!(
        refused(&telegram, "editMessageText", &theirs),
        "Bad Request: message can't be edited"
    );
    let gone = with(edit("!"), "message_id", json!(99));
    assert_eq!(
        refused(&telegram, "editMessageText", &gone),
        "Bad Request: message to edit not found"
    );
}

#[test]
fn the_kit_refuses_to_write_where_the_bot_may_not() {
    let telegram = FakeTelegram::start();
    telegram.limited(false);
    let ann = telegram.person(42, "Ann");
    telegram.says(&ann, "hi");
    let group = telegram.group("Team");
    let team = html(group, "hi");
    let (to_ann, to_team) = (html(ann.id, "hi"), team.clone());
    let refused = |params: &Value| refused(&telegram, "sendMessage", params);
    telegram.blocks(&ann);
    assert_eq!(refused(&to_ann), "Forbidden: bot was blocked by the user");
    telegram.unblocks(&ann);
    done(&telegram, "sendMessage", &to_ann);
    telegram.deactivates(&ann);
    assert_eq!(refused(&to_ann), "Forbidden: user is deactivated");
    telegram.kicks_bot(group, &ann);
    assert_eq!(
        refused(&to_team),
        "Forbidden: bot was kicked from the group chat"
    );
    telegram.stand(group, Standing::Muted);
    assert_eq!(
        refused(&to_team),
        "Bad Request: not enough rights to send text messages to the chat"
    );
    telegram.adds_bot(group, &ann);
    let new = telegram.migrates(group);
    let answer = call(&telegram, "sendMessage", &team);
    assert_eq!(answer["parameters"], json!({"migrate_to_chat_id": new}));
    done(&telegram, "sendMessage", &html(new, "hi"));
    let updates = done(&telegram, "getUpdates", &json!({}));
    let updates = updates.as_array().unwrap();
    let statuses = updates
        .iter()
        .filter_map(|update| update["my_chat_member"]["new_chat_member"]["status"].as_str());
    assert_eq!(
        statuses.collect::<Vec<_>>(),
        ["kicked", "member", "kicked", "member"]
    );
    let last = &updates[updates.len() - 2..];
    assert_eq!(last[0]["message"]["migrate_to_chat_id"], new);
    assert_eq!(last[1]["message"]["migrate_from_chat_id"], group);
}

#[test]
fn the_kit_tells_who_is_too_fast_and_holds_it_against_who_does_not_wait() {
    let telegram = FakeTelegram::start();
    let group = telegram.supergroup("Team");
    let mut sent = 0;
    let answer = loop {
        let answer = call(&telegram, "sendMessage", &html(group, &format!("{sent}")));
        if answer["ok"] == false {
            break answer;
        }
        sent += 1;
        telegram.advance(Duration::from_secs(1));
    };
    assert_eq!(sent, 20);
    let seconds = answer["parameters"]["retry_after"].as_u64().unwrap();
    assert_eq!(
        answer["description"],
        format!("Too Many Requests: retry after {seconds}")
    );
    assert_eq!(telegram.faults(), [""; 0]);
    // Edits count, too, and one who comes too early is told so.
    let first = telegram.said_in(group)[0].id;
    let edit = json!({"chat_id": group, "message_id": first, "text": "new"});
    assert_eq!(call(&telegram, "editMessageText", &edit)["error_code"], 429);
    assert_eq!(telegram.faults().len(), 1);
    telegram.advance(Duration::from_secs(seconds));
    done(&telegram, "editMessageText", &edit);
    assert_eq!(telegram.floods(), 2);
    // By plan.
    telegram.trouble_in(group, "sendMessage", 1, Trouble::Flood(30));
    let answer = call(&telegram, "sendMessage", &html(group, "x"));
    assert_eq!(answer["parameters"]["retry_after"], 30);
    telegram.advance(Duration::from_secs(29));
    assert_eq!(
        call(&telegram, "sendMessage", &html(group, "x"))["ok"],
        false
    );
    telegram.advance(Duration::from_secs(31));
    done(&telegram, "sendMessage", &html(group, "x"));
    telegram.allow_faults();
}

#[test]
fn the_kit_fails_as_planned() {
    let telegram = FakeTelegram::start();
    telegram.limited(false);
    let ann = telegram.person(42, "Ann");
    telegram.says(&ann, "hi");
    let say = |text: &str| try_call(&telegram, "sendMessage", &html(ann.id, text));
    for (trouble, text) in [
        (Trouble::CutBefore, "cut before"),
        (Trouble::LostAnswer, "lost"),
        (Trouble::HalfAnswer, "half"),
        (Trouble::BadGateway, "502"),
        (Trouble::Garbage, "garbage"),
    ] {
        telegram.trouble("sendMessage", 1, trouble);
        assert_eq!(say(text), None, "{text}");
    }
    telegram.trouble(
        "sendMessage",
        1,
        Trouble::Refused(500, "Internal Server Error"),
    );
    assert_eq!(say("500").unwrap().0, 500);
    telegram.trouble("*", 1, Trouble::Slow(Duration::from_millis(1)));
    assert_eq!(say("slow").unwrap().0, 200);
    assert_eq!(telegram.texts_in(ann.id), ["lost", "half", "slow"]);
    assert_eq!(telegram.troubles_left(), 0);
    let took_effect = telegram.calls_of("sendMessage").into_iter();
    let took_effect = took_effect.filter(super::Call::took_effect);
    assert_eq!(took_effect.count(), 3);
    let statuses: Vec<_> = telegram.calls().iter().map(|call| call.status).collect();
    let expected = [None, None, None, Some(502), Some(200), Some(500), Some(200)];
    assert_eq!(statuses, expected);
}

#[test]
fn the_kit_takes_the_answer_to_a_press_for_fifteen_seconds() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    telegram.says(&ann, "hi");
    let button = json!({"text": "Go", "callback_data": "go"});
    let mut params = html(ann.id, "?");
    params["reply_markup"] = json!({"inline_keyboard": [[button]]});
    done(&telegram, "sendMessage", &params);
    let asked = telegram.wait_for_buttons(ann.id);
    let press = telegram.press(ann.id, asked.id, "Go", &ann);
    let answer = |press: &str| json!({"callback_query_id": press, "text": "done"});
    done(&telegram, "answerCallbackQuery", &answer(&press));
    assert_eq!(telegram.answer_to(&press).as_deref(), Some("done"));
    let press = telegram.press(ann.id, asked.id, "Go", &ann);
    telegram.advance(Duration::from_secs(16));
    let words = refused(&telegram, "answerCallbackQuery", &answer(&press));
    assert!(
        words.starts_with("Bad Request: query is too old"),
        "{words}"
    );
    let updates = done(&telegram, "getUpdates", &json!({"offset": -1}));
    assert_eq!(updates[0]["callback_query"]["data"], "go");
    assert_eq!(
        updates[0]["callback_query"]["message"]["message_id"],
        asked.id
    );
}

#[test]
fn the_kit_has_files_and_takes_them() {
    let telegram = FakeTelegram::start();
    let ann = telegram.person(42, "Ann");
    let draft = telegram.message(ann.id, &ann);
    draft
        .document("a.txt", "text/plain", b"hello")
        .caption("look")
        .send();
    let draft = telegram.message(ann.id, &ann);
    draft
        .document_of_size("b.iso", "application/octet-stream", b"", 21 << 20)
        .send();
    let updates = done(&telegram, "getUpdates", &json!({}));
    let file = |n: usize| json!({"file_id": updates[n]["message"]["document"]["file_id"]});
    let path = done(&telegram, "getFile", &file(0))["file_path"].clone();
    let url = format!(
        "{}/file/bot{}/{}",
        telegram.url(),
        telegram.token(),
        path.as_str().unwrap()
    );
    let got = direct()
        .get(&url)
        .call()
        .unwrap()
        .into_body()
        .read_to_string();
    assert_eq!(got.unwrap(), "hello");
    assert_eq!(
        refused(&telegram, "getFile", &file(1)),
        "Bad Request: file is too big"
    );
    // Those of the bot, in parts.
    let body = "--x\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n42\r\n\
                --x\r\nContent-Disposition: form-data; name=\"document\"; filename=\"c.txt\"\r\n\
                Content-Type: text/plain\r\n\r\n--\r\nhi\r\n--x--\r\n";
    let url = format!("{}/bot{}/sendDocument", telegram.url(), telegram.token());
    let kind = "multipart/form-data; boundary=x";
    direct()
        .post(&url)
        .header("Content-Type", kind)
        .send(body)
        .unwrap();
    let sent = telegram.said_in(42)[0].file.clone().unwrap();
    assert_eq!(
        (&*sent.name, &*sent.mime, &*sent.bytes),
        ("c.txt", "text/plain", &b"--\r\nhi"[..])
    );
    // An album is told apart by its group alone.
    telegram.album(ann.id, &ann, &[b"1", b"2"], "both");
    let updates = done(&telegram, "getUpdates", &json!({"offset": -2}));
    assert_eq!(
        updates[0]["message"]["media_group_id"],
        updates[1]["message"]["media_group_id"]
    );
    assert_eq!(updates[0]["message"]["caption"], "both");
    assert!(updates[1]["message"]["caption"].is_null());
}
