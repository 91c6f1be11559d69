//! The engine and the rest of the program as the API sees them: all answers are made from these.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::shown::shown_by_name;
use crate::base::stop::Stop;
use crate::domain::spec::AgentSpec;
use crate::engine::Sessions;
use crate::http::ticket::TicketKey;
use crate::wire::{
    AdmittedBody, ApproveSender, BrokenAgentBody, ClearedBody, GatewayListBody, GatewayLogBody,
    OutboxBody, PairingListBody, ReadinessBody, ReloadBody, VersionBody,
};

/// The rest of the program, as far as the API speaks of it.
pub trait ApiHost: Send + Sync {
    /// All agents, sorted by name.
    fn agents(&self) -> Vec<Arc<AgentSpec>>;

    /// A sentence by agent on what waits for its owner's trust, for those of which something does.
    fn not_counted(&self) -> BTreeMap<String, String>;

    /// The parts of agents that do not work as their authors may think, a sentence each.
    fn remarks(&self) -> BTreeMap<String, String>;

    /// The agent of that name.
    fn agent(&self, name: &str) -> Option<Arc<AgentSpec>>;

    /// The agents whose files cannot be used, sorted by name.
    fn broken_agents(&self) -> Vec<BrokenAgentBody>;

    /// The variable without which an agent's model cannot be asked, if it is not set here.
    fn missing_key(&self, agent: &AgentSpec) -> Option<String>;

    /// Reads the agents again.
    fn reload_agents(&self) -> ReloadBody;

    /// The state of the program, without `status` and `not_counted`: those depend on who asks.
    fn readiness(&self) -> ReadinessBody;

    /// The build of this program.
    fn version(&self) -> VersionBody;

    /// The gateways.
    fn gateways(&self) -> &dyn GatewayAdmin;

    /// Asks the program to end; returns at once.
    fn request_shutdown(&self);
}

shown_by_name!(ApiHost);

/// What the API asks of gateways.
pub trait GatewayAdmin: Send + Sync {
    /// How they are.
    fn list(&self) -> GatewayListBody;

    /// What a gateway's program said lately beside the protocol.
    ///
    /// Errors: [`GatewayRefusal::NotFound`].
    fn log(&self, name: &str) -> Result<GatewayLogBody, GatewayRefusal>;

    /// Ends a gateway's program, and has it started anew; waits for neither.
    ///
    /// Errors: [`GatewayRefusal::NotFound`], [`GatewayRefusal::NoProgram`].
    fn restart(&self, name: &str) -> Result<(), GatewayRefusal>;

    /// The strangers who wait to be let in.
    ///
    /// Errors: [`GatewayRefusal::Failed`].
    fn pairings(&self) -> Result<PairingListBody, GatewayRefusal>;

    /// Lets one of them in, on disk.
    ///
    /// Errors: [`GatewayRefusal::NoSuchCode`], [`GatewayRefusal::Failed`].
    fn admit(&self, approve: &ApproveSender) -> Result<AdmittedBody, GatewayRefusal>;

    /// What chats lack, and what they never get.
    ///
    /// Errors: [`GatewayRefusal::Failed`].
    fn outbox(&self) -> Result<OutboxBody, GatewayRefusal>;

    /// Forgets what chats never get.
    ///
    /// Errors: [`GatewayRefusal::Failed`].
    fn clear_outbox(&self) -> Result<ClearedBody, GatewayRefusal>;
}

shown_by_name!(GatewayAdmin);

/// Why something was not done with gateways.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayRefusal {
    /// There is none of that name.
    #[error("there is no gateway {0:?}")]
    NotFound(String),
    /// It is built in.
    #[error("the gateway {0} is built in: it goes on by itself, and cannot be started anew alone")]
    NoProgram(String),
    /// Nobody has that code.
    #[error("{0}")]
    NoSuchCode(String),
    /// The storage, or who keeps the record, says no.
    #[error("{0}")]
    Failed(String),
}

/// Time limits from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSettings {
    /// `server.request_timeout_seconds`: how long a blocking answer waits for its turn.
    pub request_timeout: Duration,
    /// `server.keep_alive_interval_seconds`: how long a stream may be silent.
    pub keep_alive_interval: Duration,
}

/// The parts that every answer is made from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiContext {
    /// The engine.
    pub sessions: Sessions,
    /// The rest of the program.
    pub host: Arc<dyn ApiHost>,
    /// Time limits.
    pub settings: ApiSettings,
    /// Makes the tickets that the gate knows.
    pub tickets: TicketKey,
    /// Ends all streams and waits.
    pub stop: Stop,
}
