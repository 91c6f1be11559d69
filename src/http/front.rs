//! The gate and the server behind it, as one thing to start and stop.

use std::env;
use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::http::access::AccessSettings;
use crate::http::gate::{Gate, GateLimits, GateSettings, Presence};
use crate::http::server::{Handler, Listening, Server, ServerSettings};

/// What the front works with.
#[derive(Debug, Clone)]
pub struct FrontSettings {
    /// What a client may take of us.
    pub limits: GateLimits,
    /// Who may ask for what.
    pub access: AccessSettings,
    /// Threads that take requests; each answers at once or gives its request to another thread.
    pub handlers: usize,
}

impl Default for FrontSettings {
    fn default() -> FrontSettings {
        FrontSettings {
            limits: GateLimits::default(),
            access: AccessSettings::default(),
            handlers: 8,
        }
    }
}

/// What the gate will stand before, started ahead: while the rest of the program is built, its
/// threads get ready.
pub struct Back {
    // Above the folder, in which it removes its socket at its end.
    listening: Listening,
    folder: TempDir,
}

impl Back {
    /// Starts it, in a new private folder.
    pub fn start() -> io::Result<Back> {
        let folder = private_folder()?;
        let listening = Listening::start(folder.path())?;
        Ok(Back { listening, folder })
    }
}

/// The running HTTP front. Dropping it closes every connection, and returns when its threads have
/// ended and its folder is gone.
///
/// A thread to which a handler gave a request ends by itself then: its client is gone.
pub struct Front {
    // In the order of their end: the gate closes the connections on which handlers may be waiting,
    // the server then finds its threads free, and the folder is of no more use.
    gate: Gate,
    _server: Server,
    _folder: TempDir,
}

impl Front {
    /// Serves the clients of `listener` with `handler`.
    pub fn start(
        settings: FrontSettings,
        back: Back,
        listener: TcpListener,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Front> {
        let Back { listening, folder } = back;
        let presence = Presence::default();
        let key = random_key()?;
        let server = Server::start(
            ServerSettings {
                folder: folder.path().to_owned(),
                handlers: settings.handlers,
                key: key.clone(),
                presence: presence.clone(),
            },
            listening,
            handler,
        )?;
        let gate = Gate::start(
            GateSettings {
                limits: settings.limits,
                access: settings.access,
                key,
                upstream: server.upstream(),
                presence,
            },
            listener,
        )?;
        // While the first request is on its way, which then need not start one.
        server.add_spare()?;
        Ok(Front {
            gate,
            _server: server,
            _folder: folder,
        })
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.gate.local_addr()
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.gate.open_connections()
    }

    /// How often the gate's thread has woken: with nothing to do, it stands still.
    pub fn wakes(&self) -> u64 {
        self.gate.wakes()
    }

    /// Stops accepting and ends idle connections; requests in progress go on to their end.
    pub fn drain(&self) {
        self.gate.drain();
    }

    /// Drains, and waits until every client has its answer and is gone, at most `limit`; returns
    /// whether all are.
    pub fn finish(&self, limit: Duration) -> bool {
        self.gate.finish(limit)
    }

    /// Closes every connection and ends the threads; the same as dropping it.
    pub fn stop(self) {}
}

/// The longest path of a temporary folder in which a socket of ours has room: a socket's path ends
/// at 107 bytes.
const FOLDER_BYTES_MAX: usize = 70;

/// A new folder that only we may enter; never in the workspace, whose path may be long.
fn private_folder() -> io::Result<TempDir> {
    let mut wanted = env::temp_dir();
    if wanted.as_os_str().len() > FOLDER_BYTES_MAX {
        wanted = PathBuf::from("/tmp");
    }
    tempfile::Builder::new()
        .prefix("duragent-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(wanted)
}

/// 128 bits that nobody outside can guess, in hex.
///
/// The folder's mode keeps other users from the server's socket; the key keeps out what has come
/// past it, such as a tool that runs as our user.
fn random_key() -> io::Result<String> {
    let mut bits = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)))
}
