//! What gateways are started with, and what they ask of the rest of the program.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::agents::AgentDirectory;
use crate::base::clock::SystemClock;
use crate::config::{Config, Restart};
use crate::domain::access::AccessSpec;
use crate::domain::ids::AgentName;
use crate::domain::principal::GatewaySender;
use crate::gateway::gateways::{GatewayParts, Gateways};
use crate::gateway::host::{AdmittedAs, GatewayHost};
use crate::gateway::settings::{
    ChatRoute, GatewaySettings, PluginSettings, RestartRule, TelegramSettings,
};
use crate::runtime::core::Core;
use crate::trust::{AdmittedSender, WorkspaceTrust};

/// Starts them, before anything is taken up that their chats are to see.
pub(super) fn start(config: &Config, core: &Core) -> anyhow::Result<Gateways> {
    let host = Admissions {
        agents: Arc::clone(&core.agents),
        trust: Arc::clone(&core.remarks.trust),
    };
    let gateways = Gateways::start(GatewayParts {
        settings: settings(config),
        sessions: core.sessions.clone(),
        host: Arc::new(host),
        documents: core.store.documents(),
        clock: Arc::new(SystemClock),
    });
    Ok(gateways?)
}

/// What the configuration says of gateways.
fn settings(config: &Config) -> GatewaySettings {
    let telegram = config.gateways.telegram.iter();
    let telegram = telegram.map(|bot| TelegramSettings {
        name: bot.name.clone(),
        bot_token: bot.bot_token.clone(),
        api_url: bot.api_url.clone(),
        agent: bot.agent.clone(),
    });
    let plugins = config.gateways.external.iter();
    let plugins = plugins.map(|one| PluginSettings {
        name: one.name.clone(),
        command: one.command.clone(),
        args: one.args.clone(),
        env: one.env.clone(),
        restart: match one.restart {
            Restart::Always => RestartRule::Always,
            Restart::OnFailure => RestartRule::OnFailure,
            Restart::Never => RestartRule::Never,
        },
    });
    let routes = config.routes.iter();
    let routes = routes.map(|route| ChatRoute {
        conditions: route.conditions.clone(),
        agent: route.agent.clone(),
    });
    GatewaySettings {
        telegram: telegram.collect(),
        plugins: plugins.collect(),
        routes: routes.collect(),
        transcribe: config.gateways.transcribe.clone(),
    }
}

/// Who may talk to the agents of a server: by their files as they were last read, and by the owner's record as
/// it is.
#[derive(Debug)]
struct Admissions {
    agents: Arc<AgentDirectory>,
    trust: Arc<WorkspaceTrust>,
}

impl Admissions {
    fn home(&self, agent: &AgentName) -> Option<PathBuf> {
        Some(self.agents.get(agent)?.home.clone())
    }

    fn admitted(&self, agent: &AgentName) -> Vec<AdmittedSender> {
        let home = self.home(agent);
        home.map(|home| self.trust.admitted(&home))
            .unwrap_or_default()
    }
}

impl GatewayHost for Admissions {
    fn access(&self, agent: &AgentName) -> Option<Arc<AccessSpec>> {
        Some(Arc::new(self.agents.get(agent)?.access.clone()))
    }

    fn admission(&self, agent: &AgentName, sender: &GatewaySender) -> Option<AdmittedAs> {
        let sender = sender.to_string();
        let admitted = self.admitted(agent);
        let found = admitted.into_iter().find(|one| one.sender == sender)?;
        Some(match found.approver {
            true => AdmittedAs::Approver,
            false => AdmittedAs::Chat,
        })
    }

    fn has_approvers(&self, agent: &AgentName) -> bool {
        self.admitted(agent).iter().any(|one| one.approver)
    }

    fn admit(
        &self,
        agent: &AgentName,
        sender: &GatewaySender,
        name: &str,
        admitted_as: AdmittedAs,
    ) -> Result<(), String> {
        let home = self.home(agent);
        let home = home.ok_or_else(|| format!("the agent {agent} is not there"))?;
        let admitted = AdmittedSender {
            sender: sender.to_string(),
            name: name.to_owned(),
            at: SystemTime::now().into(),
            approver: admitted_as == AdmittedAs::Approver,
        };
        let kept = self.trust.admit(&home, &admitted);
        kept.map_err(|error| error.to_string())
    }
}
