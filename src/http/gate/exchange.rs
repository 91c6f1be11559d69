//! A request on its way through the server, as the gate and whoever answers it share it.
//!
//! With the request the gate hands over the client's socket: who answers writes to it without another
//! thread in between. The gate goes on to watch for the client's end, and takes the connection up
//! again when the answer has ended. It is woken for that only where it has something to do by then;
//! else it finds out with the client's next request.
//!
//! Invariants:
//! - at any time one of the two writes to the socket: who answers until [`Exchange::end`], then the
//!   gate;
//! - a request is claimed or revoked, never both: nothing runs after the gate has answered for it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::task::Waker as TaskWaker;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::lock::lock;
use crate::base::socket_owner::Ends;
use crate::http::access::HttpVersion;
use crate::http::gate::outbound::Outbound;
use crate::http::gate::reply::ReplyTo;
use crate::http::poll::Waker;
use crate::http::requester::Requester;

/// One request in progress.
#[derive(Debug)]
pub struct Exchange {
    pub(super) conn: u64,
    pub(super) socket: Arc<TcpStream>,
    pub(super) notes: RequestNotes,
    /// For a client that takes nothing of its answer.
    pub(super) stall_time: Duration,
    mail: Arc<GateMail>,
    state: Mutex<ExchangeState>,
}

/// What the gate has found out about a request, beside its head.
#[derive(Debug, Clone)]
pub(super) struct RequestNotes {
    /// The two addresses of the client's connection.
    pub(super) ends: Ends,
    /// Who sent it; `None` where nobody needed to be known.
    pub(super) requester: Option<Requester>,
    /// The version of the protocol that the client speaks.
    pub(super) version: HttpVersion,
    /// What of its answer is settled.
    pub(super) reply_to: ReplyTo,
}

#[derive(Debug, Default)]
struct ExchangeState {
    /// The client has left, or has its answer.
    is_over: bool,
    /// Made for who asks. Nothing is ever sent: one place, as a channel without any takes a lock at each look.
    gone: Option<(Sender<Infallible>, Receiver<Infallible>)>,
    /// Woken when the client leaves.
    gone_waker: Option<TaskWaker>,
    end: Option<AnswerEnd>,
    /// The gate is to be told of the end, whatever it is like.
    is_awaited: bool,
}

/// How an answer has ended.
#[derive(Debug)]
pub(super) enum AnswerEnd {
    /// All is said, then; the client has yet to take the rest.
    Whole { at: Instant, rest: Outbound },
    /// Nobody will say the rest of it.
    BrokenOff,
}

/// The connections whose answer has ended, for the gate's thread.
#[derive(Debug)]
pub(super) struct GateMail {
    ended: Mutex<Vec<u64>>,
    waker: Waker,
}

impl GateMail {
    /// An empty one; `waker` wakes the gate's thread.
    pub(super) fn new(waker: Waker) -> GateMail {
        GateMail {
            ended: Mutex::default(),
            waker,
        }
    }

    /// Takes what has come. To be called after the waker was reset.
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.ended))
    }

    fn post(&self, conn: u64) {
        let mut ended = lock(&self.ended);
        let is_first = ended.is_empty();
        ended.push(conn);
        drop(ended);
        // Otherwise the thread was woken, and has not looked yet.
        if is_first {
            self.waker.wake();
        }
    }
}

impl Exchange {
    /// The request of connection `conn`. With `is_awaited`, `mail` tells of its end in any case.
    pub(super) fn new(
        conn: u64,
        socket: Arc<TcpStream>,
        notes: RequestNotes,
        stall_time: Duration,
        mail: Arc<GateMail>,
        is_awaited: bool,
    ) -> Exchange {
        Exchange {
            conn,
            socket,
            notes,
            stall_time,
            mail,
            state: Mutex::new(ExchangeState {
                is_awaited,
                ..ExchangeState::default()
            }),
        }
    }

    /// The two addresses of the client's connection.
    pub fn ends(&self) -> Ends {
        self.notes.ends
    }

    /// Who sent the request; `None` where nobody needed to be known.
    pub fn requester(&self) -> Option<&Requester> {
        self.notes.requester.as_ref()
    }

    /// The version of the protocol that the client speaks.
    pub fn version(&self) -> HttpVersion {
        self.notes.version
    }

    /// A channel that closes when the client has left, or its answer has ended.
    pub fn gone(&self) -> Receiver<Infallible> {
        let mut state = lock(&self.state);
        if state.is_over {
            return bounded(1).1;
        }
        let (_, gone_rx) = state.gone.get_or_insert_with(|| bounded(1));
        gone_rx.clone()
    }

    /// Calls `waker` when the client leaves. Whether it has left before, the caller must look for
    /// itself after this.
    pub(in crate::http) fn wake_when_gone(&self, waker: TaskWaker) {
        lock(&self.state).gone_waker = Some(waker);
    }

