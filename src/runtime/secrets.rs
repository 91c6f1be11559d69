//! What must not come into sessions and logs. Pure.

use crate::config::Config;
use crate::domain::providers::KeySource;
use crate::domain::redact::Redactor;
use crate::domain::secret::{Secret, is_secret_field, names_a_secret};
use crate::llm::settings::ProviderSettings;

/// Knows the tokens of the configuration, and the variables of the `environment` whose names say
/// that they hold a secret; the keys of the providers are among them.
pub(super) fn redactor(
    config: &Config,
    providers: &ProviderSettings,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Redactor {
    let configured = configured(config).map(|(name, secret)| (name, secret.reveal().to_owned()));
    let variables = environment
        .into_iter()
        .filter(|(name, _)| names_a_secret(name));
    let keys = keys_of_the_file(providers);
    Redactor::new(configured.chain(keys).chain(variables))
}

/// The keys that stand in files of their own, or that programs have printed.
fn keys_of_the_file(providers: &ProviderSettings) -> impl Iterator<Item = (String, String)> {
    providers.described.iter().filter_map(|(provider, one)| {
        let word = match one.key.as_ref()? {
            KeySource::File(_) => "api_key_file",
            KeySource::Command { .. } => "api_key_command",
            // Those of all variables are known.
            KeySource::Variable(_) => return None,
        };
        let key = providers.keys.get(provider)?;
        let name = format!("providers.{provider}.{word}");
        Some((name, key.reveal().to_owned()))
    })
}

fn configured(config: &Config) -> impl Iterator<Item = (String, &Secret)> {
    let server = &config.server;
    let tokens = [
        ("server.api_token", server.api_token.as_ref()),
        ("server.admin_token", server.admin_token.as_ref()),
    ];
    let bots = config.gateways.telegram.iter();
    let bots = bots.map(|bot| ("gateways.telegram.bot_token", Some(&bot.bot_token)));
    let tokens = tokens
        .into_iter()
        .chain(bots)
        .filter_map(|(name, secret)| Some((name.to_owned(), secret?)));
    let external = config.gateways.external.iter();
    let theirs = external
        .flat_map(|gateway| &gateway.env)
        .filter(|(name, _)| names_a_secret(name))
        .map(|(name, secret)| (name.clone(), secret));
    tokens.chain(theirs).chain(sent_fields(config))
}

/// What is sent to providers beside their keys, and is called a secret.
fn sent_fields(config: &Config) -> impl Iterator<Item = (String, &Secret)> {
    config.providers.iter().flat_map(|(provider, one)| {
        let headers = one.headers.iter().map(|one| ("headers", one));
        let query = one.query.iter().map(|one| ("query", one));
        let fields = headers
            .chain(query)
            .filter(|(_, (name, _))| is_secret_field(name));
        fields.map(move |(kind, (name, secret))| {
            (format!("providers.{provider}.{kind}.{name}"), secret)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{ConfigSource, Overrides};
    use crate::workspace::providers;

    #[test]
    fn keys_in_files_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        std::fs::write(folder.path().join("lan.key"), "the-key-of-the-lan\n").unwrap();
        let text = "providers: {lan: {base_url: \"http://10.0.0.5\", api_key_file: lan.key, \
                    headers: {X-Auth: the-token-of-the-lan, X-Team: the-blue-team}}}\n";
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(
            &ConfigSource::File(file.clone()),
            &Overrides::default(),
            &|_| None,
        )
        .unwrap();
        let (settings, _) = providers::settings(&loaded.config, |_| None);
        let redactor = redactor(&loaded.config, &settings, []);
        assert_eq!(
            redactor.redact("it is the-key-of-the-lan"),
            "it is [redacted:providers.lan.api_key_file]"
        );
        assert_eq!(
            redactor.redact("the-token-of-the-lan of the-blue-team"),
            "[redacted:providers.lan.headers.x-auth] of the-blue-team"
        );
    }

    #[test]
    fn tokens_of_the_configuration_and_named_variables_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("duragent.yaml");
        std::fs::write(
            &file,
            "server:\n  api_token: the-api-token\n  admin_token: the-admin-token\n\
             gateways:\n  telegram:\n    enabled: true\n    bot_token: 1234:the-bot-token\n  \
             external:\n    - name: x\n      command: /bin/true\n      \
             env: {X_TOKEN: the-x-token, PLACE: the-usual-place}\n",
        )
        .unwrap();
        let file: &Path = &file;
        let loaded = Config::load(
            &ConfigSource::File(file.to_owned()),
            &Overrides::default(),
            &|_| None,
        )
        .unwrap();
        let variables = [
            ("BRAVE_API_KEY", "the-brave-key"),
            ("db_password", "the-password"),
            ("HOME", "/home/somebody"),
            ("A_KEY", "the-api-token"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let redactor = redactor(&loaded.config, &ProviderSettings::default(), variables);
        for (text, expected) in [
            ("the-api-token", "[redacted:A_KEY]"),
            ("the-admin-token", "[redacted:server.admin_token]"),
            (
                "1234:the-bot-token",
                "[redacted:gateways.telegram.bot_token]",
            ),
            ("the-x-token", "[redacted:X_TOKEN]"),
            ("the-brave-key", "[redacted:BRAVE_API_KEY]"),
            ("the-password", "[redacted:db_password]"),
            ("the-usual-place", "the-usual-place"),
            ("/home/somebody", "/home/somebody"),
        ] {
            assert_eq!(redactor.redact(text), expected);
        }
    }
}
