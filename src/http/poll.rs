//! Readiness of many sockets, by Linux's epoll.
//!
//! Level-triggered: what is not dealt with is reported again. So an interest is dropped as soon as
//! it could be reported without being dealt with, or the thread would spin.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::event::{EventfdFlags, Timespec};

pub(in crate::http) use rustix::event::epoll::EventFlags as Ready;

/// Events taken per wait: more only delay the deadlines.
const EVENTS_MAX: usize = 256;

/// The set of sockets that a thread waits for.
#[derive(Debug)]
pub(in crate::http) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(in crate::http) fn new() -> io::Result<Poll> {
        Ok(Poll {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
        })
    }

    /// Reports what `wanted` says of `socket`, and with it errors and hang-ups; events bear `token`.
    pub(in crate::http) fn add(
        &self,
        socket: impl AsFd,
        token: u64,
        wanted: Ready,
    ) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            wanted,
        )?)
    }

    /// Reports nothing of `socket` any more. Closing it is not enough where it has another handle.
    pub(in crate::http) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits for the first event, at most `limit`, and puts what is ready into `ready`.
    pub(in crate::http) fn wait(
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
/// before it, again and again. No time at all stays none.
fn whole_millis(limit: Duration) -> Timespec {
    let millis = limit.as_millis() as i64 + i64::from(!limit.is_zero());
    Timespec {
        tv_sec: millis / 1000,
        tv_nsec: (millis % 1000) * 1_000_000,
    }
}

/// A socket, and what the set has been told about it. Closing it takes it out of the set.
#[derive(Debug)]
pub(in crate::http) struct Watched<S> {
    pub(in crate::http) socket: S,
    token: u64,
    told: Option<Ready>,
}

impl<S: AsFd> Watched<S> {
    /// A socket that nobody waits for yet; its events will bear `token`.
    pub(in crate::http) fn new(socket: S, token: u64) -> Watched<S> {
        Watched {
            socket,
            token,
            told: None,
        }
    }

    /// Makes the set report `wanted`, and with it errors and hang-ups; with `None`, nothing.
    pub(in crate::http) fn watch(&mut self, poll: &Poll, wanted: Option<Ready>) -> io::Result<()> {
        let data = EventData::new_u64(self.token);
        match (self.told, wanted) {
            (told, wanted) if told == wanted => {}
            (None, Some(flags)) => poll.add(&self.socket, self.token, flags)?,
            (Some(_), Some(flags)) => epoll::modify(&poll.epoll, &self.socket, data, flags)?,
            (_, None) => poll.remove(&self.socket)?,
        }
        self.told = wanted;
        Ok(())
    }
}

/// Wakes the thread that waits.
#[derive(Debug, Clone)]
pub(in crate::http) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(in crate::http) fn new() -> io::Result<Waker> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Waker(Arc::new(rustix::event::eventfd(0, flags)?)))
    }

    /// Wakes it; a second call before it has woken does nothing more.
    pub(in crate::http) fn wake(&self) {
        if let Err(err) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            log::debug!("cannot wake a thread: {err}");
        }
    }

    /// Makes ready for the next wake.
    pub(in crate::http) fn reset(&self) {
        let mut count = [0; 8];
        if let Err(err) = rustix::io::read(&self.0, &mut count) {
            log::debug!("cannot reset a waker: {err}");
        }
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
