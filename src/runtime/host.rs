//! What the API asks of the rest of the program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Access;

use crate::agents::AgentDirectory;
use crate::base::order;
use crate::base::plural::{agreeing, counted};
use crate::base::yaml::problem::Problem;
use crate::domain::ids::AgentName;
use crate::domain::spec::AgentSpec;
use crate::domain::trust;
use crate::engine::{EngineError, Sessions};
use crate::http::context::{ApiHost, GatewayAdmin};
use crate::llm::settings::ProviderSettings;
use crate::policy::Policies;
use crate::runtime::gateways::ServerGateways;
use crate::runtime::signals::StopRequests;
use crate::runtime::version;
use crate::wire::{BrokenAgentBody, FileErrorBody, ReadinessBody, ReloadBody, VersionBody};
use crate::workspace::remarks::Remarks;
use crate::workspace::trust::Standing;

/// The program, as the API sees it.
#[derive(Debug)]
pub(super) struct ServerHost {
    pub(super) agents: Arc<AgentDirectory>,
    pub(super) policies: Arc<Policies>,
    pub(super) standing: Standing,
    pub(super) remarks: Arc<Remarks>,
    pub(super) sessions: Sessions,
    pub(super) stop: StopRequests,
    pub(super) workspace: PathBuf,
    pub(super) workspace_hash: String,
    /// The sandbox's name, as `/version` shows it.
    pub(super) sandbox: &'static str,
    /// Which models can be asked.
    pub(super) providers: ProviderSettings,
    /// Unfinished turns were left waiting at the start: `/readyz` says how they are taken up.
    pub(super) are_turns_waiting: bool,
    pub(super) gateways: ServerGateways,
}

impl ApiHost for ServerHost {
    fn agents(&self) -> Vec<Arc<AgentSpec>> {
        self.agents.list()
    }

    fn not_counted(&self) -> BTreeMap<String, String> {
        let waiting = self.standing.waiting().into_iter();
        let said = waiting.filter_map(|(agent, parts)| {
            let said = trust::said_of(&agent, &parts)?;
            Some((agent, said))
        });
        order::map(said)
    }

    fn remarks(&self) -> BTreeMap<String, String> {
        self.remarks.long_prompts()
    }

    fn agent(&self, name: &str) -> Option<Arc<AgentSpec>> {
        self.agents.get(&AgentName::parse(name).ok()?)
    }

    fn broken_agents(&self) -> Vec<BrokenAgentBody> {
        let broken = self.agents.broken().into_iter();
        let shown = broken.map(|one| BrokenAgentBody {
            name: one.name,
            errors: one.mistakes,
        });
        shown.collect()
    }

    fn missing_key(&self, agent: &AgentSpec) -> Option<String> {
        self.providers.missing_key(&agent.model.main)
    }

    fn reload_agents(&self) -> ReloadBody {
        let report = self.agents.reload();
        self.policies.reload(&self.agents.list());
        self.standing.forget();
        self.sessions.agents_changed();
        warn_of_danger(&self.policies);
        self.remarks.look();
        let policies = self.policies.problems();
        let names = |names: &[AgentName]| names.iter().map(AgentName::to_string).collect();
        ReloadBody {
            added: names(&report.added),
            changed: names(&report.changed),
            removed: names(&report.removed),
            errors: report
                .failed
                .iter()
                .chain(&policies)
                .map(|one| self.file_error(one))
                .collect(),
        }
    }

    fn readiness(&self) -> ReadinessBody {
        let mut readiness = ReadinessBody {
            workspace_hash: Some(self.workspace_hash.clone()),
            ..ReadinessBody::default()
        };
        if self.sessions.is_draining() {
            readiness
                .reasons
                .push("the server is shutting down".to_owned());
        }
        self.look_at_storage(&mut readiness);
        let warnings = [
            self.broken_agents(),
            self.broken_policies(),
            self.untrusted_parts(),
            self.long_prompts(),
            self.read_only_sessions(),
            self.waiting_for_room(),
            self.turns_waiting(),
            self.gateways.failed(),
        ];
        readiness.warnings.extend(warnings.into_iter().flatten());
        readiness
    }

    fn gateways(&self) -> &dyn GatewayAdmin {
        &self.gateways
    }

