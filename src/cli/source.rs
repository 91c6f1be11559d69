//! Where sessions are managed: on the server that runs, or on their files when none does.

use crate::cli::args::ServerArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::server::connect_running;
use crate::cli::session_names::{SEARCHED_MAX, pick};
use crate::cli::settings::ClientSettings;
use crate::client::ApiClient;
use crate::domain::event::Record;
use crate::domain::ids::{Seq, SessionId};
use crate::domain::search::FoundMessage;
use crate::domain::time::Timestamp;
use crate::wire::RecordPageBody;
use crate::wire::SessionBody;
use crate::workspace::sessions::{
    LockError, OwnedSessions, SessionFiles, SessionFilter, StoreError,
};

/// See the [module](self).
pub(super) enum SessionSource {
    /// A server holds the sessions.
    Server(ApiClient),
    /// Nobody does.
    Files(SessionFiles),
}

impl SessionSource {
    /// The server that is named or runs; else the workspace's files.
    pub(super) fn find(
        args: &ServerArgs,
        settings: &ClientSettings,
    ) -> Result<SessionSource, CliError> {
        Ok(match connect_running(args, settings)? {
            Some(client) => SessionSource::Server(client),
            None => SessionSource::Files(settings.files()),
        })
    }

    /// The session that `text` names: its id, or how the id of only one begins or ends.
    pub(super) fn named(&self, text: &str) -> Result<SessionId, CliError> {
        if let Ok(id) = SessionId::parse(text) {
            return Ok(id);
        }
        let ids = match self {
            SessionSource::Server(client) => {
                let sessions = client.sessions(&[], SEARCHED_MAX)?.into_iter();
                sessions.map(|session| session.session_id).collect()
            }
            SessionSource::Files(files) => files.ids()?,
        };
        pick(ids.into_iter(), text)
            .map_err(|failure| failure.hint("duragent session list shows what there is"))
    }

    /// Sessions, newest first.
    pub(super) fn list(
        &self,
        filter: &SessionFilter,
        limit: usize,
    ) -> Result<Vec<SessionBody>, CliError> {
        match self {
            SessionSource::Server(client) => {
                let agent = filter.agent.as_deref().map(|agent| ("agent", agent));
                let status = filter.status.map(|status| ("status", status.as_str()));
                let query: Vec<_> = agent.into_iter().chain(status).collect();
                let mut sessions = client.sessions(&query, limit)?;
                // An older server may not know what it was asked for.
                sessions.retain(|one| is_wanted(filter, one));
                Ok(sessions)
            }
            SessionSource::Files(files) => Ok(files.list(filter, limit)?),
        }
    }

    /// The messages that fit best.
    pub(super) fn search(
        &self,
        text: &str,
        agent: Option<&str>,
        since: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<FoundMessage>, CliError> {
        match self {
            SessionSource::Server(client) => {
                let (limit, since) = (limit.to_string(), since.map(|since| since.to_string()));
                let mut query = vec![("query", text), ("limit", &limit)];
                query.extend(agent.map(|agent| ("agent", agent)));
                query.extend(since.as_deref().map(|since| ("since", since)));
                Ok(client.search(&query)?)
            }
            SessionSource::Files(files) => Ok(files.search(text, agent, since, limit)?),
        }
    }

    /// One session.
    pub(super) fn session(&self, id: &SessionId) -> Result<SessionBody, CliError> {
        match self {
            SessionSource::Server(client) => Ok(client.session(id)?),
            SessionSource::Files(files) => files.session(id).map_err(unread),
        }
    }

    /// Hands the records after `after` over, up to the end of the log; returns the last one's
    /// number.
    pub(super) fn each_record(
        &self,
        id: &SessionId,
        after: Seq,
        mut each: impl FnMut(&Record) -> CliResult,
    ) -> Result<Seq, CliError> {
        let mut last = after;
        loop {
            let RecordPageBody { events, next } = self.records(id, last)?;
            for record in &events {
                each(record)?;
            }
            match next {
                Some(next) => last = next,
                None => return Ok(last),
            }
        }
    }

    fn records(&self, id: &SessionId, after: Seq) -> Result<RecordPageBody, CliError> {
        const PAGE: usize = 500;
        match self {
            SessionSource::Server(client) => Ok(client.records(id, after, PAGE)?),
            SessionSource::Files(files) => files.records(id, after, PAGE).map_err(unread),
        }
    }

    /// Ends a session and keeps its files.
    pub(super) fn end(&self, id: &SessionId) -> CliResult {
        match self {
            SessionSource::Server(client) => Ok(client.end_session(id)?),
            SessionSource::Files(files) => Ok(own(files)?.end(id)?),
        }
    }

    /// Deletes a session and its files.
    pub(super) fn delete(&self, id: &SessionId) -> CliResult {
        match self {
            SessionSource::Server(client) => Ok(client.delete_session(id)?),
            SessionSource::Files(files) => Ok(own(files)?.delete(id)?),
        }
    }
}

/// What can be done about a line of 0.5 that says nothing.
pub(super) const MEND_OLDER: &str =
    "copy the file, then mend or remove that line: numbers may be missing in a log of Duragent 0.5";

/// A session that cannot be read, and what can be done about it.
fn unread(error: StoreError) -> CliError {
    let hint = match &error {
        StoreError::Damaged { .. } => {
            Some("duragent session check --all --repair mends what can be mended")
        }
        StoreError::OlderDamaged { .. } => Some(MEND_OLDER),
        _ => None,
    };
    let failure = CliError::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn is_wanted(filter: &SessionFilter, session: &SessionBody) -> bool {
    filter
        .agent
        .as_ref()
        .is_none_or(|agent| session.agent == *agent)
        && filter.status.is_none_or(|status| session.status == status)
}

/// Takes the workspace, or says who has it and what to do about that.
pub(super) fn own(files: &SessionFiles) -> Result<OwnedSessions, CliError> {
    files.own().map_err(|error| {
        let is_held = matches!(error, LockError::Held { .. });
        let failure = CliError::from(error);
        if is_held {
            return failure.hint("stop it first, with: duragent serve stop");
        }
        failure
    })
}

/// Takes the workspace for an import, unless a server has it.
pub(super) fn importing(files: &SessionFiles) -> Result<Option<OwnedSessions>, CliError> {
    match files.own() {
        Ok(owner) => Ok(Some(owner)),
        Err(LockError::Held { .. }) => Ok(None),
        Err(error) => Err(CliError::from(error)),
    }
}
