//! `duragent serve`: the whole program, from its configuration to its orderly end.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::base::fs::{FaultFs, Fs, RealFs};
use crate::base::os;
use crate::base::signals;
use crate::base::tls;
use crate::config::{Config, ServerConfig};
use crate::domain::redact::Redactor;
use crate::domain::time::Timestamp;
use crate::engine::Recovery;
use crate::http::front;
use crate::llm::providers::ProviderSettings;
use crate::runtime::inbox::{MainEvent, MainInbox};
use crate::runtime::logging::{self, LogFile};
use crate::runtime::options::{self, Resume, ServeOptions};
use crate::runtime::rest::Rest;
use crate::runtime::running::{Means, RunningServer};
use crate::runtime::secrets;
use crate::runtime::service_manager::ServiceManager;
use crate::runtime::signals::has_terminal;
use crate::runtime::watchdog::Watchdog;
use crate::workspace::consent;
use crate::workspace::holder::{self, Starter};
use crate::workspace::providers;
use crate::workspace::starts::{LOOP_STARTS, LOOP_WITHIN, Starts};
use crate::workspace::trust;

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
    os::bound_heap();
    hide_memory().context("cannot hide the memory from other programs")?;
    let has_terminal = has_terminal();
    let signals = signals::block().context("cannot block signals")?;
    let Configured {
        config,
        settings,
        redactor,
        log_file,
    } = configure(options)?;
    let inbox = MainInbox::open(signals, has_terminal)?;
    front::refuse_too_few_files()?;
    let lock = holder::take(&config.workspace, &config.sessions_dir)?;
    let listener = bind(&config.server, options.starter)?;
    let address = listener.local_addr().context("cannot tell the address")?;
    // After the port: a start that fails for want of one took nothing up, and is no crash.
    let mut starts = begin(&config.workspace);
    let means = Means {
        fs,
        listener,
        stop_requests: inbox.stop_requests.clone(),
        redactor,
        settings,
    };
    let running = start(&config, means, &mut starts, options.resume)?;
    // Before clients find it: whoever finds a server finds that it was agreed to.
    consent::record(&config);
    lock.set_address(&address, options.starter)?;
    let manager = ServiceManager::from_env();
    let watchdog = Watchdog::start(&manager, address).context("cannot start the watchdog")?;
    let status = format!("listening on http://{address}");
    log::info!("{status}");
    manager.ready(&status);
    wait_for_end(&running, &inbox, options.ends_after, || {
        manager.reloading();
        log_file.reopen();
        running.reload();
        manager.ready(&status);
    });
    log::info!("shutting down");
    manager.stopping();
    drop(watchdog);
    running.stop(config.server.shutdown_grace);
    starts.end(now());
    log::info!("stopped");
    Ok(())
}

/// What was read before anything is touched, and the log that says what is wrong with it.
struct Configured {
    config: Config,
    settings: ProviderSettings,
    redactor: Arc<Redactor>,
    log_file: LogFile,
}

fn configure(options: &ServeOptions) -> anyhow::Result<Configured> {
    let (config, warnings) = options::load(options)?;
    let environment = |name: &str| std::env::var(name).ok();
    let (settings, of_keys) = providers::settings_with_commands(&config, environment);
    let redactor = Arc::new(secrets::redactor(&config, &settings, variables()));
    let log_file = logging::start(&config.logging, Arc::clone(&redactor))?;
    logging::take_panics();
    for warning in warnings {
        log::warn!("{warning}");
    }
    for warning in of_keys.iter().chain(tls::remarks()) {
        log::warn!("{warning}");
    }
    Ok(Configured {
        config,
        settings,
        redactor,
        log_file,
    })
}

/// Keeps other programs of this user from reading this process's memory and environment, where the
/// keys are, and the system from writing them into a core file.
///
/// Source: PR_SET_DUMPABLE(2const), ptrace(2).
fn hide_memory() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The environment; what is not text can't stand in one.
fn variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

fn bind(server: &ServerConfig, starter: Starter) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::new(server.host, server.port);
    let bound = match front::listen(address) {
        Err(error) if starter == Starter::Client && error.kind() == ErrorKind::AddrInUse => {
            log::info!("{address} is taken: any free port will do");
            front::listen(SocketAddr::new(server.host, 0))
        }
        other => other,
    };
    bound.with_context(|| format!("cannot listen on {address}"))
}

/// Writes down that this workspace is served from now on.
fn begin(workspace: &Path) -> Starts {
    if !Starts::any(workspace) {
        trust::note_new_workspace(workspace);
    }
    Starts::begin(workspace, now())
}

fn start(
    config: &Config,
    means: Means,
    starts: &mut Starts,
    resume: Resume,
) -> anyhow::Result<RunningServer> {
    let recovery = recovery(resume, starts);
    let started = RunningServer::start(config, means, starts, recovery);
    if started.is_err() {
        // It touched no session: not a start that anything died of.
        starts.end(now());
    }
    started
}

/// Returns once somebody asks for the stop, or nobody needs the server any more.
fn wait_for_end(
    running: &RunningServer,
    inbox: &MainInbox,
    ends_after: Option<Duration>,
    reload: impl Fn(),
) {
    let mut rest = Rest::new(ends_after);
    let looks = rest.looks();
    let mut is_over = false;
    loop {
        match inbox.next(&looks) {
            MainEvent::Stop => return,
            MainEvent::Reload => reload(),
            MainEvent::Look => {
                is_over |= rest.is_over(running.is_at_rest(), running.wakes());
                if is_over && running.is_done() {
                    log::info!("nobody was here and nothing was to be done, as --ephemeral says");
                    return;
                }
            }
        }
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

fn now() -> Timestamp {
    SystemTime::now().into()
}
