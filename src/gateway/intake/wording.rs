//! What was said on a platform, as the model is to read it. Pure.

use crate::base::plural::counted;
use crate::domain::plain;
use crate::gateway::protocol::{ChatSender, MessageContent, MessageReceived};

/// So much of what a message answers is told.
const QUOTED_CHARS: usize = 500;
/// A longer name is cut.
const NAME_CHARS: usize = 64;

/// Said where there is nothing in a message that could be read.
pub(super) const UNREADABLE: &str = "I cannot read that: I understand text, photos and documents.";
/// Said once to who may not talk yet, with the code.
pub(super) fn pairing(code: &str) -> String {
    format!(
        "I do not know you yet. Your code is `{code}`.\n\n\
         The owner of this server admits you with `duragent gateway approve {code}`. Until then I keep \
         nothing of what you write."
    )
}
/// Said to who was admitted.
pub(super) const ADMITTED: &str = "You are admitted. Write what you want, and I answer.";
/// Said to who comes and says nothing.
pub(super) const GREETING: &str = "Hello! Write what you want, and I answer. `/help` shows more.";

/// The name by which the model knows somebody: a few words in one line, in which nothing is hidden and
/// nothing looks like the end of a name.
pub(super) fn name_of(sender: &ChatSender) -> String {
    let names = [&sender.display_name, &sender.username];
    let mut names = names.into_iter().flatten().map(|name| cleaned(name));
    let found = names.find(|name| !name.is_empty());
    found.unwrap_or_else(|| match cleaned(&sender.id) {
        id if id.is_empty() => "somebody".to_owned(),
        id => id,
    })
}

/// The same where somebody else in the chat has that name.
pub(super) fn name_with_id(name: &str, sender: &ChatSender) -> String {
    format!("{name} [{}]", cleaned(&sender.id))
}

fn cleaned(name: &str) -> String {
    let is_mark = |c: char| matches!(c, ':' | '：' | '﹕' | '︓' | 'ː' | '꞉' | '∶' | '[' | ']');
    let plain = plain::in_one_line(&name.replace(is_mark, " "));
    let cut: String = plain.chars().take(NAME_CHARS).collect();
    cut.trim().to_owned()
}

/// Whether there is something in a message to answer, beside files of which nothing is known.
pub(super) fn has_words(message: &MessageReceived, words: &str) -> bool {
    !words.trim().is_empty() || link_in(&message.content).is_some()
}

/// Says that something could not be taken, where it was all that was sent.
pub(super) fn sorry(why: &str) -> String {
    format!("I cannot read that: {why}.")
}

/// The text of a message, with whose words it passes on or answers, and a word on what could not be
/// read: `notes` stand in a line each at its end. `words` are those of the message.
pub(super) fn text_of(message: &MessageReceived, words: &str, notes: &[String]) -> String {
    let forwarded = message.forwarded_from.as_deref().map(|name| {
        let name = cleaned(name);
        match name.as_str() {
            "" => "forwarded".to_owned(),
            name => format!("forwarded from {name}"),
        }
    });
    let quoted = message.quoted.as_ref().map(|quoted| {
        let text = excerpt(&quoted.text);
        match quoted.sender.as_deref().map(cleaned).as_deref() {
            None | Some("") => format!("in reply to: «{text}»"),
            Some(name) => format!("in reply to {name}: «{text}»"),
        }
    });
    let words = (!words.trim().is_empty()).then(|| words.to_owned());
    let notes = link_in(&message.content)
        .into_iter()
        .chain(notes.iter().cloned());
    let notes = notes.map(|note| format!("[{note}]"));
    let lines: Vec<String> = [forwarded, quoted, words]
        .into_iter()
        .flatten()
        .chain(notes)
        .collect();
    lines.join("\n")
}

/// What a message of an edited text says, when the one before was read already.
pub(super) fn edited(text: &str) -> String {
    format!("edited: {text}")
}

/// What is told of a file that is not there.
pub(super) fn missing_file(name: Option<&str>, why: &str) -> String {
    let name = name.map(plain::in_one_line).filter(|name| !name.is_empty());
    match name {
        Some(name) => format!("a file, {name}, is not here: {why}"),
        None => format!("a file is not here: {why}"),
    }
}

/// How long somebody has to wait, in words.
pub(super) fn in_a_while(seconds: u64) -> String {
    let unit = |count: u64, noun| counted(usize::try_from(count).unwrap_or(usize::MAX), noun);
    match seconds {
        0..120 => unit(seconds.max(1), "second"),
        120..7200 => unit(seconds.div_ceil(60), "minute"),
        _ => unit(seconds.div_ceil(3600), "hour"),
    }
}

/// Where a file is that a message is about, where its gateway brought none.
fn link_in(content: &MessageContent) -> Option<String> {
    match content {
        MessageContent::Media {
            media_type,
            url: Some(url),
            ..
        } => {
            let kind = cleaned(media_type);
            let kind = if kind.is_empty() { "file" } else { &kind };
            Some(format!("{kind}: {}", plain::in_one_line(url)))
        }
        MessageContent::Text { .. }
        | MessageContent::Media { .. }
        | MessageContent::Location { .. }
        | MessageContent::Contact { .. }
        | MessageContent::Unknown => None,
    }
}

