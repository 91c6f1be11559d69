//! The providers that are known without being named in a file, all that is known of them, and whose address is
//! whose. Pure.
//!
//! Addresses are compared as they will be called: scheme, host and port, after the reading that
//! browsers and [`Url`] give them. So no name and no password before an `@`, no other letter case,
//! no number for a host and no default port makes two of one, and nothing makes one of two.
//!
//! Elsewhere: what quirks there are, and those of models (`quirks`), what is sent there (`llm`), how the owner's file is read (`config`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use url::{Host, Url};

use crate::domain::files::FILE_BYTES_MAX;
use crate::domain::quirks::{
    CacheForm, CallIdForm, EffortForm, Quirks, ReasoningBack, UnfinishedForm,
};
use crate::domain::secret::Secret;

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

    /// Its row of [`KNOWN`]; `None` for one that only the owner's file describes.
    pub fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.name == self.as_str())
    }

    /// How complete its list of models is; of one that only the owner's file describes nothing is known.
    pub fn listing(&self) -> Listing {
        self.known().map_or(Listing::Whole, |known| known.listing)
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
    /// `POST …/responses`.
    Responses,
    /// `POST …/api/chat`.
    Ollama,
    /// None: it is built in.
    Echo,
}

impl Dialect {
    /// The words used in files. Nothing elsewhere speaks `echo`.
    pub const WORDS: &[(&str, Dialect)] = &[
        ("openai", Dialect::OpenAi),
        ("responses", Dialect::Responses),
        ("anthropic", Dialect::Anthropic),
        ("ollama", Dialect::Ollama),
    ];
}

/// A provider by the owner's file: one of [`KNOWN`] instead of its row there, or another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Described {
    /// The interface it speaks; of another one `None` is OpenAI's.
    pub dialect: Option<Dialect>,
    /// Where it answers; another one has it. A password may stand in it.
    pub base_url: Option<Secret>,
    /// Where its key is to be found.
    pub key: Option<KeySource>,
    /// The key may go there unencrypted: on a network that the owner trusts.
    pub allow_http: bool,
    /// Headers of its requests, by their names in lower case. They go where its key may go.
    pub headers: BTreeMap<String, Secret>,
    /// What is added to the query of its addresses, or stands there instead. So do these.
    pub query: BTreeMap<String, Secret>,
    /// Certificates that are trusted there beside the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// Its models print calls as text at times, or do not; `None` goes by the table.
    pub tool_text: Option<bool>,
}

/// Where a provider's key is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In this variable of the server's environment.
    Variable(String),
    /// In this file, alone but for blanks around it.
    File(PathBuf),
    /// This program prints it.
    Command {
        /// An absolute path, or a bare name to be found in `PATH`.
        program: PathBuf,
        /// Its arguments.
        args: Vec<Secret>,
    },
}

/// A row of the table of providers that no file needs to describe.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name in files.
    pub name: &'static str,
    /// The interface it speaks.
    pub dialect: Dialect,
    /// Its own address, with the usual path; `None` where each customer has another, and for what
    /// is built in.
    pub base_url: Option<&'static str>,
    /// Further hosts of its own, by https.
    pub other_hosts: &'static [&'static str],
    /// The variables that its key may stand in; the first that is set counts.
    pub key_variables: &'static [&'static str],
    /// Without a key it answers nobody, so a missing one is an error before the call.
    pub needs_key: bool,
    /// The header that its key stands in, where that is not its dialect's.
    pub key_header: Option<&'static str>,
    /// What it is told of us.
    pub headers: &'static [(&'static str, &'static str)],
    /// Its name stands for servers that imitate it, too: at another address it is asked for nothing new.
    pub is_imitated: bool,
    /// How complete its list of models is.
    pub listing: Listing,
    /// What its models see, where their names do not tell.
    pub seeing: Seeing,
    /// What it wants otherwise than others.
    pub quirks: Quirks,
}

/// How complete a provider's list of models is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// It has all that can be asked.
    Whole,
    /// The same, and anybody gets it: it says nothing of a key.
    Public,
    /// It may lack models that can be asked.
    Partial,
    /// It has other names than calls: those of what a customer made of the models, or of a file.
    OtherNames,
}

