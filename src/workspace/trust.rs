//! What agents bring that needs their owner's trust, and giving it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;

use crate::agents;
use crate::base::fs::RealFs;
use crate::base::lock::lock as locked;
use crate::base::order;
use crate::base::yaml::problem::Problem;
use crate::config::Config;
use crate::config::owner::OwnerConfig;
use crate::domain::providers::{self, Described, Origin, ollama_base_url};
use crate::domain::spec::{AgentSpec, Provider, WORK_FOLDER};
use crate::domain::trust::{self, Brought, Granted, Part};
use crate::policy::Digests;
use crate::store::documents::Documents;
use crate::store::file::documents::FileDocuments;
use crate::store::lock;
use crate::tools::program_tools::ProgramTools;
use crate::trust::{GrantStore, Grants, KnownAddress};
use crate::workspace::policy_files;
use crate::workspace::repositories;
use crate::workspace::starts::Starts;
use crate::workspace::state_home;

pub use crate::trust::{GrantError, WorkspaceTrust};

/// The part of a configuration that decides on trust.
#[derive(Debug, Clone, Copy)]
pub struct Workspace<'a> {
    /// Where everything is kept.
    pub folder: &'a Path,
    /// Where the agents are.
    pub agents_dir: &'a Path,
    /// Providers that its owner describes: an address of theirs is no stranger's.
    pub providers: &'a BTreeMap<Provider, Described>,
}

impl<'a> Workspace<'a> {
    /// That of a configuration.
    pub fn of(config: &'a Config) -> Workspace<'a> {
        Workspace {
            folder: &config.workspace,
            agents_dir: &config.agents_dir,
            providers: &config.providers,
        }
    }

    /// Names that agents may give for a provider, beside those of the table.
    pub fn names(&self) -> Vec<Provider> {
        self.providers.keys().cloned().collect()
    }
}

/// The trust of a workspace, and what is wrong with the owner's own files.
pub fn of_workspace(workspace: &Workspace<'_>) -> (Arc<WorkspaceTrust>, Vec<Problem>) {
    let folder = workspace.folder;
    let (grants, problems) = match state_home::owners_file().as_deref().map(OwnerConfig::read) {
        Some(Ok(OwnerConfig { trusts_all: true })) => (Grants::All, Vec::new()),
        Some(Ok(OwnerConfig { trusts_all: false })) | None => (Grants::Recorded, Vec::new()),
        Some(Err(problems)) => (Grants::Recorded, problems),
    };
    let known = known_address(workspace.providers);
    let trust = WorkspaceTrust::new(folder, store_of(folder), grants, known);
    (Arc::new(trust), problems)
}

/// As [`of_workspace`], for those who may give trust: the workspace gets its identifier if it has none.
pub fn to_be_given(workspace: &Workspace<'_>) -> anyhow::Result<Arc<WorkspaceTrust>> {
    lock::workspace_hash(workspace.folder).context("cannot name the workspace")?;
    Ok(of_workspace(workspace).0)
}

/// Where what is granted in a workspace is kept.
fn store_of(workspace: &Path) -> GrantStore {
    let documents = state_home::folder().ok().map(|ours| {
        let folder = ours.join("trust");
        Arc::new(FileDocuments::of_account(Arc::new(RealFs), ours, folder)) as Arc<dyn Documents>
    });
    GrantStore::new(documents, workspace, lock::known_hash(workspace))
}

/// Notes that a workspace is not one of a version before trust, whose owner would be asked about all
/// that it has.
pub(crate) fn note_new_workspace(workspace: &Path) {
    let noted = || -> anyhow::Result<()> {
        lock::workspace_hash(workspace).context("cannot name the workspace")?;
        Ok(store_of(workspace).begin()?)
    };
    if let Err(error) = noted() {
        log::debug!("the workspace is not noted as a new one: {error:#}");
    }
}

/// The workspace was served by a version before trust, and its owner was not asked since.
pub fn is_from_before(workspace: &Path, trust: &WorkspaceTrust) -> bool {
    Starts::any(workspace) && matches!(trust.store().read(), Ok(None))
}

/// A trust that grants nothing: for those who have no configuration.
pub(crate) fn nothing() -> WorkspaceTrust {
    let here = Path::new(".");
    let known = known_address(&BTreeMap::new());
    WorkspaceTrust::new(here, GrantStore::new(None, here, None), Grants::None, known)
}

/// Addresses that an agent may name without trust: no stranger is there, or the owner named them.
fn known_address(described: &BTreeMap<Provider, Described>) -> KnownAddress {
    let variable = |name: &str| std::env::var(name).ok();
    let known = providers::KNOWN.iter();
    let known = known.filter_map(|known| Provider::parse(known.name));
    let named = known.chain(described.keys().cloned());
    let by_variable = named.filter_map(|provider| variable(&provider.base_url_variable()));
    let by_file = described.values().filter_map(|one| one.base_url.as_ref());
    let by_file = by_file.map(|url| url.reveal().to_owned());
    let ollama = variable("OLLAMA_HOST").map(|host| ollama_base_url(&host));
    let urls = by_variable.chain(by_file).chain(ollama);
    let named: Vec<Origin> = urls.filter_map(|url| Origin::of(&url)).collect();
    Arc::new(move |url: &str| {
        providers::is_known_host(url)
            || providers::is_loopback_url(url)
            || Origin::of(url).is_some_and(|origin| named.contains(&origin))
    })
}

/// Looks at what the agents of a workspace bring.
#[derive(Debug, Clone)]
pub struct Surveyor {
    agents_dir: PathBuf,
    providers: Vec<Provider>,
    programs: ProgramTools,
    trust: Arc<WorkspaceTrust>,
    looks_for_repositories: bool,
}

/// An agent's folder, looked over for what needs trust.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Its name.
    pub agent: String,
    /// Its folder.
    pub home: PathBuf,
    /// All that needs trust, or is missed when it goes.
    pub brought: Vec<Brought>,
    /// Parts that do not count yet, for want of trust.
    pub waiting: Vec<Part>,
    /// Parts that were granted, and are not there any more.
    pub gone: Vec<Part>,
    /// Repositories in its work folder that were not granted; `None` where they were not looked for.
    pub repositories: Option<Vec<Part>>,
}

