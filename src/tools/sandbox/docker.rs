//! A Docker container for each run.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crossbeam_channel::never;

use crate::base::os::ChildRules;
use crate::tools::process::{self, End, NoWarden, Prepared, Warden};
use crate::tools::sandbox::{Job, Sandbox, SandboxError, SandboxSettings, TASKS_MAX};

const PROGRAM: &str = "docker";
/// How long the daemon may take to end a container.
const KILL_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Docker {
    settings: SandboxSettings,
    remark: String,
}

impl Docker {
    pub(super) fn new(settings: SandboxSettings) -> Docker {
        let network = match settings.network {
            true => "the network is there",
            false => "there is no network",
        };
        Docker {
            remark: format!(
                "It runs in a container of the image {}: only the current folder and /tmp (which \
                 is emptied after each call) can be written, and {network}.",
                settings.image
            ),
            settings,
        }
    }
}

impl Sandbox for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn remark(&self) -> &str {
        &self.remark
    }

    fn prepare(&self, job: &Job) -> Result<Prepared, SandboxError> {
        look_for_program()?;
        let container = format!("duragent-{:016x}", fastrand::u64(..)).to_lowercase();
        let user = format!(
            "{}:{}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw()
        );
        let mut command = Command::new(PROGRAM);
        // Docker's own settings are in the environment; what the container sees is in arguments.
        command
            .args(arguments(&self.settings, job, &container, &user))
            .env_clear()
            .envs(job.environment.iter().map(|(name, value)| (name, value)));
        Ok(Prepared {
            command,
            rules: ChildRules::default(),
            warden: Box::new(Container {
                name: container,
                environment: job.environment.clone(),
            }),
        })
    }
}

fn look_for_program() -> Result<(), SandboxError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    match folders.any(|folder| folder.join(PROGRAM).is_file()) {
        true => Ok(()),
        false => Err(SandboxError::Missing {
            program: PROGRAM,
            package: "docker.io",
        }),
    }
}

/// What `docker` is called with.
fn arguments(settings: &SandboxSettings, job: &Job, container: &str, user: &str) -> Vec<OsString> {
    let mut args = limits(settings);
    args.extend(["--name", container, "--user", user].map(OsString::from));
    args.extend(mounts(settings, job));
    let home = ("HOME", job.work.clone().into());
    for (name, value) in job.identity.iter().chain([&home]) {
        args.extend(["--env".into(), assignment(name, value)]);
    }
    args.extend(["--workdir".into(), job.work.clone().into()]);
    args.push(settings.image.clone().into());
    args.push(job.program.clone());
    args.extend(job.args.iter().cloned());
    args
}

fn limits(settings: &SandboxSettings) -> Vec<OsString> {
    let network = if settings.network { "bridge" } else { "none" };
    let memory = settings.memory_bytes;
    let cpu = settings
        .cpu_seconds
        .map(|most| format!(" --ulimit cpu={most}"));
    let text = format!(
        "run --rm --interactive --init --pull never --network {network} --read-only \
         --tmpfs /tmp:rw,nosuid,nodev,size={memory} --cap-drop ALL \
         --security-opt no-new-privileges --memory {memory} --memory-swap {memory} \
         --pids-limit {TASKS_MAX} --ulimit core=0{}",
        cpu.unwrap_or_default()
    );
    text.split(' ').map(OsString::from).collect()
}

fn mounts(settings: &SandboxSettings, job: &Job) -> Vec<OsString> {
    let readable = job.readable.iter().map(|path| (path, ",readonly"));
    let writable = settings.writable.iter().filter(|path| path.exists());
    let writable = writable.chain([&job.work]).map(|path| (path, ""));
    // What can be written may hold what must not be seen.
    let is_inside = |path: &&PathBuf| settings.writable.iter().any(|it| path.starts_with(it));
    let hidden = settings.hidden.iter().filter(is_inside);
    let shown = readable.chain(writable);
    shown
        .map(|(path, how)| mount(path.as_os_str(), how))
        .chain(hidden.map(|path| covered(path.as_os_str())))
        .flat_map(|mount| ["--mount".into(), mount])
        .collect()
}

/// A folder at its own place. Fields are read as CSV, where quotes keep a comma in one field.
fn mount(path: &OsStr, how: &str) -> OsString {
    let mut text = OsString::from("type=bind,");
    text.push(field("source", path));
    text.push(",");
    text.push(field("target", path));
    text.push(how);
    text
}

/// An empty folder, or an empty file, over what is there.
fn covered(path: &OsStr) -> OsString {
    let (kind, how) = match Path::new(path).is_dir() {
        true => ("type=tmpfs,", ",tmpfs-size=1048576"),
        false => ("type=bind,source=/dev/null,", ",readonly"),
    };
    let mut text = OsString::from(kind);
    text.push(field("target", path));
    text.push(how);
    text
}

fn field(name: &str, path: &OsStr) -> OsString {
    let mut field = OsString::from(format!("\"{name}="));
    field.push(path);
    field.push("\"");
    field
}

fn assignment(name: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(format!("{name}="));
    text.push(value);
    text
}

/// A container, which outlives the program that started it.
#[derive(Debug)]
struct Container {
    name: String,
    environment: Vec<(OsString, OsString)>,
}

impl Warden for Container {
    fn ended(&mut self, end: &End) {
        if matches!(end, End::Exited(_)) {
            return;
        }
        let mut command = Command::new(PROGRAM);
        command
            .args(["kill", &self.name])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let kill = Prepared {
            command,
            rules: ChildRules::default(),
            warden: Box::new(NoWarden),
        };
        match process::run(kill, Stdio::null(), KILL_WITHIN, &never()) {
            Ok(ended) => log::debug!("docker kill {}: {}", self.name, ended.end),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => log::warn!("container {} may still run: {error}", self.name),
        }
    }
}
