//! All gateways of a server: started together, ended together, and asked how they are.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::{Arc, Mutex};
#[cfg(feature = "telegram")]
use std::time::{Duration, Instant};

use crate::base::clock::Clock;
use crate::base::lock::lock;
use crate::base::stop::{self, StopSource};
use crate::base::thread::Joined;
use crate::domain::chat::Chat;
use crate::domain::ids::GatewayName;
use crate::domain::time::Timestamp;
use crate::engine::Sessions;
use crate::gateway::chat_names::ChatNames;
use crate::gateway::delivery::{
    Announcement, ChatNews, LaneStore, Outbox as _, OutboxError, SenderHandle, SenderParts,
    SetAside, WaitingChat, sender_channel, spawn_sender, with_command,
};
use crate::gateway::health::GatewayHealth;
use crate::gateway::host::GatewayHost;
use crate::gateway::incoming::Inlet;
use crate::gateway::intake::{Intake, IntakeParts, WayOut};
use crate::gateway::outlet::Outlet;
use crate::gateway::plugin::{Plugin, PluginOutlet, PluginParts, PluginState, PluginTimes};
use crate::gateway::protocol::AuthMethod;
use crate::gateway::set_aside::SetAsideLog;
use crate::gateway::settings::{GatewaySettings, PluginSettings, TelegramSettings};
#[cfg(feature = "telegram")]
use crate::gateway::telegram::{TelegramBot, TelegramPolling};
use crate::store::documents::Documents;

/// How long a message that is being sent to Telegram may take when the server ends.
#[cfg(feature = "telegram")]
const SENDING_ENDS: Duration = Duration::from_secs(3);
/// How often it is looked at meanwhile.
#[cfg(feature = "telegram")]
const SENDING_GLANCE: Duration = Duration::from_millis(5);

/// What gateways work with.
#[derive(Debug)]
pub struct GatewayParts {
    /// As the configuration says.
    pub settings: GatewaySettings,
    /// The engine.
    pub sessions: Sessions,
    /// The rest of the program.
    pub host: Arc<dyn GatewayHost>,
    /// Those of the workspace.
    pub documents: Arc<dyn Documents>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why gateways are not started.
#[derive(Debug, thiserror::Error)]
pub enum GatewayStartError {
    /// This program cannot speak with Telegram.
    #[error(
        "the gateway {0} is a bot of Telegram, and this duragent was built without the feature `telegram`"
    )]
    WithoutTelegram(GatewayName),
    /// The system has no thread to give.
    #[error("a gateway cannot be started")]
    Thread(#[from] io::Error),
}

/// All gateways of a server. Shared by whoever asks how they are.
#[derive(Debug)]
pub struct Gateways {
    intake: Arc<Intake>,
    /// Locked for moments: nobody is waited for, and no file is read. Empty after the stop.
    all: Mutex<Vec<RunningGateway>>,
}

/// One of them.
#[derive(Debug)]
struct RunningGateway {
    name: GatewayName,
    lanes: Arc<LaneStore>,
    way: PlatformWay,
    /// How what sends for it is.
    sending: GatewayHealth,
    stop: StopSource,
    // Joined by its drop, after the stop.
    sender: Option<Joined>,
}

/// How a platform is reached.
#[derive(Debug)]
enum PlatformWay {
    /// By a program.
    Program(Plugin),
    /// By Telegram's Bot API.
    #[cfg(feature = "telegram")]
    Telegram {
        bot: TelegramBot,
        /// `None` once it is told to end.
        polling: Option<TelegramPolling>,
        health: GatewayHealth,
    },
}

/// What a person is told of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayStatus {
    /// Its name.
    pub name: GatewayName,
    /// `telegram` or `external`.
    pub kind: &'static str,
    /// `starting`, `ready`, `trouble`, `restarting`, `down` or `failed`.
    pub state: &'static str,
    /// What is to be known of that.
    pub detail: Option<String>,
    /// The version of the protocol that it says it speaks.
    pub version: Option<String>,
    /// When something last came from it.
    pub last_event: Option<Timestamp>,
    /// How a person is to let it in, and for how many more seconds.
    pub auth: Option<(AuthMethod, u64)>,
    /// How often it was started.
    pub starts: Option<u64>,
}

