//! What agents' models need of the network: each provider that an agent names is asked for the list of
//! its models, which costs nothing, and says what is wrong with an address, a key or a name.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::check::Check;
use super::trial;
use crate::base::plural::counted;
use crate::base::yaml::problem::did_you_mean;
use crate::config::Config;
use crate::domain::providers::{Known, Listing, is_loopback_url};
use crate::domain::spec::{AgentSpec, ModelChoice, Provider};
use crate::llm::catalogue::{CatalogueError, OfferedModel};
use crate::llm::settings::ProviderSettings;
use crate::workspace::offers::Agreement;

/// How long each has, and all have together: they are asked at once.
const LIMIT: Duration = Duration::from_secs(5);
/// So many of the models that there are stand in a complaint about one that is not.
const NAMED_MAX: usize = 5;
/// Models whose provider does not answer, refuses their key, or does not have them.
pub(super) fn models(
    config: &Config,
    agents: &[Arc<AgentSpec>],
    providers: &ProviderSettings,
) -> Vec<Check> {
    let agreement = Agreement::of(config);
    let places = places(agents);
    std::thread::scope(|scope| {
        let agreement = &agreement;
        let asked: Vec<_> = places
            .iter()
            .map(|place| scope.spawn(move || place.checks(providers, agreement)))
            .collect();
        let found = asked.into_iter();
        found
            .flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// Where models of one provider are asked.
struct AskedPlace<'a> {
    models: Vec<NamedModel<'a>>,
}

/// A model that an agent names.
struct NamedModel<'a> {
    agent: &'a AgentSpec,
    choice: &'a ModelChoice,
    is_main: bool,
}

fn places(agents: &[Arc<AgentSpec>]) -> Vec<AskedPlace<'_>> {
    let mut places: BTreeMap<(&Provider, Option<&str>), AskedPlace<'_>> = BTreeMap::new();
    for agent in agents {
        let main = std::iter::once((&agent.model.main, true));
        let others = agent.model.fallbacks.iter();
        let others = others.chain(agent.session.summary_model.as_deref());
        let others = others.map(|choice| (choice, false));
        for (choice, is_main) in main.chain(others) {
            let key = (&choice.provider, choice.base_url.as_deref());
            let place = places
                .entry(key)
                .or_insert(AskedPlace { models: Vec::new() });
            place.models.push(NamedModel {
                agent,
                choice,
                is_main,
            });
        }
    }
    let mut places: Vec<AskedPlace<'_>> = places.into_values().collect();
    for place in &mut places {
        place.models.sort_by_key(|model| &model.choice.name);
    }
    places
}

impl AskedPlace<'_> {
    fn checks(&self, providers: &ProviderSettings, agreement: &Agreement<'_>) -> Vec<Check> {
        let Some(first) = self.models.first().map(|model| model.choice) else {
            return Vec::new();
        };
        let is_told = providers.obstacle(first).is_some() || providers.withheld(first).is_some();
        if first.provider == Provider::ECHO || is_told {
            return Vec::new();
        }
        let subject = format!("provider {}", first.provider);
        if let Some(why) = agreement.lacking(first, providers) {
            return vec![Check::warning(subject, why)];
        }
        let begun = Instant::now();
        let mut checks = Vec::new();
        let mut there: Vec<&NamedModel<'_>> = Vec::new();
        match providers.offered(first, LIMIT) {
            Ok(offered) => {
                for model in &self.models {
                    match model.lack(&offered, providers, LIMIT.saturating_sub(begun.elapsed())) {
                        Some(lack) => checks.push(lack),
                        None => there.push(model),
                    }
                }
                if checks.is_empty() {
                    let address = providers.shown_address(first).unwrap_or_default();
                    let count = counted(offered.len(), "model");
                    checks.push(Check::ok(subject, format!("{address} lists {count}")));
                }
            }
            Err(CatalogueError::NoList(why)) => {
                let message = format!("{why} So the names of models are not checked");
                checks.push(Check::warning(subject, message));
                there.extend(&self.models);
            }
            Err(error) => {
                let models = self.models.iter();
                checks.extend(models.map(|model| model.failure(&error, providers)));
            }
        }
        let is_local = |model: &&&NamedModel<'_>| model.is_local(providers);
        there.dedup_by_key(|model| &model.choice.name);
        checks.extend(
            there
                .iter()
                .filter(is_local)
                .map(|model| model.trial(providers)),
        );
        checks
    }
}