/// What a provider takes beside text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeing {
    /// Its models see images, unless their names are those of models that do not.
    pub images: bool,
    /// PDF documents, for models that see.
    pub pdf: bool,
    /// The largest image that it takes. Some count what they were sent: four bytes for three.
    pub image_bytes_max: u64,
}

impl Seeing {
    /// Nothing is known of it.
    pub const UNKNOWN: Seeing = Seeing {
        images: false,
        pdf: false,
        image_bytes_max: FILE_BYTES_MAX as u64,
    };
    const IMAGES: Seeing = Seeing {
        images: true,
        ..Seeing::UNKNOWN
    };
    const PDF: Seeing = Seeing {
        pdf: true,
        ..Seeing::UNKNOWN
    };
    const BOTH: Seeing = Seeing {
        pdf: true,
        ..Seeing::IMAGES
    };
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
        key_header: None,
        headers: &[],
        is_imitated: false,
        listing: Listing::Whole,
        seeing: Seeing::UNKNOWN,
        quirks: Quirks::USUAL,
    }
}

/// Row of a server that one runs oneself; it may have been told to want a key. What it runs was often taught
/// another way to call than it knows.
const fn local(
    name: &'static str,
    base_url: &'static str,
    key_variables: &'static [&'static str],
) -> Known {
    Known {
        needs_key: false,
        quirks: Quirks {
            prints_calls: true,
            ..Quirks::USUAL
        },
        ..remote(name, base_url, key_variables)
    }
}

