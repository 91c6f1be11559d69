//! The gate's thread: waits for sockets and deadlines, and hands each event to its connection.
//!
//! Invariants:
//! - no event costs more than the logarithm of the number of connections;
//! - with nothing to do it sleeps without a limit: an idle gate does not wake;
//! - after each event of a connection, [`EventLoop::settle`] brings every index up to date.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::base::stop::StopSource;
use crate::http::gate::conn::{Conn, ConnEnv, Rank};
use crate::http::gate::phase::{GateState, Phase};
use crate::http::gate::sys;
use crate::http::poll::{Poll, Ready, Waker, Watched};

const WAKER_TOKEN: u64 = 0;
const LISTENER_TOKEN: u64 = 1;
/// Whose deadline ends the listener's rest; connections count from 1.
const LISTENER_ID: u64 = 0;
/// How long no connection is accepted after the system had none to give.
const REST: Duration = Duration::from_millis(200);
/// Connections accepted in a row, before the others have their turn.
const ACCEPTS_MAX: usize = 64;
/// How long a client may take nothing of its answer before it gives way to others. Less would hit
/// large answers that are on their way: they wait for their client most of the time.
const STALL_GRACE: Duration = Duration::from_secs(1);
/// Clients over the limit that may be reading so at a time.
const TURNED_AWAY_MAX: usize = 8;

/// The thread's data.
pub(super) struct EventLoop {
    poll: Poll,
    waker: Watched<Waker>,
    /// `None` once the gate drains.
    listener: Option<Watched<TcpListener>>,
    listener_rests_until: Option<Instant>,
    connections_max: usize,
    conns: HashMap<u64, Slot>,
    next_id: u64,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those to give up, the first first.
    dispensable: BTreeSet<(Rank, Instant, u64)>,
    turned_away: usize,
    /// Those whose answer may have ended without a word; see [`Conn::ends_silently`].
    silent: HashSet<u64>,
    bodies: Bodies,
    env: ConnEnv,
    shared: Arc<GateState>,
    /// Tells that the gate drains and has no connection left.
    drained: StopSource,
}

/// A connection, and what the indexes say about it.
struct Slot {
    conn: Conn,
    due: Option<Instant>,
    rank: Option<(Rank, Instant)>,
    body: (usize, bool),
}

/// The memory that bodies hold.
#[derive(Default)]
struct Bodies {
    bytes: usize,
    /// The unfinished ones that hold any, by size.
    unfinished: BTreeSet<(usize, u64)>,
}

