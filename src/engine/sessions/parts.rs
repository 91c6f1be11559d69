//! What the engine is built from.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::domain::redact::Redactor;
use crate::engine::agent::Agents;
use crate::engine::upkeep::ageing::Lifetimes;
use crate::llm::Models;
use crate::store::SessionStore;

/// What the engine works with.
#[derive(Debug)]
pub struct Parts {
    /// Where sessions are kept.
    pub store: Arc<dyn SessionStore>,
    /// Who they belong to.
    pub agents: Arc<dyn Agents>,
    /// Who answers.
    pub models: Arc<dyn Models>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What must not come into a session.
    pub redactor: Arc<Redactor>,
    /// Its limits.
    pub settings: Settings,
}

/// The limits of the engine.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Turns at work at a time; more wait.
    pub max_active: usize,
    /// Below so much free space no new turn starts.
    pub min_free_bytes: u64,
    /// Whether the process before this one ended in good order.
    pub previous_stop_was_clean: bool,
    /// How long sessions are kept.
    pub lifetimes: Lifetimes,
}
