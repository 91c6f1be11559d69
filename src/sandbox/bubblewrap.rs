//! bubblewrap: namespaces of its own for each run, and only what it needs of the file system.

mod monitor;
mod plan;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Resource;

use crate::base::child::{self, Prepared};
use crate::base::os::ChildRules;
use crate::sandbox::bubblewrap::monitor::BwrapMonitor;
use crate::sandbox::bubblewrap::plan::{Machine, arguments};
use crate::sandbox::job::{Job, Sandbox, SandboxError};
use crate::sandbox::settings::SandboxSettings;
use crate::sandbox::view::{Opened, View, outermost};

const PROGRAM: &str = "bwrap";

#[derive(Debug)]
pub(super) struct Bubblewrap {
    settings: SandboxSettings,
    remark: String,
    /// Looked at when it is first needed, and again until that worked.
    machine: OnceLock<Machine>,
}

impl Bubblewrap {
    pub(super) fn new(settings: SandboxSettings) -> Bubblewrap {
        Bubblewrap {
            remark: remark(&settings),
            settings,
            machine: OnceLock::new(),
        }
    }

    fn machine(&self) -> Result<&Machine, SandboxError> {
        if let Some(machine) = self.machine.get() {
            return Ok(machine);
        }
        let machine = Machine::look(&help()?, self.settings.network);
        Ok(self.machine.get_or_init(|| machine))
    }
}

impl Sandbox for Bubblewrap {
    fn name(&self) -> &'static str {
        "bubblewrap"
    }

    fn remark(&self) -> &str {
        &self.remark
    }

    fn prepare(&self, job: &Job) -> Result<Prepared, SandboxError> {
        let machine = self.machine()?;
        let view = View::of(&self.settings, job)?;
        let work = Opened::open(&job.work).map_err(|source| SandboxError::Io {
            action: "open the agent's folder to work in",
            source,
        })?;
        let mut monitor = BwrapMonitor::new(&self.settings)?;
        let planned = arguments(&self.settings, machine, job, &view, &work);
        let folders = view.writable.into_iter().chain([work]);
        monitor.keep(folders.filter(|_| machine.binds_by_fd()).map(|it| it.fd));
        let mut command = Command::new(PROGRAM);
        command
            .args(planned)
            .args(monitor.arguments())
            .arg("--")
            .arg(&job.program)
            .args(&job.args)
            .env_clear()
            .envs(environment(job));
        Ok(Prepared {
            command,
            rules: ChildRules {
                kept: monitor.descriptors(),
                limits: limits(&self.settings),
            },
            monitor: Box::new(monitor),
        })
    }
}

fn remark(settings: &SandboxSettings) -> String {
    let network = if settings.network {
        "the network is there"
    } else {
        "there is no network"
    };
    let writable: String = outermost(&settings.writable)
        .into_iter()
        .map(|folder| format!(", {}", folder.display()))
        .collect();
    format!(
        "It runs in a sandbox: only the home folder{writable} and /tmp (which is emptied after \
         each call) can be written, and {network}."
    )
}

/// What `bwrap` says of itself.
fn help() -> Result<String, SandboxError> {
    let mut command = Command::new(PROGRAM);
    command.arg("--help").stdin(Stdio::null());
    match child::output(&mut command) {
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(SandboxError::Missing {
            program: PROGRAM,
            package: "bubblewrap",
        }),
        Err(source) => Err(SandboxError::Io {
            action: "ask bwrap what it can do",
            source,
        }),
    }
}

/// The limits that hold for each process alone.
fn limits(settings: &SandboxSettings) -> Vec<(Resource, u64)> {
    let cpu = settings.cpu_seconds.map(|most| (Resource::Cpu, most));
    // Data and not addresses: many a runtime reserves far more than it uses.
    [(Resource::Core, 0), (Resource::Data, settings.memory_bytes)]
        .into_iter()
        .chain(cpu)
        .collect()
}

/// What it is told, and that its own folder is its home.
fn environment(job: &Job) -> Vec<(OsString, OsString)> {
    let own = [("HOME", &job.work), ("PWD", &job.cwd)];
    let own = own.map(|(name, path)| (name.into(), path.clone().into()));
    job.told.iter().cloned().chain(own).collect()
}
