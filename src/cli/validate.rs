//! `duragent validate`: is what a user wrote what the server expects?

use crate::base::plural;
use crate::cli::args::{Global, ValidateArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::{output, settings};
use crate::terminal::clean::clean;
use crate::workspace::{self, Validated};

/// Prints every problem of a file or an agent's folder, one line each. Errors fail; warnings do with
/// `--strict`.
pub(super) fn run(args: &ValidateArgs, global: &Global) -> CliResult {
    let shown = args.path.display();
    if !args.path.exists() {
        return Err(CliError::usage(format!("{shown} does not exist")));
    }
    let config = settings::client_settings(global).ok();
    let config = config.map(|settings| settings.config);
    let Validated {
        problems,
        errors,
        not_counted,
    } = workspace::validate(&args.path, config.as_ref());
    if let Some(said) = not_counted {
        output::print(&clean(&format!("{said}\n")))?;
    }
    let lines = problems.iter().map(|problem| format!("{problem}\n"));
    output::print(&lines.collect::<String>())?;
    let warnings = problems.len() - errors;
    let counted: Vec<String> = [counted(errors, "error"), counted(warnings, "warning")]
        .into_iter()
        .flatten()
        .collect();
    let counted = counted.join(" and ");
    if errors > 0 || (args.strict && warnings > 0) {
        return Err(CliError::usage(format!("{shown} has {counted}")));
    }
    match warnings {
        0 => output::print(&format!("{shown} is valid\n"))?,
        _ => output::print(&format!("{shown} is valid, with {counted}\n"))?,
    }
    Ok(())
}

/// `2 errors`; `None` for none.
fn counted(number: usize, word: &str) -> Option<String> {
    (number > 0).then(|| plural::counted(number, word))
}
