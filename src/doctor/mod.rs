//! `duragent doctor`: what could keep a server, or an agent of it, from working.
//!
//! Looks, and changes nothing. Where a server runs, it is asked for its own view: it has the
//! environment of whoever started it, which may differ from that of this process.

mod by_hand;
mod check;
mod files;
mod network;
mod rules;
mod server;
mod tools;
mod trial;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{Access, access};

pub use by_hand::{BY_HAND_KEYS, BY_HAND_UPGRADE};
pub use check::{Check, Health};

use crate::agents::{self, AgentDirectory};
use crate::base::fs::{Fs as _, RealFs};
use crate::base::yaml::problem::Problem;
use crate::config::{self, Config, ConfigSource, DEFAULT_FILE, Overrides, SandboxMode};
use crate::domain::prices::Prices;
use crate::domain::spec::{AgentSpec, ModelChoice, Provider};
use crate::domain::time::Timestamp;
use crate::engine::long_prompt;
use crate::llm::providers::ProviderSettings;
use crate::tools::program_tools::ProgramTools;
use crate::tools::programs::SandboxTrialError;
use crate::tools::web;
use crate::trust::WorkspaceTrust;
use crate::wire::AgentListBody;
use crate::workspace::gateway_remarks;
use crate::workspace::loaded::loaded_agents;
use crate::workspace::programs::programs;
use crate::workspace::providers;
use crate::workspace::sessions::SessionFiles;
use crate::workspace::trust::{self, Surveyor, Workspace};

use self::check::environment;
use self::tools::is_on_path;

/// Looks at everything. Where the configuration is wrong, what depends on it is not looked at.
pub fn examine(origin: &ConfigSource, flags: &Overrides, token: Option<&str>) -> Vec<Check> {
    let mut checks = config_checks(origin);
    let config = match Config::load(origin, flags, &environment) {
        Ok(loaded) => loaded.config,
        Err(error) => {
            if !checks.iter().any(|check| check.status == Health::Error) {
                let found = error.problems.iter();
                checks.extend(found.map(|problem| Check::of_problem("config", problem)));
            }
            let rest = "is not looked at before the configuration is right";
            checks.push(Check::warning("the rest", rest));
            return checks;
        }
    };
    let server = server::look(&config, token);
    let (settings, of_keys) = providers::settings_as_agreed(&config, environment);
    let of_keys = of_keys.into_iter();
    checks.extend(of_keys.map(|warning| Check::warning("providers", warning)));
    checks.push(by_hand::program());
    checks.push(by_hand::keys());
    checks.extend(folder_checks(&config));
    checks.extend(files::owners(&config));
    checks.extend(files::log_file(&config));
    checks.push(files::temporary(&config.workspace));
    checks.push(disk(&config));
    checks.push(clock(&config));
    let (workspace, agents_dir) = (&config.workspace, &config.agents_dir);
    let place = Workspace::of(&config);
    let (trust, problems) = trust::of_workspace(&place);
    checks.extend(trust_checks(&trust, &problems));
    let names = place.names();
    let own = Arc::clone(&trust);
    let loaded = AgentDirectory::load_in(workspace, agents_dir, names, Arc::new(environment), own);
    checks.extend(shared_checks(&config, &loaded));
    let agents = loaded.list();
    checks.extend(agent_checks(
        &config,
        &agents,
        server.agents(),
        &settings,
        &trust,
    ));
    checks.extend(files::policies(&config, &agents, &trust));
    checks.extend(gateways(&config, &agents, &trust));
    checks.extend(network::models(&config, &agents, &settings));
    let programs = ProgramTools::new(programs(&config), workspace.clone());
    checks.extend(rules::checks(workspace, &agents, &programs, &trust));
    checks.extend(long_prompts(&config, loaded, &trust));
    checks.extend(not_counted(&Surveyor::new(&place, trust)));
    checks.extend(tool_checks(&config, &agents));
    checks.extend(tools::checks(&config, &agents));
    checks.push(files::sessions(&config, &agents));
    checks.extend(server.checks(&config));
    checks
}

fn config_checks(origin: &ConfigSource) -> Vec<Check> {
    const SUBJECT: &str = "config";
    let Some(path) = origin.file() else {
        let message = format!("there is no {DEFAULT_FILE}: the defaults hold");
        return vec![Check::ok(SUBJECT, message)];
    };
    let problems = config::validate(path, &environment);
    if problems.is_empty() {
        return vec![Check::ok(SUBJECT, format!("{} is valid", path.display()))];
    }
    let found = problems.iter();
    found
        .map(|problem| Check::of_problem(SUBJECT, problem))
        .collect()
}

// --- folders and the machine ---

