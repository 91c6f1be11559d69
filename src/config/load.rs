//! Reading `duragent.yaml`.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::text;
use crate::base::yaml::TEXT_BYTES_MAX;
use crate::base::yaml::expand::Environment;
use crate::base::yaml::pick;
use crate::base::yaml::problem::{Level, Problem};
use crate::base::yaml::read::{self, FromYaml, Report, Sift, Variable};
use crate::base::yaml::tree::{Node, Value};
use crate::config::settings::Config;
use crate::config::source::{ConfigSource, DEFAULT_FILE, Overrides};
use crate::config::{checked, raw};

/// A configuration, and what a user should know about its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The reasons, at least one of them an error.
    pub problems: Vec<Problem>,
}

/// One problem a line.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration.
    ///
    /// Errors: all problems of the file at once.
    pub fn load(
        origin: &ConfigSource,
        overrides: &Overrides,
        environment: Environment<'_>,
    ) -> Result<Loaded, ConfigError> {
        let (config, problems) = read_config(origin, overrides, environment, Level::Warning);
        match config {
            Some(config) => Ok(Loaded {
                config,
                warnings: problems,
            }),
            None => Err(ConfigError { problems }),
        }
    }
}

/// Where the workspace is, whatever else is wrong with the file: for those who look for its server
/// where the server's own variables are not set.
///
/// Errors: the file cannot be read at all, or the workspace itself is what is wrong.
pub fn workspace(
    origin: &ConfigSource,
    overrides: &Overrides,
    environment: Environment<'_>,
) -> Result<PathBuf, ConfigError> {
    let (config, problems) = read_unchecked(origin, overrides, environment, Level::Warning);
    let is_of_workspace =
        |problem: &Problem| problem.is_error() && problem.message.starts_with("`workspace`");
    match config {
        Some(config) if !problems.iter().any(is_of_workspace) => Ok(config.workspace),
        _ => Err(ConfigError { problems }),
    }
}

/// Everything that is wrong with a configuration file.
pub fn validate(path: &Path, environment: Environment<'_>) -> Vec<Problem> {
    let origin = ConfigSource::File(path.to_owned());
    read_config(&origin, &Overrides::default(), environment, Level::Error).1
}

/// Every key that the file may have, as `server.port`; lists as `routes[].agent`, names of the user's
/// as `providers.<name>.base_url`.
pub fn keys() -> Vec<String> {
    let mut found = Vec::new();
    raw::ConfigFile::keys("", &mut found);
    found
}

fn read_config(
    origin: &ConfigSource,
    flags: &Overrides,
    environment: Environment<'_>,
    unknown_keys: Level,
) -> (Option<Config>, Vec<Problem>) {
    let (config, problems) = read_unchecked(origin, flags, environment, unknown_keys);
    let has_errors = problems.iter().any(Problem::is_error);
    (config.filter(|_| !has_errors), problems)
}

/// The variables of the file: what is not looked at, or is off, needs none of them.
struct Variables<'a> {
    environment: Environment<'a>,
    unread: RefCell<Vec<String>>,
}

/// The keys that other versions read, and this one does not.
const UNREAD: [&str; 3] = ["compaction", "gateways.discord", "sessions.compaction"];

impl<'a> Variables<'a> {
    fn new(environment: Environment<'a>) -> Variables<'a> {
        Variables {
            environment,
            unread: RefCell::new(UNREAD.map(str::to_owned).to_vec()),
        }
    }
}

impl Sift for Variables<'_> {
    fn sift(&self, root: &mut Node, _: &mut Report) {
        let look = |key: String, gateway: &Node| {
            if pick::word(gateway, "enabled").as_deref() == Some("false") {
                self.unread.borrow_mut().push(key);
            }
        };
        for path in ["gateways.telegram", "gateways.external"] {
            pick::retain(root, path, &mut |key, found| {
                if let Value::List(gateways) = &found.value {
                    for (index, gateway) in gateways.iter().enumerate() {
                        look(format!("{key}[{index}]"), gateway);
                    }
                } else {
                    look(key.to_owned(), found);
                }
                true
            });
        }
    }

    fn variable(&self, key: &str, name: &str) -> Variable {
        let is_within = |unread: &String| {
            key.strip_prefix(unread.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match (self.environment)(name) {
            Some(value) => Variable::Set(value),
            // An empty one would be no value at all.
            None if self.unread.borrow().iter().any(is_within) => {
                Variable::Set(format!("${{{name}}}"))
            }
            None => Variable::Unset,
        }
    }
}

/// Values that were refused are defaults in the configuration.
fn read_unchecked(
    origin: &ConfigSource,
    flags: &Overrides,
    environment: Environment<'_>,
    unknown_keys: Level,
) -> (Option<Config>, Vec<Problem>) {
    let file = origin.file().unwrap_or(Path::new(DEFAULT_FILE));
    let text = match origin.file().map(|file| text::read(file, TEXT_BYTES_MAX)) {
        None => String::new(),
        Some(Ok(text)) => text,
        Some(Err(error)) => return (None, vec![Problem::of_file(file, error.to_string())]),
    };
    let variables = match checked::variables(environment) {
        Ok(variables) => variables,
        Err(problem) => return (None, vec![problem]),
    };
    let mut report = Report::new(unknown_keys);
    let sift = Variables::new(environment);
    let (document, raw) = match read::read_sifted_document(text, file, &sift, &mut report) {
        Ok(read) => read,
        Err(problem) => return (None, vec![problem]),
    };
    let sources = checked::Sources {
        origin,
        flags,
        variables: &variables,
        document: &document,
    };
    let config = raw.map(|raw| checked::config(raw, &sources, &mut report));
    (config, report.finish(&document, file))
}
