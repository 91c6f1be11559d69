//! What gateways are started with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::domain::ids::{AgentName, GatewayName};
use crate::domain::secret::Secret;

/// All gateways of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewaySettings {
    /// Bots of Telegram.
    pub telegram: Vec<TelegramSettings>,
    /// Programs.
    pub plugins: Vec<PluginSettings>,
    /// Which chat goes to which agent; the first that fits.
    pub routes: Vec<ChatRoute>,
    /// The program that turns spoken messages into text, and its arguments.
    pub transcribe: Option<(PathBuf, Vec<String>)>,
}

/// A bot of Telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelegramSettings {
    /// Its name here.
    pub name: GatewayName,
    /// Its token.
    pub bot_token: Secret,
    /// Another server than Telegram's own.
    pub api_url: Option<String>,
    /// All its chats go to this agent.
    pub agent: Option<AgentName>,
}

/// A gateway that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Its name here.
    pub name: GatewayName,
    /// An absolute path, or a bare name to be found in `PATH`.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<Secret>,
    /// Variables that it gets beside the usual ones.
    pub env: BTreeMap<String, Secret>,
    /// When it is started again.
    pub restart: RestartRule,
}

/// When a program is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartRule {
    /// Whenever it ends.
    Always,
    /// When it fails.
    OnFailure,
    /// Not at all.
    Never,
}

/// Which chats go to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRoute {
    /// Values of routing fields, all of which must fit; none fits every message.
    pub conditions: BTreeMap<String, String>,
    /// The agent.
    pub agent: AgentName,
}
