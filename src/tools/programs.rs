//! Runs programs for agents: in a folder of the agent's, with what they may know, in the sandbox.

use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never};
use rustix::fs::MemfdFlags;

use crate::base::accounts;
use crate::base::child::{self, End, Ended};
use crate::base::order;
use crate::base::os;
use crate::domain::event::ToolOutput;
use crate::domain::ids::AgentName;
use crate::domain::secret::names_a_secret;
use crate::domain::spec::WORK_FOLDER;
use crate::sandbox::{self, Job, Sandbox, SandboxError, SandboxSettings};
use crate::tools::{Run, ToolRefusal};

/// How long a program may run that was given no time.
pub(super) const TIMEOUT_USUAL: Duration = Duration::from_secs(120);
/// The longest that it may be given.
pub(super) const TIMEOUT_SECONDS_MAX: u64 = 3600;
/// How long the trial of a sandbox may take.
const TRIAL: Duration = Duration::from_secs(10);
/// Variables that say what bash runs first, and how it reads.
const STEERING: [&str; 8] = [
    "BASHOPTS",
    "BASH_COMPAT",
    "BASH_ENV",
    "CDPATH",
    "ENV",
    "POSIXLY_CORRECT",
    "PS4",
    "SHELLOPTS",
];
/// What a program that is locked in is told of the environment, with `LC_*` and `DURAGENT_*`.
const TOLD: [&str; 6] = ["HOME", "LANG", "PATH", "TERM", "TZ", "USER"];
/// What a service manager hands to its service alone.
const MANAGERS: [&str; 9] = [
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];
/// Variables that say which bytes are a character.
const LOCALES: [&str; 3] = ["LANG", "LC_ALL", "LC_CTYPE"];

/// Runs programs: with the server's sandbox, and the variables that all of them are told.
#[derive(Debug)]
pub struct Programs {
    sandbox: Arc<dyn Sandbox>,
    /// `sandbox.env`.
    env: Vec<String>,
}

impl Default for Programs {
    fn default() -> Programs {
        Programs::new(SandboxSettings::default())
    }
}

/// For whom a program runs.
#[derive(Debug, Clone)]
pub(super) struct ProgramContext {
    pub(super) agent: AgentName,
    /// The agent's folder.
    pub(super) home: PathBuf,
    /// Where programs start: in the agent's folder, or in the one for what they write.
    pub(super) cwd: PathBuf,
    /// Folders that programs must see.
    pub(super) readable: Vec<PathBuf>,
    /// Variables that a program is told beside the usual ones.
    pub(super) env: Vec<String>,
}

impl ProgramContext {
    /// The folders that programs see, each once: of one in another nothing more is to be said, and
    /// the one to write in is seen anyway.
    fn seen(&self, work: &Path) -> Vec<PathBuf> {
        let there = self.readable.iter().filter(|path| path.exists());
        let mut seen: Vec<PathBuf> = there
            .filter(|path| !path.starts_with(work))
            .cloned()
            .collect();
        order::sort(&mut seen);
        // Whatever lies below another one comes behind it.
        seen.dedup_by(|inner, outer| inner.starts_with(outer));
        seen
    }

    /// Where a command starts, for a model.
    pub(super) fn said(&self) -> &'static str {
        if self.cwd == self.home {
            "the folder that holds what you are made of; what you write goes below `work/`"
        } else {
            "a folder of your own whose files last"
        }
    }
}

/// A run of a program, before it begins.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Where it starts.
    pub(super) cwd: PathBuf,
    pub(super) input: Option<String>,
    pub(super) timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error("{} is no folder of the agent's own", .0.display())]
    NoFolder(PathBuf),
    #[error("{}, the folder of this session, is no longer there, or a link, or another account's", .0.display())]
    NoWorkdir(PathBuf),
    #[error("{} cannot be made", path.display())]
    NotMade { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{} cannot be run", program.display())]
    NotRun { program: PathBuf, source: io::Error },
}

/// Why no program will run in the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxTrialError {
    /// There is no folder to run one in.
    #[error(transparent)]
    Folder(#[from] io::Error),
    /// The program that does nothing failed, or the sandbox around it.
    #[error("{said} ({end})")]
    Failed {
        /// Its output, in one line.
        said: String,
        /// How it ended.
        end: End,
    },
    /// Nothing was started, for this reason and its causes.
    #[error("{0}")]
    NotRun(String),
}

