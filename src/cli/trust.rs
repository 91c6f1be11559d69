//! `duragent agent trust` and `untrust`: what an owner lets agents' folders do.

use std::sync::Arc;

use crate::base::order;
use crate::cli::args::{AgentTrustArgs, AgentUntrustArgs, Global, ServerArgs};
use crate::cli::ask;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::{self, tell};
use crate::cli::running::admin_token;
use crate::cli::server::connect_running;
use crate::cli::settings::{ClientSettings, client_settings, is_interactive};
use crate::domain::plain::spelled_out;
use crate::domain::trust::Part;
use crate::workspace::trust::{self, Survey, Surveyor, WorkspaceTrust};

/// Trusts agents with what they bring, after showing it.
pub(super) fn trust(args: &AgentTrustArgs, global: &Global) -> CliResult {
    let settings = client_settings(global)?;
    settings.check_found()?;
    let (_, surveyor) = surveyor(&settings)?;
    let surveys = if args.all {
        surveyor.all()
    } else {
        named(&surveyor, &args.names, &settings)?
    };
    let (new, old): (Vec<&Survey>, Vec<&Survey>) =
        surveys.iter().partition(|survey| is_new(survey));
    for survey in old {
        output::print(&format!("{} brings nothing that waits\n", survey.agent))?;
    }
    output::print(&new.iter().map(|survey| shown(survey)).collect::<String>())?;
    if !new.is_empty() && !args.yes && !agrees(&new)? {
        return Err(CliError::new("nothing was changed"));
    }
    grant(&surveys, &settings)?;
    reload(&settings);
    Ok(())
}

/// Takes back what was granted to an agent.
pub(super) fn untrust(args: &AgentUntrustArgs, global: &Global) -> CliResult {
    let settings = client_settings(global)?;
    settings.check_found()?;
    let trust = trust::to_be_given(&settings.trust())?;
    trust.withdraw(&args.name)?;
    output::print(&format!("{} is trusted with nothing\n", args.name))?;
    if trust.is_everything() {
        tell("duragent: `agents.trust: all` in your config.yaml still trusts every agent");
    }
    reload(&settings);
    Ok(())
}

/// Trusts an agent whose folder was just written here.
pub(super) fn trust_own(settings: &ClientSettings, name: &str) {
    let granted = || -> CliResult {
        let (trust, surveyor) = surveyor(settings)?;
        if let Some(survey) = surveyor.named(name) {
            survey.grant(&trust)?;
        }
        Ok(())
    };
    // The agent is there all the same, and what it brings later is asked about.
    if let Err(failure) = granted() {
        tell(failure.lines().trim_end());
    }
}

/// At the first start of a workspace that a version before trust made, shows its owner what does not
/// count any more, and asks once.
pub(super) fn offer(settings: &ClientSettings) -> CliResult {
    if !is_interactive() {
        return Ok(());
    }
    let (known, _) = trust::of_workspace(&settings.trust());
    if known.is_everything() || !trust::is_from_before(&settings.workspace, &known) {
        return Ok(());
    }
    let (trust, surveyor) = surveyor(settings)?;
    let surveys = surveyor.all();
    let new: Vec<&Survey> = surveys.iter().filter(|survey| is_new(survey)).collect();
    if !new.is_empty() {
        output::print(
            "Agents' folders grant nothing by themselves any more. Those of this workspace bring:\n",
        )?;
        output::print(&new.iter().map(|survey| shown(survey)).collect::<String>())?;
        if agrees(&new)? {
            grant(&surveys, settings)?
        } else {
            tell("they wait; `duragent agent trust --all` asks again")
        }
    }
    trust.store().begin()?;
    Ok(())
}

fn surveyor(settings: &ClientSettings) -> Result<(Arc<WorkspaceTrust>, Surveyor), CliError> {
    let trust = trust::to_be_given(&settings.trust())?;
    let surveyor = Surveyor::new(&settings.trust(), Arc::clone(&trust));
    Ok((trust, surveyor.with_repositories()))
}

