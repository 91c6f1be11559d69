//! The program without its surface: its parts, built from the configuration and handed to the engine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;

use crate::agents::AgentDirectory;
use crate::base::clock::SystemClock;
use crate::base::fs::Fs;
use crate::base::plural::counted;
use crate::base::stop::Stop;
use crate::base::yaml::problem::Problem;
use crate::config::{Config, SessionsConfig};
use crate::domain::redact::Redactor;
use crate::engine::{EngineSettings, GrantKey, Lifetimes, Parts, Recovery, Sessions};
use crate::http::api::Api;
use crate::http::context::{ApiContext, ApiSettings};
use crate::http::ticket::TicketKey;
use crate::llm::providers::{ProviderSettings, Providers};
use crate::policy::Policies;
use crate::runtime::gateways::{self, Admissions, ServerGateways};
use crate::runtime::host::{ServerHost, warn_of_danger};
use crate::runtime::signals::StopRequests;
use crate::runtime::ticket_key;
use crate::store::{SessionStore, lock};
use crate::tools::program_tools::ProgramTools;
use crate::tools::programs::Programs;
use crate::trust::WorkspaceTrust;
use crate::workspace::arrivals::Arrivals;
use crate::workspace::gateway_remarks;
use crate::workspace::loaded::{LoadedAgents, read_agents};
use crate::workspace::policy_files;
use crate::workspace::programs;
use crate::workspace::remarks::Remarks;
use crate::workspace::starts::Starts;
use crate::workspace::storage;
use crate::workspace::tool_parts::ToolParts;
use crate::workspace::trust::{self, Standing, Surveyor, Workspace};

/// The program without its surface: the engine, its parts, and what is known of the workspace.
pub(super) struct Core {
    pub(super) standing: Standing,
    pub(super) remarks: Arc<Remarks>,
    pub(super) agents: Arc<AgentDirectory>,
    pub(super) policies: Arc<Policies>,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) programs: Arc<Programs>,
    pub(super) sessions: Sessions,
    pub(super) providers: ProviderSettings,
    pub(super) arrivals: Arrivals,
    pub(super) tickets: TicketKey,
}

impl Core {
    pub(super) fn start(
        config: &Config,
        fs: Arc<dyn Fs>,
        redactor: Arc<Redactor>,
        settings: ProviderSettings,
        starts: &Starts,
    ) -> anyhow::Result<Core> {
        let trust = load_trust(config)?;
        let agents = load_agents(config, &trust);
        let policies = load_policies(config, &agents, &trust);
        let store = storage::sessions(Arc::clone(&fs), &config.workspace, &config.sessions_dir);
        let mut arrivals = Arrivals::look(&config.workspace, &config.sessions_dir, &*store)?;
        let (tickets, checksum) =
            ticket_key::of_workspace(&*store.documents(), arrivals.ticket_key())
                .context("cannot make the key of the tickets")?;
        arrivals.note_ticket_key(checksum);
        let grant_secret = arrivals.grant_secret();
        let grant_secret =
            grant_secret.context("cannot make the key of what is allowed for sessions")?;
        let tool_parts = load_tool_parts(config, fs, &store)?;
        let programs = Arc::clone(&tool_parts.programs);
        let loaded = LoadedAgents::new(Arc::clone(&agents), Arc::clone(&policies), tool_parts);
        let remarks = Arc::new(Remarks {
            directory: Arc::clone(&agents),
            agents: Arc::clone(&loaded),
            policies: Arc::clone(&policies),
            programs: ProgramTools::new(Arc::clone(&programs), config.workspace.clone()),
            workspace: config.workspace.clone(),
            trust: Arc::clone(&trust),
            long_prompts: Mutex::default(),
        });
        let sessions = Sessions::start(Parts {
            store: Arc::clone(&store),
            agents: loaded,
            models: Arc::new(Providers::new(settings.clone())),
            clock: Arc::new(SystemClock),
            redactor,
            settings: EngineSettings {
                grant_key: GrantKey::new(&grant_secret),
                ..engine_settings(config, starts)
            },
        });
        let sessions = sessions.context("cannot start the engine")?;
        sessions.distrust(arrivals.strangers().iter().cloned());
        Ok(Core {
            standing: Standing::new(Surveyor::new(&Workspace::of(config), trust)),
            remarks,
            agents,
            policies,
            store,
            programs,
            sessions,
            providers: settings,
            arrivals,
            tickets,
        })
    }