impl EventLoop {
    pub(super) fn new(
        listener: TcpListener,
        waker: Waker,
        connections_max: usize,
        env: ConnEnv,
        shared: Arc<GateState>,
        drained: StopSource,
    ) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let mut waker = Watched::new(waker, WAKER_TOKEN);
        waker.watch(&poll, Some(Ready::IN))?;
        let mut listener = Watched::new(listener, LISTENER_TOKEN);
        listener.watch(&poll, Some(Ready::IN))?;
        Ok(EventLoop {
            poll,
            waker,
            listener: Some(listener),
            listener_rests_until: None,
            connections_max,
            conns: HashMap::new(),
            next_id: LISTENER_ID + 1,
            deadlines: BTreeSet::new(),
            dispensable: BTreeSet::new(),
            turned_away: 0,
            silent: HashSet::new(),
            bodies: Bodies::default(),
            env,
            shared,
            drained,
        })
    }

    /// Runs until the gate is stopped.
    pub(super) fn run(mut self) {
        let mut ready = Vec::new();
        while self.shared.phase() != Phase::Stopped {
            self.wait(&mut ready);
            for (token, flags) in ready.drain(..) {
                self.dispatch(token, flags);
            }
            self.meet_deadlines();
            let open = self.conns.len();
            self.shared.open.store(open, Ordering::Relaxed);
            if open == 0 && self.env.is_draining {
                self.drained.stop();
            }
        }
    }

    fn wait(&mut self, ready: &mut Vec<(u64, Ready)>) {
        if let Err(err) = self.env.carriers.watch(&self.poll) {
            log::error!("cannot watch the way to the server: {err}");
        }
        let next = self.deadlines.first().map(|(at, _)| *at);
        let limit = next.map(|at| at.saturating_duration_since(Instant::now()));
        if let Err(err) = self.poll.wait(limit, ready) {
            // No way on is known, and none back: resting keeps a bug from eating a processor.
            log::error!("the gate cannot wait: {err}");
            std::thread::sleep(REST);
        }
        self.shared.wakes.fetch_add(1, Ordering::Relaxed);
        self.env.now = Instant::now();
    }

    fn dispatch(&mut self, token: u64, flags: Ready) {
        match token {
            WAKER_TOKEN => self.obey(),
            LISTENER_TOKEN => self.accept_some(),
            _ => self.on_socket(token, flags),
        }
    }

    /// Hands an event to its connection; one that has ended meanwhile gets no more.
    fn on_socket(&mut self, token: u64, flags: Ready) {
        let is_server = token % 2 == 1;
        if is_server {
            for lost in self.env.carriers.on_ready(token, flags) {
                self.with_conn(lost, Conn::is_lost);
            }
        } else {
            self.with_conn(token / 2, |conn, env| conn.on_client(flags, env));
        }
        self.keep_within_budget();
    }

    fn with_conn(&mut self, id: u64, act: impl FnOnce(&mut Conn, &mut ConnEnv)) {
        if let Some(slot) = self.conns.get_mut(&id) {
            act(&mut slot.conn, &mut self.env);
            self.settle(id);
        }
    }

    fn meet_deadlines(&mut self) {
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > self.env.now {
                return;
            }
            match id {
                LISTENER_ID => self.end_rest(),
                id => self.with_conn(id, Conn::on_deadline),
            }
        }
    }

    /// Takes what others found out, and drains, if that was asked for; a stop ends
    /// [`EventLoop::run`] by itself.
    fn obey(&mut self) {
        self.waker.socket.reset();
        for (id, account) in self.env.accounts.take_found() {
            self.with_conn(id, |conn, _| conn.belongs_to(account));
        }
        for id in self.env.mail.take() {
            self.with_conn(id, Conn::look_for_end);
        }
        if self.shared.phase() != Phase::Draining {
            return;
        }
        self.end_rest();
        self.listener = None;
        // Before the drain begins: whose answer has ended is between requests.
        self.look_at_silent();
        self.env.is_draining = true;
        let unused = self.conns.iter().filter(|(_, slot)| slot.conn.is_unused());
        let unused: Vec<u64> = unused.map(|(id, _)| *id).collect();
        for id in unused {
            self.with_conn(id, Conn::end_unused);
        }
    }

    /// Finds out which answers have ended, and has the others tell of it.
    fn look_at_silent(&mut self) {
        for id in std::mem::take(&mut self.silent) {
            self.with_conn(id, Conn::await_end);
        }
    }
}