fn folder_checks(config: &Config) -> Vec<Check> {
    let mut checks = vec![folder("workspace", &config.workspace)];
    checks.push(match folder("sessions", &config.sessions_dir) {
        check if check.status == Health::Ok => privacy(&config.sessions_dir).unwrap_or(check),
        check => check,
    });
    checks
}

/// Whether a server can write into a folder.
fn folder(subject: &str, path: &Path) -> Check {
    let shown = path.display();
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("{shown} does not exist yet: the first server makes it");
            return Check::ok(subject, message);
        }
        Err(error) => return Check::error(subject, format!("cannot look at {shown}: {error}")),
        Ok(found) if !found.is_dir() => {
            return Check::error(subject, format!("{shown} is not a folder"));
        }
        Ok(_) => {}
    }
    match access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Check::ok(subject, shown.to_string()),
        Err(_) => Check::error(
            subject,
            format!("{shown} cannot be written to by this user"),
        )
        .hint("give it to the user who runs the server, with chown"),
    }
}

/// What is wrong when others can look into a folder of conversations.
fn privacy(path: &Path) -> Option<Check> {
    let mode = path.metadata().ok()?.mode() & 0o777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        let message = format!("{shown} is open to other users (mode {mode:04o})");
        Check::warning("sessions", message).hint(format!("chmod 700 {shown}"))
    })
}

/// Whether turns can start.
fn disk(config: &Config) -> Check {
    const SUBJECT: &str = "disk";
    let path = existing(&config.sessions_dir);
    let free = match RealFs.free_bytes(&path) {
        Ok(free) => free,
        Err(error) => {
            let message = format!("cannot measure the disk of {}: {error}", path.display());
            return Check::error(SUBJECT, message);
        }
    };
    let (free_mb, least_mb) = (free >> 20, config.server.min_free_bytes >> 20);
    if free >= config.server.min_free_bytes {
        return Check::ok(SUBJECT, format!("{free_mb} MiB are free"));
    }
    let message = format!("{free_mb} MiB are free: with less than {least_mb} no new turn starts");
    Check::error(SUBJECT, message).hint("make room, or lower `server.min_free_mb`")
}

