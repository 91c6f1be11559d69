//! Whom the owner admitted to agents by gateways: beside the record of grants, in a document of its own.
//!
//! ```text
//! $XDG_STATE_HOME/duragent/trust/<workspace id>-<digest of its path>/gateways.yaml
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::yaml;
use crate::domain::ids::AgentName;
use crate::domain::time::Timestamp;
use crate::trust::store::GrantError;
use crate::trust::{WorkspaceTrust, identity};

const VERSION: u32 = 1;
const HEAD: &str =
    "# Whom you admitted to agents by gateways. `duragent gateway approve` writes it.\n";

/// Somebody whom the owner admitted to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmittedSender {
    /// `{gateway}:{id}`.
    pub sender: String,
    /// As they called themselves then.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// They may answer approvals too.
    #[serde(default)]
    pub approver: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdmissionRecord {
    version: u32,
    #[serde(default)]
    agents: BTreeMap<AgentName, AgentGuests>,
}

/// To one agent's folder: another one of the same name is another agent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentGuests {
    folder: String,
    #[serde(default)]
    senders: Vec<AdmittedSender>,
}

impl WorkspaceTrust {
    /// Whom the owner admitted to the agent in the folder `home`; nobody where the record is not one.
    ///
    /// Errors: it cannot be read now.
    pub fn admitted(&self, home: &Path) -> Result<Vec<AdmittedSender>, GrantError> {
        let found = identity(home).and_then(|(name, folder)| {
            let mut record = self.admissions()?;
            let agent = record.agents.remove(&name);
            Ok(agent.filter(|agent| agent.folder == folder))
        });
        match found {
            Ok(agent) => Ok(agent.map(|agent| agent.senders).unwrap_or_default()),
            Err(error) if error.is_passing() => Err(error),
            Err(error) => {
                log::warn!("nobody is admitted to {}: {error}", home.display());
                Ok(Vec::new())
            }
        }
    }

    /// Admits somebody to the agent in the folder `home`. Who was an approver stays one.
    pub fn admit(&self, home: &Path, admitted: &AdmittedSender) -> Result<(), GrantError> {
        let (name, folder) = identity(home)?;
        self.change_admissions(|record| {
            let agent = record.agents.entry(name.clone()).or_default();
            if agent.folder != folder {
                *agent = AgentGuests {
                    folder: folder.clone(),
                    senders: Vec::new(),
                };
            }
            let known = |one: &&mut AdmittedSender| one.sender == admitted.sender;
            match agent.senders.iter_mut().find(known) {
                Some(known) => known.approver |= admitted.approver,
                None => agent.senders.push(admitted.clone()),
            }
        })
    }

    /// Takes back all admissions to an agent.
    pub(super) fn admit_nobody(&self, name: &AgentName) -> Result<(), GrantError> {
        if !self.admissions()?.agents.contains_key(name) {
            return Ok(());
        }
        self.change_admissions(|record| {
            record.agents.remove(name);
        })
    }

    fn admissions(&self) -> Result<AdmissionRecord, GrantError> {
        match self.store.admissions()? {
            Some((location, text)) => parse(&location, &text),
            None => Ok(AdmissionRecord::new()),
        }
    }

    fn change_admissions(&self, edit: impl Fn(&mut AdmissionRecord)) -> Result<(), GrantError> {
        self.store.edit_admissions(&|location, before| {
            let before = before.map(|text| parse(&location.display().to_string(), text));
            let mut record = before.unwrap_or_else(|| Ok(AdmissionRecord::new()))?;
            edit(&mut record);
            Ok(Some(format!("{HEAD}{}", yaml::to_string(&record)?)))
        })
    }
}

impl AdmissionRecord {
    fn new() -> AdmissionRecord {
        AdmissionRecord {
            version: VERSION,
            agents: BTreeMap::new(),
        }
    }
}

fn parse(location: &str, text: &str) -> Result<AdmissionRecord, GrantError> {
    let record: AdmissionRecord = yaml::from_str(text).map_err(|source| GrantError::Damaged {
        location: location.to_owned(),
        source,
    })?;
    if record.version > VERSION {
        return Err(GrantError::Later(location.to_owned()));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::store::sim_documents::{SimDocuments, SimFault};
    use crate::trust::{GrantStore, Grants};

    fn trust_of(workspace: &Path, documents: &SimDocuments) -> WorkspaceTrust {
        let documents = Arc::new(documents.clone());
        let store = GrantStore::new(Some(documents), workspace, Some("w".to_owned()));
        WorkspaceTrust::new(workspace, store, Grants::Recorded, Arc::new(|_| false))
    }

    fn sender(id: &str, approver: bool) -> AdmittedSender {
        AdmittedSender {
            sender: format!("irc:{id}"),
            name: "Ann".to_owned(),
            at: Timestamp::from_micros(1),
            approver,
        }
    }

    #[test]
    fn who_was_admitted_to_an_agent_is_known_until_it_is_taken_back_or_the_agent_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("ada");
        fs::create_dir(&home).unwrap();
        let documents = SimDocuments::new();
        let trust = trust_of(folder.path(), &documents);
        assert_eq!(trust.admitted(&home).unwrap(), []);
        for (id, approver) in [("42", false), ("43", true), ("42", true), ("43", false)] {
            trust.admit(&home, &sender(id, approver)).unwrap();
        }
        let expected = [sender("42", true), sender("43", true)];
        assert_eq!(
            trust_of(folder.path(), &documents).admitted(&home).unwrap(),
            expected
        );
        // Another folder takes its place.
        fs::rename(&home, folder.path().join("old")).unwrap();
        fs::create_dir(&home).unwrap();
        assert_eq!(trust.admitted(&home).unwrap(), []);
        trust.admit(&home, &sender("44", false)).unwrap();
        assert_eq!(trust.admitted(&home).unwrap(), [sender("44", false)]);
        trust.withdraw(&AgentName::parse("ada").unwrap()).unwrap();
        assert_eq!(trust.admitted(&home).unwrap(), []);
        // A copied workspace has the identifier of the first, and none of its guests.
        trust.admit(&home, &sender("44", false)).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let copied = copy.path().join("ada");
        fs::create_dir(&copied).unwrap();
        assert_eq!(
            trust_of(copy.path(), &documents).admitted(&copied).unwrap(),
            []
        );
    }

    #[test]
    fn who_was_admitted_is_nobody_new_while_the_record_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("ada");
        fs::create_dir(&home).unwrap();
        let documents = SimDocuments::new();
        let trust = trust_of(folder.path(), &documents);
        trust.admit(&home, &sender("42", false)).unwrap();
        documents.fail_at(documents.operations() + 1, SimFault::Refused);
        assert!(trust.admitted(&home).is_err());
        assert_eq!(trust.admitted(&home).unwrap(), [sender("42", false)]);
    }
}
