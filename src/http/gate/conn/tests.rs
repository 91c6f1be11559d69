//! A connection on a real socket pair, whose events and time a test hands it one by one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crossbeam_channel::TryRecvError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::base::lock::lock;
use crate::http::gate::exchange::Exchanges;
use crate::http::gate::lent::LentSocket;
use crate::http::gate::sys;
use crate::http::gate::upstream::Upstream;
use crate::http::poll::Waker;
use crate::http::testing::{TOO_MUCH, narrow};

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(20);
const ID: u64 = 7;
const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// The server behind the gate, which may be there or not.
struct Behind {
    address: PathBuf,
    downs: Arc<Mutex<Vec<PathBuf>>>,
}

impl Upstream for Behind {
    fn address(&self) -> PathBuf {
        self.address.clone()
    }

    fn report_down(&self, address: &Path) {
        lock(&self.downs).push(address.to_owned());
    }
}

/// A connection, its client, and what stands behind the gate.
struct Scene {
    conn: Conn,
    env: ConnEnv,
    client: TcpStream,
    address: PathBuf,
    downs: Arc<Mutex<Vec<PathBuf>>>,
    exchanges: Exchanges,
    /// As long as a server answers the door.
    listener: Option<UnixListener>,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("server");
        let downs = Arc::default();
        let behind = Behind {
            address: address.clone(),
            downs: Arc::clone(&downs),
        };
        let exchanges = Exchanges::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let env = ConnEnv {
            limits: GateLimits::default(),
            access: AccessSettings::default(),
            carriers: Carriers::new(Box::new(behind), exchanges.clone()),
            mail: Arc::new(GateMail::new(Waker::new().unwrap())),
            accounts: Accounts::from_lists(Waker::new().unwrap()),
            listener: listener.local_addr().unwrap(),
            key: "k".to_owned(),
            now: Instant::now(),
            is_draining: false,
            date: DateLine::default(),
            scratch: vec![0; 4096],
        };
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        narrow(&socket, &client);
        Scene {
            conn: Conn::new(ID, socket, peer, &env).unwrap(),
            env,
            client,
            address,
            downs,
            exchanges,
            listener: None,
            _folder: folder,
        }
    }

    /// From now on a server answers the door.
    fn has_server(&mut self) {
        self.listener = Some(UnixListener::bind(&self.address).unwrap());
    }

    /// The request that the server was sent, for whoever answers it.
    fn claimed(&self) -> Option<LentSocket> {
        self.exchanges.claim(ID).map(LentSocket::new)
    }

    /// The client sends something, which the connection then reads.
    fn says(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).unwrap();
        wait_for_input(&self.conn.client.socket);
        self.conn.on_client(Ready::IN, &mut self.env);
    }

    /// What the client has been sent, up to that end of it.
    fn hears(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(end.as_bytes()) {
            let read = self.client.read(&mut byte).unwrap();
            assert!(read > 0, "the end after {}", heard.escape_ascii());
            heard.push(byte[0]);
        }
        String::from_utf8(heard).unwrap()
    }

    /// What the client is sent until the connection ends its side.
    fn hears_to_the_end(&mut self) -> String {
        let mut heard = String::new();
        self.client.read_to_string(&mut heard).unwrap();
        heard
    }

    /// The request is answered, and the gate told of it.
    fn is_answered(&mut self, mut answerer: LentSocket) {
        self.conn.await_end(&mut self.env);
        answerer.send([ANSWER, b"", b""]).unwrap();
        answerer.end();
        self.takes_mail();
    }

    fn takes_mail(&mut self) {
        for told in self.env.mail.take() {
            assert_eq!(told, ID);
            self.conn.look_for_end(&mut self.env);
        }
    }

    /// How long it is until something is due.
    fn left(&self) -> Option<Duration> {
        let due = self.conn.due()?;
        Some(due.duration_since(self.env.now))
    }

    /// Time goes by; what is due then is done.
    fn waits(&mut self, time: Duration) {
        self.env.now += time;
        if self.conn.due().is_some_and(|at| at <= self.env.now) {
            self.conn.on_deadline(&mut self.env);
        }
    }

    /// A request that has reached the server: who answers it.
    fn hands_over(&mut self, request: &[u8]) -> LentSocket {
        if self.listener.is_none() {
            self.has_server();
        }
        self.says(request);
        self.claimed().unwrap()
    }

    /// A request and its answer.
    fn is_served(&mut self) {
        let answerer = self.hands_over(REQUEST);
        self.is_answered(answerer);
        assert!(self.hears("hi").starts_with("HTTP/1.1 200 OK"));
    }

    /// The client takes what comes, and the connection sends on, until that is so; what was taken.
    fn takes_until(&mut self, is_enough: impl Fn(&Scene, &[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        let mut piece = vec![0; 1 << 16];
        self.client.set_nonblocking(true).unwrap();
        while !is_enough(self, &taken) {
            assert!(Instant::now() < deadline, "{} bytes came", taken.len());
            if let Ok(bytes) = self.client.read(&mut piece) {
                taken.extend_from_slice(&piece[..bytes]);
            }
            self.conn.on_client(Ready::OUT, &mut self.env);
        }
        self.client.set_nonblocking(false).unwrap();
        taken
    }

    /// Sends the client more than it can take at once.
    fn sends_too_much(&mut self) {
        self.conn.send(&[b'x'; TOO_MUCH], &self.env);
        assert!(!self.conn.out.is_empty());
    }
}

fn wait_for_input(socket: &impl AsFd) {
    let limit = Timespec::try_from(PATIENCE).unwrap();
    let mut sockets = [PollFd::new(socket, PollFlags::IN)];
    assert_eq!(poll(&mut sockets, Some(&limit)), Ok(1), "nothing came");
}

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn a_client_that_does_not_hang_up_after_its_last_words_is_closed_in_time() {
    type Way = fn(&mut Scene);
    let ways: [(&str, Way); 5] = [
        ("refused", |scene| scene.says(b"rubbish\r\n\r\n")),
        ("too slow", |scene| {
            scene.says(b"GET ");
            scene.waits(scene.env.limits.head_time);
        }),
        ("turned away", |scene| scene.conn.turn_away(&mut scene.env)),
        ("its last answer", |scene| {
            scene.env.is_draining = true;
            scene.is_served();
        }),
        ("no server", |scene| {
            scene.says(REQUEST);
            scene.waits(scene.env.limits.connect_time);
        }),
    ];
    for (why, way) in ways {
        let mut scene = Scene::new();
        way(&mut scene);
        let limit = scene.env.limits.linger_time;
        assert_eq!(scene.left(), Some(limit), "{why}");
        let rank = scene.conn.rank().unwrap().0;
        assert!(matches!(rank, Rank::Lingering | Rank::TurnedAway), "{why}");
        scene.waits(limit - MILLI);
        assert!(!scene.conn.is_closed(), "{why}");
        scene.waits(MILLI);
        assert!(scene.conn.is_closed(), "{why}");
    }
}

#[test]
fn every_head_has_its_own_time_and_the_rest_between_two_another() {
    let mut scene = Scene::new();
    let GateLimits {
        head_time,
        idle_time,
        ..
    } = scene.env.limits;
    for _ in 0..3 {
        scene.says(&REQUEST[..1]);
        assert_eq!(scene.left(), Some(head_time));
        assert_eq!(scene.conn.rank().unwrap().0, Rank::Incomplete);
        // It is for the whole head: each further byte brings no more.
        scene.waits(MILLI);
        scene.says(&REQUEST[1..2]);
        assert_eq!(scene.left(), Some(head_time - MILLI));
        let answerer = scene.hands_over(&REQUEST[2..]);
        scene.waits(idle_time);
        assert_eq!(scene.left(), None, "an answer takes as long as it takes");
        scene.is_answered(answerer);
        scene.hears("hi");
        assert_eq!(scene.left(), Some(idle_time));
        assert_eq!(scene.conn.rank().unwrap().0, Rank::Idle);
        scene.waits(MILLI);
    }
    scene.waits(idle_time);
    assert!(scene.conn.is_closed());
    assert_eq!(scene.hears_to_the_end_after_drop(), "", "without a word");
}

impl Scene {
    /// What the client is still sent once the connection is gone.
    fn hears_to_the_end_after_drop(mut self) -> String {
        drop(self.conn);
        let mut heard = String::new();
        self.client.read_to_string(&mut heard).unwrap();
        heard
    }
}

#[test]
fn a_request_that_came_ahead_is_read_with_its_own_time() {
    let mut scene = Scene::new();
    let ahead = [REQUEST, b"GET "].concat();
    let answerer = scene.hands_over(&ahead);
    scene.is_answered(answerer);
    assert_eq!(scene.left(), Some(scene.env.limits.head_time));
    scene.hears("hi");
    scene.waits(scene.env.limits.head_time);
    assert!(scene.hears("}").starts_with("HTTP/1.1 408"));
}

/// The server's end of the connection by which it is sent requests.
fn server_end(scene: &Scene) -> UnixStream {
    let listener = scene.listener.as_ref().unwrap();
    listener.set_nonblocking(false).unwrap();
    listener.accept().unwrap().0
}

#[test]
fn a_server_that_hangs_up_or_talks_back_is_answered_for_as_far_as_nobody_has_the_request() {
    for (says, is_claimed) in [("", false), ("", true), ("HTTP/1.1 400 Bad", false)] {
        let mut scene = Scene::new();
        scene.has_server();
        scene.says(REQUEST);
        let answerer = if is_claimed { scene.claimed() } else { None };
        let mut server = server_end(&scene);
        server.read_exact(&mut [0; 10]).unwrap();
        server.write_all(says.as_bytes()).unwrap();
        drop(server);
        let lost = scene.env.carriers.on_ready(3, Ready::IN);
        for id in &lost {
            assert_eq!(*id, ID);
            scene.conn.is_lost(&mut scene.env);
        }
        assert_eq!(lost.is_empty(), is_claimed);
        match answerer {
            Some(answerer) => scene.is_answered(answerer),
            None => assert!(scene.hears("}").starts_with("HTTP/1.1 502 Bad Gateway")),
        }
        assert!(scene.claimed().is_none(), "nobody else has it");
        let is_lingering = matches!(scene.conn.state, ConnState::Lingering { .. });
        assert_eq!(is_lingering, !is_claimed);
    }
}

#[test]
fn the_way_to_the_server_is_made_anew_for_the_next_request_when_it_broke() {
    let mut scene = Scene::new();
    scene.is_served();
    drop(server_end(&scene));
    assert!(scene.env.carriers.on_ready(3, Ready::IN).is_empty());
    scene.is_served();
    let mut server = server_end(&scene);
    server.read_exact(&mut [0; 10]).unwrap();
}

#[test]
fn one_connection_to_the_server_serves_for_one_request_after_the_other() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.is_served();
    }
    let mut server = server_end(&scene);
    let mut got = Vec::new();
    while got.windows(4).filter(|end| end == b"\r\n\r\n").count() < 3 {
        let mut piece = [0; 1024];
        let bytes = server.read(&mut piece).unwrap();
        got.extend_from_slice(&piece[..bytes]);
    }
    let listener = scene.listener.as_ref().unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn an_answer_that_breaks_off_ends_the_connection() {
    let mut scene = Scene::new();
    let mut answerer = scene.hands_over(REQUEST);
    answerer
        .send([&ANSWER[..ANSWER.len() - 1], b"", b""])
        .unwrap();
    drop(answerer);
    scene.takes_mail();
    assert!(scene.conn.is_closed());
    assert!(scene.hears_to_the_end_after_drop().ends_with("h"));
}

