//! Streams on real sockets, of sessions in memory.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Weak;

use crossbeam_channel::{Sender, bounded};

use super::*;
use crate::domain::ids::SessionId;
use crate::domain::message::MessageText;
use crate::domain::principal::Principal;
use crate::engine::testing::{Bench, reply};
use crate::engine::{Begin, NewMessage, Presence, Subscription};
use crate::http::gate::{Exchange, LentSocket};
use crate::http::server::StreamWriter;
use crate::http::server::stream::Coding;
use crate::http::testing::{TOO_MUCH, narrow};
use crate::llm::LlmError;

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// A time that does not come.
const NEVER: Duration = Duration::from_secs(3600);

/// A stream's far end.
struct Client {
    socket: TcpStream,
    /// Its end says that the client has left.
    here: Here,
    /// The server's own handle of the socket, as the gate has one.
    gate: TcpStream,
}

struct Here(Weak<Exchange>);

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(exchange) = self.0.upgrade() {
            exchange.leave();
        }
    }
}

impl Client {
    /// Reads until that was sent.
    fn reads_until(&mut self, end: &str) {
        let mut read = Vec::new();
        let mut piece = vec![0; 1 << 16];
        let begins_at = |read: &[u8], bytes: usize| read.len().saturating_sub(bytes + end.len());
        loop {
            let bytes = self.socket.read(&mut piece).unwrap();
            assert!(bytes > 0, "the end after {} bytes", read.len());
            read.extend_from_slice(&piece[..bytes]);
            let tail = &read[begins_at(&read, bytes)..];
            if tail
                .windows(end.len())
                .any(|window| window == end.as_bytes())
            {
                return;
            }
        }
    }

