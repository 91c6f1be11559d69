//! What an agent's model needs of the network, as far as it can be tried for nothing: servers on
//! this machine. Others are not asked: that could cost money, and says that somebody is there.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::check::Check;
use crate::domain::providers::is_loopback_url;
use crate::domain::spec::{AgentSpec, ModelChoice, Provider};
use crate::llm::settings::ProviderSettings;
use crate::workspace::ollama;

/// A server on this machine answers at once.
const LIMIT: Duration = Duration::from_secs(2);

/// Models whose server does not answer, or does not have them.
pub(super) fn models(agents: &[Arc<AgentSpec>], providers: &ProviderSettings) -> Vec<Check> {
    let mut checks = Vec::new();
    for agent in agents {
        let subject = format!("agent {}", agent.name);
        let main = problem(&agent.model.main, providers);
        checks.extend(main.map(|why| Check::error(&*subject, why)));
        let others = agent.model.fallbacks.iter();
        let others = others.filter_map(|choice| problem(choice, providers));
        checks.extend(others.map(|why| Check::warning(&*subject, why)));
    }
    checks
        .into_iter()
        .map(|check| check.hint("start it, or see `base_url` and OLLAMA_HOST"))
        .collect()
}

fn problem(choice: &ModelChoice, providers: &ProviderSettings) -> Option<String> {
    let model = choice.label();
    let url = providers.address(choice)?;
    if choice.provider == Provider::OLLAMA {
        let name = &choice.name;
        let base_url = url.trim_end_matches('/').trim_end_matches("/v1");
        return match ollama::installed(base_url, LIMIT) {
            Ok(names) if names.iter().any(|installed| is_called(installed, name)) => None,
            Ok(_) => Some(format!(
                "the Ollama at {url} lacks {model}: `ollama pull {name}`"
            )),
            Err(error) => Some(format!("{model}: no Ollama answers at {url}: {error}")),
        };
    }
    let error = is_loopback_url(url).then(|| connect(url))?.err()?;
    Some(format!("{model}: nothing answers at {url}: {error}"))
}

/// Without a tag, the one called `latest` is meant.
fn is_called(installed: &str, wanted: &str) -> bool {
    installed == wanted || installed.strip_suffix(":latest") == Some(wanted)
}

fn connect(url: &str) -> std::io::Result<()> {
    let parsed = Url::parse(url).map_err(std::io::Error::other)?;
    let host = parsed.host_str().unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().unwrap_or(80);
    let mut last = Ok(());
    for address in (host, port).to_socket_addrs()? {
        last = TcpStream::connect_timeout(&address, LIMIT).map(drop);
        if last.is_ok() {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_without_a_tag_is_the_latest() {
        for (installed, wanted, expected) in [
            ("llama3.2:latest", "llama3.2", true),
            ("llama3.2:1b", "llama3.2:1b", true),
            ("llama3.2:1b", "llama3.2", false),
        ] {
            assert_eq!(
                is_called(installed, wanted),
                expected,
                "{installed} {wanted}"
            );
        }
    }
}
