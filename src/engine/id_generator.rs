//! Where the engine's times and identifiers come from.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::domain::ids::{CallId, MessageId, SessionId, TurnId};
use crate::domain::time::Timestamp;

/// Makes new identifiers.
#[derive(Debug)]
pub(super) struct IdGenerator {
    clock: Arc<dyn Clock>,
}

impl IdGenerator {
    pub(super) fn new(clock: Arc<dyn Clock>) -> IdGenerator {
        IdGenerator { clock }
    }

    /// Where the times come from.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    pub(super) fn session_id(&self) -> SessionId {
        SessionId::mint(self.now().as_millis(), random())
    }

    pub(super) fn message_id(&self) -> MessageId {
        MessageId::mint(self.now().as_millis(), random())
    }

    pub(super) fn turn_id(&self) -> TurnId {
        TurnId::mint(self.now().as_millis(), random())
    }

    pub(super) fn call_id(&self) -> CallId {
        CallId::mint(self.now().as_millis(), random())
    }
}

fn random() -> u128 {
    fastrand::u128(..)
}
