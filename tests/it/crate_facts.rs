//! What our crates do, found by trying, and what we rely on or work around.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use tiny_http::{Response, Server, StatusCode};

const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A tiny_http server on a socket in `folder`, and a client that has sent a request.
fn tiny_server(folder: &Path) -> (Server, UnixStream) {
    let path = folder.join("s");
    let server = Server::from_listener(UnixListener::bind(&path).unwrap(), None).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(REQUEST).unwrap();
    (server, client)
}

/// A body that comes in pieces, when the test says so.
struct Pieces(Receiver<&'static str>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.0.recv_timeout(PATIENCE).unwrap_or_default();
        buffer[..piece.len()].copy_from_slice(piece.as_bytes());
        Ok(piece.len())
    }
}

/// The next request.
fn received(server: &Server) -> tiny_http::Request {
    server.recv_timeout(PATIENCE).unwrap().unwrap()
}

fn read_some(client: &mut UnixStream) -> String {
    let mut buffer = [0; 4096];
    let bytes = client.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..bytes]).into_owned()
}

/// Why streams are written by hand.
#[test]
fn a_response_of_tiny_http_holds_a_streamed_body_back() {
    let folder = tempfile::tempdir().unwrap();
    let (server, mut client) = tiny_server(folder.path());
    let request = received(&server);
    let (piece_tx, piece_rx) = bounded(1);
    let body = Pieces(piece_rx);
    let thread = std::thread::spawn(move || {
        let response = Response::new(StatusCode(200), Vec::new(), body, None, None);
        request.respond(response)
    });
    piece_tx.send("token").unwrap();
    client
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = client.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..bytes]);
    }
    assert!(!String::from_utf8(seen).unwrap().contains("token"));
    drop(piece_tx);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_writer_of_tiny_http_sends_with_each_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (server, mut client) = tiny_server(folder.path());
    let mut writer = received(&server).into_writer();
    for token in ["one", "two"] {
        writer.write_all(token.as_bytes()).unwrap();
        writer.flush().unwrap();
        assert_eq!(read_some(&mut client), token);
    }
}

#[test]
fn unblock_wakes_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let server = Server::from_listener(UnixListener::bind(path).unwrap(), None).unwrap();
    let server = Arc::new(server);
    let (ended_tx, ended_rx) = bounded(2);
    for _ in 0..2 {
        let (server, ended_tx) = (Arc::clone(&server), ended_tx.clone());
        std::thread::spawn(move || ended_tx.send(server.recv().is_err()).unwrap());
    }
    server.unblock();
    assert_eq!(ended_rx.recv_timeout(PATIENCE), Ok(true));
    assert!(ended_rx.recv_timeout(Duration::from_millis(200)).is_err());
    server.unblock();
    assert_eq!(ended_rx.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn a_request_dropped_by_a_handler_is_answered_with_500() {
    let folder = tempfile::tempdir().unwrap();
    let (server, mut client) = tiny_server(folder.path());
    drop(received(&server));
    assert!(read_some(&mut client).starts_with("HTTP/1.1 500 "));
}

/// Why a server that is made anew takes a new path.
#[test]
fn a_dropped_server_removes_whatever_stands_at_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _client) = tiny_server(folder.path());
    let path = folder.path().join("s");
    std::fs::remove_file(&path).unwrap();
    let _next = UnixListener::bind(&path).unwrap();
    drop(server);
    assert!(!path.exists());
}

/// Why the gate sets its options once, on the listener.
#[test]
fn accepted_sockets_inherit_the_options_of_their_listener() {
    use rustix::net::sockopt;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    sockopt::set_tcp_nodelay(&listener, true).unwrap();
    sockopt::set_socket_keepalive(&listener, true).unwrap();
    sockopt::set_tcp_keepidle(&listener, Duration::from_secs(10)).unwrap();
    sockopt::set_tcp_keepintvl(&listener, Duration::from_secs(5)).unwrap();
    sockopt::set_tcp_keepcnt(&listener, 4).unwrap();
    sockopt::set_tcp_user_timeout(&listener, 30_000).unwrap();
    sockopt::set_socket_send_buffer_size(&listener, 64 << 10).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    assert!(sockopt::tcp_nodelay(&accepted).unwrap());
    assert!(sockopt::socket_keepalive(&accepted).unwrap());
    assert_eq!(
        sockopt::tcp_keepidle(&accepted).unwrap(),
        Duration::from_secs(10)
    );
    assert_eq!(
        sockopt::tcp_keepintvl(&accepted).unwrap(),
        Duration::from_secs(5)
    );
    assert_eq!(sockopt::tcp_keepcnt(&accepted).unwrap(), 4);
    assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), 30_000);
    // Linux doubles what it is given.
    assert_eq!(
        sockopt::socket_send_buffer_size(&accepted).unwrap(),
        128 << 10
    );
}