impl Programs {
    /// Programs that run in the sandbox of these settings.
    pub fn new(settings: SandboxSettings) -> Programs {
        os::keep_descriptors_from_children();
        Programs {
            env: settings.env.clone(),
            sandbox: sandbox::of(settings),
        }
    }

    /// The word of `sandbox.mode`: `trust`, `bubblewrap` or `docker`.
    pub fn sandbox_name(&self) -> &'static str {
        self.sandbox.name()
    }

    /// A sentence or two for the model about the place where programs run; empty where nothing
    /// locks them in.
    pub(super) fn remark(&self) -> &str {
        self.sandbox.remark()
    }

    /// Tries the sandbox by running a program that does nothing.
    ///
    /// Errors: no program will run.
    pub fn try_sandbox(&self) -> Result<(), SandboxTrialError> {
        // Where the first is read-only, the second may not be.
        let mut private = tempfile::Builder::new();
        private.permissions(fs::Permissions::from_mode(0o700));
        let folder = private
            .tempdir()
            .or_else(|_| private.tempdir_in("/dev/shm"))?;
        let work = fs::canonicalize(folder.path())?;
        let job = Job {
            program: "true".into(),
            args: Vec::new(),
            environment: environment(env::vars_os()),
            told: self.told(),
            cwd: work.clone(),
            work,
            workdir: None,
            readable: Vec::new(),
        };
        match self.run_job(&job, None, TRIAL, &never(), "") {
            Ok(ended) if is_success(&ended.end) => Ok(()),
            Ok(ended) => {
                let words: Vec<&str> = ended.output.split_whitespace().collect();
                Err(SandboxTrialError::Failed {
                    said: words.join(" "),
                    end: ended.end,
                })
            }
            Err(error) => Err(SandboxTrialError::NotRun(sentence(&error))),
        }
    }

    /// Runs a program; what goes wrong is in the output.
    pub(super) fn run(&self, place: &ProgramContext, order: Order, run: &Run<'_>) -> ToolOutput {
        let session = run.caller.session;
        match self.run_in_place(place, order, run) {
            Ok(ended) => told(&ended),
            Err(error) => {
                let error = sentence(&error);
                log::warn!("session {session}: {error}");
                ToolRefusal::from(error).into()
            }
        }
    }

    fn run_in_place(
        &self,
        place: &ProgramContext,
        order: Order,
        run: &Run<'_>,
    ) -> Result<Ended, ProgramError> {
        let work = work_folder(&place.home)?;
        let workdir = run.caller.workdir.map(still_real).transpose()?;
        let named = workdir
            .iter()
            .map(|folder| ("DURAGENT_WORKDIR".into(), folder.into()));
        let identity = [
            ("DURAGENT_AGENT", place.agent.as_str().into()),
            ("DURAGENT_SESSION", run.caller.session.as_str().into()),
            ("DURAGENT_AGENT_HOME", OsString::from(&place.home)),
        ];
        let identity = identity.map(|(name, value)| (OsString::from(name), value));
        let granted = place.env.iter().filter_map(|name| variable(name));
        let own: Vec<(OsString, OsString)> = granted.chain(identity).chain(named).collect();
        let environment = [environment(env::vars_os()), own.clone()].concat();
        let job = Job {
            program: order.program.into(),
            args: order.args,
            environment: with_git_rule(environment),
            told: with_git_rule([self.told(), own].concat()),
            readable: place.seen(&work),
            work,
            workdir,
            cwd: order.cwd,
        };
        let input = order.input.as_deref();
        let session = run.caller.session.as_str();
        self.run_job(&job, input, order.timeout, run.cancel, session)
    }

    /// What a program that is locked in is told of this one's environment.
    fn told(&self) -> Vec<(OsString, OsString)> {
        let usual = environment(env::vars_os()).into_iter();
        let usual = usual.filter(|(name, _)| is_told(&name.to_string_lossy()));
        let named = self.env.iter().filter_map(|name| variable(name));
        let named = named.filter(|(name, value)| !steers_shell(name, value));
        usual.chain(named).collect()
    }

    fn run_job(
        &self,
        job: &Job,
        input: Option<&str>,
        timeout: Duration,
        cancel: &Receiver<Infallible>,
        session: &str,
    ) -> Result<Ended, ProgramError> {
        let not_run = |source| ProgramError::NotRun {
            program: PathBuf::from(&job.program),
            source,
        };
        let prepared = self.sandbox.prepare(job)?;
        let input = input.map_or_else(|| Ok(Stdio::null()), in_memory);
        let input = input.map_err(not_run)?;
        child::run(prepared, input, timeout, cancel, session).map_err(not_run)
    }
}

