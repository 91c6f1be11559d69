//! Which settings of a model do not go to its provider. Pure.
//!
//! A request is made with each of them and without: where both are the same, it is not sent, whatever the reason.

use crate::domain::message::Message;
use crate::domain::spec::{ModelChoice, ModelSettings};
use crate::llm::Request;
use crate::llm::ollama::ModelCard;
use crate::llm::providers::ask;
use crate::llm::settings::{Destination, ProviderSettings};

/// A setting, and how it is taken out.
type Setting = (&'static str, fn(&mut ModelSettings));

const SETTINGS: &[Setting] = &[
    ("temperature", |settings| settings.temperature = None),
    ("top_p", |settings| settings.top_p = None),
    ("seed", |settings| settings.seed = None),
    ("stop", |settings| settings.stop.clear()),
    ("reasoning", |settings| settings.reasoning = None),
];

/// A sentence for each setting of `choice` that is not sent: known beforehand, by its dialect and its name.
pub fn unsent(settings: &ProviderSettings, choice: &ModelChoice) -> Vec<String> {
    let Ok(destination) = settings.destination(choice) else {
        return Vec::new();
    };
    let sent = |choice: &ModelChoice| body(choice, &destination);
    let whole = sent(choice);
    let label = choice.label();
    let mut sentences = Vec::new();
    for (name, take_out) in SETTINGS {
        let without = changed(choice, *take_out);
        if without.settings == choice.settings || sent(&without) != whole || is_off(choice, name) {
            continue;
        }
        let plain = changed(choice, |settings| settings.reasoning = None);
        let why = if choice.quirks(destination.is_own).refused.contains(name) {
            format!("{label} takes its own alone")
        } else if sent(&plain) != sent(&changed(&plain, *take_out)) {
            format!("{label} does not take it together with `reasoning`")
        } else {
            format!("there is no place for it where {label} is asked")
        };
        sentences.push(format!("`{name}` is not sent: {why}"));
    }
    sentences
}

fn changed(choice: &ModelChoice, change: fn(&mut ModelSettings)) -> ModelChoice {
    let mut changed = choice.clone();
    change(&mut changed.settings);
    changed
}

/// It asks for nothing, and that is what is sent.
fn is_off(choice: &ModelChoice, name: &str) -> bool {
    let reasoning = choice.settings.reasoning.as_ref();
    let effort = reasoning.and_then(|one| one.effort.as_deref());
    name == "reasoning" && effort == Some("none")
}

fn body(choice: &ModelChoice, destination: &Destination) -> Option<Vec<u8>> {
    let request = Request {
        messages: vec![Message::User {
            text: "?".into(),
            attachments: Vec::new(),
        }],
        ..Request::default()
    };
    let quirks = choice.quirks(destination.is_own);
    let asked = ask(
        choice,
        destination,
        &request,
        &quirks,
        &[],
        &ModelCard::default(),
    );
    asked.ok().map(|(body, _)| body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::{Provider, ReasoningSettings};

    #[test]
    fn what_is_not_sent_is_told_with_its_reason() {
        let all = |choice: &mut ModelChoice, effort: Option<&str>| {
            choice.settings = ModelSettings {
                temperature: Some(0.5),
                top_p: Some(0.5),
                seed: Some(1),
                stop: vec!["END".into()],
                reasoning: effort.map(|effort| ReasoningSettings {
                    effort: Some(effort.to_owned()),
                    max_tokens: None,
                }),
                ..ModelSettings::default()
            };
        };
        let settings = ProviderSettings::default();
        for (provider, name, effort, expected) in [
            ("openai", "gpt-4.1", None, vec![]),
            ("ollama", "m1", Some("low"), vec![]),
            (
                "openai",
                "gpt-5.6",
                Some("low"),
                vec!["temperature", "top_p", "seed", "stop"],
            ),
            ("anthropic", "claude-sonnet-4-5", None, vec!["seed"]),
            ("anthropic", "claude-sonnet-4-5", Some("none"), vec!["seed"]),
            (
                "anthropic",
                "claude-opus-4-7",
                None,
                vec!["temperature", "top_p", "seed"],
            ),
            ("moonshot", "kimi-k2.5", None, vec!["temperature", "top_p"]),
            ("echo", "echo", None, vec![]),
        ] {
            let mut choice = ModelChoice::new(Provider::parse(provider).unwrap(), name);
            all(&mut choice, effort);
            let told = unsent(&settings, &choice);
            let names = told.iter().map(|one| one.split('`').nth(1).unwrap());
            assert_eq!(names.collect::<Vec<_>>(), expected, "{name}: {told:?}");
        }
        let mut choice = ModelChoice::new(Provider::ANTHROPIC, "claude-sonnet-4-5");
        all(&mut choice, Some("low"));
        let told = unsent(&settings, &choice);
        assert!(
            told.contains(
                &"`temperature` is not sent: anthropic/claude-sonnet-4-5 does not take it together with `reasoning`"
                    .to_owned()
            ),
            "{told:?}"
        );
        let place = "`seed` is not sent: there is no place for it where anthropic/claude-sonnet-4-5 is asked";
        assert!(told.contains(&place.to_owned()), "{told:?}");
        assert_eq!(
            unsent(&settings, &ModelChoice::new(Provider::OPENAI, "gpt-5.6")),
            [""; 0]
        );
    }
}
