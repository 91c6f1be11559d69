//! A Docker container for each run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam_channel::never;

use crate::base::child::{self, End, Ended, NoWarden, Prepared, Warden};
use crate::base::os::ChildRules;
use crate::sandbox::{Job, Sandbox, SandboxError, SandboxSettings, TASKS_MAX};

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
    let readable = job.readable.iter();
    let readable = readable.map(|path| (path.as_path(), ",readonly"));
    let between = settings.folders_between();
    let own = [&job.work];
    let writable = settings.writable.iter().filter(|path| path.exists());
    let writable = writable.chain(own).map(PathBuf::as_path);
    let writable = writable.chain(between).map(|path| (path, ""));
    // What can be written may hold what must not be seen.
    let is_inside = |path: &&PathBuf| settings.writable.iter().any(|it| path.starts_with(it));
    let hidden = settings.hidden.iter().filter(is_inside);
    // For what is not there, Docker would make something.
    let hidden = hidden.filter(|path| path.exists());
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

/// In a field, a quote is written twice: else a folder's name could add fields of its own.
fn field(name: &str, path: &OsStr) -> OsString {
    let bytes = path.as_bytes().iter();
    let quoted = bytes.flat_map(|byte| std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"')));
    let mut field = OsString::from(format!("\"{name}="));
    field.push(OsString::from_vec(quoted.collect()));
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
            warden: Box::new(NoWarden),
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
            writable: vec![at("out"), at("nowhere")],
            hidden: vec![at("elsewhere"), at("out/a/hidden"), at("out/b/absent")],
            ..SandboxSettings::default()
        };
        let job = Job {
            program: "true".into(),
            args: Vec::new(),
            environment: Vec::new(),
            identity: Vec::new(),
            work: at("work"),
            readable: vec![at("tools")],
        };
        let expected = [
            mount(at("tools").as_os_str(), ",readonly"),
            mount(at("out").as_os_str(), ""),
            mount(at("work").as_os_str(), ""),
            mount(at("out/a").as_os_str(), ""),
            covered(at("out/a/hidden").as_os_str()),
        ];
        let mut told = mounts(&settings, &job);
        told.retain(|word| word != "--mount");
        assert_eq!(told, expected);
    }
}
