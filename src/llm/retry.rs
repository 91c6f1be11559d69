//! When a failed call is tried again. Pure.

use std::time::Duration;

use crate::llm::{LlmError, OnOverflow, waits};

/// How often a model is asked before the next choice has its turn …
const TRIES_MAX: u32 = 6;
/// … and for how long after it has failed first; a fallback is better than a longer wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// What follows a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterFailure {
    /// Another one, after that time.
    Wait(Duration),
    /// None: the provider asks to be left alone for longer than we wait.
    TooLong(Duration),
    /// None.
    GiveUp,
}

/// What follows the failed try number `tries` (from 1), so long after the first has failed.
///
/// The wait doubles from `first` on, give or take a fifth, so that many sessions do not come
/// back in step; a provider that names a time is believed. `left` is what the whole call has
/// left: a wait that outlasts it is none. `dice` is from 0 to 1.
pub(super) fn after_failure(
    tries: u32,
    since_first: Duration,
    error: &LlmError,
    first: Duration,
    left: Option<Duration>,
    dice: f64,
) -> AfterFailure {
    if !error.is_retryable() {
        return AfterFailure::GiveUp;
    }
    let asked = asked_for(error);
    let patience = PATIENCE.saturating_sub(since_first);
    let is_over = |wait| wait > patience || left.is_some_and(|left| wait >= left);
    if let Some(asked) = asked.filter(|asked| is_over(*asked)) {
        return AfterFailure::TooLong(asked);
    }
    // Never earlier than the provider said.
    let own = first * 2_u32.pow(tries.min(TRIES_MAX) - 1);
    let wait = asked.unwrap_or_default().max(own).mul_f64(0.8 + 0.4 * dice);
    let wait = wait.min(patience).max(asked.unwrap_or_default());
    if tries >= TRIES_MAX || patience.is_zero() || is_over(wait) {
        AfterFailure::GiveUp
    } else {
        AfterFailure::Wait(wait)
    }
}

/// The next choice may help where this one failed for good.
pub(super) fn is_for_fallback(error: &LlmError, on_overflow: OnOverflow) -> bool {
    match error {
        LlmError::MissingKey { .. } | LlmError::NoAddress { .. } | LlmError::Malformed { .. } => {
            true
        }
        // A wrong key, no money, a model that is not there: the notice says so, and the work goes on. A bad request
        // would be as bad elsewhere.
        LlmError::Status { status, .. } => {
            // Whether the same one is to be asked again says nothing of another.
            matches!(status, 401..=404 | 408 | 410 | 429 | 500..=599) || error.is_retryable()
        }
        LlmError::MidStream { status, .. } => {
            matches!(status, Some(401..=404 | 410 | 429)) || error.is_retryable()
        }
        LlmError::Truncated { .. }
        | LlmError::Unreachable { .. }
        | LlmError::Timeout { .. }
        | LlmError::Cancelled
        | LlmError::Sink(_) => error.is_retryable(),
        // At first the same model can answer less of it.
        LlmError::ContextOverflow { .. } => on_overflow != OnOverflow::Tell,
    }
}

