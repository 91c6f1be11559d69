//! The ways to providers and servers: whose certificates are believed, and through which proxies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use ureq::tls::{PemItem, parse_pem};

use crate::support::fake_model::FakeModel;
use crate::support::server::{Launch, Server, Workspace};

/// The authority that signed the certificate of [`TlsServer`], for `localhost` and a hundred years.
const AUTHORITY: &str = include_str!("../data/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../data/tls/server.pem");
const KEY: &[u8] = include_bytes!("../data/tls/server.key");

/// A server that nobody believes without its authority, and gives every request one answer.
struct TlsServer {
    port: u16,
    /// The first line of each request.
    asked_rx: Receiver<String>,
}

impl TlsServer {
    fn start(answer: &'static str) -> TlsServer {
        let item = |pem| parse_pem(pem).next().unwrap().unwrap();
        let PemItem::Certificate(certificate) = item(CERTIFICATE) else {
            panic!("no certificate");
        };
        let PemItem::PrivateKey(key) = item(KEY) else {
            panic!("no key");
        };
        let key = PrivateKeyDer::Pkcs8(key.der().to_vec().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked_tx, asked_rx) = unbounded();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream.unwrap());
                // Who does not believe it leaves.
                if let Some(line) = request(&mut stream) {
                    asked_tx.send(line).unwrap();
                    let length = answer.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                         Content-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    drop(stream.write_all((head + answer).as_bytes()));
                    drop(stream.flush());
                }
            }
        });
        TlsServer { port, asked_rx }
    }
}

/// Reads a request to its end; its first line.
fn request(stream: &mut impl Read) -> Option<String> {
    let mut text = String::new();
    let mut bytes = [0; 16 << 10];
    loop {
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.to_ascii_lowercase();
        let length = length
            .split_once("content-length: ")
            .map_or("0", |(_, rest)| rest);
        let length = length.lines().next()?.parse().unwrap_or(0);
        if body.len() >= length {
            return head.lines().next().map(str::to_owned);
        }
    }
}

const REPLY: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#;

fn workspace(server: &TlsServer) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("authority.pem", AUTHORITY);
    let url = format!("https://localhost:{}/v1", server.port);
    for name in ["known", "other"] {
        let spec = format!(
            "  model: {{provider: {name}, name: m}}\n  session: {{on_disconnect: continue}}\n"
        );
        workspace.agent(name, &spec);
    }
    workspace.config(&format!(
        "providers:\n  known: {{base_url: \"{url}\", ca_file: ./authority.pem}}\n  \
         other: {{base_url: \"{url}\"}}\n"
    ));
    workspace
}