/// Accepting.
impl EventLoop {
    fn accept_some(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = &self.listener else {
                return;
            };
            match sys::accept(&listener.socket) {
                Ok((client, peer)) => self.admit(client, peer),
                Err(err) => match err.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    _ => return self.rest(&err),
                },
            }
        }
    }

    fn admit(&mut self, client: TcpStream, peer: SocketAddr) {
        let has_room = self.make_room();
        let id = self.next_id;
        self.next_id += 1;
        let conn = match Conn::new(id, client, peer, &self.env) {
            Ok(conn) => conn,
            Err(err) => return log::debug!("cannot take a connection of {peer}: {err}"),
        };
        let slot = Slot {
            conn,
            due: None,
            rank: None,
            body: (0, false),
        };
        self.conns.insert(id, slot);
        if has_room {
            self.with_conn(id, Conn::ask_for_account)
        } else {
            self.turn_away(id)
        }
    }

    /// Gives up the most dispensable connection if there is no room; returns whether there is now.
    fn make_room(&mut self) -> bool {
        if self.conns.len() - self.turned_away < self.connections_max {
            return true;
        }
        self.look_at_silent();
        let Some(id) = self.most_dispensable() else {
            return false;
        };
        log::debug!("too many connections: connection {id} is given up");
        self.with_conn(id, Conn::evict);
        true
    }

    /// The connection to give up for a new one.
    fn most_dispensable(&self) -> Option<u64> {
        // Those that are turned away take no room; there are few of them to step over.
        let mut candidates = self.dispensable.iter();
        let (rank, since, id) = candidates.find(|(rank, ..)| *rank != Rank::TurnedAway)?;
        let stands_still = self.env.now.duration_since(*since) >= STALL_GRACE;
        (*rank != Rank::Stalled || stands_still).then_some(*id)
    }

    fn turn_away(&mut self, id: u64) {
        if self.turned_away >= TURNED_AWAY_MAX
            && let Some((_, _, oldest)) = self.dispensable.first().copied()
        {
            self.with_conn(oldest, Conn::evict);
        }
        self.with_conn(id, Conn::turn_away);
    }

    /// Stops accepting for a moment: there is nothing to accept with, and waiting connections would
    /// wake us again at once.
    fn rest(&mut self, err: &io::Error) {
        log::warn!("cannot accept connections: {err}");
        let until = self.env.now + REST;
        self.listener_rests_until = Some(until);
        self.deadlines.insert((until, LISTENER_ID));
        self.watch_listener(None);
    }

    fn end_rest(&mut self) {
        if let Some(until) = self.listener_rests_until.take() {
            self.deadlines.remove(&(until, LISTENER_ID));
            self.watch_listener(Some(Ready::IN));
        }
    }

    fn watch_listener(&mut self, wanted: Option<Ready>) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        if let Err(err) = listener.watch(&self.poll, wanted) {
            log::error!("cannot watch the listener: {err}");
        }
    }
}

/// Keeping the indexes.
impl EventLoop {
    /// Brings the indexes and the poll set up to date with what connection `id` has become.
    fn settle(&mut self, id: u64) {
        let Some(slot) = self.conns.get_mut(&id) else {
            return;
        };
        if !slot.conn.is_closed()
            && let Err(err) = slot.conn.watch(&self.poll)
        {
            log::error!("cannot watch connection {id}: {err}");
            slot.conn.close();
        }
        if slot.conn.is_closed() {
            if let Err(err) = slot.conn.part(&self.poll) {
                log::error!("connection {id} stays in the poll set: {err}");
            }
            self.forget(id);
        } else {
            self.reindex(id);
        }
    }

    fn reindex(&mut self, id: u64) {
        let Some(slot) = self.conns.get_mut(&id) else {
            return;
        };
        if slot.conn.ends_silently() {
            self.silent.insert(id);
        } else {
            self.silent.remove(&id);
        }
        let (due, rank, body) = (slot.conn.due(), slot.conn.rank(), slot.conn.body_held());
        let was = (slot.due, slot.rank, slot.body);
        (slot.due, slot.rank, slot.body) = (due, rank, body);
        self.index(id, was, (due, rank, body));
    }

    fn forget(&mut self, id: u64) {
        if let Some(slot) = self.conns.remove(&id) {
            self.silent.remove(&id);
            self.index(
                id,
                (slot.due, slot.rank, slot.body),
                (None, None, (0, false)),
            );
        }
    }

    fn index(&mut self, id: u64, was: Indexed, is: Indexed) {
        if was.0 != is.0 {
            was.0.map(|at| self.deadlines.remove(&(at, id)));
            is.0.map(|at| self.deadlines.insert((at, id)));
        }
        if was.1 != is.1 {
            was.1
                .map(|(rank, since)| self.dispensable.remove(&(rank, since, id)));
            is.1.map(|(rank, since)| self.dispensable.insert((rank, since, id)));
            self.turned_away -= usize::from(is_turned_away(was.1));
            self.turned_away += usize::from(is_turned_away(is.1));
        }
        if was.2 != is.2 {
            self.bodies.replace(id, was.2, is.2);
        }
    }