/// What `llm` relies on in ureq.
mod ureq_facts {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use ureq::config::ConfigBuilder;
    use ureq::typestate::AgentScope;
    use ureq::{Agent, Proxy};

    const LONG: Duration = Duration::from_secs(20);
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";

    fn builder() -> ConfigBuilder<AgentScope> {
        Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
    }

    /// A server that gives every connection, with its number from 0, to `serve`.
    fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                serve(number, stream.unwrap());
            }
        });
        url
    }

    /// Reads up to the end of a request's head.
    fn read_head(stream: &mut TcpStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            head.push(byte[0]);
        }
    }

    #[test]
    fn shutdown_ends_a_blocked_read_of_a_body() {
        let (began_tx, began_rx) = mpsc::channel();
        let url = server(move |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(HEAD.as_bytes()).unwrap();
            began_tx.send(stream).unwrap();
        });
        let agent = builder().build().new_agent();
        let reading = agent.clone();
        let (ended_tx, ended_rx) = mpsc::channel();
        thread::spawn(move || {
            let mut response = reading.get(url).call().unwrap();
            let read = response.body_mut().as_reader().read(&mut [0; 8]);
            ended_tx.send(read.is_err()).unwrap();
        });
        let _stream = began_rx.recv_timeout(LONG).unwrap();
        agent.shutdown();
        // Whether as an error or as an end: it returns.
        ended_rx.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn timeout_per_read_limits_silence_and_not_the_whole() {
        let limit = Duration::from_secs(3);
        let url = server(move |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(HEAD.as_bytes()).unwrap();
            // Each pause is short, even on a busy machine, and all of them together are too long.
            for _ in 0..8 {
                thread::sleep(limit / 6);
                stream.write_all(b"a").unwrap();
            }
            // The rest never comes, and the connection stays.
            let _gone = stream.read(&mut [0]);
        });
        let agent = builder().timeout_per_read(Some(limit)).build().new_agent();
        let mut response = agent.get(url).call().unwrap();
        let mut got = Vec::new();
        let error = response
            .body_mut()
            .as_reader()
            .read_to_end(&mut got)
            .unwrap_err();
        assert_eq!(got, b"aaaaaaaa");
        let inner = error.downcast::<ureq::Error>().unwrap();
        assert!(matches!(
            inner,
            ureq::Error::Timeout(ureq::Timeout::PerRead)
        ));
    }

    #[test]
    fn timeout_global_of_one_request_ends_a_body_that_drips() {
        // Long enough for the head to come on a busy machine, and too short for ten bytes.
        let limit = Duration::from_secs(2);
        let url = server(move |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(HEAD.as_bytes()).unwrap();
            while stream.write_all(b"a").is_ok() {
                thread::sleep(limit / 5);
            }
        });
        let agent = builder().build().new_agent();
        let request = agent.get(url).config();
        let mut response = request.timeout_global(Some(limit)).build().call().unwrap();
        let error = response
            .body_mut()
            .as_reader()
            .read_to_end(&mut Vec::new())
            .unwrap_err();
        let inner = error.downcast::<ureq::Error>().unwrap();
        assert!(matches!(inner, ureq::Error::Timeout(ureq::Timeout::Global)));
    }

    #[test]
    fn a_request_on_a_connection_that_just_closed_is_not_repeated() {
        let url = server(|_, mut stream| {
            read_head(&mut stream);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            read_head(&mut stream);
        });
        let agent = builder().build().new_agent();
        agent.get(&url).call().unwrap();
        let error = agent.get(&url).call().unwrap_err();
        let ureq::Error::Io(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
        ));
    }

    #[test]
    fn with_no_redirects_allowed_the_redirect_is_the_answer() {
        let url = server(|_, mut stream| {
            read_head(&mut stream);
            let answer = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let agent = builder().build().new_agent();
        assert_eq!(agent.get(url).call().unwrap().status(), 302);
    }

    #[test]
    fn a_proxy_is_asked_for_loopback_addresses_too() {
        let url = server(|_, mut stream| read_head(&mut stream));
        // Nothing listens there.
        let proxy = Proxy::new("http://127.0.0.1:9").unwrap();
        let agent = builder().proxy(Some(proxy)).build().new_agent();
        assert!(agent.get(url).call().is_err());
    }
}
