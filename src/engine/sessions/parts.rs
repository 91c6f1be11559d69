//! What the engine is built from.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::domain::prices::Prices;
use crate::domain::redact::Redactor;
use crate::engine::agent::Agents;
use crate::engine::grants::GrantKey;
use crate::engine::open::ageing::Lifetimes;
use crate::engine::workdir::WorkdirRules;
use crate::llm::Models;
use crate::store::SessionStore;

/// Everything that the engine asks others for.
#[derive(Debug)]
pub struct Parts {
    /// Where sessions are kept.
    pub store: Arc<dyn SessionStore>,
    /// The agents, as last loaded; asked anew for each step, so that a change counts at once.
    pub agents: Arc<dyn Agents>,
    /// Makes the connection to a provider's model.
    pub models: Arc<dyn Models>,
    /// The source of all times, which a test sets.
    pub clock: Arc<dyn Clock>,
    /// Covers secrets in everything that is stored or shown.
    pub redactor: Arc<Redactor>,
    /// Its limits.
    pub settings: EngineSettings,
}

/// The limits of the engine.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Turns at work at a time; more wait.
    pub max_active: usize,
    /// The most that a reply of a model may hold.
    pub reply_bytes: usize,
    /// Below so much free space no new turn starts.
    pub min_free_bytes: u64,
    /// The process before this one ended in good order: a turn that it left is not one more try.
    pub previous_stop_was_clean: bool,
    /// How long sessions are kept.
    pub lifetimes: Lifetimes,
    /// Which folders sessions may be given.
    pub workdirs: WorkdirRules,
    /// What models cost.
    pub prices: Prices,
    /// Seals what is allowed for a session.
    pub grant_key: GrantKey,
}