    /// Starts the gateways.
    pub(super) fn gateways(&self, config: &Config) -> anyhow::Result<ServerGateways> {
        let trust = &self.remarks.trust;
        say(&gateway_remarks::look(config, &self.agents.list(), trust));
        let admissions = Admissions {
            agents: Arc::clone(&self.agents),
            trust: Arc::clone(&self.remarks.trust),
        };
        let documents = self.store.documents();
        let gateways = gateways::start(config, admissions, self.sessions.clone(), documents)?;
        self.policies.set_chats(Arc::new(gateways.clone()));
        Ok(gateways)
    }

    /// The program, as the API sees it.
    pub(super) fn program(
        &self,
        config: &Config,
        stop_requests: StopRequests,
        recovery: Recovery,
        gateways: ServerGateways,
    ) -> anyhow::Result<Arc<ServerHost>> {
        let hash = lock::workspace_hash(&config.workspace).context("cannot name the workspace")?;
        Ok(Arc::new(ServerHost {
            agents: Arc::clone(&self.agents),
            policies: Arc::clone(&self.policies),
            standing: self.standing.clone(),
            remarks: Arc::clone(&self.remarks),
            sessions: self.sessions.clone(),
            stop: stop_requests,
            workspace: config.workspace.clone(),
            sandbox: self.programs.sandbox_name(),
            providers: self.providers.clone(),
            are_turns_waiting: recovery == Recovery::LeaveWaiting,
            workspace_hash: hash,
            gateways,
        }))
    }

    /// The API over the engine; `stop` ends its streams.
    pub(super) fn api(&self, config: &Config, program: Arc<ServerHost>, stop: Stop) -> Arc<Api> {
        Arc::new(Api::new(ApiContext {
            sessions: self.sessions.clone(),
            host: program,
            settings: ApiSettings {
                request_timeout: config.server.request_timeout,
                keep_alive_interval: config.server.keep_alive_interval,
            },
            tickets: self.tickets.clone(),
            stop,
        }))
    }
}

/// The trust of the workspace, which has an identifier by now.
fn load_trust(config: &Config) -> anyhow::Result<Arc<WorkspaceTrust>> {
    lock::workspace_hash(&config.workspace).context("cannot name the workspace")?;
    let (trust, problems) = trust::of_workspace(&Workspace::of(config));
    for problem in problems {
        log::error!("{problem}");
    }
    if let Err(error) = trust.store().read() {
        log::error!("no agent is trusted: {:#}", anyhow::Error::new(error));
    }
    Ok(trust)
}

fn say(problems: &[Problem]) {
    for problem in problems {
        if problem.is_error() {
            log::error!("{problem}");
        } else {
            log::warn!("{problem}");
        }
    }
}

fn load_agents(config: &Config, trust: &Arc<WorkspaceTrust>) -> Arc<AgentDirectory> {
    let agents = read_agents(config, trust);
    say(&agents.problems());
    log::info!(
        "{} in {}",
        counted(agents.list().len(), "agent"),
        config.agents_dir.display()
    );
    Arc::new(agents)
}

/// Reads the policies, so that mistakes in them are told now and not with the first call.
fn load_policies(
    config: &Config,
    agents: &AgentDirectory,
    trust: &Arc<WorkspaceTrust>,
) -> Arc<Policies> {
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    let policies = policy_files::policies(&config.workspace, environment, Arc::clone(trust));
    policies.reload(&agents.list());
    warn_of_danger(&policies);
    Arc::new(policies)
}

/// What tools need, and in the log what is to be known of it.
fn load_tool_parts(
    config: &Config,
    fs: Arc<dyn Fs>,
    store: &Arc<dyn SessionStore>,
) -> anyhow::Result<ToolParts> {
    let parts = ToolParts::new(config, fs, Arc::clone(store))?;
    programs::say_sandbox(&parts.programs);
    if let Some(origin) = parts.web.unencrypted() {
        log::warn!("BRAVE_API_KEY goes to {origin} unencrypted, as BRAVE_BASE_URL says");
    }
    Ok(parts)
}

fn engine_settings(config: &Config, starts: &Starts) -> EngineSettings {
    EngineSettings {
        max_active: config.sessions.max_active,
        reply_bytes: config.limits.reply_bytes,
        min_free_bytes: config.server.min_free_bytes,
        previous_stop_was_clean: starts.previous_stop_was_clean(),
        lifetimes: lifetimes(&config.sessions),
        workdirs: programs::workdir_rules(config),
        prices: config.prices.clone(),
        grant_key: GrantKey::default(),
    }
}

fn lifetimes(sessions: &SessionsConfig) -> Lifetimes {
    let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
    Lifetimes {
        idle: sessions.ttl_hours.map(hours),
        ended: sessions.delete_after_hours.map(hours),
    }
}