fn say(server: &Server, agent: &str) -> String {
    let session = server.create_session(agent);
    let answer = server.say(&session, "hello").json();
    let words = answer["content"].as_str().or(answer["detail"].as_str());
    words.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn an_authority_counts_for_the_provider_whose_it_is() {
    let far = TlsServer::start(REPLY);
    let workspace = workspace(&far);
    let server = Launch::new(&workspace).start();
    assert_eq!(say(&server, "known"), "hello");
    let refused = say(&server, "other");
    assert!(refused.contains("`providers.other.ca_file`"), "{refused}");
    // The one that is refused is asked at the same address.
    assert_eq!(say(&server, "known"), "hello");
    assert_eq!(far.asked_rx.len(), 2);
}

#[test]
fn an_authority_of_the_environment_counts_for_all() {
    let far = TlsServer::start(REPLY);
    let workspace = workspace(&far);
    workspace.write("folder/some.txt", "no certificate\n");
    workspace.write("folder/authority.pem", AUTHORITY);
    for (variable, path) in [
        ("SSL_CERT_FILE", "authority.pem"),
        ("SSL_CERT_DIR", "folder"),
    ] {
        let path = workspace.file(path).display().to_string();
        let server = Launch::new(&workspace).env(variable, &path).start();
        assert_eq!(say(&server, "other"), "hello", "{variable}");
        assert!(!server.log().contains(variable), "{}", server.log());
    }
    let server = Launch::new(&workspace)
        .env("SSL_CERT_FILE", "/nowhere/authority.pem")
        .env("SSL_CERT_DIR", "/nowhere")
        .start();
    // What is built in and what the file names count all the same.
    assert_eq!(say(&server, "known"), "hello");
    for said in [
        "SSL_CERT_FILE names /nowhere/",
        "SSL_CERT_DIR names /nowhere,",
    ] {
        assert!(server.log().contains(said), "{}", server.log());
    }
}

#[test]
fn a_command_may_name_an_authority() {
    let far = TlsServer::start(r#"{"sessions":[]}"#);
    let workspace = Workspace::new();
    workspace.write("authority.pem", AUTHORITY);
    let url = format!("https://localhost:{}", far.port);
    let list = |more: &[&str]| {
        let line = [&["session", "list", "--server", &url], more].concat();
        let output = workspace.command(&line).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = list(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("UnknownIssuer"), "{said}");
    assert_eq!(far.asked_rx.len(), 0);
    let (_, said) = list(&["--cacert", "authority.pem"]);
    assert!(!said.contains("UnknownIssuer"), "{said}");
    assert!(!far.asked_rx.is_empty(), "{said}");
    let (code, said) = list(&["--cacert", "none.pem"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("--cacert names none.pem, which cannot be read"),
        "{said}"
    );
}

/// A proxy that speaks SOCKS 5 and leads wherever it is asked for to `fake`; the names that it is told.
fn socks_proxy(fake: &FakeModel) -> (u16, Receiver<String>) {
    let target = fake.url();
    let target = target.trim_start_matches("http://");
    let target = target.split('/').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (name_tx, name_rx) = unbounded();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut bytes = [0; 5];
            client.read_exact(&mut bytes[..3]).unwrap();
            assert_eq!(bytes[..3], [5, 1, 0]);
            client.write_all(&[5, 0]).unwrap();
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes[..4], [5, 1, 0, 3], "it is told no name");
            let mut name = vec![0; usize::from(bytes[4]) + 2];
            client.read_exact(&mut name).unwrap();
            name.truncate(name.len() - 2);
            name_tx.send(String::from_utf8(name).unwrap()).unwrap();
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            let server = TcpStream::connect(&target).unwrap();
            let ways = [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ];
            for (mut from, mut to) in ways {
                std::thread::spawn(move || {
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(std::net::Shutdown::Both));
                });
            }
        }
    });
    (port, name_rx)
}

#[test]
fn a_proxy_is_chosen_by_what_is_asked_and_may_speak_socks() {
    let fake = FakeModel::start();
    let (port, name_rx) = socks_proxy(&fake);
    let workspace = Workspace::new();
    let spec = "  model: {provider: far, name: m}\n  session: {on_disconnect: continue}\n";
    workspace.agent("far", spec);
    workspace.config("providers: {far: {base_url: \"http://provider.example/v1\"}}\n");
    let proxy = format!("socks5h://127.0.0.1:{port}");
    // Nothing listens at the others.
    for (variables, expected) in [
        (vec![("ALL_PROXY", proxy.as_str())], 1),
        (
            vec![
                ("HTTP_PROXY", proxy.as_str()),
                ("HTTPS_PROXY", "http://127.0.0.1:9"),
                ("ALL_PROXY", "http://127.0.0.1:9"),
            ],
            2,
        ),
    ] {
        let mut launch = Launch::new(&workspace);
        for (name, value) in &variables {
            launch = launch.env(name, value);
        }
        let server = launch.start();
        assert_eq!(say(&server, "far"), "ok", "{variables:?}");
        assert_eq!(fake.request_count(), expected);
        assert_eq!(name_rx.try_recv().as_deref(), Ok("provider.example"));
    }
}