/// The path, or the folder above it that exists.
fn existing(path: &Path) -> PathBuf {
    let mut above = path.ancestors();
    let found = above.find(|path| path.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// Whether the clock has been where the newest session was made. What is sorted by time, and what
/// expires, relies on it.
fn clock(config: &Config) -> Check {
    const SUBJECT: &str = "clock";
    /// Clocks of machines differ a little.
    const SLACK_MS: u64 = 60_000;
    let now: Timestamp = SystemTime::now().into();
    let now_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    let ids = SessionFiles::new(&config.workspace, &config.sessions_dir).ids();
    let newest = ids.ok().and_then(|ids| ids.into_iter().next());
    match newest {
        Some(id) if id.timestamp_ms() > now_ms.saturating_add(SLACK_MS) => {
            let message = format!("it is {now}, which is before the session {id} was made");
            Check::warning(SUBJECT, message).hint("set the clock, or have it set by NTP")
        }
        _ => Check::ok(SUBJECT, format!("it is {now}")),
    }
}

// --- agents ---

/// What is wrong with the directives and skills for all agents; nothing when all is well.
fn shared_checks(config: &Config, loaded: &AgentDirectory) -> Vec<Check> {
    let skills = config.workspace.join("skills");
    let problems = loaded.problems();
    let of_all = problems
        .iter()
        .filter(|one| !one.file.starts_with(&config.agents_dir));
    of_all
        .map(|problem| {
            let subject = if problem.file.starts_with(&skills) {
                "skills"
            } else {
                "directives"
            };
            Check::of_problem(subject, problem)
        })
        .collect()
}

/// What is wrong with the owner's own files, which say whom they trust; nothing when all is well.
fn trust_checks(trust: &WorkspaceTrust, problems: &[Problem]) -> Vec<Check> {
    const SUBJECT: &str = "trust";
    let of_files = problems.iter();
    let mut checks: Vec<Check> = of_files
        .map(|problem| Check::of_problem(SUBJECT, problem))
        .collect();
    if let Err(error) = trust.store().read() {
        let message = format!("no agent is trusted: {:#}", anyhow::Error::new(error));
        checks.push(Check::error(SUBJECT, message));
    }
    if trust.is_everything() {
        let message = "every agent is trusted with all that it brings (`agents.trust: all`)";
        checks.push(Check::ok(SUBJECT, message));
    }
    checks
}

/// The agents whose prompt is more than a model of theirs takes.
fn long_prompts(
    config: &Config,
    directory: AgentDirectory,
    trust: &Arc<WorkspaceTrust>,
) -> Vec<Check> {
    let agents = directory.list();
    let Ok(made) = loaded_agents(config, Arc::new(directory), Arc::clone(trust)) else {
        // Said by whoever uses the setting.
        return Vec::new();
    };
    let found = agents.into_iter().filter_map(|spec| {
        let subject = format!("agent {}", spec.name);
        let hint = format!(
            "`duragent agent show {} --prompt` names its parts",
            spec.name
        );
        let found = long_prompt(&made.make(spec))?;
        let check = if found.is_hopeless {
            Check::error(subject, found.to_string())
        } else {
            Check::warning(subject, found.to_string())
        };
        Some(check.hint(hint))
    });
    found.collect()
}

/// What of gateways and routes does not do what it may seem to; nothing when all is well.
fn gateways(config: &Config, agents: &[Arc<AgentSpec>], trust: &WorkspaceTrust) -> Vec<Check> {
    let found = gateway_remarks::look(config, agents, trust);
    let found = found.iter();
    found
        .map(|problem| Check::of_problem("gateways", problem))
        .collect()
}

/// What does not count of agents for want of trust.
fn not_counted(surveyor: &Surveyor) -> Vec<Check> {
    let found = surveyor.all().into_iter();
    found
        .filter_map(|survey| {
            let said = survey.said()?;
            Some(Check::warning("trust", said))
        })
        .collect()
}

/// `served` are the agents as a running server sees them.
fn agent_checks(
    config: &Config,
    agents: &[Arc<AgentSpec>],
    served: Option<&AgentListBody>,
    providers: &ProviderSettings,
    trust: &WorkspaceTrust,
) -> Vec<Check> {
    const SUBJECT: &str = "agents";
    const HINT: &str = "`duragent init` makes one";
    let folder = &config.agents_dir;
    let names = providers::names(config);
    let found = match agents::validate_all(folder, &environment, &names, trust) {
        Ok(found) => found,
        Err(problem) => return vec![Check::of_problem(SUBJECT, &problem).hint(HINT)],
    };
    if found.is_empty() {
        let message = format!("there are none in {}", folder.display());
        return vec![Check::warning(SUBJECT, message).hint(HINT)];
    }
    let mut checks = Vec::new();
    for (name, problems) in found {
        let subject = format!("agent {name}");
        let before = checks.len();
        let of_files = problems.iter();
        checks.extend(of_files.map(|problem| Check::of_problem(&subject, problem)));
        // One with an error is not there.
        let Some(spec) = agents.iter().find(|spec| spec.name.as_str() == name) else {
            continue;
        };
        checks.extend(match served {
            Some(served) => server::key_check(&subject, spec, served),
            None => key_checks(&subject, spec, providers),
        });
        checks.extend(price_checks(&subject, spec, &config.prices));
        if checks.len() == before {
            let model = spec.model.main.label();
            checks.push(Check::ok(subject, format!("asks {model}")));
        }
    }
    checks
}

/// Models whose replies do not count for the limit of an agent's cost.
fn price_checks(subject: &str, spec: &AgentSpec, prices: &Prices) -> Vec<Check> {
    let models = std::iter::once(&spec.model.main).chain(&spec.model.fallbacks);
    let models = models.chain(spec.session.summary_model.as_deref());
    let models = models.filter(|_| spec.limits.cost_per_day.is_some());
    let asked = models.filter(|choice| choice.provider != Provider::ECHO);
    let labels = asked.map(ModelChoice::label);
    let free = labels.filter(|label| prices.of(label).is_none());
    let check = |label: String| {
        let said = format!("`limits.cost_per_day` counts nothing for {label}: it has no price");
        Check::warning(subject, said).hint("`prices` in duragent.yaml has them, per million tokens")
    };
    free.map(check).collect()
}

/// Which of an agent's models cannot be asked, or not with their key.
fn key_checks(subject: &str, spec: &AgentSpec, providers: &ProviderSettings) -> Vec<Check> {
    let model = &spec.model;
    let main = providers.obstacle(&model.main).map(|why| {
        let label = model.main.label();
        Check::error(subject, format!("{label} cannot be asked: {why}"))
    });
    let fallbacks = model.fallbacks.iter().filter_map(|choice| {
        let why = providers.obstacle(choice)?;
        let label = choice.label();
        let message = format!("the fallback {label} cannot be asked: {why}");
        Some(Check::warning(subject, message))
    });
    let summary = spec.session.summary_model.as_deref();
    let summaries = summary.and_then(|choice| {
        let why = providers.obstacle(choice)?;
        let label = choice.label();
        let message = format!("{label}, which is to write summaries, cannot be asked: {why}");
        Some(Check::warning(subject, message))
    });
    let withheld = std::iter::once(&model.main)
        .chain(&model.fallbacks)
        .chain(summary)
        .filter_map(|choice| Some(Check::warning(subject, providers.withheld(choice)?)));
    main.into_iter()
        .chain(fallbacks)
        .chain(summaries)
        .chain(withheld)
        .collect()
}

// --- tools ---

fn tool_checks(config: &Config, agents: &[Arc<AgentSpec>]) -> Vec<Check> {
    let wanting = |wanted: &str| -> Vec<&str> {
        let wants = agents.iter().filter(|agent| agent.has_builtin(wanted));
        wants.map(|agent| agent.name.as_str()).collect()
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| is_on_path(program, &path);
    let mut checks = vec![
        bash(&wanting("bash"), is_there("bash")),
        sandbox(config.sandbox.mode, is_there, || {
            programs(config).try_sandbox()
        }),
    ];
    checks.extend(search(&wanting(web::NAME)));
    checks
}

fn bash(agents: &[&str], is_there: bool) -> Check {
    const SUBJECT: &str = "bash";
    match (is_there, agents) {
        (true, _) => Check::ok(SUBJECT, "is there"),
        (false, []) => Check::warning(SUBJECT, "is not in PATH; no agent asks for it"),
        (false, agents) => {
            let message = format!("is not in PATH, and is a tool of {}", agents.join(", "));
            Check::error(SUBJECT, message).hint("install the package `bash`")
        }
    }
}

/// Whether the program is there that tools are to be locked in by, and works.
fn sandbox(
    mode: SandboxMode,
    is_there: impl Fn(&str) -> bool,
    try_it: impl FnOnce() -> Result<(), SandboxTrialError>,
) -> Check {
    const SUBJECT: &str = "sandbox";
    let (word, program, package) = match mode {
        SandboxMode::Trust => {
            return Check::ok(SUBJECT, "`trust`: what tools run is not locked in");
        }
        SandboxMode::Bubblewrap => ("bubblewrap", "bwrap", "bubblewrap"),
        SandboxMode::Docker => ("docker", "docker", "docker.io"),
    };
    if !is_there(program) {
        let message = format!("`{word}` needs {program}, which is not in PATH");
        return Check::error(SUBJECT, message).hint(format!("install the package `{package}`"));
    }
    match try_it() {
        Ok(()) => Check::ok(SUBJECT, format!("`{word}` works")),
        Err(error) => Check::error(
            SUBJECT,
            format!("`{word}` does not work, and no tool will run a program: {error}"),
        ),
    }
}

/// Whether agents that read the web can search it.
fn search(agents: &[&str]) -> Option<Check> {
    const SUBJECT: &str = "web search";
    if agents.is_empty() {
        return None;
    }
    let variable = web::SEARCH_KEY_VARIABLE;
    let is_set = environment(variable).is_some_and(|key| !key.trim().is_empty());
    if is_set {
        return Some(Check::ok(SUBJECT, format!("{variable} is set")));
    }
    let agents = agents.join(", ");
    let message = format!("{variable} is not set: {agents} can fetch pages, not search");
    Some(Check::warning(SUBJECT, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_sandbox_needs_its_program_and_has_to_work() {
        for (mode, there, works, expected) in [
            (SandboxMode::Trust, "", false, Health::Ok),
            (SandboxMode::Bubblewrap, "bwrap", true, Health::Ok),
            (SandboxMode::Bubblewrap, "bwrap", false, Health::Error),
            (SandboxMode::Bubblewrap, "docker", true, Health::Error),
            (SandboxMode::Docker, "docker", true, Health::Ok),
            (SandboxMode::Docker, "bwrap", true, Health::Error),
        ] {
            let tried = || {
                works
                    .then_some(())
                    .ok_or_else(|| SandboxTrialError::NotRun("no".to_owned()))
            };
            let check = sandbox(mode, |program| program == there, tried);
            assert_eq!(check.status, expected, "{check:?}");
        }
    }

    #[test]
    fn bash_is_missed_by_those_who_have_it_as_a_tool() {
        for (agents, is_there, expected) in [
            (&[][..], true, Health::Ok),
            (&[], false, Health::Warning),
            (&["ada"], true, Health::Ok),
            (&["ada"], false, Health::Error),
        ] {
            assert_eq!(bash(agents, is_there).status, expected);
        }
    }

    #[test]
    fn a_program_is_looked_for_as_a_shell_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::env::join_paths([Path::new("/nowhere"), folder.path()]).unwrap();
        let program = folder.path().join("tool");
        assert!(!is_on_path("tool", &path));
        std::fs::write(&program, "").unwrap();
        for (mode, expected) in [(0o644, false), (0o755, true)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&program, mode).unwrap();
            assert_eq!(is_on_path("tool", &path), expected);
        }
        assert!(!is_on_path("", &path));
    }
}
