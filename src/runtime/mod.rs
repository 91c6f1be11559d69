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
pub mod doctor;
mod host;
mod loaded;
mod logging;
pub mod offline;
pub mod options;
pub mod policy;
mod programs;
mod providers;
mod secrets;
pub mod serve;
mod service_manager;
mod shelf;
pub mod shown_agent;
mod signals;
mod starts;
mod state_home;
mod tool_parts;
pub mod torture;
pub mod version;
mod watchdog;
pub mod workspace;

use std::path::Path;

use crate::agents;
use crate::config::{self, Config, ConfigSource, Overrides};
use crate::policy::{LOCAL_FILE, POLICY_FILE, validate as validate_policy};

/// The policies of an agent's folder.
const POLICY_FILES: [&str; 2] = [POLICY_FILE, LOCAL_FILE];

/// Everything that is wrong with a `duragent.yaml`, an `agent.yaml`, a policy or an agent's folder,
/// one line each, with file, line and column.
pub fn validate(path: &Path) -> Vec<String> {
    validate_with(path, &ConfigSource::default())
}

/// As [`validate`], where `config` describes providers that agents may name.
pub fn validate_with(path: &Path, config: &ConfigSource) -> Vec<String> {
    let environment = |name: &str| std::env::var(name).ok();
    // Of a file that is wrong, nothing: it is told of where it is looked at itself.
    let config = Config::load(config, &Overrides::default(), &environment);
    let providers = config.map_or(Vec::new(), |loaded| providers::names(&loaded.config));
    let is_policy = |path: &Path| POLICY_FILES.iter().any(|name| path.ends_with(name));
    let problems = if path.is_dir() {
        let mut problems = agents::validate(path, &environment, &providers);
        for name in POLICY_FILES {
            problems.extend(validate_policy(&path.join(name), &environment));
        }
        problems
    } else if is_policy(path) {
        validate_policy(path, &environment)
    } else if path.ends_with(agents::AGENT_FILE) {
        agents::validate(path, &environment, &providers)
    } else {
        config::validate(path, &environment)
    };
    problems.iter().map(ToString::to_string).collect()
}
