//! A child that lives long and is spoken with in lines: the program of a gateway, a server of tools.
//!
//! Invariants:
//! - one thread owns it, from its start to its end, and dies after it. That thread sleeps until there is
//!   something to read, to write or to check;
//! - its end is heard once, after all its lines, and by then it was waited for and its group is dead;
//! - at most [`QUEUE_BYTES_MAX`] wait to be written to it, and one line of each of its outputs is held.
//!
//! Lock order: `Handles::state` alone, for memory work and writes that do not block, and never while
//! somebody hears.
//! Elsewhere: whether it is started again (its owner's decision), what the lines mean.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{PidfdFlags, pidfd_open};

use super::group::Group;
use super::prepared::{End, Monitor, Prepared};
use crate::base::lock::lock;
use crate::base::os;
use crate::base::thread::{self, Joined, STACK_WORK};

/// What may wait to be written: a child that takes nothing must not fill our memory.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// How often a monitor that checks does so.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// How long the ends of its outputs may take to come, once it is dead: a process that left its group may
/// hold them open for ever.
const DRAIN: Duration = Duration::from_millis(100);
/// What a pipe holds …
const PIPE_BYTES: usize = 64 << 10;
/// … and what is read of it at once.
const CHUNK_BYTES: usize = 8 << 10;

/// What is heard of a child, in the thread that owns it: as long as it takes to hear something, nothing is
/// read, and the child waits in the end.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A line of its standard output, without its end. What is no UTF-8 is replaced.
    Line(Cow<'a, str>),
    /// A line of its standard error, the same way. A longer one than may be comes in pieces.
    Remark(Cow<'a, str>),
    /// A line of its standard output was longer than may be, and is left out.
    TooLong,
    /// It has ended; nothing follows.
    Ended(End),
}

/// Why a line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It has ended, or its input was closed.
    #[error("the program has ended, or was told to")]
    Closed,
    /// It has not read what it was sent before.
    #[error("the program does not read what it is sent")]
    Full,
}

/// A running child. Dropping it kills the child with its session, and waits for that.
#[derive(Debug)]
pub struct LineProcess {
    shared: Arc<Handles>,
    // Joined by its drop, after ours has ended the child.
    _owner: Joined,
}

/// What its users want of it, and what became of it.
#[derive(Debug)]
struct Handles {
    state: Mutex<Requests>,
    /// Woken when it has ended.
    has_ended: Condvar,
    /// Wakes its owner.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Requests {
    queue: VecDeque<String>,
    queue_bytes: usize,
    is_input_closed: bool,
    terminate: bool,
    kill: bool,
    end: Option<End>,
}

