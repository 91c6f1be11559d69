//! The configuration: what the program may rely on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::address::AddressRange;
use crate::base::yaml::problem::Position;
use crate::domain::ids::{AgentName, GatewayName};
use crate::domain::prices::Prices;
use crate::domain::providers::{Described, Provider};
use crate::domain::secret::Secret;

/// The settings that the program may rely on: each within its range, with its default.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it came from, if there was one.
    pub file: Option<PathBuf>,
    /// Where everything is kept.
    pub workspace: PathBuf,
    /// Where the agents are.
    pub agents_dir: PathBuf,
    /// Where the sessions are: `services.session.path`.
    pub sessions_dir: PathBuf,
    /// Where facts for all agents are: `world_memory.path`.
    pub world_memory_dir: PathBuf,
    /// The HTTP server.
    pub server: ServerConfig,
    /// The sessions.
    pub sessions: SessionsConfig,
    /// What bounds the work of all agents.
    pub limits: LimitsConfig,
    /// The messaging platforms.
    pub gateways: GatewaysConfig,
    /// Which chat goes to which agent; the first match wins.
    pub routes: Vec<RouteConfig>,
    /// The models' providers that the file describes: instead of the table's, or others.
    pub providers: BTreeMap<Provider, Described>,
    /// What models cost.
    pub prices: Prices,
    /// Locks the programs of tools in.
    pub sandbox: SandboxConfig,
    /// The tool that reads the web.
    pub web: WebConfig,
    /// The log of the program.
    pub logging: LoggingConfig,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// The address it listens on.
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Clients show it as `Authorization: Bearer …`. Needed where others reach the port.
    pub api_token: Option<Secret>,
    /// Administrators show it in its place: with it the `api_token` administers nothing.
    pub admin_token: Option<Secret>,
    /// Which accounts of this machine may call without a token.
    pub local_users: LocalUsers,
    /// Names that a request may give as `Host`, beside those of the machine itself.
    pub allowed_hosts: Vec<String>,
    /// Web pages that may call the API from a browser.
    pub allowed_origins: Vec<String>,
    /// Below these a request that comes over the network may have a session work.
    pub workdirs: Vec<PathBuf>,
    /// Below so much free space no new turn starts.
    pub min_free_bytes: u64,
    /// How long a blocking answer may take.
    pub request_timeout: Duration,
    /// How long a model's stream may send nothing.
    pub idle_timeout: Duration,
    /// How often an open stream is sent a sign of life.
    pub keep_alive_interval: Duration,
    /// The most connections at a time.
    pub max_connections: usize,
    /// The longest body of a request.
    pub max_body_bytes: usize,
    /// How long turns may take to end at shutdown.
    pub shutdown_grace: Duration,
}

/// Which accounts of this machine may call without a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalUsers {
    /// All of them.
    Any,
    /// The server's own, root, and these.
    OwnerAnd(Vec<u32>),
}

/// The sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionsConfig {
    /// How long one may lie idle; `None` for ever.
    pub ttl_hours: Option<u64>,
    /// The most turns at work at a time.
    pub max_active: usize,
    /// How long an ended one is kept; `None` for ever.
    pub delete_after_hours: Option<u64>,
}

/// What bounds the work of all agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// The most that a reply of a model may hold.
    pub reply_bytes: usize,
}

/// The messaging platforms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewaysConfig {
    /// The bots of the built-in Telegram gateway that are enabled.
    pub telegram: Vec<Telegram>,
    /// Gateways that are programs of their own.
    pub external: Vec<ExternalGateway>,
    /// The program that turns spoken messages into text, as of an [`ExternalGateway`], and its arguments.
    pub transcribe: Option<(PathBuf, Vec<String>)>,
}

/// A bot of the built-in Telegram gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telegram {
    /// Its name in routes and logs.
    pub name: GatewayName,
    /// Whose all its chats are; without one the routes tell.
    pub agent: Option<AgentName>,
    /// The bot's token.
    pub bot_token: Secret,
    /// Another server than Telegram's own.
    pub api_url: Option<String>,
    /// Where it stands in the file, or the agent that it names.
    pub place: Position,
}

/// A gateway that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalGateway {
    /// Its name in routes and logs.
    pub name: GatewayName,
    /// An absolute path, or a bare name to be found in `PATH`.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<Secret>,
    /// Variables that it gets beside the usual ones.
    pub env: BTreeMap<String, Secret>,
    /// When it is started again.
    pub restart: Restart,
    /// Where it stands in the file.
    pub place: Position,
}

/// When a gateway's program is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Whenever it ends.
    Always,
    /// When it fails.
    #[default]
    OnFailure,
    /// Not at all.
    Never,
}

/// Which chats go to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// Values of the routing fields of a message, all of which must fit; none matches every message.
    pub conditions: BTreeMap<String, String>,
    /// Whose the chats are.
    pub agent: AgentName,
    /// Where the file says that.
    pub place: Position,
}

/// The lock of tools' programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxConfig {
    /// By what.
    pub mode: SandboxMode,
    /// They reach the network; in bubblewrap this machine's own services too.
    pub network: bool,
    /// Folders that they may write in, beside the agent's own.
    pub writable: Vec<PathBuf>,
    /// Variables that they are told of this program's environment, beside the usual ones.
    pub env: Vec<String>,
    /// The most memory of one run.
    pub memory_bytes: u64,
    /// The most CPU time of a process, in seconds.
    pub cpu_seconds: Option<u64>,
    /// The image of Docker's containers; there is one in that mode.
    pub image: Option<String>,
}

impl Default for SandboxConfig {
    fn default() -> SandboxConfig {
        SandboxConfig {
            mode: SandboxMode::Trust,
            network: false,
            writable: Vec::new(),
            env: Vec::new(),
            memory_bytes: 2048 << 20,
            cpu_seconds: None,
            image: None,
        }
    }
}

/// The program that locks tools in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SandboxMode {
    /// Nothing.
    #[default]
    Trust,
    /// bubblewrap.
    Bubblewrap,
    /// Docker.
    Docker,
}

/// The tool that reads the web.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebConfig {
    /// The address of the proxy for all its requests; with none, servers are connected to.
    pub proxy: Option<Secret>,
    /// Addresses that may be connected to although they are not on the public internet.
    pub allow_addresses: Vec<AddressRange>,
}

/// The log of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// How much is logged.
    pub level: log::LevelFilter,
    /// In which form.
    pub format: LogFormat,
    /// Into which file, instead of the standard error.
    pub file: Option<PathBuf>,
}

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}