/// The providers that an agent may name without more.
///
/// Source: the providers' pages on their OpenAI-compatible interface, November 2025, and what their servers answer,
/// November 2026.
pub const KNOWN: &[Known] = &[
    Known {
        headers: &[("x-title", "Duragent")],
        listing: Listing::Public,
        seeing: Seeing::PDF,
        quirks: Quirks {
            is_router: true,
            effort: EffortForm::Object,
            ..Quirks::USUAL
        },
        ..remote(
            "openrouter",
            "https://openrouter.ai/api/v1",
            &["OPENROUTER_API_KEY"],
        )
    },
    Known {
        other_hosts: &["eu.api.openai.com", "us.api.openai.com"],
        is_imitated: true,
        seeing: Seeing::BOTH,
        quirks: Quirks {
            has_newer_limit: true,
            cache: CacheForm::Key,
            ..Quirks::USUAL
        },
        ..remote("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
    },
    Known {
        dialect: Dialect::Anthropic,
        seeing: Seeing::BOTH,
        quirks: Quirks::PLAIN,
        ..remote(
            "anthropic",
            "https://api.anthropic.com",
            &["ANTHROPIC_API_KEY"],
        )
    },
    Known {
        dialect: Dialect::Ollama,
        ..local("ollama", "http://127.0.0.1:11434", &["OLLAMA_API_KEY"])
    },
    Known {
        dialect: Dialect::Echo,
        base_url: None,
        quirks: Quirks::PLAIN,
        ..local("echo", "", &[])
    },
    Known {
        quirks: Quirks {
            effort: EffortForm::WordAndSwitch,
            reasoning: ReasoningBack::Content,
            ..Quirks::USUAL
        },
        ..remote(
            "deepseek",
            "https://api.deepseek.com/v1",
            &["DEEPSEEK_API_KEY"],
        )
    },
    Known {
        seeing: Seeing::IMAGES,
        quirks: Quirks {
            reasoning: ReasoningBack::Signatures,
            ..Quirks::USUAL
        },
        ..remote(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        )
    },
    Known {
        seeing: Seeing {
            image_bytes_max: (4 << 20) / 4 * 3,
            ..Seeing::UNKNOWN
        },
        quirks: Quirks {
            has_newer_limit: true,
            ..Quirks::USUAL
        },
        ..remote("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"])
    },
    Known {
        seeing: Seeing::IMAGES,
        ..remote("xai", "https://api.x.ai/v1", &["XAI_API_KEY"])
    },
    Known {
        seeing: Seeing::IMAGES,
        quirks: Quirks {
            seed: "random_seed",
            unfinished: UnfinishedForm::Prefix,
            call_ids: CallIdForm::Nine,
            wants_bridge: true,
            ..Quirks::PLAIN
        },
        ..remote("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    Known {
        other_hosts: &["api.moonshot.cn"],
        quirks: Quirks {
            effort: EffortForm::Switch,
            reasoning: ReasoningBack::Content,
            cache: CacheForm::Key,
            ..Quirks::USUAL
        },
        ..remote(
            "moonshot",
            "https://api.moonshot.ai/v1",
            &["MOONSHOT_API_KEY"],
        )
    },
    Known {
        other_hosts: &["api.together.ai"],
        listing: Listing::Partial,
        ..remote(
            "together",
            "https://api.together.xyz/v1",
            &["TOGETHER_API_KEY"],
        )
    },
    Known {
        listing: Listing::Partial,
        ..remote(
            "fireworks",
            "https://api.fireworks.ai/inference/v1",
            &["FIREWORKS_API_KEY"],
        )
    },
    Known {
        quirks: Quirks {
            has_newer_limit: true,
            ..Quirks::USUAL
        },
        ..remote(
            "cerebras",
            "https://api.cerebras.ai/v1",
            &["CEREBRAS_API_KEY"],
        )
    },
    // Each customer has a host of their own, and so has each stranger: none is Azure's own. Its older addresses
    // take a `Bearer` for other tokens than keys.
    Known {
        base_url: None,
        key_header: Some("api-key"),
        listing: Listing::OtherNames,
        seeing: Seeing::PDF,
        quirks: Quirks {
            has_newer_limit: true,
            cache: CacheForm::Key,
            ..Quirks::USUAL
        },
        ..remote("azure", "", &["AZURE_OPENAI_API_KEY", "AZURE_API_KEY"])
    },
    local(
        "lmstudio",
        "http://127.0.0.1:1234/v1",
        &["LMSTUDIO_API_KEY"],
    ),
    Known {
        listing: Listing::OtherNames,
        ..local(
            "llamacpp",
            "http://127.0.0.1:8080/v1",
            &["LLAMACPP_API_KEY"],
        )
    },
    local("vllm", "http://127.0.0.1:8000/v1", &["VLLM_API_KEY"]),
];

impl Known {
    /// Its name, as a provider's.
    pub fn provider(&self) -> Provider {
        Provider(Cow::Borrowed(self.name))
    }

    /// `origin` is the provider's own, so its key may go there.
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
    is_loopback: bool,
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
        // Other names mean tomorrow what they like.
        let is_loopback = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        Some(Origin {
            is_https: url.scheme() == "https",
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
            is_loopback,
        })
    }

    /// By https: keys may go there.
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// It is this machine, which nobody listens in on between.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
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

/// The address is that of a provider in [`KNOWN`], as that provider has it: a stranger cannot be
/// there. A server on this machine is one of those only at its usual port.
pub fn is_known_host(url: &str) -> bool {
    Origin::of(url).is_some_and(|origin| KNOWN.iter().any(|known| known.owns(&origin)))
}

/// `url` leads to this machine, by name or number.
pub fn is_loopback_url(url: &str) -> bool {
    Origin::of(url).is_some_and(|origin| origin.is_loopback())
}

/// Where `OLLAMA_HOST` says that Ollama answers.
///
/// Read as Ollama itself does: the scheme, the host and the port may be missing, and an address to
/// listen on is one to call.
pub fn ollama_base_url(host: &str) -> String {
    let host = host.trim();
    let (scheme, rest) = host.split_once("://").unwrap_or(("http", host));
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && !name.ends_with(':') => (name, port),
        _ => (authority, ollama_port(host)),
    };
    let name = match name {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        name => name,
    };
    let path = path.trim_end_matches('/');
    format!("{scheme}://{name}:{port}{path}")
}

/// The port of a host that names none: a scheme brings its own.
fn ollama_port(host: &str) -> &'static str {
    match host.split_once("://") {
        None => "11434",
        Some(("https", _)) => "443",
        Some(_) => "80",
    }
}

#[cfg(test)]
mod tests;