    fn version(&self) -> VersionBody {
        VersionBody {
            version: version::VERSION.to_owned(),
            commit: version::COMMIT.to_owned(),
            build_date: version::BUILD_DATE.to_owned(),
            features: version::FEATURES.iter().map(ToString::to_string).collect(),
            sandbox: self.sandbox.to_owned(),
        }
    }

    fn request_shutdown(&self) {
        self.stop.ask();
    }
}

/// What stands in the way of agents and sessions, each in a line, as far as there is any of it.
impl ServerHost {
    fn broken_agents(&self) -> Option<String> {
        let problems = self.agents.problems();
        let broken = problems.iter().filter(|problem| problem.is_error()).count();
        let errors = counted(broken, "error");
        (broken > 0).then(|| format!("{errors} in agent files; `duragent validate` shows them"))
    }

    fn broken_policies(&self) -> Option<String> {
        let broken = self.policies.problems().len();
        let errors = counted(broken, "error");
        (broken > 0).then(|| format!("{errors} in policies: the tools of their agents are refused"))
    }

    fn untrusted_parts(&self) -> Option<String> {
        let waiting = self.standing.waiting();
        let parts: usize = waiting.values().map(Vec::len).sum();
        let said = || {
            format!(
                "untrusted: {} of {} {} not count; `duragent agent trust` shows them",
                counted(parts, "part"),
                counted(waiting.len(), "agent"),
                agreeing(parts, "does", "do")
            )
        };
        (!waiting.is_empty()).then(said)
    }

    fn long_prompts(&self) -> Option<String> {
        let long = self.remarks.long_prompts().len();
        let said = || {
            format!(
                "{} {} a prompt that is more than a model of {} takes; `duragent agent list` shows {}",
                counted(long, "agent"),
                agreeing(long, "has", "have"),
                agreeing(long, "its", "theirs"),
                agreeing(long, "it", "them")
            )
        };
        (long > 0).then(said)
    }

    fn read_only_sessions(&self) -> Option<String> {
        let read_only = self.sessions.read_only();
        let sessions = counted(read_only, "session");
        let are = agreeing(read_only, "is", "are");
        (read_only > 0).then(|| format!("{sessions} {are} read-only since a failed write"))
    }

    fn waiting_for_room(&self) -> Option<String> {
        let (turns, why) = self.sessions.waiting_for_room()?;
        let themselves = agreeing(
            turns,
            "waits, and goes on by itself",
            "wait, and go on by themselves",
        );
        Some(format!("{} {themselves}: {why}", counted(turns, "turn")))
    }

    fn turns_waiting(&self) -> Option<String> {
        self.are_turns_waiting.then(|| {
            "turns that were unfinished at the start wait until a client attaches; \
             `duragent serve --resume always` takes them up"
                .to_owned()
        })
    }
}

impl ServerHost {
    /// Says what keeps messages from being stored, without paths. Two system calls, and nothing is
    /// written.
    fn look_at_storage(&self, readiness: &mut ReadinessBody) {
        match self.sessions.can_store() {
            Ok(()) => {}
            // Whoever wants to make room by deleting sessions must be let in.
            Err(EngineError::DiskFull(space)) => {
                let space = space.map_or(String::new(), |space| format!(" ({space})"));
                let text = format!("the disk is nearly full{space}: no new turn starts");
                readiness.warnings.push(text);
            }
            Err(error) => {
                log::debug!("the storage cannot be measured: {error}");
                let text = "the free space where sessions are kept is unknown";
                readiness.reasons.push(text.to_owned());
            }
        }
        if let Err(error) = rustix::fs::access(&self.workspace, Access::WRITE_OK) {
            let text = format!("the workspace cannot be written: {error}");
            readiness.reasons.push(text);
        }
    }

    fn file_error(&self, problem: &Problem) -> FileErrorBody {
        let file = problem.file.strip_prefix(&self.workspace);
        let file = file.unwrap_or(&problem.file);
        let place = problem.position.map(|position| format!("{position}: "));
        FileErrorBody {
            file: file.display().to_string(),
            message: format!("{}{}", place.unwrap_or_default(), problem.message),
        }
    }
}

/// An agent's own policy may let it do anything: somebody should know.
pub(super) fn warn_of_danger(policies: &Policies) {
    for name in policies.dangerous() {
        log::warn!(
            "agent {name} runs whatever its policy does not deny (mode `dangerous`), and the \
             workspace has no policy.yaml that could forbid it"
        );
    }
}
