//! What the Telegram gateway costs, and how soon a chat sees something.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::support::kit::bot_api::{FakeTelegram, Person, World};
use crate::support::provider::{Pace, Provider};
use crate::support::report::{Report, Target, median};
use crate::support::server::{PROGRAM, Server, Workspace};

/// For what was begun to end.
const SETTLE: Duration = Duration::from_secs(2);
/// Long polls are answered every half minute.
const WATCHED: Duration = Duration::from_secs(62);
/// A reply that takes some seconds, so that it is edited.
const PACE: Pace = Pace {
    tokens: 80,
    interval: Some(Duration::from_millis(40)),
};
const ASKED: i64 = 15;
const BURST: i64 = 500;

/// Measures memory and activity of a server that polls and has nothing to do, how soon an update leads
/// to a message and to its first edit, and how fast a burst is taken in.
pub fn measure(report: &mut Report) -> anyhow::Result<()> {
    let telegram = FakeTelegram::start();
    let provider = Provider::start(PACE)?;
    let workspace = Workspace::new(Some(provider.port()))?;
    set_up(&workspace, &telegram)?;
    let server = Server::start(&workspace)?;
    telegram.wait_for_calls("getUpdates", 1);
    idle(&server, report)?;
    first_edit(&telegram, report);
    burst(&telegram, report);
    Ok(())
}

/// Telegram is on, and everybody may talk.
fn set_up(workspace: &Workspace, telegram: &FakeTelegram) -> anyhow::Result<()> {
    let agent = workspace.path().join(".duragent/agents/bench/agent.yaml");
    let yaml = fs::read_to_string(&agent)?;
    fs::write(agent, yaml + "  access: {dm: {policy: open}}\n")?;
    let settings = telegram.settings();
    let config = format!(
        "workspace: .duragent\ngateways: {{telegram: {settings}}}\n\
         routes: [{{match: {{}}, agent: bench}}]\n"
    );
    fs::write(workspace.path().join("duragent.yaml"), config)?;
    let trusted = Command::new(PROGRAM)
        .args(["agent", "trust", "bench", "--yes"])
        .current_dir(workspace.path())
        .env("XDG_STATE_HOME", workspace.path().join("state"))
        .output()?;
    ensure!(trusted.status.success(), "{trusted:?}");
    Ok(())
}

fn idle(server: &Server, report: &mut Report) -> anyhow::Result<()> {
    thread::sleep(SETTLE);
    let memory = server.process().memory()?;
    report.row("resident, Telegram on", memory.rss_mb, "MB", Target::None);
    let name = "of which private, Telegram on";
    report.row(name, memory.private_mb, "MB", Target::None);
    let before = server.process().activity()?;
    thread::sleep(WATCHED);
    let after = server.process().activity()?;
    let a_minute = 60.0 / WATCHED.as_secs_f64();
    let wakes = (after.switches - before.switches) as f64 * a_minute;
    report.row("wake-ups a minute, Telegram on", wakes, "", Target::None);
    Ok(())
}

fn first_edit(telegram: &FakeTelegram, report: &mut Report) {
    let (mut sent, mut edited) = (Vec::new(), Vec::new());
    for number in 0..ASKED {
        let person = telegram.person(10_000 + number, "Ann");
        let began = Instant::now();
        telegram.says(&person, "tell me");
        telegram.wait("a message", |world| said(world, &person, 0));
        sent.push(began.elapsed().as_secs_f64() * 1e3);
        telegram.wait("an edit", |world| said(world, &person, 1));
        edited.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let name = "update to its first message";
    report.row(name, median(sent), "ms", Target::None);
    report.row(
        "update to its first edit",
        median(edited),
        "ms",
        Target::None,
    );
}

/// The bot has said something that was edited so often.
fn said(world: &World, person: &Person, edits: usize) -> Option<()> {
    let mut shown = world.chat(person.id)?.shown();
    let is_there = shown.any(|message| message.is_bots && message.edits.len() >= edits);
    is_there.then_some(())
}

fn burst(telegram: &FakeTelegram, report: &mut Report) {
    let people: Vec<Person> = (0..BURST)
        .map(|number| telegram.person(20_000 + number, "Bob"))
        .collect();
    let began = Instant::now();
    for person in &people {
        telegram.says(person, "hi");
    }
    telegram.wait_until_confirmed();
    let rate = BURST as f64 / began.elapsed().as_secs_f64();
    report.row("burst of 500, taken in", rate, "updates/s", Target::None);
}
