//! The keys of what comes in: the same again for the same thing. Pure.

use crate::base::digest::sha256;
use crate::domain::ids::{GatewayName, SourceId};

/// A longer key has the digest of its end instead.
const KEY_BYTES_MAX: usize = 200;

/// The key of something in a chat, by the ids that its platform gave it.
pub(super) fn key_of(gateway: &GatewayName, chat_id: &str, parts: &[&str]) -> SourceId {
    let mut text = gateway.to_string();
    for part in [chat_id].iter().chain(parts) {
        text.push(':');
        push_encoded(&mut text, part);
    }
    made(&text, gateway)
}

/// The key of something else that came under `key`.
pub(super) fn with(key: &SourceId, gateway: &GatewayName, part: &str) -> SourceId {
    let mut text = format!("{key}:");
    push_encoded(&mut text, part);
    made(&text, gateway)
}

fn made(text: &str, gateway: &GatewayName) -> SourceId {
    let digest = || format!("{gateway}:{}", sha256(text.as_bytes()));
    let short = match text.len() {
        0..=KEY_BYTES_MAX => SourceId::parse(text),
        _ => SourceId::parse(&digest()),
    };
    short.expect("names, digits and what was encoded are visible")
}

/// Ids may hold anything; a key is of visible characters of ASCII. What joins its parts is in none of them.
fn push_encoded(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' && byte != b':' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_readable_as_long_as_its_ids_are() {
        let gateway = GatewayName::parse("irc").unwrap();
        let long = "x".repeat(300);
        for (chat_id, parts, expected) in [
            ("#duragent", vec!["17"], "irc:#duragent:17".to_owned()),
            ("ä b", vec!["1"], "irc:%c3%a4%20b:1".to_owned()),
            ("a:b", vec!["", "c"], "irc:a%3ab::c".to_owned()),
            (
                long.as_str(),
                vec!["1"],
                format!("irc:{}", sha256(format!("irc:{long}:1").as_bytes())),
            ),
        ] {
            assert_eq!(key_of(&gateway, chat_id, &parts).as_str(), expected);
        }
        let telegram = SourceId::parse("telegram:17").unwrap();
        assert_eq!(with(&telegram, &gateway, "5").as_str(), "telegram:17:5");
    }

    proptest! {
        #[test]
        fn any_ids_make_a_key_and_others_another(
            one in (".{0,80}", ".{0,80}"),
            other in (".{0,80}", ".{0,80}"),
        ) {
            let gateway = GatewayName::parse("g").unwrap();
            let key = |ids: &(String, String)| key_of(&gateway, &ids.0, &[&ids.1]);
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }
    }
}