/// A session's folder, which was the real one of its path, and this account's, when the session began.
/// A link that has taken its place since could lead anywhere, and in somebody else's folder their
/// files would be obeyed.
pub(super) fn still_real(folder: &Path) -> Result<PathBuf, ProgramError> {
    let is_real = fs::canonicalize(folder).is_ok_and(|real| real == folder);
    let is_own_folder = |about: fs::Metadata| about.is_dir() && about.uid() == accounts::own();
    if !is_real || !fs::symlink_metadata(folder).is_ok_and(is_own_folder) {
        return Err(ProgramError::NoWorkdir(folder.to_owned()));
    }
    Ok(folder.to_owned())
}

/// The folder for what an agent's programs write.
pub(super) fn work_folder(home: &Path) -> Result<PathBuf, ProgramError> {
    let path = home.join(WORK_FOLDER);
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => return Ok(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(source) => return Err(ProgramError::NotMade { path, source }),
    }
    // A link could lead anywhere, and a sandbox would let programs write there.
    match fs::symlink_metadata(&path) {
        Ok(about) if about.is_dir() => Ok(path),
        _ => Err(ProgramError::NoFolder(path)),
    }
}

/// What a program may know of this one's environment: everything but secrets, what is meant for a
/// service alone, and what would have a shell run or read something else than the command it is given.
fn environment(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let is_kept_back = |name: &OsStr| {
        let name = name.to_string_lossy();
        names_a_secret(&name) || MANAGERS.contains(&name.as_ref())
    };
    all.filter(|(name, value)| !is_kept_back(name) && !steers_shell(name, value))
        .collect()
}

/// The environment with a setting of git's behind those that are in it: a folder that has the files of a
/// repository is none unless it is called `.git`. In any other one, which may have come with what was
/// unpacked or written there, git would run what its `config` names.
///
/// Source: git-config(1), `safe.bareRepository`; git(1), `GIT_CONFIG_COUNT`.
fn with_git_rule(mut environment: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    const COUNT: &str = "GIT_CONFIG_COUNT";
    let known = environment.iter().rev().find(|(name, _)| name == COUNT);
    let known = known.map(|(_, count)| count.to_str().and_then(|count| count.parse::<u16>().ok()));
    // Of what is no number, git itself says so.
    let count = match known {
        Some(None) => return environment,
        Some(Some(count)) => u32::from(count),
        None => 0,
    };
    environment.retain(|(name, _)| name != COUNT);
    for (name, value) in [
        (
            format!("GIT_CONFIG_KEY_{count}"),
            "safe.bareRepository".to_owned(),
        ),
        (format!("GIT_CONFIG_VALUE_{count}"), "explicit".to_owned()),
        (COUNT.to_owned(), (count + 1).to_string()),
    ] {
        environment.push((name.into(), value.into()));
    }
    environment
}

/// Whether a program that is locked in is told of a variable.
fn is_told(name: &str) -> bool {
    TOLD.contains(&name) || name.starts_with("LC_") || name.starts_with("DURAGENT_")
}

/// A variable of this program that is handed on because its name was written down for that.
fn variable(name: &str) -> Option<(OsString, OsString)> {
    Some((name.into(), env::var_os(name)?))
}

/// Whether a variable changes what bash makes of a command that a policy has judged.
fn steers_shell(name: &OsStr, value: &OsStr) -> bool {
    let name = name.to_string_lossy();
    // In others than these, half of a character may look like a quote.
    let is_odd_locale = || {
        let value = value.to_string_lossy().to_ascii_lowercase();
        let is_plain = matches!(value.as_str(), "" | "c" | "posix");
        !is_plain && !value.contains("utf-8") && !value.contains("utf8")
    };
    // A function of the environment goes before a program of its name.
    name.starts_with("BASH_FUNC_")
        || STEERING.contains(&name.as_ref())
        || LOCALES.contains(&name.as_ref()) && is_odd_locale()
}

