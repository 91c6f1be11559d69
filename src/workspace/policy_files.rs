//! The policies of agents, from the files of a workspace and what its owner trusts them with.
//!
//! Three files of a policy are read here: the workspace's `policy.yaml`, and two in the agent's folder
//! (`policy.yaml`, and `policy.local.yaml` of earlier versions). People write them and may have got
//! them from anywhere, so they are files wherever the rest is kept, and are read as those of a
//! stranger's folder are. What "allow always" adds to is the account's own
//! ([`GrantStore`](crate::trust::GrantStore)).
//!
//! Elsewhere: what the texts say (`policy::file`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::text::{self, TextError};
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::expand::OwnedEnvironment;
use crate::base::yaml::problem::Problem;
use crate::domain::spec::AgentSpec;
use crate::domain::trust::{Brought, Granted, POLICY_PARTS, Part};
use crate::policy::{
    EditRules, Policies, RememberError, RuleSource, RuleSources, Tier, Tiers, file,
};
use crate::trust::{AgentFolder, GrantError, Grants, ReadError, TrustFilter, WorkspaceTrust};

/// The policy of a workspace, and of an agent in its folder.
pub const POLICY_FILE: &str = "policy.yaml";
/// The file beside an agent with its user's own rules, and with those of "allow always" of earlier
/// versions.
pub const LOCAL_FILE: &str = "policy.local.yaml";

/// The policies of the workspace in `folder`. Reads nothing yet.
pub fn policies(
    folder: &Path,
    environment: OwnedEnvironment,
    trust: Arc<WorkspaceTrust>,
) -> Policies {
    let sources = WorkspaceRules {
        workspace_file: folder.join(POLICY_FILE),
        trust,
    };
    Policies::new(Arc::new(sources), environment)
}

#[derive(Debug)]
struct WorkspaceRules {
    workspace_file: PathBuf,
    trust: Arc<WorkspaceTrust>,
}

impl RuleSources for WorkspaceRules {
    fn of(&self, agent: &AgentSpec) -> Box<dyn RuleSource> {
        Box::new(AgentRules {
            files: PolicyFiles::of(&self.workspace_file, &agent.home),
            trust: Arc::clone(&self.trust),
        })
    }
}

#[derive(Debug)]
struct AgentRules {
    files: PolicyFiles,
    trust: Arc<WorkspaceTrust>,
}

impl RuleSource for AgentRules {
    fn read(&self, environment: Environment<'_>) -> Result<(Tiers, Granted), Vec<Problem>> {
        let tiers = self.files.read(environment, &self.trust)?;
        Ok((tiers, self.trust.granted(&self.files.home)))
    }

    fn has_workspace_policy(&self) -> bool {
        self.files.workspace.exists()
    }

    fn allow(&self, parts: &[Part], edit: &EditRules<'_>) -> Result<(), RememberError> {
        let edit = |path: &Path, text: Option<&str>| Ok(edit(path, text)?);
        let kept = self.trust.keep(&self.files.home, parts, &edit);
        kept.map_err(|error| RememberError::Record(format!("{:#}", anyhow::Error::new(error))))
    }
}

/// Where the policy of an agent stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The workspace's.
    pub workspace: PathBuf,
    /// The folder of the agent, with its own.
    pub home: PathBuf,
}

impl PolicyFiles {
    /// Those of the agent in `home`.
    pub fn of(workspace_file: &Path, home: &Path) -> PolicyFiles {
        PolicyFiles {
            workspace: workspace_file.to_owned(),
            home: home.to_owned(),
        }
    }

