//! `spec.model`: which models an agent asks, and how.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::agents::raw;
use crate::base::order;
use crate::base::text;
use crate::base::yaml::headers::headers;
use crate::base::yaml::read::{At, Report, WordOrList, or_default, plain};
use crate::domain::providers::{KNOWN, Known, Origin};
use crate::domain::secret::Secret;
use crate::domain::spec::{
    ModelChoice, ModelInput, ModelSettings, ModelSpec, PromptSize, Provider, ReasoningSettings,
};

/// Headers that carry keys, which an agent's file never sets.
const KEY_HEADERS: &[&str] = &[
    "api-key",
    "authorization",
    "cookie",
    "x-api-key",
    "x-auth-token",
    "x-goog-api-key",
];
/// Members of a request that are the conversation itself, or that decide how its answer is read.
const OWN_MEMBERS: &[&str] = &[
    "input",
    "instructions",
    "messages",
    "model",
    "stream",
    "system",
    "tools",
];
/// Providers take four.
const STOPS_MAX: usize = 16;

/// Checks `spec.model`.
pub(super) fn model(
    spec: &At<()>,
    found: Option<At<raw::Model>>,
    providers: &[Provider],
    report: &mut Report,
) -> Option<ModelSpec> {
    let (at, raw) = report.require(spec, "model", found)?.split();
    let fallbacks = or_default(raw.fallbacks).into_iter();
    let main = choice(&at, raw.main, providers, report);
    let fallbacks = fallbacks.filter_map(|fallback| {
        let (at, raw) = fallback.split();
        choice(&at, raw, providers, report)
    });
    let mut fallbacks: Vec<ModelChoice> = fallbacks.collect();
    let main = main?;
    for fallback in &mut fallbacks {
        let own = std::mem::take(&mut fallback.settings);
        fallback.settings = own.or(&main.settings);
    }
    Some(ModelSpec { main, fallbacks })
}

/// Checks `spec.session.summary_model`. At the provider of the agent's `main` model it is asked where that one is.
pub(super) fn summary_model(
    found: Option<At<raw::SummaryModel>>,
    main: Option<&ModelChoice>,
    providers: &[Provider],
    report: &mut Report,
) -> Option<Box<ModelChoice>> {
    let (at, raw) = found?.split();
    let provider = provider(&at, raw.provider, providers, report);
    let name = report.require(&at, "name", raw.name);
    if let Some(name) = &name {
        not_empty(name, report);
    }
    let mut choice = Box::new(ModelChoice::new(provider?, name?.value));
    if let Some(main) = main.filter(|main| main.provider == choice.provider) {
        choice.base_url.clone_from(&main.base_url);
        choice.settings.headers.clone_from(&main.settings.headers);
    }
    Some(choice)
}

fn provider(
    at: &At<()>,
    found: Option<At<String>>,
    described: &[Provider],
    report: &mut Report,
) -> Option<Provider> {
    let known: Vec<Provider> = KNOWN.iter().map(Known::provider).collect();
    let all = known.iter().chain(described);
    let all: Vec<(&str, &Provider)> = all.map(|one| (one.as_str(), one)).collect();
    let word = report.require(at, "provider", found)?;
    report.choice(&word, &all).cloned()
}

fn choice(
    at: &At<()>,
    raw: raw::OneModel,
    providers: &[Provider],
    report: &mut Report,
) -> Option<ModelChoice> {
    let provider = provider(at, raw.provider, providers, report);
    let name = report.require(at, "name", raw.name);
    if let Some(url) = &raw.base_url
        && (!text::is_http_url(&url.value) || Origin::of(&url.value).is_none())
    {
        report.error(url, "must begin with `http://` or `https://`");
    }
    if let Some(name) = &name {
        not_empty(name, report);
    }
    let reasoning = raw.reasoning.map(|at| {
        if let Some(effort) = &at.value.effort {
            not_empty(effort, report);
        }
        ReasoningSettings {
            effort: plain(at.value.effort),
            max_tokens: report.at_least(at.value.max_tokens, 1),
        }
    });
    let settings = ModelSettings {
        temperature: report.within(raw.temperature, 0.0..=2.0),
        top_p: report.within(raw.top_p, 0.0..=1.0),
        seed: plain(raw.seed),
        stop: stops(raw.stop, report),
        max_output_tokens: output_tokens(raw.max_output_tokens, raw.max_tokens, report),
        max_input_tokens: report.at_least(raw.max_input_tokens, 1),
        reasoning,
        stream: plain(raw.stream),
        extra_body: extra_body(or_default(raw.extra_body), report),
        headers: order::map(
            headers(or_default(raw.headers), KEY_HEADERS, report)
                .into_iter()
                .map(|(name, text)| (name, Secret::new(text))),
        ),
        input: raw.input.map(|at| input(at.value, report)),
        tool_text: plain(raw.tool_text),
        prompt: raw.prompt.and_then(|at| {
            let words = [("full", PromptSize::Full), ("lean", PromptSize::Lean)];
            report.choice(&at, &words)
        }),
    };
    Some(ModelChoice {
        provider: provider?,
        name: name?.value,
        base_url: plain(raw.base_url),
        settings,
    })
}

fn not_empty(at: &At<String>, report: &mut Report) {
    if at.value.trim().is_empty() {
        report.error(at, "must not be empty");
    }
}

fn stops(found: Option<At<WordOrList>>, report: &mut Report) -> Vec<String> {
    let Some(at) = found else {
        return Vec::new();
    };
    let (at, found) = at.split();
    let stops = match found {
        WordOrList::Word(one) => vec![one],
        WordOrList::List(several) => several,
    };
    if stops.len() > STOPS_MAX {
        report.error(&at, format!("must be {STOPS_MAX} texts at most"));
    }
    for stop in stops.iter().filter(|stop| stop.value.is_empty()) {
        report.error(stop, "must not be empty");
    }
    stops.into_iter().map(|stop| stop.value).collect()
}

fn input(found: Vec<At<String>>, report: &mut Report) -> ModelInput {
    let mut input = ModelInput::default();
    for at in found {
        match report.choice(&at, &[("text", 0), ("image", 1), ("pdf", 2)]) {
            Some(1) => input.image = true,
            Some(2) => input.pdf = true,
            Some(_) | None => {}
        }
    }
    input
}

fn extra_body(found: BTreeMap<String, At<Value>>, report: &mut Report) -> Map<String, Value> {
    for (name, at) in &found {
        if OWN_MEMBERS.contains(&name.as_str()) {
            report.error(
                at,
                "is what the program itself says, and cannot be set here",
            );
        }
    }
    found
        .into_iter()
        .map(|(name, at)| (name, at.value))
        .collect()
}

/// `max_tokens` is what many call it.
fn output_tokens(
    named: Option<At<u64>>,
    alias: Option<At<u64>>,
    report: &mut Report,
) -> Option<u64> {
    if let (Some(named), Some(alias)) = (&named, &alias)
        && named.value != alias.value
    {
        let must = format!(
            "is another name of `max_output_tokens`, which is {}",
            named.value
        );
        report.error(alias, must);
    }
    report.at_least(named.or(alias), 1)
}
