//! The server of the workspace: what it says of itself, or whether one could start.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::check::{Check, environment};
use crate::client::{ApiClient, ClientError};
use crate::config::Config;
use crate::domain::spec::AgentSpec;
use crate::runtime::version;
use crate::wire::{AgentListBody, ReadinessBody};
use crate::workspace::holder::{self, url_of};

const SUBJECT: &str = "server";
/// A server of this machine answers at once.
const LIMIT: Duration = Duration::from_secs(2);

/// A server, as it sees itself.
pub(super) enum Served {
    /// There is none.
    NoServer,
    /// One has the workspace, and no address yet.
    Starting { pid: u32 },
    /// One was asked.
    Asked {
        pid: u32,
        url: String,
        // Boxed, or the ways without a server would be as large.
        readiness: Box<Result<ReadinessBody, ClientError>>,
        agents: Option<AgentListBody>,
        version: Option<String>,
    },
}

/// Asks the workspace's server, if one runs.
pub(super) fn look(config: &Config, token: Option<&str>) -> Served {
    let Some(holder) = holder::current(&config.workspace) else {
        return Served::NoServer;
    };
    let pid = holder.pid;
    let Some(address) = holder.address else {
        return Served::Starting { pid };
    };
    let url = url_of(address);
    let own = config.server.api_token.as_ref().map(|token| token.reveal());
    let client = ApiClient::new(&url, token.or(own).map(str::to_owned));
    let readiness = Box::new(client.readiness(LIMIT));
    // One that does not answer that would only keep us waiting.
    let answers = readiness.is_ok();
    Served::Asked {
        agents: answers.then(|| client.agents().ok()).flatten(),
        version: answers
            .then(|| client.version().ok().map(|told| told.version))
            .flatten(),
        pid,
        url,
        readiness,
    }
}

impl Served {
    /// The agents that it has.
    pub(super) fn agents(&self) -> Option<&AgentListBody> {
        match self {
            Served::Asked { agents, .. } => agents.as_ref(),
            Served::NoServer | Served::Starting { .. } => None,
        }
    }

    /// How it does.
    pub(super) fn checks(&self, config: &Config) -> Vec<Check> {
        match self {
            Served::NoServer => vec![may_listen(config)],
            Served::Starting { pid } => {
                let message = format!("pid {pid} has the workspace, and no address yet");
                vec![Check::warning(SUBJECT, message)]
            }
            Served::Asked {
                pid,
                url,
                readiness,
                version,
                agents,
            } => {
                let mut checks = self_told(*pid, url, readiness);
                checks.extend(version.as_deref().and_then(another_version));
                let knows_agents = agents.is_some() || readiness.is_err();
                checks.extend((!knows_agents).then(not_let_in));
                checks
            }
        }
    }
}

fn self_told(pid: u32, url: &str, readiness: &Result<ReadinessBody, ClientError>) -> Vec<Check> {
    let stop = "see its log; `duragent serve stop` ends it";
    match readiness {
        Err(error) => {
            let message = format!("{url} (pid {pid}) does not answer: {}", error.in_full());
            vec![Check::error(SUBJECT, message).hint(stop)]
        }
        Ok(said) if !said.reasons.is_empty() => {
            let message = format!(
                "{url} (pid {pid}) takes no requests: {}",
                said.reasons.join("; ")
            );
            vec![Check::error(SUBJECT, message).hint(stop)]
        }
        Ok(said) => {
            let warnings = said.warnings.iter();
            let mut checks: Vec<Check> = warnings
                .map(|warning| Check::warning(SUBJECT, format!("it says: {warning}")))
                .collect();
            checks.push(Check::ok(SUBJECT, format!("{url} is ready (pid {pid})")));
            checks
        }
    }
}

fn another_version(of_server: &str) -> Option<Check> {
    (of_server != version::VERSION).then(|| {
        let message = format!(
            "it is of version {of_server}, and this is {}",
            version::VERSION
        );
        Check::warning(SUBJECT, message).hint("`duragent serve stop`, and start it again")
    })
}

fn not_let_in() -> Check {
    let message = "it does not tell of its agents";
    let hint = "give its token with DURAGENT_TOKEN or in `server.api_token`";
    Check::warning(SUBJECT, message).hint(hint)
}

/// Tells what the running server lacks for an agent's model: it has the variables of whoever
/// started it, not of who asks now.
pub(super) fn key_check(subject: &str, spec: &AgentSpec, served: &AgentListBody) -> Vec<Check> {
    let mut agents = served.agents.iter();
    let of_server = agents.find(|agent| agent.name == spec.name.as_str());
    let Some(of_server) = of_server else {
        let message = "the server that runs does not have it";
        let hint =
            "have it read again: POST /api/admin/v1/reload-agents, or start the server again";
        return vec![Check::warning(subject, message).hint(hint)];
    };
    let Some(variable) = &of_server.missing_key else {
        return Vec::new();
    };
    let model = spec.model.main.label();
    let message = format!("the server that runs has no {variable}, which {model} needs");
    let is_set = environment(variable).is_some_and(|value| !value.trim().is_empty());
    let hint = if is_set {
        "it is set here: `duragent serve stop`, and start the server from this shell"
    } else {
        "set it where the server is started, and start it again"
    };
    vec![Check::error(subject, message).hint(hint)]
}

/// Whether a server could listen where it is told to.
fn may_listen(config: &Config) -> Check {
    let address = SocketAddr::new(config.server.host, config.server.port);
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(SUBJECT, "none runs for this workspace"),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let message =
                format!("none runs for this workspace, and another program has {address}");
            Check::warning(SUBJECT, message)
                .hint("`serve` needs another `server.port` or --port; `chat` takes a free one")
        }
        Err(error) => {
            let message =
                format!("none runs for this workspace, and it cannot listen on {address}: {error}");
            Check::error(SUBJECT, message).hint("see `server.host` and `server.port`")
        }
    }
}
