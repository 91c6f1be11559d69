//! `duragent session import`: copies sessions from elsewhere.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::plural::{agreeing, counted};
use crate::cli::args::SessionImportArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output;
use crate::cli::settings::ClientSettings;
use crate::cli::source::importing;
use crate::domain::ids::{AgentName, SessionId};
use crate::terminal::clean::one_line;
use crate::workspace::sessions::{Import, ImportError, SessionFiles};

const NAME_WIDTH: usize = 60;
const WHY_WIDTH: usize = 300;

/// Imports what lies at each path.
///
/// Errors: one of them was not imported; the others were.
pub(super) fn run(args: &SessionImportArgs, settings: &ClientSettings) -> CliResult {
    settings.check_found()?;
    let files = settings.files();
    // Nothing starts to serve the workspace meanwhile; a server that does so already is no hindrance.
    let _owner = importing(&files)?;
    let mut told = Vec::new();
    for path in &args.paths {
        match SessionFiles::foreign(path) {
            Ok(found) => told.extend(found.iter().map(|one| import(&files, one, settings))),
            Err(error) => told.push(ImportBody::refused(path, error)),
        }
    }
    if args.output.is_json() {
        output::print_json(&told)?;
    } else {
        let lines: String = told.iter().map(ImportBody::line).collect();
        output::print(&lines)?;
    }
    match told.iter().filter(|one| one.outcome == "refused").count() {
        0 => Ok(()),
        refused => Err(CliError::new(format!(
            "{} {} not imported",
            counted(refused, "session"),
            agreeing(refused, "was", "were")
        ))),
    }
}

fn import(files: &SessionFiles, session: &Path, settings: &ClientSettings) -> ImportBody {
    match files.import(session) {
        Ok(import) => ImportBody::imported(session, import, settings),
        Err(error) => ImportBody::refused(session, error),
    }
}

/// What is said of each session; `--json` prints a list of these.
#[derive(Debug, Serialize)]
struct ImportBody {
    path: PathBuf,
    /// `imported`, `already_there` or `refused`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    /// What it was called, where that is no id.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    /// Whether the workspace has no agent of that name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    agent_missing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_count: Option<u64>,
    /// Files that did not come along.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl ImportBody {
    fn imported(path: &Path, import: Import, settings: &ClientSettings) -> ImportBody {
        let name = AgentName::parse(&import.summary.agent).ok();
        let file = name.map(|name| settings.agents_dir.join(name.as_str()).join("agent.yaml"));
        ImportBody {
            path: path.to_owned(),
            outcome: if import.was_here {
                "already_there"
            } else {
                "imported"
            },
            session_id: Some(import.id),
            former_name: import.former_name,
            agent_missing: !file.is_some_and(|file| file.is_file()),
            agent: Some(import.summary.agent),
            message_count: Some(import.summary.message_count),
            lost_files: Some(import.lost_files).filter(|lost| *lost > 0),
            error: None,
        }
    }

    fn refused(path: &Path, error: ImportError) -> ImportBody {
        ImportBody {
            path: path.to_owned(),
            outcome: "refused",
            session_id: None,
            former_name: None,
            agent: None,
            agent_missing: false,
            message_count: None,
            lost_files: None,
            error: Some(format!("{:#}", anyhow::Error::from(error))),
        }
    }

    fn line(&self) -> String {
        let path = one_line(&self.path.display().to_string(), WHY_WIDTH);
        let (Some(id), Some(agent)) = (&self.session_id, &self.agent) else {
            let why = one_line(self.error.as_deref().unwrap_or_default(), WHY_WIDTH);
            return format!("refused  {path}: {why}\n");
        };
        let agent = one_line(agent, NAME_WIDTH);
        let count = self.message_count.unwrap_or(0);
        let outcome = self.outcome.replace('_', " ");
        let mut line = format!("{outcome}  {id}  {agent}  messages: {count}");
        if let Some(name) = &self.former_name {
            line.push_str(&format!("; it was called {}", one_line(name, NAME_WIDTH)));
        }
        if self.agent_missing {
            line.push_str(&format!("; there is no agent {agent} here"));
        }
        if let Some(lost) = self.lost_files {
            let files = counted(lost, "file");
            line.push_str(&format!(
                "; without {files} that are missing or damaged there"
            ));
        }
        line + "\n"
    }
}
