//! No sandbox: a program does what the server's user may do.

use std::process::Command;

use crate::base::child::{NoMonitor, Prepared};
use crate::base::os::ChildRules;
use crate::sandbox::job::{Job, Sandbox, SandboxError};
use crate::sandbox::settings::TRUST;

#[derive(Debug)]
pub(super) struct NoSandbox;

impl Sandbox for NoSandbox {
    fn name(&self) -> &'static str {
        TRUST
    }

    fn remark(&self) -> &str {
        ""
    }

    fn prepare(&self, job: &Job) -> Result<Prepared, SandboxError> {
        let mut command = Command::new(&job.program);
        command
            .args(&job.args)
            .env_clear()
            .envs(job.environment.iter().map(|(name, value)| (name, value)))
            .env("PWD", &job.cwd)
            .current_dir(&job.cwd);
        Ok(Prepared {
            command,
            rules: ChildRules::default(),
            monitor: Box::new(NoMonitor),
        })
    }
}
