//! What of gateways does not do what the owner may think: whom they reach, and who is let in.
//!
//! Elsewhere: whether their programs are there (`doctor`), what becomes of what is said (`gateway`).

use std::sync::Arc;

use crate::agents::AGENT_FILE;
use crate::base::yaml::problem::{Level, Position, Problem, did_you_mean};
use crate::config::{Config, DEFAULT_FILE, RouteConfig};
use crate::domain::access::AccessSpec;
use crate::domain::ids::GatewayName;
use crate::domain::spec::AgentSpec;
use crate::trust::WorkspaceTrust;

/// What of gateways does not do what the owner may think, in this program and with the owner's record as it is.
pub(crate) fn look(
    config: &Config,
    agents: &[Arc<AgentSpec>],
    trust: &WorkspaceTrust,
) -> Vec<Problem> {
    let facts = GatewayFacts {
        agents,
        has_guests: &|agent| trust.admitted(&agent.home).is_ok_and(|all| !all.is_empty()),
        has_telegram: cfg!(feature = "telegram"),
    };
    of_gateways(config, &facts)
}

/// What is known beside the configuration.
struct GatewayFacts<'a> {
    /// The agents that are there.
    agents: &'a [Arc<AgentSpec>],
    /// The owner has admitted somebody to an agent, and so knows how that is done.
    has_guests: &'a dyn Fn(&AgentSpec) -> bool,
    /// This program can speak with Telegram.
    has_telegram: bool,
}

/// Pure. Gateways that cannot work, routes and bots that lead to nobody, gateways that nothing leads away from, and
/// agents whose strangers get a code because their files do not say who may talk to them.
fn of_gateways(config: &Config, facts: &GatewayFacts<'_>) -> Vec<Problem> {
    let mut found = without_telegram(config, facts.has_telegram);
    found.extend(lost(config, facts.agents));
    found.extend(unrouted(config));
    let reached = facts.agents.iter().filter(|agent| {
        let is_silent = agent.access == AccessSpec::default();
        is_silent && is_reached(config, agent) && !(facts.has_guests)(agent)
    });
    found.extend(reached.map(|agent| closed(agent)));
    found
}

fn without_telegram(config: &Config, has_telegram: bool) -> Vec<Problem> {
    let bots = config.gateways.telegram.iter().filter(|_| !has_telegram);
    bots.map(|bot| {
        let message =
            "`gateways.telegram` is on, and this duragent was built without the feature `telegram`";
        problem(config, Level::Error, bot.place, message.to_owned())
    })
    .collect()
}

/// Agents that are named, and not there.
fn lost(config: &Config, agents: &[Arc<AgentSpec>]) -> Vec<Problem> {
    let routes = config.routes.iter();
    let routes = routes.map(|route| ("routes", &route.agent, route.place));
    let bots = config.gateways.telegram.iter();
    let bots = bots.filter_map(|bot| Some(("gateways.telegram", bot.agent.as_ref()?, bot.place)));
    let named = routes.chain(bots);
    let names = || agents.iter().map(|agent| agent.name.as_str());
    let lost = named.filter(|(_, name, _)| !names().any(|there| there == name.as_str()));
    lost.map(|(key, name, place)| {
        let message = format!("`{key}` names the agent {name}, which is not there");
        Problem {
            hint: did_you_mean(name.as_str(), names()),
            ..problem(config, Level::Error, place, message)
        }
    })
    .collect()
}

/// Gateways whose messages go to nobody.
fn unrouted(config: &Config) -> Vec<Problem> {
    let bots = config.gateways.telegram.iter();
    let bots = bots.filter(|bot| bot.agent.is_none());
    let bots = bots.map(|bot| (&bot.name, bot.place));
    let programs = config.gateways.external.iter();
    let programs = programs.map(|program| (&program.name, program.place));
    let lost = bots
        .chain(programs)
        .filter(|(name, _)| !config.routes.iter().any(|route| fits(route, name)));
    lost.map(|(name, place)| {
        let message =
            format!("what is said to the gateway {name} goes to nobody: no route is for it");
        Problem {
            hint: Some(format!(
                "`routes: [{{match: {{gateway: {name}}}, agent: NAME}}]`, say"
            )),
            ..problem(config, Level::Warning, place, message)
        }
    })
    .collect()
}

/// Something that is said by a gateway may go to the agent.
fn is_reached(config: &Config, agent: &AgentSpec) -> bool {
    let bots = &config.gateways.telegram;
    let programs = config.gateways.external.iter();
    let without_own = bots.iter().filter(|bot| bot.agent.is_none());
    let routed: Vec<&GatewayName> = without_own
        .map(|bot| &bot.name)
        .chain(programs.map(|program| &program.name))
        .collect();
    let mut own = config
        .routes
        .iter()
        .filter(|route| route.agent == agent.name);
    bots.iter()
        .any(|bot| bot.agent.as_ref() == Some(&agent.name))
        || own.any(|route| routed.iter().any(|gateway| fits(route, gateway)))
}

fn fits(route: &RouteConfig, gateway: &GatewayName) -> bool {
    let wanted = route.conditions.get("gateway");
    wanted.is_none_or(|wanted| wanted == gateway.as_str())
}

