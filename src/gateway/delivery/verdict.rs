//! What a platform's answer means for what was to be sent. Pure.
//!
//! Programs say what went wrong in words of their platform's, so words decide where codes do not.

use std::time::Duration;

use crate::gateway::outlet::CommandOutcome;
use crate::gateway::protocol::{FailedCommand, error_codes};

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SendVerdict {
    /// The platform has it.
    Done {
        /// The message that it is.
        message_id: Option<String>,
    },
    /// It is to be tried again: not before so long, where the platform says so.
    Again {
        /// The platform's own wish.
        after: Option<Duration>,
        /// What went wrong.
        why: String,
    },
    /// The platform is not reached, or does not answer: others need not be tried either.
    Unreached {
        /// What went wrong.
        why: String,
    },
    /// It will never go well.
    Refused {
        /// The platform cannot do such a thing at all.
        is_unknown: bool,
        /// Why.
        why: String,
    },
    /// The chat must not be written to for now.
    Rests {
        /// Why.
        why: String,
    },
    /// The chat has that id now.
    Moved {
        /// The id.
        to: String,
    },
}

/// The chat is closed to the gateway until somebody there opens it.
const RESTS: &[&str] = &[
    "blocked by the user",
    "bot was kicked",
    "bot is not a member",
];

/// It will never go well.
const FINAL: &[&str] = &[
    "chat not found",
    "not enough rights",
    "user is deactivated",
    "have no rights to send",
];

/// The same by code.
const FINAL_CODES: &[&str] = &[
    error_codes::NOT_IMPLEMENTED,
    error_codes::INVALID_REQUEST,
    error_codes::MESSAGE_NOT_FOUND,
    error_codes::CHAT_NOT_FOUND,
];

/// What how a command ended means.
pub(super) fn verdict(outcome: CommandOutcome) -> SendVerdict {
    match outcome {
        CommandOutcome::Done { message_id } => SendVerdict::Done { message_id },
        CommandOutcome::NotSent => SendVerdict::Unreached {
            why: "the platform is not reached".to_owned(),
        },
        CommandOutcome::Unanswered => SendVerdict::Unreached {
            why: "the platform did not answer".to_owned(),
        },
        CommandOutcome::Refused(failed) => of_failed(failed),
    }
}

fn of_failed(failed: FailedCommand) -> SendVerdict {
    let words = failed.message.to_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    let after = failed.retry_after.or_else(|| retry_after(&words));
    let why = match failed.message.as_str() {
        "" => failed.code.clone(),
        message => format!("{}: {message}", failed.code),
    };
    if words.contains("message is not modified") {
        return SendVerdict::Done { message_id: None };
    }
    if let Some(to) = failed.migrate_to {
        return SendVerdict::Moved { to };
    }
    if let Some(seconds) = after {
        let after = Some(Duration::from_secs(seconds));
        return SendVerdict::Again { after, why };
    }
    if says(RESTS) {
        return SendVerdict::Rests { why };
    }
    if says(FINAL) || FINAL_CODES.contains(&failed.code.as_str()) {
        let is_unknown = failed.code == error_codes::NOT_IMPLEMENTED;
        return SendVerdict::Refused { is_unknown, why };
    }
    if failed.code == error_codes::NOT_CONNECTED {
        return SendVerdict::Unreached { why };
    }
    SendVerdict::Again { after: None, why }
}

/// The seconds of `retry after 30`, however it is written.
fn retry_after(words: &str) -> Option<u64> {
    let at = words.find("retry")? + "retry".len();
    let rest = words[at..].trim_start_matches([' ', '_', '-']);
    let rest = rest.strip_prefix("after")?;
    let rest = rest.trim_start_matches([' ', ':', '=', '"']);
    let number = rest
        .split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .next()?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let is_more = part.bytes().any(|digit| digit != b'0');
    Some(whole.saturating_add(u64::from(is_more)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, message: &str) -> SendVerdict {
        verdict(CommandOutcome::Refused(FailedCommand {
            request_id: "1".to_owned(),
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after: None,
            migrate_to: None,
        }))
    }

    #[test]
    fn codes_and_words_decide() {
        for (code, message, expected) in [
            ("send_failed", "Bad Request: chat not found", "final"),
            ("chat_not_found", "", "final"),
            ("not_implemented", "no media here", "unknown"),
            ("invalid_request", "x", "final"),
            ("message_not_found", "x", "final"),
            (
                "send_failed",
                "Forbidden: Not enough rights to send text",
                "final",
            ),
            ("send_failed", "Forbidden: user is deactivated", "final"),
            (
                "unauthorized",
                "Forbidden: bot was blocked by the user",
                "rests",
            ),
            (
                "send_failed",
                "Forbidden: bot was kicked from the supergroup chat",
                "rests",
            ),
            (
                "edit_failed",
                "Bad Request: message is not modified: …",
                "done",
            ),
            (
                "invalid_request",
                "Bad Request: message is not modified",
                "done",
            ),
            ("rate_limited", "Too Many Requests: retry after 30", "30"),
            ("send_failed", "flood, \"retry_after\": 2.5, please", "3"),
            ("invalid_request", "Retry After: 7", "7"),
            (
                "edit_failed",
                "can't find end of the entity; retry after parsing",
                "again",
            ),
            ("send_failed", "Unknown Channel", "again"),
            ("delete_failed", "x", "again"),
            ("answer_callback_failed", "x", "again"),
            ("init_failed", "x", "again"),
            ("platform_error", "Bad Gateway", "again"),
            ("unauthorized", "Unauthorized", "again"),
            ("rate_limited", "", "again"),
            ("a word of tomorrow", "", "again"),
            ("not_connected", "", "unreached"),
        ] {
            let found = match refused(code, message) {
                SendVerdict::Done { .. } => "done".to_owned(),
                SendVerdict::Again { after: None, .. } => "again".to_owned(),
                SendVerdict::Again {
                    after: Some(it), ..
                } => it.as_secs().to_string(),
                SendVerdict::Unreached { .. } => "unreached".to_owned(),
                SendVerdict::Refused {
                    is_unknown: true, ..
                } => "unknown".to_owned(),
                SendVerdict::Refused { .. } => "final".to_owned(),
                SendVerdict::Rests { .. } => "rests".to_owned(),
                SendVerdict::Moved { to } => to,
            };
            assert_eq!(found, expected, "{code} {message}");
        }
    }

    #[test]
    fn what_the_gateway_says_in_fields_counts_first() {
        let failed = FailedCommand {
            request_id: "1".to_owned(),
            code: "invalid_request".to_owned(),
            message: "group chat was upgraded".to_owned(),
            retry_after: Some(30),
            migrate_to: None,
        };
        let again = verdict(CommandOutcome::Refused(failed.clone()));
        let after = Some(Duration::from_secs(30));
        assert!(matches!(again, SendVerdict::Again { after: found, .. } if found == after));
        let moved = verdict(CommandOutcome::Refused(FailedCommand {
            migrate_to: Some("-1007".to_owned()),
            ..failed
        }));
        assert_eq!(
            moved,
            SendVerdict::Moved {
                to: "-1007".to_owned()
            }
        );
    }
}
