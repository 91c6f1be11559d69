//! Where models are asked, and whether a provider's key may go there. Pure.
//!
//! Invariant: a key, and what `duragent.yaml` adds to headers and queries, is sent to the provider's
//! own host, to what the environment's `<PROVIDER>_BASE_URL` names and to what `duragent.yaml` says of
//! the provider, and nowhere else; unencrypted only to this machine and where one of the latter two allows it, never through a
//! proxy. What an agent's file names is none of these.
//!
//! Elsewhere: what is whose (`domain::providers`), the call itself (`call`).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use ureq::Proxy;
use url::{Url, form_urlencoded};

use crate::base::proxy::Proxies;
use crate::base::tls::Roots;
use crate::domain::providers::{Described, Dialect, KNOWN, KeySource, Origin, ollama_base_url};
use crate::domain::secret::{Secret, is_secret_field};
use crate::domain::spec::{ModelChoice, Provider};
use crate::llm::{Cause, LlmError, responses};

/// The usual path of a server that is not in the table.
const USUAL_PATH: &str = "/v1";
const REDIRECT_HINT: &str =
    "redirects are not followed: name the address that it leads to as base URL";

/// Where the providers are, and how long they may take.
#[derive(Clone)]
pub struct ProviderSettings {
    /// Their keys.
    pub keys: HashMap<Provider, Secret>,
    /// Where they answer, as the environment says.
    pub base_urls: HashMap<Provider, String>,
    /// The providers that the owner's file describes.
    pub described: HashMap<Provider, Described>,
    /// How long no byte may come.
    pub idle_timeout: Duration,
    /// The wait before the second try; the later ones are longer.
    pub first_retry_delay: Duration,
    /// The ways to everything that is not on this machine.
    pub proxies: Proxies,
    /// Whom those trust that have certificates of their own, beside the built-in authorities.
    pub roots: HashMap<Provider, Roots>,
}

impl Default for ProviderSettings {
    fn default() -> ProviderSettings {
        ProviderSettings {
            keys: HashMap::new(),
            base_urls: HashMap::new(),
            described: HashMap::new(),
            idle_timeout: Duration::from_secs(60),
            first_retry_delay: Duration::from_millis(500),
            proxies: Proxies::default(),
            roots: HashMap::new(),
        }
    }
}