    /// Whether its stream ends, or breaks off.
    fn reads_to_the_end(mut self) -> bool {
        // The gate lets go of it, too.
        drop(self.gate);
        let mut piece = vec![0; 1 << 16];
        loop {
            match self.socket.read(&mut piece) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// What a stream of a test is like.
#[derive(Clone, Copy)]
struct Kind {
    keep_alive: Duration,
    stall_time: Duration,
}

const USUAL: Kind = Kind {
    keep_alive: NEVER,
    stall_time: NEVER,
};

/// Sessions and their streams.
struct Scene {
    bench: Bench,
    streams: Streams,
    stop: Stop,
    _stop_source: StopSource,
}

impl Scene {
    fn new() -> Scene {
        let (stop_source, stop) = stop::pair();
        Scene {
            bench: Bench::new(),
            streams: Streams::new(JobThreads::default()),
            stop,
            _stop_source: stop_source,
        }
    }

    fn session(&self) -> SessionId {
        self.bench.new_session()
    }

    fn subscribe(&self, id: &SessionId) -> Subscription {
        let begin = Begin::Now { history: 0 };
        let subscription = self
            .bench
            .sessions
            .subscribe(id, begin, Presence::default());
        subscription.unwrap()
    }

    /// A stream of a session, and its client.
    fn stream(&self, id: &SessionId, kind: Kind) -> (Box<SseStream>, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (gate, _) = listener.accept().unwrap();
        gate.set_nonblocking(true).unwrap();
        narrow(&gate, &socket);
        let exchange = Exchange::alone(gate.try_clone().unwrap(), kind.stall_time);
        let lent = LentSocket::new(Arc::clone(&exchange));
        let writer = StreamWriter::begin(lent, b"", Coding::UntilClose).unwrap();
        let client = Client {
            socket,
            here: Here(Arc::downgrade(&exchange)),
            gate,
        };
        drop(exchange);
        let stream = SseStream::of(self.subscribe(id), writer, kind.keep_alive, &self.stop);
        (stream, client)
    }

    /// The last client of a session leaves, and all streams end.
    fn ends(&self, id: &SessionId, client: Client) {
        drop(client);
        self.streams.close();
        // That it has left is noticed with the next news.
        self.bench.sessions.submit(id, message("bye")).unwrap();
        assert!(self.streams.join(PATIENCE));
    }

    /// A thread's data without the thread, so that a test takes its steps.
    fn stream_loop(&self) -> StreamLoop {
        let (ended_source, _) = stop::pair();
        StreamLoop::new(self.streams.clone(), Waker::new().unwrap(), ended_source).unwrap()
    }

    /// The model says so many bytes of text and is then silent until what is returned is dropped.
    fn is_in_the_middle_of_a_reply(&self, id: &SessionId, bytes: usize) -> Sender<Infallible> {
        const PIECE: usize = 1 << 10;
        let (silence_tx, silence_rx) = bounded(0);
        let (said_tx, said_rx) = bounded(1);
        self.bench.model.then(move |_, sink| {
            for _ in 0..bytes / PIECE {
                sink.text(&"x".repeat(PIECE));
            }
            sink.text("that was all");
            sink.flush()?;
            said_tx
                .send(())
                .map_err(|error| LlmError::Sink(error.to_string().into()))?;
            silence_rx
                .recv_timeout(PATIENCE)
                .map_err(|_| LlmError::Cancelled)
                .map(|never| match never {})
                .or_else(|_| Ok(reply(&[])))
        });
        self.bench.sessions.submit(id, message("hi")).unwrap();
        said_rx.recv_timeout(PATIENCE).unwrap();
        silence_tx
    }
}

fn message(content: &str) -> NewMessage {
    NewMessage::new(Principal::Owner, MessageText::parse(content).unwrap())
}

/// The one stream of a thread's data.
const ONLY: u64 = LOOP_WAKER + 1;

#[test]
fn none_is_taken_once_all_are_to_end() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, mut client) = scene.stream(&id, USUAL);
    assert!(scene.streams.adopt(stream).is_ok());
    client.reads_until("retry:");
    // No stop was given: the stream has no reason to end, and its thread runs.
    scene.streams.close();
    let (late, _client) = scene.stream(&id, USUAL);
    assert!(scene.streams.adopt(late).is_err());
    scene.ends(&id, client);
    let (later, _client) = scene.stream(&id, USUAL);
    assert!(scene.streams.adopt(later).is_err(), "its thread is gone");
}

#[test]
fn a_stream_that_has_more_is_stepped_until_it_has_shown_all() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, mut client) = scene.stream(&id, USUAL);
    let mut stream_loop = scene.stream_loop();
    stream_loop.take_in(stream);
    stream_loop.step(ONLY);
    // More than one step shows, and nothing that would ring again.
    let _silence = scene.is_in_the_middle_of_a_reply(&id, 1 << 20);
    let reader = std::thread::spawn(move || {
        client.reads_until("that was all");
        client
    });
    let mut steps = 0;
    stream_loop.collect(false);
    loop {
        for id in std::mem::take(&mut stream_loop.next) {
            stream_loop.step(id);
            steps += 1;
        }
        if stream_loop.next.is_empty() && !stream_loop.slots[&ONLY].waits_for_room {
            break;
        }
        stream_loop.collect(false);
    }
    assert!(steps > 4, "{steps} steps");
    reader.join().unwrap();
}

#[test]
fn a_stream_that_panics_ends_alone() {
    let scene = Scene::new();
    let id = scene.session();
    let (good, mut other) = scene.stream(&id, USUAL);
    assert!(scene.streams.adopt(good).is_ok());
    other.reads_until("retry:");
    // When it is due cannot be told: no such time exists.
    let (bad, client) = scene.stream(
        &id,
        Kind {
            keep_alive: Duration::MAX,
            ..USUAL
        },
    );
    assert!(scene.streams.adopt(bad).is_ok());
    assert!(client.reads_to_the_end(), "it stays");
    let _silence = scene.is_in_the_middle_of_a_reply(&id, 0);
    other.reads_until("that was all");
    scene.ends(&id, other);
}

/// A thread's data with a stream whose client has no room for what the model says.
fn full(scene: &Scene, kind: Kind) -> (StreamLoop, Client, Sender<Infallible>) {
    let id = scene.session();
    let (stream, client) = scene.stream(&id, kind);
    let mut stream_loop = scene.stream_loop();
    stream_loop.take_in(stream);
    stream_loop.step(ONLY);
    let silence = scene.is_in_the_middle_of_a_reply(&id, TOO_MUCH);
    // Each shows a part of it.
    let steps = (0..TOO_MUCH >> 10).take_while(|_| {
        stream_loop.step(ONLY);
        !stream_loop.slots[&ONLY].waits_for_room
    });
    assert!(steps.count() < TOO_MUCH >> 10, "the way is never full");
    (stream_loop, client, silence)
}

