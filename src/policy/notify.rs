//! Tells people of calls that begin: in the log, by posting JSON to an address, in a chat.
//!
//! A call never waits for it. Notes for addresses and chats go through a queue to one thread, `notify`,
//! which is started with the first of them and ends with [`Notifier::stop`].
//!
//! Invariant: of an address only its host is ever logged; the rest may be a secret.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select_biased};
use serde::Serialize;
use ureq::Agent;

use super::rules::{Delivery, Occasion};
use crate::base::lock::lock;
use crate::base::shown::shown_by_name;
use crate::base::stop::{self, Stop, StopSource};
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::base::tls;
use crate::domain::chat::Chat;
use crate::domain::ids::{AgentName, CallId, SessionId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::policy::ProposedCall;

/// A burst of a busy agent; what comes while so many wait is dropped, and that is logged.
const QUEUE_MAX: usize = 256;
/// How long an address may take.
const POST_MAX: Duration = Duration::from_secs(10);
/// Looking up its name and connecting, which nothing can interrupt.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How much of a command is told.
const COMMAND_CHARS_MAX: usize = 8_000;

/// A call that begins, or is asked about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notification {
    /// Which of the two.
    #[serde(skip_serializing_if = "Occasion::is_call")]
    pub on: Occasion,
    /// Whose call.
    pub agent: AgentName,
    /// In which session.
    pub session_id: SessionId,
    /// The call.
    pub call_id: CallId,
    /// The tool's name.
    pub tool: String,
    /// What it is to do, or the beginning of it.
    pub command: String,
    /// When.
    pub timestamp: Timestamp,
}

/// Says things in chats of gateways.
pub trait ChatTeller: Send + Sync {
    /// Says it; on disk when this returns, and sent as soon as the chat can be reached.
    ///
    /// Errors: why it will not be.
    fn tell(&self, chat: &Chat, note: &Notification) -> Result<(), String>;
}

shown_by_name!(ChatTeller);

impl Notification {
    /// Of a proposed, now.
    pub(super) fn of(agent: &AgentName, on: Occasion, proposed: &ProposedCall<'_>) -> Notification {
        Notification {
            on,
            agent: agent.clone(),
            session_id: proposed.session.clone(),
            call_id: proposed.call.call_id.clone(),
            tool: proposed.call.tool_name.clone(),
            command: proposed.command().chars().take(COMMAND_CHARS_MAX).collect(),
            timestamp: SystemTime::now().into(),
        }
    }
}

/// Whoever tells people.
#[derive(Default)]
pub(super) struct Notifier {
    queue: Mutex<NotifyQueue>,
    /// Once there are gateways.
    chats: Arc<OnceLock<Arc<dyn ChatTeller>>>,
}

/// Where notes for addresses and chats go.
#[derive(Default)]
enum NotifyQueue {
    /// Nowhere yet.
    #[default]
    Idle,
    Running(Running),
    Stopped,
}

/// The thread, from the field that ends it to the field that waits for it.
struct Running {
    note_tx: Sender<WaitingNote>,
    /// Notes that wait or are on their way.
    unsent: Arc<AtomicUsize>,
    source: StopSource,
    agent: Agent,
    _thread: Joined,
}

struct WaitingNote {
    target: NoteTarget,
    note: Notification,
}

enum NoteTarget {
    Webhook(Secret),
    Chat(Chat),
}

impl NoteTarget {
    /// As the log names it.
    fn name(&self) -> String {
        match self {
            NoteTarget::Webhook(url) => host(url.reveal()).to_owned(),
            NoteTarget::Chat(chat) => format!("the chat {}:{}", chat.gateway, chat.chat_id),
        }
    }
}

impl Notifier {
    /// Tells of a call. Never blocks.
    pub(super) fn tell(&self, delivery: &Delivery, note: &Notification) {
        match delivery {
            Delivery::Log => log::info!(
                "agent {} {} {} in session {}: {:?}",
                note.agent,
                match note.on {
                    Occasion::Call | Occasion::FailedSchedule => "runs",
                    Occasion::Approval => "asks to run",
                },
                note.tool,
                note.session_id,
                note.command
            ),
            Delivery::Webhook(url) => self.enqueue(NoteTarget::Webhook(url.clone()), note),
            Delivery::Chat(chat) => self.enqueue(NoteTarget::Chat(chat.clone()), note),
        }
    }

    /// From now on chats can be told.
    pub(super) fn set_chats(&self, chats: Arc<dyn ChatTeller>) {
        if self.chats.set(chats).is_err() {
            log::warn!("chats are told by the gateways that were there first");
        }
    }

    fn enqueue(&self, target: NoteTarget, note: &Notification) {
        let waiting = WaitingNote {
            target,
            note: note.clone(),
        };
        let mut line = lock(&self.queue);
        if matches!(*line, NotifyQueue::Idle) {
            match Running::start(Arc::clone(&self.chats)) {
                Ok(running) => *line = NotifyQueue::Running(running),
                Err(error) => log::warn!("nobody is notified: {error}"),
            }
        }
        let NotifyQueue::Running(running) = &*line else {
            return;
        };
        running.unsent.fetch_add(1, Ordering::SeqCst);
        let sent = running.note_tx.try_send(waiting);
        if sent.is_err() {
            running.unsent.fetch_sub(1, Ordering::SeqCst);
        }
        if let Err(TrySendError::Full(waiting)) = sent {
            log::warn!(
                "{} is not told of call {}: {QUEUE_MAX} notifications wait already",
                waiting.target.name(),
                waiting.note.call_id
            );
        }
    }

