//! Gateways: how they are, who waits to be let in, what chats lack.

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// `GET /api/admin/v1/gateways`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayListBody {
    /// Bots of Telegram first, then programs, as the configuration has them.
    pub gateways: Vec<GatewayBody>,
}

/// A gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayBody {
    /// Its name.
    pub name: String,
    /// `telegram` or `external`.
    pub kind: String,
    /// `starting`, `ready`, `restarting`, `down`, `failed` or `trouble`.
    pub state: String,
    /// What is to be known of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The version of the protocol that it says it speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When something last came from it: one that answers pings may still be deaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<Timestamp>,
    /// How often its program was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<u64>,
    /// How a person is to let it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<GatewayAuthBody>,
}

/// What a person needs to let a gateway in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayAuthBody {
    /// `qr_code` or `pair_code`.
    pub method: String,
    /// The code, or the picture in letters.
    pub shown: String,
    /// Seconds that it still holds.
    pub expires_in: u64,
}

/// `GET /api/admin/v1/gateways/{name}/logs`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayLogBody {
    /// What its program said lately beside the protocol, oldest first.
    pub lines: Vec<String>,
}

/// `POST /api/admin/v1/gateways/{name}/restart`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartedBody {
    /// `restarting`
    pub status: String,
}

/// `GET /api/admin/v1/gateways/pairings`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingListBody {
    /// The strangers who wait, those of a gateway together.
    pub pairings: Vec<PairingBody>,
}

/// A stranger who wants to talk to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingBody {
    /// The code that they were told.
    pub code: String,
    /// By which gateway.
    pub gateway: String,
    /// Whom the platform calls so.
    pub sender_id: String,
    /// As they call themselves, which proves nothing.
    pub name: String,
    /// The agent.
    pub agent: String,
    /// When they first wrote.
    pub at: Timestamp,
    /// Nobody decides for this agent from a chat yet.
    #[serde(default)]
    pub is_first: bool,
}

/// `POST /api/admin/v1/gateways/approve`: who may talk to the agent from now on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedBody {
    /// By which gateway.
    pub gateway: String,
    /// Whom the platform calls so.
    pub sender_id: String,
    /// As they call themselves.
    pub name: String,
    /// The agent.
    pub agent: String,
    /// They answer approvals, too.
    pub approver: bool,
}

/// `GET /api/admin/v1/gateways/outbox`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxBody {
    /// What chats lack.
    pub waiting: Vec<WaitingChatBody>,
    /// What was given up.
    pub aside: Vec<SetAsideBody>,
}

/// A chat that lacks something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingChatBody {
    /// By which gateway.
    pub gateway: String,
    /// The chat.
    pub chat_id: String,
    /// Its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Sessions of which it may lack something.
    pub sessions: Vec<String>,
    /// Announcements that it lacks.
    pub announcements: usize,
    /// Why nothing goes out now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Something that a chat never gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideBody {
    /// By which gateway.
    pub gateway: String,
    /// The chat.
    pub chat_id: String,
    /// Its thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// When it was given up.
    pub at: Timestamp,
    /// Of which session it is; an announcement is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The beginning of its words.
    pub text: String,
    /// Why.
    pub why: String,
}

/// `DELETE /api/admin/v1/gateways/outbox`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearedBody {
    /// So much was forgotten.
    pub removed: usize,
}