#[test]
fn a_client_that_takes_nothing_is_given_up_in_its_own_time_and_not_when_a_sign_of_life_is_due() {
    let scene = Scene::new();
    let stall_time = Duration::from_secs(30);
    let (stream_loop, _client, _silence) = full(
        &scene,
        Kind {
            stall_time,
            ..USUAL
        },
    );
    assert!(stream_loop.slots[&ONLY].waits_for_room);
    let (due, due_of) = *stream_loop.due.first().unwrap();
    assert_eq!(due_of, ONLY);
    assert!(due <= Instant::now() + stall_time);
    assert_eq!(stream_loop.due.len(), 1, "the later one is forgotten");
    // Deaf to news, of which it could show none.
    let woken = lock(&scene.streams.shared.inbox).woken.len();
    stream_loop.slots[&ONLY].waker.wake_by_ref();
    assert_eq!(lock(&scene.streams.shared.inbox).woken.len(), woken);
}

#[test]
fn a_stream_that_waits_for_room_goes_on_when_there_is_some() {
    let scene = Scene::new();
    let (mut stream_loop, mut client, _silence) = full(&scene, USUAL);
    let reader = std::thread::spawn(move || {
        client.reads_until("that was all");
        client
    });
    let deadline = Instant::now() + PATIENCE;
    while stream_loop.slots[&ONLY].waits_for_room {
        assert!(Instant::now() < deadline, "nobody told of the room");
        stream_loop.collect(false);
        for id in std::mem::take(&mut stream_loop.next) {
            stream_loop.step(id);
        }
    }
    reader.join().unwrap();
}

#[test]
fn a_stream_that_has_gone_leaves_nothing_in_the_poll_set_or_among_what_is_due() {
    let scene = Scene::new();
    let (mut stream_loop, mut client, _silence) = full(&scene, USUAL);
    assert!(stream_loop.slots[&ONLY].waits_for_room);
    assert!(stream_loop.part_with(ONLY).is_some());
    assert!(stream_loop.due.is_empty());
    assert!(stream_loop.part_with(ONLY).is_none());
    // The gate has the socket still, and there is room again: nobody is told of that.
    client.socket.set_nonblocking(true).unwrap();
    let mut piece = vec![0; 1 << 16];
    while matches!(client.socket.read(&mut piece), Ok(1..)) {}
    assert!(client.gate.write(b"room").is_ok());
    let mut ready = Vec::new();
    stream_loop
        .poll
        .wait(Some(Duration::ZERO), &mut ready)
        .unwrap();
    assert_eq!(ready, []);
}

#[test]
fn a_client_that_has_left_takes_its_stream_with_it() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, client) = scene.stream(&id, USUAL);
    let mut stream_loop = scene.stream_loop();
    stream_loop.take_in(stream);
    stream_loop.step(ONLY);
    assert_eq!(stream_loop.slots.len(), 1);
    drop(client.here);
    stream_loop.step(ONLY);
    assert!(stream_loop.slots.is_empty() && stream_loop.due.is_empty());
}

#[test]
fn a_stream_is_woken_once_until_it_is_stepped() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, _client) = scene.stream(&id, USUAL);
    let mut stream_loop = scene.stream_loop();
    stream_loop.take_in(stream);
    stream_loop.step(ONLY);
    let waker = Arc::clone(&stream_loop.slots[&ONLY].waker);
    let woken = || lock(&scene.streams.shared.inbox).woken.len();
    assert_eq!(woken(), 0);
    waker.wake_by_ref();
    waker.wake_by_ref();
    assert_eq!(woken(), 1);
    stream_loop.collect(false);
    assert_eq!(stream_loop.next, BTreeSet::from([ONLY]));
    stream_loop.step(ONLY);
    waker.wake_by_ref();
    assert_eq!(woken(), 1, "after an answer it rings again");
}
