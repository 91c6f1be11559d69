//! Who sent a request that was let in: found out by the gate, and told to who answers.
//!
//! A request without one was let in because everybody may send it.
//!
//! Elsewhere: how it is found out (`http::access`), which program it is (`http::callers`).

use crate::domain::principal::{Principal, Way};

/// Who sent a request, by what right, and by which way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// On whose behalf it is done.
    pub principal: Principal,
    /// By what right it was let in.
    pub credential: Credential,
    /// By which way it came.
    pub way: Way,
}

/// By what right a request was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// It comes from an account of this machine that needs no token.
    Account,
    /// It bears a token.
    Token,
    /// It bears a ticket for the stream that it asks for: it may see that, and nothing else.
    Ticket,
}