impl ProviderSettings {
    /// Reads the variables of the known providers' keys, `<PROVIDER>_BASE_URL`, `OLLAMA_HOST` and
    /// the usual variables of a proxy through `lookup`. A variable that is empty is not set.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> ProviderSettings {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let mut settings = ProviderSettings {
            proxies: Proxies::from_env(&lookup),
            ..ProviderSettings::default()
        };
        if let Some(host) = lookup("OLLAMA_HOST") {
            settings
                .base_urls
                .insert(Provider::OLLAMA, ollama_base_url(&host));
        }
        for known in KNOWN {
            let provider = known.provider();
            if let Some(url) = lookup(&provider.base_url_variable()) {
                settings
                    .base_urls
                    .insert(provider.clone(), url.trim().to_owned());
            }
            let key = known.key_variables.iter().find_map(|name| lookup(name));
            if let Some(key) = key {
                // A newline at the end, as `cat` of a key file gives it, can't stand in a header.
                settings.keys.insert(provider, Secret::new(key.trim()));
            }
        }
        settings
    }

    /// The base URL of `choice`, and where it is named: by the agent, else by the environment, else
    /// by the owner's file, else by the table.
    fn base_url<'a>(&'a self, choice: &'a ModelChoice) -> Option<(&'a str, String)> {
        let provider = &choice.provider;
        let by_agent = || Some((choice.base_url.as_deref()?, "`base_url`".to_owned()));
        let by_environment = || {
            let url = self.base_urls.get(provider)?;
            Some((url.as_str(), provider.base_url_variable()))
        };
        let by_file = || {
            let url = self.described.get(provider)?.base_url.as_ref()?;
            Some((url.reveal(), format!("`providers.{provider}.base_url`")))
        };
        let by_table = || Some((provider.known()?.base_url?, String::new()));
        by_agent()
            .or_else(by_environment)
            .or_else(by_file)
            .or_else(by_table)
    }

    /// The owner's environment or file names the host of `url`, for any provider: so the owner
    /// knows it.
    pub fn names_host(&self, url: &str) -> bool {
        let Some(origin) = Origin::of(url) else {
            return false;
        };
        let in_file = self.described.values();
        let in_file = in_file.filter_map(|one| one.base_url.as_ref().map(Secret::reveal));
        let in_environment = self.base_urls.values().map(String::as_str);
        let mut named = in_environment.chain(in_file);
        named.any(|url| Origin::of(url).as_ref() == Some(&origin))
    }

    /// Why `choice` cannot be asked, if that is known beforehand: its key is not set, or it has no
    /// address.
    pub fn obstacle(&self, choice: &ModelChoice) -> Option<String> {
        if choice.provider == Provider::ECHO {
            return None;
        }
        let tried = self
            .destination(choice)
            .and_then(|destination| self.key(choice, &destination).map(drop));
        tried.err().map(|error| error.to_string())
    }

    /// The variable of the key without which `choice` cannot be asked, if it is a variable, and is not
    /// set.
    pub fn missing_key(&self, choice: &ModelChoice) -> Option<String> {
        let destination = self.destination(choice).ok()?;
        let is_missing = self.key(choice, &destination).is_err();
        match self.key_source(&choice.provider).filter(|_| is_missing)? {
            KeySource::Variable(name) => Some(name),
            KeySource::File(_) | KeySource::Command { .. } => None,
        }
    }

    /// Where `choice` is asked, if that is known.
    pub fn address<'a>(&'a self, choice: &'a ModelChoice) -> Option<&'a str> {
        self.base_url(choice).map(|(url, _)| url)
    }

    /// Why the key that is there for `choice` is not sent where it is asked, if it is not. Of this
    /// machine nothing is said: what runs here often needs none.
    pub fn withheld(&self, choice: &ModelChoice) -> Option<String> {
        if choice.provider == Provider::ECHO {
            return None;
        }
        let destination = self.destination(choice).ok();
        let destination = destination.filter(|one| !one.origin.is_loopback())?;
        match self.key(choice, &destination).ok()? {
            KeyUse::Withheld(why) => Some(destination.withheld(&choice.provider, why)),
            KeyUse::None | KeyUse::Sent(_) => None,
        }
    }

    /// Providers whose key goes unencrypted to another machine, because the environment names that;
    /// with its host.
    pub fn unencrypted(&self) -> impl Iterator<Item = (&Provider, Origin)> {
        self.base_urls.iter().filter_map(|(provider, url)| {
            let origin = Origin::of(url)?;
            let is_open = !origin.is_https() && !origin.is_loopback();
            (is_open && self.keys.contains_key(provider)).then_some((provider, origin))
        })
    }

    /// The interface by which `choice` is asked: the one that the owner's file says, else its provider's; of two
    /// that OpenAI has, the one of the model.
    pub fn dialect(&self, choice: &ModelChoice) -> Dialect {
        let provider = &choice.provider;
        let described = self.described.get(provider).and_then(|one| one.dialect);
        let known = || match provider.known()?.dialect {
            Dialect::OpenAi if is_by_responses(choice) => Some(Dialect::Responses),
            dialect => Some(dialect),
        };
        described.or_else(known).unwrap_or(Dialect::OpenAi)
    }

    /// Where `choice` is asked in chat completions, if it was only by its name that `destination` is of
    /// Responses: a server that imitates OpenAI may not have that.
    pub(super) fn by_chat(
        &self,
        choice: &ModelChoice,
        destination: &Destination,
    ) -> Option<Destination> {
        let described = self.described.get(&choice.provider);
        let is_guess = destination.dialect == Dialect::Responses
            && !destination.is_own
            && described.is_none_or(|one| one.dialect.is_none());
        let found = is_guess.then(|| self.destination_by(choice, Dialect::OpenAi));
        found?.ok()
    }

    /// Where `choice` is asked by Responses, if `destination` is of chat completions: some models are to be had
    /// there alone.
    pub(super) fn by_responses(
        &self,
        choice: &ModelChoice,
        destination: &Destination,
    ) -> Option<Destination> {
        let is_chat = destination.dialect == Dialect::OpenAi;
        let found = is_chat.then(|| self.destination_by(choice, Dialect::Responses));
        found?.ok()
    }

    /// Where `choice` is asked.
    ///
    /// Errors: [`LlmError::NoAddress`].
    pub(super) fn destination(&self, choice: &ModelChoice) -> Result<Destination, LlmError> {
        self.destination_by(choice, self.dialect(choice))
    }

    fn destination_by(
        &self,
        choice: &ModelChoice,
        dialect: Dialect,
    ) -> Result<Destination, LlmError> {
        let provider = &choice.provider;
        let known = provider.known();
        let usual = known.and_then(|known| known.base_url);
        let no_address = |why: String| LlmError::NoAddress {
            provider: provider.clone(),
            why,
        };
        let Some((base_url, place)) = self.base_url(choice) else {
            let variable = provider.base_url_variable();
            return Err(no_address(format!(
                "set {variable}, or `providers.{provider}.base_url` in duragent.yaml"
            )));
        };
        let base_url = Url::parse(base_url)
            .map_err(|error| no_address(format!("{place} cannot be read: {error}")))?;
        let origin = Origin::of_url(&base_url).ok_or_else(|| {
            no_address(format!("{place} must begin with `http://` or `https://`"))
        })?;
        let usual_path = usual.and_then(|url| Url::parse(url).ok());
        let usual_path = usual_path.as_ref().map(Url::path);
        // One whose own interface is another has none for this dialect.
        let usual_path = usual_path.filter(|path| *path != "/");
        let usual_path = usual_path.unwrap_or(USUAL_PATH);
        let url = endpoint_url(base_url, usual_path, dialect);
        let mut destination = Destination {
            is_own: known.is_some_and(|known| known.owns(&origin)),
            proxy: self.proxy_to(&origin, &url),
            roots: self.roots(provider).clone(),
            url: String::new(),
            origin,
            dialect,
            headers: Vec::new(),
            hidden: Vec::new(),
        };
        destination.url = self.with_fields(provider, url, &mut destination).into();
        Ok(destination)
    }

    /// The address with the query that the owner's file adds; its headers go to `destination`. Neither
    /// goes where the key may not.
    fn with_fields(&self, provider: &Provider, mut url: Url, destination: &mut Destination) -> Url {
        let described = self.described.get(provider);
        let described = described.filter(|_| self.belongs(provider, destination).is_ok());
        let Some(Described { headers, query, .. }) = described else {
            return url;
        };
        let fields = headers.iter().chain(query);
        let secrets = fields.filter(|(name, _)| is_secret_field(name));
        destination.hidden = secrets.map(|(_, value)| value.clone()).collect();
        // As the address has them.
        let in_query = query.iter().filter(|(name, _)| is_secret_field(name));
        let encoded = in_query.map(|(_, value)| {
            let bytes = form_urlencoded::byte_serialize(value.reveal().as_bytes());
            Secret::new(bytes.collect::<String>())
        });
        destination.hidden.extend(encoded);
        let headers = headers.iter();
        destination.headers = headers
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !query.is_empty() {
            let found = url.query_pairs();
            let kept = found.filter(|(name, _)| !query.contains_key(&**name));
            let kept: Vec<(String, String)> = kept.map(|(a, b)| (a.into(), b.into())).collect();
            let added = query
                .iter()
                .map(|(name, value)| (name.as_str(), value.reveal()));
            url.query_pairs_mut()
                .clear()
                .extend_pairs(kept)
                .extend_pairs(added);
        }
        url
    }

    /// The proxy on the way to `url`: none helps on this machine.
    fn proxy_to(&self, origin: &Origin, url: &Url) -> Option<Proxy> {
        let proxy = self.proxies.to(url.as_str());
        proxy.filter(|_| !origin.is_loopback()).cloned()
    }

    /// Whose certificates count where `provider` is asked.
    fn roots(&self, provider: &Provider) -> &Roots {
        self.roots.get(provider).unwrap_or_else(|| Roots::shared())
    }

    /// Decides whether the key of `choice` is sent. A server at an address of one's own may need
    /// none.
    ///
    /// Errors: [`LlmError::MissingKey`].
    pub(super) fn key(
        &self,
        choice: &ModelChoice,
        destination: &Destination,
    ) -> Result<KeyUse<'_>, LlmError> {
        let provider = &choice.provider;
        let belongs = self.belongs(provider, destination);
        match self.keys.get(provider) {
            Some(key) => Ok(match belongs {
                Ok(()) => KeyUse::Sent(key),
                Err(why) => KeyUse::Withheld(why),
            }),
            None if belongs.is_ok() && self.is_key_needed(provider, destination) => {
                Err(LlmError::MissingKey {
                    provider: provider.clone(),
                    remedy: self.key_remedy(provider),
                })
            }
            None => Ok(KeyUse::None),
        }
    }

    fn is_key_needed(&self, provider: &Provider, destination: &Destination) -> bool {
        let described = self.described.get(provider);
        let is_promised = described.is_some_and(|one| one.key.is_some());
        let needs_key = provider.known().is_some_and(|known| known.needs_key);
        is_promised || (needs_key && destination.is_own)
    }

    /// Whether the provider's key may go there.
    fn belongs(&self, provider: &Provider, destination: &Destination) -> Result<(), Withheld> {
        let origin = &destination.origin;
        let is_at = |url: &str| Origin::of(url).as_ref() == Some(origin);
        let described = self.described.get(provider);
        let described_url = described.and_then(|one| one.base_url.as_ref());
        // A key that the file gives to another address is not the provider's own.
        let is_own = destination.is_own && described_url.is_none();
        let named = self.base_urls.get(provider);
        let is_in_environment = named.is_some_and(|url| is_at(url));
        let is_in_file = described_url.is_some_and(|url| is_at(url.reveal()));
        if !is_own && !is_in_environment && !is_in_file {
            return Err(Withheld::NotNamed);
        }
        if origin.is_https() || origin.is_loopback() {
            return Ok(());
        }
        let is_allowed = described.is_some_and(|one| one.allow_http);
        if !is_in_environment && !is_allowed {
            return Err(Withheld::Unencrypted);
        }
        match &destination.proxy {
            Some(_) => Err(Withheld::SeenByProxy),
            None => Ok(()),
        }
    }

    /// Where the provider's key is looked for.
    fn key_source(&self, provider: &Provider) -> Option<KeySource> {
        let described = self.described.get(provider);
        let in_file = described.and_then(|one| one.key.clone());
        let usual = || provider.known()?.key_variables.first().copied();
        in_file.or_else(|| usual().map(|name| KeySource::Variable(name.to_owned())))
    }

    /// What is to be done so that there is a key.
    pub(super) fn key_remedy(&self, provider: &Provider) -> String {
        match self.key_source(provider) {
            Some(KeySource::Variable(name)) => format!("set {name} in the server's environment"),
            Some(KeySource::File(path)) => format!("write it into {}", path.display()),
            Some(KeySource::Command { program, .. }) => format!(
                "`{}` of `providers.{provider}.api_key_command` gave none when the server was \
                 started: its log says why",
                program.display()
            ),
            None => {
                format!("name its variable in `providers.{provider}.api_key_env` of duragent.yaml")
            }
        }
    }

    /// The error, with what may help.
    pub(super) fn with_hint(
        &self,
        mut error: LlmError,
        choice: &ModelChoice,
        destination: &Destination,
        key: &KeyUse<'_>,
    ) -> LlmError {
        let provider = &choice.provider;
        match &mut error {
            LlmError::Status { status, hint, .. } => {
                *hint = match status {
                    401 | 403 => Some(self.refused_hint(provider, destination, key)),
                    404 => Some(destination.not_found_hint(choice)),
                    300..=399 => Some(REDIRECT_HINT.to_owned()),
                    _ => None,
                };
            }
            LlmError::Unreachable {
                cause,
                hint,
                message,
                ..
            } => {
                *hint = if message.contains("UnknownIssuer") {
                    Some(destination.unknown_issuer_hint(provider))
                } else {
                    destination.unreachable_hint(provider, *cause)
                };
            }
            LlmError::Cancelled
            | LlmError::MissingKey { .. }
            | LlmError::NoAddress { .. }
            | LlmError::ContextOverflow { .. }
            | LlmError::MidStream { .. }
            | LlmError::Truncated { .. }
            | LlmError::Timeout { .. }
            | LlmError::Malformed { .. }
            | LlmError::Sink(_) => {}
        }
        error
    }

    fn refused_hint(
        &self,
        provider: &Provider,
        destination: &Destination,
        key: &KeyUse<'_>,
    ) -> String {
        match key {
            KeyUse::Withheld(why) => destination.withheld(provider, *why),
            KeyUse::None => format!("no key was sent: {}", self.key_remedy(provider)),
            KeyUse::Sent(_) => match self.key_source(provider) {
                Some(KeySource::File(path)) => format!("is the key in {} right?", path.display()),
                Some(KeySource::Command { program, .. }) => format!(
                    "is the key right that `{}` printed when the server was started?",
                    program.display()
                ),
                Some(KeySource::Variable(name)) => format!(
                    "is {name} right? The server took it from its environment when it was started"
                ),
                None => "is its key right?".to_owned(),
            },
        }
    }
}

impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address holds a password, and a base URL may.
        f.debug_struct("ProviderSettings")
            .field("keys", &self.keys)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

/// Where a request goes.
pub(super) struct Destination {
    /// Its address: read once, so that what was judged is what is called.
    pub(super) url: String,
    pub(super) dialect: Dialect,
    /// It is a host of the provider itself, which may have the key.
    pub(super) is_own: bool,
    /// The proxy on the way.
    pub(super) proxy: Option<Proxy>,
    /// Whose certificates count there.
    pub(super) roots: Roots,
    /// Headers that the owner's file says, by their names in lower case.
    pub(super) headers: Vec<(String, Secret)>,
    /// What of the headers and of the address is not shown.
    pub(super) hidden: Vec<Secret>,
    pub(super) origin: Origin,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its address may hold a key.
        f.debug_struct("Destination")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// A key, and whether it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse<'a> {
    /// There is none, and it may do without.
    None,
    Sent(&'a Secret),
    Withheld(Withheld),
}

impl<'a> KeyUse<'a> {
    /// The key, if it is sent.
    pub(super) fn sent(self) -> Option<&'a Secret> {
        match self {
            KeyUse::Sent(key) => Some(key),
            KeyUse::None | KeyUse::Withheld(_) => None,
        }
    }
}

