//! A real IRC server of Debian's, people who use it, and the services of a network.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use tempfile::TempDir;

use crate::support::process::{Limited as _, end_of};
use crate::support::server::{PATIENCE, eventually};

/// What the services of the network show to be let in.
const SERVICES_PASSWORD: &str = "between-servers";

/// A running ngIRCd; it is killed when this is dropped.
pub struct Network {
    child: Mutex<Child>,
    pub address: SocketAddr,
    tls_port: u16,
    folder: TempDir,
}

impl Network {
    pub fn start() -> Network {
        Network::with("")
    }

    /// Which can be talked to in secret, too; that makes its start slow.
    pub fn with_tls() -> Network {
        Network::with("[SSL]\nCertFile = cert.pem\nKeyFile = key.pem\nPorts = TLS\n")
    }

    fn with(more: &str) -> Network {
        let folder = TempDir::new().unwrap();
        // Where the server was started by root it goes on as somebody else.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        // It does not say which port it got when it is told to take any.
        let (port, tls_port) = (free_port(), free_port());
        let config = format!(
            "[Global]\nName = irc.example.net\nInfo = test\nMotdPhrase = hello\nListen = 127.0.0.1\nPorts = {port}\n\
             [Limits]\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n\
             [Options]\nDNS = no\nIdent = no\nPAM = no\n\
             [Server]\nName = services.example.net\nPassive = yes\n\
             MyPassword = {SERVICES_PASSWORD}\nPeerPassword = {SERVICES_PASSWORD}\n{}",
            more.replace("TLS", &tls_port.to_string()),
        );
        fs::write(folder.path().join("ngircd.conf"), config).unwrap();
        if !more.is_empty() {
            make_certificate(&folder);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = Mutex::new(spawn(&folder));
        let network = Network {
            child,
            address,
            tls_port,
            folder,
        };
        network.wait_until_it_listens();
        network
    }

    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub fn tls_port(&self) -> String {
        self.tls_port.to_string()
    }

    /// Of the certificate that it shows, which nobody else signed.
    pub fn certificate(&self) -> String {
        self.folder.path().join("cert.pem").display().to_string()
    }

    /// Everybody is thrown out.
    pub fn stop(&self) {
        let mut child = self.child.lock().unwrap();
        drop(child.kill());
        end_of(&mut child);
    }

    pub fn start_again(&self) {
        *self.child.lock().unwrap() = spawn(&self.folder);
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        let log = self.folder.path().join("log");
        eventually("ngircd listens", || {
            let status = self.child.lock().unwrap().try_wait().unwrap();
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert_eq!(status, None, "ngircd: {log}");
            TcpStream::connect(self.address).ok()
        });
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn spawn(folder: &TempDir) -> Child {
    let log = File::create(folder.path().join("log")).unwrap();
    Command::new("ngircd")
        .args(["--nodaemon", "--config", "ngircd.conf"])
        .current_dir(folder)
        .env_clear()
        // Debian keeps servers where only root looks for programs.
        .env("PATH", "/usr/sbin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|err| panic!("ngircd: {err}"))
}

fn make_certificate(folder: &TempDir) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder)
        .output_in_time()
        .unwrap_or_else(|err| panic!("openssl: {err}"));
    assert!(made.status.success(), "{made:?}");
    let key = folder.path().join("key.pem");
    fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
}

/// A line of the server, as it came.
#[derive(Debug, Clone)]
pub struct Line {
    /// With its end.
    pub bytes: usize,
    pub text: String,
}

impl Line {
    /// Who said it, to whom and what, if it is that.
    pub fn said(&self) -> Option<(&str, &str, &str)> {
        let (source, rest) = self.text.strip_prefix(':')?.split_once(" PRIVMSG ")?;
        let (target, words) = rest.split_once(" :")?;
        Some((source.split('!').next()?, target, words))
    }
}

/// Somebody with a client of his own, who hears all that he is told.
pub struct Person {
    socket: TcpStream,
    line_rx: Receiver<Line>,
}

impl Person {
    /// Who is there as `nick!~nick@127.0.0.1`, and in this channel.
    pub fn enter(network: &Network, nick: &str, channel: &str) -> Person {
        Person::enter_as(network, nick, nick, channel)
    }

    /// Who is there as `nick!~user@127.0.0.1`.
    pub fn enter_as(network: &Network, nick: &str, user: &str, channel: &str) -> Person {
        let mut person = Person::connect(network);
        person.types(&format!("NICK {nick}\r\nUSER {user} 0 * :{nick}"));
        person.hears(" 001 ");
        person.types(&format!("JOIN {channel}"));
        person.hears(" 366 ");
        person
    }

    fn connect(network: &Network) -> Person {
        let socket = TcpStream::connect(network.address).unwrap();
        let (line_tx, line_rx) = mpsc::channel();
        let (mut answers, source) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut bytes = Vec::new();
            while matches!(source.read_until(b'\n', &mut bytes), Ok(1..)) {
                // A character that was cut is a test that failed.
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                if let Some(token) = text.strip_prefix("PING ") {
                    drop(write!(answers, "PONG {token}\r\n"));
                }
                let line = Line {
                    bytes: bytes.len(),
                    text,
                };
                // Nobody may wait for it any more.
                drop(line_tx.send(line));
                bytes.clear();
            }
        });
        Person { socket, line_rx }
    }

    pub fn types(&mut self, line: &str) {
        write!(self.socket, "{line}\r\n").unwrap();
    }

    pub fn says(&mut self, target: &str, words: &str) {
        self.types(&format!("PRIVMSG {target} :{words}"));
    }

    /// The next line with these words in it; what comes before it is passed over.
    pub fn hears(&self, words: &str) -> Line {
        loop {
            let line = self.next_line(words);
            if line.text.contains(words) {
                return line;
            }
        }
    }

    /// The next lines that `nick` says, as many as these.
    pub fn hears_from(&self, nick: &str, count: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let line = self.next_line(nick);
            if line.said().is_some_and(|(source, _, _)| source == nick) {
                lines.push(line);
            }
        }
        lines
    }

    fn next_line(&self, what: &str) -> Line {
        let line = self.line_rx.recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("waited in vain: {what:?}"))
    }

    pub fn leaves(mut self) {
        self.types("QUIT :bye");
        self.hears("ERROR ");
    }
}

/// Another server of the network, which vouches for who people are.
pub struct Services(Person);

impl Services {
    pub fn link(network: &Network) -> Services {
        let mut services = Person::connect(network);
        services.types(&format!(
            "PASS {SERVICES_PASSWORD} 0210-IRC+ test|1:CHLMSX\r\nSERVER services.example.net 1 :services"
        ));
        // Each says that this was all of the introduction.
        services.hears(" 376 ");
        services.types(":services.example.net 376 irc.example.net :done");
        Services(services)
    }

    /// From now on `nick` is logged in to this account.
    pub fn log_in(&mut self, nick: &str, account: &str) {
        self.0.types(&format!(
            ":services.example.net METADATA {nick} accountname :{account}"
        ));
        self.0
            .types(":services.example.net PING services.example.net :done");
        self.0.hears("done");
    }
}
