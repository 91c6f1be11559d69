//! The bodies of the API and the events of its streams, written once for both sides: `http` fills
//! them, `client` and whatever shows sessions read them.
//!
//! Strictly out: names and order of fields are the API (`docs/api.md`); new ones may come, none is
//! renamed. Leniently in: unknown fields are skipped, and what an older server leaves out or writes
//! otherwise is read as what it means.
//!
//! Texts that may be long are of a type `S`: a writer lends `&str`, a reader gets `String`, which is
//! the default.
//!
//! Elsewhere: which body answers what (`http::wire`), how events are framed (`http::sse`), how they
//! are received (`client`). The settings of one agent are shown as `domain::spec` writes them.

mod agent;
mod event;
mod gateway;
mod lenient;
mod problem;
mod process;
mod request;
mod session;
mod turn;

pub use self::agent::{AgentBody, AgentListBody, BrokenAgentBody, FileErrorBody, ReloadBody};
pub use self::event::{
    AttachedEvent, DecisionEvent, DoneEvent, ErrorEvent, GapEvent, MessageEvent, NoticeEvent,
    RewindEvent, SessionEvent, StartEvent, StatusEvent, TokenEvent, ToolCallEvent, ToolResultEvent,
    UserMessageEvent,
};
pub use self::gateway::{
    AdmittedBody, ClearedBody, GatewayAuthBody, GatewayBody, GatewayListBody, GatewayLogBody,
    OutboxBody, PairingBody, PairingListBody, RestartedBody, SetAsideBody, WaitingChatBody,
};
pub use self::lenient::{OwnedText, plain_line};
pub use self::problem::ProblemBody;
pub use self::process::{ReadinessBody, ShutdownBody, VersionBody};
pub use self::request::{Approve, ApproveSender, BodyError, Change, Compact, NewSession, Say};
pub use self::session::{
    ApprovalBody, GrantBody, GrantListBody, MessageBody, MessageListBody, RecordPageBody,
    SearchBody, SessionBody, SessionListBody,
};
pub use self::turn::{
    CancelledBody, CompactingBody, ContextBody, DecidedBody, NoticeBody, ReplyBody, StoredBody,
    TicketBody, WaitingBody,
};
