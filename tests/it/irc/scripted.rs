//! An IRC server that says what a test wants: for what ngIRCd cannot do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::support::server::PATIENCE;

/// A server before somebody came.
pub struct Scripted(TcpListener);

/// Whom it serves.
pub struct Guest {
    source: BufReader<TcpStream>,
}

impl Scripted {
    pub fn start() -> Scripted {
        Scripted(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn port(&self) -> String {
        self.0.local_addr().unwrap().port().to_string()
    }

    /// Who comes next, and has said who he is.
    pub fn guest(&self) -> Guest {
        let (socket, _) = self.0.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut guest = Guest {
            source: BufReader::new(socket),
        };
        guest.expects("USER ");
        guest
    }
}

impl Guest {
    /// The next line that begins so; what comes before it is passed over.
    pub fn expects(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            let bytes = self.source.read_line(&mut line).unwrap();
            assert!(bytes > 0, "left instead of saying {beginning:?}");
            if line.starts_with(beginning) {
                return line.trim_end().to_owned();
            }
        }
    }

    pub fn is_told(&mut self, line: &str) {
        write!(self.source.get_mut(), "{line}\r\n").unwrap();
    }
}