    /// Tells whoever answers that nobody may be left to read it.
    pub(in crate::http) fn leave(&self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        state.gone = None;
        let waker = state.gone_waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives the socket back to the gate.
    pub(super) fn end(&self, end: AnswerEnd) {
        let is_settled = match &end {
            AnswerEnd::Whole { rest, .. } => rest.is_empty() && !self.notes.reply_to.closes,
            AnswerEnd::BrokenOff => false,
        };
        let mut state = lock(&self.state);
        state.is_over = true;
        state.gone = None;
        state.gone_waker = None;
        state.end = Some(end);
        let is_to_tell = state.is_awaited || !is_settled;
        drop(state);
        if is_to_tell {
            self.mail.post(self.conn);
        }
    }

    /// The end of the answer, once it has come.
    pub(super) fn take_end(&self) -> Option<AnswerEnd> {
        lock(&self.state).end.take()
    }

    /// Has the mail tell of the end; whether it has come before.
    pub(super) fn await_end(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_awaited = true;
        state.end.is_some()
    }

    /// One with `socket` for a client's, of which no gate learns.
    #[cfg(test)]
    pub(in crate::http) fn alone(socket: TcpStream, stall_time: Duration) -> Arc<Exchange> {
        let address = socket.local_addr().unwrap();
        let notes = RequestNotes {
            ends: Ends {
                theirs: address,
                ours: address,
            },
            requester: None,
            version: HttpVersion::Http11,
            reply_to: ReplyTo::default(),
        };
        let mail = Arc::new(GateMail::new(Waker::new().unwrap()));
        let socket = Arc::new(socket);
        Arc::new(Exchange::new(0, socket, notes, stall_time, mail, false))
    }
}

/// The requests that were sent to the server behind the gate, and that nobody there has taken yet.
/// Cloning it shares it.
#[derive(Debug, Clone, Default)]
pub struct Exchanges(Arc<Mutex<HashMap<u64, SentRequest>>>);

#[derive(Debug)]
struct SentRequest {
    exchange: Arc<Exchange>,
    /// By which of the gate's connections to the server.
    carrier: u64,
}

impl Exchanges {
    /// The request of connection `conn`, for who will answer it; `None` for one that was taken, or
    /// that the gate has answered itself.
    pub fn claim(&self, conn: u64) -> Option<Arc<Exchange>> {
        lock(&self.0).remove(&conn).map(|sent| sent.exchange)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// Enters a request, before it is sent by `carrier`.
    pub(super) fn enter(&self, exchange: Arc<Exchange>, carrier: u64) {
        lock(&self.0).insert(exchange.conn, SentRequest { exchange, carrier });
    }

    /// Takes back what `carrier` was sent and nobody has claimed; whose that is.
    pub(super) fn revoke(&self, carrier: u64) -> Vec<u64> {
        let mut known = lock(&self.0);
        let revoked = known.extract_if(|_, sent| sent.carrier == carrier);
        revoked.map(|(conn, _)| conn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::TryRecvError;
    use std::net::TcpListener;

    fn exchange() -> Arc<Exchange> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Exchange::alone(socket, Duration::from_secs(20))
    }

    fn whole() -> AnswerEnd {
        AnswerEnd::Whole {
            at: Instant::now(),
            rest: Outbound::default(),
        }
    }

    #[test]
    fn the_channel_closes_when_the_client_leaves_or_has_its_answer_and_stays_closed() {
        let ways: [fn(&Exchange); 2] = [Exchange::leave, |exchange| exchange.end(whole())];
        for way in ways {
            let exchange = exchange();
            let gone = exchange.gone();
            assert_eq!(gone.try_recv(), Err(TryRecvError::Empty));
            way(&exchange);
            assert_eq!(gone.try_recv(), Err(TryRecvError::Disconnected));
            assert_eq!(exchange.gone().try_recv(), Err(TryRecvError::Disconnected));
        }
    }

    #[test]
    fn the_gate_is_told_of_an_end_that_it_waits_for_or_has_work_with() {
        type Deed = fn(&Exchange);
        let exchanges: [(Deed, bool); 4] = [
            (|exchange| exchange.end(whole()), false),
            (|exchange| exchange.end(AnswerEnd::BrokenOff), true),
            (
                |exchange| {
                    assert!(!exchange.await_end());
                    exchange.end(whole());
                },
                true,
            ),
            (
                |exchange| {
                    exchange.end(whole());
                    assert!(exchange.await_end(), "it has come before");
                },
                false,
            ),
        ];
        for (number, (way, is_told)) in exchanges.into_iter().enumerate() {
            let exchange = exchange();
            way(&exchange);
            assert_eq!(exchange.mail.take().is_empty(), !is_told, "{number}");
            assert!(exchange.take_end().is_some() && exchange.take_end().is_none());
        }
    }

    #[test]
    fn a_request_is_claimed_or_revoked_and_never_both() {
        let exchanges = Exchanges::default();
        let exchange = exchange();
        exchanges.enter(Arc::clone(&exchange), 1);
        assert!(exchanges.revoke(2).is_empty());
        assert!(exchanges.claim(0).is_some());
        assert!(exchanges.revoke(1).is_empty());
        exchanges.enter(exchange, 1);
        assert_eq!(exchanges.revoke(1), [0]);
        assert!(exchanges.claim(0).is_none());
    }
}
