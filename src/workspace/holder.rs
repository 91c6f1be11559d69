//! Who serves a workspace, and how it is taken.

pub use crate::store::lock::{LockHolder, Starter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::store::lock::{self, LockError, WorkspaceLock};

/// The server of `workspace`; `None` when there is none.
pub fn current(workspace: &Path) -> Option<LockHolder> {
    lock::read_holder(workspace)
}

/// The server of `workspace` that was killed or crashed, where none runs now.
pub fn crashed(workspace: &Path) -> Option<LockHolder> {
    lock::read_crashed(workspace)
}

/// The address of a server as a URL; one that listens everywhere is reached on this machine.
pub fn url_of(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// A workspace that this process has taken, for as long as this lives.
#[derive(Debug)]
pub(crate) struct HeldWorkspace {
    workspace: WorkspaceLock,
    _sessions: Option<WorkspaceLock>,
}

impl HeldWorkspace {
    /// Tells others where this process listens, and who started it.
    pub(crate) fn set_address(
        &self,
        address: &SocketAddr,
        starter: Starter,
    ) -> Result<(), LockError> {
        self.workspace.set_address(address, starter)
    }
}

/// Takes a workspace for this process. Sessions that are kept outside it have a lock of their own:
/// two workspaces may name the same folder.
///
/// Errors: [`LockError::Held`] when another has it.
pub(crate) fn take(workspace: &Path, sessions: &Path) -> Result<HeldWorkspace, LockError> {
    let is_outside = !sessions.starts_with(workspace);
    Ok(HeldWorkspace {
        workspace: lock_folder(workspace)?,
        _sessions: is_outside.then(|| lock_folder(sessions)).transpose()?,
    })
}

fn lock_folder(folder: &Path) -> Result<WorkspaceLock, LockError> {
    /// A client that looks who serves the workspace holds the lock for an instant.
    const TRIES: u32 = 10;
    const BETWEEN: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        match WorkspaceLock::acquire(folder) {
            Err(LockError::Held { holder: None, .. }) => std::thread::sleep(BETWEEN),
            other => return other,
        }
    }
    WorkspaceLock::acquire(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_reached_here() {
        for (address, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(url_of(address.parse().unwrap()), url);
        }
    }
}
