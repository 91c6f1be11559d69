//! `duragent validate`: what is wrong with what users write, by the files alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::agents;
use crate::base::yaml::problem::Problem;
use crate::config::{self, Config};
use crate::workspace::policy_files::{
    LOCAL_FILE, POLICY_FILE, validate as validate_policy, validate_in,
};
use crate::workspace::remarks;
use crate::workspace::trust::{self, Surveyor, Workspace};

/// The findings of [`validate`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validated {
    /// Everything that is wrong, or does not do what its author may think, one line each, with file,
    /// line and column.
    pub problems: Vec<String>,
    /// How many of them keep a file from being used; the others are warnings, which their lines say.
    pub errors: usize,
    /// A sentence on what waits for its owner's trust, if anything of the agent does.
    pub not_counted: Option<String>,
}

impl Validated {
    fn of(problems: &[Problem], not_counted: Option<String>) -> Validated {
        Validated {
            problems: problems.iter().map(|one| format!("{one:#}")).collect(),
            errors: problems.iter().filter(|one| one.is_error()).count(),
            not_counted,
        }
    }
}

/// Looks at a `duragent.yaml`, an `agent.yaml`, a policy or an agent's folder. `config` is that of the
/// workspace, in which an agent may be trusted; without one, nobody is.
pub fn validate(path: &Path, config: Option<&Config>) -> Validated {
    let environment = |name: &str| std::env::var(name).ok();
    let is_policy = [POLICY_FILE, LOCAL_FILE]
        .iter()
        .any(|name| path.ends_with(name));
    let is_agent = path.is_dir() || path.ends_with(agents::AGENT_FILE);
    if !is_agent && !is_policy {
        return Validated::of(&config::validate(path, &environment), None);
    }
    let nowhere = BTreeMap::new();
    let workspace = config.map_or(
        Workspace {
            folder: Path::new("."),
            agents_dir: Path::new("."),
            providers: &nowhere,
        },
        Workspace::of,
    );
    let trust = match config {
        Some(_) => trust::of_workspace(&workspace).0,
        None => Arc::new(trust::nothing()),
    };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if is_policy {
        let mut problems = validate_policy(path, &environment);
        let remarks = |config| remarks::of_file(config, &whole, &trust);
        problems.extend(config.iter().copied().flat_map(remarks));
        return Validated::of(&problems, None);
    }
    let mut problems = agents::validate(path, &environment, &workspace.names(), &trust);
    if !path.is_dir() {
        let home = whole.parent().unwrap_or(&whole);
        let remarks = |config| remarks::of_home(config, home, &trust);
        let found = config.iter().copied().flat_map(remarks);
        problems.extend(found.filter(|one| one.file == whole));
        return Validated::of(&problems, None);
    }
    let remarks = |config| remarks::of_home(config, &whole, &trust);
    problems.extend(config.iter().copied().flat_map(remarks));
    problems.extend(validate_in(path, &environment, &trust));
    let not_counted = Surveyor::new(&workspace, trust).agent(&whole).said();
    Validated::of(&problems, not_counted)
}
