//! `duragent doctor`: is everything there that a server and its agents need?

use crate::base::plural::{agreeing, counted};
use crate::cli::args::{DoctorArgs, Global};
use crate::cli::error::{CliError, CliResult};
use crate::cli::output;
use crate::cli::settings::{flags, locate};
use crate::doctor::{self, Check, Health};
use crate::terminal::clean::clean;

/// Prints what was found, a line each; fails if something does not work.
pub(super) fn run(args: &DoctorArgs, global: &Global) -> CliResult {
    let located = locate(global);
    let missing = located.missing.as_ref().map(|missing| {
        let check = Check::warning("workspace", missing.to_string());
        check.hint("`duragent init` makes one; what follows is said of the current folder")
    });
    let token = std::env::var("DURAGENT_TOKEN").ok();
    let examined = doctor::examine(&located.origin, &flags(global), token.as_deref());
    let checks: Vec<Check> = missing.into_iter().chain(examined).collect();
    if args.output.is_json() {
        output::print_json(&checks)?;
    } else {
        let lines: Vec<String> = checks.iter().map(line).collect();
        output::print(&lines.concat())?;
    }
    let errors = checks.iter().filter(|check| check.status == Health::Error);
    match errors.count() {
        0 => Ok(()),
        errors => Err(CliError::new(format!(
            "{} {} not work",
            counted(errors, "thing"),
            agreeing(errors, "does", "do")
        ))),
    }
}

fn line(check: &Check) -> String {
    let Check {
        subject, message, ..
    } = check;
    let hint = check
        .hint
        .as_ref()
        .map_or(String::new(), |hint| format!("; {hint}"));
    let text = clean(&format!("{subject}: {message}{hint}")).replace('\n', " ");
    format!("{:<8} {text}\n", check.status.as_str())
}
