//! `duragent serve`: the whole program, from its configuration to its orderly end.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, bounded, select_biased};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::agents::AgentDirectory;
use crate::base::child;
use crate::base::clock::SystemClock;
use crate::base::fs::{FaultFs, Fs, RealFs};
use crate::base::plural::{agreeing, counted};
use crate::base::signals::{self, Blocked, Received};
use crate::base::stop::{self, Stop};
use crate::base::thread::{self, Joined, STACK_WORK};
use crate::config::{self, Config, LocalUsers, ServerConfig};
use crate::domain::redact::Redactor;
use crate::domain::secret::Secret;
use crate::domain::spec::LimitsSpec;
use crate::domain::time::Timestamp;
use crate::engine::{EngineSettings, Lifetimes, Parts, Recovery, Sessions};
use crate::http::access::{self, AccessSettings, AccessToken};
use crate::http::api::Api;
use crate::http::context::{ApiContext, ApiHost as _, ApiSettings};
use crate::http::front::{self, Back, Front, FrontSettings};
use crate::http::gate::GateLimits;
use crate::http::ticket::TicketKey;
use crate::llm::providers::{ProviderSettings, Providers};
use crate::policy::Policies;
use crate::runtime::host::{ServerHost, warn_of_danger};
use crate::runtime::logging;
use crate::runtime::options::{self, Resume, ServeOptions};
use crate::runtime::rest::Rest;
use crate::runtime::secrets;
use crate::runtime::service_manager::ServiceManager;
use crate::runtime::signals::{StopRequests, has_terminal};
use crate::runtime::ticket_key;
use crate::runtime::watchdog::Watchdog;
use crate::store::{SessionStore, lock};
use crate::tools::program_tools::ProgramTools;
use crate::tools::programs::Programs;
use crate::trust::WorkspaceTrust;
use crate::workspace::arrivals::Arrivals;
use crate::workspace::consent;
use crate::workspace::holder::{self, Starter};
use crate::workspace::loaded::{LoadedAgents, read_agents};
use crate::workspace::policy_files;
use crate::workspace::programs;
use crate::workspace::providers;
use crate::workspace::remarks::Remarks;
use crate::workspace::starts::{LOOP_STARTS, LOOP_WITHIN, Starts};
use crate::workspace::storage;
use crate::workspace::tool_parts::ToolParts;
use crate::workspace::trust::{self, Standing, Surveyor, Workspace};

/// How long streams and waiting answers may take to end once they were told.
const STREAMS_END: Duration = Duration::from_secs(5);
/// How long clients may take to read the answers that were sent by then.
const CLIENTS_END: Duration = Duration::from_secs(3);

/// Runs the server until a signal or a client asks it to stop.
///
/// Errors: the configuration is wrong, another server has the workspace, or the system refuses
/// what is needed.
pub fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    serve_on(options, Arc::new(RealFs))
}

/// How the disk of [`serve_faulty`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFaultPlan {
    /// Decides which operations fail, and how.
    pub seed: u64,
    /// One in so many changing operations fails.
    pub one_in: u32,
}

/// As [`serve`], with sessions on a disk that fails at random: for `duragent torture`.
pub fn serve_faulty(options: &ServeOptions, plan: DiskFaultPlan) -> anyhow::Result<()> {
    let faulty = FaultFs::random(Arc::new(RealFs), plan.seed, plan.one_in);
    serve_on(options, Arc::new(faulty))
}

