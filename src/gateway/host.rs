//! The rest of the program, as far as gateways ask for it.

use std::sync::Arc;

use crate::base::shown::shown_by_name;
use crate::domain::access::AccessSpec;
use crate::domain::ids::AgentName;
use crate::domain::principal::GatewaySender;

/// The rest of the program, as far as gateways ask for it.
pub trait GatewayHost: Send + Sync {
    /// Who may talk to an agent, as its files say now; `None` where there is no such agent.
    fn access(&self, agent: &AgentName) -> Option<Arc<AccessSpec>>;

    /// How far the owner has admitted a sender to an agent, beside what its files say.
    ///
    /// Errors: a sentence, where it may be known later.
    fn admission(
        &self,
        agent: &AgentName,
        sender: &GatewaySender,
    ) -> Result<Option<AdmittedAs>, String>;

    /// The owner has admitted somebody to answer approvals of that agent.
    fn has_approvers(&self, agent: &AgentName) -> bool {
        let _ = agent;
        false
    }

    /// Admits a sender, on disk, outside of the workspace.
    ///
    /// Errors: a sentence.
    fn admit(
        &self,
        agent: &AgentName,
        sender: &GatewaySender,
        name: &str,
        admitted_as: AdmittedAs,
    ) -> Result<(), String>;
}

shown_by_name!(GatewayHost);

/// How far the owner has admitted a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdmittedAs {
    /// To chat.
    Chat,
    /// To answer approvals as well.
    Approver,
}
