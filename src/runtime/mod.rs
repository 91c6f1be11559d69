//! Builds the parts, starts the threads, stops them in order.
//!
//! Every thread has one owner and one way to end:
//!
//! | thread | owner | blocks on | ends when |
//! |---|---|---|---|
//! | `main` | the process | the stop signal | all the others are joined |
//! | `gate` | `http::Front` | epoll | stop, by its wake-up descriptor |
//! | `accounts` | `http::Front`, where the kernel does not answer | connections, a list of sockets | the gate's end |
//! | `http-0…n` | `http::Front` | the server's queue | one `unblock()` for each of them |
//! | `s-7QW3FZ` | `engine::Sessions` | a model's socket, a tool | nothing left to do, or stop |
//! | `tool-7QW3FZ` | a session's worker, for each of several calls that read | its tool | the tool's end, which cancel and stop force |
//! | `model-rest` | `llm`, before a next call | what follows the last answer | its end, or 0.1 s |
//! | `tool-web` | a session's worker, per run of `web` | a stranger's server | its answer, or cancel; left behind where nothing can end it |
//! | `streams` | `http::Api`, from the first stream on | epoll, for all streams | stop, by its doorbell |
//! | `sse-7QW3FZ` | `http::Api`, for a stream's beginning, and when it has fallen behind | the log, its client | all is shown, client gone, or stop |
//! | `wait-7QW3FZ` | `http::Api` | its session, its client | the answer's end, client gone, or stop |
//! | `send` | `http::Front`, per large answer | its client | the answer's end, client gone, or stop |
//! | `flusher` | `engine::Sessions` | syncs of replies in flight | stop |
//! | `notify` | `policy::Policies`, from the first webhook on | its queue, a socket | stop |
//! | `timer`, `reaper` | `engine::Sessions` | what is due; a join | stop |
//! | `sweep` | `engine::Sessions` | the disk | every session seen, or stop |
//! | `watchdog` | [`serve`](serve::serve), where a service manager wants signs of life | a pause; its own server's answer | stop |
//! | `scan` | [`serve`](serve::serve) | the disk | every session seen, or stop |
//! | `ctrl-c` | the ctrlc crate | SIGINT, SIGTERM | the process |
//! | `signals` | [`serve`](serve::serve) | SIGHUP, SIGCHLD | the process |
//!
//! Stopping goes from the sources inwards: no new connections, streams end, replies in flight
//! finish or are parked, threads are joined, the workspace is unlocked.

mod arrivals;
pub mod consent;
mod host;
mod loaded;
mod logging;
pub mod offline;
pub mod options;
pub mod policy;
pub(crate) mod programs;
pub(crate) mod providers;
pub(crate) mod remarks;
mod rest;
mod secrets;
pub mod serve;
mod service_manager;
mod shelf;
pub mod shown_agent;
pub(crate) mod signals;
mod starts;
mod state_home;
mod ticket_key;
mod tool_parts;
pub mod trust;
pub mod version;
mod watchdog;
pub mod workspace;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::agents;
use crate::base::yaml::problem::Problem;
use crate::config::{self, Config};
use crate::policy::{LOCAL_FILE, POLICY_FILE, validate as validate_policy, validate_in};
use crate::runtime::trust::{Surveyor, Workspace};

/// What `validate` has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validated {
    /// Everything that is wrong, or does not do what its author may think, one line each, with file,
    /// line and column.
    pub problems: Vec<String>,
    /// How many of them keep a file from being used; the others are warnings, which their lines say.
    pub errors: usize,
    /// What does not count of an agent for want of its owner's trust.
    pub not_counted: Option<String>,
}

impl Validated {
    fn of(problems: &[Problem], not_counted: Option<String>) -> Validated {
        Validated {
            problems: problems.iter().map(|one| format!("{one:#}")).collect(),
            errors: problems.iter().filter(|one| one.is_error()).count(),
            not_counted,
        }
    }
}

/// Looks at a `duragent.yaml`, an `agent.yaml`, a policy or an agent's folder. `config` is that of the
/// workspace, in which an agent may be trusted; without one, nobody is.
pub fn validate(path: &Path, config: Option<&Config>) -> Validated {
    let environment = |name: &str| std::env::var(name).ok();
    let is_policy = [POLICY_FILE, LOCAL_FILE]
        .iter()
        .any(|name| path.ends_with(name));
    let is_agent = path.is_dir() || path.ends_with(agents::AGENT_FILE);
    if !is_agent && !is_policy {
        return Validated::of(&config::validate(path, &environment), None);
    }
    let nowhere = BTreeMap::new();
    let workspace = config.map_or(
        Workspace {
            folder: Path::new("."),
            agents_dir: Path::new("."),
            providers: &nowhere,
        },
        Workspace::of,
    );
    let trust = match config {
        Some(_) => trust::of_workspace(&workspace).0,
        None => Arc::new(trust::nothing()),
    };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if is_policy {
        let mut problems = validate_policy(path, &environment);
        problems.extend(
            config
                .iter()
                .flat_map(|config| remarks::of_file(config, &whole, &trust)),
        );
        return Validated::of(&problems, None);
    }
    let mut problems = agents::validate(path, &environment, &workspace.names(), &trust);
    let mut not_counted = None;
    let home = match path.is_dir() {
        true => &*whole,
        false => whole.parent().unwrap_or(&whole),
    };
    if let Some(config) = config {
        let found = remarks::of_home(config, home, &trust).into_iter();
        problems.extend(found.filter(|one| path.is_dir() || one.file == whole));
    }
    if path.is_dir() {
        problems.extend(validate_in(path, &environment, &trust));
        not_counted = Surveyor::new(&workspace, trust).agent(&whole).said();
    }
    Validated::of(&problems, not_counted)
}
