//! A gateway that is a program of its own: its life, from start to start.
//!
//! ```text
//! gw-NAME     starts the program, pings it, starts it again
//! gw-io-NAME  reads what it says: messages are taken in on this thread, so that it waits when we do
//! gw-out-NAME sends commands (`delivery`)
//! ```
//!
//! Invariants:
//! - a message that cannot be taken in now is tried again before anything behind it is read: the program
//!   believes that we have it;
//! - nobody waits for an answer of a program that has ended: the sender is told first;
//! - a program that a server has started ends with it.
//!
//! Elsewhere: what commands are given ([`delivery`](crate::gateway::delivery)), what becomes of messages
//! ([`incoming`](crate::gateway::incoming)), how a child is read and written (`base::child`).

mod ears;
mod environment;
mod outlet;
mod parts;
mod restarts;
mod state;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select_biased};

use crate::base::child::{End, Heard, LineProcess};
use crate::base::stop::{self, Stop, StopSource};
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::gateway::delivery::SenderNews;
use crate::gateway::protocol::{GatewayCommand, LINE_BYTES_MAX};
use crate::gateway::settings::RestartRule;

use ears::Ears;
use restarts::{Restarts, STARTS_MAX};
use state::PluginPhase;

pub use outlet::PluginOutlet;
pub use parts::{PluginParts, PluginTimes};
pub use state::{PluginState, PluginStatus};

/// So many pings without an answer end a program.
const PINGS_MISSED: u32 = 2;

/// A program that is kept running. Dropping it ends the program, in good order where that goes.
#[derive(Debug)]
pub struct Plugin {
    state: Arc<PluginState>,
    restart: Sender<()>,
    stop: StopSource,
    // Joined by its drop, after the stop.
    keeper: Joined,
}

/// What its keeper is told.
#[derive(Debug)]
enum PluginSignal {
    /// It takes commands.
    Ready,
    /// The program has ended.
    Ended(End),
}

impl Plugin {
    /// Starts the program and its keeper. One that cannot be started is tried again like one that has ended.
    ///
    /// Errors: the system has no thread to give.
    pub fn start(parts: PluginParts) -> io::Result<Plugin> {
        // Each run tells either signal once at most: whoever tells it never waits.
        let (signals, signals_rx) = bounded(2);
        // A second wish to start it anew says no more than the first.
        let (restart, restart_rx) = bounded(1);
        let (stop, stop_rx) = stop::pair();
        let state = Arc::clone(&parts.state);
        let name = format!("gw-{}", parts.settings.name);
        let keeper = PluginKeeper {
            parts: Arc::new(parts),
            restarts: Restarts::default(),
            signals,
            signals_rx,
            restart_rx,
            stop: stop_rx,
        };
        Ok(Plugin {
            state,
            restart,
            stop,
            keeper: thread::spawn(name, STACK_WORK, move || keeper.run())?,
        })
    }

    /// What is known of it.
    pub fn state(&self) -> &Arc<PluginState> {
        &self.state
    }

    /// Ends the program and starts it anew, also one that is down for good.
    pub fn restart(&self) {
        // A full channel holds the same wish.
        self.restart.try_send(()).ok();
    }

    /// Begins to end it, and waits for nothing.
    pub fn stop(&mut self) {
        self.stop.stop();
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.stop.stop();
        log::debug!("waiting for {}", self.keeper.name());
    }
}

/// Why a run is over.
enum RunOver {
    /// The server stops.
    Stopped,
    /// A person wanted it.
    Restarted,
    /// By itself, or by us because it did not what it must: a sentence, and whether that is a failure.
    Ended { why: String, has_failed: bool },
}

/// Keeps a program running, in its thread.
struct PluginKeeper {
    parts: Arc<PluginParts>,
    restarts: Restarts,
    signals: Sender<PluginSignal>,
    signals_rx: Receiver<PluginSignal>,
    restart_rx: Receiver<()>,
    stop: Stop,
}

impl PluginKeeper {
    fn run(mut self) {
        let name = self.parts.settings.name.clone();
        while !self.stop.is_stopped() {
            let started = Instant::now();
            let over = self.run_once();
            let (why, has_failed) = match over {
                RunOver::Stopped => break,
                RunOver::Restarted => continue,
                RunOver::Ended { why, has_failed } => (why, has_failed),
            };
            let is_wanted = match self.parts.settings.restart {
                RestartRule::Always => true,
                RestartRule::OnFailure => has_failed,
                RestartRule::Never => false,
            };
            let delay = is_wanted.then(|| self.restarts.next(Instant::now(), started.elapsed()));
            match delay {
                Some(Some(delay)) => {
                    let seconds = delay.as_secs();
                    log::warn!("gateway {name}: {why}; it is started again in {seconds} s");
                    self.parts.state.set(PluginPhase::Waiting { why });
                    self.wait(Some(delay));
                }
                Some(None) => {
                    let why = format!("{why}, {STARTS_MAX} times within an hour");
                    log::error!(
                        "gateway {name}: {why}; `duragent gateway restart {name}` starts it again"
                    );
                    self.stay_down(why, true);
                }
                None => {
                    log::warn!("gateway {name}: {why}; `restart` says that it stays so");
                    self.stay_down(why, has_failed);
                }
            }
        }
        self.parts.state.set(PluginPhase::Down {
            why: "the server is about to end".to_owned(),
            is_failure: false,
        });
    }

    /// Waits for the stop or for somebody who wants it started.
    fn stay_down(&mut self, why: String, is_failure: bool) {
        self.parts.state.set(PluginPhase::Down { why, is_failure });
        self.wait(None);
        self.restarts = Restarts::default();
    }

