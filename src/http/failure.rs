//! Why the engine refused or a turn failed, as a [`HttpProblem`]. Pure.

use std::error::Error as _;
use std::time::Duration;

use crate::domain::code::FailureCode;
use crate::engine::{EngineError, WorkdirError};
use crate::http::problem::HttpProblem;

/// When to come back after a condition whose end nobody knows.
pub const RETRY_SOON: Duration = Duration::from_secs(5);

impl From<EngineError> for HttpProblem {
    fn from(error: EngineError) -> HttpProblem {
        let detail = error.to_string();
        match error {
            EngineError::AgentNotFound(_)
            | EngineError::SessionNotFound(_)
            | EngineError::NoSuchFile(_)
            | EngineError::NothingToApprove => HttpProblem::new(404, detail),
            EngineError::Workdir(WorkdirError::NotTheOwner | WorkdirError::NotForNetwork) => {
                HttpProblem::new(403, detail)
            }
            EngineError::Workdir(_)
            | EngineError::MessageNotFound(_)
            | EngineError::Invalid(_)
            | EngineError::WrongCall(_) => HttpProblem::new(400, detail),
            EngineError::AgentGone(_) => HttpProblem::new(409, detail).with_kind("agent-gone"),
            EngineError::AgentBroken { .. } => {
                HttpProblem::new(409, detail).with_kind("agent-broken")
            }
            EngineError::KeyReused => HttpProblem::new(409, detail).with_kind("key-reused"),
            EngineError::NotSummarised(_) => {
                HttpProblem::new(409, detail).with_kind("not-summarised")
            }
            EngineError::AlreadyAnswered => {
                HttpProblem::new(409, detail).with_kind("already-answered")
            }
            EngineError::WrongCommand => HttpProblem::new(409, detail).with_kind("command-differs"),
            EngineError::SessionEnded(_) => HttpProblem::new(410, detail),
            EngineError::FileTooLong(_) => HttpProblem::new(413, detail),
            EngineError::TooManyFiles => HttpProblem::new(413, detail).with_kind("too-many-files"),
            EngineError::Busy { retry_after } => {
                retry_later(HttpProblem::new(429, detail), retry_after)
            }
            EngineError::LimitReached {
                agent,
                reached,
                retry_after,
            } => {
                let problem = HttpProblem::new(429, detail)
                    .with_kind("limit-reached")
                    .with_member("agent", agent)
                    .with_member("limit", reached.limit.key())
                    .with_member("opens_at", reached.opens_at.to_string());
                retry_later(problem, retry_after)
            }
            EngineError::Draining => retry_later(HttpProblem::new(503, detail), RETRY_SOON),
            EngineError::ReadOnly => retry_later(
                HttpProblem::new(503, detail).with_kind("read-only"),
                RETRY_SOON,
            ),
            EngineError::DiskFull(_) => HttpProblem::new(507, detail),
            EngineError::Store(ref source) if error.is_passing() => {
                log::warn!("{detail}: {source}");
                retry_later(HttpProblem::new(503, detail), RETRY_SOON)
            }
            EngineError::Store(ref source) => {
                // Paths are for the operator, who reads the log.
                let cause = source.source().map(ToString::to_string);
                log::error!("{detail}: {source} ({})", cause.unwrap_or_default());
                HttpProblem::new(500, detail)
            }
        }
    }
}

/// Adds `Retry-After`, in whole seconds, at least one.
pub fn retry_later(problem: HttpProblem, after: Duration) -> HttpProblem {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    problem.with_header("Retry-After", seconds.max(1).to_string())
}

/// A turn that waits until something can be written or begun; it goes on by itself. `reason` says
/// so, and for what.
pub fn turn_waits(reason: &str) -> HttpProblem {
    let detail = format!("what was sent is stored; {reason}");
    HttpProblem::new(507, detail).with_kind("turn-waits")
}

