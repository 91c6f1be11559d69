//! TLS of the connections that this program makes: whose certificates are trusted, beside those that are
//! built in.
//!
//! ureq can trust the built-in authorities or others, not both: so its last connector is replaced by
//! one of ours. All else about a connection is as ureq has it.
//!
//! Invariant: nothing takes an authority away; whoever is trusted for one place only is not for others.

use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use ureq::config::Config;
use ureq::tls::{PemItem, parse_pem};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, LazyBuffers, NextTimeout,
    SocksConnector, TcpConnector, Transport, TransportAdapter, time,
};
use ureq::{Agent, Error};

/// The authorities that are trusted: the built-in ones, and others.
#[derive(Clone)]
pub struct Roots(Arc<Trusted>);

struct Trusted {
    added: Vec<CertificateDer<'static>>,
    /// What TLS is told; made for the first connection that needs it. With it sessions are resumed.
    config: OnceLock<Arc<ClientConfig>>,
}

/// Those for all connections of the process.
static SHARED: OnceLock<Shared> = OnceLock::new();
/// Those that the command line named.
static NAMED: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();

struct Shared {
    roots: Roots,
    remarks: Vec<String>,
}

/// Why a file of certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// It cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// Nothing in it is a certificate in PEM.
    #[error("holds no certificate")]
    None,
}

impl Roots {
    /// The built-in authorities, those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, and those that the command
    /// line named.
    pub fn shared() -> &'static Roots {
        &shared().roots
    }

    /// These, and those in `file`.
    ///
    /// Errors: there are none in it.
    pub fn and_of(&self, file: &Path) -> Result<Roots, CertificatesError> {
        let mut added = certificates(file)?;
        added.extend_from_slice(&self.0.added);
        Ok(Roots::with(added))
    }

    fn with(added: Vec<CertificateDer<'static>>) -> Roots {
        Roots(Arc::new(Trusted {
            added,
            config: OnceLock::new(),
        }))
    }

    /// Makes connections to whom these certify.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector {
            roots: self.clone(),
            socks: SocksConnector::default(),
            proxy: ConnectProxyConnector::default(),
            tcp: TcpConnector::default(),
        }
    }

    fn client_config(&self) -> &Arc<ClientConfig> {
        self.0.config.get_or_init(|| {
            let mut store = RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
            };
            store.add_parsable_certificates(self.0.added.iter().cloned());
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider has suites for the usual versions")
                .with_root_certificates(store)
                .with_no_client_auth();
            Arc::new(config)
        })
    }
}

impl PartialEq for Roots {
    fn eq(&self, other: &Roots) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Roots {}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.0.added.len();
        f.debug_struct("Roots").field("added", &added).finish()
    }
}

/// Has all connections that follow trust those in `file` as well: to be called before the first.
///
/// Errors: there are none in it.
pub fn trust_also(file: &Path) -> Result<(), CertificatesError> {
    let named = certificates(file)?;
    drop(NAMED.set(named));
    Ok(())
}

/// What is wrong with the variables that name certificates.
pub fn remarks() -> &'static [String] {
    &shared().remarks
}

/// An agent of ureq that trusts [`Roots::shared`].
pub fn agent(config: Config) -> Agent {
    let connector = Roots::shared().connector();
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// The certificates in a file.
///
/// Errors: it cannot be read, or nothing in it is one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
    /// The bundles of systems have a quarter of it.
    const BYTES_MAX: u64 = 4 << 20;
    let mut pem = Vec::new();
    fs::File::open(file)?
        .take(BYTES_MAX)
        .read_to_end(&mut pem)?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(one)) => Some(CertificateDer::from(one.der().to_vec())),
        Ok(_) | Err(_) => None,
    });
    let is_authority = |one: &CertificateDer<'static>| {
        let mut store = RootCertStore::empty();
        store.add(one.clone()).is_ok()
    };
    let found: Vec<CertificateDer<'static>> = found.filter(is_authority).collect();
    if found.is_empty() {
        return Err(CertificatesError::None);
    }
    Ok(found)
}

fn shared() -> &'static Shared {
    SHARED.get_or_init(|| {
        let lookup = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let (mut added, remarks) = of_environment(lookup);
        added.extend(NAMED.get().into_iter().flatten().cloned());
        let roots = Roots::with(added);
        Shared { roots, remarks }
    })
}

/// The certificates that the usual variables name, and what is wrong with them.
fn of_environment(
    lookup: impl Fn(&str) -> Option<PathBuf>,
) -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let lookup = |name: &str| lookup(name).filter(|path| !path.as_os_str().is_empty());
    let mut added = Vec::new();
    let mut remarks = Vec::new();
    let remark = |name: &str, path: &Path, why: String| {
        let path = path.display();
        format!("{name} names {path}, which {why}: it adds nothing to what is trusted")
    };
    if let Some(file) = lookup("SSL_CERT_FILE") {
        match certificates(&file) {
            Ok(found) => added.extend(found),
            Err(error) => remarks.push(remark("SSL_CERT_FILE", &file, error.to_string())),
        }
    }
    let folders = lookup("SSL_CERT_DIR").unwrap_or_default();
    // One that is empty says nothing.
    let folders = std::env::split_paths(&folders).filter(|path| !path.as_os_str().is_empty());
    for folder in folders {
        match fs::read_dir(&folder) {
            // Other files lie there too: they hold none.
            Ok(entries) => added.extend(
                entries
                    .filter_map(|entry| certificates(&entry.ok()?.path()).ok())
                    .flatten(),
            ),
            Err(error) => {
                let why = format!("cannot be read ({error})");
                remarks.push(remark("SSL_CERT_DIR", &folder, why));
            }
        }
    }
    (added, remarks)
}

/// The connectors of ureq, and TLS with roots of ours.
pub struct TlsConnector {
    roots: Roots,
    socks: SocksConnector,
    proxy: ConnectProxyConnector,
    tcp: TcpConnector,
}

impl Connector<()> for TlsConnector {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Box<dyn Transport>>, Error> {
        let way = self.socks.connect(details, chained)?;
        let way = self.proxy.connect(details, way)?;
        let Some(transport) = self.tcp.connect(details, way)? else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Box::new(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| Error::Tls("the host has a name that no certificate can have"))?;
        let config = Arc::clone(self.roots.client_config());
        let mut conn = ClientConnection::new(config, name)?;
        let clock = Arc::clone(&details.current_time);
        let mut sock = TransportAdapter::new(Box::new(transport) as Box<dyn Transport>, clock);
        sock.set_timeout(time_left(details));
        conn.complete_io(&mut sock)?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        let stream = StreamOwned { conn, sock };
        Ok(Some(Box::new(TlsTransport { buffers, stream })))
    }
}

/// What of the time for connecting is left once there is a connection to encrypt.
fn time_left(details: &ConnectionDetails<'_>) -> NextTimeout {
    let mut timeout = details.timeout;
    if !timeout.after.is_not_happening() {
        let spent = match ((details.current_time)(), details.now) {
            (time::Instant::Exact(now), time::Instant::Exact(begun)) => {
                now.saturating_duration_since(begun)
            }
            _ => Duration::ZERO,
        };
        timeout.after = timeout.after.saturating_sub(spent).into();
    }
    timeout
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector")
            .field("roots", &self.roots)
            .finish_non_exhaustive()
    }
}

/// An encrypted connection.
struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        Ok(self.stream.write_all(output)?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}
