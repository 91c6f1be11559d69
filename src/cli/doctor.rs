//! `duragent doctor`: is everything there that a server and its agents need?

use std::time::Duration;

use crate::cli::args::{DoctorArgs, Global};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output;
use crate::cli::server::url_of;
use crate::client::Client;
use crate::config::{Config, Overrides};
use crate::runtime::doctor::{self, Check, Health};
use crate::runtime::workspace;
use crate::terminal::clean::clean;

/// Prints what was found, a line each; fails if something does not work.
pub(super) fn run(args: &DoctorArgs, global: &Global) -> Outcome {
    let flags = Overrides {
        workspace: global.workspace.clone(),
        ..Overrides::default()
    };
    let (mut checks, config) = doctor::examine(global.config.as_deref(), &flags);
    checks.push(match &config {
        Some(config) => server(config),
        None => Check::warning(
            "the rest",
            "is not looked at before the configuration is right",
        ),
    });
    if args.json {
        output::print_json(&checks)?;
    } else {
        let lines: Vec<String> = checks.iter().map(line).collect();
        output::print(&lines.concat())?;
    }
    let errors = checks.iter().filter(|check| check.status == Health::Error);
    match errors.count() {
        0 => Ok(()),
        1 => Err(Failure::new("1 thing does not work")),
        several => Err(Failure::new(format!("{several} things do not work"))),
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

/// Whether the server of the workspace, if one runs, answers.
fn server(config: &Config) -> Check {
    const SUBJECT: &str = "server";
    const LOOK_LIMIT: Duration = Duration::from_secs(2);
    let Some(holder) = workspace::holder(&config.workspace) else {
        return Check::ok(SUBJECT, "none runs for this workspace");
    };
    let pid = holder.pid;
    let Some(address) = holder.address else {
        return Check::warning(
            SUBJECT,
            format!("pid {pid} has the workspace, and no address yet"),
        );
    };
    let url = url_of(address);
    match Client::new(&url, None).is_ready(LOOK_LIMIT) {
        true => Check::ok(SUBJECT, format!("{url} is ready (pid {pid})")),
        false => Check::error(SUBJECT, format!("{url} (pid {pid}) does not take requests"))
            .hint("see its log; `duragent serve stop` ends it"),
    }
}
