//! What came of it, for people and for programs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::order;
use crate::torture::ledger::Violation;

/// Sums over all clients.
#[derive(Debug, Clone, Default)]
pub struct ClientCounts {
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Tokens that were seen.
    pub tokens: u64,
    /// Connections that were opened again, or broke.
    pub reconnects: u64,
    /// From the start of a server's process to the end of a turn that one before it had begun.
    pub resumed: Vec<Duration>,
}

/// The state of a torture, while it runs and at its end. Its JSON is for programs.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TortureReport {
    /// The seed of the plan: the same one is the same plan, not the same run.
    pub seed: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// `SIGKILL`s.
    pub kills: u64,
    /// `SIGTERM`s.
    pub stops: u64,
    /// Operations of the disk that failed on purpose.
    pub faults: u64,
    /// Power cuts on a simulated disk.
    pub power_cuts: u64,
    /// Sessions that were created.
    pub sessions: usize,
    /// Messages that were acknowledged.
    pub messages: u64,
    /// Tokens that clients saw.
    pub tokens: u64,
    /// Connections that were opened again.
    pub reconnects: u64,
    /// From the start of the process to a server that is ready.
    pub ready: Times,
    /// From the start of the process to the end of a turn that one before it had begun.
    pub resumed: Times,
    /// The most open files of a server.
    pub open_files_max: usize,
    /// The most threads of a server.
    pub threads_max: usize,
    /// Promises that were not kept.
    pub violations: Vec<Violation>,
    /// Where everything is kept for whoever looks for the cause.
    pub evidence: Option<PathBuf>,
}

/// Some durations, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Times {
    /// How many.
    pub count: usize,
    /// Half of them are shorter.
    pub median_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Times {
    /// Sums up.
    pub fn of(times: &[Duration]) -> Times {
        let mut sorted = times.to_vec();
        order::sort(&mut sorted);
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        Times {
            count: sorted.len(),
            median_ms: ms(sorted.get(sorted.len() / 2)),
            max_ms: ms(sorted.last()),
        }
    }
}

impl TortureReport {
    /// One line, while it runs.
    pub fn progress(&self) -> String {
        format!(
            "{:.0} s: {} kills, {} power cuts, {} messages, {} tokens, {} violations",
            self.seconds,
            self.kills,
            self.power_cuts,
            self.messages,
            self.tokens,
            self.violations.len()
        )
    }

    /// The summary for people.
    pub fn lines(&self) -> String {
        let times = |times: Times| {
            format!(
                "{} times, median {:.0} ms, longest {:.0} ms",
                times.count, times.median_ms, times.max_ms
            )
        };
        let rows = [
            ("seed", self.seed.to_string()),
            ("time", format!("{:.0} s", self.seconds)),
            ("kills", self.kills.to_string()),
            ("orderly stops", self.stops.to_string()),
            ("disk faults", self.faults.to_string()),
            ("power cuts", format!("{} (simulated)", self.power_cuts)),
            ("sessions", self.sessions.to_string()),
            ("messages", self.messages.to_string()),
            ("tokens", self.tokens.to_string()),
            ("reconnects", self.reconnects.to_string()),
            ("start to ready", times(self.ready)),
            ("start to resumed", times(self.resumed)),
            ("open files", format!("at most {}", self.open_files_max)),
            ("threads", format!("at most {}", self.threads_max)),
            ("violations", self.violations.len().to_string()),
        ];
        let mut text = String::new();
        for (name, value) in rows {
            text.push_str(&format!("{name:<17} {value}\n"));
        }
        for violation in &self.violations {
            text.push_str(&format!("  {violation}\n"));
        }
        if let Some(evidence) = &self.evidence {
            text.push_str(&format!("everything is kept in {}\n", evidence.display()));
        }
        text
    }
}
