//! What is told to the program that started this one as a service (systemd, or what speaks its
//! protocol): that it is ready, reads its files again, or stops.
//!
//! A message is one datagram to the socket that `NOTIFY_SOCKET` names; without that variable nobody
//! wants to know. A failure is logged, and changes nothing: the service goes on.
//!
//! Source: sd_notify(3), which is one function and a page of prose; no crate is needed for it.

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a message may wait for room in the socket.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whoever started this program and wants to know how it is. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ServiceManager(Option<SocketAddr>);

impl ServiceManager {
    /// As the environment says.
    pub(super) fn from_env() -> ServiceManager {
        let named = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let address = named.as_deref().map(address).transpose();
        if let Err(error) = &address {
            log::warn!("NOTIFY_SOCKET names no socket: {error}");
        }
        ServiceManager(address.ok().flatten())
    }

    /// The program does its work from here on; `status` is for people.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// Files are read again; [`ready`](ServiceManager::ready) follows.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The program ends in good order.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=shutting down");
    }

    /// A sign of life.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        let Some(address) = &self.0 else { return };
        if let Err(error) = send(address, message) {
            let what = message.lines().next().unwrap_or_default();
            log::warn!("the service manager was not told {what}: {error}");
        }
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "neither a path nor an abstract name",
        )),
    }
}

fn send(address: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(message.as_bytes(), address)?;
    Ok(())
}

/// After how long without a sign of life the service is taken for dead; `None` where nobody looks, or
/// where another process was meant.
pub(super) fn watchdog_limit() -> Option<Duration> {
    let number = |name| -> Option<u64> { env::var(name).ok()?.parse().ok() };
    limit_of(number("WATCHDOG_USEC"), number("WATCHDOG_PID"))
}

fn limit_of(micros: Option<u64>, pid: Option<u64>) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid == u64::from(std::process::id()));
    let limit = Duration::from_micros(micros.filter(|_| is_meant)?);
    (!limit.is_zero()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reaches_sockets_of_both_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@duragent-test-{}", fastrand::u64(..));
        for named in [path.as_os_str(), OsStr::new(&name)] {
            let address = address(named).unwrap();
            let listener = UnixDatagram::bind_addr(&address).unwrap();
            listener
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let manager = ServiceManager(Some(address));
            manager.ready("all is well");
            manager.reloading();
            let mut buffer = [0; 200];
            let mut next = || {
                let read = listener.recv(&mut buffer).unwrap();
                String::from_utf8_lossy(&buffer[..read]).into_owned()
            };
            assert_eq!(next(), "READY=1\nSTATUS=all is well");
            let reloading = next();
            let micros = reloading
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0, "{reloading}");
        }
    }

    #[test]
    fn other_names_are_no_sockets_and_nobody_is_no_trouble() {
        assert!(address(OsStr::new("vsock:2:1234")).is_err());
        assert!(address(OsStr::new("relative")).is_err());
        ServiceManager(None).ready("nobody hears it");
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let own = u64::from(std::process::id());
        for (micros, pid, expected) in [
            (None, None, None),
            (None, Some(own), None),
            (Some(0), None, None),
            (Some(2_000_000), None, Some(2)),
            (Some(2_000_000), Some(own), Some(2)),
            (Some(2_000_000), Some(own + 1), None),
        ] {
            let limit = limit_of(micros, pid).map(|limit| limit.as_secs());
            assert_eq!(limit, expected, "{micros:?} {pid:?}");
        }
    }
}
