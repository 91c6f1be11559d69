//! The gate, with tiny_http behind it and a small handler, on real sockets.

use crate::support::process::Limited as _;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use duragent::http::access::{AccessSettings, AccessToken, HttpVersion};
use duragent::http::front::{self, Back, Front, FrontSettings};
use duragent::http::gate::GateLimits;
use duragent::http::problem::HttpProblem;
use duragent::http::server::{Handler, Incoming};

/// Far more than anything here takes, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the handler says about its streams.
#[derive(Debug, PartialEq)]
enum Seen {
    StreamBegan,
    ClientGone,
}

struct TestHandler {
    seen_tx: Sender<Seen>,
    meeting: Meeting,
}

/// Requests that wait for one another on the handler threads.
#[derive(Default)]
struct Meeting {
    present: Mutex<usize>,
    all_are_here: Condvar,
}

impl Meeting {
    /// As many as there are handler threads.
    const SIZE: usize = 8;

    /// Whether all came while the first ones waited.
    fn join(&self) -> bool {
        let mut present = self.present.lock().unwrap();
        *present += 1;
        self.all_are_here.notify_all();
        let is_short = |present: &mut usize| *present < Meeting::SIZE;
        let waited = self
            .all_are_here
            .wait_timeout_while(present, PATIENCE, is_short);
        !waited.unwrap().1.timed_out()
    }
}

impl Handler for TestHandler {
    fn handle(&self, request: Incoming) {
        match request.path() {
            "/livez" => request.respond(200, &[("Content-Type", "text/plain")], b"ok"),
            "/api/v1/echo" => {
                let body = request.body().to_vec();
                request.respond(200, &[], &body);
            }
            "/api/v1/show" => show(request),
            "/api/v1/empty" => request.respond(204, &[], b""),
            "/api/v1/large" => {
                let bytes = request.query().parse().unwrap();
                request.respond(200, &[], &vec![b'x'; bytes]);
            }
            "/api/v1/meet" => {
                let status = if self.meeting.join() { 200 } else { 503 };
                request.respond(status, &[], b"");
            }
            "/api/v1/panic" => panic!("on purpose"),
            "/api/v1/forget" => drop(request),
            "/api/v1/stream" => self.on_a_thread(request, stream_until_gone),
            "/api/v1/tokens" => self.on_a_thread(request, stream_tokens),
            "/api/v1/pieces" => self.on_a_thread(request, stream_pieces),
            "/api/v1/flood" => self.on_a_thread(request, stream_until_error),
            "/api/v1/broken" => {
                let mut stream = request.into_stream(200, &[]).unwrap();
                stream.write(b"half").unwrap();
            }
            "/api/v1/after-gone" => self.on_a_thread(request, answer_after_gone),
            _ => request.problem(&HttpProblem::new(404, "no such route")),
        }
    }
}

impl TestHandler {
    fn on_a_thread(&self, request: Incoming, body: fn(Incoming, Sender<Seen>)) {
        let seen_tx = self.seen_tx.clone();
        std::thread::spawn(move || body(request, seen_tx));
    }
}

/// Answers with what reached the handler.
fn show(request: Incoming) {
    let version = match request.version() {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
    };
    let names = [
        "host",
        "connection",
        "authorization",
        "x-secret",
        "expect",
        "content-length",
    ];
    let headers: Vec<String> = names
        .iter()
        .filter_map(|name| Some(format!("{name}={}", request.header(name)?)))
        .collect();
    let text = format!(
        "{} {} [{}] {version} {} {}",
        request.method(),
        request.path(),
        request.query(),
        request.peer().ip(),
        headers.join(",")
    );
    request.respond(200, &[], text.as_bytes());
}

/// Waits for the end of the other side.
fn wait_until_gone(gone: Receiver<std::convert::Infallible>) {
    let ended = gone.recv_timeout(PATIENCE);
    assert_eq!(
        ended,
        Err(crossbeam_channel::RecvTimeoutError::Disconnected)
    );
}

/// A stream that writes once and then only listens.
fn stream_until_gone(request: Incoming, seen_tx: Sender<Seen>) {
    let mut stream = request
        .into_stream(200, &[("Content-Type", "text/event-stream")])
        .unwrap();
    stream.write(b": hello\n\n").unwrap();
    seen_tx.send(Seen::StreamBegan).unwrap();
    wait_until_gone(stream.gone());
    seen_tx.send(Seen::ClientGone).unwrap();
}

fn stream_tokens(request: Incoming, _: Sender<Seen>) {
    let mut stream = request.into_stream(200, &[]).unwrap();
    for token in ["one", "", "two", "three"] {
        stream.write(token.as_bytes()).unwrap();
    }
    stream.finish().unwrap();
}