    /// Reads them, as far as the agent's folder is trusted with what it says.
    ///
    /// Errors: everything that is wrong with any of them.
    pub fn read(
        &self,
        environment: Environment<'_>,
        trust: &WorkspaceTrust,
    ) -> Result<Tiers, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut tier = |read: Result<Option<Tier>, Vec<Problem>>| match read {
            Ok(tier) => tier,
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        let folder = AgentFolder::new(trust, &self.home);
        let own = own_of(trust, &self.home, environment);
        let tiers = Tiers {
            workspace: tier(read(&self.workspace, environment)),
            agent: tier(read_in(&folder, &self.home, POLICY_FILE, environment)),
            local: tier(read_in(&folder, &self.home, LOCAL_FILE, environment)),
            own: tier(own),
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(tiers)
    }
}

/// Reads what the owner allowed for good; `None` when nothing was.
fn own_of(
    trust: &WorkspaceTrust,
    home: &Path,
    environment: Environment<'_>,
) -> Result<Option<Tier>, Vec<Problem>> {
    let unreadable = |error: GrantError| {
        let (path, message) = error.told_of();
        vec![Problem::of_file(path, message)]
    };
    let found = trust.own_policy(home).map_err(unreadable)?;
    let parsed = found.map(|(path, text)| file::parse(text, &path, environment));
    parsed.transpose()
}

/// Reads a policy of the folder of an agent; `None` when there is none.
fn read_in(
    folder: &AgentFolder<'_>,
    home: &Path,
    name: &'static str,
    environment: Environment<'_>,
) -> Result<Option<Tier>, Vec<Problem>> {
    let path = home.join(name);
    match folder.read(&path, TEXT_BYTES_MAX) {
        Ok(text) => {
            let filter = TrustFilter::new(folder, name, POLICY_PARTS, environment);
            file::parse_sifted(text, &path, &filter).map(Some)
        }
        Err(ReadError::Text(TextError::Missing)) if !is_dangling(&path) => Ok(None),
        Err(error) => Err(vec![Problem::of_file(path, error.to_string())]),
    }
}

/// All that the policies in the folder of an agent bring that needs trust.
pub fn parts(home: &Path, environment: Environment<'_>, trust: &WorkspaceTrust) -> Vec<Brought> {
    let trust = trust.with_grants(Grants::All);
    let folder = AgentFolder::new(&trust, home);
    for name in [POLICY_FILE, LOCAL_FILE] {
        // What is wrong with them is said by those who use them.
        drop(read_in(&folder, home, name, environment));
    }
    folder.brought()
}

/// Everything that is wrong with the policies in the folder of an agent.
pub fn validate_in(
    home: &Path,
    environment: Environment<'_>,
    trust: &WorkspaceTrust,
) -> Vec<Problem> {
    let folder = AgentFolder::new(trust, home);
    let found = [POLICY_FILE, LOCAL_FILE].into_iter().map(|name| {
        match read_in(&folder, home, name, environment) {
            Err(problems) => problems,
            Ok(None) => Vec::new(),
            Ok(Some(_)) => validate_whole(&folder, &home.join(name), environment),
        }
    });
    found.flatten().collect()
}

/// Everything that is wrong with what the owner allowed the agent in a folder for good.
pub fn validate_own(
    home: &Path,
    environment: Environment<'_>,
    trust: &WorkspaceTrust,
) -> Vec<Problem> {
    let read = own_of(trust, home, environment).transpose();
    read.map(all_problems).unwrap_or_default()
}

/// What is wrong with a file of an agent's folder, in what does not count yet as well.
fn validate_whole(
    folder: &AgentFolder<'_>,
    path: &Path,
    environment: Environment<'_>,
) -> Vec<Problem> {
    match folder.read(path, TEXT_BYTES_MAX) {
        Ok(text) => all_problems(file::parse(text, path, environment)),
        Err(error) => vec![Problem::of_file(path, error.to_string())],
    }
}

/// Its mistakes; else what in it can never fit. Somebody who looks should not have to look for them in
/// a log.
fn all_problems(read: Result<Tier, Vec<Problem>>) -> Vec<Problem> {
    read.map_or_else(|problems| problems, |tier| tier.remarks)
}

/// Everything that is wrong with a policy file.
pub fn validate(path: &Path, environment: Environment<'_>) -> Vec<Problem> {
    let read = read(path, environment).transpose();
    read.map(all_problems).unwrap_or_default()
}

/// Reads a policy file; `None` when there is none.
///
/// Errors: everything that is wrong with it.
pub fn read(path: &Path, environment: Environment<'_>) -> Result<Option<Tier>, Vec<Problem>> {
    match text::read(path, TEXT_BYTES_MAX) {
        Ok(text) => file::parse(text, path, environment).map(Some),
        Err(TextError::Missing) if !is_dangling(path) => Ok(None),
        Err(error) => Err(vec![Problem::of_file(path, error.to_string())]),
    }
}

/// Whether it is a link to nothing, which somebody meant to be a policy.
fn is_dangling(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
