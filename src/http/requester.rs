//! Who sent a request that was let in: found out by the gate, and told to the server behind it.
//!
//! A request without one was let in because everybody may send it.
//!
//! Elsewhere: how it is found out (`http::access`), which program it is (`http::callers`).

use std::fmt;

use crate::domain::principal::{Principal, Way};

/// Who sent a request, by what right, and by which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// On whose behalf it is done.
    pub principal: Principal,
    /// By what right it was let in.
    pub credential: Credential,
    /// By which way it came.
    pub way: Way,
}

/// By what right a request was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// It comes from an account of this machine that needs no token.
    Account,
    /// It bears a token.
    Token,
    /// It bears a ticket for the stream that it asks for: it may see that, and nothing else.
    Ticket,
}

impl Credential {
    const WORDS: [(&str, Credential); 3] = [
        ("account", Credential::Account),
        ("token", Credential::Token),
        ("ticket", Credential::Ticket),
    ];
}

const WAYS: [(&str, Way); 2] = [("local", Way::Local), ("network", Way::Network)];

impl Requester {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Requester> {
        let mut words = text.splitn(3, ' ');
        Some(Requester {
            credential: of_word(&Credential::WORDS, words.next()?)?,
            way: of_word(&WAYS, words.next()?)?,
            principal: Principal::parse(words.next()?)?,
        })
    }
}

/// As it stands between the gate and the server: `CREDENTIAL WAY PRINCIPAL`.
impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credential = word_of(&Credential::WORDS, self.credential);
        let way = word_of(&WAYS, self.way);
        write!(f, "{credential} {way} {}", self.principal)
    }
}

fn of_word<T: Copy>(words: &[(&str, T)], word: &str) -> Option<T> {
    let known = words.iter().find(|(known, _)| *known == word);
    known.map(|(_, value)| *value)
}

fn word_of<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let known = words.iter().find(|(_, known)| *known == value);
    known.map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::TokenName;

    #[test]
    fn the_server_reads_whom_the_gate_has_found() {
        let alice = Principal::Token(TokenName::parse("alice").unwrap());
        for principal in [Principal::Owner, alice] {
            for (_, credential) in Credential::WORDS {
                for (_, way) in WAYS {
                    let requester = Requester {
                        principal: principal.clone(),
                        credential,
                        way,
                    };
                    let read = Requester::parse(&requester.to_string());
                    assert_eq!(read, Some(requester));
                }
            }
        }
        for text in [
            "",
            "owner",
            "token owner",
            "token local",
            "token local x",
            "x local owner",
        ] {
            assert_eq!(Requester::parse(text), None, "{text:?}");
        }
    }
}
