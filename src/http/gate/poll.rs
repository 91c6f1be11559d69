//! Readiness of many sockets, by Linux's epoll.
//!
//! Level-triggered: what is not dealt with is reported again. So an interest is dropped as soon as
//! it could be reported without being dealt with, or the gate would spin.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::event::{EventfdFlags, Timespec};

pub(super) use rustix::event::epoll::EventFlags as Ready;

/// Events taken per wait: more only delay the deadlines.
const EVENTS_MAX: usize = 256;

/// The set of sockets that a thread waits for.
#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(super) fn new() -> io::Result<Poll> {
        Ok(Poll {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Waits for the first event, at most `limit`, and puts what is ready into `ready`.
    pub(super) fn wait(
        &self,
        limit: Option<Duration>,
        ready: &mut Vec<(u64, Ready)>,
    ) -> io::Result<()> {
        let limit = limit.map(whole_millis);
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        match epoll::wait(&self.epoll, &mut events, limit.as_ref()) {
            Ok((events, _)) => {
                ready.extend(events.iter().map(|event| (event.data.u64(), event.flags)));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(err) => Err(err.into()),
        }
    }
}

/// epoll counts in milliseconds: rounded up, so that a wait ends after its deadline, not just
/// before it, again and again.
fn whole_millis(limit: Duration) -> Timespec {
    let millis = limit.as_millis() as i64 + 1;
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}

/// A socket, and what the set has been told about it. Closing it takes it out of the set.
#[derive(Debug)]
pub(super) struct Watched<S> {
    pub(super) socket: S,
    token: u64,
    told: Option<Ready>,
}

impl<S: AsFd> Watched<S> {
    /// A socket that nobody waits for yet; its events will bear `token`.
    pub(super) fn new(socket: S, token: u64) -> Watched<S> {
        Watched {
            socket,
            token,
            told: None,
        }
    }

    /// Makes the set report `wanted`, and with it errors and hang-ups; with `None`, nothing.
    pub(super) fn watch(&mut self, poll: &Poll, wanted: Option<Ready>) -> io::Result<()> {
        let data = EventData::new_u64(self.token);
        match (self.told, wanted) {
            (told, wanted) if told == wanted => {}
            (None, Some(flags)) => epoll::add(&poll.epoll, &self.socket, data, flags)?,
            (Some(_), Some(flags)) => epoll::modify(&poll.epoll, &self.socket, data, flags)?,
            (_, None) => epoll::delete(&poll.epoll, &self.socket)?,
        }
        self.told = wanted;
        Ok(())
    }
}

/// Wakes the thread that waits.
#[derive(Debug, Clone)]
pub(super) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Waker(Arc::new(rustix::event::eventfd(0, flags)?)))
    }

    /// Wakes it; a second call before it has woken does nothing more.
    pub(super) fn wake(&self) {
        if let Err(err) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            log::debug!("cannot wake the gate: {err}");
        }
    }

    /// Makes ready for the next wake.
    pub(super) fn reset(&self) {
        let mut count = [0; 8];
        if let Err(err) = rustix::io::read(&self.0, &mut count) {
            log::debug!("cannot reset the gate's waker: {err}");
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
