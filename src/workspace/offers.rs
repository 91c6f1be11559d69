//! What the providers of a workspace offer.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::config::Config;
use crate::domain::providers::is_loopback_url;
use crate::domain::spec::{ModelChoice, Provider};
use crate::llm::settings::ProviderSettings;
use crate::workspace::consent;
use crate::workspace::loaded::read_agents;
use crate::workspace::providers;
use crate::workspace::trust::{self, Workspace};

pub use crate::llm::catalogue::{CatalogueError, OfferedModel};

/// How long each provider has for its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// The models of a provider, or why they are not known.
#[derive(Debug)]
pub struct Offer {
    /// The provider.
    pub provider: Provider,
    /// Its models, in its order.
    pub models: Result<Vec<OfferedModel>, CatalogueError>,
}

/// What `provider` offers. Whoever names it wants it asked, as the workspace's files describe it.
pub fn of(config: &Config, provider: Provider) -> Offer {
    let mut config = config.clone();
    // Nobody else's program has to print a key.
    config
        .providers
        .retain(|described, _| *described == provider);
    let settings = told(providers::settings_as_agreed(&config, environment));
    asked(&settings, provider)
}

/// What the providers offer that can be asked here: those that agents name, that the configuration
/// describes, or whose key is set.
pub fn all(config: &Config) -> Vec<Offer> {
    let settings = told(providers::settings_as_agreed(config, environment));
    let (trust, _) = trust::of_workspace(&Workspace::of(config));
    let agents = read_agents(config, &trust).list();
    let choices = agents.iter().flat_map(|agent| {
        let main = std::iter::once(&agent.model.main);
        main.chain(&agent.model.fallbacks)
            .chain(agent.session.summary_model.as_deref())
    });
    let mut names: BTreeSet<Provider> = choices.map(|choice| choice.provider.clone()).collect();
    names.extend(settings.keys.keys().cloned());
    names.extend(settings.described.keys().cloned());
    let agreement = Agreement::of(config);
    std::thread::scope(|scope| {
        let (settings, agreement) = (&settings, &agreement);
        let ask = |provider: Provider| {
            let choice = ModelChoice::new(provider.clone(), "");
            match agreement.lacking(&choice, settings) {
                Some(why) => Offer {
                    provider,
                    models: Err(CatalogueError::NotAsked(why)),
                },
                None => asked(settings, provider),
            }
        };
        let asked: Vec<_> = names
            .into_iter()
            .map(|provider| scope.spawn(move || ask(provider)))
            .collect();
        let answers = asked.into_iter();
        answers
            .map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

/// The first model that the Ollama of this machine has, if one answers within `limit`.
pub fn of_ollama(limit: Duration) -> Option<String> {
    let settings = ProviderSettings::from_env(environment);
    let choice = ModelChoice::new(Provider::OLLAMA, "");
    let models = settings.offered(&choice, limit).ok()?;
    Some(models.into_iter().next()?.name)
}

/// Whether the places that the workspace's own file names may be asked: the file may be a stranger's,
/// and whoever only looks has not agreed that keys go there.
#[derive(Debug)]
pub(crate) struct Agreement<'a> {
    config: &'a Config,
    is_given: bool,
}

impl Agreement<'_> {
    pub(crate) fn of(config: &Config) -> Agreement<'_> {
        let is_given =
            config.providers.is_empty() || consent::is_agreed(config, &consent::claims(config));
        Agreement { config, is_given }
    }

    /// Why `choice` is not asked, if it is not.
    pub(crate) fn lacking(
        &self,
        choice: &ModelChoice,
        settings: &ProviderSettings,
    ) -> Option<String> {
        let provider = &choice.provider;
        let is_described = self.config.providers.contains_key(provider);
        let url = settings.address(choice)?;
        let sends_nothing = || {
            let described = self.config.providers.get(provider);
            let is_bare = described.is_some_and(|one| {
                one.key.is_none() && one.headers.is_empty() && one.query.is_empty()
            });
            is_bare && !settings.keys.contains_key(provider)
        };
        let is_asked = self.is_given || !is_described || is_loopback_url(url) && sends_nothing();
        (!is_asked).then(|| {
            format!(
                "{provider} was not asked: this folder's file says where it is and which key goes there, \
                 and you have not served the folder yet; `duragent models {provider}` asks it"
            )
        })
    }
}

fn asked(settings: &ProviderSettings, provider: Provider) -> Offer {
    let choice = ModelChoice::new(provider.clone(), "");
    Offer {
        models: settings.offered(&choice, LIMIT),
        provider,
    }
}

/// The settings, whose warnings are told.
fn told((settings, warnings): (ProviderSettings, Vec<String>)) -> ProviderSettings {
    for warning in warnings {
        log::warn!("{warning}");
    }
    settings
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