#[test]
fn an_end_that_nobody_told_of_is_found_by_the_next_request_or_when_its_time_is_over() {
    for asks in [true, false] {
        let mut scene = Scene::new();
        let mut answerer = scene.hands_over(REQUEST);
        assert!(scene.conn.ends_silently());
        answerer.send([ANSWER, b"", b""]).unwrap();
        answerer.end();
        assert!(scene.env.mail.take().is_empty());
        scene.hears("hi");
        if asks {
            let answerer = scene.hands_over(REQUEST);
            scene.is_answered(answerer);
            scene.hears("hi");
        } else {
            scene.waits(scene.env.limits.idle_time);
        }
        assert_eq!(scene.conn.rank().unwrap().0, Rank::Idle);
        scene.waits(scene.env.limits.idle_time);
        assert!(scene.conn.is_closed());
    }
}

#[test]
fn the_next_request_waits_until_the_client_has_taken_the_answer_before() {
    let mut scene = Scene::new();
    scene.env.limits.idle_time = MILLI;
    let mut answerer = scene.hands_over(&[REQUEST, REQUEST].concat());
    answerer.send([&[b'x'; TOO_MUCH], b"", b""]).unwrap();
    answerer.end();
    scene.takes_mail();
    // The time between two requests has not begun.
    scene.waits(MILLI);
    assert!(scene.claimed().is_none());
    assert!(!scene.conn.client_interest().contains(Ready::IN));
    let taken = scene.takes_until(|_, taken| taken.len() >= TOO_MUCH);
    assert!(taken == [b'x'; TOO_MUCH]);
    let answerer = scene.claimed().unwrap();
    scene.is_answered(answerer);
    assert!(scene.hears("hi").starts_with("HTTP/1.1 200 OK"));
    assert_eq!(scene.left(), Some(MILLI));
}

