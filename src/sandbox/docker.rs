//! A Docker container for each run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam_channel::never;

use crate::base::child::{self, End, Ended, Monitor, NoMonitor, Prepared};
use crate::base::os::ChildRules;
use crate::sandbox::job::{Job, Sandbox, SandboxError};
use crate::sandbox::settings::{SandboxSettings, TASKS_MAX};
use crate::sandbox::view::View;

const PROGRAM: &str = "docker";
/// How long the daemon may take to end a container.
const REMOVAL_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Docker {
    settings: SandboxSettings,
    remark: String,
}

impl Docker {
    pub(super) fn new(settings: SandboxSettings) -> Docker {
        let network = if settings.network {
            "the network is there"
        } else {
            "there is no network"
        };
        Docker {
            remark: format!(
                "It runs in a container of the image {}: only the home folder and /tmp (which \
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
        let view = View::of(&self.settings, job)?;
        let container = format!("duragent-{:016x}", fastrand::u64(..)).to_lowercase();
        let user = format!(
            "{}:{}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw()
        );
        let mut command = Command::new(PROGRAM);
        // Docker's own settings are in the environment; what the container sees is in arguments.
        command
            .args(arguments(&self.settings, job, &view, &container, &user))
            .env_clear()
            .envs(job.environment.iter().map(|(name, value)| (name, value)))
            .envs(told(job).map(|(name, value)| (name, value)));
        Ok(Prepared {
            command,
            rules: ChildRules::default(),
            monitor: Box::new(ContainerMonitor {
                name: container,
                environment: job.environment.clone(),
            }),
        })
    }
}

fn look_for_program() -> Result<(), SandboxError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path);
    if folders.any(|folder| folder.join(PROGRAM).is_file()) {
        Ok(())
    } else {
        Err(SandboxError::Missing {
            program: PROGRAM,
            package: "docker.io",
        })
    }
}

/// What `docker` is called with.
fn arguments(
    settings: &SandboxSettings,
    job: &Job,
    view: &View,
    container: &str,
    user: &str,
) -> Vec<OsString> {
    let mut args = limits(settings);
    args.extend(["--name", container, "--user", user].map(OsString::from));
    args.extend(mounts(view, job));
    // By name: everybody on this machine may read a program's arguments.
    for (name, _) in told(job) {
        args.extend(["--env".into(), name.clone()]);
    }
    let mut home = OsString::from("HOME=");
    home.push(&job.work);
    args.extend(["--env".into(), home]);
    args.extend(["--workdir".into(), job.cwd.clone().into()]);
    args.push(settings.image.clone().into());
    args.push(job.program.clone());
    args.extend(job.args.iter().cloned());
    args
}

/// What the container is told: where programs are, its image knows.
fn told(job: &Job) -> impl Iterator<Item = &(OsString, OsString)> {
    let all = job.told.iter();
    all.filter(|(name, _)| name != "PATH" && name != "HOME")
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

fn mounts(view: &View, job: &Job) -> Vec<OsString> {
    let readable = job.readable.iter();
    let readable = readable.map(|path| (path.as_path(), ",readonly"));
    let writable = view.writable.iter().map(|it| it.path.as_path());
    let writable = writable.chain([job.work.as_path()]);
    let writable = writable.chain(view.folders_between());
    let shown = readable.chain(writable.map(|path| (path, "")));
    // What can be written may hold what must not be seen. For what is not there, Docker would make
    // something.
    let hidden = view.hidden.iter();
    let hidden = hidden.filter(|path| view.is_in_writable(path) && path.exists());
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
    let (kind, how) = if Path::new(path).is_dir() {
        ("type=tmpfs,", ",tmpfs-size=1048576")
    } else {
        ("type=bind,source=/dev/null,", ",readonly")
    };
    let mut text = OsString::from(kind);
    text.push(field("target", path));
    text.push(how);
    text
}

/// In a field, a quote is written twice: else a folder's name could add fields of its own.
fn field(name: &str, path: &OsStr) -> OsString {
    let bytes = path.as_bytes().iter();
    let quoted = bytes.flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"')));
    let mut field = OsString::from(format!("\"{name}="));
    field.push(OsString::from_vec(quoted.collect()));
    field.push("\"");
    field
}

/// A container, which outlives the program that started it.
#[derive(Debug)]
struct ContainerMonitor {
    name: String,
    environment: Vec<(OsString, OsString)>,
}

impl Monitor for ContainerMonitor {
    fn ended(&mut self, end: &End) {
        // It ended by itself if `docker` has its status. 125 is Docker's own: it lost the daemon.
        let has_status = |status: &ExitStatus| status.code().is_some_and(|code| code != 125);
        if matches!(end, End::Exited(status) if has_status(status)) {
            return;
        }
        let mut command = Command::new(PROGRAM);
        // Not `kill`, which does nothing to one that is about to be started.
        command
            .args(["rm", "--force", &self.name])
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let removal = Prepared {
            command,
            rules: ChildRules::default(),
            monitor: Box::new(NoMonitor),
        };
        match child::run(removal, Stdio::null(), REMOVAL_WITHIN, &never(), "") {
            Ok(ended) if is_gone(&ended) => log::debug!("container {} is gone", self.name),
            Ok(ended) => {
                let said = ended.output.trim();
                log::warn!(
                    "container {} may still run: {said} ({})",
                    self.name,
                    ended.end
                );
            }
            Err(error) => log::warn!("container {} may still run: {error}", self.name),
        }
    }
}

/// Whether `docker rm` left nothing: there may have been nothing yet.
fn is_gone(removal: &Ended) -> bool {
    let is_done = matches!(removal.end, End::Exited(status) if status.success());
    is_done || removal.output.contains("No such container")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_name_adds_nothing_to_a_mount() {
        let path = OsStr::new(r#"/a",source=/root,"consistency=cached"#);
        assert_eq!(
            mount(path, ",readonly"),
            r#"type=bind,"source=/a"",source=/root,""consistency=cached","target=/a"",source=/root,""consistency=cached",readonly"#
        );
    }

    #[test]
    fn what_may_be_written_covers_what_it_holds_if_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("out/a/hidden")).unwrap();
        let settings = SandboxSettings {
            writable: vec![at("out"), at("nowhere"), at("out/a")],
            hidden: vec![
                at("elsewhere"),
                at("out/a/hidden"),
                at("out/a/hidden/absent"),
            ],
            ..SandboxSettings::default()
        };
        let job = Job {
            program: "true".into(),
            args: Vec::new(),
            environment: Vec::new(),
            told: Vec::new(),
            work: at("work"),
            workdir: None,
            cwd: at("work"),
            readable: vec![at("tools")],
        };
        let expected = [
            mount(at("tools").as_os_str(), ",readonly"),
            mount(at("out").as_os_str(), ""),
            mount(at("work").as_os_str(), ""),
            mount(at("out/a").as_os_str(), ""),
            covered(at("out/a/hidden").as_os_str()),
        ];
        let view = View::of(&settings, &job).unwrap();
        let mut told = mounts(&view, &job);
        told.retain(|word| word != "--mount");
        assert_eq!(told, expected);
    }
}
