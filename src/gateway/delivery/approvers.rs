//! Who of a chat may allow something for its session: approvers of its agent.

use std::sync::Arc;

use crate::domain::ids::{AgentName, GatewayName};
use crate::domain::principal::GatewaySender;
use crate::gateway::host::GatewayHost;
use crate::gateway::intake::admission::{Visitor, may_decide};

/// The approvers of an agent on a platform, as its files and the owner say when somebody is asked.
#[derive(Debug)]
pub(super) struct Approvers {
    pub(super) host: Arc<dyn GatewayHost>,
    pub(super) agent: AgentName,
    pub(super) gateway: GatewayName,
}

impl Approvers {
    /// Whether whom the platform calls `id` is one of them. Who presses a button is judged again.
    pub(super) fn has(&self, id: &str) -> bool {
        let sender = GatewaySender::new(self.gateway.as_str(), id);
        let admitted = self.host.admission(&self.agent, &sender).ok().flatten();
        let visitor = Visitor {
            gateway: &self.gateway,
            gateways: std::slice::from_ref(&self.gateway),
            id,
            is_verified: true,
            admitted,
        };
        let access = self.host.access(&self.agent);
        access.is_some_and(|access| may_decide(&access, visitor, false))
    }
}
