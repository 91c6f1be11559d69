//! Identifiers, each parsed once into a type whose existence is the proof of its shape.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {text:?}")]
pub struct InvalidId {
    kind: &'static str,
    text: String,
}

impl InvalidId {
    fn new(kind: &'static str, text: &str) -> InvalidId {
        /// An error must not carry a megabyte of somebody's input.
        const SHOWN_CHARS: usize = 80;
        InvalidId {
            kind,
            text: text.chars().take(SHOWN_CHARS).collect(),
        }
    }
}

/// Defines an identifier made of a prefix and a ULID, so that names sort by creation time.
macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The beginning of every identifier of this kind: it tells kinds apart wherever one is
            /// pasted.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier from its time in milliseconds since 1970 and 80 random bits.
            pub fn mint(timestamp_ms: u64, random: u128) -> $name {
                let ulid = Ulid::from_parts(timestamp_ms, random);
                $name(format!("{}{}", $prefix, ulid).into_boxed_str())
            }

            /// Accepts exactly what [`mint`](Self::mint) makes: the prefix and an upper-case
            /// ULID. So it holds no path separator, dot or control character.
            pub fn parse(text: &str) -> Result<$name, InvalidId> {
                let refused = || InvalidId::new($kind, text);
                let digits = text.strip_prefix($prefix).filter(|text| is_ulid(text));
                digits.map(|_| $name(text.into())).ok_or_else(refused)
            }

            /// When it was minted, in milliseconds since 1970.
            pub fn timestamp_ms(&self) -> u64 {
                Ulid::from_string(&self.0[$prefix.len()..]).map_or(0, |ulid| ulid.timestamp_ms())
            }

            /// The ULID as a number; numbers are in the order of the texts, and take a third of
            /// their memory.
            pub fn to_bits(&self) -> u128 {
                Ulid::from_string(&self.0[$prefix.len()..]).map_or(0, |ulid| ulid.0)
            }

            /// The identifier of such a number.
            pub fn from_bits(bits: u128) -> $name {
                $name(format!("{}{}", $prefix, Ulid(bits)).into_boxed_str())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&text).map_err(D::Error::custom)
            }
        }
    };
}

ulid_id!(
    /// A session, and the name of its folder.
    SessionId,
    "session_",
    "session id"
);
ulid_id!(
    /// A message of a user or of the model.
    MessageId,
    "msg_",
    "message id"
);
ulid_id!(
    /// One run of the agent from a message to its final answer.
    TurnId,
    "turn_",
    "turn id"
);

impl SessionId {
    /// The last six characters: enough to tell threads apart in a list of processes.
    pub fn short(&self) -> &str {
        &self.0[self.0.len() - 6..]
    }
}

/// Whether a text is a ULID as it is written: 128 bits in upper-case digits of Crockford's alphabet.
fn is_ulid(text: &str) -> bool {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'A'..=b'H' | b'J' | b'K' | b'M' | b'N' | b'P'..=b'T' | b'V'..=b'Z');
    text.len() == ulid::ULID_LEN && text.as_bytes()[0] <= b'7' && text.bytes().all(is_digit)
}

/// Whether a byte is one of `A-Z a-z 0-9 _ -`.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Defines an identifier that somebody else chose: so many bytes at most, each of them allowed.
macro_rules! chosen_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $bytes_max:literal, $allows:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Accepts the bytes that the [type](Self) names, one of them at least.
            pub fn parse(text: &str) -> Result<$name, InvalidId> {
                let allows: fn(u8) -> bool = $allows;
                if text.is_empty() || text.len() > $bytes_max || !text.bytes().all(allows) {
                    return Err(InvalidId::new($kind, text));
                }
                Ok($name(text.into()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&text).map_err(D::Error::custom)
            }
        }
    };
}

chosen_id!(
    /// A tool call, as named by the provider that asked for it: 1 to 64 characters of
    /// `A-Z a-z 0-9 _ -`, which every provider takes back.
    CallId,
    "call id",
    64,
    is_plain
);
chosen_id!(
    /// The name of an agent and of its folder: 1 to 64 characters of `A-Z a-z 0-9 _ -`, so that it
    /// is a safe file name too.
    AgentName,
    "agent name",
    64,
    is_plain
);
chosen_id!(
    /// The name of a gateway: 1 to 64 characters of `A-Z a-z 0-9 _ -`, so that it stands in names of files,
    /// threads and [senders](crate::domain::principal::GatewaySender) as it is.
    GatewayName,
    "name of a gateway",
    64,
    is_plain
);
chosen_id!(
    /// The name that the owner gave a token, and so whoever holds it: 1 to 64 characters of
    /// `A-Z a-z 0-9 _ -`, so that it stands in headers and tickets as it is.
    TokenName,
    "token name",
    64,
    is_plain
);
chosen_id!(
    /// A caller's own key for a message (HTTP `Idempotency-Key`, `telegram:<update_id>`): 1 to 255
    /// visible ASCII characters.
    SourceId,
    "idempotency key",
    255,
    |byte| byte.is_ascii_graphic()
);
chosen_id!(
    /// Names the work that a parked call waits for, in the words of its tool (a session, a task of
    /// another server): 1 to 255 visible ASCII characters. A provider may use the id of a call
    /// again, long after it; a tool must not use this one again in a session.
    AwaitedId,
    "id of what a call waits for",
    255,
    |byte| byte.is_ascii_graphic()
);

impl CallId {
    /// A new identifier, for a provider that gave none, or one that was used before.
    pub fn mint(timestamp_ms: u64, random: u128) -> CallId {
        CallId(format!("call_{}", Ulid::from_parts(timestamp_ms, random)).into_boxed_str())
    }
}

/// The number of an event in its session: from 1, without gaps. 0 stands before the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Seq = Seq(0);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_its_prefix_and_a_ulid_and_nothing_else() {
        let id = SessionId::mint(1_790_000_000_000, 7);
        assert_eq!(SessionId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(id.timestamp_ms(), 1_790_000_000_000);
        let upper = id.as_str().trim_start_matches("session_").to_owned();
        for refused in [
            "",
            "session_",
            "session_../../../etc/passwd",
            "msg_01J00000000000000000000000",
            "session_01J0000000000000000000000",
            "session_01J000000000000000000000000",
            "session_8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "session_01J0000000000000000000000U",
            &upper,
            &format!("session_{}", upper.to_lowercase()),
            &format!("session_{upper}/x"),
            &format!("{id}\n"),
        ] {
            assert!(SessionId::parse(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn ids_sort_by_the_time_they_were_minted() {
        assert!(SessionId::mint(1, u128::MAX) < SessionId::mint(2, 0));
    }

    #[test]
    fn names_and_keys_hold_only_what_is_safe() {
        assert!(AgentName::parse("my-assistant_2").is_ok());
        for refused in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(AgentName::parse(refused).is_err(), "{refused:?}");
        }
        assert!(SourceId::parse("telegram:17").is_ok());
        for refused in ["", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert!(SourceId::parse(refused).is_err(), "{refused:?}");
        }
        assert!(CallId::parse("toolu_01-x").is_ok());
        assert!(CallId::parse("functions.date:0").is_err());
    }
}