impl LineProcess {
    /// Starts a child in a thread called `name`. `for_whom` is what [`holder_of`](super::holder_of)
    /// says of it and its descendants; a line has at most `line_bytes_max` bytes.
    ///
    /// Errors: it cannot be started, or not be watched; it is not left running then.
    pub fn start(
        name: &str,
        prepared: Prepared,
        for_whom: &str,
        line_bytes_max: usize,
        hear: impl FnMut(Heard<'_>) + Send + 'static,
    ) -> io::Result<LineProcess> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Handles {
            state: Mutex::default(),
            has_ended: Condvar::new(),
            wake,
        });
        let (started_tx, started_rx) = bounded(1);
        let (owners, for_whom) = (Arc::clone(&shared), for_whom.to_owned());
        let body = move || {
            let _ending = EndsWithItsThread(Arc::clone(&owners));
            let owner = ProcessOwner::start(prepared, &for_whom, line_bytes_max, owners, hear);
            let (started, owner) = match owner {
                Ok(owner) => (Ok(()), Some(owner)),
                Err(error) => (Err(error), None),
            };
            // Whoever has started it waits for this, and for nothing else.
            started_tx.send(started).ok();
            if let Some(owner) = owner {
                owner.run();
            }
        };
        let owner = thread::spawn(name, STACK_WORK, body)?;
        let no_answer = || io::Error::other("the thread of a program has ended");
        started_rx.recv().map_err(|_| no_answer())??;
        Ok(LineProcess {
            shared,
            _owner: owner,
        })
    }

    /// Sends a line, which gets its end here. Never waits for the child.
    pub fn send(&self, line: &str) -> Result<(), SendError> {
        let mut state = lock(&self.shared.state);
        if state.is_input_closed || state.end.is_some() {
            return Err(SendError::Closed);
        }
        if state.queue_bytes + line.len() >= QUEUE_BYTES_MAX {
            return Err(SendError::Full);
        }
        state.queue_bytes += line.len() + 1;
        state.queue.push_back(format!("{line}\n"));
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Closes its standard input behind what was sent: most programs end then.
    pub fn close_input(&self) {
        self.shared.want(|state| state.is_input_closed = true);
    }

    /// Sends `SIGTERM` to its process group.
    pub fn terminate(&self) {
        self.shared.want(|state| state.terminate = true);
    }

    /// Kills it, with all of its session.
    pub fn kill(&self) {
        self.shared.want(|state| state.kill = true);
    }

    /// Waits for its end, at most `limit`; `None` while it runs.
    pub fn wait(&self, limit: Duration) -> Option<End> {
        let state = lock(&self.shared.state);
        let waited =
            (self.shared.has_ended).wait_timeout_while(state, limit, |state| state.end.is_none());
        let (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.end.clone()
    }
}

impl Drop for LineProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Handles {
    fn want(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut lock(&self.state));
        self.wake();
    }

    fn wake(&self) {
        // It fails only when so many wake-ups wait that one more changes nothing.
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
    }

    /// Tells its end, if that was not told.
    fn end(&self, end: End) {
        lock(&self.state).end.get_or_insert(end);
        self.has_ended.notify_all();
    }
}

/// Also a thread that panics, as what hears may, leaves nobody waiting for the end.
struct EndsWithItsThread(Arc<Handles>);

impl Drop for EndsWithItsThread {
    fn drop(&mut self) {
        let reason = "its thread has ended".to_owned();
        self.0.end(End::Stopped(reason));
    }
}

/// The owner of a child, in its thread.
struct ProcessOwner<F> {
    group: Group,
    monitor: Box<dyn Monitor>,
    /// Readable when the child has ended.
    exit: OwnedFd,
    input: InputPipe,
    output: Option<OutputPipe>,
    errors: Option<OutputPipe>,
    shared: Arc<Handles>,
    hear: F,
}

