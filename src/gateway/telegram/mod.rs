//! The gateway to Telegram that is built in: a thread that polls, and what sends for it.
//!
//! Invariants:
//! - an update is confirmed only after what it says is on disk;
//! - the bot's token is known to [`bot`](self) alone, and no text that leaves this folder holds it.
//!
//! Elsewhere: who may speak ([`incoming`](crate::gateway::incoming)), what is sent and when
//! ([`delivery`](crate::gateway::delivery)).

mod bot;
mod commands;
pub mod markup;
mod media;
mod outlet;
mod poller;
mod update;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::base::stop::{self, StopSource};
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::domain::ids::GatewayName;
use crate::gateway::health::GatewayHealth;
use crate::gateway::incoming::Inlet;
use crate::gateway::outlet::Outlet;
use crate::gateway::set_aside::SetAsideLog;
use crate::gateway::settings::TelegramSettings;
use crate::store::documents::Documents;

use outlet::TelegramOutlet;
use poller::{PollState, Poller};

pub use bot::{BotClient, BotError};

/// A call that is made ends at once when it is shut down, but for a name that is looked up and a connection that
/// is made.
const END_MAX: Duration = Duration::from_secs(3);

/// A bot of Telegram, before it works.
#[derive(Debug)]
pub struct TelegramBot {
    settings: TelegramSettings,
    sending: Arc<BotClient>,
}

impl TelegramBot {
    /// Calls nobody.
    pub fn new(settings: TelegramSettings) -> TelegramBot {
        let sending = Arc::new(client(&settings, outlet::CALL_MAX));
        TelegramBot { settings, sending }
    }

    /// Its name here.
    pub fn name(&self) -> &GatewayName {
        &self.settings.name
    }

    /// What the thread that sends for it has.
    pub fn outlet(&self) -> Box<dyn Outlet> {
        Box::new(TelegramOutlet {
            client: Arc::clone(&self.sending),
        })
    }

    /// Starts the thread that reads what is said to it, `tg-poll`. `documents` are those of the workspace.
    ///
    /// Errors: the system has no thread to give.
    pub fn poll(
        &self,
        inlet: Arc<dyn Inlet>,
        documents: Arc<dyn Documents>,
        health: GatewayHealth,
    ) -> io::Result<TelegramPolling> {
        let polling = Arc::new(client(&self.settings, poller::POLL_MAX));
        let files = Arc::new(client(&self.settings, media::CALL_MAX));
        let clients = [Arc::clone(&polling), Arc::clone(&files)];
        let (stop, stopped) = stop::pair();
        let gateway = self.settings.name.clone();
        let poller = Poller {
            set_aside: SetAsideLog::new(documents, &gateway),
            client: polling,
            files,
            gateway,
            inlet,
            health,
            stop: stopped,
            state: PollState::default(),
        };
        let (ended_tx, ended_rx) = bounded(1);
        let thread = thread::spawn("tg-poll", STACK_WORK, move || {
            let _ended_tx = ended_tx;
            poller.run();
        })?;
        Ok(TelegramPolling {
            stop,
            clients,
            ended_rx,
            thread: Some(thread),
        })
    }

    /// Ends what the outlet calls, and all later calls of it: for the end of the program, when whoever sends has
    /// had its time.
    pub fn hang_up(&self) {
        self.sending.shut_down();
    }
}

/// The thread that reads what is said to a bot. Dropping it ends it; what is not confirmed by then comes again.
#[derive(Debug)]
pub struct TelegramPolling {
    stop: StopSource,
    clients: [Arc<BotClient>; 2],
    ended_rx: Receiver<Infallible>,
    thread: Option<Joined>,
}

impl Drop for TelegramPolling {
    fn drop(&mut self) {
        self.stop.stop();
        for client in &self.clients {
            client.shut_down();
        }
        if self.ended_rx.recv_timeout(END_MAX) == Err(RecvTimeoutError::Timeout)
            && let Some(thread) = self.thread.take()
        {
            log::debug!("{} is left to end by itself", thread.name());
            thread.abandon();
        }
    }
}

fn client(settings: &TelegramSettings, limit: Duration) -> BotClient {
    BotClient::new(&settings.bot_token, settings.api_url.as_deref(), limit)
}
