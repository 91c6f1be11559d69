use super::*;

const EVERYTHING: Capabilities = Capabilities {
    media: true,
    edit: true,
    delete: true,
    typing: true,
    reply: true,
    inline_keyboard: true,
};

fn key(place: u32) -> BubbleKey {
    BubbleKey {
        turn: Seq(1),
        place,
    }
}

fn text(place: u32, markdown: &str, is_final: bool) -> Bubble {
    Bubble {
        key: key(place),
        reply_to: Some("55".to_owned()),
        content: BubbleContent::Text {
            markdown: markdown.to_owned(),
            working: None,
        },
        is_final,
    }
}

fn question() -> Bubble {
    Bubble {
        content: BubbleContent::Question {
            markdown: "May it?".to_owned(),
            call_id: CallId::parse("c1").unwrap(),
            answers: vec![BubbleButton {
                text: "Deny".to_owned(),
                decision: Decision::Deny,
            }],
        },
        ..text(1, "", false)
    }
}

/// Messages of three bytes.
fn render(text: &str) -> Vec<RenderedPiece> {
    let piece = |bytes: &[u8]| RenderedPiece {
        content: str::from_utf8(bytes).unwrap().to_owned(),
        plain: None,
    };
    text.as_bytes().chunks(3).map(piece).collect()
}

fn whole(text: &str) -> Vec<RenderedPiece> {
    vec![RenderedPiece {
        content: text.to_owned(),
        plain: None,
    }]
}

/// What the chat has of the bubble of a place, piece by piece.
fn has(session: &mut LaneSession, place: u32, pieces: &[&str]) {
    let sent = session.sent_mut(key(place));
    for (number, piece) in pieces.iter().enumerate() {
        sent.parts.push(LanePart {
            message_id: Some(format!("m{place}{number}")),
            digest: Some(digest_of(piece)),
        });
    }
}

fn session() -> LaneSession {
    LaneSession::new(SessionId::mint(1, 1), Seq(1))
}

/// What is next, in a few words.
fn next(bubbles: &[Bubble], session: &LaneSession, can: Capabilities) -> String {
    let platform = LanePlatform {
        can,
        knows_threads: true,
        render: &render,
    };
    let Some(next) = next_deed(bubbles.iter(), session, &platform) else {
        return "nothing".to_owned();
    };
    let what = match next.deed {
        LaneDeed::Prepare { .. } => "prepare".to_owned(),
        LaneDeed::Send {
            piece,
            reply_to,
            buttons,
        } => {
            let buttons = buttons.map_or(0, |keyboard| keyboard.rows.concat().len());
            format!("send {} {reply_to:?} {buttons}", piece.content)
        }
        LaneDeed::SendFile(file) => format!("file {}", file.file),
        LaneDeed::Edit {
            message_id, piece, ..
        } => format!("edit {message_id} {}", piece.content),
        LaneDeed::Delete { message_id } => format!("delete {message_id}"),
        LaneDeed::SetAside { why } => format!("aside {why}"),
    };
    let urgency = if next.is_urgent { "now" } else { "later" };
    format!("{} {what}, {urgency}", next.key)
}

#[test]
fn what_is_not_there_is_sent_and_what_says_something_else_is_changed() {
    let edits_alone = Capabilities {
        delete: false,
        ..EVERYTHING
    };
    let nothing = Capabilities::default();
    for (bubble, there, can, expected) in [
        (
            text(1, "ab", false),
            &[][..],
            EVERYTHING,
            "1.1 send ab Some(\"55\") 0, now",
        ),
        (
            text(1, "ab", false),
            &["a"],
            EVERYTHING,
            "1.1 edit m10 ab, later",
        ),
        (
            text(1, "ab", true),
            &["a"],
            EVERYTHING,
            "1.1 edit m10 ab, now",
        ),
        (text(1, "ab", true), &["ab"], EVERYTHING, "nothing"),
        (
            text(1, "abcd", false),
            &["ab"],
            EVERYTHING,
            "1.1 edit m10 abc, now",
        ),
        (
            text(1, "abcd", false),
            &["abc"],
            EVERYTHING,
            "1.1 send d None 0, later",
        ),
        (
            text(1, "abcde", false),
            &["abc", "d"],
            EVERYTHING,
            "1.1 edit m11 de, later",
        ),
        (
            text(1, "ab", true),
            &["ab", "d"],
            EVERYTHING,
            "1.1 delete m11, now",
        ),
        (
            text(1, "ab", true),
            &["ab", "d"],
            edits_alone,
            "1.1 edit m11 …, now",
        ),
        (text(1, "", false), &["⚙"], EVERYTHING, "nothing"),
        (text(1, "", true), &["⚙"], EVERYTHING, "1.1 delete m10, now"),
        (text(1, "", true), &[], EVERYTHING, "nothing"),
        (text(1, "ab", false), &[], nothing, "nothing"),
        (
            text(1, "ab", true),
            &[],
            nothing,
            "1.1 send ab Some(\"55\") 0, now",
        ),
        (text(1, "ab", true), &["a"], nothing, "nothing"),
        (
            question(),
            &[],
            EVERYTHING,
            "1.1 send May Some(\"55\") 0, now",
        ),
        (question(), &["May", " it"], EVERYTHING, "1.1 prepare, now"),
        (question(), &[], nothing, "1.1 send May Some(\"55\") 0, now"),
    ] {
        let mut session = session();
        has(&mut session, 1, there);
        assert_eq!(
            next(std::slice::from_ref(&bubble), &session, can),
            expected,
            "{bubble:?}"
        );
    }
}

