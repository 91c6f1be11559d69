//! One client's connection: a state, and what each event makes of it.
//!
//! ```text
//!            head whole          body whole           sent             answer ended
//! Waiting ─────────────► Body ─────────────► Departing ─────► Answering ──┬─► Waiting (idle)
//!    │ refused            │ refused             │ server down     │ broken └─► Lingering
//!    └────────────────────┴─────────────────────┴──► Lingering ◄──┘
//! ```
//!
//! Invariants:
//! - nothing is read before it is known, where it matters, whose the client is;
//! - one request at a time: what a client sends ahead waits, unread or in `inbound`;
//! - while one is answered, only who answers writes to the client; the next one is read when the
//!   client has taken all of the answer before it;
//! - a connection that waits holds no buffers.
//!
//! Owned by: the gate's event loop, which closes the socket by dropping it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::base::socket_owner::Ends;
use crate::http::access::{AccessSettings, PeerAccount};
use crate::http::gate::accounts::Accounts;
use crate::http::gate::admission::{self, Admission, AdmissionRules, Arriving};
use crate::http::gate::carriers::Carriers;
use crate::http::gate::exchange::{AnswerEnd, Exchange, GateMail, RequestNotes};
use crate::http::gate::head::GateStamp;
use crate::http::gate::limits::GateLimits;
use crate::http::gate::outbound::{self, Moved, Outbound, UpstreamRequest};
use crate::http::gate::reply::{self, DateLine, ReplyTo};
use crate::http::poll::{Poll, Ready, Watched};
use crate::http::problem::HttpProblem;

/// How soon a server that does not answer the door is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The things that all connections share, so that each holds only what is its own.
pub(super) struct ConnEnv {
    pub(super) limits: GateLimits,
    pub(super) access: AccessSettings,
    pub(super) accounts: Accounts,
    /// The ways to the server.
    pub(super) carriers: Carriers,
    /// Where it is told of answers that have ended.
    pub(super) mail: Arc<GateMail>,
    /// The address of the listener.
    pub(super) listener: SocketAddr,
    /// The secret that proves to the server that a request came through the gate.
    pub(super) key: String,
    /// When the event loop woke.
    pub(super) now: Instant,
    /// Connections end with their answer.
    pub(super) is_draining: bool,
    pub(super) date: DateLine,
    /// Where reads go: no connection needs a read buffer of its own.
    pub(super) scratch: Vec<u8>,
}

/// How readily a connection is given up for a new one, the readiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It has its answer, and we wait for it to read it.
    Lingering,
    /// It may send another request.
    Idle,
    /// It has sent a part of a request, or is about to.
    Incomplete,
    /// It was over the limit, and is about to read so.
    TurnedAway,
    /// It takes nothing of its answer.
    Stalled,
}

/// One client.
#[derive(Debug)]
pub(super) struct Conn {
    id: u64,
    client: Watched<Arc<TcpStream>>,
    ends: Ends,
    /// To whom it belongs; `None` until that is known.
    account: Option<PeerAccount>,
    state: ConnState,
    /// Since when it is in what its rank says.
    since: Instant,
    /// What the client sent that has not been used.
    inbound: Vec<u8>,
    out: Outbound,
    /// The client has ended its side of the stream.
    has_left: bool,
    /// When the state ends by itself.
    deadline: Option<Instant>,
    /// Set while something waits in `out`.
    stall: Option<Stall>,
}

/// A client's standing still before what it has to take.
#[derive(Debug, Clone, Copy)]
struct Stall {
    /// When it last took something.
    since: Instant,
    /// When it is given up.
    until: Instant,
}

#[derive(Debug)]
enum ConnState {
    /// For a head; `is_idle` between two requests, until the next one begins.
    Waiting {
        is_idle: bool,
    },
    Body(Box<Arriving>),
    /// For a way to the server.
    Departing(Box<Departing>),
    /// For whoever answers.
    Answering(AnsweredRequest),
    /// For the client to read our last words: closing too early resets the connection, and a reset
    /// destroys what the client has not read.
    Lingering {
        is_turned_away: bool,
    },
    Closed,
}

