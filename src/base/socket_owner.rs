//! Whose the other end of a TCP connection is, where that end is on this machine.
//!
//! The kernel is asked over netlink, which takes some microseconds and never waits, or its list of
//! all sockets is read.
//!
//! Invariants:
//! - an answer is of exactly the socket that was asked for: the kernel offers a listener on its
//!   port where there is no such connection, and that is nobody's end of it;
//! - a socket that its owner has closed has no owner any more: the kernel reports it as root's.
//!
//! Source: sock_diag(7), proc_pid_net(5).

use std::cell::RefCell;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// A connection, as this side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The address of the other side.
    pub theirs: SocketAddr,
    /// Our own.
    pub ours: SocketAddr,
}

impl Ends {
    /// Without the shape in which a socket for both versions of the protocol shows IPv4.
    fn canonical(self) -> Ends {
        Ends {
            theirs: canonical(self.theirs),
            ours: canonical(self.ours),
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The other end of a connection, while somebody has it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSocket {
    /// The account that made it.
    pub uid: u32,
    /// The socket's number, as `/proc/PID/fd` shows it.
    pub inode: NonZeroU32,
}

thread_local! {
    /// Kept by each thread that asks: opening one costs more than the question.
    static DIAG: RefCell<Option<SocketDiag>> = const { RefCell::new(None) };
}

/// Finds the other end by whatever works; `None` when nobody on this machine has it open.
///
/// Errors: the system tells nothing.
pub fn find(ends: Ends) -> io::Result<Option<OpenSocket>> {
    let asked = DIAG.with_borrow_mut(|kept| {
        let mut diag = match kept.take() {
            Some(diag) => diag,
            None => SocketDiag::open()?,
        };
        let found = diag.find(ends)?;
        *kept = Some(diag);
        Ok::<_, io::Error>(found)
    });
    match asked {
        Ok(Some(found)) => Ok(Some(found)),
        // A kernel that lacks the module says the same as for a socket that is not there.
        Ok(None) | Err(_) => Ok(find_in_list(&[ends])?.pop().flatten()),
    }
}

/// The kernel, asked over netlink.
#[derive(Debug)]
pub struct SocketDiag {
    netlink: OwnedFd,
    seq: u32,
}

const REQUEST_BYTES: usize = 72;
const REPLY_BYTES: usize = 88;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

impl SocketDiag {
    /// Opens it, and tries it on a socket that is there.
    ///
    /// `listener` is the address that a socket of this machine listens on.
    ///
    /// Errors: the system does not answer that way.
    pub fn tried_on(listener: SocketAddr) -> io::Result<SocketDiag> {
        let mut diag = SocketDiag::open()?;
        let nobody = match listener {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        diag.ask(listener, nobody)?;
        Ok(diag)
    }

    fn open() -> io::Result<SocketDiag> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = Some(netlink::SOCK_DIAG);
        Ok(SocketDiag {
            netlink: socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, family)?,
            seq: 0,
        })
    }

    /// The other end of a connection; `None` when there is none, or nobody has it open. Does not
    /// wait.
    ///
    /// Errors: the system's, other than that there is none.
    pub fn find(&mut self, ends: Ends) -> io::Result<Option<OpenSocket>> {
        let ends = ends.canonical();
        match self.ask(ends.theirs, ends.ours) {
            Ok(reply) => Ok(reply.open_socket(ends)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn ask(&mut self, local: SocketAddr, remote: SocketAddr) -> Result<DiagReply, Errno> {
        self.seq = self.seq.wrapping_add(1);
        let kernel = SocketAddrNetlink::new(0, 0);
        let request = request(self.seq, local, remote);
        sendto(&self.netlink, &request, SendFlags::empty(), &kernel)?;
        loop {
            // The kernel has answered before the sending is over.
            let mut bytes = [0; 256];
            let (_, taken) = recv(&self.netlink, &mut bytes, RecvFlags::DONTWAIT)?;
            let message = bytes.get(..taken).ok_or(Errno::BADMSG)?;
            if number(message, 8).ok_or(Errno::BADMSG)? == self.seq {
                return DiagReply::parse(message);
            }
        }
    }
}

/// One `nlmsghdr` and one `inet_diag_req_v2` in it.
fn request(seq: u32, local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST_BYTES] {
    let family = match local {
        SocketAddr::V4(_) => AF_INET,
        SocketAddr::V6(_) => AF_INET6,
    };
    let mut bytes = Vec::with_capacity(REQUEST_BYTES);
    bytes.extend((REQUEST_BYTES as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(address_bytes(local.ip()));
    bytes.extend(address_bytes(remote.ip()));
    bytes.extend(0_u32.to_ne_bytes());
    // No cookie.
    bytes.extend([0xff; 8]);
    bytes
        .try_into()
        .expect("the parts are as long as the whole")
}

fn address_bytes(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}

/// What the kernel says of a socket: an `inet_diag_msg`.
#[derive(Debug, PartialEq, Eq)]
struct DiagReply {
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    inode: u32,
}

impl DiagReply {
    fn parse(message: &[u8]) -> Result<DiagReply, Errno> {
        let kind = message.get(4..6).ok_or(Errno::BADMSG)?;
        match u16::from_ne_bytes([kind[0], kind[1]]) {
            NLMSG_ERROR => {
                let code = number(message, 16).ok_or(Errno::BADMSG)?.cast_signed();
                Err(Errno::from_raw_os_error(code.saturating_neg()))
            }
            SOCK_DIAG_BY_FAMILY => DiagReply::of_socket(message).ok_or(Errno::BADMSG),
            _ => Err(Errno::BADMSG),
        }
    }

    fn of_socket(message: &[u8]) -> Option<DiagReply> {
        if message.len() < REPLY_BYTES {
            return None;
        }
        let family = message[16];
        let port = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        let ip = |at: usize| address(family, &message[at..at + 16]);
        Some(DiagReply {
            local: SocketAddr::new(ip(24)?, port(20)),
            remote: SocketAddr::new(ip(40)?, port(22)),
            uid: number(message, 80)?,
            inode: number(message, 84)?,
        })
    }

    fn open_socket(&self, wanted: Ends) -> Option<OpenSocket> {
        let found = Ends {
            theirs: self.local,
            ours: self.remote,
        };
        let is_it = found.canonical() == wanted;
        let inode = NonZeroU32::new(self.inode).filter(|_| is_it)?;
        Some(OpenSocket {
            uid: self.uid,
            inode,
        })
    }
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    match family {
        AF_INET => Some(Ipv4Addr::from([bytes[0], bytes[1], bytes[2], bytes[3]]).into()),
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn number(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Reads the list of all sockets of this machine once, for the other ends of several connections,
/// in their order. It is as long as there are sockets.
///
/// Errors: it cannot be read.
pub fn find_in_list(wanted: &[Ends]) -> io::Result<Vec<Option<OpenSocket>>> {
    let wanted: Vec<Ends> = wanted.iter().map(|ends| ends.canonical()).collect();
    let mut found = vec![None; wanted.len()];
    // A socket for both versions of the protocol stands in the second, also with IPv4.
    let lists = [
        fs::read_to_string("/proc/self/net/tcp")?,
        // Not there where the system has no IPv6.
        fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default(),
    ];
    for (ends, socket) in lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(listed)
    {
        for (wanted, found) in wanted.iter().zip(&mut found) {
            if *wanted == ends {
                *found = Some(socket);
            }
        }
    }
    Ok(found)
}

/// A line of the list; `None` for its heading, and for what nobody has open.
fn listed(line: &str) -> Option<(Ends, OpenSocket)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let ends = Ends {
        theirs: listed_address(fields.get(1)?)?,
        ours: listed_address(fields.get(2)?)?,
    };
    let socket = OpenSocket {
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    };
    Some((ends.canonical(), socket))
}

/// `0100007F:1F90`: words of four bytes, each as a number of this machine.
fn listed_address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = words.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match words.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::accounts;
    use std::net::{Shutdown, TcpListener, TcpStream};

    /// The client's end, the server's, and what they are called from the server's side.
    fn connected(listening_on: &str, called: &str) -> (TcpStream, TcpStream, Ends) {
        let listener = TcpListener::bind(listening_on).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((called, port)).unwrap();
        let (server, theirs) = listener.accept().unwrap();
        let ours = server.local_addr().unwrap();
        (client, server, Ends { theirs, ours })
    }

    fn has_ipv6() -> bool {
        TcpListener::bind("[::1]:0").is_ok()
    }

    /// By both ways, which must agree.
    fn found(ends: Ends) -> Option<OpenSocket> {
        let by_netlink = SocketDiag::open().unwrap().find(ends).unwrap();
        assert_eq!(find_in_list(&[ends]).unwrap(), [by_netlink]);
        assert_eq!(find(ends).unwrap(), by_netlink);
        by_netlink
    }

    fn inode_of(socket: &TcpStream) -> u32 {
        u32::try_from(rustix::fs::fstat(socket).unwrap().st_ino).unwrap()
    }

    #[test]
    fn the_other_end_is_found_in_both_versions_of_the_protocol() {
        let mut pairs = vec![("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2")];
        if has_ipv6() {
            // The last shows an IPv4 client in the shape of IPv6.
            pairs.extend([
                ("[::1]:0", "::1"),
                ("[::]:0", "::1"),
                ("[::]:0", "127.0.0.1"),
            ]);
        }
        for (listening_on, called) in pairs {
            let (client, _server, ends) = connected(listening_on, called);
            let expected = OpenSocket {
                uid: accounts::own(),
                inode: NonZeroU32::new(inode_of(&client)).unwrap(),
            };
            assert_eq!(found(ends), Some(expected), "{ends:?}");
        }
    }

    #[test]
    fn a_client_that_shows_ipv4_as_ipv6_is_found() {
        if !has_ipv6() {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let client = TcpStream::connect((mapped, port)).unwrap();
        let (server, theirs) = listener.accept().unwrap();
        let ours = server.local_addr().unwrap();
        let inode = found(Ends { theirs, ours }).unwrap().inode;
        assert_eq!(inode.get(), inode_of(&client));
    }

    #[test]
    fn an_end_that_only_sends_no_more_has_its_owner_and_a_closed_one_has_none() {
        let (client, server, ends) = connected("127.0.0.1:0", "127.0.0.1");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(found(ends).map(|socket| socket.uid), Some(accounts::own()));
        drop(client);
        assert_eq!(found(ends), None);
        drop(server);
        assert_eq!(found(ends), None);
    }

    #[test]
    fn a_listener_on_the_port_is_not_taken_for_the_end_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = listener.local_addr().unwrap();
        let ours = SocketAddr::from(([127, 0, 0, 1], 1));
        assert_eq!(found(Ends { theirs, ours }), None);
        SocketDiag::tried_on(theirs).unwrap();
        drop(listener);
        assert!(SocketDiag::tried_on(theirs).is_err());
    }

    #[test]
    fn one_reading_of_the_list_serves_several_in_their_order() {
        let pairs: Vec<_> = (0..3)
            .map(|_| connected("127.0.0.1:0", "127.0.0.1"))
            .collect();
        let ends: Vec<Ends> = pairs.iter().map(|(.., ends)| *ends).collect();
        let inodes: Vec<Option<u32>> = find_in_list(&ends)
            .unwrap()
            .iter()
            .map(|found| found.map(|socket| socket.inode.get()))
            .collect();
        let expected: Vec<Option<u32>> = pairs
            .iter()
            .map(|(client, ..)| Some(inode_of(client)))
            .collect();
        assert_eq!(inodes, expected);
    }

    #[test]
    fn what_the_kernel_says_is_read_as_it_stands() {
        let mut message = [0_u8; REPLY_BYTES];
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message[16] = AF_INET;
        message[20..24].copy_from_slice(&[0x1f, 0x90, 0, 80]);
        message[24..28].copy_from_slice(&[127, 0, 0, 1]);
        message[40..44].copy_from_slice(&[127, 0, 0, 2]);
        message[80..84].copy_from_slice(&1001_u32.to_ne_bytes());
        message[84..88].copy_from_slice(&77_u32.to_ne_bytes());
        let reply = DiagReply::parse(&message).unwrap();
        assert_eq!(
            reply,
            DiagReply {
                local: SocketAddr::from(([127, 0, 0, 1], 8080)),
                remote: SocketAddr::from(([127, 0, 0, 2], 80)),
                uid: 1001,
                inode: 77,
            }
        );
        for cut in 0..REPLY_BYTES {
            assert_eq!(
                DiagReply::parse(&message[..cut]),
                Err(Errno::BADMSG),
                "{cut}"
            );
        }
        message[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        message[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(DiagReply::parse(&message), Err(Errno::NOENT));
    }

    #[test]
    fn lines_that_are_none_are_no_sockets() {
        let line = "  1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  \
                    1001        0 4711 1 0 20 4 30 10 -1";
        assert!(listed(line).is_some());
        for (from, to) in [
            ("4711", "0"),
            ("1F90", "x"),
            ("0100007F:D", "7F:D"),
            (" 1001", " x"),
        ] {
            assert_eq!(listed(&line.replacen(from, to, 1)), None, "{from}");
        }
        assert_eq!(listed("  sl  local_address rem_address   st"), None);
    }
}
