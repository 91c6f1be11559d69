//! How sessions are named on the command line: by their ids, or how these begin or end.

use crate::cli::error::CliError;
use crate::client::ApiClient;
use crate::domain::event::Status;
use crate::domain::ids::SessionId;
use crate::wire::SessionBody;

/// Whoever has more sessions than this names the one that is meant in full.
pub(super) const SEARCHED_MAX: usize = 10_000;

/// Sessions that somebody can attach to, newest first.
pub(super) fn attachable(client: &ApiClient) -> Result<Vec<SessionBody>, CliError> {
    let mut sessions = client.sessions(&[], SEARCHED_MAX)?;
    sessions.retain(is_attachable);
    Ok(sessions)
}

/// The session is not over.
pub(super) fn is_attachable(session: &SessionBody) -> bool {
    session.status != Status::Completed
}

/// The session that `text` names: its id, or the beginning or the end of the id of only one that
/// is not over, with or without the prefix that all have.
pub(super) fn find(client: &ApiClient, text: &str) -> Result<SessionId, CliError> {
    if let Ok(id) = SessionId::parse(text) {
        return Ok(id);
    }
    let sessions = attachable(client)?.into_iter();
    pick(sessions.map(|session| session.session_id), text)
        .map_err(|failure| failure.hint("duragent attach --list shows what there is"))
}

/// The only one of `ids` that `text` names, by its beginning or its end.
pub(super) fn pick(
    ids: impl Iterator<Item = SessionId>,
    text: &str,
) -> Result<SessionId, CliError> {
    let mut found: Vec<SessionId> = ids.filter(|id| is_named(id, text)).collect();
    match (found.pop(), found.len()) {
        (Some(id), 0) => Ok(id),
        (Some(_), others) => Err(CliError::usage(format!(
            "{} sessions are called {text}…",
            others + 1
        ))),
        (None, _) => Err(CliError::new(format!("there is no session {text}"))),
    }
}

/// Whether `text` is the beginning or the end of an id. Ids of one time begin alike, so that their
/// ends are shorter names; two letters are none.
fn is_named(id: &SessionId, text: &str) -> bool {
    const CHARS_MIN: usize = 4;
    let digits = &id.as_str()[SessionId::PREFIX.len()..];
    let typed = text.strip_prefix(SessionId::PREFIX).unwrap_or(text);
    let typed = typed.to_ascii_uppercase();
    typed.len() >= CHARS_MIN && (digits.starts_with(&typed) || digits.ends_with(&typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_the_beginning_or_the_end_of_its_id() {
        let id = SessionId::parse("session_01J0000000000000000000ABCD").unwrap();
        for (text, expected) in [
            ("session_01J0", true),
            ("01J00", true),
            ("01j00", true),
            ("ABCD", true),
            ("abcd", true),
            ("BCD", false),
            ("session_", false),
            ("", false),
            ("ABCE", false),
        ] {
            assert_eq!(is_named(&id, text), expected, "{text:?}");
        }
    }
}