#[derive(Debug)]
struct Departing {
    request: UpstreamRequest,
    notes: RequestNotes,
    give_up_at: Instant,
}

#[derive(Debug)]
struct AnsweredRequest {
    exchange: Arc<Exchange>,
    /// The mail will tell of its end. Otherwise the client's next request, or the deadline, is the
    /// occasion to look.
    is_awaited: bool,
}

/// The token of a client's socket.
pub(super) fn client_token(id: u64) -> u64 {
    id * 2
}

impl Conn {
    /// A connection that was just accepted.
    ///
    /// Errors: it has ended already.
    pub(super) fn new(
        id: u64,
        client: TcpStream,
        peer: SocketAddr,
        env: &ConnEnv,
    ) -> io::Result<Conn> {
        // A listener for one address is reached by no other.
        let ours = if env.listener.ip().to_canonical().is_unspecified() {
            client.local_addr()?
        } else {
            env.listener
        };
        Ok(Conn {
            id,
            client: Watched::new(Arc::new(client), client_token(id)),
            ends: Ends { theirs: peer, ours },
            account: Some(PeerAccount::Stranger),
            state: ConnState::Waiting { is_idle: false },
            since: env.now,
            inbound: Vec::new(),
            out: Outbound::default(),
            has_left: false,
            deadline: Some(env.now + env.limits.head_time),
            stall: None,
        })
    }

    /// Finds out to whom it belongs, if that matters.
    pub(super) fn ask_for_account(&mut self, env: &mut ConnEnv) {
        if env.access.asks_for_account(self.ends.theirs.ip()) {
            self.account = env.accounts.look_up(self.id, self.ends);
        }
    }

    /// Takes the account that was found out, for which the request has waited.
    pub(super) fn belongs_to(&mut self, account: PeerAccount) {
        self.account = Some(account);
    }

    /// Says that there is no room.
    pub(super) fn turn_away(&mut self, env: &mut ConnEnv) {
        self.refuse(&over_the_limit(), env);
        if let ConnState::Lingering { is_turned_away } = &mut self.state {
            *is_turned_away = true;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, ConnState::Closed)
    }

    /// It is between requests, so that [`Conn::end_unused`] takes nothing from anybody.
    pub(super) fn is_unused(&self) -> bool {
        matches!(self.state, ConnState::Waiting { .. }) && self.inbound.is_empty()
    }

    /// Nobody will say when its answer has ended, unless [`Conn::await_end`] asks for that.
    pub(super) fn ends_silently(&self) -> bool {
        matches!(&self.state, ConnState::Answering(answered) if !answered.is_awaited)
    }

    /// Its place among those to give up, if it has no whole request in progress.
    pub(super) fn rank(&self) -> Option<(Rank, Instant)> {
        if let Some(stall) = self.stall {
            return Some((Rank::Stalled, stall.since));
        }
        let rank = match &self.state {
            ConnState::Waiting { is_idle: true } => Rank::Idle,
            ConnState::Waiting { is_idle: false } | ConnState::Body(_) => Rank::Incomplete,
            ConnState::Lingering {
                is_turned_away: true,
            } => Rank::TurnedAway,
            ConnState::Lingering {
                is_turned_away: false,
            } => Rank::Lingering,
            ConnState::Departing(_) | ConnState::Answering(_) | ConnState::Closed => return None,
        };
        Some((rank, self.since))
    }

