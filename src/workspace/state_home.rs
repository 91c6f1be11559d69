//! The owner's own folders: what this account knows of workspaces, and no workspace may say itself.
//!
//! Source: XDG Base Directory Specification; relative paths mean nothing there.

use std::env;
use std::io;
use std::path::PathBuf;

/// `$XDG_STATE_HOME/duragent`, else `~/.local/state/duragent`; made by whoever writes in it.
///
/// Errors: no variable names an absolute path, and the account has no home.
pub(super) fn folder() -> io::Result<PathBuf> {
    place("XDG_STATE_HOME", ".local/state")
        .ok_or_else(|| io::Error::other("neither XDG_STATE_HOME nor HOME names a folder"))
}

/// `$XDG_CONFIG_HOME/duragent`, else `~/.config/duragent`: what this account wants everywhere.
pub(super) fn config_folder() -> Option<PathBuf> {
    place("XDG_CONFIG_HOME", ".config")
}

/// The owner's configuration.
pub(super) fn owners_file() -> Option<PathBuf> {
    Some(config_folder()?.join("config.yaml"))
}

fn place(variable: &str, usual: &str) -> Option<PathBuf> {
    let is_absolute = |path: &PathBuf| path.is_absolute();
    let named = env::var_os(variable).map(PathBuf::from);
    // Without `HOME` it is the one that the system's list of accounts names.
    let home = || env::home_dir().filter(is_absolute);
    let folder = named
        .filter(is_absolute)
        .or_else(|| Some(home()?.join(usual)))?;
    Some(folder.join("duragent"))
}