fn asked_for(error: &LlmError) -> Option<Duration> {
    match error {
        LlmError::Status {
            retry_after,
            message,
            ..
        } => retry_after.or_else(|| waits::in_words(message)),
        LlmError::MidStream { message, .. } => waits::in_words(message),
        LlmError::Cancelled
        | LlmError::MissingKey { .. }
        | LlmError::NoAddress { .. }
        | LlmError::ContextOverflow { .. }
        | LlmError::Truncated { .. }
        | LlmError::Unreachable { .. }
        | LlmError::Timeout { .. }
        | LlmError::Malformed { .. }
        | LlmError::Sink(_) => None,
    }
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
            should_retry: None,
            hint: None,
        }
    }

    /// The wait after a try, for some dice.
    fn wait(tries: u32, error: &LlmError, left: Option<Duration>, dice: f64) -> Option<f64> {
        match after_failure(tries, Duration::ZERO, error, SECOND, left, dice) {
            // To the millisecond.
            AfterFailure::Wait(wait) => Some((wait.as_secs_f64() * 1e3).round() / 1e3),
            AfterFailure::TooLong(_) | AfterFailure::GiveUp => None,
        }
    }

    #[test]
    fn waits_double_are_scattered_by_a_fifth_and_end_after_the_sixth_try() {
        let error = status(503, None);
        for (tries, dice, expected) in [
            (1, 0.0, Some(0.8)),
            (1, 0.5, Some(1.0)),
            (1, 1.0, Some(1.2)),
            (2, 0.0, Some(1.6)),
            (2, 1.0, Some(2.4)),
            (5, 0.5, Some(16.0)),
            (6, 0.5, None),
        ] {
            assert_eq!(wait(tries, &error, None, dice), expected, "{tries} {dice}");
        }
    }

    #[test]
    fn a_minute_after_the_first_failure_nobody_waits_any_more() {
        let error = status(503, None);
        for (since_first, expected) in [
            (0, AfterFailure::Wait(SECOND)),
            (59, AfterFailure::Wait(SECOND)),
            (60, AfterFailure::GiveUp),
            (600, AfterFailure::GiveUp),
        ] {
            let found = after_failure(1, SECOND * since_first, &error, SECOND, None, 0.5);
            assert_eq!(found, expected, "{since_first}");
        }
        let asked = status(503, Some(SECOND * 40));
        let found = after_failure(2, SECOND * 30, &asked, SECOND, None, 0.5);
        assert_eq!(found, AfterFailure::TooLong(SECOND * 40));
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
            (60, None, 1.0, Some(60.0)),
            (61, None, 0.0, None),
            (7, Some(5), 0.0, None),
            (7, Some(7), 0.0, None),
            (7, Some(8), 0.0, Some(7.0)),
        ] {
            let left = left.map(|seconds| SECOND * seconds);
            let found = wait(1, &after(seconds), left, dice);
            assert_eq!(found, expected, "{seconds} {left:?} {dice}");
        }
        let words = LlmError::MidStream {
            provider: Provider::OPENAI,
            status: None,
            message: "Please try again in 5m0s.".to_owned(),
        };
        assert_eq!(
            after_failure(1, Duration::ZERO, &words, SECOND, None, 0.5),
            AfterFailure::TooLong(SECOND * 300)
        );
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
                true,
            ),
            (LlmError::Cancelled, false),
            (LlmError::Sink(text().into()), false),
        ] {
            let falls_back = is_for_fallback(&error, OnOverflow::Tell);
            assert_eq!(falls_back, expected, "{error:?}");
            assert_eq!(wait(1, &error, None, 0.5), None, "{error:?}");
            let is_too_long = matches!(error, LlmError::ContextOverflow { .. });
            let falls_back = is_for_fallback(&error, OnOverflow::FallBack);
            assert_eq!(falls_back, expected || is_too_long, "{error:?}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_wrong_with_one_provider_elsewhere() {
        for (code, retried, elsewhere) in [
            (400, false, false),
            (401, false, true),
            (402, false, true),
            (403, false, true),
            (404, false, true),
            (422, false, false),
            (408, true, true),
            (429, true, true),
            (500, true, true),
            (529, true, true),
        ] {
            let error = status(code, None);
            assert_eq!(wait(1, &error, None, 0.5).is_some(), retried, "{code}");
            let falls_back = is_for_fallback(&error, OnOverflow::Tell);
            assert_eq!(falls_back, elsewhere, "{code}");
        }
    }

    #[test]
    fn what_a_provider_says_of_another_try_counts_before_its_status() {
        for (code, told, retried, elsewhere) in [
            (500, false, false, true),
            (429, false, false, true),
            (400, true, true, true),
            (409, true, true, true),
        ] {
            let mut error = status(code, None);
            if let LlmError::Status { should_retry, .. } = &mut error {
                *should_retry = Some(told);
            }
            assert_eq!(wait(1, &error, None, 0.5).is_some(), retried, "{code}");
            let falls_back = is_for_fallback(&error, OnOverflow::Tell);
            assert_eq!(falls_back, elsewhere, "{code}");
        }
    }

    #[test]
    fn money_that_is_spent_is_waited_for_only_where_a_time_is_named() {
        let spent = |retry_after| LlmError::Status {
            provider: Provider::OPENAI,
            status: 429,
            message: "You exceeded your current quota, please check your plan".to_owned(),
            retry_after,
            should_retry: None,
            hint: None,
        };
        assert_eq!(wait(1, &spent(None), None, 0.5), None);
        assert!(is_for_fallback(&spent(None), OnOverflow::Tell));
        assert_eq!(wait(1, &spent(Some(SECOND * 3)), None, 0.5), Some(3.0));
    }
}