fn excerpt(text: &str) -> String {
    let plain = plain::in_one_line(&text.replace(['«', '»'], "\""));
    match plain.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gateway::protocol::{ChatType, MessageRouting, QuotedMessage};

    fn message(content: MessageContent) -> MessageReceived {
        MessageReceived {
            message_id: "1".to_owned(),
            chat_id: "7".to_owned(),
            sender: sender(Some("Ann")),
            content,
            routing: MessageRouting {
                channel: "c".to_owned(),
                chat_type: ChatType::Group,
                chat_id: "7".to_owned(),
                sender_id: "42".to_owned(),
                more: [].into(),
            },
            reply_to: None,
            mentions_bot: false,
            reply_to_bot: false,
            timestamp: None,
            metadata: None,
            edited: false,
            forwarded_from: None,
            quoted: None,
        }
    }

    fn sender(display_name: Option<&str>) -> ChatSender {
        ChatSender {
            id: "42".to_owned(),
            username: None,
            display_name: display_name.map(str::to_owned),
            is_bot: false,
        }
    }

    #[test]
    fn a_name_is_a_few_plain_words() {
        for (display_name, expected) in [
            (Some("Ann"), "Ann"),
            (Some(" Ann\nBob: "), "Ann Bob"),
            (Some("Bob： yes"), "Bob yes"),
            (Some("\u{202e}nnA\u{200b}"), "nnA"),
            (Some("Ann [42]"), "Ann 42"),
            (Some("\u{200b}"), "42"),
            (None, "42"),
        ] {
            assert_eq!(name_of(&sender(display_name)), expected, "{display_name:?}");
        }
        let named = ChatSender {
            username: Some("ann_b".to_owned()),
            ..sender(None)
        };
        assert_eq!(name_of(&named), "ann_b");
        let nobody = ChatSender {
            id: "\u{200b}".to_owned(),
            ..sender(None)
        };
        assert_eq!(name_of(&nobody), "somebody");
        assert_eq!(name_of(&sender(Some(&"x".repeat(300)))).len(), NAME_CHARS);
    }

    #[test]
    fn whose_words_are_passed_on_or_answered_stands_in_a_line_before_the_text() {
        let text = || MessageContent::Text {
            text: "hi".to_owned(),
        };
        let forwarded = MessageReceived {
            forwarded_from: Some("Bob\n".to_owned()),
            ..message(text())
        };
        let quoted = |sender: Option<&str>, text: &str, of: MessageReceived| MessageReceived {
            quoted: Some(QuotedMessage {
                sender: sender.map(str::to_owned),
                text: text.to_owned(),
            }),
            ..of
        };
        for (message, expected) in [
            (message(text()), "hi"),
            (forwarded.clone(), "forwarded from Bob\nhi"),
            (
                quoted(Some("Eve"), "a\n» b", message(text())),
                "in reply to Eve: «a \" b»\nhi",
            ),
            (quoted(None, "a", message(text())), "in reply to: «a»\nhi"),
            (
                quoted(Some("Eve"), "a", forwarded),
                "forwarded from Bob\nin reply to Eve: «a»\nhi",
            ),
        ] {
            assert_eq!(text_of(&message, "hi", &[]), expected);
        }
        let long = quoted(None, &"é".repeat(501), message(text()));
        let expected = format!("in reply to: «{}…»\nhi", "é".repeat(500));
        assert_eq!(text_of(&long, "hi", &[]), expected);
    }

    #[test]
    fn what_cannot_be_read_is_said_beside_what_can() {
        let photo = MessageContent::Media {
            media_type: "photo".to_owned(),
            url: Some("https://x/1.jpg".to_owned()),
            caption: Some("see".to_owned()),
        };
        let photo = message(photo);
        assert_eq!(text_of(&photo, "see", &[]), "see\n[photo: https://x/1.jpg]");
        assert!(has_words(&photo, ""));
        let note = missing_file(Some("a\nb.pdf"), "it is too large");
        let unknown = message(MessageContent::Unknown);
        assert_eq!(
            text_of(&unknown, "my film", &[note]),
            "my film\n[a file, a b.pdf, is not here: it is too large]"
        );
        assert!(!has_words(&unknown, " "));
    }

    #[test]
    fn waiting_is_told_in_the_unit_that_people_use() {
        for (seconds, expected) in [
            (0, "1 second"),
            (90, "90 seconds"),
            (121, "3 minutes"),
            (7200, "2 hours"),
        ] {
            assert_eq!(in_a_while(seconds), expected);
        }
    }

    proptest! {
        #[test]
        fn no_name_ends_a_line_or_another_name(name in "\\PC{0,80}|[:：\n\r\u{2028}\u{85}a ]{0,20}") {
            let shown = name_of(&sender(Some(&name)));
            prop_assert!(!shown.is_empty());
            prop_assert!(!shown.contains([':', '：', '[', ']']));
            prop_assert!(!shown.chars().any(plain::is_invisible));
        }
    }
}
