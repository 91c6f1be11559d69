//! What commands take from the configuration: which workspace they are about, and how to be let in.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use crate::base::yaml::expand::Environment;
use crate::cli::args::Global;
use crate::cli::error::CliError;
use crate::config::lookup::{self, NoWorkspace};
use crate::config::{self, Config, ConfigError, ConfigSource, DEFAULT_FILE, Overrides};
use crate::domain::providers::Described;
use crate::domain::spec::Provider;
use crate::workspace::sessions::SessionFiles;
use crate::workspace::trust::Workspace;

/// Settings of the commands that are about a workspace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClientSettings {
    /// The file or folder that the configuration was read from.
    pub(super) origin: ConfigSource,
    /// The configuration.
    pub(super) config: Config,
    /// The workspace.
    pub(super) workspace: PathBuf,
    /// Where sessions are kept.
    pub(super) sessions_dir: PathBuf,
    /// Where the agents are.
    pub(super) agents_dir: PathBuf,
    /// That, where the command line says so: a server that is started here is told the same.
    pub(super) named_agents_dir: Option<PathBuf>,
    /// Providers that the configuration describes.
    pub(super) providers: BTreeMap<Provider, Described>,
    /// The token of the workspace's own server.
    pub(super) token: Option<String>,
    /// `-v`: more is told than usual, as by `session show`.
    pub(super) is_verbose: bool,
    /// `-q`: only what went wrong is told.
    pub(super) is_quiet: bool,
    /// That the places above are only where a workspace would be.
    pub(super) missing: Option<NoWorkspace>,
}

/// Where a command's workspace is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// The file or folder that its configuration is read from.
    pub(super) origin: ConfigSource,
    /// That none was named, and there is none.
    pub(super) missing: Option<NoWorkspace>,
}

/// Finds what the command line is about: the workspace that it names, or the one that the current
/// folder lies in.
pub(super) fn locate(global: &Global) -> Located {
    if let Some(file) = &global.config {
        return Located {
            origin: ConfigSource::File(file.clone()),
            missing: None,
        };
    }
    match nearest() {
        Ok(origin) => Located {
            origin,
            missing: None,
        },
        Err(missing) => Located {
            origin: ConfigSource::default(),
            // Whoever names the agents says where they are: a workspace beside them may be made.
            missing: Some(missing)
                .filter(|_| !names_workspace(global) && global.agents_dir.is_none()),
        },
    }
}

/// What the nearest workspace's configuration is read from.
fn nearest() -> Result<ConfigSource, NoWorkspace> {
    // A current folder that was removed has nothing above it either.
    let here = std::env::current_dir().unwrap_or_default();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let folder = lookup::find(&here, home.as_deref())?;
    let is_here = folder == here;
    Ok(ConfigSource::of(if is_here {
        Path::new("")
    } else {
        &folder
    }))
}

/// The workspace is named by a flag or a variable, so that it need not exist.
pub(super) fn names_workspace(global: &Global) -> bool {
    let variable = || environment("DURAGENT_WORKSPACE").is_some_and(|value| !value.is_empty());
    global.config.is_some() || global.workspace.is_some() || variable()
}

/// The settings for this command line, and the folder it is run in.
///
/// Errors: the configuration is wrong, or the file that was named does not exist.
pub(super) fn client_settings(global: &Global) -> Result<ClientSettings, CliError> {
    settings_of(locate(global), global)
}

/// Settings for a workspace in this folder (empty: the current one), whatever lies above it.
pub(super) fn settings_in(folder: &Path, global: &Global) -> Result<ClientSettings, CliError> {
    let located = Located {
        origin: match &global.config {
            Some(file) => ConfigSource::File(file.clone()),
            None => ConfigSource::of(folder),
        },
        missing: None,
    };
    settings_of(located, global)
}

/// There is a user who can be asked, and sees the question: both ends are a terminal.
pub(super) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// That nothing can be done without a workspace, and how to have one.
pub(super) fn no_workspace(missing: &NoWorkspace) -> CliError {
    let hint = match &missing.untrusted {
        None => "make one with: duragent init; or name one with --workspace or --config",
        Some(_) => "name it with --workspace or --config if you trust it",
    };
    CliError::new(missing.to_string()).hint(hint)
}

