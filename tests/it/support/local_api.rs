//! The API over HTTP in this process, for what a configuration cannot say: an agent with tools of a
//! test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duragent::base::stop;
use duragent::domain::spec::AgentSpec;
use duragent::engine::{Recovery, Sessions};
use duragent::http::access::AccessSettings;
use duragent::http::api::Api;
use duragent::http::context::{ApiContext, ApiHost, ApiSettings, GatewayAdmin, GatewayRefusal};
use duragent::http::front::{self, Back, Front, FrontSettings};
use duragent::http::ticket::TicketKey;
use duragent::wire::{
    AdmittedBody, ApproveSender, BrokenAgentBody, ClearedBody, GatewayListBody, GatewayLogBody,
    OutboxBody, PairingListBody, ReadinessBody, ReloadBody, VersionBody,
};

use super::fake_model::FakeModel;
use super::server::Remote;
use super::sessions::{Setup, start};

/// The API of an engine with the one agent `helper`; it ends when it is dropped.
pub struct LocalApi {
    remote: Remote,
    pub sessions: Sessions,
    /// Makes tickets for whomever a test likes.
    pub tickets: TicketKey,
    // In the order of their end.
    streams: stop::StopSource,
    api: Arc<Api>,
    _front: Front,
}

impl LocalApi {
    /// Serves the sessions in `folder`, and takes up what is unfinished there.
    pub fn start(folder: &Path, model: &FakeModel, setup: &Setup) -> LocalApi {
        let sessions = start(folder, model, setup);
        let (streams, stop) = stop::pair();
        let tickets = TicketKey::new("a key of the tests");
        let api = Arc::new(Api::new(ApiContext {
            sessions: sessions.clone(),
            host: Arc::new(NoHost),
            settings: ApiSettings {
                request_timeout: Duration::from_secs(60),
                keep_alive_interval: Duration::from_secs(15),
            },
            tickets: tickets.clone(),
            stop,
        }));
        let listener = front::listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let front = Front::start(
            FrontSettings {
                access: AccessSettings {
                    tickets: Some(tickets.clone()),
                    ..AccessSettings::default()
                },
                ..FrontSettings::default()
            },
            Back::start(None).unwrap(),
            listener,
            Arc::clone(&api) as _,
        );
        let front = front.unwrap();
        sessions.recover(Recovery::TakeUp, || false).unwrap();
        LocalApi {
            remote: Remote::at(front.local_addr()),
            sessions,
            tickets,
            streams,
            api,
            _front: front,
        }
    }
}

impl Deref for LocalApi {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl Drop for LocalApi {
    fn drop(&mut self) {
        self.streams.stop();
        self.sessions.stop(Duration::ZERO);
        let have_ended = self.api.join(Duration::from_secs(5));
        assert!(have_ended || std::thread::panicking(), "streams go on");
    }
}

/// The rest of the program, which is not there.
#[derive(Debug)]
struct NoHost;

impl ApiHost for NoHost {
    fn remarks(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn not_counted(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn agents(&self) -> Vec<Arc<AgentSpec>> {
        Vec::new()
    }

    fn agent(&self, _name: &str) -> Option<Arc<AgentSpec>> {
        None
    }

    fn broken_agents(&self) -> Vec<BrokenAgentBody> {
        Vec::new()
    }

    fn missing_key(&self, _agent: &AgentSpec) -> Option<String> {
        None
    }

    fn reload_agents(&self) -> ReloadBody {
        ReloadBody::default()
    }

    fn readiness(&self) -> ReadinessBody {
        ReadinessBody::default()
    }

    fn version(&self) -> VersionBody {
        VersionBody::default()
    }

    fn gateways(&self) -> &dyn GatewayAdmin {
        self
    }

    fn request_shutdown(&self) {}
}

impl GatewayAdmin for NoHost {
    fn list(&self) -> GatewayListBody {
        GatewayListBody::default()
    }

    fn log(&self, name: &str) -> Result<GatewayLogBody, GatewayRefusal> {
        Err(GatewayRefusal::NotFound(name.to_owned()))
    }

    fn restart(&self, name: &str) -> Result<(), GatewayRefusal> {
        Err(GatewayRefusal::NotFound(name.to_owned()))
    }

    fn pairings(&self) -> Result<PairingListBody, GatewayRefusal> {
        Ok(PairingListBody::default())
    }

    fn admit(&self, approve: &ApproveSender) -> Result<AdmittedBody, GatewayRefusal> {
        Err(GatewayRefusal::NoSuchCode(approve.code.clone()))
    }

    fn outbox(&self) -> Result<OutboxBody, GatewayRefusal> {
        Ok(OutboxBody::default())
    }

    fn clear_outbox(&self) -> Result<ClearedBody, GatewayRefusal> {
        Ok(ClearedBody::default())
    }
}
