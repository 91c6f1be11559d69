//! The providers that are known without being named in a file, and whose address is whose. Pure.
//!
//! Addresses are compared as they will be called: scheme, host and port, after the reading that
//! browsers and [`Url`] give them. So no name and no password before an `@`, no other letter case,
//! no number for a host and no default port makes two of one, and nothing makes one of two.
//!
//! Elsewhere: what is sent there (`llm`), what an owner's file adds (`config`).

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use url::Url;

use crate::base::host;

/// The name of a provider: of one in [`KNOWN`], or of one that `duragent.yaml` describes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Provider(Cow<'static, str>);

impl Provider {
    /// OpenRouter.
    pub const OPENROUTER: Provider = Provider(Cow::Borrowed("openrouter"));
    /// OpenAI.
    pub const OPENAI: Provider = Provider(Cow::Borrowed("openai"));
    /// Anthropic.
    pub const ANTHROPIC: Provider = Provider(Cow::Borrowed("anthropic"));
    /// A local Ollama.
    pub const OLLAMA: Provider = Provider(Cow::Borrowed("ollama"));
    /// Built in: streams the user's words back.
    pub const ECHO: Provider = Provider(Cow::Borrowed("echo"));

    /// The provider of that name; `None` for what can be none: 1 to 32 lower-case letters, digits,
    /// `-` and `_`, so that it can stand in a model's label.
    pub fn parse(text: &str) -> Option<Provider> {
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        };
        let is_name = (1..=32).contains(&text.len()) && text.bytes().all(is_plain);
        is_name.then(|| Provider(Cow::Owned(text.to_owned())))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is known of it.
    pub fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.name == self.as_str())
    }

    /// The variable that names its address instead of the usual one.
    pub fn base_url_variable(&self) -> String {
        format!(
            "{}_BASE_URL",
            self.as_str().to_ascii_uppercase().replace('-', "_")
        )
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Provider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The interface that a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `POST …/chat/completions`.
    OpenAi,
    /// `POST …/v1/messages`.
    Anthropic,
    /// None: it is built in.
    Echo,
}

impl Dialect {
    /// The words used in files. Nothing elsewhere speaks `echo`.
    pub const WORDS: &[(&str, Dialect)] = &[
        ("openai", Dialect::OpenAi),
        ("anthropic", Dialect::Anthropic),
    ];
}

/// What is known of a provider.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name in files.
    pub name: &'static str,
    /// What it speaks.
    pub dialect: Dialect,
    /// Its own address, with the usual path; `None` where each customer has another, and for what
    /// is built in.
    pub base_url: Option<&'static str>,
    /// Further hosts of its own, by https.
    pub other_hosts: &'static [&'static str],
    /// The variables that its key may stand in; the first that is set counts.
    pub key_variables: &'static [&'static str],
    /// Whether it answers nobody without a key.
    pub needs_key: bool,
}

/// Row of a provider in the network, which needs a key.
const fn remote(
    name: &'static str,
    base_url: &'static str,
    key_variables: &'static [&'static str],
) -> Known {
    Known {
        name,
        dialect: Dialect::OpenAi,
        base_url: Some(base_url),
        other_hosts: &[],
        key_variables,
        needs_key: true,
    }
}

/// Row of a server that one runs oneself; it may have been told to want a key.
const fn local(
    name: &'static str,
    base_url: &'static str,
    key_variables: &'static [&'static str],
) -> Known {
    Known {
        needs_key: false,
        ..remote(name, base_url, key_variables)
    }
}