impl NamedModel<'_> {
    fn check(&self, message: String) -> Check {
        let subject = format!("agent {}", self.agent.name);
        if self.is_main {
            Check::error(subject, message)
        } else {
            Check::warning(subject, message)
        }
    }

    /// It runs on a server of one's own, which costs nothing to ask.
    fn is_local(&self, providers: &ProviderSettings) -> bool {
        let known = self.choice.provider.known();
        let is_there = || providers.address(self.choice).is_some_and(is_loopback_url);
        // One with a key may cost something.
        let is_free =
            |known: &Known| !known.needs_key && !providers.keys.contains_key(&self.choice.provider);
        known.is_some_and(is_free) || is_there()
    }

    /// Whether it calls tools.
    fn trial(&self, providers: &ProviderSettings) -> Check {
        let subject = format!("model {}", self.choice.label());
        match trial::call_a_tool(providers, self.choice) {
            Ok(()) => Check::ok(subject, "calls tools"),
            Err(why) => Check::warning(subject, why),
        }
    }

    /// The list could not be had.
    fn failure(&self, error: &CatalogueError, providers: &ProviderSettings) -> Check {
        let label = self.choice.label();
        let url = providers.shown_address(self.choice).unwrap_or_default();
        let is_ollama = self.choice.provider == Provider::OLLAMA;
        match error {
            CatalogueError::Unreachable(why) if is_ollama => self
                .check(format!("{label}: no Ollama answers at {url}: {why}"))
                .hint("start it, or see `base_url` and OLLAMA_HOST"),
            CatalogueError::Unreachable(why) if is_loopback_url(&url) => self
                .check(format!("{label}: nothing answers at {url}: {why}"))
                .hint("start it, or see `base_url`"),
            CatalogueError::Unreachable(why)
            | CatalogueError::NotAsked(why)
            | CatalogueError::Refused(why)
            | CatalogueError::NoList(why)
            | CatalogueError::Failed(why) => self.check(format!("{label} cannot be asked: {why}")),
        }
    }

    /// That the list lacks the model, if it does; for `left` the provider may be asked of it alone.
    fn lack(
        &self,
        offered: &[OfferedModel],
        providers: &ProviderSettings,
        left: Duration,
    ) -> Option<Check> {
        let ModelChoice { provider, name, .. } = self.choice;
        let listing = provider.listing();
        if listing == Listing::OtherNames
            || offered
                .iter()
                .any(|one| is_called(provider, &one.name, name))
        {
            return None;
        }
        let url = providers.shown_address(self.choice).unwrap_or_default();
        let names = offered.iter().map(|one| one.name.as_str());
        let names = names.map(|listed| listed.strip_suffix(":latest").unwrap_or(listed));
        let near = did_you_mean(name, names);
        if *provider == Provider::OLLAMA {
            let label = self.choice.label();
            let message = format!("the Ollama at {url} lacks {label}: `ollama pull {name}`");
            return Some(self.hinted(self.check(message), near, offered));
        }
        let knows = providers.knows(self.choice, left);
        if knows == Some(true) {
            return None;
        }
        if knows.is_none() || listing == Listing::Partial {
            let subject = format!("agent {}", self.agent.name);
            let message =
                format!("{provider} does not list `{name}`, and may have it all the same");
            return Some(self.hinted(Check::warning(subject, message), near, offered));
        }
        let message = format!("{provider} has no model `{name}` at {url} (`spec.model.name`)");
        Some(self.hinted(self.check(message), near, offered))
    }

    fn hinted(&self, check: Check, near: Option<String>, offered: &[OfferedModel]) -> Check {
        let provider = &self.choice.provider;
        let some: Vec<&str> = offered
            .iter()
            .take(NAMED_MAX)
            .map(|one| one.name.as_str())
            .collect();
        match (near, offered.len()) {
            (Some(near), _) => check.hint(near),
            (None, 0) => check.hint("it has none"),
            (None, 1..=NAMED_MAX) => check.hint(format!("it has {}", some.join(", "))),
            (None, _) if self.choice.base_url.is_none() => {
                check.hint(format!("`duragent models {provider}` lists what it has"))
            }
            (None, count) => check.hint(format!("it has {count}: {}, …", some.join(", "))),
        }
    }
}

/// A model that is listed as `listed` is meant by `wanted`.
fn is_called(provider: &Provider, listed: &str, wanted: &str) -> bool {
    let wanted = wanted.strip_prefix("models/").unwrap_or(wanted);
    match provider.as_str() {
        // Without a tag, the one called `latest` is meant.
        "ollama" => listed == wanted || listed.strip_suffix(":latest") == Some(wanted),
        // What stands behind it says by whom, or how, the model is to be run.
        "openrouter" => {
            listed == wanted
                || wanted
                    .rsplit_once(':')
                    .is_some_and(|(model, _)| listed == model)
        }
        _ => listed == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_known_by_the_names_that_its_provider_takes() {
        for (provider, listed, wanted, expected) in [
            ("ollama", "llama3.2:latest", "llama3.2", true),
            ("ollama", "llama3.2:1b", "llama3.2:1b", true),
            ("ollama", "llama3.2:1b", "llama3.2", false),
            ("openrouter", "a/b", "a/b:nitro", true),
            ("openrouter", "a/b:free", "a/b", false),
            ("openai", "gpt:latest", "gpt", false),
            ("gemini", "gemini-2.5-pro", "models/gemini-2.5-pro", true),
        ] {
            let provider = Provider::parse(provider).unwrap();
            let found = is_called(&provider, listed, wanted);
            assert_eq!(found, expected, "{provider} {listed} {wanted}");
        }
    }
}