#[test]
fn what_is_whole_overtakes_words_that_grow_once_those_are_there() {
    let mut session = session();
    let bubbles = [text(1, "ab", false), text(2, "No.", true)];
    assert!(next(&bubbles, &session, EVERYTHING).starts_with("1.1 send ab"));
    has(&mut session, 1, &["a"]);
    let expected = "1.2 send No. None 0, now";
    assert_eq!(next(&bubbles, &session, EVERYTHING), expected);
    has(&mut session, 2, &["No."]);
    assert_eq!(
        next(&bubbles, &session, EVERYTHING),
        "1.1 edit m10 ab, later"
    );
}

#[test]
fn buttons_stand_below_the_last_message_with_the_handles_that_were_written_down() {
    let mut session = session();
    let sent = session.sent_mut(key(1));
    sent.handles
        .insert("abcdefghijkl".to_owned(), Decision::Deny);
    sent.call_id = Some(CallId::parse("c1").unwrap());
    let expected = "1.1 send May Some(\"55\") 0, now";
    assert_eq!(next(&[question()], &session, EVERYTHING), expected);
    has(&mut session, 1, &["May", " it"]);
    let expected = "1.1 send ? None 1, now";
    assert_eq!(next(&[question()], &session, EVERYTHING), expected);
}

#[test]
fn what_is_refused_is_set_aside_when_its_words_are_whole_and_then_is_done() {
    let mut session = session();
    session.sent_mut(key(1)).refused = Some("gone".to_owned());
    let growing = text(1, "ab", false);
    assert_eq!(next(&[growing], &session, EVERYTHING), "nothing");
    let bubble = text(1, "ab", true);
    let bubbles = [bubble.clone()];
    assert_eq!(next(&bubbles, &session, EVERYTHING), "1.1 aside gone, now");
    session.sent_mut(key(1)).is_aside = true;
    assert_eq!(next(&bubbles, &session, EVERYTHING), "nothing");
    let platform = LanePlatform {
        can: EVERYTHING,
        knows_threads: false,
        render: &whole,
    };
    assert!(is_done(&bubble, &session, &platform));
}

#[test]
fn a_bubble_is_done_when_its_words_are_whole_there_and_no_line_stands_below_them() {
    let platform = LanePlatform {
        can: EVERYTHING,
        knows_threads: false,
        render: &whole,
    };
    let mut session = session();
    has(&mut session, 1, &["ab"]);
    assert!(is_done(&text(1, "ab", true), &session, &platform));
    assert!(!is_done(&text(1, "ab", false), &session, &platform));
    assert!(!is_done(&text(1, "abc", true), &session, &platform));
    let mut works = text(1, "ab", true);
    works.content = BubbleContent::Text {
        markdown: "ab".to_owned(),
        working: Some("⚙".to_owned()),
    };
    assert!(!is_done(&works, &session, &platform));
}

#[test]
fn a_lane_survives_a_round_trip_and_names_no_more_than_there_is() {
    let mut lane = LaneDocument::new(&Chat::new("tele", "7"));
    lane.sessions.push(session());
    let text = serde_json::to_string(&lane).unwrap();
    let id = SessionId::mint(1, 1);
    assert_eq!(
        text,
        format!(r#"{{"chat_id":"7","sessions":[{{"session":"{id}","seen":1}}]}}"#)
    );
    has(&mut lane.sessions[0], 2, &["a"]);
    let text = serde_json::to_string(&lane).unwrap();
    assert!(text.contains(r#""bubbles":[{"key":"1.2","parts":[{"message_id":"m20","digest":""#));
    assert_eq!(serde_json::from_str::<LaneDocument>(&text).unwrap(), lane);
}