    /// True while a notification waits or is on its way.
    pub(super) fn is_telling(&self) -> bool {
        match &*lock(&self.queue) {
            NotifyQueue::Running(running) => running.unsent.load(Ordering::SeqCst) > 0,
            NotifyQueue::Idle | NotifyQueue::Stopped => false,
        }
    }

    /// Ends the thread. What is not sent by then is dropped, and that is logged.
    pub(super) fn stop(&self) {
        let line = std::mem::replace(&mut *lock(&self.queue), NotifyQueue::Stopped);
        drop(line);
    }
}

impl Running {
    fn start(chats: Arc<OnceLock<Arc<dyn ChatTeller>>>) -> std::io::Result<Running> {
        let (note_tx, note_rx) = bounded(QUEUE_MAX);
        let (source, stop) = stop::pair();
        let agent = agent();
        let ways = NoteWays {
            agent: agent.clone(),
            chats,
        };
        let unsent = Arc::<AtomicUsize>::default();
        let left = Arc::clone(&unsent);
        let body = move || run(&ways, &note_rx, &left, &stop);
        let thread = thread::spawn("notify", STACK_WORK, body)?;
        Ok(Running {
            note_tx,
            unsent,
            source,
            agent,
            _thread: thread,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The signal first: the read that ends looks at it. Then the thread is waited for.
        self.source.stop();
        self.agent.clone().shutdown();
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

/// How the thread reaches those whom it tells.
struct NoteWays {
    agent: Agent,
    chats: Arc<OnceLock<Arc<dyn ChatTeller>>>,
}

fn run(ways: &NoteWays, note_rx: &Receiver<WaitingNote>, unsent: &AtomicUsize, stop: &Stop) {
    loop {
        select_biased! {
            recv(stop.channel()) -> _ => break,
            recv(note_rx) -> waiting => match waiting {
                Ok(waiting) => {
                    ways.send(&waiting);
                    unsent.fetch_sub(1, Ordering::SeqCst);
                }
                Err(_) => break,
            },
        }
    }
    let unsent = note_rx.try_iter().count();
    if unsent > 0 {
        log::warn!("{unsent} notifications are not sent, because the server stops");
    }
}

impl NoteWays {
    fn send(&self, waiting: &WaitingNote) {
        let note = &waiting.note;
        let sent = match &waiting.target {
            NoteTarget::Webhook(url) => post(&self.agent, url, note),
            NoteTarget::Chat(chat) => match self.chats.get() {
                Some(chats) => chats.tell(chat, note),
                None => Err("there are no gateways yet".to_owned()),
            },
        };
        if let Err(failure) = sent {
            let (target, call) = (waiting.target.name(), &note.call_id);
            log::warn!("{target} is not told of call {call}: {failure}");
        }
    }
}

fn post(agent: &Agent, url: &Secret, note: &Notification) -> Result<(), String> {
    match agent.post(url.reveal()).send_json(note) {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("it answered {}", response.status())),
        // Its words would show the address.
        Err(ureq::Error::BadUri(_)) => Err("it is no address".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("duragent/", env!("CARGO_PKG_VERSION")))
        .max_redirects(0)
        .proxy(None)
        .timeout_resolve(Some(CONNECT_MAX))
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(POST_MAX))
        .max_idle_connections(1)
        .build();
    tls::agent(config)
}

/// The host of an address, and its port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn note() -> Notification {
        Notification {
            on: Occasion::Call,
            agent: AgentName::parse("ada").unwrap(),
            session_id: SessionId::mint(1, 1),
            call_id: CallId::parse("call_1").unwrap(),
            tool: "bash".to_owned(),
            command: "ls".to_owned(),
            timestamp: SystemTime::UNIX_EPOCH.into(),
        }
    }

    #[test]
    fn a_note_is_on_its_way_until_it_is_answered() {
        let asked = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", asked.local_addr().unwrap());
        let notifier = Notifier::default();
        assert!(!notifier.is_telling());
        notifier.tell(&Delivery::Webhook(Secret::new(url)), &note());
        let (mut socket, _) = asked.accept().unwrap();
        assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
        assert!(notifier.is_telling());
        let answer = "HTTP/1.1 204 Gone\r\nConnection: close\r\n\r\n";
        socket.write_all(answer.as_bytes()).unwrap();
        let deadline = std::time::Instant::now() + POST_MAX;
        while notifier.is_telling() {
            assert!(std::time::Instant::now() < deadline, "it is not seen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn nobody_but_the_address_is_told_wherever_it_leads() {
        let asked = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.set_nonblocking(true).unwrap();
        let target = other.local_addr().unwrap();
        let url = format!("http://{}/secret", asked.local_addr().unwrap());
        let sending =
            std::thread::spawn(move || post(&agent(), &Secret::new(url), &note()).unwrap_err());
        let (mut socket, _) = asked.accept().unwrap();
        assert!(socket.read(&mut [0; 4096]).unwrap() > 0);
        let head = format!(
            "HTTP/1.1 307 Elsewhere\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        assert!(sending.join().unwrap().contains("307"));
        assert!(other.accept().is_err(), "the redirect was followed");
    }

    #[test]
    fn of_an_address_only_the_host_is_shown() {
        for (url, expected) in [
            (
                "https://hooks.example.com/T0/secret?x=y",
                "hooks.example.com",
            ),
            ("http://user:pass@h:8080?token=x", "h:8080"),
            ("http://h#secret", "h"),
        ] {
            assert_eq!(host(url), expected);
        }
    }
}
