//! What the gate asks of the system beyond the standard library.

use std::io;
use std::net::TcpListener;
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

/// Raises the backlog, and sets what every connection shall inherit: no delay of small writes, and
/// an end when the client has vanished.
///
/// Source: tcp(7); Linux copies these options from the listener to what it accepts.
pub(super) fn prepare_listener(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    rustix::net::listen(listener, BACKLOG)?;
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_send_buffer_size(listener, SEND_BUFFER_BYTES)?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, PROBE_EVERY)?;
    let probes = (VANISHED_AFTER - PROBE_AFTER).as_secs() / PROBE_EVERY.as_secs();
    sockopt::set_tcp_keepcnt(listener, probes as u32)?;
    sockopt::set_tcp_user_timeout(listener, VANISHED_AFTER.as_millis() as u32)?;
    Ok(())
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
