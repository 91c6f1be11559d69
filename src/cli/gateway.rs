//! `duragent gateway`: how the gateways are, and who is let in by them.

use std::time::SystemTime;

use crate::cli::args::{
    GatewayApproveArgs, GatewayArgs, GatewayOutboxArgs, GatewaysCommand, NamedGatewayArgs,
    ServerArgs,
};
use crate::cli::error::{CliError, CliResult};
use crate::cli::running::admin_token;
use crate::cli::server::connect_running;
use crate::cli::session_table::age;
use crate::cli::settings::{ClientSettings, is_interactive};
use crate::cli::{ask, output};
use crate::client::ApiClient;
use crate::domain::time::Timestamp;
use crate::terminal::clean::{clean, one_line};
use crate::terminal::table::table;
use crate::wire::{AdmittedBody, GatewayBody, OutboxBody, PairingBody, PairingListBody};

const WIDTH: usize = 40;
const SENTENCE_WIDTH: usize = 300;

/// Asks the server of its gateways.
pub(super) fn run(command: &GatewaysCommand, settings: &ClientSettings) -> CliResult {
    match command {
        GatewaysCommand::List(args) => list(args, settings),
        GatewaysCommand::Restart(args) => restart(args, settings),
        GatewaysCommand::Logs(args) => logs(args, settings),
        GatewaysCommand::Pairings(args) => pairings(args, settings),
        GatewaysCommand::Approve(args) => approve(args, settings),
        GatewaysCommand::Outbox(args) => outbox(args, settings),
    }
}

/// The server that runs: only it knows its gateways.
fn connect(args: &GatewayArgs, settings: &ClientSettings) -> Result<ApiClient, CliError> {
    let named = args.server.server.is_some();
    let own = || admin_token(&settings.config.server).filter(|_| !named);
    let server = ServerArgs {
        server: args.server.server.clone(),
        token: args.server.token.clone().or_else(own),
    };
    connect_running(&server, settings)?.ok_or_else(|| {
        CliError::new("no server runs for this workspace, and only a server has gateways")
            .hint("start it with: duragent serve")
    })
}

fn list(args: &GatewayArgs, settings: &ClientSettings) -> CliResult {
    let list = connect(args, settings)?.gateways()?;
    if args.output.is_json() {
        output::print_json(&list.gateways)?;
        return Ok(());
    }
    if list.gateways.is_empty() {
        output::tell("there are no gateways: `gateways` in duragent.yaml names them");
        return Ok(());
    }
    let now = Timestamp::from(SystemTime::now());
    output::print(&gateway_table(&list.gateways, now))?;
    for gateway in &list.gateways {
        if let Some(auth) = &gateway.auth {
            let name = one_line(&gateway.name, WIDTH);
            let shown = clean(&auth.shown);
            let seconds = auth.expires_in;
            output::print(&format!(
                "{name} is to be let in within {seconds} s:\n{shown}\n"
            ))?;
        }
    }
    Ok(())
}

fn gateway_table(gateways: &[GatewayBody], now: Timestamp) -> String {
    let row = |gateway: &GatewayBody| {
        let heard = gateway.last_event.map(|at| age(now.since(at)));
        vec![
            one_line(&gateway.name, WIDTH),
            one_line(&gateway.kind, WIDTH),
            one_line(&gateway.state, WIDTH),
            heard.unwrap_or_else(|| "never".to_owned()),
            one_line(
                gateway.detail.as_deref().unwrap_or_default(),
                SENTENCE_WIDTH,
            ),
        ]
    };
    let rows: Vec<Vec<String>> = gateways.iter().map(row).collect();
    table(&["NAME", "KIND", "STATE", "LAST EVENT", ""], &rows)
}

fn restart(args: &NamedGatewayArgs, settings: &ClientSettings) -> CliResult {
    let restarted = connect(&args.args, settings)?.restart_gateway(&args.name)?;
    if args.args.output.is_json() {
        output::print_json(&restarted)?;
    } else {
        output::print(&format!("{} is started anew\n", args.name))?;
    }
    Ok(())
}

fn logs(args: &NamedGatewayArgs, settings: &ClientSettings) -> CliResult {
    let log = connect(&args.args, settings)?.gateway_log(&args.name)?;
    if args.args.output.is_json() {
        output::print_json(&log.lines)?;
        return Ok(());
    }
    for line in &log.lines {
        output::print(&format!("{}\n", clean(line)))?;
    }
    Ok(())
}

fn pairings(args: &GatewayArgs, settings: &ClientSettings) -> CliResult {
    let list = connect(args, settings)?.pairings()?;
    if args.output.is_json() {
        output::print_json(&list.pairings)?;
        return Ok(());
    }
    if list.pairings.is_empty() {
        output::tell("nobody waits to be let in");
        return Ok(());
    }
    let now = Timestamp::from(SystemTime::now());
    let row = |one: &PairingBody| {
        vec![
            one_line(&one.code, WIDTH),
            one_line(&one.gateway, WIDTH),
            one_line(&one.sender_id, WIDTH),
            one_line(&one.name, WIDTH),
            one_line(&one.agent, WIDTH),
            age(now.since(one.at)),
        ]
    };
    let rows: Vec<Vec<String>> = list.pairings.iter().map(row).collect();
    let heads = ["CODE", "GATEWAY", "SENDER", "NAME", "AGENT", "SINCE"];
    output::print(&table(&heads, &rows))?;
    Ok(())
}