fn settings_of(located: Located, global: &Global) -> Result<ClientSettings, CliError> {
    let Located { origin, missing } = located;
    let config = Config::load(&origin, &flags(global), &environment)
        .map_err(|error| CliError::usage(error.to_string()))?
        .config;
    let token = config.server.api_token.as_ref();
    Ok(ClientSettings {
        origin,
        workspace: config.workspace.clone(),
        sessions_dir: config.sessions_dir.clone(),
        agents_dir: config.agents_dir.clone(),
        named_agents_dir: global.agents_dir.clone(),
        providers: config.providers.clone(),
        token: token.map(|token| token.reveal().to_owned()),
        config,
        is_verbose: global.verbose > 0,
        is_quiet: global.quiet,
        missing,
    })
}

/// Where the workspace is: all that is needed to find its server.
///
/// Errors: there is none; the file that was named does not exist, or does not tell.
pub(super) fn workspace(global: &Global) -> Result<PathBuf, CliError> {
    let located = locate(global);
    if let Some(missing) = &located.missing {
        return Err(no_workspace(missing));
    }
    config::workspace(&located.origin, &flags(global), &environment)
        .map_err(|error| CliError::usage(error.to_string()))
}

/// The flags of every command that stand above the file.
pub(super) fn flags(global: &Global) -> Overrides {
    Overrides {
        workspace: global.workspace.clone(),
        agents_dir: global.agents_dir.clone(),
        ..Overrides::default()
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl ClientSettings {
    /// The part of it that trust depends on.
    pub(super) fn trust(&self) -> Workspace<'_> {
        Workspace::of(&self.config)
    }

    /// That there is a workspace.
    ///
    /// Errors: none was named, and there is none.
    pub(super) fn check_found(&self) -> Result<(), CliError> {
        self.missing
            .as_ref()
            .map_or(Ok(()), |missing| Err(no_workspace(missing)))
    }

    /// The configuration that a server would have which is started now: the files may have changed
    /// since these settings were read, and there may be one by now.
    ///
    /// Errors: it is wrong.
    pub(super) fn config_now(&self) -> Result<Config, ConfigError> {
        self.config_in(&environment)
    }

    fn config_in(&self, environment: Environment<'_>) -> Result<Config, ConfigError> {
        let origin = match &self.origin {
            ConfigSource::File(_) => self.origin.clone(),
            ConfigSource::Defaults(_) => nearest().unwrap_or_default(),
        };
        let flags = Overrides {
            workspace: Some(self.workspace.clone()),
            agents_dir: self.named_agents_dir.clone(),
            ..Overrides::default()
        };
        Ok(Config::load(&origin, &flags, environment)?.config)
    }

    /// The sessions of the workspace, on their files.
    pub(super) fn files(&self) -> SessionFiles {
        SessionFiles::new(&self.workspace, &self.sessions_dir)
    }

    /// Where a server that a client starts writes its log.
    pub(super) fn serve_log(&self) -> PathBuf {
        self.workspace.join("serve.log")
    }

    /// Where what a user types in chats is remembered, if that can be.
    pub(super) fn chat_history(&self) -> Option<PathBuf> {
        // Nothing is made in a folder only because somebody talks to a server elsewhere.
        let is_there = self.missing.is_none() && self.workspace.is_dir();
        is_there.then(|| self.workspace.join("chat_history"))
    }

    /// Where the configuration is, or would be.
    pub(super) fn config_file(&self) -> PathBuf {
        match &self.origin {
            ConfigSource::File(file) => file.clone(),
            ConfigSource::Defaults(folder) => folder.join(DEFAULT_FILE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_started_later_is_judged_by_the_files_of_then() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DEFAULT_FILE);
        std::fs::write(&file, "").unwrap();
        let origin = ConfigSource::File(file.clone());
        let loaded = Config::load(&origin, &Overrides::default(), &|_| None).unwrap();
        let settings = ClientSettings {
            workspace: loaded.config.workspace.clone(),
            sessions_dir: loaded.config.sessions_dir.clone(),
            agents_dir: loaded.config.agents_dir.clone(),
            named_agents_dir: None,
            providers: BTreeMap::new(),
            token: None,
            is_verbose: false,
            is_quiet: false,
            missing: None,
            config: loaded.config,
            origin,
        };
        let before = settings.config.server.allowed_hosts.clone();
        std::fs::write(&file, "server: {allowed_hosts: [evil.example]}\n").unwrap();
        let now = settings.config_in(&|_| None).unwrap();
        assert_eq!(before, Vec::<String>::new());
        assert_eq!(now.server.allowed_hosts, ["evil.example"]);
        assert_eq!(now.workspace, settings.workspace);
        std::fs::write(&file, "[").unwrap();
        assert!(settings.config_in(&|_| None).is_err());
    }
}