/// Why a key is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Withheld {
    /// Only the agent's file names the address.
    NotNamed,
    /// Whoever listens on the way would have it.
    Unencrypted,
    /// The proxy would have it.
    SeenByProxy,
}

impl Destination {
    /// Why a key is not sent here, and what would help.
    pub(super) fn withheld(&self, provider: &Provider, why: Withheld) -> String {
        let Destination { origin, .. } = self;
        let variable = provider.base_url_variable();
        match why {
            Withheld::NotNamed => {
                let where_ = match provider.known() {
                    Some(_) => format!("{variable}, or in "),
                    None => String::new(),
                };
                format!(
                    "the key of {provider} is not sent to {origin}, which only the agent's file \
                     names: name that address in {where_}`providers.{provider}.base_url` of \
                     duragent.yaml"
                )
            }
            Withheld::Unencrypted => format!(
                "the key of {provider} is not sent unencrypted to {origin}: use https://, or set \
                 `providers.{provider}.allow_http` in duragent.yaml"
            ),
            Withheld::SeenByProxy => format!(
                "the key of {provider} is not sent unencrypted through a proxy: use https://, or \
                 name {origin} in NO_PROXY"
            ),
        }
    }

    fn not_found_hint(&self, choice: &ModelChoice) -> String {
        let name = &choice.name;
        let local = if choice.provider == Provider::OLLAMA {
            format!(", and was it pulled (`ollama pull {name}`)")
        } else {
            String::new()
        };
        format!(
            "is `{name}` a model of {} (`spec.model.name`){local}? It was asked for at {}",
            choice.provider, self.origin
        )
    }

