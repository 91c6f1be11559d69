//! Where the rules of an agent stand, and what its owner trusts it with: as a policy needs them.

use std::path::Path;

use crate::base::shown::shown_by_name;
use crate::base::yaml::YamlError;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::problem::Problem;
use crate::domain::spec::AgentSpec;
use crate::domain::trust::{Granted, Part};
use crate::policy::rules::Tiers;

/// Makes of what the owner allowed for good, which stands at the path, what is to stand there; `None`
/// leaves it as it is.
pub type EditRules<'a> = dyn Fn(&Path, Option<&str>) -> Result<Option<String>, RuleEditError> + 'a;

/// The rules of all agents of a workspace.
pub trait RuleSources: Send + Sync {
    /// Those of an agent. Reads nothing yet.
    fn of(&self, agent: &AgentSpec) -> Box<dyn RuleSource>;
}

shown_by_name!(RuleSources);

/// The rules of one agent.
pub trait RuleSource: Send + Sync {
    /// Reads them, as far as the agent's folder is trusted with what it says, and what it is trusted
    /// with.
    ///
    /// Errors: everything that is wrong with any of them.
    fn read(&self, environment: Environment<'_>) -> Result<(Tiers, Granted), Vec<Problem>>;

    /// Whether the workspace has a policy of its own.
    fn has_workspace_policy(&self) -> bool;

    /// Trusts the agent's folder with `parts` too, and edits what the owner allowed for good. `edit` is
    /// called again on what another process has made of that meanwhile.
    ///
    /// Errors: [`RememberError::Record`]; nothing will be remembered.
    fn allow(&self, parts: &[Part], edit: &EditRules<'_>) -> Result<(), RememberError>;
}

shown_by_name!(RuleSource);

/// Why what the owner allowed for good cannot be added to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleEditError {
    /// It is no YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Wherever a new item would go, something else would change.
    #[error("its `allow` is written in a way that cannot be added to")]
    NoRoom,
    /// It would not load any more, and refuse everything from then on.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<String>())]
    Refused(Vec<Problem>),
}

/// Why calls that a person allowed for good, or some of them, will be asked about again.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// The owner's record cannot be changed: the error with all its causes.
    #[error("{0}")]
    Record(String),
    /// These commands are none that a rule could name, each with its reason.
    #[error("{}", .0.join("; "))]
    NoRule(Vec<String>),
}
