//! One who follows a session for a client, a step at a time: a stream, or an answer that waits for its turn.

use std::io;
use std::task::Waker;
use std::time::Instant;

use crate::http::gate::LentSocket;

/// The places where a step may look for what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The session's memory: the step never blocks, and takes no lock that is held over I/O.
    Memory,
    /// The log, too.
    Log,
}

/// Where a step has left its follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// All is shown: to be stepped when it is woken, or [due](ClientFollower::due).
    Quiet,
    /// There is more: to be stepped again.
    More,
    /// The client takes no more for now: to be stepped when its socket has room, or due.
    Full,
    /// What comes next must be read from the log.
    Behind,
    /// All is shown and sent: to be [finished](ClientFollower::finish).
    Ended,
    /// The client has left: to be dropped.
    Gone,
}

/// One who follows a session for a client, a step at a time.
pub trait ClientFollower: Send {
    /// Does what there is to do, at most a batch of it.
    ///
    /// Errors: the client's connection, also when it has taken nothing for too long.
    fn step(&mut self, reach: Reach) -> io::Result<StreamState>;

    /// When it is to be stepped although nothing happens.
    fn due(&self) -> Instant;

    /// Has `news` called when there may be something to step for, and `gone` when the client leaves. It
    /// must be stepped once after this.
    fn wake_by(&mut self, news: Waker, gone: Waker);

    /// Makes ready to [wait](ClientFollower::wait) on the thread that steps it.
    fn wake_here(&mut self);

    /// Waits on this thread until there may be something to step for.
    fn wait(&mut self);

    /// Waits on this thread until the client has taken all that was sent.
    ///
    /// Errors: as those of [`step`](ClientFollower::step).
    fn drain(&mut self) -> io::Result<()>;

    /// Says the last word; waits for nothing.
    fn finish(self: Box<Self>);

    /// The socket that a [full](StreamState::Full) one waits for.
    fn socket(&self) -> Option<&LentSocket>;

    /// The name of its thread, when it has one.
    fn name(&self) -> &str;
}
