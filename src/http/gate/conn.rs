//! One client's connection: a state, and what each event makes of it.
//!
//! ```text
//!            head whole          body whole         stands            answer ended
//! Waiting ─────────────► Body ─────────────► Connecting ─────► Relaying ──┬─► Waiting (idle)
//!    │ refused            │ refused             │ server down     │ broken └─► Lingering
//!    └────────────────────┴─────────────────────┴──► Lingering ◄──┘
//! ```
//!
//! Invariants:
//! - nothing is read before it is known, where it matters, whose the client is;
//! - one request at a time: what a client sends ahead waits, unread or in `inbound`;
//! - the server is read only when the client has taken everything, so a connection buffers no more
//!   than one read of an answer;
//! - a connection that waits holds no buffers.
//!
//! Owned by: the gate's event loop, which closes the socket by dropping it.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime};

use crate::base::socket_owner::Ends;
use crate::http::access::{AccessSettings, PeerAccount};
use crate::http::gate::accounts::Accounts;
use crate::http::gate::admission::{self, Admission, AdmissionRules, Arriving};
use crate::http::gate::framing::{AnswerFraming, AnswerSettings, BadAnswer};
use crate::http::gate::head::GateStamp;
use crate::http::gate::lent::LentSocket;
use crate::http::gate::limits::GateLimits;
use crate::http::gate::outbound::{self, Moved, Outbound, UpstreamRequest};
use crate::http::gate::presence::{ClientPresence, Present};
use crate::http::gate::reply::{self, DateLine, ReplyTo};
use crate::http::gate::sys;
use crate::http::gate::upstream::Upstream;
use crate::http::poll::{Poll, Ready, Watched};
use crate::http::problem::HttpProblem;

/// How soon a server that does not answer the door is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The things that all connections share, so that each holds only what is its own.
pub(super) struct ConnEnv {
    pub(super) limits: GateLimits,
    pub(super) access: AccessSettings,
    pub(super) accounts: Accounts,
    pub(super) upstream: Box<dyn Upstream>,
    pub(super) presence: ClientPresence,
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
    client: Watched<TcpStream>,
    peer: SocketAddr,
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
    /// The thread of a stream may hold the client's socket too.
    is_lent: bool,
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
    Connecting(Box<Departing>),
    Relaying(Box<RelayedAnswer>),
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
    answer: AnswerSettings,
    give_up_at: Instant,
}

#[derive(Debug)]
struct RelayedAnswer {
    server: Watched<UnixStream>,
    request: UpstreamRequest,
    answer: AnswerFraming,
    settings: AnswerSettings,
    present: Present,
}

/// The tokens of a connection's two sockets.
pub(super) fn client_token(id: u64) -> u64 {
    id * 2
}

/// See [`client_token`].
pub(super) fn server_token(id: u64) -> u64 {
    id * 2 + 1
}

impl Conn {
    /// A connection that was just accepted.
    pub(super) fn new(id: u64, client: TcpStream, peer: SocketAddr, env: &ConnEnv) -> Conn {
        Conn {
            id,
            client: Watched::new(client, client_token(id)),
            peer,
            account: Some(PeerAccount::Stranger),
            state: ConnState::Waiting { is_idle: false },
            since: env.now,
            inbound: Vec::new(),
            out: Outbound::default(),
            has_left: false,
            is_lent: false,
            deadline: Some(env.now + env.limits.head_time),
            stall: None,
        }
    }

    /// Finds out to whom it belongs, if that matters.
    pub(super) fn ask_for_account(&mut self, env: &mut ConnEnv) {
        if !env.access.asks_for_account(self.peer.ip()) {
            return;
        }
        self.account = match self.ends() {
            Ok(ends) => env.accounts.look_up(self.id, ends),
            Err(_) => Some(PeerAccount::Stranger),
        };
    }