fn named(
    surveyor: &Surveyor,
    names: &[String],
    settings: &ClientSettings,
) -> Result<Vec<Survey>, CliError> {
    let mut names = names.to_vec();
    order::sort(&mut names);
    names.dedup();
    let found = names.iter().map(|name| {
        let missing = || {
            let folder = settings.agents_dir.display();
            CliError::usage(format!("there is no agent {name} in {folder}"))
        };
        surveyor.named(name).ok_or_else(missing)
    });
    found.collect()
}

fn is_new(survey: &Survey) -> bool {
    !survey.waiting.is_empty() || !survey.gone.is_empty() || !repositories(survey).is_empty()
}

/// Those that the owner was not shown before.
fn repositories(survey: &Survey) -> &[Part] {
    survey.repositories.as_deref().unwrap_or_default()
}

/// What an agent brings that is new, and what it brought and does not any more.
fn shown(survey: &Survey) -> String {
    let mut text = format!("{}\n", spelled_out(&survey.agent));
    let lines = |mark: &str, parts: &[Part]| -> String {
        // A line of its own would pass for a part.
        let told = |part: &Part| spelled_out(&part.to_string()).replace('\n', "\\n");
        let line = |part: &Part| format!("  {mark} {}\n", told(part));
        parts.iter().map(line).collect()
    };
    text.push_str(&lines("+", &survey.waiting));
    text.push_str(&lines("+", repositories(survey)));
    text.push_str(&lines("-", &survey.gone));
    let needed = survey.brought.iter().filter(|one| one.needs_trust).count();
    let stays = needed.saturating_sub(survey.waiting.len());
    if stays > 0 {
        text.push_str(&format!("    and {stays} more, as before\n"));
    }
    text
}

/// Asks.
fn agrees(surveys: &[&Survey]) -> Result<bool, CliError> {
    if !is_interactive() {
        return Err(CliError::usage("a person has to agree").hint("--yes agrees to what is listed"));
    }
    let whom = match surveys {
        [only] => only.agent.clone(),
        several => format!("these {} agents", several.len()),
    };
    Ok(ask::yes_or_no(&format!("Trust {whom} with that?"))?)
}

fn grant(surveys: &[Survey], settings: &ClientSettings) -> CliResult {
    let trust = trust::to_be_given(&settings.trust())?;
    for survey in surveys {
        for name in survey.grant(&trust)? {
            let name = spelled_out(&name.display().to_string());
            tell(&format!(
                "a repository that was not shown is set aside: {name}"
            ));
        }
    }
    let names: Vec<&str> = surveys.iter().map(|survey| survey.agent.as_str()).collect();
    output::print(&format!("trusted: {}\n", names.join(", ")))?;
    Ok(())
}

/// Has the server of the workspace read the agents again, if it runs.
fn reload(settings: &ClientSettings) {
    let args = ServerArgs {
        server: None,
        token: admin_token(&settings.config.server),
    };
    let reloaded = match connect_running(&args, settings) {
        Ok(Some(client)) => client.reload_agents().map(drop).map_err(CliError::from),
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = reloaded {
        tell(failure.lines().trim_end());
        tell("duragent: the server does not know it yet: it does when it reads the agents again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::trust::{Brought, Kind};

    #[test]
    fn no_part_is_shown_as_several() {
        let part = Part {
            kind: Kind::Rule,
            place: "policy.yaml".to_owned(),
            content: "bash:*\n  + may not: x".to_owned(),
        };
        let survey = Survey {
            agent: "ada".to_owned(),
            home: "/ada".into(),
            brought: vec![Brought {
                part: part.clone(),
                needs_trust: true,
            }],
            waiting: vec![part],
            gone: Vec::new(),
            repositories: None,
        };
        assert_eq!(
            shown(&survey),
            "ada\n  + may without asking: bash:*\\n  + may not: x (policy.yaml)\n"
        );
    }
}
