//! What a program is run with.

use std::sync::Arc;
use std::time::Duration;

use crate::gateway::delivery::SenderHandle;
use crate::gateway::incoming::Inlet;
use crate::gateway::set_aside::SetAsideLog;
use crate::gateway::settings::PluginSettings;

use super::state::PluginState;

/// What a program is run with.
#[derive(Debug)]
pub struct PluginParts {
    /// As the configuration says.
    pub settings: PluginSettings,
    /// How long things may take.
    pub times: PluginTimes,
    /// Takes in what it tells.
    pub inlet: Arc<dyn Inlet>,
    /// Hears of the ends of commands.
    pub sender: SenderHandle,
    /// For what it tells that can never be taken in.
    pub set_aside: SetAsideLog,
    /// What is known of it.
    pub state: Arc<PluginState>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct PluginTimes {
    /// From the start to `ready`.
    pub ready: Duration,
    /// Between two pings, of which two without an answer end the program.
    pub ping: Duration,
    /// From `shutdown` to a signal that asks, and from there to one that does not.
    pub end: Duration,
}

impl Default for PluginTimes {
    fn default() -> PluginTimes {
        PluginTimes {
            ready: Duration::from_secs(90),
            ping: Duration::from_secs(30),
            end: Duration::from_secs(5),
        }
    }
}