impl Surveyor {
    /// For the agents of a workspace.
    pub fn new(workspace: &Workspace<'_>, trust: Arc<WorkspaceTrust>) -> Surveyor {
        Surveyor {
            agents_dir: workspace.agents_dir.to_owned(),
            providers: workspace.names(),
            // None of them is run.
            programs: ProgramTools::new(Arc::default(), workspace.folder.to_owned()),
            trust,
            looks_for_repositories: false,
        }
    }

    /// Looks for repositories in the agents' work folders, too. That may be a look at many files.
    #[must_use]
    pub fn with_repositories(self) -> Surveyor {
        Surveyor {
            looks_for_repositories: true,
            ..self
        }
    }

    /// All agents, sorted by name.
    pub fn all(&self) -> Vec<Survey> {
        let homes = agents::homes(&self.agents_dir);
        homes.iter().map(|home| self.agent(home)).collect()
    }

    /// The agent of that name, if there is its folder.
    pub fn named(&self, name: &str) -> Option<Survey> {
        let homes = agents::homes(&self.agents_dir);
        let is_it = |home: &&PathBuf| home.file_name().is_some_and(|found| found == name);
        homes.iter().find(is_it).map(|home| self.agent(home))
    }

    /// The agent in the folder `home`.
    pub fn agent(&self, home: &Path) -> Survey {
        let (spec, mut brought) = agents::parts(home, &environment, &self.providers, &self.trust);
        brought.extend(policy_files::parts(home, &environment, &self.trust));
        if let Some(spec) = spec {
            brought.extend(self.programs_of(&spec));
        }
        let granted = self.trust.granted(home);
        let found = if self.looks_for_repositories {
            repositories::within(home)
        } else {
            Vec::new()
        };
        let unlisted = found.iter().filter(|part| !granted.counts(part));
        let unlisted: Vec<Part> = unlisted.cloned().collect();
        brought.extend(found.into_iter().map(|part| Brought {
            part,
            needs_trust: false,
        }));
        let gone = match &granted {
            Granted::Nothing | Granted::Everything => Vec::new(),
            Granted::Parts(parts) => {
                let was_looked_for =
                    |part: &Part| self.looks_for_repositories || !repositories::is_one(part);
                let is_gone = |part: &&Part| {
                    was_looked_for(part) && !brought.iter().any(|one| one.part == **part)
                };
                parts.iter().filter(is_gone).cloned().collect()
            }
        };
        let name = home.file_name().unwrap_or_default().to_string_lossy();
        Survey {
            agent: name.into_owned(),
            home: home.to_owned(),
            waiting: granted.waiting(&brought),
            brought,
            gone,
            repositories: self.looks_for_repositories.then_some(unlisted),
        }
    }

    fn programs_of(&self, spec: &AgentSpec) -> Vec<Brought> {
        let digests = Digests::default();
        let pins = self.programs.toolbox(spec).pins();
        let own = pins.into_iter().filter(|pin| pin.is_agents);
        own.map(|pin| Brought {
            part: pin.part(&digests),
            needs_trust: true,
        })
        .collect()
    }
}

impl Survey {
    /// Says what does not count; `None` when all does.
    pub fn said(&self) -> Option<String> {
        trust::said_of(&self.agent, &self.waiting)
    }

    /// Trusts the agent with what was found, and with nothing else: a repository that is in its work
    /// folder by now, and was not found, is set aside. Returns the new names of such.
    pub fn grant(&self, trust: &WorkspaceTrust) -> Result<Vec<PathBuf>, GrantError> {
        let parts: Vec<Part> = self.brought.iter().map(|one| one.part.clone()).collect();
        let aside = match &self.repositories {
            Some(_) => repositories::set_aside_others(&self.home, &parts),
            None => Ok(Vec::new()),
        };
        let aside = aside.map_err(|source| GrantError::Folder {
            path: self.home.join(WORK_FOLDER),
            source,
        })?;
        trust.grant(&self.home, &parts)?;
        Ok(aside)
    }
}

/// Parts of agents, by the agents' names.
type ByAgent = BTreeMap<String, Vec<Part>>;

/// The untrusted parts of a server's agents, as of the last time that they were read. They are looked
/// for when somebody first asks: to read every folder would delay the start.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    surveyor: Surveyor,
    /// By agent, for those of which something does not count.
    waiting: Arc<Mutex<Option<ByAgent>>>,
}

impl Standing {
    pub(crate) fn new(surveyor: Surveyor) -> Standing {
        Standing {
            surveyor,
            waiting: Arc::default(),
        }
    }

    /// Has it looked for anew.
    pub(crate) fn forget(&self) {
        *locked(&self.waiting) = None;
    }

    /// By agent, for those of which something does not count.
    pub(crate) fn waiting(&self) -> ByAgent {
        let mut known = locked(&self.waiting);
        let look = || {
            let all = self.surveyor.all().into_iter();
            let found = all.map(|survey| (survey.agent, survey.waiting));
            order::map(found.filter(|(_, waiting)| !waiting.is_empty()))
        };
        known.get_or_insert_with(look).clone()
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
