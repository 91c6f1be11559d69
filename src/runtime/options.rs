//! What the command line may ask of a server, and the configuration that follows.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use log::LevelFilter;

use crate::base::yaml::problem::Problem;
use crate::config::{Config, ConfigSource, Loaded, Overrides};
use crate::runtime::workspace::Starter;

/// Flags of `serve`; what is `None` comes from the environment, the file or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// What the configuration is read from.
    pub origin: ConfigSource,
    /// Where everything is kept.
    pub workspace: Option<PathBuf>,
    /// The address or name to listen on.
    pub host: Option<String>,
    /// The port to listen on; 0 takes any free one.
    pub port: Option<u16>,
    /// Who starts it. For a client, which reads the address from the workspace's lock, any free
    /// port will do when another program has the wanted one.
    pub starter: Starter,
    /// Where the agents are.
    pub agents_dir: Option<PathBuf>,
    /// How much to log, from `-v` and `-q`.
    pub log_level: Option<LevelFilter>,
    /// What becomes of unfinished turns.
    pub resume: Resume,
    /// The server ends by itself after so long with nobody there and nothing to do.
    pub ends_after: Option<Duration>,
}

/// What a start does with turns that the process before it left unfinished.
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
/// Errors: [`ConfigError`](crate::config::ConfigError) for a file that is wrong; a host that is
/// neither an address nor `localhost`.
pub fn load(options: &ServeOptions) -> anyhow::Result<(Config, Vec<Problem>)> {
    let overrides = Overrides {
        agents_dir: options.agents_dir.clone(),
        host: options.host.as_deref().map(parse_host).transpose()?,
        port: options.port,
        log_level: options.log_level,
        workspace: options.workspace.clone(),
    };
    let environment = |name: &str| std::env::var(name).ok();
    let Loaded { config, warnings } = Config::load(&options.origin, &overrides, &environment)?;
    Ok((config, warnings))
}

fn parse_host(host: &str) -> anyhow::Result<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let host = host.trim_matches(['[', ']']);
    host.parse()
        .with_context(|| format!("--host {host} is not an IP address"))
}
