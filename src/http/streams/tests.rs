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
            streams: Streams::new(ThreadPool::default()),
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
        let writer = StreamWriter::new(lent, Vec::new(), Coding::UntilClose);
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
        let loop_waker = Waker::new().unwrap();
        self.streams
            .table
            .with(|table| table.has_thread(loop_waker.clone()));
        StreamLoop::new(self.streams.clone(), loop_waker, ended_source).unwrap()
    }

    /// Enters a stream, which whoever has news steps from now on.
    fn enters(&self, stream: Box<SseStream>) -> Arc<Cell> {
        let cell = self.streams.table.enter(stream);
        let cell = cell.unwrap_or_else(|_| panic!("nobody closes"));
        cell.show();
        cell
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
fn whoever_has_news_shows_it_on_its_own_thread() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, mut client) = scene.stream(&id, USUAL);
    // There is no thread that could do it.
    scene.enters(stream);
    client.reads_until("retry:");
    let silence = scene.is_in_the_middle_of_a_reply(&id, 0);
    client.reads_until("that was all");
    drop(silence);
    client.reads_until("event: done");
}

#[test]
fn what_is_more_than_a_few_batches_is_left_to_the_thread() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, mut client) = scene.stream(&id, USUAL);
    let mut stream_loop = scene.stream_loop();
    let _cell = scene.enters(stream);
    let _silence = scene.is_in_the_middle_of_a_reply(&id, 1 << 20);
    let reader = std::thread::spawn(move || {
        client.reads_until("that was all");
        client
    });
    let mut steps = 0;
    stream_loop.collect();
    while !stream_loop.held.is_empty() {
        for id in std::mem::take(&mut stream_loop.next) {
            stream_loop.step(id);
            steps += 1;
        }
        if !stream_loop.held.is_empty() {
            stream_loop.collect();
        }
    }
    assert!(steps > STEPS_MAX, "{steps} steps");
    reader.join().unwrap();
}

/// A follower that panics at the step of that number, or where it ends in its place.
struct Panics {
    steps_left: u32,
    is_to_end: bool,
}

impl ClientFollower for Panics {
    fn step(&mut self, _reach: Reach) -> io::Result<StreamState> {
        if self.steps_left == 0 && self.is_to_end {
            return Ok(StreamState::Ended);
        }
        assert!(self.steps_left > 0, "on purpose");
        self.steps_left -= 1;
        Ok(StreamState::Quiet)
    }

    fn due(&self) -> Instant {
        Instant::now()
    }

    fn wake_by(&mut self, _news: std::task::Waker, _gone: std::task::Waker) {}

    fn wake_here(&mut self) {}

    fn wait(&mut self) {}

    fn drain(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) {
        panic!("on purpose");
    }

    fn socket(&self) -> Option<&LentSocket> {
        None
    }

    fn name(&self) -> &str {
        "sse-panics"
    }
}

#[test]
fn a_stream_that_panics_ends_alone() {
    let scene = Scene::new();
    let id = scene.session();
    let (good, mut other) = scene.stream(&id, USUAL);
    assert!(scene.streams.adopt(good).is_ok());
    other.reads_until("retry:");
    for is_to_end in [false, true] {
        // Where it is taken over, and where it is due.
        for steps_left in [0, 1] {
            let panics = Panics {
                steps_left,
                is_to_end,
            };
            assert!(scene.streams.adopt(Box::new(panics)).is_ok());
        }
    }
    let _silence = scene.is_in_the_middle_of_a_reply(&id, 0);
    other.reads_until("that was all");
    scene.ends(&id, other);
}

/// A thread's data with a stream that it holds, as its client has no room for what the model says.
fn full(scene: &Scene, kind: Kind) -> (StreamLoop, Arc<Cell>, Client, Sender<Infallible>) {
    let id = scene.session();
    let (stream, client) = scene.stream(&id, kind);
    let mut stream_loop = scene.stream_loop();
    let cell = scene.enters(stream);
    let silence = scene.is_in_the_middle_of_a_reply(&id, TOO_MUCH);
    stream_loop.collect();
    // Each shows a part of it.
    let steps = (0..TOO_MUCH >> 10).take_while(|_| {
        stream_loop.step(cell.id);
        !stream_loop.held[&cell.id].waits_for_room
    });
    assert!(steps.count() < TOO_MUCH >> 10, "the way is never full");
    stream_loop.next.clear();
    (stream_loop, cell, client, silence)
}

#[test]
fn a_client_that_takes_nothing_is_given_up_in_its_own_time_and_not_when_a_sign_of_life_is_due() {
    let scene = Scene::new();
    let stall_time = Duration::from_secs(30);
    let kind = Kind {
        stall_time,
        ..USUAL
    };
    let (_stream_loop, cell, _client, _silence) = full(&scene, kind);
    let until = scene.streams.table.with(|table| table.begin_wait());
    let due = until.flatten().expect("it is due some time");
    assert!(due <= Instant::now() + stall_time);
    // Deaf to news, of which it could show none.
    assert!(!cell.take_hold());
}

