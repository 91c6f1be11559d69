//! `duragent agent`: what there is to talk to, and what it may do.

use crate::base::yaml;
use crate::cli::args::{AgentCommand, AgentListArgs, AgentShowArgs, Global};
use crate::cli::chat::broken;
use crate::cli::error::{CliError, CliResult};
use crate::cli::server::connect_running;
use crate::cli::settings::{ClientSettings, client_settings};
use crate::cli::{init, output, trust};
use crate::domain::ids::AgentName;
use crate::terminal::clean::{clean, one_line};
use crate::terminal::table::table;
use crate::wire::AgentBody;
use crate::workspace::shown_agent::{self, SentPrompt, ShownAgent};

const DESCRIPTION_WIDTH: usize = 60;
const SENTENCE_WIDTH: usize = 300;

/// Looks at agents.
pub(super) fn run(command: &AgentCommand, global: &Global) -> CliResult {
    // For each of them: a configuration that is wrong is wrong usage.
    let settings = client_settings(global)?;
    match command {
        AgentCommand::List(args) => list(args, &settings),
        AgentCommand::Show(args) => show(args, &settings),
        AgentCommand::Create(args) => init::create(args, &settings),
        AgentCommand::Trust(args) => trust::trust(args, global),
        AgentCommand::Untrust(args) => trust::untrust(args, global),
    }
}

fn list(args: &AgentListArgs, settings: &ClientSettings) -> CliResult {
    let list = match connect_running(&args.server, settings)? {
        Some(client) => client.agents()?,
        None => shown_agent::list(&settings.config),
    };
    if args.output.is_json() {
        output::print_json(&list.agents)?;
    } else {
        output::print(&agent_table(&list.agents))?;
        let said = list.agents.iter();
        for said in said.filter_map(|agent| agent.not_counted.as_deref()) {
            output::print(&format!("{}\n", one_line(said, SENTENCE_WIDTH)))?;
        }
        for agent in &list.agents {
            for remark in &agent.remarks {
                let said = format!("{}: {remark}", agent.name);
                output::print(&format!("{}\n", one_line(&said, SENTENCE_WIDTH)))?;
            }
        }
    }
    for agent in &list.broken {
        output::tell(&clean(&format!("duragent: {}", broken(agent))));
    }
    Ok(())
}

fn agent_table(agents: &[AgentBody]) -> String {
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

fn show(args: &AgentShowArgs, settings: &ClientSettings) -> CliResult {
    settings.check_found()?;
    let (agent, problems) = ShownAgent::read(&settings.config, &args.agent)?;
    for problem in problems {
        output::tell(&format!("duragent: {problem}"));
    }
    let Some(agent) = agent else {
        let name = one_line(&args.agent, DESCRIPTION_WIDTH);
        let folder = settings.agents_dir.display();
        // `..` is a folder, and no agent.
        let is_name = AgentName::parse(&args.agent).is_ok();
        let why = if is_name && settings.agents_dir.join(&args.agent).is_dir() {
            format!("the agent {name} in {folder} has errors")
        } else {
            format!("there is no agent {name} in {folder}")
        };
        return Err(CliError::new(why));
    };
    match (args.prompt, args.output.is_json()) {
        (true, true) => output::print_json(&agent.prompt())?,
        (true, false) => output::print(&shown_prompt(&agent.prompt()))?,
        (false, true) => output::print_json(&agent.json())?,
        (false, false) => output::print(&clean(&yaml::to_string(&agent.json())?))?,
    }
    Ok(())
}

/// The parts under a line each, then what they cost.
fn shown_prompt(prompt: &SentPrompt) -> String {
    let mut shown = String::new();
    let mut rows = Vec::new();
    for part in &prompt.parts {
        let name = one_line(&part.name, DESCRIPTION_WIDTH);
        // The same JSON, for people.
        let text = match part.name.as_str() {
            "tools" => format!("{:#}", prompt.tools),
            _ => part.text.clone(),
        };
        shown.push_str(&format!("--- {name} ---\n{}\n\n", clean(&text)));
        rows.push(vec![name, part.tokens.to_string()]);
    }
    rows.push(vec!["all".to_owned(), prompt.tokens.to_string()]);
    if let Some(text) = prompt.summary {
        let head = "sent instead of all that, where a long conversation is summarised";
        shown.push_str(&format!("--- {head} ---\n{text}\n\n"));
    }
    shown + &table(&["PART", "TOKENS"], &rows)
}
