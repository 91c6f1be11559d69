//! What a configuration is read from.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The name of the file that is looked for when none is named.
pub const DEFAULT_FILE: &str = "duragent.yaml";
/// The folder in which everything is kept when no other is named.
pub const DEFAULT_WORKSPACE: &str = ".duragent";

/// The file or folder that a configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigSource {
    /// A file, which must exist; its paths are relative to its folder.
    File(PathBuf),
    /// No file: the defaults hold, relative to this folder.
    Defaults(PathBuf),
}

impl ConfigSource {
    /// The file in `folder`, if there is one, else the defaults there.
    pub fn of(folder: &Path) -> ConfigSource {
        let file = folder.join(DEFAULT_FILE);
        if file.exists() {
            ConfigSource::File(file)
        } else {
            ConfigSource::Defaults(folder.to_owned())
        }
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            ConfigSource::File(file) => Some(file),
            ConfigSource::Defaults(_) => None,
        }
    }

    /// The folder that relative paths of the file begin in; empty for the current one.
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

/// The settings that the command line, or the environment, puts in the place of the file's.
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