const PIECES: usize = 500;

/// A stream of many pieces, each of which the client could have read before the next.
fn stream_pieces(request: Incoming, _: Sender<Seen>) {
    let mut stream = request.into_stream(200, &[]).unwrap();
    for _ in 0..PIECES {
        stream.write(b"x").unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
    stream.finish().unwrap();
}

/// Writes until nobody takes it any more.
fn stream_until_error(request: Incoming, seen_tx: Sender<Seen>) {
    let mut stream = request.into_stream(200, &[]).unwrap();
    seen_tx.send(Seen::StreamBegan).unwrap();
    while stream.write(&[b'x'; 64 << 10]).is_ok() {}
    seen_tx.send(Seen::ClientGone).unwrap();
}

/// Answers only once the client has ended its side.
fn answer_after_gone(request: Incoming, _: Sender<Seen>) {
    wait_until_gone(request.gone());
    request.respond(200, &[], b"still there");
}

struct Fixture {
    front: Front,
    seen_rx: Receiver<Seen>,
}

impl Fixture {
    fn start() -> Fixture {
        Fixture::with(FrontSettings::default())
    }

    fn with(settings: FrontSettings) -> Fixture {
        Fixture::on(listener(), settings)
    }

    /// A gate whose connections take little that the client does not read.
    fn narrow(change: impl FnOnce(&mut GateLimits)) -> Fixture {
        let listener = listener();
        // Linux hands it on to what the listener accepts.
        rustix::net::sockopt::set_socket_send_buffer_size(&listener, 16_384).unwrap();
        let mut settings = FrontSettings::default();
        change(&mut settings.limits);
        Fixture::on(listener, settings)
    }

    fn on(listener: TcpListener, settings: FrontSettings) -> Fixture {
        let (seen_tx, seen_rx) = unbounded();
        let handler = Arc::new(TestHandler {
            seen_tx,
            meeting: Meeting::default(),
        });
        let front = Front::start(settings, Back::start(None).unwrap(), listener, handler).unwrap();
        Fixture { front, seen_rx }
    }

    fn limited(change: impl FnOnce(&mut GateLimits)) -> Fixture {
        let mut settings = FrontSettings::default();
        change(&mut settings.limits);
        Fixture::with(settings)
    }

    fn with_access(access: AccessSettings) -> Fixture {
        Fixture::with(FrontSettings {
            access,
            ..FrontSettings::default()
        })
    }

    fn client(&self) -> Client {
        Client::connect(self.front.local_addr())
    }

    /// The status of the answer to one whole text.
    fn status_of(&self, text: impl AsRef<[u8]>) -> u16 {
        let mut client = self.client();
        client.send(text);
        client.answer().status
    }

    fn is_well(&self) {
        assert_eq!(self.status_of(get("/livez")), 200);
    }

    fn wait_until_resting(&self) {
        wait_until("the gate rests", || {
            let before = self.front.wakes();
            std::thread::sleep(Duration::from_millis(200));
            self.front.wakes() == before
        });
    }

    fn wait_for_open(&self, count: usize) {
        wait_until("the connections are closed", || {
            self.front.open_connections() == count
        });
    }
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            read: Vec::new(),
        }
    }

    fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// Sends as far as the other side lets us.
    fn try_send(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(text.as_ref())
    }

    /// The next answer, with its framing undone. One without framing is read to the end.
    fn answer(&mut self) -> Answer {
        let head = self.head();
        let mut answer = parse_head(&head);
        answer.body = match (
            answer.header("content-length"),
            answer.header("transfer-encoding"),
        ) {
            ("", "chunked") => self.chunks(),
            ("", _) if answer.status == 204 || answer.status == 100 => Vec::new(),
            ("", _) => self.rest(),
            (length, _) => self.take(length.parse().unwrap()),
        };
        answer
    }

    fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n")).unwrap()
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let size = String::from_utf8(self.until(b"\r\n")).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let chunk = self.take(size + 2);
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return body;
            }
        }
    }

    fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|window| window == end)
            {
                return self.read.drain(..at + end.len()).collect();
            }
            assert!(
                self.more(),
                "ended after {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.read.len() < bytes {
            assert!(self.more(), "ended too early");
        }
        self.read.drain(..bytes).collect()
    }

    fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    /// Reads once; `false` at the end.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(bytes) => {
                self.read.extend_from_slice(&buffer[..bytes]);
                true
            }
            Err(err) if err.kind() == ErrorKind::ConnectionReset => false,
            Err(err) => panic!("{err}"),
        }
    }

    fn rest_has(&mut self, text: &str) -> bool {
        while self.read.len() < text.len() && self.more() {}
        self.read.starts_with(text.as_bytes())
    }

    fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}