/// A text as a file to read from, which is in memory only.
fn in_memory(text: &str) -> io::Result<Stdio> {
    let memory = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC)?;
    let mut file = fs::File::from(memory);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

fn is_success(end: &End) -> bool {
    matches!(end, End::Exited(status) if status.success())
}

/// What the model is told.
fn told(ended: &Ended) -> ToolOutput {
    let success = is_success(&ended.end);
    let is_silent = ended.output.trim().is_empty();
    let content = match (success, is_silent) {
        (true, true) => "[no output]".to_owned(),
        (true, false) => ended.output.clone(),
        (false, true) => format!("[{}; no output]", ended.end),
        (false, false) => format!("{}\n[{}]", ended.output.trim_end_matches('\n'), ended.end),
    };
    ToolOutput { success, content }
}

/// An error with its causes.
fn sentence(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_not_told_secrets() {
        let all = [
            ("PATH", "/bin"),
            ("HOME", "/home/ann"),
            ("OPENAI_API_KEY", "sk-1"),
            ("DURAGENT_ADMIN_TOKEN", "t"),
            ("github_token", "t"),
        ];
        let told = environment(
            all.into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let names: Vec<&OsStr> = told.iter().map(|(name, _)| name.as_os_str()).collect();
        assert_eq!(names, ["PATH", "HOME"]);
    }

    #[test]
    fn what_would_steer_a_shell_is_left_out() {
        let all = [
            ("BASH_ENV", "x"),
            ("SHELLOPTS", "xtrace"),
            ("BASH_FUNC_git%%", "() { rm x; }"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_CTYPE", "C.utf8"),
            ("LC_ALL", "zh_CN.GBK"),
            ("LC_TIME", "zh_CN.GBK"),
            ("BASH", "/bin/bash"),
        ];
        let told = environment(
            all.into_iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        let names: Vec<&OsStr> = told.iter().map(|(name, _)| name.as_os_str()).collect();
        assert_eq!(names, ["LANG", "LC_CTYPE", "LC_TIME", "BASH"]);
    }

    #[test]
    fn gits_settings_of_the_environment_stay_before_the_one_that_is_added() {
        let list = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let rule = |count: &str, next: &str| {
            list(&[
                (&format!("GIT_CONFIG_KEY_{count}"), "safe.bareRepository"),
                (&format!("GIT_CONFIG_VALUE_{count}"), "explicit"),
                ("GIT_CONFIG_COUNT", next),
            ])
        };
        let path = list(&[("PATH", "/bin")]);
        let added = with_git_rule(path.clone());
        assert_eq!(added, [path.clone(), rule("0", "1")].concat());
        let own = list(&[("GIT_CONFIG_KEY_0", "a.b"), ("GIT_CONFIG_VALUE_0", "c")]);
        let count = list(&[("GIT_CONFIG_COUNT", "1")]);
        let added = with_git_rule([count, own.clone()].concat());
        assert_eq!(added, [own, rule("1", "2")].concat());
        let odd = list(&[("GIT_CONFIG_COUNT", "x")]);
        assert_eq!(with_git_rule(odd.clone()), odd);
    }

    #[test]
    fn no_folder_is_seen_twice_and_none_stands_over_the_one_to_write_in() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        for name in ["tools/x", "tools-2", "work/sub"] {
            fs::create_dir_all(home.join(name)).unwrap();
        }
        let named = ["tools/x", "./tools", "tools", "tools-2", "work/sub", "none"];
        let place = ProgramContext {
            agent: AgentName::parse("ada").unwrap(),
            home: home.to_owned(),
            cwd: home.to_owned(),
            readable: named.map(|name| home.join(name)).into(),
            env: Vec::new(),
        };
        let seen = place.seen(&home.join("work"));
        assert_eq!(seen, ["tools", "tools-2"].map(|name| home.join(name)));
    }

    #[test]
    fn a_work_folder_that_leads_elsewhere_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let made = work_folder(home.path()).unwrap();
        assert!(made.is_dir());
        assert_eq!(work_folder(home.path()).unwrap(), made);
        fs::remove_dir(&made).unwrap();
        std::os::unix::fs::symlink("/", &made).unwrap();
        let refused = work_folder(home.path()).unwrap_err();
        assert!(matches!(refused, ProgramError::NoFolder(_)), "{refused}");
    }
}