    /// Waits for the stop, for somebody who wants it started, or for so long.
    fn wait(&self, limit: Option<Duration>) {
        let due = limit.map_or_else(never, after);
        select_biased! {
            recv(self.stop.channel()) -> _ => {}
            recv(self.restart_rx) -> _ => {}
            recv(due) -> _ => {}
        }
    }

    /// Runs the program once, to its end.
    fn run_once(&self) -> RunOver {
        let state = &self.parts.state;
        state.set(PluginPhase::Starting);
        // Of an earlier run.
        while self.signals_rx.try_recv().is_ok() {}
        // What waits to be taken in does so no longer than the run.
        let (mut run, run_stop) = stop::pair();
        if let Err(error) = self.start(run_stop) {
            return RunOver::Ended {
                why: format!("it cannot be started: {error}"),
                has_failed: true,
            };
        }
        let over = self.keep(&mut run);
        run.stop();
        // No answer comes any more.
        state.set(PluginPhase::Waiting {
            why: "it has ended".to_owned(),
        });
        let process = state.take_process();
        self.parts.sender.tell(SenderNews::Ready(false));
        drop(process);
        over
    }

    fn start(&self, run_stop: Stop) -> io::Result<()> {
        let settings = &self.parts.settings;
        let prepared = environment::prepared(settings);
        let ears = Ears::new(Arc::clone(&self.parts), run_stop);
        let mut teller = EndTeller {
            signals: self.signals.clone(),
            has_told: false,
        };
        let hear = move |heard: Heard<'_>| match heard {
            Heard::Line(line) => {
                if ears.line(&line) {
                    teller.signals.send(PluginSignal::Ready).ok();
                }
            }
            Heard::Remark(line) => ears.remark(&line),
            Heard::TooLong => ears.too_long(),
            Heard::Ended(end) => teller.tell(end),
        };
        let name = io_thread_name(&self.parts);
        let for_whom = format!("gateway {}", settings.name);
        let process = LineProcess::start(&name, prepared, &for_whom, LINE_BYTES_MAX, hear)?;
        self.parts.state.set_process(process);
        Ok(())
    }

    /// Serves a program that runs, until it is over.
    fn keep(&self, run: &mut StopSource) -> RunOver {
        let times = self.parts.times;
        let mut due = Instant::now() + times.ready;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            select_biased! {
                recv(self.stop.channel()) -> _ => {
                    self.end(run);
                    return RunOver::Stopped;
                }
                recv(self.restart_rx) -> _ => {
                    self.end(run);
                    return RunOver::Restarted;
                }
                recv(self.signals_rx) -> signal => match signal {
                    Ok(PluginSignal::Ready) => {
                        due = Instant::now() + times.ping;
                        self.parts.sender.tell(SenderNews::Ready(true));
                    }
                    Ok(PluginSignal::Ended(end)) => return self.ended(&end),
                    Err(_) => return RunOver::Stopped,
                },
                default(left) => {
                    if let Some(why) = self.check() {
                        self.end(run);
                        return RunOver::Ended { why, has_failed: true };
                    }
                    due = Instant::now() + times.ping;
                }
            }
        }
    }

    /// Looks after one that has not been heard of; why it must end, if it must.
    fn check(&self) -> Option<String> {
        let state = &self.parts.state;
        if !state.is_ready() {
            let limit = self.parts.times.ready.as_secs();
            return Some(format!("it did not say `ready` within {limit} s"));
        }
        if state.is_held() {
            // It is we who do not read what it says.
            return None;
        }
        if state.unanswered_pings() >= PINGS_MISSED {
            return Some("it does not answer `ping`".to_owned());
        }
        let request_id = state.next_ping();
        let sent = state.send(&GatewayCommand::Ping { request_id });
        sent.err().map(|error| error.to_string())
    }

    /// What an end by itself means.
    fn ended(&self, end: &End) -> RunOver {
        let fault = self.parts.state.fatal_error();
        let has_failed = fault.is_some() || !matches!(end, End::Exited(status) if status.success());
        let why = match fault {
            Some(fault) => format!("it has ended ({end}): {fault}"),
            None => format!("it has ended ({end})"),
        };
        RunOver::Ended { why, has_failed }
    }

    /// Ends it: first by words, then by a signal that asks, then by one that does not.
    fn end(&self, run: &mut StopSource) {
        let state = &self.parts.state;
        state.send(&GatewayCommand::Shutdown).ok();
        // Its end is heard by the thread on which a message may wait: it does not wait any longer.
        run.stop();
        if self.has_ended_within(self.parts.times.end) {
            return;
        }
        state.with_process(LineProcess::terminate);
        if !self.has_ended_within(self.parts.times.end) {
            let name = &self.parts.settings.name;
            log::warn!("gateway {name}: it does not end when it is told to, and is killed");
        }
    }

    fn has_ended_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            match self.signals_rx.recv_deadline(deadline) {
                Ok(PluginSignal::Ended(_)) => return true,
                Ok(PluginSignal::Ready) => {}
                Err(_) => return false,
            }
        }
    }
}

/// Tells the end of a program, also where the thread that hears it has ended before.
struct EndTeller {
    signals: Sender<PluginSignal>,
    has_told: bool,
}

impl EndTeller {
    fn tell(&mut self, end: End) {
        if !std::mem::replace(&mut self.has_told, true) {
            self.signals.send(PluginSignal::Ended(end)).ok();
        }
    }
}

impl Drop for EndTeller {
    fn drop(&mut self) {
        self.tell(End::Stopped("nobody hears it any more".to_owned()));
    }
}

fn io_thread_name(parts: &PluginParts) -> String {
    format!("gw-io-{}", parts.settings.name)
}

#[cfg(test)]
mod tests;