fn parse_head(head: &str) -> Answer {
    let mut lines = head.trim_end().split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Answer {
        status,
        headers: lines.map(header).collect(),
        body: Vec::new(),
    }
}

fn listener() -> TcpListener {
    front::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_request_reaches_the_handler_without_what_ends_at_the_gate() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    client.send(
        "POST /api/v1/show?a=b&c HTTP/1.1\r\nHost: localhost\r\nConnection: X-Secret\r\nX-Secret: 1\r\n\
         Authorization: Bearer t\r\nX-Gate-Peer: 9.9.9.9:1\r\nX-Gate-Key: forged\r\n\
         Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(
        answer.text(),
        "POST /api/v1/show [a=b&c] 1.1 127.0.0.1 host=localhost,content-length=2"
    );
    assert!(answer.header("date").ends_with(" GMT"));
    assert_eq!(answer.header("server"), "");
}

#[test]
fn bodies_arrive_whole_in_both_framings_and_in_any_pieces() {
    let fixture = Fixture::start();
    let body = "0123456789abcdef".repeat(20_000);
    let mut client = fixture.client();
    client.send(post("/api/v1/echo", &body));
    assert_eq!(client.answer().text(), body);
    client.send(
        "POST /api/v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for piece in body.as_bytes().chunks(7777) {
        client.send(format!("{:X};ext\r\n", piece.len()));
        client.send(piece);
        client.send("\r\n");
    }
    client.send("0\r\nX-Trailer: dropped\r\n\r\n");
    assert_eq!(client.answer().text(), body);
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    client.stream.set_nodelay(true).unwrap();
    for byte in post("/api/v1/echo", "hello").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().text(), "hello");
}

#[test]
fn a_connection_serves_many_requests_also_when_they_are_sent_ahead() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    for number in 0..3 {
        client.send(post("/api/v1/echo", &number.to_string()));
        assert_eq!(client.answer().text(), number.to_string());
    }
    let ahead: String = (0..40)
        .map(|number| post("/api/v1/echo", &format!("ahead {number}")))
        .collect();
    client.send(ahead + &get("/api/v1/empty") + &get("/api/v1/tokens") + &get("/livez"));
    for number in 0..40 {
        assert_eq!(client.answer().text(), format!("ahead {number}"));
    }
    assert_eq!(client.answer().status, 204);
    assert_eq!(client.answer().text(), "onetwothree");
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(fixture.front.open_connections(), 1);
}

#[test]
fn a_head_request_gets_the_headers_alone_and_the_connection_lives_on() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    client.send(get("/api/v1/large?5000").replace("GET", "HEAD"));
    let head = parse_head(&client.head());
    assert_eq!((head.status, head.header("content-length")), (200, "5000"));
    client.send(get("/api/v1/tokens").replace("GET", "HEAD"));
    assert_eq!(parse_head(&client.head()).status, 200);
    client.send(get("/livez"));
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn the_connection_closes_when_the_client_asks_for_it() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    client.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(client.is_closed());
}

