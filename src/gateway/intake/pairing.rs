//! Codes by which the owner admits strangers: one for each that asks, for a day.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::base::random;
use crate::domain::ids::{AgentName, GatewayName, SourceId};
use crate::domain::time::Timestamp;
use crate::store::documents::{DocumentError, DocumentName, Documents};

/// So many may wait of a gateway: whoever floods it makes no more, and the oldest go.
const CODES_MAX: usize = 32;
/// So many, while nobody decides for the agent: one of them is its owner's.
const FIRST_CODES_MAX: usize = 8 * CODES_MAX;
/// A code stays for so long however many ask: who was told it gets it to the owner, and the owner types it.
const KEPT_FOR_SURE: Duration = Duration::from_secs(600);
/// After that a code admits nobody, and a stranger gets another.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Letters of a code: none of them looks like another.
const LETTERS: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";
const CODE_LETTERS: usize = 8;

/// The codes of all gateways.
#[derive(Debug)]
pub(super) struct PairingCodes {
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    /// Held while a document is read and replaced: nobody else writes them.
    writing: Mutex<()>,
}

/// A stranger who waits to be admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingPairing {
    /// Whom the platform calls so.
    pub sender_id: String,
    /// As they call themselves.
    pub name: String,
    /// The agent that they wrote to.
    pub agent: AgentName,
    /// Where they are told.
    pub chat_id: String,
    /// The thread of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// When they first wrote.
    pub at: Timestamp,
    /// That message's key.
    pub source_id: SourceId,
}

/// What a stranger is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PairingAnswer {
    /// This code.
    Code(String),
    /// Nothing: they know theirs, or too many have just asked.
    Silence,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct CodesDocument {
    #[serde(default)]
    codes: BTreeMap<String, PendingPairing>,
}

impl PairingCodes {
    pub(super) fn new(documents: Arc<dyn Documents>, clock: Arc<dyn Clock>) -> PairingCodes {
        PairingCodes {
            documents,
            clock,
            writing: Mutex::default(),
        }
    }

    /// Notes that somebody asks; on return it is on disk. `may_be_owner` says that nobody decides for the agent
    /// yet: then they get a code in any case, or whoever floods a new bot would keep its owner out.
    pub(super) fn ask(
        &self,
        gateway: &GatewayName,
        stranger: PendingPairing,
        may_be_owner: bool,
    ) -> Result<PairingAnswer, DocumentError> {
        let _writing = lock(&self.writing);
        let mut codes = self.read(gateway)?;
        let mut known = codes.iter();
        let is_same = |one: &PendingPairing| {
            one.sender_id == stranger.sender_id && one.agent == stranger.agent
        };
        if let Some((code, known)) = known.find(|(_, one)| is_same(one)) {
            // Delivered again: it is not sure that they were told.
            let is_repeat = known.source_id == stranger.source_id;
            return Ok(match is_repeat {
                true => PairingAnswer::Code(code.clone()),
                false => PairingAnswer::Silence,
            });
        }
        if !make_room(&mut codes, stranger.at, may_be_owner) {
            return Ok(PairingAnswer::Silence);
        }
        let code = new_code().map_err(|source| DocumentError::Io {
            action: "read",
            location: "the system's random bits".to_owned(),
            source,
        })?;
        codes.insert(code.clone(), stranger);
        self.write(gateway, codes)?;
        Ok(PairingAnswer::Code(code))
    }

    /// Those who wait, oldest first, with their codes.
    pub(super) fn list(
        &self,
        gateway: &GatewayName,
    ) -> Result<Vec<(String, PendingPairing)>, DocumentError> {
        let mut found: Vec<_> = self.read(gateway)?.into_iter().collect();
        found.sort_by_key(|(_, pending)| pending.at);
        Ok(found)
    }

    /// Who waits by that code.
    pub(super) fn find(
        &self,
        gateway: &GatewayName,
        code: &str,
    ) -> Result<Option<PendingPairing>, DocumentError> {
        Ok(self.read(gateway)?.remove(&normal(code)))
    }

    /// Forgets a code.
    pub(super) fn forget(&self, gateway: &GatewayName, code: &str) -> Result<(), DocumentError> {
        let _writing = lock(&self.writing);
        let mut codes = self.read(gateway)?;
        match codes.remove(&normal(code)) {
            Some(_) => self.write(gateway, codes),
            None => Ok(()),
        }
    }

    /// Those that count. What is no such document has none.
    fn read(
        &self,
        gateway: &GatewayName,
    ) -> Result<BTreeMap<String, PendingPairing>, DocumentError> {
        let text = match self.documents.read(&name_of(gateway)?) {
            Ok(found) => found.map(|found| found.text).unwrap_or_default(),
            Err(DocumentError::Unreadable { .. }) => String::new(),
            Err(error) => return Err(error),
        };
        let document: CodesDocument = serde_json::from_str(&text).unwrap_or_default();
        let now = Timestamp::from(self.clock.now());
        let mut codes = document.codes;
        codes.retain(|_, one| now.since(one.at) < LIFETIME);
        Ok(codes)
    }

    fn write(
        &self,
        gateway: &GatewayName,
        codes: BTreeMap<String, PendingPairing>,
    ) -> Result<(), DocumentError> {
        let text = serde_json::to_string_pretty(&CodesDocument { codes }).unwrap_or_default();
        self.documents.replace(&name_of(gateway)?, &(text + "\n"))
    }
}