/// A turn that could not go on. `code` is the word of the turn's error, which clients get too.
pub fn turn_failed(code: &str, message: String) -> HttpProblem {
    let status = match FailureCode::parse(code) {
        Some(FailureCode::ProviderTimeout) => 504,
        Some(
            FailureCode::ProviderError
            | FailureCode::ProviderUnreachable
            | FailureCode::MissingKey
            | FailureCode::ContextOverflow,
        ) => 502,
        Some(FailureCode::SessionEnded) => 410,
        // The message is stored, but it would not help to say it again now.
        Some(FailureCode::LimitReached) => 429,
        Some(
            FailureCode::AgentGone
            | FailureCode::Interrupted
            | FailureCode::TooManyTries
            | FailureCode::Loop
            | FailureCode::StorageError
            | FailureCode::InternalError
            | FailureCode::Failed
            | FailureCode::TurnWaits,
        )
        | None => 500,
    };
    HttpProblem::new(status, message).with_member("code", code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::SessionId;
    use crate::domain::spend::{Amount, Limit, Reached};
    use crate::domain::time::Timestamp;
    use crate::store::StoreError;

    #[test]
    fn every_refusal_has_its_status() {
        let id = SessionId::mint(1, 1);
        let busy = |ms| EngineError::Busy {
            retry_after: Duration::from_millis(ms),
        };
        let spent = |ms| EngineError::LimitReached {
            agent: "a".into(),
            reached: Reached {
                limit: Limit::TokensPerDay,
                max: Amount::Count(1),
                opens_at: Timestamp::from_micros(0),
            },
            retry_after: Duration::from_millis(ms),
        };
        for (error, status, retry) in [
            (EngineError::AgentNotFound("x".into()), 404, None),
            (EngineError::SessionNotFound(id.clone()), 404, None),
            (EngineError::NothingToApprove, 404, None),
            (EngineError::MessageNotFound("x".into()), 400, None),
            (EngineError::Invalid("no".into()), 400, None),
            (EngineError::WrongCall("x".into()), 400, None),
            (EngineError::AgentGone("x".into()), 409, None),
            (
                EngineError::AgentBroken {
                    agent: "x".into(),
                    mistake: "x/agent.yaml:1:1: no".into(),
                },
                409,
                None,
            ),
            (EngineError::KeyReused, 409, None),
            (EngineError::NotSummarised("no"), 409, None),
            (EngineError::AlreadyAnswered, 409, None),
            (EngineError::WrongCommand, 409, None),
            (EngineError::SessionEnded(id.clone()), 410, None),
            (busy(0), 429, Some("1")),
            (busy(1500), 429, Some("2")),
            (spent(90_500), 429, Some("91")),
            (EngineError::Draining, 503, Some("5")),
            (EngineError::ReadOnly, 503, Some("5")),
            (EngineError::DiskFull(None), 507, None),
        ] {
            let name = error.to_string();
            let problem = HttpProblem::from(error);
            assert_eq!(problem.status(), status, "{name}");
            assert_eq!(problem.detail(), name);
            let header = problem.headers().first().map(|(_, value)| value.as_str());
            assert_eq!(header, retry, "{name}");
        }
    }

    #[test]
    fn a_store_error_shows_no_path() {
        let source = StoreError::Io {
            action: "open",
            target: "/secret/place".into(),
            source: std::io::Error::other("broken"),
        };
        let problem = HttpProblem::from(EngineError::Store(source));
        assert_eq!(problem.status(), 500);
        assert!(!String::from_utf8_lossy(&problem.body()).contains("secret"));
    }

    #[test]
    fn a_failed_turn_tells_whose_fault_it_was() {
        for (code, status) in [
            ("provider_timeout", 504),
            ("provider_error", 502),
            ("provider_unreachable", 502),
            ("missing_key", 502),
            ("context_overflow", 502),
            ("session_ended", 410),
            ("limit_reached", 429),
            ("storage_error", 500),
            ("anything", 500),
        ] {
            assert_eq!(turn_failed(code, "why".into()).status(), status, "{code}");
        }
    }
}
