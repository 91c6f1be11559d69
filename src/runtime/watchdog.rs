//! Signs of life, for a service manager that restarts a service which gives none.
//!
//! A timer would prove that a timer runs. So each sign is earned: the server is asked over its own
//! port, as a client asks, and its answer has come through the gate and a thread that takes requests.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::base::stop::{self, StopSource};
use crate::base::thread::{self, Joined, STACK_SMALL};
use crate::runtime::service_manager::{self, ServiceManager};

/// What an answer of any kind begins with; a gate that has no room for one more client lives, too.
const ANSWER: &[u8] = b"HTTP/1.1 ";

/// Earns signs of life as long as it lives.
#[derive(Debug)]
pub(super) struct Watchdog {
    // Above the thread, which ends when this is dropped.
    _stop: StopSource,
    _thread: Joined,
}

impl Watchdog {
    /// Starts the thread `watchdog` if anybody wants signs of life from this process.
    ///
    /// Errors: the system has no thread to give.
    pub(super) fn start(
        manager: &ServiceManager,
        listens_at: SocketAddr,
    ) -> io::Result<Option<Watchdog>> {
        let Some(limit) = service_manager::watchdog_limit() else {
            return Ok(None);
        };
        let (source, stop) = stop::pair();
        let manager = manager.clone();
        let address = reachable(listens_at);
        // Twice in the time, as sd_watchdog_enabled(3) advises.
        let (rest, patience) = (limit / 4, limit / 4);
        let thread = thread::spawn("watchdog", STACK_SMALL, move || {
            loop {
                match ask(address, patience) {
                    Ok(()) => manager.alive(),
                    Err(error) => log::error!("the server does not answer itself: {error}"),
                }
                if stop.wait(rest) {
                    return;
                }
            }
        })?;
        Ok(Some(Watchdog {
            _stop: source,
            _thread: thread,
        }))
    }
}

/// Where one who listens at `address` is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let head = format!("GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer)?;
    if answer != ANSWER {
        return Err(io::Error::other("it answers with something else"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_takes_connections_and_answers_nothing_is_no_sign_of_life() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(ask(address, Duration::from_millis(50)).is_err());
        let answering = std::thread::spawn(move || {
            // The first came from the one above.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            stream
        });
        ask(address, Duration::from_secs(20)).unwrap();
        answering.join().unwrap();
    }
}
