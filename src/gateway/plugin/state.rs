//! What is known of a program, and the way to it. Shared by its threads and whoever asks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::base::child::{LineProcess, SendError};
use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::base::text;
use crate::domain::time::Timestamp;
use crate::gateway::protocol::{AuthMethod, Capabilities, GatewayCommand, LINE_BYTES_MAX};

/// So much of what it says beside the protocol is kept.
const LOG_BYTES: usize = 64 << 10;
/// For so long something may wait to be taken in before people are told.
const HELD_QUIETLY: Duration = Duration::from_secs(60);

/// What is known of a program.
#[derive(Debug)]
pub struct PluginState {
    clock: Arc<dyn Clock>,
    known: Mutex<PluginFacts>,
    /// Locked for moments: sending waits for nothing. Apart, so that its end is never awaited under a lock that
    /// its own thread takes.
    process: Mutex<Option<LineProcess>>,
}

#[derive(Debug, Default)]
struct PluginFacts {
    phase: PluginPhase,
    capabilities: Capabilities,
    says_it_is: String,
    version: String,
    is_connected: Option<bool>,
    last_event: Option<Timestamp>,
    auth: Option<(AuthMethod, Instant)>,
    fault: Option<String>,
    pings: u64,
    /// Since the last answer.
    unanswered: u32,
    held: Option<HeldEvent>,
    starts: u64,
    log: Vec<String>,
    log_bytes: usize,
}

/// Something that a program told, and that is being taken in.
#[derive(Debug)]
struct HeldEvent {
    /// As the clock counts since the boot.
    since: Duration,
    /// Why it waits, once it does.
    why: Option<String>,
}

/// Where a program is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum PluginPhase {
    /// It was started, and is not ready.
    #[default]
    Starting,
    /// It takes commands.
    Ready,
    /// It has ended, and is started again in a while.
    Waiting {
        /// Why it has ended.
        why: String,
    },
    /// It has ended, and stays so.
    Down {
        /// Why.
        why: String,
        /// It should not be so.
        is_failure: bool,
    },
}

/// What is told of a program to a person.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginStatus {
    /// `starting`, `ready`, `trouble`, `restarting`, `down` or `failed`.
    pub state: &'static str,
    /// What is to be known of that.
    pub detail: Option<String>,
    /// What it calls itself.
    pub says_it_is: String,
    /// The version of the protocol that it says it speaks.
    pub version: String,
    /// When it last told something that happened.
    pub last_event: Option<Timestamp>,
    /// It reaches its platform, as it says itself.
    pub is_connected: Option<bool>,
    /// How a person is to let it in, and for how many more seconds.
    pub auth: Option<(AuthMethod, u64)>,
    /// How often it was started.
    pub starts: u64,
}

impl PluginState {
    /// Of one that was not started yet.
    pub fn new(clock: Arc<dyn Clock>) -> PluginState {
        PluginState {
            clock,
            known: Mutex::default(),
            process: Mutex::default(),
        }
    }

    pub(super) fn set(&self, phase: PluginPhase) {
        let mut known = lock(&self.known);
        if phase == PluginPhase::Starting {
            known.capabilities = Capabilities::default();
            known.fault = None;
            known.unanswered = 0;
            known.held = None;
            known.is_connected = None;
            known.starts += 1;
        }
        if phase != PluginPhase::Ready {
            known.auth = None;
        }
        known.phase = phase;
    }

    /// It takes commands from now on; whether that is new.
    pub(super) fn ready(
        &self,
        says_it_is: &str,
        version: &str,
        capabilities: Capabilities,
    ) -> bool {
        let mut known = lock(&self.known);
        let before = std::mem::replace(&mut known.phase, PluginPhase::Ready);
        known.says_it_is = says_it_is.to_owned();
        known.version = version.to_owned();
        known.capabilities = capabilities;
        before != PluginPhase::Ready
    }

    pub(super) fn is_ready(&self) -> bool {
        lock(&self.known).phase == PluginPhase::Ready
    }

    /// What it can do; of one that is not ready, nothing.
    pub(super) fn capabilities(&self) -> Capabilities {
        let known = lock(&self.known);
        let is_ready = known.phase == PluginPhase::Ready;
        if is_ready {
            known.capabilities
        } else {
            Capabilities::default()
        }
    }

    /// It has told something that happened.
    pub(super) fn note_event(&self) {
        let now = self.now();
        lock(&self.known).last_event = Some(now);
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from(self.clock.now())
    }

    pub(super) fn note_auth(&self, method: Option<AuthMethod>) {
        lock(&self.known).auth = method.map(|method| (method, Instant::now()));
    }

    pub(super) fn note_fault(&self, fault: String) {
        lock(&self.known).fault = Some(fault);
    }

