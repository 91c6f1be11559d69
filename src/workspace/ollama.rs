//! The models of an Ollama, as it lists them itself.

use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

/// `GET /api/tags`.
#[derive(Deserialize)]
struct InstalledModels {
    #[serde(default)]
    models: Vec<InstalledModel>,
}

#[derive(Deserialize)]
struct InstalledModel {
    name: String,
}

/// The names of the models that the Ollama at `base_url` has, with their tags (`llama3.2:latest`).
///
/// Errors: none answers there within `limit`, or with something else.
pub(crate) fn installed(base_url: &str, limit: Duration) -> Result<Vec<String>, ureq::Error> {
    let agent: Agent = Agent::config_builder()
        // It is on this machine, or the owner named it: no proxy of the environment leads there.
        .proxy(None)
        .timeout_global(Some(limit))
        .build()
        .into();
    let answer = agent.get(format!("{base_url}/api/tags")).call()?;
    let installed: InstalledModels = answer.into_body().read_json()?;
    Ok(installed
        .models
        .into_iter()
        .map(|model| model.name)
        .collect())
}
