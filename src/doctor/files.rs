//! The files of a workspace, beside the agents' own.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::check::{Check, environment};
use crate::base::plural::{agreeing, counted};
use crate::config::Config;
use crate::domain::ids::SessionId;
use crate::domain::spec::AgentSpec;
use crate::http::front;
use crate::trust::WorkspaceTrust;
use crate::workspace::policy_files::{POLICY_FILE, validate, validate_in, validate_own};
use crate::workspace::sessions::{LogReport, SessionFiles};

/// Files of another account in the workspace, as one that was once served by root has them: this
/// account's server could not write them.
pub(super) fn owners(config: &Config) -> Option<Check> {
    let account = geteuid().as_raw();
    let places = [&config.workspace, &config.agents_dir, &config.sessions_dir];
    let inside = places.iter().filter_map(|place| fs::read_dir(place).ok());
    let inside = inside.flatten().flatten().map(|entry| entry.path());
    let mut all = places.iter().map(|place| place.to_path_buf()).chain(inside);
    let foreign = all.find_map(|path| {
        let owner = path.metadata().ok()?.uid();
        (owner != account).then_some((path, owner))
    });
    let (path, owner) = foreign?;
    let message = format!(
        "{} belongs to the account {owner}, and this is {account}",
        path.display()
    );
    let hint = "give all of the workspace to the account that runs the server, with chown -R";
    Some(Check::warning("owner", message).hint(hint))
}

/// Tries to write the log where it has a file: a server that cannot does not start.
pub(super) fn log_file(config: &Config) -> Option<Check> {
    const SUBJECT: &str = "log";
    let file = config.logging.file.as_ref()?;
    let shown = file.display();
    let tried = if file.is_dir() {
        Err(std::io::ErrorKind::IsADirectory.into())
    } else if file.exists() {
        // Not opened: a pipe would wait for its other end.
        access(file, Access::WRITE_OK).map_err(Into::into)
    } else {
        // It is made at the start; its folder is not.
        may_write(file.parent().unwrap_or(Path::new("/")))
    };
    Some(match tried {
        Ok(()) => Check::ok(SUBJECT, shown.to_string()),
        Err(error) => Check::error(SUBJECT, format!("{shown} cannot be written: {error}"))
            .hint("see `logging.file`"),
    })
}

/// Looks for a place for a server's socket, and for what tools need for a while.
pub(super) fn temporary(workspace: &Path) -> Check {
    const SUBJECT: &str = "temporary files";
    const HINT: &str = "set TMPDIR to a folder that this user can write";
    let wanted = env::temp_dir();
    match front::temporary_folder(Some(workspace)) {
        Ok(found) if found == wanted => Check::ok(SUBJECT, found.display().to_string()),
        Ok(found) => {
            let (wanted, found) = (wanted.display(), found.display());
            let message = format!("{wanted} cannot be used; a server takes {found}");
            Check::warning(SUBJECT, message).hint(HINT)
        }
        Err(error) => Check::error(SUBJECT, error.to_string()).hint(HINT),
    }
}