impl<F: FnMut(Heard<'_>)> ProcessOwner<F> {
    fn start(
        prepared: Prepared,
        for_whom: &str,
        line_bytes_max: usize,
        shared: Arc<Handles>,
        hear: F,
    ) -> io::Result<ProcessOwner<F>> {
        let Prepared {
            mut command,
            rules,
            mut monitor,
        } = prepared;
        let (stdin, input) = io::pipe()?;
        let (output, stdout) = io::pipe()?;
        let (errors, stderr) = io::pipe()?;
        ioctl_fionbio(&input, true)?;
        os::bind_child(&mut command, rules);
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let group = Group::start(&mut command, for_whom)?;
        // The command holds its ends of the pipes, whose last closing is their end.
        drop(command);
        monitor.started()?;
        Ok(ProcessOwner {
            exit: pidfd_open(group.pid, PidfdFlags::empty())?,
            group,
            monitor,
            input: InputPipe::new(input),
            output: Some(OutputPipe::new(output, line_bytes_max)?),
            errors: Some(OutputPipe::new(errors, line_bytes_max)?),
            shared,
            hear,
        })
    }

    fn run(mut self) {
        let end = match self.until_over().and_then(|early| self.finish(early)) {
            Ok(end) => end,
            // Dropping the group ends it.
            Err(error) => End::Stopped(format!("it cannot be watched: {error}")),
        };
        let ProcessOwner {
            group,
            mut monitor,
            shared,
            mut hear,
            ..
        } = self;
        drop(group);
        monitor.ended(&end);
        hear(Heard::Ended(end.clone()));
        shared.end(end);
    }

    /// Serves it until it has ended, or must; how, in that case.
    fn until_over(&mut self) -> io::Result<Option<End>> {
        let mut next_check = Instant::now() + CHECK_EVERY;
        loop {
            let limit = self.monitor.is_checking().then(|| {
                let left = next_check.saturating_duration_since(Instant::now());
                left.max(Duration::from_millis(1))
            });
            self.wait(limit)?;
            if lock(&self.shared.state).kill {
                return Ok(Some(End::Cancelled));
            }
            self.serve()?;
            if self.group.has_ended()? {
                return Ok(None);
            }
            if self.monitor.is_checking() && Instant::now() >= next_check {
                next_check = Instant::now() + CHECK_EVERY;
                if let Some(reason) = self.monitor.check() {
                    return Ok(Some(End::Stopped(reason)));
                }
            }
        }
    }

    /// Writes, reads and does what is wanted, as far as nothing blocks.
    fn serve(&mut self) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        if std::mem::take(&mut state.terminate) {
            self.group.terminate();
        }
        self.input.write(&mut state)?;
        drop(state);
        self.read()
    }

    /// Reads a chunk of each output, if there is any.
    fn read(&mut self) -> io::Result<()> {
        let hear = &mut self.hear;
        read_chunk(&mut self.output, &mut |line| hear_output(hear, line))?;
        read_chunk(&mut self.errors, &mut |line| hear_remark(hear, line))
    }

    /// Hears last lines that have no end, of outputs that somebody else holds open.
    fn hear_unfinished(&mut self) {
        let hear = &mut self.hear;
        if let Some(mut lines) = self.output.take() {
            lines.finish(&mut |line| hear_output(hear, line));
        }
        if let Some(mut lines) = self.errors.take() {
            lines.finish(&mut |line| hear_remark(hear, line));
        }
    }

    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let input = self.input.waits_for_room();
        let input = input.map(|pipe| PollFd::new(pipe, PollFlags::OUT));
        let others = [self.exit.as_fd(), self.shared.wake.as_fd()];
        let others = others.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let mut all = self.outputs();
        all.extend(input.into_iter().chain(others));
        let limit = limit.map(Timespec::try_from).transpose();
        match poll(&mut all, limit.map_err(io::Error::other)?.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // It counts the wake-ups, and is read empty at once; what they were for is looked at next.
        rustix::io::read(&self.shared.wake, &mut [0; 8]).ok();
        Ok(())
    }

    /// Ends it, and hears what it left in its pipes and what comes within a moment.
    fn finish(&mut self, early: Option<End>) -> io::Result<End> {
        let end = match early {
            None => End::Exited(self.group.end()?),
            Some(end) => {
                self.group.end_early()?;
                end
            }
        };
        // What is there is taken, however late this thread has its turn.
        for _ in 0..PIPE_BYTES / CHUNK_BYTES {
            self.read()?;
        }
        let deadline = Instant::now() + DRAIN;
        while self.has_more_until(deadline)? {
            self.read()?;
        }
        self.hear_unfinished();
        Ok(end)
    }

    /// Waits until there may be more to read; `false` for what has ended, or takes too long.
    fn has_more_until(&self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut open = self.outputs();
        if open.is_empty() || left.is_zero() {
            return Ok(false);
        }
        match poll(&mut open, Some(&limit)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn outputs(&self) -> Vec<PollFd<'_>> {
        let open = [&self.output, &self.errors].into_iter().flatten();
        open.map(|lines| PollFd::new(&lines.pipe, PollFlags::IN))
            .collect()
    }
}

/// Its standard input, and the line that is being written.
struct InputPipe {
    /// `None` once it is closed, by either side.
    pipe: Option<PipeWriter>,
    line: Vec<u8>,
    written: usize,
}

impl InputPipe {
    fn new(pipe: PipeWriter) -> InputPipe {
        InputPipe {
            pipe: Some(pipe),
            line: Vec::new(),
            written: 0,
        }
    }

    fn waits_for_room(&self) -> Option<&PipeWriter> {
        self.pipe
            .as_ref()
            .filter(|_| self.written < self.line.len())
    }

