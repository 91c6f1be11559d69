//! What gateways are started with, and what they ask of the rest of the program.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::agents::AgentDirectory;
use crate::base::clock::SystemClock;
use crate::config::{Config, Restart};
use crate::domain::access::AccessSpec;
use crate::domain::chat::Chat;
use crate::domain::ids::AgentName;
use crate::domain::principal::GatewaySender;
use crate::engine::Sessions;
use crate::gateway::delivery::{SetAside, WaitingChat};
use crate::gateway::gateways::{GatewayParts, GatewayStatus, Gateways};
use crate::gateway::host::{AdmittedAs, GatewayHost};
use crate::gateway::intake::AdmitError;
use crate::gateway::protocol::AuthMethod;
use crate::gateway::settings::{
    ChatRoute, GatewaySettings, PluginSettings, RestartRule, TelegramSettings,
};
use crate::http::context::{GatewayAdmin, GatewayRefusal};
use crate::policy::{ChatTeller, Notification, Occasion};
use crate::store::documents::Documents;
use crate::trust::{AdmittedSender, GrantError, WorkspaceTrust};
use crate::wire::{
    AdmittedBody, ApproveSender, ClearedBody, GatewayAuthBody, GatewayBody, GatewayListBody,
    GatewayLogBody, OutboxBody, PairingBody, PairingListBody, SetAsideBody, WaitingChatBody,
};

/// The gateways, as the API sees them.
#[derive(Debug, Clone)]
pub(super) struct ServerGateways {
    pub(super) all: Arc<Gateways>,
    host: Arc<dyn GatewayHost>,
}

/// Starts them.
pub(super) fn start(
    config: &Config,
    admissions: Admissions,
    sessions: Sessions,
    documents: Arc<dyn Documents>,
) -> anyhow::Result<ServerGateways> {
    let host: Arc<dyn GatewayHost> = Arc::new(admissions);
    let gateways = Gateways::start(GatewayParts {
        settings: settings(config),
        sessions,
        host: Arc::clone(&host),
        documents,
        clock: Arc::new(SystemClock),
    });
    Ok(ServerGateways {
        all: Arc::new(gateways?),
        host,
    })
}

impl ServerGateways {
    /// A sentence on those that do not work.
    pub(super) fn failed(&self) -> Option<String> {
        let troubles = self.all.troubles();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }
}

impl ChatTeller for ServerGateways {
    fn tell(&self, chat: &Chat, note: &Notification) -> Result<(), String> {
        let does = match note.on {
            Occasion::Call | Occasion::FailedSchedule => "runs",
            Occasion::Approval => "asks to run",
        };
        let (agent, tool, session) = (&note.agent, &note.tool, &note.session_id);
        let sentence = format!("`{agent}` {does} `{tool}` in `{session}`:");
        self.all.tell(chat, &sentence, &note.command)
    }
}

impl GatewayAdmin for ServerGateways {
    fn list(&self) -> GatewayListBody {
        let gateways = self.all.list().into_iter().map(body_of).collect();
        GatewayListBody { gateways }
    }

    fn log(&self, name: &str) -> Result<GatewayLogBody, GatewayRefusal> {
        let lines = self.all.log(name);
        let lines = lines.ok_or_else(|| GatewayRefusal::NotFound(name.to_owned()))?;
        Ok(GatewayLogBody { lines })
    }

    fn restart(&self, name: &str) -> Result<(), GatewayRefusal> {
        match self.all.restart(name) {
            Some(true) => Ok(()),
            Some(false) => Err(GatewayRefusal::NoProgram(name.to_owned())),
            None => Err(GatewayRefusal::NotFound(name.to_owned())),
        }
    }

    fn pairings(&self) -> Result<PairingListBody, GatewayRefusal> {
        let pairings = self.all.intake().pairings().map_err(failed)?.into_iter();
        let pairings = pairings.map(|(gateway, code, pending)| PairingBody {
            code,
            gateway: gateway.to_string(),
            sender_id: pending.sender_id,
            name: pending.name,
            is_first: !self.host.has_approvers(&pending.agent),
            agent: pending.agent.to_string(),
            at: pending.at,
        });
        Ok(PairingListBody {
            pairings: pairings.collect(),
        })
    }

