//! What the tests of several files need: narrow sockets, a session.

use std::net::TcpStream;

use rustix::net::sockopt;

use crate::domain::event::{ApprovalKind, Status};
use crate::domain::ids::{CallId, Seq, SessionId};
use crate::domain::state::Summary;
use crate::domain::time::Timestamp;
use crate::engine::sessions::view::{PendingApproval, SessionView};

/// Far more than fits on a [narrow](narrow) way.
pub(in crate::http) const TOO_MUCH: usize = 1 << 20;

/// Keeps the way from `socket` to `client` narrow: the system would widen it for a client that reads
/// nothing.
pub(in crate::http) fn narrow(socket: &TcpStream, client: &TcpStream) {
    const BYTES: usize = 16 << 10;
    sockopt::set_socket_send_buffer_size(socket, BYTES).unwrap();
    sockopt::set_socket_recv_buffer_size(client, BYTES).unwrap();
}

/// A session at work, which waits for a decision.
pub(in crate::http) fn session() -> SessionView {
    let time = Timestamp::from_micros(1);
    SessionView {
        id: SessionId::parse("session_01J0000000000000000000000A").unwrap(),
        summary: Summary {
            agent: "helper".to_owned(),
            created_at: time,
            updated_at: time,
            last_seq: Seq(4),
            message_count: 1,
            user_messages: 1,
            ..Summary::empty()
        },
        status: Status::Active,
        working: true,
        attached: 2,
        pending_approval: Some(PendingApproval {
            call_id: CallId::parse("c1").unwrap(),
            command: "ls".to_owned(),
            commands: vec!["ls".to_owned()],
            kind: ApprovalKind::Policy,
            exact: false,
            session_rules: Vec::new(),
            requester_id: None,
        }),
    }
}
