//! The ids that chats had before: a group that becomes another kind of group gets another one, and what was
//! said of it by its old one holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::base::lock::lock;
use crate::domain::ids::GatewayName;
use crate::store::documents::{DocumentError, DocumentName, Documents};

/// So many are remembered of a gateway.
const MOVES_MAX: usize = 1024;
/// How often a chat may have got another id.
const NAMES_MAX: usize = 8;

/// The ids that chats had before.
#[derive(Debug)]
pub struct ChatNames {
    documents: Arc<dyn Documents>,
    /// By gateway, as far as it was read: from the id of now to the one before. Held while a document is
    /// read or written: nobody else writes them.
    moves: Mutex<BTreeMap<GatewayName, BTreeMap<String, String>>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct MovesDocument {
    #[serde(default)]
    moved: BTreeMap<String, String>,
}

impl ChatNames {
    /// Those of a workspace.
    pub fn new(documents: Arc<dyn Documents>) -> ChatNames {
        ChatNames {
            documents,
            moves: Mutex::default(),
        }
    }

    /// The ids of a chat, that of now first.
    ///
    /// Errors: they cannot be read.
    pub fn of(&self, gateway: &GatewayName, chat_id: &str) -> Result<Vec<String>, DocumentError> {
        let mut moves = lock(&self.moves);
        let moves = self.known(&mut moves, gateway)?;
        let mut names = vec![chat_id.to_owned()];
        while let Some(before) = names.last().and_then(|name| moves.get(name)) {
            if names.contains(before) || names.len() == NAMES_MAX {
                break;
            }
            names.push(before.clone());
        }
        Ok(names)
    }

    /// Notes that a chat has another id from now on; whether that is new. On return it is on disk.
    ///
    /// Errors: it is not.
    pub fn note(&self, gateway: &GatewayName, from: &str, to: &str) -> Result<bool, DocumentError> {
        let mut moves = lock(&self.moves);
        let moves = self.known(&mut moves, gateway)?;
        if moves.get(to).is_some_and(|known| known == from) || moves.len() >= MOVES_MAX {
            return Ok(false);
        }
        let mut moved = moves.clone();
        moved.insert(to.to_owned(), from.to_owned());
        let document = MovesDocument { moved };
        let text = serde_json::to_string_pretty(&document).unwrap_or_default();
        self.documents.replace(&name_of(gateway)?, &(text + "\n"))?;
        *moves = document.moved;
        Ok(true)
    }

    fn known<'m>(
        &self,
        moves: &'m mut BTreeMap<GatewayName, BTreeMap<String, String>>,
        gateway: &GatewayName,
    ) -> Result<&'m mut BTreeMap<String, String>, DocumentError> {
        if !moves.contains_key(gateway) {
            let text = match self.documents.read(&name_of(gateway)?) {
                Ok(found) => found.map(|found| found.text).unwrap_or_default(),
                Err(DocumentError::Unreadable { .. }) => String::new(),
                Err(error) => return Err(error),
            };
            let document: MovesDocument = serde_json::from_str(&text).unwrap_or_default();
            moves.insert(gateway.clone(), document.moved);
        }
        Ok(moves.entry(gateway.clone()).or_default())
    }
}

fn name_of(gateway: &GatewayName) -> Result<DocumentName, DocumentError> {
    DocumentName::parse(format!("gateways/{gateway}/moved-chats.json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sim_documents::SimDocuments;

    #[test]
    fn a_chat_is_known_by_the_ids_that_it_had_also_after_a_restart() {
        let documents = SimDocuments::new();
        let gateway = GatewayName::parse("telegram").unwrap();
        let open = || ChatNames::new(Arc::new(documents.clone()));
        let names = open();
        assert_eq!(names.of(&gateway, "-100").unwrap(), ["-100"]);
        assert!(names.note(&gateway, "-1", "-100").unwrap());
        assert!(names.note(&gateway, "-0", "-1").unwrap());
        assert!(!names.note(&gateway, "-1", "-100").unwrap());
        for names in [names, open()] {
            assert_eq!(names.of(&gateway, "-100").unwrap(), ["-100", "-1", "-0"]);
            assert_eq!(names.of(&gateway, "-0").unwrap(), ["-0"]);
        }
        // A circle ends.
        let names = open();
        names.note(&gateway, "-100", "-0").unwrap();
        assert_eq!(names.of(&gateway, "-1").unwrap(), ["-1", "-0", "-100"]);
    }
}
