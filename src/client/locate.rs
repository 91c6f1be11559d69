//! Where a server is.

/// Says where a server is. It is asked before each request: a server that was started again may be
/// elsewhere, and another program may be where it was.
pub trait Locate: Send + Sync {
    /// The address as `http://HOST:PORT`, without a `/` at the end.
    ///
    /// Errors: there is no server now.
    fn locate(&self) -> Result<String, NoServer>;

    /// A user is about to ask for something: a server that a client started may be started again.
    fn wake(&self) {}

    /// News of the server for the user, once: of one that was started again, say.
    fn news(&self) -> Option<String> {
        None
    }
}

/// An address that stays.
impl Locate for String {
    fn locate(&self) -> Result<String, NoServer> {
        Ok(self.clone())
    }
}

/// That there is no server, and what a user can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoServer {
    /// Why.
    pub message: String,
    /// A command or a setting that helps.
    pub hint: String,
}