#[test]
fn a_stream_that_waits_for_room_goes_on_when_there_is_some() {
    let scene = Scene::new();
    let (mut stream_loop, cell, mut client, silence) = full(&scene, USUAL);
    // What comes meanwhile is shown then, too.
    drop(silence);
    let reader = std::thread::spawn(move || client.reads_until("event: done"));
    let deadline = Instant::now() + PATIENCE;
    while stream_loop.held.contains_key(&cell.id) {
        assert!(Instant::now() < deadline, "nobody told of the room");
        stream_loop.collect();
        for id in std::mem::take(&mut stream_loop.next) {
            stream_loop.step(id);
        }
    }
    // The end of it may be handed over once more, as it is long.
    let thread = std::thread::spawn(move || stream_loop.run());
    reader.join().unwrap();
    scene.streams.close();
    thread.join().unwrap();
}

#[test]
fn a_stream_that_has_gone_leaves_nothing_in_the_poll_set_or_among_what_is_due() {
    let scene = Scene::new();
    let (mut stream_loop, cell, mut client, _silence) = full(&scene, USUAL);
    stream_loop.forget(&cell);
    assert!(cell.part().is_some());
    assert!(stream_loop.held.is_empty());
    let until = scene.streams.table.with(|table| table.begin_wait());
    assert_eq!(until, Some(None), "nothing is due");
    // The gate has the socket still, and there is room again: nobody is told of that.
    client.socket.set_nonblocking(true).unwrap();
    let mut piece = vec![0; 1 << 16];
    let deadline = Instant::now() + PATIENCE;
    while client.gate.write(b"room").is_err() {
        assert!(Instant::now() < deadline, "there is no room");
        while matches!(client.socket.read(&mut piece), Ok(1..)) {}
    }
    let mut ready = Vec::new();
    stream_loop
        .poll
        .wait(Some(Duration::ZERO), &mut ready)
        .unwrap();
    ready.retain(|(token, _)| *token != LOOP_WAKER);
    assert_eq!(ready, []);
}

#[test]
fn the_leaving_of_a_client_is_left_to_the_thread() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, client) = scene.stream(&id, USUAL);
    let mut stream_loop = scene.stream_loop();
    let cell = scene.enters(stream);
    drop(client.here);
    let gone: std::task::Waker = Arc::new(cell::GoneWaker(Arc::clone(&cell))).into();
    gone.wake_by_ref();
    gone.wake();
    assert!(!cell.take_hold(), "it is held for the thread");
    stream_loop.collect();
    assert_eq!(stream_loop.next, BTreeSet::from([cell.id]));
    stream_loop.step(cell.id);
    assert!(stream_loop.held.is_empty());
    assert!(cell.part().is_none(), "it has ended");
}

#[test]
fn who_finds_a_cell_held_leaves_its_news_to_the_holder() {
    let scene = Scene::new();
    let id = scene.session();
    let (stream, mut client) = scene.stream(&id, USUAL);
    let cell = scene.enters(stream);
    client.reads_until("retry:");
    assert!(cell.take_hold());
    scene.bench.sessions.submit(&id, message("hi")).unwrap();
    client.socket.set_nonblocking(true).unwrap();
    assert!(client.socket.read(&mut [0]).is_err(), "it was shown");
    client.socket.set_nonblocking(false).unwrap();
    assert!(!cell.let_go(), "there is news");
    cell.show();
    client.reads_until("event: user_message");
}

#[test]
fn the_stack_of_a_kept_thread_holds_the_deepest_record() {
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let line = format!(
        r#"{{"seq":1,"timestamp":"1970-01-01T00:00:00Z","type":"assistant_response","turn_id":"turn_01J0000000000000000000000A","message_id":"msg_01J0000000000000000000000A","agent":"a","model":"m","input_seq":0,"content":"","finish_reason":"stop","provider_data":{deep}}}"#
    );
    let (done_tx, done_rx) = bounded(1);
    let started = ThreadPool::default().start("t".into(), line, move |line| {
        let record = crate::domain::event::Record::parse(line.as_bytes());
        done_tx.send(record.is_ok()).unwrap();
    });
    assert!(started.is_ok());
    assert_eq!(done_rx.recv_timeout(PATIENCE), Ok(true));
}

#[test]
fn who_has_ended_its_side_still_reads_that_its_stream_began() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let exchange = Exchange::alone(listener.accept().unwrap().0, NEVER);
    exchange.leave();
    let lent = LentSocket::new(exchange);
    let writer = StreamWriter::new(lent, b"head".to_vec(), Coding::UntilClose);
    let subscription = scene.subscribe(&scene.session());
    let mut stream = SseStream::of(subscription, writer, NEVER, &scene.stop);
    assert_eq!(stream.step(Reach::Memory).unwrap(), StreamState::Gone);
    drop(stream);
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "head");
}
