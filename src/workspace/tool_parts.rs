//! What tools work with, from the configuration and the parts of the server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use ureq::Proxy;

use crate::base::clock::{Clock, SystemClock};
use crate::base::fs::Fs;
use crate::config::{self, Config};
use crate::store::SessionStore;
use crate::tools::programs::Programs;
use crate::tools::web::WebSettings;
use crate::workspace::programs;

/// What tools work with, beside the agents themselves.
#[derive(Debug, Clone)]
pub(crate) struct ToolParts {
    /// Where their files are.
    pub(crate) fs: Arc<dyn Fs>,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where sessions are kept.
    pub(crate) store: Arc<dyn SessionStore>,
    /// Where the facts that agents share are kept.
    pub(crate) world: PathBuf,
    /// What runs the programs of tools.
    pub(crate) programs: Arc<Programs>,
    /// The workspace's folder.
    pub(crate) workspace: PathBuf,
    /// Where the tool `web` may go.
    pub(crate) web: Arc<WebSettings>,
}

impl ToolParts {
    /// Errors: a setting that cannot be used.
    pub(crate) fn new(
        config: &Config,
        fs: Arc<dyn Fs>,
        store: Arc<dyn SessionStore>,
    ) -> anyhow::Result<ToolParts> {
        Ok(ToolParts {
            fs,
            clock: Arc::new(SystemClock),
            store,
            world: config.world_memory_dir.clone(),
            programs: programs::programs(config),
            workspace: config.workspace.clone(),
            web: Arc::new(web_settings(&config.web)?),
        })
    }
}

fn web_settings(web: &config::WebConfig) -> anyhow::Result<WebSettings> {
    let proxy = web.proxy.as_ref();
    let proxy = proxy
        .map(|address| Proxy::new(address.reveal()))
        .transpose();
    Ok(WebSettings {
        proxy: proxy.context("`web.proxy` cannot be used")?,
        allow_addresses: web.allow_addresses.clone(),
        ..WebSettings::from_env(|name| std::env::var(name).ok())
    })
}