    /// When [`Conn::on_deadline`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let given_up_at = self.stall.map(|stall| stall.until);
        match (self.deadline, given_up_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// The memory that its body holds, and whether the body is unfinished.
    pub(super) fn body_held(&self) -> (usize, bool) {
        match &self.state {
            ConnState::Body(arriving) => (arriving.body.bytes_held(), true),
            ConnState::Departing(departing) => (departing.request.bytes_held(), false),
            ConnState::Waiting { .. }
            | ConnState::Answering(_)
            | ConnState::Lingering { .. }
            | ConnState::Closed => (0, false),
        }
    }

    /// Tells the poll set what this connection waits for now.
    pub(super) fn watch(&mut self, poll: &Poll) -> io::Result<()> {
        let wanted = self.client_interest();
        self.client.watch(poll, Some(wanted))
    }

    /// Nearly always the same: telling the set of a change is a system call.
    fn client_interest(&self) -> Ready {
        let writes = if self.out.is_empty() {
            Ready::empty()
        } else {
            Ready::OUT
        };
        // Reported until the end of time once it has happened.
        let leaving = if self.has_left {
            Ready::empty()
        } else {
            Ready::RDHUP
        };
        let reads = match &self.state {
            ConnState::Waiting { .. } if self.account.is_none() => Ready::empty(),
            ConnState::Waiting { .. } if !self.out.is_empty() => leaving,
            ConnState::Waiting { .. } | ConnState::Body(_) => Ready::IN | leaving,
            ConnState::Answering(answered) if !answered.is_awaited => Ready::IN | leaving,
            ConnState::Departing(_) | ConnState::Answering(_) => leaving,
            ConnState::Lingering { .. } if !self.has_left => Ready::IN,
            ConnState::Lingering { .. } | ConnState::Closed => Ready::empty(),
        };
        reads | writes
    }

    /// Deals with what happened on the client's socket.
    pub(super) fn on_client(&mut self, ready: Ready, env: &mut ConnEnv) {
        if ready.intersects(Ready::ERR | Ready::HUP) {
            return self.close();
        }
        self.look_for_end(env);
        if ready.contains(Ready::RDHUP) {
            self.note_leaving();
        }
        if ready.contains(Ready::OUT) {
            self.flush(env);
        }
        if ready.contains(Ready::IN) {
            match self.state {
                // It sends ahead, or has left: that waits for the end of the answer.
                ConnState::Answering(_) => self.await_end(env),
                _ => self.read_client(env),
            }
        }
    }

    /// Does what was to be done by now.
    pub(super) fn on_deadline(&mut self, env: &mut ConnEnv) {
        if self.stall.is_some_and(|stall| stall.until <= env.now) {
            log::debug!("connection {} takes nothing: closed", self.id);
            return self.close();
        }
        if self.deadline.is_none_or(|at| at > env.now) {
            return;
        }
        match &self.state {
            ConnState::Waiting { .. } if self.inbound.is_empty() => self.end_unused(env),
            ConnState::Waiting { .. } => self.refuse(&too_slow("head", env.limits.head_time), env),
            ConnState::Body(_) => self.refuse(&too_slow("body", env.limits.body_time), env),
            ConnState::Departing(_) => self.hand_over(env),
            ConnState::Lingering { .. } => self.close(),
            // An answer takes as long as it takes.
            ConnState::Answering(_) => self.await_end(env),
            ConnState::Closed => self.deadline = None,
        }
    }

    /// Makes room for others, with a word if there is still time for one.
    pub(super) fn evict(&mut self, env: &mut ConnEnv) {
        if matches!(self.rank(), Some((Rank::Incomplete, _))) {
            self.refuse(&over_the_limit(), env);
        }
        self.close();
    }

    /// Ends a request whose body takes the memory that others need.
    pub(super) fn evict_body(&mut self, env: &mut ConnEnv) {
        let problem =
            HttpProblem::new(503, "too many bodies arrive at once").with_header("Retry-After", "1");
        self.refuse(&problem, env);
    }

    /// Ends it between two requests, as soon as the client has taken all of the last answer.
    pub(super) fn end_unused(&mut self, env: &mut ConnEnv) {
        if self.out.is_empty() {
            self.close()
        } else {
            self.linger(env)
        }
    }

    /// Ends it at once.
    pub(super) fn close(&mut self) {
        self.note_leaving();
        self.state = ConnState::Closed;
    }

    /// Takes the client's socket out of the poll set if who answers holds it too: dropping it here
    /// would not.
    pub(super) fn part(&mut self, poll: &Poll) -> io::Result<()> {
        if self.is_lent() {
            self.client.watch(poll, None)
        } else {
            Ok(())
        }
    }

    fn is_lent(&self) -> bool {
        Arc::strong_count(&self.client.socket) > 1
    }

    fn note_leaving(&mut self) {
        self.has_left = true;
        if let ConnState::Answering(answered) = &self.state {
            answered.exchange.leave();
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.close();
        if self.is_lent() && self.client.socket.shutdown(Shutdown::Both).is_err() {
            log::debug!("connection {} was closed by its client", self.id);
        }
    }
}

/// From the client: heads and bodies.
impl Conn {
    fn read_client(&mut self, env: &mut ConnEnv) {
        let mut scratch = std::mem::take(&mut env.scratch);
        match outbound::read(&*self.client.socket, &mut scratch) {
            Moved::Bytes(bytes) => self.received(&scratch[..bytes], env),
            Moved::Nothing => {}
            Moved::Ended => self.client_ended(env),
        }
        env.scratch = scratch;
    }

    /// A client that sends no more may still read: what waits for it is its own.
    fn client_ended(&mut self, env: &ConnEnv) {
        if self.out.is_empty() {
            return self.close();
        }
        if !matches!(self.state, ConnState::Lingering { .. }) {
            self.linger(env);
        }
        self.has_left = true;
    }

    fn received(&mut self, bytes: &[u8], env: &mut ConnEnv) {
        match &self.state {
            ConnState::Waiting { .. } => {
                self.inbound.extend_from_slice(bytes);
                self.read_head(env);
            }
            ConnState::Body(_) => self.read_body(bytes, env),
            ConnState::Departing(_)
            | ConnState::Answering(_)
            | ConnState::Lingering { .. }
            | ConnState::Closed => {}
        }
    }

    fn read_head(&mut self, env: &mut ConnEnv) {
        if let ConnState::Waiting { is_idle: true } = self.state {
            self.wait_for_head(false, env.limits.head_time, env.now);
        }
        let Some(account) = self.account else {
            return self.close();
        };
        let stamp = GateStamp {
            conn: self.id,
            key: &env.key,
        };
        let now = SystemTime::now();
        let rules = AdmissionRules {
            now: now.into(),
            access: &env.access,
            ends: self.ends,
            account,
            head_bytes_max: env.limits.head_bytes_max,
            body_bytes_max: env.limits.body_bytes_max,
            file_bytes_max: env.limits.file_bytes_max,
            date: env.date.at(now),
        };
        match admission::judge(&self.inbound, stamp, &rules) {
            Admission::Incomplete => {}
            Admission::Admitted(arriving) => self.begin_body(arriving, env),
            Admission::Answered(text) => self.say_last(&text, env),
        }
    }

    fn wait_for_head(&mut self, is_idle: bool, limit: Duration, now: Instant) {
        self.state = ConnState::Waiting { is_idle };
        self.since = now;
        self.deadline = Some(now + limit);
    }

    fn begin_body(&mut self, arriving: Box<Arriving>, env: &mut ConnEnv) {
        let rest = self.inbound.split_off(arriving.head_bytes);
        self.inbound = Vec::new();
        let is_awaited = rest.is_empty() && !arriving.body.is_whole();
        if arriving.expects_continue && is_awaited {
            self.send(reply::CONTINUE, env);
        }
        if self.is_closed() {
            return;
        }
        self.state = ConnState::Body(arriving);
        self.deadline = Some(env.now + env.limits.body_time);
        self.read_body(&rest, env);
    }

    fn read_body(&mut self, bytes: &[u8], env: &mut ConnEnv) {
        let ConnState::Body(arriving) = &mut self.state else {
            return;
        };
        let taken = match arriving.body.take(bytes) {
            Ok(taken) => taken,
            Err(problem) => return self.refuse(&problem, env),
        };
        if arriving.body.is_whole() {
            self.inbound.extend_from_slice(&bytes[taken..]);
            self.depart(env);
        }
    }
}

/// To the server, and back from whoever answers.
impl Conn {
    fn depart(&mut self, env: &mut ConnEnv) {
        let ConnState::Body(arriving) = std::mem::replace(&mut self.state, ConnState::Closed)
        else {
            return;
        };
        let (request, notes) = arriving.into_request();
        self.state = ConnState::Departing(Box::new(Departing {
            request,
            notes,
            give_up_at: env.now + env.limits.connect_time,
        }));
        self.hand_over(env);
    }

    /// Gives the request, and the socket for its answer, to the server; one that is busy or being
    /// rebuilt is called again, for a while.
    fn hand_over(&mut self, env: &mut ConnEnv) {
        let ConnState::Departing(departing) = &self.state else {
            return;
        };
        if !self.out.is_empty() {
            // It has yet to take the leave to send its body, and who answers must be the only writer.
            self.deadline = None;
            return;
        }
        match env.carriers.prepare() {
            Ok(()) => self.send_request(env),
            Err(_) if env.now < departing.give_up_at => {
                self.deadline = Some(env.now + RETRY_AFTER);
            }
            Err(err) => {
                log::error!("cannot reach the server behind the gate: {err}");
                self.refuse(&server_down(), env);
            }
        }
    }

    fn send_request(&mut self, env: &mut ConnEnv) {
        let ConnState::Departing(departing) = std::mem::replace(&mut self.state, ConnState::Closed)
        else {
            return;
        };
        let Departing {
            request, mut notes, ..
        } = *departing;
        notes.reply_to.closes |= env.is_draining;
        // What came ahead is the next thing to do.
        let is_awaited = notes.reply_to.closes || self.has_left || !self.inbound.is_empty();
        let exchange = Arc::new(Exchange::new(
            self.id,
            Arc::clone(&self.client.socket),
            notes,
            env.limits.stall_time,
            Arc::clone(&env.mail),
            is_awaited,
        ));
        self.deadline = (!is_awaited).then_some(env.now + env.limits.idle_time);
        self.state = ConnState::Answering(AnsweredRequest {
            exchange: Arc::clone(&exchange),
            is_awaited,
        });
        if self.has_left {
            self.note_leaving();
        }
        env.carriers.send(request, exchange);
    }

    /// Takes the connection up again if its answer has ended.
    pub(super) fn look_for_end(&mut self, env: &mut ConnEnv) {
        let ConnState::Answering(answered) = &self.state else {
            return;
        };
        let is_told = answered.is_awaited;
        let closes = answered.exchange.notes.reply_to.closes || env.is_draining;
        match answered.exchange.take_end() {
            None => {}
            // The client sees that the end is missing.
            Some(AnswerEnd::BrokenOff) => self.close(),
            Some(AnswerEnd::Whole { at, rest }) => {
                self.out = rest;
                self.after_write(Ok(0), env);
                if closes {
                    return self.linger(env);
                }
                let since = if is_told { env.now } else { at };
                self.wait_for_head(true, env.limits.idle_time, since);
                if !self.out.is_empty() {
                    // Its time begins when the client has all; only standing still ends it before.
                    self.deadline = None;
                }
                self.read_ahead(env);
            }
        }
    }

    /// Has the mail tell of the answer's end.
    pub(super) fn await_end(&mut self, env: &mut ConnEnv) {
        let ConnState::Answering(answered) = &mut self.state else {
            return;
        };
        answered.is_awaited = true;
        self.deadline = None;
        if answered.exchange.await_end() {
            self.look_for_end(env);
        }
    }

    /// Reads the request that was sent ahead, if its time has come.
    fn read_ahead(&mut self, env: &mut ConnEnv) {
        let is_waiting = matches!(self.state, ConnState::Waiting { .. });
        if is_waiting && self.out.is_empty() && !self.inbound.is_empty() {
            self.read_head(env);
        }
    }

    /// Answers for a server that lost the request before anybody took it.
    pub(super) fn is_lost(&mut self, env: &mut ConnEnv) {
        if matches!(self.state, ConnState::Answering(_)) {
            self.refuse(&server_broke(), env);
        }
    }
}

/// To the client.
impl Conn {
    fn send(&mut self, bytes: &[u8], env: &ConnEnv) {
        let sent = self.out.send(&self.client.socket, [bytes, b"", b""]);
        self.after_write(sent, env);
    }

    fn flush(&mut self, env: &mut ConnEnv) {
        let sent = self.out.flush(&self.client.socket);
        self.after_write(sent, env);
        if self.out.is_empty() {
            self.go_on(env);
        }
    }

    /// Does what has waited for the client to take all.
    fn go_on(&mut self, env: &mut ConnEnv) {
        match &self.state {
            ConnState::Waiting { is_idle } => {
                if *is_idle {
                    self.wait_for_head(true, env.limits.idle_time, env.now);
                }
                self.read_ahead(env);
            }
            ConnState::Departing(_) => self.hand_over(env),
            ConnState::Lingering { .. } => self.end_stream(env),
            ConnState::Body(_) | ConnState::Answering(_) | ConnState::Closed => {}
        }
    }

    fn after_write(&mut self, sent: io::Result<usize>, env: &ConnEnv) {
        let Ok(taken) = sent else {
            return self.close();
        };
        if self.out.is_empty() {
            self.stall = None;
        } else if taken > 0 || self.stall.is_none() {
            self.stall = Some(Stall {
                since: env.now,
                until: env.now + env.limits.stall_time,
            });
        }
    }

    fn refuse(&mut self, problem: &HttpProblem, env: &mut ConnEnv) {
        let mut to = match &self.state {
            ConnState::Body(arriving) => arriving.notes.reply_to.clone(),
            ConnState::Departing(departing) => departing.notes.reply_to.clone(),
            ConnState::Answering(answered) => answered.exchange.notes.reply_to.clone(),
            ConnState::Waiting { .. } | ConnState::Lingering { .. } | ConnState::Closed => {
                ReplyTo::default()
            }
        };
        if to.lines.is_empty() {
            to.lines = env.date.at(SystemTime::now()).to_vec();
        }
        self.say_last(&reply::refusal(problem, &to), env);
    }

    fn say_last(&mut self, text: &[u8], env: &ConnEnv) {
        self.send(text, env);
        self.linger(env);
    }

    /// Waits for the client to read what was said, and then to hang up.
    fn linger(&mut self, env: &ConnEnv) {
        if self.is_closed() {
            return;
        }
        self.state = ConnState::Lingering {
            is_turned_away: false,
        };
        self.since = env.now;
        self.inbound = Vec::new();
        // Whether the client has left shows in what is read now.
        self.has_left = false;
        // A large answer takes as long as it takes; only standing still ends it.
        self.deadline = None;
        if self.out.is_empty() {
            self.end_stream(env);
        }
    }

    fn end_stream(&mut self, env: &ConnEnv) {
        self.deadline = Some(env.now + env.limits.linger_time);
        if self.client.socket.shutdown(Shutdown::Write).is_err() || self.has_left {
            self.close();
        }
    }
}

fn too_slow(part: &str, limit: Duration) -> HttpProblem {
    let seconds = limit.as_secs_f32();
    HttpProblem::new(
        408,
        format!("the {part} of the request took longer than {seconds} s to arrive"),
    )
}

fn over_the_limit() -> HttpProblem {
    HttpProblem::new(503, "too many connections (server.max_connections)")
        .with_header("Retry-After", "1")
}

fn server_down() -> HttpProblem {
    HttpProblem::new(503, "the server is being restarted").with_header("Retry-After", "1")
}

fn server_broke() -> HttpProblem {
    HttpProblem::new(502, "the server gave no answer")
}

#[cfg(test)]
mod tests;
