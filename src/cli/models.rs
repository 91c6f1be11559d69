//! `duragent models`: what providers offer.

use serde_json::{Map, Value, json};

use crate::base::yaml::problem::did_you_mean;
use crate::cli::args::{Global, ModelsArgs};
use crate::cli::error::{CliError, CliResult};
use crate::cli::output;
use crate::cli::settings::{ClientSettings, client_settings};
use crate::domain::providers::KNOWN;
use crate::domain::spec::Provider;
use crate::terminal::clean::{clean, one_line};
use crate::terminal::table::table;
use crate::workspace::offers::{self, Offer, OfferedModel};

const NAME_WIDTH: usize = 100;

/// Lists the models of a provider, or of all that can be asked here. What one of them does not tell is
/// told of, and fails the command.
pub(super) fn run(args: &ModelsArgs, global: &Global) -> CliResult {
    let settings = client_settings(global)?;
    let mut offers = match &args.provider {
        Some(name) => vec![offers::of(&settings.config, named(name, &settings)?)],
        None => offers::all(&settings.config),
    };
    if offers.is_empty() {
        return Err(
            CliError::new("no agent names a provider, and no key of one is set")
                .hint("name one: duragent models ollama"),
        );
    }
    for models in offers
        .iter_mut()
        .filter_map(|offer| offer.models.as_mut().ok())
    {
        models.sort_by(|one, other| one.name.cmp(&other.name));
    }
    if args.output.is_json() {
        let rows: Vec<Value> = rows(&offers).map(|(by, model)| shown(by, model)).collect();
        output::print_json(&rows)?;
    } else {
        let rows: Vec<Vec<String>> = rows(&offers).map(|(by, model)| row(by, model)).collect();
        output::print(&table(&["PROVIDER", "MODEL", "TOKENS", "INPUT"], &rows))?;
    }
    let failed: Vec<String> = offers
        .iter()
        .filter_map(|offer| offer.models.as_ref().err().map(ToString::to_string))
        .collect();
    let Some((last, before)) = failed.split_last() else {
        return Ok(());
    };
    for why in before {
        output::tell(&clean(&format!("duragent: {why}")).replace('\n', " "));
    }
    Err(CliError::new(last.as_str()))
}

fn named(name: &str, settings: &ClientSettings) -> Result<Provider, CliError> {
    let provider = Provider::parse(name);
    let is_there = |one: &Provider| one.known().is_some() || settings.providers.contains_key(one);
    provider.filter(is_there).ok_or_else(|| {
        let described = settings.providers.keys().map(Provider::as_str);
        let names: Vec<&str> = KNOWN
            .iter()
            .map(|known| known.name)
            .chain(described)
            .collect();
        let near = did_you_mean(name, names.iter().copied());
        let hint = near.unwrap_or_else(|| format!("there are: {}", names.join(", ")));
        CliError::usage(format!("there is no provider {name}")).hint(hint)
    })
}

fn rows(offers: &[Offer]) -> impl Iterator<Item = (&Provider, &OfferedModel)> {
    offers.iter().flat_map(|offer| {
        let models = offer.models.iter().flatten();
        models.map(|model| (&offer.provider, model))
    })
}

fn row(provider: &Provider, model: &OfferedModel) -> Vec<String> {
    vec![
        provider.to_string(),
        one_line(&model.name, NAME_WIDTH),
        model
            .window_tokens
            .map_or(String::new(), |tokens| tokens.to_string()),
        model
            .input
            .map_or(String::new(), |input| input.words().join(", ")),
    ]
}

/// As an agent's file would say it.
fn shown(provider: &Provider, model: &OfferedModel) -> Value {
    let mut shown = Map::new();
    shown.insert("provider".to_owned(), json!(provider));
    shown.insert("name".to_owned(), json!(model.name));
    if let Some(tokens) = model.window_tokens {
        shown.insert("max_input_tokens".to_owned(), json!(tokens));
    }
    if let Some(input) = model.input {
        shown.insert("input".to_owned(), json!(input.words()));
    }
    Value::Object(shown)
}
