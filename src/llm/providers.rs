//! The providers: their addresses and keys, and a model that tries again and elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use ureq::Proxy;
use ureq::http::Uri;

use crate::base::host::is_loopback;
use crate::domain::message::Message;
use crate::domain::secret::Secret;
use crate::domain::spec::{ModelChoice, ModelSpec, Provider, ollama_base_url};
use crate::llm::call::{Line, Post, is_over};
use crate::llm::dialect::Decoder;
use crate::llm::handover::Handover;
use crate::llm::{
    Cancel, LlmError, Model, Models, Reply, Request, Sink, anthropic, echo, openai, retry,
};

/// All providers, as the process was started with them.
#[derive(Debug, Clone)]
pub struct Providers(Arc<ProviderSettings>);

impl Providers {
    /// From `settings`, which never change.
    pub fn new(settings: ProviderSettings) -> Providers {
        Providers(Arc::new(settings))
    }
}

impl Models for Providers {
    fn model(&self, spec: &ModelSpec) -> Box<dyn Model> {
        Box::new(Caller {
            spec: Arc::new(spec.clone()),
            settings: Arc::clone(&self.0),
            line: Line::new(self.0.idle_timeout),
        })
    }
}

/// Where the providers are, and how long they may take.
#[derive(Clone)]
pub struct ProviderSettings {
    /// Their keys.
    pub keys: HashMap<Provider, Secret>,
    /// Where they answer, if not at their usual addresses.
    pub base_urls: HashMap<Provider, String>,
    /// How long no byte may come.
    pub idle_timeout: Duration,
    /// The wait before the second try; the later ones are longer.
    pub first_retry_delay: Duration,
    /// The way to everything that is not on this machine.
    pub proxy: Option<Proxy>,
}

impl Default for ProviderSettings {
    fn default() -> ProviderSettings {
        ProviderSettings {
            keys: HashMap::new(),
            base_urls: HashMap::new(),
            idle_timeout: Duration::from_secs(60),
            first_retry_delay: Duration::from_millis(500),
            proxy: None,
        }
    }
}

