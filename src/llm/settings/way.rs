//! How models are asked, in words for a person. Pure.

use url::Url;

use super::ProviderSettings;
use crate::domain::providers::{Dialect, KeySource};
use crate::domain::spec::{ModelChoice, Provider};

/// The way to a model: what of it a person may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelWay {
    /// Whom it is asked of, with the port where that is not the usual one; `None` for what is built in.
    pub host: Option<String>,
    /// The interface, in the word of files.
    pub dialect: &'static str,
    /// Where its key is looked for, if it may have one there.
    pub key: Option<String>,
    /// Why its key would not be sent there.
    pub withheld: Option<String>,
}

impl ProviderSettings {
    /// The way to `choice`. Whether there is a key does not matter.
    ///
    /// Errors: it has no address, and what to do about that.
    pub fn way(&self, choice: &ModelChoice) -> Result<ModelWay, String> {
        if choice.provider == Provider::ECHO {
            return Ok(ModelWay {
                host: None,
                dialect: word(Dialect::Echo),
                key: None,
                withheld: None,
            });
        }
        let destination = self
            .destination(choice)
            .map_err(|error| error.to_string())?;
        let belongs = self.belongs(&choice.provider, &destination);
        let withheld = belongs.err();
        Ok(ModelWay {
            host: Some(destination.origin.to_string()),
            dialect: word(destination.dialect),
            key: self.key_place(&choice.provider).filter(|_| belongs.is_ok()),
            withheld: withheld.map(|why| destination.withheld(&choice.provider, why)),
        })
    }

    /// Where the key of `provider` is looked for: the name of a variable, or a file.
    pub fn key_place(&self, provider: &Provider) -> Option<String> {
        Some(match self.key_source(provider)? {
            KeySource::Variable(name) => name,
            KeySource::File(path) => format!("the file {}", path.display()),
            KeySource::Command { program, .. } => format!("what {} prints", program.display()),
        })
    }

    /// The base URL of `choice` as it may be shown: a password or a key may stand in it.
    pub fn shown_address(&self, choice: &ModelChoice) -> Option<String> {
        let mut url = Url::parse(self.address(choice)?).ok()?;
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url.as_str().trim_end_matches('/').to_owned())
    }
}

fn word(dialect: Dialect) -> &'static str {
    let mut words = Dialect::WORDS.iter();
    let found = words.find(|(_, known)| *known == dialect);
    found.map_or("echo", |(word, _)| word)
}