#[test]
fn an_old_client_gets_a_plain_stream_that_ends_with_the_connection() {
    let fixture = Fixture::with_access(AccessSettings {
        api_token: Some(AccessToken::new("t")),
        ..AccessSettings::default()
    });
    let mut client = fixture.client();
    client.send("GET /api/v1/tokens HTTP/1.0\r\nAuthorization: bearer t\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(answer.header("transfer-encoding"), "");
    assert_eq!(answer.text(), "onetwothree");
    let mut client = fixture.client();
    client.send("GET /api/v1/show HTTP/1.0\r\nAuthorization: bearer t\r\n\r\n");
    assert_eq!(client.answer().text(), "GET /api/v1/show [] 1.0 127.0.0.1 ");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_waits_for_leave_gets_it_once_the_head_has_passed() {
    let fixture = Fixture::limited(|limits| limits.body_bytes_max = 100);
    let expecting = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut client = fixture.client();
    client.send(expecting("/api/v1/echo", 2));
    assert_eq!(client.answer().status, 100);
    client.send("hi");
    assert_eq!(client.answer().text(), "hi");
    assert_eq!(fixture.status_of(expecting("/api/v1/echo", 101)), 413);
    let foreign = expecting("/api/v1/echo", 2).replace("localhost", "evil.example");
    assert_eq!(fixture.status_of(foreign), 403);
}

#[test]
fn what_is_malformed_is_refused_with_a_problem_and_the_connection_ends() {
    let table = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
        ),
        (post("/livez", "").replace("Length: 0", "Length: 1, 1"), 400),
        (
            post("/livez", "").replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n"),
            400,
        ),
        (
            post("/livez", "").replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
        ),
        (
            post("/livez", "").replace("Content-Length: 0", "Transfer-Encoding: gzip"),
            501,
        ),
        (
            post("/livez", "").replace("Content-Length: 0", "Transfer-Encoding: chunked") + "xyz",
            400,
        ),
        ("POST /livez HTTP/1.0\r\n\r\n".to_owned(), 411),
        (
            post("/livez", "").replace("Length: 0", "Length: 1000000000000"),
            413,
        ),
        (
            post("/livez", "").replace("Content-Length: 0", "Expect: magic"),
            417,
        ),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(17_000)), 431),
        (format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(65)), 431),
        (get("/livez").replace("GET", "BREW"), 501),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
    ];
    let fixture = Fixture::start();
    for (text, status) in table {
        let mut client = fixture.client();
        client.send(&text);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{text:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("connection"), "close");
        assert!(answer.text().contains(r#""type":"urn:duragent:problem:"#));
        assert!(client.is_closed(), "{text:?}");
    }
    fixture.is_well();
    fixture.wait_for_open(0);
}

#[test]
fn no_second_request_can_hide_in_a_body() {
    let fixture = Fixture::start();
    let hidden = get("/api/v1/show?hidden");
    let mut client = fixture.client();
    client.send(post("/api/v1/echo", &hidden));
    assert_eq!(client.answer().text(), hidden);
    client.send(get("/livez"));
    assert_eq!(client.answer().text(), "ok");
}

#[test]
fn the_access_rules_are_checked_before_the_body_is_read() {
    let fixture = Fixture::with_access(AccessSettings {
        api_token: Some(AccessToken::new("s3cret")),
        ..AccessSettings::default()
    });
    let mut client = fixture.client();
    client.send("POST /api/v1/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        "Bearer realm=\"duragent\""
    );
    assert_eq!(fixture.status_of(get("/livez")), 200);
    let with_token =
        get("/metrics").replace("\r\n\r\n", "\r\nAuthorization: Bearer s3cret\r\n\r\n");
    assert_eq!(fixture.status_of(with_token), 404);
}

#[test]
fn pages_of_allowed_origins_may_read_answers_and_others_may_not() {
    let fixture = Fixture::with_access(AccessSettings {
        allowed_origins: vec!["https://app.example".into()],
        ..AccessSettings::default()
    });
    let from = |text: String, origin: &str| {
        text.replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"))
    };
    let mut client = fixture.client();
    client.send(from(get("/api/v1/show"), "https://app.example"));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(answer.header("vary"), "Origin");

    let preflight = get("/api/v1/show").replace("GET", "OPTIONS").replace(
        "\r\n\r\n",
        "\r\nAccess-Control-Request-Method: POST\r\n\r\n",
    );
    let mut client = fixture.client();
    client.send(from(preflight.clone(), "https://app.example"));
    let answer = client.answer();
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("Idempotency-Key")
    );

    for text in [
        from(preflight, "https://evil.example"),
        from(get("/api/v1/show"), "null"),
    ] {
        let mut client = fixture.client();
        client.send(text);
        let answer = client.answer();
        assert_eq!(answer.status, 403);
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
}

#[test]
fn handlers_that_panic_or_forget_answer_500_and_stay_alive() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    for _ in 0..10 {
        for path in ["/api/v1/panic", "/api/v1/forget"] {
            client.send(get(path));
            let answer = client.answer();
            assert_eq!(answer.status, 500);
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    fixture.is_well();
}

#[test]
fn there_are_as_many_handler_threads_as_requests_need_at_once() {
    let fixture = Fixture::start();
    let mut clients: Vec<_> = (0..Meeting::SIZE).map(|_| fixture.client()).collect();
    for client in &mut clients {
        client.send(get("/api/v1/meet"));
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    fixture.is_well();
}

#[test]
fn a_stream_that_breaks_off_does_not_look_finished() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    client.send(get("/api/v1/broken"));
    assert_eq!(
        client
            .rest()
            .split(|byte| *byte == b'\n')
            .next_back()
            .unwrap(),
        b""
    );
    let mut client = fixture.client();
    client.send(get("/api/v1/broken"));
    let all = String::from_utf8(client.rest()).unwrap();
    assert!(all.ends_with("\r\n\r\n4\r\nhalf\r\n"), "{all}");
}

#[test]
fn a_stream_learns_at_once_that_its_client_has_left() {
    let fixture = Fixture::start();
    for how in ["close", "reset"] {
        let mut client = fixture.client();
        client.send(get("/api/v1/stream"));
        client.head();
        client.until(b": hello\n\n\r\n");
        assert_eq!(
            fixture.seen_rx.recv_timeout(PATIENCE),
            Ok(Seen::StreamBegan)
        );
        if how == "reset" {
            reset(client.stream);
        } else {
            drop(client);
        }
        let gone = fixture.seen_rx.recv_timeout(Duration::from_secs(1));
        assert_eq!(gone, Ok(Seen::ClientGone), "{how}");
    }
    fixture.wait_for_open(0);
}

#[test]
fn a_half_closed_client_still_gets_its_answer_and_the_gate_does_not_spin() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    client.send(get("/api/v1/after-gone"));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "still there");
    assert!(client.is_closed());
    let mut client = fixture.client();
    client.send(get("/livez") + &get("/livez"));
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(client.answer().text(), "ok");
    assert!(client.is_closed());
    assert!(
        fixture.front.wakes() < 60,
        "{} wakes",
        fixture.front.wakes()
    );
}