    /// Ends the largest unfinished bodies until the others have memory enough.
    fn keep_within_budget(&mut self) {
        let waiting = self.env.carriers.bytes_held();
        while self.bodies.bytes + waiting > self.env.limits.buffered_bytes_max {
            let Some((bytes, id)) = self.bodies.unfinished.last().copied() else {
                return;
            };
            log::warn!("bodies take too much memory: one of {bytes} bytes is given up");
            self.with_conn(id, Conn::evict_body);
        }
    }
}

/// When something is due, the place among the dispensable, and the memory of the body.
type Indexed = (Option<Instant>, Option<(Rank, Instant)>, (usize, bool));

fn is_turned_away(rank: Option<(Rank, Instant)>) -> bool {
    matches!(rank, Some((Rank::TurnedAway, _)))
}

impl Bodies {
    fn replace(&mut self, id: u64, was: (usize, bool), is: (usize, bool)) {
        self.bytes = self.bytes + is.0 - was.0;
        if was.1 {
            self.unfinished.remove(&(was.0, id));
        }
        // Giving up one that holds nothing would help nobody.
        if is.1 && is.0 > 0 {
            self.unfinished.insert((is.0, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};

    use crate::base::stop;
    use crate::http::access::AccessSettings;
    use crate::http::gate::accounts::Accounts;
    use crate::http::gate::carriers::Carriers;
    use crate::http::gate::exchange::{Exchanges, GateMail};
    use crate::http::gate::lent::LentSocket;
    use crate::http::gate::limits::GateLimits;
    use crate::http::gate::reply::DateLine;
    use crate::http::gate::upstream::Upstream;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Behind(PathBuf);

    impl Upstream for Behind {
        fn address(&self) -> PathBuf {
            self.0.clone()
        }

        fn report_down(&self, _: &Path) {}
    }

    #[test]
    fn whose_answer_has_ended_without_a_word_does_not_hold_up_the_drain() {
        let folder = tempfile::tempdir().unwrap();
        let behind = Behind(folder.path().join("server"));
        let _server = UnixListener::bind(&behind.0).unwrap();
        let listener = sys::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let waker = Waker::new().unwrap();
        let exchanges = Exchanges::default();
        let env = ConnEnv {
            limits: GateLimits::default(),
            access: AccessSettings::default(),
            accounts: Accounts::new(address, waker.clone()),
            carriers: Carriers::new(Box::new(behind), exchanges.clone()),
            mail: Arc::new(GateMail::new(waker.clone())),
            listener: address,
            key: "k".to_owned(),
            now: Instant::now(),
            is_draining: false,
            date: DateLine::default(),
            scratch: vec![0; 4096],
        };
        let shared = Arc::new(GateState::default());
        let (drained, _) = stop::pair();
        let mut gate =
            EventLoop::new(listener, waker, 9, env, Arc::clone(&shared), drained).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut ready = Vec::new();
        let exchange = loop {
            assert!(Instant::now() < deadline, "the request came nowhere");
            gate.wait(&mut ready);
            for (token, flags) in ready.drain(..) {
                gate.dispatch(token, flags);
            }
            if let Some(exchange) = exchanges.claim(1) {
                break exchange;
            }
        };
        LentSocket::new(exchange).end();
        assert_eq!(gate.silent.len(), 1);
        shared.enter(Phase::Draining);
        gate.obey();
        assert!(gate.conns.is_empty(), "its client may never hang up");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn only_unfinished_bodies_that_hold_memory_can_be_given_up() {
        let mut bodies = Bodies::default();
        for (id, is) in [(1, (0, true)), (2, (50, true)), (3, (70, false))] {
            bodies.replace(id, (0, false), is);
        }
        assert_eq!(bodies.bytes, 120);
        assert_eq!(bodies.unfinished, BTreeSet::from([(50, 2)]));
        bodies.replace(1, (0, true), (10, true));
        bodies.replace(2, (50, true), (0, true));
        assert_eq!(bodies.unfinished, BTreeSet::from([(10, 1)]));
        assert_eq!(bodies.bytes, 80);
    }
}
