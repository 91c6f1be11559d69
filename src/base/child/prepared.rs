//! What is to be started, and who looks after it while it runs.

use std::fmt::{self, Debug, Display};
use std::io;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::base::os::ChildRules;
use crate::base::shown::shown_by_name;

/// A child that is ready to be started. Its output and its input are set by [`run()`](super::run()).
#[derive(Debug)]
pub struct Prepared {
    /// Its program, arguments and environment.
    pub command: Command,
    /// Limits, and descriptors that it keeps.
    pub rules: ChildRules,
    /// Who looks after it.
    pub monitor: Box<dyn Monitor>,
}

/// Looks after a child while it runs.
pub trait Monitor: Send {
    /// It was started.
    ///
    /// Errors: why it must not go on.
    fn started(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether it has something to [check](Self::check): a child that nothing has to be looked for at
    /// costs no wake-ups.
    fn is_checking(&self) -> bool {
        false
    }

    /// Called several times a second while the child runs; says why it must end, if it must.
    fn check(&mut self) -> Option<String> {
        None
    }

    /// The child and its group are dead, by themselves or not.
    fn ended(&mut self, end: &End) {
        let _nothing_to_clear_away = end;
    }
}

shown_by_name!(Monitor);

/// Nobody looks after it.
#[derive(Debug)]
pub struct NoMonitor;

impl Monitor for NoMonitor {}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exited(ExitStatus),
    /// It was cancelled.
    Cancelled,
    /// Its time was up.
    TimedOut(Duration),
    /// Its monitor said so.
    Stopped(String),
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited(status) => write!(f, "{status}"),
            End::Cancelled => f.write_str("killed: it was cancelled"),
            End::TimedOut(limit) => {
                write!(f, "killed: it took more than {} seconds", limit.as_secs())
            }
            End::Stopped(reason) => write!(f, "killed: {reason}"),
        }
    }
}
