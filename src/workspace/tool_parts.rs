//! What tools work with, from the configuration and the parts of the server.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use ureq::Proxy;

use crate::base::clock::SystemClock;
use crate::base::fs::Fs;
use crate::config::{self, Config};
use crate::domain::spec::AgentSpec;
use crate::store::SessionStore;
use crate::store::documents::Documents;
use crate::store::file::documents::FileDocuments;
use crate::tools::file::FilePlaces;
use crate::tools::memory::{Memories, MemoryParts};
use crate::tools::programs::Programs;
use crate::tools::web::WebSettings;
use crate::workspace::programs;

/// The parts of the server that tools are made with, the same for all agents.
#[derive(Debug, Clone)]
pub(crate) struct ToolParts {
    /// What memories are kept with.
    pub(crate) memory: MemoryParts,
    /// Where sessions are kept.
    pub(crate) store: Arc<dyn SessionStore>,
    /// Starts programs, locked in as the configuration says.
    pub(crate) programs: Arc<Programs>,
    /// The workspace's folder.
    pub(crate) workspace: PathBuf,
    /// Where the tool `file` may go, beside the folders of sessions.
    pub(crate) places: Arc<FilePlaces>,
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
            memory: memory_parts(config, fs),
            store,
            programs: programs::programs(config),
            workspace: config.workspace.clone(),
            places: Arc::new(programs::places(config)),
            web: Arc::new(web_settings(&config.web)?),
        })
    }
}

/// The folder of an agent's memory in its own.
const MEMORY_FOLDER: &str = "memory";

/// Memories in the agents' own folders, where people may read and write them.
#[derive(Debug)]
struct MemoriesInFolders(Arc<dyn Fs>);

impl Memories for MemoriesInFolders {
    fn of(&self, agent: &AgentSpec) -> Arc<dyn Documents> {
        let (home, folder) = (agent.home.clone(), agent.home.join(MEMORY_FOLDER));
        Arc::new(FileDocuments::shared(Arc::clone(&self.0), home, folder))
    }
}

fn memory_parts(config: &Config, fs: Arc<dyn Fs>) -> MemoryParts {
    let world = config.world_memory_dir.clone();
    let world = FileDocuments::shared(Arc::clone(&fs), world.clone(), world);
    MemoryParts {
        memories: Arc::new(MemoriesInFolders(fs)),
        clock: Arc::new(SystemClock),
        world: Arc::new(world),
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