/// A gateway before it works: its lanes, and the way to its sender.
struct PreparedGateway {
    name: GatewayName,
    lanes: Arc<LaneStore>,
    chat_names: Arc<ChatNames>,
    sender: SenderHandle,
    inbox: crate::gateway::delivery::SenderInbox,
}

impl Gateways {
    /// Starts all of them. What chats lack from before is sent at once.
    ///
    /// Errors: [`GatewayStartError`]. A program that cannot be started is none: it is tried again.
    pub fn start(parts: GatewayParts) -> Result<Gateways, GatewayStartError> {
        let settings = &parts.settings;
        let chat_names = Arc::new(ChatNames::new(Arc::clone(&parts.documents)));
        let telegram = settings.telegram.iter().map(|bot| &bot.name);
        let names = telegram.chain(settings.plugins.iter().map(|plugin| &plugin.name));
        let mut prepared: BTreeMap<GatewayName, PreparedGateway> = names
            .map(|name| (name.clone(), prepare(name, &parts, &chat_names)))
            .collect();
        let ways = prepared.values().map(|one| {
            let way = WayOut {
                outbox: Arc::clone(&one.lanes) as _,
                sender: one.sender.clone(),
            };
            (one.name.clone(), way)
        });
        let intake = Arc::new(Intake::new(
            settings,
            IntakeParts {
                sessions: parts.sessions.clone(),
                host: Arc::clone(&parts.host),
                documents: Arc::clone(&parts.documents),
                chat_names: Arc::clone(&chat_names),
                clock: Arc::clone(&parts.clock),
                ways: ways.collect(),
            },
        ));
        let senders = prepared.values();
        let senders = senders.map(|one| (one.name.as_str().to_owned(), one.sender.clone()));
        // Before the senders look at everything: what is written meanwhile is told twice, not never.
        parts
            .sessions
            .set_chat_listener(Arc::new(ChatNews::new(senders)));
        let inlet: Arc<dyn Inlet> = Arc::clone(&intake) as _;
        let mut all = Vec::new();
        for bot in &settings.telegram {
            if let Some(prepared) = prepared.remove(&bot.name) {
                all.push(start_telegram(bot, prepared, &parts, &inlet)?);
            }
        }
        for plugin in &settings.plugins {
            if let Some(prepared) = prepared.remove(&plugin.name) {
                all.push(start_plugin(plugin, prepared, &parts, &inlet)?);
            }
        }
        Ok(Gateways {
            intake,
            all: Mutex::new(all),
        })
    }

    /// Takes messages in.
    pub fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// There is one: strangers may come at any moment.
    pub fn is_any(&self) -> bool {
        !lock(&self.all).is_empty()
    }

    /// How they are, by name.
    pub fn list(&self) -> Vec<GatewayStatus> {
        lock(&self.all).iter().map(RunningGateway::status).collect()
    }

    /// What is wrong, a sentence each.
    pub fn troubles(&self) -> Vec<String> {
        let is_wrong = |one: &GatewayStatus| matches!(one.state, "failed" | "trouble");
        let wrong = self.list().into_iter().filter(is_wrong);
        wrong
            .map(|one| format!("gateway {}: {}", one.name, one.detail.unwrap_or_default()))
            .collect()
    }

    /// Ends a gateway's program and starts it anew; `None` where there is none of that name, `false` where
    /// it is no program.
    pub fn restart(&self, name: &str) -> Option<bool> {
        self.find(name, |one| match &one.way {
            PlatformWay::Program(plugin) => {
                plugin.restart();
                true
            }
            #[cfg(feature = "telegram")]
            PlatformWay::Telegram { .. } => false,
        })
    }

    /// What a gateway's program said lately beside the protocol; `None` where there is none of that name.
    pub fn log(&self, name: &str) -> Option<Vec<String>> {
        self.find(name, |one| match &one.way {
            PlatformWay::Program(plugin) => plugin.state().log(),
            #[cfg(feature = "telegram")]
            PlatformWay::Telegram { .. } => Vec::new(),
        })
    }

    /// What chats lack, and what they never get, by gateway.
    ///
    /// Errors: it cannot be read.
    pub fn outbox(&self) -> Result<Vec<GatewayOutbox>, OutboxError> {
        let one = |(name, lanes): (GatewayName, Arc<LaneStore>)| {
            Ok(GatewayOutbox {
                name,
                waiting: lanes.waiting()?,
                aside: lanes.aside()?,
            })
        };
        self.lanes().into_iter().map(one).collect()
    }

