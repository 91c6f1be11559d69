//! What a check is, and what it may know of where it runs.

use serde::Serialize;

use crate::base::yaml::problem::Problem;

/// One thing that was looked at, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The thing: `config`, `agent ada`, `disk`.
    pub subject: String,
    /// How it is.
    pub status: Health,
    /// The finding, in a sentence.
    pub message: String,
    /// The remedy, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and may not do what is expected.
    Warning,
    /// It does not work.
    Error,
}

impl Health {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Warning => "warning",
            Health::Error => "error",
        }
    }
}

impl Check {
    /// Something as it should be.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Check {
        Check::new(subject, Health::Ok, message)
    }

    /// Something that works, and may not do what is expected.
    pub fn warning(subject: impl Into<String>, message: impl Into<String>) -> Check {
        Check::new(subject, Health::Warning, message)
    }

    /// Something that does not work.
    pub fn error(subject: impl Into<String>, message: impl Into<String>) -> Check {
        Check::new(subject, Health::Error, message)
    }

    fn new(subject: impl Into<String>, status: Health, message: impl Into<String>) -> Check {
        Check {
            subject: subject.into(),
            status,
            message: message.into(),
            hint: None,
        }
    }

    /// The same, with what can be done about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Check {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn of_problem(subject: &str, problem: &Problem) -> Check {
        // Its own hint stands in its line.
        let status = if problem.is_error() {
            Health::Error
        } else {
            Health::Warning
        };
        Check::new(subject, status, problem.to_string())
    }
}

/// A variable of this process.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