/// The providers that an agent may name without more.
///
/// Source: the providers' pages on their OpenAI-compatible interface, November 2025.
pub const KNOWN: &[Known] = &[
    remote(
        "openrouter",
        "https://openrouter.ai/api/v1",
        &["OPENROUTER_API_KEY"],
    ),
    Known {
        other_hosts: &["eu.api.openai.com", "us.api.openai.com"],
        ..remote("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
    },
    Known {
        dialect: Dialect::Anthropic,
        ..remote(
            "anthropic",
            "https://api.anthropic.com",
            &["ANTHROPIC_API_KEY"],
        )
    },
    local("ollama", "http://127.0.0.1:11434/v1", &["OLLAMA_API_KEY"]),
    Known {
        dialect: Dialect::Echo,
        base_url: None,
        ..local("echo", "", &[])
    },
    remote(
        "deepseek",
        "https://api.deepseek.com/v1",
        &["DEEPSEEK_API_KEY"],
    ),
    remote(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    ),
    remote("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    remote("xai", "https://api.x.ai/v1", &["XAI_API_KEY"]),
    remote("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"]),
    Known {
        other_hosts: &["api.moonshot.cn"],
        ..remote(
            "moonshot",
            "https://api.moonshot.ai/v1",
            &["MOONSHOT_API_KEY"],
        )
    },
    Known {
        other_hosts: &["api.together.ai"],
        ..remote(
            "together",
            "https://api.together.xyz/v1",
            &["TOGETHER_API_KEY"],
        )
    },
    remote(
        "fireworks",
        "https://api.fireworks.ai/inference/v1",
        &["FIREWORKS_API_KEY"],
    ),
    remote(
        "cerebras",
        "https://api.cerebras.ai/v1",
        &["CEREBRAS_API_KEY"],
    ),
    // Each customer has a host of their own, and so has each stranger: none is Azure's own.
    Known {
        base_url: None,
        ..remote("azure", "", &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"])
    },
    local(
        "lmstudio",
        "http://127.0.0.1:1234/v1",
        &["LMSTUDIO_API_KEY"],
    ),
    local(
        "llamacpp",
        "http://127.0.0.1:8080/v1",
        &["LLAMACPP_API_KEY"],
    ),
    local("vllm", "http://127.0.0.1:8000/v1", &["VLLM_API_KEY"]),
];

impl Known {
    /// Whether `origin` is the provider's own.
    pub fn owns(&self, origin: &Origin) -> bool {
        let is_usual = self.base_url.and_then(Origin::of).as_ref() == Some(origin);
        let is_other = origin.is_https
            && origin.port == HTTPS_PORT
            && self.other_hosts.contains(&origin.host.as_str());
        is_usual || is_other
    }
}

const HTTPS_PORT: u16 = 443;

/// Who is called at an address: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    is_https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// That of `url`; `None` for what is no address of the web.
    pub fn of(url: &str) -> Option<Origin> {
        Origin::of_url(&Url::parse(url).ok()?)
    }

    /// As [`Origin::of`], of an address that was read.
    pub fn of_url(url: &Url) -> Option<Origin> {
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        Some(Origin {
            is_https: url.scheme() == "https",
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// Whether what is sent there is encrypted.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        host::is_loopback(&self.host)
    }
}

/// `api.example.org`, or with the port that is not the scheme's: for a person.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match (self.is_https, self.port) {
            (true, HTTPS_PORT) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// Whether `url` is that of a provider in [`KNOWN`], as that provider has it: a stranger cannot be
/// there. A server on this machine is one of those only at its usual port.
pub fn is_known_host(url: &str) -> bool {
    Origin::of(url).is_some_and(|origin| KNOWN.iter().any(|known| known.owns(&origin)))
}

/// Whether `url` leads to this machine.
pub fn is_loopback_url(url: &str) -> bool {
    Origin::of(url).is_some_and(|origin| origin.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_name_once_and_only_addresses_that_can_be_called() {
        for (at, known) in KNOWN.iter().enumerate() {
            let name = Provider::parse(known.name).unwrap();
            assert_eq!(name.known(), Some(known));
            assert_eq!(
                KNOWN.iter().position(|one| one.name == known.name),
                Some(at)
            );
            if let Some(url) = known.base_url {
                let origin = Origin::of(url).unwrap();
                assert!(known.owns(&origin), "{url}");
                assert!(origin.is_https() || origin.is_loopback(), "{url}");
                assert_eq!(known.needs_key, origin.is_https(), "{url}");
            }
        }
    }

    #[test]
    fn only_the_providers_own_addresses_are_known() {
        for (url, expected) in [
            ("https://api.openai.com/v1", true),
            ("https://API.OpenAI.com:443/elsewhere?x=1", true),
            ("https://user:pass@api.openai.com/", true),
            ("https://eu.api.openai.com/v1", true),
            ("https://api.groq.com", true),
            ("http://127.0.0.1:11434", true),
            // Read as a browser does, and called so, too.
            ("https://api.openai.com\\@evil.example/", true),
            ("http://api.openai.com/v1", false),
            ("https://api.openai.com:8443/v1", false),
            ("https://api.openai.com./v1", false),
            ("https://api.openai.com.evil.example/v1", false),
            ("https://evil-api.openai.com/v1", false),
            ("https://openai.com/v1", false),
            ("https://api.openai.com@evil.example/v1", false),
            ("https://api.openai.com%2eevil.example/v1", false),
            ("https://evil.example/https://api.openai.com", false),
            ("https://evil.example#@api.openai.com", false),
            ("https://evil.example?@api.openai.com", false),
            ("https://xn--pi-7kc.openai.com/", false),
            ("https://anything.openai.azure.com/openai/v1", false),
            ("//api.openai.com/v1", false),
            ("ftp://api.openai.com/", false),
            ("api.openai.com", false),
            ("", false),
            ("http://127.0.0.1:9", false),
        ] {
            assert_eq!(is_known_host(url), expected, "{url}");
        }
    }

    #[test]
    fn this_machine_is_known_in_every_spelling_and_by_no_other() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://127.1", true),
            ("http://0x7f000001/", true),
            ("http://LOCALHOST:1", true),
            ("https://[::1]:1/v1", true),
            ("http://[::ffff:127.0.0.1]/", false),
            ("http://0.0.0.0/", false),
            ("http://127.0.0.1.evil.example/", false),
            ("http://127.0.0.1@evil.example/", false),
            ("http://localhost.evil.example/", false),
        ] {
            assert_eq!(is_loopback_url(url), expected, "{url}");
        }
    }

    #[test]
    fn a_name_is_lower_case_and_short() {
        for (text, expected) in [
            ("groq", true),
            ("my-lan_2", true),
            ("", false),
            ("Groq", false),
            ("a/b", false),
            ("ä", false),
            (&"a".repeat(33), false),
        ] {
            assert_eq!(Provider::parse(text).is_some(), expected, "{text}");
        }
        let lan = Provider::parse("my-lan").unwrap();
        assert_eq!(lan.base_url_variable(), "MY_LAN_BASE_URL");
    }
}