    /// Says a sentence in a chat, with the command that it speaks of. On disk when this returns.
    ///
    /// Errors: why it is not said.
    pub fn tell(&self, chat: &Chat, sentence: &str, command: &str) -> Result<(), String> {
        let mut lanes = self.lanes().into_iter();
        let found = lanes.find(|(name, _)| name.as_str() == chat.gateway);
        let (_, lanes) = found.ok_or_else(|| format!("there is no gateway {}", chat.gateway))?;
        let said = Announcement {
            key: None,
            markdown: with_command(sentence, command),
            reply_to: None,
        };
        lanes.post(chat, said).map_err(|error| error.to_string())
    }

    /// Forgets what chats never get; how much that was.
    ///
    /// Errors: it cannot be removed.
    pub fn clear_aside(&self) -> Result<usize, OutboxError> {
        let lanes = self.lanes().into_iter();
        lanes.map(|(_, lanes)| lanes.clear_aside()).sum()
    }

    /// Takes nothing more in from platforms that keep it for us. Programs go on, and are refused.
    pub fn close(&self) {
        #[cfg(feature = "telegram")]
        {
            let take = |one: &mut RunningGateway| match &mut one.way {
                PlatformWay::Program(_) => None,
                PlatformWay::Telegram { polling, .. } => polling.take(),
            };
            let polling: Vec<TelegramPolling> =
                lock(&self.all).iter_mut().filter_map(take).collect();
            drop(polling);
        }
    }

    /// Ends all of them. What was not sent is sent after the next start.
    pub fn stop(&self) {
        self.close();
        let mut all = mem::take(&mut *lock(&self.all));
        for gateway in &mut all {
            gateway.stop.stop();
            match &mut gateway.way {
                PlatformWay::Program(plugin) => plugin.stop(),
                #[cfg(feature = "telegram")]
                PlatformWay::Telegram { .. } => {}
            }
        }
        #[cfg(feature = "telegram")]
        hang_up(&all, Instant::now() + SENDING_ENDS);
        // Their programs end side by side; each is waited for here.
        drop(all);
    }

    fn find<T>(&self, name: &str, ask: impl FnOnce(&RunningGateway) -> T) -> Option<T> {
        let all = lock(&self.all);
        all.iter().find(|one| one.name.as_str() == name).map(ask)
    }

    fn lanes(&self) -> Vec<(GatewayName, Arc<LaneStore>)> {
        let all = lock(&self.all);
        let lanes = all
            .iter()
            .map(|one| (one.name.clone(), Arc::clone(&one.lanes)));
        lanes.collect()
    }
}

/// What the chats of a gateway lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayOutbox {
    /// The gateway.
    pub name: GatewayName,
    /// What waits for the platform.
    pub waiting: Vec<WaitingChat>,
    /// What was given up.
    pub aside: Vec<SetAside>,
}

impl RunningGateway {
    fn status(&self) -> GatewayStatus {
        let status = self.way_status();
        match self.sending.trouble() {
            Some(trouble) if status.state == "ready" => GatewayStatus {
                state: "trouble",
                detail: Some(trouble),
                ..status
            },
            _ => status,
        }
    }

    fn way_status(&self) -> GatewayStatus {
        match &self.way {
            PlatformWay::Program(plugin) => {
                let status = plugin.state().status();
                GatewayStatus {
                    name: self.name.clone(),
                    kind: "external",
                    state: status.state,
                    detail: status.detail,
                    version: Some(status.version).filter(|version| !version.is_empty()),
                    last_event: status.last_event,
                    auth: status.auth,
                    starts: Some(status.starts),
                }
            }
            #[cfg(feature = "telegram")]
            PlatformWay::Telegram { health, .. } => {
                let trouble = health.trouble();
                GatewayStatus {
                    name: self.name.clone(),
                    kind: "telegram",
                    state: if trouble.is_some() {
                        "trouble"
                    } else {
                        "ready"
                    },
                    detail: trouble,
                    version: None,
                    last_event: health.heard_at(),
                    auth: None,
                    starts: None,
                }
            }
        }
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        self.stop.stop();
        // Before its way to the platform ends.
        drop(self.sender.take());
    }
}

