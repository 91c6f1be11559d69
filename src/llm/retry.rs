//! When a failed call is tried again. Pure.

use std::time::{Duration, SystemTime};

use crate::domain::time::Timestamp;
use crate::llm::LlmError;

/// How often a model is asked before the next choice has its turn.
const TRIES_MAX: u32 = 3;

/// The longest wait that a provider may ask for; a fallback is better than a longer one.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long to wait after the failed try number `tries` (from 1); `None` to give this choice up.
///
/// The wait doubles from `first` on, give or take a fifth, so that many sessions do not come
/// back in step; a provider that names a time is believed. `left` is what the whole call has
/// left: a wait that outlasts it is none. `dice` is from 0 to 1.
pub(super) fn delay(
    tries: u32,
    error: &LlmError,
    first: Duration,
    left: Option<Duration>,
    dice: f64,
) -> Option<Duration> {
    if tries >= TRIES_MAX || !error.is_retryable() {
        return None;
    }
    let own = first * 2_u32.pow(tries - 1);
    let delay = match asked_for(error) {
        Some(asked) if asked > RETRY_AFTER_MAX => return None,
        Some(asked) => asked.max(own),
        None => own,
    };
    let delay = delay.mul_f64(0.8 + 0.4 * dice);
    // Never earlier than the provider said.
    let delay = delay.max(asked_for(error).unwrap_or_default());
    left.is_none_or(|left| delay < left).then_some(delay)
}

/// The next choice may help where this one failed for good.
pub(super) fn is_for_fallback(error: &LlmError) -> bool {
    match error {
        LlmError::MissingKey { .. } | LlmError::NoAddress { .. } => true,
        // A wrong key or a bad request is somebody's to mend: a fallback would hide it.
        LlmError::Status { .. }
        | LlmError::MidStream { .. }
        | LlmError::Truncated { .. }
        | LlmError::Unreachable { .. }
        | LlmError::Timeout { .. }
        | LlmError::Malformed { .. }
        | LlmError::Cancelled
        | LlmError::Sink(_) => error.is_retryable(),
        // The same model can answer less of it.
        LlmError::ContextOverflow { .. } => false,
    }
}

fn asked_for(error: &LlmError) -> Option<Duration> {
    match error {
        LlmError::Status { retry_after, .. } => *retry_after,
        LlmError::Cancelled
        | LlmError::MissingKey { .. }
        | LlmError::NoAddress { .. }
        | LlmError::ContextOverflow { .. }
        | LlmError::MidStream { .. }
        | LlmError::Truncated { .. }
        | LlmError::Unreachable { .. }
        | LlmError::Timeout { .. }
        | LlmError::Malformed { .. }
        | LlmError::Sink(_) => None,
    }
}

/// Reads `Retry-After`: seconds, or an HTTP date. A date that has passed is zero.
///
/// Source: RFC 9110, section 10.2.3.
pub(super) fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = Timestamp::parse_http(text).ok()?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Duration::from_micros(at.as_micros()).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::Provider;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(status: u16, retry_after: Option<Duration>) -> LlmError {
        LlmError::Status {
            provider: Provider::OPENAI,
            status,
            message: String::new(),
            retry_after,
            hint: None,
        }
    }

    /// The wait after a try, for some dice.
    fn wait(tries: u32, error: &LlmError, left: Option<Duration>, dice: f64) -> Option<f64> {
        let wait = delay(tries, error, SECOND, left, dice)?;
        // To the millisecond.
        Some((wait.as_secs_f64() * 1e3).round() / 1e3)
    }

    #[test]
    fn waits_double_are_scattered_by_a_fifth_and_end_after_the_third_try() {
        let error = status(503, None);
        for (tries, dice, expected) in [
            (1, 0.0, Some(0.8)),
            (1, 0.5, Some(1.0)),
            (1, 1.0, Some(1.2)),
            (2, 0.0, Some(1.6)),
            (2, 1.0, Some(2.4)),
            (3, 0.5, None),
        ] {
            assert_eq!(wait(tries, &error, None, dice), expected, "{tries} {dice}");
        }
    }

    #[test]
    fn a_provider_that_names_a_time_is_believed_within_reason() {
        let after = |seconds| status(429, Some(SECOND * seconds));
        for (seconds, left, dice, expected) in [
            // Never earlier than it said, and never sooner than we would have.
            (7, None, 0.0, Some(7.0)),
            (7, None, 0.5, Some(7.0)),
            (7, None, 1.0, Some(8.4)),
            (0, None, 0.0, Some(0.8)),
            (60, None, 0.0, Some(60.0)),
            (61, None, 0.0, None),
            (7, Some(5), 0.0, None),
            (7, Some(7), 0.0, None),
            (7, Some(8), 0.0, Some(7.0)),
        ] {
            let left = left.map(|seconds| SECOND * seconds);
            let found = wait(1, &after(seconds), left, dice);
            assert_eq!(found, expected, "{seconds} {left:?} {dice}");
        }
    }

    #[test]
    fn another_model_is_asked_where_a_key_is_missing_and_not_where_the_same_can_answer_less() {
        let provider = Provider::OPENAI;
        let text = String::new;
        for (error, expected) in [
            (
                LlmError::MissingKey {
                    provider: provider.clone(),
                    remedy: text(),
                },
                true,
            ),
            (
                LlmError::NoAddress {
                    provider: provider.clone(),
                    why: text(),
                },
                true,
            ),
            (
                LlmError::ContextOverflow {
                    provider: provider.clone(),
                    message: text(),
                },
                false,
            ),
            (
                LlmError::Malformed {
                    provider,
                    message: text(),
                },
                false,
            ),
            (LlmError::Cancelled, false),
            (LlmError::Sink(text().into()), false),
        ] {
            assert_eq!(is_for_fallback(&error), expected, "{error:?}");
            assert_eq!(delay(1, &error, SECOND, None, 0.5), None, "{error:?}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again_or_elsewhere() {
        for (code, retried) in [
            (400, false),
            (401, false),
            (403, false),
            (404, false),
            (408, true),
            (429, true),
            (500, true),
            (529, true),
        ] {
            let error = status(code, None);
            assert_eq!(
                delay(1, &error, SECOND, None, 0.5).is_some(),
                retried,
                "{code}"
            );
            assert_eq!(is_for_fallback(&error), retried, "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + SECOND * 784_111_770;
        for (text, expected) in [
            ("7", Some(SECOND * 7)),
            (" 0.5 ", Some(SECOND / 2)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(SECOND * 7)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(Duration::ZERO)),
            ("-1", None),
            ("soon", None),
            ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ] {
            assert_eq!(parse_retry_after(text, now), expected, "{text}");
        }
    }
}
