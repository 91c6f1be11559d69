use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::event::{AssistantResponse, Event, Record, ToolOutput};
use crate::domain::ids::CallId;
use crate::domain::story::reply;

fn redactor(secrets: &[(&str, &str)]) -> Arc<Redactor> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Arc::new(Redactor::new(secrets.iter().map(owned)))
}

/// What a stream makes of `pieces`.
fn streamed(redactor: &Arc<Redactor>, pieces: &[&str]) -> String {
    let mut stream = Stream::new(Arc::clone(redactor));
    let mut out = String::new();
    for piece in pieces {
        stream.push(piece, &mut out);
    }
    stream.finish(&mut out);
    out
}

#[test]
fn every_secret_is_covered_wherever_it_stands() {
    let redactor = redactor(&[
        ("B_KEY", "abcdefgh"),
        ("A_KEY", "abcdefgh"),
        ("LONG_KEY", "abcdefgh-and-more"),
        ("TAIL_KEY", "efghijklmnop"),
        ("OUTER_KEY", "0123456789abcdef"),
        ("INNER_KEY", "3456789a"),
        ("FRONT_KEY", "01234567"),
        ("SHORT_KEY", "1234567"),
        ("SPACE_KEY", "  spaced out \n"),
        ("UMLAUT_PASSWORD", "Schlüssel"),
    ]);
    for (text, expected) in [
        ("", ""),
        ("nothing here, abcdefg", "nothing here, abcdefg"),
        ("1234567", "1234567"),
        ("abcdefgh", "[redacted:A_KEY]"),
        ("xabcdefghx", "x[redacted:A_KEY]x"),
        ("abcdefgabcdefgh", "abcdefg[redacted:A_KEY]"),
        ("abcdefghabcdefgh", "[redacted:A_KEY][redacted:A_KEY]"),
        ("abcdefgh-and-more!", "[redacted:LONG_KEY]!"),
        ("abcdefgh-and-mor", "[redacted:A_KEY]-and-mor"),
        // Two that overlap: no part of either is left.
        ("<abcdefghijklmnop>", "<[redacted:TAIL_KEY]>"),
        // One within another, and one more that begins within both and ends later.
        ("<0123456789abcdef>", "<[redacted:OUTER_KEY]>"),
        ("<0123456789abcdefghijklmnop>", "<[redacted:OUTER_KEY]>"),
        ("<0123456789abcde>", "<[redacted:FRONT_KEY]bcde>"),
        ("spaced out", "[redacted:SPACE_KEY]"),
        ("der Schlüssel!", "der [redacted:UMLAUT_PASSWORD]!"),
    ] {
        assert_eq!(redactor.redact(text), expected, "{text:?}");
        assert_eq!(redactor.finds_any(text), text != expected, "{text:?}");
    }
}

#[test]
fn a_secret_is_found_inside_a_json_text_too() {
    let key = "-----BEGIN-----\nab\"cd\\ef\n-----END-----\n";
    let redactor = redactor(&[("PEM_KEY", key)]);
    let arguments = json!({"command": format!("echo '{}'", key.trim())}).to_string();
    assert_eq!(
        redactor.redact(&arguments),
        r#"{"command":"echo '[redacted:PEM_KEY]'"}"#
    );
    assert_eq!(redactor.redact(key), "[redacted:PEM_KEY]\n");
}

#[test]
fn a_clean_text_is_not_copied() {
    let redactor = redactor(&[("A_KEY", "abcdefgh")]);
    assert!(matches!(redactor.redact("abcdefg"), Cow::Borrowed(_)));
    let none = Redactor::default();
    assert!(matches!(none.redact("abcdefgh"), Cow::Borrowed(_)));
}