/// Ends what is still being sent to Telegram at the deadline: it may be sent again after the next start.
#[cfg(feature = "telegram")]
fn hang_up(all: &[RunningGateway], deadline: Instant) {
    for gateway in all {
        if let PlatformWay::Telegram { bot, .. } = &gateway.way {
            let sends = || gateway.sender.as_ref().is_some_and(|it| !it.is_finished());
            while sends() && Instant::now() < deadline {
                std::thread::sleep(SENDING_GLANCE);
            }
            bot.hang_up();
        }
    }
}

fn prepare(name: &GatewayName, parts: &GatewayParts, names: &Arc<ChatNames>) -> PreparedGateway {
    let (sender, inbox) = sender_channel();
    let (documents, clock) = (Arc::clone(&parts.documents), Arc::clone(&parts.clock));
    let lanes = LaneStore::new(name.clone(), documents, clock, sender.clone());
    PreparedGateway {
        name: name.clone(),
        lanes: Arc::new(lanes),
        chat_names: Arc::clone(names),
        sender,
        inbox,
    }
}

/// Starts what sends for a gateway.
fn start_sender(
    thread: String,
    prepared: PreparedGateway,
    outlet: Box<dyn Outlet>,
    parts: &GatewayParts,
    way: impl FnOnce() -> io::Result<PlatformWay>,
) -> io::Result<RunningGateway> {
    let (stop, stopped) = stop::pair();
    let PreparedGateway {
        name,
        lanes,
        chat_names,
        sender,
        inbox,
    } = prepared;
    let sending = GatewayHealth::default();
    // Before the thread, which ends by a stop: without it nobody would wait for the thread for ever.
    let way = way()?;
    let thread = spawn_sender(
        thread,
        SenderParts {
            lanes: Arc::clone(&lanes),
            chat_names,
            outlet,
            sessions: parts.sessions.clone(),
            host: Arc::clone(&parts.host),
            news: sender,
            inbox,
            health: sending.clone(),
            stop: stopped,
        },
    )?;
    Ok(RunningGateway {
        name,
        lanes,
        way,
        sending,
        stop,
        sender: Some(thread),
    })
}

fn start_plugin(
    settings: &PluginSettings,
    prepared: PreparedGateway,
    parts: &GatewayParts,
    inlet: &Arc<dyn Inlet>,
) -> Result<RunningGateway, GatewayStartError> {
    let state = Arc::new(PluginState::new(Arc::clone(&parts.clock)));
    let outlet = Box::new(PluginOutlet::new(Arc::clone(&state)));
    let plugin = PluginParts {
        settings: settings.clone(),
        times: PluginTimes::default(),
        inlet: Arc::clone(inlet),
        sender: prepared.sender.clone(),
        set_aside: SetAsideLog::new(Arc::clone(&parts.documents), &settings.name),
        state,
    };
    let way = || Plugin::start(plugin).map(PlatformWay::Program);
    Ok(start_sender(
        out_thread_name(settings),
        prepared,
        outlet,
        parts,
        way,
    )?)
}

fn out_thread_name(settings: &PluginSettings) -> String {
    format!("gw-out-{}", settings.name)
}

#[cfg(feature = "telegram")]
fn start_telegram(
    settings: &TelegramSettings,
    prepared: PreparedGateway,
    parts: &GatewayParts,
    inlet: &Arc<dyn Inlet>,
) -> Result<RunningGateway, GatewayStartError> {
    let bot = TelegramBot::new(settings.clone());
    let outlet = bot.outlet();
    let health = GatewayHealth::default();
    let way = || {
        let documents = Arc::clone(&parts.documents);
        let polling = bot.poll(Arc::clone(inlet), documents, health.clone())?;
        Ok(PlatformWay::Telegram {
            bot,
            polling: Some(polling),
            health,
        })
    };
    let name = "tg-send".to_owned();
    Ok(start_sender(name, prepared, outlet, parts, way)?)
}

#[cfg(not(feature = "telegram"))]
fn start_telegram(
    settings: &TelegramSettings,
    _: PreparedGateway,
    _: &GatewayParts,
    _: &Arc<dyn Inlet>,
) -> Result<RunningGateway, GatewayStartError> {
    Err(GatewayStartError::WithoutTelegram(settings.name.clone()))
}
