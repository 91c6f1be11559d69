//! The least that a relay of streams can be: a thread for each that receives from the provider,
//! appends to a file and sends to the client. No parsing, no HTTP, no sync. What it takes is the
//! floor that the server is held to, in the same run.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::support::process::Process;

/// The word that makes this program the relay; a port and a folder follow.
pub const COMMAND: &str = "bare-relay";

const STACK_BYTES: usize = 64 << 10;
const PIECE_BYTES: usize = 16 << 10;
/// What ends a body in chunks.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// The relay as a child process. Dropping it ends it.
#[derive(Debug)]
pub struct BareRelay {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl BareRelay {
    /// Starts one between clients and the provider at that port.
    pub fn start(provider_port: u16) -> anyhow::Result<BareRelay> {
        // On the disk of the build, as the server's files are.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args([COMMAND, &provider_port.to_string()])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(BareRelay {
            port: line.trim().parse().context("the relay's port")?,
            child,
            _folder: folder,
        })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for BareRelay {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Is the relay, until it is killed: what follows [`COMMAND`] on the command line says between whom.
pub fn run(mut words: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let provider = words.next().context("no port")?.parse()?;
    let folder = PathBuf::from(words.next().context("no folder")?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    rustix::net::listen(&listener, 1024)?;
    let port = listener.local_addr()?.port();
    writeln!(io::stdout(), "{port}")?;
    for (number, client) in listener.incoming().enumerate() {
        let (client, folder) = (client?, folder.clone());
        thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(move || relay(client, provider, &folder.join(number.to_string())))?;
    }
    Ok(())
}

/// Passes one request on, and its answer back.
fn relay(mut client: TcpStream, provider: u16, journal: &Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut piece = vec![0; PIECE_BYTES];
    let count = client.read(&mut piece)?;
    let mut source = TcpStream::connect((Ipv4Addr::LOCALHOST, provider))?;
    source.set_nodelay(true)?;
    source.write_all(&piece[..count])?;
    let mut journal = File::create(journal)?;
    loop {
        let count = source.read(&mut piece)?;
        journal.write_all(&piece[..count])?;
        client.write_all(&piece[..count])?;
        if count == 0 || piece[..count].ends_with(END) {
            return Ok(());
        }
    }
}
