//! What clients take from the configuration: where the workspace is, and how to be let in.

use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::failure::Failure;
use crate::config::{self, Config, Overrides};
use crate::domain::spec::Provider;
use crate::runtime::offline::Files;

/// Settings of the commands that talk to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientSettings {
    /// The configuration file that was named.
    pub(super) config: Option<PathBuf>,
    /// The workspace.
    pub(super) workspace: PathBuf,
    /// Where sessions are kept.
    pub(super) sessions_dir: PathBuf,
    /// Where the agents are.
    pub(super) agents_dir: PathBuf,
    /// Providers that the configuration describes.
    pub(super) providers: Vec<Provider>,
    /// The token of the workspace's own server.
    pub(super) token: Option<String>,
    /// Whether to say more than usual.
    pub(super) is_verbose: bool,
}

/// The settings for this command line, and the folder it is run in.
///
/// Errors: the configuration is wrong, or the file that was named does not exist.
pub(super) fn client_settings(global: &Global) -> Result<ClientSettings, Failure> {
    let loaded = Config::load(global.config.as_deref(), &flags(global), &environment);
    let config = loaded
        .map_err(|error| Failure::usage(error.to_string()))?
        .config;
    Ok(ClientSettings {
        config: global.config.clone(),
        workspace: config.workspace,
        sessions_dir: config.sessions_dir,
        agents_dir: config.agents_dir,
        providers: config.providers.into_keys().collect(),
        token: config
            .server
            .api_token
            .map(|token| token.reveal().to_owned()),
        is_verbose: global.verbose > 0,
    })
}

/// Where the workspace is: all that is needed to find its server.
///
/// Errors: the file that was named does not exist, or does not tell.
pub(super) fn workspace(global: &Global) -> Result<PathBuf, Failure> {
    config::workspace(global.config.as_deref(), &flags(global), &environment)
        .map_err(|error| Failure::usage(error.to_string()))
}

fn flags(global: &Global) -> Overrides {
    Overrides {
        workspace: global.workspace.clone(),
        ..Overrides::default()
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl ClientSettings {
    /// The sessions of the workspace, on their files.
    pub(super) fn files(&self) -> Files {
        Files::new(&self.workspace, &self.sessions_dir)
    }

    /// Where a server that a client starts writes its log.
    pub(super) fn serve_log(&self) -> PathBuf {
        self.workspace.join("serve.log")
    }

    /// Where the configuration is, or would be.
    pub(super) fn config_file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new("duragent.yaml"))
    }
}