fn serve_on(options: &ServeOptions, fs: Arc<dyn Fs>) -> anyhow::Result<()> {
    hide_memory().context("cannot hide the memory from other programs")?;
    let has_terminal = has_terminal();
    let signals = signals::block().context("cannot block signals")?;
    let (config, warnings) = options::load(options)?;
    let environment = |name: &str| std::env::var(name).ok();
    let (settings, of_keys) = providers::settings(&config, environment);
    let redactor = Arc::new(secrets::redactor(&config, &settings, variables()));
    let log_file = logging::start(&config.logging, Arc::clone(&redactor))?;
    logging::take_panics();
    for warning in warnings {
        log::warn!("{warning}");
    }
    for warning in of_keys {
        log::warn!("{warning}");
    }
    let (stop_requests, asked_rx) = StopRequests::new();
    stop_requests.ask_on_signals()?;
    // One request is as good as many.
    let (hangup_tx, hangup_rx) = bounded(1);
    let at_hangup = if has_terminal { None } else { Some(hangup_tx) };
    hear(signals, stop_requests.clone(), at_hangup)?;
    front::refuse_too_few_files()?;
    let lock = holder::take(&config.workspace, &config.sessions_dir)?;
    let listener = bind(&config.server, options.starter)?;
    let address = listener.local_addr().context("cannot tell the address")?;
    // After the port: a start that fails for want of one took nothing up, and is no crash.
    if !Starts::any(&config.workspace) {
        trust::note_new_workspace(&config.workspace);
    }
    let mut starts = Starts::begin(&config.workspace, now());
    let recovery = recovery(options.resume, &starts);
    let means = Means {
        fs,
        listener,
        stop_requests,
        redactor,
        settings,
    };
    let started = RunningServer::start(&config, means, &starts, recovery);
    if started.is_err() {
        // It touched no session: not a start that anything died of.
        starts.end(now());
    }
    let running = started?;
    // Before clients find it: whoever finds a server finds that it was agreed to.
    consent::record(&config);
    lock.set_address(&address, options.starter)?;
    let manager = ServiceManager::from_env();
    let watchdog = Watchdog::start(&manager, address).context("cannot start the watchdog")?;
    let status = format!("listening on http://{address}");
    log::info!("{status}");
    manager.ready(&status);
    let mut rest = Rest::new(options.ends_after);
    let looks = rest.looks();
    let mut is_over = false;
    loop {
        match wait(&asked_rx, &hangup_rx, &looks) {
            MainEvent::Stop => break,
            MainEvent::Reload => {
                manager.reloading();
                log_file.reopen();
                running.reload();
                manager.ready(&status);
            }
            MainEvent::Look => {
                is_over |= rest.is_over(running.is_at_rest(), running.front.wakes());
                if is_over && running.is_done() {
                    log::info!("nobody was here and nothing was to be done, as --ephemeral says");
                    break;
                }
            }
        }
    }
    log::info!("shutting down");
    manager.stopping();
    drop(watchdog);
    running.stop(config.server.shutdown_grace);
    starts.end(now());
    log::info!("stopped");
    Ok(())
}

/// Keeps other programs of this user from reading this process's memory and environment, where the
/// keys are, and the system from writing them into a core file.
///
/// Source: PR_SET_DUMPABLE(2const), ptrace(2).
fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Deals with the signals that are blocked: reaps what programs of tools left behind, and stops when
/// the terminal is gone. Where there is none to lose, a hangup goes to `at_hangup`.
fn hear(
    signals: Blocked,
    stop_requests: StopRequests,
    at_hangup: Option<Sender<()>>,
) -> anyhow::Result<()> {
    child::adopt().context("cannot adopt what programs leave behind")?;
    let hear = move |received| match received {
        Received::Hangup => match &at_hangup {
            // Full: somebody has asked already.
            Some(hangup_tx) => drop(hangup_tx.try_send(())),
            None => stop_requests.ask(),
        },
        Received::ChildEnded => child::reap(),
    };
    signals.listen(hear).context("cannot listen for signals")
}

/// The environment; what is not text can't stand in one.
fn variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// The ends of the outside world that the parts are built on, beside the configuration.
struct Means {
    fs: Arc<dyn Fs>,
    listener: TcpListener,
    stop_requests: StopRequests,
    redactor: Arc<Redactor>,
    settings: ProviderSettings,
}

/// The program without its surface: the engine, its parts, and what is known of the workspace.
struct Core {
    standing: Standing,
    remarks: Arc<Remarks>,
    agents: Arc<AgentDirectory>,
    policies: Arc<Policies>,
    store: Arc<dyn SessionStore>,
    programs: Arc<Programs>,
    sessions: Sessions,
    providers: ProviderSettings,
    arrivals: Arrivals,
    tickets: TicketKey,
}

