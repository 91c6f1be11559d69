//! `duragent.yaml`, checked.
//!
//! Invariants:
//! - every path is absolute, every number within its range, every secret a [`Secret`];
//! - one function, `checked::first_of`, holds the precedence: flag, environment, file, default;
//! - unknown keys in what guards something (`server`, `sandbox`, `routes`, `web`,
//!   `providers`) are errors;
//!   elsewhere they are warnings at load and errors in [`validate`].
//!
//! Elsewhere: what an agent may do (`agents`), where the keys of providers may go (`llm`), where the
//! file is looked for ([`lookup`]).

mod checked;
pub mod lookup;
pub mod owner;
mod raw;

pub use checked::{HOST_RULE, parse_host};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::address::AddressRange;
use crate::base::text;
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::pick;
use crate::base::yaml::problem::{Level, Problem};
use crate::base::yaml::read::{self, FromYaml, Report, Sift, Variable};
use crate::base::yaml::tree::{Node, Value};
use crate::domain::ids::AgentName;
use crate::domain::providers::{Described, Provider};
use crate::domain::secret::Secret;

/// The name of the file that is looked for when none is named.
pub const DEFAULT_FILE: &str = "duragent.yaml";
/// The folder in which everything is kept when no other is named.
pub const DEFAULT_WORKSPACE: &str = ".duragent";

/// What a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file, which must exist; its paths are relative to its folder.
    File(PathBuf),
    /// No file: the defaults hold, relative to this folder.
    Defaults(PathBuf),
}

impl ConfigSource {
    /// What `folder` holds: its file, if there is one.
    pub fn of(folder: &Path) -> ConfigSource {
        let file = folder.join(DEFAULT_FILE);
        match file.exists() {
            true => ConfigSource::File(file),
            false => ConfigSource::Defaults(folder.to_owned()),
        }
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            ConfigSource::File(file) => Some(file),
            ConfigSource::Defaults(_) => None,
        }
    }

    /// What relative paths are relative to; empty for the current folder.
    pub fn folder(&self) -> &Path {
        match self {
            ConfigSource::File(file) => file.parent().unwrap_or(Path::new("")),
            ConfigSource::Defaults(folder) => folder,
        }
    }
}

impl Default for ConfigSource {
    /// The defaults, in the current folder.
    fn default() -> ConfigSource {
        ConfigSource::Defaults(PathBuf::new())
    }
}

/// What the program may rely on.
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
    pub server: Server,
    /// The sessions.
    pub sessions: Sessions,
    /// The messaging platforms.
    pub gateways: Gateways,
    /// Which chat goes to which agent; the first match wins.
    pub routes: Vec<Route>,
    /// What is said of the models' providers: instead of what is known of them, or of others.
    pub providers: BTreeMap<Provider, Described>,
    /// What tools are locked into.
    pub sandbox: Sandbox,
    /// The tool that reads the web.
    pub web: Web,
    /// The log of the program.
    pub logging: Logging,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The address it listens on.
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// What clients must show.
    pub api_token: Option<Secret>,
    /// What administrators must show, instead of the `api_token`.
    pub admin_token: Option<Secret>,
    /// Which accounts of this machine may call without a token.
    pub local_users: LocalUsers,
    /// Names that a request may give as `Host`, beside those of the machine itself.
    pub allowed_hosts: Vec<String>,
    /// Web pages that may call the API from a browser.
    pub allowed_origins: Vec<String>,
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
pub struct Sessions {
    /// How long one may lie idle; `None` for ever.
    pub ttl_hours: Option<u64>,
    /// The most turns at work at a time.
    pub max_active: usize,
    /// How long an ended one is kept; `None` for ever.
    pub delete_after_hours: Option<u64>,
}

/// The messaging platforms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gateways {
    /// The built-in Telegram gateway, if it is enabled.
    pub telegram: Option<Telegram>,
    /// Gateways that are programs of their own.
    pub external: Vec<ExternalGateway>,
}

/// The built-in Telegram gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telegram {
    /// The bot's token.
    pub bot_token: Secret,
    /// Another server than Telegram's own.
    pub api_url: Option<String>,
}

/// A gateway that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalGateway {
    /// Its name in routes and logs.
    pub name: String,
    /// What is run: an absolute path, or a bare name to be found in `PATH`.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<Secret>,
    /// Variables that it gets beside the usual ones.
    pub env: BTreeMap<String, Secret>,
    /// When it is started again.
    pub restart: Restart,
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
pub struct Route {
    /// What the routing fields of a message must be, all of them; none matches every message.
    pub conditions: BTreeMap<String, String>,
    /// Whose the chats are.
    pub agent: AgentName,
}

/// What tools are locked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// By what.
    pub mode: SandboxMode,
    /// Whether they reach the network.
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

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox {
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

/// What locks tools in.
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
pub struct Web {
    /// The address of the proxy for all its requests; with none, servers are connected to.
    pub proxy: Option<Secret>,
    /// Addresses that may be connected to although they are not on the public internet.
    pub allow_addresses: Vec<AddressRange>,
}

/// The log of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
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

/// What the command line, or the environment, says instead of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `--workspace`, `DURAGENT_WORKSPACE`; relative to the current folder.
    pub workspace: Option<PathBuf>,
    /// `--agents-dir`, `DURAGENT_AGENTS_DIR`; relative to the current folder.
    pub agents_dir: Option<PathBuf>,
    /// `--host`, `DURAGENT_HOST`.
    pub host: Option<IpAddr>,
    /// `--port`, `DURAGENT_PORT`.
    pub port: Option<u16>,
    /// `-v` and `-q`, `DURAGENT_LOG_LEVEL`.
    pub log_level: Option<log::LevelFilter>,
}

