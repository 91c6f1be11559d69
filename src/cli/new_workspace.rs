//! A workspace for who stands where there is none, and wants one.

use crate::cli::args::{Global, InitArgs, ModelArgs, ServerArgs};
use crate::cli::error::CliError;
use crate::cli::settings::{ClientSettings, client_settings, is_interactive, no_workspace};
use crate::cli::{ask, init};
use crate::config::lookup::NoWorkspace;

/// As [`client_settings`], for a command that makes sense in a folder without a workspace: on a
/// terminal, one is made if the user says so.
pub(super) fn settings_or_new(
    global: &Global,
    server: &ServerArgs,
) -> Result<ClientSettings, CliError> {
    let settings = client_settings(global)?;
    match &settings.missing {
        Some(missing) if server.server.is_none() && is_interactive() => {
            make_workspace(missing, global)?;
            client_settings(global)
        }
        _ => Ok(settings),
    }
}

/// Makes a workspace in the current folder, if the user wants one.
///
/// Errors: the user does not.
pub(super) fn make_workspace(missing: &NoWorkspace, global: &Global) -> Result<(), CliError> {
    let question = format!("{missing}. Make one here, as `duragent init` does?");
    if !ask::yes_or_no(&question)? {
        return Err(no_workspace(missing));
    }
    let args = InitArgs {
        path: None,
        agent_name: None,
        model: ModelArgs {
            provider: None,
            model: None,
            no_interactive: false,
        },
    };
    init::run(&args, global)
}