impl Core {
    fn start(
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
        let tool_parts = ToolParts::new(config, fs, Arc::clone(&store))?;
        let programs = Arc::clone(&tool_parts.programs);
        let program_tools = ProgramTools::new(Arc::clone(&programs), config.workspace.clone());
        programs::say_sandbox(&programs);
        if let Some(origin) = tool_parts.web.unencrypted() {
            log::warn!("BRAVE_API_KEY goes to {origin} unencrypted, as BRAVE_BASE_URL says");
        }
        let loaded = LoadedAgents::new(Arc::clone(&agents), Arc::clone(&policies), tool_parts);
        let remarks = Arc::new(Remarks {
            directory: Arc::clone(&agents),
            agents: Arc::clone(&loaded),
            policies: Arc::clone(&policies),
            programs: program_tools,
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
                max_active: config.sessions.max_active,
                min_free_bytes: config.server.min_free_bytes,
                previous_stop_was_clean: starts.previous_stop_was_clean(),
                lifetimes: lifetimes(&config.sessions),
                workdirs: programs::workdir_rules(config),
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

    /// The program, as the API sees it.
    fn program(
        &self,
        config: &Config,
        stop_requests: StopRequests,
        recovery: Recovery,
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
        }))
    }

    /// The API over the engine; `stop` ends its streams.
    fn api(&self, config: &Config, program: Arc<ServerHost>, stop: Stop) -> Arc<Api> {
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

/// Everything that runs, until it is stopped.
struct RunningServer {
    front: Front,
    api: Arc<Api>,
    program: Arc<ServerHost>,
    sessions: Sessions,
    streams: stop::StopSource,
    scan: Joined,
    policies: Arc<Policies>,
}

impl RunningServer {
    fn start(
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
        let program = core.program(config, means.stop_requests, recovery)?;
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
        let scan = start_scan(core, recovery, config.workspace.clone(), streams_stop)?;
        Ok(RunningServer {
            front,
            api,
            program,
            sessions,
            streams,
            scan,
            policies,
        })
    }

    /// Reads agents and policies again, as `POST /api/admin/v1/reload-agents` does.
    fn reload(&self) {
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

    /// Nobody is there, nothing is done, and nothing will be due by itself: `--ephemeral` may end it.
    fn is_at_rest(&self) -> bool {
        self.front.open_connections() == 0
            && self.scan.is_finished()
            && self.sessions.is_at_rest()
            && !self.policies.is_telling()
    }

    /// Lets nobody in any more; whether the turns are done of what came in by then. A message that came
    /// in after the last look would else be stored, and wait for a next start that nobody may mean to make.
    fn is_done(&self) -> bool {
        // Whoever is only looking on then is sent away, as by any stop.
        self.front.finish(CLIENTS_END);
        !self.sessions.is_working()
    }

    /// From the sources inwards: each step leaves nothing that feeds the next.
    fn stop(mut self, grace: Duration) {
        self.sessions.drain();
        self.front.drain();
        self.streams.stop();
        self.api.close();
        drop(self.scan);
        self.sessions.stop(grace);
        // No tool starts any more that somebody is to be told of.
        self.policies.stop();
        self.api.join(STREAMS_END);
        if !self.front.finish(CLIENTS_END) {
            log::info!("clients that have not read their answers are cut off");
        }
        self.front.stop();
    }
}

fn bind(server: &ServerConfig, starter: Starter) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(server.host, server.port);
    let bound = match TcpListener::bind(address) {
        Err(error) if starter == Starter::Client && error.kind() == ErrorKind::AddrInUse => {
            log::info!("{address} is taken: any free port will do");
            TcpListener::bind((server.host, 0))
        }
        other => other,
    };
    bound.with_context(|| format!("cannot listen on {address}"))
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

fn load_agents(config: &Config, trust: &Arc<WorkspaceTrust>) -> Arc<AgentDirectory> {
    let agents = read_agents(config, trust);
    for problem in agents.problems() {
        if problem.is_error() {
            log::error!("{problem}");
        } else {
            log::warn!("{problem}");
        }
    }
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

/// Decides whether unfinished turns are taken up, and says so if they are not.
fn recovery(resume: Resume, starts: &Starts) -> Recovery {
    match resume {
        Resume::Always => Recovery::TakeUp,
        Resume::Never => {
            log::info!("unfinished turns are left waiting, as --resume never says");
            Recovery::LeaveWaiting
        }
        Resume::Auto if starts.is_crash_loop() => {
            let minutes = LOOP_WITHIN.as_secs() / 60;
            log::warn!(
                "the server crashed {LOOP_STARTS} times in {minutes} minutes: unfinished turns are \
                 left waiting until a client attaches; `duragent serve --resume always` takes them up"
            );
            Recovery::LeaveWaiting
        }
        Resume::Auto => Recovery::TakeUp,
    }
}

fn lifetimes(sessions: &config::SessionsConfig) -> Lifetimes {
    let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
    Lifetimes {
        idle: sessions.ttl_hours.map(hours),
        ended: sessions.delete_after_hours.map(hours),
    }
}

/// Looks for what the process before this one left unfinished, and for sessions that are due, while
/// the server answers already.
fn start_scan(
    core: Core,
    recovery: Recovery,
    workspace: PathBuf,
    stop: Stop,
) -> anyhow::Result<Joined> {
    let Core {
        store,
        sessions,
        agents,
        arrivals,
        remarks,
        ..
    } = core;
    thread::spawn("scan", STACK_WORK, move || {
        // First: what came from elsewhere must not be taken up.
        adopt(&sessions, arrivals, &stop);
        if let Err(error) = store.finish_deletions() {
            log::warn!("leftovers of deleted sessions stay: {error}");
        }
        match sessions.recover(recovery, || stop.is_stopped()) {
            Ok(0) => {}
            Ok(unfinished) => log::info!("{} found", counted(unfinished, "unfinished turn")),
            Err(error) => log::error!("unfinished turns are not found: {error}"),
        }
        remarks.look();
        let mut limited = agents.list();
        limited.retain(|agent| agent.limits != LimitsSpec::default());
        sessions.read_spending(limited.iter().map(|agent| agent.name.as_str()));
        // After the recovery: a turn that was just taken up is at work, and not idle.
        if let Err(error) = sessions.sweep(|| stop.is_stopped()) {
            log::warn!("idle sessions are not swept: {error}");
        }
        // Last: nobody waits for it.
        match front::remove_leftovers(Some(&workspace)) {
            0 => {}
            gone => log::info!(
                "{} of servers that were killed {} removed",
                counted(gone, "folder"),
                agreeing(gone, "is", "are")
            ),
        }
    })
    .context("cannot start the scan for unfinished turns")
}

/// Sees to it that nothing goes on by itself that this account did not begin.
fn adopt(sessions: &Sessions, arrivals: Arrivals, stop: &Stop) {
    let strangers = arrivals.strangers().len();
    if strangers > 0 {
        log::info!(
            "{} {} here before this account first served {}: what is unfinished in {} waits for a \
             message",
            counted(strangers, "session"),
            agreeing(strangers, "was", "were"),
            agreeing(strangers, "it", "them"),
            agreeing(strangers, "it", "them")
        );
    }
    arrivals.note_left(sessions.adopt_all(|| stop.is_stopped()));
}

/// The reasons for which the main thread wakes.
enum MainEvent {
    Stop,
    Reload,
    /// To see whether anybody needs it.
    Look,
}

/// An error means that nobody can ask any more: to stop is then as good as asked, and nothing else
/// ever will be.
fn wait(asked_rx: &Receiver<()>, hangup_rx: &Receiver<()>, looks: &Receiver<Instant>) -> MainEvent {
    select_biased! {
        recv(asked_rx) -> _ => MainEvent::Stop,
        recv(hangup_rx) -> hangup => {
            if hangup.is_err() {
                asked_rx.recv().ok();
                return MainEvent::Stop;
            }
            MainEvent::Reload
        }
        recv(looks) -> _ => MainEvent::Look,
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}
