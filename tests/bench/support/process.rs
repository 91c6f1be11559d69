//! What the system says about a process, from `/proc`. Of the memory and the files of a server it
//! tells root alone: a server is not dumpable.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// As the kernel counts, on every system that we measure on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running process.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: u32,
}

/// Its memory, in units of a million bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Its pages that are present, shared ones too.
    pub rss_mb: f64,
    /// The same with each shared page divided among those who share it.
    pub pss_mb: f64,
    /// Those behind which no file stands: the system cannot take them back for others.
    pub private_mb: f64,
}

/// What all its threads did since they began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Activity {
    /// Time on a processor, in clock ticks.
    pub ticks: u64,
    /// How often a thread went to sleep of its own accord, and so will have woken.
    pub switches: u64,
}

impl Activity {
    /// Time on a processor.
    pub fn seconds(&self) -> f64 {
        self.ticks as f64 / TICKS_PER_SECOND
    }
}

impl Process {
    /// The process of that id.
    pub fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The time that all its threads have had on processors, those too that have ended.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(self.pid)?))?;
        Ok(clock_gettime(clock)?.into())
    }

    /// The most memory that it ever had present, in units of a million bytes.
    pub fn most_rss_mb(&self) -> anyhow::Result<f64> {
        Ok(field(&self.read("status")?, "VmHWM:")? as f64 * 1024.0 / 1e6)
    }

    /// Its memory now.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let rollup = self.read("smaps_rollup")?;
        Ok(Memory {
            rss_mb: field(&rollup, "Rss:")? as f64 * 1024.0 / 1e6,
            pss_mb: field(&rollup, "Pss:")? as f64 * 1024.0 / 1e6,
            private_mb: field(&rollup, "Anonymous:")? as f64 * 1024.0 / 1e6,
        })
    }

    /// Bytes that it gave to `write`, to whatever it wrote.
    pub fn bytes_written(&self) -> anyhow::Result<u64> {
        field(&self.read("io")?, "wchar:")
    }

    /// What its threads did; those that have ended count for the time they took.
    pub fn activity(&self) -> anyhow::Result<Activity> {
        let mut activity = Activity {
            ticks: ticks(&self.read("stat")?)?,
            switches: 0,
        };
        for thread in fs::read_dir(self.path("task"))? {
            // One that has just ended has no status any more.
            if let Ok(status) = fs::read_to_string(thread?.path().join("status")) {
                activity.switches += field(&status, "voluntary_ctxt_switches:")?;
            }
        }
        Ok(activity)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    Ok(word.with_context(|| format!("no {name}"))?.parse()?)
}

/// User and system time, fields 14 and 15. Source: proc_pid_stat(5).
fn ticks(stat: &str) -> anyhow::Result<u64> {
    // The name in the second field may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .context("too short")?
            .parse::<u64>()
            .context("number")
    };
    Ok(ticks(11)? + ticks(12)?)
}