    /// Takes the account that was found out, for which the request has waited.
    pub(super) fn belongs_to(&mut self, account: PeerAccount) {
        self.account = Some(account);
    }

    fn ends(&self) -> io::Result<Ends> {
        Ok(Ends {
            theirs: self.peer,
            ours: self.client.socket.local_addr()?,
        })
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
            ConnState::Connecting(_) | ConnState::Relaying(_) | ConnState::Closed => return None,
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
            ConnState::Connecting(departing) => (departing.request.bytes_held(), false),
            ConnState::Relaying(relay) => (relay.request.bytes_held(), false),
            ConnState::Waiting { .. } | ConnState::Lingering { .. } | ConnState::Closed => {
                (0, false)
            }
        }
    }

    /// Tells the poll set what this connection waits for now.
    pub(super) fn watch(&mut self, poll: &Poll) -> io::Result<()> {
        let wanted = self.client_interest();
        self.client.watch(poll, Some(wanted))?;
        if let ConnState::Relaying(relay) = &mut self.state {
            let wanted = relay.interest(self.out.is_empty());
            relay.server.watch(poll, wanted)?;
        }
        Ok(())
    }

    fn client_interest(&self) -> Ready {
        let writes = if self.out.is_empty() {
            Ready::empty()
        } else {
            Ready::OUT
        };
        let reads = match &self.state {
            ConnState::Waiting { .. } if self.account.is_none() => Ready::empty(),
            ConnState::Waiting { .. } | ConnState::Body(_) => Ready::IN,
            ConnState::Lingering { .. } if !self.has_left => Ready::IN,
            ConnState::Connecting(_) | ConnState::Relaying(_) if !self.has_left => Ready::RDHUP,
            // Reported until the end of time once it has happened.
            _ => Ready::empty(),
        };
        reads | writes
    }

    /// Deals with what happened on the client's socket.
    pub(super) fn on_client(&mut self, ready: Ready, env: &mut ConnEnv) {
        if ready.intersects(Ready::ERR | Ready::HUP) {
            return self.close();
        }
        if ready.contains(Ready::RDHUP) {
            self.note_leaving();
        }
        if ready.contains(Ready::OUT) {
            self.flush(env);
        }
        if ready.contains(Ready::IN) {
            self.read_client(env);
        }
    }

    /// Deals with what happened on the server's socket.
    pub(super) fn on_server(&mut self, ready: Ready, env: &mut ConnEnv) {
        let ConnState::Relaying(relay) = &mut self.state else {
            return;
        };
        if !relay.request.is_sent() {
            relay.request.send(&mut relay.server.socket);
        }
        let can_read = ready.intersects(Ready::IN | Ready::HUP | Ready::ERR);
        if can_read && self.out.is_empty() {
            self.read_server(env);
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
            ConnState::Connecting(_) => self.connect(env),
            ConnState::Lingering { .. } => self.close(),
            ConnState::Relaying(_) | ConnState::Closed => self.deadline = None,
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
        self.state = ConnState::Closed;
    }

    /// Takes the client's socket out of the poll set if there is another handle of it: closing ours
    /// would not.
    pub(super) fn part(&mut self, poll: &Poll) -> io::Result<()> {
        if self.is_lent {
            self.client.watch(poll, None)
        } else {
            Ok(())
        }
    }

    fn note_leaving(&mut self) {
        self.has_left = true;
        if let ConnState::Relaying(relay) = &mut self.state {
            relay.present.leave();
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.is_lent && self.client.socket.shutdown(Shutdown::Both).is_err() {
            log::debug!("connection {} was closed by its client", self.id);
        }
    }
}

/// From the client: heads and bodies.
impl Conn {
    fn read_client(&mut self, env: &mut ConnEnv) {
        let mut scratch = std::mem::take(&mut env.scratch);
        match outbound::read(&mut self.client.socket, &mut scratch) {
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
            ConnState::Connecting(_) | ConnState::Relaying(_) => {
                self.inbound.extend_from_slice(bytes)
            }
            ConnState::Lingering { .. } | ConnState::Closed => {}
        }
    }

    fn read_head(&mut self, env: &mut ConnEnv) {
        if let ConnState::Waiting { is_idle: true } = self.state {
            self.wait_for_head(false, env.limits.head_time, env.now);
        }
        let (Some(account), Ok(ends)) = (self.account, self.ends()) else {
            return self.close();
        };
        let stamp = GateStamp {
            ends,
            conn: self.id,
            key: &env.key,
        };
        let now = SystemTime::now();
        let rules = AdmissionRules {
            now: now.into(),
            access: &env.access,
            account,
            head_bytes_max: env.limits.head_bytes_max,
            body_bytes_max: env.limits.body_bytes_max,
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

/// To the server and back.
impl Conn {
    fn depart(&mut self, env: &mut ConnEnv) {
        let ConnState::Body(arriving) = std::mem::replace(&mut self.state, ConnState::Closed)
        else {
            return;
        };
        let (head, body, answer) = arriving.into_request();
        self.state = ConnState::Connecting(Box::new(Departing {
            request: UpstreamRequest::new(head, body),
            answer,
            give_up_at: env.now + env.limits.connect_time,
        }));
        self.connect(env);
    }

    /// Calls the server; one that is busy or being rebuilt is called again, for a while.
    fn connect(&mut self, env: &mut ConnEnv) {
        let ConnState::Connecting(departing) = &self.state else {
            return;
        };
        let address = env.upstream.address();
        match sys::connect_unix(&address) {
            Ok(server) => self.relay(server, env),
            Err(err) if env.now < departing.give_up_at => {
                // Anything else, such as having no file left, is not the server's fault.
                if matches!(
                    err.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound
                ) {
                    env.upstream.report_down(&address);
                }
                self.deadline = Some(env.now + RETRY_AFTER);
            }
            Err(err) => {
                log::error!("cannot reach the server behind the gate: {err}");
                self.refuse(&server_down(), env);
            }
        }
    }

    fn relay(&mut self, server: UnixStream, env: &mut ConnEnv) {
        let ConnState::Connecting(departing) =
            std::mem::replace(&mut self.state, ConnState::Closed)
        else {
            return;
        };
        let Departing {
            mut request,
            answer: mut settings,
            ..
        } = *departing;
        settings.closes |= env.is_draining;
        let mut server = Watched::new(server, server_token(self.id));
        let present = env.presence.enter(self.id);
        request.send(&mut server.socket);
        self.deadline = None;
        self.state = ConnState::Relaying(Box::new(RelayedAnswer {
            server,
            request,
            answer: AnswerFraming::default(),
            settings,
            present,
        }));
        if self.has_left {
            self.note_leaving();
        }
    }

    fn read_server(&mut self, env: &mut ConnEnv) {
        let ConnState::Relaying(relay) = &mut self.state else {
            return;
        };
        let mut scratch = std::mem::take(&mut env.scratch);
        match outbound::read(&mut relay.server.socket, &mut scratch) {
            Moved::Bytes(bytes) => self.answered(&scratch[..bytes], env),
            Moved::Nothing => {}
            Moved::Ended => self.server_ended(env),
        }
        env.scratch = scratch;
    }

    fn answered(&mut self, bytes: &[u8], env: &mut ConnEnv) {
        let ConnState::Relaying(relay) = &mut self.state else {
            return;
        };
        match relay.pass_on(bytes) {
            Ok(Passed::AsItCame(taken)) => self.send(&bytes[..taken], env),
            Ok(Passed::Rewritten(text)) => {
                self.send(&text, env);
                self.lend_socket(env);
            }
            Err(BadAnswer) => return self.server_failed(env),
        }
        if matches!(&self.state, ConnState::Relaying(relay) if relay.answer.is_ended()) {
            self.end_answer(env);
        }
    }

    /// Lends the client's socket to a stream that asked for it, once the head of its answer is here:
    /// if that has left already, or never.
    fn lend_socket(&mut self, env: &ConnEnv) {
        let ConnState::Relaying(relay) = &self.state else {
            return;
        };
        if !relay.answer.has_begun() {
            return;
        }
        let lend = |leaving| {
            let socket = self.out.is_empty().then_some(&self.client.socket)?;
            LentSocket::new(socket, env.limits.stall_time, leaving).ok()
        };
        self.is_lent |= relay.present.lend(lend);
    }

    fn server_ended(&mut self, env: &mut ConnEnv) {
        let ConnState::Relaying(relay) = &self.state else {
            return;
        };
        if relay.answer.ends_with_the_connection() {
            self.linger(env)
        } else {
            self.server_failed(env)
        }
    }

    /// An answer that has begun cannot become another one: the client sees that its end is missing.
    fn server_failed(&mut self, env: &mut ConnEnv) {
        match &self.state {
            ConnState::Relaying(relay) if !relay.answer.has_begun() => {
                self.refuse(&server_broke(), env);
            }
            _ => self.close(),
        }
    }

    fn end_answer(&mut self, env: &mut ConnEnv) {
        let ConnState::Relaying(relay) = &self.state else {
            return;
        };
        if relay.settings.closes || env.is_draining {
            return self.linger(env);
        }
        self.wait_for_head(true, env.limits.idle_time, env.now);
        if !self.inbound.is_empty() {
            self.read_head(env);
        }
    }
}

impl RelayedAnswer {
    fn interest(&self, client_took_all: bool) -> Option<Ready> {
        let mut wanted = Ready::empty();
        wanted.set(Ready::OUT, !self.request.is_sent());
        wanted.set(Ready::IN, client_took_all);
        // A hang-up is reported whatever one asks for; so while there is nothing to ask for, the
        // socket leaves the set.
        (!wanted.is_empty()).then_some(wanted)
    }

    fn pass_on(&mut self, bytes: &[u8]) -> Result<Passed, BadAnswer> {
        match &mut self.answer {
            AnswerFraming::Body(body) => body.advance(bytes).map(Passed::AsItCame),
            answer => {
                let text = answer.head(bytes, &self.settings)?;
                Ok(Passed::Rewritten(text.unwrap_or_default()))
            }
        }
    }
}

/// What of an answer goes to the client.
enum Passed {
    AsItCame(usize),
    Rewritten(Vec<u8>),
}

/// To the client.
impl Conn {
    fn send(&mut self, bytes: &[u8], env: &ConnEnv) {
        if bytes.is_empty() {
            return;
        }
        let moved = self.out.send(&mut self.client.socket, bytes);
        self.after_write(moved, env);
    }

    fn flush(&mut self, env: &ConnEnv) {
        let moved = self.out.flush(&mut self.client.socket);
        self.after_write(moved, env);
        let is_lingering = matches!(self.state, ConnState::Lingering { .. });
        if is_lingering && self.out.is_empty() {
            self.end_stream(env);
        }
    }

    fn after_write(&mut self, moved: Moved, env: &ConnEnv) {
        if moved == Moved::Ended {
            return self.close();
        }
        let has_moved = matches!(moved, Moved::Bytes(1..));
        if self.out.is_empty() {
            self.stall = None;
        } else if has_moved || self.stall.is_none() {
            self.stall = Some(Stall {
                since: env.now,
                until: env.now + env.limits.stall_time,
            });
        }
    }

    fn refuse(&mut self, problem: &HttpProblem, env: &mut ConnEnv) {
        let mut to = match &self.state {
            ConnState::Body(arriving) => arriving.answer.reply_to.clone(),
            ConnState::Connecting(departing) => departing.answer.reply_to.clone(),
            ConnState::Relaying(relay) => relay.settings.reply_to.clone(),
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