#[test]
fn an_idle_gate_does_not_wake() {
    let fixture = Fixture::start();
    let mut idle = fixture.client();
    idle.send(get("/livez"));
    idle.answer();
    let mut streaming = fixture.client();
    streaming.send(get("/api/v1/stream"));
    streaming.until(b": hello\n\n\r\n");
    // What it had to do may take a while on a busy machine; then it sleeps for longer than that.
    wait_until("the gate sleeps", || {
        let before = fixture.front.wakes();
        std::thread::sleep(Duration::from_millis(400));
        fixture.front.wakes() == before
    });
}

#[test]
fn the_pieces_of_a_stream_pass_the_gate_by_and_its_connection_lives_on() {
    let fixture = Fixture::start();
    let mut client = fixture.client();
    for _ in 0..2 {
        client.send(get("/api/v1/pieces"));
        client.head();
        client.until(b"0\r\n\r\n");
        client.send(get("/livez"));
        assert_eq!(client.answer().text(), "ok");
    }
    let wakes = fixture.front.wakes();
    assert!(wakes < PIECES as u64 / 10, "{wakes} wakes");
}

#[test]
fn answers_pass_the_gate_by_and_it_wakes_for_requests_alone() {
    const REQUESTS: u64 = 200;
    const CLIENTS: usize = 10;
    let fixture = Fixture::start();
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| fixture.client()).collect();
    fixture.wait_for_open(CLIENTS);
    let before = fixture.front.wakes();
    for _ in 0..REQUESTS / CLIENTS as u64 {
        for client in &mut clients {
            client.send(post("/api/v1/echo", "hello"));
            assert_eq!(client.answer().text(), "hello");
        }
    }
    // A client that asks again before who answered has said that it is done costs one more: few do that
    // when each lets the others go first.
    let wakes = fixture.front.wakes() - before;
    assert!(wakes < REQUESTS * 3 / 2, "{wakes} wakes");
}

#[test]
fn a_stream_whose_client_takes_nothing_ends_and_so_does_its_connection() {
    let fixture = Fixture::limited(|limits| limits.stall_time = Duration::from_millis(300));
    let mut stuck = fixture.client();
    stuck.send(get("/api/v1/flood"));
    for seen in [Seen::StreamBegan, Seen::ClientGone] {
        assert_eq!(fixture.seen_rx.recv_timeout(PATIENCE), Ok(seen));
    }
    fixture.wait_for_open(0);
}

#[test]
fn the_end_of_the_front_ends_a_stream_that_waits_for_its_client() {
    let fixture = Fixture::limited(|limits| limits.stall_time = Duration::from_secs(3600));
    let mut stuck = fixture.client();
    stuck.send(get("/api/v1/flood"));
    assert_eq!(
        fixture.seen_rx.recv_timeout(PATIENCE),
        Ok(Seen::StreamBegan)
    );
    let Fixture { front, seen_rx } = fixture;
    drop(front);
    assert_eq!(seen_rx.recv_timeout(PATIENCE), Ok(Seen::ClientGone));
}

