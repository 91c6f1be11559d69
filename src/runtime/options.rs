//! What the command line may ask of a server, and the configuration that follows.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use crate::base::yaml::problem::Problem;
use crate::config::{Config, ConfigError, ConfigSource, Loaded, Overrides};
use crate::workspace::holder::Starter;

/// Flags of `serve`; what is `None` comes from the environment, the file or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// The file of the configuration, or the folder whose defaults hold.
    pub origin: ConfigSource,
    /// Where everything is kept.
    pub workspace: Option<PathBuf>,
    /// The address to listen on.
    pub host: Option<IpAddr>,
    /// The port to listen on; 0 takes any free one.
    pub port: Option<u16>,
    /// Who starts it. For a client, which reads the address from the workspace's lock, any free
    /// port will do when another program has the wanted one.
    pub starter: Starter,
    /// Where the agents are.
    pub agents_dir: Option<PathBuf>,
    /// How much to log, from `-v` and `-q`.
    pub log_level: Option<LevelFilter>,
    /// The fate of turns that the process before it left unfinished.
    pub resume: Resume,
    /// The server ends by itself after so long with nobody there and nothing to do.
    pub ends_after: Option<Duration>,
}

/// The fate of turns that the process before this one left unfinished.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resume {
    /// Takes them up, unless the server has crashed again and again.
    #[default]
    Auto,
    /// Takes them up.
    Always,
    /// Leaves them waiting until a client attaches or a message comes.
    Never,
}

/// The configuration that holds for these flags, and what a user should know about its file.
///
/// Errors: the file is wrong.
pub fn load(options: &ServeOptions) -> Result<(Config, Vec<Problem>), ConfigError> {
    let overrides = Overrides {
        agents_dir: options.agents_dir.clone(),
        host: options.host,
        port: options.port,
        log_level: options.log_level,
        workspace: options.workspace.clone(),
    };
    let environment = |name: &str| std::env::var(name).ok();
    let Loaded { config, warnings } = Config::load(&options.origin, &overrides, &environment)?;
    Ok((config, warnings))
}