fn may_write(folder: &Path) -> std::io::Result<()> {
    if !folder.metadata()?.is_dir() {
        return Err(std::io::ErrorKind::NotADirectory.into());
    }
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Everything that is wrong with the policies: every call of whoever has a broken one is refused.
pub(super) fn policies(
    config: &Config,
    agents: &[Arc<AgentSpec>],
    trust: &WorkspaceTrust,
) -> Vec<Check> {
    let shared = validate(&config.workspace.join(POLICY_FILE), &environment);
    let homes = agents.iter().map(|agent| &agent.home);
    let own = homes.flat_map(|home| {
        let brought = validate_in(home, &environment, trust);
        let allowed = validate_own(home, &environment, trust);
        brought.into_iter().chain(allowed)
    });
    shared
        .into_iter()
        .chain(own)
        .map(|problem| Check::of_problem("policy", &problem))
        .collect()
}

/// Looks whether the sessions can be read, and their agents are there.
pub(super) fn sessions(config: &Config, agents: &[Arc<AgentSpec>]) -> Check {
    const SUBJECT: &str = "logs";
    /// Logs may be long; `session check --all` has the time.
    const LIMIT: Duration = Duration::from_secs(5);
    let files = SessionFiles::new(&config.workspace, &config.sessions_dir);
    let ids = match files.ids() {
        Ok(ids) => ids,
        Err(error) => return Check::error(SUBJECT, error.to_string()),
    };
    let deadline = Instant::now() + LIMIT;
    let all = ids.len();
    let mut found = SeenSessions::default();
    for id in ids.iter().take_while(|_| Instant::now() < deadline) {
        found.add(&files, id, agents);
    }
    let looked_at = found.looked_at;
    let repair = "`duragent session check --all` tells more, and with --repair mends it";
    if let Some(first) = found.damaged.first() {
        let message = format!(
            "{} of {looked_at} are damaged: {first}",
            found.damaged.len()
        );
        return Check::error(SUBJECT, message).hint(repair);
    }
    let shown = config.sessions_dir.display();
    let misnamed = Some(files.misnamed()).filter(|count| *count > 0);
    let names = misnamed
        .map(|count| format!("{count} more in {shown} have names that are no ids of sessions"));
    let warnings: Vec<String> = found.orphans().into_iter().chain(names).collect();
    if !warnings.is_empty() {
        let check = Check::warning(SUBJECT, warnings.join("; "));
        return match misnamed {
            Some(_) => check.hint(format!("`duragent session import {shown}` gives them ids")),
            None => check,
        };
    }
    let mut read = format!("{looked_at} of {all} sessions were read");
    if found.older > 0 {
        let older = found.older;
        read += &format!("; {older} are of Duragent 0.5, and taken over when they are first used");
    }
    Check::ok(SUBJECT, read)
}

/// The sessions that there was time to look at.
#[derive(Default)]
struct SeenSessions {
    looked_at: usize,
    damaged: Vec<SessionId>,
    /// Of Duragent 0.5.
    older: usize,
    /// How many belong to each agent that is not there.
    orphans: BTreeMap<String, usize>,
}

impl SeenSessions {
    fn add(&mut self, files: &SessionFiles, id: &SessionId, agents: &[Arc<AgentSpec>]) {
        self.looked_at += 1;
        match files.check(id) {
            Ok(report) if !is_damaged(&report) => self.older += usize::from(report.is_older),
            Ok(_) | Err(_) => self.damaged.push(id.clone()),
        }
        let agent = files.session(id).ok().map(|session| session.agent);
        let is_there = |name: &str| agents.iter().any(|agent| agent.name.as_str() == name);
        if let Some(agent) = agent.filter(|name| !is_there(name)) {
            *self.orphans.entry(agent).or_default() += 1;
        }
    }

    fn orphans(&self) -> Option<String> {
        let (agent, count) = self.orphans.first_key_value()?;
        let sessions = counted(*count, "session");
        let belong = agreeing(*count, "belongs", "belong");
        Some(format!(
            "{sessions} {belong} to the agent {agent}, which is not there"
        ))
    }
}

fn is_damaged(report: &LogReport) -> bool {
    report.damaged_places > 0 || report.lost_files > 0
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::fs::{FileType, Mode, mknodat};

    use super::*;
    use crate::config::{ConfigSource, Overrides};
    use crate::doctor::Health;

    #[test]
    fn a_log_is_looked_at_without_being_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        for (name, expected) in [("pipe", Health::Ok), ("folder", Health::Error)] {
            fs::write(&file, format!("logging: {{file: {name}}}\n")).unwrap();
            let source = ConfigSource::File(file.clone());
            let loaded = Config::load(&source, &Overrides::default(), &|_| None);
            let log = folder.path().join(name);
            match name {
                "pipe" => {
                    let place = File::open(folder.path()).unwrap();
                    mknodat(place, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
                }
                _ => fs::create_dir(log).unwrap(),
            }
            let check = log_file(&loaded.unwrap().config).unwrap();
            assert_eq!(check.status, expected, "{name}");
        }
    }
}