impl ProviderSettings {
    /// Reads `<PROVIDER>_API_KEY`, `<PROVIDER>_BASE_URL`, `OLLAMA_HOST` and the usual variables
    /// of a proxy through `lookup`. A variable that is empty is not set.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> ProviderSettings {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let mut settings = ProviderSettings {
            proxy: proxy_from(&lookup),
            ..ProviderSettings::default()
        };
        if let Some(host) = lookup("OLLAMA_HOST") {
            let url = format!("{}/v1", ollama_base_url(&host));
            settings.base_urls.insert(Provider::Ollama, url);
        }
        for provider in Provider::ALL {
            let variable = format!("{}_BASE_URL", provider.as_str().to_uppercase());
            if let Some(url) = lookup(&variable) {
                settings.base_urls.insert(provider, url.trim().to_owned());
            }
            if let Some(key) = provider.key_variable().and_then(&lookup) {
                // A newline at the end, as `cat` of a key file gives it, can't stand in a header.
                settings.keys.insert(provider, Secret::new(key.trim()));
            }
        }
        settings
    }

    /// The variable of the key without which `choice` cannot be asked, if it is not set.
    pub fn missing_key(&self, choice: &ModelChoice) -> Option<&'static str> {
        let endpoint = self.endpoint(choice);
        let is_missing = self.key(choice, &endpoint).is_err();
        choice.provider.key_variable().filter(|_| is_missing)
    }

    fn endpoint(&self, choice: &ModelChoice) -> Endpoint {
        let base_url = choice.base_url.as_ref();
        match base_url.or_else(|| self.base_urls.get(&choice.provider)) {
            Some(url) => Endpoint {
                url: endpoint_url(choice.provider, url),
                is_usual: false,
            },
            None => Endpoint {
                url: endpoint_url(choice.provider, usual_base_url(choice.provider)),
                is_usual: true,
            },
        }
    }

    /// The key for `choice`. A server at an address of one's own may need none.
    fn key(&self, choice: &ModelChoice, endpoint: &Endpoint) -> Result<Option<&Secret>, LlmError> {
        let key = self.keys.get(&choice.provider);
        match (key, choice.provider.key_variable()) {
            (None, Some(variable)) if endpoint.is_usual => Err(LlmError::MissingKey {
                provider: choice.provider.as_str(),
                variable,
            }),
            (key, _) => Ok(key),
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

/// A model and its fallbacks, for one turn.
#[derive(Debug)]
struct Caller {
    spec: Arc<ModelSpec>,
    settings: Arc<ProviderSettings>,
    line: Line,
}

impl Model for Caller {
    fn call(&mut self, request: &Request, sink: &mut dyn Sink) -> Result<Reply, LlmError> {
        let deadline = request.timeout.map(|timeout| Instant::now() + timeout);
        let mut sink = Handover::new(sink);
        let spec = Arc::clone(&self.spec);
        let mut result = self.ask_patiently(&spec.main, request, deadline, &mut sink);
        for choice in &spec.fallbacks {
            let may_fall_back = !sink.has_begun() && !is_over(deadline);
            let error = match result {
                Err(error) if may_fall_back && retry::is_for_fallback(&error) => error,
                result => return result,
            };
            sink.notice(
                "fallback",
                format!("{error}; asking {} instead", choice.label()),
            );
            result = self.ask_patiently(choice, request, deadline, &mut sink);
        }
        result
    }

    fn canceller(&self) -> Arc<dyn Cancel> {
        self.line.canceller().clone()
    }
}

impl Caller {
    /// Asks one model, more than once if need be.
    fn ask_patiently(
        &mut self,
        choice: &ModelChoice,
        request: &Request,
        deadline: Option<Instant>,
        sink: &mut Handover<'_>,
    ) -> Result<Reply, LlmError> {
        let mut tries = 0;
        loop {
            let error = match self.ask(choice, request, deadline, sink) {
                Err(error) if !sink.has_begun() => error,
                result => return result,
            };
            tries += 1;
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            let first = self.settings.first_retry_delay;
            let Some(delay) = retry::delay(tries, &error, first, left) else {
                return Err(error);
            };
            let seconds = delay.as_secs_f64();
            sink.notice("retry", format!("{error}; trying again in {seconds:.1} s"));
            self.line.canceller().pause(delay)?;
        }
    }

    fn ask(
        &mut self,
        choice: &ModelChoice,
        request: &Request,
        deadline: Option<Instant>,
        sink: &mut Handover<'_>,
    ) -> Result<Reply, LlmError> {
        if choice.provider == Provider::Echo {
            return echo::call(choice, request, deadline, self.line.canceller(), sink);
        }
        let settings = Arc::clone(&self.settings);
        let endpoint = settings.endpoint(choice);
        let key = settings.key(choice, &endpoint)?;
        let (body, mut decoder) = self.dialect(choice, &endpoint, request);
        let post = Post {
            provider: choice.provider.as_str(),
            url: &endpoint.url,
            headers: &headers(choice.provider, key),
            key,
            body,
            proxy: settings.proxy.as_ref().filter(|_| !is_local(&endpoint.url)),
            deadline,
        };
        let answer = self.line.call(post, &mut *decoder, sink)?;
        Ok(Reply {
            model: choice.label(),
            tool_calls: answer.tool_calls,
            usage: answer.usage,
            finish_reason: answer.finish_reason,
            provider_data: answer.provider_data,
        })
    }

    fn dialect(
        &self,
        choice: &ModelChoice,
        endpoint: &Endpoint,
        request: &Request,
    ) -> (Vec<u8>, Box<dyn Decoder>) {
        let label = choice.label();
        if choice.provider == Provider::Anthropic {
            let body = anthropic::Body::new(request, &self.spec, &choice.name, &label);
            return (json(request, &body), Box::new(anthropic::Blocks::default()));
        }
        let flavour = openai::Flavour {
            model: &choice.name,
            label: &label,
            is_openai: choice.provider == Provider::OpenAi && endpoint.is_usual,
        };
        let body = openai::Body::new(request, &self.spec, flavour);
        (json(request, &body), Box::new(openai::Chunks::default()))
    }
}

/// The body of `request` as it is sent.
fn json(request: &Request, body: &impl Serialize) -> Vec<u8> {
    // Once, and hardly too much: a vector that grows holds a long conversation twice.
    let mut json = Vec::with_capacity(approximate_bytes(request));
    serde_json::to_writer(&mut json, body).expect("strings, numbers and JSON are JSON");
    json
}

/// About how long the body is: its texts, and what JSON needs around them.
fn approximate_bytes(request: &Request) -> usize {
    const FRAME: usize = 64;
    const HEAD: usize = 512;
    let texts = request.messages.iter().map(|message| match message {
        Message::User { text, .. } => text.len(),
        Message::Assistant(reply) => reply.text.len(),
        Message::Tool { output, .. } => output.content.len(),
    });
    let texts: usize = texts.map(|bytes| bytes + bytes / 16 + FRAME).sum();
    HEAD + request.system.len() + texts
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    url: String,
    /// Whether it is the provider's own address.
    is_usual: bool,
}

fn usual_base_url(provider: Provider) -> &'static str {
    match provider {
        Provider::OpenRouter => "https://openrouter.ai/api/v1",
        Provider::OpenAi => "https://api.openai.com/v1",
        Provider::Anthropic => "https://api.anthropic.com",
        Provider::Ollama => "http://127.0.0.1:11434/v1",
        Provider::Echo => "",
    }
}

/// The address of the requests under `base_url`. One without a path gets the usual path, so that
/// `http://127.0.0.1:8080` does as well as `http://127.0.0.1:8080/v1`. Anthropic's own programs
/// never write the version into the base URL, so there it is added unless it is there.
fn endpoint_url(provider: Provider, base_url: &str) -> String {
    let base_url = base_url.trim_end_matches('/');
    let has_path = base_url
        .split_once("://")
        .map_or(base_url, |(_scheme, rest)| rest)
        .contains('/');
    let version = match (provider, has_path) {
        (Provider::Anthropic, _) if base_url.ends_with("/v1") => "",
        (Provider::Anthropic, _) => "/v1",
        (_, true) => "",
        (Provider::OpenRouter, false) => "/api/v1",
        (_, false) => "/v1",
    };
    let resource = match provider {
        Provider::Anthropic => "messages",
        Provider::OpenRouter | Provider::OpenAi | Provider::Ollama | Provider::Echo => {
            "chat/completions"
        }
    };
    format!("{base_url}{version}/{resource}")
}

fn headers(provider: Provider, key: Option<&Secret>) -> Vec<(&'static str, String)> {
    let mut headers = Vec::new();
    if let Some(key) = key {
        headers.push(match provider {
            Provider::Anthropic => ("x-api-key", key.reveal().to_owned()),
            Provider::OpenRouter | Provider::OpenAi | Provider::Ollama | Provider::Echo => {
                ("authorization", format!("Bearer {}", key.reveal()))
            }
        });
    }
    match provider {
        Provider::Anthropic => headers.push(("anthropic-version", "2023-06-01".into())),
        Provider::OpenRouter => headers.push(("x-title", "Duragent".into())),
        Provider::OpenAi | Provider::Ollama | Provider::Echo => {}
    }
    headers
}

/// Whether `url` leads to this machine, where no proxy can help.
fn is_local(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    uri.host().is_some_and(is_loopback)
}

/// The proxy that the environment names. One that makes no sense is left out.
fn proxy_from(lookup: &impl Fn(&str) -> Option<String>) -> Option<Proxy> {
    let either = |name: &str| lookup(name).or_else(|| lookup(&name.to_lowercase()));
    let text = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"]
        .into_iter()
        .find_map(either)?;
    let plain = Proxy::new(text.trim()).ok()?;
    let mut proxy = Proxy::builder(plain.protocol())
        .host(plain.host())
        .port(plain.port())
        .resolve_target(plain.resolve_target());
    if let Some(username) = plain.username() {
        proxy = proxy.username(username);
    }
    if let Some(password) = plain.password() {
        proxy = proxy.password(password);
    }
    for exception in either("NO_PROXY").unwrap_or_default().split(',') {
        proxy = proxy.no_proxy(exception.trim());
    }
    proxy.build().ok()
}

#[cfg(test)]
mod tests;
