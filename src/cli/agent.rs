//! `duragent agent`: what there is to talk to.

use crate::cli::args::{AgentCommand, AgentListArgs};
use crate::cli::failure::Outcome;
use crate::cli::output;
use crate::cli::server::connect_running;
use crate::cli::session::none_runs;
use crate::cli::settings::ClientSettings;
use crate::client::wire::AgentInfo;
use crate::terminal::clean::one_line;
use crate::terminal::table::table;

const DESCRIPTION_WIDTH: usize = 60;

/// Looks at agents.
pub(super) fn run(command: &AgentCommand, settings: &ClientSettings) -> Outcome {
    match command {
        AgentCommand::List(args) => list(args, settings),
    }
}

fn list(args: &AgentListArgs, settings: &ClientSettings) -> Outcome {
    let client = connect_running(&args.server, settings)?.ok_or_else(|| none_runs(settings))?;
    let agents = client.agents()?;
    if args.json {
        output::print_json(&agents)?;
    } else {
        output::print(&agent_table(&agents))?;
    }
    Ok(())
}

fn agent_table(agents: &[AgentInfo]) -> String {
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            let cell = |text: &Option<String>| {
                one_line(text.as_deref().unwrap_or_default(), DESCRIPTION_WIDTH)
            };
            vec![
                one_line(&agent.name, DESCRIPTION_WIDTH),
                cell(&agent.version),
                cell(&agent.description),
            ]
        })
        .collect();
    table(&["NAME", "VERSION", "DESCRIPTION"], &rows)
}