fn closed(agent: &AgentSpec) -> Problem {
    let message = format!(
        "the agent {} is reached by a gateway, and `spec.access` does not say who may talk to it: \
         a stranger's direct message gets a code, and groups get nothing (a bot of Duragent 0.5 answered everybody)",
        agent.name
    );
    Problem {
        level: Level::Warning,
        hint: Some(
            "`duragent gateway pairings` lists the codes, and `duragent gateway approve CODE` lets one in"
                .to_owned(),
        ),
        ..Problem::of_file(agent.home.join(AGENT_FILE), message)
    }
}

fn problem(config: &Config, level: Level, place: Position, message: String) -> Problem {
    // Without a file there are neither gateways nor routes.
    let file = config.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    Problem {
        level,
        position: Some(place),
        ..Problem::of_file(file, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSource, Overrides};
    use crate::domain::access::{DmAccess, DmPolicy};
    use crate::domain::ids::AgentName;
    use crate::domain::spec::{ModelChoice, Provider};

    fn agent(name: &str, policy: DmPolicy) -> Arc<AgentSpec> {
        let model = ModelChoice {
            provider: Provider::ECHO,
            name: "echo".to_owned(),
            base_url: None,
            settings: Default::default(),
        };
        Arc::new(AgentSpec {
            access: AccessSpec {
                dm: DmAccess {
                    policy,
                    ..DmAccess::default()
                },
                ..AccessSpec::default()
            },
            ..AgentSpec::new(AgentName::parse(name).unwrap(), model)
        })
    }

    fn remarks(text: &str, guests_of: &str, has_telegram: bool) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        std::fs::write(&file, text).unwrap();
        let source = ConfigSource::File(file);
        let loaded = Config::load(&source, &Overrides::default(), &|_| None).unwrap();
        let facts = GatewayFacts {
            agents: &[
                agent("ada", DmPolicy::Pairing),
                agent("bob", DmPolicy::Open),
            ],
            has_guests: &|agent| agent.name.as_str() == guests_of,
            has_telegram,
        };
        let found = of_gateways(&loaded.config, &facts).into_iter();
        let folder = folder.path().canonicalize().unwrap();
        found
            .map(|problem| format!("{problem:#}").replace(&format!("{}/", folder.display()), ""))
            .collect()
    }

    #[test]
    fn what_leads_to_nobody_is_told_with_its_place() {
        let bot = "gateways:\n  telegram: {bot_token: '1:x'}\n";
        let irc = "gateways:\n  external: [{name: irc, command: irc}]\n";
        for (text, has_telegram, expected) in [
            ("{}\n".to_owned(), true, vec![]),
            (format!("{bot}routes: [{{agent: bob}}]\n"), true, vec![]),
            (
                format!("{bot}routes: [{{agent: bob}}]\n"),
                false,
                vec!["duragent.yaml:2:13: `gateways.telegram` is on, and"],
            ),
            (
                "routes:\n  - {agent: bob}\n  - agent: bobb\n".to_owned(),
                true,
                vec![
                    "duragent.yaml:3:12: `routes` names the agent bobb, which is not there; did you mean `bob`?",
                ],
            ),
            (
                "gateways:\n  telegram: {bot_token: '1:x', agent: eve}\n".to_owned(),
                true,
                vec![
                    "duragent.yaml:2:39: `gateways.telegram` names the agent eve, which is not there",
                ],
            ),
            (
                bot.to_owned(),
                true,
                vec![
                    "duragent.yaml:2:13: warning: what is said to the gateway telegram goes to nobody",
                ],
            ),
            (
                format!("{irc}routes: [{{match: {{gateway: discord}}, agent: bob}}]\n"),
                true,
                vec!["duragent.yaml:2:14: warning: what is said to the gateway irc goes to nobody"],
            ),
            (
                format!("{irc}routes: [{{match: {{gateway: irc, chat_type: dm}}, agent: bob}}]\n"),
                true,
                vec![],
            ),
        ] {
            let found = remarks(&text, "", has_telegram);
            assert_eq!(found.len(), expected.len(), "{text}: {found:#?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{found}");
            }
        }
    }

    #[test]
    fn an_agent_whose_file_lets_nobody_in_is_told_of_where_a_gateway_reaches_it() {
        let told = "agent.yaml: warning: the agent ada is reached by a gateway";
        let bot = "gateways: {telegram: {bot_token: '1:x', agent: AGENT}}\n";
        let irc = "gateways: {external: [{name: irc, command: irc}]}\n";
        let to_ada = bot.replace("AGENT", "ada");
        let to_bob = bot.replace("AGENT", "bob");
        let routed = "routes: [{agent: ada}]\n";
        let elsewhere = "routes: [{match: {gateway: x}, agent: ada}, {agent: bob}]\n";
        for (text, guests_of, is_told) in [
            (to_ada.clone(), "", true),
            (to_ada, "ada", false),
            (to_bob.clone(), "", false),
            // All its chats are bob's.
            (format!("{to_bob}{routed}"), "", false),
            (format!("{irc}{routed}"), "", true),
            (format!("{irc}{elsewhere}"), "", false),
            (routed.to_owned(), "", false),
        ] {
            let found = remarks(&text, guests_of, true);
            assert_eq!(found.len(), usize::from(is_told), "{text}: {found:#?}");
            assert!(
                found.iter().all(|line| line.starts_with(told)),
                "{found:#?}"
            );
        }
    }
}