    pub(super) fn fatal_error(&self) -> Option<String> {
        lock(&self.known).fault.clone()
    }

    /// The id of a ping that is about to be sent.
    pub(super) fn next_ping(&self) -> String {
        let mut known = lock(&self.known);
        known.pings += 1;
        known.unanswered += 1;
        format!("ping-{}", known.pings)
    }

    /// It answers a ping, whichever.
    pub(super) fn pong(&self, is_connected: bool) {
        let mut known = lock(&self.known);
        known.is_connected = Some(is_connected);
        known.unanswered = 0;
    }

    pub(super) fn unanswered_pings(&self) -> u32 {
        lock(&self.known).unanswered
    }

    /// Something that it told is being taken in: nothing more is read of it meanwhile.
    pub(super) fn hold(&self) {
        let since = self.clock.since_boot();
        lock(&self.known).held = Some(HeldEvent { since, why: None });
    }

    /// It cannot be taken in yet.
    pub(super) fn note_wait(&self, why: &str) {
        if let Some(held) = &mut lock(&self.known).held {
            held.why = Some(why.to_owned());
        }
    }

    /// It is taken in, or never will be.
    pub(super) fn go_on(&self) {
        lock(&self.known).held = None;
    }

    pub(super) fn is_held(&self) -> bool {
        lock(&self.known).held.is_some()
    }

    /// Keeps what it said beside the protocol.
    pub(super) fn note_remark(&self, line: &str) {
        let mut known = lock(&self.known);
        let line = text::start(line, LOG_BYTES / 16).to_owned();
        known.log_bytes += line.len() + 1;
        known.log.push(line);
        let mut gone = 0;
        while known.log_bytes > LOG_BYTES {
            known.log_bytes -= known.log[gone].len() + 1;
            gone += 1;
        }
        known.log.drain(..gone);
    }

    /// What it said lately beside the protocol, line by line.
    pub fn log(&self) -> Vec<String> {
        lock(&self.known).log.clone()
    }

    /// What a person is told.
    pub fn status(&self) -> PluginStatus {
        let now = self.clock.since_boot();
        let known = lock(&self.known);
        let (state, detail) = match &known.phase {
            PluginPhase::Starting => ("starting", None),
            PluginPhase::Ready => match known.held.as_ref().and_then(|held| held.trouble(now)) {
                Some(trouble) => ("trouble", Some(trouble)),
                None => ("ready", None),
            },
            PluginPhase::Waiting { why } => ("restarting", Some(why.clone())),
            PluginPhase::Down {
                why,
                is_failure: true,
            } => ("failed", Some(why.clone())),
            PluginPhase::Down {
                why,
                is_failure: false,
            } => ("down", Some(why.clone())),
        };
        let auth = known.auth.as_ref().and_then(|(method, since)| {
            let holds = match method {
                AuthMethod::QrCode { expires_in, .. } | AuthMethod::PairCode { expires_in, .. } => {
                    *expires_in
                }
            };
            let left = holds.checked_sub(since.elapsed().as_secs())?;
            (left > 0).then(|| (method.clone(), left))
        });
        PluginStatus {
            state,
            detail,
            says_it_is: known.says_it_is.clone(),
            version: known.version.clone(),
            last_event: known.last_event,
            is_connected: known.is_connected,
            auth,
            starts: known.starts,
        }
    }

    pub(super) fn set_process(&self, process: LineProcess) {
        *lock(&self.process) = Some(process);
    }

    pub(super) fn take_process(&self) -> Option<LineProcess> {
        lock(&self.process).take()
    }

    pub(super) fn with_process(&self, deed: impl FnOnce(&LineProcess)) {
        if let Some(process) = &*lock(&self.process) {
            deed(process);
        }
    }

    /// Sends a command; waits for nothing.
    pub(super) fn send(&self, command: &GatewayCommand) -> Result<(), PluginSendError> {
        let line = serde_json::to_string(command)?;
        if line.len() >= LINE_BYTES_MAX {
            return Err(PluginSendError::TooLong);
        }
        let process = lock(&self.process);
        let process = process.as_ref().ok_or(SendError::Closed)?;
        Ok(process.send(&line)?)
    }
}

impl HeldEvent {
    fn trouble(&self, now: Duration) -> Option<String> {
        let waited = now.saturating_sub(self.since);
        let why = self.why.as_ref().filter(|_| waited > HELD_QUIETLY)?;
        let minutes = waited.as_secs() / 60;
        Some(format!(
            "what it told waits for {minutes} min to be taken in, and so does all behind it: {why}"
        ))
    }
}

/// Why a command was not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginSendError {
    /// There is nobody to send it to, or it is not read.
    #[error(transparent)]
    Process(#[from] SendError),
    /// It does not fit into a line.
    #[error("the command is longer than a line may be")]
    TooLong,
    /// It cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