#[test]
fn slow_heads_and_bodies_are_told_so_and_idle_connections_end() {
    let fixture = Fixture::limited(|limits| {
        limits.head_time = Duration::from_millis(150);
        limits.body_time = Duration::from_millis(150);
        limits.idle_time = Duration::from_millis(150);
    });
    assert_eq!(fixture.status_of("GET / HT"), 408);
    assert_eq!(
        fixture.status_of(post("/api/v1/echo", "hello").trim_end_matches("lo")),
        408
    );
    assert!(fixture.client().is_closed());
    let mut client = fixture.client();
    client.send(get("/livez"));
    assert_eq!(client.answer().status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_takes_nothing_is_closed_and_one_that_is_slow_is_not() {
    // Many times what the slow one rests, so that a busy machine does not make it one that is stuck.
    let fixture = Fixture::limited(|limits| limits.stall_time = Duration::from_secs(2));
    let mut stuck = fixture.client();
    stuck.send(get("/api/v1/large?50000000"));
    fixture.wait_for_open(1);
    fixture.wait_for_open(0);
    let mut slow = fixture.client();
    slow.send(get("/api/v1/large?30000000"));
    let asked_at = Instant::now();
    while asked_at.elapsed() < Duration::from_secs(3) {
        slow.take(100_000);
        std::thread::sleep(Duration::from_millis(100));
    }
    let deadline = Instant::now() + PATIENCE;
    while slow.read.len() < 20_000_000 {
        assert!(slow.more(), "it was closed");
        assert!(Instant::now() < deadline, "{} bytes", slow.read.len());
    }
}

#[test]
fn clients_that_read_nothing_hold_no_handler_and_do_not_make_the_gate_spin() {
    let fixture = Fixture::start();
    // One of these sizes is such that the server has sent all, and the client has not taken it.
    let stuck: Vec<Client> = (1..60)
        .map(|number| {
            let mut client = fixture.client();
            client.send(get(&format!("/api/v1/large?{}", number * 50_000)));
            client
        })
        .collect();
    fixture.is_well();
    fixture.wait_until_resting();
    assert_eq!(fixture.front.open_connections(), stuck.len());
    for (number, mut client) in (1..).zip(stuck) {
        assert_eq!(client.answer().body.len(), number * 50_000);
    }
}

#[test]
fn slow_clients_cost_the_others_nothing() {
    let fixture = Fixture::limited(|limits| limits.connections_max = 64);
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut client = fixture.client();
        client.send("GET /livez HTTP/1.1\r\nX-Slow: ");
        slow.push(client);
        fixture.is_well();
    }
    assert!(fixture.front.open_connections() <= 64 + 1);
    let mut oldest = slow.remove(0);
    assert_eq!(oldest.answer().status, 503);
}

#[test]
fn clients_that_send_ahead_and_read_nothing_give_way_to_others() {
    let fixture = Fixture::narrow(|limits| limits.connections_max = 8);
    let _stuck: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = fixture.client();
            client.send(get("/api/v1/large?1000000").repeat(5));
            client
        })
        .collect();
    fixture.wait_for_open(8);
    // Long before the gate gives them up by itself.
    let deadline = Instant::now() + GateLimits::default().stall_time / 2;
    while fixture.status_of(get("/livez")) != 200 {
        assert!(Instant::now() < deadline, "nobody gave way");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends requests for answers of many sizes: of some, all is on its way and the gate holds the end.
fn ask_without_reading(fixture: &Fixture) -> Vec<(usize, Client)> {
    let sizes = (1..100).map(|number| number * 6_000);
    let ask = |size: usize| {
        let mut client = fixture.client();
        rustix::net::sockopt::set_socket_recv_buffer_size(&client.stream, 65_536).unwrap();
        client.send(get(&format!("/api/v1/large?{size}")));
        (size, client)
    };
    let clients: Vec<_> = sizes.map(ask).collect();
    fixture.wait_until_resting();
    clients
}

#[test]
fn the_end_of_an_answer_reaches_a_client_that_sends_no_more() {
    let fixture = Fixture::narrow(|_| {});
    let clients = ask_without_reading(&fixture);
    for (_, client) in &clients {
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    fixture.wait_until_resting();
    for (size, mut client) in clients {
        assert_eq!(client.answer().body.len(), size);
        assert!(client.is_closed());
    }
    fixture.wait_for_open(0);
}

#[test]
fn the_end_of_an_answer_outlives_the_drain() {
    let fixture = Fixture::narrow(|_| {});
    let clients = ask_without_reading(&fixture);
    fixture.front.drain();
    fixture.wait_until_resting();
    for (size, mut client) in clients {
        assert_eq!(client.answer().body.len(), size);
    }
    assert!(fixture.front.finish(PATIENCE));
}

#[test]
fn the_front_is_finished_when_the_last_client_has_its_answer() {
    let fixture = Fixture::narrow(|_| {});
    let clients = ask_without_reading(&fixture);
    assert!(!fixture.front.finish(Duration::from_millis(50)));
    let readers: Vec<_> = clients
        .into_iter()
        .map(|(size, mut client)| {
            std::thread::spawn(move || assert_eq!(client.answer().body.len(), size))
        })
        .collect();
    assert!(fixture.front.finish(PATIENCE));
    assert_eq!(fixture.front.open_connections(), 0);
    for reader in readers {
        reader.join().unwrap();
    }
}

#[test]
fn idle_connections_give_way_before_unfinished_requests() {
    let fixture = Fixture::limited(|limits| limits.connections_max = 3);
    let mut unfinished = fixture.client();
    unfinished.send("GET /livez HTTP/1.1\r\n");
    let mut idle = fixture.client();
    idle.send(get("/livez"));
    idle.answer();
    let mut streaming = fixture.client();
    streaming.send(get("/api/v1/stream"));
    streaming.until(b": hello\n\n\r\n");
    fixture.is_well();
    assert!(idle.is_closed());
    unfinished.send("Host: localhost\r\n\r\n");
    assert_eq!(unfinished.answer().status, 200);
}

#[test]
fn full_of_streams_it_says_so_fast_and_takes_the_next_when_one_ends() {
    let fixture = Fixture::limited(|limits| limits.connections_max = 4);
    let streams: Vec<Client> = (0..4)
        .map(|_| {
            let mut client = fixture.client();
            client.send(get("/api/v1/stream"));
            client.until(b": hello\n\n\r\n");
            client
        })
        .collect();
    for _ in 0..30 {
        let mut client = fixture.client();
        client.send(get("/livez"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    }
    drop(streams);
    wait_until("there is room", || fixture.status_of(get("/livez")) == 200);
}

#[test]
fn a_huge_body_is_refused_before_it_is_read() {
    if !is_own_process("gate::a_huge_body_is_refused_before_it_is_read") {
        return;
    }
    let fixture = Fixture::start();
    let before = resident_bytes();
    let mut client = fixture.client();
    client
        .send("POST /api/v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n");
    let megabyte = vec![b'x'; 1 << 20];
    // The gate takes what is on its way for a while, so that its answer is not lost.
    let sent = (0..100)
        .take_while(|_| client.try_send(&megabyte).is_ok())
        .count();
    let answer = client.answer();
    assert_eq!(answer.status, 413, "after {sent} MiB");
    assert!(answer.text().contains("1048576"), "{}", answer.text());
    assert!(resident_bytes() < before + (64 << 20));
    let mut chunked = fixture.client();
    chunked.send(
        "POST /api/v1/echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    chunked.try_send("80000\r\n").unwrap();
    let piece = [vec![b'x'; 0x80000], b"\r\n80000\r\n".to_vec()].concat();
    let _broken = (0..10).try_for_each(|_| chunked.try_send(&piece));
    assert_eq!(chunked.answer().status, 413);
    fixture.is_well();
}

#[test]
fn when_bodies_take_too_much_memory_the_largest_gives_way() {
    let fixture = Fixture::limited(|limits| limits.buffered_bytes_max = 300_000);
    let begin = |announced: usize, sent: usize| {
        let mut client = fixture.client();
        let text = post("/api/v1/echo", &"x".repeat(announced));
        client.send(&text[..text.len() - announced + sent]);
        client
    };
    let mut small = begin(20_000, 10_000);
    let mut largest = begin(260_000, 230_000);
    let mut middle = begin(100_000, 90_000);
    assert_eq!(largest.answer().status, 503);
    small.send("x".repeat(10_000));
    assert_eq!(small.answer().body.len(), 20_000);
    middle.send("x".repeat(10_000));
    assert_eq!(middle.answer().body.len(), 100_000);
}

#[test]
fn a_body_may_be_as_long_as_was_set() {
    let megabytes = |count: usize| count << 20;
    let fixture = Fixture::limited(|limits| *limits = GateLimits::with_body_max(megabytes(20)));
    let body = "x".repeat(megabytes(19));
    let mut client = fixture.client();
    client.send(post("/api/v1/echo", &body));
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.len()), (200, body.len()));
}

#[test]
fn thousands_of_short_connections_in_a_row_are_all_answered() {
    let fixture = Fixture::start();
    for _ in 0..3000 {
        fixture.is_well();
    }
    fixture.wait_for_open(0);
}

#[test]
fn clients_that_reset_right_after_their_request_leave_nothing_behind() {
    let fixture = Fixture::start();
    for number in 0..1000 {
        let path = ["/livez", "/api/v1/large?100000", "/api/v1/stream"][number % 3];
        let mut client = fixture.client();
        client.send(get(path));
        reset(client.stream);
    }
    fixture.is_well();
    fixture.wait_for_open(0);
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let fixture = Fixture::start();
    let addr = fixture.front.local_addr();
    let clients: Vec<_> = (0..40)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(addr);
                for number in 0..20 {
                    client.send(post("/api/v1/echo", &number.to_string()));
                    assert_eq!(client.answer().text(), number.to_string());
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn draining_ends_what_is_idle_and_lets_the_rest_finish() {
    let fixture = Fixture::start();
    let mut idle = fixture.client();
    idle.send(get("/livez"));
    idle.answer();
    let mut begun = fixture.client();
    begun.send("GET /livez HTTP/1.1\r\n");
    let mut streaming = fixture.client();
    streaming.send(get("/api/v1/stream"));
    streaming.until(b": hello\n\n\r\n");
    wait_until("all are in", || fixture.front.open_connections() == 3);
    fixture.front.drain();
    assert!(idle.is_closed());
    wait_until("nobody listens", || {
        TcpStream::connect(fixture.front.local_addr()).is_err()
    });
    begun.send("Host: localhost\r\n\r\n");
    let answer = begun.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(begun.is_closed());
    drop(begun);
    fixture.wait_for_open(1);
    let seen_rx = fixture.seen_rx.clone();
    fixture.front.stop();
    assert_eq!(seen_rx.recv_timeout(PATIENCE), Ok(Seen::StreamBegan));
    assert_eq!(seen_rx.recv_timeout(PATIENCE), Ok(Seen::ClientGone));
    assert!(streaming.rest().is_empty());
}

#[test]
fn running_out_of_files_passes() {
    if !is_own_process("gate::running_out_of_files_passes") {
        return;
    }
    let fixture = Fixture::start();
    fixture.is_well();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let mut few = limit;
    few.current = Some(60);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    // The clients are of this process too, so both sides run out.
    let addr = fixture.front.local_addr();
    let mut clients: Vec<TcpStream> = std::iter::from_fn(|| TcpStream::connect(addr).ok())
        .take(100)
        .collect();
    assert!(clients.len() < 100);
    for _ in 0..3 {
        for client in &mut clients {
            let _outcome = client.write_all(get("/api/v1/large?10000").as_bytes());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(clients);
    wait_until("it serves again", || {
        let Ok(stream) = TcpStream::connect(addr) else {
            return false;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client {
            stream,
            read: Vec::new(),
        };
        client.try_send(get("/livez")).is_ok() && client.rest_has("HTTP/1.1 200 OK")
    });
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    for _ in 0..100 {
        fixture.is_well();
    }
    fixture.wait_for_open(0);
}

#[test]
fn the_folder_of_the_inner_socket_is_private_and_goes_with_the_front() {
    use std::os::unix::fs::PermissionsExt as _;
    if !is_own_process("gate::the_folder_of_the_inner_socket_is_private_and_goes_with_the_front") {
        return;
    }
    let folders = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let fixture = Fixture::start();
    let [folder] = folders().try_into().unwrap();
    assert_eq!(
        std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777,
        0o700
    );
    fixture.front.stop();
    assert!(folders().is_empty());
}

#[test]
fn who_reaches_the_inner_socket_past_the_gate_is_refused() {
    use std::os::unix::net::UnixStream;
    if !is_own_process("gate::who_reaches_the_inner_socket_past_the_gate_is_refused") {
        return;
    }
    let fixture = Fixture::start();
    fixture.is_well();
    let mut folders = std::fs::read_dir(std::env::temp_dir()).unwrap();
    let socket = folders.next().unwrap().unwrap().path().join("0");
    for key in [
        "",
        "X-Gate-Key: 0\r\nX-Gate-Peer: 127.0.0.1:1\r\nX-Gate-Conn: 1\r\n",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let text = format!("GET /livez HTTP/1.1\r\nConnection: close\r\n{key}\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
}

#[test]
fn a_hundred_streams_with_large_requests_hold_up_nobody() {
    let fixture = Fixture::start();
    let streams: Vec<Client> = (0..100)
        .map(|_| {
            let mut client = fixture.client();
            client.send(post("/api/v1/stream", &"x".repeat(5000)));
            client.until(b": hello\n\n\r\n");
            client
        })
        .collect();
    for _ in 0..100 {
        fixture.is_well();
    }
    drop(streams);
    fixture.wait_for_open(0);
}

#[test]
fn vanished_clients_are_probed_on_every_connection() {
    use rustix::net::sockopt;
    // The first is there before anybody accepts it.
    let listener = listener();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = rustix::net::accept(&listener).unwrap();
    assert!(sockopt::socket_keepalive(&accepted).unwrap());
    assert!(sockopt::tcp_nodelay(&accepted).unwrap());
    assert_eq!(sockopt::tcp_user_timeout(&accepted).unwrap(), 30_000);
}

/// Runs a test again in a process of its own, for what is the process's: its memory, its limits, its
/// temporary folder.
/// Returns whether this is that process.
fn is_own_process(name: &str) -> bool {
    const MARK: &str = "DURAGENT_TEST_IN_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let temporary = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(MARK, "1")
        .env("TMPDIR", temporary.path())
        .output_in_time()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    false
}

/// Closes with a reset rather than an orderly end.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