#[test]
fn a_request_waits_until_the_client_has_taken_the_leave_to_send_it() {
    let mut scene = Scene::new();
    scene.has_server();
    scene.sends_too_much();
    scene.says(
        b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\
          Expect: 100-continue\r\n\r\n",
    );
    scene.says(b"hi");
    assert!(scene.claimed().is_none(), "two would write to the client");
    assert_eq!(scene.left(), Some(scene.env.limits.stall_time));
    let enough = TOO_MUCH + reply::CONTINUE.len();
    let taken = scene.takes_until(|_, taken| taken.len() >= enough);
    assert!(taken.ends_with(reply::CONTINUE));
    let answerer = scene.claimed().unwrap();
    scene.is_answered(answerer);
    assert!(scene.hears("hi").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn a_server_that_is_down_is_reported_and_called_again_until_the_time_is_over() {
    let mut scene = Scene::new();
    scene.says(REQUEST);
    let address = scene.address.clone();
    assert_eq!(*lock(&scene.downs), vec![address.clone(); 1]);
    assert_eq!(scene.left(), Some(RETRY_AFTER));
    // Its socket is there, and nobody listens.
    scene.has_server();
    scene.listener = None;
    scene.waits(RETRY_AFTER);
    assert_eq!(*lock(&scene.downs), vec![address.clone(); 2]);
    std::fs::remove_file(&address).unwrap();
    scene.has_server();
    scene.waits(RETRY_AFTER);
    let answerer = scene.claimed().unwrap();
    scene.is_answered(answerer);
    assert!(scene.hears("hi").starts_with("HTTP/1.1 200"));
    assert_eq!(lock(&scene.downs).len(), 2);

    let mut scene = Scene::new();
    scene.says(REQUEST);
    scene.waits(scene.env.limits.connect_time);
    let refused = scene.hears("}");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("Retry-After: 1"), "{refused}");
}

#[test]
fn a_server_that_is_only_busy_is_called_again_and_not_made_anew() {
    let mut scene = Scene::new();
    scene.has_server();
    rustix::net::listen(scene.listener.as_ref().unwrap(), 0).unwrap();
    let mut waiting = Vec::new();
    while let Ok(one) = sys::connect_unix(&scene.address) {
        waiting.push(one);
    }
    scene.says(REQUEST);
    assert_eq!(scene.left(), Some(RETRY_AFTER));
    assert!(lock(&scene.downs).is_empty());
}

#[test]
fn only_who_still_has_to_send_its_body_is_told_to_go_on() {
    let post = |version: &str, lines: &str| {
        format!("POST /livez HTTP/{version}\r\nHost: localhost\r\n{lines}\r\n")
    };
    let expects = "Expect: 100-continue\r\n";
    for (version, lines, body, is_told) in [
        ("1.1", "Content-Length: 2\r\n", "", false),
        (
            "1.1",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "",
            true,
        ),
        (
            "1.1",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "h",
            false,
        ),
        (
            "1.1",
            "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
            "",
            true,
        ),
        (
            "1.1",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "hi",
            false,
        ),
        (
            "1.1",
            "Content-Length: 0\r\nExpect: 100-continue\r\n",
            "",
            false,
        ),
        ("1.1", expects, "", false),
        (
            "1.0",
            "Content-Length: 2\r\nExpect: 100-continue\r\n",
            "",
            false,
        ),
    ] {
        let mut scene = Scene::new();
        scene.says(format!("{}{body}", post(version, lines)).as_bytes());
        let heard = scene.hears_to_the_end_after_drop();
        let interim = String::from_utf8_lossy(reply::CONTINUE);
        assert_eq!(
            heard == interim,
            is_told,
            "{version} {lines:?} {body:?}: {heard}"
        );
    }
}

#[test]
fn who_answers_learns_that_the_client_left_before_the_server_was_reached() {
    for has_left in [false, true] {
        let mut scene = Scene::new();
        scene.says(REQUEST);
        if has_left {
            scene.client.shutdown(Shutdown::Write).unwrap();
            wait_for_input(&scene.conn.client.socket);
            scene.conn.on_client(Ready::RDHUP, &mut scene.env);
        }
        scene.has_server();
        scene.waits(RETRY_AFTER);
        let answerer = scene.claimed().unwrap();
        let gone = answerer.exchange().gone().try_recv();
        let expected = if has_left {
            TryRecvError::Disconnected
        } else {
            TryRecvError::Empty
        };
        assert_eq!(gone, Err(expected));
        // It may still read: the answer is its own.
        scene.is_answered(answerer);
        assert!(scene.hears("hi").starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_connection_lives_on_after_an_answer_unless_somebody_wants_it_closed() {
    let closing = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (request, drains, lives) in [
        (REQUEST, false, true),
        (REQUEST, true, false),
        (&closing[..], false, false),
        (&closing[..], true, false),
    ] {
        let mut scene = Scene::new();
        let answerer = scene.hands_over(request);
        // It begins to drain while the answer is under way.
        scene.env.is_draining = drains;
        scene.is_answered(answerer);
        let is_idle = matches!(scene.conn.state, ConnState::Waiting { is_idle: true });
        assert_eq!(is_idle, lives, "{drains} {}", request.escape_ascii());
        if !lives {
            assert!(scene.hears_to_the_end().ends_with("hi"));
        }
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_given_up_and_one_that_takes_something_is_not() {
    let mut scene = Scene::new();
    // So that it is not that which ends it.
    scene.env.limits.idle_time = Duration::from_secs(3600);
    scene.is_served();
    let stall_time = scene.env.limits.stall_time;
    scene.sends_too_much();
    assert_eq!(scene.left(), Some(stall_time));
    assert_eq!(scene.conn.rank().unwrap().0, Rank::Stalled);
    scene.waits(stall_time - MILLI);
    scene.takes_until(|scene, _| scene.conn.out.is_empty());
    scene.waits(MILLI);
    assert!(!scene.conn.is_closed());
    // Who takes a part of it has as long for the next part.
    scene.sends_too_much();
    scene.waits(stall_time - MILLI);
    assert_eq!(scene.left(), Some(MILLI));
    scene.takes_until(|scene, _| scene.left() != Some(MILLI));
    assert!(!scene.conn.out.is_empty());
    assert_eq!(scene.left(), Some(stall_time));
    scene.waits(stall_time);
    assert!(scene.conn.is_closed());

    let mut scene = Scene::new();
    scene.is_served();
    scene.sends_too_much();
    scene.says(b"rubbish\r\n\r\n");
    assert_eq!(scene.left(), Some(stall_time), "its last words too");
    scene.waits(stall_time);
    assert!(scene.conn.is_closed());
}

#[test]
fn the_end_of_an_answer_outlives_the_time_between_two_requests() {
    let mut scene = Scene::new();
    scene.env.limits.idle_time = MILLI;
    scene.is_served();
    scene.sends_too_much();
    scene.waits(MILLI);
    assert!(!scene.conn.is_closed());
    let taken = scene.takes_until(|_, taken| taken.len() >= TOO_MUCH);
    assert_eq!(taken.len(), TOO_MUCH);
    scene.waits(scene.env.limits.linger_time);
    assert!(scene.conn.is_closed(), "and then it ends");
}

#[test]
fn who_gives_way_to_others_is_told_so_if_it_has_begun_to_ask() {
    for (said, is_told) in [("GET ", true), ("", true)] {
        let mut scene = Scene::new();
        if !said.is_empty() {
            scene.says(said.as_bytes());
        }
        scene.conn.evict(&mut scene.env);
        assert!(scene.conn.is_closed());
        let heard = scene.hears_to_the_end_after_drop();
        assert_eq!(
            heard.starts_with("HTTP/1.1 503"),
            is_told,
            "{said:?}: {heard}"
        );
    }
    let mut scene = Scene::new();
    scene.is_served();
    scene.conn.evict(&mut scene.env);
    assert_eq!(scene.hears_to_the_end_after_drop(), "");
}

#[test]
fn the_body_has_its_own_time() {
    let mut scene = Scene::new();
    scene.waits(MILLI);
    scene.says(b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nh");
    let body_time = scene.env.limits.body_time;
    assert_eq!(scene.left(), Some(body_time));
    scene.waits(body_time);
    let refused = scene.hears("}");
    assert!(
        refused.starts_with("HTTP/1.1 408") && refused.contains("body"),
        "{refused}"
    );
}
