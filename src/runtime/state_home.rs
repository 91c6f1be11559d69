//! The owner's state folder: what this account knows of workspaces, and no workspace may say itself.

use std::env;
use std::io;
use std::path::PathBuf;

/// `$XDG_STATE_HOME/duragent`, else `~/.local/state/duragent`; made by whoever writes in it.
///
/// Errors: neither variable names an absolute path.
///
/// Source: XDG Base Directory Specification.
pub(super) fn folder() -> io::Result<PathBuf> {
    place("XDG_STATE_HOME", ".local/state")
        .ok_or_else(|| io::Error::other("neither XDG_STATE_HOME nor HOME names a folder"))
}

/// `$XDG_CONFIG_HOME/duragent`, else `~/.config/duragent`: what this account wants everywhere.
pub(super) fn config_folder() -> Option<PathBuf> {
    place("XDG_CONFIG_HOME", ".config")
}

fn place(variable: &str, usual: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let folder = absolute(variable).or_else(|| Some(absolute("HOME")?.join(usual)))?;
    Some(folder.join("duragent"))
}