/// A configuration, and what a user should know about its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The reasons, at least one of them an error.
    pub problems: Vec<Problem>,
}

/// One problem a line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration.
    ///
    /// Errors: all problems of the file at once.
    pub fn load(
        origin: &ConfigSource,
        overrides: &Overrides,
        environment: Environment<'_>,
    ) -> Result<Loaded, ConfigError> {
        let (config, problems) = read_config(origin, overrides, environment, Level::Warning);
        match config {
            Some(config) => Ok(Loaded {
                config,
                warnings: problems,
            }),
            None => Err(ConfigError { problems }),
        }
    }
}

/// Where the workspace is, whatever else is wrong with the file: for those who look for its server
/// where the server's own variables are not set.
///
/// Errors: the file cannot be read at all, or the workspace itself is what is wrong.
pub fn workspace(
    origin: &ConfigSource,
    overrides: &Overrides,
    environment: Environment<'_>,
) -> Result<PathBuf, ConfigError> {
    let (config, problems) = read_unchecked(origin, overrides, environment, Level::Warning);
    let is_of_workspace =
        |problem: &Problem| problem.is_error() && problem.message.starts_with("`workspace`");
    match config {
        Some(config) if !problems.iter().any(is_of_workspace) => Ok(config.workspace),
        _ => Err(ConfigError { problems }),
    }
}

/// Everything that is wrong with a configuration file.
pub fn validate(path: &Path, environment: Environment<'_>) -> Vec<Problem> {
    let origin = ConfigSource::File(path.to_owned());
    read_config(&origin, &Overrides::default(), environment, Level::Error).1
}

/// Every key that the file may have, as `server.port`; lists as `routes[].agent`, names of the user's
/// as `providers.<name>.base_url`.
pub fn keys() -> Vec<String> {
    let mut found = Vec::new();
    raw::ConfigFile::keys("", &mut found);
    found
}

fn read_config(
    origin: &ConfigSource,
    flags: &Overrides,
    environment: Environment<'_>,
    unknown_keys: Level,
) -> (Option<Config>, Vec<Problem>) {
    let (config, problems) = read_unchecked(origin, flags, environment, unknown_keys);
    let has_errors = problems.iter().any(Problem::is_error);
    (config.filter(|_| !has_errors), problems)
}

/// The variables of the file: what is not looked at, or is off, needs none of them.
struct Variables<'a> {
    environment: Environment<'a>,
    unread: RefCell<Vec<String>>,
}

/// The keys that other versions read, and this one does not.
const UNREAD: [&str; 4] = [
    "compaction",
    "gateways.discord",
    "gateways.transcribe",
    "sessions.compaction",
];

impl<'a> Variables<'a> {
    fn new(environment: Environment<'a>) -> Variables<'a> {
        Variables {
            environment,
            unread: RefCell::new(UNREAD.map(str::to_owned).to_vec()),
        }
    }
}

impl Sift for Variables<'_> {
    fn sift(&self, root: &mut Node, _: &mut Report) {
        let look = |key: String, gateway: &Node| {
            if pick::word(gateway, "enabled").as_deref() == Some("false") {
                self.unread.borrow_mut().push(key);
            }
        };
        pick::retain(root, "gateways.telegram", &mut |key, gateway| {
            look(key.to_owned(), gateway);
            true
        });
        pick::retain(root, "gateways.external", &mut |key, list| {
            if let Value::List(gateways) = &list.value {
                for (index, gateway) in gateways.iter().enumerate() {
                    look(format!("{key}[{index}]"), gateway);
                }
            }
            true
        });
    }

    fn variable(&self, key: &str, name: &str) -> Variable {
        let is_within = |unread: &String| {
            key.strip_prefix(unread.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match (self.environment)(name) {
            Some(value) => Variable::Set(value),
            // An empty one would be no value at all.
            None if self.unread.borrow().iter().any(is_within) => {
                Variable::Set(format!("${{{name}}}"))
            }
            None => Variable::Unset,
        }
    }
}

/// Values that were refused are defaults in the configuration.
fn read_unchecked(
    origin: &ConfigSource,
    flags: &Overrides,
    environment: Environment<'_>,
    unknown_keys: Level,
) -> (Option<Config>, Vec<Problem>) {
    let file = origin.file().unwrap_or(Path::new(DEFAULT_FILE));
    let text = match origin.file().map(|file| text::read(file, TEXT_BYTES_MAX)) {
        None => String::new(),
        Some(Ok(text)) => text,
        Some(Err(error)) => return (None, vec![Problem::of_file(file, error.to_string())]),
    };
    let variables = match checked::variables(environment) {
        Ok(variables) => variables,
        Err(problem) => return (None, vec![problem]),
    };
    let mut report = Report::new(unknown_keys);
    let sift = Variables::new(environment);
    let (document, raw) = match read::read_sifted_document(text, file, &sift, &mut report) {
        Ok(read) => read,
        Err(problem) => return (None, vec![problem]),
    };
    let sources = checked::Sources {
        origin,
        flags,
        variables: &variables,
    };
    let config = raw.map(|raw| checked::config(raw, &sources, &mut report));
    (config, report.finish(&document, file))
}