/// Lets the oldest codes go where there are many; whether there is room for another one.
fn make_room(
    codes: &mut BTreeMap<String, PendingPairing>,
    now: Timestamp,
    may_be_owner: bool,
) -> bool {
    while codes.len() >= CODES_MAX {
        let oldest = codes.iter().min_by_key(|(_, one)| one.at);
        let oldest = oldest.map(|(code, one)| (code.clone(), one.at));
        let Some((code, at)) = oldest else {
            return true;
        };
        let is_flood = may_be_owner && codes.len() >= FIRST_CODES_MAX;
        if now.since(at) < KEPT_FOR_SURE && !is_flood {
            return may_be_owner;
        }
        codes.remove(&code);
    }
    true
}

fn name_of(gateway: &GatewayName) -> Result<DocumentName, DocumentError> {
    DocumentName::parse(format!("gateways/{gateway}/pairings.json"))
}

/// As people type it.
fn normal(code: &str) -> String {
    code.trim().to_ascii_uppercase()
}

fn new_code() -> std::io::Result<String> {
    let digits = random::secret()?;
    let pairs = digits.as_bytes().chunks(2).take(CODE_LETTERS);
    let letter = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).unwrap_or_default();
        let number = usize::from_str_radix(pair, 16).unwrap_or_default();
        char::from(LETTERS[number % LETTERS.len()])
    };
    Ok(pairs.map(letter).collect())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::base::clock::FakeClock;
    use crate::store::sim_documents::SimDocuments;

    struct Desk {
        codes: PairingCodes,
        clock: Arc<FakeClock>,
        gateway: GatewayName,
    }

    impl Desk {
        fn new() -> Desk {
            let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
            let clock = Arc::new(FakeClock::at(start));
            Desk {
                codes: PairingCodes::new(Arc::new(SimDocuments::new()), Arc::clone(&clock) as _),
                clock,
                gateway: GatewayName::parse("irc").unwrap(),
            }
        }

        fn ask(&self, sender_id: &str, agent: &str, key: &str) -> PairingAnswer {
            let stranger = PendingPairing {
                sender_id: sender_id.to_owned(),
                name: "Ann".to_owned(),
                agent: AgentName::parse(agent).unwrap(),
                chat_id: sender_id.to_owned(),
                thread_id: None,
                at: self.clock.now().into(),
                source_id: SourceId::parse(key).unwrap(),
            };
            let may_be_owner = sender_id == "owner";
            let asked = self.codes.ask(&self.gateway, stranger, may_be_owner);
            asked.unwrap()
        }

        fn code(&self, sender_id: &str, agent: &str, key: &str) -> String {
            match self.ask(sender_id, agent, key) {
                PairingAnswer::Code(code) => code,
                PairingAnswer::Silence => panic!("no code for {sender_id}"),
            }
        }
    }

    #[test]
    fn a_stranger_is_told_one_code_once_for_each_agent_and_day() {
        let desk = Desk::new();
        let code = desk.code("42", "ada", "k:1");
        assert_eq!(code.len(), CODE_LETTERS);
        assert!(
            code.bytes().all(|letter| LETTERS.contains(&letter)),
            "{code}"
        );
        assert_eq!(desk.ask("42", "ada", "k:2"), PairingAnswer::Silence);
        // The same message again.
        assert_eq!(desk.code("42", "ada", "k:1"), code);
        assert_ne!(desk.code("42", "bob", "k:2"), code);
        desk.clock.advance(LIFETIME);
        assert_ne!(desk.code("42", "ada", "k:3"), code);
        assert_eq!(desk.codes.list(&desk.gateway).unwrap().len(), 1);
    }

    #[test]
    fn a_code_is_found_as_people_type_it_until_it_is_forgotten() {
        let desk = Desk::new();
        let code = desk.code("42", "ada", "k:1");
        let typed = format!(" {} ", code.to_lowercase());
        let found = desk.codes.find(&desk.gateway, &typed).unwrap();
        assert_eq!(found.unwrap().sender_id, "42");
        assert_eq!(desk.codes.find(&desk.gateway, "AAAAAAAA").unwrap(), None);
        desk.codes.forget(&desk.gateway, &typed).unwrap();
        assert_eq!(desk.codes.find(&desk.gateway, &code).unwrap(), None);
    }

    #[test]
    fn a_flood_of_strangers_makes_no_more_than_so_many_codes_and_keeps_no_owner_out() {
        let desk = Desk::new();
        for sender in 0..CODES_MAX {
            desk.code(&sender.to_string(), "ada", "k:1");
        }
        assert_eq!(desk.ask("another", "ada", "k:1"), PairingAnswer::Silence);
        desk.clock.advance(Duration::from_secs(1));
        let owners = desk.code("owner", "ada", "k:1");
        assert_eq!(desk.ask("another", "ada", "k:1"), PairingAnswer::Silence);
        desk.clock.advance(KEPT_FOR_SURE);
        for sender in 0..CODES_MAX - 1 {
            desk.clock.advance(Duration::from_secs(1));
            desk.code(&format!("later {sender}"), "ada", "k:1");
        }
        assert!(desk.codes.find(&desk.gateway, &owners).unwrap().is_some());
        desk.code("the last", "ada", "k:1");
        assert_eq!(desk.codes.find(&desk.gateway, &owners).unwrap(), None);
        assert_eq!(desk.codes.list(&desk.gateway).unwrap().len(), CODES_MAX);
    }
}