    /// Writes what is queued, as far as there is room.
    fn write(&mut self, state: &mut Requests) -> io::Result<()> {
        while let Some(pipe) = &mut self.pipe {
            if self.written == self.line.len() {
                let Some(line) = state.queue.pop_front() else {
                    if state.is_input_closed {
                        self.pipe = None;
                    }
                    return Ok(());
                };
                state.queue_bytes -= line.len();
                (self.line, self.written) = (line.into_bytes(), 0);
            }
            match pipe.write(&self.line[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.pipe = None;
                    state.is_input_closed = true;
                    state.queue.clear();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An output of a child, cut into lines.
struct OutputPipe {
    pipe: PipeReader,
    bytes_max: usize,
    /// The line that has not ended.
    line: Vec<u8>,
    /// Whether pieces of it were handed on.
    is_in_pieces: bool,
    chunk: Vec<u8>,
}

/// A line, or a piece of one that is too long.
enum LinePiece<'a> {
    Whole(Cow<'a, str>),
    Piece(Cow<'a, str>),
    EndOfPieces(Cow<'a, str>),
}

fn hear_output(hear: &mut impl FnMut(Heard<'_>), line: LinePiece<'_>) {
    match line {
        LinePiece::Whole(text) => hear(Heard::Line(text)),
        // It is told at its end, once.
        LinePiece::Piece(_) => {}
        LinePiece::EndOfPieces(_) => hear(Heard::TooLong),
    }
}

fn hear_remark(hear: &mut impl FnMut(Heard<'_>), line: LinePiece<'_>) {
    match line {
        LinePiece::Whole(text) | LinePiece::Piece(text) | LinePiece::EndOfPieces(text) => {
            hear(Heard::Remark(text));
        }
    }
}

/// Takes what is there, a chunk at most; after its end, the output is gone.
fn read_chunk(
    lines: &mut Option<OutputPipe>,
    hear: &mut dyn FnMut(LinePiece<'_>),
) -> io::Result<()> {
    if let Some(open) = lines
        && open.read(hear)? == Some(0)
    {
        *lines = None;
    }
    Ok(())
}

impl OutputPipe {
    fn new(pipe: PipeReader, bytes_max: usize) -> io::Result<OutputPipe> {
        ioctl_fionbio(&pipe, true)?;
        Ok(OutputPipe {
            pipe,
            bytes_max,
            line: Vec::new(),
            is_in_pieces: false,
            chunk: vec![0; CHUNK_BYTES],
        })
    }

    /// How many bytes it read; `None` where there are none yet.
    fn read(&mut self, hear: &mut dyn FnMut(LinePiece<'_>)) -> io::Result<Option<usize>> {
        let count = match self.pipe.read(&mut self.chunk) {
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let chunk = std::mem::take(&mut self.chunk);
        for part in chunk[..count].split_inclusive(|byte| *byte == b'\n') {
            self.add(part, hear);
        }
        self.chunk = chunk;
        if count == 0 {
            self.finish(hear);
        }
        Ok(Some(count))
    }

    /// Hands on a last line that has no end.
    fn finish(&mut self, hear: &mut dyn FnMut(LinePiece<'_>)) {
        if !self.line.is_empty() || self.is_in_pieces {
            self.finish_line(hear);
        }
    }

    /// Takes a part of a line, with its end if that has come.
    fn add(&mut self, part: &[u8], hear: &mut dyn FnMut(LinePiece<'_>)) {
        let text = part.strip_suffix(b"\n");
        let mut left = text.unwrap_or(part);
        while self.line.len() + left.len() > self.bytes_max {
            let (fitting, more) = left.split_at(self.bytes_max - self.line.len());
            self.line.extend_from_slice(fitting);
            hear(LinePiece::Piece(String::from_utf8_lossy(&self.line)));
            self.line.clear();
            self.is_in_pieces = true;
            left = more;
        }
        self.line.extend_from_slice(left);
        if text.is_some() {
            self.finish_line(hear);
        }
    }

    fn finish_line(&mut self, hear: &mut dyn FnMut(LinePiece<'_>)) {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let text = String::from_utf8_lossy(line);
        if std::mem::take(&mut self.is_in_pieces) {
            hear(LinePiece::EndOfPieces(text));
        } else {
            hear(LinePiece::Whole(text));
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests;