fn approve(args: &GatewayApproveArgs, settings: &ClientSettings) -> CliResult {
    let client = connect(&args.args, settings)?;
    let approver = args.approver || is_owner_themselves(&client.pairings()?, &args.code)?;
    let admitted = client.approve_sender(&args.code, approver)?;
    if args.args.output.is_json() {
        output::print_json(&admitted)?;
    } else {
        output::print(&told(&admitted))?;
    }
    Ok(())
}

/// Whether it is the person at this terminal who wants to be let in: asked once, while nobody decides from a
/// chat.
fn is_owner_themselves(list: &PairingListBody, code: &str) -> Result<bool, CliError> {
    let is_meant = |one: &&PairingBody| one.code.eq_ignore_ascii_case(code.trim());
    let Some(one) = list.pairings.iter().find(is_meant) else {
        return Ok(false);
    };
    if !one.is_first || !is_interactive() {
        return Ok(false);
    }
    let (name, agent) = (one_line(&one.name, WIDTH), one_line(&one.agent, WIDTH));
    let (gateway, id) = (
        one_line(&one.gateway, WIDTH),
        one_line(&one.sender_id, WIDTH),
    );
    let question = format!(
        "{name} ({gateway}:{id}) wants to talk to {agent}. Is this you, so that you also decide there what \
         {agent} may do?"
    );
    Ok(ask::yes_or_no(&question)?)
}

fn told(admitted: &AdmittedBody) -> String {
    let (name, agent) = (
        one_line(&admitted.name, WIDTH),
        one_line(&admitted.agent, WIDTH),
    );
    let (gateway, id) = (
        one_line(&admitted.gateway, WIDTH),
        one_line(&admitted.sender_id, WIDTH),
    );
    let also = if admitted.approver {
        ", and decides there what it may do"
    } else {
        ""
    };
    format!("{name} ({gateway}:{id}) talks to {agent} from now on{also}\n")
}

fn outbox(args: &GatewayOutboxArgs, settings: &ClientSettings) -> CliResult {
    let client = connect(&args.args, settings)?;
    if args.clear {
        let cleared = client.clear_outbox()?;
        if args.args.output.is_json() {
            output::print_json(&cleared)?;
        } else {
            output::print(&format!("{} forgotten\n", cleared.removed))?;
        }
        return Ok(());
    }
    let outbox = client.outbox()?;
    if args.args.output.is_json() {
        output::print_json(&outbox)?;
    } else if outbox.waiting.is_empty() && outbox.aside.is_empty() {
        output::tell("every chat has got everything");
    } else {
        let now = Timestamp::from(SystemTime::now());
        output::print(&outbox_tables(&outbox, now))?;
    }
    Ok(())
}

fn outbox_tables(outbox: &OutboxBody, now: Timestamp) -> String {
    let place = |chat_id: &str, thread_id: Option<&str>| match thread_id {
        Some(thread) => one_line(&format!("{chat_id}/{thread}"), WIDTH),
        None => one_line(chat_id, WIDTH),
    };
    let waiting = outbox.waiting.iter().map(|chat| {
        let count = chat.sessions.len() + chat.announcements;
        vec![
            one_line(&chat.gateway, WIDTH),
            place(&chat.chat_id, chat.thread_id.as_deref()),
            count.to_string(),
            chat.since.map_or_else(String::new, |at| age(now.since(at))),
            one_line(chat.trouble.as_deref().unwrap_or_default(), SENTENCE_WIDTH),
        ]
    });
    let waiting: Vec<Vec<String>> = waiting.collect();
    let aside = outbox.aside.iter().map(|one| {
        vec![
            one_line(&one.gateway, WIDTH),
            place(&one.chat_id, one.thread_id.as_deref()),
            age(now.since(one.at)),
            one_line(&one.why, WIDTH),
            one_line(&one.text, WIDTH),
        ]
    });
    let aside: Vec<Vec<String>> = aside.collect();
    let mut shown = String::new();
    if !waiting.is_empty() {
        shown.push_str("not sent yet:\n");
        shown.push_str(&table(
            &["GATEWAY", "CHAT", "WAITING", "SINCE", "WHY"],
            &waiting,
        ));
    }
    if !aside.is_empty() {
        shown.push_str("never sent (`duragent gateway outbox --clear` forgets it):\n");
        shown.push_str(&table(
            &["GATEWAY", "CHAT", "GIVEN UP", "WHY", "TEXT"],
            &aside,
        ));
    }
    shown
}