    fn admit(&self, approve: &ApproveSender) -> Result<AdmittedBody, GatewayRefusal> {
        let admitted_as = if approve.approver {
            AdmittedAs::Approver
        } else {
            AdmittedAs::Chat
        };
        let admitted = self.all.intake().admit(&approve.code, admitted_as);
        let (gateway, pending) = admitted.map_err(|error| match error {
            AdmitError::NoSuchCode(_) => GatewayRefusal::NoSuchCode(error.to_string()),
            AdmitError::Failed(why) => GatewayRefusal::Failed(why),
        })?;
        Ok(AdmittedBody {
            gateway: gateway.to_string(),
            sender_id: pending.sender_id,
            name: pending.name,
            agent: pending.agent.to_string(),
            approver: approve.approver,
        })
    }

    fn outbox(&self) -> Result<OutboxBody, GatewayRefusal> {
        let mut body = OutboxBody::default();
        for one in self.all.outbox().map_err(failed)? {
            let gateway = one.name.to_string();
            let waiting = one.waiting.into_iter();
            body.waiting
                .extend(waiting.map(|chat| waiting_body(&gateway, chat)));
            let aside = one.aside.into_iter();
            body.aside
                .extend(aside.map(|one| aside_body(&gateway, one)));
        }
        Ok(body)
    }

    fn clear_outbox(&self) -> Result<ClearedBody, GatewayRefusal> {
        let removed = self.all.clear_aside().map_err(failed)?;
        Ok(ClearedBody { removed })
    }
}

fn failed(error: impl std::error::Error) -> GatewayRefusal {
    GatewayRefusal::Failed(error.to_string())
}

fn body_of(status: GatewayStatus) -> GatewayBody {
    GatewayBody {
        name: status.name.to_string(),
        kind: status.kind.to_owned(),
        state: status.state.to_owned(),
        detail: status.detail,
        version: status.version,
        last_event: status.last_event,
        starts: status.starts,
        auth: status
            .auth
            .map(|(method, expires_in)| auth_body(method, expires_in)),
    }
}

fn auth_body(method: AuthMethod, expires_in: u64) -> GatewayAuthBody {
    let (method, shown) = match method {
        AuthMethod::QrCode {
            qr_ascii, qr_data, ..
        } => ("qr_code", qr_ascii.unwrap_or(qr_data)),
        AuthMethod::PairCode { code, .. } => ("pair_code", code),
    };
    GatewayAuthBody {
        method: method.to_owned(),
        shown,
        expires_in,
    }
}

fn waiting_body(gateway: &str, waiting: WaitingChat) -> WaitingChatBody {
    let (since, trouble) = waiting.trouble.unzip();
    WaitingChatBody {
        gateway: gateway.to_owned(),
        chat_id: waiting.chat.chat_id,
        thread_id: waiting.chat.thread_id,
        sessions: waiting.sessions.iter().map(ToString::to_string).collect(),
        announcements: waiting.announcements,
        trouble,
        since,
    }
}

fn aside_body(gateway: &str, aside: SetAside) -> SetAsideBody {
    SetAsideBody {
        gateway: gateway.to_owned(),
        chat_id: aside.chat_id,
        thread_id: aside.thread_id,
        at: aside.at,
        session: aside.session.map(|session| session.to_string()),
        text: aside.text,
        why: aside.why,
    }
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
pub(super) struct Admissions {
    pub(super) agents: Arc<AgentDirectory>,
    pub(super) trust: Arc<WorkspaceTrust>,
}

impl Admissions {
    fn home(&self, agent: &AgentName) -> Option<PathBuf> {
        Some(self.agents.get(agent)?.home.clone())
    }

    fn admitted(&self, agent: &AgentName) -> Result<Vec<AdmittedSender>, GrantError> {
        let home = self.home(agent);
        home.map_or(Ok(Vec::new()), |home| self.trust.admitted(&home))
    }
}

impl GatewayHost for Admissions {
    fn access(&self, agent: &AgentName) -> Option<Arc<AccessSpec>> {
        Some(Arc::new(self.agents.get(agent)?.access.clone()))
    }

    fn admission(
        &self,
        agent: &AgentName,
        sender: &GatewaySender,
    ) -> Result<Option<AdmittedAs>, String> {
        let sender = sender.to_string();
        let admitted = self.admitted(agent).map_err(|error| error.to_string())?;
        let found = admitted.into_iter().find(|one| one.sender == sender);
        Ok(found.map(|found| match found.approver {
            true => AdmittedAs::Approver,
            false => AdmittedAs::Chat,
        }))
    }

    fn has_approvers(&self, agent: &AgentName) -> bool {
        let admitted = self.admitted(agent).unwrap_or_default();
        admitted.iter().any(|one| one.approver)
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
