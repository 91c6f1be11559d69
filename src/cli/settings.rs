//! What clients take from the configuration: where the workspace is, and how to be let in.

use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::failure::Failure;

/// Settings of the commands that talk to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientSettings {
    /// The configuration file that was named.
    pub(super) config: Option<PathBuf>,
    /// The workspace.
    pub(super) workspace: PathBuf,
    /// The token of the workspace's own server.
    pub(super) token: Option<String>,
    /// The port that a server of this workspace takes, if it is free.
    pub(super) port: u16,
}

/// The settings for this command line, and the folder it is run in.
///
/// Errors: a file that was named does not exist.
pub(super) fn client_settings(global: &Global) -> Result<ClientSettings, Failure> {
    const DEFAULT_WORKSPACE: &str = ".duragent";
    const DEFAULT_PORT: u16 = 8080;
    if let Some(config) = &global.config
        && !config.is_file()
    {
        let shown = config.display();
        return Err(Failure::usage(format!("cannot read {shown}: no such file")));
    }
    Ok(ClientSettings {
        config: global.config.clone(),
        workspace: PathBuf::from(DEFAULT_WORKSPACE),
        token: None,
        port: DEFAULT_PORT,
    })
}

impl ClientSettings {
    /// Where a server that a client starts writes its log.
    pub(super) fn serve_log(&self) -> PathBuf {
        self.workspace.join("serve.log")
    }

    /// Where the agents are.
    pub(super) fn agents_dir(&self) -> PathBuf {
        self.workspace.join("agents")
    }

    /// Where the configuration is, or would be.
    pub(super) fn config_file(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new("duragent.yaml"))
    }
}
