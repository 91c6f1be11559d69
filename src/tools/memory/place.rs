//! Where memories are kept: the names of folders and documents. Pure.

use crate::domain::spec::MemoryScope;
use crate::store::documents::DocumentFolder;
use crate::tools::{Caller, ToolRefusal};

/// The summary of a memory.
pub(super) const SUMMARY: &str = "MEMORY.md";
/// The folder of a memory's notes, one file a day.
pub(super) const DAILY: &str = "daily";
/// The folder of the memories that belong to one chat each.
const CHATS: &str = "chats";
/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Whose memory a caller sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenMemory {
    /// The folder among the documents of the agent's memory.
    pub(super) folder: DocumentFolder,
    /// The facts that all agents share are seen too: not by a chat that has a memory of its own.
    pub(super) sees_world: bool,
}

impl SeenMemory {
    /// The agent's memory, or that of the caller's chat alone.
    ///
    /// Errors: its chat has an identifier too long for the name of a folder.
    pub(super) fn of(caller: &Caller<'_>, scope: MemoryScope) -> Result<SeenMemory, ToolRefusal> {
        match (scope, caller.chat) {
            (MemoryScope::Chat, Some((gateway, chat))) => {
                let folder = format!("{CHATS}/{}", chat_folder(gateway, chat)?);
                Ok(SeenMemory {
                    folder: DocumentFolder::parse(folder).map_err(|error| error.to_string())?,
                    sees_world: false,
                })
            }
            (MemoryScope::Agent, _) | (MemoryScope::Chat, None) => Ok(SeenMemory {
                folder: DocumentFolder::default(),
                sees_world: true,
            }),
        }
    }
}

/// The folder of a chat: `telegram-12345`. No two chats share one, and none leads elsewhere: every
/// byte of a name that is not plain becomes `%` and two digits, and the first `-` ends the gateway.
fn chat_folder(gateway: &str, chat: &str) -> Result<String, ToolRefusal> {
    let name = format!("{}-{}", escaped(gateway, b"_"), escaped(chat, b"_-"));
    if name.len() > NAME_BYTES_MAX {
        return Err("the identifier of this chat is too long to have a memory".into());
    }
    Ok(name)
}

fn escaped(text: &str, plain: &[u8]) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// The day whose notes a file holds: `2026-03-01` of `2026-03-01.md`.
pub(super) fn day_of(file_name: &str) -> Option<&str> {
    let day = file_name.strip_suffix(".md")?;
    let fits = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    (day.len() == 10 && day.bytes().enumerate().all(fits)).then_some(day)
}

/// The topic that a file of facts is about.
pub(super) fn topic_of(file_name: &str) -> Option<&str> {
    let topic = file_name.strip_suffix(".md")?;
    let is_shown = |c: char| !crate::domain::plain::is_invisible(c);
    let is_plain = topic.chars().all(is_shown) && !topic.contains("==");
    (is_plain && !topic.is_empty() && !topic.starts_with('.')).then_some(topic)
}

/// The topic may become the name of a document: 1 to 64 letters, digits, `-` and `_` of ASCII.
pub(super) fn is_topic(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::SessionId;

    fn seen(scope: MemoryScope, chat: Option<(&str, &str)>) -> SeenMemory {
        let session = SessionId::mint(1, 1);
        let caller = Caller {
            chat,
            ..Caller::of(&session)
        };
        SeenMemory::of(&caller, scope).unwrap()
    }

    #[test]
    fn a_chat_has_a_memory_of_its_own_where_the_scope_says_so() {
        let telegram = Some(("telegram", "-100"));
        for (scope, chat, folder, sees_world) in [
            (MemoryScope::Agent, None, "", true),
            (MemoryScope::Agent, telegram, "", true),
            (MemoryScope::Chat, None, "", true),
            (MemoryScope::Chat, telegram, "chats/telegram--100", false),
            (
                MemoryScope::Chat,
                Some(("irc", "../#a b")),
                "chats/irc-%2E%2E%2F%23a%20b",
                false,
            ),
        ] {
            let expected = SeenMemory {
                folder: DocumentFolder::parse(folder).unwrap(),
                sees_world,
            };
            assert_eq!(seen(scope, chat), expected);
        }
        assert!(chat_folder("irc", &"#".repeat(100)).is_err());
    }

    #[test]
    fn only_days_are_days_and_plain_words_are_topics() {
        assert_eq!(day_of("2026-03-01.md"), Some("2026-03-01"));
        for name in [
            "2026-03-01",
            "2026-03-1.md",
            "x026-03-01.md",
            "2026_03_01.md",
            "2026-03-01.md.tmp",
        ] {
            assert_eq!(day_of(name), None, "{name}");
        }
        assert!(is_topic("office-hours_2"));
        for topic in ["", "a/b", "..", "a.md", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_topic(topic), "{topic}");
        }
    }

    proptest! {
        #[test]
        fn no_two_chats_share_a_folder(
            one in (".{0,8}", ".{0,8}"), other in (".{0,8}", ".{0,8}"),
        ) {
            let folder = |(gateway, chat): &(String, String)| chat_folder(gateway, chat).unwrap();
            prop_assert_eq!(folder(&one) == folder(&other), one == other);
            prop_assert!(!folder(&one).contains(['/', '.', '\0']));
        }

        #[test]
        fn dashes_are_told_apart(one in "[-a%2D]{0,5}", other in "[-a%2D]{0,5}", c in "[-a%2D]{0,5}", d in "[-a%2D]{0,5}") {
            let same = (&one, &other) == (&c, &d);
            prop_assert_eq!(chat_folder(&one, &other) == chat_folder(&c, &d), same);
        }
    }
}
