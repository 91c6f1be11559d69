//! What the command line may ask of a server.

use std::path::PathBuf;

use log::LevelFilter;

/// Flags of `serve`; what is `None` comes from the environment, the file or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServeOptions {
    /// The configuration file; one that is named must exist.
    pub config: Option<PathBuf>,
    /// The address or name to listen on.
    pub host: Option<String>,
    /// The port to listen on; 0 takes any free one.
    pub port: Option<u16>,
    /// Where the agents are.
    pub agents_dir: Option<PathBuf>,
    /// How much to log, from `-v` and `-q`.
    pub log_level: Option<LevelFilter>,
}
