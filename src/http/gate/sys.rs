//! What the gate asks of the system beyond the standard library.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};

/// Connections that may wait to be accepted: a burst of as many clients as we serve by default.
const BACKLOG: i32 = 1024;
/// How long a client may leave our bytes unacknowledged, or our probes unanswered.
const VANISHED_AFTER: Duration = Duration::from_secs(30);
/// A silent client is probed after so long,
const PROBE_AFTER: Duration = Duration::from_secs(10);
/// then so often, until it has been silent for [`VANISHED_AFTER`].
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// What the system holds for a client on its way out. It reports room only when a third of this is
/// free: with the megabytes that it takes by itself, a slow client would look like one that takes
/// nothing. It also bounds what a thousand clients that read nothing can cost.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// Listens on `address`. What every connection shall inherit is set before the first can come: no
/// delay of small writes, and an end when the client has vanished.
///
/// Source: tcp(7); Linux copies these options from the listener to what it accepts.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // As the standard library does: what a server before us has left behind does not keep us out.
    sockopt::set_socket_reuseaddr(&listener, true)?;
    sockopt::set_tcp_nodelay(&listener, true)?;
    sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER_BYTES)?;
    sockopt::set_socket_keepalive(&listener, true)?;
    sockopt::set_tcp_keepidle(&listener, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(&listener, PROBE_EVERY)?;
    let probes = (VANISHED_AFTER - PROBE_AFTER).as_secs() / PROBE_EVERY.as_secs();
    sockopt::set_tcp_keepcnt(&listener, probes as u32)?;
    sockopt::set_tcp_user_timeout(&listener, VANISHED_AFTER.as_millis() as u32)?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(TcpListener::from(listener))
}

/// Accepts a connection that does not wait.
pub(super) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (client, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.ok_or(ErrorKind::ConnectionAborted)?;
    let peer = SocketAddr::try_from(peer).map_err(io::Error::from)?;
    Ok((TcpStream::from(client), peer))
}

/// Begins a connection without waiting; one to a Unix socket stands at once or not at all.
///
/// Errors: `WouldBlock` when its backlog is full, `ConnectionRefused` when nobody listens.
pub(in crate::http) fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// Raises the limit of open files as far as the system lets us, and returns it.
pub(super) fn raise_open_files() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum.unwrap_or(u64::MAX),
        Err(err) => {
            log::debug!("cannot raise the limit of open files: {err}");
            limit.current.unwrap_or(u64::MAX)
        }
    }
}