#[test]
fn debug_shows_names_and_no_values() {
    let shown = format!("{:?}", redactor(&[("A_KEY", "abcdefgh")]));
    assert_eq!(shown, r#"{"[redacted:A_KEY]"}"#);
}

#[test]
fn only_what_could_begin_a_secret_is_held_back() {
    let redactor = redactor(&[("A_KEY", "sk-abcdefgh")]);
    let mut stream = Stream::new(redactor);
    let mut shown = Vec::new();
    let pieces = [
        "It i",
        "s",
        " sk",
        "-",
        "abc",
        " and sk-abcdef",
        "gh.",
        "sk-a",
    ];
    for piece in pieces {
        let mut out = String::new();
        stream.push(piece, &mut out);
        shown.push(out);
    }
    let expected = [
        "It i",
        "",
        "s ",
        "",
        "",
        "sk-abc and ",
        "[redacted:A_KEY].",
        "",
    ];
    assert_eq!(shown, expected);
    let mut end = String::new();
    stream.finish(&mut end);
    assert_eq!(end, "sk-a");
}

#[test]
fn what_was_held_back_can_be_forgotten_but_a_whole_secret_stays_covered() {
    let redactor = redactor(&[("A_KEY", "abcdefgh"), ("B_KEY", "ghijklmnop")]);
    for (text, expected) in [
        ("x abcdefg", "x "),
        ("x abcdefghij", "x [redacted:A_KEY]"),
        ("x abcdefgh ", "x [redacted:A_KEY] "),
    ] {
        let mut stream = Stream::new(Arc::clone(&redactor));
        let mut out = String::new();
        stream.push(text, &mut out);
        stream.break_off(&mut out);
        stream.finish(&mut out);
        assert_eq!(out, expected, "{text:?}");
    }
}

#[test]
fn no_text_of_an_event_keeps_a_secret() {
    const VALUE: &str = "sk-abcdefgh";
    let redactor = redactor(&[("A_KEY", VALUE)]);
    let ids = r#""turn_id":"turn_01J0000000000000000000000A","message_id":"msg_01J0000000000000000000000A""#;
    for event in [
        r#""type":"user_message","message_id":"msg_01J0000000000000000000000A","content":"a S b","sender_id":"S","sender_name":"S","attachments":[{"file":"S","mime":"S","bytes":1,"sha256":"x","name":"S","caption":"S"}]"#.to_owned(),
        format!(r#""type":"assistant_response",{ids},"agent":"a","model":"S","input_seq":1,"content":"","finish_reason":"tool_calls","tool_calls":[{{"call_id":"c","tool_name":"S","arguments":"{{\"a\":\"S\"}}"}}],"provider_data":{{"deep":["S"]}}"#),
        r#""type":"tool_started","call_id":"c","tool_name":"S""#.to_owned(),
        r#""type":"tool_result","call_id":"c","result":{"success":true,"content":"S"},"attachments":[{"file":"S","mime":"S","bytes":1,"sha256":"x","name":"S","caption":"S"}]"#.to_owned(),
        r#""type":"approval_required","call_id":"c","command":"S","kind":"policy","requester_id":"S""#.to_owned(),
        r#""type":"approval_decision","call_id":"c","decision":"deny","by":"S""#.to_owned(),
        r#""type":"silent_message","content":"S","sender_id":"S","sender_name":"S""#.to_owned(),
        r#""type":"session_changed","title":"S","model":"S""#.to_owned(),
        r#""type":"turn_ended","turn_id":"turn_01J0000000000000000000000A","outcome":"failed","error":{"code":"x","message":"S"}"#.to_owned(),
        r#""type":"message_dropped","message_id":"msg_01J0000000000000000000000A","reason":"S""#.to_owned(),
        r#""type":"tools_skipped","call_ids":["c"],"reason":"S""#.to_owned(),
        r#""type":"error","code":"x","message":"S""#.to_owned(),
    ] {
        let line = format!(r#"{{"seq":1,"timestamp":"2026-01-01T00:00:00Z",{event}}}"#);
        let line = line.replace(r#""S""#, &format!("{VALUE:?}")).replace(r#"\"S\""#, &format!("\\\"{VALUE}\\\"")).replace(" S ", &format!(" {VALUE} "));
        let mut event = Record::parse(line.as_bytes()).unwrap().event;
        let text = |event: &Event| serde_json::to_string(event).unwrap();
        assert!(text(&event).contains(VALUE), "{line}");
        redactor.redact_event(&mut event);
        assert!(!text(&event).contains(VALUE), "{event:?}");
    }
}

#[test]
fn what_a_provider_adds_is_left_out_whatever_escapes_hide_a_secret_in_it() {
    let secret = "sk-\"quoted\"\\secret\n";
    let redactor = redactor(&[("A_KEY", secret)]);
    let kept = json!({"reasoning_content": "nothing of it"});
    for (data, expected) in [
        (
            json!({"reasoning_content": format!("it is {secret}")}),
            None,
        ),
        (json!({"extra_content": [null, {secret: 1}]}), None),
        (kept.clone(), Some(kept)),
    ] {
        let mut event = Event::AssistantResponse(Arc::new(AssistantResponse {
            provider_data: Some(data),
            ..reply(1, 1, "yes")
        }));
        redactor.redact_event(&mut event);
        let Event::AssistantResponse(left) = event else {
            panic!("{event:?}");
        };
        assert_eq!(left.provider_data, expected);
    }
}

#[test]
fn what_was_appended_to_a_result_keeps_its_place() {
    let redactor = redactor(&[("A_KEY", "sk-abcdefgh")]);
    let appended = "\n\nmind sk-abcdefgh";
    let mut event = Event::ToolResult {
        call_id: CallId::parse("c").unwrap(),
        result: ToolOutput {
            success: true,
            content: format!("is sk-abcdefgh{appended}"),
        },
        duration_ms: None,
        appended_bytes: Some(appended.len()),
        attachments: Vec::new(),
    };
    redactor.redact_event(&mut event);
    let Event::ToolResult {
        result,
        appended_bytes,
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    let parts = result.parts(appended_bytes);
    assert_eq!(parts, ("is [redacted:A_KEY]", "\n\nmind [redacted:A_KEY]"));
}

#[test]
fn an_event_without_secrets_stays_as_it_is() {
    let redactor = redactor(&[("A_KEY", "sk-abcdefgh")]);
    let event = Event::ToolResult {
        call_id: CallId::parse("c").unwrap(),
        result: ToolOutput {
            success: true,
            content: "sk-abcdefg".to_owned(),
        },
        duration_ms: None,
        appended_bytes: None,
        attachments: Vec::new(),
    };
    let mut looked_through = event.clone();
    redactor.redact_event(&mut looked_through);
    assert_eq!(looked_through, event);
}

#[test]
fn arguments_are_covered_as_a_tool_reads_them_and_stay_json() {
    let redactor = redactor(&[
        ("PIN_TOKEN", "12345678"),
        ("A_KEY", "sk/abcdefgh"),
        ("ACCOUNT_KEY", r#"{"id":"abc"}"#),
    ]);
    for (arguments, expected) in [
        (r#"{"n":12345678}"#, r#"{"n":"[redacted:PIN_TOKEN]"}"#),
        (
            r#"{"n":[-123456789]}"#,
            r#"{"n":["-[redacted:PIN_TOKEN]9"]}"#,
        ),
        (r#"{"k":"sk\\/abcdefgh"}"#, r#"{"k":"sk\\/abcdefgh"}"#),
        (
            r#"{"k":"is sk\/abcdefgh"}"#,
            r#"{"k":"is [redacted:A_KEY]"}"#,
        ),
        (r#"{"k":"\u0073k/abcdefgh"}"#, r#"{"k":"[redacted:A_KEY]"}"#),
        (r#"{"sk\/abcdefgh":{}}"#, r#"{"[redacted:A_KEY]":{}}"#),
        ("sk/abcdefgh{", "[redacted:A_KEY]{"),
        (r#"{"z": 1, "a": 2}"#, r#"{"z": 1, "a": 2}"#),
        // What is left of this is no JSON, and nothing of the secret.
        (r#"{"x":{"id":"abc"}}"#, r#"{"x":[redacted:ACCOUNT_KEY]}"#),
    ] {
        let mut event = asked_with(arguments);
        redactor.redact_event(&mut event);
        assert_eq!(event, asked_with(expected), "{arguments}");
    }
}

fn asked_with(arguments: &str) -> Event {
    let mut reply = reply(1, 1, "").asking(&[1]);
    reply.tool_calls[0].arguments = arguments.to_owned();
    reply.event()
}

/// Every byte that stands in an occurrence of a secret, found the slow way.
fn covered(text: &str, secrets: &[String]) -> Vec<bool> {
    let mut covered = vec![false; text.len()];
    for secret in secrets {
        for at in 0..text.len() {
            if text.as_bytes()[at..].starts_with(secret.as_bytes()) {
                covered[at..at + secret.len()].fill(true);
            }
        }
    }
    covered
}

/// The bytes of `text` that stand in no secret.
fn outside(text: &str, secrets: &[String]) -> Vec<u8> {
    let bytes = text.bytes().zip(covered(text, secrets));
    let kept = bytes.filter(|(_, covered)| !covered);
    kept.map(|(byte, _)| byte).collect()
}

/// A text without the covers in it.
fn uncovered(mut text: String) -> Vec<u8> {
    while let Some(start) = text.find("[redacted:") {
        let end = start + text[start..].find(']').unwrap() + 1;
        text.replace_range(start..end, "");
    }
    text.into_bytes()
}

/// A redactor of secrets that are numbered.
fn numbered(secrets: &[String]) -> Arc<Redactor> {
    let named = secrets.iter().enumerate();
    let named = named.map(|(n, value)| (format!("N{n}_KEY"), value.clone()));
    Arc::new(Redactor::new(named))
}

proptest! {
    /// Secrets and texts of two letters, so that they meet and overlap all the time.
    #[test]
    fn any_split_gives_the_same_and_nothing_of_a_secret_is_left(
        secrets in proptest::collection::vec("[aé]{8,12}|[ab]{8,11}", 1..4),
        text in "([abé]{0,5}|a{9}|(ab){6}){0,12}",
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let redactor = numbered(&secrets);
        let whole = redactor.redact(&text).into_owned();

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        ends.retain(|end| text.is_char_boundary(*end));
        ends.push(text.len());
        ends.sort_unstable();
        let mut from = 0;
        let pieces: Vec<&str> = ends.iter().map(|end| &text[std::mem::replace(&mut from, *end)..*end]).collect();
        prop_assert_eq!(&streamed(&redactor, &pieces), &whole);

        // What is left outside of the covers is exactly what stands in no secret.
        prop_assert_eq!(uncovered(whole), outside(&text, &secrets));
    }

    /// Secrets that are parts of one another, and a text that is made of parts of them.
    #[test]
    fn no_byte_of_a_secret_is_left_where_secrets_contain_one_another(
        parts in proptest::collection::vec((0..16usize, 8..25usize), 1..6),
        spans in proptest::collection::vec((0..24usize, 0..25usize), 0..6),
    ) {
        const LETTERS: &str = "abcdefghijklmnopqrstuvwx";
        let part = |(from, len): &(usize, usize)| LETTERS[*from..LETTERS.len().min(from + len)].to_owned();
        let secrets: Vec<String> = parts.iter().map(part).collect();
        let text: String = spans.iter().map(part).collect();
        let redactor = numbered(&secrets);
        let kept = outside(&text, &secrets);
        prop_assert_eq!(uncovered(redactor.redact(&text).into_owned()), &kept[..]);
        let letters: Vec<&str> = text.split("").collect();
        prop_assert_eq!(uncovered(streamed(&redactor, &letters)), kept);
    }
}
