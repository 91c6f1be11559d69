//! Everything that runs, until it is stopped.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::base::fs::Fs;
use crate::base::plural::counted;
use crate::base::stop;
use crate::base::thread::Joined;
use crate::config::{Config, LocalUsers, ServerConfig};
use crate::domain::redact::Redactor;
use crate::domain::secret::Secret;
use crate::engine::{Recovery, Sessions};
use crate::gateway::gateways::Gateways;
use crate::http::access::{self, AccessSettings, AccessToken};
use crate::http::api::Api;
use crate::http::context::ApiHost as _;
use crate::http::front::{Back, Front, FrontSettings};
use crate::http::gate::GateLimits;
use crate::http::ticket::TicketKey;
use crate::llm::providers::ProviderSettings;
use crate::policy::Policies;
use crate::runtime::core::Core;
use crate::runtime::host::ServerHost;
use crate::runtime::scan;
use crate::runtime::signals::StopRequests;
use crate::workspace::starts::Starts;

/// How long streams and waiting answers may take to end once they were told.
const STREAMS_END: Duration = Duration::from_secs(5);
/// How long clients may take to read the answers that were sent by then.
const CLIENTS_END: Duration = Duration::from_secs(3);

/// The ends of the outside world that the parts are built on, beside the configuration.
pub(super) struct Means {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) listener: TcpListener,
    pub(super) stop_requests: StopRequests,
    pub(super) redactor: Arc<Redactor>,
    pub(super) settings: ProviderSettings,
}

/// Everything that runs, until it is stopped.
pub(super) struct RunningServer {
    front: Front,
    api: Arc<Api>,
    program: Arc<ServerHost>,
    sessions: Sessions,
    gateways: Arc<Gateways>,
    streams: stop::StopSource,
    scan: Joined,
    policies: Arc<Policies>,
}

impl RunningServer {
    pub(super) fn start(
        config: &Config,
        means: Means,
        starts: &Starts,
        recovery: Recovery,
    ) -> anyhow::Result<RunningServer> {
        let no_server = "cannot start the HTTP server";
        // First, so that its threads start while the agents are read.
        let back = Back::start(Some(&config.workspace)).context(no_server)?;
        let core = Core::start(config, means.fs, means.redactor, means.settings, starts)?;
        let (streams, streams_stop) = stop::pair();
        // Before turns are taken up that their chats are to see.
        let gateways = core.gateways(config)?;
        let program = core.program(config, means.stop_requests, recovery, gateways.clone())?;
        let api = core.api(config, Arc::clone(&program), streams_stop.clone());
        let handler = Arc::clone(&api) as _;
        let front = Front::start(
            front_settings(&config.server, core.tickets.clone()),
            back,
            means.listener,
            handler,
        )
        .context(no_server)?;
        let (sessions, policies) = (core.sessions.clone(), Arc::clone(&core.policies));
        let scan = scan::start(core, recovery, config.workspace.clone(), streams_stop)?;
        Ok(RunningServer {
            front,
            api,
            program,
            sessions,
            gateways: gateways.all,
            streams,
            scan,
            policies,
        })
    }

    /// Reads agents and policies again, as `POST /api/admin/v1/reload-agents` does.
    pub(super) fn reload(&self) {
        let report = self.program.reload_agents();
        for error in &report.errors {
            log::error!("{}: {}", error.file, error.message);
        }
        log::info!(
            "agents are read again: {} new, {} changed, {} gone, {}",
            report.added.len(),
            report.changed.len(),
            report.removed.len(),
            counted(report.errors.len(), "error")
        );
    }

    /// How often the gate has woken: a number that stays while nobody comes.
    pub(super) fn wakes(&self) -> u64 {
        self.front.wakes()
    }

    /// Nobody is there, nothing is done, and nothing will be due by itself: `--ephemeral` may end it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.front.open_connections() == 0
            && self.scan.is_finished()
            && self.sessions.is_at_rest()
            && !self.gateways.is_any()
            && !self.policies.is_telling()
    }

    /// Lets nobody in any more; whether the turns are done of what came in by then. A message that came
    /// in after the last look would else be stored, and wait for a next start that nobody may mean to make.
    pub(super) fn is_done(&self) -> bool {
        // Whoever is only looking on then is sent away, as by any stop.
        self.front.finish(CLIENTS_END);
        !self.sessions.is_working()
    }

    /// From the sources inwards: each step leaves nothing that feeds the next.
    pub(super) fn stop(mut self, grace: Duration) {
        self.gateways.close();
        self.sessions.drain();
        self.front.drain();
        self.streams.stop();
        self.api.close();
        drop(self.scan);
        self.sessions.stop(grace);
        // Chats have seen what came of the turns, or see it after the next start.
        self.gateways.stop();
        // No tool starts any more that somebody is to be told of.
        self.policies.stop();
        self.api.join(STREAMS_END);
        if !self.front.finish(CLIENTS_END) {
            log::info!("clients that have not read their answers are cut off");
        }
        self.front.stop();
    }
}

fn front_settings(server: &ServerConfig, tickets: TicketKey) -> FrontSettings {
    let token = |secret: &Secret| AccessToken::new(secret.reveal());
    FrontSettings {
        limits: GateLimits {
            connections_max: server.max_connections,
            ..GateLimits::with_body_max(server.max_body_bytes)
        },
        access: AccessSettings {
            api_token: server.api_token.as_ref().map(token),
            admin_token: server.admin_token.as_ref().map(token),
            local_users: match &server.local_users {
                LocalUsers::Any => access::LocalAccounts::Any,
                LocalUsers::OwnerAnd(uids) => access::LocalAccounts::owner_and(uids),
            },
            allowed_hosts: server.allowed_hosts.clone(),
            allowed_origins: server.allowed_origins.clone(),
            tickets: Some(tickets),
        },
        ..FrontSettings::default()
    }
}
