//! The gate and the server behind it, as one thing to start and stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::random;
use crate::http::access::AccessSettings;
use crate::http::gate::{Exchanges, Gate, GateLimits, GateSettings};
pub use crate::http::gate::{TooFewFiles, listen, refuse_too_few_files};
use crate::http::inner_folder::{self, InnerFolder};
use crate::http::server::{Handler, InnerServer, Listening, ServerSettings};

/// Limits, rules and threads of a [`Front`].
#[derive(Debug, Clone)]
pub struct FrontSettings {
    /// For each client, so that none takes what others need.
    pub limits: GateLimits,
    /// The rules by which the gate lets a request in.
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

/// The server behind the gate, started ahead: while the rest of the program is built, its threads
/// get ready.
pub struct Back {
    // Above the folder, in which it removes its socket at its end.
    listening: Listening,
    folder: InnerFolder,
}

impl Back {
    /// Starts it, in a new private folder: in that for temporary files (`TMPDIR`), or where else
    /// one can be made, at last in `workspace`.
    pub fn start(workspace: Option<&Path>) -> io::Result<Back> {
        let (folder, listening) = InnerFolder::make(workspace, Listening::start)?;
        Ok(Back { listening, folder })
    }
}

/// Where a server of `workspace` would make its private folder.
///
/// Errors: nowhere; why, and what helps.
pub fn temporary_folder(workspace: Option<&Path>) -> io::Result<PathBuf> {
    let bind = |folder: &Path| UnixListener::bind(folder.join("0")).map(drop);
    let (folder, ()) = InnerFolder::make(workspace, bind)?;
    Ok(folder.place().parent().unwrap_or(Path::new("/")).to_owned())
}

/// Removes the private folders of servers of this account that were killed, which could not do it
/// themselves; returns how many there were.
pub fn remove_leftovers(workspace: Option<&Path>) -> usize {
    inner_folder::remove_leftovers(workspace)
}

/// The running HTTP front. Dropping it closes every connection, and returns when its threads have
/// ended and its folder is gone.
///
/// A thread to which a handler gave a request ends by itself then: its client is gone.
pub struct Front {
    // In the order of their end: the gate closes the connections on which handlers may be waiting,
    // the server then finds its threads free, and the folder is of no more use.
    gate: Gate,
    _server: InnerServer,
    _folder: InnerFolder,
}

impl Front {
    /// Serves the clients of `listener`, which is of [`listen`], with `handler`.
    pub fn start(
        settings: FrontSettings,
        back: Back,
        listener: TcpListener,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Front> {
        let Back { listening, folder } = back;
        let exchanges = Exchanges::default();
        // The folder's mode keeps other users from the server's socket; the key keeps out what has come
        // past it, such as a tool that runs as our user.
        let key = random::secret()?;
        let server = InnerServer::start(
            ServerSettings {
                folder: folder.path(),
                handlers: settings.handlers,
                key: key.clone(),
                exchanges: exchanges.clone(),
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
                exchanges,
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