    fn unknown_issuer_hint(&self, provider: &Provider) -> String {
        format!(
            "the certificate of {} is of an authority that nobody here knows: name its own in \
             `providers.{provider}.ca_file` of duragent.yaml, or in SSL_CERT_FILE",
            self.origin
        )
    }

    fn unreachable_hint(&self, provider: &Provider, cause: Cause) -> Option<String> {
        let (origin, variable) = (&self.origin, provider.base_url_variable());
        let place = match provider.known() {
            Some(_) => format!("{variable} or `providers.{provider}.base_url`"),
            None => format!("`providers.{provider}.base_url` in duragent.yaml"),
        };
        match cause {
            Cause::Refused => Some(format!(
                "nothing listens at {origin}: is it running? Another address goes into {place}"
            )),
            Cause::NoHost => Some(format!(
                "there is no {origin}, or this machine has no network: is {place} right?"
            )),
            Cause::Other => None,
        }
    }
}

/// OpenAI's models that think call tools, with their effort set, in its newer interface alone.
fn is_by_responses(choice: &ModelChoice) -> bool {
    choice.provider == Provider::OPENAI && responses::is_asked_here(&choice.name)
}

/// The address of the requests under `base_url`. One without a path gets the usual path, so that
/// `http://127.0.0.1:8080` does as well as `http://127.0.0.1:8080/v1`. Anthropic's own programs
/// never write the version into the base URL, so there it is added unless it is there.
fn endpoint_url(mut base_url: Url, usual_path: &str, dialect: Dialect) -> Url {
    let mut path = base_url.path().trim_end_matches('/');
    if dialect == Dialect::Ollama {
        // The path of its interface in OpenAI's dialect, which files of before may name.
        path = path.strip_suffix("/v1").unwrap_or(path);
        path = path.strip_suffix("/api").unwrap_or(path);
    }
    let version = match dialect {
        Dialect::Anthropic if path.ends_with("/v1") => "",
        Dialect::Anthropic => "/v1",
        Dialect::OpenAi | Dialect::Responses | Dialect::Echo if path.is_empty() => {
            usual_path.trim_end_matches('/')
        }
        Dialect::OpenAi | Dialect::Responses | Dialect::Ollama | Dialect::Echo => "",
    };
    let resource = match dialect {
        Dialect::Anthropic => "messages",
        Dialect::Responses => "responses",
        Dialect::Ollama => "api/chat",
        Dialect::OpenAi | Dialect::Echo => "chat/completions",
    };
    let path = format!("{path}{version}/{resource}");
    base_url.set_path(&path);
    base_url.set_fragment(None);
    base_url
}

mod way;

#[cfg(test)]
mod tests;
